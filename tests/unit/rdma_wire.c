// SPDX-License-Identifier: Apache-2.0
// needs plugin: verbs
//
// The bytes that the RDMA transports say to each other: each field in its place, and nothing taken that is too short
// or a stranger's.
#include <criterion/criterion.h>

#include "transports/rdma/rdma_wire.h"

#include <string.h>

static const struct rdma_preface preface = {
    .mark = {.version = RDMA_WIRE_VERSION, .kind = RDMA_MARK_ACCEPT, .data_bytes = 3},
    .receive_bytes = 4352,
    .receive_depth = 64,
    .reads = 16,
    .scratch_base = UINT64_C(0x1122334455667788),
    .scratch_key = 0x99aabbcc,
    .scratch_bytes = 8,
    .flags = RDMA_PREFACE_FLUSH,
};

Test(rdma_wire, preface)
{
    static const uint8_t wanted[RDMA_WIRE_PREFACE_BYTES] = {
        'C',  'R',  'R',  'D',  1,    1,    3,    0,    0,    0,    0x11, 0x00, 0,    64,   0, 16,
        0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0x00, 0x08, 0, 1,
    };
    uint8_t bytes[RDMA_WIRE_PREFACE_BYTES + 3];
    struct rdma_preface back;

    memset(bytes, 0xee, sizeof bytes);
    rdma_preface_put(&preface, bytes);
    cr_assert_arr_eq(bytes, wanted, RDMA_WIRE_PREFACE_BYTES);
    cr_assert(rdma_preface_get(bytes, sizeof bytes, RDMA_MARK_ACCEPT, &back));
    cr_assert_eq(back.mark.version, RDMA_WIRE_VERSION);
    cr_assert_eq(back.mark.data_bytes, 3);
    cr_assert_eq(back.receive_bytes, preface.receive_bytes);
    cr_assert_eq(back.receive_depth, preface.receive_depth);
    cr_assert_eq(back.reads, preface.reads);
    cr_assert_eq(back.scratch_base, preface.scratch_base);
    cr_assert_eq(back.scratch_key, preface.scratch_key);
    cr_assert_eq(back.scratch_bytes, preface.scratch_bytes);
    cr_assert_eq(back.flags, preface.flags);
    // Of another kind, or without the data that it announces.
    cr_assert_not(rdma_preface_get(bytes, sizeof bytes, RDMA_MARK_HELLO, &back));
    for (size_t length = 0; length < sizeof bytes; length++)
        cr_assert_not(rdma_preface_get(bytes, length, RDMA_MARK_ACCEPT, &back), "%zu bytes",
                      length);
}

Test(rdma_wire, mark)
{
    const struct rdma_mark mark = {
        .version = RDMA_WIRE_VERSION, .kind = RDMA_MARK_REJECT, .data_bytes = 128};
    uint8_t bytes[RDMA_WIRE_MARK_BYTES];
    struct rdma_mark back;

    rdma_mark_put(&mark, bytes);
    cr_assert(rdma_mark_get(bytes, sizeof bytes, &back));
    cr_assert_eq(back.kind, RDMA_MARK_REJECT);
    cr_assert_eq(back.data_bytes, 128);
    cr_assert_not(rdma_mark_get(bytes, sizeof bytes - 1, &back));
    for (size_t i = 0; i < 4; i++) {
        bytes[i] ^= 1;
        cr_assert_not(rdma_mark_get(bytes, sizeof bytes, &back), "byte %zu is wrong", i);
        bytes[i] ^= 1;
    }
    // Padding, as RoCE makes it where nothing was said.
    memset(bytes, 0, sizeof bytes);
    cr_assert_not(rdma_mark_get(bytes, sizeof bytes, &back));
}

Test(rdma_wire, header)
{
    const struct rdma_header header = {.message = RDMA_MESSAGE_CREDIT, .credits = 0x1234};
    static const uint8_t wanted[RDMA_WIRE_HEADER_BYTES] = {3, 0, 0x12, 0x34};
    uint8_t bytes[RDMA_WIRE_HEADER_BYTES];
    struct rdma_header back;

    rdma_header_put(&header, bytes);
    cr_assert_arr_eq(bytes, wanted, sizeof bytes);
    cr_assert(rdma_header_get(bytes, sizeof bytes, &back));
    cr_assert_eq(back.message, RDMA_MESSAGE_CREDIT);
    cr_assert_eq(back.credits, 0x1234);
    cr_assert_not(rdma_header_get(bytes, sizeof bytes - 1, &back));
    for (unsigned message = 0; message < 256; message++) {
        bytes[0] = (uint8_t)message;
        cr_assert_eq(rdma_header_get(bytes, sizeof bytes, &back), message >= 1 && message <= 4,
                     "message %u", message);
    }
}
