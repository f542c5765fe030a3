// SPDX-License-Identifier: Apache-2.0
// needs plugin: shelf
//
// One node's shelf: what reads see, what a flush waits for, what changes of role do.
#include "shelf_solo.h"

Test(shelf_store, write_is_answered_when_acknowledged)
{
    solo_begin();
    solo_put(0, 4096, 1, 0, 7);
    world_settle();
    cr_assert_eq(user.answers, 0);
    log_acknowledge(alpha, 1);
    cr_assert_eq(user.answers, 1);
    cr_assert_eq(user.last_cookie, 7);
    cr_assert_eq(user.last_status, CARRICK_OK);
    solo_end();
}

Test(shelf_store, reads_see_the_log_before_the_disk)
{
    solo_begin();
    world.hold_io = true;
    solo_put(4096, 8192, 1, 0, 1);
    solo_put(6000, 100, 2, 0, 2);
    log_acknowledge(alpha, 2);
    solo_put(8192, 4096, 3, 0, 3); // not acknowledged: nobody may see it
    solo_get(0, 16384, 4);
    world_settle();
    cr_assert_eq(user.last_cookie, 4);
    solo_got(0, 4096, 0);
    solo_got(4096, 6000, 1);
    solo_got(6000, 6100, 2);
    solo_got(6100, 12288, 1);
    solo_got(12288, 16384, 0);
    solo_end();
}

// Two writes that overlap are never under way together, since the disk promises no order among them.

// A page whose write-back failed is dropped by the kernel: after a failed sync all must be written once more.

// The kernel tells a failed write-back to one sync only: to a catch-up's, say, and not to the one of the sweep.

Test(shelf_store, bad_place_on_the_disk_answers_eio)
{
    solo_begin();
    struct carrick_file *file = file_named(alpha, "/alpha/d1");
    file->bad_from = 8192;
    file->bad_to = 12288;
    solo_get(4096, 8192, 1);
    world_settle();
    cr_assert_eq(user.last_cookie, 1);
    cr_assert_eq(user.last_status, CARRICK_ERR_SYSTEM);
    cr_assert_eq(user.last_errno, EIO);
    world.hold_io = true; // what lies in the log does not need it
    solo_put(8192, 4096, 5, 0, 2);
    log_acknowledge(alpha, 1);
    world.read_now = false;
    solo_get(4096, 12288, 3);
    world.hold_io = false;
    while (user.last_cookie != 3 && world_step())
        ;
    cr_assert_eq(user.last_status, CARRICK_OK);
    for (int i = 4096; i < 8192; i++)
        cr_assert_eq(buffer[i], 5);
    solo_end();
}

// The disk answers with what was there before the record was destaged; meanwhile the record left the index.

Test(shelf_store, read_that_waits_for_the_disk_misses_nothing)
{
    solo_begin();
    world.read_now = false;
    solo_put(4096, 4096, 1, 0, 1);
    log_acknowledge(alpha, 1);
    world.hold_io = true;
    solo_get(0, 16384, 2);
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
    solo_got(4096, 8192, 1);
    free(old);
    solo_end();
}

Test(shelf_store, read_waits_for_the_barrier)
{
    solo_begin();
    solo_get(0, 4096, 1);
    cr_assert_eq(user.answers, 0);
    cr_assert_eq(alog->barrier_count, 1);
    world_settle();
    cr_assert_eq(user.answers, 1);
    alog->fresh = false;
    solo_get(0, 4096, 2);
    world_settle();
    cr_assert_eq(user.answers, 1, "a read that may be stale was answered");
    cr_assert(user.closed);
    solo_end();
}

Test(shelf_store, flush_is_immediate_when_the_log_is_persistent)
{
    solo_begin();
    solo_put(0, 4096, 1, 0, 1);
    log_acknowledge(alpha, 1);
    world.hold_io = true;
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_FLUSH, 0, 0, NULL, 0, 2), CARRICK_OK);
    cr_assert_eq(user.answers, 1);
    world_settle();
    cr_assert_eq(user.last_cookie, 2);
    solo_end();
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
    solo_put(0, 4096, 1, 0, 2);
    solo_put(8192, 4096, 1, CARRICK_BLOCK_FUA, 3);
    log_acknowledge(alpha, 2);
    cr_assert_eq(user.last_cookie, 2);
    solo_put(16384, 4096, 1, 0, 4);
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_FLUSH, 0, 0, NULL, 0, 5), CARRICK_OK);
    world_advance(100);
    cr_assert_eq(alog->synced, 2, "a flush that waits hurries the destaging");
    cr_assert_eq(user.answers, 2, "the partner's shelf does not have it yet");
    log_everywhere(alpha, 1);
    cr_assert_eq(user.answers, 2);
    log_everywhere(alpha, 2); // what came after the flush is not waited for
    cr_assert_eq(user.answers, 4);
    cr_assert_eq(user.last_cookie, 5);
    solo_end();
}

Test(shelf_store, full_log_holds_writes_back_in_order)
{
    solo_begin();
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
    solo_get(0, 512, 3);
    world_settle();
    solo_got(0, 512, 2);
    solo_end();
}

Test(shelf_store, open_requests_are_bounded)
{
    solo_begin();
    alog->full = true;
    uint32_t taken = 0;
    uint8_t data[512] = {0};
    while (user_ask(&user, CARRICK_BLOCK_WRITE, 0, 512, data, 0, taken) == CARRICK_OK)
        cr_assert_lt(++taken, 5000u);
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_WRITE, 0, 512, data, 0, 0), CARRICK_ERR_AGAIN);
    solo_end();
}

Test(shelf_store, bad_requests_are_refused)
{
    solo_begin();
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
    solo_end();
}

Test(shelf_store, change_of_role_closes_and_drops)
{
    solo_begin();
    alog->full = true;
    solo_put(0, 512, 9, 0,
             1); // waits for room; its memory is gone, so it must not be looked at again
    alog->full = false;
    world.read_now = false;
    world.hold_io = true;
    solo_get(0, 4096, 2); // waits for the disk
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
    solo_got(0, 4096, 0x55);
    solo_end();
}

Test(shelf_store, acknowledgement_of_an_old_term_answers_nobody)
{
    solo_begin();
    solo_put(0, 512, 9, 0, 1);
    log_role(alpha, CARRICK_LOG_SHADOW, 0, 3, 0);
    world_settle();
    cr_assert(user.closed);
    log_tell(alpha, 1);
    alog->consumer->acknowledged(alog->arg, 1);
    cr_assert_eq(user.answers, 0);
    struct user second;
    cr_assert_eq(user_open(&second, alpha, "d1"), CARRICK_ERR_STATE);
    solo_end();
}

// Only the partner is gone: whoever writes here need not notice.

Test(shelf_store, going_alone_keeps_connections)
{
    solo_begin();
    log_role(alpha, CARRICK_LOG_OWNER, CARRICK_MIRROR_ALONE, 2, UINT64_MAX);
    world_settle();
    cr_assert(!user.closed);
    log_role(alpha, CARRICK_LOG_OWNER, CARRICK_MIRROR_ALONE, 9, UINT64_MAX); // no child of it
    world_settle();
    cr_assert(user.closed);
    solo_end();
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
