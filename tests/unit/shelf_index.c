// SPDX-License-Identifier: Apache-2.0
// needs plugin: shelf
//
// The index of a shelf against a model that knows the newest record of every byte.
#include <criterion/criterion.h>

#include "plugins/shelf/index.h"

#include <stdlib.h>
#include <string.h>

#define BYTES 2000
#define STEPS 400

static uint64_t seed;

static uint64_t random_below(uint64_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % below;
}

static void compare(const struct shelf_index *index, const struct shelf_record *const *model)
{
    const struct shelf_segment *previous = NULL;
    uint64_t at = 0, segments = 0, bytes = 0;

    for (struct shelf_segment *segment; (segment = shelf_index_find(index, at)) != NULL;) {
        cr_assert_lt(segment->start, segment->end);
        cr_assert_geq(segment->start, at);
        cr_assert_eq(segment->previous, previous);
        cr_assert(previous == NULL || previous->next == segment);
        previous = segment;
        for (; at < segment->start; at++)
            cr_assert_null(model[at], "byte %d is missing", (int)at);
        for (; at < segment->end; at++)
            cr_assert_eq(model[at], segment->record, "byte %d is of another record", (int)at);
        segments++;
        bytes += segment->end - segment->start;
    }
    for (; at < BYTES; at++)
        cr_assert_null(model[at], "byte %d is missing", (int)at);
    cr_assert_eq(previous, index->last);
    cr_assert(previous == NULL || previous->next == NULL);
    cr_assert_eq(segments, index->segments);
    cr_assert_eq(bytes, index->bytes);
}

static void history(uint64_t number)
{
    struct shelf_index index = {0};
    struct shelf_record *records = calloc(STEPS, sizeof *records);
    const struct shelf_record *model[BYTES] = {0};

    seed = number;
    index.band_shift =
        number %
        12; // a band of one byte, with one for all that is far behind, up to one band alone
    for (int i = 0; i < STEPS; i++) {
        uint64_t start = random_below(BYTES), length = 1 + random_below(i % 7 == 0 ? BYTES : 60);
        uint64_t end = start + length > BYTES ? BYTES : start + length;

        switch (random_below(6)) {
        case 0: // taken out
            cr_assert(shelf_index_carve(&index, start, end));
            memset(&model[start], 0, (end - start) * sizeof model[0]);
            break;
        case 1: { // a segment is on the disk
            struct shelf_segment *segment = shelf_index_find(&index, start);
            if (segment == NULL)
                break;
            for (uint64_t at = segment->start; at < segment->end; at++)
                model[at] = NULL;
            shelf_index_remove(&index, segment);
            break;
        }
        default:
            records[i] = (struct shelf_record){
                .sequence = (uint64_t)i + 1, .offset = start, .length = end - start};
            cr_assert(shelf_index_insert(&index, &records[i]));
            for (uint64_t at = start; at < end; at++)
                model[at] = &records[i];
        }
        compare(&index, model);
    }
    shelf_index_clear(&index);
    cr_assert_eq(index.segments, 0);
    cr_assert_eq(index.bytes, 0);
    free(records);
}

Test(shelf_index, newest_record_of_every_byte)
{
    for (uint64_t number = 1; number <= 40; number++)
        history(number);
}

Test(shelf_index, cut_in_two_keeps_what_a_sweep_has_written)
{
    struct shelf_index index = {0};
    struct shelf_record old = {.sequence = 1, .offset = 0, .length = 100};
    struct shelf_record new = {.sequence = 2, .offset = 40, .length = 10};

    cr_assert(shelf_index_insert(&index, &old));
    shelf_index_find(&index, 0)->sweep = 7;
    cr_assert(shelf_index_insert(&index, &new));
    cr_assert_eq(index.segments, 3);
    cr_assert_eq(shelf_index_find(&index, 0)->sweep, 7);
    cr_assert_eq(shelf_index_find(&index, 40)->sweep, 0);
    cr_assert_eq(shelf_index_find(&index, 50)->sweep, 7);
    shelf_index_clear(&index);
}

Test(shelf_index, bands_share_the_shelf_evenly)
{
    static const struct {
        uint64_t bytes;
        uint32_t shift;
    } cases[] = {{512, 0}, {1024, 0}, {1025, 1}, {64u << 20, 16}, {UINT64_MAX, 54}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct shelf_index index = {0};

        shelf_index_init(&index, cases[i].bytes);
        cr_assert_eq(index.band_shift, cases[i].shift, "of %llu bytes",
                     (unsigned long long)cases[i].bytes);
    }
}

Test(shelf_index, many_records_stay_balanced)
{
    struct shelf_index index = {0};
    enum { MANY = 50000 };
    struct shelf_record *records = calloc(MANY, sizeof *records);

    // In order, which makes a plain tree a list; and nearly all in one band.
    for (uint64_t i = 0; i < MANY; i++) {
        records[i] = (struct shelf_record){.sequence = i + 1, .offset = i * 10, .length = 10};
        cr_assert(shelf_index_insert(&index, &records[i]));
    }
    cr_assert_eq(index.segments, MANY);
    uint64_t depth = 0;
    for (struct shelf_segment *at = index.bands[SHELF_BANDS - 1]; at != NULL; at = at->right)
        depth++;
    cr_assert_lt(depth, 200);
    shelf_index_clear(&index);
    free(records);
}
