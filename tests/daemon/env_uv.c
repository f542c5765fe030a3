// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "daemon/env_uv.h"

#include <carrick/plugin.h>

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/mailbox.h"

static struct env_uv *uv;
static struct env *env;
static char logged[256];

static void take_log(void *arg, const struct env_record *record)
{
    (void)arg;
    snprintf(logged, sizeof(logged), "%s", record->text);
}

static void begin(void)
{
    cr_assert(eq(int, env_uv_create(take_log, NULL, &uv), CARRICK_OK));
    env = env_uv_env(uv);
}

static void end(void)
{
    env_uv_close(uv);
    env_uv_free(uv);
}

TestSuite(env_uv, .init = begin, .fini = end, .timeout = 60);

static void run_until(const bool *done)
{
    while (!*done)
        uv_run(env_uv_loop(uv), UV_RUN_ONCE);
}

static void run_once(void)
{
    uv_run(env_uv_loop(uv), UV_RUN_NOWAIT);
}

static void set_true(void *arg)
{
    *(bool *)arg = true;
}

// ---- timers

struct early {
    uint64_t due_ns;
    bool fired;
    bool early;
};

static void note_early(void *arg)
{
    struct early *early = arg;
    early->fired = true;
    early->early = env_now_ns(env) < early->due_ns;
}

Test(env_uv, timers_are_never_early)
{
    static const uint64_t delays[] = {0, 1, 999999, 1000000, 1000001, 2500000, 3999999};
    for (unsigned round = 0; round < 20; round++) {
        for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
            struct early early = {0};
            struct env_timer *timer = env->ops->timer_create(env, note_early, &early);
            early.due_ns = env_now_ns(env) + delays[i];
            env->ops->timer_start(timer, delays[i]);
            run_until(&early.fired);
            cr_assert(not(early.early), "after %llu ns", (unsigned long long)delays[i]);
            env->ops->timer_destroy(timer);
        }
    }
}

Test(env_uv, timer_that_waits_for_ever_or_is_stopped_does_not_fire)
{
    bool never = false;
    bool stopped = false;
    bool done = false;
    struct env_timer *far = env->ops->timer_create(env, set_true, &never);
    struct env_timer *near = env->ops->timer_create(env, set_true, &stopped);
    struct env_timer *last = env->ops->timer_create(env, set_true, &done);
    env->ops->timer_start(far, UINT64_MAX);
    env->ops->timer_start(near, ENV_MS);
    env->ops->timer_start(last, 4 * ENV_MS);
    env->ops->timer_stop(near);
    run_until(&done);
    cr_assert(not(never));
    cr_assert(not(stopped));
    env->ops->timer_destroy(far);
    env->ops->timer_destroy(near);
    env->ops->timer_destroy(last);
}

struct again {
    struct env_timer *timer;
    unsigned count;
    bool done;
};

static void start_again_then_destroy(void *arg)
{
    struct again *again = arg;
    if (++again->count < 3) {
        env->ops->timer_start(again->timer, 0);
    } else {
        env->ops->timer_destroy(again->timer);
        again->done = true;
    }
}

Test(env_uv, timer_is_started_and_destroyed_in_its_own_function)
{
    struct again again = {0};
    again.timer = env->ops->timer_create(env, start_again_then_destroy, &again);
    env->ops->timer_start(again.timer, 0);
    run_until(&again.done);
    cr_assert(eq(u32, again.count, 3));
}

// ---- watches

struct watched {
    struct env_watch *watch;
    int fd;
    unsigned calls;
    uint32_t events;
    unsigned destroy_at;
    bool done;
};

static void on_watched(void *arg, uint32_t events)
{
    struct watched *watched = arg;
    watched->events = events;
    if (++watched->calls == watched->destroy_at) {
        env->ops->watch_destroy(watched->watch);
        watched->done = true;
    }
}

Test(env_uv, watch_is_level_triggered_until_destroyed)
{
    int fds[2];
    cr_assert(eq(int, pipe2(fds, O_CLOEXEC), 0));
    struct watched watched = {.destroy_at = 3};
    watched.watch = env->ops->watch_create(env, fds[0], CARRICK_WATCH_READ, on_watched, &watched);
    cr_assert(ne(ptr, watched.watch, NULL));
    run_once();
    cr_assert(eq(u32, watched.calls, 0));
    cr_assert(eq(int, (int)write(fds[1], "x", 1), 1));
    run_until(&watched.done);
    run_once();
    cr_assert(eq(u32, watched.calls, 3));
    cr_assert(eq(u32, watched.events, CARRICK_WATCH_READ));
    close(fds[0]);
    close(fds[1]);
}

Test(env_uv, watch_tells_only_what_it_was_asked_for)
{
    int fds[2];
    cr_assert(eq(int, pipe2(fds, O_CLOEXEC), 0));
    struct watched watched = {.destroy_at = 1};
    watched.watch = env->ops->watch_create(env, fds[1], CARRICK_WATCH_WRITE, on_watched, &watched);
    run_until(&watched.done);
    cr_assert(eq(u32, watched.events, CARRICK_WATCH_WRITE));
    close(fds[0]);
    close(fds[1]);
}

// A broken descriptor is told again and again, too: its owner finds the cause by using it.
Test(env_uv, error_of_a_descriptor_is_told_as_readiness)
{
    int fds[2];
    cr_assert(eq(int, pipe2(fds, O_CLOEXEC), 0));
    close(fds[0]);
    struct watched watched = {.destroy_at = 2};
    watched.watch = env->ops->watch_create(env, fds[1], CARRICK_WATCH_WRITE, on_watched, &watched);
    run_until(&watched.done);
    cr_assert(eq(u32, watched.events, CARRICK_WATCH_WRITE));
    close(fds[1]);
}

Test(env_uv, watch_that_cannot_be_made_is_null)
{
    struct watched watched = {0};
    cr_assert(
        eq(ptr, env->ops->watch_create(env, 9999, CARRICK_WATCH_READ, on_watched, &watched), NULL));
}

// ---- work

struct job {
    pthread_t worker;
    pthread_t thread;
    bool worked;
    bool done;
};

static void work(void *arg)
{
    struct job *job = arg;
    job->worker = pthread_self();
    job->worked = true;
}

static void work_done(void *arg)
{
    struct job *job = arg;
    job->thread = pthread_self();
    job->done = job->worked;
}

Test(env_uv, work_runs_on_another_thread_and_ends_on_this_one)
{
    struct job job = {0};
    cr_assert(eq(int, env->ops->work(env, work, work_done, &job), CARRICK_OK));
    cr_assert(not(job.done));
    run_until(&job.done);
    cr_assert(pthread_equal(job.thread, pthread_self()) != 0);
    cr_assert(pthread_equal(job.worker, pthread_self()) == 0);
}

// ---- calls

enum { THREADS = 4, CALLS = 500 };

struct caller {
    struct call {
        struct caller *caller;
        unsigned number;
    } calls[CALLS];
    unsigned next;
    bool in_order;
    bool here;
    pthread_t loop;
};

static struct caller callers[THREADS];
static bool all_called;
static unsigned called;

static void on_call(void *arg)
{
    struct call *call = arg;
    struct caller *caller = call->caller;
    caller->in_order = caller->in_order && call->number == caller->next++;
    caller->here = caller->here && pthread_equal(pthread_self(), caller->loop);
    all_called = ++called == THREADS * CALLS;
}

static void *make_calls(void *arg)
{
    struct caller *caller = arg;
    for (unsigned i = 0; i < CALLS; i++) {
        caller->calls[i].caller = caller;
        caller->calls[i].number = i;
        while (env_uv_call(uv, on_call, &caller->calls[i]) == CARRICK_ERR_AGAIN)
            sched_yield();
    }
    return NULL;
}

Test(env_uv, calls_of_other_threads_are_made_here_in_order)
{
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        callers[i] = (struct caller){.in_order = true, .here = true, .loop = pthread_self()};
        pthread_create(&threads[i], NULL, make_calls, &callers[i]);
    }
    run_until(&all_called);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        cr_assert(callers[i].in_order);
        cr_assert(callers[i].here);
    }
}

static void count_call(void *arg)
{
    ++*(unsigned *)arg;
}

Test(env_uv, loop_that_stands_still_collects_no_more_than_the_bound)
{
    unsigned count = 0;
    for (unsigned i = 0; i < MAILBOX_LETTERS_MAX; i++)
        cr_assert(eq(int, env_uv_call(uv, count_call, &count), CARRICK_OK));
    cr_assert(eq(int, env_uv_call(uv, count_call, &count), CARRICK_ERR_AGAIN));
    run_once();
    cr_assert(eq(u32, count, MAILBOX_LETTERS_MAX));
    cr_assert(eq(int, env_uv_call(uv, count_call, &count), CARRICK_OK));
}

Test(env_uv, calls_that_wait_at_the_end_are_made_and_later_ones_refused)
{
    unsigned count = 0;
    cr_assert(eq(int, env_uv_call(uv, count_call, &count), CARRICK_OK));
    env_uv_end_calls(uv);
    cr_assert(eq(u32, count, 1));
    cr_assert(eq(int, env_uv_call(uv, count_call, &count), CARRICK_ERR_STATE));
}

Test(env_uv, handles_that_are_left_over_are_told)
{
    struct env_uv *other;
    cr_assert(eq(int, env_uv_create(take_log, NULL, &other), CARRICK_OK));
    bool fired = false;
    struct env *of_other = env_uv_env(other);
    struct env_timer *timer = of_other->ops->timer_create(of_other, set_true, &fired);
    of_other->ops->timer_start(timer, 3600 * 1000 * ENV_MS);
    uv_stop(env_uv_loop(other));
    env_uv_close(other);
    env_uv_free(other);
    cr_assert(ne(ptr, strstr(logged, "1 timers or watches"), NULL), "%s", logged);
}

// ---- locked memory

Test(env_uv, what_managers_lock_counts_together_until_they_end)
{
    static _Atomic uint64_t locked;
    struct env_uv *other;
    uint64_t others = 7;
    cr_assert(eq(int, env_uv_create(take_log, NULL, &other), CARRICK_OK));
    struct env *of_other = env_uv_env(other);
    env_uv_share_locked(uv, &locked);
    env_uv_share_locked(other, &locked);
    cr_assert(eq(int, env->ops->memory_lock(env, 60, 100, &others), CARRICK_OK));
    cr_assert(eq(u64, others, 0));
    cr_assert(eq(int, of_other->ops->memory_lock(of_other, 41, 100, &others), CARRICK_ERR_LIMIT));
    cr_assert(eq(u64, others, 60));
    cr_assert(eq(int, of_other->ops->memory_lock(of_other, 40, 100, &others), CARRICK_OK));
    // What was refused leaves what was there; less of it is taken in its place.
    cr_assert(eq(int, env->ops->memory_lock(env, 61, 100, &others), CARRICK_ERR_LIMIT));
    cr_assert(eq(u64, atomic_load(&locked), 100));
    cr_assert(eq(int, env->ops->memory_lock(env, 50, 100, &others), CARRICK_OK));
    cr_assert(eq(u64, atomic_load(&locked), 90));
    // A limit that has become less than all of it.
    cr_assert(eq(int, env->ops->memory_lock(env, 1, 39, &others), CARRICK_ERR_LIMIT));
    cr_assert(eq(int, env->ops->memory_lock(env, 0, 39, &others), CARRICK_OK));
    env_uv_close(other);
    env_uv_free(other);
    cr_assert(eq(u64, atomic_load(&locked), 0));
}

// ---- randomness

Test(env_uv, random_bytes_fill_the_whole_buffer)
{
    uint8_t bytes[600];
    memset(bytes, 0, sizeof(bytes));
    // Each byte is different from 0 in some round: 20 zeroes in a row are not chance.
    bool touched[sizeof(bytes)] = {false};
    for (unsigned round = 0; round < 20; round++) {
        env->ops->random(env, bytes, sizeof(bytes));
        for (size_t i = 0; i < sizeof(bytes); i++)
            touched[i] |= bytes[i] != 0;
    }
    for (size_t i = 0; i < sizeof(bytes); i++)
        cr_assert(touched[i], "byte %zu", i);
}

// ---- memory

Test(env_uv, fresh_memory_is_zeroed_rounded_and_sealed)
{
    struct env_memory memory;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    cr_assert(eq(int, env->ops->memory_map(env, 5000, -1, 0, &memory), CARRICK_OK));
    cr_assert(eq(u64, memory.bytes, (5000 + page - 1) / page * page));
    const char *bytes = memory.address;
    for (uint64_t i = 0; i < memory.bytes; i++)
        cr_assert(eq(int, bytes[i], 0));
    cr_assert(eq(int, ftruncate(memory.fd, 0), -1));
    cr_assert(eq(int, ftruncate(memory.fd, 1 << 20), -1));
    // Another mapping sees what is written here.
    char *other = mmap(NULL, memory.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd, 0);
    cr_assert(ne(ptr, other, MAP_FAILED));
    memset(memory.address, 'x', memory.bytes);
    cr_assert(eq(int, other[memory.bytes - 1], 'x'));
    munmap(other, memory.bytes);
    env->ops->memory_unmap(env, &memory);
    cr_assert(eq(ptr, memory.address, NULL));
}

Test(env_uv, memory_of_a_given_descriptor)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    int fd = memfd_create("given", MFD_CLOEXEC);
    cr_assert(eq(int, ftruncate(fd, (off_t)(3 * page)), 0));
    cr_assert(eq(int, (int)pwrite(fd, "second", 6, (off_t)page), 6));
    struct env_memory memory;
    cr_assert(eq(int, env->ops->memory_map(env, 2 * page, fd, page, &memory), CARRICK_OK));
    cr_assert(ne(int, memory.fd, fd));
    close(fd);
    cr_assert(zero(int, memcmp(memory.address, "second", 6)));
    env->ops->memory_unmap(env, &memory);
}

Test(env_uv, memory_that_cannot_be_is_refused)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    int fd = memfd_create("short", MFD_CLOEXEC);
    cr_assert(eq(int, ftruncate(fd, (off_t)page), 0));
    struct env_memory memory;
    cr_assert(eq(int, env->ops->memory_map(env, 2 * page, fd, 0, &memory), CARRICK_ERR_BOUNDS));
    cr_assert(eq(int, env->ops->memory_map(env, page, fd, page, &memory), CARRICK_ERR_BOUNDS));
    cr_assert(eq(int, env->ops->memory_map(env, 8, fd, 8, &memory), CARRICK_ERR_INVALID));
    cr_assert(eq(int, env->ops->memory_map(env, 0, -1, 0, &memory), CARRICK_ERR_INVALID));
    cr_assert(eq(int, env->ops->memory_map(env, UINT64_MAX, -1, 0, &memory), CARRICK_ERR_INVALID));
    cr_assert(
        eq(int, env->ops->memory_map(env, 1ull << 50, -1, 0, &memory), CARRICK_ERR_NO_MEMORY));
    cr_assert(eq(int, env->ops->memory_map(env, page, 9999, 0, &memory), CARRICK_ERR_SYSTEM));
    cr_assert(eq(ptr, memory.address, NULL));
    close(fd);
}
