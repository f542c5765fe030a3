// SPDX-License-Identifier: Apache-2.0
//
// Domains and registrations. A key is a slot of the device's table and random bits; the base that goes with it
// is random too, so that neither can be guessed from another, and a slot is not used again soon.
#include "tcp.h"

#include <stdlib.h>
#include <string.h>

enum {
    SLOT_BITS = 20,
    SLOTS_MAX = 1 << SLOT_BITS,
    SLOTS_FIRST = 64,
    SLOTS_REST = 1024, // free slots that rest before the oldest is used again
    NO_SLOT = UINT32_MAX,
};

#define SLOT_MASK ((uint32_t)SLOTS_MAX - 1)
// Leaves room above for any region, and keeps the alignment of the memory.
#define BASE_MASK UINT64_C(0x3ffffffffffff000)

int tcp_domain_create(struct carrick_device *device, struct carrick_domain **domain)
{
    struct carrick_domain *d = malloc(sizeof *d);

    if (d == NULL)
        return CARRICK_ERR_NO_MEMORY;
    d->device = device;
    *domain = d;
    return CARRICK_OK;
}

void tcp_domain_destroy(struct carrick_domain *domain)
{
    free(domain);
}

static bool keys_grow(struct tcp_keys *keys)
{
    uint32_t capacity = keys->capacity == 0 ? SLOTS_FIRST : keys->capacity * 2;
    struct tcp_key_slot *slots = realloc(keys->slots, (size_t)capacity * sizeof *slots);

    if (slots == NULL)
        return false;
    keys->slots = slots;
    keys->capacity = capacity;
    return true;
}

static uint32_t keys_take(struct tcp_keys *keys)
{
    uint32_t slot;

    if (keys->free_count <= SLOTS_REST && keys->used < SLOTS_MAX &&
        (keys->used < keys->capacity || keys_grow(keys)))
        return keys->used++;
    if (keys->free_count == 0)
        return NO_SLOT;
    slot = keys->free_first;
    keys->free_first = keys->slots[slot].next_free;
    keys->free_count--;
    return slot;
}

static void keys_give_back(struct tcp_keys *keys, uint32_t slot)
{
    keys->slots[slot] = (struct tcp_key_slot){.next_free = NO_SLOT};
    if (keys->free_count == 0)
        keys->free_first = slot;
    else
        keys->slots[keys->free_last].next_free = slot;
    keys->free_last = slot;
    keys->free_count++;
}

void tcp_keys_free(struct tcp_keys *keys)
{
    for (uint32_t i = 0; i < keys->used; i++)
        free(keys->slots[i].registration);
    free(keys->slots);
}

static void region_tell(struct carrick_registration *r, uint32_t event)
{
    struct carrick_device *device = r->domain->device;

    r->event = event;
    r->telling = true;
    list_append(&device->telling, &r->node);
    tcp_device_kick(device);
}

int tcp_region_register(struct carrick_domain *domain, const struct carrick_region_options *options,
                        struct carrick_registration **registration)
{
    struct carrick_device *device = domain->device;
    struct carrick_registration *r;
    uint32_t slot, tag;

    if (options->address == NULL || options->bytes == 0 || options->bytes > BASE_MASK ||
        options->bytes > UINTPTR_MAX - (uintptr_t)options->address)
        return CARRICK_ERR_INVALID;
    r = calloc(1, sizeof *r);
    if (r == NULL)
        return CARRICK_ERR_NO_MEMORY;
    slot = keys_take(&device->keys);
    if (slot == NO_SLOT) {
        free(r);
        return device->keys.used < SLOTS_MAX ? CARRICK_ERR_NO_MEMORY : CARRICK_ERR_LIMIT;
    }
    device->host->random(device->host, &tag, sizeof tag);
    device->host->random(device->host, &r->base, sizeof r->base);
    r->domain = domain;
    r->key = (tag & ~SLOT_MASK) | slot;
    r->base &= BASE_MASK;
    r->access = options->access;
    r->bytes = options->bytes;
    r->cookie = options->cookie;
    r->memory = options->address;
    device->keys.slots[slot].registration = r;
    region_tell(r, CARRICK_EVENT_REGISTERED);
    *registration = r;
    return CARRICK_OK;
}

// A frame that is being placed, an answer that waits, or a batch that the socket took in part.
static bool endpoint_uses(const struct carrick_endpoint *e, const struct carrick_registration *r)
{
    if (e->receiver.registration == r)
        return true;
    for (uint32_t i = 0; i < e->stream.answers_due; i++)
        if (e->sender.answers[(e->sender.answer_first + i) % TCP_WIRE_READS_MAX].registration == r)
            return true;
    for (uint32_t i = 0; i < e->sender.batch.frames; i++)
        if (e->sender.batch.source[i] == r)
            return true;
    return false;
}

int tcp_region_deregister(struct carrick_registration *registration)
{
    struct carrick_device *device = registration->domain->device;
    struct list *node, *next;

    if (registration->telling)
        return CARRICK_ERR_STATE;
    for (node = device->endpoints.next; node != &device->endpoints; node = next) {
        struct carrick_endpoint *e = list_entry(node, struct carrick_endpoint, node);
        next = node->next;
        if (!endpoint_uses(e, registration))
            continue;
        if (e->state == TCP_LINGERING)
            tcp_linger_end(e, true);
        else
            tcp_endpoint_abort(e, CARRICK_ERR_REMOTE_ACCESS,
                               "the region was taken away while the partner used it");
    }
    keys_give_back(&device->keys, registration->key & SLOT_MASK);
    region_tell(registration, CARRICK_EVENT_DEREGISTERED);
    return CARRICK_OK;
}

struct carrick_registration *tcp_region_find(const struct carrick_endpoint *endpoint,
                                             const struct tcp_frame *frame, uint64_t length,
                                             uint32_t access, const char **why)
{
    const struct tcp_keys *keys = &endpoint->device->keys;
    uint32_t slot = frame->key & SLOT_MASK;
    struct carrick_registration *r = slot < keys->used ? keys->slots[slot].registration : NULL;

    if (r == NULL || r->key != frame->key || r->domain != endpoint->domain) {
        *why = "no such key";
        return NULL;
    }
    if ((r->access & access) == 0) {
        *why = "the region does not allow it";
        return NULL;
    }
    // The base is below the address, and the difference is taken first: no sum can wrap.
    if (frame->address < r->base || frame->address - r->base > r->bytes ||
        length > r->bytes - (frame->address - r->base)) {
        *why = "outside of the region";
        return NULL;
    }
    return r;
}

void tcp_regions_tell(struct carrick_device *device, struct tcp_output *out)
{
    while (!list_empty(&device->telling) && !tcp_output_full(out)) {
        struct carrick_registration *r =
            list_entry(device->telling.next, struct carrick_registration, node);
        struct carrick_event event = {
            .type = r->event,
            .cookie = r->cookie,
            .registration = r,
            .key = {.base = r->base, .key = r->key},
        };

        list_remove(&r->node);
        r->telling = false;
        tcp_output_put(out, &event);
        if (r->event == CARRICK_EVENT_DEREGISTERED)
            free(r);
    }
}
