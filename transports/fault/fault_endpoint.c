// SPDX-License-Identifier: Apache-2.0
//
// Endpoints: each of ours stands for one of the inner transport's, and may tell the core of a loss that the inner one
// does not know of. The core's CLOSED always waits for the inner CLOSED, else it would be no fence; except with
// "break_fence", which exists to show that tests notice.
#include "fault.h"

#include <stdlib.h>
#include <string.h>

static void timer_fired(void *arg)
{
    struct carrick_endpoint *endpoint = arg;
    struct carrick_device *device = endpoint->device;

    fault_queue_run(endpoint);
    fault_endpoint_finish(endpoint);
    fault_device_kick(device);
}

static struct carrick_endpoint *endpoint_new(struct carrick_device *device)
{
    const struct carrick_host *host = device->transport->host;
    struct carrick_endpoint *endpoint = calloc(1, sizeof(*endpoint));

    if (endpoint == NULL)
        return NULL;
    if (host->timer_create(host, timer_fired, endpoint, &endpoint->timer) != CARRICK_OK) {
        free(endpoint);
        return NULL;
    }
    endpoint->device = device;
    TAILQ_INIT(&endpoint->queue);
    TAILQ_INIT(&endpoint->flying);
    TAILQ_INIT(&endpoint->ending);
    TAILQ_INSERT_TAIL(&device->endpoints, endpoint, entry);
    return endpoint;
}

void fault_endpoint_free(struct carrick_endpoint *endpoint)
{
    struct carrick_device *device = endpoint->device;

    if (endpoint->disconnected.queued)
        TAILQ_REMOVE(&device->ready, &endpoint->disconnected, entry);
    if (endpoint->closed.queued)
        TAILQ_REMOVE(&device->ready, &endpoint->closed, entry);
    TAILQ_REMOVE(&device->endpoints, endpoint, entry);
    device->transport->host->timer_destroy(endpoint->timer);
    if (endpoint->domain != NULL)
        fault_domain_unuse(endpoint->domain);
    free(endpoint->ops);
    free(endpoint->works);
    free(endpoint);
}

static int endpoint_prepare(struct carrick_endpoint *endpoint,
                            const struct carrick_connect_options *options)
{
    uint32_t room = endpoint->device->caps.max_posted;

    if (endpoint->ops == NULL) {
        endpoint->ops = calloc(room, sizeof(*endpoint->ops));
        endpoint->works = calloc(room, sizeof(*endpoint->works));
        if (endpoint->ops == NULL || endpoint->works == NULL)
            return CARRICK_ERR_NO_MEMORY;
        for (uint32_t i = room; i > 0; i--) {
            endpoint->ops[i - 1].endpoint = endpoint;
            endpoint->ops[i - 1].next_free = endpoint->free_ops;
            endpoint->free_ops = &endpoint->ops[i - 1];
        }
    }
    endpoint->cookie = options->cookie;
    return CARRICK_OK;
}

static void domain_use(struct carrick_endpoint *endpoint, struct carrick_domain *domain)
{
    endpoint->domain = domain;
    if (domain != NULL)
        domain->users++;
}

static struct carrick_connect_options options_inner(struct carrick_endpoint *endpoint,
                                                    const struct carrick_connect_options *options)
{
    struct carrick_connect_options inner = *options;

    inner.cookie = (uint64_t)(uintptr_t)endpoint;
    if (options->domain != NULL)
        inner.domain = options->domain->inner;
    return inner;
}

int fault_endpoint_connect(struct carrick_device *device,
                           const struct carrick_connect_options *options,
                           struct carrick_endpoint **endpoint, struct carrick_error *error)
{
    struct carrick_transport *transport = device->transport;
    struct carrick_endpoint *made = endpoint_new(device), *inner = NULL;
    struct carrick_connect_options changed;
    const struct fault_rule *rule;
    int rc;

    if (made == NULL)
        return CARRICK_ERR_NO_MEMORY;
    rc = endpoint_prepare(made, options);
    if (rc != CARRICK_OK)
        goto failed;
    rule = fault_rules_decide(transport, FAULT_ON_CONNECT);
    if (rule != NULL) {
        made->inner_closed = true;
        fault_endpoint_lose(made, rule->status);
    } else {
        changed = options_inner(made, options);
        rc = transport->ops.endpoint_connect(device->inner, &changed, &inner, error);
        if (rc != CARRICK_OK)
            goto failed;
        made->inner = inner;
    }
    domain_use(made, options->domain);
    *endpoint = made;
    return CARRICK_OK;

failed:
    fault_endpoint_free(made);
    return rc;
}

int fault_endpoint_accept(struct carrick_endpoint *endpoint,
                          const struct carrick_connect_options *options)
{
    struct carrick_transport *transport = endpoint->device->transport;
    struct carrick_connect_options changed = options_inner(endpoint, options);
    int rc = endpoint_prepare(endpoint, options);

    if (rc == CARRICK_OK)
        rc = transport->ops.endpoint_accept(endpoint->inner, &changed);
    if (rc == CARRICK_OK)
        domain_use(endpoint, options->domain);
    return rc;
}

void fault_endpoint_reject(struct carrick_endpoint *endpoint, const void *data, uint32_t bytes)
{
    endpoint->device->transport->ops.endpoint_reject(endpoint->inner, data, bytes);
    fault_endpoint_free(endpoint);
}

void fault_endpoint_lose(struct carrick_endpoint *endpoint, int32_t status)
{
    if (endpoint->lost)
        return;
    endpoint->lost = true;
    endpoint->faked = true;
    if (endpoint->core_closed)
        return;
    endpoint->disconnected.event = (struct carrick_event){
        .type = CARRICK_EVENT_DISCONNECTED,
        .status = status,
        .cookie = endpoint->cookie,
        .endpoint = endpoint,
    };
    fault_ready_push(endpoint->device, &endpoint->disconnected);
}

void fault_endpoint_close_inner(struct carrick_endpoint *endpoint, bool orderly)
{
    if (endpoint->inner_closing || endpoint->inner_closed)
        return;
    endpoint->inner_closing = true;
    endpoint->device->transport->ops.endpoint_close(endpoint->inner, orderly);
}

static void closed_push(struct carrick_endpoint *endpoint)
{
    if (endpoint->closed_told || endpoint->closed.queued)
        return;
    endpoint->closed.event = (struct carrick_event){
        .type = CARRICK_EVENT_CLOSED,
        .cookie = endpoint->cookie,
        .endpoint = endpoint,
        .applied = endpoint->applied,
    };
    fault_ready_push(endpoint->device, &endpoint->closed);
}

void fault_endpoint_finish(struct carrick_endpoint *endpoint)
{
    const struct carrick_host *host = endpoint->device->transport->host;
    uint64_t now;

    if (!endpoint->core_closed)
        return;
    if (endpoint->inner_closed) {
        if (endpoint->copies != 0)
            return;
        if (endpoint->closed_told)
            fault_endpoint_free(endpoint);
        else
            closed_push(endpoint);
        return;
    }
    if (endpoint->inner_closing)
        return;
    if (!endpoint->inner_lost) {
        if (!TAILQ_EMPTY(&endpoint->queue))
            return; // fault_queue_run comes back here
        now = host->now_ns(host);
        if (endpoint->zombie && now < endpoint->linger_until_ns) {
            host->timer_start(endpoint->timer, endpoint->linger_until_ns - now);
            return;
        }
    }
    // What was released late is to arrive, if the partner lets it.
    fault_endpoint_close_inner(endpoint, endpoint->core_orderly || endpoint->holding);
}

void fault_endpoint_closed_told(struct carrick_endpoint *endpoint)
{
    endpoint->closed_told = true;
    fault_endpoint_finish(endpoint);
}

void fault_endpoint_close(struct carrick_endpoint *endpoint, bool orderly)
{
    struct carrick_transport *transport = endpoint->device->transport;

    endpoint->core_closed = true;
    endpoint->core_orderly = orderly;
    if (!orderly && !endpoint->holding)
        fault_queue_drop(endpoint);
    if (transport->config.break_fence && endpoint->connected && !endpoint->inner_closed) {
        endpoint->zombie = true;
        endpoint->linger_until_ns =
            transport->host->now_ns(transport->host) + transport->config.linger_ns;
        closed_push(endpoint);
    }
    fault_endpoint_finish(endpoint);
}

static bool request(struct carrick_device *device, struct carrick_event *event)
{
    struct carrick_transport *transport = device->transport;
    struct carrick_endpoint *endpoint = NULL;

    if (fault_rules_decide(transport, FAULT_ON_ACCEPT) == NULL)
        endpoint = endpoint_new(device);
    if (endpoint == NULL) {
        transport->ops.endpoint_reject(event->endpoint, NULL, 0);
        return false;
    }
    endpoint->inner = event->endpoint;
    event->endpoint = endpoint;
    return true;
}

static bool disconnected(struct carrick_endpoint *endpoint)
{
    bool tell = !endpoint->lost && !endpoint->core_closed;

    endpoint->lost = true;
    endpoint->inner_lost = true;
    fault_queue_drop(endpoint);
    fault_endpoint_finish(endpoint);
    return tell;
}

static struct carrick_endpoint *endpoint_find(struct carrick_device *device,
                                              const struct carrick_event *event)
{
    struct carrick_endpoint *endpoint;

    if (event->cookie != 0)
        return (struct carrick_endpoint *)(uintptr_t)event->cookie;
    // A request that was never accepted has no cookie of ours.
    TAILQ_FOREACH(endpoint, &device->endpoints, entry)
    {
        if (endpoint->inner == event->endpoint)
            return endpoint;
    }
    return NULL;
}

bool fault_endpoint_event(struct carrick_device *device, struct carrick_event *event)
{
    struct carrick_endpoint *endpoint;
    bool tell = false;

    if (event->type == CARRICK_EVENT_REQUEST)
        return request(device, event);
    if (event->type == CARRICK_EVENT_COMPLETION) {
        const struct fault_op *op = (const struct fault_op *)(uintptr_t)event->cookie;

        return fault_completion(op->endpoint, event);
    }
    endpoint = endpoint_find(device, event);
    if (endpoint == NULL)
        return false;
    event->cookie = endpoint->cookie;
    event->endpoint = endpoint;
    switch (event->type) {
    case CARRICK_EVENT_RECEIVE:
        // Also after a loss that only we know of: what the inner transport counts as applied must reach the core.
        tell = !endpoint->zombie;
        break;
    case CARRICK_EVENT_CONNECTED:
        endpoint->connected = true;
        tell = !endpoint->lost && !endpoint->core_closed;
        break;
    case CARRICK_EVENT_SEND_ROOM:
        tell = !endpoint->lost && !endpoint->core_closed;
        break;
    case CARRICK_EVENT_DISCONNECTED:
        tell = disconnected(endpoint);
        break;
    case CARRICK_EVENT_CLOSED:
        if (!device->transport->config.withdraw_applied)
            endpoint->applied = event->applied;
        endpoint->inner_closed = true;
        fault_queue_drop(endpoint);
        fault_flying_drop(endpoint);
        fault_endpoint_finish(endpoint); // tells by `closed`
        break;
    default:
        break;
    }
    return tell;
}
