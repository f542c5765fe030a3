// SPDX-License-Identifier: Apache-2.0
//
// A transport as of version 1.0, for hardware that no node has; see old_client.c. All that a daemon can do with it is
// to load it, to check its sections, and to ask for a device again and again.
#include <carrick/transport.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct carrick_transport {
    const struct carrick_host *host;
};

static int create(const struct carrick_host *host, const char *config,
                  struct carrick_transport **made, struct carrick_error *error)
{
    (void)config;
    (void)error;
    *made = calloc(1, sizeof(**made));
    if (!*made)
        return CARRICK_ERR_NO_MEMORY;
    (*made)->host = host;
    return CARRICK_OK;
}

static void destroy(struct carrick_transport *transport)
{
    free(transport);
}

static int config_check(const char *local, const char *remote, const char *config,
                        struct carrick_error *error)
{
    (void)remote;
    (void)config;
    if (!strstr(local, "refuse"))
        return CARRICK_OK;
    snprintf(error->pointer, sizeof(error->pointer), "/local/refuse");
    snprintf(error->text, sizeof(error->text), "refused as asked");
    return CARRICK_ERR_CONFIG;
}

static int device_open(struct carrick_transport *transport,
                       const struct carrick_device_options *options, struct carrick_device **device,
                       struct carrick_error *error)
{
    (void)transport;
    (void)device;
    snprintf(error->text, sizeof(error->text), "link %s: no node has this hardware any more",
             options->name);
    return CARRICK_ERR_NO_DEVICE;
}

// Without a device none of the following is ever called.

static void device_close(struct carrick_device *device)
{
    (void)device;
}

static void device_caps(struct carrick_device *device, struct carrick_device_caps *caps)
{
    (void)device;
    (void)caps;
}

static uint32_t device_poll(struct carrick_device *device, struct carrick_event *events,
                            uint32_t max)
{
    (void)device;
    (void)events;
    (void)max;
    return 0;
}

static int device_fd(struct carrick_device *device)
{
    (void)device;
    return -1;
}

static int device_arm(struct carrick_device *device)
{
    (void)device;
    return 0;
}

static int domain_create(struct carrick_device *device, struct carrick_domain **domain)
{
    (void)device;
    (void)domain;
    return CARRICK_ERR_NOT_SUPPORTED;
}

static void domain_destroy(struct carrick_domain *domain)
{
    (void)domain;
}

static int region_register(struct carrick_domain *domain,
                           const struct carrick_region_options *options,
                           struct carrick_registration **registration)
{
    (void)domain;
    (void)options;
    (void)registration;
    return CARRICK_ERR_NOT_SUPPORTED;
}

static int region_deregister(struct carrick_registration *registration)
{
    (void)registration;
    return CARRICK_ERR_NOT_SUPPORTED;
}

static int start_listening(struct carrick_device *device, struct carrick_error *error)
{
    (void)device;
    (void)error;
    return CARRICK_ERR_NOT_SUPPORTED;
}

static void stop_listening(struct carrick_device *device)
{
    (void)device;
}

static int endpoint_connect(struct carrick_device *device,
                            const struct carrick_connect_options *options,
                            struct carrick_endpoint **endpoint, struct carrick_error *error)
{
    (void)device;
    (void)options;
    (void)endpoint;
    (void)error;
    return CARRICK_ERR_NOT_SUPPORTED;
}

static int endpoint_accept(struct carrick_endpoint *endpoint,
                           const struct carrick_connect_options *options)
{
    (void)endpoint;
    (void)options;
    return CARRICK_ERR_NOT_SUPPORTED;
}

static void endpoint_reject(struct carrick_endpoint *endpoint, const void *data,
                            uint32_t data_bytes)
{
    (void)endpoint;
    (void)data;
    (void)data_bytes;
}

static void endpoint_close(struct carrick_endpoint *endpoint, bool orderly)
{
    (void)endpoint;
    (void)orderly;
}

static int post(struct carrick_endpoint *endpoint, const struct carrick_work *work, uint32_t count)
{
    (void)endpoint;
    (void)work;
    (void)count;
    return CARRICK_ERR_NOT_SUPPORTED;
}

static const struct carrick_transport_ops ops = {
    .create = create,
    .destroy = destroy,
    .config_check = config_check,
    .device_open = device_open,
    .device_close = device_close,
    .device_caps = device_caps,
    .device_poll = device_poll,
    .device_fd = device_fd,
    .device_arm = device_arm,
    .domain_create = domain_create,
    .domain_destroy = domain_destroy,
    .region_register = region_register,
    .region_deregister = region_deregister,
    .listen = start_listening,
    .unlisten = stop_listening,
    .endpoint_connect = endpoint_connect,
    .endpoint_accept = endpoint_accept,
    .endpoint_reject = endpoint_reject,
    .endpoint_close = endpoint_close,
    .post = post,
};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_TRANSPORT, "old_transport", "1.0", "Apache-2.0",
                        "a transport as of version 1.0", ops);
