// SPDX-License-Identifier: Apache-2.0
//
// The tables of each kind's operations, and the stubs that stand in for optional ones. A stub answers
// CARRICK_ERR_NOT_SUPPORTED; one that returns nothing does nothing, one that describes says "{}", one that is asked for
// room has enough.
#include "core/plugin_kind.h"

#include <carrick/arbiter.h>
#include <carrick/client.h>
#include <carrick/policy.h>
#include <carrick/transport.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// A stub must be of its operation's very type: calling it through another one is undefined.
#define STUB_FITS(type, member, stub)                                                              \
    _Static_assert(                                                                                \
        __builtin_types_compatible_p(__typeof__(((type *)0)->member), __typeof__(&(stub))),        \
        "the stub differs from the operation's type")

// path: "", or the member and its dot within which the operation lies.
#define REQUIRED(type, path, member)                                                               \
    {                                                                                              \
#member, offsetof(type, path member), NULL                                                 \
    }
#define OPTIONAL(type, path, member, stub)                                                         \
    {                                                                                              \
#member, offsetof(type, path member), (plugin_function)(stub)                              \
    }

// Every slot of the table must be described, or it would stay unchecked and unfilled.
#define DESCRIBES_ALL(type, operations)                                                            \
    _Static_assert(COUNT(operations) * sizeof(plugin_function) == sizeof(type),                    \
                   "an operation is missing in this description")

#define SIZE_UP_TO(type, last) (offsetof(type, last) + sizeof(plugin_function))

static void describe_nothing(char *text, size_t size)
{
    if (size >= 3) {
        text[0] = '{';
        text[1] = '}';
        text[2] = 0;
    } else if (size > 0) {
        text[0] = 0;
    }
}

// ---- transports and wrappers

static void no_device_wake(struct carrick_device *device, void (*wake)(void *arg), void *arg)
{
    (void)device;
    (void)wake;
    (void)arg;
}

static void no_transport_describe(struct carrick_device *device, struct carrick_endpoint *endpoint,
                                  char *text, size_t size)
{
    (void)device;
    (void)endpoint;
    describe_nothing(text, size);
}

static uint32_t no_send_room(struct carrick_endpoint *endpoint, uint32_t wanted)
{
    (void)endpoint;
    (void)wanted;
    return UINT32_MAX;
}

// A wrapper has no create of its own: it is made by wrap.
static int no_transport_create(const struct carrick_host *host, const char *config,
                               struct carrick_transport **transport, struct carrick_error *error)
{
    (void)host;
    (void)config;
    (void)transport;
    (void)error;
    return CARRICK_ERR_NOT_SUPPORTED;
}

STUB_FITS(struct carrick_transport_ops, create, no_transport_create);
STUB_FITS(struct carrick_transport_ops, device_wake, no_device_wake);
STUB_FITS(struct carrick_transport_ops, describe, no_transport_describe);
STUB_FITS(struct carrick_transport_ops, send_room, no_send_room);

// clang-format off
#define TRANSPORT_AFTER_CREATE(type, path) \
    REQUIRED(type, path, destroy), \
    REQUIRED(type, path, config_check), \
    REQUIRED(type, path, device_open), \
    REQUIRED(type, path, device_close), \
    REQUIRED(type, path, device_caps), \
    REQUIRED(type, path, device_poll), \
    REQUIRED(type, path, device_fd), \
    REQUIRED(type, path, device_arm), \
    OPTIONAL(type, path, device_wake, no_device_wake), \
    REQUIRED(type, path, domain_create), \
    REQUIRED(type, path, domain_destroy), \
    REQUIRED(type, path, region_register), \
    REQUIRED(type, path, region_deregister), \
    REQUIRED(type, path, listen), \
    REQUIRED(type, path, unlisten), \
    REQUIRED(type, path, endpoint_connect), \
    REQUIRED(type, path, endpoint_accept), \
    REQUIRED(type, path, endpoint_reject), \
    REQUIRED(type, path, endpoint_close), \
    REQUIRED(type, path, post), \
    OPTIONAL(type, path, describe, no_transport_describe), \
    OPTIONAL(type, path, send_room, no_send_room)

static const struct plugin_operation transport_operations[] = {
    REQUIRED(struct carrick_transport_ops,, create),
    TRANSPORT_AFTER_CREATE(struct carrick_transport_ops,),
};

static const struct plugin_operation wrapper_operations[] = {
    OPTIONAL(struct carrick_transport_wrapper_ops, transport., create, no_transport_create),
    TRANSPORT_AFTER_CREATE(struct carrick_transport_wrapper_ops, transport.),
    REQUIRED(struct carrick_transport_wrapper_ops,, wrap),
};
// clang-format on

DESCRIBES_ALL(struct carrick_transport_ops, transport_operations);
DESCRIBES_ALL(struct carrick_transport_wrapper_ops, wrapper_operations);

// ---- clients

static int no_config_check(const char *config, struct carrick_error *error)
{
    (void)config;
    (void)error;
    return CARRICK_ERR_NOT_SUPPORTED;
}

static int no_config_change(struct carrick_client *client, const char *config,
                            struct carrick_error *error)
{
    (void)client;
    (void)config;
    (void)error;
    return CARRICK_ERR_NOT_SUPPORTED;
}

static int no_provide(struct carrick_client *client, uint32_t index,
                      const struct carrick_region_want *want,
                      struct carrick_region_backing *backing)
{
    (void)client;
    (void)index;
    (void)want;
    (void)backing;
    return CARRICK_ERR_NOT_SUPPORTED;
}

static void no_vi_changed(struct carrick_client *client, struct carrick_vi *vi, uint32_t state)
{
    (void)client;
    (void)vi;
    (void)state;
}

static void no_describe_state(struct carrick_client *client, char *text, size_t size)
{
    (void)client;
    describe_nothing(text, size);
}

static int no_command(struct carrick_client *client, const char *word, const char *json,
                      uint64_t token)
{
    (void)client;
    (void)word;
    (void)json;
    (void)token;
    return CARRICK_ERR_NOT_SUPPORTED;
}

static void no_stopping(struct carrick_client *client)
{
    (void)client;
}

STUB_FITS(struct carrick_client_ops, config_check, no_config_check);
STUB_FITS(struct carrick_arbiter_ops, config_check, no_config_check);
STUB_FITS(struct carrick_client_ops, config_change, no_config_change);
STUB_FITS(struct carrick_client_ops, provide, no_provide);
STUB_FITS(struct carrick_client_ops, vi_changed, no_vi_changed);
STUB_FITS(struct carrick_client_ops, describe_state, no_describe_state);
STUB_FITS(struct carrick_client_ops, command, no_command);
STUB_FITS(struct carrick_client_ops, stopping, no_stopping);

// clang-format off
static const struct plugin_operation client_operations[] = {
    REQUIRED(struct carrick_client_ops,, create),
    REQUIRED(struct carrick_client_ops,, destroy),
    REQUIRED(struct carrick_client_ops,, describe),
    REQUIRED(struct carrick_client_ops,, ready),
    REQUIRED(struct carrick_client_ops,, ending),
    REQUIRED(struct carrick_client_ops,, ended),
    REQUIRED(struct carrick_client_ops,, completed),
    REQUIRED(struct carrick_client_ops,, received),
    OPTIONAL(struct carrick_client_ops,, config_check, no_config_check),
    OPTIONAL(struct carrick_client_ops,, config_change, no_config_change),
    OPTIONAL(struct carrick_client_ops,, provide, no_provide),
    OPTIONAL(struct carrick_client_ops,, vi_changed, no_vi_changed),
    OPTIONAL(struct carrick_client_ops,, describe_state, no_describe_state),
    OPTIONAL(struct carrick_client_ops,, command, no_command),
    OPTIONAL(struct carrick_client_ops,, stopping, no_stopping),
};

// ---- policies and arbiters

static const struct plugin_operation policy_operations[] = {
    REQUIRED(struct carrick_policy_ops,, create),
    REQUIRED(struct carrick_policy_ops,, destroy),
    REQUIRED(struct carrick_policy_ops,, choose),
};

static const struct plugin_operation arbiter_operations[] = {
    REQUIRED(struct carrick_arbiter_ops,, create),
    REQUIRED(struct carrick_arbiter_ops,, destroy),
    REQUIRED(struct carrick_arbiter_ops,, read),
    REQUIRED(struct carrick_arbiter_ops,, change),
    OPTIONAL(struct carrick_arbiter_ops,, config_check, no_config_check),
};
// clang-format on

DESCRIBES_ALL(struct carrick_client_ops, client_operations);
DESCRIBES_ALL(struct carrick_policy_ops, policy_operations);
DESCRIBES_ALL(struct carrick_arbiter_ops, arbiter_operations);

// ---- kinds
// size_first names the last operation that version 1.0 had; it stays when something is appended.

static const struct plugin_kind kinds[] = {
    {CARRICK_KIND_TRANSPORT, "transport", sizeof(struct carrick_transport_ops),
     SIZE_UP_TO(struct carrick_transport_ops, describe), false, transport_operations,
     COUNT(transport_operations)},
    {CARRICK_KIND_CLIENT, "client", sizeof(struct carrick_client_ops),
     SIZE_UP_TO(struct carrick_client_ops, command), false, client_operations,
     COUNT(client_operations)},
    {CARRICK_KIND_POLICY, "policy", sizeof(struct carrick_policy_ops),
     SIZE_UP_TO(struct carrick_policy_ops, choose), false, policy_operations,
     COUNT(policy_operations)},
    {CARRICK_KIND_ARBITER, "arbiter", sizeof(struct carrick_arbiter_ops),
     SIZE_UP_TO(struct carrick_arbiter_ops, change), false, arbiter_operations,
     COUNT(arbiter_operations)},
    {CARRICK_KIND_TRANSPORT_WRAPPER, "transport wrapper",
     sizeof(struct carrick_transport_wrapper_ops), sizeof(struct carrick_transport_wrapper_ops),
     true, wrapper_operations, COUNT(wrapper_operations)},
};

const struct plugin_kind *plugin_kind_find(uint32_t kind)
{
    for (size_t i = 0; i < COUNT(kinds); i++)
        if (kinds[i].kind == kind)
            return &kinds[i];
    return NULL;
}
