// SPDX-License-Identifier: Apache-2.0
#include "core/metrics.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct text {
    char *bytes;
    size_t length;
    size_t room;
};

// Samples are kept without the family's name, each after its kind of ending ("{labels} value\n" or " value\n"), since
// the name before them depends on the format.
struct family {
    char *name;
    char *help;
    enum metrics_type type;
    struct text samples;
};

struct metrics_sink {
    int status; // of the first thing that went wrong
    size_t bytes;
    size_t count;
    struct family *open;
    struct family families[METRICS_FAMILIES_MAX];
};

static int text_add(struct text *text, const char *bytes, size_t length)
{
    if (length >= text->room - text->length) {
        size_t room = text->room ? text->room : 512;
        while (length >= room - text->length)
            room *= 2;
        char *grown = realloc(text->bytes, room);
        if (!grown)
            return CARRICK_ERR_NO_MEMORY;
        text->bytes = grown;
        text->room = room;
    }
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = 0;
    return CARRICK_OK;
}

static void sink_add(struct metrics_sink *sink, const char *bytes, size_t length)
{
    if (sink->status || !sink->open)
        return;
    if (length > METRICS_BYTES_MAX - sink->bytes)
        sink->status = CARRICK_ERR_LIMIT;
    else
        sink->status = text_add(&sink->open->samples, bytes, length);
    sink->bytes += length;
}

static void sink_add_string(struct metrics_sink *sink, const char *string)
{
    sink_add(sink, string, strlen(string));
}

// Label values may come from the configuration or from a plugin: quote, backslash and newline are escaped as both
// formats want it, other control characters are replaced.
static void sink_add_escaped(struct metrics_sink *sink, const char *value)
{
    for (const char *at = value ? value : ""; *at; at++) {
        if (*at == '\n')
            sink_add_string(sink, "\\n");
        else if (*at == '"' || *at == '\\')
            sink_add(sink, (char[]){'\\', *at}, 2);
        else if ((unsigned char)*at < 0x20 || *at == 0x7f)
            sink_add_string(sink, "?");
        else
            sink_add(sink, at, 1);
    }
}

struct metrics_sink *metrics_create(void)
{
    return calloc(1, sizeof(struct metrics_sink));
}

void metrics_destroy(struct metrics_sink *sink)
{
    if (!sink)
        return;
    for (size_t i = 0; i < sink->count; i++) {
        free(sink->families[i].name);
        free(sink->families[i].help);
        free(sink->families[i].samples.bytes);
    }
    free(sink);
}

void metrics_family(struct metrics_sink *sink, const char *name, enum metrics_type type,
                    const char *help)
{
    sink->open = NULL;
    for (size_t i = 0; i < sink->count; i++) {
        if (!strcmp(sink->families[i].name, name)) {
            sink->open = &sink->families[i];
            return;
        }
    }
    if (sink->status)
        return;
    if (sink->count == METRICS_FAMILIES_MAX) {
        sink->status = CARRICK_ERR_LIMIT;
        return;
    }
    struct family *family = &sink->families[sink->count];
    family->name = strdup(name);
    family->help = strdup(help);
    family->type = type;
    sink->count++;
    if (family->name && family->help)
        sink->open = family;
    else
        sink->status = CARRICK_ERR_NO_MEMORY;
}

static void add_labels(struct metrics_sink *sink, const struct metrics_label *labels, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        sink_add_string(sink, i ? "," : "{");
        sink_add_string(sink, labels[i].name);
        sink_add_string(sink, "=\"");
        sink_add_escaped(sink, labels[i].value);
        sink_add_string(sink, "\"");
    }
    sink_add_string(sink, count ? "} " : " ");
}

static void add_sample(struct metrics_sink *sink, const struct metrics_label *labels, size_t count,
                       const char *value)
{
    add_labels(sink, labels, count);
    sink_add_string(sink, value);
    sink_add_string(sink, "\n");
}

void metrics_sample(struct metrics_sink *sink, const struct metrics_label *labels, size_t count,
                    uint64_t value)
{
    char text[32];
    snprintf(text, sizeof(text), "%" PRIu64, value);
    add_sample(sink, labels, count, text);
}

void metrics_sample_ns(struct metrics_sink *sink, const struct metrics_label *labels, size_t count,
                       uint64_t value_ns)
{
    char text[40];
    snprintf(text, sizeof(text), "%" PRIu64 ".%09" PRIu64, value_ns / 1000000000u,
             value_ns % 1000000000u);
    add_sample(sink, labels, count, text);
}

void metrics_sample_real(struct metrics_sink *sink, const struct metrics_label *labels,
                         size_t count, double value)
{
    char text[40];
    if (isnan(value))
        snprintf(text, sizeof(text), "NaN");
    else if (isinf(value))
        snprintf(text, sizeof(text), value > 0 ? "+Inf" : "-Inf");
    else
        snprintf(text, sizeof(text), "%.17g", value);
    add_sample(sink, labels, count, text);
}

// HELP lines escape backslash and newline only; both formats take that.
static int render_help(struct text *out, const char *help)
{
    int status = CARRICK_OK;
    for (const char *at = help; *at && !status; at++) {
        if (*at == '\n')
            status = text_add(out, "\\n", 2);
        else if (*at == '\\')
            status = text_add(out, "\\\\", 2);
        else
            status = text_add(out, at, 1);
    }
    return status;
}

static int render_words(struct text *out, const char *first, const char *name, const char *ending,
                        const char *last)
{
    const char *const words[] = {first, name, ending, last};
    int status = CARRICK_OK;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]) && !status; i++)
        status = text_add(out, words[i], strlen(words[i]));
    return status;
}

// The classic format names a counter "x_total" throughout, OpenMetrics only in its samples.
static int render_family(struct text *out, const struct family *family, enum metrics_format format)
{
    const char *total = family->type == METRICS_COUNTER ? "_total" : "";
    const char *ending = format == METRICS_PROMETHEUS ? total : "";
    const char *type = family->type == METRICS_COUNTER ? " counter\n" : " gauge\n";
    int status = render_words(out, "# HELP ", family->name, ending, " ");
    if (!status)
        status = render_help(out, family->help);
    if (!status)
        status = render_words(out, "\n# TYPE ", family->name, ending, type);
    const char *line = family->samples.bytes;
    const char *end = line ? line + family->samples.length : NULL;
    while (line < end && !status) {
        // Newlines within a value are escaped, so this one ends the sample.
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        status = render_words(out, "", family->name, total, "");
        if (!status)
            status = text_add(out, line, (size_t)(newline + 1 - line));
        line = newline + 1;
    }
    return status;
}

int metrics_render(const struct metrics_sink *sink, enum metrics_format format, char **text,
                   size_t *length)
{
    *text = NULL;
    if (sink->status)
        return sink->status;
    struct text out = {0};
    int status = text_add(&out, "", 0);
    for (size_t i = 0; i < sink->count && !status; i++)
        if (sink->families[i].samples.length)
            status = render_family(&out, &sink->families[i], format);
    if (!status && format == METRICS_OPENMETRICS)
        status = text_add(&out, "# EOF\n", 6);
    if (status) {
        free(out.bytes);
        return status;
    }
    *text = out.bytes;
    if (length)
        *length = out.length;
    return CARRICK_OK;
}
