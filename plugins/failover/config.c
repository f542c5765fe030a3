// SPDX-License-Identifier: Apache-2.0
#include "config.h"

#include <carrick/error.h>

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

const char *fo_hook_step_name(enum hook_step step)
{
    static const char *const names[HOOK_STEP_COUNT] = {"lost",    "takeover", "serving",
                                                       "stopped", "alone",    "protected"};

    return step < HOOK_STEP_COUNT ? names[step] : "?";
}

static int read_profile(const char *name, const char *pointer, struct config *config,
                        struct carrick_error *error)
{
    if (fo_timers_profile(name, &config->timers) != CARRICK_OK)
        return carrick_error_config(error, pointer,
                                    "expected \"default\" or \"fast\", found \"%.40s\"", name);
    snprintf(config->profile, sizeof config->profile, "%s", name);
    return CARRICK_OK;
}

static int read_timer(const char *key, struct json_object *value, struct config *config,
                      struct carrick_error *error)
{
    uint32_t *field = fo_timers_field(&config->timers, key);
    char pointer[128];
    int64_t ms = json_object_get_int64(value);

    snprintf(pointer, sizeof pointer, "/timers/%.60s", key);
    if (field == NULL)
        return carrick_error_config(
            error, pointer,
            "no timer of failover is called '%.60s'; 'carrick failover timers' lists them", key);
    if (!json_object_is_type(value, json_type_int) || ms < 5 || ms > 3600000)
        return carrick_error_config(error, pointer,
                                    "%s wants whole milliseconds from 5 to 3600000, not %.60s", key,
                                    json_object_to_json_string(value));
    *field = (uint32_t)ms;
    return CARRICK_OK;
}

static int read_timers(struct json_object *value, struct config *config,
                       struct carrick_error *error)
{
    struct json_object *profile;
    int status = CARRICK_OK;

    if (json_object_is_type(value, json_type_string))
        return read_profile(json_object_get_string(value), "/timers", config, error);
    if (!json_object_is_type(value, json_type_object))
        return carrick_error_config(
            error, "/timers",
            "expected \"default\", \"fast\" or an object of single timers, found %.60s",
            json_object_to_json_string(value));
    if (json_object_object_get_ex(value, "profile", &profile)) {
        if (!json_object_is_type(profile, json_type_string))
            return carrick_error_config(error, "/timers/profile",
                                        "expected \"default\" or \"fast\"");
        status = read_profile(json_object_get_string(profile), "/timers/profile", config, error);
    }
    json_object_object_foreach(value, key, timer)
    {
        if (status == CARRICK_OK && strcmp(key, "profile") != 0)
            status = read_timer(key, timer, config, error);
    }
    return status == CARRICK_OK ? fo_timers_check(&config->timers, error) : status;
}

static int read_hook(const char *name, struct json_object *value, struct hook_command *hook,
                     struct carrick_error *error)
{
    char pointer[128];
    size_t count;

    snprintf(pointer, sizeof pointer, "/hooks/%.60s", name);
    if (!json_object_is_type(value, json_type_array) || json_object_array_length(value) == 0 ||
        json_object_array_length(value) > HOOK_WORDS_MAX)
        return carrick_error_config(error, pointer,
                                    "expected a command as an array of 1 to %u words, such as "
                                    "[\"/usr/local/sbin/move-address\", \"up\"]",
                                    HOOK_WORDS_MAX);
    count = json_object_array_length(value);
    for (size_t i = 0; i < count; i++) {
        struct json_object *word = json_object_array_get_idx(value, i);

        snprintf(pointer, sizeof pointer, "/hooks/%.60s/%zu", name, i);
        if (!json_object_is_type(word, json_type_string) ||
            json_object_get_string_len(word) >= (int)HOOK_WORD_BYTES)
            return carrick_error_config(error, pointer, "expected a word of at most %u bytes",
                                        HOOK_WORD_BYTES - 1);
        snprintf(hook->word[i], HOOK_WORD_BYTES, "%s", json_object_get_string(word));
    }
    if (hook->word[0][0] != '/')
        return carrick_error_config(
            error, pointer, "a command begins with an absolute path, not '%.100s'", hook->word[0]);
    hook->words = (unsigned)count;
    return CARRICK_OK;
}

static int read_hooks(struct json_object *value, struct config *config, struct carrick_error *error)
{
    if (!json_object_is_type(value, json_type_object))
        return carrick_error_config(error, "/hooks", "expected an object of commands");
    json_object_object_foreach(value, key, command)
    {
        int status = CARRICK_ERR_NOT_FOUND;
        char pointer[128];

        for (int step = 0; step < HOOK_STEP_COUNT; step++)
            if (strcmp(key, fo_hook_step_name((enum hook_step)step)) == 0)
                status = read_hook(key, command, &config->hooks[step], error);
        snprintf(pointer, sizeof pointer, "/hooks/%.60s", key);
        if (status == CARRICK_ERR_NOT_FOUND)
            return carrick_error_config(
                error, pointer,
                "there is no step '%.60s'; there are lost, takeover, serving, stopped, "
                "alone and protected",
                key);
        if (status != CARRICK_OK)
            return status;
    }
    return CARRICK_OK;
}

static int read_loss(struct json_object *value, struct config *config, struct carrick_error *error)
{
    const char *text =
        json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";

    config->go_on = strcmp(text, "continue") == 0;
    if (!config->go_on && strcmp(text, "hold") != 0)
        return carrick_error_config(error, "/on_mirror_loss",
                                    "expected \"hold\" or \"continue\", found %.60s",
                                    json_object_to_json_string(value));
    return CARRICK_OK;
}

static int read_driver(struct json_object *value, struct config *config,
                       struct carrick_error *error)
{
    const char *text =
        json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";

    config->stay = strcmp(text, "stay") == 0;
    if (!config->stay && strcmp(text, "shift") != 0)
        return carrick_error_config(error, "/on_driver_failure",
                                    "expected \"shift\" or \"stay\", found %.60s",
                                    json_object_to_json_string(value));
    return CARRICK_OK;
}

static int read_section(struct json_object *section, struct config *config,
                        struct carrick_error *error)
{
    if (!json_object_is_type(section, json_type_object))
        return carrick_error_config(error, "", "failover wants an object");
    json_object_object_foreach(section, key, value)
    {
        char pointer[128];
        int status;

        snprintf(pointer, sizeof pointer, "/%.60s", key);
        if (strcmp(key, "timers") == 0)
            status = read_timers(value, config, error);
        else if (strcmp(key, "on_mirror_loss") == 0)
            status = read_loss(value, config, error);
        else if (strcmp(key, "on_driver_failure") == 0)
            status = read_driver(value, config, error);
        else if (strcmp(key, "hooks") == 0)
            status = read_hooks(value, config, error);
        else
            status = carrick_error_config(
                error, pointer,
                "failover does not know '%.60s'; it has timers, on_mirror_loss, "
                "on_driver_failure and hooks",
                key);
        if (status != CARRICK_OK)
            return status;
    }
    return CARRICK_OK;
}

int fo_config_read(const char *json, struct config *config, struct carrick_error *error)
{
    struct json_object *section = json_tokener_parse(json);
    int status;

    memset(config, 0, sizeof *config);
    fo_timers_profile("default", &config->timers);
    snprintf(config->profile, sizeof config->profile, "default");
    status = read_section(section, config, error);
    json_object_put(section);
    return status;
}
