// SPDX-License-Identifier: Apache-2.0
//
// What the gateway answers. Members that have their default value are left out by it: what is missing there means
// something, so an answer counts only with the header that etcd gives to each.
#include "etcd.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 16

static struct json_object *parse(const char *body, size_t length)
{
    struct json_tokener *tokener = json_tokener_new_ex(DEPTH);
    struct json_object *object;

    if (tokener == NULL)
        return NULL;
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    // One byte more, the NUL, ends what could go on.
    object = json_tokener_parse_ex(tokener, body, (int)length + 1);
    if (json_tokener_get_error(tokener) != json_tokener_success ||
        json_tokener_get_parse_end(tokener) < length ||
        !json_object_is_type(object, json_type_object)) {
        json_object_put(object);
        object = NULL;
    }
    json_tokener_free(tokener);
    return object;
}

static struct json_object *get(struct json_object *from, const char *key, enum json_type type)
{
    struct json_object *value;

    return json_object_object_get_ex(from, key, &value) && json_object_is_type(value, type) ? value
                                                                                            : NULL;
}

static bool has(struct json_object *from, const char *key)
{
    return json_object_object_get_ex(from, key, NULL);
}

static const char *get_text(struct json_object *from, const char *key)
{
    struct json_object *value = get(from, key, json_type_string);

    return value == NULL ? NULL : json_object_get_string(value);
}

static bool get_number(struct json_object *from, const char *key, uint64_t *number)
{
    const char *text = get_text(from, key);
    char again[24];

    if (text == NULL)
        return false;
    *number = strtoull(text, NULL, 10);
    snprintf(again, sizeof again, "%" PRIu64, *number);
    return strcmp(again, text) == 0;
}

static bool is_of_etcd(struct json_object *reply)
{
    struct json_object *header = get(reply, "header", json_type_object);
    uint64_t number;

    return header != NULL && get_number(header, "cluster_id", &number) &&
           get_number(header, "member_id", &number) && get_number(header, "revision", &number);
}

static bool get_value(struct json_object *entry, const char *key, struct etcd_found *found)
{
    const char *its = get_text(entry, "key"), *value = get_text(entry, "value");
    char name[ETCD_KEY_BYTES];
    size_t length;

    if (its == NULL || !etcd_base64_get(its, name, sizeof name, &length) || length != strlen(key) ||
        memcmp(name, key, length) != 0 || !get_number(entry, "mod_revision", &found->mod_revision))
        return false;
    found->there = true;
    // An empty value is left out. What is too long is none of ours, and is told as such by the record's reader.
    found->length = 0;
    if (value != NULL &&
        !etcd_base64_get(value, found->value, sizeof found->value, &found->length)) {
        found->length = sizeof found->value;
        memset(found->value, 'x', sizeof found->value);
    }
    return value != NULL || !has(entry, "value");
}

static bool get_found(struct json_object *range, const char *key, struct etcd_found *found)
{
    struct json_object *entries = get(range, "kvs", json_type_array);
    uint64_t count = 0;

    found->there = false;
    if (has(range, "count") && !get_number(range, "count", &count))
        return false;
    if (!has(range, "kvs"))
        return count == 0;
    if (entries == NULL || json_object_array_length(entries) != 1 || count != 1)
        return false;
    return get_value(json_object_array_get_idx(entries, 0), key, found);
}

bool etcd_reply_range(const char *body, size_t length, const char *key, struct etcd_found *found)
{
    struct json_object *reply = parse(body, length);
    // A read's answer that holds nothing says that there is no record: it must not be another question's.
    bool good = reply != NULL && is_of_etcd(reply) && !has(reply, "succeeded") &&
                !has(reply, "responses") && !has(reply, "error") && get_found(reply, key, found);

    json_object_put(reply);
    return good;
}

// The only response, with the one member that is asked for.
static struct json_object *response_of(struct json_object *reply, const char *kind)
{
    struct json_object *responses = get(reply, "responses", json_type_array);

    if (responses == NULL || json_object_array_length(responses) != 1)
        return NULL;
    return get(json_object_array_get_idx(responses, 0), kind, json_type_object);
}

static bool read_change(struct json_object *reply, const char *key, bool *succeeded,
                        struct etcd_found *found)
{
    struct json_object *word = get(reply, "succeeded", json_type_boolean), *range;

    if (!is_of_etcd(reply) || (has(reply, "succeeded") && word == NULL))
        return false;
    *succeeded = word != NULL && json_object_get_boolean(word);
    if (*succeeded)
        return response_of(reply, "response_put") != NULL;
    range = response_of(reply, "response_range");
    return range != NULL && get(range, "header", json_type_object) != NULL &&
           get_found(range, key, found);
}

bool etcd_reply_change(const char *body, size_t length, const char *key, bool *succeeded,
                       struct etcd_found *found)
{
    struct json_object *reply = parse(body, length);
    bool good = reply != NULL && read_change(reply, key, succeeded, found);

    json_object_put(reply);
    return good;
}

bool etcd_reply_token(const char *body, size_t length, char token[ETCD_TOKEN_BYTES])
{
    struct json_object *reply = parse(body, length);
    const char *text = reply != NULL && is_of_etcd(reply) ? get_text(reply, "token") : NULL;
    bool good = text != NULL && text[0] != '\0' && strlen(text) < ETCD_TOKEN_BYTES;

    // It goes into a header's line.
    for (size_t i = 0; good && text[i] != '\0'; i++)
        good = text[i] > ' ' && text[i] < 0x7f;
    if (good)
        memcpy(token, text, strlen(text) + 1);
    json_object_put(reply);
    return good;
}

void etcd_reply_refusal(const char *body, size_t length, struct etcd_refusal *refusal)
{
    struct json_object *reply = parse(body, length);
    struct json_object *code = reply ? get(reply, "code", json_type_int) : NULL;
    const char *text = reply ? get_text(reply, "message") : NULL;

    if (text == NULL && reply != NULL)
        text = get_text(reply, "error");
    refusal->code = code != NULL && text != NULL ? json_object_get_int64(code) : -1;
    snprintf(refusal->message, sizeof refusal->message, "%s",
             text != NULL ? text : "it does not answer as etcd does");
    // It is shown to people.
    for (char *at = refusal->message; *at != '\0'; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?';
    json_object_put(reply);
}

enum {
    CODE_INVALID_ARGUMENT = 3,
    CODE_PERMISSION_DENIED = 7,
    CODE_RESOURCE_EXHAUSTED = 8,
    CODE_UNAUTHENTICATED = 16,
};

// Only what etcd says before, or instead of, carrying out. A time-out and a lost leader are not among these.
bool etcd_refusal_is_final(const struct etcd_refusal *refusal)
{
    return refusal->code == CODE_INVALID_ARGUMENT || refusal->code == CODE_PERMISSION_DENIED ||
           refusal->code == CODE_UNAUTHENTICATED ||
           (refusal->code == CODE_RESOURCE_EXHAUSTED &&
            strncmp(refusal->message, "etcdserver: ", 12) == 0);
}

bool etcd_refusal_is_of_token(const struct etcd_refusal *refusal)
{
    return refusal->code == CODE_UNAUTHENTICATED ||
           strstr(refusal->message, "revision of auth store is old") != NULL ||
           strstr(refusal->message, "user name is empty") != NULL;
}
