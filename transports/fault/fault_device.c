// SPDX-License-Identifier: Apache-2.0
//
// Devices: the queue of our own events beside the inner device's, and one descriptor for both.
#include "fault.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

// How often a device that is closed too early is polled, so that its endpoints are CLOSED after all.
#define CLOSE_POLLS 1000

static void event_fd_set(struct carrick_device *device)
{
    uint64_t one = 1;

    if (device->event_fd_set)
        return;
    device->event_fd_set = write(device->event_fd, &one, sizeof(one)) == sizeof(one);
}

static void event_fd_clear(struct carrick_device *device)
{
    uint64_t count;

    if (device->event_fd_set && read(device->event_fd, &count, sizeof(count)) == sizeof(count))
        device->event_fd_set = false;
}

static void kicked(void *arg)
{
    struct carrick_device *device = arg;

    if (device->armed && device->wake != NULL) {
        device->armed = false;
        device->wake(device->wake_arg);
    }
}

// In a timer: what it did to the inner device may want polling, too.
void fault_device_kick(struct carrick_device *device)
{
    if (device->inner_fd >= 0)
        event_fd_set(device);
    else
        kicked(device);
}

void fault_ready_push(struct carrick_device *device, struct fault_ready *ready)
{
    const struct carrick_host *host = device->transport->host;

    ready->queued = true;
    TAILQ_INSERT_TAIL(&device->ready, ready, entry);
    if (device->inner_fd >= 0)
        event_fd_set(device);
    else if (device->armed)
        host->timer_start(device->kick, 0); // not from here: the core is the caller
}

static void inner_woke(void *arg)
{
    kicked(arg);
}

static int epoll_make(struct carrick_device *device)
{
    struct epoll_event event = {.events = EPOLLIN};

    device->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    device->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (device->epoll_fd < 0 || device->event_fd < 0 ||
        epoll_ctl(device->epoll_fd, EPOLL_CTL_ADD, device->inner_fd, &event) != 0 ||
        epoll_ctl(device->epoll_fd, EPOLL_CTL_ADD, device->event_fd, &event) != 0)
        return CARRICK_ERR_SYSTEM;
    return CARRICK_OK;
}

static void device_free(struct carrick_device *device)
{
    if (device->kick != NULL)
        device->transport->host->timer_destroy(device->kick);
    if (device->epoll_fd >= 0)
        close(device->epoll_fd);
    if (device->event_fd >= 0)
        close(device->event_fd);
    free(device);
}

int fault_device_open(struct carrick_transport *transport,
                      const struct carrick_device_options *options, struct carrick_device **device,
                      struct carrick_error *error)
{
    const struct carrick_host *host = transport->host;
    struct carrick_device *made = calloc(1, sizeof(*made)), *inner = NULL;
    int rc;

    if (made == NULL)
        return CARRICK_ERR_NO_MEMORY;
    made->transport = transport;
    made->epoll_fd = made->event_fd = made->inner_fd = -1;
    TAILQ_INIT(&made->ready);
    TAILQ_INIT(&made->endpoints);
    rc = transport->ops.device_open(transport->inner, options, &inner, error);
    if (rc != CARRICK_OK) {
        device_free(made);
        return rc;
    }
    made->inner = inner;
    made->caps.struct_size = sizeof(made->caps);
    transport->ops.device_caps(inner, &made->caps);
    made->inner_fd = transport->ops.device_fd(inner);
    if (made->inner_fd >= 0) {
        rc = epoll_make(made);
    } else {
        rc = host->timer_create(host, kicked, made, &made->kick);
        if (rc == CARRICK_OK && transport->ops.device_wake != NULL)
            transport->ops.device_wake(inner, inner_woke, made);
    }
    if (rc != CARRICK_OK) {
        transport->ops.device_close(inner);
        device_free(made);
        return rc;
    }
    *device = made;
    return CARRICK_OK;
}

// Zombies of a broken fence, or the endpoints of a node that ends without ceremony.
static void endpoints_end(struct carrick_device *device)
{
    struct carrick_transport *transport = device->transport;
    struct carrick_endpoint *endpoint, *next;
    struct carrick_event event = {.struct_size = sizeof(event)};

    for (endpoint = TAILQ_FIRST(&device->endpoints); endpoint != NULL; endpoint = next) {
        next = TAILQ_NEXT(endpoint, entry);
        endpoint->core_closed = true;
        fault_queue_drop(endpoint);
        fault_endpoint_close_inner(endpoint, false);
        fault_endpoint_closed_told(endpoint);
    }
    for (int i = 0; i < CLOSE_POLLS && !TAILQ_EMPTY(&device->endpoints); i++) {
        event.struct_size = sizeof(event);
        if (transport->ops.device_poll(device->inner, &event, 1) == 0)
            continue;
        if (event.type == CARRICK_EVENT_REGISTERED || event.type == CARRICK_EVENT_DEREGISTERED) {
            if ((event.cookie & FAULT_COPY_COOKIE) != 0)
                fault_copy_event((struct fault_held *)(uintptr_t)(event.cookie & ~1ull), &event);
        } else {
            fault_endpoint_event(device, &event);
        }
    }
    while ((endpoint = TAILQ_FIRST(&device->endpoints)) != NULL) {
        fault_queue_drop(endpoint);
        fault_flying_drop(endpoint);
        while (!TAILQ_EMPTY(&endpoint->ending))
            fault_held_free(TAILQ_FIRST(&endpoint->ending));
        fault_endpoint_free(endpoint);
    }
}

void fault_device_close(struct carrick_device *device)
{
    struct fault_ready *ready;

    endpoints_end(device);
    while ((ready = TAILQ_FIRST(&device->ready)) != NULL) {
        TAILQ_REMOVE(&device->ready, ready, entry);
        free(ready->event.registration); // a failed one that the core was not told of
    }
    device->transport->ops.device_close(device->inner);
    device_free(device);
}

void fault_device_caps(struct carrick_device *device, struct carrick_device_caps *caps)
{
    uint32_t size = caps->struct_size;
    struct carrick_device_caps own = device->caps;

    if (device->transport->config.withdraw_applied)
        own.flags &= ~(uint32_t)CARRICK_CAP_APPLIED_COUNT;
    own.struct_size = size;
    memcpy(caps, &own, size < sizeof(own) ? size : sizeof(own));
}

static uint32_t ready_drain(struct carrick_device *device, struct carrick_event *events,
                            uint32_t from, uint32_t max)
{
    uint32_t stride = events->struct_size;
    struct fault_ready *ready;

    while (from < max && (ready = TAILQ_FIRST(&device->ready)) != NULL) {
        struct carrick_event *event =
            (struct carrick_event *)((char *)events + (size_t)from * stride);

        TAILQ_REMOVE(&device->ready, ready, entry);
        ready->queued = false;
        *event = ready->event;
        event->struct_size = stride;
        from++;
        if (event->type == CARRICK_EVENT_CLOSED)
            fault_endpoint_closed_told(event->endpoint);
        else if (event->type == CARRICK_EVENT_REGISTERED)
            free(event->registration); // failed: the handle is gone
    }
    return from;
}

static bool registration_event(struct carrick_event *event)
{
    struct carrick_registration *registration;

    if ((event->cookie & FAULT_COPY_COOKIE) != 0) {
        fault_copy_event((struct fault_held *)(uintptr_t)(event->cookie & ~1ull), event);
        return false;
    }
    registration = (struct carrick_registration *)(uintptr_t)event->cookie;
    event->cookie = registration->cookie;
    event->registration = registration;
    if (event->type == CARRICK_EVENT_DEREGISTERED || event->status != CARRICK_OK)
        free(registration);
    return true;
}

// Makes an event of the inner device the core's; false: it is not for the core.
static bool event_translate(struct carrick_device *device, struct carrick_event *event)
{
    switch (event->type) {
    case CARRICK_EVENT_COMPLETION:
    case CARRICK_EVENT_RECEIVE:
    case CARRICK_EVENT_REQUEST:
    case CARRICK_EVENT_CONNECTED:
    case CARRICK_EVENT_DISCONNECTED:
    case CARRICK_EVENT_CLOSED:
    case CARRICK_EVENT_SEND_ROOM:
        return fault_endpoint_event(device, event);
    case CARRICK_EVENT_REGISTERED:
    case CARRICK_EVENT_DEREGISTERED:
        return registration_event(event);
    default:
        return true; // of the device
    }
}

uint32_t fault_device_poll(struct carrick_device *device, struct carrick_event *events,
                           uint32_t max)
{
    uint32_t stride = events->struct_size, taken, got, kept;

    device->armed = false;
    event_fd_clear(device);
    taken = ready_drain(device, events, 0, max);
    if (taken == max)
        return taken;
    events = (struct carrick_event *)((char *)events + (size_t)taken * stride);
    events->struct_size = stride;
    got = device->transport->ops.device_poll(device->inner, events, max - taken);
    kept = 0;
    for (uint32_t i = 0; i < got; i++) {
        struct carrick_event *event = (struct carrick_event *)((char *)events + (size_t)i * stride);

        if (!event_translate(device, event))
            continue;
        if (kept != i)
            memcpy((char *)events + (size_t)kept * stride, event, stride);
        kept++;
    }
    events->struct_size = stride;
    return taken + ready_drain(device, events, kept, max - taken);
}

int fault_device_fd(struct carrick_device *device)
{
    return device->epoll_fd;
}

int fault_device_arm(struct carrick_device *device)
{
    if (!TAILQ_EMPTY(&device->ready) || device->transport->ops.device_arm(device->inner) != 0)
        return 1;
    device->armed = true;
    return 0;
}

void fault_device_wake(struct carrick_device *device, void (*wake)(void *arg), void *arg)
{
    device->wake = wake;
    device->wake_arg = arg;
}
