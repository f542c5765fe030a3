// SPDX-License-Identifier: Apache-2.0
//
// The connecting side: names, the kernel's connect, HELLO. The answer comes in through tcp_receive.
#include "tcp.h"

#include <carrick/error.h>

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>

enum { CONNECT_DEFAULT_MS = 5000 };

static int connect_check(const struct carrick_connect_options *options, struct carrick_error *error)
{
    if (options->data_bytes > TCP_WIRE_PRIVATE_MAX)
        return carrick_error_set(error, CARRICK_ERR_INVALID, 0, "",
                                 "private data of %u bytes; a request carries at most %d",
                                 options->data_bytes, TCP_WIRE_PRIVATE_MAX);
    if (options->remote == NULL)
        return carrick_error_set(error, CARRICK_ERR_INVALID, 0, "", "no section of the partner");
    return CARRICK_OK;
}

int tcp_endpoint_connect(struct carrick_device *device,
                         const struct carrick_connect_options *options,
                         struct carrick_endpoint **endpoint, struct carrick_error *error)
{
    uint32_t timeout_ms = options->timeout_ms != 0 ? options->timeout_ms : CONNECT_DEFAULT_MS;
    struct tcp_section remote;
    struct tcp_addresses numeric;
    struct carrick_endpoint *e;
    int status = connect_check(options, error);

    if (status == CARRICK_OK)
        status = tcp_section_parse(options->remote, "/remote", &remote, error);
    if (status != CARRICK_OK)
        return status;
    e = tcp_endpoint_new(device, TCP_RESOLVING);
    if (e == NULL)
        return carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, "", "out of memory");
    e->connecting_side = e->known = true;
    e->remote = remote;
    e->data_out_bytes = options->data_bytes;
    if (options->data_bytes != 0)
        memcpy(e->data_out, options->data, options->data_bytes);
    status = tcp_endpoint_prepare(e, options);
    if (status == CARRICK_OK && tcp_resolve_numeric(&e->remote, &numeric))
        e->remote_address = numeric.at[0];
    else if (status == CARRICK_OK)
        status = tcp_resolve_start(device, e);
    if (status != CARRICK_OK) {
        list_remove(&e->node);
        tcp_endpoint_free(e);
        return carrick_error_set(error, status, 0, "", "cannot begin to connect");
    }
    e->deadline_ns = device->host->now_ns(device->host) + timeout_ms * UINT64_C(1000000);
    tcp_device_deadline(device, e->deadline_ns);
    if (e->resolve == NULL)
        tcp_connect_start(e);
    *endpoint = e;
    return CARRICK_OK;
}

// A link-local address of the partner is meant on our interface, whatever it is called over there.
static void fix_scope(struct tcp_address *remote, const struct tcp_address *local)
{
    struct sockaddr_in6 *there = (struct sockaddr_in6 *)&remote->storage;
    const struct sockaddr_in6 *here = (const struct sockaddr_in6 *)&local->storage;

    if (there->sin6_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&there->sin6_addr))
        there->sin6_scope_id = here->sin6_scope_id;
}

static struct tcp_address without_port(const struct tcp_address *address)
{
    struct tcp_address copy = *address;

    if (copy.storage.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&copy.storage)->sin6_port = 0;
    else
        ((struct sockaddr_in *)&copy.storage)->sin_port = 0;
    return copy;
}

// Our address of the same family, NULL when there is none.
static const struct tcp_address *local_for(const struct carrick_device *d,
                                           const struct tcp_address *remote)
{
    for (uint32_t i = 0; i < d->addresses.count; i++)
        if (d->addresses.at[i].storage.ss_family == remote->storage.ss_family)
            return &d->addresses.at[i];
    return NULL;
}

void tcp_connect_resolved(struct carrick_endpoint *endpoint, const struct tcp_addresses *addresses)
{
    struct carrick_endpoint *e = endpoint;

    // Our own name may not be known yet: then the first has to do.
    if (addresses->count != 0)
        e->remote_address = addresses->at[0];
    for (uint32_t i = addresses->count; i-- > 0;)
        if (local_for(e->device, &addresses->at[i]) != NULL)
            e->remote_address = addresses->at[i];
    tcp_connect_start(e);
}

void tcp_connect_start(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;
    struct carrick_device *d = e->device;
    const struct tcp_address *own;
    struct tcp_address local;

    if (e->remote_address.length == 0 || d->address_lost) {
        tcp_endpoint_fail(e, CARRICK_ERR_UNREACHABLE);
        return;
    }
    if (d->addresses.count == 0)
        return; // tcp_device_resolved comes back to it
    own = local_for(d, &e->remote_address);
    if (own == NULL) {
        d->host->log(d->host, CARRICK_LOG_WARNING, "%s: %s and %s have no address family in common",
                     d->name, d->local.address, e->remote.address);
        tcp_endpoint_fail(e, CARRICK_ERR_UNREACHABLE);
        return;
    }
    local = without_port(own);
    fix_scope(&e->remote_address, &local);
    e->fd = tcp_socket_new(d, local.storage.ss_family, false);
    if (e->fd < 0 || bind(e->fd, (struct sockaddr *)&local.storage, local.length) != 0) {
        tcp_endpoint_fail_errno(e, errno);
        return;
    }
    e->state = TCP_CONNECTING;
    if (connect(e->fd, (struct sockaddr *)&e->remote_address.storage, e->remote_address.length) !=
            0 &&
        errno != EINPROGRESS) {
        tcp_endpoint_fail_errno(e, errno);
        return;
    }
    e->in_epoll =
        tcp_device_watch(d, EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLOUT, &e->source) == CARRICK_OK;
    if (!e->in_epoll)
        tcp_endpoint_fail(e, CARRICK_ERR_RESET);
}

void tcp_connect_finish(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint *e = endpoint;
    struct tcp_hello hello = {
        .version_min = TCP_WIRE_VERSION_MIN,
        .version_max = TCP_WIRE_VERSION_MAX,
        .receive_bytes = e->receive_bytes,
    };
    struct tcp_frame frame;
    int error = 0;
    socklen_t length = sizeof error;

    if (getsockopt(e->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0)
        error = errno;
    if (error != 0) {
        tcp_endpoint_fail_errno(e, error);
        return;
    }
    e->state = TCP_GREETING;
    tcp_stream_init(&e->stream, TCP_PHASE_REPLY, e->receive_bytes);
    tcp_endpoint_watch(e, EPOLLIN);
    tcp_wire_hello_pack(&hello, TCP_FRAME_HELLO, e->data_out_bytes, &frame);
    tcp_send_frame(e, &frame, e->data_out);
    tcp_transmit(e);
}
