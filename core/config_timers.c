// SPDX-License-Identifier: Apache-2.0
//
// The timers: what the profiles set, and how they depend on each other. Two timers that contradict
// each other would leave a pair of which neither side serves.

#include "core/config_internal.h"

#include <stdio.h>
#include <string.h>

static const struct profile {
    const char *name;
    struct config_timers timers;
} profiles[] = {
    {"fast",
     {.probe_ms = 20,
      .link_dead_ms = 80,
      .operation_ms = 500,
      .connect_ms = 500,
      .bringup_ms = 2000,
      .ending_ms = 1000,
      .session_lost_ms = 1000,
      .backoff_min_ms = 10,
      .backoff_max_ms = 500,
      .hold_ms = 0}},
    {"normal",
     {.probe_ms = 100,
      .link_dead_ms = 500,
      .operation_ms = 2000,
      .connect_ms = 2000,
      .bringup_ms = 5000,
      .ending_ms = 3000,
      .session_lost_ms = 3000,
      .backoff_min_ms = 50,
      .backoff_max_ms = 2000,
      .hold_ms = 200}},
    {"wan",
     {.probe_ms = 500,
      .link_dead_ms = 3000,
      .operation_ms = 10000,
      .connect_ms = 5000,
      .bringup_ms = 15000,
      .ending_ms = 5000,
      .session_lost_ms = 10000,
      .backoff_min_ms = 200,
      .backoff_max_ms = 10000,
      .hold_ms = 1000}},
};

static const struct field {
    const char *name;
    size_t offset;
} fields[] = {
#define FIELD(name)                                                                                \
    {                                                                                              \
#name, offsetof(struct config_timers, name)                                                \
    }
    FIELD(probe_ms),       FIELD(link_dead_ms), FIELD(operation_ms),    FIELD(connect_ms),
    FIELD(bringup_ms),     FIELD(ending_ms),    FIELD(session_lost_ms), FIELD(backoff_min_ms),
    FIELD(backoff_max_ms), FIELD(hold_ms),
#undef FIELD
};

static const struct rule {
    const char *less, *more;
    uint32_t factor; // more must be at least so many times less
    const char *reason;
} rules[] = {
    {"probe_ms", "link_dead_ms", 2, "one lost probe must not end a link"},
    {"link_dead_ms", "operation_ms", 1,
     "an operation must live long enough to be carried over from a link that died"},
    {"link_dead_ms", "session_lost_ms", 1,
     "the partner must not be given up before its last link is"},
    {"connect_ms", "bringup_ms", 1, "a session's bring-up contains the connecting of its link"},
    {"backoff_min_ms", "backoff_max_ms", 1, "the first wait cannot be longer than the longest"},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static uint32_t *field_of(struct config_timers *timers, const char *name)
{
    for (size_t i = 0; i < COUNT(fields); i++) {
        if (strcmp(fields[i].name, name) == 0)
            return (uint32_t *)((char *)timers + fields[i].offset);
    }
    return NULL;
}

static const struct profile *profile_find(const char *name)
{
    for (size_t i = 0; i < COUNT(profiles); i++) {
        if (strcmp(profiles[i].name, name) == 0)
            return &profiles[i];
    }
    return NULL;
}

void config_timers_build(const char *profile, struct json_object *overrides,
                         struct config_timers *timers)
{
    const struct profile *base = profile_find(profile);
    struct json_object *value;

    if (base != NULL)
        *timers = base->timers;
    for (size_t i = 0; i < COUNT(fields); i++) {
        if (json_object_object_get_ex(overrides, fields[i].name, &value))
            *field_of(timers, fields[i].name) = (uint32_t)json_object_get_int64(value);
    }
}

static const char *source(bool written, const char *profile, char *text, size_t size)
{
    if (written)
        return "";
    snprintf(text, size, " of the profile \"%s\"", profile);
    return text;
}

// Whether one of the first count errors is about this timer.
static bool reported(const struct json_cursor *timers, const char *name,
                     const struct config_errors *errs, size_t count)
{
    struct json_cursor at;
    const struct json_node *node;

    if (!json_cursor_member(timers, name, &at))
        return false;
    node = &at.positions->nodes[at.node];
    for (size_t i = 0; i < count; i++) {
        if (errs->error[i].line == node->line && errs->error[i].column == node->column)
            return true;
    }
    return false;
}

static void rule_check(const struct rule *rule, const struct json_cursor *timers,
                       struct config_timers *values, const char *profile,
                       struct config_errors *errs)
{
    uint32_t less = *field_of(values, rule->less), more = *field_of(values, rule->more);
    struct json_cursor less_at, more_at;
    bool less_written = json_cursor_typed(timers, rule->less, json_type_int, &less_at);
    bool more_written = json_cursor_typed(timers, rule->more, json_type_int, &more_at);
    char times[24] = "", from[64];

    if (more >= (uint64_t)less * rule->factor)
        return;
    if (rule->factor > 1)
        snprintf(times, sizeof(times), "%u times ", rule->factor);
    if (more_written)
        json_cursor_report(&more_at, JSON_PLACE_VALUE, errs,
                           "found %u, expected at least %u: %s must be at least %s%s (%u%s), since "
                           "%s",
                           more, less * rule->factor, rule->more, times, rule->less, less,
                           source(less_written, profile, from, sizeof(from)), rule->reason);
    else if (less_written)
        json_cursor_report(&less_at, JSON_PLACE_VALUE, errs,
                           "found %u, expected at most %u: %s (%u%s) must be at least %s%s, since "
                           "%s",
                           less, more / rule->factor, rule->more, more,
                           source(false, profile, from, sizeof(from)), times, rule->less,
                           rule->reason);
}

void config_timers_check(const struct json_cursor *manager, struct config_errors *errs)
{
    struct json_cursor timers, profile, value;
    const char *name = "normal";
    struct config_timers values;
    size_t before = errs->count;

    if (!json_cursor_typed(manager, "timers", json_type_object, &timers))
        return;
    if (json_cursor_member(manager, "profile", &profile)) {
        if (!json_object_is_type(profile.value, json_type_string))
            return;
        name = json_object_get_string(profile.value);
    }
    if (profile_find(name) == NULL)
        return;
    for (size_t i = 0; i < COUNT(fields); i++) {
        // A value that the schema refuses would only draw further messages after it.
        if (json_cursor_member(&timers, fields[i].name, &value) &&
            (!json_object_is_type(value.value, json_type_int) ||
             json_object_get_int64(value.value) < 0 || json_object_get_int64(value.value) > 600000))
            return;
    }
    config_timers_build(name, timers.value, &values);
    for (size_t i = 0; i < COUNT(rules); i++) {
        // What is out of its own range needs no second message.
        if (!reported(&timers, rules[i].less, errs, before) &&
            !reported(&timers, rules[i].more, errs, before))
            rule_check(&rules[i], &timers, &values, name, errs);
    }
}
