// SPDX-License-Identifier: Apache-2.0
//
// Termination (claims 22, 23, 30): clients are told that the end is coming and by when; they close their VIs, or have
// them closed at the deadline; then everything is closed, and bring-up begins again.
#include <stdio.h>

#include "core/client.h"
#include "core/conn.h"
#include "core/link.h"
#include "core/names.h"
#include "core/session.h"
#include "core/vi.h"

static void end_tell(struct manager *manager, uint16_t type)
{
    struct message message = {
        .type = type,
        .session = manager->session.id,
        .end = {.reason = manager->session.reason.reason,
                .time_ms = manager->section->timers.ending_ms},
    };

    snprintf(message.end.text, sizeof(message.end.text), "%s", manager->session.reason.text);
    session_send(manager, &message);
}

void session_ending_enter(struct manager *manager)
{
    struct session *session = &manager->session;

    log_record(manager->env, CARRICK_LOG_NOTICE, "session-ending", manager->section->name, NULL,
               "session %016llx is to end (%s): %s", (unsigned long long)session->id,
               reason_name(session->reason.reason), session->reason.text);
    if (!session->reason.by_partner)
        end_tell(manager, MESSAGE_ENDING);
    clients_ending(manager, session->reason.reason, session->deadline_ns);
}

// Without a link nothing is said, heard or completed any more: a takeover, which waits for this end, must not wait for a
// dead partner's word.
static bool nobody_hears(const struct manager *manager)
{
    uint64_t lost_ns = manager->session.lost_since_ns;

    return lost_ns != 0 &&
           env_now_ns(manager->env) >= lost_ns + manager->section->timers.link_dead_ms * ENV_MS;
}

void session_ending_step(struct manager *manager)
{
    struct session *session = &manager->session;

    if (vi_open_count(manager) == 0 && !session->told_ended) {
        session->told_ended = true;
        end_tell(manager, MESSAGE_ENDED);
    }
    if ((session->told_ended && session->partner_ended) || nobody_hears(manager))
        session_fire(manager, SESSION_EVENT_OVER);
}

void session_closing_enter(struct manager *manager)
{
    for (uint32_t i = 0; i < manager->link_count; i++)
        link_unprepare(&manager->links[i], CARRICK_ERR_SESSION_ENDED, "the session has ended");
}

void session_closing_step(struct manager *manager)
{
    for (uint32_t i = 0; i < manager->link_count; i++)
        if (!link_is_idle(&manager->links[i]))
            return;
    session_fire(manager, SESSION_EVENT_CLOSED);
}

static void link_say_stuck(struct link *link, uint64_t since_ms)
{
    uint32_t endpoints = 0;
    char text[CAUSE_BYTES];

    for (const struct conn *conn = link->conns; conn != NULL; conn = conn->next)
        endpoints += conn->open_endpoints;
    snprintf(text, sizeof(text),
             "its transport %s has not closed %u endpoints and %u registrations for %llu ms",
             link->config->transport, endpoints, link->registrations, (unsigned long long)since_ms);
    link_note(link, text);
    log_record(link->manager->env, CARRICK_LOG_ERROR, "session-stuck", link->manager->section->name,
               link->config->name,
               "%s: the partner may still reach this node's memory by them, so there is no new "
               "session; if it stays so, the daemon must be started anew",
               text);
}

// CLOSED and DEREGISTERED are the proof that nothing of the session can touch memory any more. Without them nothing
// may be used again, and clients are not told that it has ended, however long that takes: it is only said, at growing
// intervals, by name.
void session_closing_overdue(struct manager *manager, uint64_t now_ns)
{
    struct session *session = &manager->session;
    uint64_t since_ns = now_ns - session->since_ns;

    session->deadline_ns = now_ns + since_ns;
    for (uint32_t i = 0; i < manager->link_count; i++)
        if (!link_is_idle(&manager->links[i]))
            link_say_stuck(&manager->links[i], since_ns / ENV_MS);
}

static void session_forget(struct manager *manager)
{
    struct session *session = &manager->session;

    session->generation++;
    session->bound = false;
    session->partner_incarnation = 0;
    session->partner_generation = 0;
    session->id = 0;
    session->version = 0;
    session->boot = NULL;
    session->peer_taken = session->partner_took = session->clients_known = false;
    session->told_clients = false;
    session->partner_ready = session->partner_ended = session->told_ended = false;
    session->end_asked = session->end_now = false;
    manager->line.refusal = CARRICK_REASON_NONE;
}

void session_idle_enter(struct manager *manager)
{
    struct session *session = &manager->session;

    session->last_end = session->reason;
    session->last_end.at_ns = env_now_ns(manager->env);
    // Attempts that never came up are told at another place: their refusal, or the link's cause.
    log_record(manager->env, session->was_up ? CARRICK_LOG_NOTICE : CARRICK_LOG_DEBUG,
               session->was_up ? "session-ended" : "session-failed", manager->section->name, NULL,
               "session with %s has ended (%s): %s", manager->partner_name,
               reason_name(session->reason.reason), session->reason.text);
    clients_ended(manager, session->reason.reason);
    session_clients_forget(manager);
    if (!session->was_up)
        session->failures++;
    session->was_up = false;
    session_forget(manager);
    manager_session_over(manager);
    for (uint32_t i = 0; i < manager->link_count; i++)
        link_prepare(&manager->links[i]);
}
