// SPDX-License-Identifier: Apache-2.0
// needs plugin: nvram_shadow
//
// The bytes of a copy and of the messages: what is written is read back, and nothing that is torn or foreign is taken.
#include <criterion/criterion.h>

#include "plugins/nvram_shadow/format.h"
#include "plugins/nvram_shadow/message.h"
#include "common/crc32c.h"

#include <string.h>

static struct nv_head some_head(uint64_t write)
{
    struct nv_head head = {
        .write = write,
        .group = "g1",
        .ring_bytes = 1 << 22,
        .ring_at = NV_RING_AT,
        .first = {.sequence = 7 + write, .position = 640, .crc = 0xdeadbeef},
        .limit = 99,
        .acknowledged = 12,
        .generation = {.fork_sequence = 5, .number = 3},
        .condition = CARRICK_LOG_INCONSISTENT,
        .member = true,
    };
    memset(head.generation.id, 0xa5, 16);
    memset(head.generation.parent, 0x5a, 16);
    return head;
}

Test(nvram_format, crc_is_the_castagnoli_one_and_goes_on)
{
    cr_assert_eq(crc32c("123456789", 9), 0xe3069283u);
    cr_assert_eq(crc32c_extend(crc32c("1234", 4), "56789", 5), 0xe3069283u);
}

Test(nvram_format, head_comes_back)
{
    struct nv_head head = some_head(4), back;
    uint8_t slot[NV_HEAD_BYTES];

    nv_head_encode(&head, slot);
    cr_assert(nv_head_decode(slot, &back));
    cr_assert_eq(back.write, 4);
    cr_assert_str_eq(back.group, "g1");
    cr_assert_eq(back.ring_bytes, head.ring_bytes);
    cr_assert_eq(back.ring_at, head.ring_at);
    cr_assert_eq(back.first.sequence, 11);
    cr_assert_eq(back.first.position, 640);
    cr_assert_eq(back.first.crc, 0xdeadbeef);
    cr_assert_eq(back.limit, 99);
    cr_assert_eq(back.acknowledged, 12);
    cr_assert_arr_eq(back.generation.id, head.generation.id, 16);
    cr_assert_arr_eq(back.generation.parent, head.generation.parent, 16);
    cr_assert_eq(back.generation.fork_sequence, 5);
    cr_assert_eq(back.generation.number, 3);
    cr_assert_eq(back.condition, CARRICK_LOG_INCONSISTENT);
    cr_assert(back.member);
}

// A crash at any byte of the writing of a slot leaves the head as it was before or, whole, as it is after.
Test(nvram_format, head_torn_at_every_byte_is_the_old_one_or_the_new_one)
{
    uint8_t pages[2 * NV_PAGE] = {0}, slot[NV_HEAD_BYTES];
    struct nv_head head, back;

    for (uint64_t write = 1; write <= 2; write++) {
        head = some_head(write);
        nv_head_encode(&head, slot);
        memcpy(pages + (write % 2) * NV_PAGE, slot, sizeof slot);
    }
    head = some_head(3);
    nv_head_encode(&head, slot);
    for (unsigned cut = 0; cut <= NV_HEAD_BYTES; cut++) {
        uint8_t torn[2 * NV_PAGE];
        bool whole;

        memcpy(torn, pages, sizeof torn);
        memcpy(torn + NV_PAGE, slot, cut);
        whole = memcmp(torn + NV_PAGE, slot, sizeof slot) == 0;
        cr_assert(nv_head_read(torn, &back), "no head with %u bytes written", cut);
        cr_assert_eq(back.write, whole ? 3 : 2, "head %lu with %u bytes written",
                     (unsigned long)back.write, cut);
        cr_assert_eq(back.first.sequence, 7 + back.write);
    }
}

Test(nvram_format, nothing_is_no_head)
{
    uint8_t pages[2 * NV_PAGE] = {0};
    struct nv_head back;

    cr_assert_not(nv_head_read(pages, &back));
    memset(pages, 0xff, sizeof pages);
    cr_assert_not(nv_head_read(pages, &back));
}

Test(nvram_format, every_bit_of_a_promise_counts)
{
    struct nv_promise promise = {.standing = true, .beat = 8}, back;
    uint8_t word[NV_PROMISE_BYTES];

    memset(promise.generation, 3, 16);
    nv_promise_encode(&promise, word);
    cr_assert(nv_promise_decode(word, &back));
    cr_assert(back.standing);
    cr_assert_eq(back.beat, 8);
    cr_assert_arr_eq(back.generation, promise.generation, 16);
    for (unsigned bit = 0; bit < 8 * NV_PROMISE_BYTES; bit++) {
        word[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_assert_not(nv_promise_decode(word, &back), "bit %u does not count", bit);
        word[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

Test(nvram_format, record_comes_back_and_every_bit_counts)
{
    uint8_t bytes[NV_RECORD_BYTES + 128] = {0}, data[100];
    struct nv_record record = {.kind = CARRICK_LOG_WRITE,
                               .shelf = 2,
                               .sequence = 77,
                               .tag = 0x1122334455667788,
                               .acknowledged = 70,
                               .offset = 4096,
                               .length = 100,
                               .before = 5},
                     back;

    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)i;
    nv_record_encode(&record, bytes, data);
    cr_assert_eq(nv_record_span(&record), NV_RECORD_BYTES + 128);
    cr_assert_eq(memcmp(bytes + NV_RECORD_BYTES, data, sizeof data), 0);
    cr_assert(nv_record_check(bytes, sizeof bytes, &back));
    cr_assert_eq(back.sequence, 77);
    cr_assert_eq(back.tag, record.tag);
    cr_assert_eq(back.acknowledged, 70);
    cr_assert_eq(back.offset, 4096);
    cr_assert_eq(back.length, 100);
    cr_assert_eq(back.before, 5);
    cr_assert_eq(back.shelf, 2);
    cr_assert_eq(back.kind, CARRICK_LOG_WRITE);
    cr_assert_eq(back.crc, record.crc);
    cr_assert_not(nv_record_check(bytes, sizeof bytes - 1, &back), "longer than the room for it");
    for (unsigned bit = 0; bit < 8 * (NV_RECORD_BYTES + 100); bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_assert_not(nv_record_check(bytes, sizeof bytes, &back), "bit %u does not count", bit);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

Test(nvram_format, length_that_would_reach_out_is_no_record)
{
    uint8_t bytes[NV_RECORD_BYTES] = {0};
    struct nv_record record = {.kind = CARRICK_LOG_ZERO, .sequence = 1, .length = UINT64_MAX}, back;

    nv_record_encode(&record, bytes, NULL);
    cr_assert(nv_record_check(bytes, sizeof bytes, &back), "a range of any length has no data");
    record.kind = NV_FILL;
    nv_record_encode(&record, bytes, NULL);
    cr_assert_not(nv_record_check(bytes, 1 << 20, &back));
    record.kind = 17;
    nv_record_encode(&record, bytes, NULL);
    cr_assert_not(nv_record_check(bytes, 1 << 20, &back));
    // Its data would be read out of bounds before the checksum could tell.
    bytes[56] = CARRICK_LOG_WRITE;
    bytes[57] = 0;
    cr_assert_not(nv_record_check(bytes, 1 << 20, &back));
}

Test(nvram_format, message_comes_back)
{
    struct nv_message message = {
        .kind = NV_STATE,
        .flags = NV_FLAG_EXPOSED | NV_FLAG_MEMBER,
        .role = CARRICK_LOG_SHADOW,
        .condition = CARRICK_LOG_WHOLE,
        .level = CARRICK_LEVEL_MEMORY,
        .first = {.sequence = 3, .position = 128, .crc = 9},
        .from = {.sequence = 4, .position = 256, .crc = 10},
        .last = 20,
        .acknowledged = 18,
        .synced = 5,
        .persisted = 6,
        .trim = 7,
        .ring_bytes = 1 << 22,
    };
    struct nv_message back;
    uint8_t bytes[NV_MESSAGE_BYTES];

    nv_message_encode(&message, bytes);
    cr_assert_null(nv_message_decode(bytes, sizeof bytes, &back));
    cr_assert_eq(memcmp(&message, &back, sizeof back), 0);
}

static void refused(const struct nv_message *message, const char *part)
{
    struct nv_message back;
    uint8_t bytes[NV_MESSAGE_BYTES];
    const char *why;

    nv_message_encode(message, bytes);
    why = nv_message_decode(bytes, sizeof bytes, &back);
    cr_assert_not_null(why, "taken, and should be refused: %s", part);
    cr_assert_not_null(strstr(why, part), "refused for \"%s\", not for \"%s\"", why, part);
}

Test(nvram_format, messages_that_cannot_be_are_refused)
{
    const struct nv_message good = {.kind = NV_STATE,
                                    .level = CARRICK_LEVEL_MEMORY,
                                    .first = {.sequence = 1},
                                    .last = 5,
                                    .acknowledged = 5};
    struct nv_message bad, back;
    uint8_t bytes[NV_MESSAGE_BYTES];

    nv_message_encode(&good, bytes);
    cr_assert_null(nv_message_decode(bytes, sizeof bytes, &back));
    cr_assert_not_null(nv_message_decode(bytes, sizeof bytes - 1, &back));
    bytes[0] ^= 1;
    cr_assert_not_null(nv_message_decode(bytes, sizeof bytes, &back));
    bad = good, bad.kind = 0, refused(&bad, "kind");
    bad = good, bad.kind = 6, refused(&bad, "kind");
    bad = good, bad.flags = 32, refused(&bad, "flags");
    bad = good, bad.role = 3, refused(&bad, "role");
    bad = good, bad.condition = 5, refused(&bad, "condition");
    bad = good, bad.level = 0, refused(&bad, "level");
    bad = good, bad.mirror = 3, refused(&bad, "mirror");
    bad = good, bad.first.sequence = 0, refused(&bad, "first record");
    bad = good, bad.first.position = 63, refused(&bad, "first record");
    bad = good, bad.first.sequence = 7, refused(&bad, "order");
    bad = good, bad.acknowledged = 6, refused(&bad, "order");
    bad = good, bad.last = UINT64_MAX, refused(&bad, "range");
    bad = good, bad.kind = NV_ADVANCE, bad.acknowledged = 6, refused(&bad, "above");
    bad = good, bad.kind = NV_ATTACH, refused(&bad, "first record");
}
