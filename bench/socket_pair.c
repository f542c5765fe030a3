// SPDX-License-Identifier: Apache-2.0
// The bare peer of the bench: two processes exchange over loopback TCP the bytes that one Carrick
// operation puts on the wire, with nothing else round it. What Carrick costs beyond this is its own.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    HEADER_BYTES = 32,
    FLUSH_BYTES = 32,
    ANSWER_BYTES = 32,
    MAX_PAYLOAD_BYTES = 1 << 20,
    MAX_ROUNDS = 10 * 1000 * 1000,
    STALL_SECONDS = 20,
};

struct options {
    bool spin;
    bool epoll; // not spinning: sleeps in epoll_wait, as an event loop does, instead of in recv
    bool read;
    bool json;
    uint32_t payload_bytes;
    uint32_t rounds;
    uint32_t warmup;
    int client_core; // -1: wherever the kernel puts it
    int server_core;
};

struct shape {
    size_t request_bytes;
    size_t answer_bytes;
};

static struct shape shape_of(const struct options *o)
{
    if (o->read)
        return (struct shape){HEADER_BYTES, HEADER_BYTES + (size_t)o->payload_bytes};
    return (struct shape){HEADER_BYTES + (size_t)o->payload_bytes + FLUSH_BYTES, ANSWER_BYTES};
}

static uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int fail(const char *what)
{
    fprintf(stderr, "socket_pair: %s: %s\n", what, strerror(errno));
    return -1;
}

static int pin(int core)
{
    if (core < 0)
        return 0;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)core, &set);
    return sched_setaffinity(0, sizeof set, &set) == 0 ? 0 : fail("cannot pin to that core");
}

// Readable when the connection is; -1 for a side that waits in another way.
static int waiter_open(int fd, const struct options *o)
{
    struct epoll_event e = {.events = EPOLLIN};
    int waiter = o->epoll ? epoll_create1(EPOLL_CLOEXEC) : -1;
    if (waiter >= 0)
        epoll_ctl(waiter, EPOLL_CTL_ADD, fd, &e);
    return waiter;
}

// A spinning side asks without waiting, over and over; a blocking one lets the kernel wake it. A
// blocking socket bears a receive timeout, a spinning one looks at the clock now and then, so that a
// dead other side ends the run instead of hanging it.
static int bytes_recv(int fd, int waiter, bool spin, uint8_t *buf, size_t len)
{
    uint64_t until_ns = 0;
    uint32_t idle = 0;
    for (size_t got = 0; got < len;) {
        struct epoll_event e;
        if (waiter >= 0 && epoll_wait(waiter, &e, 1, STALL_SECONDS * 1000) == 0)
            return fail("the other side is silent");
        ssize_t n = recv(fd, buf + got, len - got, spin ? MSG_DONTWAIT : 0);
        if (n > 0) {
            got += (size_t)n;
        } else if (n == 0) {
            return 1;
        } else if (errno == EINTR) {
            continue;
        } else if (spin && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            if ((++idle & 0xffff) != 0)
                continue;
            uint64_t now_ns = clock_ns();
            if (until_ns == 0)
                until_ns = now_ns + STALL_SECONDS * 1000000000ull;
            else if (now_ns > until_ns)
                return fail("the other side is silent");
        } else {
            return fail("recv");
        }
    }
    return 0;
}

// The parts go out with one call, as a transport that gathers header, payload and flush does it.
static int parts_send(int fd, bool spin, struct iovec *iov, size_t count)
{
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = count};
    while (m.msg_iovlen > 0) {
        ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL | (spin ? MSG_DONTWAIT : 0));
        if (n < 0) {
            if (errno == EINTR || (spin && (errno == EAGAIN || errno == EWOULDBLOCK)))
                continue;
            return fail("sendmsg");
        }
        size_t left = (size_t)n;
        while (m.msg_iovlen > 0 && left >= m.msg_iov[0].iov_len) {
            left -= m.msg_iov[0].iov_len;
            m.msg_iov++;
            m.msg_iovlen--;
        }
        if (m.msg_iovlen > 0) {
            m.msg_iov[0].iov_base = (uint8_t *)m.msg_iov[0].iov_base + left;
            m.msg_iov[0].iov_len -= left;
        }
    }
    return 0;
}

static int request_send(int fd, const struct options *o, uint8_t *head, uint8_t *payload)
{
    struct iovec iov[3] = {{head, HEADER_BYTES}, {payload, o->payload_bytes}, {head, FLUSH_BYTES}};
    return parts_send(fd, o->spin, iov, o->read ? 1 : 3);
}

static int answer_send(int fd, const struct options *o, uint8_t *head, uint8_t *payload)
{
    struct iovec iov[2] = {{head, HEADER_BYTES}, {payload, o->payload_bytes}};
    return parts_send(fd, o->spin, iov, o->read ? 2 : 1);
}

static int socket_tune(int fd)
{
    int one = 1;
    struct timeval stall = {.tv_sec = STALL_SECONDS};
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &stall, sizeof stall) != 0)
        return fail("setsockopt");
    return 0;
}

static int server_run(int listener, const struct options *o)
{
    struct shape s = shape_of(o);
    uint8_t head[HEADER_BYTES] = {0};
    uint8_t *payload = calloc(1, o->payload_bytes + 1);
    uint8_t *in = malloc(s.request_bytes);
    int rc = -1;
    int fd = accept(listener, NULL, NULL);
    int waiter = waiter_open(fd, o);
    if (fd < 0)
        fail("accept");
    else if (payload != NULL && in != NULL && socket_tune(fd) == 0 && pin(o->server_core) == 0)
        rc = 0;
    while (rc == 0) {
        rc = bytes_recv(fd, waiter, o->spin, in, s.request_bytes);
        if (rc == 0)
            rc = answer_send(fd, o, head, payload);
    }
    if (waiter >= 0)
        close(waiter);
    if (fd >= 0)
        close(fd);
    free(payload);
    free(in);
    return rc < 0 ? 1 : 0; // 1 is the client's orderly end
}

static int client_measure(int fd, const struct options *o, uint64_t *took_ns)
{
    struct shape s = shape_of(o);
    uint8_t head[HEADER_BYTES] = {0};
    uint8_t *payload = calloc(1, o->payload_bytes + 1);
    uint8_t *in = malloc(s.answer_bytes);
    int rc = payload != NULL && in != NULL ? 0 : -1;
    int waiter = waiter_open(fd, o);
    for (uint32_t i = 0; rc == 0 && i < o->warmup + o->rounds; i++) {
        uint64_t start_ns = clock_ns();
        rc = request_send(fd, o, head, payload);
        if (rc == 0)
            rc = bytes_recv(fd, waiter, o->spin, in, s.answer_bytes);
        if (i >= o->warmup)
            took_ns[i - o->warmup] = clock_ns() - start_ns;
    }
    if (waiter >= 0)
        close(waiter);
    free(payload);
    free(in);
    if (rc > 0)
        fprintf(stderr, "socket_pair: the server closed the connection\n");
    return rc == 0 ? 0 : -1;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void result_print(const struct options *o, uint64_t *took_ns)
{
    qsort(took_ns, o->rounds, sizeof *took_ns, compare_u64);
    uint64_t median = took_ns[o->rounds / 2];
    uint64_t p99 = took_ns[(uint64_t)o->rounds * 99 / 100];
    const char *fmt = o->json ? "{\"median_ns\":%llu,\"p99_ns\":%llu,\"min_ns\":%llu}\n"
                              : "median %llu ns  p99 %llu ns  min %llu ns\n";
    printf(fmt, (unsigned long long)median, (unsigned long long)p99,
           (unsigned long long)took_ns[0]);
}

static int listener_open(struct sockaddr_in *at)
{
    socklen_t len = sizeof *at;
    *at = (struct sockaddr_in){.sin_family = AF_INET};
    at->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)at, len) != 0 || listen(fd, 1) != 0 ||
        getsockname(fd, (struct sockaddr *)at, &len) != 0)
        return fail("cannot listen on loopback");
    return fd;
}

static int client_run(const struct sockaddr_in *at, const struct options *o)
{
    uint64_t *took_ns = calloc(o->rounds, sizeof *took_ns);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = -1;
    if (took_ns == NULL || fd < 0 || connect(fd, (const struct sockaddr *)at, sizeof *at) != 0)
        fail("cannot connect over loopback");
    else if (socket_tune(fd) == 0 && pin(o->client_core) == 0)
        rc = client_measure(fd, o, took_ns);
    if (rc == 0)
        result_print(o, took_ns);
    if (fd >= 0)
        close(fd);
    free(took_ns);
    return rc == 0 ? 0 : 1;
}

static int usage(const char *why)
{
    if (why != NULL)
        fprintf(stderr, "socket_pair: %s\n", why);
    fprintf(stderr,
            "usage: socket_pair --spin|--block|--epoll [--read] [--size BYTES] [--rounds N]\n"
            "                   [--warmup N] [--pin CLIENT,SERVER] [--json]\n"
            "Exchanges header+payload+flush and an answer of 32 bytes (with --read: a request\n"
            "of 32 bytes and header+payload) over loopback TCP and prints the time it takes.\n");
    return 2;
}

static bool number_parse(const char *text, uint32_t low, uint32_t high, uint32_t *out)
{
    char *end = NULL;
    errno = 0;
    unsigned long v = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || v < low || v > high)
        return false;
    *out = (uint32_t)v;
    return true;
}

static bool cores_parse(const char *text, struct options *o)
{
    char end;
    return sscanf(text, "%d,%d%c", &o->client_core, &o->server_core, &end) == 2 &&
           o->client_core >= 0 && o->client_core < CPU_SETSIZE && o->server_core >= 0 &&
           o->server_core < CPU_SETSIZE;
}

static int options_parse(int argc, char **argv, struct options *o)
{
    static const struct option known[] = {{"epoll", no_argument, NULL, 'e'},
                                          {"spin", no_argument, NULL, 's'},
                                          {"block", no_argument, NULL, 'b'},
                                          {"read", no_argument, NULL, 'r'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"size", required_argument, NULL, 'n'},
                                          {"rounds", required_argument, NULL, 'c'},
                                          {"warmup", required_argument, NULL, 'w'},
                                          {"pin", required_argument, NULL, 'p'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    bool mode = false, good = true;
    for (int c; good && (c = getopt_long(argc, argv, "h", known, NULL)) != -1;) {
        switch (c) {
        case 's':
        case 'b':
        case 'e':
            o->spin = c == 's';
            o->epoll = c == 'e';
            mode = true;
            break;
        case 'r':
            o->read = true;
            break;
        case 'j':
            o->json = true;
            break;
        case 'n':
            good = number_parse(optarg, 0, MAX_PAYLOAD_BYTES, &o->payload_bytes);
            break;
        case 'c':
            good = number_parse(optarg, 1, MAX_ROUNDS, &o->rounds);
            break;
        case 'w':
            good = number_parse(optarg, 0, MAX_ROUNDS, &o->warmup);
            break;
        case 'p':
            good = cores_parse(optarg, o);
            break;
        default:
            return usage(NULL);
        }
    }
    if (!good)
        return usage("a value is not a number in range");
    return mode && optind == argc ? 0 : usage("say --spin, --block or --epoll");
}

int main(int argc, char **argv)
{
    struct options o = {.payload_bytes = 4096,
                        .rounds = 20000,
                        .warmup = 2000,
                        .client_core = -1,
                        .server_core = -1};
    int rc = options_parse(argc, argv, &o);
    if (rc != 0)
        return rc;
    struct sockaddr_in at;
    int listener = listener_open(&at);
    if (listener < 0)
        return 1;
    pid_t parent = getpid();
    pid_t child = fork();
    if (child < 0)
        return fail("fork") < 0;
    if (child == 0) {
        // The server must not outlive a client that was killed.
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(getppid() == parent ? server_run(listener, &o) : 1);
    }
    close(listener);
    rc = client_run(&at, &o);
    int status = 0;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        rc = 1;
    return rc;
}
