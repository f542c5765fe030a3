// SPDX-License-Identifier: Apache-2.0
//
// The shadow's half: the owner writes the ring, and says by messages how far it is. Nothing of what it says is believed
// that the records themselves do not bear out.
#include "nvram.h"

#include <string.h>

void nv_shadow_reset(struct carrick_log *log)
{
    log->shadow = (struct nv_shadow){0};
}

static void nonsense(struct carrick_log *log, const char *why)
{
    if (log->refused++ == 0)
        nv_log(log, CARRICK_LOG_WARNING, "the partner said what cannot be: %s; it is passed over",
               why);
}

// ---- attach

// Our records below `from` are the owner's, and whatever it does not know of is cut.
static uint32_t attach_here(struct carrick_log *log, const struct nv_message *message)
{
    const struct nv_cursor *from = &message->from;
    struct nv_cursor at;

    if (!nv_ring_find(&log->ring, from->sequence, &at) || at.position != from->position ||
        at.crc != from->crc || message->last + 1 < from->sequence)
        return NV_REFUSED_CHAIN;
    // The consumer was told of records that the owner does not know to be acknowledged: not of one history.
    if (log->told.sequence > from->sequence && log->consumer != NULL)
        return NV_REFUSED_CHAIN;
    if (nv_last(log) > message->last) {
        struct nv_cursor end;

        if (!nv_ring_find(&log->ring, message->last + 1, &end))
            return NV_REFUSED_CHAIN;
        nv_copy_cut(log, &end);
    }
    // Nothing can have been acknowledged that the owner does not hold.
    if (log->replay_to > message->last)
        log->replay_to = message->last;
    // They come again: the same bytes.
    nv_ring_rewind(&log->ring, &at);
    nv_persist_rewound(log, 0);
    if (message->flags & NV_FLAG_RESYNC)
        nv_condition_set(log, CARRICK_LOG_INCONSISTENT, NULL);
    else
        nv_condition_set(log, CARRICK_LOG_WHOLE, NULL);
    return NV_REFUSED_NOT;
}

static uint32_t attach_judge(struct carrick_log *log, const struct nv_message *message)
{
    if (log->role != CARRICK_LOG_SHADOW || !log->exposed)
        return NV_REFUSED_ROLE;
    if (memcmp(message->generation.id, log->head.generation.id, 16) != 0)
        return NV_REFUSED_GENERATION;
    if (log->fetch.running || log->give.phase != NV_GIVE_NOT)
        return NV_REFUSED_CONDITION;
    if ((message->flags & NV_FLAG_WHOLE) && (message->flags & NV_FLAG_RESYNC)) {
        nv_tell_void(log, message->from.sequence);
        nv_copy_empty(log, &message->from);
        // Any of what comes may be on this disk already, from an earlier time, with what is newer than it.
        log->replay_to = message->last;
        nv_condition_set(log, CARRICK_LOG_INCONSISTENT, NULL);
        return NV_REFUSED_NOT;
    }
    if (log->condition == CARRICK_LOG_CORRUPT || log->condition == CARRICK_LOG_SCANNING)
        return NV_REFUSED_CONDITION;
    // An owner that ends and begins anew in one session may not have come to say how far it wrote. What is found later
    // than now is said by a state, which makes the owner ask again.
    if (message->from.sequence > log->ring.tail.sequence) {
        log->walk = true;
        nv_shadow_walk(log);
    }
    return attach_here(log, message);
}

void nv_shadow_attach(struct carrick_log *log, const struct nv_message *message)
{
    struct nv_shadow *shadow = &log->shadow;
    uint32_t code = attach_judge(log, message);

    *shadow = (struct nv_shadow){.attach_reply_due = true, .attach_code = code};
    if (code == NV_REFUSED_NOT) {
        shadow->attached = true;
        log->walk = false; // what it writes from now on, it says
        log->heard = message->from.sequence - 1;
        shadow->last = message->from.sequence - 1;
        shadow->acknowledged = log->acknowledged;
        if (message->acknowledged > shadow->acknowledged)
            shadow->acknowledged = message->acknowledged;
        shadow->trim = log->ring.first.sequence;
        shadow->attach_head = nv_head_write(log);
    }
    nv_turn_arm(log);
}

// ---- what came in

void nv_shadow_advance(struct carrick_log *log, const struct nv_message *message)
{
    struct nv_shadow *shadow = &log->shadow;

    if (log->role != CARRICK_LOG_SHADOW || !shadow->attached)
        return; // said before it heard that we are no shadow any more
    if (message->last < shadow->last ||
        message->last + 1 - log->ring.first.sequence > log->ring.size / NV_ALIGN) {
        nonsense(log, "more records than the log can hold, or fewer than before");
        return;
    }
    if (message->trim > message->acknowledged + 1) {
        nonsense(log, "records to be given up that are not acknowledged");
        return;
    }
    shadow->last = message->last;
    if (message->last > log->peer.state.last)
        log->peer.state.last = message->last;
    if (message->acknowledged > shadow->acknowledged)
        shadow->acknowledged = message->acknowledged;
    if (shadow->acknowledged > log->heard)
        log->heard = shadow->acknowledged;
    if (message->trim > shadow->trim)
        shadow->trim = message->trim;
    shadow->resync_end |= (message->flags & NV_FLAG_RESYNC) != 0;
    nv_shadow_step(log);
    nv_promise_beat(log);
    nv_turn_arm(log);
}

static void step_bad(struct carrick_log *log)
{
    // The message came after the record was written: it is there, or this memory or that partner is broken.
    log->shadow.attached = false;
    nv_condition_set(log, CARRICK_LOG_CORRUPT,
                     "the partner says that it is written, and it is not whole");
    nv_repair_try(log);
}

static void step_end(struct carrick_log *log)
{
    struct nv_shadow *shadow = &log->shadow;

    if (shadow->resync_end) {
        shadow->resync_end = false;
        nv_condition_set(log, CARRICK_LOG_WHOLE, NULL);
        shadow->trim_head = nv_head_write(log);
        shadow->complete_due = true;
        shadow->synced_due = shadow->synced_now = true;
    }
    nv_host(log)->status_shadow(nv_host(log), nv_last(log));
}

void nv_shadow_step(struct carrick_log *log)
{
    struct nv_shadow *shadow = &log->shadow;
    struct nv_ring *ring = &log->ring;
    uint64_t end = ring->first.position + ring->size, bytes = NV_SLICE_BYTES;
    uint32_t records = NV_SLICE_RECORDS;
    struct nv_record record;
    uint64_t before = log->ring.tail.sequence, acknowledged = log->acknowledged;

    if (log->role != CARRICK_LOG_SHADOW || !shadow->attached)
        return;
    while (nv_last(log) < shadow->last && bytes > 0 && records > 0) {
        if (!nv_ring_check(ring, &ring->tail, end, &record)) {
            step_bad(log);
            return;
        }
        nv_ring_extend(ring, &record);
        bytes -= bytes < nv_record_span(&record) ? bytes : nv_record_span(&record);
        records--;
    }
    if (shadow->acknowledged > log->acknowledged)
        log->acknowledged =
            shadow->acknowledged < nv_last(log) ? shadow->acknowledged : nv_last(log);
    if (nv_last(log) == shadow->last)
        step_end(log);
    nv_persist_go(log);
    if (ring->tail.sequence != before || log->acknowledged != acknowledged)
        nv_turn_arm(log); // to go on, and to tell
}

// Looks for what the owner wrote and did not come to tell of: the session ended, or the role did. What is whole counts,
// and is what the copy's `last` tells.
void nv_walk_begin(struct carrick_log *log)
{
    log->walk = (log->walk || log->exposed) && log->role != CARRICK_LOG_OWNER &&
                log->condition != CARRICK_LOG_CORRUPT && !log->fetch.running;
}

void nv_shadow_walk(struct carrick_log *log)
{
    struct nv_ring *ring = &log->ring;
    uint64_t end = ring->first.position + ring->size, bytes = NV_SLICE_BYTES;
    struct nv_record record;

    if (!log->walk)
        return;
    for (uint32_t i = 0; i < NV_SLICE_RECORDS && bytes > 0; i++) {
        if (!nv_ring_check(ring, &ring->tail, end, &record)) {
            log->walk = false;
            log->state_due = true;
            nv_lack_judge(log);
            nv_persist_go(log);
            nv_changed(log);
            return;
        }
        nv_ring_extend(ring, &record);
        bytes -= bytes < nv_record_span(&record) ? bytes : nv_record_span(&record);
    }
    nv_turn_arm(log);
}

// ---- what may go

void nv_shadow_trim(struct carrick_log *log)
{
    struct nv_shadow *shadow = &log->shadow;
    uint64_t to = nv_released(log);
    struct nv_cursor at;

    if (log->role != CARRICK_LOG_SHADOW || !shadow->attached || shadow->trim == 0)
        return;
    if (shadow->trim - 1 < to || log->nvram->break_rules & NV_BREAK_TRIM)
        to = shadow->trim - 1;
    if (to < log->ring.first.sequence || !nv_ring_find(&log->ring, to + 1, &at))
        return;
    nv_ring_trim(&log->ring, &at);
    if (log->told.sequence < at.sequence)
        log->told = at; // there is nobody to tell
    // The owner uses the space again only when it hears that the head says so for certain.
    shadow->trim_head = nv_head_write(log);
    shadow->synced_due = shadow->synced_now = true;
}
