// SPDX-License-Identifier: Apache-2.0
//
// A shared object that may be a plugin: opened, and its descriptor checked against this core.
#ifndef CORE_PLUGIN_FILE_H
#define CORE_PLUGIN_FILE_H

#include "core/plugin_kind.h"

struct plugin_file {
    void *handle;
    const struct carrick_plugin *plugin;
};

// Opens path, which holds a slash, finds its own entry symbol, and calls it. Nothing of what it returned, which may be
// NULL, is checked. On error *file is zero.
int plugin_file_open(const char *path, struct plugin_file *file, struct carrick_error *error);
void plugin_file_close(struct plugin_file *file);

// Checks the major version and the length of a descriptor: what must hold before anything else in it is read.
int plugin_check_layout(const char *where, const struct carrick_plugin *plugin,
                        struct carrick_error *error);

// Checks a whole descriptor, and fills the core's own table of kind->size bytes, which the caller frees. where
// names the file in messages; file_name is the name that the plugin must have, NULL: any valid one. optional as in
// plugin_kind_fill.
int plugin_check(const char *where, const char *file_name, const struct carrick_plugin *plugin,
                 const struct plugin_kind **kind, void **table, char *optional,
                 size_t optional_size, struct carrick_error *error);

// The end of a long path, so that there is room for the reason in an error's text.
const char *plugin_path_end(const char *path);

#endif
