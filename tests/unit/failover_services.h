// SPDX-License-Identifier: Apache-2.0
//
// The services that two failover monitors find (failover_world.h): the log, and an arbiter that can be slow, deaf or late.
#ifndef TESTS_UNIT_FAILOVER_SERVICES_H
#define TESTS_UNIT_FAILOVER_SERVICES_H

#include "failover_log.h"

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
    if (node->mode == ARBITER_EMPTY || node->mode == ARBITER_OTHER) {
        const struct carrick_arbiter_record shown = node->world->record;

        node->world->record = (struct carrick_arbiter_record){.struct_size = sizeof shown};
        if (node->mode == ARBITER_OTHER) {
            node->world->record = shown;
            node->world->record.number += 3;
            memset(node->world->record.generation, 0x5a, sizeof shown.generation);
        }
        answer_later(node, fn, arg, CARRICK_OK, true, node->world->arbiter_ms);
        node->world->record = shown;
    } else if (node->mode == ARBITER_DEAF)
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

#endif
