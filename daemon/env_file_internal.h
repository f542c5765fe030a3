// SPDX-License-Identifier: Apache-2.0
//
// Between env_file.c and env_file_request.c.
#ifndef DAEMON_ENV_FILE_INTERNAL_H
#define DAEMON_ENV_FILE_INTERNAL_H

#include "core/env.h"

#include <sys/queue.h>

struct file_job {
    STAILQ_ENTRY(file_job) entry;
    struct env_file *file;
    struct carrick_file_request request;
    int sys_errno;
};

STAILQ_HEAD(file_jobs, file_job);

struct env_file {
    struct env *env;
    int fd;
    uint64_t bytes;
    bool in_memory;           // tmpfs: a read never waits for a disk
    struct file_jobs batch;   // changes that one thread makes now: its own until it is done
    struct file_jobs waiting; // for their turn behind it
    bool telling;             // the ends of a batch are being told
    bool closed;              // ... by one of which it was closed
    struct file_jobs kept;    // free ones
    unsigned kept_count;
};

#endif
