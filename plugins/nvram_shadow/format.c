// SPDX-License-Identifier: Apache-2.0
#include "format.h"

#include <string.h>

#include "common/bytes.h"
#include "common/crc32c.h"

#define HEAD_MAGIC 0x3164486b63726143ull // "CarckHd1"
#define RECORD_MAGIC 0x31636552u         // "Rec1"
#define PROMISE_MAGIC 0x316d7250u        // "Prm1"
enum { FORMAT = 1 };

// Head slot.
enum {
    H_MAGIC = 0,
    H_FORMAT = 8,
    H_CONDITION = 12,
    H_MEMBER = 14,
    H_WRITE = 16,
    H_GROUP = 24,
    H_RING_BYTES = 56,
    H_RING_AT = 64,
    H_FIRST_SEQUENCE = 72,
    H_FIRST_POSITION = 80,
    H_FIRST_CRC = 88,
    H_LIMIT = 96,
    H_ACKNOWLEDGED = 104,
    H_GENERATION = 120,
    H_CRC = NV_HEAD_BYTES - 4,
};

// Record header.
enum {
    R_MAGIC = 0,
    R_CRC = 4,
    R_SEQUENCE = 8,
    R_TAG = 16,
    R_ACKNOWLEDGED = 24,
    R_OFFSET = 32,
    R_LENGTH = 40,
    R_BEFORE = 48,
    R_SHELF = 52,
    R_KIND = 56,
};

// Promise word.
enum { P_MAGIC = 0, P_CRC = 4, P_ID = 8, P_STANDING = 24, P_BEAT = 32 };

uint64_t nv_tag(const uint8_t id[16])
{
    return get_u64(id);
}

bool nv_id_is_none(const uint8_t id[16])
{
    static const uint8_t none[16];
    return memcmp(id, none, sizeof none) == 0;
}

void nv_generation_put(uint8_t *at, const struct carrick_generation *generation)
{
    memcpy(at, generation->id, 16);
    memcpy(at + 16, generation->parent, 16);
    put_u64(at + 32, generation->fork_sequence);
    put_u64(at + 40, generation->number);
}

void nv_generation_get(const uint8_t *at, struct carrick_generation *generation)
{
    memcpy(generation->id, at, 16);
    memcpy(generation->parent, at + 16, 16);
    generation->fork_sequence = get_u64(at + 32);
    generation->number = get_u64(at + 40);
}

void nv_head_encode(const struct nv_head *head, uint8_t slot[NV_HEAD_BYTES])
{
    memset(slot, 0, NV_HEAD_BYTES);
    put_u64(slot + H_MAGIC, HEAD_MAGIC);
    put_u32(slot + H_FORMAT, FORMAT);
    put_u16(slot + H_CONDITION, (uint16_t)head->condition);
    slot[H_MEMBER] = head->member;
    put_u64(slot + H_WRITE, head->write);
    memcpy(slot + H_GROUP, head->group, sizeof head->group);
    put_u64(slot + H_RING_BYTES, head->ring_bytes);
    put_u64(slot + H_RING_AT, head->ring_at);
    put_u64(slot + H_FIRST_SEQUENCE, head->first.sequence);
    put_u64(slot + H_FIRST_POSITION, head->first.position);
    put_u32(slot + H_FIRST_CRC, head->first.crc);
    put_u64(slot + H_LIMIT, head->limit);
    put_u64(slot + H_ACKNOWLEDGED, head->acknowledged);
    nv_generation_put(slot + H_GENERATION, &head->generation);
    put_u32(slot + H_CRC, crc32c(slot, H_CRC));
}

bool nv_head_decode(const uint8_t slot[NV_HEAD_BYTES], struct nv_head *head)
{
    if (get_u64(slot + H_MAGIC) != HEAD_MAGIC || get_u32(slot + H_FORMAT) != FORMAT ||
        get_u32(slot + H_CRC) != crc32c(slot, H_CRC))
        return false;
    *head = (struct nv_head){
        .write = get_u64(slot + H_WRITE),
        .ring_bytes = get_u64(slot + H_RING_BYTES),
        .ring_at = get_u64(slot + H_RING_AT),
        .first = {.sequence = get_u64(slot + H_FIRST_SEQUENCE),
                  .position = get_u64(slot + H_FIRST_POSITION),
                  .crc = get_u32(slot + H_FIRST_CRC)},
        .limit = get_u64(slot + H_LIMIT),
        .acknowledged = get_u64(slot + H_ACKNOWLEDGED),
        .condition = get_u16(slot + H_CONDITION),
        .member = slot[H_MEMBER] != 0,
    };
    memcpy(head->group, slot + H_GROUP, sizeof head->group);
    head->group[NV_GROUP_MAX] = '\0';
    nv_generation_get(slot + H_GENERATION, &head->generation);
    return head->first.sequence > 0 && head->first.position % NV_ALIGN == 0;
}

bool nv_head_read(const uint8_t *slots, struct nv_head *head)
{
    struct nv_head other;
    bool first = nv_head_decode(slots, head), second = nv_head_decode(slots + NV_PAGE, &other);

    if (second && (!first || other.write > head->write))
        *head = other;
    return first || second;
}

void nv_promise_encode(const struct nv_promise *promise, uint8_t word[NV_PROMISE_BYTES])
{
    memset(word, 0, NV_PROMISE_BYTES);
    put_u32(word + P_MAGIC, PROMISE_MAGIC);
    memcpy(word + P_ID, promise->generation, 16);
    put_u64(word + P_STANDING, promise->standing);
    put_u64(word + P_BEAT, promise->beat);
    put_u32(word + P_CRC, crc32c(word + P_ID, NV_PROMISE_BYTES - P_ID));
}

bool nv_promise_decode(const uint8_t word[NV_PROMISE_BYTES], struct nv_promise *promise)
{
    if (get_u32(word + P_MAGIC) != PROMISE_MAGIC ||
        get_u32(word + P_CRC) != crc32c(word + P_ID, NV_PROMISE_BYTES - P_ID))
        return false;
    memcpy(promise->generation, word + P_ID, 16);
    promise->standing = get_u64(word + P_STANDING) == 1;
    promise->beat = get_u64(word + P_BEAT);
    return true;
}

uint64_t nv_record_data(const struct nv_record *record)
{
    return record->kind == CARRICK_LOG_WRITE ? record->length : 0;
}

static uint64_t aligned(uint64_t bytes)
{
    return (bytes + NV_ALIGN - 1) / NV_ALIGN * NV_ALIGN;
}

uint64_t nv_record_span(const struct nv_record *record)
{
    if (record->kind == CARRICK_LOG_WRITE || record->kind == NV_FILL)
        return NV_RECORD_BYTES + aligned(record->length);
    return NV_RECORD_BYTES;
}

// The header goes first and its checksum last: to read it back behind the data would wait until all of the data has left
// the processor for memory that is not in its caches.
void nv_record_encode(struct nv_record *record, uint8_t *at, const void *data)
{
    uint8_t header[NV_RECORD_BYTES] = {0};
    uint64_t length = nv_record_data(record);

    put_u32(header + R_MAGIC, RECORD_MAGIC);
    put_u64(header + R_SEQUENCE, record->sequence);
    put_u64(header + R_TAG, record->tag);
    put_u64(header + R_ACKNOWLEDGED, record->acknowledged);
    put_u64(header + R_OFFSET, record->offset);
    put_u64(header + R_LENGTH, record->length);
    put_u32(header + R_BEFORE, record->before);
    put_u32(header + R_SHELF, record->shelf);
    put_u16(header + R_KIND, record->kind);
    record->crc = crc32c(header + R_SEQUENCE, NV_RECORD_BYTES - R_SEQUENCE);
    memcpy(at, header, sizeof header);
    if (data != NULL)
        memcpy(at + NV_RECORD_BYTES, data, length);
    record->crc = crc32c_extend(record->crc, at + NV_RECORD_BYTES, length);
    put_u32(at + R_CRC, record->crc);
}

static bool header_decode(const uint8_t header[NV_RECORD_BYTES], uint64_t room,
                          struct nv_record *record)
{
    if (get_u32(header + R_MAGIC) != RECORD_MAGIC)
        return false;
    *record = (struct nv_record){
        .crc = get_u32(header + R_CRC),
        .sequence = get_u64(header + R_SEQUENCE),
        .tag = get_u64(header + R_TAG),
        .acknowledged = get_u64(header + R_ACKNOWLEDGED),
        .offset = get_u64(header + R_OFFSET),
        .length = get_u64(header + R_LENGTH),
        .before = get_u32(header + R_BEFORE),
        .shelf = get_u32(header + R_SHELF),
        .kind = get_u16(header + R_KIND),
    };
    switch (record->kind) {
    case CARRICK_LOG_WRITE:
        return record->length <= CARRICK_LOG_ENTRY_BYTES_MAX && nv_record_span(record) <= room;
    case NV_FILL:
        return record->length <= room && nv_record_span(record) == room;
    case CARRICK_LOG_ZERO:
    case CARRICK_LOG_TRIM:
        return true;
    default:
        return false;
    }
}

uint64_t nv_record_none(const uint8_t *at, uint64_t bytes)
{
    uint64_t offset = 0;

    while (offset < bytes && get_u32(at + offset + R_MAGIC) != RECORD_MAGIC)
        offset += NV_ALIGN;
    return offset;
}

// The partner may write this memory: a header is copied out once, and the copy is judged.
bool nv_record_peek(const uint8_t *at, uint64_t room, struct nv_record *record)
{
    uint8_t header[NV_RECORD_BYTES];

    if (room < NV_RECORD_BYTES)
        return false;
    memcpy(header, at, sizeof header);
    return header_decode(header, room, record);
}

bool nv_record_check(const uint8_t *at, uint64_t room, struct nv_record *record)
{
    uint8_t header[NV_RECORD_BYTES];
    uint32_t crc;

    if (room < NV_RECORD_BYTES)
        return false;
    memcpy(header, at, sizeof header);
    if (!header_decode(header, room, record))
        return false;
    crc = crc32c(header + R_SEQUENCE, NV_RECORD_BYTES - R_SEQUENCE);
    return crc32c_extend(crc, at + NV_RECORD_BYTES, nv_record_data(record)) == record->crc;
}
