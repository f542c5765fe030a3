// SPDX-License-Identifier: Apache-2.0
//
// Kinds of histories with storage: users work all the time, something goes wrong, and when all is well again the group
// must be served and protected, and everything that was acknowledged be there.
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/storage.h"

// ---- how long what may last, with all that the nodes' timers add up to

#define SETTLE_NS                                                                                  \
    (20000 * ENV_MS) // after the last fault: a start that waits for its partner, and a return

static void acknowledged_forget(struct world *world)
{
    for (unsigned i = 0; i < world->storage->groups; i++)
        world->storage->group[i].acknowledged = 0;
}

static void reply_free(void *arg, int status, struct json_object *value)
{
    (void)arg;
    (void)status;
    json_object_put(value);
}

// An operator's command to the failover monitor.
void storage_command(struct world *world, unsigned node, const char *word, unsigned group,
                     bool force)
{
    struct json_object *args, *inner;

    if (!world->node[node].alive || world->node[node].stopping || world->node[node].frozen)
        return;
    args = json_object_new_object();
    inner = json_object_new_object();
    json_object_object_add(inner, "group",
                           json_object_new_string(world->storage->group[group].name));
    if (force)
        json_object_object_add(inner, "force", json_object_new_boolean(true));
    json_object_object_add(args, "client", json_object_new_string("failover"));
    json_object_object_add(args, "word", json_object_new_string(word));
    json_object_object_add(args, "args", inner);
    world_say(world, world->node[node].name, "command %s %s%s", word,
              world->storage->group[group].name, force ? " --force" : "");
    manager_command(world->node[node].manager, "client", args, reply_free, world);
    json_object_put(args);
}

// ---- the beginning and the end

static bool is_protected_and_served(struct world *world)
{
    return storage_protected(world) && storage_served(world);
}

// Looks once a millisecond: what is asked takes longer than what happens in between.
bool storage_wait(struct world *world, bool (*condition)(struct world *world), uint64_t time_ns)
{
    uint64_t until_ns = world->clock.now_ns + time_ns;

    while (!condition(world)) {
        if (world->clock.now_ns >= until_ns)
            return false;
        if (!world_advance(world, world->clock.now_ns + ENV_MS))
            return true; // it has failed already
    }
    return true;
}

bool storage_pause(struct world *world, uint64_t max_ns)
{
    return !world->failed &&
           world_advance(world, world->clock.now_ns + sim_random_below(&world->random, max_ns));
}

void storage_begin(struct world *world)
{
    unsigned first = (unsigned)sim_random_below(&world->random, 2);

    users_create(world->storage);
    node_start(world, first);
    world_advance(world, world->clock.now_ns + sim_random_below(&world->random, 100 * ENV_MS));
    if (!world->failed)
        node_start(world, !first);
    if (!storage_wait(world, is_protected_and_served, SETTLE_NS)) {
        storage_say(world);
        world_fail(world, "a new group is not served and protected, though nothing is wrong");
    }
}

static void disks_well(struct world *world)
{
    for (unsigned i = 0; i < 2; i++)
        sim_disk_set_faults(world->node[i].disk, &(struct sim_disk_faults){0});
}

void storage_heal(struct world *world)
{
    struct storage *storage = world->storage;

    if (world->failed)
        return;
    faults_end(world);
    disks_well(world);
    storage->way[0] = storage->way[1] = ARBITER_WELL;
    acknowledged_forget(world);
    if (!storage_wait(world, is_protected_and_served, SETTLE_NS)) {
        register_judge(storage); // what was lost says more than that nothing goes on
        storage_say(world);
        world_fail(world, "nothing is wrong any more, but not every group is %s",
                   storage_served(world) ? "protected" : "served");
    }
}

void storage_finish(struct world *world)
{
    struct storage *storage = world->storage;

    if (world->failed)
        return;
    storage_heal(world);
    storage->users_work = false;
    users_read_all(storage);
    if (!storage_wait(world, users_have_read_all, SETTLE_NS))
        world_fail(world, "users cannot read all there is");
    if (!storage_wait(world, users_are_idle, 2 * storage->patience_ns))
        world_fail(world, "a request is neither answered nor given up");
    if (!world->failed)
        register_judge(storage);
    if (!storage_wait(world, storage_shelves_equal, SETTLE_NS)) {
        storage_say(world);
        storage_say_difference(world);
        world_fail(world, "the shelves of both nodes differ in the end");
    }
}

// ---- histories of drawn faults

static void fault_due(struct world *world, unsigned kind, unsigned unused)
{
    (void)unused;
    users_stir(world->storage);
    action_add(world, sim_random_below(&world->random, ENV_MS), storage_fault, kind, 0, false);
}

// From right into what the last fault set going, to after it has settled.
static uint64_t pause_draw(struct world *world)
{
    uint64_t draw = sim_random_below(&world->random, 100);

    return sim_random_below(&world->random, (draw < 50 ? 300 : draw < 90 ? 1000 : 3000) * ENV_MS);
}

static void run_kinds(struct world *world, const unsigned *kinds, unsigned count)
{
    unsigned steps = world->options.steps > 0 ? world->options.steps
                                              : (unsigned)sim_random_between(&world->random, 1, 6);

    storage_begin(world);
    for (unsigned i = 0; i < steps && !world->failed; i++) {
        unsigned kind = count == 0
                            ? (unsigned)sim_random_below(&world->random, STORAGE_FAULTS_MIXED)
                            : kinds[sim_random_below(&world->random, count)];

        action_add(world, sim_random_below(&world->random, 50 * ENV_MS), fault_due, kind, 0, false);
        world_advance(world, world->clock.now_ns + pause_draw(world));
    }
    if (!world->failed) // the last one comes, too
        world_advance(world, world->clock.now_ns + 51 * ENV_MS);
    storage_finish(world);
}

void storage_run_mixed(struct world *world)
{
    run_kinds(world, NULL, 0);
}

void storage_run_calm(struct world *world)
{
    storage_begin(world);
    world_advance(world, world->clock.now_ns + 500 * ENV_MS);
    storage_finish(world);
}

void storage_run_crash(struct world *world)
{
    static const unsigned kinds[] = {STORAGE_KILL, STORAGE_KILL, STORAGE_POWER, STORAGE_STOP};

    run_kinds(world, kinds, 4);
}

void storage_run_split(struct world *world)
{
    static const unsigned kinds[] = {STORAGE_FREEZE, STORAGE_CUT,    STORAGE_CUT,   STORAGE_ARBITER,
                                     STORAGE_PATH,   STORAGE_APART,  STORAGE_APART, STORAGE_STILL,
                                     STORAGE_STILL,  STORAGE_DRIVER, STORAGE_DRIVER};

    run_kinds(world, kinds, 11);
}

void storage_run_disk(struct world *world)
{
    static const unsigned kinds[] = {STORAGE_DISK, STORAGE_DISK, STORAGE_KILL, STORAGE_POWER};

    run_kinds(world, kinds, 4);
}

void storage_run_handover(struct world *world)
{
    static const unsigned kinds[] = {STORAGE_HAND,  STORAGE_HAND,   STORAGE_HAND,
                                     STORAGE_KILL,  STORAGE_FREEZE, STORAGE_ARBITER,
                                     STORAGE_RESET, STORAGE_DRIVER};

    run_kinds(world, kinds, 8);
}

// ---- a fault while a copy or a shelf is brought up to date

static bool is_resyncing(struct world *world)
{
    for (unsigned i = 0; i < world->storage->groups; i++)
        for (unsigned node = 0; node < 2; node++)
            if (storage_resyncs(world, node, i))
                return true;
    return false;
}

static void stir(struct world *world, unsigned a, unsigned b)
{
    (void)a;
    (void)b;
    users_stir(world->storage);
}

// What is copied is long on its way, and newer writes overtake it.
static void disks_slow(struct world *world)
{
    for (unsigned i = 0; i < 2; i++) {
        sim_disk_set_faults(world->node[i].disk,
                            &(struct sim_disk_faults){.latency_max_ns = 20 * ENV_MS});
        action_add(world, 300 * ENV_MS, storage_disk_well, i, 0, true);
    }
}

void storage_run_resync(struct world *world)
{
    static const unsigned kinds[] = {STORAGE_KILL, STORAGE_KILL,    STORAGE_FREEZE, STORAGE_POWER,
                                     STORAGE_CUT,  STORAGE_ARBITER, STORAGE_DISK,   STORAGE_RESET};
    unsigned steps = world->options.steps > 0 ? world->options.steps
                                              : (unsigned)sim_random_between(&world->random, 1, 4);

    storage_begin(world);
    for (unsigned i = 0; i < steps && !world->failed; i++) {
        unsigned node = (unsigned)sim_random_below(&world->random, 2);

        // One goes for long enough that the other serves alone, and writes.
        if (world->storage->level == CARRICK_LEVEL_VOLATILE && !storage_protected(world))
            break;
        node_kill(world, node, sim_random_percent(&world->random, 50));
        world_advance(world,
                      world->clock.now_ns + sim_random_between(&world->random, 200, 1500) * ENV_MS);
        if (!world->failed)
            node_start(world, node);
        if (!storage_wait(world, is_resyncing, 2000 * ENV_MS) || world->failed)
            continue;
        if (sim_random_percent(&world->random, 50))
            disks_slow(world);
        for (unsigned j = 0; j < 20; j++)
            action_add(world, j * 2 * ENV_MS, stir, 0, 0, false);
        if (sim_random_percent(&world->random, 60))
            action_add(world, sim_random_below(&world->random, 10 * ENV_MS), storage_fault,
                       kinds[sim_random_below(&world->random, 8)], 0, false);
        world_advance(world, world->clock.now_ns + sim_random_below(&world->random, 600 * ENV_MS));
    }
    storage_finish(world);
}
