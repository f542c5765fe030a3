// SPDX-License-Identifier: Apache-2.0
//
// What comes before anything is opened or started: all that can be found wrong is found here, and said.
#include "daemon/daemon.h"
#include "daemon/process.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/config_plugins.h"

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
    va_list args;
    fputs("carrickd: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

static void say_errors(const struct config_errors *errs)
{
    char text[CONFIG_POINTER_SIZE + CONFIG_TEXT_SIZE + 320];
    for (size_t i = 0; i < errs->count; i++) {
        config_error_format(errs, i, text, sizeof(text));
        fprintf(stderr, "%s\n", text);
    }
    if (errs->dropped)
        fprintf(stderr, "and %zu more\n", errs->dropped);
}

// ---- which node this is

static enum daemon_exit find_node(struct daemon *daemon)
{
    const struct config *config = daemon->config;
    const char *wanted = daemon->options.node;
    char host[256] = "";
    if (!wanted) {
        if (gethostname(host, sizeof(host) - 1)) {
            say("the host has no name that can be had; say --node %s or --node %s",
                config->nodes[0], config->nodes[1]);
            return DAEMON_EXIT_USAGE;
        }
        // With the domain or without it.
        if (config_node_index(config, host) < 0)
            host[strcspn(host, ".")] = 0;
        wanted = host;
    }
    daemon->node = config_node_index(config, wanted);
    if (daemon->node >= 0)
        return DAEMON_EXIT_CLEAN;
    say("%s names the nodes \"%s\" and \"%s\"; %s \"%s\" is neither%s", config->file,
        config->nodes[0], config->nodes[1], daemon->options.node ? "--node" : "the host's name",
        wanted, daemon->options.node ? "" : ": say --node");
    return DAEMON_EXIT_USAGE;
}

// ---- configuration and plugins

static enum daemon_exit make_loader(struct daemon *daemon)
{
    static const char *const standard[] = {CARRICK_PLUGIN_DIR};
    const struct config *config = daemon->config;
    daemon->loader =
        config->plugin_dirs_count
            ? loader_create((const char *const *)config->plugin_dirs, config->plugin_dirs_count)
            : loader_create(standard, 1);
    if (daemon->loader)
        return DAEMON_EXIT_CLEAN;
    say("no memory");
    return DAEMON_EXIT_FAILED;
}

// The log is not there yet before the start; a client that is left out is said by its manager, too.
static void note_missing(void *arg, const struct config_client *client, const char *text)
{
    const struct daemon *daemon = arg;
    if (daemon->options.check)
        say("the client \"%s\", which is not required, would be left out: %s", client->name, text);
}

int prepare_check(struct daemon *daemon, const struct config *config, struct config_errors *errs)
{
    return config_check_plugins(config, daemon->loader, daemon->node, errs, note_missing, daemon);
}

void prepare_stage(const struct daemon *daemon, struct config *config)
{
    if (daemon->options.boot_stage == CARRICK_BOOT_INITRAMFS)
        config_keep_early(config);
}

enum daemon_exit prepare_config(struct daemon *daemon)
{
    struct config_errors *errs = malloc(sizeof(*errs));
    if (!errs) {
        say("no memory");
        return DAEMON_EXIT_FAILED;
    }
    enum daemon_exit result = DAEMON_EXIT_CONFIG;
    if (config_load(daemon->options.config_file, &daemon->config, errs)) {
        say_errors(errs);
    } else {
        prepare_stage(daemon, daemon->config);
        result = find_node(daemon);
        if (result == DAEMON_EXIT_CLEAN)
            result = make_loader(daemon);
        config_errors_init(errs, daemon->config->file);
        if (result == DAEMON_EXIT_CLEAN && prepare_check(daemon, daemon->config, errs)) {
            say_errors(errs);
            result = DAEMON_EXIT_CONFIG;
        }
    }
    free(errs);
    return result;
}

// ---- the key

enum daemon_exit prepare_key(struct daemon *daemon)
{
    struct carrick_error error = {.struct_size = sizeof(error)};
    if (!key_file_read(daemon->config->key_file, &daemon->key, &error))
        return DAEMON_EXIT_CLEAN;
    struct config_errors *errs = malloc(sizeof(*errs));
    if (errs) {
        config_errors_init(errs, daemon->config->file);
        config_error_at(daemon->config, errs, "/key_file", error.text);
        say_errors(errs);
    } else {
        say("%s", error.text);
    }
    free(errs);
    return DAEMON_EXIT_CONFIG;
}

// ---- the files that make a daemon: for who puts them into an initramfs

static bool list_plugin(struct daemon *daemon, uint32_t kind, const char *name)
{
    struct carrick_error error = {.struct_size = sizeof(error)};
    struct module *module;
    if (!name[0])
        return true;
    if (loader_get(daemon->loader, kind, name, &module, &error)) {
        say("%s", error.text);
        return false;
    }
    puts(module_path(module));
    module_put(module);
    return true;
}

// Whether a client of it is a process of its own, which wants that program.
static bool has_process(const struct config_manager *manager)
{
    for (size_t i = 0; i < manager->clients_count; i++)
        if (manager->clients[i].isolation == CONFIG_ISOLATION_PROCESS)
            return true;
    return false;
}

static bool list_plugins(struct daemon *daemon, const struct config_manager *manager)
{
    bool good = list_plugin(daemon, CARRICK_KIND_POLICY, manager->policy.plugin) &&
                list_plugin(daemon, CARRICK_KIND_ARBITER, manager->arbiter.plugin);
    for (size_t i = 0; good && i < manager->links_count; i++)
        good =
            list_plugin(daemon, CARRICK_KIND_TRANSPORT, manager->links[i].transport) &&
            list_plugin(daemon, CARRICK_KIND_TRANSPORT_WRAPPER, manager->links[i].wrapper.plugin);
    for (size_t i = 0; i < manager->clients_count; i++) {
        bool there = list_plugin(daemon, CARRICK_KIND_CLIENT, manager->clients[i].plugin);
        good = good && (there || !manager->clients[i].required);
    }
    return good;
}

enum daemon_exit prepare_list_files(struct daemon *daemon)
{
    puts(daemon->config->file);
    puts(daemon->config->key_file);
    bool process = false;
    for (size_t i = 0; i < daemon->config->managers_count; i++)
        process |= has_process(&daemon->config->managers[i]);
    if (process) {
        char program[PATH_MAX];
        process_program(program, sizeof(program));
        puts(program);
    }
    for (size_t i = 0; i < daemon->config->managers_count; i++)
        if (!list_plugins(daemon, &daemon->config->managers[i]))
            return DAEMON_EXIT_CONFIG;
    return DAEMON_EXIT_CLEAN;
}

// ---- limits

// Regions, connections and clients take descriptors by the thousand; the soft limit is made for programs that use
// select(2), which this one does not.
void prepare_limits(void)
{
    struct rlimit limit;
    if (!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}
