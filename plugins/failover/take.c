// SPDX-License-Identifier: Apache-2.0
//
// The way to serving, in the only order that is safe: the promise to the partner is withdrawn, its way into this copy
// is closed and known to be closed, the arbiter says yes, and only then the log is scanned, cut, replayed and served.
// Whoever cannot have the arbiter gives the promise anew, and what the arbiter says later is not used.
#include "steps.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void fo_steps_answer(struct group *group, int status, const char *format, ...)
{
    const struct carrick_client_host *host = group->failover->host;
    char text[REASON_BYTES], json[REASON_BYTES + 4];
    va_list arguments;

    if (group->token == 0)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *at = text; *at; at++)
        if (*at == '"' || *at == '\\' || (unsigned char)*at < ' ')
            *at = '\'';
    snprintf(json, sizeof json, "\"%s\"", text);
    host->command_reply(host, group->token, status, json);
    group->token = 0;
}

// ---- a shadow that lost its owner

enum group_state fo_lost_look(struct group *group)
{
    // Asked before the promise is withdrawn: where the answer is no, nothing was given up.
    fo_claim_begin(group, CLAIM_LOOK);
    return GROUP_LOST_LOOK;
}

// A node whose own links have failed leaves the first word to the other, as an owner does that gives way; and for longer,
// so that of two such nodes the owner goes on.
enum group_state fo_lost_late(struct group *group)
{
    const struct failover *failover = group->failover;
    const struct timers *timers = group_timers(group);
    uint64_t until_ns =
        group->state_since_ns + (fo_timers_shift_ms(timers) + timers->takeover_delay_ms) * MS;

    if (failover->monitor.driver_failed && !failover->config.stay &&
        failover_now_ns(failover) < until_ns)
        return GROUP_LOST;
    return fo_lost_look(group);
}

enum group_state fo_lost_looked(struct group *group)
{
    const char *me = group->failover->host->base->node;
    struct carrick_log_copy mine;

    fo_group_copy(group, &mine);
    if (failover_has_arbiter(group->failover) && !fo_copy_is_current(&mine, me, &group->record) &&
        !(group->failover->break_rules & FAILOVER_BREAK_FOUND)) {
        fo_group_reason(group,
                        "the owner is lost, but the arbiter's record does not name this copy as "
                        "one that holds every acknowledged write");
        fo_steps_answer(group, CARRICK_ERR_STATE, "%s", group->reason);
        return GROUP_SHADOW;
    }
    if (!group->failover->monitor.lost && group->token == 0)
        return GROUP_SHADOW;
    fo_group_reason(group, "takes the group over: %.120s", group->failover->monitor.reason);
    return fo_step_begin_take(group, CLAIM_ALONE);
}

enum group_state fo_lost_not_had(struct group *group)
{
    fo_group_reason(group, "the owner is lost, but %.150s", group->claim.cause);
    fo_steps_answer(group, CARRICK_ERR_UNREACHABLE, "%s", group->reason);
    return GROUP_SHADOW;
}

// The owner is back, so nothing is asked any more: a question that an arbiter out of reach has not answered yet would only
// be waited for when the owner is lost the next time. What an operator asked for goes on.
enum group_state fo_lost_look_back(struct group *group)
{
    if (group->token != 0 || !fo_claim_is_only_asked(group))
        return GROUP_LOST_LOOK;
    fo_claim_drop(group);
    return GROUP_SHADOW;
}

enum group_state fo_shadow_take(struct group *group)
{
    if (group->forced)
        return fo_step_begin_take(group, CLAIM_FORCE);
    return fo_lost_look(group);
}

// ---- fence

static enum group_state fenced(struct group *group)
{
    if (group->purpose == CLAIM_HANDOVER) {
        fo_claim_begin(group, CLAIM_LOOK);
        return GROUP_CONFIRM;
    }
    fo_claim_begin(group, group->purpose);
    return GROUP_CLAIM;
}

enum group_state fo_step_begin_take(struct group *group, enum claim_purpose purpose)
{
    struct failover *failover = group->failover;
    struct carrick_log_copy mine;

    fo_group_copy(group, &mine);
    fo_claim_drop(group);
    group->purpose = purpose;
    group->was_shadow = mine.role == CARRICK_LOG_SHADOW;
    if (group->was_shadow) {
        group->followed = mine.generation;
        failover->logs_ops->idle(group->log, "the group is being taken over");
        group->role_epoch = failover->epoch;
        group->fence_open = failover->session || failover->bringup;
    }
    if (purpose == CLAIM_ALONE || purpose == CLAIM_FORCE)
        fo_hooks_run(group, HOOK_TAKEOVER);
    if (!group->fence_open || failover->break_rules & FAILOVER_BREAK_FENCE)
        return fenced(group);
    if (failover->session)
        failover_reset(failover, "a shadow closes its copy to the partner");
    return GROUP_FENCE;
}

enum group_state fo_take_fenced(struct group *group)
{
    return group->fence_open ? GROUP_FENCE : fenced(group);
}

// The bring-up that was under way has come to a session: its regions were given when the promise still stood.
enum group_state fo_take_fence_again(struct group *group)
{
    if (!group->fence_open)
        return fenced(group);
    failover_reset(group->failover, "a shadow closes its copy to the partner");
    return GROUP_FENCE;
}

enum group_state fo_take_fence_late(struct group *group)
{
    failover_say(group->failover, CARRICK_LOG_ERROR,
                 "group %s: the session with the partner does not end, so the partner might still "
                 "write here: the takeover waits for that",
                 group->name);
    if (group->failover->session)
        failover_reset(group->failover, "a shadow closes its copy to the partner");
    return GROUP_FENCE;
}

// ---- the arbiter's word

static enum group_state begin_serve(struct group *group)
{
    struct failover *failover = group->failover;
    int status =
        failover->logs_ops->serve(group->log, &group->serve_generation, group->serve_mirror);

    group->unconnected_ns = failover_now_ns(failover);
    if (status == CARRICK_OK)
        // With two members it ends only when the partner follows, or is given up: the owner's states see to that.
        return group->serve_mirror == CARRICK_MIRROR_BOTH ? GROUP_BOTH : GROUP_SERVE;
    fo_group_reason(group, "the log does not begin to serve (status 0x%x)", (unsigned)status);
    failover_say(failover, CARRICK_LOG_ERROR, "group %s: %s", group->name, group->reason);
    fo_steps_answer(group, status, "%s", group->reason);
    return GROUP_UNDECIDED;
}

enum group_state fo_take_won(struct group *group)
{
    bool both = group->purpose == CLAIM_BOTH;
    struct carrick_log_copy mine;

    fo_group_copy(group, &mine);
    fo_generation_of(&group->record, &mine, &group->serve_generation);
    group->serve_mirror = both ? CARRICK_MIRROR_BOTH : CARRICK_MIRROR_ALONE;
    group->was_shadow = false;
    if (group->purpose == CLAIM_FORCE)
        failover_say(group->failover, CARRICK_LOG_WARNING,
                     "group %s: taken over by force; what the other copy alone holds is lost",
                     group->name);
    return begin_serve(group);
}

enum group_state fo_take_confirmed(struct group *group)
{
    struct failover *failover = group->failover;
    const char *me = failover->host->base->node;
    struct carrick_log_copy mine;

    fo_group_copy(group, &mine);
    if (failover_has_arbiter(failover) &&
        (strcmp(group->record.owner, me) != 0 || !fo_copy_is_current(&mine, me, &group->record)))
        return fo_take_refused(group);
    group->serve_generation = mine.generation;
    group->serve_mirror = CARRICK_MIRROR_BOTH;
    group->was_shadow = false;
    return begin_serve(group);
}

enum group_state fo_take_refused(struct group *group)
{
    enum group_state next;

    if (group->claim.cause[0] != '\0')
        fo_group_reason(group, "%s", group->claim.cause);
    fo_steps_answer(group, CARRICK_ERR_CONFLICT, "refused: %s", group->reason);
    group->was_shadow = false;
    group->wait_until_ns =
        failover_now_ns(group->failover) + group_timers(group)->boot_wait_ms * MS;
    group->record_fresh = true;
    next = fo_step_deciding(group);
    group->record_fresh = false;
    return next;
}

enum group_state fo_take_not_had(struct group *group)
{
    fo_claim_drop(group);
    fo_group_reason(group, "%s",
                    group->claim.cause[0] ? group->claim.cause
                                          : "the arbiter did not answer in time");
    fo_steps_answer(group, CARRICK_ERR_UNREACHABLE, "%s", group->reason);
    if (!group->was_shadow)
        return GROUP_UNDECIDED;
    // The promise is given anew: the owner, wherever it is, may go on with both copies.
    group->was_shadow = false;
    return fo_steps_become_shadow(group, &group->followed, UINT64_MAX, false);
}

// ---- the log's word

enum group_state fo_take_served(struct group *group)
{
    group->takeovers++;
    fo_group_reason(group, group->serve_mirror == CARRICK_MIRROR_BOTH
                               ? "serves, and counts on both copies"
                               : "serves, and is the only member");
    fo_steps_answer(group, CARRICK_OK, "group %s is served here", group->name);
    return group->serve_mirror == CARRICK_MIRROR_BOTH ? GROUP_BOTH : GROUP_ALONE;
}

enum group_state fo_take_failed(struct group *group)
{
    failover_say(group->failover, CARRICK_LOG_ERROR, "group %s: %s", group->name, group->reason);
    fo_claim_drop(group);
    group->failover->logs_ops->idle(group->log, "it could not be served");
    fo_steps_answer(group, CARRICK_ERR_STATE, "%s", group->reason);
    return GROUP_UNDECIDED;
}

enum group_state fo_take_serve_late(struct group *group)
{
    failover_say(group->failover, CARRICK_LOG_WARNING,
                 "group %s: scan and replay take longer than serve_ms; they go on", group->name);
    return GROUP_SERVE;
}
