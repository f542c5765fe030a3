// SPDX-License-Identifier: Apache-2.0
//
// From a section to a socket address. Numbers are turned at once; names are looked up on a worker, which may
// take as long as the resolver likes: the endpoint or device that asked can go meanwhile.
#include "tcp.h"

#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tcp_resolve {
    struct carrick_device *device;     // NULL when forgotten
    struct carrick_endpoint *endpoint; // NULL: it is the device's own address
    struct tcp_section section;
    int error; // of getaddrinfo
    struct tcp_addresses addresses;
};

static void take(const struct tcp_section *section, const struct addrinfo *found,
                 struct tcp_addresses *addresses)
{
    struct tcp_address address = {.length = found->ai_addrlen};
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&address.storage;

    memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
    if (six->sin6_family == AF_INET6 && section->interface[0] != '\0' &&
        IN6_IS_ADDR_LINKLOCAL(&six->sin6_addr) && six->sin6_scope_id == 0)
        six->sin6_scope_id = if_nametoindex(section->interface);
    for (uint32_t i = 0; i < addresses->count; i++)
        if (memcmp(&addresses->at[i].storage, &address.storage, sizeof address.storage) == 0)
            return;
    addresses->at[addresses->count++] = address;
}

static int look_up(const struct tcp_section *section, int flags, struct tcp_addresses *addresses)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICSERV | flags,
    };
    struct addrinfo *found = NULL;
    char port[8];
    int error;

    snprintf(port, sizeof port, "%u", section->port);
    error = getaddrinfo(section->address, port, &hints, &found);
    if (error != 0)
        return error;
    for (const struct addrinfo *at = found; at != NULL && addresses->count < TCP_ADDRESSES_MAX;
         at = at->ai_next)
        take(section, at, addresses);
    freeaddrinfo(found);
    return 0;
}

bool tcp_resolve_numeric(const struct tcp_section *section, struct tcp_addresses *addresses)
{
    memset(addresses, 0, sizeof *addresses);
    return look_up(section, AI_NUMERICHOST, addresses) == 0;
}

static void resolve_work(void *arg)
{
    struct tcp_resolve *r = arg;

    r->error = look_up(&r->section, AI_ADDRCONFIG, &r->addresses);
    if (r->error == EAI_NONAME || r->error == EAI_ADDRFAMILY)
        r->error = look_up(&r->section, 0, &r->addresses);
}

static void resolve_done(void *arg)
{
    struct tcp_resolve *r = arg;
    struct carrick_device *device = r->device;

    if (device == NULL) {
        free(r);
        return;
    }
    if (r->error != 0) {
        r->addresses.count = 0;
        device->host->log(device->host, CARRICK_LOG_WARNING, "%s: no address for the name %s: %s",
                          device->name, r->section.address, gai_strerror(r->error));
    }
    if (r->endpoint != NULL) {
        r->endpoint->resolve = NULL;
        tcp_connect_resolved(r->endpoint, &r->addresses);
    } else {
        device->resolve = NULL;
        tcp_device_resolved(device, &r->addresses);
    }
    free(r);
}

int tcp_resolve_start(struct carrick_device *device, struct carrick_endpoint *endpoint)
{
    struct tcp_resolve *r = calloc(1, sizeof *r);
    int status;

    if (r == NULL)
        return CARRICK_ERR_NO_MEMORY;
    r->device = device;
    r->endpoint = endpoint;
    r->section = endpoint != NULL ? endpoint->remote : device->local;
    if (endpoint != NULL)
        endpoint->resolve = r;
    else
        device->resolve = r;
    status = device->host->work(device->host, resolve_work, resolve_done, r);
    if (status == CARRICK_OK)
        return CARRICK_OK;
    if (endpoint != NULL)
        endpoint->resolve = NULL;
    else
        device->resolve = NULL;
    free(r);
    return status;
}

void tcp_resolve_forget(struct tcp_resolve **resolve)
{
    if (*resolve == NULL)
        return;
    (*resolve)->device = NULL;
    (*resolve)->endpoint = NULL;
    *resolve = NULL;
}

void tcp_address_text(const struct tcp_address *address, char *text, size_t size)
{
    char host[64], port[8];

    if (address->length == 0 ||
        getnameinfo((const struct sockaddr *)&address->storage, address->length, host, sizeof host,
                    port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        snprintf(text, size, "unknown");
    else
        snprintf(text, size, address->storage.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host,
                 port);
}
