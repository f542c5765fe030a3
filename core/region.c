// SPDX-License-Identifier: Apache-2.0
#include "core/region.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/link.h"

int region_create(struct manager *manager, enum region_use use, uint32_t access, uint64_t bytes,
                  int fd, uint64_t offset, struct client *client, struct region **out)
{
    struct env_memory memory;
    int status;

    if (bytes > REGION_BYTES_MAX)
        return CARRICK_ERR_LIMIT;
    status = manager->env->ops->memory_map(manager->env, bytes, fd, offset, &memory);
    if (status == CARRICK_OK)
        status = region_adopt(manager, use, access, bytes, &memory, client, out);
    if (status == CARRICK_OK && fd >= 0) {
        (*out)->backed = true;
        (*out)->offset = offset;
    }
    return status;
}

bool region_is_backed_by(const struct region *region, int fd, uint64_t offset)
{
    struct stat own, other;

    if (fd < 0 || !region->backed)
        return fd < 0 && !region->backed;
    // The region's own descriptor keeps its file, so its number belongs to no other.
    return region->offset == offset && fstat(region->memory.fd, &own) == 0 &&
           fstat(fd, &other) == 0 && own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

int region_adopt(struct manager *manager, enum region_use use, uint32_t access, uint64_t bytes,
                 struct env_memory *memory, struct client *client, struct region **out)
{
    size_t size = sizeof(struct region) + manager->link_count * sizeof(struct region_on_link);
    struct region *region = calloc(1, size);

    if (region == NULL) {
        manager->env->ops->memory_unmap(manager->env, memory);
        return CARRICK_ERR_NO_MEMORY;
    }
    region->manager = manager;
    region->memory = *memory;
    region->use = use;
    region->access = access;
    region->bytes = bytes;
    region->client = client;
    for (uint32_t i = 0; i < manager->link_count; i++) {
        region->on[i].region = region;
        region->on[i].link = &manager->links[i];
    }
    region->next = manager->regions;
    if (region->next != NULL)
        region->next->link_back = &region->next;
    region->link_back = &manager->regions;
    manager->regions = region;

    for (uint32_t i = 0; use != REGION_HERE && i < manager->link_count; i++)
        if (link_takes_registrations(&manager->links[i]))
            region_register(region, &manager->links[i]);
    *out = region;
    return CARRICK_OK;
}

static void region_free_if_over(struct region *region)
{
    struct manager *manager = region->manager;

    if (!region->doomed)
        return;
    for (uint32_t i = 0; i < manager->link_count; i++)
        if (region->on[i].state != REGISTRATION_NONE)
            return;
    *region->link_back = region->next;
    if (region->next != NULL)
        region->next->link_back = region->link_back;
    manager->env->ops->memory_unmap(manager->env, &region->memory);
    free(region);
}

static void registration_end(struct region_on_link *on)
{
    // One that is still being made is ended when REGISTERED tells of it.
    if (on->state != REGISTRATION_READY)
        return;
    on->state = REGISTRATION_ENDING;
    on->link->ops->region_deregister(on->registration);
    link_poll_soon(on->link);
}

void region_destroy(struct region *region)
{
    region->doomed = true;
    for (uint32_t i = 0; i < region->manager->link_count; i++)
        registration_end(&region->on[i]);
    region_free_if_over(region);
}

int region_register(struct region *region, struct link *link)
{
    struct region_on_link *on = &region->on[link->index];
    struct carrick_region_options options = {
        .struct_size = sizeof(options),
        .access = region->access,
        .address = region->memory.address,
        .bytes = region->memory.bytes,
        .fd = region->memory.fd,
        .cookie = (uint64_t)(uintptr_t)on,
    };
    int status;

    if (region->doomed || on->state != REGISTRATION_NONE)
        return CARRICK_OK;
    // Only what the partner asked for is offered in its exact length: nothing beyond it can be reached.
    if (region->use == REGION_HERE)
        options.bytes = region->bytes;
    status = link->ops->region_register(link->domain, &options, &on->registration);
    if (status != CARRICK_OK) {
        link_registration_failed(link, status, NULL);
        return status;
    }
    on->state = REGISTRATION_MAKING;
    link->registrations++;
    link->making++;
    link_poll_soon(link);
    return CARRICK_OK;
}

void region_register_all(struct link *link)
{
    for (struct region *region = link->manager->regions;
         region != NULL && link_takes_registrations(link); region = region->next)
        if (region->use != REGION_HERE)
            region_register(region, link);
}

void region_deregister_all(struct link *link)
{
    for (struct region *region = link->manager->regions; region != NULL; region = region->next)
        registration_end(&region->on[link->index]);
}

static void registration_failed(struct link *link, const struct carrick_event *event)
{
    char why[CAUSE_BYTES];
    size_t length = event->length < sizeof(why) ? event->length : sizeof(why) - 1;
    // One that was built against ABI 1.0 may leave there what it likes.
    bool says = module_plugin(link->module)->abi_minor >= 1 && length > 0;

    if (says)
        snprintf(why, sizeof(why), "%.*s", (int)length, (const char *)event->data);
    link_registration_failed(link, event->status, says ? why : NULL);
}

void region_event(const struct carrick_event *event)
{
    struct region_on_link *on = (struct region_on_link *)(uintptr_t)event->cookie;
    struct region *region = on->region;
    struct link *link = on->link;

    if (event->type == CARRICK_EVENT_REGISTERED)
        link->making--;
    if (event->type == CARRICK_EVENT_REGISTERED && event->status == CARRICK_OK) {
        on->state = REGISTRATION_READY;
        on->registration = event->registration;
        on->key = event->key;
        if (region->doomed || !link_takes_registrations(link))
            registration_end(on);
    } else {
        on->state = REGISTRATION_NONE;
        on->registration = NULL;
        link->registrations--;
        if (event->type == CARRICK_EVENT_REGISTERED)
            registration_failed(link, event);
    }
    region_free_if_over(region);
    link_registrations_changed(link);
}

bool region_use_ready(const struct manager *manager, enum region_use use, const struct link *link)
{
    for (const struct region *region = manager->regions; region != NULL; region = region->next) {
        // Kept for a client that the partner does not have in this session: not part of it.
        if (use == REGION_HERE && region->client != NULL && !region->client->matched)
            continue;
        if (region->use == use && !region->doomed && !region_ready(region, link) &&
            (use != REGION_HERE || region->client->matched))
            return false;
    }
    return true;
}

void *send_buffer_get(struct manager *manager, bool own)
{
    if (manager->pool_free_count <= (own ? 0 : POOL_RESERVE))
        return NULL;
    manager->pool_free_count--;
    return region_at(manager->pool,
                     (uint64_t)manager->pool_free[manager->pool_free_count] * POOL_BUFFER_BYTES);
}

void send_buffer_put(struct manager *manager, void *buffer)
{
    size_t offset = (size_t)((char *)buffer - (char *)manager->pool->memory.address);

    manager->pool_free[manager->pool_free_count++] = (uint32_t)(offset / POOL_BUFFER_BYTES);
    if (manager->wants_buffer != NULL)
        manager->env->ops->timer_start(manager->soon, 0); // not in the middle of what gave it back
}
