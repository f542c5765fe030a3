// SPDX-License-Identifier: Apache-2.0
#include "core/locked.h"

#include <stdio.h>

#include "core/lane.h"
#include "core/region.h"

// What is locked on each link, in bytes.
struct share {
    uint32_t links; // whose devices lock memory under a limit
    uint64_t limit; // the least of them; all devices of the process share it
    uint64_t own;   // this node's regions, and what connections receive into
};

// The limit of a process can change while it runs: it is asked for each time.
static uint64_t limit_of(const struct link *link)
{
    struct carrick_device_caps caps = {.struct_size = sizeof(caps)};

    if (link->device != NULL)
        link->ops->device_caps(link->device, &caps);
    return caps.max_locked_bytes;
}

// Regions that clients make later, and what a transport has beside, are not in it: those the transport holds against the limit
// one by one.
static uint64_t own_bytes(const struct manager *manager)
{
    uint64_t bytes = (uint64_t)(manager->section->lanes + 1) * RECEIVE_DEPTH *
                     (SEND_HEADER_BYTES + CARRICK_SEND_BYTES_MAX);

    for (const struct region *region = manager->regions; region != NULL; region = region->next)
        if (region->use != REGION_HERE && !region->doomed)
            bytes += region->memory.bytes;
    return bytes;
}

static struct share share_of(const struct manager *manager)
{
    struct share share = {.limit = UINT64_MAX, .own = own_bytes(manager)};

    for (uint32_t i = 0; i < manager->link_count; i++) {
        uint64_t limit = limit_of(&manager->links[i]);

        share.links += limit != 0;
        if (limit != 0 && limit < share.limit)
            share.limit = limit;
    }
    return share;
}

static unsigned long long kib(uint64_t bytes)
{
    return (bytes + 1023) / 1024;
}

static int take(struct env *env, uint64_t bytes, uint64_t limit, uint64_t *others)
{
    *others = 0;
    if (env->ops->memory_lock != NULL)
        return env->ops->memory_lock(env, bytes, limit, others);
    return bytes > limit ? CARRICK_ERR_LIMIT : CARRICK_OK;
}

static void say(const struct manager *manager, const struct share *share, uint64_t asked,
                uint64_t others, char *why, size_t size)
{
    char beside[64] = "";

    if (others != 0)
        snprintf(beside, sizeof(beside), ", beside %llu KiB of other managers", kib(others));
    snprintf(
        why, size,
        "%llu KiB of memory would be locked: %u link(s) x (%llu KiB of this node's + %llu KiB for "
        "the partner)%s; node %s may lock %llu KiB: set LimitMEMLOCK=infinity in carrickd's "
        "unit, or `ulimit -l unlimited`",
        kib(share->links * (share->own + asked)), share->links, kib(share->own), kib(asked), beside,
        manager->node_name, (unsigned long long)(share->limit / 1024));
}

int locked_take(struct manager *manager, uint64_t asked, char *why, size_t size)
{
    struct share share = share_of(manager);
    uint64_t others;
    // Regions are bounded (REGION_BYTES_MAX, partner_memory_mib), and so is this.
    int status = take(manager->env, share.links * (share.own + asked), share.limit, &others);

    if (status != CARRICK_OK)
        say(manager, &share, asked, others, why, size);
    return status;
}

void locked_give_back(struct manager *manager)
{
    uint64_t others;

    for (uint32_t i = 0; i < manager->link_count; i++)
        if (manager->links[i].domain != NULL)
            return;
    take(manager->env, 0, UINT64_MAX, &others);
}
