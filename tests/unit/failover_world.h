// SPDX-License-Identifier: Apache-2.0
//
// Two failover monitors in one process and in virtual time: the plugin as it is, with a model of the log service, an
// arbiter that can be slow, deaf or late, and a session that can be cut. The model judges as it goes: see `judge`.
#ifndef TESTS_UNIT_FAILOVER_WORLD_H
#define TESTS_UNIT_FAILOVER_WORLD_H

#include "failover_services.h"

// ---- sessions

static inline void node_ended(struct node *node, uint32_t reason)
{
    if (node->session == 0)
        return;
    node->session = 0;
    node->log.exposed = false;
    node->log.attached = false;
    if (node->log.resync.state == CARRICK_RESYNC_RUNNING)
        node->log.resync.state = CARRICK_RESYNC_FAILED;
    log_model_changed(&node->log);
    node->ops->ended(node->client, reason);
}

static inline void session_down(struct world *world, uint32_t reason)
{
    for (unsigned i = 0; i < 2; i++)
        if (world->nodes[i].alive && !world->nodes[i].frozen)
            node_ended(&world->nodes[i], reason);
}

static inline void session_up(struct world *world)
{
    uint64_t session = ++world->sessions;

    for (unsigned i = 0; i < 2; i++) {
        struct node *node = &world->nodes[i];
        struct carrick_region_want wants[4] = {{.struct_size = sizeof wants[0]}};
        struct carrick_client_info info = {
            .struct_size = sizeof info, .region_max = 4, .wants = wants};
        struct carrick_region_backing backing = {.struct_size = sizeof backing, .fd = -1};

        node->ops->describe(node->client, &info);
        node->ops->provide(node->client, 0, &wants[0], &backing);
        node->log.exposed = node->log.copy.role == CARRICK_LOG_SHADOW;
        node->log.last_heard = node->log.copy.last;
    }
    for (unsigned i = 0; i < 2; i++) {
        struct node *node = &world->nodes[i];
        struct carrick_vi *vis[1] = {&world_vis[i]};
        struct carrick_session_info info = {.struct_size = sizeof info,
                                            .partner_version = FAILOVER_VERSION,
                                            .session = session,
                                            .incarnation = node->incarnation,
                                            .partner_incarnation = peer_of(node)->incarnation,
                                            .vi_count = 1,
                                            .vis = vis};
        node->session = session;
        log_model_changed(&node->log);
        node->ops->ready(node->client, &info);
    }
    world->session_due = false;
}

static inline bool session_can_be(const struct world *world)
{
    for (unsigned i = 0; i < 2; i++) {
        const struct node *node = &world->nodes[i];

        if (!node->alive || node->frozen || node->stops || node->session != 0)
            return false;
    }
    return world->linked;
}

static inline void sessions_step(struct world *world)
{
    if (world->reset_due && !world->fence_hangs) {
        world->reset_due = false;
        session_down(world, CARRICK_REASON_CLIENT);
    }
    for (unsigned i = 0; i < 2; i++) {
        struct node *node = &world->nodes[i], *peer = peer_of(node);

        // Probes need both to run.
        if (node->alive && !node->frozen && peer->alive && (!peer->frozen || peer->apart) &&
            world->linked)
            node->heartbeat_seen = world->now_ns / (100 * WORLD_MS);
    }
    // A node that was frozen learns of what happened when it runs again.
    for (unsigned i = 0; i < 2; i++) {
        struct node *node = &world->nodes[i];
        if (node->alive && !node->frozen && node->session != 0 &&
            (!world->linked || peer_of(node)->session != node->session))
            node_ended(node, CARRICK_REASON_LINK_LOST);
    }
    if (session_can_be(world) && !world->session_due) {
        world->session_due = true;
        event_add(world, 5 * WORLD_MS, AT_SESSION, 0);
    }
}

// ---- running

static inline void event_run(struct world *world, struct event *event)
{
    struct event now = *event;
    struct node *node = &world->nodes[now.node];

    event->used = false;
    switch (now.kind) {
    case AT_MESSAGE:
        if (node->alive && node->session == now.session)
            node->ops->received(node->client, &world_vis[now.node], now.bytes, now.length);
        break;
    case AT_ANSWER:
        if (node->alive && node->incarnation == now.incarnation)
            now.fn(now.arg, now.status, now.has_record ? &now.record : NULL);
        break;
    case AT_LAND:
        arbiter_set(world, now.expected, &now.record);
        break;
    case AT_SESSION:
        world->session_due = false;
        if (session_can_be(world))
            session_up(world);
        break;
    }
}

static inline bool run_due(struct world *world)
{
    struct event *first = NULL;

    for (unsigned i = 0; i < 2; i++) {
        struct node *node = &world->nodes[i];
        for (unsigned t = 0; t < TIMERS_MAX && node->alive && !node->frozen; t++) {
            struct carrick_timer *timer = &node->timers[t];
            if (!timer->armed || timer->due_ns > world->now_ns)
                continue;
            timer->armed = false;
            timer->fn(timer->arg);
            return true;
        }
    }
    while (world->event_top > 0 && !world->events[world->event_top - 1].used)
        world->event_top--;
    for (unsigned i = 0; i < world->event_top; i++) {
        struct event *event = &world->events[i];
        bool held = event->used && event->kind != AT_LAND && event->kind != AT_SESSION &&
                    world->nodes[event->node].frozen;
        if (event->used && !held && event->due_ns <= world->now_ns &&
            (first == NULL || event->number < first->number))
            first = event;
    }
    if (first == NULL)
        return false;
    event_run(world, first);
    return true;
}

static inline void world_run(struct world *world, uint64_t ms)
{
    uint64_t until_ns = world->now_ns + ms * WORLD_MS;

    for (; world->now_ns < until_ns; world->now_ns += WORLD_MS) {
        unsigned turns = 0;

        while (run_due(world))
            cr_assert(++turns < 10000, "a loop that does not end");
        sessions_step(world);
        log_step(&world->nodes[0].log);
        log_step(&world->nodes[1].log);
    }
}

// ---- nodes

static inline void node_start(struct node *node)
{
    struct carrick_error error = {.struct_size = sizeof error};
    int status;

    node->alive = true;
    node->frozen = node->stops = false;
    node->incarnation++;
    node->log.copy.role = CARRICK_LOG_IDLE;
    if (node->log.copy.level == CARRICK_LEVEL_VOLATILE) {
        node->log.copy = (struct carrick_log_copy){.struct_size = sizeof node->log.copy,
                                                   .level = CARRICK_LEVEL_VOLATILE,
                                                   .incarnation = node->incarnation};
    }
    node->log.mirror = CARRICK_MIRROR_ALONE;
    node->log.serves = node->log.serve_due = node->log.attached = node->log.exposed = false;
    node->log.quiet = false;
    node->log.resync.state = node->log.shelf.state = CARRICK_RESYNC_NONE;
    node->log.monitor = NULL;
    status = node->ops->create(&node->host, node->world->config, &node->client, &error);
    cr_assert_eq(status, CARRICK_OK, "%s", error.text);
}

static inline void node_kill(struct node *node)
{
    node->ops->destroy(node->client);
    node->alive = false;
    node->session = 0;
    node->log.monitor = NULL;
    node->log.copy.role = CARRICK_LOG_IDLE;
    node->log.serves = node->log.serve_due = node->log.attached = node->log.exposed = false;
    memset(node->timers, 0, sizeof node->timers);
}

// In order, but what it has under way does not come to an end: it is there until it is killed.
static inline void node_stop(struct node *node)
{
    node->stops = true;
    if (node->ops->stopping != NULL)
        node->ops->stopping(node->client);
    for (unsigned i = 0; i < 2; i++)
        if (node->world->nodes[i].session != 0 && node->world->nodes[i].ops->ending != NULL)
            node->world->nodes[i].ops->ending(node->world->nodes[i].client, CARRICK_REASON_SHUTDOWN,
                                              node->world->now_ns);
    session_down(node->world, CARRICK_REASON_SHUTDOWN);
}

static inline struct world *world_new(const char *config)
{
    static const char *const names[2] = {"alpha", "beta"};
    struct world *world = calloc(1, sizeof *world);

    world->config = config;
    world->now_ns = WORLD_BEGIN_NS;
    world->linked = true;
    world->arbiter_ms = 2;
    world->late_ms = 100;
    world->random = 1;
    world->next_value = 1;
    world->record.struct_size = sizeof world->record;
    world->loud = getenv("FAILOVER_LOUD") != NULL;
    snprintf(world->home, sizeof world->home, "alpha");
    for (unsigned i = 0; i < 2; i++) {
        struct node *node = &world->nodes[i];

        node->world = world;
        node->index = i;
        node->ops = failover_plugin_entry()->ops;
        node->base = (struct carrick_host){
            .struct_size = sizeof node->base,
            .node = names[i],
            .partner = names[1 - i],
            .manager = "m",
            .instance = "failover",
            .log = world_log,
            .now_ns = world_now,
            .random = world_random,
            .timer_create = world_timer_create,
            .timer_start = world_timer_start,
            .timer_stop = world_timer_stop,
            .timer_destroy = world_timer_destroy,
            .work = world_work,
        };
        node->host = (struct carrick_client_host){
            .struct_size = sizeof node->host,
            .base = &node->base,
            .vi_close = world_vi_close,
            .post = world_post,
            .partner_status = world_partner_status,
            .session_reset = world_session_reset,
            .command_reply = world_reply,
            .service_find = world_service_find,
        };
        node->log.node = node->logs.node = node->arbitration.node = node;
        node->log.copy.struct_size = sizeof node->log.copy;
        node->log.copy.level = CARRICK_LEVEL_MEMORY;
        world_vis[i].node = node;
    }
    return world;
}

static inline void world_end(struct world *world)
{
    for (unsigned i = 0; i < 2; i++)
        if (world->nodes[i].alive)
            node_kill(&world->nodes[i]);
    free(world);
}

// ---- what tests do and ask

// One write by a client of the node: false when it does not serve.
static inline bool node_write(struct node *node)
{
    struct carrick_log *log = &node->log;

    if (!node->alive || node->frozen || !log->serves || log->quiet)
        return false;
    log->values[++log->copy.last] = node->world->next_value++;
    return true;
}

static inline struct group *node_group(struct node *node)
{
    return &((struct failover *)(void *)node->client)->groups[0];
}

static inline struct monitor *node_monitor(struct node *node)
{
    return &((struct failover *)(void *)node->client)->monitor;
}

static inline const char *node_step(struct node *node)
{
    return node_group(node) ? fo_group_state_name(node_group(node)->state) : "starting";
}

static inline const char *node_word(struct node *node)
{
    // Groups are there from the first turn of the loop on.
    return node_group(node) ? fo_group_word(node_group(node)) : "starting";
}

static inline bool is_word(struct node *node, const char *word)
{
    return node->alive && strcmp(node_word(node), word) == 0;
}

static inline bool both_protected(struct world *world)
{
    return is_word(&world->nodes[0], "protected") && is_word(&world->nodes[1], "protected") &&
           world->record.member_count == 2;
}

static inline bool serves(struct node *node)
{
    return node->alive && node->log.serves;
}

static inline void node_command(struct node *node, const char *word, const char *json)
{
    unsigned replies = node->replies;
    int status = node->ops->command(node->client, word, json, 7 + replies);

    cr_assert_eq(status, CARRICK_OK);
    for (unsigned i = 0; i < 5000 && node->replies == replies; i++)
        world_run(node->world, 1);
    cr_assert_gt(node->replies, replies, "%s was not answered", word);
}

// Runs until the condition holds; how long that took in ms.
#define RUN_UNTIL(world, condition, limit_ms)                                                      \
    ({                                                                                             \
        uint64_t began_ = (world)->now_ns;                                                         \
        while (!(condition) && (world)->now_ns - began_ < (uint64_t)(limit_ms)*WORLD_MS)           \
            world_run(world, 1);                                                                   \
        cr_assert(condition, "%s did not come in %u ms: alpha %s/%s (%s), beta %s/%s (%s)",        \
                  #condition, (unsigned)(limit_ms), NODE_SAYS(world, 0), NODE_SAYS(world, 1));     \
        ((world)->now_ns - began_) / WORLD_MS;                                                     \
    })
#define NODE_SAYS(world, i)                                                                        \
    (world)->nodes[i].alive ? node_word(&(world)->nodes[i]) : "dead",                              \
        (world)->nodes[i].alive ? node_step(&(world)->nodes[i]) : "dead",                          \
        (world)->nodes[i].alive &&node_group(&(world)->nodes[i])                                   \
            ? node_group(&(world)->nodes[i])->reason                                               \
            : ""

static inline struct world *world_without_arbiter(const char *config)
{
    struct world *world = world_new(config);

    world->no_arbiter = true;
    node_start(&world->nodes[0]);
    node_start(&world->nodes[1]);
    RUN_UNTIL(world,
              is_word(&world->nodes[0], "protected") && is_word(&world->nodes[1], "protected"),
              5000);
    return world;
}

// A pair that is up, with some writes in it.
static inline struct world *world_protected(const char *config)
{
    struct world *world = world_new(config);

    node_start(&world->nodes[0]);
    node_start(&world->nodes[1]);
    RUN_UNTIL(world, both_protected(world), 5000);
    for (int i = 0; i < 5; i++) {
        cr_assert(node_write(&world->nodes[0]));
        world_run(world, 2);
    }
    cr_assert_eq(world->acknowledged_count, 5);
    return world;
}

#endif
