// SPDX-License-Identifier: Apache-2.0
//
// Two nodes with the client shelf, between a fake host and a fake log. Time, disks, messages and the log stand still
// until the test moves them. Every request to a file is recorded with the moments when it was begun and when it was done, so
// that a test can ask what a disk may hold after a crash at any moment.
#ifndef SHELF_WORLD_H
#define SHELF_WORLD_H

#include "shelf_log.h"

// ---- the world

static inline bool world_timer_step(void)
{
    for (struct carrick_timer *timer = world.timers; timer != NULL; timer = timer->next) {
        if (timer->armed && timer->due_ns <= world.now_ns) {
            timer->armed = false;
            timer->fn(timer->arg);
            return true;
        }
    }
    return false;
}

static inline bool world_barrier_step(struct node *node)
{
    struct carrick_log *log = &node->logs.log;

    if (log->barrier_count == 0)
        return false;
    struct barrier barrier = log->barriers[0];
    memmove(log->barriers, log->barriers + 1, --log->barrier_count * sizeof barrier);
    barrier.fn(barrier.arg, log->fresh);
    return true;
}

static inline bool world_step(void)
{
    return world_timer_step() || world_barrier_step(&world.nodes[0]) ||
           world_barrier_step(&world.nodes[1]) || (!world.hold_io && world_io_step()) ||
           (!world.hold_packets && world_packet_step()) || world_completion_step(&world.nodes[0]) ||
           world_completion_step(&world.nodes[1]);
}

static inline void world_settle(void)
{
    uint32_t steps = 0;

    while (world_step())
        cr_assert_lt(++steps, 2000000u, "it never comes to rest");
}

static inline void world_advance(uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i++) {
        world.now_ns += 1000000;
        world_settle();
    }
}

static inline void node_start(struct node *node, const char *config)
{
    struct carrick_error error = {.struct_size = sizeof error};
    struct carrick_region_want want = {.struct_size = sizeof want};
    struct carrick_client_info info = {.struct_size = sizeof info, .region_max = 1, .wants = &want};

    cr_assert_eq(node->ops->create(&node->host, config, &node->client, &error), CARRICK_OK, "%s %s",
                 error.pointer, error.text);
    cr_assert_eq(node->ops->describe(node->client, &info), CARRICK_OK);
    world_settle(); // the maps are read
}

static inline void node_stop(struct node *node)
{
    node->ops->destroy(node->client);
    node->client = NULL;
    node->logs.log.barrier_count = 0;
}

static inline void world_session(bool up)
{
    struct carrick_region_want want = {.struct_size = sizeof want};
    struct carrick_client_info info = {.struct_size = sizeof info, .region_max = 1, .wants = &want};

    world.session = up;
    for (int i = 0; i < WORLD_NODES; i++) {
        struct node *node = &world.nodes[i];
        node->cookie_count = 0;
        if (!up) {
            node->ops->ended(node->client, CARRICK_REASON_LINK_LOST);
            continue;
        }
        node->ops->describe(node->client, &info);
        if (other(node)->here == NULL)
            fake_region_create(&node->host, want.bytes, &other(node)->here);
    }
    while (!up && world.packets != NULL)
        world_packet_step();
    for (int i = 0; i < WORLD_NODES && up; i++) {
        struct node *node = &world.nodes[i];
        struct carrick_vi *vis[1] = {&node->vi};
        struct carrick_region *here[1] = {node->here};
        uint64_t there[1] = {other(node)->here->length};
        struct carrick_session_info session = {.struct_size = sizeof session,
                                               .partner_version = SHELF_VERSION,
                                               .vi_count = 1,
                                               .vis = vis,
                                               .here_count = 1,
                                               .here = here,
                                               .there_count = 1,
                                               .there_bytes = there};
        node->ops->ready(node->client, &session);
    }
}

static inline void node_init(struct node *node, const char *name)
{
    node->name = name;
    node->base = (struct carrick_host){
        .struct_size = sizeof node->base,
        .node = name,
        .partner = node == &world.nodes[0] ? "beta" : "alpha",
        .manager = "m",
        .instance = "shelf",
        .log = fake_log,
        .now_ns = fake_now,
        .random = fake_random,
        .timer_create = fake_timer_create,
        .timer_start = fake_timer_start,
        .timer_stop = fake_timer_stop,
        .timer_destroy = fake_timer_destroy,
        .file_open = fake_file_open,
        .file_submit = fake_file_submit,
        .file_read_now = fake_file_read_now,
        .file_close = fake_file_close,
    };
    node->host = (struct carrick_client_host){
        .struct_size = sizeof node->host,
        .base = &node->base,
        .region_create = fake_region_create,
        .region_destroy = fake_region_destroy,
        .region_ptr = fake_region_ptr,
        .region_bytes = fake_region_bytes,
        .vi_close = fake_vi_close,
        .post = fake_post,
        .service_offer = fake_offer,
        .service_find = fake_find,
    };
    node->ops = shelf_plugin_entry()->ops;
    node->vi.node = node;
    node->room = 4096;
    node->logs.log.node = node;
    node->logs.log.first = 1;
    node->logs.log.level = CARRICK_LEVEL_PERSISTENT;
    node->logs.log.fresh = true;
    node->logs.log.mirror = CARRICK_MIRROR_BOTH;
}

static inline void world_begin(uint64_t seed)
{
    memset(&world, 0, sizeof world);
    world.seed = seed * 2654435761u + 1;
    world.now_ns = WORLD_BEGIN_NS;
    world.read_now = true;
    node_init(&world.nodes[0], "alpha");
    node_init(&world.nodes[1], "beta");
}

// Requests that are under way end before the client may be destroyed.
static inline void world_end(void)
{
    world.hold_io = world.hold_packets = false;
    for (int i = 0; i < WORLD_NODES; i++) {
        struct node *node = &world.nodes[i];
        if (node->client != NULL && node->logs.log.consumer != NULL &&
            node->logs.log.role != CARRICK_LOG_IDLE)
            log_role(node, CARRICK_LOG_IDLE, 0, 0, UINT64_MAX);
    }
    for (int i = 0; i < WORLD_NODES; i++)
        for (int f = 0; f < WORLD_FILES; f++)
            memset(world.nodes[i].files[f].fail, 0, sizeof world.nodes[i].files[f].fail);
    world_settle();
    world_advance(200);
    for (int i = 0; i < WORLD_NODES; i++) {
        struct node *node = &world.nodes[i];
        if (node->client != NULL)
            node_stop(node);
        for (int f = 0; f < WORLD_FILES; f++)
            free(node->files[f].bytes);
        for (uint64_t s = 1; s <= node->logs.log.last; s++) {
            if (node->logs.log.records[s] != NULL)
                free(node->logs.log.records[s]->data);
            free(node->logs.log.records[s]);
        }
        if (node->here != NULL)
            fake_region_destroy(node->here);
    }
    while (world.ios != NULL) {
        struct io *io = world.ios;
        world.ios = io->next;
        free(io->data);
        free(io);
    }
    while (world.packets != NULL) {
        struct packet *packet = world.packets;
        world.packets = packet->next;
        free(packet);
    }
    cr_assert_null(world.timers);
}

// ---- a user of a shelf

struct user {
    struct carrick_export *export_;
    struct node *node;
    uint32_t answers;
    uint64_t last_cookie;
    int last_status, last_errno;
    bool closed;
    char why[128];
    bool in_call; // answers must not come from within a call
};

static void user_answered(void *arg, uint64_t cookie, int status, int sys_errno)
{
    struct user *user = arg;

    cr_assert(!user->in_call);
    cr_assert(!user->closed, "an answer after the end");
    user->answers++;
    user->last_cookie = cookie;
    user->last_status = status;
    user->last_errno = sys_errno;
}

static void user_closed(void *arg, const char *why)
{
    struct user *user = arg;

    cr_assert(!user->in_call);
    user->closed = true;
    snprintf(user->why, sizeof user->why, "%s", why);
}

static inline int user_open(struct user *user, struct node *node, const char *shelf)
{
    static const struct carrick_block_user callbacks = {
        .struct_size = sizeof callbacks, .answered = user_answered, .closed = user_closed};
    struct carrick_error error = {.struct_size = sizeof error};
    struct carrick_block_info info = {.struct_size = sizeof info};

    *user = (struct user){.node = node};
    return node->block->export_open(node->shelves, shelf, &callbacks, user, &user->export_, &info,
                                    &error);
}

static inline void user_close(struct user *user)
{
    user->node->block->export_close(user->export_);
}

static inline int user_ask(struct user *user, uint32_t operation, uint64_t offset, uint64_t length,
                           void *data, uint32_t flags, uint64_t cookie)
{
    struct carrick_block_request request = {.struct_size = sizeof request,
                                            .operation = operation,
                                            .flags = flags,
                                            .offset = offset,
                                            .length = length,
                                            .data = data,
                                            .cookie = cookie};

    user->in_call = true;
    int status = user->node->block->submit(user->export_, &request);
    user->in_call = false;
    return status;
}

static inline struct carrick_file *file_named(struct node *node, const char *path)
{
    for (int i = 0; i < WORLD_FILES; i++)
        if (node->files[i].there && strcmp(node->files[i].path, path) == 0)
            return &node->files[i];
    cr_assert_fail("there is no file %s", path);
    return NULL;
}

#endif
