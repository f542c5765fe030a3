// SPDX-License-Identifier: Apache-2.0
// needs plugin: round_robin
#include "tests/unit/policy_world.h"

const struct carrick_plugin *round_robin_plugin_entry(void);

static struct world world;

static void setup(void)
{
    world_init(&world, round_robin_plugin_entry(), "{}");
}

static void teardown(void)
{
    world_end(&world);
}

TestSuite(round_robin, .init = setup, .fini = teardown);

Test(round_robin, takes_links_in_turn)
{
    world_links(&world, 3);
    for (int i = 0; i < 12; i++)
        cr_assert_eq(world_choose(&world, -1), i % 3, "choice %d", i);
}

Test(round_robin, leaves_out_the_dead_and_the_busy)
{
    world_links(&world, 4);
    world.links[1].link.eligible = 0;
    world.links[2].link.busy = 1;
    for (int i = 0; i < 10; i++)
        cr_assert_eq(world_choose(&world, -1), i % 2 ? 3 : 0);
}

Test(round_robin, tells_none_from_all_busy)
{
    world_links(&world, 2);
    world.links[0].link.busy = world.links[1].link.busy = 1;
    cr_assert_eq(world_choose(&world, -1), CARRICK_POLICY_BUSY);
    world.links[0].link.eligible = world.links[1].link.eligible = 0;
    cr_assert_eq(world_choose(&world, -1), CARRICK_POLICY_NONE);
    world_links(&world, 0);
    cr_assert_eq(world_choose(&world, -1), CARRICK_POLICY_NONE);
}

Test(round_robin, gives_a_slow_start_its_share)
{
    int taken[2] = {0};
    world_links(&world, 2);
    world.links[1].link.weight_permille = 250;
    for (int i = 0; i < 1000; i++)
        taken[world_choose(&world, -1)]++;
    cr_assert(taken[1] > 180 && taken[1] < 220, "%d of 1000 went to a link of a quarter's weight",
              taken[1]);
}

Test(round_robin, a_vi_that_went_to_a_link_in_slow_start_stays)
{
    for (uint32_t vis = 1; vis <= 40; vis++)
        world_slow_start(&world, vis, 4096);
}

Test(round_robin, a_weight_of_nothing_is_still_served_when_alone)
{
    world_links(&world, 2);
    world.links[0].link.eligible = 0;
    world.links[1].link.weight_permille = 0;
    cr_assert_eq(world_choose(&world, -1), 1);
}

Test(round_robin, a_placed_vi_moves_only_to_even_things_out)
{
    world_links(&world, 2);
    world.links[0].link.vis = 4;
    world.links[1].link.vis = 2;
    cr_assert_eq(world_choose(&world, 0), 1);
    cr_assert_eq(world_choose(&world, 1), 1);
    world.links[1].link.vis = 3; // one more there would only turn it round
    cr_assert_eq(world_choose(&world, 0), 0);
}

Test(round_robin, a_vi_leaves_a_dead_link)
{
    world_links(&world, 3);
    world.links[0].link.eligible = 0;
    world.links[0].link.vis = 1;
    for (int i = 0; i < 6; i++)
        cr_assert_neq(world_choose(&world, 0), 0);
}

Test(round_robin, re_spreading_comes_to_rest)
{
    world_links(&world, 3);
    cr_assert(world_spread(&world, 20) < 40);
    for (uint32_t i = 0; i < 3; i++)
        cr_assert(world.links[i].link.vis >= 6 && world.links[i].link.vis <= 7);
}

Test(round_robin, the_same_input_gives_the_same_answer)
{
    world_is_pure(&world);
}

Test(round_robin, a_longer_structure_of_a_later_core_is_read_by_its_stride)
{
    world_links(&world, 3);
    cr_assert_gt(sizeof world.links[0], sizeof world.links[0].link);
    world.links[0].link.eligible = world.links[1].link.eligible = 0;
    cr_assert_eq(world_choose(&world, -1), 2);
}

Test(round_robin, refuses_what_it_does_not_know)
{
    world_refuses(&world, "{\"wieght\": 1}", "/wieght");
    world_refuses(&world, "[]", "");
}
