// SPDX-License-Identifier: Apache-2.0
//
// Operations that are kept back, with copies of their data, and released later.
//
// A copy is memory of ours, so the inner transport may want it registered: that is done in the endpoint's domain, by
// the same calls as the core's, and is over before the core gets the endpoint's CLOSED.
#include "fault.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define RETRY_NS FAULT_MS

static uint64_t pages(uint64_t bytes)
{
    return (bytes + 4095) & ~(uint64_t)4095;
}

static bool within_bounds(const struct carrick_transport *transport, uint64_t bytes)
{
    return transport->held_ops < transport->config.held_ops_max &&
           bytes <= transport->config.held_bytes_max - transport->held_bytes;
}

void fault_held_move(struct fault_held *held, struct fault_held_list *list)
{
    if (held->list != NULL)
        TAILQ_REMOVE(held->list, held, entry);
    held->list = list;
    if (list != NULL)
        TAILQ_INSERT_TAIL(list, held, entry);
}

void fault_held_free(struct fault_held *held)
{
    struct carrick_endpoint *endpoint = held->endpoint;
    struct carrick_transport *transport = endpoint->device->transport;

    fault_held_move(held, NULL);
    if (held->copy != NULL)
        munmap(held->copy, held->copy_bytes);
    transport->held_bytes -= held->copy_bytes;
    transport->held_ops--;
    endpoint->copies--;
    if (held->domain != NULL)
        fault_domain_unuse(held->domain);
    free(held);
}

// A write from memory that is not ours to keep needs a registration; a send needs none.
static int copy_register(struct fault_held *held)
{
    struct carrick_transport *transport = held->endpoint->device->transport;
    struct carrick_region_options options = {
        .struct_size = sizeof(options),
        .access = CARRICK_ACCESS_LOCAL,
        .address = held->copy,
        .bytes = held->copy_bytes,
        .fd = -1,
        .cookie = (uint64_t)(uintptr_t)held | FAULT_COPY_COOKIE,
    };
    struct carrick_registration *registration = NULL;
    int rc = transport->ops.region_register(held->domain->inner, &options, &registration);

    if (rc == CARRICK_OK)
        held->state = FAULT_COPY_REGISTERING;
    return rc;
}

static int copy_data(struct fault_held *held)
{
    struct carrick_endpoint *endpoint = held->endpoint;
    uint64_t bytes = pages(held->work.length);
    void *copy = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (copy == MAP_FAILED)
        return CARRICK_ERR_NO_MEMORY;
    memcpy(copy, held->work.local, held->work.length);
    held->copy = copy;
    held->copy_bytes = bytes;
    endpoint->device->transport->held_bytes += bytes;
    held->work.local = copy;
    held->work.registration = NULL;
    if (held->work.operation == CARRICK_OP_SEND || endpoint->domain == NULL)
        return CARRICK_OK;
    held->domain = endpoint->domain;
    held->domain->users++;
    return copy_register(held);
}

struct fault_held *fault_held_make(struct carrick_endpoint *endpoint,
                                   const struct carrick_work *work, uint64_t release_ns)
{
    struct carrick_transport *transport = endpoint->device->transport;
    // A read brings data: its buffer stays the core's, who may have it back only with CLOSED.
    bool copies = work->length > 0 &&
                  (work->operation == CARRICK_OP_WRITE || work->operation == CARRICK_OP_SEND);
    struct fault_held *held;

    if (!within_bounds(transport, copies ? pages(work->length) : 0))
        return NULL;
    held = calloc(1, sizeof(*held));
    if (held == NULL)
        return NULL;
    held->endpoint = endpoint;
    held->work = *work;
    held->release_ns = release_ns;
    transport->held_ops++;
    endpoint->copies++;
    if (copies && copy_data(held) != CARRICK_OK) {
        fault_held_free(held);
        return NULL;
    }
    return held;
}

void fault_held_drop(struct fault_held *held)
{
    struct carrick_transport *transport = held->endpoint->device->transport;

    fault_held_move(held, &held->endpoint->ending);
    switch (held->state) {
    case FAULT_COPY_REGISTERING:
    case FAULT_COPY_DEREGISTERING:
        held->dropped = true;
        return;
    case FAULT_COPY_REGISTERED:
        held->state = FAULT_COPY_DEREGISTERING;
        if (transport->ops.region_deregister(held->registration) == CARRICK_OK)
            return;
        break;
    case FAULT_COPY_NONE:
        break;
    }
    fault_held_free(held);
}

void fault_copy_event(struct fault_held *held, const struct carrick_event *event)
{
    struct carrick_endpoint *endpoint = held->endpoint;

    if (event->type == CARRICK_EVENT_DEREGISTERED) {
        fault_held_free(held);
        fault_endpoint_finish(endpoint);
        return;
    }
    if (event->status != CARRICK_OK) {
        held->state = FAULT_COPY_NONE;
        if (held->dropped) {
            fault_held_free(held);
            fault_endpoint_finish(endpoint);
            return;
        }
        // What was posted behind it cannot be let past it, so the endpoint is lost with it.
        fault_endpoint_lose(endpoint, CARRICK_ERR_RESET);
        fault_queue_drop(endpoint);
        fault_endpoint_close_inner(endpoint, false);
        return;
    }
    held->state = FAULT_COPY_REGISTERED;
    held->registration = event->registration;
    held->work.registration = event->registration;
    if (held->dropped)
        fault_held_drop(held);
    else
        fault_queue_run(endpoint);
    fault_endpoint_finish(endpoint);
}

void fault_queue_drop(struct carrick_endpoint *endpoint)
{
    struct fault_held *held;

    while ((held = TAILQ_FIRST(&endpoint->queue)) != NULL) {
        struct fault_op *op = (struct fault_op *)(uintptr_t)held->work.cookie;

        op->held = NULL;
        fault_held_drop(held);
    }
}

void fault_queue_forget(struct carrick_endpoint *endpoint, const void *registration)
{
    struct fault_held *held, *next;

    for (held = TAILQ_FIRST(&endpoint->queue); held != NULL; held = next) {
        next = TAILQ_NEXT(held, entry);
        if (held->copy == NULL && (const void *)held->work.registration == registration) {
            ((struct fault_op *)(uintptr_t)held->work.cookie)->held = NULL;
            fault_held_drop(held);
        }
    }
}

void fault_flying_drop(struct carrick_endpoint *endpoint)
{
    struct fault_held *held;

    while ((held = TAILQ_FIRST(&endpoint->flying)) != NULL)
        fault_held_drop(held);
}

// Posts the head of the queue; false: not now, or never.
static bool queue_release(struct carrick_endpoint *endpoint, struct fault_held *held)
{
    struct carrick_transport *transport = endpoint->device->transport;
    int rc = transport->ops.post(endpoint->inner, &held->work, 1);

    if (rc == CARRICK_ERR_AGAIN) {
        transport->host->timer_start(endpoint->timer, RETRY_NS);
        return false;
    }
    if (rc != CARRICK_OK) {
        fault_queue_drop(endpoint);
        fault_endpoint_lose(endpoint, CARRICK_ERR_RESET);
        return false;
    }
    fault_held_move(held, &endpoint->flying);
    return true;
}

void fault_queue_run(struct carrick_endpoint *endpoint)
{
    struct carrick_transport *transport = endpoint->device->transport;
    struct fault_held *held;

    if (endpoint->inner_lost || endpoint->inner_closing) {
        fault_queue_drop(endpoint);
        return;
    }
    while ((held = TAILQ_FIRST(&endpoint->queue)) != NULL) {
        uint64_t now = transport->host->now_ns(transport->host);

        if (held->release_ns > now) {
            transport->host->timer_start(endpoint->timer, held->release_ns - now);
            return;
        }
        if (held->state == FAULT_COPY_REGISTERING)
            return; // fault_copy_event comes back here
        if (!queue_release(endpoint, held))
            return;
    }
}
