// SPDX-License-Identifier: Apache-2.0
// Reading a workload as an operator or the bench writes it:
//     {"duration_ms": 2000, "streams": [{"op": "write", "size": 4096, "depth": 1, "count": 20000}]}
// One stream may be written without the array, its keys beside those of the run.
#include "workload.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

struct number_key {
    const char *name;
    uint64_t *value;
    uint64_t low;
    uint64_t high;
};

static int refuse(struct carrick_error *error, const char *key, const char *wanted)
{
    error->status = CARRICK_ERR_CONFIG;
    snprintf(error->pointer, sizeof error->pointer, "/%s", key);
    snprintf(error->text, sizeof error->text, "\"%s\" must be %s", key, wanted);
    return CARRICK_ERR_CONFIG;
}

static int number_take(const struct number_key *key, json_object *value,
                       struct carrick_error *error)
{
    char wanted[80];
    if (json_object_is_type(value, json_type_int)) {
        int64_t n = json_object_get_int64(value);
        if (n >= 0 && (uint64_t)n >= key->low && (uint64_t)n <= key->high) {
            *key->value = (uint64_t)n;
            return CARRICK_OK;
        }
    }
    snprintf(wanted, sizeof wanted, "a whole number from %llu to %llu",
             (unsigned long long)key->low, (unsigned long long)key->high);
    return refuse(error, key->name, wanted);
}

static int kind_take(struct stream_plan *s, json_object *value, struct carrick_error *error)
{
    static const char *const names[] = {"", "write", "pipeline", "read", "send"};
    const char *text = json_object_get_string(value);
    for (int k = STREAM_WRITE; k <= STREAM_SEND; k++) {
        if (text != NULL && strcmp(text, names[k]) == 0) {
            s->kind = (enum stream_kind)k;
            return CARRICK_OK;
        }
    }
    return refuse(error, "op", "\"write\", \"pipeline\", \"read\" or \"send\"");
}

static int stream_key_take(struct stream_plan *s, const char *name, json_object *value, bool *known,
                           struct carrick_error *error)
{
    const struct number_key keys[] = {
        {"size", &s->size, 0, STREAM_BYTES_MAX},
        {"depth", &s->depth, 1, DEPTH_MAX},
        {"count", &s->count, 0, UINT32_MAX},
        {"warmup", &s->warmup, 0, UINT32_MAX},
        {"vi", &s->vi, 0, CARRICK_CLIENT_VIS_MAX - 1},
        {"there", &s->there, 0, CARRICK_CLIENT_REGIONS_MAX - 1},
    };
    *known = true;
    if (strcmp(name, "op") == 0)
        return kind_take(s, value, error);
    if (strcmp(name, "background") == 0) {
        s->background = json_object_get_boolean(value);
        return json_object_is_type(value, json_type_boolean) ? CARRICK_OK
                                                             : refuse(error, name, "true or false");
    }
    if (strcmp(name, "one_source") == 0) {
        s->one_source = json_object_get_boolean(value);
        return json_object_is_type(value, json_type_boolean) ? CARRICK_OK
                                                             : refuse(error, name, "true or false");
    }
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strcmp(name, keys[i].name) == 0)
            return number_take(&keys[i], value, error);
    }
    *known = false;
    return CARRICK_OK;
}

static int stream_check(const struct workload_plan *plan, const struct stream_plan *s,
                        struct carrick_error *error)
{
    if (s->size * s->depth > STREAM_BYTES_MAX)
        return refuse(error, "size", "such that size times depth is at most 256 MiB");
    if (s->kind == STREAM_SEND && s->size > CARRICK_SEND_BYTES_MAX)
        return refuse(error, "size", "at most 4096 for \"send\"");
    if (s->one_source && s->kind == STREAM_READ)
        return refuse(error, "one_source", "left out for \"read\"");
    if (s->count == 0 && !s->background && plan->duration_ms == 0)
        return refuse(error, "count", "given when there is no \"duration_ms\"");
    return CARRICK_OK;
}

static struct stream_plan stream_default(void)
{
    return (struct stream_plan){.kind = STREAM_WRITE, .size = 4096, .depth = 1};
}

static int stream_parse(json_object *from, struct stream_plan *s, struct carrick_error *error)
{
    *s = stream_default();
    if (!json_object_is_type(from, json_type_object))
        return refuse(error, "streams", "an array of objects");
    json_object_object_foreach(from, name, value)
    {
        bool known;
        int rc = stream_key_take(s, name, value, &known, error);
        if (rc != CARRICK_OK || !known)
            return rc != CARRICK_OK ? rc : refuse(error, name, "left out: no such key of a stream");
    }
    return CARRICK_OK;
}

static int streams_parse(json_object *from, struct workload_plan *plan, struct carrick_error *error)
{
    size_t n = json_object_is_type(from, json_type_array) ? json_object_array_length(from) : 0;
    if (n < 1 || n > STREAMS_MAX)
        return refuse(error, "streams", "an array of 1 to 8 objects");
    for (size_t i = 0; i < n; i++) {
        int rc = stream_parse(json_object_array_get_idx(from, i), &plan->streams[i], error);
        if (rc != CARRICK_OK)
            return rc;
    }
    plan->stream_count = (uint32_t)n;
    return CARRICK_OK;
}

static int plan_parse(json_object *from, struct workload_plan *plan, struct carrick_error *error)
{
    const struct number_key keys[] = {
        {"duration_ms", &plan->duration_ms, 1, 25000},
        {"deadline_ms", &plan->deadline_ms, 1, 28000},
    };
    if (!json_object_is_type(from, json_type_object))
        return refuse(error, "", "an object");
    json_object_object_foreach(from, name, value)
    {
        bool known = true;
        int rc = CARRICK_OK;
        if (strcmp(name, "streams") == 0)
            rc = streams_parse(value, plan, error);
        else if (strcmp(name, keys[0].name) == 0)
            rc = number_take(&keys[0], value, error);
        else if (strcmp(name, keys[1].name) == 0)
            rc = number_take(&keys[1], value, error);
        else
            rc = stream_key_take(&plan->streams[0], name, value, &known, error);
        if (rc != CARRICK_OK || !known)
            return rc != CARRICK_OK ? rc : refuse(error, name, "left out: no such key of a run");
    }
    for (uint32_t i = 0; i < plan->stream_count; i++) {
        int rc = stream_check(plan, &plan->streams[i], error);
        if (rc != CARRICK_OK)
            return rc;
    }
    return CARRICK_OK;
}

int workload_parse(const char *json, struct workload_plan *plan, struct carrick_error *error)
{
    *plan = (struct workload_plan){.deadline_ms = 28000, .stream_count = 1};
    plan->streams[0] = stream_default();
    json_object *root = json_tokener_parse(json);
    int rc = plan_parse(root, plan, error);
    json_object_put(root);
    return rc;
}
