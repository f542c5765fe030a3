// SPDX-License-Identifier: Apache-2.0
//
// The answering side. Requests that the core has not answered are bounded in number and in time.
#include "rdma.h"

#include <carrick/error.h>

#include <errno.h>
#include <string.h>

enum { BACKLOG = 64 };

int rdma_listen_begin(struct carrick_device *device, struct carrick_error *error)
{
    struct carrick_device *d = device;
    int failed;

    if (d->listening)
        return carrick_error_set(error, CARRICK_ERR_STATE, 0, "", "the device listens already");
    if (d->listener == NULL) {
        if (rdma_create_id(d->cm, &d->listener, d, RDMA_PS_TCP) != 0) {
            d->listener = NULL;
            return carrick_error_set(error, CARRICK_ERR_SYSTEM, errno, "", "no connection id: %s",
                                     strerrordesc_np(errno));
        }
        if (rdma_bind_addr(d->listener, (struct sockaddr *)&d->local.storage) != 0 ||
            rdma_listen(d->listener, BACKLOG) != 0) {
            failed = errno;
            // It never listened: it ends at once.
            rdma_destroy_id(d->listener);
            d->listener = NULL;
            return carrick_error_set(
                error, CARRICK_ERR_SYSTEM, failed, "/local/port",
                "cannot listen at %s port %u: %s%s", d->local.address, d->local.port,
                strerrordesc_np(failed),
                failed == EADDRINUSE
                    ? "; another process or another manager has this address and port"
                    : "");
        }
    }
    d->listening = true;
    return CARRICK_OK;
}

// The listener itself stays: to end it may block, and so does the port until it has ended.
void rdma_listen_end(struct carrick_device *device)
{
    struct carrick_device *d = device;
    struct list *node, *next;

    d->listening = false;
    for (node = d->endpoints.next; node != &d->endpoints; node = next) {
        struct carrick_endpoint *e = list_entry(node, struct carrick_endpoint, node);

        next = node->next;
        if (e->state != RDMA_REQUESTED || e->gone)
            continue;
        rdma_reject(e->id, NULL, 0);
        rdma_endpoint_fail(e, CARRICK_ERR_CANCELLED);
    }
}

void rdma_listen_release(struct carrick_endpoint *endpoint)
{
    endpoint->device->half_open--;
}

static uint8_t lesser(uint8_t a, uint32_t b)
{
    return a < b ? a : (uint8_t)b;
}

void rdma_listen_request(struct carrick_device *device, struct rdma_cm_id *id,
                         const struct rdma_conn_param *request)
{
    struct carrick_device *d = device;
    struct carrick_endpoint *e = NULL;

    if (d->listening && !d->removed && d->half_open < RDMA_HALF_OPEN_MAX)
        e = rdma_endpoint_new(d, RDMA_REQUESTED);
    if (e == NULL) {
        d->refused++;
        rdma_reject(id, NULL, 0);
        rdma_job_end_id(d, id);
        return;
    }
    id->context = e;
    e->id = id;
    // What the partner asks for, as far as this device has it.
    e->responder_resources = lesser(request->responder_resources, d->reads_max);
    e->initiator_depth = lesser(request->initiator_depth, d->reads_max);
    if (e->initiator_depth == 0)
        e->initiator_depth = 1;
    if (e->responder_resources == 0)
        e->responder_resources = 1;
    e->data_in_bytes = request->private_data_len;
    memcpy(e->data_in, request->private_data, e->data_in_bytes);
    e->tell_request = true;
    d->half_open++;
    d->accepted++;
    rdma_endpoint_deadline(e, RDMA_HALF_OPEN_MS);
    rdma_endpoint_ready(e);
}

int rdma_endpoint_accept(struct carrick_endpoint *endpoint,
                         const struct carrick_connect_options *options)
{
    struct carrick_endpoint *e = endpoint;
    int status;

    if (e->state != RDMA_REQUESTED)
        return CARRICK_ERR_STATE;
    if (options->data_bytes > RDMA_PRIVATE_REPLY)
        return CARRICK_ERR_INVALID;
    status = rdma_endpoint_prepare(e, options);
    if (status != CARRICK_OK)
        return status;
    rdma_listen_release(e);
    e->state = RDMA_ACCEPTING;
    if (e->gone) {
        rdma_endpoint_fail(e, e->lost_status);
        return CARRICK_OK;
    }
    rdma_endpoint_deadline(e, e->timeout_ms);
    rdma_job_start(e, RDMA_JOB_PREPARE);
    return CARRICK_OK;
}

void rdma_accept_prepared(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;
    struct rdma_preface own;
    uint8_t data[RDMA_WIRE_PREFACE_BYTES + RDMA_PRIVATE_REPLY];
    struct rdma_conn_param param = {
        .private_data = data,
        .private_data_len = (uint8_t)(RDMA_WIRE_PREFACE_BYTES + e->data_out_bytes),
        .responder_resources = e->responder_resources,
        .initiator_depth = e->initiator_depth,
        .rnr_retry_count = RDMA_RNR_RETRIES,
        .qp_num = e->qp->qp_num,
    };

    rdma_preface_fill(e, RDMA_MARK_ACCEPT, (uint8_t)e->data_out_bytes, &own);
    rdma_preface_put(&own, data);
    memcpy(data + RDMA_WIRE_PREFACE_BYTES, e->data_out, e->data_out_bytes);
    if (rdma_accept(e->id, &param) != 0)
        rdma_endpoint_fail(e, CARRICK_ERR_RESET);
}

void rdma_endpoint_reject(struct carrick_endpoint *endpoint, const void *data, uint32_t data_bytes)
{
    struct carrick_endpoint *e = endpoint;
    uint8_t bytes[RDMA_WIRE_MARK_BYTES + RDMA_PRIVATE_REPLY];
    struct rdma_mark mark = {.version = RDMA_WIRE_VERSION, .kind = RDMA_MARK_REJECT};

    if (e->state != RDMA_REQUESTED)
        return;
    rdma_listen_release(e);
    if (data_bytes > RDMA_PRIVATE_REPLY)
        data_bytes = RDMA_PRIVATE_REPLY;
    mark.data_bytes = (uint8_t)data_bytes;
    rdma_mark_put(&mark, bytes);
    if (data_bytes != 0)
        memcpy(bytes + RDMA_WIRE_MARK_BYTES, data, data_bytes);
    if (!e->gone)
        rdma_reject(e->id, bytes, (uint8_t)(RDMA_WIRE_MARK_BYTES + data_bytes));
    e->closing = true;
    rdma_endpoint_bury(e);
    rdma_device_kick(e->device);
}
