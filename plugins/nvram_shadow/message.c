// SPDX-License-Identifier: Apache-2.0
#include "message.h"

#include <string.h>

#include "common/bytes.h"

#define MESSAGE_MAGIC 0x31736d4eu // "Nms1"

enum {
    M_MAGIC = 0,
    M_KIND = 4,
    M_FLAGS = 6,
    M_CODE = 8,
    M_ROLE = 12,
    M_CONDITION = 16,
    M_LEVEL = 20,
    M_MIRROR = 24,
    M_FIRST_CRC = 28,
    M_FROM_CRC = 32,
    M_GENERATION = 40,
    M_FIRST_SEQUENCE = 88,
    M_FIRST_POSITION = 96,
    M_FROM_SEQUENCE = 104,
    M_FROM_POSITION = 112,
    M_LAST = 120,
    M_ACKNOWLEDGED = 128,
    M_SYNCED = 136,
    M_PERSISTED = 144,
    M_TRIM = 152,
    M_RING_BYTES = 160,
};

void nv_message_encode(const struct nv_message *message, uint8_t bytes[NV_MESSAGE_BYTES])
{
    memset(bytes, 0, NV_MESSAGE_BYTES);
    put_u32(bytes + M_MAGIC, MESSAGE_MAGIC);
    put_u16(bytes + M_KIND, message->kind);
    put_u16(bytes + M_FLAGS, message->flags);
    put_u32(bytes + M_CODE, message->code);
    put_u32(bytes + M_ROLE, message->role);
    put_u32(bytes + M_CONDITION, message->condition);
    put_u32(bytes + M_LEVEL, message->level);
    put_u32(bytes + M_MIRROR, message->mirror);
    put_u32(bytes + M_FIRST_CRC, message->first.crc);
    put_u32(bytes + M_FROM_CRC, message->from.crc);
    nv_generation_put(bytes + M_GENERATION, &message->generation);
    put_u64(bytes + M_FIRST_SEQUENCE, message->first.sequence);
    put_u64(bytes + M_FIRST_POSITION, message->first.position);
    put_u64(bytes + M_FROM_SEQUENCE, message->from.sequence);
    put_u64(bytes + M_FROM_POSITION, message->from.position);
    put_u64(bytes + M_LAST, message->last);
    put_u64(bytes + M_ACKNOWLEDGED, message->acknowledged);
    put_u64(bytes + M_SYNCED, message->synced);
    put_u64(bytes + M_PERSISTED, message->persisted);
    put_u64(bytes + M_TRIM, message->trim);
    put_u64(bytes + M_RING_BYTES, message->ring_bytes);
}

static const char *state_wrong(const struct nv_message *m)
{
    if (m->role > CARRICK_LOG_SHADOW)
        return "unknown role";
    if (m->condition > CARRICK_LOG_SCANNING)
        return "unknown condition";
    if (m->level < CARRICK_LEVEL_VOLATILE || m->level > CARRICK_LEVEL_PERSISTENT)
        return "unknown level";
    if (m->mirror > CARRICK_MIRROR_BOTH)
        return "unknown mirror";
    if (m->first.sequence == 0 || m->first.position % NV_ALIGN != 0)
        return "first record out of place";
    if (m->last + 1 < m->first.sequence || m->acknowledged > m->last)
        return "sequences out of order";
    return NULL;
}

const char *nv_message_decode(const void *data, uint32_t length, struct nv_message *message)
{
    const uint8_t *bytes = data;

    if (length != NV_MESSAGE_BYTES)
        return "wrong length";
    if (get_u32(bytes + M_MAGIC) != MESSAGE_MAGIC)
        return "no message of nvram_shadow";
    *message = (struct nv_message){
        .kind = get_u16(bytes + M_KIND),
        .flags = get_u16(bytes + M_FLAGS),
        .code = get_u32(bytes + M_CODE),
        .role = get_u32(bytes + M_ROLE),
        .condition = get_u32(bytes + M_CONDITION),
        .level = get_u32(bytes + M_LEVEL),
        .mirror = get_u32(bytes + M_MIRROR),
        .first = {.sequence = get_u64(bytes + M_FIRST_SEQUENCE),
                  .position = get_u64(bytes + M_FIRST_POSITION),
                  .crc = get_u32(bytes + M_FIRST_CRC)},
        .from = {.sequence = get_u64(bytes + M_FROM_SEQUENCE),
                 .position = get_u64(bytes + M_FROM_POSITION),
                 .crc = get_u32(bytes + M_FROM_CRC)},
        .last = get_u64(bytes + M_LAST),
        .acknowledged = get_u64(bytes + M_ACKNOWLEDGED),
        .synced = get_u64(bytes + M_SYNCED),
        .persisted = get_u64(bytes + M_PERSISTED),
        .trim = get_u64(bytes + M_TRIM),
        .ring_bytes = get_u64(bytes + M_RING_BYTES),
    };
    nv_generation_get(bytes + M_GENERATION, &message->generation);
    if (message->kind < NV_STATE || message->kind > NV_SYNCED)
        return "unknown kind";
    if ((message->flags & ~NV_FLAG_ALL) != 0)
        return "unknown flags";
    // Numbers near the end of their range would turn over in sums; no log gets that far.
    if ((message->last | message->acknowledged | message->synced | message->persisted |
         message->trim | message->first.sequence | message->first.position |
         message->from.sequence | message->from.position) >>
        62)
        return "a number out of range";
    if (message->kind == NV_STATE)
        return state_wrong(message);
    if (message->kind == NV_ATTACH &&
        (message->from.sequence == 0 || message->from.position % NV_ALIGN != 0))
        return "first record out of place";
    if ((message->kind == NV_ATTACH || message->kind == NV_ADVANCE) &&
        message->acknowledged > message->last)
        return "acknowledged is above last";
    return NULL;
}

const char *nv_refusal_text(uint32_t code)
{
    static const char *const texts[NV_REFUSED_COUNT] = {
        "not refused",
        "it is not shadow, or its copy cannot be written in this session",
        "it follows another generation",
        "its records are not those of this log",
        "its copy must be repaired or brought up to date first",
    };
    return code < NV_REFUSED_COUNT ? texts[code] : "for a reason that this version does not know";
}
