// SPDX-License-Identifier: Apache-2.0
//
// Commands of the operator's, run when a step was taken: addresses, exports or services move along. They run one
// after the other on a worker, each with a deadline, and change nothing of what the monitor does.
#include "failover.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WAITING_MAX 64u
#define LOOK_MS 5

struct run {
    struct failover *failover;
    enum hook_step step;
    struct hook_command command;
    uint32_t deadline_ms;
    char variables[8][128];
    // filled by the worker
    int spawn_errno, status;
    bool too_long;
};

struct hooks {
    struct run waiting[WAITING_MAX];
    unsigned count;
    bool busy;
    uint64_t skipped;
};

int fo_hooks_create(struct failover *failover)
{
    failover->hooks = calloc(1, sizeof *failover->hooks);
    return failover->hooks ? CARRICK_OK : CARRICK_ERR_NO_MEMORY;
}

void fo_hooks_destroy(struct failover *failover)
{
    free(failover->hooks);
}

// ---- on the worker

static void pause_ms(long ms)
{
    struct timespec pause = {.tv_nsec = ms * 1000000};

    nanosleep(&pause, NULL);
}

static void await(struct run *run, pid_t pid)
{
    for (uint32_t waited_ms = 0;; waited_ms += LOOK_MS) {
        pid_t got = waitpid(pid, &run->status, WNOHANG);

        if (got == pid || (got < 0 && errno != EINTR))
            return;
        if (waited_ms >= run->deadline_ms) {
            run->too_long = true;
            kill(-pid, SIGKILL); // with whatever it started
            while (waitpid(pid, &run->status, 0) < 0 && errno == EINTR)
                ;
            return;
        }
        pause_ms(LOOK_MS);
    }
}

static void work(void *arg)
{
    struct run *run = arg;
    char *words[HOOK_WORDS_MAX + 1] = {NULL}, *variables[9] = {NULL};
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    sigset_t none;
    pid_t pid;

    for (unsigned i = 0; i < run->command.words; i++)
        words[i] = run->command.word[i];
    for (unsigned i = 0; i < 8; i++)
        variables[i] = run->variables[i];
    sigemptyset(&none);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", 0, 0);
    run->spawn_errno = posix_spawn(&pid, words[0], &actions, &attributes, words, variables);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (run->spawn_errno == 0)
        await(run, pid);
}

// ---- on the manager's thread

static void next_begin(struct failover *failover);

static void done(void *arg)
{
    struct run *run = arg;
    struct failover *failover = run->failover;
    const char *name = fo_hook_step_name(run->step), *what = run->command.word[0];

    if (run->spawn_errno != 0)
        failover_say(failover, CARRICK_LOG_ERROR, "hook %s: %s cannot be started: %s", name, what,
                     strerror(run->spawn_errno));
    else if (run->too_long)
        failover_say(failover, CARRICK_LOG_ERROR,
                     "hook %s: %s took longer than %u ms and was ended", name, what,
                     run->deadline_ms);
    else if (!WIFEXITED(run->status) || WEXITSTATUS(run->status) != 0)
        failover_say(failover, CARRICK_LOG_ERROR, "hook %s: %s failed (%s %d)", name, what,
                     WIFEXITED(run->status) ? "exit status" : "signal",
                     WIFEXITED(run->status) ? WEXITSTATUS(run->status) : WTERMSIG(run->status));
    free(run);
    failover->hooks->busy = false;
    next_begin(failover);
}

static void next_begin(struct failover *failover)
{
    struct hooks *hooks = failover->hooks;
    struct run *run;

    if (hooks->busy || hooks->count == 0)
        return;
    run = malloc(sizeof *run);
    if (run == NULL)
        return;
    *run = hooks->waiting[0];
    hooks->count--;
    memmove(&hooks->waiting[0], &hooks->waiting[1], hooks->count * sizeof hooks->waiting[0]);
    hooks->busy = failover->host->base->work(failover->host->base, work, done, run) == CARRICK_OK;
    if (!hooks->busy) {
        failover_say(failover, CARRICK_LOG_ERROR, "hook %s: no worker takes it",
                     fo_hook_step_name(run->step));
        free(run);
    }
}

void fo_hooks_run(struct group *group, enum hook_step step)
{
    struct failover *failover = group->failover;
    const struct carrick_host *base = failover->host->base;
    struct hooks *hooks = failover->hooks;
    struct carrick_log_copy copy;
    struct run *run;

    if (failover->config.hooks[step].words == 0)
        return;
    if (hooks->count == WAITING_MAX) {
        failover_say(failover, CARRICK_LOG_ERROR, "hook %s: %u others wait already, it is left out",
                     fo_hook_step_name(step), WAITING_MAX);
        return;
    }
    fo_group_copy(group, &copy);
    run = &hooks->waiting[hooks->count++];
    *run = (struct run){.failover = failover,
                        .step = step,
                        .command = failover->config.hooks[step],
                        .deadline_ms = failover->config.timers.hook_ms};
    snprintf(run->variables[0], sizeof run->variables[0], "CARRICK_STEP=%s",
             fo_hook_step_name(step));
    snprintf(run->variables[1], sizeof run->variables[1], "CARRICK_GROUP=%s", group->name);
    snprintf(run->variables[2], sizeof run->variables[2], "CARRICK_NODE=%s", base->node);
    snprintf(run->variables[3], sizeof run->variables[3], "CARRICK_PARTNER=%s", base->partner);
    snprintf(run->variables[4], sizeof run->variables[4], "CARRICK_GENERATION_NUMBER=%llu",
             (unsigned long long)copy.generation.number);
    snprintf(run->variables[5], sizeof run->variables[5], "CARRICK_MANAGER=%s", base->manager);
    snprintf(run->variables[6], sizeof run->variables[6], "PATH=/usr/sbin:/usr/bin:/sbin:/bin");
    snprintf(run->variables[7], sizeof run->variables[7], "LANG=C");
    next_begin(failover);
}
