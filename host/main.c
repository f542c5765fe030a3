// SPDX-License-Identifier: Apache-2.0
//
// carrick-host: runs client plugins for carrickd, which starts it. It lives no longer than the daemon: the end of the
// socket, or of the daemon's thread that started it, is its own end.
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/hosted.h"

static struct host_process the_process;

void host_end(void)
{
    // Nothing here outlives the daemon, and what plugins have open the kernel closes.
    if (the_process.client_count > 0)
        _exit(0);
    exit(0);
}

// ---- messages

void host_send(struct host_process *process, const struct channel_message *message)
{
    struct pollfd fd = {.fd = CHANNEL_SOCKET, .events = POLLOUT};
    int status;

    (void)process;
    while ((status = channel_send(CHANNEL_SOCKET, message)) == EAGAIN)
        poll(&fd, 1, 10);
    if (status == EPIPE || status == ECONNRESET)
        host_end();
}

static void message_take(struct host_process *process, struct channel_message *message)
{
    struct hosted *hosted;

    if (message->type == CHANNEL_CREATE) {
        hosted_create(process, message);
        return;
    }
    hosted = message->client < CHANNEL_CLIENTS_MAX ? process->clients[message->client] : NULL;
    if (hosted != NULL)
        hosted_message(hosted, message);
}

static void defer(struct host_process *process, const struct channel_message *message)
{
    struct host_deferred *kept = malloc(sizeof(*kept));

    if (kept == NULL)
        host_end();
    *kept = (struct host_deferred){.message = *message};
    if (process->deferred == NULL)
        process->deferred_end = &process->deferred;
    *process->deferred_end = kept;
    process->deferred_end = &kept->next;
    process->env->ops->timer_start(process->again, 0);
}

static void deferred_take(struct host_process *process)
{
    while (process->deferred != NULL) {
        struct host_deferred *first = process->deferred;

        process->deferred = first->next;
        message_take(process, &first->message);
        channel_message_end(&first->message);
        free(first);
    }
}

// true: one came.
static bool receive(struct channel_message *message)
{
    int status = channel_receive(CHANNEL_SOCKET, message);

    if (status != 0 && status != EAGAIN)
        host_end();
    return status == 0;
}

void host_call(struct hosted *hosted, struct channel_message *message,
               struct channel_message *answer)
{
    struct pollfd fd = {.fd = CHANNEL_SOCKET, .events = POLLIN};

    message->type = CHANNEL_CALL;
    message->client = hosted->index;
    host_send(hosted->process, message);
    for (;;) {
        if (!receive(answer))
            poll(&fd, 1, -1); // the daemon's end is seen here, too
        else if (answer->type == CHANNEL_ANSWER)
            return;
        else
            defer(hosted->process, answer);
    }
}

// They were sent before the event that needs them.
void host_take_here(struct host_process *process)
{
    struct host_deferred *next;
    struct channel_message message;

    while (receive(&message))
        defer(process, &message);
    for (struct host_deferred **at = &process->deferred; *at != NULL;) {
        struct hosted *hosted = process->clients[(*at)->message.client % CHANNEL_CLIENTS_MAX];

        if ((*at)->message.type != CHANNEL_HERE || hosted == NULL) {
            at = &(*at)->next;
            continue;
        }
        next = (*at)->next;
        hosted_here(hosted, &(*at)->message);
        channel_message_end(&(*at)->message);
        free(*at);
        *at = next;
    }
    process->deferred_end = &process->deferred;
    while (*process->deferred_end != NULL)
        process->deferred_end = &(*process->deferred_end)->next;
}

static void on_socket(void *arg, uint32_t events)
{
    struct host_process *process = arg;
    struct channel_message message;

    (void)events;
    while (receive(&message))
        defer(process, &message);
    deferred_take(process);
}

// ---- rings

void host_wake_daemon(struct host_process *process)
{
    channel_wake(&process->page->daemon_sleeps, process->event_out);
}

static void look_at_rings(struct host_process *process)
{
    bool more = false;

    for (uint32_t i = 0; i < CHANNEL_CLIENTS_MAX; i++)
        if (process->clients[i] != NULL) {
            more |= hosted_events(process->clients[i]);
            if (process->clients[i] != NULL)
                hosted_waiting_go_on(process->clients[i]);
        }
    if (!more) {
        __atomic_store_n(&process->page->process_sleeps, 1, __ATOMIC_SEQ_CST);
        for (uint32_t i = 0; i < CHANNEL_CLIENTS_MAX; i++)
            more |= process->clients[i] != NULL && channel_has_more(&process->clients[i]->events);
    }
    if (more) {
        __atomic_store_n(&process->page->process_sleeps, 0, __ATOMIC_SEQ_CST);
        process->env->ops->timer_start(process->again, 0);
    }
}

static void on_event(void *arg, uint32_t events)
{
    struct host_process *process = arg;
    uint64_t count;

    (void)events;
    while (read(process->event_in, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
    look_at_rings(process);
}

static void on_again(void *arg)
{
    struct host_process *process = arg;

    deferred_take(process);
    look_at_rings(process);
}

static void on_beat(void *arg)
{
    struct host_process *process = arg;

    __atomic_fetch_add(&process->page->beat, 1, __ATOMIC_RELAXED);
    for (uint32_t i = 0; i < CHANNEL_CLIENTS_MAX; i++)
        if (process->clients[i] != NULL)
            hosted_state(process->clients[i]);
    process->env->ops->timer_start(process->beat, process->beat_ns);
}

// ---- the beginning

// Any thread: the socket keeps messages apart. The daemon's own log says it, or nothing does: none waits for it.
static void take_record(void *arg, const struct env_record *record)
{
    const struct host_process *process = arg;
    struct channel_message message = {.type = CHANNEL_LOG,
                                      .a = (uint64_t)record->level,
                                      .body = (char *)(uintptr_t)record->text,
                                      .length = strlen(record->text)};

    for (uint32_t i = 0; i < CHANNEL_CLIENTS_MAX && record->object != NULL; i++)
        if (process->clients[i] != NULL && record->object == process->clients[i]->name)
            message.client = i;
    channel_send(CHANNEL_SOCKET, &message);
}

static bool start_take(struct host_process *process, struct channel_message *message)
{
    size_t at = 0;
    const char *node = channel_string(message, &at), *partner = channel_string(message, &at),
               *manager = channel_string(message, &at);
    int page = channel_take_fd(message, 0);

    process->event_out = channel_take_fd(message, 1);
    process->event_in = channel_take_fd(message, 2);
    process->beat_ns = message->a;
    if (message->type != CHANNEL_START || manager == NULL || process->event_in < 0)
        return false;
    snprintf(process->node, sizeof(process->node), "%s", node);
    snprintf(process->partner, sizeof(process->partner), "%s", partner);
    snprintf(process->manager, sizeof(process->manager), "%s", manager);
    process->page = channel_memory_map(page, sizeof(*process->page));
    if (page >= 0)
        close(page);
    return process->page != NULL;
}

static bool loop_make(struct host_process *process)
{
    struct env *env;

    if (env_uv_create(take_record, process, &process->env_uv) != CARRICK_OK)
        return false;
    process->env = env = env_uv_env(process->env_uv);
    process->beat = env->ops->timer_create(env, on_beat, process);
    process->again = env->ops->timer_create(env, on_again, process);
    process->watch_socket =
        env->ops->watch_create(env, CHANNEL_SOCKET, CARRICK_WATCH_READ, on_socket, process);
    process->watch_event =
        env->ops->watch_create(env, process->event_in, CARRICK_WATCH_READ, on_event, process);
    return process->beat != NULL && process->again != NULL && process->watch_socket != NULL &&
           process->watch_event != NULL;
}

static int run(struct host_process *process)
{
    struct pollfd fd = {.fd = CHANNEL_SOCKET, .events = POLLIN};
    struct channel_message message;

    host_send(process, &(struct channel_message){.type = CHANNEL_HELLO, .a = CHANNEL_VERSION});
    while (!receive(&message))
        poll(&fd, 1, -1);
    if (!start_take(process, &message) || !loop_make(process)) {
        fprintf(stderr, "carrick-host: cannot begin: %s\n", strerror(errno));
        return 1;
    }
    channel_message_end(&message);
    process->env->ops->timer_start(process->beat, 0);
    process->env->ops->timer_start(process->again, 0);
    uv_run(env_uv_loop(process->env_uv), UV_RUN_DEFAULT);
    return 0;
}

static void usage(FILE *out)
{
    fputs("usage: carrick-host PLUGIN.so\n"
          "\n"
          "Runs client plugins as a process of their own. carrickd starts it, for clients with\n"
          "\"isolation\": \"process\" in carrick.json(5), and says by a socket what it is to do;\n"
          "started by hand it does nothing. See carrick-host(8).\n",
          out);
}

// A process that is stopped when the daemon dies would otherwise stay.
static bool die_with(const char *parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return getppid() == (pid_t)strtol(parent, NULL, 10);
}

int main(int argc, char **argv)
{
    struct sockaddr_storage name = {0};
    socklen_t length = sizeof(name);

    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "--version") == 0)) {
        if (strcmp(argv[1], "--help") == 0)
            usage(stdout);
        else
            puts("carrick-host " CARRICK_VERSION);
        return 0;
    }
    if (argc != 3 || getsockname(CHANNEL_SOCKET, (struct sockaddr *)&name, &length) ||
        name.ss_family != AF_UNIX) {
        usage(stderr);
        return 2;
    }
    if (!die_with(argv[2]))
        return 0;
    // The daemon ends it, in order: a signal to the whole group or service must not come before that.
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    return run(&the_process);
}
