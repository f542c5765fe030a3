// SPDX-License-Identifier: Apache-2.0
//
// A transport in memory whose every step the test can hold back. What is posted goes through three points: posted,
// applied at the target, completed here; a gate on each of the last two says how far operations may go. Whatever breaks
// the rules of <carrick/transport.h> on the core's side fails the test on the spot.
#ifndef FAKE_TRANSPORT_H
#define FAKE_TRANSPORT_H

#include <carrick/transport.h>

#include "tests/unit/fake_env.h"

#define FAKE_OPEN UINT64_MAX // of a gate: nothing is held back
#define FAKE_DEVICES 16
#define FAKE_POSTED 1024u
#define FAKE_LOG_OPS 1024u

struct fake_event {
    struct fake_event *next;
    struct carrick_event event;
    uint8_t data[]; // what event.data points to
};

struct carrick_device {
    char name[16];
    bool listening;
    bool gone; // answers device_open with NO_DEVICE
    bool slow; // … with AGAIN
    struct carrick_device_caps caps;
    struct fake_event *queue, **queue_end;
    struct fake_event *handed; // of the last poll: their data is valid until the next
    void (*wake)(void *arg);
    void *wake_arg;
    struct carrick_endpoint *endpoints;
    unsigned domains, registrations;
    unsigned domains_made;    // ever
    uint32_t poll_max;        // events that one poll gives at most; 0: as many as asked for
    int register_fails;       // REGISTERED comes with this status
    const char *register_why; // … and these words, or NULL
    bool hold_registered;     // REGISTERED waits for fake_let_registered
    unsigned waiting;
    struct carrick_registration *unregistered[64];
    bool hold_closed; // CLOSED waits for fake_let_closed
    uint32_t
        send_depth; // sends that an endpoint here has room for until they are polled; 0: no limit
    bool open;
    // What was posted on data lanes, the newest over the oldest.
    unsigned posted;
    struct {
        uint32_t operation;
        uint64_t length;
    } log[FAKE_LOG_OPS];
};

struct carrick_transport {
    const struct carrick_host *host;
};

struct carrick_domain {
    struct carrick_device *device;
    struct carrick_registration *registrations;
};

struct carrick_registration {
    struct carrick_registration *next;
    struct carrick_domain *domain;
    struct carrick_region_options options;
    struct carrick_remote_key key;
    bool told; // REGISTERED was told with OK
};

struct fake_posted {
    struct carrick_work work;
    uint8_t *copy; // what a completion without proof left behind, or what a read brought
};

enum fake_endpoint_state {
    FAKE_CONNECTING,
    FAKE_REQUESTED,
    FAKE_CONNECTED,
    FAKE_LOST,
    FAKE_CLOSED
};

struct carrick_endpoint {
    struct carrick_endpoint *next; // of the device
    struct carrick_device *device;
    struct carrick_domain *domain; // NULL: a control lane
    struct carrick_endpoint *peer;
    enum fake_endpoint_state state;
    uint64_t cookie;
    uint64_t posted, applied, completed; // numbers of the next
    uint64_t applied_here;               // the partner's operations, for CLOSED
    uint32_t unpolled;                   // the partner's sends
    bool wants_room;                     // send_room answered less than was wanted
    uint64_t apply_gate, complete_gate;  // numbers that may not be reached
    struct fake_posted ring[FAKE_POSTED];
};

static struct {
    struct carrick_device device[FAKE_DEVICES];
    unsigned devices;
    uint32_t keys;
    unsigned access_errors;                 // writes and reads that the target refused
    uint64_t endpoints;                     // that exist
    uint64_t writes, reads, sends, flushes; // posted on data lanes
} fake_net;

// The device of a node on a link: fake_device("a0").
static inline struct carrick_device *fake_device(const char *name)
{
    struct carrick_device *device;

    for (unsigned i = 0; i < fake_net.devices; i++)
        if (strcmp(fake_net.device[i].name, name) == 0)
            return &fake_net.device[i];
    cr_assert(fake_net.devices < FAKE_DEVICES);
    device = &fake_net.device[fake_net.devices++];
    *device = (struct carrick_device){
        .caps = {.flags = CARRICK_CAP_APPLIED_COUNT,
                 .proof = CARRICK_PROOF_REMOTE,
                 .max_send_bytes = 4352,
                 .max_message_bytes = 1u << 30,
                 .max_posted = 512,
                 .max_reads = 16,
                 .request_bytes = 56,
                 .reply_bytes = 128},
    };
    device->queue_end = &device->queue;
    cr_assert(strlen(name) < sizeof(device->name));
    memccpy(device->name, name, '\0', sizeof(device->name));
    return device;
}

// The wire of a link is cut when either device is: nothing goes through, and nobody is told.
static bool fake_wire_cut[FAKE_DEVICES];

static unsigned fake_index(const struct carrick_device *device)
{
    return (unsigned)(device - fake_net.device);
}

static bool fake_is_cut(const struct carrick_device *a, const struct carrick_device *b)
{
    return fake_wire_cut[fake_index(a)] || fake_wire_cut[fake_index(b)];
}

// ---- events

static struct carrick_event *fake_tell(struct carrick_device *device, uint32_t type, int status,
                                       uint64_t cookie, const void *data, uint32_t length)
{
    struct fake_event *event = calloc(1, sizeof(*event) + length);

    cr_assert(event != NULL);
    event->event = (struct carrick_event){.struct_size = sizeof(struct carrick_event),
                                          .type = type,
                                          .status = status,
                                          .cookie = cookie,
                                          .length = length};
    if (length > 0) {
        memcpy(event->data, data, length);
        event->event.data = event->data;
    }
    *device->queue_end = event;
    device->queue_end = &event->next;
    if (device->wake != NULL)
        device->wake(device->wake_arg);
    return &event->event;
}

static void fake_forget_handed(struct carrick_device *device)
{
    struct fake_event *next;

    for (; device->handed != NULL; device->handed = next) {
        next = device->handed->next;
        free(device->handed);
    }
}

static void fake_move(struct carrick_endpoint *endpoint);

// What was polled before has been taken in.
static void fake_make_room(struct carrick_device *device)
{
    for (struct fake_event *event = device->handed; event != NULL; event = event->next)
        if (event->event.type == CARRICK_EVENT_RECEIVE)
            for (struct carrick_endpoint *e = device->endpoints; e != NULL; e = e->next)
                e->unpolled -= e == event->event.endpoint;
    for (struct carrick_endpoint *e = device->endpoints; e != NULL; e = e->next) {
        struct carrick_endpoint *peer = e->peer;

        if (peer == NULL || device->send_depth == 0 || e->unpolled >= device->send_depth)
            continue;
        fake_move(peer);
        if (peer->wants_room && peer->state == FAKE_CONNECTED && e->unpolled < device->send_depth) {
            peer->wants_room = false;
            fake_tell(peer->device, CARRICK_EVENT_SEND_ROOM, CARRICK_OK, peer->cookie, NULL, 0)
                ->endpoint = peer;
        }
    }
}

static uint32_t fake_poll(struct carrick_device *device, struct carrick_event *events, uint32_t max)
{
    struct fake_event **handed_end = &device->handed;
    uint32_t count = 0;

    if (device->poll_max != 0 && max > device->poll_max)
        max = device->poll_max;
    fake_make_room(device);
    fake_forget_handed(device);
    while (count < max && device->queue != NULL) {
        struct fake_event *event = device->queue;

        device->queue = event->next;
        if (device->queue == NULL)
            device->queue_end = &device->queue;
        event->next = NULL;
        *handed_end = event;
        handed_end = &event->next;
        events[count++] = event->event;
    }
    if (device->queue != NULL && device->wake != NULL)
        device->wake(device->wake_arg);
    return count;
}

// ---- from here to there

static void fake_lose(struct carrick_endpoint *endpoint, int status)
{
    if (endpoint->state == FAKE_LOST || endpoint->state == FAKE_CLOSED)
        return;
    endpoint->state = FAKE_LOST;
    fake_tell(endpoint->device, CARRICK_EVENT_DISCONNECTED, status, endpoint->cookie, NULL, 0)
        ->endpoint = endpoint;
}

static struct carrick_registration *fake_find(const struct carrick_endpoint *target,
                                              const struct carrick_work *work, uint32_t access)
{
    struct carrick_registration *found =
        target->domain == NULL ? NULL : target->domain->registrations;

    while (found != NULL && found->key.key != work->key)
        found = found->next;
    if (found == NULL || !found->told || (found->options.access & access) == 0 ||
        work->remote < found->key.base || work->remote - found->key.base > found->options.bytes ||
        work->length > found->options.bytes - (work->remote - found->key.base))
        return NULL;
    return found;
}

static bool fake_is_local(const struct carrick_endpoint *endpoint)
{
    return endpoint->device->caps.proof == CARRICK_PROOF_LOCAL;
}

// Applies one operation at the target. false: it ended the endpoint.
static bool fake_apply(struct carrick_endpoint *endpoint, struct fake_posted *posted)
{
    struct carrick_endpoint *target = endpoint->peer;
    const struct carrick_work *work = &posted->work;
    const void *from = posted->copy != NULL ? posted->copy : work->local;
    struct carrick_registration *registration;
    bool is_write = work->operation == CARRICK_OP_WRITE;

    if (work->operation == CARRICK_OP_SEND) {
        target->unpolled++;
        fake_tell(target->device, CARRICK_EVENT_RECEIVE, CARRICK_OK, target->cookie, from,
                  (uint32_t)work->length)
            ->endpoint = target;
    } else if ((is_write || work->operation == CARRICK_OP_READ) && work->length > 0) {
        registration = fake_find(
            target, work, is_write ? CARRICK_ACCESS_REMOTE_WRITE : CARRICK_ACCESS_REMOTE_READ);
        if (registration == NULL) {
            fake_net.access_errors++;
            fake_lose(target, CARRICK_ERR_REMOTE_ACCESS);
            fake_lose(endpoint, CARRICK_ERR_REMOTE_ACCESS);
            return false;
        }
        uint8_t *place =
            (uint8_t *)registration->options.address + (work->remote - registration->key.base);
        if (is_write) {
            memcpy(place, from, work->length);
        } else {
            posted->copy = malloc(work->length);
            cr_assert(posted->copy != NULL);
            memcpy(posted->copy, place, work->length);
        }
    }
    target->applied_here++;
    return true;
}

static void fake_complete(struct carrick_endpoint *endpoint, struct fake_posted *posted)
{
    if (posted->work.operation == CARRICK_OP_READ && posted->copy != NULL)
        memcpy(posted->work.local, posted->copy, posted->work.length);
    if (posted->work.operation == CARRICK_OP_READ) {
        free(posted->copy);
        posted->copy = NULL;
    }
    fake_tell(endpoint->device, CARRICK_EVENT_COMPLETION, CARRICK_OK, posted->work.cookie, NULL, 0)
        ->endpoint = endpoint;
}

// Where nothing is proven, a write or send completes as soon as its bytes are copied.
static bool fake_may_complete(const struct carrick_endpoint *endpoint)
{
    const struct fake_posted *next = &endpoint->ring[endpoint->completed % FAKE_POSTED];
    bool early = fake_is_local(endpoint) && (next->work.operation == CARRICK_OP_WRITE ||
                                             next->work.operation == CARRICK_OP_SEND);

    return endpoint->completed < (early ? endpoint->posted : endpoint->applied) &&
           endpoint->completed < endpoint->complete_gate;
}

// How often an operation of this kind and length was posted on the data lanes of a device.
static inline unsigned fake_posted(const char *device, uint32_t operation, uint64_t length)
{
    const struct carrick_device *at = fake_device(device);
    unsigned count = 0;

    for (unsigned i = 0; i < at->posted && i < FAKE_LOG_OPS; i++)
        count += at->log[i].operation == operation && at->log[i].length == length;
    return count;
}

// As on a card: what is posted behind a send that the partner has no room for waits with it.
static bool fake_send_waits(const struct carrick_endpoint *endpoint)
{
    const struct fake_posted *next = &endpoint->ring[endpoint->applied % FAKE_POSTED];
    const struct carrick_endpoint *peer = endpoint->peer;

    return next->work.operation == CARRICK_OP_SEND && peer->device->send_depth != 0 &&
           peer->unpolled >= peer->device->send_depth;
}

// Lets operations go as far as the gates allow.
static void fake_move(struct carrick_endpoint *endpoint)
{
    while (endpoint->state == FAKE_CONNECTED && endpoint->peer != NULL &&
           endpoint->peer->state == FAKE_CONNECTED && endpoint->applied < endpoint->posted &&
           endpoint->applied < endpoint->apply_gate && !fake_send_waits(endpoint) &&
           !fake_is_cut(endpoint->device, endpoint->peer->device)) {
        struct fake_posted *posted = &endpoint->ring[endpoint->applied % FAKE_POSTED];

        if (!fake_apply(endpoint, posted))
            return;
        endpoint->applied++;
        if (posted->work.operation != CARRICK_OP_READ) {
            free(posted->copy);
            posted->copy = NULL;
        }
    }
    while (endpoint->state == FAKE_CONNECTED && fake_may_complete(endpoint) &&
           (endpoint->peer == NULL || !fake_is_cut(endpoint->device, endpoint->peer->device)))
        fake_complete(endpoint, &endpoint->ring[endpoint->completed++ % FAKE_POSTED]);
}

static uint32_t fake_reads_posted(const struct carrick_endpoint *endpoint)
{
    uint32_t reads = 0;

    for (uint64_t i = endpoint->completed; i < endpoint->posted; i++)
        reads += endpoint->ring[i % FAKE_POSTED].work.operation == CARRICK_OP_READ;
    return reads;
}

static void fake_post_check(const struct carrick_endpoint *endpoint,
                            const struct carrick_work *work)
{
    const struct carrick_device_caps *caps = &endpoint->device->caps;

    cr_assert(work->operation >= CARRICK_OP_WRITE && work->operation <= CARRICK_OP_FLUSH);
    cr_assert(work->local != NULL || work->length == 0, "no local buffer");
    if (work->operation == CARRICK_OP_SEND) {
        cr_assert_leq(work->length, caps->max_send_bytes);
        return;
    }
    cr_assert_leq(work->length, caps->max_message_bytes);
    if (work->length > 0) {
        const struct carrick_registration *local = work->registration;

        cr_assert(local != NULL && local->told, "the local buffer is not registered");
        cr_assert(local->domain->device == endpoint->device, "registered in another device");
        cr_assert((uint8_t *)work->local >= (uint8_t *)local->options.address &&
                      (uint8_t *)work->local + work->length <=
                          (uint8_t *)local->options.address + local->options.bytes,
                  "the local buffer lies outside its registration");
    }
}

static void fake_count(struct carrick_endpoint *endpoint, uint32_t operation, uint64_t length)
{
    struct carrick_device *device = endpoint->device;

    if (endpoint->domain == NULL)
        return;
    device->log[device->posted % FAKE_LOG_OPS].operation = operation;
    device->log[device->posted++ % FAKE_LOG_OPS].length = length;
    fake_net.writes += operation == CARRICK_OP_WRITE;
    fake_net.reads += operation == CARRICK_OP_READ;
    fake_net.sends += operation == CARRICK_OP_SEND;
    fake_net.flushes += operation == CARRICK_OP_FLUSH;
}

static int fake_post(struct carrick_endpoint *endpoint, const struct carrick_work *work,
                     uint32_t count)
{
    if (endpoint->state != FAKE_CONNECTED)
        return CARRICK_ERR_STATE;
    if (endpoint->posted - endpoint->completed + count > endpoint->device->caps.max_posted)
        return CARRICK_ERR_AGAIN;
    for (uint32_t i = 0; i < count; i++) {
        struct fake_posted *posted = &endpoint->ring[endpoint->posted % FAKE_POSTED];
        const struct carrick_work *from = carrick_work_at(work, i);

        fake_post_check(endpoint, from);
        posted->work = *from;
        posted->copy = NULL;
        if (fake_is_local(endpoint) && from->length > 0 &&
            (from->operation == CARRICK_OP_WRITE || from->operation == CARRICK_OP_SEND)) {
            posted->copy = malloc(from->length);
            cr_assert(posted->copy != NULL);
            memcpy(posted->copy, from->local, from->length);
        }
        fake_count(endpoint, from->operation, from->length);
        endpoint->posted++;
    }
    cr_assert_leq(fake_reads_posted(endpoint), endpoint->device->caps.max_reads,
                  "more reads at once than the transport takes");
    fake_move(endpoint);
    return CARRICK_OK;
}

#include "tests/unit/fake_transport_ops.h"

#endif
