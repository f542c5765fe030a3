// SPDX-License-Identifier: Apache-2.0
#include "daemon/control_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// ---- lines

struct text_line *line_create(const char *bytes, size_t length)
{
    struct text_line *line = malloc(sizeof(*line) + length + 1);
    if (!line)
        return NULL;
    line->references = 1;
    line->length = length + 1;
    memcpy(line->bytes, bytes, length);
    line->bytes[length] = '\n';
    return line;
}

void line_put(struct text_line *line)
{
    if (line && --line->references == 0)
        free(line);
}

// ---- connections: their end

static void finish_close(struct control *control)
{
    if (!control->closing || control->connections || !control->listener_gone)
        return;
    void (*closed)(void *arg) = control->closed;
    void *arg = control->closed_arg;
    local_socket_close(&control->sock);
    free(control);
    closed(arg);
}

static void connection_free(struct connection *connection)
{
    struct control *control = connection->control;
    *connection->link = connection->next;
    if (connection->next)
        connection->next->link = connection->link;
    control->counts.connections--;
    if (connection->request)
        connection->request->connection = NULL;
    follower_end(connection);
    for (unsigned i = 0; i < connection->line_count; i++)
        line_put(connection->lines[i]);
    free(connection->buffer);
    free(connection);
    finish_close(control);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct connection *connection = handle->data;
    // A write that was cut off is called back before its pipe's close, so nothing is under way any more.
    if (--connection->handles == 0)
        connection_free(connection);
}

void connection_close(struct connection *connection)
{
    if (connection->closing)
        return;
    connection->closing = true;
    uv_close((uv_handle_t *)&connection->pipe, on_handle_closed);
    uv_close((uv_handle_t *)&connection->timer, on_handle_closed);
}

static void on_deadline(uv_timer_t *timer)
{
    connection_close(timer->data);
}

static void set_deadline(struct connection *connection, unsigned ms)
{
    uv_timer_start(&connection->timer, on_deadline, ms, 0);
}

// ---- writing

static void on_written(uv_write_t *write, int status)
{
    struct connection *connection = write->data;
    connection->writing = false;
    for (unsigned i = 0; i < connection->line_count; i++)
        line_put(connection->lines[i]);
    connection->line_count = 0;
    if (connection->closing)
        return;
    uv_timer_stop(&connection->timer);
    if (status || connection->close_after)
        connection_close(connection);
    else if (connection->follower.active)
        follower_go_on(connection);
    else
        connection_read_on(connection);
}

void connection_write(struct connection *connection)
{
    uv_buf_t buffers[sizeof(connection->lines) / sizeof(connection->lines[0])];
    for (unsigned i = 0; i < connection->line_count; i++)
        buffers[i] =
            uv_buf_init(connection->lines[i]->bytes, (unsigned)connection->lines[i]->length);
    connection->write.data = connection;
    connection->writing = true;
    set_deadline(connection, connection->control->options.write_ms);
    if (uv_write(&connection->write, (uv_stream_t *)&connection->pipe, buffers,
                 connection->line_count, on_written)) {
        connection->writing = false;
        connection_close(connection);
    }
}

void connection_send(struct connection *connection, struct text_line *line)
{
    if (!line) {
        connection_close(connection);
        return;
    }
    connection->lines[0] = line;
    connection->line_count = 1;
    connection_write(connection);
}

// ---- reading

// Takes one line, which is ended by NUL.
static void take_line(struct connection *connection, char *line, size_t length)
{
    struct control *control = connection->control;
    struct control_request *request = calloc(1, sizeof(*request));
    if (!request) {
        connection_close(connection);
        return;
    }
    char text[256];
    control->counts.requests++;
    uv_timer_stop(&connection->timer);
    request->connection = connection;
    request->caller = connection->peer;
    connection->request = request;
    if (memchr(line, 0, length))
        request_refuse(request, CARRICK_ERR_INVALID, NULL, "the request holds a NUL byte");
    else if (!request_parse(request, line, length, text, sizeof(text)))
        request_refuse(request, CARRICK_ERR_INVALID, NULL, "%s", text);
    else
        control->options.handle(control->options.arg, request);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static void take_lines(struct connection *connection)
{
    while (!connection->closing && !connection->request && !connection->writing &&
           !connection->follower.active) {
        char *end = connection->used ? memchr(connection->buffer, '\n', connection->used) : NULL;
        if (!end)
            break;
        size_t length = (size_t)(end - connection->buffer);
        size_t kept = length;
        while (kept > 0 && is_blank(connection->buffer[kept - 1]))
            kept--;
        connection->buffer[kept] = 0;
        take_line(connection, connection->buffer, kept);
        connection->used -= length + 1;
        memmove(connection->buffer, end + 1, connection->used);
    }
}

static void refuse_oversize(struct connection *connection)
{
    char text[96];
    snprintf(text, sizeof(text), "a request has at most %u bytes, with its newline",
             CONTROL_REQUEST_BYTES_MAX);
    uv_read_stop((uv_stream_t *)&connection->pipe);
    connection->close_after = true;
    connection_send(connection, refusal_line(CARRICK_ERR_LIMIT, NULL, text));
}

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)suggested;
    struct connection *connection = handle->data;
    *buffer = uv_buf_init(NULL, 0);
    if (connection->follower.active)
        connection->used = 0; // what a follower says is not heard
    if (connection->used == connection->room && connection->room < CONTROL_REQUEST_BYTES_MAX) {
        size_t room = connection->room ? connection->room * 4 : 4096;
        char *grown = realloc(connection->buffer, room);
        if (!grown)
            return;
        connection->buffer = grown;
        connection->room = room;
    }
    *buffer = uv_buf_init(connection->buffer + connection->used,
                          (unsigned)(connection->room - connection->used));
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer)
{
    (void)buffer;
    struct connection *connection = stream->data;
    if (got == UV_EOF && (connection->request || connection->writing) &&
        !connection->follower.active) {
        // It may have closed only its sending half: the answer is still owed.
        connection->ended = true;
        uv_read_stop(stream);
        return;
    }
    if (got < 0) {
        connection_close(connection);
        return;
    }
    connection->used += (size_t)got;
    connection_read_on(connection);
}

// Goes on with what has been read, then reads more, unless an answer is still owed: who sends without reading the
// answers waits, here as elsewhere.
void connection_read_on(struct connection *connection)
{
    uv_stream_t *stream = (uv_stream_t *)&connection->pipe;
    take_lines(connection);
    if (connection->closing)
        return;
    bool owing = (connection->request || connection->writing) && !connection->follower.active;
    if (owing) {
        uv_read_stop(stream);
    } else if (connection->ended) {
        connection_close(connection);
    } else if (connection->used == CONTROL_REQUEST_BYTES_MAX && !connection->follower.active) {
        refuse_oversize(connection);
    } else {
        // The deadline of a request that has begun stands; a follower has none but for what it is being written.
        if (!connection->follower.active && !uv_is_active((uv_handle_t *)&connection->timer))
            set_deadline(connection, connection->control->options.read_ms);
        uv_read_start(stream, on_room, on_read);
    }
}

// ---- connections: their beginning

static void refuse_connection(struct connection *connection)
{
    char text[128];
    struct control *control = connection->control;
    snprintf(text, sizeof(text), "%u connections are open already, which is the limit; close some",
             control->options.connections_max);
    control->counts.refused_connections++;
    connection->close_after = true;
    connection_send(connection, refusal_line(CARRICK_ERR_LIMIT, NULL, text));
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct control *control = listener->data;
    struct connection *connection = status ? NULL : calloc(1, sizeof(*connection));
    if (!connection)
        return;
    connection->control = control;
    uv_pipe_init(control->options.loop, &connection->pipe, 0);
    uv_timer_init(control->options.loop, &connection->timer);
    connection->pipe.data = connection;
    connection->timer.data = connection;
    connection->handles = 2;
    connection->next = control->connections;
    connection->link = &control->connections;
    if (connection->next)
        connection->next->link = &connection->next;
    control->connections = connection;
    control->counts.connections++;
    uv_os_fd_t fd;
    socklen_t length = sizeof(connection->peer);
    if (uv_accept(listener, (uv_stream_t *)&connection->pipe) ||
        uv_fileno((uv_handle_t *)&connection->pipe, &fd) ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &connection->peer, &length))
        connection_close(connection);
    else if (control->counts.connections > control->options.connections_max)
        refuse_connection(connection);
    else
        connection_read_on(connection);
}

// ---- the whole

static void set_default(unsigned *value, unsigned standard)
{
    if (*value == 0)
        *value = standard;
}

int control_open(const struct control_options *options, struct control **made,
                 struct carrick_error *error)
{
    *made = NULL;
    struct control *control = calloc(1, sizeof(*control));
    if (!control)
        return error->status = CARRICK_ERR_NO_MEMORY;
    control->options = *options;
    set_default(&control->options.connections_max, 64);
    set_default(&control->options.followers_max, 32);
    set_default(&control->options.read_ms, 30000);
    set_default(&control->options.write_ms, 10000);
    set_default(&control->options.events_max, 256);
    const struct local_socket_options place = {
        .path = options->path,
        .group = options->group,
        .what = "control socket",
        .setting = "control.socket",
        .instead = "node (--node) or socket (control.socket)",
    };
    int status = local_socket_open(&place, &control->sock, error);
    if (status) {
        free(control);
        return status;
    }
    uv_pipe_init(options->loop, &control->listener, 0);
    control->listener.data = control;
    int cause = uv_pipe_open(&control->listener, control->sock.fd);
    if (!cause)
        cause = uv_listen((uv_stream_t *)&control->listener, 64, on_connection);
    if (cause) {
        // Nothing of this can fail for a socket that listens already; the process ends on it.
        snprintf(error->text, sizeof(error->text), "cannot listen on %s: %s", options->path,
                 uv_strerror(cause));
        return error->status = CARRICK_ERR_SYSTEM;
    }
    *made = control;
    return CARRICK_OK;
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct control *control = handle->data;
    control->listener_gone = true;
    finish_close(control);
}

void control_close(struct control *control, void (*closed)(void *arg), void *arg)
{
    control->closing = true;
    control->closed = closed;
    control->closed_arg = arg;
    uv_close((uv_handle_t *)&control->listener, on_listener_closed);
    for (struct connection *connection = control->connections; connection;
         connection = connection->next)
        connection_close(connection);
}

void control_counts(const struct control *control, struct control_counts *counts)
{
    *counts = control->counts;
}
