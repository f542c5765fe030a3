// SPDX-License-Identifier: Apache-2.0

#include "core/config.h"

#include <stdlib.h>
#include <string.h>

int config_node_index(const struct config *config, const char *node)
{
    for (int i = 0; i < CONFIG_NODES; i++) {
        if (strcmp(config->nodes[i], node) == 0)
            return i;
    }
    return -1;
}

const struct config_manager *config_manager_find(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->managers_count; i++) {
        if (strcmp(config->managers[i].name, name) == 0)
            return &config->managers[i];
    }
    return NULL;
}

const struct config_link *config_link_find(const struct config_manager *manager, const char *name)
{
    for (size_t i = 0; i < manager->links_count; i++) {
        if (strcmp(manager->links[i].name, name) == 0)
            return &manager->links[i];
    }
    return NULL;
}

const struct config_client *config_client_find(const struct config_manager *manager,
                                               const char *name)
{
    for (size_t i = 0; i < manager->clients_count; i++) {
        if (strcmp(manager->clients[i].name, name) == 0)
            return &manager->clients[i];
    }
    return NULL;
}

char *config_expand_node(const char *text, const char *node)
{
    size_t node_length = strlen(node), length = 1;
    char *expanded, *out;

    for (const char *c = text; *c != '\0'; c++)
        length += *c == '%' ? node_length + 1 : 1;
    expanded = malloc(length);
    if (expanded == NULL)
        return NULL;
    out = expanded;
    for (const char *c = text; *c != '\0'; c++) {
        if (c[0] == '%' && c[1] == 'n') {
            memcpy(out, node, node_length);
            out += node_length;
            c++;
        } else {
            if (c[0] == '%' && c[1] == '%')
                c++;
            *out++ = *c;
        }
    }
    *out = '\0';
    return expanded;
}

bool config_section_equal(const struct config_section *a, const struct config_section *b)
{
    return strcmp(a->json, b->json) == 0;
}
