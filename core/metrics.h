// SPDX-License-Identifier: Apache-2.0
//
// Metrics as text, collected family by family. A sink keeps each family's samples together, whoever adds them: so
// several managers fill one sink, one after the other, each on its own thread, and the text that comes out is one
// valid exposition. Nothing here is safe for two threads at once.
//
// An allocation that fails, or a text beyond METRICS_BYTES_MAX, makes the sink answer CARRICK_ERR_NO_MEMORY or
// CARRICK_ERR_LIMIT when it is rendered; the calls in between need no check.
#ifndef CORE_METRICS_H
#define CORE_METRICS_H

#include <carrick/types.h>

#define METRICS_BYTES_MAX (16u * 1024 * 1024)
#define METRICS_FAMILIES_MAX 256u

struct metrics_sink;

enum metrics_type {
    METRICS_GAUGE = 1,
    METRICS_COUNTER =
        2, // the family's name is given without "_total"; it is added where the format wants it
};

enum metrics_format {
    METRICS_PROMETHEUS = 1, // text/plain; version=0.0.4
    METRICS_OPENMETRICS =
        2, // application/openmetrics-text; version=1.0.0, with the closing "# EOF"
};

// Label names must be [a-zA-Z_][a-zA-Z0-9_]*; values may be anything and are escaped. A NULL value reads "".
struct metrics_label {
    const char *name;
    const char *value;
};

struct metrics_sink *metrics_create(void); // NULL: no memory
void metrics_destroy(struct metrics_sink *sink);

// Opens a family: samples go to it until the next one is opened. A name that was opened before continues that one
// (type and help of the first stand). name: the full name, "carrick_link_up"; help: one line.
void metrics_family(struct metrics_sink *sink, const char *name, enum metrics_type type,
                    const char *help);

// Adds a sample to the family that is open.
void metrics_sample(struct metrics_sink *sink, const struct metrics_label *labels, size_t count,
                    uint64_t value);
// The same for a time, which is exposed in seconds: the family's name ends in _seconds.
void metrics_sample_ns(struct metrics_sink *sink, const struct metrics_label *labels, size_t count,
                       uint64_t value_ns);
void metrics_sample_real(struct metrics_sink *sink, const struct metrics_label *labels,
                         size_t count, double value);

// The whole text, ended by NUL; the caller frees it. length may be NULL.
int metrics_render(const struct metrics_sink *sink, enum metrics_format format, char **text,
                   size_t *length);

#endif
