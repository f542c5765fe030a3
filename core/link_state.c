// SPDX-License-Identifier: Apache-2.0
//
// What people and policies see of a link: a state, a cause and an age, derived from its device and conns.
#include <stdio.h>

#include "core/conn.h"
#include "core/link.h"
#include "core/placement.h"
#include "core/session.h"

#define FLAPS_MAX 6u

enum link_state link_state(const struct link *link)
{
    enum link_state state = LINK_DOWN;

    if (link->admin_down)
        return LINK_ADMIN_DOWN;
    for (const struct conn *conn = link->conns; conn != NULL; conn = conn->next) {
        static const enum link_state shown[CONN_STATE_COUNT] = {
            [CONN_CONNECTING] = LINK_CONNECTING,
            [CONN_PROVING] = LINK_PROVING,
            [CONN_JOINING] = LINK_JOINING,
            [CONN_JOINED] = LINK_JOINING,
            [CONN_UP] = LINK_UP,
            [CONN_CLOSING] = LINK_FENCING,
            [CONN_FENCING] = LINK_FENCING,
        };
        // An answering conn that has not proven itself may be anybody's: it shows nothing of the link.
        if (!conn->initiator && conn->state < CONN_JOINING)
            continue;
        if (shown[conn->state] == LINK_UP)
            return LINK_UP;
        if (shown[conn->state] != LINK_FENCING)
            state = shown[conn->state];
        else if (state == LINK_DOWN && conn->fence_needed)
            state = LINK_FENCING;
    }
    return state;
}

const char *link_state_name(enum link_state state)
{
    static const char *const names[LINK_STATE_COUNT] = {
        [LINK_ADMIN_DOWN] = "admin-down", [LINK_DOWN] = "down",
        [LINK_CONNECTING] = "connecting", [LINK_PROVING] = "proving",
        [LINK_JOINING] = "joining",       [LINK_UP] = "up",
        [LINK_FENCING] = "fencing",
    };
    return names[state];
}

bool link_is_up(const struct link *link)
{
    return link->current != NULL && link->current->state == CONN_UP;
}

bool link_is_held(const struct link *link)
{
    return env_now_ns(link->manager->env) < link->hold_until_ns;
}

bool link_failed_here(const struct link *link)
{
    return link->admin_down || link->removed ||
           (link->device_state == LINK_DEVICE_NONE && link->opened_once) ||
           (link->carrier_down && link->down_here);
}

static void link_came_up(struct link *link, uint64_t now_ns)
{
    uint32_t hold_ms = link->manager->section->timers.hold_ms;

    link->up_since_ns = now_ns;
    // The first time costs nothing; each failure since then doubles the wait.
    link->hold_until_ns =
        link->flaps == 0 ? 0 : now_ns + ((uint64_t)hold_ms * ENV_MS << (link->flaps - 1));
    link->backoff_ms = link->manager->section->timers.backoff_min_ms;
    link->cause[0] = '\0';
    told_forget(&link->causes);
}

// It goes with its session, or by command.
static bool link_end_is_expected(const struct link *link)
{
    return link->ending || link->admin_down ||
           link->manager->session.state >= CARRICK_SESSION_ENDING;
}

static void link_went_down(struct link *link, uint64_t now_ns)
{
    uint64_t hold_ns = link->manager->section->timers.hold_ms * ENV_MS;

    link->latency_ns = 0;
    // A link that stayed up for long has earned its good name back.
    if (now_ns - link->up_since_ns > (hold_ns << FLAPS_MAX))
        link->flaps = 0;
    // That is no failure of the link.
    if (link_end_is_expected(link))
        return;
    link->failures++;
    if (link->flaps < FLAPS_MAX)
        link->flaps++;
}

static bool is_settled(enum link_state state)
{
    return state == LINK_UP || state == LINK_ADMIN_DOWN;
}

void link_changed(struct link *link)
{
    struct manager *manager = link->manager;
    enum link_state state = link_state(link), before = link->shown_state;
    uint64_t now_ns = env_now_ns(manager->env);

    if (state == before)
        return;
    // The age counts from when it went up or down, not from each attempt in between.
    if (is_settled(state) || is_settled(before))
        link->since_ns = now_ns;
    link->shown_state = state;
    if (state == LINK_UP) {
        link_came_up(link, now_ns);
        log_record(manager->env, CARRICK_LOG_NOTICE, "link-up", manager->section->name,
                   link->config->name, "link is up");
    } else if (before == LINK_UP) {
        link_went_down(link, now_ns);
        log_record(manager->env,
                   link_end_is_expected(link) ? CARRICK_LOG_INFO : CARRICK_LOG_WARNING, "link-down",
                   manager->section->name, link->config->name, "link is down: %s", link->cause);
    } else {
        log_record(manager->env, CARRICK_LOG_DEBUG, "link-state", manager->section->name,
                   link->config->name, "%s", link_state_name(state));
    }
    session_links_changed(manager);
}

static void note(struct link *link, int level, const char *cause)
{
    struct manager *manager = link->manager;

    snprintf(link->cause, sizeof(link->cause), "%s", cause);
    if (link->shown_state != LINK_UP && told_first(&link->causes, link->cause))
        log_record(manager->env, level, "link-cause", manager->section->name, link->config->name,
                   "%s", link->cause);
}

void link_note(struct link *link, const char *cause)
{
    note(link, CARRICK_LOG_INFO, cause);
}

void link_note_error(struct link *link, const char *cause)
{
    note(link, CARRICK_LOG_ERROR, cause);
}
