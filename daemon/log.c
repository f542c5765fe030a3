// SPDX-License-Identifier: Apache-2.0
#include "daemon/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <time.h>
#include <unistd.h>

struct line {
    struct line *next;
    struct log_event event; // its strings lie behind the line
    char strings[];
};

struct log {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    pthread_cond_t drained;
    pthread_t thread;
    struct line *first, **end;
    unsigned waiting; // in the list, or being written
    uint64_t untold;  // dropped since the last time that this was told
    bool closing;
    struct log_counts counts;
    atomic_int level;
    int fd;
    enum log_form form;
    void (*listener)(void *arg, const struct log_event *event);
    void *listener_arg;
};

enum log_form log_form_of(int fd)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device;
    unsigned long long inode;
    struct stat st;
    if (stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && !fstat(fd, &st) &&
        st.st_dev == device && st.st_ino == inode)
        return LOG_FORM_JOURNAL;
    return isatty(fd) ? LOG_FORM_TERMINAL : LOG_FORM_PLAIN;
}

// ---- the log's own thread

static void write_fd(const struct log *log, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t done = write(log->fd, bytes, length);
        if (done < 0 && errno != EINTR)
            return; // there is nowhere left to complain
        if (done > 0) {
            bytes += done;
            length -= (size_t)done;
        }
    }
}

static int add_field(struct iovec *field, char *room, size_t size, const char *name,
                     const char *value)
{
    if (!value || !value[0])
        return 0;
    int length = snprintf(room, size, "%s=%s", name, value);
    if (length < 0)
        return 0;
    size_t kept = (size_t)length < size ? (size_t)length : size - 1;
    *field = (struct iovec){room, kept};
    return 1;
}

static bool write_journal(const struct log_event *event)
{
    const struct env_record *record = &event->record;
    char message[LOG_TEXT_MAX + 16];
    char priority[16];
    char manager[96];
    char object[96];
    char name[96];
    struct iovec fields[6];
    int count = 0;
    snprintf(priority, sizeof(priority), "PRIORITY=%d", record->level);
    fields[count++] = (struct iovec){priority, strlen(priority)};
    fields[count++] = (struct iovec){(void *)(uintptr_t) "SYSLOG_IDENTIFIER=carrickd", 26};
    count += add_field(&fields[count], message, sizeof(message), "MESSAGE", record->text);
    count +=
        add_field(&fields[count], manager, sizeof(manager), "CARRICK_MANAGER", record->manager);
    count += add_field(&fields[count], object, sizeof(object), "CARRICK_OBJECT", record->object);
    count += add_field(&fields[count], name, sizeof(name), "CARRICK_EVENT", record->event);
    return sd_journal_sendv(fields, count) >= 0;
}

static void write_event(const struct log *log, const struct log_event *event)
{
    if (log->form == LOG_FORM_JOURNAL && write_journal(event))
        return;
    char text[LOG_TEXT_MAX + 512];
    size_t length = log_format(event, log->form, text, sizeof(text));
    write_fd(log, text, length);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void tell_dropped(const struct log *log, uint64_t count)
{
    char text[96];
    snprintf(text, sizeof(text),
             "%llu lines were dropped: they cannot be written as fast as they come",
             (unsigned long long)count);
    write_event(log, &(struct log_event){now_ms(), {.level = CARRICK_LOG_WARNING, .text = text}});
}

static void *write_lines(void *arg)
{
    struct log *log = arg;
    pthread_mutex_lock(&log->lock);
    for (;;) {
        while (!log->first && !log->closing)
            pthread_cond_wait(&log->filled, &log->lock);
        struct line *line = log->first;
        if (!line)
            break;
        log->first = line->next;
        if (!log->first)
            log->end = &log->first;
        uint64_t untold = log->untold;
        log->untold = 0;
        pthread_mutex_unlock(&log->lock);
        if (untold)
            tell_dropped(log, untold);
        write_event(log, &line->event);
        free(line);
        pthread_mutex_lock(&log->lock);
        if (--log->waiting == 0)
            pthread_cond_signal(&log->drained);
    }
    pthread_mutex_unlock(&log->lock);
    return NULL;
}

// ---- for everyone

struct log *log_open(const struct log_options *options)
{
    struct log *log = calloc(1, sizeof(*log));
    if (!log)
        return NULL;
    log->fd = options->fd;
    log->form = options->form;
    log->end = &log->first;
    atomic_init(&log->level, options->level);
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->filled, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&log->drained, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&log->thread, NULL, write_lines, log)) {
        free(log);
        return NULL;
    }
    pthread_setname_np(log->thread, "log");
    return log;
}

void log_close(struct log *log)
{
    if (!log)
        return;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 2;
    int late = 0;
    pthread_mutex_lock(&log->lock);
    log->closing = true;
    pthread_cond_signal(&log->filled);
    while (log->waiting && !late)
        late = pthread_cond_timedwait(&log->drained, &log->lock, &until);
    pthread_mutex_unlock(&log->lock);
    if (late) {
        // It hangs in a write. The process ends soon, and the thread with it.
        pthread_detach(log->thread);
        return;
    }
    pthread_join(log->thread, NULL);
    pthread_cond_destroy(&log->filled);
    pthread_cond_destroy(&log->drained);
    pthread_mutex_destroy(&log->lock);
    free(log);
}

void log_set_level(struct log *log, int level)
{
    atomic_store_explicit(&log->level, level, memory_order_relaxed);
}

int log_level(const struct log *log)
{
    return atomic_load_explicit(&log->level, memory_order_relaxed);
}

static size_t string_room(const char *text, size_t max)
{
    return text ? strnlen(text, max) + 1 : 0;
}

static const char *string_keep(char **room, const char *text, size_t bytes)
{
    if (!bytes)
        return NULL;
    char *kept = *room;
    memcpy(kept, text, bytes - 1);
    kept[bytes - 1] = 0;
    *room += bytes;
    return kept;
}

static struct line *line_create(const struct log_event *event)
{
    const struct env_record *record = &event->record;
    size_t name = string_room(record->event, 64);
    size_t manager = string_room(record->manager, 64);
    size_t object = string_room(record->object, 64);
    size_t text = string_room(record->text, LOG_TEXT_MAX - 1);
    struct line *line = malloc(sizeof(*line) + name + manager + object + text);
    if (!line)
        return NULL;
    char *room = line->strings;
    line->next = NULL;
    line->event = *event;
    line->event.record.event = string_keep(&room, record->event, name);
    line->event.record.manager = string_keep(&room, record->manager, manager);
    line->event.record.object = string_keep(&room, record->object, object);
    line->event.record.text = string_keep(&room, record->text, text);
    return line;
}

void log_write(struct log *log, const struct env_record *record)
{
    bool wanted = record->level <= log_level(log);
    if (!wanted && !(record->event && log->listener))
        return;
    struct log_event event = {now_ms(), *record};
    if (wanted) {
        struct line *line = line_create(&event);
        pthread_mutex_lock(&log->lock);
        log->counts.written[record->level & 7]++;
        if (line && log->waiting < LOG_QUEUE_MAX && !log->closing) {
            *log->end = line;
            log->end = &line->next;
            log->waiting++;
            line = NULL;
            pthread_cond_signal(&log->filled);
        } else {
            log->counts.dropped++;
            log->untold++;
        }
        pthread_mutex_unlock(&log->lock);
        free(line);
    }
    if (record->event && log->listener)
        log->listener(log->listener_arg, &event);
}

void log_line(struct log *log, int level, const char *event, const char *object, const char *format,
              ...)
{
    char text[LOG_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log_write(log,
              &(struct env_record){.level = level, .event = event, .object = object, .text = text});
}

void log_listen(struct log *log, void (*fn)(void *arg, const struct log_event *event), void *arg)
{
    log->listener_arg = arg;
    log->listener = fn;
}

void log_counts(struct log *log, struct log_counts *counts)
{
    pthread_mutex_lock(&log->lock);
    *counts = log->counts;
    pthread_mutex_unlock(&log->lock);
}
