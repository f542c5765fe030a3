// SPDX-License-Identifier: Apache-2.0
//
// The log that each node finds in a world of shelves (shelf_world.h): it stands still until the test moves it.
#ifndef SHELF_LOG_H
#define SHELF_LOG_H

#include "shelf_host.h"

static int log_find(struct carrick_logs *logs, const char *group, struct carrick_log **log)
{
    *log = &logs->log;
    return strcmp(group, "g1") == 0 ? CARRICK_OK : CARRICK_ERR_NOT_FOUND;
}

static int log_attach(struct carrick_log *log, const struct carrick_log_consumer *consumer,
                      void *arg)
{
    log->consumer = consumer;
    log->arg = arg;
    return CARRICK_OK;
}

static void log_copy(struct carrick_log *log, struct carrick_log_copy *copy)
{
    copy->level = log->level;
    copy->role = log->role;
    copy->first = log->first;
    copy->last = log->last;
    copy->acknowledged = log->acknowledged;
}

static void log_mirror_state(struct carrick_log *log, struct carrick_mirror_state *state)
{
    state->mirror = log->mirror;
}

static inline void log_put(struct carrick_log *log, const struct carrick_log_entry *entry)
{
    struct log_record *record = calloc(1, sizeof *record);

    cr_assert(log->last < WORLD_RECORDS);
    record->entry = *entry;
    record->entry.sequence = ++log->last;
    if (entry->kind == CARRICK_LOG_WRITE) {
        record->data = malloc(entry->length);
        memcpy(record->data, entry->data, entry->length);
        record->entry.data = record->data;
    }
    log->records[log->last] = record;
}

static int log_append(struct carrick_log *log, const struct carrick_log_entry *entry,
                      uint64_t *sequence)
{
    if (log->role != CARRICK_LOG_OWNER)
        return CARRICK_ERR_STATE;
    if (log->full)
        return CARRICK_ERR_AGAIN;
    log_put(log, entry);
    *sequence = log->last;
    return CARRICK_OK;
}

static void log_commit(struct carrick_log *log)
{
    (void)log;
}

static inline void log_trim(struct carrick_log *log, uint64_t up_to)
{
    for (; log->first <= up_to && log->first <= log->last; log->first++) {
        struct log_record *record = log->records[log->first];
        if (record == NULL)
            continue;
        if (record->data != NULL) // who still reads it will be seen
            memset(record->data, 0xdb, record->entry.length);
        free(record->data);
        free(record);
        log->records[log->first] = NULL;
    }
}

static void log_synced(struct carrick_log *log, uint64_t sequence)
{
    cr_assert_leq(sequence, log->told);
    if (sequence > log->synced)
        log->synced = sequence;
    // A node that serves alone needs it no more.
    if (log->role == CARRICK_LOG_OWNER && log->mirror == CARRICK_MIRROR_ALONE)
        log_trim(log, log->synced);
}

static int log_read_barrier(struct carrick_log *log, void (*fn)(void *arg, bool fresh), void *arg)
{
    if (log->barrier_status != CARRICK_OK)
        return (int)log->barrier_status;
    cr_assert_lt(log->barrier_count, 1024u);
    log->barriers[log->barrier_count++] = (struct barrier){.fn = fn, .arg = arg};
    return CARRICK_OK;
}

static void log_resync_report(struct carrick_log *log, const struct carrick_resync *report)
{
    log->report = *report;
}

static void log_fail(struct carrick_log *log)
{
    log->failed = true;
}

static const struct carrick_log_ops fake_log_ops = {
    .struct_size = sizeof fake_log_ops,
    .find = log_find,
    .copy = log_copy,
    .mirror_state = log_mirror_state,
    .attach_consumer = log_attach,
    .append = log_append,
    .commit = log_commit,
    .synced = log_synced,
    .read_barrier = log_read_barrier,
    .resync_report = log_resync_report,
    .fail = log_fail,
};

// Tells the consumer all up to sequence.
static inline void log_tell(struct node *node, uint64_t sequence)
{
    struct carrick_log *log = &node->logs.log;

    while (log->told < sequence && log->told < log->last) {
        struct log_record *record = log->records[++log->told];
        if (record != NULL)
            log->consumer->record(log->arg, &record->entry);
    }
}

// The owner's records up to sequence are acknowledged.
static inline void log_acknowledge(struct node *node, uint64_t sequence)
{
    struct carrick_log *log = &node->logs.log;

    if (sequence > log->last)
        sequence = log->last;
    log->acknowledged = sequence;
    log_tell(node, sequence);
    log->consumer->acknowledged(log->arg, sequence);
}

static inline void log_everywhere(struct node *node, uint64_t sequence)
{
    struct carrick_log *log = &node->logs.log;

    if (sequence > log->everywhere) {
        log->everywhere = sequence;
        log->consumer->synced_everywhere(log->arg, sequence);
    }
}

// Copies what the partner's copy lacks of this node's records.
static inline void log_mirror(struct node *from)
{
    struct carrick_log *log = &from->logs.log, *there = &other(from)->logs.log;

    if (there->last + 1 < log->first) {
        there->last = log->first - 1;
        there->told = there->last;
        there->first = log->first;
    }
    while (there->last < log->last)
        log_put(there, &log->records[there->last + 1]->entry);
}

static inline void log_role(struct node *node, uint32_t role, uint32_t mirror, uint8_t generation,
                            uint64_t fork)
{
    struct carrick_log *log = &node->logs.log;
    struct carrick_generation bears = {.id = {generation}, .parent = {(uint8_t)(generation - 1)}};

    log->role = role;
    log->mirror = mirror;
    if (role == CARRICK_LOG_IDLE)
        log->told = log->synced;
    else if (role == CARRICK_LOG_OWNER)
        log_tell(node, log->last);
    log->consumer->role_changed(log->arg, role, &bears, fork);
}

#endif
