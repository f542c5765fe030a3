// SPDX-License-Identifier: Apache-2.0
//
// A client for tests of clients as processes of their own. By its configuration it offers a service or uses one, has
// memory over a file which it gives to the partner, fails when it is made; and by command it does what no
// client may do: ends the process, holds up its loop, writes over what the process shares with the daemon.
//
//     config   {"offer": 7} | {"use": true}, {"file": "PATH"}, {"fail": "text"}, {"abort": true}
//     commands number, arbiter "GROUP", mark N, marked, die, stop, scribble SEED, babble SEED, flood
#include <carrick/arbitration.h>
#include <carrick/client.h>

#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct number_ops {
    uint32_t struct_size;
    uint32_t reserved;
    int (*number)(struct carrick_client *client);
};

struct carrick_client {
    const struct carrick_client_host *host;
    int number, used; // of its own, of the service that it uses
    bool uses;
    struct carrick_region *file;
    bool file_created;
    uint64_t token;
    struct carrick_vi *vi;
    bool ending;
    uint32_t closed; // VIs of which it was told so, other than with the session
};

static int lodger_number(struct carrick_client *client)
{
    return client->number;
}

static const struct number_ops numbers = {sizeof numbers, 0, lodger_number};

static int lodger_create(const struct carrick_client_host *host, const char *config,
                         struct carrick_client **made, struct carrick_error *error)
{
    struct carrick_client *client = calloc(1, sizeof *client);
    struct json_object *section = json_tokener_parse(config), *value;
    struct carrick_region_info info = {.struct_size = sizeof info};
    int status = CARRICK_OK;
    client->host = host;
    if (json_object_object_get_ex(section, "abort", &value))
        abort();
    if (json_object_object_get_ex(section, "fail", &value)) {
        snprintf(error->text, sizeof error->text, "%s", json_object_get_string(value));
        status = CARRICK_ERR_CONFIG;
    }
    if (json_object_object_get_ex(section, "offer", &value)) {
        client->number = json_object_get_int(value);
        status = host->service_offer(host, "number", &numbers, client);
    }
    client->uses = json_object_object_get_ex(section, "use", &value);
    if (status == CARRICK_OK && json_object_object_get_ex(section, "file", &value)) {
        status = host->region_open(host, json_object_get_string(value), 8192, &client->file, &info,
                                   error);
        client->file_created = info.created;
    }
    json_object_put(section);
    if (status != CARRICK_OK) {
        free(client);
        return status;
    }
    *made = client;
    return CARRICK_OK;
}

static void lodger_destroy(struct carrick_client *client)
{
    free(client);
}

static int lodger_describe(struct carrick_client *client, struct carrick_client_info *info)
{
    const void *table;
    void *object;
    if (client->uses) {
        int status = client->host->service_find(client->host, "number", &table, &object);
        if (status != CARRICK_OK)
            return status;
        client->used = ((const struct number_ops *)table)->number(object);
    }
    info->vis = 1;
    info->version = 1;
    info->region_count = 1;
    info->wants[0].access = CARRICK_ACCESS_REMOTE_READ | CARRICK_ACCESS_REMOTE_WRITE;
    info->wants[0].bytes = 8192;
    return CARRICK_OK;
}

static int lodger_provide(struct carrick_client *client, uint32_t index,
                          const struct carrick_region_want *want,
                          struct carrick_region_backing *backing)
{
    (void)index;
    (void)want;
    if (client->file)
        backing->fd = client->host->region_fd(client->file);
    return CARRICK_OK;
}

static void lodger_ready(struct carrick_client *client, const struct carrick_session_info *session)
{
    client->vi = session->vis[0];
    client->ending = false;
}

static void lodger_ending(struct carrick_client *client, uint32_t reason, uint64_t deadline_ns)
{
    (void)reason;
    (void)deadline_ns;
    client->ending = true;
}

static void lodger_ended(struct carrick_client *client, uint32_t reason)
{
    (void)reason;
    client->vi = NULL;
}

static void lodger_completed(struct carrick_client *client,
                             const struct carrick_completion *completions, uint32_t count)
{
    (void)client;
    (void)completions;
    (void)count;
}

static void lodger_received(struct carrick_client *client, struct carrick_vi *vi, const void *data,
                            uint32_t length)
{
    (void)client;
    (void)vi;
    (void)data;
    (void)length;
}

static void lodger_vi_changed(struct carrick_client *client, struct carrick_vi *vi, uint32_t state)
{
    (void)vi;
    if (state == CARRICK_VI_CLOSED) {
        client->vi = NULL;
        client->closed += !client->ending;
    }
}

static void arbiter_answered(void *arg, int status, const struct carrick_arbiter_record *record)
{
    struct carrick_client *client = arg;
    char json[64];
    snprintf(json, sizeof json, "%" PRIu64, record ? record->number : 999);
    client->host->command_reply(client->host, client->token, status, json);
}

static int ask_arbiter(struct carrick_client *client, const char *json, uint64_t token)
{
    struct json_object *group = json_tokener_parse(json);
    const void *table;
    void *object;
    int status = client->host->service_find(client->host, CARRICK_ARBITER_SERVICE, &table, &object);
    client->token = token;
    if (status == CARRICK_OK)
        status = ((const struct carrick_arbitration_ops *)table)
                     ->read(object, json_object_get_string(group), 2000, arbiter_answered, client);
    json_object_put(group);
    return status;
}

// ---- against all rules

static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

// Everything that this process shares with the daemon is mapped from a file of such a name.
static void scribble(uint32_t seed)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    while (fgets(line, sizeof line, maps)) {
        uintptr_t from, to;
        if (!strstr(line, "memfd:carrick-client") ||
            sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &from, &to) != 2)
            continue;
        for (unsigned i = 0; i < 20000; i++) {
            // Mostly the first page, where the words are, and the beginning of each ring.
            uint32_t bits = next_random(&seed), place = next_random(&seed);
            uintptr_t at = from + (bits % 4 ? place % 8192 : place % (to - from)) / 4 * 4;
            *(volatile uint32_t *)at = bits % 3 ? next_random(&seed) : next_random(&seed) % 4096;
        }
    }
    fclose(maps);
    // Wakes the daemon: the other end of a wake-up is any eventfd.
    for (int fd = 4; fd < 64; fd++) {
        char path[64], name[64] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        uint64_t one = 1;
        if (readlink(path, name, sizeof name - 1) > 0 && strstr(name, "[eventfd]") &&
            write(fd, &one, sizeof one) < 0)
            continue;
    }
}

static void babble(uint32_t seed)
{
    uint32_t words[64];
    for (unsigned i = 0; i < 200; i++) {
        for (unsigned j = 0; j < 64; j++)
            words[j] = next_random(&seed) % 5 ? next_random(&seed) % 100 : next_random(&seed);
        words[0] = 64 + next_random(&seed) % 12; // kinds of messages that there are
        words[1] = next_random(&seed) % 2;
        size_t length =
            next_random(&seed) % 3 ? 56 + next_random(&seed) % 64 : next_random(&seed) % 256;
        if (length >= 56)
            words[10] = (uint32_t)length - 56, words[11] = 0;
        send(3, words, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
}

static int lodger_command(struct carrick_client *client, const char *word, const char *json,
                          uint64_t token)
{
    char text[160] = "\"done\"";
    uint32_t value = (uint32_t)strtoul(json, NULL, 10);
    if (!strcmp(word, "arbiter"))
        return ask_arbiter(client, json, token);
    if (!strcmp(word, "number"))
        snprintf(text, sizeof text,
                 "{\"used\":%d,\"closed\":%u,\"open\":%s,\"created\":%s,\"pid\":%d}", client->used,
                 client->closed, client->vi ? "true" : "false",
                 client->file_created ? "true" : "false", (int)getpid());
    else if (!strcmp(word, "mark"))
        memcpy(client->host->region_ptr(client->file), &value, sizeof value);
    else if (!strcmp(word, "marked"))
        snprintf(text, sizeof text, "%u", *(uint32_t *)client->host->region_ptr(client->file));
    else if (!strcmp(word, "die"))
        abort();
    else if (!strcmp(word, "stop"))
        for (;;)
            pause();
    else if (!strcmp(word, "scribble"))
        scribble(value | 1);
    else if (!strcmp(word, "babble"))
        babble(value | 1);
    else if (!strcmp(word, "flood"))
        for (unsigned i = 0; i < 100000; i++)
            client->host->base->log(client->host->base, CARRICK_LOG_INFO, "line %u", i);
    else
        return CARRICK_ERR_NOT_SUPPORTED;
    client->host->command_reply(client->host, token, CARRICK_OK, text);
    return CARRICK_OK;
}

static const struct carrick_client_ops lodger_ops = {
    .create = lodger_create,
    .destroy = lodger_destroy,
    .describe = lodger_describe,
    .ready = lodger_ready,
    .ending = lodger_ending,
    .ended = lodger_ended,
    .completed = lodger_completed,
    .received = lodger_received,
    .provide = lodger_provide,
    .vi_changed = lodger_vi_changed,
    .command = lodger_command,
};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_CLIENT, "lodger", "1.0", "Apache-2.0",
                        "behaves in a process of its own, or does not", lodger_ops);
