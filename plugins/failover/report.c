// SPDX-License-Identifier: Apache-2.0
//
// All that the monitor knows, as one snapshot with reasons and ages: what `carrick status` and `carrick failover` show.
#include "report.h"

#include <stdio.h>
#include <string.h>

static const char *role_name(uint32_t role)
{
    return role == CARRICK_LOG_OWNER ? "owner" : role == CARRICK_LOG_SHADOW ? "shadow" : "idle";
}

static const char *condition_name(uint32_t condition)
{
    static const char *const names[] = {"empty",        "whole",    "corrupt",
                                        "inconsistent", "scanning", "unusable"};

    return condition < sizeof names / sizeof names[0] ? names[condition] : "?";
}

static const char *level_name(uint32_t level)
{
    static const char *const names[] = {"unknown", "volatile", "memory", "persistent"};

    return level < 4 ? names[level] : "?";
}

void fo_report_text(struct json_object *object, const char *key, const char *value)
{
    json_object_object_add(object, key, json_object_new_string(value));
}

static void add_number(struct json_object *object, const char *key, uint64_t value)
{
    json_object_object_add(object, key, json_object_new_int64((int64_t)value));
}

static void add_id(struct json_object *object, const char *key, const uint8_t id[16])
{
    char text[33];

    for (int i = 0; i < 16; i++)
        snprintf(text + 2 * i, 3, "%02x", id[i]);
    fo_report_text(object, key, fo_id_is_zero(id) ? "" : text);
}

static struct json_object *report_copy(const struct carrick_log_copy *copy)
{
    struct json_object *object = json_object_new_object();

    fo_report_text(object, "role", role_name(copy->role));
    fo_report_text(object, "condition", condition_name(copy->condition));
    fo_report_text(object, "level", level_name(copy->level));
    json_object_object_add(object, "member", json_object_new_boolean(copy->member));
    add_id(object, "generation", copy->generation.id);
    add_number(object, "number", copy->generation.number);
    add_number(object, "last", copy->last);
    add_number(object, "acknowledged", copy->acknowledged);
    return object;
}

static struct json_object *report_record(const struct group *group)
{
    struct json_object *object = json_object_new_object(), *members = json_object_new_array();
    const struct carrick_arbiter_record *record = &group->record;

    add_number(object, "number", record->number);
    fo_report_text(object, "owner", record->owner);
    add_id(object, "generation", record->generation);
    for (uint32_t i = 0; i < record->member_count && i < CARRICK_ARBITER_MEMBERS_MAX; i++)
        json_object_array_add(members, json_object_new_string(record->members[i].node));
    json_object_object_add(object, "members", members);
    return object;
}

static void report_progress(struct json_object *object, const struct group *group)
{
    struct carrick_mirror_state mirror;

    fo_group_mirror(group, &mirror);
    json_object_object_add(object, "connected", json_object_new_boolean(mirror.connected));
    if (mirror.log.state == CARRICK_RESYNC_RUNNING ||
        mirror.shelf.state == CARRICK_RESYNC_RUNNING) {
        uint64_t total = mirror.log.total_bytes + mirror.shelf.total_bytes;
        uint64_t at = mirror.log.done_bytes + mirror.shelf.done_bytes;
        uint64_t rate = mirror.shelf.bytes_per_second ? mirror.shelf.bytes_per_second
                                                      : mirror.log.bytes_per_second;
        add_number(object, "resync_percent", total ? at * 100 / total : 0);
        add_number(object, "resync_bytes_per_second", rate);
        if (rate > 0 && total >= at)
            add_number(object, "resync_left_s", (total - at) / rate);
    }
}

struct json_object *fo_report_group(struct group *group, bool detail)
{
    struct json_object *object = json_object_new_object();
    const struct carrick_host *base = group->failover->host->base;
    uint64_t now_ns = failover_now_ns(group->failover);
    struct carrick_log_copy copy;

    fo_group_copy(group, &copy);
    fo_report_text(object, "name", group->name);
    fo_report_text(object, "state", fo_group_word(group));
    add_number(object, "age_ms", (now_ns - group->word_since_ns) / MS);
    fo_report_text(object, "reason", group->reason);
    if (group->outlook.fault[0] != '\0') {
        fo_report_text(object, "arbiter_fault", group->outlook.fault);
        add_number(object, "arbiter_fault_ms", (now_ns - group->outlook.since_ns) / MS);
    }
    fo_report_text(object, "step", fo_group_state_name(group->state));
    fo_report_text(object, "role", role_name(copy.role));
    fo_report_text(object, "owner",
                   copy.role == CARRICK_LOG_OWNER ? base->node
                   : group->theirs_known && group->theirs.copy.role == CARRICK_LOG_OWNER
                       ? base->partner
                       : "");
    fo_report_text(object, "home", group->failover->logs_ops->home(group->log));
    report_progress(object, group);
    if (!detail)
        return object;
    json_object_object_add(object, "copy", report_copy(&copy));
    if (group->theirs_known)
        json_object_object_add(object, "partner_copy", report_copy(&group->theirs.copy));
    if (group->record_known)
        json_object_object_add(object, "record", report_record(group));
    add_number(object, "takeovers", group->takeovers);
    add_number(object, "handovers", group->handovers);
    json_object_object_add(object, "unsettled", json_object_new_boolean(group->unsettled));
    return object;
}

struct json_object *fo_report_all(struct failover *failover, bool detail)
{
    struct json_object *object = json_object_new_object(), *groups = json_object_new_array(),
                       *partner = json_object_new_object();
    const struct monitor *monitor = &failover->monitor;
    uint64_t now_ns = failover_now_ns(failover);

    for (uint32_t i = 0; i < failover->group_count; i++)
        json_object_array_add(groups, fo_report_group(&failover->groups[i], detail));
    json_object_object_add(object, "groups", groups);
    if (failover->complained && !failover->found)
        fo_report_text(
            object, "trouble",
            "no group is decided on: there is no log; the configuration wants a client with "
            "the plugin nvram_shadow, in the process of this one");
    fo_report_text(partner, "name", failover->host->base->partner);
    fo_report_text(partner, "state", fo_partner_state_name(monitor->state));
    fo_report_text(partner, "reason", monitor->reason);
    add_number(partner, "age_ms", (now_ns - monitor->since_ns) / MS);
    if (monitor->heard_ever)
        add_number(partner, "silent_ms", (monitor->awake_ns - monitor->heard_awake_ns) / MS);
    fo_report_text(partner, "boot_stage", fo_boot_stage_name(monitor->boot_stage));
    if (monitor->boots) {
        add_number(partner, "boot_age_ms", (monitor->awake_ns - monitor->boot_awake_ns) / MS);
        json_object_object_add(partner, "boots_in_time",
                               json_object_new_boolean(fo_monitor_boots_in_time(failover)));
    }
    add_number(partner, "losses", monitor->losses);
    json_object_object_add(object, "partner", partner);
    fo_report_text(object, "arbiter",
                   failover->arbiter ? failover->arbiter_ops->name(failover->arbiter) : "none");
    fo_report_text(object, "on_mirror_loss", failover->config.go_on ? "continue" : "hold");
    fo_report_text(object, "on_driver_failure", failover->config.stay ? "stay" : "shift");
    json_object_object_add(object, "driver_failed",
                           json_object_new_boolean(monitor->driver_failed));
    return object;
}

// Whole or less, never cut in the middle: it is read as JSON.
void fo_report_state(struct failover *failover, char *text, size_t size)
{
    for (int detail = 1; detail >= 0; detail--) {
        struct json_object *object = fo_report_all(failover, detail != 0);
        const char *json = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN);
        bool fits = strlen(json) < size;

        if (fits)
            snprintf(text, size, "%s", json);
        json_object_put(object);
        if (fits)
            return;
    }
    snprintf(text, size, "{\"groups_left_out\":%u}", failover->group_count);
}
