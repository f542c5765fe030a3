// SPDX-License-Identifier: Apache-2.0
// needs plugin: tcp
//
// The frames of the tcp transport: each field in its place, each rule refused by name, and which frame may
// follow which.
#include <criterion/criterion.h>

#include "transports/tcp/tcp_wire.h"

#include <carrick/types.h>

#include <string.h>

static struct tcp_frame write_frame(uint64_t address, uint64_t offset, uint32_t length,
                                    uint8_t flags)
{
    return (struct tcp_frame){.type = TCP_FRAME_WRITE,
                              .flags = flags,
                              .length = length,
                              .address = address,
                              .value = offset,
                              .key = 7};
}

static struct tcp_frame simple(uint8_t type, uint64_t value)
{
    bool operation = type == TCP_FRAME_FLUSH || type == TCP_FRAME_READ || type == TCP_FRAME_SEND;

    return (struct tcp_frame){.type = type, .flags = operation ? TCP_FLAG_LAST : 0, .value = value};
}

static const char *decode(const struct tcp_frame *frame)
{
    unsigned char bytes[TCP_WIRE_HEADER_BYTES];
    struct tcp_frame back;

    tcp_wire_encode(frame, bytes);
    return tcp_wire_decode(bytes, &back);
}

static void refused(const struct tcp_frame *frame, const char *part)
{
    const char *why = decode(frame);

    cr_assert_not_null(why, "taken, and should be refused: %s", part);
    cr_assert_not_null(strstr(why, part), "refused for \"%s\", not for \"%s\"", why, part);
}

static void taken(struct tcp_stream *stream, struct tcp_frame frame)
{
    const char *why = decode(&frame);

    if (why == NULL)
        why = tcp_stream_take(stream, &frame);
    cr_assert_null(why, "refused: %s", why);
}

static void broken(struct tcp_stream *stream, struct tcp_frame frame, const char *part)
{
    const char *why;

    cr_assert_null(decode(&frame));
    why = tcp_stream_take(stream, &frame);
    cr_assert_not_null(why, "taken, and should be refused: %s", part);
    cr_assert_not_null(strstr(why, part), "refused for \"%s\", not for \"%s\"", why, part);
}

static struct tcp_stream open_stream(void)
{
    struct tcp_stream stream;

    tcp_stream_init(&stream, TCP_PHASE_OPEN, 4096);
    return stream;
}

// ---- one header

Test(tcp_wire, bytes_are_where_the_document_says)
{
    static const unsigned char wanted[TCP_WIRE_HEADER_BYTES] = {
        'C',  'K',  4,    3,    0x00, 0x10, 0x00, 0x00, // magic, type, flags, length 4096
        0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // address
        0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, // value 65536
        0xd4, 0xc3, 0xb2, 0xa1, 0x00, 0x00, 0x00, 0x00, // key, reserved
    };
    struct tcp_frame frame = {.type = TCP_FRAME_WRITE,
                              .flags = TCP_FLAG_LAST | TCP_FLAG_FLUSH,
                              .length = 4096,
                              .address = UINT64_C(0x1122334455667788),
                              .value = 65536,
                              .key = 0xa1b2c3d4};
    unsigned char bytes[TCP_WIRE_HEADER_BYTES];
    struct tcp_frame back;

    tcp_wire_encode(&frame, bytes);
    cr_assert_arr_eq(bytes, wanted, sizeof wanted);
    cr_assert_null(tcp_wire_decode(bytes, &back));
    cr_assert_eq(back.type, frame.type);
    cr_assert_eq(back.flags, frame.flags);
    cr_assert_eq(back.length, frame.length);
    cr_assert_eq(back.address, frame.address);
    cr_assert_eq(back.value, frame.value);
    cr_assert_eq(back.key, frame.key);
}

Test(tcp_wire, greeting_begins_with_a_name)
{
    struct tcp_hello hello = {1, 3, 65504}, back;
    struct tcp_frame frame;
    unsigned char bytes[TCP_WIRE_HEADER_BYTES];

    tcp_wire_hello_pack(&hello, TCP_FRAME_HELLO, 56, &frame);
    tcp_wire_encode(&frame, bytes);
    cr_assert_arr_eq(bytes + 8, "CARRICK", 8);
    cr_assert_null(tcp_wire_decode(bytes, &frame));
    tcp_wire_hello_unpack(&frame, &back);
    cr_assert_eq(back.version_min, 1);
    cr_assert_eq(back.version_max, 3);
    cr_assert_eq(back.receive_bytes, 65504);
    cr_assert_eq(frame.length, 56);
}

Test(tcp_wire, headers_that_are_none)
{
    unsigned char bytes[TCP_WIRE_HEADER_BYTES];
    struct tcp_frame frame = simple(TCP_FRAME_FLUSH, 0), back;

    tcp_wire_encode(&frame, bytes);
    cr_assert_null(tcp_wire_decode(bytes, &back));
    bytes[0] ^= 1;
    cr_assert_not_null(strstr(tcp_wire_decode(bytes, &back), "magic"));
    bytes[0] ^= 1;
    bytes[28] = 1;
    cr_assert_not_null(strstr(tcp_wire_decode(bytes, &back), "not zero"));
    bytes[28] = 0;
    for (int type = TCP_FRAME_TYPE_COUNT; type < 256; type++) {
        bytes[2] = (unsigned char)type;
        cr_assert_not_null(strstr(tcp_wire_decode(bytes, &back), "unknown type"));
    }
    bytes[2] = 0;
    cr_assert_not_null(strstr(tcp_wire_decode(bytes, &back), "unknown type"));
}

Test(tcp_wire, lengths_are_bounded)
{
    struct tcp_frame f = write_frame(0, 0, TCP_WIRE_PAYLOAD_MAX, TCP_FLAG_LAST);

    cr_assert_null(decode(&f));
    f.length++;
    refused(&f, "WRITE: frame too long");
    f.length = UINT32_MAX;
    refused(&f, "WRITE: frame too long");

    f = simple(TCP_FRAME_SEND, 0);
    f.length = TCP_WIRE_SEND_MAX;
    cr_assert_null(decode(&f));
    f.length++;
    refused(&f, "SEND: frame too long");

    f = simple(TCP_FRAME_REJECT, 0);
    f.length = TCP_WIRE_PRIVATE_MAX;
    cr_assert_null(decode(&f));
    f.length++;
    refused(&f, "REJECT: private data");

    for (uint8_t type = TCP_FRAME_FLUSH; type <= TCP_FRAME_ERROR; type++) {
        f = simple(type, 0);
        cr_assert_null(decode(&f));
        f.length = 1;
        refused(&f, "payload where none may be");
    }
}

Test(tcp_wire, fields_of_other_types_must_be_zero)
{
    struct tcp_frame f = simple(TCP_FRAME_ACK, 5);

    f.key = 1;
    refused(&f, "not zero");
    f = simple(TCP_FRAME_ACK, 5);
    f.address = 1;
    refused(&f, "not zero");
    f = simple(TCP_FRAME_SEND, 1);
    refused(&f, "not zero");
    f = simple(TCP_FRAME_CLOSE, 1);
    refused(&f, "not zero");
}

Test(tcp_wire, flags_belong_to_types)
{
    struct tcp_frame f = simple(TCP_FRAME_ACK, 5);

    f.flags = TCP_FLAG_LAST;
    refused(&f, "flag that the type");
    f = simple(TCP_FRAME_SEND, 0);
    f.flags = 0;
    refused(&f, "flag missing");
    f = simple(TCP_FRAME_FLUSH, 0);
    f.flags |= 4;
    refused(&f, "flag that the type");
    f = write_frame(0, 0, 10, TCP_FLAG_FLUSH);
    refused(&f, "flush before the end");
}

Test(tcp_wire, extents_do_not_wrap)
{
    struct tcp_frame f = write_frame(UINT64_MAX - 10, 0, 10, TCP_FLAG_LAST);

    cr_assert_null(decode(&f));
    f.length = 11;
    refused(&f, "wrap round");

    f = simple(TCP_FRAME_READ, TCP_WIRE_MESSAGE_MAX);
    cr_assert_null(decode(&f));
    f.value++;
    refused(&f, "longer than the longest");
    f = simple(TCP_FRAME_READ, 2);
    f.address = UINT64_MAX - 1;
    refused(&f, "wrap round");

    f = write_frame(0, TCP_WIRE_MESSAGE_MAX - 1, 2, TCP_FLAG_LAST);
    refused(&f, "longer than the longest");
    f = write_frame(0, UINT64_MAX, 2, TCP_FLAG_LAST);
    refused(&f, "longer than the longest");
    f = write_frame(0, 0, 0, 0);
    refused(&f, "empty frame");
}

Test(tcp_wire, greetings_and_versions)
{
    struct tcp_hello hello = {1, 1, 0};
    struct tcp_frame f;

    tcp_wire_hello_pack(&hello, TCP_FRAME_HELLO, 0, &f);
    f.address++;
    refused(&f, "not a Carrick partner");
    hello = (struct tcp_hello){2, 1, 0};
    tcp_wire_hello_pack(&hello, TCP_FRAME_HELLO, 0, &f);
    refused(&f, "range is empty");
    hello = (struct tcp_hello){0, 1, 0};
    tcp_wire_hello_pack(&hello, TCP_FRAME_HELLO, 0, &f);
    refused(&f, "range is empty");
    hello = (struct tcp_hello){1, 2, 0};
    tcp_wire_hello_pack(&hello, TCP_FRAME_WELCOME, 0, &f);
    refused(&f, "more than one version");

    cr_assert_eq(tcp_wire_version(&hello), 1);
    hello = (struct tcp_hello){1, UINT16_MAX, 0};
    cr_assert_eq(tcp_wire_version(&hello), TCP_WIRE_VERSION_MAX);
    hello = (struct tcp_hello){TCP_WIRE_VERSION_MAX + 1, UINT16_MAX, 0};
    cr_assert_eq(tcp_wire_version(&hello), 0);
}

// ---- one after the other

Test(tcp_wire, handshake_of_the_answering_side)
{
    struct tcp_hello hello = {1, 1, 0};
    struct tcp_frame greeting;
    struct tcp_stream s;

    tcp_wire_hello_pack(&hello, TCP_FRAME_HELLO, 0, &greeting);
    tcp_stream_init(&s, TCP_PHASE_HELLO, 0);
    broken(&s, simple(TCP_FRAME_FLUSH, 0), "first frame is not HELLO");
    tcp_stream_init(&s, TCP_PHASE_HELLO, 0);
    taken(&s, greeting);
    broken(&s, simple(TCP_FRAME_FLUSH, 0), "before HELLO was answered");
    s = open_stream();
    broken(&s, greeting, "greeting on a connection that stands");
}

Test(tcp_wire, handshake_of_the_connecting_side)
{
    struct tcp_hello hello = {1, 1, 0};
    struct tcp_frame welcome;
    struct tcp_stream s;

    tcp_wire_hello_pack(&hello, TCP_FRAME_WELCOME, 0, &welcome);
    tcp_stream_init(&s, TCP_PHASE_REPLY, 4096);
    taken(&s, welcome);
    taken(&s, simple(TCP_FRAME_FLUSH, 0));
    tcp_stream_init(&s, TCP_PHASE_REPLY, 4096);
    taken(&s, simple(TCP_FRAME_REJECT, 0));
    broken(&s, welcome, "after the end");
    tcp_stream_init(&s, TCP_PHASE_REPLY, 4096);
    broken(&s, simple(TCP_FRAME_ACK, 0), "answer to HELLO is none");
}

Test(tcp_wire, a_write_is_one_piece)
{
    struct tcp_stream s = open_stream();

    taken(&s, write_frame(1000, 0, 100, 0));
    // What is no operation may come between.
    taken(&s, simple(TCP_FRAME_ACK, 0));
    taken(&s, write_frame(1100, 100, 50, 0));
    taken(&s, write_frame(1150, 150, 0, TCP_FLAG_LAST));
    taken(&s, write_frame(5, 0, 1, TCP_FLAG_LAST));

    s = open_stream();
    broken(&s, write_frame(1000, 1, 100, 0), "begin at its beginning");
    s = open_stream();
    taken(&s, write_frame(1000, 0, 100, 0));
    broken(&s, write_frame(1101, 100, 50, 0), "does not continue");
    s = open_stream();
    taken(&s, write_frame(1000, 0, 100, 0));
    broken(&s, write_frame(1100, 0, 50, TCP_FLAG_LAST), "does not continue");
    s = open_stream();
    taken(&s, write_frame(1000, 0, 100, 0));
    s.write_key = 8;
    broken(&s, write_frame(1100, 100, 50, 0), "does not continue");
    s = open_stream();
    taken(&s, write_frame(1000, 0, 100, 0));
    broken(&s, simple(TCP_FRAME_FLUSH, 0), "middle of a WRITE");
}

Test(tcp_wire, a_frame_counts_its_operations)
{
    struct tcp_frame f = write_frame(0, 0, 1, 0);

    cr_assert_eq(tcp_wire_operations(&f), 0);
    f.flags = TCP_FLAG_LAST;
    cr_assert_eq(tcp_wire_operations(&f), 1);
    f.flags |= TCP_FLAG_FLUSH;
    cr_assert_eq(tcp_wire_operations(&f), 2);
    f = simple(TCP_FRAME_READ_DATA, 0);
    f.flags = TCP_FLAG_LAST;
    cr_assert_eq(tcp_wire_operations(&f), 0);
}

Test(tcp_wire, acks_only_of_what_was_sent)
{
    struct tcp_stream s = open_stream();

    s.sent = 5;
    taken(&s, simple(TCP_FRAME_ACK, 3));
    cr_assert_eq(s.acked, 3);
    taken(&s, simple(TCP_FRAME_ACK, 2));
    cr_assert_eq(s.acked, 3, "an older count takes nothing back");
    taken(&s, simple(TCP_FRAME_ACK, 5));
    broken(&s, simple(TCP_FRAME_ACK, 6), "never sent");
}

static struct tcp_frame read_data(uint64_t offset, uint32_t length, uint8_t flags)
{
    return (struct tcp_frame){
        .type = TCP_FRAME_READ_DATA, .flags = flags, .length = length, .value = offset};
}

Test(tcp_wire, answers_only_to_reads)
{
    struct tcp_stream s = open_stream();

    broken(&s, read_data(0, 10, 0), "no read asks");
    s = open_stream();
    tcp_stream_expect(&s, 100);
    taken(&s, read_data(0, 60, 0));
    taken(&s, read_data(60, 40, TCP_FLAG_LAST));
    broken(&s, read_data(100, 1, 0), "no read asks");

    s = open_stream();
    tcp_stream_expect(&s, 0);
    taken(&s, read_data(0, 0, TCP_FLAG_LAST));

    s = open_stream();
    tcp_stream_expect(&s, 100);
    broken(&s, read_data(0, 101, 0), "does not continue");
    s = open_stream();
    tcp_stream_expect(&s, 100);
    broken(&s, read_data(1, 10, 0), "does not continue");
    s = open_stream();
    tcp_stream_expect(&s, 100);
    broken(&s, read_data(0, 100, 0), "before or after");
    s = open_stream();
    tcp_stream_expect(&s, 100);
    broken(&s, read_data(0, 99, TCP_FLAG_LAST), "before or after");
}

Test(tcp_wire, reads_and_sends_are_bounded)
{
    struct tcp_stream s = open_stream();
    struct tcp_frame send = simple(TCP_FRAME_SEND, 0);

    for (int i = 0; i < TCP_WIRE_READS_MAX; i++)
        taken(&s, simple(TCP_FRAME_READ, 8));
    broken(&s, simple(TCP_FRAME_READ, 8), "more reads at once");

    s = open_stream();
    send.length = 4096;
    taken(&s, send);
    send.length = 4097;
    broken(&s, send, "longer than this side takes");
}

Test(tcp_wire, nothing_after_the_end)
{
    struct tcp_stream s = open_stream();

    taken(&s, simple(TCP_FRAME_CLOSE, 0));
    broken(&s, simple(TCP_FRAME_ACK, 0), "after the end");
    s = open_stream();
    taken(&s, simple(TCP_FRAME_ERROR, CARRICK_ERR_PROTOCOL));
    broken(&s, write_frame(0, 0, 1, TCP_FLAG_LAST), "after the end");
}
