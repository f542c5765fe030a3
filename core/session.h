// SPDX-License-Identifier: Apache-2.0
//
// The session: what joins this manager to its partner's, from the first read of the status line to the last word
// (DESIGN: bring-up, and its end). It is symmetrical: each side reads, writes, reads and writes, and no side is master.
//
//   session_table.c    the transitions, as a table; nothing else changes the state
//   session.c          the engine: events, deadlines, what outside happenings mean to the state
//   session_bringup.c  what each state of bring-up does
//   session_clients.c  client information: collected, told, matched, and what is built from it
//   session_end.c      the orderly end, and the clean-up after any
#ifndef CORE_SESSION_H
#define CORE_SESSION_H

#include "core/model.h"

enum session_event {
    SESSION_EVENT_JOINED, // a conn has joined: there is a way to read and write
    SESSION_EVENT_READ, // the partner's status line is whole and of the incarnation that was proven
    SESSION_EVENT_WROTE, // our peer information is written and announced
    SESSION_EVENT_TAKEN, // each side has taken the other's peer information, and one version rules
    SESSION_EVENT_TOLD,  // client information is exchanged
    SESSION_EVENT_BUILT, // regions and VIs are made
    SESSION_EVENT_BOTH_READY, // both sides have written READY
    SESSION_EVENT_END,        // to be ended in order
    SESSION_EVENT_OVER,       // clients and partner are done, or there is nobody to wait for
    SESSION_EVENT_CLOSED,     // nothing of it is left open
    SESSION_EVENT_COUNT
};

// session_table.c: the state that follows; the same state when the event means nothing in it.
enum carrick_session_state session_next(enum carrick_session_state state, enum session_event event);
const char *session_event_name(enum session_event event);

// session.c
void session_init(struct manager *manager);
// Does whatever the state can do now. Not from within a client's callback or a transport's event: use _soon there.
void session_advance(struct manager *manager);
void session_advance_soon(struct manager *manager);
void session_tick(struct manager *manager, uint64_t now_ns);
void session_fire(struct manager *manager, enum session_event event);
// Asks for the end. The first reason stands. It happens at the next session_advance.
void session_end(struct manager *manager, uint32_t reason, const char *text);
// This side refuses the partner: remembers it, tells it, ends.
void session_refuse(struct manager *manager, uint32_t reason, const char *text);
// Remembers a refusal for `carrick status`, and logs each cause once until a session is up.
void session_refused(struct manager *manager, bool by_partner, uint32_t reason, const char *text);
// Sends over any conn that is proven; false when there is none, or no room.
bool session_send(struct manager *manager, const struct message *message);
void session_publish(struct manager *manager); // the status line

// What conns and links tell it.
uint32_t session_conn_proven(struct manager *manager,
                             struct conn *conn); // enum carrick_reason; NONE: welcome
void session_conn_joined(struct manager *manager, struct conn *conn);
void session_conn_lost(struct manager *manager, struct conn *conn);
void session_control_available(struct manager *manager);
void session_links_changed(struct manager *manager);
void session_link_idle(struct manager *manager);
void session_message(struct conn *conn, const struct message *message);
void session_partner_refused(struct manager *manager, uint32_t reason, const char *text);
void session_partner_ready(struct manager *manager);
void session_partner_sends(
    struct manager *manager); // a client's send has come, before it is delivered

// session_bringup.c
void session_step(struct manager *manager);    // of the present state
void session_entered(struct manager *manager); // … when it begins
void session_table_message(struct manager *manager, const struct message *message);

// session_clients.c
int session_clients_tell(struct manager *manager, size_t *length); // into the scratch region
int session_clients_take(struct manager *manager, const void *data, size_t length);
// Asks those whose answers take time for the memory behind what the partner asks for; CARRICK_ERR_AGAIN: not all have
// answered yet.
int session_clients_provide(struct manager *manager);
// Answers an enum carrick_reason, and why.
uint32_t session_clients_build(struct manager *manager, char *why, size_t size);
void session_clients_register(struct manager *manager, struct link *link);
void session_clients_forget(struct manager *manager);
// Regions here that the partner's clients asked for, in the order in which both sides count them.
uint32_t session_here_count(const struct manager *manager);
uint32_t session_here_keys(const struct manager *manager, const struct link *link, uint32_t first,
                           struct carrick_remote_key *keys, uint32_t room);
// How many keys the partner will tell; false: not known yet.
bool session_there_count(const struct manager *manager, uint32_t *count);
// How many it can be at most: all that our clients have asked for in this bring-up.
uint32_t session_wanted_count(const struct manager *manager);

// manager.c
void manager_session_over(struct manager *manager);

// session_end.c
void session_ending_enter(struct manager *manager);
void session_ending_step(struct manager *manager);
void session_closing_enter(struct manager *manager);
void session_closing_step(struct manager *manager);
void session_closing_overdue(struct manager *manager, uint64_t now_ns);
void session_idle_enter(struct manager *manager);

#endif
