// SPDX-License-Identifier: Apache-2.0
//
// Whether the partner's end of a link answers. A refusal is an answer: the host is there, and over RDMA no socket
// listens there anyhow. Who accepts also tells how large the segments are that it takes, and so its MTU.

#include "cli/doctor.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct addrinfo *resolve(const char *address, unsigned port)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found = NULL;
    char service[16];
    snprintf(service, sizeof service, "%u", port);
    hints.ai_flags = AI_NUMERICSERV;
    return getaddrinfo(address, service, &hints, &found) ? NULL : found;
}

// 0, or why not.
static int dial(int fd, const struct addrinfo *local, const struct addrinfo *remote,
                unsigned timeout_ms)
{
    struct pollfd waiting = {.fd = fd, .events = POLLOUT};
    int error = 0;
    socklen_t size = sizeof error;
    // From the link's own address, as the link dials: else another way might answer for it.
    if (local && bind(fd, local->ai_addr, local->ai_addrlen) != 0)
        return errno;
    if (connect(fd, remote->ai_addr, remote->ai_addrlen) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return errno;
    if (poll(&waiting, 1, (int)timeout_ms) <= 0)
        return ETIMEDOUT;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) ? errno : error;
}

static void check_segments(struct doctor *doctor, const char *subject, int fd, bool six,
                           int64_t mtu)
{
    int segment = 0;
    socklen_t size = sizeof segment;
    int64_t headers = six ? 60 : 40;
    char mend[160];
    if (mtu <= 0 || getsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, &size) || segment <= 0)
        return;
    // Up to 40 bytes of options come off.
    int64_t theirs = segment + headers;
    if (theirs + 40 >= mtu)
        return;
    snprintf(mend, sizeof mend, "ip link set INTERFACE mtu %lld", (long long)mtu);
    doctor_find(doctor, FINDING_WARNING, subject, mend,
                "this node's MTU is %lld, the partner takes no more than about %lld: one of both, "
                "or a switch between, is set otherwise",
                (long long)mtu, (long long)theirs + 12);
}

static void say_unreached(struct doctor *doctor, const struct config_link *link,
                          const char *subject, const struct link_end *remote, int why)
{
    char mend[200];
    if (why == ECONNREFUSED && link_is_rdma(link)) {
        doctor_find(doctor, FINDING_OK, subject, NULL, "the partner's host answers at %s",
                    remote->address);
        return;
    }
    if (why == ECONNREFUSED) {
        snprintf(mend, sizeof mend, "systemctl start carrickd # on %s",
                 doctor->config->nodes[1 - doctor->node]);
        doctor_find(doctor, FINDING_WARNING, subject, mend,
                    "the partner's host answers at %s, but nobody listens on port %u: does "
                    "carrickd run there?",
                    remote->address, remote->port);
        return;
    }
    snprintf(mend, sizeof mend, "ping -c 3 %s; ip route get %s", remote->address, remote->address);
    doctor_find(doctor, FINDING_PROBLEM, subject, mend,
                "the partner does not answer at %s port %u: %s; is it on, is the cable in, does "
                "a firewall stand between?",
                remote->address, remote->port,
                why == ETIMEDOUT ? "nothing came back in time" : strerror(why));
}

void doctor_reach(struct doctor *doctor, const struct config_link *link,
                  const struct link_end *local, const struct link_end *remote, int64_t mtu)
{
    char subject[96];
    struct addrinfo *from = resolve(local->address, 0),
                    *to = resolve(remote->address, remote->port);
    snprintf(subject, sizeof subject, "link %s", link->name);
    if (!to) {
        doctor_find(doctor, FINDING_PROBLEM, subject, NULL, "the partner's address %s is unknown",
                    remote->address);
    } else {
        int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int why = fd < 0 ? errno
                         : dial(fd, from && from->ai_family == to->ai_family ? from : NULL, to,
                                doctor->timeout_ms);
        if (why) {
            say_unreached(doctor, link, subject, remote, why);
        } else {
            doctor_find(doctor, FINDING_OK, subject, NULL, "the partner answers at %s port %u",
                        remote->address, remote->port);
            check_segments(doctor, subject, fd, to->ai_family == AF_INET6, mtu);
        }
        if (fd >= 0)
            close(fd);
    }
    if (from)
        freeaddrinfo(from);
    if (to)
        freeaddrinfo(to);
}
