// SPDX-License-Identifier: Apache-2.0
//
// The client plugin `shelf`: a block store behind the log, served to the outside by the service "block".
#include "catchup.h"

#include "front.h"

#include <carrick/error.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- the turn: what must not happen within a call of the service

static void turn(void *arg)
{
    struct carrick_client *client = arg;

    for (uint32_t i = 0; i < client->group_count; i++)
        shelf_requests_turn(client->groups[i]);
    shelf_exports_turn(client);
}

void shelf_client_turn(struct carrick_client *client)
{
    if (!client->ending)
        client->base->timer_start(client->turn, 0);
}

// ---- life

static int fail(struct carrick_error *error, int status, const char *text)
{
    if (error != NULL && error->text[0] == '\0') {
        error->status = status;
        snprintf(error->text, sizeof error->text, "%s", text);
    }
    return status;
}

static struct shelf_group *group_get(struct carrick_client *client, const char *name)
{
    struct shelf_group *group = shelf_group_find(client, name);

    if (group != NULL)
        return group;
    group = calloc(1, sizeof *group);
    if (group == NULL)
        return NULL;
    snprintf(group->name, sizeof group->name, "%s", name);
    group->client = client;
    group->number = client->group_count;
    client->groups[client->group_count++] = group;
    if (client->base->timer_create(client->base, shelf_destage_timer, group, &group->timer) !=
            CARRICK_OK ||
        shelf_catchup_open(group) != CARRICK_OK || shelf_follower_open(group) != CARRICK_OK)
        return NULL; // destroy takes away what there is
    return group;
}

// How long the file is as it was found; 0: it is not there, or it is empty. What stands in the way of opening it is told
// by who opens it for good.
static uint64_t file_length(struct carrick_client *client, const char *path)
{
    struct carrick_file_info info = {.struct_size = sizeof info};
    struct carrick_error ignored = {.struct_size = sizeof ignored};
    struct carrick_file *file;

    if (client->base->file_open(client->base, path, 0, 0, &file, &info, &ignored) != CARRICK_OK)
        return 0;
    client->base->file_close(file);
    return info.bytes;
}

// Made longer with zeroes it would pass for what it was before: the map says nothing of what is missing.
static int cut_short(const struct shelf *shelf, uint64_t length, struct carrick_error *error)
{
    return carrick_error_set(error, CARRICK_ERR_BOUNDS, 0, "",
                             "%s has %" PRIu64 " of %" PRIu64
                             " bytes: restore it, or remove it, and the partner fills "
                             "it; to enlarge a shelf: truncate, on both nodes",
                             shelf->path, length, shelf->bytes);
}

static int shelf_open(struct carrick_client *client, const struct shelf_config_shelf *config,
                      struct carrick_error *error)
{
    struct shelf *shelf = calloc(1, sizeof *shelf);
    struct carrick_file_info info = {.struct_size = sizeof info};
    struct shelf_group *group = group_get(client, config->group);

    if (shelf == NULL || group == NULL) {
        free(shelf);
        return CARRICK_ERR_NO_MEMORY;
    }
    client->shelves[client->shelf_count++] = shelf;
    snprintf(shelf->name, sizeof shelf->name, "%s", config->name);
    snprintf(shelf->path, sizeof shelf->path, "%s", config->path);
    shelf->client = client;
    shelf->group = group;
    shelf->number = group->count;
    shelf->bytes = config->bytes;
    shelf_index_init(&shelf->index, shelf->bytes);
    group->shelves[group->count++] = shelf;
    uint64_t length = file_length(client, shelf->path);
    if (length > 0 && length < shelf->bytes)
        return cut_short(shelf, length, error);
    int status = client->base->file_open(client->base, shelf->path, CARRICK_FILE_CREATE,
                                         shelf->bytes, &shelf->file, &info, error);
    if (status != CARRICK_OK)
        return status;
    shelf->fresh = info.created || length == 0;
    shelf->added = config->added;
    return shelf_map_open(shelf, &shelf->map, error);
}

static void shelf_close(struct shelf *shelf)
{
    shelf_map_close(shelf->map);
    if (shelf->file != NULL)
        shelf->client->base->file_close(shelf->file);
    shelf_pool_end(&shelf->write_pool);
    free(shelf);
}

static void shelf_destroy(struct carrick_client *client)
{
    client->ending = true;
    front_stop(client->front);
    while (client->exports != NULL)
        shelf_block_ops()->export_close(client->exports);
    for (uint32_t i = 0; i < client->group_count; i++) {
        struct shelf_group *group = client->groups[i];
        // Nothing of the log may come any more.
        if (group->log != NULL)
            client->log_ops->attach_consumer(group->log, NULL, NULL);
        if (group->catchup != NULL && client->link != NULL)
            shelf_catchup_stop(group);
        shelf_follower_close(group);
        shelf_group_end(group);
    }
    shelf_link_close(client);
    for (uint32_t i = 0; i < client->shelf_count; i++)
        shelf_close(client->shelves[i]);
    for (uint32_t i = 0; i < client->group_count; i++) {
        struct shelf_group *group = client->groups[i];
        shelf_catchup_close(group);
        if (group->timer != NULL)
            client->base->timer_destroy(group->timer);
        free(group);
    }
    if (client->turn != NULL)
        client->base->timer_destroy(client->turn);
    shelf_pool_end(&client->request_pool);
    free(client);
}

static int start_front(struct carrick_client *client, struct carrick_error *error)
{
    const struct shelf_config *config = &client->config;
    struct front_config front = {.path = config->socket,
                                 .group =
                                     config->socket_group[0] != '\0' ? config->socket_group : NULL,
                                 .connections = config->connections,
                                 .requests = config->connection_requests};

    if (config->socket[0] == '\0')
        return CARRICK_OK;
    return front_start(client->base, &front, shelf_block_ops(), &client->service, &client->front,
                       error);
}

static int open_all(struct carrick_client *client, struct carrick_error *error)
{
    int status = client->base->timer_create(client->base, turn, client, &client->turn);

    if (status == CARRICK_OK)
        status = shelf_link_open(client);
    for (uint32_t i = 0; i < client->config.count && status == CARRICK_OK; i++)
        status = shelf_open(client, &client->config.shelves[i], error);
    if (status == CARRICK_OK)
        status = client->host->service_offer(client->host, CARRICK_BLOCK_SERVICE, shelf_block_ops(),
                                             &client->service);
    if (status == CARRICK_OK)
        status = start_front(client, error);
    return status;
}

// Before anybody can serve: this node may come to serve without a session.
static void find_log(struct carrick_client *client)
{
    const void *table;
    void *object;

    if (client->log_ops != NULL)
        return;
    if (client->host->service_find(client->host, CARRICK_LOG_SERVICE, &table, &object) !=
        CARRICK_OK) {
        client->base->log(client->base, CARRICK_LOG_ERROR,
                          "there is no log: no shelf is served. The client nvram_shadow must stand "
                          "before this one in "
                          "the configuration");
        return;
    }
    client->log_ops = table;
    client->logs = object;
    for (uint32_t i = 0; i < client->group_count; i++) {
        struct shelf_group *group = client->groups[i];
        if (shelf_group_attach(group, client->log_ops, client->logs) != CARRICK_OK)
            client->base->log(client->base, CARRICK_LOG_ERROR,
                              "group %s is not served: the configuration of nvram_shadow does not "
                              "name it, or another "
                              "client has its records",
                              group->name);
    }
}

static int shelf_create(const struct carrick_client_host *host, const char *config,
                        struct carrick_client **out, struct carrick_error *error)
{
    struct carrick_client *client = calloc(1, sizeof *client);

    if (client == NULL)
        return CARRICK_ERR_NO_MEMORY;
    client->host = host;
    client->base = host->base;
    client->service.client = client;
    int status = shelf_config_read(config, host->base->node, &client->config, error);
    if (status == CARRICK_OK)
        status = open_all(client, error);
    if (status != CARRICK_OK) {
        fail(error, status, "the shelves cannot be opened");
        shelf_destroy(client);
        return status;
    }
    for (uint32_t i = 0; i < client->shelf_count; i++)
        shelf_map_load(client->shelves[i]->map);
    find_log(client);
    *out = client;
    return CARRICK_OK;
}

static int shelf_config_check(const char *config, struct carrick_error *error)
{
    struct shelf_config *read = malloc(sizeof *read);

    if (read == NULL)
        return CARRICK_ERR_NO_MEMORY;
    int status = shelf_config_read(config, NULL, read, error);
    free(read);
    return status;
}

// ---- sessions

static int shelf_describe(struct carrick_client *client, struct carrick_client_info *info)
{
    find_log(client);
    info->vis = 1;
    info->version = SHELF_VERSION;
    if (info->region_max < 1)
        return CARRICK_ERR_LIMIT;
    info->region_count = 1;
    info->terms = client->config.terms;
    info->wants[0].access = CARRICK_ACCESS_REMOTE_WRITE;
    info->wants[0].bytes = SHELF_SLOTS * SHELF_SLOT_BYTES;
    return CARRICK_OK;
}

static void shelf_ending(struct carrick_client *client, uint32_t reason, uint64_t deadline_ns)
{
    (void)reason;
    (void)deadline_ns;
    // What is under way is begun anew with the next session: there is nothing to wait for.
    if (client->link->vi != NULL)
        client->host->vi_close(client->link->vi);
    client->link->up = false;
}

static void shelf_ended(struct carrick_client *client, uint32_t reason)
{
    (void)reason;
    shelf_link_ended(client);
}

static void shelf_received(struct carrick_client *client, struct carrick_vi *vi, const void *data,
                           uint32_t length)
{
    (void)vi;
    shelf_link_received(client, data, length);
}

static void shelf_vi_changed(struct carrick_client *client, struct carrick_vi *vi, uint32_t state)
{
    if (state == CARRICK_VI_CLOSED && client->link->vi == vi) {
        client->link->vi = NULL;
        client->link->up = false;
    }
}

static const struct carrick_client_ops shelf_ops = {
    .create = shelf_create,
    .destroy = shelf_destroy,
    .describe = shelf_describe,
    .ready = shelf_link_ready,
    .ending = shelf_ending,
    .ended = shelf_ended,
    .completed = shelf_link_completed,
    .received = shelf_received,
    .config_check = shelf_config_check,
    .vi_changed = shelf_vi_changed,
    .describe_state = shelf_describe_state,
};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_CLIENT, "shelf", "1.0", "Apache-2.0",
                        "a block store that is fed from the log and served to the outside",
                        shelf_ops);
