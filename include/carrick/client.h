// SPDX-License-Identifier: Apache-2.0
//
// What a client plugin is: a process of the storage system (claim 1) that has virtual interfaces (VIs) to the
// client of the same name on the partner, and memory there that it reads and writes directly.
//
// A client's life; each line of the right column is a callback:
//
//     configuration read        create
//     bring-up begins           describe      how many VIs and how much memory at the partner it needs
//     the partner's table came  provide       (optional) which memory backs what the partner's client asks for
//     both sides are READY      ready         VIs are open, regions can be reached
//     data                      completed, received, vi_changed
//     the session is to end     ending        close your VIs until the deadline
//     the session has ended     ended         VIs and remote regions are gone; describe comes again
//     the daemon stops          destroy
//
// ready is always followed by ended before the next describe; ending may be left out when the partner died. So is
// provide, also where bring-up failed before ready. When ended comes, nothing of that session can reach this node's
// memory any more.
//
// The same shared object runs inline in the manager and in a process of its own; so nothing here holds only
// within one address space. In a process, everything below comes on the thread of its loop, in the same order, a moment
// later: a post is in the daemon's hands when its completion says so, and what was under way when a VI closes
// completes as CANCELLED. provide must then name a region of the host (region_fd), or memory that cannot be made
// shorter (F_SEAL_SHRINK). When the process ends, its VIs are closed, which tells the partner's client; it comes back
// with a new instance, in a new session, which is not made before the old process is gone for certain.
//
// Inline, every callback runs on the manager's thread, one at a time, and must not block: one that takes longer than the
// configured overstay_us is counted and logged by name. Host functions may be called from any callback, also before it
// returns; none blocks, and none calls back before it returns.
#ifndef CARRICK_CLIENT_H
#define CARRICK_CLIENT_H

#include <carrick/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CARRICK_CLIENT_REGIONS_MAX 1024u // regions that one client may ask for at the partner
#define CARRICK_CLIENT_VIS_MAX 4096u     // VIs of one client
#define CARRICK_SEND_BYTES_MAX 4096u     // longest send
#define CARRICK_CLIENT_TERMS_MAX 16384u  // bytes of a client's terms, with the NUL

struct carrick_client;
struct carrick_region;
struct carrick_vi;

// One region that the client wants to have at the partner, for itself to read and write from here.
struct carrick_region_want {
    uint32_t struct_size;
    uint32_t access; // enum carrick_access flags: what this side may do there; not 0
    uint64_t bytes;  // > 0; takes whole pages there, of which the rest cannot be reached
};

// The answer to describe. The client fills counts and wants; the arrays are the core's.
struct carrick_client_info {
    uint32_t struct_size;
    uint32_t
        vis; // VIs that it needs, 1 .. CARRICK_CLIENT_VIS_MAX. The larger number of both sides is made.
    uint32_t version;      // of the client's own protocol; the partner's client sees it in ready
    uint32_t region_count; // how many of wants are filled
    uint32_t region_max;   // room in wants
    uint32_t reserved;
    struct carrick_region_want *wants; // stride is wants->struct_size
    // Since ABI 1.1. What must be the same on both nodes of what this client was configured with: lines "KEY: VALUE" of
    // printable ASCII, each ended by a line feed, each key once, in all CARRICK_CLIENT_TERMS_MAX bytes with the NUL. Where both
    // nodes have the client and a key, and the values differ, both refuse the session (CARRICK_REASON_CONFIGURATION), and
    // tell the operator the key and both values; a key that one alone has means nothing. The client's own text, unchanged
    // until the next describe or destroy; NULL: none.
    const char *terms;
};

// The memory behind one region that the partner's client asked for.
struct carrick_region_backing {
    uint32_t struct_size;
    int32_t
        fd; // descriptor to map shared, which the core duplicates; -1: fresh zeroed memory of the core's
    uint64_t offset; // of the region within fd, page aligned
};

// What both sides agreed on, in ready. Pointers are valid until ended returns.
struct carrick_session_info {
    uint32_t struct_size;
    uint32_t partner_version; // carrick_client_info.version of the partner's client
    uint64_t session;         // identity of this session, the same on both nodes
    uint64_t incarnation;     // of this node's manager: new at each start
    uint64_t partner_incarnation;
    uint32_t vi_count; // open VIs, numbered from 0; vi i here is joined to vi i there
    uint32_t here_count;
    uint32_t there_count;
    uint32_t reserved;
    struct carrick_vi *const *vis;
    // Regions here, which the partner's client asked for: in its order. This side may read them at any time, and
    // may write a range that the partner may write only after the partner has handed it over by a send.
    struct carrick_region *const *here;
    // Sizes of the regions there, which this client asked for; an operation names them by their index.
    const uint64_t *there_bytes;
};

enum carrick_vi_state {
    CARRICK_VI_OPENING = 1, // opened here, not yet at the partner
    CARRICK_VI_OPEN = 2,    // joined, carries data
    CARRICK_VI_STALLED = 3, // its link failed; operations are kept, and go on by another link
    CARRICK_VI_CLOSED = 4,  // closed here, by the partner, or with the session
};

// One operation on a VI. Operations of one VI take effect in the order in which they were posted, as far as it can
// be seen: a send arrives after all writes before it are visible, a write that overlaps an earlier one lands
// after it, a read is answered after the writes before it. They complete in order, too. Each is carried over to
// another link if its own fails, and none takes effect twice in a way that can be seen.
struct carrick_op {
    uint32_t struct_size;
    uint32_t operation; // CARRICK_CLIENT_WRITE …
    uint64_t cookie;    // comes back in its completion
    // write, read: the local memory, which must stay untouched (write: unchanged) until the completion
    struct carrick_region *region;
    uint64_t offset;
    uint64_t length; // any, also more than a transport takes at once; 0 is allowed
    // write, read: the place there, by index of the region that this client asked for
    uint64_t there_offset;
    uint32_t there;
    uint32_t reserved;
    // send: up to CARRICK_SEND_BYTES_MAX bytes in `length`, copied before post returns
    const void *data;
};

enum carrick_client_operation {
    CARRICK_CLIENT_WRITE = 1, // completes when it is proven that the partner's memory holds it
    CARRICK_CLIENT_READ = 2,
    CARRICK_CLIENT_SEND =
        3, // completes when the partner's manager has it; it is delivered once, in order
    // Completes when all before it has completed, and asks the transport to prove that now rather than when convenient.
    CARRICK_CLIENT_FLUSH = 4,
};

struct carrick_completion {
    uint32_t struct_size;
    // CARRICK_OK, CARRICK_ERR_CANCELLED (VI closed here) or CARRICK_ERR_SESSION_ENDED; in the last two cases it is
    // unknown whether the operation took effect.
    int32_t status;
    uint64_t cookie;
    struct carrick_vi *vi;
};

// What is known of the partner, from its status line as last read by any link.
struct carrick_partner_status {
    uint32_t struct_size;
    uint32_t session_state; // enum carrick_session_state, of the partner
    uint32_t boot_stage;    // enum carrick_boot_stage
    uint32_t load_permille;
    uint64_t incarnation;
    uint64_t heartbeat;             // moves on as long as the partner's manager runs
    uint64_t shadow_sequence;       // what the partner's shadow client last told by status_shadow
    uint64_t read_at_ns;            // when the newest read began; 0: never read
    uint64_t heartbeat_moved_at_ns; // when a read first showed this heartbeat
    uint32_t links_up;
    uint32_t links;
    // Since ABI 1.1. How long the stillest of the partner's client processes ("isolation": "process") has given no sign of
    // life: the partner's manager tells this and all of the above while its storage software is frozen, or not there yet.
    uint32_t clients_still_ms;
    // Since ABI 1.1. How many of `links` are down for a reason that lies at this node: its device cannot be opened or is
    // gone, its interface is switched off, or an operator took the link down. Where it is all of them, this node's
    // interconnect driver has failed. A lost carrier does not count: either end may be the cause of that.
    uint32_t links_failed_here;
};

enum carrick_region_kind {
    CARRICK_REGION_VOLATILE = 1, // gone with this process
    CARRICK_REGION_MEMORY = 2, // tmpfs, hugetlbfs: outlives the process, gone with the node's power
    CARRICK_REGION_PERSISTENT =
        3, // device-DAX: outlives power once flushed from the processor's caches
};

struct carrick_region_info {
    uint32_t struct_size;
    uint32_t kind; // enum carrick_region_kind
    bool created;  // the file was not there: the region is zeroed
};

struct carrick_client_host {
    uint32_t struct_size;
    uint32_t reserved;
    const struct carrick_host *base;

    // Makes local memory for the client's own operations, zeroed, page aligned; bytes are rounded up to pages.
    // It can be used by operations at once, and lives until region_destroy or the client's end.
    int (*region_create)(const struct carrick_client_host *host, uint64_t bytes,
                         struct carrick_region **region);
    // Ends a region that region_create made. CARRICK_ERR_STATE while operations use it.
    int (*region_destroy)(struct carrick_region *region);
    // Where the region lies in the client's own address space, and how long it is. Constant for its life.
    void *(*region_ptr)(struct carrick_region *region);
    uint64_t (*region_bytes)(struct carrick_region *region);

    // Opens VI `number` (< CARRICK_CLIENT_VIS_MAX) beyond those of bring-up, or again after vi_close; it becomes OPEN
    // (vi_changed) when the partner's client has opened it too. Only between ready and ended.
    int (*vi_open)(const struct carrick_client_host *host, uint32_t number, struct carrick_vi **vi);
    // Closes a VI: what is in flight completes as CANCELLED, then vi_changed(CLOSED) comes, after which the handle
    // is gone. The partner's VI becomes CLOSED, too.
    int (*vi_close)(struct carrick_vi *vi);
    uint32_t (*vi_number)(struct carrick_vi *vi);

    // Posts count operations, all or none; stride is ops->struct_size. CARRICK_ERR_AGAIN when the VI has no room for
    // all (see vi_room), which a completion of this VI makes; CARRICK_ERR_BOUNDS, _INVALID name the caller's mistake. A
    // stalled VI takes operations.
    int (*post)(struct carrick_vi *vi, const struct carrick_op *ops, uint32_t count);
    // Operations that the VI can take now.
    uint32_t (*vi_room)(struct carrick_vi *vi);

    // What is known of the partner now. Fills within status->struct_size.
    void (*partner_status)(const struct carrick_client_host *host,
                           struct carrick_partner_status *status);
    // Sets what this node's status line tells as shadow sequence, and the boot stage.
    void (*status_shadow)(const struct carrick_client_host *host, uint64_t sequence);
    void (*status_boot_stage)(const struct carrick_client_host *host, uint32_t stage);

    // Asks for the session to be ended in order and brought up again (claim 22).
    int (*session_reset)(const struct carrick_client_host *host, const char *why);

    // Answers a command (see the op of that name) with one JSON value; once per token.
    void (*command_reply)(const struct carrick_client_host *host, uint64_t token, int status,
                          const char *json);

    // Since ABI 1.1.

    // A region for the client's own operations over a file, so that its content outlives the client: bytes (rounded
    // up to pages) of the file at path, which is made if it is not there. Only where that can be memory for remote
    // writes: tmpfs, hugetlbfs, device-DAX; CARRICK_ERR_NOT_SUPPORTED elsewhere, and error says what it is.
    // May block: only from create(). One opener at a time on this node: CARRICK_ERR_EXISTS.
    int (*region_open)(const struct carrick_client_host *host, const char *path, uint64_t bytes,
                       struct carrick_region **region, struct carrick_region_info *info,
                       struct carrick_error *error);
    // The descriptor behind a region, for carrick_region_backing.fd: a region made here may be what the partner reads
    // and writes. The region's; valid as long as it is.
    int (*region_fd)(struct carrick_region *region);

    // Services: what one client of a manager does for the others on the same node, by a table of functions that
    // begins with its struct_size (a header under carrick/ describes each). Only between clients in the same
    // process. offer: once per name (CARRICK_ERR_EXISTS), from create; table and object stay valid until destroy.
    // find: from the first describe on (CARRICK_ERR_NOT_FOUND); clients are destroyed in the reverse of the order
    // in which they stand in the configuration, so that one which stands later may use an earlier one until its own end.
    // Calls and callbacks of services come on the manager's thread; the same rule holds for them as for the
    // host: a function of a service never calls back before it returns.
    int (*service_offer)(const struct carrick_client_host *host, const char *name,
                         const void *table, void *object);
    int (*service_find)(const struct carrick_client_host *host, const char *name,
                        const void **table, void **object);
};

// Required unless marked optional.
struct carrick_client_ops {
    // Makes an instance. config is the client's section, JSON text, valid during the call.
    int (*create)(const struct carrick_client_host *host, const char *config,
                  struct carrick_client **client, struct carrick_error *error);
    // The session has ended; no callback follows.
    void (*destroy)(struct carrick_client *client);

    int (*describe)(struct carrick_client *client, struct carrick_client_info *info);
    void (*ready)(struct carrick_client *client, const struct carrick_session_info *session);
    // reason: enum carrick_reason. The session ends when all VIs of all clients are closed, or at deadline_ns.
    void (*ending)(struct carrick_client *client, uint32_t reason, uint64_t deadline_ns);
    // All outstanding operations have completed before this.
    void (*ended)(struct carrick_client *client, uint32_t reason);

    // Completions, in order per VI, gathered; stride is completions->struct_size.
    void (*completed)(struct carrick_client *client, const struct carrick_completion *completions,
                      uint32_t count);
    // A send of the partner; data is valid during the call.
    void (*received)(struct carrick_client *client, struct carrick_vi *vi, const void *data,
                     uint32_t length);

    // Optional from here on.
    // Checks a configuration section without an instance; any thread.
    int (*config_check)(const char *config, struct carrick_error *error);
    // The section changed on reload. CARRICK_ERR_CONFIG, or _NOT_SUPPORTED when it cannot be taken while running.
    int (*config_change)(struct carrick_client *client, const char *config,
                         struct carrick_error *error);
    // Names the memory behind region `index` that the partner's client asks for, in every bring-up. backing arrives with
    // fd -1. An error refuses the session for lack of resources. The answer may differ from session to session: another
    // file or another offset is mapped anew, the same is kept. Fresh memory (fd -1) is kept, with what lies in it, while the
    // partner asks for the same size and access.
    int (*provide)(struct carrick_client *client, uint32_t index,
                   const struct carrick_region_want *want, struct carrick_region_backing *backing);
    // Needed by a client that opens or closes VIs, or whose partner does: a handle is gone after CARRICK_VI_CLOSED.
    void (*vi_changed)(struct carrick_client *client, struct carrick_vi *vi, uint32_t state);
    // The client's own state as one JSON object for `carrick clients`, into text, NUL-ended within size. A member "trouble",
    // if there is one, says why it is not of use as it stands: `carrick status` tells the node as DEGRADED by it.
    void (*describe_state)(struct carrick_client *client, char *text, size_t size);
    // An operator's command, `carrick client NAME WORD [JSON]`. Answer with host->command_reply, now or later; one that
    // is not answered within 30 s is answered for the client with a timeout. Each is logged with who gave it, but for
    // the word "status", which therefore only reads.
    int (*command)(struct carrick_client *client, const char *word, const char *json,
                   uint64_t token);

    // Since ABI 1.1.

    // The daemon stops: finish or give up what is under way, and begin nothing more that takes a worker. Requests to
    // files and work must come to an end by themselves after this: the manager waits for them, then calls destroy.
    void (*stopping)(struct carrick_client *client);
};

static inline const struct carrick_completion *
carrick_completion_at(const struct carrick_completion *completions, uint32_t i)
{
    return (const struct carrick_completion *)((const char *)completions +
                                               (size_t)i * completions->struct_size);
}

static inline const struct carrick_op *carrick_op_at(const struct carrick_op *ops, uint32_t i)
{
    return (const struct carrick_op *)((const char *)ops + (size_t)i * ops->struct_size);
}

#ifdef __cplusplus
}
#endif

#endif
