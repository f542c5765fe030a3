// SPDX-License-Identifier: Apache-2.0
//
// Records that this copy lacks, or that went bad in it, are taken out of the partner's copy, by remote reads: the same
// place there holds the same bytes. Each must follow on the one before it, by its checksum, so nothing of another
// history gets in.
#include "nvram.h"

#include <stdio.h>
#include <string.h>

enum { TRIES = 3 };

void nv_fetch_end(struct carrick_log *log, int status, const char *cause)
{
    struct nv_fetch *fetch = &log->fetch;
    bool repair = fetch->repair;

    if (!fetch->running)
        return;
    fetch->running = false;
    if (status == CARRICK_OK) {
        if (log->condition == CARRICK_LOG_CORRUPT)
            nv_condition_set(log, CARRICK_LOG_WHOLE, NULL);
        nv_head_write(log);
    } else {
        fetch->tries++;
        nv_log(log, CARRICK_LOG_WARNING, "taking records from the partner's copy ended: %s", cause);
    }
    if (status != CARRICK_ERR_CANCELLED) // not all was looked at then
        nv_lack_judge(log);
    log->state_due = true;
    nv_changed(log);
    if (!repair)
        nv_fetched(log, status, cause);
    nv_turn_arm(log);
}

static int fetch_begin(struct carrick_log *log, uint64_t last, bool repair)
{
    struct nv_fetch *fetch = &log->fetch;
    int status;

    if (fetch->reading)
        return CARRICK_ERR_AGAIN; // a read of an earlier one is still under way
    if (fetch->region == NULL) {
        status = nv_host(log)->region_create(nv_host(log), NV_FETCH_BYTES, &fetch->region);
        if (status != CARRICK_OK)
            return status;
    }
    fetch->running = true;
    fetch->repair = repair;
    fetch->last = last;
    fetch->scanned = false;
    log->walk = false; // that looks at everything here, too
    nv_copy_scan(log);
    nv_turn_arm(log);
    return CARRICK_OK;
}

int nv_fetch(struct carrick_log *log, uint64_t last)
{
    const struct nv_message *peer = &log->peer.state;

    if (log->condition == CARRICK_LOG_SCANNING || log->give.phase != NV_GIVE_NOT)
        return CARRICK_ERR_AGAIN;
    if (log->role != CARRICK_LOG_IDLE || !log->session || !log->peer.known || log->fetch.running)
        return CARRICK_ERR_STATE;
    if (peer->condition != CARRICK_LOG_WHOLE || peer->last < last ||
        peer->ring_bytes != log->ring.size)
        return CARRICK_ERR_NOT_FOUND;
    return fetch_begin(log, last, false);
}

void nv_repair_try(struct carrick_log *log)
{
    const struct nv_message *peer = &log->peer.state;
    uint64_t bad = log->ring.tail.sequence;

    if (log->condition != CARRICK_LOG_CORRUPT || log->role == CARRICK_LOG_OWNER || !log->session ||
        !log->peer.known || log->fetch.running || log->fetch.tries >= TRIES ||
        log->give.phase != NV_GIVE_NOT)
        return;
    if (peer->condition != CARRICK_LOG_WHOLE || peer->last < bad ||
        peer->ring_bytes != log->ring.size)
        return;
    if (peer->acknowledged > bad && memcmp(peer->generation.id, log->head.generation.id, 16) == 0)
        bad = peer->acknowledged;
    if (log->heard > bad)
        bad = log->heard;
    if (bad > peer->last)
        bad = peer->last;
    fetch_begin(log, bad, true);
}

static void read_post(struct carrick_log *log)
{
    struct nv_fetch *fetch = &log->fetch;
    const struct nv_cursor *tail = &log->ring.tail;
    uint64_t run = nv_ring_run(&log->ring, tail->position);
    uint64_t room = log->ring.first.position + log->ring.size - tail->position;
    struct carrick_op op = {
        .struct_size = sizeof op,
        .operation = CARRICK_CLIENT_READ,
        .cookie = nv_cookie(log, NV_COOKIE_FETCH),
        .region = fetch->region,
        .length = NV_FETCH_BYTES,
        .there = 2 * log->index,
        .there_offset = log->ring_at + tail->position % log->ring.size,
    };

    if (op.length > run)
        op.length = run;
    if (op.length > room)
        op.length = room;
    if (op.length == 0) {
        nv_fetch_end(log, CARRICK_ERR_LIMIT, "the copy is full");
        return;
    }
    fetch->at = tail->position;
    fetch->bytes = op.length;
    fetch->reading = nv_host(log)->post(log->read_vi, &op, 1) == CARRICK_OK;
    if (!fetch->reading)
        nv_tick_arm(log, NV_TICK_MS);
}

// Goes on: what is here first, then the next read.
void nv_fetch_step(struct carrick_log *log)
{
    struct nv_fetch *fetch = &log->fetch;

    if (!fetch->running || fetch->reading)
        return;
    if (!fetch->scanned) {
        if (!nv_copy_scan_step(log)) {
            nv_turn_arm(log);
            return;
        }
        fetch->scanned = true;
    }
    if (log->condition != CARRICK_LOG_CORRUPT && nv_last(log) >= fetch->last)
        nv_fetch_end(log, CARRICK_OK, "");
    else if (!log->session || log->read_vi == NULL)
        nv_fetch_end(log, CARRICK_ERR_SESSION_ENDED, "the session ended");
    else
        read_post(log);
}

// One record out of what was read. false: there is none, or it is not the next one.
static bool take(struct carrick_log *log, uint64_t at)
{
    const uint8_t *bytes = nv_host(log)->region_ptr(log->fetch.region);
    struct nv_ring *ring = &log->ring;
    uint64_t run = nv_ring_run(ring, ring->tail.position), room = log->fetch.bytes - at, copy;
    struct nv_record record;

    if (room < NV_RECORD_BYTES || !nv_record_peek(bytes + at, run, &record) ||
        NV_RECORD_BYTES + nv_record_data(&record) > room ||
        !nv_record_check(bytes + at, run, &record))
        return false;
    if (record.sequence != ring->tail.sequence || record.before != ring->tail.crc ||
        ring->tail.position + nv_record_span(&record) > ring->first.position + ring->size)
        return false;
    copy = nv_record_span(&record) < room ? nv_record_span(&record) : room;
    memcpy(nv_ring_at(ring, ring->tail.position), bytes + at, copy);
    nv_ring_extend(ring, &record);
    if (record.acknowledged > log->acknowledged && record.acknowledged < record.sequence)
        log->acknowledged = record.acknowledged;
    return true;
}

void nv_fetch_read(struct carrick_log *log, int status)
{
    struct nv_fetch *fetch = &log->fetch;
    uint64_t at = 0, begin = log->ring.tail.position, before = nv_last(log);
    bool some = false;

    fetch->reading = false;
    if (!fetch->running)
        return;
    if (status != CARRICK_OK || fetch->at != begin) {
        nv_fetch_end(log, status != CARRICK_OK ? status : CARRICK_ERR_STATE,
                     "the session ended, or the copy changed");
        return;
    }
    while (at < fetch->bytes && (nv_last(log) < fetch->last || nv_last(log) == before) &&
           take(log, at)) {
        at = log->ring.tail.position - begin;
        some = true;
    }
    if (!some) {
        char cause[96];

        snprintf(cause, sizeof cause,
                 "the partner's copy has no good record %llu that follows ours",
                 (unsigned long long)log->ring.tail.sequence);
        nv_fetch_end(log, CARRICK_ERR_NOT_FOUND, cause);
        return;
    }
    // Behind a repaired record the next ones may be good here.
    nv_copy_scan(log);
    fetch->scanned = false;
    nv_persist_go(log);
    nv_turn_arm(log);
}
