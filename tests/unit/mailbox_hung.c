// SPDX-License-Identifier: Apache-2.0
// needs plugin: mailbox
//
// A mailbox whose storage hangs: each operation is answered in time, and no more workers wait there than must.
#include <criterion/criterion.h>

#include "carrick/arbiter.h"

#include <stdlib.h>
#include <string.h>

extern const struct carrick_plugin *mailbox_plugin_entry(void);

#define WORKS_MAX 8

struct carrick_timer {
    struct carrick_timer *next;
    bool armed;
    void (*fn)(void *arg);
    void *arg;
};

static struct {
    struct carrick_host base;
    struct carrick_arbiter_host host;
    const struct carrick_arbiter_ops *ops;
    struct carrick_arbiter *arbiter;
    struct carrick_timer *timers;
    void (*done[WORKS_MAX])(void *arg); // workers that hang, in order
    void *args[WORKS_MAX];
    unsigned works;
    unsigned answers;
    int last_status;
} world;

static int hold_work(const struct carrick_host *base, void (*fn)(void *arg),
                     void (*done)(void *arg), void *arg)
{
    (void)base, (void)fn;
    cr_assert_lt(world.works, WORKS_MAX);
    world.done[world.works] = done;
    world.args[world.works++] = arg;
    return CARRICK_OK;
}

static int timer_create(const struct carrick_host *base, void (*fn)(void *arg), void *arg,
                        struct carrick_timer **timer)
{
    (void)base;
    *timer = calloc(1, sizeof **timer);
    **timer = (struct carrick_timer){.next = world.timers, .fn = fn, .arg = arg};
    world.timers = *timer;
    return CARRICK_OK;
}

static void timer_start(struct carrick_timer *timer, uint64_t delay_ns)
{
    (void)delay_ns;
    timer->armed = true;
}

static void timer_stop(struct carrick_timer *timer)
{
    timer->armed = false;
}

static void timer_destroy(struct carrick_timer *timer)
{
    struct carrick_timer **at = &world.timers;

    while (*at != timer)
        at = &(*at)->next;
    *at = timer->next;
    free(timer);
}

static void take_random(const struct carrick_host *base, void *buffer, size_t length)
{
    (void)base;
    memset(buffer, 1, length);
}

static void take_log(const struct carrick_host *base, int severity, const char *format, ...)
{
    (void)base, (void)severity, (void)format;
}

static void take_answer(const struct carrick_arbiter_host *host, uint64_t cookie, int status,
                        const struct carrick_arbiter_record *record)
{
    (void)host, (void)cookie, (void)record;
    world.answers++;
    world.last_status = status;
}

static void begin(void)
{
    struct carrick_error error = {.struct_size = sizeof error};

    memset(&world, 0, sizeof world);
    world.base = (struct carrick_host){.struct_size = sizeof world.base,
                                       .node = "alpha",
                                       .log = take_log,
                                       .random = take_random,
                                       .timer_create = timer_create,
                                       .timer_start = timer_start,
                                       .timer_stop = timer_stop,
                                       .timer_destroy = timer_destroy,
                                       .work = hold_work};
    world.host = (struct carrick_arbiter_host){
        .struct_size = sizeof world.host, .base = &world.base, .answered = take_answer};
    world.ops = mailbox_plugin_entry()->ops;
    cr_assert_eq(
        world.ops->create(&world.host, "{\"directory\":\"/nowhere\"}", &world.arbiter, &error),
        CARRICK_OK);
}

static void end(void)
{
    world.ops->destroy(world.arbiter);
    cr_assert_null(world.timers);
}

TestSuite(mailbox_hung, .init = begin, .fini = end);

static void ask(void)
{
    cr_assert_eq(world.ops->read(world.arbiter, "g1", 100, 1), CARRICK_OK);
}

// The deadlines of all that is asked pass.
static void time_out(void)
{
    for (struct carrick_timer *timer = world.timers, *next; timer != NULL; timer = next) {
        next = timer->next;
        if (timer->armed)
            timer->fn(timer->arg);
    }
}

Test(mailbox_hung, reads_that_nobody_will_answer_take_no_further_workers)
{
    for (unsigned i = 1; i <= 5; i++) {
        ask();
        time_out();
        cr_assert_eq(world.answers, i, "a read waits without end");
        cr_assert_eq(world.last_status, CARRICK_ERR_TIMEOUT);
    }
    cr_assert_eq(world.works, 1, "%u workers hang", world.works);
}

Test(mailbox_hung, a_change_is_tried_all_the_same)
{
    struct carrick_arbiter_record wanted = {.struct_size = sizeof wanted};

    ask();
    time_out();
    cr_assert_eq(world.ops->change(world.arbiter, "g1", 0, &wanted, 100, 2), CARRICK_OK);
    cr_assert_eq(world.works, 2);
    time_out();
    cr_assert_eq(world.last_status, CARRICK_ERR_UNKNOWN, "what has begun may come to stand");
}

Test(mailbox_hung, when_the_storage_is_back_reads_go_on)
{
    ask();
    time_out();
    ask();
    cr_assert_eq(world.works, 1);
    world.done[0](world.args[0]);
    cr_assert_eq(world.answers, 1, "what was late is answered once");
    cr_assert_eq(world.works, 2);
    world.done[1](world.args[1]);
    cr_assert_eq(world.answers, 2);
    ask();
    cr_assert_eq(world.works, 3);
}
