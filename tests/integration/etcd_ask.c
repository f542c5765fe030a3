// SPDX-License-Identifier: Apache-2.0
//
// An arbiter plugin without a daemon: takes operations as lines, tells each answer as a line of JSON. It judges how the
// plugin answers, too: once, and never from within the call.
//
//   etcd_ask PLUGIN.so SECTION.json
//   read COOKIE GROUP TIMEOUT_MS
//   change COOKIE GROUP EXPECTED OWNER MARK TIMEOUT_MS
#include <carrick/arbiter.h>

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define COOKIES 4096u

struct carrick_timer {
    struct carrick_timer *next;
    void (*fn)(void *arg);
    void *arg;
    uint64_t due_ns; // 0: stopped
};

struct work {
    void (*work)(void *arg), (*done)(void *arg);
    void *arg;
};

static struct carrick_timer *timers;
static int done_pipe[2];
static unsigned works;
static bool within;
static uint8_t state[COOKIES]; // 1: asked, 2: answered
static uint64_t begun_ns[COOKIES];

static void fail(const char *what)
{
    printf("{\"broken\": \"%s\"}\n", what);
    exit(1);
}

// ---- the host's table

// As a string of JSON.
static void show(const char *key, char *text, const char *end)
{
    for (char *at = text; *at != '\0'; at++)
        if (*at == '"' || *at == '\\' || (unsigned char)*at < ' ')
            *at = '\'';
    printf("\"%s\": \"%s\"%s", key, text, end);
}

static void host_log(const struct carrick_host *host, int level, const char *format, ...)
{
    char text[512];
    va_list args;

    (void)host;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    printf("{\"log\": %d, ", level);
    show("text", text, "}\n");
}

static uint64_t host_now(const struct carrick_host *host)
{
    struct timespec now;

    (void)host;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void host_random(const struct carrick_host *host, void *buffer, size_t length)
{
    (void)host;
    if (getrandom(buffer, length, 0) != (ssize_t)length)
        fail("getrandom");
}

static int timer_create_(const struct carrick_host *host, void (*fn)(void *arg), void *arg,
                         struct carrick_timer **timer)
{
    (void)host;
    *timer = calloc(1, sizeof **timer);
    **timer = (struct carrick_timer){.next = timers, .fn = fn, .arg = arg};
    timers = *timer;
    return CARRICK_OK;
}

static void timer_start(struct carrick_timer *timer, uint64_t delay_ns)
{
    timer->due_ns = host_now(NULL) + delay_ns;
}

static void timer_stop(struct carrick_timer *timer)
{
    timer->due_ns = 0;
}

static void timer_destroy(struct carrick_timer *timer)
{
    struct carrick_timer **at = &timers;

    while (*at != timer)
        at = &(*at)->next;
    *at = timer->next;
    free(timer);
}

static void *work_thread(void *arg)
{
    struct work *work = arg;

    work->work(work->arg);
    if (write(done_pipe[1], &work, sizeof work) != (ssize_t)sizeof work)
        abort();
    return NULL;
}

static int host_work(const struct carrick_host *host, void (*fn)(void *arg),
                     void (*done)(void *arg), void *arg)
{
    struct work *work = malloc(sizeof *work);
    pthread_t thread;

    (void)host;
    *work = (struct work){.work = fn, .done = done, .arg = arg};
    if (pthread_create(&thread, NULL, work_thread, work) != 0)
        fail("pthread_create");
    pthread_detach(thread);
    works++;
    return CARRICK_OK;
}

static void answered(const struct carrick_arbiter_host *host, uint64_t cookie, int status,
                     const struct carrick_arbiter_record *record)
{
    if (within)
        fail("answered from within the call");
    if (cookie >= COOKIES || state[cookie] != 1)
        fail("answered what was not asked, or twice");
    state[cookie] = 2;
    printf("{\"cookie\": %" PRIu64 ", \"status\": %d, \"ms\": %" PRIu64, cookie, status,
           (host_now(host->base) - begun_ns[cookie]) / 1000000u);
    if (record != NULL)
        printf(", \"number\": %" PRIu64 ", \"owner\": \"%s\", \"mark\": %" PRIu64
               ", \"members\": %u",
               record->number, record->owner, record->fork_sequence, record->member_count);
    printf("}\n");
}

// ---- the commands

static const struct carrick_arbiter_ops *ops;
static struct carrick_arbiter *arbiter;

static struct carrick_arbiter_record record_of(const char *owner, uint64_t mark)
{
    struct carrick_arbiter_record record = {
        .struct_size = sizeof record, .member_count = 2, .fork_sequence = mark};

    memcpy(record.generation, &mark, sizeof mark);
    record.owner_incarnation = UINT64_MAX - mark;
    snprintf(record.owner, sizeof record.owner, "%s", owner);
    snprintf(record.members[0].node, sizeof record.members[0].node, "alpha");
    snprintf(record.members[1].node, sizeof record.members[1].node, "beta");
    record.members[1].incarnation = mark;
    return record;
}

static void obey(const char *line)
{
    char group[CARRICK_NAME_MAX + 1], owner[CARRICK_NAME_MAX + 1];
    uint64_t cookie, expected, mark;
    uint32_t timeout_ms;
    int status;

    if (sscanf(line, "read %" SCNu64 " %31s %" SCNu32, &cookie, group, &timeout_ms) == 3 &&
        cookie < COOKIES) {
        within = true;
        state[cookie] = 1;
        begun_ns[cookie] = host_now(NULL);
        status = ops->read(arbiter, group, timeout_ms, cookie);
    } else if (sscanf(line, "change %" SCNu64 " %31s %" SCNu64 " %31s %" SCNu64 " %" SCNu32,
                      &cookie, group, &expected, owner, &mark, &timeout_ms) == 6 &&
               cookie < COOKIES) {
        struct carrick_arbiter_record wanted = record_of(owner, mark);

        within = true;
        state[cookie] = 1;
        begun_ns[cookie] = host_now(NULL);
        status = ops->change(arbiter, group, expected, &wanted, timeout_ms, cookie);
    } else {
        fail("no such command");
        return;
    }
    within = false;
    if (status != CARRICK_OK) {
        state[cookie] = 2;
        printf("{\"cookie\": %" PRIu64 ", \"refused\": %d}\n", cookie, status);
    }
}

// ---- the loop

static int fire_timers(void)
{
    for (;;) {
        uint64_t now_ns = host_now(NULL), next_ns = UINT64_MAX;
        struct carrick_timer *due = NULL;

        for (struct carrick_timer *timer = timers; timer != NULL; timer = timer->next) {
            if (timer->due_ns != 0 && timer->due_ns < next_ns) {
                next_ns = timer->due_ns;
                due = timer;
            }
        }
        if (due == NULL)
            return -1;
        if (next_ns > now_ns)
            return (int)((next_ns - now_ns) / 1000000u + 1);
        due->due_ns = 0;
        due->fn(due->arg);
    }
}

static void end_works(void)
{
    struct work *work;

    if (read(done_pipe[0], &work, sizeof work) != (ssize_t)sizeof work)
        fail("read");
    works--;
    work->done(work->arg);
    free(work);
}

static bool take_lines(char *buffer, size_t size, size_t *used)
{
    ssize_t got = read(STDIN_FILENO, buffer + *used, size - *used - 1);
    char *line = buffer, *end;

    if (got <= 0)
        return false;
    *used += (size_t)got;
    buffer[*used] = '\0';
    while ((end = strchr(line, '\n')) != NULL) {
        *end = '\0';
        obey(line);
        line = end + 1;
    }
    *used = strlen(line);
    memmove(buffer, line, *used + 1);
    return true;
}

static void run(void)
{
    struct pollfd polls[2] = {{.fd = done_pipe[0], .events = POLLIN},
                              {.fd = STDIN_FILENO, .events = POLLIN}};
    bool open = true;
    char buffer[4096];
    size_t used = 0;

    while (open || works > 0) {
        int timeout_ms = fire_timers();

        fflush(stdout);
        if (poll(polls, open ? 2 : 1, timeout_ms) < 0 && errno != EINTR)
            fail("poll");
        if (polls[0].revents)
            end_works();
        if (open && polls[1].revents)
            open = take_lines(buffer, sizeof buffer, &used);
        polls[0].revents = polls[1].revents = 0;
    }
}

static char *file_read(const char *path)
{
    static char text[8192];
    FILE *file = fopen(path, "r");
    size_t length = file ? fread(text, 1, sizeof text - 1, file) : 0;

    if (file == NULL)
        fail("cannot open the section");
    fclose(file);
    text[length] = '\0';
    return text;
}

int main(int argc, char **argv)
{
    static struct carrick_host base = {
        .struct_size = sizeof base,
        .abi_major = CARRICK_ABI_MAJOR,
        .abi_minor = CARRICK_ABI_MINOR,
        .node = "alpha",
        .partner = "beta",
        .manager = "main",
        .instance = "arbiter",
        .log = host_log,
        .now_ns = host_now,
        .random = host_random,
        .timer_create = timer_create_,
        .timer_start = timer_start,
        .timer_stop = timer_stop,
        .timer_destroy = timer_destroy,
        .work = host_work,
    };
    struct carrick_arbiter_host host = {
        .struct_size = sizeof host, .base = &base, .answered = answered};
    struct carrick_error error = {.struct_size = sizeof error};
    const struct carrick_plugin *(*entry)(void);
    void *plugin = argc == 3 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;

    if (plugin == NULL || pipe(done_pipe) != 0)
        fail("cannot load the plugin");
    *(void **)&entry = dlsym(plugin, "carrick_plugin_entry");
    ops = entry()->ops;
    if (ops->create(&host, file_read(argv[2]), &arbiter, &error) != CARRICK_OK) {
        printf("{");
        show("pointer", error.pointer, ", ");
        show("text", error.text, "}\n");
        return 2;
    }
    printf("{\"ready\": true}\n");
    run();
    ops->destroy(arbiter);
    dlclose(plugin);
    return timers == NULL ? 0 : 1;
}
