// SPDX-License-Identifier: Apache-2.0
// needs plugin: shelf
//
// What a disk and a map may hold after a crash at any moment, and what the shelf makes of it.
//
// A random history runs on one node. It is cut off at each of its moments, one after the other: where a request began or
// ended, where the log took a record, acknowledged or forgot. Of the requests begun until then, those are certain that a sync
// vouches for, the others may be there, be absent or be torn. From such files, and from what the log held at that moment,
// the shelf starts again, and must know every acknowledged byte and every chunk that the partner lacks.
#include "shelf_world.h"

#include "plugins/shelf/shelf.h"

#define SHELF_BYTES (512u * 1024)
#define CHUNKS (SHELF_BYTES / SHELF_CHUNK_BYTES)
#define CONFIG                                                                                     \
    "{\"destage_delay_ms\":1,\"destage_requests\":4,\"shelves\":[{\"name\":\"d1\","                \
    "\"group\":\"g1\",\"path\":\"/d1\",\"bytes\":524288}]}"
#define RECORDS_MAX 400
#define NOTES_MAX 20000

struct note {
    uint64_t moment, first, acknowledged;
};

struct crash {
    uint8_t disk[SHELF_BYTES];
    uint8_t map[16384];
    uint64_t first, acknowledged;
};

static struct {
    struct carrick_log_entry entries[RECORDS_MAX + 1];
    uint8_t *data[RECORDS_MAX + 1];
    uint64_t count;
    uint64_t alone_from; // records from here on are the partner's not
    struct note notes[NOTES_MAX];
    uint32_t note_count;
    uint64_t start; // of the history: the maps are there
    uint8_t *disk_start, *map_start;
} history;

static struct node *alpha;
static struct carrick_log *alog;

static void note(void)
{
    cr_assert_lt(history.note_count, NOTES_MAX);
    history.notes[history.note_count++] =
        (struct note){world.moment, alog->first, alog->acknowledged};
}

static void run(uint64_t steps)
{
    while (steps-- > 0 && world_step())
        note();
}

static void append_one(void)
{
    static const uint32_t kinds[] = {CARRICK_LOG_WRITE, CARRICK_LOG_WRITE, CARRICK_LOG_WRITE,
                                     CARRICK_LOG_ZERO, CARRICK_LOG_TRIM};
    uint64_t sequence = ++history.count;
    uint64_t sector = world_random() % (SHELF_BYTES / 512);
    uint64_t length = 512 * (1 + world_random() % (world_random() % 8 == 0 ? 200 : 8));
    struct carrick_log_entry *entry = &history.entries[sequence];

    *entry = (struct carrick_log_entry){.struct_size = sizeof *entry,
                                        .kind = kinds[world_random() % 5],
                                        .offset = sector * 512,
                                        .sequence = sequence};
    entry->length = shelf_min(length, SHELF_BYTES - entry->offset);
    if (entry->kind == CARRICK_LOG_WRITE) {
        history.data[sequence] = malloc(entry->length);
        memset(history.data[sequence], 1 + (int)(sequence % 250), entry->length);
        entry->data = history.data[sequence];
    }
    log_put(alog, entry);
}

static void make_history(uint64_t seed, bool both_first)
{
    memset(&history, 0, sizeof history);
    world_begin(seed);
    world.shuffle = true;
    alpha = &world.nodes[0];
    alog = &alpha->logs.log;
    node_start(alpha, CONFIG);
    log_role(alpha, CARRICK_LOG_OWNER, both_first ? CARRICK_MIRROR_BOTH : CARRICK_MIRROR_ALONE, 1,
             UINT64_MAX);
    world_advance(5);
    history.start = world.moment;
    history.disk_start = malloc(SHELF_BYTES);
    history.map_start = malloc(file_named(alpha, "/d1.map")->length);
    memcpy(history.disk_start, file_named(alpha, "/d1")->bytes, SHELF_BYTES);
    memcpy(history.map_start, file_named(alpha, "/d1.map")->bytes,
           file_named(alpha, "/d1.map")->length);
    history.alone_from = both_first ? UINT64_MAX : 1;
    note();
    // Of many lengths: each moment is looked at, and what matters is how different the histories are.
    uint64_t appends = 10 + world_random() % (world_random() % 4 == 0 ? 240 : 40);
    uint64_t turn = both_first ? appends / 10 + world_random() % (appends / 2) : UINT64_MAX;
    for (uint64_t i = 0; i < appends; i++) {
        append_one();
        if (world_random() % 3 == 0)
            log_acknowledge(alpha, alog->last);
        note();
        run(world_random() % 12);
        world.now_ns += 400000;
        if (alog->mirror == CARRICK_MIRROR_BOTH && world_random() % 10 == 0) {
            // The partner's shelf has some of it: both logs forget that.
            uint64_t everywhere = alog->synced - shelf_min(alog->synced, world_random() % 8);
            log_everywhere(alpha, everywhere);
            log_trim(alog, alog->everywhere);
            note();
        }
        if (i == turn) {
            log_acknowledge(alpha, alog->last);
            alog->mirror = CARRICK_MIRROR_ALONE;
            alog->synced = alog->everywhere;
            history.alone_from = alog->everywhere + 1;
            alog->consumer->mirror_changed(alog->arg, CARRICK_MIRROR_ALONE);
            note();
        }
    }
}

// ---- what may be left

static int by_end(const void *a, const void *b)
{
    const struct io *left = *(struct io *const *)a, *right = *(struct io *const *)b;
    uint64_t one = left->done ? left->done : UINT64_MAX - 100000 + left->begun;
    uint64_t two = right->done ? right->done : UINT64_MAX - 100000 + right->begun;

    return one < two ? -1 : one > two;
}

// What was done when this moment came is certain: the last sync that was done in time was begun then.
static uint64_t vouched_until(const struct carrick_file *file, uint64_t moment)
{
    uint64_t until = 0;

    for (const struct io *io = world.ios; io != NULL; io = io->next)
        if (io->file == file && io->request.operation == CARRICK_FILE_SYNC && io->done != 0 &&
            io->done <= moment && io->begun > until)
            until = io->begun;
    return until;
}

static void apply_maybe(uint8_t *bytes, const struct io *io)
{
    uint32_t mode = (uint32_t)(world_random() % 3); // there, absent, torn

    for (uint64_t at = 0; at < io->request.length; at += 512) {
        uint64_t length = shelf_min(512, io->request.length - at);
        if (mode == 1 || (mode == 2 && world_random() % 2 == 0))
            continue;
        if (io->data != NULL)
            memcpy(bytes + io->request.offset + at, io->data + at, length);
        else
            memset(bytes + io->request.offset + at, 0, length);
    }
}

static void make_file(const char *path, const uint8_t *start, uint64_t moment, uint8_t *bytes)
{
    static struct io *ios[20000];
    const struct carrick_file *file = file_named(alpha, path);
    uint64_t until = vouched_until(file, moment);
    uint32_t count = 0;

    memcpy(bytes, start, file->length);
    for (struct io *io = world.ios; io != NULL; io = io->next)
        if (io->file == file && io->begun > history.start && io->begun <= moment &&
            io->request.operation != CARRICK_FILE_READ &&
            io->request.operation != CARRICK_FILE_SYNC)
            ios[count++] = io;
    cr_assert_lt(count, 20000u);
    qsort(ios, count, sizeof ios[0], by_end);
    for (uint32_t i = 0; i < count; i++) {
        if (ios[i]->done != 0 && ios[i]->done <= until)
            io_apply(bytes, ios[i]);
        else
            apply_maybe(bytes, ios[i]);
    }
}

// Where the history is cut off next.
struct cut {
    uint32_t note;
    uint64_t moment; // from that of the note to that of the next
};

static bool cut_next(struct cut *cut)
{
    bool last = cut->note + 1 == history.note_count;

    if (last ? cut->moment < world.moment : cut->moment + 1 < history.notes[cut->note + 1].moment) {
        cut->moment++;
        return true;
    }
    if (last)
        return false;
    cut->moment = history.notes[++cut->note].moment;
    return true;
}

static void make_crash(struct crash *crash, const struct cut *cut)
{
    crash->first = history.notes[cut->note].first;
    crash->acknowledged = history.notes[cut->note].acknowledged;
    make_file("/d1", history.disk_start, cut->moment, crash->disk);
    make_file("/d1.map", history.map_start, cut->moment, crash->map);
}

// ---- what the shelf makes of it

static void put_file(struct carrick_file *file, const char *path, const uint8_t *bytes,
                     uint64_t length)
{
    snprintf(file->path, sizeof file->path, "%s", path);
    file->node = alpha;
    file->there = true;
    file->length = length;
    file->bytes = malloc(length);
    memcpy(file->bytes, bytes, length);
}

static void restart(const struct crash *crash, uint64_t map_length)
{
    world_begin(7);
    alpha = &world.nodes[0];
    alog = &alpha->logs.log;
    put_file(&alpha->files[0], "/d1", crash->disk, SHELF_BYTES);
    put_file(&alpha->files[1], "/d1.map", crash->map, map_length);
    alog->first = crash->first;
    alog->last = alog->told = crash->first - 1;
    for (uint64_t i = crash->first; i <= crash->acknowledged; i++)
        log_put(alog, &history.entries[i]);
    node_start(alpha, CONFIG);
}

static bool is_marked(uint64_t chunk)
{
    return shelf_map_next(alpha->client->shelves[0]->map, chunk) == chunk;
}

static void model_make(uint8_t *model, uint64_t up_to)
{
    memset(model, 0, SHELF_BYTES);
    for (uint64_t i = 1; i <= up_to; i++) {
        const struct carrick_log_entry *entry = &history.entries[i];
        if (entry->data != NULL)
            memcpy(model + entry->offset, entry->data, entry->length);
        else
            memset(model + entry->offset, 0, entry->length);
    }
}

static void check_crash(const struct crash *crash, bool both_first, uint64_t map_length)
{
    static uint8_t model[SHELF_BYTES], read[SHELF_BYTES];

    restart(crash, map_length);
    // Without the log, as when a copy is cut: what the disk got alone must be known from the map.
    for (uint64_t chunk = 0; chunk < CHUNKS && !both_first; chunk++) {
        static const uint8_t zeroes[SHELF_CHUNK_BYTES];
        cr_assert(memcmp(crash->disk + chunk * SHELF_CHUNK_BYTES, zeroes, sizeof zeroes) == 0 ||
                      is_marked(chunk),
                  "chunk %d was written and is not marked", (int)chunk);
    }
    bool alone = crash->acknowledged >= history.alone_from;
    log_role(alpha, CARRICK_LOG_OWNER, alone ? CARRICK_MIRROR_ALONE : CARRICK_MIRROR_BOTH, 1,
             UINT64_MAX);
    for (uint64_t i = history.alone_from; alone && i <= crash->acknowledged; i++) {
        const struct carrick_log_entry *entry = &history.entries[i];
        for (uint64_t at = entry->offset / SHELF_CHUNK_BYTES;
             at * SHELF_CHUNK_BYTES < entry->offset + entry->length; at++)
            cr_assert(is_marked(at), "record %d is in chunk %d, which is not marked", (int)i,
                      (int)at);
    }
    model_make(model, crash->acknowledged);
    cr_assert_eq(shelf_gather_now(alpha->client->shelves[0], 0, SHELF_BYTES, read), CARRICK_OK);
    for (uint64_t i = memcmp(read, model, SHELF_BYTES) == 0 ? SHELF_BYTES : 0; i < SHELF_BYTES; i++)
        if (read[i] != model[i]) // an assertion for each byte would take most of the time
            cr_assert_fail("byte %d is %d, not %d", (int)i, read[i], model[i]);
    world_advance(60);
    cr_assert_eq(memcmp(alpha->files[0].bytes, model, SHELF_BYTES), 0);
    if (alog->last >= alog->first)
        cr_assert_eq(alog->synced, alog->last);
    world_end();
}

static void forget_history(void)
{
    for (uint64_t i = 1; i <= history.count; i++)
        free(history.data[i]);
    free(history.disk_start);
    free(history.map_start);
}

// Every state of one history, some at a time: it is made again for each lot, since the files of the world that checks them
// take the place of its own.
static uint64_t crash_history(uint64_t seed, bool both_first)
{
    enum { LOT = 200 };
    static struct crash crashes[LOT];
    struct cut cut = {0};
    uint64_t states = 0;
    bool more = true;

    while (more) {
        uint32_t count = 0;

        make_history(seed, both_first);
        if (states == 0)
            cut.moment = history.notes[0].moment;
        world.seed += states; // each lot draws anew what is there, absent or torn
        uint64_t map_length = file_named(alpha, "/d1.map")->length;
        cr_assert_leq(map_length, sizeof crashes[0].map);
        for (; more && count < LOT; more = cut_next(&cut))
            make_crash(&crashes[count++], &cut);
        world_end();
        for (uint32_t i = 0; i < count; i++)
            check_crash(&crashes[i], both_first, map_length);
        states += count;
        forget_history();
    }
    return states;
}

// CRASH_STATES of both tests together, as many as the environment says, and to the end of the last history.
static void crash_states(bool both_first)
{
    const char *wanted = getenv("CRASH_STATES");
    uint64_t least = (wanted != NULL ? strtoull(wanted, NULL, 10) : 10000) / 2;
    uint64_t states = 0, seed = 0;

    while (states < least)
        states += crash_history(++seed, both_first);
    printf("NOTE %d crash states of a shelf and its map, every moment of %d histories\n",
           (int)states, (int)seed);
}

Test(shelf_crash, alone, .timeout = 36000)
{
    crash_states(false);
}

Test(shelf_crash, with_a_partner_and_then_alone, .timeout = 36000)
{
    crash_states(true);
}

// ---- the map by itself

static struct shelf_map *map_begin(void)
{
    world_begin(1);
    alpha = &world.nodes[0];
    alog = &alpha->logs.log;
    node_start(alpha, CONFIG);
    return alpha->client->shelves[0]->map;
}

static struct shelf_map *map_again(void)
{
    world_advance(10);
    node_stop(alpha);
    alog->consumer = NULL;
    node_start(alpha, CONFIG);
    return alpha->client->shelves[0]->map;
}

Test(shelf_crash, map_survives_a_restart)
{
    struct shelf_map *map = map_begin();

    world_advance(5);
    shelf_map_mark(map, 3 * SHELF_CHUNK_BYTES + 5, 4 * SHELF_CHUNK_BYTES + 1);
    cr_assert(!shelf_map_range_durable(map, 4 * SHELF_CHUNK_BYTES, 4 * SHELF_CHUNK_BYTES + 1));
    shelf_map_flush(map);
    world.hold_io = true;
    world_settle();
    cr_assert(!shelf_map_range_durable(map, 4 * SHELF_CHUNK_BYTES, 4 * SHELF_CHUNK_BYTES + 1));
    world.hold_io = false;
    world_settle();
    cr_assert(shelf_map_range_durable(map, 4 * SHELF_CHUNK_BYTES, 4 * SHELF_CHUNK_BYTES + 1));
    map = map_again();
    cr_assert_eq(shelf_map_next(map, 0), 3);
    cr_assert_eq(shelf_map_next(map, 4), 4);
    cr_assert_eq(shelf_map_next(map, 5), UINT64_MAX);
    world_end();
}

Test(shelf_crash, a_mark_that_is_being_cleared_counts_no_more)
{
    struct shelf_map *map = map_begin();

    world_advance(5);
    shelf_map_mark(map, 0, 1);
    shelf_map_flush(map);
    world_settle();
    shelf_map_clear_chunk(map, 0);
    shelf_map_flush(map);
    world.hold_io = true;
    shelf_map_mark(map, 0, 1); // the write that clears it is under way
    cr_assert(!shelf_map_range_durable(map, 0, 1));
    shelf_map_flush(map);
    world.hold_io = false;
    world_settle();
    cr_assert(shelf_map_range_durable(map, 0, 1));
    cr_assert_eq(shelf_map_next(map_again(), 0), 0);
    world_end();
}

Test(shelf_crash, rotted_map_says_all_of_it)
{
    struct shelf_map *map = map_begin();

    world_advance(5);
    shelf_map_mark(map, 0, 1);
    shelf_map_flush(map);
    world_settle();
    file_named(alpha, "/d1.map")->bytes[8192 + 100] ^= 1;
    map = map_again();
    for (uint64_t chunk = 0; chunk < CHUNKS; chunk++)
        cr_assert_eq(shelf_map_next(map, chunk), chunk);
    cr_assert_eq(alpha->errors_logged, 1);
    world_advance(5);
    memset(file_named(alpha, "/d1.map")->bytes, 0, 8192); // no head
    map = map_again();
    cr_assert_eq(shelf_map_next(map, CHUNKS - 1), CHUNKS - 1);
    world_end();
}

Test(shelf_crash, damaged_head_of_the_map_is_not_passed_over_for_the_older_one)
{
    const struct carrick_generation generation = {.id = {1}};
    struct shelf_map *map = map_begin();
    uint64_t number[2];
    uint8_t *heads;

    world_advance(5);
    shelf_map_set_whole(map, true, &generation); // only the newer head says so
    shelf_map_flush(map);
    world_settle();
    heads = file_named(alpha, "/d1.map")->bytes;
    for (int slot = 0; slot < 2; slot++)
        memcpy(&number[slot], heads + 4096 * slot + 16, sizeof number[slot]);
    cr_assert(number[0] > 0 && number[1] > 0 && number[0] != number[1]);
    heads[(number[0] > number[1] ? 0 : 4096) + 40] ^= 1;
    map = map_again();
    cr_assert(shelf_map_whole(map));
    for (uint64_t chunk = 0; chunk < CHUNKS; chunk++)
        cr_assert_eq(shelf_map_next(map, chunk), chunk);
    cr_assert_eq(alpha->errors_logged, 1);
    world_end();
}

Test(shelf_crash, map_that_cannot_be_written_holds_the_log)
{
    uint8_t data[512] = {1};
    struct carrick_log_entry entry = {.struct_size = sizeof entry,
                                      .kind = CARRICK_LOG_WRITE,
                                      .length = sizeof data,
                                      .data = data};

    map_begin();
    world_advance(5);
    log_role(alpha, CARRICK_LOG_OWNER, CARRICK_MIRROR_ALONE, 1, UINT64_MAX);
    world_advance(5);
    struct carrick_file *file = file_named(alpha, "/d1.map");
    file->fail[CARRICK_FILE_WRITE] = ENOSPC;
    log_put(alog, &entry);
    log_acknowledge(alpha, 1);
    world_advance(1000);
    cr_assert_eq(alog->synced, 0);
    cr_assert_eq(file_named(alpha, "/d1")->bytes[0], 0, "the disk was written before the map");
    cr_assert_eq(alpha->errors_logged, 1);
    memset(file->fail, 0, sizeof file->fail);
    world_advance(6000);
    cr_assert_eq(alog->synced, 1);
    cr_assert_eq(file_named(alpha, "/d1")->bytes[0], 1);
    world_end();
}
