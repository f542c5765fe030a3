// SPDX-License-Identifier: Apache-2.0
// needs plugin: shelf
//
// One node's shelf: what reads see, what is destaged when, what a flush waits for, what errors and changes of role do.
#include "shelf_world.h"

#include "plugins/shelf/shelf.h"

#define SHELF_BYTES 1048576u
#define CONFIG                                                                                     \
    "{\"destage_delay_ms\":5,\"shelves\":[{\"name\":\"d1\",\"group\":\"g1\","                      \
    "\"path\":\"/%n/d1\",\"bytes\":1048576},{\"name\":\"d2\",\"group\":\"g1\","                    \
    "\"path\":\"/%n/d2\",\"bytes\":1048576}]}"

static struct node *alpha;
static struct carrick_log *alog;
static struct user user;
static uint8_t buffer[SHELF_BYTES];

static void begin_as(uint32_t mirror)
{
    world_begin(1);
    alpha = &world.nodes[0];
    alog = &alpha->logs.log;
    node_start(alpha, CONFIG);
    log_role(alpha, CARRICK_LOG_OWNER, mirror, 1, UINT64_MAX);
    world_settle();
    cr_assert_eq(user_open(&user, alpha, "d1"), CARRICK_OK);
}

static void begin(void)
{
    begin_as(CARRICK_MIRROR_BOTH);
}

static void end(void)
{
    user_close(&user);
    world_end();
}

static void put(uint64_t offset, uint64_t length, uint8_t value, uint32_t flags, uint64_t cookie)
{
    uint8_t *data = malloc(length);

    memset(data, value, length);
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_WRITE, offset, length, data, flags, cookie),
                 CARRICK_OK);
    memset(data, 0xee, length); // the log has copied it, or keeps no pointer to what is gone
    free(data);
}

static void get(uint64_t offset, uint64_t length, uint64_t cookie)
{
    memset(buffer, 0xaa, sizeof buffer);
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_READ, offset, length, buffer, 0, cookie),
                 CARRICK_OK);
}

static void all_are(uint64_t from, uint64_t to, uint8_t value)
{
    for (uint64_t i = from; i < to; i++)
        cr_assert_eq(buffer[i], value, "byte %d is %d, not %d", (int)i, buffer[i], value);
}

static void disk_is(uint64_t offset, uint64_t length, uint8_t value)
{
    const struct carrick_file *file = file_named(alpha, "/alpha/d1");

    for (uint64_t i = 0; i < length; i++)
        cr_assert_eq(file->bytes[offset + i], value, "byte %d on the disk is %d, not %d",
                     (int)(offset + i), file->bytes[offset + i], value);
}

Test(shelf_store, write_is_answered_when_acknowledged)
{
    begin();
    put(0, 4096, 1, 0, 7);
    world_settle();
    cr_assert_eq(user.answers, 0);
    log_acknowledge(alpha, 1);
    cr_assert_eq(user.answers, 1);
    cr_assert_eq(user.last_cookie, 7);
    cr_assert_eq(user.last_status, CARRICK_OK);
    end();
}

Test(shelf_store, reads_see_the_log_before_the_disk)
{
    begin();
    world.hold_io = true;
    put(4096, 8192, 1, 0, 1);
    put(6000, 100, 2, 0, 2);
    log_acknowledge(alpha, 2);
    put(8192, 4096, 3, 0, 3); // not acknowledged: nobody may see it
    get(0, 16384, 4);
    world_settle();
    cr_assert_eq(user.last_cookie, 4);
    all_are(0, 4096, 0);
    all_are(4096, 6000, 1);
    all_are(6000, 6100, 2);
    all_are(6100, 12288, 1);
    all_are(12288, 16384, 0);
    end();
}

Test(shelf_store, destaged_data_is_on_the_disk_before_synced_is_told)
{
    begin();
    put(4096, 4096, 1, 0, 1);
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
    disk_is(4096, 4096, 1);
    end();
}

Test(shelf_store, overlapping_records_land_in_order)
{
    begin();
    world.shuffle = true;
    for (uint64_t round = 0; round < 300; round++) {
        put((round * 37 % 20) * 512, 512 * (1 + round % 5), (uint8_t)(round + 1), 0, round);
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
    end();
}

// Two writes that overlap are never under way together, since the disk promises no order among them.
Test(shelf_store, no_overlap_under_way)
{
    begin();
    world.hold_io = true;
    put(0, 4096, 1, 0, 1);
    log_acknowledge(alpha, 1);
    world_advance(10);
    put(0, 4096, 2, 0, 2);
    log_acknowledge(alpha, 2);
    world_advance(50);
    uint32_t writes = 0;
    for (struct io *io = world.ios; io != NULL; io = io->next)
        writes += io->done == 0 && io->request.operation == CARRICK_FILE_WRITE;
    cr_assert_eq(writes, 1);
    world.hold_io = false;
    world_advance(50);
    disk_is(0, 4096, 2);
    end();
}

Test(shelf_store, record_behind_the_cursor_stays_in_the_index)
{
    begin();
    world.hold_io = true;
    for (uint64_t i = 0; i < 40; i++) // more than go at once: the cursor stops midway
        put(i * 8192, 4096, 1, 0, i);
    log_acknowledge(alpha, 40);
    world_advance(10);
    put(0, SHELF_BYTES / 2, 2, 0, 100); // over what was written and what was not
    log_acknowledge(alpha, 41);
    world.hold_io = false;
    world.shuffle = true;
    world_settle();
    get(0, 65536, 101);
    world_settle();
    all_are(0, 65536, 2);
    world_advance(100);
    disk_is(0, SHELF_BYTES / 2, 2);
    cr_assert_eq(alog->synced, 41);
    end();
}

Test(shelf_store, failed_write_is_no_synced_and_is_tried_again)
{
    int causes[] = {EIO, ENOSPC};

    for (int i = 0; i < 2; i++) {
        begin();
        struct carrick_file *file = file_named(alpha, "/alpha/d1");
        file->fail[CARRICK_FILE_WRITE] = causes[i];
        put(0, 4096, 1, 0, 1);
        log_acknowledge(alpha, 1);
        world_advance(3000);
        cr_assert_eq(alog->synced, 0);
        cr_assert_eq(alpha->errors_logged, 1, "an error is told once, not %d times",
                     (int)alpha->errors_logged);
        char state[8192];
        alpha->ops->describe_state(alpha->client, state, sizeof state);
        cr_assert_not_null(strstr(state, strerror(causes[i])), "%s", state);
        get(0, 4096, 2); // the log still has it
        world_settle();
        cr_assert_eq(user.last_cookie, 2);
        all_are(0, 4096, 1);
        memset(file->fail, 0, sizeof file->fail);
        world_advance(6000);
        cr_assert_eq(alog->synced, 1);
        disk_is(0, 4096, 1);
        end();
    }
}

// A page whose write-back failed is dropped by the kernel: after a failed sync all must be written once more.
Test(shelf_store, failed_sync_writes_again)
{
    begin();
    struct carrick_file *file = file_named(alpha, "/alpha/d1");
    file->fail[CARRICK_FILE_SYNC] = EIO;
    file->errors_left = 1;
    put(0, 4096, 1, 0, 1);
    log_acknowledge(alpha, 1);
    world_advance(20);
    cr_assert_eq(alog->synced, 0);
    memset(file->bytes, 0, 4096); // lost
    get(0, 4096, 2);
    world_settle();
    all_are(0, 4096, 1);
    world_advance(1000);
    cr_assert_eq(alog->synced, 1);
    disk_is(0, 4096, 1);
    end();
}

// The kernel tells a failed write-back to one sync only: to a catch-up's, say, and not to the one of the sweep.
Test(shelf_store, sync_that_failed_for_another_counts_for_all)
{
    begin();
    put(0, 4096, 1, 0, 1);
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
    disk_is(0, 4096, 1);
    end();
}

Test(shelf_store, bad_place_on_the_disk_answers_eio)
{
    begin();
    struct carrick_file *file = file_named(alpha, "/alpha/d1");
    file->bad_from = 8192;
    file->bad_to = 12288;
    get(4096, 8192, 1);
    world_settle();
    cr_assert_eq(user.last_cookie, 1);
    cr_assert_eq(user.last_status, CARRICK_ERR_SYSTEM);
    cr_assert_eq(user.last_errno, EIO);
    world.hold_io = true; // what lies in the log does not need it
    put(8192, 4096, 5, 0, 2);
    log_acknowledge(alpha, 1);
    world.read_now = false;
    get(4096, 12288, 3);
    world.hold_io = false;
    while (user.last_cookie != 3 && world_step())
        ;
    cr_assert_eq(user.last_status, CARRICK_OK);
    for (int i = 4096; i < 8192; i++)
        cr_assert_eq(buffer[i], 5);
    end();
}

// The disk answers with what was there before the record was destaged; meanwhile the record left the index.
Test(shelf_store, read_that_waits_for_the_disk_misses_nothing)
{
    begin();
    world.read_now = false;
    put(4096, 4096, 1, 0, 1);
    log_acknowledge(alpha, 1);
    world.hold_io = true;
    get(0, 16384, 2);
    struct io *read = world.last_io;
    cr_assert_eq(read->request.operation, CARRICK_FILE_READ);
    // The read takes the disk's content now and is heard of only when all else is done.
    uint8_t *old = calloc(1, 16384);
    world_advance(10);
    for (struct io *io = world.ios; io != NULL; io = io->next) {
        if (io->done == 0 && io != read && io->file == read->file) {
            io_end(io);
            io = world.ios;
        }
    }
    world_settle();
    for (struct io *io = world.ios; io != NULL; io = io->next)
        if (io->done == 0 && io != read)
            io_end(io);
    cr_assert_eq(alog->synced, 1);
    memcpy(read->request.data, old, 16384);
    read->done = ++world.moment;
    read->file->under_way--;
    read->request.fn(read->request.arg, CARRICK_OK, 0);
    world.hold_io = false;
    world_settle();
    cr_assert_eq(user.last_cookie, 2);
    all_are(4096, 8192, 1);
    free(old);
    end();
}

Test(shelf_store, read_waits_for_the_barrier)
{
    begin();
    get(0, 4096, 1);
    cr_assert_eq(user.answers, 0);
    cr_assert_eq(alog->barrier_count, 1);
    world_settle();
    cr_assert_eq(user.answers, 1);
    alog->fresh = false;
    get(0, 4096, 2);
    world_settle();
    cr_assert_eq(user.answers, 1, "a read that may be stale was answered");
    cr_assert(user.closed);
    end();
}

Test(shelf_store, flush_is_immediate_when_the_log_is_persistent)
{
    begin();
    put(0, 4096, 1, 0, 1);
    log_acknowledge(alpha, 1);
    world.hold_io = true;
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_FLUSH, 0, 0, NULL, 0, 2), CARRICK_OK);
    cr_assert_eq(user.answers, 1);
    world_settle();
    cr_assert_eq(user.last_cookie, 2);
    end();
}

Test(shelf_store, flush_waits_for_all_shelves_otherwise)
{
    world_begin(1);
    alpha = &world.nodes[0];
    alog = &alpha->logs.log;
    alog->level = CARRICK_LEVEL_MEMORY;
    node_start(alpha, CONFIG);
    log_role(alpha, CARRICK_LOG_OWNER, CARRICK_MIRROR_BOTH, 1, UINT64_MAX);
    cr_assert_eq(user_open(&user, alpha, "d1"), CARRICK_OK);
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_FLUSH, 0, 0, NULL, 0, 1), CARRICK_OK);
    world_settle();
    cr_assert_eq(user.last_cookie, 1, "nothing was written: there is nothing to wait for");
    put(0, 4096, 1, 0, 2);
    put(8192, 4096, 1, CARRICK_BLOCK_FUA, 3);
    log_acknowledge(alpha, 2);
    cr_assert_eq(user.last_cookie, 2);
    put(16384, 4096, 1, 0, 4);
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_FLUSH, 0, 0, NULL, 0, 5), CARRICK_OK);
    world_advance(100);
    cr_assert_eq(alog->synced, 2, "a flush that waits hurries the destaging");
    cr_assert_eq(user.answers, 2, "the partner's shelf does not have it yet");
    log_everywhere(alpha, 1);
    cr_assert_eq(user.answers, 2);
    log_everywhere(alpha, 2); // what came after the flush is not waited for
    cr_assert_eq(user.answers, 4);
    cr_assert_eq(user.last_cookie, 5);
    end();
}

Test(shelf_store, full_log_holds_writes_back_in_order)
{
    begin();
    alog->full = true;
    uint8_t one[512], two[512];
    memset(one, 1, 512);
    memset(two, 2, 512);
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_WRITE, 0, 512, one, 0, 1), CARRICK_OK);
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_WRITE, 0, 512, two, 0, 2), CARRICK_OK);
    world_settle();
    cr_assert_eq(alog->last, 0);
    alog->full = false;
    alog->consumer->room(alog->arg);
    cr_assert_eq(alog->last, 2);
    log_acknowledge(alpha, 2);
    cr_assert_eq(user.answers, 2);
    get(0, 512, 3);
    world_settle();
    all_are(0, 512, 2);
    end();
}

Test(shelf_store, open_requests_are_bounded)
{
    begin();
    alog->full = true;
    uint32_t taken = 0;
    uint8_t data[512] = {0};
    while (user_ask(&user, CARRICK_BLOCK_WRITE, 0, 512, data, 0, taken) == CARRICK_OK)
        cr_assert_lt(++taken, 5000u);
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_WRITE, 0, 512, data, 0, 0), CARRICK_ERR_AGAIN);
    end();
}

Test(shelf_store, bad_requests_are_refused)
{
    begin();
    uint8_t data[8];
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_READ, SHELF_BYTES - 4, 8, data, 0, 1),
                 CARRICK_ERR_BOUNDS);
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_READ, UINT64_MAX - 3, 8, data, 0, 1),
                 CARRICK_ERR_BOUNDS);
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_ZERO, 1, UINT64_MAX, NULL, 0, 1),
                 CARRICK_ERR_BOUNDS);
    cr_assert_eq(user_ask(&user, 9, 0, 8, data, 0, 1), CARRICK_ERR_INVALID);
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_READ, 0, 8, NULL, 0, 1), CARRICK_ERR_INVALID);
    struct user second;
    cr_assert_eq(user_open(&second, alpha, "d9"), CARRICK_ERR_NOT_FOUND);
    end();
}

Test(shelf_store, zero_and_trim_reach_the_disk)
{
    begin();
    put(0, 65536, 1, 0, 1);
    log_acknowledge(alpha, 1);
    world_advance(20);
    disk_is(0, 65536, 1);
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_ZERO, 4096, 4096, NULL, 0, 2), CARRICK_OK);
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_TRIM, 16384, 4096, NULL, 0, 3), CARRICK_OK);
    log_acknowledge(alpha, 3);
    get(0, 65536, 4);
    world_settle();
    all_are(0, 4096, 1);
    all_are(4096, 8192, 0);
    all_are(8192, 16384, 1);
    all_are(16384, 20480, 0);
    world_advance(20);
    disk_is(4096, 4096, 0);
    disk_is(16384, 4096, 0);
    disk_is(20480, 4096, 1);
    bool trimmed = false;
    for (struct io *io = world.ios; io != NULL; io = io->next)
        trimmed |= io->request.operation == CARRICK_FILE_TRIM;
    cr_assert(trimmed);
    end();
}

Test(shelf_store, change_of_role_closes_and_drops)
{
    begin();
    alog->full = true;
    put(0, 512, 9, 0, 1); // waits for room; its memory is gone, so it must not be looked at again
    alog->full = false;
    world.read_now = false;
    world.hold_io = true;
    get(0, 4096, 2); // waits for the disk
    log_role(alpha, CARRICK_LOG_IDLE, 0, 1, UINT64_MAX);
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_FLUSH, 0, 0, NULL, 0, 3), CARRICK_ERR_STATE);
    memset(buffer, 0x55, sizeof buffer);
    world_settle();
    cr_assert(user.closed);
    log_role(alpha, CARRICK_LOG_OWNER, CARRICK_MIRROR_BOTH, 3, UINT64_MAX);
    alog->consumer->room(alog->arg);
    world.hold_io = false;
    world_advance(20);
    cr_assert_eq(alog->last, 0, "a write of the old term was appended");
    cr_assert_eq(user.answers, 0);
    all_are(0, 4096, 0x55);
    end();
}

Test(shelf_store, acknowledgement_of_an_old_term_answers_nobody)
{
    begin();
    put(0, 512, 9, 0, 1);
    log_role(alpha, CARRICK_LOG_SHADOW, 0, 3, 0);
    world_settle();
    cr_assert(user.closed);
    log_tell(alpha, 1);
    alog->consumer->acknowledged(alog->arg, 1);
    cr_assert_eq(user.answers, 0);
    struct user second;
    cr_assert_eq(user_open(&second, alpha, "d1"), CARRICK_ERR_STATE);
    end();
}

// Only the partner is gone: whoever writes here need not notice.
Test(shelf_store, going_alone_keeps_connections)
{
    begin();
    log_role(alpha, CARRICK_LOG_OWNER, CARRICK_MIRROR_ALONE, 2, UINT64_MAX);
    world_settle();
    cr_assert(!user.closed);
    log_role(alpha, CARRICK_LOG_OWNER, CARRICK_MIRROR_ALONE, 9, UINT64_MAX); // no child of it
    world_settle();
    cr_assert(user.closed);
    end();
}

Test(shelf_store, void_records_leave_the_index)
{
    begin();
    world.hold_io = true;
    put(0, 4096, 1, 0, 1);
    put(0, 4096, 2, 0, 2);
    log_acknowledge(alpha, 2);
    log_role(alpha, CARRICK_LOG_SHADOW, 0, 5, 1); // the second never was
    world.hold_io = false;
    world_advance(50);
    disk_is(0, 4096, 1);
    cr_assert_eq(alog->synced, 1);
    end();
}

Test(shelf_store, what_is_told_again_after_idle_is_destaged)
{
    begin();
    world.hold_io = true;
    put(0, 4096, 1, 0, 1);
    log_acknowledge(alpha, 1);
    world_advance(10); // its write is under way
    log_role(alpha, CARRICK_LOG_IDLE, 0, 1, UINT64_MAX);
    log_role(alpha, CARRICK_LOG_SHADOW, 0, 3, UINT64_MAX);
    log_tell(alpha, 1);
    world.hold_io = false;
    world_advance(50);
    disk_is(0, 4096, 1);
    cr_assert_eq(alog->synced, 1);
    end();
}

Test(shelf_store, log_of_other_shelves_is_not_destaged)
{
    begin();
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
    cr_assert_eq(alog->synced, 0);
    cr_assert_eq(alpha->errors_logged, 1);
    end();
}

Test(shelf_store, new_empty_file_is_not_served_in_place_of_the_old_one)
{
    world_begin(1);
    alpha = &world.nodes[0];
    alog = &alpha->logs.log;
    alog->first = 1000; // what came before is in no log
    alog->last = alog->told = 999;
    node_start(alpha, CONFIG);
    log_role(alpha, CARRICK_LOG_OWNER, CARRICK_MIRROR_BOTH, 1, UINT64_MAX);
    cr_assert_eq(user_open(&user, alpha, "d1"), CARRICK_ERR_STATE);
    world_end();
}

static void config_refused(const char *config, const char *pointer, const char *part)
{
    struct carrick_error error = {.struct_size = sizeof error};
    const struct carrick_client_ops *ops = shelf_plugin_entry()->ops;

    cr_assert_eq(ops->config_check(config, &error), CARRICK_ERR_CONFIG, "taken: %s", config);
    cr_assert_str_eq(error.pointer, pointer);
    cr_assert_not_null(strstr(error.text, part), "\"%s\" is not in: %s", part, error.text);
}

Test(shelf_store, configuration)
{
    const struct carrick_client_ops *ops = shelf_plugin_entry()->ops;
    struct carrick_error error = {.struct_size = sizeof error};

    cr_assert_eq(ops->config_check(CONFIG, &error), CARRICK_OK, "%s", error.text);
    config_refused("[]", "", "object");
    config_refused("{", "", "object");
    config_refused("{}", "/shelves", "at least one");
    config_refused("{\"shelf\":1}", "/shelf", "does not know");
    config_refused("{\"flush\":\"never\"}", "/flush", "persistent");
    config_refused("{\"requests\":3}", "/requests", "power of two");
    config_refused("{\"socket\":\"run\"}", "/socket", "absolute");
    config_refused("{\"shelves\":[{\"name\":\"a\",\"group\":\"g\",\"path\":\"/a\"}]}", "/shelves/0",
                   "needs all");
    config_refused("{\"shelves\":[{\"bytes\":4097}]}", "/shelves/0/bytes", "multiple of 4096");
    config_refused("{\"shelves\":[{\"bytes\":\"1G\"}]}", "/shelves/0/bytes", "whole number");
    config_refused("{\"shelves\":[{\"size\":1}]}", "/shelves/0/size", "no key");
    config_refused("{\"shelves\":[{\"name\":\"a\",\"group\":\"g\",\"path\":\"/a\",\"bytes\":4096},"
                   "{\"name\":\"a\",\"group\":\"g\",\"path\":\"/b\",\"bytes\":4096}]}",
                   "/shelves/1", "names must differ");
    config_refused("{\"shelves\":[{\"name\":\"a\",\"group\":\"g\",\"path\":\"/a\",\"bytes\":4096},"
                   "{\"name\":\"b\",\"group\":\"g\",\"path\":\"/a\",\"bytes\":4096}]}",
                   "/shelves/1", "needs its own");
}
