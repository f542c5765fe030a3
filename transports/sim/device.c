// SPDX-License-Identifier: Apache-2.0
//
// Opening a device, listening on it, closing it.
#include "transports/sim/sim_internal.h"

#include <carrick/error.h>

#include <stdlib.h>
#include <string.h>

static int device_attach(struct carrick_device *device, struct carrick_error *error)
{
    struct sim_port *port = device->port;
    const struct carrick_host *host = device->transport->host;

    if (port == NULL || device->node == NULL)
        return carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, "", "no memory for a device");
    if (port->removed)
        return carrick_error_set(error, CARRICK_ERR_NO_DEVICE, 0, "",
                                 "device \"%s\" is not plugged in", port->address);
    if (port->device != NULL)
        return carrick_error_set(error, CARRICK_ERR_EXISTS, 0, "", "device \"%s\" is open already",
                                 port->address);
    if (host->timer_create(host, device_timer, device, &device->timer) != CARRICK_OK)
        return carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, "", "no memory for a timer");
    port->device = device;
    port->node = device->node;
    port->node->silent = false;
    if (device->fabric->clock == NULL)
        device->fabric->clock = device;
    return CARRICK_OK;
}

static void fabric_release(struct sim_fabric *fabric)
{
    bool used = false;

    for (struct sim_port *port = fabric->ports; port != NULL; port = port->next)
        used |= port->device != NULL;
    if (fabric->automatic && !used)
        sim_fabric_destroy(fabric);
}

int sim_device_open(struct carrick_transport *transport,
                    const struct carrick_device_options *options, struct carrick_device **out,
                    struct carrick_error *error)
{
    struct carrick_device *device = calloc(1, sizeof(*device));
    char address[SIM_NAME_BYTES];
    int id = 0;
    int status = section_read(options->local, "/local", &id, address, error);

    if (status == CARRICK_OK && (device == NULL || fabric_find(id) == NULL))
        status = carrick_error_set(error, CARRICK_ERR_NO_DEVICE, 0, "",
                                   "there is no fabric %d in this thread", id);
    if (status == CARRICK_OK) {
        device->transport = transport;
        device->fabric = fabric_find(id);
        device->last = &device->first;
        device->port = fabric_port(device->fabric, address);
        device->node = fabric_node(device->fabric, transport->host->node);
        status = device_attach(device, error);
        if (status != CARRICK_OK)
            fabric_release(device->fabric);
    }
    if (status != CARRICK_OK) {
        free(device);
        return status;
    }
    *out = device;
    return CARRICK_OK;
}

// Requests that nobody answered are the transport's; all else should be gone by now.
static void leftovers_free(struct carrick_device *device)
{
    struct carrick_domain *domain;

    for (struct carrick_endpoint *endpoint = device->endpoints; endpoint != NULL;
         endpoint = endpoint->next)
        if (!device->dead && endpoint->state != SIM_ENDPOINT_REQUEST)
            fabric_misuse(device->fabric, "device_close: an endpoint is not closed");
    while (device->endpoints != NULL)
        endpoint_destroy(device->endpoints);
    for (unsigned i = 0; i < SIM_BUCKETS; i++)
        while (device->bucket[i] != NULL)
            registration_free(device->bucket[i]);
    if (device->domains != NULL && !device->dead)
        fabric_misuse(device->fabric, "device_close: a domain is not destroyed");
    while ((domain = device->domains) != NULL) {
        device->domains = domain->next;
        free(domain);
    }
}

void sim_device_close(struct carrick_device *device)
{
    struct sim_fabric *fabric = device->fabric;

    events_free(device->handed);
    for (struct sim_event *event = device->first; event != NULL; event = event->next)
        event_taken(&event->event);
    events_free(device->first);
    leftovers_free(device);
    device->transport->host->timer_destroy(device->timer);
    if (device->port->device == device)
        device->port->device = NULL;
    if (fabric->clock == device) {
        fabric->clock = NULL;
        for (struct sim_port *port = fabric->ports; port != NULL; port = port->next)
            if (port->device != NULL)
                fabric->clock = port->device;
    }
    free(device);
    fabric_release(fabric);
}

void sim_device_caps(struct carrick_device *device, struct carrick_device_caps *caps)
{
    const struct sim_fabric_options *options = &device->fabric->options;
    struct carrick_device_caps full = {
        .flags = options->flags,
        .proof = options->proof,
        .max_send_bytes = options->max_send_bytes,
        .max_message_bytes = options->max_message_bytes,
        .max_posted = options->max_posted,
        .max_reads = options->max_reads,
        .inline_bytes = options->inline_bytes,
        .request_bytes = SIM_PRIVATE_BYTES,
        .reply_bytes = SIM_PRIVATE_BYTES,
    };
    uint32_t size = caps->struct_size;

    full.struct_size = size;
    memcpy(caps, &full, size < sizeof(full) ? size : sizeof(full));
}

// ---- listening

int sim_listen(struct carrick_device *device, struct carrick_error *error)
{
    if (device->listening)
        return carrick_error_set(error, CARRICK_ERR_STATE, 0, "", "device \"%s\" listens already",
                                 device->port->address);
    if (device->dead || device->unplugged)
        return carrick_error_set(error, CARRICK_ERR_DEVICE_REMOVED, 0, "", "device \"%s\" is gone",
                                 device->port->address);
    device->listening = true;
    return CARRICK_OK;
}

// Requests that were not told yet are never told. Those that were keep their handles until they are answered.
void sim_unlisten(struct carrick_device *device)
{
    struct sim_event **at = &device->first;

    device->listening = false;
    while (*at != NULL) {
        struct sim_event *event = *at;

        if (event->event.type != CARRICK_EVENT_REQUEST) {
            at = &event->next;
            continue;
        }
        *at = event->next;
        event->next = NULL;
        sim_endpoint_reject(event->event.endpoint, NULL, 0);
        events_free(event);
    }
    device->last = at;
    for (struct carrick_endpoint *endpoint = device->endpoints; endpoint != NULL;
         endpoint = endpoint->next)
        if (endpoint->state == SIM_ENDPOINT_REQUEST && endpoint->lost_status == CARRICK_OK)
            endpoint_timed_out(endpoint);
}
