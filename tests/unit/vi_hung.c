// SPDX-License-Identifier: Apache-2.0
//
// A partner whose processor does nothing while its device answers: it is out of room for sends before long. Reads of its
// memory, the manager's own among them, must not wait behind them, and the link must stand.
#include "tests/unit/fake_world.h"

#define DEPTH 16u

static struct carrick_client *a, *b;
static struct carrick_region *local;

// One lane for both VIs: what one of them sends is in the way of what the other reads.
static void setup(void)
{
    a = fake_client("a", "echo");
    b = fake_client("b", "echo");
    a->vis = 2;
    fake.lanes = 1;
    fake_device("b0")->send_depth = DEPTH;
    fake_want(a, 4096, FAKE_RW);
}

static void start(void)
{
    fake_start_up();
    local = fake_region(a, 4096);
    fake_run_ms(10); // registered
    memset(fake_here(b, 0), 90, 16);
}

TestSuite(vi_hung, .init = setup, .fini = fake_end);

// For a minute, far longer than any time that a link has for an answer.
static unsigned live_with_it(void)
{
    const struct carrick_partner_status *seen = &fake.a.manager->partner_status;
    uint64_t heartbeat, failures = fake.a.manager->links[0].failures;
    unsigned sent = 0;

    fake.b.env.frozen = true;
    fake_run_ms(100);
    heartbeat = seen->heartbeat;
    for (unsigned second = 0; second < 60; second++) {
        for (unsigned i = 0; i < 4; i++, sent++)
            cr_assert_eq(fake_send(a, 0, 1000 + sent, "x", 1), CARRICK_OK);
        memset(fake_memory(a, local), 0, 16);
        cr_assert_eq(fake_read(a, 1, second, local, 0, 16, 0), CARRICK_OK);
        fake_run_ms(1000);
        cr_assert_eq(fake_done(a, second, NULL), 1, "not read after %u s", second);
        cr_assert_eq(*(uint8_t *)fake_memory(a, local), 90);
        cr_assert(fake_time.now_ns - seen->read_at_ns < 1000 * ENV_MS,
                  "the status line is not read any more");
    }
    cr_assert_eq(seen->heartbeat, heartbeat);
    cr_assert(fake_is_up(&fake.a));
    cr_assert_eq(fake.a.manager->links[0].failures, failures, "the link went down");
    return sent;
}

static void goes_on(unsigned sent)
{
    fake.b.env.frozen = false;
    FAKE_UNTIL(b->received == sent && a->completed == sent + 60);
    for (unsigned i = 0; i < sent; i++)
        cr_assert_eq(fake_done(a, 1000 + i, NULL), 1);
    cr_assert_eq(a->endeds + b->endeds, 0);
}

Test(vi_hung, its_memory_is_read_and_the_link_stands_whatever_is_sent_to_it)
{
    start();
    goes_on(live_with_it());
}

Test(vi_hung, the_same_where_completions_prove_nothing)
{
    fake_device("a0")->caps.proof = fake_device("b0")->caps.proof = CARRICK_PROOF_LOCAL;
    start();
    goes_on(live_with_it());
}

// What the client wants of its VI in order it gets in order; what was posted before the sends is done.
Test(vi_hung, writes_before_a_send_that_waits_are_done_and_those_after_it_wait)
{
    start();
    fake.b.env.frozen = true;
    for (unsigned i = 0; i < DEPTH; i++)
        cr_assert_eq(fake_send(a, 0, 1000 + i, "x", 1), CARRICK_OK);
    memset(fake_memory(a, local), 7, 4096);
    cr_assert_eq(fake_write(a, 0, 1, local, 0, 8, 64), CARRICK_OK);
    cr_assert_eq(fake_send(a, 0, 2, "y", 1), CARRICK_OK);
    cr_assert_eq(fake_write(a, 0, 3, local, 0, 8, 128), CARRICK_OK);
    fake_run_ms(5000);
    cr_assert_eq(fake_done(a, 1, NULL), 1);
    cr_assert_eq(fake_here(b, 0)[64], 7);
    cr_assert_eq(fake_done(a, 2, NULL) + fake_done(a, 3, NULL), 0);
    cr_assert_eq(fake_here(b, 0)[128], 0);
    fake.b.env.frozen = false;
    FAKE_UNTIL(fake_done(a, 3, NULL) == 1);
    cr_assert_eq(fake_here(b, 0)[128], 7);
}

// The partner's word that there is room again is enough: no probe and no other completion is needed.
Test(vi_hung, sends_go_on_as_soon_as_there_is_room)
{
    fake.timers = "\"probe_ms\":1000,\"link_dead_ms\":10000,\"operation_ms\":20000,"
                  "\"session_lost_ms\":30000";
    start();
    for (unsigned i = 0; i < 10 * DEPTH; i++)
        cr_assert_eq(fake_send(a, 0, 1000 + i, "x", 1), CARRICK_OK);
    fake_run_ms(1);
    cr_assert_eq(b->received, 10 * DEPTH, "%u of %u were received", b->received, 10 * DEPTH);
    cr_assert_eq(a->completed, 10 * DEPTH);
}
