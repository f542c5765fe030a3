// SPDX-License-Identifier: Apache-2.0
//
// Clients: the plugin instances that this manager serves, inline on its thread. Every callback goes through here, so
// that one that overstays is counted and logged by name.
//
//   client.c       instances and callbacks
//   client_host.c  the host table that they call
#ifndef CORE_CLIENT_H
#define CORE_CLIENT_H

#include "core/model.h"

int client_init(struct client *client, struct manager *manager, uint32_t index,
                struct carrick_error *error);
void client_free(struct client *client);
void client_regions_end(struct client *client); // those that the partner asked for
struct client *client_find(struct manager *manager, const char *name);

int client_describe(struct client *client);
int client_provide(struct client *client, uint32_t index, const struct carrick_region_want *want,
                   struct carrick_region_backing *backing);
void client_received(struct client *client, struct vi *vi, const void *data, uint32_t length);
void client_vi_changed(struct client *client, struct vi *vi);
// Gathers completions, and hands them over when there are many, or at clients_flush.
void client_complete(struct client *client, struct vi *vi, uint64_t cookie, int status);
void client_flush(struct client *client);
void client_describe_state(struct client *client, char *text, size_t size);
int client_command(struct client *client, const char *word, const char *json, uint64_t token);
int client_config_change(struct client *client, const char *json, struct carrick_error *error);

void clients_flush(struct manager *manager);
void clients_stopping(struct manager *manager);
void clients_ready(struct manager *manager);
void clients_ending(struct manager *manager, uint32_t reason, uint64_t deadline_ns);
// Ends all VIs, with what is outstanding on them, then tells.
void clients_ended(struct manager *manager, uint32_t reason);

// client_host.c
void client_host_init(struct client *client);

// Handles that a client sees are the core's own objects.
static inline struct carrick_vi *vi_handle(struct vi *vi)
{
    return (struct carrick_vi *)vi;
}

static inline struct carrick_region *region_handle(struct region *region)
{
    return (struct carrick_region *)region;
}

#endif
