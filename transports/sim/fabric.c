// SPDX-License-Identifier: Apache-2.0
//
// Making a fabric, its clock, its randomness, and the heap of what happens next.
#include "transports/sim/sim_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FABRICS_MAX 32

// A configuration can name a fabric only by text, so there must be a table of them. It is the thread's own, as
// everything on a fabric is.
static _Thread_local struct sim_fabric *fabrics[FABRICS_MAX];

#define ITEM_OF(item, type, member) ((type *)(void *)((char *)(item)-offsetof(type, member)))

void sim_fabric_options_init(struct sim_fabric_options *options)
{
    *options = (struct sim_fabric_options){
        .seed = 1,
        .delay_min_ns = 1000,
        .delay_max_ns = 5000,
        .close_max_ns = 5000,
        .notice_max_ns = 5000,
        .pieces_max = 4,
        .request_waits = true,
        .flags = CARRICK_CAP_NATIVE_FLUSH | CARRICK_CAP_APPLIED_COUNT,
        .proof = CARRICK_PROOF_REMOTE,
        .max_posted = 128,
        .max_reads = 16,
        .inline_bytes = 64,
        .max_send_bytes = 8192,
        .max_message_bytes = 1u << 30,
    };
}

static struct sim_fabric *fabric_make(const struct sim_fabric_options *options, int id)
{
    struct sim_fabric *fabric = calloc(1, sizeof(*fabric));

    if (fabric == NULL)
        return NULL;
    fabric->options = *options;
    fabric->id = id;
    fabric->random = options->seed * 0x9e3779b97f4a7c15ull + 0x6a09e667f3bcc909ull;
    fabrics[id] = fabric;
    return fabric;
}

struct sim_fabric *sim_fabric_create(const struct sim_fabric_options *options)
{
    for (int id = 1; id < FABRICS_MAX; id++)
        if (fabrics[id] == NULL)
            return fabric_make(options, id);
    return NULL;
}

struct sim_fabric *fabric_automatic(void)
{
    struct sim_fabric_options options;

    if (fabrics[0] != NULL)
        return fabrics[0];
    sim_fabric_options_init(&options);
    if (fabric_make(&options, 0) != NULL)
        fabrics[0]->automatic = true;
    return fabrics[0];
}

struct sim_fabric *fabric_find(int id)
{
    if (id == 0)
        return fabric_automatic();
    return id > 0 && id < FABRICS_MAX ? fabrics[id] : NULL;
}

int sim_fabric_id(const struct sim_fabric *fabric)
{
    return fabric->id;
}

static void wires_free(struct sim_fabric *fabric)
{
    struct sim_wire *wire;

    while ((wire = fabric->wires) != NULL) {
        for (int i = 0; i < 2; i++) {
            wire->end[i] = NULL;
            lane_drop(&wire->lane[i], 0);
        }
        wire_collect(wire);
    }
}

void sim_fabric_destroy(struct sim_fabric *fabric)
{
    void *next;

    wires_free(fabric);
    for (struct sim_path *path = fabric->paths; path != NULL; path = next) {
        next = path->next;
        free(path);
    }
    for (struct sim_port *port = fabric->ports; port != NULL; port = next) {
        next = port->next;
        free(port);
    }
    for (struct sim_node *node = fabric->nodes; node != NULL; node = next) {
        next = node->next;
        free(node);
    }
    for (struct sim_message *message = fabric->spare; message != NULL; message = next) {
        next = message->next;
        free(message);
    }
    free(fabric->heap);
    fabrics[fabric->id] = NULL;
    free(fabric);
}

void sim_fabric_counters(const struct sim_fabric *fabric, struct sim_fabric_counters *counters)
{
    *counters = fabric->counters;
}

void fabric_misuse(struct sim_fabric *fabric, const char *format, ...)
{
    char text[256];
    va_list arguments;

    fabric->counters.misuses++;
    if (fabric->options.misuse == NULL)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    fabric->options.misuse(fabric->options.arg, text);
}

// ---- time and chance

uint64_t fabric_now(struct sim_fabric *fabric)
{
    uint64_t now = fabric->now;

    if (fabric->options.now_ns != NULL)
        now = fabric->options.now_ns(fabric->options.arg);
    else if (fabric->clock != NULL)
        now = fabric->clock->transport->host->now_ns(fabric->clock->transport->host);
    if (now > fabric->now)
        fabric->now = now;
    return fabric->now;
}

// splitmix64
static uint64_t random_next(struct sim_fabric *fabric)
{
    uint64_t z = fabric->random += 0x9e3779b97f4a7c15ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

uint64_t fabric_random(struct sim_fabric *fabric, uint64_t below)
{
    return below < 2 ? 0 : random_next(fabric) % below;
}

bool fabric_chance(struct sim_fabric *fabric, unsigned percent)
{
    return random_next(fabric) % 100 < percent;
}

// ---- the heap

static bool item_before(const struct sim_item *a, const struct sim_item *b)
{
    return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static void heap_set(struct sim_fabric *fabric, uint32_t place, struct sim_item *item)
{
    fabric->heap[place] = item;
    item->place = place;
}

static void heap_settle(struct sim_fabric *fabric, struct sim_item *item, uint32_t place)
{
    uint32_t child;

    for (; place > 1 && item_before(item, fabric->heap[place / 2]); place /= 2)
        heap_set(fabric, place, fabric->heap[place / 2]);
    for (; (child = place * 2) <= fabric->heap_used; place = child) {
        if (child < fabric->heap_used && item_before(fabric->heap[child + 1], fabric->heap[child]))
            child++;
        if (!item_before(fabric->heap[child], item))
            break;
        heap_set(fabric, place, fabric->heap[child]);
    }
    heap_set(fabric, place, item);
}

void fabric_take(struct sim_fabric *fabric, struct sim_item *item)
{
    uint32_t place = item->place;
    struct sim_item *last;

    if (place == 0)
        return;
    item->place = 0;
    last = fabric->heap[fabric->heap_used--];
    if (last != item)
        heap_settle(fabric, last, place);
}

void fabric_put(struct sim_fabric *fabric, struct sim_item *item, uint64_t due)
{
    fabric_take(fabric, item);
    if (fabric->heap_used + 2 > fabric->heap_room) {
        uint32_t room = fabric->heap_room == 0 ? 64 : fabric->heap_room * 2;
        struct sim_item **heap = realloc(fabric->heap, room * sizeof(struct sim_item *));

        // A test's network may end the test when memory is out.
        if (heap == NULL)
            abort();
        fabric->heap = heap;
        fabric->heap_room = room;
    }
    item->due = due;
    item->order = random_next(fabric);
    fabric->heap_used++;
    heap_settle(fabric, item, fabric->heap_used);
    if (item->place == 1 && !fabric->running)
        fabric_rearm(fabric);
}

static void item_happen(struct sim_item *item)
{
    switch ((enum sim_item_kind)item->kind) {
    case SIM_ITEM_LANE:
        lane_deliver(ITEM_OF(item, struct sim_lane, item));
        break;
    case SIM_ITEM_TIMEOUT:
        endpoint_timed_out(ITEM_OF(item, struct carrick_endpoint, timeout));
        break;
    case SIM_ITEM_CLOSE:
        endpoint_closed(ITEM_OF(item, struct carrick_endpoint, close));
        break;
    case SIM_ITEM_LOST: {
        struct carrick_endpoint *endpoint = ITEM_OF(item, struct carrick_endpoint, lost);

        endpoint_lose(endpoint, endpoint->lost_status, NULL, 0);
        break;
    }
    case SIM_ITEM_LOCAL:
        endpoint_local_done(ITEM_OF(item, struct carrick_endpoint, local));
        break;
    case SIM_ITEM_REGISTER:
        registration_due(ITEM_OF(item, struct carrick_registration, item));
        break;
    case SIM_ITEM_READ:
        read_step(ITEM_OF(item, struct sim_read, item));
        break;
    }
}

uint64_t sim_fabric_next_ns(const struct sim_fabric *fabric)
{
    return fabric->heap_used == 0 ? UINT64_MAX : fabric->heap[1]->due;
}

unsigned sim_fabric_run(struct sim_fabric *fabric, unsigned max)
{
    unsigned count = 0;
    uint64_t now = fabric_now(fabric);

    if (fabric->running)
        return 0;
    fabric->running = true;
    for (; count < max && fabric->heap_used > 0 && fabric->heap[1]->due <= now; count++) {
        struct sim_item *item = fabric->heap[1];

        fabric_take(fabric, item);
        item_happen(item);
    }
    fabric->running = false;
    fabric_rearm(fabric);
    return count;
}

void fabric_rearm(struct sim_fabric *fabric)
{
    uint64_t now, due;

    if (fabric->options.now_ns != NULL || fabric->heap_used == 0)
        return;
    now = fabric_now(fabric);
    due = fabric->heap[1]->due;
    for (struct sim_port *port = fabric->ports; port != NULL; port = port->next) {
        struct carrick_device *device = port->device;

        if (device != NULL && device->armed && device->first == NULL)
            device->transport->host->timer_start(device->timer, due > now ? due - now : 0);
    }
}

// ---- nodes, ports, paths

struct sim_node *fabric_node(struct sim_fabric *fabric, const char *name)
{
    struct sim_node *node;

    for (node = fabric->nodes; node != NULL; node = node->next)
        if (strcmp(node->name, name) == 0)
            return node;
    node = calloc(1, sizeof(*node));
    if (node == NULL)
        return NULL;
    snprintf(node->name, sizeof(node->name), "%s", name);
    node->next = fabric->nodes;
    fabric->nodes = node;
    return node;
}

struct sim_port *fabric_port(struct sim_fabric *fabric, const char *address)
{
    struct sim_port *port;

    for (port = fabric->ports; port != NULL; port = port->next)
        if (strcmp(port->address, address) == 0)
            return port;
    port = calloc(1, sizeof(*port));
    if (port == NULL)
        return NULL;
    snprintf(port->address, sizeof(port->address), "%s", address);
    port->next = fabric->ports;
    fabric->ports = port;
    return port;
}

struct sim_path *fabric_path(struct sim_fabric *fabric, struct sim_port *a, struct sim_port *b)
{
    struct sim_path *path;

    for (path = fabric->paths; path != NULL; path = path->next)
        if ((path->port[0] == a && path->port[1] == b) ||
            (path->port[0] == b && path->port[1] == a))
            return path;
    path = calloc(1, sizeof(*path));
    if (path == NULL)
        return NULL;
    path->port[0] = a;
    path->port[1] = b;
    path->delay_min_ns = fabric->options.delay_min_ns;
    path->delay_max_ns = fabric->options.delay_max_ns;
    path->next = fabric->paths;
    fabric->paths = path;
    return path;
}
