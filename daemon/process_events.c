// SPDX-License-Identifier: Apache-2.0
//
// What a client in a process of its own is told goes into its ring of events; what finds no room there waits, up to a
// bound, beyond which the process counts as hung.
#include <stdlib.h>
#include <string.h>

#include "daemon/process_internal.h"

void process_event_put(struct carrick_client *client, uint32_t type, const void *head,
                       uint32_t head_bytes, const void *data, uint32_t data_bytes)
{
    struct process *process = client->process;
    struct process_event *event;
    int done = 0;

    if (!process_lives(process) || client->shared == NULL)
        return;
    if (client->waiting == NULL)
        done = channel_put(&client->events, type, head, head_bytes, data, data_bytes);
    if (done > 0)
        process_wake(process);
    if (done < 0)
        process_fail(process, "wrote nonsense into a ring");
    if (done != 0)
        return;
    event = client->waiting_bytes < PROCESS_WAITING_BYTES_MAX
                ? malloc(sizeof(*event) + head_bytes + data_bytes)
                : NULL;
    if (event == NULL) {
        process_fail(process, "hung: it does not take what is there for it; it was killed");
        return;
    }
    *event = (struct process_event){.type = type, .length = head_bytes + data_bytes};
    if (head_bytes > 0)
        memcpy(event->data, head, head_bytes);
    if (data_bytes > 0)
        memcpy(event->data + head_bytes, data, data_bytes);
    if (client->waiting == NULL)
        client->waiting_end = &client->waiting;
    *client->waiting_end = event;
    client->waiting_end = &event->next;
    client->waiting_bytes += sizeof(*event) + event->length;
}

static void event_drop(struct carrick_client *client)
{
    struct process_event *event = client->waiting;

    client->waiting = event->next;
    client->waiting_bytes -= sizeof(*event) + event->length;
    free(event);
}

void process_events_pass(struct carrick_client *client)
{
    int done = 1;

    while (client->waiting != NULL && done > 0) {
        done = channel_put(&client->events, client->waiting->type, client->waiting->data,
                           client->waiting->length, NULL, 0);
        if (done > 0)
            event_drop(client);
    }
    if (done < 0)
        process_fail(client->process, "wrote nonsense into a ring");
    else
        process_wake(client->process);
}

void process_events_drop(struct carrick_client *client)
{
    while (client->waiting != NULL)
        event_drop(client);
}
