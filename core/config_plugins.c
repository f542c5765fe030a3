// SPDX-License-Identifier: Apache-2.0
#include "core/config_plugins.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <carrick/arbiter.h>
#include <carrick/client.h>
#include <carrick/policy.h>
#include <carrick/transport.h>

struct check {
    const struct config *config;
    struct loader *loader;
    struct config_errors *errs;
    void (*missing)(void *arg, const struct config_client *client, const char *text);
    void *arg;
};

static void error_init(struct carrick_error *error)
{
    memset(error, 0, sizeof(*error));
    error->struct_size = sizeof(*error);
}

// A plugin need not fill the error; without a text the operator would be left with a place and nothing else.
static const char *error_text(struct carrick_error *error, const char *plugin)
{
    error->text[sizeof(error->text) - 1] = 0;
    error->pointer[sizeof(error->pointer) - 1] = 0;
    if (!error->text[0])
        snprintf(error->text, sizeof(error->text),
                 "the plugin \"%s\" refuses this section and does not say why", plugin);
    return error->text;
}

static struct module *get(struct check *check, uint32_t kind, const char *name, const char *base,
                          const char *key)
{
    struct carrick_error error;
    error_init(&error);
    struct module *module;
    if (loader_get(check->loader, kind, name, &module, &error))
        config_error_in(check->config, check->errs, base, key, error_text(&error, name));
    return module;
}

// ---- links

// The transport names its sections /local, /remote and /config; the file has them elsewhere.
static void report_link(struct check *check, const struct config_link *link, int node,
                        const struct config_section *config, const char *plugin,
                        struct carrick_error *error)
{
    const struct {
        const char *prefix;
        const char *place;
    } sections[] = {
        {"/local", link->nodes[node].pointer},
        {"/remote", link->nodes[1 - node].pointer},
        {"/config", config->pointer},
    };
    const char *text = error_text(error, plugin);
    const char *place = link->pointer;
    const char *rest = error->pointer;
    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
        size_t length = strlen(sections[i].prefix);
        if (!strncmp(error->pointer, sections[i].prefix, length) &&
            (!error->pointer[length] || error->pointer[length] == '/')) {
            place = sections[i].place;
            rest = error->pointer + length;
        }
    }
    config_error_in(check->config, check->errs, place, rest, text);
}

static bool same_error(const struct carrick_error *a, const struct carrick_error *b)
{
    return !strcmp(a->text, b->text);
}

static void check_link_sections(struct check *check, const struct config_link *link, int node,
                                const struct config_section *config, const char *plugin,
                                const struct carrick_transport_ops *ops)
{
    struct carrick_error errors[CONFIG_NODES];
    for (int side = 0; side < CONFIG_NODES; side++) {
        error_init(&errors[side]);
        if (node >= 0 && side != node)
            continue;
        if (!ops->config_check(link->nodes[side].json, link->nodes[1 - side].json, config->json,
                               &errors[side]))
            continue;
        error_text(&errors[side], plugin);
        // Seen from the other side, most mistakes are the same ones.
        if (side > 0 && node < 0 && errors[0].text[0] && same_error(&errors[0], &errors[side]))
            continue;
        report_link(check, link, side, config, plugin, &errors[side]);
    }
}

static void check_link(struct check *check, const struct config_link *link, int node)
{
    struct module *module =
        get(check, CARRICK_KIND_TRANSPORT, link->transport, link->pointer, "/transport");
    if (module)
        check_link_sections(check, link, node, &link->config, link->transport, module_ops(module));
    module_put(module);
    if (!link->wrapper.plugin[0])
        return;
    module = get(check, CARRICK_KIND_TRANSPORT_WRAPPER, link->wrapper.plugin, link->wrapper.pointer,
                 "/plugin");
    if (module) {
        const struct carrick_transport_wrapper_ops *ops = module_ops(module);
        check_link_sections(check, link, node, &link->wrapper.config, link->wrapper.plugin,
                            &ops->transport);
    }
    module_put(module);
}

// ---- clients

static void check_client(struct check *check, const struct config_client *client)
{
    struct carrick_error error;
    error_init(&error);
    struct module *module;
    if (loader_get(check->loader, CARRICK_KIND_CLIENT, client->plugin, &module, &error)) {
        const char *text = error_text(&error, client->plugin);
        if (client->required)
            config_error_in(check->config, check->errs, client->pointer, "/plugin", text);
        else if (check->missing)
            check->missing(check->arg, client, text);
        return;
    }
    const struct carrick_client_ops *ops = module_ops(module);
    int status = ops->config_check(client->config.json, &error);
    if (status && status != CARRICK_ERR_NOT_SUPPORTED) {
        const char *text = error_text(&error, client->plugin);
        config_error_in(check->config, check->errs, client->config.pointer, error.pointer, text);
    }
    module_put(module);
}

// ---- policies: an instance is made and destroyed again, in a world in which nothing happens

static void idle_log(const struct carrick_host *host, int level, const char *format, ...)
{
    (void)host;
    (void)level;
    (void)format;
}

static uint64_t idle_now_ns(const struct carrick_host *host)
{
    (void)host;
    return 0;
}

static void idle_random(const struct carrick_host *host, void *buffer, size_t length)
{
    (void)host;
    memset(buffer, 0, length);
}

static int idle_timer_create(const struct carrick_host *host, void (*fn)(void *arg), void *arg,
                             struct carrick_timer **timer)
{
    (void)host;
    (void)fn;
    (void)arg;
    (void)timer;
    return CARRICK_ERR_NOT_SUPPORTED;
}

static int idle_watch_create(const struct carrick_host *host, int fd, uint32_t events,
                             void (*fn)(void *arg, uint32_t events), void *arg,
                             struct carrick_watch **watch)
{
    (void)host;
    (void)fd;
    (void)events;
    (void)fn;
    (void)arg;
    (void)watch;
    return CARRICK_ERR_NOT_SUPPORTED;
}

static int idle_work(const struct carrick_host *host, void (*work)(void *arg),
                     void (*done)(void *arg), void *arg)
{
    (void)host;
    (void)work;
    (void)done;
    (void)arg;
    return CARRICK_ERR_NOT_SUPPORTED;
}

static void check_policy(struct check *check, const struct config_manager *manager, int node)
{
    const struct config_plugin *policy = &manager->policy;
    int side = node > 0 ? node : 0;
    const struct carrick_host host = {
        .struct_size = sizeof(host),
        .abi_major = CARRICK_ABI_MAJOR,
        .abi_minor = CARRICK_ABI_MINOR,
        .node = check->config->nodes[side],
        .partner = check->config->nodes[1 - side],
        .manager = manager->name,
        .instance = policy->plugin,
        .log = idle_log,
        .now_ns = idle_now_ns,
        .random = idle_random,
        .timer_create = idle_timer_create, // so nothing calls the others of its kind
        .watch_create = idle_watch_create,
        .work = idle_work,
    };
    struct carrick_policy *instance = NULL;
    struct carrick_error error;
    error_init(&error);
    struct module *module =
        get(check, CARRICK_KIND_POLICY, policy->plugin, policy->pointer, "/plugin");
    if (!module)
        return;
    const struct carrick_policy_ops *ops = module_ops(module);
    if (ops->create(&host, policy->config.json, &instance, &error))
        config_error_in(check->config, check->errs, policy->config.pointer, error.pointer,
                        error_text(&error, policy->plugin));
    else
        ops->destroy(instance);
    module_put(module);
}

static void check_arbiter(struct check *check, const struct config_plugin *arbiter)
{
    struct carrick_error error;
    error_init(&error);
    struct module *module =
        get(check, CARRICK_KIND_ARBITER, arbiter->plugin, arbiter->pointer, "/plugin");
    if (!module)
        return;
    const struct carrick_arbiter_ops *ops = module_ops(module);
    int status = ops->config_check(arbiter->config.json, &error);
    if (status && status != CARRICK_ERR_NOT_SUPPORTED)
        config_error_in(check->config, check->errs, arbiter->config.pointer, error.pointer,
                        error_text(&error, arbiter->plugin));
    module_put(module);
}

int config_check_plugins(
    const struct config *config, struct loader *loader, int node, struct config_errors *errs,
    void (*missing)(void *arg, const struct config_client *client, const char *text), void *arg)
{
    struct check check = {config, loader, errs, missing, arg};
    size_t before = errs->count + errs->dropped;
    for (size_t i = 0; i < config->managers_count; i++) {
        const struct config_manager *manager = &config->managers[i];
        check_policy(&check, manager, node);
        if (manager->arbiter.plugin[0])
            check_arbiter(&check, &manager->arbiter);
        for (size_t j = 0; j < manager->links_count; j++)
            check_link(&check, &manager->links[j], node);
        for (size_t j = 0; j < manager->clients_count; j++)
            check_client(&check, &manager->clients[j]);
    }
    return errs->count + errs->dropped > before ? -EINVAL : 0;
}
