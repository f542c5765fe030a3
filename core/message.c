// SPDX-License-Identifier: Apache-2.0
//
// Encoding of the messages that core/tables.h declares. Header: type 2, reserved 2, length of the body 4, session 8.
#include <string.h>

#include "core/handshake.h"
#include "core/tables.h"
#include "common/bytes.h"

static size_t end_put(const struct message *message, uint8_t *body)
{
    size_t length = strnlen(message->end.text, MESSAGE_TEXT_MAX - 1);

    put_u32(body, message->end.reason);
    put_u32(body + 4, message->end.time_ms);
    memcpy(body + 8, message->end.text, length);
    return 8 + length;
}

static bool end_get(const uint8_t *body, size_t length, struct message *message)
{
    if (length < 8 || length - 8 > MESSAGE_TEXT_MAX - 1)
        return false;
    message->end.reason = get_u32(body);
    message->end.time_ms = get_u32(body + 4);
    memcpy(message->end.text, body + 8, length - 8);
    message->end.text[length - 8] = '\0';
    // The text goes to logs and terminals: nothing but printable ASCII comes from a partner.
    for (char *c = message->end.text; *c != '\0'; c++)
        if (*c < 0x20 || *c > 0x7e)
            *c = '?';
    return message->end.reason < CARRICK_REASON_COUNT;
}

static size_t table_put(const struct message *message, uint8_t *body)
{
    put_u32(body, message->table.kind);
    put_u32(body + 4, message->table.length);
    put_u32(body + 8, message->table.generation);
    put_u32(body + 12, message->table.crc);
    return 16;
}

static bool table_get(const uint8_t *body, size_t length, struct message *message)
{
    if (length != 16)
        return false;
    message->table.kind = get_u32(body);
    message->table.length = get_u32(body + 4);
    message->table.generation = get_u32(body + 8);
    message->table.crc = get_u32(body + 12);
    return message->table.kind >= TABLE_PEER_INFO && message->table.kind < TABLE_KIND_COUNT &&
           message->table.length <= table_bytes_max((enum table_kind)message->table.kind);
}

static size_t keys_put(const struct message *message, uint8_t *body)
{
    put_u32(body, message->keys.first);
    put_u32(body + 4, message->keys.total);
    put_u32(body + 8, message->keys.count);
    for (uint32_t i = 0; i < message->keys.count; i++) {
        put_u64(body + 12 + i * 16, message->keys.key[i].base);
        put_u32(body + 20 + i * 16, message->keys.key[i].key);
        put_u32(body + 24 + i * 16, 0);
    }
    return 12 + (size_t)message->keys.count * 16;
}

static bool keys_get(const uint8_t *body, size_t length, struct message *message)
{
    if (length < 12)
        return false;
    message->keys.first = get_u32(body);
    message->keys.total = get_u32(body + 4);
    message->keys.count = get_u32(body + 8);
    if (message->keys.count > MESSAGE_KEYS_MAX || length != 12 + (size_t)message->keys.count * 16 ||
        message->keys.first > message->keys.total ||
        message->keys.count > message->keys.total - message->keys.first)
        return false;
    for (uint32_t i = 0; i < message->keys.count; i++)
        message->keys.key[i] = (struct carrick_remote_key){
            .base = get_u64(body + 12 + i * 16),
            .key = get_u32(body + 20 + i * 16),
        };
    return true;
}

static size_t fenced_put(const struct message *message, uint8_t *body)
{
    put_u64(body, message->fenced.connection);
    put_u32(body + 8, message->fenced.link);
    put_u32(body + 12, message->fenced.seen);
    put_u32(body + 16, message->fenced.lanes);
    for (uint32_t i = 0; i < message->fenced.lanes; i++) {
        put_u64(body + 20 + i * 16, message->fenced.applied[i]);
        put_u64(body + 28 + i * 16, message->fenced.sends[i]);
    }
    return 20 + (size_t)message->fenced.lanes * 16;
}

static bool fenced_get(const uint8_t *body, size_t length, struct message *message)
{
    if (length < 20)
        return false;
    message->fenced.connection = get_u64(body);
    message->fenced.link = get_u32(body + 8);
    message->fenced.seen = get_u32(body + 12);
    message->fenced.lanes = get_u32(body + 16);
    if (message->fenced.lanes > MESSAGE_LANES_MAX ||
        length != 20 + (size_t)message->fenced.lanes * 16)
        return false;
    for (uint32_t i = 0; i < message->fenced.lanes; i++) {
        message->fenced.applied[i] = get_u64(body + 20 + i * 16);
        message->fenced.sends[i] = get_u64(body + 28 + i * 16);
    }
    return true;
}

static size_t vi_put(const struct message *message, uint8_t *body)
{
    put_u64(body, message->vi.identity);
    put_u32(body + 8, message->vi.opening);
    put_u32(body + 12, message->vi.heard);
    put_u64(body + 16, message->vi.sends);
    return 24;
}

static bool vi_get(const uint8_t *body, size_t length, struct message *message)
{
    bool answer = message->type == MESSAGE_VI_HEARD;

    if (length != 24)
        return false;
    message->vi.identity = get_u64(body);
    message->vi.opening = get_u32(body + 8);
    message->vi.heard = get_u32(body + 12);
    message->vi.sends = get_u64(body + 16);
    return message->vi.opening >= 1 && message->vi.opening <= VI_OPENING_MAX &&
           (answer ? message->vi.heard == MESSAGE_VI_OPEN || message->vi.heard == MESSAGE_VI_CLOSE
                   : message->vi.heard == 0);
}

static size_t raw_put(const struct message *message, uint8_t *body)
{
    memcpy(body, message->raw.bytes, message->raw.length);
    return message->raw.length;
}

static bool raw_get(const uint8_t *body, size_t length, struct message *message)
{
    message->raw.bytes = body;
    message->raw.length = (uint32_t)length;
    return length == PROOF_BYTES;
}

static const struct {
    size_t (*put)(const struct message *message, uint8_t *body);
    bool (*get)(const uint8_t *body, size_t length, struct message *message);
} codecs[MESSAGE_TYPE_COUNT] = {
    [MESSAGE_PROOF] = {raw_put, raw_get},  [MESSAGE_WELCOME] = {raw_put, raw_get},
    [MESSAGE_REFUSE] = {end_put, end_get}, [MESSAGE_TABLE] = {table_put, table_get},
    [MESSAGE_KEYS] = {keys_put, keys_get}, [MESSAGE_FENCED] = {fenced_put, fenced_get},
    [MESSAGE_ENDING] = {end_put, end_get}, [MESSAGE_ENDED] = {end_put, end_get},
    [MESSAGE_VI_OPEN] = {vi_put, vi_get},  [MESSAGE_VI_CLOSE] = {vi_put, vi_get},
    [MESSAGE_VI_HEARD] = {vi_put, vi_get},
};

size_t message_put(const struct message *message, uint8_t *out)
{
    size_t length = codecs[message->type].put(message, out + MESSAGE_HEADER_BYTES);

    put_u16(out, message->type);
    put_u16(out + 2, 0);
    put_u32(out + 4, (uint32_t)length);
    put_u64(out + 8, message->session);
    return MESSAGE_HEADER_BYTES + length;
}

int message_get(const void *data, size_t length, struct message *message)
{
    const uint8_t *in = data;

    if (length < MESSAGE_HEADER_BYTES || length > MESSAGE_BYTES_MAX)
        return CARRICK_ERR_PROTOCOL;
    message->type = get_u16(in);
    message->session = get_u64(in + 8);
    if (message->type == 0 || message->type >= MESSAGE_TYPE_COUNT ||
        get_u32(in + 4) != length - MESSAGE_HEADER_BYTES ||
        !codecs[message->type].get(in + MESSAGE_HEADER_BYTES, length - MESSAGE_HEADER_BYTES,
                                   message))
        return CARRICK_ERR_PROTOCOL;
    return CARRICK_OK;
}

// Send header: VI 8, opening 4, 0 4, sequence 8.
void send_header_put(const struct send_header *header, uint8_t out[SEND_HEADER_BYTES])
{
    put_u64(out, header->vi);
    put_u32(out + 8, header->opening);
    put_u32(out + 12, 0);
    put_u64(out + 16, header->sequence);
}

int send_header_get(const void *data, size_t length, struct send_header *header)
{
    if (length < SEND_HEADER_BYTES)
        return CARRICK_ERR_PROTOCOL;
    header->vi = get_u64(data);
    header->opening = get_u32((const uint8_t *)data + 8);
    header->sequence = get_u64((const uint8_t *)data + 16);
    return CARRICK_OK;
}
