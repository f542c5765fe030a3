// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "core/metrics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void expect(const struct metrics_sink *sink, enum metrics_format format,
                   const char *expected)
{
    char *text;
    size_t length;
    cr_assert(eq(int, metrics_render(sink, format, &text, &length), CARRICK_OK));
    cr_assert(zero(int, strcmp(text, expected)), "\n%s\ninstead of\n%s", text, expected);
    cr_assert(eq(sz, length, strlen(expected)));
    free(text);
}

Test(metrics, both_formats)
{
    struct metrics_sink *sink = metrics_create();
    const struct metrics_label left[] = {{"manager", "main"}, {"link", "left"}};
    metrics_family(sink, "carrick_link_up", METRICS_GAUGE, "Whether it is up.");
    metrics_sample(sink, left, 2, 1);
    metrics_family(sink, "carrick_link_failures", METRICS_COUNTER, "How often it failed.");
    metrics_sample(sink, NULL, 0, UINT64_MAX);
    expect(sink, METRICS_PROMETHEUS,
           "# HELP carrick_link_up Whether it is up.\n"
           "# TYPE carrick_link_up gauge\n"
           "carrick_link_up{manager=\"main\",link=\"left\"} 1\n"
           "# HELP carrick_link_failures_total How often it failed.\n"
           "# TYPE carrick_link_failures_total counter\n"
           "carrick_link_failures_total 18446744073709551615\n");
    expect(sink, METRICS_OPENMETRICS,
           "# HELP carrick_link_up Whether it is up.\n"
           "# TYPE carrick_link_up gauge\n"
           "carrick_link_up{manager=\"main\",link=\"left\"} 1\n"
           "# HELP carrick_link_failures How often it failed.\n"
           "# TYPE carrick_link_failures counter\n"
           "carrick_link_failures_total 18446744073709551615\n"
           "# EOF\n");
    metrics_destroy(sink);
}

// Several managers fill one sink, one after the other: a family must not be torn apart.
Test(metrics, family_that_is_opened_again_goes_on)
{
    struct metrics_sink *sink = metrics_create();
    for (unsigned i = 0; i < 2; i++) {
        const struct metrics_label label = {"manager", i ? "b" : "a"};
        metrics_family(sink, "one", METRICS_GAUGE, i ? "Other words." : "One.");
        metrics_sample(sink, &label, 1, i);
        metrics_family(sink, "two", METRICS_GAUGE, "Two.");
        metrics_sample(sink, &label, 1, i);
    }
    expect(sink, METRICS_PROMETHEUS,
           "# HELP one One.\n# TYPE one gauge\none{manager=\"a\"} 0\none{manager=\"b\"} 1\n"
           "# HELP two Two.\n# TYPE two gauge\ntwo{manager=\"a\"} 0\ntwo{manager=\"b\"} 1\n");
    metrics_destroy(sink);
}

Test(metrics, families_without_samples_are_left_out)
{
    struct metrics_sink *sink = metrics_create();
    metrics_family(sink, "none", METRICS_GAUGE, "None.");
    expect(sink, METRICS_PROMETHEUS, "");
    expect(sink, METRICS_OPENMETRICS, "# EOF\n");
    metrics_destroy(sink);
}

Test(metrics, values_are_escaped)
{
    struct metrics_sink *sink = metrics_create();
    const struct metrics_label label = {"cause", "a \"b\" \\ c\nd\x01 \xc3\xa9"};
    const struct metrics_label missing = {"cause", NULL};
    metrics_family(sink, "x", METRICS_GAUGE, "Back\\slash and\nnewline.");
    metrics_sample(sink, &label, 1, 0);
    metrics_sample(sink, &missing, 1, 0);
    expect(sink, METRICS_PROMETHEUS,
           "# HELP x Back\\\\slash and\\nnewline.\n# TYPE x gauge\n"
           "x{cause=\"a \\\"b\\\" \\\\ c\\nd? \xc3\xa9\"} 0\nx{cause=\"\"} 0\n");
    metrics_destroy(sink);
}

Test(metrics, times_and_fractions)
{
    struct metrics_sink *sink = metrics_create();
    metrics_family(sink, "t_seconds", METRICS_GAUGE, "T.");
    metrics_sample_ns(sink, NULL, 0, 1500000001);
    metrics_sample_ns(sink, NULL, 0, 1);
    metrics_sample_real(sink, NULL, 0, 0.5);
    metrics_sample_real(sink, NULL, 0, NAN);
    metrics_sample_real(sink, NULL, 0, -INFINITY);
    expect(sink, METRICS_PROMETHEUS,
           "# HELP t_seconds T.\n# TYPE t_seconds gauge\nt_seconds 1.500000001\n"
           "t_seconds 0.000000001\nt_seconds 0.5\nt_seconds NaN\nt_seconds -Inf\n");
    metrics_destroy(sink);
}

Test(metrics, sample_without_a_family_goes_nowhere)
{
    struct metrics_sink *sink = metrics_create();
    metrics_sample(sink, NULL, 0, 1);
    expect(sink, METRICS_PROMETHEUS, "");
    metrics_destroy(sink);
}

Test(metrics, text_without_bound_is_refused)
{
    struct metrics_sink *sink = metrics_create();
    char value[4096];
    memset(value, 'x', sizeof(value) - 1);
    value[sizeof(value) - 1] = 0;
    const struct metrics_label label = {"v", value};
    metrics_family(sink, "x", METRICS_GAUGE, "X.");
    for (unsigned i = 0; i <= METRICS_BYTES_MAX / sizeof(value); i++)
        metrics_sample(sink, &label, 1, i);
    char *text = value;
    cr_assert(eq(int, metrics_render(sink, METRICS_PROMETHEUS, &text, NULL), CARRICK_ERR_LIMIT));
    cr_assert(eq(ptr, text, NULL));
    metrics_destroy(sink);
}

Test(metrics, too_many_families_are_refused)
{
    struct metrics_sink *sink = metrics_create();
    for (unsigned i = 0; i <= METRICS_FAMILIES_MAX; i++) {
        char name[16];
        snprintf(name, sizeof(name), "f%u", i);
        metrics_family(sink, name, METRICS_GAUGE, "F.");
        metrics_sample(sink, NULL, 0, i);
    }
    char *text;
    cr_assert(eq(int, metrics_render(sink, METRICS_PROMETHEUS, &text, NULL), CARRICK_ERR_LIMIT));
    metrics_destroy(sink);
}
