// SPDX-License-Identifier: Apache-2.0
//
// Memory for many objects of one size that come and go with every write: each in cache lines of its own, no call of the
// allocator for each. What becomes free goes back to the allocator in slabs.
#ifndef SHELF_POOL_H
#define SHELF_POOL_H

#include <stddef.h>
#include <stdint.h>

struct shelf_slab;

// All zeroes: empty.
struct shelf_pool {
    struct shelf_slab *open;  // those with a free cell
    struct shelf_slab *spare; // one of them of which nothing is in use, kept for the next
};

// Not zeroed. `bytes` is the same in all calls for a pool. NULL: no memory.
void *shelf_pool_get(struct shelf_pool *pool, size_t bytes);
void shelf_pool_put(struct shelf_pool *pool, void *cell);
// When all was put back.
void shelf_pool_end(struct shelf_pool *pool);

#endif
