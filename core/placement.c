// SPDX-License-Identifier: Apache-2.0
#include "core/placement.h"

#include "core/conn.h"
#include "core/lane.h"
#include "core/link.h"
#include "core/vi.h"

#define WEIGHT_FULL 1000u
#define WEIGHT_STEPS 10u

static int policy_load(struct manager *manager, const struct config_plugin *config,
                       struct module **module, struct carrick_policy **policy,
                       struct carrick_error *error)
{
    const struct carrick_policy_ops *ops;
    int status = loader_get(manager->loader, CARRICK_KIND_POLICY, config->plugin, module, error);

    if (status != CARRICK_OK)
        return status;
    ops = module_ops(*module);
    status = ops->create(&manager->policy_host.base, config->config.json, policy, error);
    if (status != CARRICK_OK)
        module_put(*module);
    return status;
}

int placement_init(struct manager *manager, struct carrick_error *error)
{
    host_init(&manager->policy_host, manager->env, manager->node_name, manager->partner_name,
              manager->section->name, "policy");
    return placement_reload(manager, &manager->section->policy, error);
}

void placement_free(struct manager *manager)
{
    if (manager->policy != NULL)
        manager->policy_ops->destroy(manager->policy);
    if (manager->policy_module != NULL)
        module_put(manager->policy_module);
    manager->policy = NULL;
    manager->policy_module = NULL;
}

int placement_reload(struct manager *manager, const struct config_plugin *config,
                     struct carrick_error *error)
{
    struct module *module = NULL;
    struct carrick_policy *policy;
    int status = policy_load(manager, config, &module, &policy, error);

    if (status != CARRICK_OK)
        return status;
    placement_free(manager);
    manager->policy_module = module;
    manager->policy_ops = module_ops(module);
    manager->policy = policy;
    return CARRICK_OK;
}

// ---- asking the policy

static bool any_link_free_of_hold(const struct manager *manager)
{
    for (uint32_t i = 0; i < manager->link_count; i++)
        if (link_is_up(&manager->links[i]) && !link_is_held(&manager->links[i]))
            return true;
    return false;
}

// Slow start: a link that came back after a flap takes its share in steps, each hold_ms long, once its hold is over.
static uint32_t link_weight(const struct link *link, uint64_t now_ns)
{
    uint64_t step_ns = link->manager->section->timers.hold_ms * ENV_MS, step;

    if (link->flaps == 0)
        return WEIGHT_FULL;
    if (now_ns < link->hold_until_ns)
        return 0;
    step = step_ns == 0 ? WEIGHT_STEPS : 1 + (now_ns - link->hold_until_ns) / step_ns;
    return step >= WEIGHT_STEPS ? WEIGHT_FULL : (uint32_t)step * WEIGHT_FULL / WEIGHT_STEPS;
}

static void link_describe(const struct link *link, bool holds_count, uint64_t now_ns,
                          struct carrick_policy_link *view)
{
    *view = (struct carrick_policy_link){
        .struct_size = sizeof(*view),
        .eligible = link_is_up(link) && !(holds_count && link_is_held(link)),
        .vis = (uint32_t)((int64_t)link->vis + link->vis_due),
        .latency_ns = link->latency_ns,
        .up_since_ns = link->up_since_ns,
        .weight_permille = link_weight(link, now_ns),
        .name = link->config->name,
    };
    if (link->current == NULL)
        return;
    view->busy = 1;
    for (uint32_t i = 0; i < link->current->lane_count; i++) {
        const struct lane *lane = &link->current->lanes[i];

        view->inflight_bytes += lane->inflight_bytes;
        view->inflight_ops += lane_posted(lane);
        if (lane_has_room(lane, CARRICK_OP_WRITE, 0))
            view->busy = 0;
    }
}

static struct link *placement_choose(struct vi *vi)
{
    struct manager *manager = vi->client->manager;
    struct carrick_policy_link views[LINKS_MAX];
    struct carrick_policy_input input = {
        .struct_size = sizeof(input),
        .link_count = manager->link_count,
        .links = views,
        .sequence = manager->policy_sequence,
        .vi = vi->identity,
        .current = vi->lane == NULL ? -1 : (int32_t)vi->lane->conn->link->index,
    };
    bool holds_count = any_link_free_of_hold(manager);
    uint64_t now_ns = env_now_ns(manager->env);
    int32_t first = -1, chosen;

    for (uint32_t i = manager->link_count; i-- > 0;) {
        link_describe(&manager->links[i], holds_count, now_ns, &views[i]);
        if (views[i].eligible)
            first = (int32_t)i;
    }
    if (first < 0)
        return NULL;
    chosen = manager->policy_ops->choose(manager->policy, &input);
    manager->policy_sequence++;
    if (chosen == CARRICK_POLICY_BUSY && input.current >= 0)
        return NULL; // stays where it is
    if (chosen < 0 || chosen >= (int32_t)manager->link_count || !views[chosen].eligible)
        chosen = first;
    return &manager->links[chosen];
}

static struct lane *lane_for(const struct vi *vi, struct link *link)
{
    struct conn *conn = link->current;

    return &conn->lanes[(vi->number + (uint32_t)(vi->identity >> 32)) % conn->lane_count];
}

// ---- placing

static bool vi_wants_lane(const struct vi *vi)
{
    return vi->state != CARRICK_VI_OPENING && !vi->closing && vi->fence == NULL;
}

void placement_place(struct vi *vi)
{
    struct link *link;

    if (vi->lane != NULL || !vi_wants_lane(vi))
        return;
    link = placement_choose(vi);
    if (link != NULL)
        vi_place(vi, lane_for(vi, link));
}

void placement_bind(struct vi *vi, struct link *to)
{
    struct link *from = vi->lane->conn->link;

    if (vi->bound != NULL) {
        from->vis_due++;
        vi->bound->vis_due--;
    }
    if (to != NULL) {
        from->vis_due--;
        to->vis_due++;
    }
    vi->bound = to;
}

// Moves a VI that is on a lane. With nothing in flight that is a matter of bookkeeping; else it first drains, since two
// lanes keep no order between them.
static void vi_respread(struct vi *vi)
{
    struct link *link;

    placement_bind(vi, NULL);
    link = placement_choose(vi);
    if (link == NULL || link == vi->lane->conn->link) {
        vi_pump(vi);
    } else if (vi->inflight > 0) {
        placement_bind(vi, link);
    } else {
        vi_place(vi, lane_for(vi, link));
    }
}

void placement_drained(struct vi *vi)
{
    if (vi->lane != NULL && vi_wants_lane(vi))
        vi_respread(vi);
}

static void placement_spread(struct manager *manager, bool only_moving)
{
    for (uint32_t i = 0; i < manager->ranked_count; i++)
        for (uint32_t j = 0; j < manager->ranked[i]->vis_room; j++) {
            struct vi *vi = manager->ranked[i]->vis[j];

            if (vi == NULL || !vi_wants_lane(vi))
                continue;
            if (vi->lane == NULL)
                placement_place(vi);
            else if (only_moving ? vi->bound != NULL && vi->inflight == 0 : true)
                vi_respread(vi);
        }
}

static void placement_spread_all(struct manager *manager)
{
    uint64_t now_ns = env_now_ns(manager->env);

    for (uint32_t i = 0; i < manager->link_count; i++)
        manager->links[i].spread_weight = link_weight(&manager->links[i], now_ns);
    placement_spread(manager, false);
}

void placement_link_up(struct link *link)
{
    placement_spread_all(link->manager);
}

void placement_tick(struct manager *manager)
{
    bool grown = false;
    uint64_t now_ns = env_now_ns(manager->env);

    for (uint32_t i = 0; i < manager->link_count; i++) {
        const struct link *link = &manager->links[i];

        grown |= link_is_up(link) && link_weight(link, now_ns) > link->spread_weight;
    }
    // Each move costs a VI a pause: all are asked only at the steps of a slow start, and never again once it is over.
    if (grown)
        placement_spread_all(manager);
    else
        placement_spread(manager, true);
}
