// SPDX-License-Identifier: Apache-2.0
//
// The form with a descriptor: the socket itself, over which the daemon sends a byte when the caller has said, by an
// empty reap, that it sleeps.
#include "lib/block_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

int carrick_block_descriptor(const struct carrick_block *block)
{
    return block->is_async ? block->fd : -1;
}

static int request_check(const struct carrick_block *b, const struct carrick_block_request *request)
{
    bool data =
        request->operation == CARRICK_BLOCK_READ || request->operation == CARRICK_BLOCK_WRITE;
    if (!b->is_async || request->struct_size < sizeof(*request) || (data && !request->data) ||
        (request->operation != CARRICK_BLOCK_FLUSH && request->length == 0))
        return EINVAL;
    return data && request->length > b->ring.slot_bytes ? EMSGSIZE : 0;
}

int carrick_block_submit(struct carrick_block *block, const struct carrick_block_request *request)
{
    int error = request_check(block, request);
    if (error)
        return error;
    int slot = slot_take(block, false);
    if (slot < 0)
        return block->over ? ESHUTDOWN : EAGAIN;
    struct slot *s = &block->slot[slot];
    s->cookie = request->cookie;
    s->length = request->length;
    s->buffer = request->operation == CARRICK_BLOCK_READ ? request->data : NULL;
    struct ring_request r = {.operation = request->operation,
                             .flags = request->flags,
                             .slot = (uint32_t)slot,
                             .offset = request->offset,
                             .length = request->length};
    if (request->operation == CARRICK_BLOCK_WRITE)
        memcpy(ring_data(&block->ring, r.slot), request->data, request->length);
    request_put(block, &r);
    return 0;
}

// What the daemon sent only wakes; what counts is whether it is still there.
static void look_at_socket(struct carrick_block *b)
{
    char bytes[64];
    ssize_t got = recv(b->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        block_over(b);
}

static int take(struct carrick_block *b, struct carrick_block_result *results, int max)
{
    int count = 0;
    while (count < max) {
        int slot = answer_take(b);
        if (slot == -1)
            break;
        if (slot < 0) {
            block_over(b);
            break;
        }
        struct slot *s = &b->slot[slot];
        if (s->buffer && !s->error)
            memcpy(s->buffer, ring_data(&b->ring, (uint32_t)slot), s->length);
        results[count++] = (struct carrick_block_result){.cookie = s->cookie, .error = s->error};
        slot_release(b, (uint32_t)slot);
    }
    return count;
}

int carrick_block_reap(struct carrick_block *block, struct carrick_block_result *results, int max)
{
    if (!block->is_async || max <= 0)
        return -EINVAL;
    if (!block->over)
        look_at_socket(block);
    for (;;) {
        if (block->over)
            return -ESHUTDOWN;
        int count = take(block, results, max);
        if (count)
            return count;
        if (!ring_fall_asleep(&block->ring, RING_USER_SLEEPS, RING_SLEEPS_ON_SOCKET,
                              RING_ANSWER_TAIL, block->answer_head))
            return block->over ? -ESHUTDOWN : 0;
    }
}
