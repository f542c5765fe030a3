// SPDX-License-Identifier: Apache-2.0
//
// What of a shelf lies in the log and not yet on the disk: ranges without overlap, each the part of the newest
// acknowledged record there. The shelf is cut into bands of the same size, each with a balanced tree (treap) of what
// begins in it: to go down one tree of all would miss the cache at most of its steps. The nodes are a list as well, in the
// order of offsets; their number is bounded by the records in the log.
#ifndef SHELF_INDEX_H
#define SHELF_INDEX_H

#include "pool.h"

#include <stdbool.h>
#include <stdint.h>

#define SHELF_BANDS 1024u // a multiple of 64

struct shelf;

// One acknowledged record that the log still holds.
struct shelf_record {
    struct shelf_record *next;     // higher sequence
    struct shelf_record *previous; // lower
    struct shelf *shelf;
    uint64_t sequence;
    uint64_t offset, length;
    const uint8_t *data; // in the log; NULL: reads as zeroes
    uint32_t kind;       // enum carrick_log_kind
};

// One cache line: to look for a place goes from one to the next of them.
struct shelf_segment {
    struct shelf_segment *left, *right;
    struct shelf_segment *next, *previous; // higher offset, lower
    uint64_t start, end;                   // on the shelf
    const struct shelf_record *record;
    uint32_t sweep; // number of the sweep that has written it to the disk; 0: none
    uint32_t priority;
};

struct shelf_index {
    struct shelf_segment *bands[SHELF_BANDS]; // root of each
    uint64_t filled[SHELF_BANDS / 64];        // a bit for each band that is not empty
    uint32_t band_shift;                      // log2 of the bytes of a band
    struct shelf_segment *first, *last;
    struct shelf_pool pool;
    uint32_t random; // of priorities; any value
    uint64_t segments;
    uint64_t bytes;
};

// Of a shelf of so many bytes; before that it is all zeroes.
void shelf_index_init(struct shelf_index *index, uint64_t bytes);
// The record is newer than all in the index: it takes its range over. false: no memory, and the index is as it was.
bool shelf_index_insert(struct shelf_index *index, const struct shelf_record *record);
// The first segment that ends beyond offset, or NULL. Valid until the index changes.
struct shelf_segment *shelf_index_find(const struct shelf_index *index, uint64_t offset);
void shelf_index_remove(struct shelf_index *index, struct shelf_segment *segment);
// Takes [start, end) out. false: no memory.
bool shelf_index_carve(struct shelf_index *index, uint64_t start, uint64_t end);
void shelf_index_clear(struct shelf_index *index); // and gives back its memory

#endif
