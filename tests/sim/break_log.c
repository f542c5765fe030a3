// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/storage_break.h"

#include "plugins/nvram_shadow/nvram.h"

void break_log(struct carrick_client *nvram, unsigned rules)
{
    nvram->break_rules =
        (rules & BREAK_PROMISE ? NV_BREAK_PROMISE : 0u) |
        (rules & BREAK_SHADOW ? NV_BREAK_SHADOW : 0u) | (rules & BREAK_CUT ? NV_BREAK_CUT : 0u) |
        (rules & BREAK_DESTAGE ? NV_BREAK_EARLY : 0u) |
        (rules & BREAK_CLOSED ? NV_BREAK_FENCE : 0u) | (rules & BREAK_TRIM ? NV_BREAK_TRIM : 0u) |
        (rules & BREAK_SYNC ? NV_BREAK_SYNC : 0u) |
        (rules & BREAK_WITHDRAW ? NV_BREAK_WITHDRAW : 0u);
}

bool break_log_sure(struct carrick_client *nvram, unsigned group, uint64_t *offset, uint64_t *bytes)
{
    const struct carrick_log *log = &nvram->logs[group];
    const struct nv_ring *ring = &log->ring;
    struct nv_cursor last, end;
    struct nv_record record;

    // What the last acknowledged record says of those before it.
    if (log->acknowledged < ring->first.sequence || !nv_ring_find(ring, log->acknowledged, &last) ||
        !nv_ring_peek(ring, &last, &record) || record.acknowledged < ring->first.sequence ||
        !nv_ring_find(ring, record.acknowledged + 1, &end))
        return false;
    *offset = log->ring_at + ring->first.position % ring->size;
    *bytes = end.position - ring->first.position;
    if (*bytes > nv_ring_run(ring, ring->first.position))
        *bytes = nv_ring_run(ring, ring->first.position);
    return true;
}
