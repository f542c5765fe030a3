// SPDX-License-Identifier: Apache-2.0
//
// The owner's side of a catch-up.
#include "catchup_internal.h"

#include "common/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPORT_MS 200u // between two reports of progress

void catchup_timer_arm(struct shelf_group *group, uint64_t delay_ns)
{
    group->catchup->timer_runs = true;
    group->client->base->timer_start(group->catchup->timer, delay_ns);
}

uint64_t catchup_marked_bytes(const struct shelf_group *group)
{
    uint64_t marked = 0;

    for (uint32_t i = 0; i < group->count; i++) {
        struct shelf_map_stats stats;
        shelf_map_stats(group->shelves[i]->map, &stats);
        marked += stats.marked;
    }
    return marked * SHELF_CHUNK_BYTES;
}

void shelf_catchup_describe(const struct shelf_group *group, struct carrick_resync *report)
{
    const struct shelf_catchup *catchup = group->catchup;
    bool runs = catchup->state >= CATCHUP_ASKING && catchup->state <= CATCHUP_FINISHING;
    uint64_t elapsed_ns = (runs ? catchup_now_ns(group) : catchup->ended_ns) - catchup->begun_ns;

    *report = (struct carrick_resync){.struct_size = sizeof *report};
    report->state = catchup->state == CATCHUP_NONE     ? CARRICK_RESYNC_NONE
                    : catchup->state == CATCHUP_EQUAL  ? CARRICK_RESYNC_EQUAL
                    : catchup->state == CATCHUP_FAILED ? CARRICK_RESYNC_FAILED
                                                       : CARRICK_RESYNC_RUNNING;
    report->done_bytes = catchup->done_bytes;
    report->total_bytes = catchup->done_bytes;
    if (report->state == CARRICK_RESYNC_RUNNING)
        report->total_bytes += catchup_marked_bytes(group);
    if (elapsed_ns > 1000000)
        report->bytes_per_second = catchup->done_bytes * 1000 / (elapsed_ns / 1000000);
    snprintf(report->cause, sizeof report->cause, "%s", catchup->cause);
}

static void report(struct shelf_group *group)
{
    struct carrick_resync resync;

    if (group->log == NULL)
        return;
    group->catchup->reported_ns = catchup_now_ns(group);
    shelf_catchup_describe(group, &resync);
    group->client->log_ops->resync_report(group->log, &resync);
}

static int send_message(struct shelf_group *group, struct shelf_message *message)
{
    memcpy(message->group, group->name, sizeof message->group);
    message->run = group->catchup->run;
    return shelf_link_send(group->client, message);
}

void catchup_fail(struct shelf_group *group, const char *cause)
{
    struct shelf_catchup *catchup = group->catchup;

    catchup_copy_leave(group);
    catchup->state = CATCHUP_FAILED;
    catchup->ended_ns = catchup_now_ns(group);
    snprintf(catchup->cause, sizeof catchup->cause, "%s", cause);
    group->client->base->log(
        group->client->base, CARRICK_LOG_ERROR,
        "group %s: the partner's shelves cannot be brought up to date: %s. It is tried again "
        "when the partner comes back",
        group->name, cause);
    group->partner_holds = false;
    shelf_group_mode(group);
    report(group);
}

// ---- the run

static void ask(struct shelf_group *group)
{
    struct shelf_catchup *catchup = group->catchup;
    uint8_t payload[16 + 8 * SHELF_SHELVES_MAX];
    struct shelf_message message = {.kind = SHELF_ASK,
                                    .shelf = group->count,
                                    .sequence = catchup->since,
                                    .payload_bytes = 16 + 8 * group->count,
                                    .payload = payload};

    if (catchup->asked || !group->client->link->up || !shelf_group_maps_ready(group))
        return;
    group->client->base->random(group->client->base, &catchup->run, sizeof catchup->run);
    memcpy(payload, group->generation.id, 16);
    for (uint32_t i = 0; i < group->count; i++)
        put_u64(payload + 16 + 8 * i, group->shelves[i]->bytes);
    if (send_message(group, &message) != CARRICK_OK)
        return;
    catchup->asked = true;
    catchup->heard_ns = catchup_now_ns(group);
    catchup_timer_arm(group, SHELF_ANSWER_MS * 1000000ull);
}

void catchup_finish(struct shelf_group *group)
{
    struct shelf_message message = {.kind = SHELF_FINISH};

    if (send_message(group, &message) == CARRICK_OK) {
        group->catchup->state = CATCHUP_FINISHING;
        group->catchup->heard_ns = catchup_now_ns(group);
        catchup_timer_arm(group, SHELF_ANSWER_MS * 1000000ull);
    }
}

void shelf_catchup_pump(struct shelf_group *group)
{
    struct shelf_catchup *catchup = group->catchup;

    if (catchup->state == CATCHUP_ASKING)
        ask(group);
    if (catchup->state != CATCHUP_COPYING)
        return;
    catchup_copy(group);
    if (catchup->state == CATCHUP_COPYING &&
        catchup_now_ns(group) - catchup->reported_ns > REPORT_MS * 1000000ull)
        report(group);
}

static void timer_fired(void *arg)
{
    struct shelf_group *group = arg;
    struct shelf_catchup *catchup = group->catchup;
    bool awaits = (catchup->state == CATCHUP_ASKING && catchup->asked) ||
                  catchup->state == CATCHUP_FINISHING ||
                  (catchup->state == CATCHUP_COPYING && catchup_copy_awaits(group));

    catchup->timer_runs = false;
    if (awaits && catchup_now_ns(group) - catchup->heard_ns >= SHELF_ANSWER_MS * 1000000ull) {
        catchup_fail(group, "its shelf client does not answer");
        return;
    }
    shelf_catchup_pump(group);
    if (!catchup->timer_runs && catchup->asked && catchup->state >= CATCHUP_ASKING &&
        catchup->state <= CATCHUP_FINISHING)
        catchup_timer_arm(group, SHELF_ANSWER_MS / 4 * 1000000ull);
}

void shelf_catchup_start(struct shelf_group *group, uint64_t since)
{
    struct shelf_catchup *catchup = group->catchup;

    catchup_copy_begin(group);
    catchup->state = CATCHUP_ASKING;
    catchup->asked = false;
    catchup->since = since;
    catchup->begun_ns = catchup_now_ns(group);
    catchup->cause[0] = '\0';
    report(group);
    shelf_catchup_pump(group);
}

void shelf_catchup_stop(struct shelf_group *group)
{
    struct shelf_catchup *catchup = group->catchup;

    catchup_copy_leave(group);
    group->client->base->timer_stop(catchup->timer);
    catchup->timer_runs = false;
    if (catchup->state >= CATCHUP_ASKING && catchup->state <= CATCHUP_FINISHING)
        catchup->ended_ns = catchup_now_ns(group);
    if (catchup->state != CATCHUP_NONE) {
        catchup->state = CATCHUP_NONE;
        report(group);
    }
}

void shelf_catchup_link(struct shelf_group *group, bool up)
{
    struct shelf_catchup *catchup = group->catchup;

    if (up) {
        shelf_catchup_pump(group);
        return;
    }
    group->partner_holds = false;
    if (group->follows)
        shelf_catchup_start(group, catchup->since);
    shelf_group_mode(group);
}

// ---- what the follower says

static void take_lacks(struct shelf_group *group, const struct shelf_message *message)
{
    if (message->shelf >= group->count)
        return;
    struct shelf_map *map = group->shelves[message->shelf]->map;
    if (message->kind == SHELF_LACKS_ALL)
        shelf_map_mark_all(map);
    else
        shelf_map_merge(map, message->chunk, message->payload, message->payload_bytes);
}

static void take_lacks_end(struct shelf_group *group)
{
    struct shelf_catchup *catchup = group->catchup;

    catchup->state = CATCHUP_COPYING;
    group->partner_synced = group->synced_told;
    group->partner_holds = true;
    shelf_group_flush_maps(group);
    shelf_group_mode(group);
    report(group);
}

static void take_finished(struct shelf_group *group)
{
    struct shelf_catchup *catchup = group->catchup;

    catchup->state = CATCHUP_EQUAL;
    catchup->ended_ns = catchup_now_ns(group);
    shelf_group_flush_maps(group);
    group->client->base->log(
        group->client->base, CARRICK_LOG_NOTICE,
        "group %s: the partner's shelves are up to date; %llu bytes were copied in %llu ms",
        group->name, (unsigned long long)catchup->done_bytes,
        (unsigned long long)((catchup->ended_ns - catchup->begun_ns) / 1000000));
    report(group);
}

void shelf_catchup_received(struct shelf_group *group, const struct shelf_message *message)
{
    struct shelf_catchup *catchup = group->catchup;
    char why[96];

    if (group->role != CARRICK_LOG_OWNER || !catchup->asked || message->run != catchup->run ||
        catchup->state == CATCHUP_NONE || catchup->state == CATCHUP_FAILED)
        return;
    catchup->heard_ns = catchup_now_ns(group);
    if (message->kind == SHELF_REFUSED) {
        snprintf(why, sizeof why, "the partner says: %.*s", (int)message->payload_bytes,
                 (const char *)message->payload);
        for (char *at = why; *at != '\0'; at++)
            if (*at < ' ' || *at > '~')
                *at = '?';
        catchup_fail(group, why);
    } else if (message->kind == SHELF_SYNCED) {
        group->partner_synced =
            shelf_max(group->partner_synced, shelf_min(message->sequence, group->told));
        shelf_group_tell_synced(group);
    } else if (catchup->state == CATCHUP_ASKING && message->kind == SHELF_LACKS_END) {
        take_lacks_end(group);
    } else if (catchup->state == CATCHUP_ASKING &&
               (message->kind == SHELF_LACKS || message->kind == SHELF_LACKS_ALL)) {
        take_lacks(group, message);
    } else if (catchup->state == CATCHUP_COPYING && message->kind == SHELF_CHUNK_DONE) {
        catchup_take_done(group, message);
    } else if (catchup->state == CATCHUP_COPYING && message->kind == SHELF_CHUNKS_SYNCED) {
        catchup_take_synced(group, message);
    } else if (catchup->state == CATCHUP_FINISHING && message->kind == SHELF_FINISHED) {
        take_finished(group);
    }
    shelf_catchup_pump(group);
}

void shelf_catchup_hurry(struct shelf_group *group)
{
    struct shelf_message message = {.kind = SHELF_HURRY, .sequence = group->told};

    send_message(group, &message);
}

int shelf_catchup_open(struct shelf_group *group)
{
    const struct carrick_host *base = group->client->base;

    group->catchup = calloc(1, sizeof *group->catchup);
    if (group->catchup == NULL)
        return CARRICK_ERR_NO_MEMORY;
    return base->timer_create(base, timer_fired, group, &group->catchup->timer);
}

void shelf_catchup_close(struct shelf_group *group)
{
    if (group->catchup == NULL)
        return;
    if (group->catchup->timer != NULL)
        group->client->base->timer_destroy(group->catchup->timer);
    free(group->catchup);
    group->catchup = NULL;
}
