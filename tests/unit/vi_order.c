// SPDX-License-Identifier: Apache-2.0
//
// Order, and what waits for what: completions, chunks, overlapping writes, reads, and transports whose completions prove
// nothing.
#include "tests/unit/fake_world.h"

static struct carrick_client *a, *b;
static struct carrick_region *local;
static uint8_t *memory;

#define MIB (1u << 20)

static void start(uint64_t there_bytes, uint64_t local_bytes)
{
    a = fake_client("a", "echo");
    b = fake_client("b", "echo");
    a->vis = 4;
    fake_want(a, there_bytes, FAKE_RW);
    fake_want(a, there_bytes, FAKE_RW);
    fake_start_up();
    local = fake_region(a, local_bytes);
    memory = fake_memory(a, local);
    fake_run_ms(10);
}

TestSuite(vi_order, .fini = fake_end);

static uint64_t posted(uint32_t vi)
{
    return fake_vi(a, vi)->inflight;
}

static void local_proof(void)
{
    fake_device("a0")->caps.proof = CARRICK_PROOF_LOCAL;
    fake_device("b0")->caps.proof = CARRICK_PROOF_LOCAL;
}

Test(vi_order, completions_come_in_the_order_of_posting)
{
    start(4096, 4096);
    for (unsigned i = 0; i < 200; i++)
        switch (i % 4) {
        case 0:
            cr_assert_eq(fake_write(a, 0, i, local, 0, 8, i * 8), CARRICK_OK);
            break;
        case 1:
            cr_assert_eq(fake_read(a, 0, i, local, 2048, 8, i * 8), CARRICK_OK);
            break;
        case 2:
            cr_assert_eq(fake_send(a, 0, i, &i, sizeof(i)), CARRICK_OK);
            break;
        default:
            cr_assert_eq(fake_flush(a, 0, i), CARRICK_OK);
        }
    FAKE_UNTIL(a->completed == 200);
    for (unsigned i = 0; i < 200; i++) {
        cr_assert_eq(a->completion[i].cookie, i);
        cr_assert_eq(a->completion[i].status, CARRICK_OK);
        cr_assert_eq(a->completion[i].vi, a->vi[0]);
    }
    cr_assert_eq(b->received, 50);
    for (unsigned i = 0; i < 50; i++)
        cr_assert_eq(*(uint32_t *)b->message[i].bytes, i * 4 + 2);
}

Test(vi_order, sixty_four_mebibytes_go_in_chunks)
{
    uint64_t length = 64u * MIB, most = 0;

    start(length, length);
    for (uint64_t i = 0; i < length; i += 8)
        *(uint64_t *)(memory + i) = i * 0x9e3779b97f4a7c15ull;
    fake_hold("a0", true, true);
    cr_assert_eq(fake_write(a, 0, 1, local, 0, length, 0), CARRICK_OK);
    cr_assert_eq(fake_send(a, 0, 2, "done", 4), CARRICK_OK);
    while (a->completed == 0) {
        const struct lane *lane = fake_vi(a, 0)->lane;

        cr_assert_leq(lane->inflight_bytes, LANE_WINDOW_BYTES, "beyond the window");
        most = lane->inflight_bytes > most ? lane->inflight_bytes : most;
        cr_assert_eq(b->received, 0, "the send overtook the write");
        fake_let("a0", 1, 1);
        fake_run_ms(1);
    }
    cr_assert_eq(most, LANE_WINDOW_BYTES, "the window was never full");
    cr_assert_geq(fake_net.writes, 64);
    fake_go("a0");
    FAKE_UNTIL(a->completed == 2 && b->received == 1);
    cr_assert_eq(a->completion[0].cookie, 1);
    cr_assert_arr_eq(fake_here(b, 0), memory, length);

    memset(memory, 0, length);
    cr_assert_eq(fake_read(a, 0, 3, local, 0, length, 0), CARRICK_OK);
    FAKE_UNTIL(a->completed == 3);
    cr_assert_arr_eq(fake_here(b, 0), memory, length);
}

Test(vi_order, chunks_are_no_longer_than_the_transport_takes)
{
    fake_device("a0")->caps.max_message_bytes = 1000;
    start(MIB, MIB);
    for (uint64_t i = 0; i < 10001; i++)
        memory[i] = (uint8_t)(i * 31);
    cr_assert_eq(fake_write(a, 0, 1, local, 0, 10001, 3), CARRICK_OK);
    FAKE_UNTIL(a->completed == 1);
    cr_assert_arr_eq(fake_here(b, 0) + 3, memory, 10001);
    cr_assert_eq(fake_here(b, 0)[10004], 0);
    cr_assert_geq(fake_net.writes, 11);
}

Test(vi_order, a_write_that_overlaps_waits_for_proof)
{
    start(4096, 4096);
    fake_hold("a0", true, true);
    cr_assert_eq(fake_write(a, 0, 1, local, 0, 100, 0), CARRICK_OK);
    cr_assert_eq(fake_write(a, 0, 2, local, 0, 100, 100), CARRICK_OK);
    cr_assert_eq(posted(0), 2, "side by side is no overlap");
    cr_assert_eq(fake_write(a, 0, 3, local, 0, 100, 199), CARRICK_OK);
    cr_assert_eq(posted(0), 2, "the last byte of the one before is the first of this");
    cr_assert_eq(fake_write(a, 0, 4, local, 0, 100, 1000), CARRICK_OK);
    cr_assert_eq(posted(0), 2, "no operation of a VI overtakes another");
    // Another VI of the client, the same place: it waits, too; another region does not.
    cr_assert_eq(fake_write(a, 1, 5, local, 0, 1, 150), CARRICK_OK);
    cr_assert_eq(posted(1), 0);
    cr_assert_eq(fake_post_op(a, 2, fake_op(CARRICK_CLIENT_WRITE, 6, local, 0, 1, 1, 150)),
                 CARRICK_OK);
    cr_assert_eq(posted(2), 1);
    fake_let("a0", 1, 1); // the first only
    FAKE_UNTIL(a->completed == 1);
    cr_assert_eq(posted(0), 1);
    fake_let("a0", 1, 1);
    FAKE_UNTIL(fake_done(a, 2, NULL) == 1);
    cr_assert_eq(posted(1), 1, "what held the other VI is proven");
    fake_go("a0");
    FAKE_UNTIL(a->completed == 6);
}

Test(vi_order, a_write_waits_for_a_read_of_the_same_place)
{
    start(4096, 4096);
    memset(fake_here(b, 0), 'o', 64);
    memset(memory, 'n', 64);
    fake_hold("a0", true, true);
    cr_assert_eq(fake_read(a, 0, 1, local, 1024, 64, 0), CARRICK_OK);
    cr_assert_eq(fake_write(a, 0, 2, local, 0, 64, 32), CARRICK_OK);
    cr_assert_eq(posted(0), 1);
    fake_go("a0");
    FAKE_UNTIL(a->completed == 2);
    cr_assert_eq(memory[1024 + 63], 'o');
    cr_assert_eq(fake_here(b, 0)[32], 'n');
}

Test(vi_order, a_read_sees_the_writes_before_it)
{
    start(4096, 4096);
    memset(memory, 'n', 64);
    cr_assert_eq(fake_write(a, 0, 1, local, 0, 64, 0), CARRICK_OK);
    cr_assert_eq(fake_read(a, 0, 2, local, 1024, 64, 0), CARRICK_OK);
    FAKE_UNTIL(a->completed == 2);
    cr_assert_eq(memory[1024], 'n');
}

Test(vi_order, closing_a_vi_frees_who_waited_for_its_write)
{
    start(8u * MIB, 8u * MIB);
    fake_hold("a0", true, true);
    // Of this write only a part fits on the lane; when that is back the VI closes, and the rest is never posted.
    cr_assert_eq(fake_write(a, 0, 1, local, 0, 8u * MIB, 0), CARRICK_OK);
    cr_assert_eq(fake_write(a, 1, 2, local, 0, 8, 7u * MIB), CARRICK_OK);
    cr_assert_eq(posted(1), 0);
    cr_assert_eq(a->host->vi_close(a->vi[0]), CARRICK_OK);
    fake_go("a0");
    FAKE_UNTIL(fake_done(a, 1, NULL) == 1);
    FAKE_UNTIL(fake_done(a, 2, NULL) == 1);
}

Test(vi_order, reads_are_no_more_than_the_transport_takes)
{
    fake_device("a0")->caps.max_reads = 2; // the fake fails the test when it gets more
    start(4096, 4096);
    for (unsigned i = 0; i < 50; i++)
        cr_assert_eq(fake_read(a, i % 4, i, local, i * 8, 8, i * 8), CARRICK_OK);
    fake_run_ms(50);
    FAKE_UNTIL(a->completed == 50);
}

Test(vi_order, one_read_at_a_time_is_enough_to_come_up)
{
    fake_device("a0")->caps.max_reads = fake_device("b0")->caps.max_reads = 1;
    fake.lanes = 2;
    start(4096, 4096);
    fake_run_ms(500);
    cr_assert_eq(fake.a.manager->session.count, 1);
    cr_assert(fake_is_up(&fake.a));
}

Test(vi_order, sixteen_posted_at_once_are_enough)
{
    fake_device("a0")->caps.max_posted = fake_device("b0")->caps.max_posted = 16;
    start(64u << 10, 4096);
    for (unsigned i = 0; i < 400; i++)
        cr_assert_eq(fake_write(a, i % 4, i, local, 0, 8, i * 8), CARRICK_OK);
    FAKE_UNTIL(a->completed == 400);
    cr_assert_eq(fake.a.manager->session.count, 1);
}

// ---- where a completion proves nothing

Test(vi_order, local_completion_is_no_completion)
{
    local_proof();
    start(4096, 4096);
    memset(memory, 'n', 8);
    fake_hold("a0", true, false);
    cr_assert_eq(fake_write(a, 0, 1, local, 0, 8, 0), CARRICK_OK);
    cr_assert_eq(fake_send(a, 0, 2, "x", 1), CARRICK_OK);
    fake_run_ms(30);
    cr_assert_eq(a->completed, 0, "it completed, but nothing has arrived");
    cr_assert_eq(fake_here(b, 0)[0], 0);
    fake_go("a0");
    FAKE_UNTIL(a->completed == 2);
    cr_assert_eq(fake_here(b, 0)[0], 'n');
    cr_assert_eq(b->received, 1);
}

Test(vi_order, local_proof_one_flush_serves_many)
{
    local_proof();
    start(4096, 4096);
    struct carrick_op ops[16];
    uint64_t before = fake_net.flushes;

    for (unsigned i = 0; i < 16; i++)
        ops[i] = fake_op(CARRICK_CLIENT_WRITE, i, local, 0, 8, 0, i * 8);
    cr_assert_eq(a->host->post(a->vi[0], ops, 16), CARRICK_OK);
    FAKE_UNTIL(a->completed == 16);
    cr_assert_leq(fake_net.flushes - before, 2);
}

Test(vi_order, local_proof_a_full_lane_goes_on)
{
    uint64_t began_ns;

    local_proof();
    fake_device("a0")->caps.max_posted = fake_device("b0")->caps.max_posted = 16;
    start(64u << 10, 4096);
    began_ns = fake_time.now_ns;
    for (unsigned i = 0; i < 10; i++) {
        struct carrick_op ops[40];

        for (unsigned j = 0; j < 40; j++)
            ops[j] = fake_op(CARRICK_CLIENT_WRITE, i, local, 0, 8, 0, (i * 40 + j) * 8);
        cr_assert_eq(a->host->post(a->vi[i % 4], ops, 40), CARRICK_OK);
    }
    FAKE_UNTIL(a->completed == 400);
    cr_assert_eq(fake.a.manager->links[0].failures, 0,
                 "the lane stood still until it was given up");
    cr_assert_lt(fake_time.now_ns - began_ns, 5 * ENV_MS, "only probes moved it on");
}

Test(vi_order, local_proof_a_full_window_goes_on)
{
    uint64_t began_ns;

    local_proof();
    start(64u * MIB, 64u * MIB);
    began_ns = fake_time.now_ns;
    cr_assert_eq(fake_write(a, 0, 1, local, 0, 64u * MIB, 0), CARRICK_OK);
    FAKE_UNTIL(a->completed == 1);
    cr_assert_eq(fake.a.manager->links[0].failures, 0,
                 "the lane stood still until it was given up");
    cr_assert_lt(fake_time.now_ns - began_ns, 5 * ENV_MS, "only probes moved it on");
}

Test(vi_order, local_proof_an_idle_session_stands)
{
    local_proof();
    start(4096, 4096);
    fake_run_ms(30000);
    cr_assert_eq(fake.a.manager->session.count, 1);
    cr_assert_eq(fake.a.manager->links[0].failures + fake.b.manager->links[0].failures, 0);
    cr_assert_eq(fake.a.manager->pool_free_count, POOL_BUFFERS, "messages kept their buffers");
}

// ---- several VIs on one lane

static void post_again(struct carrick_client *client, const struct carrick_completion *completion)
{
    static unsigned place;

    if (completion->cookie == 1)
        fake_write(client, 0, 1, local, 0, MIB, place++ % 12 * (uint64_t)MIB);
}

Test(vi_order, a_busy_vi_does_not_starve_the_others)
{
    uint64_t heavy;

    start(16u * MIB, 16u * MIB);
    fake_hold("a0", true, true);
    for (unsigned i = 0; i < 12; i++)
        cr_assert_eq(fake_write(a, 0, 1, local, 0, MIB, i * (uint64_t)MIB), CARRICK_OK);
    a->on_completed = post_again; // there is always more of it
    cr_assert_eq(fake_write(a, 1, 2, local, 0, 4096, 15u * MIB), CARRICK_OK);
    cr_assert_eq(fake_write(a, 2, 3, local, 0, 4096, 14u * MIB), CARRICK_OK);
    cr_assert_eq(posted(1) + posted(2), 0, "the window is full");
    heavy = 0;
    while (fake_done(a, 2, NULL) + fake_done(a, 3, NULL) < 2) {
        cr_assert_lt(heavy++, 16, "others got nothing while the busy VI wrote %u MiB",
                     a->completed);
        fake_let("a0", 1, 1);
        fake_run_ms(1);
    }
    a->on_completed = NULL;
    fake_go("a0");
}
