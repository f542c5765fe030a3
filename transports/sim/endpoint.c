// SPDX-License-Identifier: Apache-2.0
//
// An endpoint's life: connecting, accepting, losing, closing.
#include "transports/sim/sim_internal.h"

#include <carrick/error.h>

#include <stdlib.h>
#include <string.h>

struct carrick_endpoint *endpoint_create(struct carrick_device *device, uint32_t state)
{
    struct carrick_endpoint *endpoint = calloc(1, sizeof(*endpoint));

    if (endpoint == NULL)
        return NULL;
    endpoint->timeout.kind = SIM_ITEM_TIMEOUT;
    endpoint->close.kind = SIM_ITEM_CLOSE;
    endpoint->lost.kind = SIM_ITEM_LOST;
    endpoint->local.kind = SIM_ITEM_LOCAL;
    endpoint->device = device;
    endpoint->state = state;
    endpoint->next = device->endpoints;
    device->endpoints = endpoint;
    return endpoint;
}

// What is posted gives its local memory back, whatever became of it.
static void posted_release(struct carrick_endpoint *endpoint)
{
    uint32_t size = endpoint->device->fabric->options.max_posted;

    for (; endpoint->head < endpoint->tail; endpoint->head++) {
        struct sim_posted *posted = &endpoint->ring[endpoint->head % size];

        if (posted->registration != NULL)
            posted->registration->posted--;
    }
}

static void items_take(struct carrick_endpoint *endpoint)
{
    struct sim_fabric *fabric = endpoint->device->fabric;

    fabric_take(fabric, &endpoint->timeout);
    fabric_take(fabric, &endpoint->close);
    fabric_take(fabric, &endpoint->lost);
    fabric_take(fabric, &endpoint->local);
}

void endpoint_destroy(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint **at = &endpoint->device->endpoints;

    while (*at != endpoint)
        at = &(*at)->next;
    *at = endpoint->next;
    if (endpoint->wire != NULL)
        wire_detach(endpoint->wire, endpoint->end);
    items_take(endpoint);
    posted_release(endpoint);
    if (endpoint->domain != NULL)
        endpoint->domain->endpoints--;
    free(endpoint->ring);
    free(endpoint);
}

static void tell(struct carrick_endpoint *endpoint, uint32_t type, int status, const void *data,
                 uint32_t bytes)
{
    struct sim_event *event = event_create(type, data, bytes);

    event->event.endpoint = endpoint;
    event->event.cookie = endpoint->cookie;
    event->event.status = status;
    event->event.applied = type == CARRICK_EVENT_CLOSED ? endpoint->applied : 0;
    event_push(endpoint->device, event);
}

static void completion_push(struct carrick_endpoint *endpoint, int status)
{
    struct sim_fabric *fabric = endpoint->device->fabric;
    struct sim_posted *posted = &endpoint->ring[endpoint->head++ % fabric->options.max_posted];
    struct sim_event *event = event_create(CARRICK_EVENT_COMPLETION, NULL, 0);

    event->event.endpoint = endpoint;
    event->event.cookie = posted->cookie;
    event->event.status = status;
    event_push(endpoint->device, event);
    if (posted->registration != NULL)
        posted->registration->posted--;
    endpoint->reads -= posted->operation == CARRICK_OP_READ;
}

// Operation `number` is done; those at the head that are done are told, in order.
void endpoint_complete(struct carrick_endpoint *endpoint, uint64_t number, int status)
{
    uint32_t size = endpoint->device->fabric->options.max_posted;

    if (number < endpoint->head || number >= endpoint->tail ||
        endpoint->state != SIM_ENDPOINT_CONNECTED)
        return;
    endpoint->ring[number % size].done = true;
    while (endpoint->head < endpoint->tail && endpoint->ring[endpoint->head % size].done)
        completion_push(endpoint, status);
}

void endpoint_local_done(struct carrick_endpoint *endpoint)
{
    struct sim_fabric *fabric = endpoint->device->fabric;
    uint64_t now = fabric_now(fabric);

    for (uint64_t number = endpoint->head; number < endpoint->tail; number++) {
        struct sim_posted *posted = &endpoint->ring[number % fabric->options.max_posted];

        if (posted->local_due == 0 || posted->done)
            continue;
        if (posted->local_due > now) {
            fabric_put(fabric, &endpoint->local, posted->local_due);
            return;
        }
        endpoint_complete(endpoint, number, CARRICK_OK);
    }
}

// The first operation that is posted ends with an error: its buffer is given back, so what is under way of it must
// have left the buffer.
static void fail_first(struct carrick_endpoint *endpoint, int status)
{
    struct sim_message *message;

    if (endpoint->wire != NULL)
        for (message = endpoint->wire->lane[!endpoint->end].first; message != NULL;
             message = message->next)
            if (message->number == endpoint->head && !message_own(message))
                abort();
    completion_push(endpoint, status);
}

void endpoint_lose(struct carrick_endpoint *endpoint, int status, const void *data, uint32_t bytes)
{
    struct sim_fabric *fabric = endpoint->device->fabric;

    endpoint->lost_status = status;
    fabric_take(fabric, &endpoint->lost);
    fabric_take(fabric, &endpoint->timeout);
    if (endpoint->state != SIM_ENDPOINT_CONNECTING && endpoint->state != SIM_ENDPOINT_CONNECTED)
        return; // a request says so when it is answered
    if (endpoint->head < endpoint->tail && fabric_chance(fabric, 30))
        fail_first(endpoint, status);
    endpoint->state = SIM_ENDPOINT_LOST;
    tell(endpoint, CARRICK_EVENT_DISCONNECTED, status, data, bytes);
}

void endpoint_lose_later(struct carrick_endpoint *endpoint, int status)
{
    struct sim_fabric *fabric = endpoint->device->fabric;

    endpoint->lost_status = status;
    fabric_put(fabric, &endpoint->lost,
               fabric_now(fabric) + fabric_random(fabric, fabric->options.notice_max_ns + 1));
}

static void end_send(struct carrick_endpoint *endpoint, int status)
{
    struct sim_message *message;

    if (endpoint->wire == NULL)
        return;
    message = message_create(endpoint->device->fabric, SIM_END);
    message->status = status;
    wire_send(endpoint->wire, !endpoint->end, message);
}

void endpoint_timed_out(struct carrick_endpoint *endpoint)
{
    end_send(endpoint, CARRICK_ERR_TIMEOUT);
    endpoint_lose(endpoint, CARRICK_ERR_TIMEOUT, NULL, 0);
}

// ---- calls

static int options_take(struct carrick_endpoint *endpoint,
                        const struct carrick_connect_options *options)
{
    endpoint->ring = calloc(endpoint->device->fabric->options.max_posted, sizeof(*endpoint->ring));
    if (endpoint->ring == NULL)
        return CARRICK_ERR_NO_MEMORY;
    endpoint->domain = options->domain;
    if (endpoint->domain != NULL)
        endpoint->domain->endpoints++;
    endpoint->cookie = options->cookie;
    endpoint->receive_bytes = options->receive_bytes;
    endpoint->receive_depth = options->receive_depth > 0 ? options->receive_depth : 1;
    return CARRICK_OK;
}

static bool options_fit(const struct carrick_device *device,
                        const struct carrick_connect_options *options)
{
    return options->data_bytes <= SIM_PRIVATE_BYTES &&
           (options->domain == NULL || options->domain->device == device);
}

static struct sim_message *data_message(struct sim_fabric *fabric, uint32_t kind, const void *data,
                                        uint32_t bytes)
{
    struct sim_message *message = message_create(fabric, kind);

    message->from = bytes > 0 ? data : NULL;
    message->length = bytes;
    if (!message_own(message))
        abort();
    return message;
}

// Sends the request, or finds out at once why nothing will come of it.
static int connect_begin(struct carrick_endpoint *endpoint, struct sim_port *remote,
                         const struct carrick_connect_options *options)
{
    struct carrick_device *device = endpoint->device;
    struct sim_fabric *fabric = device->fabric;
    struct sim_wire *wire = wire_create(fabric, device->port, remote);
    struct sim_path *path;

    if (wire == NULL)
        return CARRICK_ERR_NO_MEMORY;
    path = wire->path;
    endpoint->wire = wire;
    wire->end[0] = endpoint;
    if (path->refusing || device->unplugged) {
        wire->broken = true;
        endpoint_lose_later(endpoint,
                            path->refusing ? CARRICK_ERR_UNREACHABLE : CARRICK_ERR_DEVICE_REMOVED);
        return CARRICK_OK;
    }
    wire_send(wire, 1, data_message(fabric, SIM_CONNECT, options->data, options->data_bytes));
    return CARRICK_OK;
}

int sim_endpoint_connect(struct carrick_device *device,
                         const struct carrick_connect_options *options,
                         struct carrick_endpoint **out, struct carrick_error *error)
{
    struct sim_fabric *fabric = device->fabric;
    struct carrick_endpoint *endpoint;
    struct sim_port *remote;
    char address[SIM_NAME_BYTES];
    int status, id;

    if (device->dead)
        return carrick_error_set(error, CARRICK_ERR_DEVICE_REMOVED, 0, "", "the node was killed");
    status = section_read(options->remote, "/remote", &id, address, error);
    if (status != CARRICK_OK)
        return status;
    remote = fabric_port(fabric, address);
    if (!options_fit(device, options) || id != fabric->id || remote == NULL)
        return carrick_error_set(error, CARRICK_ERR_INVALID, 0, "",
                                 "private data, domain or fabric do not fit device \"%s\"",
                                 device->port->address);
    endpoint = endpoint_create(device, SIM_ENDPOINT_CONNECTING);
    status = endpoint == NULL ? CARRICK_ERR_NO_MEMORY : options_take(endpoint, options);
    if (status == CARRICK_OK)
        status = connect_begin(endpoint, remote, options);
    if (status != CARRICK_OK) {
        if (endpoint != NULL)
            endpoint_destroy(endpoint);
        return carrick_error_set(error, status, 0, "", "no memory for an endpoint");
    }
    fabric_put(fabric, &endpoint->timeout,
               fabric_now(fabric) + (uint64_t)options->timeout_ms * 1000000u);
    *out = endpoint;
    return CARRICK_OK;
}

// The request is answered: its time is over, and it counts no more.
static bool request_take(struct carrick_endpoint *endpoint, const char *what)
{
    if (endpoint->state != SIM_ENDPOINT_REQUEST) {
        fabric_misuse(endpoint->device->fabric, "%s: the endpoint is not a request that waits",
                      what);
        return false;
    }
    fabric_take(endpoint->device->fabric, &endpoint->timeout);
    if (endpoint->device->requests > 0)
        endpoint->device->requests--;
    return true;
}

int sim_endpoint_accept(struct carrick_endpoint *endpoint,
                        const struct carrick_connect_options *options)
{
    struct sim_fabric *fabric = endpoint->device->fabric;
    int status;

    if (endpoint->state != SIM_ENDPOINT_REQUEST || !options_fit(endpoint->device, options))
        return endpoint->state == SIM_ENDPOINT_REQUEST ? CARRICK_ERR_INVALID : CARRICK_ERR_STATE;
    status = options_take(endpoint, options);
    if (status != CARRICK_OK)
        return status;
    request_take(endpoint, "endpoint_accept");
    endpoint->state = SIM_ENDPOINT_CONNECTING;
    if (endpoint->lost_status != CARRICK_OK || endpoint->wire == NULL) {
        endpoint_lose(endpoint,
                      endpoint->lost_status != CARRICK_OK ? endpoint->lost_status
                                                          : CARRICK_ERR_RESET,
                      NULL, 0);
        return CARRICK_OK;
    }
    fabric_put(fabric, &endpoint->timeout,
               fabric_now(fabric) + (uint64_t)options->timeout_ms * 1000000u);
    wire_send(endpoint->wire, 0,
              data_message(fabric, SIM_ACCEPT, options->data, options->data_bytes));
    if (!fabric->options.request_waits) {
        fabric_take(fabric, &endpoint->timeout);
        endpoint->state = SIM_ENDPOINT_CONNECTED;
        tell(endpoint, CARRICK_EVENT_CONNECTED, CARRICK_OK, NULL, 0);
    }
    return CARRICK_OK;
}

void sim_endpoint_reject(struct carrick_endpoint *endpoint, const void *data, uint32_t bytes)
{
    if (!request_take(endpoint, "endpoint_reject"))
        return;
    if (bytes > SIM_PRIVATE_BYTES)
        fabric_misuse(endpoint->device->fabric, "endpoint_reject: %u bytes of data", bytes);
    else if (endpoint->wire != NULL)
        wire_send(endpoint->wire, !endpoint->end,
                  data_message(endpoint->device->fabric, SIM_REJECT, data, bytes));
    endpoint_destroy(endpoint);
}

void sim_endpoint_close(struct carrick_endpoint *endpoint, bool orderly)
{
    struct sim_fabric *fabric = endpoint->device->fabric;

    if (endpoint->state >= SIM_ENDPOINT_CLOSING) {
        fabric_misuse(fabric, "endpoint_close: called twice");
        return;
    }
    if (endpoint->state == SIM_ENDPOINT_REQUEST)
        request_take(endpoint, "endpoint_close");
    endpoint->state = SIM_ENDPOINT_CLOSING;
    items_take(endpoint);
    if (endpoint->device->dead || endpoint->wire == NULL) {
        endpoint_closed(endpoint);
        return;
    }
    if (!orderly && fabric_chance(fabric, 50)) {
        struct sim_lane *lane = &endpoint->wire->lane[!endpoint->end];

        // What has not left yet never will.
        lane_drop(lane, (uint32_t)fabric_random(fabric, lane_length(lane) + 1));
    }
    end_send(endpoint, orderly ? CARRICK_ERR_CLOSED : CARRICK_ERR_RESET);
    fabric_put(fabric, &endpoint->close,
               fabric_now(fabric) + fabric_random(fabric, fabric->options.close_max_ns + 1));
}

void endpoint_closed(struct carrick_endpoint *endpoint)
{
    items_take(endpoint);
    if (endpoint->wire != NULL)
        wire_detach(endpoint->wire, endpoint->end);
    posted_release(endpoint);
    endpoint->state = SIM_ENDPOINT_CLOSED;
    tell(endpoint, CARRICK_EVENT_CLOSED, CARRICK_OK, NULL, 0);
}
