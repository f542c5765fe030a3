// SPDX-License-Identifier: Apache-2.0
//
// A device of the RDMA transports, the domains and registrations on it, and the sources that work on them.
#ifndef RDMA_DEVICE_H
#define RDMA_DEVICE_H

#include "rdma_config.h"
#include "common/list.h"

#include <carrick/transport.h>

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

enum {
    RDMA_BATCH = 16,            // work requests of one call
    RDMA_MESSAGE_MAX_LOG2 = 30, // nothing longer is posted, whatever the port can do
    RDMA_SCRATCH_BYTES = 8,
    RDMA_HALF_OPEN_MAX = 64,
    RDMA_ENDPOINTS_MAX = 1024,
    RDMA_CQ_ENTRIES = 32768, // at most, if the device has them
    RDMA_CQES_PER_POLL = 64,
    RDMA_POLLS_PER_EPOLL = 16, // while the device is polled without a sleep
};

// What differs between InfiniBand or RoCE and iWARP.
struct rdma_flavour {
    const char *name;
    const char *other; // the plugin for the other kind of device
    enum ibv_transport_type transport;
    uint32_t cap_flags;
    // The connection manager hands our queue pair's number around, and we move it to its states; with iWARP the
    // kernel does, since the connection is the queue pair's own.
    bool moves_queue_pair;
    // rdma_connect may wait for the partner (rdma_dial.c).
    bool connect_waits;
    // The local buffer of a read needs the right of remote writing.
    bool sink_is_written;
    // A read of no bytes may end the connection (rdma_flush.c).
    bool empty_read_breaks;
};

struct carrick_transport {
    const struct carrick_host *host;
    const struct rdma_flavour *flavour;
    struct list opening; // devices that nobody has been given yet
};

struct rdma_output {
    struct carrick_event *events;
    uint32_t max;
    uint32_t count;
};

// What a descriptor in the device's epoll stands for.
enum rdma_source {
    RDMA_SOURCE_WAKE,
    RDMA_SOURCE_TIMER,
    RDMA_SOURCE_COMPLETION,
    RDMA_SOURCE_CM,
    RDMA_SOURCE_ASYNC,
    RDMA_SOURCE_CARRIER,
};

// What a partner's flush reads, and where ours reads it to. Nobody uses what stands there.
struct rdma_scratch {
    void *page;
    struct ibv_mr *mr; // NULL: there is none
};

struct carrick_domain {
    struct carrick_device *device;
    struct ibv_pd *pd;
    struct rdma_scratch scratch;
    uint32_t endpoints; // that are not destroyed yet
    bool ended;         // domain_destroy was called
};

struct carrick_registration {
    struct carrick_domain *domain;
    struct list node; // in the device's list of events to tell
    bool working;     // a job has it, or its event is to be told
    uint32_t event;   // REGISTERED or DEREGISTERED
    int32_t status;
    int failed_errno;
    uint64_t limit_bytes; // of what may be locked; 0: none
    void *address;
    uint64_t bytes;
    uint32_t access;
    uint64_t cookie;
    struct ibv_mr *mr; // what the partner may use; also our own, when sink is NULL
    struct ibv_mr
        *sink; // what our own reads write to, where that wants more rights than the partner has
};

struct rdma_carrier {
    int fd;
    uint32_t index; // of the interface that bears the device's address
    bool switched_on, running, address_present;
};

struct rdma_slot {
    struct carrick_endpoint *endpoint;
    uint16_t generation; // a late completion of a former tenant is told by it
};

struct carrick_device {
    struct carrick_transport *transport;
    const struct carrick_host *host;
    const struct rdma_flavour *flavour;
    char name[64];
    struct rdma_section local;
    struct rdma_settings settings;

    struct list opening_node; // until it is handed out
    bool opening;             // a worker has it
    int open_status;          // what came of that
    struct carrick_error open_error;

    int epoll_fd, timer_fd, wake_fd;
    struct rdma_event_channel *cm;
    struct rdma_cm_id *bound;    // holds the address; its events concern the device
    struct rdma_cm_id *listener; // NULL until listen was called for the first time
    bool listening;
    struct ibv_context *context;
    struct ibv_comp_channel *completions;
    struct ibv_cq *cq;
    struct ibv_pd *pd; // of endpoints without a domain: nothing in it can be reached but this:
    struct rdma_scratch scratch; // where flavour->empty_read_breaks
    uint8_t port_number;
    struct ibv_device_attr attributes;
    uint32_t inline_bytes; // of a queue pair
    uint64_t message_max_bytes;
    uint32_t reads_max;
    bool native_flush; // flush is an operation of this device (rdma_flush.c)
    uint32_t endpoints_max;
    uint32_t mtu_bytes;
    struct rdma_carrier carrier;

    struct rdma_slot *slots; // [endpoints_max]
    uint32_t endpoint_count; // until they are destroyed
    uint32_t domain_count;
    uint32_t slot_next;
    struct list endpoints;
    struct list dialing; // endpoints with a thread in rdma_connect
    struct list ready;   // endpoints with something to do that no descriptor tells of
    struct list hung_up; // endpoints whose partner is gone; told when what came before is taken in
    struct list graveyard; // endpoints to destroy before the next poll
    struct list parked;    // endpoints to destroy when the interface is back
    struct list received;  // endpoints with buffers to give back before the next poll
    struct list telling;   // registrations
    char failure[256];     // why one of them failed, until the next poll
    uint32_t half_open;
    uint32_t jobs;
    uint64_t timer_ns; // what timer_fd is set to, 0: nothing
    uint64_t poll_count;
    struct ibv_wc stash[RDMA_BATCH]; // that device_arm met
    uint32_t stash_count, stash_at;
    uint32_t events_unacked; // of the completion channel
    bool cq_armed;
    bool armed;     // device_arm answered 0 and no poll came since
    bool woken;     // wake_fd was written
    bool closed;    // device_close was called
    bool port_down; // the port said so
    bool told_down, told_down_here;
    bool removed, told_removed;

    uint64_t accepted, refused, gid_changes, stale_completions;
    uint64_t posts, work_requests, native_flushes, polled, sleeps;
};

// ---- rdma_open.c

int rdma_create(const struct rdma_flavour *flavour, const struct carrick_host *host,
                struct carrick_transport **transport, struct carrick_error *error);
void rdma_destroy(struct carrick_transport *transport);
int rdma_device_open(struct carrick_transport *transport,
                     const struct carrick_device_options *options, struct carrick_device **device,
                     struct carrick_error *error);
void rdma_device_close(struct carrick_device *device);
void rdma_device_caps(struct carrick_device *device, struct carrick_device_caps *caps);
// Something that kept a closed device alive is gone.
void rdma_device_release(struct carrick_device *device);
// What a queue pair of this device is made with.
void rdma_queue_pair_sizes(const struct carrick_device *device, struct ibv_qp_init_attr *sizes);

// ---- rdma_device.c

uint32_t rdma_device_poll(struct carrick_device *device, struct carrick_event *events,
                          uint32_t max);
int rdma_device_fd(struct carrick_device *device);
int rdma_device_arm(struct carrick_device *device);
int rdma_device_watch(struct carrick_device *device, int fd, enum rdma_source source);
// Makes device_fd readable if the core may be asleep on it.
void rdma_device_kick(struct carrick_device *device);
// Sees to it that rdma_endpoint_expire runs no later than that.
void rdma_device_deadline(struct carrick_device *device, uint64_t at_ns);
static inline uint64_t rdma_now_ns(const struct carrick_device *device)
{
    return device->host->now_ns(device->host);
}
static inline bool rdma_output_full(const struct rdma_output *out)
{
    return out->count >= out->max;
}
void rdma_output_put(struct rdma_output *out, const struct carrick_event *event);

// ---- rdma_cm.c, rdma_async.c, rdma_carrier.c

void rdma_cm_read(struct carrick_device *device);
void rdma_async_read(struct carrick_device *device);
// Asks the port what it is like now.
void rdma_port_query(struct carrick_device *device);
void rdma_device_lost(struct carrick_device *device, const char *why);
void rdma_carrier_open(struct carrick_device *device);
void rdma_carrier_close(struct carrick_device *device);
void rdma_carrier_read(struct carrick_device *device);
bool rdma_carrier_up(const struct carrick_device *device);
// It is not up for a reason at this node: switched off, or without the address.
bool rdma_carrier_down_here(const struct carrick_device *device);

// ---- rdma_memory.c

bool rdma_scratch_make(const struct carrick_device *device, struct ibv_pd *pd,
                       struct rdma_scratch *scratch);
// Of one that was not made, too.
void rdma_scratch_end(struct rdma_scratch *scratch);
int rdma_domain_create(struct carrick_device *device, struct carrick_domain **domain);
void rdma_domain_destroy(struct carrick_domain *domain);
void rdma_domain_release(struct carrick_domain *domain);
int rdma_region_register(struct carrick_domain *domain,
                         const struct carrick_region_options *options,
                         struct carrick_registration **registration);
int rdma_region_deregister(struct carrick_registration *registration);
void rdma_regions_tell(struct carrick_device *device, struct rdma_output *out);
// The most that this process may lock for this device; 0: no limit.
uint64_t rdma_locked_limit(const struct carrick_device *device);

// ---- rdma_flush.c: the device's part

// Whether it has the operation.
void rdma_flush_query(struct carrick_device *device);
// What regions that may be written, and queue pairs, want beside their other rights.
int rdma_flush_access(const struct carrick_device *device);
// Any queue pair is made by this. NULL, with errno: it is not.
struct ibv_qp *rdma_queue_pair_make(struct carrick_device *device, struct ibv_pd *pd,
                                    struct ibv_qp_init_attr *sizes);

#endif
