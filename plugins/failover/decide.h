// SPDX-License-Identifier: Apache-2.0
//
// Who shall serve a group, when nobody on this node does: a pure function of what both copies bear and what the
// arbiter's record says. Both nodes ask it with their sides changed over, and their answers fit together.
#ifndef FAILOVER_DECIDE_H
#define FAILOVER_DECIDE_H

#include <carrick/arbiter.h>
#include <carrick/log.h>

enum decide_action {
    DECIDE_WAIT = 0, // nothing can be done by itself; the reason says what is missing
    DECIDE_READ,     // the arbiter's record is needed
    DECIDE_FOLLOW,   // the partner serves: become its shadow
    DECIDE_OUT, // the partner serves and counts on this copy, which is not good: it must go alone first
    DECIDE_LET,         // the partner is the one to serve
    DECIDE_SERVE_BOTH,  // serve, with the partner's copy as a member
    DECIDE_SERVE_ALONE, // serve, as the only member
    DECIDE_FIRST,       // as SERVE_BOTH: the group's first generation
    DECIDE_DIVERGED,    // both copies hold writes that the other lacks
    DECIDE_ACTION_COUNT
};

enum decide_arbiter {
    DECIDE_NO_ARBITER = 0, // none is configured
    DECIDE_UNREAD = 1,
    DECIDE_HAVE_RECORD = 2,
};

struct decide_in {
    const char *me, *partner, *home;
    const struct carrick_log_copy *mine;
    const struct carrick_log_copy *theirs; // NULL: the partner is not there
    uint32_t theirs_mirror;                // enum carrick_log_mirror, where it is owner
    enum decide_arbiter arbiter;
    const struct carrick_arbiter_record *record;
    bool waited; // long enough for a partner that is not there
    bool go_on;  // on_mirror_loss is "continue"
};

struct decide_out {
    enum decide_action action;
    uint64_t cut_above; // FOLLOW
    bool empty;         // FOLLOW
    const char *reason; // a constant text
};

void fo_decide(const struct decide_in *in, struct decide_out *out);
const char *fo_decide_name(enum decide_action action);

// May a node that bears this copy change the record, as one that holds every acknowledged write?
bool fo_copy_is_current(const struct carrick_log_copy *copy, const char *node,
                        const struct carrick_arbiter_record *record);
bool fo_record_is_sole_member(const struct carrick_arbiter_record *record, const char *node);
// Does the follower's copy hold all that this owner has acknowledged, so that it may go on as a member?
bool fo_copy_follows_as_member(const struct carrick_log_copy *follower,
                               const struct carrick_log_copy *owner);

bool fo_id_is_zero(const uint8_t id[16]);
bool fo_id_equal(const uint8_t a[16], const uint8_t b[16]);

#endif
