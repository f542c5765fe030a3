// SPDX-License-Identifier: Apache-2.0
//
// The bytes of the tcp transport: frame headers, and which frame may follow which. Pure: no input or
// output, no allocation, no clock. docs/protocol-tcp.md is this file in prose.
#ifndef TCP_WIRE_H
#define TCP_WIRE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    TCP_WIRE_HEADER_BYTES = 32,
    TCP_WIRE_PAYLOAD_MAX = 1 << 20, // of WRITE and READ_DATA
    TCP_WIRE_SEND_MAX = 65536 - TCP_WIRE_HEADER_BYTES,
    TCP_WIRE_PRIVATE_MAX = 256,
    TCP_WIRE_READS_MAX = 64, // reads of one side that the other has not answered in full
    TCP_WIRE_VERSION_MIN = 1,
    TCP_WIRE_VERSION_MAX = 1,
};

#define TCP_WIRE_MESSAGE_MAX (UINT64_C(1) << 30) // longest read or write

enum tcp_frame_type {
    TCP_FRAME_HELLO = 1,   // connecting side's first frame; payload: private data
    TCP_FRAME_WELCOME = 2, // the connection stands; payload: private data
    TCP_FRAME_REJECT = 3,  // it does not; payload: private data
    TCP_FRAME_WRITE = 4,
    TCP_FRAME_READ = 5,
    TCP_FRAME_READ_DATA = 6,
    TCP_FRAME_SEND = 7,
    TCP_FRAME_FLUSH = 8,
    TCP_FRAME_ACK = 9,
    TCP_FRAME_CLOSE = 10,
    TCP_FRAME_ERROR = 11,
    TCP_FRAME_TYPE_COUNT
};

enum tcp_frame_flag {
    TCP_FLAG_LAST = 1,  // the operation, or the answer to a read, ends with this frame
    TCP_FLAG_FLUSH = 2, // the next operation is a flush, and this frame stands for it too
};

struct tcp_frame {
    uint8_t type;
    uint8_t flags;
    uint32_t length;  // bytes of payload that follow the header
    uint64_t address; // WRITE, READ: at the target
    uint64_t
        value; // WRITE, READ_DATA: offset in the operation; READ: its length; ACK: count; ERROR: status
    uint32_t key; // WRITE, READ
};

// HELLO and WELCOME carry these packed into address, value and key.
struct tcp_hello {
    uint16_t version_min; // WELCOME: both are the version that rules
    uint16_t version_max;
    uint32_t receive_bytes; // longest send that this side takes; 0: none
};

// All of these return NULL, or the rule that the bytes break, in words.
void tcp_wire_encode(const struct tcp_frame *frame, unsigned char bytes[TCP_WIRE_HEADER_BYTES]);
const char *tcp_wire_decode(const unsigned char bytes[TCP_WIRE_HEADER_BYTES],
                            struct tcp_frame *frame);

void tcp_wire_hello_pack(const struct tcp_hello *hello, uint8_t type, uint32_t private_bytes,
                         struct tcp_frame *frame);
void tcp_wire_hello_unpack(const struct tcp_frame *frame, struct tcp_hello *hello);
// The version that both sides speak, 0 when there is none.
uint16_t tcp_wire_version(const struct tcp_hello *partner);

enum tcp_phase {
    TCP_PHASE_HELLO, // the listening side waits for HELLO
    TCP_PHASE_REPLY, // the connecting side waits for WELCOME or REJECT
    TCP_PHASE_MUTE,  // HELLO is in and not answered: nothing may come
    TCP_PHASE_OPEN,
    TCP_PHASE_ENDED, // after REJECT, CLOSE or ERROR nothing may come
};

// What one side knows of the stream of frames that comes in.
struct tcp_stream {
    enum tcp_phase phase;
    uint32_t receive_bytes; // longest send that may come
    uint32_t answers_due;   // reads of the partner that this side has not answered in full
    bool write_open;        // the last WRITE was not its operation's last
    uint32_t write_key;
    uint64_t write_address; // where the next WRITE must continue
    uint64_t write_offset;
    uint64_t sent;  // operations of this side whose last frame is out
    uint64_t acked; // of these, applied at the partner
    bool reading;   // this side's oldest read is being answered or waits for it
    uint64_t read_length;
    uint64_t read_offset;
};

void tcp_stream_init(struct tcp_stream *stream, enum tcp_phase phase, uint32_t receive_bytes);
// Takes a decoded frame into the stream's state. After a broken rule the stream must not be used.
const char *tcp_stream_take(struct tcp_stream *stream, const struct tcp_frame *frame);
// The next READ_DATA belongs to a read of that length.
void tcp_stream_expect(struct tcp_stream *stream, uint64_t read_length);
// How many operations a frame completes at the target.
uint32_t tcp_wire_operations(const struct tcp_frame *frame);

#endif
