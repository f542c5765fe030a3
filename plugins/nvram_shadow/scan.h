// SPDX-License-Identifier: Apache-2.0
//
// What a copy holds, after a crash at any instruction: walks the chain from the tail that is known, and looks beyond its
// end for what tells a torn tail, which is cut, from a bad record that had been acknowledged, which never is.
#ifndef NVRAM_SCAN_H
#define NVRAM_SCAN_H

#include "ring.h"

enum { NV_TAGS = 4 };

enum nv_scan_phase {
    NV_SCAN_WALK = 0, // the chain
    NV_SCAN_AHEAD =
        1, // beyond its end: are there records that must not be there, or that tell of corruption?
    NV_SCAN_WIPE = 2, // beyond a torn tail: records that count no more
    NV_SCAN_DONE = 3,
};

struct nv_scan {
    struct nv_ring *ring;
    enum nv_scan_phase phase;
    uint64_t limit;        // records above are void
    uint64_t acknowledged; // highest known; grows with what records tell
    uint64_t tags[NV_TAGS];
    uint64_t at;    // AHEAD, WIPE: position
    uint32_t stray; // records beyond the end
    uint64_t wiped;
    bool corrupt; // the record at the ring's tail is bad, and was acknowledged
};

// Goes on from the ring's tail. acknowledged: as known from elsewhere (the head, the partner).
void nv_scan_begin(struct nv_scan *scan, struct nv_ring *ring, uint64_t limit,
                   uint64_t acknowledged, const struct carrick_generation *generation);
// Does about so many bytes of it. true: done.
bool nv_scan_step(struct nv_scan *scan, uint64_t bytes);

#endif
