// SPDX-License-Identifier: Apache-2.0
//
// The side that is brought up to date: chunks that come, and their way to the disk.
//
// Of a chunk only that is written for which no record newer than it was told. None of its range may be on the way to the
// disk then, and what the index holds there (older than the chunk) is taken out, so that nothing older lands on it later.
// Records are remembered here for some time after they are on the disks (shelf_follower_remembers), since a chunk is always
// some way behind them; one that is further behind is refused as stale, and read again.
#include "follower_internal.h"

#include "common/crc32c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REMEMBERED_MAX 16384u // records
#define SYNC_BYTES (8u << 20) // so much is worth a sync while more is coming

void follower_take_chunk(struct shelf_group *group, const struct shelf_message *message)
{
    struct shelf_follower *follower = group->follower;
    struct shelf_link *link = group->client->link;
    bool zero = (message->flags & SHELF_FLAG_ZERO) != 0;

    if (message->shelf >= group->count || message->slot >= SHELF_SLOTS ||
        message->chunk >= shelf_map_chunks(group->shelves[message->shelf]->map) ||
        follower->entries[message->slot].state != ENTRY_FREE || (!zero && link->here == NULL)) {
        follower->refused++;
        return;
    }
    struct shelf *shelf = group->shelves[message->shelf];
    struct follower_entry *entry = &follower->entries[message->slot];
    *entry = (struct follower_entry){.state = ENTRY_WAITS,
                                     .shelf = shelf,
                                     .chunk = message->chunk,
                                     .sequence = message->sequence,
                                     .start = message->chunk * SHELF_CHUNK_BYTES};
    entry->end = entry->start + message->length;
    // Whole chunks; the shelf's last one may be shorter.
    if (message->length == 0 || message->length > SHELF_SLOT_BYTES || entry->end > shelf->bytes ||
        (message->length % SHELF_CHUNK_BYTES != 0 && entry->end != shelf->bytes)) {
        *entry = (struct follower_entry){0};
        follower->refused++;
        return;
    }
    if (zero)
        return;
    // One copy out of what the partner can write, then it is checked.
    const uint8_t *memory = group->client->host->region_ptr(link->here);
    entry->data = shelf_data_get(group->client);
    if (entry->data != NULL)
        memcpy(entry->data->bytes, memory + (size_t)message->slot * SHELF_SLOT_BYTES,
               message->length);
    if (entry->data == NULL || crc32c(entry->data->bytes, message->length) != message->crc) {
        entry->state = ENTRY_TELL;
        entry->outcome = SHELF_CHUNK_ERROR;
    }
}

bool shelf_follower_remembers(const struct shelf_group *group)
{
    return shelf_follower_runs(group) && group->records <= REMEMBERED_MAX;
}

// The part of a record newer than the run that lies in it. false: none.
static bool covers(const struct follower_entry *entry, const struct shelf_record *record,
                   uint64_t *start, uint64_t *end)
{
    *start = shelf_max(record->offset, entry->start);
    *end = shelf_min(record->offset + record->length, entry->end);
    return record->shelf == entry->shelf && *start < *end;
}

// Which bytes of the run a record newer than it covers. *covered NULL: none. false: no memory.
static bool newer_map(const struct shelf_group *group, const struct follower_entry *entry,
                      uint8_t **covered)
{
    uint64_t start, end;

    *covered = NULL;
    if (group->told <= entry->sequence || group->client->break_resync)
        return true;
    for (const struct shelf_record *record = group->last;
         record != NULL && record->sequence > entry->sequence; record = record->previous) {
        if (!covers(entry, record, &start, &end))
            continue;
        if (*covered == NULL && (*covered = calloc(1, entry->end - entry->start)) == NULL)
            return false;
        memset(*covered + (start - entry->start), 1, end - start);
    }
    return true;
}

struct run_context {
    struct shelf_group *group;
    uint64_t lives;
    uint32_t slot;
    struct shelf_data *data;
    struct shelf *shelf; // of a sync
};

// An error of any part is the run's.
static void entry_written(struct shelf_group *group, struct follower_entry *entry)
{
    shelf_data_put(group->client, entry->data);
    entry->data = NULL;
    entry->state = ENTRY_TELL;
}

static void part_written(struct shelf_write *write, int sys_errno)
{
    struct run_context context = *(struct run_context *)write->arg;
    struct shelf_group *group = context.group;

    free(write->arg);
    shelf_data_put(group->client, context.data);
    if (context.lives == group->follower->lives) {
        struct follower_entry *entry = &group->follower->entries[context.slot];
        entry->writes--;
        if (sys_errno != 0) {
            shelf_disk_failed(entry->shelf, "a write", sys_errno);
            entry->outcome = SHELF_CHUNK_ERROR;
        }
        if (entry->writes == 0)
            entry_written(group, entry);
    }
    shelf_follower_pump(group);
    shelf_destage_pump(group);
}

// Gives the disk bytes [start, end) of the entry. Returns an errno.
static int part_submit(struct shelf_group *group, struct run_context of, uint64_t start,
                       uint64_t end)
{
    struct follower_entry *entry = &group->follower->entries[of.slot];
    uint8_t *bytes = of.data != NULL ? of.data->bytes + (start - entry->start) : NULL;
    struct run_context *context = malloc(sizeof *context);
    struct shelf_write *write = context != NULL ? shelf_disk_write_new(entry->shelf, 0) : NULL;

    if (write == NULL) {
        free(context);
        return ENOMEM;
    }
    *context = of;
    write->start = start;
    write->end = end;
    write->kind = SHELF_WRITE_CHUNK;
    write->tag = group->follower->run;
    write->fn = part_written;
    write->arg = context;
    int sys_errno =
        shelf_disk_write(write, bytes != NULL ? CARRICK_FILE_WRITE : CARRICK_FILE_ZERO, bytes);
    if (sys_errno != 0)
        free(context);
    return sys_errno;
}

// Writes [start, end) of the run. Returns an errno.
static int part_write(struct shelf_group *group, uint32_t slot, uint64_t start, uint64_t end)
{
    struct follower_entry *entry = &group->follower->entries[slot];
    struct shelf *shelf = entry->shelf;
    int sys_errno = ENOMEM;

    if (shelf_index_carve(&shelf->index, start, end)) {
        group->drops++;
        sys_errno = part_submit(
            group,
            (struct run_context){
                .group = group, .lives = group->follower->lives, .slot = slot, .data = entry->data},
            start, end);
    }
    if (sys_errno != 0) {
        shelf_disk_failed(shelf, "a write", sys_errno);
        return sys_errno;
    }
    entry->writes++;
    if (entry->data != NULL)
        entry->data->users++;
    return 0;
}

static void entry_begin(struct shelf_group *group, uint32_t slot)
{
    struct follower_entry *entry = &group->follower->entries[slot];
    uint64_t length = entry->end - entry->start;
    uint8_t *covered;

    if (group->told > entry->sequence && group->pruned > entry->sequence &&
        !group->client->break_resync) {
        entry->state = ENTRY_TELL; // which ones are newer is not known any more
        entry->outcome = SHELF_CHUNK_STALE;
        return;
    }
    if (shelf_disk_busy(entry->shelf, entry->start, entry->end))
        return;
    entry->sync_failures = entry->shelf->sync_failures;
    entry->outcome = newer_map(group, entry, &covered) ? SHELF_CHUNK_WRITTEN : SHELF_CHUNK_ERROR;
    for (uint64_t at = 0; entry->outcome != SHELF_CHUNK_ERROR && at < length;) {
        uint64_t end = covered == NULL ? length : at;

        while (end < length && covered[end] == covered[at])
            end++;
        if ((covered == NULL || !covered[at]) &&
            part_write(group, slot, entry->start + at, entry->start + end) != 0)
            entry->outcome = SHELF_CHUNK_ERROR;
        at = end;
    }
    free(covered);
    entry->state = ENTRY_WRITING;
    if (entry->writes == 0)
        entry_written(group, entry);
}

// ---- syncs: the owner hears of a run when it is written, so that its slot is free; and of many, when they are synced

static void runs_synced(void *arg, int sys_errno)
{
    struct run_context context = *(struct run_context *)arg;
    struct shelf_group *group = context.group;
    struct follower_sync *sync = &group->follower->sync;

    free(arg);
    if (context.lives != group->follower->lives)
        return;
    if (sys_errno != 0)
        shelf_disk_failed(context.shelf, "a sync", sys_errno);
    else
        shelf_disk_works(context.shelf);
    // The error of these pages may have been told to another sync.
    bool good = sys_errno == 0 && sync->sync_failures == context.shelf->sync_failures;
    sync->outcome = good ? SHELF_CHUNK_SYNCED : SHELF_CHUNK_ERROR;
    sync->state = SYNC_TELL;
    shelf_follower_pump(group);
}

static bool is_idle(const struct shelf_follower *follower)
{
    for (uint32_t i = 0; i < SHELF_SLOTS; i++)
        if (follower->entries[i].state != ENTRY_FREE)
            return false;
    return true;
}

// A shelf with enough to sync; all that is written, when nothing more is under way.
static struct shelf *sync_due(struct shelf_group *group)
{
    struct shelf_follower *follower = group->follower;
    uint64_t least = is_idle(follower) ? 1 : SYNC_BYTES;

    for (uint32_t i = 0; i < group->count; i++)
        if (follower->unsynced[i].bytes >= least)
            return group->shelves[i];
    return NULL;
}

static void sync_begin(struct shelf_group *group)
{
    struct shelf_follower *follower = group->follower;
    struct shelf *shelf = follower->sync.state == SYNC_NONE ? sync_due(group) : NULL;

    if (shelf == NULL)
        return;
    struct follower_unsynced *unsynced = &follower->unsynced[shelf->number];
    struct run_context *context = malloc(sizeof *context);
    int sys_errno = ENOMEM;
    if (context != NULL) {
        *context = (struct run_context){.group = group, .lives = follower->lives, .shelf = shelf};
        sys_errno = shelf_disk_sync(shelf, runs_synced, context);
        if (sys_errno != 0)
            free(context);
    }
    follower->sync = (struct follower_sync){.state = sys_errno == 0 ? SYNC_RUNS : SYNC_TELL,
                                            .shelf = shelf,
                                            .number = follower->written,
                                            .sync_failures = unsynced->sync_failures,
                                            .outcome = SHELF_CHUNK_ERROR};
    *unsynced = (struct follower_unsynced){0};
}

static void tell_synced(struct shelf_group *group)
{
    struct follower_sync *sync = &group->follower->sync;
    struct shelf_message message = {.kind = SHELF_CHUNKS_SYNCED};

    if (sync->state != SYNC_TELL)
        return;
    message.shelf = sync->shelf->number;
    message.sequence = sync->number;
    message.flags = sync->outcome;
    if (follower_send(group, &message) == CARRICK_OK)
        *sync = (struct follower_sync){0};
}

static void unsynced_add(struct shelf_follower *follower, const struct follower_entry *entry)
{
    struct follower_unsynced *unsynced = &follower->unsynced[entry->shelf->number];

    if (unsynced->bytes == 0 || entry->sync_failures < unsynced->sync_failures)
        unsynced->sync_failures = entry->sync_failures;
    unsynced->bytes += entry->end - entry->start;
}

static void tell_outcomes(struct shelf_group *group)
{
    struct shelf_follower *follower = group->follower;

    for (uint32_t i = 0; i < SHELF_SLOTS; i++) {
        struct follower_entry *entry = &follower->entries[i];
        if (entry->state != ENTRY_TELL)
            continue;
        bool written = entry->outcome == SHELF_CHUNK_WRITTEN;
        struct shelf_message message = {.kind = SHELF_CHUNK_DONE,
                                        .shelf = entry->shelf->number,
                                        .slot = i,
                                        .chunk = entry->chunk,
                                        .sequence = written ? follower->written + 1 : 0,
                                        .flags = entry->outcome};
        if (follower_send(group, &message) != CARRICK_OK)
            return;
        if (written) {
            follower->written++;
            unsynced_add(follower, entry);
        }
        shelf_data_put(group->client, entry->data);
        *entry = (struct follower_entry){0};
    }
}

void follower_apply(struct shelf_group *group)
{
    for (uint32_t i = 0; i < SHELF_SLOTS; i++)
        if (group->follower->entries[i].state == ENTRY_WAITS)
            entry_begin(group, i);
    tell_outcomes(group);
    sync_begin(group);
    tell_synced(group);
}

bool follower_applied(const struct shelf_group *group)
{
    const struct shelf_follower *follower = group->follower;
    bool unsynced = !is_idle(follower) || follower->sync.state != SYNC_NONE;

    for (uint32_t i = 0; i < group->count; i++)
        unsynced |= follower->unsynced[i].bytes > 0;
    return !unsynced;
}

void follower_apply_leave(struct shelf_group *group)
{
    struct shelf_follower *follower = group->follower;

    for (uint32_t i = 0; i < SHELF_SLOTS; i++)
        shelf_data_put(group->client, follower->entries[i].data);
    memset(follower->entries, 0, sizeof follower->entries);
    memset(follower->unsynced, 0, sizeof follower->unsynced);
    follower->sync = (struct follower_sync){0};
    follower->written = 0;
    follower->lives++;
}
