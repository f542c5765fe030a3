// SPDX-License-Identifier: Apache-2.0
//
// Between map.c, the marks in memory, and map_file.c, the file that keeps them.
#ifndef SHELF_MAP_INTERNAL_H
#define SHELF_MAP_INTERNAL_H

#include "shelf.h"

enum {
    SHELF_MAP_SECTOR_BITS = 504, // bytes of the bitmap in one sector of the file
    SHELF_MAP_FLAG_WHOLE = 1,
};

enum map_state { MAP_LOADING, MAP_IDLE, MAP_WRITING, MAP_SYNCING, MAP_RESTING };
// Against the file: a pass is what is being written.
enum map_sector { SECTOR_CLEAN = 0, SECTOR_DIRTY = 1, SECTOR_IN_PASS = 2, SECTOR_DIRTY_AGAIN = 3 };

struct shelf_map {
    struct shelf *shelf;
    struct carrick_file *file;
    struct carrick_timer *timer;
    enum map_state state;
    bool ready, had_head, closing;
    bool again; // a flush was asked for
    bool under_way;
    uint64_t chunks, bytes, sectors;
    uint8_t *bits, *written, *durable;
    uint8_t *sector_state; // enum map_sector
    uint64_t marked;
    uint64_t version, pass_version, durable_version;
    uint64_t cursor; // loading: byte; writing: sector
    uint8_t *buffer;
    bool head_dirty, head_in_pass, initialise;
    bool head_bad;
    uint64_t sectors_bad;
    uint64_t head_number;
    uint32_t flags;
    uint8_t generation[16];
    uint32_t retry_ms;
    int error;
};

// map.c

void shelf_map_set_chunks(struct shelf_map *map, uint64_t first, uint64_t last);

#endif
