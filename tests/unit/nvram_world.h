// SPDX-License-Identifier: Apache-2.0
//
// A world for nvram_shadow under test: two nodes, each with an instance of the plugin, joined by VIs in memory. Time
// stands still until the test moves it; operations take effect one by one, in the order of their VI, when the test lets
// the world run.
#ifndef NVRAM_WORLD_H
#define NVRAM_WORLD_H

#include "nvram_host.h"

// ---- the world moves

static inline void w_complete(struct carrick_vi *vi, const struct w_op *op, int status)
{
    const struct carrick_completion completion = {
        .struct_size = sizeof completion, .status = status, .cookie = op->op.cookie, .vi = vi};

    w_ops()->completed(world.nodes[vi->node].client, &completion, 1);
}

// One operation takes effect, and completes.
static inline void w_vi_step(struct carrick_vi *vi)
{
    struct w_node *there = &world.nodes[1 - vi->node];
    struct w_op op = vi->ops[vi->first];

    vi->first = (vi->first + 1) % W_OPS;
    vi->count--;
    if (op.op.operation == CARRICK_CLIENT_WRITE || op.op.operation == CARRICK_CLIENT_READ) {
        struct carrick_region *far = there->here[op.op.there].region;
        uint8_t *at = far->memory + there->here[op.op.there].offset + op.op.there_offset;
        uint8_t *near = op.op.region->memory + op.op.offset;

        cr_assert(op.op.there_offset + op.op.length <= there->here[op.op.there].bytes);
        cr_assert(op.op.offset + op.op.length <= op.op.region->bytes);
        if (op.op.operation == CARRICK_CLIENT_WRITE) {
            cr_assert(op.op.there % 2 == 1, "only the ring may be written");
            memcpy(at, near, op.op.length);
        } else {
            memcpy(near, at, op.op.length);
        }
    } else if (op.op.operation == CARRICK_CLIENT_SEND && there->vis[vi->number].open) {
        w_ops()->received(there->client, &there->vis[vi->number], op.data, (uint32_t)op.op.length);
    }
    w_complete(vi, &op, CARRICK_OK);
}

static inline void w_file_step(struct carrick_file *file)
{
    struct carrick_file_request request = file->requests[file->first];
    int fails = request.operation == CARRICK_FILE_READ ? 0 : file->fails;

    file->first = (file->first + 1) % W_REQUESTS;
    file->count--;
    if (fails != 0) {
        request.fn(request.arg, CARRICK_ERR_SYSTEM, fails);
        return;
    }
    if (request.operation == CARRICK_FILE_READ) {
        memcpy(request.data, file->now + request.offset, request.length);
    } else if (request.operation == CARRICK_FILE_WRITE) {
        struct w_write *write;

        if (file->unsynced_count == file->unsynced_room) {
            file->unsynced_room = 2 * file->unsynced_room + 8;
            file->unsynced = realloc(file->unsynced, file->unsynced_room * sizeof *write);
        }
        write = &file->unsynced[file->unsynced_count++];
        *write = (struct w_write){.offset = request.offset, .length = request.length};
        write->data = malloc(request.length);
        memcpy(write->data, request.data, request.length);
        memcpy(file->now + request.offset, request.data, request.length);
    } else {
        for (uint32_t i = 0; i < file->unsynced_count; i++) {
            struct w_write *write = &file->unsynced[i];

            memcpy(file->certain + write->offset, write->data, write->length);
            free(write->data);
        }
        file->unsynced_count = 0;
    }
    request.fn(request.arg, CARRICK_OK, 0);
}

static inline bool w_step_at_once(void)
{
    for (int n = 0; n < 2; n++) {
        for (int v = 0; v < W_VIS; v++) {
            struct carrick_vi *vi = &world.nodes[n].vis[v];

            if (world.session && vi->count > 0 && !world.held[n]) {
                w_vi_step(vi);
                return true;
            }
        }
    }
    for (int i = 0; i < W_STORES; i++) {
        if (world.files[i].used && world.files[i].count > 0) {
            w_file_step(&world.files[i]);
            return true;
        }
    }
    return false;
}

static inline struct carrick_timer *w_timer_next(void)
{
    struct carrick_timer *next = NULL;

    for (int i = 0; i < W_TIMERS; i++) {
        struct carrick_timer *timer = &world.timers[i];

        if (timer->used && timer->armed &&
            (next == NULL || timer->due_ns < next->due_ns ||
             (timer->due_ns == next->due_ns && timer->order < next->order)))
            next = timer;
    }
    return next;
}

static inline bool w_step(uint64_t until_ns)
{
    struct carrick_timer *timer = w_timer_next();

    if (timer != NULL && timer->due_ns <= world.now_ns && (w_random() & 1)) {
        timer->armed = false;
        timer->fn(timer->arg);
        return true;
    }
    if (w_step_at_once())
        return true;
    if (timer == NULL || timer->due_ns > until_ns)
        return false;
    if (timer->due_ns > world.now_ns)
        world.now_ns = timer->due_ns;
    timer->armed = false;
    timer->fn(timer->arg);
    return true;
}

static inline void w_run_ms(uint64_t ms)
{
    uint64_t until_ns = world.now_ns + ms * 1000000u;

    while (w_step(until_ns))
        ;
    world.now_ns = until_ns;
}

// ---- nodes and sessions

static inline void w_node_init(int index)
{
    static const char *const names[2] = {"alpha", "beta"};
    struct w_node *node = &world.nodes[index];

    if (world.now_ns == 0)
        world.now_ns = W_BEGIN_NS;
    node->index = index;
    snprintf(node->name, sizeof node->name, "%s", names[index]);
    node->base = (struct carrick_host){
        .struct_size = sizeof node->base,
        .node = names[index],
        .partner = names[1 - index],
        .manager = "main",
        .instance = "nvram",
        .log = w_log,
        .now_ns = w_now,
        .random = w_random_fill,
        .timer_create = w_timer_create,
        .timer_start = w_timer_start,
        .timer_stop = w_timer_stop,
        .timer_destroy = w_timer_destroy,
        .file_open = w_file_open,
        .file_submit = w_file_submit,
        .file_close = w_file_close,
    };
    node->host = (struct carrick_client_host){
        .struct_size = sizeof node->host,
        .base = &node->base,
        .region_create = w_region_create,
        .region_open = w_region_open,
        .region_destroy = w_region_destroy,
        .region_ptr = w_region_ptr,
        .region_bytes = w_region_bytes,
        .region_fd = w_region_fd,
        .vi_close = w_vi_close,
        .post = w_post,
        .status_shadow = w_status_shadow,
        .service_offer = w_service_offer,
    };
}

static inline int w_create(int index, const char *config, struct carrick_error *error)
{
    struct w_node *node = &world.nodes[index];

    w_node_init(index);
    *error = (struct carrick_error){.struct_size = sizeof *error};
    return w_ops()->create(&node->host, config, &node->client, error);
}

static inline void w_start(int index, const char *config)
{
    struct carrick_error error;

    cr_assert_eq(w_create(index, config, &error), CARRICK_OK, "%s: %s", error.pointer, error.text);
}

// Both are asked what they need before either is asked for memory.
static inline uint32_t w_describe(int index, struct carrick_region_want *wants)
{
    struct carrick_client_info info = {
        .struct_size = sizeof info, .region_max = W_VIS, .wants = wants};

    for (int i = 0; i < W_VIS; i++)
        wants[i] = (struct carrick_region_want){.struct_size = sizeof wants[i]};
    cr_assert_eq(w_ops()->describe(world.nodes[index].client, &info), CARRICK_OK);
    return info.region_count;
}

static inline void w_provide(int index, const struct carrick_region_want *wants, uint32_t count)
{
    struct w_node *node = &world.nodes[index];

    for (uint32_t i = 0; i < count; i++) {
        struct carrick_region_backing backing = {.struct_size = sizeof backing, .fd = -1};

        cr_assert_eq(w_ops()->provide(node->client, i, &wants[i], &backing), CARRICK_OK);
        if (backing.fd < 0) {
            node->here[i].region = w_region_new(index, wants[i].bytes);
            node->here[i].decoy = true;
            node->here[i].offset = 0;
        } else {
            node->here[i].region = &world.regions[backing.fd - 100];
            node->here[i].decoy = false;
            node->here[i].offset = backing.offset;
        }
        node->here[i].bytes = wants[i].bytes;
    }
}

static inline void w_session(void)
{
    struct carrick_vi *vis[2][W_VIS];
    struct carrick_region_want wants[2][W_VIS];
    uint32_t counts[2];

    for (int n = 0; n < 2; n++)
        counts[n] = w_describe(n, wants[n]);
    for (int n = 0; n < 2; n++)
        w_provide(n, wants[1 - n], counts[1 - n]);
    world.session = true;
    world.sessions++;
    for (int n = 0; n < 2; n++) {
        for (int v = 0; v < W_VIS; v++) {
            world.nodes[n].vis[v] =
                (struct carrick_vi){.node = n, .number = (uint32_t)v, .open = true};
            vis[n][v] = &world.nodes[n].vis[v];
        }
    }
    for (int n = 0; n < 2; n++) {
        const struct carrick_session_info info = {
            .struct_size = sizeof info,
            .partner_version = NV_VERSION,
            .session = world.sessions,
            .incarnation = 10 + (uint64_t)n,
            .partner_incarnation = 11 - (uint64_t)n,
            .vi_count = W_VIS,
            .here_count = 2 * world.nodes[1 - n].client->config.count,
            .there_count = 2 * world.nodes[n].client->config.count,
            .vis = vis[n],
        };
        w_ops()->ready(world.nodes[n].client, &info);
    }
}

// What is under way is lost, as far as it has not taken effect.
static inline void w_session_end(void)
{
    if (!world.session)
        return;
    world.session = false;
    for (int n = 0; n < 2; n++) {
        struct w_node *node = &world.nodes[n];

        for (int v = 0; v < W_VIS; v++) {
            struct carrick_vi *vi = &node->vis[v];

            while (node->client != NULL && vi->count > 0) {
                struct w_op op = vi->ops[vi->first];

                vi->first = (vi->first + 1) % W_OPS;
                vi->count--;
                w_complete(vi, &op, CARRICK_ERR_SESSION_ENDED);
            }
            vi->open = false;
        }
        if (node->client != NULL)
            w_ops()->ended(node->client, CARRICK_REASON_LINK_LOST);
        for (int i = 0; i < W_VIS; i++) {
            if (node->here[i].decoy)
                w_region_destroy(node->here[i].region);
            node->here[i].decoy = false;
            node->here[i].region = NULL;
        }
    }
}

// The daemon is gone from one instruction to the next: nothing that it does in order counts.
static inline void w_kill(int index)
{
    struct w_node *node = &world.nodes[index];
    uint8_t *kept[W_REGIONS] = {0};

    for (int i = 0; i < W_REGIONS; i++) {
        if (world.regions[i].used && world.regions[i].lasting && world.regions[i].node == index) {
            kept[i] = malloc(world.regions[i].bytes);
            memcpy(kept[i], world.regions[i].memory, world.regions[i].bytes);
        }
    }
    if (world.session)
        w_session_end();
    w_ops()->destroy(node->client);
    node->client = NULL;
    for (int i = 0; i < W_REGIONS; i++) {
        if (kept[i] == NULL)
            continue;
        memcpy(world.regions[i].memory, kept[i], world.regions[i].bytes);
        free(kept[i]);
    }
}

static inline struct carrick_log *w_group(int index, const char *name)
{
    struct carrick_log *found = NULL;

    cr_assert_eq(nv_log_ops.find(world.nodes[index].logs, name, &found), CARRICK_OK);
    return found;
}

// Ends the test's world: what leaks after this leaks in the plugin.
static inline void w_end(void)
{
    w_session_end();
    for (int n = 0; n < 2; n++)
        if (world.nodes[n].client != NULL)
            w_ops()->destroy(world.nodes[n].client);
    for (int i = 0; i < W_REGIONS; i++)
        free(world.regions[i].memory);
    for (int i = 0; i < W_STORES; i++) {
        for (uint32_t j = 0; j < world.files[i].unsynced_count; j++)
            free(world.files[i].unsynced[j].data);
        free(world.files[i].unsynced);
        free(world.files[i].now);
        free(world.files[i].certain);
    }
    memset(&world, 0, sizeof world);
}

#endif
