// SPDX-License-Identifier: Apache-2.0
//
// A client that does what a test tells it to: `carrick client pilot WORD [JSON]`. Built by clients.py.
//
//     config   {"vis": 1, "regions": [4096], "stay_us": 0}    stay_us: how long ready() stays, against the rules
//     session  what ready told: numbers and sizes
//     open N, close N       a VI, by number; answered when its state has changed
//     put {"vi":0,"there":0,"offset":0,"byte":7,"length":16}  writes, then flushes; answered with the last completion
//     get {"vi":0,"there":0,"offset":0,"length":16}           reads; answers with the bytes in hex
//     peek {"here":0,"offset":0,"length":16}                  local memory that the partner may write
//     send {"vi":0,"text":"…"}, received                      the sends of the partner so far
//     reset                 asks for the session to be ended and brought up again
//     partner               what is known of it
//     calls                 how often each callback came
#include <carrick/client.h>

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define VIS_MAX 64u
#define REGIONS_MAX 8u
#define GET_MAX 1024u
#define HEARD_BYTES 4096u

struct carrick_client {
    const struct carrick_client_host *host;
    uint32_t vis_wanted, regions_wanted, stay_us;
    uint64_t region_bytes[REGIONS_MAX];
    struct carrick_region *buffer; // GET_MAX bytes for put and get
    struct carrick_vi *vis[VIS_MAX];
    struct carrick_session_info session;
    bool in_session;
    uint64_t token; // of put or get, or 0
    bool getting;   // … of get
    uint32_t get_bytes;
    uint64_t vi_token;   // of open or close
    uint32_t vi_awaited; // the number
    uint32_t state_awaited;
    unsigned readies, endings, endeds, describes, last_reason;
    char heard[HEARD_BYTES];
};

static int64_t number_of(struct json_object *args, const char *key)
{
    struct json_object *value = NULL;
    return json_object_is_type(args, json_type_object) &&
                   json_object_object_get_ex(args, key, &value)
               ? json_object_get_int64(value)
               : 0;
}

static int pilot_create(const struct carrick_client_host *host, const char *config,
                        struct carrick_client **client, struct carrick_error *error)
{
    struct carrick_client *pilot = calloc(1, sizeof *pilot);
    struct json_object *section = json_tokener_parse(config), *regions = NULL;
    (void)error;
    pilot->host = host;
    pilot->vis_wanted = (uint32_t)number_of(section, "vis");
    pilot->stay_us = (uint32_t)number_of(section, "stay_us");
    json_object_object_get_ex(section, "regions", &regions);
    while (regions && pilot->regions_wanted < json_object_array_length(regions)) {
        pilot->region_bytes[pilot->regions_wanted] = (uint64_t)json_object_get_int64(
            json_object_array_get_idx(regions, pilot->regions_wanted));
        pilot->regions_wanted++;
    }
    json_object_put(section);
    int status = host->region_create(host, GET_MAX, &pilot->buffer);
    if (status != CARRICK_OK)
        free(pilot);
    else
        *client = pilot;
    return status;
}

static void pilot_destroy(struct carrick_client *pilot)
{
    pilot->host->region_destroy(pilot->buffer);
    free(pilot);
}

static int pilot_describe(struct carrick_client *pilot, struct carrick_client_info *info)
{
    pilot->describes++;
    info->vis = pilot->vis_wanted;
    info->version = 7;
    info->region_count = pilot->regions_wanted;
    for (uint32_t i = 0; i < pilot->regions_wanted; i++) {
        struct carrick_region_want *want =
            (struct carrick_region_want *)((char *)info->wants + i * info->wants->struct_size);
        want->access = CARRICK_ACCESS_REMOTE_READ | CARRICK_ACCESS_REMOTE_WRITE;
        want->bytes = pilot->region_bytes[i];
    }
    return CARRICK_OK;
}

static void pilot_ready(struct carrick_client *pilot, const struct carrick_session_info *session)
{
    struct timespec pause = {.tv_nsec = (long)pilot->stay_us * 1000};
    pilot->readies++;
    pilot->session = *session;
    pilot->in_session = true;
    for (uint32_t i = 0; i < session->vi_count && i < VIS_MAX; i++)
        pilot->vis[i] = session->vis[i];
    if (pilot->stay_us)
        nanosleep(&pause, NULL);
}

static void pilot_ending(struct carrick_client *pilot, uint32_t reason, uint64_t deadline_ns)
{
    (void)deadline_ns;
    pilot->endings++;
    pilot->last_reason = reason;
    for (uint32_t i = 0; i < VIS_MAX; i++)
        if (pilot->vis[i])
            pilot->host->vi_close(pilot->vis[i]);
}

static void pilot_ended(struct carrick_client *pilot, uint32_t reason)
{
    pilot->endeds++;
    pilot->last_reason = reason;
    pilot->in_session = false;
    memset(pilot->vis, 0, sizeof pilot->vis);
}

static void reply(struct carrick_client *pilot, uint64_t *token, int status, const char *json)
{
    uint64_t answered = *token;
    *token = 0;
    if (answered)
        pilot->host->command_reply(pilot->host, answered, status, json);
}

static void to_hex(const uint8_t *bytes, size_t length, char *json)
{
    *json++ = '"';
    for (size_t i = 0; i < length; i++)
        json += sprintf(json, "%02x", bytes[i]);
    strcpy(json, "\"");
}

static void pilot_completed(struct carrick_client *pilot,
                            const struct carrick_completion *completions, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct carrick_completion *completion = carrick_completion_at(completions, i);
        char json[2 * GET_MAX + 3] = "\"done\"";
        if (completion->cookie != pilot->token || !pilot->token)
            continue;
        if (completion->status == CARRICK_OK && pilot->getting)
            to_hex(pilot->host->region_ptr(pilot->buffer), pilot->get_bytes, json);
        reply(pilot, &pilot->token, completion->status, json);
    }
}

static void pilot_received(struct carrick_client *pilot, struct carrick_vi *vi, const void *data,
                           uint32_t length)
{
    size_t used = strlen(pilot->heard);
    snprintf(pilot->heard + used, sizeof pilot->heard - used, "%u:%.*s ",
             pilot->host->vi_number(vi), (int)length, (const char *)data);
}

static void pilot_vi_changed(struct carrick_client *pilot, struct carrick_vi *vi, uint32_t state)
{
    uint32_t number = pilot->host->vi_number(vi);
    if (number < VIS_MAX && state == CARRICK_VI_CLOSED)
        pilot->vis[number] = NULL;
    if (number == pilot->vi_awaited && state == pilot->state_awaited)
        reply(pilot, &pilot->vi_token, CARRICK_OK, "\"changed\"");
}

// ---- commands

static int run_put_or_get(struct carrick_client *pilot, struct json_object *args, uint64_t token,
                          bool get)
{
    uint32_t vi = (uint32_t)number_of(args, "vi");
    uint64_t length = (uint64_t)number_of(args, "length");
    struct carrick_op ops[2] = {
        {.struct_size = sizeof ops[0],
         .operation = get ? CARRICK_CLIENT_READ : CARRICK_CLIENT_WRITE,
         .cookie = get ? token : 0,
         .region = pilot->buffer,
         .length = length,
         .there = (uint32_t)number_of(args, "there"),
         .there_offset = (uint64_t)number_of(args, "offset")},
        {.struct_size = sizeof ops[1], .operation = CARRICK_CLIENT_FLUSH, .cookie = token},
    };
    if (vi >= VIS_MAX || !pilot->vis[vi] || length > GET_MAX || pilot->token)
        return CARRICK_ERR_STATE;
    pilot->token = token;
    pilot->getting = get;
    pilot->get_bytes = (uint32_t)length;
    if (!get)
        memset(pilot->host->region_ptr(pilot->buffer), (int)number_of(args, "byte"), length);
    int status = pilot->host->post(pilot->vis[vi], ops, get ? 1 : 2);
    if (status != CARRICK_OK)
        pilot->token = 0;
    return status;
}

static int run_vi(struct carrick_client *pilot, uint32_t number, uint64_t token, bool open)
{
    int status = CARRICK_ERR_STATE;
    pilot->vi_awaited = number;
    pilot->state_awaited = open ? CARRICK_VI_OPEN : CARRICK_VI_CLOSED;
    pilot->vi_token = token;
    if (open && number < VIS_MAX)
        status = pilot->host->vi_open(pilot->host, number, &pilot->vis[number]);
    else if (number < VIS_MAX && pilot->vis[number])
        status = pilot->host->vi_close(pilot->vis[number]);
    if (status != CARRICK_OK)
        pilot->vi_token = 0;
    return status;
}

static int run_send(struct carrick_client *pilot, struct json_object *args)
{
    uint32_t vi = (uint32_t)number_of(args, "vi");
    const char *text = json_object_get_string(json_object_object_get(args, "text"));
    struct carrick_op op = {.struct_size = sizeof op,
                            .operation = CARRICK_CLIENT_SEND,
                            .length = text ? strlen(text) : 0,
                            .data = text};
    return vi < VIS_MAX && pilot->vis[vi] ? pilot->host->post(pilot->vis[vi], &op, 1)
                                          : CARRICK_ERR_STATE;
}

static void show_session(const struct carrick_client *pilot, char *json, size_t size)
{
    const struct carrick_session_info *session = &pilot->session;
    size_t used = (size_t)snprintf(
        json, size,
        "{\"in_session\":%s,\"partner_version\":%u,\"vis\":%u,\"session\":\"%016llx\",\"here\":[",
        pilot->in_session ? "true" : "false", session->partner_version, session->vi_count,
        (unsigned long long)session->session);
    for (uint32_t i = 0; pilot->in_session && i < session->here_count; i++)
        used += (size_t)snprintf(json + used, size - used, "%s%llu", i ? "," : "",
                                 (unsigned long long)pilot->host->region_bytes(session->here[i]));
    used += (size_t)snprintf(json + used, size - used, "],\"there\":[");
    for (uint32_t i = 0; pilot->in_session && i < session->there_count; i++)
        used += (size_t)snprintf(json + used, size - used, "%s%llu", i ? "," : "",
                                 (unsigned long long)session->there_bytes[i]);
    snprintf(json + used, size - used, "]}");
}

static void show_partner(const struct carrick_client *pilot, char *json, size_t size)
{
    struct carrick_partner_status status = {.struct_size = sizeof status};
    pilot->host->partner_status(pilot->host, &status);
    snprintf(json, size,
             "{\"heartbeat\":%llu,\"state\":%u,\"links_up\":%u,\"shadow\":%llu,\"still_ms\":%u}",
             (unsigned long long)status.heartbeat, status.session_state, status.links_up,
             (unsigned long long)status.shadow_sequence, status.clients_still_ms);
}

static int run_peek(const struct carrick_client *pilot, struct json_object *args, char *json)
{
    uint32_t here = (uint32_t)number_of(args, "here");
    uint64_t offset = (uint64_t)number_of(args, "offset"),
             length = (uint64_t)number_of(args, "length");
    if (!pilot->in_session || here >= pilot->session.here_count || length > GET_MAX ||
        offset + length > pilot->host->region_bytes(pilot->session.here[here]))
        return CARRICK_ERR_BOUNDS;
    to_hex((uint8_t *)pilot->host->region_ptr(pilot->session.here[here]) + offset, length, json);
    return CARRICK_OK;
}

static int pilot_run(struct carrick_client *pilot, const char *word, struct json_object *args,
                     uint64_t token, char *json, size_t size)
{
    if (strcmp(word, "put") == 0 || strcmp(word, "get") == 0)
        return run_put_or_get(pilot, args, token, word[0] == 'g');
    if (strcmp(word, "open") == 0 || strcmp(word, "close") == 0)
        return run_vi(pilot, (uint32_t)json_object_get_int(args), token, word[0] == 'o');
    snprintf(json, size, "\"done\"");
    if (strcmp(word, "send") == 0)
        return run_send(pilot, args);
    if (strcmp(word, "reset") == 0)
        return pilot->host->session_reset(pilot->host, "the pilot wants it");
    if (strcmp(word, "peek") == 0)
        return run_peek(pilot, args, json);
    if (strcmp(word, "shadow") == 0)
        pilot->host->status_shadow(pilot->host, (uint64_t)json_object_get_int64(args));
    else if (strcmp(word, "session") == 0)
        show_session(pilot, json, size);
    else if (strcmp(word, "partner") == 0)
        show_partner(pilot, json, size);
    else if (strcmp(word, "received") == 0)
        snprintf(json, size, "\"%s\"", pilot->heard);
    else if (strcmp(word, "calls") == 0)
        snprintf(
            json, size,
            "{\"describes\":%u,\"readies\":%u,\"endings\":%u,\"endeds\":%u,\"last_reason\":%u}",
            pilot->describes, pilot->readies, pilot->endings, pilot->endeds, pilot->last_reason);
    else
        return CARRICK_ERR_NOT_SUPPORTED;
    return CARRICK_OK;
}

static int pilot_command(struct carrick_client *pilot, const char *word, const char *json,
                         uint64_t token)
{
    char answer[2 * HEARD_BYTES] = "";
    struct json_object *args = json ? json_tokener_parse(json) : NULL;
    int status = pilot_run(pilot, word, args, token, answer, sizeof answer);
    json_object_put(args);
    if (status == CARRICK_OK && answer[0])
        pilot->host->command_reply(pilot->host, token, CARRICK_OK, answer);
    return status;
}

static const struct carrick_client_ops pilot_ops = {
    .create = pilot_create,
    .destroy = pilot_destroy,
    .describe = pilot_describe,
    .ready = pilot_ready,
    .ending = pilot_ending,
    .ended = pilot_ended,
    .completed = pilot_completed,
    .received = pilot_received,
    .vi_changed = pilot_vi_changed,
    .command = pilot_command,
};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_CLIENT, "pilot", "1", "Apache-2.0",
                        "does what a test tells it to", pilot_ops);
