// SPDX-License-Identifier: Apache-2.0
#include "host/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- messages

// What goes over the socket before the body.
struct wire_head {
    uint32_t type, client;
    uint64_t a, b, c, d, length;
    uint32_t apart; // the body is in the last descriptor
    uint32_t reserved;
};

static int body_put_apart(const struct channel_message *message)
{
    int fd = memfd_create("carrick-message", MFD_CLOEXEC);
    size_t done = 0;

    while (fd >= 0 && done < message->length) {
        ssize_t wrote = write(fd, message->body + done, message->length - done);

        if (wrote <= 0) {
            close(fd);
            return -1;
        }
        done += (size_t)wrote;
    }
    return fd;
}

static int send_with(int socket, struct wire_head *head, const struct channel_message *message,
                     int apart)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * (CHANNEL_FDS_MAX + 1))];
        struct cmsghdr align;
    } control = {0};
    struct iovec parts[2] = {{head, sizeof(*head)},
                             {message->body, apart < 0 ? message->length : 0}};
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};
    uint32_t count = message->fd_count + (apart >= 0 ? 1 : 0);
    ssize_t sent;

    head->apart = apart >= 0;
    if (count > 0) {
        struct cmsghdr *cmsg = &control.align;

        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(cmsg), message->fds, sizeof(int) * message->fd_count);
        if (apart >= 0)
            memcpy(CMSG_DATA(cmsg) + sizeof(int) * message->fd_count, &apart, sizeof(int));
    }
    do
        sent = sendmsg(socket, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    // Too many descriptors on their way are as a full socket: they are being taken out at the other end.
    return sent >= 0 ? 0 : errno == ETOOMANYREFS || errno == ENOBUFS ? EAGAIN : errno;
}

int channel_send(int socket, const struct channel_message *message)
{
    struct wire_head head = {
        .type = message->type,
        .client = message->client,
        .a = message->a,
        .b = message->b,
        .c = message->c,
        .d = message->d,
        .length = message->length,
    };
    int apart = -1, status;

    if (message->length > CHANNEL_BODY_MAX)
        return EMSGSIZE;
    if (message->length > CHANNEL_INLINE_MAX) {
        apart = body_put_apart(message);
        if (apart < 0)
            return ENOMEM;
    }
    status = send_with(socket, &head, message, apart);
    if (apart >= 0)
        close(apart);
    return status;
}

// false: there were more descriptors than any message has, or what is no descriptor.
static bool fds_take(struct msghdr *msg, int *fds, uint32_t *count)
{
    bool good = (msg->msg_flags & (MSG_CTRUNC | MSG_TRUNC)) == 0;

    *count = 0;
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg != NULL; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        size_t bytes = cmsg->cmsg_len - CMSG_LEN(0);

        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < bytes / sizeof(int); i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(int));
            if (*count < CHANNEL_FDS_MAX + 1)
                fds[(*count)++] = fd;
            else
                close(fd);
        }
    }
    return good;
}

// The file may change while it is read, or be no file: then the body is not whole, which is what is found out.
static bool body_get_apart(struct channel_message *message, int fd)
{
    struct stat st;
    size_t done = 0;

    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        return false;
    while (done < message->length) {
        ssize_t got = pread(fd, message->body + done, message->length - done, (off_t)done);

        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

static int message_fill(struct channel_message *message, const struct wire_head *head,
                        const char *body, size_t got, int *fds, uint32_t fd_count)
{
    bool apart = head->apart != 0, good;

    message->type = head->type;
    message->client = head->client;
    message->a = head->a;
    message->b = head->b;
    message->c = head->c;
    message->d = head->d;
    message->length = head->length;
    message->fd_count = fd_count - (apart && fd_count > 0 ? 1 : 0);
    for (uint32_t i = 0; i < message->fd_count && i < CHANNEL_FDS_MAX; i++)
        message->fds[i] = fds[i];
    good = fd_count <= CHANNEL_FDS_MAX + (apart ? 1u : 0u) && head->length <= CHANNEL_BODY_MAX &&
           (apart ? fd_count > 0 : head->length == got);
    message->body = good ? calloc(1, head->length + 1) : NULL;
    if (message->body != NULL && !apart)
        memcpy(message->body, body, got);
    else if (message->body != NULL)
        good = body_get_apart(message, fds[fd_count - 1]);
    if (fd_count > 0 && (apart || fd_count > CHANNEL_FDS_MAX))
        close(fds[fd_count - 1]);
    return message->body != NULL && good ? 0 : EPROTO;
}

int channel_receive(int socket, struct channel_message *message)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * (CHANNEL_FDS_MAX + 1))];
        struct cmsghdr align;
    } control;
    struct wire_head head;
    char body[CHANNEL_INLINE_MAX];
    struct iovec parts[2] = {{&head, sizeof(head)}, {body, sizeof(body)}};
    struct msghdr msg = {.msg_iov = parts,
                         .msg_iovlen = 2,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    int fds[CHANNEL_FDS_MAX + 1], status;
    uint32_t fd_count;
    ssize_t got;
    bool good;

    *message = (struct channel_message){0};
    do
        got = recvmsg(socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got <= 0)
        return got < 0 && errno == EAGAIN ? EAGAIN : EPIPE;
    good = fds_take(&msg, fds, &fd_count) && (size_t)got >= sizeof(head);
    if (!good) {
        for (uint32_t i = 0; i < fd_count; i++)
            close(fds[i]);
        return EPROTO;
    }
    status = message_fill(message, &head, body, (size_t)got - sizeof(head), fds, fd_count);
    if (status != 0)
        channel_message_end(message);
    return status;
}

void channel_message_end(struct channel_message *message)
{
    for (uint32_t i = 0; i < message->fd_count && i < CHANNEL_FDS_MAX; i++)
        if (message->fds[i] >= 0)
            close(message->fds[i]);
    message->fd_count = 0;
    free(message->body);
    message->body = NULL;
}

int channel_take_fd(struct channel_message *message, uint32_t index)
{
    int fd = -1;

    if (index < message->fd_count) {
        fd = message->fds[index];
        message->fds[index] = -1;
    }
    return fd;
}

const char *channel_string(const struct channel_message *message, size_t *at)
{
    const char *text = message->body + *at;

    if (*at >= message->length + 1)
        return NULL;
    *at += strlen(text) + 1; // a NUL stands behind the body
    return text;
}

// ---- memory

int channel_memory_make(const char *name, size_t bytes)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return -1;
    if (ftruncate(fd, (off_t)bytes) || fallocate(fd, 0, 0, (off_t)bytes) ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
        close(fd);
        return -1;
    }
    return fd;
}

void *channel_memory_map(int fd, size_t bytes)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    void *address;

    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstat(fd, &st) || (size_t)st.st_size < bytes)
        return NULL;
    address = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (address == MAP_FAILED)
        return NULL;
    return address; // cppcheck-suppress memleak // the caller's from here on
}

void channel_wake(uint32_t *sleeps, int event_fd)
{
    const uint64_t one = 1;

    if (__atomic_load_n(sleeps, __ATOMIC_SEQ_CST) != 0 &&
        __atomic_exchange_n(sleeps, 0, __ATOMIC_SEQ_CST) != 0 &&
        write(event_fd, &one, sizeof(one)) < 0)
        return; // the counter is full: it is being woken
}

// ---- rings

void channel_rings(struct channel_shared *shared, struct channel_ring *ops,
                   struct channel_ring *events)
{
    *ops = (struct channel_ring){
        .words = &shared->op_words, .data = shared->ops, .bytes = sizeof(shared->ops)};
    *events = (struct channel_ring){
        .words = &shared->event_words, .data = shared->events, .bytes = sizeof(shared->events)};
}

static void copy_in(const struct channel_ring *ring, uint32_t at, const void *from, uint32_t bytes)
{
    uint32_t place = at & (ring->bytes - 1);
    uint32_t first = bytes < ring->bytes - place ? bytes : ring->bytes - place;

    if (bytes == 0)
        return;
    memcpy(ring->data + place, from, first);
    memcpy(ring->data, (const uint8_t *)from + first, bytes - first);
}

static void copy_out(const struct channel_ring *ring, uint32_t at, void *to, uint32_t bytes)
{
    uint32_t place = at & (ring->bytes - 1);
    uint32_t first = bytes < ring->bytes - place ? bytes : ring->bytes - place;

    memcpy(to, ring->data + place, first);
    memcpy((uint8_t *)to + first, ring->data, bytes - first);
}

static uint32_t record_bytes(uint32_t length)
{
    return 8 + (length + 7) / 8 * 8;
}

int channel_put(struct channel_ring *ring, uint32_t type, const void *head, uint32_t head_bytes,
                const void *data, uint32_t data_bytes)
{
    uint32_t entry[2] = {type, head_bytes + data_bytes};
    uint32_t used = ring->at - __atomic_load_n(&ring->words->head, __ATOMIC_ACQUIRE);

    if (used > ring->bytes)
        return -1;
    if (ring->bytes - used < record_bytes(entry[1])) {
        // The flag first, then another look: room that is made meanwhile is either seen or told.
        __atomic_store_n(&ring->words->waits, 1, __ATOMIC_SEQ_CST);
        used = ring->at - __atomic_load_n(&ring->words->head, __ATOMIC_SEQ_CST);
        if (used > ring->bytes || ring->bytes - used < record_bytes(entry[1]))
            return used > ring->bytes ? -1 : 0;
    }
    copy_in(ring, ring->at, entry, sizeof(entry));
    copy_in(ring, ring->at + 8, head, head_bytes);
    copy_in(ring, ring->at + 8 + head_bytes, data, data_bytes);
    ring->at += record_bytes(entry[1]);
    __atomic_store_n(&ring->words->tail, ring->at, __ATOMIC_SEQ_CST);
    return 1;
}

bool channel_has_more(const struct channel_ring *ring)
{
    return __atomic_load_n(&ring->words->tail, __ATOMIC_SEQ_CST) != ring->at;
}

int channel_peek(const struct channel_ring *ring, struct channel_record *record)
{
    uint32_t available = __atomic_load_n(&ring->words->tail, __ATOMIC_SEQ_CST) - ring->at;
    uint32_t entry[2];

    if (available == 0)
        return 0;
    if (available < sizeof(entry) || available > ring->bytes)
        return -1;
    copy_out(ring, ring->at, entry, sizeof(entry));
    if (entry[1] > CHANNEL_RECORD_MAX || record_bytes(entry[1]) > available)
        return -1;
    record->type = entry[0];
    record->length = entry[1];
    copy_out(ring, ring->at + 8, record->data, entry[1]);
    return 1;
}

void channel_advance(struct channel_ring *ring, const struct channel_record *record)
{
    ring->at += record_bytes(record->length);
    __atomic_store_n(&ring->words->head, ring->at, __ATOMIC_SEQ_CST);
}
