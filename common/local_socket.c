// SPDX-License-Identifier: Apache-2.0
#include "common/local_socket.h"

#include <carrick/error.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct opening {
    const struct local_socket_options *options;
    struct local_socket *sock;
    struct carrick_error *error;
};

static int failed(const struct opening *o, const char *what, const char *path)
{
    int cause = errno;

    return carrick_error_set(o->error, CARRICK_ERR_SYSTEM, cause, "", "the %s: cannot %s %s: %s",
                             o->options->what, what, path, strerror(cause));
}

static int make_directory(const struct opening *o)
{
    char dir[sizeof o->sock->path];
    char *slash;

    snprintf(dir, sizeof dir, "%s", o->sock->path);
    slash = strrchr(dir, '/');
    if (slash == NULL || slash == dir)
        return CARRICK_OK;
    *slash = '\0';
    // One level: a path that is wrong from the start is not to be built.
    if (mkdir(dir, 0755) != 0 && errno != EEXIST)
        return failed(o, "make its directory", dir);
    return CARRICK_OK;
}

static int taken(const struct opening *o)
{
    char pid[24] = "";
    ssize_t got = pread(o->sock->lock, pid, sizeof pid - 1, 0);

    pid[got > 0 ? strcspn(pid, "\n") : 0] = '\0';
    return carrick_error_set(o->error, CARRICK_ERR_EXISTS, 0, "",
                             "%s%s has the %s %s: stop that one, or give this one "
                             "another %s",
                             pid[0] != '\0' ? "process " : "another process", pid, o->options->what,
                             o->sock->path, o->options->instead);
}

// The lock decides, not the socket: of two that start at once, one could take the other's fresh socket for a stale
// one. The file stays when its process ends; were it removed, two could hold a lock on two files of that name.
static int take_lock(const struct opening *o)
{
    char path[sizeof o->sock->path + 8], pid[24];
    int length = snprintf(pid, sizeof pid, "%d\n", (int)getpid());

    snprintf(path, sizeof path, "%s.lock", o->sock->path);
    o->sock->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (o->sock->lock < 0)
        return failed(o, "open the lock file", path);
    if (flock(o->sock->lock, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? taken(o) : failed(o, "lock", path);
    if (ftruncate(o->sock->lock, 0) != 0 || pwrite(o->sock->lock, pid, (size_t)length, 0) != length)
        return failed(o, "write the lock file", path);
    return CARRICK_OK;
}

// A socket that nobody answers is left over from a process that died.
static int remove_stale(const struct opening *o, const struct sockaddr_un *address)
{
    const char *path = o->sock->path;
    struct stat st;
    int fd, result, cause;

    if (lstat(path, &st) != 0)
        return errno == ENOENT ? CARRICK_OK : failed(o, "examine", path);
    if (!S_ISSOCK(st.st_mode))
        return carrick_error_set(o->error, CARRICK_ERR_EXISTS, 0, "",
                                 "%s, where the %s is to be, is something else: move it away, or "
                                 "name another place in %s",
                                 path, o->options->what, o->options->setting);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return failed(o, "make a socket for", path);
    result = connect(fd, (const struct sockaddr *)address, sizeof *address);
    cause = errno;
    close(fd);
    if (result != 0 && cause == ECONNREFUSED)
        return unlink(path) == 0 || errno == ENOENT ? CARRICK_OK
                                                    : failed(o, "remove the stale", path);
    return carrick_error_set(o->error, CARRICK_ERR_EXISTS, 0, "",
                             "some process that holds no lock listens on %s: find it with `ss "
                             "-xlp`, or name another place in %s",
                             path, o->options->setting);
}

static int set_access(const struct opening *o)
{
    const char *group = o->options->group, *path = o->sock->path;
    struct group entry, *found = NULL;
    char room[16384];
    int cause;

    if (group != NULL) {
        cause = getgrnam_r(group, &entry, room, sizeof room, &found);
        if (found == NULL)
            return carrick_error_set(o->error, CARRICK_ERR_CONFIG, 0, "",
                                     "the %s: there is no group \"%s\" on this node%s%s; make it "
                                     "(groupadd --system %s) or name another",
                                     o->options->what, group, cause != 0 ? ": " : "",
                                     cause != 0 ? strerror(cause) : "", group);
        if (chown(path, (uid_t)-1, found->gr_gid) != 0)
            return failed(o, "give its group", path);
    }
    return chmod(path, group != NULL ? 0660 : 0600) == 0 ? CARRICK_OK
                                                         : failed(o, "set the mode of", path);
}

// Until listen nobody can connect, so the access is right before anyone has it.
static int bind_and_listen(const struct opening *o, const struct sockaddr_un *address)
{
    struct local_socket *sock = o->sock;
    int status;

    sock->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sock->fd < 0)
        return failed(o, "make a socket for", sock->path);
    if (bind(sock->fd, (const struct sockaddr *)address, sizeof *address) != 0)
        return failed(o, "bind", sock->path);
    status = set_access(o);
    if (status == CARRICK_OK && listen(sock->fd, SOMAXCONN) != 0)
        status = failed(o, "listen on", sock->path);
    if (status != CARRICK_OK)
        unlink(sock->path);
    return status;
}

int local_socket_open(const struct local_socket_options *options, struct local_socket *sock,
                      struct carrick_error *error)
{
    const struct opening o = {.options = options, .sock = sock, .error = error};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(options->path);
    int status;

    *sock = (struct local_socket){.fd = -1, .lock = -1};
    if (length >= sizeof sock->path)
        return carrick_error_set(error, CARRICK_ERR_CONFIG, 0, "",
                                 "%s: the path has %zu bytes, the system takes %zu",
                                 options->setting, length, sizeof sock->path - 1);
    memcpy(address.sun_path, options->path, length + 1);
    memcpy(sock->path, options->path, length + 1);
    status = make_directory(&o);
    if (status == CARRICK_OK)
        status = take_lock(&o);
    if (status == CARRICK_OK)
        status = remove_stale(&o, &address);
    if (status == CARRICK_OK)
        status = bind_and_listen(&o, &address);
    if (status == CARRICK_OK)
        return CARRICK_OK;
    if (sock->fd >= 0)
        close(sock->fd);
    if (sock->lock >= 0)
        close(sock->lock);
    return status;
}

void local_socket_close(struct local_socket *sock)
{
    unlink(sock->path);
    close(sock->lock);
}
