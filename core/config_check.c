// SPDX-License-Identifier: Apache-2.0
//
// What the schema cannot say: names that must differ, names that must lead somewhere, addresses.

#include "core/config_internal.h"
#include "core/schema.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

// More is refused by the schema, and would make the comparison of each with each long.
#define LIST_MAX 64

#define FOR_EACH(item, list)                                                                       \
    for (bool more_ = json_cursor_child((list), (item)); more_;                                    \
         more_ = json_cursor_next((item), (item)))

struct node_names {
    const char *name[CONFIG_NODES];
};

static bool list_of(const struct json_cursor *holder, const char *key, struct json_cursor *list)
{
    return json_cursor_typed(holder, key, json_type_array, list) &&
           json_object_array_length(list->value) <= LIST_MAX;
}

static const char *string_of(const struct json_cursor *holder, const char *key,
                             struct json_cursor *value)
{
    if (!json_cursor_typed(holder, key, json_type_string, value))
        return NULL;
    return json_object_get_string(value->value);
}

static bool nodes_read(const struct json_cursor *root, struct node_names *nodes)
{
    struct json_cursor list, item;
    size_t count = 0;

    if (!list_of(root, "nodes", &list) || json_object_array_length(list.value) != CONFIG_NODES)
        return false;
    FOR_EACH(&item, &list)
    {
        if (!json_object_is_type(item.value, json_type_string))
            return false;
        nodes->name[count++] = json_object_get_string(item.value);
    }
    return strcmp(nodes->name[0], nodes->name[1]) != 0;
}

// ---- names

static void names_differ(const struct json_cursor *list, const char *kind,
                         struct config_errors *errs)
{
    struct json_cursor item, name, other, other_name;
    char pointer[CONFIG_POINTER_SIZE];

    FOR_EACH(&item, list)
    {
        const char *text = string_of(&item, "name", &name);

        if (text == NULL)
            continue;
        for (bool more = json_cursor_child(list, &other); more && other.node != item.node;
             more = json_cursor_next(&other, &other)) {
            const char *other_text = string_of(&other, "name", &other_name);

            if (other_text == NULL || strcmp(other_text, text) != 0)
                continue;
            json_positions_pointer(other.positions, other.node, pointer, sizeof(pointer));
            json_cursor_report(&name, JSON_PLACE_VALUE, errs,
                               "the name \"%.40s\" is taken by %s, expected a different one for "
                               "each %s",
                               text, pointer, kind);
            break;
        }
    }
}

// The keys of an object must be names of nodes; when all is set, there must be one for each node.
static void node_keys(const struct json_cursor *object, const struct node_names *nodes, bool all,
                      struct config_errors *errs)
{
    struct json_cursor member, unused;

    FOR_EACH(&member, object)
    {
        const char *key = json_cursor_key(&member);

        if (strcmp(key, nodes->name[0]) != 0 && strcmp(key, nodes->name[1]) != 0)
            json_cursor_report(&member, JSON_PLACE_KEY, errs,
                               "there is no node \"%.40s\", expected \"%.40s\" or \"%.40s\" as in "
                               "/nodes",
                               key, nodes->name[0], nodes->name[1]);
    }
    for (size_t i = 0; all && i < CONFIG_NODES; i++) {
        if (!json_cursor_member(object, nodes->name[i], &unused))
            json_cursor_report(object, JSON_PLACE_VALUE, errs,
                               "the key \"%.40s\" is missing, expected one for each node of /nodes",
                               nodes->name[i]);
    }
}

// ---- the parts

bool config_listen_parse(const char *text, struct config_listen *listen)
{
    const char *colon = strrchr(text, ':');
    bool bracket = text[0] == '[';
    const char *start = text + (bracket ? 1 : 0);
    unsigned char binary[16];
    size_t length;
    unsigned long port;
    char *end;

    if (colon == NULL || (bracket && (colon < start + 1 || colon[-1] != ']')))
        return false;
    length = (size_t)(colon - start) - (bracket ? 1 : 0);
    if (length == 0 || length >= sizeof(listen->address) || colon[1] < '1' || colon[1] > '9')
        return false;
    memcpy(listen->address, start, length);
    listen->address[length] = '\0';
    port = strtoul(colon + 1, &end, 10);
    if (*end != '\0' || port > 65535)
        return false;
    listen->port = (uint16_t)port;
    return inet_pton(bracket ? AF_INET6 : AF_INET, listen->address, binary) == 1;
}

static void metrics_check(const struct json_cursor *root, const struct node_names *nodes,
                          struct config_errors *errs)
{
    struct json_cursor metrics, object, member;
    struct config_listen listen;

    if (!json_cursor_typed(root, "metrics", json_type_object, &metrics) ||
        !json_cursor_typed(&metrics, "listen", json_type_object, &object))
        return;
    if (nodes != NULL)
        node_keys(&object, nodes, false, errs);
    FOR_EACH(&member, &object)
    {
        char found[128];

        if (!json_object_is_type(member.value, json_type_string) ||
            config_listen_parse(json_object_get_string(member.value), &listen))
            continue;
        schema_say_found(member.value, found, sizeof(found));
        json_cursor_report(&member, JSON_PLACE_VALUE, errs,
                           "found %s, expected a numeric address and a port from 1 to 65535, as in "
                           "\"127.0.0.1:9419\" or \"[::1]:9419\"",
                           found);
    }
}

static void socket_check(const struct json_cursor *root, const struct node_names *nodes,
                         struct config_errors *errs)
{
    const size_t room = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
    struct json_cursor control, value;
    const char *text;

    if (!json_cursor_typed(root, "control", json_type_object, &control))
        return;
    text = string_of(&control, "socket", &value);
    if (text == NULL)
        return;
    for (const char *c = strchr(text, '%'); c != NULL; c = strchr(c + 2, '%')) {
        if (c[1] != 'n' && c[1] != '%') {
            json_cursor_report(&value, JSON_PLACE_VALUE, errs,
                               "found %%%.1s in the path, expected %%n for the node's name or %%%% "
                               "for a percent sign",
                               c + 1);
            return;
        }
    }
    for (size_t i = 0; nodes != NULL && i < CONFIG_NODES; i++) {
        char *path = config_expand_node(text, nodes->name[i]);
        size_t length = path != NULL ? strlen(path) : 0;

        free(path);
        if (length <= room)
            continue;
        json_cursor_report(&value, JSON_PLACE_VALUE, errs,
                           "this path has %zu bytes on node \"%.40s\", expected at most %zu: no "
                           "socket can have a longer one",
                           length, nodes->name[i], room);
        return;
    }
}

// ---- clients as processes

struct client_place {
    const char *process; // NULL: inline
    int64_t hang_ms;
};

static struct client_place client_place(const struct json_cursor *client)
{
    struct json_cursor value;
    const char *isolation = string_of(client, "isolation", &value);
    struct client_place place = {NULL, CONFIG_HANG_MS};

    if (isolation == NULL || strcmp(isolation, "process") != 0)
        return place;
    place.process = string_of(client, "process", &value);
    if (place.process == NULL)
        place.process = string_of(client, "name", &value);
    if (json_cursor_typed(client, "hang_ms", json_type_int, &value))
        place.hang_ms = json_object_get_int64(value.value);
    return place;
}

static void client_check(const struct json_cursor *client, const struct json_cursor *clients,
                         struct config_errors *errs)
{
    static const char *const keys[] = {"process", "hang_ms"};
    struct client_place place = client_place(client);
    struct json_cursor value, other;

    for (size_t i = 0; place.process == NULL && i < sizeof(keys) / sizeof(keys[0]); i++)
        if (json_cursor_typed(client, keys[i], i == 0 ? json_type_string : json_type_int, &value))
            json_cursor_report(&value, JSON_PLACE_VALUE, errs,
                               "%s is of clients with \"isolation\": \"process\"; say that, or "
                               "leave it out",
                               keys[i]);
    if (place.process == NULL || !json_cursor_typed(client, "hang_ms", json_type_int, &value))
        return;
    FOR_EACH(&other, clients)
    {
        struct client_place others = client_place(&other);

        if (others.process == NULL || strcmp(others.process, place.process) != 0 ||
            others.hang_ms == place.hang_ms)
            continue;
        json_cursor_report(
            &value, JSON_PLACE_VALUE, errs,
            "found %lld, where another client of the process \"%.40s\" has %lld: say "
            "the same for all of them",
            (long long)place.hang_ms, place.process, (long long)others.hang_ms);
        return;
    }
}

static void manager_check(const struct json_cursor *manager, const struct node_names *nodes,
                          struct config_errors *errs)
{
    struct json_cursor list, item, object;

    config_timers_check(manager, errs);
    if (list_of(manager, "links", &list)) {
        names_differ(&list, "link of a manager", errs);
        FOR_EACH(&item, &list)
        {
            if (nodes != NULL && json_cursor_typed(&item, "nodes", json_type_object, &object))
                node_keys(&object, nodes, true, errs);
        }
    }
    if (list_of(manager, "clients", &list)) {
        names_differ(&list, "client of a manager", errs);
        FOR_EACH(&item, &list)
        {
            client_check(&item, &list, errs);
        }
    }
}

void config_check(const struct json_cursor *root, struct config_errors *errs)
{
    struct node_names names;
    const struct node_names *nodes = nodes_read(root, &names) ? &names : NULL;
    struct json_cursor list, item;

    socket_check(root, nodes, errs);
    metrics_check(root, nodes, errs);
    if (!list_of(root, "managers", &list))
        return;
    names_differ(&list, "manager", errs);
    FOR_EACH(&item, &list)
    manager_check(&item, nodes, errs);
}
