// SPDX-License-Identifier: Apache-2.0
//
// The tables that nodes write into each other's memory: they come back as they went, and nothing that is too short, too
// long, or lies about its own lengths is believed.
#include "core/tables.h"

#include <carrick/client.h>
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core/terms.h"
#include "common/bytes.h"
#include "common/crc32c.h"

static struct peer_info peer_make(void)
{
    struct peer_info info = {
        .version_min = 1,
        .version_max = 3,
        .generation = 77,
        .incarnation = 0x0123456789abcdefull,
        .cluster = "pair",
        .node = "left",
        .manager = "main",
        .features = 0x8000000000000001ull,
    };

    for (unsigned i = 0; i < sizeof(info.config_hash); i++)
        info.config_hash[i] = (uint8_t)(i * 9);
    return info;
}

// The data at the very end of an allocation, so that a read beyond it is noticed.
static uint8_t *exactly(const void *bytes, size_t length)
{
    uint8_t *copy = malloc(length == 0 ? 1 : length);

    cr_assert(copy != NULL);
    if (length > 0)
        memcpy(copy, bytes, length);
    return copy;
}

Test(tables, peer_information_comes_back)
{
    struct peer_info info = peer_make(), got;
    uint8_t bytes[PEER_INFO_BYTES];

    peer_info_put(&info, bytes);
    cr_assert_eq(peer_info_get(bytes, sizeof(bytes), &got), CARRICK_OK);
    cr_assert_eq(got.version_min, info.version_min);
    cr_assert_eq(got.version_max, info.version_max);
    cr_assert_eq(got.generation, info.generation);
    cr_assert_eq(got.incarnation, info.incarnation);
    cr_assert_eq(got.features, info.features);
    cr_assert_str_eq(got.cluster, info.cluster);
    cr_assert_str_eq(got.node, info.node);
    cr_assert_str_eq(got.manager, info.manager);
    cr_assert_arr_eq(got.config_hash, info.config_hash, sizeof(info.config_hash));
}

Test(tables, peer_information_of_another_length_or_kind)
{
    struct peer_info info = peer_make(), got;
    uint8_t bytes[PEER_INFO_BYTES + 1] = {0};

    peer_info_put(&info, bytes);
    for (size_t i = 0; i <= PEER_INFO_BYTES + 1; i++) {
        uint8_t *copy = exactly(bytes, i);

        cr_assert_eq(peer_info_get(copy, i, &got) == CARRICK_OK, i == PEER_INFO_BYTES);
        free(copy);
    }
    for (unsigned i = 0; i < 32; i++) {
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
        cr_assert_eq(peer_info_get(bytes, PEER_INFO_BYTES, &got), CARRICK_ERR_PROTOCOL);
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
    }
}

Test(tables, peer_information_that_makes_no_sense)
{
    static const unsigned names[] = {32, 64, 96};
    struct peer_info info = peer_make(), got;
    uint8_t bytes[PEER_INFO_BYTES];

    info.version_min = 4;
    peer_info_put(&info, bytes);
    cr_assert_eq(peer_info_get(bytes, sizeof(bytes), &got), CARRICK_ERR_PROTOCOL, "min above max");
    info = peer_make();
    for (unsigned i = 0; i < 3; i++) {
        peer_info_put(&info, bytes);
        bytes[names[i]] = '\0';
        cr_assert_eq(peer_info_get(bytes, sizeof(bytes), &got), CARRICK_ERR_PROTOCOL, "no name");
        memset(bytes + names[i], 'x', CARRICK_NAME_MAX + 1);
        cr_assert_eq(peer_info_get(bytes, sizeof(bytes), &got), CARRICK_ERR_PROTOCOL, "no end");
        bytes[names[i] + CARRICK_NAME_MAX] = '\0';
        cr_assert_eq(peer_info_get(bytes, sizeof(bytes), &got), CARRICK_OK, "the longest name");
    }
}

Test(tables, ready_comes_back_and_has_one_length)
{
    struct ready_info info = {.incarnation = 1, .partner_incarnation = 2, .session = UINT64_MAX},
                      got;
    uint8_t bytes[READY_BYTES + 1] = {0};

    ready_info_put(&info, bytes);
    for (size_t i = 0; i <= READY_BYTES + 1; i++) {
        uint8_t *copy = exactly(bytes, i);

        cr_assert_eq(ready_info_get(copy, i, &got) == CARRICK_OK, i == READY_BYTES);
        free(copy);
    }
    cr_assert_eq(got.incarnation, 1);
    cr_assert_eq(got.partner_incarnation, 2);
    cr_assert_eq(got.session, UINT64_MAX);
    bytes[0] ^= 1;
    cr_assert_eq(ready_info_get(bytes, READY_BYTES, &got), CARRICK_ERR_PROTOCOL);
}

Test(tables, places_do_not_overlap_and_fit)
{
    for (unsigned i = TABLE_PEER_INFO; i < TABLE_KIND_COUNT; i++) {
        uint32_t from = table_offset((enum table_kind)i),
                 to = from + table_bytes_max((enum table_kind)i);

        cr_assert_gt(to, from);
        cr_assert_leq(to, INBOX_BYTES);
        for (unsigned j = TABLE_PEER_INFO; j < i; j++) {
            uint32_t other = table_offset((enum table_kind)j);

            cr_assert(to <= other || from >= other + table_bytes_max((enum table_kind)j));
        }
    }
}

// ---- client information

#define CLIENTS 3u
#define REGIONS 4u

static const struct client_region_need regions[REGIONS] = {
    {.bytes = 1, .access = CARRICK_ACCESS_REMOTE_READ},
    {.bytes = UINT64_MAX, .access = CARRICK_ACCESS_REMOTE_WRITE},
    {.bytes = 4096, .access = CARRICK_ACCESS_REMOTE_READ | CARRICK_ACCESS_REMOTE_WRITE},
    {.bytes = 1u << 30, .access = CARRICK_ACCESS_REMOTE_READ},
};

static const struct client_need clients[CLIENTS] = {
    {.name = "alpha", .version = 1, .vis = 1, .region_count = 2, .terms = "a: 1\nb: 2\n"},
    {.name = "beta", .version = 0xffffffff, .vis = 4096, .region_first = 2, .terms = ""},
    {.name = "gamma",
     .version = 3,
     .vis = 7,
     .region_first = 2,
     .region_count = 2,
     .terms = "group g1: home alpha\n"},
};

static const struct client_info all = {
    .clients = (struct client_need *)(uintptr_t)clients,
    .client_count = CLIENTS,
    .regions = (struct client_region_need *)(uintptr_t)regions,
    .region_count = REGIONS,
};

static uint8_t table[CLIENT_INFO_BYTES_MAX];
static struct client_info got;

static int get(const void *bytes, size_t length)
{
    uint8_t *copy = exactly(bytes, length);
    int status = client_info_get(copy, length, &got);

    free(copy);
    if (status != CARRICK_OK)
        return status;
    // Whatever was believed agrees with itself.
    for (uint32_t i = 0; i < got.client_count; i++) {
        cr_assert_leq(got.clients[i].region_first, got.region_count);
        cr_assert_leq(got.clients[i].region_count, got.region_count - got.clients[i].region_first);
        cr_assert_lt(strlen(got.clients[i].name), sizeof(got.clients[i].name));
        cr_assert(terms_are_sound(got.clients[i].terms, strlen(got.clients[i].terms)));
    }
    return status;
}

static int get_and_free(const void *bytes, size_t length)
{
    int status = get(bytes, length);

    client_info_free(&got);
    return status;
}

static size_t put(void)
{
    size_t length = client_info_put(&all, table, sizeof(table));

    cr_assert_gt(length, 0);
    return length;
}

Test(tables, client_information_comes_back)
{
    cr_assert_eq(get(table, put()), CARRICK_OK);
    cr_assert_eq(got.client_count, CLIENTS);
    cr_assert_eq(got.region_count, REGIONS);
    for (unsigned i = 0; i < CLIENTS; i++) {
        cr_assert_str_eq(got.clients[i].name, clients[i].name);
        cr_assert_eq(got.clients[i].version, clients[i].version);
        cr_assert_eq(got.clients[i].vis, clients[i].vis);
        cr_assert_eq(got.clients[i].region_first, clients[i].region_first);
        cr_assert_eq(got.clients[i].region_count, clients[i].region_count);
        cr_assert_str_eq(got.clients[i].terms, clients[i].terms);
    }
    for (unsigned i = 0; i < REGIONS; i++) {
        cr_assert_eq(got.regions[i].bytes, regions[i].bytes);
        cr_assert_eq(got.regions[i].access, regions[i].access);
    }
    client_info_free(&got);
}

Test(tables, no_client_at_all_is_information_too)
{
    size_t length = client_info_put(&(struct client_info){0}, table, sizeof(table));

    cr_assert_gt(length, 0);
    cr_assert_eq(get_and_free(table, length), CARRICK_OK);
    cr_assert_eq(got.client_count, 0);
}

Test(tables, client_information_cut_anywhere)
{
    size_t length = put();

    for (size_t i = 0; i < length; i++)
        cr_assert_eq(get_and_free(table, i), CARRICK_ERR_PROTOCOL, "cut after %zu bytes", i);
    cr_assert_eq(get_and_free(table, length), CARRICK_OK);
    cr_assert_eq(get_and_free(table, length + 1), CARRICK_ERR_PROTOCOL, "a byte too many");
}

// Each of the counts, with every kind of lie.
Test(tables, client_information_that_lies_about_its_counts)
{
    static const uint32_t lies[] = {
        0,          1,          2,          3,          4,          5,          6,    100,
        0x7fffffff, 0x80000000, 0xffffffff, 0x0fffffff, 0x10000000, 0x05555556, 5000, 65536};
    static const unsigned counts[] = {
        4, 8, 16 + 40, 16 + 44, 16 + 48 + 40, 16 + 48 + 44, 16 + 96 + 40, 16 + 96 + 44};
    size_t length = put();

    for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        for (unsigned j = 0; j < sizeof(lies) / sizeof(lies[0]); j++) {
            uint32_t truth = get_u32(table + counts[i]);

            if (lies[j] == truth)
                continue;
            put_u32(table + counts[i], lies[j]);
            cr_assert_eq(get_and_free(table, length), CARRICK_ERR_PROTOCOL,
                         "%u instead of %u at %u was believed", lies[j], truth, counts[i]);
            put_u32(table + counts[i], truth);
        }
}

Test(tables, two_lies_that_cancel_out)
{
    size_t length = put();

    // The lengths add up, but the entries are not where they would have to be.
    put_u32(table + 4, CLIENTS - 1);
    put_u32(table + 8, REGIONS + 3);
    cr_assert_eq(get_and_free(table, length), CARRICK_ERR_PROTOCOL);
    put();
    put_u32(table + 16 + 40, 4);
    put_u32(table + 16 + 96 + 40, 0);
    cr_assert_eq(get_and_free(table, length), CARRICK_OK,
                 "this one only shares them out otherwise");
    put_u32(table + 16 + 40, 0xfffffffe);
    put_u32(table + 16 + 96 + 40, 6);
    cr_assert_eq(get_and_free(table, length), CARRICK_ERR_PROTOCOL, "the sum wraps");
}

Test(tables, client_information_that_makes_no_sense)
{
    size_t length = put();
    uint8_t *first = table + 16, *second = table + 16 + 48, *region = table + 16 + 3 * 48;

    put_u32(first + 36, 0);
    cr_assert_eq(get_and_free(table, length), CARRICK_ERR_PROTOCOL, "no VI");
    put();
    memcpy(second, first, 32);
    cr_assert_eq(get_and_free(table, length), CARRICK_ERR_PROTOCOL, "the same name twice");
    memcpy(second, "aaa\0", 4);
    cr_assert_eq(get_and_free(table, length), CARRICK_ERR_PROTOCOL, "names not in order");
    put();
    first[0] = '\0';
    cr_assert_eq(get_and_free(table, length), CARRICK_ERR_PROTOCOL, "no name");
    memset(first, 'a', 32);
    cr_assert_eq(get_and_free(table, length), CARRICK_ERR_PROTOCOL, "no end of the name");
    put();
    put_u64(region, 0);
    cr_assert_eq(get_and_free(table, length), CARRICK_ERR_PROTOCOL, "a region of nothing");
    put();
    put_u32(region + 8, 0);
    cr_assert_eq(get_and_free(table, length), CARRICK_ERR_PROTOCOL, "no access");
    put_u32(region + 8, 4);
    cr_assert_eq(get_and_free(table, length), CARRICK_ERR_PROTOCOL, "an access that is none");
    put_u32(region + 8, 0x80000001);
    cr_assert_eq(get_and_free(table, length), CARRICK_ERR_PROTOCOL);
    put();
    table[0] ^= 1;
    cr_assert_eq(get_and_free(table, length), CARRICK_ERR_PROTOCOL, "another magic");
}

Test(tables, terms_that_are_none)
{
    static const char *const bad[] = {"a\n", ": 1\n", "a:1\n", "a: 1", "a: \t\n", "a: 1\n\n", "\n"};
    struct client_need one = {.name = "one", .vis = 1};
    struct client_info info = {.clients = &one, .client_count = 1};

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        one.terms = bad[i];
        cr_assert_eq(get_and_free(table, client_info_put(&info, table, sizeof(table))),
                     CARRICK_ERR_PROTOCOL, "'%s' was believed", bad[i]);
    }
}

Test(tables, terms_have_a_limit)
{
    static char terms[CARRICK_CLIENT_TERMS_MAX + 1];
    struct client_need one = {.name = "one", .vis = 1, .terms = terms};
    struct client_info info = {.clients = &one, .client_count = 1};

    memset(terms, 'a', sizeof(terms) - 1);
    memcpy(terms, "a: ", 3);
    terms[CARRICK_CLIENT_TERMS_MAX - 2] = '\n';
    terms[CARRICK_CLIENT_TERMS_MAX - 1] = '\0';
    cr_assert_eq(get_and_free(table, client_info_put(&info, table, sizeof(table))), CARRICK_OK);
    terms[CARRICK_CLIENT_TERMS_MAX - 2] = 'a';
    terms[CARRICK_CLIENT_TERMS_MAX - 1] = '\n';
    cr_assert_eq(get_and_free(table, client_info_put(&info, table, sizeof(table))),
                 CARRICK_ERR_PROTOCOL);
}

static void terms_are(const char *here, const char *there, const char *key)
{
    struct terms_difference difference;

    cr_assert_eq(terms_differ(here, there, &difference), key != NULL, "'%s' and '%s'", here, there);
    if (key != NULL)
        cr_assert(strlen(key) == (size_t)difference.key.bytes &&
                  strncmp(difference.key.at, key, strlen(key)) == 0);
}

Test(tables, terms_that_differ)
{
    struct terms_difference difference;

    terms_are("", "", NULL);
    terms_are("a: 1\nb: 2\n", "b: 2\na: 1\n", NULL);
    terms_are("a: 1\n", "", NULL); // what one alone has
    terms_are("a: 1\n", "aa: 2\nba: 2\n", NULL);
    terms_are("a: 1\n", "a: 12\n", "a");
    terms_are("a: 12\n", "a: 1\n", "a");
    terms_are("a: \n", "a: 1\n", "a");
    terms_are("a: 1\ngroup g: home x\n", "group g: home y\na: 1\n", "group g");
    cr_assert(terms_differ("k: here\n", "k: over there\n", &difference));
    cr_assert_eq(difference.here.bytes, 4);
    cr_assert_eq(difference.there.bytes, 10);
    cr_assert_eq(strncmp(difference.there.at, "over there", 10), 0);
}

Test(tables, a_client_may_not_ask_for_more_regions_than_clients_may)
{
    static struct client_region_need many[CARRICK_CLIENT_REGIONS_MAX + 1];
    struct client_need one = {
        .name = "one", .vis = 1, .region_count = CARRICK_CLIENT_REGIONS_MAX, .terms = ""};
    struct client_info info = {.clients = &one, .client_count = 1, .regions = many};
    size_t length;

    for (unsigned i = 0; i <= CARRICK_CLIENT_REGIONS_MAX; i++)
        many[i] = (struct client_region_need){.bytes = 1, .access = CARRICK_ACCESS_REMOTE_READ};
    length = client_info_put(&info, table, sizeof(table));
    cr_assert_eq(get_and_free(table, length), CARRICK_OK);
    one.region_count++;
    length = client_info_put(&info, table, sizeof(table));
    cr_assert_eq(get_and_free(table, length), CARRICK_ERR_PROTOCOL);
}

Test(tables, what_does_not_fit_is_not_written)
{
    size_t length = put();
    uint8_t *room;

    for (size_t i = 0; i < length; i++) {
        room = malloc(i == 0 ? 1 : i);
        cr_assert_eq(client_info_put(&all, room, i), 0);
        free(room);
    }
    room = malloc(length);
    cr_assert_eq(client_info_put(&all, room, length), length);
    free(room);
}

Test(tables, each_bit_changed_is_refused_or_read_as_it_stands)
{
    size_t length = put();

    for (size_t i = 0; i < length * 8; i++) {
        table[i / 8] ^= (uint8_t)(1u << i % 8);
        get_and_free(table, length); // checks that what was believed agrees with itself
        table[i / 8] ^= (uint8_t)(1u << i % 8);
    }
}

// ---- checksums

Test(tables, the_checksum_is_that_of_iscsi)
{
    static const uint8_t zeros[32] = {0};
    uint8_t rising[32];

    for (unsigned i = 0; i < 32; i++)
        rising[i] = (uint8_t)i;
    cr_assert_eq(crc32c(zeros, 32), 0x8a9136aau); // RFC 3720, B.4
    cr_assert_eq(crc32c(rising, 32), 0x46dd794eu);
    cr_assert_eq(crc32c("123456789", 9), 0xe3069283u);
    cr_assert_eq(crc32c("", 0), 0);
}
