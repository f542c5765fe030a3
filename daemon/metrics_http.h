// SPDX-License-Identifier: Apache-2.0
//
// GET /metrics over HTTP, on the main loop. The text is collected from one manager after the other, each on its own
// thread; a request waits meanwhile, and nothing else does.
#ifndef DAEMON_METRICS_HTTP_H
#define DAEMON_METRICS_HTTP_H

#include <uv.h>

#include "core/config.h"
#include "core/metrics.h"
#include "daemon/log.h"
#include "daemon/mailbox.h"

struct manager;
struct managers;
struct metrics_http;

struct metrics_http_options {
    uv_loop_t *loop;
    struct mailbox *mailbox; // of the loop
    const struct config_listen *listen;
    struct managers *managers;
    struct log *log;
    // The daemon's own metrics, added before those of the managers.
    void (*own)(void *arg, struct metrics_sink *sink);
    void *arg;
    unsigned wait_ms; // until a request is answered without what a manager owes; 0: 5,000
};

// Listens; when that fails, says so in the log and tries again every ten seconds: a daemon does not stay down because
// a port is taken. CARRICK_ERR_NO_MEMORY is the only error.
int metrics_http_open(const struct metrics_http_options *options, struct metrics_http **http);
// All managers have ended. What still waits is answered that it comes to nothing.
void metrics_http_close(struct metrics_http *http);

// metrics_own.c: of the process, with the text of the log and of the control socket.
struct control;
void metrics_own(struct metrics_sink *sink, const char *node, struct log *log,
                 const struct control *control);

#endif
