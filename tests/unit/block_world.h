// SPDX-License-Identifier: Apache-2.0
//
// A served shelf on a thread of its own, and a raw user of it that can break every rule.
#ifndef TESTS_UNIT_BLOCK_WORLD_H
#define TESTS_UNIT_BLOCK_WORLD_H

#include <criterion/criterion.h>

#include "tests/unit/block_host.h"

#include "lib/ring.h"
#include "plugins/shelf/front.h"

#include <carrick/libcarrick.h>

#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define WORLD_BYTES (8u << 20)

struct world {
    char dir[64], path[96];
    struct loop loop;
    struct carrick_shelves shelves;
    struct front *front;
    pthread_t thread;
    // What the loop's thread is asked to do next, and that it has done it.
    void (*order)(struct world *w);
    int order_fd, done_fd;
    struct carrick_watch *order_watch;
    bool ends;
};

static inline void world_order_ready(void *arg, uint32_t events)
{
    struct world *w = arg;
    uint64_t count;
    (void)events;
    if (read(w->order_fd, &count, sizeof(count)) != sizeof(count))
        return;
    w->order(w);
    count = 1;
    if (write(w->done_fd, &count, sizeof(count)) != sizeof(count))
        abort();
}

static inline void *world_run(void *arg)
{
    struct world *w = arg;
    while (!w->ends)
        loop_turn(&w->loop, 1000000000u);
    return NULL;
}

// Runs fn on the loop's thread.
static inline void world_do(struct world *w, void (*fn)(struct world *w))
{
    uint64_t one = 1;
    w->order = fn;
    cr_assert_eq(write(w->order_fd, &one, sizeof(one)), (ssize_t)sizeof(one));
    cr_assert_eq(read(w->done_fd, &one, sizeof(one)), (ssize_t)sizeof(one));
}

static inline void world_path(struct world *w)
{
    memset(w, 0, sizeof(*w));
    strcpy(w->dir, "/tmp/carrick-unit-XXXXXX");
    cr_assert_not_null(mkdtemp(w->dir));
    snprintf(w->path, sizeof(w->path), "%s/block", w->dir);
}

static inline void world_start(struct world *w, uint32_t connections, uint32_t requests)
{
    world_path(w);
    loop_init(&w->loop);
    shelves_init(&w->shelves, &w->loop, WORLD_BYTES);
    struct front_config config = {
        .path = w->path, .connections = connections, .requests = requests};
    struct carrick_error error = {.struct_size = sizeof(error)};
    cr_assert_eq(front_start(&w->loop.host, &config, &shelves_ops, &w->shelves, &w->front, &error),
                 0, "%s", error.text);
    w->order_fd = eventfd(0, EFD_CLOEXEC);
    w->done_fd = eventfd(0, EFD_CLOEXEC);
    loop_watch_create(&w->loop.host, w->order_fd, CARRICK_WATCH_READ, world_order_ready, w,
                      &w->order_watch);
    cr_assert_eq(pthread_create(&w->thread, NULL, world_run, w), 0);
}

static inline void world_end_order(struct world *w)
{
    w->ends = true;
}

static inline void world_close_order(struct world *w)
{
    shelves_close_all(&w->shelves, "the group moved to beta");
}

static inline void world_stuck_order(struct world *w)
{
    w->shelves.stuck = true;
}

static inline void world_remove(const struct world *w)
{
    char lock[128];
    snprintf(lock, sizeof(lock), "%s.lock", w->path);
    unlink(lock);
    unlink(w->path);
    rmdir(w->dir);
}

static inline void world_stop(struct world *w)
{
    world_do(w, world_end_order);
    pthread_join(w->thread, NULL);
    front_stop(w->front);
    loop_watch_destroy(w->order_watch);
    shelves_end(&w->shelves);
    close(w->order_fd);
    close(w->done_fd);
    world_remove(w);
}

static inline struct carrick_block *world_connect(struct world *w)
{
    struct carrick_error error = {.struct_size = sizeof(error)};
    struct carrick_block *block = NULL;
    cr_assert_eq(carrick_block_connect(w->path, "disk1", 0, &block, &error), 0, "%s", error.text);
    return block;
}

// ---- a user without manners

struct raw {
    int fd, memory;
    struct ring_welcome welcome;
    struct ring ring;
    uint32_t tail, head;
};

static inline int raw_socket(const struct world *w)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, w->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static inline void raw_connect(struct raw *r, const struct world *w)
{
    struct ring_hello hello = {
        .magic = RING_MAGIC, .version = RING_VERSION, .shelf = "disk1", .program = "raw\"\\\n\x80"};
    char control[CMSG_SPACE(sizeof(int))];
    memset(r, 0, sizeof(*r));
    r->fd = raw_socket(w);
    cr_assert_eq(send(r->fd, &hello, sizeof(hello), 0), (ssize_t)sizeof(hello));
    struct iovec iov = {&r->welcome, sizeof(r->welcome)};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    cr_assert_eq(recvmsg(r->fd, &message, MSG_WAITALL), (ssize_t)sizeof(r->welcome));
    cr_assert_eq(r->welcome.status, 0, "%s", r->welcome.text);
    cr_assert_not_null(CMSG_FIRSTHDR(&message));
    memcpy(&r->memory, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
    r->ring.slots = r->welcome.slots;
    r->ring.slot_bytes = r->welcome.slot_bytes;
    r->ring.memory = mmap(NULL, ring_bytes(r->ring.slots, r->ring.slot_bytes),
                          PROT_READ | PROT_WRITE, MAP_SHARED, r->memory, 0);
    cr_assert_neq(r->ring.memory, MAP_FAILED);
}

static inline void raw_end(struct raw *r)
{
    munmap(r->ring.memory, ring_bytes(r->ring.slots, r->ring.slot_bytes));
    close(r->memory);
    close(r->fd);
}

static inline void raw_ring(const struct raw *r)
{
    cr_assert_eq(send(r->fd, "", 1, MSG_NOSIGNAL), 1);
}

static inline void raw_put(struct raw *r, uint32_t operation, uint32_t slot, uint64_t offset,
                           uint64_t length)
{
    struct ring_request request = {
        .operation = operation, .slot = slot, .tag = r->tail, .offset = offset, .length = length};
    ring_put_request(&r->ring, &r->tail, &request);
}

// The error of the next answer. Asks until it is there: the world's thread is at work.
static inline uint32_t raw_answer(struct raw *r)
{
    struct ring_answer answer;
    int taken;
    while ((taken = ring_take_answer(&r->ring, &r->head, &answer)) == 0)
        sched_yield();
    cr_assert_eq(taken, 1);
    return answer.error;
}

// Waits for the daemon to close the connection.
static inline void raw_is_closed(const struct raw *r)
{
    char byte;
    ssize_t got;
    while ((got = recv(r->fd, &byte, 1, 0)) > 0)
        ;
    cr_assert(got == 0 || errno == ECONNRESET);
}

#endif
