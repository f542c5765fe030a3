// SPDX-License-Identifier: Apache-2.0
#include "tcp.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

enum { KEEPALIVE_PROBES = 3 };

static void set(int fd, int level, int option, int value)
{
    // None of them is needed for right work: a kernel that lacks one does without.
    (void)setsockopt(fd, level, option, &value, sizeof value);
}

void tcp_socket_options(const struct carrick_device *device, int fd)
{
    const struct tcp_settings *s = &device->settings;

    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)s->keepalive_s);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, (int)s->keepalive_s);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)s->user_timeout_ms);
}

int tcp_socket_new(const struct carrick_device *device, int family, bool listener)
{
    const struct tcp_settings *s = &device->settings;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -1;
    if (family == AF_INET6)
        set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    // Buffers decide the window that is announced, so they are set before connect and listen.
    if (s->send_buffer_bytes != 0)
        set(fd, SOL_SOCKET, SO_SNDBUF, (int)s->send_buffer_bytes);
    if (s->receive_buffer_bytes != 0)
        set(fd, SOL_SOCKET, SO_RCVBUF, (int)s->receive_buffer_bytes);
    if (listener) {
        set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        // An address that comes back, or is still being checked for duplicates, needs no new listener.
        if (family == AF_INET)
            set(fd, IPPROTO_IP, IP_FREEBIND, 1);
        else
            set(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1);
    } else {
        // The port is chosen at connect, where the partner's address makes it unique.
        set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
        tcp_socket_options(device, fd);
    }
    return fd;
}

void tcp_socket_reset(int fd)
{
    const struct linger none = {.l_onoff = 1, .l_linger = 0};

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}
