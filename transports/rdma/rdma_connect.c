// SPDX-License-Identifier: Apache-2.0
//
// The connecting side: address, route, queue pair, request, reply.
#include "rdma.h"

#include <carrick/error.h>

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

static int connect_check(const struct carrick_connect_options *options, struct carrick_error *error)
{
    if (options->data_bytes > RDMA_PRIVATE_REQUEST)
        return carrick_error_set(error, CARRICK_ERR_INVALID, 0, "",
                                 "private data of %u bytes; a request carries at most %d",
                                 options->data_bytes, RDMA_PRIVATE_REQUEST);
    if (options->remote == NULL)
        return carrick_error_set(error, CARRICK_ERR_INVALID, 0, "", "no section of the partner");
    return CARRICK_OK;
}

static int start(struct carrick_endpoint *e, struct carrick_error *error)
{
    struct carrick_device *d = e->device;
    struct sockaddr_storage own = d->local.storage;
    uint8_t traffic_class = (uint8_t)d->settings.traffic_class;

    if (own.ss_family != e->remote.storage.ss_family)
        return carrick_error_set(error, CARRICK_ERR_CONFIG, 0, "/remote/address",
                                 "%s and %s are of different address families", d->local.address,
                                 e->remote.address);
    if (own.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&own)->sin6_port = 0;
    else
        ((struct sockaddr_in *)&own)->sin_port = 0;
    if (rdma_create_id(d->cm, &e->id, e, RDMA_PS_TCP) != 0) {
        e->id = NULL;
        return carrick_error_set(error, CARRICK_ERR_SYSTEM, errno, "", "no connection id: %s",
                                 strerrordesc_np(errno));
    }
    if (d->settings.traffic_class != RDMA_TRAFFIC_CLASS_DEFAULT)
        rdma_set_option(e->id, RDMA_OPTION_ID, RDMA_OPTION_ID_TOS, &traffic_class,
                        sizeof traffic_class);
    if (rdma_resolve_addr(e->id, (struct sockaddr *)&own, (struct sockaddr *)&e->remote.storage,
                          (int)e->timeout_ms) != 0)
        return carrick_error_set(error, CARRICK_ERR_SYSTEM, errno, "", "no way from %s to %s: %s",
                                 d->local.address, e->remote.address, strerrordesc_np(errno));
    return CARRICK_OK;
}

int rdma_endpoint_connect(struct carrick_device *device,
                          const struct carrick_connect_options *options,
                          struct carrick_endpoint **endpoint, struct carrick_error *error)
{
    struct rdma_section remote;
    struct carrick_endpoint *e;
    int status = connect_check(options, error);

    if (status == CARRICK_OK)
        status = rdma_section_parse(options->remote, "/remote", &remote, error);
    if (status != CARRICK_OK)
        return status;
    if (device->removed)
        return carrick_error_set(error, CARRICK_ERR_STATE, 0, "", "the device is gone");
    e = rdma_endpoint_new(device, RDMA_ADDRESS);
    if (e == NULL)
        return carrick_error_set(
            error, CARRICK_ERR_LIMIT, 0, "",
            "the device's completion queue serves %u endpoints, and there are as "
            "many",
            device->endpoints_max);
    e->connecting_side = true;
    e->remote = remote;
    status = rdma_endpoint_prepare(e, options);
    if (status != CARRICK_OK)
        carrick_error_set(error, status, 0, "", "out of memory");
    else
        status = start(e, error);
    if (status != CARRICK_OK) {
        rdma_endpoint_bury(e); // its id ends on a worker
        rdma_device_kick(device);
        return status;
    }
    rdma_endpoint_deadline(e, e->timeout_ms);
    *endpoint = e;
    return CARRICK_OK;
}

void rdma_connect_address(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;
    struct carrick_device *d = e->device;

    if (e->id->verbs == NULL || e->id->verbs->device != d->bound->verbs->device) {
        rdma_endpoint_abort(e, CARRICK_ERR_UNREACHABLE,
                            "the way to the partner leads over another device");
        return;
    }
    e->state = RDMA_ROUTE;
    if (rdma_resolve_route(e->id, (int)e->timeout_ms) != 0)
        rdma_endpoint_fail(e, CARRICK_ERR_UNREACHABLE);
}

void rdma_connect_route(struct carrick_endpoint *endpoint)
{
    endpoint->state = RDMA_CONNECTING;
    rdma_job_start(endpoint, RDMA_JOB_PREPARE);
}

void rdma_connect_prepared(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;
    struct rdma_conn_param param = {
        .private_data = e->data_out,
        .private_data_len = (uint8_t)e->data_out_bytes,
        .responder_resources = e->responder_resources,
        .initiator_depth = e->initiator_depth,
        .retry_count = RDMA_RETRIES,
        .rnr_retry_count = RDMA_RNR_RETRIES,
        .qp_num = e->qp->qp_num,
    };

    if ((e->device->flavour->connect_waits ? rdma_dial_start(e, &param)
                                           : rdma_connect(e->id, &param)) != 0)
        rdma_endpoint_fail(e, CARRICK_ERR_UNREACHABLE);
}

void rdma_connect_reply(struct carrick_endpoint *endpoint, const struct rdma_conn_param *reply)
{
    struct carrick_endpoint *e = endpoint;
    const uint8_t *data = reply->private_data;

    if (e->job != RDMA_JOB_NONE)
        return;
    if (!rdma_preface_get(data, reply->private_data_len, RDMA_MARK_ACCEPT, &e->partner)) {
        rdma_endpoint_abort(e, CARRICK_ERR_PROTOCOL, "who answered there is no such transport");
        return;
    }
    if (e->partner.mark.version != RDMA_WIRE_VERSION) {
        rdma_endpoint_abort(e, CARRICK_ERR_VERSION, "the partner speaks no version that we do");
        return;
    }
    e->data_in_bytes = e->partner.mark.data_bytes;
    memcpy(e->data_in, data + RDMA_WIRE_PREFACE_BYTES, e->data_in_bytes);
    if (e->device->flavour->moves_queue_pair)
        rdma_job_start(e, RDMA_JOB_ESTABLISH);
    else
        rdma_connect_established(e);
}

void rdma_connect_established(struct carrick_endpoint *endpoint)
{
    rdma_endpoint_open(endpoint, &endpoint->partner);
}

void rdma_connect_refused(struct carrick_endpoint *endpoint, const void *data, size_t bytes)
{
    struct carrick_endpoint *e = endpoint;
    struct rdma_mark mark;

    // Nobody listens there, or somebody else: the kernel refuses, and with no data of ours.
    if (!rdma_mark_get(data, bytes, &mark) || mark.kind != RDMA_MARK_REJECT ||
        mark.data_bytes > bytes - RDMA_WIRE_MARK_BYTES) {
        rdma_endpoint_fail(e, CARRICK_ERR_UNREACHABLE);
        return;
    }
    e->data_in_bytes = mark.data_bytes;
    memcpy(e->data_in, (const uint8_t *)data + RDMA_WIRE_MARK_BYTES, mark.data_bytes);
    rdma_endpoint_fail(e, CARRICK_ERR_REFUSED);
}
