// SPDX-License-Identifier: Apache-2.0
//
// The tables that nodes write into each other's memory: they come back as they went, and nothing that is too short, too
// long, or lies about its own lengths is believed.
#include "core/tables.h"

#include <carrick/client.h>
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core/wire.h"

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
    {.name = "alpha", .version = 1, .vis = 1, .region_first = 0, .region_count = 2},
    {.name = "beta", .version = 0xffffffff, .vis = 4096, .region_first = 2, .region_count = 0},
    {.name = "gamma", .version = 3, .vis = 7, .region_first = 2, .region_count = 2},
};

static uint8_t table[CLIENT_INFO_BYTES_MAX];
static struct client_need *got_clients;
static struct client_region_need *got_regions;
static uint32_t got_client_count, got_region_count;

static int get(const void *bytes, size_t length)
{
    uint8_t *copy = exactly(bytes, length);
    int status = client_info_get(copy, length, &got_clients, &got_client_count, &got_regions,
                                 &got_region_count);

    free(copy);
    if (status != CARRICK_OK)
        return status;
    // Whatever was believed agrees with itself.
    for (uint32_t i = 0; i < got_client_count; i++) {
        cr_assert_leq(got_clients[i].region_first, got_region_count);
        cr_assert_leq(got_clients[i].region_count, got_region_count - got_clients[i].region_first);
        cr_assert_lt(strlen(got_clients[i].name), sizeof(got_clients[i].name));
    }
    return status;
}

static int get_and_free(const void *bytes, size_t length)
{
    int status = get(bytes, length);

    if (status == CARRICK_OK) {
        free(got_clients);
        free(got_regions);
    }
    return status;
}

static size_t put(void)
{
    size_t length = client_info_put(clients, CLIENTS, regions, table, sizeof(table));

    cr_assert_gt(length, 0);
    return length;
}

Test(tables, client_information_comes_back)
{
    cr_assert_eq(get(table, put()), CARRICK_OK);
    cr_assert_eq(got_client_count, CLIENTS);
    cr_assert_eq(got_region_count, REGIONS);
    for (unsigned i = 0; i < CLIENTS; i++) {
        cr_assert_str_eq(got_clients[i].name, clients[i].name);
        cr_assert_eq(got_clients[i].version, clients[i].version);
        cr_assert_eq(got_clients[i].vis, clients[i].vis);
        cr_assert_eq(got_clients[i].region_first, clients[i].region_first);
        cr_assert_eq(got_clients[i].region_count, clients[i].region_count);
    }
    for (unsigned i = 0; i < REGIONS; i++) {
        cr_assert_eq(got_regions[i].bytes, regions[i].bytes);
        cr_assert_eq(got_regions[i].access, regions[i].access);
    }
    free(got_clients);
    free(got_regions);
}

Test(tables, no_client_at_all_is_information_too)
{
    size_t length = client_info_put(NULL, 0, NULL, table, sizeof(table));

    cr_assert_gt(length, 0);
    cr_assert_eq(get_and_free(table, length), CARRICK_OK);
    cr_assert_eq(got_client_count, 0);
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
    static const unsigned counts[] = {4, 8, 16 + 40, 16 + 48 + 40, 16 + 96 + 40};
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

Test(tables, a_client_may_not_ask_for_more_regions_than_clients_may)
{
    static struct client_region_need many[CARRICK_CLIENT_REGIONS_MAX + 1];
    struct client_need one = {.name = "one", .vis = 1, .region_count = CARRICK_CLIENT_REGIONS_MAX};
    size_t length;

    for (unsigned i = 0; i <= CARRICK_CLIENT_REGIONS_MAX; i++)
        many[i] = (struct client_region_need){.bytes = 1, .access = CARRICK_ACCESS_REMOTE_READ};
    length = client_info_put(&one, 1, many, table, sizeof(table));
    cr_assert_eq(get_and_free(table, length), CARRICK_OK);
    one.region_count++;
    length = client_info_put(&one, 1, many, table, sizeof(table));
    cr_assert_eq(get_and_free(table, length), CARRICK_ERR_PROTOCOL);
}

Test(tables, what_does_not_fit_is_not_written)
{
    size_t length = put();
    uint8_t *room;

    for (size_t i = 0; i < length; i++) {
        room = malloc(i == 0 ? 1 : i);
        cr_assert_eq(client_info_put(clients, CLIENTS, regions, room, i), 0);
        free(room);
    }
    room = malloc(length);
    cr_assert_eq(client_info_put(clients, CLIENTS, regions, room, length), length);
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
