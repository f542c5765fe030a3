// SPDX-License-Identifier: Apache-2.0
//
// The transport and the device of a link: opened, polled, tried again, closed. What it has for one session:
// link_domain.c.
#include "core/link.h"

#include "core/conn.h"
#include "core/lane.h"
#include "core/region.h"

#define EVENTS_PER_POLL 64u
#define OPENING_MIN_NS ENV_MS
#define OPENING_MAX_NS (100 * ENV_MS)

static void link_retry_now(void *arg);
static void link_wake(void *arg);

// ---- making and ending

static int link_load(struct link *link, struct carrick_error *error)
{
    const struct config_link *config = link->config;
    struct loader *loader = link->manager->loader;
    const struct carrick_transport_ops *inner;
    const struct carrick_transport_wrapper_ops *wrapper;
    int status;

    status = loader_get(loader, CARRICK_KIND_TRANSPORT, config->transport, &link->module, error);
    if (status != CARRICK_OK)
        return status;
    inner = module_ops(link->module);
    if (config->wrapper.plugin[0] == '\0') {
        link->ops = inner;
        return inner->create(&link->host.base, config->config.json, &link->transport, error);
    }
    status = loader_get(loader, CARRICK_KIND_TRANSPORT_WRAPPER, config->wrapper.plugin,
                        &link->wrapper, error);
    if (status != CARRICK_OK)
        return status;
    wrapper = module_ops(link->wrapper);
    link->ops = &wrapper->transport;
    return wrapper->wrap(&link->host.base, inner, config->config.json, config->wrapper.config.json,
                         &link->transport, error);
}

int link_init(struct link *link, struct manager *manager, uint32_t index,
              struct carrick_error *error)
{
    struct env *env = manager->env;
    int status;

    link->manager = manager;
    link->index = index;
    link->config = &manager->section->links[index];
    link->shown_state = LINK_DOWN;
    link->since_ns = env_now_ns(env);
    link->backoff_ms = manager->section->timers.backoff_min_ms;
    host_init(&link->host, env, manager->node_name, manager->partner_name, manager->section->name,
              link->config->name);
    link->retry = env->ops->timer_create(env, link_retry_now, link);
    link->wake = env->ops->timer_create(env, link_wake, link);
    if (link->retry == NULL || link->wake == NULL)
        return CARRICK_ERR_NO_MEMORY;
    status = link_load(link, error);
    if (status != CARRICK_OK)
        link->transport = NULL;
    return status;
}

void link_close_device(struct link *link)
{
    struct env *env = link->manager->env;

    if (link->watch != NULL)
        env->ops->watch_destroy(link->watch);
    link->watch = NULL;
    if (link->device != NULL)
        link->ops->device_close(link->device);
    link->device = NULL;
    link->listening = false;
    link->device_state = LINK_DEVICE_NONE;
}

void link_free(struct link *link)
{
    struct env *env;

    if (link->manager == NULL)
        return;
    env = link->manager->env;
    link_close_device(link);
    if (link->transport != NULL)
        link->ops->destroy(link->transport);
    if (link->retry != NULL)
        env->ops->timer_destroy(link->retry);
    if (link->wake != NULL)
        env->ops->timer_destroy(link->wake);
    if (link->wrapper != NULL)
        module_put(link->wrapper);
    if (link->module != NULL)
        module_put(link->module);
}

// ---- the device

static void link_readable(void *arg, uint32_t events)
{
    struct link *link = arg;

    (void)events;
    // What the partner writes and reads here brings no event, but it is what polling is for.
    if (link->manager->section->poll_us != 0)
        link->manager->active_ns = env_now_ns(link->manager->env);
    manager_poll_link(link->manager, link);
}

// From a transport without a descriptor, or for what could not be done inside a poll.
static void link_wake(void *arg)
{
    struct link *link = arg;

    manager_poll(link->manager);
}

void link_poll_soon(struct link *link)
{
    link->manager->env->ops->timer_start(link->wake, 0);
}

static void link_device_wake(void *arg)
{
    link_poll_soon(arg);
}

// From a watch of a device that has a descriptor as well: nothing else runs.
static void link_device_watched(void *arg)
{
    link_readable(arg, CARRICK_WATCH_READ);
}

static int link_watch(struct link *link)
{
    struct env *env = link->manager->env;
    int fd = link->ops->device_fd(link->device);

    if (fd < 0) {
        link->ops->device_wake(link->device, link_device_wake, link);
        return CARRICK_OK;
    }
    link->ops->device_wake(link->device, link_device_watched, link);
    link->watch = env->ops->watch_create(env, fd, CARRICK_WATCH_READ, link_readable, link);
    return link->watch == NULL ? CARRICK_ERR_NO_MEMORY : CARRICK_OK;
}

static int link_open_device(struct link *link)
{
    const struct config_link *config = link->config;
    struct carrick_device_options options = {
        .struct_size = sizeof(options),
        .name = config->name,
        .local = config->nodes[link->manager->node].json,
        .config = config->config.json,
    };
    struct carrick_error error = {.struct_size = sizeof(error)};
    int status;

    status = link->ops->device_open(link->transport, &options, &link->device, &error);
    if (status == CARRICK_ERR_AGAIN) {
        link->device = NULL;
        return status;
    }
    link->opening_ns = 0;
    link->opened_once = true;
    if (status != CARRICK_OK) {
        link->device = NULL;
        link_note(link, error.text[0] != '\0' ? error.text : "the device cannot be opened");
        return status;
    }
    link->caps = (struct carrick_device_caps){.struct_size = sizeof(link->caps)};
    link->ops->device_caps(link->device, &link->caps);
    status = link_watch(link);
    if (status != CARRICK_OK) {
        link_close_device(link);
        return status;
    }
    link->device_state = LINK_DEVICE_IDLE;
    link->carrier_down = link->down_here = false;
    link->removed = false;
    return CARRICK_OK;
}

// Asks whether it is open: soon, and after as long again as it has taken until now.
static void link_await_device(struct link *link)
{
    uint64_t now_ns = env_now_ns(link->manager->env), delay_ns;

    if (link->opening_ns == 0)
        link->opening_ns = now_ns;
    delay_ns = now_ns - link->opening_ns;
    delay_ns = delay_ns < OPENING_MIN_NS ? OPENING_MIN_NS : delay_ns;
    delay_ns = delay_ns > OPENING_MAX_NS ? OPENING_MAX_NS : delay_ns;
    link->retry_armed = true;
    link->manager->env->ops->timer_start(link->retry, delay_ns);
}

void link_start(struct link *link)
{
    int status = link->device_state == LINK_DEVICE_NONE ? link_open_device(link) : CARRICK_OK;

    if (status == CARRICK_ERR_AGAIN)
        link_await_device(link);
    else if (status != CARRICK_OK)
        link_retry(link, false);
    else
        link_prepare(link);
}

static bool link_listen(struct link *link)
{
    struct carrick_error error = {.struct_size = sizeof(error)};

    if (!link->listening && link->ops->listen(link->device, &error) != CARRICK_OK) {
        link_note(link, error.text[0] != '\0' ? error.text : "cannot listen");
        return false;
    }
    link->listening = true;
    return true;
}

// ---- trying again

static uint64_t jitter_ns(struct link *link, uint32_t ms)
{
    uint32_t random;

    link->manager->env->ops->random(link->manager->env, &random, sizeof(random));
    return ms * ENV_MS / 2 + (ms * ENV_MS / 2) * (random % 1024) / 1024;
}

void link_retry(struct link *link, bool now)
{
    uint32_t max_ms = link->manager->section->timers.backoff_max_ms;
    uint64_t delay_ns = 0;

    if (!now) {
        if (link->retry_armed)
            return;
        delay_ns = jitter_ns(link, link->backoff_ms);
        link->backoff_ms = link->backoff_ms * 2 < max_ms ? link->backoff_ms * 2 : max_ms;
    }
    link->retry_armed = true;
    link->manager->env->ops->timer_start(link->retry, delay_ns);
}

// A conn that had lanes closes first; what strangers left behind does not keep the link from trying again.
static bool link_is_closing(const struct link *link)
{
    for (const struct conn *conn = link->conns; conn != NULL; conn = conn->next)
        if (conn->state == CONN_CLOSING && conn->lane_count > 0)
            return true;
    return false;
}

static bool link_is_connecting(const struct link *link)
{
    for (const struct conn *conn = link->conns; conn != NULL; conn = conn->next)
        if (conn->initiator && conn->state < CONN_JOINING)
            return true;
    return false;
}

static void link_retry_now(void *arg)
{
    struct link *link = arg;

    link->retry_armed = false;
    if (link->manager->stopping || link->ending)
        return;
    if (link->removed && link->device_state == LINK_DEVICE_IDLE)
        link_close_device(link);
    if (link->device_state == LINK_DEVICE_NONE || link->device_state == LINK_DEVICE_IDLE) {
        link_start(link);
        return;
    }
    if (link->device_state != LINK_DEVICE_READY || link->admin_down)
        return;
    if (!link_listen(link) || link_is_closing(link)) {
        link_retry(link, false);
        return;
    }
    if (link->current == NULL && !link_is_connecting(link) && !link->carrier_down)
        conn_connect(link);
    link_changed(link);
}

// ---- events

static void link_fail_all(struct link *link, int status, const char *why)
{
    link_note(link, why);
    link_end_conns(link, status, why);
    link_changed(link);
}

static void link_device_event(struct link *link, const struct carrick_event *event)
{
    switch (event->type) {
    case CARRICK_EVENT_DEVICE_DOWN:
        link->carrier_down = true;
        link->down_here = event->status == CARRICK_ERR_NO_DEVICE;
        link_fail_all(link, CARRICK_ERR_LINK_DOWN,
                      link->down_here ? "this node's interface is switched off, or has lost its "
                                        "address"
                                      : "the carrier is lost");
        break;
    case CARRICK_EVENT_DEVICE_UP:
        link->carrier_down = link->down_here = false;
        link_retry(link, true);
        break;
    default: // CARRICK_EVENT_DEVICE_REMOVED
        link->removed = true;
        link_note(link, "the device was removed");
        link_unprepare(link, CARRICK_ERR_DEVICE_REMOVED, "the device was removed");
        link_retry(link, false); // closes it, when there was no domain to end before
        break;
    }
}

static void link_event(struct link *link, const struct carrick_event *event)
{
    switch (event->type) {
    case CARRICK_EVENT_COMPLETION:
        lane_completed(event);
        break;
    case CARRICK_EVENT_SEND_ROOM:
        lane_send_room(event);
        break;
    case CARRICK_EVENT_REQUEST:
        conn_requested(link, event);
        break;
    case CARRICK_EVENT_RECEIVE:
    case CARRICK_EVENT_CONNECTED:
    case CARRICK_EVENT_DISCONNECTED:
    case CARRICK_EVENT_CLOSED:
        conn_event(event);
        break;
    case CARRICK_EVENT_REGISTERED:
    case CARRICK_EVENT_DEREGISTERED:
        region_event(event);
        break;
    case CARRICK_EVENT_DEVICE_DOWN:
    case CARRICK_EVENT_DEVICE_UP:
    case CARRICK_EVENT_DEVICE_REMOVED:
        link_device_event(link, event);
        break;
    default: // of a later version of the transport ABI, which this core did not ask for
        break;
    }
}

unsigned link_poll(struct link *link)
{
    struct carrick_event events[EVENTS_PER_POLL];
    uint32_t count;

    if (link->device == NULL || link->polling)
        return 0;
    link->polling = true;
    events[0].struct_size = sizeof(events[0]);
    count = link->ops->device_poll(link->device, events, EVENTS_PER_POLL);
    for (uint32_t i = 0; i < count; i++)
        link_event(link, &events[i]);
    link_registration_settle(link);
    link->polling = false;
    return count;
}

void link_arm(struct link *link)
{
    if (link->device != NULL && !link->polling && link->ops->device_arm(link->device) != 0)
        link_poll_soon(link);
}

// ---- by command

void link_admin_down(struct link *link, const char *why)
{
    link->admin_down = true;
    link_fail_all(link, CARRICK_ERR_LINK_DOWN, why);
}

void link_admin_up(struct link *link)
{
    link->admin_down = false;
    link_note(link, "taken up by command");
    link_retry(link, true);
    link_changed(link);
}
