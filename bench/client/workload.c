// SPDX-License-Identifier: Apache-2.0
#include "workload.h"
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOT_BITS = 16 };

struct slot {
    uint64_t start_ns;
    bool unposted; // the VI had no room; tried again at the next completion
};

struct stream {
    struct stream_plan plan;
    struct carrick_vi *vi;
    uint64_t offset; // of its buffers, here and there
    uint64_t issued;
    uint64_t in_flight;
    uint64_t last_ns;
    struct slot *slots;
    struct report_stream report;
};

struct workload {
    const struct carrick_client_host *host;
    struct workload_plan plan;
    struct stream streams[STREAMS_MAX];
    struct carrick_region *region;
    struct carrick_timer *timer;
    workload_done_fn *done;
    void *arg;
    uint64_t start_ns;
    uint64_t stop_ns; // 0: no limit in time
    int status;
    bool stopped;
    bool reporting; // a worker owns the samples
    bool told;      // done was called
    char json[REPORT_BYTES];
};

static uint64_t clock_ns(const struct workload *w)
{
    return w->host->base->now_ns(w->host->base);
}

static uint64_t in_flight_count(const struct workload *w)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < w->plan.stream_count; i++)
        n += w->streams[i].in_flight;
    return n;
}

static bool stream_counted_out(const struct stream *s)
{
    return s->plan.count != 0 && s->issued >= s->plan.warmup + s->plan.count;
}

// A background stream has no end of its own: it lives while a foreground stream has something to do.
static bool foreground_alive(const struct workload *w)
{
    for (uint32_t i = 0; i < w->plan.stream_count; i++) {
        const struct stream *s = &w->streams[i];
        if (!s->plan.background && (!stream_counted_out(s) || s->in_flight > 0))
            return true;
    }
    return false;
}

static bool stream_wants_more(const struct workload *w, const struct stream *s, uint64_t now_ns)
{
    if (w->stopped || (w->stop_ns != 0 && now_ns >= w->stop_ns))
        return false;
    return s->plan.background ? foreground_alive(w) : !stream_counted_out(s);
}

static uint32_t slot_ops_fill(struct workload *w, struct stream *s, uint32_t slot,
                              struct carrick_op ops[2])
{
    static const uint32_t first[] = {0, CARRICK_CLIENT_WRITE, CARRICK_CLIENT_WRITE,
                                     CARRICK_CLIENT_READ, CARRICK_CLIENT_SEND};
    uint64_t cookie = ((uint64_t)(s - w->streams) << (SLOT_BITS + 1)) | ((uint64_t)slot << 1);
    uint64_t at = s->offset + slot * s->plan.size;
    bool send = s->plan.kind == STREAM_SEND;
    ops[0] = (struct carrick_op){.struct_size = sizeof ops[0],
                                 .operation = first[s->plan.kind],
                                 .cookie = cookie,
                                 .region = send ? NULL : w->region,
                                 .offset = send                 ? 0
                                           : s->plan.one_source ? s->offset
                                                                : at,
                                 .length = s->plan.size,
                                 .there_offset = send ? 0 : at,
                                 .there = (uint32_t)s->plan.there,
                                 .data = send ? w->host->region_ptr(w->region) : NULL};
    if (s->plan.kind != STREAM_WRITE)
        return 1;
    ops[1] = (struct carrick_op){
        .struct_size = sizeof ops[1], .operation = CARRICK_CLIENT_FLUSH, .cookie = cookie | 1};
    return 2;
}

static void slot_post(struct workload *w, struct stream *s, uint32_t slot)
{
    struct carrick_op ops[2];
    uint32_t n = slot_ops_fill(w, s, slot, ops);
    s->slots[slot].start_ns = clock_ns(w);
    int rc = w->host->post(s->vi, ops, n);
    s->slots[slot].unposted = rc == CARRICK_ERR_AGAIN;
    if (rc == CARRICK_OK) {
        s->issued++;
        s->in_flight++;
    } else if (rc != CARRICK_ERR_AGAIN) {
        workload_stop(w, rc);
    }
}

static void slot_finished(struct workload *w, struct stream *s, uint32_t slot, uint64_t now_ns)
{
    struct report_stream *r = &s->report;
    s->in_flight--;
    if (++r->finished > s->plan.warmup) {
        if (r->finished == s->plan.warmup + 1)
            r->start_ns = s->slots[slot].start_ns;
        else
            report_gap(r, s->last_ns, now_ns);
        report_sample(r, now_ns - s->slots[slot].start_ns);
        r->end_ns = now_ns;
    }
    s->last_ns = now_ns;
    if (stream_wants_more(w, s, now_ns))
        slot_post(w, s, slot);
}

static void report_work(void *arg)
{
    struct workload *w = arg;
    const struct report_stream *streams[STREAMS_MAX];
    for (uint32_t i = 0; i < w->plan.stream_count; i++) {
        report_sort(&w->streams[i].report);
        streams[i] = &w->streams[i].report;
    }
    report_write(w->json, sizeof w->json, w->status, w->start_ns, streams, w->plan.stream_count);
}

static void report_ready(void *arg)
{
    struct workload *w = arg;
    w->reporting = false;
    w->told = true;
    w->done(w->arg, w->status, w->json);
}

// The report is made by a worker: sorting the samples on the manager's thread would hold up its probes.
static void end_when_drained(struct workload *w, uint64_t now_ns)
{
    if (w->reporting || w->told || in_flight_count(w) > 0)
        return;
    for (uint32_t i = 0; i < w->plan.stream_count; i++) {
        if (stream_wants_more(w, &w->streams[i], now_ns))
            return;
    }
    w->host->base->timer_stop(w->timer);
    w->stopped = true;
    w->reporting = true;
    if (w->host->base->work(w->host->base, report_work, report_ready, w) != CARRICK_OK) {
        report_work(w);
        report_ready(w);
    }
}

void workload_completed(struct workload *w, const struct carrick_completion *completions,
                        uint32_t count)
{
    uint64_t now_ns = clock_ns(w);
    for (uint32_t i = 0; i < count; i++) {
        const struct carrick_completion *c = carrick_completion_at(completions, i);
        struct stream *s = &w->streams[c->cookie >> (SLOT_BITS + 1)];
        uint32_t slot = (uint32_t)(c->cookie >> 1) & ((1u << SLOT_BITS) - 1);
        if (c->status != CARRICK_OK) {
            s->report.errors++;
            workload_stop(w, c->status);
        }
        if (s->plan.kind != STREAM_WRITE || (c->cookie & 1) != 0)
            slot_finished(w, s, slot, now_ns);
    }
    for (uint32_t i = 0; i < w->plan.stream_count; i++) {
        struct stream *s = &w->streams[i];
        for (uint32_t k = 0; k < s->plan.depth && stream_wants_more(w, s, now_ns); k++) {
            if (s->slots[k].unposted)
                slot_post(w, s, k);
        }
    }
    end_when_drained(w, now_ns);
}

// Fires once: the run took too long. What is in flight keeps its buffers, and is told of all the same.
static void deadline_passed(void *arg)
{
    struct workload *w = arg;
    workload_stop(w, CARRICK_ERR_TIMEOUT);
    end_when_drained(w, clock_ns(w));
    if (!w->reporting && !w->told) {
        w->told = true;
        snprintf(w->json, sizeof w->json,
                 "{\"status\":%d,\"error\":\"%llu operations did not complete in %llu ms\"}",
                 w->status, (unsigned long long)in_flight_count(w),
                 (unsigned long long)w->plan.deadline_ms);
        w->done(w->arg, w->status, w->json);
    }
}

void workload_stop(struct workload *w, int status)
{
    if (!w->stopped) {
        w->stopped = true;
        w->status = status;
    }
}

void workload_session_ended(struct workload *w)
{
    workload_stop(w, CARRICK_ERR_SESSION_ENDED);
    for (uint32_t i = 0; i < w->plan.stream_count; i++)
        w->streams[i].in_flight = 0;
    end_when_drained(w, clock_ns(w));
}

bool workload_idle(const struct workload *w)
{
    return w->told && !w->reporting && in_flight_count(w) == 0;
}

static int streams_prepare(struct workload *w, const struct carrick_session_info *session,
                           uint64_t *bytes, struct carrick_error *error)
{
    for (uint32_t i = 0; i < w->plan.stream_count; i++) {
        struct stream *s = &w->streams[i];
        s->plan = w->plan.streams[i];
        s->offset = *bytes;
        *bytes += s->plan.size * s->plan.depth;
        if (s->plan.vi >= session->vi_count || session->vis[s->plan.vi] == NULL ||
            s->plan.there >= session->there_count) {
            snprintf(error->text, sizeof error->text, "stream %u: no such VI or region", i);
            return CARRICK_ERR_NOT_FOUND;
        }
        if (s->plan.kind != STREAM_SEND && *bytes > session->there_bytes[s->plan.there]) {
            snprintf(error->text, sizeof error->text,
                     "stream %u needs %llu bytes at the partner, the region has %llu: raise "
                     "region_bytes",
                     i, (unsigned long long)*bytes,
                     (unsigned long long)session->there_bytes[s->plan.there]);
            return CARRICK_ERR_BOUNDS;
        }
        s->vi = session->vis[s->plan.vi];
        s->slots = calloc(s->plan.depth, sizeof *s->slots);
        if (s->slots == NULL || report_init(&s->report, s->plan.size, s->plan.count) != 0)
            return CARRICK_ERR_NO_MEMORY;
    }
    return CARRICK_OK;
}

static void streams_start(struct workload *w)
{
    for (uint32_t i = 0; i < w->plan.stream_count; i++) {
        struct stream *s = &w->streams[i];
        for (uint32_t k = 0; k < s->plan.depth && stream_wants_more(w, s, w->start_ns); k++)
            slot_post(w, s, k);
    }
}

int workload_start(const struct carrick_client_host *host,
                   const struct carrick_session_info *session, const struct workload_plan *plan,
                   workload_done_fn *done, void *arg, struct workload **out,
                   struct carrick_error *error)
{
    struct workload *w = calloc(1, sizeof *w);
    if (w == NULL)
        return CARRICK_ERR_NO_MEMORY;
    *w = (struct workload){.host = host, .plan = *plan, .done = done, .arg = arg};
    uint64_t bytes = 0;
    int rc = streams_prepare(w, session, &bytes, error);
    if (rc == CARRICK_OK)
        rc = host->region_create(host, bytes > 4096 ? bytes : 4096, &w->region);
    if (rc == CARRICK_OK)
        rc = host->base->timer_create(host->base, deadline_passed, w, &w->timer);
    if (rc != CARRICK_OK) {
        workload_free(w);
        return rc;
    }
    *out = w;
    w->start_ns = clock_ns(w);
    if (plan->duration_ms != 0)
        w->stop_ns = w->start_ns + plan->duration_ms * 1000000u;
    host->base->timer_start(w->timer, plan->deadline_ms * 1000000u);
    streams_start(w);
    end_when_drained(w, w->start_ns); // when not even the first could be posted
    return CARRICK_OK;
}

void workload_free(struct workload *w)
{
    if (w->timer != NULL)
        w->host->base->timer_destroy(w->timer);
    if (w->region != NULL)
        w->host->region_destroy(w->region);
    for (uint32_t i = 0; i < w->plan.stream_count; i++) {
        free(w->streams[i].slots);
        report_free(&w->streams[i].report);
    }
    free(w);
}
