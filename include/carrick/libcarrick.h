// SPDX-License-Identifier: Apache-2.0
//
// libcarrick: how a process that is not the daemon uses the shelves that the daemon of its node serves.
//
//     struct carrick_error error = {.struct_size = sizeof(error)};
//     struct carrick_block *block;
//     if (carrick_block_connect("/run/carrick/block", "disk1", 5000, &block, &error))
//         errx(1, "%s", error.text);
//     int failed = carrick_block_pwrite(block, data, 4096, 0, CARRICK_BLOCK_FUA);
//     carrick_block_close(block);
//
// A connection is bound to one shelf, served by this node under one generation of its group. When this node stops
// serving it, for whatever reason, or the daemon ends, the connection is over for good: every call on it answers
// ESHUTDOWN, and of requests that were under way it is not known whether they took effect. Nothing is sent a second
// time behind the caller's back: connect again, here or at the partner's node, and decide there what to repeat.
//
// Requests pass through memory shared with the daemon; a connection has a number of slots (carrick_block_get_shape), and
// takes as many requests at once. None of this is an ABI between nodes: both ends run on one.
//
// After fork(2) a connection belongs to the parent alone.
#ifndef CARRICK_LIBCARRICK_H
#define CARRICK_LIBCARRICK_H

#include <carrick/block.h>
#include <carrick/types.h>

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CARRICK_API __attribute__((visibility("default")))

struct carrick_block;

struct carrick_block_shape {
    uint32_t struct_size;
    uint32_t slots; // requests that are under way at most
    uint32_t
        slot_bytes; // longest READ or WRITE of one request; the blocking calls split longer ones
    uint32_t reserved;
};

// ---- both forms

// Connects to the socket of the shelf plugin and opens the shelf, within timeout_ms (0: 5 s). For the blocking
// calls below. Any thread; blocks. Starts one thread, with all signals blocked, which waits for the end of the connection.
//   CARRICK_ERR_NOT_FOUND  there is no such shelf       CARRICK_ERR_STATE  this node does not serve it; text says who
//   CARRICK_ERR_SYSTEM     sys_errno says which way: ENOENT and ECONNREFUSED mean that no daemon is there, EACCES
//                          that this user may not    CARRICK_ERR_TIMEOUT, _VERSION, _LIMIT, _PROTOCOL, _NO_MEMORY
CARRICK_API int carrick_block_connect(const char *socket_path, const char *shelf,
                                      uint32_t timeout_ms, struct carrick_block **block,
                                      struct carrick_error *error);
// The same, for the form with a descriptor. Starts no thread.
CARRICK_API int carrick_block_connect_async(const char *socket_path, const char *shelf,
                                            uint32_t timeout_ms, struct carrick_block **block,
                                            struct carrick_error *error);

// Ends the connection and frees it. No other call on it may be under way, nor come afterwards; requests of the form
// with a descriptor that are not answered are dropped, and it is not known whether they take effect. NULL is allowed.
// Does not block (it waits for its own thread to end, which is awake at once).
CARRICK_API void carrick_block_close(struct carrick_block *block);

// What was said when the connection was made. Any thread; never blocks. Fill in struct_size.
CARRICK_API void carrick_block_get_info(const struct carrick_block *block,
                                        struct carrick_block_info *info);
CARRICK_API void carrick_block_get_shape(const struct carrick_block *block,
                                         struct carrick_block_shape *shape);

// Whether the connection is over. Any thread; never blocks. In the form with a descriptor, as of the last reap.
CARRICK_API bool carrick_block_is_over(const struct carrick_block *block);

// ---- the blocking form: any number of threads at once
//
// Each returns 0, or an errno value: ESHUTDOWN when the connection is over, EINVAL for a read beyond the end, ENOSPC for
// what writes beyond it, EIO and others as the disk below gave them. errno itself is left alone. There is no timeout, as
// there is none with a disk: a request ends when it is answered, or when the connection is over.
//
// What one thread has written, and got 0 for, every read that begins afterwards sees, on any connection. Requests under
// way together that overlap take effect in any order. One that is longer than a slot goes in pieces, which take effect
// each by itself; when one fails, the first error is returned, and others may have taken effect.

CARRICK_API int carrick_block_pread(struct carrick_block *block, void *buffer, size_t length,
                                    uint64_t offset);
// flags: CARRICK_BLOCK_FUA, or 0.
CARRICK_API int carrick_block_pwrite(struct carrick_block *block, const void *buffer, size_t length,
                                     uint64_t offset, uint32_t flags);
// Everything that was answered before, on any connection to this shelf, is as safe as a flush promises when it returns.
CARRICK_API int carrick_block_flush(struct carrick_block *block);
CARRICK_API int carrick_block_trim(struct carrick_block *block, uint64_t length, uint64_t offset,
                                   uint32_t flags);
CARRICK_API int carrick_block_zero(struct carrick_block *block, uint64_t length, uint64_t offset,
                                   uint32_t flags);

// Calls fn(arg) once when the connection is over, on the library's own thread; at once, on that thread, when it is over
// already. Not called after carrick_block_close has returned. fn must not call carrick_block_close. Once per connection
// (EALREADY); EINVAL in the form with a descriptor.
CARRICK_API int carrick_block_on_over(struct carrick_block *block, void (*fn)(void *arg),
                                      void *arg);

// ---- the form with a descriptor: one thread at a time, none of it blocks

struct carrick_block_result {
    uint64_t cookie;
    int32_t error; // 0, or an errno value as above
    uint32_t reserved;
};

// To be watched for reading, by poll(2) or the like, after carrick_block_reap has returned 0. Nothing but these
// functions may read from it. Valid until carrick_block_close.
CARRICK_API int carrick_block_descriptor(const struct carrick_block *block);

// Begins one request (struct carrick_block_request of block.h). Data of a WRITE is copied before it returns; data
// of a READ is filled by the reap that answers it.
// 0; EAGAIN: all slots are in use, reap first; EMSGSIZE: longer than a slot; EINVAL; ESHUTDOWN.
CARRICK_API int carrick_block_submit(struct carrick_block *block,
                                     const struct carrick_block_request *request);

// Takes up to `max` answers. Returns how many; 0: none is there, and the descriptor becomes readable when one
// is; -ESHUTDOWN: the connection is over, and what is not answered will not be.
CARRICK_API int carrick_block_reap(struct carrick_block *block,
                                   struct carrick_block_result *results, int max);

#ifdef __cplusplus
}
#endif

#endif
