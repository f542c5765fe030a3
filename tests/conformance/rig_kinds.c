// SPDX-License-Identifier: Apache-2.0
// needs plugin: sim
// needs plugin: fault
//
// The transports that the suite runs over. A vendor's own is named by the environment:
//
//   CONFORMANCE_PLUGIN=./mine.so                the shared object
//   CONFORMANCE_LOCAL='{"address": "…"}'        the two nodes' sections of a link,
//   CONFORMANCE_REMOTE='{"address": "…"}'       on this machine both
//
// and then the suite runs over it alone, with --jobs 1 since all cases use these two addresses.
// CONFORMANCE_ONLY=tcp runs over the transports whose names contain that, CONFORMANCE_ONLY==tcp over that one alone.
//
// CONFORMANCE_FORKED=1 runs each case in a fork of this process, without Criterion (rig_forked.c).
//
// The RDMA transports want a device, which can talk to itself: CONFORMANCE_VERBS=ADDRESS and CONFORMANCE_IWARP=ADDRESS
// name the address of its network interface. Without one, the transport's cases are left out, and a test of its name in
// the suite `rdma` is skipped and says so.
#include "rig.h"

#include "transports/sim/sim_fabric.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct carrick_plugin *sim_plugin_entry(void);
const struct carrick_plugin *fault_plugin_entry(void);

static const struct rig_kind own_kinds[] = {
    {.name = "tcp"},
    {.name = "sim", .is_virtual = true, .is_sim = true},
    {.name = "sim like iwarp", .is_virtual = true, .is_sim = true, .like_iwarp = true},
    {.name = "tcp wrapped", .wrapped = true},
    {.name = "sim wrapped", .is_virtual = true, .is_sim = true, .wrapped = true},
    {.name = "verbs", .address_from = "CONFORMANCE_VERBS"},
    {.name = "iwarp", .address_from = "CONFORMANCE_IWARP"},
    {.name = "verbs wrapped", .address_from = "CONFORMANCE_VERBS", .wrapped = true},
    {.name = "iwarp wrapped", .address_from = "CONFORMANCE_IWARP", .wrapped = true},
};

_Static_assert(sizeof(own_kinds) / sizeof(own_kinds[0]) <= RIG_KINDS_MAX, "more room is needed");

static const struct rig_kind vendor_kinds[] = {
    {.name = "vendor", .is_vendor = true},
    {.name = "vendor wrapped", .is_vendor = true, .wrapped = true},
};

// The plugin's name: the kind's up to a space.
static void plugin_name(const struct rig_kind *kind, char name[32])
{
    snprintf(name, 32, "%.*s", (int)strcspn(kind->name, " "), kind->name);
}

static void plugin_path(const struct rig_kind *kind, char path[PATH_MAX])
{
    const char *build = getenv("BUILD");
    char name[32];

    plugin_name(kind, name);
    if (kind->is_vendor)
        snprintf(path, PATH_MAX, "%s", getenv("CONFORMANCE_PLUGIN"));
    else
        snprintf(path, PATH_MAX, "%s/plugins/%s.so", build != NULL ? build : "build", name);
}

// A transport that is not in the tree is not missed; one that is and was not built is a failure.
static bool in_tree(const struct rig_kind *kind)
{
    const char *top = getenv("CARRICK_TOP");
    char path[PATH_MAX], name[32];

    // What is built of these, and whether at all, hangs on packages that need not be there.
    if (kind->address_from[0] != '\0')
        return getenv(kind->address_from) != NULL;
    plugin_name(kind, name);
    plugin_path(kind, path);
    if (kind->is_vendor || kind->is_sim || access(path, F_OK) == 0)
        return true;
    snprintf(path, sizeof(path), "%s/transports/%s/plugin.mk", top != NULL ? top : ".", name);
    return access(path, F_OK) == 0;
}

static bool is_wanted(const struct rig_kind *kind)
{
    const char *only = getenv("CONFORMANCE_ONLY");

    if (only == NULL)
        return true;
    return only[0] == '=' ? strcmp(kind->name, only + 1) == 0 : strstr(kind->name, only) != NULL;
}

size_t rig_kinds_list(struct rig_kind *kinds, bool plain)
{
    bool of_vendor = getenv("CONFORMANCE_PLUGIN") != NULL;
    const struct rig_kind *all = of_vendor ? vendor_kinds : own_kinds;
    size_t count = of_vendor ? sizeof(vendor_kinds) / sizeof(vendor_kinds[0])
                             : sizeof(own_kinds) / sizeof(own_kinds[0]);
    size_t used = 0;

    for (size_t i = 0; i < count; i++) {
        if (in_tree(&all[i]) && !(plain && all[i].wrapped) && is_wanted(&all[i]))
            kinds[used++] = all[i];
    }
    return used;
}

static struct criterion_test_params kinds_of_run(bool plain)
{
    struct rig_kind *params = cr_malloc(sizeof(*params) * RIG_KINDS_MAX);
    size_t used = rig_kinds_list(params, plain);

    return cr_make_param_array(struct rig_kind, params, used);
}

struct criterion_test_params rig_kinds(void)
{
    return kinds_of_run(false);
}

struct criterion_test_params rig_plain_kinds(void)
{
    return kinds_of_run(true);
}

void rig_preload(const struct rig_kind *kind)
{
    char path[PATH_MAX];

    plugin_path(kind, path);
    // What is wrong with it, the cases tell.
    if (!kind->is_sim)
        (void)dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

static const struct carrick_plugin *load(struct rig *rig)
{
    const struct carrick_plugin *(*entry)(void);
    const struct carrick_plugin *plugin;
    char path[PATH_MAX];

    if (rig->kind.is_sim)
        return sim_plugin_entry();
    plugin_path(&rig->kind, path);
    rig->plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CHECK(rig, rig->plugin != NULL, "%s", dlerror());
    *(void **)&entry = dlsym(rig->plugin, "carrick_plugin_entry");
    CHECK(rig, entry != NULL, "%s exports no carrick_plugin_entry", path);
    plugin = entry();
    CHECK(rig, plugin != NULL && plugin->kind == CARRICK_KIND_TRANSPORT);
    CHECK(rig, plugin->abi_major == CARRICK_ABI_MAJOR && plugin->abi_minor <= CARRICK_ABI_MINOR);
    return plugin;
}

// As a core does: a table of its own, with what the plugin has of it.
static void ops_take(struct rig *rig, const struct carrick_plugin *plugin,
                     struct carrick_transport_ops *ops)
{
    memset(ops, 0, sizeof(*ops));
    memcpy(ops, plugin->ops, plugin->ops_size < sizeof(*ops) ? plugin->ops_size : sizeof(*ops));
    CHECK(rig,
          ops->create && ops->destroy && ops->config_check && ops->device_open &&
              ops->device_close && ops->device_caps && ops->device_poll && ops->device_fd &&
              ops->device_arm && ops->domain_create && ops->domain_destroy &&
              ops->region_register && ops->region_deregister && ops->listen && ops->unlisten &&
              ops->endpoint_connect && ops->endpoint_accept && ops->endpoint_reject &&
              ops->endpoint_close && ops->post,
          "a required operation is missing");
}

static void fabric_make(struct rig *rig)
{
    struct sim_fabric_options options;

    sim_fabric_options_init(&options);
    options.seed = 7;
    if (rig->kind.like_iwarp) {
        options.flags = CARRICK_CAP_CONNECTOR_FIRST;
        options.proof = CARRICK_PROOF_LOCAL;
    }
    rig->fabric = sim_fabric_create(&options);
    CHECK(rig, rig->fabric != NULL);
}

static void sections_make(struct rig *rig)
{
    // Tests run beside each other, each in its own process: each gets a loopback address of its own.
    unsigned pid = (unsigned)getpid();

    if (rig->kind.is_vendor) {
        const char *local = getenv("CONFORMANCE_LOCAL"), *remote = getenv("CONFORMANCE_REMOTE");

        CHECK(rig, local != NULL && remote != NULL,
              "CONFORMANCE_LOCAL and CONFORMANCE_REMOTE are wanted, too");
        snprintf(rig->node[0].local, sizeof(rig->node[0].local), "%s", local);
        snprintf(rig->node[1].local, sizeof(rig->node[1].local), "%s", remote);
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        char *local = rig->node[i].local;
        size_t size = sizeof(rig->node[i].local);

        if (rig->kind.is_sim)
            snprintf(local, size, "{\"fabric\": %d, \"device\": \"%s\"}",
                     sim_fabric_id(rig->fabric), i == 0 ? "a0" : "b0");
        else if (rig->kind.address_from[0] != '\0')
            // One device is both nodes' own; a port is not free again at once.
            snprintf(local, size, "{\"address\": \"%s\", \"port\": %u}",
                     getenv(rig->kind.address_from), 10000 + pid % 10000 * 2 + i);
        else
            snprintf(local, size, "{\"address\": \"127.%u.%u.%u\", \"port\": %u}",
                     64 + (pid >> 16) % 64, (pid >> 8) % 256, pid % 256, 7001 + i);
    }
}

void rig_load(struct rig *rig, const char *fault_config)
{
    const struct carrick_plugin *plugin = load(rig);
    struct carrick_error error = {.struct_size = sizeof(error)};
    struct carrick_transport_ops inner;
    int rc;

    ops_take(rig, plugin, &inner);
    if (rig->kind.is_sim)
        fabric_make(rig);
    sections_make(rig);
    rc = inner.config_check(rig->node[0].local, rig->node[1].local, "{}", &error);
    CHECK(rig, rc == CARRICK_OK, "config_check: %s %s", error.pointer, error.text);
    for (unsigned i = 0; i < 2; i++) {
        struct rig_node *node = &rig->node[i];
        const struct carrick_transport_wrapper_ops *wrapper = fault_plugin_entry()->ops;

        if (rig->kind.wrapped || fault_config != NULL) {
            node->ops = wrapper->transport;
            rc =
                wrapper->wrap(&node->host, &inner, "{}", fault_config != NULL ? fault_config : "{}",
                              &node->transport, &error);
        } else {
            node->ops = inner;
            rc = inner.create(&node->host, "{}", &node->transport, &error);
        }
        CHECK(rig, rc == CARRICK_OK, "create: %s %s", error.pointer, error.text);
    }
}

void rig_unload(struct rig *rig)
{
    if (rig->fabric != NULL)
        sim_fabric_destroy(rig->fabric);
    if (rig->plugin != NULL)
        dlclose(rig->plugin);
}

static void device_is_named(const char *name, const char *variable)
{
    struct rig_kind kind = {0};
    char path[PATH_MAX];

    if (getenv(variable) == NULL)
        cr_skip_test("no cases over %s: %s names no device", name, variable);
    snprintf(kind.name, sizeof(kind.name), "%s", name);
    plugin_path(&kind, path);
    cr_assert(access(path, F_OK) == 0, "%s names a device, but %s is not built", variable, path);
}

Test(rdma, verbs)
{
    device_is_named("verbs", "CONFORMANCE_VERBS");
}

Test(rdma, iwarp)
{
    device_is_named("iwarp", "CONFORMANCE_IWARP");
}
