// SPDX-License-Identifier: Apache-2.0
//
// What carrickd and a client process (carrick-host) say to each other, used by both ends. Three ways lead across:
//
//   messages   a socket (SOCK_SEQPACKET), for what is rare, or large, or carries descriptors
//   rings      two per client, in memory that cannot change its size: operations one way, events the other way
//   page       one per process: a word that its loop moves on, and who is asleep
//
// The daemon trusts nothing that the process writes: an entry is copied out once, and only the copy is looked at;
// counts, lengths, numbers and generations are checked; what cannot be ends the process. Everything here is between two
// programs of one build on one node: no ABI. docs/client-process.md tells the whole of it.
#ifndef HOST_CHANNEL_H
#define HOST_CHANNEL_H

#include <carrick/arbiter.h>
#include <carrick/client.h>

#define CHANNEL_VERSION 1u
#define CHANNEL_SOCKET 3 // the descriptor with which the process starts
#define CHANNEL_CLIENTS_MAX 64u
#define CHANNEL_REGIONS_MAX 2048u // that one client can have made at once
#define CHANNEL_FDS_MAX 4u
#define CHANNEL_INLINE_MAX (32u << 10) // a longer body goes in memory of its own
#define CHANNEL_BODY_MAX (2u << 20)

// ---- messages

enum channel_type {
    // to the process
    CHANNEL_START = 1, // a: interval of the beat, ns; body: node, partner, manager; page, wake-ups
    CHANNEL_CREATE, // body: name, plugin, directory, arbiter's plugin, section; the client's rings
    CHANNEL_ANSWER, // to CALL: a: status; b, c, d as the call says; body: the error's text
    CHANNEL_HERE, // a: index, b: bytes, c: offset; the region's descriptor. Before READY in the ring
    CHANNEL_COMMAND,        // a: token; body: word, JSON
    CHANNEL_CONFIG,         // body: section
    CHANNEL_ARBITER_ANSWER, // a: cookie, b: status, c: whether the body is a record
    CHANNEL_DESTROY,        // the client, and all others of the process
    // to the daemon
    CHANNEL_HELLO = 64, // a: CHANNEL_VERSION
    CHANNEL_CREATED,    // a: status, b: errno; body: pointer, text
    CHANNEL_CALL,       // a: enum channel_call; b, c: arguments; body: a path
    CHANNEL_DESCRIBED, // a: status, b: vis, c: version, d: count; body: struct channel_want[], terms
    CHANNEL_PROVIDED, // a: index, b: status, c: offset, d: region, CHANNEL_NO_REGION (with a descriptor, or fresh)
    CHANNEL_REPLY, // a: token, b: status, c: whether the body is JSON
    CHANNEL_LOG,   // a: level; body: text
    CHANNEL_ASK, // a: cookie, b: whether it changes, c: expected number, d: timeout; body: group, record
    CHANNEL_SHADOW,     // a: sequence
    CHANNEL_BOOT_STAGE, // a: stage
    CHANNEL_DESTROYED,  // of each
};

enum channel_call {
    CHANNEL_REGION_CREATE = 1, // b: bytes. Answer: b: region, c: bytes; descriptor
    CHANNEL_REGION_OPEN, // b: bytes; body: path. Answer: b: region, c: bytes, d: kind, created << 32
    CHANNEL_REGION_DESTROY, // b: region
    CHANNEL_VI_OPEN,        // b: number. Answer: b: generation
    CHANNEL_PARTNER_STATUS, // Answer: body: struct carrick_partner_status
};

#define CHANNEL_NO_REGION UINT64_MAX

struct channel_want {
    uint32_t access;
    uint32_t reserved;
    uint64_t bytes;
};

struct channel_message {
    uint32_t type; // enum channel_type
    uint32_t client;
    uint64_t a, b, c, d;
    uint64_t length; // of the body
    char *body;      // of a received one: on the heap, with a NUL behind it; never NULL
    int fds[CHANNEL_FDS_MAX];
    uint32_t fd_count;
};

// 0; EAGAIN: no room now; another errno: the other end is gone. Descriptors stay the caller's.
int channel_send(int socket, const struct channel_message *message);
// 0; EAGAIN: nothing is there; EPIPE: the other end is gone; EPROTO: what came is no message.
int channel_receive(int socket, struct channel_message *message);
// Frees the body and closes what descriptors are left in it (those taken out are set to -1).
void channel_message_end(struct channel_message *message);
int channel_take_fd(struct channel_message *message, uint32_t index); // -1: there is none
// The string at *at of the body, and moves on behind it; NULL: there is none.
const char *channel_string(const struct channel_message *message, size_t *at);

// ---- memory that both ends map; its size is sealed

int channel_memory_make(const char *name, size_t bytes); // descriptor, or -1
void *channel_memory_map(int fd, size_t bytes); // NULL: not that long, not sealed, or no memory

struct channel_page {
    uint32_t beat; // the process moves it on
    uint32_t pad0[31];
    uint32_t daemon_sleeps;
    uint32_t pad1[31];
    uint32_t process_sleeps;
};

// After putting something in: wakes the other end if it sleeps.
void channel_wake(uint32_t *sleeps, int event_fd);

// ---- rings of records of any length

struct channel_words {
    uint32_t tail; // bytes put in so far; the producer writes it
    uint32_t pad0[31];
    uint32_t head; // bytes taken out so far; the consumer writes it
    uint32_t pad1[31];
    uint32_t waits; // the producer found no room, and wants to be woken
    uint32_t pad2[31];
};

struct channel_ring {
    struct channel_words *words;
    uint8_t *data;
    uint32_t bytes; // a power of two
    uint32_t at;    // this end's own tail or head
};

#define CHANNEL_RECORD_MAX 4352u
#define CHANNEL_STATE_BYTES 4096u

enum {
    CHANNEL_OP_RING_BYTES = 1 << 18,
    CHANNEL_EVENT_RING_BYTES = 1 << 19,
};

struct channel_shared {
    struct channel_words op_words, event_words;
    uint32_t state_turn; // odd while the text below is being written
    char state[CHANNEL_STATE_BYTES];
    uint8_t ops[CHANNEL_OP_RING_BYTES];
    uint8_t events[CHANNEL_EVENT_RING_BYTES];
};

void channel_rings(struct channel_shared *shared, struct channel_ring *ops,
                   struct channel_ring *events);
// 1: done; 0: no room; -1: the other end is broken.
int channel_put(struct channel_ring *ring, uint32_t type, const void *head, uint32_t head_bytes,
                const void *data, uint32_t data_bytes);

struct channel_record {
    uint32_t type;
    uint32_t length; // of the data
    uint8_t data[CHANNEL_RECORD_MAX] __attribute__((aligned(8)));
};

// Copies the next record out: 1; 0: there is none; -1: the other end is broken. It stays until channel_advance.
int channel_peek(const struct channel_ring *ring, struct channel_record *record);
void channel_advance(struct channel_ring *ring, const struct channel_record *record);
// Whether the consumer has something to take (or the ring is broken).
bool channel_has_more(const struct channel_ring *ring);

// ---- records

enum channel_op_type { // to the daemon
    CHANNEL_OP_POST = 1,
    CHANNEL_OP_CLOSE, // struct channel_vi
    CHANNEL_OP_RESET, // text, why
};

#define CHANNEL_HERE_REGION                                                                        \
    (1ull << 62) // in `region`: with an index of those that the partner asked for

struct channel_post {
    uint32_t vi, generation;
    uint32_t operation, there;
    uint64_t region; // CHANNEL_NO_REGION: none
    uint64_t offset, length, there_offset;
};

enum channel_event_type { // to the process
    CHANNEL_EVENT_DESCRIBE = 1,
    CHANNEL_EVENT_PROVIDE, // struct channel_provide
    CHANNEL_EVENT_READY,   // struct channel_ready
    CHANNEL_EVENT_ENDING,  // struct channel_ending
    CHANNEL_EVENT_ENDED,   // struct channel_ending
    CHANNEL_EVENT_COMPLETED,
    CHANNEL_EVENT_RECEIVED, // struct channel_vi, data
    CHANNEL_EVENT_VI_CHANGED,
    CHANNEL_EVENT_STOPPING,
};

struct channel_vi {
    uint32_t vi, generation;
    uint32_t state; // VI_CHANGED
    uint32_t reserved;
};

struct channel_completed {
    uint32_t vi, generation;
    int32_t status;
    uint32_t count; // so many in a row, of the oldest
};

struct channel_provide {
    uint32_t index, access;
    uint64_t bytes;
};

struct channel_ready {
    uint64_t session, incarnation, partner_incarnation;
    uint32_t partner_version, generation;
    uint32_t vi_count, here_count;
};

struct channel_ending {
    uint64_t deadline_ns;
    uint32_t reason;
    uint32_t reserved;
};

#endif
