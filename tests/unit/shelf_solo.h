// SPDX-License-Identifier: Apache-2.0
//
// One node that owns its shelves, its log, and a user of one shelf.
#ifndef SHELF_SOLO_H
#define SHELF_SOLO_H

#include "shelf_world.h"

#include "plugins/shelf/shelf.h"

#define SHELF_BYTES 1048576u
#define CONFIG                                                                                     \
    "{\"destage_delay_ms\":5,\"shelves\":[{\"name\":\"d1\",\"group\":\"g1\","                      \
    "\"path\":\"/%n/d1\",\"bytes\":1048576},{\"name\":\"d2\",\"group\":\"g1\","                    \
    "\"path\":\"/%n/d2\",\"bytes\":1048576}]}"

static struct node *alpha;
static struct carrick_log *alog;
static struct user user;
static uint8_t buffer[SHELF_BYTES];

static inline void solo_begin_as(uint32_t mirror)
{
    world_begin(1);
    alpha = &world.nodes[0];
    alog = &alpha->logs.log;
    node_start(alpha, CONFIG);
    log_role(alpha, CARRICK_LOG_OWNER, mirror, 1, UINT64_MAX);
    world_settle();
    cr_assert_eq(user_open(&user, alpha, "d1"), CARRICK_OK);
}

static inline void solo_begin(void)
{
    solo_begin_as(CARRICK_MIRROR_BOTH);
}

static inline void solo_end(void)
{
    user_close(&user);
    world_end();
}

static inline void solo_put(uint64_t offset, uint64_t length, uint8_t value, uint32_t flags,
                            uint64_t cookie)
{
    uint8_t *data = malloc(length);

    memset(data, value, length);
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_WRITE, offset, length, data, flags, cookie),
                 CARRICK_OK);
    memset(data, 0xee, length); // the log has copied it, or keeps no pointer to what is gone
    free(data);
}

static inline void solo_get(uint64_t offset, uint64_t length, uint64_t cookie)
{
    memset(buffer, 0xaa, sizeof buffer);
    cr_assert_eq(user_ask(&user, CARRICK_BLOCK_READ, offset, length, buffer, 0, cookie),
                 CARRICK_OK);
}

static inline void solo_got(uint64_t from, uint64_t to, uint8_t value)
{
    for (uint64_t i = from; i < to; i++)
        cr_assert_eq(buffer[i], value, "byte %d is %d, not %d", (int)i, buffer[i], value);
}

static inline void solo_disk_is(uint64_t offset, uint64_t length, uint8_t value)
{
    const struct carrick_file *file = file_named(alpha, "/alpha/d1");

    for (uint64_t i = 0; i < length; i++)
        cr_assert_eq(file->bytes[offset + i], value, "byte %d on the disk is %d, not %d",
                     (int)(offset + i), file->bytes[offset + i], value);
}

#endif
