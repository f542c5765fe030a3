// SPDX-License-Identifier: Apache-2.0
// needs plugin: shelf
//
// The pool against a model that knows what each of its objects holds.
#include <criterion/criterion.h>

#include "plugins/shelf/pool.h"

#include <stdlib.h>
#include <string.h>

enum { OBJECTS = 3000, STEPS = 60000, BYTES = 120 };

static uint64_t seed = 1;

static uint64_t random_below(uint64_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % below;
}

static bool holds(const unsigned char *object, unsigned char value)
{
    for (int i = 0; i < BYTES; i++)
        if (object[i] != value)
            return false;
    return true;
}

Test(shelf_pool, objects_are_apart_and_stay_as_they_are)
{
    struct shelf_pool pool = {0};
    unsigned char *object[OBJECTS] = {0}, value[OBJECTS];
    uint32_t most = OBJECTS;

    for (int i = 0; i < STEPS; i++) {
        // Now many, now few, so that slabs fill up and become empty.
        if (i % 10000 == 0)
            most = i / 10000 % 2 == 0 ? OBJECTS : 10;
        uint64_t which = random_below(OBJECTS);
        if (object[which] != NULL) {
            cr_assert(holds(object[which], value[which]));
            shelf_pool_put(&pool, object[which]);
            object[which] = NULL;
        } else if (which < most) {
            object[which] = shelf_pool_get(&pool, BYTES);
            cr_assert_not_null(object[which]);
            value[which] = (unsigned char)i;
            memset(object[which], value[which], BYTES);
        }
    }
    for (int i = 0; i < OBJECTS; i++) {
        if (object[i] == NULL)
            continue;
        cr_assert(holds(object[i], value[i]));
        shelf_pool_put(&pool, object[i]);
    }
    shelf_pool_end(&pool);
    cr_assert_null(pool.open);
    cr_assert_null(pool.spare);
}

Test(shelf_pool, what_is_put_back_comes_again)
{
    struct shelf_pool pool = {0};
    void *first = shelf_pool_get(&pool, BYTES), *second = shelf_pool_get(&pool, BYTES);

    cr_assert_neq(first, second);
    shelf_pool_put(&pool, second);
    shelf_pool_put(&pool, first);
    shelf_pool_end(&pool);
    // Used anew after its end.
    first = shelf_pool_get(&pool, BYTES);
    cr_assert_not_null(first);
    shelf_pool_put(&pool, first);
    shelf_pool_end(&pool);
}
