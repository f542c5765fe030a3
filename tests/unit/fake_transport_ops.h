// SPDX-License-Identifier: Apache-2.0
//
// The rest of fake_transport.h: the table of operations, and the test's own hands on them.
#ifndef FAKE_TRANSPORT_OPS_H
#define FAKE_TRANSPORT_OPS_H

static void fake_endpoint_free(struct carrick_endpoint *endpoint)
{
    struct carrick_endpoint **at = &endpoint->device->endpoints;

    while (*at != endpoint)
        at = &(*at)->next;
    *at = endpoint->next;
    if (endpoint->peer != NULL)
        endpoint->peer->peer = NULL;
    for (uint64_t i = 0; i < FAKE_POSTED; i++)
        free(endpoint->ring[i].copy);
    fake_net.endpoints--;
    free(endpoint);
}

// ---- devices, domains, registrations

static int fake_create(const struct carrick_host *host, const char *config,
                       struct carrick_transport **transport, struct carrick_error *error)
{
    (void)config;
    (void)error;
    *transport = calloc(1, sizeof(**transport));
    cr_assert(*transport != NULL);
    (*transport)->host = host;
    return CARRICK_OK;
}

static void fake_destroy(struct carrick_transport *transport)
{
    free(transport);
}

static int fake_config_check(const char *local, const char *remote, const char *config,
                             struct carrick_error *error)
{
    (void)local;
    (void)remote;
    (void)config;
    (void)error;
    return CARRICK_OK;
}

// {"device":"a0"}
static struct carrick_device *fake_device_of(const char *json)
{
    const char *at = strstr(json, "\"device\":\"");
    char name[16];

    cr_assert(at != NULL, "no device in %s", json);
    cr_assert_eq(sscanf(at + 10, "%15[a-z0-9]", name), 1);
    return fake_device(name);
}

static int fake_device_open(struct carrick_transport *transport,
                            const struct carrick_device_options *options,
                            struct carrick_device **out, struct carrick_error *error)
{
    struct carrick_device *device = fake_device_of(options->local);

    (void)transport;
    if (device->slow)
        return CARRICK_ERR_AGAIN;
    if (device->gone) {
        snprintf(error->text, sizeof(error->text), "there is no device %s", device->name);
        return CARRICK_ERR_NO_DEVICE;
    }
    cr_assert(!device->open);
    device->open = true;
    *out = device;
    return CARRICK_OK;
}

static void fake_device_close(struct carrick_device *device)
{
    struct fake_event *next;

    // Requests that nobody has taken from the queue go with it.
    for (struct carrick_endpoint *e = device->endpoints, *after; e != NULL; e = after) {
        after = e->next;
        if (e->state == FAKE_REQUESTED)
            fake_endpoint_free(e);
    }
    cr_assert(device->endpoints == NULL, "the device is closed before its endpoints");
    cr_assert_eq(device->domains, 0, "the device is closed before its domains");
    fake_forget_handed(device);
    for (; device->queue != NULL; device->queue = next) {
        next = device->queue->next;
        free(device->queue);
    }
    device->queue_end = &device->queue;
    device->wake = NULL;
    device->listening = false;
    device->open = false;
}

static void fake_caps(struct carrick_device *device, struct carrick_device_caps *caps)
{
    uint32_t size = caps->struct_size;

    cr_assert_eq(size, sizeof(*caps));
    *caps = device->caps;
    caps->struct_size = size;
}

static int fake_fd(struct carrick_device *device)
{
    (void)device;
    return -1;
}

static int fake_arm(struct carrick_device *device)
{
    // What was handed out is over with the next poll, which makes room for the partner's sends.
    return device->queue != NULL || (device->send_depth != 0 && device->handed != NULL);
}

static void fake_set_wake(struct carrick_device *device, void (*wake)(void *arg), void *arg)
{
    device->wake = wake;
    device->wake_arg = arg;
}

static int fake_domain_create(struct carrick_device *device, struct carrick_domain **domain)
{
    *domain = calloc(1, sizeof(**domain));
    cr_assert(*domain != NULL);
    (*domain)->device = device;
    device->domains++;
    device->domains_made++;
    return CARRICK_OK;
}

static void fake_domain_destroy(struct carrick_domain *domain)
{
    cr_assert(domain->registrations == NULL, "the domain is destroyed before its registrations");
    for (struct carrick_endpoint *e = domain->device->endpoints; e != NULL; e = e->next)
        cr_assert_neq(e->domain, domain, "the domain is destroyed before its endpoints");
    domain->device->domains--;
    free(domain);
}

static void fake_unlist(struct carrick_registration *registration)
{
    struct carrick_registration **at = &registration->domain->registrations;

    while (*at != registration)
        at = &(*at)->next;
    *at = registration->next;
    registration->domain->device->registrations--;
    free(registration);
}

static void fake_tell_registered(struct carrick_registration *registration)
{
    struct carrick_device *device = registration->domain->device;
    int status = device->register_fails;
    const char *why = status == CARRICK_OK ? NULL : device->register_why;
    struct carrick_event *event =
        fake_tell(device, CARRICK_EVENT_REGISTERED, status, registration->options.cookie, why,
                  why == NULL ? 0 : (uint32_t)strlen(why));

    event->registration = status == CARRICK_OK ? registration : NULL;
    event->key = registration->key;
    registration->told = true;
    if (status != CARRICK_OK)
        fake_unlist(registration);
}

static int fake_register(struct carrick_domain *domain,
                         const struct carrick_region_options *options,
                         struct carrick_registration **out)
{
    struct carrick_registration *registration = calloc(1, sizeof(*registration));

    cr_assert(registration != NULL);
    cr_assert_eq((uintptr_t)options->address % FAKE_PAGE, 0);
    registration->domain = domain;
    registration->options = *options;
    registration->key.key = 0x5eed0000u + ++fake_net.keys * 7919u;
    registration->key.base = (uint64_t)registration->key.key << 28;
    registration->next = domain->registrations;
    domain->registrations = registration;
    domain->device->registrations++;
    *out = registration;
    if (!domain->device->hold_registered) {
        fake_tell_registered(registration);
        return CARRICK_OK;
    }
    cr_assert_lt(domain->device->waiting, 64);
    domain->device->unregistered[domain->device->waiting++] = registration;
    return CARRICK_OK;
}

static int fake_deregister(struct carrick_registration *registration)
{
    struct carrick_device *device = registration->domain->device;

    cr_assert(registration->told, "deregistered before REGISTERED");
    for (struct carrick_endpoint *e = device->endpoints; e != NULL; e = e->next)
        for (uint64_t i = e->completed; i < e->posted && e->state == FAKE_CONNECTED; i++)
            cr_assert_neq(e->ring[i % FAKE_POSTED].work.registration, registration,
                          "deregistered while an operation uses it");
    fake_tell(device, CARRICK_EVENT_DEREGISTERED, CARRICK_OK, registration->options.cookie, NULL,
              0);
    fake_unlist(registration);
    return CARRICK_OK;
}

// ---- endpoints

static int fake_listen(struct carrick_device *device, struct carrick_error *error)
{
    (void)error;
    if (device->listening)
        return CARRICK_ERR_STATE;
    device->listening = true;
    return CARRICK_OK;
}

static void fake_unlisten(struct carrick_device *device)
{
    device->listening = false;
}

static struct carrick_endpoint *fake_endpoint(struct carrick_device *device,
                                              enum fake_endpoint_state state)
{
    struct carrick_endpoint *endpoint = calloc(1, sizeof(*endpoint));

    cr_assert(endpoint != NULL);
    endpoint->device = device;
    endpoint->state = state;
    endpoint->apply_gate = endpoint->complete_gate = FAKE_OPEN;
    endpoint->next = device->endpoints;
    device->endpoints = endpoint;
    fake_net.endpoints++;
    return endpoint;
}

static int fake_connect(struct carrick_device *device,
                        const struct carrick_connect_options *options,
                        struct carrick_endpoint **out, struct carrick_error *error)
{
    struct carrick_device *remote = fake_device_of(options->remote);
    struct carrick_endpoint *endpoint = fake_endpoint(device, FAKE_CONNECTING);

    (void)error;
    cr_assert_leq(options->data_bytes, device->caps.request_bytes);
    endpoint->cookie = options->cookie;
    endpoint->domain = options->domain;
    *out = endpoint;
    if (fake_is_cut(device, remote))
        return CARRICK_OK; // no answer: the core's own deadline ends it
    if (!remote->listening) {
        fake_lose(endpoint, CARRICK_ERR_UNREACHABLE);
        return CARRICK_OK;
    }
    endpoint->peer = fake_endpoint(remote, FAKE_REQUESTED);
    endpoint->peer->peer = endpoint;
    fake_tell(remote, CARRICK_EVENT_REQUEST, CARRICK_OK, 0, options->data, options->data_bytes)
        ->endpoint = endpoint->peer;
    return CARRICK_OK;
}

static int fake_accept(struct carrick_endpoint *endpoint,
                       const struct carrick_connect_options *options)
{
    struct carrick_endpoint *peer = endpoint->peer;

    cr_assert_eq(endpoint->state, FAKE_REQUESTED);
    cr_assert_leq(options->data_bytes, endpoint->device->caps.reply_bytes);
    endpoint->cookie = options->cookie;
    endpoint->domain = options->domain;
    if (peer == NULL || peer->state != FAKE_CONNECTING) {
        fake_lose(endpoint, CARRICK_ERR_RESET);
        return CARRICK_OK;
    }
    endpoint->state = peer->state = FAKE_CONNECTED;
    fake_tell(endpoint->device, CARRICK_EVENT_CONNECTED, CARRICK_OK, endpoint->cookie, NULL, 0)
        ->endpoint = endpoint;
    fake_tell(peer->device, CARRICK_EVENT_CONNECTED, CARRICK_OK, peer->cookie, options->data,
              options->data_bytes)
        ->endpoint = peer;
    return CARRICK_OK;
}

static void fake_reject(struct carrick_endpoint *endpoint, const void *data, uint32_t data_bytes)
{
    struct carrick_endpoint *peer = endpoint->peer;

    cr_assert_eq(endpoint->state, FAKE_REQUESTED);
    if (peer != NULL && peer->state == FAKE_CONNECTING) {
        peer->state = FAKE_LOST;
        fake_tell(peer->device, CARRICK_EVENT_DISCONNECTED, CARRICK_ERR_REFUSED, peer->cookie, data,
                  data_bytes)
            ->endpoint = peer;
    }
    fake_endpoint_free(endpoint);
}

static void fake_tell_closed(struct carrick_endpoint *endpoint)
{
    struct carrick_event *event =
        fake_tell(endpoint->device, CARRICK_EVENT_CLOSED, CARRICK_OK, endpoint->cookie, NULL, 0);

    event->endpoint = endpoint;
    event->applied = endpoint->applied_here;
    fake_endpoint_free(endpoint);
}

static void fake_close(struct carrick_endpoint *endpoint, bool orderly)
{
    struct carrick_endpoint *peer = endpoint->peer;

    cr_assert(endpoint->state != FAKE_CLOSED, "closed twice");
    if (orderly && endpoint->state == FAKE_CONNECTED) {
        endpoint->apply_gate = FAKE_OPEN;
        fake_move(endpoint);
    }
    endpoint->state = FAKE_CLOSED;
    // A REQUEST that is still open stays the partner's to answer.
    if (peer != NULL && peer->state != FAKE_REQUESTED &&
        !fake_is_cut(endpoint->device, peer->device))
        fake_lose(peer, orderly ? CARRICK_ERR_CLOSED : CARRICK_ERR_RESET);
    if (!endpoint->device->hold_closed)
        fake_tell_closed(endpoint);
}

static uint32_t fake_send_room(struct carrick_endpoint *endpoint, uint32_t wanted)
{
    const struct carrick_endpoint *peer = endpoint->peer;
    uint32_t room, waiting = 0;

    cr_assert_eq(endpoint->state == FAKE_CONNECTED || endpoint->state == FAKE_LOST, true,
                 "send_room of an endpoint that was never connected, or is closed");
    if (peer == NULL || peer->device->send_depth == 0)
        return UINT32_MAX;
    for (uint64_t i = endpoint->applied; i < endpoint->posted; i++)
        waiting += endpoint->ring[i % FAKE_POSTED].work.operation == CARRICK_OP_SEND;
    room = peer->device->send_depth - peer->unpolled;
    room = room > waiting ? room - waiting : 0;
    endpoint->wants_room = room < wanted;
    return room;
}

static const struct carrick_transport_ops fake_transport_ops = {
    .create = fake_create,
    .destroy = fake_destroy,
    .config_check = fake_config_check,
    .device_open = fake_device_open,
    .device_close = fake_device_close,
    .device_caps = fake_caps,
    .device_poll = fake_poll,
    .device_fd = fake_fd,
    .device_arm = fake_arm,
    .device_wake = fake_set_wake,
    .domain_create = fake_domain_create,
    .domain_destroy = fake_domain_destroy,
    .region_register = fake_register,
    .region_deregister = fake_deregister,
    .listen = fake_listen,
    .unlisten = fake_unlisten,
    .endpoint_connect = fake_connect,
    .endpoint_accept = fake_accept,
    .endpoint_reject = fake_reject,
    .endpoint_close = fake_close,
    .post = fake_post,
    .send_room = fake_send_room,
};

static const struct carrick_plugin fake_transport_plugin = {
    .struct_size = sizeof(fake_transport_plugin),
    .abi_major = CARRICK_ABI_MAJOR,
    .abi_minor = CARRICK_ABI_MINOR,
    .kind = CARRICK_KIND_TRANSPORT,
    .ops_size = sizeof(fake_transport_ops),
    .name = "fake",
    .version = "1",
    .licence = "Apache-2.0",
    .description = "a transport in memory",
    .ops = &fake_transport_ops,
};

static inline const struct carrick_plugin *fake_transport_entry(void)
{
    return &fake_transport_plugin;
}

// ---- the test's hands

// Lets no operation on the data lanes of a device be applied, or completed, beyond those that are.
static inline void fake_hold(const char *device, bool apply, bool complete)
{
    for (struct carrick_endpoint *e = fake_device(device)->endpoints; e != NULL; e = e->next)
        if (e->domain != NULL) {
            e->apply_gate = apply ? e->applied : e->apply_gate;
            e->complete_gate = complete ? e->completed : e->complete_gate;
        }
}

// Lets so many more be applied, or completed, on each data lane.
static inline void fake_let(const char *device, uint64_t apply, uint64_t complete)
{
    for (struct carrick_endpoint *e = fake_device(device)->endpoints; e != NULL; e = e->next)
        if (e->domain != NULL) {
            e->apply_gate = apply == FAKE_OPEN ? FAKE_OPEN : e->applied + apply;
            e->complete_gate = complete == FAKE_OPEN ? FAKE_OPEN : e->completed + complete;
            fake_move(e);
        }
}

static inline void fake_go(const char *device)
{
    fake_let(device, FAKE_OPEN, FAKE_OPEN);
}

// All endpoints of the link are lost, on both sides.
static inline void fake_reset(const char *device)
{
    for (struct carrick_endpoint *e = fake_device(device)->endpoints; e != NULL; e = e->next) {
        if (e->state != FAKE_CONNECTED)
            continue;
        if (e->peer != NULL)
            fake_lose(e->peer, CARRICK_ERR_RESET);
        fake_lose(e, CARRICK_ERR_RESET);
    }
}

// Silence, both ways, until the wire is mended.
static inline void fake_cut(const char *device)
{
    fake_wire_cut[fake_index(fake_device(device))] = true;
}

static inline void fake_mend(const char *device)
{
    fake_wire_cut[fake_index(fake_device(device))] = false;
    for (unsigned i = 0; i < fake_net.devices; i++)
        for (struct carrick_endpoint *e = fake_net.device[i].endpoints; e != NULL; e = e->next)
            fake_move(e);
}

// CLOSED is told for what was closed while it was held back.
static inline void fake_let_closed(const char *name)
{
    struct carrick_device *device = fake_device(name);

    device->hold_closed = false;
    for (struct carrick_endpoint *e = device->endpoints, *next; e != NULL; e = next) {
        next = e->next;
        if (e->state == FAKE_CLOSED)
            fake_tell_closed(e);
    }
}

// REGISTERED is told for what was registered while it was held back.
static inline void fake_let_registered(const char *name)
{
    struct carrick_device *device = fake_device(name);

    device->hold_registered = false;
    for (unsigned i = 0; i < device->waiting; i++)
        fake_tell_registered(device->unregistered[i]);
    device->waiting = 0;
}

static inline void fake_device_event(const char *device, uint32_t type)
{
    fake_tell(fake_device(device), type, CARRICK_OK, 0, NULL, 0);
}

#endif
