// SPDX-License-Identifier: Apache-2.0
//
// What two shelf clients say to each other about a group, by sends on their VI.
#ifndef SHELF_MESSAGE_H
#define SHELF_MESSAGE_H

#include <carrick/types.h>

#define SHELF_MESSAGE_HEAD 96u
#define SHELF_MESSAGE_PAYLOAD_MAX 3072u
#define SHELF_MESSAGE_MAX (SHELF_MESSAGE_HEAD + SHELF_MESSAGE_PAYLOAD_MAX)

enum shelf_message_kind {
    // owner -> follower: begin a run. payload: generation (16 bytes), then the bytes of each shelf (8 each)
    SHELF_ASK = 1,
    // follower -> owner: void here. shelf, chunk: first byte of the bitmap, payload: bytes of it
    SHELF_LACKS = 2,
    SHELF_LACKS_ALL = 3, // the whole shelf
    SHELF_LACKS_END = 4,
    // owner -> follower: slot of the staging region holds a run of chunks, from `chunk` on, as of sequence; length, crc.
    // flags: SHELF_FLAG_ZERO
    SHELF_CHUNK = 5,
    // follower -> owner: the slot is free. flags: an enum shelf_chunk_outcome; WRITTEN: sequence is the run's number
    SHELF_CHUNK_DONE = 6,
    SHELF_SYNCED = 7, // follower -> owner: the shelf holds all records up to sequence for certain
    SHELF_HURRY = 8,  // owner -> follower: somebody waits for the records up to sequence
    SHELF_FINISH = 9, // owner -> follower: nothing is marked any more
    SHELF_FINISHED = 10, // follower -> owner: and this is durable here
    SHELF_REFUSED = 11,  // follower -> owner: payload says why
    // follower -> owner: the runs of shelf that were WRITTEN, up to number `sequence`: all SYNCED, or all in ERROR (flags)
    SHELF_CHUNKS_SYNCED = 12,
    SHELF_MESSAGE_KINDS,
};

#define SHELF_FLAG_ZERO 1u // SHELF_CHUNK: reads as zeroes, nothing was written to the slot

enum shelf_chunk_outcome {
    SHELF_CHUNK_SYNCED = 0,
    SHELF_CHUNK_STALE = 1,   // newer records for it were told here: read it again
    SHELF_CHUNK_ERROR = 2,   // could not be written, or came broken: send it again
    SHELF_CHUNK_WRITTEN = 3, // and not yet synced
};

struct shelf_message {
    uint32_t kind;
    char group[CARRICK_NAME_MAX + 1];
    uint64_t run; // chosen by the owner for one catching up; tells late messages of an older one
    uint32_t shelf;
    uint32_t slot;
    uint64_t chunk;
    uint64_t sequence;
    uint32_t length;
    uint32_t crc;
    uint32_t flags;
    uint32_t payload_bytes;
    const uint8_t *payload;
};

// Into SHELF_MESSAGE_MAX bytes; how many it takes.
uint32_t shelf_message_encode(const struct shelf_message *message, uint8_t *bytes);
// false: not a message of this version. The payload stays where it is.
bool shelf_message_decode(const uint8_t *bytes, uint32_t length, struct shelf_message *message);

#endif
