// SPDX-License-Identifier: Apache-2.0
#include "core/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/region.h"
#include "core/service.h"
#include "core/terms.h"
#include "core/vi.h"

#define COMPLETIONS_MAX                                                                            \
    (sizeof(((struct client *)0)->completions) / sizeof(struct carrick_completion))

static int client_isolate(struct client *client, struct carrick_error *error)
{
    const struct manager_isolation *isolation = client->manager->isolation;

    if (isolation == NULL) {
        snprintf(error->text, sizeof(error->text), "there is nothing here that runs processes");
        return CARRICK_ERR_NOT_SUPPORTED;
    }
    client->ops = isolation->ops;
    return isolation->create(isolation->arg, client->config, module_path(client->module),
                             &client->client_host.base, &client->instance, error);
}

int client_init(struct client *client, struct manager *manager, uint32_t index,
                struct carrick_error *error)
{
    int status;

    client->manager = manager;
    client->config = &manager->section->clients[index];
    host_init(&client->host, manager->env, manager->node_name, manager->partner_name,
              manager->section->name, client->config->name);
    client_host_init(client);
    client->wants = calloc(CARRICK_CLIENT_REGIONS_MAX, sizeof(*client->wants));
    if (client->wants == NULL)
        return CARRICK_ERR_NO_MEMORY;
    status = loader_get(manager->loader, CARRICK_KIND_CLIENT, client->config->plugin,
                        &client->module, error);
    if (status != CARRICK_OK)
        return status;
    client->ops = module_ops(client->module);
    client->isolated = client->config->isolation == CONFIG_ISOLATION_PROCESS;
    status = client->isolated
                 ? client_isolate(client, error)
                 : client->ops->create(&client->client_host.base, client->config->config.json,
                                       &client->instance, error);
    if (status != CARRICK_OK)
        client->instance = NULL;
    return status;
}

void client_regions_end(struct client *client)
{
    for (uint32_t i = 0; i < client->here_count; i++)
        if (client->here[i] != NULL)
            region_destroy(client->here[i]);
    free(client->here);
    client->here = NULL;
    client->here_count = 0;
}

void client_free(struct client *client)
{
    struct region *next;

    if (client->manager == NULL)
        return;
    if (client->instance != NULL)
        client->ops->destroy(client->instance);
    service_withdraw(client->manager, client);
    client_regions_end(client);
    for (struct region *region = client->manager->regions; region != NULL; region = next) {
        next = region->next;
        if (region->client == client && !region->doomed)
            region_destroy(region);
    }
    if (client->module != NULL)
        module_put(client->module);
    free(client->wants);
    free(client->there_bytes);
    free(client->vis);
    free(client->openings);
}

struct client *client_find(struct manager *manager, const char *name)
{
    for (uint32_t i = 0; i < manager->client_count; i++)
        if (strcmp(manager->clients[i].config->name, name) == 0)
            return &manager->clients[i];
    return NULL;
}

// ---- callbacks

static uint64_t callback_begin(const struct client *client)
{
    return env_now_ns(client->manager->env);
}

static void callback_end(struct client *client, const char *name, uint64_t began_ns)
{
    struct manager *manager = client->manager;
    uint64_t took_us = (env_now_ns(manager->env) - began_ns) / 1000;

    if (took_us <= manager->section->overstay_us)
        return;
    client->overstays++;
    // Logged at each power of two, so that a client that always does it does not fill the log.
    if ((client->overstays & (client->overstays - 1)) == 0)
        log_record(manager->env, CARRICK_LOG_WARNING, "client-overstay", manager->section->name,
                   client->config->name,
                   "callback %s took %llu us (%llu times too long so far): everything else waited",
                   name, (unsigned long long)took_us, (unsigned long long)client->overstays);
}

int client_describe(struct client *client)
{
    struct carrick_client_info info = {
        .struct_size = sizeof(info),
        .region_max = CARRICK_CLIENT_REGIONS_MAX,
        .wants = client->wants,
    };
    uint64_t began_ns = callback_begin(client);
    int status;

    memset(client->wants, 0, CARRICK_CLIENT_REGIONS_MAX * sizeof(*client->wants));
    client->wants[0].struct_size = sizeof(*client->wants);
    status = client->ops->describe(client->instance, &info);
    callback_end(client, "describe", began_ns);
    // An inline client has no reason to be asked twice.
    if (status == CARRICK_ERR_AGAIN && !client->isolated)
        return CARRICK_ERR_INVALID;
    client->left_out = status == CARRICK_ERR_STATE && client->isolated;
    if (client->left_out)
        client->need = (struct client_need){.terms = ""};
    if (status != CARRICK_OK)
        return status;
    if (info.vis < 1 || info.vis > CARRICK_CLIENT_VIS_MAX ||
        info.region_count > CARRICK_CLIENT_REGIONS_MAX)
        return CARRICK_ERR_LIMIT;
    for (uint32_t i = 0; i < info.region_count; i++)
        if (client->wants[i].bytes == 0 || client->wants[i].access == CARRICK_ACCESS_LOCAL ||
            client->wants[i].access > (CARRICK_ACCESS_REMOTE_READ | CARRICK_ACCESS_REMOTE_WRITE))
            return CARRICK_ERR_INVALID;
    client->need.terms = info.terms != NULL ? info.terms : "";
    if (!terms_are_sound(client->need.terms, strnlen(client->need.terms, CARRICK_CLIENT_TERMS_MAX)))
        return CARRICK_ERR_INVALID;
    snprintf(client->need.name, sizeof(client->need.name), "%s", client->config->name);
    client->need.version = info.version;
    client->need.vis = info.vis;
    client->need.region_count = info.region_count;
    return CARRICK_OK;
}

int client_provide(struct client *client, uint32_t index, const struct carrick_region_want *want,
                   struct carrick_region_backing *backing)
{
    uint64_t began_ns = callback_begin(client);
    int status = client->ops->provide(client->instance, index, want, backing);

    client->provided |= status != CARRICK_ERR_NOT_SUPPORTED;
    callback_end(client, "provide", began_ns);
    return status == CARRICK_ERR_NOT_SUPPORTED ? CARRICK_OK : status;
}

void client_received(struct client *client, struct vi *vi, const void *data, uint32_t length)
{
    uint64_t began_ns = callback_begin(client);

    client_flush(client);
    client->ops->received(client->instance, vi_handle(vi), data, length);
    callback_end(client, "received", began_ns);
}

void client_vi_changed(struct client *client, struct vi *vi)
{
    uint64_t began_ns = callback_begin(client);

    if (!client->told_ready)
        return;
    client_flush(client);
    client->ops->vi_changed(client->instance, vi_handle(vi), vi->state);
    callback_end(client, "vi_changed", began_ns);
}

void client_flush(struct client *client)
{
    struct carrick_completion completions[COMPLETIONS_MAX];
    uint32_t count = client->completion_count;
    uint64_t began_ns;

    if (count == 0)
        return;
    // The client may post from within, and complete more: what is handed over is a copy.
    memcpy(completions, client->completions, count * sizeof(completions[0]));
    client->completion_count = 0;
    began_ns = callback_begin(client);
    client->ops->completed(client->instance, completions, count);
    callback_end(client, "completed", began_ns);
}

void client_complete(struct client *client, struct vi *vi, uint64_t cookie, int status)
{
    if (client->completion_count == COMPLETIONS_MAX)
        client_flush(client);
    client->completions[client->completion_count++] = (struct carrick_completion){
        .struct_size = sizeof(struct carrick_completion),
        .status = status,
        .cookie = cookie,
        .vi = vi_handle(vi),
    };
}

void client_describe_state(struct client *client, char *text, size_t size)
{
    text[0] = '\0';
    client->ops->describe_state(client->instance, text, size);
}

int client_command(struct client *client, const char *word, const char *json, uint64_t token)
{
    uint64_t began_ns = callback_begin(client);
    int status = client->ops->command(client->instance, word, json, token);

    callback_end(client, "command", began_ns);
    return status;
}

int client_config_change(struct client *client, const char *json, struct carrick_error *error)
{
    return client->ops->config_change(client->instance, json, error);
}

// ---- all clients

void clients_flush(struct manager *manager)
{
    for (uint32_t i = 0; i < manager->client_count; i++)
        client_flush(&manager->clients[i]);
}

static void client_ready(struct client *client)
{
    const struct session *session = &client->manager->session;
    struct carrick_session_info info = {
        .struct_size = sizeof(info),
        .partner_version = client->partner_need.version,
        .session = session->id,
        .incarnation = client->manager->incarnation,
        .partner_incarnation = session->partner_incarnation,
        .vi_count = client->vi_count,
        .here_count = client->here_count,
        .there_count = client->need.region_count,
        .vis = (struct carrick_vi *const *)client->vis,
        .here = (struct carrick_region *const *)client->here,
        .there_bytes = client->there_bytes,
    };
    uint64_t began_ns = callback_begin(client);

    client->told_ready = true;
    client->ops->ready(client->instance, &info);
    callback_end(client, "ready", began_ns);
}

void clients_stopping(struct manager *manager)
{
    for (uint32_t i = 0; i < manager->client_count; i++) {
        struct client *client = &manager->clients[i];
        uint64_t began_ns = callback_begin(client);

        client->ops->stopping(client->instance);
        callback_end(client, "stopping", began_ns);
    }
}

void clients_ready(struct manager *manager)
{
    for (uint32_t i = 0; i < manager->ranked_count; i++)
        client_ready(manager->ranked[i]);
}

void clients_ending(struct manager *manager, uint32_t reason, uint64_t deadline_ns)
{
    for (uint32_t i = 0; i < manager->client_count; i++) {
        struct client *client = &manager->clients[i];
        uint64_t began_ns = callback_begin(client);

        if (!client->told_ready)
            continue;
        client_flush(client);
        client->ops->ending(client->instance, reason, deadline_ns);
        callback_end(client, "ending", began_ns);
    }
}

void clients_ended(struct manager *manager, uint32_t reason)
{
    for (uint32_t i = 0; i < manager->client_count; i++) {
        struct client *client = &manager->clients[i];
        uint64_t began_ns;

        vi_end_all(client);
        client_flush(client);
        if (!client->told_ready && !client->provided)
            continue;
        client->told_ready = client->provided = false;
        began_ns = callback_begin(client);
        client->ops->ended(client->instance, reason);
        callback_end(client, "ended", began_ns);
    }
    vi_open_forget(manager);
}
