// SPDX-License-Identifier: Apache-2.0
//
// The manager's arbiter: makes the plugin's instance that the configuration names, and offers it to the clients as the
// service of carrick/arbitration.h, with an answer per question.
#ifndef CORE_ARBITRATION_H
#define CORE_ARBITRATION_H

#include "core/model.h"

// Does nothing when no arbiter is configured.
int arbitration_init(struct manager *manager, struct carrick_error *error);
// The clients are gone: what they asked is not answered any more.
void arbitration_free(struct manager *manager);

#endif
