// SPDX-License-Identifier: Apache-2.0
#include "core/report.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>

#include "core/client.h"
#include "core/conn.h"
#include "core/lane.h"
#include "core/link.h"
#include "core/names.h"
#include "core/region.h"

#define DETAIL_BYTES 4096
#define VIS_SHOWN_MAX 256u // in status; `carrick vis` shows all

static void add_string(struct json_object *object, const char *name, const char *value)
{
    json_object_object_add(object, name, json_object_new_string(value));
}

static void add_number(struct json_object *object, const char *name, uint64_t value)
{
    json_object_object_add(object, name, json_object_new_int64((int64_t)value));
}

static void add_bool(struct json_object *object, const char *name, bool value)
{
    json_object_object_add(object, name, json_object_new_boolean(value));
}

// Identities are 64 bits wide; many JSON readers are not.
static void add_identity(struct json_object *object, const char *name, uint64_t value)
{
    char text[17];

    snprintf(text, sizeof(text), "%016" PRIx64, value);
    add_string(object, name, text);
}

static uint64_t age_ms(const struct manager *manager, uint64_t since_ns)
{
    return (env_now_ns(manager->env) - since_ns) / ENV_MS;
}

// What a plugin describes must not spoil the whole answer when it is not JSON.
static void add_detail(struct json_object *object, const char *text)
{
    struct json_object *detail = text[0] == '\0' ? NULL : json_tokener_parse(text);

    if (!json_object_is_type(detail, json_type_object)) {
        json_object_put(detail);
        detail = json_object_new_object();
    }
    json_object_object_add(object, "detail", detail);
}

static struct json_object *report_ending(const struct manager *manager, const struct ending *ending)
{
    struct json_object *object;

    if (ending->reason == CARRICK_REASON_NONE)
        return NULL;
    object = json_object_new_object();
    add_string(object, "by", ending->by_partner ? "partner" : "local");
    add_string(object, "reason", reason_name(ending->reason));
    add_string(object, "text",
               ending->text[0] == '\0' ? reason_text(ending->reason) : ending->text);
    add_number(object, "age_ms", age_ms(manager, ending->at_ns));
    return object;
}

static struct json_object *report_session(const struct manager *manager)
{
    const struct session *session = &manager->session;
    struct json_object *object = json_object_new_object();

    add_string(object, "state", session_state_name(session->state));
    add_number(object, "age_ms", age_ms(manager, session->since_ns));
    add_identity(object, "id", session->id);
    add_identity(object, "partner_incarnation", session->partner_incarnation);
    add_number(object, "version", session->version);
    add_number(object, "sessions", session->count);
    json_object_object_add(object, "refused", report_ending(manager, &session->refused));
    json_object_object_add(object, "last_end", report_ending(manager, &session->last_end));
    return object;
}

static struct json_object *report_partner(const struct manager *manager)
{
    const struct carrick_partner_status *status = &manager->partner_status;
    struct json_object *object;

    if (status->read_at_ns == 0)
        return NULL;
    object = json_object_new_object();
    add_string(object, "state", session_state_name(status->session_state));
    add_string(object, "boot_stage", boot_stage_name(status->boot_stage));
    add_identity(object, "incarnation", status->incarnation);
    add_number(object, "heartbeat", status->heartbeat);
    add_number(object, "heartbeat_age_ms", age_ms(manager, status->heartbeat_moved_at_ns));
    add_number(object, "read_age_ms", age_ms(manager, status->read_at_ns));
    add_number(object, "load_permille", status->load_permille);
    add_number(object, "shadow_sequence", status->shadow_sequence);
    add_number(object, "clients_still_ms", status->clients_still_ms);
    return object;
}

// ---- links

static struct json_object *report_link(const struct link *link)
{
    struct json_object *object = json_object_new_object();
    char detail[DETAIL_BYTES] = "";
    uint64_t ops = 0, bytes = 0;

    for (uint32_t i = 0; link->current != NULL && i < link->current->lane_count; i++) {
        ops += lane_posted(&link->current->lanes[i]);
        bytes += link->current->lanes[i].inflight_bytes;
    }
    add_string(object, "name", link->config->name);
    add_string(object, "transport", link->config->transport);
    add_string(object, "state", link_state_name(link_state(link)));
    add_bool(object, "eligible", link_is_up(link) && !link_is_held(link));
    add_number(object, "age_ms", age_ms(link->manager, link->since_ns));
    add_string(object, "cause", link->cause);
    json_object_object_add(object, "latency_us",
                           json_object_new_double((double)link->latency_ns / 1000.0));
    add_number(object, "lanes", link->current == NULL ? 0 : link->current->lane_count);
    add_number(object, "vis", link->vis);
    add_number(object, "inflight_ops", ops);
    add_number(object, "inflight_bytes", bytes);
    add_number(object, "failures", link->failures);
    if (link->device != NULL) {
        add_string(object, "proof",
                   link->caps.proof == CARRICK_PROOF_REMOTE ? "completion" : "flush");
        link->ops->describe(link->device, NULL, detail, sizeof(detail));
    }
    add_detail(object, detail);
    return object;
}

struct json_object *report_links(struct manager *manager)
{
    struct json_object *array = json_object_new_array();

    for (uint32_t i = 0; i < manager->link_count; i++)
        json_object_array_add(array, report_link(&manager->links[i]));
    return array;
}

// ---- clients

static const char *client_state(const struct client *client)
{
    const struct session *session = &client->manager->session;

    if (client->told_ready)
        return session->state == CARRICK_SESSION_ENDING ? "ending" : "ready";
    if (session->state == CARRICK_SESSION_UP && !client->matched)
        return "no-partner";
    return "waiting";
}

static void add_process(struct json_object *object, struct client *client)
{
    struct json_object *process = json_object_new_object();
    struct manager_isolation_report report;

    client->manager->isolation->report(client->instance, &report);
    add_string(process, "name", report.process);
    add_string(process, "state", report.state);
    add_number(process, "pid", (uint64_t)report.pid);
    add_number(process, "restarts", report.restarts);
    add_string(process, "last_cause", report.last_cause);
    add_number(process, "beat_age_ms", report.beat_age_ms);
    json_object_object_add(object, "process", process);
}

static struct json_object *report_client(struct client *client)
{
    struct json_object *object = json_object_new_object();
    char detail[DETAIL_BYTES];

    add_string(object, "name", client->config->name);
    add_string(object, "plugin", client->config->plugin);
    add_string(object, "version", module_plugin(client->module)->version);
    add_string(object, "isolation", client->isolated ? "process" : "inline");
    if (client->isolated)
        add_process(object, client);
    add_string(object, "state", client_state(client));
    add_number(object, "vis", client->vis_open);
    add_number(object, "here_regions", client->here_count);
    add_number(object, "there_regions", client->matched ? client->need.region_count : 0);
    add_number(object, "overstays", client->overstays);
    client_describe_state(client, detail, sizeof(detail));
    add_detail(object, detail);
    return object;
}

struct json_object *report_clients(struct manager *manager)
{
    struct json_object *array = json_object_new_array();

    for (uint32_t i = 0; i < manager->client_count; i++)
        json_object_array_add(array, report_client(&manager->clients[i]));
    return array;
}

// ---- VIs

static const char *vi_state_name(uint32_t state)
{
    static const char *const names[] = {
        [CARRICK_VI_OPENING] = "opening",
        [CARRICK_VI_OPEN] = "open",
        [CARRICK_VI_STALLED] = "stalled",
        [CARRICK_VI_CLOSED] = "closed",
    };
    return names[state];
}

static struct json_object *report_vi(const struct vi *vi)
{
    struct json_object *object = json_object_new_object();

    add_string(object, "client", vi->client->config->name);
    add_number(object, "number", vi->number);
    add_string(object, "state", vi_state_name(vi->state));
    json_object_object_add(
        object, "link",
        vi->lane == NULL ? NULL : json_object_new_string(vi->lane->conn->link->config->name));
    add_number(object, "inflight", vi->tail - vi->head);
    add_number(object, "posted", vi->posted_total);
    add_number(object, "completed", vi->completed_total);
    add_number(object, "carried_over", vi->carried_total);
    return object;
}

static struct json_object *vis_up_to(const struct manager *manager, uint32_t max)
{
    struct json_object *array = json_object_new_array();

    for (uint32_t i = 0; i < manager->client_count; i++)
        for (uint32_t j = 0; j < manager->clients[i].vis_room && max > 0; j++)
            if (manager->clients[i].vis[j] != NULL) {
                json_object_array_add(array, report_vi(manager->clients[i].vis[j]));
                max--;
            }
    return array;
}

struct json_object *report_vis(struct manager *manager)
{
    return vis_up_to(manager, UINT32_MAX);
}

// ---- all

struct json_object *report_manager(struct manager *manager)
{
    struct json_object *object = json_object_new_object();

    add_string(object, "name", manager->section->name);
    add_identity(object, "incarnation", manager->incarnation);
    add_string(object, "boot_stage", boot_stage_name(manager->line.boot_stage));
    add_string(object, "policy", manager->section->policy.plugin);
    add_string(object, "profile", manager->section->profile);
    json_object_object_add(object, "session", report_session(manager));
    json_object_object_add(object, "partner", report_partner(manager));
    json_object_object_add(object, "links", report_links(manager));
    json_object_object_add(object, "clients", report_clients(manager));
    json_object_object_add(object, "vis", vis_up_to(manager, VIS_SHOWN_MAX));
    return object;
}

struct json_object *report_stats(struct manager *manager)
{
    struct json_object *object = json_object_new_object();
    uint64_t regions = 0, bytes = 0;

    for (const struct region *region = manager->regions; region != NULL; region = region->next) {
        regions++;
        bytes += region->memory.bytes;
    }
    add_string(object, "name", manager->section->name);
    add_number(object, "regions", regions);
    add_number(object, "region_bytes", bytes);
    add_number(object, "send_buffers_free", manager->pool_free_count);
    add_number(object, "load_permille", manager->line.load_permille);
    add_number(object, "heartbeat", manager->line.heartbeat);
    json_object_object_add(object, "links", report_links(manager));
    json_object_object_add(object, "vis", report_vis(manager));
    return object;
}
