// SPDX-License-Identifier: Apache-2.0
//
// The control socket: one JSON object on each line, both ways. Every wait has a deadline, since a daemon that
// hangs is exactly what an operator comes to look at.

#include "cli/cli.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX (64u * 1024 * 1024)
#define TIMEOUT_DEFAULT_MS 5000u

static void complain_connect(const char *path, int error)
{
    struct stat about;
    if (error == ENOENT) {
        complain("no daemon listens on %s; is carrickd running? (systemctl status carrickd)", path);
    } else if (error == ECONNREFUSED) {
        complain("%s is there, but no daemon behind it: carrickd has died (journalctl -u carrickd)",
                 path);
    } else if (error == EAGAIN) {
        complain("the daemon behind %s takes no more connections: it hangs, or too many wait",
                 path);
    } else if (error == EACCES && stat(path, &about) == 0) {
        struct group *group = getgrgid(about.st_gid);
        complain("no permission for %s; it takes root and members of the group '%s'", path,
                 group ? group->gr_name : "?");
    } else {
        complain("cannot connect to %s: %s", path, strerror(error));
    }
}

int connection_open(const struct cli_options *options, struct connection *connection)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct ucred peer;
    socklen_t peer_bytes = sizeof peer;

    *connection = (struct connection){.fd = -1};
    int result = socket_find(options, connection->path, sizeof connection->path);
    if (result != CLI_OK)
        return result;
    if (strlen(connection->path) >= sizeof address.sun_path) {
        complain("the socket's path is longer than the %zu bytes that the system takes: '%s'",
                 sizeof address.sun_path - 1, connection->path);
        return CLI_USAGE;
    }
    strcpy(address.sun_path, connection->path);
    // Not blocking, so that a full backlog is an error and not a wait without end.
    connection->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (connection->fd < 0 ||
        connect(connection->fd, (struct sockaddr *)&address, sizeof address) != 0) {
        complain_connect(connection->path, errno);
        connection_close(connection);
        return CLI_UNREACHABLE;
    }
    if (getsockopt(connection->fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_bytes) == 0)
        connection->pid = peer.pid;
    return CLI_OK;
}

void connection_close(struct connection *connection)
{
    if (connection->fd >= 0)
        close(connection->fd);
    free(connection->buffer);
    *connection = (struct connection){.fd = -1};
}

// 1: ready; 0: the time is over. until_ms 0: for ever.
static int wait_ready(int fd, short events, uint64_t until_ms)
{
    for (;;) {
        uint64_t now = cli_now_ms();
        if (until_ms && now >= until_ms)
            return 0;
        struct pollfd poll_fd = {.fd = fd, .events = events};
        int ready = poll(&poll_fd, 1, until_ms ? (int)(until_ms - now) : -1);
        if (ready > 0)
            return 1;
        if (ready < 0 && errno != EINTR)
            return 0;
    }
}

static int complain_silent(const struct connection *connection, unsigned timeout_ms)
{
    char age[32];
    text_age(timeout_ms, age, sizeof age);
    complain(
        "the daemon (process %d) did not answer within %s: it hangs, is stopped, or the machine is "
        "overloaded",
        connection->pid, age);
    return CLI_UNREACHABLE;
}

int connection_send(struct connection *connection, struct json_object *request)
{
    const char *text = json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN);
    size_t length = strlen(text), sent = 0;
    uint64_t until_ms = cli_now_ms() + TIMEOUT_DEFAULT_MS;

    while (sent <= length) { // the newline is the byte after the text
        ssize_t n = sent < length ? send(connection->fd, text + sent, length - sent, MSG_NOSIGNAL)
                                  : send(connection->fd, "\n", 1, MSG_NOSIGNAL);
        if (n > 0) {
            sent += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            if (!wait_ready(connection->fd, POLLOUT, until_ms))
                return complain_silent(connection, TIMEOUT_DEFAULT_MS);
        } else if (n < 0 && errno != EINTR) {
            complain("the daemon closed the connection: %s", strerror(errno));
            return CLI_UNREACHABLE;
        }
    }
    return CLI_OK;
}

// Drops the line that was handed out before.
static void drop_line(struct connection *connection)
{
    char *end = connection->used ? memchr(connection->buffer, 0, connection->used) : NULL;
    if (end) {
        connection->used -= (size_t)(end + 1 - connection->buffer);
        memmove(connection->buffer, end + 1, connection->used);
    }
}

static int make_room(struct connection *connection)
{
    if (connection->size - connection->used >= 4096)
        return CLI_OK;
    size_t size = connection->size ? connection->size * 2 : 16384;
    char *buffer = size <= ANSWER_BYTES_MAX ? realloc(connection->buffer, size) : NULL;
    if (!buffer) {
        complain("the daemon's answer is too long");
        return CLI_UNREACHABLE;
    }
    connection->buffer = buffer;
    connection->size = size;
    return CLI_OK;
}

int connection_line(struct connection *connection, unsigned timeout_ms, const char **line)
{
    uint64_t until_ms = timeout_ms ? cli_now_ms() + timeout_ms : 0;
    size_t searched = 0;

    drop_line(connection);
    for (;;) {
        char *end = connection->used > searched
                        ? memchr(connection->buffer + searched, '\n', connection->used - searched)
                        : NULL;
        if (end) {
            *end = 0;
            *line = connection->buffer;
            return CLI_OK;
        }
        searched = connection->used;
        if (make_room(connection) != CLI_OK)
            return CLI_UNREACHABLE;
        ssize_t n = recv(connection->fd, connection->buffer + connection->used,
                         connection->size - connection->used, 0);
        if (n > 0) {
            connection->used += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            if (!wait_ready(connection->fd, POLLIN, until_ms))
                return complain_silent(connection, timeout_ms);
        } else if (n == 0 || errno != EINTR) {
            complain("the daemon closed the connection%s%s", n < 0 ? ": " : "",
                     n < 0 ? strerror(errno) : "");
            return CLI_UNREACHABLE;
        }
    }
}

void refusal_print(const struct cli_options *options, struct json_object *answer)
{
    char text[1024];
    if (options->json) {
        json_print(answer);
        return;
    }
    text_clean(member_text(answer, "text"), text, sizeof text);
    if (!text[0])
        text_clean(member_text(answer, "status"), text, sizeof text);
    complain("%s", text[0] ? text : "the daemon refused, and did not say why");
    struct json_object *errors = member_array(answer, "errors");
    for (size_t i = 0; i < array_length(errors); i++) {
        struct json_object *error = json_object_array_get_idx(errors, i);
        text_clean(json_object_is_type(error, json_type_string) ? json_object_get_string(error)
                                                                : member_text(error, "text"),
                   text, sizeof text);
        fprintf(stderr, "%s\n", text);
    }
}

static struct json_object *make_request(const struct cli_options *options, const char *command,
                                        struct json_object *args)
{
    struct json_object *request = json_object_new_object();
    json_object_object_add(request, "command", json_object_new_string(command));
    if (args)
        json_object_object_add(request, "args", args);
    if (options->manager)
        json_object_object_add(request, "manager", json_object_new_string(options->manager));
    return request;
}

static int take_answer(const struct cli_options *options, const char *line,
                       struct json_object **result)
{
    struct json_object *answer = json_tokener_parse(line), *value;
    int exit_code = CLI_OK;

    if (!json_object_is_type(answer, json_type_object)) {
        complain("the daemon's answer is no JSON object; is that the control socket of carrickd?");
        exit_code = CLI_UNREACHABLE;
    } else if (!member_bool(answer, "ok")) {
        refusal_print(options, answer);
        exit_code = CLI_NOT_WELL;
    } else if (result) {
        *result =
            json_object_object_get_ex(answer, "result", &value) ? json_object_get(value) : NULL;
    }
    json_object_put(answer);
    return exit_code;
}

int request_run(const struct cli_options *options, const char *command, struct json_object *args,
                struct json_object **result)
{
    struct connection connection;
    const char *line;
    struct json_object *request = make_request(options, command, args);
    int exit_code = connection_open(options, &connection);

    if (result)
        *result = NULL;
    if (exit_code == CLI_OK)
        exit_code = connection_send(&connection, request);
    if (exit_code == CLI_OK)
        exit_code = connection_line(
            &connection, options->timeout_ms ? options->timeout_ms : TIMEOUT_DEFAULT_MS, &line);
    if (exit_code == CLI_OK)
        exit_code = take_answer(options, line, result);
    connection_close(&connection);
    json_object_put(request);
    return exit_code;
}
