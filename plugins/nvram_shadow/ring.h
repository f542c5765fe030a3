// SPDX-License-Identifier: Apache-2.0
//
// The ring of records in a copy's memory: where it begins and ends, append, find, cut. Knows no partner and no disk.
#ifndef NVRAM_RING_H
#define NVRAM_RING_H

#include "format.h"

enum { NV_MARK_BYTES = 64 << 10 }; // a mark for each so many bytes of the ring

struct nv_ring {
    uint8_t *bytes;
    uint64_t size;
    struct nv_cursor first; // lowest record that counts
    struct nv_cursor tail;  // behind the highest that was found or made whole
    // marks[(position / NV_MARK_BYTES) % mark_count]: a record that begins in that stretch. It counts if it lies in the
    // stretch and between first and tail.
    struct nv_cursor *marks;
    uint32_t mark_count;
};

uint32_t nv_ring_mark_count(uint64_t size);
void nv_ring_init(struct nv_ring *ring, uint8_t *bytes, uint64_t size, struct nv_cursor *marks);
// Empties it: the next record is the one of this cursor.
void nv_ring_reset(struct nv_ring *ring, const struct nv_cursor *at);

static inline uint8_t *nv_ring_at(const struct nv_ring *ring, uint64_t position)
{
    return ring->bytes + position % ring->size;
}

// Bytes from position to where the ring turns.
static inline uint64_t nv_ring_run(const struct nv_ring *ring, uint64_t position)
{
    return ring->size - position % ring->size;
}

// Bytes that a record of these data takes, with the fill before it where it does not fit before the ring turns.
uint64_t nv_ring_need(const struct nv_ring *ring, uint32_t kind, uint64_t length);
// Appends at the tail. The caller made sure that there is room. Returns its sequence.
uint64_t nv_ring_append(struct nv_ring *ring, const struct carrick_log_entry *entry, uint64_t tag,
                        uint64_t acknowledged);

// The record at cursor, by its header; it must bear the cursor's sequence and predecessor. at_tail_too: also one that
// begins at the tail (it is being looked for), else only those before it. On true the cursor may move on.
bool nv_ring_peek(const struct nv_ring *ring, const struct nv_cursor *at, struct nv_record *record);
bool nv_ring_check(const struct nv_ring *ring, const struct nv_cursor *at, uint64_t end_position,
                   struct nv_record *record);
void nv_ring_step(struct nv_cursor *at, const struct nv_record *record);
// The tail goes over a record that was checked.
void nv_ring_extend(struct nv_ring *ring, const struct nv_record *record);

// Where the record of this sequence begins; first.sequence to tail.sequence. false: not here, or the chain is broken.
bool nv_ring_find(const struct nv_ring *ring, uint64_t sequence, struct nv_cursor *at);
// A record's beginning at least `bytes` behind `at`, or the tail.
struct nv_cursor nv_ring_ahead(const struct nv_ring *ring, const struct nv_cursor *at,
                               uint64_t bytes);
void nv_ring_trim(struct nv_ring *ring, const struct nv_cursor *to);
// The tail goes back; the records stay in memory, to be found again.
void nv_ring_rewind(struct nv_ring *ring, const struct nv_cursor *to);
// The tail goes back, and no record behind it will ever be found again.
void nv_ring_cut(struct nv_ring *ring, const struct nv_cursor *to);

#endif
