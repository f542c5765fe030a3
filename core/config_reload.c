// SPDX-License-Identifier: Apache-2.0
//
// What a running daemon can take over from a new configuration, and why not the rest.

#include "core/config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct reload {
    const struct config *old, *new_config;
    struct config_errors *errs;
};

#define RESTART "; put it back, or restart carrickd"

static void __attribute__((format(printf, 4, 5)))
refuse(struct reload *reload, const char *base, const char *relative, const char *format, ...)
{
    char text[CONFIG_TEXT_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    (void)config_error_in(reload->new_config, reload->errs, base, relative, text);
}

// NULL stands for a value that is absent.
static bool same(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static void text_check(struct reload *reload, const char *base, const char *relative,
                       const char *before, const char *after, const char *reason)
{
    if (!same(before, after))
        refuse(reload, base, relative, "was \"%.60s\", found \"%.60s\": %s" RESTART,
               before != NULL ? before : "", after != NULL ? after : "", reason);
}

static void section_check(struct reload *reload, const struct config_section *before,
                          const struct config_section *after, const char *reason)
{
    if (!config_section_equal(before, after))
        refuse(reload, after->pointer, NULL, "this section changed: %s" RESTART, reason);
}

// ---- lists of what has a name

// Reads the name and the pointer of one element.
typedef const char *element_name_fn(const void *list, size_t index);

struct list {
    const void *elements;
    size_t count;
    element_name_fn *name;
};

static const char *manager_name(const void *list, size_t index)
{
    return ((const struct config_manager *)list)[index].name;
}

static const char *link_name(const void *list, size_t index)
{
    return ((const struct config_link *)list)[index].name;
}

static const char *client_name(const void *list, size_t index)
{
    return ((const struct config_client *)list)[index].name;
}

static bool list_has(const struct list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->name(list->elements, i), name) == 0)
            return true;
    }
    return false;
}

// Whether the same names stand in the same order; pointer is the new list's.
static bool list_check(struct reload *reload, const struct list *before, const struct list *after,
                       const char *pointer, const char *kind)
{
    bool good = true;
    char relative[32];

    for (size_t i = 0; i < after->count; i++) {
        const char *name = after->name(after->elements, i);

        if (list_has(before, name))
            continue;
        snprintf(relative, sizeof(relative), "/%zu/name", i);
        refuse(
            reload, pointer, relative,
            "the %s \"%s\" is new: both nodes agree on their %ss when a session comes up" RESTART,
            kind, name, kind);
        good = false;
    }
    for (size_t i = 0; i < before->count; i++) {
        const char *name = before->name(before->elements, i);

        if (list_has(after, name))
            continue;
        refuse(reload, pointer, NULL,
               "the %s \"%s\" is gone: both nodes agree on their %ss when a session comes "
               "up" RESTART,
               kind, name, kind);
        good = false;
    }
    for (size_t i = 0; good && i < after->count; i++) {
        if (strcmp(before->name(before->elements, i), after->name(after->elements, i)) == 0)
            continue;
        refuse(reload, pointer, NULL,
               "the order of the %ss changed: both nodes must have the same" RESTART, kind);
        good = false;
    }
    return good;
}

// ---- the parts

static void link_check(struct reload *reload, const struct config_link *before,
                       const struct config_link *after)
{
    text_check(reload, after->pointer, "/transport", before->transport, after->transport,
               "a link keeps its transport while the daemon runs");
    text_check(reload, after->pointer, "/wrapper", before->wrapper.plugin, after->wrapper.plugin,
               "a link keeps its wrapper while the daemon runs");
    if (before->wrapper.plugin[0] != '\0' && after->wrapper.plugin[0] != '\0')
        section_check(reload, &before->wrapper.config, &after->wrapper.config,
                      "a wrapper takes its section when the link is made");
    for (size_t i = 0; i < CONFIG_NODES; i++)
        section_check(reload, &before->nodes[i], &after->nodes[i],
                      "a link keeps its addresses while the daemon runs");
    section_check(reload, &before->config, &after->config,
                  "a transport takes its section when the link is made");
}

static void client_check(struct reload *reload, const struct config_client *before,
                         const struct config_client *after)
{
    text_check(reload, after->pointer, "/plugin", before->plugin, after->plugin,
               "a client keeps its plugin while the daemon runs");
    if (before->isolation != after->isolation)
        refuse(reload, after->pointer, "/isolation",
               "this changed: a client keeps its place while the daemon runs" RESTART);
    text_check(reload, after->pointer, "/process", before->process, after->process,
               "a client keeps its place while the daemon runs");
    if (before->hang_ms != after->hang_ms)
        refuse(reload, after->pointer, "/hang_ms",
               "this changed: how a process is watched is settled when the daemon starts" RESTART);
}

static void manager_check(struct reload *reload, const struct config_manager *before,
                          const struct config_manager *after)
{
    char pointer[CONFIG_POINTER_SIZE];
    struct list links_before = {before->links, before->links_count, link_name};
    struct list links_after = {after->links, after->links_count, link_name};
    struct list clients_before = {before->clients, before->clients_count, client_name};
    struct list clients_after = {after->clients, after->clients_count, client_name};

    if (before->lanes != after->lanes)
        refuse(reload, after->pointer, "/lanes",
               "was %u, found %u: data endpoints are made when a link comes up" RESTART,
               before->lanes, after->lanes);
    text_check(reload, after->pointer, "/arbiter/plugin", before->arbiter.plugin,
               after->arbiter.plugin, "who serves is decided with it");
    if (before->arbiter.plugin[0] != '\0' && after->arbiter.plugin[0] != '\0')
        section_check(reload, &before->arbiter.config, &after->arbiter.config,
                      "who serves is decided with it");
    snprintf(pointer, sizeof(pointer), "%s/links", after->pointer);
    if (list_check(reload, &links_before, &links_after, pointer, "link")) {
        for (size_t i = 0; i < after->links_count; i++)
            link_check(reload, &before->links[i], &after->links[i]);
    }
    snprintf(pointer, sizeof(pointer), "%s/clients", after->pointer);
    if (list_check(reload, &clients_before, &clients_after, pointer, "client")) {
        for (size_t i = 0; i < after->clients_count; i++)
            client_check(reload, &before->clients[i], &after->clients[i]);
    }
}

static void plugin_dirs_check(struct reload *reload)
{
    const struct config *before = reload->old, *after = reload->new_config;
    bool changed = before->plugin_dirs_count != after->plugin_dirs_count;

    for (size_t i = 0; !changed && i < after->plugin_dirs_count; i++)
        changed = strcmp(before->plugin_dirs[i], after->plugin_dirs[i]) != 0;
    if (changed)
        refuse(reload, "/plugin_dirs", NULL,
               "the directories changed: plugins are loaded when the daemon starts" RESTART);
}

static void node_check(struct reload *reload)
{
    const struct config *before = reload->old, *after = reload->new_config;
    char pointer[CONFIG_POINTER_SIZE];

    text_check(reload, "/cluster", NULL, before->cluster, after->cluster,
               "a running node cannot go over to another cluster");
    text_check(reload, "/key_file", NULL, before->key_file, after->key_file,
               "the key is read when the daemon starts");
    text_check(reload, "/control/socket", NULL, before->control.socket, after->control.socket,
               "the control socket is made when the daemon starts");
    text_check(reload, "/control/group", NULL, before->control.group, after->control.group,
               "the control socket is made when the daemon starts");
    for (size_t i = 0; i < CONFIG_NODES; i++) {
        snprintf(pointer, sizeof(pointer), "/nodes/%zu", i);
        text_check(reload, pointer, NULL, before->nodes[i], after->nodes[i],
                   "a running node cannot change its name or its partner's");
        snprintf(pointer, sizeof(pointer), "/metrics/listen/%s", after->nodes[i]);
        text_check(reload, pointer, NULL, before->metrics.listen[i].text,
                   after->metrics.listen[i].text,
                   "the address for metrics is taken when the daemon starts");
    }
}

int config_reload_check(const struct config *old, const struct config *new_config,
                        struct config_errors *errs)
{
    struct reload reload = {.old = old, .new_config = new_config, .errs = errs};
    struct list managers_before = {old->managers, old->managers_count, manager_name};
    struct list managers_after = {new_config->managers, new_config->managers_count, manager_name};

    config_errors_init(errs, new_config->file);
    node_check(&reload);
    plugin_dirs_check(&reload);
    if (list_check(&reload, &managers_before, &managers_after, "/managers", "manager")) {
        for (size_t i = 0; i < new_config->managers_count; i++)
            manager_check(&reload, &old->managers[i], &new_config->managers[i]);
    }
    return errs->count > 0 ? -EINVAL : 0;
}
