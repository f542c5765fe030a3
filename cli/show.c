// SPDX-License-Identifier: Apache-2.0

#include "cli/show.h"
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static enum paint link_paint(const char *state, bool eligible)
{
    if (strcmp(state, "up") == 0)
        return eligible ? PAINT_GOOD : PAINT_WARN;
    if (strcmp(state, "down") == 0 || strcmp(state, "fencing") == 0)
        return PAINT_BAD;
    return PAINT_WARN;
}

void show_links(struct json_object *links, unsigned indent)
{
    static const char *const headers[] = {"LINK",     "TRANSPORT",  "STATE",     "FOR",   ">VIS",
                                          ">LATENCY", ">IN FLIGHT", ">FAILURES", "CAUSE", NULL};
    struct table table;
    table_begin(&table, indent, headers);
    for (size_t i = 0; i < array_length(links); i++) {
        struct json_object *link = json_object_array_get_idx(links, i);
        const char *state = member_text(link, "state");
        bool eligible = member_bool(link, "eligible");
        bool held = strcmp(state, "up") == 0 && !eligible;
        char age[32], latency[32], bytes[32];
        text_age((uint64_t)member_int(link, "age_ms"), age, sizeof age);
        text_latency(member_number(link, "latency_us"), latency, sizeof latency);
        text_bytes((uint64_t)member_int(link, "inflight_bytes"), bytes, sizeof bytes);
        table_row(&table);
        table_cell(&table, 0, PAINT_BOLD, "%s", member_text(link, "name"));
        table_cell(&table, 1, PAINT_NONE, "%s", member_text(link, "transport"));
        table_cell(&table, 2, link_paint(state, eligible), "%s%s", state, held ? ", held" : "");
        table_cell(&table, 3, PAINT_NONE, "%s", age);
        table_cell(&table, 4, PAINT_NONE, "%lld", (long long)member_int(link, "vis"));
        table_cell(&table, 5, PAINT_NONE, "%s", latency);
        table_cell(&table, 6, PAINT_NONE, "%lld, %s", (long long)member_int(link, "inflight_ops"),
                   bytes);
        table_cell(&table, 7, PAINT_NONE, "%lld", (long long)member_int(link, "failures"));
        table_cell(&table, 8, PAINT_NONE, "%s", member_text(link, "cause"));
    }
    table_end(&table);
}

static void show_client_details(struct json_object *clients, unsigned indent)
{
    for (size_t i = 0; i < array_length(clients); i++) {
        struct json_object *client = json_object_array_get_idx(clients, i);
        struct json_object *detail = member_object(client, "detail");
        char name[64];
        if (!detail || json_object_object_length(detail) == 0)
            continue;
        text_clean(member_text(client, "name"), name, sizeof name);
        printf("\n%*s%s says:\n", (int)indent, "", name);
        show_leaves(detail, indent + 2);
    }
}

// Of clients that run as processes of their own.
static void show_client_processes(struct json_object *clients, unsigned indent)
{
    for (size_t i = 0; i < array_length(clients); i++) {
        struct json_object *client = json_object_array_get_idx(clients, i), *process;
        char name[64], cause[200];
        if (!json_object_object_get_ex(client, "process", &process))
            continue;
        text_clean(member_text(client, "name"), name, sizeof name);
        text_clean(member_text(process, "last_cause"), cause, sizeof cause);
        printf("%*s%s: process %s, %s, id %lld, last sign of life %lld ms ago, started again %lld "
               "times%s%s\n",
               (int)indent, "", name, member_text(process, "name"), member_text(process, "state"),
               (long long)member_int(process, "pid"), (long long)member_int(process, "beat_age_ms"),
               (long long)member_int(process, "restarts"), cause[0] ? "; it last " : "", cause);
    }
}

void show_clients(struct json_object *clients, unsigned indent, bool detail)
{
    static const char *const headers[] = {"CLIENT", "PLUGIN",   "VERSION", "RUNS",       "STATE",
                                          ">VIS",   ">REGIONS", ">THERE",  ">OVERSTAYS", NULL};
    struct table table;
    table_begin(&table, indent, headers);
    for (size_t i = 0; i < array_length(clients); i++) {
        struct json_object *client = json_object_array_get_idx(clients, i);
        const char *state = member_text(client, "state");
        int64_t overstays = member_int(client, "overstays");
        table_row(&table);
        table_cell(&table, 0, PAINT_BOLD, "%s", member_text(client, "name"));
        table_cell(&table, 1, PAINT_NONE, "%s", member_text(client, "plugin"));
        table_cell(&table, 2, PAINT_NONE, "%s", member_text(client, "version"));
        table_cell(&table, 3, PAINT_NONE, "%s", member_text(client, "isolation"));
        table_cell(&table, 4, strcmp(state, "ready") == 0 ? PAINT_GOOD : PAINT_WARN, "%s", state);
        table_cell(&table, 5, PAINT_NONE, "%lld", (long long)member_int(client, "vis"));
        table_cell(&table, 6, PAINT_NONE, "%lld", (long long)member_int(client, "here_regions"));
        table_cell(&table, 7, PAINT_NONE, "%lld", (long long)member_int(client, "there_regions"));
        table_cell(&table, 8, overstays ? PAINT_WARN : PAINT_NONE, "%lld", (long long)overstays);
    }
    table_end(&table);
    show_client_processes(clients, indent);
    if (detail)
        show_client_details(clients, indent);
}

void show_vis(struct json_object *vis, unsigned indent)
{
    static const char *const headers[] = {"VI",      "STATE",      "LINK",          ">IN FLIGHT",
                                          ">POSTED", ">COMPLETED", ">CARRIED OVER", NULL};
    struct table table;
    table_begin(&table, indent, headers);
    for (size_t i = 0; i < array_length(vis); i++) {
        struct json_object *vi = json_object_array_get_idx(vis, i);
        const char *state = member_text(vi, "state"), *link = member_text(vi, "link");
        enum paint paint = strcmp(state, "open") == 0      ? PAINT_GOOD
                           : strcmp(state, "stalled") == 0 ? PAINT_BAD
                                                           : PAINT_WARN;
        table_row(&table);
        table_cell(&table, 0, PAINT_BOLD, "%s/%lld", member_text(vi, "client"),
                   (long long)member_int(vi, "number"));
        table_cell(&table, 1, paint, "%s", state);
        table_cell(&table, 2, PAINT_NONE, "%s", link[0] ? link : "-");
        table_cell(&table, 3, PAINT_NONE, "%lld", (long long)member_int(vi, "inflight"));
        table_cell(&table, 4, PAINT_NONE, "%lld", (long long)member_int(vi, "posted"));
        table_cell(&table, 5, PAINT_NONE, "%lld", (long long)member_int(vi, "completed"));
        table_cell(&table, 6, PAINT_NONE, "%lld", (long long)member_int(vi, "carried_over"));
    }
    table_end(&table);
}

#define LEAF_DEPTH_MAX 16

static void add_leaves(struct table *table, struct json_object *value, const char *path,
                       unsigned depth)
{
    char below[TABLE_CELL_BYTES];
    if (depth < LEAF_DEPTH_MAX && json_object_is_type(value, json_type_object)) {
        json_object_object_foreach(value, key, member)
        {
            snprintf(below, sizeof below, "%s%s%s", path, path[0] ? "." : "", key);
            add_leaves(table, member, below, depth + 1);
        }
    } else if (depth < LEAF_DEPTH_MAX && array_length(value) > 0) {
        for (size_t i = 0; i < array_length(value); i++) {
            struct json_object *element = json_object_array_get_idx(value, i);
            const char *name = member_text(element, "name");
            if (name[0])
                snprintf(below, sizeof below, "%s%s%s", path, path[0] ? "." : "", name);
            else
                snprintf(below, sizeof below, "%s[%zu]", path, i);
            add_leaves(table, element, below, depth + 1);
        }
    } else {
        bool empty = json_object_is_type(value, json_type_array) && array_length(value) == 0;
        table_row(table);
        table_cell(table, 0, PAINT_NONE, "%s", path);
        if (json_object_is_type(value, json_type_double))
            table_cell(table, 1, PAINT_NONE, "%.6g", json_object_get_double(value));
        else if (json_object_is_type(value, json_type_null) || empty)
            table_cell(table, 1, PAINT_NONE, "-");
        else
            table_cell(table, 1, PAINT_NONE, "%s", json_object_get_string(value));
    }
}

void show_leaves(struct json_object *value, unsigned indent)
{
    static const char *const headers[] = {"WHAT", "VALUE", NULL};
    struct table table;
    table_begin(&table, indent, headers);
    add_leaves(&table, value, "", 0);
    table_end(&table);
}
