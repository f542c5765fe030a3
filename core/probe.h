// SPDX-License-Identifier: Apache-2.0
//
// Probes: reads of the partner's status line over every lane, without work by the partner's clients. They keep links
// honest, measure their latency, and bring what this node knows of the partner.
#ifndef CORE_PROBE_H
#define CORE_PROBE_H

#include "core/model.h"

#define PROBE_SLOTS                                                                                \
    4u // conns of a link in turn, so that a late answer never meets a newer conn's probe

// The scratch region: tables as they go out, at the offsets that they have in the inbox; then one status line for
// bring-up; then those of the probes.
#define SCRATCH_STATUS_OFFSET INBOX_BYTES
#define SCRATCH_PROBES_OFFSET (INBOX_BYTES + 4096u)
#define SCRATCH_BYTES                                                                              \
    (SCRATCH_PROBES_OFFSET + LINKS_MAX * PROBE_SLOTS * LANES_MAX * STATUS_LINES_BYTES)

void probe_post(struct conn *conn);

enum partner_status {
    PARTNER_STATUS_NONE,  // nothing is learned: torn, or older than what is known
    PARTNER_STATUS_OURS,  // of the session that was proven
    PARTNER_STATUS_OTHER, // the session is over at the partner
};

// Takes in both slots of the partner's status line, as a read that began at read_at_ns brought them. The line is filled
// unless the answer is NONE.
enum partner_status partner_status_take(struct manager *manager, const void *lines,
                                        uint64_t read_at_ns, struct status_line *line);

#endif
