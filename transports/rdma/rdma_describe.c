// SPDX-License-Identifier: Apache-2.0
#include "rdma.h"

#include "common/text.h"

#include <inttypes.h>

static const char *state_name(const struct carrick_endpoint *e)
{
    switch (e->state) {
    case RDMA_ADDRESS:
    case RDMA_ROUTE:
        return "resolving";
    case RDMA_CONNECTING:
        return "connecting";
    case RDMA_REQUESTED:
        return "requested";
    case RDMA_ACCEPTING:
        return "accepting";
    case RDMA_OPEN:
        return "open";
    case RDMA_LOST:
        return "lost";
    case RDMA_LINGERING:
    case RDMA_DRAINING:
    case RDMA_ENDING:
    case RDMA_CLOSED:
        break;
    }
    return "closing";
}

static const char *flush_name(bool native)
{
    return native ? "native" : "read";
}

// The device has it, and every partner that memory is open to.
static bool device_flushes(const struct carrick_device *d)
{
    for (const struct list *node = d->endpoints.next; node != &d->endpoints; node = node->next) {
        const struct carrick_endpoint *e = list_entry(node, struct carrick_endpoint, node);

        if (e->state == RDMA_OPEN && e->domain != NULL && !rdma_flush_is_native(e))
            return false;
    }
    return d->native_flush;
}

static void add_endpoint(struct text *t, const struct carrick_endpoint *e)
{
    const struct rdma_operations *o = &e->operations;

    text_add(t, "{\"state\":\"%s\",\"flush\":\"%s\"", state_name(e),
             flush_name(rdma_flush_is_native(e)));
    if (e->connecting_side)
        text_add(t, ",\"remote\":\"%s\"", e->remote.address);
    if (e->qp != NULL && e->job == RDMA_JOB_NONE)
        text_add(t, ",\"queue_pair\":%u", e->qp->qp_num);
    text_add(t,
             ",\"posted\":%" PRIu64 ",\"completed\":%" PRIu64 ",\"written_bytes\":%" PRIu64
             ",\"read_bytes\":%" PRIu64 ",\"sent_messages\":%" PRIu64
             ",\"received_messages\":%" PRIu64 ",\"waiting\":%" PRIu64
             ",\"reads_in_flight\":%u,\"reads_max\":%u,\"credits\":%u,\"waiting_for_credits\":%u}",
             o->posted, o->told, e->write_bytes, e->read_bytes, e->sent_messages,
             e->received_messages, o->posted - o->issued, o->reads, e->partner.reads, o->credits,
             o->unsent);
}

// The entry of the port's table that is the address's own, -1: none is.
static int gid_index(const struct carrick_device *d)
{
    const union ibv_gid *own = (const union ibv_gid *)&d->bound->route.addr.addr.ibaddr.sgid;
    struct ibv_gid_entry entry;
    int found = -1;

    // The later ones of an address are of RoCE v2, which the connection manager prefers.
    for (uint32_t i = 0; i < 64; i++)
        if (ibv_query_gid_ex(d->context, d->port_number, i, &entry, 0) == 0 &&
            entry.gid.global.subnet_prefix == own->global.subnet_prefix &&
            entry.gid.global.interface_id == own->global.interface_id)
            found = (int)i;
    return found;
}

static const char *layer_name(const struct carrick_device *d)
{
    struct ibv_port_attr port = {0};

    if (d->flavour->transport == IBV_TRANSPORT_IWARP)
        return "iwarp";
    if (ibv_query_port(d->context, d->port_number, &port) == 0 &&
        port.link_layer == IBV_LINK_LAYER_ETHERNET)
        return "roce";
    return "infiniband";
}

static void add_device(struct text *t, const struct carrick_device *d)
{
    text_add(t,
             "{\"device\":\"%s\",\"kind\":\"%s\",\"port\":%u,\"local\":\"%s\",\"gid_index\":%d,"
             "\"mtu\":%u,\"listening\":%s,\"up\":%s,\"flush\":\"%s\",\"native_flushes\":%" PRIu64,
             d->context->device->name, layer_name(d), d->port_number, d->local.address,
             gid_index(d), d->mtu_bytes, d->listening ? "true" : "false",
             d->told_down || d->removed ? "false" : "true", flush_name(device_flushes(d)),
             d->native_flushes);
    text_add(t,
             ",\"endpoints\":%u,\"endpoints_max\":%u,\"half_open\":%u,\"accepted\":%" PRIu64
             ",\"refused\":%" PRIu64 ",\"gid_changes\":%" PRIu64 ",\"work_requests\":%" PRIu64
             ",\"posts\":%" PRIu64 ",\"completions\":%" PRIu64 ",\"sleeps\":%" PRIu64
             ",\"late_completions\":%" PRIu64 "}",
             d->endpoint_count, d->endpoints_max, d->half_open, d->accepted, d->refused,
             d->gid_changes, d->work_requests, d->posts, d->polled, d->sleeps,
             d->stale_completions);
}

void rdma_describe(struct carrick_device *device, struct carrick_endpoint *endpoint, char *text,
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
