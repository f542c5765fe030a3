// SPDX-License-Identifier: Apache-2.0
//
// The owner's half: append, mirror into the partner's copy (from where on says attach.c), acknowledge, trim.
//
// A record is acknowledged when it is durable here and, as long as the partner counts, there; in order. What is written
// at the partner goes to the same place of its ring, so that both copies are the same bytes.
#include "nvram.h"

enum { CHUNK_BYTES = 1 << 20 }; // of one piece that is posted, about

// ---- append

static bool entry_is_sound(const struct carrick_log_entry *entry)
{
    switch (entry->kind) {
    case CARRICK_LOG_WRITE:
        return entry->length <= CARRICK_LOG_ENTRY_BYTES_MAX &&
               (entry->length == 0 || entry->data != NULL);
    case CARRICK_LOG_ZERO:
    case CARRICK_LOG_TRIM:
        return true;
    default:
        return false;
    }
}

static bool fits(const struct carrick_log *log, uint64_t bytes)
{
    return log->ring.tail.position + bytes - log->owner.freed.position <= log->ring.size;
}

int nv_append(struct carrick_log *log, const struct carrick_log_entry *entry, uint64_t *sequence)
{
    uint64_t need;

    if (log->role != CARRICK_LOG_OWNER || log->serve != NV_SERVE_ON)
        return CARRICK_ERR_STATE;
    if (!entry_is_sound(entry))
        return CARRICK_ERR_INVALID;
    need = nv_ring_need(&log->ring, entry->kind, entry->length);
    if (!fits(log, need))
        nv_trim(log, true);
    if (log->quiet || !fits(log, need)) {
        if (log->wanted_bytes < need)
            log->wanted_bytes = need;
        return CARRICK_ERR_AGAIN;
    }
    if (log->acknowledged == nv_last(log))
        log->owner.waiting_since_ns = nv_now(log);
    *sequence =
        nv_ring_append(&log->ring, entry, nv_tag(log->head.generation.id), log->acknowledged);
    nv_commit_arm(log);
    return CARRICK_OK;
}

void nv_commit_arm(struct carrick_log *log)
{
    bool armed = log->turn_armed;

    if (log->commit_due)
        return;
    log->commit_due = true;
    nv_turn_arm(log);
    log->turn_is_for_commit = !armed;
}

void nv_commit(struct carrick_log *log)
{
    if (!log->commit_due)
        return;
    log->commit_due = false;
    if (log->turn_is_for_commit && log->turn_armed) {
        nv_host(log)->base->timer_stop(log->turn);
        log->turn_armed = log->turn_is_for_commit = false;
    }
    nv_mirror_pump(log);
    nv_persist_go(log);
    nv_barrier_look(log);
    if (log->mirror == CARRICK_MIRROR_ALONE && !log->owner.joined)
        nv_turn_arm(log); // they are acknowledged then
}

// ---- mirroring

static uint32_t write_ops(const struct carrick_log *log, const struct nv_cursor *end,
                          struct carrick_op *ops)
{
    uint64_t at = log->owner.posted.position;
    uint32_t count = 0;

    while (at < end->position) {
        uint64_t length = end->position - at, run = nv_ring_run(&log->ring, at);
        uint64_t offset = log->ring_at + at % log->ring.size;

        if (length > run)
            length = run;
        ops[count++] = (struct carrick_op){
            .struct_size = sizeof *ops,
            .operation = CARRICK_CLIENT_WRITE,
            .cookie = nv_cookie(log, NV_COOKIE_WRITE),
            .region = log->region,
            .offset = offset,
            .length = length,
            .there = 2 * log->index + 1,
            // That region is the ring alone: head and promise are the partner's own.
            .there_offset = offset - log->ring_at,
        };
        at += length;
    }
    return count;
}

void nv_advance_fill(const struct carrick_log *log, const struct nv_cursor *end,
                     struct nv_message *message)
{
    *message = (struct nv_message){
        .kind = NV_ADVANCE,
        .last = end->sequence - 1,
        .acknowledged = log->acknowledged < end->sequence ? log->acknowledged : end->sequence - 1,
        .trim = log->ring.first.sequence,
    };
}

static bool flight_post(struct carrick_log *log, const struct nv_cursor *end)
{
    struct nv_owner *owner = &log->owner;
    struct carrick_op ops[4];
    uint8_t bytes[NV_MESSAGE_BYTES];
    struct nv_message message;
    uint32_t count = write_ops(log, end, ops);

    ops[count++] = (struct carrick_op){.struct_size = sizeof ops[0],
                                       .operation = CARRICK_CLIENT_FLUSH,
                                       .cookie = nv_cookie(log, NV_COOKIE_FLIGHT)};
    if (nv_syncs(log)) {
        // The partner has to bring it into its file, and is told at once.
        nv_advance_fill(log, end, &message);
        nv_message_encode(&message, bytes);
        ops[count++] = (struct carrick_op){.struct_size = sizeof ops[0],
                                           .operation = CARRICK_CLIENT_SEND,
                                           .cookie = nv_cookie(log, NV_COOKIE_SEND),
                                           .length = sizeof bytes,
                                           .data = bytes};
    }
    if (nv_host(log)->post(log->vi, ops, count) != CARRICK_OK)
        return false;
    owner->flights[(owner->flight_first + owner->flight_count++) % NV_FLIGHTS].end = *end;
    owner->flight_bytes += end->position - owner->posted.position;
    owner->posted = *end;
    return true;
}

// As far as there is room at the partner: what its copy still counts must not be written over. What fits goes, for the
// partner may need just that to make room.
static struct nv_cursor end_with_room(const struct carrick_log *log, struct nv_cursor end)
{
    uint64_t limit = log->owner.peer_first.position + log->ring.size;
    struct nv_cursor next = log->owner.posted;
    struct nv_record record;

    if (end.position <= limit)
        return end;
    do {
        end = next;
        if (!nv_ring_peek(&log->ring, &next, &record))
            break;
        nv_ring_step(&next, &record);
    } while (next.position <= limit);
    return end;
}

void nv_mirror_pump(struct carrick_log *log)
{
    struct nv_owner *owner = &log->owner;
    bool posted = false;

    if (owner->phase != NV_ATTACHED_ON || !log->session)
        return;
    owner->blocked = false;
    while (owner->posted.position < log->ring.tail.position && owner->flight_count < NV_FLIGHTS &&
           owner->flight_bytes < NV_WINDOW_BYTES) {
        struct nv_cursor end = log->ring.tail;

        if (end.position - owner->posted.position > CHUNK_BYTES)
            end = nv_ring_ahead(&log->ring, &owner->posted, CHUNK_BYTES);
        end = end_with_room(log, end);
        if (end.position == owner->posted.position) {
            owner->blocked = true;
            break;
        }
        if (!flight_post(log, &end))
            break; // the VI has no room: the next completion, or the tick, comes back here
        posted = true;
    }
    if (posted || owner->posted.position < log->ring.tail.position)
        nv_tick_arm(log, NV_TICK_MS);
}

void nv_mirror_landed(struct carrick_log *log)
{
    struct nv_owner *owner = &log->owner;
    const struct nv_flight *flight = &owner->flights[owner->flight_first % NV_FLIGHTS];
    uint64_t began;

    if (owner->flight_void > 0) {
        owner->flight_void--;
        return;
    }
    if (owner->flight_count == 0)
        return;
    owner->mirrored = log->peer.proven = flight->end.sequence - 1;
    owner->flight_first = (owner->flight_first + 1) % NV_FLIGHTS;
    owner->flight_count--;
    // Pieces land in order: what is in flight is what lies between this one's end and what was posted.
    began = flight->end.position;
    owner->flight_bytes = owner->posted.position - began;
    if (owner->resync && !owner->joined && log->ring.tail.position - began <= NV_WINDOW_BYTES) {
        owner->joined = true;
        owner->resync_end_due = true;
    }
    nv_mirror_pump(log);
    nv_acknowledge(log);
}

// ---- what the partner says of its half

static void resync_judge(struct carrick_log *log)
{
    struct nv_owner *owner = &log->owner;

    // With nothing to write there is no flight that could tell.
    if (owner->phase == NV_ATTACHED_ON && owner->resync && !owner->joined &&
        owner->mirrored == nv_last(log)) {
        owner->joined = true;
        owner->resync_end_due = true;
    }
    // The partner's copy, which bears the generation by now, may count only when this one bears it for certain: else, found
    // again under the one before, this copy would be two behind whatever the partner begins without it, and taken for strange.
    if (owner->resync && owner->progress.state == CARRICK_RESYNC_RUNNING && owner->complete &&
        owner->mirrored >= log->acknowledged && nv_head_is_durable(log, owner->gate_head)) {
        owner->progress.state = CARRICK_RESYNC_EQUAL;
        nv_log(log, CARRICK_LOG_INFO, "the partner's copy is equal, up to record %llu",
               (unsigned long long)owner->mirrored);
        nv_changed(log);
    }
}

void nv_peer_synced(struct carrick_log *log, const struct nv_message *message)
{
    struct nv_owner *owner = &log->owner;

    if (log->role != CARRICK_LOG_OWNER || owner->phase != NV_ATTACHED_ON)
        return;
    // Nothing counts that cannot be so: it has no more than was written. Its word may be quicker than the proof that it has it,
    // and is not said again: how much of it counts is asked where it is used.
    if (message->synced > owner->peer_synced && message->synced < owner->posted.sequence)
        owner->peer_synced = message->synced;
    if (message->persisted > owner->persisted && message->persisted < owner->posted.sequence)
        owner->persisted = message->persisted;
    if (message->first.sequence >= owner->peer_first.sequence &&
        message->first.sequence <= owner->posted.sequence &&
        message->first.position >= owner->peer_first.position &&
        message->first.position <= owner->posted.position)
        owner->peer_first = message->first;
    if (message->flags & NV_FLAG_COMPLETE)
        owner->complete = owner->joined;
    nv_mirror_pump(log);
    nv_acknowledge(log);
    nv_trim(log, log->wanted_bytes > 0 || owner->blocked);
    nv_turn_arm(log);
    nv_tick_arm(log, NV_TICK_MS); // which trims what is left, be it little
}

// ---- acknowledging

void nv_acknowledge(struct carrick_log *log)
{
    struct nv_owner *owner = &log->owner;
    bool files = nv_syncs(log) && !(log->nvram->break_rules & NV_BREAK_SYNC);
    uint64_t to = files ? log->persist.done.sequence - 1 : nv_last(log);

    if (log->role != CARRICK_LOG_OWNER || log->serve < NV_SERVE_MIRROR)
        return;
    if ((log->mirror != CARRICK_MIRROR_ALONE || owner->joined) &&
        !(log->nvram->break_rules & NV_BREAK_SHADOW)) {
        if (owner->mirrored < to)
            to = owner->mirrored;
        if (files && owner->persisted < to)
            to = owner->persisted;
    }
    if (to > log->acknowledged && nv_head_is_durable(log, owner->gate_head)) {
        log->acknowledged = to;
        owner->waiting_since_ns = to < nv_last(log) ? nv_now(log) : 0;
        nv_tick_arm(log, NV_TICK_MS);
        if (log->quiet && to == nv_last(log))
            nv_changed(log);
    }
    resync_judge(log);
}

// ---- trimming

uint64_t nv_released(const struct carrick_log *log)
{
    uint64_t released = log->acknowledged;

    if (log->consumer == NULL)
        return released;
    if (log->synced < released)
        released = log->synced;
    return log->told.sequence - 1 < released ? log->told.sequence - 1 : released;
}

void nv_owner_freed(struct carrick_log *log)
{
    struct nv_owner *owner = &log->owner;

    if (owner->freeing_head != 0 && nv_head_is_durable(log, owner->freeing_head)) {
        owner->freed = owner->freeing;
        owner->freeing_head = 0;
        nv_tick_arm(log, NV_TICK_MS);
    }
    if (log->wanted_bytes > 0 && !log->quiet && fits(log, log->wanted_bytes)) {
        log->wanted_bytes = 0;
        log->room_due = true;
        nv_turn_arm(log);
    }
}

void nv_trim(struct carrick_log *log, bool all)
{
    struct nv_owner *owner = &log->owner;
    uint64_t to = nv_released(log);
    struct nv_cursor at;

    if (log->role != CARRICK_LOG_OWNER || log->serve != NV_SERVE_ON || owner->freeing_head != 0)
        return;
    if ((log->mirror != CARRICK_MIRROR_ALONE || owner->phase == NV_ATTACHED_ON) &&
        owner->peer_synced < to && !(log->nvram->break_rules & NV_BREAK_TRIM))
        to = owner->peer_synced;
    if (owner->phase == NV_ATTACHED_ON && owner->mirrored < to)
        to = owner->mirrored;
    // What was offered and may be taken has to be there still.
    if (owner->phase == NV_ATTACHING && owner->from.sequence - 1 < to)
        to = owner->from.sequence - 1;
    if (to < log->ring.first.sequence || !nv_ring_find(&log->ring, to + 1, &at))
        return;
    if (!all && at.position - log->ring.first.position < log->ring.size / 16)
        return;
    nv_ring_trim(&log->ring, &at);
    owner->freeing = at;
    owner->freeing_head = nv_head_write(log);
    nv_owner_freed(log);
    nv_tick_arm(log, NV_TICK_MS);
}

uint64_t nv_synced_everywhere(const struct carrick_log *log)
{
    uint64_t synced = log->synced < log->acknowledged ? log->synced : log->acknowledged;

    if (log->mirror != CARRICK_MIRROR_ALONE && log->owner.peer_synced < synced)
        synced = log->owner.peer_synced;
    return synced;
}
