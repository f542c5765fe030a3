// SPDX-License-Identifier: Apache-2.0
// What one stream of a run took: bounded samples, gaps between completions, and the JSON of it.
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stddef.h>
#include <stdint.h>

enum { REPORT_BYTES = 8192 };

struct report_stream {
    uint64_t *samples;
    uint64_t sample_count;
    uint64_t sample_room;
    uint64_t finished; // with those of the warm-up
    uint64_t errors;
    uint64_t size;
    uint64_t measured;
    uint64_t start_ns; // of the first measured operation
    uint64_t end_ns;   // of the last one
    uint64_t gap_ns;   // longest time without a completion
    uint64_t gap_at_ns;
    uint64_t second_gap_ns; // the next longest: what this machine does without a fault
};

// count 0: not known beforehand. Returns 0, or -1 without memory.
int report_init(struct report_stream *r, uint64_t size, uint64_t count);
void report_free(struct report_stream *r);
void report_sample(struct report_stream *r, uint64_t took_ns);
void report_gap(struct report_stream *r, uint64_t from_ns, uint64_t to_ns);
// The rest runs on a worker.
void report_sort(struct report_stream *r);
void report_write(char *text, size_t size, int status, uint64_t start_ns,
                  const struct report_stream *const *streams, uint32_t count);

#endif
