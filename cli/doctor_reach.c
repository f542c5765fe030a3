// SPDX-License-Identifier: Apache-2.0
//
// Whether the partner's end of a link answers: over TCP by a connection that is given up again, over RDMA by a trial
// connect. Where RDMA is silent, TCP tells whether the host is there at all: a refusal is an answer. Who accepts also
// tells how large the segments are that it takes, and so its MTU.

#include "cli/doctor.h"

#include <errno.h>
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

static const char *partner(const struct doctor *doctor)
{
    return doctor->config->nodes[1 - doctor->node];
}

// ---- over TCP

// 0, or why not. *segment: the longest that the other end takes; 0: not told.
static int dial(const struct addrinfo *local, const struct addrinfo *remote, unsigned timeout_ms,
                int *segment)
{
    int fd = socket(remote->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), why = 0;
    struct pollfd waiting = {.fd = fd, .events = POLLOUT};
    socklen_t size = sizeof why;
    *segment = 0;
    if (fd < 0)
        return errno;
    // From the link's own address, as the link dials: else another way might answer for it.
    if (local && bind(fd, local->ai_addr, local->ai_addrlen) != 0)
        why = errno;
    else if (connect(fd, remote->ai_addr, remote->ai_addrlen) != 0)
        why = errno;
    if (why == EINPROGRESS) {
        if (poll(&waiting, 1, (int)timeout_ms) <= 0)
            why = ETIMEDOUT;
        else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &size))
            why = errno;
    }
    size = sizeof *segment;
    if (!why && getsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, segment, &size))
        *segment = 0;
    close(fd);
    return why;
}

// Whether the partner's segments tell of a smaller MTU, which no permission is wanted for.
static bool check_segments(struct doctor *doctor, const struct link_path *path, int segment,
                           bool six)
{
    int64_t theirs = segment + (six ? 60 : 40);
    char mend[200];
    // Up to 40 bytes of options come off.
    if (path->mtu <= 0 || segment <= 0 || theirs + 40 >= path->mtu)
        return false;
    snprintf(mend, sizeof mend, "ip link set INTERFACE mtu %lld # on %s, for what has %.60s",
             (long long)path->mtu, partner(doctor), path->remote.address);
    doctor_find(doctor, FINDING_WARNING, path->subject, mend,
                "this node's MTU is %lld, the partner takes no more than about %lld: one of both, "
                "or a switch between, is set otherwise",
                (long long)path->mtu, (long long)theirs + 12);
    return true;
}

static void say_away(struct doctor *doctor, const struct link_path *path, int why)
{
    char mend[200];
    snprintf(mend, sizeof mend, "ping -c 3 %s; ip route get %s", path->remote.address,
             path->remote.address);
    doctor_find(doctor, FINDING_PROBLEM, path->subject, mend,
                "the partner does not answer at %s port %u: %s; is it on, is the cable in, does "
                "a firewall stand between?",
                path->remote.address, path->remote.port,
                why == ETIMEDOUT ? "nothing came back in time" : strerror(why));
}

static void say_nobody(struct doctor *doctor, const struct link_path *path)
{
    char mend[200];
    snprintf(mend, sizeof mend, "systemctl start carrickd # on %s", partner(doctor));
    doctor_find(doctor, FINDING_WARNING, path->subject, mend,
                "the partner's host answers at %s, but nobody listens on port %u%s: does "
                "carrickd run there, with this link and this port in its configuration?",
                path->remote.address, path->remote.port,
                link_is_rdma(path->link) ? " over RDMA" : "");
}

// Whether the partner's host is there.
static bool reach_tcp(struct doctor *doctor, const struct link_path *path,
                      const struct addrinfo *from, const struct addrinfo *to)
{
    int segment, why = dial(from, to, doctor->timeout_ms, &segment);
    if (why == ECONNREFUSED) {
        say_nobody(doctor, path);
        return true;
    }
    if (why) {
        say_away(doctor, path, why);
        return false;
    }
    doctor_find(doctor, FINDING_OK, path->subject, NULL, "the partner answers at %s port %u",
                path->remote.address, path->remote.port);
    return !check_segments(doctor, path, segment, to->ai_family == AF_INET6);
}

// ---- over RDMA

// How a trial ended, and what to do. In text, %s is the partner's address, %u its port; in mend, %s is the partner.
struct trial_says {
    enum finding_level level;
    const char *text, *mend;
};

static const struct trial_says says[TRIAL_ENDS] = {
    [TRIAL_LISTENS] = {FINDING_OK, "carrickd of the partner answers at %s port %u over RDMA", ""},
    [TRIAL_STRANGER] = {FINDING_WARNING,
                        "who listens at %s port %u over RDMA does not answer as a carrickd does: "
                        "another program, or a carrickd that takes nothing on this link just now",
                        "carrick links; rdma resource show cm_id # on %s"},
    [TRIAL_NO_ADDRESS] = {FINDING_PROBLEM, "no way to the partner's address %s (port %u) over RDMA",
                          "carrick doctor # on %s as well; here: ip route get, ip neigh"},
    [TRIAL_NO_ROUTE] = {FINDING_PROBLEM,
                        "the subnet manager knows no way to the partner's %s (port %u)",
                        "systemctl restart opensm # on the node that runs it, perhaps %s"},
    [TRIAL_SILENT] =
        {FINDING_PROBLEM,
         "the partner's host answers at %s, its RDMA does not (port %u): its device is "
         "gone or down, its module rdma_ucm is not loaded, or a firewall stops UDP "
         "port 4791 (RoCE)",
         "carrick doctor # on %s; nft insert rule inet filter input udp dport 4791 "
         "accept # on both"},
    [TRIAL_NOT_TRIED] = {FINDING_WARNING,
                         "the partner's host answers at %s; whether somebody listens on port %u "
                         "over RDMA was not tried",
                         "modprobe rdma_ucm; carrick doctor # again, and on %s"},
    [TRIAL_HELD_UP] = {FINDING_WARNING,
                       "the partner's host answers at %s; whether somebody listens on port %u over "
                       "RDMA was not tried: this node's end of the link has a problem of its own",
                       "carrick doctor # again, once that is mended; and on %s"},
    [TRIAL_NO_MEMORY] = {FINDING_WARNING,
                         "the partner's host answers at %s; whether somebody listens on port %u "
                         "over RDMA was not tried: this user may lock too little memory",
                         "ulimit -l unlimited; carrick doctor # again, or as root; and on %s"},
    [TRIAL_NO_LIBRARY] = {FINDING_WARNING,
                          "the partner's host answers at %s; whether somebody listens on port %u "
                          "over RDMA was not tried: librdmacm is not installed",
                          INSTALL_RDMA " # here, and on %s"},
    [TRIAL_NOT_BUILT] = {FINDING_WARNING,
                         "the partner's host answers at %s; whether somebody listens on port %u "
                         "over RDMA was not tried: this command was built without rdma-core",
                         "scripts/deps build rdma && make # and the same for %s"},
};

static void say_trial(struct doctor *doctor, const struct link_path *path, struct trial trial)
{
    const struct trial_says *say = &says[trial.end];
    char text[400], mend[300];
    snprintf(text, sizeof text, say->text, path->remote.address, path->remote.port);
    snprintf(mend, sizeof mend, say->mend, partner(doctor));
    doctor_find(doctor, say->level, path->subject, mend, "%.300s%s%s", text,
                trial.error && say->level != FINDING_OK ? ": " : "",
                trial.error && say->level != FINDING_OK ? strerror(trial.error) : "");
}

// Whether the partner's host is there. Where RDMA does not tell, TCP does.
static bool reach_rdma(struct doctor *doctor, const struct link_path *path,
                       const struct addrinfo *from, const struct addrinfo *to)
{
    struct trial trial = {.end = TRIAL_HELD_UP};
    int segment, why;
    if (path->rdma_here && doctor->root[0])
        trial.end = TRIAL_NOT_TRIED; // the devices of a test's tree are made up
    else if (path->rdma_here)
        trial = doctor_trial(from, to, doctor->timeout_ms);
    if (trial.end == TRIAL_NOBODY) {
        say_nobody(doctor, path);
        return true;
    }
    if (trial.end >= TRIAL_NO_ADDRESS) {
        why = dial(from, to, doctor->timeout_ms, &segment);
        if (why && why != ECONNREFUSED) {
            say_away(doctor, path, why);
            return false;
        }
    }
    say_trial(doctor, path, trial);
    return true;
}

void doctor_reach(struct doctor *doctor, const struct link_path *path)
{
    char mend[200];
    struct addrinfo *from = resolve(path->local.address, 0),
                    *to = resolve(path->remote.address, path->remote.port);
    if (!to) {
        snprintf(mend, sizeof mend, "echo 'ADDRESS %.60s' >> /etc/hosts", path->remote.address);
        doctor_find(doctor, FINDING_PROBLEM, path->subject, mend,
                    "the partner's address %s is unknown: no name server and no line of /etc/hosts "
                    "has it",
                    path->remote.address);
    } else {
        const struct addrinfo *own = from && from->ai_family == to->ai_family ? from : NULL;
        if (link_is_rdma(path->link) ? reach_rdma(doctor, path, own, to)
                                     : reach_tcp(doctor, path, own, to))
            doctor_mtu(doctor, path, own, to);
    }
    if (from)
        freeaddrinfo(from);
    if (to)
        freeaddrinfo(to);
}
