// SPDX-License-Identifier: Apache-2.0
//
// How a connection's descriptor is waited for. Three ways, by what the device is like at the moment:
//
//   in the device's epoll   always right; the loop that sleeps on the epoll's descriptor looks twice, though
//   a watch of its own      the host's loop looks at the connection itself; for those that wake a sleeping loop often
//   not at all (detached)   the device is polled without pause, and this is the connection that spoke last
//
// Room to send (EPOLLOUT) is always waited for in the device's epoll.
#include "tcp.h"

#include <sys/epoll.h>

void tcp_device_wake(struct carrick_device *device, void (*wake)(void *arg), void *arg)
{
    device->wake = wake;
    device->wake_arg = arg;
}

void tcp_endpoint_watch(struct carrick_endpoint *endpoint, uint32_t epoll_events)
{
    struct carrick_endpoint *e = endpoint;
    int operation = e->in_epoll ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    e->sender.watching = (epoll_events & EPOLLOUT) != 0;
    if (e->direct != NULL)
        epoll_events &= ~(uint32_t)EPOLLIN;
    if (epoll_events == 0)
        operation = EPOLL_CTL_DEL;
    if (epoll_events == 0 && !e->in_epoll)
        return;
    // It cannot fail: the descriptor was in this epoll before, and its memory is kept by the kernel's cache.
    tcp_device_watch(e->device, operation, e->fd, epoll_events, &e->source);
    e->in_epoll = epoll_events != 0;
}

void tcp_endpoint_watch_end(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;

    if (e->direct == NULL)
        return;
    e->device->host->watch_destroy(e->direct);
    e->direct = NULL;
    list_remove(&e->direct_node);
}

static void direct_ready(void *arg, uint32_t events)
{
    struct carrick_endpoint *e = arg;
    struct carrick_device *d = e->device;

    (void)events;
    e->receive_more = true;
    // Not by tcp_endpoint_ready, which would make the device's descriptor readable as well.
    if (!e->is_ready) {
        e->is_ready = true;
        list_append(&d->ready, &e->ready_node);
    }
    d->called = true;
    d->wake(d->wake_arg);
}

static void direct_begin(struct carrick_endpoint *e)
{
    struct carrick_device *d = e->device;

    e->slept_receives = 0;
    if (d->host->watch_create(d->host, e->fd, CARRICK_WATCH_READ, direct_ready, e, &e->direct) !=
        CARRICK_OK) {
        e->direct = NULL;
        return;
    }
    list_append(&d->direct, &e->direct_node);
    tcp_endpoint_watch(e, e->sender.watching ? EPOLLOUT : 0);
}

void tcp_endpoint_watch_usual(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;

    if (e->in_epoll && e->direct == NULL)
        return;
    tcp_endpoint_watch_end(e);
    tcp_endpoint_watch(e, e->sender.watching ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void tcp_device_heat(struct carrick_endpoint *endpoint)
{
    struct carrick_device *d = endpoint->device;

    if (d->hot != endpoint) {
        if (d->hot != NULL && tcp_endpoint_detached(d->hot))
            tcp_endpoint_watch_usual(d->hot);
        d->hot = endpoint;
    }
    // A watch costs a few calls to make: whoever wakes us again and again gets one.
    if (d->slept && endpoint->direct == NULL && d->wake != NULL &&
        ++endpoint->slept_receives >= TCP_SLEPT_RECEIVES)
        direct_begin(endpoint);
}

// To be woken by its packets costs a connection a microsecond each; one that is polled anyway need not be.
void tcp_device_awake(struct carrick_device *device)
{
    struct carrick_device *d = device;
    struct carrick_endpoint *e = d->hot;

    if (d->poll_count - d->slept_poll < TCP_POLLS_AWAKE)
        return;
    while (!list_empty(&d->direct))
        tcp_endpoint_watch_usual(list_entry(d->direct.next, struct carrick_endpoint, direct_node));
    e->slept_receives = 0;
    if (e->in_epoll && !e->sender.watching)
        tcp_endpoint_watch(e, 0);
}

void tcp_device_sweep(struct carrick_device *device, struct tcp_output *out)
{
    uint64_t now_ns;
    struct list *node, *next;

    if (list_empty(&device->direct))
        return;
    now_ns = device->host->now_ns(device->host);
    if (now_ns - device->swept_ns < TCP_SWEEP_MS * UINT64_C(1000000))
        return;
    device->swept_ns = now_ns;
    for (node = device->direct.next; node != &device->direct; node = next) {
        struct carrick_endpoint *e = list_entry(node, struct carrick_endpoint, direct_node);

        next = node->next;
        e->receive_more = true;
        tcp_endpoint_run(e, 0, out);
    }
}
