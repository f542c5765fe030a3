// SPDX-License-Identifier: Apache-2.0
//
// The end of a session: everything that is outstanding completes, nothing comes after the end, nothing is forgotten.
#include "tests/unit/fake_world.h"

static struct carrick_client *a, *b;
static struct carrick_region *local;

static void setup(void)
{
    a = fake_client("a", "echo");
    b = fake_client("b", "echo");
    a->vis = 2;
    fake_want(a, 64u << 10, FAKE_RW);
    fake_start_up();
    local = fake_region(a, 4096);
    fake_run_ms(10);
}

TestSuite(vi_end, .init = setup, .fini = fake_end);

static void post_some(void)
{
    fake_hold("a0", true, true);
    for (unsigned i = 0; i < 100; i++) {
        cr_assert_eq(fake_write(a, i % 2, 3 * i, local, 0, 8, i * 8), CARRICK_OK);
        cr_assert_eq(fake_read(a, i % 2, 3 * i + 1, local, 2048, 8, i * 8), CARRICK_OK);
        if (i < 28)
            cr_assert_eq(fake_send(a, i % 2, 3 * i + 2, "x", 1), CARRICK_OK);
    }
}

static void all_over(int status)
{
    FAKE_UNTIL(a->endeds == 1);
    cr_assert_eq(a->completed, 228);
    for (unsigned i = 0; i < 228; i++) {
        cr_assert_eq(fake_done(a, a->completion[i].cookie, NULL), 1);
        cr_assert_eq(a->completion[i].status, status);
    }
    cr_assert_eq(a->late, 0, "a callback came after the end");
    cr_assert_eq(fake.a.manager->pool_free_count, POOL_BUFFERS);
    cr_assert_eq(a->host->region_destroy(local), CARRICK_OK);
}

Test(vi_end, the_partner_dies)
{
    post_some();
    fake_cut("a0");
    all_over(CARRICK_ERR_SESSION_ENDED);
    cr_assert_eq(a->ended_reason, CARRICK_REASON_LINK_LOST);
    fake_mend("a0");
}

Test(vi_end, clients_that_do_not_close_are_closed_at_the_deadline)
{
    uint64_t began_ns = fake_time.now_ns;

    post_some();
    cr_assert_eq(a->host->session_reset(a->host, "test"), CARRICK_OK);
    FAKE_UNTIL(a->endings == 1 && b->endings == 1);
    cr_assert_eq(a->ending_deadline_ns,
                 began_ns + fake.a.manager->section->timers.ending_ms * ENV_MS);
    cr_assert_eq(b->ending_reason, CARRICK_REASON_CLIENT);
    // Held operations never come back: link_dead_ms ends the link, or the deadline the session.
    all_over(CARRICK_ERR_SESSION_ENDED);
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
}

Test(vi_end, clients_that_close_make_it_quick)
{
    uint64_t began_ns = fake_time.now_ns;

    a->closes_at_ending = b->closes_at_ending = true;
    cr_assert_eq(a->host->session_reset(a->host, "test"), CARRICK_OK);
    FAKE_UNTIL(a->endeds == 1 && b->endeds == 1);
    cr_assert_lt(fake_time.now_ns - began_ns,
                 fake.a.manager->section->timers.ending_ms * ENV_MS / 2);
    cr_assert_eq(a->late + b->late, 0);
}

static void post_more(struct carrick_client *client, const struct carrick_completion *completion)
{
    struct carrick_op op = fake_op(CARRICK_CLIENT_SEND, 100000, NULL, 0, 1, 0, 0);

    (void)completion;
    op.data = "x";
    client->host->post(completion->vi, &op, 1);
}

Test(vi_end, a_client_that_posts_at_each_completion_loses_nothing)
{
    post_some();
    a->on_completed = post_more;
    fake_cut("a0");
    FAKE_UNTIL(a->endeds == 1);
    a->on_completed = NULL;
    cr_assert_eq(fake.a.manager->pool_free_count, POOL_BUFFERS, "%u buffers are lost",
                 POOL_BUFFERS - fake.a.manager->pool_free_count);
    cr_assert_eq(a->late, 0);
    fake_mend("a0");
}

static unsigned gone_too_early;

static void look_for_gone(struct carrick_client *client,
                          const struct carrick_completion *completion)
{
    (void)completion;
    for (unsigned i = 0; i < client->changes; i++)
        gone_too_early += client->change[i].state == CARRICK_VI_CLOSED;
}

// A client may look at, and post on, any of its VIs at any completion.
Test(vi_end, no_vi_is_gone_before_all_have_completed)
{
    post_some();
    gone_too_early = 0;
    a->on_completed = look_for_gone;
    fake_cut("a0");
    all_over(CARRICK_ERR_SESSION_ENDED);
    cr_assert_eq(gone_too_early, 0);
    a->on_completed = NULL;
    fake_mend("a0");
}

Test(vi_end, a_manager_that_stops_says_so_and_is_quiet)
{
    a->closes_at_ending = b->closes_at_ending = true;
    manager_stop(fake.a.manager);
    FAKE_UNTIL(fake.a.stopped);
    cr_assert_eq(a->ending_reason, CARRICK_REASON_SHUTDOWN);
    cr_assert_eq(b->ending_reason, CARRICK_REASON_SHUTDOWN);
    FAKE_UNTIL(b->endeds == 1);
}
