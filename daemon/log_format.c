// SPDX-License-Identifier: Apache-2.0
#include "daemon/log.h"

#include <string.h>
#include <time.h>

static const struct {
    int level;
    const char *name;
    const char *shown; // of equal width
    const char *colour;
} levels[] = {
    {CARRICK_LOG_ERROR, "error", "error  ", "\033[1;31m"},
    {CARRICK_LOG_WARNING, "warning", "warning", "\033[33m"},
    {CARRICK_LOG_NOTICE, "notice", "notice ", "\033[1m"},
    {CARRICK_LOG_INFO, "info", "info   ", ""},
    {CARRICK_LOG_DEBUG, "debug", "debug  ", "\033[2m"},
};

static size_t level_index(int level)
{
    size_t last = sizeof(levels) / sizeof(levels[0]) - 1;
    for (size_t i = 0; i < last; i++)
        if (level <= levels[i].level)
            return i;
    return last;
}

const char *log_level_name(int level)
{
    return levels[level_index(level)].name;
}

int log_level_of(const char *name)
{
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
        if (!strcmp(levels[i].name, name))
            return levels[i].level;
    return -1;
}

void log_time_utc(uint64_t time_ms, char text[LOG_TIME_BYTES])
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    size_t used = strftime(text, LOG_TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text + used, LOG_TIME_BYTES - used, ".%03uZ", (unsigned)(time_ms % 1000));
}

static void time_local(uint64_t time_ms, char text[LOG_TIME_BYTES])
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts;
    localtime_r(&seconds, &parts);
    size_t used = strftime(text, LOG_TIME_BYTES, "%H:%M:%S", &parts);
    snprintf(text + used, LOG_TIME_BYTES - used, ".%03u", (unsigned)(time_ms % 1000));
}

void log_clean(char *text)
{
    for (unsigned char *at = (unsigned char *)text; *at; at++) {
        if (*at == '\n' || *at == '\t')
            *at = ' ';
        else if (*at < 0x20 || *at == 0x7f)
            *at = '?';
        else if (*at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0)
            at[0] = at[1] = '?'; // the control characters beyond ASCII
    }
}

static bool is_said(const char *text)
{
    return text && text[0];
}

size_t log_format(const struct log_event *event, enum log_form form, char *line, size_t size)
{
    const struct env_record *record = &event->record;
    size_t level = level_index(record->level);
    bool terminal = form == LOG_FORM_TERMINAL;
    char time_text[LOG_TIME_BYTES];
    if (terminal)
        time_local(event->time_ms, time_text);
    else
        log_time_utc(event->time_ms, time_text);
    bool manager = is_said(record->manager);
    bool object = is_said(record->object);
    bool named = is_said(record->event);
    char body[LOG_TEXT_MAX + 256];
    snprintf(body, sizeof(body), "%s%s%s%s%s%s%s", manager ? record->manager : "",
             manager && object ? "/" : "", object ? record->object : "",
             manager || object ? " " : "", named ? record->event : "", named ? ": " : "",
             record->text ? record->text : "");
    log_clean(body);
    const char *colour = terminal ? levels[level].colour : "";
    int length = snprintf(line, size, "%s %s%s%s %s\n", time_text, colour, levels[level].shown,
                          colour[0] ? "\033[0m" : "", body);
    if (length < 0 || size < 2)
        return 0;
    if ((size_t)length < size)
        return (size_t)length;
    line[size - 2] = '\n';
    return size - 1;
}
