// SPDX-License-Identifier: Apache-2.0
//
// The side that is brought up to date.
//
// Of a chunk only that is written for which no record newer than it was told. None of its range may be on the way to the
// disk then, and what the index holds there (older than the chunk) is taken out, so that nothing older lands on it later.
// Records are remembered here for some time after they are on the disks (shelf_follower_remembers), since a chunk is always
// some way behind them; one that is further behind is refused as stale, and read again.
#include "catchup.h"

#include "bytes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REMEMBERED_MAX 16384u // records

enum state { NONE, ASKED, ANSWERING, APPLYING, FINISHING };
enum entry_state { FREE, WAITS, WRITING, WRITTEN, SYNCING, TELL };

struct entry {
    enum entry_state state;
    struct shelf *shelf;
    uint64_t chunk, sequence, start, end;
    uint32_t writes; // parts of it on the way to the disk
    uint8_t *data;   // NULL: zeroes
    uint64_t sync_failures;
    uint32_t outcome;
};

struct shelf_follower {
    enum state state;
    uint64_t run;
    uint8_t generation[16];
    uint64_t lives; // grows at every stop: what is on its way to the disk belongs to an older one
    uint32_t shelf; // ANSWERING: the cursor
    uint64_t byte;
    struct entry entries[SHELF_SLOTS];
    bool sync_runs;
    uint64_t finish_version[SHELF_SHELVES_MAX];
    uint64_t synced_sent;
    uint64_t refused; // messages that made no sense
};

bool shelf_follower_runs(const struct shelf_group *group)
{
    return group->follower->state != NONE;
}

static int send_message(struct shelf_group *group, struct shelf_message *message)
{
    memcpy(message->group, group->name, sizeof message->group);
    message->run = group->follower->run;
    return shelf_link_send(group->client, message);
}

void shelf_follower_stop(struct shelf_group *group)
{
    struct shelf_follower *follower = group->follower;

    for (uint32_t i = 0; i < SHELF_SLOTS; i++)
        free(follower->entries[i].data);
    memset(follower->entries, 0, sizeof follower->entries);
    follower->state = NONE;
    follower->lives++;
    follower->sync_runs = false;
    follower->synced_sent = 0;
    group->hurry_sequence = 0;
}

static void refuse(struct shelf_group *group, const char *text)
{
    struct shelf_message message = {.kind = SHELF_REFUSED,
                                    .payload = (const uint8_t *)text,
                                    .payload_bytes = (uint32_t)strlen(text)};

    group->client->base->log(group->client->base, CARRICK_LOG_ERROR,
                             "group %s: its shelves here are not brought up to date: %s",
                             group->name, text);
    send_message(group, &message);
    group->follower->state = NONE;
}

void shelf_follower_role(struct shelf_group *group)
{
    if (group->follower->state != ASKED)
        shelf_follower_stop(group);
}

// ---- what is void here

static void take_ask(struct shelf_group *group, const struct shelf_message *message)
{
    struct shelf_follower *follower = group->follower;

    shelf_follower_stop(group);
    follower->run = message->run;
    if (message->payload_bytes != 16 + 8 * group->count || message->shelf != group->count) {
        refuse(group, "the configuration names another number of shelves there");
        return;
    }
    for (uint32_t i = 0; i < group->count; i++) {
        if (get_u64(message->payload + 16 + 8 * i) != group->shelves[i]->bytes) {
            refuse(group, "the configuration gives a shelf another size there");
            return;
        }
    }
    memcpy(follower->generation, message->payload, 16);
    follower->state = ASKED;
}

// The role may come later than the question; what an earlier role has on its way to the disk must have landed.
static bool may_answer(const struct shelf_group *group)
{
    if (group->role != CARRICK_LOG_SHADOW || group->sweep.state == SHELF_SWEEP_ENDING ||
        memcmp(group->follower->generation, group->generation.id, 16) != 0 ||
        !shelf_group_maps_ready(group))
        return false;
    for (uint32_t i = 0; i < group->count; i++)
        for (const struct shelf_write *at = group->shelves[i]->writes; at != NULL; at = at->next)
            if (at->kind != SHELF_WRITE_DESTAGE || at->tag != group->sweep.number)
                return false;
    return true;
}

static void answer_ask(struct shelf_group *group)
{
    struct shelf_follower *follower = group->follower;
    uint8_t bits[SHELF_MESSAGE_PAYLOAD_MAX];

    while (follower->shelf < group->count) {
        struct shelf_map *map = group->shelves[follower->shelf]->map;
        struct shelf_message message = {
            .kind = SHELF_LACKS, .shelf = follower->shelf, .payload = bits};
        if (!shelf_map_whole(map)) {
            message.kind = SHELF_LACKS_ALL;
        } else {
            message.chunk = follower->byte;
            message.payload_bytes = shelf_map_take(map, &message.chunk, bits, sizeof bits);
        }
        bool last = message.payload_bytes == 0;
        if ((message.kind == SHELF_LACKS_ALL || !last) &&
            send_message(group, &message) != CARRICK_OK)
            return; // goes on when there is room
        follower->byte = message.chunk + message.payload_bytes;
        if (last) {
            follower->shelf++;
            follower->byte = 0;
        }
    }
    struct shelf_message end = {.kind = SHELF_LACKS_END};
    if (send_message(group, &end) == CARRICK_OK)
        follower->state = APPLYING;
}

// ---- chunks

static void take_chunk(struct shelf_group *group, const struct shelf_message *message)
{
    struct shelf_follower *follower = group->follower;
    struct shelf_link *link = group->client->link;
    bool zero = (message->flags & SHELF_FLAG_ZERO) != 0;

    if (message->shelf >= group->count || message->slot >= SHELF_SLOTS ||
        message->chunk >= shelf_map_chunks(group->shelves[message->shelf]->map) ||
        follower->entries[message->slot].state != FREE || (!zero && link->here == NULL)) {
        follower->refused++;
        return;
    }
    struct shelf *shelf = group->shelves[message->shelf];
    struct entry *entry = &follower->entries[message->slot];
    *entry = (struct entry){.state = WAITS,
                            .shelf = shelf,
                            .chunk = message->chunk,
                            .sequence = message->sequence,
                            .start = message->chunk * SHELF_CHUNK_BYTES};
    entry->end = shelf_min(entry->start + SHELF_CHUNK_BYTES, shelf->bytes);
    if (message->length != entry->end - entry->start) {
        *entry = (struct entry){0};
        follower->refused++;
        return;
    }
    if (zero)
        return;
    // One copy out of what the partner can write, then it is checked.
    const uint8_t *memory = group->client->host->region_ptr(link->here);
    entry->data = malloc(message->length);
    if (entry->data != NULL)
        memcpy(entry->data, memory + (size_t)message->slot * SHELF_CHUNK_BYTES, message->length);
    if (entry->data == NULL || shelf_crc32c(entry->data, message->length) != message->crc) {
        entry->state = TELL;
        entry->outcome = SHELF_CHUNK_ERROR;
    }
}

bool shelf_follower_remembers(const struct shelf_group *group)
{
    return shelf_follower_runs(group) && group->records <= REMEMBERED_MAX;
}

// Which bytes of the chunk a record newer than it covers. NULL: no memory.
static uint8_t *newer_map(const struct shelf_group *group, const struct entry *entry)
{
    uint8_t *covered = calloc(1, entry->end - entry->start);

    if (covered == NULL || group->told <= entry->sequence || group->client->break_resync)
        return covered;
    for (const struct shelf_record *record = group->first; record != NULL; record = record->next) {
        uint64_t start = shelf_max(record->offset, entry->start);
        uint64_t end = shelf_min(record->offset + record->length, entry->end);

        if (record->sequence > entry->sequence && record->shelf == entry->shelf && start < end)
            memset(covered + (start - entry->start), 1, end - start);
    }
    return covered;
}

struct chunk_context {
    struct shelf_group *group;
    uint64_t lives;
    uint32_t slot;
    struct shelf *shelf; // of a sync
};

// An error of any part is the chunk's.
static void entry_written(struct entry *entry)
{
    free(entry->data);
    entry->data = NULL;
    entry->state = entry->outcome == SHELF_CHUNK_ERROR ? TELL : WRITTEN;
}

static void chunk_written(struct shelf_write *write, int sys_errno)
{
    struct chunk_context context = *(struct chunk_context *)write->arg;
    struct shelf_group *group = context.group;

    free(write->arg);
    if (context.lives == group->follower->lives) {
        struct entry *entry = &group->follower->entries[context.slot];
        entry->writes--;
        if (sys_errno != 0) {
            shelf_disk_failed(entry->shelf, "a write", sys_errno);
            entry->outcome = SHELF_CHUNK_ERROR;
        }
        if (entry->writes == 0)
            entry_written(entry);
    }
    shelf_follower_pump(group);
    shelf_destage_pump(group);
}

// Writes [start, end) of the chunk. Returns an errno.
static int part_write(struct shelf_group *group, uint32_t slot, uint64_t start, uint64_t end)
{
    struct entry *entry = &group->follower->entries[slot];
    struct shelf *shelf = entry->shelf;
    struct chunk_context *context = malloc(sizeof *context);
    uint8_t *data = entry->data != NULL ? malloc(end - start) : NULL;
    int sys_errno = ENOMEM;

    if (context != NULL && (data != NULL || entry->data == NULL) &&
        shelf_index_carve(&shelf->index, start, end)) {
        group->drops++;
        *context =
            (struct chunk_context){.group = group, .lives = group->follower->lives, .slot = slot};
        if (data != NULL)
            memcpy(data, entry->data + (start - entry->start), end - start);
        sys_errno = shelf_disk_write(shelf, data != NULL ? CARRICK_FILE_WRITE : CARRICK_FILE_ZERO,
                                     start, end, data, SHELF_WRITE_CHUNK, group->follower->run,
                                     chunk_written, context);
        data = NULL;
    }
    if (sys_errno == 0) {
        entry->writes++;
        return 0;
    }
    free(data);
    free(context);
    shelf_disk_failed(shelf, "a write", sys_errno);
    return sys_errno;
}

static void entry_begin(struct shelf_group *group, uint32_t slot)
{
    struct entry *entry = &group->follower->entries[slot];
    uint64_t length = entry->end - entry->start;

    if (group->told > entry->sequence && group->pruned > entry->sequence &&
        !group->client->break_resync) {
        entry->state = TELL; // which ones are newer is not known any more
        entry->outcome = SHELF_CHUNK_STALE;
        return;
    }
    if (shelf_disk_busy(entry->shelf, entry->start, entry->end))
        return;
    uint8_t *covered = newer_map(group, entry);
    entry->sync_failures = entry->shelf->sync_failures;
    entry->outcome = covered == NULL ? SHELF_CHUNK_ERROR : SHELF_CHUNK_SYNCED;
    for (uint64_t at = 0; entry->outcome != SHELF_CHUNK_ERROR && at < length;) {
        uint64_t end = at;

        while (end < length && covered[end] == covered[at])
            end++;
        if (!covered[at] && part_write(group, slot, entry->start + at, entry->start + end) != 0)
            entry->outcome = SHELF_CHUNK_ERROR;
        at = end;
    }
    free(covered);
    entry->state = WRITING;
    if (entry->writes == 0)
        entry_written(entry);
}

static void chunks_synced(void *arg, int sys_errno)
{
    struct chunk_context context = *(struct chunk_context *)arg;
    struct shelf_group *group = context.group;
    struct shelf_follower *follower = group->follower;

    free(arg);
    if (context.lives != follower->lives)
        return;
    follower->sync_runs = false;
    if (sys_errno != 0)
        shelf_disk_failed(context.shelf, "a sync", sys_errno);
    else
        shelf_disk_works(context.shelf);
    for (uint32_t i = 0; i < SHELF_SLOTS; i++) {
        struct entry *entry = &follower->entries[i];
        if (entry->state != SYNCING)
            continue;
        // The error of this chunk's pages may have been told to another sync.
        bool good = sys_errno == 0 && entry->sync_failures == context.shelf->sync_failures;
        entry->state = TELL;
        entry->outcome = good ? SHELF_CHUNK_SYNCED : SHELF_CHUNK_ERROR;
    }
    shelf_follower_pump(group);
}

// One sync for all that is written on one shelf.
static void sync_begin(struct shelf_group *group)
{
    struct shelf_follower *follower = group->follower;
    struct shelf *shelf = NULL;

    if (follower->sync_runs)
        return;
    for (uint32_t i = 0; i < SHELF_SLOTS && shelf == NULL; i++)
        if (follower->entries[i].state == WRITTEN)
            shelf = follower->entries[i].shelf;
    if (shelf == NULL)
        return;
    struct chunk_context *context = malloc(sizeof *context);
    int sys_errno = ENOMEM;
    if (context != NULL) {
        *context = (struct chunk_context){.group = group, .lives = follower->lives, .shelf = shelf};
        sys_errno = shelf_disk_sync(shelf, chunks_synced, context);
        if (sys_errno != 0)
            free(context);
    }
    for (uint32_t i = 0; i < SHELF_SLOTS; i++) {
        struct entry *entry = &follower->entries[i];
        if (entry->state != WRITTEN || entry->shelf != shelf)
            continue;
        entry->state = sys_errno == 0 ? SYNCING : TELL;
        entry->outcome = SHELF_CHUNK_ERROR;
    }
    follower->sync_runs = sys_errno == 0;
}

static void tell_outcomes(struct shelf_group *group)
{
    for (uint32_t i = 0; i < SHELF_SLOTS; i++) {
        struct entry *entry = &group->follower->entries[i];
        if (entry->state != TELL)
            continue;
        struct shelf_message message = {.kind = SHELF_CHUNK_DONE,
                                        .shelf = entry->shelf->number,
                                        .slot = i,
                                        .chunk = entry->chunk,
                                        .sequence = entry->sequence,
                                        .flags = entry->outcome};
        if (send_message(group, &message) != CARRICK_OK)
            return;
        free(entry->data);
        *entry = (struct entry){0};
    }
}

// ---- the end

static void take_finish(struct shelf_group *group)
{
    struct shelf_follower *follower = group->follower;

    for (uint32_t i = 0; i < SHELF_SLOTS; i++) {
        if (follower->entries[i].state != FREE) {
            follower->refused++;
            return;
        }
    }
    for (uint32_t i = 0; i < group->count; i++) {
        struct shelf_map *map = group->shelves[i]->map;
        shelf_map_clear_all(map);
        shelf_map_set_whole(map, true, &group->generation);
        follower->finish_version[i] = shelf_map_version(map);
    }
    follower->state = FINISHING;
    shelf_group_flush_maps(group);
}

static void finish(struct shelf_group *group)
{
    struct shelf_message message = {.kind = SHELF_FINISHED};

    for (uint32_t i = 0; i < group->count; i++)
        if (shelf_map_durable(group->shelves[i]->map) < group->follower->finish_version[i])
            return;
    if (send_message(group, &message) == CARRICK_OK)
        group->follower->state = APPLYING;
}

void shelf_follower_synced(struct shelf_group *group)
{
    struct shelf_follower *follower = group->follower;
    struct shelf_message message = {.kind = SHELF_SYNCED, .sequence = group->synced_told};

    if ((follower->state != APPLYING && follower->state != FINISHING) ||
        group->synced_told <= follower->synced_sent)
        return;
    if (send_message(group, &message) == CARRICK_OK)
        follower->synced_sent = group->synced_told;
}

void shelf_follower_pump(struct shelf_group *group)
{
    struct shelf_follower *follower = group->follower;

    if (follower == NULL || follower->state == NONE || !group->client->link->up)
        return;
    if (follower->state == ASKED && may_answer(group)) {
        follower->state = ANSWERING;
        follower->shelf = 0;
        follower->byte = 0;
    }
    if (follower->state == ANSWERING)
        answer_ask(group);
    for (uint32_t i = 0; i < SHELF_SLOTS; i++)
        if (follower->entries[i].state == WAITS)
            entry_begin(group, i);
    sync_begin(group);
    tell_outcomes(group);
    if (follower->state == FINISHING)
        finish(group);
    shelf_follower_synced(group);
}

void shelf_follower_received(struct shelf_group *group, const struct shelf_message *message)
{
    struct shelf_follower *follower = group->follower;

    if (message->kind == SHELF_HURRY) {
        group->hurry_sequence = message->sequence;
        shelf_destage_wake(group);
        return;
    }
    if (message->kind == SHELF_ASK)
        take_ask(group, message);
    else if (message->run != follower->run || follower->state != APPLYING)
        follower->refused++; // of a run that is over
    else if (message->kind == SHELF_CHUNK)
        take_chunk(group, message);
    else
        take_finish(group);
    shelf_follower_pump(group);
}

int shelf_follower_open(struct shelf_group *group)
{
    group->follower = calloc(1, sizeof *group->follower);
    return group->follower != NULL ? CARRICK_OK : CARRICK_ERR_NO_MEMORY;
}

void shelf_follower_close(struct shelf_group *group)
{
    if (group->follower == NULL)
        return;
    shelf_follower_stop(group);
    free(group->follower);
    group->follower = NULL;
}
