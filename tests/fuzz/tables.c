// SPDX-License-Identifier: Apache-2.0
//
// Everything that the core takes from a partner as bytes: the tables in the inbox, messages, the headers of sends, the
// status line, and the handshake. The first byte chooses; the rest is the input. What is accepted must encode to the
// same bytes again where the encoding is unique, and must keep what the header promises.
#include <stdlib.h>
#include <string.h>

#include "core/handshake.h"
#include "core/status_line.h"
#include "core/tables.h"
#include "core/terms.h"

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void fuzz_client_info(const uint8_t *data, size_t length)
{
    static uint8_t again[CLIENT_INFO_BYTES_MAX];
    struct terms_difference difference;
    struct client_info info;
    uint32_t regions_of_clients = 0;

    if (client_info_get(data, length, &info) != CARRICK_OK)
        return;
    for (uint32_t i = 0; i < info.client_count; i++) {
        const struct client_need *client = &info.clients[i];

        must(client->name[0] != '\0' && client->vis >= 1);
        must(strnlen(client->name, sizeof(client->name)) < sizeof(client->name));
        must(i == 0 || strcmp(client[-1].name, client->name) < 0);
        must(client->region_first == regions_of_clients);
        must(terms_are_sound(client->terms, strlen(client->terms)));
        terms_differ(client->terms, info.clients[0].terms, &difference);
        regions_of_clients += client->region_count;
    }
    must(regions_of_clients == info.region_count);
    if (length <= sizeof(again))
        must(client_info_put(&info, again, sizeof(again)) == length);
    client_info_free(&info);
}

static void fuzz_message(const uint8_t *data, size_t length)
{
    uint8_t again[MESSAGE_BYTES_MAX];
    struct message message;

    if (message_get(data, length, &message) != CARRICK_OK)
        return;
    must(message.type > 0 && message.type < MESSAGE_TYPE_COUNT);
    if (message.type == MESSAGE_KEYS)
        must(message.keys.count <= MESSAGE_KEYS_MAX &&
             message.keys.first + message.keys.count <= message.keys.total);
    if (message.type == MESSAGE_FENCED)
        must(message.fenced.lanes <= MESSAGE_LANES_MAX);
    must(message_put(&message, again) <= sizeof(again));
}

static void fuzz_small_tables(const uint8_t *data, size_t length)
{
    uint8_t again[PEER_INFO_BYTES];
    struct peer_info peer;
    struct ready_info ready;
    struct send_header header;

    if (peer_info_get(data, length, &peer) == CARRICK_OK) {
        must(peer.version_min <= peer.version_max);
        peer_info_put(&peer, again);
    }
    if (ready_info_get(data, length, &ready) == CARRICK_OK)
        ready_info_put(&ready, again);
    send_header_get(data, length, &header);
}

static void fuzz_status_line(const uint8_t *data, size_t length)
{
    _Alignas(8) uint8_t lines[STATUS_LINES_BYTES] = {0};
    struct status_line line;
    uint32_t sequence;

    memcpy(lines, data, length < sizeof(lines) ? length : sizeof(lines));
    // Whatever a partner's memory holds, the next line that is published is the one that is read.
    if (status_line_read(lines, &line, &sequence) != CARRICK_OK)
        sequence = 0;
    line = (struct status_line){.incarnation = 7};
    status_line_publish(lines, sequence + 1, &line);
    must(status_line_read(lines, &line, &sequence) == CARRICK_OK && line.incarnation == 7);
}

static void fuzz_handshake(const uint8_t *data, size_t length)
{
    static const uint8_t nonce[HANDSHAKE_NONCE_BYTES] = {1, 2, 3};
    struct cluster_key key;
    struct handshake handshake;
    struct peer_identity identity;
    struct lane_request lane;
    enum handshake_kind kind;

    must(cluster_key_init(&key, "secret", 6, "fuzz") == CARRICK_OK);
    if (handshake_request_check(data, length, &key, &kind) == CARRICK_REASON_NONE) {
        if (kind == HANDSHAKE_LANE) {
            lane_request_parse(data, &lane);
            must(!lane_request_prove(&key, data)); // nobody guesses a proof
        } else {
            handshake_reply_make(&handshake, &key, data, nonce);
        }
    }
    handshake_request_make(&handshake, &key, nonce);
    must(handshake_reply_check(&handshake, &key, data, length) != CARRICK_REASON_NONE);
    must(handshake_proof_check(&handshake, &key, data, length, &identity) != CARRICK_REASON_NONE);
    must(handshake_welcome_check(&handshake, &key, data, length, &identity) != CARRICK_REASON_NONE);
    reject_parse(data, length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    static void (*const targets[])(const uint8_t *, size_t) = {
        fuzz_client_info, fuzz_message, fuzz_small_tables, fuzz_status_line, fuzz_handshake,
    };

    if (length > 0)
        targets[data[0] % (sizeof(targets) / sizeof(targets[0]))](data + 1, length - 1);
    return 0;
}
