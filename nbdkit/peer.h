// SPDX-License-Identifier: Apache-2.0
//
// The socket of the NBD client whose connection this is. nbdkit before 1.34 lets a plugin answer errors, but not end a
// connection, and no version lets it end one on which nothing is asked. A client that only gets errors hands them on
// to its file system; one whose connection ends connects again, and finds the node that serves.
#ifndef NBDKIT_CARRICK_PEER_H
#define NBDKIT_CARRICK_PEER_H

#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

struct peer {
    LIST_ENTRY(peer) entry;
    int fd;      // a copy of the connection's descriptor; -1: not found
    int number;  // nbdkit's own descriptor
    int sink;    // after the end: the far end of what nbdkit writes to instead; else -1
    ino_t inode; // which socket that is
};

// To be called from the plugin's open. Returns whether the socket was found.
int peer_open(struct peer *peer);
// Ends the connection. Any thread, any number of times.
void peer_disconnect(struct peer *peer);
void peer_close(struct peer *peer);

#endif
