// SPDX-License-Identifier: Apache-2.0
//
// The machine that runs the table of steps.c: one state per group, one function that changes it, a deadline in each.
#include "steps.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CLAIM_SLACK                                                                                \
    2u // a claim ends by itself; its state's deadline is only there in case it does not

static const struct {
    const char *name;
    size_t deadline; // offset of a timer
    uint32_t factor;
} states[GROUP_STATE_COUNT] = {
#define STATE(name, timer, factor)                                                                 \
    {                                                                                              \
        name, offsetof(struct timers, timer), factor                                               \
    }
    [GROUP_BOOT] = STATE("boot", beat_ms, 1),
    [GROUP_TALK] = STATE("talk", hello_ms, 1),
    [GROUP_LOOK] = STATE("look", claim_ms, CLAIM_SLACK),
    [GROUP_UNDECIDED] = STATE("undecided", retry_ms, 1),
    [GROUP_YIELD] = STATE("yield", boot_wait_ms, 1),
    [GROUP_DIVERGED] = STATE("diverged", boot_wait_ms, 1),
    [GROUP_FENCE] = STATE("fence", fence_ms, 1),
    [GROUP_CLAIM] = STATE("claim", claim_ms, CLAIM_SLACK),
    [GROUP_CONFIRM] = STATE("confirm", claim_ms, CLAIM_SLACK),
    [GROUP_SERVE] = STATE("serve", serve_ms, 1),
    [GROUP_BOTH] = STATE("both", retry_ms, 1),
    [GROUP_BOTH_ASK] = STATE("both-ask", claim_ms, CLAIM_SLACK),
    [GROUP_ALONE] = STATE("alone", retry_ms, 1),
    [GROUP_RESYNC] = STATE("resync", retry_ms, 1),
    [GROUP_JOIN] = STATE("join", join_ms, 1),
    [GROUP_JOIN_ASK] = STATE("join-ask", claim_ms, CLAIM_SLACK),
    [GROUP_QUIET] = STATE("quiet", handover_ms, 1),
    [GROUP_HAND_ASK] = STATE("hand-ask", claim_ms, CLAIM_SLACK),
    [GROUP_RESET] = STATE("reset", fence_ms, 1),
    [GROUP_SHADOW] = STATE("shadow", retry_ms, 1),
    [GROUP_LOST] = STATE("lost", takeover_delay_ms, 1),
    [GROUP_LOST_LOOK] = STATE("lost-look", claim_ms, CLAIM_SLACK),
#undef STATE
};

const char *fo_group_state_name(enum group_state state)
{
    return state < GROUP_STATE_COUNT ? states[state].name : "?";
}

void fo_group_reason(struct group *group, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(group->reason, sizeof group->reason, format, arguments);
    va_end(arguments);
}

void fo_group_copy(const struct group *group, struct carrick_log_copy *copy)
{
    *copy = (struct carrick_log_copy){.struct_size = sizeof *copy};
    group->failover->logs_ops->copy(group->log, copy);
}

void fo_group_mirror(const struct group *group, struct carrick_mirror_state *mirror)
{
    *mirror = (struct carrick_mirror_state){.struct_size = sizeof *mirror};
    mirror->log.struct_size = mirror->shelf.struct_size = sizeof mirror->log;
    group->failover->logs_ops->mirror_state(group->log, mirror);
}

const char *fo_group_peer_name(const struct group *group)
{
    return group->failover->host->base->partner;
}

// ---- what operators see

// The owner's side of it: the partner's copy bears a history of its own, and nothing is done about it by itself.
bool fo_group_is_diverged(const struct group *group)
{
    const struct carrick_log_copy *theirs = &group->theirs.copy;
    struct carrick_log_copy mine;

    if (!group->failover->session || !group->theirs_known || !theirs->member ||
        fo_id_is_zero(theirs->generation.id))
        return false;
    fo_group_copy(group, &mine);
    return !fo_id_equal(theirs->generation.id, mine.generation.id) &&
           !fo_id_equal(theirs->generation.id, mine.generation.parent) &&
           !fo_id_equal(theirs->generation.parent, mine.generation.id);
}

static const char *word_of(struct group *group)
{
    struct carrick_mirror_state mirror;
    struct carrick_log_copy copy;

    switch (group->state) {
    case GROUP_BOTH:
    case GROUP_BOTH_ASK:
    case GROUP_QUIET:
    case GROUP_HAND_ASK:
        fo_group_mirror(group, &mirror);
        if (mirror.mirror == CARRICK_MIRROR_JOINING)
            return "resyncing";
        return mirror.connected ? "protected" : "stalled";
    case GROUP_ALONE:
        return fo_group_is_diverged(group) ? "diverged" : "alone";
    case GROUP_RESYNC:
    case GROUP_JOIN:
    case GROUP_JOIN_ASK:
        return "resyncing";
    case GROUP_DIVERGED:
        return "diverged";
    case GROUP_FENCE:
    case GROUP_CLAIM:
    case GROUP_CONFIRM:
    case GROUP_SERVE:
        return "taking-over";
    default:
        break;
    }
    fo_group_copy(group, &copy);
    if (copy.condition == CARRICK_LOG_INCONSISTENT)
        return "inconsistent";
    if (copy.condition == CARRICK_LOG_UNUSABLE)
        return "waiting";
    if (group->state == GROUP_SHADOW || group->state == GROUP_RESET)
        return !copy.member ? "resyncing"
               : group->failover->session && !group->failover->monitor.lost &&
                       group->state == GROUP_SHADOW
                   ? "protected"
                   : "waiting";
    if (group->record_known && group->record.number > 0 &&
        !fo_copy_is_current(&copy, group->failover->host->base->node, &group->record))
        return "stale";
    return "waiting";
}

static bool owner_state(enum group_state state)
{
    return state >= GROUP_BOTH && state <= GROUP_HAND_ASK;
}

static bool is_retry(enum group_state state)
{
    return state == GROUP_ALONE || state == GROUP_RESYNC;
}

// Bringing the partner up to date has failed more than once for one cause, which was told.
static bool is_tried_again(const struct group *group)
{
    return group->resync_failures > 1 && is_retry(group->state);
}

const char *fo_group_word(struct group *group)
{
    const char *word = word_of(group);
    bool serves = owner_state(group->state);

    // First that it serves, for which users wait; then what that is worth.
    if (serves != group->serves) {
        group->serves = serves;
        fo_hooks_run(group, serves ? HOOK_SERVING : HOOK_STOPPED);
    }
    if (strcmp(word, group->word) != 0) {
        bool again = is_tried_again(group);

        if (strcmp(word, "alone") == 0 && group->word[0] != '\0' && !again)
            fo_hooks_run(group, HOOK_ALONE);
        if (strcmp(word, "protected") == 0)
            fo_hooks_run(group, HOOK_PROTECTED);
        failover_say(group->failover, again ? CARRICK_LOG_DEBUG : CARRICK_LOG_NOTICE,
                     "group %s: %s%s%s: %s", group->name, word, group->word[0] ? " after " : "",
                     group->word, group->reason[0] ? group->reason : "-");
        snprintf(group->word, sizeof group->word, "%s", word);
        group->word_since_ns = failover_now_ns(group->failover);
    }
    return group->word;
}

// ---- the machine

static bool is_polled(enum group_state state)
{
    return state == GROUP_LOOK || state == GROUP_UNDECIDED;
}

static bool comes_to_rest(enum group_state state)
{
    return state == GROUP_UNDECIDED || state == GROUP_YIELD || state == GROUP_DIVERGED ||
           state == GROUP_SHADOW || state == GROUP_TALK || state == GROUP_RESET;
}

// Where a group may be that was handed over, and whose partner has not spoken yet.
static bool waits_for_partner(enum group_state state)
{
    return state == GROUP_YIELD || state == GROUP_LOOK || state == GROUP_TALK ||
           state == GROUP_UNDECIDED || state == GROUP_HAND_ASK;
}

static void enter(struct group *group, enum group_state next)
{
    struct timers *timers = &group->failover->config.timers;
    uint32_t ms = *(const uint32_t *)(const void *)((char *)timers + states[next].deadline);
    uint64_t now_ns = failover_now_ns(group->failover);

    group->deadline_ns = now_ns + (uint64_t)ms * states[next].factor * MS;
    // A command that came to nothing is answered where its group comes to rest.
    if (!waits_for_partner(next))
        fo_hand_unheard(group);
    if (!group->handing && comes_to_rest(next))
        fo_steps_answer(group, CARRICK_ERR_STATE, "%s", group->reason);
    if (next == group->state)
        return;
    // States that are polled by their deadline would fill the log.
    failover_say(group->failover,
                 is_polled(next) || (is_tried_again(group) && is_retry(next)) ? CARRICK_LOG_DEBUG
                                                                              : CARRICK_LOG_INFO,
                 "group %s: step %s after %s: %s", group->name, states[next].name,
                 states[group->state].name, group->reason[0] ? group->reason : "-");
    // Nor is there anything to tell when one looks and decides nothing: two who both do so would set each other off.
    if (!is_polled(next) || !is_polled(group->state))
        failover_tell(group);
    group->state = next;
    group->state_since_ns = now_ns;
}

void fo_group_fire(struct group *group, enum group_event event)
{
    for (size_t i = 0; i < fo_group_table_rows; i++) {
        const struct group_row *row = &fo_group_table[i];

        if (row->state == group->state && row->event == event) {
            enter(group, row->step(group));
            break;
        }
    }
    fo_group_word(group);
}

// In the midst of a claim its answer comes first: so it is looked at again with each tick.
static bool is_unusable(const struct group *group)
{
    struct carrick_log_copy copy;

    fo_group_copy(group, &copy);
    return copy.condition == CARRICK_LOG_UNUSABLE && copy.role != CARRICK_LOG_IDLE;
}

void fo_group_tick(struct group *group, uint64_t now_ns)
{
    fo_claim_tick(group, now_ns);
    if (is_unusable(group))
        fo_group_fire(group, EVENT_UNUSABLE);
    if (now_ns >= group->given_until_ns)
        fo_hand_unheard(group);
    if (now_ns >= group->deadline_ns)
        fo_group_fire(group, EVENT_DEADLINE);
    fo_look_tick(group, now_ns);
}

// ---- the log's word

static void log_changed(void *arg)
{
    struct group *group = arg;

    fo_group_fire(group, is_unusable(group) ? EVENT_UNUSABLE : EVENT_CHANGED);
    failover_tell(group);
}

static void log_serving(void *arg, int status, const char *cause)
{
    struct group *group = arg;

    if (status != CARRICK_OK)
        fo_group_reason(group, "the log cannot serve: %.150s",
                        cause ? cause : "no cause was given");
    fo_group_fire(group, status == CARRICK_OK ? EVENT_SERVED : EVENT_FAILED);
}

void fo_group_init(struct group *group, struct failover *failover, const char *name)
{
    uint64_t now_ns = failover_now_ns(failover);

    group->failover = failover;
    snprintf(group->name, sizeof group->name, "%s", name);
    group->state = GROUP_BOOT;
    group->state_since_ns = now_ns;
    group->deadline_ns = now_ns;
    group->wait_until_ns = now_ns + failover->config.timers.boot_wait_ms * MS;
    fo_group_reason(group, "this node has just started");
}

int fo_group_attach(struct group *group)
{
    static const struct carrick_log_monitor monitor = {
        .struct_size = sizeof monitor, .changed = log_changed, .serving = log_serving};
    const struct carrick_log_ops *ops = group->failover->logs_ops;
    int status = ops->find(group->failover->logs, group->name, &group->log);

    return status == CARRICK_OK ? ops->attach_monitor(group->log, &monitor, group) : status;
}
