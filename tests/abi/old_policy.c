// SPDX-License-Identifier: Apache-2.0
//
// A policy as of version 1.0; see old_client.c. The last link that is eligible is its choice.
#include <carrick/policy.h>

#include <stdlib.h>

struct carrick_policy {
    const struct carrick_host *host;
};

static int create(const struct carrick_host *host, const char *config, struct carrick_policy **made,
                  struct carrick_error *error)
{
    (void)config;
    (void)error;
    *made = calloc(1, sizeof(**made));
    if (!*made)
        return CARRICK_ERR_NO_MEMORY;
    (*made)->host = host;
    return CARRICK_OK;
}

static void destroy(struct carrick_policy *policy)
{
    free(policy);
}

static int32_t choose(struct carrick_policy *policy, const struct carrick_policy_input *input)
{
    (void)policy;
    for (uint32_t i = input->link_count; i-- > 0;)
        if (carrick_policy_link_at(input, i)->eligible)
            return (int32_t)i;
    return CARRICK_POLICY_NONE;
}

static const struct carrick_policy_ops ops = {create, destroy, choose};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_POLICY, "old_policy", "1.0", "Apache-2.0",
                        "a policy as of version 1.0", ops);
