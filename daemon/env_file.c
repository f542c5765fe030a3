// SPDX-License-Identifier: Apache-2.0
//
// Files of plugins: opening and closing. What is asked of them is in env_file_request.c.
#include "daemon/env_file.h"
#include "daemon/env_file_internal.h"

#include <carrick/error.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

// ---- opening

static int refuse_errno(struct carrick_error *error, const char *path, const char *what)
{
    int cause = errno;

    return carrick_error_set(error, CARRICK_ERR_SYSTEM, cause, "", "%s cannot be %s: %s", path,
                             what, strerror(cause));
}

static int file_descriptor(const char *path, uint32_t flags, bool *created)
{
    int mode = (flags & CARRICK_FILE_READ_ONLY ? O_RDONLY : O_RDWR) | O_CLOEXEC;
    int fd = -1;

    *created = false;
    if (flags & CARRICK_FILE_CREATE) {
        fd = open(path, mode | O_CREAT | O_EXCL, 0600);
        *created = fd >= 0;
    }
    if (fd < 0 && (!(flags & CARRICK_FILE_CREATE) || errno == EEXIST))
        fd = open(path, mode);
    return fd;
}

// The mistake that is made most often at a first start has its own words.
static int not_opened(const char *path, uint32_t flags, struct carrick_error *error)
{
    const char *slash = strrchr(path, '/');
    int cause = errno, length = slash != NULL ? (int)(slash - path) : 0;
    char directory[PATH_MAX];

    if (cause == ENOENT && (flags & CARRICK_FILE_CREATE) && length > 0 && length < PATH_MAX) {
        snprintf(directory, sizeof(directory), "%.*s", length, path);
        if (access(directory, F_OK) != 0)
            return carrick_error_set(error, CARRICK_ERR_SYSTEM, cause, "",
                                     "there is no directory %s for %s: mkdir -p %s", directory,
                                     slash + 1, directory);
    }
    errno = cause;
    return refuse_errno(error, path, "opened");
}

int env_file_take(const char *path, uint32_t flags, bool *created, int *out,
                  struct carrick_error *error)
{
    int fd = file_descriptor(path, flags, created);

    if (fd < 0)
        return not_opened(path, flags, error);
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        int cause = errno;

        close(fd);
        errno = cause;
        if (cause == EWOULDBLOCK)
            return carrick_error_set(error, CARRICK_ERR_EXISTS, cause, "",
                                     "%s is in use by another process: is a second daemon running? "
                                     "Or is it named twice in the configuration?",
                                     path);
        return refuse_errno(error, path, "locked");
    }
    *out = fd;
    return CARRICK_OK;
}

static int file_length(int fd, const struct stat *st, uint64_t *bytes)
{
    *bytes = (uint64_t)st->st_size;
    return S_ISBLK(st->st_mode) && ioctl(fd, BLKGETSIZE64, bytes) ? -1 : 0;
}

static int file_fit(int fd, const char *path, uint32_t flags, uint64_t bytes,
                    struct carrick_file_info *info, struct carrick_error *error)
{
    struct stat st;

    if (fstat(fd, &st) || file_length(fd, &st, &info->bytes))
        return refuse_errno(error, path, "measured");
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return carrick_error_set(error, CARRICK_ERR_NOT_SUPPORTED, 0, "",
                                 "%s is neither a file nor a block device", path);
    info->kind = S_ISBLK(st.st_mode) ? CARRICK_FILE_BLOCK_DEVICE : CARRICK_FILE_REGULAR;
    if (info->bytes >= bytes)
        return CARRICK_OK;
    if (!S_ISREG(st.st_mode) || !(flags & CARRICK_FILE_CREATE))
        return carrick_error_set(error, CARRICK_ERR_BOUNDS, 0, "",
                                 "%s has %" PRIu64 " bytes, %" PRIu64 " are needed", path,
                                 info->bytes, bytes);
    if (ftruncate(fd, (off_t)bytes))
        return refuse_errno(error, path, "made longer");
    info->bytes = bytes;
    return CARRICK_OK;
}

int env_file_open(struct env *env, const char *path, uint32_t flags, uint64_t bytes,
                  struct env_file **out, struct carrick_file_info *info,
                  struct carrick_error *error)
{
    struct env_file *file;
    struct statfs fs;
    int fd, status = env_file_take(path, flags, &info->created, &fd, error);

    if (status != CARRICK_OK)
        return status;
    status = file_fit(fd, path, flags, bytes, info, error);
    file = status == CARRICK_OK ? malloc(sizeof(*file)) : NULL;
    if (file == NULL) {
        close(fd);
        return status == CARRICK_OK ? CARRICK_ERR_NO_MEMORY : status;
    }
    *file = (struct env_file){
        .env = env,
        .fd = fd,
        .bytes = info->bytes,
        .in_memory = fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC,
    };
    STAILQ_INIT(&file->batch);
    STAILQ_INIT(&file->waiting);
    STAILQ_INIT(&file->kept);
    *out = file;
    return CARRICK_OK;
}

void env_file_close(struct env_file *file)
{
    struct file_job *job;

    if (file->telling) {
        file->closed = true;
        return;
    }
    while ((job = STAILQ_FIRST(&file->kept)) != NULL) {
        STAILQ_REMOVE_HEAD(&file->kept, entry);
        free(job);
    }
    close(file->fd);
    free(file);
}
