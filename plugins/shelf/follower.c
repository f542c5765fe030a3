// SPDX-License-Identifier: Apache-2.0
//
// The side that is brought up to date: what it says of itself, and the end. What comes is in follower_apply.c.
#include "follower_internal.h"

#include "common/bytes.h"

#include <stdlib.h>
#include <string.h>

bool shelf_follower_runs(const struct shelf_group *group)
{
    return group->follower->state != FOLLOWER_NONE;
}

int follower_send(struct shelf_group *group, struct shelf_message *message)
{
    memcpy(message->group, group->name, sizeof message->group);
    message->run = group->follower->run;
    return shelf_link_send(group->client, message);
}

void shelf_follower_stop(struct shelf_group *group)
{
    struct shelf_follower *follower = group->follower;

    follower_apply_leave(group);
    follower->state = FOLLOWER_NONE;
    follower->synced_sent = 0;
    group->hurry_sequence = 0;
}

static void refuse(struct shelf_group *group, const char *text)
{
    struct shelf_message message = {.kind = SHELF_REFUSED,
                                    .payload = (const uint8_t *)text,
                                    .payload_bytes = (uint32_t)strlen(text)};

    group->client->base->log(group->client->base, CARRICK_LOG_ERROR,
                             "group %s: its shelves here are not brought up to date: %s",
                             group->name, text);
    follower_send(group, &message);
    group->follower->state = FOLLOWER_NONE;
}

void shelf_follower_role(struct shelf_group *group)
{
    if (group->follower->state != FOLLOWER_ASKED)
        shelf_follower_stop(group);
}

// ---- what is void here

static void take_ask(struct shelf_group *group, const struct shelf_message *message)
{
    struct shelf_follower *follower = group->follower;

    shelf_follower_stop(group);
    follower->run = message->run;
    if (message->payload_bytes != 16 + 8 * group->count || message->shelf != group->count) {
        refuse(group, "the configuration names another number of shelves there");
        return;
    }
    for (uint32_t i = 0; i < group->count; i++) {
        if (get_u64(message->payload + 16 + 8 * i) != group->shelves[i]->bytes) {
            refuse(group, "the configuration gives a shelf another size there");
            return;
        }
    }
    memcpy(follower->generation, message->payload, 16);
    follower->state = FOLLOWER_ASKED;
}

// The role may come later than the question; what an earlier role has on its way to the disk must have landed.
static bool may_answer(const struct shelf_group *group)
{
    if (group->role != CARRICK_LOG_SHADOW || group->sweep.state == SHELF_SWEEP_ENDING ||
        memcmp(group->follower->generation, group->generation.id, 16) != 0 ||
        !shelf_group_maps_ready(group))
        return false;
    for (uint32_t i = 0; i < group->count; i++)
        for (const struct shelf_write *at = group->shelves[i]->writes; at != NULL; at = at->next)
            if (at->kind != SHELF_WRITE_DESTAGE || at->tag != group->sweep.number)
                return false;
    return true;
}

static void answer_ask(struct shelf_group *group)
{
    struct shelf_follower *follower = group->follower;
    uint8_t bits[SHELF_MESSAGE_PAYLOAD_MAX];

    while (follower->shelf < group->count) {
        struct shelf_map *map = group->shelves[follower->shelf]->map;
        struct shelf_message message = {
            .kind = SHELF_LACKS, .shelf = follower->shelf, .payload = bits};
        if (!shelf_map_whole(map)) {
            message.kind = SHELF_LACKS_ALL;
        } else {
            message.chunk = follower->byte;
            message.payload_bytes = shelf_map_take(map, &message.chunk, bits, sizeof bits);
        }
        bool last = message.payload_bytes == 0;
        if ((message.kind == SHELF_LACKS_ALL || !last) &&
            follower_send(group, &message) != CARRICK_OK)
            return; // goes on when there is room
        follower->byte = message.chunk + message.payload_bytes;
        if (last) {
            follower->shelf++;
            follower->byte = 0;
        }
    }
    struct shelf_message end = {.kind = SHELF_LACKS_END};
    if (follower_send(group, &end) == CARRICK_OK)
        follower->state = FOLLOWER_APPLYING;
}

// ---- the end

static void take_finish(struct shelf_group *group)
{
    struct shelf_follower *follower = group->follower;

    if (!follower_applied(group)) {
        follower->refused++;
        return;
    }
    for (uint32_t i = 0; i < group->count; i++) {
        struct shelf_map *map = group->shelves[i]->map;
        shelf_map_clear_all(map);
        shelf_map_set_whole(map, true, &group->generation);
        follower->finish_version[i] = shelf_map_version(map);
    }
    follower->state = FOLLOWER_FINISHING;
    shelf_group_flush_maps(group);
}

static void finish(struct shelf_group *group)
{
    struct shelf_message message = {.kind = SHELF_FINISHED};

    for (uint32_t i = 0; i < group->count; i++)
        if (shelf_map_durable(group->shelves[i]->map) < group->follower->finish_version[i])
            return;
    if (follower_send(group, &message) == CARRICK_OK)
        group->follower->state = FOLLOWER_APPLYING;
}

void shelf_follower_synced(struct shelf_group *group)
{
    struct shelf_follower *follower = group->follower;
    struct shelf_message message = {.kind = SHELF_SYNCED, .sequence = group->synced_told};

    if ((follower->state != FOLLOWER_APPLYING && follower->state != FOLLOWER_FINISHING) ||
        group->synced_told <= follower->synced_sent)
        return;
    if (follower_send(group, &message) == CARRICK_OK)
        follower->synced_sent = group->synced_told;
}

void shelf_follower_pump(struct shelf_group *group)
{
    struct shelf_follower *follower = group->follower;

    if (follower == NULL || follower->state == FOLLOWER_NONE || !group->client->link->up)
        return;
    if (follower->state == FOLLOWER_ASKED && may_answer(group)) {
        follower->state = FOLLOWER_ANSWERING;
        follower->shelf = 0;
        follower->byte = 0;
    }
    if (follower->state == FOLLOWER_ANSWERING)
        answer_ask(group);
    follower_apply(group);
    if (follower->state == FOLLOWER_FINISHING)
        finish(group);
    shelf_follower_synced(group);
}

void shelf_follower_received(struct shelf_group *group, const struct shelf_message *message)
{
    struct shelf_follower *follower = group->follower;

    if (message->kind == SHELF_HURRY) {
        group->hurry_sequence = message->sequence;
        shelf_destage_wake(group);
        return;
    }
    if (message->kind == SHELF_ASK)
        take_ask(group, message);
    else if (message->run != follower->run || follower->state != FOLLOWER_APPLYING)
        follower->refused++; // of a run that is over
    else if (message->kind == SHELF_CHUNK)
        follower_take_chunk(group, message);
    else
        take_finish(group);
    shelf_follower_pump(group);
}

int shelf_follower_open(struct shelf_group *group)
{
    group->follower = calloc(1, sizeof *group->follower);
    return group->follower != NULL ? CARRICK_OK : CARRICK_ERR_NO_MEMORY;
}

void shelf_follower_close(struct shelf_group *group)
{
    if (group->follower == NULL)
        return;
    shelf_follower_stop(group);
    free(group->follower);
    group->follower = NULL;
}
