// SPDX-License-Identifier: Apache-2.0
//
// The status line is never accepted torn: neither where the writer was stopped between two stores, nor where the reader
// took a part before and a part after.
#include "core/status_line.h"

#include <criterion/criterion.h>
#include <string.h>

#define WORDS (STATUS_LINES_BYTES / 8)

static uint64_t lines[WORDS];

static struct status_line line_make(uint32_t n)
{
    return (struct status_line){
        .version_max = (uint16_t)(n + 1),
        .version_ruling = (uint16_t)(n + 2),
        .session_state = (uint8_t)(n % 10),
        .boot_stage = (uint8_t)(n % 5),
        .load_permille = (uint16_t)(n % 1001),
        .refusal = (uint16_t)(n % 18),
        .incarnation = n * 0x0123456789abcdefull,
        .taken_incarnation = ~(n * 0xfedcba9876543210ull),
        .generation = n * 3,
        .taken_generation = n * 5,
        .heartbeat = n * 7,
        .clients_still_ms = n * 11,
        .shadow_sequence = n * 0x1111111111111111ull,
    };
}

static void line_check(const struct status_line *line, uint32_t n)
{
    struct status_line want = line_make(n);

    cr_assert_eq(line->version_max, want.version_max);
    cr_assert_eq(line->version_ruling, want.version_ruling);
    cr_assert_eq(line->session_state, want.session_state);
    cr_assert_eq(line->boot_stage, want.boot_stage);
    cr_assert_eq(line->load_permille, want.load_permille);
    cr_assert_eq(line->refusal, want.refusal);
    cr_assert_eq(line->incarnation, want.incarnation);
    cr_assert_eq(line->taken_incarnation, want.taken_incarnation);
    cr_assert_eq(line->generation, want.generation);
    cr_assert_eq(line->taken_generation, want.taken_generation);
    cr_assert_eq(line->heartbeat, want.heartbeat);
    cr_assert_eq(line->clients_still_ms, want.clients_still_ms);
    cr_assert_eq(line->shadow_sequence, want.shadow_sequence);
}

static void publish(uint32_t n)
{
    struct status_line line = line_make(n);

    status_line_publish(lines, n, &line);
}

// Reads, and says which sequence was believed; 0: none.
static uint32_t believed(const void *bytes)
{
    struct status_line line;
    uint32_t sequence;

    if (status_line_read(bytes, &line, &sequence) != CARRICK_OK)
        return 0;
    line_check(&line, sequence);
    return sequence;
}

Test(status_line, every_field_comes_back)
{
    for (uint32_t n = 1; n < 50; n++) {
        publish(n);
        cr_assert_eq(believed(lines), n);
    }
}

Test(status_line, nothing_is_read_from_nothing)
{
    struct status_line line;

    cr_assert_eq(status_line_read(lines, &line, NULL), CARRICK_ERR_PROTOCOL);
    memset(lines, 0xff, sizeof(lines));
    cr_assert_eq(status_line_read(lines, &line, NULL), CARRICK_ERR_PROTOCOL);
    publish(1);
    cr_assert_eq(status_line_read(lines, &line, NULL), CARRICK_OK,
                 "the sequence need not be asked for");
}

Test(status_line, the_bytes_are_those_of_the_protocol)
{
    struct status_line line = line_make(0x01020304);
    const uint8_t *slot = (const uint8_t *)lines; // sequence 2 lies in the first

    status_line_publish(lines, 2, &line);
    cr_assert_arr_eq(slot, "CRRK", 4);
    cr_assert_eq(slot[4], 0x05);
    cr_assert_eq(slot[8], line.session_state);
    cr_assert_eq(slot[16], (uint8_t)line.incarnation);
    cr_assert_eq(slot[23], (uint8_t)(line.incarnation >> 56));
    cr_assert_eq(slot[56], 2);
    // The other slot was not touched, nor was anything beyond the two.
    for (unsigned i = 8; i < WORDS; i++)
        cr_assert_eq(lines[i], 0);
}

Test(status_line, a_writer_stopped_at_each_store_leaves_the_line_before)
{
    uint64_t before[WORDS], after[WORDS], torn[WORDS];

    for (uint32_t n = 1; n < 20; n++) {
        publish(n);
        memcpy(before, lines, sizeof(lines));
        publish(n + 1);
        memcpy(after, lines, sizeof(lines));
        // The stores change the words in rising order; and in whatever order they are seen, each subset of them.
        for (unsigned done = 0; done <= 8; done++) {
            memcpy(torn, before, sizeof(torn));
            memcpy(torn + ((n + 1) % 2) * 8, after + ((n + 1) % 2) * 8, done * 8);
            cr_assert_eq(believed(torn), done == 8 ? n + 1 : n, "stopped after %u stores", done);
        }
        for (unsigned set = 0; set < 256; set++) {
            unsigned same = 0;

            memcpy(torn, before, sizeof(torn));
            for (unsigned i = 0; i < 8; i++) {
                unsigned word = ((n + 1) % 2) * 8 + i;

                if ((set & 1u << i) != 0)
                    torn[word] = after[word];
                same += torn[word] == after[word];
            }
            cr_assert_eq(believed(torn), same == 8 ? n + 1 : n);
        }
    }
}

Test(status_line, a_stopped_writer_goes_on_without_harm)
{
    publish(1);
    publish(2);
    lines[8 + 3] ^= 1; // stopped in the middle of sequence 3, and the manager is started anew
    cr_assert_eq(believed(lines), 2);
    publish(3);
    cr_assert_eq(believed(lines), 3);
}

Test(status_line, a_reader_that_mixes_three_generations_believes_a_whole_one)
{
    uint64_t history[6][WORDS], mixed[WORDS];

    for (uint32_t n = 1; n <= 6; n++) {
        publish(n);
        memcpy(history[n - 1], lines, sizeof(lines));
    }
    for (unsigned i = 0; i < 6; i++)
        for (unsigned j = i; j < 6; j++)
            for (unsigned cut = 0; cut <= WORDS; cut++) {
                uint32_t sequence;

                memcpy(mixed, history[i], cut * 8);
                memcpy(mixed + cut, history[j] + cut, (WORDS - cut) * 8);
                sequence = believed(mixed); // whole, or none
                cr_assert(sequence == 0 || (sequence > i && sequence <= j + 1) || sequence == i);
            }
}

Test(status_line, each_bit_counts)
{
    publish(7);
    memset(lines, 0, 64); // only the second slot
    publish(7);
    for (unsigned i = 64 * 8; i < 128 * 8; i++) {
        ((uint8_t *)lines)[i / 8] ^= (uint8_t)(1u << i % 8);
        cr_assert_eq(believed(lines), 0, "bit %u", i);
        ((uint8_t *)lines)[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    cr_assert_eq(believed(lines), 7);
}

Test(status_line, the_sequence_wraps)
{
    struct status_line line = line_make(1);
    uint32_t sequence;

    for (uint32_t n = UINT32_MAX - 4; n != 6; n++) {
        status_line_publish(lines, n, &line);
        cr_assert_eq(status_line_read(lines, &line, &sequence), CARRICK_OK);
        cr_assert_eq(sequence, n, "%u was not taken as the newest", n);
    }
}

// The copy takes the first slot, number 2, before it is turned over by 4, and the second in the making of 5.
Test(status_line, a_slow_reader_gets_an_older_line_and_it_is_no_news)
{
    struct status_line_seen seen = {0};
    uint64_t slow[WORDS];
    struct status_line line;
    uint32_t sequence;

    publish(1);
    publish(2);
    memcpy(slow, lines, 64);
    publish(3);
    cr_assert_eq(status_line_read(lines, &line, &sequence), CARRICK_OK);
    line.incarnation = 5;
    cr_assert(status_line_is_news(&seen, &line, sequence));
    publish(4);
    publish(5);
    memcpy(slow + 8, lines + 8, 64);
    slow[11] ^= 1;
    cr_assert_eq(status_line_read(slow, &line, &sequence), CARRICK_OK);
    cr_assert_eq(sequence, 2, "it is whole, but older than what the read before brought");
    line.incarnation = 5;
    cr_assert(!status_line_is_news(&seen, &line, sequence));
    cr_assert_eq(seen.sequence, 3);
}

Test(status_line, news_is_the_same_or_newer_of_an_incarnation_or_another_incarnation)
{
    struct status_line_seen seen = {0};
    struct status_line line = {.incarnation = 0};

    cr_assert(status_line_is_news(&seen, &line, 7), "the first of all");
    cr_assert(status_line_is_news(&seen, &line, 7), "read again, it shows that it is alive");
    cr_assert(!status_line_is_news(&seen, &line, 6));
    cr_assert(status_line_is_news(&seen, &line, UINT32_MAX / 2 + 7));
    cr_assert(status_line_is_news(&seen, &line, UINT32_MAX));
    cr_assert(status_line_is_news(&seen, &line, 0), "it wraps");
    cr_assert(!status_line_is_news(&seen, &line, UINT32_MAX));
    line.incarnation = 1;
    cr_assert(status_line_is_news(&seen, &line, UINT32_MAX - 5), "started anew");
    cr_assert(!status_line_is_news(&seen, &line, UINT32_MAX - 6));
}
