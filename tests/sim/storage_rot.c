// SPDX-License-Identifier: Apache-2.0
//
// A bit turns in a record that is known to be acknowledged, while the record's node is down. Such a record is never taken
// for the torn end of the log: the copy is out until it is repaired from the other one.
#include "tests/sim/storage.h"

#include <stdio.h>

#define ALONE_NS                                                                                   \
    (7000 * ENV_MS) // longer than a node waits for its partner before it serves by itself

void storage_setup_rot(struct world *world)
{
    if (world->storage->level == CARRICK_LEVEL_VOLATILE)
        storage_level_set(world->storage, CARRICK_LEVEL_MEMORY); // else nothing is there to rot
    world->storage->with_arbiter = true;
}

// Where a record lies that may rot; drawn before its node dies.
static bool place_draw(struct world *world, unsigned node, unsigned group, uint64_t *at)
{
    uint64_t first, bytes;

    if (!break_log_sure(storage_client(world, node, "nvram"), group, &first, &bytes) || bytes == 0)
        return false;
    *at = first + sim_random_below(&world->random, bytes);
    return true;
}

static void rot(struct world *world, unsigned node, unsigned group, uint64_t at)
{
    char path[32];

    storage_path(path, sizeof(path), "log", node, group);
    if (sim_disk_rot(world->node[node].disk, path, at, 1))
        world_say(world, world->node[node].name, "a bit of %s turns, at %llu", path,
                  (unsigned long long)at);
}

static void die(struct world *world, unsigned node)
{
    if (world->storage->level == CARRICK_LEVEL_PERSISTENT && sim_random_percent(&world->random, 50))
        node_power_off(world, node);
    else
        node_kill(world, node, sim_random_percent(&world->random, 50));
}

static void wait_random(struct world *world, unsigned max_ms)
{
    if (!world->failed)
        world_advance(world,
                      world->clock.now_ns + sim_random_below(&world->random, max_ms * ENV_MS));
}

void storage_run_rot(struct world *world)
{
    unsigned steps = world->options.steps > 0 ? world->options.steps
                                              : (unsigned)sim_random_between(&world->random, 1, 3);

    storage_begin(world);
    for (unsigned i = 0; i < steps && !world->failed; i++) {
        unsigned node = (unsigned)sim_random_below(&world->random, 2);
        unsigned group = (unsigned)sim_random_below(&world->random, world->storage->groups);
        bool both = sim_random_percent(&world->random, 60);
        uint64_t at = 0;
        bool placed;

        wait_random(world, 400);
        if (world->failed)
            return;
        placed = place_draw(world, node, group, &at);
        die(world, node);
        if (both)
            die(world, !node);
        if (placed)
            rot(world, node, group, at);
        wait_random(world, 100);
        node_start(world, node);
        // The other one stays away for so long that this one would serve, were its copy whole.
        if (both && !world->failed)
            world_advance(world, world->clock.now_ns + ALONE_NS);
        storage_heal(world);
    }
    storage_finish(world);
}
