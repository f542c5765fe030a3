// SPDX-License-Identifier: Apache-2.0
//
// The sections of a link that this transport reads: where each node is, and how sockets are set.
#ifndef TCP_CONFIG_H
#define TCP_CONFIG_H

#include <carrick/types.h>

enum {
    TCP_HOST_BYTES = 254,     // longest host name and its NUL
    TCP_INTERFACE_BYTES = 16, // IFNAMSIZ
};

struct tcp_section {
    char address[TCP_HOST_BYTES];
    char interface[TCP_INTERFACE_BYTES]; // empty: the one that bears the address
    uint16_t port;
};

struct tcp_settings {
    uint32_t user_timeout_ms;
    uint32_t keepalive_s;
    uint32_t send_buffer_bytes; // 0: the kernel's own tuning
    uint32_t receive_buffer_bytes;
    uint32_t listen_backlog;
};

// pointer is "/local" or "/remote".
int tcp_section_parse(const char *text, const char *pointer, struct tcp_section *section,
                      struct carrick_error *error);
int tcp_settings_parse(const char *text, struct tcp_settings *settings,
                       struct carrick_error *error);
int tcp_config_check(const char *local, const char *remote, const char *config,
                     struct carrick_error *error);

#endif
