// SPDX-License-Identifier: Apache-2.0
//
// How an endpoint is lost, and how it is closed.
//
// The fence: the queue pair is moved to the error state, which is quick, and then every work request that it holds comes
// back, the receives among them; the last of these says that the device has let go of our memory, in either direction.
// CLOSED follows, and the queue pair is destroyed afterwards, which may take seconds. Should the device not give all of
// them back in time, the queue pair is destroyed first: soft iWARP keeps receives that were posted when the partner had
// ended the connection and we did not know yet.
#include "rdma.h"

#include <string.h>

// Whether the connection manager may tell the partner of an end. With InfiniBand and RoCE that is a message of its own,
// and soft RoCE's queue pair for such messages does not outlive one that cannot leave, because the interface is switched
// off or has lost the address: nobody would ever connect over the device again.
static bool may_tell_partner(struct carrick_device *d)
{
    if (!d->flavour->moves_queue_pair || d->closed || d->removed)
        return true;
    rdma_carrier_read(d); // the kernel's word may lie there already
    return !rdma_carrier_down_here(d);
}

// The queue pair ends, and the partner hears of it.
static void breaks(struct carrick_endpoint *e)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};

    if (e->broken)
        return;
    e->broken = true;
    rdma_dial_stop(e);
    if (e->qp == NULL)
        return;
    if (ibv_modify_qp(e->qp, &attr, IBV_QP_STATE) != 0)
        return; // the device is gone, most likely: the drain ends by its deadline
    // With iWARP that was the connection's own end.
    if (e->device->flavour->moves_queue_pair && (e->stood || e->state == RDMA_ACCEPTING) &&
        may_tell_partner(e->device))
        rdma_disconnect(e->id);
}

void rdma_endpoint_fail(struct carrick_endpoint *endpoint, int status)
{
    struct carrick_endpoint *e = endpoint;

    switch (e->state) {
    case RDMA_REQUESTED:
        // The core may hold the handle: it learns when it answers. It counts as half-open until then.
        e->gone = true;
        e->lost_status = status;
        e->deadline_ns = 0;
        if (e->tell_request) {
            rdma_listen_release(e);
            rdma_endpoint_bury(e);
        }
        return;
    case RDMA_ADDRESS:
    case RDMA_ROUTE:
    case RDMA_CONNECTING:
    case RDMA_ACCEPTING:
    case RDMA_OPEN:
        if (e->job == RDMA_JOB_NONE)
            breaks(e);
        e->state = RDMA_LOST;
        e->lost_status = status;
        e->deadline_ns = 0;
        e->tell_disconnected = true;
        rdma_endpoint_ready(e);
        return;
    case RDMA_LINGERING:
        rdma_endpoint_end(e);
        return;
    case RDMA_LOST:
    case RDMA_DRAINING:
    case RDMA_ENDING:
    case RDMA_CLOSED:
        return;
    }
}

void rdma_endpoint_abort(struct carrick_endpoint *endpoint, int status, const char *why)
{
    const struct carrick_host *host = endpoint->device->host;

    if (endpoint->state <= RDMA_OPEN)
        host->log(host, CARRICK_LOG_WARNING, "%s: ended a connection: %s", endpoint->device->name,
                  why);
    rdma_endpoint_fail(endpoint, status);
}

void rdma_endpoint_hang_up(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;

    if (e->state == RDMA_OPEN && list_empty(&e->hung_node)) {
        list_append(&e->device->hung_up, &e->hung_node);
        rdma_device_kick(e->device);
    } else if (e->state != RDMA_OPEN) {
        rdma_endpoint_fail(e, CARRICK_ERR_RESET);
    }
}

void rdma_endpoint_expire(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;
    const struct carrick_host *host = e->device->host;

    e->deadline_ns = 0;
    switch (e->state) {
    case RDMA_ADDRESS:
    case RDMA_ROUTE:
    case RDMA_CONNECTING:
    case RDMA_ACCEPTING:
        rdma_endpoint_fail(e, CARRICK_ERR_TIMEOUT);
        break;
    case RDMA_REQUESTED:
        rdma_reject(e->id, NULL, 0);
        rdma_endpoint_fail(e, CARRICK_ERR_TIMEOUT);
        break;
    case RDMA_LINGERING:
        rdma_endpoint_end(e);
        break;
    case RDMA_DRAINING:
        host->log(host, CARRICK_LOG_DEBUG,
                  "%s: a queue pair keeps %u receives and %u sends in its error state: it is "
                  "destroyed before its end is told",
                  e->device->name, e->receives.posted, e->operations.signals);
        e->state = RDMA_ENDING;
        e->keeps_id = !may_tell_partner(e->device);
        rdma_job_start(e, RDMA_JOB_DESTROY);
        break;
    case RDMA_OPEN:
    case RDMA_LOST:
    case RDMA_ENDING:
    case RDMA_CLOSED:
        break;
    }
}

// ---- closing

static void closed(struct carrick_endpoint *e)
{
    e->state = RDMA_CLOSED;
    e->deadline_ns = 0;
    e->tell_closed = true;
    rdma_endpoint_ready(e);
}

static bool drained(const struct carrick_endpoint *e)
{
    return e->qp == NULL ||
           (e->receives.posted == 0 && e->operations.signals == 0 && !e->operations.uncertain);
}

void rdma_endpoint_drained(struct carrick_endpoint *endpoint)
{
    if (endpoint->state == RDMA_DRAINING && drained(endpoint))
        closed(endpoint);
}

// Goes on with an end, or begins it; called again when a job is done that stood in its way.
void rdma_endpoint_end(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;

    if (e->job != RDMA_JOB_NONE)
        return;
    if (e->state == RDMA_CLOSED || e->device->closed) {
        list_remove(&e->node);
        if (may_tell_partner(e->device))
            rdma_job_start(e, RDMA_JOB_DESTROY);
        else
            list_append(&e->device->parked, &e->node);
        return;
    }
    breaks(e);
    if (!e->closing || e->state == RDMA_DRAINING || e->state == RDMA_ENDING)
        return;
    if (drained(e)) {
        closed(e);
        return;
    }
    e->state = RDMA_DRAINING;
    rdma_endpoint_deadline(e, RDMA_DRAIN_MS);
}

void rdma_endpoints_unpark(struct carrick_device *device)
{
    while (!list_empty(&device->parked) && may_tell_partner(device)) {
        struct list *node = device->parked.next;

        list_remove(node);
        rdma_endpoint_end(list_entry(node, struct carrick_endpoint, node));
    }
}

void rdma_endpoint_bury(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;

    e->state = RDMA_CLOSED;
    e->deadline_ns = 0;
    e->tell_request = e->tell_connected = e->tell_disconnected = e->tell_closed = false;
    list_remove(&e->ready_node);
    list_remove(&e->hung_node);
    list_remove(&e->received_node);
    list_remove(&e->node);
    list_append(&e->device->graveyard, &e->node);
}

static void linger(struct carrick_endpoint *e)
{
    e->state = RDMA_LINGERING;
    rdma_endpoint_deadline(e, RDMA_LINGER_MS);
    rdma_post_own(e, RDMA_MESSAGE_BYE, NULL, 0);
    // Its completion says that the partner has all that was posted.
    rdma_post_own_flush(e);
    rdma_issue(e);
}

void rdma_endpoint_close(struct carrick_endpoint *endpoint, bool orderly)
{
    struct carrick_endpoint *e = endpoint;

    if (e->closing)
        return;
    e->closing = true;
    e->orderly = orderly;
    if (e->state == RDMA_REQUESTED) {
        rdma_listen_release(e);
        if (!e->gone)
            rdma_reject(e->id, NULL, 0);
    }
    e->tell_request = e->tell_connected = e->tell_disconnected = false;
    list_remove(&e->hung_node);
    if (orderly && e->state == RDMA_OPEN && !e->said_bye)
        linger(e);
    else
        rdma_endpoint_end(e);
}
