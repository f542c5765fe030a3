// SPDX-License-Identifier: Apache-2.0
// needs plugin: nvram_shadow
// needs plugin: shelf
// needs plugin: failover
//
// A world with storage: what is drawn of it, what it is configured with, and what happens outside of its nodes.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    group->home = (unsigned)sim_random_below(&storage->random, 2);
    group->cells = (uint32_t)sim_random_between(&storage->random, 4, 12) *
                   (storage->cell_bytes > 4096 ? 1 : 8);
    group->shelves = 1;
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
    uint32_t log_bytes;

    if (storage == NULL)
        abort();
    world->storage = storage;
    storage->world = world;
    sim_random_init(&storage->random, world->options.seed, "storage");
    storage->groups = (unsigned)sim_random_between(&storage->random, 1, STORAGE_GROUPS_DRAWN);
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
    log_bytes = log_draw(storage);
    for (unsigned i = 0; i < storage->groups; i++) {
        group_draw(storage, i);
        storage->group[i].log_bytes = log_bytes;
    }
    storage_level_set(storage, storage->level);
    for (unsigned i = 0; i < 2; i++)
        world->node[i].disk = sim_disk_create(world->options.seed * 7919 + i);
}

void storage_level_set(struct storage *storage, uint32_t level)
{
    storage->level = level;
    for (unsigned i = 0; i < storage->groups; i++)
        storage->group[i].level = level;
}

void storage_widen(struct world *world)
{
    struct storage *storage = world->storage;
    unsigned most = 1;

    storage->groups = (unsigned)sim_random_between(&storage->random, 2, STORAGE_GROUPS_MAX);
    for (unsigned i = 0; i < storage->groups; i++) {
        struct storage_group *group = &storage->group[i];

        group_draw(storage, i);
        group->log_bytes = log_draw(storage);
        group->level = storage->level;
        // What lies in files outlives more; what may happen goes by the others.
        if (storage->level == CARRICK_LEVEL_MEMORY && sim_random_percent(&storage->random, 40))
            group->level = CARRICK_LEVEL_PERSISTENT;
        group->shelves = (unsigned)sim_random_between(&storage->random, 1, STORAGE_SHELVES_MAX);
        most = group->shelves > most ? group->shelves : most;
        group->cells = 0;
        for (unsigned j = 0; j < group->shelves; j++) {
            group->shelf_first[j] = group->cells;
            group->cells += (uint32_t)sim_random_between(&storage->random, 2, 6) *
                            (storage->cell_bytes > 4096 ? 1 : 8);
        }
    }
    storage->users = most * storage->groups;
    if (storage->users > STORAGE_USERS_MAX)
        abort();
    storage->rest_max_ns *= 2; // there are many of them
}

const char *storage_shelf_name(char *buffer, size_t room, unsigned group, unsigned shelf)
{
    if (shelf == 0)
        snprintf(buffer, room, "disk%u", group);
    else
        snprintf(buffer, room, "disk%u.%u", group, shelf);
    return buffer;
}

uint32_t storage_shelf_end(const struct storage_group *group, unsigned shelf)
{
    return shelf + 1 < group->shelves ? group->shelf_first[shelf + 1] : group->cells;
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

static void shelves_add(struct text *text, const struct storage *storage, unsigned index)
{
    const struct storage_group *group = &storage->group[index];

    for (unsigned i = 0; i < group->shelves; i++) {
        uint64_t cells = storage_shelf_end(group, i) - group->shelf_first[i];
        char name[24];

        storage_shelf_name(name, sizeof(name), index, i);
        add(text, "%s{\"name\":\"%s\",\"group\":\"%s\",\"path\":\"/%%n/%s\",\"bytes\":%llu}",
            index + i > 0 ? "," : "", name, group->name, name,
            (unsigned long long)(cells * storage->cell_bytes));
    }
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
            storage->group[i].log_bytes, backings[storage->group[i].level]);
        if (storage->group[i].level != CARRICK_LEVEL_VOLATILE)
            add(&text, ",\"path\":\"/%%n/log%u\"", i);
        add(&text, "}");
    }
    add(&text, "]}},{\"name\":\"shelf\",\"plugin\":\"shelf\",\"config\":{\"shelves\":[");
    for (unsigned i = 0; i < storage->groups; i++)
        shelves_add(&text, storage, i);
    add(&text, "]");
    if (storage->destage_delay_ms > 0)
        add(&text, ",\"destage_delay_ms\":%u", storage->destage_delay_ms);
    if (storage->catchup_bytes_per_second > 0)
        add(&text, ",\"catchup_bytes_per_second\":%u", storage->catchup_bytes_per_second);
    add(&text, "}},{\"name\":\"failover\",\"plugin\":\"failover\",\"config\":{\"timers\":"
               "{\"profile\":\"fast\"");
    if (storage->boot_ms > 0)
        add(&text, ",\"boot_ms\":%u", storage->boot_ms);
    add(&text, "},\"on_mirror_loss\":\"%s\",\"on_driver_failure\":\"%s\"}}",
        storage->go_on ? "continue" : "hold", storage->stay ? "stay" : "shift");
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

// ---- its nodes

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
