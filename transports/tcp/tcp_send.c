// SPDX-License-Identifier: Apache-2.0
//
// Frames out. A batch is the frames of one sendmsg: headers of the endpoint's own, payload straight from where it
// lies. What the socket does not take stays in the batch and goes first when it takes more; a batch is bounded,
// so that acknowledgements, answers and operations, which are picked in turn, do not wait long for each other.
#include "tcp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>

static void batch_add(struct carrick_endpoint *e, const struct tcp_frame *frame, void *payload,
                      struct carrick_registration *source)
{
    struct tcp_batch *b = &e->sender.batch;
    unsigned char *header = b->headers[b->frames];

    tcp_wire_encode(frame, header);
    b->source[b->frames++] = source;
    b->iov[b->iov_count++] = (struct iovec){.iov_base = header, .iov_len = TCP_WIRE_HEADER_BYTES};
    if (frame->length != 0)
        b->iov[b->iov_count++] = (struct iovec){.iov_base = payload, .iov_len = frame->length};
    e->counters.send_frames++;
}

void tcp_send_frame(struct carrick_endpoint *endpoint, const struct tcp_frame *frame, void *payload)
{
    batch_add(endpoint, frame, payload, NULL);
}

// A flush right behind an operation costs no frame: the operation's last frame stands for it.
static bool take_flush(struct carrick_endpoint *e)
{
    struct tcp_operations *o = &e->operations;

    if (e->stream.sent == o->posted ||
        o->ring[e->stream.sent % TCP_POSTED_MAX].kind != CARRICK_OP_FLUSH)
        return false;
    e->stream.sent++;
    return true;
}

// Answers come in the order of the reads: says to the stream which is the next.
static void expect_read(struct carrick_endpoint *e)
{
    struct tcp_operations *o = &e->operations;

    if (o->read_next < o->told)
        o->read_next = o->told;
    for (; o->read_next < e->stream.sent; o->read_next++) {
        const struct tcp_operation *op = &o->ring[o->read_next % TCP_POSTED_MAX];
        if (op->kind == CARRICK_OP_READ) {
            tcp_stream_expect(&e->stream, op->length);
            return;
        }
    }
}

void tcp_read_done(struct carrick_endpoint *endpoint)
{
    struct tcp_operations *o = &endpoint->operations;
    uint64_t number = o->read_next++;

    o->ring[number % TCP_POSTED_MAX].done = true;
    o->reads--;
    // The partner answered it after all that was posted before it.
    if (endpoint->stream.acked <= number)
        endpoint->stream.acked = number + 1;
    expect_read(endpoint);
}

static bool operations_wait(const struct carrick_endpoint *e)
{
    return (e->state == TCP_OPEN || e->state == TCP_LINGERING) &&
           e->stream.sent != e->operations.posted;
}

// Long frames cost the target less; where both kinds wait, neither should wait long for the other. What is long is
// cut where the batch ends.
static uint32_t frame_bytes(const struct carrick_endpoint *e, uint64_t left, uint32_t room)
{
    bool shared = operations_wait(e) && e->stream.answers_due != 0;
    uint32_t max = shared && room > TCP_SHARED_FRAME_BYTES ? TCP_SHARED_FRAME_BYTES : room;

    if (left <= TCP_SHARED_FRAME_BYTES || left <= max + TCP_FRAME_WORTH_BYTES)
        return (uint32_t)left;
    return max;
}

static uint32_t add_operation_frame(struct carrick_endpoint *e, uint32_t room)
{
    struct tcp_operations *o = &e->operations;
    const struct tcp_operation *op = &o->ring[e->stream.sent % TCP_POSTED_MAX];
    struct tcp_frame frame = {.flags = TCP_FLAG_LAST};
    uint64_t left = op->length - o->sent_offset;
    unsigned char *payload = op->length != 0 ? op->local + o->sent_offset : NULL;

    switch (op->kind) {
    case CARRICK_OP_WRITE:
        frame.type = TCP_FRAME_WRITE;
        frame.address = op->remote + o->sent_offset;
        frame.value = o->sent_offset;
        frame.key = op->key;
        frame.length = frame_bytes(e, left, room);
        if (left > frame.length)
            frame.flags = 0;
        break;
    case CARRICK_OP_READ:
        frame.type = TCP_FRAME_READ;
        frame.address = op->remote;
        frame.value = op->length;
        frame.key = op->key;
        break;
    case CARRICK_OP_SEND:
        frame.type = TCP_FRAME_SEND;
        frame.length = (uint32_t)op->length;
        break;
    default:
        frame.type = TCP_FRAME_FLUSH;
        break;
    }
    if (frame.flags & TCP_FLAG_LAST) {
        o->sent_offset = 0;
        e->stream.sent++;
        if (take_flush(e))
            frame.flags |= TCP_FLAG_FLUSH;
        if (frame.type == TCP_FRAME_READ && !e->stream.reading)
            expect_read(e);
    } else {
        o->sent_offset += frame.length;
    }
    batch_add(e, &frame, payload, NULL);
    return TCP_WIRE_HEADER_BYTES + frame.length;
}

void tcp_answer_push(struct carrick_endpoint *endpoint, const struct tcp_answer *answer)
{
    struct carrick_endpoint *e = endpoint;

    // The stream has counted it already, and refused it if there are too many.
    e->sender.answers[(e->sender.answer_first + e->stream.answers_due - 1) % TCP_WIRE_READS_MAX] =
        *answer;
}

static uint32_t add_answer_frame(struct carrick_endpoint *e, uint32_t room)
{
    struct tcp_answer *a = &e->sender.answers[e->sender.answer_first];
    struct tcp_frame frame = {.type = TCP_FRAME_READ_DATA, .value = a->offset};
    struct carrick_registration *source = a->registration;
    unsigned char *payload = a->length != 0 ? a->memory + a->offset : NULL;
    uint64_t left = a->length - a->offset;

    frame.length = frame_bytes(e, left, room);
    a->offset += frame.length;
    if (a->offset == a->length) {
        frame.flags = TCP_FLAG_LAST;
        e->sender.answer_first = (e->sender.answer_first + 1) % TCP_WIRE_READS_MAX;
        e->stream.answers_due--;
    }
    batch_add(e, &frame, payload, source);
    return TCP_WIRE_HEADER_BYTES + frame.length;
}

static bool close_waits(const struct carrick_endpoint *e)
{
    return e->state == TCP_LINGERING && !e->sender.close_queued;
}

bool tcp_transmit_wanted(const struct carrick_endpoint *endpoint)
{
    const struct carrick_endpoint *e = endpoint;

    if (e->fd < 0 || e->sender.blocked || e->sender.broken != 0)
        return false;
    return e->sender.batch.frames != 0 || e->sender.ack_due || e->stream.answers_due != 0 ||
           operations_wait(e) || close_waits(e);
}

// A batch that ends where a segment ends leaves none half empty. That counts where segments are long, and a batch
// is but a few of them. They grow when a connection begins to be used.
static void batch_measure(struct carrick_endpoint *e)
{
    int segment = 0;
    socklen_t length = sizeof segment;

    e->sender.batch_bytes = TCP_SEND_BUDGET_BYTES;
    if (getsockopt(e->fd, IPPROTO_TCP, TCP_MAXSEG, &segment, &length) == 0 &&
        segment >= TCP_SEGMENT_LONG_BYTES && segment <= TCP_SEND_BUDGET_BYTES)
        e->sender.batch_bytes = TCP_SEND_BUDGET_BYTES / (uint32_t)segment * (uint32_t)segment;
}

// What is left of the batch for the payload of another frame, 0: not worth one.
static uint32_t batch_room(const struct carrick_endpoint *e, uint32_t bytes)
{
    if (e->sender.batch.frames == TCP_BATCH_FRAMES ||
        bytes + TCP_WIRE_HEADER_BYTES + TCP_FRAME_WORTH_BYTES > e->sender.batch_bytes)
        return 0;
    return e->sender.batch_bytes - bytes - TCP_WIRE_HEADER_BYTES;
}

static void batch_fill(struct carrick_endpoint *e)
{
    struct tcp_batch *b = &e->sender.batch;
    uint32_t bytes = 0, room;

    if (e->sender.ack_due) {
        struct tcp_frame ack = {.type = TCP_FRAME_ACK, .value = e->receiver.applied};
        e->sender.ack_due = e->sender.flush_due = false;
        batch_add(e, &ack, NULL, NULL);
        bytes = TCP_WIRE_HEADER_BYTES;
    }
    while ((room = batch_room(e, bytes)) != 0) {
        bool operation = operations_wait(e), answer = e->stream.answers_due != 0;
        if (operation)
            bytes += add_operation_frame(e, room);
        if (answer && (room = batch_room(e, bytes)) != 0)
            bytes += add_answer_frame(e, room);
        if (!operation && !answer)
            break;
    }
    if (room == 0 && e->sender.full_batches++ % TCP_BATCHES_PER_MEASURE == 0)
        batch_measure(e);
    if (close_waits(e) && !operations_wait(e) && b->frames < TCP_BATCH_FRAMES) {
        struct tcp_frame end = {.type = TCP_FRAME_CLOSE};
        e->sender.close_queued = true;
        batch_add(e, &end, NULL, NULL);
    }
}

// Takes what went out off the batch; true when all of it did.
static bool batch_advance(struct tcp_batch *b, size_t sent)
{
    while (b->iov_first < b->iov_count && sent >= b->iov[b->iov_first].iov_len)
        sent -= b->iov[b->iov_first++].iov_len;
    if (b->iov_first == b->iov_count) {
        b->frames = b->iov_first = b->iov_count = 0;
        return true;
    }
    b->iov[b->iov_first].iov_base = (unsigned char *)b->iov[b->iov_first].iov_base + sent;
    b->iov[b->iov_first].iov_len -= sent;
    return false;
}

static ssize_t batch_send(struct carrick_endpoint *e)
{
    struct tcp_batch *b = &e->sender.batch;
    struct iovec *first = &b->iov[b->iov_first];
    struct msghdr message = {.msg_iov = first, .msg_iovlen = b->iov_count - b->iov_first};
    ssize_t n;

    do {
        e->counters.send_calls++;
        n = message.msg_iovlen == 1 ? send(e->fd, first->iov_base, first->iov_len, MSG_NOSIGNAL)
                                    : sendmsg(e->fd, &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n;
}

static void block(struct carrick_endpoint *e)
{
    e->sender.blocked = true;
    if (!e->sender.watching)
        tcp_endpoint_watch(e, EPOLLIN | EPOLLOUT);
}

// The partner may have said why it ended the connection: that is read before the connection is given up.
static void broken(struct carrick_endpoint *e, int error)
{
    e->sender.broken = error;
    e->sender.batch.frames = e->sender.batch.iov_first = e->sender.batch.iov_count = 0;
    e->receive_more = e->state != TCP_LINGERING;
    tcp_endpoint_ready(e);
}

void tcp_transmit(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;
    size_t total = 0;
    ssize_t n;

    while (tcp_transmit_wanted(e) && total < e->sender.batch_bytes) {
        if (e->sender.batch.frames == 0)
            batch_fill(e);
        n = batch_send(e);
        if (n < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM) {
            broken(e, errno);
            return;
        }
        if (n > 0) {
            total += (size_t)n;
            e->counters.send_bytes += (size_t)n;
        }
        if (n < 0 || !batch_advance(&e->sender.batch, (size_t)n)) {
            block(e);
            return;
        }
    }
}

static int check_work(const struct carrick_endpoint *e, const struct carrick_work *w)
{
    if (w->length != 0 && w->local == NULL)
        return CARRICK_ERR_INVALID;
    switch (w->operation) {
    case CARRICK_OP_WRITE:
    case CARRICK_OP_READ:
        return w->length <= TCP_WIRE_MESSAGE_MAX && w->length <= UINT64_MAX - w->remote
                   ? CARRICK_OK
                   : CARRICK_ERR_INVALID;
    case CARRICK_OP_SEND:
        return w->length <= TCP_WIRE_SEND_MAX && w->length <= e->sender.partner_receive_bytes
                   ? CARRICK_OK
                   : CARRICK_ERR_INVALID;
    case CARRICK_OP_FLUSH:
        return CARRICK_OK;
    default:
        return CARRICK_ERR_NOT_SUPPORTED;
    }
}

static int check_post(const struct carrick_endpoint *e, const struct carrick_work *work,
                      uint32_t count)
{
    uint32_t reads = e->operations.reads;

    // Between the loss and its event a caller cannot know of it: what it posts then just does not complete.
    if (e->state != TCP_OPEN || e->tell_connected)
        return e->state == TCP_LOST && e->tell_disconnected && e->stood ? CARRICK_OK
                                                                        : CARRICK_ERR_STATE;
    if (count > TCP_POSTED_MAX - (e->operations.posted - e->operations.told))
        return CARRICK_ERR_AGAIN;
    for (uint32_t i = 0; i < count; i++) {
        const struct carrick_work *w = carrick_work_at(work, i);
        int status = check_work(e, w);
        if (status != CARRICK_OK)
            return status;
        reads += w->operation == CARRICK_OP_READ;
    }
    return reads > TCP_WIRE_READS_MAX ? CARRICK_ERR_AGAIN : CARRICK_OK;
}

int tcp_post(struct carrick_endpoint *endpoint, const struct carrick_work *work, uint32_t count)
{
    struct carrick_endpoint *e = endpoint;
    bool idle = !tcp_transmit_wanted(e);
    int status = check_post(e, work, count);

    if (status != CARRICK_OK || e->state != TCP_OPEN)
        return status;
    for (uint32_t i = 0; i < count; i++) {
        const struct carrick_work *w = carrick_work_at(work, i);
        e->operations.ring[e->operations.posted++ % TCP_POSTED_MAX] = (struct tcp_operation){
            .cookie = w->cookie,
            .local = w->local,
            .length = w->operation == CARRICK_OP_FLUSH ? 0 : w->length,
            .remote = w->remote,
            .key = w->key,
            .kind = (uint8_t)w->operation,
        };
        e->operations.reads += w->operation == CARRICK_OP_READ;
    }
    // At once when nothing waits; else behind what waits, a share at a time, from device_poll.
    if (idle && !e->sender.blocked)
        tcp_transmit(e);
    if (tcp_transmit_wanted(e))
        tcp_endpoint_ready(e);
    return CARRICK_OK;
}
