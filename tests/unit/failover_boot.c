// SPDX-License-Identifier: Apache-2.0
// needs plugin: failover
//
// A partner that boots, as its status line tells: whoever waits for it goes on waiting while it boots in time, also
// through the gap between the instance in its initramfs and the next one, and no longer.
#include "failover_world.h"

#define ALPHA (&world->nodes[0])
#define BETA (&world->nodes[1])

enum {
    BOOT_WAIT_MS = 10000, // of the default profile
    BOOT_MS = 120000,
};

// Both lost power, and beta is up again.
static struct world *world_with_beta_up(void)
{
    struct world *world = world_protected("{}");

    node_kill(ALPHA);
    node_kill(BETA);
    node_start(BETA);
    return world;
}

Test(failover_boot, it_is_waited_for_through_the_gap)
{
    struct world *world = world_with_beta_up();

    ALPHA->boot_stage = CARRICK_BOOT_INITRAMFS;
    world_run(world, 2 * BOOT_WAIT_MS);
    cr_assert(!serves(BETA), "while it is in its initramfs");
    ALPHA->boot_stage = CARRICK_BOOT_ROOT;
    world_run(world, 1000);
    ALPHA->boot_stage = CARRICK_BOOT_UNKNOWN;
    world_run(world, 2 * BOOT_WAIT_MS);
    cr_assert(!serves(BETA), "in the gap");
    ALPHA->boot_stage = CARRICK_BOOT_SERVICES;
    node_start(ALPHA);
    RUN_UNTIL(world, both_protected(world), 30000);
    cr_assert(serves(ALPHA));
    // The usual times hold from now on, though it has not said that it serves.
    ALPHA->boot_stage = CARRICK_BOOT_UNKNOWN;
    node_kill(ALPHA);
    cr_assert_lt(RUN_UNTIL(world, serves(BETA), 5000), 700);
    world_end(world);
}

Test(failover_boot, one_that_stays_is_not_waited_for)
{
    struct world *world = world_with_beta_up();

    ALPHA->boot_stage = CARRICK_BOOT_INITRAMFS;
    world_run(world, BOOT_MS - 1000);
    cr_assert(!serves(BETA));
    RUN_UNTIL(world, serves(BETA), 5000);
    world_end(world);
}

Test(failover_boot, one_that_begins_anew_has_one_budget)
{
    struct world *world = world_with_beta_up();
    uint64_t ms = 0;

    while (!serves(BETA) && ms < 2 * BOOT_MS) {
        ALPHA->boot_stage = CARRICK_BOOT_INITRAMFS;
        world_run(world, 4000);
        ALPHA->boot_stage = CARRICK_BOOT_UNKNOWN;
        world_run(world, 4000);
        ms += 8000;
    }
    cr_assert(serves(BETA));
    cr_assert_geq(ms, BOOT_MS);
    cr_assert_leq(ms, BOOT_MS + BOOT_WAIT_MS);
    world_end(world);
}

Test(failover_boot, one_that_serves_and_dies_is_not_waited_for)
{
    struct world *world = world_with_beta_up();

    ALPHA->boot_stage = CARRICK_BOOT_INITRAMFS;
    world_run(world, 2 * BOOT_WAIT_MS);
    // Its boot is over, but its failover monitor never came.
    ALPHA->boot_stage = CARRICK_BOOT_SERVING;
    world_run(world, 1000);
    cr_assert(serves(BETA));
    world_end(world);
}

// The group asks the arbiter again and again while it waits: a command that comes meanwhile is not answered by what was found
// before it.
Test(failover_boot, an_operator_is_heard_while_the_arbiter_is_asked)
{
    struct world *world = world_with_beta_up();

    ALPHA->boot_stage = CARRICK_BOOT_INITRAMFS;
    world_run(world, 2 * BOOT_WAIT_MS);
    world->arbiter_ms = 100;
    RUN_UNTIL(world, node_group(BETA)->state == GROUP_LOOK, 5000);
    node_command(BETA, "takeover", "{\"group\":\"g1\"}");
    cr_assert_eq(BETA->reply_status, CARRICK_OK, "%s", BETA->reply);
    RUN_UNTIL(world, serves(BETA), 5000);
    world_end(world);
}
