// SPDX-License-Identifier: Apache-2.0
// needs plugin: verbs
//
// The connection manager's events against workers that destroy ids. The two calls of librdmacm are this file's: an
// acknowledgement is the moment from which a worker's rdma_destroy_id may free the id, and here it does so at once.
#include <criterion/criterion.h>

#include "transports/rdma/rdma_endpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct rdma_cm_event event;
static bool told;

int rdma_get_cm_event(struct rdma_event_channel *channel, struct rdma_cm_event **got)
{
    (void)channel;
    if (told) {
        errno = EAGAIN;
        return -1;
    }
    told = true;
    *got = &event;
    return 0;
}

int rdma_ack_cm_event(struct rdma_cm_event *acknowledged)
{
    memset(acknowledged->id, 0xa5, sizeof *acknowledged->id);
    free(acknowledged->id);
    return 0;
}

static void device_init(struct carrick_device *device)
{
    *device = (struct carrick_device){.name = "link"};
    list_init(&device->hung_up);
}

static void comes(struct carrick_device *device, enum rdma_cm_event_type type, void *context)
{
    event = (struct rdma_cm_event){.event = type, .id = calloc(1, sizeof *event.id)};
    cr_assert(event.id != NULL);
    event.id->context = context;
    told = false;
    rdma_cm_read(device);
    cr_assert(told);
}

Test(rdma_cm, id_ends_while_its_event_is_read)
{
    struct carrick_device device;
    struct carrick_endpoint endpoint = {.device = &device, .state = RDMA_OPEN};

    device_init(&device);
    list_init(&endpoint.hung_node);
    comes(&device, RDMA_CM_EVENT_DISCONNECTED, &endpoint);
    cr_assert(!list_empty(&device.hung_up), "the endpoint has not heard of it");
}

// An id that was refused has the listener's context, and no endpoint.
Test(rdma_cm, refused_id_is_no_endpoint)
{
    struct carrick_device device;

    device_init(&device);
    comes(&device, RDMA_CM_EVENT_DISCONNECTED, &device);
    cr_assert(list_empty(&device.hung_up) && !device.removed);
}
