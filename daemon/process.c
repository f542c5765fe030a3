// SPDX-License-Identifier: Apache-2.0
#include "daemon/process_internal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/host.h"

#include <carrick/error.h>

static void start(struct process *process);
static void process_free(struct process *process);

static void say(const struct process *process, int level, const char *event, const char *format,
                ...) __attribute__((format(printf, 4, 5)));

static void say(const struct process *process, int level, const char *event, const char *format,
                ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log_record(process->all->env, level, event, process->all->manager, process->name, "%s", text);
}

// ---- its end

void process_fail(struct process *process, const char *format, ...)
{
    va_list args;
    if (!process_lives(process))
        return;
    va_start(args, format);
    vsnprintf(process->cause, sizeof(process->cause), format, args);
    va_end(args);
    process->state = PROCESS_KILLING;
    syscall(SYS_pidfd_send_signal, process->pidfd, SIGKILL, NULL, 0);
    for (uint32_t i = 0; i < process->client_count; i++)
        process_client_gone(process->clients[i]);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void unwatch(struct process *process, struct carrick_watch **watch)
{
    if (*watch)
        process->base->watch_destroy(*watch);
    *watch = NULL;
}

void process_take_down(struct process *process)
{
    unwatch(process, &process->watch_pid);
    unwatch(process, &process->watch_socket);
    unwatch(process, &process->watch_event);
    while (process->outgoing)
        process_outgoing_drop(process);
    close_fd(&process->pidfd);
    close_fd(&process->socket);
    close_fd(&process->event_in);
    close_fd(&process->event_out);
    close_fd(&process->page_fd);
    if (process->page)
        munmap(process->page, sizeof(*process->page));
    process->page = NULL;
    process->pid = 0;
}

static void name_end(struct process *process, const siginfo_t *info)
{
    char how[64];
    if (info->si_code == CLD_EXITED)
        snprintf(how, sizeof(how), "ended with status %d", info->si_status);
    else
        snprintf(how, sizeof(how), "was ended by signal %d (%s)", info->si_status,
                 sigabbrev_np(info->si_status) ? sigabbrev_np(info->si_status) : "?");
    bool own = process->cause[0] && strcmp(process->cause, "hung up");
    if (own)
        snprintf(process->last_cause, sizeof(process->last_cause), "%s", process->cause);
    else
        snprintf(process->last_cause, sizeof(process->last_cause), "%s", how);
    process->cause[0] = 0;
    process->pid = 0;
}

// Half to once and a half of it, so that processes that ended together do not come back together for ever.
static uint64_t wait_ns(struct process *process)
{
    uint32_t random;
    if (process_now_ns(process) - process->started_ns > PROCESS_CALM_MS * ENV_MS)
        process->backoff_ms = PROCESS_BACKOFF_MIN_MS;
    process->base->random(process->base, &random, sizeof(random));
    uint64_t wait =
        process->backoff_ms * ENV_MS / 2 + process->backoff_ms * ENV_MS * (random % 1000) / 1000;
    process->backoff_ms *= 2;
    if (process->backoff_ms > PROCESS_BACKOFF_MAX_MS)
        process->backoff_ms = PROCESS_BACKOFF_MAX_MS;
    return wait;
}

static void process_over(struct process *process)
{
    uint64_t wait;
    process_take_down(process);
    process->state = PROCESS_ABSENT;
    process_questions_forget(process->all, process);
    for (uint32_t i = 0; i < process->client_count; i++)
        process_client_ended(process->clients[i]);
    wait = wait_ns(process);
    say(process, CARRICK_LOG_ERROR, "client-process-ended",
        "the client process %s; it is started again in %llu ms", process->last_cause,
        (unsigned long long)(wait / ENV_MS));
    process->base->timer_start(process->again, wait);
}

// Its exit is certain when it has been waited for: from then on nothing of it writes anywhere. The loop has made the
// descriptor one that does not block.
static bool reap(struct process *process, int wait_ms)
{
    struct pollfd fd = {.fd = process->pidfd, .events = POLLIN};
    siginfo_t info = {0};
    if (wait_ms)
        poll(&fd, 1, wait_ms);
    int got;
    do
        got = waitid(P_PIDFD, (id_t)process->pidfd, &info, WEXITED | WNOHANG);
    while (got && errno == EINTR);
    if (got || !info.si_pid)
        return false;
    if (process_lives(process)) {
        // What it said last is still to be heard: it may say why.
        while (!process_hear(process))
            ;
        process_fail(process, "hung up");
    }
    name_end(process, &info);
    return true;
}

void process_on_exit(void *arg, uint32_t events)
{
    struct process *process = arg;
    (void)events;
    if (process->pidfd >= 0 && reap(process, 0))
        process_over(process);
}

// ---- watching over it

// A tick that comes late says that this node was held up, not that the process hangs.
static void beat_look(struct process *process)
{
    uint32_t beat = __atomic_load_n(&process->page->beat, __ATOMIC_RELAXED);
    uint64_t now = process_now_ns(process), every = process_tick_ns(process);
    if (beat != process->beat || process->state == PROCESS_STARTING ||
        now > process->tick_due_ns + every)
        process->beat_ns = now;
    process->beat = beat;
    if (now > process->beat_ns + process->hang_ms * ENV_MS)
        process_fail(process, "hung: no sign of life for %u ms; it was killed", process->hang_ms);
    else if (process->state == PROCESS_STARTING && now > process->create_until_ns)
        process_fail(process, "took longer than %u ms to make its clients", PROCESS_CREATE_MS);
}

static void on_tick(void *arg)
{
    struct process *process = arg;
    uint64_t every = process_tick_ns(process);
    if (process_lives(process))
        beat_look(process);
    for (uint32_t i = 0; i < process->client_count; i++)
        process_client_tick(process->clients[i]);
    process->log_lines = 0;
    if (process->log_dropped)
        say(process, CARRICK_LOG_WARNING, NULL, "%u lines of its log were left out: too many",
            process->log_dropped);
    process->log_dropped = 0;
    process->tick_due_ns = process_now_ns(process) + every;
    process->base->timer_start(process->tick, every);
}

static void on_again(void *arg)
{
    struct process *process = arg;
    if (process->state == PROCESS_ABSENT) {
        // What the partner may still write into must not be memory that the next process looks at.
        for (uint32_t i = 0; i < process->client_count; i++)
            if (process->clients[i]->gave_memory) {
                process->clients[i]->host->session_reset(
                    process->clients[i]->host, "its process has ended, and the partner can write "
                                               "into memory that the next one takes over");
                process->base->timer_start(process->again, 5 * ENV_MS);
                return;
            }
        start(process);
        return;
    }
    if (!process_lives(process))
        return;
    process_outgoing_send(process);
    process_look(process);
}

static void start(struct process *process)
{
    int cause = process_launch(process);
    process->restarts++;
    if (!cause)
        return;
    snprintf(process->last_cause, sizeof(process->last_cause), "%.80s cannot be run: %.60s",
             process->all->program, strerror(cause));
    process_over(process);
}

// ---- those that there are

struct process *process_find(struct processes *all, const struct config_client *config,
                             const struct carrick_host *base)
{
    for (struct process *process = all->first; process; process = process->next)
        if (!strcmp(process->name, config->process))
            return process;
    struct process *process = calloc(1, sizeof(*process));
    if (!process)
        return NULL;
    snprintf(process->name, sizeof(process->name), "%s", config->process);
    process->all = all;
    process->base = base;
    process->hang_ms = config->hang_ms;
    process->backoff_ms = PROCESS_BACKOFF_MIN_MS;
    process->pidfd = process->socket = process->event_in = process->event_out = process->page_fd =
        -1;
    if (base->timer_create(base, on_tick, process, &process->tick)) {
        free(process);
        return NULL;
    }
    if (base->timer_create(base, on_again, process, &process->again)) {
        base->timer_destroy(process->tick);
        free(process);
        return NULL;
    }
    process->next = all->first;
    all->first = process;
    process->alive_ns = process_now_ns(process);
    process->tick_due_ns = process->alive_ns + process_tick_ns(process);
    base->timer_start(process->tick, process_tick_ns(process));
    return process;
}

static bool is_created(const struct carrick_client *client)
{
    return client->created || client->create_status;
}

int process_add(struct process *process, struct carrick_client *client, struct carrick_error *error)
{
    if (process->client_count == CHANNEL_CLIENTS_MAX)
        return CARRICK_ERR_LIMIT;
    client->process = process;
    client->index = process->client_count;
    client->create_error = error;
    process->clients[process->client_count++] = client;
    if (process_lives(process)) {
        process_client_begins(client);
    } else {
        int cause = process->pid ? EBUSY : process_launch(process);
        if (cause) {
            carrick_error_set(error, CARRICK_ERR_SYSTEM, cause, "",
                              "%.150s cannot be run as a process: %.60s", process->all->program,
                              strerror(cause));
            if (--process->client_count == 0)
                process_free(process);
            return CARRICK_ERR_SYSTEM;
        }
    }
    process_wait(process, is_created, client, process_now_ns(process) + PROCESS_CREATE_MS * ENV_MS);
    client->create_error = NULL;
    if (client->created)
        return CARRICK_OK;
    if (!client->create_status) {
        process_fail(process, "took longer than %u ms to make a client", PROCESS_CREATE_MS);
        reap(process, PROCESS_DESTROY_MS);
        snprintf(error->text, sizeof(error->text),
                 "its process %s while the plugin was making the client", process->last_cause);
        client->create_status = CARRICK_ERR_SYSTEM;
    }
    int status = client->create_status;
    client->create_status = 0;
    process_remove(process, client);
    return status;
}

static void process_free(struct process *process)
{
    struct process **at = &process->all->first;
    while (*at != process)
        at = &(*at)->next;
    *at = process->next;
    process_questions_forget(process->all, process);
    process->base->timer_destroy(process->tick);
    process->base->timer_destroy(process->again);
    free(process);
}

static bool is_destroyed(const struct carrick_client *client)
{
    return client->destroyed;
}

// The last one in: clients go in the reverse of their order.
void process_remove(struct process *process, struct carrick_client *client)
{
    if (process_lives(process) && client->created && !client->destroyed) {
        process_send(process,
                     &(struct channel_message){.type = CHANNEL_DESTROY, .client = client->index});
        if (!process_wait(process, is_destroyed, client,
                          process_now_ns(process) + PROCESS_DESTROY_MS * ENV_MS))
            say(process, CARRICK_LOG_WARNING, NULL,
                "the client process did not end its client %s within %u ms: it is killed",
                client->name, PROCESS_DESTROY_MS);
    }
    // The last one is out: it ends by itself when nobody speaks to it any more.
    if (process_lives(process) && client->index == 0 && client->destroyed &&
        !shutdown(process->socket, SHUT_RDWR))
        reap(process, PROCESS_DESTROY_MS);
    if (process_lives(process) && (client->index == 0 || !client->destroyed))
        process_fail(process, "is not needed any more");
    if (process->state == PROCESS_KILLING) {
        if (process->pid && !reap(process, PROCESS_DESTROY_MS))
            say(process, CARRICK_LOG_ERROR, NULL,
                "process %d was killed, and has not ended within %u ms: the kernel holds it",
                (int)process->pid, PROCESS_DESTROY_MS);
        process_take_down(process);
        process->state = PROCESS_ABSENT;
        for (uint32_t i = 0; i < process->client_count; i++)
            process_client_ended(process->clients[i]);
    }
    process->client_count = client->index;
    if (client->index == 0)
        process_free(process);
    else if (process->state == PROCESS_ABSENT)
        process->base->timer_start(process->again, wait_ns(process));
}

// ---- of a manager

static void report(struct carrick_client *client, struct manager_isolation_report *report)
{
    static const char *const states[] = {"absent", "starting", "running", "being-killed"};
    struct process *process = client->process;
    process_still_ns(process);
    *report = (struct manager_isolation_report){
        .process = process->name,
        .state = states[process->state],
        .pid = process->pid,
        .restarts = process->restarts,
        .last_cause = process->last_cause,
        .beat_age_ms =
            process_lives(process) ? (process_now_ns(process) - process->alive_ns) / ENV_MS : 0,
    };
}

// A process that is not there, or is being made, is as still as one that hangs.
uint64_t process_still_ns(struct process *process)
{
    uint64_t now = process_now_ns(process), still;
    if (process->state == PROCESS_RUNNING) {
        uint32_t beat = __atomic_load_n(&process->page->beat, __ATOMIC_RELAXED);
        if (beat != process->alive_beat)
            process->alive_ns = now;
        process->alive_beat = beat;
    }
    still = now - process->alive_ns;
    return still > process_beat_ns(process) * 5 / 2 ? still : 0;
}

static uint32_t still_ms(void *arg)
{
    const struct processes *all = arg;
    uint64_t longest = 0;
    for (struct process *process = all->first; process; process = process->next) {
        uint64_t still = process_still_ns(process) / ENV_MS;
        if (still > longest)
            longest = still;
    }
    return longest > UINT32_MAX ? UINT32_MAX : (uint32_t)longest;
}

void process_program(char *path, size_t size)
{
    ssize_t length = readlink("/proc/self/exe", path, size - 20);
    char *slash;
    path[length < 0 ? 0 : length] = 0;
    slash = strrchr(path, '/');
    snprintf(slash ? slash + 1 : path, 16, "carrick-host");
}

struct processes *processes_create(struct env *env, const char *manager)
{
    struct processes *all = calloc(1, sizeof(*all));
    if (!all)
        return NULL;
    all->env = env;
    snprintf(all->manager, sizeof(all->manager), "%s", manager);
    process_program(all->program, sizeof(all->program));
    all->isolation = (struct manager_isolation){
        .ops = &process_client_ops,
        .create = process_client_create,
        .report = report,
        .still_ms = still_ms,
        .arg = all,
    };
    return all;
}

void processes_destroy(struct processes *all)
{
    while (all->questions) {
        struct process_question *question = all->questions;
        all->questions = question->next;
        free(question);
    }
    free(all);
}

const struct manager_isolation *processes_isolation(struct processes *all)
{
    return &all->isolation;
}
