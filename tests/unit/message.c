// SPDX-License-Identifier: Apache-2.0
//
// Messages on the control lane, and the header of every send: round trip, every truncation, every length lied about.
#include "message_make.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/bytes.h"

static struct message got;

// At the very end of an allocation, so that a read beyond it is noticed.
static int get(const void *bytes, size_t length)
{
    uint8_t *copy = malloc(length == 0 ? 1 : length);
    int status;

    cr_assert(copy != NULL);
    memcpy(copy, bytes, length);
    memset(&got, 0xee, sizeof(got));
    status = message_get(copy, length, &got);
    free(copy);
    return status;
}

static void same_keys(void)
{
    cr_assert_eq(got.keys.first, message.keys.first);
    cr_assert_eq(got.keys.total, message.keys.total);
    cr_assert_eq(got.keys.count, message.keys.count);
    for (unsigned i = 0; i < message.keys.count; i++) {
        cr_assert_eq(got.keys.key[i].base, message.keys.key[i].base);
        cr_assert_eq(got.keys.key[i].key, message.keys.key[i].key);
    }
}

static void same_fenced(void)
{
    cr_assert_eq(got.fenced.connection, message.fenced.connection);
    cr_assert_eq(got.fenced.link, message.fenced.link);
    cr_assert_eq(got.fenced.seen, message.fenced.seen);
    cr_assert_eq(got.fenced.lanes, message.fenced.lanes);
    for (unsigned i = 0; i < message.fenced.lanes; i++) {
        cr_assert_eq(got.fenced.applied[i], message.fenced.applied[i]);
        cr_assert_eq(got.fenced.sends[i], message.fenced.sends[i]);
    }
}

static void same(void)
{
    cr_assert_eq(got.type, message.type);
    cr_assert_eq(got.session, message.session);
    switch (message.type) {
    case MESSAGE_PROOF:
    case MESSAGE_WELCOME:
        cr_assert_eq(got.raw.length, message.raw.length);
        break;
    case MESSAGE_REFUSE:
    case MESSAGE_ENDING:
    case MESSAGE_ENDED:
        cr_assert_eq(got.end.reason, message.end.reason);
        cr_assert_eq(got.end.time_ms, message.end.time_ms);
        cr_assert_str_eq(got.end.text, message.end.text);
        break;
    case MESSAGE_TABLE:
        cr_assert_eq(got.table.kind, message.table.kind);
        cr_assert_eq(got.table.length, message.table.length);
        cr_assert_eq(got.table.generation, message.table.generation);
        cr_assert_eq(got.table.crc, message.table.crc);
        break;
    case MESSAGE_KEYS:
        same_keys();
        break;
    case MESSAGE_FENCED:
        same_fenced();
        break;
    default:
        cr_assert_eq(got.vi.identity, message.vi.identity);
        cr_assert_eq(got.vi.opening, message.vi.opening);
        cr_assert_eq(got.vi.heard, message.vi.heard);
        cr_assert_eq(got.vi.sends, message.vi.sends);
        break;
    }
}

Test(message, each_type_comes_back)
{
    for (unsigned type = 1; type < MESSAGE_TYPE_COUNT; type++) {
        message_make(type);
        cr_assert_eq(get(wire, message_made()), CARRICK_OK, "type %u", type);
        same();
    }
}

Test(message, a_proof_is_read_where_it_lies)
{
    message_make(MESSAGE_PROOF);
    cr_assert_eq(message_get(wire, message_made(), &got), CARRICK_OK);
    cr_assert_eq(got.raw.bytes, wire + MESSAGE_HEADER_BYTES);
    cr_assert_arr_eq(got.raw.bytes, message.raw.bytes, PROOF_BYTES);
}

Test(message, each_type_cut_anywhere_or_too_long)
{
    for (unsigned type = 1; type < MESSAGE_TYPE_COUNT; type++) {
        size_t length;

        message_make(type);
        length = message_made();
        for (size_t i = 0; i < length; i++)
            cr_assert_eq(get(wire, i), CARRICK_ERR_PROTOCOL, "type %u cut after %zu", type, i);
        cr_assert_eq(get(wire, length + 1), CARRICK_ERR_PROTOCOL, "type %u, one byte too many",
                     type);
        // Cut with a header that says so: only what can be of any length may still be taken.
        for (size_t i = MESSAGE_HEADER_BYTES; i < length; i++) {
            bool has_text =
                type == MESSAGE_REFUSE || type == MESSAGE_ENDING || type == MESSAGE_ENDED;

            put_u32(wire + 4, (uint32_t)(i - MESSAGE_HEADER_BYTES));
            cr_assert_eq(get(wire, i) == CARRICK_OK, has_text && i >= MESSAGE_HEADER_BYTES + 8,
                         "type %u with %zu bytes", type, i);
        }
    }
}

static const uint32_t lies[] = {
    0,    1,          2,          7,          8,          128,        129,        255,
    4096, 0x7fffffff, 0x80000000, 0xffffffff, 0x0fffffff, 0x10000000, 0x10000001, 0xfffffff5};

// Every aligned word of every message, with every lie: it is refused, or what it says lies within bounds.
Test(message, no_length_is_believed_without_a_check)
{
    for (unsigned type = 1; type < MESSAGE_TYPE_COUNT; type++) {
        size_t length;

        message_make(type);
        length = message_made();
        for (size_t at = 0; at + 4 <= length && at < 64; at += 4)
            for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
                uint32_t truth = get_u32(wire + at);

                put_u32(wire + at, lies[i]);
                if (get(wire, length) == CARRICK_OK && got.type == MESSAGE_KEYS) {
                    cr_assert_leq(got.keys.count, MESSAGE_KEYS_MAX);
                    cr_assert_leq(got.keys.first, got.keys.total);
                    cr_assert_leq(got.keys.count, got.keys.total - got.keys.first);
                } else if (got.type == MESSAGE_FENCED) {
                    cr_assert(got.fenced.lanes <= MESSAGE_LANES_MAX ||
                              message_get(wire, length, &got) != CARRICK_OK);
                }
                put_u32(wire + at, truth);
            }
    }
}

Test(message, types_that_there_are_not)
{
    message_make(MESSAGE_VI_OPEN);
    size_t length = message_made();

    for (unsigned type = 0; type < 70000; type = type == 0 ? MESSAGE_TYPE_COUNT : type * 3 + 1) {
        put_u16(wire, (uint16_t)type);
        if ((uint16_t)type == 0 || (uint16_t)type >= MESSAGE_TYPE_COUNT)
            cr_assert_eq(get(wire, length), CARRICK_ERR_PROTOCOL, "type %u", type);
    }
    put_u16(wire, 0xffff);
    cr_assert_eq(get(wire, length), CARRICK_ERR_PROTOCOL);
}

Test(message, tables_of_a_kind_or_length_that_there_is_not)
{
    message_make(MESSAGE_TABLE);
    for (uint32_t kind = TABLE_PEER_INFO; kind < TABLE_KIND_COUNT; kind++) {
        message.table.kind = kind;
        message.table.length = table_bytes_max((enum table_kind)kind);
        cr_assert_eq(get(wire, message_made()), CARRICK_OK);
        message.table.length++;
        cr_assert_eq(get(wire, message_made()), CARRICK_ERR_PROTOCOL, "longer than its place");
    }
    message.table.length = 0;
    message.table.kind = 0;
    cr_assert_eq(get(wire, message_made()), CARRICK_ERR_PROTOCOL);
    message.table.kind = TABLE_KIND_COUNT;
    cr_assert_eq(get(wire, message_made()), CARRICK_ERR_PROTOCOL);
    message.table.kind = UINT32_MAX;
    cr_assert_eq(get(wire, message_made()), CARRICK_ERR_PROTOCOL);
}

Test(message, keys_up_to_the_limit)
{
    message_make(MESSAGE_KEYS);
    message.keys.first = 0;
    message.keys.total = message.keys.count = MESSAGE_KEYS_MAX;
    cr_assert_eq(get(wire, message_made()), CARRICK_OK);
    same_keys();
    message.keys.total = message.keys.count = 0;
    cr_assert_eq(get(wire, message_made()), CARRICK_OK);
    message.keys.first = 1;
    cr_assert_eq(get(wire, message_made()), CARRICK_ERR_PROTOCOL, "begins beyond the end");
    message.keys.first = UINT32_MAX;
    message.keys.total = UINT32_MAX;
    message.keys.count = 1;
    cr_assert_eq(get(wire, message_made()), CARRICK_ERR_PROTOCOL, "the sum wraps");
}

Test(message, a_partners_text_is_harmless)
{
    message_make(MESSAGE_REFUSE);
    memset(message.end.text, 'x', MESSAGE_TEXT_MAX);
    cr_assert_eq(get(wire, message_made()), CARRICK_OK);
    cr_assert_eq(strlen(got.end.text), MESSAGE_TEXT_MAX - 1, "the longest text, with its end");

    snprintf(message.end.text, sizeof(message.end.text),
             "bell \a, escape \x1b[2J, high \xff\x80, tab \t end");
    cr_assert_eq(get(wire, message_made()), CARRICK_OK);
    for (const char *c = got.end.text; *c != '\0'; c++)
        cr_assert(*c >= 0x20 && *c <= 0x7e);
    cr_assert(strstr(got.end.text, "end") != NULL);
    message.end.reason = CARRICK_REASON_COUNT;
    cr_assert_eq(get(wire, message_made()), CARRICK_ERR_PROTOCOL, "a reason that there is not");
}

Test(message, the_header_of_a_send)
{
    struct send_header header = {.vi = 0x0000000500000007ull,
                                 .sequence = UINT64_MAX - 1,
                                 .opening = 0x01020304},
                       read;
    uint8_t bytes[SEND_HEADER_BYTES];

    send_header_put(&header, bytes);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        uint8_t *copy = malloc(i == 0 ? 1 : i);

        memcpy(copy, bytes, i);
        cr_assert_eq(send_header_get(copy, i, &read), CARRICK_ERR_PROTOCOL);
        free(copy);
    }
    cr_assert_eq(send_header_get(bytes, sizeof(bytes), &read), CARRICK_OK);
    cr_assert_eq(read.vi, header.vi);
    cr_assert_eq(read.opening, header.opening);
    cr_assert_eq(read.sequence, header.sequence);
}
