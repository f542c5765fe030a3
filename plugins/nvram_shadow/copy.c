// SPDX-License-Identifier: Apache-2.0
//
// This node's copy: opening it, what its head bears, its promise, cutting it.
#include "nvram.h"

#include <carrick/error.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t nv_ring_at_of(const struct nv_group_config *config)
{
    return config->backing == NV_BACKING_HUGETLBFS || config->backing == NV_BACKING_DAX
               ? NV_RING_AT_HUGE
               : NV_RING_AT;
}

uint64_t nv_copy_bytes(const struct nv_group_config *config)
{
    return nv_ring_at_of(config) + config->ring_bytes;
}

static int region_get(struct carrick_log *log, struct carrick_error *error)
{
    const struct carrick_client_host *host = nv_host(log);
    const struct nv_group_config *config = log->config;
    struct carrick_region_info info = {.struct_size = sizeof info};
    int status;

    if (config->backing == NV_BACKING_MEMORY || config->backing == NV_BACKING_FILE) {
        log->level =
            config->backing == NV_BACKING_FILE ? CARRICK_LEVEL_PERSISTENT : CARRICK_LEVEL_VOLATILE;
        status = host->region_create(host, nv_copy_bytes(config), &log->region);
        if (status != CARRICK_OK)
            carrick_error_set(error, status, 0, "",
                              "group \"%s\": no memory for a log of %llu bytes", config->name,
                              (unsigned long long)nv_copy_bytes(config));
        return status;
    }
    status =
        host->region_open(host, config->path, nv_copy_bytes(config), &log->region, &info, error);
    if (status != CARRICK_OK)
        return status;
    // Persistent memory takes more than a completed write to be persistent, and this version does not do it.
    log->level = info.kind >= CARRICK_REGION_MEMORY ? CARRICK_LEVEL_MEMORY : CARRICK_LEVEL_VOLATILE;
    return CARRICK_OK;
}

int nv_copy_open(struct carrick_log *log, struct carrick_error *error)
{
    const struct nv_group_config *config = log->config;
    struct nv_cursor *marks;
    char pointer[64];
    int status = region_get(log, error);

    if (status != CARRICK_OK)
        return status;
    if (log->level < config->level) {
        snprintf(pointer, sizeof pointer, "/groups/%u/level", log->index);
        return carrick_error_config(error, pointer, "\"%s\" is asked for, but %s gives \"%s\" only",
                                    nv_level_name(config->level), config->path,
                                    nv_level_name(log->level));
    }
    log->memory = nv_host(log)->region_ptr(log->region);
    log->ring_at = nv_ring_at_of(config);
    marks = calloc(nv_ring_mark_count(config->ring_bytes), sizeof *marks);
    if (marks == NULL)
        return carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, "", "out of memory");
    nv_ring_init(&log->ring, log->memory + log->ring_at, config->ring_bytes, marks);
    log->condition = CARRICK_LOG_SCANNING;
    if (nv_syncs(log)) {
        status = nv_persist_open(log, error);
        if (status == CARRICK_OK)
            log->loading = true;
        return status;
    }
    nv_copy_loaded(log);
    return CARRICK_OK;
}

void nv_copy_close(struct carrick_log *log)
{
    nv_persist_close(log);
    if (log->region != NULL)
        nv_host(log)->region_destroy(log->region);
    free(log->ring.marks);
    log->region = NULL;
    log->ring.marks = NULL;
}

// What an earlier daemon promised ended with it: nothing can write the copy any more.
static void head_begin(struct carrick_log *log, bool usable)
{
    struct nv_head *head = &log->head;

    if (!usable) {
        uint64_t write = head->write;

        *head = (struct nv_head){.write = write,
                                 .ring_bytes = log->config->ring_bytes,
                                 .ring_at = log->ring_at,
                                 .first = {.sequence = 1},
                                 .limit = UINT64_MAX};
        memcpy(head->group, log->config->name, sizeof head->group);
    }
    log->persist.slot = head->write + 1;
    nv_ring_reset(&log->ring, &head->first);
    log->promise = (struct nv_promise){0};
    nv_promise_set(log, false);
}

void nv_copy_loaded(struct carrick_log *log)
{
    struct nv_head *head = &log->head;
    bool found = nv_head_read(log->memory, head);
    bool usable = found && strcmp(head->group, log->config->name) == 0 &&
                  head->ring_bytes == log->config->ring_bytes && head->ring_at == log->ring_at;

    if (found && !usable)
        nv_log(log, CARRICK_LOG_ERROR,
               "%s holds a log of group \"%s\" with %llu bytes: it is not used, and will be "
               "overwritten when this copy is filled",
               log->config->path, head->group, (unsigned long long)head->ring_bytes);
    log->loading = false;
    head_begin(log, usable);
    log->acknowledged = head->first.sequence - 1;
    if (head->acknowledged > log->acknowledged)
        log->acknowledged = head->acknowledged;
    // What the consumer of an earlier daemon had on its disk does not count: this one is told of all the records again, its
    // disk takes them out of the ring again, and none may leave the ring before this one has said that it has them.
    log->synced = head->first.sequence - 1;
    log->scanning = true;
    nv_copy_scan(log);
    nv_turn_arm(log);
}

void nv_copy_scan(struct carrick_log *log)
{
    uint64_t known = log->heard > log->acknowledged ? log->heard : log->acknowledged;

    nv_scan_begin(&log->scan, &log->ring, log->head.limit, known, &log->head.generation);
}

static void scan_settle(struct carrick_log *log)
{
    const struct nv_scan *scan = &log->scan;
    bool none = nv_id_is_none(log->head.generation.id);

    log->acknowledged = scan->acknowledged < nv_last(log) ? scan->acknowledged : nv_last(log);
    if (scan->wiped > 0) {
        nv_log(
            log, CARRICK_LOG_NOTICE,
            "the log was cut behind record %llu: its end was torn; %llu records behind it had not "
            "been acknowledged",
            (unsigned long long)nv_last(log), (unsigned long long)scan->wiped);
        nv_persist_rewound(log, log->ring.first.position + log->ring.size);
    }
    if (scan->corrupt && !(log->nvram->break_rules & NV_BREAK_CUT))
        nv_condition_set(log, CARRICK_LOG_CORRUPT, "a record that had been acknowledged is bad");
    else if (none)
        nv_condition_set(log, CARRICK_LOG_EMPTY, "it bears no generation");
    else if (log->head.condition == CARRICK_LOG_INCONSISTENT)
        nv_condition_set(log, CARRICK_LOG_INCONSISTENT, "a resynchronisation had not ended");
    else
        nv_condition_set(log, CARRICK_LOG_WHOLE, NULL);
    if (log->head.limit != UINT64_MAX && !scan->corrupt) {
        log->head.limit = UINT64_MAX; // the cut is done now
        nv_head_write(log);
    }
}

bool nv_copy_scan_step(struct carrick_log *log)
{
    if (!nv_scan_step(&log->scan, NV_SLICE_BYTES))
        return false;
    scan_settle(log);
    if (log->scanning) {
        log->scanning = false;
        log->persist.done = log->ring.tail;
        log->told = log->ring.first;
        log->told_acknowledged = log->told_synced = log->ring.first.sequence - 1;
        log->replay_to = nv_last(log);
        log->owner.freed = log->owner.peer_first = log->ring.first;
        nv_persist_go(log);
    }
    nv_changed(log);
    return true;
}

uint64_t nv_head_write(struct carrick_log *log)
{
    struct nv_head *head = &log->head;
    uint8_t slot[NV_HEAD_BYTES];
    uint8_t *at;

    head->write++;
    head->first = log->ring.first;
    head->acknowledged = log->acknowledged;
    nv_head_encode(head, slot);
    at = log->memory + (head->write % 2) * NV_PAGE;
    memcpy(at, slot, sizeof slot);
    // The slot is complete before anything that it allows is stored: a crash may come between any two stores.
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    log->persist.head_wanted = head->write;
    nv_persist_go(log);
    return head->write;
}

bool nv_head_is_durable(const struct carrick_log *log, uint64_t number)
{
    return !nv_syncs(log) || log->persist.head_done >= number;
}

static void promise_store(struct carrick_log *log)
{
    uint8_t word[NV_PROMISE_BYTES];
    uint8_t *at = log->memory + NV_PROMISE_AT;

    log->promise.beat++;
    nv_promise_encode(&log->promise, word);
    for (unsigned i = 0; i < NV_PROMISE_BYTES; i += 8) {
        uint64_t value;

        memcpy(&value, word + i, sizeof value);
        __atomic_store_n((uint64_t *)(void *)(at + i), value, __ATOMIC_RELAXED);
    }
    // Whoever reads it after this returned finds it so, or torn.
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void nv_promise_set(struct carrick_log *log, bool standing)
{
    memcpy(log->promise.generation, log->head.generation.id, 16);
    log->promise.standing = standing;
    promise_store(log);
}

void nv_promise_beat(struct carrick_log *log)
{
    if (log->promise.standing)
        promise_store(log);
}

void nv_copy_cut(struct carrick_log *log, const struct nv_cursor *to)
{
    uint64_t end = log->ring.tail.position;

    if (to->sequence >= log->ring.tail.sequence)
        return;
    // First the head says that they are void; so a crash in the midst of it does not bring some of them back.
    log->head.limit = to->sequence - 1;
    nv_head_write(log);
    nv_ring_cut(&log->ring, to);
    nv_persist_rewound(log, end);
    if (log->acknowledged >= to->sequence)
        log->acknowledged = to->sequence - 1;
    if (log->heard >= to->sequence)
        log->heard = to->sequence - 1;
    if (log->told.sequence > to->sequence)
        log->told = *to;
    if (log->told_acknowledged >= to->sequence)
        log->told_acknowledged = to->sequence - 1;
    if (log->replay_to >= to->sequence)
        log->replay_to = to->sequence - 1;
    log->head.limit = UINT64_MAX;
    nv_head_write(log);
}

void nv_copy_empty(struct carrick_log *log, const struct nv_cursor *at)
{
    nv_ring_reset(&log->ring, at);
    nv_persist_rewound(log, at->position);
    log->persist.done = log->persist.goal = *at;
    log->acknowledged = at->sequence - 1;
    log->heard = 0;
    log->told = *at;
    log->told_acknowledged = at->sequence - 1;
    log->owner.freed = log->owner.peer_first = *at;
    log->head.limit = UINT64_MAX;
}

void nv_condition_set(struct carrick_log *log, uint32_t condition, const char *why)
{
    if (log->condition == condition)
        return;
    if (condition == CARRICK_LOG_CORRUPT)
        nv_log(log, CARRICK_LOG_ERROR,
               "the copy is corrupt at record %llu: %s; it is out until it is repaired from the "
               "partner's copy",
               (unsigned long long)log->ring.tail.sequence, why);
    else if (log->condition == CARRICK_LOG_CORRUPT && condition == CARRICK_LOG_WHOLE)
        nv_log(log, CARRICK_LOG_NOTICE, "the copy is whole again, up to record %llu",
               (unsigned long long)nv_last(log));
    log->condition = condition;
    log->state_due = true;
    // What is found by scanning is found again; what cannot be seen from the records is kept in the head.
    if (condition != CARRICK_LOG_CORRUPT && condition != CARRICK_LOG_SCANNING)
        log->head.condition = condition;
    nv_changed(log);
}
