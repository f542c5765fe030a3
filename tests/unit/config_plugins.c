// SPDX-License-Identifier: Apache-2.0
//
// What plugins say of their sections must appear at the right place of the file. The plugins are the test's own: each
// refuses a section that says so, at the pointer that stands in it.
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <carrick/client.h>
#include <carrick/policy.h>
#include <carrick/transport.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config_plugins.h"

static void nothing(void)
{
}

// Refuses when the text has "refuse":"TEXT", with prefix, and "/at" behind it.
static int refuse_marked(const char *section, const char *prefix, struct carrick_error *error)
{
    const char *mark = strstr(section, "\"refuse\":\"");
    if (!mark)
        return CARRICK_OK;
    sscanf(mark, "\"refuse\":\"%255[^\"]", error->text);
    if (!strcmp(error->text, "silent"))
        error->text[0] = 0;
    else
        snprintf(error->pointer, sizeof(error->pointer), "%s/refuse", prefix);
    return CARRICK_ERR_CONFIG;
}

static int link_check(const char *local, const char *remote, const char *config,
                      struct carrick_error *error)
{
    int status = refuse_marked(local, "/local", error);
    if (!status)
        status = refuse_marked(remote, "/remote", error);
    if (!status)
        status = refuse_marked(config, "/config", error);
    return status;
}

static int client_check(const char *config, struct carrick_error *error)
{
    return refuse_marked(config, "", error);
}

static int policy_create(const struct carrick_host *host, const char *config,
                         struct carrick_policy **made, struct carrick_error *error)
{
    (void)host;
    *made = NULL;
    return refuse_marked(config, "", error);
}

static void policy_destroy(struct carrick_policy *made)
{
    (void)made;
}

// Nothing else of these is called; the loader wants the rest to be there.
static struct carrick_transport_ops transport_ops;
static struct carrick_transport_wrapper_ops wrapper_ops;
static struct carrick_client_ops client_ops;
static struct carrick_client_ops plain_ops;
static struct carrick_policy_ops policy_ops;

static void fill(void *ops, size_t size)
{
    void (**slots)(void) = ops;
    for (size_t i = 0; i < size / sizeof(*slots); i++)
        slots[i] = nothing;
}

#define PLUGIN(variable, kind_, name_, ops_)                                                       \
    static const struct carrick_plugin variable##_plugin = {                                       \
        .struct_size = sizeof(struct carrick_plugin),                                              \
        .abi_major = CARRICK_ABI_MAJOR,                                                            \
        .abi_minor = CARRICK_ABI_MINOR,                                                            \
        .kind = (kind_),                                                                           \
        .ops_size = sizeof(ops_),                                                                  \
        .name = (name_),                                                                           \
        .version = "1",                                                                            \
        .licence = "Apache-2.0",                                                                   \
        .description = "a test's",                                                                 \
        .ops = &(ops_),                                                                            \
    };                                                                                             \
    static const struct carrick_plugin *variable##_entry(void)                                     \
    {                                                                                              \
        return &variable##_plugin;                                                                 \
    }

PLUGIN(transport, CARRICK_KIND_TRANSPORT, "wire", transport_ops)
PLUGIN(wrapper, CARRICK_KIND_TRANSPORT_WRAPPER, "wrap", wrapper_ops)
PLUGIN(client, CARRICK_KIND_CLIENT, "picky", client_ops)
PLUGIN(plain, CARRICK_KIND_CLIENT, "plain", plain_ops)
PLUGIN(policy, CARRICK_KIND_POLICY, "fair", policy_ops)

static struct loader *loader;
static struct config *config;
static struct config_errors errs;
static char missing[256];

static void begin(void)
{
    static const char *const dirs[] = {"/nowhere/plugins"};
    fill(&transport_ops, sizeof(transport_ops));
    fill(&wrapper_ops, sizeof(wrapper_ops));
    fill(&client_ops, sizeof(client_ops));
    fill(&plain_ops, sizeof(plain_ops));
    fill(&policy_ops, sizeof(policy_ops));
    transport_ops.config_check = link_check;
    wrapper_ops.transport.config_check = link_check;
    client_ops.config_check = client_check;
    plain_ops.config_check = NULL;
    policy_ops.create = policy_create;
    policy_ops.destroy = policy_destroy;
    loader = loader_create(dirs, 1);
    const struct carrick_plugin *(*const entries[])(void) = {
        transport_entry, wrapper_entry, client_entry, plain_entry, policy_entry};
    struct carrick_error error = {.struct_size = sizeof(error)};
    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
        cr_assert(eq(int, loader_add_static(loader, entries[i], &error), 0), "%s", error.text);
}

static void end(void)
{
    config_free(config);
    loader_destroy(loader);
}

TestSuite(config_plugins, .init = begin, .fini = end);

// One link with its wrapper, one client; %s: what stands in the place that the test is about.
struct parts {
    const char *transport, *alpha, *beta, *link, *wrapper, *client_plugin, *client, *required,
        *policy, *balance;
};

static const char *given(const char *text, const char *standard)
{
    return text ? text : standard;
}

static void note_missing(void *arg, const struct config_client *client, const char *text)
{
    snprintf(arg, sizeof(missing), "%s: %s", client->name, text);
}

static int check(const struct parts *parts, int node)
{
    char text[4096];
    int length = snprintf(
        text, sizeof(text),
        "{\"cluster\":\"c\",\"key_file\":\"/k\",\"nodes\":[\"alpha\",\"beta\"],\n"
        "\"managers\":[{\"name\":\"main\",\n"
        "\"policy\":{\"plugin\":\"%s\",\"config\":{%s}},\n"
        "\"links\":[{\"name\":\"left\",\"transport\":\"%s\",\n"
        "\"wrapper\":{\"plugin\":\"wrap\",\"config\":{%s}},\n"
        "\"nodes\":{\"alpha\":{%s},\n\"beta\":{%s}},\n"
        "\"config\":{%s}}],\n"
        "\"clients\":[{\"name\":\"one\",\"plugin\":\"%s\",\"required\":%s,\"config\":{%s}}]\n"
        "}]}\n",
        given(parts->policy, "fair"), given(parts->balance, ""), given(parts->transport, "wire"),
        given(parts->wrapper, ""), given(parts->alpha, ""), given(parts->beta, ""),
        given(parts->link, ""), given(parts->client_plugin, "picky"),
        given(parts->required, "true"), given(parts->client, ""));
    config_free(config);
    cr_assert(eq(int, config_parse("t.json", text, (size_t)length, &config, &errs), 0), "%s",
              errs.error[0].text);
    config_errors_init(&errs, "t.json");
    missing[0] = 0;
    return config_check_plugins(config, loader, node, &errs, note_missing, missing);
}

static void expect_one(const char *pointer, unsigned line, const char *part)
{
    cr_assert(eq(sz, errs.count, 1));
    cr_assert(zero(int, strcmp(errs.error[0].pointer, pointer)), "%s", errs.error[0].pointer);
    cr_assert(eq(u32, errs.error[0].line, line));
    cr_assert(ne(ptr, strstr(errs.error[0].text, part), NULL), "%s", errs.error[0].text);
}

#define REFUSE "\"refuse\":\"no good\""

Test(config_plugins, all_is_well)
{
    for (int node = -1; node < 2; node++)
        cr_assert(eq(int, check(&(struct parts){0}, node), 0));
    cr_assert(eq(sz, errs.count, 0));
}

Test(config_plugins, nodes_own_section)
{
    // From each side: local for one, remote for the other. From both it is told once.
    for (int node = -1; node < 2; node++) {
        cr_assert(eq(int, check(&(struct parts){.alpha = REFUSE, .wrapper = ""}, node), -EINVAL));
        // The wrapper hears of the nodes' sections, too, and says the same.
        cr_assert(ge(sz, errs.count, 1));
        cr_assert(
            zero(int, strcmp(errs.error[0].pointer, "/managers/0/links/0/nodes/alpha/refuse")),
            "%s", errs.error[0].pointer);
        cr_assert(eq(u32, errs.error[0].line, 6));
        cr_assert(eq(int, check(&(struct parts){.beta = REFUSE}, node), -EINVAL));
        cr_assert(zero(int, strcmp(errs.error[0].pointer, "/managers/0/links/0/nodes/beta/refuse")),
                  "%s", errs.error[0].pointer);
        cr_assert(eq(u32, errs.error[0].line, 7));
    }
}

Test(config_plugins, links_section)
{
    for (int node = -1; node < 2; node++) {
        cr_assert(eq(int, check(&(struct parts){.link = REFUSE}, node), -EINVAL));
        expect_one("/managers/0/links/0/config/refuse", 8, "no good");
    }
}

Test(config_plugins, wrappers_section)
{
    for (int node = -1; node < 2; node++) {
        cr_assert(eq(int, check(&(struct parts){.wrapper = REFUSE}, node), -EINVAL));
        expect_one("/managers/0/links/0/wrapper/config/refuse", 5, "no good");
    }
}

Test(config_plugins, clients_section)
{
    cr_assert(eq(int, check(&(struct parts){.client = REFUSE}, 0), -EINVAL));
    expect_one("/managers/0/clients/0/config/refuse", 9, "no good");
}

Test(config_plugins, policys_section)
{
    cr_assert(eq(int, check(&(struct parts){.balance = REFUSE}, 0), -EINVAL));
    expect_one("/managers/0/policy/config/refuse", 3, "no good");
}

Test(config_plugins, client_that_checks_nothing)
{
    cr_assert(eq(int, check(&(struct parts){.client_plugin = "plain", .client = REFUSE}, 0), 0));
}

Test(config_plugins, refusal_without_a_word)
{
    cr_assert(eq(int, check(&(struct parts){.client = "\"refuse\":\"silent\""}, 0), -EINVAL));
    expect_one("/managers/0/clients/0/config", 9, "\"picky\" refuses this section");
}

Test(config_plugins, missing_plugins)
{
    cr_assert(eq(int, check(&(struct parts){.transport = "none"}, 0), -EINVAL));
    expect_one("/managers/0/links/0/transport", 4, "no none.so in /nowhere/plugins");
    cr_assert(eq(int, check(&(struct parts){.policy = "none"}, 0), -EINVAL));
    expect_one("/managers/0/policy/plugin", 3, "none.so");
    cr_assert(eq(int, check(&(struct parts){.client_plugin = "none"}, 0), -EINVAL));
    expect_one("/managers/0/clients/0/plugin", 9, "none.so");
}

Test(config_plugins, plugin_of_another_kind)
{
    cr_assert(eq(int, check(&(struct parts){.transport = "picky"}, 0), -EINVAL));
    expect_one("/managers/0/links/0/transport", 4, "is a client, where a transport is wanted");
}

Test(config_plugins, client_that_is_not_required_may_be_missing)
{
    cr_assert(eq(int, check(&(struct parts){.client_plugin = "none", .required = "false"}, 0), 0));
    cr_assert(eq(sz, errs.count, 0));
    cr_assert(zero(int, strncmp(missing, "one: there is no plugin", 23)), "%s", missing);
}

Test(config_plugins, all_mistakes_at_once)
{
    cr_assert(eq(int,
                 check(&(struct parts){.policy = "none", .client = REFUSE, .wrapper = REFUSE}, 0),
                 -EINVAL));
    cr_assert(eq(sz, errs.count, 3));
}
