// SPDX-License-Identifier: Apache-2.0
//
// The file of a shelf's map, PATH.map: opened, read, and written again after changes.
//
//     0      head, slot 0     written in turn, each with its number and a CRC32C
//     4096   head, slot 1
//     8192   sectors of 512 bytes: CRC32C, number of the sector, 504 bytes of the bitmap
//
// A sector is the unit that a disk writes whole. One that is bad says "all of it": copying too much is the only harm.
// A mark counts as durable when its sector was written and synced; while a sector that clears it is being written it
// counts no more.
#include "map_internal.h"

#include "common/bytes.h"
#include "common/crc32c.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEAD_BYTES = 4096,
    SECTOR_BYTES = 512,
    SECTOR_HEAD = SECTOR_BYTES - SHELF_MAP_SECTOR_BITS,
    SECTORS_AT = 2 * HEAD_BYTES,
    BATCH_SECTORS = 128,
    LOAD_BYTES = 1 << 20,
    HEAD_LENGTH = 96, // of it, what the checksum covers
};

#define HEAD_MAGIC 0x3150414d464c4853ull // "SHLFMAP1"

static void map_pump(struct shelf_map *map);

static const struct carrick_host *base_of(const struct shelf_map *map)
{
    return map->shelf->client->base;
}

// ---- bytes on the disk

static void head_encode(const struct shelf_map *map, uint8_t *head)
{
    memset(head, 0, HEAD_BYTES);
    put_u64(head, HEAD_MAGIC);
    put_u32(head + 8, 1); // version of the format
    put_u32(head + 12, SHELF_CHUNK_BYTES);
    put_u64(head + 16, map->head_number);
    put_u64(head + 24, map->shelf->bytes);
    put_u32(head + 32, map->flags);
    memcpy(head + 40, map->generation, 16);
    put_u32(head + HEAD_LENGTH, crc32c(head, HEAD_LENGTH));
}

static bool head_is_empty(const uint8_t *head)
{
    for (uint32_t i = 0; i < HEAD_LENGTH + 4; i++)
        if (head[i] != 0)
            return false;
    return true;
}

// A head that is whole and fits the shelf.
static bool head_is_good(const struct shelf_map *map, const uint8_t *head)
{
    return get_u64(head) == HEAD_MAGIC && get_u32(head + 8) == 1 &&
           get_u32(head + HEAD_LENGTH) == crc32c(head, HEAD_LENGTH) &&
           get_u32(head + 12) == SHELF_CHUNK_BYTES && get_u64(head + 24) == map->shelf->bytes;
}

static uint32_t sector_length(const struct shelf_map *map, uint64_t sector)
{
    return (uint32_t)shelf_min(SHELF_MAP_SECTOR_BITS, map->bytes - sector * SHELF_MAP_SECTOR_BITS);
}

static void sector_encode(struct shelf_map *map, uint64_t sector, uint8_t *bytes)
{
    uint64_t at = sector * SHELF_MAP_SECTOR_BITS;
    uint32_t length = sector_length(map, sector);

    memset(bytes, 0, SECTOR_BYTES);
    memcpy(bytes + SECTOR_HEAD, map->bits + at, length);
    put_u32(bytes + 4, (uint32_t)sector);
    put_u32(bytes, crc32c(bytes + 4, SECTOR_BYTES - 4));
    memcpy(map->written + at, map->bits + at, length);
    for (uint32_t i = 0; i < length; i++)
        map->durable[at + i] &= map->bits[at + i];
}

static void sector_load(struct shelf_map *map, uint64_t sector, const uint8_t *bytes)
{
    uint64_t at = sector * SHELF_MAP_SECTOR_BITS;
    uint32_t length = sector_length(map, sector);
    bool good = get_u32(bytes + 4) == (uint32_t)sector &&
                get_u32(bytes) == crc32c(bytes + 4, SECTOR_BYTES - 4);

    if (!good) {
        uint64_t last = shelf_min(at * 8 + length * 8ull, map->chunks) - 1;
        shelf_map_set_chunks(map, at * 8, last);
        map->sector_state[sector] = SECTOR_DIRTY;
        map->version++;
        map->again = true;
        map->sectors_bad++;
        return;
    }
    // What was marked since the start stays marked, too.
    uint8_t before = map->sector_state[sector];
    memcpy(map->durable + at, bytes + SECTOR_HEAD, length);
    shelf_map_merge(map, at, bytes + SECTOR_HEAD, length);
    if (memcmp(map->bits + at, bytes + SECTOR_HEAD, length) == 0)
        map->sector_state[sector] = SECTOR_CLEAN;
    else if (before == SECTOR_CLEAN)
        map->sector_state[sector] = SECTOR_DIRTY;
}

// ---- loading

static void load_next(struct shelf_map *map);

static void damage_report(const struct shelf_map *map)
{
    if (map->head_bad)
        base_of(map)->log(
            base_of(map), CARRICK_LOG_ERROR,
            "shelf %s: the head of its map %s.map is damaged. All of the shelf counts "
            "as different from the partner's; check the disk",
            map->shelf->name, map->shelf->path);
    else if (map->sectors_bad > 0)
        base_of(map)->log(base_of(map), CARRICK_LOG_ERROR,
                          "shelf %s: %" PRIu64 " of %" PRIu64 " sectors of its map %s.map are "
                          "damaged. What they stand for counts as different from the partner's; "
                          "check the disk",
                          map->shelf->name, map->sectors_bad, map->sectors, map->shelf->path);
}

static void loaded(struct shelf_map *map)
{
    damage_report(map);
    free(map->buffer);
    map->buffer = NULL;
    map->ready = true;
    map->state = MAP_IDLE;
    shelf_group_map_changed(map->shelf->group);
    if (map->again)
        map_pump(map);
}

// There is no map that fits: the partner may lack everything, unless the shelf itself is new.
static void load_anew(struct shelf_map *map)
{
    // What was found to be whole since the start stays so.
    if (!map->shelf->fresh) {
        map->flags = SHELF_MAP_FLAG_WHOLE;
        shelf_map_mark_all(map);
    }
    map->initialise = true;
    map->head_dirty = true;
    memset(map->sector_state, SECTOR_DIRTY, map->sectors);
    map->version++;
    map->again = true;
    loaded(map);
}

static void load_head(struct shelf_map *map)
{
    const uint8_t *best = NULL;

    for (int slot = 0; slot < 2; slot++) {
        const uint8_t *head = map->buffer + slot * HEAD_BYTES;
        if (head_is_good(map, head)) {
            if (best == NULL || get_u64(head + 16) > get_u64(best + 16))
                best = head;
        } else if (!head_is_empty(head) &&
                   get_u32(head + HEAD_LENGTH) != crc32c(head, HEAD_LENGTH)) {
            map->head_bad = true;
        }
    }
    map->had_head = best != NULL;
    if (best == NULL)
        return;
    map->head_number = get_u64(best + 16);
    // It tells of a disk that is gone; or what was found since the start is newer.
    if (map->shelf->fresh || map->head_dirty)
        return;
    map->flags = get_u32(best + 32);
    memcpy(map->generation, best + 40, 16);
}

static void load_answered(void *arg, int status, int sys_errno)
{
    struct shelf_map *map = arg;
    uint64_t from = map->cursor;

    if (map->closing)
        return;
    if (status != CARRICK_OK) {
        base_of(map)->log(base_of(map), CARRICK_LOG_ERROR,
                          "shelf %s: its map %s.map cannot be read: %s. All of the shelf counts as "
                          "different from the partner's",
                          map->shelf->name, map->shelf->path, strerror(sys_errno));
        load_anew(map);
        return;
    }
    if (from == 0) {
        load_head(map);
        map->cursor = SECTORS_AT;
        // What a head says lies within one sector and is not torn: one that is bad may have been the newer, and said
        // that all differs.
        if (!map->had_head || map->head_bad || map->shelf->fresh) {
            load_anew(map);
            return;
        }
        load_next(map);
        return;
    }
    uint64_t sector = (from - SECTORS_AT) / SECTOR_BYTES;
    for (uint32_t at = 0; at < LOAD_BYTES && sector < map->sectors; at += SECTOR_BYTES)
        sector_load(map, sector++, map->buffer + at);
    map->cursor = SECTORS_AT + sector * SECTOR_BYTES;
    if (sector == map->sectors)
        loaded(map);
    else
        load_next(map);
}

static void load_next(struct shelf_map *map)
{
    uint64_t end = SECTORS_AT + map->sectors * SECTOR_BYTES;
    struct carrick_file_request request = {
        .struct_size = sizeof request,
        .operation = CARRICK_FILE_READ,
        .offset = map->cursor,
        .length = map->cursor == 0 ? SECTORS_AT : shelf_min(LOAD_BYTES, end - map->cursor),
        .data = map->buffer,
        .fn = load_answered,
        .arg = map};

    if (base_of(map)->file_submit(map->file, &request) != CARRICK_OK)
        load_anew(map);
}

// ---- writing: a pass over all sectors that are dirty, and the head; then a sync

static void pass_fail(struct shelf_map *map, int sys_errno)
{
    if (map->error != sys_errno)
        base_of(map)->log(
            base_of(map), CARRICK_LOG_ERROR,
            "shelf %s: its map %s.map cannot be written: %s. The log is not trimmed until "
            "it can; make room, or check the disk",
            map->shelf->name, map->shelf->path, strerror(sys_errno));
    map->error = sys_errno;
    for (uint64_t i = 0; i < map->sectors; i++)
        if (map->sector_state[i] >= SECTOR_IN_PASS)
            map->sector_state[i] = SECTOR_DIRTY;
    map->head_dirty |= map->head_in_pass;
    map->head_in_pass = false;
    map->again = true;
    map->state = MAP_RESTING;
    map->retry_ms = map->retry_ms == 0
                        ? SHELF_RETRY_MS_MIN
                        : (uint32_t)shelf_min(map->retry_ms * 2u, SHELF_RETRY_MS_MAX);
    base_of(map)->timer_start(map->timer, map->retry_ms * 1000000ull);
}

static void pass_end(struct shelf_map *map)
{
    if (map->error != 0)
        base_of(map)->log(base_of(map), CARRICK_LOG_NOTICE,
                          "shelf %s: its map can be written again", map->shelf->name);
    map->error = 0;
    map->retry_ms = 0;
    for (uint64_t i = 0; i < map->sectors; i++) {
        uint64_t at = i * SHELF_MAP_SECTOR_BITS;

        if (map->sector_state[i] < SECTOR_IN_PASS)
            continue;
        memcpy(map->durable + at, map->written + at, sector_length(map, i));
        map->sector_state[i] = map->sector_state[i] == SECTOR_IN_PASS ? SECTOR_CLEAN : SECTOR_DIRTY;
    }
    map->head_in_pass = false;
    map->state = MAP_IDLE;
    if (map->initialise) {
        // Only now, with all sectors in their place, a head may say that this is a map.
        map->initialise = false;
        map->again = true;
    } else {
        map->durable_version = map->pass_version;
    }
    shelf_group_map_changed(map->shelf->group);
}

static void pass_answered(void *arg, int status, int sys_errno)
{
    struct shelf_map *map = arg;

    map->under_way = false;
    free(map->buffer);
    map->buffer = NULL;
    if (map->closing)
        return;
    if (status != CARRICK_OK) {
        pass_fail(map, sys_errno > 0 ? sys_errno : EIO);
        return;
    }
    if (map->state == MAP_SYNCING)
        pass_end(map);
    map_pump(map);
}

static void pass_submit(struct shelf_map *map, uint32_t operation, uint64_t offset, uint64_t length)
{
    struct carrick_file_request request = {.struct_size = sizeof request,
                                           .operation = operation,
                                           .offset = offset,
                                           .length = length,
                                           .data = map->buffer,
                                           .fn = pass_answered,
                                           .arg = map};

    map->under_way = true;
    if (base_of(map)->file_submit(map->file, &request) != CARRICK_OK) {
        map->under_way = false;
        free(map->buffer);
        map->buffer = NULL;
        pass_fail(map, ENOMEM);
    }
}

static bool write_sectors(struct shelf_map *map)
{
    while (map->cursor < map->sectors && map->sector_state[map->cursor] != SECTOR_DIRTY)
        map->cursor++;
    if (map->cursor == map->sectors)
        return false;
    uint64_t first = map->cursor, end = first;
    map->buffer = malloc(BATCH_SECTORS * SECTOR_BYTES);
    if (map->buffer == NULL) {
        pass_fail(map, ENOMEM);
        return true;
    }
    while (end < map->sectors && end - first < BATCH_SECTORS &&
           map->sector_state[end] == SECTOR_DIRTY) {
        sector_encode(map, end, map->buffer + (end - first) * SECTOR_BYTES);
        map->sector_state[end++] = SECTOR_IN_PASS;
    }
    map->cursor = end;
    pass_submit(map, CARRICK_FILE_WRITE, SECTORS_AT + first * SECTOR_BYTES,
                (end - first) * SECTOR_BYTES);
    return true;
}

static bool write_head(struct shelf_map *map)
{
    if (!map->head_dirty || map->initialise)
        return false;
    map->buffer = malloc(HEAD_BYTES);
    if (map->buffer == NULL) {
        pass_fail(map, ENOMEM);
        return true;
    }
    map->head_dirty = false;
    map->head_in_pass = true;
    map->head_number++;
    head_encode(map, map->buffer);
    pass_submit(map, CARRICK_FILE_WRITE, (map->head_number % 2) * HEAD_BYTES, HEAD_BYTES);
    return true;
}

static void map_pump(struct shelf_map *map)
{
    if (map->state == MAP_IDLE && map->again && map->durable_version < map->version) {
        map->again = false;
        map->state = MAP_WRITING;
        map->cursor = 0;
        map->pass_version = map->version;
    }
    if (map->under_way || map->state != MAP_WRITING || write_sectors(map) || write_head(map))
        return;
    map->state = MAP_SYNCING;
    pass_submit(map, CARRICK_FILE_SYNC, 0, 0);
}

static void retry(void *arg)
{
    struct shelf_map *map = arg;

    if (map->state == MAP_RESTING)
        map->state = MAP_IDLE;
    map_pump(map);
}

void shelf_map_flush(struct shelf_map *map)
{
    map->again = true;
    if (map->state == MAP_IDLE)
        map_pump(map);
}

// ---- life

int shelf_map_open(struct shelf *shelf, struct shelf_map **out, struct carrick_error *error)
{
    const struct carrick_host *base = shelf->client->base;
    struct shelf_map *map = calloc(1, sizeof *map);
    char path[SHELF_PATH_MAX + 8];
    int status = CARRICK_ERR_NO_MEMORY;

    *out = map;
    if (map == NULL)
        return status;
    map->shelf = shelf;
    map->chunks = (shelf->bytes + SHELF_CHUNK_BYTES - 1) / SHELF_CHUNK_BYTES;
    map->bytes = (map->chunks + 7) / 8;
    map->sectors = (map->bytes + SHELF_MAP_SECTOR_BITS - 1) / SHELF_MAP_SECTOR_BITS;
    map->bits = calloc(1, map->bytes);
    map->written = calloc(1, map->bytes);
    map->durable = calloc(1, map->bytes);
    map->sector_state = calloc(1, map->sectors);
    map->buffer = malloc(LOAD_BYTES);
    if (map->bits == NULL || map->written == NULL || map->durable == NULL ||
        map->sector_state == NULL || map->buffer == NULL)
        return status;
    status = base->timer_create(base, retry, map, &map->timer);
    if (status != CARRICK_OK)
        return status;
    snprintf(path, sizeof path, "%s.map", shelf->path);
    status = base->file_open(base, path, CARRICK_FILE_CREATE,
                             SECTORS_AT + map->sectors * SECTOR_BYTES, &map->file, NULL, error);
    return status;
}

void shelf_map_load(struct shelf_map *map)
{
    load_next(map);
}

void shelf_map_close(struct shelf_map *map)
{
    if (map == NULL)
        return;
    map->closing = true;
    if (map->file != NULL)
        base_of(map)->file_close(map->file);
    if (map->timer != NULL)
        base_of(map)->timer_destroy(map->timer);
    free(map->buffer);
    free(map->sector_state);
    free(map->durable);
    free(map->written);
    free(map->bits);
    free(map);
}
