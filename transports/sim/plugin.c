// SPDX-License-Identifier: Apache-2.0
//
// The sim plugin: its table, and the sections of a link that it understands.
#include "transports/sim/sim_internal.h"

#include <carrick/error.h>

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int section_wrong(struct carrick_error *error, const char *pointer, const char *key,
                         const char *text)
{
    char full[128];

    snprintf(full, sizeof(full), "%s%s", pointer, key);
    return carrick_error_config(error, full, "%s", text);
}

static int section_take(struct json_object *section, const char *pointer, int *fabric, char *device,
                        struct carrick_error *error)
{
    struct json_object *value;

    json_object_object_foreach(section, key, ignored)
    {
        (void)ignored;
        if (strcmp(key, "fabric") != 0 && strcmp(key, "device") != 0)
            return section_wrong(error, pointer, "",
                                 "unknown key; expected \"fabric\" and \"device\"");
    }
    *fabric = 0;
    if (json_object_object_get_ex(section, "fabric", &value)) {
        if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0 ||
            json_object_get_int64(value) > 1000)
            return section_wrong(error, pointer, "/fabric",
                                 "expected the number of a fabric of this process");
        *fabric = json_object_get_int(value);
    }
    if (!json_object_object_get_ex(section, "device", &value) ||
        !json_object_is_type(value, json_type_string) || json_object_get_string_len(value) == 0 ||
        json_object_get_string_len(value) >= SIM_NAME_BYTES)
        return section_wrong(error, pointer, "/device",
                             "expected the address of the device, 1 to 31 bytes");
    snprintf(device, SIM_NAME_BYTES, "%s", json_object_get_string(value));
    return CARRICK_OK;
}

int section_read(const char *text, const char *pointer, int *fabric, char *device,
                 struct carrick_error *error)
{
    struct json_object *section = text != NULL ? json_tokener_parse(text) : NULL;
    int status;

    if (!json_object_is_type(section, json_type_object))
        status = section_wrong(error, pointer, "",
                               "expected an object such as {\"fabric\": 1, \"device\": \"a0\"}");
    else
        status = section_take(section, pointer, fabric, device, error);
    json_object_put(section);
    return status;
}

static int sim_config_check(const char *local, const char *remote, const char *config,
                            struct carrick_error *error)
{
    char name[SIM_NAME_BYTES];
    int here = 0, there = 0;
    int status = section_read(local, "/local", &here, name, error);

    (void)config;
    if (status == CARRICK_OK)
        status = section_read(remote, "/remote", &there, name, error);
    if (status == CARRICK_OK && here != there)
        status = section_wrong(error, "/remote", "/fabric", "both nodes must be on one fabric");
    return status;
}

static int sim_create(const struct carrick_host *host, const char *config,
                      struct carrick_transport **out, struct carrick_error *error)
{
    struct carrick_transport *transport = calloc(1, sizeof(*transport));

    (void)config;
    if (transport == NULL)
        return carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, "", "no memory for an instance");
    transport->host = host;
    *out = transport;
    return CARRICK_OK;
}

static void sim_destroy(struct carrick_transport *transport)
{
    free(transport);
}

static void sim_describe(struct carrick_device *device, struct carrick_endpoint *endpoint,
                         char *text, size_t size)
{
    if (endpoint != NULL)
        snprintf(text, size, "{\"state\":%u,\"posted\":%llu,\"applied\":%llu}", endpoint->state,
                 (unsigned long long)(endpoint->tail - endpoint->head),
                 (unsigned long long)endpoint->applied);
    else
        snprintf(text, size, "{\"device\":\"%s\",\"fabric\":%d}", device->port->address,
                 device->fabric->id);
}

static const struct carrick_transport_ops sim_ops = {
    .create = sim_create,
    .destroy = sim_destroy,
    .config_check = sim_config_check,
    .device_open = sim_device_open,
    .device_close = sim_device_close,
    .device_caps = sim_device_caps,
    .device_poll = sim_device_poll,
    .device_fd = sim_device_fd,
    .device_arm = sim_device_arm,
    .device_wake = sim_device_wake,
    .domain_create = sim_domain_create,
    .domain_destroy = sim_domain_destroy,
    .region_register = sim_region_register,
    .region_deregister = sim_region_deregister,
    .listen = sim_listen,
    .unlisten = sim_unlisten,
    .endpoint_connect = sim_endpoint_connect,
    .endpoint_accept = sim_endpoint_accept,
    .endpoint_reject = sim_endpoint_reject,
    .endpoint_close = sim_endpoint_close,
    .post = sim_post,
    .describe = sim_describe,
    .send_room = sim_send_room,
};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_TRANSPORT, "sim", CARRICK_VERSION, "Apache-2.0",
                        "a network in memory with faults on demand, for tests", sim_ops);
