// SPDX-License-Identifier: Apache-2.0
// needs plugin: shelf
//
// What a shelf brings to its disk, and what it makes known of it, when a log tells records again, cuts them, or counts
// anew what is safe.
#include "shelf_world.h"

#define CONFIG                                                                                     \
    "{\"destage_delay_ms\":1,\"shelves\":[{\"name\":\"d1\",\"group\":\"g1\",\"path\":\"/d1\","     \
    "\"bytes\":524288}]}"

static struct node *alpha;
static struct carrick_log *alog;
static bool replays;
static uint32_t gave_up;

static void copy_told(struct carrick_log *log, struct carrick_log_copy *copy)
{
    log_copy(log, copy);
    copy->replays = replays;
}

static void gave_up_told(struct carrick_log *log)
{
    (void)log;
    gave_up++;
}

static void begin(void)
{
    static struct carrick_log_ops ops;

    world_begin(1);
    ops = fake_log_ops;
    ops.copy = copy_told;
    ops.gave_up = gave_up_told;
    replays = false;
    gave_up = 0;
    alpha = &world.nodes[0];
    alog = &alpha->logs.log;
    node_start(alpha, CONFIG);
    alpha->client->log_ops = &ops;
    world_advance(5);
}

static void put(uint64_t offset, uint8_t value)
{
    uint8_t data[512];
    struct carrick_log_entry entry = {.struct_size = sizeof entry,
                                      .kind = CARRICK_LOG_WRITE,
                                      .offset = offset,
                                      .length = sizeof data,
                                      .data = data};

    memset(data, value, sizeof data);
    log_put(alog, &entry);
}

static uint8_t on_disk(uint64_t offset)
{
    return file_named(alpha, "/d1")->bytes[offset];
}

// An earlier daemon had both on the disk, and said so. If this one ended after the older had come again, nobody would know
// that the newer is not there any more.
Test(shelf_replay, nothing_older_comes_over_newer_while_records_are_told_again)
{
    begin();
    file_named(alpha, "/d1")->bytes[4096] = 2;
    put(4096, 1);
    put(4096, 2);
    replays = true;
    log_role(alpha, CARRICK_LOG_SHADOW, 0, 1, UINT64_MAX);
    log_tell(alpha, 1);
    for (unsigned i = 0; i < 300; i++) {
        world_advance(1);
        cr_assert_eq(on_disk(4096), 2, "older content came over newer");
    }
    cr_assert_eq(alog->synced, 0);
    replays = false;
    log_tell(alpha, 2);
    world_advance(50);
    cr_assert_eq(on_disk(4096), 2);
    cr_assert_eq(alog->synced, 2);
    world_end();
}

// Nothing is told any more that could wake it.
Test(shelf_replay, goes_on_by_itself_when_all_was_told_again)
{
    begin();
    put(0, 7);
    replays = true;
    log_role(alpha, CARRICK_LOG_SHADOW, 0, 1, UINT64_MAX);
    log_tell(alpha, 1);
    world_advance(300);
    cr_assert_eq(on_disk(0), 0);
    replays = false;
    world_advance(50);
    cr_assert_eq(on_disk(0), 7);
    cr_assert_eq(alog->synced, 1);
    world_end();
}

Test(shelf_replay, what_a_copy_gives_up_is_marked_for_certain_first)
{
    const struct carrick_log_entry one = {.struct_size = sizeof one,
                                          .kind = CARRICK_LOG_WRITE,
                                          .offset = 2 * SHELF_CHUNK_BYTES - 512,
                                          .length = 1024,
                                          .data = "",
                                          .sequence = 7};
    struct carrick_log_entry beyond = one;

    begin();
    beyond.offset = 524288;
    alog->consumer->gives_up(alog->arg, &one);
    alog->consumer->gives_up(alog->arg, &beyond); // of another configuration: nothing of it is here
    world.hold_io = true;
    alog->consumer->gives_up(alog->arg, NULL);
    world_advance(100);
    cr_assert_eq(gave_up, 0, "said before it is on the disk");
    world.hold_io = false;
    world_advance(5);
    cr_assert_eq(gave_up, 1);
    const struct shelf_map *map = alpha->client->shelves[0]->map;
    cr_assert_eq(shelf_map_next(map, 0), 1);
    cr_assert_eq(shelf_map_next(map, 2), 2);
    cr_assert_eq(shelf_map_next(map, 3), UINT64_MAX);
    cr_assert(shelf_map_range_durable(map, one.offset, one.offset + one.length));
    // Nothing new: said at once.
    alog->consumer->gives_up(alog->arg, &one);
    alog->consumer->gives_up(alog->arg, NULL);
    cr_assert_eq(gave_up, 2);
    world_end();
}

// Alone, it had said that all is safe; then the log counted the partner's disk, too, and that lacked some; then not any
// more. A log that is full of records which nobody says are safe takes no other.
Test(shelf_replay, who_is_alone_again_says_again_what_is_safe)
{
    begin();
    log_role(alpha, CARRICK_LOG_OWNER, CARRICK_MIRROR_ALONE, 1, UINT64_MAX);
    for (uint64_t i = 0; i < 10; i++)
        put(i * 512, 3);
    log_acknowledge(alpha, 10);
    world_advance(100);
    cr_assert_eq(alog->synced, 10);
    log_everywhere(alpha, 10);
    alog->mirror = CARRICK_MIRROR_JOINING;
    alog->consumer->mirror_changed(alog->arg, CARRICK_MIRROR_JOINING);
    world_advance(5);
    alog->synced = 4; // the partner's shelf has that much
    alog->mirror = CARRICK_MIRROR_ALONE;
    alog->consumer->mirror_changed(alog->arg, CARRICK_MIRROR_ALONE);
    world_advance(100);
    cr_assert_eq(alog->synced, 10, "the log is never trimmed again");
    world_end();
}

// The map is read from a slow disk; what is told meanwhile is not forgotten when that ends.
Test(shelf_replay, history_told_from_its_beginning_before_the_map_is_read)
{
    struct carrick_error error = {.struct_size = sizeof error};
    struct carrick_region_want want = {.struct_size = sizeof want};
    struct carrick_client_info info = {.struct_size = sizeof info, .region_max = 1, .wants = &want};

    world_begin(1);
    alpha = &world.nodes[0];
    alog = &alpha->logs.log;
    cr_assert_eq(alpha->ops->create(&alpha->host, CONFIG, &alpha->client, &error), CARRICK_OK);
    cr_assert_eq(alpha->ops->describe(alpha->client, &info), CARRICK_OK);
    world.hold_io = true;
    world_settle();
    put(0, 5);
    log_role(alpha, CARRICK_LOG_SHADOW, 0, 1, UINT64_MAX);
    log_tell(alpha, 1);
    world_advance(5);
    world.hold_io = false;
    world_advance(200);
    cr_assert(shelf_map_whole(alpha->client->shelves[0]->map));
    cr_assert_eq(alog->synced, 1);
    log_trim(alog, 1);
    log_role(alpha, CARRICK_LOG_IDLE, 0, 1, UINT64_MAX);
    log_role(alpha, CARRICK_LOG_OWNER, CARRICK_MIRROR_BOTH, 2, UINT64_MAX);
    struct user user;
    cr_assert_eq(user_open(&user, alpha, "d1"), CARRICK_OK, "taken for new and empty");
    user_close(&user);
    // Nor after a restart.
    world_advance(20);
    node_stop(alpha);
    alog->consumer = NULL;
    alog->role = CARRICK_LOG_IDLE;
    node_start(alpha, CONFIG);
    cr_assert(shelf_map_whole(alpha->client->shelves[0]->map));
    world_end();
}
