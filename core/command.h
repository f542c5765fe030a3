// SPDX-License-Identifier: Apache-2.0
//
// Operators' commands that reach a manager: manager_command in core/manager.h. Those for a client wait for its answer.
#ifndef CORE_COMMAND_H
#define CORE_COMMAND_H

#include "core/model.h"

// A client answered, or answers after all too late (then nothing happens).
void command_answered(struct manager *manager, struct client *client, uint64_t token, int status,
                      const char *json);
void command_tick(struct manager *manager, uint64_t now_ns);
// The manager is going: what waits is answered as cancelled.
void command_cancel_all(struct manager *manager);

#endif
