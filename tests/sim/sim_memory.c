// SPDX-License-Identifier: Apache-2.0
//
// Memory of the simulator's nodes. What has a name outlives a daemon, as in a tmpfs, but not the loss of power.
#include "tests/sim/sim_disk_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE_BYTES 4096u
// Above, most of it is never touched: clearing it would cost more than mapping it.
#define HEAP_BYTES_MAX (600u << 10)

static struct sim_memory *memory_make(const char *path, uint64_t bytes)
{
    struct sim_memory *memory = sim_take(calloc(1, sizeof(*memory)));

    memory->path = path == NULL ? NULL : sim_take(strdup(path));
    memory->bytes = bytes;
    if (bytes > HEAP_BYTES_MAX) {
        memory->address =
            mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory->address == MAP_FAILED)
            abort();
        return memory;
    }
    memory->address =
        sim_take(aligned_alloc(PAGE_BYTES, (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES));
    memset(memory->address, 0, bytes);
    return memory;
}

// Pages that were never written stay so.
struct sim_memory *sim_memory_copy(const struct sim_memory *from)
{
    static const uint8_t zeroes[PAGE_BYTES];
    struct sim_memory *memory = memory_make(from->path, from->bytes);
    const uint8_t *source = from->address;
    uint8_t *target = memory->address;

    for (uint64_t at = 0; at < from->bytes; at += PAGE_BYTES) {
        uint64_t part = from->bytes - at < PAGE_BYTES ? from->bytes - at : PAGE_BYTES;

        if (memcmp(source + at, zeroes, part) != 0)
            memcpy(target + at, source + at, part);
    }
    return memory;
}

void sim_memory_free(struct sim_memory *memory)
{
    if (memory->bytes > HEAP_BYTES_MAX)
        munmap(memory->address, memory->bytes);
    else
        free(memory->address);
    free(memory->path);
    free(memory);
}

struct sim_memory *sim_memory_create(uint64_t bytes)
{
    struct sim_memory *memory = memory_make(NULL, bytes);

    memory->references = 1;
    return memory;
}

struct sim_memory *sim_memory_open(struct sim_disk *disk, const char *path, uint64_t bytes,
                                   bool *created)
{
    struct sim_memory *memory = disk->memories;

    while (memory != NULL && strcmp(memory->path, path) != 0)
        memory = memory->next;
    *created = memory == NULL;
    if (memory == NULL) {
        memory = memory_make(path, bytes);
        memory->next = disk->memories;
        disk->memories = memory;
    }
    if (memory->references > 0 || memory->bytes != bytes)
        return NULL;
    memory->references = 1;
    return memory;
}

void *sim_memory_address(struct sim_memory *memory)
{
    return memory->address;
}

void sim_memory_hold(struct sim_memory *memory)
{
    memory->references++;
}

void sim_memory_release(struct sim_memory *memory)
{
    if (--memory->references == 0 && memory->path == NULL)
        sim_memory_free(memory);
}
