// SPDX-License-Identifier: Apache-2.0
//
// Opening and closing VIs while the session is up (docs/protocol.md, "Openings of a VI").
//
// Openings of one VI are numbered, and those of the two nodes belong together when they bear the same number; every
// send bears it, so nothing of an earlier opening is taken for one of a later. A number is new for its node, and at
// least that of the partner's opening; an opening that waits for its partner goes up to the partner's number.
//
// What a node tells of a VI is a state, not an event: "my opening n is open", "… is closed". It is told again, over
// whatever conn there is, until the partner has answered that it knows; and an opening is told, and joined, only when
// the end of the one before it is known there. So neither a full lane nor a lost conn loses anything, and the end of an
// opening can never be overtaken by the next one. All of it belongs to the session, and is forgotten with it.
#include "core/vi.h"

#include <stdlib.h>
#include <string.h>

#include "core/client.h"
#include "core/conn.h"
#include "core/lane.h"
#include "core/placement.h"
#include "core/session.h"

// ---- telling

static bool announce(const struct vi_opening *opening, uint16_t type, uint32_t number,
                     uint32_t heard, uint64_t sends)
{
    struct manager *manager = opening->client->manager;
    struct message message = {
        .type = type,
        .session = manager->session.id,
        .vi = {.identity = vi_identity(opening->client->rank,
                                       (uint32_t)(opening - opening->client->openings)),
               .opening = number,
               .heard = heard,
               .sends = sends},
    };

    // There can be thousands of them: what keeps links and sessions together must find room, too.
    for (uint32_t i = 0; i < manager->link_count; i++) {
        struct conn *conn = manager->links[i].current;

        if (conn != NULL && lane_places(&conn->control, CARRICK_OP_SEND) > CONTROL_RESERVE &&
            lane_send_message(&conn->control, &message))
            return true;
    }
    return false;
}

static struct vi *opening_vi(const struct vi_opening *opening)
{
    return opening->client->vis[opening - opening->client->openings];
}

static bool opening_is_unheard(const struct vi_opening *opening)
{
    return opening->closing != 0 || (opening_vi(opening) != NULL && !opening->heard);
}

// Says what there is to say; false: there is no room.
static bool opening_tell(struct vi_opening *opening)
{
    struct manager *manager = opening->client->manager;

    if (opening->answer_close != 0 &&
        !announce(opening, MESSAGE_VI_HEARD, opening->answer_close, MESSAGE_VI_CLOSE, 0))
        return false;
    opening->answer_close = 0;
    if (opening->answer_open != 0 &&
        !announce(opening, MESSAGE_VI_HEARD, opening->answer_open, MESSAGE_VI_OPEN, 0))
        return false;
    opening->answer_open = 0;
    if (opening->told || !opening_is_unheard(opening))
        return true;
    if (opening->closing != 0
            ? !announce(opening, MESSAGE_VI_CLOSE, opening->closing, 0, opening->closing_sends)
            : !announce(opening, MESSAGE_VI_OPEN, opening->here, 0, 0))
        return false;
    opening->told = true;
    opening->told_ns = env_now_ns(manager->env);
    manager->vis_unheard = true;
    return true;
}

void vi_tell_some(struct manager *manager)
{
    while (manager->telling != NULL) {
        struct vi_opening *opening = manager->telling;

        if (!opening_tell(opening))
            return; // goes on with a completion on a control lane, a new conn, or the tick
        manager->telling = opening->next;
        opening->queued = false;
    }
}

static void opening_queue(struct vi_opening *opening)
{
    struct manager *manager = opening->client->manager;

    if (opening->queued)
        return;
    if (manager->telling == NULL)
        manager->telling_end = &manager->telling;
    opening->queued = true;
    opening->next = NULL;
    *manager->telling_end = opening;
    manager->telling_end = &opening->next;
}

// It has something new to tell.
static void opening_changed(struct vi_opening *opening)
{
    opening->told = false;
    opening_queue(opening);
    vi_tell_some(opening->client->manager);
}

static void tell_again(struct manager *manager, uint64_t told_before_ns)
{
    bool unheard = false;

    for (uint32_t i = 0; manager->vis_unheard && i < manager->ranked_count; i++)
        for (uint32_t j = 0; j < manager->ranked[i]->vis_room; j++) {
            struct vi_opening *opening = &manager->ranked[i]->openings[j];

            if (opening->client == NULL || !opening_is_unheard(opening))
                continue;
            unheard = true;
            if (opening->told && opening->told_ns <= told_before_ns) {
                opening->told = false;
                opening_queue(opening);
            }
        }
    manager->vis_unheard = unheard;
    vi_tell_some(manager);
}

void vi_open_again(struct manager *manager)
{
    tell_again(manager, UINT64_MAX);
}

void vi_open_tick(struct manager *manager, uint64_t now_ns)
{
    uint64_t wait_ns = 2 * manager->section->timers.probe_ms * ENV_MS;

    tell_again(manager, now_ns < wait_ns ? 0 : now_ns - wait_ns);
}

void vi_open_forget(struct manager *manager)
{
    for (uint32_t i = 0; i < manager->client_count; i++)
        if (manager->clients[i].openings != NULL)
            memset(manager->clients[i].openings, 0,
                   manager->clients[i].vis_room * sizeof(*manager->clients[i].openings));
    manager->telling = NULL;
    manager->vis_unheard = false;
}

// ---- joining

struct vi_opening *vi_opening(struct client *client, uint32_t number)
{
    struct vi_opening *opening;

    if (vi_table_room(client, number) != CARRICK_OK)
        return NULL;
    opening = &client->openings[number];
    opening->client = client;
    return opening;
}

static struct vi_opening *opening_of(const struct vi *vi)
{
    return &vi->client->openings[vi->number];
}

static bool partner_is_open(const struct vi_opening *opening)
{
    return opening->there > opening->there_over;
}

static void vi_renumber(struct vi *vi, uint32_t number)
{
    struct vi_opening *opening = opening_of(vi);

    vi->opening = opening->here = number;
    opening->heard = false;
    opening_changed(opening);
}

static void vi_join(struct vi *vi)
{
    vi->state = CARRICK_VI_STALLED;
    placement_place(vi);
}

static void vi_join_if_both(struct vi *vi)
{
    struct vi_opening *opening = opening_of(vi);

    // While the partner may not know of the end of the opening before, it may not know of this one.
    if (vi->state != CARRICK_VI_OPENING || vi->closing || opening->closing != 0 ||
        !partner_is_open(opening))
        return;
    if (opening->there > vi->opening)
        vi_renumber(vi, opening->there);
    if (opening->there == vi->opening)
        vi_join(vi);
}

void vi_sent_to(struct vi *vi)
{
    struct vi_opening *opening = opening_of(vi);

    if (vi->state != CARRICK_VI_OPENING)
        return;
    if (opening->there < vi->opening)
        opening->there = vi->opening;
    vi_join(vi);
}

// ---- by the client

int vi_open(struct client *client, uint32_t number, struct vi **out)
{
    struct vi_opening *opening;
    struct vi *vi;

    if (client->manager->session.state != CARRICK_SESSION_UP || !client->told_ready)
        return CARRICK_ERR_STATE;
    if (number >= CARRICK_CLIENT_VIS_MAX)
        return CARRICK_ERR_LIMIT;
    opening = vi_opening(client, number);
    if (opening == NULL)
        return CARRICK_ERR_NO_MEMORY;
    if (client->vis[number] != NULL)
        return CARRICK_ERR_EXISTS;
    if (opening->here >= VI_OPENING_MAX || opening->there >= VI_OPENING_MAX)
        return CARRICK_ERR_LIMIT;
    vi = vi_make(client, number);
    if (vi == NULL)
        return CARRICK_ERR_NO_MEMORY;
    opening->here = (opening->here > opening->there_over ? opening->here : opening->there_over) + 1;
    if (partner_is_open(opening) && opening->there > opening->here)
        opening->here = opening->there;
    vi->opening = opening->here;
    opening->heard = false;
    opening_changed(opening);
    *out = vi;
    // Its partner may wait already. Joining calls the client, which must not be from within its own call.
    client->manager->vis_changed = true;
    session_advance_soon(client->manager);
    return CARRICK_OK;
}

static void vi_closed(struct vi *vi)
{
    struct vi_opening *opening = opening_of(vi);

    vi_complete_all(vi, CARRICK_ERR_CANCELLED);
    vi_unplace(vi);
    client_flush(vi->client);
    // One that was opened before the end of its forerunner was known has neither been told nor joined.
    if (opening->closing == 0) {
        opening->closing = vi->opening;
        opening->closing_sends = vi->sends_done;
    }
    vi_detach(vi); // the client may open the number anew when it is told
    opening_changed(opening);
    vi_enter(vi, CARRICK_VI_CLOSED);
    vi_free(vi);
}

// What is on a lane must come back first: until then the path can still touch the operation's buffers.
void vi_close_if_drained(struct vi *vi)
{
    struct manager *manager = vi->client->manager;

    if (vi->closing && vi->inflight == 0 && vi->fence == NULL) {
        vi_closed(vi);
        session_advance_soon(manager);
    }
}

void vi_changes(struct manager *manager)
{
    manager->vis_changed = false;
    for (uint32_t i = 0; i < manager->ranked_count; i++)
        for (uint32_t j = 0; j < manager->ranked[i]->vis_room; j++) {
            struct vi *vi = manager->ranked[i]->vis[j];

            if (vi == NULL)
                continue;
            if (vi->closing)
                vi_close_if_drained(vi);
            else
                vi_join_if_both(vi);
        }
}

int vi_close(struct vi *vi)
{
    if (vi->closing)
        return CARRICK_ERR_STATE;
    vi->closing = true;
    // Never from within the client's own call: the handle goes with vi_changed(CLOSED).
    vi->client->manager->vis_changed = true;
    session_advance_soon(vi->client->manager);
    return CARRICK_OK;
}

// ---- what the partner says of them

static void partner_closed(struct vi *vi, uint32_t number, uint64_t sends)
{
    if (vi->closing || vi->opening > number)
        return;
    if (vi->state == CARRICK_VI_OPENING && (vi->opening < number || sends == 0)) {
        // It never carried anything, and goes on waiting for an opening of the partner.
        vi_renumber(vi, number + 1);
        return;
    }
    // Joined there and not yet here: its sends come before its end.
    vi_sent_to(vi);
    if (vi->received_sequence >= sends)
        vi_close(vi);
    else
        vi->close_after = sends;
}

static void close_heard(struct vi_opening *opening, struct vi *vi, const struct message *message)
{
    uint32_t number = message->vi.opening;

    if (number > opening->there)
        opening->there = number;
    if (number > opening->there_over) {
        opening->there_over = number;
        if (vi != NULL)
            partner_closed(vi, number, message->vi.sends);
    }
    if (number > opening->answer_close)
        opening->answer_close = number;
    opening_queue(opening);
}

static void open_heard(struct vi_opening *opening, struct vi *vi, uint32_t number)
{
    if (number > opening->there)
        opening->there = number;
    if (number > opening->answer_open)
        opening->answer_open = number;
    opening_queue(opening);
    if (vi != NULL)
        vi_join_if_both(vi);
}

static void answer_heard(struct vi_opening *opening, struct vi *vi, const struct message *message)
{
    if (message->vi.heard == MESSAGE_VI_OPEN && message->vi.opening == opening->here &&
        opening->closing == 0)
        opening->heard = true;
    if (message->vi.heard != MESSAGE_VI_CLOSE || message->vi.opening != opening->closing)
        return;
    opening->closing = 0;
    if (vi == NULL)
        return;
    opening_changed(opening);
    vi_join_if_both(vi);
}

void vi_message(struct manager *manager, const struct message *message)
{
    bool ending = manager->session.state == CARRICK_SESSION_ENDING;
    struct client *client = vi_client(manager, message->vi.identity);
    struct vi_opening *opening;
    struct vi *vi;

    // Not answered, it comes again.
    if (client == NULL || (manager->session.state != CARRICK_SESSION_UP && !ending))
        return;
    opening = vi_opening(client, (uint32_t)message->vi.identity);
    if (opening == NULL)
        return;
    vi = client->vis[(uint32_t)message->vi.identity];
    if (message->type == MESSAGE_VI_HEARD)
        answer_heard(opening, vi, message);
    else if (message->type == MESSAGE_VI_CLOSE)
        close_heard(opening, vi, message);
    else if (!ending)
        open_heard(opening, vi, message->vi.opening);
    vi_tell_some(manager);
}
