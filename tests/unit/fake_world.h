// SPDX-License-Identifier: Apache-2.0
//
// Two nodes, a and b, with the real core, joined by the transport of fake_transport.h; their clients do what the test
// says. The client of a node is found by its name: fake_client("a", "echo").
#ifndef FAKE_WORLD_H
#define FAKE_WORLD_H

#include <carrick/client.h>
#include <carrick/policy.h>

#include "core/config.h"
#include "core/lane.h"
#include "core/link.h"
#include "core/manager.h"
#include "core/model.h"
#include "core/names.h"
#include "core/placement.h"
#include "core/region.h"
#include "core/session.h"
#include "core/vi.h"
#include "tests/unit/fake_transport.h"

#define FAKE_CLIENTS 8
#define FAKE_COMPLETIONS 4096
#define FAKE_MESSAGES 1024

struct fake_message {
    uint32_t vi, length;
    uint8_t bytes[64]; // its beginning
};

// One client of one node. What it asks for is set before the nodes start; the rest is what it was told.
struct carrick_client {
    char node[8], name[CARRICK_NAME_MAX + 1];
    bool used;
    uint32_t vis; // 0: one
    uint32_t version;
    const char *terms;
    uint32_t wants;
    struct carrick_region_want want[CARRICK_CLIENT_REGIONS_MAX];
    int describe_status, provide_status, command_status;
    bool backed; // the memory that it provides is that of a descriptor
    int backing_fd;
    uint64_t backing_offset;
    const struct carrick_client_host *host;
    struct carrick_session_info info; // of the last ready
    struct carrick_vi *vi[64];        // of the last ready, and opened since
    unsigned created, described, provided, readies, endings, endeds, destroyed;
    uint32_t ending_reason, ended_reason;
    uint64_t ending_deadline_ns;
    bool asked;            // provide was called, in this bring-up
    bool up;               // between ready and ended
    bool closes_at_ending; // closes its VIs when it is warned
    unsigned late;         // callbacks that came outside of ready … ended
    unsigned completed;
    struct {
        uint64_t cookie;
        int status;
        struct carrick_vi *vi;
    } completion[FAKE_COMPLETIONS];
    unsigned received;
    struct fake_message message[FAKE_MESSAGES];
    unsigned changes;
    struct {
        struct carrick_vi *vi;
        uint32_t number, state;
    } change[256];
    uint64_t token;
    char word[32], json[64];
    // When set, they are called from within the callback of the name.
    void (*on_completed)(struct carrick_client *client,
                         const struct carrick_completion *completion);
    void (*on_received)(struct carrick_client *client, struct carrick_vi *vi);
    void (*on_changed)(struct carrick_client *client, struct carrick_vi *vi, uint32_t state);
    void (*on_ready)(struct carrick_client *client);
};

static struct carrick_client fake_clients[FAKE_CLIENTS * 2];

static inline struct carrick_client *fake_client(const char *node, const char *name)
{
    struct carrick_client *client = NULL;

    for (unsigned i = 0; i < FAKE_CLIENTS * 2 && client == NULL; i++)
        if (!fake_clients[i].used ||
            (strcmp(fake_clients[i].node, node) == 0 && strcmp(fake_clients[i].name, name) == 0))
            client = &fake_clients[i];
    cr_assert(client != NULL);
    client->used = true;
    snprintf(client->node, sizeof(client->node), "%s", node);
    snprintf(client->name, sizeof(client->name), "%s", name);
    return client;
}

static inline void fake_want(struct carrick_client *client, uint64_t bytes, uint32_t access)
{
    client->want[client->wants++] = (struct carrick_region_want){.bytes = bytes, .access = access};
}

#define FAKE_RW (CARRICK_ACCESS_REMOTE_READ | CARRICK_ACCESS_REMOTE_WRITE)

// ---- the plugin

static int client_fake_create(const struct carrick_client_host *host, const char *config,
                              struct carrick_client **out, struct carrick_error *error)
{
    struct carrick_client *client = fake_client(host->base->node, host->base->instance);

    if (strstr(config, "refuse") != NULL) {
        snprintf(error->text, sizeof(error->text), "it was told to refuse");
        return CARRICK_ERR_CONFIG;
    }
    client->host = host;
    client->created++;
    *out = client;
    return CARRICK_OK;
}

static void client_fake_destroy(struct carrick_client *client)
{
    cr_assert(!client->up, "destroyed between ready and ended");
    client->destroyed++;
    client->host = NULL;
}

static int client_fake_describe(struct carrick_client *client, struct carrick_client_info *info)
{
    cr_assert(!client->up, "described between ready and ended");
    client->described++;
    info->vis = client->vis == 0 ? 1 : client->vis;
    info->version = client->version;
    info->region_count = client->wants;
    info->terms = client->terms;
    for (uint32_t i = 0; i < client->wants && i < info->region_max; i++) {
        struct carrick_region_want *want =
            (struct carrick_region_want *)((char *)info->wants + i * info->wants->struct_size);

        want->access = client->want[i].access;
        want->bytes = client->want[i].bytes;
    }
    return client->describe_status;
}

static int client_fake_provide(struct carrick_client *client, uint32_t index,
                               const struct carrick_region_want *want,
                               struct carrick_region_backing *backing)
{
    (void)index;
    (void)want;
    cr_assert_eq(backing->fd, -1);
    client->provided++;
    client->asked = true;
    if (client->backed) {
        backing->fd = client->backing_fd;
        backing->offset = client->backing_offset;
    }
    return client->provide_status;
}

static void client_fake_ready(struct carrick_client *client,
                              const struct carrick_session_info *info)
{
    cr_assert(!client->up, "ready came twice");
    client->up = true;
    client->readies++;
    client->info = *info;
    for (uint32_t i = 0; i < info->vi_count && i < 64; i++)
        client->vi[i] = info->vis[i];
    if (client->on_ready != NULL)
        client->on_ready(client);
}

static void client_fake_ending(struct carrick_client *client, uint32_t reason, uint64_t deadline_ns)
{
    client->late += !client->up;
    client->endings++;
    client->ending_reason = reason;
    client->ending_deadline_ns = deadline_ns;
    for (uint32_t i = 0; client->closes_at_ending && i < client->info.vi_count; i++)
        if (client->vi[i] != NULL)
            cr_expect_eq(client->host->vi_close(client->vi[i]), CARRICK_OK);
}

static void client_fake_ended(struct carrick_client *client, uint32_t reason)
{
    // A bring-up that fails after provide ends, too, without having been ready.
    cr_assert(client->up || client->asked, "ended without ready");
    client->endeds += client->up;
    client->up = client->asked = false;
    client->ended_reason = reason;
    memset(client->vi, 0, sizeof(client->vi));
}

static void client_fake_completed(struct carrick_client *client,
                                  const struct carrick_completion *completions, uint32_t count)
{
    client->late += !client->up;
    for (uint32_t i = 0; i < count; i++) {
        const struct carrick_completion *from = carrick_completion_at(completions, i);
        unsigned at = client->completed++ % FAKE_COMPLETIONS;

        client->completion[at].cookie = from->cookie;
        client->completion[at].status = from->status;
        client->completion[at].vi = from->vi;
        if (client->on_completed != NULL)
            client->on_completed(client, from);
    }
}

static void client_fake_received(struct carrick_client *client, struct carrick_vi *vi,
                                 const void *data, uint32_t length)
{
    struct fake_message *message = &client->message[client->received++ % FAKE_MESSAGES];

    client->late += !client->up;
    message->vi = client->host->vi_number(vi);
    message->length = length;
    memset(message->bytes, 0, sizeof(message->bytes));
    memcpy(message->bytes, data, length < sizeof(message->bytes) ? length : sizeof(message->bytes));
    if (client->on_received != NULL)
        client->on_received(client, vi);
}

static void client_fake_changed(struct carrick_client *client, struct carrick_vi *vi,
                                uint32_t state)
{
    unsigned at = client->changes++ % 256;
    uint32_t number = client->host->vi_number(vi);

    client->late += !client->up;
    client->change[at].vi = vi;
    client->change[at].number = number;
    client->change[at].state = state;
    if (state == CARRICK_VI_CLOSED && number < 64)
        client->vi[number] = NULL;
    if (client->on_changed != NULL)
        client->on_changed(client, vi, state);
}

static int client_fake_command(struct carrick_client *client, const char *word, const char *json,
                               uint64_t token)
{
    client->token = token;
    snprintf(client->word, sizeof(client->word), "%s", word);
    snprintf(client->json, sizeof(client->json), "%s", json);
    if (strcmp(word, "at-once") == 0)
        client->host->command_reply(client->host, token, CARRICK_OK, "{\"said\":\"at once\"}");
    return client->command_status;
}

static const struct carrick_client_ops client_fake_ops = {
    .create = client_fake_create,
    .destroy = client_fake_destroy,
    .describe = client_fake_describe,
    .provide = client_fake_provide,
    .ready = client_fake_ready,
    .ending = client_fake_ending,
    .ended = client_fake_ended,
    .completed = client_fake_completed,
    .received = client_fake_received,
    .vi_changed = client_fake_changed,
    .command = client_fake_command,
};

static const struct carrick_plugin client_fake_plugin = {
    .struct_size = sizeof(client_fake_plugin),
    .abi_major = CARRICK_ABI_MAJOR,
    .abi_minor = CARRICK_ABI_MINOR,
    .kind = CARRICK_KIND_CLIENT,
    .ops_size = sizeof(client_fake_ops),
    .name = "fake_client",
    .version = "1",
    .licence = "Apache-2.0",
    .description = "does what a test says",
    .ops = &client_fake_ops,
};

static inline const struct carrick_plugin *client_fake_entry(void)
{
    return &client_fake_plugin;
}

#include "tests/unit/fake_nodes.h"

#endif
