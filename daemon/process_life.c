// SPDX-License-Identifier: Apache-2.0
//
// The stand-in as its process comes and goes: rings, VIs and answers are those of one process, and end with it; memory
// that lies over a file stays for the next.
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <carrick/arbitration.h>

#include "daemon/process_internal.h"

void process_client_vis_close(struct carrick_client *client)
{
    for (uint32_t i = 0; i < CARRICK_CLIENT_VIS_MAX; i++)
        if (client->vis[i].vi != NULL)
            client->host->vi_close(client->vis[i].vi);
}

void process_client_provided_forget(struct carrick_client *client)
{
    for (uint32_t i = 0; i < CARRICK_CLIENT_REGIONS_MAX; i++) {
        if (client->provided[i].asked == ASKED_ANSWERED && client->provided[i].fd >= 0)
            close(client->provided[i].fd);
        client->provided[i] = (struct provided){.fd = -1};
    }
}

static bool shared_make(struct carrick_client *client)
{
    client->shared_fd = channel_memory_make("carrick-client", sizeof(*client->shared));
    if (client->shared_fd >= 0)
        client->shared = channel_memory_map(client->shared_fd, sizeof(*client->shared));
    if (client->shared != NULL)
        channel_rings(client->shared, &client->ops, &client->events);
    return client->shared != NULL;
}

void process_client_begins(struct carrick_client *client)
{
    struct carrick_arbitration *arbitration;
    const struct carrick_arbitration_ops *arbiter;
    const char *arbiter_name = "";
    struct channel_message message = {
        .type = CHANNEL_CREATE, .client = client->index, .fd_count = 1};
    const void *table;
    void *object;
    char *body = NULL;
    int length;

    if (client->host->service_find(client->host, CARRICK_ARBITER_SERVICE, &table, &object) ==
        CARRICK_OK) {
        arbiter = table;
        arbitration = object;
        arbiter_name = arbiter->name(arbitration);
    }
    length = asprintf(&body, "%s%c%s%c%s%c%s%c%s", client->name, 0, client->plugin, 0,
                      client->directory, 0, arbiter_name, 0, client->config);
    if (length < 0 || !shared_make(client)) {
        if (length >= 0)
            free(body);
        process_fail(client->process, "could not be given memory for its rings");
        return;
    }
    message.body = body;
    message.length = (uint64_t)length;
    message.fds[0] = client->shared_fd;
    process_send(client->process, &message);
    free(body);
}

void process_client_reply(struct carrick_client *client, uint64_t token, int status,
                          const char *json)
{
    for (uint32_t i = 0; i < client->token_count; i++)
        if (client->tokens[i] == token) {
            client->tokens[i] = client->tokens[--client->token_count];
            client->host->command_reply(client->host, token, status, json);
            return;
        }
}

void process_client_gone(struct carrick_client *client)
{
    while (client->token_count > 0)
        process_client_reply(client, client->tokens[0], CARRICK_ERR_CANCELLED,
                             "\"the client's process has ended\"");
    if (client->ready)
        process_client_vis_close(client);
    client->left_out |= client->ready;
    process_events_drop(client);
}

// What nobody can find any more goes, when the core has done with it; what lies over a file stays for who follows.
static void regions_sweep(struct carrick_client *client)
{
    for (uint32_t i = 0; i < CHANNEL_REGIONS_MAX; i++) {
        struct region_slot *slot = &client->regions[i];

        if (slot->region != NULL && !slot->used && slot->path == NULL &&
            client->host->region_destroy(slot->region) == CARRICK_OK)
            slot->region = NULL;
    }
}

void process_client_ended(struct carrick_client *client)
{
    if (client->shared != NULL)
        munmap(client->shared, sizeof(*client->shared));
    client->shared = NULL;
    if (client->shared_fd >= 0)
        close(client->shared_fd);
    client->shared_fd = -1;
    client->created = false;
    client->described = ASKED_NOT;
    client->gathered.count = 0;
    process_client_provided_forget(client);
    for (uint32_t i = 0; i < CHANNEL_REGIONS_MAX; i++)
        client->regions[i].used = false;
    regions_sweep(client);
}

void process_client_tick(struct carrick_client *client)
{
    if (client->process->state == PROCESS_ABSENT)
        regions_sweep(client);
    // A session that came up, or stood, without it.
    if (client->process->state == PROCESS_RUNNING && client->left_out &&
        process_still_ns(client->process) == 0 &&
        client->host->session_reset(client->host, "its process runs again") == CARRICK_OK)
        client->left_out = false;
}
