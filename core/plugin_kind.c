// SPDX-License-Identifier: Apache-2.0
#include "core/plugin_kind.h"

#include <stdio.h>
#include <string.h>

static plugin_function slot_read(const void *table, uint32_t offset)
{
    plugin_function function;
    memcpy(&function, (const char *)table + offset, sizeof(function));
    return function;
}

static void slot_write(void *table, uint32_t offset, plugin_function function)
{
    memcpy((char *)table + offset, &function, sizeof(function));
}

static void names_add(char *names, size_t size, const char *name)
{
    size_t used = strlen(names);
    if (used + strlen(name) + 3 <= size)
        snprintf(names + used, size - used, "%s%s", used ? ", " : "", name);
}

int plugin_kind_fill(const struct plugin_kind *kind, const void *ops, uint32_t ops_size,
                     void *table, const char **required, char *optional, size_t optional_size)
{
    *required = NULL;
    if (optional && optional_size)
        optional[0] = 0;
    memset(table, 0, kind->size);
    memcpy(table, ops, ops_size < kind->size ? ops_size : kind->size);
    for (size_t i = 0; i < kind->count; i++) {
        const struct plugin_operation *operation = &kind->operations[i];
        // A table that ends within a slot has that operation not: the part that was copied is not a function.
        bool whole = (uint64_t)operation->offset + sizeof(plugin_function) <= ops_size;
        if (whole && slot_read(table, operation->offset))
            continue;
        if (!operation->stub && !*required)
            *required = operation->name;
        slot_write(table, operation->offset, operation->stub);
        if (operation->stub && optional)
            names_add(optional, optional_size, operation->name);
    }
    return *required ? CARRICK_ERR_CONFIG : CARRICK_OK;
}
