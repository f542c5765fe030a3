// SPDX-License-Identifier: Apache-2.0
//
// Memory that devices lock (struct carrick_device_caps, max_locked_bytes): its sum is known, and held against the limit of
// the process, before anything of it is registered. What is refused is refused with the whole sum and what it is made of,
// instead of at whichever region happens to come last.
#ifndef CORE_LOCKED_H
#define CORE_LOCKED_H

#include "core/model.h"

// Takes what the manager will have locked with `asked` bytes of regions for the partner's clients on each link, in place of
// what was taken before. CARRICK_ERR_LIMIT: that and what other managers of the process have taken is more than may be
// locked; `why` says it to the operator.
int locked_take(struct manager *manager, uint64_t asked, char *why, size_t size);
// When no link has memory registered any more.
void locked_give_back(struct manager *manager);

#endif
