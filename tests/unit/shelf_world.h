// SPDX-License-Identifier: Apache-2.0
//
// Two nodes with the client shelf, between a fake host and a fake log. Time, disks, messages and the log stand still
// until the test moves them. Every request to a file is recorded with the moments when it was begun and when it was done, so
// that a test can ask what a disk may hold after a crash at any moment.
#ifndef SHELF_WORLD_H
#define SHELF_WORLD_H

#include <criterion/criterion.h>

#include "plugins/shelf/shelf.h"

#include <carrick/block.h>
#include <carrick/client.h>
#include <carrick/log.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORLD_NODES 2
#define WORLD_FILES 8
#define WORLD_RECORDS 8192

const struct carrick_plugin *shelf_plugin_entry(void);

struct node;

struct carrick_timer {
    struct carrick_timer *next;
    struct node *node;
    void (*fn)(void *arg);
    void *arg;
    uint64_t due_ns;
    bool armed;
};

struct io {
    struct io *next; // all that were ever begun, in order
    struct carrick_file *file;
    struct carrick_file_request request;
    uint8_t *data;        // WRITE: what it was
    uint64_t begun, done; // moments; done 0: under way
    bool failed;
};

struct carrick_file {
    struct node *node;
    char path[128];
    uint8_t *bytes;
    uint64_t length;
    bool there, open;
    uint32_t under_way;
    int fail[8];               // per operation: errno that requests end with
    uint64_t bad_from, bad_to; // reads that touch it end with EIO
    uint32_t errors_left;      // 0: fail[] holds for good
};

struct carrick_region {
    uint8_t *bytes;
    uint64_t length;
};

struct carrick_vi {
    struct node *node;
};

struct packet {
    struct packet *next;
    struct node *to;
    uint32_t length;
    uint8_t bytes[CARRICK_SEND_BYTES_MAX];
};

struct log_record {
    struct carrick_log_entry entry;
    uint8_t *data;
};

struct barrier {
    void (*fn)(void *arg, bool fresh);
    void *arg;
};

struct carrick_log {
    struct node *node;
    const struct carrick_log_consumer *consumer;
    void *arg;
    struct log_record *records[WORLD_RECORDS + 1]; // by sequence
    uint64_t first, last, acknowledged, told, synced, everywhere;
    uint32_t role, mirror, level;
    bool full, fresh;
    struct carrick_resync report;
    struct barrier barriers[1024];
    uint32_t barrier_count;
    uint32_t barrier_status;
};

struct carrick_logs {
    struct carrick_log log;
};

struct node {
    const char *name;
    struct carrick_host base;
    struct carrick_client_host host;
    struct carrick_client *client;
    const struct carrick_client_ops *ops;
    const struct carrick_block_ops *block;
    struct carrick_shelves *shelves;
    struct carrick_logs logs;
    struct carrick_file files[WORLD_FILES];
    struct carrick_vi vi;
    struct carrick_region *here; // where the partner writes
    struct carrick_region *regions[4];
    uint32_t completions[2]; // of slots and messages that were posted; told by world_settle
    uint64_t cookies[4096];
    uint32_t cookie_count;
    uint32_t errors_logged;
    char last_log[300];
    uint64_t room; // operations that post takes
};

struct world {
    uint64_t now_ns;
    uint64_t moment; // grows with every begin and end of a request
    uint64_t seed;
    struct carrick_timer *timers;
    struct io *ios, *last_io;
    struct node nodes[WORLD_NODES];
    struct packet *packets;
    bool session;
    bool read_now; // file_read_now works
    bool hold_io, hold_packets;
    bool shuffle; // requests end in any order
};

static struct world world;

static inline uint64_t world_random(void)
{
    world.seed = world.seed * 6364136223846793005u + 1442695040888963407u;
    return world.seed >> 33;
}

static inline struct node *other(struct node *node)
{
    return node == &world.nodes[0] ? &world.nodes[1] : &world.nodes[0];
}

static inline struct node *node_of(const struct carrick_host *base)
{
    return &world.nodes[base == &world.nodes[1].base];
}

// ---- host: time, log lines

static void fake_log(const struct carrick_host *base, int level, const char *format, ...)
{
    struct node *node = node_of(base);
    va_list ap;

    va_start(ap, format);
    vsnprintf(node->last_log, sizeof node->last_log, format, ap);
    va_end(ap);
    node->errors_logged += level == CARRICK_LOG_ERROR;
}

static uint64_t fake_now(const struct carrick_host *base)
{
    (void)base;
    return world.now_ns;
}

static void fake_random(const struct carrick_host *base, void *buffer, size_t length)
{
    (void)base;
    for (size_t i = 0; i < length; i++)
        ((uint8_t *)buffer)[i] = (uint8_t)world_random();
}

static int fake_timer_create(const struct carrick_host *base, void (*fn)(void *arg), void *arg,
                             struct carrick_timer **timer)
{
    *timer = calloc(1, sizeof **timer);
    **timer =
        (struct carrick_timer){.next = world.timers, .node = node_of(base), .fn = fn, .arg = arg};
    world.timers = *timer;
    return CARRICK_OK;
}

static void fake_timer_start(struct carrick_timer *timer, uint64_t delay_ns)
{
    timer->due_ns = world.now_ns + delay_ns;
    timer->armed = true;
}

static void fake_timer_stop(struct carrick_timer *timer)
{
    timer->armed = false;
}

static void fake_timer_destroy(struct carrick_timer *timer)
{
    struct carrick_timer **at = &world.timers;

    while (*at != timer)
        at = &(*at)->next;
    *at = timer->next;
    free(timer);
}

// ---- host: files

static int fake_file_open(const struct carrick_host *base, const char *path, uint32_t flags,
                          uint64_t bytes, struct carrick_file **out, struct carrick_file_info *info,
                          struct carrick_error *error)
{
    struct node *node = node_of(base);
    struct carrick_file *file = node->files;

    (void)flags;
    (void)error;
    while (file->there && strcmp(file->path, path) != 0)
        file++;
    bool created = !file->there;
    if (created) {
        snprintf(file->path, sizeof file->path, "%s", path);
        file->there = true;
        file->node = node;
        file->bytes = calloc(1, bytes);
        file->length = bytes;
    }
    cr_assert(!file->open && file->length >= bytes);
    file->open = true;
    if (info != NULL)
        info->created = created;
    *out = file;
    return CARRICK_OK;
}

static int fake_file_submit(struct carrick_file *file, const struct carrick_file_request *request)
{
    struct io *io = calloc(1, sizeof *io);

    cr_assert(file->open);
    cr_assert(request->offset + request->length <= file->length);
    io->file = file;
    io->request = *request;
    io->begun = ++world.moment;
    if (request->operation == CARRICK_FILE_WRITE) {
        io->data = malloc(request->length);
        memcpy(io->data, request->data, request->length);
    }
    if (world.last_io != NULL)
        world.last_io->next = io;
    else
        world.ios = io;
    world.last_io = io;
    file->under_way++;
    return CARRICK_OK;
}

static int fake_file_read_now(struct carrick_file *file, uint64_t offset, void *data,
                              uint64_t length)
{
    if (!world.read_now || (offset < file->bad_to && file->bad_from < offset + length))
        return CARRICK_ERR_AGAIN;
    memcpy(data, file->bytes + offset, length);
    return CARRICK_OK;
}

static int fake_file_close(struct carrick_file *file)
{
    cr_assert_eq(file->under_way, 0u);
    file->open = false;
    return CARRICK_OK;
}

static inline void io_apply(uint8_t *bytes, const struct io *io)
{
    if (io->request.operation == CARRICK_FILE_WRITE)
        memcpy(bytes + io->request.offset, io->data, io->request.length);
    else if (io->request.operation >= CARRICK_FILE_ZERO)
        memset(bytes + io->request.offset, 0, io->request.length);
}

static inline void io_end(struct io *io)
{
    struct carrick_file *file = io->file;
    struct carrick_file_request *request = &io->request;
    int sys_errno = file->fail[request->operation];

    if (sys_errno != 0 && file->errors_left > 0 && --file->errors_left == 0)
        memset(file->fail, 0, sizeof file->fail);
    if (request->operation == CARRICK_FILE_READ && request->offset < file->bad_to &&
        file->bad_from < request->offset + request->length)
        sys_errno = EIO;
    io->done = ++world.moment;
    io->failed = sys_errno != 0;
    file->under_way--;
    if (sys_errno == 0 && request->operation == CARRICK_FILE_READ)
        memcpy(request->data, file->bytes + request->offset, request->length);
    else if (sys_errno == 0)
        io_apply(file->bytes, io);
    if (request->operation == CARRICK_FILE_WRITE) // it must not have changed meanwhile
        cr_assert_eq(memcmp(io->data, request->data, request->length), 0);
    request->fn(request->arg, sys_errno == 0 ? CARRICK_OK : CARRICK_ERR_SYSTEM, sys_errno);
}

// Ends one request; false: none is under way.
static inline bool world_io_step(void)
{
    struct io *pick = NULL;
    uint32_t open = 0;

    for (struct io *io = world.ios; io != NULL; io = io->next)
        if (io->done == 0 && (open++ == 0 || (world.shuffle && world_random() % open == 0)))
            pick = io;
    if (pick == NULL)
        return false;
    io_end(pick);
    return true;
}

// ---- host: regions and the VI

static int fake_region_create(const struct carrick_client_host *host, uint64_t bytes,
                              struct carrick_region **region)
{
    (void)host;
    *region = calloc(1, sizeof **region);
    (*region)->bytes = calloc(1, bytes);
    (*region)->length = bytes;
    return CARRICK_OK;
}

static int fake_region_destroy(struct carrick_region *region)
{
    free(region->bytes);
    free(region);
    return CARRICK_OK;
}

static void *fake_region_ptr(struct carrick_region *region)
{
    return region->bytes;
}

static uint64_t fake_region_bytes(struct carrick_region *region)
{
    return region->length;
}

static int fake_post(struct carrick_vi *vi, const struct carrick_op *ops, uint32_t count)
{
    struct node *node = vi->node, *partner = other(node);

    if (node->cookie_count + count > node->room)
        return CARRICK_ERR_AGAIN;
    for (uint32_t i = 0; i < count; i++) {
        const struct carrick_op *op = carrick_op_at(ops, i);
        if (op->operation == CARRICK_CLIENT_WRITE) {
            cr_assert(op->there_offset + op->length <= partner->here->length);
            memcpy(partner->here->bytes + op->there_offset, op->region->bytes + op->offset,
                   op->length);
        } else {
            struct packet *packet = calloc(1, sizeof *packet), **at = &world.packets;
            packet->to = partner;
            packet->length = (uint32_t)op->length;
            memcpy(packet->bytes, op->data, op->length);
            while (*at != NULL)
                at = &(*at)->next;
            *at = packet;
        }
        node->cookies[node->cookie_count++] = op->cookie;
    }
    return CARRICK_OK;
}

static int fake_vi_close(struct carrick_vi *vi)
{
    (void)vi;
    return CARRICK_OK;
}

static inline bool world_packet_step(void)
{
    struct packet *packet = world.packets;

    if (packet == NULL)
        return false;
    world.packets = packet->next;
    if (world.session)
        packet->to->ops->received(packet->to->client, &packet->to->vi, packet->bytes,
                                  packet->length);
    free(packet);
    return true;
}

static inline bool world_completion_step(struct node *node)
{
    struct carrick_completion completions[64];
    uint32_t count = node->cookie_count > 64 ? 64 : node->cookie_count;

    if (count == 0 || node->client == NULL || !world.session)
        return false;
    for (uint32_t i = 0; i < count; i++)
        completions[i] = (struct carrick_completion){
            .struct_size = sizeof completions[0], .cookie = node->cookies[i], .vi = &node->vi};
    node->cookie_count -= count;
    memmove(node->cookies, node->cookies + count, node->cookie_count * sizeof node->cookies[0]);
    node->ops->completed(node->client, completions, count);
    return true;
}

// ---- services

static const void *offered_table;

static int fake_offer(const struct carrick_client_host *host, const char *name, const void *table,
                      void *object)
{
    struct node *node = node_of(host->base);

    cr_assert_str_eq(name, CARRICK_BLOCK_SERVICE);
    node->block = offered_table = table;
    node->shelves = object;
    return CARRICK_OK;
}

static const struct carrick_log_ops fake_log_ops;

static int fake_find(const struct carrick_client_host *host, const char *name, const void **table,
                     void **object)
{
    cr_assert_str_eq(name, CARRICK_LOG_SERVICE);
    *table = &fake_log_ops;
    *object = &node_of(host->base)->logs;
    return CARRICK_OK;
}

// ---- the log

static int log_find(struct carrick_logs *logs, const char *group, struct carrick_log **log)
{
    *log = &logs->log;
    return strcmp(group, "g1") == 0 ? CARRICK_OK : CARRICK_ERR_NOT_FOUND;
}

static int log_attach(struct carrick_log *log, const struct carrick_log_consumer *consumer,
                      void *arg)
{
    log->consumer = consumer;
    log->arg = arg;
    return CARRICK_OK;
}

static void log_copy(struct carrick_log *log, struct carrick_log_copy *copy)
{
    copy->level = log->level;
    copy->role = log->role;
    copy->first = log->first;
    copy->last = log->last;
    copy->acknowledged = log->acknowledged;
}

static void log_mirror_state(struct carrick_log *log, struct carrick_mirror_state *state)
{
    state->mirror = log->mirror;
}

static inline void log_put(struct carrick_log *log, const struct carrick_log_entry *entry)
{
    struct log_record *record = calloc(1, sizeof *record);

    cr_assert(log->last < WORLD_RECORDS);
    record->entry = *entry;
    record->entry.sequence = ++log->last;
    if (entry->kind == CARRICK_LOG_WRITE) {
        record->data = malloc(entry->length);
        memcpy(record->data, entry->data, entry->length);
        record->entry.data = record->data;
    }
    log->records[log->last] = record;
}

static int log_append(struct carrick_log *log, const struct carrick_log_entry *entry,
                      uint64_t *sequence)
{
    if (log->role != CARRICK_LOG_OWNER)
        return CARRICK_ERR_STATE;
    if (log->full)
        return CARRICK_ERR_AGAIN;
    log_put(log, entry);
    *sequence = log->last;
    return CARRICK_OK;
}

static void log_commit(struct carrick_log *log)
{
    (void)log;
}

static inline void log_trim(struct carrick_log *log, uint64_t up_to)
{
    for (; log->first <= up_to && log->first <= log->last; log->first++) {
        struct log_record *record = log->records[log->first];
        if (record == NULL)
            continue;
        if (record->data != NULL) // who still reads it will be seen
            memset(record->data, 0xdb, record->entry.length);
        free(record->data);
        free(record);
        log->records[log->first] = NULL;
    }
}

static void log_synced(struct carrick_log *log, uint64_t sequence)
{
    cr_assert_leq(sequence, log->told);
    if (sequence > log->synced)
        log->synced = sequence;
    // A node that serves alone needs it no more.
    if (log->role == CARRICK_LOG_OWNER && log->mirror == CARRICK_MIRROR_ALONE)
        log_trim(log, log->synced);
}

static int log_read_barrier(struct carrick_log *log, void (*fn)(void *arg, bool fresh), void *arg)
{
    if (log->barrier_status != CARRICK_OK)
        return (int)log->barrier_status;
    cr_assert_lt(log->barrier_count, 1024u);
    log->barriers[log->barrier_count++] = (struct barrier){.fn = fn, .arg = arg};
    return CARRICK_OK;
}

static void log_resync_report(struct carrick_log *log, const struct carrick_resync *report)
{
    log->report = *report;
}

static const struct carrick_log_ops fake_log_ops = {
    .struct_size = sizeof fake_log_ops,
    .find = log_find,
    .copy = log_copy,
    .mirror_state = log_mirror_state,
    .attach_consumer = log_attach,
    .append = log_append,
    .commit = log_commit,
    .synced = log_synced,
    .read_barrier = log_read_barrier,
    .resync_report = log_resync_report,
};

// Tells the consumer all up to sequence.
static inline void log_tell(struct node *node, uint64_t sequence)
{
    struct carrick_log *log = &node->logs.log;

    while (log->told < sequence && log->told < log->last) {
        struct log_record *record = log->records[++log->told];
        if (record != NULL)
            log->consumer->record(log->arg, &record->entry);
    }
}

// The owner's records up to sequence are acknowledged.
static inline void log_acknowledge(struct node *node, uint64_t sequence)
{
    struct carrick_log *log = &node->logs.log;

    if (sequence > log->last)
        sequence = log->last;
    log->acknowledged = sequence;
    log_tell(node, sequence);
    log->consumer->acknowledged(log->arg, sequence);
}

static inline void log_everywhere(struct node *node, uint64_t sequence)
{
    struct carrick_log *log = &node->logs.log;

    if (sequence > log->everywhere) {
        log->everywhere = sequence;
        log->consumer->synced_everywhere(log->arg, sequence);
    }
}

// Copies what the partner's copy lacks of this node's records.
static inline void log_mirror(struct node *from)
{
    struct carrick_log *log = &from->logs.log, *there = &other(from)->logs.log;

    if (there->last + 1 < log->first) {
        there->last = log->first - 1;
        there->told = there->last;
        there->first = log->first;
    }
    while (there->last < log->last)
        log_put(there, &log->records[there->last + 1]->entry);
}

static inline void log_role(struct node *node, uint32_t role, uint32_t mirror, uint8_t generation,
                            uint64_t fork)
{
    struct carrick_log *log = &node->logs.log;
    struct carrick_generation bears = {.id = {generation}, .parent = {(uint8_t)(generation - 1)}};

    log->role = role;
    log->mirror = mirror;
    if (role == CARRICK_LOG_IDLE)
        log->told = log->synced;
    else if (role == CARRICK_LOG_OWNER)
        log_tell(node, log->last);
    log->consumer->role_changed(log->arg, role, &bears, fork);
}

// ---- the world

static inline bool world_timer_step(void)
{
    for (struct carrick_timer *timer = world.timers; timer != NULL; timer = timer->next) {
        if (timer->armed && timer->due_ns <= world.now_ns) {
            timer->armed = false;
            timer->fn(timer->arg);
            return true;
        }
    }
    return false;
}

static inline bool world_barrier_step(struct node *node)
{
    struct carrick_log *log = &node->logs.log;

    if (log->barrier_count == 0)
        return false;
    struct barrier barrier = log->barriers[0];
    memmove(log->barriers, log->barriers + 1, --log->barrier_count * sizeof barrier);
    barrier.fn(barrier.arg, log->fresh);
    return true;
}

static inline bool world_step(void)
{
    return world_timer_step() || world_barrier_step(&world.nodes[0]) ||
           world_barrier_step(&world.nodes[1]) || (!world.hold_io && world_io_step()) ||
           (!world.hold_packets && world_packet_step()) || world_completion_step(&world.nodes[0]) ||
           world_completion_step(&world.nodes[1]);
}

static inline void world_settle(void)
{
    uint32_t steps = 0;

    while (world_step())
        cr_assert_lt(++steps, 2000000u, "it never comes to rest");
}

static inline void world_advance(uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i++) {
        world.now_ns += 1000000;
        world_settle();
    }
}

static inline void node_start(struct node *node, const char *config)
{
    struct carrick_error error = {.struct_size = sizeof error};
    struct carrick_region_want want = {.struct_size = sizeof want};
    struct carrick_client_info info = {.struct_size = sizeof info, .region_max = 1, .wants = &want};

    cr_assert_eq(node->ops->create(&node->host, config, &node->client, &error), CARRICK_OK, "%s %s",
                 error.pointer, error.text);
    cr_assert_eq(node->ops->describe(node->client, &info), CARRICK_OK);
    world_settle(); // the maps are read
}

static inline void node_stop(struct node *node)
{
    node->ops->destroy(node->client);
    node->client = NULL;
    node->logs.log.barrier_count = 0;
}

static inline void world_session(bool up)
{
    struct carrick_region_want want = {.struct_size = sizeof want};
    struct carrick_client_info info = {.struct_size = sizeof info, .region_max = 1, .wants = &want};

    world.session = up;
    for (int i = 0; i < WORLD_NODES; i++) {
        struct node *node = &world.nodes[i];
        node->cookie_count = 0;
        if (!up) {
            node->ops->ended(node->client, CARRICK_REASON_LINK_LOST);
            continue;
        }
        node->ops->describe(node->client, &info);
        if (other(node)->here == NULL)
            fake_region_create(&node->host, want.bytes, &other(node)->here);
    }
    while (!up && world.packets != NULL)
        world_packet_step();
    for (int i = 0; i < WORLD_NODES && up; i++) {
        struct node *node = &world.nodes[i];
        struct carrick_vi *vis[1] = {&node->vi};
        struct carrick_region *here[1] = {node->here};
        uint64_t there[1] = {other(node)->here->length};
        struct carrick_session_info session = {.struct_size = sizeof session,
                                               .partner_version = SHELF_VERSION,
                                               .vi_count = 1,
                                               .vis = vis,
                                               .here_count = 1,
                                               .here = here,
                                               .there_count = 1,
                                               .there_bytes = there};
        node->ops->ready(node->client, &session);
    }
}

static inline void node_init(struct node *node, const char *name)
{
    node->name = name;
    node->base = (struct carrick_host){
        .struct_size = sizeof node->base,
        .node = name,
        .partner = node == &world.nodes[0] ? "beta" : "alpha",
        .manager = "m",
        .instance = "shelf",
        .log = fake_log,
        .now_ns = fake_now,
        .random = fake_random,
        .timer_create = fake_timer_create,
        .timer_start = fake_timer_start,
        .timer_stop = fake_timer_stop,
        .timer_destroy = fake_timer_destroy,
        .file_open = fake_file_open,
        .file_submit = fake_file_submit,
        .file_read_now = fake_file_read_now,
        .file_close = fake_file_close,
    };
    node->host = (struct carrick_client_host){
        .struct_size = sizeof node->host,
        .base = &node->base,
        .region_create = fake_region_create,
        .region_destroy = fake_region_destroy,
        .region_ptr = fake_region_ptr,
        .region_bytes = fake_region_bytes,
        .vi_close = fake_vi_close,
        .post = fake_post,
        .service_offer = fake_offer,
        .service_find = fake_find,
    };
    node->ops = shelf_plugin_entry()->ops;
    node->vi.node = node;
    node->room = 4096;
    node->logs.log.node = node;
    node->logs.log.first = 1;
    node->logs.log.level = CARRICK_LEVEL_PERSISTENT;
    node->logs.log.fresh = true;
    node->logs.log.mirror = CARRICK_MIRROR_BOTH;
}

static inline void world_begin(uint64_t seed)
{
    memset(&world, 0, sizeof world);
    world.seed = seed * 2654435761u + 1;
    world.now_ns = 1000000000;
    world.read_now = true;
    node_init(&world.nodes[0], "alpha");
    node_init(&world.nodes[1], "beta");
}

// Requests that are under way end before the client may be destroyed.
static inline void world_end(void)
{
    world.hold_io = world.hold_packets = false;
    for (int i = 0; i < WORLD_NODES; i++) {
        struct node *node = &world.nodes[i];
        if (node->client != NULL && node->logs.log.consumer != NULL &&
            node->logs.log.role != CARRICK_LOG_IDLE)
            log_role(node, CARRICK_LOG_IDLE, 0, 0, UINT64_MAX);
    }
    for (int i = 0; i < WORLD_NODES; i++)
        for (int f = 0; f < WORLD_FILES; f++)
            memset(world.nodes[i].files[f].fail, 0, sizeof world.nodes[i].files[f].fail);
    world_settle();
    world_advance(200);
    for (int i = 0; i < WORLD_NODES; i++) {
        struct node *node = &world.nodes[i];
        if (node->client != NULL)
            node_stop(node);
        for (int f = 0; f < WORLD_FILES; f++)
            free(node->files[f].bytes);
        for (uint64_t s = 1; s <= node->logs.log.last; s++) {
            if (node->logs.log.records[s] != NULL)
                free(node->logs.log.records[s]->data);
            free(node->logs.log.records[s]);
        }
        if (node->here != NULL)
            fake_region_destroy(node->here);
    }
    while (world.ios != NULL) {
        struct io *io = world.ios;
        world.ios = io->next;
        free(io->data);
        free(io);
    }
    while (world.packets != NULL) {
        struct packet *packet = world.packets;
        world.packets = packet->next;
        free(packet);
    }
    cr_assert_null(world.timers);
}

// ---- a user of a shelf

struct user {
    struct carrick_export *export_;
    struct node *node;
    uint32_t answers;
    uint64_t last_cookie;
    int last_status, last_errno;
    bool closed;
    char why[128];
    bool in_call; // answers must not come from within a call
};

static void user_answered(void *arg, uint64_t cookie, int status, int sys_errno)
{
    struct user *user = arg;

    cr_assert(!user->in_call);
    cr_assert(!user->closed, "an answer after the end");
    user->answers++;
    user->last_cookie = cookie;
    user->last_status = status;
    user->last_errno = sys_errno;
}

static void user_closed(void *arg, const char *why)
{
    struct user *user = arg;

    cr_assert(!user->in_call);
    user->closed = true;
    snprintf(user->why, sizeof user->why, "%s", why);
}

static inline int user_open(struct user *user, struct node *node, const char *shelf)
{
    static const struct carrick_block_user callbacks = {
        .struct_size = sizeof callbacks, .answered = user_answered, .closed = user_closed};
    struct carrick_error error = {.struct_size = sizeof error};
    struct carrick_block_info info = {.struct_size = sizeof info};

    *user = (struct user){.node = node};
    return node->block->export_open(node->shelves, shelf, &callbacks, user, &user->export_, &info,
                                    &error);
}

static inline void user_close(struct user *user)
{
    user->node->block->export_close(user->export_);
}

static inline int user_ask(struct user *user, uint32_t operation, uint64_t offset, uint64_t length,
                           void *data, uint32_t flags, uint64_t cookie)
{
    struct carrick_block_request request = {.struct_size = sizeof request,
                                            .operation = operation,
                                            .flags = flags,
                                            .offset = offset,
                                            .length = length,
                                            .data = data,
                                            .cookie = cookie};

    user->in_call = true;
    int status = user->node->block->submit(user->export_, &request);
    user->in_call = false;
    return status;
}

static inline struct carrick_file *file_named(struct node *node, const char *path)
{
    for (int i = 0; i < WORLD_FILES; i++)
        if (node->files[i].there && strcmp(node->files[i].path, path) == 0)
            return &node->files[i];
    cr_assert_fail("there is no file %s", path);
    return NULL;
}

#endif
