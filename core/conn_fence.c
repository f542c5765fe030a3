// SPDX-License-Identifier: Apache-2.0
//
// After the end of a conn: no ghost writes, nor by our own replay (DESIGN: what survives a link).
//
// Each node closes all endpoints of the conn and waits for CLOSED; from then on nothing of the old path can touch its
// memory. Only then does it tell the partner, over any other way there is, how far each lane came (FENCED). A VI goes
// on by another lane when its own side is closed *and* the partner's FENCED has come: what that says was applied is done,
// and only the rest is posted again.
//
// FENCED is repeated until the partner says that it has it ("seen"). A node that does not know the conn answers with no
// lanes and "seen": either it never joined, and nothing arrived over it, or both have settled it long ago.
#include <string.h>

#include "core/conn.h"
#include "core/lane.h"
#include "core/link.h"
#include "core/session.h"
#include "core/vi.h"

static void fence_send(struct conn *conn)
{
    struct manager *manager = conn->link->manager;
    struct message message = {
        .type = MESSAGE_FENCED,
        .session = manager->session.id,
        .fenced =
            {
                .connection = conn->id,
                .link = conn->link->index,
                .seen = conn->fence_heard,
                .lanes = conn->lane_count,
            },
    };

    for (uint32_t i = 0; i < conn->lane_count; i++) {
        message.fenced.applied[i] = conn->lanes[i].applied;
        message.fenced.sends[i] = conn->lanes[i].sends_received;
    }
    conn->fence_sent_ns = env_now_ns(manager->env);
    session_send(manager, &message);
}

static void fence_settle(struct conn *conn)
{
    for (uint32_t i = 0; i < conn->lane_count; i++) {
        struct lane *lane = &conn->lanes[i];
        uint64_t applied = lane_applied_by_sends(lane, conn->theirs[i].sends);

        if (conn->theirs[i].applied != FENCE_UNKNOWN && conn->theirs[i].applied > applied)
            applied = conn->theirs[i].applied;
        if (applied > lane_applied_at_most(lane, conn->theirs[i].sends))
            applied = lane_applied_at_most(lane, conn->theirs[i].sends);
        if (conn->link->manager->break_replay)
            applied = lane->head;
        lane_settle(lane, applied);
    }
    vi_fence_over(conn);
}

static void fence_free_if_over(struct conn *conn)
{
    struct link *link = conn->link;

    if (!conn->fence_heard || !conn->fence_told)
        return;
    conn_free(conn);
    link_changed(link);
}

void conn_closed(struct conn *conn)
{
    struct link *link = conn->link;
    bool session_over = link->manager->session.state == CARRICK_SESSION_CLOSING;

    lane_settle(&conn->control, conn->control.head);
    if (!conn->fence_needed || session_over) {
        conn_drop(conn);
    } else {
        conn_enter(conn, CONN_FENCING);
        if (conn->fence_heard)
            fence_settle(conn);
        fence_send(conn);
    }
    link_conn_over(link);
}

// A partner that has a link to us, but never says how far the old one came, holds our VIs for ever.
static bool fence_is_overdue(const struct conn *conn, uint64_t now_ns)
{
    const struct manager *manager = conn->link->manager;
    uint64_t limit_ns = (uint64_t)manager->section->timers.session_lost_ms * ENV_MS;

    return !conn->fence_heard && manager->session.state == CARRICK_SESSION_UP &&
           manager->session.lost_since_ns == 0 && now_ns > conn->since_ns + 2 * limit_ns;
}

void conn_fence_tick(struct conn *conn, uint64_t now_ns)
{
    uint64_t interval_ns = conn->link->manager->section->timers.probe_ms * ENV_MS;

    if (fence_is_overdue(conn, now_ns))
        session_end(conn->link->manager, CARRICK_REASON_DEADLINE,
                    "the partner does not confirm the end of a failed link");

    if (!conn->fence_told && now_ns >= conn->fence_sent_ns + interval_ns)
        fence_send(conn);
}

static struct conn *conn_by_id(struct manager *manager, uint32_t link, uint64_t id)
{
    if (link >= manager->link_count)
        return NULL;
    for (struct conn *conn = manager->links[link].conns; conn != NULL; conn = conn->next)
        if (conn->id == id && conn->state >= CONN_JOINING)
            return conn;
    return NULL;
}

static void fence_answer_unknown(struct manager *manager, const struct message *message)
{
    struct message answer = {
        .type = MESSAGE_FENCED,
        .session = manager->session.id,
        .fenced = {.connection = message->fenced.connection,
                   .link = message->fenced.link,
                   .seen = 1},
    };

    // Only what needs an answer gets one, else two nodes that both forgot would answer each other for ever.
    if (message->fenced.lanes > 0)
        session_send(manager, &answer);
}

static void fence_take(struct conn *conn, const struct message *message)
{
    if (message->fenced.seen != 0)
        conn->fence_told = true;
    if (conn->fence_heard)
        return;
    for (uint32_t i = 0; i < conn->lane_count; i++) {
        bool told = i < message->fenced.lanes;

        conn->theirs[i].applied = told ? message->fenced.applied[i] : 0;
        conn->theirs[i].sends = told ? message->fenced.sends[i] : 0;
    }
    conn->fence_heard = true;
    if (conn->state == CONN_FENCING)
        fence_settle(conn);
}

void conn_fenced_message(struct manager *manager, const struct message *message)
{
    struct conn *conn = conn_by_id(manager, message->fenced.link, message->fenced.connection);

    if (conn == NULL) {
        fence_answer_unknown(manager, message);
        return;
    }
    // The partner has noticed first. Its word is kept until our own side is closed, too.
    if (conn_is_live(conn))
        conn_fail(conn, CARRICK_ERR_CLOSED, "the partner found the link dead");
    fence_take(conn, message);
    if (conn->state == CONN_FENCING) {
        if (message->fenced.seen == 0)
            fence_send(conn);
        fence_free_if_over(conn);
    }
}
