// SPDX-License-Identifier: Apache-2.0
#include "core/service.h"

#include <stdio.h>
#include <string.h>

static struct service *service_named(struct manager *manager, const char *name)
{
    for (uint32_t i = 0; i < manager->service_count; i++)
        if (strcmp(manager->services[i].name, name) == 0)
            return &manager->services[i];
    return NULL;
}

int service_offer(struct manager *manager, struct client *client, const char *name,
                  const void *table, void *object)
{
    struct service *service;

    if (name == NULL || table == NULL || name[0] == '\0' || strlen(name) > CARRICK_NAME_MAX)
        return CARRICK_ERR_INVALID;
    if (service_named(manager, name) != NULL)
        return CARRICK_ERR_EXISTS;
    if (manager->service_count == SERVICES_MAX)
        return CARRICK_ERR_LIMIT;
    service = &manager->services[manager->service_count++];
    *service = (struct service){.client = client, .table = table, .object = object};
    snprintf(service->name, sizeof(service->name), "%s", name);
    return CARRICK_OK;
}

int service_find(struct manager *manager, const char *name, const void **table, void **object)
{
    const struct service *service = service_named(manager, name);

    if (service == NULL)
        return CARRICK_ERR_NOT_FOUND;
    *table = service->table;
    *object = service->object;
    return CARRICK_OK;
}

void service_withdraw(struct manager *manager, const struct client *client)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < manager->service_count; i++)
        if (manager->services[i].client != client)
            manager->services[kept++] = manager->services[i];
    manager->service_count = kept;
}
