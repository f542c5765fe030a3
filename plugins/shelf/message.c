// SPDX-License-Identifier: Apache-2.0
#include "message.h"

#include "common/bytes.h"

#include <string.h>

#define MAGIC 0x464c4853u // "SHLF"
#define VERSION 1u

uint32_t shelf_message_encode(const struct shelf_message *message, uint8_t *bytes)
{
    memset(bytes, 0, SHELF_MESSAGE_HEAD);
    put_u32(bytes, MAGIC);
    put_u16(bytes + 4, VERSION);
    put_u16(bytes + 6, (uint16_t)message->kind);
    memcpy(bytes + 8, message->group, sizeof message->group);
    put_u64(bytes + 40, message->run);
    put_u32(bytes + 48, message->shelf);
    put_u32(bytes + 52, message->slot);
    put_u64(bytes + 56, message->chunk);
    put_u64(bytes + 64, message->sequence);
    put_u32(bytes + 72, message->length);
    put_u32(bytes + 76, message->crc);
    put_u32(bytes + 80, message->flags);
    put_u32(bytes + 84, message->payload_bytes);
    if (message->payload_bytes > 0)
        memcpy(bytes + SHELF_MESSAGE_HEAD, message->payload, message->payload_bytes);
    return SHELF_MESSAGE_HEAD + message->payload_bytes;
}

bool shelf_message_decode(const uint8_t *bytes, uint32_t length, struct shelf_message *message)
{
    if (length < SHELF_MESSAGE_HEAD || length > SHELF_MESSAGE_MAX || get_u32(bytes) != MAGIC ||
        get_u16(bytes + 4) != VERSION)
        return false;
    *message = (struct shelf_message){
        .kind = get_u16(bytes + 6),
        .run = get_u64(bytes + 40),
        .shelf = get_u32(bytes + 48),
        .slot = get_u32(bytes + 52),
        .chunk = get_u64(bytes + 56),
        .sequence = get_u64(bytes + 64),
        .length = get_u32(bytes + 72),
        .crc = get_u32(bytes + 76),
        .flags = get_u32(bytes + 80),
        .payload_bytes = get_u32(bytes + 84),
        .payload = bytes + SHELF_MESSAGE_HEAD,
    };
    memcpy(message->group, bytes + 8, sizeof message->group);
    return message->kind > 0 && message->kind < SHELF_MESSAGE_KINDS &&
           message->payload_bytes == length - SHELF_MESSAGE_HEAD &&
           memchr(message->group, 0, sizeof message->group) != NULL;
}
