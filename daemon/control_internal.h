// SPDX-License-Identifier: Apache-2.0
//
// What the sources of the control socket share.
#ifndef DAEMON_CONTROL_INTERNAL_H
#define DAEMON_CONTROL_INTERNAL_H

#include "common/local_socket.h"
#include "core/config.h"
#include "daemon/control.h"

struct connection;

// A line that goes out, to one connection or to many.
struct text_line {
    unsigned references;
    size_t length;
    char bytes[];
};

// What follows events: a ring of lines that wait.
struct follower {
    bool active;
    char manager[CONFIG_NAME_SIZE]; // "": all
    unsigned first, count;
    uint64_t dropped;        // not told yet
    struct text_line **ring; // [events_max]
};

struct control {
    struct control_options options;
    struct local_socket sock;
    uv_pipe_t listener;
    struct connection *connections;
    struct control_counts counts;
    bool closing;
    bool listener_gone;
    void (*closed)(void *arg);
    void *closed_arg;
};

struct control_request {
    struct connection *connection; // NULL: it has gone meanwhile
    struct json_object *root;
    struct ucred caller;
    char manager[CONFIG_NAME_SIZE];
};

struct connection {
    struct control *control;
    struct connection *next, **link;
    uv_pipe_t pipe;
    uv_timer_t timer;
    unsigned handles; // that are not closed yet
    bool closing;
    bool ended;       // the other side sends no more
    bool close_after; // once what is being written is written
    struct ucred peer;
    struct control_request *request; // being handled
    char *buffer;
    size_t used, room;
    uv_write_t write;
    bool writing;
    struct text_line *lines[16]; // being written
    unsigned line_count;
    struct follower follower;
};

// ---- control.c

struct text_line *line_create(const char *bytes, size_t length); // a newline is added
void line_put(struct text_line *line);
void connection_close(struct connection *connection);
// Writes what is in connection->lines. Only while nothing is being written.
void connection_write(struct connection *connection);

// Writes one line, and takes it over. NULL: there was no memory for it.
void connection_send(struct connection *connection, struct text_line *line);
// Goes on with what has been read, then reads more.
void connection_read_on(struct connection *connection);

// ---- control_request.c

// Parses one line, which is ended by NUL behind length. On false text says what is wrong.
bool request_parse(struct control_request *request, const char *bytes, size_t length, char *text,
                   size_t size);
// errors: as in request_refuse. NULL: no memory.
struct text_line *refusal_line(int status, const char *errors, const char *text);

// ---- control_events.c

int follower_start(struct connection *connection, const char *manager);
// Writes what waits, if nothing is being written.
void follower_go_on(struct connection *connection);
void follower_end(struct connection *connection);

#endif
