// SPDX-License-Identifier: Apache-2.0
//
// What the control socket's requests mean. Most are handed to one manager or to all, on their threads, and their
// replies put together; text crosses between the threads, since JSON objects count their references without locks.
#include "daemon/daemon.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "core/manager.h"
#include "core/names.h"

enum shape {
    SHAPE_ONE,    // one manager's reply as it is
    SHAPE_STATUS, // the daemon's head, and the replies in "managers"
    SHAPE_KEYED,  // an object with each manager's reply by its name, or one manager's as it is
};

struct word {
    const char *name;
    enum shape shape;
    bool changes;     // is logged, with who asked
    unsigned wait_ms; // for the managers' replies
    void (*handle)(struct daemon *daemon, struct control_request *request); // NULL: for managers
};

// ---- a request that managers answer

struct relay_part {
    struct relay *relay;
    struct mailbox *mailbox; // of the main loop
    char name[CONFIG_NAME_SIZE];
    const char *word;
    char *args;
    // set on the manager's thread
    int status;
    char *text;
    // of the main thread
    bool done;
};

struct relay {
    struct daemon *daemon;
    struct relay *next, **link;      // of daemon->relays, until answered
    struct control_request *request; // NULL: answered
    enum shape shape;
    uv_timer_t timer;
    unsigned references; // the timer, and each part whose reply has not come
    unsigned waiting;
    size_t count;
    struct relay_part parts[];
};

static void relay_put(struct relay *relay)
{
    if (--relay->references > 0)
        return;
    for (size_t i = 0; i < relay->count; i++) {
        free(relay->parts[i].args);
        free(relay->parts[i].text);
    }
    free(relay);
}

static const char *plain(struct json_object *object)
{
    return json_object_to_json_string_ext(object,
                                          JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

static void add_string(struct json_object *object, const char *key, const char *value)
{
    json_object_object_add(object, key, value ? json_object_new_string(value) : NULL);
}

static void add_number(struct json_object *object, const char *key, uint64_t value)
{
    json_object_object_add(object, key, json_object_new_int64((int64_t)value));
}

static struct json_object *part_failure(const struct relay *relay, size_t index)
{
    const struct relay_part *part = &relay->parts[index];
    struct json_object *object = json_object_new_object();
    add_string(object, "name", part->name);
    add_string(object, "status", status_name(part->done ? part->status : CARRICK_ERR_TIMEOUT));
    add_string(object, "error", part->done && part->text ? part->text : "its loop does not answer");
    int number = managers_find(relay->daemon->managers, part->name);
    if (number >= 0)
        add_number(object, "silent_ms",
                   managers_silent_ms(relay->daemon->managers, (size_t)number));
    return object;
}

// What a part contributes: its reply, or what went wrong with it.
static struct json_object *part_value(const struct relay *relay, size_t index)
{
    const struct relay_part *part = &relay->parts[index];
    if (!part->done || part->status)
        return part_failure(relay, index);
    return part->text ? json_tokener_parse(part->text) : NULL;
}

static void add_head(const struct daemon *daemon, struct json_object *status)
{
    const struct config *config = daemon->config;
    struct rlimit locked;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    add_string(status, "node", config->nodes[daemon->node]);
    add_string(status, "partner", config->nodes[1 - daemon->node]);
    add_string(status, "cluster", config->cluster);
    add_string(status, "version", CARRICK_VERSION);
    add_number(status, "pid", (uint64_t)getpid());
    add_number(status, "uptime_ms", now_ms - daemon->started_ms);
    add_string(status, "config", config->file);
    add_string(status, "log_level", log_level_name(log_level(daemon->log)));
    bool limited = !getrlimit(RLIMIT_MEMLOCK, &locked) && locked.rlim_cur != RLIM_INFINITY;
    // null: no limit
    json_object_object_add(status, "memlock_bytes",
                           limited ? json_object_new_int64((int64_t)locked.rlim_cur) : NULL);
    json_object_object_add(status, "stopping", json_object_new_boolean(daemon->stopping));
}

static void answer_one(struct relay *relay, struct control_request *request)
{
    const struct relay_part *part = &relay->parts[0];
    if (part->done && !part->status) {
        request_answer(request, part->text ? part->text : "null");
    } else if (part->done) {
        request_refuse(request, part->status, NULL, "%s",
                       part->text ? part->text : status_name(part->status));
    } else {
        request_refuse(request, CARRICK_ERR_TIMEOUT, NULL,
                       "manager %s did not answer in time; see carrick status", part->name);
    }
}

static void relay_answer(struct relay *relay)
{
    struct control_request *request = relay->request;
    relay->request = NULL;
    uv_timer_stop(&relay->timer);
    if (relay->shape == SHAPE_ONE) {
        answer_one(relay, request);
        return;
    }
    bool status = relay->shape == SHAPE_STATUS;
    struct json_object *answer = json_object_new_object();
    struct json_object *array = status ? json_object_new_array() : NULL;
    if (status)
        add_head(relay->daemon, answer);
    for (size_t i = 0; i < relay->count; i++) {
        if (status)
            json_object_array_add(array, part_value(relay, i));
        else
            json_object_object_add(answer, relay->parts[i].name, part_value(relay, i));
    }
    if (status)
        json_object_object_add(answer, "managers", array);
    request_answer(request, plain(answer));
    json_object_put(answer);
}

static void on_timer_closed(uv_handle_t *handle)
{
    relay_put(handle->data);
}

static void relay_end(struct relay *relay)
{
    *relay->link = relay->next;
    if (relay->next)
        relay->next->link = relay->link;
    relay_answer(relay);
    uv_close((uv_handle_t *)&relay->timer, on_timer_closed);
}

static void on_relay_late(uv_timer_t *timer)
{
    relay_end(timer->data);
}

static void on_part_done(void *arg)
{
    struct relay_part *part = arg;
    struct relay *relay = part->relay;
    part->done = true;
    if (--relay->waiting == 0 && relay->request)
        relay_end(relay);
    relay_put(relay);
}

// On the manager's thread; the value becomes ours.
static void on_reply(void *arg, int status, struct json_object *value)
{
    struct relay_part *part = arg;
    const char *text = !value ? NULL : status ? json_object_get_string(value) : plain(value);
    part->status = status;
    part->text = text ? strdup(text) : NULL;
    json_object_put(value);
    mailbox_post(part->mailbox, on_part_done, part);
}

static void run_part(void *arg, struct manager *manager)
{
    struct relay_part *part = arg;
    // The part may be gone when manager_command returns.
    struct json_object *args = part->args ? json_tokener_parse(part->args) : NULL;
    manager_command(manager, part->word, args, on_reply, part);
    json_object_put(args);
}

static void part_post(struct relay *relay, size_t index, const char *args)
{
    struct daemon *daemon = relay->daemon;
    struct relay_part *part = &relay->parts[index];
    part->relay = relay;
    part->mailbox = &daemon->mailbox;
    part->args = args ? strdup(args) : NULL;
    int number = managers_find(daemon->managers, part->name);
    // From the call on the part belongs to the manager's thread, until its reply comes.
    int status = args && !part->args
                     ? CARRICK_ERR_NO_MEMORY
                     : managers_call(daemon->managers, (size_t)number, run_part, part);
    if (!status) {
        relay->references++;
        relay->waiting++;
        return;
    }
    part->done = true;
    part->status = status;
    part->text = strdup(status == CARRICK_ERR_STATE ? "it has stopped"
                                                    : "its loop does not take calls any more");
}

static void relay_start(struct daemon *daemon, struct control_request *request,
                        const struct word *word, const char *manager)
{
    size_t count = manager ? 1 : managers_count(daemon->managers);
    struct relay *relay = calloc(1, sizeof(*relay) + count * sizeof(relay->parts[0]));
    if (!relay) {
        request_refuse(request, CARRICK_ERR_NO_MEMORY, NULL, "no memory");
        return;
    }
    relay->daemon = daemon;
    relay->request = request;
    relay->shape = word->shape == SHAPE_KEYED && count == 1 ? SHAPE_ONE : word->shape;
    relay->count = count;
    relay->references = 1;
    relay->next = daemon->relays;
    relay->link = &daemon->relays;
    if (relay->next)
        relay->next->link = &relay->next;
    daemon->relays = relay;
    uv_timer_init(&daemon->loop, &relay->timer);
    relay->timer.data = relay;
    uv_timer_start(&relay->timer, on_relay_late, word->wait_ms, 0);
    struct json_object *object = request_args(request);
    const char *args = object ? plain(object) : NULL;
    for (size_t i = 0; i < count; i++) {
        snprintf(relay->parts[i].name, sizeof(relay->parts[i].name), "%s",
                 manager ? manager : managers_name(daemon->managers, i));
        relay->parts[i].word = word->name;
        part_post(relay, i, args);
    }
    if (relay->waiting == 0)
        relay_end(relay);
}

static void list_managers(const struct daemon *daemon, char *text, size_t size)
{
    text[0] = 0;
    for (size_t i = 0; i < managers_count(daemon->managers); i++) {
        size_t used = strlen(text);
        snprintf(text + used, size - used, "%s%s", i ? ", " : "",
                 managers_name(daemon->managers, i));
    }
}

static void to_managers(struct daemon *daemon, struct control_request *request,
                        const struct word *word)
{
    const char *manager = request_manager(request);
    char names[CONFIG_NAME_SIZE * 20];
    if (!daemon->managers) {
        request_refuse(request, CARRICK_ERR_STATE, NULL, "the daemon is starting or stopping");
        return;
    }
    list_managers(daemon, names, sizeof(names));
    if (manager && managers_find(daemon->managers, manager) < 0)
        request_refuse(request, CARRICK_ERR_NOT_FOUND, NULL,
                       "there is no manager \"%s\"; there are: %s", manager, names);
    else if (!manager && word->shape == SHAPE_ONE && managers_count(daemon->managers) > 1)
        request_refuse(request, CARRICK_ERR_INVALID, NULL,
                       "say which manager is meant (--manager): %s", names);
    else
        relay_start(daemon, request, word, manager);
}

void commands_end(struct daemon *daemon)
{
    while (daemon->relays)
        relay_end(daemon->relays);
}

// ---- requests that the daemon answers

static void add_plugin(const struct module *module, void *arg)
{
    const struct carrick_plugin *plugin = module_plugin(module);
    char abi[16];
    snprintf(abi, sizeof(abi), "%u.%u", plugin->abi_major, plugin->abi_minor);
    struct json_object *object = json_object_new_object();
    add_string(object, "name", plugin->name);
    add_string(object, "kind", kind_name(plugin->kind));
    add_string(object, "version", plugin->version);
    add_string(object, "licence", plugin->licence);
    add_string(object, "description", plugin->description);
    add_string(object, "abi", abi);
    add_string(object, "path", module_path(module));
    json_object_array_add(arg, object);
}

static void answer_plugins(struct daemon *daemon, struct control_request *request)
{
    struct json_object *array = json_object_new_array();
    loader_each(daemon->loader, add_plugin, array);
    request_answer(request, plain(array));
    json_object_put(array);
}

static void answer_version(struct daemon *daemon, struct control_request *request)
{
    (void)daemon;
    char abi[16];
    snprintf(abi, sizeof(abi), "%d.%d", CARRICK_ABI_MAJOR, CARRICK_ABI_MINOR);
    struct json_object *object = json_object_new_object();
    add_string(object, "version", CARRICK_VERSION);
    add_string(object, "abi", abi);
    request_answer(request, plain(object));
    json_object_put(object);
}

static void answer_events(struct daemon *daemon, struct control_request *request)
{
    const char *manager = request_manager(request);
    if (manager && !config_manager_find(daemon->config, manager))
        request_refuse(request, CARRICK_ERR_NOT_FOUND, NULL, "there is no manager \"%s\"", manager);
    else
        request_follow(request);
}

// ---- words

static const struct word words[] = {
    {"status", SHAPE_STATUS, false, 3000, NULL},
    {"links", SHAPE_KEYED, false, 3000, NULL},
    {"clients", SHAPE_KEYED, false, 3000, NULL},
    {"vis", SHAPE_KEYED, false, 3000, NULL},
    {"stats", SHAPE_KEYED, false, 3000, NULL},
    {"session-reset", SHAPE_ONE, true, 5000, NULL},
    {"link-down", SHAPE_ONE, true, 5000, NULL},
    {"link-up", SHAPE_ONE, true, 5000, NULL},
    {"boot-stage", SHAPE_KEYED, true, 3000, NULL},
    {"client", SHAPE_ONE, true, 35000, NULL}, // a client has 30 s
    {"plugins", SHAPE_ONE, false, 0, answer_plugins},
    {"events", SHAPE_ONE, false, 0, answer_events},
    {"reload", SHAPE_ONE, true, 0, daemon_reload},
    {"version", SHAPE_ONE, false, 0, answer_version},
};

static void refuse_word(struct control_request *request)
{
    char known[256] = "";
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof(known) - used, "%s%s", i ? ", " : "", words[i].name);
    }
    request_refuse(request, CARRICK_ERR_NOT_FOUND, NULL,
                   "there is no command \"%.64s\"; there are: %s", request_command(request), known);
}

// A client's words are its own; by the contract (carrick/client.h) "status" only reads.
static bool only_reads(struct control_request *request)
{
    struct json_object *args = request_args(request), *word = NULL;

    if (strcmp(request_command(request), "client") ||
        !json_object_is_type(args, json_type_object) ||
        !json_object_object_get_ex(args, "word", &word) ||
        !json_object_is_type(word, json_type_string))
        return false;
    return !strcmp(json_object_get_string(word), "status");
}

static void log_change(struct daemon *daemon, struct control_request *request)
{
    const struct ucred *caller = request_caller(request);
    struct json_object *args = request_args(request);
    const char *manager = request_manager(request);
    struct env_record record = {
        .level = CARRICK_LOG_NOTICE, .event = "command", .manager = manager};
    char text[512];
    snprintf(text, sizeof(text), "%s %.300s by user %u, process %d", request_command(request),
             args ? plain(args) : "", (unsigned)caller->uid, (int)caller->pid);
    record.text = text;
    log_write(daemon->log, &record);
}

void commands_handle(void *arg, struct control_request *request)
{
    struct daemon *daemon = arg;
    const char *name = request_command(request);
    const struct word *word = NULL;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]) && !word; i++)
        if (!strcmp(words[i].name, name))
            word = &words[i];
    if (!word) {
        refuse_word(request);
        return;
    }
    if (word->changes && !only_reads(request))
        log_change(daemon, request);
    if (word->handle)
        word->handle(daemon, request);
    else
        to_managers(daemon, request, word);
}
