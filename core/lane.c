// SPDX-License-Identifier: Apache-2.0
#include "core/lane.h"

#include <stdlib.h>
#include <string.h>

#include "core/conn.h"
#include "core/link.h"
#include "core/region.h"
#include "core/vi.h"

#define LANE_RING_MAX 256u
#define CONTROL_RING 64u

int lane_init(struct lane *lane, struct conn *conn, uint32_t index)
{
    uint32_t wanted = index == CONTROL_LANE ? CONTROL_RING : LANE_RING_MAX;

    memset(lane, 0, sizeof(*lane));
    lane->conn = conn;
    lane->index = index;
    lane->size = 16;
    while (lane->size < wanted && lane->size * 2 <= conn->link->caps.max_posted)
        lane->size *= 2;
    lane->waiting_end = &lane->waiting;
    lane->ring = calloc(lane->size, sizeof(*lane->ring));
    return lane->ring == NULL ? CARRICK_ERR_NO_MEMORY : CARRICK_OK;
}

void lane_free(struct lane *lane)
{
    free(lane->ring);
    lane->ring = NULL;
}

static struct posted *lane_entry(const struct lane *lane, uint64_t number)
{
    return &lane->ring[number & (lane->size - 1)];
}

// The number of an entry that is on the ring.
static uint64_t lane_number(const struct lane *lane, const struct posted *entry)
{
    return lane->head + (((uint64_t)(entry - lane->ring) - lane->head) & (lane->size - 1));
}

uint32_t lane_places(const struct lane *lane, uint32_t operation)
{
    uint32_t places = lane->size - lane_posted(lane), room;

    // Where completions prove nothing, the last place is for the flush without which no other would become free.
    if (places > 0 && operation != CARRICK_OP_FLUSH &&
        lane->conn->link->caps.proof == CARRICK_PROOF_LOCAL)
        places--;
    if (operation != CARRICK_OP_SEND || places == 0 || lane->state != LANE_OPEN)
        return places;
    // A send that waits for the partner's processor waits in its VI, not here: what reads the memory of a partner that
    // stands still must find the lane free.
    room = lane->conn->link->ops->send_room(lane->endpoint, LANE_BATCH);
    return room < places ? room : places;
}

bool lane_has_room(const struct lane *lane, uint32_t operation, uint64_t length)
{
    if (lane->state != LANE_OPEN || lane_places(lane, operation) == 0)
        return false;
    if (operation == CARRICK_OP_READ && lane->reads >= lane->conn->link->caps.max_reads)
        return false;
    return lane->inflight_bytes == 0 || lane->inflight_bytes + length <= LANE_WINDOW_BYTES;
}

static void work_fill(struct carrick_work *work, const struct lane *lane,
                      const struct lane_item *item, struct posted *entry)
{
    const struct link *link = lane->conn->link;

    *work = (struct carrick_work){
        .struct_size = sizeof(*work),
        .operation = item->operation,
        .cookie = (uint64_t)(uintptr_t)entry,
        .local = item->local,
        .length = item->length,
        .remote = item->remote,
        .key = item->key,
        .registration = item->region == NULL ? NULL : item->region->on[link->index].registration,
    };
}

static void entry_fill(struct posted *entry, struct lane *lane, const struct lane_item *item)
{
    *entry = (struct posted){
        .lane = lane,
        .operation = item->operation,
        .vi = item->vi,
        .op = item->op,
        .bytes = item->length,
        .buffer = item->buffer,
        .fn = item->fn,
        .arg = item->arg,
    };
}

int lane_post(struct lane *lane, const struct lane_item *items, uint32_t count)
{
    struct link *link = lane->conn->link;
    struct carrick_work works[LANE_BATCH];
    int status;

    if (lane->state != LANE_OPEN)
        return CARRICK_ERR_STATE;
    if (count > LANE_BATCH || count > lane->size - lane_posted(lane))
        return CARRICK_ERR_AGAIN;
    for (uint32_t i = 0; i < count; i++) {
        struct posted *entry = lane_entry(lane, lane->tail + i);

        entry_fill(entry, lane, &items[i]);
        work_fill(&works[i], lane, &items[i], entry);
    }
    status = link->ops->post(lane->endpoint, works, count);
    if (status != CARRICK_OK)
        return status;

    if (lane->head == lane->tail)
        lane->progress_ns = lane->head_since_ns = env_now_ns(link->manager->env);
    for (uint32_t i = 0; i < count; i++) {
        lane->inflight_bytes += items[i].length;
        if (items[i].operation == CARRICK_OP_READ)
            lane->reads++;
        lane->unproven =
            items[i].operation == CARRICK_OP_WRITE || items[i].operation == CARRICK_OP_SEND;
    }
    lane->tail += count;
    return CARRICK_OK;
}

void lane_prove(struct lane *lane)
{
    struct lane_item flush = {.operation = CARRICK_OP_FLUSH};

    if (lane->unproven && lane->conn->link->caps.proof == CARRICK_PROOF_LOCAL &&
        lane_has_room(lane, CARRICK_OP_FLUSH, 0))
        lane_post(lane, &flush, 1);
}

bool lane_send_message(struct lane *lane, const struct message *message)
{
    struct manager *manager = lane->conn->link->manager;
    struct lane_item item = {.operation = CARRICK_OP_SEND, .region = manager->pool};

    if (!lane_has_room(lane, CARRICK_OP_SEND, MESSAGE_BYTES_MAX))
        return false;
    item.buffer = send_buffer_get(manager, true);
    if (item.buffer == NULL)
        return false;
    item.local = item.buffer;
    item.length = message_put(message, item.buffer);
    if (lane_post(lane, &item, 1) != CARRICK_OK) {
        send_buffer_put(manager, item.buffer);
        return false;
    }
    lane_prove(lane);
    return true;
}

bool lane_send_mark(struct lane *lane, enum lane_mark mark)
{
    struct manager *manager = lane->conn->link->manager;
    struct send_header header = {.vi = SEND_MARK, .sequence = mark};
    struct lane_item item = {
        .operation = CARRICK_OP_SEND, .region = manager->pool, .length = SEND_HEADER_BYTES};

    if (!lane_has_room(lane, CARRICK_OP_SEND, SEND_HEADER_BYTES))
        return false;
    item.buffer = send_buffer_get(manager, true);
    if (item.buffer == NULL)
        return false;
    item.local = item.buffer;
    send_header_put(&header, item.buffer);
    if (lane_post(lane, &item, 1) != CARRICK_OK) {
        send_buffer_put(manager, item.buffer);
        return false;
    }
    lane_prove(lane);
    return true;
}

static void entry_retire(struct lane *lane, struct posted *entry, bool applied)
{
    struct posted retired = *entry;

    lane->head++;
    lane->inflight_bytes -= retired.bytes;
    if (applied && retired.operation == CARRICK_OP_SEND)
        lane->sends_retired++;
    if (retired.buffer != NULL)
        send_buffer_put(lane->conn->link->manager, retired.buffer);
    if (retired.vi != NULL && applied)
        vi_chunk_done(retired.vi, retired.op, retired.bytes);
    else if (retired.vi != NULL)
        vi_chunk_lost(retired.vi, retired.op);
    else if (retired.fn != NULL && applied)
        retired.fn(retired.arg, CARRICK_OK);
}

static void lane_has_room_again(struct lane *lane)
{
    if (lane->index == CONTROL_LANE) {
        conn_advance(lane->conn);
        vi_tell_some(lane->conn->link->manager);
    } else {
        vi_lane_has_room(lane);
    }
}

void lane_completed(const struct carrick_event *event)
{
    struct posted *done = (struct posted *)(uintptr_t)event->cookie;
    struct lane *lane = done->lane;
    struct link *link = lane->conn->link;
    bool local_proof = link->caps.proof == CARRICK_PROOF_LOCAL;

    // A failed operation means a lost endpoint; DISCONNECTED brings the rest.
    if (event->status != CARRICK_OK || lane->state != LANE_OPEN)
        return;
    lane->progress_ns = env_now_ns(link->manager->env);
    done->done = true;
    if (done->operation == CARRICK_OP_READ)
        lane->reads--;
    if (local_proof && (done->operation == CARRICK_OP_FLUSH || done->operation == CARRICK_OP_READ))
        // Completions come in order, so all entries up to this one are done, and this one proves them.
        lane->proven = lane_number(lane, done) + 1;

    while (lane->head != lane->tail && lane->state == LANE_OPEN) {
        struct posted *entry = lane_entry(lane, lane->head);

        if (!entry->done || (local_proof && lane->head >= lane->proven))
            break;
        lane->head_since_ns = lane->progress_ns;
        entry_retire(lane, entry, true);
    }
    lane_prove(lane); // if there was no room for it before
    lane_has_room_again(lane);
}

void lane_send_room(const struct carrick_event *event)
{
    struct lane *lane = (struct lane *)(uintptr_t)event->cookie;

    if (lane->state == LANE_OPEN)
        lane_has_room_again(lane);
}

uint64_t lane_applied_by_sends(const struct lane *lane, uint64_t sends)
{
    uint64_t applied = lane->head;

    // Sends that have retired were received; count on from there.
    sends -= lane->sends_retired < sends ? lane->sends_retired : sends;
    for (uint64_t number = lane->head; number != lane->tail && sends > 0; number++)
        if (lane_entry(lane, number)->operation == CARRICK_OP_SEND) {
            sends--;
            applied = number + 1;
        }
    return applied;
}

uint64_t lane_applied_at_most(const struct lane *lane, uint64_t sends)
{
    sends -= lane->sends_retired < sends ? lane->sends_retired : sends;
    for (uint64_t number = lane->head; number != lane->tail; number++)
        if (lane_entry(lane, number)->operation == CARRICK_OP_SEND && sends-- == 0)
            return number;
    return lane->tail;
}

void lane_settle(struct lane *lane, uint64_t applied)
{
    while (lane->head != lane->tail) {
        struct posted *entry = lane_entry(lane, lane->head);
        bool done = lane->head < applied && entry->operation != CARRICK_OP_READ;

        entry_retire(lane, entry, done);
    }
    lane->reads = 0;
}
