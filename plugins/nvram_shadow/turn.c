// SPDX-License-Identifier: Apache-2.0
//
// What is put off to a turn of its own: callbacks, which never come from within a call, and long work, in slices, so that
// the manager's heartbeat goes on. One turn is a timer without delay.
#include "nvram.h"

#include <stdio.h>
#include <string.h>

void nv_turn_arm(struct carrick_log *log)
{
    log->turn_is_for_commit = false;
    if (log->turn_armed)
        return;
    log->turn_armed = true;
    nv_host(log)->base->timer_start(log->turn, 0);
}

void nv_tick_arm(struct carrick_log *log, uint64_t ms)
{
    uint64_t due_ns = nv_now(log) + ms * 1000000u;

    if (log->tick_armed && log->tick_due_ns <= due_ns)
        return;
    log->tick_armed = true;
    log->tick_due_ns = due_ns;
    nv_host(log)->base->timer_start(log->tick, ms * 1000000u);
}

void nv_changed(struct carrick_log *log)
{
    log->changed_due = true;
    nv_turn_arm(log);
}

void nv_serving_ended(struct carrick_log *log, int status, const char *cause)
{
    log->serving_due = true;
    log->serving_status = status;
    snprintf(log->serving_cause, sizeof log->serving_cause, "%s", cause);
    nv_changed(log);
}

void nv_fetched(struct carrick_log *log, int status, const char *cause)
{
    log->fetched_due = true;
    log->fetched_status = status;
    snprintf(log->fetched_cause, sizeof log->fetched_cause, "%s", cause);
    nv_turn_arm(log);
}

// ---- the consumer

static void role_tell(struct carrick_log *log, uint32_t role, uint64_t fork)
{
    log->told_role = role;
    log->consumer->role_changed(log->consumer_arg, role, &log->head.generation, fork);
}

struct carrick_log_entry nv_entry_of(const struct carrick_log *log, const struct nv_record *record,
                                     const struct nv_cursor *at)
{
    return (struct carrick_log_entry){
        .struct_size = sizeof(struct carrick_log_entry),
        .kind = record->kind,
        .shelf = record->shelf,
        .offset = record->offset,
        .length = record->length,
        .data = record->kind == CARRICK_LOG_WRITE
                    ? nv_ring_at(&log->ring, at->position) + NV_RECORD_BYTES
                    : NULL,
        .sequence = record->sequence,
    };
}

static void record_tell(struct carrick_log *log, const struct nv_record *record,
                        const struct nv_cursor *at)
{
    const struct carrick_log_entry entry = nv_entry_of(log, record, at);

    log->consumer->record(log->consumer_arg, &entry);
}

// A slice of the records that are acknowledged and were not told. false: one of them is not what it was.
static bool records_tell(struct carrick_log *log)
{
    struct nv_record record;
    uint64_t bytes = NV_SLICE_BYTES, limit = log->acknowledged;

    if (log->role == CARRICK_LOG_OWNER && log->nvram->break_rules & NV_BREAK_EARLY)
        limit = nv_last(log);
    for (uint32_t i = 0; i < NV_SLICE_RECORDS && bytes > 0; i++) {
        struct nv_cursor at = log->told;

        if (at.sequence > limit)
            return true;
        if (!nv_ring_peek(&log->ring, &at, &record))
            return false;
        nv_ring_step(&log->told, &record);
        if (log->replay_to < at.sequence)
            log->replay_to = at.sequence;
        if (record.kind != NV_FILL)
            record_tell(log, &record, &at);
        bytes -= bytes < nv_record_span(&record) ? bytes : nv_record_span(&record);
    }
    if (log->told.sequence <= log->acknowledged)
        nv_turn_arm(log);
    return true;
}

static bool may_tell_records(const struct carrick_log *log)
{
    return log->told_role == log->role
               ? log->role != CARRICK_LOG_IDLE
               : log->role == CARRICK_LOG_OWNER && log->serve >= NV_SERVE_TELL;
}

static void follows_tell(struct carrick_log *log)
{
    struct nv_owner *owner = &log->owner;
    bool follows = owner->phase == NV_ATTACHED_ON && owner->resync;

    log->follows_due = false;
    if (follows == owner->follows_told)
        return;
    owner->follows_told = follows;
    log->consumer->partner_follows(log->consumer_arg, follows, follows ? owner->since : 0);
}

static void owner_tell(struct carrick_log *log)
{
    uint64_t synced;

    if (log->role_due) {
        log->role_due = false;
        role_tell(log, CARRICK_LOG_OWNER, UINT64_MAX);
        log->told_acknowledged = log->acknowledged;
        log->told_synced = 0;
        log->mirror_due = false;
        nv_serving_ended(log, CARRICK_OK, "");
    }
    if (log->mirror_due && log->serve == NV_SERVE_ON) {
        log->mirror_due = false;
        log->consumer->mirror_changed(log->consumer_arg, log->mirror);
    }
    if (log->serve == NV_SERVE_ON && log->told.sequence > log->acknowledged &&
        log->acknowledged > log->told_acknowledged) {
        log->told_acknowledged = log->acknowledged;
        log->consumer->acknowledged(log->consumer_arg, log->told_acknowledged);
    }
    if (log->serve != NV_SERVE_ON)
        return; // it may have changed the role
    synced = nv_synced_everywhere(log);
    if (synced > log->told_synced) {
        log->told_synced = synced;
        log->consumer->synced_everywhere(log->consumer_arg, synced);
    }
    if (log->follows_due)
        follows_tell(log);
    if (log->room_due) {
        log->room_due = false;
        log->consumer->room(log->consumer_arg);
    }
}

// With the role goes what the consumer was told of and has not made safe: it forgets, and is told again.
static void told_take_back(struct carrick_log *log)
{
    struct nv_cursor to = log->ring.first;

    if (log->synced >= to.sequence && !nv_ring_find(&log->ring, log->synced + 1, &to))
        to = log->synced >= log->ring.tail.sequence ? log->ring.tail : log->ring.first;
    if (to.sequence < log->told.sequence)
        log->told = to;
}

void nv_tell(struct carrick_log *log)
{
    if (log->consumer == NULL) {
        if (log->give.phase != NV_GIVE_NOT)
            nv_give_cut(log);
        if (log->role_due && log->role == CARRICK_LOG_OWNER)
            nv_serving_ended(log, CARRICK_OK, "");
        log->told_role = log->role;
        log->idle_due = log->role_due = log->room_due = log->follows_due = false;
        log->mirror_due = false;
        return;
    }
    if (log->idle_due) {
        log->idle_due = false;
        role_tell(log, CARRICK_LOG_IDLE, UINT64_MAX);
        told_take_back(log);
    }
    if (!nv_give_step(log))
        return;
    if (log->role_due && log->role == CARRICK_LOG_SHADOW) {
        log->role_due = false;
        role_tell(log, CARRICK_LOG_SHADOW, log->fork);
    }
    if (may_tell_records(log) && !records_tell(log)) {
        nv_condition_set(log, CARRICK_LOG_CORRUPT, "a record changed after it had been checked");
        return;
    }
    if (log->serve == NV_SERVE_TELL)
        nv_serve_step(log);
    if (log->role == CARRICK_LOG_OWNER && log->serve == NV_SERVE_ON)
        owner_tell(log);
}

// The copy is to be taken anew, and the partner is going to write over its records: the consumer forgets those that it was
// told of before this returns. Its disk is not older than what it ever said was safe there, since it writes nothing while
// records are told again; so the owner knows what it lacks.
void nv_tell_void(struct carrick_log *log, uint64_t from)
{
    uint64_t first;

    nv_tell(log); // roles that are due come first
    first = log->ring.first.sequence;
    if (log->consumer != NULL && log->told_role == CARRICK_LOG_SHADOW &&
        (log->told.sequence > first || log->synced >= from))
        role_tell(log, CARRICK_LOG_SHADOW, (first < from ? first : from) - 1);
    // What comes again stays in the ring until the consumer has said again that its disk has it.
    if (log->synced >= from)
        log->synced = from - 1;
}

bool nv_replays(const struct carrick_log *log)
{
    return log->role == CARRICK_LOG_SHADOW && log->told.sequence <= log->replay_to;
}

// ---- the monitor

static void monitor_tell(struct carrick_log *log)
{
    const struct carrick_log_monitor *monitor = log->monitor;
    bool changed = log->changed_due, serving = log->serving_due, fetched = log->fetched_due;

    log->changed_due = log->serving_due = log->fetched_due = false;
    if (monitor == NULL)
        return;
    if (changed)
        monitor->changed(log->monitor_arg);
    if (serving)
        monitor->serving(log->monitor_arg, log->serving_status, log->serving_cause);
    if (fetched && monitor->struct_size > offsetof(struct carrick_log_monitor, fetched) &&
        monitor->fetched != NULL)
        monitor->fetched(log->monitor_arg, log->fetched_status, log->fetched_cause);
}

static void turn_fired(void *arg)
{
    struct carrick_log *log = arg;

    log->turn_armed = false;
    if (log->loading)
        return;
    if (log->scanning) {
        if (!nv_copy_scan_step(log)) {
            nv_turn_arm(log);
            return;
        }
        log->state_due = true;
        if (log->peer.known)
            nv_state_said(log, &log->peer.state); // it came too early to be judged
    }
    if (log->condition == CARRICK_LOG_SCANNING)
        return;
    nv_commit(log);
    nv_shadow_walk(log);
    nv_fetch_step(log);
    nv_shadow_step(log);
    nv_serve_step(log);
    nv_acknowledge(log);
    nv_owner_freed(log);
    nv_repair_try(log);
    nv_attach_try(log);
    nv_tell(log);
    nv_trim(log, log->wanted_bytes > 0 || log->owner.blocked);
    nv_shadow_trim(log);
    nv_barrier_go(log);
    nv_send_due(log, false);
    monitor_tell(log);
}

static void tick_fired(void *arg)
{
    struct carrick_log *log = arg;

    log->tick_armed = false;
    if (log->condition == CARRICK_LOG_SCANNING)
        return;
    nv_promise_beat(log);
    nv_trim(log, true);
    nv_shadow_trim(log);
    nv_mirror_pump(log);
    nv_send_due(log, true);
    nv_turn_arm(log);
    if (nv_advance_is_due(log) || log->state_due || log->shadow.attach_reply_due ||
        (log->owner.resync && log->owner.phase == NV_DETACHED))
        nv_tick_arm(log, NV_TICK_MS);
    else if (log->role == CARRICK_LOG_SHADOW)
        nv_tick_arm(log, NV_BEAT_MS);
}

int nv_turn_create(struct carrick_log *log)
{
    const struct carrick_host *base = nv_host(log)->base;
    int status = base->timer_create(base, turn_fired, log, &log->turn);

    if (status == CARRICK_OK)
        status = base->timer_create(base, tick_fired, log, &log->tick);
    return status;
}
