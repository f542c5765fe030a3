// SPDX-License-Identifier: Apache-2.0
//
// The answering side. Connections that have not said HELLO, and requests that the core has not answered, count as
// half-open: bounded in number and in time, and when there are too many the oldest stranger goes.
#include "tcp.h"

#include <carrick/error.h>

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { ACCEPTS_PER_POLL = 16, ACCEPT_AGAIN_MS = 100 };

// 0 or an errno.
static int listen_at(struct carrick_device *d, const struct tcp_address *address)
{
    struct tcp_listener *l = &d->listeners[d->listener_count];
    int failed;

    l->source.kind = TCP_SOURCE_LISTENER;
    l->fd = tcp_socket_new(d, address->storage.ss_family, true);
    if (l->fd >= 0 &&
        bind(l->fd, (const struct sockaddr *)&address->storage, address->length) == 0 &&
        listen(l->fd, (int)d->settings.listen_backlog) == 0 &&
        tcp_device_watch(d, EPOLL_CTL_ADD, l->fd, EPOLLIN, &l->source) == CARRICK_OK) {
        d->listener_count++;
        return 0;
    }
    failed = errno;
    if (l->fd >= 0)
        close(l->fd);
    return failed;
}

// At every address of a name: the partner may know but one family of them.
int tcp_listen_start(struct carrick_device *device, struct carrick_error *error)
{
    struct carrick_device *d = device;
    char address[80];
    int failed = 0;

    for (uint32_t i = 0; i < d->addresses.count; i++) {
        failed = listen_at(d, &d->addresses.at[i]);
        // A family that this node does not have at all is not missed, if there is another.
        if (failed == 0 ||
            (failed == EAFNOSUPPORT && (d->listener_count != 0 || i + 1 < d->addresses.count)))
            continue;
        tcp_listen_end(d);
        tcp_address_text(&d->addresses.at[i], address, sizeof address);
        return carrick_error_set(
            error, CARRICK_ERR_SYSTEM, failed, "/local/port", "cannot listen at %s: %s%s", address,
            strerrordesc_np(failed),
            failed == EADDRINUSE ? "; another process or another manager has this address and port"
                                 : "");
    }
    d->accept_paused = false;
    return CARRICK_OK;
}

void tcp_listen_end(struct carrick_device *device)
{
    while (device->listener_count > 0)
        close(device->listeners[--device->listener_count].fd);
}

int tcp_listen(struct carrick_device *device, struct carrick_error *error)
{
    int status = CARRICK_OK;

    if (device->listening)
        return carrick_error_set(error, CARRICK_ERR_STATE, 0, "", "the device listens already");
    // A name that is still looked up: tcp_device_resolved goes on from here.
    if (device->addresses.count != 0)
        status = tcp_listen_start(device, error);
    device->listening = status == CARRICK_OK;
    return status;
}

void tcp_unlisten(struct carrick_device *device)
{
    struct list *node, *next;

    device->listening = false;
    tcp_listen_end(device);
    device->accept_at_ns = 0;
    for (node = device->endpoints.next; node != &device->endpoints; node = next) {
        struct carrick_endpoint *e = list_entry(node, struct carrick_endpoint, node);
        next = node->next;
        if (e->state == TCP_KNOCKING || e->state == TCP_REQUESTED)
            tcp_endpoint_fail(e, CARRICK_ERR_CANCELLED);
    }
}

static void watch_listeners(struct carrick_device *d, uint32_t events)
{
    for (uint32_t i = 0; i < d->listener_count; i++)
        tcp_device_watch(d, EPOLL_CTL_MOD, d->listeners[i].fd, events, &d->listeners[i].source);
}

static void pause_accept(struct carrick_device *d, bool for_time)
{
    d->accept_paused = true;
    watch_listeners(d, 0);
    if (!for_time)
        return;
    d->accept_at_ns = d->host->now_ns(d->host) + ACCEPT_AGAIN_MS * UINT64_C(1000000);
    tcp_device_deadline(d, d->accept_at_ns);
}

void tcp_listen_resume(struct carrick_device *device)
{
    if (!device->accept_paused || device->listener_count == 0)
        return;
    device->accept_paused = false;
    device->accept_at_ns = 0;
    watch_listeners(device, EPOLLIN);
}

void tcp_listen_release(struct carrick_endpoint *endpoint)
{
    endpoint->device->half_open--;
    tcp_listen_resume(endpoint->device);
}

static bool evict_oldest(struct carrick_device *d)
{
    for (struct list *node = d->endpoints.next; node != &d->endpoints; node = node->next) {
        struct carrick_endpoint *e = list_entry(node, struct carrick_endpoint, node);
        if (e->state == TCP_KNOCKING) {
            d->evicted++;
            tcp_endpoint_fail(e, CARRICK_ERR_LIMIT);
            return true;
        }
    }
    return false;
}

static bool accept_one(struct carrick_device *d, const struct tcp_listener *listener)
{
    struct carrick_endpoint *e;
    struct tcp_address remote = {.length = sizeof remote.storage};
    int fd;

    if (d->half_open >= TCP_HALF_OPEN_MAX && !evict_oldest(d)) {
        pause_accept(d, false);
        return false;
    }
    fd = accept4(listener->fd, (struct sockaddr *)&remote.storage, &remote.length,
                 SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        // No descriptor or memory left: the listener would stay readable and keep the loop awake.
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            pause_accept(d, true);
        return errno == ECONNABORTED || errno == EINTR;
    }
    e = tcp_endpoint_new(d, TCP_KNOCKING);
    if (e == NULL || tcp_device_watch(d, EPOLL_CTL_ADD, fd, EPOLLIN, &e->source) != CARRICK_OK) {
        close(fd);
        if (e != NULL)
            tcp_endpoint_bury(e);
        pause_accept(d, true);
        return false;
    }
    e->fd = fd;
    e->in_epoll = true;
    e->remote_address = remote;
    tcp_socket_options(d, fd);
    tcp_stream_init(&e->stream, TCP_PHASE_HELLO, 0);
    d->half_open++;
    d->accepted++;
    e->deadline_ns = d->host->now_ns(d->host) + TCP_HALF_OPEN_MS * UINT64_C(1000000);
    tcp_device_deadline(d, e->deadline_ns);
    // HELLO is often here already; if not, epoll tells.
    e->receive_more = true;
    tcp_endpoint_ready(e);
    return true;
}

void tcp_listen_accept(struct carrick_device *device, struct tcp_listener *listener)
{
    for (int i = 0; i < ACCEPTS_PER_POLL && !device->accept_paused; i++)
        if (!accept_one(device, listener))
            return;
}

void tcp_listen_hello(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;
    struct tcp_hello hello;

    tcp_wire_hello_unpack(&e->receiver.frame, &hello);
    if (tcp_wire_version(&hello) == 0) {
        tcp_endpoint_abort(e, CARRICK_ERR_VERSION, "the partner speaks no version that we do");
        return;
    }
    if (e->receiver.header_have != 0 || e->receiver.stage_have != 0) {
        tcp_endpoint_abort(e, CARRICK_ERR_PROTOCOL, "bytes behind HELLO before its answer");
        return;
    }
    e->receiver.frame_open = false;
    e->sender.partner_receive_bytes = hello.receive_bytes;
    e->state = TCP_REQUESTED;
    e->tell_request = true;
    e->deadline_ns =
        e->device->host->now_ns(e->device->host) + TCP_HALF_OPEN_MS * UINT64_C(1000000);
    tcp_device_deadline(e->device, e->deadline_ns);
}

int tcp_endpoint_accept(struct carrick_endpoint *endpoint,
                        const struct carrick_connect_options *options)
{
    struct carrick_endpoint *e = endpoint;
    struct tcp_hello hello = {TCP_WIRE_VERSION_MAX, TCP_WIRE_VERSION_MAX, 0};
    struct tcp_frame frame;
    int status;

    if (e->state != TCP_REQUESTED)
        return CARRICK_ERR_STATE;
    if (options->data_bytes > TCP_WIRE_PRIVATE_MAX)
        return CARRICK_ERR_INVALID;
    status = tcp_endpoint_prepare(e, options);
    if (status != CARRICK_OK)
        return status;
    tcp_listen_release(e);
    e->deadline_ns = 0;
    if (e->fd < 0) {
        e->state = TCP_LOST;
        e->tell_disconnected = true;
        tcp_endpoint_ready(e);
        return CARRICK_OK;
    }
    e->data_out_bytes = options->data_bytes;
    if (options->data_bytes != 0)
        memcpy(e->data_out, options->data, options->data_bytes);
    e->state = TCP_OPEN;
    e->stood = true;
    tcp_stream_init(&e->stream, TCP_PHASE_OPEN, e->receive_bytes);
    e->tell_connected = true;
    hello.receive_bytes = e->receive_bytes;
    tcp_wire_hello_pack(&hello, TCP_FRAME_WELCOME, e->data_out_bytes, &frame);
    tcp_send_frame(e, &frame, e->data_out);
    tcp_transmit(e);
    tcp_endpoint_ready(e);
    return CARRICK_OK;
}

void tcp_endpoint_reject(struct carrick_endpoint *endpoint, const void *data, uint32_t data_bytes)
{
    struct carrick_endpoint *e = endpoint;
    struct tcp_frame frame = {.type = TCP_FRAME_REJECT};

    if (e->state != TCP_REQUESTED)
        return;
    tcp_listen_release(e);
    e->known = false;
    e->deadline_ns = 0;
    if (e->fd < 0) {
        tcp_endpoint_bury(e);
        return;
    }
    if (data_bytes > TCP_WIRE_PRIVATE_MAX)
        data_bytes = TCP_WIRE_PRIVATE_MAX;
    if (data_bytes != 0)
        memcpy(e->data_out, data, data_bytes);
    frame.length = data_bytes;
    tcp_send_frame(e, &frame, e->data_out);
    e->sender.close_queued = true; // REJECT ends the connection by itself
    tcp_linger_begin(e);
}
