// SPDX-License-Identifier: Apache-2.0
//
// Is what the users saw possible? Each cell is a register, and its history must be that of one register whose writes
// and reads each happen at one moment between question and answer (linearizability). A write whose answer never came
// may happen at any time after it was asked, or never.
//
// All written values differ, which makes this cheap (Gibbons and Korach): a value lives, for certain, from the
// first answer that knows it to the last question that still finds it. Two values that live for certain at the same
// moment, or one that can only have lived within another's certain life, are the only ways to be wrong. Zeroes are
// written by many, so they are checked in pairs only.
#include "tests/sim/storage.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static uint64_t word_of(uint32_t number, uint32_t index, uint32_t i)
{
    return (uint64_t)number << 24 | (uint64_t)(index & 0xffff) << 8 | (i & 0xff);
}

// A cell is some runs of words that count up.
#define RUN_WORDS 64u

void cell_fill(const struct storage *storage, uint8_t *cell, uint32_t number, uint32_t index)
{
    for (uint32_t at = 0; at < storage->cell_bytes / 8; at += RUN_WORDS) {
        uint64_t run[RUN_WORDS];

        for (uint32_t i = 0; i < RUN_WORDS; i++)
            run[i] = word_of(number, index, at) + i;
        memcpy(cell + (size_t)8 * at, run, sizeof(run));
    }
}

uint32_t cell_read(const struct storage *storage, const uint8_t *cell, uint32_t index)
{
    uint64_t first, wrong = 0;

    memcpy(&first, cell, 8);
    if (first == 0)
        return memcmp(cell, cell + 8, storage->cell_bytes - 8) == 0 ? 0 : UINT32_MAX;
    for (uint32_t at = 0; at < storage->cell_bytes / 8; at += RUN_WORDS) {
        uint64_t from = word_of((uint32_t)(first >> 24), index, at), run[RUN_WORDS];

        memcpy(run, cell + (size_t)8 * at, sizeof(run));
        for (uint32_t i = 0; i < RUN_WORDS; i++)
            wrong |= run[i] ^ (from + i);
    }
    return wrong != 0 ? UINT32_MAX : (uint32_t)(first >> 24);
}

// One value of one cell.
struct life {
    uint32_t op;       // that wrote it
    bool seen;         // by a read, or acknowledged
    uint64_t asked;    // of the write
    uint64_t known;    // the first answer that knows it
    uint64_t found;    // the last question that found it, or the write's
    uint64_t found_op; // its number
};

struct zero {
    uint32_t op;
    bool read; // it found zeroes; else it wrote them
    uint64_t asked, answered;
};

struct cell {
    struct life *lives;
    uint32_t life_count, life_room;
    struct zero *zeroes;
    uint32_t zero_count, zero_room;
};

static void *room(void *array, uint32_t used, uint32_t *size, size_t item)
{
    if (used < *size)
        return array;
    *size = *size == 0 ? 8 : *size * 2;
    array = realloc(array, *size * item);
    if (array == NULL)
        abort();
    return array;
}

static void zero_add(struct cell *cell, uint32_t number, const struct user_op *op, bool read)
{
    cell->zeroes = room(cell->zeroes, cell->zero_count, &cell->zero_room, sizeof(struct zero));
    cell->zeroes[cell->zero_count++] = (struct zero){
        .op = number,
        .read = read,
        .asked = op == NULL ? 0 : op->asked_ns,
        .answered = op == NULL ? 0
                    : op->good ? op->answered_ns
                               : UINT64_MAX,
    };
}

static void wrote(struct cell *cell, uint32_t number, const struct user_op *op)
{
    cell->lives = room(cell->lives, cell->life_count, &cell->life_room, sizeof(struct life));
    cell->lives[cell->life_count++] = (struct life){
        .op = number,
        .seen = op->good,
        .asked = op->asked_ns,
        .known = op->good ? op->answered_ns : UINT64_MAX,
        .found = op->asked_ns,
        .found_op = number,
    };
}

// Lives are added in the order of their writes' numbers.
static struct life *life_find(struct cell *cell, uint32_t number)
{
    uint32_t low = 0, high = cell->life_count;

    while (low < high) {
        uint32_t middle = (low + high) / 2;

        if (cell->lives[middle].op < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < cell->life_count && cell->lives[low].op == number ? &cell->lives[low] : NULL;
}

static bool read_take(struct storage *storage, struct cell *cell, uint32_t index, uint32_t number,
                      const struct user_op *op)
{
    uint32_t value = op->values[index - op->first];
    struct life *life;

    if (value == 0) {
        zero_add(cell, number, op, true);
        return true;
    }
    life = value == UINT32_MAX ? NULL : life_find(cell, value);
    if (life == NULL || life->asked > op->answered_ns) {
        world_fail(storage->world, "%s cell %u: user %u read at %s what %s (request %u, value %#x)",
                   storage->group[op->group].name, index, op->user,
                   storage->world->node[op->node].name,
                   value == UINT32_MAX ? "no single write wrote: it is torn"
                   : life == NULL      ? "nobody wrote there"
                                       : "was written only later",
                   number, value);
        return false;
    }
    life->seen = true;
    if (op->answered_ns < life->known)
        life->known = op->answered_ns;
    if (op->asked_ns > life->found) {
        life->found = op->asked_ns;
        life->found_op = number;
    }
    return true;
}

static void say(struct storage *storage, const struct life *life)
{
    const struct user_op *op = &storage->ops[life->op], *last = &storage->ops[life->found_op];

    world_say(storage->world, NULL,
              "  value %u: written by user %u at %s, asked %.3f ms, %s %.3f ms; known at %.3f ms, "
              "last found by user %u at %s, asked %.3f ms (request %" PRIu64 ")",
              life->op, op->user, storage->world->node[op->node].name,
              (double)(op->asked_ns - WORLD_BEGIN_NS) / 1e6, op->good ? "answered" : "no answer",
              op->good ? (double)(op->answered_ns - WORLD_BEGIN_NS) / 1e6 : 0.0,
              (double)(life->known - WORLD_BEGIN_NS) / 1e6, last->user,
              storage->world->node[last->node].name,
              (double)(last->asked_ns - WORLD_BEGIN_NS) / 1e6, life->found_op);
}

static void zero_say(struct storage *storage, const struct zero *zero)
{
    const struct user_op *op = &storage->ops[zero->op];

    if (zero->op == 0)
        return;
    world_say(storage->world, NULL,
              "  zeroes: %s by user %u at %s, asked %.3f ms, %s %.3f ms (request %u)",
              zero->read ? "read" : "written", op->user, storage->world->node[op->node].name,
              (double)(op->asked_ns - WORLD_BEGIN_NS) / 1e6, op->good ? "answered" : "no answer",
              op->good ? (double)(op->answered_ns - WORLD_BEGIN_NS) / 1e6 : 0.0, zero->op);
}

static void wrong(struct storage *storage, unsigned group, uint32_t index, const struct life *a,
                  const struct life *b, const char *why)
{
    say(storage, a);
    if (b != NULL)
        say(storage, b);
    world_fail(storage->world, "%s cell %u: values %u and %u cannot be: %s",
               storage->group[group].name, index, a->op, b != NULL ? b->op : 0, why);
}

static int by_known(const void *a, const void *b)
{
    const struct life *left = a, *right = b;

    return left->known < right->known ? -1 : left->known > right->known;
}

static void zeroes_check(struct storage *storage, unsigned group, uint32_t index,
                         const struct cell *cell)
{
    for (uint32_t i = 0; i < cell->zero_count; i++) {
        const struct zero *zero = &cell->zeroes[i];
        bool possible = false;

        // A value that is found after zeroes were written over it for certain.
        for (uint32_t j = 0; !zero->read && j < cell->life_count; j++)
            if (cell->lives[j].known < zero->asked && zero->answered < cell->lives[j].found) {
                zero_say(storage, zero);
                wrong(storage, group, index, &cell->lives[j], NULL,
                      "it is found after zeroes were written over it");
            }
        if (!zero->read)
            continue;
        for (uint32_t j = 0; j < cell->zero_count && !possible; j++) {
            const struct zero *source = &cell->zeroes[j];

            possible = !source->read && source->asked <= zero->answered;
            for (uint32_t k = 0; k < cell->life_count && possible; k++)
                possible = !(cell->lives[k].seen && cell->lives[k].asked > source->answered &&
                             cell->lives[k].known < zero->asked);
        }
        if (!possible)
            world_fail(storage->world,
                       "%s cell %u: user %u read zeroes at %s (request %u), where an acknowledged "
                       "write stands: it is lost",
                       storage->group[group].name, index, storage->ops[zero->op].user,
                       storage->world->node[storage->ops[zero->op].node].name, zero->op);
    }
}

static void cell_check(struct storage *storage, unsigned group, uint32_t index, struct cell *cell)
{
    struct life *certain = NULL; // the last whose life is certain for some time

    zeroes_check(storage, group, index, cell);
    if (cell->life_count > 1)
        qsort(cell->lives, cell->life_count, sizeof(struct life), by_known);
    for (uint32_t i = 0; i < cell->life_count; i++) {
        struct life *life = &cell->lives[i];

        if (!life->seen || life->known >= life->found)
            continue;
        if (certain != NULL && life->known < certain->found)
            wrong(storage, group, index, certain, life,
                  "both were there for certain at one moment");
        certain = life;
    }
    for (uint32_t i = 0; i < cell->life_count; i++) {
        const struct life *outer = &cell->lives[i];

        for (uint32_t j = 0; outer->seen && outer->known < outer->found && j < cell->life_count;
             j++) {
            const struct life *inner = &cell->lives[j];

            if (inner->seen && inner->known >= inner->found && outer->known < inner->found &&
                inner->known < outer->found)
                wrong(storage, group, index, outer, inner,
                      "the second can only have come while the first was there for certain");
        }
    }
}

static void op_take(struct storage *storage, struct cell *cells, uint32_t number)
{
    const struct user_op *op = &storage->ops[number];

    for (uint32_t i = op->first; i < op->first + op->count && !storage->world->failed; i++)
        switch ((enum user_kind)op->kind) {
        case USER_WRITE:
            wrote(&cells[i], number, op);
            break;
        case USER_ZERO:
            zero_add(&cells[i], number, op, false);
            break;
        case USER_READ:
            if (op->good)
                read_take(storage, &cells[i], i, number, op);
            break;
        case USER_FLUSH:
            break;
        }
}

void register_judge(struct storage *storage)
{
    for (unsigned group = 0; group < storage->groups; group++) {
        uint32_t count = storage->group[group].cells;
        struct cell *cells = calloc(count, sizeof(*cells));

        if (cells == NULL)
            abort();
        for (uint32_t i = 0; i < count; i++)
            zero_add(&cells[i], 0, NULL, false);
        // A read may be numbered before the write whose value it brings: all writes come first.
        for (unsigned reads = 0; reads < 2; reads++)
            for (uint32_t i = 1; i < storage->op_count; i++)
                if (storage->ops[i].group == group && (storage->ops[i].kind == USER_READ) == reads)
                    op_take(storage, cells, i);
        for (uint32_t i = 0; i < count; i++) {
            if (!storage->world->failed)
                cell_check(storage, group, i, &cells[i]);
            free(cells[i].lives);
            free(cells[i].zeroes);
        }
        free(cells);
    }
}
