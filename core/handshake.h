// SPDX-License-Identifier: Apache-2.0
//
// Who we are comes first: the four messages that prove, both ways, that the other end of a connection holds the cluster
// key, before any memory can be reached over it. Pure functions over bytes; conn_prove.c sends and receives them.
//
//     connecting side                        answering side
//     REQUEST  nonce, tags            ─────▶                       private data of the connection request
//                                     ◀─────  REPLY  nonce, proof  private data of the acceptance
//     PROOF    identity, proof        ─────▶                       first send
//                                     ◀─────  WELCOME identity, proof
//
// Every proof is an HMAC-SHA256 (RFC 2104) over all that went before, with a label that tells the four apart, so that
// no proof can be replayed in another connection, direction or place. Data lanes come later, with a request that
// carries session, connection and a proof by a key derived from both.
//
// The request's `suite` byte is where encryption will be negotiated; today only SUITE_PLAIN is known.
#ifndef CORE_HANDSHAKE_H
#define CORE_HANDSHAKE_H

#include <carrick/transport.h>

#define PROTOCOL_VERSION_MIN 1u
#define PROTOCOL_VERSION_MAX 1u

#define HANDSHAKE_MAGIC 0x48525243u // "CRRH"
#define HANDSHAKE_REQUEST_BYTES 56u // all that RoCE's connection request gives
#define HANDSHAKE_REPLY_BYTES 72u
#define HANDSHAKE_NONCE_BYTES 32u
#define HANDSHAKE_PROOF_BYTES 32u
#define IDENTITY_BYTES 160u
#define PROOF_BYTES (IDENTITY_BYTES + HANDSHAKE_PROOF_BYTES)
#define LANE_REPLY_BYTES 40u
#define REJECT_BYTES 8u

enum handshake_suite {
    SUITE_PLAIN = 0,
};

enum handshake_kind {
    HANDSHAKE_CONTROL = 1,
    HANDSHAKE_LANE = 2,
};

struct cluster_key {
    uint8_t bytes[32];      // HMAC of the key file's content, so that any length serves
    uint8_t cluster_tag[8]; // tells clusters apart in the clear
};

int cluster_key_init(struct cluster_key *key, const void *bytes, size_t length,
                     const char *cluster);

// What a node says of itself, proven by PROOF or WELCOME.
struct peer_identity {
    char node[CARRICK_NAME_MAX + 1];
    char manager[CARRICK_NAME_MAX + 1];
    char link[CARRICK_NAME_MAX + 1];
    uint64_t incarnation;
    uint32_t generation;
    uint32_t lanes;                   // that it would have; the smaller number of both is made
    struct carrick_remote_key status; // of its status line on this link
    struct carrick_remote_key inbox;  // of where its partner writes tables
};

// What has been said on one connection so far.
struct handshake {
    uint16_t version;
    uint8_t request[HANDSHAKE_REQUEST_BYTES];
    uint8_t reply[HANDSHAKE_REPLY_BYTES];
    uint8_t proof[PROOF_BYTES];
    bool have_reply, have_proof;
};

// REQUEST. nonce is HANDSHAKE_NONCE_BYTES of randomness.
void handshake_request_make(struct handshake *handshake, const struct cluster_key *key,
                            const uint8_t *nonce);
// What kind of request this is, and whether its form is right. Returns an enum carrick_reason; NONE: it may go on.
uint32_t handshake_request_check(const void *data, size_t length, const struct cluster_key *key,
                                 enum handshake_kind *kind);
// The answering side takes a checked REQUEST and makes its REPLY.
void handshake_reply_make(struct handshake *handshake, const struct cluster_key *key,
                          const void *request, const uint8_t *nonce);
uint32_t handshake_reply_check(struct handshake *handshake, const struct cluster_key *key,
                               const void *data, size_t length);
void handshake_proof_make(struct handshake *handshake, const struct cluster_key *key,
                          const struct peer_identity *identity);
uint32_t handshake_proof_check(struct handshake *handshake, const struct cluster_key *key,
                               const void *data, size_t length, struct peer_identity *identity);
// WELCOME goes into out, PROOF_BYTES.
void handshake_welcome_make(const struct handshake *handshake, const struct cluster_key *key,
                            const struct peer_identity *identity, uint8_t *out);
uint32_t handshake_welcome_check(const struct handshake *handshake, const struct cluster_key *key,
                                 const void *data, size_t length, struct peer_identity *identity);

// The name of the connection, known to both sides after REPLY.
uint64_t handshake_connection_id(const struct handshake *handshake, const struct cluster_key *key);

// The session's identity: the same on both nodes, whoever connected. [0] is the node that stands first in the
// configuration.
uint64_t handshake_session_id(const struct cluster_key *key, const uint64_t incarnation[2],
                              const uint32_t generation[2]);

struct lane_request {
    uint8_t index;
    uint64_t session;
    uint64_t connection;
};

void lane_request_make(const struct cluster_key *key, const struct lane_request *lane,
                       uint8_t out[HANDSHAKE_REQUEST_BYTES]);
// Decodes a request of kind HANDSHAKE_LANE; its proof is checked by lane_request_prove, once the receiver knows
// that session and connection are those that it has.
void lane_request_parse(const void *data, struct lane_request *lane);
bool lane_request_prove(const struct cluster_key *key, const void *data);
void lane_reply_make(const struct cluster_key *key, const struct lane_request *lane,
                     uint8_t out[LANE_REPLY_BYTES]);
bool lane_reply_check(const struct cluster_key *key, const struct lane_request *lane,
                      const void *data, size_t length);

// The private data of a refusal.
void reject_make(uint32_t reason, uint8_t out[REJECT_BYTES]);
uint32_t reject_parse(const void *data, size_t length); // REASON_NONE when it is none of ours

#endif
