// SPDX-License-Identifier: Apache-2.0
#include "daemon/managers.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/manager.h"
#include "core/names.h"
#include "daemon/env_uv.h"
#include "daemon/process.h"

// While a manager spins, the rest of its loop (timers, the mailbox, other descriptors) is looked after this often.
enum { SPIN_POLLS_MAX = 64, SPIN_NS_MAX = 50000 };

#define SILENCE_LOGGED_MS 1000u

struct member {
    struct managers *all;
    const struct config_manager
        *section; // read by its thread until it is created, then only by the main thread
    char name[CONFIG_NAME_SIZE];
    uv_thread_t thread;
    uv_sem_t created; // status and error are set
    int status;
    struct carrick_error error;
    // of the thread
    struct env_uv *env;
    struct processes *processes;
    struct manager *manager;
    bool stopped;
    // of the main thread
    bool joinable;
    bool ended;
    uint64_t pinged_ms; // 0: the last ping was answered
    bool silence_told;
};

struct managers {
    struct managers_options options;
    size_t running;
    bool starting;
    _Atomic uint64_t locked; // bytes of memory, by the devices of all
    bool given_up; // set before the threads are told to stop: they do not tell that they have
    size_t count;
    struct member members[];
};

static void log_member(const struct member *member, int level, const char *event,
                       const char *format, ...) __attribute__((format(printf, 4, 5)));

static void log_member(const struct member *member, int level, const char *event,
                       const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log_write(member->all->options.log,
              &(struct env_record){
                  .level = level, .event = event, .manager = member->name, .text = text});
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

// ---- the thread of one manager

static void take_record(void *arg, const struct env_record *record)
{
    struct member *member = arg;
    struct env_record own = *record;
    if (!own.manager)
        own.manager = member->name;
    log_write(member->all->options.log, &own);
}

static void on_stopped(void *arg)
{
    struct member *member = arg;
    member->stopped = true;
    uv_stop(env_uv_loop(member->env));
}

static int create(struct member *member)
{
    const struct managers_options *options = &member->all->options;
    if (env_uv_create(take_record, member, &member->env)) {
        snprintf(member->error.text, sizeof(member->error.text), "cannot make its loop");
        return CARRICK_ERR_SYSTEM;
    }
    env_uv_share_locked(member->env, &member->all->locked);
    member->processes = processes_create(env_uv_env(member->env), member->name);
    const struct manager_options manager = {
        .config = options->config,
        .section = member->section,
        .isolation = member->processes ? processes_isolation(member->processes) : NULL,
        .node = options->node,
        .env = env_uv_env(member->env),
        .loader = options->loader,
        .key = options->key,
        .key_bytes = options->key_bytes,
        .boot_stage = options->boot_stage,
        .stopped = on_stopped,
        .arg = member,
    };
    int status = manager_create(&manager, &member->manager, &member->error);
    if (status) {
        if (member->processes)
            processes_destroy(member->processes);
        env_uv_close(member->env);
        env_uv_free(member->env);
        member->env = NULL;
    }
    return status;
}

// Polls without sleeping for as long as the manager wants it, and returns when the loop is to have its turn.
static void spin(struct member *member, struct env *env, uint64_t now)
{
    uint64_t turn_ns = now + SPIN_NS_MAX;
    for (unsigned i = 0; i < SPIN_POLLS_MAX && !member->stopped; i++) {
        manager_poll(member->manager);
        now = env_now_ns(env);
        if (now >= turn_ns || now >= manager_spin_until_ns(member->manager))
            break;
    }
}

static void run_loop(struct member *member)
{
    struct env *env = env_uv_env(member->env);
    uv_loop_t *loop = env_uv_loop(member->env);
    bool spun = false;
    while (!member->stopped) {
        uint64_t until = manager_spin_until_ns(member->manager);
        uint64_t now = until == 0 ? 0 : env_now_ns(env);
        bool spinning = until > now;
        if (spinning)
            spin(member, env, now);
        else if (
            spun) // the poll that arms the devices, now that the loop is to sleep; or finds more
            spinning = manager_poll(member->manager) > 0;
        spun = spinning;
        if (!member->stopped)
            uv_run(loop, spinning ? UV_RUN_NOWAIT : UV_RUN_ONCE);
    }
}

static void on_ended(void *arg)
{
    struct member *member = arg;
    struct managers *all = member->all;
    uv_thread_join(&member->thread);
    env_uv_free(member->env);
    member->env = NULL;
    member->joinable = false;
    member->ended = true;
    if (--all->running == 0 && !all->starting)
        all->options.ended(all->options.arg);
}

static void thread_main(void *arg)
{
    struct member *member = arg;
    // Signals are the main thread's.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    char name[16]; // what the kernel takes
    snprintf(name, sizeof(name), "m:%.13s", member->name);
    pthread_setname_np(pthread_self(), name);
    int status = create(member);
    struct mailbox *mailbox = member->all->options.mailbox;
    member->status = status;
    uv_sem_post(&member->created);
    if (status)
        return;
    run_loop(member);
    // Calls need the manager, and the main thread may make some until it knows.
    env_uv_end_calls(member->env);
    manager_destroy(member->manager);
    if (member->processes)
        processes_destroy(member->processes);
    env_uv_close(member->env);
    if (member->all->given_up)
        return;
    // The mailbox's bound cannot be met by the few managers that there are; were memory short, the deadline of the
    // stop would end the process.
    mailbox_post(mailbox, on_ended, member);
}

// ---- calls into a manager's thread

struct call {
    struct member *member;
    void (*fn)(void *arg, struct manager *manager);
    void *arg;
};

static void make_call(void *arg)
{
    struct call call = *(struct call *)arg;
    free(arg);
    call.fn(call.arg, call.member->manager);
}

int managers_call(struct managers *all, size_t index,
                  void (*fn)(void *arg, struct manager *manager), void *arg)
{
    struct member *member = &all->members[index];
    if (member->ended)
        return CARRICK_ERR_STATE;
    struct call *call = malloc(sizeof(*call));
    if (!call)
        return CARRICK_ERR_NO_MEMORY;
    *call = (struct call){member, fn, arg};
    int status = env_uv_call(member->env, make_call, call);
    if (status)
        free(call);
    return status;
}

// ---- starting

static void start_on_thread(void *arg, struct manager *manager)
{
    struct member *member = arg;
    member->status = manager_start(manager, &member->error);
    uv_sem_post(&member->created);
}

static int member_launch(struct member *member)
{
    if (uv_sem_init(&member->created, 0))
        return CARRICK_ERR_SYSTEM;
    if (uv_thread_create(&member->thread, thread_main, member)) {
        snprintf(member->error.text, sizeof(member->error.text), "cannot make its thread");
        uv_sem_destroy(&member->created);
        return CARRICK_ERR_SYSTEM;
    }
    uv_sem_wait(&member->created);
    if (member->status) {
        uv_thread_join(&member->thread);
        uv_sem_destroy(&member->created);
        return member->status;
    }
    member->joinable = true;
    member->all->running++;
    return CARRICK_OK;
}

static int member_start(struct managers *all, size_t index)
{
    struct member *member = &all->members[index];
    int status = managers_call(all, index, start_on_thread, member);
    if (status)
        return status;
    uv_sem_wait(&member->created);
    return member->status;
}

static void stop_on_thread(void *arg, struct manager *manager)
{
    (void)arg;
    manager_stop(manager);
}

// Ends those that run, without the main loop.
static void give_up(struct managers *all)
{
    all->given_up = true;
    for (size_t i = 0; i < all->count; i++)
        if (all->members[i].joinable)
            managers_call(all, i, stop_on_thread, NULL);
    for (size_t i = 0; i < all->count; i++) {
        struct member *member = &all->members[i];
        if (!member->joinable)
            continue;
        uv_thread_join(&member->thread);
        env_uv_free(member->env);
        uv_sem_destroy(&member->created);
    }
}

static void name_failure(const struct member *member, struct carrick_error *error)
{
    *error = member->error;
    error->status = member->status;
    snprintf(error->text, sizeof(error->text), "manager %s: %.200s", member->name,
             member->error.text[0] ? member->error.text : status_name(member->status));
}

int managers_start(const struct managers_options *options, struct managers **made,
                   struct carrick_error *error)
{
    *made = NULL;
    size_t count = options->config->managers_count;
    struct managers *all = calloc(1, sizeof(*all) + count * sizeof(all->members[0]));
    if (!all) {
        snprintf(error->text, sizeof(error->text), "no memory for %zu managers", count);
        return error->status = CARRICK_ERR_NO_MEMORY;
    }
    all->options = *options;
    all->count = count;
    all->starting = true;
    int status = CARRICK_OK;
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        struct member *member = &all->members[i];
        member->all = all;
        member->section = &options->config->managers[i];
        member->error.struct_size = sizeof(member->error);
        snprintf(member->name, sizeof(member->name), "%s", member->section->name);
    }
    for (at = 0; at < count && !status; at++)
        status = member_launch(&all->members[at]);
    if (!status)
        for (at = 0; at < count && !status; at++)
            status = member_start(all, at);
    all->starting = false;
    if (!status) {
        *made = all;
        return CARRICK_OK;
    }
    all->members[at - 1].status = status;
    name_failure(&all->members[at - 1], error);
    give_up(all);
    free(all);
    return status;
}

// ---- stopping

void managers_stop(struct managers *all)
{
    for (size_t i = 0; i < all->count; i++)
        if (!all->members[i].ended)
            managers_call(all, i, stop_on_thread, NULL);
}

void managers_destroy(struct managers *all)
{
    if (!all)
        return;
    for (size_t i = 0; i < all->count; i++)
        uv_sem_destroy(&all->members[i].created);
    free(all);
}

// ---- asking

size_t managers_count(const struct managers *all)
{
    return all->count;
}

const char *managers_name(const struct managers *all, size_t index)
{
    return all->members[index].name;
}

int managers_find(const struct managers *all, const char *name)
{
    for (size_t i = 0; i < all->count; i++)
        if (!strcmp(all->members[i].name, name))
            return (int)i;
    return -1;
}

// ---- reloading

struct reload {
    size_t waiting;
    bool incomplete;
    void (*done)(void *arg, bool complete);
    void *arg;
};

struct reload_part {
    struct reload *reload;
    struct mailbox *mailbox;
    const struct config *config;
    const struct config_manager *section;
};

static void reload_part_end(struct reload *reload)
{
    if (--reload->waiting > 0)
        return;
    struct reload ended = *reload;
    free(reload);
    ended.done(ended.arg, !ended.incomplete);
}

static void on_reloaded(void *arg)
{
    struct reload_part *part = arg;
    struct reload *reload = part->reload;
    free(part);
    reload_part_end(reload);
}

static void reload_on_thread(void *arg, struct manager *manager)
{
    struct reload_part *part = arg;
    manager_reload(manager, part->config, part->section);
    mailbox_post(part->mailbox, on_reloaded, part);
}

int managers_reload(struct managers *all, const struct config *config,
                    void (*done)(void *arg, bool complete), void *arg)
{
    struct reload *reload = malloc(sizeof(*reload));
    if (!reload)
        return CARRICK_ERR_NO_MEMORY;
    *reload = (struct reload){.waiting = all->count + 1, .done = done, .arg = arg};
    for (size_t i = 0; i < all->count; i++) {
        struct reload_part *part = malloc(sizeof(*part));
        if (part)
            *part = (struct reload_part){reload, all->options.mailbox, config,
                                         config_manager_find(config, all->members[i].name)};
        if (!part || !part->section || managers_call(all, i, reload_on_thread, part)) {
            log_member(&all->members[i], CARRICK_LOG_ERROR, "reload-failed",
                       "this manager could not be given its new configuration; restart the daemon");
            free(part);
            reload->incomplete = true;
            reload->waiting--;
        }
    }
    reload_part_end(reload);
    return CARRICK_OK;
}

// ---- watching

static void on_pong(void *arg)
{
    struct member *member = arg;
    if (member->silence_told)
        log_member(member, CARRICK_LOG_NOTICE, "manager-answers", "its loop goes on after %llu ms",
                   (unsigned long long)(now_ms() - member->pinged_ms));
    member->pinged_ms = 0;
    member->silence_told = false;
}

static void pong_on_thread(void *arg, struct manager *manager)
{
    (void)manager;
    struct member *member = arg;
    mailbox_post(member->all->options.mailbox, on_pong, member);
}

uint64_t managers_silent_ms(const struct managers *all, size_t index)
{
    const struct member *member = &all->members[index];
    return member->pinged_ms ? now_ms() - member->pinged_ms : 0;
}

bool managers_ping(struct managers *all)
{
    bool all_answered = true;
    for (size_t i = 0; i < all->count; i++) {
        struct member *member = &all->members[i];
        if (member->ended)
            continue;
        uint64_t silent_ms = managers_silent_ms(all, i);
        if (member->pinged_ms) {
            all_answered = false;
            if (silent_ms >= SILENCE_LOGGED_MS && !member->silence_told) {
                member->silence_told = true;
                log_member(
                    member, CARRICK_LOG_WARNING, "manager-silent",
                    "its loop has stood still for %llu ms: a callback blocks, or the machine "
                    "is overloaded",
                    (unsigned long long)silent_ms);
            }
        } else if (!managers_call(all, i, pong_on_thread, member)) {
            member->pinged_ms = now_ms();
        }
    }
    return all_answered;
}
