// SPDX-License-Identifier: Apache-2.0
//
// Memory for regions: a descriptor that could be given to another process, mapped shared.
#include "daemon/env_uv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// Up to this size memory is reserved when it is made: later there is no failing any more, only the kernel's killing.
// Beyond it that would hold up the manager's thread too long (half a second per GiB); it is checked only.
#define RESERVE_BYTES_MAX (16u << 20)

// What a new allocation can have without swapping, in bytes; UINT64_MAX: unknown.
static uint64_t available_bytes(void)
{
    char text[512];
    int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (got <= 0)
        return UINT64_MAX;
    text[got] = 0;
    const char *line = strstr(text, "MemAvailable:");
    uint64_t kib;
    return line && sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1 ? kib * 1024 : UINT64_MAX;
}

// A size that cannot change any more: nobody who has the descriptor can make our accesses fault.
static int make_sealed(uint64_t bytes)
{
    if (bytes > RESERVE_BYTES_MAX && bytes > available_bytes()) {
        errno = ENOMEM;
        return -1;
    }
    int fd = memfd_create("carrick-region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -1;
    if (ftruncate(fd, (off_t)bytes) ||
        (bytes <= RESERVE_BYTES_MAX && fallocate(fd, 0, 0, (off_t)bytes)) ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
        int cause = errno;
        close(fd);
        errno = cause;
        return -1;
    }
    return fd;
}

// A copy of a descriptor that holds at least `end` bytes, as far as its kind tells.
static int copy_checked(int fd, uint64_t end)
{
    struct stat st;
    if (fstat(fd, &st))
        return -1;
    if (S_ISREG(st.st_mode) && (uint64_t)st.st_size < end) {
        errno = EOVERFLOW;
        return -1;
    }
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static int status_of_errno(void)
{
    return errno == ENOMEM || errno == ENOSPC   ? CARRICK_ERR_NO_MEMORY
           : errno == EOVERFLOW                 ? CARRICK_ERR_BOUNDS
           : errno == EMFILE || errno == ENFILE ? CARRICK_ERR_LIMIT
                                                : CARRICK_ERR_SYSTEM;
}

static void log_failure(struct env *env, const char *what, uint64_t bytes)
{
    char text[200];
    snprintf(text, sizeof(text), "%" PRIu64 " bytes of memory for a region cannot be %s: %s", bytes,
             what, strerror(errno));
    env->ops->log(env, &(struct env_record){.level = CARRICK_LOG_ERROR, .text = text});
}

int memory_map(struct env *env, uint64_t bytes, int fd, uint64_t offset, struct env_memory *memory)
{
    *memory = (struct env_memory){.fd = -1};
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (bytes == 0 || bytes > INT64_MAX - offset - page || offset > INT64_MAX / 2 || offset % page)
        return CARRICK_ERR_INVALID;
    uint64_t rounded = (bytes + page - 1) / page * page;
    int own = fd < 0 ? make_sealed(rounded) : copy_checked(fd, offset + bytes);
    if (own < 0) {
        int status = status_of_errno();
        log_failure(env, fd < 0 ? "made" : "taken from the descriptor", rounded);
        return status;
    }
    void *address =
        mmap(NULL, rounded, PROT_READ | PROT_WRITE, MAP_SHARED, own, fd < 0 ? 0 : (off_t)offset);
    if (address == MAP_FAILED) {
        int status = status_of_errno();
        log_failure(env, "mapped", rounded);
        close(own);
        return status;
    }
    *memory = (struct env_memory){.address = address, .bytes = rounded, .fd = own};
    return CARRICK_OK;
}

void memory_unmap(struct env *env, struct env_memory *memory)
{
    (void)env;
    if (memory->address)
        munmap(memory->address, memory->bytes);
    if (memory->fd >= 0)
        close(memory->fd);
    *memory = (struct env_memory){.fd = -1};
}
