// SPDX-License-Identifier: Apache-2.0
#include "core/status_line.h"

#include <string.h>

#include "common/bytes.h"
#include "common/crc32c.h"

// Byte offsets of a slot. All integers are little-endian.
enum {
    AT_MAGIC = 0,
    AT_VERSION_MAX = 4,
    AT_VERSION_RULING = 6,
    AT_SESSION_STATE = 8,
    AT_BOOT_STAGE = 9,
    AT_LOAD = 10,
    AT_REFUSAL = 12,
    AT_RESERVED = 14,
    AT_INCARNATION = 16,
    AT_TAKEN_INCARNATION = 24,
    AT_GENERATION = 32,
    AT_TAKEN_GENERATION = 36,
    AT_SHADOW_SEQUENCE = 40,
    AT_HEARTBEAT = 48,
    AT_CLIENTS_STILL = 52,
    AT_SEQUENCE = 56,
    AT_CRC = 60,
};

static void slot_encode(uint8_t slot[STATUS_LINE_BYTES], uint32_t sequence,
                        const struct status_line *line)
{
    memset(slot, 0, STATUS_LINE_BYTES);
    put_u32(slot + AT_MAGIC, STATUS_LINE_MAGIC);
    put_u16(slot + AT_VERSION_MAX, line->version_max);
    put_u16(slot + AT_VERSION_RULING, line->version_ruling);
    slot[AT_SESSION_STATE] = line->session_state;
    slot[AT_BOOT_STAGE] = line->boot_stage;
    put_u16(slot + AT_LOAD, line->load_permille);
    put_u16(slot + AT_REFUSAL, line->refusal);
    put_u64(slot + AT_INCARNATION, line->incarnation);
    put_u64(slot + AT_TAKEN_INCARNATION, line->taken_incarnation);
    put_u32(slot + AT_GENERATION, line->generation);
    put_u32(slot + AT_TAKEN_GENERATION, line->taken_generation);
    put_u64(slot + AT_SHADOW_SEQUENCE, line->shadow_sequence);
    put_u32(slot + AT_HEARTBEAT, line->heartbeat);
    put_u32(slot + AT_CLIENTS_STILL, line->clients_still_ms);
    put_u32(slot + AT_SEQUENCE, sequence);
    put_u32(slot + AT_CRC, crc32c(slot, AT_CRC));
}

static bool slot_is_whole(const uint8_t *slot)
{
    return get_u32(slot + AT_MAGIC) == STATUS_LINE_MAGIC &&
           get_u32(slot + AT_CRC) == crc32c(slot, AT_CRC);
}

// Serial-number comparison: the sequence may wrap in a manager that runs for years.
static int32_t sequence_ahead(uint32_t sequence, uint32_t of)
{
    return (int32_t)(sequence - of);
}

void status_line_publish(void *lines, uint32_t sequence, const struct status_line *line)
{
    uint8_t slot[STATUS_LINE_BYTES];
    uint8_t *target = (uint8_t *)lines + (sequence & 1u) * STATUS_LINE_BYTES;

    slot_encode(slot, sequence, line);
    // The order of these stores does not matter to a reader, who checks the CRC; but the slot must be complete
    // before the other one is touched, by this or by the next call.
    for (unsigned i = 0; i < STATUS_LINE_BYTES; i += 8) {
        uint64_t word;
        memcpy(&word, slot + i, sizeof(word));
        __atomic_store_n((uint64_t *)(void *)(target + i), word, __ATOMIC_RELAXED);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

int status_line_read(const void *lines, struct status_line *line, uint32_t *sequence)
{
    const uint8_t *first = lines;
    const uint8_t *second = first + STATUS_LINE_BYTES;
    const uint8_t *slot = NULL;

    if (slot_is_whole(first))
        slot = first;
    if (slot_is_whole(second)) {
        if (slot == NULL ||
            sequence_ahead(get_u32(second + AT_SEQUENCE), get_u32(first + AT_SEQUENCE)) > 0)
            slot = second;
    }
    if (slot == NULL)
        return CARRICK_ERR_PROTOCOL;

    line->version_max = get_u16(slot + AT_VERSION_MAX);
    line->version_ruling = get_u16(slot + AT_VERSION_RULING);
    line->session_state = slot[AT_SESSION_STATE];
    line->boot_stage = slot[AT_BOOT_STAGE];
    line->load_permille = get_u16(slot + AT_LOAD);
    line->refusal = get_u16(slot + AT_REFUSAL);
    line->incarnation = get_u64(slot + AT_INCARNATION);
    line->taken_incarnation = get_u64(slot + AT_TAKEN_INCARNATION);
    line->generation = get_u32(slot + AT_GENERATION);
    line->taken_generation = get_u32(slot + AT_TAKEN_GENERATION);
    line->shadow_sequence = get_u64(slot + AT_SHADOW_SEQUENCE);
    line->heartbeat = get_u32(slot + AT_HEARTBEAT);
    line->clients_still_ms = get_u32(slot + AT_CLIENTS_STILL);
    if (sequence != NULL)
        *sequence = get_u32(slot + AT_SEQUENCE);
    return CARRICK_OK;
}

bool status_line_is_news(struct status_line_seen *seen, const struct status_line *line,
                         uint32_t sequence)
{
    if (seen->any && seen->incarnation == line->incarnation &&
        sequence_ahead(sequence, seen->sequence) < 0)
        return false;
    *seen = (struct status_line_seen){
        .incarnation = line->incarnation, .sequence = sequence, .any = true};
    return true;
}
