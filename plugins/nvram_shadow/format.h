// SPDX-License-Identifier: Apache-2.0
//
// The bytes of a copy (docs/nvram-format.md): head, promise word, records. Pure functions.
#ifndef NVRAM_FORMAT_H
#define NVRAM_FORMAT_H

#include <carrick/log.h>

enum {
    NV_PAGE = 4096,
    NV_HEAD_BYTES = 256,   // one slot; slot i lies at i * NV_PAGE
    NV_PROMISE_AT = 8192,  // the promise word
    NV_PROMISE_BYTES = 64, //
    NV_RING_AT = 16384,    // where the ring begins,
    NV_RING_AT_HUGE =
        2 << 20,   // and on memory of huge pages, which can only be mapped from their beginning
    NV_ALIGN = 64, // records begin and end at multiples of it
    NV_RECORD_BYTES = 64, // header of a record
    NV_GROUP_MAX = 31,    // bytes of a group's name
};

// Kind of a record beside enum carrick_log_kind: what is left before the end of the ring when the next does not fit.
enum { NV_FILL = 255 };

// Where a record begins. Positions count bytes since the log began and never turn back; a record lies at
// position % ring_bytes. So they are the same in all copies of one history.
struct nv_cursor {
    uint64_t sequence; // of the record that begins here
    uint64_t position;
    uint32_t crc; // of the record before
};

struct nv_head {
    uint64_t write; // number of this writing of the head: the slot is write % 2
    char group[NV_GROUP_MAX + 1];
    uint64_t ring_bytes;
    uint64_t ring_at;
    struct nv_cursor first; // lowest record that counts
    uint64_t limit;         // records above are void: a cut is under way; UINT64_MAX: none is
    uint64_t acknowledged;  // at least so much was acknowledged
    struct carrick_generation generation;
    uint32_t condition; // CARRICK_LOG_EMPTY, _WHOLE, _INCONSISTENT
    bool member;
};

struct nv_record {
    uint32_t crc;
    uint16_t kind;
    uint32_t shelf;
    uint64_t sequence;
    uint64_t tag; // of the generation
    uint64_t acknowledged;
    uint64_t offset;
    uint64_t length;
    uint32_t before; // crc of the record before
};

struct nv_promise {
    uint8_t generation[16];
    bool standing;
    uint64_t beat;
};

uint64_t nv_tag(const uint8_t id[16]);
bool nv_id_is_none(const uint8_t id[16]);
void nv_generation_put(uint8_t *at, const struct carrick_generation *generation); // 48 bytes
void nv_generation_get(const uint8_t *at, struct carrick_generation *generation);

void nv_head_encode(const struct nv_head *head, uint8_t slot[NV_HEAD_BYTES]);
// false: the slot is not whole, or not of this format.
bool nv_head_decode(const uint8_t slot[NV_HEAD_BYTES], struct nv_head *head);
// The newer of the two slots that is whole. slots: the first two pages of the copy.
bool nv_head_read(const uint8_t *slots, struct nv_head *head);

void nv_promise_encode(const struct nv_promise *promise, uint8_t word[NV_PROMISE_BYTES]);
bool nv_promise_decode(const uint8_t word[NV_PROMISE_BYTES], struct nv_promise *promise);

// Bytes of the data that follows the header, and of the whole record in the ring.
uint64_t nv_record_data(const struct nv_record *record);
uint64_t nv_record_span(const struct nv_record *record);
// Writes the header, and the data behind it; NULL: the kind has none. Sets record->crc, which is of what lies in the ring: the
// caller's memory may change while it is copied.
void nv_record_encode(struct nv_record *record, uint8_t *at, const void *data);
// How far it is to the first place that may be a header; `bytes`, a multiple of NV_ALIGN: there is none.
uint64_t nv_record_none(const uint8_t *at, uint64_t bytes);
// Reads the header alone, and checks that a record of this size fits into `room` bytes. false: it cannot be one.
bool nv_record_peek(const uint8_t *at, uint64_t room, struct nv_record *record);
// peek, and the checksum is right.
bool nv_record_check(const uint8_t *at, uint64_t room, struct nv_record *record);

#endif
