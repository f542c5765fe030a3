// SPDX-License-Identifier: Apache-2.0
//
// What the two monitors tell each other: one length, little-endian, every field checked. The session proves who
// speaks; here it is only kept out that a partner of another version or a broken one makes this node believe
// what cannot be.
#include "failover.h"

#include <string.h>

#define MAGIC 0x4f464143u // "CAFO"

struct cursor {
    uint8_t *at;
};

static void put_number(struct cursor *cursor, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        *cursor->at++ = (uint8_t)(value >> (8 * i));
}

static uint64_t get_number(struct cursor *cursor, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)*cursor->at++ << (8 * i);
    return value;
}

static void put_bytes(struct cursor *cursor, const void *bytes, size_t length)
{
    memcpy(cursor->at, bytes, length);
    cursor->at += length;
}

static void get_bytes(struct cursor *cursor, void *bytes, size_t length)
{
    memcpy(bytes, cursor->at, length);
    cursor->at += length;
}

void fo_message_put(const struct message *message, uint8_t bytes[MESSAGE_BYTES])
{
    const struct carrick_log_copy *copy = &message->copy;
    struct cursor cursor = {bytes};

    memset(bytes, 0, MESSAGE_BYTES);
    put_number(&cursor, MAGIC, 4);
    put_number(&cursor, message->kind, 2);
    put_number(&cursor, FAILOVER_VERSION, 2);
    put_bytes(&cursor, message->group, sizeof message->group);
    put_number(&cursor, message->mirror, 1);
    put_number(&cursor, copy->condition, 1);
    put_number(&cursor, copy->level, 1);
    put_number(&cursor, copy->role, 1);
    put_number(&cursor, copy->member, 1);
    put_number(&cursor, 0, 3);
    put_bytes(&cursor, copy->generation.id, 16);
    put_bytes(&cursor, copy->generation.parent, 16);
    put_number(&cursor, copy->generation.fork_sequence, 8);
    put_number(&cursor, copy->generation.number, 8);
    put_number(&cursor, copy->first, 8);
    put_number(&cursor, copy->last, 8);
    put_number(&cursor, copy->acknowledged, 8);
    put_number(&cursor, copy->incarnation, 8);
    put_number(&cursor, message->record_number, 8);
}

static bool fields_are_in_range(const struct message *message)
{
    const struct carrick_log_copy *copy = &message->copy;

    return message->kind >= MESSAGE_STATE && message->kind < MESSAGE_KIND_COUNT &&
           message->group[CARRICK_NAME_MAX] == '\0' && message->mirror <= CARRICK_MIRROR_BOTH &&
           copy->condition <= CARRICK_LOG_UNUSABLE && copy->level <= CARRICK_LEVEL_PERSISTENT &&
           copy->role <= CARRICK_LOG_SHADOW &&
           (copy->role != CARRICK_LOG_OWNER || !fo_id_is_zero(copy->generation.id));
}

bool fo_message_get(const void *data, uint32_t length, struct message *message)
{
    struct carrick_log_copy *copy = &message->copy;
    uint8_t bytes[MESSAGE_BYTES];
    struct cursor cursor = {bytes};
    uint8_t member;

    if (length != MESSAGE_BYTES)
        return false;
    memcpy(bytes, data, MESSAGE_BYTES);
    memset(message, 0, sizeof *message);
    if (get_number(&cursor, 4) != MAGIC)
        return false;
    message->kind = (uint32_t)get_number(&cursor, 2);
    if (get_number(&cursor, 2) != FAILOVER_VERSION)
        return false;
    get_bytes(&cursor, message->group, sizeof message->group);
    message->mirror = (uint32_t)get_number(&cursor, 1);
    copy->struct_size = sizeof *copy;
    copy->condition = (uint32_t)get_number(&cursor, 1);
    copy->level = (uint32_t)get_number(&cursor, 1);
    copy->role = (uint32_t)get_number(&cursor, 1);
    member = (uint8_t)get_number(&cursor, 1);
    copy->member = member == 1;
    get_number(&cursor, 3);
    get_bytes(&cursor, copy->generation.id, 16);
    get_bytes(&cursor, copy->generation.parent, 16);
    copy->generation.fork_sequence = get_number(&cursor, 8);
    copy->generation.number = get_number(&cursor, 8);
    copy->first = get_number(&cursor, 8);
    copy->last = get_number(&cursor, 8);
    copy->acknowledged = get_number(&cursor, 8);
    copy->incarnation = get_number(&cursor, 8);
    message->record_number = get_number(&cursor, 8);
    return member <= 1 && fields_are_in_range(message);
}
