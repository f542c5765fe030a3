// SPDX-License-Identifier: Apache-2.0
//
// A consumer and a monitor for nvram_shadow under test: they write down what they are told, and check what must hold of
// every such word.
#ifndef NVRAM_USERS_H
#define NVRAM_USERS_H

#include "nvram_world.h"

enum { U_RECORDS = 20000 };

struct user {
    struct carrick_log *log;
    int node;
    // consumer
    uint64_t
        told[U_RECORDS]; // offset of each record that was told; the offset is what tells them apart
    uint64_t sequence[U_RECORDS];
    uint32_t told_count;
    uint64_t acknowledged, synced_everywhere, rooms, fork;
    uint32_t role, roles;
    bool follows, syncs; // syncs: says at once that it is on its disk
    uint64_t since;
    uint32_t fresh, stale;
    // monitor
    uint32_t changes, servings, fetches;
    int serving, fetched;
    char cause[160];
};

static struct user users[2];
static bool in_call; // of the service: nothing may be called back

static inline void u_outside(void)
{
    cr_assert_not(in_call, "a callback came from within a call");
}

static inline void u_record(void *arg, const struct carrick_log_entry *entry)
{
    struct user *user = arg;

    u_outside();
    cr_assert_lt(user->told_count, U_RECORDS);
    if (user->told_count > 0)
        cr_assert_gt(entry->sequence, user->sequence[user->told_count - 1],
                     "told twice, or backwards");
    // The data follows from the offset: nothing made up, nothing torn.
    const uint8_t *data = entry->data;
    for (uint64_t i = 0; entry->kind == CARRICK_LOG_WRITE && i < entry->length; i++)
        if (data[i] !=
            (uint8_t)(entry->offset * 31 + i)) // an assertion for each byte takes its time
            cr_assert_fail("byte %d is %d", (int)i, data[i]);
    user->sequence[user->told_count] = entry->sequence;
    user->told[user->told_count++] = entry->offset;
    if (user->syncs)
        nv_log_ops.synced(user->log, entry->sequence);
}

static inline void u_acknowledged(void *arg, uint64_t sequence)
{
    struct user *user = arg;

    u_outside();
    cr_assert_gt(sequence, user->acknowledged);
    cr_assert_eq(user->role, CARRICK_LOG_OWNER);
    user->acknowledged = sequence;
}

static inline void u_synced_everywhere(void *arg, uint64_t sequence)
{
    struct user *user = arg;

    u_outside();
    cr_assert_gt(sequence, user->synced_everywhere);
    user->synced_everywhere = sequence;
}

static inline void u_room(void *arg)
{
    u_outside();
    ((struct user *)arg)->rooms++;
}

static inline void u_role_changed(void *arg, uint32_t role,
                                  const struct carrick_generation *generation, uint64_t fork)
{
    struct user *user = arg;

    (void)generation;
    u_outside();
    user->role = role;
    user->roles++;
    user->fork = fork;
    user->synced_everywhere = 0;
    // IDLE takes back what is not on this disk: it is told again.
    if (role == CARRICK_LOG_IDLE)
        fork = user->log->synced;
    while (user->told_count > 0 && user->sequence[user->told_count - 1] > fork)
        user->told_count--;
}

static inline void u_partner_follows(void *arg, bool follows, uint64_t since)
{
    struct user *user = arg;

    u_outside();
    user->follows = follows;
    user->since = since;
}

static inline void u_changed(void *arg)
{
    u_outside();
    ((struct user *)arg)->changes++;
}

static inline void u_serving(void *arg, int status, const char *cause)
{
    struct user *user = arg;

    u_outside();
    user->servings++;
    user->serving = status;
    snprintf(user->cause, sizeof user->cause, "%s", cause);
}

static inline void u_fetched(void *arg, int status, const char *cause)
{
    struct user *user = arg;

    u_outside();
    user->fetches++;
    user->fetched = status;
    snprintf(user->cause, sizeof user->cause, "%s", cause);
}

static inline void u_barrier(void *arg, bool fresh)
{
    struct user *user = arg;

    u_outside();
    user->fresh += fresh;
    user->stale += !fresh;
}

static inline void u_mirror_changed(void *arg, uint32_t mirror)
{
    (void)arg;
    (void)mirror;
}

static const struct carrick_log_consumer u_consumer = {
    .struct_size = sizeof u_consumer,
    .record = u_record,
    .acknowledged = u_acknowledged,
    .synced_everywhere = u_synced_everywhere,
    .room = u_room,
    .role_changed = u_role_changed,
    .partner_follows = u_partner_follows,
    .mirror_changed = u_mirror_changed,
};

static const struct carrick_log_monitor u_monitor = {
    .struct_size = sizeof u_monitor,
    .changed = u_changed,
    .serving = u_serving,
    .fetched = u_fetched,
};

// ---- what tests do

#define CALL(name, ...)                                                                            \
    ({                                                                                             \
        in_call = true;                                                                            \
        int call_status = nv_log_ops.name(__VA_ARGS__);                                            \
        in_call = false;                                                                           \
        call_status;                                                                               \
    })

static char u_config[512] =
    "{\"groups\":[{\"name\":\"g1\",\"home\":\"alpha\",\"log_bytes\":4194304,"
    "\"backing\":\"tmpfs\",\"path\":\"/mem/%n\"}]}";

static inline void u_start(int node)
{
    struct user *user = &users[node];
    bool syncs = user->syncs;

    w_start(node, u_config);
    *user = (struct user){.node = node, .syncs = syncs, .log = w_group(node, "g1")};
    cr_assert_eq(CALL(attach_consumer, user->log, &u_consumer, user), CARRICK_OK);
    cr_assert_eq(CALL(attach_monitor, user->log, &u_monitor, user), CARRICK_OK);
    w_run_ms(1);
}

static inline struct carrick_log_copy u_copy(int node)
{
    struct carrick_log_copy copy = {.struct_size = sizeof copy};

    nv_log_ops.copy(users[node].log, &copy);
    return copy;
}

static inline struct carrick_mirror_state u_mirror(int node)
{
    struct carrick_mirror_state state = {.struct_size = sizeof state};

    nv_log_ops.mirror_state(users[node].log, &state);
    return state;
}

static inline struct carrick_generation u_generation(uint8_t n, uint8_t parent, uint64_t fork)
{
    struct carrick_generation generation = {.fork_sequence = fork, .number = n};

    memset(generation.id, n, 16);
    memset(generation.parent, parent, 16);
    return generation;
}

static inline int u_append_status(int node, uint64_t offset, uint64_t length, uint64_t *sequence)
{
    static uint8_t data[CARRICK_LOG_ENTRY_BYTES_MAX];
    const struct carrick_log_entry entry = {.struct_size = sizeof entry,
                                            .kind =
                                                length > 0 ? CARRICK_LOG_WRITE : CARRICK_LOG_ZERO,
                                            .offset = offset,
                                            .length = length,
                                            .data = data};
    int status;

    for (uint64_t i = 0; i < length; i++)
        data[i] = (uint8_t)(offset * 31 + i);
    status = CALL(append, users[node].log, &entry, sequence);
    memset(data, 0xee, length); // it was copied
    return status;
}

static inline uint64_t u_append(int node, uint64_t offset, uint64_t length)
{
    uint64_t sequence = 0;

    cr_assert_eq(u_append_status(node, offset, length, &sequence), CARRICK_OK);
    return sequence;
}

static inline void u_commit(int node)
{
    in_call = true;
    nv_log_ops.commit(users[node].log);
    in_call = false;
}

static inline void u_idle(int node)
{
    in_call = true;
    nv_log_ops.idle(users[node].log, "the test says so");
    in_call = false;
}

// Node 0 owns, node 1 follows, both count.
static inline void u_pair(void)
{
    struct carrick_generation one = u_generation(1, 0, 0);

    u_start(0);
    u_start(1);
    cr_assert_eq(CALL(follow, users[1].log, &one, UINT64_MAX, false), CARRICK_OK);
    cr_assert_eq(CALL(bear, users[1].log, &one, true), CARRICK_OK);
    cr_assert_eq(CALL(serve, users[0].log, &one, CARRICK_MIRROR_BOTH), CARRICK_OK);
    w_session();
    w_run_ms(20);
    cr_assert_eq(users[0].servings, 1);
    cr_assert_eq(users[0].serving, CARRICK_OK);
    cr_assert(u_mirror(0).connected);
}

// What the consumer was told are the records offset 0, 1, … n-1, in order.
static inline void u_told_exactly(int node, uint64_t n)
{
    cr_assert_eq(users[node].told_count, n, "node %d was told %u records, not %lu", node,
                 users[node].told_count, (unsigned long)n);
    for (uint64_t i = 0; i < n; i++)
        cr_assert_eq(users[node].told[i], i);
}

#endif
