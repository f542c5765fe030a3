// SPDX-License-Identifier: Apache-2.0
//
// A node boots slowly, and its manager runs long before its storage: in the initramfs, with no clients, then gone for a
// moment, then as ever. Who serves alone goes on with that. Who has died as well, and is back sooner, waits for it where both
// are members: the copy that comes may be the longer one. And no longer than boot_ms.
#include "tests/sim/storage.h"

#include <json-c/json.h>
#include <stdio.h>

enum {
    LOST_MS = 600,  // a node that is killed: as in the table of failures
    BOOT_MS = 6000, // where the patience is to end
    SERVED_MS = 7000,
    STOP_MS = 3000,
};

void storage_setup_boot(struct world *world)
{
    struct storage *storage = world->storage;

    storage->with_arbiter = true;
    if (storage->level == CARRICK_LEVEL_VOLATILE)
        storage_level_set(storage, CARRICK_LEVEL_MEMORY);
    storage->boots = true;
    storage->boot_ms = sim_random_percent(&world->random, 30) ? BOOT_MS : 0;
}

static bool serves_all(struct world *world, unsigned node)
{
    for (unsigned i = 0; i < world->storage->groups; i++)
        if (!storage_serves(world, node, i))
            return false;
    return true;
}

// It has noticed that its partner is gone.
static bool is_alone_with_all(struct world *world, unsigned node)
{
    for (unsigned i = 0; i < world->storage->groups; i++)
        if (!storage_is_owner_alone(world, node, i))
            return false;
    return serves_all(world, node);
}

static bool a_is_alone(struct world *world)
{
    return is_alone_with_all(world, 0);
}

static bool b_is_alone(struct world *world)
{
    return is_alone_with_all(world, 1);
}

static void alone_judge(struct world *world, unsigned node, unsigned within_ms, const char *what)
{
    if (world->failed ||
        storage_wait(world, node == 0 ? a_is_alone : b_is_alone, within_ms * ENV_MS))
        return;
    storage_say(world);
    world_fail(world, "%s: %s does not serve every group by itself within %u ms", what,
               world->node[node].name, within_ms);
}

static bool one_is_alone(struct world *world, unsigned node)
{
    for (unsigned i = 0; i < world->storage->groups; i++)
        if (storage_is_owner_alone(world, node, i))
            return true;
    return false;
}

// As long as that lasts: `patient` waits for its partner, or serves and goes on with it.
static void stage_judge(struct world *world, unsigned node, bool patient, uint64_t time_ns)
{
    uint64_t until_ns = world->clock.now_ns + time_ns;

    while (world->clock.now_ns < until_ns && world_advance(world, world->clock.now_ns + ENV_MS)) {
        if (patient && one_is_alone(world, node))
            world_fail(world, "%s does not wait for its partner, which boots",
                       world->node[node].name);
        if (!patient && !serves_all(world, node))
            world_fail(world, "%s does not go on serving, though its partner only boots",
                       world->node[node].name);
    }
}

static bool a_is_down(struct world *world)
{
    return !world->node[0].alive;
}

static bool b_is_down(struct world *world)
{
    return !world->node[1].alive;
}

static void nothing(void *arg, int status, struct json_object *value)
{
    (void)arg;
    (void)status;
    json_object_put(value);
}

static void has_booted(struct world *world, unsigned node, unsigned unused)
{
    struct json_object *args;

    (void)unused;
    world->node[node].boot_stage = 0;
    if (!world->node[node].alive || world->node[node].stopping)
        return;
    args = json_object_new_object();
    json_object_object_add(args, "stage", json_object_new_string("serving"));
    manager_command(world->node[node].manager, "boot-stage", args, nothing, world);
    json_object_put(args);
}

static void die(struct world *world, unsigned node)
{
    world->numbers.faults++;
    if (world->storage->level == CARRICK_LEVEL_PERSISTENT)
        node_power_off(world, node);
    else
        node_kill(world, node, sim_random_percent(&world->random, 50));
}

// The instance in the initramfs ends, and the system's own one comes.
static void goes_over(struct world *world, unsigned node, bool patient)
{
    world_say(world, world->node[node].name, "the root file system is there");
    node_stop(world, node);
    if (!storage_wait(world, node == 0 ? a_is_down : b_is_down, STOP_MS * ENV_MS))
        world_fail(world, "%s does not end in time", world->node[node].name);
    if (!world->failed)
        stage_judge(world, !node, patient, sim_random_below(&world->random, 1500 * ENV_MS));
    if (world->failed)
        return;
    world->node[node].boot_stage = CARRICK_BOOT_SERVICES;
    node_start(world, node);
    action_add(world, sim_random_below(&world->random, 2000 * ENV_MS), has_booted, node, 0, true);
}

static void step(struct world *world, unsigned node)
{
    bool both = sim_random_percent(&world->random, 60);
    bool ends = both && world->storage->boot_ms > 0;

    users_stir(world->storage);
    storage_pause(world, 2 * ENV_MS);
    if (world->failed)
        return;
    die(world, node);
    if (both) {
        die(world, !node);
        storage_pause(world, 300 * ENV_MS);
        if (!world->failed)
            node_start(world, !node);
    } else {
        alone_judge(world, !node, LOST_MS, "its partner is killed");
    }
    // In time for the other one, which waits for it for five seconds as for any.
    if (!world->failed)
        stage_judge(world, !node, both, sim_random_below(&world->random, 3000 * ENV_MS));
    if (world->failed)
        return;
    world->node[node].boot_stage = CARRICK_BOOT_INITRAMFS;
    node_start(world, node);
    if (ends)
        alone_judge(world, !node, BOOT_MS + SERVED_MS, "its partner boots, and does not come");
    else
        stage_judge(world, !node, both, sim_random_below(&world->random, 9000 * ENV_MS));
    if (!world->failed)
        goes_over(world, node, both && !ends);
}

void storage_run_boot(struct world *world)
{
    unsigned steps = world->options.steps > 0 ? world->options.steps
                                              : (unsigned)sim_random_between(&world->random, 1, 2);

    storage_begin(world);
    for (unsigned i = 0; i < steps && !world->failed; i++) {
        storage_pause(world, 300 * ENV_MS);
        if (!world->failed && storage_protected(world))
            step(world, (unsigned)sim_random_below(&world->random, 2));
        storage_heal(world);
    }
    storage_finish(world);
}
