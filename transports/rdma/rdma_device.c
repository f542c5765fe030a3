// SPDX-License-Identifier: Apache-2.0
//
// What runs a device. Its descriptor is an epoll of its own, in which lie the completion channel, the connection
// manager's channel, the device's own events, the deadline timer, rtnetlink, and an eventfd for what calls from outside
// device_poll leave.
#include "rdma.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { SOURCES = 8 };

void rdma_output_put(struct rdma_output *out, const struct carrick_event *event)
{
    struct carrick_event *at = carrick_event_at(out->events, out->count++);
    uint32_t size = out->events->struct_size;

    // A caller built against a later header has longer elements, one built against this one has these.
    if (size >= sizeof *event)
        *at = *event;
    else
        memcpy(at, event, size);
    at->struct_size = size;
}

int rdma_device_watch(struct carrick_device *device, int fd, enum rdma_source source)
{
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = source};

    return epoll_ctl(device->epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0 ? CARRICK_OK
                                                                   : CARRICK_ERR_SYSTEM;
}

void rdma_device_kick(struct carrick_device *device)
{
    uint64_t one = 1;

    if (!device->armed || device->woken || device->closed)
        return;
    // Fails only when the counter is full, and then the descriptor is readable anyway.
    device->woken = write(device->wake_fd, &one, sizeof one) == sizeof one;
}

void rdma_device_deadline(struct carrick_device *device, uint64_t at_ns)
{
    struct itimerspec spec = {0};
    uint64_t now_ns;

    if (device->closed || (device->timer_ns != 0 && device->timer_ns <= at_ns))
        return;
    device->timer_ns = at_ns;
    now_ns = rdma_now_ns(device);
    at_ns = at_ns > now_ns ? at_ns - now_ns : 1;
    spec.it_value.tv_sec = (time_t)(at_ns / 1000000000u);
    spec.it_value.tv_nsec = (long)(at_ns % 1000000000u);
    timerfd_settime(device->timer_fd, 0, &spec, NULL);
}

int rdma_device_fd(struct carrick_device *device)
{
    return device->epoll_fd;
}

static bool device_down(const struct carrick_device *d)
{
    return d->port_down || !rdma_carrier_up(d);
}

static bool device_is_told(const struct carrick_device *d)
{
    return device_down(d) == d->told_down && rdma_carrier_down_here(d) == d->told_down_here &&
           d->removed == d->told_removed;
}

static bool something_to_do(const struct carrick_device *d)
{
    return !list_empty(&d->ready) || !list_empty(&d->telling) || !list_empty(&d->hung_up) ||
           !list_empty(&d->graveyard) || !list_empty(&d->received) ||
           d->stash_at != d->stash_count || !device_is_told(d) ||
           (!list_empty(&d->parked) && !rdma_carrier_down_here(d));
}

// Completions that came between the last poll and the arming bring no event: they are looked for once more.
static bool missed_completions(struct carrick_device *d)
{
    int count;

    if (d->cq_armed)
        return false;
    ibv_req_notify_cq(d->cq, 0);
    d->cq_armed = true;
    count = ibv_poll_cq(d->cq, RDMA_BATCH, d->stash);
    d->stash_at = 0;
    d->stash_count = count > 0 ? (uint32_t)count : 0;
    return count > 0;
}

int rdma_device_arm(struct carrick_device *device)
{
    if (something_to_do(device) || missed_completions(device))
        return 1;
    device->armed = true;
    device->sleeps++;
    return 0;
}

static void run_deadlines(struct carrick_device *d)
{
    uint64_t now_ns = rdma_now_ns(d), expirations;
    struct list *node, *next;

    if (read(d->timer_fd, &expirations, sizeof expirations) != sizeof expirations)
        return;
    d->timer_ns = 0;
    for (node = d->endpoints.next; node != &d->endpoints; node = next) {
        struct carrick_endpoint *e = list_entry(node, struct carrick_endpoint, node);

        next = node->next;
        if (e->deadline_ns == 0)
            continue;
        if (e->deadline_ns <= now_ns)
            rdma_endpoint_expire(e);
        else
            rdma_device_deadline(d, e->deadline_ns);
    }
}

// The event of a completion channel says no more than that the queue must be armed again.
static bool read_completion_event(struct carrick_device *d)
{
    struct ibv_cq *cq;
    void *context;

    if (!d->cq_armed || ibv_get_cq_event(d->completions, &cq, &context) != 0)
        return false;
    d->cq_armed = false;
    // Acknowledging takes a lock: many at once, and the rest when the queue ends.
    if (++d->events_unacked >= 1024) {
        ibv_ack_cq_events(d->cq, d->events_unacked);
        d->events_unacked = 0;
    }
    return true;
}

static void run_epoll(struct carrick_device *d)
{
    struct epoll_event events[SOURCES];
    int count = epoll_wait(d->epoll_fd, events, SOURCES, 0);
    uint64_t wakes;

    for (int i = 0; i < count; i++) {
        switch ((enum rdma_source)events[i].data.u32) {
        case RDMA_SOURCE_WAKE:
            d->woken = read(d->wake_fd, &wakes, sizeof wakes) < 0 && errno == EINTR;
            rdma_dial_collect(d);
            break;
        case RDMA_SOURCE_TIMER:
            run_deadlines(d);
            break;
        case RDMA_SOURCE_COMPLETION:
            read_completion_event(d);
            break;
        case RDMA_SOURCE_CM:
            rdma_cm_read(d);
            break;
        case RDMA_SOURCE_ASYNC:
            rdma_async_read(d);
            break;
        case RDMA_SOURCE_CARRIER:
            rdma_carrier_read(d);
            break;
        }
    }
}

// Returns whether the queue was seen empty.
static bool run_completions(struct carrick_device *d, struct rdma_output *out)
{
    struct ibv_wc wc[RDMA_BATCH];
    uint32_t taken = 0;

    while (d->stash_at != d->stash_count && !rdma_output_full(out))
        rdma_complete(d, &d->stash[d->stash_at++], out);
    while (taken < RDMA_CQES_PER_POLL && !rdma_output_full(out)) {
        uint32_t room = out->max - out->count;
        int count = ibv_poll_cq(d->cq, room < RDMA_BATCH ? (int)room : RDMA_BATCH, wc);

        if (count <= 0)
            return true;
        taken += (uint32_t)count;
        d->polled += (uint32_t)count;
        for (int i = 0; i < count; i++)
            rdma_complete(d, &wc[i], out);
    }
    return false;
}

static void run_ready(struct carrick_device *d, struct rdma_output *out)
{
    struct list *last = d->ready.previous;

    // Those that become ready again meanwhile stand behind `last` and wait for the next poll.
    while (!list_empty(&d->ready) && !rdma_output_full(out)) {
        struct list *node = d->ready.next;
        bool done = node == last;

        list_remove(node);
        rdma_endpoint_run(list_entry(node, struct carrick_endpoint, ready_node), out);
        if (done)
            break;
    }
}

static void tell_device(struct carrick_device *d, struct rdma_output *out)
{
    bool down = device_down(d), here = rdma_carrier_down_here(d);
    struct carrick_event event = {
        .type = down ? CARRICK_EVENT_DEVICE_DOWN : CARRICK_EVENT_DEVICE_UP,
        .status = here   ? CARRICK_ERR_NO_DEVICE
                  : down ? CARRICK_ERR_LINK_DOWN
                         : CARRICK_OK,
    };

    if ((down != d->told_down || here != d->told_down_here) && !rdma_output_full(out)) {
        d->told_down = down;
        d->told_down_here = here;
        rdma_output_put(out, &event);
    }
    if (d->removed && !d->told_removed && !rdma_output_full(out)) {
        d->told_removed = true;
        event.type = CARRICK_EVENT_DEVICE_REMOVED;
        event.status = CARRICK_ERR_DEVICE_REMOVED;
        rdma_output_put(out, &event);
    }
}

// What was told until now is over: buffers go back, endpoints that are CLOSED go.
static void begin(struct carrick_device *d)
{
    if (!list_empty(&d->parked) && !rdma_carrier_down_here(d))
        rdma_endpoints_unpark(d);
    while (!list_empty(&d->received)) {
        struct list *node = d->received.next;

        list_remove(node);
        rdma_endpoint_give_back(list_entry(node, struct carrick_endpoint, received_node));
    }
    while (!list_empty(&d->graveyard)) {
        struct list *node = d->graveyard.next;

        list_remove(node);
        rdma_endpoint_end(list_entry(node, struct carrick_endpoint, node));
    }
}

uint32_t rdma_device_poll(struct carrick_device *device, struct carrick_event *events, uint32_t max)
{
    struct carrick_device *d = device;
    struct rdma_output out = {.events = events, .max = max};
    bool slept = d->armed, empty, look;

    if (max == 0)
        return 0;
    d->armed = false;
    d->poll_count++;
    begin(d);
    tell_device(d, &out);
    rdma_regions_tell(d, &out);
    run_ready(d, &out);

    // Whoever polls without sleeping looks at the other descriptors in every n-th call. Whoever slept was woken by a
    // completion most of the time: then the queue has one, and its event is there; else the epoll tells.
    empty = run_completions(d, &out);
    look = d->poll_count % RDMA_POLLS_PER_EPOLL == 0;
    if (slept && !(out.count != 0 && read_completion_event(d)))
        look = true;
    if (look) {
        run_epoll(d);
        empty = run_completions(d, &out);
    }
    // A partner that is gone may have said something before.
    while (empty && !list_empty(&d->hung_up)) {
        struct list *node = d->hung_up.next;
        struct carrick_endpoint *e = list_entry(node, struct carrick_endpoint, hung_node);

        list_remove(node);
        rdma_endpoint_fail(e, e->said_bye ? CARRICK_ERR_CLOSED : CARRICK_ERR_RESET);
    }
    run_ready(d, &out);
    tell_device(d, &out);
    rdma_regions_tell(d, &out);
    return out.count;
}
