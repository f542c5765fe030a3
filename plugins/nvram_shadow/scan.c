// SPDX-License-Identifier: Apache-2.0
#include "scan.h"

#include <string.h>

void nv_scan_begin(struct nv_scan *scan, struct nv_ring *ring, uint64_t limit,
                   uint64_t acknowledged, const struct carrick_generation *generation)
{
    *scan = (struct nv_scan){.ring = ring, .limit = limit, .acknowledged = acknowledged};
    scan->tags[0] = nv_tag(generation->id);
    scan->tags[1] = nv_tag(generation->parent);
}

static uint64_t end_of(const struct nv_ring *ring)
{
    return ring->first.position + ring->size;
}

// A record costs at least as much as reading some of it: many small ones are work, too.
static uint64_t cost_of(const struct nv_record *record)
{
    return nv_record_span(record) + 512;
}

static void walk(struct nv_scan *scan, uint64_t *bytes)
{
    struct nv_ring *ring = scan->ring;
    struct nv_record record;

    while (*bytes > 0) {
        if (ring->tail.sequence > scan->limit ||
            !nv_ring_check(ring, &ring->tail, end_of(ring), &record)) {
            scan->phase = NV_SCAN_AHEAD;
            scan->at = ring->tail.position;
            scan->corrupt =
                ring->tail.sequence <= scan->acknowledged && ring->tail.sequence <= scan->limit;
            return;
        }
        nv_ring_extend(ring, &record);
        scan->tags[2] = record.tag;
        // Never above the record itself: so much one record can say of others.
        if (record.acknowledged > scan->acknowledged && record.acknowledged < record.sequence)
            scan->acknowledged = record.acknowledged;
        *bytes -= *bytes < cost_of(&record) ? *bytes : cost_of(&record);
    }
}

// A record that the chain does not reach. Users' data may look like one: it must bear a generation of this log, and a
// number that can come to lie in this ring.
static bool is_stray(const struct nv_scan *scan, uint64_t position, struct nv_record *record)
{
    const struct nv_ring *ring = scan->ring;
    const uint8_t *at = nv_ring_at(ring, position);
    bool known = false;

    if (!nv_record_peek(at, nv_ring_run(ring, position), record))
        return false;
    for (unsigned i = 0; i < NV_TAGS; i++)
        known |= record->tag == scan->tags[i];
    return known && record->sequence >= ring->tail.sequence &&
           record->sequence - ring->tail.sequence <= ring->size / NV_ALIGN &&
           nv_record_check(at, nv_ring_run(ring, position), record);
}

// Passes over what cannot be a record: most of what lies behind the end.
static void pass(struct nv_scan *scan, uint64_t end, uint64_t *bytes)
{
    uint64_t most = nv_ring_run(scan->ring, scan->at), passed;

    most = most < end - scan->at ? most : end - scan->at;
    if (*bytes < most)
        most = (*bytes + NV_ALIGN - 1) / NV_ALIGN * NV_ALIGN;
    passed = nv_record_none(nv_ring_at(scan->ring, scan->at), most);
    scan->at += passed;
    *bytes -= *bytes < passed ? *bytes : passed;
}

static void ahead(struct nv_scan *scan, uint64_t *bytes)
{
    uint64_t end = end_of(scan->ring), bad = scan->ring->tail.sequence;
    struct nv_record record;

    while (*bytes > 0 && scan->at < end && !scan->corrupt) {
        uint64_t span = NV_ALIGN;

        pass(scan, end, bytes);
        if (*bytes == 0 || scan->at >= end)
            break;
        if (is_stray(scan, scan->at, &record)) {
            scan->stray++;
            span = nv_record_span(&record);
            if (record.acknowledged >= bad && record.acknowledged < record.sequence &&
                bad <= scan->limit)
                scan->corrupt = true;
        }
        scan->at += span;
        *bytes -= *bytes < span ? *bytes : span;
    }
    if (scan->corrupt) {
        scan->phase = NV_SCAN_DONE;
    } else if (scan->at >= end) {
        scan->phase = scan->stray > 0 ? NV_SCAN_WIPE : NV_SCAN_DONE;
        scan->at = scan->ring->tail.position;
    }
}

static void wipe(struct nv_scan *scan, uint64_t *bytes)
{
    uint64_t end = end_of(scan->ring);
    struct nv_record record;

    while (*bytes > 0 && scan->at < end) {
        uint64_t span = NV_ALIGN;

        pass(scan, end, bytes);
        if (*bytes == 0 || scan->at >= end)
            break;
        if (is_stray(scan, scan->at, &record)) {
            span = nv_record_span(&record);
            memset(nv_ring_at(scan->ring, scan->at), 0, NV_RECORD_BYTES);
            scan->wiped++;
        }
        scan->at += span;
        *bytes -= *bytes < span ? *bytes : span;
    }
    if (scan->at >= end)
        scan->phase = NV_SCAN_DONE;
}

bool nv_scan_step(struct nv_scan *scan, uint64_t bytes)
{
    while (bytes > 0 && scan->phase != NV_SCAN_DONE) {
        if (scan->phase == NV_SCAN_WALK)
            walk(scan, &bytes);
        else if (scan->phase == NV_SCAN_AHEAD)
            ahead(scan, &bytes);
        else
            wipe(scan, &bytes);
    }
    return scan->phase == NV_SCAN_DONE;
}
