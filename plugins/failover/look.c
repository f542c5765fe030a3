// SPDX-License-Identifier: Apache-2.0
//
// What the arbiter would say if it were needed now. While a pair is well nobody asks it, so one that is away, or that knows
// another history than the copies bear, would be noticed only when something has to change hands. So the record is looked at
// now and then, and for an operator. Nothing is done about what is seen: an arbiter that is away changes nothing for a pair
// that is well.
#include "failover.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_MS 10000u
#define DOUBTS_ENOUGH 2u // a look may fall into a change that is under way

struct look {
    struct look *next;
    struct group *group;
    fo_look_fn fn;
    void *arg;
};

// ---- one look

static void say(struct look_answer *answer, bool had, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void say(struct look_answer *answer, bool had, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(answer->fault, sizeof answer->fault, format, arguments);
    va_end(arguments);
    answer->had = had;
}

static void judge(const struct group *group, int status,
                  const struct carrick_arbiter_record *record, struct look_answer *answer)
{
    const struct failover *failover = group->failover;
    const char *arbiter = failover->arbiter_ops->name(failover->arbiter);
    struct carrick_log_copy mine;

    fo_group_copy(group, &mine);
    *answer = (struct look_answer){.had = true};
    if (status != CARRICK_OK || record == NULL)
        say(answer, false, "the arbiter %s could not be had: %s", arbiter,
            fo_claim_not_had_text(status));
    else if (group->record_known && record->number < group->record.number)
        // Force does not go against what this very daemon has seen.
        say(answer, false,
            "the arbiter %s shows record %llu, but %llu was seen before: an old backup was "
            "restored there, or it is another one",
            arbiter, (unsigned long long)record->number, (unsigned long long)group->record.number);
    else if (record->number == 0)
        say(answer, true,
            "the arbiter %s has no record of the group: is it the same one on both nodes?",
            arbiter);
    else if (!fo_copy_is_current(&mine, failover->host->base->node, record))
        say(answer, true,
            "the record %llu of the arbiter %s does not name this copy as one that holds every "
            "acknowledged write",
            (unsigned long long)record->number, arbiter);
}

static void answered(void *arg, int status, const struct carrick_arbiter_record *record)
{
    struct look *look = arg, **at;
    struct group *group = look->group;
    struct look_answer answer;
    fo_look_fn fn = look->fn;
    void *fn_arg = look->arg;

    for (at = &group->failover->looks; *at != look; at = &(*at)->next)
        ;
    *at = look->next;
    free(look);
    judge(group, status, record, &answer);
    fn(fn_arg, group, &answer);
}

int fo_look(struct group *group, fo_look_fn fn, void *arg)
{
    struct failover *failover = group->failover;
    struct look *look = malloc(sizeof *look);
    int status;

    if (look == NULL)
        return CARRICK_ERR_NO_MEMORY;
    *look = (struct look){.next = failover->looks, .group = group, .fn = fn, .arg = arg};
    failover->looks = look;
    status = failover->arbiter_ops->read(failover->arbiter, group->name,
                                         group_timers(group)->arbiter_ms, answered, look);
    if (status != CARRICK_OK) {
        failover->looks = look->next;
        free(look);
    }
    return status;
}

void fo_looks_forget(struct failover *failover)
{
    while (failover->looks != NULL) {
        struct look *look = failover->looks;

        failover->looks = look->next;
        free(look->arg);
        free(look);
    }
}

// ---- now and then

// Where nothing is asked otherwise, and the record must name both copies.
static bool is_watched(const struct group *group)
{
    return failover_has_arbiter(group->failover) && strcmp(group->word, "protected") == 0;
}

static void fault_set(struct group *group, const char *fault)
{
    struct outlook *outlook = &group->outlook;
    struct failover *failover = group->failover;

    if (strcmp(outlook->fault, fault) == 0)
        return;
    if (fault[0] != '\0')
        failover_say(failover, CARRICK_LOG_WARNING,
                     "group %s is protected, but could not change hands now: %s", group->name,
                     fault);
    else
        failover_say(failover, CARRICK_LOG_NOTICE, "group %s can change hands again", group->name);
    if (outlook->fault[0] == '\0')
        outlook->since_ns = failover_now_ns(failover);
    snprintf(outlook->fault, sizeof outlook->fault, "%s", fault);
}

static void look_taken(void *arg, struct group *group, const struct look_answer *answer)
{
    struct outlook *outlook = &group->outlook;
    uint64_t now_ns = failover_now_ns(group->failover);

    (void)arg;
    group->failover->looking = false;
    outlook->look_at_ns = now_ns + LOOK_MS * MS;
    if (!is_watched(group))
        return;
    if (answer->fault[0] == '\0') {
        outlook->doubts = 0;
        fault_set(group, "");
    } else if (++outlook->doubts >= DOUBTS_ENOUGH) {
        fault_set(group, answer->fault);
    } else {
        outlook->look_at_ns = now_ns + group_timers(group)->retry_ms * MS;
    }
}

void fo_look_tick(struct group *group, uint64_t now_ns)
{
    struct failover *failover = group->failover;

    if (!is_watched(group)) {
        group->outlook =
            (struct outlook){.look_at_ns = now_ns + group_timers(group)->retry_ms * MS};
        return;
    }
    // One at a time: an arbiter that is slow must not have a row of looks before it when it is needed.
    if (failover->looking || now_ns < group->outlook.look_at_ns)
        return;
    failover->looking = true;
    if (fo_look(group, look_taken, NULL) != CARRICK_OK)
        look_taken(NULL, group,
                   &(struct look_answer){.fault = "the arbiter takes no operation now"});
}
