// SPDX-License-Identifier: Apache-2.0
//
// The command `carrick`: what its sources share. It talks to carrickd over the control socket, except for
// `config check`, `doctor` and `plugin inspect`, which need no daemon and use its own code to say what it would say.
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Documented in carrick(1); scripts rely on them.
enum cli_exit {
    CLI_OK = 0,
    CLI_NOT_WELL = 1, // status: degraded or down; any other command: refused or failed
    CLI_USAGE = 2,
    CLI_UNREACHABLE = 3, // no daemon, no permission, or no answer in time
};

// Which options a command takes beside those that all take.
enum cli_option {
    CLI_OPTION_DAEMON = 1, // --socket --node --config --timeout
    CLI_OPTION_MANAGER = 2,
    CLI_OPTION_WATCH = 4,
    CLI_OPTION_NAMES = 8,
    CLI_OPTION_WHY = 16,
    CLI_OPTION_COUNT = 32,
    CLI_OPTION_NODE = 64, // --node alone
    CLI_OPTION_SYNTAX = 128,
    CLI_OPTION_TAKEOVER = 256, // --dry-run --force
    CLI_OPTION_ALL = 512,
    CLI_OPTION_DOCTOR = 1024, // --timeout --sysroot
};

struct cli_options {
    const char *socket;
    const char *node;
    const char *config;
    const char *manager;
    const char *why;
    const char *sysroot; // of doctor, for tests
    const char *given
        [16]; // names of the options that were given, to refuse those that a command does not take
    unsigned given_bits[16];
    unsigned given_count;
    unsigned timeout_ms;
    unsigned watch_ms; // 0: once
    unsigned count;    // 0: no end
    bool json;
    bool names;
    bool all;
    bool syntax;
    bool help;
    bool dry_run;
    bool force;
};

struct cli_command {
    const char *words; // "session reset"
    const char *operands;
    const char *summary;
    const char *help;
    unsigned options; // enum cli_option
    int operands_min;
    int operands_max;
    int (*run)(struct cli_options *options, int argc, char **argv);
};

// ---- commands (each returns enum cli_exit)

int command_status(struct cli_options *options, int argc, char **argv);
int command_links(struct cli_options *options, int argc, char **argv);
int command_clients(struct cli_options *options, int argc, char **argv);
int command_vis(struct cli_options *options, int argc, char **argv);
int command_plugins(struct cli_options *options, int argc, char **argv);
int command_stats(struct cli_options *options, int argc, char **argv);
int command_events(struct cli_options *options, int argc, char **argv);
int command_config_check(struct cli_options *options, int argc, char **argv);
struct config;
// The node whose name this machine bears; -1: neither.
int config_node_here(const struct config *config);
struct config_errors;
// Adds each group of nvram_shadow whose home is neither node.
void config_homes_check(const struct config *config, struct config_errors *errors);
// Tells of clients of the storage that do not find each other, each with its place in the file.
void config_parts_check(const struct config *config, void (*missing)(void *arg, const char *text),
                        void *arg);
// Tells of directories that are not there, in which clients or arbiters of the node keep something.
void config_places_check(const struct config *config, int node,
                         void (*missing)(void *arg, const char *text), void *arg);
int command_doctor(struct cli_options *options, int argc, char **argv);
int command_plugin_inspect(struct cli_options *options, int argc, char **argv);
int command_session_reset(struct cli_options *options, int argc, char **argv);
int command_link_down(struct cli_options *options, int argc, char **argv);
int command_link_up(struct cli_options *options, int argc, char **argv);
int command_client(struct cli_options *options, int argc, char **argv);
int command_boot_stage(struct cli_options *options, int argc, char **argv);
int command_reload(struct cli_options *options, int argc, char **argv);
int command_version(struct cli_options *options, int argc, char **argv);
int command_failover(struct cli_options *options, int argc, char **argv);
int command_takeover(struct cli_options *options, int argc, char **argv);
int command_handover(struct cli_options *options, int argc, char **argv);
int command_giveback(struct cli_options *options, int argc, char **argv);

// ---- help.c

extern const struct cli_command cli_commands[];
void help_all(void);
void help_command(const struct cli_command *command);
// The command that the words begin with; *used is how many of them it took. NULL: said on stderr what is wrong.
const struct cli_command *command_find(int argc, char **argv, int *used);

// ---- connect.c

struct connection {
    int fd;
    int pid; // of the daemon, 0 when not known
    char path[256];
    char *buffer;
    size_t used, size;
};

// Both say on stderr what is wrong, and return enum cli_exit.
int connection_open(const struct cli_options *options, struct connection *connection);
int connection_send(struct connection *connection, struct json_object *request);
void connection_close(struct connection *connection);

// Waits for one line, until timeout_ms have passed (0: for ever). *line belongs to the connection, until the
// next call.
int connection_line(struct connection *connection, unsigned timeout_ms, const char **line);

// One request and its answer: *result (may be NULL) is the caller's. args may be NULL; it is taken over.
int request_run(const struct cli_options *options, const char *command, struct json_object *args,
                struct json_object **result);
// Says on stderr, or with --json on stdout, why the daemon refused.
void refusal_print(const struct cli_options *options, struct json_object *answer);

// ---- socket.c: where the daemon's socket is. Says on stderr what is wrong.
int socket_find(const struct cli_options *options, char *path, size_t size);

// ---- text.c

void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
void text_age(uint64_t ms, char *text, size_t size);
// Milliseconds of a clock that nobody sets: for deadlines.
uint64_t cli_now_ms(void);
void text_bytes(uint64_t bytes, char *text, size_t size);
void text_latency(double us, char *text, size_t size);
// Copies text, without bytes that could upset a terminal.
void text_clean(const char *text, char *clean, size_t size);
unsigned text_width(const char *text);
// The one among count words that word was probably meant to be, or NULL.
const char *text_meant(const char *word, const char *const *words, size_t count);

// ---- json.c: members of what the daemon said, with a stand-in for what is not there

const char *member_text(struct json_object *object, const char *key);
int64_t member_int(struct json_object *object, const char *key);
double member_number(struct json_object *object, const char *key);
bool member_bool(struct json_object *object, const char *key);
// NULL when it is not there or not of that type.
struct json_object *member_object(struct json_object *object, const char *key);
struct json_object *member_array(struct json_object *object, const char *key);
size_t array_length(struct json_object *array); // 0 for NULL
void json_print(
    struct json_object *value); // on stdout, for people or, when that is no terminal, compact

// ---- table.c

enum paint { PAINT_NONE, PAINT_GOOD, PAINT_WARN, PAINT_BAD, PAINT_FAINT, PAINT_BOLD };

bool paint_is_on(void);
// Prints text in a colour, if stdout is a terminal that wants colours.
void paint_text(enum paint paint, const char *text);

#define TABLE_COLUMNS_MAX 12
#define TABLE_CELL_BYTES 256

struct table {
    unsigned columns;
    unsigned rows;
    unsigned rows_max;
    unsigned indent;
    unsigned right; // bits of the columns that are set to the right
    struct table_cell {
        char text[TABLE_CELL_BYTES];
        enum paint paint;
    } * cells;
};

// headers: names of columns, ended by NULL. The first row.
void table_begin(struct table *table, unsigned indent, const char *const *headers);
void table_row(struct table *table);
// Fills a cell of the last row.
void table_cell(struct table *table, unsigned column, enum paint paint, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
// Prints it, cut to the terminal's width, and frees it.
void table_end(struct table *table);

// ---- verdict.c

enum verdict_level { VERDICT_OK, VERDICT_DEGRADED, VERDICT_DOWN };

struct verdict {
    enum verdict_level level;
    bool since_known;
    uint64_t since_ms; // ago
    char why[512];
};

// Judges the whole of a `status` result.
void verdict_judge(struct json_object *status, struct verdict *verdict);
const char *verdict_word(enum verdict_level level);

#endif
