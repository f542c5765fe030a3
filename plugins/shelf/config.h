// SPDX-License-Identifier: Apache-2.0
//
// The shelf client's section of the configuration (carrick-shelf(7)).
#ifndef SHELF_CONFIG_H
#define SHELF_CONFIG_H

#include <carrick/client.h>

#define SHELF_SHELVES_MAX 64u
#define SHELF_PATH_MAX 1024u
#define SHELF_BYTES_MAX (1ull << 44) // the map of a shelf of this size is 34 MB

struct shelf_config_shelf {
    char name[CARRICK_NAME_MAX + 1];
    char group[CARRICK_NAME_MAX + 1];
    char path[SHELF_PATH_MAX];
    uint64_t bytes;
    bool added; // it may be empty though its group has a history
};

struct shelf_config {
    char socket[108]; // empty: no front
    char socket_group[CARRICK_NAME_MAX + 1];
    uint32_t connections;
    uint32_t connection_requests;
    bool flush_memory; // a flush is done when the log holds it in memory on all members
    uint32_t destage_delay_ms;
    uint32_t destage_requests;         // disk writes in flight, per group
    uint64_t catchup_bytes_per_second; // 0: no limit
    uint32_t count;
    struct shelf_config_shelf shelves[SHELF_SHELVES_MAX];
    char terms[CARRICK_CLIENT_TERMS_MAX]; // what must be the same at the partner
};

// Reads the section. `node` takes the place of "%n" in paths; NULL: only checks.
int shelf_config_read(const char *json, const char *node, struct shelf_config *config,
                      struct carrick_error *error);

#endif
