// SPDX-License-Identifier: Apache-2.0
//
// An endpoint of the RDMA transports: its states, what is posted on it and what comes in, and the sources that work on it.
#ifndef RDMA_ENDPOINT_H
#define RDMA_ENDPOINT_H

#include "rdma_device.h"
#include "rdma_wire.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    RDMA_POSTED_MAX = 128,     // operations of the core per endpoint
    RDMA_RING = 256,           // those, and our own; a power of two
    RDMA_OWN_MAX = 4,          // of our own in the ring: HELLO, BYE and the flush behind it
    RDMA_CREDITS_MAX = 2,      // CREDITs under way, beside the ring
    RDMA_SEND_MAX = 4352,      // longest send
    RDMA_RECEIVE_DEPTH = 64,   // most sends that an endpoint has room for
    RDMA_RECEIVES_OWN = 4,     // and messages that need no credit: HELLO, two CREDITs, BYE
    RDMA_BOUNCES = 8,          // sends under way whose data lies in unregistered memory
    RDMA_READS_MAX = 16,       // in flight, and flushes
    RDMA_WRITTEN_MAX = 4,      // regions that a flush of the hardware is for
    RDMA_INLINE_MAX = 128,     // of the queue pair, headers included
    RDMA_SIGNAL_EVERY = 16,    // at the latest
    RDMA_PRIVATE_REQUEST = 56, // RoCE's
    RDMA_PRIVATE_REPLY = 128,  // of the core; RoCE has room for 196 in a reply, 148 in a reject
    RDMA_HALF_OPEN_MS = 5000,
    RDMA_CONNECT_MS = 5000, // unless the core says how long
    RDMA_LINGER_MS = 1000,
    RDMA_DRAIN_MS = 100, // after that the queue pair is destroyed first
    // The port's own answer to a lost packet: 4.096 us * 2^15 = 134 ms, 7 times. The core's probes are quicker.
    RDMA_ACK_TIMEOUT = 15,
    RDMA_RETRIES = 7,
    RDMA_RNR_RETRIES = 3,
    RDMA_RNR_TIMER = 12, // 0.64 ms
};

enum rdma_state {
    RDMA_ADDRESS,    // connecting side: the way to the partner is looked for
    RDMA_ROUTE,      // connecting side
    RDMA_CONNECTING, // connecting side: the partner's reply is awaited
    RDMA_REQUESTED,  // answering side: the core's answer is awaited
    RDMA_ACCEPTING,  // answering side: HELLO is awaited
    RDMA_OPEN,
    RDMA_LOST,      // DISCONNECTED told or to be told
    RDMA_LINGERING, // being closed in order: what was posted goes out
    RDMA_DRAINING,  // the queue pair is in the error state; its last completions are awaited
    RDMA_ENDING,    // that took too long: it is destroyed before CLOSED
    RDMA_CLOSED,    // CLOSED to be told, or told
};

enum rdma_job {
    RDMA_JOB_NONE,
    RDMA_JOB_PREPARE,   // makes buffers and queue pair
    RDMA_JOB_ESTABLISH, // moves the queue pair of the connecting side to its working state
    RDMA_JOB_DESTROY,
};

// A thread that is in rdma_connect. Its own until it is joined: all but the flags.
struct rdma_dial {
    struct list node;
    bool running; // it is to be joined
    bool stopped; // it was cancelled
    atomic_bool done;
    pthread_t thread;
    struct rdma_cm_id *id;
    struct rdma_conn_param param;
    int wake_fd;
    int failed_errno;
};

struct rdma_operation {
    uint64_t cookie;
    uint8_t *local;
    uint64_t length;
    uint64_t remote;
    uint32_t key;
    uint32_t local_key; // 0: the memory is not registered
    uint8_t kind;       // enum carrick_operation
    uint8_t message;    // enum rdma_message, of a send
    bool own;           // the core does not know of it
    bool signalled;
    bool done;
    bool is_inline;
    uint8_t places; // it takes among the reads in flight
    int8_t bounce;  // -1: none
    uint8_t inline_data[RDMA_INLINE_MAX];
};

// Operations by number; the number modulo RDMA_RING is the place in the ring.
// Always: told <= completed <= issued <= posted.
struct rdma_operations {
    struct rdma_operation *ring;
    uint64_t told, issued, posted;
    uint64_t swept;             // all below that were not signalled are known to be done
    uint32_t signals;           // signalled ones whose completion is still to come
    uint32_t unsignalled;       // since the last that was
    uint32_t own;               // of our own among them, not told
    uint32_t reads;             // in flight, and work requests of flushes
    uint32_t credits;           // sends that the partner has room for
    uint32_t unsent;            // sends of the core that wait for one
    bool room_wanted;           // the core waits for credits
    uint32_t credits_under_way; // CREDITs
    uint32_t credit_serial;
    bool uncertain; // a post failed: which of it the queue pair holds is not known
};

struct rdma_receives {
    uint32_t depth;    // buffers
    uint32_t bytes;    // of each
    uint32_t posted;   // that the queue pair holds
    uint16_t *waiting; // [depth] taken in and to be told, a ring
    uint32_t *lengths; // [depth] by buffer
    uint32_t first, count;
    uint16_t *told; // [depth] told: free at the next poll
    uint32_t told_count;
    uint32_t owed; // credits to give back
};

struct rdma_range {
    uint32_t key;
    uint64_t begin, end;
};

// What was written and not flushed yet. More regions than there is room for: count is one more than that.
struct rdma_written {
    uint32_t count;
    struct rdma_range at[RDMA_WRITTEN_MAX];
};

struct carrick_endpoint {
    struct carrick_device *device;
    struct carrick_domain *domain; // NULL: none
    enum rdma_state state;
    enum rdma_job job;
    struct list node; // in the device's list, or its graveyard
    struct list ready_node, hung_node, received_node;
    uint16_t slot;
    bool connecting_side;
    bool closing; // endpoint_close was called
    bool orderly;
    bool rejected; // by the core: no event follows
    bool gone;     // answering side: the partner has given up before the core answered
    bool stood;    // was OPEN once
    bool told_connected, told_lost;
    bool said_bye; // the partner ends it in order
    bool bye_sent;
    bool broken;   // the queue pair is in the error state, or there is none
    bool keeps_id; // its queue pair is destroyed alone, since the partner cannot be told now
    bool hung_up;
    uint64_t cookie;
    uint64_t deadline_ns; // 0: none

    bool tell_request, tell_connected, tell_room, tell_disconnected, tell_closed;
    int32_t lost_status;

    struct rdma_cm_id *id;
    struct rdma_dial dial;
    struct ibv_qp *qp;
    struct rdma_section remote;
    uint8_t initiator_depth, responder_resources;
    uint32_t timeout_ms;

    uint32_t wanted_receive_bytes, wanted_receive_depth;
    uint32_t data_in_bytes, data_out_bytes;
    uint8_t data_in[256];
    uint8_t data_out[RDMA_PRIVATE_REPLY];

    struct rdma_preface partner;
    struct rdma_operations operations;
    struct rdma_written written;
    struct rdma_receives receives;

    // headers, bounces, receives
    uint8_t *buffers;
    size_t buffers_bytes;
    struct ibv_mr *mr;
    uint8_t bounces_used; // a bit for each

    // of a job
    int job_status, job_errno;
    const char *job_step;

    uint64_t sent_messages, received_messages, write_bytes, read_bytes, completions;
};

// ---- rdma_endpoint.c, rdma_end.c

struct carrick_endpoint *rdma_endpoint_new(struct carrick_device *device, enum rdma_state state);
int rdma_endpoint_prepare(struct carrick_endpoint *endpoint,
                          const struct carrick_connect_options *options);
void rdma_endpoint_free(struct carrick_endpoint *endpoint);
void rdma_endpoint_ready(struct carrick_endpoint *endpoint);
void rdma_endpoint_run(struct carrick_endpoint *endpoint, struct rdma_output *out);
void rdma_endpoint_tell(struct carrick_endpoint *endpoint, struct rdma_output *out);
void rdma_endpoint_expire(struct carrick_endpoint *endpoint);
void rdma_endpoint_deadline(struct carrick_endpoint *endpoint, uint32_t ms);
void rdma_endpoint_open(struct carrick_endpoint *endpoint, const struct rdma_preface *partner);
// It is lost: the core is told, if it knows of it and has not closed it.
void rdma_endpoint_fail(struct carrick_endpoint *endpoint, int status);
// The same, with a line in the log.
void rdma_endpoint_abort(struct carrick_endpoint *endpoint, int status, const char *why);
// The partner is gone; what it sent before comes first.
void rdma_endpoint_hang_up(struct carrick_endpoint *endpoint);
void rdma_endpoint_close(struct carrick_endpoint *endpoint, bool orderly);
void rdma_endpoint_end(struct carrick_endpoint *endpoint);
// A completion came while the queue pair is in the error state.
void rdma_endpoint_drained(struct carrick_endpoint *endpoint);
// Those whose end waited for the interface, if it is back.
void rdma_endpoints_unpark(struct carrick_device *device);
void rdma_endpoint_bury(struct carrick_endpoint *endpoint);
void rdma_endpoint_give_back(struct carrick_endpoint *endpoint);

// ---- rdma_connect.c, rdma_listen.c

int rdma_endpoint_connect(struct carrick_device *device,
                          const struct carrick_connect_options *options,
                          struct carrick_endpoint **endpoint, struct carrick_error *error);
void rdma_connect_address(struct carrick_endpoint *endpoint);
void rdma_connect_route(struct carrick_endpoint *endpoint);
void rdma_connect_prepared(struct carrick_endpoint *endpoint);
void rdma_connect_reply(struct carrick_endpoint *endpoint, const struct rdma_conn_param *reply);
void rdma_connect_established(struct carrick_endpoint *endpoint);
void rdma_connect_refused(struct carrick_endpoint *endpoint, const void *data, size_t bytes);

int rdma_listen_begin(struct carrick_device *device, struct carrick_error *error);
void rdma_listen_end(struct carrick_device *device);
void rdma_listen_request(struct carrick_device *device, struct rdma_cm_id *id,
                         const struct rdma_conn_param *request);
int rdma_endpoint_accept(struct carrick_endpoint *endpoint,
                         const struct carrick_connect_options *options);
void rdma_endpoint_reject(struct carrick_endpoint *endpoint, const void *data, uint32_t data_bytes);
void rdma_accept_prepared(struct carrick_endpoint *endpoint);
void rdma_listen_release(struct carrick_endpoint *endpoint);
void rdma_preface_fill(const struct carrick_endpoint *endpoint, uint8_t kind, uint8_t data_bytes,
                       struct rdma_preface *preface);

// ---- rdma_dial.c

// rdma_connect on a thread of its own. Returns 0 or an errno; a failure that comes later ends the endpoint.
int rdma_dial_start(struct carrick_endpoint *endpoint, const struct rdma_conn_param *param);
// It need not go on.
void rdma_dial_stop(struct carrick_endpoint *endpoint);
// Returns when it has ended, which may take a while: on a worker, or when it is done.
void rdma_dial_join(struct carrick_endpoint *endpoint);
// Those that are done.
void rdma_dial_collect(struct carrick_device *device);

// ---- rdma_job.c

// Ends an id that never had a queue pair.
void rdma_job_end_id(struct carrick_device *device, struct rdma_cm_id *id);
// Runs it on a worker, which owns the endpoint's id, queue pair and buffers meanwhile.
void rdma_job_start(struct carrick_endpoint *endpoint, enum rdma_job job);
// Where it lies in the endpoint's buffers.
uint8_t *rdma_buffer_header(const struct carrick_endpoint *endpoint, uint64_t number);
uint8_t *rdma_buffer_credit(const struct carrick_endpoint *endpoint, uint32_t serial);
uint8_t *rdma_buffer_bounce(const struct carrick_endpoint *endpoint, uint32_t bounce);
uint8_t *rdma_buffer_receive(const struct carrick_endpoint *endpoint, uint32_t receive);
// Posts receives; returns 0 or an errno.
int rdma_receives_post(struct carrick_endpoint *endpoint, const uint16_t *buffers, uint32_t count);

// ---- rdma_flush.c: the endpoint's part

// Whether a flush is an operation of the hardware here: both devices have it.
bool rdma_flush_is_native(const struct carrick_endpoint *endpoint);
// A write is on its way.
void rdma_flush_wrote(struct carrick_endpoint *endpoint, const struct rdma_operation *op);
// How many regions a flush of the hardware is for now; 0: a read serves.
uint32_t rdma_flush_regions(const struct carrick_endpoint *endpoint);
// Posts that flush of the hardware. Returns 0 or an errno.
int rdma_flush_post(struct carrick_endpoint *endpoint, uint64_t number);
// What the partner's flush reads, and where ours reads it to, in this endpoint's protection domain.
const struct rdma_scratch *rdma_flush_scratch(const struct carrick_endpoint *endpoint);
// Makes the read.
void rdma_flush_fill(struct carrick_endpoint *endpoint, struct ibv_send_wr *wr,
                     struct ibv_sge *sge);

// ---- rdma_post.c, rdma_complete.c

int rdma_post(struct carrick_endpoint *endpoint, const struct carrick_work *work, uint32_t count);
uint32_t rdma_send_room(struct carrick_endpoint *endpoint, uint32_t wanted);
// Credits that are owed, if they are worth a message. It stands in no line: what waits for credits itself must not hold
// up those that the partner waits for.
void rdma_post_credits(struct carrick_endpoint *endpoint);
// A message of our own, behind what is posted.
void rdma_post_own(struct carrick_endpoint *endpoint, enum rdma_message message,
                   const void *payload, uint32_t bytes);
void rdma_post_own_flush(struct carrick_endpoint *endpoint);
// Hands to the queue pair what there is room for.
void rdma_issue(struct carrick_endpoint *endpoint);
void rdma_complete(struct carrick_device *device, const struct ibv_wc *wc, struct rdma_output *out);

static inline struct rdma_operation *rdma_operation_at(const struct carrick_endpoint *e,
                                                       uint64_t number)
{
    return &e->operations.ring[number % RDMA_RING];
}

// What a work request is, where it is not all of an operation.
#define RDMA_WORK_RECEIVE (UINT64_C(1) << 31)
#define RDMA_WORK_CREDIT (UINT64_C(1) << 30)
#define RDMA_WORK_PART (UINT64_C(1) << 29) // of an operation; another one tells of its end
#define RDMA_WORK_NUMBER (RDMA_WORK_PART - 1)

// wr_id: what a completion belongs to, in a form that may be out of date. Of an operation's number the low bits.
static inline uint64_t rdma_work_id(const struct carrick_endpoint *e, uint64_t what,
                                    uint64_t number)
{
    return (uint64_t)e->slot << 48 | (uint64_t)e->device->slots[e->slot].generation << 32 | what |
           (number & RDMA_WORK_NUMBER);
}

// The number of the operation, which is not told yet.
static inline uint64_t rdma_work_number(const struct rdma_operations *o, uint64_t work_id)
{
    return o->told + ((work_id - o->told) & RDMA_WORK_NUMBER);
}

#endif
