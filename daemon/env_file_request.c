// SPDX-License-Identifier: Apache-2.0
//
// Requests to files, by libuv's pool of threads. io_uring would save the hop to a thread, but is switched off on many
// servers and in most containers, and what is done here is not what an acknowledgement waits for: data is destaged later,
// and reads that the page cache can answer are answered without the pool (file_read_now).
//
// The hop to a thread and back costs more than a small write into the page cache. So what changes a file goes to one
// thread at a time, and all that was asked for meanwhile goes there next in one piece; writes of one file would wait for each
// other in the kernel anyway. Reads and syncs, which wait for a disk, have a thread each.
#include "daemon/env_file.h"
#include "daemon/env_file_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#define ZERO_BYTES 65536u // written at a time where the file system cannot zero a range by itself
#define BATCH_BYTES (4u << 20)
#define BATCH_MAX 256u

// ---- on a thread of the pool

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

static void job_run(struct file_job *job)
{
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

static void single_run(void *arg)
{
    job_run(arg);
}

static void batch_run(void *arg)
{
    struct env_file *file = arg;
    struct file_job *job;

    STAILQ_FOREACH(job, &file->batch, entry)
    job_run(job);
}

// ---- on the manager's thread

static struct file_job *job_get(struct env_file *file)
{
    struct file_job *job = STAILQ_FIRST(&file->kept);

    if (job == NULL)
        return malloc(sizeof(*job));
    STAILQ_REMOVE_HEAD(&file->kept, entry);
    file->kept_count--;
    return job;
}

static void job_put(struct file_job *job)
{
    struct env_file *file = job->file;

    if (file->kept_count == BATCH_MAX) {
        free(job);
        return;
    }
    STAILQ_INSERT_HEAD(&file->kept, job, entry);
    file->kept_count++;
}

static void job_end(struct file_job *job)
{
    struct carrick_file_request request = job->request;
    int sys_errno = job->sys_errno;

    job_put(job);
    request.fn(request.arg, sys_errno == 0 ? CARRICK_OK : CARRICK_ERR_SYSTEM, sys_errno);
}

static void single_done(void *arg)
{
    job_end(arg);
}

// What waits goes next, as much as one thread should do before its answers are heard.
static void batch_fill(struct env_file *file)
{
    uint64_t bytes = 0;
    struct file_job *job;

    for (unsigned count = 0; count < BATCH_MAX && bytes < BATCH_BYTES; count++) {
        job = STAILQ_FIRST(&file->waiting);
        if (job == NULL)
            return;
        STAILQ_REMOVE_HEAD(&file->waiting, entry);
        STAILQ_INSERT_TAIL(&file->batch, job, entry);
        bytes += job->request.length;
    }
}

static void jobs_end(struct file_jobs *jobs)
{
    while (!STAILQ_EMPTY(jobs)) {
        struct file_job *job = STAILQ_FIRST(jobs);

        STAILQ_REMOVE_HEAD(jobs, entry);
        job_end(job);
    }
}

static void batch_done(void *arg)
{
    struct env_file *file = arg;
    struct file_jobs done = STAILQ_HEAD_INITIALIZER(done);
    struct file_job *job;

    STAILQ_CONCAT(&done, &file->batch);
    // What is asked for meanwhile goes in one piece, behind all of these ends.
    file->telling = true;
    jobs_end(&done);
    file->telling = false;
    if (file->closed) {
        env_file_close(file);
        return;
    }
    batch_fill(file);
    if (STAILQ_EMPTY(&file->batch) ||
        file->env->ops->work(file->env, batch_run, batch_done, file) == CARRICK_OK)
        return;
    // The loop ends: what was not begun is not done. The file may be closed by the last of these.
    STAILQ_CONCAT(&done, &file->batch);
    STAILQ_CONCAT(&done, &file->waiting);
    STAILQ_FOREACH(job, &done, entry)
    job->sys_errno = ECANCELED;
    jobs_end(&done);
}

static int job_begin(struct file_job *job)
{
    struct env_file *file = job->file;
    uint32_t operation = job->request.operation;
    int status;

    if (operation == CARRICK_FILE_READ || operation == CARRICK_FILE_SYNC)
        return file->env->ops->work(file->env, single_run, single_done, job);
    if (!STAILQ_EMPTY(&file->batch) || file->telling) {
        STAILQ_INSERT_TAIL(&file->waiting, job, entry);
        return CARRICK_OK;
    }
    STAILQ_INSERT_TAIL(&file->batch, job, entry);
    status = file->env->ops->work(file->env, batch_run, batch_done, file);
    if (status != CARRICK_OK)
        STAILQ_INIT(&file->batch);
    return status;
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
    job = job_get(file);
    if (job == NULL)
        return CARRICK_ERR_NO_MEMORY;
    *job = (struct file_job){.file = file, .request = *request};
    status = job_begin(job);
    if (status != CARRICK_OK)
        job_put(job);
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
