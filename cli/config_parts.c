// SPDX-License-Identifier: Apache-2.0
//
// `carrick config check`: do the clients of the storage find each other? Each is good by itself, and a daemon starts with
// any of them; a group is served only by nvram_shadow, shelf and failover together, in one process.

#include "cli/cli.h"
#include "core/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct parts {
    const struct config *config;
    const struct config_manager *manager;
    struct config_errors *found; // with its place, as the errors of a file
};

static bool share_process(const struct config_client *a, const struct config_client *b)
{
    if (a->isolation != b->isolation)
        return false;
    return a->isolation != CONFIG_ISOLATION_PROCESS || strcmp(a->process, b->process) == 0;
}

// The next one that runs this plugin beside `client`; from NULL on.
static const struct config_client *beside(const struct parts *parts,
                                          const struct config_client *client, const char *plugin,
                                          const struct config_client *after)
{
    const struct config_manager *manager = parts->manager;
    for (size_t i = after ? (size_t)(after - manager->clients) + 1 : 0; i < manager->clients_count;
         i++)
        if (strcmp(manager->clients[i].plugin, plugin) == 0 &&
            share_process(client, &manager->clients[i]))
            return &manager->clients[i];
    return NULL;
}

static void want(const struct parts *parts, const struct config_client *client, const char *plugin,
                 const char *else_what)
{
    char text[300];
    if (beside(parts, client, plugin, NULL))
        return;
    snprintf(text, sizeof text, "no client with the plugin %s runs in the process of this one: %s",
             plugin, else_what);
    config_error_in(parts->config, parts->found, client->pointer, "/plugin", text);
}

// Does a list of this section hold an object whose key says so?
static bool section_names(const struct config_client *client, const char *list, const char *key,
                          const char *name)
{
    struct json_object *section = json_tokener_parse(client->config.json);
    struct json_object *items = member_array(section, list);
    bool found = false;
    for (size_t i = 0; i < array_length(items); i++)
        found |= strcmp(member_text(json_object_array_get_idx(items, i), key), name) == 0;
    json_object_put(section);
    return found;
}

// Each `list`[].`key` of this client must be a `there_list`[].`there_key` of one with that plugin beside it.
static void match(const struct parts *parts, const struct config_client *client,
                  const char *const here[2], const char *plugin, const char *const there[2],
                  const char *else_what)
{
    struct json_object *section = json_tokener_parse(client->config.json);
    struct json_object *items = member_array(section, here[0]);
    for (size_t i = 0; i < array_length(items); i++) {
        const char *name = member_text(json_object_array_get_idx(items, i), here[1]);
        const struct config_client *other = beside(parts, client, plugin, NULL);
        char place[64], text[300];
        while (other && !section_names(other, there[0], there[1], name))
            other = beside(parts, client, plugin, other);
        if (other)
            continue;
        snprintf(place, sizeof place, "/%s/%zu/%s", here[0], i, here[1]);
        snprintf(text, sizeof text, "%s \"%s\": %s", plugin, name, else_what);
        config_error_in(parts->config, parts->found, client->config.pointer, place, text);
    }
    json_object_put(section);
}

static void check_client(const struct parts *parts, const struct config_client *client)
{
    static const char *const groups[2] = {"groups", "name"}, *const shelves[2] = {"shelves",
                                                                                  "group"};
    if (strcmp(client->plugin, "nvram_shadow") == 0) {
        want(parts, client, "failover", "nobody decides who serves its groups");
        if (beside(parts, client, "shelf", NULL))
            match(parts, client, groups, "shelf", shelves, "no shelf is of this group");
        else
            want(parts, client, "shelf", "nobody takes the records of its groups");
    } else if (strcmp(client->plugin, "shelf") == 0) {
        if (beside(parts, client, "nvram_shadow", NULL))
            match(parts, client, shelves, "nvram_shadow", groups,
                  "there is no such group: the shelf is not served");
        else
            want(parts, client, "nvram_shadow", "no shelf is served");
    } else if (strcmp(client->plugin, "failover") == 0) {
        want(parts, client, "nvram_shadow", "there is no group to decide on");
    }
}

static void homes_check(const struct config *config, const struct config_client *client,
                        struct config_errors *errors)
{
    struct json_object *section = json_tokener_parse(client->config.json);
    struct json_object *groups = member_array(section, "groups");
    for (size_t i = 0; i < array_length(groups); i++) {
        const char *home = member_text(json_object_array_get_idx(groups, i), "home");
        char place[64], text[300];
        if (!home[0] || config_node_index(config, home) >= 0)
            continue;
        snprintf(place, sizeof place, "/groups/%zu/home", i);
        snprintf(text, sizeof text,
                 "\"%.60s\" is neither of the two nodes, \"%.60s\" and \"%.60s\"", home,
                 config->nodes[0], config->nodes[1]);
        config_error_in(config, errors, client->config.pointer, place, text);
    }
    json_object_put(section);
}

// The plugin is asked for its section alone and does not know the nodes; the daemon refuses such a home at its start, where
// the client is required.
void config_homes_check(const struct config *config, struct config_errors *errors)
{
    for (size_t i = 0; i < config->managers_count; i++) {
        const struct config_manager *manager = &config->managers[i];
        for (size_t j = 0; j < manager->clients_count; j++)
            if (strcmp(manager->clients[j].plugin, "nvram_shadow") == 0 &&
                manager->clients[j].required)
                homes_check(config, &manager->clients[j], errors);
    }
}

void config_parts_check(const struct config *config, void (*missing)(void *arg, const char *text),
                        void *arg)
{
    struct config_errors *found = malloc(sizeof *found);
    char text[CONFIG_POINTER_SIZE + CONFIG_TEXT_SIZE + 300];
    if (!found)
        return;
    config_errors_init(found, config->file);
    for (size_t i = 0; i < config->managers_count; i++) {
        const struct parts parts = {config, &config->managers[i], found};
        for (size_t j = 0; j < parts.manager->clients_count; j++)
            check_client(&parts, &parts.manager->clients[j]);
    }
    for (size_t i = 0; i < found->count; i++) {
        config_error_format(found, i, text, sizeof text);
        missing(arg, text);
    }
    free(found);
}
