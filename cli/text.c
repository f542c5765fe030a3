// SPDX-License-Identifier: Apache-2.0
//
// Words for people: ages, sizes, and what a mistyped word was meant to be.

#include "cli/cli.h"

#include <langinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void complain(const char *format, ...)
{
    va_list args;
    fputs("carrick: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

uint64_t cli_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

// Two units at most: a person wants to know whether it was just now or yesterday.
void text_age(uint64_t ms, char *text, size_t size)
{
    unsigned long long s = ms / 1000;
    if (ms < 1000)
        snprintf(text, size, "%llu ms", (unsigned long long)ms);
    else if (s < 10)
        snprintf(text, size, "%llu.%llu s", s, (unsigned long long)(ms % 1000 / 100));
    else if (s < 60)
        snprintf(text, size, "%llu s", s);
    else if (s < 3600)
        snprintf(text, size, "%llu m %llu s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(text, size, "%llu h %llu m", s / 3600, s % 3600 / 60);
    else
        snprintf(text, size, "%llu d %llu h", s / 86400, s % 86400 / 3600);
}

void text_bytes(uint64_t bytes, char *text, size_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    unsigned unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    if (unit == 0 || value == (double)(uint64_t)value)
        snprintf(text, size, "%.0f %s", value, units[unit]);
    else
        snprintf(text, size, "%.1f %s", value, units[unit]);
}

void text_latency(double us, char *text, size_t size)
{
    const char *micro = strcmp(nl_langinfo(CODESET), "UTF-8") == 0 ? "\u00b5s" : "us";
    if (!(us > 0))
        snprintf(text, size, "-");
    else if (us < 1000)
        snprintf(text, size, "%.*f %s", us < 100 ? 1 : 0, us, micro);
    else if (us < 1000000)
        snprintf(text, size, "%.1f ms", us / 1000);
    else
        snprintf(text, size, "%.1f s", us / 1000000);
}

void text_clean(const char *text, char *clean, size_t size)
{
    size_t used = 0;
    for (; *text && used + 1 < size; text++) {
        unsigned char c = (unsigned char)text[0], after = (unsigned char)text[1];
        bool control = c < 0x20 || c == 0x7f;
        // Control characters also come as two bytes: U+0080 to U+009F.
        if (c == 0xc2 && after >= 0x80 && after < 0xa0)
            control = true;
        if (used > 0 && c >= 0x80 && c < 0xa0 && (unsigned char)text[-1] == 0xc2)
            control = true;
        clean[used++] = control ? ' ' : (char)c;
    }
    // A character is not cut in its midst.
    if (*text) {
        while (used > 0 && ((unsigned char)clean[used - 1] & 0xc0) == 0x80)
            used--;
        if (used > 0 && (unsigned char)clean[used - 1] >= 0xc0)
            used--;
    }
    clean[used] = 0;
}

unsigned text_width(const char *text)
{
    unsigned width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

#define MEANT_MAX 31

// Edits that make one word of the other; two swapped neighbours count as one.
static unsigned distance(const char *a, const char *b)
{
    size_t rows = strlen(a), columns = strlen(b);
    unsigned d[MEANT_MAX + 2][MEANT_MAX + 2];
    if (rows > MEANT_MAX || columns > MEANT_MAX)
        return MEANT_MAX;
    for (size_t i = 0; i <= rows; i++)
        d[i][0] = (unsigned)i;
    for (size_t j = 0; j <= columns; j++)
        d[0][j] = (unsigned)j;
    for (size_t i = 1; i <= rows; i++) {
        for (size_t j = 1; j <= columns; j++) {
            unsigned best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best)
                best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best)
                best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    }
    return d[rows][columns];
}

const char *text_meant(const char *word, const char *const *words, size_t count)
{
    const char *best = NULL;
    unsigned best_distance = MEANT_MAX;
    size_t length = strlen(word);
    for (size_t i = 0; i < count; i++) {
        // The beginning of a word is a good guess however much is missing.
        unsigned edits =
            length >= 2 && strncmp(words[i], word, length) == 0 ? 1 : distance(word, words[i]);
        if (edits < best_distance) {
            best_distance = edits;
            best = words[i];
        }
    }
    return best_distance <= (length < 4 ? 1u : 2u) ? best : NULL;
}
