// SPDX-License-Identifier: Apache-2.0
//
// A listening unix socket at a path: one process has it at a time, whatever a dead one left behind.
#ifndef COMMON_LOCAL_SOCKET_H
#define COMMON_LOCAL_SOCKET_H

#include <carrick/types.h>

#include <sys/un.h>

struct local_socket {
    int fd;   // listens, never blocks
    int lock; // held as long as the path is ours
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

struct local_socket_options {
    const char *path;
    const char *group; // who may connect beside this process's user; NULL: nobody
    // For messages:
    const char *what;    // "control socket"
    const char *setting; // "control.socket", which names the path
    const char *instead; // what one of two that want the path may be given another of
};

// Takes the path, with PATH.lock beside it, and listens. A directory that is missing is made, one level deep. May block for a
// moment. EXISTS: another process has the path, or it is something else.
int local_socket_open(const struct local_socket_options *options, struct local_socket *sock,
                      struct carrick_error *error);
// Removes the path; the lock file stays. fd is closed by whom it was given to.
void local_socket_close(struct local_socket *sock);

#endif
