// SPDX-License-Identifier: Apache-2.0
//
// How anything reaches another thread: a call that is posted into the mailbox of that thread's loop, and made there.
// Calls are made in the order in which they were posted.
#ifndef DAEMON_MAILBOX_H
#define DAEMON_MAILBOX_H

#include <stdbool.h>
#include <uv.h>

#define MAILBOX_LETTERS_MAX                                                                        \
    4096u // that wait at once; a loop that stands still must not collect more

struct letter;

struct mailbox {
    uv_async_t async;
    uv_mutex_t lock;
    struct letter *first, **end;
    unsigned count;
    bool closed;
};

// On the loop's thread, or before it runs. 0, or an enum carrick_status.
int mailbox_open(struct mailbox *mailbox, uv_loop_t *loop);

// Any thread. Makes fn(arg) be called on the loop's thread. CARRICK_OK, CARRICK_ERR_NO_MEMORY, CARRICK_ERR_AGAIN when too
// many wait, CARRICK_ERR_STATE when it is closed: fn is then not called.
int mailbox_post(struct mailbox *mailbox, void (*fn)(void *arg), void *arg);

// On the loop's thread. Makes the calls that still wait, then takes no more. The loop must run once more before the
// mailbox's memory goes, and mailbox_free must be called after that.
void mailbox_close(struct mailbox *mailbox);
// No other thread can post any more.
void mailbox_free(struct mailbox *mailbox);

#endif
