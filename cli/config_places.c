// SPDX-License-Identifier: Apache-2.0
//
// `carrick config check`: are the directories there in which a node's clients and arbiter keep files and sockets? What a
// section means only its plugin knows; by custom these keys name a place: path, socket, directory.

#include "cli/cli.h"
#include "core/config.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct places {
    const char *node;
    char who[CONFIG_NAME_SIZE + 16];
    void (*missing)(void *arg, const char *text);
    void *arg;
    char told[PATH_MAX]; // the last one: several files often lie in one directory
};

// -1: this machine is neither of both.
int config_node_here(const struct config *config)
{
    char host[256] = "";
    if (gethostname(host, sizeof host - 1) != 0)
        return -1;
    host[strcspn(host, ".")] = '\0';
    return config_node_index(config, host);
}

static void look(struct places *places, const char *key, const char *value)
{
    char *path = config_expand_node(value, places->node), text[PATH_MAX * 2 + 200];
    struct stat st;
    if (!path || path[0] != '/') {
        free(path);
        return;
    }
    char *slash = strrchr(path, '/');
    if (strcmp(key, "directory") != 0 && slash > path)
        *slash = '\0';
    if (stat(path, &st) != 0 && strcmp(path, places->told) != 0) {
        snprintf(places->told, sizeof places->told, "%s", path);
        snprintf(text, sizeof text,
                 "%s: there is no directory %s on this node, where its %s \"%s\" lies; make it: "
                 "mkdir -p %s",
                 places->who, path, key, value, path);
        places->missing(places->arg, text);
    }
    free(path);
}

static void walk(struct places *places, struct json_object *value)
{
    if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(value); i++)
            walk(places, json_object_array_get_idx(value, i));
    } else if (json_object_is_type(value, json_type_object)) {
        json_object_object_foreach(value, key, inner)
        {
            bool is_place = strcmp(key, "path") == 0 || strcmp(key, "socket") == 0 ||
                            strcmp(key, "directory") == 0;
            if (is_place && json_object_is_type(inner, json_type_string))
                look(places, key, json_object_get_string(inner));
            else
                walk(places, inner);
        }
    }
}

static void walk_text(struct places *places, const char *json)
{
    struct json_object *section = json_tokener_parse(json);
    walk(places, section);
    json_object_put(section);
}

void config_places_check(const struct config *config, int node,
                         void (*missing)(void *arg, const char *text), void *arg)
{
    struct places places = {.node = config->nodes[node], .missing = missing, .arg = arg};
    for (size_t i = 0; i < config->managers_count; i++) {
        const struct config_manager *manager = &config->managers[i];
        if (manager->arbiter.plugin[0]) {
            snprintf(places.who, sizeof places.who, "arbiter %s", manager->arbiter.plugin);
            walk_text(&places, manager->arbiter.config.json);
        }
        for (size_t j = 0; j < manager->clients_count; j++) {
            snprintf(places.who, sizeof places.who, "client %s", manager->clients[j].name);
            walk_text(&places, manager->clients[j].config.json);
        }
    }
}
