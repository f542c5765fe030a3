// SPDX-License-Identifier: Apache-2.0
//
// What an owner does with its partner: it goes alone when that is lost, with the arbiter's word before the first lone
// acknowledgement; hands the group over. How the partner becomes a member again: rejoin.c.
#include "steps.h"

static void step_down(struct group *group, const char *why)
{
    failover_say(group->failover, CARRICK_LOG_WARNING, "group %s: stops serving: %s", group->name,
                 why);
    group->failover->logs_ops->idle(group->log, why);
    group->wait_until_ns =
        failover_now_ns(group->failover) + group_timers(group)->boot_wait_ms * MS;
}

enum group_state fo_owner_refused(struct group *group)
{
    enum group_state next;

    group->failover->logs_ops->quiesce(group->log, false);
    fo_group_reason(group, "%s", group->claim.cause);
    fo_steps_answer(group, CARRICK_ERR_CONFLICT, "refused: %s", group->reason);
    step_down(group, "the arbiter's record gives the group to another");
    group->record_fresh = true;
    next = fo_step_deciding(group);
    group->record_fresh = false;
    return next;
}

bool fo_owner_superseded(const struct group *group, const struct carrick_log_copy *mine)
{
    const struct carrick_log_copy *theirs = &group->theirs.copy;

    if (fo_id_is_zero(theirs->generation.id) ||
        fo_id_equal(theirs->generation.id, mine->generation.id))
        return theirs->role == CARRICK_LOG_OWNER;
    return theirs->role == CARRICK_LOG_OWNER ||
           fo_id_equal(theirs->generation.parent, mine->generation.id);
}

// ---- two members

static enum group_state ask_alone(struct group *group)
{
    fo_claim_begin(group, CLAIM_ALONE);
    return GROUP_BOTH_ASK;
}

static enum group_state alone_without_arbiter(struct group *group)
{
    if (!group->failover->config.go_on && !(group->failover->break_rules & FAILOVER_BREAK_HOLD)) {
        fo_group_reason(group,
                        "the partner's copy is not there, and on_mirror_loss is \"hold\": writes "
                        "wait (%.80s)",
                        group->failover->monitor.reason);
        return GROUP_BOTH;
    }
    return ask_alone(group); // answered by itself
}

// The partner, which is a member and well as far as is known, is left to take the group over. It cannot be told: it sees
// for itself that its owner is gone. Both ask the arbiter, so at most one of them serves.
static void give_way(struct group *group, const char *why)
{
    const struct failover *failover = group->failover;
    uint32_t ms = fo_timers_shift_ms(&failover->config.timers);

    // Until it counts this node as lost, it does nothing.
    if (!failover->monitor.lost)
        ms += failover->config.timers.gone_ms;
    step_down(group, why);
    group->shift_until_ns = group->wait_until_ns = failover_now_ns(failover) + ms * MS;
}

// This node's own links are to blame: on the partner's side its clients are better off.
static bool shifts(const struct group *group)
{
    const struct failover *failover = group->failover;
    const struct monitor *monitor = &failover->monitor;

    return monitor->driver_failed && !failover->config.stay && failover_has_arbiter(failover) &&
           // Hung or stopped before the links went: it takes nothing over.
           (monitor->state == PARTNER_UNREACHABLE || monitor->state == PARTNER_BOOTING);
}

static enum group_state go_alone(struct group *group)
{
    if (shifts(group)) {
        give_way(group, "the interconnect driver of this node has failed, and the partner is to "
                        "take the group over");
        fo_group_reason(group,
                        "the interconnect driver of this node has failed: %s is to take "
                        "the group over",
                        fo_group_peer_name(group));
        return GROUP_UNDECIDED;
    }
    return failover_has_arbiter(group->failover) ? ask_alone(group) : alone_without_arbiter(group);
}

enum group_state fo_both_lost(struct group *group)
{
    fo_hooks_run(group, HOOK_LOST);
    fo_group_reason(group, "the partner is lost: %.120s", group->failover->monitor.reason);
    return go_alone(group);
}

// The partner hears of it, and takes the group over where its copy is a member.
enum group_state fo_owner_unusable(struct group *group)
{
    step_down(group, "its shelves cannot take what the log holds");
    return fo_step_deciding(group);
}

enum group_state fo_both_state(struct group *group)
{
    struct carrick_log_copy mine, theirs = group->theirs.copy;

    fo_group_copy(group, &mine);
    // Its word may be older than what both acknowledged since: one that is on its way to take over is no less whole.
    fo_theirs_at_least(group, &mine, &theirs);
    if (fo_owner_superseded(group, &mine)) {
        fo_group_reason(group, "the partner bears a later generation than this owner");
        if (failover_has_arbiter(group->failover))
            return ask_alone(group);
        if (!fo_id_equal(theirs.generation.parent, mine.generation.id))
            return GROUP_BOTH; // two owners without an arbiter: nothing is done by itself
        step_down(group, "the partner took the group over");
        return fo_step_deciding(group);
    }
    if (theirs.condition == CARRICK_LOG_UNUSABLE) {
        fo_group_reason(group,
                        "the partner's shelves cannot take what the log holds: its log says why");
        return ask_alone(group);
    }
    if (theirs.role == CARRICK_LOG_SHADOW &&
        fo_id_equal(theirs.generation.id, mine.generation.id)) {
        fo_group_reason(group, "both copies are members");
        return GROUP_BOTH;
    }
    if (fo_copy_follows_as_member(&theirs, &mine)) {
        fo_group_reason(group, "waits for the partner to follow");
        return GROUP_BOTH;
    }
    if (theirs.condition == CARRICK_LOG_SCANNING || theirs.condition == CARRICK_LOG_CORRUPT) {
        // It reads its log, or has it repaired from this one: stall_ms says how long that may take.
        fo_group_reason(group, "waits for the partner's copy to be whole");
        return GROUP_BOTH;
    }
    fo_group_reason(group, "the partner has come back without a whole copy");
    // Where there is no arbiter to ask: it says itself that it does not serve, and without a whole copy it never will.
    return ask_alone(group);
}

// For stall_ms no record more has come into the partner's file, though the partner takes them.
static bool is_behind(struct group *group, const struct carrick_mirror_state *mirror,
                      uint64_t now_ns)
{
    uint64_t since_ns;

    if (!mirror->connected || !mirror->stalled) {
        group->behind_ns = 0;
        return false;
    }
    if (group->behind_ns == 0)
        group->behind_ns = now_ns;
    since_ns =
        group->behind_ns > mirror->waiting_since_ns ? group->behind_ns : mirror->waiting_since_ns;
    return now_ns - since_ns > group_timers(group)->stall_ms * MS;
}

enum group_state fo_both_late(struct group *group)
{
    struct failover *failover = group->failover;
    uint64_t now_ns = failover_now_ns(failover);
    struct carrick_mirror_state mirror;

    fo_group_mirror(group, &mirror);
    if (mirror.connected)
        group->unconnected_ns = 0;
    else if (group->unconnected_ns == 0)
        group->unconnected_ns = now_ns;
    if (failover->monitor.lost)
        return go_alone(group);
    if (group->unconnected_ns != 0 &&
        now_ns - group->unconnected_ns > group_timers(group)->stall_ms * MS) {
        fo_group_reason(group, "the partner is there, but does not take what is written");
        return go_alone(group);
    }
    if (is_behind(group, &mirror, now_ns)) {
        fo_group_reason(group, "the partner's log cannot be written: see its status");
        return go_alone(group);
    }
    // That it has won may have come while a command was under way: then the partner is still on its way to be a member.
    if ((group->unsettled || mirror.mirror == CARRICK_MIRROR_JOINING) && mirror.connected &&
        group->claim.purpose == CLAIM_NONE)
        fo_claim_begin(group, CLAIM_RESTORE);
    return GROUP_BOTH;
}

enum group_state fo_both_restored(struct group *group)
{
    struct carrick_mirror_state mirror;

    fo_group_mirror(group, &mirror);
    if (mirror.mirror == CARRICK_MIRROR_JOINING)
        group->failover->logs_ops->set_mirror(group->log, CARRICK_MIRROR_BOTH, NULL);
    fo_group_reason(group, "both copies are members");
    return GROUP_BOTH;
}

enum group_state fo_both_refused(struct group *group)
{
    return fo_owner_refused(group);
}

enum group_state fo_ask_won(struct group *group)
{
    struct failover *failover = group->failover;
    struct carrick_generation generation;
    struct carrick_log_copy mine;
    int status;

    fo_group_copy(group, &mine);
    fo_generation_of(&group->record, &mine, &generation);
    status = failover->logs_ops->set_mirror(group->log, CARRICK_MIRROR_ALONE, &generation);
    if (status != CARRICK_OK) {
        step_down(group, "the log does not take that it is the only member");
        return fo_step_deciding(group);
    }
    fo_group_reason(group, "the partner is no member any more: %.120s", failover->monitor.reason);
    return GROUP_ALONE;
}

enum group_state fo_ask_not_had(struct group *group)
{
    fo_claim_drop(group);
    fo_group_reason(group, "the partner's copy is not there, and %.150s: writes wait",
                    group->claim.cause[0] ? group->claim.cause
                                          : "the arbiter did not answer in time");
    return GROUP_BOTH;
}

// Where nothing was asked of anybody the session may have stood all the while: then no word of the partner's is due that
// would take away the reason of its loss.
enum group_state fo_both_back(struct group *group)
{
    if (group->theirs_known && group->failover->session)
        return fo_both_state(group);
    fo_group_reason(group, "waits for the partner to follow");
    return GROUP_BOTH;
}

// The partner is back before anything was changed. The question is not waited for: it would stand in the way of the next
// one, and to go alone must not be won for a reason that has passed.
enum group_state fo_ask_back(struct group *group)
{
    if (!fo_claim_is_only_asked(group))
        return GROUP_BOTH_ASK;
    fo_claim_drop(group);
    return fo_both_back(group);
}

// ---- hand-over

static bool all_is_acknowledged(const struct group *group)
{
    struct carrick_mirror_state mirror;
    struct carrick_log_copy mine;

    fo_group_copy(group, &mine);
    fo_group_mirror(group, &mirror);
    return mine.last == mine.acknowledged && mirror.connected &&
           mirror.mirror == CARRICK_MIRROR_BOTH;
}

enum group_state fo_both_give(struct group *group)
{
    struct carrick_mirror_state mirror;

    fo_group_mirror(group, &mirror);
    if (!mirror.connected || !fo_monitor_is_linked(group->failover)) {
        // No link is left to hand anything over by: this node stops, and its partner, which holds every acknowledged
        // write, takes the group over.
        give_way(group, "an operator gives the group away while no link stands");
        if (failover_has_arbiter(group->failover))
            fo_steps_answer(group, CARRICK_OK,
                            "this node serves group %s no more; %s takes it over", group->name,
                            fo_group_peer_name(group));
        else
            fo_steps_answer(
                group, CARRICK_OK,
                "this node serves group %s no more; without an arbiter %s takes it over "
                "only when told to: 'carrick takeover %s --force' there, or here to go "
                "back",
                group->name, fo_group_peer_name(group), group->name);
        fo_group_reason(group, "given away by an operator");
        return GROUP_UNDECIDED;
    }
    group->failover->logs_ops->quiesce(group->log, true);
    fo_group_reason(group, "hand-over: waits until all is acknowledged");
    return all_is_acknowledged(group) ? fo_quiet_changed(group) : GROUP_QUIET;
}

enum group_state fo_quiet_changed(struct group *group)
{
    if (!all_is_acknowledged(group))
        return GROUP_QUIET;
    fo_claim_begin(group, CLAIM_HANDOVER);
    return GROUP_HAND_ASK;
}

enum group_state fo_quiet_over(struct group *group)
{
    group->failover->logs_ops->quiesce(group->log, false);
    fo_group_reason(group,
                    "the hand-over did not come about: what was in flight was not acknowledged "
                    "in time");
    fo_steps_answer(group, CARRICK_ERR_TIMEOUT, "%s", group->reason);
    return group->failover->monitor.lost ? go_alone(group) : GROUP_BOTH;
}

enum group_state fo_hand_won(struct group *group)
{
    group->handovers++;
    group->failover->logs_ops->idle(group->log, "handed over");
    group->failover->logs_ops->quiesce(group->log, false);
    group->wait_until_ns =
        failover_now_ns(group->failover) + group_timers(group)->boot_wait_ms * MS;
    group->given_until_ns =
        failover_now_ns(group->failover) + group_timers(group)->handover_ms * MS;
    // The session ends on the way, and may take its time to come back: that is no loss yet.
    group->shift_until_ns =
        failover_now_ns(group->failover) + fo_timers_shift_ms(group_timers(group)) * MS;
    fo_group_reason(group, "handed over to %s", fo_group_peer_name(group));
    failover_send(group, MESSAGE_HANDOVER);
    // That it was sent does not say that it came: who asked is answered when the partner says that it serves.
    group->handing = group->token != 0;
    return GROUP_YIELD;
}

void fo_hand_heard(struct group *group)
{
    if (!group->handing)
        return;
    group->handing = false;
    fo_steps_answer(group, CARRICK_OK, "group %s is handed over to %s, which serves it",
                    group->name, fo_group_peer_name(group));
}

void fo_hand_unheard(struct group *group)
{
    if (!group->handing)
        return;
    group->handing = false;
    fo_steps_answer(
        group, CARRICK_ERR_TIMEOUT,
        "group %s is given to %s and not served here any more, but %s has not said that "
        "it serves it: look at 'carrick status' there",
        group->name, fo_group_peer_name(group), fo_group_peer_name(group));
}

enum group_state fo_hand_not_had(struct group *group)
{
    fo_claim_drop(group);
    group->failover->logs_ops->quiesce(group->log, false);
    fo_group_reason(group, "the hand-over did not come about: %.150s", group->claim.cause);
    fo_steps_answer(group, CARRICK_ERR_UNREACHABLE, "%s", group->reason);
    return GROUP_BOTH; // still a member, and so is the partner, whichever of both the record names
}
