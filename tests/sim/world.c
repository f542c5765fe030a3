// SPDX-License-Identifier: Apache-2.0
//
// The two nodes, and the loop over all that happens to them.
#include "tests/sim/storage.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE_NS (5 * ENV_MS)
#define EVENTS_MAX 20000000ull // of one history: more is a loop without end

// The sim plugin, as its archive names its entry.
const struct carrick_plugin *sim_plugin_entry(void);

static _Thread_local struct world *current;

struct world *world_current(void)
{
    return current;
}

void world_fail(struct world *world, const char *format, ...)
{
    va_list arguments;

    if (world->failed)
        return; // the first is the cause
    world->failed = true;
    va_start(arguments, format);
    vsnprintf(world->why, sizeof(world->why), format, arguments);
    va_end(arguments);
    world_say(world, "!!", "%s", world->why);
}

// ---- nodes

static void node_stopped(void *arg)
{
    struct world_node *node = arg;

    node->stopped = true;
}

void node_start(struct world *world, unsigned index)
{
    struct world_node *node = &world->node[index];
    struct env_sim_options options = {
        .clock = &world->clock,
        .disk = node->disk,
        .seed = world->options.seed * 1000003u + index * 500009u + node->lives,
        .jitter_max_ns = 1 + sim_random_below(&world->random, 3) * 400000,
        .log = world_record,
        .arg = node,
    };
    struct manager_options wanted = {
        .config = node->config,
        .section = &node->config->managers[0],
        .boot_stage = node->boot_stage,
        .node = node->name,
        .loader = world->loader,
        .key = node->key,
        .key_bytes = sizeof(node->key),
        .stopped = node_stopped,
        .arg = node,
    };
    struct carrick_error error = {.struct_size = sizeof(error)};
    bool early = node->boot_stage == CARRICK_BOOT_INITRAMFS;

    if (early) {
        wanted.config = world->early;
        wanted.section = &world->early->managers[0];
    }
    if (node->alive) {
        node->again = node->stopping;
        return;
    }
    node->lives++;
    world_say(world, node->name, "starts");
    node->env = env_sim_create(&options);
    wanted.env = env_sim_base(node->env);
    node->alive = true;
    node->dying = node->stopping = node->stopped = node->again = node->frozen = false;
    node->seen = CARRICK_SESSION_IDLE;
    if (manager_create(&wanted, &node->manager, &error) != CARRICK_OK ||
        manager_start(node->manager, &error) != CARRICK_OK) {
        world_fail(world, "node %s does not start: %s", node->name, error.text);
        return;
    }
    node->manager->break_replay = (world->options.break_rules & BREAK_REPLAY) != 0;
    if (world->storage != NULL && !early)
        storage_break(world, index);
}

static void node_remove(struct world_node *node)
{
    unsigned left;

    if (node->manager != NULL) {
        node->before = node->manager->incarnation;
        node->gone_ns = node->world->clock.now_ns;
        manager_destroy(node->manager);
    }
    node->manager = NULL;
    node->alive = false;
    judge_node_gone(node->world, node->index);
    left = env_sim_destroy(node->env);
    node->env = NULL;
    if (left > 0)
        world_fail(node->world, "node %s leaves %u timers, works or memories behind", node->name,
                   left);
}

// What the dying one still does with its files and its memory is seen by nobody.
static void node_die(struct world *world, unsigned index, bool reset, enum sim_death death)
{
    struct world_node *node = &world->node[index];
    struct sim_disk *before = node->disk, *after = NULL;

    node->dying = true;
    if (before != NULL)
        after = sim_disk_after(before, death);
    if (world->storage != NULL)
        storage_node_gone(world, index);
    judge_node_gone(world, index);
    sim_node_kill(world->fabric, node->name, reset);
    env_sim_finish_work(node->env);
    node_remove(node);
    if (before != NULL)
        sim_disk_free(before);
    node->disk = after;
}

void node_kill(struct world *world, unsigned index, bool reset)
{
    struct world_node *node = &world->node[index];

    if (!node->alive)
        return;
    world_say(world, node->name, "is killed, %s",
              reset ? "its connections are reset" : "without a word");
    node_die(world, index, reset, SIM_DEATH_KILLED);
}

void node_power_off(struct world *world, unsigned index)
{
    struct world_node *node = &world->node[index];
    struct sim_disk *before = node->disk;

    world_say(world, node->name, "loses power");
    if (node->alive) {
        node_die(world, index, false, SIM_DEATH_POWER);
        return;
    }
    if (before == NULL)
        return;
    node->disk = sim_disk_after(before, SIM_DEATH_POWER);
    sim_disk_free(before);
}

void node_stop(struct world *world, unsigned index)
{
    struct world_node *node = &world->node[index];

    if (!node->alive || node->stopping)
        return;
    world_say(world, node->name, "is stopped");
    node->stopping = true;
    manager_stop(node->manager);
}

void node_freeze(struct world *world, unsigned index, bool memory_open, bool clock_stops)
{
    struct world_node *node = &world->node[index];

    if (!node->alive || node->frozen)
        return;
    world_say(world, node->name, "stands still%s%s",
              memory_open ? ", its memory can be reached" : "",
              clock_stops ? ", and so does its clock" : "");
    node->frozen = true;
    env_sim_freeze(node->env, clock_stops);
    sim_node_freeze(world->fabric, node->name, memory_open);
}

void node_thaw(struct world *world, unsigned index)
{
    struct world_node *node = &world->node[index];

    if (!node->alive || !node->frozen)
        return;
    world_say(world, node->name, "goes on");
    node->frozen = false;
    node->thawed_ns = world->clock.now_ns;
    env_sim_thaw(node->env);
    sim_node_thaw(world->fabric, node->name);
}

bool world_is_up(struct world *world)
{
    for (unsigned i = 0; i < 2; i++)
        if (!world->node[i].alive || world->node[i].frozen || world->node[i].stopping ||
            world->node[i].manager->session.state != CARRICK_SESSION_UP)
            return false;
    for (unsigned i = 0; i < world->pairs; i++)
        if (!world->pair[i].side[0].ready || !world->pair[i].side[1].ready)
            return false;
    return true;
}

// ---- the loop

static void states_watch(struct world *world)
{
    for (unsigned i = 0; i < 2; i++) {
        struct world_node *node = &world->node[i];
        enum carrick_session_state state;

        if (!node->alive)
            continue;
        state = node->manager->session.state;
        if (state == node->seen)
            continue;
        node->seen = state;
        if (world->trigger_state == (int)state && world->trigger_node == i) {
            world->trigger_state = -1;
            world->trigger(world);
        }
    }
}

static void nodes_reap(struct world *world)
{
    for (unsigned i = 0; i < 2; i++)
        if (world->node[i].alive && world->node[i].stopped) {
            world_say(world, world->node[i].name, "has stopped");
            if (world->storage != NULL)
                storage_node_gone(world, i);
            node_remove(&world->node[i]);
            if (world->node[i].again)
                node_start(world, i);
        }
}

enum source {
    SOURCE_NODE_A,
    SOURCE_NODE_B,
    SOURCE_NET,
    SOURCE_ACTION,
    SOURCE_STORAGE,
    SOURCE_SAMPLE
};

struct next {
    uint64_t due;
    enum source source;
};

// Of two that are due at once the earlier source is first.
static void next_take(struct next *next, uint64_t due, enum source source)
{
    if (due < next->due)
        *next = (struct next){due, source};
}

static struct next next_find(const struct world *world)
{
    struct next next = {UINT64_MAX, SOURCE_SAMPLE};

    for (unsigned i = 0; i < 2; i++)
        if (world->node[i].alive)
            next_take(&next, env_sim_next_ns(world->node[i].env), (enum source)i);
    next_take(&next, sim_fabric_next_ns(world->fabric), SOURCE_NET);
    next_take(&next, action_next_ns(world), SOURCE_ACTION);
    if (world->storage != NULL)
        next_take(&next, storage_next_ns(world->storage), SOURCE_STORAGE);
    next_take(&next, world->next_sample_ns, SOURCE_SAMPLE);
    return next;
}

static void source_step(struct world *world, enum source source)
{
    switch (source) {
    case SOURCE_NODE_A:
    case SOURCE_NODE_B:
        env_sim_step(world->node[source].env);
        states_watch(world);
        nodes_reap(world);
        break;
    case SOURCE_NET:
        sim_fabric_run(world->fabric, 1);
        break;
    case SOURCE_ACTION:
        action_run(world);
        break;
    case SOURCE_STORAGE:
        storage_step(world->storage);
        break;
    default:
        world->next_sample_ns += SAMPLE_NS;
        judge_sample(world);
        if (world->storage != NULL)
            storage_sample(world);
        break;
    }
}

static bool world_step(struct world *world, uint64_t until_ns)
{
    struct next next = next_find(world);

    if (next.due > until_ns) {
        world->clock.now_ns = until_ns;
        return false;
    }
    if (next.due > world->clock.now_ns)
        world->clock.now_ns = next.due;
    source_step(world, next.source);
    if (++world->numbers.events > EVENTS_MAX)
        world_fail(world, "more than %llu events: something goes round for ever", EVENTS_MAX);
    return true;
}

bool world_advance(struct world *world, uint64_t until_ns)
{
    while (!world->failed && world_step(world, until_ns))
        continue;
    return !world->failed;
}

bool world_wait(struct world *world, bool (*condition)(struct world *world), uint64_t time_ns)
{
    uint64_t until_ns = world->clock.now_ns + time_ns;

    while (!world->failed && !condition(world))
        if (!world_step(world, until_ns))
            return condition(world);
    return !world->failed;
}

// ---- a history

static void loader_fill(struct world *world)
{
    struct carrick_error error = {.struct_size = sizeof(error)};

    world->loader = loader_create(NULL, 0);
    if (world->loader == NULL ||
        loader_add_static(world->loader, sim_plugin_entry, &error) != CARRICK_OK ||
        loader_add_static(world->loader, sim_client_entry, &error) != CARRICK_OK ||
        loader_add_static(world->loader, sim_spread_entry, &error) != CARRICK_OK)
        world_fail(world, "a plugin of the simulator is refused: %s", error.text);
    if (world->storage != NULL && !storage_plugins_add(world))
        world_fail(world, "a storage plugin is refused");
}

static void world_end(struct world *world)
{
    struct sim_fabric_counters counters;

    // In a history that failed nothing is certain any more; nodes go as if they had died.
    for (unsigned i = 0; i < 2; i++)
        if (world->node[i].alive) {
            node_thaw(world, i);
            node_kill(world, i, false);
        }
    if (world->fabric == NULL)
        return;
    sim_fabric_counters(world->fabric, &counters);
    world->numbers.late = counters.late;
    sim_fabric_destroy(world->fabric);
    world->fabric = NULL;
}

void world_run(const struct world_options *options, struct world *world)
{
    memset(world, 0, sizeof(*world));
    world->options = *options;
    world->clock.now_ns = WORLD_BEGIN_NS;
    world->next_sample_ns = world->clock.now_ns + SAMPLE_NS;
    for (unsigned i = 0; i < WORLD_CLIENTS_MAX; i++)
        world->half_since_ns[i] = world->clock.now_ns;
    world->hash = 0xcbf29ce484222325ull;
    world->trigger_state = -1;
    world->clients_work = true;
    sim_random_init(&world->random, options->seed, options->scenario->name);
    for (unsigned i = 0; i < 2; i++) {
        world->node[i].world = world;
        world->node[i].index = i;
        snprintf(world->node[i].name, sizeof(world->node[i].name), "%c", 'a' + i);
    }
    current = world;
    world_say(world, NULL, "seed %llu, scenario %s", (unsigned long long)options->seed,
              options->scenario->name);
    if (options->scenario->storage)
        storage_create(world);
    loader_fill(world);
    world_configure(world);
    if (!world->failed)
        options->scenario->run(world);
    world_end(world);
    world_hash(world, &world->numbers, sizeof(world->numbers));
    current = NULL;
}

void world_free(struct world *world)
{
    storage_free(world);
    for (unsigned i = 0; i < WORLD_CLIENTS_MAX; i++)
        for (unsigned j = 0; j < 2; j++)
            for (unsigned k = 0; k < PAIR_REGIONS_MAX; k++) {
                free(world->pair[i].side[j].posted[k]);
                free(world->pair[i].side[j].proven[k]);
            }
    for (unsigned i = 0; i < WORLD_LOG_MAX; i++)
        free(world->log[i]);
    if (world->configs[1] != world->configs[0])
        config_free(world->configs[1]);
    config_free(world->configs[0]);
    if (world->early != NULL)
        config_free(world->early);
    if (world->loader != NULL)
        loader_destroy(world->loader);
}
