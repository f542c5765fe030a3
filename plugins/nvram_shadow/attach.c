// SPDX-License-Identifier: Apache-2.0
//
// The owner's half: from where on the partner's copy is written, and when not at all.
#include "nvram.h"

#include <stdio.h>
#include <string.h>

void nv_owner_reset(struct carrick_log *log)
{
    struct nv_owner *owner = &log->owner;
    uint32_t flights = owner->flight_void + owner->flight_count;

    *owner = (struct nv_owner){
        .flight_void = flights, .freed = log->ring.first, .peer_first = log->ring.first};
    owner->progress.struct_size = sizeof owner->progress;
    log->shelf = (struct carrick_resync){.struct_size = sizeof log->shelf};
}

// Why the partner's copy cannot be written now; NULL: it can.
static const char *attach_hindrance(const struct carrick_log *log)
{
    const struct nv_message *peer = &log->peer.state;

    if (peer->ring_bytes != log->ring.size)
        return "the partner's log is of another size: \"log_bytes\" must be the same on both nodes";
    if (peer->level < log->config->level)
        return "the partner's copy does not reach the level that \"level\" asks for";
    if (log->owner.resync)
        return NULL;
    if (peer->condition == CARRICK_LOG_CORRUPT)
        return "the partner's copy is corrupt";
    if (peer->last < log->acknowledged && log->peer.proven < log->acknowledged)
        return "the partner's copy lacks records that were acknowledged: it must be brought up to "
               "date";
    return NULL;
}

static void hindered(struct carrick_log *log, const char *why, uint64_t code)
{
    if (log->owner.refused_code != code) {
        nv_log(log, CARRICK_LOG_WARNING, "the log is not mirrored: %s", why);
        nv_changed(log);
    }
    log->owner.refused_code = code;
    if (log->owner.resync) {
        log->owner.resync = false;
        log->owner.progress.state = CARRICK_RESYNC_FAILED;
        snprintf(log->owner.progress.cause, sizeof log->owner.progress.cause, "%s", why);
        nv_changed(log);
    }
}

// The partner, owner before, may know of more that was acknowledged, and its consumer may have been told of that: it is
// not written again. That both copies hold the same there is what it compares when it is asked.
static uint64_t attach_from(const struct carrick_log *log)
{
    uint64_t known = log->peer.state.acknowledged;

    known = known < nv_last(log) ? known : nv_last(log);
    return (known > log->acknowledged ? known : log->acknowledged) + 1;
}

void nv_attach_try(struct carrick_log *log)
{
    struct nv_owner *owner = &log->owner;
    const struct nv_message *peer = &log->peer.state;
    struct nv_message message = {.kind = NV_ATTACH};
    const char *why;
    bool found;

    if (log->role != CARRICK_LOG_OWNER || log->serve < NV_SERVE_MIRROR || !log->session ||
        !log->peer.known || owner->phase != NV_DETACHED || owner->refused ||
        (log->mirror == CARRICK_MIRROR_ALONE && !owner->resync))
        return;
    if (peer->role != CARRICK_LOG_SHADOW || !(peer->flags & NV_FLAG_EXPOSED) ||
        memcmp(peer->generation.id, log->head.generation.id, 16) != 0)
        return;
    why = attach_hindrance(log);
    if (why != NULL) {
        hindered(log, why, UINT64_MAX);
        return;
    }
    if (owner->resync && owner->whole) {
        owner->from = log->ring.first;
        found = true;
    } else {
        found = nv_ring_find(&log->ring, owner->resync ? owner->resync_from : attach_from(log),
                             &owner->from);
    }
    if (!found) {
        hindered(log, "the records that the partner lacks are not in the log any more",
                 UINT64_MAX - 1);
        return;
    }
    if (owner->resync)
        message.flags = NV_FLAG_RESYNC | (owner->whole ? NV_FLAG_WHOLE : 0);
    message.generation = log->head.generation;
    message.first = log->ring.first;
    message.from = owner->from;
    message.last = nv_last(log);
    message.acknowledged = log->acknowledged;
    if (!nv_send(log, &message))
        return; // tried again with the next message, or tick
    owner->phase = NV_ATTACHING;
    // From here on it may take back what lies above, to have it written again.
    if (log->peer.proven >= owner->from.sequence)
        log->peer.proven = owner->from.sequence - 1;
}

void nv_attached(struct carrick_log *log, const struct nv_message *message)
{
    struct nv_owner *owner = &log->owner;
    uint64_t before = owner->from.sequence - 1;

    if (log->role != CARRICK_LOG_OWNER || owner->phase != NV_ATTACHING)
        return;
    if (message->code != 0) {
        owner->phase = NV_DETACHED;
        owner->refused = true; // until it says that something has changed
        log->peer.proven = 0;  // and then its word alone counts
        hindered(log, nv_refusal_text(message->code), message->code);
        return;
    }
    owner->phase = NV_ATTACHED_ON;
    owner->refused_code = 0;
    owner->posted = owner->from;
    owner->mirrored = log->peer.proven = before;
    owner->persisted = message->persisted < before ? message->persisted : before;
    owner->peer_synced = message->synced < before ? message->synced : before;
    // It may begin later than this one, whose head lost its latest word with the power.
    owner->peer_first = message->first;
    if (owner->peer_first.sequence > owner->from.sequence ||
        owner->peer_first.position > owner->from.position)
        owner->peer_first = log->ring.first;
    owner->told_last = owner->told_acknowledged = owner->told_trim = 0;
    owner->joined = owner->complete = owner->resync_end_due = false;
    if (owner->resync) {
        owner->resync_began_ns = nv_now(log);
        owner->since = owner->whole ? log->peer.state.synced : before;
        if (owner->since > before)
            owner->since = before;
        log->follows_due = true;
    }
    nv_mirror_pump(log);
    nv_changed(log);
    nv_turn_arm(log);
    nv_tick_arm(log, NV_TICK_MS);
}

void nv_owner_detach(struct carrick_log *log, const char *why)
{
    struct nv_owner *owner = &log->owner;

    owner->flight_void += owner->flight_count;
    owner->flight_count = 0;
    owner->flight_bytes = 0;
    owner->joined = owner->complete = owner->resync_end_due = false;
    if (owner->resync && owner->progress.state != CARRICK_RESYNC_FAILED &&
        log->mirror == CARRICK_MIRROR_ALONE) {
        owner->progress.state = CARRICK_RESYNC_FAILED;
        snprintf(owner->progress.cause, sizeof owner->progress.cause, "%s", why);
    }
    owner->resync = owner->refused = false;
    owner->phase = NV_DETACHED;
    log->follows_due |= owner->follows_told && log->mirror == CARRICK_MIRROR_ALONE;
    nv_changed(log);
    nv_turn_arm(log);
}

int nv_resync(struct carrick_log *log, uint64_t partner_last, bool whole)
{
    struct nv_owner *owner = &log->owner;
    struct nv_cursor at;

    if (log->role != CARRICK_LOG_OWNER || log->serve != NV_SERVE_ON || !log->session ||
        owner->phase != NV_DETACHED || log->mirror != CARRICK_MIRROR_ALONE)
        return CARRICK_ERR_STATE;
    // Not in the log any more: the whole copy has to be taken anew.
    if (!whole && !nv_ring_find(&log->ring, partner_last + 1, &at))
        return CARRICK_ERR_BOUNDS;
    owner->resync = true;
    owner->whole = whole;
    owner->resync_from = partner_last + 1;
    owner->refused_code = 0;
    owner->refused = false;
    owner->progress = (struct carrick_resync){.struct_size = sizeof owner->progress,
                                              .state = CARRICK_RESYNC_RUNNING};
    log->shelf = (struct carrick_resync){.struct_size = sizeof log->shelf};
    nv_attach_try(log);
    nv_tick_arm(log, NV_TICK_MS);
    return CARRICK_OK;
}
