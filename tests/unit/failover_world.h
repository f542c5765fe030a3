// SPDX-License-Identifier: Apache-2.0
//
// Two failover monitors in one process and in virtual time: the plugin as it is, with a model of the log service, an
// arbiter that can be slow, deaf or late, and a session that can be cut. The model judges as it goes: see `judge`.
#ifndef TESTS_UNIT_FAILOVER_WORLD_H
#define TESTS_UNIT_FAILOVER_WORLD_H

#include <criterion/criterion.h>

#include "plugins/failover/failover.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMERS_MAX 8
#define EVENTS_MAX 4096
#define VALUES_MAX 4096

extern const struct carrick_plugin *failover_plugin_entry(void);

enum arbiter_mode {
    ARBITER_GOOD = 0,
    ARBITER_DEAF,         // every operation ends as unreachable
    ARBITER_UNKNOWN_WON,  // a change stands, and its answer is lost
    ARBITER_UNKNOWN_LOST, // a change does not stand, and its answer is lost
    ARBITER_LATE,         // a change is answered as unknown, and comes to stand late_ms later
    ARBITER_LATE_WON,     // as LATE, and then it is answered as won
    ARBITER_SILENT,       // nothing is ever answered before the caller's patience ends
};

struct carrick_timer {
    struct node *node;
    void (*fn)(void *arg);
    void *arg;
    uint64_t due_ns;
    bool used, armed;
};

// The log service of one node. What lies in `values` outlives its daemon.
struct carrick_log {
    struct node *node;
    struct carrick_log_copy copy;
    uint64_t values[VALUES_MAX]; // by sequence
    uint64_t
        last_heard; // of records in a copy that the partner writes: it hears of the newest later
    uint32_t mirror;
    bool exposed;   // the partner can write it in the session that stands
    bool attached;  // owner: the partner's copy gets what is appended
    bool serve_due; // serve was called and has not ended
    bool serves;    // takes appends
    bool quiet;
    struct carrick_resync resync, shelf;
    uint64_t resync_done_ns;
    const struct carrick_log_monitor *monitor;
    void *monitor_arg;
    bool changed_due;
};

struct carrick_logs {
    struct node *node;
};

struct carrick_arbitration {
    struct node *node;
};

struct node {
    struct world *world;
    unsigned index;
    bool alive, frozen;
    bool apart;          // in a process of its own: the manager goes on while this stands still
    uint32_t boot_stage; // what its status line tells the other; 0: nothing new can be read
    bool driver_failed;  // its own links cannot be used; the world is not linked then
    struct carrick_host base;
    struct carrick_client_host host;
    struct carrick_client *client;
    const struct carrick_client_ops *ops;
    struct carrick_timer timers[TIMERS_MAX];
    struct carrick_log log;
    struct carrick_logs logs;
    struct carrick_arbitration arbitration;
    enum arbiter_mode mode;
    uint64_t incarnation;
    uint64_t session;        // 0: none here
    uint64_t heartbeat_seen; // of the peer, by the last probe
    char reply[8192];
    int reply_status;
    unsigned replies;
    unsigned serves_begun, changes_asked;
};

enum event_kind { AT_MESSAGE, AT_ANSWER, AT_SESSION, AT_LAND };

struct event {
    bool used;
    uint64_t due_ns, number;
    enum event_kind kind;
    unsigned node;
    uint64_t session, incarnation;
    uint8_t bytes[512];
    uint32_t length;
    carrick_arbitration_fn fn;
    void *arg;
    int status;
    bool has_record;
    uint64_t expected;
    struct carrick_arbiter_record record;
};

struct world {
    uint64_t now_ns, events_made, sessions, random;
    struct node nodes[2];
    struct event events[EVENTS_MAX];
    unsigned event_top; // none from here on is used
    bool linked;
    bool session_due, reset_due;
    bool no_arbiter;
    bool fence_hangs; // a session that is to end does not
    bool
        advance_is_late; // until the session ends, a shadow does not hear of what is written into its copy
    bool loud;
    uint64_t late_ms, arbiter_ms;
    char home[8];
    const char *config;
    struct carrick_arbiter_record record;
    uint64_t next_value;
    uint64_t acknowledged[VALUES_MAX]; // values, in order
    uint32_t acknowledged_count;
    // who served alone, by generation
    struct {
        uint8_t generation[16];
        unsigned node;
    } alone[256];
    unsigned alone_count;
};

// The core's opaque types, as this world knows them.
struct carrick_vi {
    struct node *node;
};
static struct carrick_vi world_vis[2];

#define WORLD_MS 1000000ull

static inline struct node *peer_of(struct node *node)
{
    return &node->world->nodes[1 - node->index];
}

static inline struct node *node_of(const struct carrick_host *base)
{
    return (struct node *)((char *)(uintptr_t)base - offsetof(struct node, base));
}

static inline struct node *client_node(const struct carrick_client_host *host)
{
    return (struct node *)((char *)(uintptr_t)host - offsetof(struct node, host));
}

static inline struct event *event_add(struct world *world, uint64_t in_ns, enum event_kind kind,
                                      unsigned node)
{
    for (unsigned i = 0; i < EVENTS_MAX; i++) {
        struct event *event = &world->events[i];

        if (event->used)
            continue;
        memset(event, 0, sizeof *event);
        event->used = true;
        if (i >= world->event_top)
            world->event_top = i + 1;
        event->due_ns = world->now_ns + in_ns;
        event->number = world->events_made++;
        event->kind = kind;
        event->node = node;
        event->incarnation = world->nodes[node].incarnation;
        return event;
    }
    cr_assert_fail("too many events");
    return NULL;
}

// ---- the judge: rules that hold at every step

static inline void judge_serve(struct node *node, const struct carrick_generation *generation,
                               uint32_t mirror)
{
    struct world *world = node->world;

    cr_assert(!node->log.exposed, "serves while the partner can write its copy");
    if (!world->no_arbiter) {
        cr_assert_str_eq(world->record.owner, node->base.node, "serves before it has won");
        cr_assert(fo_id_equal(world->record.generation, generation->id),
                  "serves under another generation than the record's");
    }
    if (mirror != CARRICK_MIRROR_ALONE)
        return;
    for (unsigned i = 0; i < world->alone_count; i++)
        if (fo_id_equal(world->alone[i].generation, generation->id))
            cr_assert_eq(world->alone[i].node, node->index, "two nodes alone in one generation");
    if (world->alone_count < 256) {
        memcpy(world->alone[world->alone_count].generation, generation->id, 16);
        world->alone[world->alone_count++].node = node->index;
    }
}

// A change that makes a node the only member: it must be owner already, or have closed its copy.
static inline void judge_change(struct node *node, const struct carrick_arbiter_record *wanted)
{
    if (wanted->member_count != 1 || node->log.copy.role == CARRICK_LOG_OWNER)
        return;
    cr_assert_neq(node->log.copy.role, CARRICK_LOG_SHADOW, "asks while its promise stands");
    cr_assert(!node->log.exposed, "asks before the fence");
}

// Every acknowledged value is in the copy that serves, in order.
static inline void judge_history(struct node *node)
{
    struct world *world = node->world;
    uint64_t at = 1;

    for (uint32_t i = 0; i < world->acknowledged_count; i++) {
        while (at <= node->log.copy.last && node->log.values[at] != world->acknowledged[i])
            at++;
        cr_assert(at <= node->log.copy.last, "node %u: acknowledged value %llu is lost",
                  node->index, (unsigned long long)world->acknowledged[i]);
        at++;
    }
}

// ---- host

static inline void world_log(const struct carrick_host *base, int level, const char *format, ...)
{
    struct node *node = node_of(base);
    va_list arguments;

    (void)level;
    if (!node->world->loud)
        return;
    fprintf(stderr, "%8.3f %s ", (double)node->world->now_ns / 1e6, base->node);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

static inline uint64_t world_now(const struct carrick_host *base)
{
    return node_of(base)->world->now_ns;
}

static inline void world_random(const struct carrick_host *base, void *buffer, size_t length)
{
    struct world *world = node_of(base)->world;

    for (size_t i = 0; i < length; i++) {
        world->random = world->random * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)buffer)[i] = (uint8_t)(world->random >> 56);
    }
}

static inline int world_timer_create(const struct carrick_host *base, void (*fn)(void *arg),
                                     void *arg, struct carrick_timer **out)
{
    struct node *node = node_of(base);

    for (unsigned i = 0; i < TIMERS_MAX; i++) {
        if (node->timers[i].used)
            continue;
        node->timers[i] = (struct carrick_timer){.node = node, .fn = fn, .arg = arg, .used = true};
        *out = &node->timers[i];
        return CARRICK_OK;
    }
    return CARRICK_ERR_NO_MEMORY;
}

static inline void world_timer_start(struct carrick_timer *timer, uint64_t delay_ns)
{
    timer->armed = true;
    timer->due_ns = timer->node->world->now_ns + delay_ns;
}

static inline void world_timer_stop(struct carrick_timer *timer)
{
    timer->armed = false;
}

static inline void world_timer_destroy(struct carrick_timer *timer)
{
    timer->used = timer->armed = false;
}

static inline int world_work(const struct carrick_host *base, void (*work)(void *arg),
                             void (*done)(void *arg), void *arg)
{
    (void)base;
    (void)work;
    (void)done;
    (void)arg;
    return CARRICK_ERR_NOT_SUPPORTED;
}

static inline int world_vi_close(struct carrick_vi *vi)
{
    (void)vi;
    return CARRICK_OK;
}

static inline int world_post(struct carrick_vi *vi, const struct carrick_op *ops, uint32_t count)
{
    struct node *node = vi->node;
    struct event *event;

    cr_assert_eq(count, 1);
    if (node->session == 0)
        return CARRICK_ERR_STATE;
    event = event_add(node->world, WORLD_MS / 2, AT_MESSAGE, 1 - node->index);
    event->session = node->session;
    event->length = (uint32_t)ops->length;
    memcpy(event->bytes, ops->data, ops->length);
    return CARRICK_OK;
}

static inline void world_partner_status(const struct carrick_client_host *host,
                                        struct carrick_partner_status *status)
{
    struct node *node = client_node(host);

    status->links = 1;
    status->links_failed_here = node->driver_failed ? 1 : 0;
    // Read over a connection on which no session stands, and of one whose failover monitor does not run.
    status->boot_stage = peer_of(node)->boot_stage;
    if (status->boot_stage != CARRICK_BOOT_UNKNOWN)
        status->read_at_ns = node->world->now_ns;
    status->links_up = node->session != 0 && node->world->linked ? 1 : 0;
    if (node->session == 0 || !node->world->linked)
        return;
    status->read_at_ns = node->world->now_ns;
    status->session_state = CARRICK_SESSION_UP;
    status->heartbeat = node->heartbeat_seen;
    status->clients_still_ms = peer_of(node)->apart && peer_of(node)->frozen ? 100 : 0;
}

static inline int world_session_reset(const struct carrick_client_host *host, const char *why)
{
    struct node *node = client_node(host);

    (void)why;
    if (node->session == 0)
        return CARRICK_ERR_STATE;
    node->world->reset_due = true;
    return CARRICK_OK;
}

static inline void world_reply(const struct carrick_client_host *host, uint64_t token, int status,
                               const char *json)
{
    struct node *node = client_node(host);

    (void)token;
    node->replies++;
    node->reply_status = status;
    snprintf(node->reply, sizeof node->reply, "%s", json);
}

// ---- the log service

static inline void log_model_changed(struct carrick_log *log)
{
    log->changed_due = true;
}

static inline int log_find(struct carrick_logs *logs, const char *group, struct carrick_log **log)
{
    if (strcmp(group, "g1") != 0)
        return CARRICK_ERR_NOT_FOUND;
    *log = &logs->node->log;
    return CARRICK_OK;
}

static inline uint32_t log_group_count(struct carrick_logs *logs)
{
    (void)logs;
    return 1;
}

static inline const char *log_group_name(struct carrick_logs *logs, uint32_t index)
{
    (void)logs;
    (void)index;
    return "g1";
}

static inline void log_copy(struct carrick_log *log, struct carrick_log_copy *copy)
{
    *copy = log->copy;
    if (log->exposed && log->node->world->advance_is_late && copy->last > log->last_heard)
        copy->last = log->last_heard;
    if (copy->acknowledged > copy->last)
        copy->acknowledged = copy->last;
}

static inline void log_mirror_state(struct carrick_log *log, struct carrick_mirror_state *state)
{
    state->mirror = log->mirror;
    state->connected = log->attached;
    state->stalled = log->copy.acknowledged < log->copy.last;
    state->log = log->resync;
    state->shelf = log->shelf;
}

static inline const char *log_home(struct carrick_log *log)
{
    return log->node->world->home;
}

static inline int log_attach_monitor(struct carrick_log *log,
                                     const struct carrick_log_monitor *monitor, void *arg)
{
    log->monitor = monitor;
    log->monitor_arg = arg;
    return CARRICK_OK;
}

static inline int log_bear(struct carrick_log *log, const struct carrick_generation *generation,
                           bool member)
{
    log->copy.generation = *generation;
    log->copy.member = member;
    log_model_changed(log);
    return CARRICK_OK;
}

static inline int log_serve(struct carrick_log *log, const struct carrick_generation *generation,
                            uint32_t mirror)
{
    if (log->copy.role != CARRICK_LOG_IDLE || log->exposed)
        return CARRICK_ERR_STATE;
    judge_serve(log->node, generation, mirror);
    log->node->serves_begun++;
    log->copy.role = CARRICK_LOG_OWNER;
    log->copy.generation = *generation;
    log->copy.member = true;
    log->copy.condition = CARRICK_LOG_WHOLE;
    log->mirror = mirror;
    log->serve_due = true;
    log->serves = log->attached = log->quiet = false;
    log->resync.state = log->shelf.state = CARRICK_RESYNC_NONE;
    log_model_changed(log);
    return CARRICK_OK;
}

static inline int log_set_mirror(struct carrick_log *log, uint32_t mirror,
                                 const struct carrick_generation *generation)
{
    if (log->copy.role != CARRICK_LOG_OWNER)
        return CARRICK_ERR_STATE;
    if (mirror == CARRICK_MIRROR_ALONE && generation != NULL)
        judge_serve(log->node, generation, mirror);
    if (generation != NULL)
        log->copy.generation = *generation;
    log->mirror = mirror;
    if (mirror == CARRICK_MIRROR_ALONE)
        log->attached = false;
    log_model_changed(log);
    return CARRICK_OK;
}

static inline int log_follow(struct carrick_log *log, const struct carrick_generation *generation,
                             uint64_t cut_above, bool empty)
{
    if (log->copy.role == CARRICK_LOG_OWNER)
        return CARRICK_ERR_STATE;
    if (cut_above < log->copy.last && log->exposed)
        return CARRICK_ERR_STATE;
    if (cut_above < log->copy.last)
        log->copy.last = cut_above;
    if (log->copy.acknowledged > log->copy.last)
        log->copy.acknowledged = log->copy.last;
    if (memcmp(log->copy.generation.id, generation->id, 16) != 0)
        log->copy.member = false;
    log->copy.generation = *generation;
    if (empty) {
        log->copy.last = log->copy.acknowledged = 0;
        log->copy.condition = CARRICK_LOG_INCONSISTENT;
    } else if (log->copy.condition == CARRICK_LOG_EMPTY) {
        log->copy.condition = CARRICK_LOG_WHOLE;
    }
    log->copy.role = CARRICK_LOG_SHADOW;
    log_model_changed(log);
    return CARRICK_OK;
}

static inline void log_idle(struct carrick_log *log, const char *why)
{
    (void)why;
    log->copy.role = CARRICK_LOG_IDLE;
    log->serves = log->serve_due = log->attached = false;
    log_model_changed(log);
}

static inline void log_quiesce(struct carrick_log *log, bool quiet)
{
    log->quiet = quiet;
    log_model_changed(log);
}

static inline int log_resync(struct carrick_log *log, uint64_t partner_last, bool whole)
{
    (void)partner_last;
    (void)whole;
    if (log->copy.role != CARRICK_LOG_OWNER || !log->serves || log->node->session == 0)
        return CARRICK_ERR_STATE;
    log->resync.state = log->shelf.state = CARRICK_RESYNC_RUNNING;
    log->resync_done_ns = log->node->world->now_ns + 20 * WORLD_MS;
    return CARRICK_OK;
}

static const struct carrick_log_ops world_log_ops = {
    .struct_size = sizeof world_log_ops,
    .find = log_find,
    .group_count = log_group_count,
    .group_name = log_group_name,
    .copy = log_copy,
    .mirror_state = log_mirror_state,
    .home = log_home,
    .attach_monitor = log_attach_monitor,
    .bear = log_bear,
    .serve = log_serve,
    .set_mirror = log_set_mirror,
    .follow = log_follow,
    .idle = log_idle,
    .quiesce = log_quiesce,
    .resync = log_resync,
};

static inline bool can_attach(struct carrick_log *log)
{
    struct node *peer = peer_of(log->node);
    const struct carrick_log *theirs = &peer->log;

    return log->node->session != 0 && log->node->session == peer->session && theirs->exposed &&
           theirs->copy.role == CARRICK_LOG_SHADOW && !peer->frozen &&
           fo_id_equal(theirs->copy.generation.id, log->copy.generation.id);
}

static inline void log_mirror_all(struct carrick_log *log)
{
    struct carrick_log *theirs = &peer_of(log->node)->log;

    memcpy(theirs->values, log->values, sizeof log->values);
    theirs->copy.last = log->copy.last;
}

static inline void log_acknowledge(struct carrick_log *log)
{
    struct world *world = log->node->world;

    while (log->copy.acknowledged < log->copy.last) {
        uint64_t value = log->values[++log->copy.acknowledged];

        if (world->acknowledged_count == 0 ||
            world->acknowledged[world->acknowledged_count - 1] != value)
            world->acknowledged[world->acknowledged_count++] = value;
    }
    if (log->attached)
        peer_of(log->node)->log.copy.acknowledged = log->copy.acknowledged;
}

static inline void log_step(struct carrick_log *log)
{
    struct node *node = log->node;

    if (!node->alive || node->frozen)
        return;
    if (log->copy.role == CARRICK_LOG_OWNER) {
        bool was = log->attached;

        if (log->mirror != CARRICK_MIRROR_ALONE && !was)
            log->attached =
                can_attach(log) && peer_of(node)->log.copy.last >= log->copy.acknowledged;
        if (log->attached != was)
            log_model_changed(log);
        // One-sided: the partner's memory takes it as long as its session stands, whatever it decides meanwhile.
        if (log->attached)
            log_mirror_all(log);
        if (log->mirror == CARRICK_MIRROR_ALONE || log->attached) {
            bool moved = log->copy.acknowledged < log->copy.last;

            log_acknowledge(log);
            if (moved && log->quiet)
                log_model_changed(log);
            if (log->serve_due) {
                log->serve_due = false;
                log->serves = true;
                judge_history(node);
                log->monitor->serving(log->monitor_arg, CARRICK_OK, NULL);
            }
        }
        if (log->resync.state == CARRICK_RESYNC_RUNNING &&
            node->world->now_ns >= log->resync_done_ns && can_attach(log)) {
            log->resync.state = log->shelf.state = CARRICK_RESYNC_EQUAL;
            log->attached = true;
            log_mirror_all(log);
            peer_of(node)->log.copy.condition = CARRICK_LOG_WHOLE;
            log_model_changed(log);
        }
    }
    if (log->changed_due && log->monitor) {
        log->changed_due = false;
        log->monitor->changed(log->monitor_arg);
    }
}

// ---- the arbiter

static inline void answer_later(struct node *node, carrick_arbitration_fn fn, void *arg, int status,
                                bool has_record, uint64_t in_ms)
{
    struct event *event = event_add(node->world, in_ms * WORLD_MS, AT_ANSWER, node->index);

    event->fn = fn;
    event->arg = arg;
    event->status = status;
    event->has_record = has_record;
    event->record = node->world->record;
}

static inline int arbiter_read(struct carrick_arbitration *arbitration, const char *group,
                               uint32_t timeout_ms, carrick_arbitration_fn fn, void *arg)
{
    struct node *node = arbitration->node;

    (void)group;
    if (node->mode == ARBITER_DEAF)
        answer_later(node, fn, arg, CARRICK_ERR_UNREACHABLE, false, node->world->arbiter_ms);
    else if (node->mode == ARBITER_SILENT)
        answer_later(node, fn, arg, CARRICK_ERR_TIMEOUT, false, timeout_ms);
    else
        answer_later(node, fn, arg, CARRICK_OK, true, node->world->arbiter_ms);
    return CARRICK_OK;
}

static inline bool arbiter_set(struct world *world, uint64_t expected,
                               const struct carrick_arbiter_record *wanted)
{
    if (world->record.number != expected)
        return false;
    world->record = *wanted;
    world->record.number = expected + 1;
    return true;
}

static inline int arbiter_change(struct carrick_arbitration *arbitration, const char *group,
                                 uint64_t expected, const struct carrick_arbiter_record *wanted,
                                 uint32_t timeout_ms, carrick_arbitration_fn fn, void *arg)
{
    struct node *node = arbitration->node;
    struct world *world = node->world;
    struct event *event;

    (void)group;
    node->changes_asked++;
    judge_change(node, wanted);
    switch (node->mode) {
    case ARBITER_GOOD:
        if (arbiter_set(world, expected, wanted))
            answer_later(node, fn, arg, CARRICK_OK, true, world->arbiter_ms);
        else
            answer_later(node, fn, arg, CARRICK_ERR_CONFLICT, true, world->arbiter_ms);
        break;
    case ARBITER_UNKNOWN_WON:
        arbiter_set(world, expected, wanted);
        answer_later(node, fn, arg, CARRICK_ERR_UNKNOWN, false, world->arbiter_ms);
        break;
    case ARBITER_UNKNOWN_LOST:
        answer_later(node, fn, arg, CARRICK_ERR_UNKNOWN, false, world->arbiter_ms);
        break;
    case ARBITER_LATE:
    case ARBITER_LATE_WON:
        event = event_add(world, world->late_ms * WORLD_MS, AT_LAND, node->index);
        event->record = *wanted;
        event->expected = expected;
        if (node->mode == ARBITER_LATE)
            answer_later(node, fn, arg, CARRICK_ERR_UNKNOWN, false, timeout_ms);
        else
            answer_later(node, fn, arg, CARRICK_OK, false, world->late_ms);
        node->mode = ARBITER_SILENT; // reads tell nothing either, until the test says so
        break;
    default:
        answer_later(node, fn, arg, CARRICK_ERR_UNKNOWN, false, timeout_ms);
    }
    return CARRICK_OK;
}

static inline const char *arbiter_name(struct carrick_arbitration *arbitration)
{
    (void)arbitration;
    return "model";
}

static const struct carrick_arbitration_ops world_arbiter_ops = {
    .struct_size = sizeof world_arbiter_ops,
    .read = arbiter_read,
    .change = arbiter_change,
    .name = arbiter_name,
};

static inline int world_service_find(const struct carrick_client_host *host, const char *name,
                                     const void **table, void **object)
{
    struct node *node = client_node(host);

    if (strcmp(name, CARRICK_LOG_SERVICE) == 0) {
        *table = &world_log_ops;
        *object = &node->logs;
        return CARRICK_OK;
    }
    if (strcmp(name, CARRICK_ARBITER_SERVICE) == 0 && !node->world->no_arbiter) {
        *table = &world_arbiter_ops;
        *object = &node->arbitration;
        return CARRICK_OK;
    }
    return CARRICK_ERR_NOT_FOUND;
}

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

static inline void sessions_step(struct world *world)
{
    struct node *a = &world->nodes[0], *b = &world->nodes[1];

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
    if (a->alive && b->alive && !a->frozen && !b->frozen && world->linked && a->session == 0 &&
        b->session == 0 && !world->session_due) {
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
        if (world->nodes[0].alive && world->nodes[1].alive && !world->nodes[0].frozen &&
            !world->nodes[1].frozen && world->linked && world->nodes[0].session == 0 &&
            world->nodes[1].session == 0)
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
    node->frozen = false;
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

static inline struct world *world_new(const char *config)
{
    static const char *const names[2] = {"alpha", "beta"};
    struct world *world = calloc(1, sizeof *world);

    world->config = config;
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
