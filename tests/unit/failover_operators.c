// SPDX-License-Identifier: Apache-2.0
// needs plugin: failover
//
// What operators ask for: hand-over, giveback, force; and what they are told.
#include "failover_world.h"

#define ALPHA (&world->nodes[0])
#define BETA (&world->nodes[1])

static const char *const plain = "{}";

Test(failover_operators, hand_over_and_giveback)
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
Test(failover_operators, who_handed_over_under_load_leaves_it_to_the_other)
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

Test(failover_operators, an_owner_that_ends_after_it_handed_over_is_replaced)
{
    struct world *world = world_protected(plain);

    ALPHA->ops->command(ALPHA->client, "handover", "{\"group\":\"g1\"}", 1);
    RUN_UNTIL(world, strcmp(world->record.owner, "beta") == 0, 1000);
    node_kill(ALPHA); // perhaps before its partner has heard of it
    RUN_UNTIL(world, serves(BETA), 20000);
    world_end(world);
}

Test(failover_operators, a_hand_over_to_one_who_ends_meanwhile_is_not_called_done)
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
Test(failover_operators, a_hand_over_right_after_the_last_link_went)
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

Test(failover_operators, an_unknown_word_is_told_the_known_ones)
{
    struct world *world = world_protected(plain);

    node_command(ALPHA, "takeovr", "{\"group\":\"g1\"}");
    cr_assert_eq(ALPHA->reply_status, CARRICK_ERR_NOT_SUPPORTED);
    cr_assert_not_null(strstr(ALPHA->reply, "status, timers, takeover, handover, giveback"), "%s",
                       ALPHA->reply);
    world_end(world);
}

Test(failover_operators, a_dry_run_says_what_speaks_against_it)
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

Test(failover_operators, force_and_the_return_after_it_is_diverged)
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

Test(failover_operators, an_inconsistent_copy_is_not_served_even_by_force)
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

Test(failover_operators, status_is_json_with_reason_and_age)
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
