// SPDX-License-Identifier: Apache-2.0
#include "daemon/env_uv.h"

#include <carrick/plugin.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "daemon/env_file.h"
#include "daemon/mailbox.h"

struct env_uv {
    struct env env; // first: a struct env is cast back
    uv_loop_t loop;
    struct mailbox mailbox;
    // Active while a timer of no delay waits: the one fires them, behind what the loop's look at the descriptors brought, the
    // other keeps that look from waiting.
    uv_check_t turn;
    uv_idle_t hurry;
    struct env_timer *soon; // those timers, in order
    struct env_timer **soon_end;
    void (*log)(void *arg, const struct env_record *record);
    void *arg;
    _Atomic uint64_t *locked; // by all managers
    _Atomic uint64_t alone;   // … where there is no other
    uint64_t locked_here;     // of it, by this one
};

struct env_timer {
    uv_timer_t uv;
    struct env_uv *env;
    struct env_timer *soon_next;
    bool soon;
    void (*fn)(void *arg);
    void *arg;
};

struct env_watch {
    uv_poll_t uv;
    int events; // of libuv
    bool destroyed;
    void (*fn)(void *arg, uint32_t events);
    void *arg;
};

static struct env_uv *of(struct env *env)
{
    return (struct env_uv *)env;
}

static void free_handle(uv_handle_t *handle)
{
    free(handle->data);
}

// ---- time, randomness, log

static uint64_t now_ns(struct env *env)
{
    (void)env;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void fill_random(struct env *env, void *buffer, size_t length)
{
    (void)env;
    uint8_t *at = buffer;
    while (length > 0) {
        ssize_t got = getrandom(at, length, 0);
        // Without randomness there are no keys that cannot be guessed; the call cannot fail otherwise.
        if (got < 0 && errno != EINTR)
            abort();
        if (got > 0) {
            at += got;
            length -= (size_t)got;
        }
    }
}

static void take_record(struct env *env, const struct env_record *record)
{
    of(env)->log(of(env)->arg, record);
}

// ---- timers

static void on_timer(uv_timer_t *uv)
{
    struct env_timer *timer = uv->data;
    timer->fn(timer->arg);
}

static struct env_timer *create_timer(struct env *env, void (*fn)(void *arg), void *arg)
{
    struct env_timer *timer = malloc(sizeof(*timer));
    if (!timer)
        return NULL;
    uv_timer_init(&of(env)->loop, &timer->uv);
    timer->uv.data = timer;
    timer->env = of(env);
    timer->soon_next = NULL;
    timer->soon = false;
    timer->fn = fn;
    timer->arg = arg;
    return timer;
}

// A timer without a delay fires when the loop has gone through what its look at the descriptors brought: that which is under
// way, or the next. libuv's own would fire again in the same turn when it is started in its callback, and whoever always
// has more to do would never let the loop look at anything else.
static void soon_add(struct env_timer *timer)
{
    struct env_uv *env = timer->env;
    if (timer->soon)
        return;
    timer->soon = true;
    timer->soon_next = NULL;
    *env->soon_end = timer;
    env->soon_end = &timer->soon_next;
}

static void soon_remove(struct env_timer *timer)
{
    struct env_uv *env = timer->env;
    if (!timer->soon)
        return;
    struct env_timer **at = &env->soon;
    while (*at != timer)
        at = &(*at)->soon_next;
    *at = timer->soon_next;
    if (env->soon_end == &timer->soon_next)
        env->soon_end = at;
    timer->soon = false;
}

static void on_hurry(uv_idle_t *hurry)
{
    (void)hurry;
}

static void on_turn(uv_check_t *turn)
{
    struct env_uv *env = turn->data;
    unsigned count = 0;
    // As many as wait now: what is started meanwhile has the next turn.
    for (struct env_timer *timer = env->soon; timer; timer = timer->soon_next)
        count++;
    for (; count > 0 && env->soon; count--) {
        struct env_timer *timer = env->soon;
        soon_remove(timer);
        timer->fn(timer->arg);
    }
    if (!env->soon) {
        uv_check_stop(turn);
        uv_idle_stop(&env->hurry);
    }
}

// The loop counts milliseconds of the same clock from when it last looked. The timer is due at the first of them that
// is not before the wanted instant: so it is never early, however old the loop's time is.
static void start_timer(struct env_timer *timer, uint64_t delay_ns)
{
    soon_remove(timer);
    if (delay_ns == 0) {
        uv_timer_stop(&timer->uv);
        soon_add(timer);
        uv_check_start(&timer->env->turn, on_turn);
        uv_idle_start(&timer->env->hurry, on_hurry);
        return;
    }
    uint64_t now = now_ns(NULL);
    uint64_t due_ns = delay_ns < UINT64_MAX / 2 - now ? now + delay_ns : UINT64_MAX / 2;
    uint64_t due_ms = (due_ns + ENV_MS - 1) / ENV_MS;
    uint64_t loop_ms = uv_now(timer->uv.loop);
    uv_timer_start(&timer->uv, on_timer, due_ms > loop_ms ? due_ms - loop_ms : 0, 0);
}

static void stop_timer(struct env_timer *timer)
{
    soon_remove(timer);
    uv_timer_stop(&timer->uv);
}

static void destroy_timer(struct env_timer *timer)
{
    if (!timer)
        return;
    soon_remove(timer);
    uv_close((uv_handle_t *)&timer->uv, free_handle);
}

// ---- watches

static void on_poll(uv_poll_t *uv, int status, int events)
{
    struct env_watch *watch = uv->data;
    // An error is the owner's to find, by what it would do anyway.
    if (status < 0)
        events = watch->events;
    uint32_t ready = (events & UV_READABLE ? (uint32_t)CARRICK_WATCH_READ : 0u) |
                     (events & UV_WRITABLE ? (uint32_t)CARRICK_WATCH_WRITE : 0u);
    if (ready)
        watch->fn(watch->arg, ready);
    // libuv stops the handle at an error; a watch is level-triggered until it is destroyed.
    if (status < 0 && !watch->destroyed)
        uv_poll_start(uv, watch->events, on_poll);
}

static struct env_watch *create_watch(struct env *env, int fd, uint32_t events,
                                      void (*fn)(void *arg, uint32_t events), void *arg)
{
    struct env_watch *watch = malloc(sizeof(*watch));
    if (!watch)
        return NULL;
    *watch = (struct env_watch){.fn = fn, .arg = arg};
    watch->events = (events & CARRICK_WATCH_READ ? UV_READABLE : 0) |
                    (events & CARRICK_WATCH_WRITE ? UV_WRITABLE : 0);
    if (uv_poll_init(&of(env)->loop, &watch->uv, fd)) {
        free(watch);
        return NULL;
    }
    watch->uv.data = watch;
    if (uv_poll_start(&watch->uv, watch->events, on_poll)) {
        uv_close((uv_handle_t *)&watch->uv, free_handle);
        return NULL;
    }
    return watch;
}

static void destroy_watch(struct env_watch *watch)
{
    if (!watch)
        return;
    watch->destroyed = true;
    uv_close((uv_handle_t *)&watch->uv, free_handle);
}

// ---- workers

struct job {
    uv_work_t uv;
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
};

static void on_work(uv_work_t *uv)
{
    struct job *job = uv->data;
    job->work(job->arg);
}

static void on_done(uv_work_t *uv, int status)
{
    (void)status; // nothing is ever cancelled
    struct job job = *(struct job *)uv->data;
    free(uv->data);
    job.done(job.arg);
}

static int queue_work(struct env *env, void (*work)(void *arg), void (*done)(void *arg), void *arg)
{
    struct job *job = malloc(sizeof(*job));
    if (!job)
        return CARRICK_ERR_NO_MEMORY;
    *job = (struct job){.work = work, .done = done, .arg = arg};
    job->uv.data = job;
    if (uv_queue_work(&of(env)->loop, &job->uv, on_work, on_done)) {
        free(job);
        return CARRICK_ERR_SYSTEM;
    }
    return CARRICK_OK;
}

// ---- locked memory

// One step, so that of two managers that come at once and have room for one only one is let through.
static int lock_memory(struct env *env, uint64_t bytes, uint64_t limit, uint64_t *others)
{
    struct env_uv *uv = of(env);
    uint64_t all = atomic_load(uv->locked);
    do {
        *others = all - uv->locked_here;
        if (bytes != 0 && (*others > limit || bytes > limit - *others))
            return CARRICK_ERR_LIMIT;
    } while (!atomic_compare_exchange_weak(uv->locked, &all, *others + bytes));
    uv->locked_here = bytes;
    return CARRICK_OK;
}

void env_uv_share_locked(struct env_uv *env, _Atomic uint64_t *locked)
{
    env->locked = locked;
}

// ---- the env

static void settle(struct env *env)
{
    const struct timespec pause = {.tv_nsec = 5000000};

    nanosleep(&pause, NULL);
    uv_run(&of(env)->loop, UV_RUN_NOWAIT);
}

static const struct env_ops ops = {
    .now_ns = now_ns,
    .random = fill_random,
    .log = take_record,
    .timer_create = create_timer,
    .timer_start = start_timer,
    .timer_stop = stop_timer,
    .timer_destroy = destroy_timer,
    .watch_create = create_watch,
    .watch_destroy = destroy_watch,
    .work = queue_work,
    .memory_map = memory_map,
    .memory_unmap = memory_unmap,
    .memory_lock = lock_memory,
    .memory_open = memory_open,
    .file_open = env_file_open,
    .file_submit = env_file_submit,
    .file_read_now = env_file_read_now,
    .file_close = env_file_close,
    .settle = settle,
};

int env_uv_create(void (*log)(void *arg, const struct env_record *record), void *arg,
                  struct env_uv **env)
{
    *env = NULL;
    struct env_uv *made = calloc(1, sizeof(*made));
    if (!made)
        return CARRICK_ERR_NO_MEMORY;
    made->env.ops = &ops;
    made->locked = &made->alone;
    made->soon_end = &made->soon;
    made->log = log;
    made->arg = arg;
    if (uv_loop_init(&made->loop)) {
        free(made);
        return CARRICK_ERR_SYSTEM;
    }
    uv_check_init(&made->loop, &made->turn);
    uv_idle_init(&made->loop, &made->hurry);
    made->turn.data = made;
    int status = mailbox_open(&made->mailbox, &made->loop);
    if (status) {
        uv_close((uv_handle_t *)&made->turn, NULL);
        uv_close((uv_handle_t *)&made->hurry, NULL);
        uv_run(&made->loop, UV_RUN_NOWAIT);
        uv_loop_close(&made->loop);
        free(made);
        return status;
    }
    *env = made;
    return CARRICK_OK;
}

static void close_left_over(uv_handle_t *handle, void *arg)
{
    if (!uv_is_closing(handle)) {
        ++*(unsigned *)arg;
        uv_close(handle, handle->type == UV_TIMER || handle->type == UV_POLL ? free_handle : NULL);
    }
}

void env_uv_end_calls(struct env_uv *env)
{
    if (!env->mailbox.closed)
        mailbox_close(&env->mailbox);
}

// uv_stop may have been called when the loop did not run: then the first uv_run returns at once.
static void run_to_the_end(uv_loop_t *loop)
{
    while (uv_run(loop, UV_RUN_DEFAULT))
        ;
}

void env_uv_close(struct env_uv *env)
{
    uint64_t others;
    env_uv_end_calls(env);
    lock_memory(&env->env, 0, UINT64_MAX, &others);
    // Handles that are left over would keep the loop running for ever.
    unsigned left = 0;
    uv_run(&env->loop, UV_RUN_NOWAIT);
    uv_run(&env->loop, UV_RUN_NOWAIT);
    uv_close((uv_handle_t *)&env->turn, NULL);
    uv_close((uv_handle_t *)&env->hurry, NULL);
    uv_walk(&env->loop, close_left_over, &left);
    if (left) {
        char text[80];
        snprintf(text, sizeof(text), "%u timers or watches were left over at the end", left);
        take_record(&env->env, &(struct env_record){.level = CARRICK_LOG_ERROR, .text = text});
    }
    run_to_the_end(&env->loop);
    uv_loop_close(&env->loop);
}

void env_uv_free(struct env_uv *env)
{
    if (!env)
        return;
    mailbox_free(&env->mailbox);
    free(env);
}

struct env *env_uv_env(struct env_uv *env)
{
    return &env->env;
}

uv_loop_t *env_uv_loop(struct env_uv *env)
{
    return &env->loop;
}

int env_uv_call(struct env_uv *env, void (*fn)(void *arg), void *arg)
{
    return mailbox_post(&env->mailbox, fn, arg);
}
