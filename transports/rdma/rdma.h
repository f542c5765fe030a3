// SPDX-License-Identifier: Apache-2.0
//
// What the sources of the RDMA transports share. verbs.so and iwarp.so are both made of them; a flavour says what
// differs. Everything runs on the manager's thread, except jobs (rdma_job.c), which own what they touch.
//
//   rdma_device.h    a device, domains, registrations                      rdma_endpoint.h  endpoints
//   rdma_device.c    a device: its descriptors, device_poll, deadlines     rdma_open.c    how it comes and goes
//   rdma_cm.c        what the connection manager says                      rdma_carrier.c rtnetlink
//   rdma_async.c     what the device says of itself, ports and queue pairs
//   rdma_memory.c    domains, registrations, locked memory
//   rdma_endpoint.c  life of an endpoint and what it tells                 rdma_end.c     its end, the fence
//   rdma_connect.c   the connecting side      rdma_listen.c  the answering side
//   rdma_dial.c      a thread for rdma_connect, where that waits for the partner
//   rdma_job.c       what may block: queue pairs, buffers
//   rdma_post.c      operations out           rdma_complete.c  completions and messages in
//   rdma_flush.c     what proves that writes are placed: the hardware's flush, or a read
//   rdma_wire.c      bytes of our own         rdma_config.c  sections      rdma_describe.c
//
// One completion queue serves all endpoints of a device: devices have few of them. Queue pairs are made beside the
// connection manager, on a context of our own: the one that librdmacm keeps is shared by all managers of the process,
// and with it the stream of asynchronous events, each of which only one of them would see.
#ifndef RDMA_H
#define RDMA_H

#include "rdma_device.h"
#include "rdma_endpoint.h"

// ---- rdma_describe.c

void rdma_describe(struct carrick_device *device, struct carrick_endpoint *endpoint, char *text,
                   size_t size);

// The table, with the flavour's own create.
#define RDMA_OPS(create_)                                                                          \
    {                                                                                              \
        .create = (create_), .destroy = rdma_destroy, .config_check = rdma_config_check,           \
        .device_open = rdma_device_open, .device_close = rdma_device_close,                        \
        .device_caps = rdma_device_caps, .device_poll = rdma_device_poll,                          \
        .device_fd = rdma_device_fd, .device_arm = rdma_device_arm,                                \
        .domain_create = rdma_domain_create, .domain_destroy = rdma_domain_destroy,                \
        .region_register = rdma_region_register, .region_deregister = rdma_region_deregister,      \
        .listen = rdma_listen_begin, .unlisten = rdma_listen_end,                                  \
        .endpoint_connect = rdma_endpoint_connect, .endpoint_accept = rdma_endpoint_accept,        \
        .endpoint_reject = rdma_endpoint_reject, .endpoint_close = rdma_endpoint_close,            \
        .post = rdma_post, .describe = rdma_describe, .send_room = rdma_send_room,                 \
    }

#endif
