// SPDX-License-Identifier: Apache-2.0
//
// Bring-up: read the partner's status line, write our peer information, read again, write our client information, build,
// write READY (claims 14 to 21). What the partner wrote counts only when it is announced, whole, and bears the
// incarnation that this connection has proven.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/client.h"
#include "core/conn.h"
#include "core/lane.h"
#include "core/link.h"
#include "core/names.h"
#include "core/probe.h"
#include "core/region.h"
#include "core/session.h"
#include "common/crc32c.h"

#define READ_AGAIN_NS ENV_MS

// ---- reading the partner's status line

static void status_was_read(void *arg, int status)
{
    struct manager *manager = arg;
    struct session *session = &manager->session;
    struct status_line line;

    (void)status;
    session->posted = false;
    session->retry_ns = env_now_ns(manager->env) + READ_AGAIN_NS;
    session_advance_soon(manager);
    // Torn, or older than what is known: read again. Not of the incarnation and generation that were proven: the deadline
    // decides.
    if (partner_status_take(manager, region_at(manager->scratch, SCRATCH_STATUS_OFFSET),
                            env_now_ns(manager->env), &line) != PARTNER_STATUS_OURS)
        return;
    if (line.refusal != CARRICK_REASON_NONE && line.refusal < CARRICK_REASON_COUNT) {
        // That says no more than the reason: what is known of that already stays.
        if (session->refused.reason != line.refusal)
            session_refused(manager, true, line.refusal, "as its status line says");
        session_partner_refused(manager, line.refusal, "the partner's status line says so");
        return;
    }
    session->read_good = true;
    session->partner_took = line.taken_incarnation == manager->incarnation &&
                            line.taken_generation == session->generation && session->peer_taken &&
                            line.version_ruling == session->version;
}

static void status_read(struct manager *manager)
{
    struct session *session = &manager->session;
    const struct conn *boot = session->boot;
    struct lane *lane = &session->boot->lanes[0];
    struct lane_item item = {
        .operation = CARRICK_OP_READ,
        .local = region_at(manager->scratch, SCRATCH_STATUS_OFFSET),
        .region = manager->scratch,
        .length = STATUS_LINES_BYTES,
        .remote = boot->partner.status.base,
        .key = boot->partner.status.key,
        .fn = status_was_read,
        .arg = manager,
    };
    uint64_t now_ns = env_now_ns(manager->env);

    if (session->posted)
        return;
    if (now_ns < session->retry_ns) {
        manager->env->ops->timer_start(manager->soon, session->retry_ns - now_ns);
        return;
    }
    // Probes go over the same lane, and a transport may take no more than one read at a time.
    session->posted = lane_has_room(lane, CARRICK_OP_READ, STATUS_LINES_BYTES) &&
                      lane_post(lane, &item, 1) == CARRICK_OK;
    if (!session->posted) {
        session->retry_ns = now_ns + READ_AGAIN_NS;
        session_advance_soon(manager);
    }
}

// ---- writing tables

static const enum table_kind table_of_state[CARRICK_SESSION_STATE_COUNT] = {
    [CARRICK_SESSION_WRITING] = TABLE_PEER_INFO,
    [CARRICK_SESSION_TELLING] = TABLE_CLIENT_INFO,
    [CARRICK_SESSION_READY] = TABLE_READY,
};

static void table_was_written(void *arg, int status)
{
    struct manager *manager = arg;
    struct session *session = &manager->session;
    enum table_kind kind = table_of_state[session->state];
    struct message message = {.type = MESSAGE_TABLE, .session = session->id};

    if (kind == 0 || session->boot == NULL)
        return; // the session is ending
    if (status != CARRICK_OK)
        return; // so is its connection, and says why itself
    message.table.kind = kind;
    message.table.length = (uint32_t)session->table_bytes;
    message.table.generation = session->generation;
    message.table.crc =
        crc32c(region_at(manager->scratch, table_offset(kind)), session->table_bytes);
    session->wrote = lane_send_message(&session->boot->control, &message);
    if (!session->wrote)
        conn_fail(session->boot, CARRICK_ERR_NO_MEMORY, "no room to announce a table");
    session_advance_soon(manager);
}

static void table_write(struct manager *manager, size_t length)
{
    struct session *session = &manager->session;
    uint32_t offset = table_offset(table_of_state[session->state]);
    const struct carrick_remote_key *inbox = &session->boot->partner.inbox;
    struct lane_item items[2] = {
        {
            .operation = CARRICK_OP_WRITE,
            .local = region_at(manager->scratch, offset),
            .region = manager->scratch,
            .length = length,
            .remote = inbox->base + offset,
            .key = inbox->key,
        },
        {.operation = CARRICK_OP_FLUSH, .fn = table_was_written, .arg = manager},
    };

    session->table_bytes = length;
    session->posted = lane_post(&session->boot->lanes[0], items, 2) == CARRICK_OK;
    if (!session->posted)
        conn_fail(session->boot, CARRICK_ERR_NO_MEMORY, "no room to write a table");
}

static void peer_info_write(struct manager *manager)
{
    struct peer_info info = {
        .version_min = PROTOCOL_VERSION_MIN,
        .version_max = PROTOCOL_VERSION_MAX,
        .generation = manager->session.generation,
        .incarnation = manager->incarnation,
    };

    snprintf(info.cluster, sizeof(info.cluster), "%s", manager->config->cluster);
    snprintf(info.node, sizeof(info.node), "%s", manager->node_name);
    snprintf(info.manager, sizeof(info.manager), "%s", manager->section->name);
    memcpy(info.config_hash, manager->config->hash, sizeof(info.config_hash));
    peer_info_put(&info, region_at(manager->scratch, INBOX_PEER_INFO_OFFSET));
    table_write(manager, PEER_INFO_BYTES);
}

static void client_info_write(struct manager *manager)
{
    size_t length = 0;
    int status = session_clients_tell(manager, &length);

    if (status == CARRICK_ERR_AGAIN)
        manager->env->ops->timer_start(manager->soon, READ_AGAIN_NS); // until the deadline
    else if (status != CARRICK_OK)
        session_refuse(manager, CARRICK_REASON_RESOURCES,
                       "the needs of this node's clients cannot be told; see its log");
    else
        table_write(manager, length);
}

static void ready_write(struct manager *manager)
{
    struct session *session = &manager->session;
    struct ready_info info = {
        .incarnation = manager->incarnation,
        .partner_incarnation = session->partner_incarnation,
        .session = session->id,
    };

    ready_info_put(&info, region_at(manager->scratch, INBOX_READY_OFFSET));
    table_write(manager, READY_BYTES);
}

// ---- what the partner wrote

static uint32_t peer_info_check(const struct manager *manager, const struct peer_info *info)
{
    if (info->incarnation != manager->session.partner_incarnation ||
        info->generation != manager->session.partner_generation)
        return CARRICK_REASON_STALE_SESSION;
    if (info->version_max < PROTOCOL_VERSION_MIN || info->version_min > PROTOCOL_VERSION_MAX)
        return CARRICK_REASON_VERSION;
    if (strcmp(info->cluster, manager->config->cluster) != 0)
        return CARRICK_REASON_CLUSTER;
    if (strcmp(info->node, manager->partner_name) != 0 ||
        strcmp(info->manager, manager->section->name) != 0)
        return CARRICK_REASON_NODE;
    if (memcmp(info->config_hash, manager->config->hash, sizeof(info->config_hash)) != 0)
        return CARRICK_REASON_CONFIGURATION;
    return CARRICK_REASON_NONE;
}

static uint32_t peer_info_take(struct manager *manager, const void *data, size_t length)
{
    struct session *session = &manager->session;
    struct peer_info info;
    uint32_t reason;

    if (peer_info_get(data, length, &info) != CARRICK_OK)
        return CARRICK_REASON_PROTOCOL;
    reason = peer_info_check(manager, &info);
    if (reason != CARRICK_REASON_NONE)
        return reason;
    session->version =
        info.version_max < PROTOCOL_VERSION_MAX ? info.version_max : PROTOCOL_VERSION_MAX;
    session->peer_taken = true;
    session->retry_ns = 0;
    session_publish(manager);
    return CARRICK_REASON_NONE;
}

static uint32_t client_info_take(struct manager *manager, const void *data, size_t length)
{
    struct session *session = &manager->session;

    if (!session->peer_taken || session->clients_known)
        return CARRICK_REASON_PROTOCOL;
    if (session_clients_take(manager, data, length) != CARRICK_OK)
        return CARRICK_REASON_PROTOCOL;
    session->clients_known = true;
    return CARRICK_REASON_NONE;
}

static uint32_t ready_take(struct manager *manager, const void *data, size_t length)
{
    struct session *session = &manager->session;
    struct ready_info info;

    if (ready_info_get(data, length, &info) != CARRICK_OK)
        return CARRICK_REASON_PROTOCOL;
    if (info.incarnation != session->partner_incarnation ||
        info.partner_incarnation != manager->incarnation || info.session != session->id)
        return CARRICK_REASON_STALE_SESSION;
    session_partner_ready(manager);
    return CARRICK_REASON_NONE;
}

void session_table_message(struct manager *manager, const struct message *message)
{
    static uint32_t (*const take[TABLE_KIND_COUNT])(struct manager *, const void *, size_t) = {
        [TABLE_PEER_INFO] = peer_info_take,
        [TABLE_CLIENT_INFO] = client_info_take,
        [TABLE_READY] = ready_take,
    };
    uint32_t length = message->table.length, kind = message->table.kind, reason;
    uint8_t *copy;

    if (manager->session.end_asked ||
        message->table.generation != manager->session.partner_generation)
        return;
    // The partner can write the inbox at any time: what is checked must be what is used.
    copy = malloc(length + 1u);
    if (copy == NULL) {
        session_refuse(manager, CARRICK_REASON_RESOURCES, "no memory for the partner's table");
        return;
    }
    memcpy(copy, region_at(manager->inbox, table_offset((enum table_kind)kind)), length);
    reason = crc32c(copy, length) == message->table.crc ? take[kind](manager, copy, length)
                                                        : CARRICK_REASON_PROTOCOL;
    free(copy);
    if (reason != CARRICK_REASON_NONE)
        session_refuse(manager, reason, reason_text(reason));
    session_advance_soon(manager);
}

// ---- the states

static void idle_step(struct manager *manager)
{
    struct session *session = &manager->session;

    if (manager->stopping)
        return;
    for (uint32_t i = 0; i < manager->link_count && session->boot == NULL; i++) {
        struct conn *conn = manager->links[i].current;

        if (conn != NULL && conn->state == CONN_JOINED)
            session->boot = conn;
    }
    if (session->boot != NULL)
        session_fire(manager, SESSION_EVENT_JOINED);
}

static void reading_step(struct manager *manager)
{
    if (manager->session.read_good)
        session_fire(manager, SESSION_EVENT_READ);
    else
        status_read(manager);
}

static void writing_step(struct manager *manager)
{
    if (manager->session.wrote)
        session_fire(manager, SESSION_EVENT_WROTE);
    else if (!manager->session.posted)
        peer_info_write(manager);
}

static void checking_step(struct manager *manager)
{
    if (manager->session.peer_taken && manager->session.partner_took)
        session_fire(manager, SESSION_EVENT_TAKEN);
    else
        status_read(manager);
}

static void telling_step(struct manager *manager)
{
    struct session *session = &manager->session;

    if (session->wrote && session->clients_known)
        session_fire(manager, SESSION_EVENT_TOLD);
    else if (!session->posted)
        client_info_write(manager);
}

static void building_step(struct manager *manager)
{
    struct session *session = &manager->session;
    char why[MESSAGE_TEXT_MAX];
    uint32_t reason;

    if (!session->posted && session_clients_provide(manager) == CARRICK_ERR_AGAIN) {
        manager->env->ops->timer_start(manager->soon, READ_AGAIN_NS); // until the deadline
        return;
    }
    if (!session->posted) {
        session->posted = true;
        reason = session_clients_build(manager, why, sizeof(why));
        if (reason != CARRICK_REASON_NONE) {
            session_refuse(manager, reason, why);
            return;
        }
    }
    if (region_use_ready(manager, REGION_HERE, session->boot->link))
        session_fire(manager, SESSION_EVENT_BUILT);
}

static void ready_step(struct manager *manager)
{
    struct session *session = &manager->session;

    if (session->wrote && session->partner_ready)
        session_fire(manager, SESSION_EVENT_BOTH_READY);
    else if (!session->posted)
        ready_write(manager);
}

static void up_step(struct manager *manager)
{
    (void)manager;
}

void session_step(struct manager *manager)
{
    static void (*const steps[CARRICK_SESSION_STATE_COUNT])(struct manager *) = {
        [CARRICK_SESSION_IDLE] = idle_step,
        [CARRICK_SESSION_READING] = reading_step,
        [CARRICK_SESSION_WRITING] = writing_step,
        [CARRICK_SESSION_CHECKING] = checking_step,
        [CARRICK_SESSION_TELLING] = telling_step,
        [CARRICK_SESSION_BUILDING] = building_step,
        [CARRICK_SESSION_READY] = ready_step,
        [CARRICK_SESSION_UP] = up_step,
        [CARRICK_SESSION_ENDING] = session_ending_step,
        [CARRICK_SESSION_CLOSING] = session_closing_step,
    };

    // Between the loss of the boot conn and the end that follows from it there is nothing to step with.
    if (manager->session.boot == NULL && manager->session.state >= CARRICK_SESSION_READING &&
        manager->session.state <= CARRICK_SESSION_READY)
        return;
    steps[manager->session.state](manager);
}

static void ready_enter(struct manager *manager)
{
    for (uint32_t i = 0; i < manager->link_count; i++)
        if (manager->links[i].current != NULL)
            conn_advance(manager->links[i].current);
}

static void up_enter(struct manager *manager)
{
    struct session *session = &manager->session;

    session->count++;
    session->was_up = true;
    session->failures = 0;
    session->refused = (struct ending){0};
    told_forget(&session->refusals);
    // The link may still wait for keys. What was before this session has no part in how long it has been without one.
    session->lost_since_ns = 0;
    session_links_changed(manager);
    log_record(manager->env, CARRICK_LOG_NOTICE, "session-up", manager->section->name, NULL,
               "session %016llx with %s is up, protocol version %u",
               (unsigned long long)session->id, manager->partner_name, session->version);
    clients_ready(manager);
}

void session_entered(struct manager *manager)
{
    switch (manager->session.state) {
    case CARRICK_SESSION_READY:
        ready_enter(manager);
        break;
    case CARRICK_SESSION_UP:
        up_enter(manager);
        break;
    case CARRICK_SESSION_ENDING:
        session_ending_enter(manager);
        break;
    case CARRICK_SESSION_CLOSING:
        session_closing_enter(manager);
        break;
    case CARRICK_SESSION_IDLE:
        session_idle_enter(manager);
        break;
    default:
        break;
    }
}
