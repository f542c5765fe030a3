// SPDX-License-Identifier: Apache-2.0
#include "core/tables.h"

#include <carrick/client.h>
#include <stdlib.h>
#include <string.h>

#include "core/wire.h"

#define PEER_INFO_MAGIC 0x50525243u   // "CRRP"
#define READY_MAGIC 0x52525243u       // "CRRR"
#define CLIENT_INFO_MAGIC 0x43525243u // "CRRC"

uint32_t table_offset(enum table_kind kind)
{
    static const uint32_t offsets[TABLE_KIND_COUNT] = {
        [TABLE_PEER_INFO] = INBOX_PEER_INFO_OFFSET,
        [TABLE_CLIENT_INFO] = INBOX_CLIENT_INFO_OFFSET,
        [TABLE_READY] = INBOX_READY_OFFSET,
    };
    return offsets[kind];
}

uint32_t table_bytes_max(enum table_kind kind)
{
    static const uint32_t sizes[TABLE_KIND_COUNT] = {
        [TABLE_PEER_INFO] = PEER_INFO_BYTES,
        [TABLE_CLIENT_INFO] = CLIENT_INFO_BYTES_MAX,
        [TABLE_READY] = READY_BYTES,
    };
    return sizes[kind];
}

static void name_put(uint8_t *to, const char *name)
{
    memset(to, 0, CARRICK_NAME_MAX + 1);
    memcpy(to, name, strnlen(name, CARRICK_NAME_MAX));
}

static bool name_get(const uint8_t *from, char *name)
{
    memcpy(name, from, CARRICK_NAME_MAX + 1);
    return name[0] != '\0' && name[CARRICK_NAME_MAX] == '\0';
}

// Peer information: magic 4, version min 2, version max 2, generation 4, reserved 4, incarnation 8, features 8,
// cluster 32, node 32, manager 32, config hash 32.
void peer_info_put(const struct peer_info *info, uint8_t out[PEER_INFO_BYTES])
{
    memset(out, 0, PEER_INFO_BYTES);
    put_u32(out, PEER_INFO_MAGIC);
    put_u16(out + 4, info->version_min);
    put_u16(out + 6, info->version_max);
    put_u32(out + 8, info->generation);
    put_u64(out + 16, info->incarnation);
    put_u64(out + 24, info->features);
    name_put(out + 32, info->cluster);
    name_put(out + 64, info->node);
    name_put(out + 96, info->manager);
    memcpy(out + 128, info->config_hash, 32);
}

int peer_info_get(const void *data, size_t length, struct peer_info *info)
{
    const uint8_t *in = data;

    if (length != PEER_INFO_BYTES || get_u32(in) != PEER_INFO_MAGIC)
        return CARRICK_ERR_PROTOCOL;
    info->version_min = get_u16(in + 4);
    info->version_max = get_u16(in + 6);
    info->generation = get_u32(in + 8);
    info->incarnation = get_u64(in + 16);
    info->features = get_u64(in + 24);
    memcpy(info->config_hash, in + 128, 32);
    if (info->version_min > info->version_max || !name_get(in + 32, info->cluster) ||
        !name_get(in + 64, info->node) || !name_get(in + 96, info->manager))
        return CARRICK_ERR_PROTOCOL;
    return CARRICK_OK;
}

void ready_info_put(const struct ready_info *info, uint8_t out[READY_BYTES])
{
    memset(out, 0, READY_BYTES);
    put_u32(out, READY_MAGIC);
    put_u64(out + 8, info->incarnation);
    put_u64(out + 16, info->partner_incarnation);
    put_u64(out + 24, info->session);
}

int ready_info_get(const void *data, size_t length, struct ready_info *info)
{
    const uint8_t *in = data;

    if (length != READY_BYTES || get_u32(in) != READY_MAGIC)
        return CARRICK_ERR_PROTOCOL;
    info->incarnation = get_u64(in + 8);
    info->partner_incarnation = get_u64(in + 16);
    info->session = get_u64(in + 24);
    return CARRICK_OK;
}

// Client information: magic 4, clients 4, regions 4, reserved 4; per client name 32, version 4, VIs 4, region count 4,
// reserved 4; then per region bytes 8, access 4, reserved 4, in the order of the clients.
enum {
    CLIENT_HEADER_BYTES = 16,
    CLIENT_ENTRY_BYTES = 48,
    REGION_ENTRY_BYTES = 16,
};

size_t client_info_put(const struct client_need *clients, uint32_t client_count,
                       const struct client_region_need *regions, uint8_t *out, size_t room)
{
    uint32_t region_count = 0;
    size_t length;
    uint8_t *at = out + CLIENT_HEADER_BYTES;

    for (uint32_t i = 0; i < client_count; i++)
        region_count += clients[i].region_count;
    length = CLIENT_HEADER_BYTES + (size_t)client_count * CLIENT_ENTRY_BYTES +
             (size_t)region_count * REGION_ENTRY_BYTES;
    if (length > room)
        return 0;

    memset(out, 0, length);
    put_u32(out, CLIENT_INFO_MAGIC);
    put_u32(out + 4, client_count);
    put_u32(out + 8, region_count);
    for (uint32_t i = 0; i < client_count; i++, at += CLIENT_ENTRY_BYTES) {
        name_put(at, clients[i].name);
        put_u32(at + 32, clients[i].version);
        put_u32(at + 36, clients[i].vis);
        put_u32(at + 40, clients[i].region_count);
    }
    for (uint32_t i = 0; i < client_count; i++) {
        for (uint32_t j = 0; j < clients[i].region_count; j++, at += REGION_ENTRY_BYTES) {
            put_u64(at, regions[clients[i].region_first + j].bytes);
            put_u32(at + 8, regions[clients[i].region_first + j].access);
        }
    }
    return length;
}

static bool client_entry_get(const uint8_t *at, uint32_t region_first, struct client_need *client)
{
    client->version = get_u32(at + 32);
    client->vis = get_u32(at + 36);
    client->region_first = region_first;
    client->region_count = get_u32(at + 40);
    return name_get(at, client->name) && client->vis >= 1 &&
           client->region_count <= CARRICK_CLIENT_REGIONS_MAX;
}

static bool clients_get(const uint8_t *at, struct client_need *clients, uint32_t client_count,
                        uint32_t region_count)
{
    uint32_t region_first = 0;

    for (uint32_t i = 0; i < client_count; i++, at += CLIENT_ENTRY_BYTES) {
        if (!client_entry_get(at, region_first, &clients[i]) ||
            clients[i].region_count > region_count - region_first)
            return false;
        if (i > 0 && strcmp(clients[i - 1].name, clients[i].name) >= 0)
            return false;
        region_first += clients[i].region_count;
    }
    return region_first == region_count;
}

static bool regions_get(const uint8_t *at, struct client_region_need *regions, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++, at += REGION_ENTRY_BYTES) {
        regions[i].bytes = get_u64(at);
        regions[i].access = get_u32(at + 8);
        if (regions[i].bytes == 0 || regions[i].access == 0 ||
            (regions[i].access &
             ~(uint32_t)(CARRICK_ACCESS_REMOTE_READ | CARRICK_ACCESS_REMOTE_WRITE)))
            return false;
    }
    return true;
}

int client_info_get(const void *data, size_t length, struct client_need **clients_out,
                    uint32_t *client_count_out, struct client_region_need **regions_out,
                    uint32_t *region_count_out)
{
    const uint8_t *in = data;
    uint32_t client_count, region_count;
    struct client_need *clients;
    struct client_region_need *regions;

    if (length < CLIENT_HEADER_BYTES || get_u32(in) != CLIENT_INFO_MAGIC)
        return CARRICK_ERR_PROTOCOL;
    client_count = get_u32(in + 4);
    region_count = get_u32(in + 8);
    // Both counts are bounded by the length before they are used to allocate.
    if (client_count > length / CLIENT_ENTRY_BYTES || region_count > length / REGION_ENTRY_BYTES ||
        length != CLIENT_HEADER_BYTES + (size_t)client_count * CLIENT_ENTRY_BYTES +
                      (size_t)region_count * REGION_ENTRY_BYTES)
        return CARRICK_ERR_PROTOCOL;

    clients = calloc(client_count + 1u, sizeof(*clients));
    regions = calloc(region_count + 1u, sizeof(*regions));
    if (clients == NULL || regions == NULL) {
        free(clients);
        free(regions);
        return CARRICK_ERR_NO_MEMORY;
    }
    if (!clients_get(in + CLIENT_HEADER_BYTES, clients, client_count, region_count) ||
        !regions_get(in + CLIENT_HEADER_BYTES + (size_t)client_count * CLIENT_ENTRY_BYTES, regions,
                     region_count)) {
        free(clients);
        free(regions);
        return CARRICK_ERR_PROTOCOL;
    }
    *clients_out = clients;
    *client_count_out = client_count;
    *regions_out = regions;
    *region_count_out = region_count;
    return CARRICK_OK;
}
