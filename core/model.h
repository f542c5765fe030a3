// SPDX-License-Identifier: Apache-2.0
//
// The objects of a manager, and how they hang together. This file is the map of the core; each object's operations
// stand in the header and source of its name.
//
//     manager ─┬─ link (one per configured link) ─┬─ device, domain        of the transport
//              │                                   └─ conn ─┬─ control lane   who we are; messages
//              │                                            └─ lanes          remote reads, writes, sends
//              ├─ session   one at a time; bring-up and its end; stands on any number of conns
//              ├─ client ── vi ── vi_op      what clients see; a VI is placed on one lane at a time
//              └─ region    memory, registered in the domain of each link
//
// A conn is one connection of a link: it is made, proven, joined to the session, used, and after a failure kept until
// both nodes know what arrived over it (conn_fence.c). The link then makes a new one. A VI outlives conns; the
// session outlives links; the manager outlives sessions. All of it belongs to one thread.
#ifndef CORE_MODEL_H
#define CORE_MODEL_H

#include <carrick/arbiter.h>
#include <carrick/client.h>
#include <carrick/policy.h>
#include <carrick/transport.h>

#include "core/config.h"
#include "core/env.h"
#include "core/handshake.h"
#include "core/host.h"
#include "core/loader.h"
#include "core/manager.h"
#include "core/status_line.h"
#include "core/tables.h"
#include "core/told.h"

#define LANES_MAX 8u
#define LINKS_MAX 16u
#define RECEIVE_DEPTH 64u // sends that an endpoint has room for
#define CLIENTS_MAX 64u
#define SERVICES_MAX 64u
#define CONNS_PER_LINK_MAX 8u // handshakes under way and conns being fenced
#define CHUNK_BYTES_MAX                                                                            \
    (1u << 20) // an operation is split at this, or at the transport's max_message_bytes
#define LANE_WINDOW_BYTES (4u << 20) // posted on one lane at once, beyond the first operation
#define POOL_BUFFERS 512u            // send buffers of a manager
#define POOL_RESERVE 128u            // of them only for its own messages
#define POOL_BUFFER_BYTES 4352u
#define VI_DEPTH 256u // operations that a VI holds
#define CAUSE_BYTES 320u

struct manager;
struct link;
struct conn;
struct lane;
struct client;
struct vi;

// ---- regions

enum region_use {
    REGION_STATUS, // the status line: the partner reads it
    REGION_INBOX,  // the partner's tables: the partner writes them
    REGION_LOCAL,  // only for this node's own operations: scratch, send buffers, a client's own
    REGION_HERE,   // a partner's client asked for it
};

enum registration_state {
    REGISTRATION_NONE,
    REGISTRATION_MAKING,
    REGISTRATION_READY,
    REGISTRATION_ENDING,
};

struct region_on_link {
    struct region *region; // the cookie of REGISTERED and DEREGISTERED is this object
    struct link *link;
    enum registration_state state;
    struct carrick_registration *registration;
    struct carrick_remote_key key;
};

struct region {
    struct manager *manager;
    struct region *next, **link_back; // of manager->regions
    enum region_use use;
    uint32_t access;
    struct env_memory memory;
    uint64_t bytes;             // as asked for; memory.bytes is rounded up
    uint64_t offset;            // within the descriptor that a client gave
    bool backed;                // … if it gave one
    struct client *client;      // owner; NULL: the manager
    uint32_t operations;        // that use it now
    bool doomed;                // destroyed by its owner, kept until its registrations have ended
    struct region_on_link on[]; // one per link of the manager
};

// ---- lanes: one endpoint each, and what is posted on it

enum lane_state {
    LANE_NONE,
    LANE_CONNECTING,
    LANE_OPEN,
    LANE_CLOSING, // endpoint_close was called
    LANE_CLOSED,  // nothing of it can touch memory any more
};

// A thing posted on a lane. Its address is the cookie of its completion.
struct posted {
    struct lane *lane;
    uint32_t operation; // enum carrick_operation
    bool done;
    struct vi *vi; // whose it is; NULL: the manager's own
    struct vi_op *op;
    uint64_t bytes;
    void *buffer;                      // send buffer to give back
    void (*fn)(void *arg, int status); // the manager's own: what to do then
    void *arg;
};

struct lane {
    struct conn *conn;
    uint32_t index; // among conn->lanes; CONTROL_LANE: the control lane
    enum lane_state state;
    struct carrick_endpoint *endpoint;
    struct posted *ring; // [size], what is posted and not retired, in order of posting
    uint32_t size;       // a power of two
    uint64_t head,
        tail; // numbers of the oldest entry and of the next one; the target counts the same way
    uint64_t proven; // entries below are proven to be in the partner's memory
    uint64_t inflight_bytes;
    uint64_t probe_at_ns;   // when the probe that is under way was posted; 0: none is
    uint64_t progress_ns;   // when something last completed, or the lane was last empty
    uint64_t head_since_ns; // when the oldest entry became the oldest
    uint32_t reads;         // posted and not completed
    bool unproven; // something was posted after the last flush or read, where that is the proof
    uint64_t sends_retired;            // of this node's, that were received for certain
    uint64_t sends_received;           // of the partner, on this lane
    uint64_t applied;                  // partner's operations applied here; known with CLOSED
    struct vi *waiting, **waiting_end; // VIs that found no room, in order
};

#define CONTROL_LANE UINT32_MAX

// ---- conns

enum conn_state {
    CONN_CONNECTING, // the control endpoint is being connected or accepted
    CONN_PROVING,    // proofs are being exchanged; no memory can be reached
    CONN_JOINING,    // proven; data lanes are being connected
    CONN_JOINED,     // lanes stand; the session may read and write its tables over them
    CONN_UP,         // keys of all regions are known on both sides: VIs may use it
    CONN_CLOSING,    // endpoints are being closed
    CONN_FENCING,    // closed here; the partner's word on what arrived is awaited
    CONN_STATE_COUNT
};

// What one node tells the other about a conn that has ended, for each lane: how far it came.
struct fence_lane {
    uint64_t
        applied; // operations applied, in order of posting; FENCE_UNKNOWN: the transport cannot tell
    uint64_t sends; // sends received
};
#define FENCE_UNKNOWN UINT64_MAX

struct conn {
    struct link *link;
    struct conn *next; // of link->conns
    enum conn_state state;
    bool initiator; // this node connected
    uint64_t since_ns;
    uint64_t deadline_ns; // of the handshake and of joining
    struct handshake handshake;
    uint64_t id;                  // both nodes know it; names the conn in fence messages
    struct peer_identity partner; // proven
    struct lane control;
    struct lane lanes[LANES_MAX];
    uint32_t lane_count;
    uint32_t open_endpoints; // CLOSED is still to come
    uint32_t scratch;        // which part of the scratch region its probes use
    // keys of the regions that our clients asked for, at the partner, for this link
    struct carrick_remote_key *keys;
    uint32_t key_count, keys_known;
    uint32_t keys_told; // of ours, to the partner
    bool keys_sent;     // all of them, and the mark on every lane
    // after its end
    int cause_status;
    bool refusing;     // close in order, so that the partner reads why
    bool fence_needed; // it carried a session's data; the partner must confirm
    bool fence_told;   // the partner has our report
    bool fence_heard;  // we have the partner's
    uint64_t fence_sent_ns;
    struct fence_lane theirs[LANES_MAX];
};

// ---- links

enum link_device_state {
    LINK_DEVICE_NONE,      // no device is open: tried again
    LINK_DEVICE_IDLE,      // open, without a domain
    LINK_DEVICE_PREPARING, // domain made, memory being registered
    LINK_DEVICE_READY,     // may connect
    LINK_DEVICE_ENDING,    // conns are over, registrations are being ended
};

// What people see of a link; derived from its device and conns (link_state).
enum link_state {
    LINK_ADMIN_DOWN,
    LINK_DOWN, // no device, no carrier, or waiting to try again
    LINK_CONNECTING,
    LINK_PROVING,
    LINK_JOINING,
    LINK_UP,
    LINK_FENCING, // failed, and the partner has not confirmed it yet
    LINK_STATE_COUNT
};

struct link {
    struct manager *manager;
    uint32_t index; // in manager->links
    const struct config_link *config;
    struct host host;
    struct module *module, *wrapper; // wrapper may be NULL
    const struct carrick_transport_ops *ops;
    struct carrick_transport *transport;
    struct carrick_device *device;
    struct carrick_device_caps caps;
    struct carrick_domain *domain;
    struct env_watch *watch;
    struct env_timer *wake; // polls, for a device without a descriptor or with more to say
    struct env_timer *retry;
    bool retry_armed;
    enum link_device_state device_state;
    uint32_t registrations;  // that are not NONE
    uint32_t making;         // among them, those whose REGISTERED is still to come
    int registration_status; // why one failed, until link_poll has acted on it
    char registration_why[CAUSE_BYTES];
    uint64_t opening_ns; // since when the transport opens the device on a worker; 0: it does not
    bool opened_once;    // device_open has answered something else than that
    bool listening;
    bool ending;          // unprepare when the conns are over
    bool removed;         // the device is gone: close it when it is unprepared
    bool admin_down;      // by command
    bool carrier_down;    // the device said so
    bool down_here;       // … and that the cause lies at this node
    bool polling;         // inside of device_poll or its events
    struct conn *conns;   // all, in any state
    struct conn *current; // the one that is proven and not closing, or NULL
    uint32_t conn_count;
    uint32_t conn_serial;
    uint32_t backoff_ms;
    // what `carrick status` shows
    enum link_state shown_state; // when it was last told
    uint64_t since_ns;
    uint64_t up_since_ns;
    uint64_t hold_until_ns; // after a flap: not eligible before this, and then in slow start
    uint32_t spread_weight; // its weight when VIs were last spread
    uint32_t flaps;         // decays with time up
    uint64_t latency_ns;    // smoothed
    uint64_t failures;
    uint32_t vis;
    int32_t vis_due; // VIs that are bound for it, less those that are bound for another
    char cause[CAUSE_BYTES];
    struct told causes; // since it was up
};

// ---- VIs

// A send that overtook others: a VI that moves from one link to another has some in the hands of both devices.
struct vi_early {
    struct vi_early *next;
    uint64_t sequence;
    uint32_t length;
    uint8_t data[];
};

#define EARLY_MAX 1024u // of all VIs of a manager

enum vi_op_state {
    VI_OP_QUEUED,
    VI_OP_POSTED, // wholly posted
    VI_OP_DONE,
};

struct vi_op {
    uint32_t operation; // enum carrick_client_operation
    enum vi_op_state state;
    uint64_t cookie;
    struct region *region; // local
    uint64_t offset;
    uint64_t length;
    uint32_t there;
    uint64_t there_offset;
    uint64_t posted_bytes; // handed to the lane
    uint64_t done_bytes;   // proven
    uint32_t chunks;       // of it that are on the lane and not retired
    void *buffer;          // of a send: header and data, from the manager's pool
    void *spilled;         // … while no buffer was free: the same, elsewhere
    struct vi_op *writing_next, **writing_back; // of client->writing
};

// What is known of the openings of one VI number. It outlives each of them, and is forgotten with the session.
struct vi_opening {
    struct client *client;   // NULL: nothing is known
    struct vi_opening *next; // of manager->telling
    bool queued;
    bool told;           // what is to be told was told, and not answered yet
    bool heard;          // the partner knows of `here`
    uint32_t here;       // the newest here; 0: none
    uint32_t there;      // the partner's newest that was heard of
    uint32_t there_over; // the partner's are closed up to this one
    uint32_t closing;    // the one here whose end the partner does not know for certain; 0: none
    uint32_t answer_open, answer_close; // the partner's that is to be answered; 0: none
    uint64_t closing_sends;             // sends that had completed at its end
    uint64_t told_ns;
};

struct vi {
    struct client *client;
    uint32_t number;         // within the client
    uint64_t identity;       // rank of the client and number: the same on both nodes
    uint32_t state;          // enum carrick_vi_state
    uint32_t opening;        // its number: the same on both nodes once it is joined
    bool closing;            // vi_close was called
    struct lane *lane;       // where it is placed; NULL: stalled or not placed
    struct conn *fence;      // the conn whose fence it waits for
    struct vi *waiting_next; // of lane->waiting
    bool waiting;
    struct link *bound; // for this link, as soon as nothing is in flight; NULL: it stays
    bool
        held; // its next operation overlaps one that is not proven, or its memory is not registered yet
    struct vi *buffer_next;     // of manager->wants_buffer
    bool wants_buffer;          // its next operation is a send that has none
    struct vi_op *ring;         // [VI_DEPTH]
    uint64_t head, next, tail;  // oldest not completed, next to post, next free
    uint32_t inflight;          // chunks on the lane
    uint64_t send_sequence;     // of the last send posted by the client
    uint64_t received_sequence; // of the last send delivered to the client
    uint64_t sends_done;        // sends of the client that have completed
    struct vi_early *early;     // sends that came before others of theirs, by rising sequence
    uint64_t close_after;       // the partner has closed it, after so many sends; 0: it has not
    uint64_t posted_total, completed_total, carried_total;
};

// ---- clients

struct client_host {
    struct carrick_client_host base;
    struct client *client;
};

struct client {
    struct manager *manager;
    const struct config_client *config;
    struct host host;
    struct client_host client_host;
    struct module *module;
    const struct carrick_client_ops *ops;
    struct carrick_client *instance;
    // this bring-up
    struct client_need need; // what it asked for
    struct carrick_region_want *wants;
    bool isolated; // what it is asked it may answer later (CARRICK_ERR_AGAIN)
    bool left_out; // it cannot take part in the session that is being made
    bool matched;  // the partner has a client of that name
    uint32_t rank; // among the matched clients, by name
    struct client_need partner_need;
    struct client_region_need *partner_wants;
    uint32_t there_first; // index of its first region among a conn's keys
    uint64_t *there_bytes;
    struct region **here; // kept from session to session while size and access stay
    uint32_t here_count;
    uint32_t vi_count; // of bring-up
    struct vi **vis;   // [vis_room] by number
    uint32_t vis_room;
    struct vi_opening *openings; // [vis_room] by number
    uint32_t vis_open;           // VIs that exist
    struct vi_op *writing; // writes that are posted and not proven: what overlaps one of them waits
    uint32_t held;         // VIs that wait for one of them
    bool told_ready;
    bool provided; // it was asked for memory: it must hear when that is out of reach again
    struct carrick_completion completions[64];
    uint32_t completion_count;
    uint64_t overstays;
};

// ---- the session

// Why something ended, for `carrick status` and the log.
struct ending {
    uint32_t reason; // enum carrick_reason
    bool by_partner;
    uint64_t at_ns;
    char text[CAUSE_BYTES];
};

struct session {
    enum carrick_session_state state;
    uint64_t since_ns;
    uint64_t deadline_ns; // of the state; 0: none
    uint32_t generation;  // of this node: grows with every end
    bool bound;           // the following four are known
    uint64_t partner_incarnation;
    uint32_t partner_generation;
    uint64_t id;
    uint16_t version;
    struct conn *boot;  // the conn that bring-up goes over
    bool posted;        // an operation of this state is under way
    bool wrote;         // the table of this state is written and announced
    bool read_good;     // the partner's status line was read in this state
    bool end_asked;     // session_end was called; `reason` says why
    bool end_now;       // … and there is nobody to end it with in order
    bool peer_taken;    // we took the partner's peer information
    bool partner_took;  // the partner took ours
    bool told_clients;  // what our clients ask for was told, or is being told
    bool clients_known; // the partner's client information has come
    bool partner_ready;
    bool partner_ended; // ENDED has come
    bool told_ended;
    size_t table_bytes;     // length of the table that is being written
    uint64_t retry_ns;      // when to read again
    uint64_t lost_since_ns; // since when no conn is UP; 0: one is
    bool was_up;            // this one did reach UP
    uint32_t count;         // sessions that reached UP
    uint32_t failures;      // attempts since then that did not
    struct ending reason;   // of the end that is under way
    struct ending last_end;
    struct ending refused; // the last refusal, until a session is UP
    struct told refusals;  // since then
    struct client_info partner_clients;
    uint64_t asked_bytes; // of memory, by the partner's clients, that this session is built with
};

// ---- the manager

struct command_wait {
    struct command_wait *next;
    uint64_t token;
    uint64_t deadline_ns;
    struct client *client;
    void (*reply)(void *arg, int status, struct json_object *value);
    void *arg;
};

// What a client, or the core, does for the clients of this node.
struct service {
    struct client *client; // NULL: the core's
    char name[CARRICK_NAME_MAX + 1];
    const void *table;
    void *object;
};

// The arbiter plugin, and the questions that wait for its answer.
struct arbitration_wait {
    struct arbitration_wait *next;
    uint64_t cookie;
    void (*fn)(void *arg, int status, const struct carrick_arbiter_record *record);
    void *arg;
};

struct arbitration {
    struct carrick_arbiter_host arbiter_host;
    struct manager *manager;
    struct host host;
    struct module *module;
    const struct carrick_arbiter_ops *ops;
    struct carrick_arbiter *arbiter; // NULL: none is configured
    struct arbitration_wait *waits;
    uint64_t cookie;
};

struct manager {
    struct env *env;
    struct loader *loader;
    const struct config *config;
    const struct config_manager *section;
    uint32_t node; // index among config->nodes
    const char *node_name, *partner_name;
    struct cluster_key key;
    uint64_t incarnation;
    void (*stopped)(void *arg);
    void *stopped_arg;
    const struct manager_isolation *isolation; // NULL: clients are inline only
    bool stopping, stopped_told;

    struct link *links;
    uint32_t link_count;
    struct client *clients;
    uint32_t client_count;
    struct client *ranked[CLIENTS_MAX]; // matched clients by rank
    uint32_t ranked_count;
    struct region *regions;
    struct session session;

    struct region *status, *inbox, *scratch, *pool;
    struct status_line line;
    uint32_t line_sequence;
    struct carrick_partner_status partner_status;
    struct status_line_seen partner_seen; // the newest of its lines

    uint32_t *pool_free; // stack of free send buffers
    uint32_t pool_free_count;
    struct vi *wants_buffer, **wants_buffer_end; // VIs whose next send waits for one, in order
    bool buffer_turn;                            // the first of them has its turn

    struct host policy_host;
    struct module *policy_module;
    const struct carrick_policy_ops *policy_ops;
    struct carrick_policy *policy;
    uint64_t policy_sequence;

    struct env_timer *tick;
    uint64_t tick_due_ns;
    struct env_timer *soon; // session_advance outside of any callback
    bool advancing;
    bool vis_changed;                          // vi_open or vi_close was called
    struct vi_opening *telling, **telling_end; // VIs of which the partner is to be told
    bool vis_unheard;                          // some were told, and not answered yet
    bool polling;
    uint64_t active_ns; // when a poll last brought an event
    uint64_t busy_ns;   // spent in polls since the last tick
    uint64_t tick_ns;
    struct service services[SERVICES_MAX];
    uint32_t service_count;
    struct arbitration arbitration;
    struct command_wait *commands;
    uint64_t command_token;
    uint32_t early_count;
    bool break_replay; // the simulator's: shows that the tests notice
};

#endif
