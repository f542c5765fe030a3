// SPDX-License-Identifier: Apache-2.0
//
// The service "block": users of shelves, each bound to the term in which this node is owner.
#include "shelf.h"

#include <carrick/error.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct shelf *find_shelf(struct carrick_client *client, const char *name)
{
    for (uint32_t i = 0; i < client->shelf_count; i++)
        if (strcmp(client->shelves[i]->name, name) == 0)
            return client->shelves[i];
    return NULL;
}

static int may_serve(const struct shelf *shelf, struct carrick_error *error)
{
    const struct shelf_group *group = shelf->group;
    const struct carrick_host *base = shelf->client->base;

    if (group->role == CARRICK_LOG_SHADOW)
        return carrick_error_set(error, CARRICK_ERR_STATE, 0, "",
                                 "shelf %s is served by node %s at present, not by %s", shelf->name,
                                 base->partner, base->node);
    if (group->role != CARRICK_LOG_OWNER)
        return carrick_error_set(
            error, CARRICK_ERR_STATE, 0, "",
            "shelf %s is not served by node %s at present; try %s, or again in a while",
            shelf->name, base->node, base->partner);
    if (group->strange || group->broken)
        return carrick_error_set(
            error, CARRICK_ERR_STATE, 0, "",
            "shelf %s cannot be served by node %s: %s; the daemon's log says what to do",
            shelf->name, base->node,
            group->strange ? "its file is new and empty" : "its log cannot be read");
    return CARRICK_OK;
}

static int block_open(struct carrick_shelves *shelves, const char *name,
                      const struct carrick_block_user *user, void *arg, struct carrick_export **out,
                      struct carrick_block_info *info, struct carrick_error *error)
{
    struct carrick_client *client = shelves->client;
    struct shelf *shelf = find_shelf(client, name);

    if (shelf == NULL)
        return carrick_error_set(
            error, CARRICK_ERR_NOT_FOUND, 0, "",
            "there is no shelf named %.31s; the configuration of the client shelf names them",
            name);
    int status = may_serve(shelf, error);
    if (status != CARRICK_OK)
        return status;
    struct carrick_export *export_ = calloc(1, sizeof *export_);
    if (export_ == NULL)
        return carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, "",
                                 "there is no memory for another user");
    export_->client = client;
    export_->shelf = shelf;
    memcpy(&export_->user, user,
           user->struct_size < sizeof *user ? user->struct_size : sizeof *user);
    export_->arg = arg;
    export_->next = client->exports;
    client->exports = export_;
    if (info != NULL) {
        uint32_t size = info->struct_size;
        *info = (struct carrick_block_info){.struct_size = size, .bytes = shelf->bytes};
    }
    *out = export_;
    return CARRICK_OK;
}

static void drop_requests(struct carrick_export *export_)
{
    while (export_->requests != NULL)
        shelf_request_drop(export_->requests);
}

static void block_close(struct carrick_export *export_)
{
    struct carrick_export **at = &export_->client->exports;

    drop_requests(export_);
    while (*at != export_)
        at = &(*at)->next;
    *at = export_->next;
    free(export_);
}

static int block_submit(struct carrick_export *export_, const struct carrick_block_request *request)
{
    return shelf_request_submit(export_, request);
}

void shelf_export_fail(struct carrick_export *export_, const char *why)
{
    if (export_->over)
        return;
    export_->over = true;
    snprintf(export_->why, sizeof export_->why, "%s", why);
    drop_requests(export_);
    shelf_client_turn(export_->client);
}

void shelf_exports_close(struct shelf_group *group, const char *why)
{
    for (struct carrick_export *at = group->client->exports; at != NULL; at = at->next)
        if (at->shelf->group == group)
            shelf_export_fail(at, why);
}

void shelf_exports_turn(struct carrick_client *client)
{
    struct carrick_export *at = client->exports;

    // The callback may close any export: the list is looked through anew after each.
    while (at != NULL) {
        if (!at->over || at->told) {
            at = at->next;
            continue;
        }
        at->told = true;
        at->user.closed(at->arg, at->why);
        at = client->exports;
    }
}

const struct carrick_block_ops *shelf_block_ops(void)
{
    static const struct carrick_block_ops ops = {
        .struct_size = sizeof ops,
        .export_open = block_open,
        .export_close = block_close,
        .submit = block_submit,
        .submit_end = shelf_request_submit_end,
    };

    return &ops;
}
