// SPDX-License-Identifier: Apache-2.0
//
// carrickd as a whole: what main.c starts, and what the parts of the main loop share.
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

#include <stdatomic.h>
#include <uv.h>

#include "core/config.h"
#include "core/loader.h"
#include "daemon/control.h"
#include "daemon/key_file.h"
#include "daemon/log.h"
#include "daemon/mailbox.h"
#include "daemon/managers.h"
#include "daemon/metrics_http.h"

// Documented in carrickd(8).
enum daemon_exit {
    DAEMON_EXIT_CLEAN = 0,
    DAEMON_EXIT_FAILED = 1, // something that it needs cannot be had
    DAEMON_EXIT_USAGE = 2,
    DAEMON_EXIT_CONFIG = 3, // the configuration, or what it names, is wrong
    DAEMON_EXIT_SECOND = 4, // another daemon has the control socket
    DAEMON_EXIT_LATE = 5,   // stopped, but not in order within the deadline
};

struct daemon_options {
    const char *config_file;
    const char *node; // NULL: the host's name
    int log_level;    // -1: as configured
    uint32_t
        boot_stage; // enum carrick_boot_stage; INITRAMFS: only with the clients that are marked `early`
    bool check;     // say whether all is well, and end
    bool list_files; // say which files such a daemon needs, and end
};

// The whole life of the process.
enum daemon_exit daemon_run(const struct daemon_options *options);

struct daemon {
    struct daemon_options options;
    uint64_t started_ms;
    struct log *log;
    struct config *config;
    int node; // index among config->nodes
    struct loader *loader;
    struct key key;
    uv_loop_t loop;
    struct mailbox mailbox;
    struct control *control;
    struct managers *managers;
    struct metrics_http *metrics;
    uv_signal_t signals[3];
    uv_timer_t pulse; // watches the managers, feeds the watchdog
    uv_timer_t deadline;
    uint64_t watchdog_ms;       // 0: there is none
    atomic_uint events_waiting; // posted to the main loop, not yet taken there
    atomic_ullong events_lost;
    bool stopping;
    enum daemon_exit exit;
    struct relay *relays;        // requests that managers are to answer
    struct reloading *reloading; // NULL: no reload is under way
};

// ---- prepare.c: everything before the loop. Say themselves, on standard error, what is wrong.

// Reads the file and finds the node and the plugins.
enum daemon_exit prepare_config(struct daemon *daemon);
enum daemon_exit prepare_key(struct daemon *daemon);
void prepare_limits(void);
// Takes out of a configuration that was just loaded what has no place at this stage of the boot.
void prepare_stage(const struct daemon *daemon, struct config *config);
// Prints the configuration, the key file and the plugins, one path on each line.
enum daemon_exit prepare_list_files(struct daemon *daemon);
// Checks a configuration beyond its own text, adding errors.
int prepare_check(struct daemon *daemon, const struct config *config, struct config_errors *errs);

// ---- reload.c

// Reads the file again. request: by command, and is answered; NULL: by signal. The outcome is logged. A configuration
// that is refused changes nothing.
void daemon_reload(struct daemon *daemon, struct control_request *request);

// ---- commands.c

// Handles a request of the control socket; arg is the daemon.
void commands_handle(void *arg, struct control_request *request);
// The managers have ended: answers what still waits for them.
void commands_end(struct daemon *daemon);

#endif
