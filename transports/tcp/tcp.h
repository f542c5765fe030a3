// SPDX-License-Identifier: Apache-2.0
//
// What the sources of the tcp transport share. Everything runs on the manager's thread, except the look-up
// of names (tcp_resolve.c), which owns what it touches.
//
//   tcp_device.c    a device: its epoll descriptor, device_poll, deadlines
//   tcp_watch.c     how a connection's descriptor is waited for
//   tcp_domain.c    domains, registrations, keys
//   tcp_endpoint.c  life and end of an endpoint, its events       tcp_linger.c  its orderly end
//   tcp_connect.c   the connecting side     tcp_listen.c  the answering side    tcp_socket.c  options
//   tcp_receive.c   frames in               tcp_send.c    frames out            tcp_wire.c    their bytes
//   tcp_carrier.c   rtnetlink               tcp_config.c  sections              tcp_describe.c
#ifndef TCP_H
#define TCP_H

#include "tcp_config.h"
#include "common/list.h"
#include "tcp_wire.h"

#include <carrick/transport.h>

#include <sys/socket.h>
#include <sys/uio.h>

enum {
    TCP_POSTED_MAX = 256, // a power of two
    TCP_ENDPOINTS_PER_POLL = 64,
    TCP_ADDRESSES_MAX = 8, // of a name; further ones are not looked at
    TCP_HALF_OPEN_MAX = 64,
    TCP_HALF_OPEN_MS = 5000,
    TCP_LINGER_MS = 1000,
    TCP_RECEIVE_BUDGET_BYTES = 256 * 1024, // one endpoint's share of one poll
    TCP_SEND_BUDGET_BYTES = 256 * 1024,
    TCP_SHARED_FRAME_BYTES = 65536,   // longest frame where operations and answers take turns
    TCP_FRAME_WORTH_BYTES = 4096,     // less than that is not worth a frame of its own
    TCP_SEGMENT_LONG_BYTES = 8192,    // see batch_measure
    TCP_BATCHES_PER_MEASURE = 64,     // full ones
    TCP_BATCH_FRAMES = 64,            // frames of one system call
    TCP_FLUSH_PATIENCE_BYTES = 32768, // a flush is acknowledged at the latest after as much more
    TCP_POLLS_PER_EPOLL = 8,          // see tcp_device_poll
    TCP_POLLS_AWAKE = 256,            // without a sleep, from which on the device counts as polling
    TCP_SLEPT_RECEIVES = 32,          // see tcp_device_heat
    TCP_SWEEP_MS = 1,                 // see tcp_device_poll
    TCP_STAGE_BYTES = 8192,           // see tcp_receive.c
    TCP_STAGE_PAYLOAD_BYTES = 6144,   // frames of at most this are expected to fit there
    TCP_ARENA_BYTES = 256 * 1024,     // room for sends of one poll
    TCP_ARENA_ALIGN = 64,
};

// The array that device_poll was given.
struct tcp_output {
    struct carrick_event *events;
    uint32_t max;
    uint32_t count;
};

// What a descriptor in the device's epoll stands for; the first member of what owns it.
enum tcp_source_kind {
    TCP_SOURCE_ENDPOINT,
    TCP_SOURCE_LISTENER,
    TCP_SOURCE_TIMER,
    TCP_SOURCE_WAKE,
    TCP_SOURCE_CARRIER,
};

struct tcp_source {
    enum tcp_source_kind kind;
};

struct tcp_address {
    struct sockaddr_storage storage;
    socklen_t length; // 0: not known
};

// Of one name or number, in the resolver's order, each once.
struct tcp_addresses {
    struct tcp_address at[TCP_ADDRESSES_MAX];
    uint32_t count; // 0: not known
};

struct tcp_listener {
    struct tcp_source source;
    int fd;
};

struct carrick_transport {
    const struct carrick_host *host;
};

struct carrick_domain {
    struct carrick_device *device;
};

struct carrick_registration {
    struct carrick_domain *domain;
    struct list node; // in the device's list of events to tell
    bool telling;
    uint32_t event; // REGISTERED or DEREGISTERED
    uint32_t key;
    uint32_t access;
    uint64_t base; // random: the partner addresses base + offset
    uint64_t bytes;
    uint64_t cookie;
    unsigned char *memory;
};

// Registrations by key: the low bits are the slot, the others are random.
struct tcp_key_slot {
    struct carrick_registration *registration;
    uint32_t next_free;
};

struct tcp_keys {
    struct tcp_key_slot *slots;
    uint32_t used; // slots ever given out
    uint32_t capacity;
    uint32_t free_first, free_last, free_count; // oldest first
};

// The question that rtnetlink has not answered in full; until then what is known is not the whole.
enum tcp_asking {
    TCP_ASK_NOTHING,
    TCP_ASK_LINKS,
    TCP_ASK_ADDRESSES,
    TCP_ASK_LINK,
};

struct tcp_carrier {
    struct tcp_source source;
    int fd;
    uint32_t sequence;
    char interface[TCP_INTERFACE_BYTES]; // followed by name, when set
    bool follow_address;                 // the device is up only while an interface bears it
    uint32_t index;                      // of the interface, 0: not known
    bool address_seen;                   // in the dump that runs
    bool address_present;
    bool link_up;
    bool switched_on; // the interface is there, and administratively up
    enum tcp_asking asking;
    bool up;
    bool down_here; // not up, and the cause lies at this node
};

struct tcp_resolve; // a look-up under way

struct carrick_device {
    struct carrick_transport *transport;
    const struct carrick_host *host;
    char name[64];
    struct tcp_section local;
    struct tcp_settings settings;
    struct tcp_addresses
        addresses; // of the local section; the first is the one whose carrier counts
    struct tcp_resolve *resolve;
    uint64_t
        resolve_again_ns; // the name of the local section could not be looked up: try again then

    int epoll_fd, timer_fd, wake_fd;
    struct tcp_source timer_source, wake_source;
    struct tcp_listener listeners[TCP_ADDRESSES_MAX];
    uint32_t listener_count;
    struct tcp_carrier carrier;
    bool listening;        // asked for; the listeners follow when the addresses are known
    bool accept_paused;    // too many half-open, or no descriptor left
    uint64_t accept_at_ns; // when to try again
    bool address_lost;     // the name of the local section leads nowhere
    bool told_down;        // what the core was told last
    bool told_down_here;

    struct list endpoints;
    struct list ready;     // endpoints with something to do that no descriptor tells of
    struct list graveyard; // endpoints to free before the next poll
    struct list telling;   // registrations
    uint32_t half_open;
    struct carrick_endpoint *hot; // the last that received
    struct list direct;           // endpoints with a watch of their own
    void (*wake)(void *arg);      // of the core; NULL: it gave none, or the host has no watches
    void *wake_arg;
    uint64_t swept_ns; // when all of them were looked at last

    struct tcp_keys keys;
    uint64_t timer_ns; // what timer_fd is set to, 0: nothing
    uint64_t poll_count;
    uint64_t slept_poll; // the poll before which device_arm answered 0 last
    bool armed;          // device_arm answered 0 and no poll came since
    bool slept;          // it had answered 0 before the poll that runs
    bool called;         // a watch asked for the next poll
    bool woken;          // wake_fd was written

    uint64_t accepted, refused_strangers, evicted;
};

enum tcp_state {
    TCP_RESOLVING,  // connecting side: waits for names
    TCP_CONNECTING, // connecting side: waits for the kernel
    TCP_GREETING,   // connecting side: waits for the answer to HELLO
    TCP_KNOCKING,   // answering side: waits for HELLO; the core does not know of it
    TCP_REQUESTED, // answering side: waits for the core; fd is -1 when the partner has given up meanwhile
    TCP_OPEN,
    TCP_LOST,      // DISCONNECTED told or to be told; no descriptor
    TCP_LINGERING, // being closed in order
    TCP_CLOSED,    // CLOSED to be told
};

struct tcp_operation {
    uint64_t cookie;
    unsigned char *local;
    uint64_t length;
    uint64_t remote;
    uint32_t key;
    uint8_t kind; // enum carrick_operation
    bool done;    // a read's answer is in
};

// Operations of this side by number; the number modulo TCP_POSTED_MAX is the place in the ring. There is
// always: told <= stream.sent <= posted, and posted - told <= TCP_POSTED_MAX.
struct tcp_operations {
    struct tcp_operation ring[TCP_POSTED_MAX];
    uint64_t told;        // completed and told
    uint64_t posted;      // the number of the next
    uint64_t sent_offset; // of the operation stream.sent
    uint64_t read_next;   // no read that waits for its answer is older
    uint32_t reads;       // that are posted and not answered
};

// A read of the partner that is being answered.
struct tcp_answer {
    struct carrick_registration *registration;
    unsigned char *memory;
    uint64_t length;
    uint64_t offset;
};

// Frames that are going out in one system call, or in several when the socket's buffer is full.
struct tcp_batch {
    struct iovec iov[2 * TCP_BATCH_FRAMES];
    unsigned char headers[TCP_BATCH_FRAMES][TCP_WIRE_HEADER_BYTES];
    struct carrick_registration *source[TCP_BATCH_FRAMES]; // whose memory an answer comes from
    uint32_t iov_first, iov_count;
    uint32_t frames;
};

struct tcp_sender {
    struct tcp_batch batch;
    uint32_t batch_bytes; // most that a batch holds
    uint32_t full_batches;
    struct tcp_answer
        answers[TCP_WIRE_READS_MAX]; // a ring, from answer_first on, stream.answers_due long
    uint32_t answer_first;
    bool ack_due;
    bool flush_due;    // a flush waits for that ACK
    bool close_queued; // CLOSE is in the batch or out
    bool blocked;      // the socket takes no more for now
    bool watching;     // EPOLLOUT is on
    int broken;        // errno of the send that failed
    uint32_t partner_receive_bytes;
};

struct tcp_receiver {
    unsigned char header[TCP_WIRE_HEADER_BYTES];
    uint32_t header_have;
    bool taken;      // `frame` is the header's, but had no room to begin yet
    bool frame_open; // `frame` has begun, its payload is coming
    struct tcp_frame frame;
    uint32_t stage_at, stage_have; // what of `stage` is not taken yet
    bool large;                    // frames too long for the stage are expected
    unsigned char *place;          // of the next byte of payload
    uint32_t left;
    unsigned char *message;                    // of a send, from its begin
    struct carrick_registration *registration; // whose memory `place` is in
    uint32_t flush_bytes;                      // received since the flush that waits for its ACK
    uint64_t applied;                          // operations of the partner
    unsigned char *arena;                      // sends, valid until the next poll
    uint32_t arena_bytes, arena_used, arena_count;
    uint64_t arena_poll; // the poll that arena_used and arena_count are of
    unsigned char stage[TCP_STAGE_BYTES];
};

struct tcp_counters {
    uint64_t receive_calls, receive_bytes, receive_frames;
    uint64_t send_calls, send_bytes, send_frames;
    uint64_t copied_bytes; // payload that was moved once more than the kernel does
};

struct carrick_endpoint {
    struct tcp_source source;
    enum tcp_state state;
    struct carrick_device *device;
    struct carrick_domain *domain;
    struct list node;       // in the device's list, or its graveyard
    struct list ready_node; // in the device's ready list while is_ready
    bool is_ready;
    bool connecting_side;
    bool known; // the core has, or will get, the handle
    bool stood; // was OPEN once
    int fd;
    uint64_t cookie;
    uint64_t deadline_ns; // 0: none
    uint64_t last_poll;   // the poll that ran it last

    // What is to be told, in this order; completions come between CONNECTED and DISCONNECTED.
    bool tell_request, tell_connected, tell_disconnected, tell_closed;
    int32_t lost_status;

    bool in_epoll;                // its descriptor is in the device's epoll
    struct carrick_watch *direct; // or in the host's loop, see tcp_watch.c
    struct list direct_node;
    uint32_t slept_receives;
    bool receive_more; // there may be more to receive that no descriptor tells of
    struct tcp_section remote;
    struct tcp_address remote_address;
    struct tcp_resolve *resolve;
    uint64_t linger_until_ns, linger_step_ns;

    uint32_t receive_bytes, receive_depth;
    uint32_t data_in_bytes, data_out_bytes;
    unsigned char data_in[TCP_WIRE_PRIVATE_MAX];
    unsigned char data_out[TCP_WIRE_PRIVATE_MAX];

    struct tcp_stream stream;
    struct tcp_operations operations;
    struct tcp_receiver receiver;
    struct tcp_sender sender;
    struct tcp_counters counters;
};

// ---- tcp_device.c

int tcp_device_open(struct carrick_transport *transport,
                    const struct carrick_device_options *options, struct carrick_device **device,
                    struct carrick_error *error);
void tcp_device_close(struct carrick_device *device);
uint32_t tcp_device_poll(struct carrick_device *device, struct carrick_event *events, uint32_t max);
int tcp_device_fd(struct carrick_device *device);
int tcp_device_arm(struct carrick_device *device);
// Makes device_fd readable if the core may be asleep on it.
void tcp_device_kick(struct carrick_device *device);
// Sees to it that tcp_device_expire runs no later than that.
void tcp_device_deadline(struct carrick_device *device, uint64_t at_ns);
// The local addresses are known now, or cannot be found (none).
void tcp_device_resolved(struct carrick_device *device, const struct tcp_addresses *addresses);
int tcp_device_watch(struct carrick_device *device, int operation, int fd, uint32_t events,
                     struct tcp_source *source);

static inline bool tcp_output_full(const struct tcp_output *out)
{
    return out->count >= out->max;
}
void tcp_output_put(struct tcp_output *out, const struct carrick_event *event);

// ---- tcp_watch.c

void tcp_device_wake(struct carrick_device *device, void (*wake)(void *arg), void *arg);
// The endpoint that received last is the one that device_poll tries first.
void tcp_device_heat(struct carrick_endpoint *endpoint);
// The device is polled without pause: nothing need wake it.
void tcp_device_awake(struct carrick_device *device);
// What the endpoint's descriptor is watched for from now on.
void tcp_endpoint_watch(struct carrick_endpoint *endpoint, uint32_t epoll_events);
// In the device's epoll again, whichever way it was.
void tcp_endpoint_watch_usual(struct carrick_endpoint *endpoint);
// Takes its own watch away, before its descriptor is closed; the device's epoll forgets that by itself.
void tcp_endpoint_watch_end(struct carrick_endpoint *endpoint);
// Looks at all with watches of their own, for a caller who cannot wait for these.
void tcp_device_sweep(struct carrick_device *device, struct tcp_output *out);

// Nothing tells of it: it must be asked.
static inline bool tcp_endpoint_detached(const struct carrick_endpoint *e)
{
    return e->fd >= 0 && !e->in_epoll && e->direct == NULL;
}

// ---- tcp_domain.c

int tcp_domain_create(struct carrick_device *device, struct carrick_domain **domain);
void tcp_domain_destroy(struct carrick_domain *domain);
int tcp_region_register(struct carrick_domain *domain, const struct carrick_region_options *options,
                        struct carrick_registration **registration);
int tcp_region_deregister(struct carrick_registration *registration);
// The registration that a partner's operation of that extent may use, or NULL with the reason in *why.
struct carrick_registration *tcp_region_find(const struct carrick_endpoint *endpoint,
                                             const struct tcp_frame *frame, uint64_t length,
                                             uint32_t access, const char **why);
void tcp_regions_tell(struct carrick_device *device, struct tcp_output *out);
void tcp_keys_free(struct tcp_keys *keys);

// ---- tcp_endpoint.c

struct carrick_endpoint *tcp_endpoint_new(struct carrick_device *device, enum tcp_state state);
// Room for what the partner may send; CARRICK_ERR_NO_MEMORY.
int tcp_endpoint_prepare(struct carrick_endpoint *endpoint,
                         const struct carrick_connect_options *options);
void tcp_endpoint_ready(struct carrick_endpoint *endpoint);
// Does what there is to do, given what epoll said of its descriptor.
void tcp_endpoint_run(struct carrick_endpoint *endpoint, uint32_t epoll_events,
                      struct tcp_output *out);
void tcp_endpoint_expire(struct carrick_endpoint *endpoint, uint64_t now_ns);
void tcp_endpoint_tell(struct carrick_endpoint *endpoint, struct tcp_output *out);
// Ends it: from here on nothing of it touches memory. DISCONNECTED with that status follows, where the
// core knows of it.
void tcp_endpoint_fail(struct carrick_endpoint *endpoint, int status);
// The same for a partner that broke a rule: it is told, and the log too.
void tcp_endpoint_abort(struct carrick_endpoint *endpoint, int status, const char *why);
// The same for an errno of its socket.
void tcp_endpoint_fail_errno(struct carrick_endpoint *endpoint, int error);
void tcp_endpoint_shut(struct carrick_endpoint *endpoint); // its descriptor, if any
void tcp_endpoint_bury(struct carrick_endpoint *endpoint);
void tcp_endpoint_free(struct carrick_endpoint *endpoint);
void tcp_endpoint_close(struct carrick_endpoint *endpoint, bool orderly);

// ---- tcp_linger.c

void tcp_linger_begin(struct carrick_endpoint *endpoint);
void tcp_linger_run(struct carrick_endpoint *endpoint);
// early: what the kernel still holds to be sent is thrown away.
void tcp_linger_end(struct carrick_endpoint *endpoint, bool early);

// ---- tcp_connect.c, tcp_listen.c

int tcp_endpoint_connect(struct carrick_device *device,
                         const struct carrick_connect_options *options,
                         struct carrick_endpoint **endpoint, struct carrick_error *error);
void tcp_connect_start(struct carrick_endpoint *endpoint);
// The partner's address to connect to, of a name that has several; none when the name was not found.
void tcp_connect_resolved(struct carrick_endpoint *endpoint, const struct tcp_addresses *addresses);
void tcp_connect_finish(struct carrick_endpoint *endpoint);
int tcp_listen(struct carrick_device *device, struct carrick_error *error);
int tcp_listen_start(struct carrick_device *device, struct carrick_error *error);
void tcp_unlisten(struct carrick_device *device);
void tcp_listen_end(struct carrick_device *device);
void tcp_listen_accept(struct carrick_device *device, struct tcp_listener *listener);
void tcp_listen_resume(struct carrick_device *device);
void tcp_listen_hello(struct carrick_endpoint *endpoint);
// One that counted as half-open does so no more.
void tcp_listen_release(struct carrick_endpoint *endpoint);
int tcp_endpoint_accept(struct carrick_endpoint *endpoint,
                        const struct carrick_connect_options *options);
void tcp_endpoint_reject(struct carrick_endpoint *endpoint, const void *data, uint32_t data_bytes);

// ---- tcp_resolve.c

// The address of a section whose address is numeric; false: it must be looked up.
bool tcp_resolve_numeric(const struct tcp_section *section, struct tcp_addresses *addresses);
// Looks up on a worker, then calls tcp_connect_resolved or tcp_device_resolved.
int tcp_resolve_start(struct carrick_device *device, struct carrick_endpoint *endpoint);
// The owner is going; the look-up ends by itself.
void tcp_resolve_forget(struct tcp_resolve **resolve);
void tcp_address_text(const struct tcp_address *address, char *text, size_t size);

// ---- tcp_socket.c

int tcp_socket_new(const struct carrick_device *device, int family, bool listener);
void tcp_socket_options(const struct carrick_device *device, int fd);
// Closing it from now on throws away what the kernel still holds to be sent, and resets the connection.
void tcp_socket_reset(int fd);

// ---- tcp_receive.c

void tcp_receive(struct carrick_endpoint *endpoint, struct tcp_output *out);

// ---- tcp_send.c

int tcp_post(struct carrick_endpoint *endpoint, const struct carrick_work *work, uint32_t count);
void tcp_transmit(struct carrick_endpoint *endpoint);
bool tcp_transmit_wanted(const struct carrick_endpoint *endpoint);
// A frame of the handshake or the end, with payload that stays in place; the batch must have room.
void tcp_send_frame(struct carrick_endpoint *endpoint, const struct tcp_frame *frame,
                    void *payload);
// The oldest read that waits for its answer has all of it.
void tcp_read_done(struct carrick_endpoint *endpoint);
void tcp_answer_push(struct carrick_endpoint *endpoint, const struct tcp_answer *answer);

// ---- tcp_carrier.c

void tcp_carrier_open(struct carrick_device *device);
void tcp_carrier_close(struct carrick_device *device);
void tcp_carrier_read(struct carrick_device *device);
// False: it is known that the interface has no carrier, or that no interface has the address.
bool tcp_carrier_up(const struct carrick_device *device);
bool tcp_carrier_down_here(const struct carrick_device *device);

// ---- tcp_describe.c

void tcp_describe(struct carrick_device *device, struct carrick_endpoint *endpoint, char *text,
                  size_t size);

#endif
