// SPDX-License-Identifier: Apache-2.0
//
// What a world of two failover monitors is made of (failover_world.h), the host that each of them has, and the judge: the
// rules that hold at every step.
#ifndef TESTS_UNIT_FAILOVER_HOST_H
#define TESTS_UNIT_FAILOVER_HOST_H

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
    ARBITER_EMPTY,        // a read shows no record, as in a directory that is not the partner's
    ARBITER_OTHER,        // a read shows a record of another history
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
    bool stops;          // its daemon is stopping, and takes its time
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
// Hours after the machine began: a time that was never set (0) must not look like one that was a while ago.
#define WORLD_BEGIN_NS (3ull * 3600 * 1000 * WORLD_MS)

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
    fprintf(stderr, "%8.3f %s ", (double)(node->world->now_ns - WORLD_BEGIN_NS) / 1e6, base->node);
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

#endif
