// SPDX-License-Identifier: Apache-2.0
//
// The managers of this process: one thread and one loop for each, started, watched, asked and stopped from the main
// loop. All functions are called on the main loop's thread; so are all callbacks, unless their comment says otherwise.
#ifndef DAEMON_MANAGERS_H
#define DAEMON_MANAGERS_H

#include "core/config.h"
#include "core/loader.h"
#include "daemon/log.h"
#include "daemon/mailbox.h"

struct json_object;
struct manager;
struct managers;

struct managers_options {
    const struct config *config;
    const char *node;
    struct loader *loader;
    const uint8_t *key;
    size_t key_bytes;
    struct log *log;
    uint32_t boot_stage;      // enum carrick_boot_stage
    struct mailbox *mailbox;  // of the main loop
    void (*ended)(void *arg); // all managers have stopped
    void *arg;
};

// Creates every manager on a thread of its own, then starts them. On failure error says which one and why, all threads
// have ended, and ended is not called.
int managers_start(const struct managers_options *options, struct managers **managers,
                   struct carrick_error *error);

// Begins to stop all; a second call hurries them. ended follows.
void managers_stop(struct managers *managers);
// After ended.
void managers_destroy(struct managers *managers);

size_t managers_count(const struct managers *managers);
const char *managers_name(const struct managers *managers, size_t index);
// Index, or -1.
int managers_find(const struct managers *managers, const char *name);

// Calls fn(arg, manager) on the thread of one manager. An enum carrick_status; on an error fn is not called.
int managers_call(struct managers *managers, size_t index,
                  void (*fn)(void *arg, struct manager *manager), void *arg);

// Gives each manager its section of the new configuration, then calls done. complete: all have taken it, and none uses
// the old one any more. An enum carrick_status; on an error none has it and done is not called.
int managers_reload(struct managers *managers, const struct config *config,
                    void (*done)(void *arg, bool complete), void *arg);

// Asks each loop for a sign of life, and says whether all have answered the one before. Those that have not are
// logged, once each time that it happens, when a second has passed.
bool managers_ping(struct managers *managers);

// How long the loop of one has not answered; 0: it has.
uint64_t managers_silent_ms(const struct managers *managers, size_t index);

#endif
