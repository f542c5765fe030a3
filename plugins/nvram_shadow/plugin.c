// SPDX-License-Identifier: Apache-2.0
//
// The client's callbacks. Two VIs for each group: one for its records and messages, one for reads, which must not wait
// behind them. Two regions of each group at the partner: its copy, to read; and its ring, to write, which is memory of no
// use unless the partner's copy is shadow when the session is brought up.
#include "nvram.h"

#include <carrick/error.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void nv_log(const struct carrick_log *log, int level, const char *format, ...)
{
    const struct carrick_host *base = nv_host(log)->base;
    char text[320];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    base->log(base, level, "group %s: %s", log->config->name, text);
}

static void destroy(struct carrick_client *client)
{
    const struct carrick_host *base = client->host->base;

    for (uint32_t i = 0; client->logs != NULL && i < client->config.count; i++) {
        struct carrick_log *log = &client->logs[i];

        if (log->nvram == NULL)
            break;
        if (log->turn != NULL)
            base->timer_destroy(log->turn);
        if (log->tick != NULL)
            base->timer_destroy(log->tick);
        nv_barrier_free(log);
        if (log->fetch.region != NULL)
            client->host->region_destroy(log->fetch.region);
        nv_copy_close(log);
    }
    free(client->logs);
    free(client);
}

static int log_make(struct carrick_client *client, uint32_t index, struct carrick_error *error)
{
    struct carrick_log *log = &client->logs[index];
    int status;

    log->nvram = client;
    log->index = index;
    log->config = &client->config.groups[index];
    nv_owner_reset(log);
    status = nv_turn_create(log);
    if (status == CARRICK_OK)
        status = nv_barrier_create(log);
    if (status != CARRICK_OK)
        return carrick_error_set(error, status, 0, "", "out of memory");
    status = nv_copy_open(log, error);
    if (status == CARRICK_OK && log->loading)
        nv_persist_load(log);
    return status;
}

static int homes_check(const struct carrick_client *client, struct carrick_error *error)
{
    const struct carrick_host *base = client->host->base;

    for (uint32_t i = 0; i < client->config.count; i++) {
        const char *home = client->config.groups[i].home;
        char pointer[64];

        if (strcmp(home, base->node) == 0 || strcmp(home, base->partner) == 0)
            continue;
        snprintf(pointer, sizeof pointer, "/groups/%u/home", i);
        return carrick_error_config(error, pointer,
                                    "\"%s\" is neither this node, \"%s\", nor its partner, \"%s\"",
                                    home, base->node, base->partner);
    }
    return CARRICK_OK;
}

static int create(const struct carrick_client_host *host, const char *config,
                  struct carrick_client **result, struct carrick_error *error)
{
    struct carrick_client *client = calloc(1, sizeof *client);
    int status;

    if (client == NULL)
        return carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, "", "out of memory");
    client->host = host;
    status = nv_config_parse(config, host->base->node, &client->config, error);
    if (status == CARRICK_OK)
        status = homes_check(client, error);
    if (status == CARRICK_OK) {
        client->logs = calloc(client->config.count, sizeof *client->logs);
        if (client->logs == NULL)
            status = carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, "", "out of memory");
    }
    for (uint32_t i = 0; status == CARRICK_OK && i < client->config.count; i++)
        status = log_make(client, i, error);
    if (status == CARRICK_OK) {
        status = host->service_offer(host, CARRICK_LOG_SERVICE, &nv_log_ops, client);
        if (status != CARRICK_OK)
            carrick_error_set(error, status, 0, "",
                              "another client offers the service \"log\" already");
    }
    if (status != CARRICK_OK) {
        destroy(client);
        return status;
    }
    *result = client;
    return CARRICK_OK;
}

static int describe(struct carrick_client *client, struct carrick_client_info *info)
{
    info->vis = 2 * client->config.count;
    info->version = NV_VERSION;
    if (info->region_max < 2 * client->config.count)
        return CARRICK_ERR_LIMIT;
    info->region_count = 2 * client->config.count;
    info->terms = client->config.terms;
    for (uint32_t i = 0; i < client->config.count; i++) {
        const struct nv_group_config *group = &client->config.groups[i];
        struct carrick_region_want *wants = info->wants;
        uint32_t stride = wants->struct_size;
        struct carrick_region_want *copy = (void *)((char *)wants + (size_t)(2 * i) * stride);
        struct carrick_region_want *ring = (void *)((char *)wants + (size_t)(2 * i + 1) * stride);

        copy->access = CARRICK_ACCESS_REMOTE_READ;
        copy->bytes = nv_copy_bytes(group);
        ring->access = CARRICK_ACCESS_REMOTE_READ | CARRICK_ACCESS_REMOTE_WRITE;
        ring->bytes = group->ring_bytes;
        // Another bring-up begins: whatever the one before gave to the partner has ended.
        client->logs[i].exposed = false;
    }
    return CARRICK_OK;
}

static int provide(struct carrick_client *client, uint32_t index,
                   const struct carrick_region_want *want, struct carrick_region_backing *backing)
{
    struct carrick_log *log;
    bool ring = index % 2 == 1;

    if (index / 2 >= client->config.count)
        return CARRICK_ERR_NOT_FOUND;
    log = &client->logs[index / 2];
    if (want->bytes != (ring ? log->ring.size : nv_copy_bytes(log->config))) {
        nv_log(log, CARRICK_LOG_ERROR,
               "the partner's log has %llu bytes, this one %llu: \"log_bytes\" and \"backing\" "
               "must be "
               "the same on both nodes",
               (unsigned long long)want->bytes, (unsigned long long)log->ring.size);
        return CARRICK_ERR_CONFIG;
    }
    if ((want->access & CARRICK_ACCESS_REMOTE_WRITE) && !ring)
        return CARRICK_ERR_DENIED;
    // The decoy: nobody writes the copy of an owner, or of one that has not decided.
    if (ring && log->role != CARRICK_LOG_SHADOW)
        return CARRICK_OK;
    backing->fd = client->host->region_fd(log->region);
    backing->offset = ring ? log->ring_at : 0;
    if (backing->fd < 0)
        return CARRICK_ERR_SYSTEM;
    log->exposed |= ring;
    return CARRICK_OK;
}

// Once, in the first session: by then the other clients have found the log, or will not.
static void unserved_say(struct carrick_client *client)
{
    for (uint32_t i = 0; i < client->config.count && client->incarnation == 0; i++) {
        const char *why = nv_unserved(&client->logs[i]);

        if (why != NULL)
            nv_log(&client->logs[i], CARRICK_LOG_WARNING, "%s", why);
    }
}

static void ready(struct carrick_client *client, const struct carrick_session_info *session)
{
    unserved_say(client);
    client->incarnation = session->incarnation;
    client->partner_speaks = session->partner_version == NV_VERSION &&
                             session->vi_count >= 2 * client->config.count &&
                             session->there_count == 2 * client->config.count;
    if (!client->partner_speaks)
        client->host->base->log(
            client->host->base, CARRICK_LOG_ERROR,
            "the partner's nvram_shadow speaks version %u with %u VIs, this one %u "
            "with %u: nothing is mirrored",
            session->partner_version, session->vi_count, NV_VERSION, 2 * client->config.count);
    for (uint32_t i = 0; i < client->config.count && client->partner_speaks; i++) {
        struct carrick_log *log = &client->logs[i];

        log->vi = session->vis[2 * i];
        log->read_vi = session->vis[2 * i + 1];
        log->session = true;
        log->state_due = true;
        log->peer.known = false;
        log->peer.proven = 0;
        log->fetch.tries = 0;
        nv_changed(log);
    }
}

// Nothing is posted any more, and nothing is known of the partner.
static void log_leave(struct carrick_log *log)
{
    if (!log->session)
        return;
    log->session = false;
    log->peer.known = false;
    nv_owner_detach(log, "the session ended");
    nv_walk_begin(log);
    nv_shadow_reset(log);
    nv_changed(log);
}

static void ending(struct carrick_client *client, uint32_t reason, uint64_t deadline_ns)
{
    (void)reason;
    (void)deadline_ns;
    // What is under way is lost with the VIs, and written again in the next session: that is sooner than waiting for it.
    for (uint32_t i = 0; i < client->config.count; i++) {
        struct carrick_log *log = &client->logs[i];

        log_leave(log);
        if (log->vi != NULL)
            client->host->vi_close(log->vi);
        if (log->read_vi != NULL)
            client->host->vi_close(log->read_vi);
    }
}

static void ended(struct carrick_client *client, uint32_t reason)
{
    (void)reason;
    for (uint32_t i = 0; i < client->config.count; i++) {
        struct carrick_log *log = &client->logs[i];

        log_leave(log);
        log->vi = log->read_vi = NULL;
        // Again: while the session was ending, the owner's writes still came in, and were acknowledged.
        nv_walk_begin(log);
        log->exposed = false;
        log->owner.flight_void = 0;
        nv_barrier_session_ended(log);
        log->fetch.reading = false;
        nv_fetch_end(log, CARRICK_ERR_SESSION_ENDED, "the session ended");
        nv_changed(log);
    }
}

static void completed_one(struct carrick_client *client,
                          const struct carrick_completion *completion)
{
    uint64_t index = completion->cookie >> NV_COOKIE_BITS;
    struct carrick_log *log = &client->logs[index];

    switch ((enum nv_cookie)(completion->cookie % NV_COOKIE_KINDS)) {
    case NV_COOKIE_FLIGHT:
        if (completion->status == CARRICK_OK)
            nv_mirror_landed(log);
        break;
    case NV_COOKIE_BARRIER:
        nv_barrier_read(log, completion->cookie / NV_COOKIE_KINDS % NV_LOOKS, completion->status);
        break;
    case NV_COOKIE_FETCH:
        nv_fetch_read(log, completion->status);
        break;
    default:
        break;
    }
}

static void completed(struct carrick_client *client, const struct carrick_completion *completions,
                      uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        completed_one(client, carrick_completion_at(completions, i));
    // What landed is acknowledged now, not in a turn of its own.
    for (uint32_t i = 0; i < client->config.count; i++)
        if (client->logs[i].role == CARRICK_LOG_OWNER)
            nv_tell(&client->logs[i]);
}

static struct carrick_log *log_of(struct carrick_client *client, const struct carrick_vi *vi)
{
    for (uint32_t i = 0; i < client->config.count; i++)
        if (client->logs[i].vi == vi)
            return &client->logs[i];
    return NULL;
}

static void take(struct carrick_log *log, const struct nv_message *message)
{
    switch ((enum nv_message_kind)message->kind) {
    case NV_STATE:
        nv_state_said(log, message);
        break;
    case NV_ATTACH:
        nv_shadow_attach(log, message);
        break;
    case NV_ATTACHED:
        nv_attached(log, message);
        break;
    case NV_ADVANCE:
        nv_shadow_advance(log, message);
        break;
    case NV_SYNCED:
        nv_peer_synced(log, message);
        break;
    }
}

static void received(struct carrick_client *client, struct carrick_vi *vi, const void *data,
                     uint32_t length)
{
    struct carrick_log *log = log_of(client, vi);
    struct nv_message message;
    const char *why;

    if (log == NULL || !log->session || log->condition == CARRICK_LOG_SCANNING) {
        if (log != NULL && nv_message_decode(data, length, &message) == NULL &&
            message.kind == NV_STATE) {
            log->peer.known = log->session;
            log->peer.state = message;
        }
        return;
    }
    why = nv_message_decode(data, length, &message);
    if (why == NULL) {
        take(log, &message);
        return;
    }
    if (log->refused++ == 0)
        nv_log(log, CARRICK_LOG_WARNING, "a message of the partner is refused: %s", why);
}

static void vi_changed(struct carrick_client *client, struct carrick_vi *vi, uint32_t state)
{
    if (state != CARRICK_VI_CLOSED)
        return;
    for (uint32_t i = 0; i < client->config.count; i++) {
        struct carrick_log *log = &client->logs[i];

        if (log->vi != vi && log->read_vi != vi)
            continue;
        // Closed by the partner: a session without it is of no use to this group.
        log_leave(log);
        if (log->vi == vi)
            log->vi = NULL;
        else
            log->read_vi = NULL;
    }
}

static int config_check(const char *config, struct carrick_error *error)
{
    struct nv_config *parsed = malloc(sizeof *parsed);
    int status;

    if (parsed == NULL)
        return CARRICK_ERR_NO_MEMORY;
    status = nv_config_parse(config, "node", parsed, error);
    free(parsed);
    return status;
}

static const struct carrick_client_ops ops = {
    .create = create,
    .destroy = destroy,
    .describe = describe,
    .ready = ready,
    .ending = ending,
    .ended = ended,
    .completed = completed,
    .received = received,
    .config_check = config_check,
    .provide = provide,
    .vi_changed = vi_changed,
    .describe_state = nv_describe,
};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_CLIENT, "nvram_shadow", CARRICK_VERSION, "Apache-2.0",
                        "a log on this node and its shadow in the partner's memory", ops);
