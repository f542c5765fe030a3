// SPDX-License-Identifier: Apache-2.0
#include "tcp.h"

#include "common/text.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

static const char *state_name(const struct carrick_endpoint *e)
{
    switch (e->state) {
    case TCP_RESOLVING:
        return "resolving";
    case TCP_CONNECTING:
        return "connecting";
    case TCP_GREETING:
        return "greeting";
    case TCP_KNOCKING:
    case TCP_REQUESTED:
        return "requested";
    case TCP_OPEN:
        return "open";
    case TCP_LOST:
        return "lost";
    case TCP_LINGERING:
    case TCP_CLOSED:
        break;
    }
    return "closing";
}

static void add_socket(struct text *t, const struct carrick_endpoint *e)
{
    struct tcp_address own = {.length = sizeof own.storage};
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    char address[80];

    if (e->fd < 0)
        return;
    if (getsockname(e->fd, (struct sockaddr *)&own.storage, &own.length) == 0) {
        tcp_address_text(&own, address, sizeof address);
        text_add(t, ",\"local\":\"%s\"", address);
    }
    // Milliseconds since the partner's kernel acknowledged anything tell a hung daemon from a lost node.
    if (getsockopt(e->fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0)
        text_add(t,
                 ",\"rtt_us\":%u,\"rtt_var_us\":%u,\"retransmits\":%u,\"unacked_segments\":%u,"
                 "\"last_ack_ms\":%u",
                 info.tcpi_rtt, info.tcpi_rttvar, info.tcpi_total_retrans, info.tcpi_unacked,
                 info.tcpi_last_ack_recv);
}

static void add_endpoint(struct text *t, const struct carrick_endpoint *e)
{
    const struct tcp_counters *c = &e->counters;
    char address[80];

    tcp_address_text(&e->remote_address, address, sizeof address);
    text_add(t, "{\"state\":\"%s\",\"remote\":\"%s\"", state_name(e), address);
    add_socket(t, e);
    text_add(t,
             ",\"sent_bytes\":%" PRIu64 ",\"sent_frames\":%" PRIu64 ",\"send_calls\":%" PRIu64
             ",\"received_bytes\":%" PRIu64 ",\"received_frames\":%" PRIu64
             ",\"receive_calls\":%" PRIu64 ",\"copied_bytes\":%" PRIu64 ",\"posted\":%" PRIu64
             ",\"completed\":%" PRIu64 ",\"applied\":%" PRIu64 "}",
             c->send_bytes, c->send_frames, c->send_calls, c->receive_bytes, c->receive_frames,
             c->receive_calls, c->copied_bytes, e->operations.posted, e->operations.told,
             e->receiver.applied);
}

static void add_device(struct text *t, const struct carrick_device *d)
{
    char address[80];
    uint32_t endpoints = 0;

    for (const struct list *node = d->endpoints.next; node != &d->endpoints; node = node->next)
        endpoints++;
    tcp_address_text(&d->addresses.at[0], address, sizeof address);
    text_add(t,
             "{\"local\":\"%s\",\"listening\":%s,\"up\":%s,\"endpoints\":%u,\"half_open\":%u,"
             "\"regions\":%u,\"accepted\":%" PRIu64 ",\"refused_strangers\":%" PRIu64
             ",\"evicted\":%" PRIu64 "}",
             address, d->listener_count != 0 ? "true" : "false", d->told_down ? "false" : "true",
             endpoints, d->half_open, d->keys.used - d->keys.free_count, d->accepted,
             d->refused_strangers, d->evicted);
}

void tcp_describe(struct carrick_device *device, struct carrick_endpoint *endpoint, char *text,
                  size_t size)
{
    struct text t = {.at = text, .left = size};

    if (size == 0)
        return;
    if (endpoint != NULL)
        add_endpoint(&t, endpoint);
    else
        add_device(&t, device);
    if (t.cut)
        snprintf(text, size, "%s", size > 2 ? "{}" : "");
}
