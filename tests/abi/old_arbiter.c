// SPDX-License-Identifier: Apache-2.0
//
// An arbiter as of version 1.0; see old_client.c. It holds nothing and answers that it cannot be reached.
#include <carrick/arbiter.h>

#include <stdlib.h>

struct carrick_arbiter {
    const struct carrick_arbiter_host *host;
    struct carrick_timer *timer;
    uint64_t cookie;
};

static void answer(void *arg)
{
    struct carrick_arbiter *arbiter = arg;
    arbiter->host->answered(arbiter->host, arbiter->cookie, CARRICK_ERR_UNREACHABLE, NULL);
}

static int create(const struct carrick_arbiter_host *host, const char *config,
                  struct carrick_arbiter **made, struct carrick_error *error)
{
    (void)config;
    (void)error;
    struct carrick_arbiter *arbiter = calloc(1, sizeof(*arbiter));
    if (!arbiter)
        return CARRICK_ERR_NO_MEMORY;
    arbiter->host = host;
    *made = arbiter;
    return host->base->timer_create(host->base, answer, arbiter, &arbiter->timer);
}

static void destroy(struct carrick_arbiter *arbiter)
{
    arbiter->host->base->timer_destroy(arbiter->timer);
    free(arbiter);
}

static int answer_later(struct carrick_arbiter *arbiter, uint64_t cookie)
{
    arbiter->cookie = cookie;
    arbiter->host->base->timer_start(arbiter->timer, 0);
    return CARRICK_OK;
}

static int read_record(struct carrick_arbiter *arbiter, const char *group, uint32_t timeout_ms,
                       uint64_t cookie)
{
    (void)group;
    (void)timeout_ms;
    return answer_later(arbiter, cookie);
}

static int change(struct carrick_arbiter *arbiter, const char *group, uint64_t expected_number,
                  const struct carrick_arbiter_record *wanted, uint32_t timeout_ms, uint64_t cookie)
{
    (void)group;
    (void)expected_number;
    (void)wanted;
    (void)timeout_ms;
    return answer_later(arbiter, cookie);
}

static const struct carrick_arbiter_ops ops = {create, destroy, read_record, change};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_ARBITER, "old_arbiter", "1.0", "Apache-2.0",
                        "an arbiter as of version 1.0", ops);
