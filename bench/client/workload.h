// SPDX-License-Identifier: Apache-2.0
// One measured run: a few streams of operations, each on one VI, and what they took.
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include <carrick/client.h>

enum {
    STREAMS_MAX = 8,
    DEPTH_MAX = 256,
    SAMPLES_MAX = 200000,
    STREAM_BYTES_MAX = 256 * 1024 * 1024,
};

enum stream_kind {
    STREAM_WRITE = 1,    // write and flush, timed until the flush completes
    STREAM_PIPELINE = 2, // writes alone, each timed until it is proven
    STREAM_READ = 3,
    STREAM_SEND = 4,
};

struct stream_plan {
    enum stream_kind kind;
    uint64_t size;
    uint64_t depth;  // operations in flight
    uint64_t count;  // operations that are measured; 0: as many as fit in the run's duration
    uint64_t warmup; // operations before them
    uint64_t vi;
    uint64_t there;  // index of the region at the partner
    bool one_source; // all are written from the same block
    bool background; // runs as long as another stream does, and has no end of its own
};

struct workload_plan {
    uint64_t duration_ms; // 0: until the counts are reached
    uint64_t deadline_ms; // the run is given up after this
    uint32_t stream_count;
    struct stream_plan streams[STREAMS_MAX];
};

struct workload;

// Called once, on the manager's thread, possibly before workload_start returns. json is one object.
typedef void workload_done_fn(void *arg, int status, const char *json);

// Reads a plan as an operator writes it. The error's text says what is wrong where.
int workload_parse(const char *json, struct workload_plan *plan, struct carrick_error *error);

// Starts it on the session's VIs. workload_free is allowed once workload_idle says so.
int workload_start(const struct carrick_client_host *host,
                   const struct carrick_session_info *session, const struct workload_plan *plan,
                   workload_done_fn *done, void *arg, struct workload **out,
                   struct carrick_error *error);
void workload_completed(struct workload *w, const struct carrick_completion *completions,
                        uint32_t count);
// Nothing more is posted; what is in flight still completes.
void workload_stop(struct workload *w, int status);
// The session has ended: what did not complete never will.
void workload_session_ended(struct workload *w);
// Done was called and no buffer of it is in use.
bool workload_idle(const struct workload *w);
void workload_free(struct workload *w);

#endif
