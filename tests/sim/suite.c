// SPDX-License-Identifier: Apache-2.0
//
// What the test suite runs.
#include "tests/sim/runner.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static void check_print(struct tally *tally, const char *name, bool good)
{
    printf("%s  %s\n", good ? "ok    " : "FAILED", name);
    if (good)
        tally->passed++;
    else
        tally->failed++;
}

// The same seed makes the same history, to the last completion.
static bool replays_alike(const struct options *options)
{
    for (uint64_t i = 0; i < 20; i++) {
        struct world_options world = options->world;

        world.seed += i * 5;
        world.scenario = i % 2 == 0 ? scenario_choose(world.seed) : scenario_find("storage");
        if (history(&world, 0).hash != history(&world, 0).hash) {
            replay_print(&world);
            return false;
        }
    }
    return true;
}

// In a process of its own, whose memory goes with it: a world that failed is not taken apart (history), and one that
// is meant to fail must not show as a leak.
static bool history_is_red(const struct world_options *world)
{
    int status = 0;
    pid_t child;

    fflush(stdout);
    child = fork();
    if (child == 0)
        _exit(history(world, 0).good ? 0 : 1);
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
           WEXITSTATUS(status) == 1;
}

// With a rule taken out, some history of that kind must go red.
static bool goes_red(const struct options *options, const char *scenario, unsigned rule,
                     uint64_t histories)
{
    for (uint64_t i = 0; i < histories; i++) {
        struct world_options world = {
            .seed = options->world.seed + i,
            .scenario = scenario_find(scenario),
            .break_rules = rule,
        };

        if (history_is_red(&world)) {
            printf("  seen at history %llu\n", (unsigned long long)i + 1);
            replay_print(&world);
            return true;
        }
    }
    return false;
}

static const struct red {
    const char *what, *scenario;
    unsigned rule;
    uint64_t histories; // at most
} reds[] = {
    {"the fence is taken out", "ghost", BREAK_FENCE, 40},
    {"replay ignores what the partner confirmed", "ghost", BREAK_REPLAY, 40},
    {"reads do not ask for the partner's promise", "storage-split", BREAK_PROMISE, 200},
    {"a node serves alone without the arbiter's word", "storage-split", BREAK_WIN, 100},
    {"writes are acknowledged before the partner has them", "storage-crash", BREAK_SHADOW, 100},
    {"a corrupt record is cut like a torn tail", "storage-rot", BREAK_CUT, 100},
    {"records are destaged before they are acknowledged", "storage-crash", BREAK_DESTAGE, 400},
    {"a returning shelf takes old blocks over new ones", "storage-resync", BREAK_RESYNC, 300},
    {"a takeover does not wait for its fence", "storage-split", BREAK_CLOSED, 400},
    {"records leave the logs before each shelf has them", "storage-disk", BREAK_TRIM, 100},
    {"writes are acknowledged before the logs' files have them", "storage-power", BREAK_SYNC, 400},
    {"a takeover leaves the promise standing", "storage-split", BREAK_WITHDRAW, 100},
    {"a change is made against whatever the arbiter holds", "storage-split", BREAK_FOUND, 100},
    {"reads do not look into the log", "storage", BREAK_INDEX, 20},
    {"a partner becomes a member before its shelf is equal", "storage-member", BREAK_EQUAL, 40},
    {"records leave the logs when their group's first shelf has them", "storage-wide", BREAK_EACH,
     200},
    {"an owner without an arbiter goes alone though it is to hold", "storage-operator", BREAK_HOLD,
     40},
    {"nobody waits for a partner that is seen to boot", "storage-boot", BREAK_BOOT, 40},
    {"records leave the logs before each shelf has them, and more goes wrong", "storage-double",
     BREAK_TRIM, 100},
};

#define GHOST_FAILURES                                                                             \
    100000u // link failures for a full suite of FULL_HISTORIES, and in proportion for fewer
#define FULL_HISTORIES 10000u
#define RED_HISTORIES 1000u       // from here on it is shown that rules taken out are noticed
#define FAILURES_PER_HISTORY 125u // at least, on the average

static void ghosts_check(const struct options *given, struct tally *tally)
{
    struct options options = *given;
    struct tally ghosts;
    uint64_t failures = given->histories >= FULL_HISTORIES
                            ? GHOST_FAILURES
                            : given->histories * GHOST_FAILURES / FULL_HISTORIES;
    char what[64];

    options.world.scenario = scenario_find("ghost");
    options.histories = failures / FAILURES_PER_HISTORY + 1;
    ghosts = many(&options);
    numbers_print(&ghosts.numbers);
    tally->failed += ghosts.failed;
    snprintf(what, sizeof(what), "no ghost write in %llu link failures",
             (unsigned long long)failures);
    check_print(tally, what, ghosts.failed == 0 && ghosts.numbers.link_failures >= failures);
}

// Each kind with its share.
static struct tally storage_check(const struct options *given)
{
    static const struct {
        const char *scenario;
        unsigned percent;
    } shares[] = {{"storage", 14},       {"storage-crash", 12},   {"storage-split", 11},
                  {"storage-disk", 10},  {"storage-handover", 8}, {"storage-resync", 8},
                  {"storage-table", 8},  {"storage-rot", 4},      {"storage-power", 5},
                  {"storage-return", 3}, {"storage-member", 1},   {"storage-map", 2},
                  {"storage-double", 6}, {"storage-wide", 3},     {"storage-operator", 3},
                  {"storage-boot", 1},   {"storage-calm", 1}};
    struct options options = *given;
    struct tally all = {0};

    for (unsigned i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        struct tally part;

        options.world.scenario = scenario_find(shares[i].scenario);
        options.histories = (given->histories * shares[i].percent + 99) / 100;
        part = many(&options);
        printf("%llu histories of %s\n", (unsigned long long)(part.passed + part.failed),
               shares[i].scenario);
        tally_add(&all, &part);
    }
    numbers_print(&all.numbers);
    return all;
}

// For the summary of the test command.
static void note_print(const struct tally *storage, const struct tally *core)
{
    printf("NOTE %llu histories with storage (%llu operations, %llu faults), %llu of the core "
           "(%llu operations)\n",
           (unsigned long long)(storage->passed + storage->failed),
           (unsigned long long)storage->numbers.operations,
           (unsigned long long)storage->numbers.faults,
           (unsigned long long)(core->passed + core->failed),
           (unsigned long long)core->numbers.operations);
}

struct tally suite(const struct options *given)
{
    struct options plain = *given;
    struct tally storage, tally;

    plain.histories = (given->histories + 9) / 10;
    tally = many(&plain);
    printf("%llu histories of the core\n", (unsigned long long)(tally.passed + tally.failed));
    numbers_print(&tally.numbers);
    storage = storage_check(given);
    note_print(&storage, &tally);
    tally_add(&tally, &storage);
    ghosts_check(given, &tally);
    check_print(&tally, "a seed replays to the same history", replays_alike(given));
    check_print(&tally, "the disk keeps what syncs promise, and no more",
                disk_keeps_what_syncs_promise());
    check_print(&tally, "the disk tells of its errors", disk_tells_errors());
    check_print(&tally, "named memory outlives the daemon, and not the power",
                memory_outlives_the_daemon());
    for (unsigned i = 0; given->histories >= RED_HISTORIES && i < sizeof(reds) / sizeof(reds[0]);
         i++) {
        char what[128];

        snprintf(what, sizeof(what), "goes red when %s", reds[i].what);
        check_print(&tally, what,
                    goes_red(given, reds[i].scenario, reds[i].rule, reds[i].histories));
    }
    return tally;
}
