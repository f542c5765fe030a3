// SPDX-License-Identifier: Apache-2.0
//
// At a glance: is this node well, and if not, why and since when. A pure function of what `status` answers.
//
// OK        every manager's session is up, every link carries or can carry it, every client is ready.
// DEGRADED  every session is up, but with something missing beneath it.
// DOWN      some manager has no session.
//
// Of several faults the gravest is told, of equal ones the first; "and N more" counts the others.

#include "cli/cli.h"
#include "cli/show.h"

#include <stdio.h>
#include <string.h>

struct finding {
    struct verdict *verdict;
    const char *manager; // put before the text when there are several
    unsigned further;    // faults of the same level
};

const char *verdict_word(enum verdict_level level)
{
    static const char *const words[] = {"OK", "DEGRADED", "DOWN"};
    return words[level];
}

// since_ms < 0: not known.
static void find(struct finding *finding, enum verdict_level level, int64_t since_ms,
                 const char *text)
{
    struct verdict *verdict = finding->verdict;
    char clean[400];
    if (level < verdict->level)
        return;
    if (level == verdict->level) {
        finding->further++;
        return;
    }
    text_clean(text, clean, sizeof clean);
    verdict->level = level;
    verdict->since_known = since_ms >= 0;
    verdict->since_ms = since_ms >= 0 ? (uint64_t)since_ms : 0;
    finding->further = 0;
    if (finding->manager)
        snprintf(verdict->why, sizeof verdict->why, "manager %s: %s", finding->manager, clean);
    else
        snprintf(verdict->why, sizeof verdict->why, "%s", clean);
}

static void judge_links(struct json_object *manager, struct finding *finding)
{
    struct json_object *links = member_array(manager, "links");
    for (size_t i = 0; i < array_length(links); i++) {
        struct json_object *link = json_object_array_get_idx(links, i);
        const char *name = member_text(link, "name"), *state = member_text(link, "state"),
                   *cause = member_text(link, "cause");
        char text[600];
        if (strcmp(state, "up") == 0)
            continue; // one that is held for a moment will be eligible without anybody's help
        if (strcmp(state, "admin-down") == 0)
            snprintf(text, sizeof text, "link %s was taken down by command", name);
        else
            snprintf(text, sizeof text, "link %s is %s%s%s", name, state, cause[0] ? ": " : "",
                     cause);
        find(finding, VERDICT_DEGRADED, member_int(link, "age_ms"), text);
    }
}

static void judge_clients(struct json_object *manager, struct finding *finding)
{
    struct json_object *clients = member_array(manager, "clients");
    const char *stage = member_text(member_object(manager, "partner"), "boot_stage");
    for (size_t i = 0; i < array_length(clients); i++) {
        struct json_object *client = json_object_array_get_idx(clients, i);
        const char *name = member_text(client, "name"), *state = member_text(client, "state");
        char text[300];
        if (strcmp(state, "ready") == 0)
            continue;
        if (strcmp(state, "no-partner") == 0 &&
            (strcmp(stage, "initramfs") == 0 || strcmp(stage, "root") == 0))
            snprintf(text, sizeof text, "client %s waits for the partner, which boots (stage %s)",
                     name, stage);
        else if (strcmp(state, "no-partner") == 0)
            snprintf(text, sizeof text, "client %s has no client of that name at the partner",
                     name);
        else
            snprintf(text, sizeof text, "client %s is not ready: %s", name, state);
        find(finding, VERDICT_DEGRADED, -1, text);
    }
    // Any plugin may say so of itself.
    for (size_t i = 0; i < array_length(clients); i++) {
        struct json_object *client = json_object_array_get_idx(clients, i);
        const char *trouble = member_text(member_object(client, "detail"), "trouble");
        char text[400];
        snprintf(text, sizeof text, "client %s: %s", member_text(client, "name"), trouble);
        if (trouble[0])
            find(finding, VERDICT_DEGRADED, -1, text);
    }
    struct json_object *vis = member_array(manager, "vis");
    for (size_t i = 0; i < array_length(vis); i++) {
        struct json_object *vi = json_object_array_get_idx(vis, i);
        char text[300];
        if (strcmp(member_text(vi, "state"), "stalled") != 0)
            continue;
        snprintf(text, sizeof text, "VI %s/%d is stalled: no link carries it",
                 member_text(vi, "client"), (int)member_int(vi, "number"));
        find(finding, VERDICT_DEGRADED, -1, text);
    }
}

struct json_object *failover_client(struct json_object *manager)
{
    struct json_object *clients = member_array(manager, "clients");
    for (size_t i = 0; i < array_length(clients); i++) {
        struct json_object *client = json_object_array_get_idx(clients, i);
        if (strcmp(member_text(client, "plugin"), "failover") == 0)
            return client;
    }
    return NULL;
}

struct json_object *failover_groups(struct json_object *manager)
{
    return member_array(member_object(failover_client(manager), "detail"), "groups");
}

static void judge_groups(struct json_object *manager, struct finding *finding)
{
    struct json_object *groups = failover_groups(manager);
    for (size_t i = 0; i < array_length(groups); i++) {
        struct json_object *group = json_object_array_get_idx(groups, i);
        const char *state = member_text(group, "state"),
                   *fault = member_text(group, "arbiter_fault");
        char text[400];
        if (strcmp(state, "protected") == 0 && fault[0]) {
            snprintf(text, sizeof text, "group %s is protected, but could not change hands now: %s",
                     member_text(group, "name"), fault);
            find(finding, VERDICT_DEGRADED, member_int(group, "arbiter_fault_ms"), text);
        }
        if (strcmp(state, "protected") == 0)
            continue;
        snprintf(text, sizeof text, "group %s is %s: %s", member_text(group, "name"), state,
                 member_text(group, "reason"));
        find(finding, VERDICT_DEGRADED, member_int(group, "age_ms"), text);
    }
}

static void each_disk(struct json_object *group, void (*fn)(void *arg, const char *text), void *arg)
{
    static const struct {
        const char *key, *what;
    } kinds[] = {{"error", "shelf"}, {"map_error", "the map of shelf"}};
    struct json_object *shelves = member_array(group, "shelves");
    const char *cause = member_text(group, "backing_error");
    char text[400];

    if (cause[0]) {
        snprintf(text, sizeof text, "the disk of the log of group %s fails: %s",
                 member_text(group, "name"), cause);
        fn(arg, text);
    }
    for (size_t i = 0; i < array_length(shelves); i++) {
        struct json_object *shelf = json_object_array_get_idx(shelves, i);
        for (size_t j = 0; j < sizeof kinds / sizeof kinds[0]; j++) {
            cause = member_text(shelf, kinds[j].key);
            snprintf(text, sizeof text, "the disk of %s %s fails: %s", kinds[j].what,
                     member_text(shelf, "name"), cause);
            if (cause[0])
                fn(arg, text);
        }
    }
}

void disk_errors(struct json_object *manager, void (*fn)(void *arg, const char *text), void *arg)
{
    struct json_object *clients = member_array(manager, "clients");
    for (size_t i = 0; i < array_length(clients); i++) {
        struct json_object *client = json_object_array_get_idx(clients, i);
        const char *plugin = member_text(client, "plugin");
        struct json_object *groups = member_array(member_object(client, "detail"), "groups");
        if (strcmp(plugin, "shelf") != 0 && strcmp(plugin, "nvram_shadow") != 0)
            continue;
        for (size_t j = 0; j < array_length(groups); j++)
            each_disk(json_object_array_get_idx(groups, j), fn, arg);
    }
}

// Both copies may stand, but what this node's disks do not take wears that down.
static void judge_disk(void *arg, const char *text)
{
    find(arg, VERDICT_DEGRADED, -1, text);
}

// Why there is no session: a refusal tells more than the end of the one before, that more than a link's cause.
static void judge_absent(struct json_object *manager, struct json_object *session,
                         const char *partner, struct finding *finding)
{
    struct json_object *refused = member_object(session, "refused"),
                       *end = member_object(session, "last_end"),
                       *links = member_array(manager, "links");
    const char *state = member_text(session, "state");
    int64_t since_ms = member_int(session, "age_ms");
    char text[900];

    if (end && member_int(end, "age_ms") > since_ms)
        since_ms = member_int(end, "age_ms");
    if (refused) {
        bool here = strcmp(member_text(refused, "by"), "local") == 0;
        snprintf(text, sizeof text, "no session with %s: %s refuses it (%s): %s", partner,
                 here ? "this node" : partner, member_text(refused, "reason"),
                 member_text(refused, "text"));
        // Each attempt has an end of its own; the refusal lasts over all of them.
        if (member_int(refused, "age_ms") > since_ms)
            since_ms = member_int(refused, "age_ms");
        find(finding, VERDICT_DOWN, since_ms, text);
        return;
    }
    size_t count = array_length(links), dead = 0;
    const char *cause = "";
    for (size_t i = 0; i < count; i++) {
        struct json_object *link = json_object_array_get_idx(links, i);
        const char *link_state = member_text(link, "state");
        dead += strcmp(link_state, "up") != 0 && strcmp(link_state, "joining") != 0;
        cause = cause[0] ? cause : member_text(link, "cause");
    }
    if (count > 0 && dead == count)
        snprintf(text, sizeof text, "no session with %s: no link reaches it%s%s%s", partner,
                 cause[0] ? " (" : "", cause, cause[0] ? ")" : "");
    else if (end)
        snprintf(text, sizeof text,
                 "no session with %s, bring-up is %s; the last one ended: %s%s%s", partner, state,
                 member_text(end, "reason"), member_text(end, "text")[0] ? ", " : "",
                 member_text(end, "text"));
    else
        snprintf(text, sizeof text, "no session with %s yet, bring-up is %s", partner, state);
    find(finding, VERDICT_DOWN, since_ms, text);
}

// The daemon answers, but this manager of it does not.
static void judge_silent(struct json_object *manager, struct finding *finding)
{
    int64_t silent_ms = member_int(manager, "silent_ms");
    char text[400];
    snprintf(text, sizeof text, "the manager does not answer: %s", member_text(manager, "error"));
    find(finding, VERDICT_DOWN, silent_ms > 0 ? silent_ms : -1, text);
}

static void say_well(struct json_object *status, struct verdict *verdict)
{
    struct json_object *managers = member_array(status, "managers");
    size_t links = 0;
    char partner[64];
    for (size_t i = 0; i < array_length(managers); i++) {
        struct json_object *manager = json_object_array_get_idx(managers, i);
        uint64_t age_ms = (uint64_t)member_int(member_object(manager, "session"), "age_ms");
        links += array_length(member_array(manager, "links"));
        // Well since the youngest session came up.
        if (!verdict->since_known || age_ms < verdict->since_ms)
            verdict->since_ms = age_ms;
        verdict->since_known = true;
    }
    text_clean(member_text(status, "partner"), partner, sizeof partner);
    if (array_length(managers) == 1)
        snprintf(verdict->why, sizeof verdict->why, "session with %s is up, %zu of %zu link%s",
                 partner, links, links, links == 1 ? "" : "s");
    else
        snprintf(verdict->why, sizeof verdict->why, "%zu sessions with %s are up, %zu of %zu links",
                 array_length(managers), partner, links, links);
}

void verdict_judge(struct json_object *status, struct verdict *verdict)
{
    struct json_object *managers = member_array(status, "managers");
    struct finding finding = {.verdict = verdict};
    char partner[64], more[40];

    *verdict = (struct verdict){.level = VERDICT_OK};
    text_clean(member_text(status, "partner"), partner, sizeof partner);
    for (size_t i = 0; i < array_length(managers); i++) {
        struct json_object *manager = json_object_array_get_idx(managers, i);
        struct json_object *session = member_object(manager, "session");
        finding.manager = array_length(managers) > 1 ? member_text(manager, "name") : NULL;
        if (member_text(manager, "error")[0]) {
            judge_silent(manager, &finding);
        } else if (strcmp(member_text(session, "state"), "up") != 0) {
            judge_absent(manager, session, partner, &finding);
        } else {
            judge_groups(manager, &finding);
            disk_errors(manager, judge_disk, &finding);
            judge_links(manager, &finding);
            judge_clients(manager, &finding);
        }
    }
    if (array_length(managers) == 0) {
        find(&finding, VERDICT_DOWN, -1, "the daemon runs no manager");
    } else if (verdict->level == VERDICT_OK) {
        say_well(status, verdict);
    } else if (finding.further > 0) {
        snprintf(more, sizeof more, "; and %u more", finding.further);
        size_t length = strlen(verdict->why), room = sizeof verdict->why - sizeof more;
        if (length > room)
            text_clean(verdict->why, verdict->why, room);
        strcat(verdict->why, more);
    }
}
