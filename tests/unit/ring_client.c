// SPDX-License-Identifier: Apache-2.0
// needs plugin: shelf
//
// The block client and the shelf's front against each other: both forms, back-pressure, refusals, and the end.
#include "tests/unit/block_world.h"

#include <sched.h>
#include <stdatomic.h>

TestSuite(ring_client, .timeout = 60);

static void fill(unsigned char *buffer, size_t length, unsigned seed)
{
    for (size_t i = 0; i < length; i++)
        buffer[i] = (unsigned char)(seed + i * 7 + (i >> 8));
}

Test(ring_client, what_is_written_is_read)
{
    struct world w;
    world_start(&w, 0, 0);
    struct carrick_block *b = world_connect(&w);
    static const size_t lengths[] = {1, 512, 4096, 4097, 256 << 10, (256 << 10) + 1, 3 << 20};
    unsigned char *out = malloc(3 << 20), *in = malloc(3 << 20);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        fill(out, lengths[i], (unsigned)i);
        cr_assert_eq(carrick_block_pwrite(b, out, lengths[i], 511 * i, 0), 0);
        memset(in, 0xee, lengths[i]);
        cr_assert_eq(carrick_block_pread(b, in, lengths[i], 511 * i), 0);
        cr_assert_eq(memcmp(in, out, lengths[i]), 0, "length %zu", lengths[i]);
    }
    cr_assert_eq(carrick_block_zero(b, 4096, 0, 0), 0);
    cr_assert_eq(carrick_block_pread(b, in, 4096, 0), 0);
    for (int i = 0; i < 4096; i++)
        cr_assert_eq(in[i], 0);
    struct carrick_block_info info = {.struct_size = sizeof(info)};
    carrick_block_get_info(b, &info);
    cr_assert_eq(info.bytes, WORLD_BYTES);
    carrick_block_close(b);
    world_stop(&w);
    free(out);
    free(in);
}

Test(ring_client, each_call_reaches_the_shelf_as_what_it_is)
{
    struct world w;
    world_start(&w, 0, 0);
    struct carrick_block *b = world_connect(&w);
    unsigned char data[512] = {1};
    cr_assert_eq(carrick_block_pwrite(b, data, 512, 0, CARRICK_BLOCK_FUA), 0);
    cr_assert_eq(carrick_block_flush(b), 0);
    cr_assert_eq(carrick_block_trim(b, 512, 0, CARRICK_BLOCK_FUA), 0);
    cr_assert_eq(carrick_block_zero(b, 512, 0, 0), 0);
    cr_assert_eq(carrick_block_pread(b, data, 512, 0), 0);
    carrick_block_close(b);
    for (int operation = CARRICK_BLOCK_READ; operation <= CARRICK_BLOCK_ZERO; operation++)
        cr_assert_eq(w.shelves.operations[operation], 1, "operation %d", operation);
    cr_assert_eq(w.shelves.fua, 2);
    world_stop(&w);
}

Test(ring_client, bounds_and_errors_of_the_disk_are_told)
{
    struct world w;
    world_start(&w, 0, 0);
    struct carrick_block *b = world_connect(&w);
    unsigned char data[4096] = {0};
    cr_assert_eq(carrick_block_pread(b, data, 4096, WORLD_BYTES - 4095), EINVAL);
    cr_assert_eq(carrick_block_pwrite(b, data, 4096, WORLD_BYTES - 4095, 0), ENOSPC);
    cr_assert_eq(carrick_block_pwrite(b, data, 4096, UINT64_MAX - 100, 0), ENOSPC);
    cr_assert_eq(carrick_block_pwrite(b, data, 4096, 0, 0x80), EINVAL);
    w.shelves.fail_errno = EIO;
    cr_assert_eq(carrick_block_pwrite(b, data, 4096, 0, 0), EIO);
    cr_assert_eq(carrick_block_pread(b, data, 4096, 0), 0);
    carrick_block_close(b);
    world_stop(&w);
}

struct hand {
    struct carrick_block *block;
    unsigned number, rounds;
    pthread_t thread;
    int error;
};

// Each writes and checks a stripe of its own.
static void *hand_run(void *arg)
{
    struct hand *h = arg;
    unsigned char out[6000], in[6000];
    for (unsigned i = 0; i < h->rounds && !h->error; i++) {
        uint64_t at = h->number * 65536u + (i * 512) % 32768;
        size_t length = 1 + (h->number * 977 + i * 131) % sizeof(out);
        fill(out, length, h->number * 31 + i);
        h->error = carrick_block_pwrite(h->block, out, length, at, 0);
        if (!h->error)
            h->error = carrick_block_pread(h->block, in, length, at);
        if (!h->error && memcmp(in, out, length) != 0)
            h->error = EILSEQ;
    }
    return NULL;
}

static void hands(uint32_t slots, uint32_t room, unsigned count)
{
    struct world w;
    struct hand h[24] = {{0}};
    world_start(&w, 0, slots);
    w.shelves.pending_max = room;
    struct carrick_block *b = world_connect(&w);
    for (unsigned i = 0; i < count; i++) {
        h[i] = (struct hand){.block = b, .number = i, .rounds = 300};
        cr_assert_eq(pthread_create(&h[i].thread, NULL, hand_run, &h[i]), 0);
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(h[i].thread, NULL);
        cr_assert_eq(h[i].error, 0, "thread %u: %s", i, strerror(h[i].error));
    }
    carrick_block_close(b);
    cr_assert(room >= count || w.shelves.agains > 0);
    world_stop(&w);
}

Test(ring_client, many_threads_at_once)
{
    hands(64, 1000, 24);
}

Test(ring_client, more_threads_than_slots)
{
    hands(2, 1000, 8);
}

Test(ring_client, a_shelf_without_room_holds_requests_back)
{
    hands(64, 2, 12);
}

// Whoever takes the answers for all leaves when its own has come; another one must take over.
Test(ring_client, a_thread_that_leads_hands_on)
{
    struct world w;
    struct hand h[4] = {{0}};
    world_start(&w, 0, 0);
    w.shelves.delay_ns = 30000000;
    struct carrick_block *b = world_connect(&w);
    for (int round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 4; i++) {
            h[i] = (struct hand){.block = b, .number = i, .rounds = 1};
            cr_assert_eq(pthread_create(&h[i].thread, NULL, hand_run, &h[i]), 0);
        }
        for (unsigned i = 0; i < 4; i++) {
            pthread_join(h[i].thread, NULL);
            cr_assert_eq(h[i].error, 0);
        }
    }
    carrick_block_close(b);
    world_stop(&w);
}

// Neither end may fall asleep over something that has come since it last looked.
Test(ring_client, nobody_falls_asleep_over_an_entry)
{
    struct ring r = {.memory = calloc(1, ring_bytes(4, 4096)), .slots = 4, .slot_bytes = 4096};
    struct ring_request request = {.operation = CARRICK_BLOCK_FLUSH}, got;
    uint32_t tail = 0, head = 0;
    cr_assert_not(
        ring_fall_asleep(&r, RING_SERVER_SLEEPS, RING_SLEEPS_ON_SOCKET, RING_REQUEST_TAIL, head));
    ring_put_request(&r, &tail, &request);
    cr_assert_eq(ring_must_wake(&r, RING_SERVER_SLEEPS), RING_SLEEPS_ON_SOCKET);
    cr_assert_eq(ring_must_wake(&r, RING_SERVER_SLEEPS), RING_AWAKE, "woken twice");
    cr_assert(
        ring_fall_asleep(&r, RING_SERVER_SLEEPS, RING_SLEEPS_ON_SOCKET, RING_REQUEST_TAIL, head));
    cr_assert_eq(ring_must_wake(&r, RING_SERVER_SLEEPS), RING_AWAKE);
    cr_assert_eq(ring_take_request(&r, &head, &got), 1);
    cr_assert_not(
        ring_fall_asleep(&r, RING_SERVER_SLEEPS, RING_SLEEPS_ON_SOCKET, RING_REQUEST_TAIL, head));
    free(r.memory);
}

static void over_count(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
}

// Requests that no answer will come for end, and nothing is answered afterwards.
Test(ring_client, a_closed_export_ends_every_call)
{
    struct world w;
    struct hand h[12] = {{0}};
    _Atomic int told = 0;
    world_start(&w, 0, 8);
    world_do(&w, world_stuck_order);
    struct carrick_block *b = world_connect(&w);
    cr_assert_eq(carrick_block_on_over(b, over_count, (void *)&told), 0);
    cr_assert_eq(carrick_block_on_over(b, over_count, (void *)&told), EALREADY);
    for (unsigned i = 0; i < 12; i++) {
        h[i] = (struct hand){.block = b, .number = i, .rounds = 1};
        cr_assert_eq(pthread_create(&h[i].thread, NULL, hand_run, &h[i]), 0);
    }
    cr_assert_eq(told, 0);
    cr_assert_not(carrick_block_is_over(b));
    world_do(&w, world_close_order);
    for (unsigned i = 0; i < 12; i++) {
        pthread_join(h[i].thread, NULL);
        cr_assert_eq(h[i].error, ESHUTDOWN, "thread %u: %s", i, strerror(h[i].error));
    }
    cr_assert(carrick_block_is_over(b));
    unsigned char data[512];
    cr_assert_eq(carrick_block_pread(b, data, 512, 0), ESHUTDOWN);
    cr_assert_eq(carrick_block_flush(b), ESHUTDOWN);
    while (told == 0)
        sched_yield();
    carrick_block_close(b);
    cr_assert_eq(told, 1);
    world_stop(&w);
}

Test(ring_client, refusals_say_why)
{
    struct world w;
    world_start(&w, 1, 0);
    struct carrick_block *b = NULL, *first;
    struct carrick_error error = {.struct_size = sizeof(error)};
    cr_assert_eq(carrick_block_connect(w.path, "disk9", 0, &b, &error), CARRICK_ERR_NOT_FOUND);
    cr_assert_not_null(strstr(error.text, "disk9"));
    // Refused connections hold no place.
    first = world_connect(&w);
    cr_assert_eq(carrick_block_connect(w.path, "disk1", 0, &b, &error), CARRICK_ERR_LIMIT);
    carrick_block_close(first);
    cr_assert_eq(carrick_block_connect("/nowhere/block", "disk1", 0, &b, &error),
                 CARRICK_ERR_SYSTEM);
    cr_assert_eq(error.sys_errno, ENOENT);
    world_do(&w, world_close_order);
    int status;
    // The place of the first is free when the daemon has seen it go.
    while ((status = carrick_block_connect(w.path, "disk1", 0, &b, &error)) == CARRICK_ERR_LIMIT)
        sched_yield();
    cr_assert_eq(status, CARRICK_ERR_STATE);
    cr_assert_not_null(strstr(error.text, "beta"), "%s", error.text);
    world_stop(&w);
}

// ---- the form with a descriptor

static int reap_all(struct carrick_block *b, struct carrick_block_result *results, int wanted)
{
    int have = 0;
    while (have < wanted) {
        int got = carrick_block_reap(b, results + have, wanted - have);
        if (got < 0)
            return got;
        have += got;
        struct pollfd wait = {.fd = carrick_block_descriptor(b), .events = POLLIN};
        if (got == 0)
            cr_assert_eq(poll(&wait, 1, 20000), 1, "nothing woke the descriptor");
    }
    return have;
}

Test(ring_client, requests_and_answers_by_descriptor)
{
    struct world w;
    world_start(&w, 0, 16);
    w.shelves.delay_ns = 200000;
    struct carrick_block *b = NULL;
    struct carrick_error error = {.struct_size = sizeof(error)};
    cr_assert_eq(carrick_block_connect_async(w.path, "disk1", 0, &b, &error), 0);
    static unsigned char data[16][4096], back[16][4096];
    struct carrick_block_result results[16];
    struct carrick_block_request r = {.struct_size = sizeof(r), .length = 4096};
    for (unsigned round = 0; round < 50; round++) {
        for (int read = 0; read < 2; read++) {
            uint32_t seen = 0;
            for (unsigned i = 0; i < 16; i++) {
                fill(data[i], 4096, i + round);
                r.operation = read ? CARRICK_BLOCK_READ : CARRICK_BLOCK_WRITE;
                r.data = read ? back[i] : data[i];
                r.offset = i * 8192;
                r.cookie = i;
                cr_assert_eq(carrick_block_submit(b, &r), 0);
            }
            cr_assert_eq(carrick_block_submit(b, &r), EAGAIN);
            cr_assert_eq(reap_all(b, results, 16), 16);
            for (int i = 0; i < 16; i++) {
                cr_assert_eq(results[i].error, 0);
                seen |= 1u << results[i].cookie;
            }
            cr_assert_eq(seen, 0xffff);
        }
        cr_assert_eq(memcmp(data, back, sizeof(data)), 0);
    }
    r.length = (256 << 10) + 1;
    cr_assert_eq(carrick_block_submit(b, &r), EMSGSIZE);
    cr_assert_eq(carrick_block_flush(b), EINVAL);
    carrick_block_close(b);
    world_stop(&w);
}

Test(ring_client, the_descriptor_tells_the_end)
{
    struct world w;
    world_start(&w, 0, 16);
    world_do(&w, world_stuck_order);
    struct carrick_block *b = NULL;
    struct carrick_error error = {.struct_size = sizeof(error)};
    struct carrick_block_result result;
    cr_assert_eq(carrick_block_connect_async(w.path, "disk1", 0, &b, &error), 0);
    struct carrick_block_request r = {.struct_size = sizeof(r), .operation = CARRICK_BLOCK_FLUSH};
    cr_assert_eq(carrick_block_submit(b, &r), 0);
    cr_assert_eq(carrick_block_reap(b, &result, 1), 0);
    world_do(&w, world_close_order);
    cr_assert_eq(reap_all(b, &result, 1), -ESHUTDOWN);
    cr_assert_eq(carrick_block_submit(b, &r), ESHUTDOWN);
    carrick_block_close(b);
    world_stop(&w);
}
