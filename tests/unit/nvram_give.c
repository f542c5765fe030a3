// SPDX-License-Identifier: Apache-2.0
// needs plugin: nvram_shadow
//
// Records that go out of a copy, and records that come again: what a consumer must know of its disk is known first.
#include "nvram_users.h"

TestSuite(nvram_give, .fini = w_end, .timeout = 60);

static uint64_t given[64];
static uint32_t given_count, given_ends;

static void gives_up(void *arg, const struct carrick_log_entry *entry)
{
    struct user *user = arg;

    u_outside();
    cr_assert_eq(user->role, CARRICK_LOG_IDLE);
    if (entry == NULL)
        given_ends++;
    else
        given[given_count++ % 64] = entry->sequence;
}

// As u_start, with a consumer that keeps a map.
static void start_with_map(int node)
{
    static struct carrick_log_consumer consumer;
    struct user *user = &users[node];

    consumer = u_consumer;
    consumer.gives_up = gives_up;
    given_count = given_ends = 0;
    w_start(node, u_config);
    *user = (struct user){.node = node, .log = w_group(node, "g1")};
    cr_assert_eq(CALL(attach_consumer, user->log, &consumer, user), CARRICK_OK);
    cr_assert_eq(CALL(attach_monitor, user->log, &u_monitor, user), CARRICK_OK);
    w_run_ms(1);
}

// Node 0 logged five records that nobody else has, and died; node 1 goes on under generation 2, from record 20.
static struct carrick_generation forked(void)
{
    struct carrick_generation two = u_generation(2, 1, 20);

    users[0].syncs = users[1].syncs = false;
    u_pair();
    for (uint64_t i = 0; i < 20; i++)
        u_append(0, i, 100);
    w_run_ms(20);
    w_session_end();
    for (uint64_t i = 0; i < 5; i++)
        u_append(0, 900 + i, 100);
    w_kill(0);
    u_idle(1);
    cr_assert_eq(CALL(serve, users[1].log, &two, CARRICK_MIRROR_ALONE), CARRICK_OK);
    w_run_ms(10);
    for (uint64_t i = 20; i < 30; i++)
        u_append(1, i, 100);
    w_run_ms(10);
    return two;
}

Test(nvram_give, records_stay_in_the_log_until_their_places_are_known_for_certain)
{
    struct carrick_generation two = forked();

    start_with_map(0);
    cr_assert_eq(u_copy(0).last, 25);
    cr_assert_eq(CALL(follow, users[0].log, &two, 20, false), CARRICK_OK);
    cr_assert_eq(u_copy(0).last, 20, "what is to go is told as if it were there");
    w_session();
    w_run_ms(50);
    cr_assert_eq(given_count, 5);
    cr_assert_eq(given[0], 21);
    cr_assert_eq(given[4], 25);
    cr_assert_eq(given_ends, 1);
    cr_assert_eq(users[0].role, CARRICK_LOG_IDLE);
    // Who ends here has made nothing known, and finds them again.
    w_kill(0);
    start_with_map(0);
    cr_assert_eq(u_copy(0).last, 25, "cut before the places were known for certain");
    cr_assert_eq(CALL(follow, users[0].log, &two, 20, false), CARRICK_OK);
    w_run_ms(5);
    cr_assert_eq(given_count, 5);
    w_session();
    w_run_ms(5);
    // Its owner is told nothing of it before, so that it does not write.
    cr_assert_eq(CALL(resync, users[1].log, 20, false), CARRICK_OK);
    w_run_ms(50);
    cr_assert_not(u_mirror(1).connected);
    in_call = true;
    nv_log_ops.gave_up(users[0].log);
    in_call = false;
    w_run_ms(100);
    cr_assert_eq(u_mirror(1).log.state, CARRICK_RESYNC_EQUAL);
    cr_assert_eq(users[0].fork, 20);
    u_told_exactly(0, 30);
    w_kill(0);
    start_with_map(0);
    cr_assert_eq(u_copy(0).last, 30);
    cr_assert_eq(u_copy(0).condition, CARRICK_LOG_WHOLE);
}

// The role ends before the answer: what was to go is gone for whoever comes next.
Test(nvram_give, what_was_to_go_is_not_served)
{
    struct carrick_generation two = forked(), three = u_generation(3, 2, 20);

    start_with_map(0);
    cr_assert_eq(CALL(follow, users[0].log, &two, 20, false), CARRICK_OK);
    w_run_ms(5);
    u_idle(0);
    w_run_ms(5);
    cr_assert_eq(u_copy(0).last, 20);
    cr_assert_eq(CALL(serve, users[0].log, &three, CARRICK_MIRROR_ALONE), CARRICK_OK);
    w_run_ms(5);
    cr_assert_eq(u_copy(0).last, 20);
    u_told_exactly(0, 20);
}

Test(nvram_give, a_shadow_that_follows_anew_forgets_before_its_copy_is_emptied)
{
    struct carrick_generation two = u_generation(2, 1, 20);

    users[0].syncs = users[1].syncs = false;
    u_pair();
    for (uint64_t i = 0; i < 20; i++)
        u_append(0, i, 100);
    w_run_ms(20);
    u_told_exactly(1, 20);
    w_session_end();
    cr_assert_eq(CALL(follow, users[1].log, &two, 0, true), CARRICK_OK);
    // Its consumer may read the records until it hears of the change.
    cr_assert_eq(users[1].role, CARRICK_LOG_SHADOW);
    cr_assert_neq(users[1].log->ring.bytes[0], 0, "wiped under its consumer");
    cr_assert_eq(u_copy(1).last, 0);
    cr_assert_eq(u_copy(1).condition, CARRICK_LOG_INCONSISTENT);
    w_run_ms(5);
    cr_assert_eq(users[1].role, CARRICK_LOG_SHADOW);
    cr_assert_eq(users[1].told_count, 0);
    cr_assert_eq(users[1].log->ring.bytes[0], 0);
}

// ---- what is told again

Test(nvram_give, a_shadow_replays_until_all_was_told_that_its_disk_may_hold)
{
    struct carrick_generation one = u_generation(1, 0, 0);

    users[0].syncs = users[1].syncs = false;
    u_pair();
    cr_assert_not(u_copy(1).replays, "a new one has nothing to be told again");
    for (uint64_t i = 0; i < 20; i++) {
        u_append(0, i, 100);
        w_run_ms(10);
    }
    cr_assert_not(u_copy(1).replays);
    w_kill(1);
    u_start(1);
    cr_assert_eq(CALL(follow, users[1].log, &one, UINT64_MAX, false), CARRICK_OK);
    w_run_ms(10);
    // The last ones are not known to be acknowledged, so they are not told; but this disk may have them.
    cr_assert_lt(users[1].told_count, 20);
    cr_assert_gt(users[1].told_count, 0);
    cr_assert(u_copy(1).replays);
    w_session();
    w_run_ms(50);
    u_told_exactly(1, 20);
    cr_assert_not(u_copy(1).replays);
    // Told once more within one life: the disk has what was told before.
    w_session_end();
    u_idle(1);
    w_run_ms(5);
    cr_assert_eq(users[1].told_count, 0);
    cr_assert_eq(CALL(follow, users[1].log, &one, UINT64_MAX, false), CARRICK_OK);
    cr_assert(u_copy(1).replays);
    w_run_ms(5);
    cr_assert_not(u_copy(1).replays);
    u_told_exactly(1, 20);
}

// A copy that is taken anew may bring again what this disk has.
Test(nvram_give, a_copy_that_is_taken_anew_is_told_to_its_end)
{
    struct carrick_generation two = u_generation(2, 1, 0);
    bool replayed = false;

    users[0].syncs = users[1].syncs = false;
    u_pair();
    for (uint64_t i = 0; i < 300; i++)
        u_append(0, i, 700);
    w_run_ms(50);
    w_kill(1);
    w_run_ms(5);
    cr_assert_eq(CALL(set_mirror, users[0].log, CARRICK_MIRROR_ALONE, &two), CARRICK_OK);
    u_start(1);
    cr_assert_eq(CALL(follow, users[1].log, &two, 0, true), CARRICK_OK);
    w_session();
    w_run_ms(5);
    cr_assert_eq(CALL(resync, users[0].log, 0, true), CARRICK_OK);
    for (unsigned i = 0; i < 1000; i++) {
        if (!w_step(world.now_ns))
            w_run_ms(1);
        cr_assert(users[1].told_count == 300 || users[1].told_count == 0 || u_copy(1).replays);
        replayed |= u_copy(1).replays;
    }
    cr_assert(replayed);
    u_told_exactly(1, 300);
    cr_assert_not(u_copy(1).replays);
}

static uint64_t room_bytes(const struct carrick_log *log)
{
    return log->ring.size - (log->ring.tail.position - log->owner.freed.position);
}

// A shadow that died before it heard what may go counts more than its owner, and has room for a record or two. It needs just
// those: its consumer may free nothing before it has seen again all that it saw before.
Test(nvram_give, what_there_is_room_for_is_mirrored_though_more_is_waiting)
{
    struct carrick_generation one = u_generation(1, 0, 0);
    uint64_t count = 0;

    u_pair();
    while (room_bytes(users[0].log) >= 180000) {
        u_append(0, count++, 60000);
        w_run_ms(1);
    }
    w_run_ms(200);
    nv_log_ops.synced(users[0].log, count / 2);
    nv_log_ops.synced(users[1].log, count / 2);
    while (u_copy(0).first == 1)
        cr_assert(w_step(world.now_ns + 1000000000u));
    cr_assert_eq(u_copy(1).first, 1, "it has heard already");
    w_session_end();
    w_kill(1);
    for (uint64_t i = 0; i < 5; i++)
        u_append(0, count + i, 60000);
    u_start(1);
    cr_assert_eq(CALL(follow, users[1].log, &one, UINT64_MAX, false), CARRICK_OK);
    w_session();
    w_run_ms(200);
    cr_assert_eq(u_copy(1).first, 1);
    cr_assert_gt(u_copy(1).last, count);
    cr_assert_lt(u_copy(1).last, u_copy(0).last);
    nv_log_ops.synced(users[1].log, count / 2);
    w_run_ms(200);
    cr_assert_eq(u_copy(1).last, u_copy(0).last);
    u_told_exactly(1, count + 5);
}
