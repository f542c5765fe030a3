// SPDX-License-Identifier: Apache-2.0
//
// Between follower.c, a run and what is said in it, and follower_apply.c, what comes and its way to the disk.
#ifndef SHELF_FOLLOWER_INTERNAL_H
#define SHELF_FOLLOWER_INTERNAL_H

#include "catchup.h"

enum follower_state {
    FOLLOWER_NONE,
    FOLLOWER_ASKED,
    FOLLOWER_ANSWERING,
    FOLLOWER_APPLYING,
    FOLLOWER_FINISHING
};
enum follower_entry_state { ENTRY_FREE, ENTRY_WAITS, ENTRY_WRITING, ENTRY_TELL };

// A run of chunks, in a slot.
struct follower_entry {
    enum follower_entry_state state;
    struct shelf *shelf;
    uint64_t chunk, sequence, start, end;
    uint32_t writes;         // parts of it on the way to the disk
    struct shelf_data *data; // NULL: zeroes
    uint64_t sync_failures;
    uint32_t outcome;
};

// What is written of a shelf and not yet covered by a sync that has begun.
struct follower_unsynced {
    uint64_t bytes;
    uint64_t sync_failures; // of the shelf, when the first of it began
};

struct follower_sync {
    enum { SYNC_NONE, SYNC_RUNS, SYNC_TELL } state;
    struct shelf *shelf;
    uint64_t number; // of the last run that it covers
    uint64_t sync_failures;
    uint32_t outcome;
};

struct shelf_follower {
    enum follower_state state;
    uint64_t run;
    uint8_t generation[16];
    uint64_t lives; // grows at every stop: what is on its way to the disk belongs to an older one
    uint32_t shelf; // FOLLOWER_ANSWERING: the cursor
    uint64_t byte;
    struct follower_entry entries[SHELF_SLOTS];
    uint64_t written; // runs that the owner was told of as written: their numbers
    struct follower_unsynced unsynced[SHELF_SHELVES_MAX];
    struct follower_sync sync;
    uint64_t finish_version[SHELF_SHELVES_MAX];
    uint64_t synced_sent;
    uint64_t refused; // messages that made no sense
};

// follower.c
int follower_send(struct shelf_group *group, struct shelf_message *message);

// follower_apply.c
void follower_take_chunk(struct shelf_group *group, const struct shelf_message *message);
void follower_apply(struct shelf_group *group); // goes on with what came
bool follower_applied(
    const struct shelf_group *group); // all that came is synced, and the owner was told
void follower_apply_leave(struct shelf_group *group); // what is under way ends without effect

#endif
