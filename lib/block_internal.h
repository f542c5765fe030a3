// SPDX-License-Identifier: Apache-2.0
//
// Between the sources of the block client: making the connection (block_connect.c), slots and rings
// (block_ring.c), waiting for answers (block_wait.c), and the two forms (block_calls.c, block_async.c).
#ifndef CARRICK_LIB_BLOCK_INTERNAL_H
#define CARRICK_LIB_BLOCK_INTERNAL_H

#include <carrick/libcarrick.h>

#include "lib/ring.h"

#include <pthread.h>
#include <stdatomic.h>

enum slot_state {
    SLOT_FREE = 0,
    SLOT_WAITING = 1,  // its request is under way
    SLOT_SLEEPING = 2, // so it is, and its thread sleeps on the state
    SLOT_DONE = 3,
};

struct slot {
    _Atomic uint32_t state;
    uint32_t tag; // of the newest request in it
    int error;    // when SLOT_DONE
    // The form with a descriptor:
    uint64_t cookie;
    void *buffer; // READ: where the data goes
    uint64_t length;
};

struct carrick_block {
    int fd;
    struct ring ring;
    size_t ring_bytes;
    uint64_t bytes;
    bool read_only;
    bool is_async;
    atomic_bool over;

    // Under the lock: free slots, and the request ring, which has one writer.
    pthread_mutex_t lock;
    pthread_cond_t room;
    uint32_t waiting_for_room;
    uint32_t free_count;
    uint32_t free[RING_SLOTS_MAX];
    uint32_t request_tail;

    // Whoever leads takes the answers for all; the others sleep each on its slot.
    atomic_bool leads;
    uint32_t answer_head; // the leader's
    atomic_uint sleepers;

    // The thread that waits for the end.
    pthread_t watcher;
    bool has_watcher, has_on_over, closing; // under the lock
    pthread_cond_t watcher_wake;
    void (*on_over)(void *arg);
    void *on_over_arg;

    struct slot slot[RING_SLOTS_MAX];
};

// A free slot, its state WAITING; -1: there is none, or the connection is over.
int slot_take(struct carrick_block *b, bool wait);
void slot_release(struct carrick_block *b, uint32_t slot);
// Puts the request in and rings if the daemon sleeps. request->tag is filled in.
void request_put(struct carrick_block *b, struct ring_request *request);
// Takes one answer and marks its slot done; its number, -1 for none, -2 if the other end is broken.
int answer_take(struct carrick_block *b);
// The connection is over: all who wait are woken. The other end is told by the socket.
void block_over(struct carrick_block *b);

// Waits for the answer of the request in this slot: 0 or an errno value. The slot stays taken.
int slot_wait(struct carrick_block *b, uint32_t slot);
// Wakes one that sleeps, so that somebody leads; all, when the connection is over.
void sleepers_wake(struct carrick_block *b, bool all);

int watcher_start(struct carrick_block *b);
void watcher_stop(struct carrick_block *b);

#endif
