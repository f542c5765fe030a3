// SPDX-License-Identifier: Apache-2.0
//
// The map of a shelf: which chunks the partner's shelf may lack. A bit for each, in memory; map_file.c keeps them.
//
// Each change makes a new version of the map, which is durable some time later.
#include "map_internal.h"

#include <string.h>

static bool bit_get(const uint8_t *bits, uint64_t chunk)
{
    return (bits[chunk / 8] >> (chunk % 8) & 1) != 0;
}

static void sector_touch(struct shelf_map *map, uint64_t byte)
{
    uint8_t *state = &map->sector_state[byte / SHELF_MAP_SECTOR_BITS];

    *state = *state == SECTOR_IN_PASS || *state == SECTOR_DIRTY_AGAIN ? SECTOR_DIRTY_AGAIN
                                                                      : SECTOR_DIRTY;
    map->version++;
}

static void byte_set(struct shelf_map *map, uint64_t byte, uint8_t value)
{
    if (map->bits[byte] == value)
        return;
    map->marked += (uint64_t)__builtin_popcount(value);
    map->marked -= (uint64_t)__builtin_popcount(map->bits[byte]);
    map->bits[byte] = value;
    sector_touch(map, byte);
}

// The bits of a byte that stand for chunks which there are.
static uint8_t byte_mask(const struct shelf_map *map, uint64_t byte)
{
    uint64_t left = map->chunks - byte * 8;

    return left >= 8 ? 0xff : (uint8_t)((1u << left) - 1);
}

void shelf_map_set_chunks(struct shelf_map *map, uint64_t first, uint64_t last)
{
    for (uint64_t byte = first / 8; byte <= last / 8; byte++) {
        uint8_t mask = byte_mask(map, byte);

        if (byte == first / 8)
            mask &= (uint8_t)(0xffu << (first % 8));
        if (byte == last / 8)
            mask &= (uint8_t)(0xffu >> (7 - last % 8));
        byte_set(map, byte, map->bits[byte] | mask);
    }
}

void shelf_map_mark(struct shelf_map *map, uint64_t start, uint64_t end)
{
    if (start < end)
        shelf_map_set_chunks(map, start / SHELF_CHUNK_BYTES, (end - 1) / SHELF_CHUNK_BYTES);
}

void shelf_map_mark_all(struct shelf_map *map)
{
    shelf_map_set_chunks(map, 0, map->chunks - 1);
}

void shelf_map_clear_chunk(struct shelf_map *map, uint64_t chunk)
{
    if (chunk < map->chunks)
        byte_set(map, chunk / 8, map->bits[chunk / 8] & (uint8_t) ~(1u << (chunk % 8)));
}

void shelf_map_clear_all(struct shelf_map *map)
{
    for (uint64_t byte = 0; byte < map->bytes; byte++)
        byte_set(map, byte, 0);
}

void shelf_map_merge(struct shelf_map *map, uint64_t first, const uint8_t *bits, uint32_t count)
{
    for (uint32_t i = 0; i < count && first < map->bytes && i < map->bytes - first; i++)
        byte_set(map, first + i, map->bits[first + i] | (bits[i] & byte_mask(map, first + i)));
}

uint32_t shelf_map_take(const struct shelf_map *map, uint64_t *first, uint8_t *bits, uint32_t room)
{
    uint64_t next = shelf_map_next(map, *first * 8);

    if (next == UINT64_MAX)
        return 0;
    *first = next / 8;
    uint32_t count = (uint32_t)shelf_min(room, map->bytes - *first);
    memcpy(bits, map->bits + *first, count);
    return count;
}

uint64_t shelf_map_next(const struct shelf_map *map, uint64_t chunk)
{
    while (chunk < map->chunks) {
        if (chunk % 8 == 0 && map->bits[chunk / 8] == 0) {
            chunk += 8;
            continue;
        }
        if (bit_get(map->bits, chunk))
            return chunk;
        chunk++;
    }
    return UINT64_MAX;
}

bool shelf_map_range_durable(const struct shelf_map *map, uint64_t start, uint64_t end)
{
    for (uint64_t chunk = start / SHELF_CHUNK_BYTES; chunk * SHELF_CHUNK_BYTES < end; chunk++)
        if (!bit_get(map->bits, chunk) || !bit_get(map->durable, chunk))
            return false;
    return true;
}

void shelf_map_set_whole(struct shelf_map *map, bool whole,
                         const struct carrick_generation *generation)
{
    uint32_t flags = whole ? SHELF_MAP_FLAG_WHOLE : 0;

    if (map->flags == flags && memcmp(map->generation, generation->id, 16) == 0)
        return;
    map->flags = flags;
    memcpy(map->generation, generation->id, 16);
    map->head_dirty = true;
    map->version++;
}

bool shelf_map_whole(const struct shelf_map *map)
{
    return (map->flags & SHELF_MAP_FLAG_WHOLE) != 0;
}

bool shelf_map_ready(const struct shelf_map *map)
{
    return map->ready;
}

uint64_t shelf_map_chunks(const struct shelf_map *map)
{
    return map->chunks;
}

uint64_t shelf_map_bytes(const struct shelf_map *map)
{
    return map->bytes;
}

uint64_t shelf_map_version(const struct shelf_map *map)
{
    return map->version;
}

uint64_t shelf_map_durable(const struct shelf_map *map)
{
    return map->durable_version;
}

void shelf_map_stats(const struct shelf_map *map, struct shelf_map_stats *stats)
{
    *stats =
        (struct shelf_map_stats){.ready = map->ready, .marked = map->marked, .error = map->error};
}
