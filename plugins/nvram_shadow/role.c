// SPDX-License-Identifier: Apache-2.0
//
// What the monitor makes of the copy: owner, shadow, neither.
//
// The partner can write the copy only in a session at whose bring-up the role was SHADOW (provide, in plugin.c). So
// nothing here serves while such a session has not ended.
#include "nvram.h"

#include <stdio.h>
#include <string.h>

static void generation_set(struct carrick_log *log, const struct carrick_generation *generation)
{
    log->head.generation = *generation;
    log->state_due = true;
}

// ---- owner

int nv_serve(struct carrick_log *log, const struct carrick_generation *generation, uint32_t mirror)
{
    if (log->condition == CARRICK_LOG_SCANNING)
        return CARRICK_ERR_AGAIN;
    if (nv_id_is_none(generation->id) ||
        (mirror != CARRICK_MIRROR_ALONE && mirror != CARRICK_MIRROR_BOTH))
        return CARRICK_ERR_INVALID;
    if (log->unusable || log->role != CARRICK_LOG_IDLE || log->fetch.running ||
        (log->exposed && !(log->nvram->break_rules & NV_BREAK_FENCE)))
        return CARRICK_ERR_STATE;
    if (log->give.phase != NV_GIVE_NOT)
        nv_give_cut(log);
    log->role = CARRICK_LOG_OWNER;
    log->walk = false;
    log->mirror = mirror;
    log->quiet = false;
    log->serve = NV_SERVE_SCAN;
    log->serve_generation = *generation;
    log->wanted_bytes = 0;
    nv_owner_reset(log);
    // All is told anew: what is on this node's disk may be missing on the partner's, and then must get into the
    // consumer's map before it leaves the log.
    log->told = log->ring.first;
    log->synced = log->ring.first.sequence - 1;
    // As shadow not all was looked at that the partner wrote.
    nv_copy_scan(log);
    log->state_due = true;
    nv_changed(log);
    nv_turn_arm(log);
    return CARRICK_OK;
}

static void serve_refused(struct carrick_log *log, const char *cause)
{
    log->role = CARRICK_LOG_IDLE;
    log->serve = NV_SERVE_NOT;
    log->state_due = true;
    nv_serving_ended(log, CARRICK_ERR_STATE, cause);
}

static void serve_scanned(struct carrick_log *log)
{
    if (log->condition == CARRICK_LOG_CORRUPT) {
        serve_refused(log, "the copy is corrupt: a record that had been acknowledged is bad");
        return;
    }
    if (log->condition == CARRICK_LOG_INCONSISTENT) {
        serve_refused(log, "the copy is inconsistent: its resynchronisation has not ended");
        return;
    }
    generation_set(log, &log->serve_generation);
    nv_condition_set(log, CARRICK_LOG_WHOLE, NULL);
    log->head.member = true;
    log->serve_head = nv_head_write(log);
    log->owner.gate_head = log->serve_head;
    log->serve = NV_SERVE_HEAD;
}

static void serve_told(struct carrick_log *log)
{
    log->serve = NV_SERVE_ON;
    log->role_due = true;
    nv_log(log, CARRICK_LOG_NOTICE, "owner, records %llu to %llu in the log",
           (unsigned long long)log->ring.first.sequence, (unsigned long long)nv_last(log));
    nv_changed(log);
}

void nv_serve_step(struct carrick_log *log)
{
    if (log->serve == NV_SERVE_SCAN) {
        if (nv_copy_scan_step(log))
            serve_scanned(log);
        else
            nv_turn_arm(log);
    }
    if (log->serve == NV_SERVE_HEAD && nv_head_is_durable(log, log->serve_head)) {
        log->serve = NV_SERVE_MIRROR;
        nv_persist_go(log);
        nv_attach_try(log);
    }
    if (log->serve == NV_SERVE_MIRROR) {
        nv_acknowledge(log);
        // Everything that is in the log counts now, whether it had been acknowledged or not.
        if (log->acknowledged == nv_last(log))
            log->serve = NV_SERVE_TELL;
    }
    if (log->serve == NV_SERVE_TELL &&
        (log->consumer == NULL || log->told.sequence > log->acknowledged))
        serve_told(log);
}

int nv_set_mirror(struct carrick_log *log, uint32_t mirror,
                  const struct carrick_generation *generation)
{
    struct nv_owner *owner = &log->owner;

    if (log->role != CARRICK_LOG_OWNER)
        return CARRICK_ERR_STATE;
    if (mirror > CARRICK_MIRROR_BOTH || (generation != NULL && nv_id_is_none(generation->id)))
        return CARRICK_ERR_INVALID;
    // The partner's copy counts only when it has all that was acknowledged.
    if (log->mirror == CARRICK_MIRROR_ALONE && mirror != CARRICK_MIRROR_ALONE &&
        owner->progress.state != CARRICK_RESYNC_EQUAL)
        return CARRICK_ERR_STATE;
    // What the consumer said was safe here may not be in its map of what the partner lacks: it says so again.
    if (log->mirror != CARRICK_MIRROR_ALONE && mirror == CARRICK_MIRROR_ALONE)
        log->synced = nv_synced_everywhere(log);
    log->mirror = mirror;
    log->mirror_due = true;
    if (generation != NULL && log->serve == NV_SERVE_SCAN) {
        log->serve_generation = *generation;
    } else if (generation != NULL) {
        generation_set(log, generation);
        owner->gate_head = nv_head_write(log);
    }
    if (mirror == CARRICK_MIRROR_ALONE)
        nv_owner_detach(log, "the partner is no member");
    log->state_due = true;
    nv_changed(log);
    nv_turn_arm(log);
    return CARRICK_OK;
}

// ---- shadow

// Which of our records stay. NULL: they do, as far as cut_above says, at *to.
static int follow_cut(struct carrick_log *log, uint64_t cut_above, bool empty, struct nv_cursor *to)
{
    bool cuts = cut_above < nv_last(log) || empty;

    *to = log->ring.tail;
    if (!cuts)
        return CARRICK_OK;
    // The partner may be writing at this moment.
    if (log->exposed)
        return CARRICK_ERR_STATE;
    if (cut_above < nv_last(log) && !nv_ring_find(&log->ring, cut_above + 1, to)) {
        *to = log->ring.first; // it lies below: all of them are void, or the chain is broken
        return empty ? CARRICK_OK : CARRICK_ERR_BOUNDS;
    }
    return CARRICK_OK;
}

int nv_follow(struct carrick_log *log, const struct carrick_generation *generation,
              uint64_t cut_above, bool empty)
{
    struct nv_cursor to;
    int status;

    if (log->condition == CARRICK_LOG_SCANNING)
        return CARRICK_ERR_AGAIN;
    if (nv_id_is_none(generation->id))
        return CARRICK_ERR_INVALID;
    if (log->unusable || log->role == CARRICK_LOG_OWNER)
        return CARRICK_ERR_STATE;
    status = follow_cut(log, cut_above, empty, &to);
    if (status != CARRICK_OK)
        return status;
    if (log->fetch.running)
        nv_fetch_end(log, CARRICK_ERR_CANCELLED, "the copy follows the partner");
    nv_shadow_reset(log);
    if (to.sequence < log->ring.tail.sequence || empty ||
        (log->condition == CARRICK_LOG_CORRUPT && cut_above <= nv_last(log)))
        nv_give_begin(log, &to, cut_above, empty);
    if (memcmp(generation->id, log->head.generation.id, 16) != 0)
        log->head.member = false;
    generation_set(log, generation);
    if (empty)
        nv_condition_set(log, CARRICK_LOG_INCONSISTENT, NULL);
    else if (log->condition == CARRICK_LOG_EMPTY)
        nv_condition_set(log, CARRICK_LOG_WHOLE, NULL);
    log->role = CARRICK_LOG_SHADOW;
    log->role_due = true;
    log->fork = cut_above;
    nv_head_write(log);
    nv_promise_set(log, true);
    nv_log(log, CARRICK_LOG_NOTICE, "shadow of %s, the copy ends at record %llu",
           nv_host(log)->base->partner,
           (unsigned long long)(log->give.phase != NV_GIVE_NOT ? log->give.to.sequence - 1
                                                               : nv_last(log)));
    nv_changed(log);
    nv_turn_arm(log);
    nv_tick_arm(log, NV_BEAT_MS);
    return CARRICK_OK;
}

// ---- neither

void nv_idle(struct carrick_log *log, const char *why)
{
    bool was_serving = log->serve != NV_SERVE_NOT && log->serve != NV_SERVE_ON;

    if (log->role == CARRICK_LOG_IDLE)
        return;
    if (!(log->nvram->break_rules & NV_BREAK_WITHDRAW))
        nv_promise_set(log, false); // before all else: a read that begins now is not answered
    if (log->role == CARRICK_LOG_OWNER)
        nv_owner_detach(log, "this node is not the owner any more");
    if (log->fetch.running)
        nv_fetch_end(log, CARRICK_ERR_CANCELLED, why);
    nv_shadow_reset(log);
    if (log->role == CARRICK_LOG_SHADOW)
        nv_walk_begin(log); // nobody will tell of what came last
    log->role = CARRICK_LOG_IDLE;
    log->mirror = CARRICK_MIRROR_ALONE;
    log->serve = NV_SERVE_NOT;
    log->quiet = log->room_due = log->commit_due = log->role_due = log->follows_due =
        log->mirror_due = false;
    log->owner.follows_told = false;
    log->wanted_bytes = 0;
    log->idle_due = log->told_role != CARRICK_LOG_IDLE;
    log->barrier.fail_due = true;
    log->state_due = true;
    if (was_serving)
        nv_serving_ended(log, CARRICK_ERR_CANCELLED, why);
    nv_log(log, CARRICK_LOG_NOTICE, "idle: %s", why);
    nv_changed(log);
    nv_turn_arm(log);
}

int nv_bear(struct carrick_log *log, const struct carrick_generation *generation, bool member)
{
    if (log->condition == CARRICK_LOG_SCANNING)
        return CARRICK_ERR_AGAIN;
    generation_set(log, generation);
    log->head.member = member;
    if (log->condition == CARRICK_LOG_EMPTY && !nv_id_is_none(generation->id))
        nv_condition_set(log, CARRICK_LOG_WHOLE, NULL);
    nv_head_write(log);
    if (log->promise.standing)
        nv_promise_set(log, true);
    nv_changed(log);
    nv_turn_arm(log);
    return CARRICK_OK;
}
