// SPDX-License-Identifier: Apache-2.0
#include "rdma_config.h"

#include "common/section.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

// Addresses are numbers here: a device is found by its address, at once, and its capabilities with it.
static int address_parse(struct rdma_section *section, const char *pointer,
                         struct carrick_error *error)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char port[8];

    snprintf(port, sizeof port, "%u", section->port);
    if (getaddrinfo(section->address, port, &hints, &found) != 0 || found == NULL)
        return section_wrong(
            error, pointer, "address",
            "\"%s\" is no IP address; an RDMA link wants the address of the device's "
            "network interface in digits, not a name",
            section->address);
    memcpy(&section->storage, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return CARRICK_OK;
}

int rdma_section_parse(const char *text, const char *pointer, struct rdma_section *section,
                       struct carrick_error *error)
{
    uint32_t port = 0;
    const struct section_field fields[] = {
        {"address", true, section->address, sizeof section->address, NULL, 0, 0,
         "the IP address of the device's network interface on that node"},
        {"port", true, NULL, 0, &port, 1, 65535, "the port on which that node takes connections"},
        {"device", false, section->device, sizeof section->device, NULL, 0, 0,
         "the name of the RDMA device that the address must belong to (see `rdma link`)"},
        {0},
    };
    int status;

    memset(section, 0, sizeof *section);
    status = section_read(text, pointer, fields, error);
    section->port = (uint16_t)port;
    return status == CARRICK_OK ? address_parse(section, pointer, error) : status;
}

int rdma_settings_parse(const char *text, struct rdma_settings *settings,
                        struct carrick_error *error)
{
    const struct section_field fields[] = {
        {"traffic_class", false, NULL, 0, &settings->traffic_class, 0, 255,
         "the traffic class of all packets, DSCP in its upper six bits, for switches that keep "
         "RoCE lossless by it"},
        {0},
    };

    *settings = (struct rdma_settings){.traffic_class = RDMA_TRAFFIC_CLASS_DEFAULT};
    return section_read(text, "/config", fields, error);
}

int rdma_config_check(const char *local, const char *remote, const char *config,
                      struct carrick_error *error)
{
    struct rdma_section here, there;
    struct rdma_settings settings;
    int status = rdma_section_parse(local, "/local", &here, error);

    if (status == CARRICK_OK)
        status = rdma_section_parse(remote, "/remote", &there, error);
    if (status == CARRICK_OK)
        status = rdma_settings_parse(config != NULL ? config : "{}", &settings, error);
    if (status != CARRICK_OK)
        return status;
    if (here.storage.ss_family != there.storage.ss_family)
        return section_wrong(
            error, "/remote", "address",
            "\"%s\" is of another address family than the other end of the link, \"%s\"; "
            "both must be IPv4, or both IPv6",
            there.address, here.address);
    if (strcmp(here.address, there.address) == 0 && here.port == there.port)
        return section_wrong(error, "/remote", "port",
                             "both ends of the link are %s port %u; they must differ", here.address,
                             here.port);
    return CARRICK_OK;
}
