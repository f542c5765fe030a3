// SPDX-License-Identifier: Apache-2.0
//
// The life of an endpoint, and what it tells. Its end is in rdma_end.c.
#include "rdma.h"

#include <stdlib.h>
#include <string.h>

// A slot that was just left is taken last, so that a late completion does not meet a new tenant soon; its generation
// tells the two apart in any case.
static bool slot_take(struct carrick_endpoint *e)
{
    struct carrick_device *d = e->device;

    for (uint32_t i = 0; i < d->endpoints_max; i++) {
        uint32_t at = (d->slot_next + i) % d->endpoints_max;

        if (d->slots[at].endpoint != NULL)
            continue;
        d->slots[at].endpoint = e;
        d->slots[at].generation++;
        d->slot_next = at + 1;
        e->slot = (uint16_t)at;
        return true;
    }
    return false;
}

struct carrick_endpoint *rdma_endpoint_new(struct carrick_device *device, enum rdma_state state)
{
    struct carrick_endpoint *e = calloc(1, sizeof *e);

    if (e == NULL)
        return NULL;
    e->device = device;
    e->state = state;
    list_init(&e->ready_node);
    list_init(&e->hung_node);
    list_init(&e->received_node);
    list_init(&e->dial.node);
    if (!slot_take(e)) {
        free(e);
        return NULL;
    }
    e->initiator_depth = e->responder_resources = (uint8_t)device->reads_max;
    list_append(&device->endpoints, &e->node);
    device->endpoint_count++;
    return e;
}

void rdma_endpoint_free(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;
    struct carrick_device *device = e->device;
    struct carrick_domain *domain = e->domain;

    list_remove(&e->node);
    device->slots[e->slot].endpoint = NULL;
    device->endpoint_count--;
    free(e->operations.ring);
    free(e->receives.waiting);
    free(e->receives.lengths);
    free(e->receives.told);
    free(e);
    if (domain != NULL) {
        domain->endpoints--;
        rdma_domain_release(domain);
    }
    rdma_device_release(device);
}

int rdma_endpoint_prepare(struct carrick_endpoint *endpoint,
                          const struct carrick_connect_options *options)
{
    struct carrick_endpoint *e = endpoint;
    uint32_t bytes = options->receive_bytes, depth = options->receive_depth, buffers;

    if (bytes > RDMA_SEND_MAX)
        bytes = RDMA_SEND_MAX;
    // Our own messages must find room, too.
    if (bytes < RDMA_WIRE_PREFACE_BYTES)
        bytes = RDMA_WIRE_PREFACE_BYTES;
    if (depth > RDMA_RECEIVE_DEPTH)
        depth = RDMA_RECEIVE_DEPTH;
    if (depth == 0)
        depth = 1;
    buffers = depth + RDMA_RECEIVES_OWN;
    e->operations.ring = calloc(RDMA_RING, sizeof *e->operations.ring);
    e->receives.waiting = calloc(buffers, sizeof *e->receives.waiting);
    e->receives.lengths = calloc(buffers, sizeof *e->receives.lengths);
    e->receives.told = calloc(buffers, sizeof *e->receives.told);
    if (e->operations.ring == NULL || e->receives.waiting == NULL || e->receives.lengths == NULL ||
        e->receives.told == NULL)
        return CARRICK_ERR_NO_MEMORY;
    e->wanted_receive_bytes = bytes;
    e->wanted_receive_depth = depth;
    e->timeout_ms = options->timeout_ms != 0 ? options->timeout_ms : RDMA_CONNECT_MS;
    e->cookie = options->cookie;
    e->data_out_bytes = options->data_bytes;
    if (options->data_bytes != 0)
        memcpy(e->data_out, options->data, options->data_bytes);
    e->domain = options->domain;
    if (e->domain != NULL)
        e->domain->endpoints++;
    return CARRICK_OK;
}

void rdma_endpoint_ready(struct carrick_endpoint *endpoint)
{
    if (!list_empty(&endpoint->ready_node))
        return;
    list_append(&endpoint->device->ready, &endpoint->ready_node);
    rdma_device_kick(endpoint->device);
}

void rdma_endpoint_deadline(struct carrick_endpoint *endpoint, uint32_t ms)
{
    endpoint->deadline_ns = rdma_now_ns(endpoint->device) + ms * UINT64_C(1000000);
    rdma_device_deadline(endpoint->device, endpoint->deadline_ns);
}

void rdma_preface_fill(const struct carrick_endpoint *endpoint, uint8_t kind, uint8_t data_bytes,
                       struct rdma_preface *preface)
{
    const struct carrick_endpoint *e = endpoint;
    const struct rdma_scratch *scratch = rdma_flush_scratch(e);

    *preface = (struct rdma_preface){
        .mark = {.version = RDMA_WIRE_VERSION, .kind = kind, .data_bytes = data_bytes},
        .receive_bytes = e->wanted_receive_bytes,
        .receive_depth = (uint16_t)e->wanted_receive_depth,
        .reads = e->responder_resources,
    };
    if (scratch->mr != NULL) {
        preface->scratch_base = (uintptr_t)scratch->page;
        preface->scratch_key = scratch->mr->rkey;
        preface->scratch_bytes = RDMA_SCRATCH_BYTES;
    }
    if (e->domain != NULL && e->device->native_flush)
        preface->flags = RDMA_PREFACE_FLUSH;
}

void rdma_endpoint_open(struct carrick_endpoint *endpoint, const struct rdma_preface *partner)
{
    struct carrick_endpoint *e = endpoint;
    struct rdma_preface own;
    uint8_t bytes[RDMA_WIRE_PREFACE_BYTES];

    e->partner = *partner;
    if (e->partner.reads > e->initiator_depth)
        e->partner.reads = e->initiator_depth;
    if (e->partner.reads == 0)
        e->partner.reads = 1;
    e->operations.credits = partner->receive_depth;
    e->state = RDMA_OPEN;
    e->stood = true;
    e->deadline_ns = 0;
    e->tell_connected = true;
    if (e->connecting_side) {
        rdma_preface_fill(e, RDMA_MARK_HELLO, 0, &own);
        rdma_preface_put(&own, bytes);
        rdma_post_own(e, RDMA_MESSAGE_HELLO, bytes, sizeof bytes);
    }
    rdma_issue(e);
    rdma_endpoint_ready(e);
}

// ---- what it tells

static void tell_one(struct carrick_endpoint *e, struct rdma_output *out, uint32_t type,
                     bool with_data, bool *flag)
{
    struct carrick_event event = {
        .type = type,
        .status = type == CARRICK_EVENT_DISCONNECTED ? e->lost_status : CARRICK_OK,
        .cookie = type == CARRICK_EVENT_REQUEST ? 0 : e->cookie,
        .endpoint = e,
        .data = with_data ? e->data_in : NULL,
        .length = with_data ? e->data_in_bytes : 0,
    };

    if (!*flag || rdma_output_full(out))
        return;
    *flag = false;
    e->told_connected |= type == CARRICK_EVENT_CONNECTED;
    e->told_lost |= type == CARRICK_EVENT_DISCONNECTED;
    rdma_output_put(out, &event);
}

static bool completion_due(const struct carrick_endpoint *e)
{
    const struct rdma_operations *o = &e->operations;

    return o->told != o->issued && rdma_operation_at(e, o->told)->done;
}

static void tell_completions(struct carrick_endpoint *e, struct rdma_output *out)
{
    struct rdma_operations *o = &e->operations;

    while (completion_due(e)) {
        const struct rdma_operation *op = rdma_operation_at(e, o->told);
        // Once it is lost or being closed, nothing completes any more.
        bool told = !op->own && !e->closing && !e->told_lost;
        struct carrick_event event = {
            .type = CARRICK_EVENT_COMPLETION, .cookie = op->cookie, .endpoint = e};

        if (told && rdma_output_full(out))
            return;
        if (told)
            rdma_output_put(out, &event);
        if (op->own)
            o->own--;
        o->told++;
    }
}

static void tell_receives(struct carrick_endpoint *e, struct rdma_output *out)
{
    struct rdma_receives *r = &e->receives;

    if (e->closing && !e->told_connected)
        r->count = 0; // the core never saw it connected
    while (r->count != 0 && e->told_connected && !rdma_output_full(out)) {
        uint16_t buffer = r->waiting[r->first];
        struct carrick_event event = {
            .type = CARRICK_EVENT_RECEIVE,
            .length = r->lengths[buffer],
            .cookie = e->cookie,
            .endpoint = e,
            .data = rdma_buffer_receive(e, buffer) + RDMA_WIRE_HEADER_BYTES,
        };

        r->first = (r->first + 1) % r->depth;
        r->count--;
        r->told[r->told_count++] = buffer;
        if (list_empty(&e->received_node))
            list_append(&e->device->received, &e->received_node);
        e->received_messages++;
        rdma_output_put(out, &event);
    }
}

void rdma_endpoint_tell(struct carrick_endpoint *endpoint, struct rdma_output *out)
{
    struct carrick_endpoint *e = endpoint;

    tell_one(e, out, CARRICK_EVENT_REQUEST, true, &e->tell_request);
    tell_one(e, out, CARRICK_EVENT_CONNECTED, e->connecting_side, &e->tell_connected);
    tell_completions(e, out);
    tell_receives(e, out);
    if (e->closing || e->told_lost)
        e->tell_room = false;
    tell_one(e, out, CARRICK_EVENT_SEND_ROOM, false, &e->tell_room);
    // These come behind all of the above.
    if (completion_due(e) || e->receives.count != 0 || e->tell_connected)
        return;
    tell_one(e, out, CARRICK_EVENT_DISCONNECTED, e->lost_status == CARRICK_ERR_REFUSED,
             &e->tell_disconnected);
    if (e->tell_closed && !rdma_output_full(out)) {
        tell_one(e, out, CARRICK_EVENT_CLOSED, false, &e->tell_closed);
        rdma_endpoint_bury(e);
    }
}

static bool has_to_tell(const struct carrick_endpoint *e)
{
    return e->tell_request || e->tell_connected || e->tell_room || e->tell_disconnected ||
           e->tell_closed || completion_due(e) || (e->receives.count != 0 && e->stood);
}

void rdma_endpoint_run(struct carrick_endpoint *endpoint, struct rdma_output *out)
{
    struct carrick_endpoint *e = endpoint;

    rdma_endpoint_tell(e, out);
    if (e->job != RDMA_JOB_DESTROY && has_to_tell(e))
        rdma_endpoint_ready(e);
}

// ---- receive buffers back to the queue pair

void rdma_endpoint_give_back(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;
    struct rdma_receives *r = &e->receives;
    uint32_t count = r->told_count;

    r->told_count = 0;
    if (e->state != RDMA_OPEN || e->broken || e->job != RDMA_JOB_NONE)
        return;
    if (rdma_receives_post(e, r->told, count) != 0) {
        rdma_endpoint_abort(e, CARRICK_ERR_RESET, "receives cannot be posted");
        return;
    }
    r->owed += count;
    rdma_post_credits(e);
}
