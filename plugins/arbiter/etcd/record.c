// SPDX-License-Identifier: Apache-2.0
//
// Numbers of 64 bits are strings, since many readers of JSON keep 53 bits of a number.
#include "etcd.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT 1 // of the value; one that says another is not understood

// ---- writing

static void add_text(struct json_object *to, const char *key, const char *text)
{
    json_object_object_add(to, key, json_object_new_string(text));
}

static void add_number(struct json_object *to, const char *key, uint64_t number)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRIu64, number);
    add_text(to, key, text);
}

static void add_id(struct json_object *to, const char *key, const uint8_t id[16])
{
    char text[33];

    for (int i = 0; i < 16; i++)
        snprintf(text + 2 * i, 3, "%02x", id[i]);
    add_text(to, key, text);
}

static struct json_object *members_of(const struct carrick_arbiter_record *record)
{
    struct json_object *members = json_object_new_array();

    for (uint32_t i = 0; i < record->member_count && i < CARRICK_ARBITER_MEMBERS_MAX; i++) {
        struct json_object *member = json_object_new_object();

        add_text(member, "node", record->members[i].node);
        add_number(member, "incarnation", record->members[i].incarnation);
        json_object_array_add(members, member);
    }
    return members;
}

size_t etcd_record_put(const char *group, const struct carrick_arbiter_record *record,
                       const char *writer, uint64_t nonce, char text[ETCD_VALUE_BYTES])
{
    struct json_object *object = json_object_new_object();
    const char *whole;
    size_t length;

    json_object_object_add(object, "carrick", json_object_new_int(FORMAT));
    add_text(object, "group", group);
    add_number(object, "number", record->number);
    add_id(object, "generation", record->generation);
    add_id(object, "parent", record->parent);
    add_number(object, "fork", record->fork_sequence);
    add_text(object, "owner", record->owner);
    add_number(object, "owner_incarnation", record->owner_incarnation);
    json_object_object_add(object, "members", members_of(record));
    add_text(object, "writer", writer);
    add_number(object, "nonce", nonce);
    whole = json_object_to_json_string_length(object, JSON_C_TO_STRING_PLAIN, &length);
    if (whole == NULL || length >= ETCD_VALUE_BYTES)
        length = 0;
    else
        memcpy(text, whole, length + 1);
    json_object_put(object);
    return length;
}

// ---- reading

static bool get_text(struct json_object *from, const char *key, const char **text)
{
    struct json_object *value;

    if (!json_object_object_get_ex(from, key, &value) ||
        !json_object_is_type(value, json_type_string) ||
        strlen(json_object_get_string(value)) != (size_t)json_object_get_string_len(value))
        return false;
    *text = json_object_get_string(value);
    return true;
}

static bool get_number(struct json_object *from, const char *key, uint64_t *number)
{
    const char *text;
    char again[24];

    if (!get_text(from, key, &text))
        return false;
    *number = strtoull(text, NULL, 10);
    snprintf(again, sizeof again, "%" PRIu64, *number);
    return strcmp(again, text) == 0; // no sign, no space, nothing cut off
}

static bool get_id(struct json_object *from, const char *key, uint8_t id[16])
{
    const char *text;

    if (!get_text(from, key, &text) || strlen(text) != 32 || strspn(text, "0123456789abcdef") != 32)
        return false;
    for (int i = 0; i < 16; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};

        id[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return true;
}

static bool get_name(struct json_object *from, const char *key, char name[CARRICK_NAME_MAX + 1])
{
    const char *text;

    if (!get_text(from, key, &text) || text[0] == '\0' || strlen(text) > CARRICK_NAME_MAX)
        return false;
    memcpy(name, text, strlen(text) + 1);
    return true;
}

static bool get_members(struct json_object *from, struct carrick_arbiter_record *record)
{
    struct json_object *members;

    if (!json_object_object_get_ex(from, "members", &members) ||
        !json_object_is_type(members, json_type_array) ||
        json_object_array_length(members) > CARRICK_ARBITER_MEMBERS_MAX)
        return false;
    for (size_t i = 0; i < json_object_array_length(members); i++) {
        struct json_object *member = json_object_array_get_idx(members, i);
        struct carrick_arbiter_member *to = &record->members[record->member_count++];

        if (!json_object_is_type(member, json_type_object) || !get_name(member, "node", to->node) ||
            !get_number(member, "incarnation", &to->incarnation))
            return false;
    }
    return true;
}

static const char *get_all(struct json_object *from, const char *group,
                           struct carrick_arbiter_record *record)
{
    struct json_object *format;
    const char *name;

    if (!json_object_is_type(from, json_type_object) ||
        !json_object_object_get_ex(from, "carrick", &format) ||
        !json_object_is_type(format, json_type_int))
        return "it is no record";
    if (json_object_get_int64(format) != FORMAT)
        return "it is of a format that this version does not know";
    if (!get_text(from, "group", &name) || strcmp(name, group) != 0)
        return "it is the record of another group";
    if (!get_number(from, "number", &record->number) || record->number == 0 ||
        !get_id(from, "generation", record->generation) ||
        !get_id(from, "parent", record->parent) ||
        !get_number(from, "fork", &record->fork_sequence) ||
        !get_name(from, "owner", record->owner) ||
        !get_number(from, "owner_incarnation", &record->owner_incarnation) ||
        !get_members(from, record))
        return "it is damaged";
    return NULL;
}

bool etcd_record_get(const char *text, size_t length, const char *group,
                     struct carrick_arbiter_record *record, const char **why)
{
    struct json_tokener *tokener;
    struct json_object *object;

    *record = (struct carrick_arbiter_record){.struct_size = sizeof *record};
    *why = "it is no record";
    if (length == 0 || length >= ETCD_VALUE_BYTES || memchr(text, '\0', length) != NULL)
        return false;
    tokener = json_tokener_new_ex(8);
    if (tokener == NULL)
        return false;
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    object = json_tokener_parse_ex(tokener, text, (int)length);
    if (json_tokener_get_error(tokener) == json_tokener_success &&
        json_tokener_get_parse_end(tokener) == length)
        *why = get_all(object, group, record);
    json_object_put(object);
    json_tokener_free(tokener);
    return *why == NULL;
}
