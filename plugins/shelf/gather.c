// SPDX-License-Identifier: Apache-2.0
//
// The content of a range as it is for a reader: the log where it has something, else the disk.
//
// With waiting: the disk is read first, then what the index holds is laid over it. What was in the index when the disk was
// read and is no more when it has answered would be missed: then it is read again, and from the second time
// on nothing leaves the index meanwhile.
#include "shelf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct shelf_gather {
    struct shelf *shelf;
    uint64_t offset, length;
    uint8_t *buffer;
    uint8_t *owned; // the buffer, if it is not the caller's
    uint64_t drops; // of the group when the read began
    bool holds;     // nothing leaves the index
    bool careful;   // only what the index does not cover is read, piece by piece
    uint64_t at;    // careful: done up to here
    uint64_t piece; // ... and the piece that is under way
    void (*fn)(void *arg, const uint8_t *data, int sys_errno); // NULL: dropped
    void *arg;
};

static void gather_read(struct shelf_gather *gather);

static void copy_from(uint8_t *to, const struct shelf_segment *segment, uint64_t start,
                      uint64_t end)
{
    const struct shelf_record *record = segment->record;

    if (record->data == NULL)
        memset(to, 0, end - start);
    else
        memcpy(to, record->data + (start - record->offset), end - start);
}

static struct shelf_segment *find_segment(struct shelf *shelf, uint64_t at)
{
    return shelf->client->break_index ? NULL : shelf_index_find(&shelf->index, at);
}

int shelf_gather_now(struct shelf *shelf, uint64_t offset, uint64_t length, uint8_t *data)
{
    const struct carrick_host *base = shelf->client->base;
    uint64_t end = offset + length;

    for (uint64_t at = offset; at < end;) {
        struct shelf_segment *segment = find_segment(shelf, at);
        uint64_t gap_end = segment == NULL ? end : shelf_min(segment->start, end);

        if (gap_end > at) {
            if (base->file_read_now(shelf->file, at, data + (at - offset), gap_end - at) !=
                CARRICK_OK)
                return CARRICK_ERR_AGAIN;
            at = gap_end;
        } else {
            uint64_t part_end = shelf_min(segment->end, end);
            copy_from(data + (at - offset), segment, at, part_end);
            at = part_end;
        }
    }
    return CARRICK_OK;
}

static void gather_hold(struct shelf_gather *gather, bool hold)
{
    if (gather->holds == hold)
        return;
    gather->holds = hold;
    if (hold)
        gather->shelf->group->drop_holds++;
    else if (--gather->shelf->group->drop_holds == 0)
        shelf_destage_wake(gather->shelf->group);
}

static void gather_free(struct shelf_gather *gather)
{
    gather_hold(gather, false);
    free(gather->owned);
    free(gather);
}

static void gather_end(struct shelf_gather *gather, int sys_errno)
{
    if (gather->fn != NULL)
        gather->fn(gather->arg, gather->buffer, sys_errno);
    gather_free(gather);
}

static void overlay(struct shelf_gather *gather)
{
    uint64_t end = gather->offset + gather->length;

    for (uint64_t at = gather->offset; at < end;) {
        struct shelf_segment *segment = find_segment(gather->shelf, at);

        if (segment == NULL || segment->start >= end)
            return;
        uint64_t start = shelf_max(segment->start, at);
        uint64_t part_end = shelf_min(segment->end, end);
        copy_from(gather->buffer + (start - gather->offset), segment, start, part_end);
        at = part_end;
    }
}

// A bad place on the disk does no harm where the log has the content: from now on only the rest is read.
static bool becomes_careful(struct shelf_gather *gather)
{
    struct shelf_segment *segment = shelf_index_find(&gather->shelf->index, gather->offset);

    if (gather->careful || segment == NULL || segment->start >= gather->offset + gather->length)
        return false;
    gather->careful = true;
    gather->at = gather->offset;
    gather_hold(gather, true);
    return true;
}

static void gather_answered(void *arg, int status, int sys_errno)
{
    struct shelf_gather *gather = arg;

    if (gather->fn == NULL) {
        gather_free(gather);
        return;
    }
    if (status != CARRICK_OK) {
        if (becomes_careful(gather))
            gather_read(gather);
        else
            gather_end(gather, sys_errno > 0 ? sys_errno : EIO);
        return;
    }
    if (gather->careful) {
        gather->at = gather->piece;
        gather_read(gather);
        return;
    }
    if (gather->drops != gather->shelf->group->drops) {
        gather_hold(gather, true);
        gather_read(gather);
        return;
    }
    overlay(gather);
    gather_end(gather, 0);
}

static int submit(struct shelf_gather *gather, uint64_t start, uint64_t end)
{
    struct carrick_file_request request = {.struct_size = sizeof request,
                                           .operation = CARRICK_FILE_READ,
                                           .offset = start,
                                           .length = end - start,
                                           .data = gather->buffer + (start - gather->offset),
                                           .fn = gather_answered,
                                           .arg = gather};

    return gather->shelf->client->base->file_submit(gather->shelf->file, &request);
}

// The next piece that the index does not cover; false: there is none.
static bool next_piece(struct shelf_gather *gather, uint64_t *start, uint64_t *piece_end)
{
    uint64_t end = gather->offset + gather->length;

    while (gather->at < end) {
        struct shelf_segment *segment = shelf_index_find(&gather->shelf->index, gather->at);
        uint64_t gap_end = segment == NULL ? end : shelf_min(segment->start, end);

        if (gap_end > gather->at) {
            *start = gather->at;
            *piece_end = gap_end;
            return true;
        }
        gather->at = segment->end;
    }
    return false;
}

static void gather_read(struct shelf_gather *gather)
{
    uint64_t start = gather->offset, end = gather->offset + gather->length;

    if (gather->careful && !next_piece(gather, &start, &end)) {
        overlay(gather);
        gather_end(gather, 0);
        return;
    }
    gather->piece = end;
    gather->drops = gather->shelf->group->drops;
    if (submit(gather, start, end) != CARRICK_OK)
        gather_end(gather, ENOMEM);
}

struct shelf_gather *shelf_gather_begin(struct shelf *shelf, uint64_t offset, uint64_t length,
                                        uint8_t *into,
                                        void (*fn)(void *arg, const uint8_t *data, int sys_errno),
                                        void *arg)
{
    struct shelf_gather *gather = calloc(1, sizeof *gather);

    if (gather == NULL)
        return NULL;
    gather->shelf = shelf;
    gather->offset = offset;
    gather->length = length;
    gather->fn = fn;
    gather->arg = arg;
    gather->owned = into == NULL ? malloc(length) : NULL;
    gather->buffer = into == NULL ? gather->owned : into;
    gather->piece = offset + length;
    gather->drops = shelf->group->drops;
    if (gather->buffer == NULL || submit(gather, offset, offset + length) != CARRICK_OK) {
        free(gather->owned);
        free(gather);
        return NULL;
    }
    return gather;
}

void shelf_gather_drop(struct shelf_gather *gather)
{
    gather->fn = NULL; // the disk still writes into the buffer
}
