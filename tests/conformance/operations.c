// SPDX-License-Identifier: Apache-2.0
//
// Each operation at each size, what a device says of itself, and the sizes of structures.
#include "rig.h"

#include <string.h>

static const uint64_t sizes[] = {0, 1, 4097, RIG_PAGE, RIG_MIB};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

CASE(operations, capabilities)
{
    for (unsigned i = 0; i < 2; i++) {
        const struct carrick_device_caps *caps = &rig->node[i].caps;
        // A caller of an older minor version has a shorter structure.
        struct carrick_device_caps shorter = {.struct_size = 12, .max_send_bytes = 77};

        CHECK(rig, caps->max_send_bytes >= 4096);
        CHECK(rig, caps->max_message_bytes >= 4096);
        CHECK(rig, caps->max_posted >= 16);
        CHECK(rig, caps->max_reads >= 1 && caps->max_reads <= caps->max_posted);
        CHECK(rig, caps->request_bytes >= 56 && caps->reply_bytes >= 56);
        CHECK(rig, caps->proof == CARRICK_PROOF_REMOTE || caps->proof == CARRICK_PROOF_LOCAL);
        CHECK(rig, caps->struct_size == sizeof(*caps), "device_caps changed struct_size");
        rig->node[i].ops.device_caps(rig->node[i].device, &shorter);
        CHECK(rig, shorter.proof == caps->proof && shorter.max_send_bytes == 77);
    }
}

CASE(operations, write)
{
    struct rig_pair pair = rig_pair(rig, 2 * RIG_MIB);

    for (unsigned i = 0; i < SIZES; i++) {
        memset(pair.region[1]->memory, 0xee, pair.region[1]->bytes);
        rig_fill(pair.region[0], 13, sizes[i], i);
        rig_post(pair.end[0], rig_write(pair.region[0], 13, sizes[i], pair.region[1], 4099));
        rig_do(pair.end[0], rig_flush());
        CHECK(rig, rig_filled(pair.region[1], 4099, sizes[i], i), "%llu bytes",
              (unsigned long long)sizes[i]);
        CHECK(rig, rig_all(pair.region[1], 0, 4099, 0xee), "bytes before the write changed");
        CHECK(rig, rig_all(pair.region[1], 4099 + sizes[i], 4096, 0xee),
              "bytes behind the write changed");
    }
}

CASE(operations, write_whole_region)
{
    struct rig_pair pair = rig_pair(rig, RIG_MIB);

    rig_fill(pair.region[0], 0, RIG_MIB, 5);
    rig_post(pair.end[0], rig_write(pair.region[0], 0, RIG_MIB, pair.region[1], 0));
    rig_do(pair.end[0], rig_flush());
    CHECK(rig, rig_filled(pair.region[1], 0, RIG_MIB, 5));
    // And the other way: the side that accepted is no lesser one.
    rig_fill(pair.region[1], 0, RIG_MIB, 6);
    rig_post(pair.end[1], rig_write(pair.region[1], 0, RIG_MIB, pair.region[0], 0));
    rig_do(pair.end[1], rig_flush());
    CHECK(rig, rig_filled(pair.region[0], 0, RIG_MIB, 6));
}

CASE(operations, read)
{
    struct rig_pair pair = rig_pair(rig, 2 * RIG_MIB);

    for (unsigned i = 0; i < SIZES; i++) {
        memset(pair.region[0]->memory, 0xee, pair.region[0]->bytes);
        rig_fill(pair.region[1], 4099, sizes[i], i);
        rig_do(pair.end[0], rig_read(pair.region[0], 13, sizes[i], pair.region[1], 4099));
        CHECK(rig, rig_filled(pair.region[0], 13, sizes[i], i), "%llu bytes",
              (unsigned long long)sizes[i]);
        CHECK(rig, rig_all(pair.region[0], 0, 13, 0xee), "bytes before the buffer changed");
        CHECK(rig, rig_all(pair.region[0], 13 + sizes[i], 4096, 0xee),
              "bytes behind the buffer changed");
    }
}

CASE(operations, send)
{
    struct rig_pair pair = rig_pair(rig, 2 * RIG_MIB);
    uint32_t most = rig->node[0].caps.max_send_bytes;

    if (most > 2 * RIG_MIB)
        most = 2 * RIG_MIB;
    for (unsigned i = 0; i <= SIZES; i++) {
        uint64_t bytes = i < SIZES ? sizes[i] : most;

        if (bytes > most)
            continue;
        rig_fill(pair.region[0], 0, bytes, i);
        rig_do(pair.end[0], rig_send(pair.region[0], 0, bytes));
        WAIT(rig, pair.end[1]->messages_count > 0);
        CHECK(rig, pair.end[1]->messages_count == 1);
        CHECK(rig, pair.end[1]->messages[0].bytes == bytes);
        CHECK(rig, bytes == 0 ||
                       memcmp(pair.end[1]->messages[0].data, pair.region[0]->memory, bytes) == 0);
        free(pair.end[1]->messages[0].data);
        pair.end[1]->messages_count = 0;
    }
}

// A transport may treat those differently that wake it often: each step is awaited, from either side, and much
// follows little.
CASE(operations, conversation)
{
    struct rig_pair pair = rig_pair(rig, RIG_MIB);

    for (unsigned i = 0; i < 160; i++) {
        unsigned from = i % 3 == 2, to = 1 - from;
        uint64_t bytes = i % 16 == 15 ? 300001 : i % 5 == 4 ? 7000 : 4096;

        rig_fill(pair.region[from], 3, bytes, i);
        rig_post(pair.end[from], rig_write(pair.region[from], 3, bytes, pair.region[to], 5));
        if (i % 4 == 3) {
            rig_post(pair.end[from], rig_send(pair.region[from], 3, 100));
            WAIT(rig, pair.end[to]->messages_count == 1);
            free(pair.end[to]->messages[0].data);
            pair.end[to]->messages_count = 0;
        } else {
            rig_do(pair.end[from], rig_flush());
        }
        CHECK(rig, rig_filled(pair.region[to], 5, bytes, i), "step %u", i);
    }
}

CASE(operations, send_unregistered)
{
    struct rig_pair pair = rig_pair(rig, RIG_PAGE);
    char text[300];
    struct carrick_work work = {.struct_size = sizeof(work),
                                .operation = CARRICK_OP_SEND,
                                .local = text,
                                .length = sizeof(text)};

    memset(text, 'y', sizeof(text));
    rig_do(pair.end[1], work);
    WAIT(rig, pair.end[0]->messages_count == 1);
    CHECK(rig, pair.end[0]->messages[0].bytes == sizeof(text));
    CHECK(rig, memcmp(pair.end[0]->messages[0].data, text, sizeof(text)) == 0);
}

// The buffer of a short operation is free when post returns.
CASE(operations, inline_data)
{
    struct rig_pair pair = rig_pair(rig, RIG_PAGE);
    uint32_t bytes = rig->node[0].caps.inline_bytes;

    if (bytes > RIG_PAGE)
        bytes = RIG_PAGE;
    rig_fill(pair.region[0], 0, bytes, 1);
    rig_post(pair.end[0], rig_write(pair.region[0], 0, bytes, pair.region[1], 0));
    rig_fill(pair.region[0], 0, bytes, 2);
    rig_post(pair.end[0], rig_send(pair.region[0], 0, bytes));
    memset(pair.region[0]->memory, 0xdd, RIG_PAGE);
    rig_do(pair.end[0], rig_flush());
    WAIT(rig, pair.end[1]->messages_count == 1);
    CHECK(rig, rig_filled(pair.region[1], 0, bytes, 1));
    memcpy(pair.region[1]->memory, pair.end[1]->messages[0].data, bytes);
    CHECK(rig, rig_filled(pair.region[1], 0, bytes, 2));
}

CASE(operations, flush_alone)
{
    struct rig_pair pair = rig_pair(rig, RIG_PAGE);

    for (unsigned i = 0; i < 3; i++) {
        rig_do(pair.end[0], rig_flush());
        rig_do(pair.end[1], rig_flush());
    }
}

// An endpoint that reaches no memory of the partner, and lets it reach none, still carries sends.
CASE(operations, send_without_domain)
{
    struct rig_pair pair = {0};
    static char text[] = "who is there?";
    struct carrick_work work = {.struct_size = sizeof(work),
                                .operation = CARRICK_OP_SEND,
                                .local = text,
                                .length = sizeof(text)};

    rig_join(rig, &pair);
    for (unsigned i = 0; i < 2; i++) {
        rig_do(pair.end[i], work);
        WAIT(rig, pair.end[1 - i]->messages_count == 1);
        CHECK(rig, strcmp(pair.end[1 - i]->messages[0].data, text) == 0);
    }
}

// A send may come from memory that is registered in another domain than its endpoint's: the core's first messages do.
CASE(operations, send_from_another_domain)
{
    struct rig_pair pair = {0};
    struct rig_region *region[2];

    for (unsigned i = 0; i < 2; i++)
        region[i] = rig_region(rig_domain(rig, i), 2 * RIG_PAGE, CARRICK_ACCESS_LOCAL);
    rig_join(rig, &pair);
    for (unsigned i = 0; i < 40; i++) {
        struct rig_end *to = pair.end[1 - i % 2];
        uint64_t bytes = i % 4 < 2 ? 20 + i : 4000 + i;

        rig_fill(region[i % 2], 0, bytes, i);
        rig_do(pair.end[i % 2], rig_send(region[i % 2], 0, bytes));
        rig_do(pair.end[i % 2], rig_flush());
        WAIT(rig, to->messages_count == 1);
        CHECK(rig, to->messages[0].bytes == bytes);
        CHECK(rig, memcmp(to->messages[0].data, region[i % 2]->memory, bytes) == 0);
        free(to->messages[0].data);
        to->messages_count = 0;
    }
}

// Either side may have been built with longer structures than the other.
CASE_OVER(rig_plain_kinds, operations, longer_structures)
{
    struct rig_pair pair = rig_pair(rig, 16 * RIG_PAGE);
    struct carrick_work work[3];

    rig->stride = sizeof(struct carrick_event) + 24;
    rig_fill(pair.region[0], 0, 16 * RIG_PAGE, 1);
    work[0] = rig_write(pair.region[0], 0, 16 * RIG_PAGE, pair.region[1], 0);
    work[1] = rig_send(pair.region[0], 0, 100);
    work[2] = rig_flush();
    CHECK(rig, rig_try_post(pair.end[0], work, 3) == CARRICK_OK);
    WAIT(rig, pair.end[0]->completed == pair.end[0]->posted && pair.end[1]->messages_count == 1);
    CHECK(rig, rig_filled(pair.region[1], 0, 16 * RIG_PAGE, 1));
    CHECK(rig, pair.end[1]->messages[0].bytes == 100);
}

CASE(operations, describe)
{
    struct rig_pair pair = rig_pair(rig, RIG_PAGE);
    const struct rig_node *node = &rig->node[0];
    char text[2048];

    if (node->ops.describe == NULL)
        return;
    for (size_t size = sizeof(text); size > 0; size /= 2) {
        memset(text, 'x', sizeof(text));
        node->ops.describe(node->device, NULL, text, size);
        CHECK(rig, memchr(text, 0, size) != NULL);
        CHECK(rig, size == sizeof(text) || text[size] == 'x', "describe wrote past the end");
        node->ops.describe(node->device, pair.end[0]->handle, text, size);
        CHECK(rig, memchr(text, 0, size) != NULL);
        CHECK(rig, size == sizeof(text) || text[size] == 'x', "describe wrote past the end");
        if (size == sizeof(text))
            CHECK(rig, text[0] == '{' && text[strlen(text) - 1] == '}');
    }
}
