// SPDX-License-Identifier: Apache-2.0
// needs plugin: failover
//
// The section of the configuration, the timer budget's check against itself, the messages of the two monitors, and the
// table of the group's machine.
#include <criterion/criterion.h>

#include "plugins/failover/failover.h"

#include <stdio.h>
#include <string.h>

static void accepted(const char *json, struct config *config)
{
    struct carrick_error error = {.struct_size = sizeof error};

    cr_assert_eq(fo_config_read(json, config, &error), CARRICK_OK, "%s: %s", json, error.text);
}

static void refused(const char *json, const char *pointer, const char *part)
{
    struct carrick_error error = {.struct_size = sizeof error};
    struct config config;

    cr_assert_eq(fo_config_read(json, &config, &error), CARRICK_ERR_CONFIG, "taken: %s", json);
    cr_assert_str_eq(error.pointer, pointer, "%s: %s", json, error.pointer);
    cr_assert_not_null(strstr(error.text, part), "\"%s\" does not say \"%s\"", error.text, part);
}

Test(failover_config, good_sections)
{
    struct config config;

    accepted("{}", &config);
    cr_assert_eq(config.timers.gone_ms, 200);
    cr_assert(!config.go_on && !config.stay);
    accepted("{\"on_driver_failure\":\"stay\"}", &config);
    cr_assert(config.stay);
    accepted("{\"on_driver_failure\":\"shift\"}", &config);
    cr_assert(!config.stay);
    accepted("{\"timers\":\"fast\",\"on_mirror_loss\":\"continue\"}", &config);
    cr_assert_eq(config.timers.gone_ms, 60);
    cr_assert(config.go_on);
    accepted("{\"timers\":{\"profile\":\"fast\",\"gone_ms\":100}}", &config);
    cr_assert_eq(config.timers.gone_ms, 100);
    cr_assert_eq(config.timers.beat_ms, 15);
    accepted("{\"hooks\":{\"serving\":[\"/bin/true\",\"up\"]}}", &config);
    cr_assert_eq(config.hooks[HOOK_SERVING].words, 2);
    cr_assert_str_eq(config.hooks[HOOK_SERVING].word[1], "up");
}

Test(failover_config, mistakes_name_their_place)
{
    refused("[]", "", "object");
    refused("{\"timer\":1}", "/timer", "timers, on_mirror_loss, on_driver_failure and hooks");
    refused("{\"timers\":\"quick\"}", "/timers", "\"default\" or \"fast\"");
    refused("{\"timers\":5}", "/timers", "\"fast\"");
    refused("{\"timers\":{\"gone\":5}}", "/timers/gone", "no timer");
    refused("{\"timers\":{\"gone_ms\":\"5\"}}", "/timers/gone_ms", "whole milliseconds");
    refused("{\"timers\":{\"gone_ms\":4}}", "/timers/gone_ms", "from 5");
    refused("{\"on_mirror_loss\":\"go\"}", "/on_mirror_loss", "\"hold\" or \"continue\"");
    refused("{\"on_driver_failure\":\"go\"}", "/on_driver_failure", "\"shift\" or \"stay\"");
    refused("{\"on_driver_failure\":1}", "/on_driver_failure", "\"shift\" or \"stay\"");
    refused("{\"hooks\":{\"started\":[\"/bin/true\"]}}", "/hooks/started", "protected");
    refused("{\"hooks\":{\"serving\":[]}}", "/hooks/serving", "array");
    refused("{\"hooks\":{\"serving\":[\"true\"]}}", "/hooks/serving/0", "absolute path");
    refused("{\"hooks\":{\"serving\":[\"/bin/true\",1]}}", "/hooks/serving/1", "word");
}

Test(failover_config, a_budget_that_contradicts_itself_is_refused_by_both_names)
{
    refused("{\"timers\":{\"gone_ms\":60,\"beat_ms\":50,\"suspect_ms\":150}}", "/timers/gone_ms",
            "gone_ms is 60 and beat_ms is 50");
    refused("{\"timers\":{\"takeover_delay_ms\":60}}", "/timers/takeover_delay_ms",
            "the owner must have asked before its shadow begins");
    refused("{\"timers\":{\"still_ms\":180}}", "/timers/still_ms", "suspect_ms is 150");
    refused("{\"timers\":{\"claim_ms\":1500}}", "/timers/claim_ms", "arbiter_ms is 1000");
    refused("{\"timers\":{\"boot_wait_ms\":2000}}", "/timers/boot_wait_ms", "hello_ms is 3000");
}

Test(failover_config, both_profiles_hold_and_keep_their_promise)
{
    struct carrick_error error = {.struct_size = sizeof error};
    struct timers timers;

    cr_assert_eq(fo_timers_profile("default", &timers), CARRICK_OK);
    cr_assert_eq(fo_timers_check(&timers, &error), CARRICK_OK, "%s", error.text);
    cr_assert_leq(fo_timers_owner_lost_ms(&timers), 500); // half of the second is left for the rest
    cr_assert_eq(fo_timers_profile("fast", &timers), CARRICK_OK);
    cr_assert_eq(fo_timers_check(&timers, &error), CARRICK_OK, "%s", error.text);
    cr_assert_leq(fo_timers_owner_lost_ms(&timers), 150);
}

// ---- messages

static struct message sample(void)
{
    struct message message = {.kind = MESSAGE_STATE,
                              .mirror = CARRICK_MIRROR_BOTH,
                              .group = "g1",
                              .record_number = 9,
                              .copy = {.struct_size = sizeof message.copy,
                                       .condition = CARRICK_LOG_WHOLE,
                                       .level = CARRICK_LEVEL_MEMORY,
                                       .role = CARRICK_LOG_OWNER,
                                       .first = 1,
                                       .last = 1ull << 40,
                                       .acknowledged = 7,
                                       .incarnation = 3,
                                       .member = true}};

    memset(message.copy.generation.id, 'a', 16);
    message.copy.generation.number = 4;
    return message;
}

Test(failover_config, a_message_comes_as_it_was_sent)
{
    struct message sent = sample(), got;
    uint8_t bytes[MESSAGE_BYTES];

    fo_message_put(&sent, bytes);
    cr_assert(fo_message_get(bytes, sizeof bytes, &got));
    cr_assert_eq(got.copy.last, 1ull << 40);
    cr_assert_eq(got.record_number, 9);
    cr_assert_str_eq(got.group, "g1");
    cr_assert(got.copy.member);
    cr_assert_eq(memcmp(&got.copy.generation, &sent.copy.generation, sizeof sent.copy.generation),
                 0);
}

Test(failover_config, what_cannot_be_is_refused)
{
    struct message sent = sample(), got;
    uint8_t bytes[MESSAGE_BYTES + 1] = {0};

    fo_message_put(&sent, bytes);
    cr_assert(!fo_message_get(bytes, MESSAGE_BYTES - 1, &got));
    cr_assert(!fo_message_get(bytes, MESSAGE_BYTES + 1, &got));
    cr_assert(!fo_message_get(bytes, 0, &got));
    for (unsigned at = 0; at < 8; at++) { // magic, kind, version
        bytes[at] ^= 0x80;
        cr_assert(!fo_message_get(bytes, MESSAGE_BYTES, &got), "byte %u", at);
        bytes[at] ^= 0x80;
    }
    memset(bytes + 8, 'x', 32); // a name that does not end
    cr_assert(!fo_message_get(bytes, MESSAGE_BYTES, &got));
    fo_message_put(&sent, bytes);
    for (unsigned at = 40; at < 45; at++) { // mirror, condition, level, role, member
        uint8_t was = bytes[at];
        bytes[at] = 200;
        cr_assert(!fo_message_get(bytes, MESSAGE_BYTES, &got), "byte %u", at);
        bytes[at] = was;
    }
    memset(sent.copy.generation.id, 0, 16);
    fo_message_put(&sent, bytes);
    cr_assert(!fo_message_get(bytes, MESSAGE_BYTES, &got), "an owner without a generation");
}

// ---- the machine's table

Test(failover_config, every_state_has_a_deadline_and_a_name)
{
    for (int state = 0; state < GROUP_STATE_COUNT; state++) {
        bool found = false;

        for (size_t i = 0; i < fo_group_table_rows; i++)
            found |= fo_group_table[i].state == (enum group_state)state &&
                     fo_group_table[i].event == EVENT_DEADLINE;
        cr_assert(found, "state %d has no deadline", state);
        cr_assert_not_null(fo_group_state_name((enum group_state)state));
    }
}

Test(failover_config, no_pair_stands_twice_in_the_table)
{
    for (size_t i = 0; i < fo_group_table_rows; i++)
        for (size_t j = i + 1; j < fo_group_table_rows; j++)
            cr_assert(fo_group_table[i].state != fo_group_table[j].state ||
                          fo_group_table[i].event != fo_group_table[j].event,
                      "%s, event %d", fo_group_state_name(fo_group_table[i].state),
                      (int)fo_group_table[i].event);
}
