// SPDX-License-Identifier: Apache-2.0
//
// Where the groups of a world with storage stand: their copies and mirrors, who serves, and whether the shelves are equal.
#include <stdio.h>
#include <string.h>

#include "core/client.h"
#include "core/service.h"
#include "tests/sim/storage.h"

const void *storage_service(struct world *world, unsigned node, const char *name, void **object)
{
    const void *table = NULL;

    if (!world->node[node].alive || world->node[node].dying || world->node[node].manager == NULL ||
        service_find(world->node[node].manager, name, &table, object) != CARRICK_OK)
        return NULL;
    return table;
}

static struct carrick_log *log_find(struct world *world, unsigned node, unsigned group,
                                    const struct carrick_log_ops **ops)
{
    struct carrick_log *log = NULL;
    void *logs = NULL;

    *ops = storage_service(world, node, CARRICK_LOG_SERVICE, &logs);
    if (*ops == NULL || (*ops)->find(logs, world->storage->group[group].name, &log) != CARRICK_OK)
        return NULL;
    return log;
}

bool storage_copy(struct world *world, unsigned node, unsigned group, struct carrick_log_copy *copy)
{
    const struct carrick_log_ops *ops;
    struct carrick_log *log = log_find(world, node, group, &ops);

    *copy = (struct carrick_log_copy){.struct_size = sizeof(*copy)};
    if (log != NULL)
        ops->copy(log, copy);
    return log != NULL;
}

static bool group_protected(struct world *world, unsigned group)
{
    const struct storage *storage = world->storage;

    for (unsigned node = 0; node < 2; node++) {
        const struct carrick_log_ops *ops;
        struct carrick_log *log = log_find(world, node, group, &ops);
        struct carrick_mirror_state mirror = {.struct_size = sizeof(mirror)};
        struct carrick_log_copy mine, theirs;

        mirror.log.struct_size = mirror.shelf.struct_size = sizeof(mirror.log);
        if (log == NULL || !storage_copy(world, node, group, &mine) ||
            mine.role != CARRICK_LOG_OWNER || !storage_copy(world, !node, group, &theirs))
            continue;
        ops->mirror_state(log, &mirror);
        if (mirror.mirror == CARRICK_MIRROR_BOTH && mirror.connected &&
            theirs.role == CARRICK_LOG_SHADOW &&
            (!storage->with_arbiter || storage->group[group].truth.member_count == 2))
            return true;
    }
    return false;
}

bool storage_protected(struct world *world)
{
    for (unsigned i = 0; i < world->storage->groups; i++)
        if (!group_protected(world, i))
            return false;
    return true;
}

bool storage_served(struct world *world)
{
    for (unsigned i = 0; i < world->storage->groups; i++)
        if (world->storage->group[i].acknowledged == 0)
            return false;
    return true;
}

static void copy_say(struct world *world, unsigned node, unsigned group)
{
    static const char *const conditions[] = {"empty", "whole", "corrupt", "inconsistent",
                                             "scanning"};
    static const char *const roles[] = {"idle", "owner", "shadow"};
    struct carrick_log_copy copy;

    if (!storage_copy(world, node, group, &copy)) {
        world_say(world, world->node[node].name, "  %s: nothing runs",
                  world->storage->group[group].name);
        return;
    }
    world_say(world, world->node[node].name,
              "  %s: %s, %s, generation %02x%02x (%llu), %llu..%llu, acknowledged %llu%s",
              world->storage->group[group].name, roles[copy.role % 3],
              conditions[copy.condition % 5], copy.generation.id[0], copy.generation.id[1],
              (unsigned long long)copy.generation.number, (unsigned long long)copy.first,
              (unsigned long long)copy.last, (unsigned long long)copy.acknowledged,
              copy.member ? ", member" : "");
}

static void clients_say(struct world *world, unsigned node)
{
    char text[4096];

    for (uint32_t i = 0; world->node[node].alive && i < world->node[node].manager->client_count;
         i++) {
        client_describe_state(&world->node[node].manager->clients[i], text, sizeof(text));
        for (size_t at = 0, end = strlen(text); at < end; at += 400) // lines have an end
            world_say(world, world->node[node].name, "  %.400s", text + at);
    }
}

void storage_say(struct world *world)
{
    clients_say(world, 0);
    clients_say(world, 1);
    for (unsigned i = 0; i < world->storage->groups; i++) {
        const struct carrick_arbiter_record *truth = &world->storage->group[i].truth;

        world_say(world, NULL, "  %s: record %llu, generation %02x%02x, owner %s, members %s %s",
                  world->storage->group[i].name, (unsigned long long)truth->number,
                  truth->generation[0], truth->generation[1], truth->owner,
                  truth->member_count > 0 ? truth->members[0].node : "",
                  truth->member_count > 1 ? truth->members[1].node : "");
        copy_say(world, 0, i);
        copy_say(world, 1, i);
    }
}

// ---- who serves

static void no_answer(void *arg, uint64_t cookie, int status, int sys_errno)
{
    (void)arg;
    (void)cookie;
    (void)status;
    (void)sys_errno;
}

static void no_close(void *arg, const char *why)
{
    (void)arg;
    (void)why;
}

static const struct carrick_block_user nobody = {
    .struct_size = sizeof(nobody),
    .answered = no_answer,
    .closed = no_close,
};

static bool mirror_of_owner(struct world *world, unsigned node, unsigned group,
                            struct carrick_mirror_state *mirror)
{
    const struct carrick_log_ops *ops;
    struct carrick_log *log = log_find(world, node, group, &ops);
    struct carrick_log_copy copy;

    *mirror = (struct carrick_mirror_state){.struct_size = sizeof(*mirror)};
    mirror->log.struct_size = mirror->shelf.struct_size = sizeof(mirror->log);
    if (log == NULL || !storage_copy(world, node, group, &copy) || copy.role != CARRICK_LOG_OWNER)
        return false;
    ops->mirror_state(log, mirror);
    return true;
}

bool storage_is_owner_alone(struct world *world, unsigned node, unsigned group)
{
    struct carrick_mirror_state mirror;

    return mirror_of_owner(world, node, group, &mirror) && mirror.mirror == CARRICK_MIRROR_ALONE;
}

bool storage_resyncs(struct world *world, unsigned node, unsigned group)
{
    struct carrick_mirror_state mirror;

    return mirror_of_owner(world, node, group, &mirror) && mirror.mirror != CARRICK_MIRROR_BOTH &&
           (mirror.log.state == CARRICK_RESYNC_RUNNING ||
            mirror.shelf.state == CARRICK_RESYNC_RUNNING);
}

// Its users are served. An owner whose log is still scanned and told serves nobody, and until its head is written its
// copy bears the generation before the one that it has won.
static bool takes_users(struct world *world, unsigned node, unsigned group)
{
    struct carrick_error error = {.struct_size = sizeof(error)};
    struct carrick_block_info info = {.struct_size = sizeof(info)};
    struct carrick_export *export_ = NULL;
    const struct carrick_block_ops *ops;
    void *shelves = NULL;
    char name[24];

    ops = storage_service(world, node, CARRICK_BLOCK_SERVICE, &shelves);
    for (unsigned i = 0; i < world->storage->group[group].shelves; i++) {
        storage_shelf_name(name, sizeof(name), group, i);
        if (ops == NULL ||
            ops->export_open(shelves, name, &nobody, NULL, &export_, &info, &error) != CARRICK_OK)
            return false;
        ops->export_close(export_);
    }
    return true;
}

bool storage_serves(struct world *world, unsigned node, unsigned group)
{
    struct carrick_mirror_state mirror;

    return !world->node[node].frozen && !world->node[node].stopping &&
           mirror_of_owner(world, node, group, &mirror) &&
           (mirror.mirror == CARRICK_MIRROR_ALONE || mirror.connected) &&
           takes_users(world, node, group);
}

void storage_sample(struct world *world)
{
    for (unsigned i = 0; i < world->storage->groups; i++) {
        struct carrick_log_copy copy[2];

        if (storage_copy(world, 0, i, &copy[0]) && storage_copy(world, 1, i, &copy[1]) &&
            copy[0].role == CARRICK_LOG_OWNER && copy[1].role == CARRICK_LOG_OWNER &&
            memcmp(copy[0].generation.id, copy[1].generation.id, 16) == 0 &&
            takes_users(world, 0, i) && takes_users(world, 1, i))
            world_fail(world, "%s: both nodes own it under one generation",
                       world->storage->group[i].name);
    }
}

// Where a cell of a group lies on a node's disk; NULL: nowhere.
static const uint8_t *cell_on_disk(struct world *world, unsigned node, unsigned group,
                                   uint32_t cell)
{
    const struct storage_group *of = &world->storage->group[group];
    const uint32_t cell_bytes = world->storage->cell_bytes;
    char name[24], path[32];
    const uint8_t *content;
    uint64_t bytes, at;
    unsigned shelf = 0;

    while (cell >= storage_shelf_end(of, shelf))
        shelf++;
    snprintf(path, sizeof(path), "/%s/%s", world->node[node].name,
             storage_shelf_name(name, sizeof(name), group, shelf));
    content = sim_disk_content(world->node[node].disk, path, &bytes);
    at = (uint64_t)(cell - of->shelf_first[shelf]) * cell_bytes;
    return content == NULL || bytes < at + cell_bytes ? NULL : content + at;
}

// All is destaged on both nodes: their shelves are alike, byte for byte. group, cell: where they first differ.
static bool shelves_differ(struct world *world, unsigned *group, uint32_t *cell)
{
    const struct storage *storage = world->storage;

    for (*group = 0; *group < storage->groups; (*group)++)
        for (*cell = 0; *cell < storage->group[*group].cells; (*cell)++) {
            const uint8_t *a = cell_on_disk(world, 0, *group, *cell);
            const uint8_t *b = cell_on_disk(world, 1, *group, *cell);

            if (a == NULL || b == NULL || memcmp(a, b, storage->cell_bytes) != 0)
                return true;
        }
    return false;
}

bool storage_shelves_equal(struct world *world)
{
    unsigned group;
    uint32_t cell;

    return !shelves_differ(world, &group, &cell);
}

void storage_say_difference(struct world *world)
{
    unsigned group;
    uint32_t cell;

    if (!shelves_differ(world, &group, &cell))
        return;
    for (unsigned node = 0; node < 2; node++) {
        const uint8_t *content = cell_on_disk(world, node, group, cell);

        world_say(world, world->node[node].name, "  %s cell %u holds the value of request %u",
                  world->storage->group[group].name, cell,
                  content == NULL ? 0 : cell_read(world->storage, content, cell));
    }
}
