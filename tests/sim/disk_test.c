// SPDX-License-Identifier: Apache-2.0
//
// Is the simulated disk as honest as it must be, and as unkind as it may be? Random requests, a death, and a look at what
// is left.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/env_sim_disk.h"
#include "tests/sim/world.h"

#define SECTORS 16u
#define WRITE_SECTORS 4u
#define STEPS 24u
#define SEEDS 400u

struct write {
    struct disk_test *test;
    struct sim_io *io;
    uint32_t first, count;
    uint64_t begun, done; // stamps; 0: not
    uint8_t data[WRITE_SECTORS * SIM_SECTOR];
};

struct disk_test {
    struct sim_random random;
    struct sim_disk *disk;
    struct sim_file *file;
    struct write writes[STEPS + 1]; // number 0: the zeroes of the beginning
    unsigned count;
    uint64_t stamp;
    uint64_t synced; // stamp of the posting of the last sync that ended well
    uint32_t seen;   // enum seen
};

enum seen {
    SEEN_LOST = 1,
    SEEN_KEPT = 2, // without a sync
    SEEN_TORN = 4,
    SEEN_REORDERED = 8,
};

static void write_done(void *arg, int status, int sys_errno)
{
    struct write *write = arg;

    (void)status;
    (void)sys_errno;
    write->done = ++write->test->stamp;
}

static void sync_done(void *arg, int status, int sys_errno)
{
    (void)sys_errno;
    *(int *)arg = status;
}

static void write_begin(struct disk_test *test)
{
    struct write *write = &test->writes[++test->count];
    struct carrick_file_request request = {.struct_size = sizeof(request),
                                           .operation = CARRICK_FILE_WRITE,
                                           .fn = write_done,
                                           .arg = write};

    write->test = test;
    write->count = (uint32_t)sim_random_between(&test->random, 1, WRITE_SECTORS);
    write->first = (uint32_t)sim_random_below(&test->random, SECTORS - write->count + 1);
    memset(write->data, (int)test->count, sizeof(write->data));
    request.offset = write->first * SIM_SECTOR;
    request.length = write->count * SIM_SECTOR;
    request.data = write->data;
    write->begun = ++test->stamp;
    if (sim_io_begin(test->file, &request, &write->io) != CARRICK_OK)
        abort();
}

// Requests overlap: each begins, and is ended some steps later. Effects come in the order of the ends.
static void writes_end(struct disk_test *test, unsigned percent)
{
    for (unsigned i = 1; i <= test->count; i++) {
        struct write *write = &test->writes[i];

        if (write->io == NULL || !sim_random_percent(&test->random, percent))
            continue;
        sim_io_effect(write->io);
        sim_io_end(write->io);
        write->io = NULL;
    }
}

static bool sync_now(struct disk_test *test)
{
    struct sim_io *io;
    int status = CARRICK_ERR_STATE;
    struct carrick_file_request request = {.struct_size = sizeof(request),
                                           .operation = CARRICK_FILE_SYNC,
                                           .fn = sync_done,
                                           .arg = &status};
    uint64_t posted = ++test->stamp;

    if (sim_io_begin(test->file, &request, &io) != CARRICK_OK)
        abort();
    writes_end(test, 30);
    sim_io_effect(io);
    sim_io_end(io);
    if (status == CARRICK_OK)
        test->synced = posted;
    return status == CARRICK_OK;
}

// Can the sector hold what this write wrote? Not if another one was begun after its end, and is itself safe.
static bool may_hold(const struct disk_test *test, uint32_t sector, unsigned number)
{
    const struct write *held = &test->writes[number];

    for (unsigned i = 1; i <= test->count; i++) {
        const struct write *other = &test->writes[i];

        if (i == number || sector < other->first || sector >= other->first + other->count)
            continue;
        if (other->done != 0 && other->done < test->synced &&
            (number == 0 || (held->done != 0 && held->done < other->begun)))
            return false;
    }
    return number == 0 || (sector >= held->first && sector < held->first + held->count);
}

static bool look(struct disk_test *test, const uint8_t *content, enum sim_death death)
{
    uint32_t held[STEPS + 1] = {0};

    for (uint32_t sector = 0; sector < SECTORS; sector++) {
        unsigned number = content == NULL ? 0 : content[sector * SIM_SECTOR];
        uint64_t synced = test->synced;

        for (unsigned i = 1; content != NULL && i < SIM_SECTOR; i++)
            if (content[sector * SIM_SECTOR + i] != number)
                return false;
        if (death == SIM_DEATH_KILLED)
            test->synced = UINT64_MAX; // all that is done stays
        if (number > test->count || !may_hold(test, sector, number))
            return false;
        test->synced = synced;
        held[number]++;
    }
    for (unsigned i = 1; i <= test->count; i++) {
        const struct write *write = &test->writes[i];

        if (death == SIM_DEATH_KILLED || write->done < test->synced || write->done == 0)
            continue;
        test->seen |= held[i] == 0 ? SEEN_LOST : SEEN_KEPT;
        test->seen |= held[i] > 0 && held[i] < write->count ? SEEN_TORN : 0;
        for (unsigned j = 1; j < i; j++)
            if (held[i] > 0 && held[j] == 0 && test->writes[j].done > test->synced &&
                test->writes[j].done < write->begun)
                test->seen |= SEEN_REORDERED;
    }
    return true;
}

static bool one_death(uint64_t seed, enum sim_death death, uint32_t *seen)
{
    struct disk_test *test = calloc(1, sizeof(*test));
    struct carrick_file_info info = {.struct_size = sizeof(info)};
    struct carrick_error error = {.struct_size = sizeof(error)};
    struct sim_disk *after;
    uint64_t bytes;
    bool good;

    if (test == NULL)
        abort();
    sim_random_init(&test->random, seed, "disk test");
    test->disk = sim_disk_create(seed);
    if (sim_file_open(test->disk, "/f", CARRICK_FILE_CREATE, SECTORS * SIM_SECTOR, &test->file,
                      &info, &error) != CARRICK_OK)
        abort();
    good = sync_now(test);
    for (unsigned i = 0; i < STEPS; i++) {
        write_begin(test);
        writes_end(test, 40);
        if (sim_random_percent(&test->random, 15))
            good &= sync_now(test);
    }
    after = sim_disk_after(test->disk, death);
    good &= look(test, sim_disk_content(after, "/f", &bytes), death);
    *seen |= test->seen;
    sim_disk_free(after);
    writes_end(test, 100);
    sim_file_close(test->file);
    sim_disk_free(test->disk);
    free(test);
    return good;
}

bool disk_keeps_what_syncs_promise(void)
{
    uint32_t seen = 0;

    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        if (!one_death(seed, SIM_DEATH_POWER, &seen) || !one_death(seed, SIM_DEATH_KILLED, &seen))
            return false;
    return seen == (SEEN_LOST | SEEN_KEPT | SEEN_TORN | SEEN_REORDERED);
}

// ---- errors

bool disk_tells_errors(void)
{
    struct disk_test test = {.count = 0};
    struct carrick_file_info info = {.struct_size = sizeof(info)};
    struct carrick_error error = {.struct_size = sizeof(error)};
    struct sim_disk_faults faults = {.sync_error = 100};
    bool good;

    sim_random_init(&test.random, 1, "disk test");
    test.disk = sim_disk_create(1);
    if (sim_file_open(test.disk, "/f", CARRICK_FILE_CREATE, SECTORS * SIM_SECTOR, &test.file, &info,
                      &error) != CARRICK_OK)
        abort();
    good = info.created &&
           sim_file_open(test.disk, "/f", 0, 0, &test.file, &info, &error) == CARRICK_ERR_EXISTS;
    sim_disk_set_faults(test.disk, &faults);
    good &= !sync_now(&test);
    sim_disk_set_faults(test.disk, &(struct sim_disk_faults){0});
    good &= sync_now(&test);
    sim_file_close(test.file);
    sim_disk_free(test.disk);
    return good;
}

// ---- memory that has a name

static void no_log(void *arg, const struct env_record *record)
{
    (void)arg;
    (void)record;
}

static struct sim_disk *memory_life(struct sim_disk *disk, enum sim_death death, bool *found,
                                    bool *shared)
{
    struct sim_clock clock = {.now_ns = 1};
    struct env_sim_options options = {.clock = &clock, .disk = disk, .seed = 1, .log = no_log};
    struct env_sim *env = env_sim_create(&options);
    struct env *base = env_sim_base(env);
    struct carrick_region_info info = {.struct_size = sizeof(info)};
    struct carrick_error error = {.struct_size = sizeof(error)};
    struct env_memory memory, again;
    struct sim_disk *after;

    if (base->ops->memory_open(base, "/m", 8192, &memory, &info, &error) != CARRICK_OK ||
        base->ops->memory_map(base, 4096, memory.fd, 4096, &again) != CARRICK_OK)
        abort();
    *found = !info.created && ((char *)memory.address)[4096] == 'x';
    ((char *)again.address)[0] = 'x';
    *shared = ((char *)memory.address)[4096] == 'x';
    after = sim_disk_after(disk, death);
    ((char *)again.address)[0] = 'y'; // the dying one's, seen by nobody
    base->ops->memory_unmap(base, &memory);
    *shared &= ((char *)again.address)[0] == 'y';
    base->ops->memory_unmap(base, &again);
    *shared &= env_sim_destroy(env) == 0;
    sim_disk_free(disk);
    return after;
}

bool memory_outlives_the_daemon(void)
{
    bool found[3], shared[3];
    struct sim_disk *disk = sim_disk_create(1);

    disk = memory_life(disk, SIM_DEATH_KILLED, &found[0], &shared[0]);
    disk = memory_life(disk, SIM_DEATH_POWER, &found[1], &shared[1]);
    disk = memory_life(disk, SIM_DEATH_KILLED, &found[2], &shared[2]);
    sim_disk_free(disk);
    return !found[0] && found[1] && !found[2] && shared[0] && shared[1] && shared[2];
}
