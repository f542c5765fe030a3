// SPDX-License-Identifier: Apache-2.0
//
// The world of a manager under test: time that stands still until the test moves it, timers that run when the test says
// so, work that is done at once, memory that is counted. Both nodes of a test live in one such world.
#ifndef FAKE_ENV_H
#define FAKE_ENV_H

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/env.h"

#define FAKE_PAGE 4096u
#define FAKE_LOG_LINES 512
// Hours after the machine began: a time that was never set (0) must not look like one that was a while ago.
#define FAKE_BEGIN_NS (3ull * 3600 * 1000 * ENV_MS)

struct fake_env {
    struct env base; // first
    const char *name;
    bool frozen; // its timers do not run
    uint64_t random;
    unsigned memories;              // that are mapped
    unsigned maps;                  // that were ever mapped
    int memory_fails;               // status that memory_map answers, when not 0
    uint64_t locked, locked_others; // what its manager has said, and what other managers have
};

struct env_timer {
    struct env_timer *next;
    struct fake_env *env;
    void (*fn)(void *arg);
    void *arg;
    uint64_t due_ns;
    uint64_t order; // of starting: equal times run in it
    bool armed;
};

static struct {
    uint64_t now_ns;
    uint64_t order;
    struct env_timer *timers;
    unsigned lines;
    char line[FAKE_LOG_LINES][240]; // "node level event object: text", the newest over the oldest
} fake_time;

static struct fake_env *fake_env_of(struct env *env)
{
    return (struct fake_env *)(void *)env;
}

static uint64_t fake_now_ns(struct env *env)
{
    (void)env;
    return fake_time.now_ns;
}

static void fake_random(struct env *env, void *buffer, size_t length)
{
    struct fake_env *fake = fake_env_of(env);

    for (size_t i = 0; i < length; i++) {
        fake->random = fake->random * 6364136223846793005ull + 1442695040888963407ull;
        ((uint8_t *)buffer)[i] = (uint8_t)(fake->random >> 33);
    }
}

static void fake_log(struct env *env, const struct env_record *record)
{
    char *line = fake_time.line[fake_time.lines++ % FAKE_LOG_LINES];

    snprintf(line, sizeof(fake_time.line[0]), "%s %d %s %s: %s", fake_env_of(env)->name,
             record->level, record->event == NULL ? "-" : record->event,
             record->object == NULL ? "-" : record->object, record->text);
    if (getenv("FAKE_LOG") != NULL)
        fprintf(stderr, "%9.3f %s\n", (double)(fake_time.now_ns - FAKE_BEGIN_NS) / 1e6, line);
}

// Whether a line of the log, of those that are kept, holds this text.
static inline bool fake_logged(const char *text)
{
    for (unsigned i = 0; i < FAKE_LOG_LINES; i++)
        if (strstr(fake_time.line[i], text) != NULL)
            return true;
    return false;
}

static struct env_timer *fake_timer_create(struct env *env, void (*fn)(void *arg), void *arg)
{
    struct env_timer *timer = calloc(1, sizeof(*timer));

    cr_assert(timer != NULL);
    timer->env = fake_env_of(env);
    timer->fn = fn;
    timer->arg = arg;
    timer->next = fake_time.timers;
    fake_time.timers = timer;
    return timer;
}

static void fake_timer_start(struct env_timer *timer, uint64_t delay_ns)
{
    timer->armed = true;
    timer->due_ns = fake_time.now_ns + delay_ns;
    timer->order = fake_time.order++;
}

static void fake_timer_stop(struct env_timer *timer)
{
    timer->armed = false;
}

static void fake_timer_destroy(struct env_timer *timer)
{
    struct env_timer **at = &fake_time.timers;

    while (*at != timer)
        at = &(*at)->next;
    *at = timer->next;
    free(timer);
}

static struct env_watch *fake_watch_create(struct env *env, int fd, uint32_t events,
                                           void (*fn)(void *arg, uint32_t events), void *arg)
{
    (void)env;
    (void)fd;
    (void)events;
    (void)fn;
    (void)arg;
    return NULL;
}

static void fake_watch_destroy(struct env_watch *watch)
{
    (void)watch;
}

static int fake_work(struct env *env, void (*work)(void *arg), void (*done)(void *arg), void *arg)
{
    (void)env;
    work(arg);
    done(arg);
    return CARRICK_OK;
}

static int fake_memory_map(struct env *env, uint64_t bytes, int fd, uint64_t offset,
                           struct env_memory *memory)
{
    struct fake_env *fake = fake_env_of(env);

    if (fake->memory_fails != 0)
        return fake->memory_fails;
    if (bytes > 1ull << 30) // no test needs so much; what asks for it must take a refusal
        return CARRICK_ERR_NO_MEMORY;
    fake->maps++;
    memory->bytes = (bytes + FAKE_PAGE - 1) / FAKE_PAGE * FAKE_PAGE;
    if (fd >= 0) {
        memory->fd = dup(fd);
        memory->address =
            mmap(NULL, memory->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
        cr_assert(memory->fd >= 0 && memory->address != MAP_FAILED);
        fake->memories++;
        return CARRICK_OK;
    }
    memory->address = aligned_alloc(FAKE_PAGE, memory->bytes);
    memory->fd = -1;
    cr_assert(memory->address != NULL);
    memset(memory->address, 0, memory->bytes);
    fake->memories++;
    return CARRICK_OK;
}

static void fake_memory_unmap(struct env *env, struct env_memory *memory)
{
    if (memory->fd >= 0) {
        munmap(memory->address, memory->bytes);
        close(memory->fd);
    } else {
        free(memory->address);
    }
    memory->address = NULL;
    fake_env_of(env)->memories--;
}

static int fake_memory_lock(struct env *env, uint64_t bytes, uint64_t limit, uint64_t *others)
{
    struct fake_env *fake = fake_env_of(env);

    *others = fake->locked_others;
    if (bytes != 0 && (*others > limit || bytes > limit - *others))
        return CARRICK_ERR_LIMIT;
    fake->locked = bytes;
    return CARRICK_OK;
}

static const struct env_ops fake_env_ops = {
    .now_ns = fake_now_ns,
    .random = fake_random,
    .log = fake_log,
    .timer_create = fake_timer_create,
    .timer_start = fake_timer_start,
    .timer_stop = fake_timer_stop,
    .timer_destroy = fake_timer_destroy,
    .watch_create = fake_watch_create,
    .watch_destroy = fake_watch_destroy,
    .work = fake_work,
    .memory_map = fake_memory_map,
    .memory_unmap = fake_memory_unmap,
    .memory_lock = fake_memory_lock,
};

static inline void fake_env_init(struct fake_env *env, const char *name)
{
    static uint64_t seed = 0x9e3779b97f4a7c15ull;

    if (fake_time.now_ns == 0)
        fake_time.now_ns = FAKE_BEGIN_NS;
    *env = (struct fake_env){.base.ops = &fake_env_ops, .name = name, .random = seed += 77777};
}

// Runs the timer that is due first, if that is not after `until_ns`; false: there is none.
static inline bool fake_step(uint64_t until_ns)
{
    struct env_timer *first = NULL;

    for (struct env_timer *timer = fake_time.timers; timer != NULL; timer = timer->next)
        if (timer->armed && !timer->env->frozen &&
            (first == NULL || timer->due_ns < first->due_ns ||
             (timer->due_ns == first->due_ns && timer->order < first->order)))
            first = timer;
    if (first == NULL || first->due_ns > until_ns)
        return false;
    if (first->due_ns > fake_time.now_ns)
        fake_time.now_ns = first->due_ns;
    first->armed = false;
    first->fn(first->arg);
    return true;
}

static inline void fake_run_ms(uint64_t ms)
{
    uint64_t until_ns = fake_time.now_ns + ms * ENV_MS;

    while (fake_step(until_ns))
        ;
    fake_time.now_ns = until_ns;
}

// Runs until the condition holds; a minute of the world's time is more than anything may take.
#define FAKE_UNTIL(condition)                                                                      \
    do {                                                                                           \
        uint64_t fake_until_ns = fake_time.now_ns + 60000 * ENV_MS;                                \
        while (!(condition) && fake_step(fake_until_ns))                                           \
            ;                                                                                      \
        cr_assert(condition, "never came: %s", #condition);                                        \
    } while (0)

#endif
