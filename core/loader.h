// SPDX-License-Identifier: Apache-2.0
//
// Plugins: finding, checking, loading and keeping them. What the rest of the core sees of a plugin is a table of the
// core's own, complete: operations that the plugin does not have are filled with stubs that answer "not supported".
//
// A loader may be used from several threads (managers); a module's table is constant.
#ifndef CORE_LOADER_H
#define CORE_LOADER_H

#include <carrick/plugin.h>

struct loader;
struct module;

// dirs: directories searched in order for NAME.so. Copied.
struct loader *loader_create(const char *const *dirs, size_t count);
// All modules have been put.
void loader_destroy(struct loader *loader);

// Adds a plugin that is linked into this program. It is found before any file of that name.
int loader_add_static(struct loader *loader, const struct carrick_plugin *(*entry)(void),
                      struct carrick_error *error);

// Finds the plugin of that kind and name, loads it when it is not, and takes a reference. A refusal names the file,
// the version that it has and the range that is accepted.
int loader_get(struct loader *loader, uint32_t kind, const char *name, struct module **module,
               struct carrick_error *error);
void module_put(struct module *module);

const void *module_ops(const struct module *module); // the core's complete copy of the kind's table
const struct carrick_plugin *module_plugin(const struct module *module);
const char *module_path(const struct module *module); // "(built in)" for a static one

// Calls fn for each module that is loaded.
void loader_each(struct loader *loader, void (*fn)(const struct module *module, void *arg),
                 void *arg);

// What a file is, for `carrick plugin inspect`; loads and unloads it. Fills what it could learn even when it
// returns an error, which then says why this core does not take the plugin.
struct module_report {
    char name[CARRICK_NAME_MAX + 1];
    char version[64];
    char licence[64];
    char description[128];
    uint32_t kind;
    uint16_t abi_major, abi_minor;
    uint32_t ops_size;      // of the plugin's table
    uint32_t ops_size_core; // of this core's table for that kind
    char missing_optional
        [512]; // names of optional operations that it does not have, comma-separated
};
int module_inspect(const char *path, struct module_report *report, struct carrick_error *error);

const char *kind_name(uint32_t kind); // "transport", "client", …

#endif
