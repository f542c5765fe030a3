// SPDX-License-Identifier: Apache-2.0
//
// Taking the control socket's path: exactly one daemon at a time, whatever an earlier one left behind.
#include "daemon/control.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
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
    char dir[128];
    snprintf(dir, sizeof(dir), "%s", path);
    char *slash = strrchr(dir, '/');
    if (!slash || slash == dir)
        return CARRICK_OK;
    *slash = 0;
    // One level: a path that is wrong from the start is not to be built.
    if (mkdir(dir, 0755) && errno != EEXIST)
        return refuse_errno(error, "cannot make the control socket's directory", dir);
    return CARRICK_OK;
}

static int refuse_second(const char *path, int lock, struct carrick_error *error)
{
    char pid[24] = "";
    ssize_t got = pread(lock, pid, sizeof(pid) - 1, 0);
    pid[got > 0 ? strcspn(pid, "\n") : 0] = 0;
    return refuse(error, CARRICK_ERR_EXISTS,
                  "another carrickd%s%s serves the control socket %s: stop that one, or give this "
                  "one another node (--node) or socket (control.socket)",
                  pid[0] ? " with process id " : "", pid, path);
}

// The lock decides, not the socket: between two that start at once, one could take the other's fresh socket for a
// stale one. The file stays when the daemon ends; were it removed, two could hold a lock on two files of that name.
static int take_lock(struct control_socket *sock, struct carrick_error *error)
{
    char path[sizeof(sock->path) + 8];
    snprintf(path, sizeof(path), "%s.lock", sock->path);
    sock->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (sock->lock < 0)
        return refuse_errno(error, "cannot open the lock file", path);
    if (flock(sock->lock, LOCK_EX | LOCK_NB))
        return errno == EWOULDBLOCK ? refuse_second(sock->path, sock->lock, error)
                                    : refuse_errno(error, "cannot lock", path);
    char pid[24];
    int length = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
    if (ftruncate(sock->lock, 0) || pwrite(sock->lock, pid, (size_t)length, 0) != length)
        return refuse_errno(error, "cannot write the lock file", path);
    return CARRICK_OK;
}

// A socket that nobody answers is left over from a daemon that died.
static int remove_stale(const struct sockaddr_un *address, struct carrick_error *error)
{
    struct stat st;
    if (lstat(address->sun_path, &st))
        return errno == ENOENT ? CARRICK_OK
                               : refuse_errno(error, "cannot examine", address->sun_path);
    if (!S_ISSOCK(st.st_mode))
        return refuse(error, CARRICK_ERR_EXISTS,
                      "%s, where the control socket is to be, is something else: move it away, or "
                      "name another place in control.socket",
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
                  "another place in control.socket",
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
                          "control.group: there is no group \"%s\" on this node%s%s; make it "
                          "(groupadd --system %s) or name another",
                          group, cause ? ": " : "", cause ? strerror(cause) : "", group);
        if (chown(path, (uid_t)-1, found->gr_gid))
            return refuse_errno(error, "cannot give the control socket to its group", path);
    }
    if (chmod(path, group ? 0660 : 0600))
        return refuse_errno(error, "cannot set the mode of the control socket", path);
    return CARRICK_OK;
}

// Until listen nobody can connect, so the access is right before anyone has it.
static int bind_and_listen(struct control_socket *sock, const struct sockaddr_un *address,
                           const char *group, struct carrick_error *error)
{
    sock->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sock->fd < 0)
        return refuse_errno(error, "cannot make a socket for", sock->path);
    if (bind(sock->fd, (const struct sockaddr *)address, sizeof(*address)))
        return refuse_errno(error, "cannot bind the control socket", sock->path);
    int status = set_access(sock->path, group, error);
    if (!status && listen(sock->fd, SOMAXCONN))
        status = refuse_errno(error, "cannot listen on the control socket", sock->path);
    if (status)
        unlink(sock->path);
    return status;
}

int control_socket_open(const char *path, const char *group, struct control_socket *sock,
                        struct carrick_error *error)
{
    *sock = (struct control_socket){.fd = -1, .lock = -1};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return refuse(error, CARRICK_ERR_CONFIG,
                      "control.socket: the path has %zu bytes, the system takes %zu", strlen(path),
                      sizeof(address.sun_path) - 1);
    strcpy(address.sun_path, path);
    strcpy(sock->path, path);
    int status = make_directory(path, error);
    if (!status)
        status = take_lock(sock, error);
    if (!status)
        status = remove_stale(&address, error);
    if (!status)
        status = bind_and_listen(sock, &address, group, error);
    if (status) {
        if (sock->fd >= 0)
            close(sock->fd);
        if (sock->lock >= 0)
            close(sock->lock);
    }
    return status;
}

void control_socket_close(struct control_socket *sock)
{
    unlink(sock->path);
    close(sock->lock);
}
