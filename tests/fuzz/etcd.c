// SPDX-License-Identifier: Apache-2.0
// needs plugin: etcd
//
// Everything that the arbiter etcd takes from the gateway as bytes. The first byte chooses; the rest is the input.
#include "plugins/arbiter/etcd/etcd.h"

#include <stdlib.h>
#include <string.h>

static void must(bool holds)
{
    if (!holds)
        abort();
}

static bool is_text(const char *text, size_t size)
{
    return strnlen(text, size) < size;
}

static void fuzz_record(const char *text, size_t length)
{
    struct carrick_arbiter_record record, again;
    char whole[ETCD_VALUE_BYTES];
    const char *why;

    if (!etcd_record_get(text, length, "g1", &record, &why))
        return;
    must(record.number > 0 && is_text(record.owner, sizeof record.owner));
    must(record.member_count <= CARRICK_ARBITER_MEMBERS_MAX);
    length = etcd_record_put("g1", &record, "alpha", 1, whole);
    must(length > 0 && etcd_record_get(whole, length, "g1", &again, &why));
    must(memcmp(&record, &again, sizeof record) == 0);
}

static void fuzz_replies(const char *text, size_t length)
{
    static const char key[] = "/c/main/g1";
    struct etcd_found found = {.there = false};
    struct etcd_refusal refusal;
    char token[ETCD_TOKEN_BYTES];
    bool succeeded = false;

    if (etcd_reply_range(text, length, key, &found))
        must(found.length <= sizeof found.value);
    if (etcd_reply_change(text, length, key, &succeeded, &found) && !succeeded)
        must(found.length <= sizeof found.value);
    if (etcd_reply_token(text, length, token))
        must(is_text(token, sizeof token) && token[0] != '\0');
    etcd_reply_refusal(text, length, &refusal);
    must(is_text(refusal.message, sizeof refusal.message));
}

static void fuzz_base64(const char *text)
{
    char bytes[256], again[ETCD_BASE64_BYTES(256)];
    size_t length;

    if (!etcd_base64_get(text, bytes, sizeof bytes, &length))
        return;
    etcd_base64_put(bytes, length, again);
    must(strcmp(text, again) == 0);
}

static void fuzz_section(const char *text)
{
    struct etcd_settings settings;
    struct carrick_error error = {.struct_size = sizeof error};

    if (etcd_settings_read(text, &settings, &error) == CARRICK_OK)
        must(settings.endpoint_count > 0 && settings.prefix[0] == '/' && settings.probe_s > 0);
    else
        must(error.text[0] != '\0' && is_text(error.text, sizeof error.text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    // As http.c hands it over: with a NUL behind it.
    char *text = length > 0 ? malloc(length) : NULL;

    if (text == NULL)
        return 0;
    memcpy(text, data + 1, length - 1);
    text[length - 1] = '\0';
    switch (data[0] % 4) {
    case 0:
        fuzz_record(text, length - 1);
        break;
    case 1:
        fuzz_replies(text, length - 1);
        break;
    case 2:
        fuzz_base64(text);
        break;
    default:
        fuzz_section(text);
        break;
    }
    free(text);
    return 0;
}
