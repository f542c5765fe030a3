// SPDX-License-Identifier: Apache-2.0
//
// A policy: a VI goes to the link that has the least to do.
//
// What a link has to do is the bytes in flight on it, for its weight, so that a link in slow start looks fuller
// than it is. Equal ones are told apart by the number of their VIs, then by latency, then in turn. A VI that is on
// a link moves only if it pays: when its link has margin_bytes more in flight than the best one would have with
// this VI's share, or, while both are that close, when the best one would have fewer VIs even with it.
//
//     "config": {"margin_bytes": 262144}

#include <carrick/error.h>
#include <carrick/policy.h>

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARGIN_BYTES_DEFAULT (256u * 1024)
#define MARGIN_BYTES_MAX (1u << 30)
#define OPERATION_BYTES                                                                            \
    256u // what an operation costs beside its bytes, so that many small ones count
#define LATENCY_CLOSE_NS 2000 // latencies this near to each other are no reason

struct carrick_policy {
    uint64_t margin_bytes;
};

struct load {
    uint64_t bytes;
    uint64_t vis;
    uint64_t latency_ns;
};

// Without regard to the link's weight. Beyond any real queue it is cut: that keeps products within 64 bits.
static uint64_t bytes_of(const struct carrick_policy_link *link)
{
    uint64_t bytes = link->inflight_bytes + link->inflight_ops * OPERATION_BYTES;
    return bytes < UINT64_C(1) << 50 ? bytes : UINT64_C(1) << 50;
}

// added: a VI that it is thought to have more, with so many bytes; NULL: none.
static struct load load_of(const struct carrick_policy_link *link, const uint64_t *added)
{
    uint64_t weight = link->weight_permille > 0 ? link->weight_permille : 1;
    struct load load = {
        .bytes = (bytes_of(link) + (added ? *added : 0)) * 1000 / weight,
        .vis = ((uint64_t)link->vis + (added != NULL)) * 1000000 / weight,
        .latency_ns = link->latency_ns,
    };
    return load;
}

// < 0: a has less to do than b.
static int load_compare(const struct load *a, const struct load *b)
{
    if (a->bytes != b->bytes)
        return a->bytes < b->bytes ? -1 : 1;
    if (a->vis != b->vis)
        return a->vis < b->vis ? -1 : 1;
    // One that is not known yet is no reason either.
    if (a->latency_ns == 0 || b->latency_ns == 0)
        return 0;
    if (a->latency_ns + LATENCY_CLOSE_NS < b->latency_ns)
        return -1;
    return b->latency_ns + LATENCY_CLOSE_NS < a->latency_ns ? 1 : 0;
}

// The best link that can take the VI, begun at another one each time so that equals take turns. skip: not this one, for
// the VI is on it, and takes so many bytes along.
static int32_t find_best(const struct carrick_policy_input *input, int32_t skip,
                         const uint64_t *along, struct load *least)
{
    int32_t best = CARRICK_POLICY_NONE;
    uint32_t start = (uint32_t)(input->sequence % input->link_count);
    for (uint32_t n = 0; n < input->link_count; n++) {
        uint32_t i = (start + n) % input->link_count;
        const struct carrick_policy_link *link = carrick_policy_link_at(input, i);
        if (!link->eligible || link->busy || (int32_t)i == skip)
            continue;
        struct load load = load_of(link, along);
        if (best < 0 || load_compare(&load, least) < 0) {
            *least = load;
            best = (int32_t)i;
        }
    }
    return best;
}

static int32_t choose_again(const struct carrick_policy *policy,
                            const struct carrick_policy_input *input)
{
    const struct carrick_policy_link *current =
        carrick_policy_link_at(input, (uint32_t)input->current);
    // The VI takes its own load along, and it weighs there what it weighs there: without this a lone busy VI would go to
    // and fro, and others would while a link is in slow start.
    uint64_t share = bytes_of(current) / (current->vis > 0 ? current->vis : 1);
    struct load here = load_of(current, NULL), there = {0};
    int32_t best = find_best(input, input->current, &share, &there);
    if (best < 0)
        return input->current;
    if (here.bytes > there.bytes + policy->margin_bytes)
        return best;
    if (there.bytes <= here.bytes + policy->margin_bytes && there.vis < here.vis)
        return best;
    return input->current;
}

static int32_t policy_choose(struct carrick_policy *policy,
                             const struct carrick_policy_input *input)
{
    bool eligible = false, all_busy = true;
    struct load least = {0};

    for (uint32_t i = 0; i < input->link_count; i++) {
        const struct carrick_policy_link *link = carrick_policy_link_at(input, i);
        eligible = eligible || link->eligible;
        all_busy = all_busy && !(link->eligible && !link->busy);
    }
    if (!eligible)
        return CARRICK_POLICY_NONE;
    if (all_busy)
        return CARRICK_POLICY_BUSY;
    if (input->current >= 0 && (uint32_t)input->current < input->link_count &&
        carrick_policy_link_at(input, (uint32_t)input->current)->eligible)
        return choose_again(policy, input);
    return find_best(input, -1, NULL, &least);
}

static int take_margin(struct json_object *value, struct carrick_policy *policy,
                       struct carrick_error *error)
{
    int64_t margin = json_object_get_int64(value);
    if (!json_object_is_type(value, json_type_int) || margin < 0 || margin > MARGIN_BYTES_MAX) {
        return carrick_error_config(error, "/margin_bytes",
                                    "margin_bytes wants a whole number from 0 to %u, not %s",
                                    MARGIN_BYTES_MAX, json_object_to_json_string(value));
    }
    policy->margin_bytes = (uint64_t)margin;
    return CARRICK_OK;
}

static int take_section(struct json_object *section, struct carrick_policy *policy,
                        struct carrick_error *error)
{
    if (!json_object_is_type(section, json_type_object))
        return carrick_error_config(error, "", "least_inflight wants an object");
    json_object_object_foreach(section, key, value)
    {
        int status;

        if (strcmp(key, "margin_bytes") == 0) {
            status = take_margin(value, policy, error);
        } else {
            char pointer[sizeof error->pointer];

            snprintf(pointer, sizeof pointer, "/%s", key);
            status = carrick_error_config(
                error, pointer, "least_inflight does not know '%s'; it has margin_bytes", key);
        }
        if (status != CARRICK_OK)
            return status;
    }
    return CARRICK_OK;
}

static int policy_create(const struct carrick_host *host, const char *config,
                         struct carrick_policy **policy, struct carrick_error *error)
{
    struct carrick_policy *made = calloc(1, sizeof *made);
    (void)host;
    if (!made)
        return CARRICK_ERR_NO_MEMORY;
    made->margin_bytes = MARGIN_BYTES_DEFAULT;
    struct json_object *section = json_tokener_parse(config);
    int status = take_section(section, made, error);
    json_object_put(section);
    if (status != CARRICK_OK)
        free(made);
    else
        *policy = made;
    return status;
}

static void policy_destroy(struct carrick_policy *policy)
{
    free(policy);
}

static const struct carrick_policy_ops least_inflight_ops = {
    .create = policy_create,
    .destroy = policy_destroy,
    .choose = policy_choose,
};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_POLICY, "least_inflight", CARRICK_VERSION, "Apache-2.0",
                        "a VI goes to the link that has the least in flight", least_inflight_ops);
