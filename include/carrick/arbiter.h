// SPDX-License-Identifier: Apache-2.0
//
// What an arbiter is: the one place that says who serves a group (DESIGN: one truth about who serves).
//
// It keeps one record per group and knows two operations: a linearizable read and a compare-and-set. Every
// answer is final: an operation whose outcome is not known must be settled (by a read) before it is answered,
// or answered as CARRICK_ERR_UNKNOWN.
#ifndef CARRICK_ARBITER_H
#define CARRICK_ARBITER_H

#include <carrick/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

struct carrick_arbiter;

#define CARRICK_ARBITER_MEMBERS_MAX 2

struct carrick_arbiter_member {
    char node[CARRICK_NAME_MAX + 1]; // empty: no member in this place
    uint64_t incarnation;            // that filled a volatile copy; 0: a persistent copy
};

struct carrick_arbiter_record {
    uint32_t struct_size;
    uint32_t member_count;
    uint64_t number; // grows by one with each change; 0: there is no record yet
    uint8_t generation[16];
    uint8_t parent[16];
    uint64_t fork_sequence; // highest sequence that this generation shares with its parent
    char owner[CARRICK_NAME_MAX + 1];
    uint64_t owner_incarnation;
    struct carrick_arbiter_member members[CARRICK_ARBITER_MEMBERS_MAX];
};

struct carrick_arbiter_host {
    uint32_t struct_size;
    uint32_t reserved;
    const struct carrick_host *base;
    // Answers read or change, on the manager's thread, once, never from within the call itself. record is the one
    // that stands now where that is known (also with CARRICK_ERR_CONFLICT), else NULL; valid during the call.
    void (*answered)(const struct carrick_arbiter_host *host, uint64_t cookie, int status,
                     const struct carrick_arbiter_record *record);
};

// Required unless marked optional. On the manager's thread; must not block (use host->base->work, watches and timers).
struct carrick_arbiter_ops {
    int (*create)(const struct carrick_arbiter_host *host, const char *config,
                  struct carrick_arbiter **arbiter, struct carrick_error *error);
    // Operations that are under way are not answered any more.
    void (*destroy)(struct carrick_arbiter *arbiter);
    // Linearizable read: CARRICK_OK with the record (number 0 when there is none), CARRICK_ERR_UNREACHABLE, _TIMEOUT.
    int (*read)(struct carrick_arbiter *arbiter, const char *group, uint32_t timeout_ms,
                uint64_t cookie);
    // Puts `wanted` in place of the record numbered expected_number. CARRICK_OK: it stands. CARRICK_ERR_CONFLICT:
    // another one stands, nothing was changed. CARRICK_ERR_UNKNOWN: it may or may not stand, now or later.
    int (*change)(struct carrick_arbiter *arbiter, const char *group, uint64_t expected_number,
                  const struct carrick_arbiter_record *wanted, uint32_t timeout_ms,
                  uint64_t cookie);

    // Since ABI 1.1. Optional.
    // Checks a configuration section without an instance; any thread.
    int (*config_check)(const char *config, struct carrick_error *error);
};

#ifdef __cplusplus
}
#endif

#endif
