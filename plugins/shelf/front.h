// SPDX-License-Identifier: Apache-2.0
//
// The front: a unix socket by which other processes of this node (libcarrick, and so nbdkit) use the shelves. One
// connection is one export; its requests and answers pass in shared memory (docs/protocol-local.md).
//
// All on the manager's thread; nothing blocks. What lies in the shared memory, and what comes over the socket, is
// taken to be hostile: it can cost its sender the connection, and nothing else.
#ifndef SHELF_FRONT_H
#define SHELF_FRONT_H

#include <carrick/block.h>
#include <carrick/plugin.h>

#define FRONT_CONNECTIONS_DEFAULT 32u
#define FRONT_CONNECTIONS_MAX 1024u
#define FRONT_REQUESTS_DEFAULT 64u // open requests of one connection; a power of two
#define FRONT_REQUESTS_MAX 256u

struct front;

struct front_config {
    const char *path;     // of the socket; a lock file PATH.lock is put beside it
    const char *group;    // who may connect beside the daemon's user; NULL: nobody
    uint32_t connections; // most at once, 0: the default
    uint32_t requests;    // most open ones per connection, 0: the default
};

// Begins to listen. To be called from the plugin's create (it takes locks and makes files, which may block for a
// moment). The strings need not outlive the call. On an error nothing is left behind.
int front_start(const struct carrick_host *host, const struct front_config *config,
                const struct carrick_block_ops *ops, struct carrick_shelves *shelves,
                struct front **front, struct carrick_error *error);

// Closes all exports and connections, and takes the socket away. NULL is allowed.
void front_stop(struct front *front);

// {"socket":…,"connections":[{"shelf":…,"program":…,"pid":…,"uid":…,"open":…,"requests":…}]}, cut to what fits.
void front_describe(const struct front *front, char *text, size_t size);

#endif
