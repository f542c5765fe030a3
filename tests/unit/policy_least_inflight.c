// SPDX-License-Identifier: Apache-2.0
// needs plugin: least_inflight
#include "tests/unit/policy_world.h"

const struct carrick_plugin *least_inflight_plugin_entry(void);

static struct world world;

static void setup(void)
{
    world_init(&world, least_inflight_plugin_entry(), "{\"margin_bytes\": 65536}");
}

static void teardown(void)
{
    world_end(&world);
}

TestSuite(least_inflight, .init = setup, .fini = teardown);

Test(least_inflight, takes_the_link_with_the_least_to_do)
{
    world_links(&world, 3);
    world.links[0].link.inflight_bytes = 5000;
    world.links[1].link.inflight_bytes = 1000;
    world.links[2].link.inflight_bytes = 3000;
    for (int i = 0; i < 6; i++)
        cr_assert_eq(world_choose(&world, -1), 1);
}

Test(least_inflight, many_small_operations_count)
{
    world_links(&world, 2);
    world.links[0].link.inflight_ops = 100;
    world.links[1].link.inflight_bytes = 4096;
    world.links[1].link.inflight_ops = 1;
    cr_assert_eq(world_choose(&world, -1), 1);
}

Test(least_inflight, equals_are_told_apart_by_vis_then_latency_then_turn)
{
    world_links(&world, 3);
    int taken[3] = {0};
    for (int i = 0; i < 9; i++)
        taken[world_choose(&world, -1)]++;
    cr_assert(taken[0] == 3 && taken[1] == 3 && taken[2] == 3);
    world.links[0].link.latency_ns = 90000;
    world.links[1].link.latency_ns = 30000;
    world.links[2].link.latency_ns = 60000;
    for (int i = 0; i < 6; i++)
        cr_assert_eq(world_choose(&world, -1), 1);
    world.links[1].link.vis = 1;
    for (int i = 0; i < 6; i++)
        cr_assert_eq(world_choose(&world, -1), 2);
}

Test(least_inflight, leaves_out_the_dead_and_the_busy)
{
    world_links(&world, 3);
    world.links[0].link.eligible = 0;
    world.links[1].link.busy = 1;
    world.links[2].link.inflight_bytes = 1 << 30;
    for (int i = 0; i < 6; i++)
        cr_assert_eq(world_choose(&world, -1), 2);
    world.links[2].link.busy = 1;
    cr_assert_eq(world_choose(&world, -1), CARRICK_POLICY_BUSY);
    world.links[1].link.eligible = world.links[2].link.eligible = 0;
    cr_assert_eq(world_choose(&world, -1), CARRICK_POLICY_NONE);
    world_links(&world, 0);
    cr_assert_eq(world_choose(&world, -1), CARRICK_POLICY_NONE);
}

Test(least_inflight, a_link_in_slow_start_looks_fuller)
{
    world_links(&world, 2);
    world.links[0].link.inflight_bytes = 2000;
    world.links[1].link.inflight_bytes = 1000;
    world.links[1].link.weight_permille = 100;
    cr_assert_eq(world_choose(&world, -1), 0);
    world.links[1].link.weight_permille = 900;
    cr_assert_eq(world_choose(&world, -1), 1);
}

Test(least_inflight, a_vi_that_went_to_a_link_in_slow_start_stays)
{
    for (uint32_t vis = 1; vis <= 40; vis++)
        for (uint64_t bytes = 0; bytes <= 4u << 20; bytes = bytes * 4 + 4096)
            world_slow_start(&world, vis, bytes);
}

Test(least_inflight, a_placed_vi_moves_only_beyond_the_margin)
{
    world_links(&world, 2);
    world.links[0].link.vis = world.links[1].link.vis = 4;
    world.links[0].link.inflight_bytes = 60000;
    cr_assert_eq(world_choose(&world, 0), 0);
    world.links[0].link.inflight_bytes = 400000;
    cr_assert_eq(world_choose(&world, 0), 1);
    cr_assert_eq(world_choose(&world, 1), 1);
}

Test(least_inflight, a_lone_busy_vi_does_not_go_to_and_fro)
{
    world_links(&world, 2);
    world.links[0].link.vis = 1;
    world.links[0].link.inflight_bytes = 100u << 20;
    cr_assert_eq(world_choose(&world, 0), 0);
}

Test(least_inflight, a_vi_leaves_a_dead_link)
{
    world_links(&world, 2);
    world.links[0].link.eligible = 0;
    world.links[1].link.inflight_bytes = UINT64_MAX;
    world.links[1].link.weight_permille = 0;
    cr_assert_eq(world_choose(&world, 0), 1);
}

Test(least_inflight, re_spreading_comes_to_rest)
{
    world_links(&world, 3);
    cr_assert(world_spread(&world, 20) < 40);
    for (uint32_t i = 0; i < 3; i++)
        cr_assert(world.links[i].link.vis >= 6 && world.links[i].link.vis <= 7);
}

Test(least_inflight, the_same_input_gives_the_same_answer)
{
    world_is_pure(&world);
}

Test(least_inflight, refuses_what_it_does_not_know_or_cannot_take)
{
    world_refuses(&world, "{\"margin\": 1}", "/margin");
    world_refuses(&world, "{\"margin_bytes\": -1}", "/margin_bytes");
    world_refuses(&world, "{\"margin_bytes\": \"64k\"}", "/margin_bytes");
    world_refuses(&world, "{\"margin_bytes\": 1099511627776}", "/margin_bytes");
    world_refuses(&world, "3", "");
}
