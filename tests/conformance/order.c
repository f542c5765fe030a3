// SPDX-License-Identifier: Apache-2.0
//
// What follows what: writes before the send behind them, a flush behind all, completions in order.
#include "rig.h"

#include <string.h>

#define SLOT_BYTES 4096u
#define ROUNDS 64u

struct watch {
    struct rig_region *target;
    unsigned wrong;
    uint64_t bytes; // of a slot
};

// The message is the number of the slot that was written before it.
static void slot_is_written(struct rig_end *end, const void *data, uint32_t bytes)
{
    struct watch *watch = end->arg;
    uint32_t number;

    cr_assert(bytes == sizeof(number));
    memcpy(&number, data, sizeof(number));
    if (!rig_filled(watch->target, number % 16 * watch->bytes, watch->bytes, number))
        watch->wrong++;
}

static void write_then_send(struct rig *rig, uint64_t bytes)
{
    struct rig_pair pair = rig_pair(rig, 16 * bytes + RIG_PAGE);
    struct watch watch = {.target = pair.region[1], .bytes = bytes};

    pair.end[1]->on_receive = slot_is_written;
    pair.end[1]->arg = &watch;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint64_t slot = i % 16 * bytes;

        // A slot is written again only when its message was taken.
        WAIT(rig, pair.end[1]->messages_count + 16 > i && pair.end[0]->completions + 12 > 2 * i);
        rig_fill(pair.region[0], slot, bytes, i);
        memcpy(pair.region[0]->memory + 16 * bytes + i % 16 * sizeof(i), &i, sizeof(i));
        rig_post(pair.end[0], rig_write(pair.region[0], slot, bytes, pair.region[1], slot));
        rig_post(pair.end[0], rig_send(pair.region[0], 16 * bytes + i % 16 * sizeof(i), sizeof(i)));
        WAIT(rig, pair.end[0]->completed + 12 > 2 * i);
    }
    WAIT(rig, pair.end[1]->messages_count == ROUNDS);
    CHECK(rig, watch.wrong == 0, "%u messages came before what was written ahead of them",
          watch.wrong);
    for (uint32_t i = 0; i < ROUNDS; i++)
        CHECK(rig, memcmp(pair.end[1]->messages[i].data, &i, sizeof(i)) == 0,
              "message %u is not where it belongs", i);
}

CASE(order, small_write_then_send)
{
    write_then_send(rig, 64);
}

CASE(order, page_write_then_send)
{
    write_then_send(rig, RIG_PAGE);
}

CASE(order, large_write_then_send)
{
    write_then_send(rig, 300 * 1000);
}

static void flushed_is_there(struct rig_end *end, uint32_t number, int32_t status)
{
    struct watch *watch = end->arg;

    // Three writes and a flush, again and again.
    if (status != CARRICK_OK || number % 4 != 3)
        return;
    for (uint32_t i = number - 3; i < number; i++) {
        if (!rig_filled(watch->target, i % 16 * watch->bytes, watch->bytes, i))
            watch->wrong++;
    }
}

CASE(order, flush_proves)
{
    struct rig_pair pair = rig_pair(rig, 16 * SLOT_BYTES);
    struct watch watch = {.target = pair.region[1], .bytes = SLOT_BYTES};

    // The connector's first send, if there was one, is not counted.
    while (pair.end[0]->posted % 4 != 0)
        rig_do(pair.end[0], rig_flush());
    pair.end[0]->on_completion = flushed_is_there;
    pair.end[0]->arg = &watch;
    for (uint32_t i = pair.end[0]->posted; i < 4 * ROUNDS; i++) {
        uint32_t slot = i % 16 * SLOT_BYTES;

        WAIT(rig, pair.end[0]->completed + 12 > i);
        rig_fill(pair.region[0], slot, SLOT_BYTES, i);
        rig_post(pair.end[0],
                 i % 4 == 3 ? rig_flush()
                            : rig_write(pair.region[0], slot, SLOT_BYTES, pair.region[1], slot));
    }
    WAIT(rig, pair.end[0]->completed == pair.end[0]->posted);
    CHECK(rig, watch.wrong == 0, "%u writes were not there when their flush completed",
          watch.wrong);
}

static void written_is_there(struct rig_end *end, uint32_t number, int32_t status)
{
    struct watch *watch = end->arg;

    if (status == CARRICK_OK &&
        !rig_filled(watch->target, number % 16 * watch->bytes, watch->bytes, number))
        watch->wrong++;
}

// Where the device says so, a completed write is there without any flush.
CASE(order, completion_proves)
{
    struct rig_pair pair;
    struct watch watch = {.bytes = SLOT_BYTES};

    if (rig->node[0].caps.proof != CARRICK_PROOF_REMOTE)
        return;
    pair = rig_pair(rig, 16 * SLOT_BYTES);
    watch.target = pair.region[1];
    pair.end[0]->on_completion = written_is_there;
    pair.end[0]->arg = &watch;
    for (uint32_t i = pair.end[0]->posted; i < ROUNDS; i++) {
        uint32_t slot = i % 16 * SLOT_BYTES;

        WAIT(rig, pair.end[0]->completed + 12 > i);
        rig_fill(pair.region[0], slot, SLOT_BYTES, i);
        rig_post(pair.end[0], rig_write(pair.region[0], slot, SLOT_BYTES, pair.region[1], slot));
    }
    WAIT(rig, pair.end[0]->completed == pair.end[0]->posted);
    CHECK(rig, watch.wrong == 0);
}

// A read sees what was written ahead of it on the same endpoint.
CASE(order, read_after_write)
{
    struct rig_pair pair = rig_pair(rig, 4 * RIG_MIB);

    for (unsigned i = 0; i < 8; i++) {
        uint64_t bytes = i % 2 == 0 ? 777 : RIG_MIB;

        rig_fill(pair.region[0], 0, bytes, i);
        rig_post(pair.end[0], rig_write(pair.region[0], 0, bytes, pair.region[1], RIG_MIB));
        rig_do(pair.end[0], rig_read(pair.region[0], 2 * RIG_MIB, bytes, pair.region[1], RIG_MIB));
        CHECK(rig, memcmp(pair.region[0]->memory, pair.region[0]->memory + 2 * (size_t)RIG_MIB,
                          bytes) == 0);
    }
}

// The same bytes written again and again: the last one posted stays.
CASE(order, last_write_stays)
{
    struct rig_pair pair = rig_pair(rig, 32 * RIG_PAGE);

    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 10; i++) {
            uint64_t from = i * 2 * (uint64_t)RIG_PAGE;
            uint64_t bytes = 1 + rig_random(rig, 2 * RIG_PAGE);

            memset(pair.region[0]->memory + from, (int)(round * 10 + i), 2 * (size_t)RIG_PAGE);
            rig_post(pair.end[0], rig_write(pair.region[0], from, i == 9 ? 2 * RIG_PAGE : bytes,
                                            pair.region[1], 0));
        }
        rig_do(pair.end[0], rig_flush());
        CHECK(rig, rig_all(pair.region[1], 0, 2 * RIG_PAGE, (uint8_t)(round * 10 + 9)));
    }
}

// Both ways at once, everything mixed; the rig checks that completions come in order.
CASE(order, both_ways_mixed)
{
    struct rig_pair pair = rig_pair(rig, RIG_MIB);

    for (unsigned i = 0; i < 300; i++) {
        struct rig_end *end = pair.end[i % 2];
        struct rig_region *here = pair.region[i % 2], *there = pair.region[1 - i % 2];
        uint64_t at = rig_random(rig, 1000), bytes = rig_random(rig, 60000);
        struct carrick_work work;

        switch (rig_random(rig, 4)) {
        case 0:
            work = rig_write(here, at, bytes, there, 100000 + at);
            break;
        case 1:
            work = rig_read(here, 500000 + at, bytes, there, at);
            break;
        case 2:
            work = rig_send(here, at, bytes % 4096);
            break;
        default:
            work = rig_flush();
            break;
        }
        rig_post(end, work);
        WAIT(rig, end->posted - end->completed < 12 &&
                      end->posted - end->completed < rig->node[0].caps.max_reads);
        CHECK(rig, !end->disconnected);
    }
    WAIT(rig, pair.end[0]->completed == pair.end[0]->posted &&
                  pair.end[1]->completed == pair.end[1]->posted);
}
