// SPDX-License-Identifier: Apache-2.0
//
// What a policy sees, made by hand, for the tests of the policies.
#ifndef TESTS_UNIT_POLICY_WORLD_H
#define TESTS_UNIT_POLICY_WORLD_H

#include <carrick/policy.h>

#include <criterion/criterion.h>
#include <string.h>

#define WORLD_LINKS_MAX 8

// Links as a later core would hand them over: longer than this header's, so that whoever forgets the stride fails.
struct world_link {
    struct carrick_policy_link link;
    uint64_t of_a_later_version;
};

struct world {
    const struct carrick_policy_ops *ops;
    struct carrick_policy *policy;
    struct world_link links[WORLD_LINKS_MAX];
    uint32_t count;
    uint64_t sequence;
};

static inline void world_init(struct world *world, const struct carrick_plugin *plugin,
                              const char *config)
{
    struct carrick_error error = {.struct_size = sizeof error};
    memset(world, 0, sizeof *world);
    cr_assert_eq(plugin->kind, CARRICK_KIND_POLICY);
    cr_assert_eq(plugin->ops_size, sizeof(struct carrick_policy_ops));
    world->ops = plugin->ops;
    cr_assert_eq(world->ops->create(NULL, config, &world->policy, &error), CARRICK_OK, "%s",
                 error.text);
}

static inline void world_end(struct world *world)
{
    world->ops->destroy(world->policy);
}

static inline void world_links(struct world *world, uint32_t count)
{
    memset(world->links, 0, sizeof world->links);
    world->count = count;
    world->sequence = 0;
    for (uint32_t i = 0; i < count; i++) {
        world->links[i].of_a_later_version = UINT64_MAX;
        world->links[i].link = (struct carrick_policy_link){.struct_size = sizeof world->links[i],
                                                            .eligible = 1,
                                                            .weight_permille = 1000,
                                                            .name = "link"};
    }
}

static inline int32_t world_choose(struct world *world, int32_t current)
{
    struct carrick_policy_input input = {.struct_size = sizeof input,
                                         .link_count = world->count,
                                         .links = &world->links[0].link,
                                         .sequence = world->sequence++,
                                         .vi = 1,
                                         .current = current};
    return world->ops->choose(world->policy, &input);
}

// Puts all VIs on the first link, then asks for each in turn until none moves. Returns how many moved.
static inline unsigned world_spread(struct world *world, uint32_t vis)
{
    unsigned moves = 0;
    bool moved = true;
    int32_t at[64] = {0};
    cr_assert_leq(vis, 64u);
    world->links[0].link.vis = vis;
    for (unsigned round = 0; moved && round < 100; round++) {
        moved = false;
        for (uint32_t vi = 0; vi < vis; vi++) {
            int32_t to = world_choose(world, at[vi]);
            cr_assert(to >= 0 && (uint32_t)to < world->count);
            if (to == at[vi])
                continue;
            world->links[at[vi]].link.vis--;
            world->links[to].link.vis++;
            at[vi] = to;
            moves++;
            moved = true;
        }
    }
    cr_assert(!moved, "VIs were still moving after 100 rounds");
    return moves;
}

// The second link comes back: its weight grows in steps, and at each every VI is asked about once, as the core does. Each VI
// has so much in flight. None may go back, and in the end both links have as many.
static inline void world_slow_start(struct world *world, uint32_t vis, uint64_t bytes)
{
    struct carrick_policy_link *from = &world->links[0].link, *back = &world->links[1].link;
    bool moved[64] = {false};
    cr_assert_leq(vis, 64u);
    world_links(world, 2);
    from->vis = vis;
    for (back->weight_permille = 100; back->weight_permille <= 1000; back->weight_permille += 100) {
        for (uint32_t vi = 0; vi < vis; vi++) {
            from->inflight_bytes = from->vis * bytes;
            back->inflight_bytes = back->vis * bytes;
            int32_t to = world_choose(world, moved[vi]);
            cr_assert(to == 1 || !moved[vi], "VI %u of %u with %llu bytes goes back at weight %u",
                      vi, vis, (unsigned long long)bytes, back->weight_permille);
            from->vis -= to != moved[vi];
            back->vis += to != moved[vi];
            moved[vi] = to == 1;
        }
        // It never carries more than its share and one VI.
        cr_assert_leq((back->vis - (back->vis > 0)) * 1000,
                      from->vis * back->weight_permille + 1000);
    }
    cr_assert_eq(back->vis, vis / 2);
}

// Random inputs, each asked twice with another one between; no answer is ever out of bounds or a dead link.
static inline void world_is_pure(struct world *world)
{
    uint32_t random = 12345;
    for (int n = 0; n < 20000; n++) {
        uint32_t r[WORLD_LINKS_MAX][2];
        for (int i = 0; i < WORLD_LINKS_MAX; i++) {
            r[i][0] = random = random * 1664525u + 1013904223u;
            r[i][1] = random = random * 1664525u + 1013904223u;
        }
        world_links(world, 1 + (r[0][0] >> 8) % WORLD_LINKS_MAX);
        bool any = false, any_free = false;
        for (uint32_t i = 0; i < world->count; i++) {
            struct carrick_policy_link *link = &world->links[i].link;
            link->eligible = r[i][0] >> 8 & 1;
            link->busy = (r[i][0] >> 9 & 3) == 0;
            link->vis = r[i][0] >> 12 & 7;
            link->weight_permille = r[i][0] >> 16 & 1 ? 1000 : (r[i][1] >> 4) % 1001;
            link->inflight_bytes = r[i][1] >> 8;
            link->inflight_ops = r[i][1] >> 20;
            link->latency_ns = r[i][1] >> 16;
            any = any || link->eligible;
            any_free = any_free || (link->eligible && !link->busy);
        }
        uint64_t sequence = r[1][1];
        int32_t current = (int32_t)(r[2][1] >> 8) % (int32_t)(world->count + 1) - 1;
        world->sequence = sequence;
        int32_t first = world_choose(world, current);
        world_choose(world, -1);
        world->sequence = sequence;
        cr_assert_eq(world_choose(world, current), first);
        if (!any)
            cr_assert_eq(first, CARRICK_POLICY_NONE);
        else if (!any_free)
            cr_assert_eq(first, CARRICK_POLICY_BUSY);
        else
            cr_assert(first >= 0 && (uint32_t)first < world->count &&
                      world->links[first].link.eligible &&
                      (first == current || !world->links[first].link.busy));
    }
}

static inline void world_refuses(struct world *world, const char *config, const char *pointer)
{
    struct carrick_error error = {.struct_size = sizeof error};
    struct carrick_policy *policy = NULL;
    cr_assert_eq(world->ops->create(NULL, config, &policy, &error), CARRICK_ERR_CONFIG);
    cr_assert_str_eq(error.pointer, pointer);
    cr_assert_str_neq(error.text, "");
}

#endif
