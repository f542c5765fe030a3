// SPDX-License-Identifier: Apache-2.0
//
// Frames in. Payload is read to where it belongs, and the next header with it in the same call: a stream of frames
// costs one call each, and no byte of theirs is moved by us. Where a small frame is expected after a pause, it is
// read whole into the stage and moved from there: that is cheaper than a call for its header and one for its
// payload. Every frame is checked before the first byte of its payload comes to where it belongs.
#include "tcp.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

enum step {
    STEP_ON,      // go on
    STEP_WAIT,    // no room for an event, or for a send: the next poll has
    STEP_STOPPED, // the endpoint is not what it was
};

static enum step end(struct carrick_endpoint *e, int status, const char *why)
{
    tcp_endpoint_abort(e, status, why);
    return STEP_STOPPED;
}

static bool waits_to_tell(struct carrick_endpoint *e, struct tcp_output *out)
{
    tcp_endpoint_tell(e, out);
    return tcp_output_full(out);
}

// ---- the begin of a frame: where its payload goes

static enum step begin_private(struct carrick_endpoint *e)
{
    e->receiver.place = e->data_in;
    e->data_in_bytes = e->receiver.frame.length;
    return STEP_ON;
}

static enum step begin_write(struct carrick_endpoint *e)
{
    struct tcp_receiver *r = &e->receiver;
    const char *why;

    if (r->frame.length == 0)
        return STEP_ON; // touches nothing, so there is nothing to check
    r->registration =
        tcp_region_find(e, &r->frame, r->frame.length, CARRICK_ACCESS_REMOTE_WRITE, &why);
    if (r->registration == NULL)
        return end(e, CARRICK_ERR_REMOTE_ACCESS, why);
    r->place = r->registration->memory + (r->frame.address - r->registration->base);
    return STEP_ON;
}

static void operations_applied(struct carrick_endpoint *e, bool acknowledge)
{
    struct tcp_receiver *r = &e->receiver;

    r->applied += tcp_wire_operations(&r->frame);
    if (acknowledge)
        e->sender.ack_due = true;
    if ((r->frame.flags & TCP_FLAG_FLUSH) || r->frame.type == TCP_FRAME_FLUSH) {
        if (!e->sender.flush_due)
            r->flush_bytes = 0;
        e->sender.ack_due = e->sender.flush_due = true;
    }
}

static enum step begin_read(struct carrick_endpoint *e)
{
    struct tcp_receiver *r = &e->receiver;
    struct tcp_answer answer = {.length = r->frame.value};
    const char *why;

    if (answer.length != 0) {
        answer.registration =
            tcp_region_find(e, &r->frame, answer.length, CARRICK_ACCESS_REMOTE_READ, &why);
        if (answer.registration == NULL)
            return end(e, CARRICK_ERR_REMOTE_ACCESS, why);
        answer.memory =
            answer.registration->memory + (r->frame.address - answer.registration->base);
    }
    tcp_answer_push(e, &answer);
    // The answer acknowledges the read.
    operations_applied(e, false);
    return STEP_ON;
}

static uint32_t arena_share(uint32_t length)
{
    return (length + TCP_ARENA_ALIGN - 1u) / TCP_ARENA_ALIGN * TCP_ARENA_ALIGN;
}

// With a new poll the sends told in the one before are over, all but the one that is coming in.
static void arena_empty(struct carrick_endpoint *e)
{
    struct tcp_receiver *r = &e->receiver;

    if (r->arena_poll == e->device->poll_count)
        return;
    r->arena_poll = e->device->poll_count;
    r->arena_used = r->arena_count = 0;
    if (!r->frame_open || r->frame.type != TCP_FRAME_SEND || r->arena == NULL)
        return;
    r->arena_used = (uint32_t)(r->message - r->arena) + arena_share(r->frame.length);
    r->arena_count = 1;
}

static enum step begin_send(struct carrick_endpoint *e)
{
    struct tcp_receiver *r = &e->receiver;
    uint32_t room = arena_share(r->frame.length);

    if (e->receive_depth == 0)
        return end(e, CARRICK_ERR_PROTOCOL, "SEND, and this side takes none");
    if (r->arena_count == e->receive_depth || room > r->arena_bytes - r->arena_used)
        return STEP_WAIT;
    r->message = r->place = r->arena != NULL ? r->arena + r->arena_used : e->data_in;
    r->arena_used += room;
    r->arena_count++;
    return STEP_ON;
}

static enum step begin_read_data(struct carrick_endpoint *e)
{
    const struct tcp_operation *op = &e->operations.ring[e->operations.read_next % TCP_POSTED_MAX];

    if (e->receiver.frame.length != 0)
        e->receiver.place = op->local + e->receiver.frame.value;
    return STEP_ON;
}

static enum step take_error(struct carrick_endpoint *e)
{
    uint64_t status = e->receiver.frame.value;
    bool known = status == CARRICK_ERR_REMOTE_ACCESS || status == CARRICK_ERR_VERSION;

    tcp_endpoint_fail(e, known ? (int)status : CARRICK_ERR_PROTOCOL);
    return STEP_STOPPED;
}

static enum step frame_begin(struct carrick_endpoint *e)
{
    switch (e->receiver.frame.type) {
    case TCP_FRAME_HELLO:
    case TCP_FRAME_WELCOME:
    case TCP_FRAME_REJECT:
        return begin_private(e);
    case TCP_FRAME_WRITE:
        return begin_write(e);
    case TCP_FRAME_READ:
        return begin_read(e);
    case TCP_FRAME_READ_DATA:
        return begin_read_data(e);
    case TCP_FRAME_SEND:
        return begin_send(e);
    case TCP_FRAME_FLUSH:
        operations_applied(e, true);
        return STEP_ON;
    case TCP_FRAME_CLOSE:
        tcp_endpoint_fail(e, CARRICK_ERR_CLOSED);
        return STEP_STOPPED;
    case TCP_FRAME_ERROR:
        return take_error(e);
    default: // ACK: the stream has taken the count
        return STEP_ON;
    }
}

// ---- the end of a frame: its payload is in place

static enum step finish_welcome(struct carrick_endpoint *e)
{
    struct tcp_hello hello;

    tcp_wire_hello_unpack(&e->receiver.frame, &hello);
    if (tcp_wire_version(&hello) == 0)
        return end(e, CARRICK_ERR_VERSION, "the partner chose a version that we do not speak");
    e->sender.partner_receive_bytes = hello.receive_bytes;
    e->state = TCP_OPEN;
    e->stood = true;
    e->deadline_ns = 0;
    e->tell_connected = true;
    return STEP_ON;
}

static enum step finish_send(struct carrick_endpoint *e, struct tcp_output *out)
{
    struct carrick_event event = {
        .type = CARRICK_EVENT_RECEIVE,
        .cookie = e->cookie,
        .endpoint = e,
        .data = e->receiver.message,
        .length = e->receiver.frame.length,
    };

    // It counts as applied only when the core has it.
    if (waits_to_tell(e, out))
        return STEP_WAIT;
    tcp_output_put(out, &event);
    operations_applied(e, true);
    return STEP_ON;
}

static enum step frame_finish(struct carrick_endpoint *e, struct tcp_output *out)
{
    struct tcp_receiver *r = &e->receiver;
    enum step step = STEP_ON;

    switch (r->frame.type) {
    case TCP_FRAME_HELLO:
        tcp_listen_hello(e);
        return STEP_STOPPED;
    case TCP_FRAME_WELCOME:
        step = finish_welcome(e);
        break;
    case TCP_FRAME_REJECT:
        tcp_endpoint_fail(e, CARRICK_ERR_REFUSED);
        return STEP_STOPPED;
    case TCP_FRAME_WRITE:
        if (r->frame.flags & TCP_FLAG_LAST)
            operations_applied(e, true);
        break;
    case TCP_FRAME_READ_DATA:
        if (r->frame.flags & TCP_FLAG_LAST)
            tcp_read_done(e);
        break;
    case TCP_FRAME_SEND:
        step = finish_send(e, out);
        break;
    default:
        break;
    }
    if (step == STEP_ON) {
        r->frame_open = false;
        r->registration = NULL;
        r->place = NULL;
    }
    return step;
}

static uint32_t stage_take(struct tcp_receiver *r, unsigned char *to, uint32_t bytes)
{
    uint32_t staged = r->stage_have - r->stage_at;

    if (bytes > staged)
        bytes = staged;
    if (bytes == 0)
        return 0;
    memcpy(to, r->stage + r->stage_at, bytes);
    r->stage_at += bytes;
    if (r->stage_at == r->stage_have)
        r->stage_at = r->stage_have = 0;
    return bytes;
}

static void stage_empty(struct carrick_endpoint *e)
{
    struct tcp_receiver *r = &e->receiver;
    uint32_t bytes;

    if (r->frame_open && r->left != 0) {
        bytes = stage_take(r, r->place, r->left);
        e->counters.copied_bytes += bytes;
        r->place += bytes;
        r->left -= bytes;
    }
    if (!r->frame_open || r->left == 0)
        r->header_have +=
            stage_take(r, r->header + r->header_have, TCP_WIRE_HEADER_BYTES - r->header_have);
}

// Works off what has been received; STEP_ON: more is needed.
static enum step advance(struct carrick_endpoint *e, struct tcp_output *out)
{
    struct tcp_receiver *r = &e->receiver;
    enum step step;
    const char *why;

    for (;;) {
        if (r->stage_have != 0)
            stage_empty(e);
        if (r->frame_open) {
            if (r->left != 0)
                return STEP_ON;
            step = frame_finish(e, out);
            if (step != STEP_ON)
                return step;
        }
        if (r->header_have < TCP_WIRE_HEADER_BYTES)
            return STEP_ON;
        // A send that has to wait for room comes by here again, and is taken into the stream once.
        if (!r->taken) {
            why = tcp_wire_decode(r->header, &r->frame);
            if (why == NULL)
                why = tcp_stream_take(&e->stream, &r->frame);
            if (why != NULL)
                return end(e, CARRICK_ERR_PROTOCOL, why);
            e->counters.receive_frames++;
            r->taken = true;
            if (r->frame.length != 0)
                r->large = r->frame.length > TCP_STAGE_PAYLOAD_BYTES;
        }
        step = frame_begin(e);
        if (step != STEP_ON)
            return step;
        r->left = r->frame.length;
        r->header_have = 0;
        r->taken = false;
        r->frame_open = true;
    }
}

static ssize_t receive_call(struct carrick_endpoint *e, const struct iovec *iov, int count)
{
    ssize_t n;

    do {
        e->counters.receive_calls++;
        n = count == 1 ? recv(e->fd, iov->iov_base, iov->iov_len, 0) : readv(e->fd, iov, count);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        e->counters.receive_bytes += (uint64_t)n;
        e->receiver.flush_bytes += (uint32_t)n;
    }
    return n;
}

// The stage is empty whenever more is needed.
static ssize_t receive_some(struct carrick_endpoint *e, size_t *wanted)
{
    struct tcp_receiver *r = &e->receiver;
    struct iovec iov[2] = {
        {r->place, r->frame_open ? r->left : 0},
        {r->header + r->header_have, TCP_WIRE_HEADER_BYTES - r->header_have},
    };
    struct iovec stage = {r->stage, TCP_STAGE_BYTES};
    ssize_t n;

    if (iov[0].iov_len == 0 && e->state == TCP_OPEN && !r->large) {
        n = receive_call(e, &stage, 1);
        r->stage_have = n > 0 ? (uint32_t)n : 0;
        *wanted = stage.iov_len;
        return n;
    }
    *wanted = iov[0].iov_len + iov[1].iov_len;
    n = iov[0].iov_len != 0 ? receive_call(e, iov, 2) : receive_call(e, &iov[1], 1);
    if (n <= 0)
        return n;
    if ((size_t)n <= iov[0].iov_len) {
        r->place += n;
        r->left -= (uint32_t)n;
    } else {
        r->header_have += (uint32_t)((size_t)n - iov[0].iov_len);
        r->left = 0;
    }
    return n;
}

static void ended(struct carrick_endpoint *e, ssize_t n)
{
    int error = n == 0 ? ECONNRESET : errno;

    if (n < 0 && error == EAGAIN && e->sender.broken == 0)
        return;
    if (e->sender.broken != 0 && (error == EAGAIN || n == 0))
        error = e->sender.broken;
    tcp_endpoint_fail_errno(e, error);
}

// A frame without payload that came alone: most likely that was all, and what it brought should not wait for
// the proof. If there is more, the descriptor tells.
static bool enough(const struct carrick_endpoint *e, const struct tcp_output *out, uint32_t before)
{
    return !e->receiver.frame_open && e->receiver.header_have == 0 &&
           (out->count != before || e->sender.flush_due);
}

void tcp_receive(struct carrick_endpoint *endpoint, struct tcp_output *out)
{
    struct carrick_endpoint *e = endpoint;
    uint32_t total = 0, before = out->count;
    bool drained = false;
    size_t wanted;
    ssize_t n;

    e->receive_more = false;
    arena_empty(e);
    for (;;) {
        enum step step = advance(e, out);
        if (step == STEP_WAIT)
            e->receive_more = true;
        if (step != STEP_ON || drained)
            return;
        if (e->state == TCP_OPEN && waits_to_tell(e, out)) {
            e->receive_more = true;
            return;
        }
        if (total != 0 && enough(e, out, before))
            return;
        if (total >= TCP_RECEIVE_BUDGET_BYTES) {
            e->receive_more = true;
            return;
        }
        if (e->sender.flush_due && e->receiver.flush_bytes >= TCP_FLUSH_PATIENCE_BYTES &&
            tcp_transmit_wanted(e))
            tcp_transmit(e);
        n = receive_some(e, &wanted);
        if (n <= 0) {
            ended(e, n);
            return;
        }
        if (e->state == TCP_OPEN)
            tcp_device_heat(e);
        total += (uint32_t)n;
        drained = (size_t)n < wanted;
    }
}
