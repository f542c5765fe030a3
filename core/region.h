// SPDX-License-Identifier: Apache-2.0
//
// Regions: memory of this node, registered in the domain of every link that has one. A region is made once and
// registered anew for each session, so that keys of an earlier session reach nothing.
#ifndef CORE_REGION_H
#define CORE_REGION_H

#include "core/model.h"

#define REGION_PAGE_BYTES 4096u
#define REGION_BYTES_MAX (1ull << 56) // beyond it, sums and roundings of sizes could wrap

static inline uint64_t region_pages_bytes(uint64_t bytes)
{
    return (bytes + REGION_PAGE_BYTES - 1) / REGION_PAGE_BYTES * REGION_PAGE_BYTES;
}

// fd -1: fresh zeroed memory. The region registers itself with every link that is prepared.
int region_create(struct manager *manager, enum region_use use, uint32_t access, uint64_t bytes,
                  int fd, uint64_t offset, struct client *client, struct region **region);
// The same with memory that is there already, and belongs to the region from here on, in an error, too.
int region_adopt(struct manager *manager, enum region_use use, uint32_t access, uint64_t bytes,
                 struct env_memory *memory, struct client *client, struct region **region);
// Whether it is mapped from that place; fd -1: from no descriptor, but fresh memory.
bool region_is_backed_by(const struct region *region, int fd, uint64_t offset);
// Ends the registrations and then frees it; at once when there are none.
void region_destroy(struct region *region);

// A link got its domain: registers what belongs into it. Regions that the partner asked for come in with
// region_register_here, once their session builds them.
void region_register_all(struct link *link);
int region_register(struct region *region, struct link *link);
void region_deregister_all(struct link *link);

// CARRICK_EVENT_REGISTERED, CARRICK_EVENT_DEREGISTERED.
void region_event(const struct carrick_event *event);

static inline bool region_ready(const struct region *region, const struct link *link);

// Whether every region of the use is registered on the link.
bool region_use_ready(const struct manager *manager, enum region_use use, const struct link *link);

static inline bool region_holds(const struct region *region, uint64_t offset, uint64_t length)
{
    return offset <= region->bytes && length <= region->bytes - offset;
}

static inline bool region_ready(const struct region *region, const struct link *link)
{
    return region->on[link->index].state == REGISTRATION_READY;
}

static inline void *region_at(const struct region *region, uint64_t offset)
{
    return (char *)region->memory.address + offset;
}

// ---- send buffers, which lie in one region of the manager (manager->pool)

// NULL: none is free. own: for the manager's messages, which have a reserve.
void *send_buffer_get(struct manager *manager, bool own);
void send_buffer_put(struct manager *manager, void *buffer);

#endif
