// SPDX-License-Identifier: Apache-2.0
//
// The block store: what its sources share.
//
//     config     the section                         request    reads, writes and flushes of exports
//     index      what the log holds for a range      export     users and their end
//     disk       requests to a shelf's file          map        chunks that the partner's shelf lacks
//     gather     a range's content: index and disk   message    what two shelf clients say to each other
//     destage    from the log to the disk            catchup    copying chunks to the partner: the owner's side
//     group      the log's callbacks, roles          follower   the same on the side that is brought up to date
//     state      for people                          plugin     the client
//     link       the way to the partner's            front      users by a socket and shared memory
//     map_file   the file that keeps the map         pool       memory of what comes with every write
//
// Everything runs on the manager's thread, and nothing blocks.
#ifndef SHELF_H
#define SHELF_H

#include "config.h"
#include "index.h"

#include <carrick/block.h>
#include <carrick/client.h>
#include <carrick/log.h>

#define SHELF_CHUNK_BYTES 65536u         // unit of the map and of catching up
#define SHELF_WRITE_BYTES_MAX (1u << 18) // longest write to the disk that destaging makes
#define SHELF_SLICE 2048u    // small steps that one callback takes before it lets others go on
#define SHELF_OPEN_MAX 1024u // open requests per export
#define SHELF_REPLAY_MS 5u   // between two looks whether all has been told again
#define SHELF_RETRY_MS_MIN 100u
#define SHELF_RETRY_MS_MAX 5000u
#define SHELF_VERSION 2u // of the messages

struct carrick_client;
struct shelf_group;
struct shelf_map;
struct shelf_catchup;
struct shelf_follower;
struct shelf_link;
struct front;

// ---- disk

enum shelf_write_kind {
    SHELF_WRITE_DESTAGE = 1,
    SHELF_WRITE_CHUNK = 2, // of a catch-up
};

// One write, zero or trim under way. No two that overlap are under way together.
struct shelf_write {
    struct shelf_write *next, **back;
    struct shelf *shelf;
    uint64_t start, end;
    uint32_t kind;
    uint64_t tag; // number of the sweep, or run of the catch-up
    bool pooled;
    void (*fn)(struct shelf_write *write, int sys_errno); // 0: done
    void *arg;
};

struct shelf {
    char name[CARRICK_NAME_MAX + 1];
    char path[SHELF_PATH_MAX];
    struct carrick_client *client;
    struct shelf_group *group;
    uint32_t number; // within the group
    uint64_t bytes;
    struct carrick_file *file;
    bool fresh; // the file was made when this daemon started, or was empty
    bool added; // ... and that is right: the configuration says that it is new
    struct shelf_index index;
    struct shelf_map *map;
    struct shelf_write *writes; // under way
    uint32_t chunk_writes;      // ... of them of a catch-up
    struct shelf_pool write_pool;
    uint64_t mark_version;  // of the map that must be durable before the log may forget
    uint64_t give_version;  // and before it may cut records that are void
    uint64_t sync_failures; // a failed sync may hide what another one would have told
    uint32_t swept;         // number of the last sweep that wrote here
    int error;              // errno of the last failed request; 0: all is well
    uint64_t errors;
};

// A write to be filled in, with room for so many bytes of data behind it; NULL: no memory.
struct shelf_write *shelf_disk_write_new(struct shelf *shelf, uint64_t bytes);
static inline uint8_t *shelf_disk_write_bytes(struct shelf_write *write)
{
    return (uint8_t *)(write + 1);
}
// Begins it (operation: enum carrick_file_operation; data: NULL, or what to write, there until fn). The range must be free
// (shelf_disk_busy). It is gone with its fn, or with an error, which is an errno.
int shelf_disk_write(struct shelf_write *write, uint32_t operation, void *data);
// fn(arg, errno): what was written before the call is on the disk for certain, if errno is 0.
int shelf_disk_sync(struct shelf *shelf, void (*fn)(void *arg, int sys_errno), void *arg);
bool shelf_disk_busy(const struct shelf *shelf, uint64_t start, uint64_t end);
// Reports an error of the disk once per state of affairs, and its end.
void shelf_disk_failed(struct shelf *shelf, const char *what, int sys_errno);
void shelf_disk_works(struct shelf *shelf);

// ---- gather

struct shelf_gather;
// Reads a range as it is now, if no disk must be waited for: CARRICK_OK or CARRICK_ERR_AGAIN.
int shelf_gather_now(struct shelf *shelf, uint64_t offset, uint64_t length, uint8_t *data);
// Reads it with waiting: fn(arg, data, errno), never from within; data is valid during the call. What was acknowledged
// before the call is in it. `into`: where to, or NULL: memory of its own.
struct shelf_gather *shelf_gather_begin(struct shelf *shelf, uint64_t offset, uint64_t length,
                                        uint8_t *into,
                                        void (*fn)(void *arg, const uint8_t *data, int sys_errno),
                                        void *arg);
// fn is not called any more. Not where the caller's memory is read into: nobody could tell when that is free.
void shelf_gather_drop(struct shelf_gather *gather);

// ---- destage

enum shelf_sweep_state {
    SHELF_SWEEP_IDLE = 0,
    SHELF_SWEEP_WRITING = 1,
    SHELF_SWEEP_SYNCING = 2,
    SHELF_SWEEP_DROPPING = 3,
    SHELF_SWEEP_ENDING = 4,  // failed or called off: what is under way is waited for
    SHELF_SWEEP_RESTING = 5, // after a failure, until the retry
};

// A sweep writes all that the index holds, in the order of offsets, syncs, and takes what it wrote out of the index.
struct shelf_sweep {
    uint32_t state;
    uint32_t number; // never 0
    uint64_t target; // all records up to it are on the disk when the sweep ends
    uint32_t shelf;  // the cursor
    uint64_t offset;
    uint32_t under_way; // writes and syncs
    bool failed;
    uint64_t sync_failures[SHELF_SHELVES_MAX]; // as they were when it began
    uint32_t retry_ms;
};

void shelf_destage_wake(struct shelf_group *group);   // there may be something to do, soon
void shelf_destage_hurry(struct shelf_group *group);  // now
void shelf_destage_cancel(struct shelf_group *group); // what is under way ends without effect
void shelf_destage_pump(struct shelf_group *group);
void shelf_destage_timer(void *arg);

// ---- map: the marks in map.c, their file in map_file.c

struct shelf_map_stats {
    bool ready;
    uint64_t marked; // chunks
    int error;
};

int shelf_map_open(struct shelf *shelf, struct shelf_map **map, struct carrick_error *error);
// Begins to read it. Only when nothing of create can fail any more: what is under way needs the instance.
void shelf_map_load(struct shelf_map *map);
void shelf_map_close(struct shelf_map *map);
bool shelf_map_ready(const struct shelf_map *map);
void shelf_map_mark(struct shelf_map *map, uint64_t start, uint64_t end);
void shelf_map_mark_all(struct shelf_map *map);
void shelf_map_clear_chunk(struct shelf_map *map, uint64_t chunk);
void shelf_map_clear_all(struct shelf_map *map);
// Marks from the partner: bytes of the bitmap, from byte `first` on.
void shelf_map_merge(struct shelf_map *map, uint64_t first, const uint8_t *bits, uint32_t count);
// Up to `room` bytes of the bitmap from the first that is not 0 at or after *first; 0: there are no more.
uint32_t shelf_map_take(const struct shelf_map *map, uint64_t *first, uint8_t *bits, uint32_t room);
// The first marked chunk at or after `chunk`; UINT64_MAX: none.
uint64_t shelf_map_next(const struct shelf_map *map, uint64_t chunk);
uint64_t shelf_map_chunks(const struct shelf_map *map);
uint64_t shelf_map_bytes(const struct shelf_map *map); // of the bitmap
void shelf_map_stats(const struct shelf_map *map, struct shelf_map_stats *stats);
// Is every mark of the range on the disk for certain?
bool shelf_map_range_durable(const struct shelf_map *map, uint64_t start, uint64_t end);
// Everything that was marked up to that version is durable when shelf_map_durable has reached it.
uint64_t shelf_map_version(const struct shelf_map *map);
uint64_t shelf_map_durable(const struct shelf_map *map);
// Brings it there; shelf_group_map_changed comes. An error is reported and tried again.
void shelf_map_flush(struct shelf_map *map);
// Whole: the shelf holds all that its group ever acknowledged, as far as it was told. Durable after a flush.
bool shelf_map_whole(const struct shelf_map *map);
void shelf_map_set_whole(struct shelf_map *map, bool whole,
                         const struct carrick_generation *generation);

// ---- requests and exports

enum shelf_request_place {
    SHELF_AT_NONE = 0,
    SHELF_AT_ROOM = 1,    // the log is full
    SHELF_AT_LOG = 2,     // appended, not yet acknowledged
    SHELF_AT_SYNC = 3,    // until the shelves of all members hold `sequence`
    SHELF_AT_READ = 4,    // the disk reads
    SHELF_AT_BARRIER = 5, // may the data be answered?
    SHELF_AT_DONE = 6,    // to be answered in the next turn
};

struct shelf_request {
    struct shelf_request *next, *previous; // in the queue of its place
    struct shelf_request *export_next, *export_previous;
    struct carrick_export *export_; // NULL: dropped, kept only until the barrier answers
    struct shelf_group *group;
    uint32_t place;
    uint32_t operation, flags;
    uint64_t offset, length;
    void *data;
    uint64_t cookie;
    uint64_t sequence;
    int sys_errno;
    struct shelf_gather *gather;
};

struct shelf_queue {
    struct shelf_request *first, *last;
    uint64_t count;
};

struct carrick_export {
    struct carrick_export *next;
    struct carrick_client *client;
    struct shelf *shelf;
    struct carrick_block_user user;
    void *arg;
    struct shelf_request *requests;
    uint32_t open;
    bool over; // closed is told, or is to be
    bool told;
    bool answers_end_due;
    char why[128];
};

// The object of the service.
struct carrick_shelves {
    struct carrick_client *client;
};

const struct carrick_block_ops *shelf_block_ops(void);
void shelf_exports_close(struct shelf_group *group, const char *why);
void shelf_export_fail(struct carrick_export *export_, const char *why);
void shelf_exports_turn(struct carrick_client *client); // tells `closed` where it is due

int shelf_request_submit(struct carrick_export *export_,
                         const struct carrick_block_request *request);
void shelf_request_submit_end(struct carrick_export *export_);
void shelf_request_drop(struct shelf_request *request);
void shelf_requests_room(struct shelf_group *group);
void shelf_requests_acknowledged(struct shelf_group *group);
void shelf_requests_synced(struct shelf_group *group);
void shelf_requests_end(struct shelf_group *group); // all exports are closed, the log was left
void shelf_requests_turn(
    struct shelf_group *group); // answers what is done, tries again what had no room

// ---- groups

struct shelf_group {
    char name[CARRICK_NAME_MAX + 1];
    struct carrick_client *client;
    uint32_t number;
    struct carrick_log *log; // NULL until found
    uint32_t count;
    struct shelf *shelves[SHELF_SHELVES_MAX];
    uint32_t role;
    uint32_t mirror;
    uint32_t level;
    bool broken;  // no memory: serves nothing any more
    bool strange; // the shelf is empty though the group has a history
    struct carrick_generation generation;

    struct shelf_record *first, *last; // told and not yet synced everywhere
    struct shelf_pool record_pool;
    uint64_t records;
    uint64_t pruned;       // highest sequence that left the list
    uint64_t told;         // highest sequence that record() came with
    uint64_t acknowledged; // as owner
    uint64_t destaged;     // highest that is on the own disk for certain
    uint64_t synced_told;  // highest that was told to the log
    bool tell_again;       // ... which counts it no more
    bool gives_up;         // the log waits for the map, to cut records that are void
    uint64_t everywhere;

    bool marking;       // this node serves alone: what is written is marked in the map
    bool follows;       // the partner is being brought up to date
    bool partner_holds; // ... and its shelf told what it lacks: from here on records reach it
    uint64_t partner_synced;

    struct shelf_sweep sweep;
    struct carrick_timer *timer; // of destaging
    bool timer_runs;
    bool hurry;
    uint64_t hurry_sequence; // as shadow: up to here somebody waits at the owner
    uint64_t waiting_bytes;  // told since the last sweep began
    uint64_t eager_bytes;    // so much waits no longer for the delay
    uint32_t drop_holds;     // gathers that want nothing to leave the index
    uint64_t drops;          // how often something left it

    struct shelf_queue room, log_queue, sync_queue, done;
    struct shelf_queue barriers; // AT_BARRIER; also those that were dropped, until the answer
    struct shelf_catchup *catchup;
    struct shelf_follower *follower;
};

int shelf_group_attach(struct shelf_group *group, const struct carrick_log_ops *ops,
                       struct carrick_logs *logs);
void shelf_group_map_changed(struct shelf_group *group);
// Has something that decides over marking changed?
void shelf_group_mode(struct shelf_group *group);
// Tells the log what is synced, as far as that may be told.
void shelf_group_tell_synced(struct shelf_group *group);
bool shelf_group_maps_ready(const struct shelf_group *group);
void shelf_group_flush_maps(struct shelf_group *group);
void shelf_group_end(struct shelf_group *group); // frees what it holds
struct shelf_group *shelf_group_find(struct carrick_client *client, const char *name);

// ---- the client

struct carrick_client {
    const struct carrick_client_host *host;
    const struct carrick_host *base;
    struct shelf_config config;
    struct carrick_shelves service;
    const struct carrick_log_ops *log_ops;
    struct carrick_logs *logs;
    uint32_t group_count;
    struct shelf_group *groups[SHELF_SHELVES_MAX];
    uint32_t shelf_count;
    struct shelf *shelves[SHELF_SHELVES_MAX];
    struct carrick_export *exports;
    struct shelf_pool request_pool;
    uint32_t answering; // groups of answers that are being told
    bool answers_end_due;
    struct carrick_timer *turn; // for what must not happen within a call
    struct shelf_link *link;    // to the partner's shelf client
    struct front *front;
    bool ending;       // destroy
    bool break_resync; // the simulator's: what is copied overwrites what is newer
    bool break_index;  // and what is read comes from the disk alone
    bool break_each;   // and only the first shelf of a group is synced
};

// Things are to be done in the loop's next turn.
void shelf_client_turn(struct carrick_client *client);

void shelf_describe_state(struct carrick_client *client, char *text, size_t size);

static inline uint64_t shelf_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t shelf_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif
