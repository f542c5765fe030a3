// SPDX-License-Identifier: Apache-2.0
//
// The service "log": a group's log on this node and its shadow on the partner, as nvram_shadow offers it to the
// other clients of the node (struct carrick_client_host, service_find).
//
// A group is one log, the shelves that it feeds, and one record at the arbiter. Each of the two nodes has a *copy* of
// the log. One node at most is the group's owner: it appends to its copy and mirrors each record into the partner's
// copy, by one-sided writes, before it acknowledges. The copy has two users on its node:
//
//     the consumer (shelf)      appends, gets every acknowledged record in order, says what is safe on its disk
//     the monitor  (failover)   says who is owner and which copies count
//
// What holds, whatever crashes: a record that was acknowledged is found again, in order, in every copy that the
// arbiter's record calls a member. record() tells of acknowledged records only.
//
// All calls and callbacks come on the manager's thread; none blocks; no callback comes from within a call.
#ifndef CARRICK_LOG_H
#define CARRICK_LOG_H

#include <carrick/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CARRICK_LOG_SERVICE "log"
#define CARRICK_LOG_ENTRY_BYTES_MAX (1u << 20) // longest data of one record

struct carrick_logs; // the object of the service: all groups of this node
struct carrick_log;  // one group's copy on this node

enum carrick_log_role {
    CARRICK_LOG_IDLE =
        0, // decides nothing, promises nothing; the copy may be read by the partner, not written
    CARRICK_LOG_OWNER = 1, // appends; the partner cannot reach the copy
    CARRICK_LOG_SHADOW =
        2, // the partner's node is owner and may write the copy; the promise stands
};

// Whose acknowledgement an owner needs before it acknowledges.
enum carrick_log_mirror {
    CARRICK_MIRROR_ALONE = 0, // this node's only: the partner is no member
    CARRICK_MIRROR_JOINING =
        1, // both, though the partner is not yet a member: the last step of its return
    CARRICK_MIRROR_BOTH = 2, // both: the partner is a member
};

enum carrick_log_condition {
    CARRICK_LOG_EMPTY = 0, // new, or lost with a volatile memory: bears no generation
    CARRICK_LOG_WHOLE = 1, // every record up to the last is there; a torn tail was cut
    CARRICK_LOG_CORRUPT =
        2, // a record at or below what was acknowledged is bad: out until repaired from the other
    CARRICK_LOG_INCONSISTENT = 3, // a resynchronisation into this copy was begun and has not ended
    // Being read after the daemon's start: nothing else is known of it yet. changed() tells when it is. Until then serve,
    // follow, bear and fetch answer CARRICK_ERR_AGAIN.
    CARRICK_LOG_SCANNING = 4,
    // Its consumer has given it up (`fail`): nothing that it holds can be served from this node before the daemon is started
    // anew. To everybody else it is as a copy that is not there. serve and follow answer CARRICK_ERR_STATE.
    CARRICK_LOG_UNUSABLE = 5,
};

enum carrick_durability {
    CARRICK_LEVEL_VOLATILE = 1,   // gone when this daemon ends
    CARRICK_LEVEL_MEMORY = 2,     // outlives the daemon, gone with the node's power
    CARRICK_LEVEL_PERSISTENT = 3, // outlives the node's power
};

// A span of a group's history under one set of members. Begins anew each time a node comes to serve alone, or serves
// after a takeover.
struct carrick_generation {
    uint8_t id[16];         // random; all zero: none
    uint8_t parent[16];     // the generation before; all zero: the first
    uint64_t fork_sequence; // highest sequence that both have in common
    uint64_t
        number; // of the arbiter's record that made it (carrick_arbiter_record.number); 0: without arbiter
};

// What a copy bears.
struct carrick_log_copy {
    uint32_t struct_size;
    uint32_t condition; // enum carrick_log_condition
    uint32_t level;     // enum carrick_durability, as reached on this node
    uint32_t role;      // enum carrick_log_role
    struct carrick_generation generation;
    uint64_t first;        // lowest sequence in it; first > last: it holds no record
    uint64_t last;         // highest whole one
    uint64_t acknowledged; // highest known to be acknowledged
    uint64_t incarnation;  // of the manager that filled it, where level is volatile; else 0
    bool member;           // as last set by the monitor: it held every acknowledged record
    uint64_t room_bytes;   // for records, full or empty; each takes its data and 64 bytes
    // SHADOW: records are still to be told again that this consumer, or one of an earlier daemon, may have brought to its
    // disk, together with newer ones. Until that is over nothing may be written there: older content would come over
    // newer, and if this node dies then, nobody knows of it.
    bool replays;
};

enum carrick_log_kind {
    CARRICK_LOG_WRITE = 1,
    CARRICK_LOG_ZERO = 2, // the range reads as zeroes; no data
    CARRICK_LOG_TRIM = 3, // as ZERO, and the space may be given back
};

struct carrick_log_entry {
    uint32_t struct_size;
    uint32_t kind;  // enum carrick_log_kind
    uint32_t shelf; // number of the shelf within the group
    uint32_t reserved;
    uint64_t offset; // on the shelf
    uint64_t length; // WRITE: <= CARRICK_LOG_ENTRY_BYTES_MAX
    // append: copied before it returns. record(): lies in the log, valid until the record is trimmed, which is not before
    // the consumer has called `synced` for it, or role_changed to CARRICK_LOG_IDLE has come.
    const void *data;
    uint64_t sequence; // record(): its number. append ignores it.
};

enum carrick_resync_state {
    CARRICK_RESYNC_NONE = 0, // there is nobody to bring up to date
    CARRICK_RESYNC_RUNNING = 1,
    CARRICK_RESYNC_EQUAL =
        2, // the partner's copy holds all that this one does, and gets all that is appended
    CARRICK_RESYNC_FAILED = 3,
};

struct carrick_resync {
    uint32_t struct_size;
    uint32_t state; // enum carrick_resync_state
    uint64_t done_bytes, total_bytes;
    uint64_t bytes_per_second;
    char cause[128]; // FAILED: why
};

// The consumer's callbacks. All required.
struct carrick_log_consumer {
    uint32_t struct_size;
    // One acknowledged record, each once, in order of sequence: on the owner when it is acknowledged, on the
    // shadow some time after, and at the beginning of a role all that the copy holds and that was not told yet. IDLE takes
    // the telling back: after it, all above what this consumer called `synced` for counts as not told, and before OWNER
    // all that the copy holds, since the partner's shelf may lack what this one has.
    void (*record)(void *arg, const struct carrick_log_entry *entry);
    // Owner: all that was appended up to sequence is acknowledged: it may be answered to those who wrote it. record()
    // was called for each before.
    void (*acknowledged)(void *arg, uint64_t sequence);
    // All up to sequence is on the disk of every member (what `synced` said, here and there): a flush that waits for
    // shelves may be answered. Not less than before, except after a change of role.
    void (*synced_everywhere)(void *arg, uint64_t sequence);
    // append answers AGAIN no more.
    void (*room)(void *arg);
    // The role has changed. To OWNER: record() was called for all that the copy holds; requests may be taken.
    // From OWNER: what was appended and not acknowledged has no known outcome: connections must close without an
    // answer. fork_sequence: records above it that this consumer was told of are void (a rejoining copy that was cut, or,
    // where SHADOW comes again, one that is taken anew; their data is not there any more after that); UINT64_MAX: none is.
    void (*role_changed)(void *arg, uint32_t role, const struct carrick_generation *generation,
                         uint64_t fork_sequence);
    // Owner: the partner's copy is being brought up to date (true) and the shelf must be, too; false: no more. Ends
    // with resync_report(EQUAL), after which the shelf keeps equal by records alone. `since`: the partner's shelf holds all up to
    // this sequence of the common generation, and beyond that only what the partner's shelf client tells by itself.
    void (*partner_follows)(void *arg, bool follows, uint64_t since);
    // Owner: whose acknowledgement is needed has changed (serve, set_mirror; enum carrick_log_mirror). To ALONE: what
    // `synced` said before this call counts no more beyond synced_everywhere, so that nothing is trimmed that the partner's
    // shelf may lack: the consumer makes its map of it durable first, then calls `synced` again.
    void (*mirror_changed)(void *arg, uint32_t mirror);
    // This copy gives up the record: it is cut from it, and what it wrote may be on this disk alone. entry NULL: that was
    // the last one. The consumer makes durable that these places may differ from the partner's, then calls `gave_up`; before
    // that nothing of it leaves the log. Comes in role IDLE. Optional.
    void (*gives_up)(void *arg, const struct carrick_log_entry *entry);
};

// The monitor's callbacks. All required.
struct carrick_log_monitor {
    uint32_t struct_size;
    // Something in the copy, the mirror or a resynchronisation changed: read it by `copy`, `mirror_state`. Gathered.
    void (*changed)(void *arg);
    // What the operation of that name ended with. One at a time is under way.
    void (*serving)(void *arg, int status, const char *cause);
    // What `fetch` ended with. Optional.
    void (*fetched)(void *arg, int status, const char *cause);
};

struct carrick_mirror_state {
    uint32_t struct_size;
    uint32_t mirror;           // enum carrick_log_mirror, as set
    bool connected;            // a session stands and the partner's copy can be written
    bool stalled;              // records wait for the partner's acknowledgement
    uint64_t waiting_since_ns; // of the oldest record that waits; 0: none does
    struct carrick_resync log; // this node's copy into the partner's
    struct carrick_resync
        shelf; // as the consumer reported; with no consumer, the state is the log's
};

struct carrick_log_ops {
    uint32_t struct_size;
    uint32_t reserved;

    // ---- both
    // CARRICK_ERR_NOT_FOUND: the configuration of nvram_shadow names no such group.
    int (*find)(struct carrick_logs *logs, const char *group, struct carrick_log **log);
    uint32_t (*group_count)(struct carrick_logs *logs);
    const char *(*group_name)(struct carrick_logs *logs, uint32_t index);
    void (*copy)(struct carrick_log *log, struct carrick_log_copy *copy);
    void (*mirror_state)(struct carrick_log *log, struct carrick_mirror_state *state);
    // Home node of the group: who owns it when nothing else decides. Constant.
    const char *(*home)(struct carrick_log *log);

    // ---- the consumer. One per log; to be called from its create or first describe.
    // consumer NULL: detaches; no callback follows, those of read_barrier included.
    int (*attach_consumer)(struct carrick_log *log, const struct carrick_log_consumer *consumer,
                           void *arg);
    // Owner only (CARRICK_ERR_STATE). Copies the entry into the log; CARRICK_ERR_AGAIN: the log is full, room() will
    // come. Nothing leaves for the partner before `commit`, or the end of the loop's turn.
    int (*append)(struct carrick_log *log, const struct carrick_log_entry *entry,
                  uint64_t *sequence);
    void (*commit)(struct carrick_log *log);
    // This node's shelf holds all up to sequence for certain (fdatasync), and, where the node serves alone, so does
    // its map of what the partner's shelf lacks. Either role.
    void (*synced)(struct carrick_log *log, uint64_t sequence);
    // Owner: may reads be answered that began before this call? fn(arg, true) when the partner's promise for this
    // generation was read after the call began and stands, or when the partner is no member; false: do not
    // answer (close the connection). One remote read serves many; those who ask while it is under way get a later one. It begins
    // with `commit`, or at the end of the loop's turn.
    int (*read_barrier)(struct carrick_log *log, void (*fn)(void *arg, bool fresh), void *arg);
    void (*resync_report)(struct carrick_log *log, const struct carrick_resync *shelf);

    // ---- the monitor. One per log.
    int (*attach_monitor)(struct carrick_log *log, const struct carrick_log_monitor *monitor,
                          void *arg);
    // What the copy shall bear from now on as (generation, member), made durable with the copy's level. Not as owner's
    // serve, which does so itself.
    int (*bear)(struct carrick_log *log, const struct carrick_generation *generation, bool member);
    // Becomes owner under this generation: cuts a torn tail, repairs or refuses, writes the generation into the copy,
    // tells all records to the consumer, then takes appends; ends with serving(). CARRICK_ERR_STATE while a session
    // stands in which the partner can write the copy: the session must have ended after the role left SHADOW (that end is the
    // fence). incarnation goes into a volatile copy.
    int (*serve)(struct carrick_log *log, const struct carrick_generation *generation,
                 uint32_t mirror);
    // Owner: changes whose acknowledgement is needed. To ALONE only after a win that removed the partner; with a new
    // generation, or NULL.
    int (*set_mirror)(struct carrick_log *log, uint32_t mirror,
                      const struct carrick_generation *generation);
    // Becomes shadow of an owner that bears `generation`: from the next session on the partner may write the copy. cut_above: what
    // this copy holds above this sequence is void (UINT64_MAX: nothing is): cut before anything is replayed, and after the
    // consumer has given it up. empty: the whole copy is to be taken anew. `copy` tells at once what will be left.
    int (*follow)(struct carrick_log *log, const struct carrick_generation *generation,
                  uint64_t cut_above, bool empty);
    // Withdraws the promise and stops: role IDLE at return, for good in memory. The session must end before serve.
    void (*idle)(struct carrick_log *log, const char *why);
    // Owner: stop taking appends (AGAIN) so that all in flight gets acknowledged; changed() tells when last == acknowledged.
    void (*quiesce)(struct carrick_log *log, bool quiet);
    // Owner: brings the partner's copy up to date, from its `last` as it told; progress by mirror_state, changed().
    int (*resync)(struct carrick_log *log, uint64_t partner_last, bool whole);
    // Idle, in a session: takes the records that this copy lacks up to `last` out of the partner's copy, by remote reads,
    // each checked against the one before it; a corrupt record is repaired in the same way. Ends with fetched(). A
    // corrupt copy asks for its repair by itself when the partner's is whole.
    int (*fetch)(struct carrick_log *log, uint64_t last);

    // ---- the consumer again
    // What it was told of by gives_up is on its disk for certain.
    void (*gave_up)(struct carrick_log *log);
    // The consumer cannot take or serve the group's records, for good: no memory for them, or one that fits none of its
    // shelves. The condition is UNUSABLE from now on. The log keeps all that it holds. May be called from callbacks.
    void (*fail)(struct carrick_log *log);
};

#ifdef __cplusplus
}
#endif

#endif
