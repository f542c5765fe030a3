// SPDX-License-Identifier: Apache-2.0
//
// Client information (claims 14, 17 to 19): collected from this node's clients, told to the partner; and what the
// partner's clients ask for, which is built here: VIs for each client that both nodes have, and the memory that the
// partner's half of it wants.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/client.h"
#include "core/link.h"
#include "core/locked.h"
#include "core/names.h"
#include "core/probe.h"
#include "core/region.h"
#include "core/session.h"
#include "core/terms.h"
#include "core/vi.h"

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct client *const *)a)->config->name,
                  (*(struct client *const *)b)->config->name);
}

static uint32_t clients_sorted(struct manager *manager, struct client **sorted)
{
    for (uint32_t i = 0; i < manager->client_count; i++)
        sorted[i] = &manager->clients[i];
    // cppcheck-suppress uninitvar ; with no client nothing of it is read
    qsort(sorted, manager->client_count, sizeof(sorted[0]), by_name);
    return manager->client_count;
}

int session_clients_tell(struct manager *manager, size_t *length)
{
    struct client *sorted[CLIENTS_MAX];
    struct client_need needs[CLIENTS_MAX];
    struct client_info info = {.clients = needs};
    uint32_t known = clients_sorted(manager, sorted), count = 0, region_count = 0;
    int status;

    for (uint32_t i = 0; i < known; i++) {
        status = client_describe(sorted[i]);
        if (status == CARRICK_ERR_AGAIN)
            return status;
        if (sorted[i]->left_out)
            continue;
        if (status != CARRICK_OK) {
            log_record(manager->env, CARRICK_LOG_ERROR, NULL, manager->section->name,
                       sorted[i]->config->name, "describe failed or asked for what is not allowed");
            return status;
        }
        sorted[count] = sorted[i];
        needs[count] = sorted[i]->need;
        needs[count].region_first = region_count;
        region_count += needs[count].region_count;
        count++;
    }
    info.client_count = count;
    info.regions = calloc(region_count + 1u, sizeof(*info.regions));
    if (info.regions == NULL)
        return CARRICK_ERR_NO_MEMORY;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < needs[i].region_count; j++)
            info.regions[needs[i].region_first + j] = (struct client_region_need){
                .bytes = sorted[i]->wants[j].bytes, .access = sorted[i]->wants[j].access};
    *length = client_info_put(&info, region_at(manager->scratch, INBOX_CLIENT_INFO_OFFSET),
                              CLIENT_INFO_BYTES_MAX);
    free(info.regions);
    manager->session.told_clients = *length != 0;
    return *length == 0 ? CARRICK_ERR_LIMIT : CARRICK_OK;
}

int session_clients_take(struct manager *manager, const void *data, size_t length)
{
    struct session *session = &manager->session;

    return client_info_get(data, length, &session->partner_clients);
}

static struct client_need *partner_need(const struct session *session, const char *name)
{
    for (uint32_t i = 0; i < session->partner_clients.client_count; i++)
        if (strcmp(session->partner_clients.clients[i].name, name) == 0)
            return &session->partner_clients.clients[i];
    return NULL;
}

// Both nodes match the same names in the same order, so ranks and key indices agree without a word.
static void clients_match(struct manager *manager)
{
    struct session *session = &manager->session;
    struct client *sorted[CLIENTS_MAX];
    uint32_t count = clients_sorted(manager, sorted), there = 0;

    manager->ranked_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct client *client = sorted[i];
        const struct client_need *need = partner_need(session, client->config->name);

        client->matched = need != NULL && !client->left_out;
        if (client->left_out) {
            log_record(manager->env, CARRICK_LOG_WARNING, "client-left-out", manager->section->name,
                       client->config->name, "the session is made without this client");
            continue;
        }
        if (need == NULL) {
            log_record(manager->env, CARRICK_LOG_WARNING, "client-no-partner",
                       manager->section->name, client->config->name,
                       "the partner has no client of this name");
            continue;
        }
        client->partner_need = *need;
        client->partner_wants = session->partner_clients.regions + need->region_first;
        client->rank = manager->ranked_count;
        client->there_first = there;
        there += client->need.region_count;
        manager->ranked[manager->ranked_count++] = client;
    }
}

// A region is kept from session to session while the partner asks for the same: what lies in it outlives the session.
static bool region_serves(const struct region *region, const struct client_region_need *need)
{
    return region->bytes == need->bytes && region->access == need->access;
}

// The client may answer with another backing for each session. Fresh memory of the core's is kept.
static int here_make(struct client *client, uint32_t index)
{
    const struct client_region_need *need = &client->partner_wants[index];
    struct carrick_region_want want = {
        .struct_size = sizeof(want), .access = need->access, .bytes = need->bytes};
    struct carrick_region_backing backing = {.struct_size = sizeof(backing), .fd = -1};
    int status = client_provide(client, index, &want, &backing);

    if (status != CARRICK_OK)
        return status;
    if (client->here[index] != NULL &&
        region_is_backed_by(client->here[index], backing.fd, backing.offset))
        return CARRICK_OK;
    if (client->here[index] != NULL)
        region_destroy(client->here[index]);
    client->here[index] = NULL;
    return region_create(client->manager, REGION_HERE, need->access, need->bytes, backing.fd,
                         backing.offset, client, &client->here[index]);
}

// What the partner does not ask for any more goes first, of all clients, so that no more is mapped at any time than the
// partner may ask for.
static void here_release(struct client *client)
{
    for (uint32_t i = 0; i < client->here_count; i++)
        if (client->here[i] != NULL &&
            (i >= client->partner_need.region_count ||
             !region_serves(client->here[i], &client->partner_wants[i]))) {
            region_destroy(client->here[i]);
            client->here[i] = NULL;
        }
}

static int here_make_all(struct client *client)
{
    uint32_t count = client->partner_need.region_count;
    struct region **here = realloc(client->here, (count + 1u) * sizeof(*here));

    if (here == NULL)
        return CARRICK_ERR_NO_MEMORY;
    client->here = here;
    for (uint32_t i = client->here_count; i < count; i++)
        here[i] = NULL;
    client->here_count = count;
    for (uint32_t i = 0; i < count; i++) {
        int status = here_make(client, i);

        if (status != CARRICK_OK)
            return status;
    }
    return CARRICK_OK;
}

// ---- how much it may be

// The sum of all that is asked for, in whole pages, as it is mapped; UINT64_MAX: more than can be counted.
static uint64_t bytes_asked(const struct manager *manager)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < manager->ranked_count; i++)
        for (uint32_t j = 0; j < manager->ranked[i]->partner_need.region_count; j++) {
            uint64_t bytes = manager->ranked[i]->partner_wants[j].bytes;

            if (bytes > UINT64_MAX - REGION_PAGE_BYTES ||
                region_pages_bytes(bytes) > UINT64_MAX - sum)
                return UINT64_MAX;
            sum += region_pages_bytes(bytes);
        }
    return sum;
}

// Memory of clients that the partner does not have now is kept for its coming back while there is room.
static void here_release_unmatched(struct manager *manager, uint64_t room)
{
    uint64_t kept = 0;

    for (uint32_t i = 0; i < manager->client_count; i++)
        for (uint32_t j = 0; !manager->clients[i].matched && j < manager->clients[i].here_count;
             j++)
            if (manager->clients[i].here[j] != NULL)
                kept += manager->clients[i].here[j]->memory.bytes;
    for (uint32_t i = 0; kept > room && i < manager->client_count; i++)
        if (!manager->clients[i].matched)
            client_regions_end(&manager->clients[i]);
}

// Checked before anything is mapped: the partner's word alone must not take this node's memory.
static bool memory_is_allowed(struct manager *manager, char *why, size_t size)
{
    uint64_t asked = bytes_asked(manager);
    uint64_t limit = (uint64_t)manager->section->partner_memory_mib << 20;
    unsigned long long asked_mib = (asked >> 20) + ((asked & ((1u << 20) - 1)) != 0);

    if (asked <= limit) {
        here_release_unmatched(manager, limit - asked);
        return true;
    }
    snprintf(why, size, "%llu MiB asked for; partner_memory_mib allows %u: raise it on node %s",
             asked_mib, manager->section->partner_memory_mib, manager->node_name);
    return false;
}

static int client_build(struct client *client)
{
    uint32_t vis =
        client->need.vis > client->partner_need.vis ? client->need.vis : client->partner_need.vis;
    int status = vis > CARRICK_CLIENT_VIS_MAX ? CARRICK_ERR_LIMIT : here_make_all(client);

    free(client->there_bytes);
    client->there_bytes = calloc(client->need.region_count + 1u, sizeof(*client->there_bytes));
    if (status != CARRICK_OK)
        return status;
    if (client->there_bytes == NULL)
        return CARRICK_ERR_NO_MEMORY;
    for (uint32_t i = 0; i < client->need.region_count; i++)
        client->there_bytes[i] = client->wants[i].bytes;
    client->vi_count = vis;
    return vi_make_all(client);
}

// A link on which that fails goes down alone, and begins again.
static void here_register(struct client *client, struct link *link)
{
    for (uint32_t i = 0; i < client->here_count && link_takes_registrations(link); i++)
        if (client->here[i] != NULL)
            region_register(client->here[i], link);
}

static void here_register_all(struct client *client)
{
    for (uint32_t i = 0; i < client->manager->link_count; i++)
        here_register(client, &client->manager->links[i]);
}

// A link that got its domain after the session had built: its device was away.
void session_clients_register(struct manager *manager, struct link *link)
{
    enum carrick_session_state state = manager->session.state;

    if (state != CARRICK_SESSION_BUILDING && state != CARRICK_SESSION_READY &&
        state != CARRICK_SESSION_UP)
        return;
    for (uint32_t i = 0; i < manager->ranked_count; i++)
        here_register(manager->ranked[i], link);
}

int session_clients_provide(struct manager *manager)
{
    int status = CARRICK_OK;

    for (uint32_t i = 0; i < manager->client_count && status == CARRICK_OK; i++) {
        struct client *client = &manager->clients[i];
        const struct client_need *need = partner_need(&manager->session, client->config->name);

        if (!client->isolated || client->left_out || need == NULL)
            continue;
        for (uint32_t j = 0; j < need->region_count; j++) {
            const struct client_region_need *region =
                &manager->session.partner_clients.regions[need->region_first + j];
            struct carrick_region_want want = {
                .struct_size = sizeof(want), .access = region->access, .bytes = region->bytes};
            struct carrick_region_backing backing = {.struct_size = sizeof(backing), .fd = -1};

            if (client_provide(client, j, &want, &backing) == CARRICK_ERR_AGAIN)
                status =
                    CARRICK_ERR_AGAIN; // all of them are asked before the first answer is awaited
        }
    }
    return status;
}

static bool terms_agree(const struct manager *manager, char *why, size_t size)
{
    struct terms_difference difference;

    for (uint32_t i = 0; i < manager->ranked_count; i++) {
        const struct client *client = manager->ranked[i];

        if (!terms_differ(client->need.terms, client->partner_need.terms, &difference))
            continue;
        snprintf(why, size, "client %s, %.*s: %s has \"%.*s\", %s has \"%.*s\"; make them the same",
                 client->config->name, difference.key.bytes, difference.key.at, manager->node_name,
                 difference.here.bytes, difference.here.at, manager->partner_name,
                 difference.there.bytes, difference.there.at);
        return false;
    }
    return true;
}

uint32_t session_clients_build(struct manager *manager, char *why, size_t size)
{
    clients_match(manager);
    if (!terms_agree(manager, why, size))
        return CARRICK_REASON_CONFIGURATION;
    if (!memory_is_allowed(manager, why, size) ||
        locked_take(manager, bytes_asked(manager), why, size) != CARRICK_OK)
        return CARRICK_REASON_RESOURCES;
    manager->session.asked_bytes = bytes_asked(manager);
    for (uint32_t i = 0; i < manager->ranked_count; i++)
        here_release(manager->ranked[i]);
    for (uint32_t i = 0; i < manager->ranked_count; i++) {
        struct client *client = manager->ranked[i];

        int status = client_build(client);

        if (status != CARRICK_OK) {
            snprintf(why, size,
                     "client %s cannot give what the partner's asks for, %u VIs and %u regions: %s",
                     client->config->name, client->partner_need.vis,
                     client->partner_need.region_count, status_name(status));
            return CARRICK_REASON_RESOURCES;
        }
        here_register_all(client);
    }
    return CARRICK_REASON_NONE;
}

void session_clients_forget(struct manager *manager)
{
    struct session *session = &manager->session;

    client_info_free(&session->partner_clients);
    for (uint32_t i = 0; i < manager->client_count; i++) {
        manager->clients[i].matched = false;
        manager->clients[i].partner_wants = NULL;
    }
    manager->ranked_count = 0;
    session->asked_bytes = 0;
}

uint32_t session_here_count(const struct manager *manager)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < manager->ranked_count; i++)
        count += manager->ranked[i]->here_count;
    return count;
}

uint32_t session_here_keys(const struct manager *manager, const struct link *link, uint32_t first,
                           struct carrick_remote_key *keys, uint32_t room)
{
    uint32_t at = 0, filled = 0;

    for (uint32_t i = 0; i < manager->ranked_count; i++)
        for (uint32_t j = 0; j < manager->ranked[i]->here_count; j++, at++)
            if (at >= first && filled < room)
                keys[filled++] = manager->ranked[i]->here[j]->on[link->index].key;
    return filled;
}

bool session_there_count(const struct manager *manager, uint32_t *count)
{
    const struct session *session = &manager->session;
    uint32_t there = 0;

    // The partner may be READY before this side has built: then its keys are counted by what was told.
    if (session->state < CARRICK_SESSION_TELLING || !session->clients_known)
        return false;
    for (uint32_t i = 0; i < manager->client_count; i++)
        if (partner_need(session, manager->clients[i].config->name) != NULL)
            there += manager->clients[i].need.region_count;
    *count = there;
    return true;
}

uint32_t session_wanted_count(const struct manager *manager)
{
    uint32_t count = 0;

    // Before this node has told what it wants, the partner cannot have keys for it.
    if (manager->session.state < CARRICK_SESSION_TELLING || !manager->session.told_clients)
        return 0;
    for (uint32_t i = 0; i < manager->client_count; i++)
        count += manager->clients[i].need.region_count;
    return count;
}
