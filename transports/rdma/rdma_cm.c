// SPDX-License-Identifier: Apache-2.0
//
// What the connection manager says. Each event is copied and acknowledged at once: an id whose events are not
// acknowledged cannot be destroyed (rdma_destroy_id(3)). From then on a worker that destroys it may be done with that: of
// the id only its context is known, which is the endpoint, or the device of a listener and of what it refused. Endpoints
// are freed by the manager's thread alone.
#include "rdma.h"

#include <string.h>

enum { EVENTS_PER_POLL = 64 };

struct cm_event {
    enum rdma_cm_event_type type;
    int status;
    struct rdma_cm_id *id; // of a CONNECT_REQUEST, whose id nobody else knows yet
    void *context;
    struct rdma_conn_param param;
    uint8_t data[256];
};

static void copy(const struct rdma_cm_event *from, struct cm_event *to)
{
    to->type = from->event;
    to->status = from->status;
    to->id = from->event == RDMA_CM_EVENT_CONNECT_REQUEST ? from->id : NULL;
    to->context = from->id->context;
    to->param = from->param.conn;
    // No connection's event: there are no parameters.
    if (from->event == RDMA_CM_EVENT_ADDR_RESOLVED || from->event == RDMA_CM_EVENT_ROUTE_RESOLVED)
        memset(&to->param, 0, sizeof to->param);
    if (to->param.private_data == NULL)
        to->param.private_data_len = 0;
    if (to->param.private_data_len != 0)
        memcpy(to->data, to->param.private_data, to->param.private_data_len);
    to->param.private_data = to->data;
}

static void no_way(struct carrick_endpoint *e, const struct cm_event *event)
{
    const struct carrick_host *host = e->device->host;

    host->log(host, CARRICK_LOG_DEBUG, "%s: %s from %s: %d", e->device->name,
              rdma_event_str(event->type), e->remote.address, event->status);
    rdma_endpoint_fail(e, CARRICK_ERR_UNREACHABLE);
}

static void endpoint_event(struct carrick_endpoint *e, const struct cm_event *event)
{
    // It is on its way out, and its id may be a worker's.
    if (e->closing || e->state == RDMA_CLOSED) {
        if (e->state == RDMA_LINGERING && event->type == RDMA_CM_EVENT_DISCONNECTED)
            rdma_endpoint_end(e);
        return;
    }
    switch (event->type) {
    case RDMA_CM_EVENT_ADDR_RESOLVED:
        if (e->state == RDMA_ADDRESS)
            rdma_connect_address(e);
        break;
    case RDMA_CM_EVENT_ROUTE_RESOLVED:
        if (e->state == RDMA_ROUTE)
            rdma_connect_route(e);
        break;
    case RDMA_CM_EVENT_CONNECT_RESPONSE:
        if (e->state == RDMA_CONNECTING)
            rdma_connect_reply(e, &event->param);
        break;
    case RDMA_CM_EVENT_ESTABLISHED:
        // Of the answering side, HELLO says so.
        if (e->state == RDMA_CONNECTING && !e->device->flavour->moves_queue_pair)
            rdma_connect_reply(e, &event->param);
        break;
    case RDMA_CM_EVENT_REJECTED:
        if (e->state == RDMA_CONNECTING)
            rdma_connect_refused(e, event->data, event->param.private_data_len);
        else
            rdma_endpoint_fail(e, CARRICK_ERR_RESET);
        break;
    case RDMA_CM_EVENT_ADDR_ERROR:
    case RDMA_CM_EVENT_ROUTE_ERROR:
    case RDMA_CM_EVENT_UNREACHABLE:
        no_way(e, event);
        break;
    case RDMA_CM_EVENT_CONNECT_ERROR:
    case RDMA_CM_EVENT_ADDR_CHANGE:
        rdma_endpoint_fail(e, CARRICK_ERR_RESET);
        break;
    case RDMA_CM_EVENT_DISCONNECTED:
        rdma_endpoint_hang_up(e);
        break;
    case RDMA_CM_EVENT_DEVICE_REMOVAL:
        rdma_device_lost(e->device, "the connection manager says so");
        break;
    default:
        break;
    }
}

static void run(struct carrick_device *d, const struct cm_event *event)
{
    if (event->type == RDMA_CM_EVENT_CONNECT_REQUEST) {
        rdma_listen_request(d, event->id, &event->param);
        return;
    }
    if (event->context != d)
        endpoint_event(event->context, event);
    else if (event->type == RDMA_CM_EVENT_DEVICE_REMOVAL)
        rdma_device_lost(d, "the connection manager says so");
}

void rdma_cm_read(struct carrick_device *device)
{
    struct rdma_cm_event *event;
    struct cm_event own;

    for (int i = 0; i < EVENTS_PER_POLL && rdma_get_cm_event(device->cm, &event) == 0; i++) {
        copy(event, &own);
        rdma_ack_cm_event(event);
        run(device, &own);
    }
}
