// SPDX-License-Identifier: Apache-2.0
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "nbdkit/peer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct address {
    struct sockaddr_storage at;
    socklen_t length;
};

// Clients over a unix socket have no address of their own: which sockets are found already tells them apart.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, peer) found = LIST_HEAD_INITIALIZER(found);

static int is_found(ino_t inode)
{
    const struct peer *p;
    LIST_FOREACH(p, &found, entry)
    {
        if (p->inode == inode)
            return 1;
    }
    return 0;
}

static int same_process(int fd)
{
    struct ucred who;
    socklen_t length = sizeof(who);
    int64_t pid = nbdkit_peer_pid();
    return pid <= 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length) || who.pid == pid;
}

static int is_connection_of(int fd, const struct address *wanted)
{
    struct address here = {.length = sizeof(here.at)};
    int number = 0;
    socklen_t length = sizeof(number);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &number, &length) || number != SOCK_STREAM)
        return 0;
    if (getpeername(fd, (struct sockaddr *)&here.at, &here.length) ||
        here.length != wanted->length || memcmp(&here.at, &wanted->at, here.length) != 0)
        return 0;
    return here.at.ss_family != AF_UNIX || same_process(fd);
}

static int take(struct peer *peer, int fd, const struct address *wanted)
{
    struct stat st;
    if (!is_connection_of(fd, wanted) || fstat(fd, &st) || is_found(st.st_ino))
        return 0;
    // A copy: the number may be another file's by the time it is needed.
    peer->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (peer->fd < 0)
        return 0;
    peer->inode = st.st_ino;
    peer->number = fd;
    LIST_INSERT_HEAD(&found, peer, entry);
    return 1;
}

static int search(struct peer *peer, const struct address *wanted)
{
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return 0;
    int result = 0;
    const struct dirent *entry;
    while (!result && (entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            result = take(peer, atoi(entry->d_name), wanted);
    closedir(dir);
    return result;
}

int peer_open(struct peer *peer)
{
    struct address wanted;
    peer->fd = peer->sink = -1;
    wanted.length = sizeof(wanted.at);
    memset(&wanted.at, 0, sizeof(wanted.at));
    if (nbdkit_peer_name((struct sockaddr *)&wanted.at, &wanted.length) == -1)
        return 0;
    pthread_mutex_lock(&lock);
    int result = search(peer, &wanted);
    pthread_mutex_unlock(&lock);
    return result;
}

// Gives nbdkit a socket that takes what is written and reads as ended, in place of its own. When replies of several
// requests fail at once, nbdkit (1.32) uses the connection that the first failure has closed, and aborts: so the
// errors that follow must not fail to be sent, and must not reach the client either.
static void put_aside(struct peer *peer)
{
    int ends[2];
    struct stat st;
    if (peer->sink >= 0 || fstat(peer->number, &st) || st.st_ino != peer->inode ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        return;
    shutdown(ends[1], SHUT_WR);
    if (dup3(ends[0], peer->number, O_CLOEXEC) >= 0)
        peer->sink = ends[1];
    else
        close(ends[1]);
    close(ends[0]);
}

void peer_disconnect(struct peer *peer)
{
    if (peer->fd < 0)
        return;
    pthread_mutex_lock(&lock);
    put_aside(peer);
    pthread_mutex_unlock(&lock);
    shutdown(peer->fd, SHUT_RDWR);
}

void peer_close(struct peer *peer)
{
    if (peer->fd < 0)
        return;
    pthread_mutex_lock(&lock);
    LIST_REMOVE(peer, entry);
    pthread_mutex_unlock(&lock);
    close(peer->fd);
    if (peer->sink >= 0)
        close(peer->sink);
    peer->fd = peer->sink = -1;
}
