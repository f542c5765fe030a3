// SPDX-License-Identifier: Apache-2.0
//
// `carrick config check FILE`: what a daemon would say of the file, without a daemon.

#include "cli/cli.h"
#include "core/config.h"
#include "core/config_plugins.h"
#include "core/loader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct json_object *error_as_json(const struct config_error *error)
{
    struct json_object *object = json_object_new_object();
    if (error->line > 0) {
        json_object_object_add(object, "line", json_object_new_int64(error->line));
        json_object_object_add(object, "column", json_object_new_int64(error->column));
    }
    json_object_object_add(object, "pointer", json_object_new_string(error->pointer));
    json_object_object_add(object, "text", json_object_new_string(error->text));
    return object;
}

// What does not stand in the way of the file, but of a daemon that takes it on this machine.
static void note_place(void *arg, const char *text)
{
    json_object_array_add(arg, json_object_new_string(text));
}

static void check_places(const struct cli_options *options, const struct config *config,
                         struct json_object *notes)
{
    int node = options->node ? config_node_index(config, options->node) : config_node_here(config);
    if (node >= 0)
        config_places_check(config, node, note_place, notes);
}

static void print_notes(struct json_object *notes)
{
    for (size_t i = 0; i < array_length(notes); i++)
        printf("note: %s\n", json_object_get_string(json_object_array_get_idx(notes, i)));
}

static void report_json(const struct config_errors *errors, struct json_object *notes)
{
    struct json_object *report = json_object_new_object(), *list = json_object_new_array();
    for (size_t i = 0; i < errors->count; i++)
        json_object_array_add(list, error_as_json(&errors->error[i]));
    json_object_object_add(report, "file", json_object_new_string(errors->file));
    json_object_object_add(report, "ok", json_object_new_boolean(errors->count == 0));
    json_object_object_add(report, "errors", list);
    json_object_object_add(report, "notes", json_object_get(notes));
    if (errors->dropped)
        json_object_object_add(report, "further", json_object_new_int64((int64_t)errors->dropped));
    json_print(report);
    json_object_put(report);
}

static void report_text(const struct config_errors *errors)
{
    char text[CONFIG_POINTER_SIZE + CONFIG_TEXT_SIZE + 300];
    for (size_t i = 0; i < errors->count; i++) {
        config_error_format(errors, i, text, sizeof text);
        puts(text);
    }
    if (errors->dropped)
        printf("and %zu more\n", errors->dropped);
}

static void note_missing(void *arg, const struct config_client *client, const char *text)
{
    const struct cli_options *options = arg;
    if (!options->json)
        printf("note: the client '%s', which is not required, would be left out: %s\n",
               client->name, text);
}

static int check_plugins(const struct cli_options *options, const struct config *config,
                         struct config_errors *errors)
{
    static const char *const standard_dirs[] = {CARRICK_PLUGIN_DIR};
    bool own = config->plugin_dirs_count > 0;
    int node = -1;

    if (options->node) {
        node = config_node_index(config, options->node);
        if (node < 0) {
            complain("%s has no node '%s'; it has '%s' and '%s'", config->file, options->node,
                     config->nodes[0], config->nodes[1]);
            return CLI_USAGE;
        }
    }
    struct loader *loader =
        loader_create(own ? (const char *const *)config->plugin_dirs : standard_dirs,
                      own ? config->plugin_dirs_count : 1);
    if (!loader) {
        complain("out of memory");
        return CLI_NOT_WELL;
    }
    config_check_plugins(config, loader, node, errors, note_missing, (void *)options);
    loader_destroy(loader);
    return CLI_OK;
}

int command_config_check(struct cli_options *options, int argc, char **argv)
{
    struct config *config = NULL;
    struct config_errors *errors = malloc(sizeof *errors);
    struct json_object *notes = json_object_new_array();
    int result = CLI_OK;
    (void)argc;

    if (!errors) {
        complain("out of memory");
        return CLI_NOT_WELL;
    }
    if (config_load(argv[0], &config, errors) == 0 && !options->syntax) {
        config_errors_init(errors, argv[0]);
        result = check_plugins(options, config, errors);
        config_homes_check(config, errors);
    }
    if (result == CLI_OK) {
        bool good = config && errors->count == 0;
        if (config && !options->syntax) {
            config_parts_check(config, note_place, notes);
            check_places(options, config, notes);
        }
        if (options->json)
            report_json(errors, notes);
        else
            report_text(errors);
        if (!options->json)
            print_notes(notes);
        if (good && !options->json)
            printf("%s: good: cluster %s, nodes %s and %s, %zu manager%s%s\n", argv[0],
                   config->cluster, config->nodes[0], config->nodes[1], config->managers_count,
                   config->managers_count == 1 ? "" : "s",
                   options->syntax ? " (plugins not asked)" : "");
        result = good ? CLI_OK : CLI_NOT_WELL;
    }
    json_object_put(notes);
    config_free(config);
    free(errors);
    return result;
}
