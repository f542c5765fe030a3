// SPDX-License-Identifier: Apache-2.0
#include "core/arbitration.h"

#include <carrick/arbitration.h>
#include <stdlib.h>

#include "core/service.h"

struct question {
    const char *group;
    const struct carrick_arbiter_record *wanted; // NULL: a read
    uint64_t expected_number;
    uint32_t timeout_ms;
};

static struct arbitration *arbitration_of(struct carrick_arbitration *handle)
{
    return (struct arbitration *)handle;
}

static struct arbitration_wait *wait_take(struct arbitration *arbitration, uint64_t cookie)
{
    for (struct arbitration_wait **at = &arbitration->waits; *at != NULL; at = &(*at)->next)
        if ((*at)->cookie == cookie) {
            struct arbitration_wait *wait = *at;

            *at = wait->next;
            return wait;
        }
    return NULL;
}

static void answered(const struct carrick_arbiter_host *host, uint64_t cookie, int status,
                     const struct carrick_arbiter_record *record)
{
    struct arbitration *arbitration = (struct arbitration *)(uintptr_t)host;
    struct arbitration_wait *wait = wait_take(arbitration, cookie);

    if (wait == NULL)
        return;
    wait->fn(wait->arg, status, record);
    free(wait);
}

static int ask(struct arbitration *arbitration, const struct question *question,
               carrick_arbitration_fn fn, void *arg)
{
    struct arbitration_wait *wait = malloc(sizeof(*wait));
    int status;

    if (wait == NULL)
        return CARRICK_ERR_NO_MEMORY;
    *wait = (struct arbitration_wait){
        .next = arbitration->waits, .cookie = ++arbitration->cookie, .fn = fn, .arg = arg};
    arbitration->waits = wait;
    status = question->wanted == NULL
                 ? arbitration->ops->read(arbitration->arbiter, question->group,
                                          question->timeout_ms, wait->cookie)
                 : arbitration->ops->change(arbitration->arbiter, question->group,
                                            question->expected_number, question->wanted,
                                            question->timeout_ms, wait->cookie);
    if (status != CARRICK_OK)
        free(wait_take(arbitration, wait->cookie));
    return status;
}

static int ask_read(struct carrick_arbitration *handle, const char *group, uint32_t timeout_ms,
                    carrick_arbitration_fn fn, void *arg)
{
    return ask(arbitration_of(handle), &(struct question){.group = group, .timeout_ms = timeout_ms},
               fn, arg);
}

static int ask_change(struct carrick_arbitration *handle, const char *group,
                      uint64_t expected_number, const struct carrick_arbiter_record *wanted,
                      uint32_t timeout_ms, carrick_arbitration_fn fn, void *arg)
{
    return ask(arbitration_of(handle),
               &(struct question){
                   .group = group,
                   .wanted = wanted,
                   .expected_number = expected_number,
                   .timeout_ms = timeout_ms,
               },
               fn, arg);
}

static const char *arbiter_name(struct carrick_arbitration *handle)
{
    return arbitration_of(handle)->manager->section->arbiter.plugin;
}

static const struct carrick_arbitration_ops service = {
    .struct_size = sizeof(service),
    .read = ask_read,
    .change = ask_change,
    .name = arbiter_name,
};

int arbitration_init(struct manager *manager, struct carrick_error *error)
{
    struct arbitration *arbitration = &manager->arbitration;
    const struct config_plugin *config = &manager->section->arbiter;
    int status;

    if (config->plugin[0] == '\0')
        return CARRICK_OK;
    arbitration->manager = manager;
    host_init(&arbitration->host, manager->env, manager->node_name, manager->partner_name,
              manager->section->name, "arbiter");
    arbitration->arbiter_host = (struct carrick_arbiter_host){
        .struct_size = sizeof(struct carrick_arbiter_host),
        .base = &arbitration->host.base,
        .answered = answered,
    };
    status = loader_get(manager->loader, CARRICK_KIND_ARBITER, config->plugin, &arbitration->module,
                        error);
    if (status != CARRICK_OK)
        return status;
    arbitration->ops = module_ops(arbitration->module);
    status = arbitration->ops->create(&arbitration->arbiter_host, config->config.json,
                                      &arbitration->arbiter, error);
    if (status != CARRICK_OK) {
        arbitration->arbiter = NULL;
        return status;
    }
    return service_offer(manager, NULL, CARRICK_ARBITER_SERVICE, &service, arbitration);
}

void arbitration_free(struct manager *manager)
{
    struct arbitration *arbitration = &manager->arbitration;

    if (arbitration->arbiter != NULL)
        arbitration->ops->destroy(arbitration->arbiter);
    while (arbitration->waits != NULL) {
        struct arbitration_wait *wait = arbitration->waits;

        arbitration->waits = wait->next;
        free(wait);
    }
    if (arbitration->module != NULL)
        module_put(arbitration->module);
}
