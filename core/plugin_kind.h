// SPDX-License-Identifier: Apache-2.0
//
// What the core knows of each kind of plugin: one description of its table of operations, which drives the check of
// what is required, the filling with stubs, and what is reported of a file.
#ifndef CORE_PLUGIN_KIND_H
#define CORE_PLUGIN_KIND_H

#include <carrick/plugin.h>

typedef void (*plugin_function)(void);

struct plugin_operation {
    const char *name;
    uint32_t offset;      // of its slot in the table
    plugin_function stub; // stands in for it when it is missing; NULL: the operation is required
};

struct plugin_kind {
    uint32_t kind; // enum carrick_kind
    const char *name;
    uint32_t size;       // of this core's table
    uint32_t size_first; // of the table as it was in version 1.0; a smaller one is refused
    bool exact;          // the plugin's minor version and size must be the core's
    const struct plugin_operation *operations;
    size_t count;
};

// NULL: there is no such kind.
const struct plugin_kind *plugin_kind_find(uint32_t kind);

// Fills table (kind->size bytes) from a plugin's table of ops_size bytes: what both have is copied, optional operations
// that are missing get their stub. CARRICK_ERR_CONFIG when a required one is missing; *required then names the first.
// optional, which may be NULL, becomes the comma-separated names of the missing optional ones, as far as they fit.
int plugin_kind_fill(const struct plugin_kind *kind, const void *ops, uint32_t ops_size,
                     void *table, const char **required, char *optional, size_t optional_size);

#endif
