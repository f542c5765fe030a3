// SPDX-License-Identifier: Apache-2.0
//
// Users of the shelves, outside of both nodes: each dials a node, asks, waits, and dials again when its connection is
// lost or its patience ends. Some dial one node only, whoever serves. What is on its way to a node that stands still
// arrives when it goes on.
#include "tests/sim/storage.h"

#include <stdlib.h>
#include <string.h>

#define NET_MAX_NS 100000u // of a message between a user and a node
#define AGAIN_NS 100000u
#define FROZEN_NS 500000u

struct connection {
    struct connection *next;
    struct storage *storage;
    struct user *user;
    unsigned node;
    bool gone;       // there is nobody at the node's end any more
    bool open, over; // as the user sees it
    struct carrick_export *export_;
    const struct carrick_block_ops *ops;
};

struct request {
    struct request *next;
    struct connection *connection;
    uint32_t op;
    uint32_t flags, operation;
    bool done, good; // as the node answered
};

struct user {
    struct storage *storage;
    struct sim_random random;
    unsigned index, group, shelf, node;
    uint32_t first, end; // cells of its shelf
    bool fixed;          // dials one node only
    unsigned depth, burst;
    struct connection *connection;
    unsigned under_way;
    bool turn_due;
    uint32_t all_at, all_end; // reading all there is; at == end: not so
};

static void turn_soon(struct user *user, uint64_t max_ns);

struct user_op *user_op_add(struct storage *storage, const struct user_op *op)
{
    if (storage->op_count == storage->op_room) {
        storage->op_room = storage->op_room == 0 ? 256 : storage->op_room * 2;
        storage->ops = realloc(storage->ops, storage->op_room * sizeof(*op));
        if (storage->ops == NULL)
            abort();
    }
    storage->ops[storage->op_count] = *op;
    return &storage->ops[storage->op_count++];
}

static void send(struct storage *storage, void (*fn)(struct storage *storage, void *arg), void *arg)
{
    storage_at(storage, 500 + sim_random_below(&storage->random, NET_MAX_NS), fn, arg);
}

// ---- the node's end

// Nothing is taken off the wire while the node stands still. true: it will be tried again.
static bool stands_still(struct storage *storage, const struct connection *connection,
                         void (*fn)(struct storage *storage, void *arg), void *arg)
{
    if (connection->gone || !storage->world->node[connection->node].frozen)
        return false;
    storage_at(storage, FROZEN_NS + sim_random_below(&storage->random, FROZEN_NS), fn, arg);
    return true;
}

static void connection_close_there(struct storage *storage, void *arg)
{
    struct connection *connection = arg;

    if (stands_still(storage, connection, connection_close_there, connection))
        return;
    if (!connection->gone && connection->export_ != NULL)
        connection->ops->export_close(connection->export_);
    connection->export_ = NULL;
    connection->gone = true;
}

static void connection_lost(struct storage *storage, void *arg)
{
    struct connection *connection = arg;
    struct user *user = connection->user;

    (void)storage;
    if (connection->over)
        return;
    connection->over = true;
    connection->open = false;
    user->connection = NULL;
    user->under_way = 0;
    if (!user->fixed)
        user->node = !user->node;
    turn_soon(user, user->storage->backoff_ns);
}

// The buffer is the user's own again: nothing may read it or write into it any more.
static void data_take(struct storage *storage, struct user_op *op, bool good)
{
    if (good && op->kind == USER_READ) {
        op->values = malloc(op->count * sizeof(*op->values));
        if (op->values == NULL)
            abort();
        for (uint32_t i = 0; i < op->count; i++)
            op->values[i] =
                cell_read(storage, op->data + (size_t)i * storage->cell_bytes, op->first + i);
    }
    free(op->data);
    op->data = NULL;
}

static void request_answered(struct storage *storage, void *arg)
{
    struct request *request = arg;
    struct user_op *op = &storage->ops[request->op];
    struct user *user = request->connection->user;

    data_take(storage, op, request->good && !request->connection->over);
    if (!request->connection->over) {
        op->answered = true;
        op->good = request->good;
        op->answered_ns = storage->world->clock.now_ns;
        user->under_way--;
        if (op->good && op->kind != USER_READ) {
            storage->group[op->group].acknowledged++;
            storage->acknowledged++;
        }
        if (user->all_at < user->all_end && op->kind == USER_READ && op->good &&
            op->first == user->all_at)
            user->all_at += op->count;
        turn_soon(user, user->burst > 0 || user->all_at < user->all_end ? NET_MAX_NS
                                                                        : storage->rest_max_ns);
    }
}

static void answered(void *arg, uint64_t cookie, int status, int sys_errno)
{
    struct request *request = (struct request *)(uintptr_t)cookie;
    struct connection *connection = arg;
    struct storage *storage = connection->storage;

    (void)sys_errno;
    if (connection->gone || storage->world->node[connection->node].dying)
        return;
    if (request->connection != connection || request->done) {
        world_fail(storage->world, "a request is answered twice, or to the wrong connection");
        return;
    }
    request->done = true;
    request->good = status == CARRICK_OK;
    storage->refused += !request->good;
    send(storage, request_answered, request);
}

static void closed(void *arg, const char *why)
{
    struct connection *connection = arg;
    struct storage *storage = connection->storage;

    (void)why;
    if (connection->gone || storage->world->node[connection->node].dying)
        return;
    send(storage, connection_lost, connection);
    if (sim_random_percent(&storage->random, 50))
        connection_close_there(storage, connection);
    else
        send(storage, connection_close_there, connection);
}

static const struct carrick_block_user block_user = {
    .struct_size = sizeof(block_user),
    .answered = answered,
    .closed = closed,
};

static void connection_opened(struct storage *storage, void *arg)
{
    struct connection *connection = arg;

    (void)storage;
    connection->open = !connection->over;
    if (connection->open)
        turn_soon(connection->user, NET_MAX_NS);
}

static void connection_open_there(struct storage *storage, void *arg)
{
    struct connection *connection = arg;
    const struct world_node *node = &storage->world->node[connection->node];
    const struct carrick_block_ops *ops = NULL;
    struct carrick_error error = {.struct_size = sizeof(error)};
    struct carrick_block_info info = {.struct_size = sizeof(info)};
    const struct user *user = connection->user;
    void *shelves = NULL;
    char name[24];

    if (stands_still(storage, connection, connection_open_there, connection))
        return;
    if (node->alive && !node->stopping && !connection->gone)
        ops = storage_service(storage->world, connection->node, CARRICK_BLOCK_SERVICE, &shelves);
    connection->ops = ops;
    if (ops != NULL &&
        ops->export_open(shelves, storage_shelf_name(name, sizeof(name), user->group, user->shelf),
                         &block_user, connection, &connection->export_, &info,
                         &error) == CARRICK_OK) {
        send(storage, connection_opened, connection);
        return;
    }
    connection->gone = true;
    send(storage, connection_lost, connection);
}

static void request_there(struct storage *storage, void *arg)
{
    struct request *request = arg;
    struct connection *connection = request->connection;
    const struct user_op *op = &storage->ops[request->op];
    struct carrick_block_request wanted = {
        .struct_size = sizeof(wanted),
        .operation = request->operation,
        .flags = request->flags,
        .offset = (uint64_t)(op->first - connection->user->first) * storage->cell_bytes,
        .length = (uint64_t)op->count * storage->cell_bytes,
        .data = op->data,
        .cookie = (uint64_t)(uintptr_t)request,
    };
    int status;

    if (stands_still(storage, connection, request_there, request))
        return;
    if (connection->gone || connection->export_ == NULL)
        return; // it is never answered
    status = connection->ops->submit(connection->export_, &wanted);
    if (status == CARRICK_ERR_AGAIN)
        storage_at(storage, sim_random_below(&storage->random, AGAIN_NS), request_there, request);
    else if (status != CARRICK_OK && status != CARRICK_ERR_STATE)
        world_fail(storage->world, "a request of %u cells at %u is refused with %#x", op->count,
                   op->first, (unsigned)status);
}

// ---- the user's end

static void hang_up(struct user *user)
{
    struct connection *connection = user->connection;

    connection_lost(user->storage, connection);
    send(user->storage, connection_close_there, connection);
}

static void dial_deadline(struct storage *storage, void *arg)
{
    struct connection *connection = arg;

    (void)storage;
    if (!connection->open && !connection->over)
        hang_up(connection->user);
}

static void dial(struct user *user)
{
    struct storage *storage = user->storage;
    struct connection *connection = calloc(1, sizeof(*connection));

    if (connection == NULL)
        abort();
    connection->next = storage->connections;
    storage->connections = connection;
    connection->storage = storage;
    connection->user = user;
    connection->node = user->node;
    user->connection = connection;
    send(storage, connection_open_there, connection);
    storage_at(storage, storage->patience_ns, dial_deadline, connection);
}

static void op_deadline(struct storage *storage, void *arg)
{
    const struct request *request = arg;

    if (!request->connection->over && !storage->ops[request->op].answered)
        hang_up(request->connection->user);
}

static void op_draw(struct user *user, struct user_op *op, uint32_t *operation, uint32_t *flags)
{
    static const uint32_t operations[] = {[USER_WRITE] = CARRICK_BLOCK_WRITE,
                                          [USER_READ] = CARRICK_BLOCK_READ,
                                          [USER_ZERO] = CARRICK_BLOCK_TRIM,
                                          [USER_FLUSH] = CARRICK_BLOCK_FLUSH};
    struct sim_random *random = &user->random;
    uint64_t draw = sim_random_below(random, 100);

    op->kind = draw < 48 ? USER_WRITE : draw < 92 ? USER_READ : draw < 96 ? USER_ZERO : USER_FLUSH;
    op->count = (uint32_t)sim_random_between(
        random, 1, sim_random_percent(random, 60) ? 2 : user->storage->request_cells);
    op->first =
        user->first + (uint32_t)sim_random_below(random, user->end - user->first - op->count + 1);
    *operation = operations[op->kind];
    if (op->kind == USER_ZERO && sim_random_percent(random, 50))
        *operation = CARRICK_BLOCK_ZERO;
    *flags = op->kind == USER_WRITE && sim_random_percent(random, 5) ? CARRICK_BLOCK_FUA : 0;
    if (user->all_at < user->all_end) {
        op->kind = USER_READ;
        *operation = CARRICK_BLOCK_READ;
        op->first = user->all_at;
        op->count = user->all_end - user->all_at;
        op->count =
            op->count < user->storage->request_cells ? op->count : user->storage->request_cells;
        *flags = 0;
    }
    if (op->kind == USER_FLUSH)
        op->first = op->count = 0;
}

static void ask(struct user *user)
{
    struct storage *storage = user->storage;
    struct request *request = calloc(1, sizeof(*request));
    struct user_op op = {
        .group = (uint8_t)user->group,
        .user = (uint8_t)user->index,
        .node = (uint8_t)user->connection->node,
        .asked_ns = storage->world->clock.now_ns,
    };

    if (request == NULL)
        abort();
    request->next = storage->requests;
    storage->requests = request;
    request->connection = user->connection;
    request->op = storage->op_count;
    op_draw(user, &op, &request->operation, &request->flags);
    if (op.kind == USER_WRITE || op.kind == USER_READ)
        op.data = malloc((size_t)op.count * storage->cell_bytes);
    for (uint32_t i = 0; op.kind == USER_WRITE && i < op.count; i++)
        cell_fill(storage, op.data + (size_t)i * storage->cell_bytes, request->op, op.first + i);
    user_op_add(storage, &op);
    storage->world->numbers.operations++;
    user->under_way++;
    storage_at(storage, storage->patience_ns, op_deadline, request);
    send(storage, request_there, request);
}

static void turn(struct storage *storage, void *arg)
{
    struct user *user = arg;
    bool work = storage->users_work || user->all_at < user->all_end;

    user->turn_due = false;
    if (!work)
        return;
    if (user->connection == NULL) {
        dial(user);
        return;
    }
    if (!user->connection->open)
        return;           // what becomes of it brings the next turn
    if (user->burst == 0) // it has rested
        user->burst =
            (unsigned)sim_random_between(&user->random, 1, storage->cell_bytes > 4096 ? 3 : 12);
    if (user->under_way < (user->all_at < user->all_end ? 1 : user->depth)) {
        ask(user);
        user->burst--;
    }
    if (user->burst == 0)
        turn_soon(user, storage->rest_max_ns);
    else if (user->under_way < user->depth)
        turn_soon(user, NET_MAX_NS);
}

static void turn_soon(struct user *user, uint64_t max_ns)
{
    if (user->turn_due)
        return;
    user->turn_due = true;
    storage_at(user->storage, 1000 + sim_random_below(&user->random, max_ns), turn, user);
}

// ---- all of them

void users_create(struct storage *storage)
{
    user_op_add(storage, &(struct user_op){.kind = USER_FLUSH}); // numbers begin at 1
    for (unsigned i = 0; i < storage->users; i++) {
        struct user *user = calloc(1, sizeof(*user));
        const struct storage_group *group;

        if (user == NULL)
            abort();
        user->storage = storage;
        user->index = i;
        user->group = i % storage->groups;
        group = &storage->group[user->group];
        user->shelf = i / storage->groups % group->shelves;
        user->first = group->shelf_first[user->shelf];
        user->end = storage_shelf_end(group, user->shelf);
        sim_random_init(&user->random, storage->world->options.seed + i, "user");
        user->node = (unsigned)sim_random_below(&user->random, 2);
        user->fixed =
            i >= storage->groups * group->shelves && sim_random_percent(&user->random, 40);
        user->depth = (unsigned)sim_random_between(&user->random, 1, USER_DEPTH_MAX);
        storage->user[i] = user;
        turn_soon(user, user->storage->backoff_ns);
    }
}

void users_node_gone(struct storage *storage, unsigned node)
{
    for (struct connection *connection = storage->connections; connection != NULL;
         connection = connection->next) {
        if (connection->node != node || connection->gone)
            continue;
        connection->gone = true;
        connection->export_ = NULL;
        // Without a word from the node, its users' patience ends it.
        if (!connection->over && sim_random_percent(&storage->random, 80))
            send(storage, connection_lost, connection);
    }
}

// All begin a burst: a fault that meets nothing under way proves little.
void users_stir(struct storage *storage)
{
    for (unsigned i = 0; i < storage->users; i++) {
        struct user *user = storage->user[i];

        if (user->connection == NULL || !user->connection->open || !storage->users_work)
            continue;
        user->burst = 12;
        while (user->under_way < user->depth) {
            ask(user);
            user->burst--;
        }
    }
}

bool users_are_idle(struct world *world)
{
    for (unsigned i = 0; i < world->storage->users; i++)
        if (world->storage->user[i]->under_way > 0)
            return false;
    return true;
}

void users_read_all(struct storage *storage)
{
    for (unsigned i = 0; i < storage->users; i++) {
        struct user *user = storage->user[i];

        if (user->fixed)
            continue;
        user->all_at = user->first;
        user->all_end = user->end;
        turn_soon(user, NET_MAX_NS);
    }
}

bool users_have_read_all(struct world *world)
{
    for (unsigned i = 0; i < world->storage->users; i++)
        if (world->storage->user[i]->all_at < world->storage->user[i]->all_end)
            return false;
    return true;
}

void users_free(struct storage *storage)
{
    for (unsigned i = 0; i < storage->users; i++)
        free(storage->user[i]);
    while (storage->connections != NULL) {
        struct connection *connection = storage->connections;

        storage->connections = connection->next;
        free(connection);
    }
    while (storage->requests != NULL) {
        struct request *request = storage->requests;

        storage->requests = request->next;
        free(request);
    }
    for (uint32_t i = 0; i < storage->op_count; i++) {
        free(storage->ops[i].data);
        free(storage->ops[i].values);
    }
    free(storage->ops);
}
