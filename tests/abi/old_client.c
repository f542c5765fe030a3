// SPDX-License-Identifier: Apache-2.0
//
// A client as it could have been written for version 1.0. tests/abi/run.py builds it with the headers as they were
// then, and it must load and work in every later 1.x: so this file changes no more than those headers do.
//
// Each round writes a pattern to the partner, flushes, reads it back, compares, and sends the number of the round.
#include <carrick/client.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HALF = 4096, OPERATIONS = 4 };

struct carrick_client {
    const struct carrick_client_host *host;
    struct carrick_timer *timer;
    struct carrick_region *region; // the first half is written, the second read into
    struct carrick_vi *vi;
    uint32_t outstanding;
    bool failed;
    uint64_t round;
    uint64_t rounds, wrong, received, sessions, worked;
};

static void describe_state(struct carrick_client *client, char *text, size_t size)
{
    struct carrick_partner_status status = {.struct_size = sizeof(status)};
    client->host->partner_status(client->host, &status);
    snprintf(text, size,
             "{\"rounds\":%llu,\"wrong\":%llu,\"received\":%llu,\"sessions\":%llu,\"worked\":%llu,"
             "\"links\":%u}",
             (unsigned long long)client->rounds, (unsigned long long)client->wrong,
             (unsigned long long)client->received, (unsigned long long)client->sessions,
             (unsigned long long)client->worked, status.links);
}

static void begin_round(void *arg)
{
    struct carrick_client *client = arg;
    const struct carrick_client_host *host = client->host;
    uint8_t *memory = host->region_ptr(client->region);
    if (!client->vi || host->vi_room(client->vi) < OPERATIONS)
        return;
    client->round++;
    host->base->random(host->base, memory, HALF);
    memset(memory + HALF, 0, HALF);
    const struct carrick_op ops[OPERATIONS] = {
        {.struct_size = sizeof(ops[0]),
         .operation = CARRICK_CLIENT_WRITE,
         .region = client->region,
         .length = HALF},
        {.struct_size = sizeof(ops[0]), .operation = CARRICK_CLIENT_FLUSH},
        {.struct_size = sizeof(ops[0]),
         .operation = CARRICK_CLIENT_READ,
         .cookie = client->round,
         .region = client->region,
         .offset = HALF,
         .length = HALF},
        {.struct_size = sizeof(ops[0]),
         .operation = CARRICK_CLIENT_SEND,
         .data = &client->round,
         .length = sizeof(client->round)},
    };
    client->failed = false;
    if (host->post(client->vi, ops, OPERATIONS) == CARRICK_OK)
        client->outstanding = OPERATIONS;
}

static void completed(struct carrick_client *client, const struct carrick_completion *completions,
                      uint32_t count)
{
    const struct carrick_client_host *host = client->host;
    const uint8_t *memory = host->region_ptr(client->region);
    for (uint32_t i = 0; i < count; i++) {
        const struct carrick_completion *one = carrick_completion_at(completions, i);
        client->outstanding--;
        if (one->status != CARRICK_OK)
            client->failed = true;
        else if (one->cookie == client->round && memcmp(memory, memory + HALF, HALF) != 0)
            client->wrong++;
    }
    if (client->outstanding == 0 && !client->failed) {
        client->rounds++;
        host->base->timer_start(client->timer, 1000000);
    }
}

static void received(struct carrick_client *client, struct carrick_vi *vi, const void *data,
                     uint32_t length)
{
    (void)vi;
    uint64_t round;
    if (length != sizeof(round)) {
        client->wrong++;
        return;
    }
    memcpy(&round, data, sizeof(round));
    if (round == 0)
        client->wrong++;
    client->received++;
}

static void ready(struct carrick_client *client, const struct carrick_session_info *session)
{
    client->sessions++;
    if (session->vi_count < 1 || session->there_count != 1 || session->there_bytes[0] < HALF)
        client->wrong++;
    else
        client->vi = session->vis[0];
    begin_round(client);
}

static void ending(struct carrick_client *client, uint32_t reason, uint64_t deadline_ns)
{
    (void)reason;
    (void)deadline_ns;
    client->host->base->timer_stop(client->timer);
    if (client->vi)
        client->host->vi_close(client->vi);
    client->vi = NULL;
}

static void ended(struct carrick_client *client, uint32_t reason)
{
    (void)reason;
    client->host->base->timer_stop(client->timer);
    client->vi = NULL;
}

// The partner may close it first: the handle is gone then.
static void vi_changed(struct carrick_client *client, struct carrick_vi *vi, uint32_t state)
{
    if (state == CARRICK_VI_CLOSED && vi == client->vi)
        client->vi = NULL;
}

static int describe(struct carrick_client *client, struct carrick_client_info *info)
{
    (void)client;
    info->vis = 1;
    info->version = 1;
    info->region_count = 1;
    info->wants[0].access = CARRICK_ACCESS_REMOTE_READ | CARRICK_ACCESS_REMOTE_WRITE;
    info->wants[0].bytes = HALF;
    return CARRICK_OK;
}

static void work(void *arg)
{
    (void)arg;
}

static void work_done(void *arg)
{
    ((struct carrick_client *)arg)->worked++;
}

static int create(const struct carrick_client_host *host, const char *config,
                  struct carrick_client **made, struct carrick_error *error)
{
    (void)config;
    struct carrick_client *client = calloc(1, sizeof(*client));
    int status = client ? CARRICK_OK : CARRICK_ERR_NO_MEMORY;
    if (!status) {
        client->host = host;
        status = host->region_create(host, 2 * HALF, &client->region);
    }
    if (!status)
        status = host->base->timer_create(host->base, begin_round, client, &client->timer);
    if (!status)
        status = host->base->work(host->base, work, work_done, client);
    if (status) {
        snprintf(error->text, sizeof(error->text), "no memory");
        free(client);
        return status;
    }
    host->base->log(host->base, CARRICK_LOG_INFO, "built for ABI %d.%d, runs in %u.%u",
                    CARRICK_ABI_MAJOR, CARRICK_ABI_MINOR, host->base->abi_major,
                    host->base->abi_minor);
    *made = client;
    return CARRICK_OK;
}

static void destroy(struct carrick_client *client)
{
    client->host->base->timer_destroy(client->timer);
    client->host->region_destroy(client->region);
    free(client);
}

static int config_check(const char *config, struct carrick_error *error)
{
    if (!strstr(config, "refuse"))
        return CARRICK_OK;
    snprintf(error->pointer, sizeof(error->pointer), "/refuse");
    snprintf(error->text, sizeof(error->text), "refused as asked");
    return CARRICK_ERR_CONFIG;
}

static int command(struct carrick_client *client, const char *word, const char *json,
                   uint64_t token)
{
    (void)json;
    char text[256];
    if (strcmp(word, "stats") != 0)
        return CARRICK_ERR_NOT_SUPPORTED;
    describe_state(client, text, sizeof(text));
    client->host->command_reply(client->host, token, CARRICK_OK, text);
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
    .config_check = config_check,
    .vi_changed = vi_changed,
    .describe_state = describe_state,
    .command = command,
};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_CLIENT, "old_client", "1.0", "Apache-2.0",
                        "a client as of version 1.0", ops);
