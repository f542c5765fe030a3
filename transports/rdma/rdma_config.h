// SPDX-License-Identifier: Apache-2.0
//
// The sections of a link that the RDMA transports read.
#ifndef RDMA_CONFIG_H
#define RDMA_CONFIG_H

#include <carrick/types.h>

#include <sys/socket.h>

enum {
    RDMA_ADDRESS_BYTES = 64,
    RDMA_DEVICE_NAME_BYTES = 64, // IBV_SYSFS_NAME_MAX
};

struct rdma_section {
    char address[RDMA_ADDRESS_BYTES];    // of the interface that belongs to the device
    char device[RDMA_DEVICE_NAME_BYTES]; // empty: whichever bears the address
    uint16_t port;
    struct sockaddr_storage storage; // address and port
};

struct rdma_settings {
    uint32_t traffic_class; // RDMA_TRAFFIC_CLASS_DEFAULT: the system's own
};

#define RDMA_TRAFFIC_CLASS_DEFAULT UINT32_MAX

// pointer is "/local" or "/remote".
int rdma_section_parse(const char *text, const char *pointer, struct rdma_section *section,
                       struct carrick_error *error);
int rdma_settings_parse(const char *text, struct rdma_settings *settings,
                        struct carrick_error *error);
int rdma_config_check(const char *local, const char *remote, const char *config,
                      struct carrick_error *error);

#endif
