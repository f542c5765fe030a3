// SPDX-License-Identifier: Apache-2.0
//
// The echo client's section of the configuration:
//
//     "config": {"interval_ms": 0, "bytes": 64, "depth": 1}
//
// An unknown key is an error, not a shrug: a mistyped one would otherwise do nothing, silently.
#include "echo.h"

#include <carrick/error.h>

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

static int read_number(struct json_object *value, const char *key, int64_t min, int64_t max,
                       uint32_t *number, struct carrick_error *error)
{
    char pointer[64];
    int64_t read = json_object_get_int64(value);
    if (!json_object_is_type(value, json_type_int) || read < min || read > max) {
        snprintf(pointer, sizeof pointer, "/%s", key);
        return carrick_error_config(
            error, pointer, "%s wants a whole number from %lld to %lld, not %.60s", key,
            (long long)min, (long long)max, json_object_to_json_string(value));
    }
    *number = (uint32_t)read;
    return CARRICK_OK;
}

static int read_key(const char *key, struct json_object *value, struct echo_config *config,
                    struct carrick_error *error)
{
    char pointer[64];
    if (strcmp(key, "interval_ms") == 0)
        return read_number(value, key, 0, 3600000, &config->interval_ms, error);
    if (strcmp(key, "bytes") == 0)
        return read_number(value, key, 1, ECHO_BYTES, &config->bytes, error);
    if (strcmp(key, "depth") == 0)
        return read_number(value, key, 1, ECHO_DEPTH_MAX, &config->depth, error);
    snprintf(pointer, sizeof pointer, "/%.60s", key);
    return carrick_error_config(
        error, pointer, "echo does not know '%.60s'; it has interval_ms, bytes and depth", key);
}

static int read_section(struct json_object *section, struct echo_config *config,
                        struct carrick_error *error)
{
    if (!json_object_is_type(section, json_type_object))
        return carrick_error_config(error, "", "echo wants an object");
    json_object_object_foreach(section, key, value)
    {
        int status = read_key(key, value, config, error);
        if (status != CARRICK_OK)
            return status;
    }
    if (config->depth * config->bytes > ECHO_BYTES)
        return carrick_error_config(error, "/depth",
                                    "depth times bytes must not be more than 65536");
    return CARRICK_OK;
}

int echo_config_read(const char *json, struct echo_config *config, struct carrick_error *error)
{
    *config = (struct echo_config){.interval_ms = 0, .bytes = 64, .depth = 1};
    struct json_object *section = json_tokener_parse(json);
    int status = read_section(section, config, error);
    json_object_put(section);
    return status;
}
