// SPDX-License-Identifier: Apache-2.0
//
// Services: what clients of one manager do for each other (service_offer, service_find in carrick/client.h). A list of
// names; nothing of a service's own is known here.
#ifndef CORE_SERVICE_H
#define CORE_SERVICE_H

#include "core/model.h"

// client NULL: the core's own.
int service_offer(struct manager *manager, struct client *client, const char *name,
                  const void *table, void *object);
int service_find(struct manager *manager, const char *name, const void **table, void **object);
// The client ends: what it offered is gone.
void service_withdraw(struct manager *manager, const struct client *client);

#endif
