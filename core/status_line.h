// SPDX-License-Identifier: Apache-2.0
//
// The status line: 64 bytes at the well-known start of the bootstrap region, which the partner reads with one RDMA
// read and no work by this node's processor (claims 20, 28).
//
// It is never accepted torn. There are two slots, written in turn; each bears a sequence and a CRC32C. The writer
// changes only the slot that is not the newest, so that one good slot is left wherever it is stopped; the reader
// takes both and believes the newest that is whole. The 16 bytes after the slots are kept clear for a promise word.
//
// The read of both slots is not atomic. It may take the first before the writer turns it over, and find the second in
// the making of a still later number: then the older of two whole lines is believed, one number behind what an earlier
// read brought. And reads over several links end in any order. So a reader remembers the highest number that it has
// seen of each incarnation, and an older one is no news (status_line_is_news): nothing may follow from it.
#ifndef CORE_STATUS_LINE_H
#define CORE_STATUS_LINE_H

#include <carrick/types.h>

#define STATUS_LINE_BYTES 64u
#define STATUS_LINES_BYTES (2u * STATUS_LINE_BYTES) // what the reader takes
#define STATUS_LINE_MAGIC 0x4b525243u               // "CRRK" as little-endian bytes

// The line in host form. docs/protocol.md has the bytes.
struct status_line {
    uint16_t version_max;    // highest protocol version that this node speaks
    uint16_t version_ruling; // the one that rules this session; 0 until known
    uint8_t session_state;   // enum carrick_session_state
    uint8_t boot_stage;      // enum carrick_boot_stage
    uint16_t load_permille;
    uint16_t refusal; // enum carrick_reason for which the partner is refused; 0: it is not
    uint64_t incarnation;
    uint64_t taken_incarnation; // of the partner whose peer information was taken; 0: none
    uint32_t generation;        // counts the sessions of this incarnation
    uint32_t taken_generation;  // of the partner, with taken_incarnation
    uint32_t heartbeat;
    uint32_t
        clients_still_ms; // how long the stillest of the client processes has given no sign of life
    uint64_t shadow_sequence;
};

// Writes line into the older slot of `lines` (STATUS_LINES_BYTES, 8-byte aligned), with sequence as its number, which
// must be one more than the last one's (start at 1 in zeroed memory).
void status_line_publish(void *lines, uint32_t sequence, const struct status_line *line);

// Reads a copy of the two slots. CARRICK_OK, or CARRICK_ERR_PROTOCOL when no slot is whole (torn, foreign or not
// yet written). sequence may be NULL.
int status_line_read(const void *lines, struct status_line *line, uint32_t *sequence);

// The highest sequence that a reader has seen; all zero before the first.
struct status_line_seen {
    uint64_t incarnation;
    uint32_t sequence;
    bool any;
};

// Whether the line is at least as new as all that was seen of its incarnation; if so, it is the highest seen from now
// on. A line of another incarnation is news. The sequence may wrap.
bool status_line_is_news(struct status_line_seen *seen, const struct status_line *line,
                         uint32_t sequence);

#endif
