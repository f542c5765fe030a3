// SPDX-License-Identifier: Apache-2.0
// needs plugin: nvram_shadow
//
// Both nodes lose power, at once or nearly so, while users write. Logs lie in files; what was acknowledged is in one of
// them at least, and both nodes together bring it back, in whatever order they come.
#include "tests/sim/storage.h"

void storage_setup_power(struct world *world)
{
    storage_level_set(world->storage, CARRICK_LEVEL_PERSISTENT);
}

static void start(struct world *world, unsigned node, unsigned unused)
{
    (void)unused;
    node_start(world, node);
}

void storage_run_power(struct world *world)
{
    unsigned steps = world->options.steps > 0 ? world->options.steps
                                              : (unsigned)sim_random_between(&world->random, 1, 4);

    storage_begin(world);
    for (unsigned i = 0; i < steps && !world->failed; i++) {
        unsigned node = (unsigned)sim_random_below(&world->random, 2);

        storage_pause(world, 300 * ENV_MS);
        users_stir(world->storage);
        storage_pause(world, 2 * ENV_MS);
        if (world->failed)
            return;
        world->numbers.faults += 2;
        node_power_off(world, node);
        if (sim_random_percent(&world->random, 40))
            storage_pause(world, 5 * ENV_MS);
        if (world->failed)
            return;
        node_power_off(world, !node);
        for (unsigned j = 0; j < 2; j++)
            action_add(world, sim_random_below(&world->random, 300 * ENV_MS), start, j, 0, true);
        // What comes into the middle of their return is a loss of power, too.
        if (sim_random_percent(&world->random, 30))
            storage_pause(world, 400 * ENV_MS);
        else
            storage_heal(world);
    }
    storage_finish(world);
}
