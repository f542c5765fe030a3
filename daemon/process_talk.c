// SPDX-License-Identifier: Apache-2.0
//
// Speaking to a client process, and hearing it.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/process_internal.h"

// ---- speaking to it

void process_wake(struct process *process)
{
    if (process->page != NULL)
        channel_wake(&process->page->process_sleeps, process->event_out);
}

static bool outgoing_keep(struct process *process, const struct channel_message *message)
{
    struct process_outgoing *kept = calloc(1, sizeof(*kept));
    if (!kept)
        return false;
    kept->message = *message;
    kept->message.body = calloc(1, message->length + 1);
    for (uint32_t i = 0; i < message->fd_count; i++)
        kept->message.fds[i] = fcntl(message->fds[i], F_DUPFD_CLOEXEC, 0);
    if (!kept->message.body) {
        channel_message_end(&kept->message);
        free(kept);
        return false;
    }
    if (message->length)
        memcpy(kept->message.body, message->body, message->length);
    if (!process->outgoing)
        process->outgoing_end = &process->outgoing;
    *process->outgoing_end = kept;
    process->outgoing_end = &kept->next;
    return true;
}

void process_outgoing_drop(struct process *process)
{
    struct process_outgoing *first = process->outgoing;
    process->outgoing = first->next;
    channel_message_end(&first->message);
    free(first);
}

// A hang-up is noticed by whoever watches the socket.
void process_outgoing_send(struct process *process)
{
    while (process->outgoing && process->socket >= 0 &&
           channel_send(process->socket, &process->outgoing->message) != EAGAIN)
        process_outgoing_drop(process);
    if (process->outgoing)
        process->base->timer_start(process->again, ENV_MS);
}

void process_send(struct process *process, const struct channel_message *message)
{
    if (!process_lives(process))
        return;
    if (!process->outgoing && channel_send(process->socket, message) != EAGAIN)
        return;
    if (!outgoing_keep(process, message))
        process_fail(process, "no memory for what it is to be told");
    else
        process->base->timer_start(process->again, ENV_MS);
}

// ---- hearing it

bool process_hear(struct process *process)
{
    for (unsigned i = 0; i < PROCESS_TURN && process_lives(process); i++) {
        struct channel_message message;
        int status = channel_receive(process->socket, &message);
        if (status == EAGAIN)
            return true;
        if (status) {
            // Its end tells more than its hang-up; a process that hangs up and stays is ended.
            if (status == EPROTO)
                process_fail(process, "sent what is no message");
            else
                process_fail(process, "hung up");
            return true;
        }
        process_message(process, &message);
        channel_message_end(&message);
    }
    return false;
}

void process_on_socket(void *arg, uint32_t events)
{
    struct process *process = arg;
    (void)events;
    if (process_lives(process))
        process_hear(process);
}

void process_look(struct process *process)
{
    bool more = false;
    for (uint32_t i = 0; i < process->client_count && process_lives(process); i++) {
        struct carrick_client *client = process->clients[i];
        if (!client->shared)
            continue;
        more |= process_ops(client);
        if (process_lives(process))
            process_events_pass(client);
    }
    if (!process_lives(process))
        return;
    if (!more) {
        __atomic_store_n(&process->page->daemon_sleeps, 1, __ATOMIC_SEQ_CST);
        for (uint32_t i = 0; i < process->client_count; i++)
            more |= process->clients[i]->shared && channel_has_more(&process->clients[i]->ops);
    }
    if (more) {
        __atomic_store_n(&process->page->daemon_sleeps, 0, __ATOMIC_SEQ_CST);
        process->base->timer_start(process->again, 0);
    }
}

void process_on_event(void *arg, uint32_t events)
{
    struct process *process = arg;
    uint64_t count;
    (void)events;
    if (!process_lives(process))
        return;
    while (read(process->event_in, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
    process_look(process);
}

// ---- waiting for it, at the start and at the end only

bool process_wait(struct process *process, bool (*done)(const struct carrick_client *client),
                  const struct carrick_client *client, uint64_t deadline_ns)
{
    while (process_lives(process) && !done(client)) {
        struct pollfd fds[3] = {{.fd = process->socket, .events = POLLIN},
                                {.fd = process->pidfd, .events = POLLIN},
                                {.fd = process->event_in, .events = POLLIN}};
        uint64_t now = process_now_ns(process);
        if (now >= deadline_ns)
            return false;
        poll(fds, 3, process->outgoing ? 1 : (int)((deadline_ns - now) / ENV_MS) + 1);
        process_outgoing_send(process);
        if (fds[0].revents)
            process_hear(process);
        if (fds[2].revents && process_lives(process))
            process_on_event(process, 0);
        if (fds[1].revents && process_lives(process) && !done(client))
            process_fail(process, "hung up");
    }
    return done(client);
}
