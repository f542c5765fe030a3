// SPDX-License-Identifier: Apache-2.0
// needs plugin: nvram_shadow
//
// Crash states of the ring: random histories of append, acknowledge and trim on the real ring; at each step the memory as
// any part of the stores under way leaves it; recovery from that, judged by what had been acknowledged.
#include <criterion/criterion.h>

#include "plugins/nvram_shadow/scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RING = 64 << 10, RECORDS_MAX = 4096, PIECE = 8 };

static uint64_t seed;

static uint64_t next_random(void)
{
    uint64_t z = seed += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t below(uint64_t n)
{
    return next_random() % n;
}

struct model {
    uint8_t bytes[RING];
    struct nv_ring ring;
    struct nv_cursor marks[RING / NV_MARK_BYTES + 2];
    struct carrick_generation generation;
    uint64_t acknowledged;
    uint32_t crc[RECORDS_MAX]; // of each record that was ever appended, by sequence
    uint64_t offset[RECORDS_MAX];
};

static struct model *model_new(void)
{
    struct model *m = calloc(1, sizeof *m);

    nv_ring_init(&m->ring, m->bytes, RING, m->marks);
    memset(m->generation.id, 7, 16);
    return m;
}

static bool model_append(struct model *m, uint64_t length)
{
    uint8_t data[4096];
    struct carrick_log_entry entry = {.struct_size = sizeof entry,
                                      .kind = length > 0 ? CARRICK_LOG_WRITE : CARRICK_LOG_TRIM,
                                      .offset = next_random() >> 8,
                                      .length = length,
                                      .data = data};
    uint64_t need = nv_ring_need(&m->ring, entry.kind, entry.length), sequence;

    if (m->ring.tail.position + need - m->ring.first.position > RING ||
        m->ring.tail.sequence + 2 >= RECORDS_MAX)
        return false;
    for (uint64_t i = 0; i < length; i++)
        data[i] = (uint8_t)next_random();
    sequence = nv_ring_append(&m->ring, &entry, nv_tag(m->generation.id), m->acknowledged);
    m->offset[sequence] = entry.offset;
    m->crc[sequence] = m->ring.tail.crc;
    return true;
}

static void model_trim(struct model *m)
{
    struct nv_cursor to;
    uint64_t held = m->acknowledged + 1 - m->ring.first.sequence;

    if (m->acknowledged < m->ring.first.sequence)
        return;
    cr_assert(nv_ring_find(&m->ring, m->ring.first.sequence + below(held + 1), &to));
    nv_ring_trim(&m->ring, &to);
}

struct found {
    uint8_t bytes[RING];
    struct nv_cursor marks[RING / NV_MARK_BYTES + 2];
    struct nv_ring ring;
    struct nv_scan scan;
};

// Scans a memory as it was found; steps of odd sizes.
static void scan(struct found *f, const struct model *m, const struct nv_cursor *first,
                 uint64_t acknowledged)
{
    nv_ring_init(&f->ring, f->bytes, RING, f->marks);
    nv_ring_reset(&f->ring, first);
    nv_scan_begin(&f->scan, &f->ring, UINT64_MAX, acknowledged, &m->generation);
    while (!nv_scan_step(&f->scan, 1 + below(20000)))
        ;
}

// Every acknowledged record is there, in order, and nothing that was never appended.
static void judge(const struct found *f, const struct model *m, const char *what)
{
    struct nv_cursor at = f->ring.first;
    struct nv_record record;

    cr_assert_not(f->scan.corrupt, "%s: corrupt at %lu", what,
                  (unsigned long)f->ring.tail.sequence);
    cr_assert_geq(f->ring.tail.sequence, m->acknowledged + 1, "%s: found up to %lu of %lu", what,
                  (unsigned long)f->ring.tail.sequence - 1, (unsigned long)m->acknowledged);
    while (at.sequence < f->ring.tail.sequence) {
        cr_assert(nv_ring_check(&f->ring, &at, UINT64_MAX, &record), "%s", what);
        cr_assert(record.kind == NV_FILL || record.crc == m->crc[record.sequence],
                  "%s: record %lu was never appended so", what, (unsigned long)record.sequence);
        nv_ring_step(&at, &record);
    }
}

// Appends up to n records in a model and leaves, in `before`, the memory without them.
static void append_some(struct model *m, unsigned n, uint8_t *before)
{
    memcpy(before, m->bytes, RING);
    for (unsigned i = 0; i < n; i++)
        model_append(m, below(4) == 0 ? 0 : below(3000));
}

// Words of `after` over `before`: each prefix, and random subsets, of the stores in between.
static unsigned crash_states(struct model *m, struct found *f, const uint8_t *before,
                             const struct nv_cursor *first)
{
    static uint32_t changed[RING / PIECE];
    uint32_t count = 0;

    for (uint32_t i = 0; i < RING / PIECE; i++)
        if (memcmp(before + i * PIECE, m->bytes + i * PIECE, PIECE) != 0)
            changed[count++] = i;
    for (unsigned state = 0; state < 24; state++) {
        uint64_t cut = below(count + 1), odds = 1 + below(16);

        memcpy(f->bytes, before, RING);
        for (uint32_t i = 0; i < count; i++)
            if (state % 2 == 0 ? i < cut : below(16) < odds)
                memcpy(f->bytes + changed[i] * PIECE, m->bytes + changed[i] * PIECE, PIECE);
        scan(f, m, first, first->sequence - 1);
        judge(f, m, state % 2 == 0 ? "prefix" : "reordered");
        // What was cut is cut for good: it is not found again, and no trap for what comes after.
        uint64_t tail = f->ring.tail.sequence;
        uint8_t *copy = malloc(RING);
        memcpy(copy, f->bytes, RING);
        scan(f, m, first, first->sequence - 1);
        cr_assert_eq(f->ring.tail.sequence, tail);
        cr_assert_eq(f->scan.stray, 0, "records behind the cut are still there");
        cr_assert_arr_eq(copy, f->bytes, RING);
        free(copy);
    }
    return 24;
}

Test(nvram_scan, every_acknowledged_record_after_any_crash, .timeout = 300)
{
    struct found *f = calloc(1, sizeof *f);
    uint8_t *before = malloc(RING);
    unsigned states = 0;

    for (unsigned history = 0; history < 60; history++) {
        struct model *m = model_new();

        seed = history;
        for (unsigned turn = 0; turn < 12; turn++) {
            struct nv_cursor first = m->ring.first;

            append_some(m, 1 + (unsigned)below(12), before);
            states += crash_states(m, f, before, &first);
            m->acknowledged = m->ring.tail.sequence - 1;
            if (below(2))
                model_trim(m);
        }
        free(m);
    }
    cr_assert_geq(states, 10000);
    free(f);
    free(before);
}

// A record that goes bad in the middle is told from a torn end by what stands behind it.
Test(nvram_scan, rotted_record_below_acknowledged_is_corrupt_and_stays)
{
    struct found *f = calloc(1, sizeof *f);

    for (unsigned history = 0; history < 200; history++) {
        struct model *m = model_new();
        struct nv_cursor bad, end;
        uint64_t rotted;

        seed = 1000 + history;
        for (unsigned i = 0; i < 10; i++) {
            model_append(m, 1 + below(2000));
            m->acknowledged = m->ring.tail.sequence - 1;
        }
        // The last is known to be acknowledged only by the one behind it: any but the last.
        rotted = 1 + below(m->ring.tail.sequence - 2);
        cr_assert(nv_ring_find(&m->ring, rotted, &bad));
        cr_assert(nv_ring_find(&m->ring, rotted + 1, &end));
        memcpy(f->bytes, m->bytes, RING);
        // The magic, the header, or the data; bytes behind the data's end are padding.
        f->bytes[bad.position + below(NV_RECORD_BYTES + 1)] ^= (uint8_t)(1 << below(8));
        uint8_t *copy = malloc(RING);
        memcpy(copy, f->bytes, RING);
        scan(f, m, &m->ring.first, 0);
        cr_assert(f->scan.corrupt, "history %u: record %lu rotted", history, (unsigned long)rotted);
        cr_assert_eq(f->ring.tail.sequence, rotted);
        cr_assert_arr_eq(copy, f->bytes, RING, "something of a corrupt copy was wiped");
        free(copy);
        free(m);
    }
    free(f);
}

// The same when only somebody else knows that it was acknowledged.
Test(nvram_scan, last_record_that_others_know_acknowledged_is_corrupt)
{
    struct model *m = model_new();
    struct found *f = calloc(1, sizeof *f);

    seed = 5;
    for (unsigned i = 0; i < 3; i++)
        model_append(m, 500);
    memcpy(f->bytes, m->bytes, RING);
    f->bytes[m->ring.tail.position - 300] ^= 1;
    scan(f, m, &m->ring.first, 3);
    cr_assert(f->scan.corrupt);
    scan(f, m, &m->ring.first, 2);
    cr_assert_not(f->scan.corrupt);
    cr_assert_eq(f->ring.tail.sequence, 3);
    free(m);
    free(f);
}

// What users write may look like a record of a log; it does not make the log corrupt.
Test(nvram_scan, foreign_records_in_data_are_no_records_of_this_log)
{
    struct model *m = model_new(), *other = model_new();
    struct found *f = calloc(1, sizeof *f);
    struct nv_cursor at;

    seed = 6;
    memset(other->generation.id, 8, 16);
    for (unsigned i = 0; i < 20; i++) {
        model_append(other, 64);
        other->acknowledged = i;
    }
    for (unsigned i = 0; i < 3; i++)
        model_append(m, 64);
    cr_assert(nv_ring_find(&other->ring, 10, &at));
    memcpy(f->bytes, m->bytes, RING);
    memcpy(f->bytes + m->ring.tail.position + 640, other->bytes + at.position, 5 * 128);
    scan(f, m, &m->ring.first, 0);
    cr_assert_not(f->scan.corrupt);
    cr_assert_eq(f->ring.tail.sequence, 4);
    free(m);
    free(other);
    free(f);
}

Test(nvram_scan, limit_makes_what_is_above_void)
{
    struct model *m = model_new();
    struct found *f = calloc(1, sizeof *f);

    seed = 7;
    for (unsigned i = 0; i < 10; i++) {
        model_append(m, 100);
        m->acknowledged = i + 1;
    }
    memcpy(f->bytes, m->bytes, RING);
    nv_ring_init(&f->ring, f->bytes, RING, f->marks);
    nv_scan_begin(&f->scan, &f->ring, 6, 0, &m->generation);
    while (!nv_scan_step(&f->scan, 100))
        ;
    cr_assert_not(f->scan.corrupt);
    cr_assert_eq(f->ring.tail.sequence, 7);
    cr_assert_eq(f->scan.wiped, 4);
    free(m);
    free(f);
}

Test(nvram_scan, ring_finds_each_record_and_cuts_for_good)
{
    struct model *m = model_new();
    struct nv_cursor at, again;
    struct nv_record record;

    seed = 8;
    for (unsigned turn = 0; turn < 200; turn++) {
        while (model_append(m, below(4000)))
            ;
        m->acknowledged = m->ring.tail.sequence - 1;
        at = m->ring.first;
        for (uint64_t s = m->ring.first.sequence; s < m->ring.tail.sequence; s++) {
            cr_assert(nv_ring_find(&m->ring, s, &again));
            cr_assert_eq(again.position, at.position);
            cr_assert(nv_ring_peek(&m->ring, &at, &record));
            cr_assert(record.kind == NV_FILL || record.offset == m->offset[s]);
            nv_ring_step(&at, &record);
        }
        cr_assert_eq(at.position, m->ring.tail.position);
        cr_assert_leq(m->ring.tail.position - m->ring.first.position, RING);
        if (turn % 3 == 0) {
            uint64_t keep =
                m->ring.first.sequence + below(m->ring.tail.sequence - m->ring.first.sequence);

            cr_assert(nv_ring_find(&m->ring, keep, &at));
            nv_ring_cut(&m->ring, &at);
            cr_assert_not(nv_ring_check(&m->ring, &m->ring.tail, UINT64_MAX, &record));
            m->acknowledged = keep - 1;
        }
        model_trim(m);
        if (m->ring.tail.sequence > RECORDS_MAX - 400)
            break;
    }
    cr_assert_gt(m->ring.tail.position, 4u * RING, "the ring never turned");
    free(m);
}
