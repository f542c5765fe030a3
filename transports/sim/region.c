// SPDX-License-Identifier: Apache-2.0
//
// Domains and the memory that is registered in them.
#include "transports/sim/sim_internal.h"

#include <stdlib.h>

void registration_free(struct carrick_registration *registration)
{
    struct carrick_domain *domain = registration->domain;
    struct carrick_registration **at = &domain->device->bucket[registration->key.key % SIM_BUCKETS];

    while (*at != registration)
        at = &(*at)->next;
    *at = registration->next;
    fabric_take(domain->device->fabric, &registration->item);
    domain->registrations--;
    free(registration);
}

int sim_domain_create(struct carrick_device *device, struct carrick_domain **out)
{
    struct carrick_domain *domain = calloc(1, sizeof(*domain));

    if (domain == NULL)
        return CARRICK_ERR_NO_MEMORY;
    domain->device = device;
    domain->next = device->domains;
    device->domains = domain;
    *out = domain;
    return CARRICK_OK;
}

void sim_domain_destroy(struct carrick_domain *domain)
{
    struct carrick_device *device = domain->device;
    struct carrick_domain **at = &device->domains;

    if (!device->dead && (domain->registrations > 0 || domain->endpoints > 0))
        fabric_misuse(device->fabric, "domain_destroy: %u registrations and %u endpoints are left",
                      domain->registrations, domain->endpoints);
    if (domain->registrations > 0 || domain->endpoints > 0)
        return; // device_close frees it
    while (*at != domain)
        at = &(*at)->next;
    *at = domain->next;
    free(domain);
}

static void key_choose(struct carrick_device *device, struct carrick_remote_key *key)
{
    const struct carrick_host *host = device->transport->host;

    do {
        host->random(host, &key->key, sizeof(key->key));
    } while (key->key == 0 || registration_find(device, key->key) != NULL);
    host->random(host, &key->base, sizeof(key->base));
    key->base &= 0x00007ffffffff000ull;
}

int sim_region_register(struct carrick_domain *domain, const struct carrick_region_options *options,
                        struct carrick_registration **out)
{
    struct carrick_device *device = domain->device;
    struct sim_fabric *fabric = device->fabric;
    struct carrick_registration *registration;

    if (device->dead || device->unplugged)
        return CARRICK_ERR_DEVICE_REMOVED;
    if (options->bytes == 0 || ((uintptr_t)options->address & 4095) != 0)
        return CARRICK_ERR_INVALID;
    registration = calloc(1, sizeof(*registration));
    if (registration == NULL)
        return CARRICK_ERR_NO_MEMORY;
    registration->item.kind = SIM_ITEM_REGISTER;
    registration->domain = domain;
    registration->access = options->access;
    registration->address = options->address;
    registration->bytes = options->bytes;
    registration->cookie = options->cookie;
    key_choose(device, &registration->key);
    registration->next = device->bucket[registration->key.key % SIM_BUCKETS];
    device->bucket[registration->key.key % SIM_BUCKETS] = registration;
    domain->registrations++;
    fabric_put(fabric, &registration->item,
               fabric_now(fabric) + fabric_random(fabric, fabric->options.close_max_ns + 1));
    *out = registration;
    return CARRICK_OK;
}

int sim_region_deregister(struct carrick_registration *registration)
{
    struct carrick_device *device = registration->domain->device;
    struct sim_fabric *fabric = device->fabric;

    if (registration->ending || (!registration->made && !device->dead))
        return CARRICK_ERR_STATE;
    if (registration->posted > 0 && !device->dead)
        fabric_misuse(fabric, "region_deregister: %u operations use it", registration->posted);
    registration->ending = true;
    fabric_put(fabric, &registration->item,
               fabric_now(fabric) + fabric_random(fabric, fabric->options.close_max_ns + 1));
    if (device->dead) {
        fabric_take(fabric, &registration->item);
        registration_due(registration);
    }
    return CARRICK_OK;
}

void registration_due(struct carrick_registration *registration)
{
    struct carrick_device *device = registration->domain->device;
    struct sim_event *event;

    event = event_create(
        registration->ending ? CARRICK_EVENT_DEREGISTERED : CARRICK_EVENT_REGISTERED, NULL, 0);
    registration->made = !registration->ending;
    event->event.registration = registration;
    event->event.cookie = registration->cookie;
    event->event.key = registration->key;
    event_push(device, event);
}
