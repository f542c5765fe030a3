// SPDX-License-Identifier: Apache-2.0
//
// Between sim_disk.c, files and requests, and sim_memory.c, memory that may have a name.
#ifndef SIM_DISK_INTERNAL_H
#define SIM_DISK_INTERNAL_H

#include "tests/sim/sim_disk.h"

#include <stdlib.h>

// A write that the page cache has and no sync covers.
struct pending {
    struct pending *next;
    uint64_t offset, length;
    uint64_t done; // stamp of its completion; 0: not completed
    struct sim_io *io;
    uint8_t *data; // NULL: the content holds it still, nothing was written over it
};

struct sim_io {
    struct sim_io *next; // of the file
    struct sim_file *file;
    struct carrick_file_request request;
    uint64_t posted; // stamp
    bool effected;
    int sys_errno;
    struct pending *pending; // what it wrote, until a sync covers it
};

struct sim_file {
    struct sim_file *next;
    struct sim_disk *disk;
    char *path;
    uint64_t bytes;
    uint8_t *content; // what is read
    uint8_t *durable; // what is on the disk for certain
    struct pending *pending, **last;
    struct sim_io *ios;
    bool open, settled; // settled: a sync has made the file itself last
};

struct sim_memory {
    struct sim_memory *next;
    char *path; // NULL: without a name
    uint64_t bytes;
    void *address;
    unsigned references;
};

struct sim_disk {
    struct sim_random random;
    struct sim_disk_faults faults;
    struct sim_file *files;
    struct sim_memory *memories;
    uint64_t stamp;
};

static inline void *sim_take(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

// sim_memory.c
struct sim_memory *sim_memory_copy(const struct sim_memory *from);
void sim_memory_free(struct sim_memory *memory);

#endif
