// SPDX-License-Identifier: Apache-2.0
//
// The model of the log service that two failover monitors find (failover_world.h). It judges each call.
#ifndef TESTS_UNIT_FAILOVER_LOG_H
#define TESTS_UNIT_FAILOVER_LOG_H

#include "failover_host.h"

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
    if (log->copy.role != CARRICK_LOG_IDLE || log->exposed ||
        log->copy.condition == CARRICK_LOG_UNUSABLE)
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
    if (log->copy.role == CARRICK_LOG_OWNER || log->copy.condition == CARRICK_LOG_UNUSABLE)
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

#endif
