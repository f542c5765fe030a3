// SPDX-License-Identifier: Apache-2.0
// needs plugin: failover
//
// A node whose shelves cannot take what its log holds serves nothing, counts as nothing, and says so.
#include "failover_world.h"

#define ALPHA (&world->nodes[0])
#define BETA (&world->nodes[1])

static const char *const plain = "{}";

static void shelves_fail(struct node *node)
{
    node->log.copy.condition = CARRICK_LOG_UNUSABLE;
    log_model_changed(&node->log);
}

static void mended_and_started_again(struct node *node)
{
    node_kill(node);
    node->log.copy.condition = CARRICK_LOG_WHOLE;
    node_start(node);
}

Test(failover_unusable, a_shadow_is_no_member_any_more)
{
    struct world *world = world_protected(plain);

    shelves_fail(BETA);
    RUN_UNTIL(world, is_word(ALPHA, "alone"), 2000);
    cr_assert_eq(world->record.member_count, 1);
    cr_assert_eq(BETA->log.copy.role, CARRICK_LOG_IDLE);
    cr_assert(is_word(BETA, "waiting"));
    cr_assert(node_write(ALPHA));
    world_run(world, 5000);
    cr_assert(is_word(ALPHA, "alone") && is_word(BETA, "waiting"));
    mended_and_started_again(BETA);
    RUN_UNTIL(world, both_protected(world), 20000);
    world_end(world);
}

Test(failover_unusable, a_shadow_takes_nothing_over)
{
    struct world *world = world_protected(plain);

    ALPHA->frozen = true; // so it cannot go alone before
    shelves_fail(BETA);
    for (unsigned i = 0; i < 10000; i++) {
        world_run(world, 1);
        cr_assert(!serves(BETA));
    }
    cr_assert_str_eq(world->record.owner, "alpha");
    world_end(world);
}

Test(failover_unusable, an_owner_leaves_the_group_to_its_partner)
{
    struct world *world = world_protected(plain);

    shelves_fail(ALPHA);
    RUN_UNTIL(world, serves(BETA), 5000);
    cr_assert(!serves(ALPHA));
    cr_assert_str_eq(world->record.owner, "beta");
    RUN_UNTIL(world, is_word(ALPHA, "waiting"), 1000);
    mended_and_started_again(ALPHA);
    RUN_UNTIL(world, both_protected(world), 20000);
    cr_assert(serves(BETA));
    world_end(world);
}

Test(failover_unusable, an_owner_alone_stops)
{
    struct world *world = world_protected(plain);

    node_kill(BETA);
    RUN_UNTIL(world, is_word(ALPHA, "alone"), 5000);
    shelves_fail(ALPHA);
    RUN_UNTIL(world, is_word(ALPHA, "waiting"), 1000);
    cr_assert(!serves(ALPHA));
    // Its partner lacks what was written meanwhile, be it there or not.
    node_start(BETA);
    for (unsigned i = 0; i < 8000; i++) {
        world_run(world, 1);
        cr_assert(!serves(ALPHA) && !serves(BETA));
    }
    mended_and_started_again(ALPHA);
    RUN_UNTIL(world, both_protected(world), 20000);
    cr_assert(serves(ALPHA));
    world_end(world);
}

// At each step of a takeover: it comes to an end, and not as an owner that cannot serve.
Test(failover_unusable, a_takeover_under_way_comes_to_nothing)
{
    for (unsigned after_ms = 0; after_ms < 900; after_ms += 7) {
        struct world *world = world_protected(plain);

        node_kill(ALPHA);
        world_run(world, after_ms);
        shelves_fail(BETA);
        RUN_UNTIL(world, BETA->log.copy.role == CARRICK_LOG_IDLE && is_word(BETA, "waiting"),
                  20000);
        world_run(world, 3000);
        cr_assert(BETA->log.copy.role == CARRICK_LOG_IDLE && is_word(BETA, "waiting"),
                  "after %u ms", after_ms);
        mended_and_started_again(BETA);
        node_start(ALPHA);
        RUN_UNTIL(world, both_protected(world), 20000);
        world_end(world);
    }
}
