// SPDX-License-Identifier: Apache-2.0
//
// Lanes: one endpoint of the transport, and the record of what is posted on it. Entries retire in the order of posting,
// when they are done and proven. When the endpoint fails, what has not retired stays on record until the fence
// tells how far it came.
#ifndef CORE_LANE_H
#define CORE_LANE_H

#include "core/model.h"

#define LANE_BATCH 16u     // entries posted at once
#define CONTROL_RESERVE 8u // places of a control lane that what can be many does not take

int lane_init(struct lane *lane, struct conn *conn, uint32_t index);
void lane_free(struct lane *lane);

// One entry to post.
struct lane_item {
    uint32_t operation; // enum carrick_operation
    void *local;
    struct region *region; // that holds local; NULL only with length 0
    uint64_t length;
    uint64_t remote; // base + offset
    uint32_t key;
    struct vi *vi; // the entry's owner is a VI's operation, …
    struct vi_op *op;
    void (*fn)(void *arg,
               int status); // … or the manager, which is told when the entry retires (may be NULL);
    void *arg;              // not told when the lane is lost
    void *buffer;           // send buffer that is given back when the entry retires or is dropped
};

// How many entries can be posted now.
uint32_t lane_places(const struct lane *lane, uint32_t operation);
// Whether an entry of this length can be posted now.
bool lane_has_room(const struct lane *lane, uint32_t operation, uint64_t length);
// Posts up to LANE_BATCH entries for which there is room. On an error nothing was posted.
int lane_post(struct lane *lane, const struct lane_item *items, uint32_t count);
// Where completions prove nothing: posts a flush behind what is not proven yet.
void lane_prove(struct lane *lane);

// Sends a message on a control lane; false when there is no room or it is not open (the caller tries again, or does
// without: every message is either answered, repeated, or made up for by a deadline).
bool lane_send_message(struct lane *lane, const struct message *message);
bool lane_send_mark(struct lane *lane, enum lane_mark mark);

// CARRICK_EVENT_COMPLETION.
void lane_completed(const struct carrick_event *event);
// CARRICK_EVENT_SEND_ROOM.
void lane_send_room(const struct carrick_event *event);

// The endpoint is CLOSED for good and it is known how far it came: entries below `applied` are done, the others are
// dropped, and their VIs post them again (vi_carry.c). Reads are never done by this.
void lane_settle(struct lane *lane, uint64_t applied);
// The number below which all entries were applied when the target has received so many sends.
uint64_t lane_applied_by_sends(const struct lane *lane, uint64_t sends);
// The highest number that applied can have when the target's manager has taken so many sends and no more: what its
// transport counted beyond may have been thrown away with the endpoint.
uint64_t lane_applied_at_most(const struct lane *lane, uint64_t sends);

static inline uint32_t lane_posted(const struct lane *lane)
{
    return (uint32_t)(lane->tail - lane->head);
}

#endif
