// SPDX-License-Identifier: Apache-2.0
//
// The fault transport: each fault does what docs/fault.md says, over each transport, and nothing else.
#include "rig.h"

#include <string.h>

#define FAULT_CASE(case_name, fault_config)                                                        \
    CASE_WITH(rig_plain_kinds, fault_config, faults, case_name)

FAULT_CASE(cut, "{\"rules\": [{\"fault\": \"cut\", \"op\": \"write\", \"every\": 3}]}")
{
    struct rig_pair pair = rig_pair(rig, RIG_PAGE), other = pair;

    rig_join(rig, &other);
    for (unsigned round = 0; round < 5; round++) {
        uint32_t first = pair.end[0]->posted;

        memset(pair.region[1]->memory, 0, RIG_PAGE);
        memset(pair.region[0]->memory, 0x61 + (int)round, RIG_PAGE);
        for (uint64_t i = 0; i < 3; i++)
            rig_post(pair.end[0], rig_write(pair.region[0], 0, 64, pair.region[1], i * 64));
        WAIT(rig, pair.end[0]->disconnected && pair.end[1]->disconnected);
        CHECK(rig, pair.end[0]->status == CARRICK_ERR_RESET);
        CHECK(rig, pair.end[0]->completed <= first + 2);
        rig_pair_close(&pair);
        CHECK(rig, rig_all(pair.region[1], 128, 64, 0), "the operation that was cut off was done");
        rig_join(rig, &pair);
    }
    rig_do(other.end[0], rig_flush());
}

FAULT_CASE(delay, "{\"rules\": [{\"fault\": \"delay\", \"op\": \"write\", \"every\": 2, "
                  "\"delay_ms\": 20}]}")
{
    struct rig_pair pair = rig_pair(rig, RIG_MIB);
    uint64_t begin = rig_now(rig);
    unsigned sends = 0;

    for (unsigned i = 0; i < 12; i++) {
        uint64_t at = (uint64_t)i * 50000;

        rig_fill(pair.region[0], at, 50000, i);
        rig_post(pair.end[0], i % 3 == 2
                                  ? rig_send(pair.region[0], at, i)
                                  : rig_write(pair.region[0], at, 50000, pair.region[1], at));
        sends += i % 3 == 2;
    }
    rig_do(pair.end[0], rig_flush());
    WAIT(rig, pair.end[1]->messages_count == sends);
    CHECK(rig, rig_now(rig) - begin >= 20 * RIG_MS, "nothing was delayed");
    for (unsigned i = 0; i < 12; i++)
        CHECK(rig, i % 3 == 2 ? pair.end[1]->messages[i / 3].bytes == i
                              : rig_filled(pair.region[1], i * 50000, 50000, i));
}

// Closing in order waits for what a delay keeps back; closing at once does not.
FAULT_CASE(delay_and_close, "{\"rules\": [{\"fault\": \"delay\", \"op\": \"write\", \"every\": 1, "
                            "\"delay_ms\": 20}]}")
{
    struct rig_pair pair = rig_pair(rig, RIG_PAGE);

    for (unsigned i = 0; i < 4; i++) {
        bool orderly = i % 2 == 0;

        if (i > 0)
            rig_join(rig, &pair);
        memset(pair.region[1]->memory, 0, RIG_PAGE);
        rig_fill(pair.region[0], 0, RIG_PAGE, i);
        rig_post(pair.end[0], rig_write(pair.region[0], 0, RIG_PAGE, pair.region[1], 0));
        rig_end_close(pair.end[0], orderly);
        WAIT(rig, pair.end[1]->disconnected);
        rig_end_close(pair.end[1], false);
        WAIT(rig, pair.end[0]->closed && pair.end[1]->closed);
        CHECK(rig, orderly ? rig_filled(pair.region[1], 0, RIG_PAGE, i)
                           : rig_all(pair.region[1], 0, RIG_PAGE, 0));
    }
}

// Long enough that all else is done before the release, also on a machine that is slow.
#define HOLD_MS 1500u
#define HOLD_FIRST                                                                                 \
    "\"rules\": [{\"fault\": \"hold\", \"op\": \"write\", \"every\": 1, \"count\": 1, "            \
    "\"delay_ms\": 1500}], \"linger_ms\": 5000"

// Held back, told as lost, and released while the partner still lets it in.
FAULT_CASE(hold_lands_late, "{" HOLD_FIRST "}")
{
    struct rig_pair pair = rig_pair(rig, 10 * RIG_PAGE);
    uint64_t begin = rig_now(rig);

    rig_fill(pair.region[0], 0, 10 * RIG_PAGE, 1);
    rig_post(pair.end[0], rig_write(pair.region[0], 0, 10 * RIG_PAGE, pair.region[1], 0));
    WAIT(rig, pair.end[0]->disconnected);
    CHECK(rig, !pair.end[1]->disconnected, "the partner was told, too");
    CHECK(rig, rig_all(pair.region[1], 0, 10 * RIG_PAGE, 0), "the write was not held back");
    rig_end_close(pair.end[0], false);
    WAIT(rig, pair.end[1]->disconnected);
    CHECK(rig, rig_now(rig) - begin >= HOLD_MS * RIG_MS, "the write was released too early");
    CHECK(rig, rig_filled(pair.region[1], 0, 10 * RIG_PAGE, 1), "the write was not released");
    WAIT(rig, pair.end[0]->closed);
    CHECK(rig, pair.end[0]->completed == pair.end[0]->completions);
}

// The old path holds a write; the partner closes it, and only then the new path writes the same bytes.
static void hold_and_go_on(struct rig *rig, struct rig_pair *old, struct rig_pair *next)
{
    *old = rig_pair(rig, RIG_PAGE);
    *next = *old;
    rig_fill(old->region[0], 0, RIG_PAGE, 1);
    rig_post(old->end[0], rig_write(old->region[0], 0, RIG_PAGE, old->region[1], 0));
    WAIT(rig, old->end[0]->disconnected);
    rig_end_close(old->end[0], false);
    rig_end_close_wait(old->end[1], false);
    rig_join(rig, next);
    rig_fill(next->region[0], 0, RIG_PAGE, 2);
    rig_post(next->end[0], rig_write(next->region[0], 0, RIG_PAGE, next->region[1], 0));
    rig_do(next->end[0], rig_flush());
    CHECK(rig, rig_filled(next->region[1], 0, RIG_PAGE, 2));
}

FAULT_CASE(hold_is_fenced, "{" HOLD_FIRST "}")
{
    struct rig_pair old, next;

    hold_and_go_on(rig, &old, &next);
    WAIT(rig, old.end[0]->closed);
    rig_drain(rig);
    CHECK(rig, rig_filled(next.region[1], 0, RIG_PAGE, 2), "a held write landed after CLOSED");
}

// The dishonest fence, by which tests show that they would notice: the old write lands over the new one, and with the
// data that it had when it was posted.
FAULT_CASE(broken_fence, "{\"break_fence\": true, " HOLD_FIRST "}")
{
    struct rig_pair old, next;

    CHECK(rig, (rig->node[0].caps.flags & CARRICK_CAP_APPLIED_COUNT) == 0);
    hold_and_go_on(rig, &old, &next);
    WAIT(rig, old.end[0]->closed);
    WAIT(rig, rig_filled(next.region[1], 0, RIG_PAGE, 1));
}

// A read, too: its answer fills a buffer that was given back.
FAULT_CASE(broken_fence_read, "{\"break_fence\": true, \"linger_ms\": 5000, \"rules\": "
                              "[{\"fault\": \"hold\", \"op\": \"read\", \"every\": 1, "
                              "\"delay_ms\": 1500}]}")
{
    struct rig_pair pair = rig_pair(rig, RIG_PAGE);

    rig_fill(pair.region[1], 0, RIG_PAGE, 1);
    rig_post(pair.end[0], rig_read(pair.region[0], 0, RIG_PAGE, pair.region[1], 0));
    WAIT(rig, pair.end[0]->disconnected);
    rig_end_close_wait(pair.end[0], false);
    memset(pair.region[0]->memory, 0xee, RIG_PAGE);
    WAIT(rig, rig_filled(pair.region[0], 0, RIG_PAGE, 1));
}

// What the partner sends while we are told that the path is lost still counts, and still comes.
FAULT_CASE(hold_counts_right, "{" HOLD_FIRST "}")
{
    struct rig_pair pair = rig_pair(rig, RIG_PAGE);
    uint64_t first = pair.end[0]->posted;

    if ((rig->node[0].caps.flags & CARRICK_CAP_APPLIED_COUNT) == 0)
        return;
    rig_post(pair.end[0], rig_send(pair.region[0], 0, 5));
    rig_do(pair.end[0], rig_flush());
    rig_post(pair.end[0], rig_write(pair.region[0], 0, 8, pair.region[1], 0));
    WAIT(rig, pair.end[0]->disconnected);
    for (unsigned i = 0; i < 5; i++)
        rig_post(pair.end[1], rig_send(pair.region[1], 0, i));
    WAIT(rig, pair.end[1]->completed > 2);
    rig_end_close_wait(pair.end[1], false);
    CHECK(rig, pair.end[1]->applied <= first + 3 && pair.end[1]->applied >= first + 2);
    rig_end_close_wait(pair.end[0], false);
    CHECK(rig, pair.end[0]->applied == pair.end[0]->messages_count,
          "%llu sends were applied, %u came", (unsigned long long)pair.end[0]->applied,
          pair.end[0]->messages_count);
}

FAULT_CASE(half_open, "{\"rules\": [{\"fault\": \"half_open\", \"op\": \"write\", \"every\": 3}]}")
{
    struct rig_pair pair = rig_pair(rig, RIG_PAGE);
    uint32_t first = pair.end[0]->posted, posted = 0;
    struct carrick_work flush = rig_flush();

    memset(pair.region[0]->memory, 0x44, RIG_PAGE);
    for (uint64_t i = 0; i < 4; i++)
        rig_post(pair.end[0], rig_write(pair.region[0], 0, 64, pair.region[1], i * 64));
    rig_post(pair.end[0], rig_send(pair.region[0], 0, 64));
    // The other way all is well.
    rig_do(pair.end[1], rig_send(pair.region[1], 0, 9));
    WAIT(rig, pair.end[0]->messages_count == 1 && pair.end[0]->completed == first + 2);
    rig_drain(rig);
    CHECK(rig, pair.end[0]->completions == first + 2 && pair.end[1]->messages_count <= first);
    CHECK(rig, rig_all(pair.region[1], 0, 128, 0x44) && rig_all(pair.region[1], 128, 128, 0));
    CHECK(rig, !pair.end[0]->disconnected && !pair.end[1]->disconnected);
    // What is lost without a word fills the queue.
    while (rig_try_post(pair.end[0], &flush, 1) == CARRICK_OK)
        posted++;
    CHECK(rig, posted == rig->node[0].caps.max_posted - 3);
}

FAULT_CASE(lose_completion,
           "{\"rules\": [{\"fault\": \"lose_completion\", \"op\": \"write\", \"every\": 3, "
           "\"count\": 1}]}")
{
    struct rig_pair pair = rig_pair(rig, RIG_PAGE);

    rig->gaps_allowed = true;
    memset(pair.region[0]->memory, 0x44, RIG_PAGE);
    for (uint64_t i = 0; i < 6; i++)
        rig_post(pair.end[0], rig_write(pair.region[0], 0, 64, pair.region[1], i * 64));
    rig_post(pair.end[0], rig_flush());
    WAIT(rig, pair.end[0]->completions == pair.end[0]->posted);
    CHECK(rig, pair.end[0]->completed == pair.end[0]->posted - 1);
    CHECK(rig, rig_all(pair.region[1], 0, 6 * 64, 0x44), "the operation itself was lost");
}

FAULT_CASE(refuse, "{\"rules\": [{\"fault\": \"refuse\", \"every\": 2}]}")
{
    rig_listen(rig, 1);
    for (unsigned i = 0; i < 4; i++) {
        struct rig_end *a = rig_connect_begin(rig, 0, NULL, "x", 1, 5000), *b = NULL;

        WAIT(rig, a->disconnected || (b = rig_request(rig, 1)) != NULL);
        CHECK(rig, a->disconnected == (i % 2 == 1));
        if (a->disconnected)
            CHECK(rig, a->status == CARRICK_ERR_REFUSED && rig_request(rig, 1) == NULL);
        else
            rig_end_close_wait(b, false);
        rig_end_close_wait(a, false);
    }
}

FAULT_CASE(refuse_request,
           "{\"rules\": [{\"fault\": \"refuse\", \"op\": \"accept\", \"every\": 1}]}")
{
    struct rig_end *a;

    rig_listen(rig, 1);
    a = rig_connect_begin(rig, 0, NULL, "x", 1, 5000);
    WAIT(rig, a->disconnected);
    CHECK(rig, a->status == CARRICK_ERR_REFUSED && rig_request(rig, 1) == NULL);
}

FAULT_CASE(fail_registration, "{\"rules\": [{\"fault\": \"fail_registration\", \"every\": 2, "
                              "\"status\": \"limit\"}]}")
{
    struct rig_domain *domain = rig_domain(rig, 0);

    for (unsigned i = 0; i < 6; i++) {
        struct rig_region *region = rig_region_begin(domain, RIG_PAGE, CARRICK_ACCESS_LOCAL);

        WAIT(rig, region->registered);
        CHECK(rig, region->status == (i % 2 == 1 ? CARRICK_ERR_LIMIT : CARRICK_OK));
    }
}

// What cannot be kept is not kept: memory stays bounded, and the operation is lost with its endpoint.
FAULT_CASE(bounded, "{\"held_bytes_max\": 8192, \"rules\": [{\"fault\": \"hold\", \"op\": "
                    "\"write\", \"every\": 1}]}")
{
    struct rig_pair pair = rig_pair(rig, RIG_MIB);

    rig_fill(pair.region[0], 0, RIG_MIB, 1);
    rig_post(pair.end[0], rig_write(pair.region[0], 0, RIG_MIB, pair.region[1], 0));
    WAIT(rig, pair.end[0]->disconnected && pair.end[1]->disconnected);
    rig_pair_close(&pair);
    CHECK(rig, rig_all(pair.region[1], 0, RIG_MIB, 0));
}

FAULT_CASE(delay_bounded, "{\"held_ops_max\": 4, \"rules\": [{\"fault\": \"delay\", \"every\": 1, "
                          "\"delay_ms\": 2}]}")
{
    struct rig_pair pair = rig_pair(rig, RIG_MIB);

    for (unsigned i = 0; i < 40; i++) {
        struct carrick_work work;
        uint64_t at = (uint64_t)i * 1000;

        rig_fill(pair.region[0], at, 1000, i);
        work = rig_write(pair.region[0], at, 1000, pair.region[1], at);
        while (rig_try_post(pair.end[0], &work, 1) == CARRICK_ERR_AGAIN) {
            uint32_t before = pair.end[0]->completions;
            WAIT(rig, pair.end[0]->completions > before);
        }
    }
    WAIT(rig, pair.end[0]->completed == pair.end[0]->posted);
    rig_do(pair.end[0], rig_flush());
    for (unsigned i = 0; i < 40; i++)
        CHECK(rig, rig_filled(pair.region[1], i * 1000, 1000, i));
}
