// SPDX-License-Identifier: Apache-2.0
//
// Conns: one connection of a link, from the first request to the last word about what arrived over it.
//
//   conn.c        making, failing, closing, freeing; events of its endpoints; its clock
//   conn_prove.c  who we are: REQUEST, REPLY, PROOF, WELCOME
//   conn_join.c   data lanes, keys of regions
//   conn_fence.c  after its end: what arrived, both ways
#ifndef CORE_CONN_H
#define CORE_CONN_H

#include "core/model.h"

// conn.c
struct conn *conn_create(struct link *link, bool initiator);
// Ends it: closes all endpoints; the fence follows when it carried data. why is shown with the link. A conn that is
// ending already is left alone.
void conn_fail(struct conn *conn, int status, const char *why);
// The same, after telling the partner the reason.
void conn_refuse(struct conn *conn, uint32_t reason, const char *text);
void conn_event(const struct carrick_event *event);
void conn_tick(struct conn *conn, uint64_t now_ns);
// The manager itself was held up: what did not come meanwhile says nothing about the partner.
void conn_forgive(struct conn *conn, uint64_t now_ns);
void conn_enter(struct conn *conn, enum conn_state state);
// The session is over: nothing is waited for, what is on record is dropped. Only with all endpoints closed.
void conn_drop(struct conn *conn);
void conn_free(struct conn *conn);
bool conn_is_live(const struct conn *conn); // not ending

// conn_prove.c
void conn_connect(struct link *link);
void conn_requested(struct link *link, const struct carrick_event *event);
void conn_control_connected(struct conn *conn, const struct carrick_event *event);
// PROOF, WELCOME.
void conn_prove_message(struct conn *conn, const struct message *message);

// conn_join.c
void conn_join(struct conn *conn);
void conn_lane_requested(struct link *link, const struct carrick_event *event);
void conn_lane_connected(struct lane *lane, const struct carrick_event *event);
void conn_lane_mark(struct lane *lane, uint64_t mark);
// Sends our keys when the session has got so far, and takes the conn into use when the partner's are known.
void conn_advance(struct conn *conn);
void conn_keys_message(struct conn *conn, const struct message *message);

// conn_fence.c
void conn_closed(struct conn *conn); // all endpoints are CLOSED
void conn_fence_tick(struct conn *conn, uint64_t now_ns);
void conn_fenced_message(struct manager *manager, const struct message *message);

#endif
