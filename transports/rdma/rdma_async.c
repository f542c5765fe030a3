// SPDX-License-Identifier: Apache-2.0
//
// What the device says of itself: ports, queue pairs, its own end. Soft devices say little of it: rtnetlink and the
// core's probes see the rest.
#include "rdma.h"

enum { EVENTS_PER_POLL = 64 };

void rdma_port_query(struct carrick_device *device)
{
    struct carrick_device *d = device;
    struct ibv_port_attr port = {0};

    if (ibv_query_port(d->context, d->port_number, &port) != 0)
        return;
    d->port_down = port.state != IBV_PORT_ACTIVE && port.state != IBV_PORT_ACTIVE_DEFER;
    if (port.active_mtu != 0)
        d->mtu_bytes = 128u << port.active_mtu;
}

void rdma_device_lost(struct carrick_device *device, const char *why)
{
    struct carrick_device *d = device;
    struct list *node, *next;

    if (d->removed)
        return;
    d->removed = true;
    d->host->log(d->host, CARRICK_LOG_WARNING, "%s: the device is gone: %s", d->name, why);
    for (node = d->endpoints.next; node != &d->endpoints; node = next) {
        next = node->next;
        rdma_endpoint_fail(list_entry(node, struct carrick_endpoint, node),
                           CARRICK_ERR_DEVICE_REMOVED);
    }
    rdma_device_kick(d);
}

static struct carrick_endpoint *endpoint_of(struct carrick_device *d, const struct ibv_qp *qp)
{
    for (struct list *node = d->endpoints.next; node != &d->endpoints; node = node->next) {
        struct carrick_endpoint *e = list_entry(node, struct carrick_endpoint, node);

        if (e->qp == qp)
            return e;
    }
    return NULL;
}

static void queue_pair_event(struct carrick_device *d, enum ibv_event_type type,
                             const struct ibv_qp *qp)
{
    struct carrick_endpoint *e = endpoint_of(d, qp);

    // While a worker has it, the job's own end tells.
    if (e == NULL || e->job != RDMA_JOB_NONE)
        return;
    if (type == IBV_EVENT_COMM_EST) {
        // Its first message was quicker than the handshake's last.
        if (e->state == RDMA_ACCEPTING)
            rdma_notify(e->id, IBV_EVENT_COMM_EST);
        return;
    }
    // A completion often knows more: it comes first.
    if (e->state != RDMA_CONNECTING)
        rdma_endpoint_hang_up(e);
}

static void run(struct carrick_device *d, const struct ibv_async_event *event,
                enum ibv_event_type type, struct ibv_qp *qp)
{
    switch (type) {
    case IBV_EVENT_PORT_ERR:
    case IBV_EVENT_PORT_ACTIVE:
        if (event->element.port_num != d->port_number)
            break;
        d->port_down = type == IBV_EVENT_PORT_ERR;
        d->host->log(d->host, d->port_down ? CARRICK_LOG_WARNING : CARRICK_LOG_NOTICE,
                     "%s: the port is %s", d->name, d->port_down ? "down" : "up");
        if (!d->port_down)
            rdma_port_query(d);
        break;
    case IBV_EVENT_GID_CHANGE:
    case IBV_EVENT_LID_CHANGE:
    case IBV_EVENT_PKEY_CHANGE:
    case IBV_EVENT_SM_CHANGE:
    case IBV_EVENT_CLIENT_REREGISTER:
        // New connections find the new addresses by themselves. For those that stand on an old one, rtnetlink or the
        // next probe tells.
        d->gid_changes++;
        rdma_port_query(d);
        break;
    case IBV_EVENT_DEVICE_FATAL:
        rdma_device_lost(d, "it has failed, or was removed");
        break;
    case IBV_EVENT_CQ_ERR:
        // Completions are lost: nothing of this device can be relied on any more.
        rdma_device_lost(d, "its completion queue has overrun");
        break;
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
    case IBV_EVENT_COMM_EST:
        queue_pair_event(d, type, qp);
        break;
    default:
        break;
    }
}

void rdma_async_read(struct carrick_device *device)
{
    struct ibv_async_event event;

    for (int i = 0; i < EVENTS_PER_POLL; i++) {
        if (ibv_get_async_event(device->context, &event) != 0)
            return;
        // A queue pair is destroyed only when its events are acknowledged: by then it is none of ours to look for, or
        // it is still here.
        run(device, &event, event.event_type, event.element.qp);
        ibv_ack_async_event(&event);
    }
}
