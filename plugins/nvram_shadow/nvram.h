// SPDX-License-Identifier: Apache-2.0
//
// The client plugin nvram_shadow: each group's log on this node, and its shadow of the partner's. One file per subject:
//
//     config.c   the section of the configuration          plugin.c   the client's callbacks
//     format.c   bytes of a copy        ring.c  the ring   service.c  the service "log"
//     scan.c     what a copy holds                         state.c    what it shows of itself
//     copy.c     opening it, its head, its promise         message.c  what the two halves say to each other
//     persist.c  a copy that lies in a file                turn.c     work that is put off, in slices; callbacks
//     role.c     serve, follow, idle                       send.c     messages that are due
//     give.c     records that are cut from a copy that follows
//     attach.c   from where on the partner's copy is written
//     owner.c    mirror, acknowledge, trim                 shadow.c   records that come in
//     fetch.c    repair and missing tail from the partner's copy
//     barrier.c  the partner's promise, read before reads are answered
//
// All on the manager's thread.
#ifndef NVRAM_NVRAM_H
#define NVRAM_NVRAM_H

#include <carrick/client.h>
#include <carrick/log.h>

#include "message.h"
#include "ring.h"
#include "scan.h"

enum {
    NV_VERSION = 1,            // of the messages and of the format
    NV_GROUPS_MAX = 64,        //
    NV_FLIGHTS = 32,           // posted pieces of a mirror that are not yet proven
    NV_WINDOW_BYTES = 4 << 20, // bytes of them
    NV_SLICE_BYTES = 4 << 20,  // of work in one turn
    NV_SLICE_RECORDS = 2048,
    NV_BARRIERS_MAX = 65536,
    NV_LOOKS = 4, // looks at the partner's promise under way at a time
    NV_FETCH_BYTES = CARRICK_LOG_ENTRY_BYTES_MAX + NV_RECORD_BYTES + NV_PAGE,
    NV_TICK_MS = 5,
    NV_BEAT_MS = 100,
};

enum nv_backing {
    NV_BACKING_MEMORY,
    NV_BACKING_TMPFS,
    NV_BACKING_HUGETLBFS,
    NV_BACKING_DAX,
    NV_BACKING_FILE
};

struct nv_group_config {
    char name[NV_GROUP_MAX + 1];
    char home[CARRICK_NAME_MAX + 1];
    char path[256];
    uint64_t ring_bytes;
    enum nv_backing backing;
    uint32_t level; // asked for
};

struct nv_config {
    uint32_t count;
    struct nv_group_config groups[NV_GROUPS_MAX];
    char terms[CARRICK_CLIENT_TERMS_MAX]; // what must be the same at the partner
};

// Rules that the simulator takes out, to see that its judges notice.
enum nv_break {
    NV_BREAK_PROMISE = 1,    // the promise is not asked for
    NV_BREAK_SHADOW = 2,     // nothing waits for the partner's copy
    NV_BREAK_CUT = 4,        // a corrupt record is taken for the end of the log
    NV_BREAK_EARLY = 8,      // records are told before they are acknowledged
    NV_BREAK_FENCE = 16,     // it serves while the partner can still write the copy
    NV_BREAK_TRIM = 32,      // records leave the log before each disk has them
    NV_BREAK_SYNC = 64,      // acknowledgements do not wait for the files
    NV_BREAK_WITHDRAW = 256, // a takeover leaves the promise standing
};

// The partner's half, as it last said.
struct nv_peer {
    bool known; // said anything in this session
    struct nv_message state;
    // Its copy has the records up to here, be state.last as old as it may: it says that only when something changes, and
    // an owner that ends and begins anew in one session must still know.
    uint64_t proven;
};

enum nv_persist_stage {
    NV_PERSIST_LOG = 0,   // records, and the head as it is
    NV_PERSIST_LIMIT = 1, // the head with a limit: what is to be wiped is void
    NV_PERSIST_WIPE = 2,  // the wiped records
};

// A copy in a file: filled from the region by this node, one cycle of writes and one sync at a time.
struct nv_persist {
    struct carrick_file *file;
    uint8_t *staging;      // the head that is being written
    struct nv_cursor done; // all before it is in the file for certain
    struct nv_cursor goal; // of the cycle under way
    // Positions behind the tail whose records were wiped, from == to: none; and which records are void until the file
    // has it, too.
    uint64_t dirty_from, dirty_to, dirty_limit;
    uint32_t dirty_count; // of rewinds; tells one that came while an earlier one was written
    uint32_t dirty_going;
    enum nv_persist_stage stage;
    uint64_t head_wanted, head_going, head_done; // numbers of changes to the head
    uint64_t slot;                               // next slot to write
    uint32_t under_way;                          // requests
    bool running;                                // a cycle is
    bool syncing;
    bool waits;            // to try again
    bool failed;           // the last cycle; retried
    int status, sys_errno; // of the cycle
    int error;             // why it failed, as long as it does
    struct carrick_timer *retry;
    uint64_t load_at; // loading: next byte to ask for
};

enum nv_mirror_phase {
    NV_DETACHED = 0,
    NV_ATTACHING = 1, // ATTACH is sent
    NV_ATTACHED_ON = 2,
};

struct nv_flight {
    struct nv_cursor end;
};

struct nv_owner {
    enum nv_mirror_phase phase;
    struct nv_cursor from;   // where it was attached
    struct nv_cursor posted; // next to post
    uint64_t mirrored;       // highest sequence proven at the partner
    uint64_t persisted;      // and in its file
    struct nv_flight flights[NV_FLIGHTS];
    uint32_t flight_first, flight_count;
    uint32_t flight_void; // of an earlier attachment, still to complete
    uint64_t flight_bytes;
    uint64_t peer_synced;        // the partner's shelf
    struct nv_cursor peer_first; // where the partner's copy begins
    struct nv_cursor freed;      // own head says so for certain
    struct nv_cursor freeing;    // and this when head number freeing_head is durable
    uint64_t freeing_head;
    uint64_t told_last, told_acknowledged, told_trim; // by ADVANCE
    uint64_t refused_code;                            // last refusal that was logged
    bool refused;        // the partner did; tried again when it says that something changed
    bool resync, whole;  // asked for by the monitor; kept while the session stands
    bool resync_end_due; // to say: you have all
    bool joined;   // caught up: from now on an acknowledgement waits for the partner, member or not
    bool complete; // the partner says that it has all
    // Nothing is acknowledged, and the partner's copy does not count again, before the head of this number is durable: it
    // bears the generation.
    uint64_t gate_head;
    bool blocked; // the partner's copy has no room
    struct carrick_resync progress;
    uint64_t resync_began_ns, resync_from;
    bool follows_told; // consumer was told partner_follows(true)
    uint64_t since;
    uint64_t waiting_since_ns;
};

struct nv_shadow {
    bool attached;
    bool attach_reply_due; // once the head is durable
    uint32_t attach_code;
    uint64_t attach_head;
    uint64_t last;         // the owner says it wrote up to here
    uint64_t acknowledged; // and this is acknowledged
    uint64_t trim;         // lowest sequence to keep
    bool resync_end;       // heard: that is all
    bool complete_due;
    bool synced_due, synced_now;
    uint64_t trim_head; // SYNCED only when the head of this number is durable
    uint64_t said_synced, said_persisted;
};

// Records above a cut, or all of them, on their way out of the copy. They stay in it until the consumer knows for certain
// where its disk may differ because of them, so that a crash in between finds them again.
enum nv_give_phase {
    NV_GIVE_NOT = 0,
    NV_GIVE_TELL = 1, // the consumer is told of each
    NV_GIVE_WAIT = 2, // until it knows them for certain
    NV_GIVE_CUT = 3,
    NV_GIVE_WIPE = 4, // the chain is cut; others may lie behind a bad record
};

struct nv_give {
    enum nv_give_phase phase;
    struct nv_cursor to; // what is left ends here
    struct nv_cursor at; // next to tell
    bool empty;          // nothing is left
    bool strays;         // and behind a bad record there are others
    bool filled;         // it was being filled
    uint64_t cut_above;
    struct nv_scan scan; // for the strays
};

enum nv_serve_phase {
    NV_SERVE_NOT = 0,
    NV_SERVE_SCAN = 1,   // find the end of the log
    NV_SERVE_HEAD = 2,   // the generation is being made durable
    NV_SERVE_MIRROR = 3, // all that is in the log must be acknowledged
    NV_SERVE_TELL = 4,   // and told to the consumer
    NV_SERVE_ON = 5,     // appends are taken
};

struct nv_barrier_wait {
    void (*fn)(void *arg, bool fresh);
    void *arg;
};

struct nv_barrier_list {
    struct nv_barrier_wait *waits;
    uint32_t count, room;
};

// One remote read of the promise, and those who asked before it began.
struct nv_look {
    struct nv_barrier_list batch;
    bool reading;  // else it is free, or the batch is to be read for again
    uint32_t torn; // reads in a row that were torn
};

struct nv_barrier {
    struct nv_barrier_list waiting; // for a look that has not begun
    struct nv_look looks[NV_LOOKS];
    bool fail_due;                 // the role has changed: nobody may answer
    struct carrick_region *region; // a place for each look
    uint32_t crowd;                // how many read at a time
    uint32_t judged;               // how often that was judged, and when
    uint64_t judged_ns;
    uint64_t held_ns;           // since when those who wait are held; 0: they are not
    struct carrick_timer *hold; // ends that
    bool hold_runs;
};

struct nv_fetch {
    bool running, reading;
    bool repair;    // asked for by ourselves
    bool scanned;   // what is here was looked at since the last read
    uint64_t last;  // fetch up to here
    uint32_t tries; // repairs that failed, in this session
    uint64_t at;    // position that is being read
    uint64_t bytes;
    struct carrick_region *region;
};

struct carrick_log {
    struct carrick_client *nvram;
    uint32_t index;
    const struct nv_group_config *config;

    // copy
    struct carrick_region *region;
    uint8_t *memory;
    uint64_t ring_at;
    uint32_t level; // reached
    struct nv_head head;
    struct nv_ring ring;
    struct nv_scan scan;
    bool loading, scanning; // after start
    uint32_t condition;
    bool unusable; // the consumer cannot take what the copy holds
    uint64_t acknowledged;
    uint64_t
        heard; // the owner said that so much is acknowledged; it may be more than this copy holds
    struct nv_promise promise;
    struct nv_persist persist;

    // role
    uint32_t role;
    uint32_t mirror;
    enum nv_serve_phase serve;
    uint64_t serve_head;
    struct carrick_generation serve_generation;
    bool quiet;
    bool walk;    // look for records that the owner did not come to tell of
    bool exposed; // the partner got write access to the copy, and it has not ended

    // session
    struct carrick_vi *vi, *read_vi;
    bool session; // ready and not ending
    struct nv_peer peer;
    bool state_due;
    uint64_t refused; // messages
    char refused_why[64];

    struct nv_owner owner;
    struct nv_shadow shadow;
    struct nv_barrier barrier;
    struct nv_fetch fetch;

    // consumer
    const struct carrick_log_consumer *consumer;
    void *consumer_arg;
    struct nv_cursor told; // next to tell
    // A shadow's consumer may have content on its disk from up to here: it must be told again that far before it writes.
    uint64_t replay_to;
    struct nv_give give;
    uint64_t told_acknowledged, told_synced;
    uint64_t synced; // what it said
    bool idle_due, role_due, room_due, follows_due, mirror_due;
    uint32_t told_role;
    uint64_t fork;         // for role_changed
    uint64_t wanted_bytes; // append found no room for these

    // monitor
    const struct carrick_log_monitor *monitor;
    void *monitor_arg;
    bool changed_due, serving_due, fetched_due;
    int serving_status, fetched_status;
    char serving_cause[160], fetched_cause[160];
    struct carrick_resync shelf;

    struct carrick_timer *turn, *tick;
    bool turn_armed, tick_armed, commit_due;
    bool turn_is_for_commit; // and for nothing else
    uint64_t tick_due_ns;
};

struct carrick_client {
    const struct carrick_client_host *host;
    struct nv_config config;
    struct carrick_log *logs; // config.count
    uint64_t incarnation;     // of this node's manager; 0 before the first session
    bool partner_speaks;      // the version that this one does
    uint32_t break_rules;     // for the simulator only: enum nv_break, rules that are taken out
};

// The object of the service is the client itself.
struct carrick_logs;

static inline const struct carrick_client_host *nv_host(const struct carrick_log *log)
{
    return log->nvram->host;
}

static inline uint64_t nv_now(const struct carrick_log *log)
{
    const struct carrick_host *base = log->nvram->host->base;
    return base->now_ns(base);
}

static inline uint64_t nv_last(const struct carrick_log *log)
{
    return log->ring.tail.sequence - 1;
}

// The copy's memory is not enough by itself: it must get into the file.
static inline bool nv_syncs(const struct carrick_log *log)
{
    return log->config->backing == NV_BACKING_FILE;
}

void nv_log(const struct carrick_log *log, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// config.c
int nv_config_parse(const char *text, const char *node, struct nv_config *config,
                    struct carrick_error *error);
const char *nv_level_name(uint32_t level);

// copy.c
int nv_copy_open(struct carrick_log *log, struct carrick_error *error);
void nv_copy_close(struct carrick_log *log);
uint64_t nv_copy_bytes(const struct nv_group_config *config);
uint64_t nv_ring_at_of(const struct nv_group_config *config);
// Looks at what is behind the ring's tail; all that is known to be acknowledged must be found.
void nv_copy_scan(struct carrick_log *log);
void nv_copy_loaded(struct carrick_log *log);    // the memory holds what the backing held
bool nv_copy_scan_step(struct carrick_log *log); // true: done
// Writes the head as the copy now is. Returns the number to ask nv_head_is_durable for.
uint64_t nv_head_write(struct carrick_log *log);
bool nv_head_is_durable(const struct carrick_log *log, uint64_t number);
void nv_promise_set(struct carrick_log *log, bool standing);
void nv_promise_beat(struct carrick_log *log);
// Cuts the log behind `to`, durably; told and acknowledged go back with it.
void nv_copy_cut(struct carrick_log *log, const struct nv_cursor *to);
// Nothing in it counts; the next record is the one of `at`.
void nv_copy_empty(struct carrick_log *log, const struct nv_cursor *at);
void nv_condition_set(struct carrick_log *log, uint32_t condition, const char *why);

// persist.c
int nv_persist_open(struct carrick_log *log, struct carrick_error *error);
void nv_persist_close(struct carrick_log *log);
void nv_persist_load(struct carrick_log *log);
void nv_persist_go(struct carrick_log *log); // begins a cycle if there is something to write
void nv_persist_rewound(struct carrick_log *log, uint64_t dirty_to);

// turn.c
int nv_turn_create(struct carrick_log *log);
void nv_turn_arm(struct carrick_log *log);
void nv_tick_arm(struct carrick_log *log, uint64_t ms);
void nv_tell(struct carrick_log *log); // records, acknowledged; from callbacks of the host only
// The copy is taken anew: the consumer forgets what it holds, and all from that record on, which comes again.
void nv_tell_void(struct carrick_log *log, uint64_t from);
bool nv_replays(const struct carrick_log *log);
struct carrick_log_entry nv_entry_of(const struct carrick_log *log, const struct nv_record *record,
                                     const struct nv_cursor *at);
void nv_changed(struct carrick_log *log);
void nv_serving_ended(struct carrick_log *log, int status, const char *cause);
void nv_fetched(struct carrick_log *log, int status, const char *cause);

// role.c
int nv_serve(struct carrick_log *log, const struct carrick_generation *generation, uint32_t mirror);
void nv_serve_step(struct carrick_log *log);
int nv_set_mirror(struct carrick_log *log, uint32_t mirror,
                  const struct carrick_generation *generation);
int nv_follow(struct carrick_log *log, const struct carrick_generation *generation,
              uint64_t cut_above, bool empty);
void nv_idle(struct carrick_log *log, const char *why);
int nv_bear(struct carrick_log *log, const struct carrick_generation *generation, bool member);

// give.c
// What lies behind `to` is on its way out, or, empty, all there is.
void nv_give_begin(struct carrick_log *log, const struct nv_cursor *to, uint64_t cut_above,
                   bool empty);
bool nv_give_step(struct carrick_log *log); // false: records are still on their way out
void nv_gave_up(struct carrick_log *log);
void nv_give_cut(struct carrick_log *log); // at once, for who serves next

// attach.c
void nv_owner_reset(struct carrick_log *log);
void nv_attach_try(struct carrick_log *log);
void nv_attached(struct carrick_log *log, const struct nv_message *message);
void nv_owner_detach(struct carrick_log *log, const char *why);
int nv_resync(struct carrick_log *log, uint64_t partner_last, bool whole);

// owner.c
int nv_append(struct carrick_log *log, const struct carrick_log_entry *entry, uint64_t *sequence);
void nv_commit(struct carrick_log *log);
void nv_commit_arm(struct carrick_log *log); // it comes at the end of the turn by itself
void nv_peer_synced(struct carrick_log *log, const struct nv_message *message);
void nv_mirror_pump(struct carrick_log *log);
void nv_mirror_landed(struct carrick_log *log);
void nv_acknowledge(struct carrick_log *log);
void nv_trim(struct carrick_log *log, bool all);
uint64_t nv_synced_everywhere(const struct carrick_log *log);
void nv_owner_freed(struct carrick_log *log); // a head became durable
// Highest sequence whose record need not be kept for this node's consumer.
uint64_t nv_released(const struct carrick_log *log);

void nv_advance_fill(const struct carrick_log *log, const struct nv_cursor *end,
                     struct nv_message *message);

// shadow.c
void nv_shadow_attach(struct carrick_log *log, const struct nv_message *message);
void nv_shadow_advance(struct carrick_log *log, const struct nv_message *message);
void nv_shadow_step(struct carrick_log *log); // validates what came in, a slice of it
void nv_walk_begin(struct carrick_log *log);
void nv_shadow_walk(struct carrick_log *log);
void nv_shadow_trim(struct carrick_log *log);
void nv_shadow_reset(struct carrick_log *log);

// send.c
void nv_send_due(struct carrick_log *log, bool ticked);
bool nv_advance_is_due(const struct carrick_log *log);
void nv_lack_judge(struct carrick_log *log);
void nv_state_said(struct carrick_log *log, const struct nv_message *message);
bool nv_send(struct carrick_log *log, const struct nv_message *message);

// fetch.c
int nv_fetch(struct carrick_log *log, uint64_t last);
void nv_repair_try(struct carrick_log *log);
void nv_fetch_read(struct carrick_log *log, int status);
void nv_fetch_end(struct carrick_log *log, int status, const char *cause);
void nv_fetch_step(struct carrick_log *log);

// barrier.c
int nv_barrier_create(struct carrick_log *log);
int nv_barrier_ask(struct carrick_log *log, void (*fn)(void *arg, bool fresh), void *arg);
void nv_barrier_look(struct carrick_log *log); // begins a look for those who wait
void nv_barrier_go(struct carrick_log *log);
void nv_barrier_read(struct carrick_log *log, uint32_t number, int status);
void nv_barrier_session_ended(struct carrick_log *log);
void nv_barrier_forget(struct carrick_log *log); // nobody waits any more
void nv_barrier_free(struct carrick_log *log);

// state.c
// Why the configuration leaves the group without anybody to serve it; NULL: it does not. Once all clients are made.
const char *nv_unserved(const struct carrick_log *log);
void nv_describe(struct carrick_client *client, char *text, size_t size);
void nv_copy_tell(struct carrick_log *log, struct carrick_log_copy *copy);
void nv_mirror_tell(struct carrick_log *log, struct carrick_mirror_state *state);

// service.c
extern const struct carrick_log_ops nv_log_ops;

// Cookies of operations: what has completed.
enum nv_cookie {
    NV_COOKIE_SEND = 1,
    NV_COOKIE_WRITE = 2,
    NV_COOKIE_FLIGHT = 3,
    NV_COOKIE_BARRIER = 4,
    NV_COOKIE_FETCH = 5,
    NV_COOKIE_KINDS = 16
};
enum { NV_COOKIE_BITS = 8 }; // kind, and number of the look

static inline uint64_t nv_cookie(const struct carrick_log *log, enum nv_cookie kind)
{
    return (uint64_t)log->index << NV_COOKIE_BITS | kind;
}

#endif
