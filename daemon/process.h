// SPDX-License-Identifier: Apache-2.0
//
// Clients as processes of their own ("isolation": "process"): carrick-host runs the plugin, and what the core sees of it
// is a stand-in with the operations of any client, which never waits for the process (but for its making, at the
// start, and its end). docs/client-process.md tells how the two halves work together.
//
//   process.c          the process: watched, ended for certain, started again
//   process_launch.c   how it is begun
//   process_talk.c     what is said to it, and heard of it
//   process_client.c   the stand-in: struct carrick_client_ops
//   process_life.c     the stand-in as its process comes and goes
//   process_serve.c    what the process asks for
//   process_ops.c      what its clients post
#ifndef DAEMON_PROCESS_H
#define DAEMON_PROCESS_H

#include "core/manager.h"

struct processes; // of one manager

// On the manager's thread. NULL: no memory.
struct processes *processes_create(struct env *env, const char *manager);
// The manager has been destroyed.
void processes_destroy(struct processes *processes);

const struct manager_isolation *processes_isolation(struct processes *processes);

// The program that such a process runs: it lies beside the daemon's own.
void process_program(char *path, size_t size);

#endif
