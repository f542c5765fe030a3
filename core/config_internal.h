// SPDX-License-Identifier: Apache-2.0
//
// What the parts of the configuration share among themselves: core/config*.c only.

#ifndef CARRICK_CORE_CONFIG_INTERNAL_H
#define CARRICK_CORE_CONFIG_INTERNAL_H

#include "core/config.h"
#include "core/json_position.h"

// The schema as it stands in core/config.schema.json, linked in.
extern const char config_schema_json[];
extern const size_t config_schema_json_size;

void config_errors_sort(struct config_errors *errs);

// What a schema cannot say. Takes a document of any shape: what has the wrong type is passed over,
// since the schema's check has reported it.
void config_check(const struct json_cursor *root, struct config_errors *errs);
void config_timers_check(const struct json_cursor *manager, struct config_errors *errs);

// root is valid and has its defaults. Fills all but file, hash and positions; returns 0 or -ENOMEM,
// and config_free() takes back what was filled.
int config_build(struct json_object *root, struct config *config);
// overrides is the object "timers".
void config_timers_build(const char *profile, struct json_object *overrides,
                         struct config_timers *timers);

// Splits "127.0.0.1:9419" and "[::1]:9419".
bool config_listen_parse(const char *text, struct config_listen *listen);

int config_hash(struct config *config);

#endif
