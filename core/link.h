// SPDX-License-Identifier: Apache-2.0
//
// Links: a device here, its partner there, and the conns between them. A link fails alone: each has its own state, cause
// and age, tries again with back-off and jitter, and after a flap is held back before it carries VIs again.
//
//   link.c         transport and device, events, trying again
//   link_domain.c  a domain for each session, and what is registered in it
//   link_state.c   what people and policies see
#ifndef CORE_LINK_H
#define CORE_LINK_H

#include "core/model.h"

// link.c

// Loads the transport and makes an instance. The device is opened by link_start, and again later if that fails.
int link_init(struct link *link, struct manager *manager, uint32_t index,
              struct carrick_error *error);
void link_start(struct link *link);
// Everything is closed (link_is_idle): ends the instance.
void link_free(struct link *link);
// Nothing of it is in use any more; link_start opens it again.
void link_close_device(struct link *link);

// Polls the device once. Returns the number of events.
unsigned link_poll(struct link *link);
void link_poll_soon(struct link *link);
// Makes sure that the loop wakes when the device has something to say.
void link_arm(struct link *link);

// Tries to open, prepare, listen or connect, whatever comes next: now, or after the back-off, which doubles with
// each try until the link is up.
void link_retry(struct link *link, bool now);

void link_admin_down(struct link *link, const char *why);
void link_admin_up(struct link *link);

// link_domain.c

// A new session: makes a domain and registers memory, then connects.
void link_prepare(struct link *link);
// The session has ended: fails all conns, ends registrations and the domain, keeps the device.
void link_unprepare(struct link *link, int status, const char *why);
bool link_is_idle(const struct link *link); // no conns, no domain

bool link_takes_registrations(const struct link *link);
void link_registrations_changed(struct link *link);
// why: the transport's words, or NULL.
void link_registration_failed(struct link *link, int status, const char *why);
// Outside of any call of a client: a failure takes effect.
void link_registration_settle(struct link *link);

// Fails all conns of the link.
void link_end_conns(struct link *link, int status, const char *why);
// A conn of the link has closed or is gone.
void link_conn_over(struct link *link);

// link_state.c

enum link_state link_state(const struct link *link);
const char *link_state_name(enum link_state state);
// Whether VIs may be placed on it now (the hold after a flap counts only while another link is eligible).
bool link_is_up(const struct link *link);
bool link_is_held(const struct link *link);
// It is down for a reason that lies at this node.
bool link_failed_here(const struct link *link);
// Notices a changed state: logs it once, with its cause, and tells the session.
void link_changed(struct link *link);

// Remembers a cause, to be shown with the state. While the link is not up, each cause is logged once.
void link_note(struct link *link, const char *cause);
void link_note_error(struct link *link, const char *cause); // one that wants an operator

#endif
