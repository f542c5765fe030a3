// SPDX-License-Identifier: Apache-2.0
//
// Between catchup.c, the run and what is said in it, catchup_copy.c, the copying, and catchup_share.c, when it rests.
#ifndef SHELF_CATCHUP_INTERNAL_H
#define SHELF_CATCHUP_INTERNAL_H

#include "catchup.h"

#define SHELF_ANSWER_MS 30000u // longest time without a word from the partner, while one is awaited
#define SHELF_WRITTEN_MAX 1024u
#define SHELF_WRITTEN_BYTES (64u << 20) // most that is written at the partner and not synced

enum catchup_state {
    CATCHUP_NONE,
    CATCHUP_ASKING,
    CATCHUP_COPYING,
    CATCHUP_FINISHING,
    CATCHUP_EQUAL,
    CATCHUP_FAILED
};

// A run of chunks that the partner has written and not yet synced: still marked.
struct catchup_written {
    uint64_t number; // the partner's
    uint64_t chunk;
    uint32_t shelf;
    uint32_t length; // 0: settled
};

struct catchup_pace {
    double writes, ns;
};

// How long is copied, and how long others are left alone.
struct catchup_share {
    bool resting;
    uint64_t began_ns, length_ns; // of this phase
    uint64_t acknowledged;        // when it began
    struct catchup_pace copy, rest;
};

struct shelf_catchup {
    enum catchup_state state;
    bool asked;
    uint64_t run;
    uint64_t since;
    struct carrick_timer *timer;
    bool timer_runs;
    uint64_t heard_ns;
    uint64_t begun_ns, ended_ns, reported_ns;
    uint64_t done_bytes; // copied in this run
    uint32_t shelf;      // the cursor
    uint64_t chunk;
    bool progress;    // since the cursor was last at the beginning
    uint64_t wait_ns; // the cursor begins anew not before
    uint64_t tokens_ns;
    uint64_t tokens; // bytes that may be sent now
    struct catchup_share share;
    uint32_t run_chunks; // most that are copied in one piece now
    uint32_t failures;
    struct catchup_written written[SHELF_WRITTEN_MAX]; // a ring, in the order of their numbers
    uint64_t written_first, written_last;              // [first, last)
    uint64_t written_bytes;
    char cause[128];
};

static inline uint64_t catchup_now_ns(const struct shelf_group *group)
{
    return group->client->base->now_ns(group->client->base);
}

// catchup.c
void catchup_timer_arm(struct shelf_group *group, uint64_t delay_ns);
uint64_t catchup_marked_bytes(const struct shelf_group *group);
void catchup_fail(struct shelf_group *group, const char *cause);
void catchup_finish(struct shelf_group *group);

// catchup_copy.c
void catchup_copy_begin(struct shelf_group *group);  // a run
void catchup_copy_leave(struct shelf_group *group);  // what is under way is not waited for
bool catchup_copy_awaits(struct shelf_group *group); // the partner is to answer
void catchup_copy(struct shelf_group *group);
void catchup_take_done(struct shelf_group *group, const struct shelf_message *message);
void catchup_take_synced(struct shelf_group *group, const struct shelf_message *message);

// catchup_share.c
void catchup_share_begin(struct shelf_group *group);
// May be copied now? If not, and unless something is to come that asks again, the timer asks. drained: nothing is on its way.
bool catchup_share_open(struct shelf_group *group, bool drained);

#endif
