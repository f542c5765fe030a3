// SPDX-License-Identifier: Apache-2.0
//
// A policy: VIs go to the links in turn.
//
// A link in slow start gets its turn as much less often as its weight says. A VI that is on a link stays there,
// unless another link would still have fewer VIs, for its weight, after the move than this one has now: so VIs
// spread again when a link comes back, and then rest.

#include <carrick/error.h>
#include <carrick/policy.h>

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Nothing is kept; the type is there to be told from other policies'.
struct carrick_policy {
    uint32_t nothing;
};

// A link's weight as a number that may be divided by.
static uint64_t weight_of(const struct carrick_policy_link *link)
{
    return link->weight_permille > 0 ? link->weight_permille : 1;
}

// Number of VIs for the link's weight; added is how many it is thought to have more.
static uint64_t crowd_of(const struct carrick_policy_link *link, uint32_t added)
{
    return ((uint64_t)link->vis + added) * 1000000u / weight_of(link);
}

static bool can_take(const struct carrick_policy_link *link)
{
    return link->eligible && !link->busy;
}

// Takes the turn-th among those that can take a VI; their number is not 0.
static int32_t choose_in_turn(const struct carrick_policy_input *input, uint64_t turn)
{
    for (uint32_t i = 0; i < input->link_count; i++) {
        if (can_take(carrick_policy_link_at(input, i)) && turn-- == 0)
            return (int32_t)i;
    }
    return CARRICK_POLICY_NONE;
}

// With unequal weights: multiples of the golden section spread evenly over a circle on which each link has an arc
// as long as its weight.
static int32_t choose_by_weight(const struct carrick_policy_input *input, uint64_t total)
{
    uint64_t place = ((input->sequence * 0x9e3779b97f4a7c15u) >> 32) * total >> 32;
    for (uint32_t i = 0; i < input->link_count; i++) {
        const struct carrick_policy_link *link = carrick_policy_link_at(input, i);
        if (!can_take(link))
            continue;
        if (place < weight_of(link))
            return (int32_t)i;
        place -= weight_of(link);
    }
    return CARRICK_POLICY_NONE;
}

// The least crowded link that can take the VI, if moving there makes things more even; else the current one.
static int32_t choose_again(const struct carrick_policy_input *input)
{
    const struct carrick_policy_link *current =
        carrick_policy_link_at(input, (uint32_t)input->current);
    uint64_t least = crowd_of(current, 0);
    int32_t best = input->current;
    for (uint32_t i = 0; i < input->link_count; i++) {
        const struct carrick_policy_link *link = carrick_policy_link_at(input, i);
        if ((int32_t)i != input->current && can_take(link) && crowd_of(link, 1) < least) {
            least = crowd_of(link, 1);
            best = (int32_t)i;
        }
    }
    return best;
}

static int32_t policy_choose(struct carrick_policy *policy,
                             const struct carrick_policy_input *input)
{
    uint64_t total = 0, first = 0;
    uint32_t eligible = 0, free_links = 0;
    bool equal = true;
    (void)policy;

    for (uint32_t i = 0; i < input->link_count; i++) {
        const struct carrick_policy_link *link = carrick_policy_link_at(input, i);
        eligible += link->eligible != 0;
        if (!can_take(link))
            continue;
        first = free_links++ == 0 ? weight_of(link) : first;
        equal = equal && weight_of(link) == first;
        total += weight_of(link);
    }
    if (eligible == 0)
        return CARRICK_POLICY_NONE;
    if (free_links == 0)
        return CARRICK_POLICY_BUSY;
    if (input->current >= 0 && (uint32_t)input->current < input->link_count &&
        carrick_policy_link_at(input, (uint32_t)input->current)->eligible)
        return choose_again(input);
    return equal ? choose_in_turn(input, input->sequence % free_links)
                 : choose_by_weight(input, total);
}

static int policy_create(const struct carrick_host *host, const char *config,
                         struct carrick_policy **policy, struct carrick_error *error)
{
    struct json_object *section = json_tokener_parse(config);
    int status = CARRICK_OK;
    (void)host;

    if (!json_object_is_type(section, json_type_object)) {
        status = carrick_error_config(error, "", "round_robin wants an object");
    } else {
        json_object_object_foreach(section, key, value)
        {
            char pointer[sizeof error->pointer];

            (void)value;
            snprintf(pointer, sizeof pointer, "/%s", key);
            status = carrick_error_config(
                error, pointer,
                "round_robin has nothing to configure, so '%s' is not known; leave it out", key);
            break;
        }
    }
    json_object_put(section);
    if (status != CARRICK_OK)
        return status;
    *policy = calloc(1, sizeof **policy);
    return *policy ? CARRICK_OK : CARRICK_ERR_NO_MEMORY;
}

static void policy_destroy(struct carrick_policy *policy)
{
    free(policy);
}

static const struct carrick_policy_ops round_robin_ops = {
    .create = policy_create,
    .destroy = policy_destroy,
    .choose = policy_choose,
};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_POLICY, "round_robin", CARRICK_VERSION, "Apache-2.0",
                        "VIs go to the links in turn", round_robin_ops);
