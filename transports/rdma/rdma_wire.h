// SPDX-License-Identifier: Apache-2.0
//
// What this transport itself says to its like at the other end. All numbers are in network byte order.
//
//   connection request   the core's data alone: RoCE leaves 56 bytes there, and the core wants them all
//   reply (accept)       PREFACE, then the core's data
//   reject               MARK, then the core's data
//   each send            HEADER, then the core's data; of HELLO: PREFACE
//
// HELLO is the connecting side's first send, so that the rule of iWARP is kept whatever the core does: until it has
// come, the answering side sends nothing. With PREFACE each side tells how many sends it has room for. The room comes
// back as credits in HEADER, or in a CREDIT of its own; so a send never meets a partner that has no receive posted,
// which on RoCE costs a pause and a retry, and on iWARP the connection.
#ifndef RDMA_WIRE_H
#define RDMA_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RDMA_WIRE_VERSION = 1,
    RDMA_WIRE_MARK_BYTES = 8,
    RDMA_WIRE_PREFACE_BYTES = 40,
    RDMA_WIRE_HEADER_BYTES = 8,
};

enum rdma_wire_mark_kind {
    RDMA_MARK_ACCEPT = 1,
    RDMA_MARK_REJECT = 2,
    RDMA_MARK_HELLO = 3,
};

// Tells our own data from what a stranger, or the kernel, puts there; and how much of it is the core's, since RoCE
// pads private data with zeroes.
struct rdma_mark {
    uint8_t version;
    uint8_t kind;       // enum rdma_wire_mark_kind
    uint8_t data_bytes; // of the core's, that follow
};

enum rdma_preface_flag {
    RDMA_PREFACE_FLUSH = 1, // regions that may be written take the flush of the hardware, too
};

struct rdma_preface {
    struct rdma_mark mark;
    uint32_t receive_bytes; // longest send that is taken, without its header
    uint16_t receive_depth; // credits at the begin
    uint16_t reads;         // that are answered at a time
    // 8 bytes that may be read, so that a read can prove what was written before; 0: there are none, and a read of no
    // bytes has to do.
    uint64_t scratch_base;
    uint32_t scratch_key;
    uint16_t scratch_bytes;
    uint16_t flags; // enum rdma_preface_flag; unknown ones mean nothing
};

enum rdma_message {
    RDMA_MESSAGE_DATA = 1,   // a send of the core
    RDMA_MESSAGE_HELLO = 2,  // see above
    RDMA_MESSAGE_CREDIT = 3, // nothing but credits
    RDMA_MESSAGE_BYE = 4,    // the endpoint is being closed in order; nothing follows
};

struct rdma_header {
    uint8_t message;  // enum rdma_message
    uint16_t credits; // sends that there is room for in addition
};

void rdma_mark_put(const struct rdma_mark *mark, uint8_t *bytes);
// False: not ours.
bool rdma_mark_get(const uint8_t *bytes, size_t length, struct rdma_mark *mark);
void rdma_preface_put(const struct rdma_preface *preface, uint8_t *bytes);
// False: too short, or not of that kind. The version is the caller's to look at.
bool rdma_preface_get(const uint8_t *bytes, size_t length, uint8_t kind,
                      struct rdma_preface *preface);
void rdma_header_put(const struct rdma_header *header, uint8_t *bytes);
bool rdma_header_get(const uint8_t *bytes, size_t length, struct rdma_header *header);

#endif
