// SPDX-License-Identifier: Apache-2.0
//
// carrickd: the cluster connection managers of one node, as a process. See carrickd(8).
#include "daemon/daemon.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/names.h"

#define CONFIG_DEFAULT CARRICK_SYSCONF_DIR "/carrick/carrick.json"

static const char help[] =
    "carrickd " CARRICK_VERSION ": the cluster connection managers of one node\n"
    "\n"
    "Usage: carrickd [--config FILE] [--node NAME] [--log-level LEVEL] [--boot-stage STAGE]\n"
    "                [--check | --list-files]\n"
    "\n"
    "  -c, --config FILE      the configuration (" CONFIG_DEFAULT ")\n"
    "  -n, --node NAME        which of the two nodes this is (the host's name)\n"
    "  -l, --log-level LEVEL  error, warning, notice, info or debug (as configured)\n"
    "  -b, --boot-stage STAGE initramfs, root, services or serving: what the partner is told at\n"
    "                         first (serving); in an initramfs only clients that are marked\n"
    "                         \"early\" run\n"
    "      --list-files       print the files that it would need, one on each line, and exit\n"
    "  -t, --check            check the configuration, the plugins and the key file, and exit\n"
    "  -f, --foreground       do not go into the background; it never does\n"
    "  -V, --version          print the version\n"
    "  -h, --help             print this\n"
    "\n"
    "SIGHUP reads the configuration again. SIGTERM and SIGINT end the session in order and stop;\n"
    "a second one hurries.\n"
    "\n"
    "Exit: 0 clean stop, 1 failed, 2 wrong usage, 3 wrong configuration, 4 another carrickd runs,\n"
    "5 stopped too late.\n";

enum { OPT_LIST_FILES = 256 };

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"node", required_argument, NULL, 'n'},
    {"log-level", required_argument, NULL, 'l'},
    {"boot-stage", required_argument, NULL, 'b'},
    {"list-files", no_argument, NULL, OPT_LIST_FILES},
    {"check", no_argument, NULL, 't'},
    {"foreground", no_argument, NULL, 'f'},
    {"version", no_argument, NULL, 'V'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

// The answer to an option that ends the program, or -1.
static int take_option(int option, struct daemon_options *options)
{
    switch (option) {
    case 'c':
        options->config_file = optarg;
        return -1;
    case 'n':
        options->node = optarg;
        return -1;
    case 'l':
        options->log_level = log_level_of(optarg);
        if (options->log_level >= 0)
            return -1;
        fprintf(stderr,
                "carrickd: there is no log level \"%s\"; there are: error, warning, notice, "
                "info, debug\n",
                optarg);
        return DAEMON_EXIT_USAGE;
    case 'b':
        options->boot_stage = boot_stage_of(optarg);
        if (options->boot_stage)
            return -1;
        fprintf(stderr,
                "carrickd: there is no boot stage \"%s\"; there are: initramfs, root, services, "
                "serving\n",
                optarg);
        return DAEMON_EXIT_USAGE;
    case OPT_LIST_FILES:
        options->list_files = true;
        return -1;
    case 't':
        options->check = true;
        return -1;
    case 'f':
        return -1;
    case 'V':
        puts("carrickd " CARRICK_VERSION);
        return DAEMON_EXIT_CLEAN;
    case 'h':
        fputs(help, stdout);
        return DAEMON_EXIT_CLEAN;
    default:
        fputs("Try carrickd --help.\n", stderr);
        return DAEMON_EXIT_USAGE;
    }
}

int main(int argc, char **argv)
{
    struct daemon_options options = {.config_file = CONFIG_DEFAULT, .log_level = -1};
    int option;
    while ((option = getopt_long(argc, argv, "c:n:l:b:tfVh", long_options, NULL)) != -1) {
        int answer = take_option(option, &options);
        if (answer >= 0)
            return answer;
    }
    if (optind < argc) {
        fprintf(stderr, "carrickd: \"%s\" is not understood. Try carrickd --help.\n", argv[optind]);
        return DAEMON_EXIT_USAGE;
    }
    // A connection that the other side has closed is an error of the write.
    signal(SIGPIPE, SIG_IGN);
    // Workers are shared by all managers; one that hangs in a device must not hold up the others.
    setenv("UV_THREADPOOL_SIZE", "8", 0);
    return daemon_run(&options);
}
