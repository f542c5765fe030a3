// SPDX-License-Identifier: Apache-2.0
// needs plugin: nvram_shadow
//
// One remote read of the partner's promise serves all who asked before it began.
#include "nvram_users.h"

TestSuite(nvram_look, .fini = w_end, .timeout = 20);

static uint32_t looks(void)
{
    return users[0].log->read_vi->count;
}

static void ask(uint32_t readers)
{
    for (uint32_t i = 0; i < readers; i++)
        cr_assert_eq(CALL(read_barrier, users[0].log, u_barrier, &users[0]), CARRICK_OK);
}

Test(nvram_look, a_burst_goes_with_one_look)
{
    u_pair();
    world.held[0] = true;
    ask(200);
    cr_assert_eq(looks(), 0, "a look begins before the burst has ended");
    u_commit(0);
    cr_assert_eq(looks(), 1);
    w_run_ms(20);
    cr_assert_eq(looks(), 1);
    cr_assert_eq(users[0].fresh, 0);
    world.held[0] = false;
    w_run_ms(20);
    cr_assert_eq(users[0].fresh, 200);
    cr_assert_eq(users[0].stale, 0);
}

// Who asks while it is under way gets a later one: alone when that has ended, many of them at once.
Test(nvram_look, who_asks_later_gets_another)
{
    u_pair();
    world.held[0] = true;
    ask(1);
    u_commit(0);
    ask(1);
    u_commit(0);
    cr_assert_eq(looks(), 1, "a look for each");
    ask(50);
    u_commit(0);
    cr_assert_eq(looks(), 2);
    world.held[0] = false;
    w_run_ms(20);
    cr_assert_eq(users[0].fresh, 52);
    // However many bursts there are, no more than so many are under way.
    world.held[0] = true;
    for (uint32_t i = 0; i < 20; i++) {
        ask(50);
        u_commit(0);
    }
    cr_assert_eq(looks(), NV_LOOKS);
    world.held[0] = false;
    w_run_ms(20);
    cr_assert_eq(users[0].fresh, 1052);
}

static void answer_oldest(void)
{
    w_vi_step(&world.nodes[0].vis[1]);
}

// Of sixteen who ask again as soon as they are answered, a look serves eight, not whoever comes first.
Test(nvram_look, where_many_read_a_look_waits_for_most_of_them)
{
    u_pair();
    world.held[0] = true;
    ask(16);
    u_commit(0);
    answer_oldest();
    cr_assert_eq(users[0].fresh, 16);
    for (uint32_t i = 1; i < 8; i++) {
        ask(1);
        u_commit(0);
        cr_assert_eq(looks(), 0, "a look begins for %u", i);
    }
    ask(1);
    u_commit(0);
    cr_assert_eq(looks(), 1);
    answer_oldest();
    cr_assert_eq(users[0].fresh, 24);
    // They do not come: who waits is answered within a few milliseconds, and the next one is not held any more.
    ask(1);
    u_commit(0);
    cr_assert_eq(looks(), 0);
    w_run_ms(3);
    cr_assert_eq(looks(), 1);
    answer_oldest();
    cr_assert_eq(users[0].fresh, 25);
    ask(1);
    u_commit(0);
    cr_assert_eq(looks(), 1, "one that reads alone is held");
    answer_oldest();
    // Nor is anybody after a pause.
    ask(16);
    u_commit(0);
    answer_oldest();
    w_run_ms(5);
    ask(1);
    u_commit(0);
    cr_assert_eq(looks(), 1, "it is held for those who came long ago");
}

// Few who read at a time are not held for each other.
Test(nvram_look, few_are_not_held)
{
    u_pair();
    world.held[0] = true;
    ask(3);
    u_commit(0);
    answer_oldest();
    ask(1);
    u_commit(0);
    cr_assert_eq(looks(), 1);
}

// A wait that the partner's withdrawal, or the end of the role, meets ends like any other.
Test(nvram_look, who_is_held_learns_of_the_end)
{
    u_pair();
    world.held[0] = true;
    ask(16);
    u_commit(0);
    answer_oldest();
    ask(1);
    u_commit(0);
    cr_assert_eq(looks(), 0);
    u_idle(0);
    world.held[0] = false;
    w_run_ms(5);
    cr_assert_eq(users[0].fresh, 16);
    cr_assert_eq(users[0].stale, 1);
}
