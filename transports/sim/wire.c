// SPDX-License-Identifier: Apache-2.0
//
// Wires: what is under way between two ends, in order each way, and what becomes of it when an end is gone.
#include "transports/sim/sim_internal.h"

#include <stdlib.h>
#include <string.h>

// ---- messages

struct sim_message *message_create(struct sim_fabric *fabric, uint32_t kind)
{
    struct sim_message *message = fabric->spare;

    if (message != NULL)
        fabric->spare = message->next;
    else
        message = malloc(sizeof(*message));
    // A test's network may end the test when memory is out.
    if (message == NULL)
        abort();
    memset(message, 0, sizeof(*message));
    message->kind = kind;
    return message;
}

void message_destroy(struct sim_fabric *fabric, struct sim_message *message)
{
    free(message->owned);
    message->next = fabric->spare;
    fabric->spare = message;
}

bool message_own(struct sim_message *message)
{
    if (message->from == NULL || message->owned != NULL || message->length == 0)
        return true;
    message->owned = malloc(message->length);
    if (message->owned == NULL)
        return false;
    memcpy(message->owned, message->from, message->length);
    message->from = message->owned;
    return true;
}

// ---- lanes

static void lane_init(struct sim_lane *lane, struct sim_wire *wire, uint32_t to)
{
    lane->item.kind = SIM_ITEM_LANE;
    lane->wire = wire;
    lane->to = to;
    lane->last = &lane->first;
}

uint32_t lane_length(const struct sim_lane *lane)
{
    uint32_t count = 0;

    for (const struct sim_message *message = lane->first; message != NULL; message = message->next)
        count++;
    return count;
}

void lane_drop(struct sim_lane *lane, uint32_t keep)
{
    struct sim_fabric *fabric = lane->wire->fabric;
    struct sim_message **at = &lane->first, *message, *next;

    for (; keep > 0 && *at != NULL; keep--)
        at = &(*at)->next;
    for (message = *at; message != NULL; message = next) {
        next = message->next;
        message_destroy(fabric, message);
    }
    *at = NULL;
    lane->last = at;
    if (lane->first == NULL)
        fabric_take(fabric, &lane->item);
}

// Whether the first message cannot get through now.
bool lane_blocked(const struct sim_lane *lane)
{
    const struct sim_wire *wire = lane->wire;
    const struct sim_path *path = wire->path;
    const struct sim_port *to = wire->port[lane->to];
    const struct carrick_endpoint *end = wire->end[lane->to];

    if (path->silent_to[path->port[1] == to] || path->port[0]->down || path->port[1]->down)
        return true;
    if (to->node != NULL && to->node->frozen && !to->node->memory_open)
        return true;
    return lane->first->kind == SIM_SEND && end != NULL && end->state == SIM_ENDPOINT_CONNECTED &&
           end->receives >= end->receive_depth;
}

void lane_kick(struct sim_lane *lane)
{
    struct sim_fabric *fabric = lane->wire->fabric;
    uint64_t now;

    if (lane->dead)
        lane_drop(lane, 0);
    if (lane->first == NULL || lane->item.place != 0 || lane_blocked(lane))
        return;
    now = fabric_now(fabric);
    fabric_put(fabric, &lane->item, lane->first->due > now ? lane->first->due : now);
}

void wire_send(struct sim_wire *wire, uint32_t to, struct sim_message *message)
{
    struct sim_fabric *fabric = wire->fabric;
    struct sim_path *path = wire->path;
    struct sim_lane *lane = &wire->lane[to];

    if (wire->broken || lane->dead) {
        message_destroy(fabric, message);
        return;
    }
    message->due = fabric_now(fabric) + path->delay_min_ns +
                   fabric_random(fabric, path->delay_max_ns - path->delay_min_ns + 1);
    if (message->due < lane->last_due)
        message->due = lane->last_due;
    lane->last_due = message->due;
    *lane->last = message;
    lane->last = &message->next;
    lane_kick(lane);
}

void fabric_kick(struct sim_fabric *fabric)
{
    for (struct sim_wire *wire = fabric->wires; wire != NULL; wire = wire->next) {
        lane_kick(&wire->lane[0]);
        lane_kick(&wire->lane[1]);
    }
}

// ---- wires

struct sim_wire *wire_create(struct sim_fabric *fabric, struct sim_port *from, struct sim_port *to)
{
    struct sim_wire *wire = calloc(1, sizeof(*wire));
    struct sim_path *path = fabric_path(fabric, from, to);

    if (wire == NULL || path == NULL) {
        free(wire);
        return NULL;
    }
    wire->fabric = fabric;
    wire->path = path;
    wire->port[0] = from;
    wire->port[1] = to;
    lane_init(&wire->lane[0], wire, 0);
    lane_init(&wire->lane[1], wire, 1);
    wire->next = fabric->wires;
    fabric->wires = wire;
    return wire;
}

void wire_collect(struct sim_wire *wire)
{
    struct sim_wire **at = &wire->fabric->wires;

    if (wire->end[0] != NULL || wire->end[1] != NULL || wire->lane[0].first != NULL ||
        wire->lane[1].first != NULL)
        return;
    while (*at != wire)
        at = &(*at)->next;
    *at = wire->next;
    fabric_take(wire->fabric, &wire->lane[0].item);
    fabric_take(wire->fabric, &wire->lane[1].item);
    free(wire);
}

void fabric_reads_drop(struct sim_fabric *fabric, struct carrick_endpoint *target)
{
    struct sim_read **at = &fabric->reads;

    while (*at != NULL) {
        struct sim_read *read = *at;

        if (read->target != target) {
            at = &read->next;
            continue;
        }
        *at = read->next;
        fabric_take(fabric, &read->item);
        free(read);
    }
}

// Takes an end away. From here on nothing of the wire touches that end's memory, unless the fence is broken on purpose:
// what it had sent has left its memory, and what is on the way to it is lost.
void wire_detach(struct sim_wire *wire, uint32_t end)
{
    struct sim_fabric *fabric = wire->fabric;
    struct sim_lane *from = &wire->lane[!end], *to = &wire->lane[end];

    for (struct sim_message *message = from->first; message != NULL; message = message->next)
        if (!message_own(message))
            abort();
    fabric_reads_drop(fabric, wire->end[end]);
    wire->end[end]->wire = NULL;
    wire->end[end] = NULL;
    wire->gone[end] = true;
    if (!fabric->options.break_fence) {
        fabric->counters.fenced += lane_length(to);
        lane_drop(to, 0);
        if (wire->gone[!end])
            lane_drop(from, 0);
    }
    wire_collect(wire);
}
