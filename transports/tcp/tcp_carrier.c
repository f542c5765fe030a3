// SPDX-License-Identifier: Apache-2.0
//
// The kernel's word on the interface: rtnetlink tells when its carrier goes or the address is taken away, long
// before a connection notices. First all addresses are asked for, to find the interface that bears ours (all
// links, where the configuration names it), then that link; after that the kernel tells by itself.
#include "tcp.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { BUFFER_BYTES = 32768, READS_PER_POLL = 64, REQUEST_BYTES = 256 };

// Asks one thing; the kernel answers one at a time. A failure is no loss: what is known stays.
static void ask(struct tcp_carrier *c, enum tcp_asking what)
{
    char buffer[REQUEST_BYTES] __attribute__((aligned(8)));
    struct nlmsghdr *header = mnl_nlmsg_put_header(buffer);

    header->nlmsg_type = what == TCP_ASK_ADDRESSES ? RTM_GETADDR : RTM_GETLINK;
    header->nlmsg_flags = NLM_F_REQUEST | (what == TCP_ASK_LINK ? 0 : NLM_F_DUMP);
    header->nlmsg_seq = ++c->sequence;
    if (what == TCP_ASK_ADDRESSES) {
        struct ifaddrmsg *address = mnl_nlmsg_put_extra_header(header, sizeof *address);
        address->ifa_family = AF_UNSPEC;
        c->address_seen = false;
    } else {
        struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof *link);
        link->ifi_family = AF_UNSPEC;
        link->ifi_index = what == TCP_ASK_LINK ? (int)c->index : 0;
    }
    if (send(c->fd, buffer, header->nlmsg_len, MSG_NOSIGNAL) == (ssize_t)header->nlmsg_len)
        c->asking = what;
    else
        c->asking = TCP_ASK_NOTHING;
}

static void ask_all(struct tcp_carrier *c)
{
    ask(c, c->interface[0] != '\0' ? TCP_ASK_LINKS : TCP_ASK_ADDRESSES);
}

static bool same_address(const struct carrick_device *d, int family, const void *bytes)
{
    const struct sockaddr_storage *s = &d->addresses.at[0].storage;

    if (s->ss_family != family)
        return false;
    if (family == AF_INET)
        return memcmp(&((const struct sockaddr_in *)s)->sin_addr, bytes, 4) == 0;
    return memcmp(&((const struct sockaddr_in6 *)s)->sin6_addr, bytes, 16) == 0;
}

static void take_address(struct carrick_device *d, const struct nlmsghdr *message)
{
    struct tcp_carrier *c = &d->carrier;
    const struct ifaddrmsg *m = mnl_nlmsg_get_payload(message);
    const struct nlattr *attribute;
    size_t bytes = m->ifa_family == AF_INET ? 4 : 16;
    uint32_t flags = m->ifa_flags;
    bool ours = false, ours_local = false, has_local = false;

    mnl_attr_for_each(attribute, message, sizeof *m)
    {
        int type = mnl_attr_get_type(attribute);
        // Point to point links: IFA_LOCAL is ours, and IFA_ADDRESS the other end.
        if ((type == IFA_ADDRESS || type == IFA_LOCAL) &&
            mnl_attr_get_payload_len(attribute) == bytes) {
            bool same = same_address(d, m->ifa_family, mnl_attr_get_payload(attribute));
            if (type == IFA_LOCAL) {
                has_local = true;
                ours_local = same;
            } else {
                ours = same;
            }
        }
        if (type == IFA_FLAGS && mnl_attr_validate(attribute, MNL_TYPE_U32) == 0)
            flags = mnl_attr_get_u32(attribute);
    }
    if (!(has_local ? ours_local : ours))
        return;
    if (c->interface[0] != '\0' && m->ifa_index != c->index)
        return;
    if (message->nlmsg_type == RTM_DELADDR) {
        c->address_present = c->address_present && m->ifa_index != c->index;
        return;
    }
    // While an address is being checked for duplicates, or was found to be one, nothing works on it.
    if (flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED))
        return;
    c->address_seen = c->address_present = true;
    if (c->interface[0] == '\0' && c->index != m->ifa_index) {
        c->index = m->ifa_index;
        // In a dump this follows when it ends.
        if (c->asking == TCP_ASK_NOTHING)
            ask(c, TCP_ASK_LINK);
    }
}

static void take_link(struct carrick_device *d, const struct nlmsghdr *message)
{
    struct tcp_carrier *c = &d->carrier;
    const struct ifinfomsg *m = mnl_nlmsg_get_payload(message);
    const struct nlattr *attribute;
    bool carrier = true, named = false;

    mnl_attr_for_each(attribute, message, sizeof *m)
    {
        int type = mnl_attr_get_type(attribute);
        if (type == IFLA_CARRIER && mnl_attr_validate(attribute, MNL_TYPE_U8) == 0)
            carrier = mnl_attr_get_u8(attribute) != 0;
        if (type == IFLA_IFNAME && mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) == 0)
            named = strcmp(mnl_attr_get_str(attribute), c->interface) == 0;
    }
    if (c->interface[0] != '\0' && named && c->index != (uint32_t)m->ifi_index) {
        // It appeared, or got its name, just now: what addresses it bears was of no interest before.
        c->index = (uint32_t)m->ifi_index;
        if (c->asking == TCP_ASK_NOTHING && c->follow_address)
            ask(c, TCP_ASK_ADDRESSES);
    }
    if (c->index == 0 || c->index != (uint32_t)m->ifi_index)
        return;
    if (message->nlmsg_type == RTM_DELLINK) {
        c->link_up = c->switched_on = c->address_present = false;
        c->index = 0;
        return;
    }
    c->switched_on = (m->ifi_flags & IFF_UP) != 0;
    // IFF_RUNNING is the operational state: up, or of a driver that does not say.
    c->link_up = (m->ifi_flags & IFF_UP) && (m->ifi_flags & IFF_RUNNING) && carrier;
}

static void answered(struct tcp_carrier *c)
{
    enum tcp_asking was = c->asking;

    c->asking = TCP_ASK_NOTHING;
    if (was == TCP_ASK_LINKS && c->follow_address)
        ask(c, TCP_ASK_ADDRESSES);
    if (was != TCP_ASK_ADDRESSES)
        return;
    c->address_present = c->address_seen;
    if (c->interface[0] == '\0' && c->address_present)
        ask(c, TCP_ASK_LINK);
}

static void take_message(struct carrick_device *d, const struct nlmsghdr *message)
{
    struct tcp_carrier *c = &d->carrier;
    bool answer = c->asking != TCP_ASK_NOTHING && message->nlmsg_seq == c->sequence;

    switch (message->nlmsg_type) {
    case RTM_NEWADDR:
    case RTM_DELADDR:
        if (c->follow_address && mnl_nlmsg_get_payload_len(message) >= sizeof(struct ifaddrmsg))
            take_address(d, message);
        break;
    case RTM_NEWLINK:
    case RTM_DELLINK:
        if (mnl_nlmsg_get_payload_len(message) >= sizeof(struct ifinfomsg))
            take_link(d, message);
        if (answer && c->asking == TCP_ASK_LINK)
            answered(c); // no end follows an answer that is no dump
        break;
    case NLMSG_DONE:
    case NLMSG_ERROR:
        if (answer)
            answered(c);
        break;
    default:
        break;
    }
}

static void conclude(struct carrick_device *d)
{
    struct tcp_carrier *c = &d->carrier;
    bool up, down_here;

    if (c->asking != TCP_ASK_NOTHING)
        return;
    up = c->link_up && (!c->follow_address || c->address_present);
    down_here = !up && (!c->switched_on || (c->follow_address && !c->address_present));
    if (up != c->up || down_here != c->down_here)
        d->host->log(d->host, up ? CARRICK_LOG_NOTICE : CARRICK_LOG_WARNING, "%s: %s", d->name,
                     up                                         ? "the interface is up"
                     : c->follow_address && !c->address_present ? "no interface has the address"
                     : down_here                                ? "the interface is switched off"
                                                                : "the interface has no carrier");
    c->up = up;
    c->down_here = down_here;
}

void tcp_carrier_read(struct carrick_device *device)
{
    struct tcp_carrier *c = &device->carrier;
    char buffer[BUFFER_BYTES] __attribute__((aligned(8)));

    for (int i = 0; i < READS_PER_POLL; i++) {
        ssize_t n = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
        int left = (int)n;
        if (n < 0 && errno == ENOBUFS) {
            // Messages were lost: what is known may be old.
            ask_all(c);
            continue;
        }
        if (n <= 0)
            break;
        for (const struct nlmsghdr *m = (void *)buffer; mnl_nlmsg_ok(m, left);
             m = mnl_nlmsg_next(m, &left))
            take_message(device, m);
    }
    conclude(device);
}

static bool loopback_range(const struct tcp_address *address)
{
    const struct sockaddr_in *four = (const struct sockaddr_in *)&address->storage;

    return four->sin_family == AF_INET && (ntohl(four->sin_addr.s_addr) >> 24) == 127;
}

void tcp_carrier_open(struct carrick_device *device)
{
    struct tcp_carrier *c = &device->carrier;
    struct sockaddr_nl address = {
        .nl_family = AF_NETLINK,
        .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
    };

    if (c->fd >= 0)
        return;
    c->up = true;
    c->follow_address = true;
    memcpy(c->interface, device->local.interface, sizeof c->interface);
    if (c->interface[0] == '\0' && loopback_range(&device->addresses.at[0])) {
        // All of 127.0.0.0/8 works on it, while it bears only one.
        memcpy(c->interface, "lo", sizeof "lo");
        c->follow_address = false;
    }
    c->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (c->fd < 0 || bind(c->fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        tcp_device_watch(device, EPOLL_CTL_ADD, c->fd, EPOLLIN, &c->source) != CARRICK_OK) {
        device->host->log(device->host, CARRICK_LOG_WARNING,
                          "%s: no rtnetlink (%s): a lost carrier is noticed by probes alone",
                          device->name, strerrordesc_np(errno));
        tcp_carrier_close(device);
        return;
    }
    ask_all(c);
    // The kernel answers within the call; what should still be missing comes through the epoll.
    tcp_carrier_read(device);
}

void tcp_carrier_close(struct carrick_device *device)
{
    if (device->carrier.fd >= 0)
        close(device->carrier.fd);
    device->carrier.fd = -1;
}

bool tcp_carrier_up(const struct carrick_device *device)
{
    return device->carrier.fd < 0 || device->carrier.up;
}

bool tcp_carrier_down_here(const struct carrick_device *device)
{
    return device->carrier.fd >= 0 && device->carrier.down_here;
}
