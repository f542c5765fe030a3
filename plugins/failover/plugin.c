// SPDX-License-Identifier: Apache-2.0
//
// The client plugin: its callbacks, and what they hand on to the parts.
#include "failover.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The core knows an instance as struct carrick_client.
static struct failover *of(struct carrick_client *client)
{
    return (struct failover *)(void *)client;
}

void failover_say(struct failover *failover, int level, const char *format, ...)
{
    const struct carrick_host *base = failover->host->base;
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    base->log(base, level, "%s", text);
}

void failover_soon(struct failover *failover)
{
    failover->host->base->timer_start(failover->soon, 0);
}

// Several groups may ask in one turn: the session is reset once.
void failover_reset(struct failover *failover, const char *why)
{
    failover->reset_wanted = true;
    snprintf(failover->reset_why, sizeof failover->reset_why, "%s", why);
    failover_soon(failover);
}

// ---- sending

static int post(struct failover *failover, struct message *message)
{
    uint8_t bytes[MESSAGE_BYTES];
    struct carrick_op op = {
        .struct_size = sizeof op,
        .operation = CARRICK_CLIENT_SEND,
        .length = sizeof bytes,
        .data = bytes,
    };

    if (failover->vi == NULL)
        return CARRICK_ERR_STATE;
    fo_message_put(message, bytes);
    return failover->host->post(failover->vi, &op, 1);
}

static int post_group(struct group *group, uint32_t kind)
{
    struct carrick_mirror_state mirror;
    struct message message = {.kind = kind, .record_number = group->record.number};

    snprintf(message.group, sizeof message.group, "%s", group->name);
    fo_group_copy(group, &message.copy);
    fo_group_mirror(group, &mirror);
    message.mirror = mirror.mirror;
    return post(group->failover, &message);
}

void failover_send(struct group *group, uint32_t kind)
{
    // What is not sent is made up for by the deadline of the state that waits for its answer.
    if (post_group(group, kind) != CARRICK_OK)
        failover_say(group->failover, CARRICK_LOG_DEBUG, "group %s: message %u was not sent",
                     group->name, kind);
}

void failover_tell(struct group *group)
{
    struct failover *failover = group->failover;

    failover->state_due |= 1ull << (group - failover->groups);
    failover_soon(failover);
}

static void send_due(struct failover *failover)
{
    struct message beat = {.kind = MESSAGE_BEAT};

    if (failover->vi == NULL)
        return;
    for (uint32_t i = 0; i < failover->group_count; i++) {
        if (!(failover->state_due & 1ull << i))
            continue;
        if (post_group(&failover->groups[i], MESSAGE_STATE) != CARRICK_OK)
            return; // completed() comes, and tries again
        failover->state_due &= ~(1ull << i);
    }
    if (failover->beat_due && post(failover, &beat) == CARRICK_OK)
        failover->beat_due = false;
}

// ---- timers

// A node that stops begins nothing more: what it won now it would take away with it, and the end of the session, which is its
// own doing, is no loss of the partner.
static void groups_fire(struct failover *failover, enum group_event event)
{
    if (failover->stopping)
        return;
    for (uint32_t i = 0; i < failover->group_count; i++)
        fo_group_fire(&failover->groups[i], event);
}

static void groups_tick(struct failover *failover)
{
    if (failover->stopping)
        return;
    for (uint32_t i = 0; i < failover->group_count; i++)
        fo_group_tick(&failover->groups[i], failover_now_ns(failover));
}

static void look_at_partner(struct failover *failover)
{
    if (fo_monitor_look(failover))
        groups_fire(failover, failover->monitor.lost ? EVENT_LOST : EVENT_BACK);
}

static void soon_fired(void *arg)
{
    struct failover *failover = arg;

    groups_tick(failover);
    send_due(failover);
    if (!failover->reset_wanted)
        return;
    failover->reset_wanted = false;
    // Not up: it is ending already, or has ended.
    failover->host->session_reset(failover->host, failover->reset_why);
}

static void beat_fired(void *arg)
{
    struct failover *failover = arg;

    failover->host->base->timer_start(failover->beat, failover->config.timers.beat_ms * MS);
    failover->beat_due = true;
    look_at_partner(failover);
    groups_tick(failover);
    send_due(failover);
}

// ---- services

static int groups_make(struct failover *failover)
{
    uint32_t count = failover->logs_ops->group_count(failover->logs);

    if (count > GROUPS_MAX) {
        failover_say(failover, CARRICK_LOG_ERROR, "%u groups are configured, at most %u can be",
                     count, GROUPS_MAX);
        return CARRICK_ERR_LIMIT;
    }
    failover->groups = calloc(count + 1u, sizeof *failover->groups);
    if (failover->groups == NULL)
        return CARRICK_ERR_NO_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        struct group *group = &failover->groups[i];
        int status;

        fo_group_init(group, failover, failover->logs_ops->group_name(failover->logs, i));
        status = fo_group_attach(group);
        if (status != CARRICK_OK) {
            failover_say(failover, CARRICK_LOG_ERROR,
                         "group %s cannot be monitored (status 0x%x): is there another failover "
                         "monitor?",
                         group->name, (unsigned)status);
            return status;
        }
        failover->group_count = i + 1;
    }
    return CARRICK_OK;
}

// Services can be found from the first bring-up on, or, when no partner comes, once the clients are all made.
static void services_find(struct failover *failover)
{
    const struct carrick_client_host *host = failover->host;
    const void *table;
    void *object;

    if (failover->found)
        return;
    if (host->service_find(host, CARRICK_LOG_SERVICE, &table, &object) != CARRICK_OK) {
        if (!failover->complained)
            failover_say(failover, CARRICK_LOG_ERROR,
                         "no client offers the service \"log\": configure nvram_shadow before "
                         "failover");
        failover->complained = true;
        return;
    }
    failover->logs_ops = table;
    failover->logs = object;
    if (host->service_find(host, CARRICK_ARBITER_SERVICE, &table, &object) == CARRICK_OK) {
        failover->arbiter_ops = table;
        failover->arbiter = object;
    }
    failover->found = true;
    if (groups_make(failover) == CARRICK_OK)
        groups_fire(failover, EVENT_DEADLINE);
}

static void begin_fired(void *arg)
{
    struct failover *failover = arg;

    services_find(failover);
    failover->host->base->timer_destroy(failover->beat);
    failover->beat = NULL;
    if (failover->host->base->timer_create(failover->host->base, beat_fired, failover,
                                           &failover->beat) == CARRICK_OK)
        failover->host->base->timer_start(failover->beat, 0);
}

// ---- callbacks, in the order of a client's life

static void failover_destroy(struct carrick_client *client)
{
    struct failover *failover = of(client);
    const struct carrick_host *base = failover->host->base;

    if (failover->beat)
        base->timer_destroy(failover->beat);
    if (failover->soon)
        base->timer_destroy(failover->soon);
    for (uint32_t i = 0; i < failover->group_count; i++)
        fo_claim_forget(&failover->groups[i]);
    fo_looks_forget(failover);
    fo_hooks_destroy(failover);
    free(failover->groups);
    free(failover);
}

static int failover_create(const struct carrick_client_host *host, const char *config,
                           struct carrick_client **client, struct carrick_error *error)
{
    struct failover *failover = calloc(1, sizeof *failover);
    int status;

    if (failover == NULL)
        return CARRICK_ERR_NO_MEMORY;
    failover->host = host;
    status = fo_config_read(config, &failover->config, error);
    if (status == CARRICK_OK)
        status = fo_hooks_create(failover);
    if (status == CARRICK_OK)
        status = host->base->timer_create(host->base, soon_fired, failover, &failover->soon);
    if (status == CARRICK_OK)
        status = host->base->timer_create(host->base, begin_fired, failover, &failover->beat);
    if (status != CARRICK_OK) {
        failover_destroy((struct carrick_client *)(void *)failover);
        return status;
    }
    host->base->random(host->base, &failover->incarnation, sizeof failover->incarnation);
    fo_monitor_init(failover);
    // The clients that stand later in the configuration are made by then.
    host->base->timer_start(failover->beat, 0);
    *client = (struct carrick_client *)(void *)failover;
    return CARRICK_OK;
}

static int failover_describe(struct carrick_client *client, struct carrick_client_info *info)
{
    struct failover *failover = of(client);

    info->vis = 1;
    info->version = FAILOVER_VERSION;
    services_find(failover);
    // Not used, but whoever provides memory is told when a bring-up came to nothing.
    if (info->region_max < 1)
        return CARRICK_ERR_LIMIT;
    info->region_count = 1;
    info->wants[0].access = CARRICK_ACCESS_REMOTE_READ;
    info->wants[0].bytes = 4096;
    return CARRICK_OK;
}

// From here on the partner may be able to write what the log's client provides, until `ended`.
static int failover_provide(struct carrick_client *client, uint32_t index,
                            const struct carrick_region_want *want,
                            struct carrick_region_backing *backing)
{
    struct failover *failover = of(client);

    (void)index;
    (void)want;
    (void)backing;
    if (!failover->bringup)
        failover->epoch++;
    failover->bringup = true;
    return CARRICK_OK;
}

static void failover_ready(struct carrick_client *client,
                           const struct carrick_session_info *session)
{
    struct failover *failover = of(client);

    failover->session = true;
    failover->bringup = false;
    failover->reset_wanted = false;
    failover->incarnation = session->incarnation;
    failover->partner_incarnation = session->partner_incarnation;
    failover->vi = session->vi_count > 0 ? session->vis[0] : NULL;
    if (session->partner_version != FAILOVER_VERSION)
        failover_say(failover, CARRICK_LOG_WARNING,
                     "the partner's failover monitor speaks version %u, this one %u",
                     session->partner_version, FAILOVER_VERSION);
    for (uint32_t i = 0; i < failover->group_count; i++) {
        struct group *group = &failover->groups[i];
        struct carrick_log_copy mine;

        fo_group_copy(group, &mine);
        group->acknowledged_before = mine.acknowledged;
        group->theirs_known = false;
        group->resync_at_ns = 0;
        failover_tell(group);
    }
    fo_monitor_heard(failover);
    // A session comes up over a link, which may be counted as up a moment later.
    failover->monitor.linked_awake_ns = failover->monitor.awake_ns;
    look_at_partner(failover);
    groups_fire(failover, EVENT_READY);
    send_due(failover);
}

static void failover_ending(struct carrick_client *client, uint32_t reason, uint64_t deadline_ns)
{
    struct failover *failover = of(client);

    (void)deadline_ns;
    if (reason == CARRICK_REASON_SHUTDOWN && !failover->stopping)
        failover->monitor.said_stop = true;
    if (failover->vi != NULL)
        failover->host->vi_close(failover->vi); // nothing under way is worth waiting for
}

static void failover_ended(struct carrick_client *client, uint32_t reason)
{
    struct failover *failover = of(client);

    if (reason == CARRICK_REASON_SHUTDOWN && !failover->stopping)
        failover->monitor.said_stop = true;
    failover->session = failover->bringup = false;
    failover->vi = NULL;
    for (uint32_t i = 0; i < failover->group_count; i++) {
        failover->groups[i].theirs_known = false;
        failover->groups[i].fence_open = false;
    }
    groups_fire(failover, EVENT_ENDED);
}

static void failover_stopping(struct carrick_client *client)
{
    of(client)->stopping = true;
}

static void failover_completed(struct carrick_client *client,
                               const struct carrick_completion *completions, uint32_t count)
{
    (void)completions;
    (void)count;
    send_due(of(client)); // there is room again
}

static struct group *group_find(struct failover *failover, const char *name)
{
    for (uint32_t i = 0; i < failover->group_count; i++)
        if (strcmp(failover->groups[i].name, name) == 0)
            return &failover->groups[i];
    return NULL;
}

static bool joined_is_right(const struct group *group)
{
    const struct carrick_log_copy *theirs = &group->theirs.copy;
    struct carrick_log_copy mine;

    fo_group_copy(group, &mine);
    return theirs->role == CARRICK_LOG_SHADOW && theirs->member &&
           theirs->condition == CARRICK_LOG_WHOLE &&
           fo_id_equal(theirs->generation.id, mine.generation.id);
}

static void take_message(struct group *group, const struct message *message)
{
    group->theirs = *message;
    group->theirs_known = true;
    group->theirs_incarnation = group->failover->partner_incarnation;
    if (message->kind == MESSAGE_JOINED && !joined_is_right(group))
        return;
    fo_group_fire(group, message->kind == MESSAGE_STATE    ? EVENT_STATE
                         : message->kind == MESSAGE_JOIN   ? EVENT_JOIN
                         : message->kind == MESSAGE_JOINED ? EVENT_JOINED
                                                           : EVENT_HANDOVER);
}

static void failover_received(struct carrick_client *client, struct carrick_vi *vi,
                              const void *data, uint32_t length)
{
    struct failover *failover = of(client);
    struct message message;
    struct group *group;

    (void)vi;
    if (!fo_message_get(data, length, &message)) {
        failover->refused_messages++;
        return;
    }
    fo_monitor_heard(failover);
    if (message.kind == MESSAGE_BEAT)
        return;
    group = group_find(failover, message.group);
    if (group != NULL)
        take_message(group, &message);
    else
        failover->refused_messages++;
}

static int failover_config_check(const char *config, struct carrick_error *error)
{
    struct config ignored;

    return fo_config_read(config, &ignored, error);
}

static int failover_config_change(struct carrick_client *client, const char *config,
                                  struct carrick_error *error)
{
    struct config read;
    int status = fo_config_read(config, &read, error);

    if (status == CARRICK_OK)
        of(client)->config = read; // each deadline that is set from now on is the new one
    return status;
}

static void failover_vi_changed(struct carrick_client *client, struct carrick_vi *vi,
                                uint32_t state)
{
    if (state == CARRICK_VI_CLOSED && of(client)->vi == vi)
        of(client)->vi = NULL;
}

static void failover_describe_state(struct carrick_client *client, char *text, size_t size)
{
    fo_report_state(of(client), text, size);
}

static int failover_command(struct carrick_client *client, const char *word, const char *json,
                            uint64_t token)
{
    return fo_command_run(of(client), word, json, token);
}

static const struct carrick_client_ops failover_ops = {
    .create = failover_create,
    .destroy = failover_destroy,
    .describe = failover_describe,
    .ready = failover_ready,
    .ending = failover_ending,
    .ended = failover_ended,
    .completed = failover_completed,
    .received = failover_received,
    .config_check = failover_config_check,
    .config_change = failover_config_change,
    .provide = failover_provide,
    .vi_changed = failover_vi_changed,
    .describe_state = failover_describe_state,
    .command = failover_command,
    .stopping = failover_stopping,
};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_CLIENT, "failover", "1.0", "Apache-2.0",
                        "decides which of both nodes serves each group", failover_ops);
