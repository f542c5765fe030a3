// SPDX-License-Identifier: Apache-2.0
//
// From the log to the disk.
//
// A sweep goes over the whole index in the order of offsets, writes what is there when it comes by, waits, syncs, and only then
// takes out of the index what it wrote. So
//   - overlapping writes are never under way together, and of several records for a block only the newest is written;
//   - when a sweep has ended, every record told before it began is on the disk, or a newer acknowledged one in its place;
//   - after an error everything is still in the index, and the next sweep writes all of it again: a page whose
//     write-back failed is not trusted.
// Data is copied out of the log when its write begins: the log may change under an old write after a change of role.
#include "shelf.h"

#include "catchup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void timer_arm(struct shelf_group *group, uint64_t delay_ms)
{
    if (group->timer_runs && delay_ms > 0)
        return;
    group->timer_runs = true;
    group->client->base->timer_start(group->timer, delay_ms * 1000000u);
}

static bool work_waits(const struct shelf_group *group)
{
    return group->told > group->destaged && group->role != CARRICK_LOG_IDLE && !group->broken &&
           shelf_group_maps_ready(group);
}

// Records come again that the disk may hold already, with newer ones over them: until all were told, the index is not the
// newest content of each place.
static bool is_told_again(const struct shelf_group *group)
{
    struct carrick_log_copy copy = {.struct_size = sizeof copy};

    if (group->role != CARRICK_LOG_SHADOW)
        return false;
    group->client->log_ops->copy(group->log, &copy);
    return copy.replays;
}

// Somebody waits for it, here or at the partner, or it has become much.
static bool is_eager(const struct shelf_group *group)
{
    return group->hurry || group->hurry_sequence > group->destaged ||
           group->waiting_bytes >= group->eager_bytes;
}

void shelf_destage_wake(struct shelf_group *group)
{
    uint32_t state = group->sweep.state;

    if (state == SHELF_SWEEP_RESTING)
        return; // its timer runs
    if (state != SHELF_SWEEP_IDLE)
        timer_arm(group, 0);
    else if (work_waits(group))
        timer_arm(group, is_eager(group) ? 0 : group->client->config.destage_delay_ms);
}

void shelf_destage_hurry(struct shelf_group *group)
{
    group->hurry = true;
    if (group->sweep.state == SHELF_SWEEP_IDLE && work_waits(group))
        timer_arm(group, 0);
}

void shelf_destage_timer(void *arg)
{
    struct shelf_group *group = arg;

    group->timer_runs = false;
    if (group->sweep.state == SHELF_SWEEP_RESTING)
        group->sweep.state = SHELF_SWEEP_IDLE;
    shelf_destage_pump(group);
}

static void sweep_begin(struct shelf_group *group)
{
    struct shelf_sweep *sweep = &group->sweep;

    sweep->state = SHELF_SWEEP_WRITING;
    if (++sweep->number == 0)
        sweep->number = 1;
    sweep->target = group->told;
    sweep->shelf = 0;
    sweep->offset = 0;
    sweep->failed = false;
    group->hurry = false;
    group->waiting_bytes = 0;
    for (uint32_t i = 0; i < group->count; i++)
        sweep->sync_failures[i] = group->shelves[i]->sync_failures;
}

static void sweep_fail(struct shelf_group *group, struct shelf *shelf, const char *what,
                       int sys_errno)
{
    struct shelf_sweep *sweep = &group->sweep;

    shelf_disk_failed(shelf, what, sys_errno);
    if (sweep->state == SHELF_SWEEP_ENDING && !sweep->failed)
        return; // called off
    sweep->failed = true;
    sweep->state = SHELF_SWEEP_ENDING;
}

static void sweep_written(struct shelf_write *write, int sys_errno)
{
    struct shelf_group *group = write->arg;

    group->sweep.under_way--;
    if (sys_errno != 0)
        sweep_fail(group, write->shelf, "a write", sys_errno);
    shelf_destage_pump(group);
    shelf_follower_pump(group); // a chunk may have waited for this range
}

// How far the run of segments that begins at `start` can go in one write.
static uint64_t run_end(uint64_t start, const struct shelf_segment *segment)
{
    const struct shelf_record *first = segment->record;
    bool data = first->data != NULL;
    uint64_t limit = data ? start + SHELF_WRITE_BYTES_MAX : UINT64_MAX;
    uint64_t end = shelf_min(segment->end, limit);

    for (uint32_t steps = 0; steps < SHELF_SLICE && end < limit; steps++) {
        segment = segment->next;
        if (segment == NULL || segment->start != end || (segment->record->data != NULL) != data ||
            segment->record->kind != first->kind)
            break;
        end = shelf_min(segment->end, limit);
    }
    return end;
}

// Marks the segments of [start, end) as written by this sweep, and copies their data.
static void run_take(const struct shelf_group *group, struct shelf_segment *segment, uint64_t start,
                     uint64_t end, uint8_t *buffer)
{
    for (uint64_t at = start; at < end; segment = segment->next) {
        uint64_t part_end = shelf_min(segment->end, end);

        // One that came since and begins behind the cursor is not written whole now: it stays for the next sweep.
        if (segment->start >= at)
            segment->sweep = group->sweep.number;
        if (buffer != NULL)
            memcpy(buffer + (at - start), segment->record->data + (at - segment->record->offset),
                   part_end - at);
        at = part_end;
    }
}

enum step { STEP_DONE, STEP_MORE, STEP_WAIT };

static enum step write_step(struct shelf_group *group)
{
    struct shelf_sweep *sweep = &group->sweep;
    struct shelf *shelf = group->shelves[sweep->shelf];
    struct shelf_segment *segment = shelf_index_find(&shelf->index, sweep->offset);

    if (segment == NULL) {
        sweep->offset = 0;
        return ++sweep->shelf == group->count ? STEP_DONE : STEP_MORE;
    }
    uint64_t start = shelf_max(segment->start, sweep->offset);
    uint64_t end = run_end(start, segment);
    uint32_t operation = segment->record->data != NULL               ? CARRICK_FILE_WRITE
                         : segment->record->kind == CARRICK_LOG_TRIM ? CARRICK_FILE_TRIM
                                                                     : CARRICK_FILE_ZERO;
    bool data = operation == CARRICK_FILE_WRITE;

    // Of a sweep's own writes none overlaps another, and it begins when those of the one before have ended.
    if (shelf->chunk_writes > 0 && shelf_disk_busy(shelf, start, end))
        return STEP_WAIT; // its end comes by here
    if (group->marking) {
        // First the map, then the disk: what this node alone has written can be told after any crash.
        shelf_map_mark(shelf->map, start, end);
        if (!shelf_map_range_durable(shelf->map, start, end)) {
            shelf_map_flush(shelf->map);
            return STEP_WAIT;
        }
    }
    struct shelf_write *write = shelf_disk_write_new(shelf, data ? end - start : 0);
    int sys_errno = ENOMEM;
    if (write != NULL) {
        uint8_t *bytes = data ? shelf_disk_write_bytes(write) : NULL;

        write->start = start;
        write->end = end;
        write->kind = SHELF_WRITE_DESTAGE;
        write->tag = sweep->number;
        write->fn = sweep_written;
        write->arg = group;
        run_take(group, segment, start, end, bytes);
        sys_errno = shelf_disk_write(write, operation, bytes);
    }
    if (sys_errno != 0) {
        sweep_fail(group, shelf, "a write", sys_errno);
        return STEP_WAIT;
    }
    shelf->swept = sweep->number;
    sweep->under_way++;
    sweep->offset = end;
    return STEP_MORE;
}

struct sweep_sync {
    struct shelf_group *group;
    struct shelf *shelf;
};

static void sweep_synced(void *arg, int sys_errno)
{
    struct sweep_sync sync = *(struct sweep_sync *)arg;
    struct shelf_group *group = sync.group;

    free(arg);
    group->sweep.under_way--;
    if (sys_errno != 0)
        sweep_fail(group, sync.shelf, "a sync", sys_errno);
    shelf_destage_pump(group);
}

static void sync_begin(struct shelf_group *group)
{
    struct shelf_sweep *sweep = &group->sweep;

    sweep->state = SHELF_SWEEP_SYNCING;
    for (uint32_t i = 0; i < group->count && !sweep->failed; i++) {
        if (i > 0 && group->client->break_each)
            break;
        struct sweep_sync *sync = malloc(sizeof *sync);
        int sys_errno = ENOMEM;

        if (sync != NULL) {
            *sync = (struct sweep_sync){.group = group, .shelf = group->shelves[i]};
            sys_errno = shelf_disk_sync(group->shelves[i], sweep_synced, sync);
        }
        if (sys_errno == 0) {
            sweep->under_way++;
        } else {
            free(sync);
            sweep_fail(group, group->shelves[i], "a sync", sys_errno);
        }
    }
}

static void sync_end(struct shelf_group *group)
{
    struct shelf_sweep *sweep = &group->sweep;

    for (uint32_t i = 0; i < group->count; i++) {
        if (group->shelves[i]->sync_failures != sweep->sync_failures[i]) {
            sweep_fail(group, group->shelves[i], "a sync", EIO);
            return;
        }
    }
    // A sync of nothing proves nothing.
    for (uint32_t i = 0; i < group->count; i++)
        if (group->shelves[i]->swept == sweep->number)
            shelf_disk_works(group->shelves[i]);
    sweep->retry_ms = 0;
    sweep->state = SHELF_SWEEP_DROPPING;
    sweep->shelf = 0;
    sweep->offset = 0;
}

// Takes what was written out of the index, a slice at a time. false: it goes on later.
static bool drop_slice(struct shelf_group *group)
{
    struct shelf_sweep *sweep = &group->sweep;

    if (group->drop_holds > 0)
        return false; // shelf_destage_wake comes when the last ends
    group->drops++;
    for (uint32_t steps = 0; sweep->shelf < group->count; sweep->shelf++) {
        struct shelf_index *index = &group->shelves[sweep->shelf]->index;
        struct shelf_segment *segment = shelf_index_find(index, sweep->offset), *next;

        for (; segment != NULL; segment = next) {
            if (steps++ == SHELF_SLICE) {
                timer_arm(group, 0);
                return false;
            }
            next = segment->next;
            sweep->offset = segment->end;
            if (segment->sweep == sweep->number)
                shelf_index_remove(index, segment);
        }
        sweep->offset = 0;
    }
    return true;
}

static void sweep_end(struct shelf_group *group)
{
    group->sweep.state = SHELF_SWEEP_IDLE;
    group->destaged = shelf_max(group->destaged, group->sweep.target);
    shelf_group_tell_synced(group);
    if (group->sync_queue.count > 0)
        group->hurry = true;
}

static bool ending_step(struct shelf_group *group)
{
    struct shelf_sweep *sweep = &group->sweep;

    if (sweep->under_way > 0)
        return false;
    if (!sweep->failed) {
        sweep->state = SHELF_SWEEP_IDLE;
        return true;
    }
    sweep->state = SHELF_SWEEP_RESTING;
    sweep->retry_ms = sweep->retry_ms == 0
                          ? SHELF_RETRY_MS_MIN
                          : (uint32_t)shelf_min(sweep->retry_ms * 2u, SHELF_RETRY_MS_MAX);
    group->timer_runs = false;
    timer_arm(group, sweep->retry_ms);
    return false;
}

static bool pump_step(struct shelf_group *group)
{
    struct shelf_sweep *sweep = &group->sweep;

    switch (sweep->state) {
    case SHELF_SWEEP_IDLE:
        if (!work_waits(group))
            return false;
        if (!is_eager(group) && group->timer_runs)
            return false;
        if (is_told_again(group)) {
            timer_arm(group, SHELF_REPLAY_MS);
            return false;
        }
        sweep_begin(group);
        return true;
    case SHELF_SWEEP_WRITING:
        if (sweep->shelf == group->count) {
            if (sweep->under_way > 0)
                return false;
            sync_begin(group);
            return true;
        }
        if (sweep->under_way >= group->client->config.destage_requests)
            return false;
        return write_step(group) != STEP_WAIT || sweep->state == SHELF_SWEEP_ENDING;
    case SHELF_SWEEP_SYNCING:
        if (sweep->under_way > 0)
            return false;
        sync_end(group);
        return true;
    case SHELF_SWEEP_DROPPING:
        if (!drop_slice(group))
            return false;
        sweep_end(group);
        shelf_destage_wake(group); // what came meanwhile waits for its delay
        return false;
    case SHELF_SWEEP_ENDING:
        return ending_step(group);
    default:
        return false;
    }
}

void shelf_destage_pump(struct shelf_group *group)
{
    while (pump_step(group))
        ;
}

void shelf_destage_cancel(struct shelf_group *group)
{
    struct shelf_sweep *sweep = &group->sweep;

    sweep->failed = false;
    if (sweep->state == SHELF_SWEEP_RESTING || sweep->under_way == 0)
        sweep->state = SHELF_SWEEP_IDLE;
    else
        sweep->state = SHELF_SWEEP_ENDING;
    group->client->base->timer_stop(group->timer);
    group->timer_runs = false;
}
