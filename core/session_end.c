// SPDX-License-Identifier: Apache-2.0
//
// Termination (claims 22, 23, 30): clients are told that the end is coming and by when; they close their VIs, or have
// them closed at the deadline; then everything is closed, and bring-up begins again.
#include <stdio.h>

#include "core/client.h"
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

void session_ending_step(struct manager *manager)
{
    struct session *session = &manager->session;

    if (vi_open_count(manager) == 0 && !session->told_ended) {
        session->told_ended = true;
        end_tell(manager, MESSAGE_ENDED);
    }
    if (session->told_ended && session->partner_ended)
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
