// SPDX-License-Identifier: Apache-2.0
//
// An owner alone, and its partner's return: that is brought up to date, log and shelves, confirms that its copy is equal,
// and is a member again when the arbiter's record names it.
#include "steps.h"

#include <stdio.h>
#include <string.h>

// What fails for the same cause again and again is tried less and less often.
static void resync_later(struct group *group)
{
    uint64_t ms = group_timers(group)->retry_ms;

    group->resync_at_ns = failover_now_ns(group->failover) +
                          (ms << (group->resync_failures < 5 ? group->resync_failures : 5)) * MS;
}

static void resync_failed(struct group *group, const char *cause)
{
    if (strcmp(group->resync_cause, cause) != 0)
        group->resync_failures = 0;
    snprintf(group->resync_cause, sizeof group->resync_cause, "%s", cause);
    group->resync_failures++;
    resync_later(group);
    fo_group_reason(group, "bringing the partner up to date failed: %.127s", cause);
}

enum group_state fo_alone_state(struct group *group)
{
    struct failover *failover = group->failover;
    const struct carrick_log_copy *theirs = &group->theirs.copy;
    struct carrick_mirror_state mirror;
    struct carrick_log_copy mine;
    int status;

    fo_group_copy(group, &mine);
    if (fo_group_is_diverged(group)) {
        fo_group_reason(group,
                        "the partner's copy holds a history of its own: each may hold writes that "
                        "the other lacks, and a person has to decide which one counts");
    }
    if (fo_owner_superseded(group, &mine)) {
        if (failover_has_arbiter(failover) && group->claim.purpose == CLAIM_NONE)
            fo_claim_begin(group, CLAIM_LOOK);
        return GROUP_ALONE;
    }
    if (failover->session && theirs->condition == CARRICK_LOG_UNUSABLE)
        fo_group_reason(group,
                        "the partner's shelves cannot take what the log holds: its log says why");
    if (!failover->session || failover->monitor.lost || theirs->role != CARRICK_LOG_SHADOW ||
        !fo_id_equal(theirs->generation.id, mine.generation.id))
        return GROUP_ALONE;
    fo_group_mirror(group, &mirror);
    if (group->resync_failures > 0 && failover_now_ns(failover) < group->resync_at_ns)
        return GROUP_ALONE;
    if (mirror.connected && mirror.shelf.state == CARRICK_RESYNC_FAILED) {
        // The shelves begin anew with a session, and not before.
        resync_later(group);
        failover_reset(failover, "the partner's shelves are to be brought up to date again");
        return GROUP_ALONE;
    }
    if (mirror.connected &&
        (mirror.log.state == CARRICK_RESYNC_RUNNING || mirror.log.state == CARRICK_RESYNC_EQUAL)) {
        fo_group_reason(group, "bringing the partner's copy up to date goes on");
        return GROUP_RESYNC;
    }
    status = failover->logs_ops->resync(group->log, theirs->last,
                                        theirs->condition != CARRICK_LOG_WHOLE);
    // What it lacks is not in the log any more.
    if (status == CARRICK_ERR_BOUNDS)
        status = failover->logs_ops->resync(group->log, theirs->last, true);
    if (status != CARRICK_OK) {
        fo_group_reason(group, "the partner's copy cannot be brought up to date (status 0x%x)",
                        (unsigned)status);
        return GROUP_ALONE;
    }
    fo_group_reason(group, "the partner's copy is being brought up to date");
    return GROUP_RESYNC;
}

enum group_state fo_alone_late(struct group *group)
{
    return group->theirs_known ? fo_alone_state(group) : GROUP_ALONE;
}

enum group_state fo_alone_looked(struct group *group)
{
    struct carrick_log_copy mine;

    fo_group_copy(group, &mine);
    if (fo_copy_is_current(&mine, group->failover->host->base->node, &group->record))
        return GROUP_ALONE;
    snprintf(group->claim.cause, sizeof group->claim.cause, "%s",
             "the arbiter's record gives the group to another");
    return fo_owner_refused(group);
}

enum group_state fo_resync_changed(struct group *group)
{
    struct failover *failover = group->failover;
    struct carrick_mirror_state mirror;
    int status;

    fo_group_mirror(group, &mirror);
    if (mirror.log.state == CARRICK_RESYNC_FAILED || mirror.shelf.state == CARRICK_RESYNC_FAILED) {
        const struct carrick_resync *bad =
            mirror.log.state == CARRICK_RESYNC_FAILED ? &mirror.log : &mirror.shelf;
        resync_failed(group, bad->cause);
        return GROUP_ALONE;
    }
    if (mirror.log.state != CARRICK_RESYNC_EQUAL ||
        (mirror.shelf.state != CARRICK_RESYNC_EQUAL &&
         !(failover->break_rules & FAILOVER_BREAK_EQUAL)))
        return GROUP_RESYNC;
    status = failover->logs_ops->set_mirror(group->log, CARRICK_MIRROR_JOINING, NULL);
    if (status != CARRICK_OK)
        return GROUP_RESYNC;
    fo_group_reason(group, "the partner's copy is equal and becomes a member");
    failover_send(group, MESSAGE_JOIN);
    return GROUP_JOIN;
}

enum group_state fo_resync_ended(struct group *group)
{
    fo_group_reason(group, "the partner went away while it was brought up to date");
    return GROUP_ALONE;
}

enum group_state fo_resync_state(struct group *group)
{
    struct carrick_log_copy mine;

    fo_group_copy(group, &mine);
    if (group->theirs.copy.role == CARRICK_LOG_SHADOW &&
        fo_id_equal(group->theirs.copy.generation.id, mine.generation.id))
        return GROUP_RESYNC;
    return fo_resync_ended(group);
}

enum group_state fo_join_joined(struct group *group)
{
    fo_claim_begin(group, CLAIM_JOIN);
    return GROUP_JOIN_ASK;
}

enum group_state fo_join_ended(struct group *group)
{
    // The record does not name the partner yet, so its acknowledgement is not needed.
    group->failover->logs_ops->set_mirror(group->log, CARRICK_MIRROR_ALONE, NULL);
    fo_group_reason(group, "the partner did not confirm that its copy is equal");
    return GROUP_ALONE;
}

enum group_state fo_join_won(struct group *group)
{
    group->failover->logs_ops->set_mirror(group->log, CARRICK_MIRROR_BOTH, NULL);
    group->unconnected_ns = 0;
    group->resync_failures = 0;
    fo_group_reason(group, "both copies are members");
    return GROUP_BOTH;
}

enum group_state fo_join_not_had(struct group *group)
{
    fo_claim_drop(group);
    fo_group_reason(group, "the partner's copy is equal, but %.150s",
                    group->claim.cause[0] ? group->claim.cause
                                          : "the arbiter did not answer in time");
    // Where the change may still come to stand, the partner counts: its acknowledgement stays needed.
    if (group->unsettled)
        return GROUP_BOTH;
    group->failover->logs_ops->set_mirror(group->log, CARRICK_MIRROR_ALONE, NULL);
    return GROUP_ALONE;
}
