// SPDX-License-Identifier: Apache-2.0
//
// As much at once as the device says it can, and not one more.
#include "rig.h"

#include <stdlib.h>
#include <string.h>

#define PAIRS 64u

static uint32_t room(const struct rig *rig)
{
    uint32_t room = rig->node[0].caps.max_posted;

    return room > 4096 ? 4096 : room;
}

// Fills an array with small writes, each to a place of its own, and a flush at the end.
static struct carrick_work *works_make(struct rig_pair *pair, uint32_t count)
{
    struct carrick_work *works = calloc(count, sizeof(*works));

    cr_assert(works != NULL);
    for (uint32_t i = 0; i + 1 < count; i++) {
        rig_fill(pair->region[0], i * 64, 64, i);
        works[i] = rig_write(pair->region[0], i * 64, 64, pair->region[1], i * 64);
    }
    works[count - 1] = rig_flush();
    return works;
}

static void works_check(struct rig *rig, struct rig_pair *pair, uint32_t count)
{
    for (uint32_t i = 0; i + 1 < count; i++)
        CHECK(rig, rig_filled(pair->region[1], i * 64, 64, i), "write %u is missing", i);
}

CASE(limits, max_posted_at_once)
{
    uint32_t count = room(rig);
    struct rig_pair pair = rig_pair(rig, count * 64);
    struct carrick_work *works = works_make(&pair, count), one_more = rig_flush();

    for (unsigned round = 0; round < 3; round++) {
        memset(pair.region[1]->memory, 0, pair.region[1]->bytes);
        CHECK(rig, rig_try_post(pair.end[0], works, count) == CARRICK_OK);
        if (count == rig->node[0].caps.max_posted)
            CHECK(rig, rig_try_post(pair.end[0], &one_more, 1) == CARRICK_ERR_AGAIN);
        WAIT(rig, pair.end[0]->completed == pair.end[0]->posted);
        works_check(rig, &pair, count);
    }
    free(works);
}

CASE(limits, max_posted_one_by_one)
{
    uint32_t count = room(rig);
    struct rig_pair pair = rig_pair(rig, count * 64);
    struct carrick_work *works = works_make(&pair, count), one_more = rig_flush();

    for (uint32_t i = 0; i < count; i++)
        rig_post(pair.end[0], works[i]);
    if (count == rig->node[0].caps.max_posted)
        CHECK(rig, rig_try_post(pair.end[0], &one_more, 1) == CARRICK_ERR_AGAIN);
    WAIT(rig, pair.end[0]->completed == pair.end[0]->posted);
    works_check(rig, &pair, count);
    free(works);
}

// All are taken or none: of a post that does not fit, nothing happens.
CASE(limits, all_or_none)
{
    uint32_t count = rig->node[0].caps.max_posted;
    struct rig_pair pair = rig_pair(rig, RIG_PAGE);
    struct carrick_work more[3], flush = rig_flush();

    if (count > 4096)
        return;
    for (uint32_t i = 0; i < count - 2; i++)
        rig_post(pair.end[0], flush);
    memset(pair.region[0]->memory, 0x99, RIG_PAGE);
    more[0] = rig_write(pair.region[0], 0, 64, pair.region[1], 0);
    more[1] = rig_send(pair.region[0], 0, 64);
    more[2] = rig_flush();
    CHECK(rig, rig_try_post(pair.end[0], more, 3) == CARRICK_ERR_AGAIN);
    WAIT(rig, pair.end[0]->completed == pair.end[0]->posted);
    rig_do(pair.end[0], flush);
    CHECK(rig, rig_all(pair.region[1], 0, 64, 0), "a write of a refused post was done");
    CHECK(rig, pair.end[1]->messages_count == 0, "a send of a refused post was done");
    CHECK(rig, rig_try_post(pair.end[0], more, 3) == CARRICK_OK);
    WAIT(rig, pair.end[0]->completed == pair.end[0]->posted && pair.end[1]->messages_count == 1);
    CHECK(rig, rig_all(pair.region[1], 0, 64, 0x99));
}

// A refused post makes room by itself: after AGAIN the next completion is worth another try.
CASE(limits, again_then_completion)
{
    struct rig_pair pair = rig_pair(rig, RIG_PAGE);
    struct carrick_work flush = rig_flush();
    uint32_t done = 0, refused = 0;

    while (done < 5000) {
        int rc = rig_try_post(pair.end[0], &flush, 1);

        if (rc == CARRICK_OK) {
            done++;
            continue;
        }
        CHECK(rig, rc == CARRICK_ERR_AGAIN, "0x%x", (unsigned)rc);
        refused++;
        uint32_t before = pair.end[0]->completions;
        WAIT(rig, pair.end[0]->completions > before);
    }
    WAIT(rig, pair.end[0]->completed == pair.end[0]->posted);
    CHECK(rig, refused > 0 || rig->node[0].caps.max_posted >= 5000);
}

// What a transport says of itself, where it says it: reads beyond what both devices take would break the connection on
// some, and on others not.
static void reads_check(struct rig *rig, const struct rig_end *end)
{
    static const char key[] = "\"reads_in_flight\":";
    const struct rig_node *node = end->node;
    uint32_t here = rig->node[0].caps.max_reads, there = rig->node[1].caps.max_reads;
    unsigned long long limit = here < there ? here : there, reads;
    char text[4096] = "";
    const char *at;

    if (node->ops.describe != NULL)
        node->ops.describe(node->device, end->handle, text, sizeof(text));
    at = strstr(text, key);
    if (at == NULL)
        return;
    reads = strtoull(at + sizeof(key) - 1, NULL, 10);
    CHECK(rig, reads <= limit, "%llu reads are in flight, the devices take %llu", reads, limit);
}

static void reads_check_then(struct rig_end *end, uint32_t number, int32_t status)
{
    (void)number;
    (void)status;
    reads_check(end->node->rig, end);
}

CASE(limits, max_reads)
{
    uint32_t count = rig->node[0].caps.max_reads;
    struct rig_pair pair;
    struct carrick_work *works;
    int rc;

    if (count > 512)
        count = 512;
    pair = rig_pair(rig, (count + 1) * RIG_PAGE);
    works = calloc(count + 1, sizeof(*works));
    cr_assert(works != NULL);
    for (uint32_t i = 0; i <= count; i++) {
        uint64_t at = i * (uint64_t)RIG_PAGE;

        rig_fill(pair.region[1], at, RIG_PAGE, i);
        works[i] = rig_read(pair.region[0], at, RIG_PAGE, pair.region[1], at);
    }
    pair.end[0]->on_completion = reads_check_then; // when it has posted more, if it does
    CHECK(rig, rig_try_post(pair.end[0], works, count) == CARRICK_OK);
    // One more is refused as a whole, or waits its turn: it is never lost and never breaks the endpoint.
    rc = rig_try_post(pair.end[0], &works[count], 1);
    CHECK(rig, rc == CARRICK_OK || rc == CARRICK_ERR_AGAIN, "0x%x", (unsigned)rc);
    reads_check(rig, pair.end[0]);
    WAIT(rig, pair.end[0]->completed == pair.end[0]->posted);
    if (rc == CARRICK_ERR_AGAIN)
        rig_do(pair.end[0], works[count]);
    for (uint32_t i = 0; i <= count; i++)
        CHECK(rig, rig_filled(pair.region[0], i * (uint64_t)RIG_PAGE, RIG_PAGE, i));
    free(works);
}

// Large writes and reads on one endpoint, small ones beside them on another, both ways.
CASE(limits, large_with_small)
{
    struct rig_pair large = rig_pair(rig, 8 * RIG_MIB);
    struct rig_pair small = {.domain = {large.domain[0], large.domain[1]},
                             .region = {large.region[0], large.region[1]}};
    uint32_t writes = 0;

    rig_join(rig, &small);
    rig_fill(large.region[0], 0, 6 * RIG_MIB, 3);
    for (unsigned i = 0; i < 6; i++)
        rig_post(large.end[0], rig_write(large.region[0], (uint64_t)i * RIG_MIB, RIG_MIB,
                                         large.region[1], (uint64_t)i * RIG_MIB));
    rig_post(large.end[0], rig_flush());
    while (large.end[0]->completed < large.end[0]->posted || writes < 10) {
        uint64_t at = 6 * (uint64_t)RIG_MIB + writes * 1000;

        rig_fill(small.region[0], at, 1000, writes);
        rig_post(small.end[0], rig_write(small.region[0], at, 1000, small.region[1], at));
        rig_do(small.end[0], rig_flush());
        CHECK(rig, rig_filled(small.region[1], at, 1000, writes));
        writes++;
        CHECK(rig, writes < 2000, "the large writes do not get on beside the small ones");
    }
    CHECK(rig, rig_filled(large.region[1], 0, 6 * RIG_MIB, 3));
}

CASE(limits, large_with_small_on_one_endpoint)
{
    struct rig_pair pair = rig_pair(rig, 6 * RIG_MIB);
    uint32_t sends = 0;

    for (unsigned i = 0; i < 5; i++) {
        uint64_t at = (uint64_t)i * RIG_MIB;

        rig_fill(pair.region[0], at, RIG_MIB, i);
        rig_post(pair.end[0], rig_write(pair.region[0], at, RIG_MIB - i, pair.region[1], at));
        rig_post(pair.end[0], rig_send(pair.region[0], 7, i));
        rig_post(pair.end[0],
                 rig_write(pair.region[0], at, i, pair.region[1], 5 * (uint64_t)RIG_MIB + i * 100));
        sends++;
    }
    rig_post(pair.end[0], rig_flush());
    WAIT(rig,
         pair.end[0]->completed == pair.end[0]->posted && pair.end[1]->messages_count == sends);
    for (unsigned i = 0; i < 5; i++) {
        CHECK(rig, rig_filled(pair.region[1], i * (uint64_t)RIG_MIB, RIG_MIB - i, i));
        CHECK(rig, rig_filled(pair.region[1], 5 * (uint64_t)RIG_MIB + i * 100, i, i));
        CHECK(rig, pair.end[1]->messages[i].bytes == i);
    }
}

static unsigned pairs_done(const struct rig_pair *pairs)
{
    unsigned done = 0;

    for (unsigned i = 0; i < PAIRS; i++)
        done += pairs[i].end[0]->completed == pairs[i].end[0]->posted &&
                pairs[i].end[1]->messages_count == 1;
    return done;
}

CASE(limits, many_endpoints)
{
    struct rig_pair first = rig_pair(rig, PAIRS * RIG_PAGE);
    struct rig_pair pairs[PAIRS];

    if (rig->node[0].caps.max_endpoints != 0 && rig->node[0].caps.max_endpoints < PAIRS + 1)
        return;
    for (unsigned i = 0; i < PAIRS; i++) {
        pairs[i] = (struct rig_pair){.domain = {first.domain[0], first.domain[1]},
                                     .region = {first.region[0], first.region[1]}};
        rig_join(rig, &pairs[i]);
    }
    for (unsigned i = 0; i < PAIRS; i++) {
        uint64_t at = i * (uint64_t)RIG_PAGE;

        rig_fill(first.region[0], at, RIG_PAGE, i);
        rig_post(pairs[i].end[0], rig_write(first.region[0], at, RIG_PAGE, first.region[1], at));
        rig_post(pairs[i].end[0], rig_send(first.region[0], at, 17 + i));
        rig_post(pairs[i].end[0], rig_flush());
    }
    WAIT(rig, pairs_done(pairs) == PAIRS);
    for (unsigned i = 0; i < PAIRS; i++) {
        CHECK(rig, rig_filled(first.region[1], i * (uint64_t)RIG_PAGE, RIG_PAGE, i));
        CHECK(rig, pairs[i].end[1]->messages[0].bytes == 17 + i);
    }
    // Every other one ends; the rest does not notice.
    for (unsigned i = 0; i < PAIRS; i += 2)
        rig_pair_close(&pairs[i]);
    for (unsigned i = 1; i < PAIRS; i += 2)
        rig_do(pairs[i].end[1], rig_flush());
}

CASE(limits, many_regions)
{
    struct rig_pair pair = rig_pair(rig, RIG_PAGE);
    struct rig_region *regions[100];

    for (unsigned i = 0; i < 100; i++)
        regions[i] = rig_region(pair.domain[1], RIG_PAGE, CARRICK_ACCESS_REMOTE_WRITE);
    for (unsigned i = 0; i < 100; i++) {
        if (i % 3 == 0)
            rig_deregister(regions[i]);
    }
    for (unsigned i = 0; i < 100; i++) {
        memset(pair.region[0]->memory, (int)i, RIG_PAGE);
        if (i % 3 != 0)
            rig_do(pair.end[0], rig_write(pair.region[0], 0, RIG_PAGE, regions[i], 0));
        if (i % 3 != 0)
            rig_do(pair.end[0], rig_flush());
        CHECK(rig, rig_all(regions[i], 0, RIG_PAGE, i % 3 != 0 ? (uint8_t)i : 0));
    }
}

// A partner that stands still, while its device does not: it runs out of room for sends, which the transport knows, and
// what is not a send goes on. Where there is no send_room, reads may need the partner's processor themselves.
CASE(limits, room_for_sends)
{
    struct rig_pair pair = rig_pair(rig, RIG_PAGE);
    struct rig_end *from = pair.end[0], *to = pair.end[1];
    uint32_t (*send_room)(struct carrick_endpoint *, uint32_t) = rig->node[0].ops.send_room;
    unsigned sent = 0;

    if (send_room == NULL || send_room(from->handle, 1) == UINT32_MAX) {
        rig_note("left out over %s: it takes any number of sends", rig->kind.name);
        return;
    }
    CHECK(rig, send_room(from->handle, 1) > 0);
    to->node->paused = true;
    for (; send_room(from->handle, 1) > 0; sent++) {
        CHECK(rig, sent < 4096);
        rig_do(from, rig_send(pair.region[0], 0, 8));
    }
    rig_fill(pair.region[1], 0, 64, 9);
    for (unsigned i = 0; i < 3; i++) {
        rig_post(from, rig_write(pair.region[0], 0, 8, pair.region[1], 128));
        rig_do(from, rig_read(pair.region[0], 0, 64, pair.region[1], 0));
        CHECK(rig, rig_filled(pair.region[0], 0, 64, 9));
        rig_do(from, rig_flush());
    }
    CHECK(rig, from->rooms == 0 && to->messages_count == 0);
    to->node->paused = false;
    WAIT(rig, from->rooms == 1);
    CHECK(rig, send_room(from->handle, 1) > 0);
    WAIT(rig, to->messages_count == sent);
    rig_do(from, rig_send(pair.region[0], 0, 8));
    WAIT(rig, to->messages_count == sent + 1);
    // Nobody has asked in vain since.
    CHECK(rig, from->rooms == 1);
}
