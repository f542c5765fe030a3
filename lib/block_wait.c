// SPDX-License-Identifier: Apache-2.0
//
// How threads wait for their answers. One of them leads: it takes answers from the ring for all, and sleeps on the
// flag that the daemon takes away. The others sleep each on its slot. Whoever's own answer has come stops leading and
// wakes another who may. So a single thread is woken by the daemon directly, with no thread of ours between, and for many
// the daemon makes one call for a whole group of answers.
#include "lib/block_internal.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void futex_wait(void *word, uint32_t value, int how)
{
    syscall(SYS_futex, word, FUTEX_WAIT | how, value, NULL, NULL, 0);
}

static void futex_wake(void *word, int count, int how)
{
    syscall(SYS_futex, word, FUTEX_WAKE | how, count, NULL, NULL, 0);
}

static bool slot_rouse(struct slot *slot, uint32_t to)
{
    uint32_t was = SLOT_SLEEPING;
    if (!atomic_compare_exchange_strong(&slot->state, &was, to))
        return false;
    futex_wake(&slot->state, 1, FUTEX_PRIVATE_FLAG);
    return true;
}

void sleepers_wake(struct carrick_block *b, bool all)
{
    if (all) {
        __atomic_store_n(ring_word(&b->ring, RING_USER_SLEEPS), (uint32_t)RING_AWAKE,
                         __ATOMIC_SEQ_CST);
        futex_wake(ring_word(&b->ring, RING_USER_SLEEPS), INT_MAX, 0);
    }
    if (!all && atomic_load(&b->sleepers) == 0)
        return;
    for (uint32_t i = 0; i < b->ring.slots; i++)
        if (slot_rouse(&b->slot[i], SLOT_WAITING) && !all)
            return;
}

static void answers_take_all(struct carrick_block *b)
{
    int slot;
    while ((slot = answer_take(b)) >= 0) {
        struct slot *s = &b->slot[slot];
        uint32_t was = atomic_exchange(&s->state, SLOT_DONE);
        if (was == SLOT_SLEEPING)
            futex_wake(&s->state, 1, FUTEX_PRIVATE_FLAG);
    }
    if (slot == -2)
        block_over(b);
}

// Until the leader's own answer is there, or the connection is over.
static void lead(struct carrick_block *b, const struct slot *own)
{
    for (;;) {
        answers_take_all(b);
        if (atomic_load(&own->state) == SLOT_DONE || b->over)
            return;
        if (ring_fall_asleep(&b->ring, RING_USER_SLEEPS, RING_SLEEPS_ON_WORD, RING_ANSWER_TAIL,
                             b->answer_head))
            continue;
        // block_over sets `over` first and takes the flag away then: one of the two is seen here.
        if (!b->over)
            futex_wait(ring_word(&b->ring, RING_USER_SLEEPS), RING_SLEEPS_ON_WORD, 0);
    }
}

static void follow(struct carrick_block *b, struct slot *own)
{
    uint32_t was = SLOT_WAITING;
    atomic_fetch_add(&b->sleepers, 1);
    if (atomic_compare_exchange_strong(&own->state, &was, SLOT_SLEEPING)) {
        // A leader stops leading first and looks for sleepers then, and so does the end: one of the two is seen.
        if (atomic_load(&b->leads) && !b->over)
            futex_wait(&own->state, SLOT_SLEEPING, FUTEX_PRIVATE_FLAG);
        was = SLOT_SLEEPING;
        atomic_compare_exchange_strong(&own->state, &was, SLOT_WAITING);
    }
    atomic_fetch_sub(&b->sleepers, 1);
}

int slot_wait(struct carrick_block *b, uint32_t slot)
{
    struct slot *own = &b->slot[slot];
    for (;;) {
        if (b->over)
            return ESHUTDOWN;
        if (atomic_load(&own->state) == SLOT_DONE)
            return own->error;
        if (!atomic_exchange(&b->leads, true)) {
            lead(b, own);
            atomic_store(&b->leads, false);
            sleepers_wake(b, false);
        } else {
            follow(b, own);
        }
    }
}

// ---- the end

// Returns when the other end is gone, or watcher_stop has shut the socket down.
static void wait_for_end(struct carrick_block *b)
{
    char bytes[64];
    struct pollfd end = {.fd = b->fd, .events = POLLIN | POLLRDHUP};
    for (;;) {
        if (poll(&end, 1, -1) < 0)
            continue;
        if (end.revents & (POLLHUP | POLLRDHUP | POLLERR | POLLNVAL))
            return;
        // In this form the daemon has nothing to say here.
        ssize_t got = recv(b->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            return;
    }
}

static void *watcher_run(void *arg)
{
    struct carrick_block *b = arg;
    wait_for_end(b);
    block_over(b);
    pthread_mutex_lock(&b->lock);
    while (!b->closing) {
        void (*fn)(void *) = b->on_over;
        b->on_over = NULL;
        if (fn) {
            pthread_mutex_unlock(&b->lock);
            fn(b->on_over_arg);
            pthread_mutex_lock(&b->lock);
        } else {
            pthread_cond_wait(&b->watcher_wake, &b->lock);
        }
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

int watcher_start(struct carrick_block *b)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&b->watcher, NULL, watcher_run, b);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    b->has_watcher = !failed;
    return failed;
}

void watcher_stop(struct carrick_block *b)
{
    pthread_mutex_lock(&b->lock);
    b->closing = true;
    pthread_cond_signal(&b->watcher_wake);
    pthread_mutex_unlock(&b->lock);
    shutdown(b->fd, SHUT_RDWR);
    pthread_join(b->watcher, NULL);
}
