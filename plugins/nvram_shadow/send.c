// SPDX-License-Identifier: Apache-2.0
//
// Messages that are due. Each tells a state, not an event: one that finds no room on the VI is made anew later.
#include "nvram.h"

#include <string.h>

bool nv_send(struct carrick_log *log, const struct nv_message *message)
{
    uint8_t bytes[NV_MESSAGE_BYTES];
    struct carrick_op op = {
        .struct_size = sizeof op,
        .operation = CARRICK_CLIENT_SEND,
        .cookie = nv_cookie(log, NV_COOKIE_SEND),
        .length = sizeof bytes,
        .data = bytes,
    };

    if (!log->session || log->vi == NULL)
        return false;
    nv_message_encode(message, bytes);
    if (nv_host(log)->post(log->vi, &op, 1) == CARRICK_OK)
        return true;
    nv_tick_arm(log, NV_TICK_MS);
    return false;
}

static bool state_send(struct carrick_log *log)
{
    const struct nv_message message = {
        .kind = NV_STATE,
        .flags = (uint16_t)((log->exposed ? NV_FLAG_EXPOSED : 0) |
                            (log->head.member ? NV_FLAG_MEMBER : 0)),
        .role = log->role,
        .condition = log->condition,
        .level = log->level,
        .mirror = log->mirror,
        .generation = log->head.generation,
        .first = log->ring.first,
        .last = nv_last(log),
        .acknowledged = log->acknowledged < nv_last(log) ? log->acknowledged : nv_last(log),
        .synced = log->synced,
        .ring_bytes = log->ring.size,
    };
    return nv_send(log, &message);
}

static uint64_t persisted(const struct carrick_log *log)
{
    return nv_syncs(log) ? log->persist.done.sequence - 1 : nv_last(log);
}

static void attached_send(struct carrick_log *log)
{
    struct nv_shadow *shadow = &log->shadow;
    const struct nv_message message = {
        .kind = NV_ATTACHED,
        .code = shadow->attach_code,
        .first = log->ring.first,
        .last = nv_last(log),
        .synced = nv_released(log),
        .persisted = persisted(log),
    };

    if (nv_head_is_durable(log, shadow->attach_head) && nv_send(log, &message))
        shadow->attach_reply_due = false;
}

static void synced_send(struct carrick_log *log)
{
    struct nv_shadow *shadow = &log->shadow;
    const struct nv_message message = {
        .kind = NV_SYNCED,
        .flags = shadow->complete_due ? NV_FLAG_COMPLETE : 0,
        .first = log->ring.first,
        .last = nv_last(log),
        .synced = nv_released(log),
        .persisted = persisted(log),
    };

    if (nv_head_is_durable(log, shadow->trim_head) && nv_send(log, &message)) {
        shadow->synced_due = shadow->synced_now = shadow->complete_due = false;
        shadow->said_synced = message.synced;
        shadow->said_persisted = message.persisted;
    }
}

// What the shadow has to hear: how far its records go, and which are acknowledged.
static void advance_send(struct carrick_log *log)
{
    struct nv_owner *owner = &log->owner;
    struct nv_message message;

    nv_advance_fill(log, &owner->posted, &message);
    if (message.last == owner->told_last && message.acknowledged == owner->told_acknowledged &&
        message.trim == owner->told_trim && !owner->resync_end_due)
        return;
    if (owner->resync_end_due)
        message.flags = NV_FLAG_RESYNC;
    if (!nv_send(log, &message))
        return;
    owner->resync_end_due = false;
    owner->told_last = message.last;
    owner->told_acknowledged = message.acknowledged;
    owner->told_trim = message.trim;
}

void nv_send_due(struct carrick_log *log, bool ticked)
{
    struct nv_shadow *shadow = &log->shadow;
    struct nv_owner *owner = &log->owner;

    if (!log->session)
        return;
    if (log->state_due && !log->walk && log->condition != CARRICK_LOG_SCANNING &&
        log->give.phase == NV_GIVE_NOT)
        log->state_due = !state_send(log);
    if (shadow->attach_reply_due)
        attached_send(log);
    if (shadow->attached && !shadow->attach_reply_due) {
        bool more =
            nv_released(log) != shadow->said_synced || persisted(log) != shadow->said_persisted;
        bool now =
            shadow->synced_now || (nv_syncs(log) && persisted(log) != shadow->said_persisted);

        if (now || (ticked && more))
            synced_send(log);
        else if (more)
            nv_tick_arm(log, NV_TICK_MS);
    }
    if (owner->phase == NV_ATTACHED_ON && (ticked || owner->resync_end_due || owner->blocked))
        advance_send(log);
}

bool nv_advance_is_due(const struct carrick_log *log)
{
    const struct nv_owner *owner = &log->owner;

    return owner->phase == NV_ATTACHED_ON &&
           (owner->posted.sequence - 1 != owner->told_last ||
            owner->told_acknowledged < log->acknowledged ||
            owner->told_trim != log->ring.first.sequence || owner->resync_end_due);
}

// A member that lacks what the partner knows to be acknowledged has lost it.
static bool lacks_acknowledged(const struct carrick_log *log)
{
    const struct nv_message *peer = &log->peer.state;

    return log->peer.known && log->role == CARRICK_LOG_IDLE && log->head.member &&
           log->condition == CARRICK_LOG_WHOLE && (peer->flags & NV_FLAG_MEMBER) &&
           peer->condition == CARRICK_LOG_WHOLE && peer->acknowledged > nv_last(log) &&
           memcmp(peer->generation.id, log->head.generation.id, 16) == 0;
}

// Not before all was looked at that lies in this memory.
void nv_lack_judge(struct carrick_log *log)
{
    if (!log->walk && !log->fetch.running && lacks_acknowledged(log))
        nv_condition_set(log, CARRICK_LOG_CORRUPT,
                         "it lacks records that the partner knows to be acknowledged");
}

void nv_state_said(struct carrick_log *log, const struct nv_message *message)
{
    log->peer.known = true;
    if (message != &log->peer.state)
        log->peer.state = *message;
    if (lacks_acknowledged(log)) {
        // They were in this memory before it said so. Should it end before they are looked for, it is not forgotten.
        if (message->acknowledged > log->heard)
            log->heard = message->acknowledged;
        nv_walk_begin(log);
        nv_lack_judge(log);
    }
    if (log->role == CARRICK_LOG_OWNER && log->owner.phase != NV_DETACHED &&
        (message->role != CARRICK_LOG_SHADOW || message->condition == CARRICK_LOG_CORRUPT))
        nv_owner_detach(log, "the partner's copy is not shadow any more, or is corrupt");
    log->owner.refused = false;
    nv_attach_try(log);
    nv_repair_try(log);
    nv_changed(log);
    nv_turn_arm(log);
}
