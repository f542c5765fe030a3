// SPDX-License-Identifier: Apache-2.0
//
// The service "block": the shelves that this node serves, as the plugin `shelf` offers them to whoever brings requests
// from outside (its own socket for nbdkit, a test's load, a vendor's protocol).
//
// An export is one user's connection to one shelf, bound to the term in which this node owns its group: when another node
// may have served in between, the export is closed, and what was asked and not answered stays unanswered, for good. An
// owner that only goes on alone, under a generation that is a child of its own, keeps its exports.
//
// All calls and callbacks come on the manager's thread; none blocks; no callback comes from within a call.
#ifndef CARRICK_BLOCK_H
#define CARRICK_BLOCK_H

#include <carrick/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CARRICK_BLOCK_SERVICE "block"
#define CARRICK_BLOCK_BYTES                                                                        \
    4096u // what reads and writes are best aligned to; any offset and length works

struct carrick_shelves; // the object of the service
struct carrick_export;

enum carrick_block_operation {
    CARRICK_BLOCK_READ = 1,
    CARRICK_BLOCK_WRITE = 2,
    CARRICK_BLOCK_FLUSH =
        3, // answered when all writes answered before it was asked are as safe as a flush promises
    CARRICK_BLOCK_TRIM = 4,
    CARRICK_BLOCK_ZERO = 5,
};

#define CARRICK_BLOCK_FUA                                                                          \
    1u // flags: the write is answered only when it is as safe as after a flush

struct carrick_block_request {
    uint32_t struct_size;
    uint32_t operation; // enum carrick_block_operation
    uint32_t flags;
    uint32_t reserved;
    uint64_t offset;
    uint64_t length; // <= CARRICK_LOG_ENTRY_BYTES_MAX for READ and WRITE
    void *data;      // READ: filled; WRITE: must stay unchanged until answered
    uint64_t cookie;
};

struct carrick_block_info {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t bytes;
    bool read_only;
};

struct carrick_block_user {
    uint32_t struct_size;
    uint32_t reserved;
    // Once per request that `submit` took, in any order. status: CARRICK_OK, or CARRICK_ERR_SYSTEM with the errno to be told.
    void (*answered)(void *arg, uint64_t cookie, int status, int sys_errno);
    // The export is over: nothing more is answered; data of open requests is not touched any more. Call export_close.
    void (*closed)(void *arg, const char *why);
    // May be NULL. Follows one or more calls of answered, before the shelf returns to the loop: whoever has to be woken
    // for the answers is woken here, once for all of them. The export may be closed in it.
    void (*answers_end)(void *arg);
};

struct carrick_block_ops {
    uint32_t struct_size;
    uint32_t reserved;
    // CARRICK_ERR_NOT_FOUND: no such shelf; CARRICK_ERR_STATE: this node does not serve it, and error says who might.
    int (*export_open)(struct carrick_shelves *shelves, const char *shelf,
                       const struct carrick_block_user *user, void *arg,
                       struct carrick_export **out, struct carrick_block_info *info,
                       struct carrick_error *error);
    // Open requests are dropped without an answer; what they wrote may or may not come to stand.
    void (*export_close)(struct carrick_export *export_);
    // Takes a request, or CARRICK_ERR_AGAIN when too many are open (the answer of one makes room) or memory is short,
    // _BOUNDS, _INVALID, _STATE. WRITE: the data is taken once, before it is acknowledged; when the log is full that is later.
    int (*submit)(struct carrick_export *export_, const struct carrick_block_request *request);
    // That was all for now: what was submitted goes on its way together. Without this call it does so in the loop's next turn.
    void (*submit_end)(struct carrick_export *export_);
};

#ifdef __cplusplus
}
#endif

#endif
