// SPDX-License-Identifier: Apache-2.0
//
// The host table of the rig: clock, timers, watches, workers.
#include "rig.h"

#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { FDS_MAX = 256 };

struct carrick_timer {
    LIST_ENTRY(carrick_timer) entry;
    struct rig_node *node;
    void (*fn)(void *arg);
    void *arg;
    uint64_t due_ns;
    bool running;
};

struct carrick_watch {
    LIST_ENTRY(carrick_watch) entry;
    struct rig_node *node;
    int fd;
    uint32_t events;
    void (*fn)(void *arg, uint32_t events);
    void *arg;
};

struct rig_job {
    LIST_ENTRY(rig_job) entry;
    struct rig *rig;
    pthread_t thread;
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
    bool worked; // atomic
};

struct rig_timers {
    LIST_HEAD(, carrick_timer) timers;
    LIST_HEAD(, carrick_watch) watches;
    LIST_HEAD(, rig_job) jobs;
    int job_fd; // readable when a worker has ended
};

static struct rig_node *node_of(const struct carrick_host *host)
{
    return (struct rig_node *)(uintptr_t)host;
}

uint64_t rig_now(const struct rig *rig)
{
    struct timespec now;

    if (rig->kind.is_virtual)
        return rig->now_ns;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 * RIG_MS + (uint64_t)now.tv_nsec;
}

static uint64_t host_now(const struct carrick_host *host)
{
    return rig_now(node_of(host)->rig);
}

__attribute__((format(printf, 3, 4))) static void host_log(const struct carrick_host *host,
                                                           int level, const char *format, ...)
{
    va_list arguments;

    if (getenv("CONFORMANCE_LOG") == NULL)
        return;
    fprintf(stderr, "%llu %s <%d> ", (unsigned long long)host_now(host), host->node, level);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

static void host_random(const struct carrick_host *host, void *buffer, size_t length)
{
    struct rig *rig = node_of(host)->rig;
    uint8_t *at = buffer;

    if (!rig->kind.is_virtual && getrandom(buffer, length, 0) == (ssize_t)length)
        return;
    for (size_t i = 0; i < length; i++)
        at[i] = (uint8_t)rig_random(rig, 256);
}

static int host_timer_create(const struct carrick_host *host, void (*fn)(void *arg), void *arg,
                             struct carrick_timer **timer)
{
    struct carrick_timer *made = calloc(1, sizeof(*made));

    if (made == NULL)
        return CARRICK_ERR_NO_MEMORY;
    made->node = node_of(host);
    made->fn = fn;
    made->arg = arg;
    LIST_INSERT_HEAD(&made->node->rig->timers->timers, made, entry);
    *timer = made;
    return CARRICK_OK;
}

static void host_timer_start(struct carrick_timer *timer, uint64_t delay_ns)
{
    timer->due_ns = rig_now(timer->node->rig) + delay_ns;
    timer->running = true;
}

static void host_timer_stop(struct carrick_timer *timer)
{
    timer->running = false;
}

static void host_timer_destroy(struct carrick_timer *timer)
{
    LIST_REMOVE(timer, entry);
    free(timer);
}

static int host_watch_create(const struct carrick_host *host, int fd, uint32_t events,
                             void (*fn)(void *arg, uint32_t events), void *arg,
                             struct carrick_watch **watch)
{
    struct carrick_watch *made;

    if (node_of(host)->rig->kind.is_virtual)
        return CARRICK_ERR_NOT_SUPPORTED;
    made = calloc(1, sizeof(*made));
    if (made == NULL)
        return CARRICK_ERR_NO_MEMORY;
    *made = (struct carrick_watch){
        .node = node_of(host), .fd = fd, .events = events, .fn = fn, .arg = arg};
    LIST_INSERT_HEAD(&made->node->rig->timers->watches, made, entry);
    *watch = made;
    return CARRICK_OK;
}

static void host_watch_destroy(struct carrick_watch *watch)
{
    LIST_REMOVE(watch, entry);
    free(watch);
}

static void *job_run(void *arg)
{
    struct rig_job *job = arg;
    uint64_t one = 1;
    int fd = job->rig->timers->job_fd;

    job->work(job->arg);
    __atomic_store_n(&job->worked, true, __ATOMIC_RELEASE);
    if (write(fd, &one, sizeof(one)) != sizeof(one))
        abort();
    return NULL;
}

static int host_work(const struct carrick_host *host, void (*work)(void *arg),
                     void (*done)(void *arg), void *arg)
{
    struct rig *rig = node_of(host)->rig;
    struct rig_job *job = calloc(1, sizeof(*job));

    if (job == NULL)
        return CARRICK_ERR_NO_MEMORY;
    *job = (struct rig_job){.rig = rig, .work = work, .done = done, .arg = arg};
    // In virtual time a worker would run in real time: it is run by rig_timers_run.
    if (!rig->kind.is_virtual && pthread_create(&job->thread, NULL, job_run, job) != 0) {
        free(job);
        return CARRICK_ERR_SYSTEM;
    }
    LIST_INSERT_HEAD(&rig->timers->jobs, job, entry);
    return CARRICK_OK;
}

void rig_host_init(struct rig_node *node)
{
    static const char *const names[2] = {"left", "right"};

    node->host = (struct carrick_host){
        .struct_size = sizeof(node->host),
        .abi_major = CARRICK_ABI_MAJOR,
        .abi_minor = CARRICK_ABI_MINOR,
        .node = names[node->index],
        .partner = names[1 - node->index],
        .manager = "rig",
        .instance = "link",
        .log = host_log,
        .now_ns = host_now,
        .random = host_random,
        .timer_create = host_timer_create,
        .timer_start = host_timer_start,
        .timer_stop = host_timer_stop,
        .timer_destroy = host_timer_destroy,
        .watch_create = host_watch_create,
        .watch_destroy = host_watch_destroy,
        .work = host_work,
    };
}

struct rig_timers *rig_timers_new(void)
{
    struct rig_timers *timers = calloc(1, sizeof(*timers));

    cr_assert(timers != NULL);
    timers->job_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return timers;
}

void rig_timers_free(struct rig_timers *timers)
{
    cr_assert(LIST_EMPTY(&timers->timers), "the transport left a timer behind");
    cr_assert(LIST_EMPTY(&timers->watches), "the transport left a watch behind");
    cr_assert(LIST_EMPTY(&timers->jobs), "the transport ended with work under way");
    close(timers->job_fd);
    free(timers);
}

bool rig_works(const struct rig *rig)
{
    return !LIST_EMPTY(&rig->timers->jobs);
}

static struct rig_job *job_ended(struct rig *rig)
{
    struct rig_job *job;

    LIST_FOREACH(job, &rig->timers->jobs, entry)
    {
        if (rig->kind.is_virtual || __atomic_load_n(&job->worked, __ATOMIC_ACQUIRE))
            return job;
    }
    return NULL;
}

static struct carrick_timer *timer_next(struct rig *rig)
{
    struct carrick_timer *timer, *next = NULL;

    LIST_FOREACH(timer, &rig->timers->timers, entry)
    {
        if (timer->running && !timer->node->paused &&
            (next == NULL || timer->due_ns < next->due_ns))
            next = timer;
    }
    return next;
}

bool rig_timers_run(struct rig *rig)
{
    struct rig_job *job;
    struct carrick_timer *timer;
    uint64_t now = rig_now(rig);
    bool ran = false;

    while ((job = job_ended(rig)) != NULL) {
        if (rig->kind.is_virtual)
            job->work(job->arg);
        else
            pthread_join(job->thread, NULL);
        LIST_REMOVE(job, entry);
        job->done(job->arg);
        free(job);
        ran = true;
    }
    // One clock reading for all: a timer that starts itself with no delay does not keep us here.
    for (int i = 0; i < 1000 && (timer = timer_next(rig)) != NULL && timer->due_ns <= now; i++) {
        timer->running = false;
        timer->fn(timer->arg);
        ran = true;
    }
    return ran;
}

static void watches_run(struct rig *rig, const struct pollfd *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct carrick_watch *watch;
        uint32_t events =
            ((fds[i].revents & (POLLIN | POLLHUP | POLLERR)) ? CARRICK_WATCH_READ : 0) |
            ((fds[i].revents & POLLOUT) ? CARRICK_WATCH_WRITE : 0);

        LIST_FOREACH(watch, &rig->timers->watches, entry)
        {
            // A watch that an earlier one's function destroyed is not found any more.
            if (events != 0 && watch->fd == fds[i].fd) {
                watch->fn(watch->arg, events & watch->events);
                break;
            }
        }
    }
}

static void sleep_real(struct rig *rig, uint64_t until_ns)
{
    struct pollfd fds[FDS_MAX];
    unsigned count = 0, first_watch;
    struct carrick_watch *watch;
    uint64_t now = rig_now(rig), drained, delay_ns;
    struct timespec timeout;

    for (unsigned i = 0; i < 2; i++)
        fds[count++] = (struct pollfd){
            .fd = rig->node[i].paused || rig->node[i].device == NULL ? -1 : rig->node[i].fd,
            .events = POLLIN};
    fds[count++] = (struct pollfd){.fd = rig->timers->job_fd, .events = POLLIN};
    first_watch = count;
    LIST_FOREACH(watch, &rig->timers->watches, entry)
    {
        cr_assert(count < FDS_MAX);
        fds[count++] = (struct pollfd){
            .fd = watch->node->paused ? -1 : watch->fd,
            .events = (short)(((watch->events & CARRICK_WATCH_READ) ? POLLIN : 0) |
                              ((watch->events & CARRICK_WATCH_WRITE) ? POLLOUT : 0)),
        };
    }
    delay_ns = until_ns > now ? until_ns - now : 0;
    timeout.tv_sec = (time_t)(delay_ns / 1000000000u);
    timeout.tv_nsec = (long)(delay_ns % 1000000000u);
    if (ppoll(fds, count, &timeout, NULL) <= 0)
        return;
    for (unsigned i = 0; i < 2; i++) {
        if (fds[i].revents != 0)
            rig->node[i].poll_needed = true;
    }
    if (fds[2].revents != 0 && read(rig->timers->job_fd, &drained, sizeof(drained)) < 0)
        return;
    watches_run(rig, fds + first_watch, count - first_watch);
}

void rig_sleep(struct rig *rig, uint64_t until_ns)
{
    struct carrick_timer *timer = timer_next(rig);

    if (timer != NULL && timer->due_ns < until_ns)
        until_ns = timer->due_ns;
    if (!rig->kind.is_virtual)
        sleep_real(rig, until_ns);
    else if (until_ns > rig->now_ns)
        rig->now_ns = until_ns;
}
