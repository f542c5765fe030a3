// SPDX-License-Identifier: Apache-2.0
#include "core/session.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/client.h"
#include "core/conn.h"
#include "core/lane.h"
#include "core/link.h"
#include "core/names.h"
#include "core/region.h"
#include "core/vi.h"

void session_init(struct manager *manager)
{
    struct session *session = &manager->session;

    session->state = CARRICK_SESSION_IDLE;
    session->since_ns = env_now_ns(manager->env);
    session->generation = 1;
}

void session_publish(struct manager *manager)
{
    struct status_line *line = &manager->line;
    const struct session *session = &manager->session;

    line->version_max = PROTOCOL_VERSION_MAX;
    line->version_ruling = session->version;
    line->session_state = (uint8_t)session->state;
    line->incarnation = manager->incarnation;
    line->generation = session->generation;
    line->taken_incarnation = session->peer_taken ? session->partner_incarnation : 0;
    line->taken_generation = session->peer_taken ? session->partner_generation : 0;
    status_line_publish(manager->status->memory.address, ++manager->line_sequence, line);
}

// ---- the engine

void session_fire(struct manager *manager, enum session_event event)
{
    struct session *session = &manager->session;
    enum carrick_session_state before = session->state, next = session_next(before, event);
    uint32_t limit_ms = 0;

    if (next == before)
        return;
    session->state = next;
    session->since_ns = env_now_ns(manager->env);
    session->posted = session->wrote = session->read_good = false;
    session->retry_ns = 0;
    if (next >= CARRICK_SESSION_READING && next <= CARRICK_SESSION_READY)
        limit_ms = manager->section->timers.bringup_ms;
    else if (next == CARRICK_SESSION_ENDING)
        limit_ms = manager->section->timers.ending_ms;
    else if (next == CARRICK_SESSION_CLOSING)
        limit_ms = manager->section->timers.bringup_ms;
    session->deadline_ns = limit_ms == 0 ? 0 : session->since_ns + limit_ms * ENV_MS;
    log_record(manager->env, CARRICK_LOG_DEBUG, "session-state", manager->section->name, NULL,
               "%s after %s: %s", session_state_name(before), session_event_name(event),
               session_state_name(next));
    session_entered(manager);
    session_publish(manager);
}

void session_advance(struct manager *manager)
{
    struct session *session = &manager->session;
    enum carrick_session_state before;

    if (manager->advancing)
        return;
    manager->advancing = true;
    do {
        before = session->state;
        if (session->end_asked)
            session_fire(manager, session->end_now ? SESSION_EVENT_OVER : SESSION_EVENT_END);
        if (session->state == before)
            session_step(manager);
    } while (session->state != before);
    manager->advancing = false;
}

void session_advance_soon(struct manager *manager)
{
    manager->env->ops->timer_start(manager->soon, 0);
}

void session_tick(struct manager *manager, uint64_t now_ns)
{
    struct session *session = &manager->session;
    uint64_t lost_ns = manager->section->timers.session_lost_ms * ENV_MS;

    if (session->deadline_ns != 0 && now_ns > session->deadline_ns) {
        if (session->state == CARRICK_SESSION_ENDING)
            session->end_now = true;
        else if (session->state == CARRICK_SESSION_CLOSING)
            session_closing_overdue(manager, now_ns);
        else
            session_refuse(manager, CARRICK_REASON_DEADLINE, session_state_name(session->state));
    }
    if (session->state == CARRICK_SESSION_UP && session->lost_since_ns != 0 &&
        now_ns > session->lost_since_ns + lost_ns) {
        session->end_now = true;
        session_end(manager, CARRICK_REASON_LINK_LOST, "no link for longer than session_lost_ms");
    }
    session_advance(manager);
}

void session_end(struct manager *manager, uint32_t reason, const char *text)
{
    struct session *session = &manager->session;

    if (!session->end_asked) {
        session->end_asked = true;
        session->reason.reason = reason;
        session->reason.by_partner = false;
        session->reason.at_ns = env_now_ns(manager->env);
        snprintf(session->reason.text, sizeof(session->reason.text), "%s", text);
    }
    // With a partner that is gone, or is another one now, nothing can be ended in order.
    if (reason == CARRICK_REASON_PARTNER_RESTARTED || reason == CARRICK_REASON_PARTNER_ENDED ||
        reason == CARRICK_REASON_PROTOCOL)
        session->end_now = true;
    session_advance_soon(manager);
}

void session_refused(struct manager *manager, bool by_partner, uint32_t reason, const char *text)
{
    struct ending *refused = &manager->session.refused;
    bool again = refused->reason == reason; // by either: both find what does not agree
    char line[CAUSE_BYTES + 32];

    if (reason == CARRICK_REASON_DUPLICATE || reason == CARRICK_REASON_NOT_READY ||
        reason == CARRICK_REASON_STALE_SESSION)
        return; // passing states of two nodes that meet; the next attempt settles them
    *refused = (struct ending){.reason = reason,
                               .by_partner = by_partner,
                               .at_ns = again ? refused->at_ns : env_now_ns(manager->env)};
    snprintf(refused->text, sizeof(refused->text), "%s", text);
    snprintf(line, sizeof(line), "%s: %s", reason_name(reason), text);
    if (told_first(&manager->session.refusals, line))
        log_record(manager->env, CARRICK_LOG_WARNING, "session-refused", manager->section->name,
                   NULL, "%s refused: %s", by_partner ? "the partner" : "this node", line);
}

void session_refuse(struct manager *manager, uint32_t reason, const char *text)
{
    struct message message = {
        .type = MESSAGE_REFUSE, .session = manager->session.id, .end = {.reason = reason}};

    if (manager->session.end_asked)
        return;
    session_refused(manager, false, reason, text);
    snprintf(message.end.text, sizeof(message.end.text), "%s", text);
    manager->line.refusal = (uint16_t)reason;
    for (uint32_t i = 0; i < manager->link_count; i++) {
        struct conn *conn = manager->links[i].current;

        if (conn != NULL && lane_send_message(&conn->control, &message))
            conn->refusing = true;
    }
    session_end(manager, reason, text);
}

bool session_send(struct manager *manager, const struct message *message)
{
    for (uint32_t i = 0; i < manager->link_count; i++) {
        struct conn *conn = manager->links[i].current;

        if (conn != NULL && lane_send_message(&conn->control, message))
            return true;
    }
    return false;
}

// ---- what conns and links tell

static void session_bind(struct manager *manager, const struct peer_identity *partner)
{
    struct session *session = &manager->session;
    uint64_t incarnation[2];
    uint32_t generation[2];

    incarnation[manager->node] = manager->incarnation;
    generation[manager->node] = session->generation;
    incarnation[1 - manager->node] = partner->incarnation;
    generation[1 - manager->node] = partner->generation;
    session->bound = true;
    session->partner_incarnation = partner->incarnation;
    session->partner_generation = partner->generation;
    session->id = handshake_session_id(&manager->key, incarnation, generation);
}

uint32_t session_conn_proven(struct manager *manager, struct conn *conn)
{
    struct session *session = &manager->session;
    const struct peer_identity *partner = &conn->partner;

    if (session->state >= CARRICK_SESSION_ENDING || session->end_asked)
        return CARRICK_REASON_NOT_READY;
    if (!session->bound) {
        session_bind(manager, partner);
        return CARRICK_REASON_NONE;
    }
    if (partner->incarnation != session->partner_incarnation) {
        session_end(manager, CARRICK_REASON_PARTNER_RESTARTED, "the partner has started anew");
        return CARRICK_REASON_STALE_SESSION;
    }
    if (partner->generation != session->partner_generation) {
        if ((int32_t)(partner->generation - session->partner_generation) > 0)
            session_end(manager, CARRICK_REASON_PARTNER_ENDED, "the partner has ended the session");
        return CARRICK_REASON_STALE_SESSION;
    }
    return CARRICK_REASON_NONE;
}

void session_conn_joined(struct manager *manager, struct conn *conn)
{
    (void)conn;
    session_advance_soon(manager);
}

void session_conn_lost(struct manager *manager, struct conn *conn)
{
    struct session *session = &manager->session;
    bool any = false;

    for (uint32_t i = 0; i < manager->link_count; i++)
        any |= manager->links[i].current != NULL;
    if (session->boot == conn) {
        session->boot = NULL;
        // Bring-up is not carried over to another link: it begins again, which is simple and quick.
        if (session->state < CARRICK_SESSION_UP) {
            session->end_now = true;
            session_end(manager, CARRICK_REASON_LINK_LOST, "the link failed during bring-up");
        }
    }
    if (!any && session->state == CARRICK_SESSION_IDLE)
        session->bound = false;
    if (!any && session->state == CARRICK_SESSION_ENDING)
        session->end_now = true;
    session_advance_soon(manager);
}

void session_control_available(struct manager *manager)
{
    for (uint32_t i = 0; i < manager->link_count; i++)
        for (struct conn *conn = manager->links[i].conns, *next; conn != NULL; conn = next) {
            next = conn->next;
            if (conn->state == CONN_FENCING && !conn->fence_told) {
                conn->fence_sent_ns = 0;
                conn_fence_tick(conn, env_now_ns(manager->env));
            }
        }
    vi_open_again(manager);
}

void session_links_changed(struct manager *manager)
{
    struct session *session = &manager->session;
    uint32_t up = 0;

    for (uint32_t i = 0; i < manager->link_count; i++)
        up += link_is_up(&manager->links[i]) ? 1 : 0;
    manager->partner_status.links = manager->link_count;
    manager->partner_status.links_up = up;
    if (up > 0)
        session->lost_since_ns = 0;
    else if (session->lost_since_ns == 0)
        session->lost_since_ns = env_now_ns(manager->env);
}

void session_link_idle(struct manager *manager)
{
    if (manager->session.state == CARRICK_SESSION_CLOSING)
        session_advance_soon(manager);
}

void session_partner_ready(struct manager *manager)
{
    struct session *session = &manager->session;

    session->partner_ready = true;
    // At once, when it can be: the partner's clients may already be sending.
    if (session->state == CARRICK_SESSION_READY && session->wrote && !session->end_asked)
        session_fire(manager, SESSION_EVENT_BOTH_READY);
}

void session_partner_sends(struct manager *manager)
{
    struct session *session = &manager->session;

    // Its clients send only when it is up, so it has our READY, though we may not have been told so yet.
    if (session->state == CARRICK_SESSION_READY && session->partner_ready && !session->end_asked)
        session_fire(manager, SESSION_EVENT_BOTH_READY);
}

void session_partner_refused(struct manager *manager, uint32_t reason, const char *text)
{
    struct session *session = &manager->session;

    if (session->end_asked)
        return;
    session_end(manager, reason, text);
    session->reason.by_partner = true;
    session->end_now = true;
}

static void partner_ending(struct manager *manager, const struct message *message)
{
    struct session *session = &manager->session;
    char text[CAUSE_BYTES];

    if (session->end_asked)
        return;
    snprintf(text, sizeof(text), "the partner ends the session (%s)",
             reason_name(message->end.reason));
    session_end(manager, message->end.reason, text);
    session->reason.by_partner = true;
    session->end_now = session->state != CARRICK_SESSION_UP;
}

void session_message(struct conn *conn, const struct message *message)
{
    struct manager *manager = conn->link->manager;

    if (message->session != manager->session.id)
        return; // of a session that is over; what it said is void
    switch (message->type) {
    case MESSAGE_TABLE:
        session_table_message(manager, message);
        break;
    case MESSAGE_FENCED:
        conn_fenced_message(manager, message);
        break;
    case MESSAGE_ENDING:
        partner_ending(manager, message);
        break;
    case MESSAGE_ENDED:
        partner_ending(manager, message);
        manager->session.partner_ended = true;
        session_advance_soon(manager);
        break;
    case MESSAGE_VI_OPEN:
    case MESSAGE_VI_CLOSE:
    case MESSAGE_VI_HEARD:
        session_partner_sends(manager); // only a node whose session is up says so
        vi_message(manager, message);
        break;
    default:
        break;
    }
}
