// SPDX-License-Identifier: Apache-2.0
//
// A group as the log tells of it: records, roles, who else holds what.
#include "shelf.h"

#include "catchup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PRUNE_STEPS 8192u
#define EAGER_PART 2u // a log this part of which waits for the disk is not let rest
#define EAGER_BYTES_MIN (1u << 20)

struct shelf_group *shelf_group_find(struct carrick_client *client, const char *name)
{
    for (uint32_t i = 0; i < client->group_count; i++)
        if (strcmp(client->groups[i]->name, name) == 0)
            return client->groups[i];
    return NULL;
}

bool shelf_group_maps_ready(const struct shelf_group *group)
{
    for (uint32_t i = 0; i < group->count; i++)
        if (!shelf_map_ready(group->shelves[i]->map))
            return false;
    return true;
}

void shelf_group_flush_maps(struct shelf_group *group)
{
    for (uint32_t i = 0; i < group->count; i++)
        shelf_map_flush(group->shelves[i]->map);
}

static void group_break(struct shelf_group *group, const char *why)
{
    if (!group->broken)
        group->client->base->log(
            group->client->base, CARRICK_LOG_ERROR,
            "group %s: %s. It is not served or destaged here any more; its log keeps "
            "everything. Mend that and start the daemon again",
            group->name, why);
    group->broken = true;
    shelf_exports_close(group, why);
    group->client->log_ops->fail(group->log);
}

// ---- the records that the log still holds

static void records_free(struct shelf_group *group)
{
    for (uint32_t i = 0; i < group->count; i++)
        shelf_index_clear(&group->shelves[i]->index);
    group->drops++;
    while (group->first != NULL) {
        struct shelf_record *record = group->first;
        group->first = record->next;
        shelf_pool_put(&group->record_pool, record);
    }
    shelf_pool_end(&group->record_pool);
    group->last = NULL;
    group->records = 0;
}

// Forgets the records that are on the disks of all members.
static void records_prune(struct shelf_group *group)
{
    uint64_t limit = shelf_min(group->everywhere, group->destaged);

    if (group->follower != NULL && shelf_follower_remembers(group))
        return;
    for (uint32_t i = 0; i < PRUNE_STEPS && group->first != NULL; i++) {
        struct shelf_record *record = group->first;
        if (record->sequence > limit)
            return;
        group->pruned = record->sequence;
        group->first = record->next;
        if (group->first == NULL)
            group->last = NULL;
        else
            group->first->previous = NULL;
        group->records--;
        shelf_pool_put(&group->record_pool, record);
    }
}

// What is void was never: the index is built again from the rest.
static void records_cut(struct shelf_group *group, uint64_t above)
{
    struct shelf_record **at = &group->first;

    for (uint32_t i = 0; i < group->count; i++)
        shelf_index_clear(&group->shelves[i]->index);
    group->drops++;
    group->last = NULL;
    while (*at != NULL) {
        struct shelf_record *record = *at;
        if (record->sequence > above) {
            // The disk may hold some of it already: the new owner must copy it over.
            shelf_map_mark(record->shelf->map, record->offset, record->offset + record->length);
            *at = record->next;
            group->records--;
            shelf_pool_put(&group->record_pool, record);
            continue;
        }
        if (record->sequence > group->destaged &&
            !shelf_index_insert(&record->shelf->index, record))
            group_break(group, "there is no memory for the index of its log");
        record->previous = group->last;
        group->last = record;
        at = &record->next;
    }
    group->told = shelf_min(group->told, above);
    group->destaged = shelf_min(group->destaged, above);
    group->synced_told = shelf_min(group->synced_told, above);
    group->everywhere = shelf_min(group->everywhere, above);
    group->pruned = shelf_min(group->pruned, above);
    shelf_group_flush_maps(group);
}

static void mark_record(const struct shelf_record *record)
{
    shelf_map_mark(record->shelf->map, record->offset, record->offset + record->length);
}

static bool record_is_good(const struct shelf_group *group, const struct carrick_log_entry *entry)
{
    if (entry->shelf >= group->count ||
        (entry->kind != CARRICK_LOG_WRITE && entry->kind != CARRICK_LOG_ZERO &&
         entry->kind != CARRICK_LOG_TRIM))
        return false;
    uint64_t bytes = group->shelves[entry->shelf]->bytes;
    return entry->offset <= bytes && entry->length <= bytes - entry->offset &&
           (entry->kind != CARRICK_LOG_WRITE || entry->data != NULL || entry->length == 0);
}

// The log counts anew from a lower sequence: it was taken whole from the partner.
static void sequence_restarts(struct shelf_group *group, uint64_t sequence)
{
    group->destaged = shelf_min(group->destaged, sequence - 1);
    group->synced_told = shelf_min(group->synced_told, sequence - 1);
    group->everywhere = shelf_min(group->everywhere, sequence - 1);
    group->pruned = shelf_min(group->pruned, sequence - 1);
}

static void on_record(void *arg, const struct carrick_log_entry *entry)
{
    struct shelf_group *group = arg;

    if (group->broken || (group->last != NULL && entry->sequence <= group->last->sequence))
        return;
    if (!record_is_good(group, entry)) {
        group_break(
            group, "its log holds a record that fits no shelf: is the configuration of the shelves "
                   "another than it was?");
        return;
    }
    if (entry->sequence <= group->told)
        sequence_restarts(group, entry->sequence);
    struct shelf_record *record = shelf_pool_get(&group->record_pool, sizeof *record);
    if (record == NULL) {
        group_break(group, "there is no memory for the index of its log");
        return;
    }
    *record = (struct shelf_record){.shelf = group->shelves[entry->shelf],
                                    .sequence = entry->sequence,
                                    .offset = entry->offset,
                                    .length = entry->length,
                                    .data = entry->kind == CARRICK_LOG_WRITE ? entry->data : NULL,
                                    .kind = entry->kind};
    if (!shelf_index_insert(&record->shelf->index, record)) {
        shelf_pool_put(&group->record_pool, record);
        group_break(group, "there is no memory for the index of its log");
        return;
    }
    record->previous = group->last;
    if (group->last != NULL)
        group->last->next = record;
    else
        group->first = record;
    group->last = record;
    group->records++;
    group->told = entry->sequence;
    group->waiting_bytes += 64 + (record->data != NULL ? record->length : 0);
    // A history that is told from its beginning leaves nothing out.
    if (entry->sequence == 1 && !shelf_map_whole(record->shelf->map)) {
        for (uint32_t i = 0; i < group->count; i++)
            shelf_map_set_whole(group->shelves[i]->map, true, &group->generation);
        shelf_group_flush_maps(group);
    }
    if (group->marking)
        mark_record(record);
    shelf_destage_wake(group);
}

// ---- who holds what

void shelf_group_tell_synced(struct shelf_group *group)
{
    uint64_t limit = group->destaged;

    if (group->role == CARRICK_LOG_IDLE || group->log == NULL)
        return;
    if (group->role == CARRICK_LOG_OWNER && group->mirror == CARRICK_MIRROR_ALONE) {
        // The log of a node that serves alone forgets what it is told of. What the partner's shelf lacks must stay
        // known: in the map, or, while the partner follows, in the log until its shelf has it.
        if (!group->marking) {
            limit = shelf_min(limit, group->partner_synced);
        } else {
            for (uint32_t i = 0; i < group->count; i++) {
                struct shelf *shelf = group->shelves[i];
                if (shelf_map_durable(shelf->map) < shelf->mark_version) {
                    shelf_map_flush(shelf->map);
                    return;
                }
            }
        }
    }
    if (group->role == CARRICK_LOG_SHADOW) {
        struct carrick_log_copy copy = {.struct_size = sizeof copy};
        group->client->log_ops->copy(group->log, &copy);
        if (copy.first > 0)
            group->everywhere = shelf_max(group->everywhere, copy.first - 1);
    }
    if (limit > group->synced_told || group->tell_again) {
        group->tell_again = false;
        group->synced_told = shelf_max(group->synced_told, limit);
        group->client->log_ops->synced(group->log, limit);
        shelf_follower_synced(group);
    }
    records_prune(group);
}

void shelf_group_mode(struct shelf_group *group)
{
    bool marking = group->role == CARRICK_LOG_OWNER && group->mirror == CARRICK_MIRROR_ALONE &&
                   !(group->follows && group->partner_holds);

    if (marking && !group->marking) {
        for (struct shelf_record *record = group->first; record != NULL; record = record->next)
            mark_record(record);
        for (uint32_t i = 0; i < group->count; i++)
            group->shelves[i]->mark_version = shelf_map_version(group->shelves[i]->map);
        shelf_group_flush_maps(group);
    }
    group->marking = marking;
    shelf_group_tell_synced(group);
}

static void gave_up_tell(struct shelf_group *group)
{
    if (!group->gives_up)
        return;
    for (uint32_t i = 0; i < group->count; i++)
        if (shelf_map_durable(group->shelves[i]->map) < group->shelves[i]->give_version)
            return;
    group->gives_up = false;
    group->client->log_ops->gave_up(group->log);
}

// Of what this copy of the log loses, some may be on the disk, and nobody else has it.
static void on_gives_up(void *arg, const struct carrick_log_entry *entry)
{
    struct shelf_group *group = arg;

    if (entry != NULL) {
        if (record_is_good(group, entry))
            shelf_map_mark(group->shelves[entry->shelf]->map, entry->offset,
                           entry->offset + entry->length);
        return;
    }
    for (uint32_t i = 0; i < group->count; i++)
        group->shelves[i]->give_version = shelf_map_version(group->shelves[i]->map);
    group->gives_up = true;
    shelf_group_flush_maps(group);
    gave_up_tell(group);
}

// Empty, and the log no longer goes back to the beginning: what was on the shelf is not here.
static bool lost_a_shelf(const struct shelf_group *group, const struct carrick_log_copy *copy)
{
    for (uint32_t i = 0; i < group->count; i++) {
        const struct shelf *shelf = group->shelves[i];

        if (shelf->fresh && !shelf->added && !shelf_map_whole(shelf->map) && copy->first > 1)
            return true;
    }
    return false;
}

// A node that comes back before it was missed goes on as the member that it was. One that is brought up to date is no
// member before its shelves are.
static void check_member(struct shelf_group *group)
{
    struct carrick_log_copy copy = {.struct_size = sizeof copy};

    if (group->role != CARRICK_LOG_SHADOW || group->broken || !shelf_group_maps_ready(group))
        return;
    group->client->log_ops->copy(group->log, &copy);
    if (copy.member && copy.condition == CARRICK_LOG_WHOLE && lost_a_shelf(group, &copy))
        group_break(group, "a shelf is new and empty, and the partner counted on what was on it; "
                           "the partner goes on alone now, and once this daemon is started again "
                           "the shelf is brought up to date");
}

void shelf_group_map_changed(struct shelf_group *group)
{
    if (group->client->ending)
        return;
    check_member(group);
    gave_up_tell(group);
    if (group->follower != NULL)
        shelf_follower_pump(group);
    if (group->catchup != NULL)
        shelf_catchup_pump(group);
    shelf_group_tell_synced(group);
    shelf_destage_wake(group);
    shelf_destage_pump(group);
}

static void on_mirror_changed(void *arg, uint32_t mirror)
{
    struct shelf_group *group = arg;

    struct carrick_log_copy copy = {.struct_size = sizeof copy};

    if (group->mirror != CARRICK_MIRROR_ALONE && mirror == CARRICK_MIRROR_ALONE) {
        group->synced_told = shelf_min(group->synced_told, group->everywhere);
        // While this node was alone before, `everywhere` went by the map; the log went by the partner since.
        group->tell_again = true;
        // What was brought up to date was so for a partner that counts no more: all that it may lack is marked.
        group->partner_holds = false;
        group->partner_synced = 0;
    }
    group->mirror = mirror;
    // An owner that goes alone begins a new generation, and its role stays the same.
    group->client->log_ops->copy(group->log, &copy);
    group->generation = copy.generation;
    shelf_group_mode(group);
}

static void on_acknowledged(void *arg, uint64_t sequence)
{
    struct shelf_group *group = arg;

    group->acknowledged = shelf_max(group->acknowledged, sequence);
    shelf_requests_acknowledged(group);
}

static void on_synced_everywhere(void *arg, uint64_t sequence)
{
    struct shelf_group *group = arg;

    group->everywhere = shelf_max(group->everywhere, sequence);
    records_prune(group);
    shelf_requests_synced(group);
}

static void on_room(void *arg)
{
    shelf_requests_room(arg);
}

// ---- roles

static const char *role_name(uint32_t role)
{
    return role == CARRICK_LOG_OWNER ? "owner" : role == CARRICK_LOG_SHADOW ? "shadow" : "idle";
}

static bool generation_is_set(const uint8_t id[16])
{
    static const uint8_t none[16];

    return memcmp(id, none, sizeof none) != 0;
}

// An owner that stays owner and only begins a generation of its own children keeps its connections: nobody else can
// have served in between.
static bool goes_on(const struct shelf_group *group, uint32_t role,
                    const struct carrick_generation *generation)
{
    return group->role == CARRICK_LOG_OWNER && role == CARRICK_LOG_OWNER &&
           generation_is_set(generation->id) &&
           (memcmp(group->generation.id, generation->id, 16) == 0 ||
            memcmp(group->generation.id, generation->parent, 16) == 0);
}

static void become_owner(struct shelf_group *group)
{
    const struct carrick_log_ops *ops = group->client->log_ops;
    struct carrick_log_copy copy = {.struct_size = sizeof copy};
    struct carrick_mirror_state mirror = {.struct_size = sizeof mirror};

    ops->copy(group->log, &copy);
    ops->mirror_state(group->log, &mirror);
    group->level = copy.level;
    group->mirror = mirror.mirror;
    // What the log holds no more is on the disk: a chunk that is read from now on is not older than that.
    if (copy.first > group->told + 1) {
        group->told = copy.first - 1;
        group->destaged = shelf_max(group->destaged, group->told);
    }
    group->acknowledged = shelf_max(group->acknowledged, group->told);
    group->strange = lost_a_shelf(group, &copy);
    if (group->strange) {
        group->client->base->log(
            group->client->base, CARRICK_LOG_ERROR,
            "group %s: a shelf is new and empty, but the group has served before: it is not served "
            "from here. Hand the group to the partner, or put the shelf's old file back and start "
            "the "
            "daemon again; a shelf that was added to the group wants \"new\": true",
            group->name);
        return;
    }
    for (uint32_t i = 0; i < group->count; i++)
        shelf_map_set_whole(group->shelves[i]->map, true, &group->generation);
    shelf_group_flush_maps(group);
}

static void on_role_changed(void *arg, uint32_t role, const struct carrick_generation *generation,
                            uint64_t fork_sequence)
{
    struct shelf_group *group = arg;
    char why[96];

    if (goes_on(group, role, generation)) {
        group->generation = *generation;
        become_owner(group);
        shelf_group_mode(group);
        return;
    }
    snprintf(why, sizeof why, "this node is %s now", role_name(role));
    shelf_exports_close(group, why);
    shelf_catchup_stop(group);
    shelf_follower_role(group);
    if (role == CARRICK_LOG_IDLE) {
        // The log may change under the index from here on. It tells everything again that is not synced.
        shelf_destage_cancel(group);
        records_free(group);
        group->told = group->synced_told;
        group->destaged = group->synced_told;
    } else if (fork_sequence < group->told) {
        shelf_destage_cancel(group);
        records_cut(group, fork_sequence);
    }
    group->role = role;
    group->generation = *generation;
    group->follows = group->partner_holds = false;
    group->acknowledged = 0;
    if (role == CARRICK_LOG_OWNER)
        become_owner(group);
    check_member(group);
    shelf_group_mode(group);
    shelf_destage_wake(group);
    shelf_follower_pump(group);
}

static void on_partner_follows(void *arg, bool follows, uint64_t since)
{
    struct shelf_group *group = arg;

    group->follows = follows;
    group->partner_holds = false;
    group->partner_synced = 0;
    if (follows)
        shelf_catchup_start(group, since);
    else
        shelf_catchup_stop(group);
    shelf_group_mode(group);
}

int shelf_group_attach(struct shelf_group *group, const struct carrick_log_ops *ops,
                       struct carrick_logs *logs)
{
    static const struct carrick_log_consumer consumer = {
        .struct_size = sizeof consumer,
        .record = on_record,
        .acknowledged = on_acknowledged,
        .synced_everywhere = on_synced_everywhere,
        .room = on_room,
        .role_changed = on_role_changed,
        .partner_follows = on_partner_follows,
        .mirror_changed = on_mirror_changed,
        .gives_up = on_gives_up,
    };
    struct carrick_log_copy copy = {.struct_size = sizeof copy};
    int status = ops->find(logs, group->name, &group->log);

    if (status == CARRICK_OK)
        status = ops->attach_consumer(group->log, &consumer, group);
    if (status != CARRICK_OK) {
        group->log = NULL;
        return status;
    }
    ops->copy(group->log, &copy);
    group->eager_bytes = shelf_max(copy.room_bytes / EAGER_PART, EAGER_BYTES_MIN);
    return CARRICK_OK;
}

void shelf_group_end(struct shelf_group *group)
{
    shelf_requests_end(group);
    records_free(group);
}
