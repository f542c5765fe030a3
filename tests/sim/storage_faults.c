// SPDX-License-Identifier: Apache-2.0
//
// What goes wrong with storage, one thing at a time; storage_scenario.c and its companions say when.
#include "tests/sim/storage.h"

void storage_disk_well(struct world *world, unsigned node, unsigned unused)
{
    (void)unused;
    world_say(world, world->node[node].name, "its disk is well again");
    sim_disk_set_faults(world->node[node].disk, &(struct sim_disk_faults){0});
}

static void disk_fault(struct world *world)
{
    unsigned node = (unsigned)sim_random_below(&world->random, 2);
    struct sim_disk_faults faults = {.latency_max_ns = 20 * ENV_MS};
    static const char *const names[] = {"slow", "full", "failing"};
    unsigned kind = (unsigned)sim_random_below(&world->random, 3);

    faults.full = kind == 1;
    if (kind == 2)
        faults.write_error = faults.sync_error = faults.read_error = 20;
    world_say(world, world->node[node].name, "its disk is %s", names[kind]);
    sim_disk_set_faults(world->node[node].disk, &faults);
    action_add(world, draw_time_ns(world), storage_disk_well, node, 0, true);
}

static void arbiter_well(struct world *world, unsigned node, unsigned unused)
{
    (void)unused;
    world->storage->way[node] = ARBITER_WELL;
}

static void arbiter_fault(struct world *world)
{
    unsigned node = (unsigned)sim_random_below(&world->random, 2);
    bool both = sim_random_percent(&world->random, 40);
    uint64_t time_ns = draw_time_ns(world);
    static const char *const ways[] = {[ARBITER_WELL] = "is well",
                                       [ARBITER_DEAF] = "cannot be reached",
                                       [ARBITER_MUTE] = "is not heard any more",
                                       [ARBITER_SLOW] = "is slow",
                                       [ARBITER_SICK] = "says that it cannot"};

    for (unsigned i = 0; i < (both ? 2u : 1u); i++, node = !node) {
        world->storage->way[node] =
            (enum arbiter_way)sim_random_between(&world->random, ARBITER_DEAF, ARBITER_SICK);
        world_say(world, world->node[node].name, "the arbiter %s", ways[world->storage->way[node]]);
        action_add(world, time_ns, arbiter_well, node, 0, true);
    }
}

static void all_cut(struct world *world)
{
    uint64_t time_ns = draw_time_ns(world);
    unsigned faults = 1 + (unsigned)sim_random_below(&world->random, 3);

    world_say(world, NULL, "all links: %s",
              faults == SIM_PATH_SILENT         ? "silence"
              : faults == SIM_PATH_SILENT_THERE ? "nothing gets from a to b"
                                                : "nothing gets from b to a");
    paths_fault(world, faults, time_ns);
}

static void power_off(struct world *world)
{
    struct storage *storage = world->storage;
    unsigned node = (unsigned)sim_random_below(&world->random, 2);
    bool both =
        storage->level == CARRICK_LEVEL_PERSISTENT && sim_random_percent(&world->random, 50);

    // What would lose the second copy of a log in memory is a scenario of its own.
    if (storage->level != CARRICK_LEVEL_PERSISTENT && !storage_protected(world))
        return;
    for (unsigned i = 0; i < (both ? 2u : 1u); i++, node = !node) {
        node_power_off(world, node);
        action_add(world, draw_time_ns(world), node_back, node, 0, true);
    }
}

static bool both_run(const struct world *world)
{
    for (unsigned i = 0; i < 2; i++)
        if (!world->node[i].alive || world->node[i].frozen || world->node[i].stopping)
            return false;
    return true;
}

// A log in the daemon's own memory goes with the daemon: only one of them may, and only while the other has it, too.
static void one_dies(struct world *world, bool in_order)
{
    unsigned node = (unsigned)sim_random_below(&world->random, 2);

    if (!storage_protected(world))
        return;
    // One that stands still, or is about to stop, is not there for long.
    if (!both_run(world))
        return;
    if (in_order)
        node_stop(world, node);
    else
        node_kill(world, node, sim_random_percent(&world->random, 50));
    action_add(world, draw_time_ns(world) + (in_order ? world->timers.ending_ms * ENV_MS : 0),
               node_back, node, 0, true);
}

static void handover(struct world *world)
{
    unsigned group = (unsigned)sim_random_below(&world->random, world->storage->groups);
    static const char *const words[] = {"handover", "giveback"};
    const char *word = words[sim_random_below(&world->random, 2)];

    storage_command(world, (unsigned)sim_random_below(&world->random, 2), word, group, false);
}

static unsigned owner_draw(struct world *world)
{
    unsigned group = (unsigned)sim_random_below(&world->random, world->storage->groups);
    struct carrick_log_copy copy;

    return storage_copy(world, 1, group, &copy) && copy.role == CARRICK_LOG_OWNER ? 1 : 0;
}

static void node_heard(struct world *world, unsigned node, unsigned unused)
{
    (void)unused;
    world->storage->way[node] = ARBITER_WELL;
}

// An owner that is cut off from its partner and from the arbiter, and not from its users.
static void owner_apart(struct world *world)
{
    unsigned node = owner_draw(world);
    uint64_t time_ns = sim_random_between(&world->random, 300, 2500) * ENV_MS;

    world_say(world, world->node[node].name, "is cut off from its partner and the arbiter");
    world->storage->way[node] = ARBITER_DEAF;
    paths_fault(world, 1 + (unsigned)sim_random_below(&world->random, 3), time_ns);
    action_add(world, time_ns + sim_random_below(&world->random, 300 * ENV_MS), node_heard, node, 0,
               true);
    // So its partner's log keeps all that is written there, beside what this node holds from the fork on.
    if (sim_random_percent(&world->random, 30)) {
        sim_disk_set_faults(world->node[!node].disk, &(struct sim_disk_faults){.full = true});
        action_add(world, time_ns + 500 * ENV_MS, storage_disk_well, !node, 0, true);
    }
}

static void node_thawed(struct world *world, unsigned node, unsigned unused)
{
    (void)unused;
    node_thaw(world, node);
}

// For so long that its partner takes over. It finds what came meanwhile, and goes on where it stood.
static void owner_stands_still(struct world *world)
{
    unsigned node = owner_draw(world);

    node_freeze(world, node, sim_random_percent(&world->random, 70),
                sim_random_percent(&world->random, 50));
    action_add(world, sim_random_between(&world->random, 500, 2500) * ENV_MS, node_thawed, node, 0,
               true);
}

static void owner_without_driver(struct world *world)
{
    uint64_t time_ns = sim_random_between(&world->random, 20, 2500) * ENV_MS;

    fault_driver(world, owner_draw(world), time_ns);
    // Its partner is dead as well, or what failed there is the same.
    if (sim_random_percent(&world->random, 10))
        fault_driver(world, 0, time_ns);
}

// What lies in one kind of file cannot be written, at one node, and the rest can.
static void files_fail(struct world *world)
{
    static const char *const kinds[] = {"/log", "/disk", ".map"};
    unsigned node = (unsigned)sim_random_below(&world->random, 2);
    struct sim_disk_faults faults = {.only = kinds[sim_random_below(&world->random, 3)]};

    faults.full = sim_random_percent(&world->random, 40);
    faults.write_error = sim_random_percent(&world->random, 50) ? 100 : 20;
    faults.sync_error = sim_random_percent(&world->random, 50) ? 100 : 20;
    world_say(world, world->node[node].name, "its files with %s in their names %s", faults.only,
              faults.full ? "have no space" : "cannot be written");
    sim_disk_set_faults(world->node[node].disk, &faults);
    action_add(world, draw_time_ns(world) + sim_random_below(&world->random, 2000 * ENV_MS),
               storage_disk_well, node, 0, true);
}

// One soon after the other, and back in either order.
static void both_killed(struct world *world)
{
    if (world->storage->level == CARRICK_LEVEL_VOLATILE)
        return;
    for (unsigned i = 0; i < 2; i++) {
        node_kill(world, i, sim_random_percent(&world->random, 50));
        action_add(world,
                   sim_random_percent(&world->random, 50)
                       ? sim_random_below(&world->random, 50 * ENV_MS)
                       : draw_time_ns(world),
                   node_back, i, 0, true);
    }
}

static void restarted(struct world *world)
{
    unsigned node = (unsigned)sim_random_below(&world->random, 2);

    if (world->storage->level == CARRICK_LEVEL_VOLATILE &&
        (!storage_protected(world) || !both_run(world)))
        return;
    node_kill(world, node, sim_random_percent(&world->random, 50));
    action_add(world, sim_random_below(&world->random, 10 * ENV_MS), node_back, node, 0, true);
}

void storage_fault(struct world *world, unsigned kind, unsigned unused)
{
    (void)unused;
    world->numbers.faults++;
    switch (kind) {
    case STORAGE_APART:
        owner_apart(world);
        return;
    case STORAGE_STILL:
        owner_stands_still(world);
        return;
    case STORAGE_DRIVER:
        owner_without_driver(world);
        return;
    case STORAGE_KILL:
        if (world->storage->level == CARRICK_LEVEL_VOLATILE)
            one_dies(world, false);
        else
            fault_make(world, FAULT_KILL);
        return;
    case STORAGE_FREEZE:
        fault_make(world, FAULT_FREEZE);
        return;
    case STORAGE_POWER:
        power_off(world);
        return;
    case STORAGE_CUT:
        all_cut(world);
        return;
    case STORAGE_ARBITER:
        arbiter_fault(world);
        return;
    case STORAGE_DISK:
        disk_fault(world);
        return;
    case STORAGE_HAND:
        handover(world);
        return;
    case STORAGE_FILE:
        files_fail(world);
        return;
    case STORAGE_BOTH_KILLED:
        both_killed(world);
        return;
    case STORAGE_TAKE:
        storage_command(world, (unsigned)sim_random_below(&world->random, 2), "takeover",
                        (unsigned)sim_random_below(&world->random, world->storage->groups), false);
        return;
    case STORAGE_LINKS_DOWN:
        fault_links_down(world, (unsigned)sim_random_below(&world->random, 2),
                         sim_random_between(&world->random, 20, 2500) * ENV_MS);
        return;
    case STORAGE_RESTART:
        restarted(world);
        return;
    case STORAGE_RESET:
        fault_make(world, FAULT_RESET);
        return;
    case STORAGE_STOP:
        if (world->storage->level == CARRICK_LEVEL_VOLATILE)
            one_dies(world, true);
        else
            fault_make(world, FAULT_STOP);
        return;
    default:
        fault_random_path(world);
    }
}
