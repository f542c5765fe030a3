// SPDX-License-Identifier: Apache-2.0
//
// What is known of the partner. Three things speak for it: the heartbeat in its status line, as remote reads show it,
// the beats of its failover monitor, and the links of the session.
#include "failover.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *fo_partner_state_name(enum partner_state state)
{
    static const char *const names[PARTNER_STATE_COUNT] = {"unseen",      "up",   "suspect", "hung",
                                                           "unreachable", "dead", "booting"};

    return state < PARTNER_STATE_COUNT ? names[state] : "?";
}

void fo_monitor_init(struct failover *failover)
{
    struct monitor *monitor = &failover->monitor;

    monitor->since_ns = monitor->ticked_ns = failover_now_ns(failover);
    snprintf(monitor->reason, sizeof monitor->reason, "not seen since this node started");
}

void fo_monitor_heard(struct failover *failover)
{
    struct monitor *monitor = &failover->monitor;

    monitor->heard_awake_ns = monitor->awake_ns;
    monitor->heard_ever = true;
    monitor->said_stop = false;
}

static void enter(struct failover *failover, enum partner_state state, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void enter(struct failover *failover, enum partner_state state, const char *format, ...)
{
    struct monitor *monitor = &failover->monitor;
    va_list arguments;

    if (monitor->state == state)
        return;
    va_start(arguments, format);
    vsnprintf(monitor->reason, sizeof monitor->reason, format, arguments);
    va_end(arguments);
    // Each end of a session makes a suspect of the partner, and the next session ends that.
    bool passing =
        state == PARTNER_SUSPECT || (state == PARTNER_UP && monitor->state == PARTNER_SUSPECT);
    failover_say(failover,
                 passing               ? CARRICK_LOG_INFO
                 : state == PARTNER_UP ? CARRICK_LOG_NOTICE
                                       : CARRICK_LOG_WARNING,
                 "partner %s after %s: %s", fo_partner_state_name(state),
                 fo_partner_state_name(monitor->state), monitor->reason);
    monitor->state = state;
    monitor->since_ns = failover_now_ns(failover);
}

// A tick that comes late says that this process did not run: what it did not hear meanwhile is not the partner's
// silence. So time counts by ticks, each for two intervals at most.
static void wake(struct failover *failover)
{
    struct monitor *monitor = &failover->monitor;
    uint64_t now_ns = failover_now_ns(failover), passed_ns = now_ns - monitor->ticked_ns;
    uint64_t most_ns = 2 * failover->config.timers.beat_ms * MS;

    monitor->awake_ns += passed_ns < most_ns ? passed_ns : most_ns;
    monitor->ticked_ns = now_ns;
}

const char *fo_boot_stage_name(uint32_t stage)
{
    static const char *const names[] = {"unknown", "initramfs", "root", "services", "serving"};

    return stage < sizeof names / sizeof names[0] ? names[stage] : "?";
}

bool fo_monitor_boots_in_time(const struct failover *failover)
{
    const struct monitor *monitor = &failover->monitor;

    return monitor->boots && !failover->session && !(failover->break_rules & FAILOVER_BREAK_BOOT) &&
           (!monitor->heard_ever || monitor->heard_awake_ns < monitor->boot_awake_ns) &&
           monitor->awake_ns - monitor->boot_awake_ns < failover->config.timers.boot_ms * MS;
}

static void look_at_boot(struct monitor *monitor, const struct carrick_partner_status *status)
{
    bool booting = status->boot_stage < CARRICK_BOOT_SERVING;

    // Where another incarnation has come, nothing of it may have been read yet: that it boots is still the last word.
    if (status->read_at_ns == 0 || status->read_at_ns == monitor->boot_read_ns ||
        status->boot_stage == CARRICK_BOOT_UNKNOWN)
        return;
    // One budget for one boot, however often it begins anew: a node that never gets through is not waited for.
    if (booting && !monitor->boots)
        monitor->boot_awake_ns = monitor->awake_ns;
    monitor->boots = booting;
    monitor->boot_stage = status->boot_stage;
    monitor->boot_read_ns = status->read_at_ns;
}

static void judge(struct failover *failover, const struct carrick_partner_status *status)
{
    const struct timers *timers = &failover->config.timers;
    struct monitor *monitor = &failover->monitor;
    bool linked = failover->session && (status->links_up > 0 || status->links == 0);
    uint64_t silent_ms = (monitor->awake_ns - monitor->heard_awake_ns) / MS;
    uint64_t unlinked_ms = (monitor->awake_ns - monitor->linked_awake_ns) / MS;
    uint64_t read_age_ms = (failover_now_ns(failover) - status->read_at_ns) / MS;
    bool seen_lately = status->read_at_ns != 0 && read_age_ms < timers->still_ms;

    if (linked && silent_ms >= timers->still_ms)
        enter(failover, PARTNER_HUNG, "its links stand, its beat has stood still for %llu ms",
              (unsigned long long)silent_ms);
    else if (linked && silent_ms >= timers->suspect_ms)
        enter(failover, PARTNER_SUSPECT, "nothing heard for %llu ms",
              (unsigned long long)silent_ms);
    else if (linked)
        enter(failover, PARTNER_UP, "its beat goes on");
    else if (!monitor->heard_ever && fo_monitor_boots_in_time(failover))
        enter(failover, PARTNER_BOOTING, "its status line told of a boot under way");
    else if (!monitor->heard_ever && seen_lately)
        enter(failover, PARTNER_BOOTING, "its status line can be read, no session stands yet");
    else if (!monitor->heard_ever && monitor->boots)
        enter(failover, PARTNER_UNREACHABLE,
              "it was seen to boot, last at the stage %s, and has not come within boot_ms",
              fo_boot_stage_name(monitor->boot_stage));
    else if (!monitor->heard_ever)
        return;
    else if (unlinked_ms < timers->gone_ms)
        enter(failover, PARTNER_SUSPECT, "%s",
              failover->session ? "no link of the session is left" : "the session has ended");
    else if (monitor->said_stop)
        enter(failover, PARTNER_DEAD, "it said that it stops");
    else if (seen_lately && status->clients_still_ms > 0)
        enter(failover, PARTNER_HUNG, "its node runs, its storage process does not (for %u ms)",
              status->clients_still_ms);
    else if (fo_monitor_boots_in_time(failover))
        enter(failover, PARTNER_BOOTING, "its status line told of a boot under way");
    else if (seen_lately && status->session_state != CARRICK_SESSION_UP)
        enter(failover, PARTNER_BOOTING, "its status line can be read, no session stands yet");
    else
        enter(failover, PARTNER_UNREACHABLE, "no link and no session for %llu ms",
              (unsigned long long)unlinked_ms);
}

bool fo_monitor_is_linked(const struct failover *failover)
{
    struct carrick_partner_status status = {.struct_size = sizeof status};

    failover->host->partner_status(failover->host, &status);
    return failover->session && (status.links_up > 0 || status.links == 0);
}

static void look_at_driver(struct failover *failover, const struct carrick_partner_status *status)
{
    struct monitor *monitor = &failover->monitor;
    bool failed = status->links > 0 && status->links_failed_here == status->links;

    monitor->links = status->links;
    monitor->linked = failover->session && (status->links_up > 0 || status->links == 0);
    if (monitor->linked)
        monitor->linked_awake_ns = monitor->awake_ns;
    // Before the first session the devices are being opened.
    if (failed != monitor->driver_failed && monitor->heard_ever)
        failover_say(failover, failed ? CARRICK_LOG_WARNING : CARRICK_LOG_NOTICE,
                     failed ? "the interconnect driver of this node has failed: none of its links "
                              "can be used, for reasons that lie here (carrick links shows them)"
                            : "the interconnect driver of this node works again");
    monitor->driver_failed = failed;
}

bool fo_monitor_look(struct failover *failover)
{
    struct monitor *monitor = &failover->monitor;
    struct carrick_partner_status status = {.struct_size = sizeof status};
    bool was = monitor->lost;

    wake(failover);
    failover->host->partner_status(failover->host, &status);
    if (status.heartbeat != monitor->heartbeat ||
        status.heartbeat_moved_at_ns != monitor->heartbeat_moved_ns) {
        monitor->heartbeat = status.heartbeat;
        monitor->heartbeat_moved_ns = status.heartbeat_moved_at_ns;
        // It is the manager's: of a storage process that stands still it says nothing.
        if (failover->session && status.clients_still_ms == 0)
            fo_monitor_heard(failover);
    }
    look_at_driver(failover, &status);
    look_at_boot(monitor, &status);
    judge(failover, &status);
    monitor->lost =
        monitor->state == PARTNER_HUNG || monitor->state == PARTNER_UNREACHABLE ||
        monitor->state == PARTNER_DEAD ||
        // It may be on its way up again for long: who waits for it waits no longer than for a lost one.
        (monitor->state == PARTNER_BOOTING && monitor->heard_ever);
    if (monitor->lost && !was)
        monitor->losses++;
    return monitor->lost != was;
}
