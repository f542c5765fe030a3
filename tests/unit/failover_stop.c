// SPDX-License-Identifier: Apache-2.0
// needs plugin: failover
//
// A node whose daemon stops, for longer than a partner may be silent. The end of the session is its own doing: the partner
// is not lost, and what this node begins now it would leave unfinished.
#include "failover_world.h"

#define ALPHA (&world->nodes[0])
#define BETA (&world->nodes[1])

static const char plain[] = "{}";

// An owner that goes on alone in its last moments takes the group away with it.
Test(failover_stop, an_owner_leaves_the_group_to_its_partner)
{
    struct world *world = world_protected(plain);

    node_stop(ALPHA);
    RUN_UNTIL(world, serves(BETA), 5000);
    cr_assert_str_eq(world->record.owner, "beta");
    node_kill(ALPHA);
    node_start(ALPHA);
    RUN_UNTIL(world, both_protected(world), 5000);
    judge_history(BETA);
    world_end(world);
}

Test(failover_stop, an_owner_whose_links_had_failed_leaves_it_too)
{
    struct world *world = world_protected(plain);

    world->linked = false;
    world_run(world, 20);
    cr_assert(!serves(BETA) && strcmp(node_step(ALPHA), "both") == 0, "this shows nothing");
    node_stop(ALPHA);
    RUN_UNTIL(world, serves(BETA), 5000);
    cr_assert_str_eq(world->record.owner, "beta");
    world_end(world);
}

Test(failover_stop, a_shadow_takes_nothing_over)
{
    struct world *world = world_protected(plain);

    ALPHA->mode = ARBITER_DEAF; // it cannot be quicker
    node_stop(BETA);
    for (unsigned i = 0; i < 10000; i++) {
        world_run(world, 1);
        cr_assert_str_eq(world->record.owner, "alpha");
    }
    ALPHA->mode = ARBITER_GOOD;
    RUN_UNTIL(world, is_word(ALPHA, "alone"), 5000);
    world_end(world);
}
