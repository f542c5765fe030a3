// SPDX-License-Identifier: Apache-2.0
//
// A host with a loop of its own, and shelves in memory: enough to run the shelf plugin's front for real, with real
// sockets, without a manager. The loop runs on the thread that calls loop_turn.
#ifndef TESTS_UNIT_BLOCK_HOST_H
#define TESTS_UNIT_BLOCK_HOST_H

#include <carrick/block.h>
#include <carrick/log.h>
#include <carrick/plugin.h>

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

// ---- the loop

struct carrick_watch {
    TAILQ_ENTRY(carrick_watch) entry;
    struct loop *loop;
    int fd;
    bool gone;
    void (*fn)(void *arg, uint32_t events);
    void *arg;
};

struct carrick_timer {
    TAILQ_ENTRY(carrick_timer) entry;
    struct loop *loop;
    bool running, gone;
    uint64_t at_ns;
    void (*fn)(void *arg);
    void *arg;
};

struct loop {
    struct carrick_host host; // first: the callbacks find the loop by it
    TAILQ_HEAD(, carrick_watch) watches;
    TAILQ_HEAD(, carrick_timer) timers;
    bool loud; // logs go to stderr
    char last_log[512];
    uint32_t watches_left; // how many more may be made
    uint64_t skew_ns;      // how far the clock was put forward
};

static inline uint64_t loop_now_ns(const struct carrick_host *host)
{
    const struct loop *loop = (const struct loop *)host;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + loop->skew_ns;
}

static inline __attribute__((format(printf, 3, 4))) void
loop_log(const struct carrick_host *host, int level, const char *format, ...)
{
    struct loop *loop = (struct loop *)(uintptr_t)host;
    va_list args;
    va_start(args, format);
    vsnprintf(loop->last_log, sizeof(loop->last_log), format, args);
    va_end(args);
    if (loop->loud)
        fprintf(stderr, "<%d> %s\n", level, loop->last_log);
}

static inline int loop_timer_create(const struct carrick_host *host, void (*fn)(void *), void *arg,
                                    struct carrick_timer **timer)
{
    struct loop *loop = (struct loop *)(uintptr_t)host;
    *timer = calloc(1, sizeof(**timer));
    (*timer)->loop = loop;
    (*timer)->fn = fn;
    (*timer)->arg = arg;
    TAILQ_INSERT_TAIL(&loop->timers, *timer, entry);
    return CARRICK_OK;
}

static inline void loop_timer_start(struct carrick_timer *timer, uint64_t delay_ns)
{
    timer->at_ns = loop_now_ns(&timer->loop->host) + delay_ns;
    timer->running = true;
}

static inline void loop_timer_stop(struct carrick_timer *timer)
{
    timer->running = false;
}

static inline void loop_timer_destroy(struct carrick_timer *timer)
{
    timer->running = false;
    timer->gone = true;
}

static inline int loop_watch_create(const struct carrick_host *host, int fd, uint32_t events,
                                    void (*fn)(void *, uint32_t), void *arg,
                                    struct carrick_watch **watch)
{
    struct loop *loop = (struct loop *)(uintptr_t)host;
    if (events != CARRICK_WATCH_READ)
        return CARRICK_ERR_INVALID;
    if (loop->watches_left == 0)
        return CARRICK_ERR_NO_MEMORY;
    loop->watches_left--;
    *watch = calloc(1, sizeof(**watch));
    (*watch)->loop = loop;
    (*watch)->fd = fd;
    (*watch)->fn = fn;
    (*watch)->arg = arg;
    TAILQ_INSERT_TAIL(&loop->watches, *watch, entry);
    return CARRICK_OK;
}

static inline void loop_watch_destroy(struct carrick_watch *watch)
{
    watch->gone = true;
    watch->loop->watches_left++;
}

static inline void loop_init(struct loop *loop)
{
    memset(loop, 0, sizeof(*loop));
    TAILQ_INIT(&loop->watches);
    TAILQ_INIT(&loop->timers);
    loop->watches_left = 1000;
    loop->host = (struct carrick_host){
        .struct_size = sizeof(loop->host),
        .abi_major = CARRICK_ABI_MAJOR,
        .abi_minor = CARRICK_ABI_MINOR,
        .node = "alpha",
        .partner = "beta",
        .manager = "main",
        .instance = "shelf",
        .log = loop_log,
        .now_ns = loop_now_ns,
        .timer_create = loop_timer_create,
        .timer_start = loop_timer_start,
        .timer_stop = loop_timer_stop,
        .timer_destroy = loop_timer_destroy,
        .watch_create = loop_watch_create,
        .watch_destroy = loop_watch_destroy,
    };
}

// Frees what was destroyed during a turn, when nothing refers to it any more.
static inline void loop_sweep(struct loop *loop)
{
    struct carrick_watch *w = TAILQ_FIRST(&loop->watches), *next_watch;
    for (; w; w = next_watch) {
        next_watch = TAILQ_NEXT(w, entry);
        if (w->gone) {
            TAILQ_REMOVE(&loop->watches, w, entry);
            free(w);
        }
    }
    struct carrick_timer *t = TAILQ_FIRST(&loop->timers), *next_timer;
    for (; t; t = next_timer) {
        next_timer = TAILQ_NEXT(t, entry);
        if (t->gone) {
            TAILQ_REMOVE(&loop->timers, t, entry);
            free(t);
        }
    }
}

static inline void loop_timers_run(struct loop *loop)
{
    uint64_t now = loop_now_ns(&loop->host);
    struct carrick_timer *t;
    TAILQ_FOREACH(t, &loop->timers, entry)
    {
        if (t->running && t->at_ns <= now) {
            t->running = false;
            t->fn(t->arg);
        }
    }
}

static inline struct timespec loop_wait_time(const struct loop *loop, uint64_t most_ns)
{
    uint64_t now = loop_now_ns(&loop->host), until = now + most_ns;
    const struct carrick_timer *t;
    TAILQ_FOREACH(t, &loop->timers, entry)
    {
        if (t->running && t->at_ns < until)
            until = t->at_ns > now ? t->at_ns : now;
    }
    return (struct timespec){(time_t)((until - now) / 1000000000u),
                             (long)((until - now) % 1000000000u)};
}

// Waits up to most_ns for something to do, and does it.
static inline void loop_turn(struct loop *loop, uint64_t most_ns)
{
    struct pollfd fds[128];
    struct carrick_watch *of[128], *w;
    nfds_t count = 0;
    loop_sweep(loop);
    TAILQ_FOREACH(w, &loop->watches, entry)
    {
        if (count < 128) {
            of[count] = w;
            fds[count++] = (struct pollfd){.fd = w->fd, .events = POLLIN};
        }
    }
    struct timespec wait = loop_wait_time(loop, most_ns);
    int ready = ppoll(fds, count, &wait, NULL);
    loop_timers_run(loop);
    for (nfds_t i = 0; ready > 0 && i < count; i++)
        if (fds[i].revents && !of[i]->gone)
            of[i]->fn(of[i]->arg, CARRICK_WATCH_READ);
    loop_sweep(loop);
}

// ---- shelves in memory

struct pending {
    TAILQ_ENTRY(pending) entry;
    struct carrick_block_request request;
    uint64_t at_ns;
};

struct carrick_export {
    TAILQ_ENTRY(carrick_export) entry;
    struct carrick_shelves *shelves;
    const struct carrick_block_user *user;
    void *arg;
    TAILQ_HEAD(, pending) pending;
    uint32_t pending_count;
};

struct carrick_shelves {
    struct loop *loop;
    struct carrick_timer *timer;
    unsigned char *data;
    uint64_t bytes;
    bool serves, stuck, refuses_state;
    uint64_t delay_ns;
    uint32_t pending_max; // submit answers AGAIN beyond
    uint32_t fail_errno;  // what every write is answered with
    TAILQ_HEAD(, carrick_export) exports;
    // What was seen.
    uint64_t operations[6], fua, agains;
};

static inline int shelves_export_open(struct carrick_shelves *shelves, const char *shelf,
                                      const struct carrick_block_user *user, void *arg,
                                      struct carrick_export **out, struct carrick_block_info *info,
                                      struct carrick_error *error)
{
    if (strcmp(shelf, "disk1") != 0) {
        snprintf(error->text, sizeof(error->text), "there is no shelf \"%s\"", shelf);
        return CARRICK_ERR_NOT_FOUND;
    }
    if (!shelves->serves) {
        snprintf(error->text, sizeof(error->text), "node alpha does not serve it; beta does");
        return CARRICK_ERR_STATE;
    }
    struct carrick_export *e = calloc(1, sizeof(*e));
    e->shelves = shelves;
    e->user = user;
    e->arg = arg;
    TAILQ_INIT(&e->pending);
    TAILQ_INSERT_TAIL(&shelves->exports, e, entry);
    info->bytes = shelves->bytes;
    *out = e;
    return CARRICK_OK;
}

static inline void shelves_export_close(struct carrick_export *e)
{
    struct pending *p;
    while ((p = TAILQ_FIRST(&e->pending))) {
        TAILQ_REMOVE(&e->pending, p, entry);
        free(p);
    }
    TAILQ_REMOVE(&e->shelves->exports, e, entry);
    free(e);
}

static inline int shelves_submit(struct carrick_export *e, const struct carrick_block_request *r)
{
    struct carrick_shelves *s = e->shelves;
    if (s->refuses_state)
        return CARRICK_ERR_STATE;
    if (r->offset > s->bytes || r->length > s->bytes - r->offset)
        return CARRICK_ERR_BOUNDS;
    if (e->pending_count >= s->pending_max) {
        s->agains++;
        return CARRICK_ERR_AGAIN;
    }
    struct pending *p = calloc(1, sizeof(*p));
    p->request = *r;
    p->at_ns = loop_now_ns(&s->loop->host) + s->delay_ns;
    TAILQ_INSERT_TAIL(&e->pending, p, entry);
    e->pending_count++;
    if (!s->timer->running)
        loop_timer_start(s->timer, s->delay_ns);
    return CARRICK_OK;
}

static inline int shelves_do(struct carrick_shelves *s, const struct carrick_block_request *r)
{
    s->operations[r->operation]++;
    s->fua += r->flags & CARRICK_BLOCK_FUA;
    switch (r->operation) {
    case CARRICK_BLOCK_READ:
        memcpy(r->data, s->data + r->offset, r->length);
        return 0;
    case CARRICK_BLOCK_WRITE:
        if (s->fail_errno)
            return (int)s->fail_errno;
        memcpy(s->data + r->offset, r->data, r->length);
        return 0;
    case CARRICK_BLOCK_TRIM:
    case CARRICK_BLOCK_ZERO:
        memset(s->data + r->offset, 0, r->length);
        return 0;
    default:
        return 0;
    }
}

static inline void shelves_run(void *arg)
{
    struct carrick_shelves *s = arg;
    struct carrick_export *e;
    uint64_t now = loop_now_ns(&s->loop->host), next = UINT64_MAX;
    TAILQ_FOREACH(e, &s->exports, entry)
    {
        struct pending *p;
        bool answered = false;
        while ((p = TAILQ_FIRST(&e->pending)) && !s->stuck && p->at_ns <= now) {
            int error = shelves_do(s, &p->request);
            TAILQ_REMOVE(&e->pending, p, entry);
            e->pending_count--;
            e->user->answered(e->arg, p->request.cookie, error ? CARRICK_ERR_SYSTEM : CARRICK_OK,
                              error);
            free(p);
            answered = true;
        }
        if (answered)
            e->user->answers_end(e->arg);
        if (p && p->at_ns < next)
            next = p->at_ns;
    }
    if (next != UINT64_MAX)
        loop_timer_start(s->timer, s->stuck ? 1000000u : next > now ? next - now : 0);
}

// From the loop's thread, and not from within a call of the front.
static inline void shelves_close_all(struct carrick_shelves *s, const char *why)
{
    s->serves = false;
    struct carrick_export *e;
    while ((e = TAILQ_FIRST(&s->exports)))
        e->user->closed(e->arg, why);
}

static const struct carrick_block_ops shelves_ops = {
    .struct_size = sizeof(shelves_ops),
    .export_open = shelves_export_open,
    .export_close = shelves_export_close,
    .submit = shelves_submit,
};

static inline void shelves_init(struct carrick_shelves *s, struct loop *loop, uint64_t bytes)
{
    memset(s, 0, sizeof(*s));
    s->loop = loop;
    s->bytes = bytes;
    s->data = calloc(1, bytes);
    s->serves = true;
    s->pending_max = 1000;
    TAILQ_INIT(&s->exports);
    loop_timer_create(&loop->host, shelves_run, s, &s->timer);
}

static inline void shelves_end(struct carrick_shelves *s)
{
    loop_timer_destroy(s->timer);
    loop_sweep(s->loop);
    free(s->data);
}

#endif
