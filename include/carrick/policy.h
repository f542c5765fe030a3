// SPDX-License-Identifier: Apache-2.0
//
// What a balancing policy is: a pure function that chooses a link for a VI (claims 6 and 12).
//
// The core has already struck out the links that cannot carry the VI; the policy only chooses the best among
// those that are eligible. It keeps no state of its own between calls: the same input gives the same answer,
// which is what makes a history replayable.
#ifndef CARRICK_POLICY_H
#define CARRICK_POLICY_H

#include <carrick/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

struct carrick_policy;

struct carrick_policy_link {
    uint32_t struct_size;
    uint32_t
        eligible;  // 0: dead, being fenced, held down or taken down by command; must not be chosen
    uint32_t busy; // 1: eligible, but its queues are full at the moment
    uint32_t
        vis; // VIs that are on it now; since ABI 1.1 one that waits to move counts where it goes
    uint64_t inflight_bytes;
    uint64_t inflight_ops;
    uint64_t latency_ns;      // smoothed round trip of the probe; 0: not known yet
    uint64_t up_since_ns;     // when it last came up
    uint32_t weight_permille; // slow start: grows to 1000 after the link came up
    uint32_t reserved;
    const char *name;
};

struct carrick_policy_input {
    uint32_t struct_size;
    uint32_t link_count;
    const struct carrick_policy_link *links; // stride is links->struct_size; in configured order
    uint64_t sequence; // number of choices made before this one, by this manager
    uint64_t vi;       // identity of the VI to place
    int32_t current;   // index of the link that the VI is on, or -1
    uint32_t reserved;
};

enum carrick_policy_answer {
    CARRICK_POLICY_NONE = -1, // no link is eligible: the VI waits for one
    CARRICK_POLICY_BUSY = -2, // some are eligible, all are busy: the VI stays where it is
};

// All required. On the manager's thread; must not block or allocate in choose.
struct carrick_policy_ops {
    // Also called, and followed by destroy, to check a configuration, on any thread: the host then has no timers,
    // watches and workers (CARRICK_ERR_NOT_SUPPORTED), which a policy hardly needs.
    int (*create)(const struct carrick_host *host, const char *config,
                  struct carrick_policy **policy, struct carrick_error *error);
    void (*destroy)(struct carrick_policy *policy);
    // Index of the chosen link, or enum carrick_policy_answer. An index that is not eligible is logged and taken as
    // the first eligible one.
    int32_t (*choose)(struct carrick_policy *policy, const struct carrick_policy_input *input);
};

static inline const struct carrick_policy_link *
carrick_policy_link_at(const struct carrick_policy_input *input, uint32_t i)
{
    return (const struct carrick_policy_link *)((const char *)input->links +
                                                (size_t)i * input->links->struct_size);
}

#ifdef __cplusplus
}
#endif

#endif
