// SPDX-License-Identifier: Apache-2.0
//
// A flush proves what was written to any number of regions; some transports flush region by region. CONFORMANCE_FLUSH says
// how the devices are expected to do it, in their own words: "native", "read".
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REGIONS = 7, BLOCK_BYTES = 1000 };

static void described(struct rig *rig, struct rig_end *end)
{
    const char *expected = getenv("CONFORMANCE_FLUSH");
    struct rig_node *node = end->node;
    char wanted[64], text[2048];

    if (expected == NULL)
        return;
    CHECK(rig, ((node->caps.flags & CARRICK_CAP_NATIVE_FLUSH) != 0) ==
                   (strcmp(expected, "native") == 0));
    snprintf(wanted, sizeof(wanted), "\"flush\":\"%s\"", expected);
    node->ops.describe(node->device, end->handle, text, sizeof(text));
    CHECK(rig, strstr(text, wanted) != NULL, "%s", text);
    node->ops.describe(node->device, NULL, text, sizeof(text));
    CHECK(rig, strstr(text, wanted) != NULL, "%s", text);
    CHECK(rig, (strstr(text, "\"native_flushes\":0,") == NULL) == (strcmp(expected, "native") == 0),
          "%s", text);
}

// Two places of each region, far from one another, and nothing else.
static void check_blocks(struct rig *rig, struct rig_region *const *region, unsigned regions,
                         unsigned seed)
{
    for (unsigned i = 0; i < regions; i++) {
        CHECK(rig, rig_filled(region[i], 0, BLOCK_BYTES, seed), "region %u of %u", i, regions);
        CHECK(rig, rig_filled(region[i], 60000, BLOCK_BYTES, seed), "region %u of %u", i, regions);
        CHECK(rig, rig_all(region[i], BLOCK_BYTES, 60000 - BLOCK_BYTES, 0), "region %u", i);
    }
}

CASE(flush, many_regions)
{
    struct rig_pair pair = rig_pair(rig, RIG_MIB);
    struct rig_region *region[2][REGIONS];

    for (unsigned i = 0; i < REGIONS; i++)
        for (unsigned node = 0; node < 2; node++)
            region[node][i] =
                rig_region(pair.domain[node], 65536,
                           i % 2 == 0 ? CARRICK_ACCESS_REMOTE_WRITE
                                      : CARRICK_ACCESS_REMOTE_WRITE | CARRICK_ACCESS_REMOTE_READ);
    for (unsigned regions = 0; regions <= REGIONS; regions++)
        for (unsigned from = 0; from < 2; from++) {
            rig_fill(pair.region[from], 0, BLOCK_BYTES, regions);
            for (unsigned i = 0; i < 2 * regions; i++)
                rig_post(pair.end[from],
                         rig_write(pair.region[from], 0, BLOCK_BYTES, region[1 - from][i / 2],
                                   i % 2 == 0 ? 60000 : 0));
            rig_do(pair.end[from], rig_flush());
            check_blocks(rig, region[1 - from], regions, regions);
        }
    described(rig, pair.end[0]);
    described(rig, pair.end[1]);
}

// As many as go, with reads and sends among them: each is complete in its turn, and all that was written before it is there.
CASE(flush, many_at_a_time)
{
    struct rig_pair pair = rig_pair(rig, RIG_MIB);
    struct rig_region *region[REGIONS];
    uint32_t rounds = rig->node[0].caps.max_posted / 8;

    if (rounds > 64)
        rounds = 64;
    for (unsigned i = 0; i < REGIONS; i++)
        region[i] = rig_region(pair.domain[1], RIG_MIB, CARRICK_ACCESS_REMOTE_WRITE);
    rig_fill(pair.region[0], 0, BLOCK_BYTES, 3);
    rig_fill(pair.region[1], 0, BLOCK_BYTES, 4);
    for (uint32_t i = 0; i < rounds; i++) {
        uint64_t at = (uint64_t)i * 2 * BLOCK_BYTES;

        for (unsigned k = 0; k < 1 + i % 5; k++)
            rig_post(pair.end[0], rig_write(pair.region[0], 0, BLOCK_BYTES, region[k], at));
        if (i % 4 == 1)
            rig_post(pair.end[0],
                     rig_read(pair.region[0], RIG_MIB / 2 + at, BLOCK_BYTES, pair.region[1], 0));
        if (i % 4 == 2)
            rig_post(pair.end[0], rig_send(pair.region[0], 0, 100));
        rig_post(pair.end[0], rig_flush());
    }
    WAIT(rig, pair.end[0]->completed == pair.end[0]->posted);
    for (uint32_t i = 0; i < rounds; i++) {
        uint64_t at = (uint64_t)i * 2 * BLOCK_BYTES;

        for (unsigned k = 0; k < REGIONS; k++)
            CHECK(rig, k <= i % 5 ? rig_filled(region[k], at, BLOCK_BYTES, 3)
                                  : rig_all(region[k], at, BLOCK_BYTES, 0));
        CHECK(rig, i % 4 != 1 || rig_filled(pair.region[0], RIG_MIB / 2 + at, BLOCK_BYTES, 4));
    }
    WAIT(rig, pair.end[1]->messages_count == (rounds + 1) / 4);
}
