// SPDX-License-Identifier: Apache-2.0
//
// The kernel's word on the interface that bears the device's address: rtnetlink tells when its carrier goes or the
// address is taken away. Not every RDMA device says so itself (soft iWARP says nothing at all).
#include "rdma_device.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_BYTES = 16384, READS_PER_POLL = 64 };

static bool same_address(const struct carrick_device *d, int family, const void *bytes)
{
    const struct sockaddr_storage *own = &d->local.storage;

    if (own->ss_family != family)
        return false;
    if (family == AF_INET)
        return memcmp(&((const struct sockaddr_in *)own)->sin_addr, bytes, 4) == 0;
    return memcmp(&((const struct sockaddr_in6 *)own)->sin6_addr, bytes, 16) == 0;
}

static const void *address_of(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return &((const struct sockaddr_in *)address)->sin_addr;
    return &((const struct sockaddr_in6 *)address)->sin6_addr;
}

// Asks for everything anew: at the begin, and when messages were lost.
static void look(struct carrick_device *d)
{
    struct rdma_carrier *c = &d->carrier;
    struct ifaddrs *all = NULL;

    if (getifaddrs(&all) != 0)
        return;
    c->address_present = false;
    for (const struct ifaddrs *at = all; at != NULL; at = at->ifa_next) {
        if (at->ifa_addr == NULL ||
            (at->ifa_addr->sa_family != AF_INET && at->ifa_addr->sa_family != AF_INET6) ||
            !same_address(d, at->ifa_addr->sa_family, address_of(at->ifa_addr)))
            continue;
        c->address_present = true;
        c->index = if_nametoindex(at->ifa_name);
        c->switched_on = (at->ifa_flags & IFF_UP) != 0;
        c->running = (at->ifa_flags & IFF_RUNNING) != 0;
    }
    freeifaddrs(all);
}

static void take_address(struct carrick_device *d, const struct nlmsghdr *message)
{
    const struct ifaddrmsg *m = NLMSG_DATA(message);
    int left = (int)IFA_PAYLOAD(message);
    size_t bytes = m->ifa_family == AF_INET ? 4 : 16;

    for (const struct rtattr *a = IFA_RTA(m); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
        if ((a->rta_type != IFA_LOCAL && a->rta_type != IFA_ADDRESS) || RTA_PAYLOAD(a) != bytes ||
            !same_address(d, m->ifa_family, RTA_DATA(a)))
            continue;
        // Whatever it is that changed, the whole is asked for: the other end of a point to point link looks alike.
        look(d);
        return;
    }
}

static void take_link(struct carrick_device *d, const struct nlmsghdr *message)
{
    struct rdma_carrier *c = &d->carrier;
    const struct ifinfomsg *m = NLMSG_DATA(message);
    int left = (int)IFLA_PAYLOAD(message);
    bool carrier = true;

    // A bridge speaks of its ports with the same messages, and says that they are gone when they leave it.
    if (m->ifi_family != AF_UNSPEC || c->index == 0 || c->index != (uint32_t)m->ifi_index)
        return;
    for (const struct rtattr *a = IFLA_RTA(m); RTA_OK(a, left); a = RTA_NEXT(a, left))
        if (a->rta_type == IFLA_CARRIER && RTA_PAYLOAD(a) >= 1)
            carrier = *(const uint8_t *)RTA_DATA(a) != 0;
    if (message->nlmsg_type == RTM_DELLINK) {
        // One that takes its place is found by the address.
        *c = (struct rdma_carrier){.fd = c->fd};
        return;
    }
    c->switched_on = (m->ifi_flags & IFF_UP) != 0;
    c->running = (m->ifi_flags & IFF_RUNNING) != 0 && carrier;
}

static void take_message(struct carrick_device *d, const struct nlmsghdr *message)
{
    switch (message->nlmsg_type) {
    case RTM_NEWADDR:
    case RTM_DELADDR:
        if (NLMSG_PAYLOAD(message, 0) >= sizeof(struct ifaddrmsg))
            take_address(d, message);
        break;
    case RTM_NEWLINK:
    case RTM_DELLINK:
        if (NLMSG_PAYLOAD(message, 0) >= sizeof(struct ifinfomsg))
            take_link(d, message);
        break;
    default:
        break;
    }
}

static void say(const struct carrick_device *d)
{
    const struct rdma_carrier *c = &d->carrier;
    bool up = rdma_carrier_up(d);

    d->host->log(d->host, up ? CARRICK_LOG_NOTICE : CARRICK_LOG_WARNING, "%s: %s", d->name,
                 up                    ? "the interface is up"
                 : !c->address_present ? "no interface has the address"
                 : !c->switched_on     ? "the interface is switched off"
                                       : "the interface has no carrier");
}

void rdma_carrier_read(struct carrick_device *device)
{
    struct rdma_carrier *c = &device->carrier;
    char buffer[BUFFER_BYTES] __attribute__((aligned(8)));
    bool before = rdma_carrier_up(device), here_before = rdma_carrier_down_here(device);

    if (c->fd < 0)
        return;
    for (int i = 0; i < READS_PER_POLL; i++) {
        ssize_t n = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
        const struct nlmsghdr *m;
        size_t length;

        if (n < 0 && errno == ENOBUFS) {
            look(device);
            continue;
        }
        if (n <= 0)
            break;
        for (size_t at = 0; (size_t)n - at >= sizeof *m; at += length) {
            m = (const struct nlmsghdr *)(buffer + at);
            length = NLMSG_ALIGN((size_t)m->nlmsg_len);
            if (m->nlmsg_len < sizeof *m || length > (size_t)n - at)
                break;
            take_message(device, m);
        }
    }
    if (rdma_carrier_up(device) == before && rdma_carrier_down_here(device) == here_before)
        return;
    say(device);
    // The address may have come back to a port that was asked while it was away.
    rdma_port_query(device);
}

void rdma_carrier_open(struct carrick_device *device)
{
    struct rdma_carrier *c = &device->carrier;
    struct sockaddr_nl address = {
        .nl_family = AF_NETLINK,
        .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
    };

    c->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (c->fd < 0 || bind(c->fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        rdma_device_watch(device, c->fd, RDMA_SOURCE_CARRIER) != CARRICK_OK) {
        device->host->log(device->host, CARRICK_LOG_WARNING,
                          "%s: no rtnetlink (%s): a lost carrier is noticed by probes alone",
                          device->name, strerrordesc_np(errno));
        rdma_carrier_close(device);
        return;
    }
    // After the socket is bound, so that no change is missed.
    look(device);
}

void rdma_carrier_close(struct carrick_device *device)
{
    if (device->carrier.fd >= 0)
        close(device->carrier.fd);
    device->carrier.fd = -1;
}

bool rdma_carrier_up(const struct carrick_device *device)
{
    const struct rdma_carrier *c = &device->carrier;

    return c->fd < 0 || (c->switched_on && c->running && c->address_present);
}

bool rdma_carrier_down_here(const struct carrick_device *device)
{
    const struct rdma_carrier *c = &device->carrier;

    return c->fd >= 0 && (!c->switched_on || !c->address_present);
}
