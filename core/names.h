// SPDX-License-Identifier: Apache-2.0
//
// Names of statuses, states and reasons, as people and scripts read them. Constant strings, never NULL.
#ifndef CORE_NAMES_H
#define CORE_NAMES_H

#include <carrick/types.h>

const char *status_name(int status);            // "timeout"
const char *reason_name(uint32_t reason);       // "link-lost"
const char *reason_text(uint32_t reason);       // what it means and what to do
const char *session_state_name(uint32_t state); // "up"
const char *boot_stage_name(uint32_t stage);
// The stage of that name, or 0: there is none.
uint32_t boot_stage_of(const char *name);

#endif
