// SPDX-License-Identifier: Apache-2.0
//
// A cluster connection manager (claim 1): one thread, one env, its links to the partner's manager of the same name,
// one session at a time, and the clients that it serves. This is the whole interface that the daemon and the
// simulator have of it.
#ifndef CORE_MANAGER_H
#define CORE_MANAGER_H

#include "core/config.h"
#include "core/env.h"
#include "core/loader.h"

struct json_object;
struct link;
struct manager;

// Who runs clients as processes of their own. The core sees a stand-in with the operations of any client, whose describe
// and provide may answer CARRICK_ERR_AGAIN (ask again soon) and describe CARRICK_ERR_STATE (leave it out of the session).
struct manager_isolation_report {
    const char *process; // its name
    const char *state;
    const char *last_cause; // why it last ended; "": it never has
    int64_t pid;            // 0: none runs
    uint64_t restarts;
    uint64_t beat_age_ms;
};

struct manager_isolation {
    const struct carrick_client_ops *ops; // create takes the place of the table's
    int (*create)(void *arg, const struct config_client *config, const char *plugin_path,
                  const struct carrick_client_host *host, struct carrick_client **client,
                  struct carrick_error *error);
    void (*report)(struct carrick_client *client, struct manager_isolation_report *report);
    uint32_t (*still_ms)(void *arg); // how long the stillest process has given no sign of life
    void *arg;
};

struct manager_options {
    const struct config *config;          // outlives the manager; replaced by manager_reload
    const struct config_manager *section; // the one among config's managers that this is
    const char *node;                     // this node's name, one of config->nodes
    struct env *env;                      // outlives the manager
    struct loader *loader;                // outlives the manager
    const uint8_t *key;                   // the cluster key; copied
    size_t key_bytes;
    const struct manager_isolation
        *isolation;      // outlives the manager; NULL: such a client is refused
    uint32_t boot_stage; // enum carrick_boot_stage that its status line tells at first; 0: serving
    void (*stopped)(void *arg); // the end of manager_stop
    void *arg;
};

// Loads plugins, makes clients. On failure error says what and nothing is left behind.
int manager_create(const struct manager_options *options, struct manager **manager,
                   struct carrick_error *error);

// Opens the links and begins bring-up. A link that cannot be opened is retried; it is no failure of the manager.
int manager_start(struct manager *manager, struct carrick_error *error);

// Ends the session in order, closes everything, then calls stopped. Takes no longer than the configured ending_ms
// and a bounded time for the transports. Calling it again while it is under way hurries it: no more waiting for clients.
void manager_stop(struct manager *manager);

// After stopped, or when the transports close at once (a killed node of the simulator).
void manager_destroy(struct manager *manager);

// Polls the devices once and does what follows. Returns the number of events. Called by the loop when it spins;
// otherwise the manager calls it itself from its watches.
unsigned manager_poll(struct manager *manager);
// The same for the link whose device has something, when nobody spins: the others' devices say so themselves.
unsigned manager_poll_link(struct manager *manager, struct link *link);

// Until when the loop is to spin on manager_poll rather than sleep (poll_us after the last event); 0: it may sleep.
uint64_t manager_spin_until_ns(struct manager *manager);

// Takes a new configuration that config_reload_check has accepted.
void manager_reload(struct manager *manager, const struct config *config,
                    const struct config_manager *section);

// Runs an operator's command. reply is called once, now or later, on the manager's thread, with an enum carrick_status
// and a JSON value that it owns (on failure: a string that says why), may be NULL. Words: status links clients vis stats
// session-reset link-down link-up boot-stage client.
//   status: no args.  link-down, link-up: {"link": NAME}.  session-reset: {"why": TEXT}.  boot-stage: {"stage": NAME}.
//   client: {"client": NAME, "word": WORD, "args": JSON value}: handed to the client's own command operation.
void manager_command(struct manager *manager, const char *word, struct json_object *args,
                     void (*reply)(void *arg, int status, struct json_object *value), void *arg);

// Adds this manager's metrics to the sink, on the manager's thread.
struct metrics_sink;
void manager_metrics(struct manager *manager, struct metrics_sink *sink);

// For the simulator only: replay ignores what the partner confirmed, to show that the tests notice.
void manager_break_replay(struct manager *manager);

const char *manager_name(const struct manager *manager);

#endif
