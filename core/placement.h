// SPDX-License-Identifier: Apache-2.0
//
// Placement: which link carries which VI (claims 6, 7, 12, 13). The core says which links are eligible, the policy plugin
// chooses among them.
#ifndef CORE_PLACEMENT_H
#define CORE_PLACEMENT_H

#include "core/model.h"

int placement_init(struct manager *manager, struct carrick_error *error);
void placement_free(struct manager *manager);
// Another policy, or another configuration of it, on reload. On failure the old one stays.
int placement_reload(struct manager *manager, const struct config_plugin *policy,
                     struct carrick_error *error);

// Places a VI that is on no lane; without an eligible link it stays stalled until one comes up.
void placement_place(struct vi *vi);
// A link came up: stalled VIs are placed, and the others are spread anew.
void placement_link_up(struct link *link);
// A VI that is on a lane is to move as soon as it has nothing in flight, and is counted there already, so that others do not
// pause for the same room; NULL: it stays.
void placement_bind(struct vi *vi, struct link *to);
// A VI that is to move has nothing in flight any more.
void placement_drained(struct vi *vi);
// A VI that is to move has nothing in flight any more; a link's hold is over, or its slow start is a step further.
void placement_tick(struct manager *manager);

#endif
