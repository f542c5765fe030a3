// SPDX-License-Identifier: Apache-2.0
//
// The arbiter plugin `etcd`: operations run on workers, with libcurl's plain blocking calls, and each is answered in
// time whatever its worker does. Few workers are used, so that an etcd that hangs does not keep those that others need.
#include "etcd.h"

#include <openssl/crypto.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOBS_MAX 64u   // waiting and running
#define RUNNING_MAX 2u // on workers
#define PROBE_TIMEOUT_MS 5000u

struct job {
    struct job *next;
    struct carrick_arbiter *arbiter;
    struct carrick_timer *timer;
    uint64_t cookie;
    bool begun, answered;
    struct etcd_ask ask; // the worker's own while it runs
};

struct carrick_arbiter {
    const struct carrick_arbiter_host *host;
    struct carrick_timer *probe;
    struct etcd_settings settings; // not changed once it is made: workers read it
    struct job *jobs;              // in order of asking
    unsigned count, running, preferred;
    char token[ETCD_TOKEN_BYTES];
    bool failed;                 // the last answer was none
    char said[ETCD_CAUSE_BYTES]; // the last cause that was logged
};

static void begin_next(struct carrick_arbiter *arbiter);

// ---- what is told to people

static void say(struct carrick_arbiter *arbiter, bool failed, const char *cause)
{
    const struct carrick_host *base = arbiter->host->base;

    if (arbiter->failed == failed && strcmp(arbiter->said, cause) == 0)
        return;
    if (failed)
        base->log(base, CARRICK_LOG_ERROR, "etcd cannot be had: %s", cause);
    else if (cause[0] != '\0')
        base->log(base, CARRICK_LOG_WARNING, "etcd answers, but not everywhere: %s", cause);
    else if (arbiter->failed)
        base->log(base, CARRICK_LOG_NOTICE, "etcd answers again");
    arbiter->failed = failed;
    snprintf(arbiter->said, sizeof arbiter->said, "%s", cause);
}

// ---- answers

static void job_free(struct job *job)
{
    struct carrick_arbiter *arbiter = job->arbiter;
    struct job **at = &arbiter->jobs;

    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    arbiter->count--;
    arbiter->host->base->timer_destroy(job->timer);
    explicit_bzero(job->ask.token, sizeof job->ask.token);
    free(job);
}

static void job_answer(struct job *job, int status, const struct carrick_arbiter_record *record)
{
    const struct carrick_arbiter_host *host = job->arbiter->host;

    job->answered = true;
    host->base->timer_stop(job->timer);
    if (job->ask.kind != ETCD_PROBE)
        host->answered(host, job->cookie, status, record);
}

static void job_late(void *arg)
{
    struct job *job = arg;
    int open = ETCD_GATE_OPEN;

    if (!job->begun) {
        say(job->arbiter, true, "the operations before this one still wait for an answer");
        job_answer(job, CARRICK_ERR_TIMEOUT, NULL);
        job_free(job);
        return;
    }
    // What has not been sent will not be. What has may still come to stand.
    bool never = atomic_compare_exchange_strong(&job->ask.gate, &open, ETCD_GATE_SHUT);
    job_answer(job, never ? CARRICK_ERR_TIMEOUT : CARRICK_ERR_UNKNOWN, NULL);
}

// ---- workers

static void job_work(void *arg)
{
    struct job *job = arg;

    etcd_ask(&job->ask);
    // What libcurl's TLS keeps for this thread, it would give back only at the thread's end, which comes behind its own.
    OPENSSL_thread_stop();
}

static void job_done(void *arg)
{
    struct job *job = arg;
    struct carrick_arbiter *arbiter = job->arbiter;
    const struct etcd_ask *ask = &job->ask;
    bool failed = ask->status != CARRICK_OK && ask->status != CARRICK_ERR_CONFLICT;

    arbiter->running--;
    arbiter->preferred = ask->preferred;
    memcpy(arbiter->token, ask->token, sizeof arbiter->token);
    say(arbiter, failed, failed && ask->cause[0] == '\0' ? "no memory" : ask->cause);
    if (!job->answered)
        job_answer(job, ask->status, ask->has_record ? &ask->record : NULL);
    job_free(job);
    begin_next(arbiter);
}

static void begin_next(struct carrick_arbiter *arbiter)
{
    const struct carrick_host *base = arbiter->host->base;

    for (struct job *job = arbiter->jobs; job != NULL && arbiter->running < RUNNING_MAX;
         job = job->next) {
        if (job->begun)
            continue;
        job->ask.preferred = arbiter->preferred;
        memcpy(job->ask.token, arbiter->token, sizeof job->ask.token);
        if (base->work(base, job_work, job_done, job) != CARRICK_OK)
            return; // its own deadline answers it
        job->begun = true;
        arbiter->running++;
    }
}

// ---- operations

static bool is_name(const char *group)
{
    return group[0] != '\0' && strlen(group) <= CARRICK_NAME_MAX && strchr(group, '/') == NULL;
}

static int job_begin(struct carrick_arbiter *arbiter, enum etcd_kind kind, const char *group,
                     uint64_t expected, const struct carrick_arbiter_record *wanted,
                     uint32_t timeout_ms, uint64_t cookie)
{
    const struct carrick_host *base = arbiter->host->base;
    struct job *job, **at = &arbiter->jobs;

    if (arbiter->count >= JOBS_MAX)
        return CARRICK_ERR_AGAIN;
    job = calloc(1, sizeof *job);
    if (job == NULL)
        return CARRICK_ERR_NO_MEMORY;
    job->arbiter = arbiter;
    job->cookie = cookie;
    job->ask.settings = &arbiter->settings;
    job->ask.base = base;
    job->ask.kind = kind;
    job->ask.expected = expected;
    job->ask.deadline_ns = base->now_ns(base) + (uint64_t)timeout_ms * 1000000u;
    if (wanted != NULL)
        memcpy(&job->ask.wanted, wanted,
               wanted->struct_size < sizeof job->ask.wanted ? wanted->struct_size
                                                            : sizeof job->ask.wanted);
    snprintf(job->ask.group, sizeof job->ask.group, "%s", group);
    base->random(base, &job->ask.nonce, sizeof job->ask.nonce);
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
    return is_name(group) ? job_begin(arbiter, ETCD_READ, group, 0, NULL, timeout_ms, cookie)
                          : CARRICK_ERR_INVALID;
}

static int change_begin(struct carrick_arbiter *arbiter, const char *group,
                        uint64_t expected_number, const struct carrick_arbiter_record *wanted,
                        uint32_t timeout_ms, uint64_t cookie)
{
    if (wanted == NULL || !is_name(group) || expected_number == UINT64_MAX)
        return CARRICK_ERR_INVALID;
    return job_begin(arbiter, ETCD_CHANGE, group, expected_number, wanted, timeout_ms, cookie);
}

// An etcd that has gone is noticed before it is needed, and the token does not run out.
static void probe_due(void *arg)
{
    struct carrick_arbiter *arbiter = arg;

    if (arbiter->count == 0)
        job_begin(arbiter, ETCD_PROBE, "", 0, NULL, PROBE_TIMEOUT_MS, 0);
    arbiter->host->base->timer_start(arbiter->probe,
                                     (uint64_t)arbiter->settings.probe_s * 1000000000u);
}

// ---- life

static int arbiter_config_check(const char *config, struct carrick_error *error)
{
    struct etcd_settings settings;

    return etcd_settings_read(config, &settings, error);
}

static void warn_of_plain_password(struct carrick_arbiter *arbiter)
{
    const struct carrick_host *base = arbiter->host->base;
    const struct etcd_settings *settings = &arbiter->settings;

    for (unsigned i = 0; settings->user[0] != '\0' && i < settings->endpoint_count; i++)
        if (strncmp(settings->endpoints[i], "http:", 5) == 0)
            base->log(base, CARRICK_LOG_WARNING,
                      "the password for etcd goes to %s in the clear; use https",
                      settings->endpoints[i]);
}

static int arbiter_create(const struct carrick_arbiter_host *host, const char *config,
                          struct carrick_arbiter **out, struct carrick_error *error)
{
    const struct carrick_host *base = host->base;
    struct carrick_arbiter *arbiter = calloc(1, sizeof *arbiter);
    int status;

    if (arbiter == NULL)
        return CARRICK_ERR_NO_MEMORY;
    arbiter->host = host;
    status = etcd_settings_read(config, &arbiter->settings, error);
    if (status == CARRICK_OK)
        status = etcd_files_check(&arbiter->settings, error);
    if (status == CARRICK_OK)
        status = base->timer_create(base, probe_due, arbiter, &arbiter->probe);
    if (status != CARRICK_OK) {
        free(arbiter);
        return status;
    }
    warn_of_plain_password(arbiter);
    base->timer_start(arbiter->probe, 0);
    *out = arbiter;
    return CARRICK_OK;
}

static void arbiter_destroy(struct carrick_arbiter *arbiter)
{
    arbiter->host->base->timer_destroy(arbiter->probe);
    while (arbiter->jobs != NULL)
        job_free(arbiter->jobs);
    explicit_bzero(arbiter->token, sizeof arbiter->token);
    free(arbiter);
}

static const struct carrick_arbiter_ops etcd_ops = {
    .create = arbiter_create,
    .destroy = arbiter_destroy,
    .read = read_begin,
    .change = change_begin,
    .config_check = arbiter_config_check,
};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_ARBITER, "etcd", "1.0", "Apache-2.0",
                        "says who serves, by records in an etcd cluster", etcd_ops);
