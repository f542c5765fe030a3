// SPDX-License-Identifier: Apache-2.0
// needs plugin: shelf
//
// From the log to the disk: in what order, what is told when, and what errors of the disk do.
#include "shelf_solo.h"

Test(shelf_destage, destaged_data_is_on_the_disk_before_synced_is_told)
{
    solo_begin();
    solo_put(4096, 4096, 1, 0, 1);
    log_acknowledge(alpha, 1);
    world.hold_io = true;
    world_advance(20);
    cr_assert_eq(alog->synced, 0);
    cr_assert(world_io_step()); // the write
    world_settle();
    cr_assert_eq(alog->synced, 0, "synced was told before the sync");
    while (world_io_step())
        world_settle();
    cr_assert_eq(alog->synced, 1);
    solo_disk_is(4096, 4096, 1);
    solo_end();
}

Test(shelf_destage, overlapping_records_land_in_order)
{
    solo_begin();
    world.shuffle = true;
    for (uint64_t round = 0; round < 300; round++) {
        solo_put((round * 37 % 20) * 512, 512 * (1 + round % 5), (uint8_t)(round + 1), 0, round);
        log_acknowledge(alpha, alog->last);
        if (round % 3 == 0)
            world_advance(1);
        if (round % 50 == 0)
            world_advance(30);
    }
    uint8_t model[16384] = {0};
    for (uint64_t round = 0; round < 300; round++)
        memset(model + (round * 37 % 20) * 512, (int)(uint8_t)(round + 1), 512 * (1 + round % 5));
    world_advance(100);
    cr_assert_eq(alog->synced, 300);
    cr_assert_eq(memcmp(file_named(alpha, "/alpha/d1")->bytes, model, sizeof model), 0);
    solo_end();
}

Test(shelf_destage, no_overlap_under_way)
{
    solo_begin();
    world.hold_io = true;
    solo_put(0, 4096, 1, 0, 1);
    log_acknowledge(alpha, 1);
    world_advance(10);
    solo_put(0, 4096, 2, 0, 2);
    log_acknowledge(alpha, 2);
    world_advance(50);
    uint32_t writes = 0;
    for (struct io *io = world.ios; io != NULL; io = io->next)
        writes += io->done == 0 && io->request.operation == CARRICK_FILE_WRITE;
    cr_assert_eq(writes, 1);
    world.hold_io = false;
    world_advance(50);
    solo_disk_is(0, 4096, 2);
    solo_end();
}

Test(shelf_destage, record_behind_the_cursor_stays_in_the_index)
{
    solo_begin();
    world.hold_io = true;
    for (uint64_t i = 0; i < 40; i++) // more than go at once: the cursor stops midway
        solo_put(i * 8192, 4096, 1, 0, i);
    log_acknowledge(alpha, 40);
    world_advance(10);
    solo_put(0, SHELF_BYTES / 2, 2, 0, 100); // over what was written and what was not
    log_acknowledge(alpha, 41);
    world.hold_io = false;
    world.shuffle = true;
    world_settle();
    solo_get(0, 65536, 101);
    world_settle();
    solo_got(0, 65536, 2);
    world_advance(100);
    solo_disk_is(0, SHELF_BYTES / 2, 2);
    cr_assert_eq(alog->synced, 41);
    solo_end();
}

Test(shelf_destage, failed_write_is_no_synced_and_is_tried_again)
{
    int causes[] = {EIO, ENOSPC};

    for (int i = 0; i < 2; i++) {
        solo_begin();
        struct carrick_file *file = file_named(alpha, "/alpha/d1");
        file->fail[CARRICK_FILE_WRITE] = causes[i];
        solo_put(0, 4096, 1, 0, 1);
        log_acknowledge(alpha, 1);
        world_advance(3000);
        cr_assert_eq(alog->synced, 0);
        cr_assert_eq(alpha->errors_logged, 1, "an error is told once, not %d times",
                     (int)alpha->errors_logged);
        char state[8192];
        alpha->ops->describe_state(alpha->client, state, sizeof state);
        cr_assert_not_null(strstr(state, strerror(causes[i])), "%s", state);
        solo_get(0, 4096, 2); // the log still has it
        world_settle();
        cr_assert_eq(user.last_cookie, 2);
        solo_got(0, 4096, 1);
        memset(file->fail, 0, sizeof file->fail);
        world_advance(6000);
        cr_assert_eq(alog->synced, 1);
        solo_disk_is(0, 4096, 1);
        solo_end();
    }
}

Test(shelf_destage, failed_sync_writes_again)
{
    solo_begin();
    struct carrick_file *file = file_named(alpha, "/alpha/d1");
    file->fail[CARRICK_FILE_SYNC] = EIO;
    file->errors_left = 1;
    solo_put(0, 4096, 1, 0, 1);
    log_acknowledge(alpha, 1);
    world_advance(20);
    cr_assert_eq(alog->synced, 0);
    memset(file->bytes, 0, 4096); // lost
    solo_get(0, 4096, 2);
    world_settle();
    solo_got(0, 4096, 1);
    world_advance(1000);
    cr_assert_eq(alog->synced, 1);
    solo_disk_is(0, 4096, 1);
    solo_end();
}

Test(shelf_destage, sync_that_failed_for_another_counts_for_all)
{
    solo_begin();
    solo_put(0, 4096, 1, 0, 1);
    log_acknowledge(alpha, 1);
    world.hold_io = true;
    world_advance(20);
    cr_assert(world_io_step()); // the write
    alpha->client->shelves[0]->sync_failures++;
    memset(file_named(alpha, "/alpha/d1")->bytes, 0, 4096); // lost
    while (world_io_step())
        ; // the syncs, which are told nothing
    cr_assert_eq(alog->synced, 0);
    world.hold_io = false;
    world_advance(1000);
    cr_assert_eq(alog->synced, 1);
    solo_disk_is(0, 4096, 1);
    solo_end();
}

Test(shelf_destage, zero_and_trim_reach_the_disk)
{
    solo_begin();
    solo_put(0, 65536, 1, 0, 1);
    log_acknowledge(alpha, 1);
    world_advance(20);
    solo_disk_is(0, 65536, 1);
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_ZERO, 4096, 4096, NULL, 0, 2), CARRICK_OK);
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_TRIM, 16384, 4096, NULL, 0, 3), CARRICK_OK);
    log_acknowledge(alpha, 3);
    solo_get(0, 65536, 4);
    world_settle();
    solo_got(0, 4096, 1);
    solo_got(4096, 8192, 0);
    solo_got(8192, 16384, 1);
    solo_got(16384, 20480, 0);
    world_advance(20);
    solo_disk_is(4096, 4096, 0);
    solo_disk_is(16384, 4096, 0);
    solo_disk_is(20480, 4096, 1);
    bool trimmed = false;
    for (struct io *io = world.ios; io != NULL; io = io->next)
        trimmed |= io->request.operation == CARRICK_FILE_TRIM;
    cr_assert(trimmed);
    solo_end();
}

Test(shelf_destage, void_records_leave_the_index)
{
    solo_begin();
    world.hold_io = true;
    solo_put(0, 4096, 1, 0, 1);
    solo_put(0, 4096, 2, 0, 2);
    log_acknowledge(alpha, 2);
    log_role(alpha, CARRICK_LOG_SHADOW, 0, 5, 1); // the second never was
    world.hold_io = false;
    world_advance(50);
    solo_disk_is(0, 4096, 1);
    cr_assert_eq(alog->synced, 1);
    solo_end();
}

Test(shelf_destage, what_is_told_again_after_idle_is_destaged)
{
    solo_begin();
    world.hold_io = true;
    solo_put(0, 4096, 1, 0, 1);
    log_acknowledge(alpha, 1);
    world_advance(10); // its write is under way
    log_role(alpha, CARRICK_LOG_IDLE, 0, 1, UINT64_MAX);
    log_role(alpha, CARRICK_LOG_SHADOW, 0, 3, UINT64_MAX);
    log_tell(alpha, 1);
    world.hold_io = false;
    world_advance(50);
    solo_disk_is(0, 4096, 1);
    cr_assert_eq(alog->synced, 1);
    solo_end();
}

Test(shelf_destage, log_of_other_shelves_is_not_destaged)
{
    solo_begin();
    struct carrick_log_entry entry = {.struct_size = sizeof entry,
                                      .kind = CARRICK_LOG_WRITE,
                                      .shelf = 0,
                                      .offset = SHELF_BYTES - 10,
                                      .length = 512,
                                      .data = buffer};
    log_put(alog, &entry);
    log_acknowledge(alpha, 1);
    world_advance(50);
    cr_assert(user.closed);
    cr_assert(alog->failed, "the node still counts as one that can serve it");
    cr_assert_eq(alog->synced, 0);
    cr_assert_eq(alpha->errors_logged, 1);
    solo_end();
}
