// SPDX-License-Identifier: Apache-2.0
//
// Bringing the partner's shelf up to date, while writes go on.
//
//     owner                                     follower
//     ASK             ->
//                     <-  LACKS …  LACKS_END    what it wrote and nobody else has
//     from here on the owner's log keeps every record until the follower's shelf has it: nothing new is marked
//     write into slot, CHUNK  ->                staged, written unless a newer record was told
//                     <-  CHUNK_DONE            the slot is free
//                     <-  CHUNKS_SYNCED         one sync for many; only now the marks go
//                     <-  SYNCED …
//     FINISH          ->                        its own marks go, durably
//                     <-  FINISHED
//
// A slot takes a run of chunks that follow on each other. Slots are free again before what was in them is synced, so that
// the link and the disk are both busy all the time; how much may be written and not synced is bounded.
// Each node has one staging region, at the partner, whose slots all its groups share.
#ifndef SHELF_CATCHUP_H
#define SHELF_CATCHUP_H

#include "shelf.h"
#include "message.h"

#define SHELF_SLOTS 16u
#define SHELF_RUN_CHUNKS 8u // most that one slot takes
#define SHELF_SLOT_BYTES (SHELF_RUN_CHUNKS * SHELF_CHUNK_BYTES)

// ---- link: the VI, the staging region and its slots

struct shelf_out; // a message that waits for room

struct shelf_slot {
    struct shelf_group *group; // NULL: free
    uint64_t run;
    uint32_t shelf;
    uint64_t chunk, sequence; // the first of the run
    uint32_t length, crc;
    bool read; // the content is in the local slot
    bool zero;
    bool sent;                   // posted
    bool answered;               // CHUNK_DONE came, or the run is over
    uint32_t operations;         // posted, not completed: the local slot must not change
    struct shelf_gather *gather; // reads into the local slot
};

// What came, copied out of what the partner can write. Each write that is under way uses it.
struct shelf_data {
    struct shelf_data *next;
    uint32_t users;
    uint8_t bytes[SHELF_SLOT_BYTES];
};

struct shelf_link {
    struct carrick_client *client;
    struct carrick_region *staging; // local, written from
    bool up;
    struct carrick_vi *vi;
    struct carrick_region *here; // the partner writes there
    uint64_t there_bytes;
    struct shelf_slot slots[SHELF_SLOTS];
    struct shelf_data *spare;
    uint32_t spares;
    struct shelf_out *out_first, *out_last;
    uint32_t out_count;
};

int shelf_link_open(struct carrick_client *client);
void shelf_link_close(struct carrick_client *client);
void shelf_link_ready(struct carrick_client *client, const struct carrick_session_info *session);
void shelf_link_ended(struct carrick_client *client);
void shelf_link_completed(struct carrick_client *client,
                          const struct carrick_completion *completions, uint32_t count);
void shelf_link_received(struct carrick_client *client, const void *data, uint32_t length);
// CARRICK_ERR_AGAIN when too many wait; then pumps come when there is room.
int shelf_link_send(struct carrick_client *client, const struct shelf_message *message);
// The slot is free when nothing touches its memory any more.
void shelf_slot_leave(struct shelf_slot *slot);
// With one user. NULL: no memory.
struct shelf_data *shelf_data_get(struct carrick_client *client);
void shelf_data_put(struct carrick_client *client, struct shelf_data *data); // data may be NULL
uint8_t *shelf_link_slot_memory(struct carrick_client *client, uint32_t slot);
int shelf_link_post_chunk(struct carrick_client *client, uint32_t slot,
                          const struct shelf_message *message);

// ---- owner

int shelf_catchup_open(struct shelf_group *group);
void shelf_catchup_close(struct shelf_group *group);
void shelf_catchup_start(struct shelf_group *group, uint64_t since);
void shelf_catchup_stop(struct shelf_group *group);
void shelf_catchup_link(struct shelf_group *group, bool up);
void shelf_catchup_pump(struct shelf_group *group);
void shelf_catchup_received(struct shelf_group *group, const struct shelf_message *message);
void shelf_catchup_describe(const struct shelf_group *group, struct carrick_resync *report);
// Somebody waits until all shelves hold what the log does.
void shelf_catchup_hurry(struct shelf_group *group);

// ---- follower

int shelf_follower_open(struct shelf_group *group);
void shelf_follower_close(struct shelf_group *group);
void shelf_follower_stop(struct shelf_group *group);
void shelf_follower_role(
    struct shelf_group *group); // the role changes: a question that came before it stays
void shelf_follower_pump(struct shelf_group *group);
void shelf_follower_synced(struct shelf_group *group);
void shelf_follower_received(struct shelf_group *group, const struct shelf_message *message);
bool shelf_follower_runs(const struct shelf_group *group);
// Whether records that are on the disks must still be remembered, for chunks that are behind them.
bool shelf_follower_remembers(const struct shelf_group *group);

#endif
