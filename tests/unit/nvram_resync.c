// SPDX-License-Identifier: Apache-2.0
// needs plugin: nvram_shadow
//
// A copy comes back: cut at the fork, brought up to date while appends go on, repaired, its missing tail fetched.
#include "nvram_users.h"

TestSuite(nvram_resync, .fini = w_end, .timeout = 60);

// Node 1 is lost, node 0 goes on alone under generation 2; n records are appended before, m alone.
static void alone(uint64_t n, uint64_t m)
{
    struct carrick_generation two = u_generation(2, 1, n);

    users[0].syncs = users[1].syncs = false;
    u_pair();
    for (uint64_t i = 0; i < n; i++)
        u_append(0, i, 700);
    w_run_ms(50);
    w_kill(1);
    w_run_ms(5);
    cr_assert_eq(CALL(set_mirror, users[0].log, CARRICK_MIRROR_ALONE, &two), CARRICK_OK);
    for (uint64_t i = 0; i < m; i++)
        u_append(0, n + i, 700);
    w_run_ms(50);
    cr_assert_eq(users[0].acknowledged, n + m);
}

static void follow_and_resync(uint64_t cut_above, bool whole)
{
    struct carrick_generation two = u_copy(0).generation;

    cr_assert_eq(CALL(follow, users[1].log, &two, cut_above, whole), CARRICK_OK);
    w_session();
    w_run_ms(5);
    cr_assert_not(u_mirror(0).connected, "a copy that is not brought up to date is written");
    cr_assert_eq(CALL(resync, users[0].log, u_copy(1).last, whole), CARRICK_OK);
}

Test(nvram_resync, partner_catches_up_while_appends_go_on_and_counts_again)
{
    uint64_t appended = 300;
    bool inconsistent = false;

    alone(100, 200);
    u_start(1);
    follow_and_resync(100, false);
    for (unsigned i = 0; i < 200; i++) {
        u_append(0, appended++, 300);
        w_step(world.now_ns + 1000000u);
        inconsistent |= u_copy(1).condition == CARRICK_LOG_INCONSISTENT;
    }
    w_run_ms(100);
    cr_assert(inconsistent, "while it lacked records the copy said nothing of it");
    cr_assert(users[0].follows);
    cr_assert_eq(users[0].since, 100);
    cr_assert_eq(u_mirror(0).log.state, CARRICK_RESYNC_EQUAL);
    cr_assert_eq(u_mirror(0).log.done_bytes, u_mirror(0).log.total_bytes);
    cr_assert_eq(u_copy(1).condition, CARRICK_LOG_WHOLE);
    cr_assert_not(u_copy(1).member);
    // What is acknowledged from now on is in both, so that the partner may count at any moment.
    world.held[0] = true;
    u_append(0, appended++, 300);
    w_run_ms(20);
    cr_assert_lt(users[0].acknowledged, u_copy(0).last, "acknowledged without the equal copy");
    cr_assert_eq(CALL(set_mirror, users[0].log, CARRICK_MIRROR_JOINING, NULL), CARRICK_OK);
    u_append(0, appended++, 300);
    w_run_ms(20);
    cr_assert_lt(users[0].acknowledged, u_copy(0).last, "acknowledged without the joining copy");
    world.held[0] = false;
    w_run_ms(20);
    cr_assert_eq(CALL(set_mirror, users[0].log, CARRICK_MIRROR_BOTH, NULL), CARRICK_OK);
    w_run_ms(20);
    u_told_exactly(0, appended);
    u_told_exactly(1, appended);
}

// Records that the lost node had, and that nobody else has, are void: cut before anything is told.
Test(nvram_resync, copy_is_cut_at_the_fork_before_anything_is_told)
{
    struct carrick_generation two = u_generation(2, 1, 20);

    u_pair();
    for (uint64_t i = 0; i < 20; i++)
        u_append(0, i, 100);
    w_run_ms(20);
    w_session_end();
    for (uint64_t i = 0; i < 5; i++)
        u_append(0, 900 + i, 100); // never acknowledged
    w_kill(0);
    cr_assert_eq(CALL(follow, users[1].log, &two, UINT64_MAX, false), CARRICK_OK);
    u_idle(1);
    cr_assert_eq(CALL(serve, users[1].log, &two, CARRICK_MIRROR_ALONE), CARRICK_OK);
    w_run_ms(10);
    for (uint64_t i = 20; i < 30; i++)
        u_append(1, i, 100);
    w_run_ms(10);
    u_start(0);
    cr_assert_eq(u_copy(0).last, 25);
    cr_assert_eq(CALL(follow, users[0].log, &two, 20, false), CARRICK_OK);
    cr_assert_eq(u_copy(0).last, 20);
    w_run_ms(5);
    // Also when it crashes now: the cut records are not found again.
    w_kill(0);
    u_start(0);
    cr_assert_eq(u_copy(0).last, 20);
    cr_assert_eq(u_copy(0).condition, CARRICK_LOG_WHOLE);
    cr_assert_eq(CALL(follow, users[0].log, &two, 20, false), CARRICK_OK);
    w_run_ms(5);
    cr_assert_eq(users[0].fork, 20);
    w_session();
    w_run_ms(5);
    cr_assert_eq(CALL(resync, users[1].log, 20, false), CARRICK_OK);
    w_run_ms(50);
    cr_assert_eq(u_mirror(1).log.state, CARRICK_RESYNC_EQUAL);
    u_told_exactly(0, 30);
}

Test(nvram_resync, whole_copy_anew_when_the_log_begins_later)
{
    alone(50, 50);
    nv_log_ops.synced(users[0].log, 80);
    w_run_ms(50);
    cr_assert_eq(u_copy(0).first, 81);
    u_start(1);
    cr_assert_eq(u_copy(1).last, 50);
    follow_and_resync(50, true);
    cr_assert_eq(u_copy(1).condition, CARRICK_LOG_INCONSISTENT);
    w_run_ms(50);
    cr_assert_eq(u_mirror(0).log.state, CARRICK_RESYNC_EQUAL);
    cr_assert_eq(u_copy(1).condition, CARRICK_LOG_WHOLE);
    cr_assert_eq(u_copy(1).first, 81);
    cr_assert_eq(u_copy(1).last, 100);
    cr_assert_eq(users[1].fork, 50);
    cr_assert_eq(users[1].told_count, 20);
    cr_assert_eq(users[1].told[0], 80);
}

// It was told what its copy holds, perhaps only a part: all of it is void then, or older content could stay on its disk.
Test(nvram_resync, what_was_told_is_void_when_the_copy_is_taken_anew)
{
    struct carrick_generation two = u_generation(2, 1, 50);

    users[0].syncs = users[1].syncs = false;
    u_pair();
    for (uint64_t i = 0; i < 100; i++) {
        if (i == 50) {
            w_kill(1);
            w_run_ms(5);
            cr_assert_eq(CALL(set_mirror, users[0].log, CARRICK_MIRROR_ALONE, &two), CARRICK_OK);
        }
        u_append(0, i, 700);
        w_run_ms(5);
    }
    nv_log_ops.synced(users[0].log, 80);
    w_run_ms(50);
    u_start(1);
    cr_assert_eq(CALL(follow, users[1].log, &two, 50, false), CARRICK_OK);
    w_session();
    w_run_ms(5);
    // What the last ones say of those before them.
    cr_assert_gt(users[1].told_count, 0);
    cr_assert_lt(users[1].told_count, 50);
    cr_assert_eq(users[1].roles, 1);
    cr_assert_eq(CALL(resync, users[0].log, 50, true), CARRICK_OK);
    w_run_ms(50);
    cr_assert_eq(u_mirror(0).log.state, CARRICK_RESYNC_EQUAL);
    cr_assert_eq(users[1].role, CARRICK_LOG_SHADOW);
    cr_assert_eq(users[1].roles, 2, "its consumer was not told that the copy is taken anew");
    cr_assert_eq(users[1].fork, 0);
    cr_assert_eq(users[1].told_count, 20, "records that are no more count as told");
    cr_assert_eq(users[1].told[0], 80);
}

// The consumer had records on its disk that the owner still holds, and is told of them again: the owner must not write over
// them before that disk has taken them out of the ring again, whatever was said of them before.
Test(nvram_resync, what_is_told_again_stays_until_its_disk_has_it)
{
    struct carrick_generation two = u_generation(2, 1, 50);

    users[0].syncs = users[1].syncs = false;
    u_pair();
    for (uint64_t i = 0; i < 50; i++)
        u_append(0, i, 700);
    w_run_ms(50);
    nv_log_ops.synced(users[1].log, 40);
    w_run_ms(50);
    w_session_end();
    cr_assert_eq(CALL(set_mirror, users[0].log, CARRICK_MIRROR_ALONE, &two), CARRICK_OK);
    for (uint64_t i = 50; i < 70; i++)
        u_append(0, i, 700);
    w_run_ms(50);
    u_idle(1);
    follow_and_resync(50, true);
    w_run_ms(50);
    cr_assert_eq(u_mirror(0).log.state, CARRICK_RESYNC_EQUAL);
    u_told_exactly(1, 70);
    nv_log_ops.synced(users[0].log, 70);
    w_run_ms(500);
    cr_assert_eq(u_copy(0).first, 1, "records up to %llu were given up",
                 (unsigned long long)u_copy(0).first - 1);
    nv_log_ops.synced(users[1].log, 70);
    w_run_ms(500);
    cr_assert_eq(u_copy(0).first, 71);
    cr_assert_eq(u_copy(1).first, 71);
}

static void start_without_consumer(int node)
{
    struct user *user = &users[node];

    w_start(node, u_config);
    *user = (struct user){.node = node, .log = w_group(node, "g1")};
    cr_assert_eq(CALL(attach_monitor, user->log, &u_monitor, user), CARRICK_OK);
    w_run_ms(1);
}

// A log that nobody takes records out of: there is nothing else that would have to be equal.
Test(nvram_resync, log_without_a_consumer_is_brought_up_to_date_by_itself)
{
    struct carrick_generation one = u_generation(1, 0, 0), two = u_generation(2, 1, 5);

    for (int node = 0; node < 2; node++)
        start_without_consumer(node);
    cr_assert_eq(CALL(follow, users[1].log, &one, UINT64_MAX, false), CARRICK_OK);
    cr_assert_eq(CALL(serve, users[0].log, &one, CARRICK_MIRROR_BOTH), CARRICK_OK);
    w_session();
    w_run_ms(20);
    cr_assert_eq(users[0].serving, CARRICK_OK);
    for (uint64_t i = 0; i < 5; i++)
        u_append(0, i, 700);
    w_run_ms(20);
    w_kill(1);
    w_run_ms(5);
    cr_assert_eq(CALL(set_mirror, users[0].log, CARRICK_MIRROR_ALONE, &two), CARRICK_OK);
    for (uint64_t i = 0; i < 50; i++)
        u_append(0, i, 700);
    w_run_ms(50);
    cr_assert_neq(u_mirror(0).shelf.state, CARRICK_RESYNC_EQUAL);
    start_without_consumer(1);
    cr_assert_eq(CALL(follow, users[1].log, &two, 5, false), CARRICK_OK);
    w_session();
    w_run_ms(5);
    if (CALL(resync, users[0].log, u_copy(1).last, false) != CARRICK_OK)
        cr_assert_eq(CALL(resync, users[0].log, u_copy(1).last, true), CARRICK_OK);
    w_run_ms(50);
    cr_assert_eq(u_mirror(0).log.state, CARRICK_RESYNC_EQUAL);
    cr_assert_eq(u_mirror(0).shelf.state, CARRICK_RESYNC_EQUAL);
    cr_assert_eq(CALL(set_mirror, users[0].log, CARRICK_MIRROR_JOINING, NULL), CARRICK_OK);
    cr_assert_eq(CALL(set_mirror, users[0].log, CARRICK_MIRROR_BOTH, NULL), CARRICK_OK);
    u_append(0, 99, 700);
    w_run_ms(50);
    cr_assert_eq(u_copy(0).acknowledged, u_copy(0).last);
    cr_assert_eq(u_copy(1).last, u_copy(0).last);
}

Test(nvram_resync, records_that_are_gone_are_asked_for_as_a_whole_copy)
{
    struct carrick_generation two;

    alone(50, 50);
    nv_log_ops.synced(users[0].log, 80);
    w_run_ms(50);
    u_start(1);
    two = u_copy(0).generation;
    cr_assert_eq(CALL(follow, users[1].log, &two, 50, false), CARRICK_OK);
    w_session();
    w_run_ms(5);
    cr_assert_eq(CALL(resync, users[0].log, 50, false), CARRICK_ERR_BOUNDS);
}

// An unfinished one stays so over a crash, and serves nothing.
Test(nvram_resync, inconsistent_copy_serves_nothing)
{
    struct carrick_generation three = u_generation(3, 2, 0);

    alone(50, 50);
    nv_log_ops.synced(users[0].log, 80);
    w_run_ms(50);
    u_start(1);
    follow_and_resync(50, true);
    for (unsigned i = 0; i < 6; i++)
        w_step(world.now_ns);
    w_kill(1);
    w_run_ms(5);
    cr_assert_eq(u_mirror(0).log.state, CARRICK_RESYNC_FAILED);
    u_start(1);
    cr_assert_eq(u_copy(1).condition, CARRICK_LOG_INCONSISTENT);
    cr_assert_eq(CALL(serve, users[1].log, &three, CARRICK_MIRROR_ALONE), CARRICK_OK);
    w_run_ms(10);
    cr_assert_eq(users[1].serving, CARRICK_ERR_STATE);
    cr_assert_eq(u_copy(1).role, CARRICK_LOG_IDLE);
    cr_assert_eq(users[1].role, CARRICK_LOG_IDLE);
}

// ---- repair

Test(nvram_resync, rotted_record_is_repaired_from_the_partner_and_not_cut)
{
    struct carrick_generation two = u_generation(2, 1, 0);

    u_pair();
    for (uint64_t i = 0; i < 100; i++) {
        u_append(0, i, 5000);
        w_run_ms(1);
    }
    w_run_ms(50);
    w_kill(0);
    for (int i = 0; i < W_REGIONS; i++)
        if (strcmp(world.regions[i].path, "/mem/alpha") == 0)
            for (uint64_t at = 200000; at < 212000; at += 3000)
                world.regions[i].memory[at] ^= 0x10;
    u_start(0);
    cr_assert_eq(u_copy(0).condition, CARRICK_LOG_CORRUPT);
    cr_assert_eq(CALL(serve, users[0].log, &two, CARRICK_MIRROR_ALONE), CARRICK_OK);
    w_run_ms(10);
    cr_assert_eq(users[0].serving, CARRICK_ERR_STATE, "a corrupt copy serves");
    u_idle(1);
    w_session();
    w_run_ms(100);
    cr_assert_eq(u_copy(0).condition, CARRICK_LOG_WHOLE);
    cr_assert_eq(u_copy(0).last, 100);
    w_session_end();
    cr_assert_eq(CALL(serve, users[0].log, &two, CARRICK_MIRROR_ALONE), CARRICK_OK);
    w_run_ms(10);
    cr_assert_eq(users[0].serving, CARRICK_OK);
    u_told_exactly(0, 100);
}

Test(nvram_resync, shadow_whose_record_went_bad_mends_it_and_goes_on)
{
    u_pair();
    for (uint64_t i = 0; i < 5; i++)
        u_append(0, i, 500);
    u_commit(0);
    while (users[0].acknowledged < 5)
        w_step(world.now_ns);
    cr_assert_eq(u_copy(1).last, 0, "the shadow has not looked yet");
    users[1].log->ring.bytes[700] ^= 1;
    w_run_ms(100);
    cr_assert(w_said(1, "corrupt at record 2"));
    cr_assert_eq(u_copy(1).condition, CARRICK_LOG_WHOLE);
    cr_assert(u_mirror(0).connected);
    u_append(0, 5, 500);
    w_run_ms(50);
    cr_assert_eq(users[0].acknowledged, 6);
    u_told_exactly(1, 6);
}

Test(nvram_resync, missing_tail_is_fetched_from_the_longer_copy)
{
    uint64_t n = 0;

    u_pair();
    for (; n < 20; n++)
        u_append(0, n, 50000);
    w_run_ms(50);
    w_session_end();
    for (; n < 60; n++)
        u_append(0, n, 50000); // only here
    w_kill(0);
    w_kill(1);
    u_start(0);
    u_start(1);
    cr_assert_eq(u_copy(0).last, 60);
    cr_assert_eq(u_copy(1).last, 20);
    cr_assert_eq(CALL(fetch, users[1].log, 60), CARRICK_ERR_STATE);
    w_session();
    w_run_ms(5);
    cr_assert_eq(CALL(fetch, users[1].log, 61), CARRICK_ERR_NOT_FOUND);
    cr_assert_eq(CALL(fetch, users[1].log, 60), CARRICK_OK);
    w_run_ms(50);
    cr_assert_eq(users[1].fetches, 1);
    cr_assert_eq(users[1].fetched, CARRICK_OK, "%s", users[1].cause);
    cr_assert_eq(u_copy(1).last, 60);
    cr_assert_arr_eq(users[0].log->ring.bytes, users[1].log->ring.bytes, 3000000);
}

Test(nvram_resync, nothing_of_another_history_is_fetched)
{
    struct carrick_generation one = u_generation(1, 0, 0), nine = u_generation(9, 0, 0);

    u_start(0);
    u_start(1);
    CALL(serve, users[0].log, &one, CARRICK_MIRROR_ALONE);
    CALL(serve, users[1].log, &nine, CARRICK_MIRROR_ALONE);
    w_run_ms(5);
    for (uint64_t i = 0; i < 10; i++)
        u_append(0, i, 100);
    for (uint64_t i = 0; i < 5; i++)
        u_append(1, 100 + i, 300);
    w_run_ms(5);
    u_idle(0);
    u_idle(1);
    w_session();
    w_run_ms(5);
    cr_assert_eq(CALL(fetch, users[1].log, 10), CARRICK_OK);
    w_run_ms(50);
    cr_assert_eq(users[1].fetched, CARRICK_ERR_NOT_FOUND);
    cr_assert_eq(u_copy(1).last, 5);
}

// The partner's copy is not of this history: it is not written over.
Test(nvram_resync, shadow_of_another_history_is_refused)
{
    struct carrick_generation two = u_generation(2, 1, 0), nine = u_generation(9, 0, 0);

    alone(10, 10);
    u_start(1);
    CALL(serve, users[1].log, &nine, CARRICK_MIRROR_ALONE);
    w_run_ms(5);
    for (uint64_t i = 0; i < 5; i++)
        u_append(1, 500 + i, 100);
    w_run_ms(5);
    u_idle(1);
    cr_assert_eq(CALL(follow, users[1].log, &two, UINT64_MAX, false), CARRICK_OK);
    w_session();
    w_run_ms(5);
    cr_assert_eq(CALL(resync, users[0].log, 15, false), CARRICK_OK);
    w_run_ms(50);
    cr_assert_eq(u_mirror(0).log.state, CARRICK_RESYNC_FAILED);
    cr_assert_eq(u_copy(1).last, 15);
    cr_assert_not(u_mirror(0).connected);
}
