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

// ---- the arbiter at its worst

Test(failover_pair, without_the_arbiter_the_promise_stands)
{
    struct world *world = world_protected(plain);

    BETA->mode = ARBITER_DEAF;
    node_kill(ALPHA);
    world_run(world, 3000);
    cr_assert(!serves(BETA));
    cr_assert_eq(BETA->log.copy.role, CARRICK_LOG_SHADOW, "the promise was withdrawn for nothing");
    BETA->mode = ARBITER_GOOD;
    RUN_UNTIL(world, serves(BETA), 3000);
    world_end(world);
}

Test(failover_pair, an_unknown_outcome_that_stands_is_used)
{
    struct world *world = world_protected(plain);

    BETA->mode = ARBITER_UNKNOWN_WON;
    node_kill(ALPHA);
    RUN_UNTIL(world, serves(BETA), 5000);
    cr_assert_str_eq(world->record.owner, "beta");
    world_end(world);
}

Test(failover_pair, an_unknown_outcome_that_does_not_stand_is_not)
{
    struct world *world = world_protected(plain);

    BETA->mode = ARBITER_UNKNOWN_LOST;
    node_kill(ALPHA);
    world_run(world, 6000);
    cr_assert(!serves(BETA));
    BETA->mode = ARBITER_GOOD;
    RUN_UNTIL(world, serves(BETA), 5000);
    world_end(world);
}

static void late_win(enum arbiter_mode mode, uint64_t late_ms)
{
    struct world *world = world_protected(plain);

    world->late_ms = late_ms;
    BETA->mode = mode;
    ALPHA->mode = ARBITER_DEAF; // cut off from the arbiter, and for a moment from its partner
    world->linked = false;
    RUN_UNTIL(world, BETA->log.copy.role == CARRICK_LOG_IDLE, 3000);
    RUN_UNTIL(world, BETA->log.copy.role == CARRICK_LOG_SHADOW, 10000); // the promise is given anew
    world->linked = true;
    RUN_UNTIL(world, is_word(ALPHA, "protected"), 3000);
    cr_assert(serves(ALPHA) && !serves(BETA));
    cr_assert(node_write(ALPHA));
    RUN_UNTIL(world, strcmp(world->record.owner, "beta") == 0, 10000); // now it comes to stand
    world_run(world, 2000);
    cr_assert(!serves(BETA), "a win that came too late was used");
    cr_assert(serves(ALPHA));
    BETA->mode = ALPHA->mode = ARBITER_GOOD;
    RUN_UNTIL(world, strcmp(world->record.owner, "alpha") == 0, 5000);
    cr_assert_eq(world->record.member_count, 2);
    cr_assert(serves(ALPHA) && !serves(BETA));
    node_kill(BETA); // and the owner can go alone again
    RUN_UNTIL(world, is_word(ALPHA, "alone"), 5000);
    world_end(world);
}

Test(failover_pair, a_win_that_comes_late_is_not_used_and_taken_back)
{
    late_win(ARBITER_LATE, 8000);
}

// The answer itself comes late, in the middle of another question.
Test(failover_pair, an_answer_to_an_old_question_is_not_one_to_the_new)
{
    for (uint64_t late_ms = 8000; late_ms < 9000; late_ms += 100)
        late_win(ARBITER_LATE_WON, late_ms);
}

Test(failover_pair, a_slow_arbiter_delays_and_changes_nothing_else)
{
    struct world *world = world_protected(plain);

    world->arbiter_ms = 700;
    node_kill(ALPHA);
    RUN_UNTIL(world, serves(BETA), 8000);
    node_start(ALPHA);
    RUN_UNTIL(world, both_protected(world), 30000);
    world_end(world);
}

Test(failover_pair, a_record_from_an_old_backup_is_refused)
{
    struct world *world = world_protected(plain);
    struct carrick_arbiter_record old = world->record;

    node_kill(BETA);
    RUN_UNTIL(world, is_word(ALPHA, "alone"), 5000);
    cr_assert(node_write(ALPHA));
    world_run(world, 5);
    world->record = old;
    node_kill(ALPHA);
    node_start(BETA); // its own copy fits the old record, and lacks a write
    node_start(ALPHA);
    world_run(world, 30000);
    cr_assert(!serves(BETA), "an old record made a stale copy serve");
    world_end(world);
}

Test(failover_pair, nobody_asks_before_the_fence)
{
    struct world *world = world_protected(plain);
    unsigned asked;

    world->fence_hangs = true;
    ALPHA->frozen = true;
    asked = BETA->changes_asked;
    world_run(world, 20000);
    cr_assert_eq(BETA->changes_asked, asked);
    cr_assert(!serves(BETA));
    cr_assert_eq(BETA->log.copy.role, CARRICK_LOG_IDLE);
    world->fence_hangs = false;
    world->reset_due = true;
    RUN_UNTIL(world, serves(BETA), 3000);
    world_end(world);
}

// ---- operators

Test(failover_pair, hand_over_and_giveback)
{
    struct world *world = world_protected(plain);

    node_command(ALPHA, "handover", "{\"group\":\"g1\"}");
    cr_assert_eq(ALPHA->reply_status, CARRICK_OK, "%s", ALPHA->reply);
    RUN_UNTIL(world, serves(BETA) && both_protected(world), 3000);
    cr_assert(!serves(ALPHA));
    cr_assert_str_eq(world->record.owner, "beta");
    cr_assert(node_write(BETA));
    world_run(world, 5);
    node_command(ALPHA, "giveback", "{\"group\":\"g1\"}");
    cr_assert_neq(ALPHA->reply_status, CARRICK_OK);
    node_command(BETA, "giveback", "{\"group\":\"g1\"}");
    cr_assert_eq(BETA->reply_status, CARRICK_OK, "%s", BETA->reply);
    RUN_UNTIL(world, serves(ALPHA) && both_protected(world), 3000);
    judge_history(ALPHA);
    judge_history(BETA);
    world_end(world);
}

// What the partner last said of its copy is older than what it has acknowledged since: judged by that, its copy would lack
// acknowledged writes, and the old owner would take the group back.
Test(failover_pair, who_handed_over_under_load_leaves_it_to_the_other)
{
    struct world *world = world_protected(plain);
    uint64_t takeovers = node_group(ALPHA)->takeovers, number = world->record.number;

    world->advance_is_late = true;
    for (int i = 0; i < 50; i++) {
        cr_assert(node_write(ALPHA));
        world_run(world, 1);
    }
    world->fence_hangs = true; // long enough to hear the partner and to ask the arbiter
    ALPHA->ops->command(ALPHA->client, "handover", "{\"group\":\"g1\"}", 1);
    world_run(world, 100);
    cr_assert_eq(ALPHA->replies, 0, "answered before the partner has said that it serves");
    world->fence_hangs = false;
    world->reset_due = true;
    RUN_UNTIL(world, serves(BETA) && both_protected(world), 3000);
    cr_assert_eq(node_group(ALPHA)->takeovers, takeovers);
    cr_assert_eq(world->record.number, number + 1, "somebody asked for the group again");
    cr_assert_str_eq(world->record.owner, "beta");
    world_end(world);
}

Test(failover_pair, an_owner_that_ends_after_it_handed_over_is_replaced)
{
    struct world *world = world_protected(plain);

    ALPHA->ops->command(ALPHA->client, "handover", "{\"group\":\"g1\"}", 1);
    RUN_UNTIL(world, strcmp(world->record.owner, "beta") == 0, 1000);
    node_kill(ALPHA); // perhaps before its partner has heard of it
    RUN_UNTIL(world, serves(BETA), 20000);
    world_end(world);
}

Test(failover_pair, a_hand_over_to_one_who_ends_meanwhile_is_not_called_done)
{
    struct world *world = world_protected(plain);

    ALPHA->ops->command(ALPHA->client, "handover", "{\"group\":\"g1\"}", 1);
    RUN_UNTIL(world, strcmp(world->record.owner, "beta") == 0, 1000);
    node_kill(BETA);
    RUN_UNTIL(world, ALPHA->replies == 1, 10000);
    cr_assert_neq(ALPHA->reply_status, CARRICK_OK, "%s", ALPHA->reply);
    cr_assert_not_null(strstr(ALPHA->reply, "beta has not said that it serves it"), "%s",
                       ALPHA->reply);
    RUN_UNTIL(world, serves(ALPHA), 20000); // nobody else does
    judge_history(ALPHA);
    world_end(world);
}

// The message cannot arrive, and nobody has noticed yet: the link went this very moment.
Test(failover_pair, a_hand_over_right_after_the_last_link_went)
{
    for (unsigned after_ms = 0; after_ms < 400; after_ms += 7) {
        struct world *world = world_protected(plain);
        unsigned asked = ALPHA->changes_asked;

        world->linked = false;
        world_run(world, after_ms);
        if (!serves(ALPHA) || is_word(ALPHA, "alone")) { // it has gone alone already
            world_end(world);
            break;
        }
        ALPHA->ops->command(ALPHA->client, "handover", "{\"group\":\"g1\"}", 1);
        world_run(world, 20);
        if (ALPHA->replies == 1 && ALPHA->reply_status == CARRICK_OK) {
            cr_assert_not_null(strstr(ALPHA->reply, "beta takes it over"), "%s", ALPHA->reply);
            cr_assert(!serves(ALPHA));
            RUN_UNTIL(world, serves(BETA), 2000);
            cr_assert_leq(ALPHA->changes_asked, asked + 1, "it took the group back");
        }
        RUN_UNTIL(world, serves(ALPHA) || serves(BETA), 10000);
        world->linked = true;
        RUN_UNTIL(world, both_protected(world), 20000);
        judge_history(ALPHA);
        judge_history(BETA);
        world_end(world);
    }
}

// ---- the driver of a node's interconnect fails

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

Test(failover_pair, an_owner_whose_driver_failed_gives_way)
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

Test(failover_pair, an_owner_whose_driver_failed_goes_on_alone_where_nobody_takes_over)
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

Test(failover_pair, an_owner_whose_driver_works_again_soon_goes_on)
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

Test(failover_pair, a_driver_that_failed_shifts_nothing_where_that_is_not_wanted)
{
    struct world *world = world_protected("{\"on_driver_failure\":\"stay\"}");

    driver_fails(ALPHA);
    RUN_UNTIL(world, is_word(ALPHA, "alone"), 5000);
    world_run(world, 5000);
    cr_assert(serves(ALPHA) && !serves(BETA));
    world_end(world);
}

Test(failover_pair, a_driver_that_failed_shifts_nothing_without_an_arbiter)
{
    struct world *world = world_new("{\"on_mirror_loss\":\"continue\"}");

    world->no_arbiter = true;
    node_start(ALPHA);
    node_start(BETA);
    RUN_UNTIL(world, is_word(ALPHA, "protected") && is_word(BETA, "protected"), 5000);
    driver_fails(ALPHA);
    RUN_UNTIL(world, is_word(ALPHA, "alone"), 5000);
    world_end(world);
}

Test(failover_pair, the_owner_goes_on_where_both_drivers_failed)
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
Test(failover_pair, a_shadow_whose_driver_failed_leaves_it_to_the_owner)
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

Test(failover_pair, a_shadow_whose_driver_failed_takes_over_from_a_dead_owner)
{
    struct world *world = world_protected(plain);

    driver_fails(BETA);
    node_kill(ALPHA);
    RUN_UNTIL(world, serves(BETA), 10000);
    judge_history(BETA);
    world_end(world);
}

Test(failover_pair, a_dry_run_says_what_speaks_against_it)
{
    struct world *world = world_protected(plain);

    node_command(BETA, "takeover", "{\"group\":\"g1\",\"dry_run\":true}");
    cr_assert_eq(BETA->reply_status, CARRICK_OK);
    cr_assert_not_null(strstr(BETA->reply, "alpha serves the group and is well"));
    cr_assert_not_null(strstr(BETA->reply, "force_would_lose"));
    node_command(BETA, "takeover", "{\"group\":\"g1\"}");
    cr_assert_neq(BETA->reply_status, CARRICK_OK);
    cr_assert(serves(ALPHA));
    node_command(BETA, "takeover", "{\"group\":\"g2\"}");
    cr_assert_eq(BETA->reply_status, CARRICK_ERR_NOT_FOUND);
    world_end(world);
}

Test(failover_pair, force_and_the_return_after_it_is_diverged)
{
    struct world *world = world_protected(plain);

    node_kill(BETA);
    RUN_UNTIL(world, is_word(ALPHA, "alone"), 5000);
    cr_assert(node_write(ALPHA));
    world_run(world, 5);
    node_kill(ALPHA);
    world->acknowledged_count = 5; // what force gives up
    node_start(BETA);
    world_run(world, 20000);
    cr_assert(!serves(BETA));
    node_command(BETA, "takeover", "{\"group\":\"g1\"}");
    cr_assert_neq(BETA->reply_status, CARRICK_OK);
    cr_assert_not_null(strstr(BETA->reply, "every write that alpha acknowledged after record 5"));
    node_command(BETA, "takeover", "{\"group\":\"g1\",\"force\":true}");
    cr_assert_eq(BETA->reply_status, CARRICK_OK, "%s", BETA->reply);
    cr_assert(serves(BETA));
    node_start(ALPHA);
    RUN_UNTIL(world, is_word(ALPHA, "diverged"), 5000);
    world_run(world, 30000);
    cr_assert(is_word(ALPHA, "diverged") && serves(BETA));
    world_end(world);
}

Test(failover_pair, an_inconsistent_copy_is_not_served_even_by_force)
{
    struct world *world = world_protected(plain);

    node_kill(ALPHA);
    node_kill(BETA);
    BETA->log.copy.condition = CARRICK_LOG_INCONSISTENT;
    node_start(BETA);
    world_run(world, 1000);
    node_command(BETA, "takeover", "{\"group\":\"g1\",\"force\":true}");
    cr_assert_neq(BETA->reply_status, CARRICK_OK);
    world_run(world, 20000);
    cr_assert(!serves(BETA));
    world_end(world);
}

Test(failover_pair, status_is_json_with_reason_and_age)
{
    struct world *world = world_protected(plain);
    char text[4096], small[64];

    ALPHA->ops->describe_state(ALPHA->client, text, sizeof text);
    cr_assert_not_null(strstr(text, "\"state\":\"protected\""));
    cr_assert_not_null(strstr(text, "\"age_ms\":"));
    cr_assert_not_null(strstr(text, "\"partner\":{\"name\":\"beta\",\"state\":\"up\""));
    ALPHA->ops->describe_state(ALPHA->client, small, sizeof small);
    cr_assert_str_eq(small, "{\"groups_left_out\":1}");
    world_end(world);
}

// ---- without an arbiter

Test(failover_pair, without_an_arbiter_hold_waits)
{
    struct world *world = world_new(plain);

    world->no_arbiter = true;
    node_start(ALPHA);
    node_start(BETA);
    RUN_UNTIL(world, is_word(ALPHA, "protected") && is_word(BETA, "protected"), 5000);
    cr_assert(node_write(ALPHA));
    world_run(world, 5);
    node_kill(BETA);
    cr_assert(node_write(ALPHA));
    world_run(world, 20000);
    cr_assert_eq(world->acknowledged_count, 1);
    cr_assert(is_word(ALPHA, "stalled"));
    node_start(BETA);
    RUN_UNTIL(world, is_word(ALPHA, "protected") && is_word(BETA, "protected"), 20000);
    cr_assert_eq(world->acknowledged_count, 2);
    node_command(ALPHA, "handover", "{\"group\":\"g1\"}");
    RUN_UNTIL(world, serves(BETA) && is_word(ALPHA, "protected"), 5000);
    node_kill(BETA);
    world_run(world, 20000);
    cr_assert(!serves(ALPHA), "a takeover without an arbiter is forced");
    node_command(ALPHA, "takeover", "{\"group\":\"g1\",\"force\":true}");
    cr_assert(serves(ALPHA));
    world_end(world);
}

Test(failover_pair, without_an_arbiter_continue_goes_alone)
{
    struct world *world = world_new("{\"on_mirror_loss\":\"continue\"}");

    world->no_arbiter = true;
    node_start(ALPHA);
    node_start(BETA);
    RUN_UNTIL(world, is_word(ALPHA, "protected") && is_word(BETA, "protected"), 5000);
    node_kill(BETA);
    RUN_UNTIL(world, is_word(ALPHA, "alone"), 5000);
    cr_assert(node_write(ALPHA));
    world_run(world, 5);
    cr_assert_eq(world->acknowledged_count, 1);
    node_start(BETA);
    RUN_UNTIL(world, is_word(ALPHA, "protected") && is_word(BETA, "protected"), 20000);
    judge_history(BETA);
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
