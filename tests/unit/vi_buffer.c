// SPDX-License-Identifier: Apache-2.0
//
// The pool of send buffers is smaller than what all VIs together may post: who finds none free waits for his turn.
#include "tests/unit/fake_world.h"

static struct carrick_client *a, *b;
static struct carrick_region *local;

static void setup(void)
{
    a = fake_client("a", "echo");
    b = fake_client("b", "echo");
    a->vis = 3;
    fake.lanes = 3; // one for each VI, so that none waits for room on another's lane
    fake_want(a, 4096, FAKE_RW);
    fake_start_up();
    local = fake_region(a, 4096);
    fake_run_ms(10); // registered
}

TestSuite(vi_buffer, .init = setup, .fini = fake_end);

static uint32_t room(uint32_t vi)
{
    return a->host->vi_room(a->vi[vi]);
}

// Sends that find no buffer wait for one, in the order of their VIs: one with nothing in flight would else never be told
// when to try again.
Test(vi_buffer, sends_without_a_buffer_wait_and_leave_the_managers_own)
{
    struct manager *manager = fake.a.manager;
    unsigned sent = 0;

    fake_hold("a0", true, true);
    for (uint32_t vi = 0; vi < 2; vi++)
        while (room(vi) > 0) {
            cr_assert_eq(fake_send(a, vi, sent, "x", 1), CARRICK_OK);
            sent++;
        }
    cr_assert_eq(sent, 2 * VI_DEPTH);
    cr_assert_eq(manager->pool_free_count, POOL_RESERVE);
    cr_assert_eq(fake_send(a, 2, 1000, "first", 6), CARRICK_OK);
    cr_assert_eq(fake_send(a, 2, 1001, "second", 7), CARRICK_OK);
    cr_assert_eq(fake_write(a, 2, 1002, local, 0, 8, 0), CARRICK_OK);
    cr_assert_eq(fake_vi(a, 2)->inflight, 0);
    fake_go("a0");
    FAKE_UNTIL(a->completed == sent + 3 && b->received == sent + 2);
    for (unsigned i = 0; i < sent; i++)
        cr_assert_eq(fake_done(a, i, NULL), 1);
    unsigned next = 0;
    static const char *const texts[] = {"first", "second"};
    for (unsigned i = 0; i < b->received; i++)
        if (b->message[i].vi == 2)
            cr_assert_str_eq((char *)b->message[i].bytes, texts[next++]);
    cr_assert_eq(next, 2);
    cr_assert_eq(manager->pool_free_count, POOL_BUFFERS, "a buffer was lost");
}

static void send_again(struct carrick_client *client, const struct carrick_completion *completion)
{
    struct carrick_op op = fake_op(CARRICK_CLIENT_SEND, 5000, NULL, 0, 1, 0, 0);

    op.data = "x";
    if (completion->vi != client->vi[2])
        cr_assert_eq(client->host->post(completion->vi, &op, 1), CARRICK_OK);
}

Test(vi_buffer, who_waits_has_his_turn_while_others_go_on_sending)
{
    fake_hold("a0", true, true);
    for (uint32_t vi = 0; vi < 2; vi++)
        while (room(vi) > 0)
            cr_assert_eq(fake_send(a, vi, 0, "x", 1), CARRICK_OK);
    cr_assert_eq(fake_send(a, 2, 1000, "y", 1), CARRICK_OK);
    // Each place that becomes free is asked for again at once by those who have the buffers.
    a->on_completed = send_again;
    for (unsigned i = 0; i < 1000 && fake_done(a, 1000, NULL) == 0; i++) {
        fake_let("a0", 1, 1);
        fake_run_ms(1);
    }
    a->on_completed = NULL;
    cr_assert_eq(fake_done(a, 1000, NULL), 1, "it starves");
    fake_go("a0");
}

Test(vi_buffer, what_waits_for_a_buffer_ends_with_the_session)
{
    struct manager *manager = fake.a.manager;
    unsigned sent = 0;

    fake_hold("a0", true, true);
    for (uint32_t vi = 0; vi < 3; vi++)
        for (; room(vi) > 0; sent++)
            cr_assert_eq(fake_send(a, vi, sent, "x", 1), CARRICK_OK);
    // The manager can still say what it has to: a session can be ended in order.
    cr_assert_eq(a->host->session_reset(a->host, "no buffers left"), CARRICK_OK);
    FAKE_UNTIL(b->endings == 1);
    cr_assert_eq(b->ending_reason, CARRICK_REASON_CLIENT);
    FAKE_UNTIL(a->endeds == 1 && b->endeds == 1);
    cr_assert_eq(a->completed, sent);
    cr_assert_eq(manager->pool_free_count, POOL_BUFFERS, "a buffer was lost");
}
