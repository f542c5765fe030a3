// SPDX-License-Identifier: Apache-2.0
#include "decide.h"

#include <string.h>

// What a copy is worth against the record.
enum worth {
    ABSENT = 0,  // its node is not there
    CURRENT = 1, // a whole member: holds every acknowledged write
    BEHIND = 2,  // can be brought up to date from a current one, and loses nothing by that
    STRANGE = 3, // whole, of a history that the record does not descend from
    WORTH_COUNT
};

bool fo_id_is_zero(const uint8_t id[16])
{
    static const uint8_t zero[16];

    return memcmp(id, zero, 16) == 0;
}

bool fo_id_equal(const uint8_t a[16], const uint8_t b[16])
{
    return memcmp(a, b, 16) == 0;
}

// A volatile copy counts only under the incarnation that filled it.
static bool record_names(const struct carrick_arbiter_record *record, const char *node,
                         uint64_t incarnation)
{
    for (uint32_t i = 0; i < record->member_count && i < CARRICK_ARBITER_MEMBERS_MAX; i++) {
        if (strcmp(record->members[i].node, node) == 0)
            return record->members[i].incarnation == 0 ||
                   record->members[i].incarnation == incarnation;
    }
    return false;
}

bool fo_record_is_sole_member(const struct carrick_arbiter_record *record, const char *node)
{
    return record->member_count == 1 && strcmp(record->members[0].node, node) == 0;
}

bool fo_copy_is_current(const struct carrick_log_copy *copy, const char *node,
                        const struct carrick_arbiter_record *record)
{
    if (copy->condition != CARRICK_LOG_WHOLE || fo_id_is_zero(copy->generation.id) ||
        !record_names(record, node, copy->incarnation))
        return false;
    if (fo_id_equal(copy->generation.id, record->generation))
        return true;
    // This node won, and ended before its copy bore what it had won: nothing was acknowledged under that.
    return fo_id_equal(copy->generation.id, record->parent) &&
           fo_record_is_sole_member(record, node);
}

bool fo_copy_follows_as_member(const struct carrick_log_copy *follower,
                               const struct carrick_log_copy *owner)
{
    if (follower->condition == CARRICK_LOG_EMPTY)
        return fo_id_is_zero(owner->generation.parent) && owner->acknowledged == 0;
    return follower->condition == CARRICK_LOG_WHOLE &&
           fo_id_equal(follower->generation.id, owner->generation.id) &&
           follower->last >= owner->acknowledged;
}

static enum worth copy_worth(const struct carrick_log_copy *copy, const char *node,
                             const struct carrick_arbiter_record *record)
{
    if (copy == NULL)
        return ABSENT;
    if (fo_copy_is_current(copy, node, record))
        return CURRENT;
    if (copy->condition != CARRICK_LOG_WHOLE || fo_id_is_zero(copy->generation.id) ||
        !copy->member || fo_id_equal(copy->generation.id, record->generation) ||
        fo_id_equal(copy->generation.id, record->parent))
        return BEHIND;
    return STRANGE;
}

static void answer(struct decide_out *out, enum decide_action action, const char *reason)
{
    *out = (struct decide_out){.action = action, .cut_above = UINT64_MAX, .reason = reason};
}

static void answer_follow(struct decide_out *out, uint64_t cut_above, bool empty,
                          const char *reason)
{
    *out = (struct decide_out){
        .action = DECIDE_FOLLOW, .cut_above = cut_above, .empty = empty, .reason = reason};
}

// ---- the partner serves

static void decide_follow(const struct decide_in *in, struct decide_out *out)
{
    const struct carrick_log_copy *mine = in->mine, *theirs = in->theirs;
    bool same = fo_id_equal(mine->generation.id, theirs->generation.id);
    bool child = !fo_id_is_zero(theirs->generation.parent) &&
                 fo_id_equal(mine->generation.id, theirs->generation.parent);

    if (in->theirs_mirror == CARRICK_MIRROR_BOTH) {
        if (fo_copy_follows_as_member(mine, theirs))
            answer_follow(out, UINT64_MAX, false, "the partner serves, and this copy is a member");
        else
            answer(out, DECIDE_OUT,
                   "the partner serves and still counts on this copy, which is not whole: it must "
                   "go alone first");
        return;
    }
    if (mine->condition == CARRICK_LOG_EMPTY || fo_id_is_zero(mine->generation.id))
        answer_follow(out, 0, true, "the partner serves, and this copy is empty");
    else if (mine->condition == CARRICK_LOG_INCONSISTENT)
        answer_follow(out, 0, true,
                      "the partner serves, and a resynchronisation into this copy had not ended");
    else if (!same && !child && !mine->member)
        answer_follow(out, 0, true, "the partner serves, and this copy never was a member");
    else if (!same && !child && !fo_id_is_zero(mine->generation.parent) &&
             fo_id_equal(mine->generation.parent, theirs->generation.id))
        answer(out, DECIDE_WAIT, "the partner serves under an older generation than this copy's");
    else if (!same && !child)
        answer(out, DECIDE_DIVERGED,
               "the partner's generation does not descend from this copy's: each may hold writes "
               "that the other lacks");
    else if (mine->condition != CARRICK_LOG_WHOLE)
        answer_follow(out, 0, true, "the partner serves, and this copy is damaged");
    else
        // Up to the fork both are equal for certain; beyond it this copy may hold what was never acknowledged.
        answer_follow(out, theirs->generation.fork_sequence, false,
                      "the partner serves, and this copy is behind");
}

// ---- nobody serves

static void both_current(const struct decide_in *in, struct decide_out *out)
{
    const struct carrick_log_copy *mine = in->mine, *theirs = in->theirs;

    // A member that lacks what the other knows to be acknowledged is none.
    if (theirs->last < mine->acknowledged)
        answer(out, DECIDE_SERVE_ALONE, "the partner's copy lacks acknowledged writes");
    else if (mine->last < theirs->acknowledged)
        answer(out, DECIDE_LET, "this copy lacks acknowledged writes, the partner's has them");
    else if (mine->last > theirs->last)
        answer(out, DECIDE_SERVE_BOTH, "both copies are members, and this one is the longer");
    else if (mine->last < theirs->last)
        answer(out, DECIDE_LET, "both copies are members, and the partner's is the longer");
    else if (strcmp(in->record->owner, in->me) == 0)
        answer(out, DECIDE_SERVE_BOTH, "both copies are members, and this node is the owner");
    else if (strcmp(in->record->owner, in->partner) == 0)
        answer(out, DECIDE_LET, "both copies are members, and the partner is the owner");
    else if (strcmp(in->home, in->me) == 0)
        answer(out, DECIDE_SERVE_BOTH,
               "both copies are members, and this node is the group's home");
    else
        answer(out, DECIDE_LET, "both copies are members, and the partner is the group's home");
}

static void current_absent(const struct decide_in *in, struct decide_out *out)
{
    if (fo_record_is_sole_member(in->record, in->me))
        answer(out, DECIDE_SERVE_ALONE, "this copy is the only member");
    else if (in->waited)
        answer(out, DECIDE_SERVE_ALONE, "the partner is not there, and this copy is a member");
    else
        answer(out, DECIDE_WAIT, "the partner is not there yet");
}

// Its home has made the record and begins to serve; or it never came to that, or both logs were taken away.
static bool first_generation_stands(const struct decide_in *in)
{
    const struct carrick_log_copy *mine = in->mine, *theirs = in->theirs;

    return fo_id_is_zero(in->record->parent) && mine->condition == CARRICK_LOG_EMPTY &&
           theirs->condition == CARRICK_LOG_EMPTY &&
           record_names(in->record, in->me, mine->incarnation) &&
           record_names(in->record, in->partner, theirs->incarnation);
}

static void nobody_serves(const struct decide_in *in, struct decide_out *out)
{
    static const struct {
        enum decide_action action;
        const char *reason;
    } table[WORTH_COUNT][WORTH_COUNT] = {
        // what this copy is worth, then the partner's; the pairs left out are handled by themselves
        [CURRENT][BEHIND] = {DECIDE_SERVE_ALONE, "only this copy is a whole member"},
        [CURRENT][STRANGE] = {DECIDE_SERVE_ALONE, "only this copy is a member"},
        [BEHIND][ABSENT] = {DECIDE_WAIT,
                            "this copy is no whole member, and the partner is not there"},
        [BEHIND][CURRENT] = {DECIDE_LET, "only the partner's copy is a whole member"},
        [BEHIND][BEHIND] = {DECIDE_WAIT,
                            "neither copy is a whole member: acknowledged writes are missing"},
        [BEHIND][STRANGE] = {DECIDE_WAIT,
                             "neither copy is a whole member: acknowledged writes are missing"},
        [STRANGE][ABSENT] = {DECIDE_WAIT,
                             "the record does not descend from this copy, and the partner is not "
                             "there"},
        [STRANGE][CURRENT] = {DECIDE_LET, "the record does not descend from this copy"},
        [STRANGE][BEHIND] =
            {DECIDE_DIVERGED,
             "the record descends from neither copy: what was acknowledged since is "
             "in none of them"},
        [STRANGE][STRANGE] = {DECIDE_DIVERGED, "the record descends from neither copy"},
    };
    enum worth mine = copy_worth(in->mine, in->me, in->record);
    enum worth theirs = copy_worth(in->theirs, in->partner, in->record);

    if (mine == CURRENT && theirs == CURRENT)
        both_current(in, out);
    else if (in->theirs && first_generation_stands(in))
        answer(out, DECIDE_WAIT,
               "the record of a new group stands, and neither copy bears its generation yet");
    else if (mine == CURRENT && theirs == ABSENT)
        current_absent(in, out);
    else
        answer(out, table[mine][theirs].action, table[mine][theirs].reason);
}

static void no_record(const struct decide_in *in, struct decide_out *out)
{
    if (in->mine->condition != CARRICK_LOG_EMPTY ||
        (in->theirs && in->theirs->condition != CARRICK_LOG_EMPTY))
        answer(
            out, DECIDE_WAIT,
            "the arbiter has no record of a group whose copies bear a generation: its record was "
            "lost, or it is another arbiter");
    else if (in->theirs == NULL)
        answer(out, DECIDE_WAIT, "a new group is made when both nodes are there");
    else if (strcmp(in->home, in->me) == 0)
        answer(out, DECIDE_FIRST, "a new group, and this node is its home");
    else
        answer(out, DECIDE_LET, "a new group, and the partner is its home");
}

// ---- without an arbiter, what the copies say of themselves is all there is

static void member_add(struct carrick_arbiter_record *record, const char *node,
                       const struct carrick_log_copy *copy)
{
    struct carrick_arbiter_member *member = &record->members[record->member_count];

    if (!copy->member || copy->condition != CARRICK_LOG_WHOLE)
        return;
    strncpy(member->node, node, CARRICK_NAME_MAX);
    record->member_count++;
}

static void record_from(struct carrick_arbiter_record *record,
                        const struct carrick_generation *generation)
{
    *record = (struct carrick_arbiter_record){.struct_size = sizeof *record, .number = 1};
    memcpy(record->generation, generation->id, 16);
    memcpy(record->parent, generation->parent, 16);
    record->fork_sequence = generation->fork_sequence;
}

static void decide_by_copies(const struct decide_in *in, struct decide_out *out)
{
    const struct carrick_log_copy *mine = in->mine, *theirs = in->theirs;
    struct carrick_arbiter_record record;
    struct decide_in with = *in;

    with.record = &record;
    if (theirs == NULL) {
        if (in->go_on && in->waited && mine->member && mine->condition == CARRICK_LOG_WHOLE)
            answer(out, DECIDE_SERVE_ALONE,
                   "the partner is not there, no arbiter is configured, and on_mirror_loss is "
                   "\"continue\"");
        else
            answer(out, DECIDE_WAIT,
                   "the partner is not there, and no arbiter is configured that could say whether "
                   "it serves");
        return;
    }
    bool mine_none = fo_id_is_zero(mine->generation.id),
         theirs_none = fo_id_is_zero(theirs->generation.id);
    if (mine_none && theirs_none) {
        no_record(in, out);
        return;
    }
    if (theirs_none ||
        (!mine_none && (fo_id_equal(mine->generation.id, theirs->generation.id) ||
                        fo_id_equal(mine->generation.parent, theirs->generation.id)))) {
        record_from(&record, &mine->generation);
    } else if (mine_none || fo_id_equal(theirs->generation.parent, mine->generation.id)) {
        record_from(&record, &theirs->generation);
    } else {
        answer(out, DECIDE_DIVERGED,
               "the copies bear generations of which neither descends from the other");
        return;
    }
    if (fo_id_equal(record.generation, mine->generation.id))
        member_add(&record, in->me, mine);
    if (fo_id_equal(record.generation, theirs->generation.id))
        member_add(&record, in->partner, theirs);
    nobody_serves(&with, out);
}

static bool partner_still_reads(const struct decide_in *in)
{
    return in->theirs && in->theirs->role != CARRICK_LOG_OWNER &&
           in->theirs->condition == CARRICK_LOG_SCANNING;
}

static bool partner_is_unusable(const struct decide_in *in)
{
    return in->theirs && in->theirs->role != CARRICK_LOG_OWNER &&
           in->theirs->condition == CARRICK_LOG_UNUSABLE;
}

void fo_decide(const struct decide_in *asked, struct decide_out *out)
{
    struct decide_in without = *asked;
    const struct decide_in *in = asked;

    // A copy that cannot be read is, after some time, as one that is not there; one that cannot be served, at once.
    without.theirs = NULL;
    without.waited |= partner_is_unusable(asked);
    if (without.waited && (partner_still_reads(asked) || partner_is_unusable(asked)))
        in = &without;
    if (in->mine->condition == CARRICK_LOG_UNUSABLE)
        answer(
            out, DECIDE_WAIT,
            "this node's shelves cannot take what the log holds: its log says why; mend that, and "
            "start the daemon again");
    else if (in->mine->condition == CARRICK_LOG_SCANNING)
        answer(out, DECIDE_WAIT, "this node's copy of the log is still being read");
    else if (in->theirs && in->theirs->role == CARRICK_LOG_OWNER)
        decide_follow(in, out);
    else if (partner_still_reads(in))
        answer(out, DECIDE_WAIT, "the partner's copy of the log is still being read");
    else if (in->arbiter == DECIDE_NO_ARBITER)
        decide_by_copies(in, out);
    else if (in->arbiter == DECIDE_UNREAD)
        answer(out, DECIDE_READ, "the arbiter's record is needed");
    else if (in->record->number == 0)
        no_record(in, out);
    else if (in->mine->generation.number > in->record->number)
        answer(
            out, DECIDE_WAIT,
            "the arbiter's record is older than what this copy bears: an old backup was restored "
            "there");
    else if (in->theirs && in->theirs->generation.number > in->record->number)
        answer(
            out, DECIDE_WAIT,
            "the arbiter's record is older than what the partner's copy bears: an old backup was "
            "restored there");
    else
        nobody_serves(in, out);
}

const char *fo_decide_name(enum decide_action action)
{
    static const char *const names[DECIDE_ACTION_COUNT] = {"wait",
                                                           "read the arbiter's record",
                                                           "follow",
                                                           "wait until the partner goes alone",
                                                           "let the partner serve",
                                                           "serve with the partner as member",
                                                           "serve alone",
                                                           "make the group",
                                                           "nothing: diverged"};

    return action < DECIDE_ACTION_COUNT ? names[action] : "?";
}
