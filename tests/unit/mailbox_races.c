// SPDX-License-Identifier: Apache-2.0
// needs plugin: mailbox
//
// The mailbox on a real directory: processes that race, processes that end between any two steps, and files that do
// not belong there.
#include <criterion/criterion.h>

#include "plugins/arbiter/mailbox/mailbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char *directory_new(char path[64])
{
    // In memory where there is such a place: each change is synced several times, and there are hundreds.
    snprintf(path, 64, "%s/carrick-mailbox-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    cr_assert_not_null(mkdtemp(path));
    return path;
}

static void directory_remove(const char *path)
{
    DIR *entries = opendir(path);
    struct dirent *entry;

    while ((entry = readdir(entries)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(entries), entry->d_name, 0);
    closedir(entries);
    rmdir(path);
}

static unsigned count_names(const char *path, const char *prefix)
{
    DIR *entries = opendir(path);
    struct dirent *entry;
    unsigned count = 0;

    while ((entry = readdir(entries)) != NULL)
        count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    closedir(entries);
    return count;
}

static struct carrick_arbiter_record record_of(const char *owner, uint64_t mark)
{
    struct carrick_arbiter_record record = {
        .struct_size = sizeof record, .member_count = 2, .fork_sequence = mark};

    memcpy(record.generation, &mark, sizeof mark);
    snprintf(record.owner, sizeof record.owner, "%s", owner);
    record.owner_incarnation = mark * 3;
    snprintf(record.members[0].node, sizeof record.members[0].node, "alpha");
    snprintf(record.members[1].node, sizeof record.members[1].node, "beta");
    record.members[1].incarnation = mark;
    return record;
}

static int change(const char *path, const char *node, const char *group, uint64_t expected,
                  uint64_t mark, struct mailbox_answer *answer)
{
    struct mailbox_directory directory = {.path = path, .node = node, .nonce = mark};
    struct carrick_arbiter_record wanted = record_of(node, mark);

    mailbox_change(&directory, group, expected, &wanted, answer);
    return answer->status;
}

static int look(const char *path, const char *group, struct mailbox_answer *answer)
{
    struct mailbox_directory directory = {.path = path, .node = "alpha"};

    mailbox_read(&directory, group, answer);
    return answer->status;
}

static void file_put(const char *path, const char *name, const void *bytes, size_t length)
{
    char full[256];
    int fd;

    snprintf(full, sizeof full, "%s/%s", path, name);
    fd = open(full, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, bytes, length), (ssize_t)length);
    close(fd);
}

Test(mailbox, a_record_is_read_as_it_was_written)
{
    char path[64];
    struct mailbox_answer answer;
    struct carrick_arbiter_record wanted = record_of("alpha", 77);

    directory_new(path);
    cr_assert_eq(look(path, "g1", &answer), CARRICK_OK);
    cr_assert_eq(answer.record.number, 0);
    cr_assert_eq(change(path, "alpha", "g1", 0, 77, &answer), CARRICK_OK, "%s", answer.cause);
    cr_assert_eq(look(path, "g1", &answer), CARRICK_OK);
    wanted.number = 1;
    cr_assert_eq(memcmp(&answer.record, &wanted, sizeof wanted), 0);
    cr_assert_eq(look(path, "g2", &answer), CARRICK_OK);
    cr_assert_eq(answer.record.number, 0, "a record of another group");
    cr_assert_eq(look(path, "g", &answer), CARRICK_OK);
    cr_assert_eq(answer.record.number, 0, "a record of a group whose name begins alike");
    directory_remove(path);
}

Test(mailbox, another_record_is_a_conflict_and_is_told)
{
    char path[64];
    struct mailbox_answer answer;

    directory_new(path);
    cr_assert_eq(change(path, "alpha", "g1", 0, 1, &answer), CARRICK_OK);
    cr_assert_eq(change(path, "beta", "g1", 0, 2, &answer), CARRICK_ERR_CONFLICT);
    cr_assert(answer.has_record);
    cr_assert_str_eq(answer.record.owner, "alpha");
    cr_assert_eq(change(path, "beta", "g1", 5, 2, &answer), CARRICK_ERR_CONFLICT);
    cr_assert_eq(change(path, "beta", "g1", 1, 3, &answer), CARRICK_OK);
    cr_assert_eq(count_names(path, ".new."), 0);
    directory_remove(path);
}

Test(mailbox, what_is_torn_or_changed_is_no_record)
{
    struct carrick_arbiter_record record = record_of("alpha", 9), got;
    char text[MAILBOX_TEXT_MAX];
    size_t length;

    record.number = 3;
    length = mailbox_record_put("g1", &record, text);
    cr_assert(mailbox_record_get(text, length, "g1", 3, &got));
    cr_assert(!mailbox_record_get(text, length, "g2", 3, &got));
    cr_assert(!mailbox_record_get(text, length, "g1", 4, &got));
    for (size_t cut = 0; cut < length; cut++)
        cr_assert(!mailbox_record_get(text, cut, "g1", 3, &got), "cut at %zu", cut);
    for (size_t at = 0; at < length; at++) {
        text[at] ^= 4;
        cr_assert(!mailbox_record_get(text, length, "g1", 3, &got), "changed at %zu", at);
        text[at] ^= 4;
    }
}

Test(mailbox, foreign_files_do_no_harm)
{
    char path[64];
    struct mailbox_answer answer;

    directory_new(path);
    cr_assert_eq(change(path, "alpha", "g1", 0, 1, &answer), CARRICK_OK);
    file_put(path, "g1.1", "x", 1);
    file_put(path, "g1.000000000000000000zz", "x", 1);
    file_put(path, "g1.000000000000000000020", "x", 1);
    file_put(path, "README", "x", 1);
    file_put(path, ".new.g1.beta.0000000000000001", "torn", 4);
    cr_assert_eq(look(path, "g1", &answer), CARRICK_OK);
    cr_assert_eq(answer.record.number, 1);
    cr_assert_eq(change(path, "beta", "g1", 1, 2, &answer), CARRICK_OK);
    cr_assert_eq(count_names(path, "README"), 1);
    directory_remove(path);
}

// An older record in place of a damaged newer one would give the group to two nodes.
Test(mailbox, a_damaged_newest_record_decides_nothing)
{
    char path[64];
    struct mailbox_answer answer;

    directory_new(path);
    cr_assert_eq(change(path, "alpha", "g1", 0, 1, &answer), CARRICK_OK);
    file_put(path, "g1.00000000000000000002", "torn", 4);
    cr_assert_eq(look(path, "g1", &answer), CARRICK_ERR_UNREACHABLE);
    cr_assert(!answer.has_record);
    cr_assert_not_null(strstr(answer.cause, "g1.00000000000000000002 is damaged"));
    cr_assert_neq(change(path, "alpha", "g1", 1, 2, &answer), CARRICK_OK);
    cr_assert_neq(change(path, "alpha", "g1", 2, 3, &answer), CARRICK_OK);
    directory_remove(path);
}

Test(mailbox, a_directory_that_is_not_there_is_unreachable)
{
    struct mailbox_answer answer;

    cr_assert_eq(look("/tmp/carrick-no-such-mailbox", "g1", &answer), CARRICK_ERR_UNREACHABLE);
    cr_assert_not_null(strstr(answer.cause, "/tmp/carrick-no-such-mailbox"));
    cr_assert_eq(change("/tmp/carrick-no-such-mailbox", "alpha", "g1", 0, 1, &answer),
                 CARRICK_ERR_UNREACHABLE);
}

Test(mailbox, old_records_are_pruned)
{
    char path[64];
    struct mailbox_answer answer;

    directory_new(path);
    for (uint64_t i = 0; i < 3 * MAILBOX_KEEP; i++)
        cr_assert_eq(change(path, "alpha", "g1", i, i + 1, &answer), CARRICK_OK);
    cr_assert_eq(count_names(path, "g1."), MAILBOX_KEEP);
    cr_assert_eq(look(path, "g1", &answer), CARRICK_OK);
    cr_assert_eq(answer.record.number, 3 * MAILBOX_KEEP);
    directory_remove(path);
}

struct overtaken {
    const char *path;
    bool done;
};

// While one writer stands still before it gives its name, others go on until that name has been pruned.
static void overtake(void *arg, enum mailbox_point point)
{
    struct overtaken *overtaken = arg;
    struct mailbox_answer answer;

    if (point != MAILBOX_SYNCED || overtaken->done)
        return;
    overtaken->done = true;
    for (uint64_t i = 1; i < 3 * MAILBOX_KEEP; i++)
        cr_assert_eq(change(overtaken->path, "beta", "g1", i, i + 100, &answer), CARRICK_OK);
}

Test(mailbox, a_writer_that_slept_past_the_pruning_of_its_number_has_lost)
{
    char path[64];
    struct mailbox_answer answer;
    struct carrick_arbiter_record wanted = record_of("alpha", 5);
    struct overtaken overtaken = {.path = directory_new(path)};
    struct mailbox_directory directory = {
        .path = path, .node = "alpha", .nonce = 9, .point = overtake, .arg = &overtaken};

    cr_assert_eq(change(path, "alpha", "g1", 0, 1, &answer), CARRICK_OK);
    mailbox_change(&directory, "g1", 1, &wanted, &answer);
    cr_assert(overtaken.done);
    cr_assert_eq(answer.status, CARRICK_ERR_CONFLICT);
    cr_assert_str_eq(answer.record.owner, "beta");
    directory_remove(path);
}

// ---- races: several processes count one group up

enum { RACERS = 4, WINS = 40 };

// Each win must be one step from a record that this process has seen to one of its own.
static int race(const char *path, unsigned racer, const char *log)
{
    FILE *wins = fopen(log, "w");
    unsigned won = 0;

    for (uint64_t turn = 1; won < WINS; turn++) {
        struct mailbox_answer answer;
        char node[16];
        uint64_t mark = racer * 1000000u + turn;

        snprintf(node, sizeof node, "node%u", racer);
        if (look(path, "g1", &answer) != CARRICK_OK)
            return 1;
        if (change(path, node, "g1", answer.record.number, mark, &answer) == CARRICK_OK) {
            fprintf(wins, "%llu %llu\n", (unsigned long long)answer.record.number,
                    (unsigned long long)mark);
            won++;
        } else if (answer.status != CARRICK_ERR_CONFLICT) {
            return 1;
        }
    }
    return fclose(wins) == 0 ? 0 : 1;
}

Test(mailbox, no_number_is_won_twice, .timeout = 100)
{
    char path[64], log[128];
    bool taken[RACERS * WINS * 4] = {false};
    unsigned long long number, mark;
    struct mailbox_answer answer;
    pid_t children[RACERS];

    directory_new(path);
    for (unsigned i = 0; i < RACERS; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            snprintf(log, sizeof log, "%s.wins%u", path, i);
            _exit(race(path, i, log));
        }
    }
    for (unsigned i = 0; i < RACERS; i++) {
        int status = 1;
        cr_assert_eq(waitpid(children[i], &status, 0), children[i]);
        cr_assert_eq(status, 0, "racer %u", i);
    }
    for (unsigned i = 0; i < RACERS; i++) {
        snprintf(log, sizeof log, "%s.wins%u", path, i);
        FILE *wins = fopen(log, "r");
        while (fscanf(wins, "%llu %llu", &number, &mark) == 2) {
            cr_assert_lt(number, sizeof taken);
            cr_assert(!taken[number], "number %llu was won twice", number);
            taken[number] = true;
        }
        fclose(wins);
        unlink(log);
    }
    cr_assert_eq(look(path, "g1", &answer), CARRICK_OK);
    cr_assert_geq(answer.record.number, (uint64_t)RACERS * WINS);
    directory_remove(path);
}

// ---- crash points

static void end_here(void *arg, enum mailbox_point point)
{
    if (point == *(enum mailbox_point *)arg)
        _exit(42); // as SIGKILL: nothing is tidied up
}

Test(mailbox, a_writer_that_ends_between_any_two_steps_leaves_all_or_nothing, .timeout = 60)
{
    for (int point = 0; point < MAILBOX_POINT_COUNT; point++) {
        enum mailbox_point at = (enum mailbox_point)point;
        struct mailbox_answer answer;
        char path[64];
        int status;
        pid_t child;

        directory_new(path);
        cr_assert_eq(change(path, "alpha", "g1", 0, 1, &answer), CARRICK_OK);
        child = fork();
        if (child == 0) {
            struct carrick_arbiter_record wanted = record_of("beta", 2);
            struct mailbox_directory directory = {
                .path = path, .node = "beta", .nonce = 2, .point = end_here, .arg = &at};
            mailbox_change(&directory, "g1", 1, &wanted, &answer);
            _exit(0);
        }
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 42, "point %d was not reached",
                  point);
        cr_assert_eq(look(path, "g1", &answer), CARRICK_OK, "point %d: %s", point, answer.cause);
        if (at < MAILBOX_LINKED) {
            cr_assert_eq(answer.record.number, 1, "point %d", point);
            cr_assert_str_eq(answer.record.owner, "alpha");
        } else {
            cr_assert_eq(answer.record.number, 2, "point %d", point);
            cr_assert_str_eq(answer.record.owner, "beta");
        }
        // Whatever was left behind is in nobody's way.
        cr_assert_eq(change(path, "alpha", "g1", answer.record.number, 3, &answer), CARRICK_OK,
                     "point %d: %s", point, answer.cause);
        directory_remove(path);
    }
}
