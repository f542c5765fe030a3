// SPDX-License-Identifier: Apache-2.0
//
// The table of failures: from a state in which both nodes are members and nothing is wrong, one thing happens, and it is
// written here who must serve then, and by when; or that nobody may.
//
// Times are those of the fast profile: a node without a link or session is lost after 60 ms and one beat, a node that
// stands still after 600 ms; its partner waits 60 ms more, and asks the arbiter.
#include <stdio.h>

#include "tests/sim/storage.h"

enum who {
    WHO_OTHER, // the node that nothing happened to, all groups
    WHO_ANY,   // each group by either
    WHO_NOBODY // nobody goes alone; what was in flight waits
};

struct cell {
    const char *what;
    void (*happen)(struct world *world, unsigned node);
    enum who who;
    unsigned after_ms;  // until then nobody has noticed
    unsigned within_ms; // of that
    uint32_t level;     // the log must outlive so much (enum carrick_level); 0: anything
};

static void killed(struct world *world, unsigned node)
{
    node_kill(world, node, sim_random_percent(&world->random, 50));
}

static void stands_still(struct world *world, unsigned node)
{
    node_freeze(world, node, sim_random_percent(&world->random, 50),
                sim_random_percent(&world->random, 50));
}

static void stops(struct world *world, unsigned node)
{
    node_stop(world, node);
}

static void links_silent(struct world *world, unsigned node)
{
    (void)node;
    paths_fault(world, 1 + (unsigned)sim_random_below(&world->random, 3), 60000 * ENV_MS);
}

static void links_cut(struct world *world, unsigned node)
{
    (void)node;
    for (unsigned i = 0; i < world->links; i++)
        fault_cut_link(world, i, 0);
    paths_fault(world, 1 + (unsigned)sim_random_below(&world->random, 3), 60000 * ENV_MS);
}

static void arbiter_away(struct world *world)
{
    for (unsigned i = 0; i < 2; i++)
        world->storage->way[i] =
            sim_random_percent(&world->random, 50) ? ARBITER_DEAF : ARBITER_MUTE;
}

static void killed_without_arbiter(struct world *world, unsigned node)
{
    arbiter_away(world);
    // What is heard of no more may still come to stand; that it does is no fault.
    world->storage->way[!node] = ARBITER_DEAF;
    killed(world, node);
}

static void arbiter_back(struct world *world, unsigned node, unsigned unused)
{
    (void)unused;
    world->storage->way[node] = ARBITER_WELL;
}

static void killed_while_arbiter_is_ill(struct world *world, unsigned node)
{
    world->storage->way[!node] =
        (enum arbiter_way)sim_random_between(&world->random, ARBITER_DEAF, ARBITER_SICK);
    action_add(world, sim_random_below(&world->random, 1000 * ENV_MS), arbiter_back, !node, 0,
               true);
    killed(world, node);
}

static void both_restarted_while_arbiter_is_ill(struct world *world, unsigned unused)
{
    (void)unused;
    for (unsigned i = 0; i < 2; i++) {
        world->storage->way[i] =
            (enum arbiter_way)sim_random_between(&world->random, ARBITER_DEAF, ARBITER_SICK);
        action_add(world, sim_random_below(&world->random, 2000 * ENV_MS), arbiter_back, i, 0,
                   true);
        killed(world, i);
        action_add(world, sim_random_below(&world->random, 50 * ENV_MS), node_back, i, 0, true);
    }
}

static void links_taken_down(struct world *world, unsigned node)
{
    fault_links_down(world, node, 60000 * ENV_MS);
}

static void links_silent_without_arbiter(struct world *world, unsigned node)
{
    (void)node;
    world->storage->way[0] = world->storage->way[1] = ARBITER_DEAF;
    links_silent(world, node);
}

static void arbiter_deaf_to_one(struct world *world, unsigned node)
{
    // The one that it does not hear is cut off from its partner, too.
    world->storage->way[node] = ARBITER_DEAF;
    links_silent(world, node);
}

static void both_killed_one_back(struct world *world, unsigned node)
{
    killed(world, node);
    node_kill(world, !node, sim_random_percent(&world->random, 50));
    world_advance(world, world->clock.now_ns + sim_random_below(&world->random, 50 * ENV_MS));
    if (!world->failed)
        node_start(world, !node);
}

static void both_killed_both_back(struct world *world, unsigned node)
{
    both_killed_one_back(world, node);
    world_advance(world, world->clock.now_ns + sim_random_below(&world->random, 500 * ENV_MS));
    if (!world->failed)
        node_start(world, node);
}

static void handed_over(struct world *world, unsigned node)
{
    // A claim of what happened before may still be under way, and a command is refused meanwhile.
    world_advance(world, world->clock.now_ns + 1600 * ENV_MS);
    for (unsigned i = 0; i < world->storage->groups && !world->failed; i++)
        storage_command(world, node, "handover", i, false);
}

static void shelf_fails(struct world *world, unsigned node)
{
    sim_disk_set_faults(world->node[node].disk,
                        &(struct sim_disk_faults){.full = sim_random_percent(&world->random, 50),
                                                  .write_error = 100,
                                                  .sync_error = 50});
}

static void driver_fails(struct world *world, unsigned node)
{
    fault_driver(world, node, 60000 * ENV_MS);
}

static void killed_and_driver_fails(struct world *world, unsigned node)
{
    bool first = sim_random_percent(&world->random, 50);

    // Before the one is noticed, the other has come.
    if (first)
        killed(world, node);
    fault_driver(world, !node, 60000 * ENV_MS);
    world_advance(world, world->clock.now_ns + sim_random_below(&world->random, 50 * ENV_MS));
    if (!first && !world->failed)
        killed(world, node);
}

static void session_reset(struct world *world, unsigned node)
{
    (void)node;
    fault_make(world, FAULT_RESET);
}

static void pause_ms(struct world *world, unsigned max_ms)
{
    (void)storage_pause(world, max_ms * ENV_MS);
}

static void killed_and_back(struct world *world, unsigned node)
{
    killed(world, node);
    pause_ms(world, 50);
    if (!world->failed)
        node_start(world, node);
}

static void killed_in_its_return(struct world *world, unsigned node)
{
    killed_and_back(world, node);
    pause_ms(world, 1000);
    if (!world->failed)
        killed(world, node);
}

static void one_link_silent(struct world *world, unsigned node)
{
    char a[8], b[8];
    unsigned link = world->links - 1;

    (void)node;
    if (link > 0)
        sim_path_fault(world->fabric, link_address(a, 0, link), link_address(b, 1, link),
                       1 + (unsigned)sim_random_below(&world->random, 3));
}

static void arbiter_alone(struct world *world, unsigned node)
{
    (void)node;
    arbiter_away(world);
}

static void handed_over_without_links(struct world *world, unsigned node)
{
    links_silent(world, node);
    pause_ms(world, 100);
    for (unsigned i = 0; i < world->storage->groups && !world->failed; i++)
        storage_command(world, node, "handover", i, false);
}

static void giver_killed(struct world *world, unsigned node)
{
    handed_over(world, node);
    pause_ms(world, 60);
    if (!world->failed)
        killed(world, node);
}

static void taker_killed(struct world *world, unsigned node)
{
    handed_over(world, !node);
    pause_ms(world, 60);
    if (!world->failed)
        killed(world, node);
}

static void both_lose_power_one_back(struct world *world, unsigned node)
{
    node_power_off(world, node);
    pause_ms(world, 20);
    if (!world->failed)
        node_power_off(world, !node);
    pause_ms(world, 500);
    if (!world->failed)
        node_start(world, !node);
}

static bool all_alone(struct world *world, unsigned node)
{
    for (unsigned i = 0; i < world->storage->groups; i++)
        if (!storage_is_owner_alone(world, node, i))
            return false;
    return true;
}

static bool a_is_alone(struct world *world)
{
    return all_alone(world, 0);
}

static bool b_is_alone(struct world *world)
{
    return all_alone(world, 1);
}

static void back_without_the_owner(struct world *world, unsigned node)
{
    killed(world, node);
    // Where it is not served within that, the cell of the killed node says so.
    if (!storage_wait(world, node == 0 ? b_is_alone : a_is_alone, 2500 * ENV_MS) || world->failed)
        return;
    pause_ms(world, 100);
    if (!world->failed)
        killed(world, !node);
    pause_ms(world, 100);
    if (!world->failed)
        node_start(world, node);
}

static void log_fails(struct world *world, unsigned node)
{
    sim_disk_set_faults(world->node[node].disk, &(struct sim_disk_faults){
                                                    .only = "/log",
                                                    .full = sim_random_percent(&world->random, 50),
                                                    .write_error = 100,
                                                    .sync_error = 100,
                                                });
}

static const struct cell cells[] = {
    {"a node is killed", killed, WHO_OTHER, 0, 600, 0},
    {"a node loses power", node_power_off, WHO_OTHER, 0, 600, 0},
    // Longer by ending_ms: its links stand, and it is asked to end the session in order.
    {"a node stands still", stands_still, WHO_OTHER, 0, 2500, 0},
    {"a node is stopped", stops, WHO_OTHER, 0, 1500, 0},
    {"nothing gets through between the nodes", links_silent, WHO_ANY, 200, 1500, 0},
    {"all links are cut", links_cut, WHO_ANY, 200, 1500, 0},
    {"a node is cut off, and hears no arbiter", arbiter_deaf_to_one, WHO_OTHER, 0, 2500, 0},
    {"a node is killed, and the other hears no arbiter", killed_without_arbiter, WHO_NOBODY, 0,
     2500, 0},
    {"the nodes are cut off from each other, and hear no arbiter", links_silent_without_arbiter,
     WHO_NOBODY, 0, 2500, 0},
    {"both are killed, one is back", both_killed_one_back, WHO_OTHER, 0, 7000,
     CARRICK_LEVEL_MEMORY},
    {"both are killed, both are back", both_killed_both_back, WHO_ANY, 0, 7000,
     CARRICK_LEVEL_MEMORY},
    {"a node hands over", handed_over, WHO_OTHER, 0, 1500, 0},
    {"the driver of a node's interconnect fails", driver_fails, WHO_OTHER, 0, 1500, 0},
    {"a node is killed, and the driver of the other fails", killed_and_driver_fails, WHO_OTHER, 0,
     4000, 0},
    {"the disk under a shelf fails", shelf_fails, WHO_ANY, 300, 1500, 0},
    {"an operator takes all links of a node down", links_taken_down, WHO_OTHER, 0, 1500, 0},
    // What was asked before that may be answered when its time is over, and is asked again then.
    {"a node is killed, and the arbiter is ill for a second", killed_while_arbiter_is_ill,
     WHO_OTHER, 0, 4000, 0},
    {"both are started anew, and the arbiter is ill for two seconds",
     both_restarted_while_arbiter_is_ill, WHO_ANY, 0, 7000, CARRICK_LEVEL_MEMORY},
    {"the session is reset", session_reset, WHO_ANY, 10, 1500, 0},
    {"a node is killed and back within 50 ms", killed_and_back, WHO_ANY, 200, 2500, 0},
    {"a node is killed in its return", killed_in_its_return, WHO_OTHER, 0, 2500, 0},
    {"nothing gets through on one of several links", one_link_silent, WHO_ANY, 0, 2500, 0},
    {"nobody hears the arbiter", arbiter_alone, WHO_ANY, 500, 10, 0},
    {"a node hands over while nothing gets through", handed_over_without_links, WHO_ANY, 200, 4000,
     0},
    {"a node is killed while it hands over", giver_killed, WHO_OTHER, 0, 4000, 0},
    {"a node is killed while it is handed over to", taker_killed, WHO_OTHER, 0, 4000, 0},
    {"both lose power, one is back", both_lose_power_one_back, WHO_OTHER, 0, 7000,
     CARRICK_LEVEL_PERSISTENT},
    {"who comes back lacks what the dead owner had alone", back_without_the_owner, WHO_NOBODY, 0,
     7000, CARRICK_LEVEL_MEMORY},
    {"the disk under a log fails", log_fails, WHO_ANY, 300, 4000, CARRICK_LEVEL_PERSISTENT},
};
#define CELL_COUNT (sizeof(cells) / sizeof(cells[0]))

void storage_setup_table(struct world *world)
{
    world->storage->with_arbiter = true;
}

static bool all_serve(struct world *world, bool a, bool b)
{
    for (unsigned i = 0; i < world->storage->groups; i++)
        if (!(a && storage_serves(world, 0, i)) && !(b && storage_serves(world, 1, i)))
            return false;
    return true;
}

static bool a_serves(struct world *world)
{
    return all_serve(world, true, false);
}

static bool b_serves(struct world *world)
{
    return all_serve(world, false, true);
}

static bool each_is_served(struct world *world)
{
    return all_serve(world, true, true);
}

static bool somebody_is_alone(struct world *world)
{
    for (unsigned i = 0; i < world->storage->groups; i++)
        for (unsigned node = 0; node < 2; node++)
            if (storage_is_owner_alone(world, node, i))
                return true;
    return false;
}

static void cell_judge(struct world *world, const struct cell *cell, unsigned node)
{
    uint64_t since_ns = world->clock.now_ns, time_ns = cell->within_ms * ENV_MS;
    bool (*const serves[])(struct world * world) = {a_serves, b_serves};

    if (cell->who == WHO_NOBODY) {
        if (storage_wait(world, somebody_is_alone, time_ns) && !world->failed)
            world_fail(world, "%s: somebody goes alone without the arbiter's word", cell->what);
        return;
    }
    world_advance(world, since_ns + cell->after_ms * ENV_MS);
    if (storage_wait(world, cell->who == WHO_OTHER ? serves[!node] : each_is_served, time_ns)) {
        world_say(world, NULL, "served after %.0f ms",
                  (double)(world->clock.now_ns - since_ns) / (double)ENV_MS);
        return;
    }
    storage_say(world);
    world_fail(world, "%s (%s): not every group is served %s within %u ms", cell->what,
               world->node[node].name, cell->who == WHO_OTHER ? "by the other" : "by either",
               cell->within_ms);
}

void storage_run_table(struct world *world)
{
    const struct storage *storage = world->storage;
    unsigned steps = world->options.steps > 0 ? world->options.steps
                                              : (unsigned)sim_random_between(&world->random, 1, 4);

    storage_begin(world);
    for (unsigned i = 0; i < steps && !world->failed; i++) {
        const struct cell *cell = &cells[sim_random_below(&world->random, CELL_COUNT)];
        unsigned node = (unsigned)sim_random_below(&world->random, 2);

        if (storage->level < cell->level ||
            (cell->happen == shelf_fails && storage->level == CARRICK_LEVEL_PERSISTENT))
            continue;
        world_advance(world, world->clock.now_ns + sim_random_below(&world->random, 200 * ENV_MS));
        if (world->failed)
            return;
        world_say(world, world->node[node].name, "%s", cell->what);
        world->numbers.faults++;
        cell->happen(world, node);
        if (!world->failed)
            cell_judge(world, cell, node);
        if (!world->failed && sim_random_percent(&world->random, 50))
            world_advance(world,
                          world->clock.now_ns + sim_random_below(&world->random, 1000 * ENV_MS));
        storage_heal(world);
    }
    storage_finish(world);
}
