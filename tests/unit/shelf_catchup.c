// SPDX-License-Identifier: Apache-2.0
// needs plugin: shelf
//
// Bringing the partner's shelf up to date while writes go on: two nodes, their logs and disks, any order of events.
#include "shelf_pair.h"

#include "plugins/shelf/catchup.h"

// One random step of writers, logs, disks, messages and time.
static void random_step(bool write)
{
    switch (world_random() % 8) {
    case 0:
        if (write)
            pair_write_random();
        log_mirror(alpha);
        break;
    case 1:
        log_tell(beta, blog->told + world_random() % 4);
        break;
    case 2:
        world.now_ns += world_random() % 3000000;
        break;
    case 3:
        world_timer_step();
        break;
    case 4:
        world_packet_step();
        break;
    case 5:
        if (!world_completion_step(alpha))
            world_completion_step(beta);
        break;
    default:
        world_io_step();
    }
}

Test(shelf_catchup, writes_go_on_meanwhile)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        pair_begin_with(seed, CONFIG);
        world.shuffle = true;
        world.read_now = seed % 2 == 0;
        pair_partner_goes();
        for (int i = 0; i < 40; i++) {
            pair_write_random();
            world_advance(i % 8 == 0 ? 10 : 0);
        }
        cr_assert_gt(pair_marked(alpha), 0);
        pair_partner_comes();
        for (int i = 0; i < 1500; i++) {
            random_step(alog->last < 900);
            if (world_random() % 400 == 0) { // the session is lost, and comes back
                world_session(false);
                alog->consumer->partner_follows(alog->arg, false, 0);
                for (int k = 0; k < 10; k++)
                    pair_write_random();
                world_advance(world_random() % 20);
                pair_partner_comes();
            }
        }
        pair_bring_to_end();
        for (int i = 0; i < 30; i++)
            pair_write_random(); // from here on records alone keep it equal
        pair_is_equal();
        pair_end();
    }
}

// What both had acknowledged and the partner's disk may lack is marked first; then the log may forget it.
Test(shelf_catchup, going_alone_marks_and_lets_the_log_go)
{
    pair_begin();
    pair_write(4 * SHELF_CHUNK_BYTES, 4096, 1);
    world_advance(50); // on the own disk, not on the partner's
    cr_assert_eq(alog->synced, alog->last);
    cr_assert_lt(alog->everywhere, alog->last);
    world.hold_io = true;
    pair_partner_goes();
    cr_assert_lt(alog->synced, alog->last, "the map is not durable yet");
    world.hold_io = false;
    world_advance(50);
    cr_assert_eq(alog->synced, alog->last);
    cr_assert_eq(shelf_map_next(alpha->client->shelves[0]->map, 4), 4);
    pair_end();
}

static struct packet *chunk_on_its_way(uint64_t chunk)
{
    for (struct packet *at = world.packets; at != NULL; at = at->next) {
        struct shelf_message message;
        if (shelf_message_decode(at->bytes, at->length, &message) && message.kind == SHELF_CHUNK &&
            message.chunk == chunk)
            return at;
    }
    return NULL;
}

static void until_chunk(uint64_t chunk)
{
    world.hold_packets = true;
    for (int i = 0; i < 1000 && chunk_on_its_way(chunk) == NULL; i++) {
        world_settle();
        // The question and its answer pass, chunks stay.
        struct shelf_message message;
        if (world.packets != NULL &&
            shelf_message_decode(world.packets->bytes, world.packets->length, &message) &&
            message.kind != SHELF_CHUNK)
            world_packet_step();
    }
    cr_assert_not_null(chunk_on_its_way(chunk));
}

// The chunk was read before the write; the write is on the follower's disk before the chunk comes.
Test(shelf_catchup, copied_chunk_never_overwrites_a_newer_write)
{
    for (int destaged = 0; destaged < 2; destaged++) {
        pair_begin();
        pair_partner_goes();
        pair_write(5 * SHELF_CHUNK_BYTES, 4096, 1);
        world_advance(20);
        pair_partner_comes();
        until_chunk(5);
        pair_write(5 * SHELF_CHUNK_BYTES + 512, 1024, 2);
        log_mirror(alpha);
        log_tell(beta, alog->acknowledged);
        if (destaged) {
            world_advance(20);
            cr_assert_eq(file_named(beta, "/d1")->bytes[5 * SHELF_CHUNK_BYTES + 512], 2);
        } else {
            world.hold_io = true;
            world_advance(3); // its write is under way
        }
        world.hold_packets = false;
        world_settle();
        world.hold_io = false;
        pair_bring_to_end();
        pair_is_equal();
        pair_end();
    }
}

// The follower has an older record of the place, not yet destaged, which the owner's log has long forgotten.
Test(shelf_catchup, older_record_never_lands_on_a_copied_chunk)
{
    pair_begin();
    pair_write(7 * SHELF_CHUNK_BYTES, 4096, 1);
    pair_sync();
    pair_partner_goes();
    pair_write(7 * SHELF_CHUNK_BYTES, 4096, 2);
    world_advance(30);
    cr_assert_gt(alog->first, alog->last, "the owner's log is empty");
    log_role(beta, CARRICK_LOG_IDLE, 0, 1, UINT64_MAX);
    log_role(beta, CARRICK_LOG_SHADOW, 0, 2, UINT64_MAX);
    struct carrick_file *disk = file_named(beta, "/d1");
    disk->fail[CARRICK_FILE_WRITE] = EIO; // destaging rests, with the record in the index
    log_tell(beta, blog->last);
    world_advance(10);
    memset(disk->fail, 0, sizeof disk->fail);
    world_session(true);
    alog->consumer->partner_follows(alog->arg, true, blog->last);
    world_settle();
    pair_bring_to_end();
    pair_is_equal();
    pair_end();
}

Test(shelf_catchup, mark_goes_only_when_the_partner_has_synced)
{
    pair_begin();
    pair_partner_goes();
    pair_write(0, 4096, 1);
    world_advance(20);
    uint64_t before = pair_marked(alpha);
    struct carrick_file *disk = file_named(beta, "/d1");
    disk->fail[CARRICK_FILE_SYNC] = EIO;
    pair_partner_comes();
    world_advance(50);
    cr_assert_eq(pair_marked(alpha), before);
    cr_assert_neq(alog->report.state, CARRICK_RESYNC_EQUAL);
    memset(disk->fail, 0, sizeof disk->fail);
    world_advance(10000);
    pair_bring_to_end();
    pair_is_equal();
    pair_end();
}

static uint32_t requests_since(struct node *node, uint64_t moment, uint32_t operation)
{
    uint32_t count = 0;

    for (const struct io *io = world.ios; io != NULL; io = io->next)
        count += io->begun > moment && io->file == file_named(node, "/d1") &&
                 io->request.operation == operation;
    return count;
}

Test(shelf_catchup, chunks_share_pieces)
{
    pair_begin();
    pair_partner_goes();
    for (uint64_t i = 0; i < CHUNKS; i++)
        pair_write(i * SHELF_CHUNK_BYTES, 512, (uint8_t)(i + 1));
    world_advance(50);
    uint64_t moment = world.moment;
    pair_partner_comes();
    pair_bring_to_end();
    uint32_t writes = requests_since(beta, moment, CARRICK_FILE_WRITE);
    cr_assert_leq(writes, SHELF_SLOTS + (CHUNKS - SHELF_SLOTS) / 2, "%u writes", writes);
    pair_is_equal();
    pair_end();
}

// The slot is free when it is written; the chunk is the partner's only when it is synced, and the node may die before that.
Test(shelf_catchup, written_and_not_synced_stays_marked)
{
    pair_begin();
    pair_partner_goes();
    for (uint64_t i = 0; i < CHUNKS; i++)
        pair_write(i * SHELF_CHUNK_BYTES, 512, (uint8_t)(i + 1));
    world_advance(50);
    uint64_t before = pair_marked(alpha), moment = world.moment;
    pair_partner_comes();
    // Everything goes on but the partner's syncs.
    for (int i = 0; i < 400; i++) {
        world.hold_io = true;
        world_settle();
        for (struct io *io = world.ios; io != NULL; io = io->next)
            if (io->done == 0 && !(io->request.operation == CARRICK_FILE_SYNC &&
                                   io->file == file_named(beta, "/d1"))) {
                io_end(io);
                break;
            }
    }
    for (uint64_t i = 0; i < CHUNKS; i++)
        cr_assert_eq(file_named(beta, "/d1")->bytes[i * SHELF_CHUNK_BYTES], i + 1);
    for (uint32_t i = 0; i < SHELF_SLOTS; i++)
        cr_assert_null(alpha->client->link->slots[i].group, "slot %u is not free", i);
    cr_assert_eq(pair_marked(alpha), before);
    cr_assert_eq(alog->report.state, CARRICK_RESYNC_RUNNING);
    world.hold_io = false;
    pair_bring_to_end();
    // The one that was held, and one for all that was written meanwhile.
    cr_assert_leq(requests_since(beta, moment, CARRICK_FILE_SYNC), 3);
    pair_is_equal();
    pair_end();
}

Test(shelf_catchup, partner_that_cannot_write_fails_it_and_lets_the_log_go)
{
    pair_begin();
    pair_partner_goes();
    pair_write(0, 4096, 1);
    world_advance(20);
    file_named(beta, "/d1")->fail[CARRICK_FILE_WRITE] = ENOSPC;
    file_named(beta, "/d1")->fail[CARRICK_FILE_ZERO] = ENOSPC;
    pair_partner_comes();
    pair_write(SHELF_CHUNK_BYTES * 20, 4096, 1);
    world_advance(5000);
    cr_assert_eq(alog->report.state, CARRICK_RESYNC_FAILED);
    cr_assert_neq(alog->report.cause[0], 0);
    cr_assert_eq(alog->synced, alog->last, "the log fills for a partner that does not get on");
    cr_assert(shelf_map_next(alpha->client->shelves[0]->map, 20) == 20);
    memset(file_named(beta, "/d1")->fail, 0, sizeof file_named(beta, "/d1")->fail);
    alog->consumer->partner_follows(alog->arg, false, 0);
    alog->consumer->partner_follows(alog->arg, true, blog->last);
    pair_bring_to_end();
    pair_is_equal();
    pair_end();
}

// While the partner follows, what is written is not marked: then the log must keep it until the partner's shelf has it.
Test(shelf_catchup, log_keeps_what_the_partner_lacks)
{
    pair_begin();
    pair_partner_goes();
    pair_write(0, 4096, 1);
    world_advance(20);
    pair_partner_comes();
    pair_bring_to_end();
    uint64_t before = alog->synced;
    pair_write(SHELF_CHUNK_BYTES * 9, 4096, 1);
    log_mirror(alpha);
    world_advance(50);
    cr_assert_eq(alog->synced, before, "the record is in no map and in no log any more");
    log_tell(beta, alog->acknowledged);
    world_advance(50);
    cr_assert_eq(alog->synced, alog->last);
    // Lost in between: what the partner has not synced is marked.
    pair_write(SHELF_CHUNK_BYTES * 11, 4096, 1);
    world_advance(50);
    world_session(false);
    world_settle();
    cr_assert(shelf_map_next(alpha->client->shelves[0]->map, 11) == 11);
    world_advance(50);
    cr_assert_eq(alog->synced, alog->last);
    pair_end();
}

Test(shelf_catchup, what_the_rejoining_node_wrote_alone_is_taken_back)
{
    pair_begin();
    log_mirror(alpha);
    log_tell(beta, blog->last);
    world_advance(30);
    pair_partner_goes();
    // The partner was made to serve alone, too, and wrote something else.
    log_role(beta, CARRICK_LOG_OWNER, CARRICK_MIRROR_ALONE, 9, UINT64_MAX);
    uint8_t data[4096];
    memset(data, 0x77, sizeof data);
    struct carrick_log_entry entry = {.struct_size = sizeof entry,
                                      .kind = CARRICK_LOG_WRITE,
                                      .offset = 3 * SHELF_CHUNK_BYTES,
                                      .length = sizeof data,
                                      .data = data};
    uint64_t fork = blog->last;
    log_put(blog, &entry);
    log_acknowledge(beta, blog->last);
    world_advance(30);
    cr_assert_eq(file_named(beta, "/d1")->bytes[3 * SHELF_CHUNK_BYTES], 0x77);
    log_trim(blog, blog->last);
    log_role(beta, CARRICK_LOG_IDLE, 0, 9, UINT64_MAX);
    blog->last = blog->told = blog->synced = fork;
    log_role(beta, CARRICK_LOG_SHADOW, 0, 2, fork);
    world_session(true);
    log_mirror(alpha);
    alog->consumer->partner_follows(alog->arg, true, fork);
    pair_bring_to_end();
    pair_is_equal();
    pair_end();
}

Test(shelf_catchup, new_disk_gets_everything)
{
    pair_begin();
    pair_partner_goes();
    world_advance(20);
    uint8_t *fresh = file_named(beta, "/d1")->bytes;
    world_advance(100);
    log_role(beta, CARRICK_LOG_IDLE, 0, 1, UINT64_MAX);
    world_advance(20);
    node_stop(beta);
    blog->consumer = NULL;
    memset(fresh, 0, SHELF_BYTES);
    file_named(beta, "/d1")->there = false; // replaced: open makes it
    free(fresh);
    log_trim(blog, blog->last);
    node_start(beta, CONFIG);
    pair_partner_comes();
    pair_bring_to_end();
    pair_is_equal();
    pair_end();
}

Test(shelf_catchup, rate_is_bounded)
{
    pair_begin_with(1, CONFIG_RATE("1048576"));
    pair_partner_goes();
    for (uint64_t i = 0; i < CHUNKS; i++)
        pair_write(i * SHELF_CHUNK_BYTES, 512, 1);
    world_advance(50);
    pair_partner_comes();
    world_advance(500);
    uint64_t copied = (CHUNKS - pair_marked(alpha)) * SHELF_CHUNK_BYTES;
    cr_assert_leq(copied, 1048576 * 7 / 10);
    cr_assert_geq(copied, 1048576 * 3 / 10);
    char state[8192];
    alpha->ops->describe_state(alpha->client, state, sizeof state);
    cr_assert_not_null(strstr(state, "\"left_s\""), "%s", state);
    pair_bring_to_end();
    pair_is_equal();
    pair_end();
}

Test(shelf_catchup, other_configuration_is_refused_with_a_cause)
{
    pair_begin();
    pair_partner_goes();
    beta->client->shelves[0]->bytes = 4096; // as if configured so
    pair_partner_comes();
    world_settle();
    cr_assert_eq(alog->report.state, CARRICK_RESYNC_FAILED);
    cr_assert_not_null(strstr(alog->report.cause, "size"), "%s", alog->report.cause);
    beta->client->shelves[0]->bytes = SHELF_BYTES;
    pair_end();
}

Test(shelf_catchup, full_queue_loses_nothing)
{
    pair_begin();
    pair_partner_goes();
    for (uint64_t i = 0; i < CHUNKS; i++)
        pair_write(i * SHELF_CHUNK_BYTES, 512, (uint8_t)(i + 1));
    world_advance(50);
    alpha->room = 3;
    beta->room = 1;
    pair_partner_comes();
    pair_bring_to_end();
    pair_is_equal();
    pair_end();
}

Test(shelf_catchup, silent_partner_is_given_up)
{
    pair_begin();
    pair_partner_goes();
    pair_write(0, 4096, 1);
    world_advance(20);
    pair_partner_comes();
    until_chunk(0); // on its way, and it never arrives
    for (int i = 0; i < 50 && alog->report.state == CARRICK_RESYNC_RUNNING; i++) {
        world.now_ns += 1000000000;
        world_settle();
    }
    cr_assert_eq(alog->report.state, CARRICK_RESYNC_FAILED);
    cr_assert_not_null(strstr(alog->report.cause, "answer"), "%s", alog->report.cause);
    pair_end();
}

// What comes over the wire may be anything.
Test(shelf_catchup, garbage_does_no_harm)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        pair_begin_with(seed, CONFIG);
        pair_partner_goes();
        for (int i = 0; i < 20; i++)
            pair_write_random();
        world_advance(20);
        pair_partner_comes();
        for (int i = 0; i < 1000; i++) {
            uint8_t bytes[SHELF_MESSAGE_MAX], payload[64];
            struct node *to = world_random() % 2 ? alpha : beta;
            for (size_t k = 0; k < sizeof payload; k++)
                payload[k] = (uint8_t)world_random();
            struct shelf_message message = {
                .kind = (uint32_t)(1 + world_random() % 12),
                .group = "g1",
                .run = world_random(),
                .shelf = (uint32_t)(world_random() % 3),
                .slot = (uint32_t)(world_random() % 40),
                .chunk = world_random() % 4 ? world_random() % 40 : UINT64_MAX - world_random() % 9,
                .sequence = world_random(),
                .length = (uint32_t)(world_random() % 2 ? 65536 : world_random()),
                .payload_bytes = (uint32_t)(world_random() % 64),
                .payload = payload};
            uint32_t length = shelf_message_encode(&message, bytes);
            if (world_random() % 4 == 0)
                bytes[world_random() % length] ^= (uint8_t)world_random();
            // The right run, too: a partner that errs, not only a stranger.
            if (world_random() % 2 && world.packets != NULL)
                memcpy(bytes + 40, world.packets->bytes + 40, 8);
            if (message.kind != SHELF_ASK && message.kind != SHELF_FINISH)
                to->ops->received(to->client, &to->vi, bytes, length);
            if (world_random() % 8 == 0)
                random_step(true);
        }
        world_session(false);
        world_settle();
        pair_end();
    }
}
