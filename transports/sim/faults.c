// SPDX-License-Identifier: Apache-2.0
//
// The switches by which a test makes the network misbehave.
#include "transports/sim/sim_internal.h"

#include <stdlib.h>
#include <string.h>

static struct sim_path *path_find(struct sim_fabric *fabric, const char *a, const char *b)
{
    struct sim_port *from = fabric_port(fabric, a), *to = fabric_port(fabric, b);
    struct sim_path *path = from != NULL && to != NULL ? fabric_path(fabric, from, to) : NULL;

    // A test's network may end the test when memory is out.
    if (path == NULL)
        abort();
    return path;
}

void sim_path_fault(struct sim_fabric *fabric, const char *a, const char *b, unsigned faults)
{
    struct sim_path *path = path_find(fabric, a, b);
    bool forward = strcmp(path->port[0]->address, a) == 0;

    path->silent_to[forward] = (faults & SIM_PATH_SILENT_THERE) != 0;
    path->silent_to[!forward] = (faults & SIM_PATH_SILENT_BACK) != 0;
    path->refusing = (faults & SIM_PATH_REFUSING) != 0;
    fabric_kick(fabric);
}

void sim_path_delay(struct sim_fabric *fabric, const char *a, const char *b, uint64_t min_ns,
                    uint64_t max_ns)
{
    struct sim_path *path = path_find(fabric, a, b);

    path->delay_min_ns = min_ns;
    path->delay_max_ns = max_ns < min_ns ? min_ns : max_ns;
}

// What is under way on a lane when its connection is reset: all, some or none of it still arrives, late.
static void lane_cut(struct sim_lane *lane, uint64_t late_ns)
{
    struct sim_fabric *fabric = lane->wire->fabric;
    uint64_t late = fabric_random(fabric, late_ns + 1);
    uint64_t last = 0;

    if (fabric_chance(fabric, 25))
        lane_drop(lane, 0);
    else if (fabric_chance(fabric, 33))
        lane_drop(lane, (uint32_t)fabric_random(fabric, lane_length(lane) + 1));
    for (struct sim_message *message = lane->first; message != NULL; message = message->next) {
        message->due += fabric_random(fabric, late + 1);
        if (message->due < last)
            message->due = last;
        last = message->due;
    }
    fabric_take(fabric, &lane->item);
    lane_kick(lane);
}

unsigned sim_path_cut(struct sim_fabric *fabric, const char *a, const char *b, uint64_t late_ns)
{
    struct sim_path *path = path_find(fabric, a, b);
    unsigned count = 0;

    for (struct sim_wire *wire = fabric->wires; wire != NULL; wire = wire->next) {
        if (wire->path != path || wire->broken)
            continue;
        wire->broken = true;
        for (unsigned i = 0; i < 2; i++) {
            lane_cut(&wire->lane[i], late_ns);
            if (wire->end[i] != NULL)
                endpoint_lose_later(wire->end[i], CARRICK_ERR_RESET);
        }
        count++;
    }
    fabric->counters.resets += count;
    return count;
}

unsigned sim_path_half_open(struct sim_fabric *fabric, const char *told, const char *untold)
{
    struct sim_path *path = path_find(fabric, told, untold);
    unsigned count = 0;

    for (struct sim_wire *wire = fabric->wires; wire != NULL; wire = wire->next) {
        if (wire->path != path || wire->broken)
            continue;
        wire->broken = wire->deaf = true;
        for (unsigned i = 0; i < 2; i++)
            if (wire->end[i] != NULL && strcmp(wire->port[i]->address, told) == 0)
                endpoint_lose_later(wire->end[i], CARRICK_ERR_RESET);
        count++;
    }
    fabric->counters.resets += count;
    return count;
}

unsigned sim_path_connections(struct sim_fabric *fabric, const char *a, const char *b)
{
    struct sim_path *path = path_find(fabric, a, b);
    unsigned count = 0;

    for (struct sim_wire *wire = fabric->wires; wire != NULL; wire = wire->next)
        count +=
            wire->path == path && !wire->broken && wire->end[0] != NULL && wire->end[1] != NULL;
    return count;
}

// ---- devices

void sim_device_carrier(struct sim_fabric *fabric, const char *address, bool up)
{
    struct sim_port *port = fabric_port(fabric, address);

    if (port == NULL || port->down == !up)
        return;
    port->down = !up;
    if (port->device != NULL && !port->device->unplugged)
        device_tell(port->device, up ? CARRICK_EVENT_DEVICE_UP : CARRICK_EVENT_DEVICE_DOWN,
                    up ? CARRICK_OK : CARRICK_ERR_LINK_DOWN);
    fabric_kick(fabric);
}

// What has left the device goes on; nothing comes in any more.
static void endpoint_unplug(struct carrick_endpoint *endpoint)
{
    if (endpoint->wire != NULL) {
        endpoint->wire->broken = true;
        endpoint->wire->lane[endpoint->end].dead = true;
        lane_drop(&endpoint->wire->lane[endpoint->end], 0);
        endpoint->device->fabric->counters.resets++;
    }
    if (endpoint->state < SIM_ENDPOINT_CLOSING)
        endpoint_lose(endpoint, CARRICK_ERR_DEVICE_REMOVED, NULL, 0);
}

void sim_device_remove(struct sim_fabric *fabric, const char *address)
{
    struct sim_port *port = fabric_port(fabric, address);

    if (port == NULL || port->removed)
        return;
    port->removed = true;
    if (port->device == NULL)
        return;
    port->device->unplugged = true;
    device_tell(port->device, CARRICK_EVENT_DEVICE_REMOVED, CARRICK_ERR_DEVICE_REMOVED);
    for (struct carrick_endpoint *endpoint = port->device->endpoints; endpoint != NULL;
         endpoint = endpoint->next)
        endpoint_unplug(endpoint);
}

void sim_device_insert(struct sim_fabric *fabric, const char *address)
{
    struct sim_port *port = fabric_port(fabric, address);

    if (port != NULL)
        port->removed = false;
}

// ---- nodes

// The endpoint vanishes with its node's memory. What it had sent goes on in part.
static void endpoint_kill(struct carrick_endpoint *endpoint, bool reset)
{
    struct sim_fabric *fabric = endpoint->device->fabric;
    struct sim_wire *wire = endpoint->wire;
    struct sim_lane *lane;

    fabric_take(fabric, &endpoint->timeout);
    fabric_take(fabric, &endpoint->close);
    fabric_take(fabric, &endpoint->lost);
    fabric_take(fabric, &endpoint->local);
    if (endpoint->state == SIM_ENDPOINT_CONNECTING || endpoint->state == SIM_ENDPOINT_CONNECTED)
        endpoint->state = SIM_ENDPOINT_LOST;
    if (wire == NULL)
        return;
    lane = &wire->lane[!endpoint->end];
    if (fabric_chance(fabric, 50))
        lane_drop(lane, (uint32_t)fabric_random(fabric, lane_length(lane) + 1));
    if (reset) {
        struct sim_message *message = message_create(fabric, SIM_END);

        message->status = CARRICK_ERR_RESET;
        wire_send(wire, !endpoint->end, message);
    }
    fabric->counters.resets++;
    wire_detach(wire, endpoint->end);
}

static void device_kill(struct carrick_device *device, bool reset)
{
    struct sim_fabric *fabric = device->fabric;

    device->dead = true;
    device->listening = false;
    for (struct carrick_endpoint *endpoint = device->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        bool closing = endpoint->state == SIM_ENDPOINT_CLOSING;

        endpoint_kill(endpoint, reset);
        if (closing)
            endpoint_closed(endpoint);
    }
    for (unsigned i = 0; i < SIM_BUCKETS; i++)
        for (struct carrick_registration *registration = device->bucket[i]; registration != NULL;
             registration = registration->next)
            if (registration->item.place != 0) {
                fabric_take(fabric, &registration->item);
                registration_due(registration);
            }
    device->port->device = NULL;
}

void sim_node_kill(struct sim_fabric *fabric, const char *name, bool reset)
{
    struct sim_node *node = fabric_node(fabric, name);

    if (node == NULL)
        return;
    for (struct sim_port *port = fabric->ports; port != NULL; port = port->next)
        if (port->node == node && port->device != NULL)
            device_kill(port->device, reset);
    node->silent = !reset;
    node->frozen = false;
    if (fabric->clock != NULL && fabric->clock->dead)
        fabric->clock = NULL;
    fabric_kick(fabric);
}

uint64_t sim_node_heard_gone_ns(struct sim_fabric *fabric, const char *name)
{
    const struct sim_node *node = fabric_node(fabric, name);

    return node != NULL ? node->heard_gone_ns : 0;
}

void sim_node_freeze(struct sim_fabric *fabric, const char *name, bool memory_open)
{
    struct sim_node *node = fabric_node(fabric, name);

    if (node == NULL)
        return;
    node->frozen = true;
    node->memory_open = memory_open;
}

void sim_node_thaw(struct sim_fabric *fabric, const char *name)
{
    struct sim_node *node = fabric_node(fabric, name);

    if (node == NULL)
        return;
    node->frozen = false;
    fabric_kick(fabric);
}
