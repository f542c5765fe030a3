// SPDX-License-Identifier: Apache-2.0
//
// The tables that the nodes write into each other's inbox during bring-up, and the messages that announce them. Pure
// functions over bytes: what comes from the partner is copied first, then checked, then believed.
//
// A table is never inferred from its last byte: it is written, flushed, and announced by a message that bears its
// length, generation and CRC32C.
#ifndef CORE_TABLES_H
#define CORE_TABLES_H

#include <carrick/transport.h>

enum table_kind {
    TABLE_PEER_INFO = 1,   // versions, who we are, hash of what must agree (claim 14, 16)
    TABLE_CLIENT_INFO = 2, // per client: name, VIs, memory, terms (claims 17 to 19)
    TABLE_READY = 3,
    TABLE_KIND_COUNT
};

// Where each table lies in the inbox, and how long it may be.
#define INBOX_PEER_INFO_OFFSET 0u
#define INBOX_READY_OFFSET 2048u
#define INBOX_CLIENT_INFO_OFFSET 4096u
#define PEER_INFO_BYTES 160u
#define READY_BYTES 32u
#define CLIENT_INFO_BYTES_MAX (252u * 1024u)
#define INBOX_BYTES (256u * 1024u)

uint32_t table_offset(enum table_kind kind);
uint32_t table_bytes_max(enum table_kind kind);

struct peer_info {
    uint16_t version_min, version_max;
    uint32_t generation;
    uint64_t incarnation;
    char cluster[CARRICK_NAME_MAX + 1];
    char node[CARRICK_NAME_MAX + 1];
    char manager[CARRICK_NAME_MAX + 1];
    uint8_t config_hash[32];
    uint64_t features; // none is defined yet; unknown bits are ignored
};

void peer_info_put(const struct peer_info *info, uint8_t out[PEER_INFO_BYTES]);
int peer_info_get(const void *data, size_t length, struct peer_info *info);

struct ready_info {
    uint64_t incarnation;         // of the writer
    uint64_t partner_incarnation; // of the reader, as the writer knows it
    uint64_t session;
};

void ready_info_put(const struct ready_info *info, uint8_t out[READY_BYTES]);
int ready_info_get(const void *data, size_t length, struct ready_info *info);

struct client_region_need {
    uint64_t bytes;
    uint32_t access;
};

struct client_need {
    char name[CARRICK_NAME_MAX + 1];
    uint32_t version;
    uint32_t vis;
    uint32_t region_first; // index of its first region in the table's array of them
    uint32_t region_count;
    const char *terms; // terms.h; never NULL
};

struct client_info {
    struct client_need *clients;
    uint32_t client_count;
    struct client_region_need *regions;
    uint32_t region_count;
    char *terms; // of all of them, of one that was read
};

// Returns the length, or 0 when it does not fit into room.
size_t client_info_put(const struct client_info *info, uint8_t *out, size_t room);
// Allocates, bounded by the length of the data; ended by client_info_free. Client names come in rising order, each once,
// with at least one VI, no more regions than a client may have, and sound terms. After an error there is nothing to free.
int client_info_get(const void *data, size_t length, struct client_info *info);
void client_info_free(struct client_info *info); // also of one that is all zero

// ---- messages on the control lane

enum message_type {
    MESSAGE_PROOF = 1,   // body: handshake
    MESSAGE_WELCOME = 2, // body: handshake
    MESSAGE_REFUSE = 3,  // reason, text: the connection or the session is refused
    MESSAGE_TABLE = 4,   // a table was written
    MESSAGE_KEYS = 5,    // keys of regions, for this link
    MESSAGE_FENCED = 6,  // a conn has ended; how far it came
    MESSAGE_ENDING = 7,  // the session is to end; reason, time that clients have
    MESSAGE_ENDED = 8,   // this node's clients have closed
    MESSAGE_VI_OPEN = 9,
    MESSAGE_VI_CLOSE = 10,
    MESSAGE_VI_HEARD = 11, // the answer to either
    MESSAGE_TYPE_COUNT
};

#define MESSAGE_HEADER_BYTES 16u
#define MESSAGE_BYTES_MAX 4096u
#define MESSAGE_KEYS_MAX 128u // in one message
#define MESSAGE_LANES_MAX 8u
#define MESSAGE_TEXT_MAX 320u

struct message {
    uint16_t type;    // enum message_type
    uint64_t session; // 0 before there is one
    union {
        struct {
            const uint8_t *bytes;
            uint32_t length;
        } raw; // PROOF, WELCOME
        struct {
            uint32_t reason;
            uint32_t time_ms; // ENDING
            char text[MESSAGE_TEXT_MAX];
        } end; // REFUSE, ENDING, ENDED
        struct {
            uint32_t kind, length, generation, crc;
        } table;
        struct {
            uint32_t first, total, count;
            struct carrick_remote_key key[MESSAGE_KEYS_MAX];
        } keys;
        struct {
            uint64_t connection;
            uint32_t link; // index among the manager's links
            uint32_t seen; // the sender has the receiver's report
            uint32_t lanes;
            uint64_t applied[MESSAGE_LANES_MAX];
            uint64_t sends[MESSAGE_LANES_MAX];
        } fenced;
        struct {
            uint64_t identity;
            uint32_t opening; // the sender's; in HEARD the receiver's
            uint32_t heard;   // HEARD: MESSAGE_VI_OPEN or MESSAGE_VI_CLOSE, which it answers
            uint64_t sends;   // CLOSE: that have completed; it takes effect behind them
        } vi;                 // VI_OPEN, VI_CLOSE, VI_HEARD
    };
};

// Returns the length; out has MESSAGE_BYTES_MAX.
size_t message_put(const struct message *message, uint8_t *out);
int message_get(const void *data, size_t length, struct message *message);

// ---- the header of every send on a data lane

#define SEND_HEADER_BYTES 24u
#define VI_OPENING_MAX 0x7fffffffu // openings of one VI in a session; from 1

#define SEND_MARK                                                                                  \
    UINT64_MAX // in place of a VI: the send is a mark of the lane itself, without a body

enum lane_mark {
    LANE_MARK_HELLO = 1, // the connecting side's first send: the lane stands
    LANE_MARK_READY = 2, // the sender's session is READY; comes before any VI's send on this lane
};

struct send_header {
    uint64_t vi;       // identity, or SEND_MARK
    uint64_t sequence; // of this opening's sends, from 1; or enum lane_mark
    uint32_t opening;  // of the VI; 0 with a mark
};

void send_header_put(const struct send_header *header, uint8_t out[SEND_HEADER_BYTES]);
int send_header_get(const void *data, size_t length, struct send_header *header);

#endif
