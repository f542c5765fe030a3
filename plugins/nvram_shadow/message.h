// SPDX-License-Identifier: Apache-2.0
//
// What the two halves of nvram_shadow say to each other, by sends on the log's VI. One layout for all kinds
// (docs/nvram-format.md); each fills what it needs. What comes from the partner is checked here for its form, and for its
// sense by whoever takes it.
#ifndef NVRAM_MESSAGE_H
#define NVRAM_MESSAGE_H

#include "format.h"

enum { NV_MESSAGE_BYTES = 256 };

enum nv_message_kind {
    NV_STATE = 1,    // both: what my copy is. At ready, and whenever it changes
    NV_ATTACH = 2,   // owner: I am going to write records from `from` on
    NV_ATTACHED = 3, // shadow: do (code 0), or why not
    NV_ADVANCE =
        4, // owner: records up to `last` are written, up to `acknowledged` acknowledged, below `trim` to go
    NV_SYNCED = 5, // shadow: how far I am
};

enum nv_message_flag {
    NV_FLAG_EXPOSED = 1,   // STATE: in this session the partner can write the copy
    NV_FLAG_MEMBER = 2,    // STATE
    NV_FLAG_RESYNC = 4,    // ATTACH: to bring the copy up to date; ADVANCE: it has all that I have
    NV_FLAG_WHOLE = 8,     // ATTACH: forget what is in the copy, it begins at `from`
    NV_FLAG_COMPLETE = 16, // SYNCED: heard ADVANCE with RESYNC, and holds all up to `last`
    NV_FLAG_ALL = 31,
};

// Why a shadow refuses.
enum nv_refusal {
    NV_REFUSED_NOT = 0,
    NV_REFUSED_ROLE = 1,       // it is not shadow, or its copy cannot be written in this session
    NV_REFUSED_GENERATION = 2, // it follows another generation
    NV_REFUSED_CHAIN = 3,      // its records are not those of the owner
    NV_REFUSED_CONDITION = 4,  // its copy must be repaired, or brought up to date, first
    NV_REFUSED_COUNT
};

struct nv_message {
    uint16_t kind;
    uint16_t flags;
    uint32_t code;
    uint32_t role;
    uint32_t condition;
    uint32_t level;
    uint32_t mirror;
    struct carrick_generation generation;
    struct nv_cursor first;
    struct nv_cursor from;
    uint64_t last;
    uint64_t acknowledged;
    uint64_t synced;
    uint64_t persisted;
    uint64_t trim;
    uint64_t ring_bytes;
};

void nv_message_encode(const struct nv_message *message, uint8_t bytes[NV_MESSAGE_BYTES]);
// NULL, or what is wrong with it.
const char *nv_message_decode(const void *bytes, uint32_t length, struct nv_message *message);
const char *nv_refusal_text(uint32_t code);

#endif
