// SPDX-License-Identifier: Apache-2.0
//
// The wrapper's configuration section. A mistake is reported with a JSON pointer that begins "/config".
#include "fault.h"

#include <carrick/error.h>

#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const kind_names[FAULT_KIND_COUNT] = {
    [FAULT_NONE] = "none",           [FAULT_CUT] = "cut",
    [FAULT_DELAY] = "delay",         [FAULT_HOLD] = "hold",
    [FAULT_HALF_OPEN] = "half_open", [FAULT_LOSE_COMPLETION] = "lose_completion",
    [FAULT_REFUSE] = "refuse",       [FAULT_FAIL_REGISTRATION] = "fail_registration",
};

struct word {
    const char *name;
    int64_t value;
};

static const struct word subject_words[] = {
    {"write", FAULT_ON_WRITE},
    {"read", FAULT_ON_READ},
    {"send", FAULT_ON_SEND},
    {"flush", FAULT_ON_FLUSH},
    {"connect", FAULT_ON_CONNECT},
    {"accept", FAULT_ON_ACCEPT},
    {"any", FAULT_ON_POST | FAULT_ON_CONNECT | FAULT_ON_ACCEPT | FAULT_ON_REGISTER},
    {NULL, 0},
};

static const struct word status_words[] = {
    {"reset", CARRICK_ERR_RESET},
    {"closed", CARRICK_ERR_CLOSED},
    {"timeout", CARRICK_ERR_TIMEOUT},
    {"unreachable", CARRICK_ERR_UNREACHABLE},
    {"link_down", CARRICK_ERR_LINK_DOWN},
    {"refused", CARRICK_ERR_REFUSED},
    {"no_memory", CARRICK_ERR_NO_MEMORY},
    {"limit", CARRICK_ERR_LIMIT},
    {NULL, 0},
};

const char *fault_kind_name(enum fault_kind kind)
{
    return kind_names[kind];
}

__attribute__((format(printf, 3, 4))) static int
refuse(struct carrick_error *error, const char *pointer, const char *format, ...)
{
    char place[sizeof error->pointer];
    va_list arguments;

    snprintf(place, sizeof place, "/config%s", pointer);
    va_start(arguments, format);
    carrick_error_set_v(error, CARRICK_ERR_CONFIG, 0, place, format, arguments);
    va_end(arguments);
    return CARRICK_ERR_CONFIG;
}

static int read_number(struct json_object *value, const char *pointer, uint64_t least,
                       uint64_t most, uint64_t *number, struct carrick_error *error)
{
    if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0 ||
        json_object_get_uint64(value) < least || json_object_get_uint64(value) > most)
        return refuse(error, pointer, "%s is not a whole number from %llu to %llu",
                      json_object_to_json_string(value), (unsigned long long)least,
                      (unsigned long long)most);
    *number = json_object_get_uint64(value);
    return CARRICK_OK;
}

static int read_flag(struct json_object *value, const char *pointer, bool *flag,
                     struct carrick_error *error)
{
    if (!json_object_is_type(value, json_type_boolean))
        return refuse(error, pointer, "%s is neither true nor false",
                      json_object_to_json_string(value));
    *flag = json_object_get_boolean(value);
    return CARRICK_OK;
}

static int read_word(struct json_object *value, const char *pointer, const struct word *words,
                     int64_t *number, struct carrick_error *error)
{
    char known[160] = "";
    const char *text = json_object_get_string(value);

    for (const struct word *word = words; word->name != NULL; word++) {
        if (json_object_is_type(value, json_type_string) && strcmp(text, word->name) == 0) {
            *number = word->value;
            return CARRICK_OK;
        }
        snprintf(known + strlen(known), sizeof(known) - strlen(known), " %s", word->name);
    }
    return refuse(error, pointer, "%.60s is none of:%s", json_object_to_json_string(value), known);
}

static int read_kind(struct json_object *value, const char *pointer, enum fault_kind *kind,
                     struct carrick_error *error)
{
    struct word words[FAULT_KIND_COUNT];
    int64_t number = 0;
    int rc;

    for (int i = 1; i < FAULT_KIND_COUNT; i++)
        words[i - 1] = (struct word){kind_names[i], i};
    words[FAULT_KIND_COUNT - 1] = (struct word){NULL, 0};
    rc = read_word(value, pointer, words, &number, error);
    *kind = (enum fault_kind)number;
    return rc;
}

static int read_probability(struct json_object *value, const char *pointer, uint64_t *threshold,
                            struct carrick_error *error)
{
    double p = json_object_get_double(value);

    if ((!json_object_is_type(value, json_type_double) &&
         !json_object_is_type(value, json_type_int)) ||
        !(p >= 0.0 && p <= 1.0))
        return refuse(error, pointer, "%s is not a probability from 0 to 1",
                      json_object_to_json_string(value));
    *threshold = (uint64_t)(p * (double)(1ull << 53));
    return CARRICK_OK;
}

// What a rule may look at, and what it tells when the section does not say.
static int rule_complete(struct fault_rule *rule, bool timed, bool op_given, const char *pointer,
                         struct carrick_error *error)
{
    uint32_t allowed = FAULT_ON_POST;
    int32_t status = CARRICK_ERR_RESET;

    if (rule->kind == FAULT_NONE)
        return refuse(error, pointer, "\"fault\" is missing: say which fault this rule makes");
    if (!timed)
        return refuse(error, pointer,
                      "neither \"every\" nor \"probability\": say when the rule fires");
    if (rule->kind == FAULT_REFUSE) {
        allowed = FAULT_ON_CONNECT | FAULT_ON_ACCEPT;
        status = CARRICK_ERR_REFUSED;
    } else if (rule->kind == FAULT_FAIL_REGISTRATION) {
        allowed = FAULT_ON_REGISTER;
        status = CARRICK_ERR_NO_MEMORY;
    }
    if (!op_given)
        rule->subjects = rule->kind == FAULT_REFUSE ? FAULT_ON_CONNECT : allowed;
    rule->subjects &= allowed;
    if (rule->subjects == 0)
        return refuse(error, pointer, "\"op\" names nothing that \"%s\" can happen to",
                      kind_names[rule->kind]);
    if (rule->status == CARRICK_OK)
        rule->status = status;
    return CARRICK_OK;
}

static int read_rule(struct json_object *object, unsigned index, struct fault_rule *rule,
                     struct carrick_error *error)
{
    char at[32], pointer[96];
    bool timed = false, op_given = false;
    uint64_t delay_ms = 50;
    int rc = CARRICK_OK;

    snprintf(at, sizeof(at), "/rules/%u", index);
    if (!json_object_is_type(object, json_type_object))
        return refuse(error, at,
                      "a rule is an object such as {\"fault\": \"cut\", \"every\": 100}");
    json_object_object_foreach(object, key, value)
    {
        int64_t number = 0;

        snprintf(pointer, sizeof(pointer), "%s/%.32s", at, key);
        if (strcmp(key, "fault") == 0) {
            rc = read_kind(value, pointer, &rule->kind, error);
        } else if (strcmp(key, "op") == 0) {
            rc = read_word(value, pointer, subject_words, &number, error);
            rule->subjects = (uint32_t)number;
            op_given = true;
        } else if (strcmp(key, "every") == 0) {
            rc = read_number(value, pointer, 1, UINT32_MAX, &rule->every, error);
            timed = true;
        } else if (strcmp(key, "probability") == 0) {
            rc = read_probability(value, pointer, &rule->threshold, error);
            timed = true;
        } else if (strcmp(key, "after") == 0) {
            rc = read_number(value, pointer, 0, UINT32_MAX, &rule->after, error);
        } else if (strcmp(key, "count") == 0) {
            rc = read_number(value, pointer, 0, UINT32_MAX, &rule->count, error);
        } else if (strcmp(key, "delay_ms") == 0) {
            rc = read_number(value, pointer, 0, 60000, &delay_ms, error);
        } else if (strcmp(key, "status") == 0) {
            rc = read_word(value, pointer, status_words, &number, error);
            rule->status = (int32_t)number;
        } else {
            rc = refuse(error, pointer,
                        "unknown key; a rule has fault, op, every, probability, after, count, "
                        "delay_ms, status");
        }
        if (rc != CARRICK_OK)
            return rc;
    }
    if (rule->every != 0 && rule->threshold != 0)
        return refuse(error, at, "both \"every\" and \"probability\": say one of them");
    rule->delay_ns = delay_ms * FAULT_MS;
    return rule_complete(rule, timed, op_given, at, error);
}

static int read_rules(struct json_object *array, struct fault_config *config,
                      struct carrick_error *error)
{
    if (!json_object_is_type(array, json_type_array))
        return refuse(error, "/rules", "the rules are an array");
    if (json_object_array_length(array) > FAULT_RULES_MAX)
        return refuse(error, "/rules", "%zu rules, but there is room for %u",
                      json_object_array_length(array), FAULT_RULES_MAX);
    for (size_t i = 0; i < json_object_array_length(array); i++) {
        int rc =
            read_rule(json_object_array_get_idx(array, i), (unsigned)i, &config->rules[i], error);

        if (rc != CARRICK_OK)
            return rc;
        config->rules_count++;
    }
    return CARRICK_OK;
}

static int read_key(const char *key, struct json_object *value, struct fault_config *config,
                    struct carrick_error *error)
{
    uint64_t number = 0;
    char pointer[64];
    int rc;

    snprintf(pointer, sizeof(pointer), "/%.40s", key);
    if (strcmp(key, "seed") == 0) {
        config->seed_set = true;
        return read_number(value, pointer, 0, INT64_MAX, &config->seed, error);
    }
    if (strcmp(key, "rules") == 0)
        return read_rules(value, config, error);
    if (strcmp(key, "break_fence") == 0)
        return read_flag(value, pointer, &config->break_fence, error);
    if (strcmp(key, "withdraw_applied") == 0)
        return read_flag(value, pointer, &config->withdraw_applied, error);
    if (strcmp(key, "linger_ms") == 0) {
        rc = read_number(value, pointer, 0, 60000, &number, error);
        config->linger_ns = number * FAULT_MS;
        return rc;
    }
    if (strcmp(key, "held_bytes_max") == 0)
        return read_number(value, pointer, 0, 1u << 30, &config->held_bytes_max, error);
    if (strcmp(key, "held_ops_max") == 0) {
        rc = read_number(value, pointer, 0, 1u << 20, &number, error);
        config->held_ops_max = (uint32_t)number;
        return rc;
    }
    return refuse(error, pointer,
                  "unknown key; there are seed, rules, break_fence, withdraw_applied, linger_ms, "
                  "held_bytes_max, held_ops_max");
}

int fault_config_parse(const char *text, struct fault_config *config, struct carrick_error *error)
{
    enum json_tokener_error why = json_tokener_success;
    struct json_object *root;
    int rc = CARRICK_OK;

    *config = (struct fault_config){
        .linger_ns = 1000 * FAULT_MS,
        .held_bytes_max = 16u << 20,
        .held_ops_max = 256,
    };
    root = json_tokener_parse_verbose(text, &why);
    if (root == NULL || !json_object_is_type(root, json_type_object)) {
        json_object_put(root);
        return refuse(error, "", "not a JSON object: %s",
                      why == json_tokener_success ? "another type" : json_tokener_error_desc(why));
    }
    json_object_object_foreach(root, key, value)
    {
        rc = read_key(key, value, config, error);
        if (rc != CARRICK_OK)
            break;
    }
    json_object_put(root);
    // The dishonest fence cannot know what was applied, so it must not claim to.
    if (config->break_fence)
        config->withdraw_applied = true;
    return rc;
}
