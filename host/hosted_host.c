// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "host/hosted.h"

static struct hosted *hosted_of(const struct carrick_client_host *base)
{
    return ((const struct hosted_host *)(const void *)base)->hosted;
}

// ---- memory

struct carrick_region *hosted_region_map(struct hosted *hosted, uint64_t number, uint64_t bytes,
                                         uint64_t offset, int fd)
{
    struct carrick_region *region = calloc(1, sizeof(*region));
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    if (region == NULL) {
        close(fd);
        return NULL;
    }
    *region = (struct carrick_region){.hosted = hosted, .number = number, .bytes = bytes, .fd = fd};
    region->mapped = (bytes + page - 1) / page * page;
    region->address =
        mmap(NULL, region->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
    if (region->address == MAP_FAILED) {
        close(fd);
        free(region);
        return NULL;
    }
    return region;
}

void hosted_region_unmap(struct carrick_region *region)
{
    munmap(region->address, region->mapped);
    close(region->fd);
    free(region);
}

static int region_take(struct hosted *hosted, struct channel_message *answer,
                       struct carrick_region **out)
{
    int status = (int)answer->a, fd = channel_take_fd(answer, 0);
    struct carrick_region *region = NULL;

    if (status == CARRICK_OK && fd >= 0)
        region = hosted_region_map(hosted, answer->b, answer->c, 0, fd);
    if (status != CARRICK_OK)
        return status;
    if (region == NULL)
        return CARRICK_ERR_NO_MEMORY;
    region->next = hosted->regions;
    hosted->regions = region;
    *out = region;
    return CARRICK_OK;
}

static int region_create(const struct carrick_client_host *base, uint64_t bytes,
                         struct carrick_region **region)
{
    struct hosted *hosted = hosted_of(base);
    struct channel_message answer;
    int status;

    if (bytes == 0)
        return CARRICK_ERR_INVALID;
    host_call(hosted, &(struct channel_message){.a = CHANNEL_REGION_CREATE, .b = bytes}, &answer);
    status = region_take(hosted, &answer, region);
    channel_message_end(&answer);
    return status;
}

static int region_open(const struct carrick_client_host *base, const char *path, uint64_t bytes,
                       struct carrick_region **region, struct carrick_region_info *info,
                       struct carrick_error *error)
{
    struct hosted *hosted = hosted_of(base);
    struct channel_message answer;
    struct carrick_region_info found = {.struct_size = sizeof(found)};
    int status;

    host_call(hosted,
              &(struct channel_message){.a = CHANNEL_REGION_OPEN,
                                        .b = bytes,
                                        .body = (char *)(uintptr_t)path,
                                        .length = strlen(path)},
              &answer);
    status = region_take(hosted, &answer, region);
    found.kind = (uint32_t)answer.d;
    found.created = answer.d >> 32 != 0;
    if (status == CARRICK_OK && info != NULL) {
        if (found.struct_size > info->struct_size)
            found.struct_size = info->struct_size;
        memcpy(info, &found, found.struct_size);
    } else if (error != NULL) {
        error->sys_errno = (int32_t)answer.b;
        snprintf(error->text, sizeof(error->text), "%s", answer.body);
    }
    channel_message_end(&answer);
    return status;
}

static int region_destroy(struct carrick_region *region)
{
    struct hosted *hosted = region->hosted;
    struct carrick_region **at = &hosted->regions;
    struct channel_message answer;
    int status;

    while (*at != NULL && *at != region)
        at = &(*at)->next;
    if (*at == NULL)
        return CARRICK_ERR_INVALID;
    if (region->operations > 0)
        return CARRICK_ERR_STATE;
    host_call(hosted, &(struct channel_message){.a = CHANNEL_REGION_DESTROY, .b = region->number},
              &answer);
    status = (int)answer.a;
    channel_message_end(&answer);
    if (status != CARRICK_OK)
        return status;
    *at = region->next;
    hosted_region_unmap(region);
    return CARRICK_OK;
}

static void *region_ptr(struct carrick_region *region)
{
    return region->address;
}

static uint64_t region_bytes(struct carrick_region *region)
{
    return region->bytes;
}

static int region_fd(struct carrick_region *region)
{
    return region->fd;
}

// ---- VIs: hosted_vi.c

static uint32_t vi_number(struct carrick_vi *vi)
{
    return vi->number;
}

// ---- the session

static void partner_status(const struct carrick_client_host *base,
                           struct carrick_partner_status *status)
{
    struct channel_message answer;
    uint32_t size = status->struct_size;

    host_call(hosted_of(base), &(struct channel_message){.a = CHANNEL_PARTNER_STATUS}, &answer);
    memcpy(status, answer.body, size < answer.length ? size : answer.length);
    status->struct_size = size;
    channel_message_end(&answer);
}

static void tell(const struct carrick_client_host *base, uint32_t type, uint64_t value)
{
    struct hosted *hosted = hosted_of(base);

    host_send(hosted->process,
              &(struct channel_message){.type = type, .client = hosted->index, .a = value});
}

static void status_shadow(const struct carrick_client_host *base, uint64_t sequence)
{
    tell(base, CHANNEL_SHADOW, sequence);
}

static void status_boot_stage(const struct carrick_client_host *base, uint32_t stage)
{
    tell(base, CHANNEL_BOOT_STAGE, stage);
}

static int session_reset(const struct carrick_client_host *base, const char *why)
{
    struct hosted *hosted = hosted_of(base);

    if (!hosted->ready)
        return CARRICK_ERR_STATE;
    hosted_put(hosted, CHANNEL_OP_RESET, why, (uint32_t)strnlen(why, 120), NULL, 0);
    return CARRICK_OK;
}

static void command_reply(const struct carrick_client_host *base, uint64_t token, int status,
                          const char *json)
{
    struct hosted *hosted = hosted_of(base);

    host_send(hosted->process,
              &(struct channel_message){.type = CHANNEL_REPLY,
                                        .client = hosted->index,
                                        .a = token,
                                        .b = (uint64_t)status,
                                        .c = json != NULL,
                                        .body = (char *)(uintptr_t)json,
                                        .length = json != NULL ? strlen(json) : 0});
}

// ---- the arbiter, which stays in the daemon

static int ask(struct hosted *hosted, struct channel_message *message, carrick_arbitration_fn fn,
               void *arg)
{
    struct hosted_question *question = malloc(sizeof(*question));
    struct host_process *process = hosted->process;

    if (question == NULL)
        return CARRICK_ERR_NO_MEMORY;
    *question = (struct hosted_question){.next = process->questions,
                                         .hosted = hosted,
                                         .cookie = ++hosted->question,
                                         .fn = fn,
                                         .arg = arg};
    process->questions = question;
    message->type = CHANNEL_ASK;
    message->client = hosted->index;
    message->a = question->cookie;
    host_send(process, message);
    return CARRICK_OK;
}

static int arbiter_read(struct carrick_arbitration *object, const char *group, uint32_t timeout_ms,
                        carrick_arbitration_fn fn, void *arg)
{
    struct channel_message message = {
        .d = timeout_ms, .body = (char *)(uintptr_t)group, .length = strlen(group)};

    return ask((struct hosted *)(void *)object, &message, fn, arg);
}

static int arbiter_change(struct carrick_arbitration *object, const char *group,
                          uint64_t expected_number, const struct carrick_arbiter_record *wanted,
                          uint32_t timeout_ms, carrick_arbitration_fn fn, void *arg)
{
    size_t length = strlen(group) + 1;
    struct channel_message message = {.b = 1, .c = expected_number, .d = timeout_ms};
    struct carrick_arbiter_record record = *wanted;
    int status;

    message.length = length + sizeof(record);
    message.body = malloc(message.length);
    if (message.body == NULL)
        return CARRICK_ERR_NO_MEMORY;
    record.struct_size = sizeof(record);
    memcpy(message.body, group, length);
    memcpy(message.body + length, &record, sizeof(record));
    status = ask((struct hosted *)(void *)object, &message, fn, arg);
    free(message.body);
    return status;
}

static const char *arbiter_name(struct carrick_arbitration *object)
{
    return ((struct hosted *)(void *)object)->process->arbiter;
}

static const struct carrick_arbitration_ops arbitration = {
    .struct_size = sizeof(arbitration),
    .read = arbiter_read,
    .change = arbiter_change,
    .name = arbiter_name,
};

void hosted_answered(struct hosted *hosted, const struct channel_message *message)
{
    struct carrick_arbiter_record record;
    struct hosted_question **at = &hosted->process->questions, *question;

    while (*at != NULL && ((*at)->hosted != hosted || (*at)->cookie != message->a))
        at = &(*at)->next;
    question = *at;
    if (question == NULL)
        return;
    *at = question->next;
    if (message->c != 0 && message->length >= sizeof(record))
        memcpy(&record, message->body, sizeof(record));
    question->fn(question->arg, (int)message->b, message->c != 0 ? &record : NULL);
    free(question);
}

// ---- services within the process

static int service_offer(const struct carrick_client_host *base, const char *name,
                         const void *table, void *object)
{
    struct hosted *hosted = hosted_of(base);
    struct host_process *process = hosted->process;
    struct hosted_service *service;

    if (name == NULL || table == NULL || name[0] == '\0' || strlen(name) > CARRICK_NAME_MAX)
        return CARRICK_ERR_INVALID;
    for (uint32_t i = 0; i < process->service_count; i++)
        if (strcmp(process->services[i].name, name) == 0)
            return CARRICK_ERR_EXISTS;
    if (process->service_count == HOSTED_SERVICES_MAX)
        return CARRICK_ERR_LIMIT;
    service = &process->services[process->service_count++];
    *service = (struct hosted_service){.hosted = hosted, .table = table, .object = object};
    snprintf(service->name, sizeof(service->name), "%s", name);
    return CARRICK_OK;
}

static int service_find(const struct carrick_client_host *base, const char *name,
                        const void **table, void **object)
{
    struct hosted *hosted = hosted_of(base);
    struct host_process *process = hosted->process;

    for (uint32_t i = 0; i < process->service_count; i++)
        if (strcmp(process->services[i].name, name) == 0) {
            *table = process->services[i].table;
            *object = process->services[i].object;
            return CARRICK_OK;
        }
    if (strcmp(name, CARRICK_ARBITER_SERVICE) != 0 || process->arbiter[0] == '\0')
        return CARRICK_ERR_NOT_FOUND;
    *table = &arbitration;
    *object = hosted;
    return CARRICK_OK;
}

void hosted_host_init(struct hosted *hosted)
{
    hosted->client_host.hosted = hosted;
    hosted->client_host.base = (struct carrick_client_host){
        .struct_size = sizeof(struct carrick_client_host),
        .base = &hosted->host.base,
        .region_create = region_create,
        .region_destroy = region_destroy,
        .region_ptr = region_ptr,
        .region_bytes = region_bytes,
        .vi_open = hosted_vi_open,
        .vi_close = hosted_vi_close,
        .vi_number = vi_number,
        .post = hosted_post,
        .vi_room = hosted_vi_room,
        .partner_status = partner_status,
        .status_shadow = status_shadow,
        .status_boot_stage = status_boot_stage,
        .session_reset = session_reset,
        .command_reply = command_reply,
        .region_open = region_open,
        .region_fd = region_fd,
        .service_offer = service_offer,
        .service_find = service_find,
    };
}
