// SPDX-License-Identifier: Apache-2.0
//
// Making a connection, and its end.
#include "lib/block_internal.h"

#include <carrick/error.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_MS_DEFAULT 5000u
#define QUEUE_FULL_MS 10

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int refuse(struct carrick_error *error, int status, int sys_errno, const char *what,
                  const char *path)
{
    return carrick_error_set(error, status, sys_errno, "", "%s %s%s%s", what, path,
                             sys_errno ? ": " : "", sys_errno ? strerror(sys_errno) : "");
}

static const char *hint(int cause)
{
    switch (cause) {
    case ENOENT:
    case ECONNREFUSED:
        return "no daemon serves shelves at";
    case EACCES:
        return "this user may not use the shelves at";
    default:
        return "cannot connect to";
    }
}

static int socket_connect(int fd, const char *path, int64_t until, struct carrick_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return refuse(error, CARRICK_ERR_INVALID, ENAMETOOLONG, "cannot connect to", path);
    strcpy(address.sun_path, path);
    while (connect(fd, (const struct sockaddr *)&address, sizeof(address))) {
        // EAGAIN: the queue of those who wait to be taken in is full, and nothing tells when it is not.
        if (errno != EAGAIN && errno != EINTR)
            return refuse(error, CARRICK_ERR_SYSTEM, errno, hint(errno), path);
        if (now_ms() >= until)
            return refuse(error, CARRICK_ERR_TIMEOUT, 0, "too many wait at", path);
        poll(NULL, 0, QUEUE_FULL_MS);
    }
    return CARRICK_OK;
}

static int say_hello(int fd, const char *path, const char *shelf, struct carrick_error *error)
{
    struct ring_hello hello = {.magic = RING_MAGIC, .version = RING_VERSION};
    if (strlen(shelf) >= sizeof(hello.shelf))
        return refuse(error, CARRICK_ERR_NOT_FOUND, 0, "no shelf has so long a name:", shelf);
    strcpy(hello.shelf, shelf);
    snprintf(hello.program, sizeof(hello.program), "%s", program_invocation_short_name);
    // Into an empty buffer: all of it or none. Whoever takes no more connections says so without listening.
    ssize_t sent = send(fd, &hello, sizeof(hello), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent != (ssize_t)sizeof(hello) && !(sent < 0 && errno == EPIPE))
        return refuse(error, CARRICK_ERR_SYSTEM, sent < 0 ? errno : EPIPE, "cannot speak to", path);
    return CARRICK_OK;
}

// The first descriptor of the message goes to *memory, any other is closed.
static void descriptors_take(struct msghdr *message, int *memory)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (*memory < 0)
                *memory = fd;
            else
                close(fd);
        }
    }
}

static int hear_welcome(int fd, const char *path, int64_t until, struct ring_welcome *welcome,
                        int *memory, struct carrick_error *error)
{
    char control[CMSG_SPACE(4 * sizeof(int))];
    size_t have = 0;
    while (have < sizeof(*welcome)) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        int64_t left = until - now_ms();
        if (left <= 0 || poll(&wait, 1, (int)left) == 0)
            return refuse(error, CARRICK_ERR_TIMEOUT, 0, "no answer in time from", path);
        struct iovec iov = {(char *)welcome + have, sizeof(*welcome) - have};
        struct msghdr message = {.msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = control,
                                 .msg_controllen = sizeof(control)};
        ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (got <= 0)
            return refuse(error, CARRICK_ERR_SYSTEM, got < 0 ? errno : ECONNRESET,
                          "the connection ended before it began at", path);
        descriptors_take(&message, memory);
        have += (size_t)got;
    }
    return CARRICK_OK;
}

static int welcome_check(const struct ring_welcome *w, const char *path,
                         struct carrick_error *error)
{
    if (w->magic != RING_MAGIC)
        return refuse(error, CARRICK_ERR_PROTOCOL, 0, "no daemon of Carrick answers at", path);
    if (w->status) {
        error->status = (int32_t)w->status;
        snprintf(error->text, sizeof(error->text), "%.*s", (int)sizeof(w->text) - 1, w->text);
        // What is no refusal is not to be taken for success by the caller.
        return carrick_status_scope((int)w->status) == CARRICK_SCOPE_NOTHING ? CARRICK_ERR_PROTOCOL
                                                                             : (int)w->status;
    }
    if (w->version != RING_VERSION)
        return refuse(error, CARRICK_ERR_VERSION, 0, "another version of the protocol at", path);
    if (!ring_shape_is_valid(w->slots, w->slot_bytes))
        return refuse(error, CARRICK_ERR_PROTOCOL, 0, "an answer without sense from", path);
    return CARRICK_OK;
}

static int memory_map(struct carrick_block *b, int memory, const char *path,
                      struct carrick_error *error)
{
    struct stat st;
    int seals = memory < 0 ? -1 : fcntl(memory, F_GET_SEALS);
    b->ring_bytes = ring_bytes(b->ring.slots, b->ring.slot_bytes);
    // Memory that may shrink would be a SIGBUS to come.
    if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(memory, &st) ||
        (uint64_t)st.st_size != b->ring_bytes)
        return refuse(error, CARRICK_ERR_PROTOCOL, 0, "the memory is not as it should be, from",
                      path);
    void *at = mmap(NULL, b->ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (at == MAP_FAILED)
        return refuse(error, CARRICK_ERR_NO_MEMORY, errno, "cannot map the memory of", path);
    b->ring.memory = at;
    return CARRICK_OK;
}

static int handshake(struct carrick_block *b, const char *path, const char *shelf, int64_t until,
                     struct carrick_error *error)
{
    struct ring_welcome welcome = {0};
    int memory = -1;
    int status = socket_connect(b->fd, path, until, error);
    if (!status)
        status = say_hello(b->fd, path, shelf, error);
    if (!status)
        status = hear_welcome(b->fd, path, until, &welcome, &memory, error);
    if (!status)
        status = welcome_check(&welcome, path, error);
    if (!status) {
        b->bytes = welcome.bytes;
        b->read_only = welcome.read_only != 0;
        b->ring.slots = welcome.slots;
        b->ring.slot_bytes = welcome.slot_bytes;
        status = memory_map(b, memory, path, error);
    }
    if (memory >= 0)
        close(memory);
    return status;
}

static void block_free(struct carrick_block *b)
{
    if (b->ring.memory)
        munmap(b->ring.memory, b->ring_bytes);
    if (b->fd >= 0)
        close(b->fd);
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->room);
    pthread_cond_destroy(&b->watcher_wake);
    free(b);
}

static int open_block(const char *path, const char *shelf, uint32_t timeout_ms, bool is_async,
                      struct carrick_block **out, struct carrick_error *error)
{
    int64_t until = now_ms() + (timeout_ms ? timeout_ms : TIMEOUT_MS_DEFAULT);
    struct carrick_error unasked = {.struct_size = sizeof(unasked)};
    if (!error)
        error = &unasked;
    struct carrick_block *b = calloc(1, sizeof(*b));
    if (!b)
        return refuse(error, CARRICK_ERR_NO_MEMORY, ENOMEM, "cannot connect to", path);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->room, NULL);
    pthread_cond_init(&b->watcher_wake, NULL);
    b->is_async = is_async;
    b->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int status = b->fd < 0 ? refuse(error, CARRICK_ERR_SYSTEM, errno, "no socket for", path)
                           : handshake(b, path, shelf, until, error);
    if (!status) {
        // The lowest first: slots that are seldom needed stay without memory.
        for (uint32_t i = b->ring.slots; i > 0; i--)
            b->free[b->free_count++] = i - 1;
        int failed = is_async ? 0 : watcher_start(b);
        if (failed)
            status = refuse(error, CARRICK_ERR_NO_MEMORY, failed, "no thread for", path);
    }
    if (status) {
        block_free(b);
        return status;
    }
    *out = b;
    return CARRICK_OK;
}

int carrick_block_connect(const char *socket_path, const char *shelf, uint32_t timeout_ms,
                          struct carrick_block **block, struct carrick_error *error)
{
    return open_block(socket_path, shelf, timeout_ms, false, block, error);
}

int carrick_block_connect_async(const char *socket_path, const char *shelf, uint32_t timeout_ms,
                                struct carrick_block **block, struct carrick_error *error)
{
    return open_block(socket_path, shelf, timeout_ms, true, block, error);
}

void carrick_block_close(struct carrick_block *block)
{
    if (!block)
        return;
    if (block->has_watcher)
        watcher_stop(block);
    block_free(block);
}

void carrick_block_get_info(const struct carrick_block *block, struct carrick_block_info *info)
{
    struct carrick_block_info full = {
        .struct_size = info->struct_size, .bytes = block->bytes, .read_only = block->read_only};
    memcpy(info, &full, info->struct_size < sizeof(full) ? info->struct_size : sizeof(full));
}

void carrick_block_get_shape(const struct carrick_block *block, struct carrick_block_shape *shape)
{
    struct carrick_block_shape full = {.struct_size = shape->struct_size,
                                       .slots = block->ring.slots,
                                       .slot_bytes = block->ring.slot_bytes};
    memcpy(shape, &full, shape->struct_size < sizeof(full) ? shape->struct_size : sizeof(full));
}

bool carrick_block_is_over(const struct carrick_block *block)
{
    return block->over;
}
