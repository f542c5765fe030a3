// SPDX-License-Identifier: Apache-2.0
// The same in C++, which has no designated initializers before C++20. It is compiled, never loaded.
#include <carrick/policy.h>

struct carrick_policy {
    int unused;
};

static int create(const carrick_host *, const char *, carrick_policy **policy, carrick_error *)
{
    *policy = new carrick_policy();
    return CARRICK_OK;
}

static void destroy(carrick_policy *policy)
{
    delete policy;
}

static int32_t choose(carrick_policy *, const carrick_policy_input *input)
{
    for (uint32_t i = 0; i < input->link_count; i++)
        if (carrick_policy_link_at(input, i)->eligible)
            return static_cast<int32_t>(i);
    return CARRICK_POLICY_NONE;
}

static const carrick_policy_ops ops = {create, destroy, choose};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_POLICY, "smallest", "1.0", "Apache-2.0", "the first that can",
                        ops);
