// SPDX-License-Identifier: Apache-2.0
//
// The part of a simulated node's env that is storage: files of its disk, memory for regions. Descriptors are numbers
// that no real one has; they name memory, so that a region can lie over another one's.
#ifndef ENV_SIM_DISK_H
#define ENV_SIM_DISK_H

#include "tests/sim/sim_disk.h"

struct sim_mapping;

struct sim_storage {
    struct sim_disk *disk; // NULL: this node has none
    struct sim_mapping *mappings;
    int next_fd;
    unsigned files;
    bool closed; // its node is dead: nothing more is begun
};

unsigned sim_storage_left(const struct sim_storage *storage); // mappings and open files
struct sim_storage *env_sim_storage(struct env *env);         // env_sim.c
// A job that waits, happens, and then ends, each at its time. env_sim.c
int env_sim_job(struct env *env, uint64_t wait_ns, uint64_t work_ns, void (*work)(void *arg),
                void (*done)(void *arg), void *arg);

int env_sim_memory_map(struct env *env, uint64_t bytes, int fd, uint64_t offset,
                       struct env_memory *memory);
void env_sim_memory_unmap(struct env *env, struct env_memory *memory);
int env_sim_memory_open(struct env *env, const char *path, uint64_t bytes,
                        struct env_memory *memory, struct carrick_region_info *info,
                        struct carrick_error *error);
int env_sim_file_open(struct env *env, const char *path, uint32_t flags, uint64_t bytes,
                      struct env_file **file, struct carrick_file_info *info,
                      struct carrick_error *error);
int env_sim_file_submit(struct env_file *file, const struct carrick_file_request *request);
int env_sim_file_read_now(struct env_file *file, uint64_t offset, void *data, uint64_t length);
void env_sim_file_close(struct env_file *file);

#endif
