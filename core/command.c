// SPDX-License-Identifier: Apache-2.0
#include "core/command.h"

#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/client.h"
#include "core/link.h"
#include "core/names.h"
#include "core/report.h"
#include "core/session.h"

#define ANSWER_WITHIN_NS (30000 * ENV_MS)
#define COMMANDS_MAX 64u

struct command {
    struct manager *manager;
    struct json_object *args;
    void (*reply)(void *arg, int status, struct json_object *value);
    void *arg;
};

static void reply_text(const struct command *command, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void reply_text(const struct command *command, int status, const char *format, ...)
{
    char text[256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    command->reply(command->arg, status, json_object_new_string(text));
}

static const char *arg_string(const struct command *command, const char *name)
{
    struct json_object *value = NULL;

    if (command->args == NULL || !json_object_is_type(command->args, json_type_object) ||
        !json_object_object_get_ex(command->args, name, &value) ||
        !json_object_is_type(value, json_type_string))
        return NULL;
    return json_object_get_string(value);
}

// ---- what shows

static void command_status(const struct command *command)
{
    command->reply(command->arg, CARRICK_OK, report_manager(command->manager));
}

static void command_links(const struct command *command)
{
    command->reply(command->arg, CARRICK_OK, report_links(command->manager));
}

static void command_clients(const struct command *command)
{
    command->reply(command->arg, CARRICK_OK, report_clients(command->manager));
}

static void command_vis(const struct command *command)
{
    command->reply(command->arg, CARRICK_OK, report_vis(command->manager));
}

static void command_stats(const struct command *command)
{
    command->reply(command->arg, CARRICK_OK, report_stats(command->manager));
}

// ---- what changes

static void command_session_reset(const struct command *command)
{
    const char *why = arg_string(command, "why");

    if (command->manager->session.state != CARRICK_SESSION_UP) {
        reply_text(command, CARRICK_ERR_STATE, "there is no session to reset: it is %s",
                   session_state_name(command->manager->session.state));
        return;
    }
    session_end(command->manager, CARRICK_REASON_OPERATOR, why == NULL ? "by command" : why);
    reply_text(command, CARRICK_OK, "the session is being ended and brought up again");
}

static struct link *command_link(const struct command *command)
{
    const char *name = arg_string(command, "link");
    struct manager *manager = command->manager;

    for (uint32_t i = 0; name != NULL && i < manager->link_count; i++)
        if (strcmp(manager->links[i].config->name, name) == 0)
            return &manager->links[i];
    reply_text(command, CARRICK_ERR_NOT_FOUND, "manager %s has no link %s", manager->section->name,
               name == NULL ? "(none was named)" : name);
    return NULL;
}

static void command_link_down(const struct command *command)
{
    struct link *link = command_link(command);

    if (link == NULL)
        return;
    link_admin_down(link, "taken down by command");
    reply_text(command, CARRICK_OK, "link %s is taken down", link->config->name);
}

static void command_link_up(const struct command *command)
{
    struct link *link = command_link(command);

    if (link == NULL)
        return;
    link_admin_up(link);
    reply_text(command, CARRICK_OK, "link %s is being brought up", link->config->name);
}

// The partner reads it with its next probe.
static void command_boot_stage(const struct command *command)
{
    struct manager *manager = command->manager;
    const char *name = arg_string(command, "stage");
    uint32_t stage = name == NULL ? CARRICK_BOOT_UNKNOWN : boot_stage_of(name);

    if (stage == CARRICK_BOOT_UNKNOWN) {
        reply_text(command, CARRICK_ERR_INVALID,
                   "there is no boot stage %.40s; there are: initramfs, root, services, serving",
                   name == NULL ? "(none was named)" : name);
        return;
    }
    log_record(manager->env, CARRICK_LOG_NOTICE, "boot-stage", manager->section->name, NULL,
               "this node is at boot stage %s after %s", name,
               boot_stage_name(manager->line.boot_stage));
    manager->line.boot_stage = (uint8_t)stage;
    session_publish(manager);
    reply_text(command, CARRICK_OK, "%s", name);
}

// ---- what a client answers

static void command_client(const struct command *command)
{
    struct manager *manager = command->manager;
    const char *name = arg_string(command, "client"), *word = arg_string(command, "word");
    struct client *client = name == NULL ? NULL : client_find(manager, name);
    struct json_object *args = NULL;
    struct command_wait *wait;
    uint32_t waiting = 0;
    int status;

    if (client == NULL || word == NULL) {
        reply_text(command, CARRICK_ERR_NOT_FOUND, "manager %s has no client %s",
                   manager->section->name, name == NULL ? "(none was named)" : name);
        return;
    }
    for (wait = manager->commands; wait != NULL; wait = wait->next)
        waiting++;
    wait = waiting < COMMANDS_MAX ? calloc(1, sizeof(*wait)) : NULL;
    if (wait == NULL) {
        reply_text(command, CARRICK_ERR_LIMIT, "%u commands wait for an answer already", waiting);
        return;
    }
    *wait = (struct command_wait){
        .next = manager->commands,
        .token = ++manager->command_token,
        .deadline_ns = env_now_ns(manager->env) + ANSWER_WITHIN_NS,
        .client = client,
        .reply = command->reply,
        .arg = command->arg,
    };
    manager->commands = wait;
    json_object_object_get_ex(command->args, "args", &args);
    status = client_command(client, word, args == NULL ? "null" : json_object_to_json_string(args),
                            manager->command_token);
    if (status != CARRICK_OK)
        command_answered(manager, client, manager->command_token, status, NULL);
}

static void wait_end(struct command_wait **at, int status, struct json_object *value)
{
    struct command_wait *wait = *at;

    *at = wait->next;
    wait->reply(wait->arg, status, value);
    free(wait);
}

void command_answered(struct manager *manager, struct client *client, uint64_t token, int status,
                      const char *json)
{
    struct json_object *value = NULL;

    for (struct command_wait **at = &manager->commands; *at != NULL; at = &(*at)->next) {
        if ((*at)->token != token || (*at)->client != client)
            continue;
        if (json != NULL)
            value = json_tokener_parse(json);
        if (value == NULL)
            value = json_object_new_string(status == CARRICK_ERR_NOT_SUPPORTED
                                               ? "the client does not know this command"
                                               : status_name(status));
        wait_end(at, status, value);
        return;
    }
}

void command_tick(struct manager *manager, uint64_t now_ns)
{
    struct command_wait **at = &manager->commands;

    while (*at != NULL) {
        if (now_ns > (*at)->deadline_ns)
            wait_end(at, CARRICK_ERR_TIMEOUT, json_object_new_string("the client did not answer"));
        else
            at = &(*at)->next;
    }
}

void command_cancel_all(struct manager *manager)
{
    while (manager->commands != NULL)
        wait_end(&manager->commands, CARRICK_ERR_CANCELLED,
                 json_object_new_string("the manager is stopping"));
}

void manager_command(struct manager *manager, const char *word, struct json_object *args,
                     void (*reply)(void *arg, int status, struct json_object *value), void *arg)
{
    static const struct {
        const char *word;
        void (*run)(const struct command *command);
    } words[] = {
        {"status", command_status},         {"links", command_links},
        {"clients", command_clients},       {"vis", command_vis},
        {"stats", command_stats},           {"session-reset", command_session_reset},
        {"link-down", command_link_down},   {"link-up", command_link_up},
        {"boot-stage", command_boot_stage}, {"client", command_client},
    };
    struct command command = {.manager = manager, .args = args, .reply = reply, .arg = arg};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(words[i].word, word) == 0) {
            words[i].run(&command);
            return;
        }
    reply_text(&command, CARRICK_ERR_NOT_FOUND, "a manager knows no command %s", word);
}
