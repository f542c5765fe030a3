// SPDX-License-Identifier: Apache-2.0
// needs plugin: failover
//
// Who serves: the cross product of what both copies can be, what the arbiter's record can say, and who is there. Both
// nodes are asked, and their answers must fit together; single cases say which answer it must be.
#include <criterion/criterion.h>

#include "plugins/failover/decide.h"

#include <stdio.h>
#include <string.h>

// Copies as they can be found after anything: under the record's generation N, its parent P, a stranger S.
enum look { EMPTY, NEW, OLD, STRANGER, SHORT, BAD, HALF, READING, NEW_OUT, LOOKS };

static const char *const look_names[LOOKS] = {"empty", "new",  "old",     "stranger",      "short",
                                              "bad",   "half", "reading", "new, no member"};

static void id_set(uint8_t id[16], char c)
{
    memset(id, c, 16);
}

static void generation_set(struct carrick_generation *generation, enum look look)
{
    memset(generation, 0, sizeof *generation);
    if (look == EMPTY || look == READING)
        return;
    id_set(generation->id, look == OLD ? 'P' : look == STRANGER ? 'S' : 'N');
    id_set(generation->parent, look == OLD ? 'Q' : look == STRANGER ? 'Q' : 'P');
    generation->fork_sequence = look == OLD ? 3 : 7;
    generation->number = look == OLD ? 3 : 5;
}

static struct carrick_log_copy copy_of(enum look look, uint32_t role)
{
    struct carrick_log_copy copy = {.struct_size = sizeof copy,
                                    .level = CARRICK_LEVEL_MEMORY,
                                    .role = role,
                                    .condition = look == EMPTY     ? CARRICK_LOG_EMPTY
                                                 : look == BAD     ? CARRICK_LOG_CORRUPT
                                                 : look == HALF    ? CARRICK_LOG_INCONSISTENT
                                                 : look == READING ? CARRICK_LOG_SCANNING
                                                                   : CARRICK_LOG_WHOLE,
                                    .member = look != EMPTY && look != HALF && look != READING &&
                                              look != NEW_OUT};

    generation_set(&copy.generation, look);
    if (look != EMPTY && look != READING) {
        copy.first = 1;
        copy.last = look == SHORT ? 8 : 10;
        copy.acknowledged = look == SHORT ? 8 : 9;
    }
    return copy;
}

static struct carrick_arbiter_record record_of(unsigned members, const char *owner)
{
    struct carrick_arbiter_record record = {.struct_size = sizeof record, .number = 6};

    id_set(record.generation, 'N');
    id_set(record.parent, 'P');
    record.fork_sequence = 7;
    snprintf(record.owner, sizeof record.owner, "%s", owner);
    for (unsigned i = 0; i < 2; i++)
        if (members & 1u << i)
            snprintf(record.members[record.member_count++].node, CARRICK_NAME_MAX + 1, "%s",
                     i == 0 ? "alpha" : "beta");
    return record;
}

struct both {
    struct carrick_log_copy copies[2];
    struct carrick_arbiter_record record;
    enum decide_arbiter arbiter;
    uint32_t mirrors[2];
    bool there, waited;
};

static struct decide_out ask(const struct both *both, unsigned node)
{
    static const char *const names[2] = {"alpha", "beta"};
    struct decide_out out;

    fo_decide(&(struct decide_in){.me = names[node],
                                  .partner = names[1 - node],
                                  .home = "alpha",
                                  .mine = &both->copies[node],
                                  .theirs = both->there ? &both->copies[1 - node] : NULL,
                                  .theirs_mirror = both->mirrors[1 - node],
                                  .arbiter = both->arbiter,
                                  .record = &both->record,
                                  .waited = both->waited},
              &out);
    cr_assert_not_null(out.reason);
    return out;
}

static bool serves(enum decide_action action)
{
    return action == DECIDE_SERVE_BOTH || action == DECIDE_SERVE_ALONE || action == DECIDE_FIRST;
}

static bool holds_all(const struct both *both, unsigned node)
{
    const struct carrick_log_copy *copy = &both->copies[node];

    return copy->condition == CARRICK_LOG_WHOLE &&
           fo_copy_is_current(copy, node == 0 ? "alpha" : "beta", &both->record);
}

static void check_nobody_serves(const struct both *both, const char *what)
{
    struct decide_out a = ask(both, 0), b = ask(both, 1);

    cr_assert(!(serves(a.action) && serves(b.action)), "%s: both serve", what);
    for (unsigned node = 0; node < 2; node++) {
        enum decide_action action = node == 0 ? a.action : b.action,
                           other = node == 0 ? b.action : a.action;

        if (serves(action)) {
            cr_assert(holds_all(both, node), "%s: one serves that is no whole member", what);
            cr_assert(other == DECIDE_LET || other == DECIDE_WAIT, "%s: the other does %s", what,
                      fo_decide_name(other));
        }
        // Who counts on the other's copy must be right in that.
        if (action == DECIDE_SERVE_BOTH)
            cr_assert(holds_all(both, 1 - node) &&
                          both->copies[1 - node].last >= both->copies[node].acknowledged,
                      "%s: counts on a copy that is not good", what);
        // Who lets the other serve must find it willing: else nobody ever does.
        if (action == DECIDE_LET)
            cr_assert(serves(other), "%s: lets the other, which does %s", what,
                      fo_decide_name(other));
        cr_assert_neq(action, DECIDE_FOLLOW, "%s: follows nobody", what);
    }
    bool reading = both->copies[0].condition == CARRICK_LOG_SCANNING ||
                   both->copies[1].condition == CARRICK_LOG_SCANNING;
    if ((holds_all(both, 0) || holds_all(both, 1)) && !reading)
        cr_assert(serves(a.action) || serves(b.action), "%s: nobody serves (%s, %s)", what,
                  a.reason, b.reason);
}

Test(failover_decide, whatever_two_idle_copies_are)
{
    unsigned cases = 0;

    for (unsigned mine = 0; mine < LOOKS; mine++)
        for (unsigned theirs = 0; theirs < LOOKS; theirs++)
            for (unsigned members = 1; members < 4; members++)
                for (unsigned owner = 0; owner < 2; owner++)
                    for (unsigned role = 0; role < 2; role++) {
                        char what[120];
                        struct both both = {
                            .copies = {copy_of((enum look)mine, CARRICK_LOG_IDLE),
                                       copy_of((enum look)theirs,
                                               role ? CARRICK_LOG_SHADOW : CARRICK_LOG_IDLE)},
                            .record = record_of(members, owner ? "beta" : "alpha"),
                            .arbiter = DECIDE_HAVE_RECORD,
                            .there = true};

                        snprintf(what, sizeof what, "%s and %s, members %u, owner %u",
                                 look_names[mine], look_names[theirs], members, owner);
                        check_nobody_serves(&both, what);
                        cases++;
                    }
    cr_assert_eq(cases, LOOKS * LOOKS * 3 * 2 * 2);
}

Test(failover_decide, whatever_one_copy_is_when_the_other_is_away)
{
    for (unsigned mine = 0; mine < LOOKS; mine++)
        for (unsigned members = 1; members < 4; members++)
            for (unsigned waited = 0; waited < 2; waited++) {
                struct both both = {.copies = {copy_of((enum look)mine, CARRICK_LOG_IDLE)},
                                    .record = record_of(members, "alpha"),
                                    .arbiter = DECIDE_HAVE_RECORD,
                                    .waited = waited};
                struct decide_out out = ask(&both, 0);
                bool may = holds_all(&both, 0) && (waited || members == 1);

                cr_assert_eq(out.action, may ? DECIDE_SERVE_ALONE : DECIDE_WAIT,
                             "%s, members %u: %s", look_names[mine], members,
                             fo_decide_name(out.action));
            }
}

Test(failover_decide, whatever_a_copy_is_when_the_partner_serves)
{
    static const uint32_t mirrors[] = {CARRICK_MIRROR_ALONE, CARRICK_MIRROR_JOINING,
                                       CARRICK_MIRROR_BOTH};

    for (unsigned mine = 0; mine < LOOKS; mine++)
        for (unsigned m = 0; m < 3; m++) {
            struct both both = {.copies = {copy_of((enum look)mine, CARRICK_LOG_IDLE),
                                           copy_of(NEW, CARRICK_LOG_OWNER)},
                                .arbiter = DECIDE_UNREAD,
                                .mirrors = {0, mirrors[m]},
                                .there = true};
            struct decide_out out = ask(&both, 0);

            cr_assert(!serves(out.action), "%s", look_names[mine]);
            if (mine == READING) {
                cr_assert_eq(out.action, DECIDE_WAIT);
            } else if (mirrors[m] == CARRICK_MIRROR_BOTH) {
                bool good = mine == NEW || mine == NEW_OUT;
                cr_assert_eq(out.action, good ? DECIDE_FOLLOW : DECIDE_OUT, "%s", look_names[mine]);
                if (good)
                    cr_assert(!out.empty && out.cut_above == UINT64_MAX);
            } else if (mine == STRANGER) {
                cr_assert_eq(out.action, DECIDE_DIVERGED);
            } else {
                cr_assert_eq(out.action, DECIDE_FOLLOW, "%s", look_names[mine]);
                // Nothing that the owner may lack stays in a copy that was no member.
                if (!out.empty)
                    cr_assert_eq(out.cut_above, 7, "%s", look_names[mine]);
                if (mine == EMPTY || mine == BAD || mine == HALF)
                    cr_assert(out.empty, "%s", look_names[mine]);
            }
        }
}

Test(failover_decide, a_new_group_is_made_at_home_when_both_are_there)
{
    struct both both = {.copies = {copy_of(EMPTY, 0), copy_of(EMPTY, 0)},
                        .arbiter = DECIDE_HAVE_RECORD,
                        .there = true};

    cr_assert_eq(ask(&both, 0).action, DECIDE_FIRST);
    cr_assert_eq(ask(&both, 1).action, DECIDE_LET);
    both.arbiter = DECIDE_NO_ARBITER;
    cr_assert_eq(ask(&both, 0).action, DECIDE_FIRST);
    cr_assert_eq(ask(&both, 1).action, DECIDE_LET);
    both.arbiter = DECIDE_HAVE_RECORD;
    both.there = false;
    both.waited = true;
    cr_assert_eq(ask(&both, 0).action, DECIDE_WAIT, "a new group made by one node");
}

Test(failover_decide, a_lost_record_is_not_made_anew)
{
    struct both both = {
        .copies = {copy_of(NEW, 0), copy_of(NEW, 0)}, .arbiter = DECIDE_HAVE_RECORD, .there = true};

    cr_assert_eq(ask(&both, 0).action, DECIDE_WAIT);
    both.copies[0] = copy_of(EMPTY, 0);
    cr_assert_eq(ask(&both, 0).action, DECIDE_WAIT);
    cr_assert_eq(ask(&both, 1).action, DECIDE_WAIT);
}

Test(failover_decide, a_record_older_than_a_copy_decides_nothing)
{
    struct both both = {.copies = {copy_of(NEW, 0), copy_of(OLD, 0)},
                        .record = record_of(3, "beta"),
                        .arbiter = DECIDE_HAVE_RECORD,
                        .there = true,
                        .waited = true};

    both.record.number = 4; // a backup, from when the parent ruled
    id_set(both.record.generation, 'P');
    cr_assert_eq(ask(&both, 0).action, DECIDE_WAIT);
    cr_assert_eq(ask(&both, 1).action, DECIDE_WAIT);
}

Test(failover_decide, a_volatile_copy_counts_under_its_own_incarnation_only)
{
    struct carrick_arbiter_record record = record_of(3, "alpha");
    struct carrick_log_copy copy = copy_of(NEW, 0);

    record.members[0].incarnation = 11;
    copy.incarnation = 11;
    cr_assert(fo_copy_is_current(&copy, "alpha", &record));
    copy.incarnation = 12;
    cr_assert(!fo_copy_is_current(&copy, "alpha", &record));
}

Test(failover_decide, a_winner_that_ended_before_its_copy_bore_it)
{
    struct both both = {.copies = {copy_of(OLD, 0), copy_of(OLD, 0)},
                        .record = record_of(1, "alpha"),
                        .arbiter = DECIDE_HAVE_RECORD,
                        .there = true};

    cr_assert_eq(ask(&both, 0).action, DECIDE_SERVE_ALONE);
    cr_assert_eq(ask(&both, 1).action, DECIDE_LET);
}

Test(failover_decide, without_an_arbiter)
{
    for (unsigned mine = 0; mine < LOOKS; mine++)
        for (unsigned theirs = 0; theirs < LOOKS; theirs++) {
            struct both both = {
                .copies = {copy_of((enum look)mine, 0), copy_of((enum look)theirs, 0)},
                .arbiter = DECIDE_NO_ARBITER,
                .there = true};
            enum decide_action a = ask(&both, 0).action, b = ask(&both, 1).action;

            cr_assert(!(serves(a) && serves(b)), "%s and %s: both serve", look_names[mine],
                      look_names[theirs]);
            cr_assert(a != DECIDE_LET || serves(b), "%s and %s", look_names[mine],
                      look_names[theirs]);
            cr_assert(b != DECIDE_LET || serves(a), "%s and %s", look_names[mine],
                      look_names[theirs]);
            cr_assert_eq(a == DECIDE_DIVERGED, b == DECIDE_DIVERGED, "%s and %s", look_names[mine],
                         look_names[theirs]);
        }
    struct both ahead = {
        .copies = {copy_of(NEW, 0), copy_of(OLD, 0)}, .arbiter = DECIDE_NO_ARBITER, .there = true};
    cr_assert_eq(ask(&ahead, 0).action, DECIDE_SERVE_ALONE);
    ahead.copies[1] = copy_of(STRANGER, 0);
    cr_assert_eq(ask(&ahead, 0).action, DECIDE_DIVERGED);
    ahead.there = false;
    ahead.waited = true;
    cr_assert_eq(ask(&ahead, 0).action, DECIDE_WAIT, "hold is the default");
}
