// SPDX-License-Identifier: Apache-2.0
// needs plugin: nvram_shadow
//
// Reads of an owner are answered only with its partner's promise, read after they came.
#include "nvram_users.h"

TestSuite(nvram_promise, .fini = w_end, .timeout = 20);

Test(nvram_promise, reads_are_fresh_only_while_the_promise_stands)
{
    u_pair();
    cr_assert_eq(CALL(read_barrier, users[0].log, u_barrier, &users[0]), CARRICK_OK);
    cr_assert_eq(users[0].fresh + users[0].stale, 0);
    w_run_ms(1);
    cr_assert_eq(users[0].fresh, 1);
    // Withdrawn while the read is under way, and before it takes effect.
    cr_assert_eq(CALL(read_barrier, users[0].log, u_barrier, &users[0]), CARRICK_OK);
    nv_log_ops.commit(users[0].log);
    u_idle(1);
    w_run_ms(1);
    cr_assert_eq(users[0].fresh, 1);
    cr_assert_eq(users[0].stale, 1);
}

Test(nvram_promise, who_asks_during_a_read_gets_a_later_one)
{
    u_pair();
    world.held[0] = true;
    cr_assert_eq(CALL(read_barrier, users[0].log, u_barrier, &users[0]), CARRICK_OK);
    nv_log_ops.commit(users[0].log);
    cr_assert_eq(CALL(read_barrier, users[0].log, u_barrier, &users[0]), CARRICK_OK);
    nv_log_ops.commit(users[0].log);
    cr_assert_eq(world.nodes[0].vis[1].count, 1);
    w_vi_step(&world.nodes[0].vis[1]);
    cr_assert_eq(users[0].fresh, 1);
    w_vi_step(&world.nodes[0].vis[1]);
    cr_assert_eq(users[0].fresh, 2);
}

// Many do not wait for the look that is under way: they get one of their own beside it, which began after they asked.
Test(nvram_promise, many_who_ask_during_a_read_get_one_beside_it)
{
    u_pair();
    world.held[0] = true;
    for (unsigned i = 0; i < 200; i++) {
        cr_assert_eq(CALL(read_barrier, users[0].log, u_barrier, &users[0]), CARRICK_OK);
        nv_log_ops.commit(users[0].log);
    }
    cr_assert_gt(world.nodes[0].vis[1].count, 1);
    cr_assert_leq(world.nodes[0].vis[1].count, NV_LOOKS);
    w_vi_step(&world.nodes[0].vis[1]);
    cr_assert_eq(users[0].fresh, 1);
    u_idle(1); // the others see that it is withdrawn
    world.held[0] = false;
    w_run_ms(10);
    cr_assert_eq(users[0].fresh, 1);
    cr_assert_eq(users[0].stale, 199);
}

Test(nvram_promise, promise_of_another_generation_or_a_torn_one_is_none)
{
    struct carrick_generation other = u_generation(9, 1, 0);

    u_pair();
    users[1].log->memory[NV_PROMISE_AT + 33] ^= 1;
    cr_assert_eq(CALL(read_barrier, users[0].log, u_barrier, &users[0]), CARRICK_OK);
    nv_log_ops.commit(users[0].log);
    for (int i = 0; i < 100; i++)
        w_step_at_once();
    cr_assert_eq(users[0].fresh, 0);
    cr_assert_eq(users[0].stale, 1);
    CALL(bear, users[1].log, &other, true);
    cr_assert_eq(CALL(read_barrier, users[0].log, u_barrier, &users[0]), CARRICK_OK);
    w_run_ms(1);
    cr_assert_eq(users[0].fresh, 0);
    cr_assert_eq(users[0].stale, 2);
}

Test(nvram_promise, reads_wait_over_a_lost_session_and_are_refused_when_the_role_is_lost)
{
    u_pair();
    world.held[0] = true;
    cr_assert_eq(CALL(read_barrier, users[0].log, u_barrier, &users[0]), CARRICK_OK);
    w_session_end();
    w_run_ms(10);
    cr_assert_eq(users[0].fresh + users[0].stale, 0);
    world.held[0] = false;
    w_session();
    w_run_ms(10);
    cr_assert_eq(users[0].fresh, 1);
    w_session_end();
    cr_assert_eq(CALL(read_barrier, users[0].log, u_barrier, &users[0]), CARRICK_OK);
    u_idle(0);
    w_run_ms(10);
    cr_assert_eq(users[0].stale, 1);
}

Test(nvram_promise, restart_withdraws_the_promise)
{
    struct nv_promise promise;

    u_pair();
    w_kill(1);
    u_start(1);
    cr_assert(nv_promise_decode(users[1].log->memory + NV_PROMISE_AT, &promise));
    cr_assert_not(promise.standing);
    cr_assert_eq(u_copy(1).role, CARRICK_LOG_IDLE);
}
