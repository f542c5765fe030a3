// SPDX-License-Identifier: Apache-2.0
#include "timers.h"

#include <carrick/error.h>

#include <stdio.h>
#include <string.h>

#define ROW(field, meaning_)                                                                       \
    {                                                                                              \
#field, meaning_, offsetof(struct timers, field)                                           \
    }

const struct timers_row fo_timers_rows[TIMERS_COUNT] = {
    ROW(beat_ms, "a beat is sent and the partner looked at"),
    ROW(suspect_ms, "silence until the partner is suspected"),
    ROW(gone_ms, "without any link or session until the partner is lost"),
    ROW(still_ms, "a beat that stands still until the partner is hung"),
    ROW(takeover_delay_ms, "the first word is the owner's for so long"),
    ROW(stall_ms, "a partner that is there and does not follow, until the owner goes alone"),
    ROW(arbiter_ms, "one operation at the arbiter"),
    ROW(claim_ms, "a whole change at the arbiter"),
    ROW(retry_ms, "between two attempts"),
    ROW(hello_ms, "for the partner's first word in a session"),
    ROW(boot_wait_ms, "for the partner after a start, before serving alone"),
    ROW(boot_ms, "for a partner that is seen to boot, before serving alone"),
    ROW(fence_ms, "for a session to end"),
    ROW(serve_ms, "for scan and replay of the log"),
    ROW(join_ms, "for the partner to confirm that it is equal"),
    ROW(handover_ms, "for what is in flight in a hand-over"),
    ROW(hook_ms, "for one command of \"hooks\""),
};

static const struct {
    const char *name;
    struct timers timers;
} profiles[] = {
    {"default",
     {.beat_ms = 50,
      .suspect_ms = 150,
      .gone_ms = 200,
      .still_ms = 1500,
      .takeover_delay_ms = 200,
      .stall_ms = 3000,
      .arbiter_ms = 1000,
      .claim_ms = 3000,
      .retry_ms = 500,
      .hello_ms = 3000,
      .boot_wait_ms = 10000,
      .boot_ms = 120000,
      .fence_ms = 10000,
      .serve_ms = 60000,
      .join_ms = 5000,
      .handover_ms = 5000,
      .hook_ms = 10000}},
    {"fast",
     {.beat_ms = 15,
      .suspect_ms = 45,
      .gone_ms = 60,
      .still_ms = 600,
      .takeover_delay_ms = 60,
      .stall_ms = 1500,
      .arbiter_ms = 500,
      .claim_ms = 1500,
      .retry_ms = 200,
      .hello_ms = 1500,
      .boot_wait_ms = 5000,
      .boot_ms = 120000,
      .fence_ms = 5000,
      .serve_ms = 60000,
      .join_ms = 2500,
      .handover_ms = 2500,
      .hook_ms = 5000}},
};

// more must be at least so many times less
static const struct rule {
    const char *less, *more;
    uint32_t factor;
    const char *reason;
} rules[] = {
    {"beat_ms", "suspect_ms", 2, "one late beat must not make a suspect"},
    {"beat_ms", "gone_ms", 2, "a session that is made anew must not look like a loss"},
    {"suspect_ms", "still_ms", 2, "a busy partner must be suspected long before it counts as hung"},
    {"gone_ms", "still_ms", 1, "a lost link shows sooner than a hung partner, never later"},
    {"beat_ms", "takeover_delay_ms", 2,
     "both notice a loss within a beat, and the owner must have asked before its shadow begins"},
    {"still_ms", "stall_ms", 1, "a hung partner must be noticed before it is called unwilling"},
    {"arbiter_ms", "claim_ms", 2, "an unknown outcome is settled by a second operation"},
    {"beat_ms", "retry_ms", 1, "nothing is tried more often than it is looked at"},
    {"hello_ms", "boot_wait_ms", 1, "a partner that is there must have had its say first"},
    {"gone_ms", "boot_wait_ms", 2, "a start must wait longer than a loss is noticed"},
    {"arbiter_ms", "join_ms", 1, "a partner may ask the arbiter meanwhile"},
};

int fo_timers_profile(const char *name, struct timers *timers)
{
    for (size_t i = 0; i < sizeof profiles / sizeof profiles[0]; i++) {
        if (strcmp(profiles[i].name, name) == 0) {
            *timers = profiles[i].timers;
            return CARRICK_OK;
        }
    }
    return CARRICK_ERR_NOT_FOUND;
}

uint32_t *fo_timers_field(struct timers *timers, const char *name)
{
    for (size_t i = 0; i < TIMERS_COUNT; i++) {
        if (strcmp(fo_timers_rows[i].name, name) == 0)
            return (uint32_t *)(void *)((char *)timers + fo_timers_rows[i].offset);
    }
    return NULL;
}

int fo_timers_check(const struct timers *timers, struct carrick_error *error)
{
    struct timers copy = *timers;

    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const struct rule *rule = &rules[i];
        uint32_t less = *fo_timers_field(&copy, rule->less),
                 more = *fo_timers_field(&copy, rule->more);
        char pointer[sizeof error->pointer], times[32] = "";

        if (more >= (uint64_t)less * rule->factor)
            continue;
        if (rule->factor > 1)
            snprintf(times, sizeof times, "%u times ", rule->factor);
        snprintf(pointer, sizeof pointer, "/timers/%s", rule->more);
        return carrick_error_config(
            error, pointer, "%s is %u and %s is %u, but %s must be at least %s%s: %s", rule->more,
            more, rule->less, less, rule->more, times, rule->less, rule->reason);
    }
    return CARRICK_OK;
}

uint32_t fo_timers_owner_lost_ms(const struct timers *timers)
{
    return timers->beat_ms + timers->gone_ms + timers->takeover_delay_ms;
}

uint32_t fo_timers_owner_hung_ms(const struct timers *timers)
{
    return timers->beat_ms + timers->still_ms + timers->takeover_delay_ms;
}

uint32_t fo_timers_shadow_lost_ms(const struct timers *timers)
{
    return timers->beat_ms + timers->gone_ms;
}

uint32_t fo_timers_shift_ms(const struct timers *timers)
{
    return fo_timers_owner_lost_ms(timers) + timers->claim_ms;
}
