// SPDX-License-Identifier: Apache-2.0
//
// The control socket: one JSON object on each line, both ways.
//
//     → {"command":"link-down","args":{"link":"left"},"manager":"main"}        args and manager may be left out
//     ← {"ok":true,"result":…}
//     ← {"ok":false,"status":"not-found","text":"there is no link \"left\"; there are: a, b"}
//
// Requests of one connection are answered in order, one at a time. All is bounded: connections, the length of a
// request, how long it may take to arrive, and how long an answer may lie unread. This file knows no command; what a
// request means is the handler's. All of it runs on the thread of its loop.
#ifndef DAEMON_CONTROL_H
#define DAEMON_CONTROL_H

#include <sys/socket.h>
#include <uv.h>

#include <carrick/types.h>

#include "daemon/log.h"

struct json_object;
struct control;
struct control_request;

struct control_options {
    uv_loop_t *loop;
    const char *path;  // of the socket
    const char *group; // whose members may connect beside root; NULL: none
    struct log *log;
    // Takes a request, and answers it by control_answer or one of its like, now or later.
    void (*handle)(void *arg, struct control_request *request);
    void *arg;
    // 0 is the default in each
    unsigned connections_max; // 64
    unsigned followers_max;   // of events, among the connections: 32
    unsigned read_ms;  // from connecting, or from the last answer, to the end of a request: 30,000
    unsigned write_ms; // for an answer or event to be taken: 10,000
    unsigned events_max; // that wait for one connection: 256
};

#define CONTROL_REQUEST_BYTES_MAX 65536u

// Takes the socket. CARRICK_ERR_EXISTS: another daemon has it. error says cause and remedy.
int control_open(const struct control_options *options, struct control **control,
                 struct carrick_error *error);
// Closes all connections, then calls closed, after which the control is gone. Requests that are not answered yet can
// still be, to nobody.
void control_close(struct control *control, void (*closed)(void *arg), void *arg);

struct control_counts {
    unsigned connections;
    unsigned followers;
    uint64_t requests;
    uint64_t refused_connections;
    uint64_t dropped_events;
};
void control_counts(const struct control *control, struct control_counts *counts);

// ---- requests; valid until answered

const char *request_command(const struct control_request *request);
const char *request_manager(const struct control_request *request);      // NULL: not said
struct json_object *request_args(const struct control_request *request); // NULL: not said
const struct ucred *request_caller(const struct control_request *request);

// json: the result, JSON text without a newline.
void request_answer(struct control_request *request, const char *json);
// errors: NULL, or a JSON array that the answer bears as "errors".
void request_refuse(struct control_request *request, int status, const char *errors,
                    const char *format, ...) __attribute__((format(printf, 4, 5)));
// Answers, and makes the connection one that follows events: of one manager, when the request names it.
void request_follow(struct control_request *request);

// ---- events

void control_event(struct control *control, const struct log_event *event);

#endif
