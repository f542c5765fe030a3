// SPDX-License-Identifier: Apache-2.0
//
// Requests of exports. Each is in one place at a time; every place is a queue of its group:
//
//     write   (room) -> log -> [sync, with FUA] -> answered
//     flush   sync -> answered, or answered in the next turn
//     read    [disk] -> barrier -> answered
//
// A request of an export that is over is dropped at once: it is appended never, answered never, and the user's memory is
// touched no more. One that a barrier or the disk still knows of stays as an empty shell until that has answered.
#include "shelf.h"

#include "catchup.h"

#include <errno.h>
#include <string.h>

// ---- queues

static void queue_add(struct shelf_queue *queue, struct shelf_request *request, uint32_t place)
{
    request->place = place;
    request->next = NULL;
    request->previous = queue->last;
    if (queue->last != NULL)
        queue->last->next = request;
    else
        queue->first = request;
    queue->last = request;
    queue->count++;
}

static void queue_remove(struct shelf_queue *queue, struct shelf_request *request)
{
    if (request->previous != NULL)
        request->previous->next = request->next;
    else
        queue->first = request->next;
    if (request->next != NULL)
        request->next->previous = request->previous;
    else
        queue->last = request->previous;
    request->next = request->previous = NULL;
    request->place = SHELF_AT_NONE;
    queue->count--;
}

static struct shelf_queue *queue_of(struct shelf_request *request)
{
    switch (request->place) {
    case SHELF_AT_ROOM:
        return &request->group->room;
    case SHELF_AT_LOG:
        return &request->group->log_queue;
    case SHELF_AT_SYNC:
        return &request->group->sync_queue;
    case SHELF_AT_DONE:
        return &request->group->done;
    default:
        return NULL;
    }
}

static void request_free(struct shelf_request *request)
{
    shelf_pool_put(&request->group->client->request_pool, request);
}

static void leave_export(struct shelf_request *request)
{
    struct carrick_export *export_ = request->export_;

    if (request->export_previous != NULL)
        request->export_previous->export_next = request->export_next;
    else
        export_->requests = request->export_next;
    if (request->export_next != NULL)
        request->export_next->export_previous = request->export_previous;
    export_->open--;
    request->export_ = NULL;
    request->data = NULL;
}

// Answers between these two calls are followed by one answers_end, others by one each.
static void answers_begin(struct carrick_client *client)
{
    client->answering++;
}

static void answers_end(struct carrick_client *client)
{
    if (--client->answering > 0 || !client->answers_end_due)
        return;
    client->answers_end_due = false;
    // The callback may close any export: the list is looked through anew after each.
    for (struct carrick_export *at = client->exports; at != NULL;) {
        if (!at->answers_end_due) {
            at = at->next;
            continue;
        }
        at->answers_end_due = false;
        at->user.answers_end(at->arg);
        at = client->exports;
    }
}

// The user may do anything in its callback, closing the export included: nothing is touched after it.
static void answer(struct shelf_request *request, int sys_errno)
{
    struct carrick_export *export_ = request->export_;
    struct carrick_client *client = export_->client;
    struct shelf_queue *queue = queue_of(request);
    uint64_t cookie = request->cookie;

    if (queue != NULL)
        queue_remove(queue, request);
    leave_export(request);
    request_free(request);
    answers_begin(client);
    if (export_->user.answers_end != NULL)
        export_->answers_end_due = client->answers_end_due = true;
    export_->user.answered(export_->arg, cookie, sys_errno == 0 ? CARRICK_OK : CARRICK_ERR_SYSTEM,
                           sys_errno);
    answers_end(client);
}

void shelf_request_drop(struct shelf_request *request)
{
    struct shelf_queue *queue = queue_of(request);

    leave_export(request);
    if (request->gather != NULL)
        shelf_gather_drop(request->gather);
    if (request->place == SHELF_AT_BARRIER)
        return; // freed when the barrier answers
    if (queue != NULL)
        queue_remove(queue, request);
    request_free(request);
}

static void answer_later(struct shelf_request *request, int sys_errno)
{
    request->sys_errno = sys_errno;
    queue_add(&request->group->done, request, SHELF_AT_DONE);
    shelf_client_turn(request->group->client);
}

// ---- writes and flushes

// Does the log alone hold what it acknowledges as safely as a flush promises?
static bool log_is_safe(const struct shelf_group *group)
{
    return group->level >= (group->client->config.flush_memory ? (uint32_t)CARRICK_LEVEL_MEMORY
                                                               : CARRICK_LEVEL_PERSISTENT);
}

static void hurry(struct shelf_group *group)
{
    shelf_destage_hurry(group);
    shelf_catchup_hurry(group);
}

static int append(struct shelf_request *request)
{
    struct shelf_group *group = request->group;
    struct carrick_log_entry entry = {
        .struct_size = sizeof entry,
        .kind = request->operation == CARRICK_BLOCK_WRITE  ? CARRICK_LOG_WRITE
                : request->operation == CARRICK_BLOCK_TRIM ? CARRICK_LOG_TRIM
                                                           : CARRICK_LOG_ZERO,
        .shelf = request->export_->shelf->number,
        .offset = request->offset,
        .length = request->length,
        .data = request->operation == CARRICK_BLOCK_WRITE ? request->data : NULL,
    };

    return group->client->log_ops->append(group->log, &entry, &request->sequence);
}

// Appends what waits, in order, as far as there is room.
void shelf_requests_room(struct shelf_group *group)
{
    while (group->room.first != NULL) {
        struct shelf_request *request = group->room.first;
        int status = append(request);

        if (status == CARRICK_ERR_AGAIN) {
            hurry(group);
            return;
        }
        if (status == CARRICK_ERR_STATE) {
            shelf_exports_close(group, "the log takes no more writes");
            return;
        }
        queue_remove(&group->room, request);
        if (status == CARRICK_OK)
            queue_add(&group->log_queue, request, SHELF_AT_LOG);
        else
            answer_later(request, EIO);
    }
}

void shelf_requests_acknowledged(struct shelf_group *group)
{
    answers_begin(group->client);
    while (group->log_queue.first != NULL) {
        struct shelf_request *request = group->log_queue.first;

        if (request->sequence > group->acknowledged)
            break;
        if ((request->flags & CARRICK_BLOCK_FUA) && !log_is_safe(group) &&
            request->sequence > group->everywhere) {
            queue_remove(&group->log_queue, request);
            queue_add(&group->sync_queue, request, SHELF_AT_SYNC);
            hurry(group);
            continue;
        }
        answer(request, 0);
    }
    answers_end(group->client);
}

void shelf_requests_synced(struct shelf_group *group)
{
    answers_begin(group->client);
    // In the order of sequences: a flush waits for all that is acknowledged when it comes.
    while (group->sync_queue.first != NULL &&
           group->sync_queue.first->sequence <= group->everywhere)
        answer(group->sync_queue.first, 0);
    answers_end(group->client);
}

static void begin_flush(struct shelf_request *request)
{
    struct shelf_group *group = request->group;

    if (log_is_safe(group) || group->acknowledged <= group->everywhere) {
        answer_later(request, 0);
        return;
    }
    request->sequence = group->acknowledged;
    queue_add(&group->sync_queue, request, SHELF_AT_SYNC);
    hurry(group);
}

static int begin_write(struct shelf_request *request)
{
    struct shelf_group *group = request->group;
    int status = group->room.count > 0 ? CARRICK_ERR_AGAIN : append(request);

    if (status == CARRICK_OK)
        queue_add(&group->log_queue, request, SHELF_AT_LOG);
    if (status != CARRICK_ERR_AGAIN)
        return status;
    // A full log is emptied by the disks of both nodes: neither rests then.
    if (group->room.count == 0)
        hurry(group);
    queue_add(&group->room, request, SHELF_AT_ROOM);
    return CARRICK_OK;
}

// ---- reads

static void barrier_answered(void *arg, bool fresh)
{
    struct shelf_request *request = arg;
    struct carrick_export *export_ = request->export_;

    queue_remove(&request->group->barriers, request);
    if (export_ == NULL) {
        request_free(request);
        return;
    }
    if (fresh)
        answer(request, 0);
    else // this node may not be the one that serves any more: silence is the only true answer
        shelf_export_fail(export_,
                          "the partner no longer promises to leave the group to this node");
}

static void ask_barrier(struct shelf_request *request)
{
    struct shelf_group *group = request->group;

    queue_add(&group->barriers, request, SHELF_AT_BARRIER);
    int status = group->client->log_ops->read_barrier(group->log, barrier_answered, request);
    if (status == CARRICK_OK)
        return;
    queue_remove(&group->barriers, request);
    if (status == CARRICK_ERR_AGAIN || status == CARRICK_ERR_NO_MEMORY)
        answer_later(request, ENOMEM);
    else
        shelf_export_fail(request->export_, "reads cannot be proven fresh");
}

static void gathered(void *arg, const uint8_t *data, int sys_errno)
{
    struct shelf_request *request = arg;

    request->gather = NULL;
    request->place = SHELF_AT_NONE;
    if (sys_errno != 0) {
        shelf_disk_failed(request->export_->shelf, "a read", sys_errno);
        answer_later(request, sys_errno == ENOMEM ? ENOMEM : EIO);
        return;
    }
    memcpy(request->data, data, request->length);
    ask_barrier(request);
}

static int begin_read(struct shelf_request *request)
{
    struct shelf *shelf = request->export_->shelf;

    if (shelf_gather_now(shelf, request->offset, request->length, request->data) == CARRICK_OK) {
        ask_barrier(request);
        return CARRICK_OK;
    }
    request->place = SHELF_AT_READ;
    request->gather =
        shelf_gather_begin(shelf, request->offset, request->length, NULL, gathered, request);
    return request->gather != NULL ? CARRICK_OK : CARRICK_ERR_AGAIN;
}

// The log has been left: nobody answers those that were dropped.
void shelf_requests_end(struct shelf_group *group)
{
    while (group->barriers.first != NULL) {
        struct shelf_request *request = group->barriers.first;

        queue_remove(&group->barriers, request);
        request_free(request);
    }
}

// ---- the entrance

static int check(const struct carrick_export *export_, const struct carrick_block_request *request)
{
    uint64_t bytes = export_->shelf->bytes;

    if (request->operation == CARRICK_BLOCK_FLUSH)
        return CARRICK_OK;
    if (request->operation < CARRICK_BLOCK_READ || request->operation > CARRICK_BLOCK_ZERO)
        return CARRICK_ERR_INVALID;
    if (request->offset > bytes || request->length > bytes - request->offset)
        return CARRICK_ERR_BOUNDS;
    bool bears_data =
        request->operation == CARRICK_BLOCK_READ || request->operation == CARRICK_BLOCK_WRITE;
    if (bears_data && request->length > CARRICK_LOG_ENTRY_BYTES_MAX)
        return CARRICK_ERR_BOUNDS;
    if (bears_data && request->length > 0 && request->data == NULL)
        return CARRICK_ERR_INVALID;
    return CARRICK_OK;
}

static int begin(struct shelf_request *request)
{
    if (request->operation == CARRICK_BLOCK_FLUSH) {
        begin_flush(request);
        return CARRICK_OK;
    }
    if (request->length == 0) {
        answer_later(request, 0);
        return CARRICK_OK;
    }
    return request->operation == CARRICK_BLOCK_READ ? begin_read(request) : begin_write(request);
}

int shelf_request_submit(struct carrick_export *export_, const struct carrick_block_request *asked)
{
    if (export_->over)
        return CARRICK_ERR_STATE;
    int status = check(export_, asked);
    if (status != CARRICK_OK)
        return status;
    if (export_->open >= SHELF_OPEN_MAX)
        return CARRICK_ERR_AGAIN;
    struct shelf_request *request = shelf_pool_get(&export_->client->request_pool, sizeof *request);
    if (request == NULL)
        return CARRICK_ERR_AGAIN;
    *request = (struct shelf_request){.export_ = export_,
                                      .group = export_->shelf->group,
                                      .operation = asked->operation,
                                      .flags = asked->flags,
                                      .offset = asked->offset,
                                      .length = asked->length,
                                      .data = asked->data,
                                      .cookie = asked->cookie,
                                      .export_next = export_->requests};
    if (export_->requests != NULL)
        export_->requests->export_previous = request;
    export_->requests = request;
    export_->open++;
    status = begin(request);
    if (status != CARRICK_OK) {
        leave_export(request);
        request_free(request);
    }
    return status;
}

void shelf_request_submit_end(struct carrick_export *export_)
{
    struct shelf_group *group = export_->shelf->group;

    if (!export_->over && group->log != NULL)
        group->client->log_ops->commit(group->log);
}

void shelf_requests_turn(struct shelf_group *group)
{
    answers_begin(group->client);
    while (group->done.first != NULL)
        answer(group->done.first, group->done.first->sys_errno);
    answers_end(group->client);
}
