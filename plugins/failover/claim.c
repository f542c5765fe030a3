// SPDX-License-Identifier: Apache-2.0
//
// One change at the arbiter. It begins with a read, goes on only if the record names this node's copy as one that
// holds every acknowledged write, and ends when the outcome is known, or its time is over. A change whose outcome is
// not known is asked for again with the same expectation: whichever of both stands, the other cannot any more.
#include "failover.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct call {
    struct call *next;
    struct group *group;
    uint64_t attempt;
    bool is_change;
};

static void claim_read(struct group *group);
static void claim_change(struct group *group);

bool failover_has_arbiter(const struct failover *failover)
{
    return failover->arbiter != NULL;
}

// ---- what is wanted

static void name_put(char name[CARRICK_NAME_MAX + 1], const char *from)
{
    snprintf(name, CARRICK_NAME_MAX + 1, "%s", from);
}

static void member_put(struct carrick_arbiter_record *record, const char *node,
                       const struct carrick_log_copy *copy)
{
    struct carrick_arbiter_member *member = &record->members[record->member_count++];

    name_put(member->node, node);
    member->incarnation = copy->level == CARRICK_LEVEL_VOLATILE ? copy->incarnation : 0;
}

static void generation_put(struct group *group, struct carrick_arbiter_record *record,
                           const struct carrick_log_copy *mine, bool fresh)
{
    const struct carrick_host *base = group->failover->host->base;

    if (fresh) {
        base->random(base, record->generation, sizeof record->generation);
        memcpy(record->parent, mine->generation.id, sizeof record->parent);
        record->fork_sequence = mine->last;
    } else {
        memcpy(record->generation, mine->generation.id, sizeof record->generation);
        memcpy(record->parent, mine->generation.parent, sizeof record->parent);
        record->fork_sequence = mine->generation.fork_sequence;
    }
}

static bool is_fresh(enum claim_purpose purpose, const struct carrick_log_copy *mine,
                     const struct carrick_arbiter_record *found, const char *me)
{
    if (fo_id_is_zero(mine->generation.id) || purpose == CLAIM_FORCE)
        return true;
    if (purpose != CLAIM_ALONE)
        return false;
    // Alone already, under this very generation: nothing begins anew.
    return !(fo_record_is_sole_member(found, me) &&
             fo_id_equal(found->generation, mine->generation.id));
}

void fo_claim_wanted(struct group *group, enum claim_purpose purpose,
                     const struct carrick_arbiter_record *found, struct carrick_arbiter_record *out)
{
    struct failover *failover = group->failover;
    const char *me = failover->host->base->node, *partner = failover->host->base->partner;
    bool owner_is_partner = purpose == CLAIM_HANDOVER;
    struct carrick_log_copy mine;

    fo_group_copy(group, &mine);
    if (purpose == CLAIM_RESTORE)
        owner_is_partner = mine.role != CARRICK_LOG_OWNER;
    *out = (struct carrick_arbiter_record){.struct_size = sizeof *out, .number = found->number + 1};
    generation_put(group, out, &mine, is_fresh(purpose, &mine, found, me));
    name_put(out->owner, owner_is_partner ? partner : me);
    out->owner_incarnation = owner_is_partner ? group->theirs_incarnation : failover->incarnation;
    member_put(out, me, &mine);
    if (purpose != CLAIM_ALONE && purpose != CLAIM_FORCE)
        member_put(out, partner, &group->theirs.copy);
}

void fo_generation_of(const struct carrick_arbiter_record *record,
                      const struct carrick_log_copy *copy, struct carrick_generation *out)
{
    memcpy(out->id, record->generation, sizeof out->id);
    memcpy(out->parent, record->parent, sizeof out->parent);
    out->fork_sequence = record->fork_sequence;
    out->number = fo_id_equal(record->generation, copy->generation.id) ? copy->generation.number
                                                                       : record->number;
}

// Compares what this node bears with what is found, never with what it would like to find.
static const char *claim_forbidden(struct group *group, const struct carrick_arbiter_record *found)
{
    const char *me = group->failover->host->base->node;
    enum claim_purpose purpose = group->claim.purpose;
    struct carrick_log_copy mine;

    fo_group_copy(group, &mine);
    if (purpose == CLAIM_FORCE)
        return NULL;
    if (found->number == 0)
        return purpose == CLAIM_BOTH && mine.condition == CARRICK_LOG_EMPTY
                   ? NULL
                   : "the arbiter has no record of the group";
    if (mine.generation.number > found->number ||
        (group->theirs_known && group->theirs.copy.generation.number > found->number))
        return "the arbiter's record is older than what a copy bears: an old backup was "
               "restored "
               "there";
    if (purpose == CLAIM_HANDOVER && found->member_count < 2)
        return "the partner's copy is no member";
    if (!fo_copy_is_current(&mine, me, found) &&
        !(group->failover->break_rules & FAILOVER_BREAK_FOUND))
        return "the record does not name this copy as one that holds every acknowledged write";
    return NULL;
}

static bool same_content(const struct carrick_arbiter_record *a,
                         const struct carrick_arbiter_record *b)
{
    if (!fo_id_equal(a->generation, b->generation) || a->member_count != b->member_count ||
        strcmp(a->owner, b->owner) != 0 || a->owner_incarnation != b->owner_incarnation)
        return false;
    for (uint32_t i = 0; i < a->member_count && i < CARRICK_ARBITER_MEMBERS_MAX; i++)
        if (strcmp(a->members[i].node, b->members[i].node) != 0 ||
            a->members[i].incarnation != b->members[i].incarnation)
            return false;
    return true;
}

// ---- the conversation

static void claim_end(struct group *group, enum group_event outcome, const char *cause)
{
    struct claim *claim = &group->claim;

    if (cause != NULL)
        snprintf(claim->cause, sizeof claim->cause, "%s", cause);
    claim->again = false;
    claim->attempt++; // whatever is still answered is not for this one
    claim->due = true;
    claim->outcome = outcome;
    failover_soon(group->failover);
}

static void claim_not_had(struct group *group, const char *cause)
{
    struct claim *claim = &group->claim;

    if (claim->posted) {
        group->unsettled = true;
        group->unsettled_expected = claim->expected;
        memcpy(group->unsettled_generation, claim->wanted.generation, 16);
    }
    claim_end(group, EVENT_NOT_HAD, cause);
}

static void claim_again(struct group *group)
{
    struct claim *claim = &group->claim;

    claim->again = true;
    claim->again_ns = failover_now_ns(group->failover) + group_timers(group)->beat_ms * MS;
}

static bool record_take(struct group *group, const struct carrick_arbiter_record *record)
{
    if (group->record_known && record->number < group->record.number) {
        failover_say(group->failover, CARRICK_LOG_ERROR,
                     "group %s: the arbiter shows record %llu, but %llu was seen before: an old "
                     "backup was restored there; nothing is changed until that is put right",
                     group->name, (unsigned long long)record->number,
                     (unsigned long long)group->record.number);
        return false;
    }
    group->record = *record;
    group->record_known = true;
    if (group->unsettled && record->number > group->unsettled_expected &&
        !fo_id_equal(record->generation, group->unsettled_generation))
        group->unsettled = false; // what was given up can stand no more
    return true;
}

static void claim_found(struct group *group, const struct carrick_arbiter_record *record)
{
    struct claim *claim = &group->claim;
    const char *forbidden;

    if (!record_take(group, record)) {
        claim_not_had(group, "the arbiter's record is older than one seen before");
        return;
    }
    if (claim->purpose == CLAIM_LOOK) {
        claim_end(group, EVENT_LOOKED, NULL);
        return;
    }
    if (claim->posted && record->number == claim->expected + 1 &&
        same_content(record, &claim->wanted)) {
        claim->posted = false;
        group->unsettled = false;
        claim_end(group, EVENT_WON, NULL);
        return;
    }
    if (claim->posted && record->number == claim->expected) {
        claim_change(group);
        return;
    }
    claim->posted = false;
    forbidden = claim_forbidden(group, record);
    if (forbidden != NULL) {
        claim_end(group, EVENT_REFUSED, forbidden);
        return;
    }
    claim->expected = record->number;
    fo_claim_wanted(group, claim->purpose, record, &claim->wanted);
    claim_change(group);
}

const char *fo_claim_not_had_text(int status)
{
    switch (status) {
    case CARRICK_ERR_TIMEOUT:
    case CARRICK_ERR_UNKNOWN:
        return "it did not answer in time";
    case CARRICK_ERR_UNREACHABLE:
        return "it cannot be reached";
    case CARRICK_ERR_DENIED:
        return "it does not let this node in";
    default:
        return "it failed; its own line in the log says why";
    }
}

static void answered(void *arg, int status, const struct carrick_arbiter_record *record)
{
    struct call *call = arg, **at;
    struct group *group = call->group;
    struct claim *claim = &group->claim;
    bool is_change = call->is_change, void_answer = call->attempt != claim->attempt;

    for (at = &group->calls; *at != call; at = &(*at)->next)
        ;
    *at = call->next;
    free(call);
    if (void_answer || claim->purpose == CLAIM_NONE || claim->due)
        return; // too late: a win that comes now is not used
    if (is_change && status == CARRICK_OK) {
        claim->posted = false;
        group->unsettled = false;
        group->record = claim->wanted;
        group->record_known = true;
        claim_end(group, EVENT_WON, NULL);
    } else if ((status == CARRICK_OK || status == CARRICK_ERR_CONFLICT) && record != NULL) {
        claim_found(group, record);
    } else if (claim->posted) {
        claim_again(group); // settle it
    } else {
        char cause[REASON_BYTES];

        snprintf(cause, sizeof cause, "the arbiter %s could not be had: %s",
                 group->failover->arbiter_ops->name(group->failover->arbiter),
                 fo_claim_not_had_text(status));
        claim_not_had(group, cause);
    }
}

static struct call *call_make(struct group *group, bool is_change)
{
    struct call *call = calloc(1, sizeof *call);

    if (call == NULL)
        return NULL;
    *call = (struct call){.next = group->calls,
                          .group = group,
                          .attempt = group->claim.attempt,
                          .is_change = is_change};
    group->calls = call;
    return call;
}

static void call_refused(struct group *group, struct call *call)
{
    if (call != NULL) {
        group->calls = call->next;
        free(call);
    }
    if (group->claim.posted)
        claim_again(group);
    else
        claim_not_had(group, "the arbiter takes no operation now");
}

static void claim_read(struct group *group)
{
    struct failover *failover = group->failover;
    struct call *call = call_make(group, false);

    if (call == NULL ||
        failover->arbiter_ops->read(failover->arbiter, group->name, group_timers(group)->arbiter_ms,
                                    answered, call) != CARRICK_OK)
        call_refused(group, call);
}

static void claim_change(struct group *group)
{
    struct failover *failover = group->failover;
    struct claim *claim = &group->claim;
    struct call *call = call_make(group, true);
    bool posted = claim->posted;

    claim->posted = true;
    if (call != NULL && failover->arbiter_ops->change(
                            failover->arbiter, group->name, claim->expected, &claim->wanted,
                            group_timers(group)->arbiter_ms, answered, call) == CARRICK_OK)
        return;
    claim->posted = posted; // a call that returned an error has no later effect
    call_refused(group, call);
}

// ---- without an arbiter

static void claim_by_oneself(struct group *group)
{
    struct claim *claim = &group->claim;

    if (claim->purpose == CLAIM_LOOK) {
        claim_end(group, EVENT_LOOKED, NULL);
        return;
    }
    struct carrick_arbiter_record none = {.struct_size = sizeof none};
    fo_claim_wanted(group, claim->purpose, &none, &claim->wanted);
    claim->wanted.number = 0;
    group->record = claim->wanted;
    claim_end(group, EVENT_WON, NULL);
}

void fo_claim_begin(struct group *group, enum claim_purpose purpose)
{
    struct claim *claim = &group->claim;

    fo_claim_drop(group);
    claim->purpose = purpose;
    claim->posted = false;
    claim->cause[0] = '\0';
    claim->deadline_ns = failover_now_ns(group->failover) + group_timers(group)->claim_ms * MS;
    if (failover_has_arbiter(group->failover) &&
        !(purpose == CLAIM_ALONE && group->failover->break_rules & FAILOVER_BREAK_WIN))
        claim_read(group);
    else
        claim_by_oneself(group);
}

void fo_claim_drop(struct group *group)
{
    struct claim *claim = &group->claim;

    if (claim->purpose != CLAIM_NONE && !claim->due && claim->posted) {
        group->unsettled = true;
        group->unsettled_expected = claim->expected;
        memcpy(group->unsettled_generation, claim->wanted.generation, 16);
    }
    claim->purpose = CLAIM_NONE;
    claim->posted = claim->again = claim->due = false;
    claim->attempt++;
}

// Nothing is posted that may come to stand, and no outcome waits to be told: to drop it leaves nothing behind.
bool fo_claim_is_only_asked(const struct group *group)
{
    const struct claim *claim = &group->claim;

    return claim->purpose != CLAIM_NONE && !claim->posted && !claim->due;
}

void fo_claim_tick(struct group *group, uint64_t now_ns)
{
    struct claim *claim = &group->claim;

    if (claim->purpose == CLAIM_NONE)
        return;
    if (!claim->due && now_ns >= claim->deadline_ns)
        claim_not_had(group, "the arbiter did not answer in time");
    if (claim->due) {
        enum group_event outcome = claim->outcome;

        claim->due = false;
        claim->purpose = CLAIM_NONE;
        fo_group_fire(group, outcome);
    } else if (claim->again && now_ns >= claim->again_ns) {
        claim->again = false;
        claim_read(group);
    }
}

void fo_claim_forget(struct group *group)
{
    while (group->calls != NULL) {
        struct call *call = group->calls;

        group->calls = call->next;
        free(call);
    }
}
