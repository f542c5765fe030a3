// SPDX-License-Identifier: Apache-2.0
//
// The table of a group's states and events, and the steps that change nothing for good: deciding, following, waiting.
// The steps towards serving are in take.c, those of an owner in owner.c. A pair that is not in the table changes
// nothing.
#include "steps.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { SHADOW_CHECKS = 8 }; // that a shadow makes after its start, stall_ms apart

// ---- deciding

// The partner says how far its copy is, but not with each record: what was acknowledged since the session began is in
// its copy, for nothing else makes an acknowledgement. What was acknowledged before and it does not have, it lost.
void fo_theirs_at_least(const struct group *group, const struct carrick_log_copy *mine,
                        struct carrick_log_copy *theirs)
{
    if (fo_id_equal(theirs->generation.id, mine->generation.id) &&
        theirs->last >= group->acknowledged_before && theirs->last < mine->acknowledged)
        theirs->last = mine->acknowledged;
}

void fo_group_decide(struct group *group, struct decide_out *out)
{
    struct failover *failover = group->failover;
    const struct carrick_host *base = failover->host->base;
    // An operator's word goes before the patience with a node that boots.
    bool waited = failover_now_ns(failover) >= group->wait_until_ns &&
                  (group->token != 0 || !fo_monitor_boots_in_time(failover));
    bool there = group->theirs_known && failover->session && !failover->monitor.lost;
    struct carrick_log_copy mine, theirs = group->theirs.copy;

    // Who gives way goes by nothing that was said before the links went: the partner is on its way to take over.
    if (failover_now_ns(failover) < group->shift_until_ns && !failover->monitor.linked &&
        theirs.role != CARRICK_LOG_OWNER)
        there = false;
    fo_group_copy(group, &mine);
    fo_theirs_at_least(group, &mine, &theirs);
    fo_decide(&(struct decide_in){.me = base->node,
                                  .partner = base->partner,
                                  .home = failover->logs_ops->home(group->log),
                                  .mine = &mine,
                                  .theirs = there ? &theirs : NULL,
                                  .theirs_mirror = group->theirs.mirror,
                                  .arbiter = !failover_has_arbiter(failover) ? DECIDE_NO_ARBITER
                                             : group->record_fresh           ? DECIDE_HAVE_RECORD
                                                                             : DECIDE_UNREAD,
                                  .record = &group->record,
                                  .waited = waited,
                                  .go_on = failover->config.go_on},
              out);
}

static enum group_state begin_look(struct group *group)
{
    fo_claim_begin(group, CLAIM_LOOK);
    return GROUP_LOOK;
}

enum group_state fo_step_deciding(struct group *group)
{
    struct failover *failover = group->failover;
    struct decide_out out;

    if (failover->session && !group->theirs_known && !failover->monitor.lost)
        return GROUP_TALK;
    fo_group_decide(group, &out);
    // Who was handed the group gets the time to serve it; where there is no arbiter, nothing else says that it may.
    if (out.action != DECIDE_FOLLOW && failover_now_ns(failover) < group->given_until_ns &&
        !(failover->monitor.lost && failover_has_arbiter(failover)))
        return GROUP_YIELD;
    // While it gives way, the reason for that is the one to be told.
    bool gives_way = out.action == DECIDE_WAIT && failover_now_ns(failover) < group->shift_until_ns;
    if (out.action != DECIDE_READ && !gives_way)
        fo_group_reason(group, "%s", out.reason);
    if (out.action == DECIDE_WAIT && out.reason != group->waits_for && !gives_way)
        failover_say(failover, CARRICK_LOG_NOTICE, "group %s waits: %s", group->name, out.reason);
    if (out.action != DECIDE_READ)
        group->waits_for = out.action == DECIDE_WAIT ? out.reason : NULL;
    switch (out.action) {
    case DECIDE_READ:
        return begin_look(group);
    case DECIDE_FOLLOW:
        return fo_step_follow(group, &out);
    case DECIDE_OUT:
    case DECIDE_LET:
        return GROUP_YIELD;
    case DECIDE_SERVE_BOTH:
    case DECIDE_FIRST:
        return fo_step_begin_take(group, CLAIM_BOTH);
    case DECIDE_SERVE_ALONE:
        return fo_step_begin_take(group, CLAIM_ALONE);
    case DECIDE_DIVERGED:
        return GROUP_DIVERGED;
    default:
        return GROUP_UNDECIDED;
    }
}

static enum group_state deciding_looked(struct group *group)
{
    enum group_state next;

    group->record_fresh = true;
    next = fo_step_deciding(group);
    group->record_fresh = false;
    return next;
}

static enum group_state deciding_not_had(struct group *group)
{
    fo_group_reason(group, "%s", group->claim.cause);
    return GROUP_UNDECIDED;
}

static enum group_state deciding_ended(struct group *group)
{
    // Whoever was there a moment ago is waited for anew.
    if (!group->failover->monitor.lost)
        group->wait_until_ns =
            failover_now_ns(group->failover) + group_timers(group)->boot_wait_ms * MS;
    if (group->wait_until_ns < group->shift_until_ns)
        group->wait_until_ns = group->shift_until_ns;
    return fo_step_deciding(group);
}

static enum group_state deciding_lost(struct group *group)
{
    uint64_t until_ns =
        failover_now_ns(group->failover) + group_timers(group)->takeover_delay_ms * MS;

    if (until_ns < group->shift_until_ns)
        until_ns = group->shift_until_ns;
    if (group->wait_until_ns > until_ns)
        group->wait_until_ns = until_ns;
    return fo_step_deciding(group);
}

static enum group_state deciding_take(struct group *group)
{
    group->wait_until_ns = failover_now_ns(group->failover);
    group->shift_until_ns = 0;
    if (group->forced)
        return fo_step_begin_take(group, CLAIM_FORCE);
    return fo_step_deciding(group);
}

static enum group_state talk_late(struct group *group)
{
    fo_group_reason(group,
                    "a session stands, but the partner's failover monitor says nothing of this "
                    "group: is it configured there?");
    return GROUP_TALK;
}

// ---- following

static bool follows_already(const struct group *group, const struct carrick_log_copy *mine,
                            const struct decide_out *out)
{
    return mine->role == CARRICK_LOG_SHADOW && !out->empty && out->cut_above == UINT64_MAX &&
           fo_id_equal(mine->generation.id, group->theirs.copy.generation.id) &&
           group->role_epoch < group->failover->epoch;
}

// From the next session on the partner may write this copy.
enum group_state fo_steps_become_shadow(struct group *group,
                                        const struct carrick_generation *generation,
                                        uint64_t cut_above, bool empty)
{
    struct failover *failover = group->failover;
    int status = failover->logs_ops->follow(group->log, generation, cut_above, empty);

    // What lies above the cut is all that is left in the copy: it begins anew.
    if (status == CARRICK_ERR_BOUNDS)
        status = failover->logs_ops->follow(group->log, generation, cut_above, true);
    if (status == CARRICK_ERR_STATE && failover->session) {
        fo_group_reason(group, "waits for the session to end before this copy can be cut");
        failover_reset(failover, "a copy of a log follows another generation");
        return GROUP_UNDECIDED;
    }
    if (status != CARRICK_OK) {
        fo_group_reason(group, "the log cannot follow (status 0x%x)", (unsigned)status);
        return GROUP_UNDECIDED;
    }
    group->followed = *generation;
    group->role_epoch = failover->epoch;
    if (!failover->session && !failover->bringup)
        return GROUP_SHADOW;
    failover_reset(failover, "a copy of a log becomes a shadow");
    return GROUP_RESET;
}

enum group_state fo_step_follow(struct group *group, const struct decide_out *out)
{
    const struct carrick_log_ops *ops = group->failover->logs_ops;
    struct carrick_generation generation = group->theirs.copy.generation;
    bool member = group->theirs.mirror == CARRICK_MIRROR_BOTH;
    struct carrick_log_copy mine;
    enum group_state next;

    fo_group_copy(group, &mine);
    group->shadow_of = group->theirs_incarnation;
    group->was_shadow = false;
    group->shift_until_ns = 0;
    // It serves what it was handed. If it hands the group back within that time, this node is the one to serve, and must
    // not wait for it where the word of that is lost with the session.
    group->given_until_ns = 0;
    fo_hand_heard(group);
    if (follows_already(group, &mine, out))
        return GROUP_SHADOW;
    if (mine.role == CARRICK_LOG_SHADOW)
        ops->idle(group->log, "another generation is to be followed");
    next = fo_steps_become_shadow(group, &generation, out->cut_above, out->empty);
    // It counts as a member again only when the owner says so.
    if (next != GROUP_UNDECIDED)
        ops->bear(group->log, &generation, member);
    return next;
}

static enum group_state shadow_state(struct group *group)
{
    const struct message *theirs = &group->theirs;
    struct carrick_log_copy mine;

    fo_group_copy(group, &mine);
    if (theirs->copy.role == CARRICK_LOG_OWNER && mine.role == CARRICK_LOG_SHADOW &&
        fo_id_equal(theirs->copy.generation.id, mine.generation.id) &&
        (group->shadow_of == group->theirs_incarnation || theirs->mirror == CARRICK_MIRROR_BOTH)) {
        group->shadow_of = group->theirs_incarnation;
        fo_group_reason(group, mine.member ? "this copy is a member" : "this copy is being filled");
        return GROUP_SHADOW;
    }
    return fo_step_deciding(group);
}

static enum group_state shadow_join(struct group *group)
{
    const struct carrick_log_ops *ops = group->failover->logs_ops;
    struct carrick_log_copy mine;
    int status;

    fo_group_copy(group, &mine);
    if (mine.role != CARRICK_LOG_SHADOW ||
        !fo_id_equal(mine.generation.id, group->theirs.copy.generation.id))
        return GROUP_SHADOW; // of an owner that does not know what this copy has come to bear
    status = ops->bear(group->log, &mine.generation, true);
    if (status != CARRICK_OK) {
        fo_group_reason(group, "this copy cannot bear that it is a member (status 0x%x)",
                        (unsigned)status);
        return GROUP_SHADOW;
    }
    fo_group_reason(group, "this copy is equal to the owner's");
    failover_send(group, MESSAGE_JOINED);
    return GROUP_SHADOW;
}

static enum group_state shadow_lost(struct group *group)
{
    struct carrick_log_copy mine;

    fo_hooks_run(group, HOOK_LOST);
    fo_group_copy(group, &mine);
    if (!mine.member) {
        fo_group_reason(group,
                        "the owner is lost, and this copy is no member: it cannot be served");
        return GROUP_SHADOW;
    }
    if (!failover_has_arbiter(group->failover)) {
        fo_group_reason(group,
                        "the owner is lost; without an arbiter only an operator can say that it "
                        "does not serve: carrick takeover %s --force",
                        group->name);
        return GROUP_SHADOW;
    }
    fo_group_reason(group, "the owner is lost: %.120s", group->failover->monitor.reason);
    return GROUP_LOST;
}

// A node that ended in the middle of a claim does not know any more that its change may come to stand, now or some time
// later; and its partner, which it follows, does not ask as long as nothing happens. So it looks for a while.
static bool check_is_due(const struct group *group, const struct carrick_log_copy *mine)
{
    const struct failover *failover = group->failover;

    return group->checks < SHADOW_CHECKS && mine->member && failover_has_arbiter(failover) &&
           failover->session && !failover->monitor.lost && !group->unsettled &&
           group->claim.purpose == CLAIM_NONE && failover_now_ns(failover) >= group->check_at_ns;
}

static enum group_state shadow_looked(struct group *group)
{
    const struct carrick_arbiter_record *record = &group->record;
    struct carrick_log_copy mine;

    fo_group_copy(group, &mine);
    // Named as the only member, though it follows: it won that in an earlier life.
    if (!mine.member || !fo_record_is_sole_member(record, group->failover->host->base->node) ||
        !fo_id_equal(record->parent, mine.generation.id))
        return GROUP_SHADOW;
    group->unsettled = true;
    group->unsettled_expected = record->number;
    memcpy(group->unsettled_generation, record->generation, sizeof group->unsettled_generation);
    return GROUP_SHADOW;
}

static enum group_state shadow_late(struct group *group)
{
    struct carrick_log_copy mine;

    fo_group_copy(group, &mine);
    if (mine.role != CARRICK_LOG_SHADOW)
        return fo_step_deciding(group);
    if (group->failover->monitor.lost && mine.member && failover_has_arbiter(group->failover))
        return GROUP_LOST;
    if (group->unsettled && group->claim.purpose == CLAIM_NONE)
        fo_claim_begin(group, CLAIM_RESTORE);
    if (check_is_due(group, &mine)) {
        group->checks++;
        group->check_at_ns = failover_now_ns(group->failover) + group_timers(group)->stall_ms * MS;
        fo_claim_begin(group, CLAIM_LOOK);
    }
    // The owner's word may have come while this group was on its way to take over and back.
    if (group->theirs_known && group->failover->session && !group->failover->monitor.lost)
        return shadow_state(group);
    return GROUP_SHADOW;
}

// The owner hears of it, and goes on alone.
static enum group_state shadow_unusable(struct group *group)
{
    group->failover->logs_ops->idle(group->log, "the shelves cannot take what it holds");
    return fo_step_deciding(group);
}

static enum group_state lost_look_unusable(struct group *group)
{
    fo_claim_drop(group);
    return shadow_unusable(group);
}

static enum group_state shadow_restored(struct group *group)
{
    failover_say(group->failover, CARRICK_LOG_NOTICE,
                 "group %s: a change that had come too late was taken back", group->name);
    return GROUP_SHADOW;
}

static enum group_state stay_shadow(struct group *group)
{
    (void)group;
    return GROUP_SHADOW;
}

static enum group_state reset_late(struct group *group)
{
    fo_group_reason(group, "waits for the session to end, so that the partner can write this copy");
    if (group->failover->session)
        failover_reset(group->failover, "a copy of a log becomes a shadow");
    return group->failover->session || group->failover->bringup ? GROUP_RESET : GROUP_SHADOW;
}

// A bring-up that was under way when the role changed has come to its end: its regions are of the old role.
static enum group_state reset_ready(struct group *group)
{
    if (group->role_epoch < group->failover->epoch)
        return GROUP_SHADOW;
    failover_reset(group->failover, "a copy of a log becomes a shadow");
    return GROUP_RESET;
}

static enum group_state shadow_handover(struct group *group)
{
    fo_group_reason(group, "the owner hands the group over");
    return fo_step_begin_take(group, CLAIM_HANDOVER);
}

// ---- the table

#define DECIDING(state)                                                                            \
    {state, EVENT_READY, fo_step_deciding}, {state, EVENT_STATE, fo_step_deciding},                \
        {state, EVENT_ENDED, deciding_ended}, {state, EVENT_LOST, deciding_lost},                  \
        {state, EVENT_BACK, fo_step_deciding}, {state, EVENT_HANDOVER, shadow_handover},           \
    {                                                                                              \
        state, EVENT_TAKE, deciding_take                                                           \
    }

const struct group_row fo_group_table[] = {
    DECIDING(GROUP_BOOT),
    {GROUP_BOOT, EVENT_DEADLINE, fo_step_deciding},
    DECIDING(GROUP_TALK),
    {GROUP_TALK, EVENT_DEADLINE, talk_late},
    DECIDING(GROUP_UNDECIDED),
    {GROUP_UNDECIDED, EVENT_DEADLINE, fo_step_deciding},
    DECIDING(GROUP_YIELD),
    {GROUP_YIELD, EVENT_DEADLINE, fo_step_deciding},
    DECIDING(GROUP_DIVERGED),
    {GROUP_DIVERGED, EVENT_DEADLINE, fo_step_deciding},

    {GROUP_LOOK, EVENT_LOOKED, deciding_looked},
    {GROUP_LOOK, EVENT_NOT_HAD, deciding_not_had},
    {GROUP_LOOK, EVENT_DEADLINE, deciding_not_had},
    {GROUP_LOOK, EVENT_LOST, deciding_lost},
    {GROUP_LOOK, EVENT_HANDOVER, shadow_handover},
    {GROUP_LOOK, EVENT_TAKE, deciding_take},

    {GROUP_FENCE, EVENT_ENDED, fo_take_fenced},
    {GROUP_FENCE, EVENT_READY, fo_take_fence_again},
    {GROUP_FENCE, EVENT_DEADLINE, fo_take_fence_late},

    {GROUP_CLAIM, EVENT_WON, fo_take_won},
    {GROUP_CLAIM, EVENT_REFUSED, fo_take_refused},
    {GROUP_CLAIM, EVENT_NOT_HAD, fo_take_not_had},
    {GROUP_CLAIM, EVENT_DEADLINE, fo_take_not_had},

    {GROUP_CONFIRM, EVENT_LOOKED, fo_take_confirmed},
    {GROUP_CONFIRM, EVENT_NOT_HAD, fo_take_not_had},
    {GROUP_CONFIRM, EVENT_DEADLINE, fo_take_not_had},

    {GROUP_SERVE, EVENT_SERVED, fo_take_served},
    {GROUP_SERVE, EVENT_FAILED, fo_take_failed},
    {GROUP_SERVE, EVENT_DEADLINE, fo_take_serve_late},

    {GROUP_BOTH, EVENT_STATE, fo_both_state},
    {GROUP_BOTH, EVENT_LOST, fo_both_lost},
    {GROUP_BOTH, EVENT_BACK, fo_both_back},
    {GROUP_BOTH, EVENT_DEADLINE, fo_both_late},
    {GROUP_BOTH, EVENT_WON, fo_both_restored},
    {GROUP_BOTH, EVENT_REFUSED, fo_both_refused},
    {GROUP_BOTH, EVENT_GIVE, fo_both_give},
    {GROUP_BOTH, EVENT_SERVED, fo_take_served},
    {GROUP_BOTH, EVENT_FAILED, fo_take_failed},
    {GROUP_BOTH, EVENT_UNUSABLE, fo_owner_unusable},

    {GROUP_BOTH_ASK, EVENT_WON, fo_ask_won},
    {GROUP_BOTH_ASK, EVENT_REFUSED, fo_owner_refused},
    {GROUP_BOTH_ASK, EVENT_NOT_HAD, fo_ask_not_had},
    {GROUP_BOTH_ASK, EVENT_DEADLINE, fo_ask_not_had},
    {GROUP_BOTH_ASK, EVENT_FAILED, fo_take_failed},
    {GROUP_BOTH_ASK, EVENT_BACK, fo_ask_back},

    {GROUP_ALONE, EVENT_STATE, fo_alone_state},
    {GROUP_ALONE, EVENT_DEADLINE, fo_alone_late},
    {GROUP_ALONE, EVENT_LOOKED, fo_alone_looked},
    {GROUP_ALONE, EVENT_FAILED, fo_take_failed},
    {GROUP_ALONE, EVENT_UNUSABLE, fo_owner_unusable},

    {GROUP_RESYNC, EVENT_CHANGED, fo_resync_changed},
    {GROUP_RESYNC, EVENT_DEADLINE, fo_resync_changed},
    {GROUP_RESYNC, EVENT_STATE, fo_resync_state},
    {GROUP_RESYNC, EVENT_ENDED, fo_resync_ended},
    {GROUP_RESYNC, EVENT_LOST, fo_resync_ended},
    {GROUP_RESYNC, EVENT_UNUSABLE, fo_owner_unusable},

    {GROUP_JOIN, EVENT_JOINED, fo_join_joined},
    {GROUP_JOIN, EVENT_ENDED, fo_join_ended},
    {GROUP_JOIN, EVENT_LOST, fo_join_ended},
    {GROUP_JOIN, EVENT_DEADLINE, fo_join_ended},

    {GROUP_JOIN_ASK, EVENT_WON, fo_join_won},
    {GROUP_JOIN_ASK, EVENT_REFUSED, fo_owner_refused},
    {GROUP_JOIN_ASK, EVENT_NOT_HAD, fo_join_not_had},
    {GROUP_JOIN_ASK, EVENT_DEADLINE, fo_join_not_had},

    {GROUP_QUIET, EVENT_CHANGED, fo_quiet_changed},
    {GROUP_QUIET, EVENT_LOST, fo_quiet_over},
    {GROUP_QUIET, EVENT_ENDED, fo_quiet_over},
    {GROUP_QUIET, EVENT_DEADLINE, fo_quiet_over},

    {GROUP_HAND_ASK, EVENT_WON, fo_hand_won},
    {GROUP_HAND_ASK, EVENT_REFUSED, fo_owner_refused},
    {GROUP_HAND_ASK, EVENT_NOT_HAD, fo_hand_not_had},
    {GROUP_HAND_ASK, EVENT_DEADLINE, fo_hand_not_had},

    {GROUP_RESET, EVENT_ENDED, stay_shadow},
    {GROUP_RESET, EVENT_READY, reset_ready},
    {GROUP_RESET, EVENT_DEADLINE, reset_late},
    {GROUP_RESET, EVENT_TAKE, fo_shadow_take},
    {GROUP_RESET, EVENT_UNUSABLE, shadow_unusable},

    {GROUP_SHADOW, EVENT_STATE, shadow_state},
    {GROUP_SHADOW, EVENT_JOIN, shadow_join},
    {GROUP_SHADOW, EVENT_LOST, shadow_lost},
    {GROUP_SHADOW, EVENT_HANDOVER, shadow_handover},
    {GROUP_SHADOW, EVENT_DEADLINE, shadow_late},
    {GROUP_SHADOW, EVENT_WON, shadow_restored},
    {GROUP_SHADOW, EVENT_LOOKED, shadow_looked},
    {GROUP_SHADOW, EVENT_TAKE, fo_shadow_take},
    {GROUP_SHADOW, EVENT_UNUSABLE, shadow_unusable},

    {GROUP_LOST, EVENT_BACK, stay_shadow},
    {GROUP_LOST, EVENT_STATE, shadow_state},
    {GROUP_LOST, EVENT_HANDOVER, shadow_handover},
    {GROUP_LOST, EVENT_DEADLINE, fo_lost_late},
    {GROUP_LOST, EVENT_TAKE, fo_shadow_take},
    {GROUP_LOST, EVENT_UNUSABLE, shadow_unusable},

    {GROUP_LOST_LOOK, EVENT_LOOKED, fo_lost_looked},
    {GROUP_LOST_LOOK, EVENT_NOT_HAD, fo_lost_not_had},
    {GROUP_LOST_LOOK, EVENT_DEADLINE, fo_lost_not_had},
    {GROUP_LOST_LOOK, EVENT_HANDOVER, shadow_handover},
    {GROUP_LOST_LOOK, EVENT_BACK, fo_lost_look_back},
    {GROUP_LOST_LOOK, EVENT_UNUSABLE, lost_look_unusable},
};

const size_t fo_group_table_rows = sizeof fo_group_table / sizeof fo_group_table[0];
