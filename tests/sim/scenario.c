// SPDX-License-Identifier: Apache-2.0
//
// Kinds of histories. All end the same way: when nothing is wrong any more, the session must be up on both nodes within
// a bound, operations must complete, and at the end the nodes must stop in order.
#include "tests/sim/storage.h"

#include <stdio.h>
#include <string.h>

#define GHOST_CUTS 200u

// ---- the end of every history

// The time within which two nodes with nothing wrong must be joined: whatever they are in the middle of has a
// deadline, and after it comes one bring-up.
static uint64_t liveness_ns(const struct world *world)
{
    const struct config_timers *timers = &world->timers;

    return (timers->session_lost_ms + timers->ending_ms + timers->operation_ms +
            3ull * timers->bringup_ms + 4ull * timers->backoff_max_ms +
            4ull * timers->link_dead_ms + timers->hold_ms + 1000) *
           ENV_MS;
}

static bool work_is_done(struct world *world)
{
    if (!world_is_up(world))
        return false;
    for (unsigned i = 0; i < world->pairs; i++)
        for (unsigned j = 0; j < 2; j++)
            if (world->pair[i].side[j].done < 20)
                return false;
    return true;
}

// All that was posted is done, and has arrived: a send that has completed may still be on its way from the partner's
// device to its client.
static bool is_quiet(struct world *world)
{
    if (!world_is_up(world))
        return false;
    for (unsigned i = 0; i < world->pairs; i++)
        for (unsigned j = 0; j < 2; j++) {
            struct pair_side *side = &world->pair[i].side[j];
            struct pair_side *other = &world->pair[i].side[!j];

            if (side->outstanding > 0)
                return false;
            for (uint32_t vi = 0; vi < world->pair[i].vis; vi++) {
                uint32_t number = client_opening(side->instance, vi);

                if (number == 0 || number != client_opening(other->instance, vi) ||
                    pair_opening_at(side, vi, number)->posted !=
                        pair_opening_at(other, vi, number)->received)
                    return false;
            }
        }
    return true;
}

static bool are_gone(struct world *world)
{
    return !world->node[0].alive && !world->node[1].alive;
}

static const char *states(struct world *world)
{
    static _Thread_local char text[160];
    const struct world_node *node = world->node;

    snprintf(text, sizeof(text), "a: %s session state %d; b: %s session state %d",
             node[0].alive ? "alive," : "dead,",
             node[0].alive ? (int)node[0].manager->session.state : -1,
             node[1].alive ? "alive," : "dead,",
             node[1].alive ? (int)node[1].manager->session.state : -1);
    return text;
}

static void works_again(struct world *world)
{
    faults_end(world);
    for (unsigned i = 0; i < world->pairs; i++)
        world->pair[i].side[0].done = world->pair[i].side[1].done = 0;
    if (!world_wait(world, work_is_done, liveness_ns(world)))
        world_fail(world, "nothing is wrong any more, but there is no session that works (%s)",
                   states(world));
    world->clients_work = false;
    if (!world_wait(world, is_quiet, liveness_ns(world))) {
        world_say_vis(world);
        world_fail(world, "operations do not complete (%s)", states(world));
    }
    if (!world->failed)
        judge_quiet(world);
}

static void stops(struct world *world)
{
    uint64_t time_ns = liveness_ns(world);
    unsigned first = (unsigned)sim_random_below(&world->random, 2);

    node_stop(world, first);
    world_advance(world,
                  world->clock.now_ns +
                      sim_random_below(&world->random, 2ull * world->timers.ending_ms * ENV_MS));
    if (!world->failed)
        node_stop(world, !first);
    if (!world_wait(world, are_gone, time_ns))
        world_fail(world, "a node does not stop (%s)", states(world));
}

static void finish(struct world *world)
{
    if (!world->failed)
        works_again(world);
    if (!world->failed)
        stops(world);
}

// ---- the beginnings

static void both_start(struct world *world)
{
    unsigned first = (unsigned)sim_random_below(&world->random, 2);

    node_start(world, first);
    if (sim_random_percent(&world->random, 70))
        world_advance(
            world, world->clock.now_ns +
                       sim_random_below(&world->random, 2ull * world->timers.connect_ms * ENV_MS));
    node_start(world, !first);
}

static void run_calm(struct world *world)
{
    both_start(world);
    if (!world_wait(world, world_is_up, liveness_ns(world)))
        world_fail(world, "no session, though nothing is wrong (%s)", states(world));
    world_advance(world, world->clock.now_ns + world->timers.link_dead_ms * ENV_MS);
    finish(world);
}

// ---- faults at random times

static void fault_now(struct world *world, unsigned kind, unsigned unused)
{
    (void)unused;
    if (kind == FAULT_COUNT)
        fault_random(world);
    else
        fault_make(world, (enum fault_kind)kind);
}

static void all_stir(struct world *world)
{
    for (unsigned i = 0; i < world->pairs; i++)
        for (unsigned j = 0; j < 2; j++)
            if (world->pair[i].side[j].instance != NULL && !world->node[j].frozen)
                client_stir(world->pair[i].side[j].instance);
}

// A fault that meets nothing under way proves little: the clients begin a burst, and the fault comes into it.
static void fault_due(struct world *world, unsigned kind, unsigned unused)
{
    (void)unused;
    all_stir(world);
    action_add(world, sim_random_below(&world->random, 12 * world->net.delay_max_ns), fault_now,
               kind, 0, false);
}

static void run_faults(struct world *world, const enum fault_kind *kinds, unsigned kind_count)
{
    unsigned steps = world->options.steps > 0 ? world->options.steps
                                              : (unsigned)sim_random_between(&world->random, 1, 8);
    uint64_t time_ns =
        steps * world->timers.link_dead_ms * ENV_MS * sim_random_between(&world->random, 1, 4);

    both_start(world);
    for (unsigned i = 0; i < steps; i++)
        action_add(world, sim_random_below(&world->random, time_ns), fault_due,
                   kind_count == 0 ? FAULT_COUNT
                                   : kinds[sim_random_below(&world->random, kind_count)],
                   0, false);
    world_advance(world, world->clock.now_ns + time_ns);
    finish(world);
}

static void run_mixed(struct world *world)
{
    run_faults(world, NULL, 0);
}

static void run_crash(struct world *world)
{
    static const enum fault_kind kinds[] = {FAULT_KILL, FAULT_FREEZE, FAULT_STOP, FAULT_RESET};

    run_faults(world, kinds, 4);
}

// ---- a fault in each state of bring-up and of its end

static void bringup_trigger(struct world *world)
{
    static const enum fault_kind kinds[] = {
        FAULT_CUT,  FAULT_SILENCE, FAULT_HALF_OPEN, FAULT_CARRIER, FAULT_REMOVE,
        FAULT_KILL, FAULT_KILL,    FAULT_FREEZE,    FAULT_STOP,    FAULT_RESET};

    action_add(world,
               sim_random_percent(&world->random, 50)
                   ? 0
                   : sim_random_below(&world->random, 4 * world->net.delay_max_ns),
               fault_now, kinds[sim_random_below(&world->random, sizeof(kinds) / sizeof(kinds[0]))],
               0, false);
}

static void run_bringup(struct world *world)
{
    unsigned steps = world->options.steps > 0 ? world->options.steps
                                              : (unsigned)sim_random_between(&world->random, 1, 5);

    world->trigger = bringup_trigger;
    for (unsigned i = 0; i < steps && !world->failed; i++) {
        world->trigger_node = (unsigned)sim_random_below(&world->random, 2);
        world->trigger_state = (int)sim_random_between(&world->random, CARRICK_SESSION_READING,
                                                       CARRICK_SESSION_CLOSING);
        if (i == 0)
            both_start(world);
        else if (sim_random_percent(&world->random, 50))
            fault_make(world, FAULT_RESET);
        world_advance(world, world->clock.now_ns +
                                 sim_random_below(&world->random,
                                                  (uint64_t)world->timers.bringup_ms * ENV_MS / 2));
    }
    finish(world);
}

// ---- one link after the other fails, and no session may notice

static void setup_links(struct world *world)
{
    if (world->links < 2)
        world->links = 2;
}

static bool links_are_up(struct world *world)
{
    if (!world_is_up(world))
        return false;
    for (unsigned i = 0; i < 2; i++)
        for (unsigned j = 0; j < world->links; j++) {
            const struct conn *conn = world->node[i].manager->links[j].current;

            if (conn == NULL || conn->state != CONN_UP)
                return false;
        }
    return true;
}

static void run_links(struct world *world)
{
    unsigned steps = world->options.steps > 0 ? world->options.steps
                                              : (unsigned)sim_random_between(&world->random, 2, 12);
    static const enum fault_kind kinds[] = {FAULT_CUT_ONE,  FAULT_HALF_OPEN, FAULT_CARRIER,
                                            FAULT_SILENCE,  FAULT_REFUSE,    FAULT_REMOVE,
                                            FAULT_LINK_DOWN};

    both_start(world);
    for (unsigned i = 0; i < steps && !world->failed; i++) {
        if (!world_wait(world, links_are_up, liveness_ns(world)))
            world_fail(world, "a link does not come back (%s)", states(world));
        world_advance(world,
                      world->clock.now_ns +
                          sim_random_below(&world->random, world->timers.probe_ms * 2ull * ENV_MS));
        all_stir(world);
        world_advance(world, world->clock.now_ns +
                                 sim_random_below(&world->random, 12 * world->net.delay_max_ns));
        if (!world->failed)
            fault_make(world,
                       kinds[sim_random_below(&world->random, sizeof(kinds) / sizeof(kinds[0]))]);
        world_advance(world, world->clock.now_ns +
                                 sim_random_below(&world->random,
                                                  world->timers.link_dead_ms * 3ull * ENV_MS));
        if (!world->failed)
            faults_end(world);
    }
    if (!world->failed && world->session_count != world->pairs)
        world_fail(world, "a session ended, though one link was always whole");
    finish(world);
}

// ---- ghosts: links are cut again and again under load, and what was under way lands late

static void setup_ghost(struct world *world)
{
    setup_links(world);
}

static void run_ghost(struct world *world)
{
    unsigned cuts = world->options.steps > 0 ? world->options.steps : GHOST_CUTS;
    uint64_t late_ns = world->timers.backoff_min_ms * 2 * ENV_MS;

    both_start(world);
    if (!world_wait(world, world_is_up, liveness_ns(world)))
        world_fail(world, "no session, though nothing is wrong (%s)", states(world));
    for (unsigned i = 0; i < cuts && !world->failed; i++) {
        unsigned link = (unsigned)sim_random_below(&world->random, world->links);
        char a[8], b[8];

        // On to the next as soon as this one is back, or while it is away; and into a burst.
        for (unsigned j = 0; j < 20 && !world->failed; j++) {
            if (sim_path_connections(world->fabric, link_address(a, 0, link),
                                     link_address(b, 1, link)) > 1)
                break;
            world_advance(world,
                          world->clock.now_ns + sim_random_below(&world->random, 2 * ENV_MS));
        }
        all_stir(world);
        world_advance(world, world->clock.now_ns +
                                 sim_random_below(&world->random, 12 * world->net.delay_max_ns));
        if (!world->failed)
            fault_cut_link(world, link, sim_random_below(&world->random, late_ns));
    }
    finish(world);
}

// ---- refusals: the nodes do not belong together, and both say why

static bool refusal_is(struct world *world, enum carrick_reason reason)
{
    return world->node[0].manager->session.refused.reason == (uint32_t)reason &&
           world->node[1].manager->session.refused.reason == (uint32_t)reason;
}

static bool refused_key(struct world *world)
{
    return refusal_is(world, CARRICK_REASON_AUTHENTICATION);
}

static bool refused_cluster(struct world *world)
{
    return refusal_is(world, CARRICK_REASON_CLUSTER);
}

static bool refused_config(struct world *world)
{
    return refusal_is(world, CARRICK_REASON_CONFIGURATION);
}

static void run_refusal(struct world *world)
{
    bool (*refused)(struct world * world);
    struct config *good = world->configs[0];
    unsigned odd = (unsigned)sim_random_below(&world->random, 2);

    switch (sim_random_below(&world->random, 3)) {
    case 0:
        world->node[odd].key[7] ^= 1;
        refused = refused_key;
        break;
    case 1:
        world_disagree(world, odd, "another", NULL);
        refused = refused_cluster;
        break;
    default:
        world_disagree(world, odd, "pair", "one_more");
        refused = refused_config;
        break;
    }
    world->no_session_expected = true;
    both_start(world);
    if (!world_wait(world, refused, liveness_ns(world)))
        world_fail(world, "the nodes do not say why they refuse each other (a: reason %u, b: %u)",
                   world->node[0].manager->session.refused.reason,
                   world->node[1].manager->session.refused.reason);
    world_advance(world, world->clock.now_ns + world->timers.bringup_ms * ENV_MS);
    if (world->failed)
        return;
    // The odd one is put right and started anew.
    node_kill(world, odd, true);
    world->no_session_expected = false;
    if (world->configs[odd] != good && world->configs[!odd] == good) {
        config_free(world->configs[odd]);
        world->configs[odd] = good;
    } else if (world->configs[odd] != world->configs[!odd]) {
        config_free(good);
        world->configs[odd] = world->configs[!odd];
    }
    world->node[odd].config = world->configs[odd];
    world->node[odd].key[7] = world->node[!odd].key[7];
    finish(world);
}

const struct scenario scenarios[] = {
    {"mixed", "all faults, at any time", NULL, run_mixed, false},
    {"bringup", "a fault in a state of bring-up or of its end", NULL, run_bringup, false},
    {"crash", "nodes die, stand still, stop and start", NULL, run_crash, false},
    {"links", "one link after the other fails, the session stays", setup_links, run_links, false},
    {"ghost", "links are cut again and again, what was under way lands late", setup_ghost,
     run_ghost, false},
    {"refusal", "nodes that do not belong together", NULL, run_refusal, false},
    {"calm", "nothing goes wrong", NULL, run_calm, false},
    {"storage", "storage: all faults, at any time", NULL, storage_run_mixed, true},
    {"storage-calm", "storage: nothing goes wrong", NULL, storage_run_calm, true},
    {"storage-crash", "storage: daemons are killed, power is lost", NULL, storage_run_crash, true},
    {"storage-split", "storage: freezes, partitions, an arbiter that is away", NULL,
     storage_run_split, true},
    {"storage-disk", "storage: disks fail, are full, are slow", NULL, storage_run_disk, true},
    {"storage-handover", "storage: hand-over, and faults in its middle", NULL, storage_run_handover,
     true},
    {"storage-resync", "storage: faults while a copy is brought up to date", NULL,
     storage_run_resync, true},
    {"storage-table", "storage: the table of failures, who must serve and by when",
     storage_setup_table, storage_run_table, true},
    {"storage-return", "storage: a node returns, and dies again on the way", storage_setup_return,
     storage_run_return, true},
    {"storage-member", "storage: a node becomes a member again, and its partner dies",
     storage_setup_member, storage_run_member, true},
    {"storage-rot", "storage: a record goes bad while its node is down", storage_setup_rot,
     storage_run_rot, true},
    {"storage-map", "storage: the map of a shelf goes bad while its node is down",
     storage_setup_map, storage_run_map, true},
    {"storage-power", "storage: both nodes lose power", storage_setup_power, storage_run_power,
     true},
    {"storage-double", "storage: several things go wrong at one moment", storage_setup_double,
     storage_run_double, true},
    {"storage-wide", "storage: many groups with several shelves, owned by either node",
     storage_setup_wide, storage_run_wide, true},
    {"storage-boot", "storage: a node is seen to boot before its storage runs", storage_setup_boot,
     storage_run_boot, true},
    {"storage-operator", "storage: no arbiter, an operator says who serves", storage_setup_operator,
     storage_run_operator, true},
};
const unsigned scenario_count = sizeof(scenarios) / sizeof(scenarios[0]);

const struct scenario *scenario_find(const char *name)
{
    for (unsigned i = 0; i < scenario_count; i++)
        if (strcmp(scenarios[i].name, name) == 0)
            return &scenarios[i];
    return NULL;
}

// The last two digits of the seed choose: a seed alone says all.
const struct scenario *scenario_choose(uint64_t seed)
{
    unsigned digits = (unsigned)(seed % 100);

    return scenario_find(digits < 45   ? "mixed"
                         : digits < 70 ? "bringup"
                         : digits < 82 ? "crash"
                         : digits < 91 ? "links"
                         : digits < 92 ? "ghost"
                         : digits < 97 ? "refusal"
                                       : "calm");
}
