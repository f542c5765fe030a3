// SPDX-License-Identifier: Apache-2.0
//
// What `carrick clients` shows of the shelves.
#include "catchup.h"

#include "front.h"

#include <json-c/json.h>

#include <stdio.h>
#include <string.h>

static void add_text(struct json_object *object, const char *key, const char *text)
{
    json_object_object_add(object, key, json_object_new_string(text));
}

static void add_number(struct json_object *object, const char *key, uint64_t number)
{
    json_object_object_add(object, key, json_object_new_int64((int64_t)number));
}

static struct json_object *describe_shelf(const struct shelf *shelf)
{
    struct json_object *object = json_object_new_object();
    struct shelf_map_stats map;
    uint64_t exports = 0;

    for (const struct carrick_export *at = shelf->client->exports; at != NULL; at = at->next)
        exports += at->shelf == shelf && !at->over;
    shelf_map_stats(shelf->map, &map);
    add_text(object, "name", shelf->name);
    add_number(object, "bytes", shelf->bytes);
    add_number(object, "exports", exports);
    add_number(object, "in_log_bytes", shelf->index.bytes);
    add_number(object, "differs_bytes", map.marked * SHELF_CHUNK_BYTES);
    if (shelf->errors > 0)
        add_number(object, "errors", shelf->errors);
    if (shelf->error != 0)
        add_text(object, "error", strerror(shelf->error));
    if (map.error != 0)
        add_text(object, "map_error", strerror(map.error));
    return object;
}

static struct json_object *describe_catchup(const struct shelf_group *group)
{
    static const char *const states[] = {"none", "running", "equal", "failed"};
    struct carrick_resync resync;
    struct json_object *object = json_object_new_object();

    shelf_catchup_describe(group, &resync);
    add_text(object, "state", states[resync.state]);
    add_number(object, "done_bytes", resync.done_bytes);
    add_number(object, "total_bytes", resync.total_bytes);
    add_number(object, "bytes_per_second", resync.bytes_per_second);
    if (resync.total_bytes > 0)
        add_number(object, "percent",
                   (uint64_t)((double)resync.done_bytes * 100 / (double)resync.total_bytes));
    if (resync.state == CARRICK_RESYNC_RUNNING && resync.bytes_per_second > 0)
        add_number(object, "left_s",
                   (resync.total_bytes - resync.done_bytes) / resync.bytes_per_second);
    if (resync.cause[0] != '\0')
        add_text(object, "cause", resync.cause);
    return object;
}

static const char *condition(const struct shelf_group *group)
{
    if (group->log == NULL)
        return "without log";
    if (group->broken)
        return "broken";
    if (group->strange)
        return "new and empty";
    if (shelf_follower_runs(group))
        return "catching up";
    return "good";
}

static struct json_object *describe_group(const struct shelf_group *group)
{
    static const char *const roles[] = {"idle", "owner", "shadow"};
    struct json_object *object = json_object_new_object();
    struct json_object *shelves = json_object_new_array();

    add_text(object, "name", group->name);
    add_text(object, "role", group->role <= CARRICK_LOG_SHADOW ? roles[group->role] : "unknown");
    add_text(object, "condition", condition(group));
    add_number(object, "told", group->told);
    add_number(object, "on_disk", group->destaged);
    add_number(object, "on_all_disks", group->everywhere);
    add_number(object, "waiting_for_room", group->room.count);
    add_number(object, "waiting_for_sync", group->sync_queue.count);
    for (uint32_t i = 0; i < group->count; i++)
        json_object_array_add(shelves, describe_shelf(group->shelves[i]));
    json_object_object_add(object, "shelves", shelves);
    json_object_object_add(object, "catchup", describe_catchup(group));
    return object;
}

// What the configuration lacks.
static void describe_trouble(const struct carrick_client *client, struct json_object *object)
{
    const struct shelf_group *found = NULL;
    char text[320];

    if (client->log_ops == NULL) {
        add_text(object, "trouble",
                 "no shelf is served: there is no log; the configuration wants a client with the "
                 "plugin nvram_shadow before this one, in the same process");
        return;
    }
    for (uint32_t i = client->group_count; i > 0; i--)
        if (client->groups[i - 1]->log == NULL)
            found = client->groups[i - 1];
    if (found == NULL)
        return;
    snprintf(
        text, sizeof text,
        "shelf %s is not served: the configuration of nvram_shadow has no group %s, or another "
        "client takes its records",
        found->shelves[0]->name, found->name);
    add_text(object, "trouble", text);
}

void shelf_describe_state(struct carrick_client *client, char *text, size_t size)
{
    struct json_object *object = json_object_new_object();
    struct json_object *groups = json_object_new_array();

    for (uint32_t i = 0; i < client->group_count; i++)
        json_object_array_add(groups, describe_group(client->groups[i]));
    json_object_object_add(object, "groups", groups);
    describe_trouble(client, object);
    if (client->front != NULL) {
        char front[4096];
        front_describe(client->front, front, sizeof front);
        struct json_object *parsed = json_tokener_parse(front);
        if (parsed != NULL)
            json_object_object_add(object, "front", parsed);
    }
    const char *whole = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
                                                                   JSON_C_TO_STRING_NOSLASHESCAPE);
    // A half of a JSON text is none.
    if (strlen(whole) < size)
        snprintf(text, size, "%s", whole);
    else
        snprintf(text, size, "{\"groups_count\":%u}", client->group_count);
    json_object_put(object);
}
