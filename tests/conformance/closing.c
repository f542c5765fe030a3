// SPDX-License-Identifier: Apache-2.0
//
// How endpoints end: by either side, at any point, in order or not.
#include "rig.h"

#include <string.h>

enum mix {
    MIX_WRITES,
    MIX_READS,
    MIX_SENDS,
    MIX_ALL,
    MIX_COUNT,
};

static struct carrick_work mixed(struct rig_pair *pair, unsigned from, enum mix mix, unsigned i)
{
    struct rig_region *here = pair->region[from], *there = pair->region[1 - from];
    uint64_t bytes = i % 5 == 0 ? 200000 : 1000 + i;

    if (mix == MIX_ALL)
        mix = (enum mix)(i % 4);
    switch (mix) {
    case MIX_WRITES:
        return rig_write(here, 0, bytes, there, i * 100);
    case MIX_READS:
        return rig_read(here, RIG_MIB / 2, bytes, there, i * 100);
    case MIX_SENDS:
        return rig_send(here, 0, 1 + i);
    default:
        return rig_flush();
    }
}

static void storm(struct rig_pair *pair, unsigned from, enum mix mix)
{
    uint32_t count = 10, reads = pair->end[0]->node->caps.max_reads;

    if (mix == MIX_READS && count > reads)
        count = reads;
    for (unsigned i = 0; i < count; i++) {
        struct carrick_work work = mixed(pair, from, mix, i);
        int rc = rig_try_post(pair->end[from], &work, 1);

        CHECK(pair->end[from]->node->rig, rc == CARRICK_OK || rc == CARRICK_ERR_AGAIN);
    }
}

// One side is busy, and after some rounds one of the two closes.
static void close_amid(struct rig *rig, unsigned busy, unsigned closer, bool orderly)
{
    struct rig_pair pair = rig_pair(rig, RIG_MIB);

    for (unsigned i = 0; i < 12 * MIX_COUNT; i++) {
        struct rig_end *other;

        if (i > 0)
            rig_join(rig, &pair);
        storm(&pair, busy, (enum mix)(i % MIX_COUNT));
        rig_rounds(rig, i / MIX_COUNT);
        rig_end_close(pair.end[closer], orderly);
        other = pair.end[1 - closer];
        WAIT(rig, other->disconnected);
        CHECK(rig, other->status == CARRICK_ERR_CLOSED || other->status == CARRICK_ERR_RESET,
              "0x%x", (unsigned)other->status);
        rig_end_close(other, false);
        WAIT(rig, pair.end[0]->closed && pair.end[1]->closed);
    }
}

CASE(closing, busy_side)
{
    close_amid(rig, 0, 0, false);
}

CASE(closing, busy_side_orderly)
{
    close_amid(rig, 0, 0, true);
}

CASE(closing, partner)
{
    close_amid(rig, 0, 1, false);
}

CASE(closing, partner_orderly)
{
    close_amid(rig, 1, 0, true);
}

CASE(closing, both_at_once)
{
    struct rig_pair pair = rig_pair(rig, RIG_MIB);

    for (unsigned i = 0; i < 12 * MIX_COUNT; i++) {
        if (i > 0)
            rig_join(rig, &pair);
        storm(&pair, 0, (enum mix)(i % MIX_COUNT));
        storm(&pair, 1, (enum mix)(i % MIX_COUNT));
        rig_rounds(rig, i / MIX_COUNT);
        rig_end_close(pair.end[0], i % 2 == 0);
        rig_end_close(pair.end[1], i % 3 == 0);
        WAIT(rig, pair.end[0]->closed && pair.end[1]->closed);
    }
}

// The partner's manager stands still: CLOSED comes all the same.
CASE(closing, partner_stands_still)
{
    struct rig_pair pair = rig_pair(rig, RIG_MIB);

    for (unsigned i = 0; i < 4; i++) {
        if (i > 0)
            rig_join(rig, &pair);
        rig->node[1].paused = true;
        storm(&pair, 0, MIX_ALL);
        rig_rounds(rig, 3);
        rig_end_close_wait(pair.end[0], i % 2 == 0);
        rig->node[1].paused = false;
        WAIT(rig, pair.end[1]->disconnected);
        rig_end_close_wait(pair.end[1], false);
    }
}

// Idle, and in order: the partner is told so.
CASE(closing, orderly_is_told)
{
    struct rig_pair pair = rig_pair(rig, RIG_PAGE);

    for (unsigned i = 0; i < 2; i++) {
        rig_do(pair.end[0], rig_flush());
        rig_end_close(pair.end[i], true);
        WAIT(rig, pair.end[1 - i]->disconnected && pair.end[i]->closed);
        CHECK(rig, pair.end[1 - i]->status == CARRICK_ERR_CLOSED, "0x%x",
              (unsigned)pair.end[1 - i]->status);
        rig_end_close_wait(pair.end[1 - i], true);
        rig_join(rig, &pair);
    }
}

// In order means that the partner gets what was posted before.
CASE(closing, orderly_delivers)
{
    struct rig_pair pair = rig_pair(rig, RIG_MIB);

    for (unsigned i = 0; i < 10; i++) {
        struct rig_end *b;

        if (i > 0)
            rig_join(rig, &pair);
        b = pair.end[1];
        memset(pair.region[1]->memory, 0, RIG_MIB);
        rig_fill(pair.region[0], 0, RIG_MIB, i);
        rig_post(pair.end[0], rig_write(pair.region[0], 0, RIG_MIB, pair.region[1], 0));
        rig_post(pair.end[0], rig_send(pair.region[0], 0, 100));
        rig_end_close(pair.end[0], true);
        WAIT(rig, b->disconnected);
        CHECK(rig, b->messages_count == 1, "the send is lost");
        CHECK(rig, rig_filled(pair.region[1], 0, RIG_MIB, i), "the write is lost");
        rig_end_close(b, false);
        WAIT(rig, pair.end[0]->closed && b->closed);
    }
}

// CLOSED tells how many of the partner's operations were applied: exactly these, whatever the moment.
static void applied_check(struct rig *rig, const struct rig_pair *pair, uint64_t first)
{
    const struct rig_end *b = pair->end[1];
    uint64_t applied = b->applied - first, sends = 0;

    CHECK(rig, b->applied >= first && applied <= pair->end[0]->posted - first,
          "%llu operations applied, but %u posted", (unsigned long long)b->applied,
          pair->end[0]->posted);
    CHECK(rig, applied >= pair->end[0]->completed - first, "%u completed, but only %llu applied",
          pair->end[0]->completed, (unsigned long long)b->applied);
    for (uint64_t i = 0; i < pair->end[0]->posted - first; i++) {
        bool is_send = i % 3 == 2, done = i < applied;

        if (i % 7 == 6)
            continue; // a flush
        if (is_send)
            sends += done;
        else if (done)
            CHECK(rig, rig_filled(pair->region[1], i * 512, 512, (unsigned)i),
                  "operation %llu counts as applied, and is not there", (unsigned long long)i);
        else // of what was under way, a part may be there
            CHECK(rig, !rig_filled(pair->region[1], i * 512, 512, (unsigned)i),
                  "operation %llu was applied, and does not count", (unsigned long long)i);
    }
    CHECK(rig, b->messages_count == sends, "%u sends came, %llu were applied", b->messages_count,
          (unsigned long long)sends);
}

CASE(closing, applied)
{
    struct rig_pair pair = rig_pair(rig, RIG_MIB);

    if ((rig->node[0].caps.flags & CARRICK_CAP_APPLIED_COUNT) == 0)
        return;
    for (unsigned rounds = 0; rounds < 60; rounds++) {
        uint64_t first;

        if (rounds > 0)
            rig_join(rig, &pair);
        first = pair.end[0]->posted;
        memset(pair.region[1]->memory, 0, RIG_MIB);
        for (unsigned i = 0; i < 200; i++) {
            struct carrick_work work;

            rig_fill(pair.region[0], i * 512, 512, i);
            work = i % 7 == 6   ? rig_flush()
                   : i % 3 == 2 ? rig_send(pair.region[0], i * 512, 16)
                                : rig_write(pair.region[0], i * 512, 512, pair.region[1], i * 512);
            if (rig_try_post(pair.end[0], &work, 1) != CARRICK_OK)
                break;
            if (i % 16 == 15)
                rig_rounds(rig, rounds / 16);
        }
        rig_rounds(rig, rounds % 16);
        rig_end_close_wait(pair.end[1], false);
        applied_check(rig, &pair, first);
        WAIT(rig, pair.end[0]->disconnected);
        rig_end_close_wait(pair.end[0], false);
        applied_check(rig, &pair, first);
    }
}

// All of it, when all of it was done.
CASE(closing, applied_all)
{
    struct rig_pair pair = rig_pair(rig, RIG_PAGE);

    if ((rig->node[0].caps.flags & CARRICK_CAP_APPLIED_COUNT) == 0)
        return;
    rig_post(pair.end[0], rig_write(pair.region[0], 0, 100, pair.region[1], 0));
    rig_post(pair.end[0], rig_read(pair.region[0], 0, 100, pair.region[1], 0));
    rig_post(pair.end[0], rig_send(pair.region[0], 0, 100));
    rig_do(pair.end[0], rig_flush());
    rig_do(pair.end[1], rig_flush());
    rig_end_close(pair.end[0], true);
    rig_end_close(pair.end[1], true);
    WAIT(rig, pair.end[0]->closed && pair.end[1]->closed);
    CHECK(rig, pair.end[1]->applied == pair.end[0]->posted, "%llu of %u applied",
          (unsigned long long)pair.end[1]->applied, pair.end[0]->posted);
    CHECK(rig, pair.end[0]->applied == pair.end[1]->posted, "%llu of %u applied",
          (unsigned long long)pair.end[0]->applied, pair.end[1]->posted);
}
