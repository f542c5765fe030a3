// SPDX-License-Identifier: Apache-2.0
#include "report.h"
#include "workload.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

int report_init(struct report_stream *r, uint64_t size, uint64_t count)
{
    r->size = size;
    r->sample_room = count != 0 && count < SAMPLES_MAX ? count : SAMPLES_MAX;
    r->samples = calloc(r->sample_room, sizeof *r->samples);
    return r->samples != NULL ? 0 : -1;
}

void report_free(struct report_stream *r)
{
    free(r->samples);
}

// A run longer than the array keeps its first samples; rate and gaps still cover all of it.
void report_sample(struct report_stream *r, uint64_t took_ns)
{
    r->measured++;
    if (r->sample_count < r->sample_room)
        r->samples[r->sample_count++] = took_ns;
}

void report_gap(struct report_stream *r, uint64_t from_ns, uint64_t to_ns)
{
    uint64_t gap_ns = to_ns - from_ns;
    if (gap_ns > r->gap_ns) {
        r->second_gap_ns = r->gap_ns;
        r->gap_ns = gap_ns;
        r->gap_at_ns = from_ns;
    } else if (gap_ns > r->second_gap_ns) {
        r->second_gap_ns = gap_ns;
    }
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void report_sort(struct report_stream *r)
{
    qsort(r->samples, r->sample_count, sizeof *r->samples, compare_u64);
}

static void number_add(json_object *to, const char *name, uint64_t value)
{
    json_object_object_add(to, name, json_object_new_int64((int64_t)value));
}

static uint64_t quantile(const struct report_stream *r, uint64_t percent)
{
    if (r->sample_count == 0)
        return 0;
    uint64_t at = r->sample_count * percent / 100;
    return r->samples[at < r->sample_count ? at : r->sample_count - 1];
}

static json_object *stream_object(const struct report_stream *r)
{
    json_object *o = json_object_new_object();
    double seconds = (double)(r->end_ns - r->start_ns) / 1e9;
    double rate = seconds > 0 ? (double)r->measured / seconds : 0;
    number_add(o, "count", r->measured);
    number_add(o, "errors", r->errors);
    number_add(o, "size", r->size);
    number_add(o, "median_ns", quantile(r, 50));
    number_add(o, "p99_ns", quantile(r, 99));
    number_add(o, "min_ns", quantile(r, 0));
    number_add(o, "max_ns", quantile(r, 100));
    json_object_object_add(o, "seconds", json_object_new_double(seconds));
    json_object_object_add(o, "per_s", json_object_new_double(rate));
    json_object_object_add(o, "bytes_per_s", json_object_new_double(rate * (double)r->size));
    number_add(o, "gap_ns", r->gap_ns);
    number_add(o, "gap_at_ns", r->gap_at_ns);
    number_add(o, "second_gap_ns", r->second_gap_ns);
    return o;
}

void report_write(char *text, size_t size, int status, uint64_t start_ns,
                  const struct report_stream *const *streams, uint32_t count)
{
    json_object *root = json_object_new_object();
    json_object *list = json_object_new_array();
    json_object_object_add(root, "status", json_object_new_int(status));
    number_add(root, "start_ns", start_ns);
    json_object_object_add(root, "streams", list);
    for (uint32_t i = 0; i < count; i++)
        json_object_array_add(list, stream_object(streams[i]));
    snprintf(text, size, "%s", json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN));
    json_object_put(root);
}
