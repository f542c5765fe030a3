// SPDX-License-Identifier: Apache-2.0
//
// Operations out. What is posted stands in a ring, in order, and goes to the queue pair as far as there is room: a send
// wants a credit of the partner, a read one of its places. What follows one that waits, waits with it.
#include "rdma.h"

#include <string.h>

// ---- in

static int check(const struct carrick_endpoint *e, const struct carrick_work *w)
{
    const struct carrick_device *d = e->device;
    uint32_t inline_bytes =
        d->inline_bytes > RDMA_WIRE_HEADER_BYTES ? d->inline_bytes - RDMA_WIRE_HEADER_BYTES : 0;

    switch (w->operation) {
    case CARRICK_OP_WRITE:
    case CARRICK_OP_READ:
        if (w->length > d->message_max_bytes)
            return CARRICK_ERR_INVALID;
        // The device of the partner sees to bounds; that the sum does not wrap is seen here.
        if (w->remote + w->length < w->remote)
            return CARRICK_ERR_BOUNDS;
        if ((w->registration == NULL || w->registration->domain != e->domain) && w->length != 0 &&
            (w->operation == CARRICK_OP_READ || w->length > inline_bytes))
            return CARRICK_ERR_INVALID;
        break;
    case CARRICK_OP_SEND:
        if (w->length > RDMA_SEND_MAX || w->length > e->partner.receive_bytes)
            return CARRICK_ERR_INVALID;
        break;
    case CARRICK_OP_FLUSH:
        return CARRICK_OK;
    default:
        return CARRICK_ERR_NOT_SUPPORTED;
    }
    return w->local == NULL && w->length != 0 ? CARRICK_ERR_INVALID : CARRICK_OK;
}

static uint32_t local_key(const struct carrick_endpoint *e, const struct carrick_work *w)
{
    const struct carrick_registration *r = w->registration;

    // A key counts in its own domain only: an endpoint without one sends from its own buffers.
    if (r == NULL || r->domain != e->domain)
        return 0;
    if (r->mr == NULL || (w->operation == CARRICK_OP_READ && r->sink != NULL))
        return r->sink->lkey;
    return r->mr->lkey;
}

static void take(struct carrick_endpoint *e, const struct carrick_work *w)
{
    const uint32_t inline_bytes = e->device->inline_bytes;
    struct rdma_operation *op = rdma_operation_at(e, e->operations.posted++);

    op->cookie = w->cookie;
    op->local = w->local;
    op->length = w->length;
    op->remote = w->remote;
    op->key = w->key;
    op->local_key = local_key(e, w);
    op->kind = (uint8_t)w->operation;
    op->message = RDMA_MESSAGE_DATA;
    op->own = op->signalled = op->done = false;
    op->places = 0;
    op->bounce = -1;
    // A read of nothing reads something all the same: it has to prove what went before.
    if (op->kind == CARRICK_OP_READ && op->length == 0)
        op->kind = CARRICK_OP_FLUSH;
    op->is_inline = (op->kind == CARRICK_OP_WRITE || op->kind == CARRICK_OP_SEND) &&
                    op->length + RDMA_WIRE_HEADER_BYTES <= inline_bytes;
    if (op->kind == CARRICK_OP_SEND)
        e->operations.unsent++;
    // It may have to wait, and its buffer is the core's again at once.
    if (op->is_inline && op->length != 0)
        memcpy(op->inline_data + RDMA_WIRE_HEADER_BYTES, op->local, op->length);
}

int rdma_post(struct carrick_endpoint *endpoint, const struct carrick_work *work, uint32_t count)
{
    struct carrick_endpoint *e = endpoint;
    struct rdma_operations *o = &e->operations;
    int status = CARRICK_OK;

    if (e->state != RDMA_OPEN || e->closing)
        return CARRICK_ERR_STATE;
    if (count > RDMA_POSTED_MAX - (o->posted - o->told - o->own))
        return CARRICK_ERR_AGAIN;
    for (uint32_t i = 0; i < count && status == CARRICK_OK; i++)
        status = check(e, carrick_work_at(work, i));
    if (status != CARRICK_OK)
        return status;
    for (uint32_t i = 0; i < count; i++)
        take(e, carrick_work_at(work, i));
    rdma_issue(e);
    return CARRICK_OK;
}

uint32_t rdma_send_room(struct carrick_endpoint *endpoint, uint32_t wanted)
{
    struct rdma_operations *o = &endpoint->operations;
    uint32_t room = o->credits > o->unsent ? o->credits - o->unsent : 0;

    o->room_wanted = room < wanted;
    return room;
}

void rdma_post_own(struct carrick_endpoint *endpoint, enum rdma_message message,
                   const void *payload, uint32_t bytes)
{
    struct carrick_endpoint *e = endpoint;
    struct rdma_operation *op = rdma_operation_at(e, e->operations.posted++);

    *op = (struct rdma_operation){
        .kind = CARRICK_OP_SEND,
        .message = (uint8_t)message,
        .length = bytes,
        .own = true,
        .is_inline = true,
        .bounce = -1,
    };
    if (bytes != 0)
        memcpy(op->inline_data + RDMA_WIRE_HEADER_BYTES, payload, bytes);
    e->operations.own++;
}

void rdma_post_own_flush(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;

    *rdma_operation_at(e, e->operations.posted++) =
        (struct rdma_operation){.kind = CARRICK_OP_FLUSH, .own = true, .bounce = -1};
    e->operations.own++;
}

// ---- out

struct batch {
    struct ibv_send_wr wr[RDMA_BATCH];
    struct ibv_sge sge[RDMA_BATCH][2];
    uint32_t count;
};

static uint32_t places_of_flush(const struct carrick_endpoint *e)
{
    uint32_t regions = rdma_flush_regions(e);

    return regions != 0 ? regions : 1;
}

static bool has_room(const struct carrick_endpoint *e, const struct rdma_operation *op)
{
    const struct rdma_operations *o = &e->operations;
    uint64_t total = op->length + RDMA_WIRE_HEADER_BYTES;

    switch (op->kind) {
    case CARRICK_OP_READ:
        return o->reads < e->partner.reads;
    case CARRICK_OP_FLUSH:
        return o->reads + places_of_flush(e) <= e->partner.reads;
    case CARRICK_OP_SEND:
        if (op->message == RDMA_MESSAGE_DATA && o->credits == 0)
            return false;
        return (op->is_inline ? total <= e->device->inline_bytes : op->local_key != 0) ||
               e->bounces_used != (1u << RDMA_BOUNCES) - 1;
    default:
        return true;
    }
}

static void fill_write(const struct carrick_endpoint *e, struct rdma_operation *op,
                       struct ibv_send_wr *wr, struct ibv_sge *sge)
{
    wr->opcode = IBV_WR_RDMA_WRITE;
    wr->wr.rdma.remote_addr = op->remote;
    wr->wr.rdma.rkey = op->key;
    if (op->is_inline)
        wr->send_flags |= IBV_SEND_INLINE;
    wr->num_sge = op->length != 0;
    sge->addr = (uintptr_t)(op->is_inline ? op->inline_data + RDMA_WIRE_HEADER_BYTES : op->local);
    sge->length = (uint32_t)op->length;
    sge->lkey = op->is_inline ? e->mr->lkey : op->local_key;
}

static void fill_read(const struct rdma_operation *op, struct ibv_send_wr *wr, struct ibv_sge *sge)
{
    wr->opcode = IBV_WR_RDMA_READ;
    wr->wr.rdma.remote_addr = op->remote;
    wr->wr.rdma.rkey = op->key;
    wr->num_sge = 1;
    sge->addr = (uintptr_t)op->local;
    sge->length = (uint32_t)op->length;
    sge->lkey = op->local_key;
}

static void header_put(struct carrick_endpoint *e, uint8_t message, uint8_t *at)
{
    struct rdma_header header = {.message = message, .credits = (uint16_t)e->receives.owed};

    e->receives.owed = 0;
    rdma_header_put(&header, at);
}

static int8_t bounce_take(struct carrick_endpoint *e)
{
    for (uint32_t i = 0; i < RDMA_BOUNCES; i++)
        if ((e->bounces_used & (1u << i)) == 0) {
            e->bounces_used |= (uint8_t)(1u << i);
            return (int8_t)i;
        }
    return -1;
}

static void fill_send(struct carrick_endpoint *e, uint64_t number, struct rdma_operation *op,
                      struct ibv_send_wr *wr, struct ibv_sge *sge)
{
    uint32_t total = (uint32_t)op->length + RDMA_WIRE_HEADER_BYTES;
    uint8_t *at;

    wr->opcode = IBV_WR_SEND;
    wr->num_sge = 1;
    if (op->message == RDMA_MESSAGE_DATA) {
        e->operations.credits--;
        e->operations.unsent--;
    }
    if (op->is_inline && total <= e->device->inline_bytes) {
        wr->send_flags |= IBV_SEND_INLINE;
        header_put(e, op->message, op->inline_data);
        *sge = (struct ibv_sge){.addr = (uintptr_t)op->inline_data, .length = total};
    } else if (!op->is_inline && op->local_key != 0) {
        at = rdma_buffer_header(e, number);
        header_put(e, op->message, at);
        sge[0] = (struct ibv_sge){
            .addr = (uintptr_t)at, .length = RDMA_WIRE_HEADER_BYTES, .lkey = e->mr->lkey};
        sge[1] = (struct ibv_sge){
            .addr = (uintptr_t)op->local, .length = (uint32_t)op->length, .lkey = op->local_key};
        wr->num_sge = 2;
    } else {
        op->bounce = bounce_take(e);
        at = rdma_buffer_bounce(e, (uint32_t)op->bounce);
        header_put(e, op->message, at);
        if (op->length != 0)
            memcpy(at + RDMA_WIRE_HEADER_BYTES,
                   op->is_inline ? op->inline_data + RDMA_WIRE_HEADER_BYTES : op->local,
                   op->length);
        *sge = (struct ibv_sge){.addr = (uintptr_t)at, .length = total, .lkey = e->mr->lkey};
    }
}

static void add(struct carrick_endpoint *e, struct batch *b, uint64_t number)
{
    struct rdma_operations *o = &e->operations;
    struct rdma_operation *op = rdma_operation_at(e, number);
    struct ibv_send_wr *wr = &b->wr[b->count];
    struct ibv_sge *sge = b->sge[b->count];

    *wr = (struct ibv_send_wr){.wr_id = rdma_work_id(e, 0, number), .sg_list = sge};
    if (b->count != 0)
        b->wr[b->count - 1].next = wr;
    b->count++;
    switch (op->kind) {
    case CARRICK_OP_WRITE:
        fill_write(e, op, wr, sge);
        rdma_flush_wrote(e, op);
        e->write_bytes += op->length;
        break;
    case CARRICK_OP_READ:
        fill_read(op, wr, sge);
        op->places = 1;
        e->read_bytes += op->length;
        break;
    case CARRICK_OP_SEND:
        fill_send(e, number, op, wr, sge);
        e->sent_messages++;
        break;
    default:
        rdma_flush_fill(e, wr, sge);
        op->places = 1;
        break;
    }
    op->signalled = op->places != 0 || o->unsignalled + 1 >= RDMA_SIGNAL_EVERY;
    o->reads += op->places;
    o->unsignalled = op->signalled ? 0 : o->unsignalled + 1;
}

static bool not_taken(struct carrick_endpoint *e)
{
    e->operations.uncertain = true;
    rdma_endpoint_abort(e, CARRICK_ERR_RESET, "the queue pair does not take an operation");
    return false;
}

// followed: by a flush, at once.
static bool hand_over(struct carrick_endpoint *e, struct batch *b, uint64_t first, bool followed)
{
    struct rdma_operations *o = &e->operations;
    struct ibv_send_wr *bad;

    // The last always says when it is done, and with it those before.
    if (!followed) {
        rdma_operation_at(e, first + b->count - 1)->signalled = true;
        o->unsignalled = 0;
    }
    for (uint32_t i = 0; i < b->count; i++)
        if (rdma_operation_at(e, first + i)->signalled) {
            b->wr[i].send_flags |= IBV_SEND_SIGNALED;
            o->signals++;
        }
    e->device->posts++;
    e->device->work_requests += b->count;
    return ibv_post_send(e->qp, b->wr, &bad) == 0 || not_taken(e);
}

// Not of a batch: it is posted by calls of its own.
static bool flush(struct carrick_endpoint *e)
{
    struct rdma_operations *o = &e->operations;
    struct rdma_operation *op = rdma_operation_at(e, o->issued);

    op->places = (uint8_t)rdma_flush_regions(e);
    op->signalled = true;
    o->reads += op->places;
    o->signals++;
    o->unsignalled = 0;
    return rdma_flush_post(e, o->issued++) == 0 || not_taken(e);
}

static bool next_can_go(const struct carrick_endpoint *e)
{
    const struct rdma_operations *o = &e->operations;

    return o->issued != o->posted && has_room(e, rdma_operation_at(e, o->issued));
}

static bool next_is_native_flush(const struct carrick_endpoint *e)
{
    return rdma_operation_at(e, e->operations.issued)->kind == CARRICK_OP_FLUSH &&
           rdma_flush_regions(e) != 0;
}

void rdma_issue(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;
    struct rdma_operations *o = &e->operations;

    while (!e->broken && next_can_go(e)) {
        struct batch b;
        uint64_t first = o->issued;
        bool flushes = false;

        b.count = 0;
        while (b.count < RDMA_BATCH && next_can_go(e) && !(flushes = next_is_native_flush(e)))
            add(e, &b, o->issued++);
        if (b.count != 0 && !hand_over(e, &b, first, flushes))
            return;
        if (flushes && !flush(e))
            return;
    }
}

void rdma_post_credits(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;
    struct rdma_operations *o = &e->operations;
    struct ibv_sge sge = {.length = RDMA_WIRE_HEADER_BYTES, .lkey = e->mr->lkey};
    struct ibv_send_wr *bad, wr = {
                                 .wr_id = rdma_work_id(e, RDMA_WORK_CREDIT, 0),
                                 .sg_list = &sge,
                                 .num_sge = 1,
                                 .opcode = IBV_WR_SEND,
                                 .send_flags = IBV_SEND_SIGNALED,
                             };
    uint8_t *at;

    // Half of them at a time, and two messages under way at most: the partner has room for as many beside the credits.
    if (e->state != RDMA_OPEN || e->broken || o->credits_under_way >= RDMA_CREDITS_MAX ||
        e->receives.owed * 2 < e->wanted_receive_depth || e->receives.owed == 0)
        return;
    // The answering side says nothing before HELLO has come, and it has: nothing else is owed for.
    at = rdma_buffer_credit(e, o->credit_serial++);
    header_put(e, RDMA_MESSAGE_CREDIT, at);
    sge.addr = (uintptr_t)at;
    o->credits_under_way++;
    o->signals++;
    e->device->posts++;
    e->device->work_requests++;
    if (ibv_post_send(e->qp, &wr, &bad) != 0) {
        o->uncertain = true;
        rdma_endpoint_abort(e, CARRICK_ERR_RESET, "the queue pair does not take a message");
    }
}
