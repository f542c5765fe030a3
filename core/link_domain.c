// SPDX-License-Identifier: Apache-2.0
//
// A link has a domain for each session: memory is registered in it, and the link is ready when all of that has come. At
// its end first the conns end, then the registrations, then the domain.
#include <stdio.h>

#include "core/conn.h"
#include "core/link.h"
#include "core/locked.h"
#include "core/names.h"
#include "core/region.h"
#include "core/session.h"
#include "core/vi.h"

void link_prepare(struct link *link)
{
    struct manager *manager = link->manager;
    char why[CAUSE_BYTES];

    if (link->device_state != LINK_DEVICE_IDLE || link->removed || manager->stopping ||
        manager->session.state >= CARRICK_SESSION_ENDING)
        return;
    if (locked_take(manager, manager->session.asked_bytes, why, sizeof(why)) != CARRICK_OK) {
        link_note(link, why);
        link_retry(link, false);
        return;
    }
    if (link->ops->domain_create(link->device, &link->domain) != CARRICK_OK) {
        link_note(link, "no protection domain can be made");
        link_retry(link, false);
        return;
    }
    link->device_state = LINK_DEVICE_PREPARING;
    link->registration_status = CARRICK_OK;
    link->ending = false;
    region_register_all(link);
    session_clients_register(manager, link);
    link_registrations_changed(link);
}

// A client may be in the middle of region_create: what the end of the link brings it must come after that returns.
void link_registration_failed(struct link *link, int status, const char *why)
{
    link_poll_soon(link);
    if (link->registration_status != CARRICK_OK)
        return; // the first of them says it
    link->registration_status = status;
    if (why != NULL)
        snprintf(link->registration_why, sizeof(link->registration_why), "%s", why);
    else
        snprintf(link->registration_why, sizeof(link->registration_why),
                 "memory could not be registered: %s", status_name(status));
}

void link_registration_settle(struct link *link)
{
    int status = link->registration_status;

    if (status == CARRICK_OK)
        return;
    link->registration_status = CARRICK_OK;
    // Without all of its memory the link carries nothing: it begins again, with back-off.
    link_note_error(link, link->registration_why);
    if (link_takes_registrations(link))
        link_unprepare(link, status, link->registration_why);
}

bool link_takes_registrations(const struct link *link)
{
    return (link->device_state == LINK_DEVICE_PREPARING ||
            link->device_state == LINK_DEVICE_READY) &&
           !link->ending;
}

static void link_domain_end(struct link *link)
{
    link->ops->domain_destroy(link->domain);
    link->domain = NULL;
    locked_give_back(link->manager);
    link->device_state = LINK_DEVICE_IDLE;
    link->ending = false;
    if (link->removed)
        link_close_device(link);
    link_retry(link, false);
    session_link_idle(link->manager);
}

void link_registrations_changed(struct link *link)
{
    struct manager *manager = link->manager;

    if (link->device_state == LINK_DEVICE_ENDING) {
        if (link->registrations == 0)
            link_domain_end(link);
        return;
    }
    // There may be thousands of them: they are looked through once, when the last has come.
    if (link->making > 0)
        return;
    if (link->device_state == LINK_DEVICE_PREPARING && !link->ending &&
        region_use_ready(manager, REGION_STATUS, link) &&
        region_use_ready(manager, REGION_INBOX, link) &&
        region_use_ready(manager, REGION_LOCAL, link)) {
        link->device_state = LINK_DEVICE_READY;
        link_retry(link, manager->session.failures == 0);
    }
    if (link->current != NULL)
        conn_advance(link->current);
    session_advance_soon(manager);
    vi_link_changed(link);
}

void link_end_conns(struct link *link, int status, const char *why)
{
    for (struct conn *conn = link->conns, *next; conn != NULL; conn = next) {
        next = conn->next;
        conn_fail(conn, status, why);
    }
}

void link_unprepare(struct link *link, int status, const char *why)
{
    if (link_takes_registrations(link)) {
        link->ending = true;
        link_end_conns(link, status, why);
    }
    link_conn_over(link);
}

static bool link_has_endpoints(const struct link *link)
{
    for (const struct conn *conn = link->conns; conn != NULL; conn = conn->next)
        if (conn->state != CONN_FENCING)
            return true;
    return false;
}

void link_conn_over(struct link *link)
{
    // With the session go the fences that nobody waits for any more.
    for (struct conn *conn = link->conns, *next;
         conn != NULL && link->manager->session.state == CARRICK_SESSION_CLOSING; conn = next) {
        next = conn->next;
        if (conn->state == CONN_FENCING)
            conn_drop(conn);
    }
    // Registrations are ended only when no endpoint can use them any more.
    if (link->ending && !link_has_endpoints(link) && link->device_state != LINK_DEVICE_ENDING) {
        link->device_state = LINK_DEVICE_ENDING;
        region_deregister_all(link);
        link_registrations_changed(link);
    } else if (!link->ending && !link_has_endpoints(link)) {
        link_retry(link, false);
    }
    link_changed(link);
    session_link_idle(link->manager);
}

bool link_is_idle(const struct link *link)
{
    return link->conns == NULL && link->domain == NULL;
}
