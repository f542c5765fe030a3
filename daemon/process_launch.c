// SPDX-License-Identifier: Apache-2.0
//
// How a client process is begun.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/process_internal.h"

// ---- its start

static int spawn(struct process *process, const char *plugin, int other_end)
{
    char parent[24];
    char *argv[] = {process->all->program, (char *)(uintptr_t)plugin, parent, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    snprintf(parent, sizeof(parent), "%d", (int)getpid());
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, other_end, CHANNEL_SOCKET);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int cause =
        posix_spawn(&process->pid, process->all->program, &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (cause) {
        process->pid = 0;
        return cause;
    }
    process->pidfd = pidfd_open(process->pid, 0);
    if (process->pidfd >= 0)
        return 0;
    cause = errno;
    kill(process->pid, SIGKILL);
    waitpid(process->pid, NULL, 0);
    return cause;
}

static int watch(struct process *process, int fd, void (*fn)(void *arg, uint32_t events),
                 struct carrick_watch **made)
{
    return process->base->watch_create(process->base, fd, CARRICK_WATCH_READ, fn, process, made)
               ? ENOMEM
               : 0;
}

// 0 or an errno.
static int launch(struct process *process)
{
    int ends[2], cause;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
        return errno;
    process->socket = ends[0];
    process->event_in = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    process->event_out = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    process->page_fd = channel_memory_make("carrick-process", sizeof(*process->page));
    process->page =
        process->page_fd < 0 ? NULL : channel_memory_map(process->page_fd, sizeof(*process->page));
    cause = process->event_in < 0 || process->event_out < 0 || !process->page ? errno : 0;
    if (!cause) {
        char path[600];
        const struct carrick_client *first = process->clients[0];
        snprintf(path, sizeof(path), "%s/%s.so", first->directory, first->plugin);
        cause = spawn(process, path, ends[1]);
    }
    close(ends[1]);
    if (!cause)
        cause = watch(process, process->pidfd, process_on_exit, &process->watch_pid);
    if (!cause)
        cause = watch(process, process->socket, process_on_socket, &process->watch_socket);
    if (!cause)
        cause = watch(process, process->event_in, process_on_event, &process->watch_event);
    return cause;
}

static void tell_start(struct process *process)
{
    const struct carrick_host *base = process->base;
    char body[3 * (CARRICK_NAME_MAX + 1)];
    int length =
        snprintf(body, sizeof(body), "%s%c%s%c%s", base->node, 0, base->partner, 0, base->manager);
    struct channel_message message = {
        .type = CHANNEL_START,
        .a = process_beat_ns(process),
        .body = body,
        .length = (uint64_t)length,
        .fds = {process->page_fd, process->event_in, process->event_out},
        .fd_count = 3,
    };
    __atomic_store_n(&process->page->daemon_sleeps, 1, __ATOMIC_SEQ_CST);
    process_send(process, &message);
}

// Launches it, and asks for the clients that there are.
int process_launch(struct process *process)
{
    int cause = launch(process);
    process->life++;
    process->made = 0;
    process->started_ns = process->beat_ns = process_now_ns(process);
    process->create_until_ns = process->started_ns + PROCESS_CREATE_MS * ENV_MS;
    if (cause) {
        if (process->pid) {
            kill(process->pid, SIGKILL);
            waitpid(process->pid, NULL, 0);
        }
        process_take_down(process);
        return cause;
    }
    process->state = PROCESS_STARTING;
    tell_start(process);
    for (uint32_t i = 0; i < process->client_count && process_lives(process); i++)
        process_client_begins(process->clients[i]);
    return 0;
}
