// SPDX-License-Identifier: Apache-2.0
//
// The section of the configuration:
//
//     "config": {"timers": "default" | "fast" | {"profile": "fast", "gone_ms": 100},
//                "on_mirror_loss": "hold" | "continue",
//                "on_driver_failure": "shift" | "stay",
//                "hooks": {"serving": ["/usr/local/sbin/move-address", "up"]}}
#ifndef FAILOVER_CONFIG_H
#define FAILOVER_CONFIG_H

#include "timers.h"

#define HOOK_WORDS_MAX 16u
#define HOOK_WORD_BYTES 256u

enum hook_step {
    HOOK_LOST = 0,  // the partner of a group's owner or shadow is given up
    HOOK_TAKEOVER,  // this node begins to take the group over
    HOOK_SERVING,   // this node serves it
    HOOK_STOPPED,   // this node serves it no more
    HOOK_ALONE,     // served without a second copy
    HOOK_PROTECTED, // both copies are equal again
    HOOK_STEP_COUNT
};

struct hook_command {
    unsigned words; // 0: none
    char word[HOOK_WORDS_MAX][HOOK_WORD_BYTES];
};

struct config {
    struct timers timers;
    char profile[16];
    bool go_on; // on_mirror_loss: continue
    bool stay;  // on_driver_failure: stay
    struct hook_command hooks[HOOK_STEP_COUNT];
};

int fo_config_read(const char *json, struct config *config, struct carrick_error *error);
const char *fo_hook_step_name(enum hook_step step);

#endif
