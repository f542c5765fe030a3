// SPDX-License-Identifier: Apache-2.0
#ifndef FAILOVER_REPORT_H
#define FAILOVER_REPORT_H

#include "failover.h"

#include <json-c/json.h>

// detail: also copies, record and counters. Both return a reference that is the caller's.
struct json_object *fo_report_group(struct group *group, bool detail);
struct json_object *fo_report_all(struct failover *failover, bool detail);
void fo_report_text(struct json_object *object, const char *key, const char *value);

#endif
