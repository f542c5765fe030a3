// SPDX-License-Identifier: Apache-2.0
//
// Between the sources of the front: the listener (front.c), one connection
// (front_connection.c).
#ifndef SHELF_FRONT_INTERNAL_H
#define SHELF_FRONT_INTERNAL_H

#include "plugins/shelf/front.h"

#include "common/local_socket.h"
#include "lib/ring.h"

#include <sys/queue.h>
#include <sys/types.h>

#define FRONT_SLOT_BYTES (256u << 10)
#define FRONT_HELLO_NS                                                                             \
    5000000000ull // a caller that does not say what it wants in this time is closed

struct front_connection {
    TAILQ_ENTRY(front_connection) entry;
    struct front *front;
    int fd;
    struct carrick_watch *watch;
    struct carrick_timer *timer; // until the hello: its deadline; then: to go on with requests
    pid_t pid;
    uid_t uid;

    struct ring_hello hello;
    size_t hello_bytes; // how much of it has come

    struct carrick_export *export; // NULL: not yet, or refused
    struct ring ring;
    size_t ring_bytes;
    uint32_t request_head, answer_tail;
    struct ring_request held; // taken from the ring, and the shelf had no room for it
    bool holds;
    uint32_t open;     // requests that are taken and not answered
    uint64_t requests; // taken so far
    // Per slot, in memory that only this process can write.
    bool busy[RING_SLOTS_MAX];
    uint32_t tag[RING_SLOTS_MAX];
};

TAILQ_HEAD(front_connections, front_connection);

struct front {
    const struct carrick_host *host;
    const struct carrick_block_ops *ops;
    struct carrick_shelves *shelves;
    struct local_socket sock;
    uint32_t connections_max, requests_max;
    struct carrick_watch *watch; // NULL while descriptors are short
    struct carrick_timer *timer;
    struct front_connections connections;
    uint32_t connection_count;
};

// Takes over fd, also when it fails.
void front_connection_start(struct front *front, int fd);
void front_connection_close(struct front_connection *c);
// One message over a socket that nobody serves yet: why not. Best effort.
void front_refuse(int fd, int status, const char *text);

#endif
