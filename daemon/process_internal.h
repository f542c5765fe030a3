// SPDX-License-Identifier: Apache-2.0
#ifndef DAEMON_PROCESS_INTERNAL_H
#define DAEMON_PROCESS_INTERNAL_H

#include <sys/types.h>

#include "core/config.h"
#include "daemon/process.h"
#include "host/channel.h"

#define PROCESS_CREATE_MS 30000u // what create of a plugin may take
#define PROCESS_DESTROY_MS 1000u // its end, then it is killed
#define PROCESS_BACKOFF_MIN_MS 100u
#define PROCESS_BACKOFF_MAX_MS 30000u
#define PROCESS_BEAT_MS 100u   // at most: between two moves of the beat
#define PROCESS_TICK_MS 250u   // at most: between two looks at the beat
#define PROCESS_CALM_MS 30000u // a process that ran for so long begins with the shortest wait again
#define PROCESS_WAITING_BYTES_MAX                                                                  \
    (64u << 20) // events that do not fit into a ring, before it counts as hung
#define PROCESS_COMMANDS_MAX 64u
#define PROCESS_TURN 256u // records, and messages, that are looked at in one turn of the loop

enum process_state {
    PROCESS_ABSENT,   // waits to be started
    PROCESS_STARTING, // clients are being made
    PROCESS_RUNNING,
    PROCESS_KILLING, // its exit is awaited
};

// What waits for room: in a ring, or in the socket.
struct process_event {
    struct process_event *next;
    uint32_t type, length;
    uint8_t data[];
};

struct process_outgoing {
    struct process_outgoing *next;
    struct channel_message message;
};

// The places of region numbers. A number is place | generation << 16.
struct region_slot {
    struct carrick_region *region;
    uint32_t generation;
    char *path; // of region_open: kept when the process ends, for the one that follows
    bool used;  // the process that runs knows of it
    uint32_t kind;
    bool zeroed; // nobody has been told yet that it was made
};

struct vi_slot {
    struct carrick_vi *vi; // NULL: there is none
    uint32_t generation;
};

enum asked {
    ASKED_NOT,
    ASKED_WAITS,
    ASKED_ANSWERED,
};

struct provided {
    enum asked asked;
    uint32_t access;
    uint64_t bytes;
    int status;
    int fd;          // own, or -1
    uint64_t region; // number, or CHANNEL_NO_REGION
    uint64_t offset;
};

struct carrick_client {
    struct process *process;
    uint32_t index; // in the process
    const struct carrick_client_host *host;
    struct env *env;
    char name[CARRICK_NAME_MAX + 1];
    char plugin[CARRICK_NAME_MAX + 1];
    char *directory;
    char *config;
    bool created; // by the process that runs
    bool destroyed;
    int create_status;
    struct carrick_error *create_error;
    // rings
    int shared_fd;
    struct channel_shared *shared;
    struct channel_ring ops, events;
    struct process_event *waiting, **waiting_end;
    uint64_t waiting_bytes;
    // memory
    struct region_slot *regions; // [CHANNEL_REGIONS_MAX]
    // bring-up
    enum asked described;
    uint64_t described_ns;
    int describe_status;
    uint32_t vis_wanted, version, want_count;
    struct channel_want *wants;
    char *terms;
    struct provided *provided; // [CARRICK_CLIENT_REGIONS_MAX]
    bool left_out;             // the session has to be brought up again to have it
    bool
        gives_memory; // something of its own is to be behind a region of the session that is being made
    bool gave_memory; // … is behind a region of this session
    // session
    bool ready;
    uint32_t here_count;
    struct carrick_region *const *here;
    uint32_t generation;
    struct vi_slot *vis; // [CARRICK_CLIENT_VIS_MAX]
    struct channel_completed gathered;
    uint64_t tokens[PROCESS_COMMANDS_MAX]; // of commands that are not answered yet
    uint32_t token_count;
};

struct process {
    struct processes *all;
    struct process *next;
    char name[CARRICK_NAME_MAX + 1];
    const struct carrick_host *base; // of its first client
    uint32_t hang_ms;
    enum process_state state;
    uint32_t life; // grows with each start
    pid_t pid;
    int pidfd, socket, event_in, event_out, page_fd;
    struct channel_page *page;
    struct carrick_watch *watch_pid, *watch_socket, *watch_event;
    struct carrick_timer *tick, *again;
    struct carrick_client *clients[CHANNEL_CLIENTS_MAX];
    uint32_t client_count, made;
    struct process_outgoing *outgoing, **outgoing_end;
    uint32_t beat;
    uint64_t alive_ns; // when its beat was last seen to have moved, for the partner
    uint32_t alive_beat;
    uint64_t beat_ns, tick_due_ns, started_ns, create_until_ns;
    uint64_t log_ns; // of the lines counted here
    uint32_t log_lines, log_dropped;
    uint32_t backoff_ms;
    uint64_t restarts;
    char cause[160];      // of the end that is under way
    char last_cause[160]; // of the last one
};

// A question to the arbiter, which may be answered after the end of who asked.
struct process_question {
    struct process_question *next;
    struct processes *all;
    struct process *process; // NULL: it is gone
    uint32_t life, client;
    uint64_t cookie;
};

struct processes {
    struct manager_isolation isolation;
    struct env *env;
    char manager[CARRICK_NAME_MAX + 1];
    char program[512];
    struct process *first;
    struct process_question *questions;
};

// process.c
struct process *process_find(struct processes *all, const struct config_client *config,
                             const struct carrick_host *base);
int process_add(struct process *process, struct carrick_client *client,
                struct carrick_error *error);
void process_remove(struct process *process, struct carrick_client *client);
// It is of no use any more: killed, and started again when its exit is certain.
void process_fail(struct process *process, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// Everything of it is closed; what it ran as is gone, or is not waited for.
void process_take_down(struct process *process);
void process_on_exit(void *arg, uint32_t events);

// For how long its beat has not been seen to move, as the partner is told: 0 as long as that is nothing.
uint64_t process_still_ns(struct process *process);

// process_launch.c: begins it, and asks for the clients that there are. 0, or an errno.
int process_launch(struct process *process);

// process_talk.c
void process_send(struct process *process, const struct channel_message *message);
void process_wake(struct process *process);
void process_outgoing_send(struct process *process);
void process_outgoing_drop(struct process *process);
bool process_hear(struct process *process); // true: all that was there has been heard
void process_look(struct process *process); // at its rings
void process_on_socket(void *arg, uint32_t events);
void process_on_event(void *arg, uint32_t events);
// Looks after the process until done(client), or the deadline; false: it is not, or the process has ended.
bool process_wait(struct process *process, bool (*done)(const struct carrick_client *client),
                  const struct carrick_client *client, uint64_t deadline_ns);
static inline uint64_t process_now_ns(const struct process *process)
{
    return env_now_ns(process->all->env);
}

// How often the beat is to move on.
static inline uint64_t process_beat_ns(const struct process *process)
{
    uint64_t ms = process->hang_ms / 10;

    return (ms < PROCESS_BEAT_MS ? ms : PROCESS_BEAT_MS) * ENV_MS;
}

// How often it is looked at.
static inline uint64_t process_tick_ns(const struct process *process)
{
    uint64_t ms = process->hang_ms / 8;

    return (ms < PROCESS_TICK_MS ? ms : PROCESS_TICK_MS) * ENV_MS;
}

static inline bool process_lives(const struct process *process)
{
    return process->state == PROCESS_STARTING || process->state == PROCESS_RUNNING;
}

// process_events.c: the event is head and data, one behind the other.
void process_event_put(struct carrick_client *client, uint32_t type, const void *head,
                       uint32_t head_bytes, const void *data, uint32_t data_bytes);
void process_events_pass(struct carrick_client *client); // there may be room in the ring again
void process_events_drop(struct carrick_client *client);

// process_client.c
extern const struct carrick_client_ops process_client_ops;
int process_client_create(void *arg, const struct config_client *config, const char *plugin_path,
                          const struct carrick_client_host *host, struct carrick_client **made,
                          struct carrick_error *error);

// process_life.c
void process_client_begins(struct carrick_client *client); // the process asks to be told of it
void process_client_gone(struct carrick_client *client);   // its process is of no use any more
void process_client_ended(struct carrick_client *client);  // … and its exit is certain
void process_client_tick(struct carrick_client *client);
void process_client_reply(struct carrick_client *client, uint64_t token, int status,
                          const char *json);
void process_client_vis_close(struct carrick_client *client);
void process_client_provided_forget(struct carrick_client *client); // what it gave, or was asked to

// process_serve.c
void process_message(struct process *process, struct channel_message *message);
void process_questions_forget(struct processes *all, struct process *process);
struct carrick_region *process_region(const struct carrick_client *client, uint64_t number);

// process_ops.c: true: there is more.
bool process_ops(struct carrick_client *client);

#endif
