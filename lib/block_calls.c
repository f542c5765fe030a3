// SPDX-License-Identifier: Apache-2.0
//
// The blocking form.
#include "lib/block_internal.h"

#include <errno.h>
#include <string.h>

// Pieces of one call that are under way, in order.
struct pieces {
    struct carrick_block *block;
    uint32_t operation, flags;
    unsigned char *into;       // READ
    const unsigned char *from; // WRITE
    uint64_t offset, length;
    uint64_t put, done; // bytes whose requests were put in, were answered
    uint32_t first, count;
    uint32_t slot[RING_SLOTS_MAX]; // a ring
    int error;
};

static uint64_t piece_length(const struct pieces *p, uint64_t at)
{
    uint64_t left = p->length - at;
    return left < p->block->ring.slot_bytes ? left : p->block->ring.slot_bytes;
}

static void piece_put(struct pieces *p, uint32_t slot)
{
    struct carrick_block *b = p->block;
    struct ring_request request = {.operation = p->operation,
                                   .flags = p->flags,
                                   .slot = slot,
                                   .offset = p->offset + p->put,
                                   .length = piece_length(p, p->put)};
    if (p->from)
        memcpy(ring_data(&b->ring, slot), p->from + p->put, request.length);
    request_put(b, &request);
    p->put += request.length;
    p->slot[(p->first + p->count++) % RING_SLOTS_MAX] = slot;
}

static void piece_wait(struct pieces *p)
{
    struct carrick_block *b = p->block;
    uint32_t slot = p->slot[p->first];
    uint64_t length = piece_length(p, p->done);
    int error = slot_wait(b, slot);
    if (error && !p->error)
        p->error = error;
    if (!error && p->into)
        memcpy(p->into + p->done, ring_data(&b->ring, slot), length);
    // When the connection is over the daemon may still be at the slot: it is not used again.
    if (!b->over)
        slot_release(b, slot);
    p->done += length;
    p->first = (p->first + 1) % RING_SLOTS_MAX;
    p->count--;
}

// Waits for a slot only while it holds none: else two calls could each wait for what the other holds.
static int pieces_run(struct pieces *p)
{
    if (p->block->is_async)
        return EINVAL;
    while (!p->error && p->put < p->length) {
        int slot = slot_take(p->block, p->count == 0);
        if (slot >= 0)
            piece_put(p, (uint32_t)slot);
        else if (p->count)
            piece_wait(p);
        else
            p->error = ESHUTDOWN;
    }
    while (p->count)
        piece_wait(p);
    return p->error;
}

int carrick_block_pread(struct carrick_block *block, void *buffer, size_t length, uint64_t offset)
{
    struct pieces p = {.block = block,
                       .operation = CARRICK_BLOCK_READ,
                       .into = buffer,
                       .offset = offset,
                       .length = length};
    return pieces_run(&p);
}

int carrick_block_pwrite(struct carrick_block *block, const void *buffer, size_t length,
                         uint64_t offset, uint32_t flags)
{
    struct pieces p = {.block = block,
                       .operation = CARRICK_BLOCK_WRITE,
                       .flags = flags,
                       .from = buffer,
                       .offset = offset,
                       .length = length};
    return pieces_run(&p);
}

static int one(struct carrick_block *block, uint32_t operation, uint64_t length, uint64_t offset,
               uint32_t flags)
{
    if (block->is_async)
        return EINVAL;
    int slot = slot_take(block, true);
    if (slot < 0)
        return ESHUTDOWN;
    struct ring_request request = {.operation = operation,
                                   .flags = flags,
                                   .slot = (uint32_t)slot,
                                   .offset = offset,
                                   .length = length};
    request_put(block, &request);
    int error = slot_wait(block, (uint32_t)slot);
    if (!block->over)
        slot_release(block, (uint32_t)slot);
    return error;
}

int carrick_block_flush(struct carrick_block *block)
{
    return one(block, CARRICK_BLOCK_FLUSH, 0, 0, 0);
}

int carrick_block_trim(struct carrick_block *block, uint64_t length, uint64_t offset,
                       uint32_t flags)
{
    return length ? one(block, CARRICK_BLOCK_TRIM, length, offset, flags) : 0;
}

int carrick_block_zero(struct carrick_block *block, uint64_t length, uint64_t offset,
                       uint32_t flags)
{
    return length ? one(block, CARRICK_BLOCK_ZERO, length, offset, flags) : 0;
}

int carrick_block_on_over(struct carrick_block *block, void (*fn)(void *arg), void *arg)
{
    if (block->is_async)
        return EINVAL;
    pthread_mutex_lock(&block->lock);
    int error = block->has_on_over ? EALREADY : 0;
    if (!error) {
        block->has_on_over = true;
        block->on_over = fn;
        block->on_over_arg = arg;
        pthread_cond_signal(&block->watcher_wake);
    }
    pthread_mutex_unlock(&block->lock);
    return error;
}
