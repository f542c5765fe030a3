// SPDX-License-Identifier: Apache-2.0
//
// A client with the required operations and no others: it asks for one VI and does nothing with it.
#include <carrick/client.h>

#include <stdlib.h>

struct carrick_client {
    const struct carrick_client_host *host;
};

static int create(const struct carrick_client_host *host, const char *config,
                  struct carrick_client **client, struct carrick_error *error)
{
    (void)config;
    (void)error;
    *client = calloc(1, sizeof(**client));
    if (!*client)
        return CARRICK_ERR_NO_MEMORY;
    (*client)->host = host;
    return CARRICK_OK;
}

static void destroy(struct carrick_client *client)
{
    free(client);
}

static int describe(struct carrick_client *client, struct carrick_client_info *info)
{
    (void)client;
    info->vis = 1;
    info->version = 1;
    info->region_count = 0;
    return CARRICK_OK;
}

static void ready(struct carrick_client *client, const struct carrick_session_info *session)
{
    (void)client;
    (void)session;
}

static void ending(struct carrick_client *client, uint32_t reason, uint64_t deadline_ns)
{
    (void)client;
    (void)reason;
    (void)deadline_ns;
}

static void ended(struct carrick_client *client, uint32_t reason)
{
    (void)client;
    (void)reason;
}

static void completed(struct carrick_client *client, const struct carrick_completion *completions,
                      uint32_t count)
{
    (void)client;
    (void)completions;
    (void)count;
}

static void received(struct carrick_client *client, struct carrick_vi *vi, const void *data,
                     uint32_t length)
{
    (void)client;
    (void)vi;
    (void)data;
    (void)length;
}

static const struct carrick_client_ops ops = {
    .create = create,
    .destroy = destroy,
    .describe = describe,
    .ready = ready,
    .ending = ending,
    .ended = ended,
    .completed = completed,
    .received = received,
};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_CLIENT, "bare_client", "1.0", "Apache-2.0",
                        "the required operations and no others", ops);
