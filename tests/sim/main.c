// SPDX-License-Identifier: Apache-2.0
// needs plugin: sim
//
// carrick-sim: histories of two simulated nodes, each given by its seed alone.
#include "tests/sim/runner.h"

#include <getopt.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAILURES_SHOWN 3u
#define LOG_LINES_SHOWN 60u
#define JOBS_MAX 64u

static const struct {
    const char *name;
    unsigned rule;
} rules[] = {
    {"fence", BREAK_FENCE},     {"replay", BREAK_REPLAY}, {"promise", BREAK_PROMISE},
    {"win", BREAK_WIN},         {"shadow", BREAK_SHADOW}, {"cut", BREAK_CUT},
    {"destage", BREAK_DESTAGE}, {"resync", BREAK_RESYNC}, {"closed", BREAK_CLOSED},
    {"trim", BREAK_TRIM},       {"sync", BREAK_SYNC},     {"withdraw", BREAK_WITHDRAW},
    {"found", BREAK_FOUND},     {"equal", BREAK_EQUAL},   {"index", BREAK_INDEX},
    {"each", BREAK_EACH},       {"hold", BREAK_HOLD},     {"boot", BREAK_BOOT},
};
#define RULE_COUNT (sizeof(rules) / sizeof(rules[0]))

static void numbers_add(struct world_numbers *to, const struct world_numbers *from)
{
    to->events += from->events;
    to->operations += from->operations;
    to->landings += from->landings;
    to->sessions += from->sessions;
    to->link_failures += from->link_failures;
    to->faults += from->faults;
    to->late += from->late;
}

void tally_add(struct tally *to, const struct tally *from)
{
    to->passed += from->passed;
    to->failed += from->failed;
    numbers_add(&to->numbers, &from->numbers);
}

void numbers_print(const struct world_numbers *numbers)
{
    printf("  %llu events, %llu operations, %llu landings, %llu sessions, %llu faults, %llu link "
           "failures, %llu late deliveries\n",
           (unsigned long long)numbers->events, (unsigned long long)numbers->operations,
           (unsigned long long)numbers->landings, (unsigned long long)numbers->sessions,
           (unsigned long long)numbers->faults, (unsigned long long)numbers->link_failures,
           (unsigned long long)numbers->late);
}

void replay_print(const struct world_options *options)
{
    bool plain = options->scenario == scenario_choose(options->seed) && options->steps == 0 &&
                 options->break_rules == 0;

    if (plain)
        printf("  replay: make sim SEED=%llu\n", (unsigned long long)options->seed);
    else
        printf("  replay: build/bin/carrick-sim --seed %llu --scenario %s",
               (unsigned long long)options->seed, options->scenario->name);
    if (!plain && options->steps > 0)
        printf(" --steps %u", options->steps);
    for (unsigned i = 0; i < RULE_COUNT; i++)
        if (options->break_rules & rules[i].rule)
            printf(" --break %s", rules[i].name);
    if (!plain)
        puts(" --verbose");
}

struct verdict history(const struct world_options *options, unsigned show)
{
    struct world *world = malloc(sizeof(*world));
    struct verdict verdict;

    if (world == NULL)
        abort();
    world_run(options, world);
    verdict =
        (struct verdict){.good = !world->failed, .hash = world->hash, .numbers = world->numbers};
    if (world->failed && show > 0) {
        printf("FAILED seed %llu, scenario %s: %s\n", (unsigned long long)options->seed,
               options->scenario->name, world->why);
        if (!options->verbose)
            world_print_log(world, show);
        replay_print(options);
        fflush(stdout);
    }
    // What has failed is left as it is: its objects may hang together in ways that nobody can undo.
    if (!world->failed) {
        world_free(world);
        free(world);
    }
    return verdict;
}

// ---- many histories, on several processes

// Whoever is done takes the next one: the cores have other work as well, and the processes do not get on alike.
static struct tally share_run(const struct options *options, atomic_uint_fast64_t *next)
{
    struct tally tally = {0};

    while (tally.failed < FAILURES_SHOWN) {
        uint64_t i = atomic_fetch_add(next, 1);
        struct world_options world = options->world;
        struct verdict verdict;

        if (i >= options->histories)
            break;
        world.seed += i;
        if (world.scenario == NULL)
            world.scenario = scenario_choose(world.seed);
        verdict = history(&world, LOG_LINES_SHOWN);
        numbers_add(&tally.numbers, &verdict.numbers);
        if (verdict.good)
            tally.passed++;
        else
            tally.failed++;
    }
    return tally;
}

struct child {
    pid_t pid;
    int fd;
    FILE *output;
};

static void child_start(const struct options *options, atomic_uint_fast64_t *next,
                        struct child *child)
{
    int ends[2];

    child->output = tmpfile();
    if (child->output == NULL || pipe(ends) != 0)
        abort();
    fflush(stdout);
    child->pid = fork();
    if (child->pid < 0)
        abort();
    if (child->pid == 0) {
        struct tally tally;

        close(ends[0]);
        dup2(fileno(child->output), STDOUT_FILENO);
        tally = share_run(options, next);
        fflush(stdout);
        if (write(ends[1], &tally, sizeof(tally)) != (ssize_t)sizeof(tally))
            _exit(3);
        exit(0);
    }
    close(ends[1]);
    child->fd = ends[0];
}

static void child_end(struct child *child, struct tally *tally)
{
    struct tally part = {0};
    char buffer[4096];
    size_t length;
    int status;

    if (read(child->fd, &part, sizeof(part)) != (ssize_t)sizeof(part))
        part.failed++;
    close(child->fd);
    waitpid(child->pid, &status, 0);
    rewind(child->output);
    while ((length = fread(buffer, 1, sizeof(buffer), child->output)) > 0)
        fwrite(buffer, 1, length, stdout);
    fclose(child->output);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        printf("FAILED: a process of the simulator ended with status %#x; --jobs 1 shows at which "
               "seed\n",
               (unsigned)status);
        part.failed += part.failed == 0;
    }
    tally_add(tally, &part);
}

struct tally many(const struct options *options)
{
    struct child children[JOBS_MAX];
    struct tally tally = {0};
    atomic_uint_fast64_t *next =
        mmap(NULL, sizeof(*next), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (next == MAP_FAILED)
        abort();
    if (options->jobs == 1)
        tally = share_run(options, next);
    for (unsigned i = 0; i < options->jobs && options->jobs > 1; i++)
        child_start(options, next, &children[i]);
    for (unsigned i = 0; i < options->jobs && options->jobs > 1; i++)
        child_end(&children[i], &tally);
    munmap(next, sizeof(*next));
    return tally;
}

// ---- the command

static void usage(void)
{
    puts("usage: carrick-sim [--seed N] [--verbose] [--histories N] [--scenario NAME] [--steps N]\n"
         "                   [--jobs N] [--break RULE] [--list]\n"
         "\n"
         "Two nodes with the real core and the real storage plugins, on a simulated network and\n"
         "simulated disks, in virtual time. All that happens is drawn from a seed, and happens\n"
         "again with it.\n"
         "\n"
         "  --seed N          one history (the default is 1); with --histories: the first of them\n"
         "  --histories N     the test suite: N histories with storage, a tenth as many of the\n"
         "                    core, 10 link failures for each (up to 100,000), and, from 1000 on,\n"
         "                    proof that the judges notice; with --scenario: N of that kind\n"
         "  --verbose         prints what happens\n"
         "  --scenario NAME   of that kind; else the seed's last two digits choose\n"
         "  --steps N         number of faults of a history; else the seed chooses\n"
         "  --jobs N          processes to share the histories among\n"
         "  --break RULE      takes a rule out, so that histories should fail: fence, replay,\n"
         "                    promise, win, shadow, cut, destage, resync, closed, trim, sync,\n"
         "                    withdraw, found, equal, index, each, hold, boot\n"
         "  --list            names the scenarios");
}

static bool rule_read(const char *name, unsigned *set)
{
    for (unsigned i = 0; i < RULE_COUNT; i++)
        if (strcmp(rules[i].name, name) == 0) {
            *set |= rules[i].rule;
            return true;
        }
    fprintf(stderr, "carrick-sim: no rule \"%s\"; --help names them\n", name);
    return false;
}

static int options_read(int count, char **arguments, struct options *options)
{
    static const struct option longs[] = {
        {"seed", required_argument, NULL, 's'},
        {"verbose", no_argument, NULL, 'v'},
        {"histories", required_argument, NULL, 'n'},
        {"scenario", required_argument, NULL, 'c'},
        {"steps", required_argument, NULL, 't'},
        {"jobs", required_argument, NULL, 'j'},
        {"break", required_argument, NULL, 'b'},
        {"list", no_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int letter;

    while ((letter = getopt_long(count, arguments, "h", longs, NULL)) != -1)
        switch (letter) {
        case 's':
            options->world.seed = strtoull(optarg, NULL, 10);
            break;
        case 'v':
            options->world.verbose = true;
            break;
        case 'n':
            options->histories = strtoull(optarg, NULL, 10);
            break;
        case 'c':
            options->world.scenario = scenario_find(optarg);
            if (options->world.scenario == NULL) {
                fprintf(stderr, "carrick-sim: no scenario \"%s\"; --list names them\n", optarg);
                return 2;
            }
            break;
        case 't':
            options->world.steps = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'j':
            options->jobs = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'b':
            if (!rule_read(optarg, &options->world.break_rules))
                return 2;
            break;
        case 'l':
            for (unsigned i = 0; i < scenario_count; i++)
                printf("%-17s %s\n", scenarios[i].name, scenarios[i].text);
            return -1;
        case 'h':
            usage();
            return -1;
        default:
            return 2;
        }
    return 0;
}

static int one(struct world_options *options)
{
    struct verdict verdict;

    if (options->scenario == NULL)
        options->scenario = scenario_choose(options->seed);
    verdict = history(options, LOG_LINES_SHOWN);
    printf("seed %llu, scenario %s: %s, hash %016llx\n", (unsigned long long)options->seed,
           options->scenario->name, verdict.good ? "good" : "FAILED",
           (unsigned long long)verdict.hash);
    numbers_print(&verdict.numbers);
    return verdict.good ? 0 : 1;
}

// A world's memory goes to the next one, not back to the kernel, which would have to clear it; and it lies in large
// pages, since a world is spread over more small ones than the processor keeps in mind.
static void memory_keep(void)
{
    const uintptr_t large = 2u << 20;
    uintptr_t first, end;
    void *any;

    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
    mallopt(M_TOP_PAD, 256 << 20);
    any = malloc(1 << 20); // more than there is yet: the heap grows
    first = ((uintptr_t)any + large) & ~(large - 1);
    end = (uintptr_t)sbrk(0) & ~(large - 1);
    if (any != NULL && first < end)
        (void)madvise((void *)first, end - first, MADV_HUGEPAGE); // without them it is slower only
    free(any);
}

int main(int count, char **arguments)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct options options = {.world = {.seed = 1}, .jobs = cores > 0 ? (unsigned)cores : 1};
    int status = options_read(count, arguments, &options);
    struct tally tally;

    if (status != 0)
        return status < 0 ? 0 : status;
    memory_keep();
    options.jobs = options.jobs < 1 ? 1 : options.jobs > JOBS_MAX ? JOBS_MAX : options.jobs;
    if (options.histories == 0)
        return one(&options.world);
    if (options.world.scenario != NULL || options.world.break_rules != 0) {
        tally = many(&options);
        numbers_print(&tally.numbers);
    } else {
        tally = suite(&options);
    }
    printf("%llu passed, %llu failed\n", (unsigned long long)tally.passed,
           (unsigned long long)tally.failed);
    return tally.failed == 0 ? 0 : 1;
}
