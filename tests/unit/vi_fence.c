// SPDX-License-Identifier: Apache-2.0
//
// A link fails with operations in every state. What the partner confirms is not posted again, what it does not is; reads
// are always read again; sends arrive once and in order; and nothing is posted before both ends are closed.
#include "tests/unit/fake_world.h"

static struct carrick_client *a, *b;
static struct carrick_region *local;
static uint8_t *memory;

#define MIB (1u << 20)
#define READ_AT 2048u // of the local region: where reads go

static void start(unsigned links, uint64_t there_bytes)
{
    a = fake_client("a", "echo");
    b = fake_client("b", "echo");
    fake.links = links;
    a->vis = 2;
    fake_want(a, there_bytes, FAKE_RW);
    fake_want(b, 4096, FAKE_RW);
    fake_start_up();
    local = fake_region(a, there_bytes);
    memory = fake_memory(a, local);
    fake_run_ms(10);
    cr_assert_eq(fake_vi(a, 0)->lane->conn->link->index, 0, "the policy takes the first link");
}

TestSuite(vi_fence, .fini = fake_end);

// Operation i of the mix has a length of its own, by which it is known on the wire.
static const uint32_t mix[] = {CARRICK_CLIENT_WRITE, CARRICK_CLIENT_SEND, CARRICK_CLIENT_WRITE,
                               CARRICK_CLIENT_READ,  CARRICK_CLIENT_SEND, CARRICK_CLIENT_WRITE,
                               CARRICK_CLIENT_WRITE, CARRICK_CLIENT_READ};
#define MIX ((unsigned)(sizeof(mix) / sizeof(mix[0])))

static uint64_t mix_length(unsigned i)
{
    return 20 + i;
}

static void mix_post(void)
{
    struct carrick_op ops[MIX];

    for (unsigned i = 0; i < MIX; i++) {
        bool read = mix[i] == CARRICK_CLIENT_READ;

        ops[i] = fake_op(mix[i], i, local, (read ? READ_AT : 0) + i * 64, mix_length(i), 0, i * 64);
        ops[i].data = memory + i * 64;
    }
    cr_assert_eq(a->host->post(a->vi[0], ops, MIX), CARRICK_OK);
}

static unsigned carried(unsigned i)
{
    static const uint32_t wire[] = {[CARRICK_CLIENT_WRITE] = CARRICK_OP_WRITE,
                                    [CARRICK_CLIENT_READ] = CARRICK_OP_READ,
                                    [CARRICK_CLIENT_SEND] = CARRICK_OP_SEND};

    return fake_posted("a1", wire[mix[i]],
                       mix_length(i) + (mix[i] == CARRICK_CLIENT_SEND ? SEND_HEADER_BYTES : 0));
}

// Below this number nothing may be posted again but reads.
static unsigned confirmed(unsigned applied, bool counted)
{
    unsigned confirmed_sends = 0;

    for (unsigned i = 0; i < applied; i++)
        if (mix[i] == CARRICK_CLIENT_SEND)
            confirmed_sends = i + 1;
    return counted ? applied : confirmed_sends;
}

static void mix_check(unsigned applied, unsigned completed, unsigned from)
{
    unsigned sends = 0;
    int status;

    FAKE_UNTIL(a->completed == MIX);
    fake_run_ms(100);
    cr_assert_eq(a->completed, MIX, "completed twice");
    for (unsigned i = 0; i < MIX; i++) {
        bool again = mix[i] == CARRICK_CLIENT_READ ? i >= completed : i >= from;

        cr_assert_eq(a->completion[i].cookie, i, "out of order");
        cr_assert_eq(fake_done(a, i, &status), 1);
        cr_assert_eq(status, CARRICK_OK);
        cr_assert_eq(carried(i), again ? 1 : 0,
                     "operation %u was posted again %u times; %u applied, %u completed", i,
                     carried(i), applied, completed);
        if (mix[i] == CARRICK_CLIENT_WRITE)
            cr_assert_arr_eq(fake_here(b, 0) + i * 64, memory + i * 64, mix_length(i));
        if (mix[i] == CARRICK_CLIENT_READ)
            cr_assert_arr_eq(memory + READ_AT + i * 64, fake_here(b, 0) + i * 64, mix_length(i));
        if (mix[i] == CARRICK_CLIENT_SEND) {
            cr_assert_eq(b->message[sends].length, mix_length(i));
            cr_assert_arr_eq(b->message[sends++].bytes, memory + i * 64, mix_length(i));
        }
    }
    cr_assert_eq(b->received, sends, "a send was lost or came twice");
    cr_assert_eq(a->host->region_destroy(local), CARRICK_OK);
}

static void mix_run(unsigned applied, unsigned completed, bool counted)
{
    start(2, 4096);
    for (unsigned i = 0; i < READ_AT; i++)
        memory[i] = (uint8_t)(i * 7 + 1);
    memset(fake_here(b, 0), 'h', 4096);
    fake_hold("a0", true, true);
    mix_post();
    fake_let("a0", applied, completed);
    fake_run_ms(1);
    fake_reset("a0");
    mix_check(applied, completed, confirmed(applied, counted));
    fake_end();
    memset(a, 0, sizeof(*a));
    memset(b, 0, sizeof(*b));
}

Test(vi_fence, each_count_that_was_applied_and_completed)
{
    for (unsigned applied = 0; applied <= MIX; applied++)
        for (unsigned completed = 0; completed <= applied; completed++) {
            for (unsigned i = 0; i < fake_net.devices; i++)
                fake_net.device[i].posted = 0;
            mix_run(applied, completed, true);
        }
}

Test(vi_fence, each_count_where_the_transport_cannot_tell)
{
    for (unsigned applied = 0; applied <= MIX; applied++)
        for (unsigned completed = 0; completed <= applied; completed++) {
            fake_device("a0")->caps.flags = fake_device("b0")->caps.flags = 0;
            for (unsigned i = 0; i < fake_net.devices; i++)
                fake_net.device[i].posted = 0;
            // What has completed is done, whoever can tell what.
            unsigned from = confirmed(applied, false);

            start(2, 4096);
            for (unsigned i = 0; i < READ_AT; i++)
                memory[i] = (uint8_t)(i * 7 + 1);
            fake_hold("a0", true, true);
            mix_post();
            fake_let("a0", applied, completed);
            fake_run_ms(1);
            fake_reset("a0");
            mix_check(applied, completed, from > completed ? from : completed);
            fake_end();
            memset(a, 0, sizeof(*a));
            memset(b, 0, sizeof(*b));
        }
}

Test(vi_fence, replay_that_ignores_the_partner_is_seen)
{
    start(2, 4096);
    manager_break_replay(fake.a.manager);
    fake_hold("a0", true, true);
    mix_post();
    fake_let("a0", 6, 0);
    fake_run_ms(1);
    fake_reset("a0");
    FAKE_UNTIL(a->completed == MIX);
    cr_assert_eq(carried(0), 1, "the switch does nothing: then the tests here show nothing");
}

Test(vi_fence, silence_ends_a_link_and_the_rest_goes_by_the_other)
{
    start(2, 4096);
    fake_hold("a0", true, true);
    mix_post();
    fake_let("a0", 5, 2);
    fake_cut("a0");
    mix_check(5, 2, 5);
    cr_assert_eq(fake.a.manager->session.count, 1, "the session outlives the link");
    cr_assert(fake_logged("no answer within link_dead_ms"));
}

Test(vi_fence, with_one_link_it_goes_on_by_the_same)
{
    start(1, 4096);
    for (unsigned i = 0; i < READ_AT; i++)
        memory[i] = (uint8_t)(i * 7 + 1);
    fake_hold("a0", true, true);
    mix_post();
    fake_let("a0", 3, 1);
    fake_run_ms(1);
    fake_reset("a0");
    FAKE_UNTIL(a->completed == MIX);
    cr_assert_eq(fake.a.manager->session.count, 1);
    cr_assert_eq(fake_posted("a0", CARRICK_OP_WRITE, mix_length(0)), 1);
    cr_assert_eq(fake_posted("a0", CARRICK_OP_WRITE, mix_length(2)), 1, "applied, so not again");
    cr_assert_eq(fake_posted("a0", CARRICK_OP_WRITE, mix_length(5)), 2);
    cr_assert_eq(b->received, 2);
}

// ---- nothing before both ends are closed

static int32_t choose_last(const struct carrick_policy_input *input)
{
    for (int32_t i = (int32_t)input->link_count - 1; i >= 0; i--)
        if (carrick_policy_link_at(input, (uint32_t)i)->eligible)
            return i;
    return CARRICK_POLICY_NONE;
}

static void nothing_goes_while_closed_is_held(const char *device)
{
    start(2, 4096);
    fake_policy.choose = choose_last; // the first link may be back before the fence is over
    fake_hold("a0", true, true);
    mix_post();
    fake_device(device)->hold_closed = true;
    fake_reset("a0");
    fake_run_ms(200);
    cr_assert(fake_is_up(&fake.a) || !link_is_up(&fake.a.manager->links[0]));
    for (unsigned i = 0; i < MIX; i++)
        cr_assert_eq(carried(i), 0, "operation %u was posted again with the old path open", i);
    cr_assert_eq(a->completed, 0);
    cr_assert_eq(fake_vi(a, 0)->state, CARRICK_VI_STALLED);
    fake_let_closed(device);
    mix_check(0, 0, 0);
}

Test(vi_fence, nothing_goes_while_our_end_is_open)
{
    nothing_goes_while_closed_is_held("a0");
}

Test(vi_fence, nothing_goes_while_the_partners_end_is_open)
{
    nothing_goes_while_closed_is_held("b0");
}

Test(vi_fence, other_vis_are_not_disturbed)
{
    start(2, 4096);
    // The second VI goes by the other link.
    vi_place(fake_vi(a, 1), &fake.a.manager->links[1].current->lanes[0]);
    fake_device("b0")->hold_closed = true;
    fake_hold("a0", true, true);
    cr_assert_eq(fake_write(a, 0, 1, local, 0, 8, 0), CARRICK_OK);
    fake_reset("a0");
    for (unsigned i = 0; i < 20; i++)
        cr_assert_eq(fake_write(a, 1, 100 + i, local, 0, 8, 1024), CARRICK_OK);
    FAKE_UNTIL(a->completed == 20);
    cr_assert_eq(fake_done(a, 1, NULL), 0);
    // Only one that would overlap what is not settled has to wait for it.
    cr_assert_eq(fake_write(a, 1, 200, local, 0, 8, 4), CARRICK_OK);
    fake_run_ms(100);
    cr_assert_eq(fake_done(a, 200, NULL), 0);
    fake_let_closed("b0");
    FAKE_UNTIL(fake_done(a, 200, NULL) == 1 && fake_done(a, 1, NULL) == 1);
    cr_assert_lt(a->completion[20].cookie, 2, "the newer one came first");
}

// ---- parts

Test(vi_fence, of_a_long_write_only_the_rest_is_posted_again)
{
    start(2, 8u * MIB);
    for (unsigned i = 0; i < 8u * MIB; i++)
        memory[i] = (uint8_t)(i >> 9);
    fake_hold("a0", true, true);
    cr_assert_eq(fake_write(a, 0, 1, local, 0, 8u * MIB, 0), CARRICK_OK);
    fake_let("a0", 3, 1);
    fake_run_ms(1);
    fake_reset("a0");
    FAKE_UNTIL(a->completed == 1);
    cr_assert_arr_eq(fake_here(b, 0), memory, 8u * MIB);
    cr_assert_eq(fake_posted("a1", CARRICK_OP_WRITE, MIB), 5);
    cr_assert_eq(fake_vi(a, 0)->inflight, 0);
}

Test(vi_fence, a_long_read_goes_on_where_it_was)
{
    start(2, 8u * MIB);
    for (unsigned i = 0; i < 8u * MIB; i++)
        fake_here(b, 0)[i] = (uint8_t)(i >> 9);
    fake_hold("a0", true, true);
    cr_assert_eq(fake_read(a, 0, 1, local, 0, 8u * MIB, 0), CARRICK_OK);
    fake_let("a0", 3, 2);
    fake_run_ms(1);
    fake_reset("a0");
    FAKE_UNTIL(a->completed == 1);
    cr_assert_arr_eq(fake_here(b, 0), memory, 8u * MIB);
    cr_assert_eq(fake_posted("a1", CARRICK_OP_READ, MIB), 6, "read again is what had not come");
}

Test(vi_fence, failure_upon_failure)
{
    start(2, 8u * MIB);
    for (unsigned i = 0; i < 8u * MIB; i++)
        memory[i] = (uint8_t)(i * 11 >> 3);
    cr_assert_eq(fake_write(a, 0, 1, local, 0, 8u * MIB, 0), CARRICK_OK);
    for (unsigned i = 0; i < 40; i++)
        cr_assert_eq(fake_send(a, 1, 100 + i, &i, sizeof(i)), CARRICK_OK);
    for (unsigned i = 0; i < 20 && a->completed < 41; i++) {
        fake_hold("a0", true, true);
        fake_hold("a1", true, true);
        fake_let("a0", 2 + i % 3, i % 3);
        fake_let("a1", 2 + i % 2, i % 2);
        fake_run_ms(3);
        fake_reset(i % 2 == 0 ? "a0" : "a1");
        fake_run_ms(40);
        fake_go("a0");
        fake_go("a1");
        fake_run_ms(i * 3 % 20);
    }
    FAKE_UNTIL(a->completed == 41);
    cr_assert_arr_eq(fake_here(b, 0), memory, 8u * MIB);
    cr_assert_eq(b->received, 40);
    for (unsigned i = 0; i < 40; i++)
        cr_assert_eq(*(uint32_t *)b->message[i].bytes, i);
    cr_assert_eq(fake.a.manager->session.count, 1);
    cr_assert_eq(fake.a.manager->pool_free_count, POOL_BUFFERS);
}

// ---- where nothing is proven by a completion

Test(vi_fence, completed_and_not_proven_is_posted_again)
{
    for (unsigned i = 0; i < 4; i++) {
        const char *names[] = {"a0", "b0", "a1", "b1"};

        fake_device(names[i])->caps.proof = CARRICK_PROOF_LOCAL;
        fake_device(names[i])->caps.flags = 0;
    }
    start(2, 4096);
    memset(memory, 'n', 64);
    fake_hold("a0", true, false); // completes, but nothing arrives
    cr_assert_eq(fake_write(a, 0, 1, local, 0, 21, 0), CARRICK_OK);
    cr_assert_eq(fake_send(a, 0, 2, "once", 5), CARRICK_OK);
    fake_run_ms(5);
    cr_assert_eq(a->completed, 0);
    fake_reset("a0");
    FAKE_UNTIL(a->completed == 2);
    cr_assert_eq(fake_here(b, 0)[20], 'n');
    cr_assert_eq(fake_posted("a1", CARRICK_OP_WRITE, 21), 1);
    cr_assert_eq(b->received, 1);
}

// ---- what the target's manager had in its hands

Test(vi_fence, a_send_that_was_acknowledged_is_delivered)
{
    start(2, 4096);
    // The partner's manager is busy; meanwhile its control connection is lost, and behind that a send arrives, which its
    // transport acknowledges.
    fake.b.env.frozen = true;
    for (struct carrick_endpoint *e = fake_device("b0")->endpoints; e != NULL; e = e->next)
        if (e->domain == NULL)
            fake_lose(e, CARRICK_ERR_RESET);
    cr_assert_eq(fake_send(a, 0, 1, "first", 6), CARRICK_OK);
    FAKE_UNTIL(a->completed == 1);
    fake.b.env.frozen = false;
    FAKE_UNTIL(!link_is_up(&fake.a.manager->links[0]));
    cr_assert_eq(fake_send(a, 0, 2, "second", 7), CARRICK_OK);
    FAKE_UNTIL(a->completed == 2);
    FAKE_UNTIL(b->received == 2);
    cr_assert_str_eq((char *)b->message[0].bytes, "first");
    cr_assert_str_eq((char *)b->message[1].bytes, "second");
    cr_assert_eq(fake.a.manager->session.count, 1);
    cr_assert_eq(fake.b.manager->session.state, CARRICK_SESSION_UP);
}

Test(vi_fence, a_newer_value_never_goes_back)
{
    start(2, 4096);
    // Two writes to one place: the second waits, and comes after whatever becomes of the first.
    memory[0] = 1;
    memory[64] = 2;
    fake_hold("a0", true, true);
    cr_assert_eq(fake_write(a, 0, 1, local, 0, 1, 0), CARRICK_OK);
    cr_assert_eq(fake_write(a, 0, 2, local, 64, 1, 0), CARRICK_OK);
    fake_let("a0", 1, 0); // the first arrives, its completion does not
    fake_reset("a0");
    while (a->completed < 2) {
        static uint8_t newest;

        fake_run_ms(1);
        cr_assert_geq(fake_here(b, 0)[0], newest);
        newest = fake_here(b, 0)[0];
    }
    cr_assert_eq(fake_here(b, 0)[0], 2);
    cr_assert_eq(fake_posted("a1", CARRICK_OP_WRITE, 1), 1, "the first had been applied");
}

Test(vi_fence, clients_are_told_of_the_stall)
{
    start(2, 4096);
    fake_device("b0")->hold_closed = true;
    fake_reset("a0");
    FAKE_UNTIL(a->changes == 2);
    cr_assert_eq(a->change[0].state, CARRICK_VI_STALLED);
    cr_assert_eq(fake_write(a, 0, 1, local, 0, 8, 0), CARRICK_OK, "a stalled VI takes operations");
    fake_let_closed("b0");
    FAKE_UNTIL(a->changes == 4);
    cr_assert_eq(a->change[3].state, CARRICK_VI_OPEN);
    FAKE_UNTIL(a->completed == 1);
}

Test(vi_fence, a_stalled_vi_can_be_closed_once_the_fence_is_over)
{
    start(2, 4096);
    fake_device("b0")->hold_closed = true;
    fake_hold("a0", true, true);
    cr_assert_eq(fake_write(a, 0, 1, local, 0, 8, 0), CARRICK_OK);
    fake_reset("a0");
    fake_run_ms(10);
    cr_assert_eq(a->host->vi_close(a->vi[0]), CARRICK_OK);
    fake_run_ms(100);
    cr_assert_eq(a->completed, 0, "the old path can still take from the buffer");
    fake_let_closed("b0");
    FAKE_UNTIL(a->completed == 1);
    cr_assert_eq(a->completion[0].status, CARRICK_ERR_CANCELLED);
    FAKE_UNTIL(b->vi[0] == NULL);
    cr_assert_eq(fake_posted("a1", CARRICK_OP_WRITE, 8), 0);
}

Test(vi_fence, a_partner_that_never_confirms_ends_the_session)
{
    start(2, 4096);
    fake_hold("a0", true, true);
    cr_assert_eq(fake_write(a, 0, 1, local, 0, 8, 0), CARRICK_OK);
    fake_device("b0")->hold_closed = true;
    fake_reset("a0");
    fake_run_ms(20000);
    cr_assert_geq(a->endeds, 1, "VIs waited for ever");
    cr_assert_eq(fake_done(a, 1, NULL), 1);
    fake_let_closed("b0");
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
}
