// SPDX-License-Identifier: Apache-2.0
#include "nvram.h"

#include <stdio.h>
#include <string.h>

// Fills what the caller's structure has room for.
static void give(void *to, uint32_t to_bytes, const void *from, uint32_t from_bytes)
{
    uint32_t bytes = to_bytes < from_bytes ? to_bytes : from_bytes;

    if (bytes > sizeof(uint32_t))
        memcpy((char *)to + sizeof(uint32_t), (const char *)from + sizeof(uint32_t),
               bytes - sizeof(uint32_t));
}

void nv_copy_tell(struct carrick_log *log, struct carrick_log_copy *copy)
{
    const struct nv_give *giving = &log->give;
    struct carrick_log_copy now = {
        .struct_size = sizeof now,
        .condition = log->unusable ? (uint32_t)CARRICK_LOG_UNUSABLE : log->condition,
        .level = log->level,
        .role = log->role,
        .generation = log->head.generation,
        .first = log->ring.first.sequence,
        .last = nv_last(log),
        .acknowledged = log->acknowledged < nv_last(log) ? log->acknowledged : nv_last(log),
        .incarnation = log->level == CARRICK_LEVEL_VOLATILE ? log->nvram->incarnation : 0,
        .member = log->head.member,
        .room_bytes = log->ring.size,
        .replays = nv_replays(log),
    };

    // What is on its way out is no part of it.
    if (giving->phase != NV_GIVE_NOT && giving->empty) {
        now.first = 1;
        now.last = now.acknowledged = 0;
    } else if (giving->phase != NV_GIVE_NOT && now.last >= giving->to.sequence) {
        now.last = giving->to.sequence - 1;
        now.acknowledged = now.acknowledged < now.last ? now.acknowledged : now.last;
    }
    give(copy, copy->struct_size, &now, sizeof now);
}

static bool is_connected(const struct carrick_log *log)
{
    return log->session && log->owner.phase == NV_ATTACHED_ON;
}

static void progress_fill(const struct carrick_log *log, struct carrick_resync *progress)
{
    const struct nv_owner *owner = &log->owner;
    uint64_t elapsed_ns = nv_now(log) - owner->resync_began_ns, waits = owner->flight_bytes;

    *progress = owner->progress;
    progress->struct_size = sizeof *progress;
    if (owner->phase != NV_ATTACHED_ON || !owner->resync)
        return;
    progress->total_bytes = log->ring.tail.position - owner->from.position;
    progress->done_bytes = owner->posted.position - owner->from.position;
    progress->done_bytes -= waits < progress->done_bytes ? waits : progress->done_bytes;
    if (elapsed_ns >= 1000)
        progress->bytes_per_second = progress->done_bytes / (elapsed_ns / 1000) * 1000000u;
}

// What waits is safe here, and not there: the partner's copy cannot be written, or does not get into its file.
static bool partner_lacks(const struct carrick_log *log)
{
    const struct nv_owner *owner = &log->owner;
    uint64_t here = nv_syncs(log) ? log->persist.done.sequence - 1 : nv_last(log);

    return !is_connected(log) ||
           (nv_syncs(log) && owner->persisted < here && owner->persisted == log->acknowledged);
}

void nv_mirror_tell(struct carrick_log *log, struct carrick_mirror_state *state)
{
    bool waits = log->role == CARRICK_LOG_OWNER && log->acknowledged < nv_last(log);
    struct carrick_mirror_state now = {
        .struct_size = sizeof now,
        .mirror = log->mirror,
        .connected = is_connected(log),
        .stalled = waits && log->mirror != CARRICK_MIRROR_ALONE && partner_lacks(log),
        .waiting_since_ns = waits ? log->owner.waiting_since_ns : 0,
        .shelf = log->shelf,
    };

    progress_fill(log, &now.log);
    // With nobody who keeps anything besides, the log is all there is to be equal.
    if (log->consumer == NULL)
        now.shelf.state = now.log.state;
    give(state, state->struct_size, &now, sizeof now);
}

// ---- for people

static const char *role_name(const struct carrick_log *log)
{
    if (log->role == CARRICK_LOG_SHADOW)
        return "shadow";
    if (log->role == CARRICK_LOG_OWNER)
        return log->serve == NV_SERVE_ON ? "owner" : "owner, not yet serving";
    return "idle";
}

static const char *condition_name(const struct carrick_log *log)
{
    static const char *const names[] = {"empty", "whole", "corrupt", "inconsistent", "scanning"};

    if (log->unusable)
        return "unusable";
    return log->condition < sizeof names / sizeof names[0] ? names[log->condition] : "unknown";
}

static const char *mirror_name(const struct carrick_log *log)
{
    static const char *const names[] = {"alone", "joining", "both"};

    if (log->role != CARRICK_LOG_OWNER)
        return "none";
    return log->mirror <= CARRICK_MIRROR_BOTH ? names[log->mirror] : "unknown";
}

static void id_text(const uint8_t id[16], char text[33])
{
    for (int i = 0; i < 16; i++)
        snprintf(text + 2 * i, 3, "%02x", id[i]);
}

static size_t group_describe(struct carrick_log *log, char *text, size_t size)
{
    char generation[33];
    struct carrick_mirror_state mirror = {.struct_size = sizeof mirror};
    uint64_t used = log->ring.tail.position - log->ring.first.position;
    int length;

    id_text(log->head.generation.id, generation);
    nv_mirror_tell(log, &mirror);
    length = snprintf(
        text, size,
        "{\"name\":\"%s\",\"role\":\"%s\",\"condition\":\"%s\",\"mirror\":\"%s\",\"connected\":%s,"
        "\"stalled\":%s,\"generation\":\"%s\",\"member\":%s,\"first\":%llu,\"last\":%llu,"
        "\"acknowledged\":%llu,\"synced\":%llu,\"synced_everywhere\":%llu,\"level\":\"%s\","
        "\"partner_level\":\"%s\",\"partner_last\":%llu,\"log_bytes\":%llu,\"used_bytes\":%llu,"
        "\"full\":%s,\"backing_failed\":%s,\"backing_error\":\"%s\",\"resync_done_bytes\":%llu,"
        "\"resync_total_bytes\":%llu,"
        "\"messages_refused\":%llu}",
        log->config->name, role_name(log), condition_name(log), mirror_name(log),
        mirror.connected ? "true" : "false", mirror.stalled ? "true" : "false", generation,
        log->head.member ? "true" : "false", (unsigned long long)log->ring.first.sequence,
        (unsigned long long)nv_last(log), (unsigned long long)log->acknowledged,
        (unsigned long long)log->synced, (unsigned long long)nv_synced_everywhere(log),
        nv_level_name(log->level),
        log->peer.known ? nv_level_name(log->peer.state.level) : "unknown",
        (unsigned long long)(log->peer.known ? log->peer.state.last : 0),
        (unsigned long long)log->ring.size, (unsigned long long)used,
        log->wanted_bytes > 0 ? "true" : "false", log->persist.failed ? "true" : "false",
        log->persist.failed ? strerror(log->persist.error) : "",
        (unsigned long long)mirror.log.done_bytes, (unsigned long long)mirror.log.total_bytes,
        (unsigned long long)log->refused);
    return length > 0 ? (size_t)length : 0;
}

const char *nv_unserved(const struct carrick_log *log)
{
    if (log->monitor == NULL)
        return "nobody decides who serves it; the configuration wants a client with the plugin "
               "failover, in the process of this one";
    if (log->consumer == NULL)
        return "no shelf takes its records; the configuration wants one of that group in a client "
               "with the plugin shelf, in the process of this one";
    return NULL;
}

// A group that nobody serves, as the configuration stands. Names need no escapes in JSON.
static void trouble_describe(const struct carrick_client *client, char *text, size_t size)
{
    const struct carrick_log *found = NULL;
    uint32_t count = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < client->config.count; i++) {
        const struct carrick_log *log = &client->logs[i];

        if (nv_unserved(log) == NULL)
            continue;
        found = count++ == 0 ? log : found;
    }
    if (found == NULL)
        return;
    snprintf(text, size, ",\"trouble\":\"group %s%s: %s\"", found->config->name,
             count > 1 ? " and others" : "", nv_unserved(found));
}

void nv_describe(struct carrick_client *client, char *text, size_t size)
{
    static const char begin[] = "{\"groups\":[";
    char group[1536], trouble[320], end[330];
    size_t used = sizeof begin - 1;

    trouble_describe(client, trouble, sizeof trouble);
    snprintf(end, sizeof end, "]%s}", trouble);
    if (size < sizeof begin + strlen(end)) {
        if (size > 0)
            text[0] = '\0';
        return;
    }
    memcpy(text, begin, used);
    // Whole groups only, so that it stays JSON however little room there is.
    for (uint32_t i = 0; i < client->config.count; i++) {
        size_t length = group_describe(&client->logs[i], group, sizeof group);

        if (length >= sizeof group || used + length + 2 + strlen(end) > size)
            break;
        if (i > 0)
            text[used++] = ',';
        memcpy(text + used, group, length);
        used += length;
    }
    memcpy(text + used, end, strlen(end) + 1);
}
