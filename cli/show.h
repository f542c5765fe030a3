// SPDX-License-Identifier: Apache-2.0
//
// Tables of links, clients and VIs, as `status` and the commands of those names print them.
#ifndef CLI_SHOW_H
#define CLI_SHOW_H

#include <json-c/json.h>
#include <stdbool.h>

void show_links(struct json_object *links, unsigned indent);
// detail: also what each client says of itself.
void show_clients(struct json_object *clients, unsigned indent, bool detail);
void show_vis(struct json_object *vis, unsigned indent);
void show_groups(struct json_object *groups, unsigned indent);
// In group.c. Its state, with how far, how fast and how long still where it is brought up to date; how durable both copies are.
void group_state(struct json_object *group, char *text, size_t size);
void group_durability(struct json_object *group, char *text, size_t size);
// In verdict.c. The client of a manager that runs the failover monitor, and what it says of its groups; NULL when
// there is none.
struct json_object *failover_client(struct json_object *manager);
struct json_object *failover_groups(struct json_object *manager);
// What the disks of this node's logs and shelves do not take, one text each.
void disk_errors(struct json_object *manager, void (*fn)(void *arg, const char *text), void *arg);
// Any JSON value, one line for each leaf: "session.bytes_sent  12".
void show_leaves(struct json_object *value, unsigned indent);

#endif
