// SPDX-License-Identifier: Apache-2.0
// needs plugin: failover
//
// The driver of a node's interconnect fails.
#include "failover_world.h"

#define ALPHA (&world->nodes[0])
#define BETA (&world->nodes[1])

static const char *const plain = "{}";

static void driver_fails(struct node *node)
{
    node->driver_failed = true;
    node->world->linked = false;
}

static void driver_works(struct node *node)
{
    node->driver_failed = false;
    node->world->linked = true;
}

Test(failover_driver, an_owner_whose_driver_failed_gives_way)
{
    struct world *world = world_protected(plain);
    unsigned asked = ALPHA->changes_asked;
    uint64_t ms;

    cr_assert(node_write(ALPHA)); // in flight, acknowledged by nobody
    driver_fails(ALPHA);
    ms = RUN_UNTIL(world, serves(BETA), 5000);
    cr_assert_lt(ms, 700);
    cr_assert(!serves(ALPHA));
    cr_assert_eq(world->acknowledged_count, 5);
    cr_assert(node_write(BETA));
    world_run(world, 60000);
    cr_assert(serves(BETA) && !serves(ALPHA));
    cr_assert_eq(ALPHA->changes_asked, asked, "it asked for the group");
    cr_assert(is_word(ALPHA, "stale"));
    driver_works(ALPHA);
    RUN_UNTIL(world, both_protected(world), 20000);
    cr_assert(serves(BETA)); // ownership is sticky
    judge_history(ALPHA);
    world_end(world);
}

Test(failover_driver, an_owner_whose_driver_failed_goes_on_alone_where_nobody_takes_over)
{
    struct world *world = world_protected(plain);
    uint64_t ms;

    driver_fails(ALPHA);
    node_kill(BETA);
    RUN_UNTIL(world, !serves(ALPHA), 1000);
    ms = RUN_UNTIL(world, serves(ALPHA), 10000);
    cr_assert_gt(ms, 1000, "its partner was not given the time");
    cr_assert_lt(ms, 5000);
    cr_assert(is_word(ALPHA, "alone"));
    cr_assert(node_write(ALPHA));
    node_start(BETA);
    driver_works(ALPHA);
    RUN_UNTIL(world, both_protected(world), 20000);
    judge_history(BETA);
    world_end(world);
}

Test(failover_driver, an_owner_whose_driver_works_again_soon_goes_on)
{
    for (unsigned out_ms = 20; out_ms < 700; out_ms += 20) {
        struct world *world = world_protected(plain);

        driver_fails(ALPHA);
        world_run(world, out_ms);
        driver_works(ALPHA);
        RUN_UNTIL(world, both_protected(world), 20000);
        cr_assert(serves(ALPHA) != serves(BETA));
        judge_history(ALPHA);
        judge_history(BETA);
        world_end(world);
    }
}

Test(failover_driver, a_driver_that_failed_shifts_nothing_where_that_is_not_wanted)
{
    struct world *world = world_protected("{\"on_driver_failure\":\"stay\"}");

    driver_fails(ALPHA);
    RUN_UNTIL(world, is_word(ALPHA, "alone"), 5000);
    world_run(world, 5000);
    cr_assert(serves(ALPHA) && !serves(BETA));
    world_end(world);
}

Test(failover_driver, a_driver_that_failed_shifts_nothing_without_an_arbiter)
{
    struct world *world = world_without_arbiter("{\"on_mirror_loss\":\"continue\"}");

    driver_fails(ALPHA);
    RUN_UNTIL(world, is_word(ALPHA, "alone"), 5000);
    world_end(world);
}

Test(failover_driver, the_owner_goes_on_where_both_drivers_failed)
{
    struct world *world = world_protected(plain);

    driver_fails(ALPHA);
    driver_fails(BETA);
    RUN_UNTIL(world, !serves(ALPHA), 1000);
    RUN_UNTIL(world, serves(ALPHA), 10000);
    world_run(world, 10000);
    cr_assert(serves(ALPHA) && !serves(BETA));
    driver_works(ALPHA);
    driver_works(BETA);
    RUN_UNTIL(world, both_protected(world), 20000);
    world_end(world);
}

// The owner is well and only slow to be heard by the arbiter: what failed is here.
Test(failover_driver, a_shadow_whose_driver_failed_leaves_it_to_the_owner)
{
    struct world *world = world_protected(plain);

    ALPHA->mode = ARBITER_DEAF;
    driver_fails(BETA);
    world_run(world, 1500);
    cr_assert(!serves(BETA));
    ALPHA->mode = ARBITER_GOOD;
    RUN_UNTIL(world, is_word(ALPHA, "alone"), 3000);
    world_run(world, 10000);
    cr_assert(serves(ALPHA) && !serves(BETA));
    world_end(world);
}

Test(failover_driver, a_shadow_whose_driver_failed_takes_over_from_a_dead_owner)
{
    struct world *world = world_protected(plain);

    driver_fails(BETA);
    node_kill(ALPHA);
    RUN_UNTIL(world, serves(BETA), 10000);
    judge_history(BETA);
    world_end(world);
}
