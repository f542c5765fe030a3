// SPDX-License-Identifier: Apache-2.0
//
// Several things go wrong at one moment, or while the one before is still going on: a hand-over while a disk is full, both
// nodes started anew while the arbiter is slow, a log that cannot be written while the other one is filled. Shelves are
// brought up to date at a rate that is not over at once, and destaged sooner or later than by default.
#include "tests/sim/storage.h"

void storage_setup_double(struct world *world)
{
    static const uint32_t delays_ms[] = {0, 0, 1, 20, 1000};
    static const uint32_t rates[] = {0, 64u << 10, 256u << 10, 1u << 20};
    struct storage *storage = world->storage;

    storage->stay = sim_random_percent(&world->random, 30);
    storage->destage_delay_ms = delays_ms[sim_random_below(&world->random, 5)];
    storage->catchup_bytes_per_second = rates[sim_random_below(&world->random, 4)];
}

static void stir(struct world *world, unsigned unused, unsigned unused_too)
{
    (void)unused;
    (void)unused_too;
    users_stir(world->storage);
}

// Apart by nothing, by what a message takes, or by what it takes to notice the first.
static uint64_t apart_ns(struct world *world)
{
    static const unsigned most_us[] = {1, 300, 5000, 100000, 700000};

    return sim_random_below(&world->random,
                            most_us[sim_random_below(&world->random, 5)] * (ENV_MS / 1000)) +
           1;
}

// Each group to a node that is drawn anew.
static void groups_spread(struct world *world)
{
    for (unsigned i = 0; i < world->storage->groups && !world->failed; i++)
        if (sim_random_percent(&world->random, 50)) {
            storage_command(world, (unsigned)sim_random_below(&world->random, 2), "handover", i,
                            false);
            storage_pause(world, 20 * ENV_MS);
        }
    // At times what goes wrong comes into the midst of that.
    if (sim_random_percent(&world->random, 70))
        storage_pause(world, 1500 * ENV_MS);
}

static void run(struct world *world, bool spread)
{
    unsigned steps = world->options.steps > 0 ? world->options.steps
                                              : (unsigned)sim_random_between(&world->random, 1, 4);

    storage_begin(world);
    for (unsigned i = 0; i < steps && !world->failed; i++) {
        if (spread)
            groups_spread(world);
        unsigned count = (unsigned)sim_random_between(&world->random, 2, 4);
        uint64_t at_ns = sim_random_below(&world->random, 50 * ENV_MS);

        for (unsigned j = 0; j < count; j++, at_ns += apart_ns(world)) {
            action_add(world, at_ns, stir, 0, 0, false);
            action_add(world, at_ns + sim_random_below(&world->random, ENV_MS), storage_fault,
                       (unsigned)sim_random_below(&world->random, STORAGE_FAULTS), 0, false);
        }
        world_advance(world, world->clock.now_ns + at_ns + ENV_MS);
        if (sim_random_percent(&world->random, 60))
            storage_pause(world, 1500 * ENV_MS);
        if (sim_random_percent(&world->random, 40))
            storage_heal(world);
    }
    storage_finish(world);
}

void storage_run_double(struct world *world)
{
    run(world, false);
}

void storage_setup_wide(struct world *world)
{
    storage_setup_double(world);
    storage_widen(world);
}

void storage_run_wide(struct world *world)
{
    run(world, true);
}
