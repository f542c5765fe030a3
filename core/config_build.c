// SPDX-License-Identifier: Apache-2.0
//
// From the JSON value, valid and with its defaults, to struct config.

#include "core/config_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

static struct json_object *member(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;

    json_object_object_get_ex(object, key, &value);
    return value;
}

static void copy_name(char name[CONFIG_NAME_SIZE], struct json_object *object, const char *key)
{
    const char *text = json_object_get_string(key != NULL ? member(object, key) : object);
    size_t length = strnlen(text, CONFIG_NAME_SIZE - 1);

    memcpy(name, text, length);
    name[length] = '\0';
}

// Each of these returns false when there is no memory.

static bool copy_text(char **out, struct json_object *value)
{
    *out = strdup(json_object_get_string(value));
    return *out != NULL;
}

static bool __attribute__((format(printf, 2, 3))) print(char **out, const char *format, ...)
{
    va_list args;
    int length;

    va_start(args, format);
    length = vasprintf(out, format, args);
    va_end(args);
    if (length < 0)
        *out = NULL;
    return length >= 0;
}

// Keys of sections are names, which need no escapes in a pointer.
static bool section_build(struct json_object *holder, const char *key, const char *base,
                          struct config_section *section)
{
    const char *json = json_object_to_json_string_ext(
        member(holder, key), JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

    section->json = json != NULL ? strdup(json) : NULL;
    return section->json != NULL && print(&section->pointer, "%s/%s", base, key);
}

static bool policy_build(struct json_object *object, const char *base, const char *key,
                         struct config_plugin *policy)
{
    copy_name(policy->plugin, object, "plugin");
    return print(&policy->pointer, "%s/%s", base, key) &&
           section_build(object, "config", policy->pointer, &policy->config);
}

static bool wrapper_build(struct json_object *object, const char *base,
                          struct config_wrapper *wrapper)
{
    if (object == NULL)
        return true;
    copy_name(wrapper->plugin, object, "plugin");
    return print(&wrapper->pointer, "%s/wrapper", base) &&
           section_build(object, "config", wrapper->pointer, &wrapper->config);
}

static bool link_build(struct json_object *object, const struct config *config,
                       struct config_link *link)
{
    char base[CONFIG_POINTER_SIZE];

    copy_name(link->name, object, "name");
    copy_name(link->transport, object, "transport");
    snprintf(base, sizeof(base), "%s/nodes", link->pointer);
    for (size_t i = 0; i < CONFIG_NODES; i++) {
        if (!section_build(member(object, "nodes"), config->nodes[i], base, &link->nodes[i]))
            return false;
    }
    return wrapper_build(member(object, "wrapper"), link->pointer, &link->wrapper) &&
           section_build(object, "config", link->pointer, &link->config);
}

static bool client_build(struct json_object *object, struct config_client *client)
{
    copy_name(client->name, object, "name");
    copy_name(client->plugin, object, "plugin");
    client->required = json_object_get_boolean(member(object, "required"));
    client->early = json_object_get_boolean(member(object, "early"));
    client->isolation = strcmp(json_object_get_string(member(object, "isolation")), "process") == 0
                            ? CONFIG_ISOLATION_PROCESS
                            : CONFIG_ISOLATION_INLINE;
    copy_name(client->process, object, member(object, "process") != NULL ? "process" : "name");
    client->hang_ms = member(object, "hang_ms") != NULL
                          ? (uint32_t)json_object_get_int64(member(object, "hang_ms"))
                          : CONFIG_HANG_MS;
    return section_build(object, "config", client->pointer, &client->config);
}

static bool links_build(struct json_object *list, const struct config *config,
                        struct config_manager *manager)
{
    size_t count = json_object_array_length(list);

    manager->links = calloc(count, sizeof(*manager->links));
    if (manager->links == NULL)
        return false;
    manager->links_count = count;
    for (size_t i = 0; i < count; i++) {
        struct config_link *link = &manager->links[i];

        if (!print(&link->pointer, "%s/links/%zu", manager->pointer, i) ||
            !link_build(json_object_array_get_idx(list, i), config, link))
            return false;
    }
    return true;
}

static bool clients_build(struct json_object *list, struct config_manager *manager)
{
    size_t count = json_object_array_length(list);

    if (count == 0)
        return true;
    manager->clients = calloc(count, sizeof(*manager->clients));
    if (manager->clients == NULL)
        return false;
    manager->clients_count = count;
    for (size_t i = 0; i < count; i++) {
        struct config_client *client = &manager->clients[i];

        if (!print(&client->pointer, "%s/clients/%zu", manager->pointer, i) ||
            !client_build(json_object_array_get_idx(list, i), client))
            return false;
    }
    return true;
}

static bool manager_build(struct json_object *object, const struct config *config,
                          struct config_manager *manager)
{
    copy_name(manager->name, object, "name");
    copy_name(manager->profile, object, "profile");
    config_timers_build(manager->profile, member(object, "timers"), &manager->timers);
    manager->poll_us = (uint32_t)json_object_get_int64(member(object, "poll_us"));
    manager->lanes = (uint32_t)json_object_get_int64(member(object, "lanes"));
    manager->overstay_us = (uint32_t)json_object_get_int64(member(object, "overstay_us"));
    manager->partner_memory_mib =
        (uint32_t)json_object_get_int64(member(object, "partner_memory_mib"));
    struct json_object *arbiter = member(object, "arbiter");

    return policy_build(member(object, "policy"), manager->pointer, "policy", &manager->policy) &&
           (arbiter == NULL ||
            policy_build(arbiter, manager->pointer, "arbiter", &manager->arbiter)) &&
           links_build(member(object, "links"), config, manager) &&
           clients_build(member(object, "clients"), manager);
}

static bool managers_build(struct json_object *list, struct config *config)
{
    size_t count = json_object_array_length(list);

    config->managers = calloc(count, sizeof(*config->managers));
    if (config->managers == NULL)
        return false;
    config->managers_count = count;
    for (size_t i = 0; i < count; i++) {
        struct config_manager *manager = &config->managers[i];

        if (!print(&manager->pointer, "/managers/%zu", i) ||
            !manager_build(json_object_array_get_idx(list, i), config, manager))
            return false;
    }
    return true;
}

static bool plugin_dirs_build(struct json_object *list, struct config *config)
{
    size_t count = list != NULL ? json_object_array_length(list) : 0;

    if (count == 0)
        return true;
    config->plugin_dirs = calloc(count, sizeof(*config->plugin_dirs));
    if (config->plugin_dirs == NULL)
        return false;
    config->plugin_dirs_count = count;
    for (size_t i = 0; i < count; i++) {
        if (!copy_text(&config->plugin_dirs[i], json_object_array_get_idx(list, i)))
            return false;
    }
    return true;
}

static bool control_build(struct json_object *object, struct config_control *control)
{
    struct json_object *group = member(object, "group");

    return copy_text(&control->socket, member(object, "socket")) &&
           (group == NULL || copy_text(&control->group, group));
}

static bool metrics_build(struct json_object *object, struct config *config)
{
    struct json_object *listen = member(object, "listen");

    for (size_t i = 0; i < CONFIG_NODES; i++) {
        struct json_object *text = member(listen, config->nodes[i]);
        struct config_listen *at = &config->metrics.listen[i];

        if (text == NULL)
            continue;
        if (!copy_text(&at->text, text))
            return false;
        (void)config_listen_parse(at->text, at); // config_check() has tried it
    }
    return true;
}

static int level_of(const char *name)
{
    static const struct {
        const char *name;
        int level;
    } levels[] = {
        {"error", LOG_ERR},
        {"warning", LOG_WARNING},
        {"notice", LOG_NOTICE},
        {"debug", LOG_DEBUG},
    };

    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (strcmp(levels[i].name, name) == 0)
            return levels[i].level;
    }
    return LOG_INFO;
}

int config_build(struct json_object *root, struct config *config)
{
    struct json_object *nodes = member(root, "nodes");

    copy_name(config->cluster, root, "cluster");
    for (size_t i = 0; i < CONFIG_NODES; i++)
        copy_name(config->nodes[i], json_object_array_get_idx(nodes, i), NULL);
    config->log.level = level_of(json_object_get_string(member(member(root, "log"), "level")));
    if (!copy_text(&config->key_file, member(root, "key_file")) ||
        !plugin_dirs_build(member(root, "plugin_dirs"), config) ||
        !control_build(member(root, "control"), &config->control) ||
        !metrics_build(member(root, "metrics"), config) ||
        !managers_build(member(root, "managers"), config))
        return -ENOMEM;
    return 0;
}
