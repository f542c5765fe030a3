// SPDX-License-Identifier: Apache-2.0
//
// What a session draws from the partner's status line, and how it reads it.
#include "core/probe.h"
#include "tests/unit/fake_world.h"

static struct carrick_client *a;

static void setup(void)
{
    a = fake_client("a", "echo");
    fake_client("b", "echo");
}

TestSuite(session_status, .init = setup, .fini = fake_end);

// Both slots as they would be with b's line under an earlier number and of an earlier session.
static void older_lines(uint32_t back, void *lines, struct status_line *line)
{
    *line = fake.b.manager->line;
    line->generation--;
    line->heartbeat = 12345;
    memset(lines, 0, STATUS_LINES_BYTES);
    status_line_publish(lines, fake.a.manager->partner_seen.sequence - back, line);
}

Test(session_status, an_older_line_is_no_news)
{
    uint64_t lines[STATUS_LINES_BYTES / 8];
    struct status_line line;

    fake_start_up();
    fake_run_ms(100);
    struct carrick_partner_status before = fake.a.manager->partner_status;
    cr_assert(fake.a.manager->partner_seen.any);
    older_lines(1, lines, &line);
    // A read that began last brings it: what counts is the number, not the time.
    cr_assert_eq(partner_status_take(fake.a.manager, lines, fake_time.now_ns + 1, &line),
                 PARTNER_STATUS_NONE);
    cr_assert_eq(memcmp(&before, &fake.a.manager->partner_status, sizeof(before)), 0);
    // The same line as the newest one is the end of the session.
    older_lines(UINT32_MAX, lines, &line);
    cr_assert_eq(partner_status_take(fake.a.manager, lines, fake_time.now_ns, &line),
                 PARTNER_STATUS_OTHER);
}

Test(session_status, a_newer_line_counts_though_its_read_began_earlier)
{
    uint64_t lines[STATUS_LINES_BYTES / 8];
    struct status_line line;

    fake_start_up();
    fake_run_ms(100);
    older_lines(UINT32_MAX, lines, &line);
    line.generation++;
    status_line_publish(lines, fake.a.manager->partner_seen.sequence + 1, &line);
    uint64_t read_at_ns = fake.a.manager->partner_status.read_at_ns;
    cr_assert_eq(partner_status_take(fake.a.manager, lines, read_at_ns - 1, &line),
                 PARTNER_STATUS_OURS);
    cr_assert_eq(fake.a.manager->partner_status.heartbeat, 12345);
    cr_assert_eq(fake.a.manager->partner_status.read_at_ns, read_at_ns);
}

// The transport of this test fails it when more reads are posted than it takes.
Test(session_status, a_transport_that_takes_one_read_at_a_time)
{
    fake_device("a0")->caps.max_reads = 1;
    fake_device("b0")->caps.max_reads = 1;
    fake_start();
    FAKE_UNTIL(fake.a.manager->session.state == CARRICK_SESSION_READING);
    fake_hold("a0", true, true);
    // Probes fill the lane while bring-up wants to read, and the other way round.
    for (unsigned i = 0; i < 10; i++) {
        fake_run_ms(fake.a.manager->section->timers.probe_ms);
        if (fake.a.manager->session.boot != NULL)
            probe_post(fake.a.manager->session.boot);
        fake_let("a0", 1, 1);
    }
    fake_go("a0");
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
}
