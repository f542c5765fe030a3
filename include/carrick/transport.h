// SPDX-License-Identifier: Apache-2.0
//
// What a transport plugin is: devices, domains, regions registered in them, endpoints between a device
// here and one at the partner, and RDMA operations on endpoints.
//
// The three rules that make a transport easy to write and to reason about:
//
//  1. Everything that a transport has to say comes out of device_poll(). It never calls the core.
//  2. Everything is called on the manager's thread and must not block. What can block (registering memory,
//     destroying queue pairs, looking up names) the transport runs by host->work and reports as an event.
//  3. Events of one endpoint come in the order in which things happened to it. CARRICK_EVENT_CLOSED is the
//     last one, and it is the fence: after it nothing of that endpoint can touch memory on this node any
//     more, neither a late write of the partner nor a late answer to our read.
//
// A device's life, in order of calls and events:
//
//     create → device_open → domain_create → region_register … REGISTERED
//       connecting side: endpoint_connect … CONNECTED (or DISCONNECTED, with the partner's reason)
//       answering side:  listen … REQUEST → endpoint_accept … CONNECTED,  or endpoint_reject
//       post … COMPLETION, RECEIVE;  DISCONNECTED at any time after CONNECTED
//       endpoint_close … CLOSED (always, also after DISCONNECTED); the handle is gone after that
//     region_deregister … DEREGISTERED → domain_destroy → device_close → destroy
//
// Bounds. The core checks bounds before it posts; the transport of the *target* checks key, bounds, access
// and domain again, for each operation, since the partner may be wrong or hostile. A bad one ends the endpoint on
// both sides; which operation reports it is not specified.
#ifndef CARRICK_TRANSPORT_H
#define CARRICK_TRANSPORT_H

#include <carrick/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

struct carrick_transport;
struct carrick_device;
struct carrick_domain;
struct carrick_registration;
struct carrick_endpoint;

enum carrick_proof {
    // A completed write is placed in the partner's memory, visible to its processor.
    CARRICK_PROOF_REMOTE = 1,
    // A completed write only means that the local buffer may be used again. What was written is proven by a
    // later flush or read on the same endpoint.
    CARRICK_PROOF_LOCAL = 2,
};

enum carrick_capability {
    // Flush is an operation of the hardware, where the partner's device has it as well; else it is done by a read. It proves
    // no more by that: placed and visible, not kept over a loss of power.
    CARRICK_CAP_NATIVE_FLUSH = 1,
    CARRICK_CAP_CONNECTOR_FIRST = 2, // the connecting side must be the first to send (iWARP)
    CARRICK_CAP_APPLIED_COUNT = 4, // CLOSED says how many of the partner's operations were applied
    CARRICK_CAP_ENCRYPTED = 8,     // what goes over the wire is encrypted
};

struct carrick_device_caps {
    uint32_t struct_size;
    uint32_t flags; // enum carrick_capability
    uint32_t proof; // enum carrick_proof
    uint32_t
        max_send_bytes; // longest send; at least 4352: CARRICK_SEND_BYTES_MAX and the core's header
    uint64_t max_message_bytes; // longest read or write; at least 4096
    uint32_t max_posted;        // operations posted and not completed, per endpoint; at least 16
    uint32_t max_reads;         // reads among them; at least 1
    uint32_t
        inline_bytes; // payload up to this is copied by post, its buffer is free when post returns
    uint32_t request_bytes; // private data that a connection request carries; at least 56
    uint32_t reply_bytes;   // private data that an accept or reject carries; at least 128
    uint32_t max_endpoints; // 0 is no fixed limit
    // Memory that this process may have registered in all: by all devices that tell a limit, of all managers, since what limits
    // them is the process's limit of locked memory. The core holds its sum against it before it registers anything, and
    // asks anew each time. 0 is no limit.
    uint64_t max_locked_bytes;
};

// Where something lies at the partner. What base and key mean is the transport's; the core carries them to
// the partner as they are, in network byte order, and adds the offset to base when it posts.
struct carrick_remote_key {
    uint64_t base;
    uint32_t key;
    uint32_t reserved;
};

struct carrick_device_options {
    uint32_t struct_size;
    uint32_t reserved;
    const char *name;   // the link's name, for log lines
    const char *local;  // this node's section of the link, JSON text: which device or address
    const char *config; // the link's "config" section, JSON text
};

struct carrick_region_options {
    uint32_t struct_size;
    uint32_t access; // enum carrick_access flags
    void *address;   // start of the memory, page aligned; stays mapped until DEREGISTERED
    uint64_t bytes;
    int fd; // descriptor behind the memory, or -1
    uint32_t reserved;
    uint64_t cookie; // comes back in REGISTERED and DEREGISTERED
};

struct carrick_connect_options {
    uint32_t struct_size;
    uint32_t timeout_ms;           // DISCONNECTED with CARRICK_ERR_TIMEOUT after this
    struct carrick_domain *domain; // whose regions the partner may reach; NULL: none at all
    const char *remote;            // the partner's section of the link, JSON text (connect only)
    const void *data;              // private data for the partner
    uint32_t data_bytes;           // at most request_bytes (connect) or reply_bytes (accept)
    uint32_t receive_bytes;        // longest send that this side takes
    uint32_t receive_depth;        // sends that this side has room for at once
    uint32_t reserved;
    uint64_t cookie; // comes back in every event of the endpoint
};

enum carrick_operation {
    CARRICK_OP_WRITE = 1, // local → remote memory
    CARRICK_OP_READ = 2,  // remote → local memory
    CARRICK_OP_SEND = 3,  // a message, which the partner gets as one RECEIVE
    CARRICK_OP_FLUSH =
        4, // completes when all that was posted before it on this endpoint is placed and visible
};

// One posted operation. The array and what it points to are free when post returns, the local buffer only
// with the completion (unless length <= inline_bytes).
struct carrick_work {
    uint32_t struct_size;
    uint32_t operation; // enum carrick_operation
    uint64_t cookie;    // comes back in its COMPLETION
    void *local;        // NULL only when length is 0
    uint64_t length;    // 0 is allowed
    uint64_t remote;    // base + offset at the partner (read, write)
    uint32_t key;       // key at the partner (read, write)
    uint32_t reserved;
    struct carrick_registration
        *registration; // of the local buffer; may be NULL for a send of <= max_send_bytes
};

enum carrick_event_type {
    // A posted operation ended; cookie is the operation's. status CARRICK_OK, or why not; after the first that
    // is not OK the endpoint is lost and a DISCONNECTED follows. Completions of one endpoint come in the order
    // of posting. Operations that are still posted when DISCONNECTED comes complete with an error, or not at all.
    CARRICK_EVENT_COMPLETION = 1,
    // A send of the partner arrived: data, length, valid until the next device_poll of this device. Everything
    // that the partner posted before it on the same endpoint is placed and visible. One that is counted in CLOSED's
    // `applied`, or whose completion the partner was given, is told before CLOSED, also after DISCONNECTED and after
    // endpoint_close.
    CARRICK_EVENT_RECEIVE = 2,
    // A partner asks for a connection: endpoint is a new handle on which nothing but endpoint_accept,
    // endpoint_reject or endpoint_close may be called; data is its private data. The transport bounds how many
    // wait at once and for how long; cookie is the listening device's, 0.
    // A request that was told keeps its handle until it is answered, also when its time is over, its partner has gone
    // or unlisten was called: endpoint_accept is then followed by DISCONNECTED, endpoint_reject and endpoint_close work
    // as ever. Such a handle counts among those that wait.
    CARRICK_EVENT_REQUEST = 3,
    CARRICK_EVENT_CONNECTED = 4, // usable from now on; connecting side: data is the partner's reply
    CARRICK_EVENT_DISCONNECTED =
        5, // lost, or never came about; status says why; REFUSED: data is the reason
    // The answer to endpoint_close, after which the handle is gone. `applied` is the number of the partner's
    // operations (all kinds) that were applied here, where CARRICK_CAP_APPLIED_COUNT is set.
    CARRICK_EVENT_CLOSED = 6,
    CARRICK_EVENT_REGISTERED =
        7, // registration, key; status not OK: it failed and the handle is gone. Since ABI 1.1 data is then
    // why, as text, valid as that of RECEIVE, for the log and the operator; length 0: no more than the status
    CARRICK_EVENT_DEREGISTERED =
        8, // the partner cannot reach the memory any more; the handle is gone
    // Carrier or port lost: no endpoint of the device will work. status CARRICK_ERR_NO_DEVICE where the cause is known to lie
    // at this node (its interface is switched off, or has lost the address), else CARRICK_ERR_LINK_DOWN. May come again,
    // with the other status.
    CARRICK_EVENT_DEVICE_DOWN = 9,
    CARRICK_EVENT_DEVICE_UP = 10, // carrier or port is back
    // The device is gone. Every endpoint still gets its DISCONNECTED; close all, then the device.
    CARRICK_EVENT_DEVICE_REMOVED = 11,
    // The partner has made room for sends since send_room answered that there is less than was wanted. Once for each
    // such answer, and not after CLOSED.
    CARRICK_EVENT_SEND_ROOM = 12,
};

struct carrick_event {
    uint32_t struct_size;
    uint32_t type; // enum carrick_event_type
    int32_t status;
    uint32_t length;
    uint64_t cookie;
    struct carrick_endpoint *endpoint;
    const void *data;
    uint64_t applied;
    struct carrick_registration *registration;
    struct carrick_remote_key key;
};

// All operations are required unless marked optional. All on the manager's thread; none may block.
struct carrick_transport_ops {
    // Makes an instance for one manager. host is valid until destroy returns. config is the section that the
    // link's "config" names when it concerns the whole transport, or "{}".
    int (*create)(const struct carrick_host *host, const char *config,
                  struct carrick_transport **transport, struct carrick_error *error);
    // All devices of the instance are closed.
    void (*destroy)(struct carrick_transport *transport);

    // Checks the sections of one link without touching anything: local and remote (one node's section each) and
    // config. CARRICK_ERR_CONFIG with error->pointer beginning "/local", "/remote" or "/config". No instance
    // is needed; any thread.
    int (*config_check)(const char *local, const char *remote, const char *config,
                        struct carrick_error *error);

    // Opens a device. Answers CARRICK_ERR_NO_DEVICE where the node has none; the link is then down and tried
    // again later. CARRICK_ERR_AGAIN: it is being opened on a worker (rule 2), and is had by the same call, which is
    // made again shortly, or never: destroy then closes it.
    int (*device_open)(struct carrick_transport *transport,
                       const struct carrick_device_options *options, struct carrick_device **device,
                       struct carrick_error *error);
    // All endpoints of the device are CLOSED, all regions DEREGISTERED, all domains destroyed.
    void (*device_close)(struct carrick_device *device);
    // Fills *caps within caps->struct_size.
    void (*device_caps)(struct carrick_device *device, struct carrick_device_caps *caps);

    // Takes up to max events. Does the transport's work on the way (receiving, placing, sending), and no more
    // than a bounded share of it at a time, so that no device starves another. Returns how many it filled in.
    // Must not be entered again from within.
    uint32_t (*device_poll)(struct carrick_device *device, struct carrick_event *events,
                            uint32_t max);
    // A descriptor that is readable (level) when device_poll has something to do after device_arm returned 0;
    // constant for the device's life. -1: the transport tells by the wake function below instead.
    int (*device_fd)(struct carrick_device *device);
    // Asks for the descriptor to become readable at the next event. Returns 0, or 1 when there is something to
    // poll already.
    int (*device_arm)(struct carrick_device *device);
    // Optional; required of devices without a descriptor. The transport calls wake(arg) on the manager's thread, from
    // its own timers or work, when there is something to poll after device_arm returned 0. A device with a descriptor
    // may call it as well, and only from its own watches (struct carrick_host, watch_create): the core may poll the
    // device before wake returns. What it tells that way need not make the descriptor readable.
    void (*device_wake)(struct carrick_device *device, void (*wake)(void *arg), void *arg);

    // A domain holds registrations; an endpoint reaches those of its own domain and no others.
    int (*domain_create)(struct carrick_device *device, struct carrick_domain **domain);
    // All registrations of it are DEREGISTERED and all its endpoints CLOSED.
    void (*domain_destroy)(struct carrick_domain *domain);

    // Registers memory; REGISTERED follows, with the key for the partner. Keys cannot be guessed from others.
    int (*region_register)(struct carrick_domain *domain,
                           const struct carrick_region_options *options,
                           struct carrick_registration **registration);
    // Ends a registration that REGISTERED told of; DEREGISTERED follows. Operations that use it must be over;
    // a partner that still uses the key loses its endpoint.
    int (*region_deregister)(struct carrick_registration *registration);

    // Takes connection requests on the device from now on, at the address of its local section. A second call
    // answers CARRICK_ERR_STATE. unlisten closes the requests that were not answered; no REQUEST comes after it.
    int (*listen)(struct carrick_device *device, struct carrick_error *error);
    void (*unlisten)(struct carrick_device *device);

    // Connects; CONNECTED or DISCONNECTED follows. options and all it points to are free on return, except domain.
    int (*endpoint_connect)(struct carrick_device *device,
                            const struct carrick_connect_options *options,
                            struct carrick_endpoint **endpoint, struct carrick_error *error);
    // Answers a REQUEST: CONNECTED or DISCONNECTED follows, with options->cookie.
    int (*endpoint_accept)(struct carrick_endpoint *endpoint,
                           const struct carrick_connect_options *options);
    // Answers a REQUEST with data that the other side finds in its DISCONNECTED, status CARRICK_ERR_REFUSED. The
    // handle is gone when it returns; no event follows.
    void (*endpoint_reject)(struct carrick_endpoint *endpoint, const void *data,
                            uint32_t data_bytes);
    // Closes, at any point of the endpoint's life, also while it connects. CLOSED follows, also when the partner
    // or the network is dead, within a bounded time. What was posted and has not completed does not complete
    // any more. Calling it twice is the core's mistake. orderly: let the partner have what was posted before
    // (its completions may still be outstanding), in bounded time; else end it at once.
    void (*endpoint_close)(struct carrick_endpoint *endpoint, bool orderly);

    // Posts count operations, in order. They start at the target in that order, a flush or a send is not done
    // before the writes ahead of it are placed; a read may be answered after later operations took effect.
    // All are taken, or none: CARRICK_ERR_AGAIN when there is no room for all (see max_posted), CARRICK_ERR_STATE
    // before CONNECTED or after DISCONNECTED.
    int (*post)(struct carrick_endpoint *endpoint, const struct carrick_work *work, uint32_t count);

    // Optional. Describes the endpoint or device for a person, as one JSON object, into text (always ended by
    // NUL within size): addresses, counters. endpoint may be NULL.
    void (*describe)(struct carrick_device *device, struct carrick_endpoint *endpoint, char *text,
                     size_t size);

    // Optional. How many sends can be posted on a connected endpoint now without one of them waiting for the partner's
    // processor. Fewer than wanted: CARRICK_EVENT_SEND_ROOM follows when there is room for more. Of use where the
    // partner's device does the rest by itself: reads and writes posted behind a send that waits would wait with it, and
    // the memory of a partner that stands still could not be read. post takes more sends all the same.
    uint32_t (*send_room)(struct carrick_endpoint *endpoint, uint32_t wanted);
};

// What a wrapper's create gets beside its own configuration: the table that it wraps. A wrapper is itself a
// transport table whose handles are its own.
struct carrick_transport_wrapper_ops {
    struct carrick_transport_ops transport; // create is NULL here
    int (*wrap)(const struct carrick_host *host, const struct carrick_transport_ops *inner_ops,
                const char *inner_config, const char *config, struct carrick_transport **transport,
                struct carrick_error *error);
};

// The i-th event of an array whose elements may be longer or shorter than this header's.
static inline struct carrick_event *carrick_event_at(struct carrick_event *events, uint32_t i)
{
    return (struct carrick_event *)((char *)events + (size_t)i * events->struct_size);
}

static inline const struct carrick_work *carrick_work_at(const struct carrick_work *work,
                                                         uint32_t i)
{
    return (const struct carrick_work *)((const char *)work + (size_t)i * work->struct_size);
}

#ifdef __cplusplus
}
#endif

#endif
