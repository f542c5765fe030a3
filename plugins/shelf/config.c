// SPDX-License-Identifier: Apache-2.0
#include "config.h"
#include "front.h"

#include <carrick/error.h>

#include <json-c/json.h>

#include <assert.h>
#include <stdio.h>
#include <string.h>

static int read_text(struct json_object *value, const char *pointer, char *text, size_t room,
                     struct carrick_error *error)
{
    const char *string = json_object_get_string(value);

    if (!json_object_is_type(value, json_type_string) || string[0] == '\0' ||
        strlen(string) >= room || strlen(string) != (size_t)json_object_get_string_len(value))
        return carrick_error_config(error, pointer,
                                    "a text of 1 to %zu bytes is expected here, not %.80s",
                                    room - 1, json_object_to_json_string(value));
    snprintf(text, room, "%s", string);
    return CARRICK_OK;
}

// Names stand in file names, in the NBD export's name, and in what is said to the partner.
static int read_name(struct json_object *value, const char *pointer, char *name, size_t room,
                     struct carrick_error *error)
{
    int status = read_text(value, pointer, name, room, error);

    if (status == CARRICK_OK &&
        name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")] !=
            '\0')
        return carrick_error_config(
            error, pointer, "a name of letters, digits, _ . and - is expected here, not %.80s",
            json_object_to_json_string(value));
    return status;
}

static int read_number(struct json_object *value, const char *pointer, uint64_t min, uint64_t max,
                       uint64_t *number, struct carrick_error *error)
{
    int64_t read = json_object_get_int64(value);

    if (!json_object_is_type(value, json_type_int) || read < 0 || (uint64_t)read < min ||
        (uint64_t)read > max)
        return carrick_error_config(
            error, pointer, "a whole number from %llu to %llu is expected here, not %.80s",
            (unsigned long long)min, (unsigned long long)max, json_object_to_json_string(value));
    *number = (uint64_t)read;
    return CARRICK_OK;
}

// Puts the path into `path`; "%n" in it stands for the node's name and "%%" for a percent sign, as in
// the rest of the configuration.
static int read_path(struct json_object *value, const char *node, const char *pointer, char *path,
                     size_t room, struct carrick_error *error)
{
    char raw[SHELF_PATH_MAX];
    size_t used = 0;
    int status = read_text(value, pointer, raw, sizeof raw, error);

    if (status != CARRICK_OK)
        return status;
    if (raw[0] != '/')
        return carrick_error_config(error, pointer, "an absolute path is expected here, not %.80s",
                                    raw);
    if (node == NULL)
        node = "";
    for (const char *at = raw; *at != '\0';) {
        bool is_node = at[0] == '%' && at[1] == 'n', is_percent = at[0] == '%' && at[1] == '%';
        size_t length = is_node ? strlen(node) : 1;

        if (used + length >= room)
            return carrick_error_config(error, pointer,
                                        "the path is too long: at most %zu bytes fit", room - 1);
        memcpy(path + used, is_node ? node : at, length);
        used += length;
        at += is_node || is_percent ? 2 : 1;
    }
    path[used] = '\0';
    return CARRICK_OK;
}

static int read_shelf_key(const char *key, struct json_object *value, const char *node,
                          const char *pointer, struct shelf_config_shelf *shelf,
                          struct carrick_error *error)
{
    if (strcmp(key, "name") == 0)
        return read_name(value, pointer, shelf->name, sizeof shelf->name, error);
    if (strcmp(key, "group") == 0)
        return read_name(value, pointer, shelf->group, sizeof shelf->group, error);
    if (strcmp(key, "path") == 0) // room for the map's ending is left
        return read_path(value, node, pointer, shelf->path, sizeof shelf->path - 8, error);
    if (strcmp(key, "bytes") == 0) {
        int status = read_number(value, pointer, 4096, SHELF_BYTES_MAX, &shelf->bytes, error);
        if (status == CARRICK_OK && shelf->bytes % 4096 != 0)
            return carrick_error_config(error, pointer,
                                        "a multiple of 4096 is expected here, not %llu",
                                        (unsigned long long)shelf->bytes);
        return status;
    }
    if (strcmp(key, "new") == 0) {
        if (!json_object_is_type(value, json_type_boolean))
            return carrick_error_config(error, pointer, "true or false is expected here");
        shelf->added = json_object_get_boolean(value);
        return CARRICK_OK;
    }
    return carrick_error_config(
        error, pointer, "a shelf has no key '%.60s'; it has name, group, path, bytes and new", key);
}

static int check_shelf(const struct shelf_config *config, const struct shelf_config_shelf *shelf,
                       const char *pointer, struct carrick_error *error)
{
    if (shelf->name[0] == '\0' || shelf->group[0] == '\0' || shelf->path[0] == '\0' ||
        shelf->bytes == 0)
        return carrick_error_config(error, pointer,
                                    "a shelf needs all of name, group, path and bytes");
    for (const struct shelf_config_shelf *other = config->shelves; other != shelf; other++) {
        if (strcmp(other->name, shelf->name) == 0)
            return carrick_error_config(
                error, pointer, "there is another shelf named %s: names must differ", shelf->name);
        if (strcmp(other->path, shelf->path) == 0)
            return carrick_error_config(
                error, pointer, "shelf %s has the same path: each needs its own", other->name);
    }
    return CARRICK_OK;
}

static int read_shelves(struct json_object *array, const char *node, struct shelf_config *config,
                        struct carrick_error *error)
{
    char pointer[128];

    if (!json_object_is_type(array, json_type_array))
        return carrick_error_config(error, "/shelves", "an array of shelves is expected here");
    if (json_object_array_length(array) > SHELF_SHELVES_MAX)
        return carrick_error_config(error, "/shelves", "at most %u shelves are possible, not %zu",
                                    SHELF_SHELVES_MAX, json_object_array_length(array));
    for (uint32_t i = 0; i < json_object_array_length(array); i++) {
        struct json_object *entry = json_object_array_get_idx(array, i);
        struct shelf_config_shelf *shelf = &config->shelves[i];

        snprintf(pointer, sizeof pointer, "/shelves/%u", i);
        if (!json_object_is_type(entry, json_type_object))
            return carrick_error_config(error, pointer, "an object is expected here");
        json_object_object_foreach(entry, key, value)
        {
            snprintf(pointer, sizeof pointer, "/shelves/%u/%.64s", i, key);
            int status = read_shelf_key(key, value, node, pointer, shelf, error);
            if (status != CARRICK_OK)
                return status;
        }
        snprintf(pointer, sizeof pointer, "/shelves/%u", i);
        int status = check_shelf(config, shelf, pointer, error);
        if (status != CARRICK_OK)
            return status;
        config->count++;
    }
    return CARRICK_OK;
}

static int read_flush(struct json_object *value, struct shelf_config *config,
                      struct carrick_error *error)
{
    const char *text = json_object_get_string(value);

    if (json_object_is_type(value, json_type_string) &&
        (strcmp(text, "memory") == 0 || strcmp(text, "persistent") == 0)) {
        config->flush_memory = strcmp(text, "memory") == 0;
        return CARRICK_OK;
    }
    return carrick_error_config(error, "/flush",
                                "\"memory\" or \"persistent\" is expected here, not %.80s",
                                json_object_to_json_string(value));
}

static int read_count(struct json_object *value, const char *pointer, uint32_t min, uint32_t max,
                      uint32_t *number, struct carrick_error *error)
{
    uint64_t read = 0;
    int status = read_number(value, pointer, min, max, &read, error);

    *number = (uint32_t)read;
    return status;
}

static int read_key(const char *key, struct json_object *value, const char *node,
                    struct shelf_config *config, struct carrick_error *error)
{
    char pointer[128];

    snprintf(pointer, sizeof pointer, "/%.64s", key);
    if (strcmp(key, "socket") == 0)
        return read_path(value, node, pointer, config->socket, sizeof config->socket, error);
    if (strcmp(key, "socket_group") == 0)
        return read_text(value, pointer, config->socket_group, sizeof config->socket_group, error);
    if (strcmp(key, "connections") == 0)
        return read_count(value, pointer, 1, FRONT_CONNECTIONS_MAX, &config->connections, error);
    if (strcmp(key, "requests") == 0) {
        int status =
            read_count(value, pointer, 1, FRONT_REQUESTS_MAX, &config->connection_requests, error);
        if (status == CARRICK_OK &&
            (config->connection_requests & (config->connection_requests - 1)) != 0)
            return carrick_error_config(error, pointer, "a power of two is expected here, not %u",
                                        config->connection_requests);
        return status;
    }
    if (strcmp(key, "flush") == 0)
        return read_flush(value, config, error);
    if (strcmp(key, "destage_delay_ms") == 0)
        return read_count(value, pointer, 0, 60000, &config->destage_delay_ms, error);
    if (strcmp(key, "destage_requests") == 0)
        return read_count(value, pointer, 1, 256, &config->destage_requests, error);
    if (strcmp(key, "catchup_bytes_per_second") == 0)
        return read_number(value, pointer, 0, INT64_MAX, &config->catchup_bytes_per_second, error);
    if (strcmp(key, "shelves") == 0)
        return read_shelves(value, node, config, error);
    return carrick_error_config(
        error, pointer,
        "shelf does not know '%.60s'; it has shelves, socket, socket_group, connections, "
        "requests, flush, destage_delay_ms, destage_requests, catchup_bytes_per_second",
        key);
}

static int read_section(struct json_object *section, const char *node, struct shelf_config *config,
                        struct carrick_error *error)
{
    if (!json_object_is_type(section, json_type_object))
        return carrick_error_config(error, "", "shelf wants an object");
    json_object_object_foreach(section, key, value)
    {
        int status = read_key(key, value, node, config, error);
        if (status != CARRICK_OK)
            return status;
    }
    if (config->count == 0)
        return carrick_error_config(error, "/shelves", "at least one shelf is expected here");
    return CARRICK_OK;
}

// Records and messages name a shelf by its place in its group, and a group by its place among those that are named here. A
// shelf that one node alone has is none of it: so one can be added to a node at a time, and used when both have it.
static void terms_write(struct shelf_config *config)
{
    char *at = config->terms, *end = at + sizeof config->terms;
    const char *groups[SHELF_SHELVES_MAX];
    uint32_t group_count = 0, places[SHELF_SHELVES_MAX];

    for (uint32_t i = 0; i < config->count; i++) {
        const struct shelf_config_shelf *shelf = &config->shelves[i];
        uint32_t group = 0;

        while (group < group_count && strcmp(groups[group], shelf->group) != 0)
            group++;
        if (group == group_count) {
            groups[group_count++] = shelf->group;
            places[group] = 0;
        }
        at += snprintf(at, (size_t)(end - at), "shelf %s: group %s (%u), place %u, bytes %llu\n",
                       shelf->name, shelf->group, group, places[group]++,
                       (unsigned long long)shelf->bytes);
    }
}

static_assert(SHELF_SHELVES_MAX * (2 * CARRICK_NAME_MAX + 96) < CARRICK_CLIENT_TERMS_MAX,
              "the terms of all shelves have room");

int shelf_config_read(const char *json, const char *node, struct shelf_config *config,
                      struct carrick_error *error)
{
    struct json_object *section = json_tokener_parse(json);

    *config = (struct shelf_config){.destage_delay_ms = 200, .destage_requests = 64};
    int status = read_section(section, node, config, error);
    if (status == CARRICK_OK)
        terms_write(config);
    json_object_put(section);
    return status;
}
