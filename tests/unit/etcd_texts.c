// SPDX-License-Identifier: Apache-2.0
// needs plugin: etcd
//
// What the arbiter etcd reads and writes as text: base64, records, and the gateway's answers.
#include <criterion/criterion.h>

#include "plugins/arbiter/etcd/etcd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER                                                                                     \
    "{\"header\":{\"cluster_id\":\"1\",\"member_id\":\"2\",\"revision\":\"3\",\"raft_term\":"      \
    "\"4\"}"
#define KEY "/c/main/g1"

static struct carrick_arbiter_record record_of(uint64_t mark)
{
    struct carrick_arbiter_record record = {.struct_size = sizeof record,
                                            .member_count = 2,
                                            .number = mark,
                                            .fork_sequence = UINT64_MAX - mark,
                                            .owner_incarnation = mark * 3};

    memset(record.generation, (int)mark, sizeof record.generation);
    record.parent[15] = 0xff;
    snprintf(record.owner, sizeof record.owner, "alpha");
    snprintf(record.members[0].node, sizeof record.members[0].node, "alpha");
    snprintf(record.members[1].node, sizeof record.members[1].node, "beta");
    record.members[1].incarnation = UINT64_MAX;
    return record;
}

Test(etcd, base64_gives_back_what_it_got)
{
    uint8_t bytes[64], back[64];
    char text[ETCD_BASE64_BYTES(64)];
    size_t length;

    for (size_t size = 0; size <= sizeof bytes; size++) {
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)(i * 37 + size * 11);
        etcd_base64_put(bytes, size, text);
        cr_assert_eq(strlen(text), (size + 2) / 3 * 4);
        cr_assert(etcd_base64_get(text, back, size, &length), "%s", text);
        cr_assert_eq(length, size);
        cr_assert_eq(memcmp(bytes, back, size), 0);
        cr_assert(size == 0 || !etcd_base64_get(text, back, size - 1, &length), "too long for it");
    }
    etcd_base64_put("any carnal pleas", 16, text);
    cr_assert_str_eq(text, "YW55IGNhcm5hbCBwbGVhcw==");
}

Test(etcd, what_is_no_base64_is_refused)
{
    static const char *const wrong[] = {
        "A",        "AA",    "AAA",  "AA=A", "=AAA", "A===",  "====",     "AA==AAAA",
        "AAA=AAAA", "AA\n=", "AA-_", "AB==", "AAB=", "AAAA=", "AAAAA===", "\xff\xff\xff\xff"};
    char back[16];
    size_t length;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        cr_assert(!etcd_base64_get(wrong[i], back, sizeof back, &length), "%s", wrong[i]);
}

Test(etcd, a_record_is_read_as_it_was_written)
{
    struct carrick_arbiter_record record, got;
    char text[ETCD_VALUE_BYTES], other[ETCD_VALUE_BYTES];
    const char *why;

    for (uint64_t mark = 1; mark < 250; mark += 31) {
        size_t length;

        record = record_of(mark);
        record.member_count = (uint32_t)(mark % 3);
        memset(record.members + record.member_count, 0,
               (CARRICK_ARBITER_MEMBERS_MAX - record.member_count) * sizeof record.members[0]);
        length = etcd_record_put("g1", &record, "alpha", mark, text);
        cr_assert_gt(length, 0);
        cr_assert(etcd_record_get(text, length, "g1", &got, &why), "%s", why);
        cr_assert_eq(memcmp(&record, &got, sizeof record), 0);
        cr_assert(!etcd_record_get(text, length, "g2", &got, &why));
        etcd_record_put("g1", &record, "alpha", mark + 1, other);
        cr_assert_str_neq(text, other, "two changes that want the same are told apart");
    }
}

Test(etcd, a_record_that_was_cut_is_none)
{
    struct carrick_arbiter_record record = record_of(9), got;
    char text[ETCD_VALUE_BYTES];
    const char *why;
    size_t length = etcd_record_put("g1", &record, "alpha", 1, text);

    for (size_t cut = 0; cut < length; cut++) {
        char *copy = malloc(cut + 1); // of its very size: a read beyond it is seen

        memcpy(copy, text, cut);
        cr_assert(!etcd_record_get(copy, cut, "g1", &got, &why), "cut at %zu", cut);
        free(copy);
    }
    for (size_t at = 0; at < length; at++) {
        char was = text[at];

        text[at] = '\0';
        cr_assert(!etcd_record_get(text, length, "g1", &got, &why), "NUL at %zu", at);
        text[at] = was;
    }
}

static void answer_put(char *text, size_t size, const char *key, const char *value)
{
    char key64[128], value64[256];

    etcd_base64_put(key, strlen(key), key64);
    etcd_base64_put(value, strlen(value), value64);
    snprintf(text, size,
             HEADER ",\"kvs\":[{\"key\":\"%s\",\"create_revision\":\"2\",\"mod_revision\":\"7\","
                    "\"version\":\"1\",\"value\":\"%s\"}],\"count\":\"1\"}",
             key64, value64);
}

Test(etcd, a_read_that_is_answered)
{
    struct etcd_found found;
    char text[1024];

    answer_put(text, sizeof text, KEY, "hello");
    cr_assert(etcd_reply_range(text, strlen(text), KEY, &found));
    cr_assert(found.there && found.mod_revision == 7 && found.length == 5);
    cr_assert_eq(memcmp(found.value, "hello", 5), 0);
    for (size_t cut = 0; cut < strlen(text); cut++) {
        char *copy = calloc(1, cut + 1);

        memcpy(copy, text, cut);
        cr_assert(!etcd_reply_range(copy, cut, KEY, &found), "cut at %zu", cut);
        free(copy);
    }
    answer_put(text, sizeof text, KEY "x", "hello");
    cr_assert(!etcd_reply_range(text, strlen(text), KEY, &found), "another key's");
}

// What is missing means "no record": so that must be etcd's own answer, and to this question.
Test(etcd, no_record_is_said_by_etcd_only)
{
    static const char good[] = HEADER "}";
    static const char *const wrong[] = {"{}",
                                        "{\"header\":{}}",
                                        "{\"header\":{\"revision\":\"3\"}}",
                                        HEADER ",\"succeeded\":true}",
                                        HEADER ",\"responses\":[]}",
                                        HEADER ",\"count\":\"1\"}",
                                        HEADER ",\"count\":1}",
                                        HEADER ",\"kvs\":[]}",
                                        HEADER ",\"kvs\":null}",
                                        HEADER ",\"error\":\"x\"}",
                                        HEADER "}}"};
    struct etcd_found found;

    cr_assert(etcd_reply_range(good, strlen(good), KEY, &found));
    cr_assert(!found.there);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        cr_assert(!etcd_reply_range(wrong[i], strlen(wrong[i]), KEY, &found), "%s", wrong[i]);
}

Test(etcd, a_change_that_is_answered)
{
    static const char won[] = HEADER ",\"succeeded\":true,\"responses\":[{\"response_put\":{}}]}";
    static const char lost[] =
        HEADER ",\"responses\":[{\"response_range\":{\"header\":{\"revision\":\"3\"}}}]}";
    static const char *const wrong[] = {
        HEADER "}",
        HEADER ",\"succeeded\":true}",
        HEADER ",\"succeeded\":1}",
        "{\"succeeded\":true,\"responses\":[{\"response_put\":{}}]}",
        HEADER ",\"succeeded\":true,\"responses\":[{\"response_range\":{}}]}",
        HEADER ",\"responses\":[{\"response_put\":{}}]}",
        HEADER ",\"responses\":[{\"response_range\":{}}]}",
        HEADER ",\"responses\":[7]}"};
    struct etcd_found found;
    bool succeeded;

    cr_assert(etcd_reply_change(won, strlen(won), KEY, &succeeded, &found) && succeeded);
    cr_assert(etcd_reply_change(lost, strlen(lost), KEY, &succeeded, &found) && !succeeded);
    cr_assert(!found.there);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        cr_assert(!etcd_reply_change(wrong[i], strlen(wrong[i]), KEY, &succeeded, &found), "%s",
                  wrong[i]);
}

static bool is_final(int64_t code, const char *message)
{
    struct etcd_refusal refusal = {.code = code};

    snprintf(refusal.message, sizeof refusal.message, "%s", message);
    return etcd_refusal_is_final(&refusal);
}

// "Refused" must be said only where nothing can come to stand any more.
Test(etcd, only_what_etcd_refuses_for_certain_is_final)
{
    cr_assert(is_final(7, "etcdserver: permission denied"));
    cr_assert(is_final(16, "etcdserver: invalid auth token"));
    cr_assert(is_final(3, "etcdserver: user name is empty"));
    cr_assert(is_final(8, "etcdserver: mvcc: database space exceeded"));
    cr_assert(!is_final(8, "grpc: received message larger than max"));
    cr_assert(!is_final(14, "etcdserver: request timed out"));
    cr_assert(!is_final(14, "etcdserver: leader changed"));
    cr_assert(!is_final(4, "context deadline exceeded"));
    cr_assert(!is_final(-1, "not found"));
}
