// SPDX-License-Identifier: Apache-2.0
//
// Who we are: the control connection of a conn, which has no memory that could be reached, is made and proven.
#include <stdio.h>
#include <string.h>

#include "core/conn.h"
#include "core/lane.h"
#include "core/link.h"
#include "core/names.h"
#include "core/session.h"

// Keys are sent only while more places are free than are reserved.
_Static_assert(RECEIVE_DEPTH > CONTROL_RESERVE, "keys would never be sent");

static void identity_fill(const struct link *link, struct peer_identity *identity)
{
    const struct manager *manager = link->manager;

    memset(identity, 0, sizeof(*identity));
    snprintf(identity->node, sizeof(identity->node), "%s", manager->node_name);
    snprintf(identity->manager, sizeof(identity->manager), "%s", manager->section->name);
    snprintf(identity->link, sizeof(identity->link), "%s", link->config->name);
    identity->incarnation = manager->incarnation;
    identity->generation = manager->session.generation;
    identity->lanes = manager->section->lanes;
    identity->status = manager->status->on[link->index].key;
    identity->inbox = manager->inbox->on[link->index].key;
}

static void control_options_fill(struct conn *conn, struct carrick_connect_options *options)
{
    const struct manager *manager = conn->link->manager;

    *options = (struct carrick_connect_options){
        .struct_size = sizeof(*options),
        .timeout_ms = manager->section->timers.connect_ms,
        .domain = NULL,
        .remote = conn->link->config->nodes[1 - manager->node].json,
        .receive_bytes = MESSAGE_BYTES_MAX,
        .receive_depth = RECEIVE_DEPTH,
        .cookie = (uint64_t)(uintptr_t)&conn->control,
    };
}

void conn_connect(struct link *link)
{
    struct manager *manager = link->manager;
    struct carrick_error error = {.struct_size = sizeof(error)};
    struct carrick_connect_options options;
    uint8_t nonce[HANDSHAKE_NONCE_BYTES];
    struct conn *conn = link->conn_count < 2 * CONNS_PER_LINK_MAX ? conn_create(link, true) : NULL;

    if (conn == NULL) {
        link_retry(link, false);
        return;
    }
    manager->env->ops->random(manager->env, nonce, sizeof(nonce));
    handshake_request_make(&conn->handshake, &manager->key, nonce);
    control_options_fill(conn, &options);
    options.data = conn->handshake.request;
    options.data_bytes = HANDSHAKE_REQUEST_BYTES;
    if (link->ops->endpoint_connect(link->device, &options, &conn->control.endpoint, &error) !=
        CARRICK_OK) {
        link_note(link, error.text[0] != '\0' ? error.text : "cannot connect");
        conn_free(conn);
        link_retry(link, false);
        return;
    }
    conn->control.state = LANE_CONNECTING;
    conn->open_endpoints = 1;
    link_changed(link);
}

static void request_reject(struct link *link, const struct carrick_event *event, uint32_t reason)
{
    uint8_t data[REJECT_BYTES];

    reject_make(reason, data);
    link->ops->endpoint_reject(event->endpoint, data, sizeof(data));
    if (reason != CARRICK_REASON_NOT_READY && reason != CARRICK_REASON_DUPLICATE &&
        reason != CARRICK_REASON_STALE_SESSION)
        session_refused(link->manager, false, reason, reason_text(reason));
}

// Both may connect at once. The attempt of the node that stands first in the configuration stays: the other one is told
// so, and its own attempt ends when this one is proven.
static bool own_attempt_stays(const struct link *link)
{
    if (link->manager->node != 0)
        return false;
    for (const struct conn *conn = link->conns; conn != NULL; conn = conn->next)
        if (conn->initiator && conn->state < CONN_JOINING)
            return true;
    return false;
}

// Handshakes are bounded in number, and strangers must not keep the partner out: the oldest that has not proven itself
// makes room.
static bool conn_room_make(struct link *link)
{
    struct conn *oldest = NULL;

    if (link->conn_count < CONNS_PER_LINK_MAX)
        return true;
    for (struct conn *conn = link->conns; conn != NULL; conn = conn->next)
        if (!conn->initiator && conn->state < CONN_JOINING)
            oldest = conn; // conns are listed from the newest to the oldest
    if (oldest != NULL)
        conn_fail(oldest, CARRICK_ERR_TIMEOUT, "made room for a newer handshake");
    return link->conn_count < 2 * CONNS_PER_LINK_MAX;
}

static void control_accept(struct link *link, const struct carrick_event *event)
{
    struct manager *manager = link->manager;
    struct carrick_connect_options options;
    uint8_t nonce[HANDSHAKE_NONCE_BYTES];
    struct conn *conn = conn_create(link, false);

    if (conn == NULL) {
        request_reject(link, event, CARRICK_REASON_NOT_READY);
        return;
    }
    manager->env->ops->random(manager->env, nonce, sizeof(nonce));
    handshake_reply_make(&conn->handshake, &manager->key, event->data, nonce);
    control_options_fill(conn, &options);
    options.data = conn->handshake.reply;
    options.data_bytes = HANDSHAKE_REPLY_BYTES;
    conn->control.endpoint = event->endpoint;
    if (link->ops->endpoint_accept(event->endpoint, &options) != CARRICK_OK) {
        request_reject(link, event, CARRICK_REASON_NOT_READY);
        conn_free(conn);
        return;
    }
    conn->control.state = LANE_CONNECTING;
    conn->open_endpoints = 1;
}

void conn_requested(struct link *link, const struct carrick_event *event)
{
    struct manager *manager = link->manager;
    enum handshake_kind kind = HANDSHAKE_CONTROL;
    uint32_t reason = handshake_request_check(event->data, event->length, &manager->key, &kind);

    if (reason == CARRICK_REASON_NONE && kind == HANDSHAKE_LANE) {
        conn_lane_requested(link, event);
        return;
    }
    if (reason == CARRICK_REASON_NONE &&
        (link->device_state != LINK_DEVICE_READY || link->ending || link->admin_down ||
         manager->stopping || !conn_room_make(link) ||
         manager->session.state >= CARRICK_SESSION_ENDING))
        reason = CARRICK_REASON_NOT_READY;
    if (reason == CARRICK_REASON_NONE && own_attempt_stays(link))
        reason = CARRICK_REASON_DUPLICATE;
    if (reason != CARRICK_REASON_NONE)
        request_reject(link, event, reason);
    else
        control_accept(link, event);
}

static void prove_failed(struct conn *conn, uint32_t reason)
{
    session_refused(conn->link->manager, false, reason, reason_text(reason));
    conn_refuse(conn, reason, reason_text(reason));
}

void conn_control_connected(struct conn *conn, const struct carrick_event *event)
{
    struct manager *manager = conn->link->manager;
    struct peer_identity identity;
    struct message message = {.type = MESSAGE_PROOF};
    uint32_t reason;

    conn->control.state = LANE_OPEN;
    conn_enter(conn, CONN_PROVING);
    if (!conn->initiator) {
        conn->id = handshake_connection_id(&conn->handshake, &manager->key);
        return;
    }
    reason = handshake_reply_check(&conn->handshake, &manager->key, event->data, event->length);
    if (reason != CARRICK_REASON_NONE) {
        prove_failed(conn, reason);
        return;
    }
    conn->id = handshake_connection_id(&conn->handshake, &manager->key);
    identity_fill(conn->link, &identity);
    handshake_proof_make(&conn->handshake, &manager->key, &identity);
    message.raw.bytes = conn->handshake.proof;
    message.raw.length = PROOF_BYTES;
    if (!lane_send_message(&conn->control, &message))
        conn_fail(conn, CARRICK_ERR_NO_MEMORY, "no send buffer for the proof");
}

static bool identity_is_partner(const struct conn *conn)
{
    const struct manager *manager = conn->link->manager;

    return strcmp(conn->partner.node, manager->partner_name) == 0 &&
           strcmp(conn->partner.manager, manager->section->name) == 0 &&
           strcmp(conn->partner.link, conn->link->config->name) == 0;
}

// Another conn of this link stands already, with the same partner. Either the partner has lost it and we have not
// noticed, or both connected at once; the latter can only be when the one that stands is as young as an attempt.
static bool current_stays(const struct conn *conn)
{
    const struct conn *current = conn->link->current;
    uint64_t attempt_ns = conn->link->manager->section->timers.connect_ms * ENV_MS;
    bool current_by_first, by_first;

    if (current == NULL)
        return false;
    current_by_first = current->initiator == (conn->link->manager->node == 0);
    by_first = conn->initiator == (conn->link->manager->node == 0);
    return current_by_first && !by_first &&
           env_now_ns(conn->link->manager->env) < current->since_ns + attempt_ns;
}

// Returns the reason why the proven partner is not wanted, or NONE.
static uint32_t proven_check(struct conn *conn)
{
    if (!identity_is_partner(conn)) {
        session_refused(conn->link->manager, false, CARRICK_REASON_NODE,
                        reason_text(CARRICK_REASON_NODE));
        return CARRICK_REASON_NODE;
    }
    if (conn->partner.lanes == 0)
        return CARRICK_REASON_PROTOCOL;
    if (current_stays(conn))
        return CARRICK_REASON_DUPLICATE;
    return session_conn_proven(conn->link->manager, conn);
}

static void conn_proven(struct conn *conn)
{
    struct link *link = conn->link;
    struct conn *before = link->current;

    link->current = conn;
    for (struct conn *other = link->conns, *next; other != NULL; other = next) {
        next = other->next;
        if (other == before || (other != conn && other->initiator && other->state < CONN_JOINING))
            conn_fail(other, CARRICK_ERR_CLOSED, "the partner connected anew");
    }
    conn_join(conn);
}

static void proof_received(struct conn *conn, const struct message *message)
{
    struct manager *manager = conn->link->manager;
    struct message welcome = {.type = MESSAGE_WELCOME};
    struct peer_identity identity;
    uint8_t bytes[PROOF_BYTES];
    uint32_t reason = handshake_proof_check(&conn->handshake, &manager->key, message->raw.bytes,
                                            message->raw.length, &conn->partner);

    if (reason != CARRICK_REASON_NONE) {
        prove_failed(conn, reason);
        return;
    }
    reason = proven_check(conn);
    if (reason != CARRICK_REASON_NONE) {
        conn_refuse(conn, reason, reason_text(reason));
        return;
    }
    identity_fill(conn->link, &identity);
    handshake_welcome_make(&conn->handshake, &manager->key, &identity, bytes);
    welcome.session = manager->session.id;
    welcome.raw.bytes = bytes;
    welcome.raw.length = sizeof(bytes);
    if (!lane_send_message(&conn->control, &welcome))
        conn_fail(conn, CARRICK_ERR_NO_MEMORY, "no send buffer for the welcome");
    else
        conn_proven(conn);
}

static void welcome_received(struct conn *conn, const struct message *message)
{
    struct manager *manager = conn->link->manager;
    uint32_t reason = handshake_welcome_check(&conn->handshake, &manager->key, message->raw.bytes,
                                              message->raw.length, &conn->partner);

    if (reason != CARRICK_REASON_NONE) {
        prove_failed(conn, reason);
        return;
    }
    reason = proven_check(conn);
    if (reason == CARRICK_REASON_NONE && message->session != manager->session.id)
        reason = CARRICK_REASON_STALE_SESSION;
    if (reason != CARRICK_REASON_NONE)
        conn_refuse(conn, reason, reason_text(reason));
    else
        conn_proven(conn);
}

void conn_prove_message(struct conn *conn, const struct message *message)
{
    bool expected = message->type == (conn->initiator ? MESSAGE_WELCOME : MESSAGE_PROOF);

    if (conn->state != CONN_PROVING || !expected)
        conn_refuse(conn, CARRICK_REASON_PROTOCOL, "a proof came out of turn");
    else if (conn->initiator)
        welcome_received(conn, message);
    else
        proof_received(conn, message);
}
