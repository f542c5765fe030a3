// SPDX-License-Identifier: Apache-2.0
#include "ring.h"

#include <string.h>

uint32_t nv_ring_mark_count(uint64_t size)
{
    return (uint32_t)((size + NV_MARK_BYTES - 1) / NV_MARK_BYTES) + 1;
}

static void mark_put(struct nv_ring *ring, const struct nv_cursor *at)
{
    struct nv_cursor *mark = &ring->marks[at->position / NV_MARK_BYTES % ring->mark_count];

    // The first record of a stretch stays its mark.
    if (mark->sequence == 0 || mark->position / NV_MARK_BYTES != at->position / NV_MARK_BYTES ||
        mark->sequence < ring->first.sequence)
        *mark = *at;
}

// The mark of the stretch in which position lies, or NULL.
static const struct nv_cursor *mark_get(const struct nv_ring *ring, uint64_t position)
{
    const struct nv_cursor *mark = &ring->marks[position / NV_MARK_BYTES % ring->mark_count];

    if (mark->sequence == 0 || mark->position / NV_MARK_BYTES != position / NV_MARK_BYTES ||
        mark->sequence < ring->first.sequence || mark->sequence >= ring->tail.sequence)
        return NULL;
    return mark;
}

void nv_ring_init(struct nv_ring *ring, uint8_t *bytes, uint64_t size, struct nv_cursor *marks)
{
    *ring = (struct nv_ring){
        .bytes = bytes, .size = size, .marks = marks, .mark_count = nv_ring_mark_count(size)};
    nv_ring_reset(ring, &(struct nv_cursor){.sequence = 1});
}

void nv_ring_reset(struct nv_ring *ring, const struct nv_cursor *at)
{
    ring->first = ring->tail = *at;
    memset(ring->marks, 0, ring->mark_count * sizeof ring->marks[0]);
}

static uint64_t span_of(uint32_t kind, uint64_t length)
{
    return nv_record_span(&(struct nv_record){.kind = (uint16_t)kind, .length = length});
}

uint64_t nv_ring_need(const struct nv_ring *ring, uint32_t kind, uint64_t length)
{
    uint64_t span = span_of(kind, length), run = nv_ring_run(ring, ring->tail.position);

    return span <= run ? span : run + span;
}

static void append_one(struct nv_ring *ring, struct nv_record *record, const void *data)
{
    record->sequence = ring->tail.sequence;
    record->before = ring->tail.crc;
    nv_record_encode(record, nv_ring_at(ring, ring->tail.position), data);
    nv_ring_extend(ring, record);
}

uint64_t nv_ring_append(struct nv_ring *ring, const struct carrick_log_entry *entry, uint64_t tag,
                        uint64_t acknowledged)
{
    uint64_t run = nv_ring_run(ring, ring->tail.position);
    struct nv_record record = {.tag = tag, .acknowledged = acknowledged};

    if (span_of(entry->kind, entry->length) > run) {
        record.kind = NV_FILL;
        record.length = run - NV_RECORD_BYTES;
        append_one(ring, &record, NULL);
    }
    record.kind = (uint16_t)entry->kind;
    record.shelf = entry->shelf;
    record.offset = entry->offset;
    record.length = entry->length;
    append_one(ring, &record, entry->data);
    return record.sequence;
}

static bool follows(const struct nv_cursor *at, const struct nv_record *record)
{
    return record->sequence == at->sequence && record->before == at->crc;
}

bool nv_ring_peek(const struct nv_ring *ring, const struct nv_cursor *at, struct nv_record *record)
{
    return at->sequence < ring->tail.sequence && at->position < ring->tail.position &&
           nv_record_peek(nv_ring_at(ring, at->position), nv_ring_run(ring, at->position),
                          record) &&
           follows(at, record);
}

bool nv_ring_check(const struct nv_ring *ring, const struct nv_cursor *at, uint64_t end_position,
                   struct nv_record *record)
{
    return at->position < end_position &&
           nv_record_check(nv_ring_at(ring, at->position), nv_ring_run(ring, at->position),
                           record) &&
           follows(at, record) && at->position + nv_record_span(record) <= end_position;
}

void nv_ring_step(struct nv_cursor *at, const struct nv_record *record)
{
    at->sequence++;
    at->position += nv_record_span(record);
    at->crc = record->crc;
}

void nv_ring_extend(struct nv_ring *ring, const struct nv_record *record)
{
    mark_put(ring, &ring->tail);
    nv_ring_step(&ring->tail, record);
}

bool nv_ring_find(const struct nv_ring *ring, uint64_t sequence, struct nv_cursor *at)
{
    struct nv_record record;

    if (sequence < ring->first.sequence || sequence > ring->tail.sequence)
        return false;
    if (sequence == ring->tail.sequence) {
        *at = ring->tail;
        return true;
    }
    *at = ring->first;
    for (uint32_t i = 0; i < ring->mark_count; i++) {
        const struct nv_cursor *mark = &ring->marks[i];

        if (mark->sequence > at->sequence && mark->sequence <= sequence)
            *at = *mark;
    }
    while (at->sequence < sequence) {
        if (!nv_ring_peek(ring, at, &record))
            return false;
        nv_ring_step(at, &record);
    }
    return true;
}

struct nv_cursor nv_ring_ahead(const struct nv_ring *ring, const struct nv_cursor *at,
                               uint64_t bytes)
{
    for (uint64_t position = at->position + bytes; position < ring->tail.position;
         position += NV_MARK_BYTES) {
        const struct nv_cursor *mark = mark_get(ring, position);

        if (mark != NULL && mark->position >= at->position + bytes)
            return *mark;
    }
    return ring->tail;
}

void nv_ring_trim(struct nv_ring *ring, const struct nv_cursor *to)
{
    ring->first = *to;
}

void nv_ring_rewind(struct nv_ring *ring, const struct nv_cursor *to)
{
    for (uint32_t i = 0; i < ring->mark_count; i++)
        if (ring->marks[i].sequence >= to->sequence)
            ring->marks[i] = (struct nv_cursor){0};
    ring->tail = *to;
}

void nv_ring_cut(struct nv_ring *ring, const struct nv_cursor *to)
{
    struct nv_cursor at = *to;
    struct nv_record record;

    while (nv_ring_peek(ring, &at, &record)) {
        memset(nv_ring_at(ring, at.position), 0, NV_RECORD_BYTES);
        nv_ring_step(&at, &record);
    }
    nv_ring_rewind(ring, to);
}
