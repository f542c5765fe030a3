// SPDX-License-Identifier: Apache-2.0
//
// A proven conn joins the session: data lanes are connected into the session's domain, then, when the session has built
// its regions, the keys of this link are told. The side that connected the control lane connects the others, too.
#include <stdlib.h>

#include "core/conn.h"
#include "core/lane.h"
#include "core/link.h"
#include "core/region.h"
#include "core/session.h"
#include "core/placement.h"

static void lane_options_fill(struct lane *lane, struct carrick_connect_options *options)
{
    const struct link *link = lane->conn->link;

    *options = (struct carrick_connect_options){
        .struct_size = sizeof(*options),
        .timeout_ms = link->manager->section->timers.connect_ms,
        .domain = link->domain,
        .remote = link->config->nodes[1 - link->manager->node].json,
        .receive_bytes = SEND_HEADER_BYTES + CARRICK_SEND_BYTES_MAX,
        .receive_depth = RECEIVE_DEPTH,
        .cookie = (uint64_t)(uintptr_t)lane,
    };
}

static struct lane_request lane_name(const struct lane *lane)
{
    return (struct lane_request){
        .index = (uint8_t)lane->index,
        .session = lane->conn->link->manager->session.id,
        .connection = lane->conn->id,
    };
}

static bool lane_connect(struct lane *lane)
{
    struct link *link = lane->conn->link;
    struct carrick_error error = {.struct_size = sizeof(error)};
    struct carrick_connect_options options;
    struct lane_request name = lane_name(lane);
    uint8_t request[HANDSHAKE_REQUEST_BYTES];

    lane_request_make(&link->manager->key, &name, request);
    lane_options_fill(lane, &options);
    options.data = request;
    options.data_bytes = sizeof(request);
    if (link->ops->endpoint_connect(link->device, &options, &lane->endpoint, &error) != CARRICK_OK)
        return false;
    lane->state = LANE_CONNECTING;
    lane->conn->open_endpoints++;
    return true;
}

static bool lanes_init(struct conn *conn)
{
    uint32_t count = conn->link->manager->section->lanes;

    if (count > conn->partner.lanes)
        count = conn->partner.lanes;
    for (; conn->lane_count < count; conn->lane_count++)
        if (lane_init(&conn->lanes[conn->lane_count], conn, conn->lane_count) != CARRICK_OK)
            return false;
    return true;
}

void conn_join(struct conn *conn)
{
    conn->deadline_ns = env_now_ns(conn->link->manager->env) +
                        conn->link->manager->section->timers.connect_ms * ENV_MS;
    conn_enter(conn, CONN_JOINING);
    if (!lanes_init(conn)) {
        conn_fail(conn, CARRICK_ERR_NO_MEMORY, "no memory for lanes");
        return;
    }
    for (uint32_t i = 0; conn->initiator && i < conn->lane_count; i++) {
        if (!lane_connect(&conn->lanes[i])) {
            conn_fail(conn, CARRICK_ERR_UNREACHABLE, "a lane cannot be connected");
            return;
        }
    }
    // Fences that wait for a way to the partner have one now.
    session_control_available(conn->link->manager);
}

static struct conn *conn_of_lane_request(struct link *link, const struct lane_request *request)
{
    for (struct conn *conn = link->conns; conn != NULL; conn = conn->next)
        if (conn->id == request->connection && conn->state == CONN_JOINING && !conn->initiator &&
            request->session == link->manager->session.id && request->index < conn->lane_count &&
            conn->lanes[request->index].state == LANE_NONE)
            return conn;
    return NULL;
}

void conn_lane_requested(struct link *link, const struct carrick_event *event)
{
    struct carrick_connect_options options;
    struct lane_request request;
    uint8_t data[LANE_REPLY_BYTES];
    struct conn *conn;
    struct lane *lane;

    lane_request_parse(event->data, &request);
    conn = conn_of_lane_request(link, &request);
    if (conn == NULL || !lane_request_prove(&link->manager->key, event->data)) {
        reject_make(conn == NULL ? CARRICK_REASON_STALE_SESSION : CARRICK_REASON_AUTHENTICATION,
                    data);
        link->ops->endpoint_reject(event->endpoint, data, REJECT_BYTES);
        return;
    }
    lane = &conn->lanes[request.index];
    lane_reply_make(&link->manager->key, &request, data);
    lane_options_fill(lane, &options);
    options.data = data;
    options.data_bytes = LANE_REPLY_BYTES;
    if (link->ops->endpoint_accept(event->endpoint, &options) != CARRICK_OK) {
        reject_make(CARRICK_REASON_NOT_READY, data);
        link->ops->endpoint_reject(event->endpoint, data, REJECT_BYTES);
        conn_fail(conn, CARRICK_ERR_UNREACHABLE, "a lane cannot be accepted");
        return;
    }
    lane->endpoint = event->endpoint;
    lane->state = LANE_CONNECTING;
    conn->open_endpoints++;
}

static void lane_opened(struct lane *lane)
{
    struct conn *conn = lane->conn;

    lane->state = LANE_OPEN;
    lane->progress_ns = env_now_ns(conn->link->manager->env);
    for (uint32_t i = 0; i < conn->lane_count; i++)
        if (conn->lanes[i].state != LANE_OPEN)
            return;
    conn_enter(conn, CONN_JOINED);
    session_conn_joined(conn->link->manager, conn);
    conn_advance(conn);
}

void conn_lane_connected(struct lane *lane, const struct carrick_event *event)
{
    struct conn *conn = lane->conn;
    struct lane_request name = lane_name(lane);

    if (!conn->initiator)
        return; // opens with the connecting side's first word
    if (!lane_reply_check(&conn->link->manager->key, &name, event->data, event->length)) {
        conn_refuse(conn, CARRICK_REASON_AUTHENTICATION, "a lane's reply has no valid proof");
        return;
    }
    lane->state = LANE_OPEN;
    if (!lane_send_mark(lane, LANE_MARK_HELLO)) {
        conn_fail(conn, CARRICK_ERR_NO_MEMORY, "no send buffer for a lane's first word");
        return;
    }
    lane_opened(lane);
}

void conn_lane_mark(struct lane *lane, uint64_t mark)
{
    struct conn *conn = lane->conn;

    if (mark == LANE_MARK_HELLO && !conn->initiator && lane->state == LANE_CONNECTING)
        lane_opened(lane);
    else if (mark == LANE_MARK_READY && lane->state == LANE_OPEN)
        session_partner_ready(conn->link->manager);
    else
        conn_refuse(conn, CARRICK_REASON_PROTOCOL, "a lane's mark came out of turn");
}

// ---- keys

// Sends what there is room for; completions on the control lane bring the rest (conn_advance).
static void keys_send(struct conn *conn)
{
    struct manager *manager = conn->link->manager;
    uint32_t total = session_here_count(manager);
    struct message message = {.type = MESSAGE_KEYS, .session = manager->session.id};

    message.keys.total = total;
    while (conn->keys_told < total || total == 0) {
        message.keys.first = conn->keys_told;
        message.keys.count = session_here_keys(manager, conn->link, message.keys.first,
                                               message.keys.key, MESSAGE_KEYS_MAX);
        // Tables are announced on the same lane: keys, which can be many, must leave room for them.
        if (lane_places(&conn->control, CARRICK_OP_SEND) <= CONTROL_RESERVE ||
            !lane_send_message(&conn->control, &message))
            return;
        conn->keys_told += message.keys.count;
        if (total == 0)
            break;
    }
    for (uint32_t i = 0; i < conn->lane_count; i++)
        if (!lane_send_mark(&conn->lanes[i], LANE_MARK_READY))
            return conn_fail(conn, CARRICK_ERR_NO_MEMORY, "no room for a lane's mark");
    conn->keys_sent = true;
}

void conn_advance(struct conn *conn)
{
    struct manager *manager = conn->link->manager;
    uint32_t wanted;

    if (conn->state != CONN_JOINED)
        return;
    if (conn->keys != NULL && session_there_count(manager, &wanted) && wanted != conn->key_count) {
        conn_refuse(conn, CARRICK_REASON_PROTOCOL, "another number of keys than was asked for");
        return;
    }
    if (!conn->keys_sent &&
        (manager->session.state == CARRICK_SESSION_READY ||
         manager->session.state == CARRICK_SESSION_UP) &&
        region_use_ready(manager, REGION_HERE, conn->link)) {
        keys_send(conn);
    }
    if (conn->state == CONN_JOINED && conn->keys_sent && conn->keys != NULL &&
        conn->keys_known == conn->key_count) {
        conn_enter(conn, CONN_UP);
        placement_link_up(conn->link);
    }
}

// Keys may come over one link before the table that says how many there are has come over another: they are kept, as many
// as our clients have asked for at most.
static bool keys_begin(struct conn *conn, uint32_t total)
{
    if (total > session_wanted_count(conn->link->manager)) {
        conn_refuse(conn, CARRICK_REASON_PROTOCOL, "more keys than were asked for");
        return false;
    }
    conn->keys = calloc(total + 1u, sizeof(*conn->keys));
    conn->key_count = total;
    if (conn->keys == NULL)
        conn_fail(conn, CARRICK_ERR_NO_MEMORY, "no memory for keys");
    return conn->keys != NULL;
}

void conn_keys_message(struct conn *conn, const struct message *message)
{
    if (message->session != conn->link->manager->session.id)
        return;
    if (conn->keys == NULL && !keys_begin(conn, message->keys.total))
        return;
    if (message->keys.total != conn->key_count || message->keys.first != conn->keys_known) {
        conn_refuse(conn, CARRICK_REASON_PROTOCOL, "keys came out of turn");
        return;
    }
    for (uint32_t i = 0; i < message->keys.count; i++)
        conn->keys[conn->keys_known++] = message->keys.key[i];
    conn_advance(conn);
}
