// SPDX-License-Identifier: Apache-2.0
//
// The memory that a daemon and one user of its shelves share: requests one way, answers the other way, and a slot of
// data per request. docs/protocol-local.md has the whole protocol; both ends use this header, and it alone.
//
//     page 0            words: tails and "I am asleep" flags, one cache line each
//     request ring      `slots` entries of 32 bytes, user to server
//     answer ring       `slots` entries of 16 bytes, server to user
//     data              `slots` times `slot_bytes`
//
// A request holds its slot from its entry in the request ring until its entry in the answer ring is taken. So neither
// ring can overflow while both ends are honest, and no head needs to be shared: each end keeps its own.
//
// Neither end believes the other. An entry is copied out once, word by word, and only the copy is looked at; a tail
// that is too far ahead, a slot that is in use, or not, ends the connection; each end's own state is in its own memory.
#ifndef CARRICK_LIB_RING_H
#define CARRICK_LIB_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_PAGE_BYTES 4096u
#define RING_SLOTS_MAX 256u
#define RING_SLOT_BYTES_MAX (1u << 20)

// Who may wake whom, and how. The sleeper sets its flag, looks at the ring once more, and sleeps; the other end takes
// the flag away and wakes it, so that there is one wake-up per sleep and none for an end that is awake.
enum ring_sleep {
    RING_AWAKE = 0,
    RING_SLEEPS_ON_SOCKET = 1, // one byte over the socket wakes it
    RING_SLEEPS_ON_WORD = 2,   // futex(2) on the flag itself does; the user's end only
};

enum ring_word {
    RING_REQUEST_TAIL = 0, // user writes: requests put in so far
    RING_SERVER_SLEEPS = 1,
    RING_ANSWER_TAIL = 2, // server writes: answers put in so far
    RING_USER_SLEEPS = 3,
};

struct ring_request {
    uint32_t operation; // enum carrick_block_operation
    uint32_t flags;
    uint32_t slot;
    uint32_t tag; // comes back in the answer
    uint64_t offset;
    uint64_t length;
};

struct ring_answer {
    uint32_t slot;
    uint32_t tag;
    uint32_t error; // 0, or an errno
    uint32_t reserved;
};

struct ring {
    unsigned char *memory;
    uint32_t slots; // a power of two
    uint32_t slot_bytes;
};

static inline bool ring_shape_is_valid(uint32_t slots, uint32_t slot_bytes)
{
    return slots != 0 && slots <= RING_SLOTS_MAX && (slots & (slots - 1)) == 0 && slot_bytes != 0 &&
           slot_bytes <= RING_SLOT_BYTES_MAX && slot_bytes % RING_PAGE_BYTES == 0;
}

static inline size_t ring_requests_at(void)
{
    return RING_PAGE_BYTES;
}

static inline size_t ring_answers_at(uint32_t slots)
{
    return ring_requests_at() + slots * sizeof(struct ring_request);
}

static inline size_t ring_data_at(uint32_t slots)
{
    size_t end = ring_answers_at(slots) + slots * sizeof(struct ring_answer);
    return (end + RING_PAGE_BYTES - 1) / RING_PAGE_BYTES * RING_PAGE_BYTES;
}

static inline size_t ring_bytes(uint32_t slots, uint32_t slot_bytes)
{
    return ring_data_at(slots) + (size_t)slots * slot_bytes;
}

static inline uint32_t *ring_word(const struct ring *r, enum ring_word word)
{
    return (uint32_t *)(void *)(r->memory + 128 * (size_t)word);
}

static inline void *ring_data(const struct ring *r, uint32_t slot)
{
    return r->memory + ring_data_at(r->slots) + (size_t)slot * r->slot_bytes;
}

// Each word is read once: what is checked is what is used.
static inline void ring_copy_in(void *out, const void *shared, size_t bytes)
{
    const uint32_t *from = shared;
    uint32_t *to = out;
    for (size_t i = 0; i < bytes / sizeof(*to); i++)
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

static inline void ring_copy_out(void *shared, const void *in, size_t bytes)
{
    const uint32_t *from = in;
    uint32_t *to = shared;
    for (size_t i = 0; i < bytes / sizeof(*to); i++)
        __atomic_store_n(&to[i], from[i], __ATOMIC_RELAXED);
}

static inline void ring_put_request(const struct ring *r, uint32_t *tail,
                                    const struct ring_request *request)
{
    size_t at = ring_requests_at() + (*tail & (r->slots - 1)) * sizeof(*request);
    ring_copy_out(r->memory + at, request, sizeof(*request));
    (*tail)++;
    __atomic_store_n(ring_word(r, RING_REQUEST_TAIL), *tail, __ATOMIC_SEQ_CST);
}

static inline void ring_put_answer(const struct ring *r, uint32_t *tail,
                                   const struct ring_answer *answer)
{
    size_t at = ring_answers_at(r->slots) + (*tail & (r->slots - 1)) * sizeof(*answer);
    ring_copy_out(r->memory + at, answer, sizeof(*answer));
    (*tail)++;
    __atomic_store_n(ring_word(r, RING_ANSWER_TAIL), *tail, __ATOMIC_SEQ_CST);
}

// How many entries stand between head and the tail that the other end shows; -1: more than can be.
static inline int ring_waiting(const struct ring *r, enum ring_word tail_word, uint32_t head)
{
    uint32_t waiting = __atomic_load_n(ring_word(r, tail_word), __ATOMIC_SEQ_CST) - head;
    return waiting > r->slots ? -1 : (int)waiting;
}

// 1: one was taken; 0: there is none; -1: the other end is broken.
static inline int ring_take_request(const struct ring *r, uint32_t *head, struct ring_request *out)
{
    int waiting = ring_waiting(r, RING_REQUEST_TAIL, *head);
    if (waiting <= 0)
        return waiting;
    size_t at = ring_requests_at() + (*head & (r->slots - 1)) * sizeof(*out);
    ring_copy_in(out, r->memory + at, sizeof(*out));
    (*head)++;
    return out->slot < r->slots ? 1 : -1;
}

static inline int ring_take_answer(const struct ring *r, uint32_t *head, struct ring_answer *out)
{
    int waiting = ring_waiting(r, RING_ANSWER_TAIL, *head);
    if (waiting <= 0)
        return waiting;
    size_t at = ring_answers_at(r->slots) + (*head & (r->slots - 1)) * sizeof(*out);
    ring_copy_in(out, r->memory + at, sizeof(*out));
    (*head)++;
    return out->slot < r->slots ? 1 : -1;
}

// To be called after looking at the flag's ring once more: entries put in before are seen by that look, later ones
// wake. Returns whether the caller must stay awake, since something has come meanwhile (or the other end is broken).
static inline bool ring_fall_asleep(const struct ring *r, enum ring_word flag, enum ring_sleep how,
                                    enum ring_word tail_word, uint32_t head)
{
    __atomic_store_n(ring_word(r, flag), (uint32_t)how, __ATOMIC_SEQ_CST);
    if (ring_waiting(r, tail_word, head) == 0)
        return false;
    __atomic_store_n(ring_word(r, flag), (uint32_t)RING_AWAKE, __ATOMIC_SEQ_CST);
    return true;
}

// After putting something in: how the other end is to be woken, RING_AWAKE if not at all. What a hostile end wrote
// there chooses among ways that never block.
static inline uint32_t ring_must_wake(const struct ring *r, enum ring_word flag)
{
    if (__atomic_load_n(ring_word(r, flag), __ATOMIC_SEQ_CST) == RING_AWAKE)
        return RING_AWAKE;
    return __atomic_exchange_n(ring_word(r, flag), (uint32_t)RING_AWAKE, __ATOMIC_SEQ_CST);
}

// ---- the handshake over the socket; integers in the byte order of the node, on which both ends run

#define RING_MAGIC 0x6b6c6243u // "Cblk"
#define RING_VERSION 1u
#define RING_NAME_BYTES 64u

struct ring_hello {
    uint32_t magic;
    uint32_t version;
    uint32_t reserved[2];
    char shelf[RING_NAME_BYTES];   // NUL-ended
    char program[RING_NAME_BYTES]; // who connects, for people
};

struct ring_welcome {
    uint32_t magic;
    uint32_t version;
    uint32_t status; // enum carrick_status; 0: the memory's descriptor comes with this message
    uint32_t read_only;
    uint64_t bytes; // of the shelf
    uint32_t slots;
    uint32_t slot_bytes;
    char text[256]; // refusal: why, NUL-ended
};

#endif
