// SPDX-License-Identifier: Apache-2.0
//
// Reads are not stale: the owner reads the partner's promise, by a remote read that begins after they were asked for, and
// answers them only if it still stands. A partner that means to take over withdraws it first.
#include "nvram.h"

#include <stdlib.h>
#include <string.h>

enum {
    TORN_MAX = 16,
    LOOK_WAITS = 8,
    CROWD_MIN = 4,
    CROWD_FADES = 8,
    HOLD_NS = 1000000,
};

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
static void list_answer(struct nv_barrier_list *list, bool fresh)
{
    for (uint32_t i = 0; i < list->count; i++)
        list->waits[i].fn(list->waits[i].arg, fresh);
    list->count = 0;
}

// Of a look that does not read.
static void look_answer(struct nv_look *look, bool fresh)
{
    look->torn = 0;
    list_answer(&look->batch, fresh);
}

static struct nv_look *look_free(struct nv_barrier *barrier)
{
    for (uint32_t i = 0; i < NV_LOOKS; i++)
        if (!barrier->looks[i].reading && barrier->looks[i].batch.count == 0)
            return &barrier->looks[i];
    return NULL;
}

static uint32_t looks_reading(const struct nv_barrier *barrier)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < NV_LOOKS; i++)
        count += barrier->looks[i].reading;
    return count;
}

static uint32_t askers(const struct nv_barrier *barrier)
{
    uint32_t count = barrier->waiting.count;

    for (uint32_t i = 0; i < NV_LOOKS; i++)
        count += barrier->looks[i].batch.count;
    return count;
}

// Those who wait become the batch of a free look.
static struct nv_look *batch_take(struct nv_barrier *barrier)
{
    struct nv_look *look = look_free(barrier);
    struct nv_barrier_list empty;

    if (look == NULL || barrier->waiting.count == 0)
        return NULL;
    empty = look->batch;
    look->batch = barrier->waiting;
    barrier->waiting = empty;
    barrier->held_ns = 0;
    return look;
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
    nv_commit_arm(log);
    return CARRICK_OK;
}

static void look_post(struct carrick_log *log, struct nv_look *look)
{
    struct nv_barrier *barrier = &log->barrier;
    uint64_t number = (uint64_t)(look - barrier->looks);
    const struct carrick_op op = {
        .struct_size = sizeof op,
        .operation = CARRICK_CLIENT_READ,
        .cookie = nv_cookie(log, NV_COOKIE_BARRIER) + number * NV_COOKIE_KINDS,
        .region = barrier->region,
        .offset = number * NV_PROMISE_BYTES,
        .length = NV_PROMISE_BYTES,
        .there = 2 * log->index,
        .there_offset = NV_PROMISE_AT,
    };

    look->reading = nv_host(log)->post(log->read_vi, &op, 1) == CARRICK_OK;
    if (!look->reading)
        nv_tick_arm(log, NV_TICK_MS); // no room: tried again then
}

// Those who are answered by this look ask again soon: where many read at a time, most of them are worth waiting for. A look
// takes much less time than they take to come back, and would mostly go for one or two. How many they are shows only now and
// then, so the most that were seen count, and fade.
static void crowd_judge(struct carrick_log *log)
{
    struct nv_barrier *barrier = &log->barrier;
    uint32_t crowd = askers(barrier);

    if (crowd >= barrier->crowd)
        barrier->crowd = crowd;
    else if (++barrier->judged % CROWD_FADES == 0)
        barrier->crowd--;
    barrier->judged_ns = nv_now(log);
}

// So many are worth waiting for.
static uint32_t crowd_worth(const struct nv_barrier *barrier)
{
    if (barrier->crowd < CROWD_MIN)
        return 1;
    return barrier->crowd <= LOOK_WAITS ? barrier->crowd - 1 : LOOK_WAITS;
}

static void hold_arm(struct carrick_log *log, uint64_t ns)
{
    log->barrier.hold_runs = true;
    nv_host(log)->base->timer_start(log->barrier.hold, ns);
}

// Does it wait for others? Not for longer than HOLD_NS, nor when that much time has passed since many were there.
static bool holds(struct carrick_log *log)
{
    struct nv_barrier *barrier = &log->barrier;
    uint64_t now = nv_now(log);

    if (barrier->waiting.count >= crowd_worth(barrier) || now - barrier->judged_ns >= HOLD_NS)
        return false;
    if (barrier->held_ns == 0)
        barrier->held_ns = now;
    if (!barrier->hold_runs)
        hold_arm(log, HOLD_NS);
    return true;
}

// A batch is closed before its look begins. The first look begins at once, or when so many wait as are expected; others
// beside it only for so many that it is worth a message, while who comes alone waits for one that is under way to end.
static void looks_go(struct carrick_log *log)
{
    struct nv_barrier *barrier = &log->barrier;
    struct nv_look *look;

    for (uint32_t i = 0; i < NV_LOOKS; i++)
        if (!barrier->looks[i].reading && barrier->looks[i].batch.count > 0)
            look_post(log, &barrier->looks[i]);
    if (barrier->waiting.count == 0 ||
        (looks_reading(barrier) > 0 && barrier->waiting.count < LOOK_WAITS) || holds(log))
        return;
    look = batch_take(barrier);
    if (look != NULL)
        look_post(log, look);
}

// Answers nobody: this is a call of those who ask.
void nv_barrier_look(struct carrick_log *log)
{
    if (log->barrier.waiting.count == 0)
        return;
    if (log->role == CARRICK_LOG_OWNER && !is_alone(log) && !log->barrier.fail_due &&
        log->session && log->read_vi != NULL)
        looks_go(log);
    else
        nv_turn_arm(log);
}

static void hold_over(void *arg)
{
    struct carrick_log *log = arg;
    struct nv_barrier *barrier = &log->barrier;
    uint64_t held = nv_now(log) - barrier->held_ns;

    barrier->hold_runs = false;
    if (barrier->held_ns == 0)
        return;
    if (held < HOLD_NS) { // these came later than those that it was set for
        hold_arm(log, HOLD_NS - held);
        return;
    }
    barrier->crowd = barrier->waiting.count; // no more than these
    nv_barrier_look(log);
}

int nv_barrier_create(struct carrick_log *log)
{
    const struct carrick_host *base = nv_host(log)->base;
    int status = nv_host(log)->region_create(nv_host(log), NV_PAGE, &log->barrier.region);

    return status == CARRICK_OK ? base->timer_create(base, hold_over, log, &log->barrier.hold)
                                : status;
}

// Everybody who is in no look.
static void all_answer(struct carrick_log *log, bool fresh)
{
    struct nv_barrier *barrier = &log->barrier;
    struct nv_look *look;

    for (uint32_t i = 0; i < NV_LOOKS; i++)
        if (!barrier->looks[i].reading)
            look_answer(&barrier->looks[i], fresh);
    look = batch_take(barrier);
    if (look != NULL)
        look_answer(look, fresh);
}

void nv_barrier_go(struct carrick_log *log)
{
    struct nv_barrier *barrier = &log->barrier;

    if (askers(barrier) == 0) {
        barrier->fail_due = false; // nobody is left who asked before the role changed
        return;
    }
    if (barrier->fail_due) {
        // All that asked before the role changed, and nobody after.
        if (looks_reading(barrier) > 0)
            return;
        all_answer(log, false);
        barrier->fail_due = false;
    } else if (log->role == CARRICK_LOG_OWNER && is_alone(log)) {
        all_answer(log, true);
        // Those who found no free look go when one that still reads has ended.
        if (barrier->waiting.count > 0 && looks_reading(barrier) < NV_LOOKS)
            nv_turn_arm(log);
    } else if (log->session && log->read_vi != NULL) {
        // Without a session they wait: for the next, or for a decision.
        looks_go(log);
    }
}

void nv_barrier_read(struct carrick_log *log, uint32_t number, int status)
{
    struct nv_barrier *barrier = &log->barrier;
    struct nv_look *look = &barrier->looks[number];
    const uint8_t *word = nv_host(log)->region_ptr(barrier->region);
    struct nv_promise promise;
    bool whole;

    look->reading = false;
    if (barrier->fail_due || status != CARRICK_OK) {
        nv_turn_arm(log);
        return; // the batch is kept: read for again in the next session, or answered when the role changes
    }
    crowd_judge(log);
    whole = nv_promise_decode(word + number * NV_PROMISE_BYTES, &promise);
    if (is_alone(log))
        look_answer(look, true);
    else if (whole)
        look_answer(look, promise.standing &&
                              memcmp(promise.generation, log->head.generation.id, 16) == 0);
    else if (++look->torn >= TORN_MAX)
        look_answer(look, false);
    nv_barrier_go(log);
}

void nv_barrier_session_ended(struct carrick_log *log)
{
    for (uint32_t i = 0; i < NV_LOOKS; i++) {
        log->barrier.looks[i].reading = false;
        log->barrier.looks[i].torn = 0;
    }
}

void nv_barrier_forget(struct carrick_log *log)
{
    log->barrier.waiting.count = 0;
    log->barrier.held_ns = 0;
    for (uint32_t i = 0; i < NV_LOOKS; i++)
        log->barrier.looks[i].batch.count = 0;
}

void nv_barrier_free(struct carrick_log *log)
{
    free(log->barrier.waiting.waits);
    for (uint32_t i = 0; i < NV_LOOKS; i++)
        free(log->barrier.looks[i].batch.waits);
    if (log->barrier.hold != NULL)
        nv_host(log)->base->timer_destroy(log->barrier.hold);
    if (log->barrier.region != NULL)
        nv_host(log)->region_destroy(log->barrier.region);
}
