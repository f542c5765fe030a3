// SPDX-License-Identifier: Apache-2.0
#include "host/hosted.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EVENTS_TURN 256u

// ---- making

static void created_tell(const struct hosted *hosted, int status, const struct carrick_error *error)
{
    char body[sizeof(error->pointer) + sizeof(error->text) + 2];
    int length = snprintf(body, sizeof(body), "%.*s%c%.*s", (int)sizeof(error->pointer) - 1,
                          error->pointer, 0, (int)sizeof(error->text) - 1, error->text);

    host_send(hosted->process, &(struct channel_message){.type = CHANNEL_CREATED,
                                                         .client = hosted->index,
                                                         .a = (uint64_t)status,
                                                         .b = (uint64_t)error->sys_errno,
                                                         .body = body,
                                                         .length = (uint64_t)length});
}

static void on_idle(void *arg);

static int hosted_make(struct hosted *hosted, struct channel_message *message,
                       struct carrick_error *error)
{
    struct host_process *process = hosted->process;
    size_t at = 0;
    const char *name = channel_string(message, &at), *plugin = channel_string(message, &at),
               *directory = channel_string(message, &at), *arbiter = channel_string(message, &at),
               *config = channel_string(message, &at);
    int shared = channel_take_fd(message, 0), status;

    hosted->shared = channel_memory_map(shared, sizeof(*hosted->shared));
    if (shared >= 0)
        close(shared);
    hosted->wants = calloc(CARRICK_CLIENT_REGIONS_MAX, sizeof(*hosted->wants));
    hosted->there_bytes = calloc(CARRICK_CLIENT_REGIONS_MAX, sizeof(*hosted->there_bytes));
    hosted->coming = calloc(CARRICK_CLIENT_REGIONS_MAX, sizeof(struct carrick_region *));
    hosted->here = calloc(CARRICK_CLIENT_REGIONS_MAX, sizeof(struct carrick_region *));
    hosted->vis = calloc(CARRICK_CLIENT_VIS_MAX, sizeof(struct carrick_vi *));
    if (config == NULL || hosted->shared == NULL || hosted->wants == NULL ||
        hosted->coming == NULL || hosted->here == NULL || hosted->there_bytes == NULL ||
        hosted->vis == NULL)
        return CARRICK_ERR_NO_MEMORY;
    channel_rings(hosted->shared, &hosted->ops_ring, &hosted->events);
    snprintf(hosted->name, sizeof(hosted->name), "%s", name);
    snprintf(process->arbiter, sizeof(process->arbiter), "%s", arbiter);
    host_init(&hosted->host, process->env, process->node, process->partner, process->manager,
              hosted->name);
    hosted->host.idle = on_idle;
    hosted->host.arg = hosted;
    hosted_host_init(hosted);
    hosted->loader = loader_create(&directory, 1);
    if (hosted->loader == NULL)
        return CARRICK_ERR_NO_MEMORY;
    status = loader_get(hosted->loader, CARRICK_KIND_CLIENT, plugin, &hosted->module, error);
    if (status != CARRICK_OK)
        return status;
    hosted->ops = module_ops(hosted->module);
    return hosted->ops->create(&hosted->client_host.base, config, &hosted->instance, error);
}

static void take_out(struct hosted *hosted)
{
    struct host_process *process = hosted->process;

    process->clients[hosted->index] = NULL;
    process->client_count--;
    hosted->next = process->gone;
    process->gone = hosted;
}

void hosted_create(struct host_process *process, struct channel_message *message)
{
    struct carrick_error error = {.struct_size = sizeof(error)};
    struct hosted *hosted = calloc(1, sizeof(*hosted));
    int status;

    if (hosted == NULL || message->client >= CHANNEL_CLIENTS_MAX)
        host_end();
    hosted->process = process;
    hosted->index = message->client;
    process->clients[hosted->index] = hosted;
    process->client_count++;
    status = hosted_make(hosted, message, &error);
    created_tell(hosted, status, &error);
    // The daemon decides what is to become of it; until then it is never called.
    if (status != CARRICK_OK)
        take_out(hosted);
}

// ---- ending

static void services_withdraw(struct hosted *hosted)
{
    struct host_process *process = hosted->process;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < process->service_count; i++)
        if (process->services[i].hosted != hosted)
            process->services[kept++] = process->services[i];
    process->service_count = kept;
}

static void destroy(struct hosted *hosted)
{
    struct host_process *process = hosted->process;

    hosted->ops->destroy(hosted->instance);
    hosted->instance = NULL;
    services_withdraw(hosted);
    take_out(hosted);
    host_send(process,
              &(struct channel_message){.type = CHANNEL_DESTROYED, .client = hosted->index});
}

// What is under way ends by itself; the instances are ended after it, all in one turn and the last one first: one that
// uses another's service is not called by it any more when it is gone.
static void destroy_when_idle(struct host_process *process)
{
    for (uint32_t i = 0; i < CHANNEL_CLIENTS_MAX; i++)
        if (process->clients[i] != NULL && process->clients[i]->host.works > 0)
            return;
    for (uint32_t i = CHANNEL_CLIENTS_MAX; i-- > 0;)
        if (process->clients[i] != NULL)
            destroy(process->clients[i]);
}

static void on_idle(void *arg)
{
    struct hosted *hosted = arg;

    if (hosted->process->destroying)
        destroy_when_idle(hosted->process);
}

// ---- regions that the partner asked for

void hosted_here(struct hosted *hosted, struct channel_message *message)
{
    int fd = channel_take_fd(message, 0);

    if (fd < 0 || message->a >= CARRICK_CLIENT_REGIONS_MAX)
        host_end();
    if (message->a == 0)
        hosted->coming_count = 0;
    hosted->coming[message->a] =
        hosted_region_map(hosted, CHANNEL_HERE_REGION | message->a, message->b, message->c, fd);
    if (hosted->coming[message->a] == NULL)
        host_end(); // no memory for it: another life may find some
    hosted->coming_count = (uint32_t)message->a + 1;
}

// ---- callbacks

static void describe(struct hosted *hosted)
{
    struct carrick_client_info info = {
        .struct_size = sizeof(info),
        .region_max = CARRICK_CLIENT_REGIONS_MAX,
        .wants = hosted->wants,
    };
    struct channel_message message = {.type = CHANNEL_DESCRIBED, .client = hosted->index};
    char body[CARRICK_CLIENT_REGIONS_MAX * sizeof(struct channel_want) + CARRICK_CLIENT_TERMS_MAX];
    int status;

    memset(hosted->wants, 0, CARRICK_CLIENT_REGIONS_MAX * sizeof(*hosted->wants));
    hosted->wants[0].struct_size = sizeof(*hosted->wants);
    status = hosted->ops->describe(hosted->instance, &info);
    if (status == CARRICK_OK && info.region_count > CARRICK_CLIENT_REGIONS_MAX)
        status = CARRICK_ERR_LIMIT;
    hosted->want_count = status == CARRICK_OK ? info.region_count : 0;
    for (uint32_t i = 0; i < hosted->want_count; i++) {
        const struct channel_want want = {.access = hosted->wants[i].access,
                                          .bytes = hosted->wants[i].bytes};

        memcpy(body + i * sizeof(want), &want, sizeof(want));
        hosted->there_bytes[i] = hosted->wants[i].bytes;
    }
    message.a = (uint64_t)status;
    message.b = info.vis;
    message.c = info.version;
    message.d = hosted->want_count;
    message.body = body;
    message.length = hosted->want_count * sizeof(struct channel_want);
    if (status == CARRICK_OK && info.terms != NULL) {
        size_t bytes = strnlen(info.terms, CARRICK_CLIENT_TERMS_MAX);

        memcpy(body + message.length, info.terms, bytes);
        message.length += bytes;
    }
    host_send(hosted->process, &message);
}

static struct carrick_region *region_of_fd(const struct hosted *hosted, int fd)
{
    for (struct carrick_region *region = hosted->regions; region != NULL; region = region->next)
        if (region->fd == fd)
            return region;
    return NULL;
}

static void provide(struct hosted *hosted, const struct channel_provide *question)
{
    struct carrick_region_want want = {
        .struct_size = sizeof(want), .access = question->access, .bytes = question->bytes};
    struct carrick_region_backing backing = {.struct_size = sizeof(backing), .fd = -1};
    struct channel_message message = {
        .type = CHANNEL_PROVIDED, .client = hosted->index, .a = question->index};
    int status = hosted->ops->provide(hosted->instance, question->index, &want, &backing);
    const struct carrick_region *region = backing.fd < 0 ? NULL : region_of_fd(hosted, backing.fd);

    message.b = status == CARRICK_ERR_NOT_SUPPORTED ? CARRICK_OK : (uint64_t)status;
    message.c = backing.offset;
    message.d = region != NULL ? region->number : CHANNEL_NO_REGION;
    if (region == NULL && backing.fd >= 0) {
        message.fds[0] = backing.fd;
        message.fd_count = 1;
    }
    host_send(hosted->process, &message);
}

static void ready(struct hosted *hosted, const struct channel_ready *event)
{
    struct carrick_session_info info = {
        .struct_size = sizeof(info),
        .partner_version = event->partner_version,
        .session = event->session,
        .incarnation = event->incarnation,
        .partner_incarnation = event->partner_incarnation,
        .vi_count = event->vi_count,
        .here_count = event->here_count,
        .there_count = hosted->want_count,
        .vis = hosted->vis,
        .here = hosted->here,
        .there_bytes = hosted->there_bytes,
    };

    if (event->here_count > 0)
        host_take_here(hosted->process);
    if (event->here_count > hosted->coming_count)
        host_end();
    for (uint32_t i = 0; i < event->here_count; i++) {
        hosted->here[i] = hosted->coming[i];
        hosted->coming[i] = NULL;
    }
    hosted->coming_count = 0;
    hosted->here_count = event->here_count;
    for (uint32_t i = 0; i < event->vi_count; i++)
        if (hosted_vi_make(hosted, i, event->generation, CARRICK_VI_OPEN) == NULL)
            host_end();
    hosted->ready = true;
    hosted->ops->ready(hosted->instance, &info);
}

static void ended(struct hosted *hosted, const struct channel_ending *event)
{
    hosted->ready = false;
    hosted_vis_end(hosted);
    hosted->ops->ended(hosted->instance, event->reason);
    for (uint32_t i = 0; i < hosted->here_count; i++)
        hosted_region_unmap(hosted->here[i]);
    hosted->here_count = 0;
}

static void received(struct hosted *hosted, const struct channel_record *record)
{
    const struct channel_vi *event = (const struct channel_vi *)(const void *)record->data;
    struct carrick_vi *vi = hosted_vi(hosted, event->vi, event->generation);

    if (vi != NULL && !vi->closing)
        hosted->ops->received(hosted->instance, vi, record->data + sizeof(*event),
                              record->length - (uint32_t)sizeof(*event));
}

// The daemon is believed: it owns what is here anyway.
static void event_take(struct hosted *hosted, const struct channel_record *record)
{
    const void *data = record->data;
    const struct channel_ending *ending = data;

    switch (record->type) {
    case CHANNEL_EVENT_DESCRIBE:
        describe(hosted);
        break;
    case CHANNEL_EVENT_PROVIDE:
        provide(hosted, data);
        break;
    case CHANNEL_EVENT_READY:
        ready(hosted, data);
        break;
    case CHANNEL_EVENT_ENDING:
        hosted->ops->ending(hosted->instance, ending->reason, ending->deadline_ns);
        break;
    case CHANNEL_EVENT_ENDED:
        ended(hosted, data);
        break;
    case CHANNEL_EVENT_COMPLETED:
        hosted_completed(hosted, data);
        break;
    case CHANNEL_EVENT_RECEIVED:
        received(hosted, record);
        break;
    case CHANNEL_EVENT_VI_CHANGED:
        hosted_vi_changed(hosted, data);
        break;
    case CHANNEL_EVENT_STOPPING:
        hosted->ops->stopping(hosted->instance);
        break;
    default:
        break;
    }
}

bool hosted_events(struct hosted *hosted)
{
    struct channel_record record;
    int found = 0;

    if (hosted->instance == NULL)
        return false;
    for (uint32_t i = 0; i < EVENTS_TURN; i++) {
        found = channel_peek(&hosted->events, &record);
        if (found <= 0)
            break;
        channel_advance(&hosted->events, &record);
        event_take(hosted, &record);
    }
    if (found < 0)
        host_end();
    if (__atomic_load_n(&hosted->shared->event_words.waits, __ATOMIC_SEQ_CST) != 0 &&
        __atomic_exchange_n(&hosted->shared->event_words.waits, 0, __ATOMIC_SEQ_CST) != 0)
        host_wake_daemon(hosted->process);
    return found > 0;
}

void hosted_state(struct hosted *hosted)
{
    char text[CHANNEL_STATE_BYTES] = "";
    uint32_t turn = hosted->shared->state_turn;

    if (hosted->instance == NULL)
        return;
    hosted->ops->describe_state(hosted->instance, text, sizeof(text));
    __atomic_store_n(&hosted->shared->state_turn, turn | 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    memcpy(hosted->shared->state, text, sizeof(text));
    __atomic_store_n(&hosted->shared->state_turn, (turn | 1) + 1, __ATOMIC_RELEASE);
}

static void command(struct hosted *hosted, const struct channel_message *message)
{
    size_t at = 0;
    const char *word = channel_string(message, &at), *json = channel_string(message, &at);
    int status = json == NULL ? CARRICK_ERR_INVALID
                              : hosted->ops->command(hosted->instance, word, json, message->a);

    if (status != CARRICK_OK)
        host_send(hosted->process, &(struct channel_message){.type = CHANNEL_REPLY,
                                                             .client = hosted->index,
                                                             .a = message->a,
                                                             .b = (uint64_t)status});
}

static void config_change(struct hosted *hosted, const struct channel_message *message)
{
    struct carrick_error error = {.struct_size = sizeof(error)};
    int status = hosted->ops->config_change(hosted->instance, message->body, &error);

    if (status != CARRICK_OK)
        hosted->host.base.log(&hosted->host.base, CARRICK_LOG_WARNING,
                              "keeps its configuration until the next start: %s",
                              error.text[0] != '\0' ? error.text
                                                    : "it cannot change while running");
}

static void destroy_all(struct host_process *process)
{
    // What came before the end is told before it.
    for (uint32_t i = 0; i < CHANNEL_CLIENTS_MAX; i++)
        while (process->clients[i] != NULL && hosted_events(process->clients[i]))
            ;
    process->destroying = true;
    destroy_when_idle(process);
}

void hosted_message(struct hosted *hosted, struct channel_message *message)
{
    if (hosted->instance == NULL)
        return;
    switch (message->type) {
    case CHANNEL_HERE:
        hosted_here(hosted, message);
        break;
    case CHANNEL_COMMAND:
        command(hosted, message);
        break;
    case CHANNEL_CONFIG:
        config_change(hosted, message);
        break;
    case CHANNEL_ARBITER_ANSWER:
        hosted_answered(hosted, message);
        break;
    case CHANNEL_DESTROY:
        destroy_all(hosted->process);
        break;
    default:
        break;
    }
}
