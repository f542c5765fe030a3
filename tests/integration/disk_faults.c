// SPDX-License-Identifier: Apache-2.0
//
// Disks that fail on demand, by LD_PRELOAD. The file that DISK_FAULTS names holds one fault a line:
//
//     OPERATION ERRNO PATH
//
// PATH is a piece of the path of the files that are meant, with $ behind it its end; OPERATION is what fails for them:
//
//     read write sync zero   that, with ERRNO
//     torn                   a write, with ERRNO, after half of it has come to the file
//     short                  no write fails, but each takes 512 bytes at most
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

typedef ssize_t pwrite_fn(int fd, const void *data, size_t length, off_t offset);
typedef ssize_t pread_fn(int fd, void *data, size_t length, off_t offset);
typedef int sync_fn(int fd);
typedef int fallocate_fn(int fd, int mode, off_t offset, off_t length);

static void *next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

static size_t read_file(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, size - 1);

    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got > 0 ? (size_t)got : 0;
}

static bool is_meant(const char *path, char *where)
{
    size_t length = strlen(where), whole = strlen(path);

    if (length == 0 || where[length - 1] != '$')
        return strstr(path, where) != NULL;
    where[--length] = '\0';
    return whole >= length && strcmp(path + whole - length, where) == 0;
}

// 0, or the errno that is due; -1 for one that has none.
static int fault(int fd, const char *operation)
{
    char rules[2048], link[64], path[1024], *rest = rules;
    const char *name = getenv("DISK_FAULTS");
    ssize_t length;

    if (name == NULL || read_file(name, rules, sizeof rules) == 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = '\0';
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        char what[16], where[512];
        int cause;

        if (sscanf(line, "%15s %d %511s", what, &cause, where) == 3 &&
            strcmp(what, operation) == 0 && is_meant(path, where))
            return cause ? cause : -1;
    }
    return 0;
}

static ssize_t fail(int cause)
{
    errno = cause;
    return -1;
}

EXPORT ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset)
{
    pwrite_fn *real = next("pwrite64");
    int before = errno, cause;

    if ((cause = fault(fd, "write")) != 0)
        return fail(cause);
    if ((cause = fault(fd, "torn")) != 0) {
        real(fd, data, length / 2, offset);
        return fail(cause);
    }
    if (length > 512 && fault(fd, "short") != 0)
        length = 512;
    errno = before;
    return real(fd, data, length, offset);
}

EXPORT ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
    return pwrite64(fd, data, length, offset);
}

EXPORT ssize_t pread64(int fd, void *data, size_t length, off_t offset)
{
    pread_fn *real = next("pread64");
    int cause = fault(fd, "read");

    return cause ? fail(cause) : real(fd, data, length, offset);
}

EXPORT ssize_t pread(int fd, void *data, size_t length, off_t offset)
{
    return pread64(fd, data, length, offset);
}

EXPORT int fdatasync(int fd)
{
    sync_fn *real = next("fdatasync");
    int cause = fault(fd, "sync");

    return cause ? (int)fail(cause) : real(fd);
}

EXPORT int fallocate64(int fd, int mode, off_t offset, off_t length)
{
    fallocate_fn *real = next("fallocate64");
    int cause = fault(fd, "zero");

    return cause ? (int)fail(cause) : real(fd, mode, offset, length);
}

EXPORT int fallocate(int fd, int mode, off_t offset, off_t length)
{
    return fallocate64(fd, mode, offset, length);
}
