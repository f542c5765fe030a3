// SPDX-License-Identifier: Apache-2.0
// needs plugin: failover
//
// What is told of the arbiter before it is needed: while a pair is well, and to an operator who asks what a takeover would do.
#include "failover_world.h"

#define ALPHA (&world->nodes[0])
#define BETA (&world->nodes[1])

static const char *const plain = "{}";
static const char *const dry = "{\"group\":\"g1\",\"dry_run\":true}";
static const char *const forced = "{\"group\":\"g1\",\"force\":true}";

enum { LOOKS_MS = 12000 }; // time for two looks, one of them in doubt

static const char *fault(struct node *node)
{
    return node_group(node)->outlook.fault;
}

static bool tells(struct node *node, const char *text)
{
    char state[4096];

    node->ops->describe_state(node->client, state, sizeof state);
    return strstr(state, text) != NULL;
}

Test(failover_look, an_arbiter_that_is_away_is_told_by_both_while_all_is_well)
{
    static const enum arbiter_mode modes[] = {ARBITER_DEAF, ARBITER_SILENT};

    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        struct world *world = world_protected(plain);
        unsigned asked = ALPHA->changes_asked + BETA->changes_asked;
        uint64_t sessions = world->sessions;

        cr_assert(!tells(ALPHA, "arbiter_fault") && !tells(BETA, "arbiter_fault"));
        ALPHA->mode = BETA->mode = modes[i];
        RUN_UNTIL(world, fault(ALPHA)[0] && fault(BETA)[0], LOOKS_MS + 2000);
        cr_assert_not_null(strstr(fault(BETA), "the arbiter model could not be had"));
        cr_assert(tells(ALPHA, "\"arbiter_fault\":\"the arbiter model could not be had"));
        // And that is all that comes of it.
        for (int n = 0; n < 30; n++) {
            cr_assert(node_write(ALPHA));
            world_run(world, 1000);
        }
        cr_assert(both_protected(world));
        cr_assert_eq(world->acknowledged_count, 35);
        cr_assert_eq(ALPHA->changes_asked + BETA->changes_asked, asked);
        cr_assert_eq(world->sessions, sessions);
        ALPHA->mode = BETA->mode = ARBITER_GOOD;
        RUN_UNTIL(world, !fault(ALPHA)[0] && !fault(BETA)[0], LOOKS_MS);
        world_end(world);
    }
}

// Each node has a mailbox directory of its own, because it is not mounted.
Test(failover_look, an_arbiter_without_a_record_is_told)
{
    struct world *world = world_new(plain);

    BETA->mode = ARBITER_EMPTY;
    node_start(ALPHA);
    node_start(BETA);
    RUN_UNTIL(world, both_protected(world), 5000);
    RUN_UNTIL(world, fault(BETA)[0], LOOKS_MS);
    cr_assert_not_null(strstr(fault(BETA), "no record of the group: is it the same one"));
    cr_assert(!fault(ALPHA)[0], "%s", fault(ALPHA));
    world_end(world);
}

Test(failover_look, an_arbiter_that_names_another_history_is_told)
{
    struct world *world = world_protected(plain);

    ALPHA->mode = BETA->mode = ARBITER_OTHER;
    RUN_UNTIL(world, fault(ALPHA)[0] && fault(BETA)[0], LOOKS_MS);
    cr_assert_not_null(strstr(fault(ALPHA), "does not name this copy"));
    cr_assert_not_null(strstr(fault(BETA), "does not name this copy"));
    ALPHA->mode = BETA->mode = ARBITER_EMPTY; // a daemon knows what it has seen
    RUN_UNTIL(world, strstr(fault(ALPHA), "was seen before") != NULL, LOOKS_MS);
    cr_assert(both_protected(world));
    world_end(world);
}

// It may have fallen into a change of the record, or into an election at the arbiter.
Test(failover_look, one_look_in_doubt_is_not_told)
{
    struct world *world = world_protected(plain);

    ALPHA->mode = ARBITER_DEAF;
    RUN_UNTIL(world, node_group(ALPHA)->outlook.doubts == 1, LOOKS_MS);
    ALPHA->mode = ARBITER_GOOD;
    for (int i = 0; i < 2 * LOOKS_MS; i++) {
        world_run(world, 1);
        cr_assert(!fault(ALPHA)[0], "%s", fault(ALPHA));
    }
    cr_assert_eq(node_group(ALPHA)->outlook.doubts, 0);
    world_end(world);
}

// What came back, handed over or was joined is looked at anew, and nothing of it is taken for a fault.
Test(failover_look, no_fault_is_told_of_a_pair_that_changes)
{
    struct world *world = world_protected(plain);

    world->arbiter_ms = 900; // looks fall into changes
    for (int turn = 0; turn < 12; turn++) {
        struct node *owner = serves(ALPHA) ? ALPHA : BETA, *other = peer_of(owner);

        if (turn % 3 == 0) {
            node_kill(owner);
            RUN_UNTIL(world, serves(other), 10000);
            node_start(owner);
        } else if (turn % 3 == 1) {
            node_kill(other);
            RUN_UNTIL(world, is_word(owner, "alone"), 10000);
            node_start(other);
        } else {
            node_command(owner, "handover", "{\"group\":\"g1\"}");
        }
        for (int ms = 0; ms < 15000; ms++) {
            world_run(world, 1);
            for (unsigned i = 0; i < 2; i++)
                cr_assert(!node_group(&world->nodes[i]) || !fault(&world->nodes[i])[0], "%s",
                          fault(&world->nodes[i]));
        }
        cr_assert(both_protected(world), "turn %d", turn);
    }
    world_end(world);
}

// A look that is under way is answered by nobody once its client is gone.
Test(failover_look, the_end_of_a_client_in_the_middle_of_looks)
{
    struct world *world = world_protected(plain);

    world->arbiter_ms = 900;
    RUN_UNTIL(world, ((struct failover *)(void *)BETA->client)->looking, LOOKS_MS);
    BETA->ops->command(BETA->client, "takeover", dry, 99);
    world_run(world, 100);
    node_kill(BETA);
    world_run(world, 3000);
    cr_assert_eq(BETA->replies, 0);
    world_end(world);
}

// ---- takeover --dry-run

static bool said(const struct node *node, const char *text)
{
    return strstr(node->reply, text) != NULL;
}

Test(failover_look, a_dry_run_tells_that_the_arbiter_is_away)
{
    struct world *world = world_protected(plain);

    BETA->mode = ARBITER_DEAF;
    node_kill(ALPHA);
    world_run(world, 3000);
    for (int i = 0; i < 200; i++) { // in each state in which it may be
        node_command(BETA, "takeover", dry);
        cr_assert(said(BETA, "\"possible\":false"), "%s", BETA->reply);
        cr_assert(said(BETA, "\"against\":["), "%s", BETA->reply);
        cr_assert(said(BETA, "the arbiter model could not be had: it cannot be reached"));
        cr_assert(said(BETA, "\"force_possible\":false"), "%s", BETA->reply);
        cr_assert(said(BETA, "Where it is gone for good"), "%s", BETA->reply);
        world_run(world, 7);
    }
    // So it is.
    node_command(BETA, "takeover", forced);
    cr_assert_neq(BETA->reply_status, CARRICK_OK);
    cr_assert(!serves(BETA));
    world_end(world);
}

Test(failover_look, a_dry_run_asks_what_the_record_says_now)
{
    struct world *world = world_protected("{\"timers\":{\"takeover_delay_ms\":20000,"
                                          "\"boot_wait_ms\":30000}}");

    node_command(BETA, "takeover", dry); // while all is well the owner is what speaks against it
    cr_assert(said(BETA,
                   "\"against\":[\"alpha serves the group and is well: hand it over there with "
                   "'carrick handover g1'\"]"),
              "%s", BETA->reply);
    node_kill(ALPHA);
    world_run(world, 3000);
    node_command(BETA, "takeover", dry);
    cr_assert(said(BETA, "\"possible\":true,\"against\":[]"), "%s", BETA->reply);
    BETA->mode = ARBITER_OTHER;
    node_command(BETA, "takeover", dry);
    cr_assert(said(BETA, "\"possible\":false"), "%s", BETA->reply);
    cr_assert(said(BETA, "does not name this copy"), "%s", BETA->reply);
    cr_assert(said(BETA, "\"force_possible\":true,\"force_against\":[]"), "%s", BETA->reply);
    node_command(BETA, "takeover", "{\"group\":\"g1\"}");
    cr_assert_neq(BETA->reply_status, CARRICK_OK);
    cr_assert(!serves(BETA));
    world_end(world);
}

Test(failover_look, at_the_owner_nothing_would_be_done_or_lost)
{
    struct world *world = world_protected(plain);

    node_command(ALPHA, "takeover", dry);
    cr_assert(said(ALPHA, "\"against\":[\"this node serves the group already\"]"));
    cr_assert(said(ALPHA, "\"force_possible\":false"), "%s", ALPHA->reply);
    cr_assert(said(ALPHA, "\"would\":[],\"force_would_lose\":[]"), "%s", ALPHA->reply);
    node_command(ALPHA, "takeover", forced);
    cr_assert_neq(ALPHA->reply_status, CARRICK_OK);
    cr_assert(!said(ALPHA, "would lose"), "%s", ALPHA->reply);
    world_end(world);
}

// ---- an arbiter that is gone for good

// Another one is given to both, and both daemons begin anew: the copies bear what no record says.
static void new_arbiter(bool both_are_there)
{
    struct world *world = world_protected(plain);

    node_kill(ALPHA);
    node_kill(BETA);
    world->record = (struct carrick_arbiter_record){.struct_size = sizeof world->record};
    node_start(ALPHA);
    if (both_are_there)
        node_start(BETA);
    world_run(world, 20000);
    cr_assert(!serves(ALPHA) && !serves(BETA));
    node_command(ALPHA, "takeover", dry);
    cr_assert(said(ALPHA, "has no record of the group"), "%s", ALPHA->reply);
    cr_assert(said(ALPHA, "\"force_possible\":true"), "%s", ALPHA->reply);
    node_command(ALPHA, "takeover", forced);
    cr_assert_eq(ALPHA->reply_status, CARRICK_OK, "%s", ALPHA->reply);
    if (!both_are_there)
        node_start(BETA);
    RUN_UNTIL(world, both_protected(world), 20000);
    judge_history(ALPHA);
    judge_history(BETA);
    world_run(world, LOOKS_MS);
    cr_assert(!fault(ALPHA)[0] && !fault(BETA)[0]);
    node_kill(ALPHA); // and it is one that can be relied on
    RUN_UNTIL(world, serves(BETA), 5000);
    world_end(world);
}

Test(failover_look, a_new_arbiter_is_told_by_force_who_serves)
{
    new_arbiter(true);
    new_arbiter(false);
}
