// SPDX-License-Identifier: Apache-2.0
#include "core/probe.h"

#include "core/conn.h"
#include "core/lane.h"
#include "core/names.h"
#include "core/region.h"
#include "core/session.h"

static uint64_t probe_offset(const struct lane *lane)
{
    const struct conn *conn = lane->conn;
    uint32_t slot = (conn->link->index * PROBE_SLOTS + conn->scratch) * LANES_MAX + lane->index;

    return SCRATCH_PROBES_OFFSET + (uint64_t)slot * STATUS_LINES_BYTES;
}

static void latency_take(struct link *link, uint64_t sample_ns)
{
    // Smoothed as RFC 6298 does a round trip: one eighth of each new sample.
    link->latency_ns =
        link->latency_ns == 0 ? sample_ns : link->latency_ns - link->latency_ns / 8 + sample_ns / 8;
}

enum partner_status partner_status_take(struct manager *manager, const void *lines,
                                        uint64_t read_at_ns, struct status_line *line)
{
    struct carrick_partner_status *status = &manager->partner_status;
    const struct session *session = &manager->session;
    uint32_t sequence;

    if (status_line_read(lines, line, &sequence) != CARRICK_OK ||
        !status_line_is_news(&manager->partner_seen, line, sequence))
        return PARTNER_STATUS_NONE;
    // Reads over several links end in any order: which line is newer its number tells, not when the read began.
    if (read_at_ns < status->read_at_ns)
        read_at_ns = status->read_at_ns;
    if (status->read_at_ns == 0 || status->incarnation != line->incarnation ||
        (uint32_t)status->heartbeat != line->heartbeat)
        status->heartbeat_moved_at_ns = read_at_ns;
    status->read_at_ns = read_at_ns;
    status->session_state = line->session_state;
    // That a partner serves is news only of one that was seen to boot.
    if (status->boot_stage != line->boot_stage &&
        (status->boot_stage != CARRICK_BOOT_UNKNOWN || line->boot_stage != CARRICK_BOOT_SERVING))
        log_record(manager->env, CARRICK_LOG_NOTICE, "partner-boot-stage", manager->section->name,
                   NULL, "the partner is at boot stage %s", boot_stage_name(line->boot_stage));
    status->boot_stage = line->boot_stage;
    status->load_permille = line->load_permille;
    status->incarnation = line->incarnation;
    status->heartbeat = line->heartbeat;
    status->shadow_sequence = line->shadow_sequence;
    status->clients_still_ms = line->clients_still_ms;
    return line->incarnation == session->partner_incarnation &&
                   line->generation == session->partner_generation
               ? PARTNER_STATUS_OURS
               : PARTNER_STATUS_OTHER;
}

static void probe_done(void *arg, int status)
{
    struct lane *lane = arg;
    struct link *link = lane->conn->link;
    struct manager *manager = link->manager;
    struct status_line line;
    uint64_t posted_at_ns = lane->probe_at_ns;

    (void)status;
    lane->probe_at_ns = 0;
    latency_take(link, env_now_ns(manager->env) - posted_at_ns);
    // Torn or old for once says nothing: the next probe reads again.
    if (partner_status_take(manager, region_at(manager->scratch, probe_offset(lane)), posted_at_ns,
                            &line) == PARTNER_STATUS_OTHER &&
        manager->session.state != CARRICK_SESSION_CLOSING)
        session_end(manager,
                    line.incarnation == manager->session.partner_incarnation
                        ? CARRICK_REASON_PARTNER_ENDED
                        : CARRICK_REASON_PARTNER_RESTARTED,
                    "the partner's status line is of another session");
}

static void lane_probe(struct lane *lane)
{
    struct conn *conn = lane->conn;
    struct manager *manager = conn->link->manager;
    uint64_t offset = probe_offset(lane);
    struct lane_item item = {
        .operation = CARRICK_OP_READ,
        .local = region_at(manager->scratch, offset),
        .region = manager->scratch,
        .length = STATUS_LINES_BYTES,
        .remote = conn->partner.status.base,
        .key = conn->partner.status.key,
        .fn = probe_done,
        .arg = lane,
    };

    if (lane->probe_at_ns != 0 || !lane_has_room(lane, CARRICK_OP_READ, STATUS_LINES_BYTES))
        return;
    if (lane_post(lane, &item, 1) == CARRICK_OK)
        lane->probe_at_ns = env_now_ns(manager->env);
}

void probe_post(struct conn *conn)
{
    for (uint32_t i = 0; i < conn->lane_count && conn_is_live(conn); i++)
        lane_probe(&conn->lanes[i]);
}
