// SPDX-License-Identifier: Apache-2.0
// needs plugin: nvram_shadow
// needs plugin: shelf
// needs plugin: failover
//
// A world with storage: what is drawn of it, what it is configured with, and where its groups stand.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/client.h"
#include "core/service.h"
#include "tests/sim/storage.h"

const struct carrick_plugin *nvram_shadow_plugin_entry(void);
const struct carrick_plugin *shelf_plugin_entry(void);
const struct carrick_plugin *failover_plugin_entry(void);

// ---- what happens outside of the nodes: a heap by time

static bool before(const struct storage_event *a, const struct storage_event *b)
{
    return a->due != b->due ? a->due < b->due : a->order < b->order;
}

void storage_at(struct storage *storage, uint64_t delay_ns,
                void (*fn)(struct storage *storage, void *arg), void *arg)
{
    struct storage_event event = {.due = storage->world->clock.now_ns + delay_ns,
                                  .order = ++storage->order,
                                  .fn = fn,
                                  .arg = arg};
    uint32_t place;

    if (storage->used == storage->room) {
        storage->room = storage->room == 0 ? 256 : storage->room * 2;
        storage->heap = realloc(storage->heap, storage->room * sizeof(event));
        if (storage->heap == NULL)
            abort();
    }
    for (place = storage->used++; place > 0 && before(&event, &storage->heap[(place - 1) / 2]);
         place = (place - 1) / 2)
        storage->heap[place] = storage->heap[(place - 1) / 2];
    storage->heap[place] = event;
}

uint64_t storage_next_ns(const struct storage *storage)
{
    return storage->used == 0 ? UINT64_MAX : storage->heap[0].due;
}

void storage_step(struct storage *storage)
{
    struct storage_event first = storage->heap[0], last = storage->heap[--storage->used];
    uint32_t place = 0, child;

    while ((child = 2 * place + 1) < storage->used) {
        if (child + 1 < storage->used && before(&storage->heap[child + 1], &storage->heap[child]))
            child++;
        if (!before(&storage->heap[child], &last))
            break;
        storage->heap[place] = storage->heap[child];
        place = child;
    }
    storage->heap[place] = last;
    first.fn(storage, first.arg);
}

// ---- drawn and configured

static void group_draw(struct storage *storage, unsigned index)
{
    struct storage_group *group = &storage->group[index];

    snprintf(group->name, sizeof(group->name), "g%u", index);
    snprintf(group->shelf, sizeof(group->shelf), "disk%u", index);
    group->home = (unsigned)sim_random_below(&storage->random, 2);
    group->cells = (uint32_t)sim_random_between(&storage->random, 4, 12) *
                   (storage->cell_bytes > 4096 ? 1 : 8);
    group->truth.struct_size = sizeof(group->truth);
}

// Some are gone round in several times, and full when the disk is slow; some never.
static uint32_t log_draw(struct storage *storage)
{
    uint32_t least = storage->cell_bytes > 4096 ? 512u << 10 : 256u << 10;

    return least << (sim_random_percent(&storage->random, 90)
                         ? sim_random_below(&storage->random, 2)
                         : 3);
}

void storage_create(struct world *world)
{
    static const uint32_t cell_bytes[] = {512, 512, 512, 512, 512, 1536, 1536, 4096, 4096, 65536};
    struct storage *storage = calloc(1, sizeof(*storage));
    uint64_t draw;

    if (storage == NULL)
        abort();
    world->storage = storage;
    storage->world = world;
    sim_random_init(&storage->random, world->options.seed, "storage");
    storage->groups = (unsigned)sim_random_between(&storage->random, 1, STORAGE_GROUPS_MAX);
    storage->users = storage->groups + (unsigned)sim_random_between(&storage->random, 1, 4);
    storage->cell_bytes = cell_bytes[sim_random_below(&storage->random, 10)];
    storage->request_cells = storage->cell_bytes > 4096 ? 2 : 16;
    draw = sim_random_below(&storage->random, 100);
    storage->level = draw < 70   ? CARRICK_LEVEL_MEMORY
                     : draw < 95 ? CARRICK_LEVEL_PERSISTENT
                                 : CARRICK_LEVEL_VOLATILE;
    storage->with_arbiter = sim_random_percent(&storage->random, 90);
    storage->arbiter_max_ns = sim_random_between(&storage->random, 1, 20) * ENV_MS / 4;
    storage->users_work = true;
    storage->rest_max_ns = sim_random_between(&storage->random, 15, 200) * ENV_MS;
    if (storage->cell_bytes > 4096)
        storage->rest_max_ns *= 4;
    storage->patience_ns = sim_random_between(&storage->random, 200, 1500) * ENV_MS;
    storage->backoff_ns = sim_random_between(&storage->random, 10, 80) * ENV_MS;
    storage->log_bytes = log_draw(storage);
    for (unsigned i = 0; i < storage->groups; i++)
        group_draw(storage, i);
    for (unsigned i = 0; i < 2; i++)
        world->node[i].disk = sim_disk_create(world->options.seed * 7919 + i);
}

void storage_free(struct world *world)
{
    struct storage *storage = world->storage;

    if (storage == NULL)
        return;
    users_free(storage);
    arbiter_free(storage);
    for (unsigned i = 0; i < 2; i++)
        if (world->node[i].disk != NULL)
            sim_disk_free(world->node[i].disk);
    free(storage->heap);
    free(storage);
    world->storage = NULL;
}

struct text {
    char *bytes;
    size_t room, used;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    text->used +=
        (size_t)vsnprintf(text->bytes + text->used, text->room - text->used, format, arguments);
    va_end(arguments);
    if (text->used >= text->room)
        abort();
}

size_t storage_arbiter_text(const struct storage *storage, char *bytes, size_t room)
{
    struct text text = {.bytes = bytes, .room = room};

    if (storage->with_arbiter)
        add(&text, "\"arbiter\":{\"plugin\":\"sim_arbiter\",\"config\":{}},");
    return text.used;
}

const char *storage_path(char *buffer, size_t room, const char *what, unsigned node, unsigned group)
{
    snprintf(buffer, room, "/%c/%s%u", 'a' + node, what, group);
    return buffer;
}

size_t storage_clients_text(const struct storage *storage, char *bytes, size_t room)
{
    static const char *const backings[] = {[CARRICK_LEVEL_VOLATILE] = "memory",
                                           [CARRICK_LEVEL_MEMORY] = "tmpfs",
                                           [CARRICK_LEVEL_PERSISTENT] = "file"};
    struct text text = {.bytes = bytes, .room = room};

    if (storage->world->pairs > 0)
        add(&text, ",");
    add(&text, "{\"name\":\"nvram\",\"plugin\":\"nvram_shadow\",\"config\":{\"groups\":[");
    for (unsigned i = 0; i < storage->groups; i++) {
        add(&text, "%s{\"name\":\"%s\",\"home\":\"%c\",\"log_bytes\":%u,\"backing\":\"%s\"",
            i > 0 ? "," : "", storage->group[i].name, 'a' + storage->group[i].home,
            storage->log_bytes, backings[storage->level]);
        if (storage->level != CARRICK_LEVEL_VOLATILE)
            add(&text, ",\"path\":\"/%%n/log%u\"", i);
        add(&text, "}");
    }
    add(&text, "]}},{\"name\":\"shelf\",\"plugin\":\"shelf\",\"config\":{\"shelves\":[");
    for (unsigned i = 0; i < storage->groups; i++)
        add(&text, "%s{\"name\":\"%s\",\"group\":\"%s\",\"path\":\"/%%n/disk%u\",\"bytes\":%llu}",
            i > 0 ? "," : "", storage->group[i].shelf, storage->group[i].name, i,
            (unsigned long long)storage->group[i].cells * storage->cell_bytes);
    add(&text, "]}},{\"name\":\"failover\",\"plugin\":\"failover\",\"config\":{\"timers\":"
               "\"fast\",\"on_mirror_loss\":\"hold\"}}");
    return text.used;
}

bool storage_plugins_add(struct world *world)
{
    const struct carrick_plugin *(*const entries[])(void) = {
        nvram_shadow_plugin_entry, shelf_plugin_entry, failover_plugin_entry, sim_arbiter_entry};
    struct carrick_error error = {.struct_size = sizeof(error)};

    for (unsigned i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
        if (loader_add_static(world->loader, entries[i], &error) != CARRICK_OK) {
            world_say(world, NULL, "%s", error.text);
            return false;
        }
    return true;
}

// ---- where the groups stand

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

void storage_node_gone(struct world *world, unsigned node)
{
    users_node_gone(world->storage, node);
}

struct carrick_client *storage_client(struct world *world, unsigned node, const char *name)
{
    struct manager *manager = world->node[node].manager;

    for (uint32_t i = 0; manager != NULL && i < manager->client_count; i++)
        if (strcmp(manager->clients[i].config->name, name) == 0)
            return manager->clients[i].instance;
    return NULL;
}

void storage_break(struct world *world, unsigned node)
{
    unsigned rules = world->options.break_rules;

    if ((rules & BREAK_STORAGE) == 0)
        return;
    break_log(storage_client(world, node, "nvram"), rules);
    break_shelf(storage_client(world, node, "shelf"), rules);
    break_monitor(storage_client(world, node, "failover"), rules);
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

    ops = storage_service(world, node, CARRICK_BLOCK_SERVICE, &shelves);
    if (ops == NULL || ops->export_open(shelves, world->storage->group[group].shelf, &nobody, NULL,
                                        &export_, &info, &error) != CARRICK_OK)
        return false;
    ops->export_close(export_);
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

// All is destaged on both nodes: their shelves are alike, byte for byte. group, cell: where they first differ.
static bool shelves_differ(struct world *world, unsigned *group, uint32_t *cell)
{
    const struct storage *storage = world->storage;

    for (*group = 0; *group < storage->groups; (*group)++) {
        const uint8_t *content[2];
        uint64_t bytes[2];
        char path[32];

        for (unsigned node = 0; node < 2; node++)
            content[node] = sim_disk_content(world->node[node].disk,
                                             storage_path(path, sizeof(path), "disk", node, *group),
                                             &bytes[node]);
        for (*cell = 0; *cell < storage->group[*group].cells; (*cell)++)
            if (content[0] == NULL || content[1] == NULL || bytes[0] != bytes[1] ||
                memcmp(content[0] + (size_t)*cell * storage->cell_bytes,
                       content[1] + (size_t)*cell * storage->cell_bytes, storage->cell_bytes) != 0)
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
        uint64_t bytes;
        char path[32];
        const uint8_t *content = sim_disk_content(
            world->node[node].disk, storage_path(path, sizeof(path), "disk", node, group), &bytes);

        world_say(world, world->node[node].name, "  %s cell %u holds the value of request %u",
                  world->storage->group[group].name, cell,
                  content == NULL
                      ? 0
                      : cell_read(world->storage,
                                  content + (size_t)cell * world->storage->cell_bytes, cell));
    }
}
