// SPDX-License-Identifier: Apache-2.0
//
// Owner and follower of one shelf: alpha and beta write, part, meet again, and must hold the same bytes in the end.
#ifndef SHELF_PAIR_H
#define SHELF_PAIR_H

#include "shelf_world.h"

#include "plugins/shelf/shelf.h"

#define SHELF_BYTES (2u * 1024 * 1024)
#define CHUNKS (SHELF_BYTES / SHELF_CHUNK_BYTES)
#define CONFIG_RATE(rate)                                                                          \
    "{\"destage_delay_ms\":2,\"destage_requests\":4,\"catchup_bytes_per_second\":" rate            \
    ",\"shelves\":[{\"name\":\"d1\",\"group\":\"g1\",\"path\":\"/d1\",\"bytes\":2097152}]}"
#define CONFIG CONFIG_RATE("0")

static struct node *alpha, *beta;
static struct carrick_log *alog, *blog;
static uint8_t model[SHELF_BYTES];
static uint8_t values;

static inline void pair_write(uint64_t offset, uint64_t length, uint8_t value)
{
    uint8_t *data = malloc(length);
    struct carrick_log_entry entry = {.struct_size = sizeof entry,
                                      .kind = CARRICK_LOG_WRITE,
                                      .offset = offset,
                                      .length = length,
                                      .data = data};

    memset(data, value, length);
    log_put(alog, &entry);
    log_acknowledge(alpha, alog->last);
    memset(model + offset, value, length);
    free(data);
}

static inline void pair_write_random(void)
{
    uint64_t length = 512 * (1 + world_random() % (world_random() % 8 == 0 ? 180 : 6));
    uint64_t offset = 512 * (world_random() % (SHELF_BYTES / 512));

    values = values % 250 + 1;
    pair_write(offset, offset + length > SHELF_BYTES ? SHELF_BYTES - offset : length, values);
}

// Both are members: what alpha acknowledges, beta's copy holds.
static inline void pair_sync(void)
{
    log_mirror(alpha);
    uint64_t everywhere = shelf_min(alog->synced, blog->synced);
    log_everywhere(alpha, everywhere);
    log_trim(alog, alog->everywhere);
    log_trim(blog, alog->everywhere);
}

static inline void pair_begin_with(uint64_t seed, const char *config)
{
    world_begin(seed);
    memset(model, 0, sizeof model);
    alpha = &world.nodes[0];
    beta = &world.nodes[1];
    alog = &alpha->logs.log;
    blog = &beta->logs.log;
    node_start(alpha, config);
    node_start(beta, config);
    log_role(beta, CARRICK_LOG_SHADOW, 0, 1, UINT64_MAX);
    log_role(alpha, CARRICK_LOG_OWNER, CARRICK_MIRROR_BOTH, 1, UINT64_MAX);
    world_session(true);
    for (int i = 0; i < 20; i++) {
        pair_write_random();
        pair_sync();
        log_tell(beta, world_random() % (blog->last + 1));
        world_advance(1);
    }
}

static inline void pair_begin(void)
{
    pair_begin_with(1, CONFIG);
}

static inline void pair_partner_goes(void)
{
    world_session(false);
    alog->mirror = CARRICK_MIRROR_ALONE;
    alog->synced = alog->everywhere;
    alog->consumer->mirror_changed(alog->arg, CARRICK_MIRROR_ALONE);
    log_role(alpha, CARRICK_LOG_OWNER, CARRICK_MIRROR_ALONE, 2, UINT64_MAX);
    world_settle();
}

static inline void pair_partner_comes(void)
{
    log_role(beta, CARRICK_LOG_IDLE, 0, 1, UINT64_MAX);
    log_role(beta, CARRICK_LOG_SHADOW, 0, 2, UINT64_MAX);
    world_session(true);
    log_mirror(alpha);
    alog->consumer->partner_follows(alog->arg, true, blog->last);
}

static inline uint64_t pair_marked(struct node *node)
{
    struct shelf_map_stats stats;

    shelf_map_stats(node->client->shelves[0]->map, &stats);
    return stats.marked;
}

static inline void pair_bring_to_end(void)
{
    for (int i = 0; i < 3000 && alog->report.state != CARRICK_RESYNC_EQUAL; i++) {
        log_mirror(alpha);
        log_tell(beta, alog->acknowledged);
        world_advance(1);
    }
    cr_assert_eq(alog->report.state, CARRICK_RESYNC_EQUAL, "%s", alog->report.cause);
}

static inline void pair_is_equal(void)
{
    world.hold_io = world.hold_packets = false;
    log_mirror(alpha);
    log_tell(beta, alog->acknowledged);
    world_advance(100);
    const uint8_t *one = file_named(alpha, "/d1")->bytes, *two = file_named(beta, "/d1")->bytes;
    for (uint64_t i = 0; i < SHELF_BYTES; i++) {
        if (one[i] != model[i] || two[i] != model[i]) // an assertion for each byte takes its time
            cr_assert_fail("byte %d is %d at the owner, %d at the follower, not %d", (int)i, one[i],
                           two[i], model[i]);
    }
    cr_assert_eq(pair_marked(alpha), 0);
    cr_assert_eq(pair_marked(beta), 0);
}

static inline void pair_end(void)
{
    world_session(false);
    world_end();
}

#endif
