// SPDX-License-Identifier: Apache-2.0
//
// A file as memory for a region. Only what stays in memory will do: a page of a disk's file may be taken back and
// written at any time, devices refuse to pin it, and what it holds after a crash nobody can say.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "daemon/env_file.h"
#include "daemon/env_uv.h"

#include <carrick/error.h>

static int refuse(struct carrick_error *error, int status, const char *path, const char *what)
{
    int cause = status == CARRICK_ERR_SYSTEM ? errno : 0;

    return carrick_error_set(error, status, cause, "", "%s %s%s%s", path, what, cause ? ": " : "",
                             cause ? strerror(cause) : "");
}

static int kind_find(int fd, const char *path, uint32_t *kind, struct carrick_error *error)
{
    struct stat st;
    struct statfs fs;

    if (fstat(fd, &st) || fstatfs(fd, &fs))
        return refuse(error, CARRICK_ERR_SYSTEM, path, "cannot be looked at");
    if (S_ISREG(st.st_mode) && (fs.f_type == TMPFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC))
        *kind = CARRICK_REGION_MEMORY;
    else if (S_ISCHR(st.st_mode))
        *kind = CARRICK_REGION_PERSISTENT;
    else
        return refuse(error, CARRICK_ERR_NOT_SUPPORTED, path,
                      "is not in memory: put it on tmpfs (such as /dev/shm), hugetlbfs or a "
                      "device-DAX device");
    return CARRICK_OK;
}

// Its pages are taken now: later a full tmpfs would end the process at the first store to a page.
static int length_fit(int fd, const char *path, uint64_t bytes, struct carrick_error *error)
{
    struct stat st;
    int cause;

    if (fstat(fd, &st))
        return refuse(error, CARRICK_ERR_SYSTEM, path, "cannot be looked at");
    if (!S_ISREG(st.st_mode))
        return CARRICK_OK;
    if ((uint64_t)st.st_size > bytes)
        return refuse(error, CARRICK_ERR_BOUNDS, path,
                      "is longer than configured: a log cannot be made shorter in place; set the "
                      "former size, or remove the file on a node whose copy is not needed");
    cause = posix_fallocate(fd, 0, (off_t)bytes);
    if (cause == 0)
        return CARRICK_OK;
    errno = cause;
    return refuse(error, CARRICK_ERR_SYSTEM, path, "cannot have its memory reserved");
}

static int map(int fd, const char *path, uint64_t bytes, struct env_memory *memory,
               struct carrick_error *error)
{
    void *address = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (address == MAP_FAILED)
        return refuse(error, CARRICK_ERR_SYSTEM, path, "cannot be mapped");
    *memory = (struct env_memory){.address = address, .bytes = bytes, .fd = fd};
    return CARRICK_OK;
}

int memory_open(struct env *env, const char *path, uint64_t bytes, struct env_memory *memory,
                struct carrick_region_info *info, struct carrick_error *error)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    int fd, status;

    (void)env;
    if (bytes == 0 || bytes > INT64_MAX - page)
        return refuse(error, CARRICK_ERR_INVALID, path, "is asked for with an impossible length");
    bytes = (bytes + page - 1) / page * page;
    status = env_file_take(path, CARRICK_FILE_CREATE, &info->created, &fd, error);
    if (status != CARRICK_OK)
        return status;
    status = kind_find(fd, path, &info->kind, error);
    if (status == CARRICK_OK)
        status = length_fit(fd, path, bytes, error);
    if (status == CARRICK_OK)
        status = map(fd, path, bytes, memory, error);
    if (status != CARRICK_OK) {
        if (info->created)
            unlink(path);
        close(fd);
    }
    return status;
}
