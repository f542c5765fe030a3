// SPDX-License-Identifier: Apache-2.0
// needs plugin: nvram_shadow
//
// A node returns, and dies again on the way: while its log is read, its shelf replays, its copy is cut, emptied or filled.
// Whatever its disk got meanwhile, in the end it is known what of it differs from the partner's.
#include "tests/sim/storage.h"

#define SHELF_BYTES (512u << 10)
#define CELLS_MAX 128u

// Shelves of many chunks, and few writes to each: what differs in one is not copied anew because of another.
void storage_setup_return(struct world *world)
{
    struct storage *storage = world->storage;
    unsigned groups = storage->groups;

    for (unsigned i = 0; i < groups && storage->cell_bytes > 512; i++) {
        uint32_t cells = SHELF_BYTES / storage->cell_bytes / 8 * 8;

        storage->group[i].cells = cells < CELLS_MAX ? cells : CELLS_MAX;
    }
    storage->rest_max_ns *= 2;
}

static bool node_follows(struct world *world, unsigned node)
{
    for (unsigned i = 0; i < world->storage->groups; i++) {
        struct carrick_log_copy copy;

        if (storage_copy(world, node, i, &copy) && copy.role == CARRICK_LOG_SHADOW)
            return true;
    }
    return false;
}

static bool a_follows(struct world *world)
{
    return node_follows(world, 0);
}

static bool b_follows(struct world *world)
{
    return node_follows(world, 1);
}

static void die(struct world *world, unsigned node)
{
    world->numbers.faults++;
    if (sim_random_percent(&world->random, 35))
        node_power_off(world, node);
    else
        node_kill(world, node, sim_random_percent(&world->random, 50));
}

static void disk_slow(struct world *world, unsigned node)
{
    static const unsigned most_ms[] = {1, 5, 20};

    sim_disk_set_faults(
        world->node[node].disk,
        &(struct sim_disk_faults){.latency_max_ns =
                                      most_ms[sim_random_below(&world->random, 3)] * ENV_MS});
}

// Only this one dies: the other one holds all that was acknowledged.
static void die_and_return(struct world *world, unsigned node)
{
    static const unsigned most_us[] = {300, 1000, 5000, 20000, 60000};
    unsigned deaths = (unsigned)sim_random_between(&world->random, 2, 5);

    for (unsigned i = 0; i < deaths && !world->failed; i++) {
        users_stir(world->storage);
        storage_pause(world, sim_random_percent(&world->random, 50) ? 5 * ENV_MS : 200 * ENV_MS);
        // What the other one told it last does not arrive: what of its log is needed no more, for one. Or what it wrote
        // last does not get to the other one.
        if (!world->failed && sim_random_percent(&world->random, 50)) {
            paths_fault(world, 1 + (unsigned)sim_random_below(&world->random, 3), 30 * ENV_MS);
            users_stir(world->storage);
            storage_pause(world, 20 * ENV_MS);
        }
        if (world->failed)
            return;
        die(world, node);
        // Back before it is missed, or when the other one has served alone.
        storage_pause(world, sim_random_percent(&world->random, 40) ? 20 * ENV_MS : 700 * ENV_MS);
        if (world->failed)
            return;
        node_start(world, node);
        storage_wait(world, node == 0 ? a_follows : b_follows, 400 * ENV_MS);
        storage_pause(world, most_us[sim_random_below(&world->random, 5)] * (ENV_MS / 1000));
    }
}

void storage_run_return(struct world *world)
{
    unsigned steps = world->options.steps > 0 ? world->options.steps
                                              : (unsigned)sim_random_between(&world->random, 1, 3);

    storage_begin(world);
    for (unsigned i = 0; i < steps && !world->failed; i++) {
        unsigned node = (unsigned)sim_random_below(&world->random, 2);

        storage_pause(world, 200 * ENV_MS);
        if (world->failed)
            return;
        if (sim_random_percent(&world->random, 60))
            disk_slow(world, node);
        // So the other one's log keeps all that it writes.
        if (sim_random_percent(&world->random, 30))
            sim_disk_set_faults(world->node[!node].disk, &(struct sim_disk_faults){.full = true});
        die_and_return(world, node);
        storage_heal(world);
    }
    storage_finish(world);
}
