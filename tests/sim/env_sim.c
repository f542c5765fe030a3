// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/env_sim.h"

#include <stdlib.h>
#include <string.h>

#include "tests/sim/env_sim_disk.h"

#define WORK_NS 50000u // longest time that a worker waits, and works

enum event_kind {
    EVENT_TIMER,
    EVENT_WORK, // work is to run
    EVENT_DONE, // … and has run
};

struct event {
    uint64_t due;
    uint64_t order; // breaks ties, seeded
    uint32_t place; // in the heap, from 1; 0: not in it
    uint32_t kind;
    struct env_sim *env;
    void (*fn)(void *arg);
    void (*done)(void *arg);
    void *arg;
    uint64_t work_ns; // EVENT_WORK: how long it takes
    bool gone;        // destroyed while it ran
    bool running;
};

struct env_timer {
    struct event event;
};

struct env_sim {
    struct env base; // first: the env's calls find the node by it
    struct env_sim_options options;
    struct sim_random random, ties;
    struct event **heap; // [1 .. used]
    uint32_t used, room;
    bool frozen, clock_stops;
    uint64_t frozen_at_ns;
    uint64_t behind_ns; // what its clock has missed
    unsigned timers, works;
    struct sim_storage storage;
};

// ---- chance

void sim_random_init(struct sim_random *random, uint64_t seed, const char *purpose)
{
    random->state = seed * 0x9e3779b97f4a7c15ull + 0x243f6a8885a308d3ull;
    for (; *purpose != '\0'; purpose++)
        random->state = (random->state ^ (uint8_t)*purpose) * 0x100000001b3ull;
    sim_random_next(random);
}

uint64_t sim_random_next(struct sim_random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

uint64_t sim_random_below(struct sim_random *random, uint64_t below)
{
    return below < 2 ? 0 : sim_random_next(random) % below;
}

uint64_t sim_random_between(struct sim_random *random, uint64_t low, uint64_t high)
{
    return low + sim_random_below(random, high - low + 1);
}

bool sim_random_percent(struct sim_random *random, unsigned percent)
{
    return sim_random_next(random) % 100 < percent;
}

// ---- the heap

static bool event_before(const struct event *a, const struct event *b)
{
    return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static void heap_set(struct env_sim *env, uint32_t place, struct event *event)
{
    env->heap[place] = event;
    event->place = place;
}

static void heap_settle(struct env_sim *env, struct event *event, uint32_t place)
{
    uint32_t child;

    for (; place > 1 && event_before(event, env->heap[place / 2]); place /= 2)
        heap_set(env, place, env->heap[place / 2]);
    for (; (child = place * 2) <= env->used; place = child) {
        if (child < env->used && event_before(env->heap[child + 1], env->heap[child]))
            child++;
        if (!event_before(env->heap[child], event))
            break;
        heap_set(env, place, env->heap[child]);
    }
    heap_set(env, place, event);
}

static void event_take(struct event *event)
{
    struct env_sim *env = event->env;
    uint32_t place = event->place;
    struct event *last;

    if (place == 0)
        return;
    event->place = 0;
    last = env->heap[env->used--];
    if (last != event)
        heap_settle(env, last, place);
}

static void event_put(struct event *event, uint64_t due)
{
    struct env_sim *env = event->env;

    event_take(event);
    if (env->used + 2 > env->room) {
        uint32_t room = env->room == 0 ? 64 : env->room * 2;
        struct event **heap = realloc(env->heap, room * sizeof(struct event *));

        if (heap == NULL)
            abort();
        env->heap = heap;
        env->room = room;
    }
    event->due = due;
    event->order = sim_random_next(&env->ties);
    env->used++;
    heap_settle(env, event, env->used);
}

static void event_run(struct event *event)
{
    struct env_sim *env = event->env;

    event_take(event);
    switch ((enum event_kind)event->kind) {
    case EVENT_TIMER:
        event->running = true;
        event->fn(event->arg);
        event->running = false;
        if (event->gone)
            free(event);
        break;
    case EVENT_WORK:
        event->fn(event->arg);
        event->kind = EVENT_DONE;
        event_put(event, env->options.clock->now_ns + event->work_ns);
        break;
    case EVENT_DONE:
        env->works--;
        event->done(event->arg);
        free(event);
        break;
    }
}

uint64_t env_sim_next_ns(const struct env_sim *env)
{
    return env->used == 0 || env->frozen ? UINT64_MAX : env->heap[1]->due;
}

void env_sim_step(struct env_sim *env)
{
    if (env->used > 0)
        event_run(env->heap[1]);
}

void env_sim_finish_work(struct env_sim *env)
{
    env->storage.closed = true;
    for (uint32_t i = 1; env->works > 0 && i <= env->used;) {
        if (env->heap[i]->kind == EVENT_TIMER) {
            i++;
            continue;
        }
        event_run(env->heap[i]);
        i = 1;
    }
}

void env_sim_freeze(struct env_sim *env, bool clock_stops)
{
    if (env->frozen)
        return;
    env->frozen = true;
    env->clock_stops = clock_stops;
    env->frozen_at_ns = env->options.clock->now_ns;
}

void env_sim_thaw(struct env_sim *env)
{
    uint64_t missed = env->options.clock->now_ns - env->frozen_at_ns;

    if (!env->frozen)
        return;
    env->frozen = false;
    if (!env->clock_stops)
        return;
    env->behind_ns += missed;
    for (uint32_t i = 1; i <= env->used; i++)
        env->heap[i]->due += missed; // all by the same: the heap stays one
}

// ---- the env

static struct env_sim *sim_of(struct env *env)
{
    return (struct env_sim *)(void *)env;
}

static uint64_t sim_now_ns(struct env *base)
{
    struct env_sim *env = sim_of(base);

    return env->options.clock->now_ns - env->behind_ns;
}

static void sim_random(struct env *base, void *buffer, size_t length)
{
    struct env_sim *env = sim_of(base);
    uint8_t *to = buffer;

    while (length > 0) {
        uint64_t value = sim_random_next(&env->random);
        size_t part = length < sizeof(value) ? length : sizeof(value);

        memcpy(to, &value, part);
        to += part;
        length -= part;
    }
}

static void sim_log(struct env *base, const struct env_record *record)
{
    struct env_sim *env = sim_of(base);

    env->options.log(env->options.arg, record);
}

static struct env_timer *sim_timer_create(struct env *base, void (*fn)(void *arg), void *arg)
{
    struct env_sim *env = sim_of(base);
    struct env_timer *timer = calloc(1, sizeof(*timer));

    if (timer == NULL)
        return NULL;
    timer->event.env = env;
    timer->event.fn = fn;
    timer->event.arg = arg;
    env->timers++;
    return timer;
}

static void sim_timer_start(struct env_timer *timer, uint64_t delay_ns)
{
    struct env_sim *env = timer->event.env;
    // What is to happen at once is late by less than what is to happen later.
    uint64_t jitter = delay_ns < 1000000 ? 5000 : env->options.jitter_max_ns;
    uint64_t now_ns = env->options.clock->now_ns;

    // What a device has to tell meanwhile is due when the clock goes on, which moves all that is due.
    if (env->frozen && env->clock_stops)
        now_ns = env->frozen_at_ns;
    event_put(&timer->event, now_ns + delay_ns + 100 + sim_random_below(&env->ties, jitter));
}

static void sim_timer_stop(struct env_timer *timer)
{
    event_take(&timer->event);
}

static void sim_timer_destroy(struct env_timer *timer)
{
    event_take(&timer->event);
    timer->event.env->timers--;
    if (timer->event.running)
        timer->event.gone = true;
    else
        free(timer);
}

static struct env_watch *sim_watch_create(struct env *base, int fd, uint32_t events,
                                          void (*fn)(void *arg, uint32_t events), void *arg)
{
    (void)base;
    (void)fd;
    (void)events;
    (void)fn;
    (void)arg;
    return NULL; // there are no descriptors in this world
}

static void sim_watch_destroy(struct env_watch *watch)
{
    (void)watch;
}

int env_sim_job(struct env *base, uint64_t wait_ns, uint64_t work_ns, void (*work)(void *arg),
                void (*done)(void *arg), void *arg)
{
    struct env_sim *env = sim_of(base);
    struct event *event = calloc(1, sizeof(*event));

    if (event == NULL)
        return CARRICK_ERR_NO_MEMORY;
    event->kind = EVENT_WORK;
    event->env = env;
    event->fn = work;
    event->done = done;
    event->arg = arg;
    event->work_ns = work_ns;
    env->works++;
    event_put(event, env->options.clock->now_ns + wait_ns);
    return CARRICK_OK;
}

static int sim_work(struct env *base, void (*work)(void *arg), void (*done)(void *arg), void *arg)
{
    struct env_sim *env = sim_of(base);
    uint64_t wait_ns = sim_random_below(&env->random, WORK_NS);

    return env_sim_job(base, wait_ns, sim_random_below(&env->random, WORK_NS), work, done, arg);
}

struct sim_storage *env_sim_storage(struct env *base)
{
    return &sim_of(base)->storage;
}

static const struct env_ops sim_env_ops = {
    .now_ns = sim_now_ns,
    .random = sim_random,
    .log = sim_log,
    .timer_create = sim_timer_create,
    .timer_start = sim_timer_start,
    .timer_stop = sim_timer_stop,
    .timer_destroy = sim_timer_destroy,
    .watch_create = sim_watch_create,
    .watch_destroy = sim_watch_destroy,
    .work = sim_work,
    .memory_map = env_sim_memory_map,
    .memory_unmap = env_sim_memory_unmap,
    .memory_open = env_sim_memory_open,
    .file_open = env_sim_file_open,
    .file_submit = env_sim_file_submit,
    .file_read_now = env_sim_file_read_now,
    .file_close = env_sim_file_close,
};

struct env_sim *env_sim_create(const struct env_sim_options *options)
{
    struct env_sim *env = calloc(1, sizeof(*env));

    if (env == NULL)
        abort();
    env->base.ops = &sim_env_ops;
    env->options = *options;
    env->storage.disk = options->disk;
    sim_random_init(&env->random, options->seed, "random");
    sim_random_init(&env->ties, options->seed, "ties");
    return env;
}

unsigned env_sim_destroy(struct env_sim *env)
{
    unsigned left = env->timers + env->works + sim_storage_left(&env->storage);

    free(env->heap);
    free(env);
    return left;
}

struct env *env_sim_base(struct env_sim *env)
{
    return &env->base;
}
