// SPDX-License-Identifier: Apache-2.0
// needs plugin: shelf
//
// Any bytes as the words of the shared memory, and any order of bells, answers and closing: the shelf plugin's front must
// take in only requests that keep within their slot, one per slot, and must answer no others. The socket is a
// real one, so that its whole path is run; time and the loop are not.
#include <carrick/block.h>
#include <carrick/plugin.h>

#include "lib/ring.h"
#include "plugins/shelf/front_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOLDS(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

#define SHELF_BYTES (1u << 20)

struct carrick_watch {
    void (*fn)(void *arg, uint32_t events);
    void *arg;
};

struct carrick_timer {
    void (*fn)(void *arg);
    void *arg;
    bool running;
};

// One connection at most.
struct carrick_shelves {
    struct carrick_watch *watch;
    struct carrick_timer *timer;
    const struct carrick_block_user *user;
    void *arg;
    bool open;
    unsigned char *slots;
    size_t slots_bytes;
    bool busy[RING_SLOTS_MAX];
    uint32_t room;
};

static struct carrick_shelves *of_host(const struct carrick_host *host)
{
    return (struct carrick_shelves *)(uintptr_t)host->instance;
}

static __attribute__((format(printf, 3, 4))) void host_log(const struct carrick_host *host,
                                                           int level, const char *format, ...)
{
    char line[1024];
    va_list args;
    (void)host;
    (void)level;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
}

static int host_timer_create(const struct carrick_host *host, void (*fn)(void *), void *arg,
                             struct carrick_timer **timer)
{
    *timer = calloc(1, sizeof(**timer));
    (*timer)->fn = fn;
    (*timer)->arg = arg;
    of_host(host)->timer = *timer;
    return CARRICK_OK;
}

static void host_timer_start(struct carrick_timer *timer, uint64_t delay_ns)
{
    (void)delay_ns;
    timer->running = true;
}

static void host_timer_stop(struct carrick_timer *timer)
{
    timer->running = false;
}

static void host_timer_destroy(struct carrick_timer *timer)
{
    free(timer);
}

static int host_watch_create(const struct carrick_host *host, int fd, uint32_t events,
                             void (*fn)(void *, uint32_t), void *arg, struct carrick_watch **watch)
{
    (void)fd;
    (void)events;
    *watch = calloc(1, sizeof(**watch));
    (*watch)->fn = fn;
    (*watch)->arg = arg;
    of_host(host)->watch = *watch;
    return CARRICK_OK;
}

static void host_watch_destroy(struct carrick_watch *watch)
{
    free(watch);
}

static int shelf_open(struct carrick_shelves *s, const char *shelf,
                      const struct carrick_block_user *user, void *arg, struct carrick_export **out,
                      struct carrick_block_info *info, struct carrick_error *error)
{
    (void)error;
    HOLDS(strlen(shelf) < RING_NAME_BYTES);
    s->user = user;
    s->arg = arg;
    s->open = true;
    info->bytes = SHELF_BYTES;
    *out = (struct carrick_export *)s;
    return CARRICK_OK;
}

static void shelf_close(struct carrick_export *export_)
{
    ((struct carrick_shelves *)export_)->open = false;
}

static int shelf_submit(struct carrick_export *export_, const struct carrick_block_request *r)
{
    struct carrick_shelves *s = (struct carrick_shelves *)export_;
    HOLDS(s->open && r->cookie < RING_SLOTS_MAX && !s->busy[r->cookie]);
    HOLDS(r->operation >= CARRICK_BLOCK_READ && r->operation <= CARRICK_BLOCK_ZERO);
    HOLDS((r->flags & ~CARRICK_BLOCK_FUA) == 0);
    if (r->operation == CARRICK_BLOCK_READ || r->operation == CARRICK_BLOCK_WRITE) {
        const unsigned char *at = r->data;
        HOLDS(at >= s->slots && r->length <= FRONT_SLOT_BYTES);
        HOLDS(at + r->length <= s->slots + s->slots_bytes);
    }
    if (r->offset > SHELF_BYTES || r->length > SHELF_BYTES - r->offset)
        return CARRICK_ERR_BOUNDS;
    if (s->room == 0)
        return CARRICK_ERR_AGAIN;
    s->room--;
    s->busy[r->cookie] = true;
    return CARRICK_OK;
}

static const struct carrick_block_ops ops = {
    .struct_size = sizeof(ops),
    .export_open = shelf_open,
    .export_close = shelf_close,
    .submit = shelf_submit,
};

// One step chosen by a byte. The front's own pointers tell whether the connection still is.
static void step(struct front *front, struct carrick_shelves *s, uint8_t byte)
{
    if (byte < 128) {
        s->watch->fn(s->watch->arg, CARRICK_WATCH_READ);
    } else if (byte < 160) {
        if (s->timer->running) {
            s->timer->running = false;
            s->timer->fn(s->timer->arg);
        }
    } else if (byte < 250) {
        for (uint32_t i = byte % 8; i < front->requests_max; i += 8) {
            if (s->busy[i]) {
                s->busy[i] = false;
                s->room++;
                s->user->answered(s->arg, i, CARRICK_OK, 0);
            }
        }
        if (s->open)
            s->user->answers_end(s->arg);
    } else if (s->open) {
        s->user->closed(s->arg, "moved");
    }
}

static void run(struct front *front, struct carrick_shelves *s, const uint8_t *data, size_t size)
{
    struct front_connection *c = TAILQ_FIRST(&front->connections);
    uint32_t *words = (uint32_t *)(void *)c->ring.memory;
    size_t count = ring_data_at(c->ring.slots) / sizeof(uint32_t);
    s->slots = ring_data(&c->ring, 0);
    s->slots_bytes = (size_t)c->ring.slots * c->ring.slot_bytes;
    // Each step: which word, its value, and what happens then.
    for (; size >= 6 && front->connection_count; size -= 6, data += 6) {
        size_t at = (size_t)data[0] | (size_t)data[1] << 8;
        // The words that steer come more often than the entries.
        at = at & 0x8000 ? (at & 3) * 32 : at % count;
        __atomic_store_n(&words[at],
                         (uint32_t)data[2] | (uint32_t)data[3] << 8 | (uint32_t)data[4] << 24,
                         __ATOMIC_RELAXED);
        step(front, s, data[5]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct carrick_shelves shelves = {.room = 3};
    const struct carrick_host host = {
        .struct_size = sizeof(host),
        .instance = (const char *)&shelves,
        .log = host_log,
        .timer_create = host_timer_create,
        .timer_start = host_timer_start,
        .timer_stop = host_timer_stop,
        .timer_destroy = host_timer_destroy,
        .watch_create = host_watch_create,
        .watch_destroy = host_watch_destroy,
    };
    struct front front = {
        .host = &host, .ops = &ops, .shelves = &shelves, .connections_max = 1, .requests_max = 8};
    struct ring_hello hello = {.magic = RING_MAGIC, .version = RING_VERSION, .shelf = "disk1"};
    int ends[2];
    TAILQ_INIT(&front.connections);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        return 0;
    front_connection_start(&front, ends[0]);
    if (send(ends[1], &hello, sizeof(hello), MSG_DONTWAIT) == (ssize_t)sizeof(hello))
        shelves.watch->fn(shelves.watch->arg, CARRICK_WATCH_READ);
    if (front.connection_count && shelves.open)
        run(&front, &shelves, data, size);
    if (front.connection_count)
        front_connection_close(TAILQ_FIRST(&front.connections));
    HOLDS(!shelves.open && front.connection_count == 0);
    close(ends[1]);
    return 0;
}
