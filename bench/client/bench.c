// SPDX-License-Identifier: Apache-2.0
// The client of `make bench`. Both nodes run it; the initiator asks for regions at the partner and
// runs workloads there, by command or by configuration; the other one just offers memory.
//     carrick client bench run '{"op": "write", "size": 4096, "count": 20000}'
//     carrick client bench times
#include "workload.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKLOAD_TEXT_MAX = 4096 };

struct bench_config {
    char initiator[CARRICK_NAME_MAX + 1]; // "": both
    uint64_t vis;
    uint64_t regions;
    uint64_t region_bytes;
    char workload[WORKLOAD_TEXT_MAX]; // run at every ready; "": none
};

struct carrick_client {
    const struct carrick_client_host *host;
    struct bench_config config;
    struct carrick_session_info session; // vi_count 0: there is none
    struct carrick_vi **vis;             // the session's; NULL: closed, its handle is gone
    struct workload *workload;
    uint64_t token; // of the command that waits for the workload
    bool by_command;
    uint64_t created_ns;
    uint64_t ready_ns;
    uint64_t ending_ns;
    uint64_t ended_ns;
    uint64_t ready_count;
};

static int refuse(struct carrick_error *error, const char *key, const char *wanted)
{
    error->status = CARRICK_ERR_CONFIG;
    snprintf(error->pointer, sizeof error->pointer, "/%s", key);
    snprintf(error->text, sizeof error->text, "\"%s\" must be %s", key, wanted);
    return CARRICK_ERR_CONFIG;
}

static int number_take(json_object *value, const char *name, uint64_t high, uint64_t *out,
                       struct carrick_error *error)
{
    char wanted[64];
    int64_t n = json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : 0;
    *out = (uint64_t)n;
    if (n >= 1 && (uint64_t)n <= high)
        return CARRICK_OK;
    snprintf(wanted, sizeof wanted, "a whole number from 1 to %llu", (unsigned long long)high);
    return refuse(error, name, wanted);
}

static int workload_take(json_object *value, struct bench_config *c, struct carrick_error *error)
{
    struct workload_plan plan;
    const char *text = json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN);
    if (text == NULL || strlen(text) >= sizeof c->workload)
        return refuse(error, "workload", "shorter than 4096 bytes");
    snprintf(c->workload, sizeof c->workload, "%s", text);
    return workload_parse(text, &plan, error);
}

static int key_take(struct bench_config *c, const char *name, json_object *value,
                    struct carrick_error *error)
{
    if (strcmp(name, "vis") == 0)
        return number_take(value, name, CARRICK_CLIENT_VIS_MAX, &c->vis, error);
    if (strcmp(name, "regions") == 0)
        return number_take(value, name, CARRICK_CLIENT_REGIONS_MAX, &c->regions, error);
    if (strcmp(name, "region_bytes") == 0)
        return number_take(value, name, 1ull << 32, &c->region_bytes, error);
    if (strcmp(name, "workload") == 0)
        return workload_take(value, c, error);
    if (strcmp(name, "initiator") != 0)
        return refuse(error, name, "left out: no such key of the client bench");
    const char *node = json_object_get_string(value);
    if (node == NULL || strlen(node) > CARRICK_NAME_MAX)
        return refuse(error, name, "the name of a node");
    snprintf(c->initiator, sizeof c->initiator, "%s", node);
    return CARRICK_OK;
}

static int config_read(const char *text, struct bench_config *c, struct carrick_error *error)
{
    *c = (struct bench_config){.vis = 1, .regions = 1, .region_bytes = 1 << 20};
    json_object *root = json_tokener_parse(text);
    int rc = CARRICK_OK;
    if (!json_object_is_type(root, json_type_object)) {
        rc = refuse(error, "", "an object");
    } else {
        json_object_object_foreach(root, name, value)
        {
            rc = key_take(c, name, value, error);
            if (rc != CARRICK_OK)
                break;
        }
    }
    json_object_put(root);
    return rc;
}

static int bench_config_check(const char *config, struct carrick_error *error)
{
    struct bench_config c;
    return config_read(config, &c, error);
}

static uint64_t clock_ns(const struct carrick_client *c)
{
    return c->host->base->now_ns(c->host->base);
}

static bool initiates(const struct carrick_client *c)
{
    return c->config.initiator[0] == '\0' || strcmp(c->config.initiator, c->host->base->node) == 0;
}

static int bench_create(const struct carrick_client_host *host, const char *config,
                        struct carrick_client **client, struct carrick_error *error)
{
    struct carrick_client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return CARRICK_ERR_NO_MEMORY;
    c->host = host;
    c->created_ns = clock_ns(c);
    int rc = config_read(config, &c->config, error);
    if (rc != CARRICK_OK)
        free(c);
    else
        *client = c;
    return rc;
}

static void bench_destroy(struct carrick_client *c)
{
    if (c->workload != NULL)
        workload_free(c->workload);
    free(c->vis);
    free(c);
}

static int bench_describe(struct carrick_client *c, struct carrick_client_info *info)
{
    uint32_t n = initiates(c) ? (uint32_t)c->config.regions : 0;
    if (n > info->region_max)
        return CARRICK_ERR_LIMIT;
    uint32_t stride = n > 0 ? info->wants->struct_size : 0;
    for (uint32_t i = 0; i < n; i++) {
        struct carrick_region_want *want =
            (struct carrick_region_want *)((char *)info->wants + (size_t)i * stride);
        want->access = CARRICK_ACCESS_REMOTE_READ | CARRICK_ACCESS_REMOTE_WRITE;
        want->bytes = c->config.region_bytes;
    }
    info->vis = (uint32_t)c->config.vis;
    info->version = 1;
    info->region_count = n;
    return CARRICK_OK;
}

static void json_escape(char *to, size_t size, const char *from)
{
    size_t n = 0;
    for (; *from != '\0' && n + 1 < size; from++)
        to[n++] = *from == '"' || *from == '\\' || (unsigned char)*from < 0x20 ? '\'' : *from;
    to[n] = '\0';
}

static void error_reply(struct carrick_client *c, uint64_t token, int status, const char *text)
{
    char safe[256], json[320];
    json_escape(safe, sizeof safe, text);
    snprintf(json, sizeof json, "{\"error\":\"%s\"}", safe);
    c->host->command_reply(c->host, token, status, json);
}

static void workload_done(void *arg, int status, const char *json)
{
    struct carrick_client *c = arg;
    if (c->by_command)
        c->host->command_reply(c->host, c->token, status, json);
    else
        c->host->base->log(c->host->base, CARRICK_LOG_INFO, "workload: %s", json);
}

static int run_begin(struct carrick_client *c, const char *json, struct carrick_error *error)
{
    struct workload_plan plan;
    if (c->workload != NULL && !workload_idle(c->workload)) {
        snprintf(error->text, sizeof error->text, "a workload is running");
        return CARRICK_ERR_STATE;
    }
    if (c->session.vi_count == 0) {
        snprintf(error->text, sizeof error->text, "there is no session");
        return CARRICK_ERR_STATE;
    }
    int rc = workload_parse(json, &plan, error);
    if (rc != CARRICK_OK)
        return rc;
    if (c->workload != NULL)
        workload_free(c->workload);
    c->workload = NULL;
    return workload_start(c->host, &c->session, &plan, workload_done, c, &c->workload, error);
}

static void bench_ready(struct carrick_client *c, const struct carrick_session_info *session)
{
    c->ready_ns = clock_ns(c);
    c->ready_count++;
    free(c->vis);
    c->vis = calloc(session->vi_count + 1u, sizeof(struct carrick_vi *));
    if (c->vis == NULL)
        return; // no session for us: every workload is refused
    memcpy(c->vis, session->vis, session->vi_count * sizeof(struct carrick_vi *));
    c->session = *session;
    c->session.vis = c->vis;
    if (c->config.workload[0] == '\0' || !initiates(c))
        return;
    struct carrick_error error = {.struct_size = sizeof error};
    c->by_command = false;
    if (run_begin(c, c->config.workload, &error) != CARRICK_OK)
        c->host->base->log(c->host->base, CARRICK_LOG_ERROR, "workload not started: %s",
                           error.text);
}

static void bench_ending(struct carrick_client *c, uint32_t reason, uint64_t deadline_ns)
{
    (void)reason;
    (void)deadline_ns;
    c->ending_ns = clock_ns(c);
    if (c->workload != NULL)
        workload_stop(c->workload, CARRICK_ERR_SESSION_ENDED);
    for (uint32_t i = 0; i < c->session.vi_count; i++) {
        if (c->vis[i] != NULL)
            c->host->vi_close(c->vis[i]);
    }
}

static void bench_vi_changed(struct carrick_client *c, struct carrick_vi *vi, uint32_t state)
{
    uint32_t n = c->host->vi_number(vi);
    if (state != CARRICK_VI_CLOSED || n >= c->session.vi_count)
        return;
    c->vis[n] = NULL;
    if (c->workload != NULL)
        workload_stop(c->workload, CARRICK_ERR_CANCELLED);
}

static void bench_ended(struct carrick_client *c, uint32_t reason)
{
    (void)reason;
    c->ended_ns = clock_ns(c);
    memset(&c->session, 0, sizeof c->session);
    if (c->workload != NULL)
        workload_session_ended(c->workload);
}

static void bench_completed(struct carrick_client *c, const struct carrick_completion *completions,
                            uint32_t count)
{
    if (c->workload != NULL)
        workload_completed(c->workload, completions, count);
}

static void bench_received(struct carrick_client *c, struct carrick_vi *vi, const void *data,
                           uint32_t length)
{
    (void)c;
    (void)vi;
    (void)data;
    (void)length;
}

static void bench_describe_state(struct carrick_client *c, char *text, size_t size)
{
    bool running = c->workload != NULL && !workload_idle(c->workload);
    snprintf(text, size,
             "{\"initiates\":%s,\"running\":%s,\"ready_count\":%llu,\"created_ns\":%llu,"
             "\"ready_ns\":%llu,\"ending_ns\":%llu,\"ended_ns\":%llu,\"now_ns\":%llu}",
             initiates(c) ? "true" : "false", running ? "true" : "false",
             (unsigned long long)c->ready_count, (unsigned long long)c->created_ns,
             (unsigned long long)c->ready_ns, (unsigned long long)c->ending_ns,
             (unsigned long long)c->ended_ns, (unsigned long long)clock_ns(c));
}

static int bench_command(struct carrick_client *c, const char *word, const char *json,
                         uint64_t token)
{
    if (strcmp(word, "times") == 0) {
        char text[512];
        bench_describe_state(c, text, sizeof text);
        c->host->command_reply(c->host, token, CARRICK_OK, text);
        return CARRICK_OK;
    }
    if (strcmp(word, "run") != 0)
        return CARRICK_ERR_NOT_SUPPORTED;
    struct carrick_error error = {.struct_size = sizeof error};
    uint64_t old_token = c->token;
    bool old_by_command = c->by_command;
    c->token = token;
    c->by_command = true;
    int rc = run_begin(c, json != NULL ? json : "{}", &error);
    if (rc != CARRICK_OK) {
        c->token = old_token; // the workload that runs still answers whoever asked for it
        c->by_command = old_by_command;
        error_reply(c, token, rc, error.text);
    }
    return CARRICK_OK;
}

static const struct carrick_client_ops bench_ops = {
    .create = bench_create,
    .destroy = bench_destroy,
    .describe = bench_describe,
    .ready = bench_ready,
    .ending = bench_ending,
    .ended = bench_ended,
    .completed = bench_completed,
    .received = bench_received,
    .config_check = bench_config_check,
    .vi_changed = bench_vi_changed,
    .describe_state = bench_describe_state,
    .command = bench_command,
};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_CLIENT, "bench", "1.0", "Apache-2.0",
                        "measures what operations between the two nodes take", bench_ops);
