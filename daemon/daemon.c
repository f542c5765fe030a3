// SPDX-License-Identifier: Apache-2.0
#include "daemon/daemon.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

enum {
    PULSE_MS = 1000,
    // Beyond the longest ending_ms: what the transports may take to close, and some more.
    STOP_GRACE_MS = 8000,
    HURRIED_STOP_MS = 3000,
    EVENTS_WAITING_MAX = 1024,
};

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

// ---- events: from any thread to the followers

struct event_copy {
    struct daemon *daemon;
    struct log_event event;
    char strings[4][LOG_TEXT_MAX / 4]; // event, manager, object; the text has the rest
};

static void on_event_here(void *arg)
{
    struct event_copy *copy = arg;
    struct daemon *daemon = copy->daemon;
    atomic_fetch_sub(&daemon->events_waiting, 1);
    if (daemon->control)
        control_event(daemon->control, &copy->event);
    free(copy);
}

static const char *keep(char *room, size_t size, const char *text)
{
    if (!text)
        return NULL;
    snprintf(room, size, "%s", text);
    return room;
}

// On the thread that logs. Events must not fill the mailbox, which carries replies, too.
static void on_event(void *arg, const struct log_event *event)
{
    struct daemon *daemon = arg;
    struct event_copy *copy = NULL;
    if (atomic_fetch_add(&daemon->events_waiting, 1) < EVENTS_WAITING_MAX)
        copy = malloc(sizeof(*copy));
    if (copy) {
        const struct env_record *record = &event->record;
        copy->daemon = daemon;
        copy->event = *event;
        copy->event.record.event = keep(copy->strings[0], 64, record->event);
        copy->event.record.manager = keep(copy->strings[0] + 64, 64, record->manager);
        copy->event.record.object = keep(copy->strings[0] + 128, 64, record->object);
        copy->event.record.text =
            keep(copy->strings[1], sizeof(copy->strings) - sizeof(copy->strings[0]), record->text);
        if (!mailbox_post(&daemon->mailbox, on_event_here, copy))
            return;
        free(copy);
    }
    atomic_fetch_sub(&daemon->events_waiting, 1);
    atomic_fetch_add(&daemon->events_lost, 1);
}

// ---- the end

static void on_all_closed(void *arg)
{
    struct daemon *daemon = arg;
    daemon->control = NULL;
    mailbox_close(&daemon->mailbox);
}

static void on_managers_ended(void *arg)
{
    struct daemon *daemon = arg;
    log_line(daemon->log, CARRICK_LOG_NOTICE, "stopped", NULL, "all managers have stopped");
    commands_end(daemon);
    metrics_http_close(daemon->metrics);
    daemon->metrics = NULL;
    uv_close((uv_handle_t *)&daemon->pulse, NULL);
    uv_close((uv_handle_t *)&daemon->deadline, NULL);
    for (size_t i = 0; i < sizeof(daemon->signals) / sizeof(daemon->signals[0]); i++)
        uv_close((uv_handle_t *)&daemon->signals[i], NULL);
    control_close(daemon->control, on_all_closed, daemon);
}

static void on_stop_late(uv_timer_t *timer)
{
    struct daemon *daemon = timer->data;
    for (size_t i = 0; i < managers_count(daemon->managers); i++)
        if (managers_silent_ms(daemon->managers, i))
            log_line(daemon->log, CARRICK_LOG_ERROR, NULL, managers_name(daemon->managers, i),
                     "this manager's loop stands still");
    log_line(daemon->log, CARRICK_LOG_ERROR, "stop-late", NULL,
             "not stopped within the deadline; the process ends as it is");
    char *path =
        config_expand_node(daemon->config->control.socket, daemon->config->nodes[daemon->node]);
    if (path)
        unlink(path);
    log_close(daemon->log);
    // Threads still run: nothing can be taken down under them.
    _exit(DAEMON_EXIT_LATE);
}

static uint64_t stop_ms(const struct config *config)
{
    uint64_t longest = 0;
    for (size_t i = 0; i < config->managers_count; i++)
        if (config->managers[i].timers.ending_ms > longest)
            longest = config->managers[i].timers.ending_ms;
    return longest + STOP_GRACE_MS;
}

static void stop(struct daemon *daemon, const char *why)
{
    uint64_t within_ms = daemon->stopping ? HURRIED_STOP_MS : stop_ms(daemon->config);
    log_line(daemon->log, CARRICK_LOG_NOTICE, "stopping", NULL, "%s: %s within %llu ms", why,
             daemon->stopping ? "hurried, ends" : "ends", (unsigned long long)within_ms);
    if (!daemon->stopping)
        sd_notify(0, "STOPPING=1");
    daemon->stopping = true;
    uv_timer_start(&daemon->deadline, on_stop_late, within_ms, 0);
    managers_stop(daemon->managers);
}

// ---- signals and the pulse

static void on_signal(uv_signal_t *handle, int number)
{
    struct daemon *daemon = handle->data;
    if (number == SIGHUP)
        daemon_reload(daemon, NULL);
    else
        stop(daemon, number == SIGTERM ? "SIGTERM" : "SIGINT");
}

static void start_signals(struct daemon *daemon)
{
    static const int numbers[] = {SIGHUP, SIGTERM, SIGINT};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        uv_signal_init(&daemon->loop, &daemon->signals[i]);
        daemon->signals[i].data = daemon;
        uv_signal_start(&daemon->signals[i], on_signal, numbers[i]);
    }
}

// A daemon whose main loop runs while a manager's stands still is of no use to its clients: it is not fed.
static void on_pulse(uv_timer_t *timer)
{
    struct daemon *daemon = timer->data;
    if (managers_ping(daemon->managers) && daemon->watchdog_ms)
        sd_notify(0, "WATCHDOG=1");
}

static void start_pulse(struct daemon *daemon)
{
    uint64_t usec = 0;
    uint64_t every_ms = PULSE_MS;
    if (sd_watchdog_enabled(0, &usec) > 0) {
        daemon->watchdog_ms = usec / 1000;
        // A ping is answered before the next one: two of these are the least that shows life.
        if (daemon->watchdog_ms / 4 < every_ms)
            every_ms = daemon->watchdog_ms / 4;
        if (every_ms == 0)
            every_ms = 1;
    }
    uv_timer_init(&daemon->loop, &daemon->pulse);
    daemon->pulse.data = daemon;
    uv_timer_start(&daemon->pulse, on_pulse, every_ms, every_ms);
    uv_timer_init(&daemon->loop, &daemon->deadline);
    daemon->deadline.data = daemon;
}

// ---- the beginning

static void add_own_metrics(void *arg, struct metrics_sink *sink)
{
    const struct daemon *daemon = arg;
    metrics_own(sink, daemon->config->nodes[daemon->node], daemon->log, daemon->control);
}

static enum daemon_exit open_control(struct daemon *daemon)
{
    const struct config *config = daemon->config;
    char *path = config_expand_node(config->control.socket, config->nodes[daemon->node]);
    if (!path)
        return DAEMON_EXIT_FAILED;
    const struct control_options options = {
        .loop = &daemon->loop,
        .path = path,
        .group = config->control.group,
        .log = daemon->log,
        .handle = commands_handle,
        .arg = daemon,
    };
    struct carrick_error error = {.struct_size = sizeof(error)};
    int status = control_open(&options, &daemon->control, &error);
    free(path);
    if (!status)
        return DAEMON_EXIT_CLEAN;
    log_line(daemon->log, CARRICK_LOG_ERROR, "start-failed", NULL, "%s", error.text);
    return status == CARRICK_ERR_EXISTS   ? DAEMON_EXIT_SECOND
           : status == CARRICK_ERR_CONFIG ? DAEMON_EXIT_CONFIG
                                          : DAEMON_EXIT_FAILED;
}

static enum daemon_exit start_managers(struct daemon *daemon)
{
    const struct managers_options options = {
        .config = daemon->config,
        .node = daemon->config->nodes[daemon->node],
        .loader = daemon->loader,
        .key = daemon->key.bytes,
        .key_bytes = daemon->key.length,
        .log = daemon->log,
        .boot_stage = daemon->options.boot_stage,
        .mailbox = &daemon->mailbox,
        .ended = on_managers_ended,
        .arg = daemon,
    };
    struct carrick_error error = {.struct_size = sizeof(error)};
    int status = managers_start(&options, &daemon->managers, &error);
    key_forget(&daemon->key);
    if (!status)
        return DAEMON_EXIT_CLEAN;
    log_line(daemon->log, CARRICK_LOG_ERROR, "start-failed", NULL, "%s", error.text);
    return DAEMON_EXIT_FAILED;
}

static void start_metrics(struct daemon *daemon)
{
    const struct config_listen *listen = &daemon->config->metrics.listen[daemon->node];
    if (!listen->text)
        return;
    const struct metrics_http_options options = {
        .loop = &daemon->loop,
        .mailbox = &daemon->mailbox,
        .listen = listen,
        .managers = daemon->managers,
        .log = daemon->log,
        .own = add_own_metrics,
        .arg = daemon,
    };
    if (metrics_http_open(&options, &daemon->metrics))
        log_line(daemon->log, CARRICK_LOG_ERROR, "metrics-failed", NULL, "no memory for metrics");
}

static void on_control_closed(void *arg)
{
    (void)arg;
}

static enum daemon_exit run_loop(struct daemon *daemon)
{
    const struct config *config = daemon->config;
    enum daemon_exit result = open_control(daemon);
    if (result != DAEMON_EXIT_CLEAN)
        return result;
    log_listen(daemon->log, on_event, daemon);
    result = start_managers(daemon);
    if (result != DAEMON_EXIT_CLEAN) {
        control_close(daemon->control, on_control_closed, NULL);
        daemon->control = NULL;
        uv_run(&daemon->loop, UV_RUN_NOWAIT);
        uv_run(&daemon->loop, UV_RUN_NOWAIT);
        return result;
    }
    start_metrics(daemon);
    start_signals(daemon);
    start_pulse(daemon);
    log_line(daemon->log, CARRICK_LOG_NOTICE, "started", NULL,
             "carrickd " CARRICK_VERSION ", node %s of cluster %s, partner %s, %zu manager%s",
             config->nodes[daemon->node], config->cluster, config->nodes[1 - daemon->node],
             config->managers_count, config->managers_count == 1 ? "" : "s");
    sd_notifyf(0, "READY=1\nSTATUS=node %s of cluster %s", config->nodes[daemon->node],
               config->cluster);
    uv_run(&daemon->loop, UV_RUN_DEFAULT);
    return DAEMON_EXIT_CLEAN;
}

static enum daemon_exit run(struct daemon *daemon)
{
    const struct log_options options = {
        .level =
            daemon->options.log_level >= 0 ? daemon->options.log_level : daemon->config->log.level,
        .fd = STDERR_FILENO,
        .form = log_form_of(STDERR_FILENO),
    };
    daemon->log = log_open(&options);
    if (!daemon->log || uv_loop_init(&daemon->loop) ||
        mailbox_open(&daemon->mailbox, &daemon->loop)) {
        fprintf(stderr, "carrickd: cannot make the main loop: %s\n", strerror(errno));
        return DAEMON_EXIT_FAILED;
    }
    prepare_limits();
    enum daemon_exit result = run_loop(daemon);
    log_listen(daemon->log, NULL, NULL);
    managers_destroy(daemon->managers);
    if (!daemon->mailbox.closed)
        mailbox_close(&daemon->mailbox);
    uv_run(&daemon->loop, UV_RUN_NOWAIT);
    uv_loop_close(&daemon->loop);
    mailbox_free(&daemon->mailbox);
    log_close(daemon->log);
    return result;
}

enum daemon_exit daemon_run(const struct daemon_options *options)
{
    struct daemon *daemon = calloc(1, sizeof(*daemon));
    if (!daemon) {
        fputs("carrickd: no memory\n", stderr);
        return DAEMON_EXIT_FAILED;
    }
    daemon->options = *options;
    daemon->started_ms = now_ms();
    enum daemon_exit result = prepare_config(daemon);
    if (result == DAEMON_EXIT_CLEAN)
        result = prepare_key(daemon);
    if (result == DAEMON_EXIT_CLEAN && options->list_files)
        result = prepare_list_files(daemon);
    else if (result == DAEMON_EXIT_CLEAN && options->check)
        printf("%s: good for node %s\n", options->config_file, daemon->config->nodes[daemon->node]);
    else if (result == DAEMON_EXIT_CLEAN)
        result = run(daemon);
    key_forget(&daemon->key);
    loader_destroy(daemon->loader);
    config_free(daemon->config);
    free(daemon);
    return result;
}
