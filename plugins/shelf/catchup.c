// SPDX-License-Identifier: Apache-2.0
//
// The owner's side of a catch-up.
#include "catchup.h"

#include "bytes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MS 30000u  // longest time without a word from the partner, while one is awaited
#define REPORT_MS 200u    // between two reports of progress
#define AGAIN_MS 20u      // before chunks that could not be copied are tried again
#define FAILURES_MAX 100u // chunks in a row that could not be copied

enum state { NONE, ASKING, COPYING, FINISHING, EQUAL, FAILED };

struct shelf_catchup {
    enum state state;
    bool asked;
    uint64_t run;
    uint64_t since;
    struct carrick_timer *timer;
    bool timer_runs;
    uint64_t heard_ns;
    uint64_t begun_ns, reported_ns;
    uint64_t done_bytes; // copied in this run
    uint32_t shelf;      // the cursor
    uint64_t chunk;
    bool progress;    // since the cursor was last at the beginning
    uint64_t wait_ns; // the cursor begins anew not before
    uint64_t tokens_ns;
    uint64_t tokens; // bytes that may be sent now
    uint32_t failures;
    char cause[128];
};

static uint64_t now_ns(const struct shelf_group *group)
{
    return group->client->base->now_ns(group->client->base);
}

static void timer_arm(struct shelf_group *group, uint64_t delay_ns)
{
    group->catchup->timer_runs = true;
    group->client->base->timer_start(group->catchup->timer, delay_ns);
}

static uint64_t marked_bytes(const struct shelf_group *group)
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
    uint64_t elapsed_ns = now_ns(group) - catchup->begun_ns;

    *report = (struct carrick_resync){.struct_size = sizeof *report};
    report->state = catchup->state == NONE     ? CARRICK_RESYNC_NONE
                    : catchup->state == EQUAL  ? CARRICK_RESYNC_EQUAL
                    : catchup->state == FAILED ? CARRICK_RESYNC_FAILED
                                               : CARRICK_RESYNC_RUNNING;
    report->done_bytes = catchup->done_bytes;
    report->total_bytes = catchup->done_bytes;
    if (report->state == CARRICK_RESYNC_RUNNING)
        report->total_bytes += marked_bytes(group);
    if (elapsed_ns > 1000000)
        report->bytes_per_second = catchup->done_bytes * 1000 / (elapsed_ns / 1000000);
    snprintf(report->cause, sizeof report->cause, "%s", catchup->cause);
}

static void report(struct shelf_group *group)
{
    struct carrick_resync resync;

    if (group->log == NULL)
        return;
    group->catchup->reported_ns = now_ns(group);
    shelf_catchup_describe(group, &resync);
    group->client->log_ops->resync_report(group->log, &resync);
}

static int send_message(struct shelf_group *group, struct shelf_message *message)
{
    memcpy(message->group, group->name, sizeof message->group);
    message->run = group->catchup->run;
    return shelf_link_send(group->client, message);
}

// ---- slots

static struct shelf_slot *slot_at(struct shelf_group *group, uint32_t number)
{
    return &group->client->link->slots[number];
}

static void slots_leave(struct shelf_group *group)
{
    for (uint32_t i = 0; i < SHELF_SLOTS; i++) {
        struct shelf_slot *slot = slot_at(group, i);

        if (slot->group != group)
            continue;
        if (slot->gather != NULL)
            shelf_gather_drop(slot->gather);
        slot->gather = NULL;
        slot->answered = true; // the partner's half is guarded by the run's number
        if (slot->operations == 0)
            *slot = (struct shelf_slot){0};
    }
}

static uint32_t slots_used(struct shelf_group *group)
{
    uint32_t used = 0;

    for (uint32_t i = 0; i < SHELF_SLOTS; i++)
        used += slot_at(group, i)->group == group && !slot_at(group, i)->answered;
    return used;
}

static void fail(struct shelf_group *group, const char *cause)
{
    struct shelf_catchup *catchup = group->catchup;

    slots_leave(group);
    catchup->state = FAILED;
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

static bool is_zero(const uint8_t *data, uint32_t length)
{
    return data[0] == 0 && (length == 1 || memcmp(data, data + 1, length - 1) == 0);
}

static void slot_post(struct shelf_group *group, uint32_t number)
{
    struct shelf_slot *slot = slot_at(group, number);
    const uint8_t *memory = shelf_link_slot_memory(group->client, number);
    struct shelf_message message = {.kind = SHELF_CHUNK,
                                    .run = slot->run,
                                    .shelf = slot->shelf,
                                    .slot = number,
                                    .chunk = slot->chunk,
                                    .sequence = slot->sequence,
                                    .length = slot->length};

    slot->zero = is_zero(memory, slot->length);
    message.flags = slot->zero ? SHELF_FLAG_ZERO : 0;
    message.crc = slot->zero ? 0 : shelf_crc32c(memory, slot->length);
    memcpy(message.group, group->name, sizeof message.group);
    // Without room it stays as it is, and goes when something has completed.
    slot->sent = shelf_link_post_chunk(group->client, number, &message) == CARRICK_OK;
}

static void chunk_failed(struct shelf_group *group, const char *cause)
{
    struct shelf_catchup *catchup = group->catchup;

    catchup->wait_ns = now_ns(group) + AGAIN_MS * 1000000ull;
    if (++catchup->failures >= FAILURES_MAX)
        fail(group, cause);
}

static void slot_gathered(void *arg, const uint8_t *data, int sys_errno)
{
    struct shelf_slot *slot = arg;
    struct shelf_group *group = slot->group;
    uint32_t number = (uint32_t)(slot - group->client->link->slots);

    slot->gather = NULL;
    if (sys_errno != 0) {
        struct shelf *shelf = group->shelves[slot->shelf];
        *slot = (struct shelf_slot){0};
        shelf_disk_failed(shelf, "a read", sys_errno);
        chunk_failed(group, "this node's shelf cannot be read");
    } else {
        memcpy(shelf_link_slot_memory(group->client, number), data, slot->length);
        slot->read = true;
        slot_post(group, number);
    }
    shelf_catchup_pump(group);
}

// Begins to copy one chunk; false: there is no slot, or no memory.
static bool chunk_begin(struct shelf_group *group, struct shelf *shelf, uint64_t chunk)
{
    uint32_t number = 0;

    while (number < SHELF_SLOTS && slot_at(group, number)->group != NULL)
        number++;
    if (number == SHELF_SLOTS)
        return false;
    struct shelf_slot *slot = slot_at(group, number);
    uint64_t offset = chunk * SHELF_CHUNK_BYTES;
    if (slots_used(group) == 0)
        group->catchup->heard_ns = now_ns(group); // nothing was awaited until now
    *slot = (struct shelf_slot){.group = group,
                                .run = group->catchup->run,
                                .shelf = shelf->number,
                                .chunk = chunk,
                                .sequence = group->told, // what is read holds all up to here
                                .length =
                                    (uint32_t)shelf_min(SHELF_CHUNK_BYTES, shelf->bytes - offset)};
    if (shelf_gather_now(shelf, offset, slot->length,
                         shelf_link_slot_memory(group->client, number)) == CARRICK_OK) {
        slot->read = true;
        slot_post(group, number);
        return true;
    }
    slot->gather = shelf_gather_begin(shelf, offset, slot->length, slot_gathered, slot);
    if (slot->gather == NULL)
        *slot = (struct shelf_slot){0};
    return slot->gather != NULL || slot->read;
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
    catchup->heard_ns = now_ns(group);
    timer_arm(group, ANSWER_MS * 1000000ull);
}

static bool may_send(struct shelf_group *group)
{
    struct shelf_catchup *catchup = group->catchup;
    uint64_t rate = group->client->config.catchup_bytes_per_second;
    uint64_t now = now_ns(group);

    if (rate == 0)
        return true;
    uint64_t elapsed_ns = shelf_min(now - catchup->tokens_ns, 1000000000u);
    uint64_t earned = (uint64_t)((double)elapsed_ns * (double)rate / 1e9);
    if (earned > 0) {
        catchup->tokens =
            shelf_min(catchup->tokens + earned, shelf_max(rate / 10, SHELF_CHUNK_BYTES));
        catchup->tokens_ns = now;
    }
    if (catchup->tokens >= SHELF_CHUNK_BYTES)
        return true;
    timer_arm(group, shelf_max((uint64_t)((double)(SHELF_CHUNK_BYTES - catchup->tokens) * 1e9 /
                                          (double)rate),
                               1000000u));
    return false;
}

// The next marked chunk that is not being copied. false: none, for now.
static bool next_chunk(struct shelf_group *group, struct shelf **shelf, uint64_t *chunk)
{
    struct shelf_catchup *catchup = group->catchup;

    for (; catchup->shelf < group->count; catchup->shelf++, catchup->chunk = 0) {
        *shelf = group->shelves[catchup->shelf];
        *chunk = shelf_map_next((*shelf)->map, catchup->chunk);
        if (*chunk != UINT64_MAX)
            return true;
    }
    return false;
}

static void finish(struct shelf_group *group)
{
    struct shelf_message message = {.kind = SHELF_FINISH};

    if (send_message(group, &message) == CARRICK_OK) {
        group->catchup->state = FINISHING;
        group->catchup->heard_ns = now_ns(group);
        timer_arm(group, ANSWER_MS * 1000000ull);
    }
}

static void cursor_again(struct shelf_group *group)
{
    struct shelf_catchup *catchup = group->catchup;
    uint64_t now = now_ns(group);

    if (marked_bytes(group) == 0) {
        finish(group);
        return;
    }
    if (!catchup->progress)
        catchup->wait_ns = shelf_max(catchup->wait_ns, now + AGAIN_MS * 1000000ull);
    catchup->shelf = 0;
    catchup->chunk = 0;
    catchup->progress = false;
    timer_arm(group, catchup->wait_ns > now ? catchup->wait_ns - now : 0);
}

static void copy(struct shelf_group *group)
{
    struct shelf_catchup *catchup = group->catchup;

    for (uint32_t i = 0; i < SHELF_SLOTS; i++) {
        struct shelf_slot *slot = slot_at(group, i);
        if (slot->group == group && slot->read && !slot->sent && !slot->answered)
            slot_post(group, i);
    }
    while (catchup->state == COPYING && now_ns(group) >= catchup->wait_ns) {
        struct shelf *shelf;
        uint64_t chunk;

        if (!next_chunk(group, &shelf, &chunk)) {
            if (slots_used(group) == 0)
                cursor_again(group);
            return;
        }
        if (!may_send(group))
            return;
        if (!chunk_begin(group, shelf, chunk)) {
            if (slots_used(group) == 0)
                timer_arm(group, AGAIN_MS * 1000000ull);
            return;
        }
        catchup->chunk = chunk + 1;
        if (group->client->config.catchup_bytes_per_second > 0)
            catchup->tokens -= SHELF_CHUNK_BYTES;
    }
    if (catchup->state == COPYING && slots_used(group) == 0)
        timer_arm(group, catchup->wait_ns - now_ns(group));
}

void shelf_catchup_pump(struct shelf_group *group)
{
    struct shelf_catchup *catchup = group->catchup;

    if (catchup->state == ASKING)
        ask(group);
    if (catchup->state != COPYING)
        return;
    copy(group);
    if (catchup->state == COPYING && now_ns(group) - catchup->reported_ns > REPORT_MS * 1000000ull)
        report(group);
}

static void timer_fired(void *arg)
{
    struct shelf_group *group = arg;
    struct shelf_catchup *catchup = group->catchup;
    bool awaits = (catchup->state == ASKING && catchup->asked) || catchup->state == FINISHING ||
                  (catchup->state == COPYING && slots_used(group) > 0);

    catchup->timer_runs = false;
    if (awaits && now_ns(group) - catchup->heard_ns >= ANSWER_MS * 1000000ull) {
        fail(group, "its shelf client does not answer");
        return;
    }
    shelf_catchup_pump(group);
    if (!catchup->timer_runs && catchup->asked && catchup->state >= ASKING &&
        catchup->state <= FINISHING)
        timer_arm(group, ANSWER_MS / 4 * 1000000ull);
}

void shelf_catchup_start(struct shelf_group *group, uint64_t since)
{
    struct shelf_catchup *catchup = group->catchup;

    slots_leave(group);
    catchup->state = ASKING;
    catchup->asked = false;
    catchup->since = since;
    catchup->begun_ns = now_ns(group);
    catchup->done_bytes = 0;
    catchup->shelf = 0;
    catchup->chunk = 0;
    catchup->progress = false;
    catchup->wait_ns = 0;
    catchup->tokens = SHELF_CHUNK_BYTES;
    catchup->tokens_ns = catchup->begun_ns;
    catchup->failures = 0;
    catchup->cause[0] = '\0';
    report(group);
    shelf_catchup_pump(group);
}

void shelf_catchup_stop(struct shelf_group *group)
{
    struct shelf_catchup *catchup = group->catchup;

    slots_leave(group);
    group->client->base->timer_stop(catchup->timer);
    catchup->timer_runs = false;
    if (catchup->state != NONE) {
        catchup->state = NONE;
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

    catchup->state = COPYING;
    group->partner_synced = group->synced_told;
    group->partner_holds = true;
    shelf_group_flush_maps(group);
    shelf_group_mode(group);
    report(group);
}

static void take_done(struct shelf_group *group, const struct shelf_message *message)
{
    struct shelf_catchup *catchup = group->catchup;

    if (message->slot >= SHELF_SLOTS)
        return;
    struct shelf_slot *slot = slot_at(group, message->slot);
    if (slot->group != group || slot->run != catchup->run || !slot->sent || slot->answered ||
        slot->shelf != message->shelf || slot->chunk != message->chunk)
        return;
    struct shelf_map *map = group->shelves[slot->shelf]->map;
    uint32_t length = slot->length;
    slot->answered = true;
    if (slot->operations == 0)
        *slot = (struct shelf_slot){0};
    if (message->flags == SHELF_CHUNK_SYNCED) {
        shelf_map_clear_chunk(map, message->chunk);
        catchup->done_bytes += length;
        catchup->progress = true;
        catchup->failures = 0;
    } else if (message->flags != SHELF_CHUNK_STALE) {
        chunk_failed(group, "the partner's shelf cannot be written; see the log there");
    }
}

static void take_finished(struct shelf_group *group)
{
    group->catchup->state = EQUAL;
    shelf_group_flush_maps(group);
    group->client->base->log(group->client->base, CARRICK_LOG_NOTICE,
                             "group %s: the partner's shelves are up to date", group->name);
    report(group);
}

void shelf_catchup_received(struct shelf_group *group, const struct shelf_message *message)
{
    struct shelf_catchup *catchup = group->catchup;
    char why[96];

    if (group->role != CARRICK_LOG_OWNER || !catchup->asked || message->run != catchup->run ||
        catchup->state == NONE || catchup->state == FAILED)
        return;
    catchup->heard_ns = now_ns(group);
    if (message->kind == SHELF_REFUSED) {
        snprintf(why, sizeof why, "the partner says: %.*s", (int)message->payload_bytes,
                 (const char *)message->payload);
        for (char *at = why; *at != '\0'; at++)
            if (*at < ' ' || *at > '~')
                *at = '?';
        fail(group, why);
    } else if (message->kind == SHELF_SYNCED) {
        group->partner_synced =
            shelf_max(group->partner_synced, shelf_min(message->sequence, group->told));
        shelf_group_tell_synced(group);
    } else if (catchup->state == ASKING && message->kind == SHELF_LACKS_END) {
        take_lacks_end(group);
    } else if (catchup->state == ASKING &&
               (message->kind == SHELF_LACKS || message->kind == SHELF_LACKS_ALL)) {
        take_lacks(group, message);
    } else if (catchup->state == COPYING && message->kind == SHELF_CHUNK_DONE) {
        take_done(group, message);
    } else if (catchup->state == FINISHING && message->kind == SHELF_FINISHED) {
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
