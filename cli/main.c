// SPDX-License-Identifier: Apache-2.0
//
// Options and dispatch. Options may stand before or after the command's words.

#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPT_SOCKET = 256,
    OPT_NODE,
    OPT_CONFIG,
    OPT_TIMEOUT,
    OPT_MANAGER,
    OPT_JSON,
    OPT_WATCH,
    OPT_NAMES,
    OPT_WHY,
    OPT_COUNT,
    OPT_ALL,
    OPT_SYNTAX,
    OPT_DRY_RUN,
    OPT_FORCE,
    OPT_SYSROOT,
};

static const struct option long_options[] = {
    {"socket", required_argument, NULL, OPT_SOCKET},
    {"node", required_argument, NULL, OPT_NODE},
    {"config", required_argument, NULL, OPT_CONFIG},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"manager", required_argument, NULL, OPT_MANAGER},
    {"json", no_argument, NULL, OPT_JSON},
    {"watch", optional_argument, NULL, OPT_WATCH},
    {"names", no_argument, NULL, OPT_NAMES},
    {"why", required_argument, NULL, OPT_WHY},
    {"count", required_argument, NULL, OPT_COUNT},
    {"all", no_argument, NULL, OPT_ALL},
    {"syntax-only", no_argument, NULL, OPT_SYNTAX},
    {"dry-run", no_argument, NULL, OPT_DRY_RUN},
    {"force", no_argument, NULL, OPT_FORCE},
    {"sysroot", required_argument, NULL, OPT_SYSROOT},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

// Seconds, also fractions of them, as milliseconds.
static bool parse_seconds(const char *text, unsigned *ms)
{
    char *end;
    errno = 0;
    double seconds = strtod(text, &end);
    if (errno || end == text || *end || !(seconds >= 0.05 && seconds <= 86400))
        return false;
    *ms = (unsigned)(seconds * 1000 + 0.5);
    return true;
}

static bool parse_count(const char *text, unsigned *count)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (errno || end == text || *end || text[0] == '-' || number < 1 || number > 1000000000)
        return false;
    *count = (unsigned)number;
    return true;
}

static void note_given(struct cli_options *options, const char *name, unsigned bit)
{
    size_t max = sizeof options->given / sizeof options->given[0];
    if (options->given_count < max) {
        options->given[options->given_count] = name;
        options->given_bits[options->given_count++] = bit;
    }
}

static bool take_option(struct cli_options *options, int option, bool *version)
{
    switch (option) {
    case OPT_SOCKET:
        options->socket = optarg;
        note_given(options, "--socket", CLI_OPTION_DAEMON);
        return true;
    case OPT_NODE:
        options->node = optarg;
        note_given(options, "--node", CLI_OPTION_DAEMON | CLI_OPTION_NODE);
        return true;
    case OPT_CONFIG:
        options->config = optarg;
        note_given(options, "--config", CLI_OPTION_DAEMON);
        return true;
    case OPT_TIMEOUT:
        note_given(options, "--timeout", CLI_OPTION_DAEMON | CLI_OPTION_DOCTOR);
        if (parse_seconds(optarg, &options->timeout_ms))
            return true;
        complain("--timeout wants seconds, 0.05 to 86400, not '%s'", optarg);
        return false;
    case OPT_MANAGER:
        options->manager = optarg;
        note_given(options, "--manager", CLI_OPTION_MANAGER);
        return true;
    case OPT_JSON:
        options->json = true;
        return true;
    case OPT_WATCH:
        note_given(options, "--watch", CLI_OPTION_WATCH);
        options->watch_ms = 2000;
        if (!optarg || parse_seconds(optarg, &options->watch_ms))
            return true;
        complain("--watch wants seconds, 0.05 to 86400, not '%s'", optarg);
        return false;
    case OPT_NAMES:
        options->names = true;
        note_given(options, "--names", CLI_OPTION_NAMES);
        return true;
    case OPT_WHY:
        options->why = optarg;
        note_given(options, "--why", CLI_OPTION_WHY);
        return true;
    case OPT_COUNT:
        note_given(options, "--count", CLI_OPTION_COUNT);
        if (parse_count(optarg, &options->count))
            return true;
        complain("--count wants a number of events from 1, not '%s'", optarg);
        return false;
    case OPT_ALL:
        options->all = true;
        note_given(options, "--all", CLI_OPTION_ALL);
        return true;
    case OPT_SYNTAX:
        options->syntax = true;
        note_given(options, "--syntax-only", CLI_OPTION_SYNTAX);
        return true;
    case OPT_DRY_RUN:
        options->dry_run = true;
        note_given(options, "--dry-run", CLI_OPTION_TAKEOVER);
        return true;
    case OPT_FORCE:
        options->force = true;
        note_given(options, "--force", CLI_OPTION_TAKEOVER);
        return true;
    case OPT_SYSROOT:
        options->sysroot = optarg;
        note_given(options, "--sysroot", CLI_OPTION_DOCTOR);
        return true;
    case 'h':
        options->help = true;
        return true;
    case 'V':
        *version = true;
        return true;
    default:
        return false;
    }
}

// `--watch 5`: getopt takes an optional argument only as `--watch=5`.
static void take_watch_operand(struct cli_options *options, const struct cli_command *command,
                               int *argc, char **argv)
{
    if (options->watch_ms && (command->options & CLI_OPTION_WATCH) &&
        *argc == command->operands_max + 1 && parse_seconds(argv[*argc - 1], &options->watch_ms))
        --*argc;
}

static int run_command(struct cli_options *options, int argc, char **argv)
{
    int used;
    const struct cli_command *command = command_find(argc, argv, &used);
    if (!command)
        return CLI_USAGE;
    argc -= used;
    argv += used;
    if (options->help) {
        help_command(command);
        return CLI_OK;
    }
    for (unsigned i = 0; i < options->given_count; i++) {
        if (!(options->given_bits[i] & command->options)) {
            complain("'%s' takes no option %s; see 'carrick %s --help'", command->words,
                     options->given[i], command->words);
            return CLI_USAGE;
        }
    }
    take_watch_operand(options, command, &argc, argv);
    if (argc < command->operands_min || argc > command->operands_max) {
        complain("%s; usage: carrick %s%s%s",
                 argc < command->operands_min ? "something is missing" : "too many words",
                 command->words, command->operands[0] ? " " : "", command->operands);
        return CLI_USAGE;
    }
    return command->run(options, argc, argv);
}

int main(int argc, char **argv)
{
    struct cli_options options = {0};
    bool version = false;
    int option;

    setlocale(LC_CTYPE, "");
    while ((option = getopt_long(argc, argv, "hV", long_options, NULL)) != -1) {
        if (!take_option(&options, option, &version)) {
            fputs("See 'carrick --help'.\n", stderr);
            return CLI_USAGE;
        }
    }
    argc -= optind;
    argv += optind;

    if (version) {
        puts("carrick " CARRICK_VERSION);
        return CLI_OK;
    }
    if (argc > 0 && strcmp(argv[0], "help") == 0) {
        options.help = true;
        argc--;
        argv++;
    }
    if (argc == 0) {
        if (options.help) {
            help_all();
            return CLI_OK;
        }
        complain("what shall be done? 'carrick status' is a good start, 'carrick --help' lists the "
                 "rest");
        return CLI_USAGE;
    }
    int result = run_command(&options, argc, argv);
    if (fflush(stdout) || ferror(stdout)) {
        complain("cannot write the output: %s", strerror(errno));
        return result ? result : CLI_NOT_WELL;
    }
    return result;
}
