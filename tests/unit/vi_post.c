// SPDX-License-Identifier: Apache-2.0
//
// What a VI takes and refuses, and that a refusal leaves nothing behind.
#include "tests/unit/fake_world.h"

static struct carrick_client *a, *b;
static struct carrick_region *local;

#define THERE_BYTES (64u << 10)
#define LOCAL_BYTES 8192u

static void setup(void)
{
    a = fake_client("a", "echo");
    b = fake_client("b", "echo");
    a->vis = 3;
    fake_want(a, THERE_BYTES, FAKE_RW);
    fake_want(a, THERE_BYTES, CARRICK_ACCESS_REMOTE_READ);
    fake_want(a, THERE_BYTES, CARRICK_ACCESS_REMOTE_WRITE);
    fake_start_up();
    local = fake_region(a, LOCAL_BYTES);
    fake_run_ms(10); // registered
}

TestSuite(vi_post, .init = setup, .fini = fake_end);

static uint32_t room(uint32_t vi)
{
    return a->host->vi_room(a->vi[vi]);
}

static int post(uint32_t operation, uint64_t offset, uint64_t length, uint32_t there,
                uint64_t there_offset)
{
    return fake_post_op(a, 0, fake_op(operation, 1, local, offset, length, there, there_offset));
}

static int write_at(uint64_t offset, uint64_t length, uint64_t there_offset)
{
    return post(CARRICK_CLIENT_WRITE, offset, length, 0, there_offset);
}

Test(vi_post, bounds_are_checked_at_both_ends)
{
    static const uint32_t operations[] = {CARRICK_CLIENT_WRITE, CARRICK_CLIENT_READ};

    for (int i = 0; i < 2; i++) {
        uint32_t op = operations[i];

        cr_expect_eq(post(op, 0, LOCAL_BYTES, 0, 0), CARRICK_OK);
        cr_expect_eq(post(op, LOCAL_BYTES - 1, 1, 0, THERE_BYTES - 1), CARRICK_OK);
        cr_expect_eq(post(op, 0, LOCAL_BYTES + 1, 0, 0), CARRICK_ERR_BOUNDS);
        cr_expect_eq(post(op, 1, LOCAL_BYTES, 0, 0), CARRICK_ERR_BOUNDS);
        cr_expect_eq(post(op, LOCAL_BYTES, 1, 0, 0), CARRICK_ERR_BOUNDS);
        cr_expect_eq(post(op, UINT64_MAX, 2, 0, 0), CARRICK_ERR_BOUNDS, "offset wraps");
        cr_expect_eq(post(op, 2, UINT64_MAX - 1, 0, 0), CARRICK_ERR_BOUNDS, "length wraps");
        cr_expect_eq(post(op, 0, 2, 0, THERE_BYTES - 1), CARRICK_ERR_BOUNDS);
        cr_expect_eq(post(op, 0, 1, 0, THERE_BYTES), CARRICK_ERR_BOUNDS);
        cr_expect_eq(post(op, 0, 2, 0, UINT64_MAX), CARRICK_ERR_BOUNDS, "there wraps");
        cr_expect_eq(post(op, 0, 0, 0, THERE_BYTES + 1), CARRICK_ERR_BOUNDS);
    }
    fake_run_ms(50);
    cr_assert_eq(fake_net.access_errors, 0);
    cr_assert_eq(a->completed, 4);
}

Test(vi_post, nothing_at_the_very_end_is_allowed)
{
    cr_assert_eq(write_at(LOCAL_BYTES, 0, THERE_BYTES), CARRICK_OK);
    FAKE_UNTIL(a->completed == 1);
    cr_assert_eq(a->completion[0].status, CARRICK_OK);
}

Test(vi_post, access_is_what_was_asked_for)
{
    cr_assert_eq(post(CARRICK_CLIENT_WRITE, 0, 8, 1, 0), CARRICK_ERR_DENIED);
    cr_assert_eq(post(CARRICK_CLIENT_READ, 0, 8, 1, 0), CARRICK_OK);
    cr_assert_eq(post(CARRICK_CLIENT_READ, 0, 8, 2, 0), CARRICK_ERR_DENIED);
    cr_assert_eq(post(CARRICK_CLIENT_WRITE, 0, 8, 2, 0), CARRICK_OK);
    cr_assert_eq(post(CARRICK_CLIENT_WRITE, 0, 8, 3, 0), CARRICK_ERR_NOT_FOUND);
    cr_assert_eq(post(CARRICK_CLIENT_WRITE, 0, 8, UINT32_MAX, 0), CARRICK_ERR_NOT_FOUND);
}

Test(vi_post, wrong_arguments)
{
    struct carrick_op op = fake_op(CARRICK_CLIENT_WRITE, 1, NULL, 0, 8, 0, 0);
    static uint8_t data[CARRICK_SEND_BYTES_MAX + 1];

    cr_assert_eq(fake_post_op(a, 0, op), CARRICK_ERR_INVALID, "no local region");
    cr_assert_eq(post(0, 0, 8, 0, 0), CARRICK_ERR_NOT_SUPPORTED);
    cr_assert_eq(post(77, 0, 8, 0, 0), CARRICK_ERR_NOT_SUPPORTED);
    cr_assert_eq(fake_send(a, 0, 1, NULL, 8), CARRICK_ERR_INVALID);
    cr_assert_eq(fake_send(a, 0, 1, data, sizeof(data)), CARRICK_ERR_LIMIT);
    cr_assert_eq(fake_send(a, 0, 1, data, sizeof(data) - 1), CARRICK_OK);
    cr_assert_eq(fake_send(a, 0, 2, NULL, 0), CARRICK_OK, "a send of nothing is a send");
    FAKE_UNTIL(b->received == 2 && a->completed == 2);
    cr_assert_eq(b->message[0].length, CARRICK_SEND_BYTES_MAX);
    cr_assert_eq(b->message[1].length, 0);
}

Test(vi_post, all_or_none)
{
    struct manager *manager = fake.a.manager;
    struct carrick_op ops[4];
    uint32_t before = room(0), pool = manager->pool_free_count;
    uint64_t sequence = fake_vi(a, 0)->send_sequence;

    ops[0] = fake_op(CARRICK_CLIENT_WRITE, 1, local, 0, 8, 0, 0);
    ops[1] = fake_op(CARRICK_CLIENT_SEND, 2, NULL, 0, 4, 0, 0);
    ops[1].data = "abcd";
    ops[2] = fake_op(CARRICK_CLIENT_SEND, 3, NULL, 0, 4, 0, 0);
    ops[2].data = "efgh";
    ops[3] = fake_op(CARRICK_CLIENT_WRITE, 4, local, 0, 8, 0, THERE_BYTES - 7);
    cr_assert_eq(a->host->post(a->vi[0], ops, 4), CARRICK_ERR_BOUNDS);
    cr_assert_eq(room(0), before);
    cr_assert_eq(manager->pool_free_count, pool);
    cr_assert_eq(fake_vi(a, 0)->send_sequence, sequence);
    fake_run_ms(50);
    cr_assert_eq(a->completed, 0);
    cr_assert_eq(b->received, 0);
    cr_assert_eq(a->host->region_destroy(local), CARRICK_OK, "the refused write still holds it");
    local = fake_region(a, LOCAL_BYTES);

    ops[0].region = ops[3].region = local;
    ops[3].there_offset--;
    cr_assert_eq(a->host->post(a->vi[0], ops, 4), CARRICK_OK);
    FAKE_UNTIL(a->completed == 4);
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(a->completion[i].cookie, i + 1);
    cr_assert_eq(b->received, 2);
    cr_assert_str_eq((char *)b->message[0].bytes, "abcd");
}

Test(vi_post, operations_of_a_later_version_are_longer)
{
    struct {
        struct carrick_op op;
        uint64_t of_later[3];
    } ops[2] = {{.op = fake_op(CARRICK_CLIENT_FLUSH, 1, NULL, 0, 0, 0, 0)},
                {.op = fake_op(CARRICK_CLIENT_FLUSH, 2, NULL, 0, 0, 0, 0)}};

    ops[0].op.struct_size = ops[1].op.struct_size = sizeof(ops[0]);
    cr_assert_eq(a->host->post(a->vi[0], &ops[0].op, 2), CARRICK_OK);
    FAKE_UNTIL(a->completed == 2);
    cr_assert_eq(a->completion[1].cookie, 2);
}

Test(vi_post, again_when_full_and_room_with_each_completion)
{
    uint32_t depth = room(0);

    fake_hold("a0", true, true);
    for (uint32_t i = 0; i < depth; i++) {
        cr_assert_eq(room(0), depth - i);
        cr_assert_eq(fake_write(a, 0, i, local, 0, 8, i * 8), CARRICK_OK);
    }
    cr_assert_eq(room(0), 0);
    cr_assert_eq(fake_flush(a, 0, 9999), CARRICK_ERR_AGAIN);
    cr_assert_eq(room(1), depth, "another VI has its own room");
    fake_let("a0", 3, 3);
    FAKE_UNTIL(a->completed == 3);
    cr_assert_eq(room(0), 3);
    struct carrick_op ops[4];
    for (unsigned i = 0; i < 4; i++)
        ops[i] = fake_op(CARRICK_CLIENT_FLUSH, 500 + i, NULL, 0, 0, 0, 0);
    cr_assert_eq(a->host->post(a->vi[0], ops, 4), CARRICK_ERR_AGAIN, "none of four when three fit");
    cr_assert_eq(a->host->post(a->vi[0], ops, 3), CARRICK_OK);
    fake_go("a0");
    FAKE_UNTIL(a->completed == depth + 3);
    cr_assert_eq(fake_done(a, 9999, NULL), 0);
    cr_assert_eq(fake_done(a, 502, NULL), 1);
}

Test(vi_post, refused_where_there_is_nothing_to_post_on)
{
    struct carrick_vi *vi = a->vi[0];
    struct carrick_op op = fake_op(CARRICK_CLIENT_FLUSH, 1, NULL, 0, 0, 0, 0);
    struct carrick_vi *opening;

    cr_assert_eq(a->host->vi_open(a->host, 7, &opening), CARRICK_OK);
    cr_assert_eq(a->host->post(opening, &op, 1), CARRICK_ERR_STATE,
                 "the partner has not opened it");
    cr_assert_eq(a->host->vi_close(vi), CARRICK_OK);
    cr_assert_eq(a->host->post(vi, &op, 1), CARRICK_ERR_STATE, "it is being closed");
    cr_assert_eq(a->host->vi_close(vi), CARRICK_ERR_STATE);
    fake_run_ms(50);
    cr_assert_eq(a->completed, 0);
}

Test(vi_post, a_region_in_use_cannot_be_destroyed)
{
    fake_hold("a0", true, true);
    cr_assert_eq(write_at(0, 8, 0), CARRICK_OK);
    cr_assert_eq(a->host->region_destroy(local), CARRICK_ERR_STATE);
    fake_go("a0");
    FAKE_UNTIL(a->completed == 1);
    cr_assert_eq(a->host->region_destroy(local), CARRICK_OK);
    // What the partner's client asked for is not the client's to destroy.
    cr_assert_eq(b->host->region_destroy(b->info.here[0]), CARRICK_ERR_INVALID);
}
