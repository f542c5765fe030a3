// SPDX-License-Identifier: Apache-2.0
// Preloaded into a daemon by the bench: counts allocations, and copies of a payload's size, into a
// page that the bench maps too. It counts what goes through the C library's names (a copy that the
// compiler wrote out inline is of a fixed small size and not a payload). glibc only.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#undef _FORTIFY_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LARGE_COPY_BYTES = 2048 };

// The layout is read by bench/pair.py: 64-bit words in this order.
struct counters {
    uint64_t allocations;
    uint64_t frees;
    uint64_t allocated_bytes;
    uint64_t large_copies;
    uint64_t large_copy_bytes;
};

typedef void *copy_fn(void *, const void *, size_t);

// An interposed function has no argument to carry state in, so this must be static: written once,
// by the constructor, before the program's own threads exist.
static struct counters unseen;
static struct counters *counts = &unseen;
static copy_fn *real_memcpy;
static copy_fn *real_memmove;

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);
void *__memcpy_chk(void *to, const void *from, size_t len, size_t room);
void *__memmove_chk(void *to, const void *from, size_t len, size_t room);

static void add(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static void allocation_count(size_t len)
{
    add(&counts->allocations, 1);
    add(&counts->allocated_bytes, len);
}

__attribute__((constructor)) static void counters_map(void)
{
    const char *path = getenv("CARRICK_BENCH_COUNTERS");
    real_memmove = (copy_fn *)dlsym(RTLD_NEXT, "memmove");
    real_memcpy = (copy_fn *)dlsym(RTLD_NEXT, "memcpy");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *page = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED)
        counts = page;
    close(fd);
}

// The tree is built with hidden names; these must be found in place of the C library's.
#pragma GCC visibility push(default)
void *malloc(size_t len)
{
    allocation_count(len);
    return __libc_malloc(len);
}

void *calloc(size_t n, size_t len)
{
    allocation_count(n * len);
    return __libc_calloc(n, len);
}

void *realloc(void *p, size_t len)
{
    allocation_count(len);
    return __libc_realloc(p, len);
}

void *memalign(size_t align, size_t len)
{
    allocation_count(len);
    return __libc_memalign(align, len);
}

void *aligned_alloc(size_t align, size_t len)
{
    return memalign(align, len);
}

int posix_memalign(void **out, size_t align, size_t len)
{
    void *p = memalign(align, len);
    if (p == NULL)
        return ENOMEM;
    *out = p;
    return 0;
}

void free(void *p)
{
    if (p != NULL)
        add(&counts->frees, 1);
    __libc_free(p);
}

#pragma GCC visibility pop

static void *bytes_copy(copy_fn *real, void *to, const void *from, size_t len)
{
    if (len >= LARGE_COPY_BYTES) {
        add(&counts->large_copies, 1);
        add(&counts->large_copy_bytes, len);
    }
    if (real != NULL)
        return real(to, from, len);
    // Before the constructor: plain bytes, volatile so that this is not turned into a call of itself.
    volatile uint8_t *t = to;
    const volatile uint8_t *f = from;
    if ((uintptr_t)t <= (uintptr_t)f) {
        for (size_t i = 0; i < len; i++)
            t[i] = f[i];
    } else {
        for (size_t i = len; i > 0; i--)
            t[i - 1] = f[i - 1];
    }
    return to;
}

#pragma GCC visibility push(default)
void *memcpy(void *restrict to, const void *restrict from, size_t len)
{
    return bytes_copy(real_memcpy, to, from, len);
}

void *memmove(void *to, const void *from, size_t len)
{
    return bytes_copy(real_memmove, to, from, len);
}

void *__memcpy_chk(void *to, const void *from, size_t len, size_t room)
{
    if (len > room)
        abort();
    return bytes_copy(real_memcpy, to, from, len);
}

void *__memmove_chk(void *to, const void *from, size_t len, size_t room)
{
    if (len > room)
        abort();
    return bytes_copy(real_memmove, to, from, len);
}
#pragma GCC visibility pop
