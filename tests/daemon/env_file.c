// SPDX-License-Identifier: Apache-2.0
//
// Files and memory over files, as plugins get them on a real system.
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "daemon/env_uv.h"

#include <carrick/plugin.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct env_uv *uv;
static struct env *env;
static char directory[] = "/tmp/carrick-env-file-XXXXXX";
static char memory_directory[] = "/dev/shm/carrick-env-file-XXXXXX";
static struct carrick_error error;
static struct carrick_file_info info;

static void ignore_log(void *arg, const struct env_record *record)
{
    (void)arg;
    (void)record;
}

static void begin(void)
{
    cr_assert(eq(int, env_uv_create(ignore_log, NULL, &uv), CARRICK_OK));
    env = env_uv_env(uv);
    cr_assert(ne(ptr, mkdtemp(directory), NULL));
    cr_assert(ne(ptr, mkdtemp(memory_directory), NULL));
    error.struct_size = sizeof(error);
    info.struct_size = sizeof(info);
}

static void end(void)
{
    char command[160];

    env_uv_close(uv);
    env_uv_free(uv);
    snprintf(command, sizeof(command), "rm -rf %s %s", directory, memory_directory);
    cr_assert(eq(int, system(command), 0));
}

TestSuite(env_file, .init = begin, .fini = end, .timeout = 60);

static const char *path_of(const char *where, const char *name)
{
    static char path[160];

    snprintf(path, sizeof(path), "%s/%s", where, name);
    return path;
}

struct outcome {
    bool done;
    int status, sys_errno;
};

static void take_outcome(void *arg, int status, int sys_errno)
{
    *(struct outcome *)arg = (struct outcome){true, status, sys_errno};
}

static struct outcome run(struct env_file *file, uint32_t operation, uint64_t offset, void *data,
                          uint64_t length)
{
    struct outcome outcome = {false};
    struct carrick_file_request request = {
        .struct_size = sizeof(request),
        .operation = operation,
        .offset = offset,
        .length = length,
        .data = data,
        .fn = take_outcome,
        .arg = &outcome,
    };

    cr_assert(eq(int, env->ops->file_submit(file, &request), CARRICK_OK));
    cr_assert(not(outcome.done), "answered from within the call");
    while (!outcome.done)
        uv_run(env_uv_loop(uv), UV_RUN_ONCE);
    return outcome;
}

static struct env_file *open_new(uint64_t bytes)
{
    struct env_file *file;

    cr_assert(eq(int,
                 env->ops->file_open(env, path_of(directory, "disk"), CARRICK_FILE_CREATE, bytes,
                                     &file, &info, &error),
                 CARRICK_OK),
              "%s", error.text);
    return file;
}

Test(env_file, what_was_written_is_read)
{
    struct env_file *file = open_new(1 << 20);
    char out[5000], in[5000];

    cr_assert(info.created);
    cr_assert(eq(int, (int)info.kind, CARRICK_FILE_REGULAR));
    cr_assert(eq(u64, info.bytes, 1 << 20));
    memset(out, 'w', sizeof(out));
    cr_assert(eq(int, run(file, CARRICK_FILE_WRITE, 77, out, sizeof(out)).status, CARRICK_OK));
    cr_assert(eq(int, run(file, CARRICK_FILE_SYNC, 0, NULL, 0).status, CARRICK_OK));
    cr_assert(eq(int, run(file, CARRICK_FILE_READ, 77, in, sizeof(in)).status, CARRICK_OK));
    cr_assert(zero(int, memcmp(in, out, sizeof(in))));
    memset(in, 0, sizeof(in));
    if (env->ops->file_read_now(file, 77, in, sizeof(in)) == CARRICK_OK)
        cr_assert(zero(int, memcmp(in, out, sizeof(in))));
    env->ops->file_close(file);
}

Test(env_file, zero_and_trim_read_as_zeroes)
{
    struct env_file *file = open_new(1 << 20);
    static char data[1 << 18];

    for (uint32_t operation = CARRICK_FILE_ZERO; operation <= CARRICK_FILE_TRIM; operation++) {
        memset(data, 'x', sizeof(data));
        cr_assert(eq(int, run(file, CARRICK_FILE_WRITE, 4096, data, sizeof(data)).status, 0));
        cr_assert(eq(int, run(file, operation, 5000, NULL, 100000).status, CARRICK_OK));
        cr_assert(eq(int, run(file, CARRICK_FILE_READ, 4096, data, sizeof(data)).status, 0));
        for (size_t i = 0; i < sizeof(data); i++)
            cr_assert(eq(int, data[i], i >= 904 && i < 100904 ? 0 : 'x'), "byte %zu", i);
    }
    env->ops->file_close(file);
}

// Writes whose ends ask for more, as destaging does; the last of them closes the file.
struct chain {
    struct env_file *file;
    char data[4096];
    unsigned left, under_way, ended;
    bool within; // an end is being told
};

static void chain_submit(struct chain *chain, uint64_t offset);

static void chain_ended(void *arg, int status, int sys_errno)
{
    struct chain *chain = arg;

    cr_assert(not(chain->within), "told from within another's end");
    cr_assert(eq(int, status, CARRICK_OK), "%d", sys_errno);
    chain->within = true;
    chain->under_way--;
    chain->ended++;
    if (chain->left > 0) {
        chain->left--;
        chain_submit(chain, chain->left * sizeof(chain->data));
    } else if (chain->under_way == 0) {
        env->ops->file_close(chain->file);
        chain->file = NULL;
    }
    chain->within = false;
}

static void chain_submit(struct chain *chain, uint64_t offset)
{
    struct carrick_file_request request = {
        .struct_size = sizeof(request),
        .operation = CARRICK_FILE_WRITE,
        .offset = offset,
        .length = sizeof(chain->data),
        .data = chain->data,
        .fn = chain_ended,
        .arg = chain,
    };

    cr_assert(eq(int, env->ops->file_submit(chain->file, &request), CARRICK_OK));
    chain->under_way++;
}

Test(env_file, ends_ask_for_more_and_the_last_closes)
{
    enum { WRITES = 300, AT_A_TIME = 20 };
    struct chain chain = {.file = open_new(WRITES * 4096), .left = WRITES - AT_A_TIME};

    memset(chain.data, 'c', sizeof(chain.data));
    for (unsigned i = 0; i < AT_A_TIME; i++)
        chain_submit(&chain, (WRITES - 1 - i) * sizeof(chain.data));
    while (chain.file != NULL)
        uv_run(env_uv_loop(uv), UV_RUN_ONCE);
    cr_assert(eq(uint, chain.ended, WRITES));

    struct env_file *file = open_new(WRITES * 4096);
    static char in[WRITES * 4096];
    cr_assert(eq(int, run(file, CARRICK_FILE_READ, 0, in, sizeof(in)).status, CARRICK_OK));
    for (size_t i = 0; i < sizeof(in); i++)
        cr_assert(eq(int, in[i], 'c'), "byte %zu", i);
    env->ops->file_close(file);
}

Test(env_file, bounds_are_checked_without_wrapping)
{
    struct env_file *file = open_new(8192);
    char data[8192];
    struct carrick_file_request request = {
        .struct_size = sizeof(request), .operation = CARRICK_FILE_READ, .data = data};
    const struct {
        uint64_t offset, length;
    } ranges[] = {{8192, 1}, {1, 8192}, {UINT64_MAX, 2}, {2, UINT64_MAX}};

    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        request.offset = ranges[i].offset;
        request.length = ranges[i].length;
        cr_assert(eq(int, env->ops->file_submit(file, &request), CARRICK_ERR_BOUNDS));
        cr_assert(eq(int, env->ops->file_read_now(file, ranges[i].offset, data, ranges[i].length),
                     CARRICK_ERR_BOUNDS));
    }
    request.operation = 99;
    cr_assert(eq(int, env->ops->file_submit(file, &request), CARRICK_ERR_INVALID));
    env->ops->file_close(file);
}

Test(env_file, an_error_of_the_disk_tells_its_errno)
{
    struct env_file *file;
    char data[512] = {0};
    struct outcome outcome;

    // The file is cut from outside: the end comes before the end of the request.
    file = open_new(8192);
    cr_assert(eq(int, truncate(path_of(directory, "disk"), 100), 0));
    outcome = run(file, CARRICK_FILE_READ, 0, data, sizeof(data));
    cr_assert(eq(int, outcome.status, CARRICK_ERR_SYSTEM));
    cr_assert(eq(int, outcome.sys_errno, EIO));
    env->ops->file_close(file);
}

Test(env_file, one_opener_at_a_time)
{
    struct env_file *file = open_new(4096), *second;

    cr_assert(eq(int,
                 env->ops->file_open(env, path_of(directory, "disk"), 0, 0, &second, &info, &error),
                 CARRICK_ERR_EXISTS));
    cr_assert(ne(ptr, strstr(error.text, "in use by another process"), NULL));
    env->ops->file_close(file);
    cr_assert(eq(int,
                 env->ops->file_open(env, path_of(directory, "disk"), 0, 0, &second, &info, &error),
                 CARRICK_OK));
    cr_assert(not(info.created));
    env->ops->file_close(second);
}

Test(env_file, what_cannot_be_opened_is_refused_with_its_cause)
{
    struct env_file *file;

    cr_assert(eq(int,
                 env->ops->file_open(env, path_of(directory, "none"), 0, 0, &file, &info, &error),
                 CARRICK_ERR_SYSTEM));
    cr_assert(eq(int, error.sys_errno, ENOENT));
    file = open_new(4096);
    env->ops->file_close(file);
    cr_assert(
        eq(int, env->ops->file_open(env, path_of(directory, "disk"), 0, 8192, &file, &info, &error),
           CARRICK_ERR_BOUNDS));
    cr_assert(ne(ptr, strstr(error.text, "has 4096 bytes, 8192 are needed"), NULL));
    cr_assert(eq(int, env->ops->file_open(env, directory, 0, 0, &file, &info, &error),
                 CARRICK_ERR_SYSTEM));
}

// ---- memory over files

Test(env_file, memory_outlives_its_opener)
{
    struct env_memory memory, again;
    struct carrick_region_info region = {.struct_size = sizeof(region)};
    const char *path = path_of(memory_directory, "log");

    cr_assert(
        eq(int, env->ops->memory_open(env, path, 10000, &memory, &region, &error), CARRICK_OK),
        "%s", error.text);
    cr_assert(region.created);
    cr_assert(eq(int, (int)region.kind, CARRICK_REGION_MEMORY));
    cr_assert(eq(u64, memory.bytes, 12288));
    strcpy(memory.address, "kept");
    cr_assert(eq(int, env->ops->memory_open(env, path, 10000, &again, &region, &error),
                 CARRICK_ERR_EXISTS));
    env->ops->memory_unmap(env, &memory);
    cr_assert(
        eq(int, env->ops->memory_open(env, path, 10000, &memory, &region, &error), CARRICK_OK));
    cr_assert(not(region.created));
    cr_assert(zero(int, strcmp(memory.address, "kept")));
    env->ops->memory_unmap(env, &memory);
    cr_assert(eq(int, env->ops->memory_open(env, path, 4096, &memory, &region, &error),
                 CARRICK_ERR_BOUNDS));
    cr_assert(ne(ptr, strstr(error.text, "longer than configured"), NULL));
}

Test(env_file, memory_on_a_disk_is_refused)
{
    struct env_memory memory;
    struct carrick_region_info region = {.struct_size = sizeof(region)};
    const char *path = "./carrick-env-file-log";

    if (env->ops->memory_open(env, path, 4096, &memory, &region, &error) == CARRICK_OK) {
        env->ops->memory_unmap(env, &memory);
        unlink(path);
        cr_skip("the tree lies on tmpfs");
    }
    cr_assert(eq(int, error.status, CARRICK_ERR_NOT_SUPPORTED));
    cr_assert(ne(ptr, strstr(error.text, "put it on tmpfs"), NULL));
    cr_assert(eq(int, access(path, F_OK), -1), "the file that was refused is still there");
}
