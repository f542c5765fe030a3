// SPDX-License-Identifier: Apache-2.0
//
// Threads, calls, reload and watching of managers, with a manager of the test's own in the core's place. One named
// "bad" cannot be created, one named "lame" cannot be started.
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "daemon/managers.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/manager.h"
#include "core/metrics.h"

// ---- the manager

struct manager {
    struct manager_options options;
    pthread_t thread;
    struct env_timer *timer;
    unsigned spins; // polls that it still wants
    unsigned stops;
};

static atomic_int alive;
static atomic_uint hurried;
static atomic_uint polls;
static atomic_uint reloads;
static atomic_uint wrong_thread;
static atomic_uint spin_wanted;
static atomic_bool stop_at_second; // manager_stop ends only when it is hurried

static void check_thread(const struct manager *manager)
{
    if (!pthread_equal(manager->thread, pthread_self()))
        wrong_thread++;
}

static void stopped(void *arg)
{
    struct manager *manager = arg;
    manager->options.stopped(manager->options.arg);
}

int manager_create(const struct manager_options *options, struct manager **made,
                   struct carrick_error *error)
{
    if (!strcmp(options->section->name, "bad")) {
        snprintf(error->text, sizeof(error->text), "no good");
        return CARRICK_ERR_INVALID;
    }
    struct manager *manager = *made = calloc(1, sizeof(*manager));
    manager->options = *options;
    manager->thread = pthread_self();
    manager->timer = options->env->ops->timer_create(options->env, stopped, manager);
    alive++;
    return CARRICK_OK;
}

int manager_start(struct manager *manager, struct carrick_error *error)
{
    check_thread(manager);
    manager->spins = spin_wanted;
    snprintf(error->text, sizeof(error->text), "lame");
    return strcmp(manager->options.section->name, "lame") ? CARRICK_OK : CARRICK_ERR_SYSTEM;
}

void manager_stop(struct manager *manager)
{
    check_thread(manager);
    if (manager->stops++)
        hurried++;
    if (!stop_at_second || manager->stops == 2)
        manager->options.env->ops->timer_start(manager->timer, 0);
}

void manager_destroy(struct manager *manager)
{
    check_thread(manager);
    manager->options.env->ops->timer_destroy(manager->timer);
    free(manager);
    alive--;
}

unsigned manager_poll(struct manager *manager)
{
    check_thread(manager);
    polls++;
    if (manager->spins)
        manager->spins--;
    return 0;
}

uint64_t manager_spin_until_ns(struct manager *manager)
{
    return manager->spins ? UINT64_MAX : 0;
}

void manager_reload(struct manager *manager, const struct config *config,
                    const struct config_manager *section)
{
    check_thread(manager);
    manager->options.config = config;
    manager->options.section = section;
    reloads++;
}

void manager_command(struct manager *manager, const char *word, struct json_object *args,
                     void (*reply)(void *arg, int status, struct json_object *value), void *arg)
{
    (void)manager;
    (void)word;
    (void)args;
    reply(arg, CARRICK_OK, NULL);
}

void manager_metrics(struct manager *manager, struct metrics_sink *sink)
{
    check_thread(manager);
    const struct metrics_label label = {"manager", manager->options.section->name};
    metrics_family(sink, "carrick_test", METRICS_COUNTER, "A test's.");
    metrics_sample(sink, &label, 1, 7);
}

const char *manager_name(const struct manager *manager)
{
    return manager->options.section->name;
}

// ---- the main loop's side

static uv_loop_t loop;
static struct mailbox mailbox;
static struct log *test_log;
static struct config_manager sections[3];
static struct config config = {.managers_count = 2, .managers = sections};
static struct managers *managers;
static struct carrick_error error;
static bool ended;

static void on_ended(void *arg)
{
    (void)arg;
    ended = true;
}

static int start(const char *first, const char *second)
{
    strcpy(sections[0].name, first);
    strcpy(sections[1].name, second);
    const struct managers_options options = {
        .config = &config,
        .node = "a",
        .log = test_log,
        .mailbox = &mailbox,
        .ended = on_ended,
    };
    error.struct_size = sizeof(error);
    return managers_start(&options, &managers, &error);
}

static void begin(void)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    const struct log_options log_options = {CARRICK_LOG_DEBUG, null, LOG_FORM_PLAIN};
    test_log = log_open(&log_options);
    uv_loop_init(&loop);
    cr_assert(eq(int, mailbox_open(&mailbox, &loop), CARRICK_OK));
}

static void run_until(const bool *done)
{
    while (!*done)
        uv_run(&loop, UV_RUN_ONCE);
}

static void stop(void)
{
    managers_stop(managers);
    run_until(&ended);
    managers_destroy(managers);
}

static void end(void)
{
    mailbox_close(&mailbox);
    uv_run(&loop, UV_RUN_NOWAIT);
    cr_assert(eq(int, uv_loop_close(&loop), 0));
    mailbox_free(&mailbox);
    log_close(test_log);
    cr_assert(eq(int, alive, 0));
    cr_assert(eq(u32, wrong_thread, 0));
}

TestSuite(managers, .init = begin, .fini = end, .timeout = 60);

Test(managers, start_and_stop)
{
    cr_assert(eq(int, start("one", "two"), CARRICK_OK), "%s", error.text);
    cr_assert(eq(int, alive, 2));
    cr_assert(eq(sz, managers_count(managers), 2));
    cr_assert(eq(int, managers_find(managers, "two"), 1));
    cr_assert(eq(int, managers_find(managers, "three"), -1));
    stop();
}

Test(managers, one_that_cannot_be_created_ends_the_others)
{
    cr_assert(eq(int, start("one", "bad"), CARRICK_ERR_INVALID));
    cr_assert(zero(int, strcmp(error.text, "manager bad: no good")), "%s", error.text);
    cr_assert(eq(ptr, managers, NULL));
    uv_run(&loop, UV_RUN_NOWAIT);
    cr_assert(not(ended));
}

Test(managers, one_that_cannot_be_started_ends_all)
{
    cr_assert(eq(int, start("lame", "two"), CARRICK_ERR_SYSTEM));
    cr_assert(zero(int, strcmp(error.text, "manager lame: lame")), "%s", error.text);
    cr_assert(not(ended));
}

Test(managers, second_stop_hurries)
{
    stop_at_second = true;
    cr_assert(eq(int, start("one", "two"), CARRICK_OK));
    managers_stop(managers);
    managers_stop(managers);
    run_until(&ended);
    cr_assert(eq(u32, hurried, 2));
    managers_destroy(managers);
}

// ---- calls

struct asked {
    const char *name;
    bool done;
};

static void on_answer(void *arg)
{
    ((struct asked *)arg)->done = true;
}

static void ask(void *arg, struct manager *manager)
{
    check_thread(manager);
    ((struct asked *)arg)->name = manager_name(manager);
    mailbox_post(&mailbox, on_answer, arg);
}

Test(managers, calls_go_to_the_manager_that_is_meant)
{
    cr_assert(eq(int, start("one", "two"), CARRICK_OK));
    struct asked asked[2] = {{0}, {0}};
    for (size_t i = 0; i < 2; i++) {
        cr_assert(eq(int, managers_call(managers, i, ask, &asked[i]), CARRICK_OK));
        run_until(&asked[i].done);
        cr_assert(eq(ptr, (void *)asked[i].name, sections[i].name));
    }
    stop();
}

static void never(void *arg, struct manager *manager)
{
    (void)manager;
    *(bool *)arg = true;
}

Test(managers, calls_after_the_end_are_refused)
{
    bool called = false;
    cr_assert(eq(int, start("one", "two"), CARRICK_OK));
    managers_stop(managers);
    run_until(&ended);
    cr_assert(eq(int, managers_call(managers, 0, never, &called), CARRICK_ERR_STATE));
    cr_assert(not(called));
    managers_destroy(managers);
}

// ---- spinning

Test(managers, manager_that_wants_it_is_polled_and_its_loop_goes_on)
{
    spin_wanted = 100000;
    cr_assert(eq(int, start("one", "two"), CARRICK_OK));
    struct asked asked = {0};
    cr_assert(eq(int, managers_call(managers, 0, ask, &asked), CARRICK_OK));
    run_until(&asked.done);
    // It sleeps once it does not want it any more, after one more poll, which arms the devices.
    while (polls < 200002)
        sched_yield();
    stop();
    cr_assert(eq(u32, polls, 200002));
}

// ---- reload

static bool reload_done;
static bool reload_complete;

static void on_reloaded(void *arg, bool complete)
{
    (void)arg;
    reload_done = true;
    reload_complete = complete;
}

Test(managers, reload_reaches_all)
{
    struct config_manager new_sections[2];
    struct config new_config = {.managers_count = 2, .managers = new_sections};
    memset(new_sections, 0, sizeof(new_sections));
    strcpy(new_sections[0].name, "two");
    strcpy(new_sections[1].name, "one");
    cr_assert(eq(int, start("one", "two"), CARRICK_OK));
    cr_assert(eq(int, managers_reload(managers, &new_config, on_reloaded, NULL), CARRICK_OK));
    cr_assert(not(reload_done));
    run_until(&reload_done);
    cr_assert(reload_complete);
    cr_assert(eq(u32, reloads, 2));
    stop();
}

// ---- watching

static sem_t held;
static sem_t go_on;

static void hold(void *arg, struct manager *manager)
{
    (void)arg;
    (void)manager;
    sem_post(&held);
    sem_wait(&go_on);
}

// Pings until that is the answer, letting the main loop take the pongs.
static void ping_until(bool answered)
{
    while (managers_ping(managers) != answered)
        uv_run(&loop, UV_RUN_NOWAIT);
}

Test(managers, loop_that_stands_still_is_noticed_and_so_is_its_return)
{
    sem_init(&held, 0, 0);
    sem_init(&go_on, 0, 0);
    cr_assert(eq(int, start("one", "two"), CARRICK_OK));
    ping_until(true);
    cr_assert(eq(int, managers_call(managers, 1, hold, NULL), CARRICK_OK));
    sem_wait(&held);
    // The answer to an earlier ping has been posted before that; it is taken here.
    uv_run(&loop, UV_RUN_NOWAIT);
    managers_ping(managers);
    while (managers_silent_ms(managers, 1) == 0)
        uv_run(&loop, UV_RUN_NOWAIT);
    for (unsigned i = 0; i < 100; i++) {
        cr_assert(not(managers_ping(managers)));
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    sem_post(&go_on);
    while (managers_silent_ms(managers, 1) != 0)
        uv_run(&loop, UV_RUN_ONCE);
    ping_until(true);
    stop();
}
