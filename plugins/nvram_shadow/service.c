// SPDX-License-Identifier: Apache-2.0
//
// The table of the service "log".
#include "nvram.h"

#include <string.h>

static struct carrick_client *client_of(struct carrick_logs *logs)
{
    return (struct carrick_client *)(void *)logs;
}

static int find(struct carrick_logs *logs, const char *group, struct carrick_log **log)
{
    struct carrick_client *client = client_of(logs);

    for (uint32_t i = 0; i < client->config.count; i++) {
        if (strcmp(client->config.groups[i].name, group) == 0) {
            *log = &client->logs[i];
            return CARRICK_OK;
        }
    }
    return CARRICK_ERR_NOT_FOUND;
}

static uint32_t group_count(struct carrick_logs *logs)
{
    return client_of(logs)->config.count;
}

static const char *group_name(struct carrick_logs *logs, uint32_t index)
{
    struct carrick_client *client = client_of(logs);

    return index < client->config.count ? client->config.groups[index].name : NULL;
}

static const char *home(struct carrick_log *log)
{
    return log->config->home;
}

static int attach_consumer(struct carrick_log *log, const struct carrick_log_consumer *consumer,
                           void *arg)
{
    if (consumer == NULL) {
        log->consumer = NULL;
        nv_barrier_forget(log);
        return CARRICK_OK;
    }
    if (log->consumer != NULL)
        return CARRICK_ERR_EXISTS;
    if (log->role != CARRICK_LOG_IDLE)
        return CARRICK_ERR_STATE;
    log->consumer = consumer;
    log->consumer_arg = arg;
    log->told = log->ring.first;
    return CARRICK_OK;
}

static void synced(struct carrick_log *log, uint64_t sequence)
{
    if (sequence <= log->synced)
        return;
    log->synced = sequence;
    nv_turn_arm(log);
    nv_tick_arm(log, NV_TICK_MS);
}

static void resync_report(struct carrick_log *log, const struct carrick_resync *shelf)
{
    uint32_t bytes =
        shelf->struct_size < sizeof log->shelf ? shelf->struct_size : (uint32_t)sizeof log->shelf;

    memcpy(&log->shelf, shelf, bytes);
    log->shelf.struct_size = sizeof log->shelf;
    nv_changed(log);
}

static int attach_monitor(struct carrick_log *log, const struct carrick_log_monitor *monitor,
                          void *arg)
{
    if (log->monitor != NULL)
        return CARRICK_ERR_EXISTS;
    log->monitor = monitor;
    log->monitor_arg = arg;
    nv_changed(log);
    return CARRICK_OK;
}

static void quiesce(struct carrick_log *log, bool quiet)
{
    if (log->role != CARRICK_LOG_OWNER || log->quiet == quiet)
        return;
    log->quiet = quiet;
    nv_changed(log);
}

static void fail(struct carrick_log *log)
{
    if (log->unusable)
        return;
    log->unusable = true;
    nv_changed(log);
}

const struct carrick_log_ops nv_log_ops = {
    .struct_size = sizeof nv_log_ops,
    .find = find,
    .group_count = group_count,
    .group_name = group_name,
    .copy = nv_copy_tell,
    .mirror_state = nv_mirror_tell,
    .home = home,
    .attach_consumer = attach_consumer,
    .append = nv_append,
    .commit = nv_commit,
    .synced = synced,
    .read_barrier = nv_barrier_ask,
    .resync_report = resync_report,
    .attach_monitor = attach_monitor,
    .bear = nv_bear,
    .serve = nv_serve,
    .set_mirror = nv_set_mirror,
    .follow = nv_follow,
    .idle = nv_idle,
    .quiesce = quiesce,
    .resync = nv_resync,
    .fetch = nv_fetch,
    .gave_up = nv_gave_up,
    .fail = fail,
};
