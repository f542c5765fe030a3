// SPDX-License-Identifier: Apache-2.0
//
// The arbiter plugin `mailbox`: operations run on workers, since storage may hang, and each is answered in time all the
// same. Few workers are used, and of those that hang none is joined by a read, so that a hung mailbox does not keep those
// that others need: reads are asked for again and again, while all is well.
#include "mailbox.h"

#include <carrick/error.h>

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOBS_MAX 64u   // waiting and running
#define RUNNING_MAX 2u // on workers

struct job {
    struct job *next;
    struct carrick_arbiter *arbiter;
    struct carrick_timer *timer;
    uint64_t cookie;
    bool is_change, begun, answered;
    char group[CARRICK_NAME_MAX + 1];
    char path[1024], node[CARRICK_NAME_MAX + 1]; // the worker's own
    uint64_t nonce, expected;
    struct carrick_arbiter_record wanted;
    struct mailbox_answer answer;
};

struct carrick_arbiter {
    const struct carrick_arbiter_host *host;
    char path[1024];
    struct job *jobs; // in order of asking
    unsigned count, running;
    unsigned hanging;               // of those that run: answered late, and not back yet
    char said[MAILBOX_CAUSE_BYTES]; // the last cause that was logged
};

static void begin_next(struct carrick_arbiter *arbiter);

// ---- answers

static void say_cause(struct carrick_arbiter *arbiter, const char *cause)
{
    const struct carrick_host *base = arbiter->host->base;

    if (strcmp(arbiter->said, cause) == 0)
        return;
    if (cause[0] != '\0')
        base->log(base, CARRICK_LOG_ERROR, "mailbox: %s", cause);
    else
        base->log(base, CARRICK_LOG_NOTICE, "mailbox: %s can be used again", arbiter->path);
    snprintf(arbiter->said, sizeof arbiter->said, "%s", cause);
}

static void job_free(struct job *job)
{
    struct carrick_arbiter *arbiter = job->arbiter;
    struct job **at = &arbiter->jobs;

    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    arbiter->count--;
    arbiter->host->base->timer_destroy(job->timer);
    free(job);
}

static void job_answer(struct job *job, int status, const struct carrick_arbiter_record *record)
{
    const struct carrick_arbiter_host *host = job->arbiter->host;

    job->answered = true;
    host->base->timer_stop(job->timer);
    host->answered(host, job->cookie, status, record);
}

static void job_late(void *arg)
{
    struct job *job = arg;
    struct carrick_arbiter *arbiter = job->arbiter;
    char cause[MAILBOX_CAUSE_BYTES];

    snprintf(cause, sizeof cause, "%.150s does not answer in time", arbiter->path);
    say_cause(arbiter, cause);
    // What has not begun will not have happened; what has may still come to stand.
    if (!job->begun) {
        job_answer(job, CARRICK_ERR_TIMEOUT, NULL);
        job_free(job);
    } else {
        arbiter->hanging++;
        job_answer(job, job->is_change ? CARRICK_ERR_UNKNOWN : CARRICK_ERR_TIMEOUT, NULL);
    }
}

// ---- workers

static void job_work(void *arg)
{
    struct job *job = arg;
    struct mailbox_directory directory = {
        .path = job->path, .node = job->node, .nonce = job->nonce};

    if (job->is_change)
        mailbox_change(&directory, job->group, job->expected, &job->wanted, &job->answer);
    else
        mailbox_read(&directory, job->group, &job->answer);
}

static void job_done(void *arg)
{
    struct job *job = arg;
    struct carrick_arbiter *arbiter = job->arbiter;

    arbiter->running--;
    say_cause(arbiter, job->answer.cause);
    if (job->answered)
        arbiter->hanging--;
    else
        job_answer(job, job->answer.status, job->answer.has_record ? &job->answer.record : NULL);
    job_free(job);
    begin_next(arbiter);
}

static void begin_next(struct carrick_arbiter *arbiter)
{
    const struct carrick_host *base = arbiter->host->base;

    for (struct job *job = arbiter->jobs; job != NULL && arbiter->running < RUNNING_MAX;
         job = job->next) {
        if (job->begun || (!job->is_change && arbiter->hanging > 0))
            continue;
        if (base->work(base, job_work, job_done, job) != CARRICK_OK)
            return; // its own deadline answers it
        job->begun = true;
        arbiter->running++;
    }
}

// ---- operations

static int job_begin(struct carrick_arbiter *arbiter, const char *group, uint64_t expected,
                     const struct carrick_arbiter_record *wanted, uint32_t timeout_ms,
                     uint64_t cookie)
{
    const struct carrick_host *base = arbiter->host->base;
    struct job *job, **at = &arbiter->jobs;

    if (strlen(group) > CARRICK_NAME_MAX || group[0] == '\0' || strchr(group, '/') != NULL)
        return CARRICK_ERR_INVALID;
    if (arbiter->count >= JOBS_MAX)
        return CARRICK_ERR_AGAIN;
    job = calloc(1, sizeof *job);
    if (job == NULL)
        return CARRICK_ERR_NO_MEMORY;
    job->arbiter = arbiter;
    job->cookie = cookie;
    job->expected = expected;
    job->is_change = wanted != NULL;
    if (wanted != NULL)
        memcpy(&job->wanted, wanted,
               wanted->struct_size < sizeof job->wanted ? wanted->struct_size : sizeof job->wanted);
    snprintf(job->group, sizeof job->group, "%s", group);
    snprintf(job->path, sizeof job->path, "%s", arbiter->path);
    snprintf(job->node, sizeof job->node, "%s", base->node);
    base->random(base, &job->nonce, sizeof job->nonce);
    if (base->timer_create(base, job_late, job, &job->timer) != CARRICK_OK) {
        free(job);
        return CARRICK_ERR_NO_MEMORY;
    }
    base->timer_start(job->timer, (uint64_t)timeout_ms * 1000000u);
    while (*at != NULL)
        at = &(*at)->next;
    *at = job;
    arbiter->count++;
    begin_next(arbiter);
    return CARRICK_OK;
}

static int read_begin(struct carrick_arbiter *arbiter, const char *group, uint32_t timeout_ms,
                      uint64_t cookie)
{
    return job_begin(arbiter, group, 0, NULL, timeout_ms, cookie);
}

static int change_begin(struct carrick_arbiter *arbiter, const char *group,
                        uint64_t expected_number, const struct carrick_arbiter_record *wanted,
                        uint32_t timeout_ms, uint64_t cookie)
{
    return wanted == NULL ? CARRICK_ERR_INVALID
                          : job_begin(arbiter, group, expected_number, wanted, timeout_ms, cookie);
}

// ---- configuration, life

static int read_section(struct json_object *section, char *path, size_t size,
                        struct carrick_error *error)
{
    char pointer[80];

    path[0] = '\0';
    if (!json_object_is_type(section, json_type_object))
        return carrick_error_config(error, "", "mailbox wants an object with \"directory\"");
    json_object_object_foreach(section, key, value)
    {
        if (strcmp(key, "directory") != 0) {
            snprintf(pointer, sizeof pointer, "/%.60s", key);
            return carrick_error_config(error, pointer,
                                        "mailbox does not know '%.60s'; it has directory", key);
        }
        if (!json_object_is_type(value, json_type_string) ||
            json_object_get_string(value)[0] != '/' ||
            (size_t)json_object_get_string_len(value) >= size)
            return carrick_error_config(
                error, "/directory",
                "expected the absolute path of a directory that both nodes reach");
        snprintf(path, size, "%s", json_object_get_string(value));
    }
    return path[0] ? CARRICK_OK
                   : carrick_error_config(
                         error, "",
                         "\"directory\" is missing: the path of a directory that both nodes "
                         "reach");
}

static int arbiter_config_check(const char *config, struct carrick_error *error)
{
    char path[1024];
    struct json_object *section = json_tokener_parse(config);
    int status = read_section(section, path, sizeof path, error);

    json_object_put(section);
    return status;
}

static int arbiter_create(const struct carrick_arbiter_host *host, const char *config,
                          struct carrick_arbiter **out, struct carrick_error *error)
{
    struct carrick_arbiter *arbiter = calloc(1, sizeof *arbiter);
    struct json_object *section = json_tokener_parse(config);
    int status;

    if (arbiter == NULL) {
        json_object_put(section);
        return CARRICK_ERR_NO_MEMORY;
    }
    arbiter->host = host;
    status = read_section(section, arbiter->path, sizeof arbiter->path, error);
    json_object_put(section);
    if (status != CARRICK_OK) {
        free(arbiter);
        return status;
    }
    *out = arbiter;
    return CARRICK_OK;
}

static void arbiter_destroy(struct carrick_arbiter *arbiter)
{
    while (arbiter->jobs != NULL)
        job_free(arbiter->jobs);
    free(arbiter);
}

static const struct carrick_arbiter_ops mailbox_ops = {
    .create = arbiter_create,
    .destroy = arbiter_destroy,
    .read = read_begin,
    .change = change_begin,
    .config_check = arbiter_config_check,
};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_ARBITER, "mailbox", "1.0", "Apache-2.0",
                        "says who serves, by records in a directory that both nodes reach",
                        mailbox_ops);
