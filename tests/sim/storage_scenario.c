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
void storage_command(struct world *world, unsigned node, const char *word, unsigned group)
{
    struct json_object *args, *inner;

    if (!world->node[node].alive || world->node[node].stopping || world->node[node].frozen)
        return;
    args = json_object_new_object();
    inner = json_object_new_object();
    json_object_object_add(inner, "group",
                           json_object_new_string(world->storage->group[group].name));
    json_object_object_add(args, "client", json_object_new_string("failover"));
    json_object_object_add(args, "word", json_object_new_string(word));
    json_object_object_add(args, "args", inner);
    world_say(world, world->node[node].name, "command %s %s", word,
              world->storage->group[group].name);
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

// ---- faults

static void disk_well(struct world *world, unsigned node, unsigned unused)
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
    action_add(world, draw_time_ns(world), disk_well, node, 0, true);
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

    for (unsigned i = 0; i < (both ? 2u : 1u); i++, node = !node) {
        world->storage->way[node] =
            sim_random_percent(&world->random, 50) ? ARBITER_DEAF : ARBITER_MUTE;
        world_say(world, world->node[node].name, "the arbiter %s",
                  world->storage->way[node] == ARBITER_DEAF ? "cannot be reached"
                                                            : "is not heard any more");
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

// A log in the daemon's own memory goes with the daemon: only one of them may, and only while the other has it, too.
static void one_dies(struct world *world, bool in_order)
{
    unsigned node = (unsigned)sim_random_below(&world->random, 2);

    if (!storage_protected(world))
        return;
    // One that stands still, or is about to stop, is not there for long.
    for (unsigned i = 0; i < 2; i++)
        if (!world->node[i].alive || world->node[i].frozen || world->node[i].stopping)
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

    storage_command(world, (unsigned)sim_random_below(&world->random, 2), word, group);
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
        action_add(world, time_ns + 500 * ENV_MS, disk_well, !node, 0, true);
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

static void fault_one(struct world *world, unsigned kind, unsigned unused)
{
    (void)unused;
    world->numbers.faults++;
    switch (kind) {
    case 10:
        owner_apart(world);
        return;
    case 11:
        owner_stands_still(world);
        return;
    case 12:
        owner_without_driver(world);
        return;
    case 0:
        if (world->storage->level == CARRICK_LEVEL_VOLATILE)
            one_dies(world, false);
        else
            fault_make(world, FAULT_KILL);
        return;
    case 1:
        fault_make(world, FAULT_FREEZE);
        return;
    case 2:
        power_off(world);
        return;
    case 3:
        all_cut(world);
        return;
    case 4:
        arbiter_fault(world);
        return;
    case 5:
        disk_fault(world);
        return;
    case 6:
        handover(world);
        return;
    case 7:
        fault_make(world, FAULT_RESET);
        return;
    case 8:
        if (world->storage->level == CARRICK_LEVEL_VOLATILE)
            one_dies(world, true);
        else
            fault_make(world, FAULT_STOP);
        return;
    default:
        fault_random_path(world);
    }
}

#define KINDS 13u

static void fault_due(struct world *world, unsigned kind, unsigned unused)
{
    (void)unused;
    users_stir(world->storage);
    action_add(world, sim_random_below(&world->random, ENV_MS), fault_one, kind, 0, false);
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
        unsigned kind = count == 0 ? (unsigned)sim_random_below(&world->random, KINDS)
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
    static const unsigned kinds[] = {0, 0, 2, 8};

    run_kinds(world, kinds, 4);
}

void storage_run_split(struct world *world)
{
    static const unsigned kinds[] = {1, 3, 3, 4, 9, 10, 10, 11, 11, 12, 12};

    run_kinds(world, kinds, 11);
}

void storage_run_disk(struct world *world)
{
    static const unsigned kinds[] = {5, 5, 0, 2};

    run_kinds(world, kinds, 4);
}

void storage_run_handover(struct world *world)
{
    static const unsigned kinds[] = {6, 6, 6, 0, 1, 4, 7, 12};

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
        action_add(world, 300 * ENV_MS, disk_well, i, 0, true);
    }
}

void storage_run_resync(struct world *world)
{
    static const unsigned kinds[] = {0, 0, 1, 2, 3, 4, 5, 7};
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
            action_add(world, sim_random_below(&world->random, 10 * ENV_MS), fault_one,
                       kinds[sim_random_below(&world->random, 8)], 0, false);
        world_advance(world, world->clock.now_ns + sim_random_below(&world->random, 600 * ENV_MS));
    }
    storage_finish(world);
}
