// SPDX-License-Identifier: Apache-2.0
//
// All times of the failover monitor, as one budget: what the profiles set, how they depend on each other, and what
// they add up to. Two timers that contradict each other would leave a pair of which neither side serves.
#ifndef FAILOVER_TIMERS_H
#define FAILOVER_TIMERS_H

#include <carrick/types.h>

struct timers {
    uint32_t beat_ms;           // a beat is sent, and the partner looked at, so often
    uint32_t suspect_ms;        // silence until the partner is suspected
    uint32_t gone_ms;           // without any link or session until the partner counts as lost
    uint32_t still_ms;          // links stand and its beat stands still, until it counts as hung
    uint32_t takeover_delay_ms; // how long a shadow leaves the first word to the owner
    uint32_t stall_ms;   // a partner that is there and does not follow, until the owner goes alone
    uint32_t arbiter_ms; // one operation at the arbiter
    uint32_t claim_ms;   // a whole change at the arbiter, with what settles an unknown outcome
    uint32_t retry_ms;   // between two attempts at what failed
    uint32_t hello_ms;   // for the partner's first word in a session
    uint32_t boot_wait_ms; // for the partner, before a node serves alone after its start
    uint32_t
        boot_ms; // for a partner whose boot can be seen, from its first sign of life to its monitor's
    uint32_t fence_ms;    // for a session to end, before it is said aloud that it does not
    uint32_t serve_ms;    // for the log to be scanned and replayed
    uint32_t join_ms;     // for the partner to confirm that its copy is equal
    uint32_t handover_ms; // for what is in flight, in a hand-over
    uint32_t hook_ms;     // for one command of "hooks"
};

#define TIMERS_COUNT 17u

struct timers_row {
    const char *name;
    const char *meaning;
    size_t offset;
};

extern const struct timers_row fo_timers_rows[TIMERS_COUNT];

// CARRICK_ERR_NOT_FOUND: no such profile.
int fo_timers_profile(const char *name, struct timers *timers);
uint32_t *fo_timers_field(struct timers *timers, const char *name);
// Checks the budget against itself. The error names the two values that disagree, and its pointer is /timers/NAME.
int fo_timers_check(const struct timers *timers, struct carrick_error *error);

// What they add up to, worst case, without the arbiter's and the log's own time.
uint32_t
fo_timers_owner_lost_ms(const struct timers *timers); // a killed owner, until its partner begins
uint32_t fo_timers_owner_hung_ms(const struct timers *timers);
uint32_t
fo_timers_shadow_lost_ms(const struct timers *timers); // a killed shadow, until the owner asks
// For a partner that is to take a group over and cannot be told: as long as that takes it at most.
uint32_t fo_timers_shift_ms(const struct timers *timers);

#endif
