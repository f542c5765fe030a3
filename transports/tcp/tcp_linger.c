// SPDX-License-Identifier: Apache-2.0
//
// The orderly end of an endpoint: what was posted goes out, then CLOSE, then the end of the stream. Nothing that
// comes in is looked at any more. It is over when the partner's kernel has it all, when the partner ended
// too, or when the time is up.
#include "tcp.h"

#include <errno.h>
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#define STEP_FIRST_NS UINT64_C(1000000)
#define STEP_MAX_NS UINT64_C(50000000)

enum { DISCARD_BYTES = 16384, DISCARDS_PER_POLL = 16 };

void tcp_linger_begin(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;

    e->state = TCP_LINGERING;
    e->receive_more = false;
    e->receiver.frame_open = false;
    e->receiver.registration = NULL;
    e->receiver.place = NULL;
    // Answers that are half sent stay in the batch, whose frames must be whole; no others follow.
    e->stream.answers_due = 0;
    tcp_endpoint_watch_usual(e);
    if (e->device->hot == e)
        e->device->hot = NULL;
    e->linger_until_ns =
        e->device->host->now_ns(e->device->host) + TCP_LINGER_MS * UINT64_C(1000000);
    e->linger_step_ns = STEP_FIRST_NS;
    tcp_linger_run(e);
}

void tcp_linger_end(struct carrick_endpoint *endpoint, bool early)
{
    struct carrick_endpoint *e = endpoint;

    if (early)
        tcp_socket_reset(e->fd);
    tcp_endpoint_shut(e);
    e->state = TCP_CLOSED;
    if (e->known) {
        e->tell_closed = true;
        tcp_endpoint_ready(e);
    } else {
        tcp_endpoint_bury(e);
    }
}

// Throws away what comes in, a bounded share of it.
static bool partner_ended(int fd)
{
    char scratch[DISCARD_BYTES];
    ssize_t n;

    for (int i = 0; i < DISCARDS_PER_POLL; i++) {
        n = recv(fd, scratch, sizeof scratch, 0);
        if (n <= 0)
            return n == 0 || (errno != EAGAIN && errno != EINTR);
    }
    return false;
}

void tcp_linger_run(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;
    uint64_t now_ns;
    int queued = 0;

    e->sender.blocked = false;
    if (tcp_transmit_wanted(e))
        tcp_transmit(e);
    if (e->sender.broken != 0 || partner_ended(e->fd)) {
        tcp_linger_end(e, false);
        return;
    }
    if (!tcp_transmit_wanted(e) && !e->sender.blocked) {
        shutdown(e->fd, SHUT_WR);
        if (ioctl(e->fd, SIOCOUTQ, &queued) != 0 || queued == 0) {
            tcp_linger_end(e, false);
            return;
        }
        if (e->sender.watching)
            tcp_endpoint_watch(e, EPOLLIN);
    }
    now_ns = e->device->host->now_ns(e->device->host);
    if (now_ns >= e->linger_until_ns) {
        tcp_linger_end(e, true);
        return;
    }
    e->deadline_ns = now_ns + e->linger_step_ns;
    if (e->deadline_ns > e->linger_until_ns)
        e->deadline_ns = e->linger_until_ns;
    e->linger_step_ns = e->linger_step_ns * 2 > STEP_MAX_NS ? STEP_MAX_NS : e->linger_step_ns * 2;
    tcp_device_deadline(e->device, e->deadline_ns);
}
