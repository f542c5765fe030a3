// SPDX-License-Identifier: Apache-2.0
// needs plugin: nvram_shadow
//
// Two instances of nvram_shadow, owner and shadow: mirror, acknowledge, trim, sessions that end, changes of role.
#include "nvram_users.h"

TestSuite(nvram_pair, .fini = w_end, .timeout = 20);

Test(nvram_pair, acknowledged_only_when_the_partner_has_it)
{
    u_pair();
    world.held[0] = true;
    for (uint64_t i = 0; i < 10; i++)
        u_append(0, i, 1000);
    u_commit(0);
    w_run_ms(100);
    cr_assert_eq(users[0].acknowledged, 0);
    cr_assert_eq(users[0].told_count, 0);
    cr_assert_eq(u_copy(0).last, 10);
    cr_assert_eq(u_copy(0).acknowledged, 0);
    world.held[0] = false;
    w_run_ms(50);
    cr_assert_eq(users[0].acknowledged, 10);
    u_told_exactly(0, 10);
    u_told_exactly(1, 10);
    cr_assert_eq(u_copy(1).last, 10);
    cr_assert_eq(u_copy(1).acknowledged, 10);
    cr_assert_eq(world.nodes[1].shadow_sequence, 10);
    cr_assert_arr_eq(users[0].log->ring.bytes, users[1].log->ring.bytes, 16384);
}

Test(nvram_pair, appends_without_commit_leave_at_the_end_of_the_turn)
{
    u_pair();
    u_append(0, 0, 10);
    w_run_ms(50);
    cr_assert_eq(users[0].acknowledged, 1);
}

// A session ends in the middle: what was not acknowledged is written again, nothing is told twice, nothing is lost.
Test(nvram_pair, unacknowledged_tail_is_written_again_in_the_next_session)
{
    uint64_t appended = 0;

    u_pair();
    for (unsigned round = 0; round < 40; round++) {
        world.random = round;
        for (unsigned i = 0; i < 20; i++)
            u_append(0, appended++, w_random() % 3000);
        u_commit(0);
        for (unsigned steps = (unsigned)(w_random() % 40); steps > 0; steps--)
            w_step(world.now_ns);
        w_session_end();
        w_run_ms(1);
        cr_assert_not(u_mirror(0).connected);
        u_append(0, appended++, 100);
        w_session();
        w_run_ms(w_random() % 2 ? 20 : 0);
    }
    w_run_ms(50);
    u_told_exactly(0, appended);
    u_told_exactly(1, appended);
    cr_assert_eq(users[0].acknowledged, u_copy(0).last);
    cr_assert_eq(users[0].log->refused + users[1].log->refused, 0);
    cr_assert_eq(u_copy(1).condition, CARRICK_LOG_WHOLE);
}

// The shadow's side of a session ends first: what still lands is acknowledged, and is there in the next session.
Test(nvram_pair, what_lands_while_a_session_ends_counts)
{
    u_pair();
    u_append(0, 0, 100);
    w_run_ms(20);
    w_ops()->ending(world.nodes[1].client, CARRICK_REASON_CLIENT, world.now_ns + 1000000000u);
    w_run_ms(20);
    u_append(0, 1, 100);
    w_run_ms(20);
    cr_assert_eq(users[0].acknowledged, 2);
    w_session_end();
    w_session();
    w_run_ms(20);
    cr_assert(u_mirror(0).connected);
    cr_assert_eq(u_copy(1).last, 2);
    u_told_exactly(1, 2);
}

Test(nvram_pair, stalled_without_session_and_goes_on)
{
    u_pair();
    w_session_end();
    u_append(0, 0, 100);
    w_run_ms(1000);
    cr_assert_eq(users[0].acknowledged, 0);
    cr_assert(u_mirror(0).stalled);
    cr_assert_gt(u_mirror(0).waiting_since_ns, 0);
    cr_assert_leq(u_mirror(0).waiting_since_ns, world.now_ns - 900000000u);
    w_session();
    w_run_ms(20);
    cr_assert_eq(users[0].acknowledged, 1);
    cr_assert_not(u_mirror(0).stalled);
}

Test(nvram_pair, alone_acknowledges_by_itself_under_the_new_generation)
{
    struct carrick_generation two = u_generation(2, 1, 0);

    u_pair();
    w_session_end();
    u_append(0, 0, 100);
    w_run_ms(10);
    cr_assert_eq(users[0].acknowledged, 0);
    two.fork_sequence = 1;
    cr_assert_eq(CALL(set_mirror, users[0].log, CARRICK_MIRROR_ALONE, &two), CARRICK_OK);
    w_run_ms(10);
    cr_assert_eq(users[0].acknowledged, 1);
    u_append(0, 1, 100);
    u_commit(0);
    w_run_ms(10);
    cr_assert_eq(users[0].acknowledged, 2);
    cr_assert_arr_eq(u_copy(0).generation.id, two.id, 16);
    cr_assert_eq(CALL(set_mirror, users[0].log, CARRICK_MIRROR_BOTH, NULL), CARRICK_ERR_STATE,
                 "a partner that does not have it all counts");
}

// ---- a full log

Test(nvram_pair, full_log_is_back_pressure_until_both_shelves_have_it)
{
    uint64_t appended = 0, sequence;

    u_pair();
    while (u_append_status(0, appended, 60000, &sequence) == CARRICK_OK) {
        appended++;
        w_run_ms(1);
    }
    cr_assert_gt(appended, 60);
    w_run_ms(200);
    cr_assert_eq(users[0].acknowledged, u_copy(0).last);
    cr_assert_eq(users[0].rooms, 0);
    nv_log_ops.synced(users[0].log, u_copy(0).last);
    w_run_ms(200);
    cr_assert_eq(users[0].rooms, 0, "there is room, and the partner's shelf has nothing of it");
    cr_assert_eq(u_append_status(0, appended, 60000, &sequence), CARRICK_ERR_AGAIN);
    nv_log_ops.synced(users[1].log, u_copy(0).last / 2);
    w_run_ms(200);
    cr_assert_eq(users[0].rooms, 1);
    cr_assert_eq(users[0].synced_everywhere, u_copy(0).last / 2);
    cr_assert_eq(u_copy(1).first, u_copy(0).last / 2 + 1);
    u_append(0, appended, 60000);
    w_run_ms(50);
    u_told_exactly(1, appended + 1);
}

// What is told points into the ring: a shadow that starts again tells all that its copy holds, and what its earlier daemon had
// said of its shelf makes no room until this one's consumer says so, too.
Test(nvram_pair, shadow_that_starts_again_keeps_what_it_told_until_its_consumer_has_it)
{
    struct carrick_generation one = u_generation(1, 0, 0);

    u_pair();
    for (uint64_t i = 0; i < 10; i++)
        u_append(0, i, 60000);
    w_run_ms(50);
    nv_log_ops.synced(users[1].log, 10);
    w_session_end();
    w_session();
    w_run_ms(50);
    cr_assert_eq(users[0].log->owner.peer_synced, 10);
    w_session_end();
    w_kill(1);
    u_start(1);
    cr_assert_eq(CALL(follow, users[1].log, &one, UINT64_MAX, false), CARRICK_OK);
    w_session();
    w_run_ms(50);
    u_told_exactly(1, 10);
    nv_log_ops.synced(users[0].log, 10);
    w_run_ms(200);
    cr_assert_eq(u_copy(0).first, 1);
    cr_assert_eq(u_copy(1).first, 1);
    nv_log_ops.synced(users[1].log, 10);
    w_run_ms(200);
    cr_assert_eq(u_copy(0).first, 11);
    cr_assert_eq(u_copy(1).first, 11);
}

// The owner's space is used again only when the shadow's own head no longer counts it: a crash of the shadow at any time
// finds a whole log.
Test(nvram_pair, many_turns_of_the_ring_with_a_shadow_that_is_found_whole_at_any_time)
{
    uint64_t appended = 0, sequence;

    users[0].syncs = users[1].syncs = true;
    u_pair();
    for (unsigned step = 0; step < 4000; step++) {
        uint64_t length = w_random() % 4 == 0 ? w_random() % 200000 : w_random() % 5000;

        if (u_append_status(0, appended, length, &sequence) == CARRICK_OK)
            appended++;
        if (step % 3 == 0)
            u_commit(0);
        for (unsigned n = (unsigned)(w_random() % 12); n > 0; n--)
            w_step(world.now_ns + 6000000u);
        if (step % 40 == 0) {
            static uint8_t copy[4 << 20];
            static struct nv_cursor marks[(4 << 20) / NV_MARK_BYTES + 2];
            struct carrick_log *shadow = users[1].log;
            struct nv_ring ring;
            struct nv_head head;
            struct nv_scan scan;

            memcpy(copy, shadow->ring.bytes, sizeof copy);
            cr_assert(nv_head_read(shadow->memory, &head));
            nv_ring_init(&ring, copy, sizeof copy, marks);
            nv_ring_reset(&ring, &head.first);
            nv_scan_begin(&scan, &ring, head.limit, users[0].acknowledged, &head.generation);
            while (!nv_scan_step(&scan, 1 << 20))
                ;
            cr_assert_not(scan.corrupt, "step %u: record %lu of %lu acknowledged is bad", step,
                          (unsigned long)ring.tail.sequence, (unsigned long)users[0].acknowledged);
            cr_assert_gt(ring.tail.sequence, users[0].acknowledged);
        }
    }
    w_run_ms(100);
    cr_assert_gt(users[0].log->ring.tail.position, 10u << 22, "only %lu records",
                 (unsigned long)appended);
    u_told_exactly(0, appended);
    u_told_exactly(1, appended);
}

// ---- crash and takeover

// Either node dies in the midst of appends; the other one, or the same one, serves; every acknowledged record is told, in
// order, and none that was not appended.
Test(nvram_pair, takeover_after_a_crash_at_any_step)
{
    for (unsigned history = 0; history < 60; history++) {
        struct carrick_generation two = u_generation(2, 1, 0);
        uint64_t appended = 0, acknowledged;
        int heir = history % 2 ? 1 : 0;

        w_end();
        users[0].syncs = users[1].syncs = history % 3 == 0;
        world.random = history * 77;
        u_pair();
        for (unsigned i = 0; i < 60; i++) {
            u_append(0, appended++, w_random() % 9000);
            if (w_random() % 3 == 0)
                u_commit(0);
            for (unsigned n = (unsigned)(w_random() % 6); n > 0; n--)
                w_step(world.now_ns + 1000000u);
        }
        acknowledged = users[0].told_count; // all that were told are acknowledged
        if (heir == 1)
            u_idle(1);
        w_kill(0);
        if (heir == 1) {
            cr_assert_eq(u_copy(1).role, CARRICK_LOG_IDLE);
        } else {
            u_start(0);
            cr_assert_eq(u_copy(0).condition, CARRICK_LOG_WHOLE);
        }
        two.fork_sequence = u_copy(heir).last;
        cr_assert_eq(CALL(serve, users[heir].log, &two, CARRICK_MIRROR_ALONE), CARRICK_OK);
        w_run_ms(20);
        cr_assert_eq(users[heir].serving, CARRICK_OK);
        cr_assert_eq(users[heir].role, CARRICK_LOG_OWNER);
        // What the same process had synced and trimmed before it died is on its shelf.
        if (heir == 1) {
            cr_assert_geq(users[1].told_count, acknowledged);
            for (uint32_t i = 0; i < users[1].told_count; i++)
                cr_assert_eq(users[1].told[i], i);
        } else {
            uint32_t count = users[0].told_count;

            cr_assert(count > 0 ? users[0].told[count - 1] + 1 >= acknowledged
                                : u_copy(0).first > acknowledged);
            for (uint32_t i = 1; i < count; i++)
                cr_assert_eq(users[0].told[i], users[0].told[i - 1] + 1);
        }
    }
}

// The session stands all the while, so the partner has no cause to say how far its copy is; nor has the owner, which ended
// at any step, come to say how far it wrote.
Test(nvram_pair, owner_that_ends_and_serves_again_in_one_session)
{
    struct carrick_generation one = u_generation(1, 0, 0);

    for (unsigned history = 0; history < 60; history++) {
        uint64_t appended = 0;

        w_end();
        users[0].syncs = users[1].syncs = false;
        world.random = history * 91;
        u_pair();
        for (unsigned round = 0; round < 4; round++) {
            for (unsigned i = 0; i < 10; i++)
                u_append(0, appended++, w_random() % 3000);
            u_commit(0);
            for (unsigned steps = (unsigned)(w_random() % 40); steps > 0; steps--)
                w_step(world.now_ns + 1000000u);
            u_idle(0);
            if (history % 2)
                w_run_ms(w_random() % 20);
            cr_assert_eq(CALL(serve, users[0].log, &one, CARRICK_MIRROR_BOTH), CARRICK_OK);
            w_run_ms(50);
            cr_assert(u_mirror(0).connected, "history %u, round %u", history, round);
            cr_assert_eq(u_copy(0).acknowledged, appended);
            u_told_exactly(0, appended);
            u_told_exactly(1, appended);
        }
        cr_assert_eq(world.sessions, 1);
        cr_assert_eq(users[0].log->refused + users[1].log->refused, 0);
    }
}

Test(nvram_pair, serves_nothing_while_the_partner_can_write)
{
    struct carrick_generation two = u_generation(2, 1, 0);

    u_pair();
    u_idle(1);
    w_run_ms(10);
    cr_assert_eq(CALL(serve, users[1].log, &two, CARRICK_MIRROR_ALONE), CARRICK_ERR_STATE);
    w_session_end();
    cr_assert_eq(CALL(serve, users[1].log, &two, CARRICK_MIRROR_ALONE), CARRICK_OK);
    w_run_ms(10);
    cr_assert_eq(users[1].serving, CARRICK_OK);
}

// ---- the decoy

Test(nvram_pair, only_a_shadow_gives_its_ring_away)
{
    struct carrick_region *mine[2];

    u_pair();
    for (int n = 0; n < 2; n++)
        mine[n] = users[n].log->region;
    cr_assert_eq(world.nodes[1].here[0].region, mine[1]);
    cr_assert_eq(world.nodes[1].here[1].region, mine[1]);
    cr_assert_eq(world.nodes[1].here[1].offset, NV_RING_AT, "head and promise can be written");
    cr_assert_eq(world.nodes[0].here[0].region, mine[0], "the copy can be read");
    cr_assert_neq(world.nodes[0].here[1].region, mine[0], "the owner's copy can be written");
    u_idle(1);
    w_session_end();
    w_session();
    cr_assert_neq(world.nodes[1].here[1].region, mine[1], "an idle copy can be written");
    cr_assert_eq(world.nodes[1].here[0].region, mine[1]);
}

Test(nvram_pair, shadow_in_a_session_with_the_decoy_waits_for_the_next)
{
    struct carrick_generation one = u_generation(1, 0, 0);

    u_start(0);
    u_start(1);
    w_session();
    cr_assert_eq(CALL(follow, users[1].log, &one, UINT64_MAX, false), CARRICK_OK);
    cr_assert_eq(CALL(serve, users[0].log, &one, CARRICK_MIRROR_BOTH), CARRICK_OK);
    w_run_ms(100);
    cr_assert_not(u_mirror(0).connected);
    u_append(0, 0, 10);
    w_run_ms(100);
    cr_assert_eq(users[0].acknowledged, 0);
    w_session_end();
    w_session();
    w_run_ms(20);
    cr_assert(u_mirror(0).connected);
    cr_assert_eq(users[0].acknowledged, 1);
}

// ---- hand-over

Test(nvram_pair, quiet_owner_gets_all_acknowledged_and_hands_over)
{
    struct carrick_generation two = u_generation(2, 1, 0);
    uint64_t sequence;

    u_pair();
    for (uint64_t i = 0; i < 50; i++)
        u_append(0, i, 500);
    nv_log_ops.quiesce(users[0].log, true);
    cr_assert_eq(u_append_status(0, 50, 10, &sequence), CARRICK_ERR_AGAIN);
    w_run_ms(20);
    cr_assert_eq(u_copy(0).acknowledged, 50);
    u_idle(1);
    u_idle(0);
    w_session_end();
    two.fork_sequence = 50;
    cr_assert_eq(CALL(follow, users[0].log, &two, 50, false), CARRICK_OK);
    cr_assert_eq(CALL(serve, users[1].log, &two, CARRICK_MIRROR_BOTH), CARRICK_OK);
    w_session();
    w_run_ms(50);
    cr_assert_eq(users[1].serving, CARRICK_OK);
    u_told_exactly(1, 50);
    u_append(1, 50, 100);
    w_run_ms(50);
    cr_assert_eq(users[1].acknowledged, 51);
    u_told_exactly(0, 51);
}

Test(nvram_pair, two_groups_in_both_directions)
{
    struct carrick_generation one = u_generation(1, 0, 0);
    static const char config[] =
        "{\"groups\":[{\"name\":\"g1\",\"home\":\"alpha\",\"log_bytes\":4194304,\"backing\":"
        "\"memory\"},"
        "{\"name\":\"g2\",\"home\":\"beta\",\"log_bytes\":4194304,\"backing\":\"memory\"}]}";
    const struct carrick_log_entry entry = {.struct_size = sizeof entry, .kind = CARRICK_LOG_TRIM};
    struct carrick_log *logs[2][2];
    char state[4096];
    uint64_t sequence;

    for (int n = 0; n < 2; n++) {
        w_start(n, config);
        w_run_ms(1);
        logs[n][0] = w_group(n, "g1");
        logs[n][1] = w_group(n, "g2");
    }
    for (int g = 0; g < 2; g++) {
        cr_assert_eq(nv_log_ops.serve(logs[g][g], &one, CARRICK_MIRROR_BOTH), CARRICK_OK);
        cr_assert_eq(nv_log_ops.follow(logs[1 - g][g], &one, UINT64_MAX, false), CARRICK_OK);
    }
    w_session();
    w_run_ms(20);
    for (int g = 0; g < 2; g++)
        for (int i = 0; i <= g; i++)
            cr_assert_eq(nv_log_ops.append(logs[g][g], &entry, &sequence), CARRICK_OK);
    w_run_ms(20);
    for (int n = 0; n < 2; n++) {
        cr_assert_eq(logs[n][0]->acknowledged, 1);
        cr_assert_eq(logs[n][1]->acknowledged, 2);
    }
    w_ops()->describe_state(world.nodes[0].client, state, sizeof state);
    cr_assert_not_null(strstr(state, "\"name\":\"g1\",\"role\":\"owner\",\"condition\":\"whole\""));
    cr_assert_not_null(
        strstr(state, "\"name\":\"g2\",\"role\":\"shadow\",\"condition\":\"whole\""));
    // Whoever asks learns that there is no client that would serve them.
    cr_assert_not_null(strstr(state, "}],\"trouble\":\"group g1 and others: nobody decides"));
    cr_assert_eq(state[strlen(state) - 1], '}');
}

Test(nvram_pair, what_its_consumer_has_given_up_takes_no_role)
{
    struct carrick_generation one = u_generation(1, 0, 0), two = u_generation(2, 1, 1);

    u_pair();
    u_append(0, 0, 100);
    w_run_ms(10);
    unsigned told = users[1].changes;
    nv_log_ops.fail(users[1].log);
    w_run_ms(5);
    cr_assert_eq(u_copy(1).condition, CARRICK_LOG_UNUSABLE);
    cr_assert_gt(users[1].changes, told, "the monitor was not told");
    nv_log_ops.idle(users[1].log, "it cannot be served");
    w_session_end();
    w_run_ms(5);
    cr_assert_eq(CALL(follow, users[1].log, &one, UINT64_MAX, false), CARRICK_ERR_STATE);
    cr_assert_eq(CALL(serve, users[1].log, &two, CARRICK_MIRROR_ALONE), CARRICK_ERR_STATE);
    // With the next daemon, and a consumer that can take it, it is what it was.
    w_kill(1);
    u_start(1);
    cr_assert_eq(u_copy(1).condition, CARRICK_LOG_WHOLE);
    cr_assert_eq(u_copy(1).last, 1);
}
