// SPDX-License-Identifier: Apache-2.0
// needs plugin: shelf
//
// How a catch-up and those who write meanwhile share the node.
#include "plugins/shelf/catchup_internal.h"

#include <criterion/criterion.h>

static uint64_t clock_ns;

static uint64_t now(const struct carrick_host *host)
{
    (void)host;
    return clock_ns;
}

static void timer_start(struct carrick_timer *timer, uint64_t delay_ns)
{
    (void)timer;
    (void)delay_ns;
}

static const struct carrick_host host = {
    .struct_size = sizeof host, .now_ns = now, .timer_start = timer_start};

struct outcome {
    double copied;  // part of the time
    double written; // part of what the writers get done by themselves
};

// Writers get so much done in a second by themselves, and so much while the catch-up copies.
static struct outcome share(uint32_t alone, uint32_t beside, uint32_t seconds)
{
    static struct shelf_catchup catchup;
    struct carrick_client client = {.base = &host};
    struct shelf_group group = {.client = &client, .catchup = &catchup};
    double written = 0;
    uint64_t copied = 0, steps = seconds * 1000ull;

    clock_ns = 3ull * 3600 * 1000000000; // hours after the machine began
    catchup_share_begin(&group);
    for (uint64_t i = 0; i < steps; i++) {
        // A copying node has something on its way at nine looks out of ten.
        bool copies = catchup_share_open(&group, i % 10 == 0);

        copied += copies;
        written += (copies ? beside : alone) / 1000.0;
        group.acknowledged = (uint64_t)written;
        group.log_queue.count = beside < alone;
        clock_ns += 1000000;
    }
    return (struct outcome){(double)copied / (double)steps, written / alone / seconds};
}

Test(shelf_share, writers_lose_no_more_than_a_third)
{
    for (uint32_t beside = 0; beside <= 25000; beside += 1000) {
        struct outcome got = share(25000, beside, 5);

        cr_assert_gt(got.written, 0.667, "%u beside it: %f", beside, got.written);
        cr_assert_gt(got.copied, 0.15, "%u beside it: copied %f of the time", beside, got.copied);
    }
}

Test(shelf_share, where_nobody_loses_it_copies_all_the_time)
{
    cr_assert_gt(share(1000, 1000, 5).copied, 0.9);
    cr_assert_gt(share(25000, 20000, 5).copied, 0.9);
    cr_assert_eq(share(1, 1, 5).copied, 1, "it rests for one write a second");
    cr_assert_gt(share(100, 100, 5).copied, 0.75);
}
