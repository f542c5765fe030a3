// SPDX-License-Identifier: Apache-2.0
//
// The table of commands, their help, and how a command is found from its words.

#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#define ASKS (CLI_OPTION_DAEMON | CLI_OPTION_MANAGER)

const struct cli_command cli_commands[] = {
    {"status", "", "how this node and its session are, on one screen",
     "The first line says OK, DEGRADED or DOWN, since when, and why. OK: every session is up, "
     "every link\n"
     "and client is ready. DEGRADED: the session is up, but something is missing beneath it. DOWN: "
     "there is\n"
     "no session. The exit status is 0 for OK and 1 for the two others.\n",
     ASKS | CLI_OPTION_WATCH, 0, 0, command_status},
    {"links", "", "every link: state, cause, age, latency, load",
     "A link that is 'up' but not eligible came back a moment ago and is held until it proves "
     "steady.\n",
     ASKS | CLI_OPTION_NAMES, 0, 0, command_links},
    {"clients", "", "every client: state, VIs, regions, overstays, its own words",
     "'waiting' is a client whose partner is there but not ready, 'no-partner' one that the "
     "partner's\n"
     "configuration does not have. Overstays count callbacks that took longer than overstay_us.\n",
     ASKS | CLI_OPTION_NAMES, 0, 0, command_clients},
    {"vis", "", "every virtual interface: its link, what is in flight",
     "A stalled VI lost its link; its operations are kept and go on over another one.\n", ASKS, 0,
     0, command_vis},
    {"plugins", "", "the plugins that the daemon has loaded", "", CLI_OPTION_DAEMON, 0, 0,
     command_plugins},
    {"stats", "", "counters", "", ASKS, 0, 0, command_stats},
    {"events", "", "follow what happens, one line for each event",
     "Ends with Ctrl-C, after --count events, or with the daemon. The steps in between, such as\n"
     "each attempt to connect, are shown with --all. With --json each line is one object, and\n"
     "nothing is left out.\n",
     ASKS | CLI_OPTION_COUNT | CLI_OPTION_ALL, 0, 0, command_events},
    {"config check", "FILE", "check a configuration; needs no daemon",
     "Prints each mistake as FILE:LINE:COLUMN with what was expected. After the file itself, the "
     "plugins\n"
     "that it names are loaded and asked for their sections, for both nodes or the one of --node;\n"
     "--syntax-only leaves that out. The key file is left to 'carrickd --check'. The exit status\n"
     "is 0 if a daemon would take the file, else 1.\n",
     CLI_OPTION_NODE | CLI_OPTION_SYNTAX, 1, 1, command_config_check},
    {"doctor", "[FILE]", "what on this node stands in the way of RDMA and of a good pair",
     "Needs no daemon. FILE is the configuration; the installed one when none is named. Looks at "
     "the key, the\n"
     "kernel modules, the RDMA devices and their ports, each link's address, interface, MTU and "
     "GID, whether\n"
     "the partner's daemon answers, over RDMA as well, whether packets as long as the MTU reach "
     "it, "
     "locked memory,\n"
     "huge pages and the room for logs. Each finding is 'ok', 'warning' or 'problem', with the "
     "command that mends\n"
     "it. The exit status is 0 when there is no problem, else 1.\n",
     CLI_OPTION_NODE | CLI_OPTION_DOCTOR, 0, 1, command_doctor},
    {"plugin inspect", "FILE.so|NAME", "what a plugin is, and whether the daemon takes it",
     "Needs no daemon. A name alone is looked for where plugins are installed. The file is loaded "
     "and left\n"
     "again, so its constructors run. The exit status "
     "is 0 if a\n"
     "daemon of this version takes the plugin, else 1.\n",
     0, 1, 1, command_plugin_inspect},
    {"session reset", "", "end the session in order and bring it up again",
     "Clients are warned and have until the configured deadline. Nothing that was acknowledged is "
     "lost.\n",
     ASKS | CLI_OPTION_WHY, 0, 0, command_session_reset},
    {"link down", "NAME", "take a link out of use until 'link up'",
     "Its VIs go over to the other links. Taking down the last one ends the session.\n", ASKS, 1, 1,
     command_link_down},
    {"link up", "NAME", "put a link back into use", "", ASKS, 1, 1, command_link_up},
    {"client", "NAME WORD [JSON]", "hand a command to a client, and print its answer",
     "Which words there are is the client's own matter. JSON is one value, handed over as it is.\n",
     ASKS, 2, 3, command_client},
    {"failover", "[timers]", "the failover monitor: partner, groups, or its timer budget",
     "'protected': two copies hold every acknowledged write. 'alone': one does. 'stalled': writes "
     "wait for the\n"
     "partner. 'resyncing', 'inconsistent': a copy is being brought up to date. 'stale', "
     "'diverged': this copy\n"
     "cannot be served. 'waiting': see the reason. man carrick-failover.\n",
     ASKS, 0, 1, command_failover},
    {"takeover", "GROUP", "serve a group here, of which the owner is lost",
     "Refused with every reason that speaks against it. --dry-run only lists them, with what would "
     "be done.\n"
     "--force goes on against them, and may lose acknowledged writes: --dry-run says which, and "
     "what not\n"
     "even --force goes against.\n",
     ASKS | CLI_OPTION_TAKEOVER, 1, 1, command_takeover},
    {"handover", "GROUP", "give a group that is served here to the partner",
     "Nothing is lost; those who use it see one reconnect. With no link left, this node stops "
     "serving, and the\n"
     "partner takes over.\n",
     ASKS, 1, 1, command_handover},
    {"giveback", "GROUP", "hand a group back to its home node",
     "As 'handover', at the node that is not its home.\n", ASKS, 1, 1, command_giveback},
    {"boot-stage", "STAGE", "tell the partner how far this node's boot has come",
     "STAGE is initramfs, root, services or serving. The units and the initramfs say it by "
     "themselves; see\n"
     "carrickd(8). A partner that waits for this node waits longer while it is seen to boot.\n",
     ASKS, 1, 1, command_boot_stage},
    {"reload", "", "have the daemon read its configuration again",
     "What cannot change while it runs is refused as a whole, with the reason; the daemon goes on "
     "as before.\n"
     "A client that cannot take its new section while it runs keeps the old one until the next "
     "start; the\n"
     "daemon's log names it.\n",
     CLI_OPTION_DAEMON, 0, 0, command_reload},
    {"version", "", "versions of this command and of the daemon", "", CLI_OPTION_DAEMON, 0, 0,
     command_version},
    {0},
};

static void print_daemon_options(unsigned options)
{
    if (options & CLI_OPTION_MANAGER)
        puts("  --manager NAME     only this manager");
    if (options & CLI_OPTION_DAEMON) {
        puts("  --socket PATH      the daemon's control socket (also: CARRICK_SOCKET in the "
             "environment)\n"
             "  --node NAME        the node whose daemon is meant, where several run on one "
             "machine\n"
             "  --config FILE      the configuration that names the socket\n"
             "  --timeout SECONDS  how long to wait for an answer (default 5; for 'client', "
             "'failover',\n"
             "                     'takeover', 'handover' and 'giveback' 35)");
    }
}

void help_all(void)
{
    puts("carrick: asks and commands carrickd, the cluster connection manager\n\n"
         "usage: carrick [OPTION...] COMMAND [ARGUMENT...]\n\ncommands:");
    for (const struct cli_command *command = cli_commands; command->words; command++) {
        char left[64];
        snprintf(left, sizeof left, "%s%s%s", command->words, command->operands[0] ? " " : "",
                 command->operands);
        printf("  %-24s %s\n", left, command->summary);
    }
    puts("\noptions:\n"
         "  --json             print JSON, for programs\n"
         "  --help             this help, or that of the command\n"
         "  --version          the version of this command");
    print_daemon_options(CLI_OPTION_DAEMON | CLI_OPTION_MANAGER);
    puts("\nexit status: 0 well; 1 degraded, down or refused; 2 wrong usage; 3 daemon not "
         "reachable\n"
         "\nMore: man carrick");
}

void help_command(const struct cli_command *command)
{
    printf("carrick %s: %s\n\nusage: carrick %s%s%s [OPTION...]\n", command->words,
           command->summary, command->words, command->operands[0] ? " " : "", command->operands);
    if (command->help[0])
        printf("\n%s", command->help);
    puts("\noptions:\n  --json             print JSON, for programs");
    if (command->options & CLI_OPTION_WATCH)
        puts("  --watch [SECONDS]  again and again, every 2 seconds or as said");
    if (command->options & CLI_OPTION_NAMES)
        puts("  --names            only the names, one on each line");
    if (command->options & CLI_OPTION_COUNT)
        puts("  --count N          end after N events");
    if (command->options & CLI_OPTION_ALL)
        puts("  --all              also the steps in between (level debug)");
    if (command->options & CLI_OPTION_WHY)
        puts("  --why TEXT         the reason, for the logs of both nodes");
    if (command->options & CLI_OPTION_DOCTOR)
        puts("  --node NAME        which node this is (the host's name)\n"
             "  --timeout SECONDS  how long to wait for the partner on each link (default 1)");
    else if (command->options & CLI_OPTION_NODE)
        puts("  --node NAME        ask the plugins for this node only");
    if (command->options & CLI_OPTION_TAKEOVER)
        puts("  --dry-run          only say what would be done, and what speaks against it\n"
             "  --force            against all reasons; what would be lost --dry-run says");
    if (command->options & CLI_OPTION_SYNTAX)
        puts("  --syntax-only      do not load the plugins");
    print_daemon_options(command->options);
}

// How many words of argv the command's words are, when they stand there; else 0.
static int words_match(const char *words, int argc, char **argv)
{
    int used = 0;
    while (*words) {
        size_t length = strcspn(words, " ");
        if (used == argc || strlen(argv[used]) != length || memcmp(argv[used], words, length) != 0)
            return 0;
        used++;
        words += length;
        words += *words == ' ';
    }
    return used;
}

static bool is_group(const char *word, const struct cli_command *command)
{
    size_t length = strlen(word);
    return strncmp(command->words, word, length) == 0 && command->words[length] == ' ';
}

// Says which words there are after the first, or what the first may have been meant to be.
static void complain_unknown(int argc, char **argv)
{
    const char *words[64];
    size_t count = 0;
    bool group = false;
    for (const struct cli_command *command = cli_commands; command->words; command++) {
        if (!is_group(argv[0], command))
            continue;
        if (!group)
            fprintf(stderr, "carrick: %s wants one more word:", argv[0]);
        group = true;
        fprintf(stderr, " '%s%s%s'", command->words, command->operands[0] ? " " : "",
                command->operands);
    }
    if (group) {
        fputc('\n', stderr);
        return;
    }
    char firsts[64][32];
    for (const struct cli_command *command = cli_commands; command->words && count < 64;
         command++) {
        snprintf(firsts[count], sizeof firsts[count], "%.*s", (int)strcspn(command->words, " "),
                 command->words);
        words[count] = firsts[count];
        count++;
    }
    const char *meant = text_meant(argv[0], words, count);
    (void)argc;
    if (meant)
        complain("there is no command '%s'; did you mean '%s'?", argv[0], meant);
    else
        complain("there is no command '%s'; 'carrick --help' lists them", argv[0]);
}

const struct cli_command *command_find(int argc, char **argv, int *used)
{
    for (const struct cli_command *command = cli_commands; command->words; command++) {
        *used = words_match(command->words, argc, argv);
        if (*used)
            return command;
    }
    complain_unknown(argc, argv);
    return NULL;
}
