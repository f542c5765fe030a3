// SPDX-License-Identifier: Apache-2.0
//
// The last step of a session: until the transports have said that all is closed, nothing may be used again, and it is
// said by name what hangs.
#include "tests/unit/fake_world.h"

static struct carrick_client *a, *b;

static void setup(void)
{
    a = fake_client("a", "echo");
    b = fake_client("b", "echo");
    fake.links = 2;
    fake_want(b, 4096, FAKE_RW);
    fake_start_up();
}

TestSuite(session_close, .init = setup, .fini = fake_end);

Test(session_close, a_transport_that_never_says_closed)
{
    const struct session *session = &fake.a.manager->session;
    uint32_t generation = session->generation;
    uint64_t bringup_ms = fake.a.manager->section->timers.bringup_ms;

    fake_device("a1")->hold_closed = true;
    session_end(fake.a.manager, CARRICK_REASON_OPERATOR, "test");
    FAKE_UNTIL(session->state == CARRICK_SESSION_CLOSING);
    fake_run_ms(bringup_ms - 10);
    cr_assert(!fake_logged("session-stuck"), "not before its time");
    fake_run_ms(20 * bringup_ms);
    cr_assert_eq(session->state, CARRICK_SESSION_CLOSING);
    cr_assert_eq(session->generation, generation);
    cr_assert_eq(a->endeds, 0, "the partner may still write");
    cr_assert_eq(fake_here(a, 0)[0], 0, "its memory is still there");
    cr_assert(fake_logged("session-stuck link1"), "nobody was told what hangs");
    cr_assert(!fake_logged("session-stuck link0"), "it does not hang");
    cr_assert(strstr(fake.a.manager->links[1].cause, "endpoints") != NULL);
    // Said at growing intervals, it does not fill the log.
    unsigned said = 0;
    for (unsigned i = 0; i < FAKE_LOG_LINES; i++)
        said += strstr(fake_time.line[i], "session-stuck") != NULL;
    cr_assert_leq(said, 6);

    fake_let_closed("a1");
    FAKE_UNTIL(a->endeds == 1 && fake_is_up(&fake.a) && fake_is_up(&fake.b));
    cr_assert_eq(session->generation, generation + 1);
    cr_assert_eq(b->endeds, 1);
}
