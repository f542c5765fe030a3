// SPDX-License-Identifier: Apache-2.0
//
// From a VI's queue onto its lane, in order, cut into chunks; and from what the lane retires back to the client.
//
// A write that overlaps one that is not proven yet waits: were both in flight when the lane fails, posting them again
// could bring back the older bytes for a moment, after the newer ones had been seen. It waits for a read before it, too,
// which may be answered late, or posted again, and must not see what was posted after it.
#include <stdlib.h>
#include <string.h>

#include "core/client.h"
#include "core/conn.h"
#include "core/lane.h"
#include "core/link.h"
#include "core/placement.h"
#include "core/region.h"
#include "core/vi.h"

static bool writes_overlap(const struct client *client, const struct vi_op *op)
{
    // One that has begun was let through, and what stands beside it came after it; one without bytes overlaps nothing.
    if (op->writing_back != NULL || op->length == 0)
        return false;
    for (const struct vi_op *other = client->writing; other != NULL; other = other->writing_next)
        if (other != op && other->there == op->there &&
            other->there_offset < op->there_offset + op->length &&
            op->there_offset < other->there_offset + other->length)
            return true;
    return false;
}

static void writing_begin(struct client *client, struct vi_op *op)
{
    if (op->writing_back != NULL)
        return;
    op->writing_next = client->writing;
    if (op->writing_next != NULL)
        op->writing_next->writing_back = &op->writing_next;
    op->writing_back = &client->writing;
    client->writing = op;
}

static void writing_end(struct vi_op *op)
{
    if (op->writing_back == NULL)
        return;
    *op->writing_back = op->writing_next;
    if (op->writing_next != NULL)
        op->writing_next->writing_back = op->writing_back;
    op->writing_back = NULL;
}

static void vi_hold(struct vi *vi)
{
    if (!vi->held)
        vi->client->held++;
    vi->held = true;
}

static void vi_release(struct vi *vi)
{
    if (vi->held)
        vi->client->held--;
    vi->held = false;
}

// ---- onto the lane

static uint32_t lane_operation(const struct vi_op *op)
{
    static const uint32_t operations[] = {
        [CARRICK_CLIENT_WRITE] = CARRICK_OP_WRITE,
        [CARRICK_CLIENT_READ] = CARRICK_OP_READ,
        [CARRICK_CLIENT_SEND] = CARRICK_OP_SEND,
        [CARRICK_CLIENT_FLUSH] = CARRICK_OP_FLUSH,
    };
    // Without a byte to move there is only the order to keep.
    if (op->length == 0 && op->operation != CARRICK_CLIENT_SEND)
        return CARRICK_OP_FLUSH;
    return operations[op->operation];
}

static uint64_t chunk_bytes(const struct lane *lane, const struct vi_op *op)
{
    uint64_t left = op->length - op->posted_bytes;
    uint64_t max = lane->conn->link->caps.max_message_bytes;

    if (op->operation == CARRICK_CLIENT_SEND)
        return op->length;
    if (max > CHUNK_BYTES_MAX)
        max = CHUNK_BYTES_MAX;
    return left < max ? left : max;
}

static void chunk_fill(struct vi *vi, struct vi_op *op, uint64_t bytes, struct lane_item *item)
{
    const struct conn *conn = vi->lane->conn;
    struct manager *manager = vi->client->manager;

    *item =
        (struct lane_item){.operation = lane_operation(op), .length = bytes, .vi = vi, .op = op};
    if (op->operation == CARRICK_CLIENT_SEND) {
        item->local = op->buffer;
        item->region = manager->pool;
        item->length = SEND_HEADER_BYTES + op->length;
    } else if (op->length > 0) {
        const struct carrick_remote_key *key = &conn->keys[vi->client->there_first + op->there];

        item->local = region_at(op->region, op->offset + op->posted_bytes);
        item->region = op->region;
        item->remote = key->base + op->there_offset + op->posted_bytes;
        item->key = key->key;
    }
}

// The bytes of a send must lie in a buffer of the pool when it is posted. Who waits longer comes first.
static bool buffer_take(struct vi *vi, struct vi_op *op)
{
    struct manager *manager = vi->client->manager;

    if (op->buffer != NULL)
        return true;
    if (manager->wants_buffer != NULL && !manager->buffer_turn)
        return false;
    op->buffer = send_buffer_get(manager, false);
    if (op->buffer == NULL)
        return false;
    memcpy(op->buffer, op->spilled, SEND_HEADER_BYTES + op->length);
    free(op->spilled);
    op->spilled = NULL;
    return true;
}

enum readiness { READY, NO_ROOM, NO_BUFFER, HELD };

static enum readiness chunk_readiness(struct vi *vi, struct vi_op *op, uint32_t batched,
                                      uint64_t batched_bytes)
{
    const struct lane *lane = vi->lane;
    uint64_t bytes = chunk_bytes(lane, op);

    if (batched >= LANE_BATCH || batched >= lane_places(lane, lane_operation(op)) ||
        !lane_has_room(lane, lane_operation(op), batched_bytes + bytes))
        return NO_ROOM;
    // lane_has_room lets the first operation of an idle lane be of any length; this batch may hold one already.
    if (batched_bytes > 0 && lane->inflight_bytes + batched_bytes + bytes > LANE_WINDOW_BYTES)
        return NO_ROOM;
    if (op->region != NULL && !region_ready(op->region, lane->conn->link))
        return HELD;
    if (op->operation == CARRICK_CLIENT_WRITE && writes_overlap(vi->client, op))
        return HELD;
    return op->operation != CARRICK_CLIENT_SEND || buffer_take(vi, op) ? READY : NO_BUFFER;
}

// Fills a batch from the queue. Returns how many, and in *end why it ended.
static uint32_t batch_fill(struct vi *vi, struct lane_item *items, enum readiness *end)
{
    uint32_t count = 0;
    uint64_t bytes_total = 0;

    *end = READY;
    while (vi->next != vi->tail) {
        struct vi_op *op = vi_entry(vi, vi->next);
        uint64_t bytes;

        if (op->state != VI_OP_QUEUED) { // done already, when others before it are posted again
            vi->next++;
            continue;
        }
        // A read has a limit of its own: one to a batch keeps its count exact.
        if (op->operation == CARRICK_CLIENT_READ && count > 0)
            return count;
        *end = chunk_readiness(vi, op, count, bytes_total);
        if (*end != READY)
            return count;
        bytes = chunk_bytes(vi->lane, op);
        chunk_fill(vi, op, bytes, &items[count++]);
        bytes_total += bytes;
        if ((op->operation == CARRICK_CLIENT_WRITE || op->operation == CARRICK_CLIENT_READ) &&
            bytes > 0)
            writing_begin(vi->client, op);
        op->posted_bytes += op->operation == CARRICK_CLIENT_SEND ? op->length : bytes;
        op->chunks++;
        vi->inflight++;
        if (op->posted_bytes == op->length) {
            op->state = VI_OP_POSTED;
            vi->next++;
        }
        if (op->operation == CARRICK_CLIENT_READ)
            return count;
    }
    return count;
}

// The batch was not taken: as if the chunk had not been cut off. Called from the last of the batch to the first.
static void chunk_unpost(struct vi *vi, const struct lane_item *item)
{
    struct vi_op *op = item->op;

    vi->inflight--;
    op->chunks--;
    op->posted_bytes -= op->operation == CARRICK_CLIENT_SEND ? op->length : item->length;
    op->state = VI_OP_QUEUED;
    vi->next = vi->head + (((uint64_t)(op - vi->ring) - vi->head) & (VI_DEPTH - 1));
}

static void vi_wait_for_room(struct vi *vi)
{
    struct lane *lane = vi->lane;

    if (vi->waiting)
        return;
    vi->waiting = true;
    vi->waiting_next = NULL;
    *lane->waiting_end = vi;
    lane->waiting_end = &vi->waiting_next;
}

static void vi_wait_for_buffer(struct vi *vi)
{
    struct manager *manager = vi->client->manager;

    if (vi->wants_buffer)
        return;
    if (manager->wants_buffer == NULL)
        manager->wants_buffer_end = &manager->wants_buffer;
    vi->wants_buffer = true;
    vi->buffer_next = NULL;
    *manager->wants_buffer_end = vi;
    manager->wants_buffer_end = &vi->buffer_next;
}

void vi_buffer_forget(struct vi *vi)
{
    struct manager *manager = vi->client->manager;
    struct vi **at = &manager->wants_buffer;

    if (!vi->wants_buffer)
        return;
    while (*at != vi)
        at = &(*at)->buffer_next;
    *at = vi->buffer_next;
    if (manager->wants_buffer_end == &vi->buffer_next)
        manager->wants_buffer_end = at;
    vi->wants_buffer = false;
}

// One that wants more than there was goes behind the others.
void vi_buffers_go_on(struct manager *manager)
{
    manager->buffer_turn = true;
    while (manager->wants_buffer != NULL && manager->pool_free_count > POOL_RESERVE) {
        struct vi *vi = manager->wants_buffer;

        vi_buffer_forget(vi);
        vi_pump(vi);
    }
    manager->buffer_turn = false;
}

void vi_pump(struct vi *vi)
{
    struct lane_item items[LANE_BATCH];
    enum readiness end = READY;
    uint32_t count;

    if (vi->lane == NULL || vi->closing || vi->bound != NULL || vi->waiting)
        return;
    do {
        count = batch_fill(vi, items, &end);
        if (count > 0 && lane_post(vi->lane, items, count) != CARRICK_OK) {
            // The transport had less room than it said, or the endpoint is lost and its DISCONNECTED on the way.
            for (uint32_t i = count; i-- > 0;)
                chunk_unpost(vi, &items[i]);
            end = NO_ROOM;
        }
    } while (end == READY && vi->next != vi->tail);
    if (end == NO_ROOM)
        vi_wait_for_room(vi);
    else if (end == NO_BUFFER)
        vi_wait_for_buffer(vi);
    else if (end == HELD)
        vi_hold(vi);
    lane_prove(vi->lane);
}

void vi_lane_has_room(struct lane *lane)
{
    struct vi *vi = lane->waiting, *next, *served = NULL, **served_end = &served;

    // Each gets a turn, in order. Who got something and wants more goes behind those who found no room: else the first
    // of them would take each place that becomes free.
    lane->waiting = NULL;
    lane->waiting_end = &lane->waiting;
    for (; vi != NULL; vi = next) {
        struct vi **end = lane->waiting_end;
        uint32_t before = vi->inflight;

        next = vi->waiting_next;
        vi->waiting = false;
        vi->waiting_next = NULL;
        vi_pump(vi);
        if (!vi->waiting || vi->inflight == before)
            continue;
        lane->waiting_end = end;
        *end = NULL;
        *served_end = vi;
        served_end = &vi->waiting_next;
    }
    *lane->waiting_end = served;
    if (served != NULL)
        lane->waiting_end = served_end;
}

// A VI that is still held back holds itself again, so each gets one turn.
static void held_go_on(struct client *client)
{
    for (uint32_t i = 0; client->held > 0 && i < client->vis_room; i++) {
        struct vi *vi = client->vis[i];

        if (vi == NULL || !vi->held)
            continue;
        vi_release(vi);
        vi_pump(vi);
    }
}

void vi_link_changed(struct link *link)
{
    struct manager *manager = link->manager;

    for (uint32_t i = 0; i < manager->ranked_count; i++)
        held_go_on(manager->ranked[i]);
}

// ---- back to the client

static void op_end(struct vi *vi, struct vi_op *op)
{
    if (op->buffer != NULL)
        send_buffer_put(vi->client->manager, op->buffer);
    op->buffer = NULL;
    free(op->spilled);
    op->spilled = NULL;
    if (op->region != NULL)
        op->region->operations--;
    op->region = NULL;
}

static void vi_complete_head(struct vi *vi)
{
    while (vi->head != vi->tail && vi_entry(vi, vi->head)->state == VI_OP_DONE) {
        struct vi_op *op = vi_entry(vi, vi->head);

        op_end(vi, op);
        if (vi->next == vi->head)
            vi->next++;
        vi->head++;
        vi->completed_total++;
        if (op->operation == CARRICK_CLIENT_SEND)
            vi->sends_done++;
        client_complete(vi->client, vi, op->cookie, CARRICK_OK);
    }
}

void vi_chunk_done(struct vi *vi, struct vi_op *op, uint64_t bytes)
{
    vi->inflight--;
    op->chunks--;
    op->done_bytes += op->operation == CARRICK_CLIENT_SEND ? op->length : bytes;
    if (op->done_bytes == op->length && op->state == VI_OP_POSTED) {
        op->state = VI_OP_DONE;
        if (op->writing_back != NULL) {
            writing_end(op);
            held_go_on(vi->client);
        }
        vi_complete_head(vi);
    }
    // One that waits to go over to another link goes now: until then it posts nothing.
    if (vi->bound != NULL && vi->inflight == 0)
        placement_drained(vi);
    vi_close_if_drained(vi);
}

// The chunk did not arrive, or it is not known that it did: it is posted again, after all of the old lane is settled.
void vi_chunk_lost(struct vi *vi, struct vi_op *op)
{
    vi->inflight--;
    op->chunks--;
    if (op->chunks > 0)
        return;
    op->posted_bytes = op->done_bytes;
    op->state = VI_OP_QUEUED;
    vi->next = vi->head;
}

void vi_complete_all(struct vi *vi, int status)
{
    bool all_done = true;

    for (; vi->head != vi->tail; vi->head++) {
        struct vi_op *op = vi_entry(vi, vi->head);

        writing_end(op);
        op_end(vi, op);
        // What is done behind something that is not must not look as if all before it were.
        all_done = all_done && op->state == VI_OP_DONE;
        client_complete(vi->client, vi, op->cookie, all_done ? CARRICK_OK : status);
        vi->completed_total++;
    }
    vi->next = vi->head;
    vi_release(vi);
    // What waited for a write of this VI that is given up now may go.
    held_go_on(vi->client);
}
