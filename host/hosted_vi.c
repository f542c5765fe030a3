// SPDX-License-Identifier: Apache-2.0
//
// VIs. What is refused here is what the core refuses, so that the daemon finds nothing wrong in what arrives; room is
// counted here, where an operation ends when its completion is told.
#include <stdlib.h>
#include <string.h>

#include "host/hosted.h"

// ---- into the ring

void hosted_put(struct hosted *hosted, uint32_t type, const void *head, uint32_t head_bytes,
                const void *data, uint32_t data_bytes)
{
    struct hosted_waiting *kept;

    if (hosted->waiting == NULL &&
        channel_put(&hosted->ops_ring, type, head, head_bytes, data, data_bytes) != 0) {
        host_wake_daemon(hosted->process);
        return;
    }
    kept = malloc(sizeof(*kept) + head_bytes + data_bytes);
    if (kept == NULL)
        host_end();
    *kept = (struct hosted_waiting){.type = type, .length = head_bytes + data_bytes};
    memcpy(kept->data, head, head_bytes);
    if (data_bytes > 0)
        memcpy(kept->data + head_bytes, data, data_bytes);
    if (hosted->waiting == NULL)
        hosted->waiting_end = &hosted->waiting;
    *hosted->waiting_end = kept;
    hosted->waiting_end = &kept->next;
    host_wake_daemon(hosted->process);
}

void hosted_waiting_go_on(struct hosted *hosted)
{
    while (hosted->waiting != NULL) {
        struct hosted_waiting *first = hosted->waiting;

        if (channel_put(&hosted->ops_ring, first->type, first->data, first->length, NULL, 0) == 0)
            break;
        hosted->waiting = first->next;
        free(first);
    }
    host_wake_daemon(hosted->process);
}

// ---- making and ending

struct carrick_vi *hosted_vi_make(struct hosted *hosted, uint32_t number, uint32_t generation,
                                  uint32_t state)
{
    struct carrick_vi *vi = calloc(1, sizeof(*vi));

    if (vi == NULL)
        return NULL;
    vi->hosted = hosted;
    vi->number = number;
    vi->generation = generation;
    vi->state = state;
    hosted->vis[number] = vi;
    return vi;
}

struct carrick_vi *hosted_vi(const struct hosted *hosted, uint32_t number, uint32_t generation)
{
    struct carrick_vi *vi = number < CARRICK_CLIENT_VIS_MAX ? hosted->vis[number] : NULL;

    return vi != NULL && vi->generation == generation ? vi : NULL;
}

static void complete(struct carrick_vi *vi, int status, uint32_t count)
{
    struct carrick_completion completions[32];
    uint32_t gathered = 0;

    for (; count > 0 && vi->head != vi->tail; count--) {
        struct hosted_op *op = &vi->ops[vi->head++ % HOSTED_VI_DEPTH];

        if (op->region != NULL)
            op->region->operations--;
        completions[gathered++] = (struct carrick_completion){.struct_size = sizeof(completions[0]),
                                                              .status = status,
                                                              .cookie = op->cookie,
                                                              .vi = vi};
        if (gathered < sizeof(completions) / sizeof(completions[0]))
            continue;
        vi->hosted->ops->completed(vi->hosted->instance, completions, gathered);
        gathered = 0;
    }
    if (gathered > 0)
        vi->hosted->ops->completed(vi->hosted->instance, completions, gathered);
}

void hosted_completed(struct hosted *hosted, const struct channel_completed *run)
{
    struct carrick_vi *vi = hosted_vi(hosted, run->vi, run->generation);

    if (vi == NULL)
        return;
    if (run->status != CARRICK_OK)
        vi->last_status = run->status;
    complete(vi, run->status, run->count);
}

// What the daemon had not taken in before its end is told here.
static void vi_end(struct carrick_vi *vi)
{
    struct hosted *hosted = vi->hosted;

    vi->closing = true;
    vi->state = CARRICK_VI_CLOSED;
    complete(vi, vi->last_status != CARRICK_OK ? vi->last_status : CARRICK_ERR_CANCELLED,
             UINT32_MAX);
    hosted->vis[vi->number] = NULL;
    hosted->ops->vi_changed(hosted->instance, vi, CARRICK_VI_CLOSED);
    free(vi);
}

void hosted_vi_changed(struct hosted *hosted, const struct channel_vi *event)
{
    struct carrick_vi *vi = hosted_vi(hosted, event->vi, event->generation);

    if (vi == NULL)
        return;
    if (event->state == CARRICK_VI_CLOSED) {
        vi_end(vi);
        return;
    }
    vi->state = event->state;
    hosted->ops->vi_changed(hosted->instance, vi, event->state);
}

void hosted_vis_end(struct hosted *hosted)
{
    for (uint32_t i = 0; i < CARRICK_CLIENT_VIS_MAX; i++)
        if (hosted->vis[i] != NULL)
            vi_end(hosted->vis[i]);
}

// ---- by the plugin

int hosted_vi_open(const struct carrick_client_host *base, uint32_t number, struct carrick_vi **out)
{
    struct hosted *hosted = ((const struct hosted_host *)(const void *)base)->hosted;
    struct channel_message answer;
    struct carrick_vi *vi;
    int status;

    if (!hosted->ready)
        return CARRICK_ERR_STATE;
    if (number >= CARRICK_CLIENT_VIS_MAX)
        return CARRICK_ERR_LIMIT;
    if (hosted->vis[number] != NULL)
        return CARRICK_ERR_EXISTS;
    host_call(hosted, &(struct channel_message){.a = CHANNEL_VI_OPEN, .b = number}, &answer);
    status = (int)answer.a;
    vi = status == CARRICK_OK
             ? hosted_vi_make(hosted, number, (uint32_t)answer.b, CARRICK_VI_OPENING)
             : NULL;
    channel_message_end(&answer);
    if (status != CARRICK_OK)
        return status;
    if (vi == NULL)
        host_end();
    *out = vi;
    return CARRICK_OK;
}

int hosted_vi_close(struct carrick_vi *vi)
{
    struct channel_vi close = {.vi = vi->number, .generation = vi->generation};

    if (vi->closing)
        return CARRICK_ERR_STATE;
    vi->closing = true;
    hosted_put(vi->hosted, CHANNEL_OP_CLOSE, &close, sizeof(close), NULL, 0);
    return CARRICK_OK;
}

uint32_t hosted_vi_room(struct carrick_vi *vi)
{
    return HOSTED_VI_DEPTH - (uint32_t)(vi->tail - vi->head);
}

static int access_check(const struct hosted *hosted, const struct carrick_op *op)
{
    uint32_t access = op->operation == CARRICK_CLIENT_WRITE ? CARRICK_ACCESS_REMOTE_WRITE
                                                            : CARRICK_ACCESS_REMOTE_READ;

    if (op->length > 0 && op->region == NULL)
        return CARRICK_ERR_INVALID;
    if (op->length > 0 && (op->region->hosted != hosted || op->offset > op->region->bytes ||
                           op->length > op->region->bytes - op->offset))
        return CARRICK_ERR_BOUNDS;
    if (op->there >= hosted->want_count)
        return CARRICK_ERR_NOT_FOUND;
    if (op->there_offset > hosted->there_bytes[op->there] ||
        op->length > hosted->there_bytes[op->there] - op->there_offset)
        return CARRICK_ERR_BOUNDS;
    return (hosted->wants[op->there].access & access) == 0 ? CARRICK_ERR_DENIED : CARRICK_OK;
}

static int op_check(const struct hosted *hosted, const struct carrick_op *op)
{
    switch (op->operation) {
    case CARRICK_CLIENT_FLUSH:
        return CARRICK_OK;
    case CARRICK_CLIENT_SEND:
        if (op->length > CARRICK_SEND_BYTES_MAX)
            return CARRICK_ERR_LIMIT;
        return op->length > 0 && op->data == NULL ? CARRICK_ERR_INVALID : CARRICK_OK;
    case CARRICK_CLIENT_WRITE:
    case CARRICK_CLIENT_READ:
        return access_check(hosted, op);
    default:
        return CARRICK_ERR_NOT_SUPPORTED;
    }
}

static void op_put(struct carrick_vi *vi, const struct carrick_op *op)
{
    bool moves = op->operation == CARRICK_CLIENT_WRITE || op->operation == CARRICK_CLIENT_READ;
    bool sends = op->operation == CARRICK_CLIENT_SEND;
    struct carrick_region *region = moves && op->length > 0 ? op->region : NULL;
    struct channel_post post = {
        .vi = vi->number,
        .generation = vi->generation,
        .operation = op->operation,
        .there = moves ? op->there : 0,
        .region = region != NULL ? region->number : CHANNEL_NO_REGION,
        .offset = moves ? op->offset : 0,
        .length = op->operation == CARRICK_CLIENT_FLUSH ? 0 : op->length,
        .there_offset = moves ? op->there_offset : 0,
    };

    vi->ops[vi->tail++ % HOSTED_VI_DEPTH] =
        (struct hosted_op){.cookie = op->cookie, .region = region};
    if (region != NULL)
        region->operations++;
    hosted_put(vi->hosted, CHANNEL_OP_POST, &post, sizeof(post), sends ? op->data : NULL,
               sends ? (uint32_t)op->length : 0);
}

int hosted_post(struct carrick_vi *vi, const struct carrick_op *ops, uint32_t count)
{
    if (vi->closing || vi->state == CARRICK_VI_OPENING || vi->state == CARRICK_VI_CLOSED)
        return CARRICK_ERR_STATE;
    if (count > hosted_vi_room(vi))
        return CARRICK_ERR_AGAIN;
    for (uint32_t i = 0; i < count; i++) {
        int status = op_check(vi->hosted, carrick_op_at(ops, i));

        if (status != CARRICK_OK)
            return status;
    }
    for (uint32_t i = 0; i < count; i++)
        op_put(vi, carrick_op_at(ops, i));
    return CARRICK_OK;
}
