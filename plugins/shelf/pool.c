// SPDX-License-Identifier: Apache-2.0
#include "pool.h"

#include <stdlib.h>

#define SLAB_BYTES 65536u
#define LINE_BYTES 64u
#define USED_BYTES                                                                                 \
    (SLAB_BYTES - LINE_BYTES) // with the allocator's own, the next slab lies right behind

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EACH_ALONE 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define EACH_ALONE 1
#endif

#ifdef EACH_ALONE
// The sanitizer is to see each object's end.
void *shelf_pool_get(struct shelf_pool *pool, size_t bytes)
{
    (void)pool;
    return malloc(bytes);
}

void shelf_pool_put(struct shelf_pool *pool, void *cell)
{
    (void)pool;
    free(cell);
}

void shelf_pool_end(struct shelf_pool *pool)
{
    (void)pool;
}
#else

struct cell {
    struct cell *next;
};

// At an address that is a multiple of SLAB_BYTES, so that every cell tells its slab.
struct shelf_slab {
    struct shelf_slab *next, **back; // in pool->open; back NULL: all cells are in use
    struct cell *free;
    uint32_t used;
    uint32_t at; // where the cells begin that were never used
};

static void open_add(struct shelf_pool *pool, struct shelf_slab *slab)
{
    slab->next = pool->open;
    slab->back = &pool->open;
    if (slab->next != NULL)
        slab->next->back = &slab->next;
    pool->open = slab;
}

static void open_remove(struct shelf_slab *slab)
{
    *slab->back = slab->next;
    if (slab->next != NULL)
        slab->next->back = slab->back;
    slab->back = NULL;
}

static struct shelf_slab *slab_new(struct shelf_pool *pool)
{
    void *memory;

    if (posix_memalign(&memory, SLAB_BYTES, USED_BYTES) != 0)
        return NULL;
    struct shelf_slab *slab = memory;
    *slab = (struct shelf_slab){.at = LINE_BYTES};
    open_add(pool, slab);
    return slab;
}

void *shelf_pool_get(struct shelf_pool *pool, size_t bytes)
{
    struct shelf_slab *slab = pool->open != NULL ? pool->open : slab_new(pool);
    uint32_t step = (uint32_t)((bytes + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES);

    if (slab == NULL)
        return NULL;
    void *cell = slab->free;
    if (cell != NULL) {
        slab->free = slab->free->next;
    } else {
        cell = (uint8_t *)slab + slab->at;
        slab->at += step;
    }
    slab->used++;
    if (pool->spare == slab)
        pool->spare = NULL;
    if (slab->free == NULL && slab->at + step > USED_BYTES)
        open_remove(slab);
    return cell;
}

void shelf_pool_put(struct shelf_pool *pool, void *memory)
{
    struct cell *cell = memory;
    struct shelf_slab *slab =
        (struct shelf_slab *)((uintptr_t)memory & ~(uintptr_t)(SLAB_BYTES - 1));

    cell->next = slab->free;
    slab->free = cell;
    if (slab->back == NULL)
        open_add(pool, slab);
    if (--slab->used > 0)
        return;
    if (pool->spare == NULL) {
        pool->spare = slab;
        return;
    }
    open_remove(slab);
    free(slab);
}

void shelf_pool_end(struct shelf_pool *pool)
{
    if (pool->spare == NULL)
        return;
    open_remove(pool->spare);
    free(pool->spare);
    pool->spare = NULL;
}
#endif
