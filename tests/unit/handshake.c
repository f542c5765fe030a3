// SPDX-License-Identifier: Apache-2.0
//
// Who we are: what was said by someone without the key, in another connection, from the other side, for another cluster, or
// changed by a single bit on the way, is refused, with a reason.
#include "core/handshake.h"

#include <criterion/criterion.h>
#include <string.h>

#include "common/bytes.h"

static struct cluster_key key, wrong_key, other_cluster;
static uint8_t nonces;

static void setup(void)
{
    cr_assert_eq(cluster_key_init(&key, "secret", 6, "pair"), CARRICK_OK);
    cr_assert_eq(cluster_key_init(&wrong_key, "secreT", 6, "pair"), CARRICK_OK);
    cr_assert_eq(cluster_key_init(&other_cluster, "secret", 6, "other"), CARRICK_OK);
}

TestSuite(handshake, .init = setup);

static const uint8_t *nonce_next(void)
{
    static uint8_t nonce[HANDSHAKE_NONCE_BYTES];

    memset(nonce, ++nonces, sizeof(nonce));
    return nonce;
}

static struct peer_identity identity_of(char node)
{
    struct peer_identity identity = {
        .manager = "main",
        .link = "link0",
        .incarnation = 0x1111111111111111ull * (uint64_t)(node - 'a' + 1),
        .generation = 7,
        .lanes = 2,
        .status = {.base = 0x123456789abcdefull, .key = 42},
        .inbox = {.base = 0xfedcba987654321ull, .key = 43},
    };

    identity.node[0] = node;
    return identity;
}

static void identity_check(const struct peer_identity *got, char node)
{
    struct peer_identity want = identity_of(node);

    cr_assert_str_eq(got->node, want.node);
    cr_assert_str_eq(got->manager, want.manager);
    cr_assert_str_eq(got->link, want.link);
    cr_assert_eq(got->incarnation, want.incarnation);
    cr_assert_eq(got->generation, want.generation);
    cr_assert_eq(got->lanes, want.lanes);
    cr_assert_eq(got->status.base, want.status.base);
    cr_assert_eq(got->status.key, want.status.key);
    cr_assert_eq(got->inbox.base, want.inbox.base);
    cr_assert_eq(got->inbox.key, want.inbox.key);
}

// Both sides of one connection, as far as they got.
struct talk {
    struct handshake a, b; // a connects
    struct peer_identity seen_by_b, seen_by_a;
    uint8_t welcome[PROOF_BYTES];
};

static void talk_reply(struct talk *talk)
{
    enum handshake_kind kind;

    handshake_request_make(&talk->a, &key, nonce_next());
    cr_assert_eq(handshake_request_check(talk->a.request, HANDSHAKE_REQUEST_BYTES, &key, &kind),
                 CARRICK_REASON_NONE);
    cr_assert_eq(kind, HANDSHAKE_CONTROL);
    handshake_reply_make(&talk->b, &key, talk->a.request, nonce_next());
}

static void talk_proof(struct talk *talk)
{
    struct peer_identity identity = identity_of('a');

    talk_reply(talk);
    cr_assert_eq(handshake_reply_check(&talk->a, &key, talk->b.reply, HANDSHAKE_REPLY_BYTES),
                 CARRICK_REASON_NONE);
    handshake_proof_make(&talk->a, &key, &identity);
}

static void talk_welcome(struct talk *talk)
{
    struct peer_identity identity = identity_of('b');

    talk_proof(talk);
    cr_assert_eq(
        handshake_proof_check(&talk->b, &key, talk->a.proof, PROOF_BYTES, &talk->seen_by_b),
        CARRICK_REASON_NONE);
    handshake_welcome_make(&talk->b, &key, &identity, talk->welcome);
}

static uint32_t welcome_check(struct talk *talk, const void *bytes, size_t length)
{
    return handshake_welcome_check(&talk->a, &key, bytes, length, &talk->seen_by_a);
}

Test(handshake, two_that_hold_the_key_find_each_other)
{
    struct talk talk;

    talk_welcome(&talk);
    cr_assert_eq(welcome_check(&talk, talk.welcome, PROOF_BYTES), CARRICK_REASON_NONE);
    identity_check(&talk.seen_by_b, 'a');
    identity_check(&talk.seen_by_a, 'b');
    cr_assert_eq(talk.a.version, PROTOCOL_VERSION_MAX);
    cr_assert_eq(talk.b.version, PROTOCOL_VERSION_MAX);
    cr_assert_eq(handshake_connection_id(&talk.a, &key), handshake_connection_id(&talk.b, &key));
}

// ---- every byte

// A changed request is refused at once, or the connecting side sees that the reply is to another one.
Test(handshake, every_byte_of_the_request_counts)
{
    for (unsigned i = 0; i < HANDSHAKE_REQUEST_BYTES * 8; i++) {
        struct talk talk;
        uint8_t bytes[HANDSHAKE_REQUEST_BYTES];
        enum handshake_kind kind = HANDSHAKE_CONTROL;

        handshake_request_make(&talk.a, &key, nonce_next());
        memcpy(bytes, talk.a.request, sizeof(bytes));
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
        if (handshake_request_check(bytes, sizeof(bytes), &key, &kind) != CARRICK_REASON_NONE)
            continue;
        cr_assert_eq(kind, HANDSHAKE_CONTROL);
        handshake_reply_make(&talk.b, &key, bytes, nonce_next());
        cr_assert_eq(handshake_reply_check(&talk.a, &key, talk.b.reply, HANDSHAKE_REPLY_BYTES),
                     CARRICK_REASON_AUTHENTICATION, "bit %u of the request can be changed", i);
    }
}

Test(handshake, every_byte_of_the_reply_counts)
{
    for (unsigned i = 0; i < HANDSHAKE_REPLY_BYTES * 8; i++) {
        struct talk talk;

        talk_reply(&talk);
        talk.b.reply[i / 8] ^= (uint8_t)(1u << i % 8);
        cr_assert_neq(handshake_reply_check(&talk.a, &key, talk.b.reply, HANDSHAKE_REPLY_BYTES),
                      CARRICK_REASON_NONE, "bit %u of the reply can be changed", i);
        cr_assert(!talk.a.have_reply);
    }
}

Test(handshake, every_byte_of_the_proof_counts)
{
    for (unsigned i = 0; i < PROOF_BYTES * 8; i++) {
        struct talk talk;

        talk_proof(&talk);
        talk.a.proof[i / 8] ^= (uint8_t)(1u << i % 8);
        cr_assert_eq(
            handshake_proof_check(&talk.b, &key, talk.a.proof, PROOF_BYTES, &talk.seen_by_b),
            CARRICK_REASON_AUTHENTICATION, "bit %u of the proof can be changed", i);
        cr_assert(!talk.b.have_proof);
    }
}

Test(handshake, every_byte_of_the_welcome_counts)
{
    struct talk talk;

    talk_welcome(&talk);
    for (unsigned i = 0; i < PROOF_BYTES * 8; i++) {
        talk.welcome[i / 8] ^= (uint8_t)(1u << i % 8);
        cr_assert_eq(welcome_check(&talk, talk.welcome, PROOF_BYTES), CARRICK_REASON_AUTHENTICATION,
                     "bit %u of the welcome can be changed", i);
        talk.welcome[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    cr_assert_eq(welcome_check(&talk, talk.welcome, PROOF_BYTES), CARRICK_REASON_NONE);
}

// ---- too short, too long

Test(handshake, every_other_length_is_refused)
{
    struct talk talk;
    uint8_t long_proof[PROOF_BYTES + 1] = {0};
    enum handshake_kind kind;

    talk_welcome(&talk);
    for (size_t i = 0; i < HANDSHAKE_REQUEST_BYTES; i++)
        cr_assert_eq(handshake_request_check(talk.a.request, i, &key, &kind),
                     CARRICK_REASON_PROTOCOL);
    for (size_t i = 0; i < HANDSHAKE_REPLY_BYTES; i++)
        cr_assert_eq(handshake_reply_check(&talk.a, &key, talk.b.reply, i),
                     CARRICK_REASON_PROTOCOL);
    talk.b.have_proof = false;
    for (size_t i = 0; i < PROOF_BYTES; i++) {
        cr_assert_eq(handshake_proof_check(&talk.b, &key, talk.a.proof, i, &talk.seen_by_b),
                     CARRICK_REASON_PROTOCOL);
        cr_assert_eq(welcome_check(&talk, talk.welcome, i), CARRICK_REASON_PROTOCOL);
    }
    memcpy(long_proof, talk.a.proof, PROOF_BYTES);
    cr_assert_eq(handshake_proof_check(&talk.b, &key, long_proof, PROOF_BYTES + 1, &talk.seen_by_b),
                 CARRICK_REASON_PROTOCOL);
    cr_assert_eq(welcome_check(&talk, long_proof, PROOF_BYTES + 1), CARRICK_REASON_PROTOCOL);
    cr_assert_eq(handshake_request_check(NULL, 0, &key, &kind), CARRICK_REASON_PROTOCOL);
    cr_assert_eq(handshake_reply_check(&talk.a, &key, NULL, 0), CARRICK_REASON_PROTOCOL);
}

// ---- replay and reflection

Test(handshake, a_recorded_reply_does_not_fit_another_request)
{
    struct talk first, second;

    talk_reply(&first);
    talk_reply(&second);
    cr_assert_eq(handshake_reply_check(&second.a, &key, first.b.reply, HANDSHAKE_REPLY_BYTES),
                 CARRICK_REASON_AUTHENTICATION);
}

Test(handshake, a_recorded_proof_does_not_fit_another_connection)
{
    struct talk first, second;

    talk_proof(&first);
    talk_proof(&second);
    cr_assert_eq(
        handshake_proof_check(&second.b, &key, first.a.proof, PROOF_BYTES, &second.seen_by_b),
        CARRICK_REASON_AUTHENTICATION);
    // Not even when the whole request is played again: the answering side's nonce is new.
    handshake_reply_make(&second.b, &key, first.a.request, nonce_next());
    cr_assert_eq(
        handshake_proof_check(&second.b, &key, first.a.proof, PROOF_BYTES, &second.seen_by_b),
        CARRICK_REASON_AUTHENTICATION);
}

Test(handshake, a_recorded_welcome_does_not_fit_another_connection)
{
    struct talk first, second;

    talk_welcome(&first);
    talk_welcome(&second);
    cr_assert_eq(welcome_check(&second, first.welcome, PROOF_BYTES), CARRICK_REASON_AUTHENTICATION);
}

Test(handshake, a_proof_is_taken_once)
{
    struct talk talk;

    talk_welcome(&talk);
    cr_assert_eq(handshake_proof_check(&talk.b, &key, talk.a.proof, PROOF_BYTES, &talk.seen_by_b),
                 CARRICK_REASON_PROTOCOL);
}

Test(handshake, roles_cannot_be_swapped)
{
    struct talk talk;
    struct handshake other;
    struct peer_identity identity = identity_of('a');
    uint8_t welcome[PROOF_BYTES];

    talk_welcome(&talk);
    // The connecting side's proof sent back as the welcome, and a welcome offered as a proof.
    cr_assert_eq(welcome_check(&talk, talk.a.proof, PROOF_BYTES), CARRICK_REASON_AUTHENTICATION);
    talk.b.have_proof = false;
    cr_assert_eq(handshake_proof_check(&talk.b, &key, talk.welcome, PROOF_BYTES, &talk.seen_by_b),
                 CARRICK_REASON_AUTHENTICATION);
    // A welcome that does not know the proof is none, though it is of the right connection.
    other = talk.b;
    memset(other.proof, 0, sizeof(other.proof));
    handshake_welcome_make(&other, &key, &identity, welcome);
    cr_assert_eq(welcome_check(&talk, welcome, PROOF_BYTES), CARRICK_REASON_AUTHENTICATION);
    // A request sent back as the reply.
    uint8_t echo[HANDSHAKE_REPLY_BYTES] = {0};
    memcpy(echo, talk.a.request, HANDSHAKE_REQUEST_BYTES);
    cr_assert_eq(handshake_reply_check(&talk.a, &key, echo, sizeof(echo)),
                 CARRICK_REASON_AUTHENTICATION);
}

// ---- without the key, or of another cluster

Test(handshake, the_wrong_key_gets_nowhere)
{
    struct talk talk;
    struct handshake stranger;
    struct peer_identity identity = identity_of('a');
    uint8_t welcome[PROOF_BYTES];
    enum handshake_kind kind;

    // As the answering side.
    talk_reply(&talk);
    handshake_reply_make(&stranger, &wrong_key, talk.a.request, nonce_next());
    cr_assert_eq(handshake_reply_check(&talk.a, &key, stranger.reply, HANDSHAKE_REPLY_BYTES),
                 CARRICK_REASON_AUTHENTICATION);
    // As the connecting side: the request proves nothing yet, the proof fails.
    handshake_request_make(&stranger, &wrong_key, nonce_next());
    cr_assert_eq(handshake_request_check(stranger.request, HANDSHAKE_REQUEST_BYTES, &key, &kind),
                 CARRICK_REASON_NONE);
    handshake_reply_make(&talk.b, &key, stranger.request, nonce_next());
    memcpy(stranger.reply, talk.b.reply, sizeof(stranger.reply));
    handshake_proof_make(&stranger, &wrong_key, &identity);
    cr_assert_eq(handshake_proof_check(&talk.b, &key, stranger.proof, PROOF_BYTES, &talk.seen_by_b),
                 CARRICK_REASON_AUTHENTICATION);
    // As one that takes over behind a good reply.
    talk_proof(&talk);
    stranger = talk.b;
    memcpy(stranger.proof, talk.a.proof, sizeof(stranger.proof));
    handshake_welcome_make(&stranger, &wrong_key, &identity, welcome);
    cr_assert_eq(welcome_check(&talk, welcome, PROOF_BYTES), CARRICK_REASON_AUTHENTICATION);
}

Test(handshake, another_cluster_is_told_so)
{
    struct handshake request;
    enum handshake_kind kind;

    handshake_request_make(&request, &other_cluster, nonce_next());
    cr_assert_eq(handshake_request_check(request.request, HANDSHAKE_REQUEST_BYTES, &key, &kind),
                 CARRICK_REASON_CLUSTER);
}

Test(handshake, any_length_of_key_serves_and_all_of_it_counts)
{
    static uint8_t bytes[2][100000];
    struct cluster_key one, two;

    bytes[1][99999] = 1;
    cr_assert_eq(cluster_key_init(&one, bytes[0], sizeof(bytes[0]), "pair"), CARRICK_OK);
    cr_assert_eq(cluster_key_init(&two, bytes[1], sizeof(bytes[1]), "pair"), CARRICK_OK);
    cr_assert_neq(memcmp(one.bytes, two.bytes, sizeof(one.bytes)), 0);
    cr_assert_arr_eq(one.cluster_tag, two.cluster_tag, sizeof(one.cluster_tag),
                     "the tag tells of the name alone");
}

// ---- versions and kinds

Test(handshake, versions)
{
    struct talk talk;
    enum handshake_kind kind;

    handshake_request_make(&talk.a, &key, nonce_next());
    put_u16(talk.a.request + 4, PROTOCOL_VERSION_MIN - 1);
    cr_assert_eq(handshake_request_check(talk.a.request, HANDSHAKE_REQUEST_BYTES, &key, &kind),
                 CARRICK_REASON_VERSION);
    // A later version may come: the answer says what rules, and the newer side must take it.
    put_u16(talk.a.request + 4, PROTOCOL_VERSION_MAX + 5);
    cr_assert_eq(handshake_request_check(talk.a.request, HANDSHAKE_REQUEST_BYTES, &key, &kind),
                 CARRICK_REASON_NONE);
    handshake_reply_make(&talk.b, &key, talk.a.request, nonce_next());
    cr_assert_eq(talk.b.version, PROTOCOL_VERSION_MAX);
    cr_assert_eq(handshake_reply_check(&talk.a, &key, talk.b.reply, HANDSHAKE_REPLY_BYTES),
                 CARRICK_REASON_NONE);
    cr_assert_eq(talk.a.version, PROTOCOL_VERSION_MAX);
    // An answer in a version that we do not speak.
    talk_reply(&talk);
    put_u16(talk.b.reply + 4, PROTOCOL_VERSION_MAX + 1);
    cr_assert_eq(handshake_reply_check(&talk.a, &key, talk.b.reply, HANDSHAKE_REPLY_BYTES),
                 CARRICK_REASON_VERSION);
    put_u16(talk.b.reply + 4, 0);
    cr_assert_eq(handshake_reply_check(&talk.a, &key, talk.b.reply, HANDSHAKE_REPLY_BYTES),
                 CARRICK_REASON_VERSION);
}

Test(handshake, an_unknown_suite_is_a_matter_of_configuration)
{
    struct talk talk;
    enum handshake_kind kind;

    handshake_request_make(&talk.a, &key, nonce_next());
    talk.a.request[7] = 1;
    cr_assert_eq(handshake_request_check(talk.a.request, HANDSHAKE_REQUEST_BYTES, &key, &kind),
                 CARRICK_REASON_CONFIGURATION);
    talk.a.request[6] = 77;
    cr_assert_eq(handshake_request_check(talk.a.request, HANDSHAKE_REQUEST_BYTES, &key, &kind),
                 CARRICK_REASON_PROTOCOL);
}

Test(handshake, names_in_full_length_and_without_an_end)
{
    struct talk talk;
    struct peer_identity identity = identity_of('a');

    talk_proof(&talk);
    memset(identity.node, 'n', CARRICK_NAME_MAX);
    identity.node[CARRICK_NAME_MAX] = '\0';
    handshake_proof_make(&talk.a, &key, &identity);
    cr_assert_eq(handshake_proof_check(&talk.b, &key, talk.a.proof, PROOF_BYTES, &talk.seen_by_b),
                 CARRICK_REASON_NONE);
    cr_assert_eq(strlen(talk.seen_by_b.node), CARRICK_NAME_MAX);
}

// ---- lanes

static const struct lane_request lane = {
    .index = 3, .session = 0x1122334455667788ull, .connection = 0x8877665544332211ull};

Test(handshake, a_lane_proves_its_session_connection_and_index)
{
    uint8_t request[HANDSHAKE_REQUEST_BYTES], reply[LANE_REPLY_BYTES];
    struct lane_request parsed, other;
    enum handshake_kind kind;

    lane_request_make(&key, &lane, request);
    cr_assert_eq(handshake_request_check(request, sizeof(request), &key, &kind),
                 CARRICK_REASON_NONE);
    cr_assert_eq(kind, HANDSHAKE_LANE);
    lane_request_parse(request, &parsed);
    cr_assert_eq(parsed.index, lane.index);
    cr_assert_eq(parsed.session, lane.session);
    cr_assert_eq(parsed.connection, lane.connection);
    cr_assert(lane_request_prove(&key, request));
    cr_assert(!lane_request_prove(&wrong_key, request));

    lane_reply_make(&key, &lane, reply);
    cr_assert(lane_reply_check(&key, &lane, reply, sizeof(reply)));
    cr_assert(!lane_reply_check(&wrong_key, &lane, reply, sizeof(reply)));
    for (size_t i = 0; i < sizeof(reply); i++)
        cr_assert(!lane_reply_check(&key, &lane, reply, i));
    other = lane;
    other.index++;
    cr_assert(!lane_reply_check(&key, &other, reply, sizeof(reply)), "another lane");
    other = lane;
    other.session++;
    cr_assert(!lane_reply_check(&key, &other, reply, sizeof(reply)), "another session");
    other = lane;
    other.connection++;
    cr_assert(!lane_reply_check(&key, &other, reply, sizeof(reply)), "another connection");
}

Test(handshake, every_byte_of_a_lanes_request_and_reply_counts)
{
    uint8_t request[HANDSHAKE_REQUEST_BYTES], reply[LANE_REPLY_BYTES];
    enum handshake_kind kind;

    lane_request_make(&key, &lane, request);
    for (unsigned i = 0; i < sizeof(request) * 8; i++) {
        request[i / 8] ^= (uint8_t)(1u << i % 8);
        cr_assert(handshake_request_check(request, sizeof(request), &key, &kind) !=
                          CARRICK_REASON_NONE ||
                      kind != HANDSHAKE_LANE || !lane_request_prove(&key, request),
                  "bit %u of a lane's request can be changed", i);
        request[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    lane_reply_make(&key, &lane, reply);
    for (unsigned i = 0; i < sizeof(reply) * 8; i++) {
        reply[i / 8] ^= (uint8_t)(1u << i % 8);
        cr_assert(!lane_reply_check(&key, &lane, reply, sizeof(reply)),
                  "bit %u of a lane's reply can be changed", i);
        reply[i / 8] ^= (uint8_t)(1u << i % 8);
    }
}

Test(handshake, a_lanes_request_is_no_reply_to_it)
{
    uint8_t request[HANDSHAKE_REQUEST_BYTES], echo[LANE_REPLY_BYTES];

    lane_request_make(&key, &lane, request);
    memcpy(echo, request, 8);
    memcpy(echo + 8, request + 24, 32); // the request's proof in the reply's place
    cr_assert(!lane_reply_check(&key, &lane, echo, sizeof(echo)));
}

// ---- identities and refusals

Test(handshake, the_session_is_named_by_both_incarnations_and_generations)
{
    uint64_t incarnation[2] = {1, 2};
    uint32_t generation[2] = {3, 4};
    uint64_t id = handshake_session_id(&key, incarnation, generation);

    cr_assert_eq(handshake_session_id(&key, incarnation, generation), id);
    cr_assert_neq(handshake_session_id(&wrong_key, incarnation, generation), id);
    for (unsigned i = 0; i < 2; i++) {
        incarnation[i]++;
        cr_assert_neq(handshake_session_id(&key, incarnation, generation), id);
        incarnation[i]--;
        generation[i]++;
        cr_assert_neq(handshake_session_id(&key, incarnation, generation), id);
        generation[i]--;
    }
    cr_assert_neq(handshake_session_id(&key, (const uint64_t[]){2, 1}, generation), id,
                  "the nodes have places");
}

Test(handshake, each_connection_has_a_name_of_its_own)
{
    struct talk first, second;

    talk_reply(&first);
    talk_reply(&second);
    cr_assert_neq(handshake_connection_id(&first.b, &key),
                  handshake_connection_id(&second.b, &key));
}

Test(handshake, refusals)
{
    uint8_t bytes[REJECT_BYTES];

    for (uint32_t reason = 1; reason < CARRICK_REASON_COUNT; reason++) {
        reject_make(reason, bytes);
        cr_assert_eq(reject_parse(bytes, sizeof(bytes)), reason);
        for (size_t i = 0; i < sizeof(bytes); i++)
            cr_assert_eq(reject_parse(bytes, i), CARRICK_REASON_NONE);
    }
    reject_make(CARRICK_REASON_COUNT, bytes);
    cr_assert_eq(reject_parse(bytes, sizeof(bytes)), CARRICK_REASON_PROTOCOL);
    memset(bytes, 'x', sizeof(bytes));
    cr_assert_eq(reject_parse(bytes, sizeof(bytes)), CARRICK_REASON_NONE, "not our words");
    cr_assert_eq(reject_parse(NULL, 0), CARRICK_REASON_NONE);
}
