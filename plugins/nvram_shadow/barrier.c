// SPDX-License-Identifier: Apache-2.0
//
// Reads are not stale: the owner reads the partner's promise, by a remote read that begins after they were asked for, and
// answers them only if it still stands. A partner that means to take over withdraws it first.
#include "nvram.h"

#include <stdlib.h>
#include <string.h>

enum { TORN_MAX = 16 };

static int list_add(struct nv_barrier_list *list, void (*fn)(void *arg, bool fresh), void *arg)
{
    if (list->count == list->room) {
        uint32_t room = list->room > 0 ? 2 * list->room : 16;
        struct nv_barrier_wait *waits;

        if (room > NV_BARRIERS_MAX)
            return CARRICK_ERR_LIMIT;
        waits = realloc(list->waits, room * sizeof *waits);
        if (waits == NULL)
            return CARRICK_ERR_NO_MEMORY;
        list->waits = waits;
        list->room = room;
    }
    list->waits[list->count++] = (struct nv_barrier_wait){.fn = fn, .arg = arg};
    return CARRICK_OK;
}

// Who is answered may ask anew at once: that goes to `waiting`.
static void batch_answer(struct carrick_log *log, bool fresh)
{
    struct nv_barrier_list *batch = &log->barrier.batch;

    log->barrier.torn = 0;
    for (uint32_t i = 0; i < batch->count; i++)
        batch->waits[i].fn(batch->waits[i].arg, fresh);
    batch->count = 0;
}

static void batch_take(struct nv_barrier *barrier)
{
    struct nv_barrier_list empty = barrier->batch;

    if (empty.count > 0)
        return; // still to be answered
    barrier->batch = barrier->waiting;
    barrier->waiting = empty;
}

// Nobody else can serve, so nobody is asked.
static bool is_alone(const struct carrick_log *log)
{
    return log->mirror == CARRICK_MIRROR_ALONE || (log->nvram->break_rules & NV_BREAK_PROMISE);
}

int nv_barrier_ask(struct carrick_log *log, void (*fn)(void *arg, bool fresh), void *arg)
{
    int status;

    if (log->role != CARRICK_LOG_OWNER || log->serve != NV_SERVE_ON || log->barrier.fail_due)
        return CARRICK_ERR_STATE;
    status = list_add(&log->barrier.waiting, fn, arg);
    if (status != CARRICK_OK)
        return status;
    if (is_alone(log))
        nv_turn_arm(log);
    else
        nv_barrier_go(log);
    return CARRICK_OK;
}

static void read_post(struct carrick_log *log)
{
    struct nv_barrier *barrier = &log->barrier;
    const struct carrick_op op = {
        .struct_size = sizeof op,
        .operation = CARRICK_CLIENT_READ,
        .cookie = nv_cookie(log, NV_COOKIE_BARRIER),
        .region = barrier->region,
        .length = NV_PROMISE_BYTES,
        .there = 2 * log->index,
        .there_offset = NV_PROMISE_AT,
    };

    barrier->reading = nv_host(log)->post(log->read_vi, &op, 1) == CARRICK_OK;
    if (!barrier->reading)
        nv_tick_arm(log, NV_TICK_MS); // no room: tried again then
}

void nv_barrier_go(struct carrick_log *log)
{
    struct nv_barrier *barrier = &log->barrier;

    if (barrier->batch.count + barrier->waiting.count == 0)
        barrier->fail_due = false; // nobody is left who asked before the role changed
    if (barrier->reading || barrier->batch.count + barrier->waiting.count == 0)
        return;
    if (barrier->fail_due) {
        // All that asked before the role changed, and nobody after.
        batch_take(barrier);
        batch_answer(log, false);
        batch_take(barrier);
        batch_answer(log, false);
        barrier->fail_due = false;
    } else if (log->role == CARRICK_LOG_OWNER && is_alone(log)) {
        batch_take(barrier);
        batch_answer(log, true);
        if (barrier->waiting.count > 0)
            nv_turn_arm(log);
    } else if (log->session && log->read_vi != NULL) {
        // The batch is closed before its read begins; without a session it waits: for the next, or for a decision.
        batch_take(barrier);
        read_post(log);
    }
}

void nv_barrier_read(struct carrick_log *log, int status)
{
    struct nv_barrier *barrier = &log->barrier;
    struct nv_promise promise;
    bool whole;

    barrier->reading = false;
    if (barrier->fail_due || status != CARRICK_OK) {
        nv_turn_arm(log);
        return; // the batch is kept: read again in the next session, or answered when the role changes
    }
    whole = nv_promise_decode(nv_host(log)->region_ptr(barrier->region), &promise);
    if (is_alone(log))
        batch_answer(log, true);
    else if (whole)
        batch_answer(log, promise.standing &&
                              memcmp(promise.generation, log->head.generation.id, 16) == 0);
    else if (++barrier->torn >= TORN_MAX)
        batch_answer(log, false);
    nv_barrier_go(log);
}

void nv_barrier_session_ended(struct carrick_log *log)
{
    log->barrier.reading = false;
    log->barrier.torn = 0;
}

void nv_barrier_forget(struct carrick_log *log)
{
    log->barrier.waiting.count = log->barrier.batch.count = 0;
}

void nv_barrier_free(struct carrick_log *log)
{
    free(log->barrier.waiting.waits);
    free(log->barrier.batch.waits);
    if (log->barrier.region != NULL)
        nv_host(log)->region_destroy(log->barrier.region);
}
