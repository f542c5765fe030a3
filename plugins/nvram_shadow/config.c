// SPDX-License-Identifier: Apache-2.0
#include "nvram.h"

#include <carrick/error.h>

#include <json-c/json.h>
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { DEPTH_MAX = 8 };
#ifndef RING_BYTES_MIN              // the simulator, whose records are short, allows less
#define RING_BYTES_MIN (4ull << 20) // some of the longest records must fit
#endif
#define RING_BYTES_MAX (1ull << 40)
#define RING_BYTES_STEP 4096
#define RING_BYTES_HUGE (2ull << 20)

const char *nv_level_name(uint32_t level)
{
    switch (level) {
    case CARRICK_LEVEL_VOLATILE:
        return "volatile";
    case CARRICK_LEVEL_MEMORY:
        return "memory";
    case CARRICK_LEVEL_PERSISTENT:
        return "persistent";
    default:
        return "none";
    }
}

static const struct {
    const char *name;
    enum nv_backing backing;
    uint32_t level; // what can be reached, and is asked for unless said otherwise
    bool has_path;
} backings[] = {
    {"memory", NV_BACKING_MEMORY, CARRICK_LEVEL_VOLATILE, false},
    {"tmpfs", NV_BACKING_TMPFS, CARRICK_LEVEL_MEMORY, true},
    {"hugetlbfs", NV_BACKING_HUGETLBFS, CARRICK_LEVEL_MEMORY, true},
    {"dax", NV_BACKING_DAX, CARRICK_LEVEL_MEMORY, true},
    {"file", NV_BACKING_FILE, CARRICK_LEVEL_PERSISTENT, true},
};
enum { BACKINGS = sizeof backings / sizeof backings[0] };

// One group while it is parsed.
struct group_parse {
    struct nv_group_config *group;
    const char *node;
    char pointer[64];
    int backing; // index, -1: not said
    struct carrick_error *error;
};

static int wrong(const struct group_parse *parse, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int wrong(const struct group_parse *parse, const char *key, const char *format, ...)
{
    char pointer[128];
    va_list ap;

    snprintf(pointer, sizeof pointer, "%s%s%.48s", parse->pointer, key[0] != '\0' ? "/" : "", key);
    va_start(ap, format);
    carrick_error_set_v(parse->error, CARRICK_ERR_CONFIG, 0, pointer, format, ap);
    va_end(ap);
    return CARRICK_ERR_CONFIG;
}

static int take_name(const struct group_parse *parse, const char *key, struct json_object *value,
                     char *into, const char *wanted)
{
    const char *text;
    size_t length;

    if (!json_object_is_type(value, json_type_string))
        return wrong(parse, key, "must be a text: %s", wanted);
    text = json_object_get_string(value);
    length = strlen(text);
    if (length == 0 || length > NV_GROUP_MAX ||
        strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") != length)
        return wrong(parse, key,
                     "must have 1 to %d characters out of letters, digits, _ . and -: %s",
                     NV_GROUP_MAX, wanted);
    memcpy(into, text, length + 1);
    return CARRICK_OK;
}

// The path; "%n" in it stands for the node's name and "%%" for a percent sign, as in the rest of the
// configuration.
static int take_path(const struct group_parse *parse, struct json_object *value)
{
    const char *text, *at;
    size_t used = 0, room = sizeof parse->group->path;
    int wrote;

    if (!json_object_is_type(value, json_type_string))
        return wrong(parse, "path", "must be a text: where the log lies, such as /dev/shm/log");
    text = json_object_get_string(value);
    if (text[0] != '/')
        return wrong(parse, "path", "must be an absolute path, not \"%.60s\"", text);
    for (at = text; *at != '\0' && used < room;) {
        if (at[0] == '%' && at[1] == 'n') {
            wrote = snprintf(parse->group->path + used, room - used, "%s", parse->node);
            used += (size_t)wrote;
            at += 2;
        } else {
            at += at[0] == '%' && at[1] == '%';
            parse->group->path[used++] = *at++;
        }
    }
    if (used >= room)
        return wrong(parse, "path", "is too long; at most %zu bytes", room - 1);
    parse->group->path[used] = '\0';
    return CARRICK_OK;
}

static int take_bytes(const struct group_parse *parse, struct json_object *value)
{
    int64_t bytes = json_object_get_int64(value);

    if (!json_object_is_type(value, json_type_int) || bytes < (int64_t)RING_BYTES_MIN ||
        bytes > (int64_t)RING_BYTES_MAX || bytes % RING_BYTES_STEP != 0)
        return wrong(
            parse, "log_bytes",
            "must be a whole number from %llu to %llu, a multiple of %d: bytes for records",
            RING_BYTES_MIN, RING_BYTES_MAX, RING_BYTES_STEP);
    parse->group->ring_bytes = (uint64_t)bytes;
    return CARRICK_OK;
}

static int take_backing(struct group_parse *parse, struct json_object *value)
{
    const char *text =
        json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";

    for (int i = 0; i < BACKINGS; i++)
        if (strcmp(backings[i].name, text) == 0)
            parse->backing = i;
    if (parse->backing < 0)
        return wrong(parse, "backing",
                     "must be \"memory\", \"tmpfs\", \"hugetlbfs\", \"dax\" or \"file\"");
    parse->group->backing = backings[parse->backing].backing;
    return CARRICK_OK;
}

static int take_level(const struct group_parse *parse, struct json_object *value)
{
    const char *text =
        json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";

    for (uint32_t level = CARRICK_LEVEL_VOLATILE; level <= CARRICK_LEVEL_PERSISTENT; level++)
        if (strcmp(nv_level_name(level), text) == 0)
            parse->group->level = level;
    if (parse->group->level == 0)
        return wrong(parse, "level", "must be \"volatile\", \"memory\" or \"persistent\"");
    return CARRICK_OK;
}

static int take_key(struct group_parse *parse, const char *key, struct json_object *value)
{
    if (strcmp(key, "name") == 0)
        return take_name(parse, key, value, parse->group->name, "name of the group");
    if (strcmp(key, "home") == 0)
        return take_name(parse, key, value, parse->group->home,
                         "name of the node that owns the group when nothing else decides");
    if (strcmp(key, "log_bytes") == 0)
        return take_bytes(parse, value);
    if (strcmp(key, "backing") == 0)
        return take_backing(parse, value);
    if (strcmp(key, "path") == 0)
        return take_path(parse, value);
    if (strcmp(key, "level") == 0)
        return take_level(parse, value);
    return wrong(parse, key,
                 "is no key of a group; it has: name, home, log_bytes, backing, path, level");
}

static int group_judge(struct group_parse *parse)
{
    struct nv_group_config *group = parse->group;

    if (group->name[0] == '\0')
        return wrong(parse, "", "\"name\" is missing: name of the group");
    if (group->home[0] == '\0')
        return wrong(parse, "", "\"home\" is missing: the node that owns the group");
    if (group->ring_bytes == 0)
        return wrong(parse, "", "\"log_bytes\" is missing: how large the log is");
    if (parse->backing < 0)
        return wrong(parse, "", "\"backing\" is missing: what the log lies in");
    if (backings[parse->backing].has_path && group->path[0] == '\0')
        return wrong(parse, "", "\"path\" is missing: where the log lies");
    if (!backings[parse->backing].has_path && group->path[0] != '\0')
        return wrong(parse, "path", "a log in memory has no path");
    if (group->level == 0)
        group->level = backings[parse->backing].level;
    // A log in device-DAX is asked when it is opened: the device says what it is.
    if (group->level > backings[parse->backing].level)
        return wrong(parse, "level",
                     "\"%s\" cannot be reached with backing \"%s\", which gives \"%s\"",
                     nv_level_name(group->level), backings[parse->backing].name,
                     nv_level_name(backings[parse->backing].level));
    if (nv_ring_at_of(group) == NV_RING_AT_HUGE && group->ring_bytes % RING_BYTES_HUGE != 0)
        return wrong(parse, "log_bytes", "must be a multiple of %llu on memory of huge pages",
                     RING_BYTES_HUGE);
    return CARRICK_OK;
}

static int group_parse(struct json_object *object, uint32_t index, const char *node,
                       struct nv_config *config, struct carrick_error *error)
{
    struct group_parse parse = {
        .group = &config->groups[index], .node = node, .backing = -1, .error = error};
    int status = CARRICK_OK;

    snprintf(parse.pointer, sizeof parse.pointer, "/groups/%u", index);
    if (!json_object_is_type(object, json_type_object))
        return wrong(&parse, "", "must be an object that describes a group");
    json_object_object_foreach(object, key, value)
    {
        if (status == CARRICK_OK)
            status = take_key(&parse, key, value);
    }
    if (status == CARRICK_OK)
        status = group_judge(&parse);
    for (uint32_t i = 0; status == CARRICK_OK && i < index; i++) {
        const struct nv_group_config *other = &config->groups[i];

        if (strcmp(other->name, parse.group->name) == 0)
            status = wrong(&parse, "name", "\"%s\" is the name of another group, too", other->name);
        else if (other->path[0] != '\0' && strcmp(other->path, parse.group->path) == 0)
            status = wrong(&parse, "path", "group \"%s\" has the same path", other->name);
    }
    return status;
}

static int groups_parse(struct json_object *section, const char *node, struct nv_config *config,
                        struct carrick_error *error)
{
    struct json_object *groups = NULL;
    int status = CARRICK_OK;
    size_t count;

    json_object_object_foreach(section, key, value)
    {
        char pointer[64];

        (void)value;
        snprintf(pointer, sizeof pointer, "/%.60s", key);
        if (strcmp(key, "groups") != 0)
            return carrick_error_config(error, pointer,
                                        "is no key of nvram_shadow; it has: groups");
    }
    if (!json_object_object_get_ex(section, "groups", &groups))
        return carrick_error_config(error, "", "\"groups\" is missing: the list of groups");
    if (!json_object_is_type(groups, json_type_array))
        return carrick_error_config(error, "/groups", "must be a list of groups");
    count = json_object_array_length(groups);
    if (count == 0 || count > NV_GROUPS_MAX)
        return carrick_error_config(error, "/groups", "has %zu groups, must have 1 to %d", count,
                                    NV_GROUPS_MAX);
    for (uint32_t i = 0; status == CARRICK_OK && i < count; i++)
        status = group_parse(json_object_array_get_idx(groups, i), i, node, config, error);
    config->count = (uint32_t)count;
    return status;
}

// Records name a group by its place, and go to the same place in the partner's ring. With another home on each node, each
// would leave the group to the other.
static void terms_write(struct nv_config *config)
{
    char *at = config->terms, *end = at + sizeof config->terms;

    at += snprintf(at, (size_t)(end - at), "groups: ");
    for (uint32_t i = 0; i < config->count; i++)
        at += snprintf(at, (size_t)(end - at), "%s%s", i > 0 ? " " : "", config->groups[i].name);
    at += snprintf(at, (size_t)(end - at), "\n");
    for (uint32_t i = 0; i < config->count; i++)
        at += snprintf(at, (size_t)(end - at), "group %s: home %s, log_bytes %llu\n",
                       config->groups[i].name, config->groups[i].home,
                       (unsigned long long)config->groups[i].ring_bytes);
}

static_assert(NV_GROUPS_MAX * (2 * (NV_GROUP_MAX + CARRICK_NAME_MAX) + 64) <
                  CARRICK_CLIENT_TERMS_MAX,
              "the terms of all groups have room");

int nv_config_parse(const char *text, const char *node, struct nv_config *config,
                    struct carrick_error *error)
{
    struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
    struct json_object *section;
    int status;

    memset(config, 0, sizeof *config);
    if (tokener == NULL)
        return carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, "", "out of memory");
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    section = json_tokener_parse_ex(tokener, text, (int)strlen(text) + 1);
    if (json_tokener_get_error(tokener) != json_tokener_success)
        status = carrick_error_config(error, "", "not JSON: %s",
                                      json_tokener_error_desc(json_tokener_get_error(tokener)));
    else if (!json_object_is_type(section, json_type_object))
        status = carrick_error_config(error, "", "must be an object with \"groups\"");
    else
        status = groups_parse(section, node, config, error);
    if (status == CARRICK_OK)
        terms_write(config);
    json_object_put(section);
    json_tokener_free(tokener);
    return status;
}
