// SPDX-License-Identifier: Apache-2.0
//
// The fence: after CLOSED nothing of the endpoint touches memory here any more, neither a late write of the partner
// nor a late answer to our own read; after DEREGISTERED nobody reaches the region.
#include "rig.h"

#include <stdlib.h>
#include <string.h>

#define BLOCKS 16u
#define BLOCK_BYTES 150000u // more than a transport takes in at one time

// Writes on and on, each block again and again with another value, as long as the endpoint takes it.
static void hammer(struct rig_pair *pair, unsigned *value)
{
    for (unsigned i = 0; i < BLOCKS; i++) {
        unsigned block = (*value)++ % BLOCKS;
        struct carrick_work work =
            rig_write(pair->region[0], (uint64_t)block * BLOCK_BYTES, BLOCK_BYTES, pair->region[1],
                      (uint64_t)block * BLOCK_BYTES);

        memset(pair->region[0]->memory + (size_t)block * BLOCK_BYTES, (int)*value, BLOCK_BYTES);
        if (rig_try_post(pair->end[0], &work, 1) != CARRICK_OK)
            return;
    }
}

static uint8_t *copy_of(const struct rig_region *region)
{
    uint8_t *copy = malloc(region->bytes);

    cr_assert(copy != NULL);
    memcpy(copy, region->memory, region->bytes);
    return copy;
}

static void same(struct rig *rig, const struct rig_region *region, const uint8_t *copy,
                 const char *when)
{
    for (uint64_t i = 0; i < region->bytes; i++)
        CHECK(rig, region->memory[i] == copy[i], "byte %llu changed after %s",
              (unsigned long long)i, when);
}

CASE(fence, late_writes)
{
    struct rig_pair pair = rig_pair(rig, BLOCKS * BLOCK_BYTES);
    unsigned value = 0;

    for (unsigned rounds = 0; rounds < 40; rounds += rig_rounds_step(rig)) {
        uint8_t *copy;

        if (rounds > 0)
            rig_join(rig, &pair);
        for (unsigned i = 0; i < 3; i++) {
            hammer(&pair, &value);
            rig_rounds(rig, rounds / 8);
        }
        hammer(&pair, &value);
        rig_rounds(rig, rounds % 8);
        rig_end_close(pair.end[1], rounds % 2 == 0);
        hammer(&pair, &value);
        WAIT(rig, pair.end[1]->closed);
        copy = copy_of(pair.region[1]);
        hammer(&pair, &value);
        WAIT(rig, pair.end[0]->disconnected);
        same(rig, pair.region[1], copy, "CLOSED");
        rig_end_close_wait(pair.end[0], rounds % 4 < 2);
        rig_drain(rig);
        same(rig, pair.region[1], copy, "CLOSED");
        free(copy);
    }
}

// The writer's side is told CLOSED: what it posted lands at the partner or does not, but its own buffers are free,
// and what it writes there now must not be sent any more.
CASE(fence, freed_source)
{
    struct rig_pair pair = rig_pair(rig, BLOCKS * BLOCK_BYTES);

    for (unsigned rounds = 0; rounds < 20; rounds += rig_rounds_step(rig)) {
        if (rounds > 0)
            rig_join(rig, &pair);
        memset(pair.region[0]->memory, 1, pair.region[0]->bytes);
        for (unsigned i = 0; i < 12; i++)
            rig_post(pair.end[0], rig_write(pair.region[0], (uint64_t)i * BLOCK_BYTES, BLOCK_BYTES,
                                            pair.region[1], (uint64_t)i * BLOCK_BYTES));
        rig_rounds(rig, rounds / 2);
        rig_end_close_wait(pair.end[0], rounds % 2 == 0);
        memset(pair.region[0]->memory, 2, pair.region[0]->bytes);
        WAIT(rig, pair.end[1]->disconnected);
        rig_end_close_wait(pair.end[1], false);
        for (uint64_t i = 0; i < pair.region[1]->bytes; i++)
            CHECK(rig, pair.region[1]->memory[i] != 2, "byte %llu was sent after CLOSED",
                  (unsigned long long)i);
    }
}

CASE(fence, late_read_answers)
{
    struct rig_pair pair = rig_pair(rig, 3 * RIG_MIB);
    uint32_t reads = rig->node[0].caps.max_reads;

    if (reads > 8)
        reads = 8;
    memset(pair.region[1]->memory, 0x33, 3 * (size_t)RIG_MIB);
    for (unsigned rounds = 0; rounds < 40; rounds += rig_rounds_step(rig)) {
        if (rounds > 0)
            rig_join(rig, &pair);
        memset(pair.region[0]->memory, 0, 3 * (size_t)RIG_MIB);
        for (unsigned i = 0; i < reads; i++)
            rig_post(pair.end[0], rig_read(pair.region[0], i * 100000, 300000, pair.region[1], i));
        rig_rounds(rig, rounds / 2);
        rig_end_close_wait(pair.end[0], rounds % 2 == 0);
        memset(pair.region[0]->memory, 0xee, 3 * (size_t)RIG_MIB);
        WAIT(rig, pair.end[1]->disconnected);
        CHECK(rig, rig_all(pair.region[0], 0, 3 * RIG_MIB, 0xee), "an answer came after CLOSED");
        rig_end_close_wait(pair.end[1], false);
        rig_drain(rig);
        CHECK(rig, rig_all(pair.region[0], 0, 3 * RIG_MIB, 0xee), "an answer came after CLOSED");
    }
}

// A region ends while the partner writes to it: no byte changes after DEREGISTERED, and the partner's endpoint is lost.
CASE(fence, deregistered_amid_writes)
{
    struct rig_domain *domain[2] = {rig_domain(rig, 0), rig_domain(rig, 1)};
    struct rig_pair pair = {.domain = {domain[0], domain[1]}};
    unsigned value = 0;

    pair.region[0] = rig_region(domain[0], BLOCKS * BLOCK_BYTES, CARRICK_ACCESS_LOCAL);
    for (unsigned rounds = 0; rounds < 16; rounds += rig_rounds_step(rig)) {
        uint8_t *copy;

        pair.region[1] = rig_region(domain[1], BLOCKS * BLOCK_BYTES, CARRICK_ACCESS_REMOTE_WRITE);
        rig_join(rig, &pair);
        hammer(&pair, &value);
        rig_rounds(rig, rounds);
        hammer(&pair, &value);
        rig_deregister(pair.region[1]);
        copy = copy_of(pair.region[1]);
        while (!pair.end[0]->disconnected) {
            hammer(&pair, &value);
            WAIT(rig, pair.end[0]->disconnected || pair.end[0]->completions == pair.end[0]->posted);
        }
        WAIT(rig, pair.end[1]->disconnected);
        same(rig, pair.region[1], copy, "DEREGISTERED");
        rig_pair_close(&pair);
        same(rig, pair.region[1], copy, "DEREGISTERED");
        free(copy);
    }
}

// A new endpoint to the same memory does not let the old one through.
CASE(fence, successor)
{
    struct rig_pair old = rig_pair(rig, BLOCKS * BLOCK_BYTES);
    unsigned value = 0;

    for (unsigned rounds = 0; rounds < 20; rounds += rig_rounds_step(rig)) {
        struct rig_pair next = {.domain = {old.domain[0], old.domain[1]},
                                .region = {old.region[0], old.region[1]}};

        hammer(&old, &value);
        rig_rounds(rig, rounds / 2);
        hammer(&old, &value);
        rig_end_close_wait(old.end[1], false);
        // Only now may the new path write; what it writes stays.
        rig_join(rig, &next);
        memset(old.region[0]->memory, 0xfe, BLOCKS * BLOCK_BYTES);
        rig_post(next.end[0],
                 rig_write(next.region[0], 0, BLOCKS * BLOCK_BYTES, next.region[1], 0));
        rig_do(next.end[0], rig_flush());
        WAIT(rig, old.end[0]->disconnected);
        rig_end_close_wait(old.end[0], false);
        rig_do(next.end[0], rig_flush());
        CHECK(rig, rig_all(next.region[1], 0, BLOCKS * BLOCK_BYTES, 0xfe),
              "the old endpoint wrote after the new one");
        old = next;
    }
}
