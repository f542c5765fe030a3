// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/env_sim_disk.h"

#include <stdio.h>
#include <stdlib.h>

#define PAGE_BYTES 4096u
#define FD_FIRST (1 << 24) // beyond all that the kernel gives out

struct sim_mapping {
    struct sim_mapping *next;
    struct sim_memory *memory;
    int fd;
};

struct env_file {
    struct env *env;
    struct sim_file *file;
};

unsigned sim_storage_left(const struct sim_storage *storage)
{
    unsigned left = storage->files;

    for (const struct sim_mapping *mapping = storage->mappings; mapping != NULL;
         mapping = mapping->next)
        left++;
    return left;
}

// ---- memory

static struct sim_mapping *mapping_find(const struct sim_storage *storage, int fd)
{
    struct sim_mapping *mapping = storage->mappings;

    while (mapping != NULL && mapping->fd != fd)
        mapping = mapping->next;
    return mapping;
}

static int mapping_add(struct sim_storage *storage, struct sim_memory *backing, uint64_t bytes,
                       uint64_t offset, struct env_memory *memory)
{
    struct sim_mapping *mapping = calloc(1, sizeof(*mapping));

    if (mapping == NULL)
        abort();
    mapping->memory = backing;
    mapping->fd = FD_FIRST + ++storage->next_fd;
    mapping->next = storage->mappings;
    storage->mappings = mapping;
    *memory = (struct env_memory){
        .address = (char *)sim_memory_address(backing) + offset, .bytes = bytes, .fd = mapping->fd};
    return CARRICK_OK;
}

static uint64_t pages(uint64_t bytes)
{
    return (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

int env_sim_memory_map(struct env *env, uint64_t bytes, int fd, uint64_t offset,
                       struct env_memory *memory)
{
    struct sim_storage *storage = env_sim_storage(env);
    struct sim_mapping *mapping;

    if (fd < 0)
        return mapping_add(storage, sim_memory_create(pages(bytes)), pages(bytes), 0, memory);
    mapping = mapping_find(storage, fd);
    if (mapping == NULL)
        return CARRICK_ERR_INVALID;
    sim_memory_hold(mapping->memory);
    return mapping_add(storage, mapping->memory, pages(bytes), offset, memory);
}

void env_sim_memory_unmap(struct env *env, struct env_memory *memory)
{
    struct sim_storage *storage = env_sim_storage(env);
    struct sim_mapping **at = &storage->mappings, *mapping;

    while (*at != NULL && (*at)->fd != memory->fd)
        at = &(*at)->next;
    mapping = *at;
    if (memory->address == NULL || mapping == NULL)
        return;
    *at = mapping->next;
    sim_memory_release(mapping->memory);
    free(mapping);
    memory->address = NULL;
}

int env_sim_memory_open(struct env *env, const char *path, uint64_t bytes,
                        struct env_memory *memory, struct carrick_region_info *info,
                        struct carrick_error *error)
{
    struct sim_storage *storage = env_sim_storage(env);
    struct sim_memory *backing =
        storage->disk == NULL ? NULL
                              : sim_memory_open(storage->disk, path, pages(bytes), &info->created);

    if (backing == NULL) {
        error->status = CARRICK_ERR_EXISTS;
        snprintf(error->text, sizeof(error->text), "%s is in use, or of another size", path);
        return CARRICK_ERR_EXISTS;
    }
    info->kind = CARRICK_REGION_MEMORY;
    return mapping_add(storage, backing, pages(bytes), 0, memory);
}

// ---- files

int env_sim_file_open(struct env *env, const char *path, uint32_t flags, uint64_t bytes,
                      struct env_file **out, struct carrick_file_info *info,
                      struct carrick_error *error)
{
    struct sim_storage *storage = env_sim_storage(env);
    struct env_file *file;
    int status;

    if (storage->disk == NULL)
        return CARRICK_ERR_NOT_SUPPORTED;
    file = calloc(1, sizeof(*file));
    if (file == NULL)
        abort();
    file->env = env;
    status = sim_file_open(storage->disk, path, flags, bytes, &file->file, info, error);
    if (status != CARRICK_OK) {
        free(file);
        return status;
    }
    storage->files++;
    *out = file;
    return CARRICK_OK;
}

static void io_effect(void *arg)
{
    sim_io_effect(arg);
}

static void io_end(void *arg)
{
    sim_io_end(arg);
}

int env_sim_file_submit(struct env_file *file, const struct carrick_file_request *request)
{
    struct sim_disk *disk = env_sim_storage(file->env)->disk;
    struct sim_io *io;
    int status = env_sim_storage(file->env)->closed ? CARRICK_ERR_NO_MEMORY
                                                    : sim_io_begin(file->file, request, &io);

    return status != CARRICK_OK ? status
                                : env_sim_job(file->env, sim_disk_latency_ns(disk),
                                              sim_disk_latency_ns(disk), io_effect, io_end, io);
}

int env_sim_file_read_now(struct env_file *file, uint64_t offset, void *data, uint64_t length)
{
    return sim_file_read_now(file->file, offset, data, length);
}

void env_sim_file_close(struct env_file *file)
{
    env_sim_storage(file->env)->files--;
    sim_file_close(file->file);
    free(file);
}
