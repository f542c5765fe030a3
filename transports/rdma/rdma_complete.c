// SPDX-License-Identifier: Apache-2.0
//
// What the completion queue brings: operations that are done, and messages of the partner.
#include "rdma.h"

#include <string.h>

static struct carrick_endpoint *endpoint_of(struct carrick_device *d, uint64_t work_id)
{
    uint32_t slot = (uint32_t)(work_id >> 48);

    if (slot >= d->endpoints_max || d->slots[slot].endpoint == NULL ||
        d->slots[slot].generation != (uint16_t)(work_id >> 32))
        return NULL;
    return d->slots[slot].endpoint;
}

static int status_of(enum ibv_wc_status status)
{
    switch (status) {
    case IBV_WC_REM_ACCESS_ERR:
    case IBV_WC_REM_INV_REQ_ERR:
    case IBV_WC_REM_OP_ERR:
        return CARRICK_ERR_REMOTE_ACCESS;
    case IBV_WC_RETRY_EXC_ERR:
    case IBV_WC_RNR_RETRY_EXC_ERR:
    case IBV_WC_RESP_TIMEOUT_ERR:
        return CARRICK_ERR_TIMEOUT;
    case IBV_WC_LOC_LEN_ERR:
        return CARRICK_ERR_PROTOCOL;
    default:
        return CARRICK_ERR_RESET;
    }
}

static void failed(struct carrick_endpoint *e, const struct ibv_wc *wc)
{
    const struct carrick_host *host = e->device->host;

    if (e->state == RDMA_LINGERING)
        rdma_endpoint_end(e);
    // Of a connection that does not come about, the connection manager says why.
    if (e->state >= RDMA_LOST || e->state == RDMA_CONNECTING)
        return;
    // Flushed: the queue pair ended. Another completion may say why, or what the partner said last.
    if (wc->status == IBV_WC_WR_FLUSH_ERR || wc->status == IBV_WC_GENERAL_ERR ||
        wc->status == IBV_WC_FATAL_ERR) {
        rdma_endpoint_hang_up(e);
        return;
    }
    host->log(host, CARRICK_LOG_WARNING, "%s: an operation failed: %s", e->device->name,
              ibv_wc_status_str(wc->status));
    rdma_endpoint_fail(e, status_of(wc->status));
}

// ---- operations

static void operation_done(struct carrick_endpoint *e, struct rdma_operation *op)
{
    op->done = true;
    e->completions++;
    if (op->bounce >= 0)
        e->bounces_used &= (uint8_t) ~(1u << op->bounce);
    op->bounce = -1;
}

static void sent(struct carrick_endpoint *e, const struct ibv_wc *wc)
{
    struct rdma_operations *o = &e->operations;
    uint64_t number = rdma_work_number(o, wc->wr_id);
    struct rdma_operation *op;

    if ((wc->wr_id & RDMA_WORK_CREDIT) != 0) {
        o->signals--;
        o->credits_under_way--;
        if (wc->status != IBV_WC_SUCCESS)
            failed(e, wc);
        else
            rdma_post_credits(e);
        return;
    }
    if ((wc->wr_id & RDMA_WORK_PART) != 0) {
        if (wc->status != IBV_WC_SUCCESS)
            failed(e, wc);
        return;
    }
    if (number >= o->issued)
        return; // of what was given up
    op = rdma_operation_at(e, number);
    // Those that were not to be signalled come all the same when they fail.
    if (op->signalled)
        o->signals--;
    op->signalled = false;
    if (wc->status != IBV_WC_SUCCESS) {
        failed(e, wc);
        return;
    }
    o->reads -= op->places;
    op->places = 0;
    // Sends and writes end in order. A read may end after what was posted behind it, and speaks for itself.
    for (; o->swept < number; o->swept++) {
        struct rdma_operation *before = rdma_operation_at(e, o->swept);

        if (!before->done && before->kind != CARRICK_OP_READ && before->kind != CARRICK_OP_FLUSH &&
            !before->signalled)
            operation_done(e, before);
    }
    operation_done(e, op);
    // The partner has all of it, and knows that nothing follows.
    if (e->state == RDMA_LINGERING && o->issued == o->posted && number + 1 == o->posted)
        rdma_endpoint_end(e);
    else
        rdma_issue(e);
}

// ---- messages

static void back_at_once(struct carrick_endpoint *e, uint16_t buffer)
{
    if (e->state != RDMA_OPEN || e->broken)
        return;
    if (rdma_receives_post(e, &buffer, 1) != 0)
        rdma_endpoint_abort(e, CARRICK_ERR_RESET, "a receive cannot be posted");
}

static void hello(struct carrick_endpoint *e, const uint8_t *bytes, size_t length, uint16_t buffer)
{
    struct rdma_preface partner;

    if (e->state != RDMA_ACCEPTING) {
        // After the end it is of no interest; else it is said twice.
        rdma_endpoint_abort(e, CARRICK_ERR_PROTOCOL, "HELLO out of turn");
        return;
    }
    if (!rdma_preface_get(bytes, length, RDMA_MARK_HELLO, &partner)) {
        rdma_endpoint_abort(e, CARRICK_ERR_PROTOCOL, "HELLO cannot be understood");
        return;
    }
    if (partner.mark.version != RDMA_WIRE_VERSION) {
        rdma_endpoint_abort(e, CARRICK_ERR_VERSION, "the partner speaks no version that we do");
        return;
    }
    rdma_endpoint_open(e, &partner);
    back_at_once(e, buffer);
}

static void message(struct carrick_endpoint *e, uint16_t buffer, uint32_t length)
{
    struct rdma_receives *r = &e->receives;
    const uint8_t *bytes = rdma_buffer_receive(e, buffer);
    struct rdma_header header;

    if (!rdma_header_get(bytes, length, &header)) {
        rdma_endpoint_abort(e, CARRICK_ERR_PROTOCOL, "a message cannot be understood");
        return;
    }
    e->operations.credits += header.credits;
    if (e->operations.credits > UINT16_MAX)
        e->operations.credits = UINT16_MAX; // no partner has so many
    switch ((enum rdma_message)header.message) {
    case RDMA_MESSAGE_HELLO:
        hello(e, bytes + RDMA_WIRE_HEADER_BYTES, length - RDMA_WIRE_HEADER_BYTES, buffer);
        break;
    case RDMA_MESSAGE_CREDIT:
        back_at_once(e, buffer);
        break;
    case RDMA_MESSAGE_BYE:
        e->said_bye = true;
        rdma_endpoint_hang_up(e);
        break;
    case RDMA_MESSAGE_DATA:
        if (!e->stood) {
            rdma_endpoint_abort(e, CARRICK_ERR_PROTOCOL, "a message came before HELLO");
            break;
        }
        r->lengths[buffer] = length - RDMA_WIRE_HEADER_BYTES;
        r->waiting[(r->first + r->count++) % r->depth] = buffer;
        break;
    }
    if (header.credits != 0 && e->state == RDMA_OPEN) {
        rdma_issue(e);
        e->tell_room |= e->operations.room_wanted && e->operations.credits > e->operations.unsent;
        e->operations.room_wanted &= !e->tell_room;
    }
}

static void received(struct carrick_endpoint *e, const struct ibv_wc *wc)
{
    e->receives.posted--;
    if (wc->status != IBV_WC_SUCCESS)
        failed(e, wc);
    else
        message(e, (uint16_t)(wc->wr_id & 0xffff), wc->byte_len);
}

void rdma_complete(struct carrick_device *device, const struct ibv_wc *wc, struct rdma_output *out)
{
    struct carrick_endpoint *e = endpoint_of(device, wc->wr_id);

    if (e == NULL) {
        device->stale_completions++;
        return;
    }
    if ((wc->wr_id & RDMA_WORK_RECEIVE) != 0)
        received(e, wc);
    else
        sent(e, wc);
    // A worker destroys its queue pair: what is to be told of it follows then.
    if (e->job != RDMA_JOB_DESTROY)
        rdma_endpoint_run(e, out);
    rdma_endpoint_drained(e);
}
