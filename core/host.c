// SPDX-License-Identifier: Apache-2.0
#include "core/host.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_TEXT_BYTES 512

static struct host *host_of(const struct carrick_host *base)
{
    return (struct host *)(uintptr_t)base;
}

static void log_text(struct env *env, int level, const char *event, const char *manager,
                     const char *object, const char *format, va_list arguments)
{
    char text[LOG_TEXT_BYTES];
    struct env_record record = {
        .level = level,
        .event = event,
        .manager = manager,
        .object = object,
        .text = text,
    };

    vsnprintf(text, sizeof(text), format, arguments);
    env->ops->log(env, &record);
}

void log_record(struct env *env, int level, const char *event, const char *manager,
                const char *object, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    log_text(env, level, event, manager, object, format, arguments);
    va_end(arguments);
}

__attribute__((format(printf, 3, 4))) static void host_log(const struct carrick_host *base,
                                                           int level, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    // What an operator should notice is an event for those who follow them.
    log_text(host_of(base)->env, level, level <= CARRICK_LOG_NOTICE ? "plugin" : NULL,
             base->manager, base->instance, format, arguments);
    va_end(arguments);
}

static uint64_t host_now_ns(const struct carrick_host *base)
{
    return env_now_ns(host_of(base)->env);
}

static void host_random(const struct carrick_host *base, void *buffer, size_t length)
{
    struct env *env = host_of(base)->env;

    env->ops->random(env, buffer, length);
}

// A plugin's timer knows its env, since the plugin hands back only the timer.
struct carrick_timer {
    struct env *env;
    struct env_timer *timer;
};

static int host_timer_create(const struct carrick_host *base, void (*fn)(void *arg), void *arg,
                             struct carrick_timer **out)
{
    struct env *env = host_of(base)->env;
    struct carrick_timer *timer = calloc(1, sizeof(*timer));

    if (timer == NULL)
        return CARRICK_ERR_NO_MEMORY;
    timer->env = env;
    timer->timer = env->ops->timer_create(env, fn, arg);
    if (timer->timer == NULL) {
        free(timer);
        return CARRICK_ERR_NO_MEMORY;
    }
    *out = timer;
    return CARRICK_OK;
}

static void host_timer_start(struct carrick_timer *timer, uint64_t delay_ns)
{
    timer->env->ops->timer_start(timer->timer, delay_ns);
}

static void host_timer_stop(struct carrick_timer *timer)
{
    timer->env->ops->timer_stop(timer->timer);
}

static void host_timer_destroy(struct carrick_timer *timer)
{
    timer->env->ops->timer_destroy(timer->timer);
    free(timer);
}

struct carrick_watch {
    struct env *env;
    struct env_watch *watch;
};

static int host_watch_create(const struct carrick_host *base, int fd, uint32_t events,
                             void (*fn)(void *arg, uint32_t events), void *arg,
                             struct carrick_watch **out)
{
    struct env *env = host_of(base)->env;
    struct carrick_watch *watch = calloc(1, sizeof(*watch));

    if (watch == NULL)
        return CARRICK_ERR_NO_MEMORY;
    watch->env = env;
    watch->watch = env->ops->watch_create(env, fd, events, fn, arg);
    if (watch->watch == NULL) {
        free(watch);
        return CARRICK_ERR_NOT_SUPPORTED;
    }
    *out = watch;
    return CARRICK_OK;
}

static void host_watch_destroy(struct carrick_watch *watch)
{
    watch->env->ops->watch_destroy(watch->watch);
    free(watch);
}

struct host_work {
    struct host *host;
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
};

static void host_work_run(void *arg)
{
    struct host_work *job = arg;

    job->work(job->arg);
}

static void host_work_over(struct host *host)
{
    host->works--;
    if (host->works == 0 && host->idle != NULL)
        host->idle(host->arg);
}

static void host_work_done(void *arg)
{
    struct host_work *job = arg;
    struct host *host = job->host;

    job->done(job->arg);
    free(job);
    host_work_over(host);
}

static int host_work(const struct carrick_host *base, void (*work)(void *arg),
                     void (*done)(void *arg), void *arg)
{
    struct host *host = host_of(base);
    struct host_work *job = malloc(sizeof(*job));
    int status;

    if (job == NULL)
        return CARRICK_ERR_NO_MEMORY;
    *job = (struct host_work){.host = host, .work = work, .done = done, .arg = arg};
    status = host->env->ops->work(host->env, host_work_run, host_work_done, job);
    if (status != CARRICK_OK) {
        free(job);
        return status;
    }
    host->works++;
    return CARRICK_OK;
}

// ---- files

struct carrick_file {
    struct host *host;
    struct env_file *file;
    uint32_t requests; // under way
};

struct host_request {
    struct carrick_file *file;
    void (*fn)(void *arg, int status, int sys_errno);
    void *arg;
};

static int host_file_open(const struct carrick_host *base, const char *path, uint32_t flags,
                          uint64_t bytes, struct carrick_file **out, struct carrick_file_info *info,
                          struct carrick_error *error)
{
    struct host *host = host_of(base);
    struct carrick_file *file = calloc(1, sizeof(*file));
    struct carrick_file_info found = {.struct_size = sizeof(found)};
    int status;

    if (file == NULL)
        return CARRICK_ERR_NO_MEMORY;
    file->host = host;
    status = host->env->ops->file_open(host->env, path, flags, bytes, &file->file, &found, error);
    if (status != CARRICK_OK) {
        free(file);
        return status;
    }
    if (info != NULL) {
        found.struct_size =
            info->struct_size < sizeof(found) ? info->struct_size : (uint32_t)sizeof(found);
        memcpy(info, &found, found.struct_size);
    }
    *out = file;
    return CARRICK_OK;
}

static void host_file_done(void *arg, int status, int sys_errno)
{
    struct host_request *request = arg;
    struct host *host = request->file->host;

    request->file->requests--;
    request->fn(request->arg, status, sys_errno);
    free(request);
    host_work_over(host);
}

static int host_file_submit(struct carrick_file *file, const struct carrick_file_request *request)
{
    struct host_request *own = malloc(sizeof(*own));
    struct carrick_file_request passed = *request;
    int status;

    if (own == NULL)
        return CARRICK_ERR_NO_MEMORY;
    *own = (struct host_request){.file = file, .fn = request->fn, .arg = request->arg};
    passed.fn = host_file_done;
    passed.arg = own;
    status = file->host->env->ops->file_submit(file->file, &passed);
    if (status != CARRICK_OK) {
        free(own);
        return status;
    }
    file->requests++;
    file->host->works++;
    return CARRICK_OK;
}

static int host_file_read_now(struct carrick_file *file, uint64_t offset, void *data,
                              uint64_t length)
{
    return file->host->env->ops->file_read_now(file->file, offset, data, length);
}

static int host_file_close(struct carrick_file *file)
{
    if (file->requests > 0)
        return CARRICK_ERR_STATE;
    file->host->env->ops->file_close(file->file);
    free(file);
    return CARRICK_OK;
}

void host_init(struct host *host, struct env *env, const char *node, const char *partner,
               const char *manager, const char *instance)
{
    *host = (struct host){
        .base =
            {
                .struct_size = sizeof(struct carrick_host),
                .abi_major = CARRICK_ABI_MAJOR,
                .abi_minor = CARRICK_ABI_MINOR,
                .node = node,
                .partner = partner,
                .manager = manager,
                .instance = instance,
                .log = host_log,
                .now_ns = host_now_ns,
                .random = host_random,
                .timer_create = host_timer_create,
                .timer_start = host_timer_start,
                .timer_stop = host_timer_stop,
                .timer_destroy = host_timer_destroy,
                .watch_create = host_watch_create,
                .watch_destroy = host_watch_destroy,
                .work = host_work,
                .file_open = host_file_open,
                .file_submit = host_file_submit,
                .file_read_now = host_file_read_now,
                .file_close = host_file_close,
            },
        .env = env,
    };
}
