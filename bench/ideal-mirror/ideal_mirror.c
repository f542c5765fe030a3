// SPDX-License-Identifier: Apache-2.0
//
// The least that a mirrored block store can do: the yardstick that writes through NBD are held to.
//
//     ideal_mirror SOCKET BYTES [CORE,CORE]
//
// Two processes, an event loop each, one TCP connection between them. The first takes requests from the shared ring
// that nbdkit's plugin uses (lib/ring.h), copies each write into its log with a CRC32C and sends the record; the
// second takes it into its own log, checks it, and answers with the highest sequence that it holds; then the write is
// answered. Logs are plain memory. There is no authentication, no ownership, no recovery, nothing is written to a
// disk, nothing can be read back, and a log is simply overwritten when it is full.
#include "lib/ring.h"

#include <carrick/block.h>

#include <errno.h>
#include <fcntl.h>
#include <isa-l/crc.h>
#include <limits.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define SLOTS 64u
#define SLOT_BYTES (256u << 10)
#define LOG_BYTES (64u << 20)
#define USERS_MAX 16
#define PENDING_MAX (USERS_MAX * SLOTS)

struct record {
    uint64_t sequence;
    uint64_t offset;
    uint32_t length;
    uint32_t crc; // of the data
};

#define RECORD_BYTES_MAX (sizeof(struct record) + SLOT_BYTES)

static void die(const char *what)
{
    perror(what);
    exit(1);
}

// What does not fit before the end goes to the beginning; the room behind the end takes the one that crosses it.
static unsigned char *log_make(void)
{
    size_t bytes = LOG_BYTES + 2 * RECORD_BYTES_MAX;
    void *log = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (log == MAP_FAILED)
        die("mmap");
    return log;
}

static size_t record_next(size_t at, uint32_t length)
{
    at += sizeof(struct record) + length;
    return at >= LOG_BYTES ? 0 : at;
}

static void pin(const char *cores, int which)
{
    int core[2];
    cpu_set_t set;
    if (!cores || sscanf(cores, "%d,%d", &core[0], &core[1]) != 2)
        return;
    CPU_ZERO(&set);
    CPU_SET((size_t)core[which], &set);
    sched_setaffinity(0, sizeof(set), &set);
}

static void watch(int loop, int fd, uint32_t events, int how, uint64_t number)
{
    struct epoll_event event = {.events = events, .data.u64 = number};
    if (epoll_ctl(loop, how, fd, &event))
        die("epoll_ctl");
}

// ---- the second process

struct shadow {
    unsigned char *log;
    size_t at, fill; // next record, end of what has come
    int fd;
    uint64_t held;
};

static void shadow_parse(struct shadow *s)
{
    struct record r;
    while (s->fill - s->at >= sizeof(r)) {
        memcpy(&r, s->log + s->at, sizeof(r));
        if (r.length > SLOT_BYTES)
            exit(3);
        if (s->fill - s->at < sizeof(r) + r.length)
            return;
        if (crc32_iscsi(s->log + s->at + sizeof(r), (int)r.length, ~0u) != r.crc)
            exit(4);
        s->held = r.sequence;
        size_t next = record_next(s->at, r.length), end = s->at + sizeof(r) + r.length;
        if (next == 0) {
            memmove(s->log, s->log + end, s->fill - end);
            s->fill -= end;
        }
        s->at = next;
    }
}

static void shadow_run(int fd)
{
    struct shadow s = {.log = log_make(), .fd = fd};
    int loop = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event;
    watch(loop, fd, EPOLLIN, EPOLL_CTL_ADD, 0);
    for (;;) {
        if (epoll_wait(loop, &event, 1, -1) < 1)
            continue;
        size_t room = LOG_BYTES + 2 * RECORD_BYTES_MAX - s.fill;
        ssize_t got = recv(fd, s.log + s.fill, room < (1u << 20) ? room : 1u << 20, MSG_DONTWAIT);
        if (got == 0)
            exit(0);
        if (got < 0)
            continue;
        uint64_t before = s.held;
        s.fill += (size_t)got;
        shadow_parse(&s);
        if (s.held != before && send(fd, &s.held, sizeof(s.held), MSG_NOSIGNAL) < 0)
            exit(0);
    }
}

// ---- the first process

struct user {
    int fd; // -1: free
    bool greeted, answered;
    struct ring ring;
    uint32_t head, tail;
    uint32_t generation;
};

struct pending {
    uint32_t user, generation, slot, tag;
};

struct owner {
    int loop, listener, mirror;
    uint64_t bytes;
    unsigned char *log;
    size_t at, sent_at,
        wrap_at; // next record; next byte to be sent; where the log ended before `at` began anew, or 0
    uint64_t sequence, acknowledged;
    unsigned char ack[sizeof(uint64_t)];
    size_t ack_bytes;
    bool waits_for_room;
    struct user user[USERS_MAX];
    struct pending pending[PENDING_MAX];
};

enum { NUMBER_LISTENER = 100, NUMBER_MIRROR = 101 };

static void user_answer(struct user *u, uint32_t slot, uint32_t tag, uint32_t error)
{
    struct ring_answer a = {.slot = slot, .tag = tag, .error = error};
    ring_put_answer(&u->ring, &u->tail, &a);
    u->answered = true;
}

static void users_wake(struct owner *o)
{
    for (int i = 0; i < USERS_MAX; i++) {
        struct user *u = &o->user[i];
        if (u->fd < 0 || !u->answered)
            continue;
        u->answered = false;
        uint32_t how = ring_must_wake(&u->ring, RING_USER_SLEEPS);
        if (how == RING_SLEEPS_ON_WORD)
            syscall(SYS_futex, ring_word(&u->ring, RING_USER_SLEEPS), FUTEX_WAKE, INT_MAX, NULL,
                    NULL, 0);
        else if (how == RING_SLEEPS_ON_SOCKET)
            send(u->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
}

static void owner_append(struct owner *o, uint32_t number, const struct ring_request *r)
{
    struct user *u = &o->user[number];
    struct record record = {.offset = r->offset, .length = (uint32_t)r->length};
    unsigned char *to = o->log + o->at;
    memcpy(to + sizeof(record), ring_data(&u->ring, r->slot), r->length);
    record.crc = crc32_iscsi(to + sizeof(record), (int)r->length, ~0u);
    record.sequence = ++o->sequence;
    memcpy(to, &record, sizeof(record));
    o->pending[o->sequence % PENDING_MAX] =
        (struct pending){number, u->generation, r->slot, r->tag};
    size_t end = o->at + sizeof(record) + r->length;
    o->at = record_next(o->at, record.length);
    if (o->at == 0)
        o->wrap_at = end;
}

static void owner_send(struct owner *o)
{
    while (o->sent_at != o->at || o->wrap_at) {
        size_t end = o->wrap_at ? o->wrap_at : o->at;
        ssize_t sent =
            send(o->mirror, o->log + o->sent_at, end - o->sent_at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            die("send");
        if (sent < 0) {
            if (!o->waits_for_room)
                watch(o->loop, o->mirror, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD, NUMBER_MIRROR);
            o->waits_for_room = true;
            return;
        }
        o->sent_at += (size_t)sent;
        if (o->wrap_at && o->sent_at == o->wrap_at)
            o->sent_at = o->wrap_at = 0;
    }
    if (o->waits_for_room)
        watch(o->loop, o->mirror, EPOLLIN, EPOLL_CTL_MOD, NUMBER_MIRROR);
    o->waits_for_room = false;
}

static void user_end(struct user *u)
{
    if (u->ring.memory)
        munmap(u->ring.memory, ring_bytes(SLOTS, SLOT_BYTES));
    u->ring.memory = NULL;
    close(u->fd);
    u->fd = -1;
    u->generation++;
}

static void user_greet(struct owner *o, struct user *u)
{
    size_t bytes = ring_bytes(SLOTS, SLOT_BYTES);
    int memory = memfd_create("ideal-mirror", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory < 0 || ftruncate(memory, (off_t)bytes) ||
        fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW))
        die("memfd");
    u->ring = (struct ring){mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0), SLOTS,
                            SLOT_BYTES};
    u->head = u->tail = 0;
    struct ring_welcome welcome = {.magic = RING_MAGIC,
                                   .version = RING_VERSION,
                                   .bytes = o->bytes,
                                   .slots = SLOTS,
                                   .slot_bytes = SLOT_BYTES};
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {&welcome, sizeof(welcome)};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &memory, sizeof(int));
    ring_fall_asleep(&u->ring, RING_SERVER_SLEEPS, RING_SLEEPS_ON_SOCKET, RING_REQUEST_TAIL, 0);
    if (sendmsg(u->fd, &message, MSG_NOSIGNAL) != (ssize_t)sizeof(welcome))
        die("sendmsg");
    close(memory);
    u->greeted = true;
}

static void user_ready(struct owner *o, uint32_t number)
{
    struct user *u = &o->user[number];
    struct ring_hello hello;
    ssize_t got = recv(u->fd, &hello, sizeof(hello), MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN)) {
        user_end(u);
        return;
    }
    if (!u->greeted) {
        user_greet(o, u);
        return;
    }
    struct ring_request r;
    do {
        int taken;
        while ((taken = ring_take_request(&u->ring, &u->head, &r)) > 0) {
            if (r.operation == CARRICK_BLOCK_WRITE && r.length <= SLOT_BYTES)
                owner_append(o, number, &r);
            else
                user_answer(u, r.slot, r.tag, 0);
        }
        if (taken < 0)
            exit(5);
    } while (ring_fall_asleep(&u->ring, RING_SERVER_SLEEPS, RING_SLEEPS_ON_SOCKET,
                              RING_REQUEST_TAIL, u->head));
    owner_send(o);
}

static void mirror_ready(struct owner *o)
{
    ssize_t got =
        recv(o->mirror, o->ack + o->ack_bytes, sizeof(o->ack) - o->ack_bytes, MSG_DONTWAIT);
    if (got == 0)
        exit(0);
    if (got > 0)
        o->ack_bytes += (size_t)got;
    if (o->ack_bytes == sizeof(o->ack)) {
        uint64_t held;
        memcpy(&held, o->ack, sizeof(held));
        o->ack_bytes = 0;
        while (o->acknowledged < held) {
            const struct pending *p = &o->pending[++o->acknowledged % PENDING_MAX];
            struct user *u = &o->user[p->user];
            if (u->fd >= 0 && u->generation == p->generation)
                user_answer(u, p->slot, p->tag, 0);
        }
    }
    if (o->waits_for_room)
        owner_send(o);
}

static void user_accept(struct owner *o)
{
    // cppcheck-suppress nullPointer ; accept4(2) takes none where nobody asks who it is
    int fd = accept4(o->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    for (uint32_t i = 0; i < USERS_MAX; i++) {
        if (o->user[i].fd < 0) {
            o->user[i].fd = fd;
            o->user[i].greeted = false;
            watch(o->loop, fd, EPOLLIN, EPOLL_CTL_ADD, i);
            return;
        }
    }
    close(fd);
}

static void owner_run(struct owner *o)
{
    struct epoll_event events[32];
    for (;;) {
        int count = epoll_wait(o->loop, events, 32, -1);
        for (int i = 0; i < count; i++) {
            uint64_t number = events[i].data.u64;
            if (number == NUMBER_LISTENER)
                user_accept(o);
            else if (number == NUMBER_MIRROR)
                mirror_ready(o);
            else if (o->user[number].fd >= 0)
                user_ready(o, (uint32_t)number);
        }
        users_wake(o);
    }
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) || listen(fd, 16))
        die(path);
    return fd;
}

// A TCP connection over loopback: ends[0] and ends[1].
static void tcp_pair(int ends[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (const struct sockaddr *)&address, length) ||
        listen(listener, 1) || getsockname(listener, (struct sockaddr *)&address, &length))
        die("listen");
    ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(ends[0], (const struct sockaddr *)&address, length))
        die("connect");
    // cppcheck-suppress nullPointer ; accept4(2) takes none where nobody asks who it is
    ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    for (int i = 0; i < 2; i++)
        setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    close(listener);
}

int main(int argc, char **argv)
{
    static struct owner o;
    int ends[2];
    if (argc < 3) {
        fprintf(stderr, "usage: ideal_mirror SOCKET BYTES [CORE,CORE]\n");
        return 2;
    }
    tcp_pair(ends);
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[0]);
        pin(argv[3], 1);
        shadow_run(ends[1]);
    }
    close(ends[1]);
    pin(argv[3], 0);
    o.mirror = ends[0];
    o.bytes = strtoull(argv[2], NULL, 10);
    o.log = log_make();
    o.loop = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < USERS_MAX; i++)
        o.user[i].fd = -1;
    o.listener = listen_at(argv[1]);
    watch(o.loop, o.listener, EPOLLIN, EPOLL_CTL_ADD, NUMBER_LISTENER);
    watch(o.loop, o.mirror, EPOLLIN, EPOLL_CTL_ADD, NUMBER_MIRROR);
    puts("ready");
    fflush(stdout);
    owner_run(&o);
}
