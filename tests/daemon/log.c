// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "daemon/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void expect_same(const char *text, const char *expected)
{
    cr_assert(zero(int, strcmp(text, expected)), "\"%s\" instead of \"%s\"", text, expected);
}

static void expect_part(const char *text, const char *part)
{
    cr_assert(ne(ptr, strstr(text, part), NULL), "\"%s\" does not hold \"%s\"", text, part);
}

// ---- form

static const struct log_event event = {
    981173106789, // 2001-02-03T04:05:06.789Z
    {CARRICK_LOG_WARNING, "link-down", "main", "left", "no answer for 300 ms"},
};

Test(log_form, plain)
{
    char line[256];
    size_t length = log_format(&event, LOG_FORM_PLAIN, line, sizeof(line));
    expect_same(line,
                "2001-02-03T04:05:06.789Z warning main/left link-down: no answer for 300 ms\n");
    cr_assert(eq(sz, length, strlen(line)));
}

Test(log_form, what_is_missing_leaves_no_trace)
{
    char line[256];
    struct log_event bare = {0, {.level = CARRICK_LOG_INFO, .text = "hello"}};
    log_format(&bare, LOG_FORM_PLAIN, line, sizeof(line));
    expect_same(line, "1970-01-01T00:00:00.000Z info    hello\n");
    bare.record.object = "left";
    log_format(&bare, LOG_FORM_PLAIN, line, sizeof(line));
    expect_same(line, "1970-01-01T00:00:00.000Z info    left hello\n");
}

Test(log_form, terminal_has_colour_and_ends_it)
{
    char line[256];
    log_format(&event, LOG_FORM_TERMINAL, line, sizeof(line));
    expect_part(line, "\033[33mwarning\033[0m main/left");
}

Test(log_form, nothing_passes_for_a_line_or_a_command_of_the_terminal)
{
    char line[256];
    struct log_event bad = {0,
                            {.level = CARRICK_LOG_INFO,
                             .object = "a\nb",
                             .text = "x\033[2Jy\r\nz\x7f \xc2\x9b q \xc3\xa9"}};
    log_format(&bad, LOG_FORM_TERMINAL, line, sizeof(line));
    expect_part(line, "a b x?[2Jy? z? ?? q \xc3\xa9\n");
}

Test(log_form, long_text_is_cut_and_still_a_line)
{
    char text[400];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    struct log_event longer = {0, {.level = CARRICK_LOG_INFO, .text = text}};
    char line[100];
    size_t length = log_format(&longer, LOG_FORM_PLAIN, line, sizeof(line));
    cr_assert(eq(sz, length, sizeof(line) - 1));
    cr_assert(eq(int, line[length - 1], '\n'));
}

Test(log_form, level_names)
{
    static const int levels[] = {CARRICK_LOG_ERROR, CARRICK_LOG_WARNING, CARRICK_LOG_NOTICE,
                                 CARRICK_LOG_INFO, CARRICK_LOG_DEBUG};
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
        cr_assert(eq(int, log_level_of(log_level_name(levels[i])), levels[i]));
    cr_assert(eq(int, log_level_of("loud"), -1));
}

Test(log_form, journal_only_when_the_descriptor_is_the_journals)
{
    int fds[2];
    cr_assert(eq(int, pipe(fds), 0));
    struct stat st;
    cr_assert(eq(int, fstat(fds[1], &st), 0));
    char stream[64];
    unsetenv("JOURNAL_STREAM");
    cr_assert(eq(int, (int)log_form_of(fds[1]), LOG_FORM_PLAIN));
    snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    cr_assert(eq(int, (int)log_form_of(fds[1]), LOG_FORM_JOURNAL));
    snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino + 1);
    setenv("JOURNAL_STREAM", stream, 1);
    cr_assert(eq(int, (int)log_form_of(fds[1]), LOG_FORM_PLAIN));
}

// ---- the log

static int file;
static char path[64];
static struct log *made;

static void begin(void)
{
    strcpy(path, "/tmp/log-test-XXXXXX");
    file = mkstemp(path);
    cr_assert(ge(int, file, 0));
    const struct log_options options = {CARRICK_LOG_INFO, file, LOG_FORM_PLAIN};
    made = log_open(&options);
    cr_assert(ne(ptr, made, NULL));
}

static void end(void)
{
    close(file);
    unlink(path);
}

TestSuite(log, .init = begin, .fini = end, .timeout = 60);

// Closes the log and counts the lines that hold part.
static unsigned close_and_count(const char *part)
{
    log_close(made);
    FILE *in = fopen(path, "r");
    char line[4096];
    unsigned count = 0;
    while (fgets(line, sizeof(line), in))
        count += strstr(line, part) != NULL;
    fclose(in);
    return count;
}

Test(log, level_decides_and_can_change)
{
    log_line(made, CARRICK_LOG_DEBUG, NULL, NULL, "one %d", 1);
    log_set_level(made, CARRICK_LOG_DEBUG);
    log_line(made, CARRICK_LOG_DEBUG, NULL, NULL, "two");
    log_set_level(made, CARRICK_LOG_ERROR);
    log_line(made, CARRICK_LOG_WARNING, NULL, NULL, "three");
    log_line(made, CARRICK_LOG_ERROR, NULL, NULL, "four");
    struct log_counts counts;
    log_counts(made, &counts);
    cr_assert(eq(u64, counts.written[CARRICK_LOG_DEBUG], 1));
    cr_assert(eq(u64, counts.written[CARRICK_LOG_ERROR], 1));
    cr_assert(eq(u64, counts.dropped, 0));
    cr_assert(eq(u32, close_and_count("Z "), 2));
}

static void *log_many(void *arg)
{
    for (int i = 0; i < 500; i++)
        log_line(made, CARRICK_LOG_INFO, NULL, arg, "number %d of it", i);
    return NULL;
}

Test(log, lines_of_several_threads_stay_whole)
{
    static char names[4][8] = {"a", "b", "c", "d"};
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, log_many, names[i]);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    cr_assert(eq(u32, close_and_count(" of it\n"), 2000));
}

static atomic_uint heard;
static char heard_text[64];

static void listen_to(void *arg, const struct log_event *what)
{
    *(atomic_uint *)arg += 1;
    snprintf(heard_text, sizeof(heard_text), "%s", what->record.text);
}

Test(log, named_records_are_events_whatever_their_level)
{
    log_listen(made, listen_to, &heard);
    log_line(made, CARRICK_LOG_DEBUG, "quiet-event", "left", "not written");
    log_line(made, CARRICK_LOG_ERROR, NULL, NULL, "no event");
    cr_assert(eq(u32, heard, 1));
    expect_same(heard_text, "not written");
    cr_assert(eq(u32, close_and_count("quiet-event"), 0));
}

// Who logs does not wait for a reader: what does not fit is dropped and counted, and the log ends all the same.
Test(log, pipe_that_nobody_reads)
{
    int fds[2];
    cr_assert(eq(int, pipe(fds), 0));
    const struct log_options options = {CARRICK_LOG_INFO, fds[1], LOG_FORM_PLAIN};
    struct log *stuck = log_open(&options);
    char text[1024];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    for (unsigned i = 0; i < LOG_QUEUE_MAX + 1000; i++)
        log_line(stuck, CARRICK_LOG_INFO, NULL, NULL, "%s", text);
    struct log_counts counts;
    log_counts(stuck, &counts);
    cr_assert(gt(u64, counts.dropped, 0));
    log_close(stuck);
    log_close(made);
}

Test(log, dropped_lines_are_told_once_there_is_room)
{
    int fds[2];
    cr_assert(eq(int, pipe(fds), 0));
    const struct log_options options = {CARRICK_LOG_INFO, fds[1], LOG_FORM_PLAIN};
    struct log *slow = log_open(&options);
    char text[1024];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    for (unsigned i = 0; i < LOG_QUEUE_MAX + 1000; i++)
        log_line(slow, CARRICK_LOG_INFO, NULL, NULL, "%s", text);
    signal(SIGPIPE, SIG_IGN); // as in the daemon
    FILE *in = fdopen(fds[0], "r");
    char line[4096];
    bool told = false;
    while (!told && fgets(line, sizeof(line), in))
        told = strstr(line, " lines were dropped") != NULL;
    cr_assert(told);
    fclose(in);
    log_close(slow);
    log_close(made);
}
