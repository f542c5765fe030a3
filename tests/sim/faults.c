// SPDX-License-Identifier: Apache-2.0
//
// What goes wrong, and how it is made good again.
#include "tests/sim/world.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

// ---- things to come

void action_add(struct world *world, uint64_t delay_ns,
                void (*fn)(struct world *world, unsigned a, unsigned b), unsigned a, unsigned b,
                bool repair)
{
    if (world->action_count == WORLD_ACTIONS_MAX) {
        world_fail(world, "more than %u actions are to come", WORLD_ACTIONS_MAX);
        return;
    }
    world->actions[world->action_count++] = (struct action){
        .due = world->clock.now_ns + delay_ns, .fn = fn, .a = a, .b = b, .repair = repair};
}

static unsigned action_first(const struct world *world)
{
    unsigned first = 0;

    for (unsigned i = 1; i < world->action_count; i++)
        if (world->actions[i].due < world->actions[first].due)
            first = i;
    return first;
}

uint64_t action_next_ns(const struct world *world)
{
    return world->action_count == 0 ? UINT64_MAX : world->actions[action_first(world)].due;
}

static struct action action_take(struct world *world, unsigned index)
{
    struct action action = world->actions[index];

    // What stands behind keeps its order, so that of two that are due at once the older one is first.
    memmove(&world->actions[index], &world->actions[index + 1],
            (--world->action_count - index) * sizeof(action));
    return action;
}

void action_run(struct world *world)
{
    struct action action = action_take(world, action_first(world));

    action.fn(world, action.a, action.b);
}

// ---- repairs

static void path_heal(struct world *world, unsigned link, unsigned unused)
{
    char a[8], b[8];

    (void)unused;
    world_say(world, NULL, "link%u: the path is whole again", link);
    link_address(a, 0, link);
    link_address(b, 1, link);
    sim_path_fault(world->fabric, a, b, 0);
    sim_path_delay(world->fabric, a, b, world->net.delay_min_ns, world->net.delay_max_ns);
}

static void carrier_back(struct world *world, unsigned link, unsigned node)
{
    char address[8];

    world_say(world, NULL, "link%u: %s has carrier again", link, world->node[node].name);
    sim_device_carrier(world->fabric, link_address(address, node, link), true);
}

static void device_back(struct world *world, unsigned link, unsigned node)
{
    char address[8];

    world_say(world, NULL, "link%u: the device of %s is plugged in again", link,
              world->node[node].name);
    sim_device_insert(world->fabric, link_address(address, node, link));
}

void node_back(struct world *world, unsigned node, unsigned unused)
{
    (void)unused;
    node_start(world, node);
}

static void node_goes_on(struct world *world, unsigned node, unsigned unused)
{
    (void)unused;
    node_thaw(world, node);
}

static void command(struct world *world, unsigned node, const char *word, const char *key,
                    const char *value);

static void link_up_again(struct world *world, unsigned link, unsigned node)
{
    char name[16];

    if (world->node[node].frozen) { // it would not hear of it
        action_add(world, world->timers.probe_ms * ENV_MS, link_up_again, link, node, true);
        return;
    }
    snprintf(name, sizeof(name), "link%u", link);
    command(world, node, "link-up", "link", name);
}

// ---- faults

static void command_reply(void *arg, int status, struct json_object *value)
{
    struct world *world = arg;

    if (status != CARRICK_OK && status != CARRICK_ERR_STATE)
        world_fail(world, "a command answers %#x: %s", (unsigned)status,
                   value != NULL ? json_object_get_string(value) : "");
    json_object_put(value);
}

static void command(struct world *world, unsigned index, const char *word, const char *key,
                    const char *value)
{
    struct world_node *node = &world->node[index];
    struct json_object *args;

    if (!node->alive || node->stopping || node->frozen)
        return;
    args = json_object_new_object();
    json_object_object_add(args, key, json_object_new_string(value));
    world_say(world, node->name, "command %s %s", word, value);
    manager_command(node->manager, word, args, command_reply, world);
    json_object_put(args);
}

// How long something goes on: from less than a probe to longer than a session lasts without its links.
uint64_t draw_time_ns(struct world *world)
{
    const struct config_timers *timers = &world->timers;
    struct sim_random *random = &world->random;
    uint64_t draw = sim_random_below(random, 100);

    if (draw < 30)
        return sim_random_below(random, timers->probe_ms * ENV_MS);
    if (draw < 80)
        return sim_random_below(random, 3ull * timers->link_dead_ms * ENV_MS);
    return sim_random_below(random, 2ull * timers->session_lost_ms * ENV_MS);
}

void fault_cut_link(struct world *world, unsigned link, uint64_t late_ns)
{
    char a[8], b[8];
    unsigned count =
        sim_path_cut(world->fabric, link_address(a, 0, link), link_address(b, 1, link), late_ns);

    world_say(world, NULL, "link%u: cut, %u connections", link, count);
    world->numbers.link_failures += count > 0;
}

static void fault_path(struct world *world, enum fault_kind kind)
{
    struct sim_random *random = &world->random;
    unsigned link = (unsigned)sim_random_below(random, world->links);
    unsigned faults = 1 + (unsigned)sim_random_below(random, 3);
    char a[8], b[8];

    link_address(a, 0, link);
    link_address(b, 1, link);
    switch (kind) {
    case FAULT_SILENCE:
        world_say(world, NULL, "link%u: %s", link,
                  faults == SIM_PATH_SILENT         ? "silence"
                  : faults == SIM_PATH_SILENT_THERE ? "nothing gets from a to b"
                                                    : "nothing gets from b to a");
        sim_path_fault(world->fabric, a, b, faults);
        break;
    case FAULT_REFUSE:
        fault_cut_link(world, link, draw_time_ns(world) / 8);
        world_say(world, NULL, "link%u: no route", link);
        sim_path_fault(world->fabric, a, b, SIM_PATH_REFUSING);
        break;
    default: // FAULT_SLOW
        faults = (unsigned)sim_random_between(random, 2, world->timers.link_dead_ms * 8);
        world_say(world, NULL, "link%u: slow, up to %.2f ms", link, faults / 16.0);
        sim_path_delay(world->fabric, a, b, faults * ENV_MS / 64, faults * ENV_MS / 16);
        break;
    }
    action_add(world, draw_time_ns(world), path_heal, link, 0, true);
}

static void fault_device(struct world *world, enum fault_kind kind)
{
    struct sim_random *random = &world->random;
    unsigned link = (unsigned)sim_random_below(random, world->links);
    unsigned node = (unsigned)sim_random_below(random, 2);
    bool both = sim_random_percent(random, 50);
    uint64_t time_ns = draw_time_ns(world);
    char address[8];

    for (unsigned i = 0; i < (both ? 2u : 1u); i++, node = !node) {
        link_address(address, node, link);
        if (kind == FAULT_CARRIER) {
            world_say(world, NULL, "link%u: %s loses carrier", link, world->node[node].name);
            sim_device_carrier(world->fabric, address, false);
            action_add(world, time_ns, carrier_back, link, node, true);
        } else {
            world_say(world, NULL, "link%u: the device of %s is pulled out", link,
                      world->node[node].name);
            sim_device_remove(world->fabric, address);
            action_add(world, time_ns, device_back, link, node, true);
        }
    }
    world->numbers.link_failures++;
}

void fault_driver(struct world *world, unsigned node, uint64_t time_ns)
{
    char address[8];

    world_say(world, world->node[node].name, "the driver of its devices fails");
    for (unsigned link = 0; link < world->links; link++) {
        sim_device_remove(world->fabric, link_address(address, node, link));
        action_add(world, time_ns, device_back, link, node, true);
    }
    world->numbers.link_failures++;
}

static void fault_node(struct world *world, enum fault_kind kind)
{
    struct sim_random *random = &world->random;
    unsigned node = (unsigned)sim_random_below(random, 2);
    unsigned count = sim_random_percent(random, 15) ? 2 : 1;
    uint64_t time_ns = draw_time_ns(world);

    for (; count > 0; count--, node = !node) {
        if (kind == FAULT_FREEZE) {
            node_freeze(world, node, sim_random_percent(random, 50),
                        sim_random_percent(random, 50));
            action_add(world, time_ns, node_goes_on, node, 0, true);
        } else if (kind == FAULT_KILL) {
            node_kill(world, node, sim_random_percent(random, 50));
            action_add(world, time_ns, node_back, node, 0, true);
        } else {
            node_stop(world, node);
            // Also while it is still stopping: it is then started when it has.
            action_add(world, time_ns + world->timers.ending_ms * ENV_MS, node_back, node, 0, true);
        }
    }
}

void fault_links_down(struct world *world, unsigned node, uint64_t time_ns)
{
    for (unsigned link = 0; link < world->links; link++) {
        char name[16];

        snprintf(name, sizeof(name), "link%u", link);
        command(world, node, "link-down", "link", name);
        action_add(world, time_ns, link_up_again, link, node, true);
    }
}

static void fault_operator(struct world *world, enum fault_kind kind)
{
    unsigned node = (unsigned)sim_random_below(&world->random, 2);
    unsigned link = (unsigned)sim_random_below(&world->random, world->links);
    char name[16];

    if (kind == FAULT_RESET) {
        command(world, node, "session-reset", "why", "the simulator says so");
        return;
    }
    snprintf(name, sizeof(name), "link%u", link);
    command(world, node, "link-down", "link", name);
    action_add(world, draw_time_ns(world), link_up_again, link, node, true);
}

void fault_make(struct world *world, enum fault_kind kind)
{
    struct sim_random *random = &world->random;
    unsigned link = (unsigned)sim_random_below(random, world->links);
    char told[8], untold[8];
    unsigned count;

    world->numbers.faults++;
    switch (kind) {
    case FAULT_CUT:
    case FAULT_CUT_ONE:
        fault_cut_link(world, link, draw_time_ns(world) / 8);
        for (count = kind == FAULT_CUT && sim_random_percent(random, 20) ? world->links : 0;
             count > 0; count--)
            fault_cut_link(world, count - 1, draw_time_ns(world) / 8);
        break;
    case FAULT_HALF_OPEN:
        count = (unsigned)sim_random_below(random, 2);
        world_say(world, NULL, "link%u: breaks, only %s is told", link, world->node[count].name);
        sim_path_half_open(world->fabric, link_address(told, count, link),
                           link_address(untold, !count, link));
        world->numbers.link_failures++;
        break;
    case FAULT_SILENCE:
    case FAULT_REFUSE:
    case FAULT_SLOW:
        fault_path(world, kind);
        break;
    case FAULT_CARRIER:
    case FAULT_REMOVE:
        fault_device(world, kind);
        break;
    case FAULT_KILL:
    case FAULT_FREEZE:
    case FAULT_STOP:
        fault_node(world, kind);
        break;
    default:
        fault_operator(world, kind);
        break;
    }
}

void fault_random(struct world *world)
{
    fault_make(world, (enum fault_kind)sim_random_below(&world->random, FAULT_COUNT));
}

void fault_random_path(struct world *world)
{
    fault_make(world, (enum fault_kind)sim_random_below(&world->random, FAULT_REMOVE + 1));
}

void paths_fault(struct world *world, unsigned faults, uint64_t time_ns)
{
    char a[8], b[8];

    for (unsigned i = 0; i < world->links; i++) {
        sim_path_fault(world->fabric, link_address(a, 0, i), link_address(b, 1, i), faults);
        action_add(world, time_ns, path_heal, i, 0, true);
    }
}

void faults_end(struct world *world)
{
    world_say(world, NULL, "all faults end");
    world->trigger_state = -1;
    node_thaw(world, 0);
    node_thaw(world, 1);
    for (unsigned i = 0; i < world->action_count && !world->failed;)
        if (world->actions[i].repair) {
            struct action action = action_take(world, i);

            action.fn(world, action.a, action.b);
        } else {
            i++;
        }
    for (unsigned i = 0; i < world->links; i++)
        path_heal(world, i, 0);
    for (unsigned i = 0; i < 2; i++)
        node_start(world, i); // one that is stopping is started when it has stopped
}
