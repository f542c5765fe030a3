// SPDX-License-Identifier: Apache-2.0
// needs plugin: tcp
//
// Any bytes as a stream of frames of the tcp transport. The first byte chooses the side; each header that
// is taken must be within the bounds that the placing code relies on, and must encode to the same bytes.

#include "transports/tcp/tcp_wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOLDS(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

static void check_frame(const struct tcp_frame *f, const unsigned char *bytes)
{
    unsigned char again[TCP_WIRE_HEADER_BYTES];

    tcp_wire_encode(f, again);
    HOLDS(memcmp(again, bytes, sizeof again) == 0);
    HOLDS(f->length <= TCP_WIRE_PAYLOAD_MAX);
    if (f->type <= TCP_FRAME_REJECT)
        HOLDS(f->length <= TCP_WIRE_PRIVATE_MAX);
    if (f->type == TCP_FRAME_WRITE) {
        HOLDS(f->address + f->length >= f->address);
        HOLDS(f->value + f->length <= TCP_WIRE_MESSAGE_MAX);
    }
    if (f->type == TCP_FRAME_READ) {
        HOLDS(f->length == 0 && f->value <= TCP_WIRE_MESSAGE_MAX);
        HOLDS(f->address + f->value >= f->address);
    }
    HOLDS(tcp_wire_operations(f) <= 2);
}

// This side's part: it posts, answers, and moves on to its next read.
static void act(struct tcp_stream *s, uint8_t seed)
{
    if (s->phase == TCP_PHASE_MUTE)
        tcp_stream_init(s, TCP_PHASE_OPEN, 4096);
    s->sent += seed & 3;
    if (s->answers_due != 0 && (seed & 4))
        s->answers_due--;
    if (!s->reading && (seed & 8))
        tcp_stream_expect(s, (uint64_t)seed << 9);
}

static void check_stream(const struct tcp_stream *s, const struct tcp_frame *f)
{
    HOLDS(s->answers_due <= TCP_WIRE_READS_MAX);
    HOLDS(s->acked <= s->sent);
    HOLDS(!s->reading || s->read_offset <= s->read_length);
    if (f->type == TCP_FRAME_READ_DATA)
        HOLDS(f->value + f->length <= s->read_length);
    if (f->type == TCP_FRAME_SEND)
        HOLDS(f->length <= s->receive_bytes);
    if (f->type == TCP_FRAME_WRITE)
        HOLDS(s->write_open == !(f->flags & TCP_FLAG_LAST));
    else if (tcp_wire_operations(f) != 0)
        HOLDS(!s->write_open);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tcp_stream stream;
    struct tcp_frame frame;
    struct tcp_hello hello;
    unsigned char header[TCP_WIRE_HEADER_BYTES];
    static const enum tcp_phase first[] = {TCP_PHASE_HELLO, TCP_PHASE_REPLY, TCP_PHASE_OPEN};

    if (size < 1)
        return 0;
    tcp_stream_init(&stream, first[data[0] % 3], 4096);
    for (size_t at = 1; at + sizeof header + 1 <= size; at += sizeof header + 1) {
        memcpy(header, data + at + 1, sizeof header);
        act(&stream, data[at]);
        if (tcp_wire_decode(header, &frame) != NULL)
            return 0;
        check_frame(&frame, header);
        if (frame.type == TCP_FRAME_HELLO || frame.type == TCP_FRAME_WELCOME) {
            tcp_wire_hello_unpack(&frame, &hello);
            HOLDS(tcp_wire_version(&hello) <= TCP_WIRE_VERSION_MAX);
        }
        if (tcp_stream_take(&stream, &frame) != NULL)
            return 0;
        check_stream(&stream, &frame);
    }
    return 0;
}
