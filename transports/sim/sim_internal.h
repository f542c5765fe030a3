// SPDX-License-Identifier: Apache-2.0
//
// The parts of a fabric.
//
//     fabric ─┬─ node            one per name; frozen or not
//             ├─ port            one per device address; its device, when one is open
//             ├─ path            one per pair of ports that ever connected; what is wrong with it
//             ├─ wire            one per connection: two ends (endpoints), two lanes
//             └─ heap            what happens next: a lane delivers its first message, or something by itself
//
// A lane is what goes one way on a wire, in order. It is in the heap while it has a message that can get through;
// a lane that cannot (silence, a frozen target, a full receiver) stands aside until fabric_kick.
#ifndef SIM_INTERNAL_H
#define SIM_INTERNAL_H

#include "transports/sim/sim_fabric.h"

#define SIM_NAME_BYTES 32
#define SIM_REQUESTS_MAX 64u         // connection requests that wait on one device
#define SIM_REQUEST_NS 5000000000ull // and for how long
#define SIM_PRIVATE_BYTES 256u       // private data of a request or reply
#define SIM_BUCKETS 64u              // of a device's registrations by key

struct sim_message;
struct sim_wire;

// Something in the heap. Embedded first in what it belongs to.
struct sim_item {
    uint64_t due;
    uint64_t order; // breaks ties, seeded
    uint32_t place; // in the heap, from 1; 0: not in it
    uint32_t kind;  // enum sim_item_kind
};

enum sim_item_kind {
    SIM_ITEM_LANE,     // struct sim_lane
    SIM_ITEM_TIMEOUT,  // struct sim_endpoint, item[]: the connection did not come about
    SIM_ITEM_CLOSE,    // … CLOSED is due
    SIM_ITEM_LOST,     // … learns that it is lost
    SIM_ITEM_LOCAL,    // … some of what is posted has left the local buffers
    SIM_ITEM_REGISTER, // struct carrick_registration: REGISTERED or DEREGISTERED is due
    SIM_ITEM_READ,     // struct sim_read: the next piece is fetched
};

struct sim_node {
    struct sim_node *next;
    char name[SIM_NAME_BYTES];
    bool frozen, memory_open;
    bool silent; // it died without a word: who connects gets no answer
    uint64_t heard_gone_ns;
};

struct sim_port {
    struct sim_port *next;
    char address[SIM_NAME_BYTES];
    struct sim_node *node; // of the device that was last open here, or NULL
    struct carrick_device *device;
    bool down;    // no carrier
    bool removed; // the device is pulled out
};

struct sim_path {
    struct sim_path *next;
    struct sim_port *port[2];
    bool silent_to[2]; // nothing reaches port[i]
    bool refusing;
    uint64_t delay_min_ns, delay_max_ns;
};

enum sim_message_kind {
    SIM_CONNECT,
    SIM_ACCEPT,
    SIM_JOINED, // the connecting side is connected
    SIM_REJECT,
    SIM_WRITE, // one piece of it
    SIM_READ,
    SIM_READ_PIECE,
    SIM_SEND,
    SIM_FLUSH,
    SIM_ACK,
    SIM_NAK,
    SIM_END, // closed in order, or reset: status says which
};

struct sim_message {
    struct sim_message *next;
    uint64_t due;
    uint32_t kind;
    int32_t status;
    uint64_t number; // of the operation on its endpoint, or which one is answered
    uint64_t remote, offset, length, whole;
    uint32_t key;
    bool last;        // piece
    const void *from; // in the sender's memory, unless owned
    void *owned;
};

// What goes to end[i] is lane[i].
struct sim_lane {
    struct sim_item item;
    struct sim_wire *wire;
    uint32_t to;
    struct sim_message *first, **last;
    uint64_t last_due;
    bool dead; // nothing gets through any more
};

struct sim_wire {
    struct sim_wire *next;
    struct sim_fabric *fabric;
    struct sim_path *path;
    struct sim_port *port[2]; // [0] connected, [1] answered
    struct carrick_endpoint *end[2];
    bool gone[2];   // there was an end, and it is no more
    bool requested; // end[1] was made
    bool broken;    // nothing new is taken
    bool deaf;      // and nobody answers for an end that is gone
    struct sim_lane lane[2];
};

// ---- what the transport's user sees

struct sim_event {
    struct sim_event *next;
    struct carrick_event event;
    void *data; // owned
};

struct carrick_transport {
    const struct carrick_host *host;
};

struct carrick_device {
    struct carrick_transport *transport;
    struct sim_fabric *fabric;
    struct sim_port *port;
    struct sim_node *node;
    struct sim_event *first, **last; // to be polled
    struct sim_event *handed;        // their data is valid until the next poll
    struct carrick_domain *domains;
    struct carrick_endpoint *endpoints;
    struct carrick_registration *bucket[SIM_BUCKETS];
    struct carrick_timer *timer;
    void (*wake)(void *arg);
    void *wake_arg;
    uint32_t requests;
    bool armed, polling, listening;
    bool dead;      // its node was killed
    bool unplugged; // it was pulled out while it was open
};

struct carrick_domain {
    struct carrick_domain *next;
    struct carrick_device *device;
    uint32_t registrations, endpoints;
};

struct carrick_registration {
    struct sim_item item;
    struct carrick_registration *next; // in its bucket
    struct carrick_domain *domain;
    struct carrick_remote_key key;
    uint32_t access;
    uint8_t *address;
    uint64_t bytes;
    uint64_t cookie;
    uint32_t posted; // operations that use it as local memory
    bool made, ending;
};

enum sim_endpoint_state {
    SIM_ENDPOINT_REQUEST,    // asked for, not answered
    SIM_ENDPOINT_CONNECTING, // connecting, or accepted and waiting for the other side
    SIM_ENDPOINT_CONNECTED,
    SIM_ENDPOINT_LOST,    // DISCONNECTED was told
    SIM_ENDPOINT_CLOSING, // endpoint_close was called
    SIM_ENDPOINT_CLOSED,  // CLOSED was told, and not yet taken
};

struct sim_posted {
    uint64_t cookie;
    uint32_t operation;
    bool done;
    uint8_t *local;
    uint64_t length;
    uint64_t local_due; // when the buffer is free, for CARRICK_PROOF_LOCAL
    struct carrick_registration *registration;
};

struct carrick_endpoint {
    struct sim_item timeout, close, lost, local;
    struct carrick_endpoint *next; // of its device
    struct carrick_device *device;
    struct carrick_domain *domain;
    struct sim_wire *wire;
    uint32_t end; // wire->end[end] is this
    uint32_t state;
    uint64_t cookie;
    int32_t lost_status;
    uint32_t receive_bytes, receive_depth;
    uint32_t receives;       // told and not yet taken
    uint64_t sends;          // posted
    uint64_t sends_taken;    // of the partner
    bool room_wanted;        // send_room answered less than was wanted
    struct sim_posted *ring; // [max_posted]
    uint64_t head, tail;     // numbers of the oldest posted operation and of the next
    uint32_t reads;          // among them
    uint64_t applied;        // partner's operations done here
    uint64_t failed;         // number of the operation that the partner refused; UINT64_MAX: none
    bool registrations_held;
};

// A read that is being answered: pieces of the target's memory, each fetched at its own time.
struct sim_read {
    struct sim_item item;
    struct sim_read *next;
    struct carrick_endpoint *target;
    uint64_t number, remote, offset, length, piece;
    uint32_t key;
};

struct sim_fabric {
    struct sim_fabric_options options;
    int id;
    bool automatic; // made for fabric 0
    uint64_t random;
    uint64_t now;                 // the latest that was seen
    struct carrick_device *clock; // whose host tells the time, when the owner does not
    struct sim_node *nodes;
    struct sim_port *ports;
    struct sim_path *paths;
    struct sim_wire *wires;
    struct sim_read *reads;
    struct sim_message *spare;
    struct sim_item **heap; // [1 .. heap_used]
    uint32_t heap_used, heap_room;
    bool running;
    struct sim_fabric_counters counters;
};

// fabric.c
struct sim_fabric *fabric_find(int id);
struct sim_fabric *fabric_automatic(void);
uint64_t fabric_now(struct sim_fabric *fabric);
uint64_t fabric_random(struct sim_fabric *fabric, uint64_t below); // 0 .. below-1; below 0: 0
bool fabric_chance(struct sim_fabric *fabric, unsigned percent);
void fabric_put(struct sim_fabric *fabric, struct sim_item *item, uint64_t due);
void fabric_take(struct sim_fabric *fabric, struct sim_item *item);
void fabric_rearm(struct sim_fabric *fabric); // the devices' timers, when they run the fabric
struct sim_node *fabric_node(struct sim_fabric *fabric, const char *name);
struct sim_port *fabric_port(struct sim_fabric *fabric, const char *address);
struct sim_path *fabric_path(struct sim_fabric *fabric, struct sim_port *a, struct sim_port *b);
__attribute__((format(printf, 2, 3))) void fabric_misuse(struct sim_fabric *fabric,
                                                         const char *format, ...);

// wire.c
struct sim_wire *wire_create(struct sim_fabric *fabric, struct sim_port *from, struct sim_port *to);
struct sim_message *message_create(struct sim_fabric *fabric, uint32_t kind);
void message_destroy(struct sim_fabric *fabric, struct sim_message *message);
bool message_own(struct sim_message *message); // copies what it points to
void wire_send(struct sim_wire *wire, uint32_t to, struct sim_message *message);
void lane_kick(struct sim_lane *lane);
void lane_drop(struct sim_lane *lane, uint32_t keep); // all but the first `keep` messages
uint32_t lane_length(const struct sim_lane *lane);
void wire_detach(struct sim_wire *wire, uint32_t end);
void wire_collect(struct sim_wire *wire); // frees it when nothing is left of it
void fabric_kick(struct sim_fabric *fabric);
void fabric_reads_drop(struct sim_fabric *fabric, struct carrick_endpoint *target);
bool lane_blocked(const struct sim_lane *lane);

// deliver.c
void lane_deliver(struct sim_lane *lane);
void read_step(struct sim_read *read);
struct carrick_registration *registration_find(struct carrick_device *device, uint32_t key);

// endpoint.c
void endpoint_complete(struct carrick_endpoint *endpoint, uint64_t number, int status);
void endpoint_lose(struct carrick_endpoint *endpoint, int status, const void *data, uint32_t bytes);
void endpoint_lose_later(struct carrick_endpoint *endpoint, int status);
void endpoint_local_done(struct carrick_endpoint *endpoint);
void endpoint_closed(struct carrick_endpoint *endpoint);
void endpoint_timed_out(struct carrick_endpoint *endpoint);
struct carrick_endpoint *endpoint_create(struct carrick_device *device, uint32_t state);
void endpoint_destroy(struct carrick_endpoint *endpoint);
int sim_endpoint_connect(struct carrick_device *device,
                         const struct carrick_connect_options *options,
                         struct carrick_endpoint **out, struct carrick_error *error);
int sim_endpoint_accept(struct carrick_endpoint *endpoint,
                        const struct carrick_connect_options *options);
void sim_endpoint_reject(struct carrick_endpoint *endpoint, const void *data, uint32_t bytes);
void sim_endpoint_close(struct carrick_endpoint *endpoint, bool orderly);

// post.c
int sim_post(struct carrick_endpoint *endpoint, const struct carrick_work *work, uint32_t count);
uint32_t sim_send_room(struct carrick_endpoint *endpoint, uint32_t wanted);

// event.c
struct sim_event *event_create(uint32_t type, const void *data, uint32_t bytes);
void event_push(struct carrick_device *device, struct sim_event *event);
void device_tell(struct carrick_device *device, uint32_t type, int status);
void event_taken(struct carrick_event *event);
void events_free(struct sim_event *event);
void device_timer(void *arg);
uint32_t sim_device_poll(struct carrick_device *device, struct carrick_event *events, uint32_t max);
int sim_device_fd(struct carrick_device *device);
int sim_device_arm(struct carrick_device *device);
void sim_device_wake(struct carrick_device *device, void (*wake)(void *arg), void *arg);

// device.c
int sim_device_open(struct carrick_transport *transport,
                    const struct carrick_device_options *options, struct carrick_device **out,
                    struct carrick_error *error);
void sim_device_close(struct carrick_device *device);
void sim_device_caps(struct carrick_device *device, struct carrick_device_caps *caps);
int sim_listen(struct carrick_device *device, struct carrick_error *error);
void sim_unlisten(struct carrick_device *device);

// region.c
int sim_domain_create(struct carrick_device *device, struct carrick_domain **out);
void sim_domain_destroy(struct carrick_domain *domain);
int sim_region_register(struct carrick_domain *domain, const struct carrick_region_options *options,
                        struct carrick_registration **out);
int sim_region_deregister(struct carrick_registration *registration);
void registration_due(struct carrick_registration *registration);
void registration_free(struct carrick_registration *registration);

// plugin.c
int section_read(const char *text, const char *pointer, int *fabric, char *device,
                 struct carrick_error *error);

#endif
