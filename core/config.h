// SPDX-License-Identifier: Apache-2.0
//
// The configuration: one JSON file, the same on both nodes, read and checked as a whole before
// anything is touched. What the keys mean, their ranges and their defaults stand in
// core/config.schema.json and carrick.json(5).
//
// A struct config is never changed after config_load() or config_parse(); any thread may read it.

#ifndef CARRICK_CORE_CONFIG_H
#define CARRICK_CORE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_NODES 2
#define CONFIG_NAME_SIZE 32 // of names of nodes, links, plugins and so on, with the final NUL
#define CONFIG_HASH_BYTES 32
#define CONFIG_ERRORS_MAX 32
#define CONFIG_HANG_MS 2000 // of a client process, unless it is configured
#define CONFIG_FILE_BYTES_MAX (1024 * 1024)
#define CONFIG_DEPTH_MAX 32
#define CONFIG_POINTER_SIZE 256
#define CONFIG_TEXT_SIZE 512

// ---- errors

struct config_error {
    unsigned line;                     // from 1; 0: the error belongs to the file as a whole
    unsigned column;                   // from 1, in characters, a tab counts as one
    char pointer[CONFIG_POINTER_SIZE]; // JSON pointer (RFC 6901) of the value; "" is the whole file
    char text[CONFIG_TEXT_SIZE];       // what was found, what was expected, and what to do
};

struct config_errors {
    char file[256];
    size_t count;   // errors that are held, in the order in which they were found
    size_t dropped; // further ones for which there was no room
    struct config_error error[CONFIG_ERRORS_MAX];
};

void config_errors_init(struct config_errors *errs, const char *file);

// Adds one error. Text and pointer are cut to what fits; bytes that could upset a terminal are
// replaced.
void config_errors_add(struct config_errors *errs, unsigned line, unsigned column,
                       const char *pointer, const char *text);

// "FILE:LINE:COL: POINTER: message", without a newline, as snprintf returns it.
int config_error_format(const struct config_errors *errs, size_t index, char *text, size_t size);

// ---- what the file says

// A part whose meaning only a plugin knows. It is an object; an absent one reads "{}".
struct config_section {
    char *json;    // compact JSON text
    char *pointer; // where it stands, or would stand, in the file: "/managers/0/links/1/config"
};

struct config_timers {
    uint32_t probe_ms;        // between two probes of a link
    uint32_t link_dead_ms;    // no answer for so long: the link is dead
    uint32_t operation_ms;    // deadline of one operation
    uint32_t connect_ms;      // deadline of one attempt to connect a link
    uint32_t bringup_ms;      // deadline of a session's bring-up
    uint32_t ending_ms;       // what clients get to close their ports when a session ends
    uint32_t session_lost_ms; // no link alive for so long: the partner is lost
    uint32_t backoff_min_ms;  // first and
    uint32_t backoff_max_ms;  // longest wait between two attempts
    uint32_t hold_ms;         // a link that came back is not used for so long
};

// A plugin of which a manager has one: its policy, its arbiter.
struct config_plugin {
    char plugin[CONFIG_NAME_SIZE];
    struct config_section config;
    char *pointer;
};

struct config_wrapper {
    char plugin[CONFIG_NAME_SIZE]; // "": the link has no wrapper, and nothing else here is valid
    struct config_section config;
    char *pointer;
};

struct config_link {
    char name[CONFIG_NAME_SIZE];
    char transport[CONFIG_NAME_SIZE]; // name of the transport plugin
    struct config_wrapper wrapper;
    struct config_section
        nodes[CONFIG_NODES];      // the transport's own, per node, in the order of config.nodes
    struct config_section config; // the transport's own, for both
    char *pointer;                // "/managers/0/links/1"
};

enum config_isolation {
    CONFIG_ISOLATION_INLINE,  // on the manager's thread
    CONFIG_ISOLATION_PROCESS, // in a process of its own, or one that it shares
};

struct config_client {
    char name[CONFIG_NAME_SIZE];
    char plugin[CONFIG_NAME_SIZE];
    bool required; // the daemon does not start without it
    bool early;    // it runs before there is a root file system, too
    enum config_isolation isolation;
    char process
        [CONFIG_NAME_SIZE]; // PROCESS: name of the process; the client's own unless it is said
    uint32_t hang_ms;       // PROCESS: without a sign of life for so long it is ended
    struct config_section config;
    char *pointer;
};

struct config_manager {
    char name[CONFIG_NAME_SIZE];
    char profile[CONFIG_NAME_SIZE];
    struct config_timers timers; // the profile's, with what the file overrides
    uint32_t poll_us;
    uint32_t lanes;
    uint32_t overstay_us;
    uint32_t partner_memory_mib; // most memory that the partner's clients may ask for in all
    struct config_plugin policy;
    struct config_plugin arbiter; // plugin "": none
    size_t links_count;
    struct config_link *links;
    size_t clients_count;
    struct config_client *clients;
    char *pointer;
};

struct config_control {
    char *socket; // may hold "%n": see config_expand_node()
    char *group;  // NULL: none
};

struct config_listen {
    char *text;       // as written, "127.0.0.1:9419"; NULL: this node does not listen
    char address[46]; // numeric, IPv6 without brackets
    uint16_t port;
};

struct config_metrics {
    struct config_listen listen[CONFIG_NODES]; // in the order of config.nodes
};

struct config_log {
    int level; // syslog priority: LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG
};

struct json_positions; // where each value stands in the file: core/json_position.h

struct config {
    char *file; // name that was given to config_load() or config_parse()
    char cluster[CONFIG_NAME_SIZE];
    char *key_file;
    size_t plugin_dirs_count; // 0: the compiled-in directory
    char **plugin_dirs;
    char nodes[CONFIG_NODES][CONFIG_NAME_SIZE];
    struct config_control control;
    struct config_metrics metrics;
    struct config_log log;
    size_t managers_count;
    struct config_manager *managers;
    uint8_t hash[CONFIG_HASH_BYTES]; // of what must agree between the nodes: config_hash.c
    struct json_positions *positions;
};

// ---- operations
// All return 0, or a negative errno with at least one error in *errs: -EINVAL when the content is
// wrong, -ENOMEM, or what reading the file gave. config_load(), config_parse() and
// config_reload_check() initialise *errs themselves. *out is NULL on error.

int config_load(const char *path, struct config **out, struct config_errors *errs);
// name stands for the file in messages; text needs no final NUL.
int config_parse(const char *name, const char *text, size_t length, struct config **out,
                 struct config_errors *errs);
void config_free(struct config *config); // NULL is allowed

// Index of a node in config->nodes, or -1.
int config_node_index(const struct config *config, const char *node);
// Same name or NULL.
const struct config_manager *config_manager_find(const struct config *config, const char *name);
const struct config_link *config_link_find(const struct config_manager *manager, const char *name);
const struct config_client *config_client_find(const struct config_manager *manager,
                                               const char *name);

// Leaves only the clients that are marked `early`, and without one no arbiter: what a node runs that has no root file
// system yet. The hash stays that of the whole, so that both nodes still agree. Right after loading.
void config_keep_early(struct config *config);

// A copy of text in which "%n" is the node's name and "%%" a percent sign. The caller frees it.
// NULL: no memory.
char *config_expand_node(const char *text, const char *node);

// Says whether the two sections hold the same text, so that a plugin need not be told of a reload
// that changes nothing.
bool config_section_equal(const struct config_section *a, const struct config_section *b);

// For what only others can find out (a plugin is missing, a plugin refuses its section): adds an
// error at the position of the value at pointer, or, when there is none, of the nearest value that
// would hold it. *errs must be initialised. Always returns -EINVAL.
int config_error_at(const struct config *config, struct config_errors *errs, const char *pointer,
                    const char *text);
// The same for a pointer relative to another: a section's ("/port" in section->pointer), a link's
// ("/transport" in link->pointer). relative may be NULL or "" for base itself.
int config_error_in(const struct config *config, struct config_errors *errs, const char *base,
                    const char *relative, const char *text);

// Whether a running daemon can go over from one configuration to the other. Can change: log level,
// a manager's profile, timers, policy, poll_us, overstay_us, partner_memory_mib, a client's `required` and `config`.
// Anything else is refused, with the position in the new file and the reason.
int config_reload_check(const struct config *old, const struct config *new_config,
                        struct config_errors *errs);

#endif
