// SPDX-License-Identifier: Apache-2.0
#include "core/conn.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/lane.h"
#include "core/link.h"
#include "core/names.h"
#include "core/probe.h"
#include "core/session.h"
#include "core/vi.h"

struct conn *conn_create(struct link *link, bool initiator)
{
    struct conn *conn = calloc(1, sizeof(*conn));
    uint64_t now_ns = env_now_ns(link->manager->env);

    if (conn == NULL)
        return NULL;
    conn->link = link;
    conn->initiator = initiator;
    if (lane_init(&conn->control, conn, CONTROL_LANE) != CARRICK_OK) {
        free(conn);
        return NULL;
    }
    conn->since_ns = now_ns;
    conn->deadline_ns = now_ns + link->manager->section->timers.connect_ms * ENV_MS;
    conn->scratch = link->conn_serial++ % PROBE_SLOTS;
    conn->next = link->conns;
    link->conns = conn;
    link->conn_count++;
    return conn;
}

void conn_free(struct conn *conn)
{
    struct link *link = conn->link;
    struct conn **at = &link->conns;

    while (*at != conn)
        at = &(*at)->next;
    *at = conn->next;
    link->conn_count--;
    lane_free(&conn->control);
    for (uint32_t i = 0; i < conn->lane_count; i++)
        lane_free(&conn->lanes[i]);
    free(conn->keys);
    free(conn);
}

bool conn_is_live(const struct conn *conn)
{
    return conn->state < CONN_CLOSING;
}

void conn_enter(struct conn *conn, enum conn_state state)
{
    conn->state = state;
    conn->since_ns = env_now_ns(conn->link->manager->env);
    link_changed(conn->link);
}

// ---- its end

static void lane_close(struct lane *lane, bool orderly)
{
    if (lane->state != LANE_CONNECTING && lane->state != LANE_OPEN)
        return;
    lane->state = LANE_CLOSING;
    lane->conn->link->ops->endpoint_close(lane->endpoint, orderly);
}

void conn_fail(struct conn *conn, int status, const char *why)
{
    struct link *link = conn->link;
    enum conn_state before = conn->state;

    if (!conn_is_live(conn))
        return;
    conn->cause_status = status;
    // What an unproven stranger does says nothing about the link.
    if (conn->initiator || before >= CONN_JOINING)
        link_note(link, why);
    // From JOINED on, the partner may have used it for VIs, whether we have or not.
    conn->fence_needed = before == CONN_JOINED || before == CONN_UP;
    conn->state = CONN_CLOSING;
    if (link->current == conn)
        link->current = NULL;
    for (uint32_t i = 0; i < conn->lane_count; i++) {
        lane_close(&conn->lanes[i], false);
        vi_lane_lost(&conn->lanes[i]);
    }
    lane_close(&conn->control, conn->refusing);
    link_poll_soon(link);
    link_changed(link);
    session_conn_lost(link->manager, conn);
    // A conn that lives has its control endpoint at least, so CLOSED will come and conn_closed with it; the conn is
    // never freed in here.
}

void conn_refuse(struct conn *conn, uint32_t reason, const char *text)
{
    struct message message = {.type = MESSAGE_REFUSE, .end = {.reason = reason}};
    char why[CAUSE_BYTES];

    if (!conn_is_live(conn))
        return;
    snprintf(message.end.text, sizeof(message.end.text), "%s", text);
    snprintf(why, sizeof(why), "refused (%s): %s", reason_name(reason), text);
    lane_send_message(&conn->control, &message);
    conn->refusing = true;
    conn_fail(conn, CARRICK_ERR_REFUSED, why);
}

void conn_drop(struct conn *conn)
{
    struct link *link = conn->link;

    lane_settle(&conn->control, conn->control.head);
    for (uint32_t i = 0; i < conn->lane_count; i++)
        lane_settle(&conn->lanes[i], conn->lanes[i].head);
    vi_fence_over(conn);
    conn_free(conn);
    link_changed(link);
}

// ---- events of its endpoints; their cookie is the lane

static void conn_endpoint_closed(struct lane *lane, const struct carrick_event *event)
{
    struct conn *conn = lane->conn;

    lane->state = LANE_CLOSED;
    lane->endpoint = NULL;
    lane->applied =
        (conn->link->caps.flags & CARRICK_CAP_APPLIED_COUNT) != 0 ? event->applied : FENCE_UNKNOWN;
    conn->open_endpoints--;
    if (conn->open_endpoints == 0 && conn->state == CONN_CLOSING)
        conn_closed(conn);
}

// What a person can do about it differs, so the words do.
static void never_came_about(const struct conn *conn, int status, char why[CAUSE_BYTES])
{
    const char *partner = conn->link->manager->partner_name;

    if (status == CARRICK_ERR_REFUSED)
        snprintf(why, CAUSE_BYTES,
                 "refused: %s answers, but nothing listens there: does its daemon run, and with "
                 "this address and port?",
                 partner);
    else if (status == CARRICK_ERR_UNREACHABLE || status == CARRICK_ERR_TIMEOUT)
        snprintf(why, CAUSE_BYTES,
                 "%s: no answer from %s: is it switched on, and the way to it open?",
                 status_name(status), partner);
    else
        snprintf(why, CAUSE_BYTES, "connection lost: %s", status_name(status));
}

static void conn_endpoint_lost(struct lane *lane, const struct carrick_event *event)
{
    struct conn *conn = lane->conn;
    uint32_t reason = CARRICK_REASON_NONE;
    char why[CAUSE_BYTES];

    if (event->status == CARRICK_ERR_REFUSED)
        reason = reject_parse(event->data, event->length);
    if (reason != CARRICK_REASON_NONE) {
        snprintf(why, sizeof(why), "the partner refused (%s): %s", reason_name(reason),
                 reason_text(reason));
        if (conn_is_live(conn))
            session_refused(conn->link->manager, true, reason, reason_text(reason));
    } else if (conn->state == CONN_CONNECTING) {
        never_came_about(conn, event->status, why);
    } else {
        snprintf(why, sizeof(why), "%s lost: %s",
                 lane->index == CONTROL_LANE ? "connection" : "lane", status_name(event->status));
    }
    conn_fail(conn, event->status, why);
}

static void conn_message(struct conn *conn, const struct carrick_event *event)
{
    struct message message;

    if (message_get(event->data, event->length, &message) != CARRICK_OK) {
        conn_refuse(conn, CARRICK_REASON_PROTOCOL, "a message cannot be understood");
        return;
    }
    conn->control.progress_ns = env_now_ns(conn->link->manager->env);
    if (message.type == MESSAGE_PROOF || message.type == MESSAGE_WELCOME) {
        conn_prove_message(conn, &message);
    } else if (message.type == MESSAGE_REFUSE) {
        // A stranger that connected to us can say what it likes.
        if (conn->initiator || conn->state >= CONN_JOINING)
            session_refused(conn->link->manager, true, message.end.reason, message.end.text);
        // Before the proof it may be anybody's word; it then ends this connection and no more.
        if (conn->state >= CONN_JOINING && message.session == conn->link->manager->session.id)
            session_partner_refused(conn->link->manager, message.end.reason, message.end.text);
        conn_fail(conn, CARRICK_ERR_REFUSED, message.end.text);
    } else if (conn->state < CONN_JOINING) {
        conn_refuse(conn, CARRICK_REASON_PROTOCOL, "a message came before the proof");
    } else if (message.type == MESSAGE_KEYS) {
        conn_keys_message(conn, &message);
    } else {
        session_message(conn, &message);
    }
}

static void conn_received(struct lane *lane, const struct carrick_event *event)
{
    struct send_header header;
    struct conn *conn = lane->conn;

    if (!conn_is_live(conn))
        return;
    if (lane->index == CONTROL_LANE) {
        conn_message(conn, event);
        return;
    }
    lane->sends_received++;
    if (send_header_get(event->data, event->length, &header) != CARRICK_OK) {
        conn_refuse(conn, CARRICK_REASON_PROTOCOL, "a send is too short");
    } else if (header.vi == SEND_MARK) {
        conn_lane_mark(lane, header.sequence);
    } else {
        session_partner_sends(conn->link->manager);
        if (!vi_receive(conn, &header, (const uint8_t *)event->data + SEND_HEADER_BYTES,
                        event->length - SEND_HEADER_BYTES))
            session_end(conn->link->manager, CARRICK_REASON_PROTOCOL,
                        "a send came out of order or for no VI");
    }
}

// Of an endpoint that is being closed: what came before it was lost counts, for the partner may have been told that it
// arrived.
static void conn_received_late(struct lane *lane, const struct carrick_event *event)
{
    struct manager *manager = lane->conn->link->manager;
    struct send_header header;

    if (lane->index == CONTROL_LANE || !lane->conn->fence_needed ||
        (manager->session.state != CARRICK_SESSION_UP &&
         manager->session.state != CARRICK_SESSION_ENDING) ||
        send_header_get(event->data, event->length, &header) != CARRICK_OK)
        return;
    lane->sends_received++;
    if (header.vi != SEND_MARK &&
        !vi_receive(lane->conn, &header, (const uint8_t *)event->data + SEND_HEADER_BYTES,
                    event->length - SEND_HEADER_BYTES))
        session_end(manager, CARRICK_REASON_PROTOCOL, "a send came out of order or for no VI");
}

void conn_event(const struct carrick_event *event)
{
    struct lane *lane = (struct lane *)(uintptr_t)event->cookie;
    struct conn *conn = lane->conn;

    if (event->type == CARRICK_EVENT_CLOSED)
        conn_endpoint_closed(lane, event);
    else if (!conn_is_live(conn) && event->type == CARRICK_EVENT_RECEIVE)
        conn_received_late(lane, event);
    else if (!conn_is_live(conn))
        return;
    else if (event->type == CARRICK_EVENT_DISCONNECTED)
        conn_endpoint_lost(lane, event);
    else if (event->type == CARRICK_EVENT_RECEIVE)
        conn_received(lane, event);
    else if (lane->index == CONTROL_LANE)
        conn_control_connected(conn, event);
    else
        conn_lane_connected(lane, event);
}

// ---- its clock

// What is posted on a lane and brings nothing for so long will not come: the path is dead, whatever the transport
// thinks. Any completion counts as life, so that a slow link with much on it is not taken for a dead one.
// One that stays the oldest for longer than an operation may take has lost its completion, though others go on.
static const char *lane_is_stuck(const struct lane *lane, uint64_t now_ns)
{
    const struct config_timers *timers = &lane->conn->link->manager->section->timers;

    if (lane->state != LANE_OPEN || lane->head == lane->tail)
        return NULL;
    if (now_ns > lane->progress_ns + timers->link_dead_ms * ENV_MS)
        return "no answer within link_dead_ms";
    if (now_ns > lane->head_since_ns + timers->operation_ms * ENV_MS)
        return "an operation took longer than operation_ms";
    return NULL;
}

static const char *conn_is_stuck(const struct conn *conn, uint64_t now_ns)
{
    const struct session *session = &conn->link->manager->session;
    uint64_t join_ns = conn->link->manager->section->timers.bringup_ms * ENV_MS;
    const char *why = lane_is_stuck(&conn->control, now_ns);

    for (uint32_t i = 0; i < conn->lane_count && why == NULL; i++)
        why = lane_is_stuck(&conn->lanes[i], now_ns);
    if (why == NULL && conn->state == CONN_JOINED && session->state == CARRICK_SESSION_UP &&
        now_ns > conn->since_ns + join_ns && now_ns > session->since_ns + join_ns)
        why = "the partner does not tell its keys";
    return why;
}

void conn_forgive(struct conn *conn, uint64_t now_ns)
{
    conn->control.progress_ns = conn->control.head_since_ns = now_ns;
    for (uint32_t i = 0; i < conn->lane_count; i++)
        conn->lanes[i].progress_ns = conn->lanes[i].head_since_ns = now_ns;
}

void conn_tick(struct conn *conn, uint64_t now_ns)
{
    const char *stuck = conn_is_live(conn) ? conn_is_stuck(conn, now_ns) : NULL;

    if (conn->state == CONN_FENCING) {
        conn_fence_tick(conn, now_ns);
    } else if (conn->state < CONN_JOINED && now_ns > conn->deadline_ns) {
        conn_fail(conn, CARRICK_ERR_TIMEOUT, "the partner does not answer");
    } else if (stuck != NULL) {
        conn_fail(conn, CARRICK_ERR_TIMEOUT, stuck);
    } else if (conn->state == CONN_JOINED || conn->state == CONN_UP) {
        conn_advance(conn);
        probe_post(conn);
    }
}
