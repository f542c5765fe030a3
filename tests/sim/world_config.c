// SPDX-License-Identifier: Apache-2.0
//
// The configuration of a history, drawn from its seed: the text goes through the same parser as the daemon's file.
#include "tests/sim/storage.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES 16384u

struct text {
    char bytes[TEXT_BYTES];
    size_t used;
};

__attribute__((format(printf, 2, 3))) static void text_add(struct text *text, const char *format,
                                                           ...)
{
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(text->bytes + text->used, TEXT_BYTES - text->used, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= TEXT_BYTES - text->used)
        abort();
    text->used += (size_t)length;
}

const char *link_address(char *buffer, unsigned node, unsigned link)
{
    sprintf(buffer, "%c%u", 'a' + node, link);
    return buffer;
}

const char *profile_draw(struct world *world)
{
    uint64_t draw = sim_random_below(&world->random, 100);

    return draw < 75 ? "fast" : draw < 95 ? "normal" : "wan";
}

static void links_add(struct world *world, struct text *text, const char *extra_link)
{
    for (unsigned i = 0; i < world->links; i++)
        text_add(
            text,
            "%s{\"name\":\"link%u\",\"transport\":\"sim\",\"nodes\":{"
            "\"a\":{\"fabric\":%d,\"device\":\"a%u\"},\"b\":{\"fabric\":%d,\"device\":\"b%u\"}}}",
            i > 0 ? "," : "", i, sim_fabric_id(world->fabric), i, sim_fabric_id(world->fabric), i);
    if (extra_link != NULL)
        text_add(
            text,
            ",{\"name\":\"%s\",\"transport\":\"sim\",\"nodes\":{\"a\":{\"fabric\":%d,\"device\":"
            "\"ax\"},\"b\":{\"fabric\":%d,\"device\":\"bx\"}}}",
            extra_link, sim_fabric_id(world->fabric), sim_fabric_id(world->fabric));
}

static struct config *config_make(struct world *world, const char *cluster, const char *profile,
                                  unsigned lanes, const char *extra_link)
{
    struct text text = {.used = 0};
    struct config_errors *errors = calloc(1, sizeof(*errors));
    struct config *config = NULL;

    text_add(&text, "{\"cluster\":\"%s\",\"key_file\":\"/sim/key\",\"nodes\":[\"a\",\"b\"],",
             cluster);
    text_add(&text, "\"log\":{\"level\":\"debug\"},\"managers\":[{\"name\":\"main\",");
    text_add(&text, "\"profile\":\"%s\",\"lanes\":%u,\"overstay_us\":10000000,", profile, lanes);
    if (world->storage != NULL)
        text.used += storage_arbiter_text(world->storage, text.bytes + text.used,
                                          sizeof(text.bytes) - text.used);
    text_add(&text, "\"policy\":{\"plugin\":\"sim_spread\"},\"links\":[");
    links_add(world, &text, extra_link);
    text_add(&text, "],\"clients\":[");
    for (unsigned i = 0; i < world->pairs; i++)
        text_add(&text, "%s{\"name\":\"%s\",\"plugin\":\"sim_client\"}", i > 0 ? "," : "",
                 world->pair[i].name);
    if (world->storage != NULL)
        text.used += storage_clients_text(world->storage, text.bytes + text.used,
                                          sizeof(text.bytes) - text.used);
    text_add(&text, "]}]}");
    if (errors == NULL || config_parse("simulation", text.bytes, text.used, &config, errors) != 0) {
        world_fail(world, "the configuration is refused: %s\n%s",
                   errors != NULL ? errors->error[0].text : "", text.bytes);
        config = NULL;
    }
    free(errors);
    return config;
}

static void side_draw(struct world *world, struct pair *pair, struct pair_side *side)
{
    static const uint32_t cell_bytes[] = {8, 16, 64, 200, 512, 1024, 2048};

    side->vis = (uint32_t)sim_random_between(&world->random, 1, PAIR_VIS_MAX);
    side->regions = (uint32_t)sim_random_between(&world->random, 1, PAIR_REGIONS_MAX);
    for (uint32_t i = 0; i < side->regions; i++) {
        side->cell_bytes[i] = cell_bytes[sim_random_below(
            &world->random, sizeof(cell_bytes) / sizeof(cell_bytes[0]))];
        side->cell_words[i] = PAIR_VIS_MAX * pair->cells * side->cell_bytes[i] / 8;
        side->words[i] = side->cell_words[i] + (i == 0 ? PAIR_VIS_MAX * PAIR_MAILS : 0);
        side->access[i] = CARRICK_ACCESS_REMOTE_READ | CARRICK_ACCESS_REMOTE_WRITE;
        if (i > 0 && sim_random_percent(&world->random, 30))
            side->access[i] = CARRICK_ACCESS_REMOTE_WRITE;
        side->posted[i] = calloc(side->words[i], sizeof(uint64_t));
        side->proven[i] = calloc(side->words[i], sizeof(uint64_t));
        if (side->posted[i] == NULL || side->proven[i] == NULL)
            abort();
    }
}

static void pairs_draw(struct world *world)
{
    for (unsigned i = 0; i < world->pairs; i++) {
        struct pair *pair = &world->pair[i];

        // Rising in neither order of names, so that ranks are not taken for places in the file.
        snprintf(pair->name, sizeof(pair->name), "%c%u", "mcx"[i], i);
        pair->cells = (uint32_t)sim_random_between(&world->random, 1, 3);
        side_draw(world, pair, &pair->side[0]);
        side_draw(world, pair, &pair->side[1]);
        pair->vis = pair->side[0].vis > pair->side[1].vis ? pair->side[0].vis : pair->side[1].vis;
    }
}

static void net_draw(struct world *world)
{
    static const uint64_t messages[] = {1024, 1032, 4096, 1u << 20};
    struct sim_random *random = &world->random;
    struct sim_fabric_options *net = &world->net;

    sim_fabric_options_init(net);
    net->seed = world->options.seed;
    net->landing = judge_landing;
    net->misuse = judge_misuse;
    net->arg = world;
    net->delay_min_ns = sim_random_between(random, 500, 20000);
    net->delay_max_ns = net->delay_min_ns * sim_random_between(random, 1, 10);
    net->close_max_ns = sim_random_between(random, 1000, 200000);
    net->notice_max_ns = sim_random_between(random, 1000, 500000);
    net->pieces_max = (uint32_t)sim_random_between(random, 1, 4);
    net->request_waits = sim_random_percent(random, 70);
    net->max_posted = (uint32_t)sim_random_between(random, 16, 128);
    net->max_reads = (uint32_t)sim_random_between(random, 1, 16);
    net->inline_bytes = (uint32_t)sim_random_below(random, 3) * 64;
    net->max_message_bytes = messages[sim_random_below(random, 4)];
    net->flags = CARRICK_CAP_NATIVE_FLUSH | CARRICK_CAP_APPLIED_COUNT;
    if (sim_random_percent(random, 40))
        net->flags &= ~(uint32_t)CARRICK_CAP_APPLIED_COUNT;
    if (sim_random_percent(random, 30))
        net->flags |= CARRICK_CAP_CONNECTOR_FIRST;
    net->proof = sim_random_percent(random, 40) ? CARRICK_PROOF_LOCAL : CARRICK_PROOF_REMOTE;
    net->break_fence = (world->options.break_rules & BREAK_FENCE) != 0;
}

// With storage the links are not what it is about: seldom more than two.
static unsigned links_draw(struct world *world)
{
    static const unsigned few[] = {1, 1, 1, 2, 2, 2, 2, 3, 3, 4};

    return world->storage == NULL ? (unsigned)sim_random_between(&world->random, 1, WORLD_LINKS_MAX)
                                  : few[sim_random_below(&world->random, 10)];
}

static uint64_t net_now_ns(void *arg)
{
    return ((struct world *)arg)->clock.now_ns;
}

void world_configure(struct world *world)
{
    unsigned lanes = (unsigned)sim_random_between(&world->random, 1, 4);
    const char *profile = world->storage != NULL ? "fast" : profile_draw(world);

    world->links = links_draw(world);
    if (world->storage == NULL)
        world->pairs = (unsigned)sim_random_between(&world->random, 1, WORLD_CLIENTS_MAX);
    net_draw(world);
    pairs_draw(world);
    if (world->options.scenario->setup != NULL)
        world->options.scenario->setup(world);
    world->net.now_ns = net_now_ns;
    world->net.arg = world;
    world->fabric = sim_fabric_create(&world->net);
    if (world->fabric == NULL)
        abort();
    world->configs[0] = config_make(world, "pair", profile, lanes, NULL);
    world->configs[1] = world->configs[0];
    if (world->storage != NULL && world->storage->boots)
        world->early = config_make(world, "pair", profile, lanes, NULL);
    if (world->early != NULL)
        config_keep_early(world->early);
    if (world->failed)
        return;
    world->timers = world->configs[0]->managers[0].timers;
    // Busy enough that a fault always meets something in flight, idle enough that a minute sees thousands of histories.
    world->rest_max_ns = world->timers.link_dead_ms * ENV_MS;
    for (unsigned i = 0; i < 2; i++) {
        world->node[i].config = world->configs[i];
        memset(world->node[i].key, 'k', sizeof(world->node[i].key));
    }
    world_say(
        world, NULL,
        "%u links, %u lanes, %u clients, profile %s; proof %s, %s%s%s, messages of %llu bytes",
        world->links, lanes, world->pairs, profile,
        world->net.proof == CARRICK_PROOF_LOCAL ? "local" : "remote",
        world->net.flags & CARRICK_CAP_APPLIED_COUNT ? "counts" : "does not count",
        world->net.flags & CARRICK_CAP_CONNECTOR_FIRST ? ", connector first" : "",
        world->net.request_waits ? ", waits" : "",
        (unsigned long long)world->net.max_message_bytes);
}

void world_disagree(struct world *world, unsigned node, const char *cluster, const char *extra_link)
{
    const struct config_manager *manager = &world->configs[node]->managers[0];
    struct config *config =
        config_make(world, cluster, manager->profile, manager->lanes, extra_link);

    if (config == NULL)
        return;
    if (world->configs[0] != world->configs[1])
        config_free(world->configs[node]);
    world->configs[node] = config;
    world->node[node].config = config;
}
