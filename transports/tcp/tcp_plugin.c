// SPDX-License-Identifier: Apache-2.0
//
// The table that makes this a plugin.
#include "tcp.h"

#include <carrick/error.h>

#include <stdlib.h>
#include <string.h>

static int create(const struct carrick_host *host, const char *config,
                  struct carrick_transport **transport, struct carrick_error *error)
{
    struct carrick_transport *t = malloc(sizeof *t);

    (void)config; // all that there is to set belongs to a link
    if (t == NULL)
        return carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, "", "out of memory");
    t->host = host;
    *transport = t;
    return CARRICK_OK;
}

static void destroy(struct carrick_transport *transport)
{
    free(transport);
}

static void device_caps(struct carrick_device *device, struct carrick_device_caps *caps)
{
    const struct carrick_device_caps own = {
        .struct_size = caps->struct_size,
        .flags = CARRICK_CAP_NATIVE_FLUSH | CARRICK_CAP_APPLIED_COUNT,
        .proof = CARRICK_PROOF_REMOTE,
        .max_send_bytes = TCP_WIRE_SEND_MAX,
        .max_message_bytes = TCP_WIRE_MESSAGE_MAX,
        .max_posted = TCP_POSTED_MAX,
        .max_reads = TCP_WIRE_READS_MAX,
        .request_bytes = TCP_WIRE_PRIVATE_MAX,
        .reply_bytes = TCP_WIRE_PRIVATE_MAX,
    };

    (void)device;
    memcpy(caps, &own, caps->struct_size < sizeof own ? caps->struct_size : sizeof own);
}

static const struct carrick_transport_ops tcp_ops = {
    .create = create,
    .destroy = destroy,
    .config_check = tcp_config_check,
    .device_open = tcp_device_open,
    .device_close = tcp_device_close,
    .device_caps = device_caps,
    .device_poll = tcp_device_poll,
    .device_fd = tcp_device_fd,
    .device_arm = tcp_device_arm,
    .device_wake = tcp_device_wake,
    .domain_create = tcp_domain_create,
    .domain_destroy = tcp_domain_destroy,
    .region_register = tcp_region_register,
    .region_deregister = tcp_region_deregister,
    .listen = tcp_listen,
    .unlisten = tcp_unlisten,
    .endpoint_connect = tcp_endpoint_connect,
    .endpoint_accept = tcp_endpoint_accept,
    .endpoint_reject = tcp_endpoint_reject,
    .endpoint_close = tcp_endpoint_close,
    .post = tcp_post,
    .describe = tcp_describe,
};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_TRANSPORT, "tcp", CARRICK_VERSION, "Apache-2.0",
                        "remote reads and writes over TCP, in user space", tcp_ops);
