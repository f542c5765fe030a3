// SPDX-License-Identifier: Apache-2.0
// needs plugin: nvram_shadow
//
// A shadow that becomes idle holds records that the owner did not come to tell of: it looks for them before it is judged by
// what the owner knows.
#include "nvram_users.h"

enum { COUNT = 5 };

TestSuite(nvram_untold, .fini = w_end, .timeout = 20);

// All are acknowledged, and the shadow has heard of none. Both end, the shadow first.
static void handed_over(void)
{
    u_pair();
    for (uint64_t i = 0; i < COUNT; i++)
        u_append(0, i, 500);
    u_commit(0);
    while (users[0].acknowledged < COUNT)
        cr_assert(w_step(world.now_ns));
    cr_assert_eq(u_copy(1).last, 0, "the shadow has heard of them already");
    u_idle(1);
    u_idle(0);
}

Test(nvram_untold, an_idle_copy_that_was_not_told_of_its_records_is_whole)
{
    handed_over();
    for (unsigned i = 0; i < 300; i++) {
        cr_assert_eq(u_copy(1).condition, CARRICK_LOG_WHOLE);
        if (!w_step(world.now_ns))
            w_run_ms(1);
    }
    cr_assert_eq(u_copy(1).last, COUNT);
    cr_assert_not(w_said(1, "corrupt"));
}

// However far it got, it can serve: its partner may be gone for good.
Test(nvram_untold, the_other_copy_serves_when_the_old_owner_dies_at_any_step)
{
    struct carrick_generation two = u_generation(2, 1, COUNT);

    for (unsigned steps = 0; steps < 40; steps++) {
        handed_over();
        for (unsigned i = 0; i < steps; i++)
            w_step(world.now_ns);
        w_kill(0);
        // By this the monitor judges whether it may.
        cr_assert_eq(u_copy(1).condition, CARRICK_LOG_WHOLE);
        cr_assert_eq(CALL(serve, users[1].log, &two, CARRICK_MIRROR_ALONE), CARRICK_OK);
        w_run_ms(10);
        cr_assert_eq(users[1].serving, CARRICK_OK, "step %u: %s", steps, users[1].cause);
        u_told_exactly(1, COUNT);
        w_end();
    }
}

// One of them went bad: that is found, and mended from the other copy.
Test(nvram_untold, a_copy_that_lacks_what_was_acknowledged_is_found)
{
    handed_over();
    users[1].log->ring.bytes[700] ^= 1;
    while (u_copy(1).condition == CARRICK_LOG_WHOLE && w_step(world.now_ns + 1000000u))
        ;
    cr_assert_eq(u_copy(1).condition, CARRICK_LOG_CORRUPT);
    cr_assert(w_said(1, "corrupt at record 2: it lacks records"));
    w_run_ms(50);
    cr_assert_eq(u_copy(1).condition, CARRICK_LOG_WHOLE);
    cr_assert_eq(u_copy(1).last, COUNT);
}

// The partner's word is not forgotten with the session: what is lost without a trace is lost for all that.
Test(nvram_untold, what_the_partner_knew_counts_when_it_is_gone)
{
    struct carrick_generation two = u_generation(2, 1, COUNT);

    handed_over();
    memset(users[1].log->ring.bytes, 0, users[1].log->ring.size);
    while (world.nodes[1].client->logs[0].peer.state.role != CARRICK_LOG_IDLE)
        cr_assert(w_step(world.now_ns + 1000000u));
    w_kill(0);
    cr_assert_eq(CALL(serve, users[1].log, &two, CARRICK_MIRROR_ALONE), CARRICK_OK);
    w_run_ms(10);
    cr_assert_eq(users[1].serving, CARRICK_ERR_STATE);
}
