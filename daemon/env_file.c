// SPDX-License-Identifier: Apache-2.0
//
// Files of plugins, by libuv's pool of threads. io_uring would save the hop to a thread, but is switched off on many
// servers and in most containers, and what is done here is not what an acknowledgement waits for: data is destaged later,
// and reads that the page cache can answer are answered without the pool (file_read_now).
#include "daemon/env_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#define ZERO_BYTES 65536u // written at a time where the file system cannot zero a range by itself

struct env_file {
    struct env *env;
    int fd;
    uint64_t bytes;
    bool in_memory; // tmpfs: a read never waits for a disk
};

struct file_job {
    struct env_file *file;
    struct carrick_file_request request;
    int sys_errno;
};

// ---- opening

static int refuse(struct carrick_error *error, int status, int cause, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static int refuse(struct carrick_error *error, int status, int cause, const char *format, ...)
{
    va_list arguments;

    error->status = status;
    error->sys_errno = cause;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    return status;
}

static int refuse_errno(struct carrick_error *error, const char *path, const char *what)
{
    int cause = errno;

    return refuse(error, CARRICK_ERR_SYSTEM, cause, "%s cannot be %s: %s", path, what,
                  strerror(cause));
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

int env_file_take(const char *path, uint32_t flags, bool *created, int *out,
                  struct carrick_error *error)
{
    int fd = file_descriptor(path, flags, created);

    if (fd < 0)
        return refuse_errno(error, path, "opened");
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        int cause = errno;

        close(fd);
        errno = cause;
        if (cause == EWOULDBLOCK)
            return refuse(error, CARRICK_ERR_EXISTS, cause,
                          "%s is in use by another process: is a second daemon running?", path);
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
        return refuse(error, CARRICK_ERR_NOT_SUPPORTED, 0,
                      "%s is neither a file nor a block device", path);
    info->kind = S_ISBLK(st.st_mode) ? CARRICK_FILE_BLOCK_DEVICE : CARRICK_FILE_REGULAR;
    if (info->bytes >= bytes)
        return CARRICK_OK;
    if (!S_ISREG(st.st_mode) || !(flags & CARRICK_FILE_CREATE))
        return refuse(error, CARRICK_ERR_BOUNDS, 0,
                      "%s has %" PRIu64 " bytes, %" PRIu64 " are needed", path, info->bytes, bytes);
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
    *out = file;
    return CARRICK_OK;
}

void env_file_close(struct env_file *file)
{
    close(file->fd);
    free(file);
}

// ---- requests: on a thread of the pool

// Returns 0 or an errno. An end of file before the end of the request is EIO: the length was checked before.
static int transfer(int fd, bool write, char *data, uint64_t length, uint64_t offset)
{
    while (length > 0) {
        ssize_t done = write ? pwrite(fd, data, length, (off_t)offset)
                             : pread(fd, data, length, (off_t)offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? errno : EIO;
        data += done;
        offset += (uint64_t)done;
        length -= (uint64_t)done;
    }
    return 0;
}

static int zero_by_writing(int fd, uint64_t offset, uint64_t length)
{
    char *zeroes = calloc(1, ZERO_BYTES);
    int cause = zeroes == NULL ? ENOMEM : 0;

    while (cause == 0 && length > 0) {
        uint64_t part = length < ZERO_BYTES ? length : ZERO_BYTES;

        cause = transfer(fd, true, zeroes, part, offset);
        offset += part;
        length -= part;
    }
    free(zeroes);
    return cause;
}

static int zero(int fd, uint32_t operation, uint64_t offset, uint64_t length)
{
    int mode = operation == CARRICK_FILE_TRIM ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;

    if (length == 0 || fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length) == 0)
        return 0;
    return errno == EOPNOTSUPP || errno == EINVAL ? zero_by_writing(fd, offset, length) : errno;
}

static void job_run(void *arg)
{
    struct file_job *job = arg;
    const struct carrick_file_request *request = &job->request;
    int fd = job->file->fd;

    switch (request->operation) {
    case CARRICK_FILE_READ:
    case CARRICK_FILE_WRITE:
        job->sys_errno = transfer(fd, request->operation == CARRICK_FILE_WRITE, request->data,
                                  request->length, request->offset);
        break;
    case CARRICK_FILE_SYNC:
        job->sys_errno = fdatasync(fd) ? errno : 0;
        break;
    default:
        job->sys_errno = zero(fd, request->operation, request->offset, request->length);
    }
}

static void job_done(void *arg)
{
    struct file_job job = *(struct file_job *)arg;

    free(arg);
    job.request.fn(job.request.arg, job.sys_errno == 0 ? CARRICK_OK : CARRICK_ERR_SYSTEM,
                   job.sys_errno);
}

static int range_check(const struct env_file *file, uint64_t offset, uint64_t length)
{
    return offset <= file->bytes && length <= file->bytes - offset ? CARRICK_OK
                                                                   : CARRICK_ERR_BOUNDS;
}

int env_file_submit(struct env_file *file, const struct carrick_file_request *request)
{
    struct file_job *job;
    int status;

    if (request->operation < CARRICK_FILE_READ || request->operation > CARRICK_FILE_TRIM)
        return CARRICK_ERR_INVALID;
    if (request->operation != CARRICK_FILE_SYNC) {
        status = range_check(file, request->offset, request->length);
        if (status != CARRICK_OK)
            return status;
    }
    job = malloc(sizeof(*job));
    if (job == NULL)
        return CARRICK_ERR_NO_MEMORY;
    *job = (struct file_job){.file = file, .request = *request};
    status = file->env->ops->work(file->env, job_run, job_done, job);
    if (status != CARRICK_OK)
        free(job);
    return status;
}

int env_file_read_now(struct env_file *file, uint64_t offset, void *data, uint64_t length)
{
    struct iovec part = {.iov_base = data, .iov_len = length};
    ssize_t got;

    if (range_check(file, offset, length) != CARRICK_OK)
        return CARRICK_ERR_BOUNDS;
    if (file->in_memory)
        got = pread(file->fd, data, length, (off_t)offset);
    else
        got = preadv2(file->fd, &part, 1, (off_t)offset, RWF_NOWAIT);
    return got == (ssize_t)length ? CARRICK_OK : CARRICK_ERR_AGAIN;
}
