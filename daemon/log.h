// SPDX-License-Identifier: Apache-2.0
//
// The log. Lines go to the journal, with fields, when standard error is the journal's; else to standard error, in a
// form for a terminal or for a file. Who logs never waits: lines are queued, bounded, and written by a thread of the
// log's own, since a pipe that nobody reads must not hold up a manager. What does not fit is counted, and told.
#ifndef DAEMON_LOG_H
#define DAEMON_LOG_H

#include <stddef.h>
#include <stdio.h>

#include "core/env.h"

#define LOG_QUEUE_MAX 4096u // lines that wait to be written
#define LOG_TEXT_MAX 2048u  // bytes of one text; the rest is cut

enum log_form {
    LOG_FORM_PLAIN,    // time in UTC, level, where, event, text
    LOG_FORM_TERMINAL, // local time, colours
    LOG_FORM_JOURNAL,
};

struct log;

struct log_options {
    int level; // enum carrick_log_level: what is less urgent is not written
    int fd;    // standard error, usually; it stays the caller's
    enum log_form form;
};

// A record with the time of its logging. Strings are valid during the call only.
struct log_event {
    uint64_t time_ms; // since 1970
    struct env_record record;
};

// What fd is: a terminal, the journal (by $JOURNAL_STREAM), or anything else.
enum log_form log_form_of(int fd);

struct log *log_open(const struct log_options *options); // NULL: no memory, or no thread
// Writes what is queued, for at most two seconds, and ends.
void log_close(struct log *log);

void log_set_level(struct log *log, int level);
int log_level(const struct log *log);

// Any thread; never blocks.
void log_write(struct log *log, const struct env_record *record);
void log_line(struct log *log, int level, const char *event, const char *object, const char *format,
              ...) __attribute__((format(printf, 5, 6)));

// fn is called for each record that has an event name, whatever its level, on the thread that logs it. Set once,
// before other threads log; NULL ends it.
void log_listen(struct log *log, void (*fn)(void *arg, const struct log_event *event), void *arg);

struct log_counts {
    uint64_t written[8]; // by level
    uint64_t dropped;
};
void log_counts(struct log *log, struct log_counts *counts);

// ---- log_format.c

const char *log_level_name(int level);
// From a name as in the configuration; -1: there is no such level.
int log_level_of(const char *name);
// "2001-02-03T04:05:06.789Z"
#define LOG_TIME_BYTES 32u
void log_time_utc(uint64_t time_ms, char text[LOG_TIME_BYTES]);
// The line in the form for a file or a terminal, with its newline; returns its length. Bytes that could upset a
// terminal, or pass for a line of their own, are replaced.
size_t log_format(const struct log_event *event, enum log_form form, char *line, size_t size);
// Replaces such bytes in place.
void log_clean(char *text);

#endif
