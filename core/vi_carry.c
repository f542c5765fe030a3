// SPDX-License-Identifier: Apache-2.0
//
// VIs and lanes: placing, and carrying over. A VI whose lane is lost stalls; it goes on when the fence of the lost conn
// is over (conn_fence.c), by another link or by a new conn of the same one.
#include "core/client.h"
#include "core/conn.h"
#include "core/lane.h"
#include "core/link.h"
#include "core/placement.h"
#include "core/vi.h"

void vi_place(struct vi *vi, struct lane *lane)
{
    vi_unplace(vi);
    vi->lane = lane;
    lane->conn->link->vis++;
    vi_enter(vi, CARRICK_VI_OPEN);
    vi_pump(vi);
}

static void waiting_remove(struct vi *vi)
{
    struct lane *lane = vi->lane;
    struct vi **at = &lane->waiting;

    if (!vi->waiting)
        return;
    while (*at != vi)
        at = &(*at)->waiting_next;
    *at = vi->waiting_next;
    if (lane->waiting_end == &vi->waiting_next)
        lane->waiting_end = at;
    vi->waiting = false;
    vi->waiting_next = NULL;
}

void vi_unplace(struct vi *vi)
{
    if (vi->lane == NULL)
        return;
    waiting_remove(vi);
    placement_bind(vi, NULL);
    vi->lane->conn->link->vis--;
    vi->lane = NULL;
}

// Calls fn for each VI of the manager; fn may end the VI.
static void vi_each(struct manager *manager, void (*fn)(struct vi *vi, void *arg), void *arg)
{
    for (uint32_t i = 0; i < manager->ranked_count; i++)
        for (uint32_t j = 0; j < manager->ranked[i]->vis_room; j++)
            if (manager->ranked[i]->vis[j] != NULL)
                fn(manager->ranked[i]->vis[j], arg);
}

static void vi_stall(struct vi *vi, void *arg)
{
    struct lane *lane = arg;

    if (vi->lane != lane)
        return;
    vi_unplace(vi);
    vi->fence = lane->conn;
    vi->carried_total += vi->inflight;
    vi_enter(vi, CARRICK_VI_STALLED);
}

void vi_lane_lost(struct lane *lane)
{
    vi_each(lane->conn->link->manager, vi_stall, lane);
}

static void vi_go_on(struct vi *vi, void *arg)
{
    struct conn *conn = arg;

    if (vi->fence != conn)
        return;
    vi->fence = NULL;
    if (vi->closing)
        vi_close_if_drained(vi);
    else
        placement_place(vi);
}

void vi_fence_over(struct conn *conn)
{
    vi_each(conn->link->manager, vi_go_on, conn);
}
