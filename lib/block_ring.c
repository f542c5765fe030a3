// SPDX-License-Identifier: Apache-2.0
#include "lib/block_internal.h"

#include <errno.h>
#include <sys/socket.h>

int slot_take(struct carrick_block *b, bool wait)
{
    int slot = -1;
    pthread_mutex_lock(&b->lock);
    while (wait && b->free_count == 0 && !b->over) {
        b->waiting_for_room++;
        pthread_cond_wait(&b->room, &b->lock);
        b->waiting_for_room--;
    }
    if (b->free_count && !b->over) {
        slot = (int)b->free[--b->free_count];
        b->slot[slot].tag++;
        b->slot[slot].error = 0;
        atomic_store(&b->slot[slot].state, SLOT_WAITING);
    }
    pthread_mutex_unlock(&b->lock);
    return slot;
}

void slot_release(struct carrick_block *b, uint32_t slot)
{
    pthread_mutex_lock(&b->lock);
    atomic_store(&b->slot[slot].state, SLOT_FREE);
    b->free[b->free_count++] = slot;
    bool wake = b->waiting_for_room != 0;
    pthread_mutex_unlock(&b->lock);
    if (wake)
        pthread_cond_signal(&b->room);
}

void request_put(struct carrick_block *b, struct ring_request *request)
{
    request->tag = b->slot[request->slot].tag;
    pthread_mutex_lock(&b->lock);
    ring_put_request(&b->ring, &b->request_tail, request);
    pthread_mutex_unlock(&b->lock);
    // A full socket buffer means that bells are there which the daemon has not heard yet.
    if (ring_must_wake(&b->ring, RING_SERVER_SLEEPS) != RING_AWAKE)
        send(b->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int answer_take(struct carrick_block *b)
{
    struct ring_answer answer;
    int taken = ring_take_answer(&b->ring, &b->answer_head, &answer);
    if (taken <= 0)
        return taken == 0 ? -1 : -2;
    struct slot *slot = &b->slot[answer.slot];
    uint32_t state = atomic_load(&slot->state);
    if ((state != SLOT_WAITING && state != SLOT_SLEEPING) || slot->tag != answer.tag)
        return -2;
    slot->error = answer.error <= 4095 ? (int)answer.error : EIO;
    return (int)answer.slot;
}

void block_over(struct carrick_block *b)
{
    atomic_store(&b->over, true);
    shutdown(b->fd, SHUT_RDWR);
    pthread_mutex_lock(&b->lock);
    pthread_cond_broadcast(&b->room);
    pthread_mutex_unlock(&b->lock);
    sleepers_wake(b, true);
}
