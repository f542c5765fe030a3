// SPDX-License-Identifier: Apache-2.0
//
// The wrapper's instance, its domains and registrations, and the table.
#include "fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fault_wrap(const struct carrick_host *host,
                      const struct carrick_transport_ops *inner_ops, const char *inner_config,
                      const char *config, struct carrick_transport **transport,
                      struct carrick_error *error)
{
    struct carrick_transport *made = calloc(1, sizeof(*made)), *inner = NULL;
    int rc;

    if (made == NULL)
        return CARRICK_ERR_NO_MEMORY;
    made->host = host;
    made->ops = *inner_ops;
    rc = fault_config_parse(config, &made->config, error);
    if (rc == CARRICK_OK)
        rc = inner_ops->create(host, inner_config, &inner, error);
    if (rc != CARRICK_OK) {
        free(made);
        return rc;
    }
    made->inner = inner;
    if (!made->config.seed_set)
        host->random(host, &made->config.seed, sizeof(made->config.seed));
    made->random_state = made->config.seed;
    if (made->config.rules_count > 0)
        host->log(host, CARRICK_LOG_WARNING, "faults are made on purpose, with seed %llu%s",
                  (unsigned long long)made->config.seed,
                  made->config.break_fence ? ", and the fence is broken" : "");
    *transport = made;
    return CARRICK_OK;
}

static void destroy(struct carrick_transport *transport)
{
    transport->ops.destroy(transport->inner);
    free(transport);
}

// The sections of the link are the inner transport's to check; ours is the wrapper's own.
static int config_check(const char *local, const char *remote, const char *config,
                        struct carrick_error *error)
{
    struct fault_config parsed;

    (void)local;
    (void)remote;
    return fault_config_parse(config, &parsed, error);
}

static int domain_create(struct carrick_device *device, struct carrick_domain **domain)
{
    struct carrick_domain *made = calloc(1, sizeof(*made)), *inner = NULL;
    int rc;

    if (made == NULL)
        return CARRICK_ERR_NO_MEMORY;
    rc = device->transport->ops.domain_create(device->inner, &inner);
    if (rc != CARRICK_OK) {
        free(made);
        return rc;
    }
    made->device = device;
    made->inner = inner;
    *domain = made;
    return CARRICK_OK;
}

static void domain_end(struct carrick_domain *domain)
{
    domain->device->transport->ops.domain_destroy(domain->inner);
    free(domain);
}

static void domain_destroy(struct carrick_domain *domain)
{
    // Only a zombie of the broken fence can still use it.
    if (domain->users > 0)
        domain->destroyed = true;
    else
        domain_end(domain);
}

void fault_domain_unuse(struct carrick_domain *domain)
{
    domain->users--;
    if (domain->users == 0 && domain->destroyed)
        domain_end(domain);
}

static int region_register(struct carrick_domain *domain,
                           const struct carrick_region_options *options,
                           struct carrick_registration **registration)
{
    struct carrick_device *device = domain->device;
    struct carrick_registration *made = calloc(1, sizeof(*made)), *inner = NULL;
    struct carrick_region_options changed = *options;
    const struct fault_rule *rule;
    int rc;

    if (made == NULL)
        return CARRICK_ERR_NO_MEMORY;
    made->domain = domain;
    made->cookie = options->cookie;
    rule = fault_rules_decide(device->transport, FAULT_ON_REGISTER);
    if (rule != NULL) {
        made->failed.event = (struct carrick_event){
            .type = CARRICK_EVENT_REGISTERED,
            .status = rule->status,
            .cookie = options->cookie,
            .registration = made,
        };
        fault_ready_push(device, &made->failed);
    } else {
        changed.cookie = (uint64_t)(uintptr_t)made;
        rc = device->transport->ops.region_register(domain->inner, &changed, &inner);
        if (rc != CARRICK_OK) {
            free(made);
            return rc;
        }
        made->inner = inner;
    }
    *registration = made;
    return CARRICK_OK;
}

static int region_deregister(struct carrick_registration *registration)
{
    struct carrick_device *device = registration->domain->device;
    struct carrick_endpoint *endpoint;

    // The core may end what a zombie of the broken fence still holds.
    TAILQ_FOREACH(endpoint, &device->endpoints, entry)
    {
        if (endpoint->zombie)
            fault_queue_forget(endpoint, registration->inner);
    }
    return device->transport->ops.region_deregister(registration->inner);
}

static int listen_on(struct carrick_device *device, struct carrick_error *error)
{
    return device->transport->ops.listen(device->inner, error);
}

static void unlisten(struct carrick_device *device)
{
    device->transport->ops.unlisten(device->inner);
}

// {"fault": {"cut": 3, …}, "inner": what the inner transport says}
static void describe(struct carrick_device *device, struct carrick_endpoint *endpoint, char *text,
                     size_t size)
{
    struct carrick_transport *transport = device->transport;
    uint64_t hits[FAULT_KIND_COUNT] = {0};
    char inner[1024] = "", faults[512] = "";
    size_t at = 0;

    for (uint32_t i = 0; i < transport->config.rules_count; i++)
        hits[transport->config.rules[i].kind] += transport->config.rules[i].hits;
    for (unsigned kind = 1; kind < FAULT_KIND_COUNT; kind++) {
        if (hits[kind] != 0)
            at += (size_t)snprintf(faults + at, sizeof(faults) - at, "%s\"%s\":%llu",
                                   at == 0 ? "" : ",", fault_kind_name((enum fault_kind)kind),
                                   (unsigned long long)hits[kind]);
    }
    if (transport->ops.describe != NULL)
        transport->ops.describe(device->inner, endpoint != NULL ? endpoint->inner : NULL, inner,
                                sizeof(inner));
    if (snprintf(text, size, "{\"fault\":{%s},\"inner\":%s}", faults,
                 inner[0] != '\0' ? inner : "{}") >= (int)size)
        snprintf(text, size, "{}");
}

static const struct carrick_transport_wrapper_ops wrapper_ops = {
    .transport =
        {
            .destroy = destroy,
            .config_check = config_check,
            .device_open = fault_device_open,
            .device_close = fault_device_close,
            .device_caps = fault_device_caps,
            .device_poll = fault_device_poll,
            .device_fd = fault_device_fd,
            .device_arm = fault_device_arm,
            .device_wake = fault_device_wake,
            .domain_create = domain_create,
            .domain_destroy = domain_destroy,
            .region_register = region_register,
            .region_deregister = region_deregister,
            .listen = listen_on,
            .unlisten = unlisten,
            .endpoint_connect = fault_endpoint_connect,
            .endpoint_accept = fault_endpoint_accept,
            .endpoint_reject = fault_endpoint_reject,
            .endpoint_close = fault_endpoint_close,
            .post = fault_post,
            .describe = describe,
            .send_room = fault_send_room,
        },
    .wrap = fault_wrap,
};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_TRANSPORT_WRAPPER, "fault", CARRICK_VERSION, "Apache-2.0",
                        "makes another transport fail on purpose", wrapper_ops);
