// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_disk_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATENCY_NS 50000u

struct sim_disk *sim_disk_create(uint64_t seed)
{
    struct sim_disk *disk = sim_take(calloc(1, sizeof(*disk)));

    sim_random_init(&disk->random, seed, "disk");
    return disk;
}

static void pending_free(struct pending *pending)
{
    free(pending->data);
    free(pending);
}

static void file_free(struct sim_file *file)
{
    while (file->pending != NULL) {
        struct pending *pending = file->pending;

        file->pending = pending->next;
        pending_free(pending);
    }
    free(file->content);
    free(file->durable);
    free(file->path);
    free(file);
}

void sim_disk_free(struct sim_disk *disk)
{
    while (disk->files != NULL) {
        struct sim_file *file = disk->files;

        disk->files = file->next;
        file_free(file);
    }
    while (disk->memories != NULL) {
        struct sim_memory *memory = disk->memories;

        disk->memories = memory->next;
        sim_memory_free(memory);
    }
    free(disk);
}

void sim_disk_set_faults(struct sim_disk *disk, const struct sim_disk_faults *faults)
{
    disk->faults = *faults;
}

uint64_t sim_disk_latency_ns(struct sim_disk *disk)
{
    uint64_t max = disk->faults.latency_max_ns;

    return sim_random_below(&disk->random, max > 0 ? max : LATENCY_NS) + 1000;
}

static struct sim_file *file_find(struct sim_disk *disk, const char *path)
{
    for (struct sim_file *file = disk->files; file != NULL; file = file->next)
        if (strcmp(file->path, path) == 0)
            return file;
    return NULL;
}

const uint8_t *sim_disk_content(struct sim_disk *disk, const char *path, uint64_t *bytes)
{
    struct sim_file *file = file_find(disk, path);

    *bytes = file == NULL ? 0 : file->bytes;
    return file == NULL ? NULL : file->content;
}

static const uint8_t *pending_data(const struct sim_file *file, const struct pending *pending)
{
    return pending->data != NULL ? pending->data : file->content + pending->offset;
}

// The content is about to change there: what is pending keeps what it wrote.
static void pending_keep(struct sim_file *file, uint64_t offset, uint64_t length)
{
    for (struct pending *pending = file->pending; pending != NULL; pending = pending->next) {
        if (pending->data != NULL || pending->offset >= offset + length ||
            offset >= pending->offset + pending->length)
            continue;
        pending->data = sim_take(malloc(pending->length));
        memcpy(pending->data, file->content + pending->offset, pending->length);
    }
}

bool sim_disk_rot(struct sim_disk *disk, const char *path, uint64_t first, uint64_t length)
{
    struct sim_file *file = file_find(disk, path);
    struct sim_memory *memory = disk->memories;
    uint64_t at = first + sim_random_below(&disk->random, length);
    uint8_t bit = (uint8_t)(1u << sim_random_below(&disk->random, 8));

    if (file != NULL && at < file->bytes) {
        pending_keep(file, at, 1);
        file->content[at] ^= bit;
        file->durable[at] = file->content[at];
        return true;
    }
    while (memory != NULL && strcmp(memory->path, path) != 0)
        memory = memory->next;
    if (memory == NULL || at >= memory->bytes)
        return false;
    ((uint8_t *)memory->address)[at] ^= bit;
    return true;
}

// ---- files

static void file_lengthen(struct sim_file *file, uint64_t bytes)
{
    file->content = sim_take(realloc(file->content, bytes));
    file->durable = sim_take(realloc(file->durable, bytes));
    memset(file->content + file->bytes, 0, bytes - file->bytes);
    memset(file->durable + file->bytes, 0, bytes - file->bytes);
    file->bytes = bytes;
}

static struct sim_file *file_make(struct sim_disk *disk, const char *path)
{
    struct sim_file *file = sim_take(calloc(1, sizeof(*file)));

    file->disk = disk;
    file->path = sim_take(strdup(path));
    file->last = &file->pending;
    file->next = disk->files;
    disk->files = file;
    return file;
}

static int refuse(struct carrick_error *error, int status, int cause, const char *path)
{
    error->status = status;
    error->sys_errno = cause;
    snprintf(error->text, sizeof(error->text), "%s cannot be opened: %s", path, strerror(cause));
    return status;
}

int sim_file_open(struct sim_disk *disk, const char *path, uint32_t flags, uint64_t bytes,
                  struct sim_file **out, struct carrick_file_info *info,
                  struct carrick_error *error)
{
    struct sim_file *file = file_find(disk, path);

    info->created = file == NULL && (flags & CARRICK_FILE_CREATE) != 0;
    if (file == NULL && !info->created)
        return refuse(error, CARRICK_ERR_SYSTEM, ENOENT, path);
    if (file == NULL)
        file = file_make(disk, path);
    if (file->open)
        return refuse(error, CARRICK_ERR_EXISTS, EWOULDBLOCK, path);
    if (file->bytes < bytes && (flags & CARRICK_FILE_CREATE) == 0)
        return refuse(error, CARRICK_ERR_BOUNDS, 0, path);
    if (file->bytes < bytes)
        file_lengthen(file, bytes);
    file->open = true;
    info->kind = CARRICK_FILE_REGULAR;
    info->bytes = file->bytes;
    *out = file;
    return CARRICK_OK;
}

void sim_file_close(struct sim_file *file)
{
    file->open = false;
}

int sim_file_read_now(struct sim_file *file, uint64_t offset, void *data, uint64_t length)
{
    struct sim_disk *disk = file->disk;

    if (offset > file->bytes || length > file->bytes - offset)
        return CARRICK_ERR_BOUNDS;
    if (disk->faults.read_error > 0 || sim_random_percent(&disk->random, 40))
        return CARRICK_ERR_AGAIN;
    memcpy(data, file->content + offset, length);
    return CARRICK_OK;
}

// ---- requests

int sim_io_begin(struct sim_file *file, const struct carrick_file_request *request,
                 struct sim_io **out)
{
    struct sim_io *io;

    if (request->operation < CARRICK_FILE_READ || request->operation > CARRICK_FILE_TRIM)
        return CARRICK_ERR_INVALID;
    if (request->operation != CARRICK_FILE_SYNC &&
        (request->offset > file->bytes || request->length > file->bytes - request->offset))
        return CARRICK_ERR_BOUNDS;
    io = sim_take(calloc(1, sizeof(*io)));
    io->file = file;
    io->request = *request;
    io->posted = ++file->disk->stamp;
    io->next = file->ios;
    file->ios = io;
    *out = io;
    return CARRICK_OK;
}

static struct pending *pending_add(struct sim_file *file, uint64_t offset, uint64_t length,
                                   const void *data)
{
    struct pending *pending = sim_take(malloc(sizeof(*pending)));

    pending_keep(file, offset, length);
    *pending = (struct pending){.offset = offset, .length = length};
    *file->last = pending;
    file->last = &pending->next;
    if (data != NULL)
        memcpy(file->content + offset, data, length);
    else
        memset(file->content + offset, 0, length);
    return pending;
}

static bool overlap(const struct pending *a, const struct pending *b)
{
    return a->offset < b->offset + b->length && b->offset < a->offset + a->length;
}

static bool overlaps_covered(const struct pending *pending, uint64_t posted)
{
    for (const struct pending *later = pending->next; later != NULL; later = later->next)
        if (later->done != 0 && later->done < posted && overlap(pending, later))
            return true;
    return false;
}

static void pending_end(struct sim_file *file, struct pending **at)
{
    struct pending *pending = *at;

    *at = pending->next;
    if (file->last == &pending->next)
        file->last = at;
    if (pending->io != NULL)
        pending->io->pending = NULL;
    pending_free(pending);
}

// What had completed when the sync was posted is on the disk now, or, after a failure, perhaps never; of the rest, what
// lies beneath it cannot come back.
static void file_sync(struct sim_file *file, uint64_t posted, bool fails)
{
    struct sim_random *random = &file->disk->random;
    bool rest = sim_random_percent(random, 50);

    for (struct pending **at = &file->pending; *at != NULL;) {
        struct pending *pending = *at;
        bool covered = pending->done != 0 && pending->done < posted;

        if (!covered && !rest && !overlaps_covered(pending, posted)) {
            at = &pending->next;
            continue;
        }
        if (!fails || sim_random_percent(random, 50))
            memcpy(file->durable + pending->offset, pending_data(file, pending), pending->length);
        pending_end(file, at);
    }
    file->settled |= !fails;
}

static uint64_t part_draw(struct sim_disk *disk, uint64_t length)
{
    uint64_t sectors = (length + SIM_SECTOR - 1) / SIM_SECTOR;
    uint64_t part = sim_random_below(&disk->random, sectors + 1) * SIM_SECTOR;

    return part < length ? part : length;
}

static const struct sim_disk_faults *faults_of(const struct sim_file *file)
{
    static const struct sim_disk_faults none = {0};
    const struct sim_disk_faults *faults = &file->disk->faults;

    return faults->only == NULL || strstr(file->path, faults->only) != NULL ? faults : &none;
}

void sim_io_effect(struct sim_io *io)
{
    struct sim_file *file = io->file;
    struct sim_disk *disk = file->disk;
    const struct carrick_file_request *request = &io->request;
    const struct sim_disk_faults *faults = faults_of(file);
    uint64_t length = request->length;

    io->effected = true;
    switch (request->operation) {
    case CARRICK_FILE_READ:
        if (sim_random_percent(&disk->random, faults->read_error))
            io->sys_errno = EIO;
        else
            memcpy(request->data, file->content + request->offset, length);
        return;
    case CARRICK_FILE_SYNC:
        if (sim_random_percent(&disk->random, faults->sync_error))
            io->sys_errno = EIO;
        file_sync(file, io->posted, io->sys_errno != 0);
        return;
    default:
        if (faults->full && request->operation != CARRICK_FILE_TRIM)
            io->sys_errno = ENOSPC;
        else if (sim_random_percent(&disk->random, faults->write_error))
            io->sys_errno = EIO;
        if (io->sys_errno != 0)
            length = part_draw(disk, length);
        io->pending = pending_add(file, request->offset, length, request->data);
        io->pending->io = io;
    }
}

void sim_io_end(struct sim_io *io)
{
    struct carrick_file_request request = io->request;
    struct sim_file *file = io->file;
    struct sim_io **at = &file->ios;
    int sys_errno = io->sys_errno;

    while (*at != io)
        at = &(*at)->next;
    *at = io->next;
    if (io->pending != NULL) {
        io->pending->io = NULL;
        io->pending->done = ++file->disk->stamp;
    }
    free(io);
    request.fn(request.arg, sys_errno == 0 ? CARRICK_OK : CARRICK_ERR_SYSTEM, sys_errno);
}

// ---- deaths

static struct sim_file *file_copy(struct sim_disk *disk, const struct sim_file *from)
{
    struct sim_file *file = file_make(disk, from->path);

    file_lengthen(file, from->bytes);
    memcpy(file->content, from->content, from->bytes);
    memcpy(file->durable, from->durable, from->bytes);
    file->settled = from->settled;
    for (const struct pending *pending = from->pending; pending != NULL; pending = pending->next)
        pending_add(file, pending->offset, pending->length, pending_data(from, pending))->done =
            pending->done != 0 ? pending->done : ++disk->stamp; // the next one's sync covers it
    // pending_add lays each over the content in order: what is seen in the end is what was seen there.
    return file;
}

// What was posted and has not happened yet.
static void file_under_way(struct sim_file *file, const struct sim_file *from)
{
    struct sim_random *random = &file->disk->random;

    for (const struct sim_io *io = from->ios; io != NULL; io = io->next) {
        const struct carrick_file_request *request = &io->request;

        if (io->effected || request->operation == CARRICK_FILE_READ ||
            sim_random_percent(random, 50))
            continue;
        if (request->operation == CARRICK_FILE_SYNC)
            file_sync(file, io->posted, false);
        else
            pending_add(file, request->offset, part_draw(file->disk, request->length),
                        request->data);
    }
}

static void file_lose_power(struct sim_file *file, unsigned percent)
{
    while (file->pending != NULL) {
        const struct pending *pending = file->pending;
        uint64_t end = pending->offset + pending->length;

        for (uint64_t at = pending->offset; at < end;) {
            uint64_t next = (at / SIM_SECTOR + 1) * SIM_SECTOR;

            next = next < end ? next : end;
            if (sim_random_percent(&file->disk->random, percent))
                memcpy(file->durable + at, pending_data(file, pending) + (at - pending->offset),
                       next - at);
            at = next;
        }
        pending_end(file, &file->pending);
    }
    memcpy(file->content, file->durable, file->bytes);
}

static void files_lose_power(struct sim_disk *disk)
{
    static const unsigned percents[] = {0, 10, 50, 90, 100};

    for (struct sim_file **at = &disk->files; *at != NULL;) {
        struct sim_file *file = *at;

        file_lose_power(file, percents[sim_random_below(&disk->random, 5)]);
        if (file->settled || sim_random_percent(&disk->random, 50)) {
            at = &file->next;
            continue;
        }
        *at = file->next; // its name was never written
        file_free(file);
    }
}

struct sim_disk *sim_disk_after(struct sim_disk *disk, enum sim_death death)
{
    struct sim_disk *after = sim_disk_create(sim_random_next(&disk->random));

    after->faults = disk->faults;
    after->stamp = disk->stamp;
    for (const struct sim_file *from = disk->files; from != NULL; from = from->next)
        file_under_way(file_copy(after, from), from);
    if (death == SIM_DEATH_POWER) {
        files_lose_power(after);
        return after;
    }
    for (const struct sim_memory *from = disk->memories; from != NULL; from = from->next) {
        struct sim_memory *memory = sim_memory_copy(from);

        memory->next = after->memories;
        after->memories = memory;
    }
    return after;
}
