// SPDX-License-Identifier: Apache-2.0
#include "core/handshake.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "common/bytes.h"

// Bytes of a REQUEST: magic 4, version 2, kind 1, suite 1, then for CONTROL the nonce and the cluster's tag, for LANE
// session 8, connection 8, proof 32. The lane's index lies in the suite byte's place: a lane has its conn's suite.
enum {
    AT_MAGIC = 0,
    AT_VERSION = 4,
    AT_KIND = 6,
    AT_SUITE = 7,
    AT_NONCE = 8,
    AT_TAG = 40,
    AT_LANE_SESSION = 8,
    AT_LANE_CONNECTION = 16,
    AT_LANE_PROOF = 24,
    // REPLY
    AT_REPLY_NONCE = 8,
    AT_REPLY_PROOF = 40,
    // lane reply
    AT_LANE_REPLY_PROOF = 8,
};

static void hmac(const uint8_t *key, size_t key_bytes, const char *label, const void *const *parts,
                 const size_t *lengths, size_t count, uint8_t out[32])
{
    // Labels and parts have fixed lengths for each label, so their concatenation is unambiguous.
    uint8_t text[1024];
    size_t used = strlen(label) + 1;
    unsigned int out_bytes = 32;

    memcpy(text, label, used);
    for (size_t i = 0; i < count; i++) {
        memcpy(text + used, parts[i], lengths[i]);
        used += lengths[i];
    }
    HMAC(EVP_sha256(), key, (int)key_bytes, text, used, out, &out_bytes);
}

static void key_hmac1(const struct cluster_key *key, const char *label, const void *part,
                      size_t length, uint8_t out[32])
{
    hmac(key->bytes, sizeof(key->bytes), label, &part, &length, 1, out);
}

int cluster_key_init(struct cluster_key *key, const void *bytes, size_t length, const char *cluster)
{
    static const char label[] = "carrick cluster key";
    uint8_t digest[32];
    unsigned int out_bytes = sizeof(key->bytes);

    if (HMAC(EVP_sha256(), bytes, (int)length, (const unsigned char *)label, sizeof(label),
             key->bytes, &out_bytes) == NULL)
        return CARRICK_ERR_SYSTEM;
    // The tag is no secret and proves nothing; it only makes a wrong cluster a clear refusal.
    if (EVP_Digest(cluster, strlen(cluster), digest, NULL, EVP_sha256(), NULL) != 1)
        return CARRICK_ERR_SYSTEM;
    memcpy(key->cluster_tag, digest, sizeof(key->cluster_tag));
    return CARRICK_OK;
}

static void header_put(uint8_t *out, uint16_t version, uint8_t kind, uint8_t suite)
{
    put_u32(out + AT_MAGIC, HANDSHAKE_MAGIC);
    put_u16(out + AT_VERSION, version);
    out[AT_KIND] = kind;
    out[AT_SUITE] = suite;
}

void handshake_request_make(struct handshake *handshake, const struct cluster_key *key,
                            const uint8_t *nonce)
{
    memset(handshake, 0, sizeof(*handshake));
    header_put(handshake->request, PROTOCOL_VERSION_MAX, HANDSHAKE_CONTROL, SUITE_PLAIN);
    memcpy(handshake->request + AT_NONCE, nonce, HANDSHAKE_NONCE_BYTES);
    memcpy(handshake->request + AT_TAG, key->cluster_tag, sizeof(key->cluster_tag));
}

uint32_t handshake_request_check(const void *data, size_t length, const struct cluster_key *key,
                                 enum handshake_kind *kind)
{
    const uint8_t *bytes = data;

    if (length < HANDSHAKE_REQUEST_BYTES || get_u32(bytes + AT_MAGIC) != HANDSHAKE_MAGIC)
        return CARRICK_REASON_PROTOCOL;
    if (get_u16(bytes + AT_VERSION) < PROTOCOL_VERSION_MIN)
        return CARRICK_REASON_VERSION;
    if (bytes[AT_KIND] == HANDSHAKE_LANE) {
        *kind = HANDSHAKE_LANE;
        return CARRICK_REASON_NONE;
    }
    if (bytes[AT_KIND] != HANDSHAKE_CONTROL)
        return CARRICK_REASON_PROTOCOL;
    *kind = HANDSHAKE_CONTROL;
    if (memcmp(bytes + AT_TAG, key->cluster_tag, sizeof(key->cluster_tag)) != 0)
        return CARRICK_REASON_CLUSTER;
    if (bytes[AT_SUITE] != SUITE_PLAIN)
        return CARRICK_REASON_CONFIGURATION;
    return CARRICK_REASON_NONE;
}

static void reply_proof(const struct handshake *handshake, const struct cluster_key *key,
                        uint8_t out[32])
{
    const void *parts[] = {handshake->request, handshake->reply};
    const size_t lengths[] = {HANDSHAKE_REQUEST_BYTES, AT_REPLY_PROOF};

    hmac(key->bytes, sizeof(key->bytes), "carrick reply", parts, lengths, 2, out);
}

void handshake_reply_make(struct handshake *handshake, const struct cluster_key *key,
                          const void *request, const uint8_t *nonce)
{
    uint16_t theirs;

    memset(handshake, 0, sizeof(*handshake));
    memcpy(handshake->request, request, HANDSHAKE_REQUEST_BYTES);
    theirs = get_u16(handshake->request + AT_VERSION);
    handshake->version = theirs < PROTOCOL_VERSION_MAX ? theirs : PROTOCOL_VERSION_MAX;
    header_put(handshake->reply, handshake->version, HANDSHAKE_CONTROL, SUITE_PLAIN);
    memcpy(handshake->reply + AT_REPLY_NONCE, nonce, HANDSHAKE_NONCE_BYTES);
    reply_proof(handshake, key, handshake->reply + AT_REPLY_PROOF);
    handshake->have_reply = true;
}

uint32_t handshake_reply_check(struct handshake *handshake, const struct cluster_key *key,
                               const void *data, size_t length)
{
    const uint8_t *bytes = data;
    uint8_t proof[32];
    uint16_t version;

    if (length < HANDSHAKE_REPLY_BYTES || get_u32(bytes + AT_MAGIC) != HANDSHAKE_MAGIC ||
        bytes[AT_KIND] != HANDSHAKE_CONTROL)
        return CARRICK_REASON_PROTOCOL;
    version = get_u16(bytes + AT_VERSION);
    if (version < PROTOCOL_VERSION_MIN || version > PROTOCOL_VERSION_MAX)
        return CARRICK_REASON_VERSION;
    if (bytes[AT_SUITE] != SUITE_PLAIN)
        return CARRICK_REASON_CONFIGURATION;
    memcpy(handshake->reply, bytes, HANDSHAKE_REPLY_BYTES);
    reply_proof(handshake, key, proof);
    if (CRYPTO_memcmp(proof, handshake->reply + AT_REPLY_PROOF, sizeof(proof)) != 0)
        return CARRICK_REASON_AUTHENTICATION;
    handshake->version = version;
    handshake->have_reply = true;
    return CARRICK_REASON_NONE;
}

// ---- identities

enum {
    AT_ID_NODE = 0,
    AT_ID_MANAGER = 32,
    AT_ID_LINK = 64,
    AT_ID_INCARNATION = 96,
    AT_ID_GENERATION = 104,
    AT_ID_LANES = 108,
    AT_ID_STATUS = 112, // base 8, key 4, reserved 4
    AT_ID_INBOX = 128,
};

static void key_put(uint8_t *to, const struct carrick_remote_key *key)
{
    put_u64(to, key->base);
    put_u32(to + 8, key->key);
    put_u32(to + 12, 0);
}

static void key_get(const uint8_t *from, struct carrick_remote_key *key)
{
    *key = (struct carrick_remote_key){.base = get_u64(from), .key = get_u32(from + 8)};
}

static void name_put(uint8_t *to, const char *name)
{
    size_t length = strnlen(name, CARRICK_NAME_MAX);
    memcpy(to, name, length);
    memset(to + length, 0, CARRICK_NAME_MAX - length);
}

static void name_get(const uint8_t *from, char *name)
{
    memcpy(name, from, CARRICK_NAME_MAX);
    name[CARRICK_NAME_MAX] = '\0';
}

static void identity_put(uint8_t out[IDENTITY_BYTES], const struct peer_identity *identity)
{
    memset(out, 0, IDENTITY_BYTES);
    name_put(out + AT_ID_NODE, identity->node);
    name_put(out + AT_ID_MANAGER, identity->manager);
    name_put(out + AT_ID_LINK, identity->link);
    put_u64(out + AT_ID_INCARNATION, identity->incarnation);
    put_u32(out + AT_ID_GENERATION, identity->generation);
    put_u32(out + AT_ID_LANES, identity->lanes);
    key_put(out + AT_ID_STATUS, &identity->status);
    key_put(out + AT_ID_INBOX, &identity->inbox);
}

static void identity_get(const uint8_t in[IDENTITY_BYTES], struct peer_identity *identity)
{
    name_get(in + AT_ID_NODE, identity->node);
    name_get(in + AT_ID_MANAGER, identity->manager);
    name_get(in + AT_ID_LINK, identity->link);
    identity->incarnation = get_u64(in + AT_ID_INCARNATION);
    identity->generation = get_u32(in + AT_ID_GENERATION);
    identity->lanes = get_u32(in + AT_ID_LANES);
    key_get(in + AT_ID_STATUS, &identity->status);
    key_get(in + AT_ID_INBOX, &identity->inbox);
}

static void proof_sign(const struct handshake *handshake, const struct cluster_key *key,
                       const uint8_t *identity, uint8_t out[32])
{
    const void *parts[] = {handshake->request, handshake->reply, identity};
    const size_t lengths[] = {HANDSHAKE_REQUEST_BYTES, HANDSHAKE_REPLY_BYTES, IDENTITY_BYTES};

    hmac(key->bytes, sizeof(key->bytes), "carrick proof", parts, lengths, 3, out);
}

static void welcome_sign(const struct handshake *handshake, const struct cluster_key *key,
                         const uint8_t *identity, uint8_t out[32])
{
    const void *parts[] = {handshake->request, handshake->reply, handshake->proof, identity};
    const size_t lengths[] = {HANDSHAKE_REQUEST_BYTES, HANDSHAKE_REPLY_BYTES, PROOF_BYTES,
                              IDENTITY_BYTES};

    hmac(key->bytes, sizeof(key->bytes), "carrick welcome", parts, lengths, 4, out);
}

void handshake_proof_make(struct handshake *handshake, const struct cluster_key *key,
                          const struct peer_identity *identity)
{
    identity_put(handshake->proof, identity);
    proof_sign(handshake, key, handshake->proof, handshake->proof + IDENTITY_BYTES);
    handshake->have_proof = true;
}

uint32_t handshake_proof_check(struct handshake *handshake, const struct cluster_key *key,
                               const void *data, size_t length, struct peer_identity *identity)
{
    uint8_t proof[32];

    if (length != PROOF_BYTES || handshake->have_proof)
        return CARRICK_REASON_PROTOCOL;
    memcpy(handshake->proof, data, PROOF_BYTES);
    proof_sign(handshake, key, handshake->proof, proof);
    if (CRYPTO_memcmp(proof, handshake->proof + IDENTITY_BYTES, sizeof(proof)) != 0)
        return CARRICK_REASON_AUTHENTICATION;
    identity_get(handshake->proof, identity);
    handshake->have_proof = true;
    return CARRICK_REASON_NONE;
}

void handshake_welcome_make(const struct handshake *handshake, const struct cluster_key *key,
                            const struct peer_identity *identity, uint8_t *out)
{
    identity_put(out, identity);
    welcome_sign(handshake, key, out, out + IDENTITY_BYTES);
}

uint32_t handshake_welcome_check(const struct handshake *handshake, const struct cluster_key *key,
                                 const void *data, size_t length, struct peer_identity *identity)
{
    const uint8_t *bytes = data;
    uint8_t proof[32];

    if (length != PROOF_BYTES)
        return CARRICK_REASON_PROTOCOL;
    welcome_sign(handshake, key, bytes, proof);
    if (CRYPTO_memcmp(proof, bytes + IDENTITY_BYTES, sizeof(proof)) != 0)
        return CARRICK_REASON_AUTHENTICATION;
    identity_get(bytes, identity);
    return CARRICK_REASON_NONE;
}

uint64_t handshake_connection_id(const struct handshake *handshake, const struct cluster_key *key)
{
    const void *parts[] = {handshake->request, handshake->reply};
    const size_t lengths[] = {HANDSHAKE_REQUEST_BYTES, HANDSHAKE_REPLY_BYTES};
    uint8_t digest[32];

    hmac(key->bytes, sizeof(key->bytes), "carrick connection", parts, lengths, 2, digest);
    return get_u64(digest);
}

uint64_t handshake_session_id(const struct cluster_key *key, const uint64_t incarnation[2],
                              const uint32_t generation[2])
{
    uint8_t text[24], digest[32];

    for (size_t i = 0; i < 2; i++) {
        put_u64(text + i * 12, incarnation[i]);
        put_u32(text + i * 12 + 8, generation[i]);
    }
    key_hmac1(key, "carrick session", text, sizeof(text), digest);
    return get_u64(digest);
}

// ---- lanes

// Over the beginning of the request or reply itself, by a key that only this session and connection have.
static void lane_sign(const struct cluster_key *key, const char *label,
                      const struct lane_request *lane, const uint8_t *bytes, size_t length,
                      uint8_t out[32])
{
    const void *part = bytes;
    uint8_t text[16], lane_key[32];

    put_u64(text, lane->session);
    put_u64(text + 8, lane->connection);
    key_hmac1(key, "carrick lane key", text, sizeof(text), lane_key);
    hmac(lane_key, sizeof(lane_key), label, &part, &length, 1, out);
}

void lane_request_make(const struct cluster_key *key, const struct lane_request *lane,
                       uint8_t out[HANDSHAKE_REQUEST_BYTES])
{
    memset(out, 0, HANDSHAKE_REQUEST_BYTES);
    header_put(out, PROTOCOL_VERSION_MAX, HANDSHAKE_LANE, lane->index);
    put_u64(out + AT_LANE_SESSION, lane->session);
    put_u64(out + AT_LANE_CONNECTION, lane->connection);
    lane_sign(key, "carrick lane", lane, out, AT_LANE_PROOF, out + AT_LANE_PROOF);
}

void lane_request_parse(const void *data, struct lane_request *lane)
{
    const uint8_t *bytes = data;

    lane->index = bytes[AT_SUITE];
    lane->session = get_u64(bytes + AT_LANE_SESSION);
    lane->connection = get_u64(bytes + AT_LANE_CONNECTION);
}

bool lane_request_prove(const struct cluster_key *key, const void *data)
{
    const uint8_t *bytes = data;
    struct lane_request lane;
    uint8_t proof[32];

    lane_request_parse(data, &lane);
    lane_sign(key, "carrick lane", &lane, bytes, AT_LANE_PROOF, proof);
    return CRYPTO_memcmp(proof, bytes + AT_LANE_PROOF, sizeof(proof)) == 0;
}

void lane_reply_make(const struct cluster_key *key, const struct lane_request *lane,
                     uint8_t out[LANE_REPLY_BYTES])
{
    memset(out, 0, LANE_REPLY_BYTES);
    header_put(out, PROTOCOL_VERSION_MAX, HANDSHAKE_LANE, lane->index);
    lane_sign(key, "carrick lane reply", lane, out, AT_LANE_REPLY_PROOF, out + AT_LANE_REPLY_PROOF);
}

bool lane_reply_check(const struct cluster_key *key, const struct lane_request *lane,
                      const void *data, size_t length)
{
    const uint8_t *bytes = data;
    uint8_t proof[32];

    if (length < LANE_REPLY_BYTES || bytes[AT_KIND] != HANDSHAKE_LANE ||
        bytes[AT_SUITE] != lane->index)
        return false;
    lane_sign(key, "carrick lane reply", lane, bytes, AT_LANE_REPLY_PROOF, proof);
    return CRYPTO_memcmp(proof, bytes + AT_LANE_REPLY_PROOF, sizeof(proof)) == 0;
}

void reject_make(uint32_t reason, uint8_t out[REJECT_BYTES])
{
    put_u32(out, HANDSHAKE_MAGIC);
    put_u32(out + 4, reason);
}

uint32_t reject_parse(const void *data, size_t length)
{
    const uint8_t *bytes = data;
    uint32_t reason;

    if (length < REJECT_BYTES || get_u32(bytes) != HANDSHAKE_MAGIC)
        return CARRICK_REASON_NONE;
    reason = get_u32(bytes + 4);
    return reason < CARRICK_REASON_COUNT ? reason : CARRICK_REASON_PROTOCOL;
}
