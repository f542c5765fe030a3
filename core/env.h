// SPDX-License-Identifier: Apache-2.0
//
// The world as the core sees it. Time, randomness, timers, descriptors, workers, memory and the log reach the
// core only through this table, so that the same core runs on a real loop (daemon/env_uv.c) and, two nodes at
// once, under a seeded scheduler in virtual time (tests/sim).
//
// An env belongs to one manager and to its thread. All calls come from that thread; all callbacks run on it.
#ifndef CORE_ENV_H
#define CORE_ENV_H

#include <carrick/client.h>

struct env;
struct env_timer;
struct env_watch;
struct env_file;

// One line of the log. A record with an event name is also an event, for those who follow them.
struct env_record {
    int level;           // enum carrick_log_level
    const char *event;   // machine-readable name such as "session-up", or NULL
    const char *manager; // name of the manager
    const char *object;  // link, client or plugin that it concerns, or NULL
    const char *text;
};

// Memory for a region: mapped shared, so that it can be given to another process.
struct env_memory {
    void *address;
    uint64_t bytes; // rounded up to pages
    int fd;         // owned by the env until memory_unmap; -1 in a simulation
};

struct env_ops {
    uint64_t (*now_ns)(struct env *env);
    void (*random)(struct env *env, void *buffer, size_t length);
    void (*log)(struct env *env, const struct env_record *record);

    // One-shot timers, as in struct carrick_host. NULL: no memory. Resolution may be a millisecond; never early.
    struct env_timer *(*timer_create)(struct env *env, void (*fn)(void *arg), void *arg);
    void (*timer_start)(struct env_timer *timer, uint64_t delay_ns);
    void (*timer_stop)(struct env_timer *timer);
    void (*timer_destroy)(struct env_timer *timer);

    // Level-triggered; events are enum carrick_watch_events. NULL: no memory, or no descriptors in this world.
    struct env_watch *(*watch_create)(struct env *env, int fd, uint32_t events,
                                      void (*fn)(void *arg, uint32_t events), void *arg);
    void (*watch_destroy)(struct env_watch *watch);

    // Runs work(arg) on a worker, then done(arg) on this thread. 0, or an enum carrick_status.
    int (*work)(struct env *env, void (*work)(void *arg), void (*done)(void *arg), void *arg);

    // fd -1: fresh zeroed memory. Else bytes of fd from offset; the descriptor is duplicated.
    int (*memory_map)(struct env *env, uint64_t bytes, int fd, uint64_t offset,
                      struct env_memory *memory);
    void (*memory_unmap)(struct env *env, struct env_memory *memory);
    // Says what devices will have locked of this node's memory for the env's manager, in all, instead of what it said before.
    // CARRICK_ERR_LIMIT, and nothing has changed: with *others, what other managers of the process have said, it is more
    // than limit. 0 is never too much. NULL: there are no others.
    int (*memory_lock)(struct env *env, uint64_t bytes, uint64_t limit, uint64_t *others);
    // A file as memory, as region_open in carrick/client.h; memory_unmap gives it back.
    int (*memory_open)(struct env *env, const char *path, uint64_t bytes, struct env_memory *memory,
                       struct carrick_region_info *info, struct carrick_error *error);

    // Files, as in struct carrick_host.
    int (*file_open)(struct env *env, const char *path, uint32_t flags, uint64_t bytes,
                     struct env_file **file, struct carrick_file_info *info,
                     struct carrick_error *error);
    int (*file_submit)(struct env_file *file, const struct carrick_file_request *request);
    int (*file_read_now)(struct env_file *file, uint64_t offset, void *data, uint64_t length);
    void (*file_close)(struct env_file *file);

    // NULL where nothing goes on by itself. Lets what is under way on workers and files go on for a moment, and runs its
    // callbacks: for the end of a manager that never ran.
    void (*settle)(struct env *env);
};

struct env {
    const struct env_ops *ops;
};

static inline uint64_t env_now_ns(struct env *env)
{
    return env->ops->now_ns(env);
}

#define ENV_MS 1000000ull // nanoseconds

#endif
