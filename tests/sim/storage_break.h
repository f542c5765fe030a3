// SPDX-License-Identifier: Apache-2.0
//
// Rules that can be taken out, to see that the judges notice. What of it lies within a plugin is set there, in its own
// instance; each of the three files sees the structures of one plugin only.
#ifndef STORAGE_BREAK_H
#define STORAGE_BREAK_H

#include <stdbool.h>
#include <stdint.h>

struct carrick_client;

enum break_rule {
    BREAK_FENCE = 1,        // the network tells CLOSED while late messages still land
    BREAK_REPLAY = 2,       // the core posts again what the partner has confirmed
    BREAK_PROMISE = 4,      // reads do not ask whether the partner's promise stands
    BREAK_WIN = 8,          // serving alone does not wait for a win at the arbiter
    BREAK_SHADOW = 16,      // acknowledgements do not wait for the partner's copy
    BREAK_CUT = 32,         // a corrupt record is taken for a torn tail
    BREAK_DESTAGE = 64,     // records are read and destaged before they are acknowledged
    BREAK_RESYNC = 128,     // what is copied to a returning shelf overwrites what is newer
    BREAK_CLOSED = 256,     // a takeover does not wait until its copy is closed to the partner
    BREAK_TRIM = 512,       // records leave the logs before each shelf has them
    BREAK_SYNC = 1024,      // acknowledgements do not wait for the files of the logs
    BREAK_WITHDRAW = 4096,  // a takeover leaves the promise standing
    BREAK_FOUND = 8192,     // a change at the arbiter is made against whatever is found there
    BREAK_EQUAL = 16384,    // a partner becomes a member before its shelf is equal
    BREAK_INDEX = 32768,    // reads do not look into the log
    BREAK_EACH = 65536,     // records leave the logs when the first shelf of their group has synced
    BREAK_HOLD = 131072,    // without an arbiter "hold" holds nobody
    BREAK_BOOT = 262144,    // nobody waits for a partner that is seen to boot
    BREAK_STORAGE = 524284, // those of the storage plugins
};

// break_log.c
void break_log(struct carrick_client *nvram, unsigned rules);
// Where, in the memory or file of a group's copy, records lie that later ones call acknowledged. false: there is none.
bool break_log_sure(struct carrick_client *nvram, unsigned group, uint64_t *offset,
                    uint64_t *bytes);
// break_shelf.c
void break_shelf(struct carrick_client *shelf, unsigned rules);
// break_monitor.c
void break_monitor(struct carrick_client *failover, unsigned rules);

#endif
