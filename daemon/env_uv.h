// SPDX-License-Identifier: Apache-2.0
//
// The world of core/env.h on a libuv loop: the system's clock, its random numbers, its descriptors and memory.
#ifndef DAEMON_ENV_UV_H
#define DAEMON_ENV_UV_H

#include <uv.h>

#include "core/env.h"

struct env_uv;

// log takes the records of the env; any thread, must not block.
int env_uv_create(void (*log)(void *arg, const struct env_record *record), void *arg,
                  struct env_uv **env);

// The end of an env, in this order. end_calls and close: on its thread; free: on any, when no other uses it any more.
//
// end_calls makes the calls that still wait and takes no more: env_uv_call answers CARRICK_ERR_STATE from then on.
// close waits for work that is under way; all timers and watches of the env are destroyed by then.
void env_uv_end_calls(struct env_uv *env);
void env_uv_close(struct env_uv *env);
void env_uv_free(struct env_uv *env);

// Before its manager is made: the sum of what the managers of this process have locked (memory_lock of struct env_ops), which
// all of them share.
void env_uv_share_locked(struct env_uv *env, _Atomic uint64_t *locked);

struct env *env_uv_env(struct env_uv *env);
uv_loop_t *env_uv_loop(struct env_uv *env);

// Any thread: makes fn(arg) be called on the env's thread, as mailbox_post.
int env_uv_call(struct env_uv *env, void (*fn)(void *arg), void *arg);

// memory.c: memory_map and memory_unmap of struct env_ops.
int memory_map(struct env *env, uint64_t bytes, int fd, uint64_t offset, struct env_memory *memory);
void memory_unmap(struct env *env, struct env_memory *memory);
// memory_file.c: memory_open.
int memory_open(struct env *env, const char *path, uint64_t bytes, struct env_memory *memory,
                struct carrick_region_info *info, struct carrick_error *error);

#endif
