// SPDX-License-Identifier: Apache-2.0
//
// Commands that change something: session reset, link down and up, client, reload; and version.

#include "cli/cli.h"
#include "cli/show.h"
#include "core/json_position.h"
#include "core/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Prints what the daemon answered: with --json always an object, for people one line.
static void print_done(const struct cli_options *options, struct json_object *result,
                       const char *text)
{
    if (!options->json) {
        puts(text);
        return;
    }
    struct json_object *answer = json_object_new_object();
    json_object_object_add(answer, "ok", json_object_new_boolean(true));
    json_object_object_add(answer, "result", json_object_get(result));
    json_print(answer);
    json_object_put(answer);
}

int command_session_reset(struct cli_options *options, int argc, char **argv)
{
    struct json_object *args = json_object_new_object(), *result;
    (void)argc;
    (void)argv;
    json_object_object_add(args, "why",
                           json_object_new_string(options->why ? options->why : "by command"));
    int exit_code = request_run(options, "session-reset", args, &result);
    if (exit_code == CLI_OK)
        print_done(options, result,
                   "The session ends and comes up again; 'carrick status --watch' shows how.");
    json_object_put(result);
    return exit_code;
}

// After a refusal: if there is no link or client of that name, says which ones there are.
static void suggest(const struct cli_options *options, const char *part, const char *name)
{
    const char *names[256];
    size_t count = 0;
    struct json_object *status = NULL;

    if (options->json || request_run(options, "status", NULL, &status) != CLI_OK)
        return;
    struct json_object *managers = member_array(status, "managers");
    for (size_t i = 0; i < array_length(managers); i++) {
        struct json_object *array = member_array(json_object_array_get_idx(managers, i), part);
        for (size_t j = 0; j < array_length(array) && count < 256; j++)
            names[count++] = member_text(json_object_array_get_idx(array, j), "name");
    }
    bool known = false;
    for (size_t i = 0; i < count; i++)
        known = known || strcmp(names[i], name) == 0;
    const char *meant = known ? NULL : text_meant(name, names, count);
    if (!known && count == 0) {
        fprintf(stderr, "%s: none in this node's configuration\n", part);
    } else if (!known) {
        fprintf(stderr, "%s:", part);
        for (size_t i = 0; i < count; i++)
            fprintf(stderr, " %s", names[i]);
        fprintf(stderr, "%s%s%s\n", meant ? "; did you mean '" : "", meant ? meant : "",
                meant ? "'?" : "");
    }
    json_object_put(status);
}

static int link_command(struct cli_options *options, const char *command, const char *name,
                        const char *done)
{
    struct json_object *args = json_object_new_object(), *result;
    char text[128];
    json_object_object_add(args, "link", json_object_new_string(name));
    int exit_code = request_run(options, command, args, &result);
    snprintf(text, sizeof text, "Link %.40s %s", name, done);
    if (exit_code == CLI_OK)
        print_done(options, result, text);
    if (exit_code == CLI_NOT_WELL)
        suggest(options, "links", name);
    json_object_put(result);
    return exit_code;
}

int command_link_down(struct cli_options *options, int argc, char **argv)
{
    (void)argc;
    return link_command(options, "link-down", argv[0], "is taken down until 'carrick link up'.");
}

int command_link_up(struct cli_options *options, int argc, char **argv)
{
    (void)argc;
    return link_command(options, "link-up", argv[0], "is put back; it connects by itself.");
}

// One JSON value. json-c alone would take more than JSON is.
static int parse_value(const char *text, struct json_object **value)
{
    struct json_positions *positions = NULL;
    struct config_errors *errors = malloc(sizeof *errors);
    int result = CLI_USAGE;

    if (!errors) {
        complain("out of memory");
        return CLI_USAGE;
    }
    config_errors_init(errors, "");
    if (json_positions_scan(text, strlen(text), &positions, errors) == 0) {
        *value = json_tokener_parse(text);
        result = CLI_OK;
    } else {
        complain("this is not one JSON value: %s; at character %u: %s (in a shell it wants single "
                 "quotes round it, as in '{\"bytes\":64}')",
                 text, errors->error[0].column, errors->error[0].text);
    }
    json_positions_free(positions);
    free(errors);
    return result;
}

int command_client(struct cli_options *options, int argc, char **argv)
{
    struct json_object *args = json_object_new_object(), *result, *value = NULL;
    if (argc == 3 && parse_value(argv[2], &value) != CLI_OK) {
        json_object_put(args);
        return CLI_USAGE;
    }
    json_object_object_add(args, "client", json_object_new_string(argv[0]));
    json_object_object_add(args, "word", json_object_new_string(argv[1]));
    if (argc == 3)
        json_object_object_add(args, "args", value);
    // The daemon itself answers for a client that does not within 30 s.
    if (!options->timeout_ms)
        options->timeout_ms = 35000;
    int exit_code = request_run(options, "client", args, &result);
    if (exit_code == CLI_OK) {
        bool tree = json_object_is_type(result, json_type_object) ||
                    json_object_is_type(result, json_type_array);
        if (options->json)
            json_print(result);
        else if (tree)
            show_leaves(result, 0);
        else if (result)
            puts(json_object_get_string(result));
    }
    if (exit_code == CLI_NOT_WELL)
        suggest(options, "clients", argv[0]);
    json_object_put(result);
    return exit_code;
}

// One manager's answer is the stage, several managers' are an object of such.
int command_boot_stage(struct cli_options *options, int argc, char **argv)
{
    struct json_object *args = json_object_new_object(), *result;
    char text[96];
    (void)argc;
    if (boot_stage_of(argv[0]) == CARRICK_BOOT_UNKNOWN) {
        complain("there is no boot stage '%s'; there are: initramfs, root, services, serving",
                 argv[0]);
        json_object_put(args);
        return CLI_USAGE;
    }
    json_object_object_add(args, "stage", json_object_new_string(argv[0]));
    int exit_code = request_run(options, "boot-stage", args, &result);
    snprintf(text, sizeof text, "The partner is told: %s.", argv[0]);
    if (exit_code == CLI_OK)
        print_done(options, result, text);
    json_object_put(result);
    return exit_code;
}

int command_reload(struct cli_options *options, int argc, char **argv)
{
    struct json_object *result;
    (void)argc;
    (void)argv;
    int exit_code = request_run(options, "reload", NULL, &result);
    if (exit_code == CLI_OK)
        print_done(options, result,
                   "The daemon took the new configuration. A client that cannot change while it "
                   "runs keeps its own until the next start: its log names it.");
    json_object_put(result);
    return exit_code;
}

int command_version(struct cli_options *options, int argc, char **argv)
{
    struct json_object *result, *versions = json_object_new_object();
    (void)argc;
    (void)argv;
    int exit_code = request_run(options, "version", NULL, &result);
    const char *daemon = json_object_is_type(result, json_type_string)
                             ? json_object_get_string(result)
                             : member_text(result, "version");
    char clean[64];
    text_clean(daemon, clean, sizeof clean);
    json_object_object_add(versions, "carrick", json_object_new_string(CARRICK_VERSION));
    if (exit_code == CLI_OK)
        json_object_object_add(versions, "carrickd",
                               result ? json_object_get(result) : json_object_new_string(clean));
    if (options->json)
        json_print(versions);
    else
        printf("carrick %s\n", CARRICK_VERSION);
    if (exit_code == CLI_OK && !options->json)
        printf("carrickd %s\n", clean);
    json_object_put(result);
    json_object_put(versions);
    return exit_code;
}
