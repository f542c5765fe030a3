// SPDX-License-Identifier: Apache-2.0
//
// What the sources of the echo client share, and what goes over the wire between two of them.
#ifndef ECHO_H
#define ECHO_H

#include <carrick/client.h>

#define ECHO_VERSION 1u            // of the messages below; both sides must have the same
#define ECHO_BYTES (64u * 1024)    // memory at the partner, and as much here for the patterns
#define ECHO_DEPTH_MAX 16u         // pings under way at once
#define ECHO_ANSWERS_MAX 32u       // answers that wait for room in the queue
#define ECHO_WAITING_MAX 8u        // commands that wait for a free slot
#define ECHO_COOKIE_ANSWER 0x1000u // cookies below ECHO_DEPTH_MAX are slots

// One message. Both nodes of a pair are little-endian machines of the same kind here; a client that must not rely
// on that writes its fields byte by byte. All padding is named, so that no stray memory leaves the process.
#define ECHO_MAGIC 0x4f484345u // "ECHO"

enum echo_kind {
    ECHO_PING = 1,
    ECHO_ANSWER = 2,
    ECHO_ANSWER_WRONG = 3, // the pattern had not arrived as it was written
    ECHO_DONE = 4,         // the session is to end, and this side awaits no answer any more
};

struct echo_message {
    uint32_t magic;
    uint32_t kind;   // enum echo_kind
    uint32_t slot;   // of the pinging side
    uint32_t bytes;  // length of the pattern
    uint64_t offset; // where it lies, in the memory of the answering side
    uint64_t number; // of the ping; the pattern follows from it
};

struct echo_config {
    uint32_t interval_ms; // 0: ping only by command
    uint32_t bytes;       // of the pattern of one ping
    uint32_t depth;       // pings under way at once
};

// Reads the client's section. On an error, error->pointer and error->text say where and what.
int echo_config_read(const char *json, struct echo_config *config, struct carrick_error *error);

struct echo_slot {
    uint32_t operations; // posted and not completed: the pattern's memory must not change
    bool answer_awaited;
    uint64_t number;
    uint64_t token; // of the command that waits for the answer, or 0
    uint64_t sent_ns;
};

struct echo_counters {
    uint64_t sent;                // pings sent
    uint64_t answered;            // answers received
    uint64_t echoed;              // pings of the partner that were answered
    uint64_t mismatches;          // answers that said the pattern was wrong
    uint64_t lost;                // pings that the end of a session left without an answer
    uint64_t refused;             // messages that made no sense
    uint64_t skipped;             // intervals in which no slot was free
    uint64_t stalls;              // times that the VI's link failed
    uint64_t last_ns, longest_ns; // round trips
};

struct carrick_client {
    const struct carrick_client_host *host;
    struct echo_config config;
    struct echo_config new_config; // after a reload, if config_waits
    bool config_waits;
    struct echo_counters counters;
    struct carrick_timer *interval;
    struct carrick_region *pattern; // slot i at i * config.bytes
    uint64_t next_number;
    struct echo_slot slots[ECHO_DEPTH_MAX];
    uint64_t waiting[ECHO_WAITING_MAX]; // tokens
    uint32_t waiting_count;
    struct echo_message answers[ECHO_ANSWERS_MAX]; // a ring
    uint32_t answer_first, answer_count;
    // valid from ready to ended
    struct carrick_vi *vi;
    struct carrick_region *here; // the partner's echo writes its patterns there
    uint64_t here_bytes;
    bool partner_is_echo;       // and of the same version
    bool ending;                // the session is to end
    bool done_told, done_heard; // ECHO_DONE, here and from the partner
};

#endif
