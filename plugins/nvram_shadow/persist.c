// SPDX-License-Identifier: Apache-2.0
//
// A copy whose backing is a file: the ring is ordinary memory, which the partner can write, and this node's own
// processor brings it into the file. One cycle of writes, then one sync for all of them, at a time.
//
// The order that a crash must find: a record is acknowledged when the sync behind it is done. Space is used again only when a
// head that no longer counts it is synced. Records that were cut are void by the head's limit before they are wiped.
#include "nvram.h"

#include <carrick/error.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { LOAD_BYTES = 4 << 20, LOADS = 4, CYCLE_BYTES = 8 << 20 };
#define RETRY_NS 200000000ull

static void cycle_go_on(struct carrick_log *log);

static int submit(struct carrick_log *log, uint32_t operation, uint64_t offset, uint64_t length,
                  void *data, void (*fn)(void *arg, int status, int sys_errno))
{
    const struct carrick_file_request request = {
        .struct_size = sizeof request,
        .operation = operation,
        .offset = offset,
        .length = length,
        .data = data,
        .fn = fn,
        .arg = log,
    };
    int status = nv_host(log)->base->file_submit(log->persist.file, &request);

    if (status == CARRICK_OK)
        log->persist.under_way++;
    return status;
}

// ---- loading

static void loaded(void *arg, int status, int sys_errno)
{
    struct carrick_log *log = arg;

    log->persist.under_way--;
    if (status != CARRICK_OK && log->persist.status == CARRICK_OK) {
        log->persist.status = status;
        log->persist.sys_errno = sys_errno;
    }
    nv_persist_load(log);
}

// What was not read is not known: the scan must not take it for an empty log.
static void load_failed(struct carrick_log *log)
{
    struct nv_persist *persist = &log->persist;

    persist->error = persist->sys_errno > 0 ? persist->sys_errno : EIO;
    if (!persist->failed)
        nv_log(log, CARRICK_LOG_ERROR,
               "reading %s failed: %s; the copy is out until it can be read (it is tried again)",
               log->config->path, strerror(persist->error));
    persist->failed = true;
    persist->status = CARRICK_OK;
    persist->sys_errno = 0;
    persist->load_at = 0;
    nv_host(log)->base->timer_start(persist->retry, RETRY_NS);
}

void nv_persist_load(struct carrick_log *log)
{
    struct nv_persist *persist = &log->persist;
    uint64_t bytes = nv_copy_bytes(log->config);

    while (persist->status == CARRICK_OK && persist->load_at < bytes &&
           persist->under_way < LOADS) {
        uint64_t length = bytes - persist->load_at;

        if (length > LOAD_BYTES)
            length = LOAD_BYTES;
        persist->status = submit(log, CARRICK_FILE_READ, persist->load_at, length,
                                 log->memory + persist->load_at, loaded);
        if (persist->status == CARRICK_OK)
            persist->load_at += length;
    }
    if (persist->under_way > 0)
        return;
    if (persist->status != CARRICK_OK) {
        load_failed(log);
        return;
    }
    persist->failed = false;
    persist->error = 0;
    nv_copy_loaded(log);
}

static void retry_fired(void *arg)
{
    struct carrick_log *log = arg;

    log->persist.waits = false;
    if (log->loading)
        nv_persist_load(log);
    else
        nv_persist_go(log);
}

int nv_persist_open(struct carrick_log *log, struct carrick_error *error)
{
    const struct carrick_host *base = nv_host(log)->base;
    struct nv_persist *persist = &log->persist;
    int status = base->file_open(base, log->config->path, CARRICK_FILE_CREATE,
                                 nv_copy_bytes(log->config), &persist->file, NULL, error);

    if (status != CARRICK_OK)
        return status;
    persist->staging = aligned_alloc(NV_PAGE, NV_PAGE);
    if (persist->staging == NULL)
        return carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, "", "out of memory");
    memset(persist->staging, 0, NV_PAGE);
    return base->timer_create(base, retry_fired, log, &persist->retry);
}

void nv_persist_close(struct carrick_log *log)
{
    const struct carrick_host *base = nv_host(log)->base;
    struct nv_persist *persist = &log->persist;

    if (persist->retry != NULL)
        base->timer_destroy(persist->retry);
    if (persist->file != NULL)
        base->file_close(persist->file);
    free(persist->staging);
    *persist = (struct nv_persist){0};
}

// ---- cycles

static void cycle_failed(struct carrick_log *log)
{
    struct nv_persist *persist = &log->persist;

    persist->error = persist->sys_errno > 0 ? persist->sys_errno : EIO;
    if (!persist->failed)
        nv_log(log, CARRICK_LOG_ERROR,
               "writing %s failed: %s; nothing more is acknowledged here until it works (make "
               "room, or "
               "replace the disk; the partner can take over)",
               log->config->path, strerror(persist->error));
    if (!persist->failed)
        nv_changed(log);
    persist->failed = true;
    persist->running = false;
    persist->waits = true;
    nv_host(log)->base->timer_start(persist->retry, RETRY_NS);
}

static void cycle_done(struct carrick_log *log)
{
    struct nv_persist *persist = &log->persist;

    if (persist->failed)
        nv_log(log, CARRICK_LOG_NOTICE, "writing %s works again", log->config->path);
    persist->failed = false;
    persist->error = 0;
    persist->running = false;
    if (persist->stage == NV_PERSIST_LOG) {
        persist->done = persist->goal;
        persist->head_done = persist->head_going;
        if (persist->dirty_going != persist->dirty_count)
            persist->stage = NV_PERSIST_LIMIT;
    } else if (persist->dirty_going == persist->dirty_count) {
        persist->stage++;
        if (persist->stage > NV_PERSIST_WIPE) {
            persist->stage = NV_PERSIST_LOG;
            persist->dirty_from = persist->dirty_to = 0;
        }
    } else {
        persist->stage = NV_PERSIST_LIMIT; // another cut came meanwhile
    }
    nv_persist_go(log);
    nv_turn_arm(log); // acknowledges, answers, goes on with what waited for a head
}

static void cycle_landed(void *arg, int status, int sys_errno)
{
    struct carrick_log *log = arg;
    struct nv_persist *persist = &log->persist;

    persist->under_way--;
    if (status != CARRICK_OK && persist->status == CARRICK_OK) {
        persist->status = status;
        persist->sys_errno = sys_errno;
    }
    cycle_go_on(log);
}

static void cycle_go_on(struct carrick_log *log)
{
    struct nv_persist *persist = &log->persist;

    if (persist->under_way > 0)
        return;
    if (persist->status == CARRICK_OK && !persist->syncing) {
        persist->syncing = true;
        persist->status = submit(log, CARRICK_FILE_SYNC, 0, 0, NULL, cycle_landed);
        if (persist->status == CARRICK_OK)
            return;
    }
    // After a failed sync it is not known what of the writes is in the file: all of them are done again.
    if (persist->status != CARRICK_OK)
        cycle_failed(log);
    else
        cycle_done(log);
}

static void write_range(struct carrick_log *log, uint64_t from, uint64_t to)
{
    while (from < to && log->persist.status == CARRICK_OK) {
        uint64_t length = to - from, run = nv_ring_run(&log->ring, from);

        if (length > run)
            length = run;
        log->persist.status = submit(log, CARRICK_FILE_WRITE, log->ring_at + from % log->ring.size,
                                     length, nv_ring_at(&log->ring, from), cycle_landed);
        from += length;
    }
}

static void write_head(struct carrick_log *log)
{
    struct nv_persist *persist = &log->persist;
    struct nv_head head = log->head;

    // Slots of the file in turn, one for each sync: the other one is whole whatever happens.
    head.write = persist->slot++;
    if (persist->stage == NV_PERSIST_LIMIT)
        head.limit = persist->dirty_limit;
    nv_head_encode(&head, persist->staging);
    persist->status = submit(log, CARRICK_FILE_WRITE, (head.write % 2) * NV_PAGE, NV_PAGE,
                             persist->staging, cycle_landed);
}

void nv_persist_go(struct carrick_log *log)
{
    struct nv_persist *persist = &log->persist;

    if (!nv_syncs(log) || persist->file == NULL || persist->running || persist->waits ||
        log->loading || log->scanning || log->condition == CARRICK_LOG_SCANNING)
        return;
    if (persist->stage == NV_PERSIST_LOG && persist->done.position == log->ring.tail.position &&
        persist->head_done == persist->head_wanted)
        return;
    persist->running = true;
    persist->syncing = false;
    persist->status = CARRICK_OK;
    persist->sys_errno = 0;
    persist->dirty_going = persist->dirty_count;
    persist->goal = persist->done;
    persist->head_going = persist->head_done;
    if (persist->stage == NV_PERSIST_LIMIT) {
        write_head(log);
    } else if (persist->stage == NV_PERSIST_WIPE) {
        write_range(log, persist->dirty_from, persist->dirty_to);
    } else {
        persist->goal = nv_ring_ahead(&log->ring, &persist->done, CYCLE_BYTES);
        write_range(log, persist->done.position, persist->goal.position);
        if (persist->head_done != persist->head_wanted) {
            persist->head_going = persist->head_wanted;
            write_head(log);
        }
    }
    cycle_go_on(log);
}

void nv_persist_rewound(struct carrick_log *log, uint64_t dirty_to)
{
    struct nv_persist *persist = &log->persist;
    const struct nv_cursor *tail = &log->ring.tail;

    if (!nv_syncs(log))
        return;
    if (persist->done.position > tail->position)
        persist->done = *tail;
    if (persist->goal.position > tail->position)
        persist->goal = *tail;
    if (dirty_to <= tail->position)
        return;
    if (persist->dirty_from == persist->dirty_to || tail->position < persist->dirty_from)
        persist->dirty_from = tail->position;
    if (dirty_to > persist->dirty_to)
        persist->dirty_to = dirty_to;
    persist->dirty_limit = tail->sequence - 1;
    persist->dirty_count++;
    persist->stage = persist->running ? persist->stage : NV_PERSIST_LIMIT;
}
