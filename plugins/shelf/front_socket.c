// SPDX-License-Identifier: Apache-2.0
//
// Taking the socket's path: one process at a time, whatever a dead one left behind.
#include "plugins/shelf/front_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuse(struct carrick_error *error, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int refuse(struct carrick_error *error, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    error->status = status;
    return status;
}

static int refuse_errno(struct carrick_error *error, const char *what, const char *path)
{
    int cause = errno;
    error->sys_errno = cause;
    return refuse(error, CARRICK_ERR_SYSTEM, "%s %s: %s", what, path, strerror(cause));
}

static int make_directory(const char *path, struct carrick_error *error)
{
    char dir[sizeof(((struct front *)0)->path)];
    snprintf(dir, sizeof(dir), "%s", path);
    char *slash = strrchr(dir, '/');
    if (!slash || slash == dir)
        return CARRICK_OK;
    *slash = 0;
    // One level: a path that is wrong from the start is not to be built.
    if (mkdir(dir, 0755) && errno != EEXIST)
        return refuse_errno(error, "cannot make the directory of the block socket", dir);
    return CARRICK_OK;
}

// The lock decides who has the path, not the socket: of two that start at once, one could take the other's fresh
// socket for a stale one. The lock file stays, else two could hold locks on two files of that name.
static int take_lock(struct front *front, struct carrick_error *error)
{
    char path[sizeof(front->path) + 8];
    snprintf(path, sizeof(path), "%s.lock", front->path);
    front->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (front->lock < 0)
        return refuse_errno(error, "cannot open the lock file", path);
    if (!flock(front->lock, LOCK_EX | LOCK_NB))
        return CARRICK_OK;
    if (errno != EWOULDBLOCK)
        return refuse_errno(error, "cannot lock", path);
    return refuse(error, CARRICK_ERR_EXISTS,
                  "another process serves shelves at %s: stop that one, or give this one another "
                  "socket (%%n in the path stands for the node's name)",
                  front->path);
}

static int remove_stale(const struct sockaddr_un *address, struct carrick_error *error)
{
    struct stat st;
    if (lstat(address->sun_path, &st))
        return errno == ENOENT ? CARRICK_OK
                               : refuse_errno(error, "cannot examine", address->sun_path);
    if (!S_ISSOCK(st.st_mode))
        return refuse(error, CARRICK_ERR_EXISTS,
                      "%s, where the block socket is to be, is something else: move it away, or "
                      "name another place in \"socket\"",
                      address->sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return refuse_errno(error, "cannot make a socket for", address->sun_path);
    int result = connect(fd, (const struct sockaddr *)address, sizeof(*address));
    int cause = errno;
    close(fd);
    if (result && cause == ECONNREFUSED) {
        if (unlink(address->sun_path) && errno != ENOENT)
            return refuse_errno(error, "cannot remove the stale socket", address->sun_path);
        return CARRICK_OK;
    }
    return refuse(error, CARRICK_ERR_EXISTS,
                  "some process that holds no lock listens on %s: find it with `ss -xlp`, or name "
                  "another place in \"socket\"",
                  address->sun_path);
}

static int set_access(const char *path, const char *group, struct carrick_error *error)
{
    if (group) {
        struct group entry;
        struct group *found = NULL;
        char room[16384];
        int cause = getgrnam_r(group, &entry, room, sizeof(room), &found);
        if (!found)
            return refuse(error, CARRICK_ERR_CONFIG,
                          "there is no group \"%s\" on this node%s%s; make it (groupadd --system "
                          "%s) or name another",
                          group, cause ? ": " : "", cause ? strerror(cause) : "", group);
        if (chown(path, (uid_t)-1, found->gr_gid))
            return refuse_errno(error, "cannot give the block socket to its group", path);
    }
    if (chmod(path, group ? 0660 : 0600))
        return refuse_errno(error, "cannot set the mode of", path);
    return CARRICK_OK;
}

// Until listen nobody can connect, so the access is right before anyone has it.
static int bind_and_listen(struct front *front, const struct sockaddr_un *address,
                           const char *group, struct carrick_error *error)
{
    front->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (front->fd < 0)
        return refuse_errno(error, "cannot make a socket for", front->path);
    if (bind(front->fd, (const struct sockaddr *)address, sizeof(*address)))
        return refuse_errno(error, "cannot bind", front->path);
    int status = set_access(front->path, group, error);
    if (!status && listen(front->fd, SOMAXCONN))
        status = refuse_errno(error, "cannot listen on", front->path);
    if (status)
        unlink(front->path);
    return status;
}

int front_socket_open(struct front *front, const char *path, const char *group,
                      struct carrick_error *error)
{
    front->fd = front->lock = -1;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return refuse(error, CARRICK_ERR_CONFIG,
                      "the path of the socket has %zu bytes, the system takes %zu", strlen(path),
                      sizeof(address.sun_path) - 1);
    strcpy(address.sun_path, path);
    strcpy(front->path, path);
    int status = make_directory(path, error);
    if (!status)
        status = take_lock(front, error);
    if (!status)
        status = remove_stale(&address, error);
    if (!status)
        status = bind_and_listen(front, &address, group, error);
    if (status) {
        if (front->fd >= 0)
            close(front->fd);
        if (front->lock >= 0)
            close(front->lock);
    }
    return status;
}

void front_socket_close(struct front *front)
{
    unlink(front->path);
    close(front->fd);
    close(front->lock);
}
