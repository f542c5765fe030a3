// SPDX-License-Identifier: Apache-2.0
//
// The life of an endpoint: what runs it, what it tells, and how it ends. Its descriptor is closed the moment
// that the connection is lost, so that whatever follows is bookkeeping and touches no memory of others.
#include "tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct carrick_endpoint *tcp_endpoint_new(struct carrick_device *device, enum tcp_state state)
{
    struct carrick_endpoint *e = calloc(1, sizeof *e);

    if (e == NULL)
        return NULL;
    e->source.kind = TCP_SOURCE_ENDPOINT;
    e->state = state;
    e->device = device;
    e->fd = -1;
    e->sender.batch_bytes = TCP_SEND_BUDGET_BYTES;
    list_init(&e->ready_node);
    list_init(&e->direct_node);
    list_append(&device->endpoints, &e->node);
    return e;
}

int tcp_endpoint_prepare(struct carrick_endpoint *endpoint,
                         const struct carrick_connect_options *options)
{
    struct carrick_endpoint *e = endpoint;
    uint32_t bytes = options->receive_bytes;
    uint64_t each, room;

    if (bytes > TCP_WIRE_SEND_MAX)
        bytes = TCP_WIRE_SEND_MAX;
    each = (bytes + TCP_ARENA_ALIGN - 1u) / TCP_ARENA_ALIGN * TCP_ARENA_ALIGN;
    // Sends are delivered as they come and the arena is empty again at each poll: it bounds what one poll can
    // deliver, not what the partner may have under way, for which the socket's buffer has room.
    room = each * options->receive_depth;
    if (room > TCP_ARENA_BYTES)
        room = TCP_ARENA_BYTES > each ? TCP_ARENA_BYTES : each;
    if (room != 0) {
        e->receiver.arena = malloc(room);
        if (e->receiver.arena == NULL)
            return CARRICK_ERR_NO_MEMORY;
    }
    e->receiver.arena_bytes = (uint32_t)room;
    e->receive_bytes = bytes;
    e->receive_depth = options->receive_depth;
    e->domain = options->domain;
    e->cookie = options->cookie;
    return CARRICK_OK;
}

void tcp_endpoint_free(struct carrick_endpoint *endpoint)
{
    free(endpoint->receiver.arena);
    free(endpoint);
}

void tcp_endpoint_ready(struct carrick_endpoint *endpoint)
{
    if (endpoint->is_ready)
        return;
    endpoint->is_ready = true;
    list_append(&endpoint->device->ready, &endpoint->ready_node);
    tcp_device_kick(endpoint->device);
}

void tcp_endpoint_shut(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;

    tcp_endpoint_watch_end(e);
    // By name: a process that is just being started has the descriptor too, until it execs, and as long as anybody has it
    // the epoll goes on telling of an endpoint that is freed by then.
    if (e->in_epoll)
        tcp_device_watch(e->device, EPOLL_CTL_DEL, e->fd, 0, &e->source);
    if (e->fd >= 0)
        close(e->fd);
    e->fd = -1;
    e->in_epoll = false;
    e->deadline_ns = 0;
    if (e->device->hot == e)
        e->device->hot = NULL;
    if (e->resolve != NULL)
        tcp_resolve_forget(&e->resolve);
    e->receive_more = false;
    e->receiver.frame_open = e->receiver.taken = false;
    e->receiver.header_have = e->receiver.stage_have = 0;
    e->receiver.registration = NULL;
    e->receiver.place = NULL;
    e->stream.answers_due = 0;
    e->sender.ack_due = false;
    e->sender.batch.frames = e->sender.batch.iov_count = e->sender.batch.iov_first = 0;
}

void tcp_endpoint_bury(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;

    e->state = TCP_CLOSED;
    e->tell_request = e->tell_connected = e->tell_disconnected = e->tell_closed = false;
    list_remove(&e->ready_node);
    e->is_ready = false;
    list_remove(&e->node);
    list_append(&e->device->graveyard, &e->node);
}

void tcp_endpoint_fail(struct carrick_endpoint *endpoint, int status)
{
    struct carrick_endpoint *e = endpoint;

    switch (e->state) {
    case TCP_KNOCKING:
        tcp_endpoint_shut(e);
        tcp_listen_release(e);
        tcp_endpoint_bury(e);
        return;
    case TCP_REQUESTED:
        // The core may hold the handle: it learns when it answers. It counts as half-open until then.
        tcp_endpoint_shut(e);
        e->lost_status = status;
        if (e->tell_request) {
            tcp_listen_release(e);
            tcp_endpoint_bury(e);
        }
        return;
    case TCP_RESOLVING:
    case TCP_CONNECTING:
    case TCP_GREETING:
    case TCP_OPEN:
        tcp_endpoint_shut(e);
        e->state = TCP_LOST;
        e->lost_status = status;
        e->tell_disconnected = true;
        tcp_endpoint_ready(e);
        return;
    case TCP_LINGERING:
        tcp_linger_end(e, true);
        return;
    case TCP_LOST:
    case TCP_CLOSED:
        return;
    }
}

void tcp_endpoint_fail_errno(struct carrick_endpoint *endpoint, int error)
{
    const struct carrick_host *host = endpoint->device->host;
    bool stood = endpoint->state == TCP_OPEN;

    switch (error) {
    case ECONNREFUSED:
        // The node answers, and nobody listens there.
        tcp_endpoint_fail(endpoint, stood ? CARRICK_ERR_RESET : CARRICK_ERR_REFUSED);
        return;
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ENETUNREACH:
    case ENETDOWN:
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
        tcp_endpoint_fail(endpoint, CARRICK_ERR_UNREACHABLE);
        return;
    case ETIMEDOUT:
        tcp_endpoint_fail(endpoint, stood ? CARRICK_ERR_TIMEOUT : CARRICK_ERR_UNREACHABLE);
        return;
    case ECONNRESET:
    case EPIPE:
        tcp_endpoint_fail(endpoint, CARRICK_ERR_RESET);
        return;
    default:
        // Of these the status does not tell: descriptors or memory of this node, most likely.
        host->log(host, CARRICK_LOG_WARNING, "%s: lost a connection: %s", endpoint->device->name,
                  strerrordesc_np(error));
        tcp_endpoint_fail(endpoint, CARRICK_ERR_RESET);
    }
}

void tcp_endpoint_abort(struct carrick_endpoint *endpoint, int status, const char *why)
{
    struct carrick_endpoint *e = endpoint;
    const struct carrick_host *host = e->device->host;
    struct tcp_frame frame = {.type = TCP_FRAME_ERROR, .value = (uint32_t)status};
    unsigned char bytes[TCP_WIRE_HEADER_BYTES];
    bool stranger = e->state == TCP_KNOCKING || e->state == TCP_REQUESTED;

    // A stranger gets no answer and no line in the log that he could fill, unless he speaks our protocol.
    host->log(host, stranger ? CARRICK_LOG_DEBUG : CARRICK_LOG_WARNING,
              "%s: ended a connection: %s", e->device->name, why);
    if (stranger)
        e->device->refused_strangers++;
    if (e->fd >= 0 && e->sender.batch.frames == 0 && (!stranger || status == CARRICK_ERR_VERSION)) {
        // As much as can be done: the partner learns of the end by the end itself if this does not go out.
        tcp_wire_encode(&frame, bytes);
        (void)!send(e->fd, bytes, sizeof bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    tcp_endpoint_fail(e, status);
}

static bool operation_done(const struct carrick_endpoint *e)
{
    const struct tcp_operations *o = &e->operations;

    if (o->told == o->posted)
        return false;
    if (o->ring[o->told % TCP_POSTED_MAX].kind == CARRICK_OP_READ)
        return o->ring[o->told % TCP_POSTED_MAX].done;
    return o->told < e->stream.acked;
}

static bool has_to_tell(const struct carrick_endpoint *e)
{
    if (e->tell_request || e->tell_connected || e->tell_disconnected || e->tell_closed)
        return true;
    return (e->state == TCP_OPEN || e->state == TCP_LOST) && operation_done(e);
}

static void tell_completions(struct carrick_endpoint *e, struct tcp_output *out)
{
    struct carrick_event event = {
        .type = CARRICK_EVENT_COMPLETION,
        .endpoint = e,
    };

    while (operation_done(e) && !tcp_output_full(out)) {
        event.cookie = e->operations.ring[e->operations.told % TCP_POSTED_MAX].cookie;
        e->operations.told++;
        tcp_output_put(out, &event);
    }
}

static void tell_one(struct carrick_endpoint *e, struct tcp_output *out, uint32_t type, int status,
                     bool data, bool *flag)
{
    struct carrick_event event = {
        .type = type,
        .status = status,
        .cookie = type == CARRICK_EVENT_REQUEST ? 0 : e->cookie,
        .endpoint = e,
        .data = data ? e->data_in : NULL,
        .length = data ? e->data_in_bytes : 0,
        .applied = e->receiver.applied,
    };

    if (!*flag || tcp_output_full(out))
        return;
    *flag = false;
    tcp_output_put(out, &event);
}

void tcp_endpoint_tell(struct carrick_endpoint *endpoint, struct tcp_output *out)
{
    struct carrick_endpoint *e = endpoint;
    bool refused = e->lost_status == CARRICK_ERR_REFUSED;

    if (e->tell_request && !tcp_output_full(out))
        e->known = true;
    tell_one(e, out, CARRICK_EVENT_REQUEST, CARRICK_OK, true, &e->tell_request);
    tell_one(e, out, CARRICK_EVENT_CONNECTED, CARRICK_OK, e->connecting_side, &e->tell_connected);
    if (e->state == TCP_OPEN || e->state == TCP_LOST)
        tell_completions(e, out);
    tell_one(e, out, CARRICK_EVENT_DISCONNECTED, e->lost_status, refused, &e->tell_disconnected);
    if (e->tell_closed && !tcp_output_full(out)) {
        tell_one(e, out, CARRICK_EVENT_CLOSED, CARRICK_OK, false, &e->tell_closed);
        tcp_endpoint_bury(e);
    }
}

static void run_stream(struct carrick_endpoint *e, uint32_t epoll_events, struct tcp_output *out)
{
    if (epoll_events & EPOLLOUT)
        e->sender.blocked = false;
    if (e->receive_more || tcp_endpoint_detached(e) || (epoll_events & ~(uint32_t)EPOLLOUT) != 0)
        tcp_receive(e, out);
    if (tcp_transmit_wanted(e))
        tcp_transmit(e);
    // Only now, and only when there was nothing to send after all: while data flows it stays on.
    if ((epoll_events & EPOLLOUT) && e->fd >= 0 && !e->sender.blocked && e->sender.watching)
        tcp_endpoint_watch(e, EPOLLIN);
}

void tcp_endpoint_run(struct carrick_endpoint *endpoint, uint32_t epoll_events,
                      struct tcp_output *out)
{
    struct carrick_endpoint *e = endpoint;

    e->last_poll = e->device->poll_count;
    switch (e->state) {
    case TCP_CONNECTING:
        if (epoll_events != 0)
            tcp_connect_finish(e);
        break;
    case TCP_KNOCKING:
    case TCP_GREETING:
    case TCP_OPEN:
        run_stream(e, epoll_events, out);
        break;
    case TCP_REQUESTED:
        // Whatever comes before the answer, an end or bytes, is the end of it.
        if (epoll_events != 0 && e->fd >= 0)
            tcp_endpoint_fail(e, CARRICK_ERR_RESET);
        break;
    case TCP_LINGERING:
        tcp_linger_run(e);
        break;
    case TCP_RESOLVING:
    case TCP_LOST:
    case TCP_CLOSED:
        break;
    }
    if (has_to_tell(e))
        tcp_endpoint_tell(e, out);
    if (e->receive_more || has_to_tell(e) || tcp_transmit_wanted(e))
        tcp_endpoint_ready(e);
}

void tcp_endpoint_expire(struct carrick_endpoint *endpoint, uint64_t now_ns)
{
    struct carrick_endpoint *e = endpoint;

    e->deadline_ns = 0;
    if (e->state == TCP_LINGERING && now_ns >= e->linger_until_ns)
        tcp_linger_end(e, true);
    else if (e->state == TCP_LINGERING)
        tcp_linger_run(e);
    else if (e->state != TCP_OPEN)
        tcp_endpoint_fail(e, CARRICK_ERR_TIMEOUT);
}

void tcp_endpoint_close(struct carrick_endpoint *endpoint, bool orderly)
{
    struct carrick_endpoint *e = endpoint;

    if (e->state == TCP_LINGERING || e->state == TCP_CLOSED)
        return;
    if (e->state == TCP_REQUESTED)
        tcp_listen_release(e);
    e->tell_request = e->tell_connected = e->tell_disconnected = false;
    if (orderly && e->state == TCP_OPEN && e->sender.broken == 0) {
        tcp_linger_begin(e);
        return;
    }
    if (e->state == TCP_OPEN)
        tcp_socket_reset(e->fd);
    tcp_endpoint_shut(e);
    e->state = TCP_CLOSED;
    e->tell_closed = true;
    tcp_endpoint_ready(e);
}
