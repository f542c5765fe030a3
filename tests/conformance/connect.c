// SPDX-License-Identifier: Apache-2.0
//
// How endpoints come about, or do not.
#include "rig.h"

#include <string.h>

static void data_fill(uint8_t *data, uint32_t bytes, unsigned seed)
{
    for (uint32_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(i * 5 + seed);
}

static bool data_is(const struct rig_end *end, const uint8_t *data, uint32_t bytes)
{
    // A transport may pad private data (RoCE does), but not beyond what it said it can carry.
    return end->data_bytes >= bytes && end->data_bytes <= RIG_DATA_MAX &&
           memcmp(end->data, data, bytes) == 0;
}

static uint32_t at_most(uint32_t bytes)
{
    return bytes < RIG_DATA_MAX ? bytes : RIG_DATA_MAX;
}

CASE(connect, private_data)
{
    const struct carrick_device_caps *caps = &rig->node[0].caps;
    const uint32_t request[] = {0, 1, 56, at_most(caps->request_bytes)};
    const uint32_t reply[] = {0, 56, 3, at_most(rig->node[1].caps.reply_bytes)};
    uint8_t there[RIG_DATA_MAX], back[RIG_DATA_MAX];

    rig_listen(rig, 1);
    for (unsigned i = 0; i < 4; i++) {
        struct rig_end *a, *b;

        data_fill(there, request[i], i);
        data_fill(back, reply[i], 77 + i);
        a = rig_connect_begin(rig, 0, NULL, there, request[i], 5000);
        WAIT(rig, (b = rig_request(rig, 1)) != NULL);
        CHECK(rig, data_is(b, there, request[i]), "request data of %u bytes", request[i]);
        rig_accept(b, NULL, back, reply[i]);
        memset(b->data, 0, sizeof(b->data));
        WAIT(rig, a->connected && b->connected);
        CHECK(rig, data_is(a, back, reply[i]), "reply data of %u bytes", reply[i]);
    }
}

CASE(connect, reject)
{
    const uint32_t sizes[] = {0, 56, 9, at_most(rig->node[1].caps.reply_bytes)};
    uint8_t why[RIG_DATA_MAX];

    rig_listen(rig, 1);
    for (unsigned i = 0; i < 4; i++) {
        struct rig_end *a, *b;

        data_fill(why, sizes[i], i);
        a = rig_connect_begin(rig, 0, NULL, "x", 1, 5000);
        WAIT(rig, (b = rig_request(rig, 1)) != NULL);
        b->node->ops.endpoint_reject(b->handle, why, sizes[i]);
        b->requested = false;
        b->closing = b->closed = true; // the handle is gone
        WAIT(rig, a->disconnected);
        CHECK(rig, !a->connected);
        CHECK(rig, a->status == CARRICK_ERR_REFUSED, "0x%x", (unsigned)a->status);
        CHECK(rig, data_is(a, why, sizes[i]), "reason of %u bytes", sizes[i]);
        rig_end_close_wait(a, false);
    }
}

static bool is_nobody(int32_t status)
{
    return status == CARRICK_ERR_REFUSED || status == CARRICK_ERR_TIMEOUT ||
           status == CARRICK_ERR_UNREACHABLE || status == CARRICK_ERR_RESET ||
           status == CARRICK_ERR_LINK_DOWN;
}

CASE(connect, to_nobody)
{
    for (unsigned i = 0; i < 3; i++) {
        struct rig_end *end = rig_connect_begin(rig, 0, NULL, "x", 1, 300);

        WAIT(rig, end->disconnected);
        CHECK(rig, !end->connected && is_nobody(end->status), "0x%x", (unsigned)end->status);
        rig_end_close_wait(end, i % 2 == 0);
    }
}

// The partner is there, but its manager does not answer.
CASE(connect, timeout)
{
    struct rig_end *end;

    rig_listen(rig, 1);
    rig->node[1].paused = true;
    end = rig_connect_begin(rig, 0, NULL, "x", 1, 150);
    WAIT(rig, end->disconnected);
    CHECK(rig, !end->connected && end->status == CARRICK_ERR_TIMEOUT, "0x%x",
          (unsigned)end->status);
    rig_end_close_wait(end, false);
    rig->node[1].paused = false;
    rig_drain(rig);
}

// The partner has the request, and thinks about it for too long.
CASE(connect, timeout_unanswered)
{
    struct rig_end *a, *b;

    rig_listen(rig, 1);
    a = rig_connect_begin(rig, 0, NULL, "x", 1, 150);
    WAIT(rig, (b = rig_request(rig, 1)) != NULL);
    WAIT(rig, a->disconnected);
    CHECK(rig, !a->connected && a->status == CARRICK_ERR_TIMEOUT, "0x%x", (unsigned)a->status);
    rig_end_close_wait(a, false);
    // The answer comes too late: it leads nowhere, and the handle ends as any other.
    if (!b->closed) {
        rig_accept(b, NULL, NULL, 0);
        WAIT(rig, b->disconnected);
        rig_end_close_wait(b, false);
    }
}

// A request may be closed instead of answered.
CASE(connect, close_request)
{
    struct rig_end *a, *b;

    rig_listen(rig, 1);
    a = rig_connect_begin(rig, 0, NULL, "x", 1, 2000);
    WAIT(rig, (b = rig_request(rig, 1)) != NULL);
    rig_end_close_wait(b, false);
    WAIT(rig, a->disconnected);
    CHECK(rig, !a->connected);
    rig_end_close_wait(a, false);
}

CASE(connect, listen_twice)
{
    struct carrick_error error = {.struct_size = sizeof(error)};
    struct rig_pair pair;

    rig_listen(rig, 1);
    CHECK(rig, rig->node[1].ops.listen(rig->node[1].device, &error) == CARRICK_ERR_STATE);
    pair = rig_pair(rig, RIG_PAGE);
    rig_do(pair.end[0], rig_flush());
}

CASE(connect, unlisten)
{
    struct rig_pair pair = rig_pair(rig, RIG_PAGE);
    struct rig_end *late;

    rig->node[1].ops.unlisten(rig->node[1].device);
    rig->node[1].listening = false; // a REQUEST would now fail the case
    late = rig_connect_begin(rig, 0, NULL, "x", 1, 300);
    WAIT(rig, late->disconnected);
    CHECK(rig, !late->connected);
    // What is connected stays so.
    rig_do(pair.end[0], rig_flush());
    rig_do(pair.end[1], rig_flush());
    rig_end_close_wait(late, false);
    // And the device can listen again.
    pair.end[0] = pair.end[1] = NULL;
    rig_join(rig, &pair);
    rig_do(pair.end[0], rig_flush());
}

// Both sides listen and connect to each other at the same time: these are two endpoints, which is the core's affair.
CASE(connect, both_at_once)
{
    struct rig_end *out[2], *in[2] = {NULL, NULL};

    for (unsigned i = 0; i < 2; i++)
        rig_listen(rig, i);
    for (unsigned i = 0; i < 2; i++)
        out[i] = rig_connect_begin(rig, i, NULL, &i, sizeof(i), 5000);
    for (unsigned i = 0; i < 2; i++) {
        WAIT(rig, (in[i] = rig_request(rig, i)) != NULL);
        rig_accept(in[i], NULL, NULL, 0);
    }
    WAIT(rig, out[0]->connected && out[1]->connected && in[0]->connected && in[1]->connected);
    for (unsigned i = 0; i < 2; i++)
        rig_do(out[i], rig_flush());
}

// Closing before anything is answered, at any point of the connecting.
CASE(connect, close_while_connecting)
{
    rig_listen(rig, 1);
    for (unsigned rounds = 0; rounds < 30; rounds++) {
        struct rig_end *a = rig_connect_begin(rig, 0, NULL, "x", 1, 1000), *b;

        rig_rounds(rig, rounds / 3);
        rig_end_close_wait(a, rounds % 2 == 0);
        rig_drain(rig);
        b = rig_request(rig, 1);
        if (b == NULL)
            continue;
        rig_accept(b, NULL, NULL, 0);
        WAIT(rig, b->disconnected);
        rig_end_close_wait(b, rounds % 2 != 0);
    }
}

// The answering side closes right after it accepted, at any point.
CASE(connect, close_while_accepting)
{
    rig_listen(rig, 1);
    for (unsigned rounds = 0; rounds < 20; rounds++) {
        struct rig_end *a = rig_connect_begin(rig, 0, NULL, "x", 1, 1000), *b;

        WAIT(rig, (b = rig_request(rig, 1)) != NULL);
        rig_accept(b, NULL, NULL, 0);
        rig_rounds(rig, rounds / 3);
        rig_end_close_wait(b, rounds % 2 == 0);
        WAIT(rig, a->disconnected);
        rig_end_close_wait(a, false);
    }
}

CASE(connect, post_in_wrong_state)
{
    struct carrick_work flush = rig_flush();
    struct rig_end *a, *b;

    rig_listen(rig, 1);
    a = rig_connect_begin(rig, 0, NULL, "x", 1, 5000);
    CHECK(rig, rig_try_post(a, &flush, 1) == CARRICK_ERR_STATE);
    WAIT(rig, (b = rig_request(rig, 1)) != NULL);
    rig_accept(b, NULL, NULL, 0);
    WAIT(rig, a->connected && b->connected);
    rig_end_close_wait(b, false);
    WAIT(rig, a->disconnected);
    CHECK(rig, rig_try_post(a, &flush, 1) == CARRICK_ERR_STATE);
    rig_end_close_wait(a, false);
}

// Many who ask at once, more than may wait; each of them is answered or refused in time.
CASE(connect, many_at_once)
{
    struct rig_end *ends[100], *request;
    unsigned connected = 0;

    rig_listen(rig, 1);
    for (unsigned i = 0; i < 100; i++)
        ends[i] = rig_connect_begin(rig, 0, NULL, &i, sizeof(i), 5000 * rig_patience(rig));
    for (unsigned i = 0; i < 100; i++) {
        while (!ends[i]->connected && !ends[i]->disconnected) {
            WAIT(rig, (request = rig_request(rig, 1)) != NULL || ends[i]->connected ||
                          ends[i]->disconnected);
            if (request != NULL)
                rig_accept(request, NULL, NULL, 0);
        }
        connected += ends[i]->connected;
    }
    CHECK(rig, connected >= 32, "only %u of 100 were connected", connected);
}
