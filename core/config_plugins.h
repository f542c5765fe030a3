// SPDX-License-Identifier: Apache-2.0
//
// What only the plugins can say of a configuration: whether they are there, and whether they take their sections.
// For the daemon before it starts or reloads, and for `carrick config check`.
#ifndef CORE_CONFIG_PLUGINS_H
#define CORE_CONFIG_PLUGINS_H

#include "core/config.h"
#include "core/loader.h"

// Loads every plugin that the configuration names, hands each its sections to check, and puts it again. Adds an
// error to errs, which is initialised, at the place of each that is missing, refused, or refuses its section. node:
// index of the node from whose side it is checked; -1: from both. A client that is not required and cannot be loaded
// is no error: missing(arg, client, text), which may be NULL, is called for it.
// Returns 0 or -EINVAL.
int config_check_plugins(
    const struct config *config, struct loader *loader, int node, struct config_errors *errs,
    void (*missing)(void *arg, const struct config_client *client, const char *text), void *arg);

#endif
