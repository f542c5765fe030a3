// SPDX-License-Identifier: Apache-2.0
//
// A bit turns in the map of a shelf while its node is down, after this node or its partner has served alone. The map says
// what the partner's shelf may lack: one that is bad says "all of it", and is reported. Who believed it would leave the
// partner's shelf with old blocks, which users read after the next takeover, and which the end finds.
#include "tests/sim/storage.h"

#include <stdio.h>
#include <string.h>

#define ALONE_NS (2500 * ENV_MS) // it takes over, and serves alone for some of it

// Where the map's checksums lie: two heads, and sectors, of which the shelves here need one.
static const struct {
    uint64_t first, bytes;
} places[] = {{0, 100}, {4096, 100}, {8192, 512}};

void storage_setup_map(struct world *world)
{
    if (world->storage->level == CARRICK_LEVEL_VOLATILE)
        storage_level_set(
            world->storage,
            CARRICK_LEVEL_MEMORY); // else the log of who was alone is gone with its daemon
    world->storage->with_arbiter = true;
}

// A head that was never written holds nothing that can rot; and where the power took the shelf itself away, which had never
// been synced, nobody asks its map.
static bool rot(struct world *world, unsigned node, unsigned group)
{
    unsigned place = (unsigned)sim_random_below(&world->random, 3);
    uint64_t bytes, shelf_bytes;
    char disk[32], path[40];
    const uint8_t *content;

    storage_path(disk, sizeof(disk), "disk", node, group);
    snprintf(path, sizeof(path), "%s.map", disk);
    content = sim_disk_content(world->node[node].disk, path, &bytes);
    if (content == NULL || sim_disk_content(world->node[node].disk, disk, &shelf_bytes) == NULL ||
        bytes < places[place].first + places[place].bytes ||
        memcmp(content + places[place].first, "\0\0\0\0\0\0\0", 8) == 0)
        return false;
    sim_disk_rot(world->node[node].disk, path, places[place].first, places[place].bytes);
    world_say(world, world->node[node].name, "a bit of %s turns, behind %llu", path,
              (unsigned long long)places[place].first);
    return true;
}

// A node with this disk has said that its map is bad.
static bool is_told(const struct world *world, uint64_t since, unsigned node, unsigned group)
{
    char disk[32], text[64];
    uint64_t kept = world->log_count > WORLD_LOG_MAX ? world->log_count - WORLD_LOG_MAX : 0;

    storage_path(disk, sizeof(disk), "disk", node, group);
    snprintf(text, sizeof(text), "map %s.map", disk);
    for (uint64_t i = since > kept ? since : kept; i < world->log_count; i++)
        if (strstr(world->log[i % WORLD_LOG_MAX], text) != NULL)
            return true;
    return false;
}

static void die(struct world *world, unsigned node)
{
    if (world->storage->level == CARRICK_LEVEL_PERSISTENT && sim_random_percent(&world->random, 30))
        node_power_off(world, node);
    else
        node_kill(world, node, sim_random_percent(&world->random, 50));
}

void storage_run_map(struct world *world)
{
    unsigned steps = world->options.steps > 0 ? world->options.steps
                                              : (unsigned)sim_random_between(&world->random, 1, 3);

    storage_begin(world);
    for (unsigned i = 0; i < steps && !world->failed; i++) {
        unsigned away = (unsigned)sim_random_below(&world->random, 2);
        unsigned node = sim_random_percent(&world->random, 80) ? !away : away; // whose map rots
        unsigned group = (unsigned)sim_random_below(&world->random, world->storage->groups);
        bool rotted;
        uint64_t since;

        if (!storage_pause(world, 300 * ENV_MS))
            return;
        node_kill(world, away, sim_random_percent(&world->random, 50));
        users_stir(world->storage);
        if (!storage_pause(world, ALONE_NS))
            return;
        if (node != away)
            die(world, node);
        rotted = rot(world, node, group);
        since = world->log_count;
        node_start(world, node);
        if (!storage_pause(world, 200 * ENV_MS))
            return;
        storage_heal(world);
        if (rotted && !world->failed && !is_told(world, since, node, group))
            world_fail(world, "%s: nobody was told that the map at %s is bad",
                       world->storage->group[group].name, world->node[node].name);
    }
    storage_finish(world);
}
