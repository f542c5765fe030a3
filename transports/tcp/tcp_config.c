// SPDX-License-Identifier: Apache-2.0
#include "tcp_config.h"

#include "common/section.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

// AF_INET, AF_INET6, or AF_UNSPEC for a name.
static int family_of(const char *address)
{
    unsigned char bytes[16];
    char plain[TCP_HOST_BYTES];

    snprintf(plain, sizeof plain, "%s", address);
    plain[strcspn(plain, "%")] = '\0';
    if (inet_pton(AF_INET, plain, bytes) == 1)
        return AF_INET;
    return inet_pton(AF_INET6, plain, bytes) == 1 ? AF_INET6 : AF_UNSPEC;
}

static bool is_wildcard(const char *address)
{
    static const unsigned char zero[16];
    unsigned char bytes[16];

    if (inet_pton(AF_INET, address, bytes) == 1)
        return memcmp(bytes, zero, 4) == 0;
    return inet_pton(AF_INET6, address, bytes) == 1 && memcmp(bytes, zero, 16) == 0;
}

static bool is_host_name(const char *name)
{
    bool letter = false;

    for (const char *c = name; *c != '\0'; c++) {
        if (!isascii(*c) || (!isalnum((unsigned char)*c) && strchr("-._", *c) == NULL))
            return false;
        letter |= isalpha((unsigned char)*c) != 0;
    }
    return letter && name[0] != '.' && name[0] != '-';
}

int tcp_section_parse(const char *text, const char *pointer, struct tcp_section *section,
                      struct carrick_error *error)
{
    uint32_t port = 0;
    const struct section_field fields[] = {
        {"address", true, section->address, sizeof section->address, NULL, 0, 0,
         "an IPv4 or IPv6 address of the node, or a host name"},
        {"port", true, NULL, 0, &port, 1, 65535, "the TCP port that the node listens on"},
        {"interface", false, section->interface, sizeof section->interface, NULL, 0, 0,
         "the name of a network interface of the node, such as eth0"},
        {0},
    };
    int status;

    memset(section, 0, sizeof *section);
    status = section_read(text, pointer, fields, error);
    if (status != CARRICK_OK)
        return status;
    section->port = (uint16_t)port;
    if (is_wildcard(section->address))
        return section_wrong(error, pointer, "address",
                             "\"%s\" stands for every address; give the one of this link",
                             section->address);
    if (family_of(section->address) == AF_UNSPEC && !is_host_name(section->address))
        return section_wrong(error, pointer, "address",
                             "\"%.100s\" is neither an IPv4 or IPv6 address nor a host name",
                             section->address);
    if (strpbrk(section->interface, "/ \t\n:") != NULL)
        return section_wrong(error, pointer, "interface",
                             "\"%s\" is no name of a network interface", section->interface);
    return CARRICK_OK;
}

int tcp_settings_parse(const char *text, struct tcp_settings *settings, struct carrick_error *error)
{
    const struct section_field fields[] = {
        {"user_timeout_ms", false, NULL, 0, &settings->user_timeout_ms, 10, 3600000,
         "how long sent data may stay unacknowledged before the kernel gives the connection up"},
        {"keepalive_s", false, NULL, 0, &settings->keepalive_s, 1, 3600,
         "seconds between keepalive probes of an idle connection"},
        {"send_buffer_bytes", false, NULL, 0, &settings->send_buffer_bytes, 0, 1 << 30,
         "size of the socket's send buffer; 0 leaves it to the kernel"},
        {"receive_buffer_bytes", false, NULL, 0, &settings->receive_buffer_bytes, 0, 1 << 30,
         "size of the socket's receive buffer; 0 leaves it to the kernel"},
        {"listen_backlog", false, NULL, 0, &settings->listen_backlog, 1, 65535,
         "connections that the kernel keeps until they are accepted"},
        {0},
    };

    *settings = (struct tcp_settings){
        .user_timeout_ms = 10000,
        .keepalive_s = 5,
        .listen_backlog = 64,
    };
    return section_read(text, "/config", fields, error);
}

int tcp_config_check(const char *local, const char *remote, const char *config,
                     struct carrick_error *error)
{
    struct tcp_section here, there;
    struct tcp_settings settings;
    int status = tcp_section_parse(local, "/local", &here, error);

    if (status == CARRICK_OK)
        status = tcp_section_parse(remote, "/remote", &there, error);
    if (status == CARRICK_OK)
        status = tcp_settings_parse(config != NULL ? config : "{}", &settings, error);
    if (status != CARRICK_OK)
        return status;
    if (family_of(here.address) != AF_UNSPEC && family_of(there.address) != AF_UNSPEC &&
        family_of(here.address) != family_of(there.address))
        return section_wrong(
            error, "/remote", "address",
            "\"%.60s\" is of another address family than the other end of the link, "
            "\"%.60s\"; both must be IPv4, or both IPv6",
            there.address, here.address);
    if (strcmp(here.address, there.address) == 0 && here.port == there.port)
        return section_wrong(error, "/remote", "port",
                             "both ends of the link are %.100s port %u; they must differ",
                             here.address, here.port);
    return CARRICK_OK;
}
