// SPDX-License-Identifier: Apache-2.0
//
// What a world for nvram_shadow consists of, and the host's table that its nodes give to the plugin: memory, disks, timers
// and VIs. Memory that is opened by path outlives an instance; a disk loses what was not synced when it crashes.
#ifndef NVRAM_HOST_H
#define NVRAM_HOST_H

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/nvram_shadow/nvram.h"

const struct carrick_plugin *nvram_shadow_plugin_entry(void);

// Hours after the machine began: a time that was never set (0) must not look like one that was a while ago.
#define W_BEGIN_NS (3ull * 3600 * 1000000000)
enum { W_VIS = 8, W_OPS = 256, W_REGIONS = 64, W_TIMERS = 64, W_REQUESTS = 256, W_STORES = 4 };

struct carrick_region {
    bool used, lasting;
    int node;
    uint64_t bytes;
    uint8_t *memory;
    char path[256];
};

struct carrick_timer {
    bool used, armed;
    int node;
    uint64_t due_ns, order;
    void (*fn)(void *arg);
    void *arg;
};

struct w_op {
    struct carrick_op op;
    uint8_t data[NV_MESSAGE_BYTES];
};

struct carrick_vi {
    int node;
    uint32_t number;
    bool open;
    struct w_op ops[W_OPS];
    uint32_t first, count;
};

// A disk: what is certain, and the requests that are not done, or not synced.
struct w_write {
    uint64_t offset, length;
    uint8_t *data;
};

struct carrick_file {
    bool used;
    int node;
    char path[256];
    uint64_t bytes;
    uint8_t *now, *certain; // as read; as after a crash
    struct w_write *unsynced;
    uint32_t unsynced_count, unsynced_room;
    struct carrick_file_request requests[W_REQUESTS];
    uint32_t first, count;
    int fails; // errno that writes and syncs end with, when not 0
};

struct w_node {
    struct carrick_host base;
    struct carrick_client_host host;
    int index;
    char name[8];
    struct carrick_client *client;
    struct carrick_vi vis[W_VIS];
    const void *log_table;
    struct carrick_logs *logs;
    // what the partner's regions are backed by: [index]
    struct {
        struct carrick_region *region;
        uint64_t offset, bytes;
        bool decoy;
    } here[W_VIS];
    uint64_t shadow_sequence;
    unsigned lines;
    char line[32][256];
};

static struct {
    uint64_t now_ns, order, random;
    struct w_node nodes[2];
    struct carrick_region regions[W_REGIONS];
    struct carrick_timer timers[W_TIMERS];
    struct carrick_file files[W_STORES];
    bool session;
    bool held[2]; // operations of this node stay under way
    uint64_t sessions;
} world;

static inline const struct carrick_client_ops *w_ops(void)
{
    return nvram_shadow_plugin_entry()->ops;
}

static inline uint64_t w_random(void)
{
    uint64_t z = world.random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline struct w_node *w_node_of(const struct carrick_host *host)
{
    return (struct w_node *)(void *)(uintptr_t)host;
}

static inline struct w_node *w_node_of_client(const struct carrick_client_host *host)
{
    return w_node_of(host->base);
}

// ---- the host's table

__attribute__((format(printf, 3, 4))) static inline void w_log(const struct carrick_host *host,
                                                               int level, const char *format, ...)
{
    struct w_node *node = w_node_of(host);
    va_list ap;

    (void)level;
    va_start(ap, format);
    vsnprintf(node->line[node->lines++ % 32], sizeof node->line[0], format, ap);
    va_end(ap);
    if (getenv("NVRAM_TEST_LOG") != NULL)
        fprintf(stderr, "%s: %s\n", node->name, node->line[(node->lines - 1) % 32]);
}

static inline bool w_said(int node, const char *part)
{
    for (unsigned i = 0; i < 32; i++)
        if (strstr(world.nodes[node].line[i], part) != NULL)
            return true;
    return false;
}

static inline uint64_t w_now(const struct carrick_host *host)
{
    (void)host;
    return world.now_ns;
}

static inline void w_random_fill(const struct carrick_host *host, void *buffer, size_t length)
{
    (void)host;
    for (size_t i = 0; i < length; i++)
        ((uint8_t *)buffer)[i] = (uint8_t)w_random();
}

static inline int w_timer_create(const struct carrick_host *host, void (*fn)(void *arg), void *arg,
                                 struct carrick_timer **timer)
{
    for (int i = 0; i < W_TIMERS; i++) {
        if (!world.timers[i].used) {
            world.timers[i] = (struct carrick_timer){
                .used = true, .node = w_node_of(host)->index, .fn = fn, .arg = arg};
            *timer = &world.timers[i];
            return CARRICK_OK;
        }
    }
    return CARRICK_ERR_NO_MEMORY;
}

static inline void w_timer_start(struct carrick_timer *timer, uint64_t delay_ns)
{
    timer->armed = true;
    timer->due_ns = world.now_ns + delay_ns;
    timer->order = world.order++;
}

static inline void w_timer_stop(struct carrick_timer *timer)
{
    timer->armed = false;
}

static inline void w_timer_destroy(struct carrick_timer *timer)
{
    *timer = (struct carrick_timer){0};
}

static inline int w_file_open(const struct carrick_host *host, const char *path, uint32_t flags,
                              uint64_t bytes, struct carrick_file **file,
                              struct carrick_file_info *info, struct carrick_error *error)
{
    struct carrick_file *free_one = NULL;

    (void)flags;
    (void)info;
    (void)error;
    for (int i = 0; i < W_STORES; i++) {
        struct carrick_file *one = &world.files[i];

        if (one->now != NULL && strcmp(one->path, path) == 0) {
            one->used = true;
            one->node = w_node_of(host)->index;
            *file = one;
            return CARRICK_OK;
        }
        if (one->now == NULL && free_one == NULL)
            free_one = one;
    }
    free_one->used = true;
    free_one->node = w_node_of(host)->index;
    free_one->bytes = bytes;
    free_one->now = calloc(1, bytes);
    free_one->certain = calloc(1, bytes);
    snprintf(free_one->path, sizeof free_one->path, "%s", path);
    *file = free_one;
    return CARRICK_OK;
}

static inline int w_file_submit(struct carrick_file *file,
                                const struct carrick_file_request *request)
{
    cr_assert_lt(file->count, W_REQUESTS);
    cr_assert(request->offset + request->length <= file->bytes);
    file->requests[(file->first + file->count++) % W_REQUESTS] = *request;
    return CARRICK_OK;
}

static inline int w_file_close(struct carrick_file *file)
{
    file->used = false;
    file->count = 0;
    return CARRICK_OK;
}

static inline struct carrick_region *w_region_new(int node, uint64_t bytes)
{
    for (int i = 0; i < W_REGIONS; i++) {
        struct carrick_region *region = &world.regions[i];

        if (!region->used) {
            bytes = (bytes + 4095) / 4096 * 4096;
            *region = (struct carrick_region){.used = true, .node = node, .bytes = bytes};
            region->memory = aligned_alloc(4096, bytes);
            memset(region->memory, 0, bytes);
            return region;
        }
    }
    return NULL;
}

static inline int w_region_create(const struct carrick_client_host *host, uint64_t bytes,
                                  struct carrick_region **region)
{
    *region = w_region_new(w_node_of_client(host)->index, bytes);
    return *region != NULL ? CARRICK_OK : CARRICK_ERR_NO_MEMORY;
}

static inline int w_region_open(const struct carrick_client_host *host, const char *path,
                                uint64_t bytes, struct carrick_region **region,
                                struct carrick_region_info *info, struct carrick_error *error)
{
    (void)error;
    info->kind = CARRICK_REGION_MEMORY;
    for (int i = 0; i < W_REGIONS; i++) {
        if (world.regions[i].used && strcmp(world.regions[i].path, path) == 0) {
            *region = &world.regions[i];
            return CARRICK_OK;
        }
    }
    info->created = true;
    *region = w_region_new(w_node_of_client(host)->index, bytes);
    (*region)->lasting = true;
    snprintf((*region)->path, sizeof(*region)->path, "%s", path);
    return CARRICK_OK;
}

static inline int w_region_destroy(struct carrick_region *region)
{
    if (region->lasting)
        return CARRICK_OK;
    free(region->memory);
    *region = (struct carrick_region){0};
    return CARRICK_OK;
}

static inline void *w_region_ptr(struct carrick_region *region)
{
    return region->memory;
}

static inline uint64_t w_region_bytes(struct carrick_region *region)
{
    return region->bytes;
}

static inline int w_region_fd(struct carrick_region *region)
{
    return (int)(region - world.regions) + 100;
}

static inline int w_vi_close(struct carrick_vi *vi)
{
    vi->open = false;
    return CARRICK_OK;
}

static inline int w_post(struct carrick_vi *vi, const struct carrick_op *ops, uint32_t count)
{
    if (!vi->open || !world.session)
        return CARRICK_ERR_STATE;
    if (vi->count + count > W_OPS)
        return CARRICK_ERR_AGAIN;
    for (uint32_t i = 0; i < count; i++) {
        struct w_op *op = &vi->ops[(vi->first + vi->count++) % W_OPS];

        op->op = ops[i];
        if (ops[i].operation == CARRICK_CLIENT_SEND) {
            cr_assert_leq(ops[i].length, sizeof op->data);
            memcpy(op->data, ops[i].data, ops[i].length);
        }
    }
    return CARRICK_OK;
}

static inline void w_status_shadow(const struct carrick_client_host *host, uint64_t sequence)
{
    w_node_of_client(host)->shadow_sequence = sequence;
}

static inline int w_service_offer(const struct carrick_client_host *host, const char *name,
                                  const void *table, void *object)
{
    cr_assert_str_eq(name, CARRICK_LOG_SERVICE);
    w_node_of_client(host)->log_table = table;
    w_node_of_client(host)->logs = object;
    return CARRICK_OK;
}

#endif
