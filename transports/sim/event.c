// SPDX-License-Identifier: Apache-2.0
//
// Events: what a device has to say, and how it is asked for it.
#include "transports/sim/sim_internal.h"

#include <stdlib.h>
#include <string.h>

#define POLL_WORK_MAX 256u // messages that one poll lets through, when the devices run the fabric

struct sim_event *event_create(uint32_t type, const void *data, uint32_t bytes)
{
    struct sim_event *event = calloc(1, sizeof(*event));

    if (event != NULL && bytes > 0)
        event->data = malloc(bytes);
    // A test's network may end the test when memory is out.
    if (event == NULL || (bytes > 0 && event->data == NULL))
        abort();
    if (bytes > 0)
        memcpy(event->data, data, bytes);
    event->event.type = type;
    event->event.data = event->data;
    event->event.length = bytes;
    return event;
}

void event_push(struct carrick_device *device, struct sim_event *event)
{
    *device->last = event;
    device->last = &event->next;
    // Never from within: the one who is told may be in the middle of a call.
    if (device->armed)
        device->transport->host->timer_start(device->timer, 0);
}

void device_tell(struct carrick_device *device, uint32_t type, int status)
{
    struct sim_event *event = event_create(type, NULL, 0);

    event->event.status = status;
    event_push(device, event);
}

void events_free(struct sim_event *event)
{
    while (event != NULL) {
        struct sim_event *next = event->next;

        free(event->data);
        free(event);
        event = next;
    }
}

static void tell_room(struct carrick_endpoint *endpoint)
{
    struct sim_event *event;

    if (endpoint == NULL || !endpoint->room_wanted || endpoint->state != SIM_ENDPOINT_CONNECTED)
        return;
    endpoint->room_wanted = false;
    event = event_create(CARRICK_EVENT_SEND_ROOM, NULL, 0);
    event->event.cookie = endpoint->cookie;
    event->event.endpoint = endpoint;
    event_push(endpoint->device, event);
}

// What an event's taking means for the object that it is about.
void event_taken(struct carrick_event *event)
{
    struct carrick_endpoint *endpoint = event->endpoint;

    if (event->type == CARRICK_EVENT_RECEIVE) {
        endpoint->receives--;
        endpoint->sends_taken++;
        if (endpoint->wire != NULL) {
            lane_kick(&endpoint->wire->lane[endpoint->end]);
            tell_room(endpoint->wire->end[!endpoint->end]);
        }
    } else if (event->type == CARRICK_EVENT_CLOSED) {
        endpoint_destroy(endpoint);
    } else if (event->type == CARRICK_EVENT_DEREGISTERED ||
               (event->type == CARRICK_EVENT_REGISTERED && event->status != CARRICK_OK)) {
        registration_free(event->registration);
    }
}

uint32_t sim_device_poll(struct carrick_device *device, struct carrick_event *events, uint32_t max)
{
    size_t stride = max > 0 ? events->struct_size : 0;
    size_t size = stride < sizeof(*events) ? stride : sizeof(*events);
    uint32_t count = 0;

    if (device->polling) {
        fabric_misuse(device->fabric, "device_poll: entered again from within");
        return 0;
    }
    device->polling = true;
    events_free(device->handed);
    device->handed = NULL;
    if (device->fabric->options.now_ns == NULL)
        sim_fabric_run(device->fabric, POLL_WORK_MAX);
    for (; count < max && device->first != NULL; count++) {
        struct sim_event *event = device->first;
        struct carrick_event *to =
            (struct carrick_event *)(void *)((char *)events + count * stride);

        device->first = event->next;
        if (device->first == NULL)
            device->last = &device->first;
        event->event.struct_size = (uint32_t)stride;
        memcpy(to, &event->event, size);
        event_taken(&event->event);
        event->next = device->handed;
        device->handed = event;
    }
    device->polling = false;
    return count;
}

int sim_device_fd(struct carrick_device *device)
{
    (void)device;
    return -1;
}

int sim_device_arm(struct carrick_device *device)
{
    struct sim_fabric *fabric = device->fabric;

    device->armed = false;
    if (device->first != NULL)
        return 1;
    if (fabric->options.now_ns == NULL && sim_fabric_next_ns(fabric) <= fabric_now(fabric))
        return 1;
    device->armed = true;
    fabric_rearm(fabric);
    return 0;
}

void device_timer(void *arg)
{
    struct carrick_device *device = arg;

    if (device->fabric->options.now_ns == NULL)
        sim_fabric_run(device->fabric, POLL_WORK_MAX);
    if (!device->armed || device->first == NULL)
        return;
    device->armed = false;
    if (device->wake != NULL)
        device->wake(device->wake_arg);
}

void sim_device_wake(struct carrick_device *device, void (*wake)(void *arg), void *arg)
{
    device->wake = wake;
    device->wake_arg = arg;
}
