// SPDX-License-Identifier: Apache-2.0
//
// A pair without an arbiter: nobody can tell a dead partner from a cut cable, and an operator says who serves. With
// "hold" nobody goes on alone, and a takeover by force loses nothing, whatever the owner does meanwhile: it acknowledges
// nothing by itself. With "continue" an owner goes on alone, so the operator forces only where the owner is dead for certain.
#include "tests/sim/storage.h"

enum {
    SERVED_MS =
        2500, // what the table of failures gives a node that stands still, or one that stops
    FORCED_MS = 4000, // beside that, the session ends by its deadline
    HELD_MS = 1000,
};

void storage_setup_operator(struct world *world)
{
    world->storage->with_arbiter = false;
    world->storage->go_on = sim_random_percent(&world->random, 50);
}

static bool owns(struct world *world, unsigned node, unsigned group)
{
    struct carrick_log_copy copy;

    return storage_copy(world, node, group, &copy) && copy.role == CARRICK_LOG_OWNER;
}

static void goes_on(struct world *world, unsigned node, unsigned unused)
{
    (void)unused;
    node_thaw(world, node);
}

// What happens to a node; it is over when all is healed.
static void happen(struct world *world, unsigned node)
{
    uint64_t long_ns = 60000 * ENV_MS;
    unsigned kinds = world->storage->go_on ? 3 : 6;

    world->numbers.faults++;
    switch (sim_random_below(&world->random, kinds)) {
    case 0:
        node_kill(world, node, sim_random_percent(&world->random, 50));
        break;
    case 1:
        node_power_off(world, node);
        break;
    case 2:
        node_stop(world, node);
        break;
    case 4:
        paths_fault(world, 1 + (unsigned)sim_random_below(&world->random, 3), long_ns);
        return;
    case 5:
        return; // it is well, and the operator wants it otherwise
    default:
        node_freeze(world, node, sim_random_percent(&world->random, 50),
                    sim_random_percent(&world->random, 50));
        action_add(world, long_ns, goes_on, node, 0, true);
        return;
    }
    action_add(world, long_ns, node_back, node, 0, true);
}

// For so long nobody acknowledges by itself; what `node` owned stays there.
static void held_judge(struct world *world, unsigned node, const bool *owned)
{
    uint64_t until_ns = world->clock.now_ns + HELD_MS * ENV_MS;

    while (world->clock.now_ns < until_ns && world_advance(world, world->clock.now_ns + ENV_MS))
        for (unsigned i = 0; i < world->storage->groups; i++) {
            bool alone = storage_is_owner_alone(world, 0, i) || storage_is_owner_alone(world, 1, i);

            if (!world->storage->go_on && alone)
                world_fail(world, "%s: somebody goes alone, though on_mirror_loss is \"hold\"",
                           world->storage->group[i].name);
            if (owned[i] && owns(world, !node, i))
                world_fail(world, "%s: %s takes it over without an operator's word",
                           world->storage->group[i].name, world->node[!node].name);
        }
}

// Each of those groups is served at that node, within that time.
static void served_judge(struct world *world, unsigned node, const bool *which, unsigned within_ms,
                         const char *what)
{
    uint64_t until_ns = world->clock.now_ns + within_ms * ENV_MS;

    for (unsigned i = 0; i < world->storage->groups && !world->failed; i++)
        while (which[i] && !storage_serves(world, node, i) &&
               world_advance(world, world->clock.now_ns + ENV_MS))
            if (world->clock.now_ns > until_ns) {
                storage_say(world);
                world_fail(world, "%s: %s, and it is not served at %s within %u ms",
                           world->storage->group[i].name, what, world->node[node].name, within_ms);
            }
}

static void step(struct world *world)
{
    unsigned node = (unsigned)sim_random_below(&world->random, 2);
    bool owned[STORAGE_GROUPS_MAX], kept[STORAGE_GROUPS_MAX];

    for (unsigned i = 0; i < world->storage->groups; i++) {
        owned[i] = owns(world, node, i);
        kept[i] = !owned[i] && world->storage->go_on;
    }
    happen(world, node);
    users_stir(world->storage);
    served_judge(world, !node, kept, SERVED_MS, "its partner is lost, and it may continue");
    held_judge(world, node, owned);
    if (world->failed || sim_random_percent(&world->random, 30))
        return;
    for (unsigned i = 0; i < world->storage->groups; i++)
        if (owned[i])
            storage_command(world, !node, "takeover", i, true);
    served_judge(world, !node, owned, FORCED_MS, "it was taken over by force");
    users_stir(world->storage);
}

void storage_run_operator(struct world *world)
{
    unsigned steps = world->options.steps > 0 ? world->options.steps
                                              : (unsigned)sim_random_between(&world->random, 1, 4);

    storage_begin(world);
    for (unsigned i = 0; i < steps && !world->failed; i++) {
        storage_pause(world, 300 * ENV_MS);
        users_stir(world->storage);
        storage_pause(world, 2 * ENV_MS);
        if (!world->failed && storage_protected(world))
            step(world);
        storage_pause(world, 1000 * ENV_MS);
        storage_heal(world);
    }
    storage_finish(world);
}
