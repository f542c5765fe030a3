// SPDX-License-Identifier: Apache-2.0
// The smallest plugin that the headers allow, in plain C11. It is compiled, never loaded.
#include <carrick/policy.h>

struct carrick_policy {
    int unused;
};

static struct carrick_policy the_policy;

static int create(const struct carrick_host *host, const char *config,
                  struct carrick_policy **policy, struct carrick_error *error)
{
    (void)host;
    (void)config;
    (void)error;
    *policy = &the_policy;
    return CARRICK_OK;
}

static void destroy(struct carrick_policy *policy)
{
    (void)policy;
}

static int32_t choose(struct carrick_policy *policy, const struct carrick_policy_input *input)
{
    (void)policy;
    for (uint32_t i = 0; i < input->link_count; i++)
        if (carrick_policy_link_at(input, i)->eligible)
            return (int32_t)i;
    return CARRICK_POLICY_NONE;
}

static const struct carrick_policy_ops ops = {
    .create = create,
    .destroy = destroy,
    .choose = choose,
};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_POLICY, "smallest", "1.0", "Apache-2.0", "the first that can",
                        ops);
