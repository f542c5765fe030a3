// SPDX-License-Identifier: Apache-2.0
// needs plugin: failover
//
// Two monitors and their arbiter, through the failures that a pair must survive. The rules that hold at every step are
// asserted by the world itself (failover_world.h): no serving before a win, promise and fence before the win, one
// alone per generation, no acknowledged value lost.
#include "failover_world.h"

#define ALPHA (&world->nodes[0])
#define BETA (&world->nodes[1])

static const char *const plain = "{}";

Test(failover_pair, a_new_group_is_made_at_its_home)
{
    struct world *world = world_protected(plain);

    cr_assert(serves(ALPHA));
    cr_assert(!serves(BETA));
    cr_assert_str_eq(world->record.owner, "alpha");
    cr_assert_eq(world->record.member_count, 2);
    world_end(world);
}

Test(failover_pair, a_killed_owner_is_taken_over_and_comes_back)
{
    struct world *world = world_protected(plain);
    uint64_t ms;

    node_kill(ALPHA);
    ms = RUN_UNTIL(world, serves(BETA), 5000);
    cr_assert_lt(ms, 700);
    cr_assert(is_word(BETA, "alone"));
    cr_assert_eq(world->record.member_count, 1);
    cr_assert(node_write(BETA));
    world_run(world, 5);
    cr_assert_eq(world->acknowledged_count, 6);
    node_start(ALPHA);
    RUN_UNTIL(world, both_protected(world), 20000);
    cr_assert(serves(BETA)); // ownership is sticky
    cr_assert(!serves(ALPHA));
    judge_history(ALPHA);
    world_end(world);
}

Test(failover_pair, the_fast_profile_takes_over_in_time)
{
    struct world *world = world_protected("{\"timers\":\"fast\"}");
    uint64_t ms;

    node_kill(ALPHA);
    ms = RUN_UNTIL(world, serves(BETA), 5000);
    cr_assert_lt(ms, 200);
    world_end(world);
}

Test(failover_pair, a_killed_shadow_leaves_the_owner_alone)
{
    struct world *world = world_protected(plain);

    node_kill(BETA);
    cr_assert(node_write(ALPHA));
    world_run(world, 20);
    cr_assert_eq(world->acknowledged_count, 5, "acknowledged by one copy before the win");
    RUN_UNTIL(world, is_word(ALPHA, "alone"), 5000);
    world_run(world, 5);
    cr_assert_eq(world->acknowledged_count, 6);
    node_start(BETA);
    RUN_UNTIL(world, both_protected(world), 20000);
    cr_assert(serves(ALPHA));
    judge_history(BETA);
    world_end(world);
}

Test(failover_pair, a_partition_leaves_one_that_serves)
{
    struct world *world = world_protected(plain);

    world->linked = false;
    RUN_UNTIL(world, is_word(ALPHA, "alone"), 5000);
    world_run(world, 2000);
    cr_assert(serves(ALPHA) && !serves(BETA)); // the owner asks first
    cr_assert(node_write(ALPHA));
    world->linked = true;
    RUN_UNTIL(world, both_protected(world), 20000);
    cr_assert(serves(ALPHA));
    world_end(world);
}

Test(failover_pair, an_owner_cut_off_from_the_arbiter_too_stops)
{
    struct world *world = world_protected(plain);

    world->linked = false;
    ALPHA->mode = ARBITER_DEAF;
    cr_assert(node_write(ALPHA)); // in flight, acknowledged by nobody
    RUN_UNTIL(world, serves(BETA), 5000);
    world_run(world, 1000);
    cr_assert_eq(world->acknowledged_count, 5);
    cr_assert(is_word(ALPHA, "stalled"));
    ALPHA->mode = ARBITER_GOOD;
    RUN_UNTIL(world, !serves(ALPHA), 5000);
    cr_assert(node_write(BETA));
    world->linked = true;
    RUN_UNTIL(world, both_protected(world), 20000);
    cr_assert(serves(BETA));
    judge_history(ALPHA);
    world_end(world);
}

Test(failover_pair, a_frozen_owner_wakes_up_and_stops)
{
    struct world *world = world_protected(plain);

    ALPHA->frozen = true;
    RUN_UNTIL(world, serves(BETA), 10000);
    cr_assert(node_write(BETA));
    world_run(world, 50);
    ALPHA->frozen = false;
    RUN_UNTIL(world, both_protected(world), 20000);
    cr_assert(serves(BETA) && !serves(ALPHA));
    judge_history(ALPHA);
    world_end(world);
}

Test(failover_pair, a_frozen_shadow_is_no_member)
{
    struct world *world = world_protected(plain);

    BETA->frozen = true;
    RUN_UNTIL(world, is_word(ALPHA, "alone"), 10000);
    cr_assert_eq(world->record.member_count, 1);
    BETA->frozen = false;
    RUN_UNTIL(world, both_protected(world), 20000);
    cr_assert(serves(ALPHA));
    world_end(world);
}

Test(failover_pair, a_short_session_reset_changes_nothing)
{
    struct world *world = world_protected(plain);
    uint64_t number = world->record.number;

    for (int i = 0; i < 20; i++) {
        world->reset_due = true;
        world_run(world, 30);
    }
    cr_assert_eq(world->record.number, number);
    RUN_UNTIL(world, both_protected(world), 1000);
    world_end(world);
}

Test(failover_pair, both_ended_and_started_again_in_either_order)
{
    for (unsigned first = 0; first < 2; first++) {
        struct world *world = world_protected(plain);

        node_kill(ALPHA);
        node_kill(BETA);
        world_run(world, 100);
        node_start(&world->nodes[first]);
        world_run(world, 500);
        node_start(&world->nodes[1 - first]);
        RUN_UNTIL(world, both_protected(world), 30000);
        cr_assert(serves(ALPHA), "the record's owner goes on");
        world_end(world);
    }
}

Test(failover_pair, the_longer_copy_rules_after_both_ended)
{
    struct world *world = world_protected(plain);

    node_kill(ALPHA);
    node_kill(BETA);
    BETA->log.values[6] = 600; // mirrored, and not yet acknowledged when the power went
    BETA->log.copy.last = 6;
    node_start(ALPHA);
    node_start(BETA);
    RUN_UNTIL(world, both_protected(world), 30000);
    cr_assert(serves(BETA));
    cr_assert_eq(ALPHA->log.copy.last, 6);
    world_end(world);
}

Test(failover_pair, one_of_two_that_ended_serves_alone_after_its_wait)
{
    struct world *world = world_protected(plain);

    node_kill(ALPHA);
    node_kill(BETA);
    node_start(BETA);
    world_run(world, 5000);
    cr_assert(!serves(BETA), "before boot_wait_ms");
    RUN_UNTIL(world, serves(BETA), 10000);
    cr_assert_eq(world->record.member_count, 1);
    node_start(ALPHA);
    RUN_UNTIL(world, both_protected(world), 20000);
    world_end(world);
}

Test(failover_pair, one_that_is_no_member_serves_nothing)
{
    struct world *world = world_protected(plain);

    node_kill(ALPHA);
    RUN_UNTIL(world, serves(BETA), 5000);
    cr_assert(node_write(BETA));
    world_run(world, 5);
    node_kill(BETA);
    node_start(ALPHA); // its copy lacks what was acknowledged since
    world_run(world, 60000);
    cr_assert(!serves(ALPHA));
    cr_assert(is_word(ALPHA, "stale"));
    node_start(BETA);
    RUN_UNTIL(world, both_protected(world), 30000);
    cr_assert(serves(BETA));
    judge_history(ALPHA);
    world_end(world);
}

Test(failover_pair, an_owner_back_within_the_detection_time_goes_on)
{
    struct world *world = world_protected(plain);

    node_kill(ALPHA);
    world_run(world, 30);
    node_start(ALPHA);
    RUN_UNTIL(world, both_protected(world), 20000);
    cr_assert(serves(ALPHA) != serves(BETA));
    world_end(world);
}

Test(failover_pair, a_volatile_copy_is_lost_with_its_daemon)
{
    struct world *world = world_new(plain);

    ALPHA->log.copy.level = BETA->log.copy.level = CARRICK_LEVEL_VOLATILE;
    node_start(ALPHA);
    node_start(BETA);
    RUN_UNTIL(world, both_protected(world), 5000);
    cr_assert(node_write(ALPHA));
    world_run(world, 5);
    node_kill(ALPHA);
    world_run(world, 20);
    node_start(ALPHA); // back at once, with nothing in it
    RUN_UNTIL(world, both_protected(world), 30000);
    cr_assert(serves(BETA), "only the shadow has what was acknowledged");
    judge_history(ALPHA);
    node_kill(ALPHA);
    node_kill(BETA);
    node_start(ALPHA);
    node_start(BETA);
    world_run(world, 30000);
    cr_assert(!serves(ALPHA) && !serves(BETA), "both lost it, and nobody may say that all is well");
    world_end(world);
}

// ---- anything at any time

Test(failover_pair, random_failures_lose_nothing)
{
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct world *world = world_protected(seed % 2 ? plain : "{\"timers\":\"fast\"}");
        uint64_t random = seed * 7919;

        world->random = seed;
        for (int step = 0; step < 60; step++) {
            struct node *node;

            random = random * 6364136223846793005u + 1442695040888963407u;
            node = &world->nodes[random >> 63];
            switch (random >> 40 & 15) {
            case 0:
                if (node->alive && !node->frozen)
                    node_kill(node);
                break;
            case 1:
            case 2:
                if (!node->alive)
                    node_start(node);
                break;
            case 3:
                if (node->alive)
                    node->frozen = !node->frozen;
                break;
            case 4:
                world->linked = !world->linked;
                break;
            case 5:
                node->mode = (enum arbiter_mode)(random >> 32 & 3);
                break;
            case 6:
                world->late_ms = 500 + (random >> 20 & 4095);
                node->mode = ARBITER_LATE;
                break;
            case 7:
                node->mode = ARBITER_GOOD;
                break;
            case 9:
                node->driver_failed = !node->driver_failed;
                world->linked = !ALPHA->driver_failed && !BETA->driver_failed;
                break;
            case 8:
                if (node->alive && !node->frozen)
                    node->ops->command(node->client, "handover", "{\"group\":\"g1\"}", 1);
                break;
            default:
                node_write(ALPHA);
                node_write(BETA);
            }
            world_run(world, 1 + (random >> 12 & 511));
            if (world->acknowledged_count > VALUES_MAX / 2)
                break;
        }
        // When all is well again, so is the group.
        world->linked = true;
        for (unsigned i = 0; i < 2; i++) {
            world->nodes[i].mode = ARBITER_GOOD;
            world->nodes[i].frozen = world->nodes[i].driver_failed = false;
            if (!world->nodes[i].alive)
                node_start(&world->nodes[i]);
        }
        if (world->loud)
            fprintf(stderr, "seed %llu heals\n", (unsigned long long)seed);
        RUN_UNTIL(world, both_protected(world), 60000);
        judge_history(ALPHA);
        judge_history(BETA);
        world_end(world);
    }
}

// ---- the monitor

Test(failover_pair, a_node_that_did_not_run_itself_suspects_nobody)
{
    struct world *world = world_protected(plain);

    ALPHA->mode = ARBITER_DEAF; // it would go alone, rightly
    // Nothing new waits for it when it wakes up.
    RUN_UNTIL(world, BETA->heartbeat_seen == node_monitor(BETA)->heartbeat, 200);
    BETA->frozen = true;
    world_run(world, 1700); // longer than still_ms
    BETA->frozen = false;
    world_run(world, 300);
    cr_assert_eq(node_monitor(BETA)->losses, 0, "its own standstill was taken for the partner's");
    cr_assert_eq(node_monitor(ALPHA)->losses, 1);
    world_end(world);
}

Test(failover_pair, a_process_that_stands_still_under_a_manager_that_lives_is_hung)
{
    struct world *world = world_protected(plain);

    ALPHA->apart = ALPHA->frozen = true;
    RUN_UNTIL(world, node_monitor(BETA)->state == PARTNER_HUNG, 3000);
    RUN_UNTIL(world, serves(BETA), 5000);
    ALPHA->frozen = false;
    RUN_UNTIL(world, both_protected(world), 60000);
    cr_assert(!serves(ALPHA));
    world_end(world);
}

Test(failover_pair, the_monitor_tells_kinds_of_silence_apart)
{
    struct world *world = world_protected(plain);

    cr_assert_eq(node_monitor(BETA)->state, PARTNER_UP);
    ALPHA->frozen = true;
    RUN_UNTIL(world, node_monitor(BETA)->state == PARTNER_SUSPECT, 1000);
    RUN_UNTIL(world, node_monitor(BETA)->state == PARTNER_HUNG, 3000);
    ALPHA->frozen = false;
    RUN_UNTIL(world, node_monitor(BETA)->state == PARTNER_UP, 3000);
    world->linked = false;
    RUN_UNTIL(world, node_monitor(BETA)->state == PARTNER_SUSPECT, 100);
    RUN_UNTIL(world, node_monitor(BETA)->state == PARTNER_UNREACHABLE, 1000);
    world->linked = true;
    RUN_UNTIL(world, node_monitor(BETA)->state == PARTNER_UP, 3000);
    session_down(world, CARRICK_REASON_SHUTDOWN);
    node_kill(ALPHA);
    RUN_UNTIL(world, node_monitor(BETA)->state == PARTNER_DEAD, 1000);
    world_end(world);
}
