// SPDX-License-Identifier: Apache-2.0
//
// A device: one local address. Its descriptor is an epoll of its own, in which lie the listener, all
// connections, the deadline timer, rtnetlink, and an eventfd for what calls from outside device_poll leave.
#include "tcp.h"

#include <carrick/error.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { RESOLVE_AGAIN_MS = 5000 };

void tcp_output_put(struct tcp_output *out, const struct carrick_event *event)
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

int tcp_device_watch(struct carrick_device *device, int operation, int fd, uint32_t events,
                     struct tcp_source *source)
{
    struct epoll_event e = {.events = events, .data.ptr = source};

    return epoll_ctl(device->epoll_fd, operation, fd, &e) == 0 ? CARRICK_OK : CARRICK_ERR_SYSTEM;
}

void tcp_device_kick(struct carrick_device *device)
{
    uint64_t one = 1;

    if (!device->armed || device->woken)
        return;
    // Fails only when the counter is full, and then the descriptor is readable anyway.
    device->woken = write(device->wake_fd, &one, sizeof one) == sizeof one;
}

void tcp_device_deadline(struct carrick_device *device, uint64_t at_ns)
{
    uint64_t now_ns;
    struct itimerspec spec = {0};

    if (device->timer_ns != 0 && device->timer_ns <= at_ns)
        return;
    device->timer_ns = at_ns;
    now_ns = device->host->now_ns(device->host);
    at_ns = at_ns > now_ns ? at_ns - now_ns : 1;
    spec.it_value.tv_sec = (time_t)(at_ns / 1000000000u);
    spec.it_value.tv_nsec = (long)(at_ns % 1000000000u);
    timerfd_settime(device->timer_fd, 0, &spec, NULL);
}

static int open_descriptors(struct carrick_device *d)
{
    d->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    d->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    d->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (d->epoll_fd < 0 || d->timer_fd < 0 || d->wake_fd < 0)
        return CARRICK_ERR_SYSTEM;
    if (tcp_device_watch(d, EPOLL_CTL_ADD, d->timer_fd, EPOLLIN, &d->timer_source) != CARRICK_OK ||
        tcp_device_watch(d, EPOLL_CTL_ADD, d->wake_fd, EPOLLIN, &d->wake_source) != CARRICK_OK)
        return CARRICK_ERR_SYSTEM;
    return CARRICK_OK;
}

static struct carrick_device *device_new(struct carrick_transport *transport, const char *name)
{
    struct carrick_device *d = calloc(1, sizeof *d);

    if (d == NULL)
        return NULL;
    d->transport = transport;
    d->host = transport->host;
    snprintf(d->name, sizeof d->name, "%s", name);
    d->epoll_fd = d->timer_fd = d->wake_fd = d->carrier.fd = -1;
    d->timer_source.kind = TCP_SOURCE_TIMER;
    d->wake_source.kind = TCP_SOURCE_WAKE;
    d->carrier.source.kind = TCP_SOURCE_CARRIER;
    list_init(&d->endpoints);
    list_init(&d->ready);
    list_init(&d->graveyard);
    list_init(&d->telling);
    list_init(&d->direct);
    return d;
}

int tcp_device_open(struct carrick_transport *transport,
                    const struct carrick_device_options *options, struct carrick_device **device,
                    struct carrick_error *error)
{
    struct carrick_device *d = device_new(transport, options->name);
    int status;

    if (d == NULL)
        return carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, "", "out of memory");
    status = tcp_section_parse(options->local, "/local", &d->local, error);
    if (status == CARRICK_OK)
        status = tcp_settings_parse(options->config, &d->settings, error);
    if (status == CARRICK_OK && open_descriptors(d) != CARRICK_OK)
        status =
            carrick_error_set(error, CARRICK_ERR_SYSTEM, errno, "",
                              "no descriptor for the device: %s; raise the limit of open files",
                              strerrordesc_np(errno));
    if (status == CARRICK_OK) {
        if (tcp_resolve_numeric(&d->local, &d->addresses))
            tcp_carrier_open(d);
        else
            status = tcp_resolve_start(d, NULL);
        if (status == CARRICK_OK && d->addresses.count != 0 && d->carrier.fd >= 0 &&
            d->carrier.follow_address && d->carrier.asking == TCP_ASK_NOTHING &&
            !d->carrier.address_present)
            status = carrick_error_set(
                error, CARRICK_ERR_NO_DEVICE, 0, "/local/address",
                "no interface%s%s of this node has the address %.100s; see `ip "
                "address`, or correct the link's section for this node",
                d->local.interface[0] ? " " : "", d->local.interface, d->local.address);
    }
    if (status != CARRICK_OK) {
        tcp_device_close(d);
        return status;
    }
    *device = d;
    return CARRICK_OK;
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void empty_graveyard(struct carrick_device *d)
{
    while (!list_empty(&d->graveyard)) {
        struct list *node = d->graveyard.next;
        list_remove(node);
        tcp_endpoint_free(list_entry(node, struct carrick_endpoint, node));
    }
}

void tcp_device_close(struct carrick_device *device)
{
    // None of these is left unless the caller broke the order of calls, or never answered a request.
    while (!list_empty(&device->endpoints)) {
        struct carrick_endpoint *e =
            list_entry(device->endpoints.next, struct carrick_endpoint, node);
        tcp_endpoint_shut(e);
        tcp_endpoint_bury(e);
    }
    empty_graveyard(device);
    while (!list_empty(&device->telling)) {
        struct carrick_registration *r =
            list_entry(device->telling.next, struct carrick_registration, node);
        list_remove(&r->node);
        if (r->event == CARRICK_EVENT_DEREGISTERED)
            free(r);
    }
    tcp_keys_free(&device->keys);
    tcp_resolve_forget(&device->resolve);
    tcp_carrier_close(device);
    tcp_listen_end(device);
    close_if_open(device->wake_fd);
    close_if_open(device->timer_fd);
    close_if_open(device->epoll_fd);
    free(device);
}

int tcp_device_fd(struct carrick_device *device)
{
    return device->epoll_fd;
}

static bool device_down(const struct carrick_device *d)
{
    return d->address_lost || !tcp_carrier_up(d);
}

static bool device_down_here(const struct carrick_device *d)
{
    return d->address_lost || tcp_carrier_down_here(d);
}

static bool device_is_told(const struct carrick_device *d)
{
    return device_down(d) == d->told_down && device_down_here(d) == d->told_down_here;
}

int tcp_device_arm(struct carrick_device *device)
{
    if (!list_empty(&device->ready) || !list_empty(&device->telling) || !device_is_told(device))
        return 1;
    if (device->hot != NULL && tcp_endpoint_detached(device->hot))
        tcp_endpoint_watch_usual(device->hot);
    device->slept_poll = device->poll_count;
    device->armed = true;
    return 0;
}

void tcp_device_resolved(struct carrick_device *device, const struct tcp_addresses *addresses)
{
    struct list *node, *next;

    if (addresses->count == 0) {
        device->address_lost = true;
        device->resolve_again_ns =
            device->host->now_ns(device->host) + RESOLVE_AGAIN_MS * UINT64_C(1000000);
        tcp_device_deadline(device, device->resolve_again_ns);
        tcp_device_kick(device);
        return;
    }
    device->addresses = *addresses;
    device->address_lost = false;
    tcp_carrier_open(device);
    if (device->listening && device->listener_count == 0) {
        struct carrick_error error = {.struct_size = sizeof error};
        if (tcp_listen_start(device, &error) != CARRICK_OK) {
            device->host->log(device->host, CARRICK_LOG_ERROR, "%s: %s", device->name, error.text);
            device->address_lost = true;
        }
    }
    for (node = device->endpoints.next; node != &device->endpoints; node = next) {
        struct carrick_endpoint *e = list_entry(node, struct carrick_endpoint, node);
        next = node->next;
        if (e->state == TCP_RESOLVING && e->resolve == NULL)
            tcp_connect_start(e);
    }
    tcp_device_kick(device);
}

static void run_deadlines(struct carrick_device *d)
{
    uint64_t now_ns = d->host->now_ns(d->host), expirations;
    struct list *node, *next;

    if (read(d->timer_fd, &expirations, sizeof expirations) != sizeof expirations)
        return;
    d->timer_ns = 0;
    if (d->resolve_again_ns != 0 && d->resolve_again_ns <= now_ns) {
        d->resolve_again_ns = 0;
        if (d->resolve == NULL && tcp_resolve_start(d, NULL) != CARRICK_OK)
            d->resolve_again_ns = now_ns + RESOLVE_AGAIN_MS * UINT64_C(1000000);
    }
    if (d->resolve_again_ns != 0)
        tcp_device_deadline(d, d->resolve_again_ns);
    if (d->accept_at_ns != 0 && d->accept_at_ns <= now_ns) {
        d->accept_at_ns = 0;
        tcp_listen_resume(d);
    } else if (d->accept_at_ns != 0) {
        tcp_device_deadline(d, d->accept_at_ns);
    }
    for (node = d->endpoints.next; node != &d->endpoints; node = next) {
        struct carrick_endpoint *e = list_entry(node, struct carrick_endpoint, node);
        next = node->next;
        if (e->deadline_ns == 0)
            continue;
        if (e->deadline_ns <= now_ns)
            tcp_endpoint_expire(e, now_ns);
        else
            tcp_device_deadline(d, e->deadline_ns);
    }
}

static void run_epoll(struct carrick_device *d, struct tcp_output *out)
{
    struct epoll_event events[TCP_ENDPOINTS_PER_POLL];
    int count = epoll_wait(d->epoll_fd, events, TCP_ENDPOINTS_PER_POLL, 0);

    for (int i = 0; i < count; i++) {
        struct tcp_source *source = events[i].data.ptr;
        switch (source->kind) {
        case TCP_SOURCE_ENDPOINT:
            tcp_endpoint_run((struct carrick_endpoint *)source, events[i].events, out);
            break;
        case TCP_SOURCE_LISTENER:
            tcp_listen_accept(d, (struct tcp_listener *)source);
            break;
        case TCP_SOURCE_TIMER:
            run_deadlines(d);
            break;
        case TCP_SOURCE_CARRIER:
            tcp_carrier_read(d);
            break;
        case TCP_SOURCE_WAKE:
            break; // emptied at the begin of the next poll
        }
    }
}

static void run_ready(struct carrick_device *d, struct tcp_output *out)
{
    struct list *last = d->ready.previous;

    // Those that become ready again meanwhile stand behind `last` and wait for the next poll.
    for (uint32_t i = 0; i < TCP_ENDPOINTS_PER_POLL && !list_empty(&d->ready); i++) {
        struct list *node = d->ready.next;
        struct carrick_endpoint *e = list_entry(node, struct carrick_endpoint, ready_node);
        bool done = node == last;

        list_remove(node);
        e->is_ready = false;
        tcp_endpoint_run(e, 0, out);
        if (done || tcp_output_full(out))
            break;
    }
}

static void tell_device(struct carrick_device *d, struct tcp_output *out)
{
    bool down = device_down(d), here = device_down_here(d);
    struct carrick_event event = {
        .type = down ? CARRICK_EVENT_DEVICE_DOWN : CARRICK_EVENT_DEVICE_UP,
        .status = here   ? CARRICK_ERR_NO_DEVICE
                  : down ? CARRICK_ERR_LINK_DOWN
                         : CARRICK_OK,
    };

    if (device_is_told(d) || tcp_output_full(out))
        return;
    d->told_down = down;
    d->told_down_here = here;
    tcp_output_put(out, &event);
}

uint32_t tcp_device_poll(struct carrick_device *device, struct carrick_event *events, uint32_t max)
{
    struct tcp_output out = {.events = events, .max = max};
    struct carrick_endpoint *hot;
    bool look, called = device->called;

    if (max == 0)
        return 0;
    device->slept = device->armed;
    device->armed = device->called = false;
    device->poll_count++;
    if (device->woken) {
        uint64_t count;
        device->woken = read(device->wake_fd, &count, sizeof count) < 0 && errno == EINTR;
    }
    if (!list_empty(&device->graveyard))
        empty_graveyard(device);
    tell_device(device, &out);
    tcp_regions_tell(device, &out);
    run_ready(device, &out);

    // Whoever polls without sleeping pays one recv here, on the connection that spoke last, and looks at all
    // others in every n-th call. Whoever slept wants to know what woke him, if it was not that one. A watch of a
    // connection's own has said what there is; the epoll has a watch as well, which calls by itself.
    hot = device->hot;
    look = hot == NULL || device->poll_count % TCP_POLLS_PER_EPOLL == 0;
    if (called && device->slept) {
        look = false;
    } else if (hot != NULL && hot->last_poll != device->poll_count &&
               !(device->slept && hot->direct != NULL)) {
        uint64_t before = hot->counters.receive_bytes;
        tcp_device_awake(device);
        hot->receive_more = true;
        tcp_endpoint_run(hot, 0, &out);
        look |= device->slept && before == hot->counters.receive_bytes;
    } else if (device->slept) {
        // Not asked by any of them: the epoll, or a caller who wants to know all that has come.
        look = true;
        tcp_device_sweep(device, &out);
    }
    if (look || !list_empty(&device->ready))
        run_epoll(device, &out);
    tell_device(device, &out);
    tcp_regions_tell(device, &out);
    return out.count;
}
