// SPDX-License-Identifier: Apache-2.0
//
// The owner's side of a catch-up: runs of marked chunks, read here, written into the partner's slots, and marked until the
// partner has synced them.
#include "catchup_internal.h"

#include "common/crc32c.h"

#include <string.h>

#define AGAIN_MS 20u      // before chunks that could not be copied are tried again
#define FAILURES_MAX 100u // runs in a row that could not be copied

static struct shelf_slot *slot_at(struct shelf_group *group, uint32_t number)
{
    return &group->client->link->slots[number];
}

static uint32_t slots_used(struct shelf_group *group)
{
    uint32_t used = 0;

    for (uint32_t i = 0; i < SHELF_SLOTS; i++)
        used += slot_at(group, i)->group == group && !slot_at(group, i)->answered;
    return used;
}

bool catchup_copy_awaits(struct shelf_group *group)
{
    return slots_used(group) > 0 || group->catchup->written_first < group->catchup->written_last;
}

void catchup_copy_leave(struct shelf_group *group)
{
    struct shelf_catchup *catchup = group->catchup;

    // The partner's half is guarded by the run's number.
    for (uint32_t i = 0; i < SHELF_SLOTS; i++)
        if (slot_at(group, i)->group == group)
            shelf_slot_leave(slot_at(group, i));
    catchup->written_first = catchup->written_last = 0;
    catchup->written_bytes = 0;
}

void catchup_copy_begin(struct shelf_group *group)
{
    struct shelf_catchup *catchup = group->catchup;

    catchup_copy_leave(group);
    catchup->done_bytes = 0;
    catchup->shelf = 0;
    catchup->chunk = 0;
    catchup->progress = false;
    catchup->wait_ns = 0;
    catchup->tokens = SHELF_CHUNK_BYTES;
    catchup->tokens_ns = catchup_now_ns(group);
    catchup->run_chunks = 1;
    catchup->failures = 0;
    catchup_share_begin(group);
}

static void copy_failed(struct shelf_group *group, const char *cause)
{
    struct shelf_catchup *catchup = group->catchup;

    catchup->run_chunks = 1;
    catchup->wait_ns = catchup_now_ns(group) + AGAIN_MS * 1000000ull;
    if (++catchup->failures >= FAILURES_MAX)
        catchup_fail(group, cause);
}

// ---- one run of chunks

static bool is_zero(const uint8_t *data, uint32_t length)
{
    return data[0] == 0 && (length == 1 || memcmp(data, data + 1, length - 1) == 0);
}

static void slot_post(struct shelf_group *group, uint32_t number)
{
    struct shelf_slot *slot = slot_at(group, number);
    struct shelf_message message = {.kind = SHELF_CHUNK,
                                    .run = slot->run,
                                    .shelf = slot->shelf,
                                    .slot = number,
                                    .chunk = slot->chunk,
                                    .sequence = slot->sequence,
                                    .length = slot->length,
                                    .crc = slot->crc,
                                    .flags = slot->zero ? SHELF_FLAG_ZERO : 0};

    memcpy(message.group, group->name, sizeof message.group);
    // Without room it stays as it is, and goes when something has completed.
    slot->sent = shelf_link_post_chunk(group->client, number, &message) == CARRICK_OK;
}

static void slot_read(struct shelf_group *group, uint32_t number)
{
    struct shelf_slot *slot = slot_at(group, number);
    const uint8_t *memory = shelf_link_slot_memory(group->client, number);

    slot->read = true;
    slot->zero = is_zero(memory, slot->length);
    slot->crc = slot->zero ? 0 : crc32c(memory, slot->length);
    slot_post(group, number);
}

static void slot_gathered(void *arg, const uint8_t *data, int sys_errno)
{
    struct shelf_slot *slot = arg;
    struct shelf_group *group = slot->group;
    uint32_t number = (uint32_t)(slot - group->client->link->slots);

    (void)data;
    slot->gather = NULL;
    if (slot->answered) {
        shelf_slot_leave(slot); // the run is over
    } else if (sys_errno != 0) {
        struct shelf *shelf = group->shelves[slot->shelf];
        *slot = (struct shelf_slot){0};
        shelf_disk_failed(shelf, "a read", sys_errno);
        copy_failed(group, "this node's shelf cannot be read");
    } else {
        slot_read(group, number);
    }
    shelf_catchup_pump(group);
}

// Begins to copy some chunks; false: there is no slot, or no memory.
static bool run_begin(struct shelf_group *group, struct shelf *shelf, uint64_t chunk,
                      uint32_t chunks)
{
    uint32_t number = 0;

    while (number < SHELF_SLOTS && slot_at(group, number)->group != NULL)
        number++;
    if (number == SHELF_SLOTS)
        return false;
    struct shelf_slot *slot = slot_at(group, number);
    uint8_t *memory = shelf_link_slot_memory(group->client, number);
    uint64_t offset = chunk * SHELF_CHUNK_BYTES;
    uint64_t length = shelf_min((uint64_t)chunks * SHELF_CHUNK_BYTES, shelf->bytes - offset);
    if (!catchup_copy_awaits(group))
        group->catchup->heard_ns = catchup_now_ns(group); // nothing was awaited until now
    *slot = (struct shelf_slot){.group = group,
                                .run = group->catchup->run,
                                .shelf = shelf->number,
                                .chunk = chunk,
                                .sequence = group->told, // what is read holds all up to here
                                .length = (uint32_t)length};
    // A long one is read by another thread: this one has the writers to serve.
    if (length <= SHELF_CHUNK_BYTES &&
        shelf_gather_now(shelf, offset, length, memory) == CARRICK_OK) {
        slot_read(group, number);
        return true;
    }
    slot->gather = shelf_gather_begin(shelf, offset, length, memory, slot_gathered, slot);
    if (slot->gather == NULL)
        *slot = (struct shelf_slot){0};
    return slot->gather != NULL;
}

// ---- which, and when

static bool may_send(struct shelf_group *group)
{
    struct shelf_catchup *catchup = group->catchup;
    uint64_t rate = group->client->config.catchup_bytes_per_second;
    uint64_t now = catchup_now_ns(group);

    if (!catchup_share_open(group, slots_used(group) == 0))
        return false;
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
    catchup_timer_arm(group, shelf_max((uint64_t)((double)(SHELF_CHUNK_BYTES - catchup->tokens) *
                                                  1e9 / (double)rate),
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

// How many marked ones from there on go in one piece.
static uint32_t run_length(const struct shelf_group *group, const struct shelf *shelf,
                           uint64_t chunk)
{
    const struct shelf_catchup *catchup = group->catchup;
    uint64_t most = catchup->run_chunks;
    uint32_t chunks = 1;

    if (group->client->config.catchup_bytes_per_second > 0)
        most = shelf_min(most, catchup->tokens / SHELF_CHUNK_BYTES);
    while (chunks < most && shelf_map_next(shelf->map, chunk + chunks) == chunk + chunks)
        chunks++;
    return chunks;
}

static void cursor_again(struct shelf_group *group)
{
    struct shelf_catchup *catchup = group->catchup;
    uint64_t now = catchup_now_ns(group);

    if (catchup_marked_bytes(group) == 0) {
        catchup_finish(group);
        return;
    }
    if (!catchup->progress)
        catchup->wait_ns = shelf_max(catchup->wait_ns, now + AGAIN_MS * 1000000ull);
    catchup->shelf = 0;
    catchup->chunk = 0;
    catchup->progress = false;
    catchup_timer_arm(group, catchup->wait_ns > now ? catchup->wait_ns - now : 0);
}

static bool has_room(const struct shelf_catchup *catchup)
{
    return catchup->written_last - catchup->written_first < SHELF_WRITTEN_MAX - SHELF_SLOTS &&
           catchup->written_bytes < SHELF_WRITTEN_BYTES;
}

void catchup_copy(struct shelf_group *group)
{
    struct shelf_catchup *catchup = group->catchup;

    for (uint32_t i = 0; i < SHELF_SLOTS; i++) {
        struct shelf_slot *slot = slot_at(group, i);
        if (slot->group == group && slot->read && !slot->sent && !slot->answered)
            slot_post(group, i);
    }
    while (catchup->state == CATCHUP_COPYING && catchup_now_ns(group) >= catchup->wait_ns &&
           has_room(catchup)) {
        struct shelf *shelf;
        uint64_t chunk;

        if (!next_chunk(group, &shelf, &chunk)) {
            if (!catchup_copy_awaits(group))
                cursor_again(group);
            return;
        }
        if (!may_send(group))
            return;
        uint32_t chunks = run_length(group, shelf, chunk);
        if (!run_begin(group, shelf, chunk, chunks)) {
            if (!catchup_copy_awaits(group))
                catchup_timer_arm(group, AGAIN_MS * 1000000ull);
            return;
        }
        catchup->chunk = chunk + chunks;
        if (group->client->config.catchup_bytes_per_second > 0)
            catchup->tokens -= (uint64_t)chunks * SHELF_CHUNK_BYTES;
    }
    uint64_t now = catchup_now_ns(group);
    if (catchup->state == CATCHUP_COPYING && !catchup_copy_awaits(group))
        catchup_timer_arm(group, catchup->wait_ns > now ? catchup->wait_ns - now : 0);
}

// ---- what the partner says of them

void catchup_take_done(struct shelf_group *group, const struct shelf_message *message)
{
    struct shelf_catchup *catchup = group->catchup;

    if (message->slot >= SHELF_SLOTS)
        return;
    struct shelf_slot *slot = slot_at(group, message->slot);
    if (slot->group != group || slot->run != catchup->run || !slot->sent || slot->answered ||
        slot->shelf != message->shelf || slot->chunk != message->chunk)
        return;
    uint32_t length = slot->length;
    shelf_slot_leave(slot);
    if (message->flags == SHELF_CHUNK_WRITTEN) {
        catchup->written[catchup->written_last++ % SHELF_WRITTEN_MAX] =
            (struct catchup_written){.number = message->sequence,
                                     .chunk = message->chunk,
                                     .shelf = message->shelf,
                                     .length = length};
        catchup->written_bytes += length;
        catchup->run_chunks = (uint32_t)shelf_min(2u * catchup->run_chunks, SHELF_RUN_CHUNKS);
    } else if (message->flags == SHELF_CHUNK_STALE) {
        // A shorter one is less often overtaken.
        catchup->run_chunks = (uint32_t)shelf_max(catchup->run_chunks / 2, 1);
    } else {
        copy_failed(group, "the partner's shelf cannot be written; see the log there");
    }
}

static void written_settle(struct shelf_group *group, struct catchup_written *written, bool synced)
{
    struct shelf_catchup *catchup = group->catchup;
    uint32_t length = written->length;

    catchup->written_bytes -= length;
    written->length = 0;
    if (!synced)
        return;
    for (uint64_t i = 0; i * SHELF_CHUNK_BYTES < length; i++)
        shelf_map_clear_chunk(group->shelves[written->shelf]->map, written->chunk + i);
    catchup->done_bytes += length;
    catchup->progress = true;
    catchup->failures = 0;
}

void catchup_take_synced(struct shelf_group *group, const struct shelf_message *message)
{
    struct shelf_catchup *catchup = group->catchup;
    bool synced = message->flags == SHELF_CHUNK_SYNCED, any = false;

    for (uint64_t i = catchup->written_first; i < catchup->written_last; i++) {
        struct catchup_written *written = &catchup->written[i % SHELF_WRITTEN_MAX];

        if (written->number > message->sequence)
            break;
        if (written->length == 0 || written->shelf != message->shelf)
            continue;
        any = true;
        written_settle(group, written, synced);
    }
    while (catchup->written_first < catchup->written_last &&
           catchup->written[catchup->written_first % SHELF_WRITTEN_MAX].length == 0)
        catchup->written_first++;
    if (any && !synced)
        copy_failed(group, "the partner's shelf cannot be synced; see the log there");
}
