// SPDX-License-Identifier: Apache-2.0
//
// What the partner may not reach. Each attempt ends the endpoint on both sides and changes no memory; other
// endpoints go on.
#include "rig.h"

#include <string.h>

struct attempt {
    const char *what;
    uint32_t operation;
    uint64_t offset; // added to base; may wrap
    uint64_t bytes;
    uint32_t key_change;
    uint32_t access; // of the target's region
};

enum {
    BOTH = CARRICK_ACCESS_REMOTE_READ | CARRICK_ACCESS_REMOTE_WRITE,
    REGION_BYTES = 4 * RIG_PAGE,
};

static void untouched(struct rig *rig, const struct rig_region *region, const char *what)
{
    CHECK(rig, rig_all(region, 0, region->bytes, 0x77), "%s changed memory", what);
}

static void end_both(struct rig *rig, struct rig_pair *pair, const char *what)
{
    WAIT(rig, pair->end[0]->disconnected && pair->end[1]->disconnected);
    // With CARRICK_PROOF_LOCAL a completion says nothing about the partner.
    if (rig->node[0].caps.proof == CARRICK_PROOF_REMOTE)
        CHECK(rig, pair->end[0]->completed < pair->end[0]->posted, "%s: all completed with OK",
              what);
    rig_pair_close(pair);
}

// Posts something that may not be, and a flush behind it, which must not complete with OK either.
static void attempt(struct rig *rig, struct rig_pair *pair, const struct attempt *attempt)
{
    struct rig_region *to = pair->region[1];
    struct carrick_work work[2];
    uint32_t before;
    int rc;

    work[0] = attempt->operation == CARRICK_OP_WRITE
                  ? rig_write(pair->region[0], 0, attempt->bytes, to, attempt->offset)
                  : rig_read(pair->region[0], 0, attempt->bytes, to, attempt->offset);
    work[0].key += attempt->key_change;
    work[1] = rig_flush();
    before = pair->end[0]->completed;
    rc = rig_try_post(pair->end[0], work, 2);
    // What cannot be right at any partner may be refused before it goes anywhere.
    if (rc == CARRICK_ERR_INVALID || rc == CARRICK_ERR_BOUNDS) {
        CHECK(rig, work[0].remote + work[0].length < work[0].remote, "%s was refused at once",
              attempt->what);
        return;
    }
    CHECK(rig, rc == CARRICK_OK, "%s was not taken: 0x%x", attempt->what, (unsigned)rc);
    WAIT(rig, pair->end[0]->disconnected);
    // With CARRICK_PROOF_LOCAL a bad write itself may have completed with OK.
    CHECK(rig, pair->end[0]->completed - before < 2, "%s: proven", attempt->what);
    if (attempt->operation == CARRICK_OP_READ || rig->node[0].caps.proof == CARRICK_PROOF_REMOTE)
        CHECK(rig, pair->end[0]->completed == before, "%s: OK", attempt->what);
    end_both(rig, pair, attempt->what);
}

static void attempts_run(struct rig *rig, const struct attempt *attempts, size_t count)
{
    struct rig_pair good = rig_pair(rig, RIG_PAGE);

    for (size_t i = 0; i < count; i++) {
        const struct attempt *one = &attempts[i];
        struct rig_pair pair = {.domain = {rig_domain(rig, 0), rig_domain(rig, 1)}};

        pair.region[0] = rig_region(pair.domain[0], 2 * REGION_BYTES, BOTH);
        pair.region[1] = rig_region(pair.domain[1], REGION_BYTES, one->access);
        memset(pair.region[0]->memory, one->operation == CARRICK_OP_WRITE ? 0x11 : 0x77,
               pair.region[0]->bytes);
        memset(pair.region[1]->memory, 0x77, REGION_BYTES);
        if (one->operation == CARRICK_OP_READ)
            memset(pair.region[1]->memory, 0x22, REGION_BYTES);
        rig_join(rig, &pair);
        attempt(rig, &pair, one);
        untouched(rig, one->operation == CARRICK_OP_WRITE ? pair.region[1] : pair.region[0],
                  one->what);
    }
    rig_do(good.end[0], rig_write(good.region[0], 0, RIG_PAGE, good.region[1], 0));
    rig_do(good.end[1], rig_read(good.region[1], 0, RIG_PAGE, good.region[0], 0));
}

CASE(bounds, write)
{
    static const struct attempt attempts[] = {
        {"one byte past the end", CARRICK_OP_WRITE, 1, REGION_BYTES, 0, BOTH},
        {"a byte at the end", CARRICK_OP_WRITE, REGION_BYTES, 1, 0, BOTH},
        {"far behind the end", CARRICK_OP_WRITE, 1ull << 40, 8, 0, BOTH},
        {"a byte before the begin", CARRICK_OP_WRITE, UINT64_MAX, 8, 0, BOTH},
        {"longer than the region", CARRICK_OP_WRITE, 0, REGION_BYTES + 1, 0, BOTH},
    };

    attempts_run(rig, attempts, sizeof(attempts) / sizeof(attempts[0]));
}

CASE(bounds, read)
{
    static const struct attempt attempts[] = {
        {"one byte past the end", CARRICK_OP_READ, 1, REGION_BYTES, 0, BOTH},
        {"a byte at the end", CARRICK_OP_READ, REGION_BYTES, 1, 0, BOTH},
        {"far behind the end", CARRICK_OP_READ, 1ull << 40, 8, 0, BOTH},
        {"a byte before the begin", CARRICK_OP_READ, UINT64_MAX, 8, 0, BOTH},
        {"longer than the region", CARRICK_OP_READ, 0, REGION_BYTES + 1, 0, BOTH},
    };

    attempts_run(rig, attempts, sizeof(attempts) / sizeof(attempts[0]));
}

CASE(bounds, wrap_around)
{
    struct rig_pair pair;
    static const uint32_t operations[] = {CARRICK_OP_WRITE, CARRICK_OP_READ};

    for (unsigned i = 0; i < 2; i++) {
        struct attempt one = {"address and length that wrap", operations[i], 0, 64, 0, BOTH};

        pair = rig_pair(rig, REGION_BYTES);
        memset(pair.region[0]->memory, i == 0 ? 0x11 : 0x77, REGION_BYTES);
        memset(pair.region[1]->memory, i == 0 ? 0x77 : 0x22, REGION_BYTES);
        // The sum lies within the region, or before it, when the addition wraps.
        one.offset = UINT64_MAX - 31 - pair.region[1]->key.base;
        attempt(rig, &pair, &one);
        untouched(rig, pair.region[1 - i], one.what);
    }
}

CASE(bounds, key)
{
    static const struct attempt attempts[] = {
        {"the next key", CARRICK_OP_WRITE, 0, 64, 1, BOTH},
        {"the key before", CARRICK_OP_READ, 0, 64, UINT32_MAX, BOTH},
        {"a key of another slot", CARRICK_OP_WRITE, 0, 64, 0x10000, BOTH},
        {"a key far off", CARRICK_OP_READ, 0, 64, 0x7fffffff, BOTH},
    };

    attempts_run(rig, attempts, sizeof(attempts) / sizeof(attempts[0]));
}

// No bit of a key is idle.
CASE(bounds, key_bits)
{
    struct attempt attempts[32];

    for (unsigned bit = 0; bit < 32; bit++) {
        uint32_t operation = bit % 2 == 0 ? CARRICK_OP_WRITE : CARRICK_OP_READ;

        attempts[bit] = (struct attempt){"a key with one bit changed", operation, 0, 64,
                                         UINT32_C(1) << bit,           BOTH};
    }
    attempts_run(rig, attempts, 32);
}

static bool is_soft_iwarp(struct rig *rig)
{
    const struct rig_node *node = &rig->node[1];
    char text[2048] = "";

    if (node->ops.describe != NULL)
        node->ops.describe(node->device, NULL, text, sizeof(text));
    return strstr(text, "\"device\":\"siw") != NULL;
}

CASE(bounds, access)
{
    static const struct attempt attempts[] = {
        {"a write where only reads are allowed", CARRICK_OP_WRITE, 0, 64, 0,
         CARRICK_ACCESS_REMOTE_READ},
        {"a write to a local region", CARRICK_OP_WRITE, 0, 64, 0, CARRICK_ACCESS_LOCAL},
        {"a read of a local region", CARRICK_OP_READ, 0, 64, 0, CARRICK_ACCESS_LOCAL},
        {"a read where only writes are allowed", CARRICK_OP_READ, 0, 64, 0,
         CARRICK_ACCESS_REMOTE_WRITE},
    };

    size_t count = sizeof(attempts) / sizeof(attempts[0]);

    // The kernel's soft iWARP does not look whether a region may be read; no transport can make up for that, since the
    // partner's processor has no part in it. Keys, bounds and domains hold there as well.
    if (is_soft_iwarp(rig))
        rig_note("left out over %s: %s (soft iWARP does not look)", rig->kind.name,
                 attempts[--count].what);
    attempts_run(rig, attempts, count);
}

CASE(bounds, deregistered)
{
    static const struct attempt attempts[] = {
        {"a write to a deregistered region", CARRICK_OP_WRITE, 0, 64, 0, BOTH},
        {"a read of a deregistered region", CARRICK_OP_READ, 0, 64, 0, BOTH},
    };

    for (unsigned i = 0; i < 2; i++) {
        struct rig_pair pair = rig_pair(rig, REGION_BYTES);

        memset(pair.region[0]->memory, i == 0 ? 0x11 : 0x77, REGION_BYTES);
        memset(pair.region[1]->memory, i == 0 ? 0x77 : 0x22, REGION_BYTES);
        rig_deregister(pair.region[1]);
        // A new registration of the same size must not have taken over the old key.
        rig_region(pair.domain[1], REGION_BYTES, BOTH);
        attempt(rig, &pair, &attempts[i]);
        untouched(rig, pair.region[1 - i], attempts[i].what);
    }
}

// The key is right, but the region belongs to a domain that this endpoint is not in; `domain` is the one it is in.
static void foreign(struct rig *rig, struct rig_domain *domain, const struct attempt *one)
{
    struct rig_domain *other = rig_domain(rig, 1);
    struct rig_pair pair = {.domain = {rig_domain(rig, 0), domain}};
    bool writes = one->operation == CARRICK_OP_WRITE;

    pair.region[0] = rig_region(pair.domain[0], REGION_BYTES, BOTH);
    pair.region[1] = rig_region(other, REGION_BYTES, BOTH);
    memset(pair.region[0]->memory, writes ? 0x11 : 0x77, REGION_BYTES);
    memset(pair.region[1]->memory, writes ? 0x77 : 0x22, REGION_BYTES);
    rig_join(rig, &pair);
    attempt(rig, &pair, one);
    untouched(rig, pair.region[writes ? 1 : 0], one->what);
}

CASE(bounds, domain)
{
    static const struct attempt attempts[] = {
        {"a write to another domain's region", CARRICK_OP_WRITE, 0, 64, 0, BOTH},
        {"a read of another domain's region", CARRICK_OP_READ, 0, 64, 0, BOTH},
    };

    for (unsigned i = 0; i < 2; i++) {
        foreign(rig, rig_domain(rig, 1), &attempts[i]);
        foreign(rig, NULL, &attempts[i]);
    }
}

// Keys of registrations in a row are not neighbours: who knows one does not know the next.
CASE(bounds, keys_differ)
{
    struct rig_domain *domain = rig_domain(rig, 1);
    struct rig_region *region[32];
    unsigned regular = 0;

    for (unsigned i = 0; i < 32; i++)
        region[i] = rig_region(domain, RIG_PAGE, BOTH);
    for (unsigned i = 0; i < 32; i++) {
        for (unsigned j = 0; j < i; j++)
            CHECK(rig, region[i]->key.key != region[j]->key.key);
        if (i >= 2 && region[i]->key.key - region[i - 1]->key.key ==
                          region[i - 1]->key.key - region[i - 2]->key.key)
            regular++;
    }
    CHECK(rig, regular < 5, "keys can be foretold");
}

// A send that is longer than the receiver said it takes.
CASE(bounds, send_too_long)
{
    struct rig_pair pair = {0};
    struct rig_end *end;
    struct carrick_connect_options options;
    static char text[2048];
    struct carrick_work work = {
        .struct_size = sizeof(work), .operation = CARRICK_OP_SEND, .local = text, .length = 1025};
    int rc;

    rig_listen(rig, 1);
    pair.end[0] = rig_connect_begin(rig, 0, NULL, NULL, 0, 5000);
    WAIT(rig, (pair.end[1] = end = rig_request(rig, 1)) != NULL);
    rig_connect_options(end, NULL, &options);
    options.receive_bytes = 1024;
    rc = end->node->ops.endpoint_accept(end->handle, &options);
    CHECK(rig, rc == CARRICK_OK);
    end->requested = false;
    end->answered = true;
    WAIT(rig, pair.end[0]->connected && end->connected);
    rc = rig_try_post(pair.end[0], &work, 1);
    // A transport that knows what the partner takes may refuse it at once.
    if (rc == CARRICK_OK)
        end_both(rig, &pair, "a send that is too long");
    CHECK(rig, end->messages_count == 0);
}
