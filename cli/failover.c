// SPDX-License-Identifier: Apache-2.0
//
// What asks the failover monitor: failover, takeover, handover, giveback; and its groups in `status`.

#include "cli/cli.h"
#include "cli/show.h"

#include <stdio.h>
#include <string.h>

static enum paint state_paint(const char *state)
{
    if (strcmp(state, "protected") == 0)
        return PAINT_GOOD;
    return strcmp(state, "diverged") == 0 || strcmp(state, "stale") == 0 ||
                   strcmp(state, "stalled") == 0
               ? PAINT_BAD
               : PAINT_WARN;
}

void show_groups(struct json_object *groups, unsigned indent)
{
    static const char *const headers[] = {"GROUP", "STATE",   "FOR",    "HERE",
                                          "OWNER", "DURABLE", "REASON", NULL};
    struct table table;
    table_begin(&table, indent, headers);
    for (size_t i = 0; i < array_length(groups); i++) {
        struct json_object *group = json_object_array_get_idx(groups, i);
        const char *state = member_text(group, "state"), *owner = member_text(group, "owner"),
                   *fault = member_text(group, "arbiter_fault");
        char age[32], told[120], durable[80];
        text_age((uint64_t)member_int(group, "age_ms"), age, sizeof age);
        group_state(group, told, sizeof told);
        group_durability(group, durable, sizeof durable);
        table_row(&table);
        table_cell(&table, 0, PAINT_BOLD, "%s", member_text(group, "name"));
        table_cell(&table, 1, fault[0] ? PAINT_WARN : state_paint(state), "%s", told);
        table_cell(&table, 2, PAINT_NONE, "%s", age);
        table_cell(&table, 3, PAINT_NONE, "%s", member_text(group, "role"));
        table_cell(&table, 4, PAINT_NONE, "%s", owner[0] ? owner : "-");
        table_cell(&table, 5, PAINT_NONE, "%s", durable);
        table_cell(&table, 6, PAINT_NONE, "%s%s", fault[0] ? "could not change hands now: " : "",
                   fault[0] ? fault : member_text(group, "reason"));
    }
    table_end(&table);
}

// ---- asking

// The manager and the client that are meant: the ones that have a failover monitor, and the group when one is named.
static int monitor_find(struct cli_options *options, const char *group, char *client, size_t size)
{
    static char manager_name[64]; // options keep it for the request that follows
    struct json_object *status, *managers;
    unsigned found = 0;
    int exit_code = request_run(options, "status", NULL, &status);

    if (exit_code != CLI_OK)
        return exit_code;
    managers = member_array(status, "managers");
    for (size_t i = 0; i < array_length(managers); i++) {
        struct json_object *manager = json_object_array_get_idx(managers, i);
        struct json_object *monitor = failover_client(manager);
        struct json_object *groups = failover_groups(manager);
        bool has = group == NULL;
        for (size_t j = 0; j < array_length(groups) && !has; j++)
            has = strcmp(member_text(json_object_array_get_idx(groups, j), "name"), group) == 0;
        if (!monitor || (!has && array_length(managers) > 1))
            continue;
        found++;
        snprintf(client, size, "%s", member_text(monitor, "name"));
        snprintf(manager_name, sizeof manager_name, "%s", member_text(manager, "name"));
    }
    json_object_put(status);
    if (found == 1) {
        options->manager = manager_name;
        return CLI_OK;
    }
    if (found == 0)
        complain(group && array_length(managers) > 1
                     ? "no manager of this node has that group"
                     : "no client of this node runs the plugin failover");
    else
        complain("several managers have a failover monitor: say --manager");
    return CLI_NOT_WELL;
}

static int monitor_run(struct cli_options *options, const char *word, const char *group,
                       struct json_object **result)
{
    struct json_object *args = json_object_new_object(), *inner = json_object_new_object();
    char client[64] = "";
    int exit_code = monitor_find(options, group, client, sizeof client);

    *result = NULL;
    if (group)
        json_object_object_add(inner, "group", json_object_new_string(group));
    json_object_object_add(inner, "dry_run", json_object_new_boolean(options->dry_run));
    json_object_object_add(inner, "force", json_object_new_boolean(options->force));
    json_object_object_add(args, "client", json_object_new_string(client));
    json_object_object_add(args, "word", json_object_new_string(word));
    json_object_object_add(args, "args", inner);
    if (exit_code != CLI_OK) {
        json_object_put(args);
        return exit_code;
    }
    if (!options->timeout_ms)
        options->timeout_ms = 35000;
    return request_run(options, "client", args, result);
}

// ---- printing

static void print_list(const char *title, struct json_object *list)
{
    char clean[400];
    if (array_length(list) == 0)
        return;
    printf("%s\n", title);
    for (size_t i = 0; i < array_length(list); i++) {
        text_clean(json_object_get_string(json_object_array_get_idx(list, i)), clean, sizeof clean);
        printf("  - %s\n", clean);
    }
}

static void print_timers(struct json_object *result)
{
    static const char *const parts[] = {"timers", "sums"};
    printf("profile %s\n\n", member_text(result, "profile"));
    for (size_t p = 0; p < 2; p++) {
        struct json_object *rows = member_array(result, parts[p]);
        for (size_t i = 0; i < array_length(rows); i++) {
            struct json_object *row = json_object_array_get_idx(rows, i);
            printf("  %-18s %6d ms  %s\n", member_text(row, "name"), (int)member_int(row, "ms"),
                   member_text(row, "meaning"));
        }
        if (p == 0)
            puts("\nwhat they add up to, without the time of the arbiter and of the log:");
    }
}

static void print_monitor(struct json_object *result)
{
    struct json_object *partner = member_object(result, "partner");
    char age[32], reason[300];
    text_age((uint64_t)member_int(partner, "age_ms"), age, sizeof age);
    text_clean(member_text(partner, "reason"), reason, sizeof reason);
    printf("partner %s is %s for %s: %s\n", member_text(partner, "name"),
           member_text(partner, "state"), age, reason);
    printf("arbiter %s   on_mirror_loss %s   on_driver_failure %s\n\n",
           member_text(result, "arbiter"), member_text(result, "on_mirror_loss"),
           member_text(result, "on_driver_failure"));
    if (member_bool(result, "driver_failed")) {
        paint_text(PAINT_BAD, "the interconnect driver of this node has failed");
        puts(": none of its links can be used; 'carrick links' says why\n");
    }
    if (member_text(result, "trouble")[0])
        printf("%s\n", member_text(result, "trouble"));
    show_groups(member_array(result, "groups"), 0);
}

static void print_dry_run(struct json_object *result)
{
    bool possible = member_bool(result, "possible"), forced = member_bool(result, "force_possible");
    printf("takeover of group %s: %s\n", member_text(result, "group"),
           possible ? "possible"
           : forced ? "there are reasons against it"
                    : "not possible, and not by force either");
    print_list("against it:", member_array(result, "against"));
    if (!possible)
        print_list("not even --force goes against this:", member_array(result, "force_against"));
    print_list("it would:", member_array(result, "would"));
    if (!possible && forced)
        print_list("with --force would be lost:", member_array(result, "force_would_lose"));
}

// ---- commands

int command_failover(struct cli_options *options, int argc, char **argv)
{
    struct json_object *result;
    bool timers = argc == 1 && strcmp(argv[0], "timers") == 0;
    if (argc == 1 && !timers) {
        complain("'carrick failover' knows 'timers', not '%s'", argv[0]);
        return CLI_USAGE;
    }
    int exit_code = monitor_run(options, timers ? "timers" : "status", NULL, &result);
    if (exit_code == CLI_OK && options->json)
        json_print(result);
    else if (exit_code == CLI_OK && timers)
        print_timers(result);
    else if (exit_code == CLI_OK)
        print_monitor(result);
    json_object_put(result);
    return exit_code;
}

static int group_command(struct cli_options *options, const char *word, const char *group)
{
    struct json_object *result;
    int exit_code = monitor_run(options, word, group, &result);
    if (exit_code == CLI_OK && options->json)
        json_print(result);
    else if (exit_code == CLI_OK && json_object_is_type(result, json_type_object))
        print_dry_run(result);
    else if (exit_code == CLI_OK)
        puts(json_object_get_string(result));
    json_object_put(result);
    return exit_code;
}

int command_takeover(struct cli_options *options, int argc, char **argv)
{
    (void)argc;
    return group_command(options, "takeover", argv[0]);
}

int command_handover(struct cli_options *options, int argc, char **argv)
{
    (void)argc;
    return group_command(options, "handover", argv[0]);
}

int command_giveback(struct cli_options *options, int argc, char **argv)
{
    (void)argc;
    return group_command(options, "giveback", argv[0]);
}
