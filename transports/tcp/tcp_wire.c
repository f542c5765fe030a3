// SPDX-License-Identifier: Apache-2.0
#include "tcp_wire.h"
#include "common/bytes.h"

#include <carrick/types.h>

#include <stddef.h>
#include <string.h>

// Every header begins with this, so that a stream that got out of step is noticed at the next frame.
#define FRAME_MAGIC 0x4b43u // "CK"
// The address of HELLO and WELCOME: "CARRICK" and a NUL, so that a stranger is known by his first bytes.
#define HELLO_MAGIC UINT64_C(0x004b434952524143)

enum {
    AT_MAGIC = 0,
    AT_TYPE = 2,
    AT_FLAGS = 3,
    AT_LENGTH = 4,
    AT_ADDRESS = 8,
    AT_VALUE = 16,
    AT_KEY = 24,
    AT_RESERVED = 28,
};

// Which fields a type uses; all others must be zero, so that a later version can give them a meaning.
struct shape {
    const char *length_rule;
    uint32_t length_max;
    uint8_t flags_allowed;
    uint8_t flags_wanted;
    bool address;
    bool value;
    bool key;
};

static const struct shape shapes[TCP_FRAME_TYPE_COUNT] = {
    [TCP_FRAME_HELLO] = {"HELLO: private data too long", TCP_WIRE_PRIVATE_MAX, 0, 0, true, true,
                         false},
    [TCP_FRAME_WELCOME] = {"WELCOME: private data too long", TCP_WIRE_PRIVATE_MAX, 0, 0, true, true,
                           false},
    [TCP_FRAME_REJECT] = {"REJECT: private data too long", TCP_WIRE_PRIVATE_MAX, 0, 0, false, false,
                          false},
    [TCP_FRAME_WRITE] = {"WRITE: frame too long", TCP_WIRE_PAYLOAD_MAX,
                         TCP_FLAG_LAST | TCP_FLAG_FLUSH, 0, true, true, true},
    [TCP_FRAME_READ] = {"READ: payload where none may be", 0, TCP_FLAG_LAST | TCP_FLAG_FLUSH,
                        TCP_FLAG_LAST, true, true, true},
    [TCP_FRAME_READ_DATA] = {"READ_DATA: frame too long", TCP_WIRE_PAYLOAD_MAX, TCP_FLAG_LAST, 0,
                             false, true, false},
    [TCP_FRAME_SEND] = {"SEND: frame too long", TCP_WIRE_SEND_MAX, TCP_FLAG_LAST | TCP_FLAG_FLUSH,
                        TCP_FLAG_LAST, false, false, false},
    [TCP_FRAME_FLUSH] = {"FLUSH: payload where none may be", 0, TCP_FLAG_LAST | TCP_FLAG_FLUSH,
                         TCP_FLAG_LAST, false, false, false},
    [TCP_FRAME_ACK] = {"ACK: payload where none may be", 0, 0, 0, false, true, false},
    [TCP_FRAME_CLOSE] = {"CLOSE: payload where none may be", 0, 0, 0, false, false, false},
    [TCP_FRAME_ERROR] = {"ERROR: payload where none may be", 0, 0, 0, false, true, false},
};

void tcp_wire_encode(const struct tcp_frame *frame, unsigned char bytes[TCP_WIRE_HEADER_BYTES])
{
    put_u16(bytes + AT_MAGIC, FRAME_MAGIC);
    bytes[AT_TYPE] = frame->type;
    bytes[AT_FLAGS] = frame->flags;
    put_u32(bytes + AT_LENGTH, frame->length);
    put_u64(bytes + AT_ADDRESS, frame->address);
    put_u64(bytes + AT_VALUE, frame->value);
    put_u32(bytes + AT_KEY, frame->key);
    put_u32(bytes + AT_RESERVED, 0);
}

static const char *check_extent(const struct tcp_frame *f, uint64_t offset, uint64_t length)
{
    if (offset > TCP_WIRE_MESSAGE_MAX || length > TCP_WIRE_MESSAGE_MAX - offset)
        return "operation longer than the longest allowed";
    if (length > UINT64_MAX - f->address)
        return "address and length wrap round";
    return NULL;
}

static const char *check_type(const struct tcp_frame *f)
{
    struct tcp_hello hello;

    switch (f->type) {
    case TCP_FRAME_HELLO:
    case TCP_FRAME_WELCOME:
        if (f->address != HELLO_MAGIC)
            return "not a Carrick partner: wrong magic in its greeting";
        tcp_wire_hello_unpack(f, &hello);
        if (hello.version_min == 0 || hello.version_min > hello.version_max)
            return "version range is empty";
        if (f->type == TCP_FRAME_WELCOME && hello.version_min != hello.version_max)
            return "WELCOME names more than one version";
        return NULL;
    case TCP_FRAME_WRITE:
    case TCP_FRAME_READ_DATA:
        if (!(f->flags & TCP_FLAG_LAST) && f->length == 0)
            return "empty frame in the middle of an operation";
        if ((f->flags & TCP_FLAG_FLUSH) && !(f->flags & TCP_FLAG_LAST))
            return "flush before the end of the operation that carries it";
        return check_extent(f, f->value, f->length);
    case TCP_FRAME_READ:
        return check_extent(f, 0, f->value);
    default:
        return NULL;
    }
}

const char *tcp_wire_decode(const unsigned char bytes[TCP_WIRE_HEADER_BYTES],
                            struct tcp_frame *frame)
{
    const struct shape *shape;

    if (get_u16(bytes + AT_MAGIC) != FRAME_MAGIC)
        return "frame does not begin with the magic";
    frame->type = bytes[AT_TYPE];
    frame->flags = bytes[AT_FLAGS];
    frame->length = get_u32(bytes + AT_LENGTH);
    frame->address = get_u64(bytes + AT_ADDRESS);
    frame->value = get_u64(bytes + AT_VALUE);
    frame->key = get_u32(bytes + AT_KEY);

    if (frame->type == 0 || frame->type >= TCP_FRAME_TYPE_COUNT)
        return "unknown type of frame";
    shape = &shapes[frame->type];
    if (frame->length > shape->length_max)
        return shape->length_rule;
    if ((frame->flags & ~shape->flags_allowed) != 0)
        return "flag that the type of frame does not have";
    if ((frame->flags & shape->flags_wanted) != shape->flags_wanted)
        return "flag missing";
    if ((!shape->address && frame->address != 0) || (!shape->value && frame->value != 0) ||
        (!shape->key && frame->key != 0) || get_u32(bytes + AT_RESERVED) != 0)
        return "unused field is not zero";
    return check_type(frame);
}

void tcp_wire_hello_pack(const struct tcp_hello *hello, uint8_t type, uint32_t private_bytes,
                         struct tcp_frame *frame)
{
    *frame = (struct tcp_frame){
        .type = type,
        .length = private_bytes,
        .address = HELLO_MAGIC,
        .value = (uint64_t)hello->version_min | (uint64_t)hello->version_max << 16 |
                 (uint64_t)hello->receive_bytes << 32,
    };
}

void tcp_wire_hello_unpack(const struct tcp_frame *frame, struct tcp_hello *hello)
{
    hello->version_min = (uint16_t)frame->value;
    hello->version_max = (uint16_t)(frame->value >> 16);
    hello->receive_bytes = (uint32_t)(frame->value >> 32);
}

uint16_t tcp_wire_version(const struct tcp_hello *partner)
{
    uint16_t version = partner->version_max < TCP_WIRE_VERSION_MAX ? partner->version_max
                                                                   : (uint16_t)TCP_WIRE_VERSION_MAX;

    return version >= TCP_WIRE_VERSION_MIN && version >= partner->version_min ? version : 0;
}

void tcp_stream_init(struct tcp_stream *stream, enum tcp_phase phase, uint32_t receive_bytes)
{
    *stream = (struct tcp_stream){.phase = phase, .receive_bytes = receive_bytes};
}

void tcp_stream_expect(struct tcp_stream *stream, uint64_t read_length)
{
    stream->reading = true;
    stream->read_length = read_length;
    stream->read_offset = 0;
}

uint32_t tcp_wire_operations(const struct tcp_frame *frame)
{
    bool operation = frame->type == TCP_FRAME_WRITE || frame->type == TCP_FRAME_READ ||
                     frame->type == TCP_FRAME_SEND || frame->type == TCP_FRAME_FLUSH;

    if (!operation || !(frame->flags & TCP_FLAG_LAST))
        return 0;
    return frame->flags & TCP_FLAG_FLUSH ? 2 : 1;
}

static const char *take_write(struct tcp_stream *s, const struct tcp_frame *f)
{
    if (s->write_open) {
        if (f->value != s->write_offset || f->address != s->write_address || f->key != s->write_key)
            return "WRITE does not continue where the one before it ended";
    } else if (f->value != 0) {
        return "WRITE does not begin at its beginning";
    }
    s->write_open = !(f->flags & TCP_FLAG_LAST);
    s->write_key = f->key;
    s->write_address = f->address + f->length;
    s->write_offset = f->value + f->length;
    return NULL;
}

static const char *take_read_data(struct tcp_stream *s, const struct tcp_frame *f)
{
    uint64_t left = s->read_length - s->read_offset;

    if (!s->reading)
        return "READ_DATA, and no read asks for it";
    if (f->value != s->read_offset || f->length > left)
        return "READ_DATA does not continue where the one before it ended";
    if ((f->length == left) != ((f->flags & TCP_FLAG_LAST) != 0))
        return "READ_DATA ends before or after its read";
    s->read_offset += f->length;
    s->reading = !(f->flags & TCP_FLAG_LAST);
    return NULL;
}

static const char *take_open(struct tcp_stream *s, const struct tcp_frame *f)
{
    if (s->write_open && f->type != TCP_FRAME_WRITE && tcp_wire_operations(f) != 0)
        return "operation in the middle of a WRITE";
    switch (f->type) {
    case TCP_FRAME_WRITE:
        return take_write(s, f);
    case TCP_FRAME_READ:
        if (s->answers_due >= TCP_WIRE_READS_MAX)
            return "more reads at once than allowed";
        s->answers_due++;
        return NULL;
    case TCP_FRAME_READ_DATA:
        return take_read_data(s, f);
    case TCP_FRAME_SEND:
        return f->length > s->receive_bytes ? "SEND longer than this side takes" : NULL;
    case TCP_FRAME_FLUSH:
        return NULL;
    case TCP_FRAME_ACK:
        if (f->value > s->sent)
            return "ACK of what was never sent";
        // A read's answer acknowledges what came before it and may overtake the ACK.
        if (f->value > s->acked)
            s->acked = f->value;
        return NULL;
    case TCP_FRAME_CLOSE:
    case TCP_FRAME_ERROR:
        s->phase = TCP_PHASE_ENDED;
        return NULL;
    default:
        return "greeting on a connection that stands";
    }
}

const char *tcp_stream_take(struct tcp_stream *stream, const struct tcp_frame *frame)
{
    switch (stream->phase) {
    case TCP_PHASE_HELLO:
        if (frame->type != TCP_FRAME_HELLO)
            return "the first frame is not HELLO";
        stream->phase = TCP_PHASE_MUTE;
        return NULL;
    case TCP_PHASE_REPLY:
        if (frame->type == TCP_FRAME_WELCOME)
            stream->phase = TCP_PHASE_OPEN;
        else if (frame->type == TCP_FRAME_REJECT || frame->type == TCP_FRAME_ERROR)
            stream->phase = TCP_PHASE_ENDED;
        else
            return "the answer to HELLO is none";
        return NULL;
    case TCP_PHASE_OPEN:
        return take_open(stream, frame);
    case TCP_PHASE_MUTE:
        return "frame before HELLO was answered";
    case TCP_PHASE_ENDED:
    default:
        return "frame after the end of the connection";
    }
}
