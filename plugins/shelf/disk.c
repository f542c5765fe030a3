// SPDX-License-Identifier: Apache-2.0
//
// Requests to the file of a shelf.
#include "shelf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct shelf_sync {
    struct shelf *shelf;
    void (*fn)(void *arg, int sys_errno);
    void *arg;
};

static int errno_of(int status, int sys_errno)
{
    if (status == CARRICK_OK)
        return 0;
    return sys_errno > 0 ? sys_errno : EIO;
}

// The errno that a request ends with which could not even be begun.
static int errno_of_submit(int status)
{
    return status == CARRICK_ERR_NO_MEMORY ? ENOMEM : status == CARRICK_ERR_AGAIN ? EAGAIN : EIO;
}

// Most writes are a block of the user's: they and their data take a cell of the pool, longer ones what they need.
#define POOLED_BYTES 4096u

struct shelf_write *shelf_disk_write_new(struct shelf *shelf, uint64_t bytes)
{
    bool pooled = bytes <= POOLED_BYTES;
    struct shelf_write *write =
        pooled ? shelf_pool_get(&shelf->write_pool, sizeof *write + POOLED_BYTES)
               : malloc(sizeof *write + bytes);

    if (write != NULL)
        *write = (struct shelf_write){.shelf = shelf, .pooled = pooled};
    return write;
}

static void write_free(struct shelf_write *write)
{
    if (write->pooled)
        shelf_pool_put(&write->shelf->write_pool, write);
    else
        free(write);
}

static void write_done(void *arg, int status, int sys_errno)
{
    struct shelf_write *write = arg;

    *write->back = write->next;
    if (write->next != NULL)
        write->next->back = write->back;
    if (write->kind == SHELF_WRITE_CHUNK)
        write->shelf->chunk_writes--;
    write->fn(write, errno_of(status, sys_errno));
    write_free(write);
}

int shelf_disk_write(struct shelf_write *write, uint32_t operation, void *data)
{
    struct shelf *shelf = write->shelf;
    struct carrick_file_request request = {.struct_size = sizeof request,
                                           .operation = operation,
                                           .offset = write->start,
                                           .length = write->end - write->start,
                                           .data = data,
                                           .fn = write_done,
                                           .arg = write};
    int status = shelf->client->base->file_submit(shelf->file, &request);
    if (status != CARRICK_OK) {
        write_free(write);
        return errno_of_submit(status);
    }
    write->next = shelf->writes;
    write->back = &shelf->writes;
    if (write->next != NULL)
        write->next->back = &write->next;
    shelf->writes = write;
    if (write->kind == SHELF_WRITE_CHUNK)
        shelf->chunk_writes++;
    return 0;
}

bool shelf_disk_busy(const struct shelf *shelf, uint64_t start, uint64_t end)
{
    for (const struct shelf_write *write = shelf->writes; write != NULL; write = write->next)
        if (write->start < end && start < write->end)
            return true;
    return false;
}

static void sync_done(void *arg, int status, int sys_errno)
{
    struct shelf_sync sync = *(struct shelf_sync *)arg;

    free(arg);
    // The kernel tells an error of write-back once: all that were not synced before must know of it.
    if (status != CARRICK_OK)
        sync.shelf->sync_failures++;
    sync.fn(sync.arg, errno_of(status, sys_errno));
}

int shelf_disk_sync(struct shelf *shelf, void (*fn)(void *arg, int sys_errno), void *arg)
{
    struct shelf_sync *sync = calloc(1, sizeof *sync);

    if (sync == NULL)
        return ENOMEM;
    *sync = (struct shelf_sync){.shelf = shelf, .fn = fn, .arg = arg};
    struct carrick_file_request request = {.struct_size = sizeof request,
                                           .operation = CARRICK_FILE_SYNC,
                                           .fn = sync_done,
                                           .arg = sync};
    int status = shelf->client->base->file_submit(shelf->file, &request);
    if (status != CARRICK_OK) {
        free(sync);
        return errno_of_submit(status);
    }
    return 0;
}

static const char *what_to_do(int sys_errno)
{
    switch (sys_errno) {
    case ENOSPC:
    case EDQUOT:
        return "make room on its file system";
    case ENOMEM:
    case EAGAIN:
        return "memory is short; it goes on by itself when there is some";
    case EROFS:
        return "its file system has become read-only; check the kernel's log and remount it";
    default:
        return "check the disk and the kernel's log; the group can be handed over meanwhile";
    }
}

void shelf_disk_failed(struct shelf *shelf, const char *what, int sys_errno)
{
    shelf->errors++;
    if (shelf->error == sys_errno)
        return;
    shelf->error = sys_errno;
    if (strcmp(what, "a read") == 0) {
        shelf->client->base->log(
            shelf->client->base, CARRICK_LOG_ERROR,
            "shelf %s: a read of %s failed: %s. Who asked for it got an error; "
            "%s",
            shelf->name, shelf->path, strerror(sys_errno), what_to_do(sys_errno));
        return;
    }
    shelf->client->base->log(shelf->client->base, CARRICK_LOG_ERROR,
                             "shelf %s: %s of %s failed: %s. Nothing is lost, the log keeps it and "
                             "it is tried again; %s",
                             shelf->name, what, shelf->path, strerror(sys_errno),
                             what_to_do(sys_errno));
}

void shelf_disk_works(struct shelf *shelf)
{
    if (shelf->error == 0)
        return;
    shelf->error = 0;
    shelf->client->base->log(shelf->client->base, CARRICK_LOG_NOTICE,
                             "shelf %s: %s can be written again", shelf->name, shelf->path);
}
