// SPDX-License-Identifier: Apache-2.0
// needs plugin: failover
//
// An arbiter that is away, slow, late, or wrong; and none at all.
#include "failover_world.h"

#define ALPHA (&world->nodes[0])
#define BETA (&world->nodes[1])

static const char *const plain = "{}";

Test(failover_arbiter, without_the_arbiter_the_promise_stands)
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

Test(failover_arbiter, an_unknown_outcome_that_stands_is_used)
{
    struct world *world = world_protected(plain);

    BETA->mode = ARBITER_UNKNOWN_WON;
    node_kill(ALPHA);
    RUN_UNTIL(world, serves(BETA), 5000);
    cr_assert_str_eq(world->record.owner, "beta");
    world_end(world);
}

Test(failover_arbiter, an_unknown_outcome_that_does_not_stand_is_not)
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

Test(failover_arbiter, a_win_that_comes_late_is_not_used_and_taken_back)
{
    late_win(ARBITER_LATE, 8000);
}

// The answer itself comes late, in the middle of another question.
Test(failover_arbiter, an_answer_to_an_old_question_is_not_one_to_the_new)
{
    for (uint64_t late_ms = 8000; late_ms < 9000; late_ms += 100)
        late_win(ARBITER_LATE_WON, late_ms);
}

// The answer of a change that is on its way to the node; it comes when the test says so.
static struct event *won_answer(struct node *node)
{
    for (unsigned i = 0; i < EVENTS_MAX; i++) {
        struct event *event = &node->world->events[i];

        if (event->used && event->kind == AT_ANSWER && event->node == node->index &&
            event->status == CARRICK_OK && !event->has_record)
            return event;
    }
    return NULL;
}

// The first takeover was won, too late to be used, and taken back; its answer comes while the node asks for a second one,
// which it must not get: its partner has gone on alone by then, and serves.
Test(failover_arbiter, a_win_of_the_first_takeover_is_none_of_the_second)
{
    struct world *world = world_protected(plain);
    struct event *won;

    world->late_ms = 1000000;
    BETA->mode = ARBITER_LATE_WON;
    ALPHA->mode = ARBITER_DEAF;
    world->linked = false;
    RUN_UNTIL(world, won_answer(BETA) != NULL, 3000);
    won = won_answer(BETA);
    RUN_UNTIL(world, BETA->log.copy.role == CARRICK_LOG_IDLE, 3000);
    RUN_UNTIL(world, BETA->log.copy.role == CARRICK_LOG_SHADOW, 10000); // the promise is given anew
    world->linked = true;
    RUN_UNTIL(world, is_word(ALPHA, "protected"), 3000);
    for (unsigned i = 0; i < EVENTS_MAX; i++)
        if (world->events[i].used && world->events[i].kind == AT_LAND)
            world->events[i].due_ns = world->now_ns;
    RUN_UNTIL(world, strcmp(world->record.owner, "beta") == 0, 100);
    BETA->mode = ALPHA->mode = ARBITER_GOOD;
    RUN_UNTIL(world, strcmp(world->record.owner, "alpha") == 0 && both_protected(world), 10000);

    world->linked = false;
    ALPHA->mode = ARBITER_DEAF;
    RUN_UNTIL(world, node_group(BETA)->state == GROUP_CLAIM, 10000);
    for (unsigned i = 0; i < EVENTS_MAX; i++) // what it reads is late, and the owner is quicker
        if (world->events[i].used && world->events[i].kind == AT_ANSWER &&
            world->events[i].node == BETA->index && world->events[i].has_record)
            world->events[i].due_ns += 1000 * WORLD_MS;
    ALPHA->mode = ARBITER_GOOD;
    RUN_UNTIL(world, is_word(ALPHA, "alone"), 1000);
    cr_assert(node_write(ALPHA));
    cr_assert_eq(node_group(BETA)->state, GROUP_CLAIM);
    won->due_ns = world->now_ns;
    world_run(world, 1);
    cr_assert_not(won->used && won->status == CARRICK_OK && !won->has_record, "not yet answered");
    for (unsigned i = 0; i < 3000; i++) {
        world_run(world, 1);
        cr_assert(!serves(BETA), "served by the win of a takeover that was given up");
    }
    cr_assert(serves(ALPHA));
    world->linked = true;
    RUN_UNTIL(world, both_protected(world), 20000);
    cr_assert_str_eq(world->record.owner, "alpha");
    judge_history(ALPHA);
    world_end(world);
}

Test(failover_arbiter, a_slow_arbiter_delays_and_changes_nothing_else)
{
    struct world *world = world_protected(plain);

    world->arbiter_ms = 700;
    node_kill(ALPHA);
    RUN_UNTIL(world, serves(BETA), 8000);
    node_start(ALPHA);
    RUN_UNTIL(world, both_protected(world), 30000);
    world_end(world);
}

Test(failover_arbiter, a_record_from_an_old_backup_is_refused)
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

Test(failover_arbiter, nobody_asks_before_the_fence)
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

// ---- without an arbiter

Test(failover_arbiter, without_an_arbiter_hold_waits)
{
    struct world *world = world_without_arbiter(plain);

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

// What the partner says of its copy in that moment may be older than what both acknowledged since.
Test(failover_arbiter, who_holds_does_not_go_alone_when_its_partner_is_made_to_take_over)
{
    struct world *world = world_without_arbiter(plain);

    world->advance_is_late = true;
    cr_assert(node_write(ALPHA));
    world_run(world, 50);
    cr_assert_eq(world->acknowledged_count, 1);
    world->fence_hangs = true; // what it says arrives before the session ends
    BETA->ops->command(BETA->client, "takeover", "{\"group\":\"g1\",\"force\":true}", 1);
    world_run(world, 20);
    cr_assert(!is_word(ALPHA, "alone"), "both would serve");
    world->fence_hangs = false;
    RUN_UNTIL(world, is_word(ALPHA, "protected") && is_word(BETA, "protected"), 20000);
    cr_assert(serves(BETA) && !serves(ALPHA));
    judge_history(BETA);
    world_end(world);
}

Test(failover_arbiter, without_an_arbiter_continue_goes_alone)
{
    struct world *world = world_without_arbiter("{\"on_mirror_loss\":\"continue\"}");

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
