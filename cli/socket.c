// SPDX-License-Identifier: Apache-2.0
//
// Where the daemon's control socket is: said, else in the configuration, else the only one on this machine.

#include "cli/cli.h"
#include "core/config.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RUN_DIR "/run/carrick"
#define CONFIG_DEFAULT CARRICK_SYSCONF_DIR "/carrick/carrick.json"

static int put_path(char *path, size_t size, const char *text)
{
    if (strlen(text) >= size) {
        complain("the socket's path is too long: '%s'", text);
        return CLI_USAGE;
    }
    strcpy(path, text);
    return CLI_OK;
}

// The node that this machine is: its host name, with or without the domain.
static bool node_of_host(const struct config *config, char *node, size_t size)
{
    char host[256] = "";
    if (gethostname(host, sizeof host - 1) != 0)
        return false;
    if (config_node_index(config, host) < 0)
        host[strcspn(host, ".")] = 0;
    if (config_node_index(config, host) < 0)
        return false;
    snprintf(node, size, "%.*s", (int)size - 1, host);
    return true;
}

// Why the configuration does not tell which socket is meant.
struct untold {
    char text[CONFIG_POINTER_SIZE + CONFIG_TEXT_SIZE + 300];
};

// CLI_OK with path[0] == 0: this configuration does not tell.
static int from_config(const struct cli_options *options, const struct config *config, char *path,
                       size_t size, struct untold *untold)
{
    char node[CONFIG_NAME_SIZE] = "";
    const char *socket = config->control.socket;
    bool of_node = strstr(socket, "%n") != NULL;

    if (options->node && config_node_index(config, options->node) < 0) {
        complain("%s has no node '%s'; it has '%s' and '%s'", config->file, options->node,
                 config->nodes[0], config->nodes[1]);
        return CLI_USAGE;
    }
    if (options->node)
        snprintf(node, sizeof node, "%s", options->node);
    else if (of_node && !node_of_host(config, node, sizeof node)) {
        if (!options->config) {
            snprintf(untold->text, sizeof untold->text,
                     "this machine is neither '%s' nor '%s' of %s", config->nodes[0],
                     config->nodes[1], config->file);
            return CLI_OK;
        }
        complain("this machine is neither '%s' nor '%s'; say which one is meant with --node",
                 config->nodes[0], config->nodes[1]);
        return CLI_USAGE;
    }
    char *expanded = config_expand_node(socket, node);
    if (!expanded) {
        complain("out of memory");
        return CLI_NOT_WELL;
    }
    int result = put_path(path, size, expanded);
    free(expanded);
    return result;
}

static int find_by_config(const struct cli_options *options, char *path, size_t size,
                          struct untold *untold)
{
    const char *file = options->config ? options->config : CONFIG_DEFAULT;
    struct config *config;
    struct config_errors *errors = malloc(sizeof *errors);

    if (!errors) {
        complain("out of memory");
        return CLI_NOT_WELL;
    }
    int result = CLI_OK;
    if (config_load(file, &config, errors) == 0) {
        result = from_config(options, config, path, size, untold);
        config_free(config);
    } else {
        config_error_format(errors, 0, untold->text, sizeof untold->text);
    }
    if (untold->text[0] && options->config) {
        fprintf(stderr, "%s\n", untold->text);
        complain("so the socket is not known; say it with --socket");
        result = CLI_USAGE;
    }
    free(errors);
    return result;
}

static int is_socket_name(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return length > 5 && strcmp(entry->d_name + length - 5, ".sock") == 0;
}

static int find_in_run_dir(char *path, size_t size, const struct untold *untold)
{
    struct dirent **entries = NULL;
    int count = scandir(RUN_DIR, &entries, is_socket_name, alphasort);
    int result = CLI_UNREACHABLE;

    if (count == 1) {
        char text[sizeof RUN_DIR + 256];
        snprintf(text, sizeof text, RUN_DIR "/%s", entries[0]->d_name);
        result = put_path(path, size, text);
    } else if (count > 1) {
        fprintf(stderr, "carrick: several daemons have a socket in " RUN_DIR ":");
        for (int i = 0; i < count; i++) {
            fprintf(stderr, " %.*s", (int)strlen(entries[i]->d_name) - 5, entries[i]->d_name);
        }
        fputs("; choose one with --node\n", stderr);
        result = CLI_USAGE;
    } else if (count < 0 && errno == EACCES) {
        complain("no permission to look into " RUN_DIR "; try as root");
    } else {
        complain("found no daemon: " RUN_DIR
                 " holds no socket, and %s. Is carrickd running? Else say --node, "
                 "--config or --socket",
                 untold->text);
    }
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    return result;
}

int socket_find(const struct cli_options *options, char *path, size_t size)
{
    const char *from_environment = getenv("CARRICK_SOCKET");
    struct untold untold = {0};

    path[0] = 0;
    if (options->socket)
        return put_path(path, size, options->socket);
    // A node or a configuration on the command line is nearer than the environment.
    if (from_environment && from_environment[0] && !options->node && !options->config)
        return put_path(path, size, from_environment);
    int result = find_by_config(options, path, size, &untold);
    if (result != CLI_OK || path[0])
        return result;
    if (options->node) {
        char text[sizeof RUN_DIR + 64];
        if (strlen(options->node) >= CONFIG_NAME_SIZE || strchr(options->node, '/')) {
            complain("'%s' is no name of a node", options->node);
            return CLI_USAGE;
        }
        snprintf(text, sizeof text, RUN_DIR "/%s.sock", options->node);
        return put_path(path, size, text);
    }
    return find_in_run_dir(path, size, &untold);
}
