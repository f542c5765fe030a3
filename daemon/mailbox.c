// SPDX-License-Identifier: Apache-2.0
#include "daemon/mailbox.h"

#include <stdlib.h>

#include <carrick/types.h>

struct letter {
    struct letter *next;
    void (*fn)(void *arg);
    void *arg;
};

static struct letter *take_all(struct mailbox *mailbox, bool close)
{
    uv_mutex_lock(&mailbox->lock);
    struct letter *first = mailbox->first;
    mailbox->first = NULL;
    mailbox->end = &mailbox->first;
    mailbox->count = 0;
    if (close && !first)
        mailbox->closed = true;
    uv_mutex_unlock(&mailbox->lock);
    return first;
}

static void make_calls(struct letter *letter)
{
    while (letter) {
        struct letter *next = letter->next;
        letter->fn(letter->arg);
        free(letter);
        letter = next;
    }
}

static void on_async(uv_async_t *async)
{
    make_calls(take_all(async->data, false));
}

int mailbox_open(struct mailbox *mailbox, uv_loop_t *loop)
{
    mailbox->first = NULL;
    mailbox->end = &mailbox->first;
    mailbox->count = 0;
    mailbox->closed = false;
    if (uv_mutex_init(&mailbox->lock))
        return CARRICK_ERR_NO_MEMORY;
    if (uv_async_init(loop, &mailbox->async, on_async)) {
        uv_mutex_destroy(&mailbox->lock);
        return CARRICK_ERR_SYSTEM;
    }
    mailbox->async.data = mailbox;
    return CARRICK_OK;
}

int mailbox_post(struct mailbox *mailbox, void (*fn)(void *arg), void *arg)
{
    struct letter *letter = malloc(sizeof(*letter));
    if (!letter)
        return CARRICK_ERR_NO_MEMORY;
    *letter = (struct letter){NULL, fn, arg};
    int status = CARRICK_OK;
    uv_mutex_lock(&mailbox->lock);
    if (mailbox->closed) {
        status = CARRICK_ERR_STATE;
    } else if (mailbox->count == MAILBOX_LETTERS_MAX) {
        status = CARRICK_ERR_AGAIN;
    } else {
        *mailbox->end = letter;
        mailbox->end = &letter->next;
        mailbox->count++;
        // Under the lock, so that the handle cannot be closed in between.
        uv_async_send(&mailbox->async);
    }
    uv_mutex_unlock(&mailbox->lock);
    if (status)
        free(letter);
    return status;
}

void mailbox_close(struct mailbox *mailbox)
{
    // What is called may post again.
    while (!mailbox->closed)
        make_calls(take_all(mailbox, true));
    uv_close((uv_handle_t *)&mailbox->async, NULL);
}

void mailbox_free(struct mailbox *mailbox)
{
    uv_mutex_destroy(&mailbox->lock);
}
