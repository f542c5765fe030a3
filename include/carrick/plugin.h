// SPDX-License-Identifier: Apache-2.0
//
// How a shared object becomes a Carrick plugin, and the part of the host table that every kind gets.
//
// A plugin is one shared object that exports one symbol, carrick_plugin_entry, by means of one line:
//
//     CARRICK_PLUGIN_REGISTER(CARRICK_KIND_CLIENT, "echo", "1.2", "Apache-2.0",
//                             "sends back what it gets", echo_ops);
//
// Rules of loading, for the author:
//
//  - It is opened with RTLD_NOW | RTLD_LOCAL and must resolve all its symbols by itself: link with
//    -Wl,-z,defs. It may use no symbol of the daemon; all that it may call comes by the host table.
//  - Constructors must do nothing. The entry function may be called before any configuration is read,
//    by commands that only inspect the file.
//  - One shared object may be used by several managers, each on its own thread: keep no mutable state
//    outside the instances that create() makes.
//  - It stays loaded while anything can still call into it.
#ifndef CARRICK_PLUGIN_H
#define CARRICK_PLUGIN_H

#include <carrick/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum carrick_kind {
    CARRICK_KIND_TRANSPORT = 1, // struct carrick_transport_ops
    CARRICK_KIND_CLIENT = 2,    // struct carrick_client_ops
    CARRICK_KIND_POLICY = 3,    // struct carrick_policy_ops
    CARRICK_KIND_ARBITER = 4,   // struct carrick_arbiter_ops
    // A transport that wraps another one (a fault injector, a tracer). It must match the core's ABI
    // exactly, major, minor and table size: an older wrapper would let newer operations pass unseen.
    CARRICK_KIND_TRANSPORT_WRAPPER = 5,
};

struct carrick_plugin {
    uint32_t struct_size;    // stamped by the macro: sizeof(struct carrick_plugin) at build time
    uint16_t abi_major;      // stamped by the macro
    uint16_t abi_minor;      // stamped by the macro
    uint32_t kind;           // enum carrick_kind
    uint32_t ops_size;       // stamped by the macro: sizeof of the table at build time
    const char *name;        // [a-z0-9_]{1,31}; the file is NAME.so
    const char *version;     // the plugin's own, for people
    const char *licence;     // an SPDX expression
    const char *description; // one line
    const void *ops;         // the table of this kind; constant while the plugin is loaded
};

// The one symbol. Returns the same pointer at each call, never NULL. Any thread; must not block.
const struct carrick_plugin *carrick_plugin_entry(void);

#ifdef __cplusplus
#define CARRICK_EXPORT extern "C" __attribute__((visibility("default")))
#else
#define CARRICK_EXPORT __attribute__((visibility("default")))
#endif

#define CARRICK_PLUGIN_REGISTER(kind_, name_, version_, licence_, description_, ops_)              \
    static const struct carrick_plugin carrick_plugin_descriptor = {                               \
        sizeof(struct carrick_plugin),                                                             \
        CARRICK_ABI_MAJOR,                                                                         \
        CARRICK_ABI_MINOR,                                                                         \
        (kind_),                                                                                   \
        sizeof(ops_),                                                                              \
        (name_),                                                                                   \
        (version_),                                                                                \
        (licence_),                                                                                \
        (description_),                                                                            \
        &(ops_),                                                                                   \
    };                                                                                             \
    CARRICK_EXPORT const struct carrick_plugin *carrick_plugin_entry(void)                         \
    {                                                                                              \
        return &carrick_plugin_descriptor;                                                         \
    }                                                                                              \
    typedef int carrick_plugin_register_wants_a_semicolon

struct carrick_timer;
struct carrick_watch;
struct carrick_file;

enum carrick_watch_events {
    CARRICK_WATCH_READ = 1,
    CARRICK_WATCH_WRITE = 2,
};

// What a file lies on, and what that says of its content after a crash.
enum carrick_file_kind {
    CARRICK_FILE_REGULAR = 1,
    CARRICK_FILE_BLOCK_DEVICE = 2,
};

enum carrick_file_flags {
    CARRICK_FILE_CREATE = 1, // make it if it is not there, zeroed, mode 0600
    CARRICK_FILE_READ_ONLY = 2,
};

struct carrick_file_info {
    uint32_t struct_size;
    uint32_t kind;  // enum carrick_file_kind
    uint64_t bytes; // how long it is
    bool created;   // CARRICK_FILE_CREATE made it
};

enum carrick_file_operation {
    CARRICK_FILE_READ = 1,
    CARRICK_FILE_WRITE = 2,
    CARRICK_FILE_SYNC =
        3, // fdatasync(2): writes that completed before this was posted survive a crash when it completes
    CARRICK_FILE_ZERO = 4, // the range reads as zeroes
    CARRICK_FILE_TRIM = 5, // as ZERO, and the space is given back where the file system can
};

struct carrick_file_request {
    uint32_t struct_size;
    uint32_t operation; // enum carrick_file_operation
    uint64_t offset;
    uint64_t length;
    void *data; // READ: filled; WRITE: must stay unchanged until fn; else NULL
    // On the manager's thread, once, never from within file_submit. status: CARRICK_OK, or CARRICK_ERR_SYSTEM with the
    // errno of the call that failed (ENOSPC, EIO, …); a short transfer is an error (EIO), and then it is unknown which
    // part of a write is in the file.
    void (*fn)(void *arg, int status, int sys_errno);
    void *arg;
};

// What every plugin instance may call. The pointer is handed to create() and is valid until destroy()
// returns. All calls come from the thread on which the instance was created (the manager's thread),
// except log and now_ns, which any thread may call. None blocks.
struct carrick_host {
    uint32_t struct_size;
    uint16_t abi_major; // of the core that runs
    uint16_t abi_minor;

    // Name of this node, of its partner, of the manager, and of the instance as configured. Constant.
    const char *node;
    const char *partner;
    const char *manager;
    const char *instance;

    // Logs one line (printf format, no newline), with the instance's name put before it. Whoever decides
    // what to do about an error logs it, once; a function that returns an error does not log. What is a notice or
    // graver is also an event to those who follow them (`carrick events`).
    void (*log)(const struct carrick_host *host, int level, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

    // The manager's monotonic clock. In a simulation this is virtual time: take time from nowhere else.
    uint64_t (*now_ns)(const struct carrick_host *host);

    // Fills the buffer with random bytes fit for keys (getrandom(2)). In a simulation they are seeded.
    void (*random)(const struct carrick_host *host, void *buffer, size_t length);

    // A one-shot timer. timer_create returns it stopped; timer_start (re)arms it to fire once, at or after
    // now + delay_ns; fn runs on the manager's thread. timer_stop and timer_destroy make sure that fn is not
    // called any more. A timer may be started, stopped or destroyed in its own fn.
    int (*timer_create)(const struct carrick_host *host, void (*fn)(void *arg), void *arg,
                        struct carrick_timer **timer);
    void (*timer_start)(struct carrick_timer *timer, uint64_t delay_ns);
    void (*timer_stop)(struct carrick_timer *timer);
    void (*timer_destroy)(struct carrick_timer *timer);

    // Watches a descriptor, level-triggered: fn runs on the manager's thread with the events that are ready
    // (enum carrick_watch_events) as long as they are. The descriptor stays the caller's and must stay open
    // until watch_destroy. CARRICK_ERR_NOT_SUPPORTED in a simulation.
    int (*watch_create)(const struct carrick_host *host, int fd, uint32_t events,
                        void (*fn)(void *arg, uint32_t events), void *arg,
                        struct carrick_watch **watch);
    void (*watch_destroy)(struct carrick_watch *watch);

    // Runs work(arg) on a worker thread, where it may block, then done(arg) on the manager's thread. The
    // worker owns what arg points to meanwhile. Always calls done if it returned CARRICK_OK, except when the
    // instance is destroyed first: destroy() is called only when no work of the instance is under way.
    int (*work)(const struct carrick_host *host, void (*work)(void *arg), void (*done)(void *arg),
                void *arg);

    // Since ABI 1.1.

    // Opens a file or block device for the requests below. bytes > 0: the file is made that long if it is
    // shorter (CARRICK_FILE_CREATE), or refused as CARRICK_ERR_BOUNDS. May block: only from create(). A file is
    // taken by one opener at a time on this node (flock(2)); CARRICK_ERR_EXISTS when another has it. In a
    // simulation this is a simulated disk. info may be NULL.
    int (*file_open)(const struct carrick_host *host, const char *path, uint32_t flags,
                     uint64_t bytes, struct carrick_file **file, struct carrick_file_info *info,
                     struct carrick_error *error);
    // Begins one request. Requests under way together take effect in any order, overlapping ones too. The request
    // structure is copied. CARRICK_ERR_BOUNDS, _INVALID, _NO_MEMORY: nothing was begun.
    int (*file_submit)(struct carrick_file *file, const struct carrick_file_request *request);
    // Reads what can be had without waiting for a disk, now; CARRICK_ERR_AGAIN: not without waiting, use file_submit.
    int (*file_read_now)(struct carrick_file *file, uint64_t offset, void *data, uint64_t length);
    // Only when no request is under way; CARRICK_ERR_STATE otherwise.
    int (*file_close)(struct carrick_file *file);
};

#ifdef __cplusplus
}
#endif

#endif
