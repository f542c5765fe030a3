// SPDX-License-Identifier: Apache-2.0
//
// A message of each type, filled with something, and its bytes.
#ifndef MESSAGE_MAKE_H
#define MESSAGE_MAKE_H

#include <criterion/criterion.h>
#include <string.h>

#include "core/handshake.h"
#include "core/tables.h"

static uint8_t wire[MESSAGE_BYTES_MAX];
static struct message message;

static inline size_t message_made(void)
{
    size_t length = message_put(&message, wire);

    cr_assert_leq(length, sizeof(wire));
    return length;
}

static const char text[] = "a reason with a name";

static inline void message_make(unsigned type)
{
    static uint8_t proof[PROOF_BYTES];

    memset(&message, 0, sizeof(message));
    message.type = (uint16_t)type;
    message.session = 0x0123456789abcdefull;
    switch (type) {
    case MESSAGE_PROOF:
    case MESSAGE_WELCOME:
        memset(proof, 0x5a, sizeof(proof));
        message.raw.bytes = proof;
        message.raw.length = sizeof(proof);
        break;
    case MESSAGE_REFUSE:
    case MESSAGE_ENDING:
    case MESSAGE_ENDED:
        message.end.reason = CARRICK_REASON_OPERATOR;
        message.end.time_ms = 1000;
        memcpy(message.end.text, text, sizeof(text));
        break;
    case MESSAGE_TABLE:
        message.table.kind = TABLE_CLIENT_INFO;
        message.table.length = CLIENT_INFO_BYTES_MAX;
        message.table.generation = 9;
        message.table.crc = 0xdeadbeef;
        break;
    case MESSAGE_KEYS:
        message.keys.first = 3;
        message.keys.total = 8;
        message.keys.count = 5;
        for (unsigned i = 0; i < 5; i++)
            message.keys.key[i] = (struct carrick_remote_key){.base = i << 20, .key = i + 1};
        break;
    case MESSAGE_FENCED:
        message.fenced.connection = 0x1020304050607080ull;
        message.fenced.link = 2;
        message.fenced.seen = 1;
        message.fenced.lanes = MESSAGE_LANES_MAX;
        for (unsigned i = 0; i < MESSAGE_LANES_MAX; i++) {
            message.fenced.applied[i] = i == 0 ? UINT64_MAX : i;
            message.fenced.sends[i] = i * 100;
        }
        break;
    default:
        message.vi.identity = 0x0000000300000fffull;
        message.vi.opening = 4711;
        message.vi.heard = type == MESSAGE_VI_HEARD ? MESSAGE_VI_CLOSE : 0;
        message.vi.sends = 17;
        break;
    }
}

#endif
