// SPDX-License-Identifier: Apache-2.0
//
// The way to the partner's shelf client. What comes from there is checked before it is used, and what it can make this
// node keep is bounded.
#include "catchup.h"

#include <stdlib.h>
#include <string.h>

#define OUT_MAX 256u
#define COOKIE_MESSAGE 0x10000u // cookies below are slots

struct shelf_out {
    struct shelf_out *next;
    uint32_t length;
    uint8_t bytes[];
};

static const struct carrick_client_host *host_of(const struct carrick_client *client)
{
    return client->host;
}

int shelf_link_open(struct carrick_client *client)
{
    struct shelf_link *link = calloc(1, sizeof *link);

    if (link == NULL)
        return CARRICK_ERR_NO_MEMORY;
    link->client = client;
    client->link = link;
    return host_of(client)->region_create(host_of(client), SHELF_SLOTS * SHELF_SLOT_BYTES,
                                          &link->staging);
}

static void out_clear(struct shelf_link *link)
{
    while (link->out_first != NULL) {
        struct shelf_out *out = link->out_first;
        link->out_first = out->next;
        free(out);
    }
    link->out_last = NULL;
    link->out_count = 0;
}

// ---- memory for what comes

static void spare_free(struct shelf_link *link)
{
    struct shelf_data *data = link->spare;

    link->spare = data->next;
    link->spares--;
    free(data);
}

struct shelf_data *shelf_data_get(struct carrick_client *client)
{
    struct shelf_link *link = client->link;
    struct shelf_data *data = link->spare;

    if (data != NULL) {
        link->spare = data->next;
        link->spares--;
    } else {
        data = malloc(sizeof *data);
    }
    if (data != NULL)
        data->users = 1;
    return data;
}

// Kept for the next while there is a session: fresh memory costs as much as the copy into it.
void shelf_data_put(struct carrick_client *client, struct shelf_data *data)
{
    struct shelf_link *link = client->link;

    if (data == NULL || --data->users > 0)
        return;
    if (link == NULL || !link->up || link->spares >= SHELF_SLOTS) {
        free(data);
        return;
    }
    data->next = link->spare;
    link->spare = data;
    link->spares++;
}

void shelf_link_close(struct carrick_client *client)
{
    struct shelf_link *link = client->link;

    if (link == NULL)
        return;
    out_clear(link);
    while (link->spare != NULL)
        spare_free(link);
    if (link->staging != NULL)
        host_of(client)->region_destroy(link->staging);
    free(link);
    client->link = NULL;
}

static int post_send(struct shelf_link *link, const uint8_t *bytes, uint32_t length)
{
    struct carrick_op op = {.struct_size = sizeof op,
                            .operation = CARRICK_CLIENT_SEND,
                            .cookie = COOKIE_MESSAGE,
                            .length = length,
                            .data = bytes};

    return host_of(link->client)->post(link->vi, &op, 1);
}

static void out_go_on(struct shelf_link *link)
{
    while (link->vi != NULL && link->out_first != NULL) {
        struct shelf_out *out = link->out_first;

        if (post_send(link, out->bytes, out->length) != CARRICK_OK)
            return; // completed() comes
        link->out_first = out->next;
        if (link->out_first == NULL)
            link->out_last = NULL;
        link->out_count--;
        free(out);
    }
}

int shelf_link_send(struct carrick_client *client, const struct shelf_message *message)
{
    struct shelf_link *link = client->link;

    if (!link->up || link->vi == NULL)
        return CARRICK_ERR_STATE;
    if (link->out_count >= OUT_MAX)
        return CARRICK_ERR_AGAIN;
    struct shelf_out *out = malloc(sizeof *out + SHELF_MESSAGE_HEAD + message->payload_bytes);
    if (out == NULL)
        return CARRICK_ERR_AGAIN;
    out->next = NULL;
    out->length = shelf_message_encode(message, out->bytes);
    if (link->out_last != NULL)
        link->out_last->next = out;
    else
        link->out_first = out;
    link->out_last = out;
    link->out_count++;
    out_go_on(link);
    return CARRICK_OK;
}

uint8_t *shelf_link_slot_memory(struct carrick_client *client, uint32_t slot)
{
    uint8_t *memory = host_of(client)->region_ptr(client->link->staging);

    return memory + (size_t)slot * SHELF_SLOT_BYTES;
}

int shelf_link_post_chunk(struct carrick_client *client, uint32_t slot,
                          const struct shelf_message *message)
{
    struct shelf_link *link = client->link;
    uint8_t bytes[SHELF_MESSAGE_HEAD];
    uint64_t offset = (uint64_t)slot * SHELF_SLOT_BYTES;
    bool zero = (message->flags & SHELF_FLAG_ZERO) != 0;

    if (link->vi == NULL || link->there_bytes < SHELF_SLOTS * SHELF_SLOT_BYTES)
        return CARRICK_ERR_STATE;
    struct carrick_op ops[2] = {
        {.struct_size = sizeof ops[0],
         .operation = CARRICK_CLIENT_WRITE,
         .cookie = slot,
         .region = link->staging,
         .offset = offset,
         .length = message->length,
         .there = 0,
         .there_offset = offset},
        {.struct_size = sizeof ops[1],
         .operation = CARRICK_CLIENT_SEND,
         .cookie = slot,
         .length = shelf_message_encode(message, bytes),
         .data = bytes},
    };
    int status = host_of(client)->post(link->vi, zero ? &ops[1] : ops, zero ? 1 : 2);
    if (status == CARRICK_OK)
        link->slots[slot].operations = zero ? 1 : 2;
    return status;
}

void shelf_slot_leave(struct shelf_slot *slot)
{
    slot->answered = true;
    if (slot->operations == 0 && slot->gather == NULL)
        *slot = (struct shelf_slot){0};
}

// ---- what the session brings

static void groups_pump(struct carrick_client *client)
{
    for (uint32_t i = 0; i < client->group_count; i++) {
        shelf_follower_pump(client->groups[i]);
        shelf_catchup_pump(client->groups[i]);
    }
}

void shelf_link_ready(struct carrick_client *client, const struct carrick_session_info *session)
{
    struct shelf_link *link = client->link;

    link->vi = session->vi_count > 0 ? session->vis[0] : NULL;
    link->here = session->here_count > 0 ? session->here[0] : NULL;
    if (link->here != NULL &&
        host_of(client)->region_bytes(link->here) < SHELF_SLOTS * SHELF_SLOT_BYTES)
        link->here = NULL;
    link->there_bytes = session->there_count > 0 ? session->there_bytes[0] : 0;
    link->up = link->vi != NULL && session->partner_version == SHELF_VERSION;
    if (!link->up && session->partner_version != SHELF_VERSION)
        client->base->log(
            client->base, CARRICK_LOG_WARNING,
            "the partner's shelf speaks version %u, this one %u: its shelves are not brought up "
            "to date until both are upgraded",
            session->partner_version, SHELF_VERSION);
    if (link->up)
        for (uint32_t i = 0; i < client->group_count; i++)
            shelf_catchup_link(client->groups[i], true);
}

void shelf_link_ended(struct carrick_client *client)
{
    struct shelf_link *link = client->link;

    link->up = false;
    link->vi = NULL;
    link->here = NULL;
    out_clear(link);
    for (uint32_t i = 0; i < SHELF_SLOTS; i++) {
        link->slots[i].operations = 0;
        shelf_slot_leave(&link->slots[i]);
    }
    while (link->spare != NULL)
        spare_free(link);
    for (uint32_t i = 0; i < client->group_count; i++) {
        shelf_catchup_link(client->groups[i], false);
        shelf_follower_stop(client->groups[i]);
    }
}

void shelf_link_completed(struct carrick_client *client,
                          const struct carrick_completion *completions, uint32_t count)
{
    struct shelf_link *link = client->link;

    for (uint32_t i = 0; i < count; i++) {
        const struct carrick_completion *completion = carrick_completion_at(completions, i);
        if (completion->cookie >= SHELF_SLOTS)
            continue;
        struct shelf_slot *slot = &link->slots[completion->cookie];
        if (slot->operations > 0)
            slot->operations--;
        if (slot->answered)
            shelf_slot_leave(slot);
    }
    out_go_on(link);
    groups_pump(client);
}

void shelf_link_received(struct carrick_client *client, const void *data, uint32_t length)
{
    struct shelf_message message;

    if (!shelf_message_decode(data, length, &message) || !client->link->up)
        return;
    struct shelf_group *group = shelf_group_find(client, message.group);
    if (group == NULL)
        return;
    switch (message.kind) {
    case SHELF_ASK:
    case SHELF_CHUNK:
    case SHELF_FINISH:
    case SHELF_HURRY:
        shelf_follower_received(group, &message);
        break;
    default:
        shelf_catchup_received(group, &message);
    }
}
