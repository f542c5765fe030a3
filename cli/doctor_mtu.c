// SPDX-License-Identifier: Apache-2.0
//
// The MTU between the nodes: an echo request as long as this node's MTU that must not be fragmented on its way. One that
// is lost where a short one comes back says that the partner or a switch takes less. One that comes back in fragments
// says what the partner sends at the most: its own MTU.

#include "cli/doctor.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <netinet/icmp6.h>
#include <netinet/ip6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SHORT_BYTES 64
#define PACKET_MAX 65000
#define HEADER_BYTES 8 // of an echo request; of the same form in both families
#define ATTEMPTS 2     // of a long one: a network may lose one

struct echo {
    int fd;
    bool six, raw;
    uint16_t id, sequence;
    unsigned timeout_ms;
    uint8_t *packet;
    uint32_t longest; // fragment of the answer; 0: it came whole
    uint32_t limit;   // that a router named; 0: none did
};

static size_t ip_header(const struct echo *echo)
{
    return echo->six ? sizeof(struct ip6_hdr) : sizeof(struct iphdr);
}

static bool set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

// PROBE: not to be fragmented, and as long as the interface allows, whatever was learnt of the way before.
static bool prepare(const struct echo *echo)
{
    if (echo->six)
        return set(echo->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE) &&
               set(echo->fd, IPPROTO_IPV6, IPV6_RECVFRAGSIZE, 1) &&
               set(echo->fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
    return set(echo->fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE) &&
           set(echo->fd, IPPROTO_IP, IP_RECVFRAGSIZE, 1) &&
           set(echo->fd, IPPROTO_IP, IP_RECVERR, 1);
}

// 0, or why there is no echo to be had. Whom net.ipv4.ping_group_range has gets the datagram kind, root the raw one.
static int echo_open(struct echo *echo, const struct addrinfo *from, const struct addrinfo *to)
{
    const int protocol = echo->six ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
    echo->fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, protocol);
    if (echo->fd < 0) {
        echo->raw = true;
        echo->fd = socket(to->ai_family, SOCK_RAW | SOCK_CLOEXEC, protocol);
    }
    if (echo->fd < 0)
        return errno;
    if (!prepare(echo) || (from && bind(echo->fd, from->ai_addr, from->ai_addrlen) != 0))
        return errno;
    echo->packet = calloc(1, PACKET_MAX);
    echo->id = (uint16_t)getpid();
    return echo->packet ? 0 : ENOMEM;
}

static uint16_t checksum(const uint8_t *bytes, size_t count)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return htons((uint16_t)~sum);
}

static bool echo_send(struct echo *echo, const struct addrinfo *to, size_t bytes)
{
    struct icmphdr head = {
        .type = echo->six ? ICMP6_ECHO_REQUEST : ICMP_ECHO,
        .un.echo = {.id = htons(echo->id), .sequence = htons(++echo->sequence)},
    };
    struct sockaddr_storage whom = {0};
    bytes -= ip_header(echo);
    memcpy(&whom, to->ai_addr, to->ai_addrlen);
    // A port is none of its business; raw sockets of IPv6 want none.
    if (echo->six)
        ((struct sockaddr_in6 *)&whom)->sin6_port = 0;
    memset(echo->packet, 0, bytes);
    memcpy(echo->packet, &head, sizeof head);
    head.checksum = checksum(echo->packet, bytes); // of IPv6 the kernel makes it
    memcpy(echo->packet, &head, sizeof head);
    return sendto(echo->fd, echo->packet, bytes, 0, (struct sockaddr *)&whom, to->ai_addrlen) ==
           (ssize_t)bytes;
}

// ---- what comes back

// A packet, and what recvmsg(2) puts beside it.
struct received {
    char control[256];
    struct iovec part;
    struct msghdr message;
};

// -1: nothing is there.
static ssize_t receive(const struct echo *echo, int flags, struct received *r)
{
    r->part = (struct iovec){.iov_base = echo->packet, .iov_len = PACKET_MAX};
    r->message = (struct msghdr){.msg_iov = &r->part,
                                 .msg_iovlen = 1,
                                 .msg_control = r->control,
                                 .msg_controllen = sizeof r->control};
    return recvmsg(echo->fd, &r->message, flags | MSG_DONTWAIT);
}

static void read_error(struct echo *echo)
{
    struct received r;
    if (receive(echo, MSG_ERRQUEUE, &r) < 0)
        return;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&r.message); c; c = CMSG_NXTHDR(&r.message, c)) {
        struct sock_extended_err error;
        if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
            (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR)) {
            memcpy(&error, CMSG_DATA(c), sizeof error);
            if (error.ee_errno == EMSGSIZE)
                echo->limit = error.ee_info;
        }
    }
}

static bool is_answer(const struct echo *echo, size_t bytes)
{
    struct icmphdr head;
    size_t at = echo->raw && !echo->six && bytes ? (size_t)(echo->packet[0] & 15) * 4 : 0;
    if (bytes < at + sizeof head)
        return false;
    memcpy(&head, echo->packet + at, sizeof head);
    // The kernel sorts answers by id for datagrams, and puts its own into them.
    return head.type == (echo->six ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY) &&
           head.un.echo.sequence == htons(echo->sequence) &&
           (!echo->raw || head.un.echo.id == htons(echo->id));
}

static bool read_answer(struct echo *echo)
{
    struct received r;
    ssize_t bytes = receive(echo, 0, &r);
    if (bytes < 0 || !is_answer(echo, (size_t)bytes))
        return false;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&r.message); c; c = CMSG_NXTHDR(&r.message, c))
        if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVFRAGSIZE) ||
            (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVFRAGSIZE))
            memcpy(&echo->longest, CMSG_DATA(c), sizeof(int));
    return true;
}

// Whether an echo request of so many bytes, the IP header among them, is answered.
static bool comes_back(struct echo *echo, const struct addrinfo *to, size_t bytes)
{
    struct pollfd waiting = {.fd = echo->fd, .events = POLLIN};
    const int64_t end_ms = (int64_t)cli_now_ms() + echo->timeout_ms;
    if (!echo_send(echo, to, bytes))
        return false;
    for (int64_t left = echo->timeout_ms; left > 0; left = end_ms - (int64_t)cli_now_ms()) {
        if (poll(&waiting, 1, (int)left) <= 0)
            return false;
        if (waiting.revents & POLLERR)
            read_error(echo);
        if (read_answer(echo))
            return true;
        if (echo->limit)
            return false;
    }
    return false;
}

// ---- what it means

static void say_smaller(struct doctor *doctor, const struct link_path *path, int64_t theirs)
{
    char mend[300], what[120] = "the partner, or a switch between, takes no packets as long";
    const bool roce = !strcmp(path->link->transport, "verbs");
    if (theirs > 0)
        snprintf(what, sizeof what, "the partner or the network between has one of about %lld",
                 (long long)theirs);
    snprintf(mend, sizeof mend,
             "ip link set INTERFACE mtu %lld # on %s, for what has %.60s; at least that on the "
             "switches",
             (long long)path->mtu, doctor->config->nodes[1 - doctor->node], path->remote.address);
    doctor_find(doctor,
                roce && (theirs <= 0 || roce_mtu(theirs) != roce_mtu(path->mtu)) ? FINDING_PROBLEM
                                                                                 : FINDING_WARNING,
                path->subject, mend,
                "this node's MTU is %lld, and %s; it has to be the same on both nodes",
                (long long)path->mtu, what);
}

static void say_untried(struct doctor *doctor, const struct link_path *path, const char *why,
                        const char *mend)
{
    doctor_find(doctor, FINDING_WARNING, path->subject, mend,
                "whether packets of %lld bytes reach the partner was not checked: %s",
                (long long)path->mtu, why);
}

static void check(struct doctor *doctor, const struct link_path *path, struct echo *echo,
                  const struct addrinfo *to)
{
    size_t bytes = path->mtu < PACKET_MAX ? (size_t)path->mtu : PACKET_MAX;
    char mend[200];
    bool whole = false;
    if (!comes_back(echo, to, SHORT_BYTES)) {
        snprintf(mend, sizeof mend, "ping -c 1 -M do -s %zu %.60s",
                 bytes - ip_header(echo) - HEADER_BYTES, path->remote.address);
        say_untried(doctor, path, "it does not answer short echo requests (ping) either", mend);
        return;
    }
    for (int i = 0; i < ATTEMPTS && !whole && !echo->limit; i++)
        whole = comes_back(echo, to, bytes);
    if (!whole)
        say_smaller(doctor, path, echo->limit);
    // A fragment's data is a multiple of 8.
    else if (echo->longest)
        say_smaller(doctor, path, (int64_t)echo->longest);
    else
        doctor_find(doctor, FINDING_OK, path->subject, NULL,
                    "packets of %zu bytes reach the partner and come back whole", bytes);
}

void doctor_mtu(struct doctor *doctor, const struct link_path *path, const struct addrinfo *from,
                const struct addrinfo *to)
{
    struct echo echo = {
        .fd = -1, .six = to->ai_family == AF_INET6, .timeout_ms = doctor->timeout_ms};
    if (path->mtu < SHORT_BYTES * 2)
        return; // not told
    int why = echo_open(&echo, from, to);
    if (why == EPERM || why == EACCES)
        say_untried(
            doctor, path, "this user may send no echo requests",
            "sysctl -w net.ipv4.ping_group_range='0 2147483647' # or carrick doctor as root");
    else if (why || !echo.packet)
        say_untried(doctor, path, strerror(why), "carrick doctor # again, as root");
    else
        check(doctor, path, &echo, to);
    free(echo.packet);
    if (echo.fd >= 0)
        close(echo.fd);
}
