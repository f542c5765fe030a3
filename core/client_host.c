// SPDX-License-Identifier: Apache-2.0
//
// What a client may call (struct carrick_client_host). Arguments come from a plugin: they are checked, once, here.
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "core/client.h"
#include "core/command.h"
#include "core/link.h"
#include "core/region.h"
#include "core/service.h"
#include "core/session.h"
#include "core/vi.h"

static struct client *client_of(const struct carrick_client_host *base)
{
    return ((const struct client_host *)(const void *)base)->client;
}

static struct region *region_of(struct carrick_region *handle)
{
    return (struct region *)handle;
}

static struct vi *vi_of(struct carrick_vi *handle)
{
    return (struct vi *)handle;
}

static int host_region_create(const struct carrick_client_host *base, uint64_t bytes,
                              struct carrick_region **out)
{
    struct client *client = client_of(base);
    struct region *region;
    int status;

    if (bytes == 0)
        return CARRICK_ERR_INVALID;
    status = region_create(client->manager, REGION_LOCAL, CARRICK_ACCESS_LOCAL, bytes, -1, 0,
                           client, &region);
    if (status != CARRICK_OK)
        return status;
    region->bytes = region->memory.bytes; // all of its pages are the client's
    *out = region_handle(region);
    return CARRICK_OK;
}

static int host_region_open(const struct carrick_client_host *base, const char *path,
                            uint64_t bytes, struct carrick_region **out,
                            struct carrick_region_info *info, struct carrick_error *error)
{
    struct client *client = client_of(base);
    struct env *env = client->manager->env;
    struct carrick_region_info found = {.struct_size = sizeof(found)};
    struct env_memory memory;
    struct region *region;
    int status = env->ops->memory_open(env, path, bytes, &memory, &found, error);

    if (status == CARRICK_OK)
        status = region_adopt(client->manager, REGION_LOCAL, CARRICK_ACCESS_LOCAL, memory.bytes,
                              &memory, client, &region);
    if (status != CARRICK_OK)
        return status;
    if (info != NULL) {
        if (found.struct_size > info->struct_size)
            found.struct_size = info->struct_size;
        memcpy(info, &found, found.struct_size);
    }
    *out = region_handle(region);
    return CARRICK_OK;
}

static int host_region_fd(struct carrick_region *handle)
{
    return region_of(handle)->memory.fd;
}

static int host_service_offer(const struct carrick_client_host *base, const char *name,
                              const void *table, void *object)
{
    struct client *client = client_of(base);

    return service_offer(client->manager, client, name, table, object);
}

static int host_service_find(const struct carrick_client_host *base, const char *name,
                             const void **table, void **object)
{
    return service_find(client_of(base)->manager, name, table, object);
}

static int host_region_destroy(struct carrick_region *handle)
{
    struct region *region = region_of(handle);

    if (region->use != REGION_LOCAL || region->doomed)
        return CARRICK_ERR_INVALID;
    if (region->operations > 0)
        return CARRICK_ERR_STATE;
    region_destroy(region);
    return CARRICK_OK;
}

static void *host_region_ptr(struct carrick_region *handle)
{
    return region_of(handle)->memory.address;
}

static uint64_t host_region_bytes(struct carrick_region *handle)
{
    return region_of(handle)->bytes;
}

static int host_vi_open(const struct carrick_client_host *base, uint32_t number,
                        struct carrick_vi **out)
{
    struct vi *vi;
    int status = vi_open(client_of(base), number, &vi);

    if (status == CARRICK_OK)
        *out = vi_handle(vi);
    return status;
}

static int host_vi_close(struct carrick_vi *handle)
{
    return vi_close(vi_of(handle));
}

static uint32_t host_vi_number(struct carrick_vi *handle)
{
    return vi_of(handle)->number;
}

static int host_post(struct carrick_vi *handle, const struct carrick_op *ops, uint32_t count)
{
    return vi_post(vi_of(handle), ops, count);
}

static uint32_t host_vi_room(struct carrick_vi *handle)
{
    return vi_room(vi_of(handle));
}

static void host_partner_status(const struct carrick_client_host *base,
                                struct carrick_partner_status *status)
{
    const struct manager *manager = client_of(base)->manager;
    struct carrick_partner_status known = manager->partner_status;
    uint32_t size = status->struct_size;

    for (uint32_t i = 0; i < manager->link_count; i++)
        known.links_failed_here += link_failed_here(&manager->links[i]);
    memcpy(status, &known, size < sizeof(known) ? size : sizeof(known));
    status->struct_size = size;
}

static void host_status_shadow(const struct carrick_client_host *base, uint64_t sequence)
{
    struct manager *manager = client_of(base)->manager;

    manager->line.shadow_sequence = sequence;
    session_publish(manager);
}

static void host_status_boot_stage(const struct carrick_client_host *base, uint32_t stage)
{
    struct manager *manager = client_of(base)->manager;

    manager->line.boot_stage = (uint8_t)stage;
    session_publish(manager);
}

static int host_session_reset(const struct carrick_client_host *base, const char *why)
{
    struct client *client = client_of(base);
    char text[CAUSE_BYTES];

    if (client->manager->session.state != CARRICK_SESSION_UP)
        return CARRICK_ERR_STATE;
    snprintf(text, sizeof(text), "client %s: %s", client->config->name, why);
    session_end(client->manager, CARRICK_REASON_CLIENT, text);
    return CARRICK_OK;
}

static void host_command_reply(const struct carrick_client_host *base, uint64_t token, int status,
                               const char *json)
{
    command_answered(client_of(base)->manager, client_of(base), token, status, json);
}

void client_host_init(struct client *client)
{
    client->client_host.client = client;
    client->client_host.base = (struct carrick_client_host){
        .struct_size = sizeof(struct carrick_client_host),
        .base = &client->host.base,
        .region_create = host_region_create,
        .region_destroy = host_region_destroy,
        .region_ptr = host_region_ptr,
        .region_bytes = host_region_bytes,
        .vi_open = host_vi_open,
        .vi_close = host_vi_close,
        .vi_number = host_vi_number,
        .post = host_post,
        .vi_room = host_vi_room,
        .partner_status = host_partner_status,
        .status_shadow = host_status_shadow,
        .status_boot_stage = host_status_boot_stage,
        .session_reset = host_session_reset,
        .command_reply = host_command_reply,
        .region_open = host_region_open,
        .region_fd = host_region_fd,
        .service_offer = host_service_offer,
        .service_find = host_service_find,
    };
}
