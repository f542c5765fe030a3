// SPDX-License-Identifier: Apache-2.0
// needs plugin: failover
//
// A group that comes back: to the node that has just given it away, and to nodes whose partner is back while they ask
// whether they may go on without it.
#include "failover_world.h"

#define ALPHA (&world->nodes[0])
#define BETA (&world->nodes[1])

static const char plain[] = "{}";

// It gave the group away, it is given it back, and the word of that is lost with the session. Of the time that it leaves to
// its partner some is left; but that was for what the partner has served since.
Test(failover_back, given_back_within_the_time_of_its_own_hand_over)
{
    struct world *world = world_protected(plain);
    uint64_t given_ns = world->now_ns;
    uint32_t handover_ms = node_group(ALPHA)->failover->config.timers.handover_ms;

    node_command(ALPHA, "handover", "{\"group\":\"g1\"}");
    RUN_UNTIL(world, serves(BETA) && both_protected(world), 3000);
    world->arbiter_ms = 20; // the answer comes when nothing can be told any more
    BETA->ops->command(BETA->client, "handover", "{\"group\":\"g1\"}", 1);
    RUN_UNTIL(world, strcmp(world->record.owner, "alpha") == 0, 1000);
    world->linked = false;
    world_run(world, 30);
    world->linked = true;
    cr_assert(!serves(ALPHA) && !serves(BETA));
    RUN_UNTIL(world, serves(ALPHA), handover_ms / 2);
    cr_assert_lt(world->now_ns - given_ns, handover_ms * WORLD_MS, "this shows nothing");
    RUN_UNTIL(world, both_protected(world), 5000);
    judge_history(ALPHA);
    judge_history(BETA);
    world_end(world);
}

// Both ask, and nobody answers; the partner is back before the patience with the arbiter is at its end.
Test(failover_back, a_question_is_dropped_when_the_partner_is_back)
{
    struct world *world = world_protected(plain);

    ALPHA->mode = BETA->mode = ARBITER_SILENT;
    world->linked = false;
    RUN_UNTIL(world,
              strcmp(node_step(ALPHA), "both-ask") == 0 &&
                  strcmp(node_step(BETA), "lost-look") == 0,
              5000);
    world->linked = true;
    RUN_UNTIL(world, both_protected(world), 100);
    cr_assert_str_eq(node_step(ALPHA), "both");
    cr_assert_str_eq(node_step(BETA), "shadow");
    cr_assert_eq(node_group(ALPHA)->claim.purpose, CLAIM_NONE);
    cr_assert_eq(node_group(BETA)->claim.purpose, CLAIM_NONE);
    cr_assert(node_write(ALPHA));
    world_run(world, 5);
    cr_assert_eq(world->acknowledged_count, 6);
    // Nothing of it stands in the way of the next question.
    ALPHA->mode = BETA->mode = ARBITER_GOOD;
    node_kill(BETA);
    RUN_UNTIL(world, is_word(ALPHA, "alone"), 2000);
    judge_history(ALPHA);
    world_end(world);
}

// A change that went out may come to stand: it is not forgotten because the partner is back.
Test(failover_back, a_change_that_went_out_is_waited_for)
{
    struct world *world = world_protected(plain);

    ALPHA->mode = ARBITER_LATE;
    BETA->mode = ARBITER_DEAF;
    world->late_ms = 100;
    world->linked = false;
    RUN_UNTIL(world, node_group(ALPHA)->claim.posted, 5000);
    world->linked = true;
    world_run(world, 50);
    cr_assert_str_eq(node_step(ALPHA), "both-ask");
    cr_assert(node_group(ALPHA)->claim.posted);
    ALPHA->mode = BETA->mode = ARBITER_GOOD;
    RUN_UNTIL(world, both_protected(world), 20000);
    cr_assert_eq(world->record.member_count, 2);
    judge_history(ALPHA);
    judge_history(BETA);
    world_end(world);
}

// Whether the partner is a member again was not known, and then the answer came while an operator's command had the group
// in another state: it is asked for again, and not left on its way for good.
Test(failover_back, a_partner_on_its_way_becomes_a_member)
{
    struct world *world = world_protected(plain);

    ALPHA->log.mirror = CARRICK_MIRROR_JOINING;
    cr_assert_str_eq(node_step(ALPHA), "both");
    RUN_UNTIL(world, ALPHA->log.mirror == CARRICK_MIRROR_BOTH, 3000);
    cr_assert_eq(world->record.member_count, 2);
    cr_assert_str_eq(world->record.owner, "alpha");
    RUN_UNTIL(world, both_protected(world), 1000);
    node_command(ALPHA, "handover", "{\"group\":\"g1\"}");
    cr_assert_eq(ALPHA->reply_status, CARRICK_OK, "%s", ALPHA->reply);
    RUN_UNTIL(world, serves(BETA) && both_protected(world), 3000);
    world_end(world);
}

// Without an arbiter nothing is asked, and the session may stand all the while: what is told of the loss goes with it.
Test(failover_back, the_reason_of_a_loss_goes_with_the_loss)
{
    struct world *world = world_without_arbiter(plain);

    BETA->frozen = true;
    RUN_UNTIL(world, strstr(node_group(ALPHA)->reason, "writes wait") != NULL, 5000);
    BETA->frozen = false;
    RUN_UNTIL(world, strcmp(node_group(ALPHA)->reason, "both copies are members") == 0, 5000);
    cr_assert(is_word(ALPHA, "protected"));
    cr_assert_str_eq(node_step(ALPHA), "both");
    world_end(world);
}
