// SPDX-License-Identifier: Apache-2.0
//
// A policy that is in order but for one thing, which a flag of plugin.mk says: what the loader must notice. The
// descriptor is written out, since CARRICK_PLUGIN_REGISTER lets nobody get these wrong.
#include <carrick/policy.h>

#ifndef ODD_NAME
#define ODD_NAME "odd_good"
#endif
#ifndef ODD_MAJOR
#define ODD_MAJOR CARRICK_ABI_MAJOR
#endif
#ifndef ODD_MINOR
#define ODD_MINOR CARRICK_ABI_MINOR
#endif
#ifndef ODD_KIND
#define ODD_KIND CARRICK_KIND_POLICY
#endif
#ifndef ODD_OPS_SIZE
#define ODD_OPS_SIZE sizeof(odd_ops)
#endif
#ifndef ODD_DESCRIPTOR_SIZE
#define ODD_DESCRIPTOR_SIZE sizeof(odd_descriptor)
#endif

#ifdef ODD_UNRESOLVED
// As if the daemon had it.
void carrick_manager_of_the_daemon(void);
#endif

static int create(const struct carrick_host *host, const char *config,
                  struct carrick_policy **policy, struct carrick_error *error)
{
    (void)host;
    (void)config;
    (void)error;
    *policy = NULL;
#ifdef ODD_UNRESOLVED
    carrick_manager_of_the_daemon();
#endif
    return CARRICK_OK;
}

static void destroy(struct carrick_policy *policy)
{
    (void)policy;
}

#ifndef ODD_WITHOUT_CHOOSE
static int32_t choose(struct carrick_policy *policy, const struct carrick_policy_input *input)
{
    (void)policy;
    return input->link_count ? 0 : CARRICK_POLICY_NONE;
}
#endif

// Room behind the table: what a later minor version would have appended.
static const struct {
    struct carrick_policy_ops ops;
    void (*later[4])(void);
} odd_ops = {
    .ops =
        {
            .create = create,
            .destroy = destroy,
#ifndef ODD_WITHOUT_CHOOSE
            .choose = choose,
#endif
        },
    .later = {(void (*)(void))destroy, (void (*)(void))destroy, (void (*)(void))destroy,
              (void (*)(void))destroy},
};

static const struct {
    struct carrick_plugin plugin;
    char later[64];
} odd_descriptor __attribute__((unused)) = {
    .plugin =
        {
            .struct_size = ODD_DESCRIPTOR_SIZE,
            .abi_major = ODD_MAJOR,
            .abi_minor = ODD_MINOR,
            .kind = ODD_KIND,
            .ops_size = ODD_OPS_SIZE,
            .name = ODD_NAME,
            .version = "0.9",
            .licence = "Apache-2.0",
            .description = "odd in one way",
            .ops = &odd_ops,
        },
    .later = "what a later version would say",
};

#ifdef ODD_ENTRY
const void *ODD_ENTRY(void);
CARRICK_EXPORT const void *ODD_ENTRY(void)
{
    return &odd_descriptor;
}
#else
CARRICK_EXPORT const struct carrick_plugin *carrick_plugin_entry(void)
{
#ifdef ODD_NOTHING
    return NULL;
#else
    return &odd_descriptor.plugin;
#endif
}
#endif
