// SPDX-License-Identifier: Apache-2.0
//
// The host of each node in a world of shelves (shelf_world.h): time, files, regions, the VI between both, services.
#ifndef SHELF_HOST_H
#define SHELF_HOST_H

#include <criterion/criterion.h>

#include "plugins/shelf/shelf.h"

#include <carrick/block.h>
#include <carrick/client.h>
#include <carrick/log.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORLD_NODES 2
#define WORLD_FILES 8
#define WORLD_RECORDS 8192
// Hours after the machine began: a time that was never set (0) must not look like one that was a while ago.
#define WORLD_BEGIN_NS (3ull * 3600 * 1000000000)

const struct carrick_plugin *shelf_plugin_entry(void);

struct node;

struct carrick_timer {
    struct carrick_timer *next;
    struct node *node;
    void (*fn)(void *arg);
    void *arg;
    uint64_t due_ns;
    bool armed;
};

struct io {
    struct io *next; // all that were ever begun, in order
    struct carrick_file *file;
    struct carrick_file_request request;
    uint8_t *data;        // WRITE: what it was
    uint64_t begun, done; // moments; done 0: under way
    bool failed;
};

struct carrick_file {
    struct node *node;
    char path[128];
    uint8_t *bytes;
    uint64_t length;
    bool there, open;
    uint32_t under_way;
    int fail[8];               // per operation: errno that requests end with
    uint64_t bad_from, bad_to; // reads that touch it end with EIO
    uint32_t errors_left;      // 0: fail[] holds for good
};

struct carrick_region {
    uint8_t *bytes;
    uint64_t length;
};

struct carrick_vi {
    struct node *node;
};

struct packet {
    struct packet *next;
    struct node *to;
    uint32_t length;
    uint8_t bytes[CARRICK_SEND_BYTES_MAX];
};

struct log_record {
    struct carrick_log_entry entry;
    uint8_t *data;
};

struct barrier {
    void (*fn)(void *arg, bool fresh);
    void *arg;
};

struct carrick_log {
    struct node *node;
    const struct carrick_log_consumer *consumer;
    void *arg;
    struct log_record *records[WORLD_RECORDS + 1]; // by sequence
    uint64_t first, last, acknowledged, told, synced, everywhere;
    uint32_t role, mirror, level;
    bool full, fresh, failed;
    struct carrick_resync report;
    struct barrier barriers[1024];
    uint32_t barrier_count;
    uint32_t barrier_status;
};

struct carrick_logs {
    struct carrick_log log;
};

struct node {
    const char *name;
    struct carrick_host base;
    struct carrick_client_host host;
    struct carrick_client *client;
    const struct carrick_client_ops *ops;
    const struct carrick_block_ops *block;
    struct carrick_shelves *shelves;
    struct carrick_logs logs;
    struct carrick_file files[WORLD_FILES];
    struct carrick_vi vi;
    struct carrick_region *here; // where the partner writes
    struct carrick_region *regions[4];
    uint32_t completions[2]; // of slots and messages that were posted; told by world_settle
    uint64_t cookies[4096];
    uint32_t cookie_count;
    uint32_t errors_logged;
    char last_log[300];
    uint64_t room; // operations that post takes
};

struct world {
    uint64_t now_ns;
    uint64_t moment; // grows with every begin and end of a request
    uint64_t seed;
    struct carrick_timer *timers;
    struct io *ios, *last_io;
    struct node nodes[WORLD_NODES];
    struct packet *packets;
    bool session;
    bool read_now; // file_read_now works
    bool hold_io, hold_packets;
    bool shuffle; // requests end in any order
};

static struct world world;

static inline uint64_t world_random(void)
{
    world.seed = world.seed * 6364136223846793005u + 1442695040888963407u;
    return world.seed >> 33;
}

static inline struct node *other(struct node *node)
{
    return node == &world.nodes[0] ? &world.nodes[1] : &world.nodes[0];
}

static inline struct node *node_of(const struct carrick_host *base)
{
    return &world.nodes[base == &world.nodes[1].base];
}

// ---- host: time, log lines

static void fake_log(const struct carrick_host *base, int level, const char *format, ...)
{
    struct node *node = node_of(base);
    va_list ap;

    va_start(ap, format);
    vsnprintf(node->last_log, sizeof node->last_log, format, ap);
    va_end(ap);
    node->errors_logged += level == CARRICK_LOG_ERROR;
}

static uint64_t fake_now(const struct carrick_host *base)
{
    (void)base;
    return world.now_ns;
}

static void fake_random(const struct carrick_host *base, void *buffer, size_t length)
{
    (void)base;
    for (size_t i = 0; i < length; i++)
        ((uint8_t *)buffer)[i] = (uint8_t)world_random();
}

static int fake_timer_create(const struct carrick_host *base, void (*fn)(void *arg), void *arg,
                             struct carrick_timer **timer)
{
    *timer = calloc(1, sizeof **timer);
    **timer =
        (struct carrick_timer){.next = world.timers, .node = node_of(base), .fn = fn, .arg = arg};
    world.timers = *timer;
    return CARRICK_OK;
}

static void fake_timer_start(struct carrick_timer *timer, uint64_t delay_ns)
{
    timer->due_ns = world.now_ns + delay_ns;
    timer->armed = true;
}

static void fake_timer_stop(struct carrick_timer *timer)
{
    timer->armed = false;
}

static void fake_timer_destroy(struct carrick_timer *timer)
{
    struct carrick_timer **at = &world.timers;

    while (*at != timer)
        at = &(*at)->next;
    *at = timer->next;
    free(timer);
}

// ---- host: files

static int fake_file_open(const struct carrick_host *base, const char *path, uint32_t flags,
                          uint64_t bytes, struct carrick_file **out, struct carrick_file_info *info,
                          struct carrick_error *error)
{
    struct node *node = node_of(base);
    struct carrick_file *file = node->files;

    (void)error;
    while (file->there && strcmp(file->path, path) != 0)
        file++;
    bool created = !file->there;
    if (created && (flags & CARRICK_FILE_CREATE) == 0)
        return CARRICK_ERR_SYSTEM;
    if (created) {
        snprintf(file->path, sizeof file->path, "%s", path);
        file->there = true;
        file->node = node;
        file->bytes = calloc(1, bytes);
        file->length = bytes;
    }
    cr_assert(!file->open && file->length >= bytes);
    file->open = true;
    if (info != NULL) {
        info->created = created;
        info->bytes = file->length;
    }
    *out = file;
    return CARRICK_OK;
}

static int fake_file_submit(struct carrick_file *file, const struct carrick_file_request *request)
{
    struct io *io = calloc(1, sizeof *io);

    cr_assert(file->open);
    cr_assert(request->offset + request->length <= file->length);
    io->file = file;
    io->request = *request;
    io->begun = ++world.moment;
    if (request->operation == CARRICK_FILE_WRITE) {
        io->data = malloc(request->length);
        memcpy(io->data, request->data, request->length);
    }
    if (world.last_io != NULL)
        world.last_io->next = io;
    else
        world.ios = io;
    world.last_io = io;
    file->under_way++;
    return CARRICK_OK;
}

static int fake_file_read_now(struct carrick_file *file, uint64_t offset, void *data,
                              uint64_t length)
{
    if (!world.read_now || (offset < file->bad_to && file->bad_from < offset + length))
        return CARRICK_ERR_AGAIN;
    memcpy(data, file->bytes + offset, length);
    return CARRICK_OK;
}

static int fake_file_close(struct carrick_file *file)
{
    cr_assert_eq(file->under_way, 0u);
    file->open = false;
    return CARRICK_OK;
}

static inline void io_apply(uint8_t *bytes, const struct io *io)
{
    if (io->request.operation == CARRICK_FILE_WRITE)
        memcpy(bytes + io->request.offset, io->data, io->request.length);
    else if (io->request.operation >= CARRICK_FILE_ZERO)
        memset(bytes + io->request.offset, 0, io->request.length);
}

static inline void io_end(struct io *io)
{
    struct carrick_file *file = io->file;
    struct carrick_file_request *request = &io->request;
    int sys_errno = file->fail[request->operation];

    if (sys_errno != 0 && file->errors_left > 0 && --file->errors_left == 0)
        memset(file->fail, 0, sizeof file->fail);
    if (request->operation == CARRICK_FILE_READ && request->offset < file->bad_to &&
        file->bad_from < request->offset + request->length)
        sys_errno = EIO;
    io->done = ++world.moment;
    io->failed = sys_errno != 0;
    file->under_way--;
    if (sys_errno == 0 && request->operation == CARRICK_FILE_READ)
        memcpy(request->data, file->bytes + request->offset, request->length);
    else if (sys_errno == 0)
        io_apply(file->bytes, io);
    if (request->operation == CARRICK_FILE_WRITE) // it must not have changed meanwhile
        cr_assert_eq(memcmp(io->data, request->data, request->length), 0);
    request->fn(request->arg, sys_errno == 0 ? CARRICK_OK : CARRICK_ERR_SYSTEM, sys_errno);
}

// Ends one request; false: none is under way.
static inline bool world_io_step(void)
{
    struct io *pick = NULL;
    uint32_t open = 0;

    for (struct io *io = world.ios; io != NULL; io = io->next)
        if (io->done == 0 && (open++ == 0 || (world.shuffle && world_random() % open == 0)))
            pick = io;
    if (pick == NULL)
        return false;
    io_end(pick);
    return true;
}

// ---- host: regions and the VI

static int fake_region_create(const struct carrick_client_host *host, uint64_t bytes,
                              struct carrick_region **region)
{
    (void)host;
    *region = calloc(1, sizeof **region);
    (*region)->bytes = calloc(1, bytes);
    (*region)->length = bytes;
    return CARRICK_OK;
}

static int fake_region_destroy(struct carrick_region *region)
{
    free(region->bytes);
    free(region);
    return CARRICK_OK;
}

static void *fake_region_ptr(struct carrick_region *region)
{
    return region->bytes;
}

static uint64_t fake_region_bytes(struct carrick_region *region)
{
    return region->length;
}

static int fake_post(struct carrick_vi *vi, const struct carrick_op *ops, uint32_t count)
{
    struct node *node = vi->node, *partner = other(node);

    if (node->cookie_count + count > node->room)
        return CARRICK_ERR_AGAIN;
    for (uint32_t i = 0; i < count; i++) {
        const struct carrick_op *op = carrick_op_at(ops, i);
        if (op->operation == CARRICK_CLIENT_WRITE) {
            cr_assert(op->there_offset + op->length <= partner->here->length);
            memcpy(partner->here->bytes + op->there_offset, op->region->bytes + op->offset,
                   op->length);
        } else {
            struct packet *packet = calloc(1, sizeof *packet), **at = &world.packets;
            packet->to = partner;
            packet->length = (uint32_t)op->length;
            memcpy(packet->bytes, op->data, op->length);
            while (*at != NULL)
                at = &(*at)->next;
            *at = packet;
        }
        node->cookies[node->cookie_count++] = op->cookie;
    }
    return CARRICK_OK;
}

static int fake_vi_close(struct carrick_vi *vi)
{
    (void)vi;
    return CARRICK_OK;
}

static inline bool world_packet_step(void)
{
    struct packet *packet = world.packets;

    if (packet == NULL)
        return false;
    world.packets = packet->next;
    if (world.session)
        packet->to->ops->received(packet->to->client, &packet->to->vi, packet->bytes,
                                  packet->length);
    free(packet);
    return true;
}

static inline bool world_completion_step(struct node *node)
{
    struct carrick_completion completions[64];
    uint32_t count = node->cookie_count > 64 ? 64 : node->cookie_count;

    if (count == 0 || node->client == NULL || !world.session)
        return false;
    for (uint32_t i = 0; i < count; i++)
        completions[i] = (struct carrick_completion){
            .struct_size = sizeof completions[0], .cookie = node->cookies[i], .vi = &node->vi};
    node->cookie_count -= count;
    memmove(node->cookies, node->cookies + count, node->cookie_count * sizeof node->cookies[0]);
    node->ops->completed(node->client, completions, count);
    return true;
}

// ---- services

static const void *offered_table;

static int fake_offer(const struct carrick_client_host *host, const char *name, const void *table,
                      void *object)
{
    struct node *node = node_of(host->base);

    cr_assert_str_eq(name, CARRICK_BLOCK_SERVICE);
    node->block = offered_table = table;
    node->shelves = object;
    return CARRICK_OK;
}

static const struct carrick_log_ops fake_log_ops;

static int fake_find(const struct carrick_client_host *host, const char *name, const void **table,
                     void **object)
{
    cr_assert_str_eq(name, CARRICK_LOG_SERVICE);
    *table = &fake_log_ops;
    *object = &node_of(host->base)->logs;
    return CARRICK_OK;
}

#endif
