// SPDX-License-Identifier: Apache-2.0
//
// Requests of the control socket: what one must look like, and how it is answered.
#include "daemon/control_internal.h"

#include <json-c/json.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/names.h"

struct text_line *refusal_line(int status, const char *errors, const char *text)
{
    struct json_object *answer = json_object_new_object();
    json_object_object_add(answer, "ok", json_object_new_boolean(false));
    json_object_object_add(answer, "status", json_object_new_string(status_name(status)));
    json_object_object_add(answer, "text", json_object_new_string(text));
    if (errors)
        json_object_object_add(answer, "errors", json_tokener_parse(errors));
    const char *json = json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN |
                                                                  JSON_C_TO_STRING_NOSLASHESCAPE);
    struct text_line *line = json ? line_create(json, strlen(json)) : NULL;
    json_object_put(answer);
    return line;
}

const char *request_command(const struct control_request *request)
{
    return json_object_get_string(json_object_object_get(request->root, "command"));
}

const char *request_manager(const struct control_request *request)
{
    return request->manager[0] ? request->manager : NULL;
}

struct json_object *request_args(const struct control_request *request)
{
    return json_object_object_get(request->root, "args");
}

const struct ucred *request_caller(const struct control_request *request)
{
    return &request->caller;
}

// The connection that waits for the answer, or NULL when it has gone.
static struct connection *request_end(struct control_request *request)
{
    struct connection *connection = request->connection;
    if (connection)
        connection->request = NULL;
    json_object_put(request->root);
    free(request);
    return connection && !connection->closing ? connection : NULL;
}

static struct text_line *answer_line(const char *json)
{
    static const char head[] = "{\"ok\":true,\"result\":";
    size_t bytes = strlen(json);
    size_t length = sizeof(head) - 1 + bytes + 1;
    struct text_line *line = malloc(sizeof(*line) + length + 1);
    if (!line)
        return NULL;
    line->references = 1;
    line->length = length + 1;
    memcpy(line->bytes, head, sizeof(head) - 1);
    memcpy(line->bytes + sizeof(head) - 1, json, bytes);
    memcpy(line->bytes + length - 1, "}\n", 2);
    return line;
}

void request_answer(struct control_request *request, const char *json)
{
    // Before the request ends: the text may be a part of it.
    struct text_line *line = request->connection ? answer_line(json) : NULL;
    struct connection *connection = request_end(request);
    if (connection)
        connection_send(connection, line);
    else
        line_put(line);
}

void request_refuse(struct control_request *request, int status, const char *errors,
                    const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log_clean(text);
    struct connection *connection = request_end(request);
    if (connection)
        connection_send(connection, refusal_line(status, errors, text));
}

void request_follow(struct control_request *request)
{
    struct connection *connection = request->connection;
    if (!connection) {
        request_end(request);
        return;
    }
    struct control *control = connection->control;
    if (control->counts.followers >= control->options.followers_max) {
        request_refuse(request, CARRICK_ERR_LIMIT, NULL, "%u connections follow events already",
                       control->counts.followers);
        return;
    }
    if (follower_start(connection, request->manager)) {
        request_refuse(request, CARRICK_ERR_NO_MEMORY, NULL, "no memory to follow events");
        return;
    }
    request_answer(request, "{}");
    // It says nothing more; what is read is only the end.
    if (!connection->closing)
        connection_read_on(connection);
}

bool request_parse(struct control_request *request, const char *bytes, size_t length, char *text,
                   size_t size)
{
    struct json_tokener *tokener = json_tokener_new_ex(32);
    if (!tokener) {
        snprintf(text, size, "no memory");
        return false;
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    request->root = json_tokener_parse_ex(tokener, bytes, (int)length + 1); // with its NUL
    enum json_tokener_error cause = json_tokener_get_error(tokener);
    size_t end = json_tokener_get_parse_end(tokener);
    json_tokener_free(tokener);
    struct json_object *command;
    struct json_object *manager;
    struct json_object *args;
    if (cause != json_tokener_success || end < length) {
        snprintf(text, size, "the request is not JSON, at character %zu: %s", end + 1,
                 cause == json_tokener_success ? "something follows the value"
                                               : json_tokener_error_desc(cause));
        return false;
    }
    if (!json_object_is_type(request->root, json_type_object) ||
        !json_object_object_get_ex(request->root, "command", &command) ||
        !json_object_is_type(command, json_type_string)) {
        snprintf(text, size,
                 "the request must be an object with a string \"command\", such as "
                 "{\"command\":\"status\"}");
        return false;
    }
    if (json_object_object_get_ex(request->root, "args", &args) && args &&
        !json_object_is_type(args, json_type_object)) {
        snprintf(text, size, "\"args\" must be an object");
        return false;
    }
    if (json_object_object_get_ex(request->root, "manager", &manager) && manager) {
        const char *name = json_object_get_string(manager);
        if (!json_object_is_type(manager, json_type_string) ||
            strlen(name) >= sizeof(request->manager)) {
            snprintf(text, size, "\"manager\" must be the name of a manager");
            return false;
        }
        strcpy(request->manager, name);
    }
    return true;
}
