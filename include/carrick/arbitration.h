// SPDX-License-Identifier: Apache-2.0
//
// The service "arbiter": what the core offers to clients when the manager's configuration names an arbiter plugin. It is
// struct carrick_arbiter_ops (carrick/arbiter.h) with an answer per call.
#ifndef CARRICK_ARBITRATION_H
#define CARRICK_ARBITRATION_H

#include <carrick/arbiter.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CARRICK_ARBITER_SERVICE "arbiter"

struct carrick_arbitration; // the object of the service

// On the manager's thread, once, never from within the call. status and record as carrick_arbiter_host.answered. Not
// called any more after the caller's client was destroyed.
typedef void (*carrick_arbitration_fn)(void *arg, int status,
                                       const struct carrick_arbiter_record *record);

struct carrick_arbitration_ops {
    uint32_t struct_size;
    uint32_t reserved;
    int (*read)(struct carrick_arbitration *arbitration, const char *group, uint32_t timeout_ms,
                carrick_arbitration_fn fn, void *arg);
    int (*change)(struct carrick_arbitration *arbitration, const char *group,
                  uint64_t expected_number, const struct carrick_arbiter_record *wanted,
                  uint32_t timeout_ms, carrick_arbitration_fn fn, void *arg);
    // Name of the plugin, for people.
    const char *(*name)(struct carrick_arbitration *arbitration);
};

#ifdef __cplusplus
}
#endif

#endif
