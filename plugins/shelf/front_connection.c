// SPDX-License-Identifier: Apache-2.0
//
// One connection: the hello, the export, and then requests out of the ring into the shelf and answers back.
//
// Data of a WRITE is not copied here: the shelf's log copies it out of the slot, once, while the user may still change
// it. That can spoil the user's own data and nothing else, as long as the log takes its checksum of its copy.
#include "plugins/shelf/front_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REQUESTS_PER_TURN 256u
#define RETRY_NS 1000000ull // when there is no room and no answer of ours to wait for

static const char *printable(char *name)
{
    name[RING_NAME_BYTES - 1] = 0;
    for (char *at = name; *at; at++)
        if (*at < ' ' || *at > '~' || *at == '"' || *at == '\\')
            *at = '?';
    return name;
}

void front_connection_close(struct front_connection *c)
{
    struct front *front = c->front;
    const struct carrick_host *host = front->host;
    // First: the shelf touches no slot of ours after this.
    if (c->export)
        front->ops->export_close(c->export);
    TAILQ_REMOVE(&front->connections, c, entry);
    front->connection_count--;
    if (c->watch)
        host->watch_destroy(c->watch);
    if (c->timer)
        host->timer_destroy(c->timer);
    // Not close alone: the end is to be seen even if a process that was started meanwhile has a copy.
    shutdown(c->fd, SHUT_RDWR);
    close(c->fd);
    if (c->ring.memory)
        munmap(c->ring.memory, c->ring_bytes);
    free(c);
}

static void close_because(struct front_connection *c, int level, const char *why)
{
    // A hello may have come in part.
    printable(c->hello.shelf);
    printable(c->hello.program);
    c->front->host->log(c->front->host, level,
                        "block connection of %s (process %d) to shelf \"%s\" closed: %s",
                        c->hello.program, (int)c->pid, c->hello.shelf, why);
    front_connection_close(c);
}

// ---- answers

// Never blocks, whatever the flag says: the byte is sent without waiting, and a wake-up of nobody is nothing.
static void wake_user(struct front_connection *c)
{
    switch (ring_must_wake(&c->ring, RING_USER_SLEEPS)) {
    case RING_SLEEPS_ON_WORD:
        syscall(SYS_futex, ring_word(&c->ring, RING_USER_SLEEPS), FUTEX_WAKE, INT_MAX, NULL, NULL,
                0);
        break;
    case RING_SLEEPS_ON_SOCKET:
        send(c->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
    default:
        break;
    }
}

static void answer(struct front_connection *c, uint32_t slot, int error)
{
    struct ring_answer a = {.slot = slot, .tag = c->tag[slot], .error = (uint32_t)error};
    c->busy[slot] = false;
    c->open--;
    ring_put_answer(&c->ring, &c->answer_tail, &a);
}

static void answer_now(struct front_connection *c, uint32_t slot, int error)
{
    answer(c, slot, error);
    wake_user(c);
}

static void export_answered(void *arg, uint64_t cookie, int status, int sys_errno)
{
    struct front_connection *c = arg;
    uint32_t slot = (uint32_t)cookie;
    answer(c, slot, status == CARRICK_OK ? 0 : sys_errno > 0 ? sys_errno : EIO);
}

static void export_answers_end(void *arg)
{
    struct front_connection *c = arg;

    wake_user(c);
    // An answer makes room at the shelf; not from here, since this is the shelf's callback.
    if (c->holds)
        c->front->host->timer_start(c->timer, 0);
}

static void export_closed(void *arg, const char *why)
{
    close_because(arg, CARRICK_LOG_NOTICE, why);
}

static const struct carrick_block_user export_user = {
    .struct_size = sizeof(struct carrick_block_user),
    .answered = export_answered,
    .closed = export_closed,
    .answers_end = export_answers_end,
};

// ---- requests

static bool is_data(const struct ring_request *r)
{
    return r->operation == CARRICK_BLOCK_READ || r->operation == CARRICK_BLOCK_WRITE;
}

// What no user of a sound library can have put there; NULL: fine.
static const char *request_broken(const struct front_connection *c, const struct ring_request *r)
{
    if (c->busy[r->slot])
        return "a slot was used again before its answer";
    if (is_data(r) && r->length > c->ring.slot_bytes)
        return "a request is longer than its slot";
    return NULL;
}

// Bounds of the shelf itself are checked by the shelf.
static bool request_is_sound(const struct ring_request *r)
{
    if (r->operation < CARRICK_BLOCK_READ || r->operation > CARRICK_BLOCK_ZERO)
        return false;
    if (r->flags & ~CARRICK_BLOCK_FUA)
        return false;
    return r->operation == CARRICK_BLOCK_FLUSH || r->length != 0;
}

enum handed { HANDED, NO_ROOM, EXPORT_OVER };

static enum handed hand_over(struct front_connection *c, const struct ring_request *r)
{
    struct carrick_block_request request = {
        .struct_size = sizeof(request),
        .operation = r->operation,
        .flags = r->flags,
        .offset = r->operation == CARRICK_BLOCK_FLUSH ? 0 : r->offset,
        .length = r->operation == CARRICK_BLOCK_FLUSH ? 0 : r->length,
        .data = is_data(r) ? ring_data(&c->ring, r->slot) : NULL,
        .cookie = r->slot,
    };
    int status = c->front->ops->submit(c->export, &request);
    switch (status) {
    case CARRICK_OK:
        return HANDED;
    case CARRICK_ERR_AGAIN:
        return NO_ROOM;
    case CARRICK_ERR_STATE:
        return EXPORT_OVER;
    case CARRICK_ERR_BOUNDS:
        // As NBD has it: no space beyond the end for what writes, an invalid argument for a read.
        answer_now(c, r->slot, r->operation == CARRICK_BLOCK_READ ? EINVAL : ENOSPC);
        return HANDED;
    case CARRICK_ERR_DENIED:
        answer_now(c, r->slot, EPERM);
        return HANDED;
    case CARRICK_ERR_NO_MEMORY:
        answer_now(c, r->slot, ENOMEM);
        return HANDED;
    default:
        answer_now(c, r->slot, status == CARRICK_ERR_INVALID ? EINVAL : EIO);
        return HANDED;
    }
}

// 1: go on; 0: wait for room; -1: the connection is gone.
static int take_in(struct front_connection *c, const struct ring_request *r)
{
    if (!request_is_sound(r)) {
        answer_now(c, r->slot, EINVAL);
        return 1;
    }
    switch (hand_over(c, r)) {
    case HANDED:
        return 1;
    case NO_ROOM:
        c->held = *r;
        c->holds = true;
        // Without an answer of our own to come, time alone tells.
        if (c->open == 1)
            c->front->host->timer_start(c->timer, RETRY_NS);
        return 0;
    default:
        close_because(c, CARRICK_LOG_NOTICE, "the shelf is not served here any more");
        return -1;
    }
}

// 1: one was taken in; 0: none is there, or there is no room; -1: the connection is gone.
static int take_next(struct front_connection *c)
{
    struct ring_request r;
    if (c->holds) {
        r = c->held;
        c->holds = false;
        return take_in(c, &r);
    }
    int taken = ring_take_request(&c->ring, &c->request_head, &r);
    const char *broken = taken < 0   ? "its ring is broken"
                         : taken > 0 ? request_broken(c, &r)
                                     : NULL;
    if (broken) {
        close_because(c, CARRICK_LOG_WARNING, broken);
        return -1;
    }
    if (taken == 0)
        return 0;
    c->busy[r.slot] = true;
    c->tag[r.slot] = r.tag;
    c->open++;
    c->requests++;
    return take_in(c, &r);
}

// false: the connection is gone.
static bool take_all(struct front_connection *c)
{
    for (uint32_t i = 0; i < REQUESTS_PER_TURN; i++) {
        int went = take_next(c);
        if (went < 0)
            return false;
        if (went > 0)
            continue;
        // While a request is held, the flag stays down and the user rings no more: its answers bring us back.
        if (c->holds || !ring_fall_asleep(&c->ring, RING_SERVER_SLEEPS, RING_SLEEPS_ON_SOCKET,
                                          RING_REQUEST_TAIL, c->request_head))
            return true;
    }
    // More than a turn's share: the others come first. No bell will ring for what is there already.
    c->front->host->timer_start(c->timer, 0);
    return true;
}

static void pump(struct front_connection *c)
{
    const struct carrick_block_ops *ops = c->front->ops;

    if (take_all(c) && ops->struct_size > offsetof(struct carrick_block_ops, submit_end) &&
        ops->submit_end != NULL)
        ops->submit_end(c->export);
}

// ---- the beginning

static int send_welcome(int fd, const struct ring_welcome *welcome, int memory)
{
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {(void *)(uintptr_t)welcome, sizeof(*welcome)};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (memory >= 0) {
        message.msg_control = control;
        message.msg_controllen = sizeof(control);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &memory, sizeof(int));
    }
    ssize_t sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent == (ssize_t)sizeof(*welcome) ? 0 : -1;
}

void front_refuse(int fd, int status, const char *text)
{
    struct ring_welcome welcome = {
        .magic = RING_MAGIC, .version = RING_VERSION, .status = (uint32_t)status};
    snprintf(welcome.text, sizeof(welcome.text), "%s", text);
    send_welcome(fd, &welcome, -1);
}

// The descriptor of memory that nobody can resize any more, mapped; or -1.
static int make_memory(struct front_connection *c)
{
    c->ring.slots = c->front->requests_max;
    c->ring.slot_bytes = FRONT_SLOT_BYTES;
    c->ring_bytes = ring_bytes(c->ring.slots, c->ring.slot_bytes);
    int fd = memfd_create("carrick-block", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -1;
    void *memory = MAP_FAILED;
    // Sealed before anyone else has it: memory that shrinks under us would be a SIGBUS.
    if (!ftruncate(fd, (off_t)c->ring_bytes) &&
        !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
        memory = mmap(NULL, c->ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        close(fd);
        return -1;
    }
    c->ring.memory = memory;
    return fd;
}

static int serve(struct front_connection *c, const struct carrick_block_info *info)
{
    int memory = make_memory(c);
    if (memory < 0) {
        char text[128];
        snprintf(text, sizeof(text), "cannot make %zu bytes of shared memory: %s", c->ring_bytes,
                 strerror(errno));
        front_refuse(c->fd, CARRICK_ERR_NO_MEMORY, text);
        return -1;
    }
    struct ring_welcome welcome = {
        .magic = RING_MAGIC,
        .version = RING_VERSION,
        .read_only = info->read_only,
        .bytes = info->bytes,
        .slots = c->ring.slots,
        .slot_bytes = c->ring.slot_bytes,
    };
    // Before the user can put anything in: its first request rings.
    ring_fall_asleep(&c->ring, RING_SERVER_SLEEPS, RING_SLEEPS_ON_SOCKET, RING_REQUEST_TAIL, 0);
    int sent = send_welcome(c->fd, &welcome, memory);
    close(memory);
    return sent;
}

static void begin(struct front_connection *c)
{
    struct front *front = c->front;
    printable(c->hello.shelf);
    printable(c->hello.program);
    front->host->timer_stop(c->timer);
    if (c->hello.magic != RING_MAGIC || c->hello.version != RING_VERSION) {
        char text[128];
        snprintf(text, sizeof(text),
                 "this daemon speaks version %u of the local block protocol, the caller %s",
                 RING_VERSION, c->hello.magic == RING_MAGIC ? "another one" : "none");
        front_refuse(c->fd, CARRICK_ERR_VERSION, text);
        close_because(c, CARRICK_LOG_WARNING, text);
        return;
    }
    struct carrick_error error = {.struct_size = sizeof(error)};
    struct carrick_block_info info = {.struct_size = sizeof(info)};
    int status = front->ops->export_open(front->shelves, c->hello.shelf, &export_user, c,
                                         &c->export, &info, &error);
    if (status) {
        c->export = NULL;
        front_refuse(c->fd, status, error.text[0] ? error.text : "the shelf cannot be opened");
        // Debug: the caller was told, and one that waits for a takeover asks again and again.
        close_because(c, CARRICK_LOG_DEBUG, error.text[0] ? error.text : "refused by the shelf");
        return;
    }
    if (serve(c, &info)) {
        close_because(c, CARRICK_LOG_WARNING, "the handshake failed");
        return;
    }
    front->host->log(front->host, CARRICK_LOG_INFO, "%s (process %d, user %u) uses shelf \"%s\"",
                     c->hello.program, (int)c->pid, (unsigned)c->uid, c->hello.shelf);
}

// 1: something came; 0: nothing did; -1: the other end is gone.
static int receive(struct front_connection *c)
{
    char bells[256];
    void *into = bells;
    size_t most = sizeof(bells);
    bool greeted = c->hello_bytes == sizeof(c->hello);
    if (!greeted) {
        into = (char *)&c->hello + c->hello_bytes;
        most = sizeof(c->hello) - c->hello_bytes;
    }
    ssize_t got = recv(c->fd, into, most, MSG_DONTWAIT);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (got == 0)
        return -1;
    if (!greeted)
        c->hello_bytes += (size_t)got;
    return 1;
}

static void socket_ready(void *arg, uint32_t events)
{
    struct front_connection *c = arg;
    (void)events;
    int came = receive(c);
    if (came < 0) {
        close_because(c, CARRICK_LOG_INFO, "the other end is gone");
        return;
    }
    if (c->export)
        pump(c);
    else if (c->hello_bytes == sizeof(c->hello))
        begin(c);
}

static void timer_fired(void *arg)
{
    struct front_connection *c = arg;
    if (c->export)
        pump(c);
    else
        close_because(c, CARRICK_LOG_WARNING, "it did not say in time which shelf it wants");
}

void front_connection_start(struct front *front, int fd)
{
    const struct carrick_host *host = front->host;
    struct ucred caller = {.pid = -1, .uid = (uid_t)-1};
    socklen_t length = sizeof(caller);
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &caller, &length);
    struct front_connection *c = NULL;
    if (front->connection_count < front->connections_max)
        c = calloc(1, sizeof(*c));
    if (!c) {
        host->log(host, CARRICK_LOG_WARNING,
                  "block connection of process %d (user %u) refused: %u are open, the most that "
                  "are taken",
                  (int)caller.pid, (unsigned)caller.uid, front->connection_count);
        front_refuse(fd, CARRICK_ERR_LIMIT, "too many connections are open; close one");
        close(fd);
        return;
    }
    c->front = front;
    c->fd = fd;
    c->pid = caller.pid;
    c->uid = caller.uid;
    strcpy(c->hello.program, "?");
    TAILQ_INSERT_TAIL(&front->connections, c, entry);
    front->connection_count++;
    if (host->timer_create(host, timer_fired, c, &c->timer) ||
        host->watch_create(host, fd, CARRICK_WATCH_READ, socket_ready, c, &c->watch)) {
        front_connection_close(c);
        return;
    }
    host->timer_start(c->timer, FRONT_HELLO_NS);
}
