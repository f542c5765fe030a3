// SPDX-License-Identifier: Apache-2.0
//
// What a node keeps beyond the life of its daemon: files on a disk, and memory that has a name (tmpfs).
//
// A file is what the page cache shows, what the disk holds for certain, and the writes between the two. A node dies in
// two ways. Its daemon is killed: the page cache and named memory stay, and a request under way is done whole, in part or
// not at all. Its power is lost: named memory is gone, and of each write that no sync covers any sectors may be on the
// disk, later ones without earlier ones. A sync that failed may have thrown away what it was to write, and the next one
// does not tell.
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include "tests/sim/env_sim.h"

#define SIM_SECTOR 512u

struct sim_disk;
struct sim_file;
struct sim_io;
struct sim_memory;

enum sim_death {
    SIM_DEATH_KILLED,
    SIM_DEATH_POWER,
};

// What may go wrong from now on, in percent of the requests.
struct sim_disk_faults {
    unsigned read_error, write_error, sync_error;
    bool full;               // a write has no space
    const char *only;        // files whose path has this in it; NULL: all
    uint64_t latency_max_ns; // 0: the default
};

struct sim_disk *sim_disk_create(uint64_t seed);
// All files are closed, all memory is given back.
void sim_disk_free(struct sim_disk *disk);
void sim_disk_set_faults(struct sim_disk *disk, const struct sim_disk_faults *faults);
uint64_t sim_disk_latency_ns(struct sim_disk *disk);
// What is found by the one who comes after this death. The disk itself stays as it is, for the dying one who still has
// files open: what it does there from now on happened never.
struct sim_disk *sim_disk_after(struct sim_disk *disk, enum sim_death death);
// One bit turns, at a place chosen by chance from `first` on, in the file or memory of that path. false: nothing is there.
bool sim_disk_rot(struct sim_disk *disk, const char *path, uint64_t first, uint64_t length);
// What a reader sees now; NULL: no such file.
const uint8_t *sim_disk_content(struct sim_disk *disk, const char *path, uint64_t *bytes);

int sim_file_open(struct sim_disk *disk, const char *path, uint32_t flags, uint64_t bytes,
                  struct sim_file **file, struct carrick_file_info *info,
                  struct carrick_error *error);
void sim_file_close(struct sim_file *file);
int sim_file_read_now(struct sim_file *file, uint64_t offset, void *data, uint64_t length);
// A request: begun when it is posted, takes effect later, ends with its status and errno.
int sim_io_begin(struct sim_file *file, const struct carrick_file_request *request,
                 struct sim_io **io);
void sim_io_effect(struct sim_io *io);
void sim_io_end(struct sim_io *io); // calls the request's fn

// Memory of that name, made zeroed when it is not there. NULL: in use, or of another size.
struct sim_memory *sim_memory_open(struct sim_disk *disk, const char *path, uint64_t bytes,
                                   bool *created);
struct sim_memory *sim_memory_create(uint64_t bytes); // without a name
void *sim_memory_address(struct sim_memory *memory);
void sim_memory_hold(struct sim_memory *memory);
void sim_memory_release(struct sim_memory *memory); // what has a name stays in the disk

// disk_test.c: is it so?
bool disk_keeps_what_syncs_promise(void);
bool disk_tells_errors(void);
bool memory_outlives_the_daemon(void);

#endif
