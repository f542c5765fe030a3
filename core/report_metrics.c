// SPDX-License-Identifier: Apache-2.0
//
// What a manager shows of itself as metrics.
#include "core/lane.h"
#include "core/link.h"
#include "core/metrics.h"
#include "core/model.h"

static void session_metrics(const struct manager *manager, struct metrics_sink *sink)
{
    const struct session *session = &manager->session;
    const struct metrics_label labels[] = {{"manager", manager->section->name}};

    metrics_family(sink, "carrick_session_up", METRICS_GAUGE, "1 while the session is up.");
    metrics_sample(sink, labels, 1, session->state == CARRICK_SESSION_UP);
    metrics_family(sink, "carrick_session_state", METRICS_GAUGE,
                   "State of the session, as numbered in carrick/types.h.");
    metrics_sample(sink, labels, 1, session->state);
    metrics_family(sink, "carrick_sessions", METRICS_COUNTER, "Sessions that came up.");
    metrics_sample(sink, labels, 1, session->count);
    metrics_family(sink, "carrick_session_age_seconds", METRICS_GAUGE,
                   "Time since the session entered its state.");
    metrics_sample_ns(sink, labels, 1, env_now_ns(manager->env) - session->since_ns);
    metrics_family(sink, "carrick_session_refused", METRICS_GAUGE,
                   "Reason of the last refusal, as numbered in carrick/types.h; 0: none stands.");
    metrics_sample(sink, labels, 1, session->refused.reason);
    metrics_family(sink, "carrick_manager_load_ratio", METRICS_GAUGE,
                   "Share of time that the manager was working.");
    metrics_sample_real(sink, labels, 1, manager->line.load_permille / 1000.0);
}

static void link_metrics(const struct link *link, struct metrics_sink *sink)
{
    const struct metrics_label labels[] = {
        {"manager", link->manager->section->name},
        {"link", link->config->name},
        {"transport", link->config->transport},
    };
    uint64_t bytes = 0, operations = 0;

    for (uint32_t i = 0; link->current != NULL && i < link->current->lane_count; i++) {
        bytes += link->current->lanes[i].inflight_bytes;
        operations += lane_posted(&link->current->lanes[i]);
    }
    metrics_family(sink, "carrick_link_up", METRICS_GAUGE, "1 while the link can carry VIs.");
    metrics_sample(sink, labels, 3, link_is_up(link));
    metrics_family(sink, "carrick_link_failures", METRICS_COUNTER,
                   "Times that the link failed after it was up.");
    metrics_sample(sink, labels, 3, link->failures);
    metrics_family(sink, "carrick_link_latency_seconds", METRICS_GAUGE,
                   "Smoothed round trip of the link's probe; 0: not known.");
    metrics_sample_ns(sink, labels, 3, link->latency_ns);
    metrics_family(sink, "carrick_link_vis", METRICS_GAUGE, "VIs on the link.");
    metrics_sample(sink, labels, 3, link->vis);
    metrics_family(sink, "carrick_link_inflight_bytes", METRICS_GAUGE,
                   "Bytes posted and not proven.");
    metrics_sample(sink, labels, 3, bytes);
    metrics_family(sink, "carrick_link_inflight_operations", METRICS_GAUGE,
                   "Operations posted and not proven.");
    metrics_sample(sink, labels, 3, operations);
}

static void client_metrics(const struct client *client, struct metrics_sink *sink)
{
    const struct metrics_label labels[] = {
        {"manager", client->manager->section->name},
        {"client", client->config->name},
    };
    uint64_t posted = 0, completed = 0, carried = 0;

    for (uint32_t i = 0; i < client->vis_room; i++)
        if (client->vis[i] != NULL) {
            posted += client->vis[i]->posted_total;
            completed += client->vis[i]->completed_total;
            carried += client->vis[i]->carried_total;
        }
    metrics_family(sink, "carrick_client_ready", METRICS_GAUGE,
                   "1 while the client is joined to its partner.");
    metrics_sample(sink, labels, 2, client->told_ready);
    metrics_family(sink, "carrick_client_overstays", METRICS_COUNTER,
                   "Callbacks that took longer than overstay_us.");
    metrics_sample(sink, labels, 2, client->overstays);
    metrics_family(sink, "carrick_client_session_operations", METRICS_GAUGE,
                   "Operations posted in this session, on VIs that are open.");
    metrics_sample(sink, labels, 2, posted);
    metrics_family(sink, "carrick_client_session_completions", METRICS_GAUGE,
                   "Operations completed in this session, on VIs that are open.");
    metrics_sample(sink, labels, 2, completed);
    metrics_family(sink, "carrick_client_session_carried_over", METRICS_GAUGE,
                   "Chunks in flight when a link failed, in this session, on VIs that are open.");
    metrics_sample(sink, labels, 2, carried);
}

void manager_metrics(struct manager *manager, struct metrics_sink *sink)
{
    session_metrics(manager, sink);
    for (uint32_t i = 0; i < manager->link_count; i++)
        link_metrics(&manager->links[i], sink);
    for (uint32_t i = 0; i < manager->client_count; i++)
        client_metrics(&manager->clients[i], sink);
}
