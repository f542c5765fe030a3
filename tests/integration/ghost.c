// SPDX-License-Identifier: Apache-2.0
//
// A client that would notice a ghost write: both nodes write growing stamps into each other's memory, hand cells over by
// sends, and look at their own memory all the time. Built by ghost.py.
//
//  - No word ever goes back to an older stamp. A cell that was handed over is raised by its new owner and stays so.
//  - A send finds the cell that it speaks of written; sends come one after the other, none twice.
//  - A read finds nothing older than what had completed before it.
//
// What is found is counted in describe_state: "wrong" must be 0. There is no configuration.
#include <carrick/client.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VIS 3u
#define WORDS 32u
#define CELL_BYTES (WORDS * 8u)
#define CELLS 96u  // of each VI, for this side to write at any time
#define HANDED 16u // of each VI, written once, then the partner's until it gives them back
#define DEPTH 12u  // cells under way, per VI
#define VI_CELLS (CELLS + HANDED)
#define REGION_BYTES ((uint64_t)VIS * VI_CELLS * CELL_BYTES)
#define SCAN_NS 1000000u

enum kind { TOLD = 1, HANDED_OVER = 2, GIVEN_BACK = 3 };

struct note {
    uint32_t kind, cell;
    uint64_t stamp, sequence;
};

struct slot {
    uint32_t vi, cell;
    uint64_t stamp;
    bool busy, reading;
};

struct carrick_client {
    const struct carrick_client_host *host;
    struct carrick_timer *timer;
    struct carrick_region *buffer; // VIS * DEPTH cells
    struct carrick_region *here;
    struct carrick_vi *const *vis;
    bool in_session;
    uint64_t stamp; // even ones are the writer's, odd ones the new owner's
    struct slot slots[VIS * DEPTH];
    bool writing[VIS][VI_CELLS]; // one write of a cell at a time, so that its last stamp is known
    bool away[VIS][HANDED];
    uint64_t completed[VIS][VI_CELLS]; // stamp that the partner's memory is known to hold
    uint64_t sent[VIS], heard[VIS];
    uint64_t seen[VIS * VI_CELLS * WORDS];
    uint64_t writes, sends, reads, received, sessions, wrong;
    char first_wrong[160];
};

static void wrong(struct carrick_client *ghost, const char *what, uint64_t is, uint64_t was)
{
    if (ghost->wrong++ == 0)
        snprintf(ghost->first_wrong, sizeof(ghost->first_wrong), "%s: %llu after %llu", what,
                 (unsigned long long)is, (unsigned long long)was);
}

static uint64_t *cell_here(struct carrick_client *ghost, uint32_t vi, uint32_t cell)
{
    uint64_t *words = ghost->host->region_ptr(ghost->here);

    return words + ((size_t)vi * VI_CELLS + cell) * WORDS;
}

static void scan(struct carrick_client *ghost)
{
    const uint64_t *words = ghost->host->region_ptr(ghost->here);

    for (size_t i = 0; i < VIS * VI_CELLS * WORDS; i++) {
        uint64_t word = __atomic_load_n(&words[i], __ATOMIC_RELAXED);

        if (word < ghost->seen[i])
            wrong(ghost, "a word went back", word, ghost->seen[i]);
        ghost->seen[i] = word;
    }
}

// ---- writing

static uint64_t *slot_words(struct carrick_client *ghost, size_t slot)
{
    return (uint64_t *)ghost->host->region_ptr(ghost->buffer) + slot * WORDS;
}

static bool note_send(struct carrick_client *ghost, uint32_t vi, enum kind kind, uint32_t cell,
                      uint64_t stamp)
{
    struct note note = {kind, cell, stamp, ghost->sent[vi] + 1};
    struct carrick_op op = {
        .struct_size = sizeof(op),
        .operation = CARRICK_CLIENT_SEND,
        .cookie = UINT64_MAX,
        .length = sizeof(note),
        .data = &note,
    };

    if (ghost->host->post(ghost->vis[vi], &op, 1) != CARRICK_OK)
        return false;
    ghost->sent[vi]++;
    ghost->sends++;
    return true;
}

static void cell_write(struct carrick_client *ghost, uint32_t vi, uint32_t cell, size_t slot)
{
    struct slot *under_way = &ghost->slots[slot];
    uint64_t place = ((uint64_t)vi * VI_CELLS + cell) * CELL_BYTES;
    struct note note = {cell < CELLS ? TOLD : HANDED_OVER, cell, ghost->stamp + 2,
                        ghost->sent[vi] + 1};
    struct carrick_op ops[2] = {
        {.struct_size = sizeof(ops[0]),
         .operation = CARRICK_CLIENT_WRITE,
         .cookie = slot,
         .region = ghost->buffer,
         .offset = slot * CELL_BYTES,
         .length = CELL_BYTES,
         .there_offset = place},
        {.struct_size = sizeof(ops[0]),
         .operation = CARRICK_CLIENT_SEND,
         .cookie = UINT64_MAX,
         .length = sizeof(note),
         .data = &note},
    };

    for (uint32_t i = 0; i < WORDS; i++)
        slot_words(ghost, slot)[i] = note.stamp;
    if (ghost->host->post(ghost->vis[vi], ops, 2) != CARRICK_OK)
        return;
    ghost->stamp = note.stamp;
    ghost->sent[vi]++;
    ghost->sends++;
    ghost->writes++;
    *under_way = (struct slot){.vi = vi, .cell = cell, .stamp = note.stamp, .busy = true};
    ghost->writing[vi][cell] = true;
    if (cell >= CELLS)
        ghost->away[vi][cell - CELLS] = true;
}

static void cell_read(struct carrick_client *ghost, uint32_t vi, uint32_t cell, size_t slot)
{
    struct carrick_op op = {
        .struct_size = sizeof(op),
        .operation = CARRICK_CLIENT_READ,
        .cookie = slot,
        .region = ghost->buffer,
        .offset = slot * CELL_BYTES,
        .length = CELL_BYTES,
        .there_offset = ((uint64_t)vi * VI_CELLS + cell) * CELL_BYTES,
    };

    if (ghost->host->post(ghost->vis[vi], &op, 1) != CARRICK_OK)
        return;
    ghost->reads++;
    ghost->slots[slot] = (struct slot){
        .vi = vi, .cell = cell, .stamp = ghost->completed[vi][cell], .busy = true, .reading = true};
}

static void pump(struct carrick_client *ghost)
{
    uint32_t random[VIS * DEPTH];

    if (!ghost->in_session)
        return;
    ghost->host->base->random(ghost->host->base, random, sizeof(random));
    for (uint32_t slot = 0; slot < VIS * DEPTH; slot++) {
        uint32_t vi = slot / DEPTH, cell = (random[slot] >> 8) % VI_CELLS;

        if (ghost->slots[slot].busy || ghost->writing[vi][cell] ||
            (cell >= CELLS && ghost->away[vi][cell - CELLS]))
            continue;
        if (random[slot] % 8 == 0)
            cell_read(ghost, vi, cell, slot);
        else
            cell_write(ghost, vi, cell, slot);
    }
}

static void tick(void *arg)
{
    struct carrick_client *ghost = arg;

    if (!ghost->in_session)
        return;
    scan(ghost);
    pump(ghost);
    ghost->host->base->timer_start(ghost->timer, SCAN_NS);
}

// ---- callbacks

static int ghost_create(const struct carrick_client_host *host, const char *config,
                        struct carrick_client **client, struct carrick_error *error)
{
    struct carrick_client *ghost = calloc(1, sizeof(*ghost));

    (void)config;
    (void)error;
    if (ghost == NULL)
        return CARRICK_ERR_NO_MEMORY;
    ghost->host = host;
    if (host->region_create(host, (uint64_t)VIS * DEPTH * CELL_BYTES, &ghost->buffer) !=
            CARRICK_OK ||
        host->base->timer_create(host->base, tick, ghost, &ghost->timer) != CARRICK_OK) {
        free(ghost);
        return CARRICK_ERR_NO_MEMORY;
    }
    *client = ghost;
    return CARRICK_OK;
}

static void ghost_destroy(struct carrick_client *ghost)
{
    ghost->host->base->timer_destroy(ghost->timer);
    free(ghost);
}

static int ghost_describe(struct carrick_client *ghost, struct carrick_client_info *info)
{
    (void)ghost;
    info->vis = VIS;
    info->region_count = 1;
    info->wants[0].bytes = REGION_BYTES;
    info->wants[0].access = CARRICK_ACCESS_REMOTE_READ | CARRICK_ACCESS_REMOTE_WRITE;
    return CARRICK_OK;
}

static void ghost_ready(struct carrick_client *ghost, const struct carrick_session_info *session)
{
    ghost->vis = session->vis;
    ghost->here = session->here[0];
    ghost->in_session = true;
    ghost->sessions++;
    memset(ghost->slots, 0, sizeof(ghost->slots));
    memset(ghost->writing, 0, sizeof(ghost->writing));
    memset(ghost->away, 0, sizeof(ghost->away));
    memset(ghost->sent, 0, sizeof(ghost->sent));
    memset(ghost->heard, 0, sizeof(ghost->heard));
    tick(ghost);
}

static void ghost_ending(struct carrick_client *ghost, uint32_t reason, uint64_t deadline_ns)
{
    (void)reason;
    (void)deadline_ns;
    ghost->in_session = false;
    for (uint32_t i = 0; i < VIS; i++)
        ghost->host->vi_close(ghost->vis[i]);
}

static void ghost_ended(struct carrick_client *ghost, uint32_t reason)
{
    (void)reason;
    ghost->in_session = false;
    ghost->host->base->timer_stop(ghost->timer);
}

static void ghost_completed(struct carrick_client *ghost,
                            const struct carrick_completion *completions, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct carrick_completion *done = carrick_completion_at(completions, i);
        struct slot *slot;

        if (done->cookie == UINT64_MAX)
            continue;
        slot = &ghost->slots[done->cookie];
        slot->busy = false;
        if (done->status != CARRICK_OK)
            continue;
        if (!slot->reading) {
            ghost->writing[slot->vi][slot->cell] = false;
            ghost->completed[slot->vi][slot->cell] = slot->stamp;
            continue;
        }
        for (uint32_t j = 0; j < WORDS; j++)
            if (slot_words(ghost, done->cookie)[j] < slot->stamp)
                wrong(ghost, "a read found old data", slot_words(ghost, done->cookie)[j],
                      slot->stamp);
    }
    pump(ghost);
}

static void note_take(struct carrick_client *ghost, uint32_t vi, const struct note *note)
{
    uint64_t *words = cell_here(ghost, vi, note->cell);
    size_t first = (size_t)(words - cell_here(ghost, 0, 0));

    for (uint32_t i = 0; i < WORDS; i++) {
        if (words[i] < note->stamp)
            wrong(ghost, "a send came before its write", words[i], note->stamp);
        if (note->kind == HANDED_OVER)
            ghost->seen[first + i] = words[i] = note->stamp + 1;
    }
    if (note->kind == HANDED_OVER && !note_send(ghost, vi, GIVEN_BACK, note->cell, note->stamp))
        wrong(ghost, "no room to give a cell back", 0, 0);
}

static void ghost_received(struct carrick_client *ghost, struct carrick_vi *handle,
                           const void *data, uint32_t length)
{
    uint32_t vi = ghost->host->vi_number(handle);
    struct note note = {0};

    if (length == sizeof(note))
        memcpy(&note, data, sizeof(note));
    if (note.sequence != ghost->heard[vi] + 1 || note.cell >= VI_CELLS)
        wrong(ghost, "a send is lost, doubled or out of order", note.sequence, ghost->heard[vi]);
    ghost->heard[vi] = note.sequence;
    ghost->received++;
    if (note.kind == GIVEN_BACK)
        ghost->away[vi][note.cell - CELLS] = false;
    else if (ghost->in_session && note.cell < VI_CELLS)
        note_take(ghost, vi, &note);
}

static void ghost_describe_state(struct carrick_client *ghost, char *text, size_t size)
{
    snprintf(text, size,
             "{\"writes\":%llu,\"sends\":%llu,\"reads\":%llu,\"received\":%llu,\"sessions\":%llu,"
             "\"wrong\":%llu,\"first_wrong\":\"%s\"}",
             (unsigned long long)ghost->writes, (unsigned long long)ghost->sends,
             (unsigned long long)ghost->reads, (unsigned long long)ghost->received,
             (unsigned long long)ghost->sessions, (unsigned long long)ghost->wrong,
             ghost->first_wrong);
}

static const struct carrick_client_ops ghost_ops = {
    .create = ghost_create,
    .destroy = ghost_destroy,
    .describe = ghost_describe,
    .ready = ghost_ready,
    .ending = ghost_ending,
    .ended = ghost_ended,
    .completed = ghost_completed,
    .received = ghost_received,
    .describe_state = ghost_describe_state,
};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_CLIENT, "ghost", "1.0", "Apache-2.0",
                        "notices ghost writes, for tests", ghost_ops);
