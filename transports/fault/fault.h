// SPDX-License-Identifier: Apache-2.0
//
// The fault wrapper: a transport table round another one, which makes it fail on purpose and, given a seed, always
// in the same way. docs/fault.md says what it can do.
//
// Handles of the inner transport are kept as void *, since they bear the same type names as our own.
#ifndef FAULT_H
#define FAULT_H

#include <sys/queue.h>

#include <carrick/transport.h>

#define FAULT_RULES_MAX 16u
#define FAULT_MS 1000000ull // nanoseconds

enum fault_kind {
    FAULT_NONE,
    FAULT_CUT,
    FAULT_DELAY,
    FAULT_HOLD,
    FAULT_HALF_OPEN,
    FAULT_LOSE_COMPLETION,
    FAULT_REFUSE,
    FAULT_FAIL_REGISTRATION,
    FAULT_KIND_COUNT
};

// What a rule looks at; a mask.
enum fault_subject {
    FAULT_ON_WRITE = 1,
    FAULT_ON_READ = 2,
    FAULT_ON_SEND = 4,
    FAULT_ON_FLUSH = 8,
    FAULT_ON_POST = 15,
    FAULT_ON_CONNECT = 16,
    FAULT_ON_ACCEPT = 32,
    FAULT_ON_REGISTER = 64,
};

struct fault_rule {
    enum fault_kind kind;
    uint32_t subjects;
    uint64_t every;     // fires at each so manieth; 0: by probability
    uint64_t threshold; // of 2^53: fires when the next random number is below it
    uint64_t after;     // leaves the first so many alone
    uint64_t count;     // fires at most so often; 0: no limit
    uint64_t delay_ns;
    int32_t status; // of the DISCONNECTED or REGISTERED that the core gets
    uint64_t seen;
    uint64_t hits;
};

struct fault_config {
    bool seed_set;
    bool break_fence;
    bool withdraw_applied;
    uint64_t seed;
    uint64_t linger_ns;
    uint64_t held_bytes_max;
    uint32_t held_ops_max;
    uint32_t rules_count;
    struct fault_rule rules[FAULT_RULES_MAX];
};

int fault_config_parse(const char *text, struct fault_config *config, struct carrick_error *error);
const char *fault_kind_name(enum fault_kind kind);

struct carrick_transport {
    const struct carrick_host *host;
    struct carrick_transport_ops ops; // the inner table
    void *inner;
    struct fault_config config;
    uint64_t random_state;
    uint64_t held_bytes; // copies of data, over all endpoints
    uint32_t held_ops;
};

// An event of our own that waits for device_poll.
struct fault_ready {
    TAILQ_ENTRY(fault_ready) entry;
    struct carrick_event event;
    bool queued;
};
TAILQ_HEAD(fault_ready_list, fault_ready);
TAILQ_HEAD(fault_endpoint_list, carrick_endpoint);

struct carrick_device {
    struct carrick_transport *transport;
    void *inner;
    int inner_fd; // -1: the inner device has none, and neither has this one
    int epoll_fd; // readable when the inner descriptor or event_fd is
    int event_fd; // readable when `ready` is not empty
    bool event_fd_set;
    bool armed;
    void (*wake)(void *arg);
    void *wake_arg;
    struct carrick_timer *kick; // without a descriptor: calls wake for `ready`
    struct fault_ready_list ready;
    struct fault_endpoint_list endpoints;
    struct carrick_device_caps caps;
};

struct carrick_domain {
    struct carrick_device *device;
    void *inner;
    uint32_t users; // endpoints, and registrations of held data
    bool destroyed; // by the core; goes when the last user has
};

struct carrick_registration {
    struct carrick_domain *domain;
    void *inner;
    uint64_t cookie;
    struct fault_ready failed;
};

// What became of the copy of an operation's data.
enum fault_copy_state {
    FAULT_COPY_NONE,          // no copy, or one that needs no registration
    FAULT_COPY_REGISTERING,   // REGISTERED is awaited
    FAULT_COPY_REGISTERED,    // can be posted
    FAULT_COPY_DEREGISTERING, // done with; DEREGISTERED is awaited
};

// An operation that is kept back, and later the copy of its data while the inner transport uses it.
TAILQ_HEAD(fault_held_list, fault_held);
struct fault_held {
    TAILQ_ENTRY(fault_held) entry;
    struct fault_held_list *list; // the one of the endpoint's in which it is, or NULL
    struct carrick_endpoint *endpoint;
    struct carrick_domain *domain; // of the copy's registration
    struct carrick_work work;      // as the inner transport will get it
    uint64_t release_ns;
    void *copy;
    uint64_t copy_bytes;
    void *registration; // of the copy
    enum fault_copy_state state;
    bool dropped; // not wanted any more, but REGISTERED is still to come
};

// A posted operation: its address is the cookie that the inner transport sees.
struct fault_op {
    struct carrick_endpoint *endpoint;
    struct fault_op *next_free;
    struct fault_held *held;
    uint64_t cookie; // the core's
    bool lose;       // its completion is to be lost
};

struct carrick_endpoint {
    TAILQ_ENTRY(carrick_endpoint) entry;
    struct carrick_device *device;
    struct carrick_domain *domain;
    void *inner; // NULL: the connection was refused here and never reached the inner transport
    uint64_t cookie;
    bool connected;     // CONNECTED was told
    bool lost;          // DISCONNECTED was told, or is about to be
    bool faked;         // it was our own doing
    bool swallow;       // half open: what is posted vanishes
    bool holding;       // the queue outlives endpoint_close
    bool inner_lost;    // the inner transport's DISCONNECTED came
    bool inner_closing; // the inner endpoint_close was called
    bool inner_closed;  // the inner CLOSED came: nothing can touch memory any more
    bool core_closed;   // the core called endpoint_close
    bool core_orderly;  // and how
    bool closed_told;   // the core got its CLOSED
    bool zombie;        // break_fence: the core is told CLOSED although the inner endpoint is open
    uint64_t linger_until_ns; // of a zombie
    uint64_t applied;
    uint32_t posted; // as the core counts
    uint32_t copies; // struct fault_held that are not freed
    struct fault_op *ops;
    struct fault_op *free_ops;
    struct carrick_work *works;    // room for one post
    struct fault_held_list queue;  // kept back, in the order of posting
    struct fault_held_list flying; // posted to the inner transport
    struct fault_held_list ending; // over, but the copy is still registered
    struct carrick_timer *timer;
    struct fault_ready disconnected;
    struct fault_ready closed;
};

// fault_device.c
void fault_ready_push(struct carrick_device *device, struct fault_ready *ready);
// There may be something to poll, though the core did not call: a timer did something.
void fault_device_kick(struct carrick_device *device);
int fault_device_open(struct carrick_transport *transport,
                      const struct carrick_device_options *options, struct carrick_device **device,
                      struct carrick_error *error);
void fault_device_close(struct carrick_device *device);
void fault_device_caps(struct carrick_device *device, struct carrick_device_caps *caps);
uint32_t fault_device_poll(struct carrick_device *device, struct carrick_event *events,
                           uint32_t max);
int fault_device_fd(struct carrick_device *device);
int fault_device_arm(struct carrick_device *device);
void fault_device_wake(struct carrick_device *device, void (*wake)(void *arg), void *arg);

// fault.c
void fault_domain_unuse(struct carrick_domain *domain);

// fault_rules.c
uint64_t fault_random(struct carrick_transport *transport);
// The rule that fires for the next such event, or NULL.
struct fault_rule *fault_rules_decide(struct carrick_transport *transport, uint32_t subject);

// fault_endpoint.c
int fault_endpoint_connect(struct carrick_device *device,
                           const struct carrick_connect_options *options,
                           struct carrick_endpoint **endpoint, struct carrick_error *error);
int fault_endpoint_accept(struct carrick_endpoint *endpoint,
                          const struct carrick_connect_options *options);
void fault_endpoint_reject(struct carrick_endpoint *endpoint, const void *data, uint32_t bytes);
void fault_endpoint_close(struct carrick_endpoint *endpoint, bool orderly);
// Tells the core that the endpoint is lost, whatever the inner transport thinks.
void fault_endpoint_lose(struct carrick_endpoint *endpoint, int32_t status);
// Closes the inner endpoint, once.
void fault_endpoint_close_inner(struct carrick_endpoint *endpoint, bool orderly);
// Goes on with closing, as far as it can go now. The endpoint may be gone afterwards.
void fault_endpoint_finish(struct carrick_endpoint *endpoint);
// The core has its CLOSED. The endpoint may be gone afterwards.
void fault_endpoint_closed_told(struct carrick_endpoint *endpoint);
// Turns an event of the inner endpoint into the core's; false: it is not for the core.
bool fault_endpoint_event(struct carrick_device *device, struct carrick_event *event);
void fault_endpoint_free(struct carrick_endpoint *endpoint);

// fault_post.c
int fault_post(struct carrick_endpoint *endpoint, const struct carrick_work *work, uint32_t count);
uint32_t fault_send_room(struct carrick_endpoint *endpoint, uint32_t wanted);
bool fault_completion(struct carrick_endpoint *endpoint, struct carrick_event *event);

// fault_hold.c
// Makes a held operation from work, with a copy of its data. NULL: no memory, or over the bounds.
struct fault_held *fault_held_make(struct carrick_endpoint *endpoint,
                                   const struct carrick_work *work, uint64_t release_ns);
// The operation is not wanted any more, or over. The endpoint's copies are one less now or later.
void fault_held_drop(struct fault_held *held);
// Posts what is due, and sets the timer for the rest.
void fault_queue_run(struct carrick_endpoint *endpoint);
void fault_queue_drop(struct carrick_endpoint *endpoint);
// Drops what would use a registration that is about to end.
void fault_queue_forget(struct carrick_endpoint *endpoint, const void *registration);
// The inner endpoint is closed: nothing uses the copies any more.
void fault_flying_drop(struct carrick_endpoint *endpoint);
void fault_held_move(struct fault_held *held, struct fault_held_list *list);
void fault_held_free(struct fault_held *held);
// The inner REGISTERED or DEREGISTERED of a copy.
void fault_copy_event(struct fault_held *held, const struct carrick_event *event);
// Registration cookies of the inner transport: those of copies are marked.
#define FAULT_COPY_COOKIE 1u

#endif
