// SPDX-License-Identifier: Apache-2.0
// needs plugin: nvram_shadow
//
// A node is away while its partner writes, returns, and is brought up to date; and the partner dies at the moment at which
// the node becomes a member again. From then on it serves what it has.
#include "tests/sim/storage.h"

enum { AWAY_MS = 2500, RETURN_MS = 4000 };

void storage_setup_member(struct world *world)
{
    struct storage *storage = world->storage;

    storage->with_arbiter = true;
    if (storage->level == CARRICK_LEVEL_VOLATILE)
        storage_level_set(storage, CARRICK_LEVEL_MEMORY);
    storage->rest_max_ns /= 4; // many writes while it is away
}

static bool one_has_one_member(struct world *world)
{
    for (unsigned i = 0; i < world->storage->groups; i++)
        if (world->storage->group[i].truth.member_count == 1)
            return true;
    return false;
}

static bool each_has_two_members(struct world *world)
{
    for (unsigned i = 0; i < world->storage->groups; i++)
        if (world->storage->group[i].truth.member_count < 2)
            return false;
    return true;
}

static void stir(struct world *world, unsigned unused, unsigned unused_too)
{
    (void)unused;
    (void)unused_too;
    users_stir(world->storage);
}

// Looks closely: the moment after is too late.
static bool becomes_member(struct world *world)
{
    uint64_t until_ns = world->clock.now_ns + RETURN_MS * ENV_MS;

    while (!each_has_two_members(world) && world->clock.now_ns < until_ns)
        if (!world_advance(world, world->clock.now_ns + ENV_MS / 20))
            return false;
    return each_has_two_members(world);
}

// What is copied to the returning shelf takes its time; its log is quick.
static void disk_slow(struct world *world, unsigned node)
{
    sim_disk_set_faults(world->node[node].disk,
                        &(struct sim_disk_faults){.latency_max_ns = 20 * ENV_MS});
}

void storage_run_member(struct world *world)
{
    unsigned steps = world->options.steps > 0 ? world->options.steps
                                              : (unsigned)sim_random_between(&world->random, 1, 2);

    storage_begin(world);
    for (unsigned i = 0; i < steps && !world->failed; i++) {
        unsigned node = (unsigned)sim_random_below(&world->random, 2);

        storage_pause(world, 200 * ENV_MS);
        if (world->failed)
            return;
        world->numbers.faults++;
        node_kill(world, node, sim_random_percent(&world->random, 50));
        for (unsigned j = 0; j < 20; j++)
            action_add(world, j * 40 * ENV_MS, stir, 0, 0, false);
        if (!storage_wait(world, one_has_one_member, AWAY_MS * ENV_MS) || world->failed)
            continue;
        // Until what it wrote alone is on its disk, and out of its log.
        world_advance(world,
                      world->clock.now_ns + sim_random_between(&world->random, 200, 1200) * ENV_MS);
        if (world->failed)
            return;
        disk_slow(world, node);
        node_start(world, node);
        if (becomes_member(world)) {
            storage_pause(world, ENV_MS);
            if (world->failed)
                return;
            world->numbers.faults++;
            if (sim_random_percent(&world->random, 50))
                node_kill(world, !node, sim_random_percent(&world->random, 50));
            else
                node_power_off(world, !node);
            stir(world, 0, 0);
            storage_pause(world, 1500 * ENV_MS);
            if (!world->failed)
                node_start(world, !node);
        }
        storage_heal(world);
    }
    storage_finish(world);
}
