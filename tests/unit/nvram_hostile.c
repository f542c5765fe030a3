// SPDX-License-Identifier: Apache-2.0
// needs plugin: nvram_shadow
//
// What a partner says that cannot be: nothing is told, nor acknowledged, by it.
#include "nvram_users.h"

TestSuite(nvram_hostile, .fini = w_end, .timeout = 20);

static void say(int from, const struct nv_message *message)
{
    uint8_t bytes[NV_MESSAGE_BYTES];

    nv_message_encode(message, bytes);
    w_ops()->received(world.nodes[1 - from].client, &world.nodes[1 - from].vis[0], bytes,
                      sizeof bytes);
    w_run_ms(20);
}

Test(nvram_hostile, shadow_hears_garbage_and_tells_nothing_of_it)
{
    uint8_t garbage[NV_MESSAGE_BYTES];

    u_pair();
    for (uint64_t i = 0; i < 5; i++)
        u_append(0, i, 100);
    w_run_ms(50);
    u_told_exactly(1, 5);
    for (unsigned i = 0; i < 2000; i++) {
        for (unsigned b = 0; b < sizeof garbage; b++)
            garbage[b] = (uint8_t)w_random();
        if (i % 2)
            memcpy(garbage, "Nms1", 4), garbage[4] = (uint8_t)(1 + i % 5), garbage[5] = 0;
        w_ops()->received(world.nodes[1].client, &world.nodes[1].vis[0], garbage,
                          i % 3 ? sizeof garbage : (uint32_t)(w_random() % 4096 % sizeof garbage));
        w_run_ms(1);
    }
    u_told_exactly(1, 5);
    cr_assert_eq(u_copy(1).condition, CARRICK_LOG_WHOLE);
    say(0,
        &(struct nv_message){.kind = NV_ADVANCE, .last = 1ull << 50, .acknowledged = 1ull << 50});
    say(0, &(struct nv_message){.kind = NV_ADVANCE, .last = 2, .acknowledged = 1});
    say(0, &(struct nv_message){.kind = NV_ADVANCE, .last = 5, .acknowledged = 5, .trim = 9});
    cr_assert_eq(u_copy(1).condition, CARRICK_LOG_WHOLE);
    cr_assert_eq(u_copy(1).first, 1);
    cr_assert_gt(users[1].log->refused, 3);
    u_told_exactly(1, 5);
    // It goes on with what is sound.
    u_append(0, 5, 100);
    w_run_ms(50);
    u_told_exactly(1, 6);
}

// Records that were never written: they may have been lost, so the copy is out, and nothing of them is told.
Test(nvram_hostile, shadow_told_of_records_that_are_not_there_does_not_tell_them)
{
    u_pair();
    u_append(0, 0, 100);
    w_run_ms(50);
    say(0, &(struct nv_message){.kind = NV_ADVANCE, .last = 3, .acknowledged = 3});
    u_told_exactly(1, 1);
    cr_assert_eq(u_copy(1).condition, CARRICK_LOG_CORRUPT);
    cr_assert_eq(u_copy(1).last, 1);
}

Test(nvram_hostile, owner_hears_garbage_and_acknowledges_nothing_by_it)
{
    u_pair();
    world.held[0] = true;
    for (uint64_t i = 0; i < 5; i++)
        u_append(0, i, 100);
    w_run_ms(10);
    say(1, &(struct nv_message){.kind = NV_SYNCED,
                                .synced = 1ull << 40,
                                .persisted = 1ull << 40,
                                .last = 1ull << 40,
                                .first = {.sequence = 1ull << 40, .position = 1ull << 40}});
    say(1, &(struct nv_message){.kind = NV_ATTACHED, .persisted = 100, .synced = 100});
    cr_assert_eq(users[0].acknowledged, 0);
    cr_assert_eq(u_copy(0).first, 1);
    cr_assert_eq(users[0].synced_everywhere, 0);
    world.held[0] = false;
    w_run_ms(20);
    cr_assert_eq(users[0].acknowledged, 5);
}
