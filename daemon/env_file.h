// SPDX-License-Identifier: Apache-2.0
//
// Files for plugins: the file_* operations of struct env_ops (core/env.h) on a libuv env.
#ifndef DAEMON_ENV_FILE_H
#define DAEMON_ENV_FILE_H

#include "core/env.h"

int env_file_open(struct env *env, const char *path, uint32_t flags, uint64_t bytes,
                  struct env_file **out, struct carrick_file_info *info,
                  struct carrick_error *error);
int env_file_submit(struct env_file *file, const struct carrick_file_request *request);
int env_file_read_now(struct env_file *file, uint64_t offset, void *data, uint64_t length);
void env_file_close(struct env_file *file);

// Opens a path (enum carrick_file_flags) for this process alone. created: it was not there before.
int env_file_take(const char *path, uint32_t flags, bool *created, int *fd,
                  struct carrick_error *error);

#endif
