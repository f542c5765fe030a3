// SPDX-License-Identifier: Apache-2.0
//
// A client that does what a client must never do: its command "block" holds up the manager's thread until a file of
// the name that its configuration gives in "until" is there. What the daemon does about that is tested with it.
#include <carrick/client.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct carrick_client {
    const struct carrick_client_host *host;
    char until[512];
};

// {"until":"PATH"}, and nothing else: this is no JSON reader.
static int create(const struct carrick_client_host *host, const char *config,
                  struct carrick_client **made, struct carrick_error *error)
{
    struct carrick_client *client = calloc(1, sizeof(*client));
    const char *path = strstr(config, "\"until\":\"");
    if (!client)
        return CARRICK_ERR_NO_MEMORY;
    if (!path || sscanf(path, "\"until\":\"%511[^\"]", client->until) != 1) {
        free(client);
        snprintf(error->text, sizeof(error->text), "the path in \"until\" is missing");
        return CARRICK_ERR_CONFIG;
    }
    client->host = host;
    *made = client;
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

static int command(struct carrick_client *client, const char *word, const char *json,
                   uint64_t token)
{
    (void)json;
    if (strcmp(word, "block") != 0)
        return CARRICK_ERR_NOT_SUPPORTED;
    const struct timespec pause = {0, 1000000};
    while (access(client->until, F_OK) != 0)
        nanosleep(&pause, NULL);
    client->host->command_reply(client->host, token, CARRICK_OK, "{}");
    return CARRICK_OK;
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
    .command = command,
};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_CLIENT, "stuck_client", "1.0", "Apache-2.0",
                        "blocks the manager's thread when told to", ops);
