// SPDX-License-Identifier: Apache-2.0
//
// The listener: who comes is taken in up to a bound, or told why not.
#include "plugins/shelf/front_internal.h"

#include <carrick/error.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS_PER_TURN 16
#define SHORTAGE_NS 100000000ull // how long no one is taken in when descriptors or memory are short

static void accept_ready(void *arg, uint32_t events);

static void listen_again(void *arg)
{
    struct front *front = arg;
    if (front->host->watch_create(front->host, front->sock.fd, CARRICK_WATCH_READ, accept_ready,
                                  front, &front->watch))
        front->host->timer_start(front->timer, SHORTAGE_NS);
}

static void accept_ready(void *arg, uint32_t events)
{
    struct front *front = arg;
    (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        // cppcheck-suppress nullPointer ; accept4(2) takes none where nobody asks who it is
        int fd = accept4(front->sock.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            front_connection_start(front, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            // The caller stays in the queue, and the loop would turn round it: look again later.
            front->host->log(front->host, CARRICK_LOG_WARNING,
                             "cannot take a connection on %s: %s; raise the limit of open files",
                             front->sock.path, strerror(errno));
            front->host->watch_destroy(front->watch);
            front->watch = NULL;
            front->host->timer_start(front->timer, SHORTAGE_NS);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

static uint32_t power_of_two(uint32_t wanted)
{
    uint32_t result = 1;
    while (result < wanted && result < FRONT_REQUESTS_MAX)
        result *= 2;
    return result;
}

static int watch_begin(struct front *front, struct carrick_error *error)
{
    int status = front->host->timer_create(front->host, listen_again, front, &front->timer);
    if (!status) {
        status = front->host->watch_create(front->host, front->sock.fd, CARRICK_WATCH_READ,
                                           accept_ready, front, &front->watch);
        if (status)
            front->host->timer_destroy(front->timer);
    }
    if (status) {
        carrick_error_set(
            error, status, 0, "", "cannot watch the block socket %s%s", front->sock.path,
            status == CARRICK_ERR_NOT_SUPPORTED ? ": this host offers no watches" : "");
    }
    return status;
}

static void path_release(struct front *front)
{
    close(front->sock.fd);
    local_socket_close(&front->sock);
}

int front_start(const struct carrick_host *host, const struct front_config *config,
                const struct carrick_block_ops *ops, struct carrick_shelves *shelves,
                struct front **out, struct carrick_error *error)
{
    struct front *front = calloc(1, sizeof(*front));
    if (!front)
        return error->status = CARRICK_ERR_NO_MEMORY;
    front->host = host;
    front->ops = ops;
    front->shelves = shelves;
    uint32_t connections = config->connections ? config->connections : FRONT_CONNECTIONS_DEFAULT;
    front->connections_max =
        connections < FRONT_CONNECTIONS_MAX ? connections : FRONT_CONNECTIONS_MAX;
    front->requests_max =
        power_of_two(config->requests ? config->requests : FRONT_REQUESTS_DEFAULT);
    TAILQ_INIT(&front->connections);
    const struct local_socket_options place = {
        .path = config->path,
        .group = config->group,
        .what = "block socket",
        .setting = "\"socket\"",
        .instead = "\"socket\" (%n in it stands for the node's name)",
    };
    int status = local_socket_open(&place, &front->sock, error);
    if (!status) {
        status = watch_begin(front, error);
        if (status)
            path_release(front);
    }
    if (status) {
        free(front);
        return status;
    }
    *out = front;
    return CARRICK_OK;
}

void front_stop(struct front *front)
{
    if (!front)
        return;
    if (front->watch)
        front->host->watch_destroy(front->watch);
    front->host->timer_destroy(front->timer);
    while (!TAILQ_EMPTY(&front->connections))
        front_connection_close(TAILQ_FIRST(&front->connections));
    path_release(front);
    free(front);
}

// Appends what fits as a whole, else nothing; returns whether it did.
static bool append(char *text, size_t size, size_t *at, const char *piece)
{
    size_t length = strlen(piece);
    if (*at + length >= size)
        return false;
    memcpy(text + *at, piece, length + 1);
    *at += length;
    return true;
}

void front_describe(const struct front *front, char *text, size_t size)
{
    static const char tail[] = "]}";
    char piece[512];
    size_t at = 0;
    if (size < sizeof(piece)) {
        if (size)
            snprintf(text, size, size > 2 ? "{}" : "");
        return;
    }
    // Room for the end is kept, so that the text stays JSON wherever it is cut.
    size_t room = size - sizeof(tail);
    snprintf(piece, sizeof(piece), "{\"socket\":\"%s\",\"connections_max\":%u,\"connections\":[",
             front->sock.path, front->connections_max);
    append(text, room, &at, piece);
    const struct front_connection *c;
    bool first = true;
    TAILQ_FOREACH(c, &front->connections, entry)
    {
        if (!c->export)
            continue;
        snprintf(piece, sizeof(piece),
                 "%s{\"shelf\":\"%s\",\"program\":\"%s\",\"pid\":%d,\"uid\":%u,\"open\":%u,"
                 "\"requests\":%llu}",
                 first ? "" : ",", c->hello.shelf, c->hello.program, (int)c->pid, (unsigned)c->uid,
                 c->open, (unsigned long long)c->requests);
        if (!append(text, room, &at, piece))
            break;
        first = false;
    }
    append(text, size, &at, tail);
}
