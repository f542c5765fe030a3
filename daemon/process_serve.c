// SPDX-License-Identifier: Apache-2.0
//
// What a client process asks for, and tells. Everything in a message is the process's word: what cannot be is its end.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <carrick/arbitration.h>

#include "core/host.h"
#include "daemon/process_internal.h"

#define LOG_LINES_MAX 200u // between two looks at the beat

// ---- regions

struct carrick_region *process_region(const struct carrick_client *client, uint64_t number)
{
    const struct region_slot *slot;

    if ((number & 0xffff) >= CHANNEL_REGIONS_MAX || number >> 48 != 0)
        return NULL;
    slot = &client->regions[number & 0xffff];
    return slot->used && slot->generation == (uint32_t)(number >> 16) ? slot->region : NULL;
}

static struct region_slot *slot_free(struct carrick_client *client)
{
    for (uint32_t i = 0; i < CHANNEL_REGIONS_MAX; i++)
        if (client->regions[i].region == NULL)
            return &client->regions[i];
    return NULL;
}

static struct region_slot *slot_of_path(struct carrick_client *client, const char *path)
{
    for (uint32_t i = 0; i < CHANNEL_REGIONS_MAX; i++)
        if (client->regions[i].region != NULL && client->regions[i].path != NULL &&
            strcmp(client->regions[i].path, path) == 0)
            return &client->regions[i];
    return NULL;
}

static void answer(struct carrick_client *client, struct channel_message *message)
{
    message->type = CHANNEL_ANSWER;
    message->client = client->index;
    process_send(client->process, message);
}

static void answer_region(struct carrick_client *client, struct region_slot *slot)
{
    struct channel_message message = {
        .b = (uint64_t)(slot - client->regions) | (uint64_t)++slot->generation << 16,
        .c = client->host->region_bytes(slot->region),
        .d = slot->kind | (uint64_t)slot->zeroed << 32,
        .fds = {client->host->region_fd(slot->region)},
        .fd_count = 1,
    };

    slot->used = true;
    slot->zeroed = false;
    answer(client, &message);
}

static void answer_error(struct carrick_client *client, int status,
                         const struct carrick_error *error)
{
    struct channel_message message = {.a = (uint64_t)status};

    if (error != NULL) {
        message.b = (uint64_t)error->sys_errno;
        message.body = (char *)(uintptr_t)error->text;
        message.length = strlen(error->text);
    }
    answer(client, &message);
}

static void region_create(struct carrick_client *client, uint64_t bytes)
{
    struct region_slot *slot = slot_free(client);
    int status = slot == NULL ? CARRICK_ERR_LIMIT
                              : client->host->region_create(client->host, bytes, &slot->region);

    if (status != CARRICK_OK) {
        answer_error(client, status, NULL);
        return;
    }
    slot->kind = CARRICK_REGION_VOLATILE;
    slot->zeroed = true;
    answer_region(client, slot);
}

// The daemon goes on having a file open when the process ends: who follows finds it, with what lies in it.
static void region_open(struct carrick_client *client, const char *path, uint64_t bytes)
{
    struct region_slot *slot = slot_of_path(client, path);
    struct carrick_region_info info = {.struct_size = sizeof(info)};
    struct carrick_error error = {.struct_size = sizeof(error)};
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    int status = CARRICK_OK;

    if (slot != NULL && slot->used) {
        answer_error(client, CARRICK_ERR_EXISTS, NULL);
        return;
    }
    if (slot != NULL &&
        client->host->region_bytes(slot->region) / page != (bytes + page - 1) / page) {
        status = client->host->region_destroy(slot->region);
        if (status == CARRICK_OK)
            slot->region = NULL;
        slot = NULL;
    }
    if (slot == NULL && status == CARRICK_OK) {
        slot = slot_free(client);
        status = slot == NULL ? CARRICK_ERR_LIMIT
                              : client->host->region_open(client->host, path, bytes, &slot->region,
                                                          &info, &error);
        if (status == CARRICK_OK) {
            free(slot->path);
            slot->path = strdup(path);
            slot->kind = info.kind;
            slot->zeroed = info.created;
        }
    }
    if (status == CARRICK_OK)
        answer_region(client, slot);
    else
        answer_error(client, status, &error);
}

static void region_destroy(struct carrick_client *client, uint64_t number)
{
    struct carrick_region *region = process_region(client, number);
    int status = region == NULL ? CARRICK_ERR_INVALID : client->host->region_destroy(region);

    if (status == CARRICK_OK) {
        struct region_slot *slot = &client->regions[number & 0xffff];

        slot->region = NULL;
        slot->used = false;
        free(slot->path);
        slot->path = NULL;
    }
    answer_error(client, status, NULL);
}

static void vi_open(struct carrick_client *client, uint64_t number)
{
    struct channel_message message = {0};
    struct carrick_vi *vi;
    int status = number < CARRICK_CLIENT_VIS_MAX
                     ? client->host->vi_open(client->host, (uint32_t)number, &vi)
                     : CARRICK_ERR_LIMIT;

    message.a = (uint64_t)status;
    if (status == CARRICK_OK) {
        client->vis[number] = (struct vi_slot){vi, ++client->generation};
        message.b = client->generation;
    }
    answer(client, &message);
}

static void partner_status(struct carrick_client *client)
{
    struct carrick_partner_status status = {.struct_size = sizeof(status)};
    struct channel_message message = {.body = (char *)&status, .length = sizeof(status)};

    client->host->partner_status(client->host, &status);
    answer(client, &message);
}

static void call(struct carrick_client *client, const struct channel_message *message)
{
    switch (message->a) {
    case CHANNEL_REGION_CREATE:
        region_create(client, message->b);
        break;
    case CHANNEL_REGION_OPEN:
        region_open(client, message->body, message->b);
        break;
    case CHANNEL_REGION_DESTROY:
        region_destroy(client, message->b);
        break;
    case CHANNEL_VI_OPEN:
        vi_open(client, message->b);
        break;
    case CHANNEL_PARTNER_STATUS:
        partner_status(client);
        break;
    default:
        process_fail(client->process, "made a call that there is not");
    }
}

// ---- making

static void created(struct carrick_client *client, const struct channel_message *message)
{
    struct process *process = client->process;
    size_t at = 0;
    const char *pointer = channel_string(message, &at), *text = channel_string(message, &at);

    if (client->created) {
        process_fail(process, "made a client twice");
        return;
    }
    if (message->a != CARRICK_OK) {
        client->create_status = message->a < INT32_MAX ? (int)message->a : CARRICK_ERR_INVALID;
        if (client->create_error != NULL) {
            struct carrick_error *error = client->create_error;

            error->sys_errno = (int32_t)message->b;
            snprintf(error->pointer, sizeof(error->pointer), "%s", pointer);
            snprintf(error->text, sizeof(error->text), "%s", text == NULL ? "" : text);
            return;
        }
        client->create_status = 0;
        process_fail(process, "cannot make the client %s: %.100s", client->name,
                     text == NULL ? "" : text);
        return;
    }
    client->created = true;
    if (++process->made < process->client_count)
        return;
    process->state = PROCESS_RUNNING;
    process->beat_ns = process->alive_ns = env_now_ns(process->all->env);
    log_record(process->all->env, CARRICK_LOG_NOTICE, "client-process-runs", process->all->manager,
               process->name, "the client process runs, process id %d", (int)process->pid);
    for (uint32_t i = 0; i < process->client_count && process->state == PROCESS_RUNNING; i++)
        process_client_tick(process->clients[i]);
}

// ---- bring-up

static void described(struct carrick_client *client, const struct channel_message *message)
{
    uint64_t wants_bytes = message->d * sizeof(struct channel_want);

    if (client->described != ASKED_WAITS)
        return;
    if (message->d > CARRICK_CLIENT_REGIONS_MAX || message->length < wants_bytes ||
        message->length - wants_bytes > CARRICK_CLIENT_TERMS_MAX || message->b > UINT32_MAX) {
        process_fail(client->process, "described a client in a way that cannot be");
        return;
    }
    client->described = ASKED_ANSWERED;
    client->described_ns = env_now_ns(client->env);
    client->describe_status = message->a < INT32_MAX ? (int)message->a : CARRICK_ERR_INVALID;
    // These two are the core's own, and mean something else.
    if (client->describe_status == CARRICK_ERR_AGAIN ||
        client->describe_status == CARRICK_ERR_STATE)
        client->describe_status = CARRICK_ERR_INVALID;
    client->vis_wanted = (uint32_t)message->b;
    client->version = (uint32_t)message->c;
    client->want_count = (uint32_t)message->d;
    memcpy(client->wants, message->body, wants_bytes);
    free(client->terms);
    client->terms = strndup(message->body + wants_bytes, message->length - wants_bytes);
    if (client->terms == NULL)
        client->describe_status = CARRICK_ERR_NO_MEMORY;
}

// Memory that its owner could make shorter would end this process at the next access.
static bool fd_is_safe(int fd)
{
    int seals = fcntl(fd, F_GET_SEALS);

    return seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
}

static void provided(struct carrick_client *client, struct channel_message *message)
{
    struct provided *provided;

    if (message->a >= CARRICK_CLIENT_REGIONS_MAX) {
        process_fail(client->process, "provided for a region that there cannot be");
        return;
    }
    provided = &client->provided[message->a];
    if (provided->asked != ASKED_WAITS)
        return;
    provided->asked = ASKED_ANSWERED;
    provided->status = message->b < INT32_MAX ? (int)message->b : CARRICK_ERR_INVALID;
    provided->offset = message->c;
    provided->region = message->d;
    provided->fd = channel_take_fd(message, 0);
    if (provided->fd >= 0 && !fd_is_safe(provided->fd)) {
        client->host->base->log(
            client->host->base, CARRICK_LOG_ERROR,
            "what it provides for region %u could be made shorter: a client in a process of its "
            "own provides regions of the host, or memory that is sealed (F_SEAL_SHRINK)",
            (unsigned)message->a);
        provided->status = CARRICK_ERR_DENIED;
    }
}

// ---- the arbiter

static void arbiter_answered(void *arg, int status, const struct carrick_arbiter_record *record)
{
    struct process_question *question = arg, **at = &question->all->questions;
    struct process *process = question->process;
    struct channel_message message = {
        .type = CHANNEL_ARBITER_ANSWER,
        .client = question->client,
        .a = question->cookie,
        .b = (uint64_t)status,
        .c = record != NULL,
        .body = (char *)(uintptr_t)record,
        .length = record != NULL ? sizeof(*record) : 0,
    };

    while (*at != question)
        at = &(*at)->next;
    *at = question->next;
    if (process != NULL && process->life == question->life)
        process_send(process, &message);
    free(question);
}

void process_questions_forget(struct processes *all, struct process *process)
{
    for (struct process_question *question = all->questions; question; question = question->next)
        if (question->process == process)
            question->process = NULL;
}

static bool record_take(struct carrick_arbiter_record *record, const char *body, size_t length)
{
    if (length < sizeof(*record))
        return false;
    memcpy(record, body, sizeof(*record));
    record->owner[sizeof(record->owner) - 1] = '\0';
    for (unsigned i = 0; i < CARRICK_ARBITER_MEMBERS_MAX; i++)
        record->members[i].node[sizeof(record->members[i].node) - 1] = '\0';
    return record->struct_size == sizeof(*record) &&
           record->member_count <= CARRICK_ARBITER_MEMBERS_MAX;
}

static int ask(struct carrick_client *client, const struct channel_message *message)
{
    struct process *process = client->process;
    struct process_question *question;
    struct carrick_arbiter_record record;
    size_t at = 0;
    const char *group = channel_string(message, &at);
    const struct carrick_arbitration_ops *ops;
    const void *table;
    void *object;
    int status = client->host->service_find(client->host, CARRICK_ARBITER_SERVICE, &table, &object);

    if (status != CARRICK_OK)
        return status;
    if (message->b != 0 &&
        (at > message->length || !record_take(&record, message->body + at, message->length - at)))
        return CARRICK_ERR_INVALID;
    question = malloc(sizeof(*question));
    if (question == NULL)
        return CARRICK_ERR_NO_MEMORY;
    *question = (struct process_question){
        .next = process->all->questions,
        .all = process->all,
        .process = process,
        .life = process->life,
        .client = client->index,
        .cookie = message->a,
    };
    process->all->questions = question;
    ops = table;
    status = message->b == 0
                 ? ops->read(object, group, (uint32_t)message->d, arbiter_answered, question)
                 : ops->change(object, group, message->c, &record, (uint32_t)message->d,
                               arbiter_answered, question);
    if (status != CARRICK_OK) {
        process->all->questions = question->next;
        free(question);
    }
    return status;
}

static void ask_or_refuse(struct carrick_client *client, const struct channel_message *message)
{
    int status = ask(client, message);

    // The process said yes to its caller already: what was not begun had no effect, and is told as an answer.
    if (status != CARRICK_OK)
        process_send(client->process, &(struct channel_message){.type = CHANNEL_ARBITER_ANSWER,
                                                                .client = client->index,
                                                                .a = message->a,
                                                                .b = CARRICK_ERR_UNREACHABLE});
}

// ---- the rest

static void log_line_of(struct carrick_client *client, const struct channel_message *message)
{
    struct process *process = client->process;
    int level = message->a >= CARRICK_LOG_ERROR && message->a <= CARRICK_LOG_DEBUG
                    ? (int)message->a
                    : CARRICK_LOG_INFO;
    char text[512];
    size_t at = 0;

    if (process->log_lines++ >= LOG_LINES_MAX) {
        process->log_dropped++;
        return;
    }
    snprintf(text, sizeof(text), "%s", message->body);
    for (; text[at] != '\0'; at++)
        if ((unsigned char)text[at] < ' ')
            text[at] = ' ';
    client->host->base->log(client->host->base, level, "%s", text);
}

static void hello(struct process *process, const struct channel_message *message)
{
    if (message->a != CHANNEL_VERSION)
        process_fail(process, "is of another version than the daemon");
}

void process_message(struct process *process, struct channel_message *message)
{
    struct carrick_client *client;

    if (message->type == CHANNEL_HELLO) {
        hello(process, message);
        return;
    }
    if (message->client >= process->client_count) {
        process_fail(process, "spoke of a client that it has not");
        return;
    }
    client = process->clients[message->client];
    switch (message->type) {
    case CHANNEL_CREATED:
        created(client, message);
        break;
    case CHANNEL_CALL:
        call(client, message);
        break;
    case CHANNEL_DESCRIBED:
        described(client, message);
        break;
    case CHANNEL_PROVIDED:
        provided(client, message);
        break;
    case CHANNEL_REPLY:
        process_client_reply(client, message->a, (int)(message->b & 0xffff),
                             message->c != 0 ? message->body : NULL);
        break;
    case CHANNEL_LOG:
        log_line_of(client, message);
        break;
    case CHANNEL_ASK:
        ask_or_refuse(client, message);
        break;
    case CHANNEL_SHADOW:
        client->host->status_shadow(client->host, message->a);
        break;
    case CHANNEL_BOOT_STAGE:
        client->host->status_boot_stage(client->host, (uint32_t)message->a & 0xff);
        break;
    case CHANNEL_DESTROYED:
        client->destroyed = true;
        break;
    default:
        process_fail(process, "sent a message that there is not");
    }
}
