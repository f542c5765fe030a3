// SPDX-License-Identifier: Apache-2.0
#include "core/manager.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/arbitration.h"
#include "core/client.h"
#include "core/command.h"
#include "core/conn.h"
#include "core/lane.h"
#include "core/link.h"
#include "core/model.h"
#include "core/placement.h"
#include "core/probe.h"
#include "core/region.h"
#include "core/session.h"
#include "core/vi.h"

#define STATUS_REGION_BYTES 4096u

static void manager_tick(void *arg);
static void manager_soon(void *arg);

const char *manager_name(const struct manager *manager)
{
    return manager->section->name;
}

// ---- making

static int pool_init(struct manager *manager)
{
    int status =
        region_create(manager, REGION_LOCAL, CARRICK_ACCESS_LOCAL,
                      (uint64_t)POOL_BUFFERS * POOL_BUFFER_BYTES, -1, 0, NULL, &manager->pool);

    if (status != CARRICK_OK)
        return status;
    manager->pool_free = calloc(POOL_BUFFERS, sizeof(*manager->pool_free));
    if (manager->pool_free == NULL)
        return CARRICK_ERR_NO_MEMORY;
    // The lowest lies on top, so that few pages are touched while few buffers are in use.
    for (uint32_t i = POOL_BUFFERS; i-- > 0;)
        manager->pool_free[manager->pool_free_count++] = i;
    return CARRICK_OK;
}

static int regions_init(struct manager *manager)
{
    int status = region_create(manager, REGION_STATUS, CARRICK_ACCESS_REMOTE_READ,
                               STATUS_REGION_BYTES, -1, 0, NULL, &manager->status);

    if (status == CARRICK_OK)
        status = region_create(manager, REGION_INBOX, CARRICK_ACCESS_REMOTE_WRITE, INBOX_BYTES, -1,
                               0, NULL, &manager->inbox);
    if (status == CARRICK_OK)
        status = region_create(manager, REGION_LOCAL, CARRICK_ACCESS_LOCAL, SCRATCH_BYTES, -1, 0,
                               NULL, &manager->scratch);
    return status == CARRICK_OK ? pool_init(manager) : status;
}

static int links_init(struct manager *manager, struct carrick_error *error)
{
    int status = CARRICK_OK;

    manager->links = calloc(manager->section->links_count, sizeof(*manager->links));
    if (manager->links == NULL)
        return CARRICK_ERR_NO_MEMORY;
    manager->link_count = (uint32_t)manager->section->links_count;
    for (uint32_t i = 0; i < manager->link_count && status == CARRICK_OK; i++)
        status = link_init(&manager->links[i], manager, i, error);
    return status;
}

// A plugin does not know under which name it was configured.
static void name_client(const struct config_client *config, struct carrick_error *error)
{
    char text[sizeof(error->text)];

    snprintf(text, sizeof(text), "%s", error->text);
    snprintf(error->text, sizeof(error->text), "client %s: %.*s", config->name,
             (int)(sizeof(text) - CONFIG_NAME_SIZE - 16),
             text[0] ? text : "it cannot be made, and its plugin does not say why");
}

static int clients_init(struct manager *manager, struct carrick_error *error)
{
    int status;

    manager->clients = calloc(manager->section->clients_count + 1, sizeof(*manager->clients));
    if (manager->clients == NULL)
        return CARRICK_ERR_NO_MEMORY;
    for (uint32_t i = 0; i < manager->section->clients_count; i++) {
        struct client *client = &manager->clients[manager->client_count];

        status = client_init(client, manager, i, error);
        if (status == CARRICK_OK) {
            manager->client_count++;
            continue;
        }
        client_free(client);
        memset(client, 0, sizeof(*client));
        if (manager->section->clients[i].required) {
            name_client(&manager->section->clients[i], error);
            return status;
        }
        log_record(manager->env, CARRICK_LOG_WARNING, "client-missing", manager->section->name,
                   manager->section->clients[i].name, "goes without this client: %s", error->text);
        *error = (struct carrick_error){.struct_size = sizeof(*error)};
    }
    return CARRICK_OK;
}

static int timers_init(struct manager *manager)
{
    struct env *env = manager->env;

    manager->tick = env->ops->timer_create(env, manager_tick, manager);
    manager->soon = env->ops->timer_create(env, manager_soon, manager);
    return manager->tick == NULL || manager->soon == NULL ? CARRICK_ERR_NO_MEMORY : CARRICK_OK;
}

static int manager_init(struct manager *manager, const struct manager_options *options,
                        struct carrick_error *error)
{
    struct env *env = options->env;
    int node = config_node_index(options->config, options->node), status;

    manager->env = env;
    manager->loader = options->loader;
    manager->config = options->config;
    manager->section = options->section;
    manager->stopped = options->stopped;
    manager->stopped_arg = options->arg;
    manager->isolation = options->isolation;
    manager->line.boot_stage =
        (uint8_t)(options->boot_stage ? options->boot_stage : CARRICK_BOOT_SERVING);
    if (node < 0)
        return CARRICK_ERR_NOT_FOUND;
    manager->node = (uint32_t)node;
    manager->node_name = options->config->nodes[node];
    manager->partner_name = options->config->nodes[1 - node];
    status =
        cluster_key_init(&manager->key, options->key, options->key_bytes, options->config->cluster);
    do {
        env->ops->random(env, &manager->incarnation, sizeof(manager->incarnation));
    } while (manager->incarnation == 0);
    session_init(manager);
    if (status == CARRICK_OK)
        status = timers_init(manager);
    if (status == CARRICK_OK)
        status = links_init(manager, error);
    if (status == CARRICK_OK)
        status = regions_init(manager);
    if (status == CARRICK_OK)
        status = placement_init(manager, error);
    if (status == CARRICK_OK)
        status = arbitration_init(manager, error);
    if (status == CARRICK_OK)
        status = clients_init(manager, error);
    return status;
}

int manager_create(const struct manager_options *options, struct manager **out,
                   struct carrick_error *error)
{
    struct manager *manager = calloc(1, sizeof(*manager));
    int status;

    if (manager == NULL)
        return CARRICK_ERR_NO_MEMORY;
    status = manager_init(manager, options, error);
    if (status != CARRICK_OK) {
        manager_destroy(manager);
        return status;
    }
    *out = manager;
    return CARRICK_OK;
}

static uint64_t tick_interval_ns(const struct manager *manager)
{
    return manager->section->timers.probe_ms * ENV_MS;
}

int manager_start(struct manager *manager, struct carrick_error *error)
{
    uint64_t now_ns = env_now_ns(manager->env);

    (void)error;
    session_publish(manager);
    manager->tick_ns = now_ns;
    manager->tick_due_ns = now_ns + tick_interval_ns(manager);
    manager->env->ops->timer_start(manager->tick, tick_interval_ns(manager));
    log_record(manager->env, CARRICK_LOG_NOTICE, "manager-start", manager->section->name, NULL,
               "manager starts, incarnation %016llx", (unsigned long long)manager->incarnation);
    for (uint32_t i = 0; i < manager->link_count; i++)
        link_start(&manager->links[i]);
    return CARRICK_OK;
}

// ---- ending

static bool manager_is_quiet(const struct manager *manager)
{
    for (uint32_t i = 0; i < manager->link_count; i++)
        if (!link_is_idle(&manager->links[i]) || manager->links[i].host.works > 0)
            return false;
    for (uint32_t i = 0; i < manager->client_count; i++)
        if (manager->clients[i].host.works > 0)
            return false;
    return manager->arbitration.host.works == 0;
}

static void manager_stop_if_quiet(struct manager *manager)
{
    if (!manager->stopping || manager->stopped_told ||
        manager->session.state != CARRICK_SESSION_IDLE || !manager_is_quiet(manager))
        return;
    manager->stopped_told = true;
    manager->env->ops->timer_stop(manager->tick);
    command_cancel_all(manager);
    log_record(manager->env, CARRICK_LOG_NOTICE, "manager-stop", manager->section->name, NULL,
               "manager has stopped");
    if (manager->stopped != NULL)
        manager->stopped(manager->stopped_arg);
}

void manager_session_over(struct manager *manager)
{
    if (manager->stopping)
        session_advance_soon(manager);
}

void manager_stop(struct manager *manager)
{
    if (manager->stopping) {
        manager->session.end_now = true;
        session_advance_soon(manager);
        return;
    }
    manager->stopping = true;
    clients_stopping(manager);
    session_end(manager, CARRICK_REASON_SHUTDOWN, "the daemon is stopping");
}

#define END_TURNS 1000u // of env->ops->settle, each a few milliseconds

static void regions_free(struct manager *manager)
{
    struct region *const own[] = {manager->status, manager->inbox, manager->scratch, manager->pool};

    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        if (own[i] != NULL)
            region_destroy(own[i]);
    free(manager->pool_free);
}

// A killed node's transports close at once: a bounded number of polls brings all that is still to come. What clients have
// on files is waited for: its callbacks are in plugins that are to be unloaded.
static void manager_kill(struct manager *manager)
{
    struct env *env = manager->env;

    if (!manager->stopping)
        clients_stopping(manager);
    manager->stopping = true;
    session_end(manager, CARRICK_REASON_SHUTDOWN, "killed");
    manager->session.end_now = true;
    for (unsigned i = 0;
         i < END_TURNS && (manager->session.state != CARRICK_SESSION_IDLE ||
                           manager->session.end_asked || !manager_is_quiet(manager));
         i++) {
        session_advance(manager);
        manager_poll(manager);
        if (env->ops->settle != NULL)
            env->ops->settle(env);
    }
}

// To close a device may leave something to a worker: over RDMA, the end of its queues. That runs code of the plugin, which
// must be over before the plugin is unloaded. false: it does not end.
static bool devices_end(struct manager *manager)
{
    struct env *env = manager->env;
    uint32_t works = 1;

    for (uint32_t i = 0; i < manager->link_count; i++)
        if (manager->links[i].manager != NULL)
            link_close_device(&manager->links[i]);
    for (unsigned turn = 0; turn < END_TURNS && works > 0; turn++) {
        works = 0;
        for (uint32_t i = 0; i < manager->link_count; i++)
            works += manager->links[i].host.works;
        if (works > 0 && env->ops->settle != NULL)
            env->ops->settle(env);
    }
    return works == 0;
}

void manager_destroy(struct manager *manager)
{
    struct env *env = manager->env;

    if (manager->tick != NULL && manager->status != NULL && manager->policy != NULL &&
        !manager->stopped_told)
        manager_kill(manager);
    if (env->ops->settle != NULL && !manager_is_quiet(manager))
        return; // a disk that does not answer: better not freed than freed under it
    command_cancel_all(manager);
    // In reverse: a client may use the services of those before it until its own end.
    for (uint32_t i = manager->client_count; i-- > 0;)
        client_free(&manager->clients[i]);
    arbitration_free(manager);
    placement_free(manager);
    regions_free(manager);
    if (!devices_end(manager))
        return; // better not unloaded than unloaded under what still runs
    for (uint32_t i = 0; i < manager->link_count; i++)
        link_free(&manager->links[i]);
    if (manager->tick != NULL)
        env->ops->timer_destroy(manager->tick);
    if (manager->soon != NULL)
        env->ops->timer_destroy(manager->soon);
    free(manager->clients);
    free(manager->links);
    free(manager);
}

// ---- running

static unsigned poll_links(struct manager *manager, struct link *links, uint32_t link_count)
{
    uint64_t began_ns, now_ns;
    unsigned count = 0;

    if (manager->polling)
        return 0;
    manager->polling = true;
    began_ns = env_now_ns(manager->env);
    for (uint32_t i = 0; i < link_count; i++)
        count += link_poll(&links[i]);
    clients_flush(manager);
    manager->polling = false;
    now_ns = env_now_ns(manager->env);
    if (count > 0) {
        manager->active_ns = now_ns;
        manager->busy_ns += now_ns - began_ns;
    }
    // A device may have more to do although this poll brought no event: only arming tells. A loop that goes on
    // polling does not arm: the device would look at its descriptors each time, and wake one that nobody waits for.
    if (manager_spin_until_ns(manager) <= now_ns)
        for (uint32_t i = 0; i < link_count; i++)
            link_arm(&links[i]);
    return count;
}

unsigned manager_poll(struct manager *manager)
{
    return poll_links(manager, manager->links, manager->link_count);
}

unsigned manager_poll_link(struct manager *manager, struct link *link)
{
    return manager_spin_until_ns(manager) > env_now_ns(manager->env) ? manager_poll(manager)
                                                                     : poll_links(manager, link, 1);
}

uint64_t manager_spin_until_ns(struct manager *manager)
{
    return manager->section->poll_us == 0
               ? 0
               : manager->active_ns + manager->section->poll_us * (uint64_t)1000;
}

// What must happen outside of any callback.
static void manager_soon(void *arg)
{
    struct manager *manager = arg;

    if (manager->vis_changed)
        vi_changes(manager);
    vi_buffers_go_on(manager);
    session_advance(manager);
    clients_flush(manager);
    manager_stop_if_quiet(manager);
}

static void load_measure(struct manager *manager, uint64_t now_ns)
{
    uint64_t span_ns = now_ns - manager->tick_ns;

    if (span_ns > 0)
        manager->line.load_permille =
            (uint16_t)(manager->busy_ns >= span_ns ? 1000 : manager->busy_ns * 1000 / span_ns);
    manager->busy_ns = 0;
    manager->tick_ns = now_ns;
}

static void conns_tick(struct manager *manager, uint64_t now_ns, bool late)
{
    for (uint32_t i = 0; i < manager->link_count; i++)
        for (struct conn *conn = manager->links[i].conns, *next; conn != NULL; conn = next) {
            next = conn->next;
            if (late)
                conn_forgive(conn, now_ns);
            conn_tick(conn, now_ns);
        }
}

static void manager_tick(void *arg)
{
    struct manager *manager = arg;
    uint64_t now_ns, interval_ns = tick_interval_ns(manager);

    // What has arrived meanwhile is taken in before anything is judged by its absence.
    manager_poll(manager);
    now_ns = env_now_ns(manager->env);
    load_measure(manager, now_ns);
    manager->line.heartbeat++;
    if (manager->isolation != NULL)
        manager->line.clients_still_ms = manager->isolation->still_ms(manager->isolation->arg);
    session_publish(manager);
    // A tick that comes late by more than an interval means that this node was held up, not that the partner is silent.
    conns_tick(manager, now_ns, now_ns > manager->tick_due_ns + interval_ns);
    session_tick(manager, now_ns);
    vi_open_tick(manager, now_ns);
    placement_tick(manager);
    command_tick(manager, now_ns);
    clients_flush(manager);
    manager_stop_if_quiet(manager);
    manager->tick_due_ns = now_ns + interval_ns;
    if (!manager->stopped_told)
        manager->env->ops->timer_start(manager->tick, interval_ns);
}

static void client_reload(struct client *client, const struct config_client *before)
{
    struct carrick_error error = {.struct_size = sizeof(error)};
    int status;

    if (config_section_equal(&before->config, &client->config->config))
        return;
    status = client_config_change(client, client->config->config.json, &error);
    if (status != CARRICK_OK)
        log_record(client->manager->env, CARRICK_LOG_WARNING, "client-reload",
                   client->manager->section->name, client->config->name,
                   "keeps its configuration until the next start: %s",
                   error.text[0] != '\0' ? error.text : "it cannot change while running");
}

void manager_reload(struct manager *manager, const struct config *config,
                    const struct config_manager *section)
{
    struct carrick_error error = {.struct_size = sizeof(error)};

    if (placement_reload(manager, &section->policy, &error) != CARRICK_OK)
        log_record(manager->env, CARRICK_LOG_WARNING, "policy-reload", manager->section->name, NULL,
                   "keeps its policy: %s", error.text);
    manager->config = config;
    manager->section = section;
    manager->node_name = config->nodes[manager->node];
    manager->partner_name = config->nodes[1 - manager->node];
    for (uint32_t i = 0; i < manager->link_count; i++)
        manager->links[i].config = config_link_find(section, manager->links[i].config->name);
    for (uint32_t i = 0; i < manager->client_count; i++) {
        struct client *client = &manager->clients[i];
        const struct config_client *before = client->config;

        client->config = config_client_find(section, before->name);
        client_reload(client, before);
    }
    session_advance_soon(manager);
}

void manager_break_replay(struct manager *manager)
{
    manager->break_replay = true;
}
