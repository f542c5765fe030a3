// SPDX-License-Identifier: Apache-2.0
//
// What a client in a process posts. The process has made the checks that the core makes, so what the core refuses as wrong
// was written by something else than carrick-host. What names a VI that is closed by now is dropped: the process
// learns of the end, and completes what it has open there by itself.
#include <string.h>

#include "daemon/process_internal.h"

static struct vi_slot *slot_find(struct carrick_client *client, uint32_t vi, uint32_t generation)
{
    struct vi_slot *slot = vi < CARRICK_CLIENT_VIS_MAX ? &client->vis[vi] : NULL;

    return slot != NULL && slot->vi != NULL && slot->generation == generation ? slot : NULL;
}

static bool region_take(struct carrick_client *client, uint64_t number,
                        struct carrick_region **region)
{
    *region = NULL;
    if (number == CHANNEL_NO_REGION)
        return true;
    if ((number & CHANNEL_HERE_REGION) == 0)
        *region = process_region(client, number);
    else if ((number & ~CHANNEL_HERE_REGION) < client->here_count)
        *region = client->here[number & ~CHANNEL_HERE_REGION];
    return *region != NULL;
}

// CARRICK_OK: done with it. CARRICK_ERR_AGAIN: later. Else it is nonsense.
static int post(struct carrick_client *client, const struct channel_record *record)
{
    struct channel_post post;
    struct carrick_op op = {.struct_size = sizeof(op)};
    struct vi_slot *slot;
    int status;

    if (record->length < sizeof(post))
        return CARRICK_ERR_INVALID;
    memcpy(&post, record->data, sizeof(post));
    slot = slot_find(client, post.vi, post.generation);
    if (slot == NULL)
        return post.vi < CARRICK_CLIENT_VIS_MAX ? CARRICK_OK : CARRICK_ERR_INVALID;
    if (!region_take(client, post.region, &op.region))
        return CARRICK_ERR_INVALID;
    op.operation = post.operation;
    op.offset = post.offset;
    op.length = post.length;
    op.there = post.there;
    op.there_offset = post.there_offset;
    op.data = record->data + sizeof(post);
    if (op.operation == CARRICK_CLIENT_SEND && op.length != record->length - sizeof(post))
        return CARRICK_ERR_INVALID;
    status = client->host->post(slot->vi, &op, 1);
    if (status == CARRICK_ERR_NO_MEMORY)
        return CARRICK_ERR_AGAIN;
    return status == CARRICK_ERR_STATE   ? CARRICK_OK
           : status == CARRICK_ERR_AGAIN ? CARRICK_ERR_LIMIT
                                         : status;
}

static int vi_close(struct carrick_client *client, const struct channel_record *record)
{
    struct channel_vi vi;
    struct vi_slot *slot;

    if (record->length != sizeof(vi))
        return CARRICK_ERR_INVALID;
    memcpy(&vi, record->data, sizeof(vi));
    slot = slot_find(client, vi.vi, vi.generation);
    if (slot != NULL)
        client->host->vi_close(slot->vi);
    return CARRICK_OK;
}

static int reset(struct carrick_client *client, const struct channel_record *record)
{
    char why[128];
    uint32_t length = record->length < sizeof(why) ? record->length : sizeof(why) - 1;

    memcpy(why, record->data, length);
    why[length] = '\0';
    for (uint32_t i = 0; i < length; i++)
        if ((unsigned char)why[i] < ' ')
            why[i] = ' ';
    client->host->session_reset(client->host, why);
    return CARRICK_OK;
}

static int take(struct carrick_client *client, const struct channel_record *record)
{
    switch (record->type) {
    case CHANNEL_OP_POST:
        return post(client, record);
    case CHANNEL_OP_CLOSE:
        return vi_close(client, record);
    case CHANNEL_OP_RESET:
        return reset(client, record);
    default:
        return CARRICK_ERR_INVALID;
    }
}

bool process_ops(struct carrick_client *client)
{
    struct channel_record record;
    int found = 0, status = CARRICK_OK;

    for (uint32_t i = 0; i < PROCESS_TURN && status == CARRICK_OK; i++) {
        found = channel_peek(&client->ops, &record);
        if (found <= 0)
            break;
        status = take(client, &record);
        if (status == CARRICK_ERR_AGAIN)
            break; // stays where it is
        channel_advance(&client->ops, &record);
    }
    if (found < 0 || (status != CARRICK_OK && status != CARRICK_ERR_AGAIN)) {
        process_fail(client->process, "wrote nonsense into a ring");
        return false;
    }
    if (__atomic_load_n(&client->shared->op_words.waits, __ATOMIC_SEQ_CST) != 0 &&
        __atomic_exchange_n(&client->shared->op_words.waits, 0, __ATOMIC_SEQ_CST) != 0)
        process_wake(client->process);
    return found > 0;
}
