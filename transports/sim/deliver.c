// SPDX-License-Identifier: Apache-2.0
//
// What happens when a message arrives. Runs as the network does, without the target's manager: a write lands while
// its processor stands still.
#include "transports/sim/sim_internal.h"

#include <stdlib.h>
#include <string.h>

struct carrick_registration *registration_find(struct carrick_device *device, uint32_t key)
{
    struct carrick_registration *registration = device->bucket[key % SIM_BUCKETS];

    while (registration != NULL && registration->key.key != key)
        registration = registration->next;
    return registration;
}

// Where a range named by the partner lies here, or NULL when it may not be touched so.
static uint8_t *place_find(struct carrick_device *device, const struct carrick_domain *domain,
                           uint32_t access, uint32_t key, uint64_t remote, uint64_t length)
{
    const struct carrick_registration *registration = registration_find(device, key);
    uint64_t offset;

    if (registration == NULL || !registration->made || !(registration->access & access))
        return NULL;
    if (domain != NULL && registration->domain != domain)
        return NULL;
    offset = remote - registration->key.base;
    if (remote < registration->key.base || offset > registration->bytes ||
        length > registration->bytes - offset)
        return NULL;
    return registration->address + offset;
}

static void land(struct sim_fabric *fabric, const struct carrick_device *device, uint8_t *to,
                 const struct sim_message *message)
{
    if (message->length == 0)
        return;
    if (fabric->options.landing != NULL)
        fabric->options.landing(fabric->options.arg, device->node->name, to, message->from,
                                message->length);
    memcpy(to, message->from, message->length);
}

static void answer(struct sim_wire *wire, uint32_t to, uint32_t kind, uint64_t number, int status)
{
    struct sim_message *message = message_create(wire->fabric, kind);

    message->number = number;
    message->status = status;
    wire_send(wire, to, message);
}

// The partner's operation is against what it may do here: the connection ends, on both sides.
static void refuse(struct carrick_endpoint *endpoint, const struct sim_message *message, int status)
{
    struct sim_wire *wire = endpoint->wire;

    wire->lane[endpoint->end].dead = true;
    answer(wire, !endpoint->end, SIM_NAK, message->number, status);
    endpoint_lose(endpoint, status, NULL, 0);
}

static void applied(struct carrick_endpoint *endpoint, const struct sim_message *message)
{
    endpoint->applied++;
    answer(endpoint->wire, !endpoint->end, SIM_ACK, message->number, CARRICK_OK);
}

static void arrive_write(struct carrick_endpoint *endpoint, const struct sim_message *message)
{
    struct sim_fabric *fabric = endpoint->wire->fabric;
    uint8_t *to;

    // The whole operation is checked with each piece, the range of the first decides as little as the last one's.
    to = endpoint->domain == NULL
             ? NULL
             : place_find(endpoint->device, endpoint->domain, CARRICK_ACCESS_REMOTE_WRITE,
                          message->key, message->remote, message->whole);
    if (to == NULL) {
        refuse(endpoint, message, CARRICK_ERR_REMOTE_ACCESS);
        return;
    }
    land(fabric, endpoint->device, to + message->offset, message);
    fabric->counters.late += endpoint->wire->broken;
    if (message->last)
        applied(endpoint, message);
}

// The fence is broken on purpose: the endpoint has told CLOSED, and the write lands nevertheless.
static void arrive_ghost(struct sim_wire *wire, const struct sim_message *message, uint32_t to)
{
    struct carrick_device *device = wire->port[to]->device;
    uint8_t *place;

    if (device == NULL || message->kind != SIM_WRITE)
        return;
    place = place_find(device, NULL, CARRICK_ACCESS_REMOTE_WRITE, message->key, message->remote,
                       message->whole);
    if (place == NULL)
        return;
    land(wire->fabric, device, place + message->offset, message);
    wire->fabric->counters.late++;
}

static void arrive_send(struct carrick_endpoint *endpoint, const struct sim_message *message)
{
    struct sim_event *event;

    if (endpoint->state != SIM_ENDPOINT_CONNECTED) {
        // It cannot be told any more. Nothing behind it may take effect, or the order would be broken.
        endpoint->wire->lane[endpoint->end].dead = true;
        return;
    }
    if (message->length > endpoint->receive_bytes) {
        refuse(endpoint, message, CARRICK_ERR_PROTOCOL);
        return;
    }
    event = event_create(CARRICK_EVENT_RECEIVE, message->from, (uint32_t)message->length);
    event->event.endpoint = endpoint;
    event->event.cookie = endpoint->cookie;
    endpoint->receives++;
    event_push(endpoint->device, event);
    applied(endpoint, message);
}

static void arrive_read(struct carrick_endpoint *endpoint, const struct sim_message *message)
{
    struct sim_fabric *fabric = endpoint->wire->fabric;
    uint32_t pieces = 1 + (uint32_t)fabric_random(fabric, fabric->options.pieces_max);
    struct sim_read *read;

    if (endpoint->domain == NULL ||
        place_find(endpoint->device, endpoint->domain, CARRICK_ACCESS_REMOTE_READ, message->key,
                   message->remote, message->length) == NULL) {
        refuse(endpoint, message, CARRICK_ERR_REMOTE_ACCESS);
        return;
    }
    read = calloc(1, sizeof(*read));
    if (read == NULL)
        abort();
    endpoint->applied++;
    read->item.kind = SIM_ITEM_READ;
    read->target = endpoint;
    read->number = message->number;
    read->remote = message->remote;
    read->key = message->key;
    read->length = message->length;
    read->piece = (message->length / pieces + 8) & ~7ull;
    read->next = fabric->reads;
    fabric->reads = read;
    read_step(read);
}

static void read_finish(struct sim_read *read)
{
    struct sim_read **at = &read->target->wire->fabric->reads;

    while (*at != read)
        at = &(*at)->next;
    *at = read->next;
    free(read);
}

void read_step(struct sim_read *read)
{
    struct carrick_endpoint *endpoint = read->target;
    struct sim_wire *wire = endpoint->wire;
    struct sim_fabric *fabric = wire->fabric;
    struct sim_message *message;
    uint8_t *from = place_find(endpoint->device, endpoint->domain, CARRICK_ACCESS_REMOTE_READ,
                               read->key, read->remote, read->length);

    message = message_create(fabric, from == NULL ? SIM_NAK : SIM_READ_PIECE);
    message->number = read->number;
    message->status = CARRICK_ERR_REMOTE_ACCESS;
    if (from != NULL) {
        message->offset = read->offset;
        message->length =
            read->length - read->offset < read->piece ? read->length - read->offset : read->piece;
        message->from = from + read->offset;
        if (!message_own(message))
            abort();
        read->offset += message->length;
        message->last = read->offset == read->length;
    }
    if (from == NULL || message->last) {
        read_finish(read);
        wire_send(wire, !endpoint->end, message);
        if (from == NULL)
            endpoint_lose(endpoint, CARRICK_ERR_REMOTE_ACCESS, NULL, 0);
        return;
    }
    wire_send(wire, !endpoint->end, message);
    fabric_put(fabric, &read->item,
               fabric_now(fabric) + fabric_random(fabric, wire->path->delay_max_ns / 2 + 1));
}

static void arrive_read_piece(struct carrick_endpoint *endpoint, const struct sim_message *message)
{
    struct sim_posted *posted;

    if (message->number < endpoint->head || message->number >= endpoint->tail)
        return;
    posted = &endpoint->ring[message->number % endpoint->device->fabric->options.max_posted];
    // Also on an endpoint that is lost: until it has told CLOSED the buffer is not its owner's.
    if (message->length > 0)
        memcpy(posted->local + message->offset, message->from, message->length);
    if (message->last)
        endpoint_complete(endpoint, message->number, CARRICK_OK);
}

// ---- connections

static void arrive_connect(struct sim_wire *wire, const struct sim_message *message)
{
    struct sim_port *port = wire->port[1];
    struct carrick_device *device = port->device;
    struct carrick_endpoint *endpoint;
    struct sim_event *event;

    if (port->removed || (device != NULL && device->unplugged) ||
        (device == NULL && port->node != NULL && port->node->silent) ||
        (device != NULL && device->requests >= SIM_REQUESTS_MAX))
        return; // no answer at all
    if (device == NULL || !device->listening) {
        answer(wire, 0, SIM_END, 0, CARRICK_ERR_UNREACHABLE);
        return;
    }
    endpoint = endpoint_create(device, SIM_ENDPOINT_REQUEST);
    if (endpoint == NULL)
        return;
    endpoint->wire = wire;
    endpoint->end = 1;
    wire->end[1] = endpoint;
    wire->requested = true;
    device->requests++;
    fabric_put(wire->fabric, &endpoint->timeout, fabric_now(wire->fabric) + SIM_REQUEST_NS);
    event = event_create(CARRICK_EVENT_REQUEST, message->from, (uint32_t)message->length);
    event->event.endpoint = endpoint;
    event_push(device, event);
}

static void connected(struct carrick_endpoint *endpoint, const struct sim_message *message)
{
    struct sim_event *event;

    if (endpoint->state != SIM_ENDPOINT_CONNECTING)
        return;
    endpoint->state = SIM_ENDPOINT_CONNECTED;
    fabric_take(endpoint->device->fabric, &endpoint->timeout);
    event = event_create(CARRICK_EVENT_CONNECTED, message->from, (uint32_t)message->length);
    event->event.endpoint = endpoint;
    event->event.cookie = endpoint->cookie;
    event_push(endpoint->device, event);
    if (message->kind == SIM_ACCEPT && endpoint->device->fabric->options.request_waits)
        answer(endpoint->wire, 1, SIM_JOINED, 0, CARRICK_OK);
}

static void arrive(struct carrick_endpoint *endpoint, const struct sim_message *message)
{
    const struct sim_wire *wire = endpoint->wire;

    if (wire->gone[!endpoint->end])
        endpoint->device->node->heard_gone_ns = fabric_now(wire->fabric);
    switch ((enum sim_message_kind)message->kind) {
    case SIM_CONNECT:
        break;
    case SIM_ACCEPT:
    case SIM_JOINED:
        connected(endpoint, message);
        break;
    case SIM_REJECT:
        endpoint_lose(endpoint, CARRICK_ERR_REFUSED, message->from, (uint32_t)message->length);
        break;
    case SIM_WRITE:
        arrive_write(endpoint, message);
        break;
    case SIM_READ:
        arrive_read(endpoint, message);
        break;
    case SIM_READ_PIECE:
        arrive_read_piece(endpoint, message);
        break;
    case SIM_SEND:
        arrive_send(endpoint, message);
        break;
    case SIM_FLUSH:
        applied(endpoint, message);
        break;
    case SIM_ACK:
        endpoint_complete(endpoint, message->number, CARRICK_OK);
        break;
    case SIM_NAK:
    case SIM_END:
        endpoint_lose(endpoint, message->status, NULL, 0);
        break;
    }
}

// A message for an end that is no more: a node that is alive says so.
static void arrive_stray(struct sim_wire *wire, const struct sim_message *message, uint32_t to)
{
    if (wire->fabric->options.break_fence)
        arrive_ghost(wire, message, to);
    if (message->kind != SIM_END && wire->end[!to] != NULL && wire->port[to]->device != NULL)
        answer(wire, !to, SIM_END, 0, CARRICK_ERR_RESET);
}

void lane_deliver(struct sim_lane *lane)
{
    struct sim_wire *wire = lane->wire;
    struct sim_message *message = lane->first;
    struct carrick_endpoint *endpoint = wire->end[lane->to];

    if (message == NULL || lane_blocked(lane))
        return;
    lane->first = message->next;
    if (lane->first == NULL)
        lane->last = &lane->first;
    wire->fabric->counters.messages++;
    if (wire->deaf)
        wire->fabric->counters.fenced++;
    else if (message->kind == SIM_CONNECT)
        arrive_connect(wire, message);
    else if (endpoint != NULL)
        arrive(endpoint, message);
    else
        arrive_stray(wire, message, lane->to);
    message_destroy(wire->fabric, message);
    lane_kick(lane);
    wire_collect(wire);
}
