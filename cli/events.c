// SPDX-License-Identifier: Apache-2.0
//
// `carrick events`: follows what happens. The daemon answers the request, then sends one object for each event.

#include "cli/cli.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static enum paint level_paint(const char *level)
{
    if (strcmp(level, "error") == 0)
        return PAINT_BAD;
    if (strcmp(level, "warning") == 0)
        return PAINT_WARN;
    return PAINT_NONE;
}

// Wall-clock time of the event, as this machine's operator reads it.
static void event_time(struct json_object *event, char *text, size_t size)
{
    int64_t ms = member_int(event, "time_ms");
    time_t seconds = (time_t)(ms / 1000);
    struct tm parts;
    if (ms <= 0 || !localtime_r(&seconds, &parts)) {
        text_clean(member_text(event, "time"), text, size);
        return;
    }
    size_t used = strftime(text, size, "%H:%M:%S", &parts);
    snprintf(text + used, size - used, ".%03d", (int)(ms % 1000));
}

static void print_event(struct json_object *event)
{
    char time_text[40], name[64], where[80], text[1024];
    const char *manager = member_text(event, "manager"), *object = member_text(event, "object");

    event_time(event, time_text, sizeof time_text);
    text_clean(member_text(event, "event"), name, sizeof name);
    snprintf(text, sizeof text, "%s%s%s", manager, manager[0] && object[0] ? "/" : "", object);
    text_clean(text, where, sizeof where);
    text_clean(member_text(event, "text"), text, sizeof text);
    printf("%s  %-14s  ", time_text, where);
    char padded[80];
    snprintf(padded, sizeof padded, "%-20s", name);
    paint_text(level_paint(member_text(event, "level")), padded);
    printf("  %s\n", text);
}

// A link that cannot be had tells of several steps with each attempt: of use when one asks for it.
static bool is_step(struct json_object *event)
{
    return strcmp(member_text(event, "level"), "debug") == 0;
}

// CLI_OK: go on.
static int take_line(const struct cli_options *options, const char *line, bool *is_event)
{
    struct json_object *object = json_tokener_parse(line), *ok;
    int result = CLI_OK;
    *is_event = false;
    if (!json_object_is_type(object, json_type_object)) {
        complain("the daemon sent something that is no JSON object");
        result = CLI_UNREACHABLE;
    } else if (json_object_object_get_ex(object, "ok", &ok)) {
        if (!json_object_get_boolean(ok)) {
            refusal_print(options, object);
            result = CLI_NOT_WELL;
        }
    } else if (options->json || options->all || !is_step(object)) {
        *is_event = true;
        if (options->json)
            puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
                                                            JSON_C_TO_STRING_NOSLASHESCAPE));
        else
            print_event(object);
        fflush(stdout);
        if (ferror(stdout))
            result = CLI_NOT_WELL;
    }
    json_object_put(object);
    return result;
}

int command_events(struct cli_options *options, int argc, char **argv)
{
    struct connection connection;
    struct json_object *request = json_object_new_object();
    unsigned seen = 0;
    const char *line;
    bool is_event;
    (void)argc;
    (void)argv;

    json_object_object_add(request, "command", json_object_new_string("events"));
    if (options->manager)
        json_object_object_add(request, "manager", json_object_new_string(options->manager));
    int result = connection_open(options, &connection);
    if (result == CLI_OK)
        result = connection_send(&connection, request);
    // The answer to the request must come in time, events may take for ever.
    unsigned timeout_ms = options->timeout_ms ? options->timeout_ms : 5000;
    while (result == CLI_OK && (options->count == 0 || seen < options->count)) {
        result = connection_line(&connection, timeout_ms, &line);
        if (result == CLI_OK)
            result = take_line(options, line, &is_event);
        if (result == CLI_OK)
            seen += is_event;
        timeout_ms = 0;
    }
    connection_close(&connection);
    json_object_put(request);
    return result;
}
