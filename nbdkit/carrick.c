// SPDX-License-Identifier: Apache-2.0
//
// The nbdkit plugin: one NBD connection is one connection to a shelf of this node's daemon.
//
// When that one is over, since this node stops serving the shelf or the daemon ended, the NBD connection ends, and
// what was asked on it and not answered never is. Nothing is kept here to be sent again: the client connects anew, to
// whoever serves then, and decides what to repeat.
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <carrick/libcarrick.h>

#include "nbdkit/peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL
#define SOCKET_DEFAULT "/run/carrick/block"
#define PREFERRED_BYTES 4096u
#define REQUEST_BYTES_MAX (32u << 20)

// From the command line; constant afterwards, and never given back: a thread that was still in the plugin when nbdkit had
// unloaded it was seen at nbdkit's end, which is also why the plugin stays in memory (-z nodelete).
static char *socket_path;
static char *shelf;
static unsigned timeout_s = 5;

struct connection {
    struct carrick_block *block;
    struct carrick_block_info info;
    struct peer peer;
};

// nbdkit has it from 1.34 on; the plugin may have been built with an older one.
extern void nbdkit_disconnect(int force) __attribute__((weak));

static int carrick_config(const char *key, const char *value)
{
    if (strcmp(key, "socket") == 0) {
        free(socket_path);
        socket_path = nbdkit_absolute_path(value);
        return socket_path ? 0 : -1;
    }
    if (strcmp(key, "shelf") == 0) {
        free(shelf);
        shelf = strdup(value);
        return shelf ? 0 : -1;
    }
    if (strcmp(key, "timeout") == 0) {
        if (nbdkit_parse_unsigned("timeout", value, &timeout_s) == -1)
            return -1;
        if (timeout_s >= 1 && timeout_s <= 3600)
            return 0;
        nbdkit_error("timeout=%s: 1 to 3600 seconds are taken", value);
        return -1;
    }
    nbdkit_error("unknown parameter \"%s\": socket, shelf and timeout are known", key);
    return -1;
}

static int carrick_config_complete(void)
{
    if (!shelf || !*shelf) {
        nbdkit_error(
            "shelf=NAME is missing: which shelf of the daemon's configuration is to be served");
        return -1;
    }
    if (!socket_path)
        socket_path = strdup(SOCKET_DEFAULT);
    return socket_path ? 0 : -1;
}

static void connection_over(void *arg)
{
    struct connection *c = arg;
    nbdkit_debug("shelf \"%s\": this node serves it no more; closing the connection", shelf);
    peer_disconnect(&c->peer);
}

static void *carrick_open(int readonly)
{
    struct carrick_error error = {.struct_size = sizeof(error)};
    (void)readonly;
    struct connection *c = calloc(1, sizeof(*c));
    if (!c) {
        nbdkit_error("calloc: %m");
        return NULL;
    }
    c->info.struct_size = sizeof(c->info);
    if (carrick_block_connect(socket_path, shelf, timeout_s * 1000, &c->block, &error)) {
        nbdkit_error("shelf \"%s\": %s", shelf, error.text);
        free(c);
        return NULL;
    }
    carrick_block_get_info(c->block, &c->info);
    if (!peer_open(&c->peer))
        nbdkit_debug("the client's socket was not found: it will get errors when the shelf moves");
    carrick_block_on_over(c->block, connection_over, c);
    return c;
}

static void carrick_close(void *handle)
{
    struct connection *c = handle;
    carrick_block_close(c->block);
    peer_close(&c->peer);
    free(c);
}

// The answer to nbdkit. Before an error that means "not here any more" is told, the connection is ended: a client
// that saw it would take it for a broken disk.
static int result(struct connection *c, int error, const char *what)
{
    if (!error)
        return 0;
    if (error == ESHUTDOWN) {
        peer_disconnect(&c->peer);
        if (nbdkit_disconnect)
            nbdkit_disconnect(1);
        nbdkit_debug("%s: the shelf is not served here any more", what);
    } else {
        nbdkit_error("shelf \"%s\": %s: %s", shelf, what, strerror(error));
    }
    nbdkit_set_error(error);
    return -1;
}

static uint32_t fua(uint32_t flags)
{
    return flags & NBDKIT_FLAG_FUA ? CARRICK_BLOCK_FUA : 0;
}

static int64_t carrick_get_size(void *handle)
{
    const struct connection *c = handle;
    return (int64_t)c->info.bytes;
}

static int carrick_block_size(void *handle, uint32_t *minimum, uint32_t *preferred,
                              uint32_t *maximum)
{
    (void)handle;
    *minimum = 1;
    *preferred = PREFERRED_BYTES;
    *maximum = REQUEST_BYTES_MAX;
    return 0;
}

static int carrick_can_write(void *handle)
{
    const struct connection *c = handle;
    return !c->info.read_only;
}

static int carrick_can_fua(void *handle)
{
    (void)handle;
    return NBDKIT_FUA_NATIVE;
}

static int carrick_yes(void *handle)
{
    (void)handle;
    return 1;
}

static int carrick_can_cache(void *handle)
{
    (void)handle;
    return NBDKIT_CACHE_NONE;
}

static int carrick_pread(void *handle, void *buffer, uint32_t count, uint64_t offset,
                         uint32_t flags)
{
    struct connection *c = handle;
    (void)flags;
    return result(c, carrick_block_pread(c->block, buffer, count, offset), "read");
}

static int carrick_pwrite(void *handle, const void *buffer, uint32_t count, uint64_t offset,
                          uint32_t flags)
{
    struct connection *c = handle;
    return result(c, carrick_block_pwrite(c->block, buffer, count, offset, fua(flags)), "write");
}

static int carrick_flush(void *handle, uint32_t flags)
{
    struct connection *c = handle;
    (void)flags;
    return result(c, carrick_block_flush(c->block), "flush");
}

static int carrick_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    struct connection *c = handle;
    return result(c, carrick_block_trim(c->block, count, offset, fua(flags)), "trim");
}

// Zeroing is a record without data: always fast.
static int carrick_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    struct connection *c = handle;
    return result(c, carrick_block_zero(c->block, count, offset, fua(flags)), "zero");
}

static struct nbdkit_plugin plugin = {
    .name = "carrick",
    .version = CARRICK_VERSION,
    .longname = "shelves of Carrick",
    .description = "A block store that is mirrored between two servers.",
    .config = carrick_config,
    .config_complete = carrick_config_complete,
    .config_help =
        "shelf=<NAME>     (required) The shelf to serve.\n"
        "socket=<PATH>    Where the daemon serves shelves (default: " SOCKET_DEFAULT ").\n"
        "timeout=<SECS>   How long to wait for the daemon (default: 5).",
    .magic_config_key = "shelf",
    .open = carrick_open,
    .close = carrick_close,
    .get_size = carrick_get_size,
    .block_size = carrick_block_size,
    .can_write = carrick_can_write,
    .can_flush = carrick_yes,
    .can_trim = carrick_yes,
    .can_zero = carrick_yes,
    .can_fast_zero = carrick_yes,
    .can_fua = carrick_can_fua,
    .can_multi_conn = carrick_yes,
    .can_cache = carrick_can_cache,
    .pread = carrick_pread,
    .pwrite = carrick_pwrite,
    .flush = carrick_flush,
    .trim = carrick_trim,
    .zero = carrick_zero,
};

// nbdkit's macro defines this and declares it nowhere, which clang minds.
struct nbdkit_plugin *plugin_init(void);

NBDKIT_REGISTER_PLUGIN(plugin)
