// SPDX-License-Identifier: Apache-2.0
#include "core/tables.h"

#include <carrick/client.h>
#include <stdlib.h>
#include <string.h>

#include "core/terms.h"
#include "common/bytes.h"

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
// bytes of terms 4; then per region bytes 8, access 4, reserved 4, in the order of the clients; then the terms of each.
enum {
    CLIENT_HEADER_BYTES = 16,
    CLIENT_ENTRY_BYTES = 48,
    REGION_ENTRY_BYTES = 16,
};

static size_t client_info_bytes(const struct client_info *info)
{
    size_t bytes = CLIENT_HEADER_BYTES + (size_t)info->client_count * CLIENT_ENTRY_BYTES;

    for (uint32_t i = 0; i < info->client_count; i++)
        bytes += (size_t)info->clients[i].region_count * REGION_ENTRY_BYTES +
                 strlen(info->clients[i].terms);
    return bytes;
}

static uint8_t *regions_put(const struct client_region_need *regions, uint32_t count, uint8_t *at)
{
    for (uint32_t i = 0; i < count; i++, at += REGION_ENTRY_BYTES) {
        put_u64(at, regions[i].bytes);
        put_u32(at + 8, regions[i].access);
    }
    return at;
}

size_t client_info_put(const struct client_info *info, uint8_t *out, size_t room)
{
    size_t length = client_info_bytes(info);
    uint32_t region_count = 0;
    uint8_t *at = out + CLIENT_HEADER_BYTES;

    if (length > room)
        return 0;
    memset(out, 0, length);
    for (uint32_t i = 0; i < info->client_count; i++, at += CLIENT_ENTRY_BYTES) {
        const struct client_need *client = &info->clients[i];

        name_put(at, client->name);
        put_u32(at + 32, client->version);
        put_u32(at + 36, client->vis);
        put_u32(at + 40, client->region_count);
        put_u32(at + 44, (uint32_t)strlen(client->terms));
        region_count += client->region_count;
    }
    put_u32(out, CLIENT_INFO_MAGIC);
    put_u32(out + 4, info->client_count);
    put_u32(out + 8, region_count);
    for (uint32_t i = 0; i < info->client_count; i++)
        at = regions_put(info->regions + info->clients[i].region_first,
                         info->clients[i].region_count, at);
    for (uint32_t i = 0; i < info->client_count; i++) {
        size_t bytes = strlen(info->clients[i].terms);

        memcpy(at, info->clients[i].terms, bytes);
        at += bytes;
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

static bool clients_get(const uint8_t *at, struct client_info *info)
{
    uint32_t region_first = 0;

    for (uint32_t i = 0; i < info->client_count; i++, at += CLIENT_ENTRY_BYTES) {
        struct client_need *client = &info->clients[i];

        if (!client_entry_get(at, region_first, client) ||
            client->region_count > info->region_count - region_first)
            return false;
        if (i > 0 && strcmp(info->clients[i - 1].name, client->name) >= 0)
            return false;
        region_first += client->region_count;
    }
    return region_first == info->region_count;
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

// entries: the clients' places in the table, where the lengths are; `at` and `left`: the terms, to the end of the table.
static bool terms_get(const uint8_t *entries, const uint8_t *at, size_t left,
                      struct client_info *info)
{
    char *to = info->terms;

    for (uint32_t i = 0; i < info->client_count; i++, entries += CLIENT_ENTRY_BYTES) {
        uint32_t bytes = get_u32(entries + 44);

        if (bytes > left || !terms_are_sound((const char *)at, bytes))
            return false;
        memcpy(to, at, bytes);
        to[bytes] = '\0';
        info->clients[i].terms = to;
        to += bytes + 1;
        at += bytes;
        left -= bytes;
    }
    return left == 0;
}

int client_info_get(const void *data, size_t length, struct client_info *info)
{
    const uint8_t *in = data, *regions, *terms;
    size_t fixed;

    *info = (struct client_info){0};
    if (length < CLIENT_HEADER_BYTES || get_u32(in) != CLIENT_INFO_MAGIC)
        return CARRICK_ERR_PROTOCOL;
    info->client_count = get_u32(in + 4);
    info->region_count = get_u32(in + 8);
    // Both counts are bounded by the length before they are used to allocate.
    if (info->client_count > length / CLIENT_ENTRY_BYTES ||
        info->region_count > length / REGION_ENTRY_BYTES)
        return CARRICK_ERR_PROTOCOL;
    regions = in + CLIENT_HEADER_BYTES + (size_t)info->client_count * CLIENT_ENTRY_BYTES;
    fixed = (size_t)(regions - in) + (size_t)info->region_count * REGION_ENTRY_BYTES;
    if (fixed > length)
        return CARRICK_ERR_PROTOCOL;
    terms = in + fixed;

    info->clients = calloc(info->client_count + 1u, sizeof(*info->clients));
    info->regions = calloc(info->region_count + 1u, sizeof(*info->regions));
    info->terms = malloc(length - fixed + info->client_count + 1u);
    if (info->clients == NULL || info->regions == NULL || info->terms == NULL) {
        client_info_free(info);
        return CARRICK_ERR_NO_MEMORY;
    }
    if (!clients_get(in + CLIENT_HEADER_BYTES, info) ||
        !regions_get(regions, info->regions, info->region_count) ||
        !terms_get(in + CLIENT_HEADER_BYTES, terms, length - fixed, info)) {
        client_info_free(info);
        return CARRICK_ERR_PROTOCOL;
    }
    return CARRICK_OK;
}

void client_info_free(struct client_info *info)
{
    free(info->clients);
    free(info->regions);
    free(info->terms);
    *info = (struct client_info){0};
}
