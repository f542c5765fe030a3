// SPDX-License-Identifier: Apache-2.0
//
// Commands that list: links, clients, vis, plugins, stats. Links and clients are parts of what `status` answers; of
// the VIs it holds only some, where there are thousands, so they are asked of each manager.

#include "cli/cli.h"
#include "cli/show.h"

#include <stdio.h>
#include <string.h>

// The array `part` of one manager; the caller's, or NULL, which has been complained of.
static struct json_object *part_of(const struct cli_options *options, struct json_object *manager,
                                   const char *part, bool ask)
{
    struct json_object *array = NULL;
    if (ask) {
        struct cli_options one = *options;
        one.manager = member_text(manager, "name");
        request_run(&one, part, NULL, &array);
    } else {
        array = json_object_get(member_array(manager, part));
    }
    return array;
}

// [{"manager": NAME, part: [...]}, ...]; what could not be had is null.
static struct json_object *parts_of(const struct cli_options *options, struct json_object *status,
                                    const char *part, bool ask)
{
    struct json_object *managers = member_array(status, "managers"), *all = json_object_new_array();
    for (size_t i = 0; i < array_length(managers); i++) {
        struct json_object *manager = json_object_array_get_idx(managers, i),
                           *one = json_object_new_object();
        json_object_object_add(one, "manager",
                               json_object_new_string(member_text(manager, "name")));
        json_object_object_add(one, part, part_of(options, manager, part, ask));
        json_object_array_add(all, one);
    }
    return all;
}

static void print_names(struct json_object *array)
{
    for (size_t i = 0; i < array_length(array); i++) {
        char name[64];
        text_clean(member_text(json_object_array_get_idx(array, i), "name"), name, sizeof name);
        puts(name);
    }
}

static void show_clients_in_full(struct json_object *clients, unsigned indent)
{
    show_clients(clients, indent, true);
}

static int list_part(struct cli_options *options, const char *part, bool ask,
                     void (*show)(struct json_object *array, unsigned indent))
{
    struct json_object *status;
    int result = request_run(options, "status", NULL, &status);
    if (result != CLI_OK)
        return result;
    struct json_object *parts = parts_of(options, status, part, ask);
    bool several = array_length(parts) > 1;
    if (options->json && !options->names)
        json_print(parts);
    for (size_t i = 0; i < array_length(parts) && (options->names || !options->json); i++) {
        struct json_object *one = json_object_array_get_idx(parts, i),
                           *array = member_array(one, part);
        char name[64];
        if (options->names) {
            print_names(array);
            continue;
        }
        text_clean(member_text(one, "manager"), name, sizeof name);
        if (several)
            printf("%smanager %s\n", i ? "\n" : "", name);
        if (!array)
            printf("%sit does not answer\n", several ? "  " : "");
        else if (array_length(array) == 0)
            printf("%sno %s\n", several ? "  " : "", part);
        else
            show(array, several ? 2 : 0);
    }
    json_object_put(parts);
    json_object_put(status);
    return CLI_OK;
}

int command_links(struct cli_options *options, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return list_part(options, "links", false, show_links);
}

int command_clients(struct cli_options *options, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return list_part(options, "clients", false, show_clients_in_full);
}

int command_vis(struct cli_options *options, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return list_part(options, "vis", true, show_vis);
}

static void show_plugins(struct json_object *plugins)
{
    static const char *const headers[] = {"PLUGIN", "KIND", "VERSION", "LICENCE",
                                          "ABI",    "FILE", NULL};
    struct table table;
    table_begin(&table, 0, headers);
    for (size_t i = 0; i < array_length(plugins); i++) {
        struct json_object *plugin = json_object_array_get_idx(plugins, i);
        table_row(&table);
        table_cell(&table, 0, PAINT_BOLD, "%s", member_text(plugin, "name"));
        table_cell(&table, 1, PAINT_NONE, "%s", member_text(plugin, "kind"));
        table_cell(&table, 2, PAINT_NONE, "%s", member_text(plugin, "version"));
        table_cell(&table, 3, PAINT_NONE, "%s", member_text(plugin, "licence"));
        table_cell(&table, 4, PAINT_NONE, "%s", member_text(plugin, "abi"));
        table_cell(&table, 5, PAINT_NONE, "%s", member_text(plugin, "path"));
    }
    table_end(&table);
}

int command_plugins(struct cli_options *options, int argc, char **argv)
{
    struct json_object *plugins;
    (void)argc;
    (void)argv;
    int result = request_run(options, "plugins", NULL, &plugins);
    if (result != CLI_OK)
        return result;
    if (options->json)
        json_print(plugins);
    else if (array_length(plugins) == 0)
        puts("no plugins are loaded");
    else
        show_plugins(plugins);
    json_object_put(plugins);
    return CLI_OK;
}

int command_stats(struct cli_options *options, int argc, char **argv)
{
    struct json_object *stats;
    (void)argc;
    (void)argv;
    int result = request_run(options, "stats", NULL, &stats);
    if (result != CLI_OK)
        return result;
    if (options->json)
        json_print(stats);
    else
        show_leaves(stats, 0);
    json_object_put(stats);
    return CLI_OK;
}
