// SPDX-License-Identifier: Apache-2.0
//
// Posting: what is asked for is checked as a whole, then cut into messages.
#include "transports/sim/sim_internal.h"

#include <stdlib.h>
#include <string.h>

static struct carrick_work work_at(const struct carrick_work *work, uint32_t i)
{
    struct carrick_work one = {0};
    size_t size = work->struct_size < sizeof(one) ? work->struct_size : sizeof(one);

    memcpy(&one, carrick_work_at(work, i), size);
    return one;
}

// Whether the local buffer may be used by this endpoint.
static bool local_fits(const struct carrick_endpoint *endpoint, const struct carrick_work *work)
{
    const struct carrick_registration *registration = work->registration;
    const uint8_t *local = work->local;

    if (work->length == 0)
        return true;
    if (local == NULL)
        return false;
    if (registration == NULL)
        return work->operation == CARRICK_OP_SEND;
    return registration->made && !registration->ending &&
           (endpoint->domain == NULL || registration->domain == endpoint->domain) &&
           local >= registration->address && work->length <= registration->bytes &&
           (uint64_t)(local - registration->address) <= registration->bytes - work->length;
}

static int work_check(const struct carrick_endpoint *endpoint, const struct carrick_work *work)
{
    const struct sim_fabric_options *options = &endpoint->device->fabric->options;

    switch (work->operation) {
    case CARRICK_OP_WRITE:
    case CARRICK_OP_READ:
        return work->length <= options->max_message_bytes && local_fits(endpoint, work)
                   ? CARRICK_OK
                   : CARRICK_ERR_INVALID;
    case CARRICK_OP_SEND:
        return work->length <= options->max_send_bytes && local_fits(endpoint, work)
                   ? CARRICK_OK
                   : CARRICK_ERR_INVALID;
    case CARRICK_OP_FLUSH:
        return CARRICK_OK;
    default:
        return CARRICK_ERR_NOT_SUPPORTED;
    }
}

static int batch_check(const struct carrick_endpoint *endpoint, const struct carrick_work *work,
                       uint32_t count)
{
    const struct sim_fabric_options *options = &endpoint->device->fabric->options;
    uint32_t reads = endpoint->reads;

    if (endpoint->state >= SIM_ENDPOINT_CLOSING)
        fabric_misuse(endpoint->device->fabric, "post: after endpoint_close");
    if (endpoint->state != SIM_ENDPOINT_CONNECTED || endpoint->device->dead)
        return CARRICK_ERR_STATE;
    for (uint32_t i = 0; i < count; i++) {
        struct carrick_work one = work_at(work, i);
        int status = work_check(endpoint, &one);

        if (status != CARRICK_OK) {
            fabric_misuse(endpoint->device->fabric, "post: operation %u of %u is not allowed", i,
                          count);
            return status;
        }
        reads += one.operation == CARRICK_OP_READ;
    }
    return endpoint->tail - endpoint->head + count > options->max_posted ||
                   reads > options->max_reads
               ? CARRICK_ERR_AGAIN
               : CARRICK_OK;
}

// A write goes in pieces, each with a time of its own.
static void write_send(struct carrick_endpoint *endpoint, const struct carrick_work *work,
                       uint64_t number, bool copy)
{
    struct sim_fabric *fabric = endpoint->device->fabric;
    uint32_t pieces = 1 + (uint32_t)fabric_random(fabric, fabric->options.pieces_max);
    uint64_t piece = (work->length / pieces + 8) & ~7ull;
    uint64_t offset = 0;

    do {
        struct sim_message *message = message_create(fabric, SIM_WRITE);

        message->number = number;
        message->remote = work->remote;
        message->key = work->key;
        message->whole = work->length;
        message->offset = offset;
        message->length = work->length - offset < piece ? work->length - offset : piece;
        message->from = (const uint8_t *)work->local + offset;
        if (copy && !message_own(message))
            abort();
        offset += message->length;
        message->last = offset == work->length;
        wire_send(endpoint->wire, !endpoint->end, message);
    } while (offset < work->length);
}

static void one_send(struct carrick_endpoint *endpoint, const struct carrick_work *work,
                     uint64_t number, uint32_t kind, bool copy)
{
    struct sim_message *message = message_create(endpoint->device->fabric, kind);

    message->number = number;
    message->remote = work->remote;
    message->key = work->key;
    message->length = work->length;
    message->from = kind == SIM_SEND ? work->local : NULL;
    if (copy && !message_own(message))
        abort();
    wire_send(endpoint->wire, !endpoint->end, message);
}

static void posted_set(struct carrick_endpoint *endpoint, const struct carrick_work *work)
{
    struct sim_fabric *fabric = endpoint->device->fabric;
    struct sim_posted *posted = &endpoint->ring[endpoint->tail % fabric->options.max_posted];

    *posted = (struct sim_posted){
        .cookie = work->cookie,
        .operation = work->operation,
        .local = work->local,
        .length = work->length,
        .registration = work->length > 0 ? work->registration : NULL,
    };
    if (work->operation == CARRICK_OP_FLUSH)
        posted->registration = NULL;
    if (posted->registration != NULL)
        posted->registration->posted++;
    endpoint->reads += work->operation == CARRICK_OP_READ;
    if (fabric->options.proof == CARRICK_PROOF_LOCAL &&
        (work->operation == CARRICK_OP_WRITE || work->operation == CARRICK_OP_SEND)) {
        posted->local_due =
            fabric_now(fabric) + 1 + fabric_random(fabric, fabric->options.delay_max_ns + 1);
        if (endpoint->local.place == 0)
            fabric_put(fabric, &endpoint->local, posted->local_due);
    }
}

static void work_begin(struct carrick_endpoint *endpoint, const struct carrick_work *work)
{
    const struct sim_fabric_options *options = &endpoint->device->fabric->options;
    bool copy = options->proof == CARRICK_PROOF_LOCAL || work->length <= options->inline_bytes;
    uint64_t number = endpoint->tail;

    posted_set(endpoint, work);
    endpoint->tail++;
    switch (work->operation) {
    case CARRICK_OP_WRITE:
        write_send(endpoint, work, number, copy);
        break;
    case CARRICK_OP_READ:
        one_send(endpoint, work, number, SIM_READ, false);
        break;
    case CARRICK_OP_SEND:
        endpoint->sends++;
        one_send(endpoint, work, number, SIM_SEND, copy);
        break;
    default:
        one_send(endpoint, work, number, SIM_FLUSH, false);
        break;
    }
}

// Counted as credits would be: a place is free again when its message was taken.
uint32_t sim_send_room(struct carrick_endpoint *endpoint, uint32_t wanted)
{
    const struct carrick_endpoint *partner =
        endpoint->wire == NULL ? NULL : endpoint->wire->end[!endpoint->end];
    uint64_t outstanding;
    uint32_t room;

    if (partner == NULL || partner->receive_depth == 0)
        return UINT32_MAX;
    outstanding = endpoint->sends - partner->sends_taken;
    room =
        outstanding < partner->receive_depth ? partner->receive_depth - (uint32_t)outstanding : 0;
    endpoint->room_wanted = room < wanted;
    return room;
}

int sim_post(struct carrick_endpoint *endpoint, const struct carrick_work *work, uint32_t count)
{
    int status = count == 0 ? CARRICK_OK : batch_check(endpoint, work, count);

    if (status != CARRICK_OK)
        return status;
    for (uint32_t i = 0; i < count; i++) {
        struct carrick_work one = work_at(work, i);

        work_begin(endpoint, &one);
    }
    return CARRICK_OK;
}
