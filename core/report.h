// SPDX-License-Identifier: Apache-2.0
//
// What a manager shows of itself, as JSON: the answers to status, links, clients, vis and stats. The caller owns them.
#ifndef CORE_REPORT_H
#define CORE_REPORT_H

#include "core/model.h"

struct json_object *report_manager(struct manager *manager);
struct json_object *report_links(struct manager *manager);
struct json_object *report_clients(struct manager *manager);
struct json_object *report_vis(struct manager *manager);
struct json_object *report_stats(struct manager *manager);

#endif
