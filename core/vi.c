// SPDX-License-Identifier: Apache-2.0
#include "core/vi.h"

#include <stdlib.h>
#include <string.h>

#include "core/client.h"
#include "core/conn.h"
#include "core/placement.h"
#include "core/region.h"
#include "core/session.h"

// ---- making

// The table is made once in its full size: clients hold a pointer to it (struct carrick_session_info). Only what is
// used of it costs memory, and only what lies below vis_room is looked at.
int vi_table_room(struct client *client, uint32_t number)
{
    uint32_t room = client->vis_room == 0 ? 16 : client->vis_room;

    if (number < client->vis_room)
        return CARRICK_OK;
    if (number >= CARRICK_CLIENT_VIS_MAX)
        return CARRICK_ERR_LIMIT;
    if (client->vis == NULL)
        client->vis = calloc(CARRICK_CLIENT_VIS_MAX, sizeof(*client->vis));
    if (client->openings == NULL)
        client->openings = calloc(CARRICK_CLIENT_VIS_MAX, sizeof(*client->openings));
    if (client->vis == NULL || client->openings == NULL)
        return CARRICK_ERR_NO_MEMORY;
    while (room <= number)
        room *= 2;
    client->vis_room = room;
    return CARRICK_OK;
}

struct vi *vi_make(struct client *client, uint32_t number)
{
    struct vi *vi = calloc(1, sizeof(*vi));

    if (vi == NULL)
        return NULL;
    vi->ring = calloc(VI_DEPTH, sizeof(*vi->ring));
    if (vi->ring == NULL) {
        free(vi);
        return NULL;
    }
    vi->client = client;
    vi->number = number;
    vi->identity = vi_identity(client->rank, number);
    vi->state = CARRICK_VI_OPENING;
    client->vis[number] = vi;
    client->vis_open++;
    return vi;
}

// Frees the first of the sends that came early.
static void early_take(struct vi *vi)
{
    struct vi_early *early = vi->early;

    vi->early = early->next;
    vi->client->manager->early_count--;
    free(early);
}

void vi_detach(struct vi *vi)
{
    struct client *client = vi->client;

    if (client->vis[vi->number] != vi)
        return;
    client->vis[vi->number] = NULL;
    client->vis_open--;
}

void vi_free(struct vi *vi)
{
    vi_unplace(vi);
    vi_buffer_forget(vi);
    vi_detach(vi);
    while (vi->early != NULL)
        early_take(vi);
    free(vi->ring);
    free(vi);
}

int vi_make_all(struct client *client)
{
    for (uint32_t i = 0; i < client->vi_count; i++) {
        struct vi_opening *opening = vi_opening(client, i);
        struct vi *vi = opening == NULL ? NULL : vi_make(client, i);

        if (vi == NULL)
            return CARRICK_ERR_NO_MEMORY;
        vi->opening = opening->here = opening->there = 1;
        opening->heard = true;
        vi->state = CARRICK_VI_STALLED; // until it is placed
    }
    return CARRICK_OK;
}

void vi_enter(struct vi *vi, uint32_t state)
{
    if (vi->state == state)
        return;
    vi->state = state;
    client_vi_changed(vi->client, vi);
}

void vi_end_all(struct client *client)
{
    // From now on they take nothing: a client that posts again at each completion would never come to an end.
    for (uint32_t i = 0; i < client->vis_room; i++)
        if (client->vis[i] != NULL)
            client->vis[i]->closing = true;
    for (uint32_t i = 0; i < client->vis_room; i++) {
        if (client->vis[i] == NULL)
            continue;
        client->vis[i]->fence = NULL;
        vi_complete_all(client->vis[i], CARRICK_ERR_SESSION_ENDED);
    }
    client_flush(client);
    // None is gone before all have completed: a client may post on any of its VIs at any completion.
    for (uint32_t i = 0; i < client->vis_room; i++) {
        if (client->vis[i] == NULL)
            continue;
        vi_enter(client->vis[i], CARRICK_VI_CLOSED);
        vi_free(client->vis[i]);
    }
}

uint32_t vi_open_count(const struct manager *manager)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < manager->client_count; i++)
        count += manager->clients[i].vis_open;
    return count;
}

// ---- what the partner sends

struct client *vi_client(const struct manager *manager, uint64_t identity)
{
    uint32_t rank = (uint32_t)(identity >> 32);

    if (rank >= manager->ranked_count || (uint32_t)identity >= CARRICK_CLIENT_VIS_MAX)
        return NULL;
    return manager->ranked[rank];
}

// Keeps a send until those before it have come. The transport had them before it had this one, so that is soon.
static bool early_keep(struct vi *vi, uint64_t sequence, const void *data, uint32_t length)
{
    struct manager *manager = vi->client->manager;
    struct vi_early **at = &vi->early, *early;

    while (*at != NULL && (*at)->sequence < sequence)
        at = &(*at)->next;
    if (*at != NULL && (*at)->sequence == sequence)
        return true;
    early = manager->early_count < EARLY_MAX ? malloc(sizeof(*early) + length) : NULL;
    if (early == NULL)
        return false;
    early->sequence = sequence;
    early->length = length;
    if (length > 0)
        memcpy(early->data, data, length);
    early->next = *at;
    *at = early;
    manager->early_count++;
    return true;
}

static void early_deliver(struct vi *vi)
{
    while (vi->early != NULL && vi->early->sequence <= vi->received_sequence + 1) {
        if (vi->early->sequence == vi->received_sequence + 1 && !vi->closing) {
            vi->received_sequence++;
            client_received(vi->client, vi, vi->early->data, vi->early->length);
        }
        early_take(vi);
    }
    if (vi->close_after != 0 && vi->received_sequence >= vi->close_after)
        vi_close(vi);
}

bool vi_receive(struct conn *conn, const struct send_header *header, const void *data,
                uint32_t length)
{
    struct manager *manager = conn->link->manager;
    struct client *client = vi_client(manager, header->vi);
    uint32_t number = (uint32_t)header->vi;
    struct vi *vi;

    // While the session is ending, too: a VI that is not closed yet carries data until it is.
    if (client == NULL || (manager->session.state != CARRICK_SESSION_UP &&
                           manager->session.state != CARRICK_SESSION_ENDING))
        return manager->session.state == CARRICK_SESSION_ENDING;
    vi = number < client->vis_room ? client->vis[number] : NULL;
    if (vi == NULL || vi->opening != header->opening || vi->closing)
        return true; // of an opening that was closed here while it was under way; the partner is being told
    vi_sent_to(vi);
    if (header->sequence <= vi->received_sequence)
        return true; // posted again after a failure, but it had arrived
    if (header->sequence != vi->received_sequence + 1)
        return early_keep(vi, header->sequence, data, length);
    vi->received_sequence = header->sequence;
    client_received(client, vi, data, length);
    early_deliver(vi);
    return true;
}

// ---- posting by the client

uint32_t vi_room(const struct vi *vi)
{
    return VI_DEPTH - (uint32_t)(vi->tail - vi->head);
}

static int op_check(const struct vi *vi, const struct carrick_op *op)
{
    const struct client *client = vi->client;
    const struct region *region = (const struct region *)op->region;

    switch (op->operation) {
    case CARRICK_CLIENT_FLUSH:
        return CARRICK_OK;
    case CARRICK_CLIENT_SEND:
        if (op->length > CARRICK_SEND_BYTES_MAX)
            return CARRICK_ERR_LIMIT;
        return op->length > 0 && op->data == NULL ? CARRICK_ERR_INVALID : CARRICK_OK;
    case CARRICK_CLIENT_WRITE:
    case CARRICK_CLIENT_READ:
        if (op->length > 0 &&
            (region == NULL || region->doomed || !region_holds(region, op->offset, op->length)))
            return region == NULL ? CARRICK_ERR_INVALID : CARRICK_ERR_BOUNDS;
        if (op->there >= client->need.region_count)
            return CARRICK_ERR_NOT_FOUND;
        if (op->there_offset > client->there_bytes[op->there] ||
            op->length > client->there_bytes[op->there] - op->there_offset)
            return CARRICK_ERR_BOUNDS;
        if ((client->wants[op->there].access &
             (op->operation == CARRICK_CLIENT_WRITE ? CARRICK_ACCESS_REMOTE_WRITE
                                                    : CARRICK_ACCESS_REMOTE_READ)) == 0)
            return CARRICK_ERR_DENIED;
        return CARRICK_OK;
    default:
        return CARRICK_ERR_NOT_SUPPORTED;
    }
}

// Without a free buffer, or while others wait for one, the bytes wait elsewhere until its turn has come (vi_pump.c): the
// client was promised room for VI_DEPTH operations.
static int send_fill(struct vi *vi, struct vi_op *entry, const struct carrick_op *op)
{
    struct manager *manager = vi->client->manager;
    struct send_header header = {
        .vi = vi->identity, .sequence = vi->send_sequence + 1, .opening = vi->opening};
    uint8_t *to;

    if (manager->wants_buffer == NULL)
        entry->buffer = send_buffer_get(manager, false);
    if (entry->buffer == NULL)
        entry->spilled = malloc(SEND_HEADER_BYTES + op->length);
    to = entry->buffer != NULL ? entry->buffer : entry->spilled;
    if (to == NULL)
        return CARRICK_ERR_NO_MEMORY;
    send_header_put(&header, to);
    if (op->length > 0)
        memcpy(to + SEND_HEADER_BYTES, op->data, op->length);
    vi->send_sequence++;
    return CARRICK_OK;
}

static int op_queue(struct vi *vi, const struct carrick_op *op)
{
    struct vi_op *entry = vi_entry(vi, vi->tail);

    *entry = (struct vi_op){
        .operation = op->operation,
        .cookie = op->cookie,
        .region = (struct region *)op->region,
        .offset = op->offset,
        .length = op->operation == CARRICK_CLIENT_FLUSH ? 0 : op->length,
        .there = op->there,
        .there_offset = op->there_offset,
    };
    if (op->operation == CARRICK_CLIENT_SEND) {
        int status = send_fill(vi, entry, op);

        if (status != CARRICK_OK)
            return status;
    }
    if (entry->operation != CARRICK_CLIENT_WRITE && entry->operation != CARRICK_CLIENT_READ)
        entry->region = NULL;
    if (entry->region != NULL)
        entry->region->operations++;
    vi->tail++;
    return CARRICK_OK;
}

static void op_unqueue(struct vi *vi)
{
    struct vi_op *entry = vi_entry(vi, --vi->tail);

    if (entry->operation == CARRICK_CLIENT_SEND)
        vi->send_sequence--;
    if (entry->buffer != NULL)
        send_buffer_put(vi->client->manager, entry->buffer);
    free(entry->spilled);
    if (entry->region != NULL)
        entry->region->operations--;
}

int vi_post(struct vi *vi, const struct carrick_op *ops, uint32_t count)
{
    uint64_t before = vi->tail;
    int status = CARRICK_OK;

    if (vi->closing || vi->state == CARRICK_VI_OPENING || vi->state == CARRICK_VI_CLOSED)
        return CARRICK_ERR_STATE;
    if (count > vi_room(vi))
        return CARRICK_ERR_AGAIN;
    for (uint32_t i = 0; i < count && status == CARRICK_OK; i++)
        status = op_check(vi, carrick_op_at(ops, i));
    for (uint32_t i = 0; i < count && status == CARRICK_OK; i++)
        status = op_queue(vi, carrick_op_at(ops, i));
    if (status != CARRICK_OK) {
        while (vi->tail != before)
            op_unqueue(vi);
        return status;
    }
    vi->posted_total += count;
    vi_pump(vi);
    return CARRICK_OK;
}
