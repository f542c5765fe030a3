// SPDX-License-Identifier: Apache-2.0
//
// The host table of one plugin instance: what include/carrick/plugin.h promises, on an env.
#ifndef CORE_HOST_H
#define CORE_HOST_H

#include <carrick/plugin.h>

#include "core/env.h"

struct host {
    struct carrick_host base;
    struct env *env;
    uint32_t
        works; // and requests to files, under way; the instance must not be destroyed before this is 0
    void (*idle)(void *arg); // called when works falls to 0, or NULL
    void *arg;
};

// The strings must outlive the host.
void host_init(struct host *host, struct env *env, const char *node, const char *partner,
               const char *manager, const char *instance);

// Logs for the manager itself. event may be NULL.
void log_record(struct env *env, int level, const char *event, const char *manager,
                const char *object, const char *format, ...) __attribute__((format(printf, 6, 7)));

#endif
