// SPDX-License-Identifier: Apache-2.0
//
// The stand-in. What the core tells goes into the ring of events; what the core asks is asked of the process, and
// answered with CARRICK_ERR_AGAIN until its answer is there: bring-up asks again. Without a process the client is left
// out of the session, and with the next process the session is brought up anew.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/process_internal.h"

#define DESCRIBED_FRESH_NS (100 * ENV_MS) // bring-up asks again every millisecond or two

static struct vi_slot *vi_slot(struct carrick_client *client, struct carrick_vi *vi)
{
    return &client->vis[client->host->vi_number(vi)];
}

// ---- what the core asks

static int describe(struct carrick_client *client, struct carrick_client_info *info)
{
    uint64_t now_ns = env_now_ns(client->env);

    if (client->process->state != PROCESS_RUNNING) {
        client->left_out = true;
        return CARRICK_ERR_STATE;
    }
    if (client->described == ASKED_ANSWERED && now_ns - client->described_ns > DESCRIBED_FRESH_NS)
        client->described = ASKED_NOT; // of an attempt that came to nothing
    if (client->described == ASKED_NOT) {
        process_client_provided_forget(client);
        client->gives_memory = false;
        client->described = ASKED_WAITS;
        process_event_put(client, CHANNEL_EVENT_DESCRIBE, NULL, 0, NULL, 0);
    }
    // The others do not wait for one that stands still; nor does it come back before it moves.
    if (client->described == ASKED_WAITS && process_still_ns(client->process) > 0) {
        client->left_out = true;
        return CARRICK_ERR_STATE;
    }
    if (client->described == ASKED_WAITS)
        return CARRICK_ERR_AGAIN;
    client->described = ASKED_NOT;
    if (client->describe_status != CARRICK_OK)
        return client->describe_status;
    info->vis = client->vis_wanted;
    info->version = client->version;
    info->region_count = client->want_count;
    info->terms = client->terms;
    for (uint32_t i = 0; i < client->want_count && i < info->region_max; i++) {
        info->wants[i].access = client->wants[i].access;
        info->wants[i].bytes = client->wants[i].bytes;
    }
    client->left_out = false;
    return CARRICK_OK;
}

static int provide(struct carrick_client *client, uint32_t index,
                   const struct carrick_region_want *want, struct carrick_region_backing *backing)
{
    struct provided *provided = &client->provided[index];
    struct channel_provide question = {
        .index = index, .access = want->access, .bytes = want->bytes};

    if (client->process->state != PROCESS_RUNNING)
        return CARRICK_ERR_STATE;
    if (provided->asked == ASKED_NOT) {
        *provided = (struct provided){
            .asked = ASKED_WAITS, .access = want->access, .bytes = want->bytes, .fd = -1};
        process_event_put(client, CHANNEL_EVENT_PROVIDE, &question, sizeof(question), NULL, 0);
    }
    if (provided->asked == ASKED_WAITS)
        return CARRICK_ERR_AGAIN;
    if (provided->access != want->access || provided->bytes != want->bytes)
        return CARRICK_ERR_INVALID;
    if (provided->status != CARRICK_OK)
        return provided->status;
    if (provided->region != CHANNEL_NO_REGION) {
        struct carrick_region *region = process_region(client, provided->region);

        if (region == NULL)
            return CARRICK_ERR_NOT_FOUND;
        backing->fd = client->host->region_fd(region);
    } else {
        backing->fd = provided->fd;
    }
    client->gives_memory |= backing->fd >= 0;
    backing->offset = provided->offset;
    return CARRICK_OK;
}

// ---- what the core tells

static void here_tell(struct carrick_client *client)
{
    for (uint32_t i = 0; i < client->here_count; i++) {
        struct channel_message message = {
            .type = CHANNEL_HERE,
            .client = client->index,
            .a = i,
            .b = client->host->region_bytes(client->here[i]),
            .fds = {client->host->region_fd(client->here[i])},
            .fd_count = 1,
        };

        if (client->provided[i].asked == ASKED_ANSWERED)
            message.c = client->provided[i].offset;
        process_send(client->process, &message);
    }
}

static void ready(struct carrick_client *client, const struct carrick_session_info *session)
{
    struct channel_ready event = {
        .session = session->session,
        .incarnation = session->incarnation,
        .partner_incarnation = session->partner_incarnation,
        .partner_version = session->partner_version,
        .generation = ++client->generation,
        .vi_count = session->vi_count,
        .here_count = session->here_count,
    };

    client->ready = true;
    client->gave_memory = client->gives_memory;
    client->here = session->here;
    client->here_count = session->here_count;
    for (uint32_t i = 0; i < session->vi_count; i++)
        client->vis[i] = (struct vi_slot){session->vis[i], client->generation};
    if (client->process->state != PROCESS_RUNNING) {
        // It ended after it had answered. One that is being made must not look at what the partner can write.
        if (client->gave_memory)
            process_fail(client->process, "was started while the partner could write its memory");
        process_client_gone(client);
        return;
    }
    here_tell(client);
    process_event_put(client, CHANNEL_EVENT_READY, &event, sizeof(event), NULL, 0);
}

static void ending(struct carrick_client *client, uint32_t reason, uint64_t deadline_ns)
{
    struct channel_ending event = {.deadline_ns = deadline_ns, .reason = reason};

    process_event_put(client, CHANNEL_EVENT_ENDING, &event, sizeof(event), NULL, 0);
    // The others' next session does not wait for it until the deadline.
    if (process_still_ns(client->process) > 0)
        process_client_vis_close(client);
}

static void ended(struct carrick_client *client, uint32_t reason)
{
    struct channel_ending event = {.reason = reason};

    process_event_put(client, CHANNEL_EVENT_ENDED, &event, sizeof(event), NULL, 0);
    client->ready = client->gave_memory = client->gives_memory = false;
    client->here = NULL;
    client->here_count = 0;
    memset(client->vis, 0, CARRICK_CLIENT_VIS_MAX * sizeof(*client->vis));
}

static void gathered_tell(struct carrick_client *client)
{
    if (client->gathered.count > 0)
        process_event_put(client, CHANNEL_EVENT_COMPLETED, &client->gathered,
                          sizeof(client->gathered), NULL, 0);
    client->gathered.count = 0;
}

static void completed(struct carrick_client *client, const struct carrick_completion *completions,
                      uint32_t count)
{
    struct channel_completed *run = &client->gathered;

    for (uint32_t i = 0; i < count; i++) {
        const struct carrick_completion *completion = carrick_completion_at(completions, i);
        uint32_t number = client->host->vi_number(completion->vi);

        if (run->count > 0 && (run->vi != number || run->status != completion->status ||
                               run->generation != client->vis[number].generation))
            gathered_tell(client);
        if (run->count == 0)
            *run = (struct channel_completed){.vi = number,
                                              .generation = client->vis[number].generation,
                                              .status = completion->status};
        run->count++;
    }
    gathered_tell(client);
}

static void received(struct carrick_client *client, struct carrick_vi *vi, const void *data,
                     uint32_t length)
{
    struct channel_vi event = {.vi = client->host->vi_number(vi),
                               .generation = vi_slot(client, vi)->generation};

    process_event_put(client, CHANNEL_EVENT_RECEIVED, &event, sizeof(event), data, length);
}

static void vi_changed(struct carrick_client *client, struct carrick_vi *vi, uint32_t state)
{
    struct vi_slot *slot = vi_slot(client, vi);
    struct channel_vi event = {
        .vi = client->host->vi_number(vi), .generation = slot->generation, .state = state};

    if (state == CARRICK_VI_CLOSED)
        slot->vi = NULL;
    process_event_put(client, CHANNEL_EVENT_VI_CHANGED, &event, sizeof(event), NULL, 0);
}

// Written by the process as often as its beat. What is not whole, or no text, is shown as nothing.
static void describe_state(struct carrick_client *client, char *text, size_t size)
{
    snprintf(text, size, "{}");
    for (unsigned i = 0; i < 3 && client->shared != NULL; i++) {
        uint32_t turn = __atomic_load_n(&client->shared->state_turn, __ATOMIC_ACQUIRE);
        size_t room = size < CHANNEL_STATE_BYTES ? size : CHANNEL_STATE_BYTES;

        if (turn % 2 != 0 || turn == 0)
            continue;
        memcpy(text, client->shared->state, room);
        text[room - 1] = '\0';
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (__atomic_load_n(&client->shared->state_turn, __ATOMIC_RELAXED) == turn)
            return;
        snprintf(text, size, "{}");
    }
}

static int command(struct carrick_client *client, const char *word, const char *json,
                   uint64_t token)
{
    struct channel_message message = {.type = CHANNEL_COMMAND, .client = client->index, .a = token};
    char *body;
    int length;

    if (client->process->state != PROCESS_RUNNING) {
        client->host->command_reply(client->host, token, CARRICK_ERR_STATE,
                                    "\"the client's process does not run; see carrick clients\"");
        return CARRICK_OK;
    }
    if (client->token_count == PROCESS_COMMANDS_MAX)
        return CARRICK_ERR_LIMIT;
    length = asprintf(&body, "%s%c%s", word, 0, json);
    if (length < 0)
        return CARRICK_ERR_NO_MEMORY;
    client->tokens[client->token_count++] = token;
    message.body = body;
    message.length = (uint64_t)length;
    process_send(client->process, &message);
    free(body);
    return CARRICK_OK;
}

// The plugin's own check of the section has been made; what it says now, its process logs.
static int config_change(struct carrick_client *client, const char *config,
                         struct carrick_error *error)
{
    char *copy = strdup(config);

    (void)error;
    if (copy == NULL)
        return CARRICK_ERR_NO_MEMORY;
    free(client->config);
    client->config = copy;
    process_send(client->process, &(struct channel_message){.type = CHANNEL_CONFIG,
                                                            .client = client->index,
                                                            .body = copy,
                                                            .length = strlen(copy)});
    return CARRICK_OK;
}

static void stopping(struct carrick_client *client)
{
    process_event_put(client, CHANNEL_EVENT_STOPPING, NULL, 0, NULL, 0);
}

// ---- making and ending

static void client_free(struct carrick_client *client)
{
    if (client->provided != NULL)
        process_client_provided_forget(client);
    if (client->regions != NULL)
        for (uint32_t i = 0; i < CHANNEL_REGIONS_MAX; i++) {
            if (client->regions[i].region != NULL)
                client->host->region_destroy(
                    client->regions[i].region); // the rest goes with the client
            free(client->regions[i].path);
        }
    process_events_drop(client);
    free(client->directory);
    free(client->config);
    free(client->regions);
    free(client->wants);
    free(client->terms);
    free(client->provided);
    free(client->vis);
    free(client);
}

static void destroy(struct carrick_client *client)
{
    process_remove(client->process, client);
    if (client->shared != NULL)
        process_client_ended(client);
    client_free(client);
}

static struct carrick_client *client_make(const struct config_client *config,
                                          const char *plugin_path,
                                          const struct carrick_client_host *host, struct env *env)
{
    struct carrick_client *client = calloc(1, sizeof(*client));
    char *slash;

    if (client == NULL)
        return NULL;
    client->host = host;
    client->env = env;
    client->shared_fd = -1;
    snprintf(client->name, sizeof(client->name), "%s", config->name);
    snprintf(client->plugin, sizeof(client->plugin), "%s", config->plugin);
    client->directory = strdup(plugin_path);
    slash = client->directory == NULL ? NULL : strrchr(client->directory, '/');
    if (slash != NULL)
        *slash = '\0';
    client->config = strdup(config->config.json);
    client->regions = calloc(CHANNEL_REGIONS_MAX, sizeof(*client->regions));
    client->wants = calloc(CARRICK_CLIENT_REGIONS_MAX, sizeof(*client->wants));
    client->provided = calloc(CARRICK_CLIENT_REGIONS_MAX, sizeof(*client->provided));
    client->vis = calloc(CARRICK_CLIENT_VIS_MAX, sizeof(*client->vis));
    if (client->directory == NULL || client->config == NULL || client->regions == NULL ||
        client->wants == NULL || client->provided == NULL || client->vis == NULL) {
        client_free(client);
        return NULL;
    }
    process_client_provided_forget(client);
    return client;
}

int process_client_create(void *arg, const struct config_client *config, const char *plugin_path,
                          const struct carrick_client_host *host, struct carrick_client **made,
                          struct carrick_error *error)
{
    struct processes *all = arg;
    struct carrick_client *client = client_make(config, plugin_path, host, all->env);
    struct process *process = client == NULL ? NULL : process_find(all, config, host->base);
    int status;

    if (process == NULL) {
        if (client != NULL)
            client_free(client);
        return CARRICK_ERR_NO_MEMORY;
    }
    status = process_add(process, client, error);
    if (status != CARRICK_OK) {
        client_free(client);
        return status;
    }
    *made = client;
    return CARRICK_OK;
}

// create is never called: process_client_create takes its place.
const struct carrick_client_ops process_client_ops = {
    .destroy = destroy,
    .describe = describe,
    .ready = ready,
    .ending = ending,
    .ended = ended,
    .completed = completed,
    .received = received,
    .config_change = config_change,
    .provide = provide,
    .vi_changed = vi_changed,
    .describe_state = describe_state,
    .command = command,
    .stopping = stopping,
};
