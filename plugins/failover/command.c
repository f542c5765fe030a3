// SPDX-License-Identifier: Apache-2.0
//
// An operator's words: status, timers, takeover, handover, giveback. Whatever is refused says every reason against it,
// and force says in words what would be lost.
#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct request {
    struct failover *failover;
    struct json_object *args;
    struct group *group;
    uint64_t token;
    bool dry_run, force;
    const struct look_answer *look; // at the arbiter, made for this request; NULL: none
};

static void reply_object(const struct request *request, int status, struct json_object *object)
{
    request->failover->host->command_reply(
        request->failover->host, request->token, status,
        json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
    json_object_put(object);
}

static void reply_text(const struct request *request, int status, const char *text)
{
    reply_object(request, status, json_object_new_string(text));
}

// ---- status, timers

static int run_status(struct request *request)
{
    reply_object(request, CARRICK_OK, fo_report_all(request->failover, true));
    return CARRICK_OK;
}

static struct json_object *row(const char *name, uint32_t ms, const char *meaning)
{
    struct json_object *object = json_object_new_object();

    fo_report_text(object, "name", name);
    json_object_object_add(object, "ms", json_object_new_int64(ms));
    fo_report_text(object, "meaning", meaning);
    return object;
}

static int run_timers(struct request *request)
{
    struct timers *timers = &request->failover->config.timers;
    struct json_object *object = json_object_new_object(), *rows = json_object_new_array(),
                       *sums = json_object_new_array();

    fo_report_text(object, "profile", request->failover->config.profile);
    for (size_t i = 0; i < TIMERS_COUNT; i++)
        json_object_array_add(rows, row(fo_timers_rows[i].name,
                                        *fo_timers_field(timers, fo_timers_rows[i].name),
                                        fo_timers_rows[i].meaning));
    json_object_object_add(object, "timers", rows);
    json_object_array_add(
        sums, row("owner_killed", fo_timers_owner_lost_ms(timers),
                  "at most, until its shadow begins to take over: beat + gone + takeover_delay"));
    json_object_array_add(
        sums, row("owner_hung", fo_timers_owner_hung_ms(timers),
                  "at most, until its shadow begins to take over: beat + still + takeover_delay"));
    json_object_array_add(sums, row("shadow_killed", fo_timers_shadow_lost_ms(timers),
                                    "at most, until the owner asks to go alone: beat + gone"));
    json_object_array_add(
        sums,
        row("shift", fo_timers_shift_ms(timers),
            "for the partner to take over from an owner whose own links have all failed, until "
            "that goes on alone: beat + gone + takeover_delay + claim"));
    json_object_object_add(object, "sums", sums);
    reply_object(request, CARRICK_OK, object);
    return CARRICK_OK;
}

// ---- what speaks against a takeover

static void add(struct json_object *array, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add(struct json_object *array, const char *format, ...)
{
    char text[300];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    json_object_array_add(array, json_object_new_string(text));
}

static void against_copy(const struct request *request, const struct carrick_log_copy *mine,
                         struct json_object *against)
{
    const char *me = request->failover->host->base->node;
    const struct group *group = request->group;

    if (mine->condition == CARRICK_LOG_SCANNING)
        add(against, "this node's copy of the log is still being read: try again in a moment");
    if (mine->condition == CARRICK_LOG_UNUSABLE)
        add(against, "this node's shelves cannot take what the log holds: its log says why");
    if (mine->condition == CARRICK_LOG_EMPTY)
        add(against, "this node's copy of the log is empty");
    if (mine->condition == CARRICK_LOG_CORRUPT)
        add(against, "this node's copy of the log is damaged at or below what was acknowledged");
    if (mine->condition == CARRICK_LOG_INCONSISTENT)
        add(against,
            "a resynchronisation into this node's copy has not ended: it cannot be served, "
            "not even by force");
    if (mine->condition == CARRICK_LOG_WHOLE && !mine->member)
        add(against, "this node's copy is no member: it lacks what was acknowledged without it");
    if (request->look != NULL && request->look->fault[0] != '\0')
        add(against, "%s", request->look->fault);
    // What was read of the record may be older than this copy: it is asked again before anything is done.
    if (request->look == NULL && failover_has_arbiter(request->failover) && group->record_known &&
        group->record.number > mine->generation.number &&
        !fo_id_equal(group->record.generation, mine->generation.id) &&
        mine->condition == CARRICK_LOG_WHOLE && !fo_copy_is_current(mine, me, &group->record))
        add(against,
            "the arbiter's record %llu does not name this copy as one that holds every "
            "acknowledged write",
            (unsigned long long)group->record.number);
}

static void against_partner(const struct request *request, struct json_object *against)
{
    struct failover *failover = request->failover;
    const struct monitor *monitor = &failover->monitor;
    const char *partner = failover->host->base->partner;

    if (monitor->state == PARTNER_UP && request->group->theirs_known &&
        request->group->theirs.copy.role == CARRICK_LOG_OWNER)
        add(against,
            "%s serves the group and is well: hand it over there with 'carrick handover %s'",
            partner, request->group->name);
    else if (!monitor->lost && monitor->heard_ever)
        add(against, "%s is %s, not lost: %s", partner, fo_partner_state_name(monitor->state),
            monitor->reason);
    if (!failover_has_arbiter(failover))
        add(against, "no arbiter is configured that could say that %s does not serve", partner);
}

static bool busy(const struct group *group)
{
    return group->state == GROUP_FENCE || group->state == GROUP_CLAIM ||
           group->state == GROUP_CONFIRM || group->state == GROUP_SERVE ||
           group->state == GROUP_LOST_LOOK;
}

static struct json_object *takeover_against(const struct request *request,
                                            const struct carrick_log_copy *mine)
{
    struct json_object *against = json_object_new_array();

    if (mine->role == CARRICK_LOG_OWNER) {
        add(against, "this node serves the group already");
        return against;
    }
    if (busy(request->group))
        add(against, "a takeover is under way: %s", fo_group_state_name(request->group->state));
    against_copy(request, mine, against);
    against_partner(request, against);
    return against;
}

static bool is_unservable(const struct carrick_log_copy *mine)
{
    return mine->condition == CARRICK_LOG_INCONSISTENT || mine->condition == CARRICK_LOG_CORRUPT ||
           mine->condition == CARRICK_LOG_SCANNING || mine->condition == CARRICK_LOG_UNUSABLE;
}

// What force does not go against.
static struct json_object *force_against(const struct request *request,
                                         const struct carrick_log_copy *mine)
{
    struct json_object *against = json_object_new_array();

    if (mine->role == CARRICK_LOG_OWNER)
        add(against, "this node serves the group already");
    else if (busy(request->group))
        add(against, "a takeover is under way: %s", fo_group_state_name(request->group->state));
    if (is_unservable(mine))
        add(against, "this node's copy of the log cannot be served as it is");
    if (request->look != NULL && !request->look->had)
        add(against,
            "%s. Where it is gone for good, give both nodes another one, or none, and start both "
            "daemons anew",
            request->look->fault);
    return against;
}

static struct json_object *takeover_would(const struct request *request,
                                          const struct carrick_log_copy *mine)
{
    struct json_object *would = json_object_new_array();
    const struct failover *failover = request->failover;

    if (mine->role == CARRICK_LOG_OWNER)
        return would;
    if (mine->role == CARRICK_LOG_SHADOW)
        add(would, "withdraw the promise to %s that its reads are not stale",
            failover->host->base->partner);
    if (failover->session)
        add(would, "end the session, so that %s cannot write this node's copy any more",
            failover->host->base->partner);
    if (failover_has_arbiter(failover))
        add(would, "ask the arbiter %s to make this node the owner and its copy the only member",
            failover->arbiter_ops->name(failover->arbiter));
    add(would, "begin a new generation that shares records up to %llu with the one before",
        (unsigned long long)mine->last);
    add(would, "scan the log, cut a torn tail, replay it to the shelves, and serve");
    return would;
}

static struct json_object *force_loses(const struct request *request,
                                       const struct carrick_log_copy *mine)
{
    struct json_object *loses = json_object_new_array();
    const struct group *group = request->group;
    const char *partner = request->failover->host->base->partner;

    if (mine->role == CARRICK_LOG_OWNER)
        return loses;
    if (mine->condition == CARRICK_LOG_EMPTY)
        add(loses,
            "every write that was acknowledged and lies in the log only: this copy is empty");
    else
        add(loses, "every write that %s acknowledged after record %llu of this node's copy",
            partner, (unsigned long long)mine->last);
    if (group->theirs_known && group->theirs.copy.acknowledged > mine->last)
        add(loses, "%s says that it acknowledged up to record %llu: %llu records would be lost",
            partner, (unsigned long long)group->theirs.copy.acknowledged,
            (unsigned long long)(group->theirs.copy.acknowledged - mine->last));
    add(loses,
        "if %s still serves, both nodes serve until it learns of this, and what it "
        "acknowledges until then is lost",
        partner);
    return loses;
}

// A refusal is shown as one line.
static void join(char *text, size_t size, struct json_object *list)
{
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        size_t used = strlen(text);

        snprintf(text + used, size - used, "%s%s", i ? "; " : "",
                 json_object_get_string(json_object_array_get_idx(list, i)));
    }
}

static void takeover_refused(const struct request *request, struct json_object *against,
                             const struct carrick_log_copy *mine, const char *summary)
{
    struct json_object *loses = force_loses(request, mine);
    char text[1000];
    size_t used;

    snprintf(text, sizeof text, "%s: ", summary);
    join(text, sizeof text, against);
    used = strlen(text);
    // What force does not do either would lose nothing.
    if (json_object_array_length(loses) > 0 && !is_unservable(mine))
        snprintf(text + used, sizeof text - used, ". Force would lose: ");
    if (text[used] != '\0')
        join(text, sizeof text, loses);
    json_object_put(loses);
    json_object_put(against);
    reply_text(request, CARRICK_ERR_STATE, text);
}

static void add_list(struct json_object *object, const char *possible, const char *key,
                     struct json_object *against)
{
    json_object_object_add(object, possible,
                           json_object_new_boolean(json_object_array_length(against) == 0));
    json_object_object_add(object, key, against);
}

static void takeover_shown(const struct request *request)
{
    struct json_object *object = json_object_new_object();
    struct carrick_log_copy mine;

    fo_group_copy(request->group, &mine);
    fo_report_text(object, "group", request->group->name);
    add_list(object, "possible", "against", takeover_against(request, &mine));
    add_list(object, "force_possible", "force_against", force_against(request, &mine));
    json_object_object_add(object, "would", takeover_would(request, &mine));
    json_object_object_add(object, "force_would_lose", force_loses(request, &mine));
    reply_object(request, CARRICK_OK, object);
}

static void dry_run_looked(void *arg, struct group *group, const struct look_answer *answer)
{
    uint64_t *token = arg;
    struct request request = {.failover = group->failover,
                              .group = group,
                              .token = *token,
                              .dry_run = true,
                              .look = answer};

    free(token);
    takeover_shown(&request);
}

// The arbiter is asked what it says now: what was known of it may have passed long since.
static void dry_run(struct request *request, const struct carrick_log_copy *mine)
{
    static const struct look_answer none = {
        .fault = "the arbiter takes no operation now: try again in a moment"};
    uint64_t *token;

    if (!failover_has_arbiter(request->failover) || mine->role == CARRICK_LOG_OWNER) {
        takeover_shown(request);
        return;
    }
    token = malloc(sizeof *token);
    if (token != NULL) {
        *token = request->token;
        if (fo_look(request->group, dry_run_looked, token) == CARRICK_OK)
            return;
    }
    free(token);
    request->look = &none;
    takeover_shown(request);
}

static bool fire_for(const struct request *request, enum group_event event)
{
    struct group *group = request->group;
    enum group_state before = group->state;
    uint64_t since_ns = group->state_since_ns;

    if (group->token != 0) {
        reply_text(request, CARRICK_ERR_STATE, "another command for this group is under way");
        return false;
    }
    group->token = request->token;
    fo_group_fire(group, event);
    // Where the arbiter was being asked already, what that brings is the answer.
    if (group->token == request->token && group->state == before && before != GROUP_LOOK &&
        group->state_since_ns == since_ns) {
        group->token = 0;
        reply_text(request, CARRICK_ERR_STATE, group->reason);
        return false;
    }
    return true;
}

static int run_takeover(struct request *request)
{
    struct carrick_log_copy mine;
    struct json_object *against;

    fo_group_copy(request->group, &mine);
    if (request->dry_run) {
        dry_run(request, &mine);
        return CARRICK_OK;
    }
    against = takeover_against(request, &mine);
    if (mine.role == CARRICK_LOG_OWNER || busy(request->group)) {
        takeover_refused(request, against, &mine, "there is nothing to take over");
        return CARRICK_OK;
    }
    if (request->force && is_unservable(&mine)) {
        takeover_refused(request, against, &mine, "not even force can serve this copy");
        return CARRICK_OK;
    }
    if (!request->force && json_object_array_length(against) > 0) {
        takeover_refused(request, against, &mine, "there are reasons against it");
        return CARRICK_OK;
    }
    json_object_put(against);
    request->group->forced = request->force;
    fire_for(request, EVENT_TAKE);
    request->group->forced = false;
    return CARRICK_OK;
}

// ---- hand-over

static bool partner_serves(const struct group *group)
{
    return group->theirs_known && group->theirs.copy.role == CARRICK_LOG_OWNER;
}

static int run_handover(struct request *request)
{
    struct carrick_log_copy mine;
    struct group *group = request->group;
    char text[400];

    fo_group_copy(group, &mine);
    if (mine.role != CARRICK_LOG_OWNER && partner_serves(group)) {
        snprintf(text, sizeof text,
                 "this node does not serve group %s, %s does: say it there, 'carrick handover %s'",
                 group->name, request->failover->host->base->partner, group->name);
        reply_text(request, CARRICK_ERR_STATE, text);
    } else if (mine.role != CARRICK_LOG_OWNER) {
        snprintf(text, sizeof text, "this node does not serve group %s; its state here is %s: %s",
                 group->name, fo_group_word(group), group->reason);
        reply_text(request, CARRICK_ERR_STATE, text);
    } else if (group->state != GROUP_BOTH) {
        snprintf(text, sizeof text,
                 "group %s is %s here, and only what both copies hold can be handed over: %s",
                 group->name, fo_group_word(group), group->reason);
        reply_text(request, CARRICK_ERR_STATE, text);
    } else {
        fire_for(request, EVENT_GIVE);
    }
    return CARRICK_OK;
}

static int run_giveback(struct request *request)
{
    const struct failover *failover = request->failover;
    const char *home = failover->logs_ops->home(request->group->log);
    char text[300];

    if (strcmp(home, failover->host->base->partner) == 0)
        return run_handover(request);
    if (partner_serves(request->group))
        snprintf(text, sizeof text, "%s serves group %s: say it there, 'carrick giveback %s'",
                 failover->host->base->partner, request->group->name, request->group->name);
    else
        snprintf(text, sizeof text, "%s is the home of group %s: there is nothing to give back",
                 home, request->group->name);
    reply_text(request, CARRICK_ERR_STATE, text);
    return CARRICK_OK;
}

// ---- words

static bool member_bool(struct json_object *args, const char *key)
{
    struct json_object *value;

    return json_object_object_get_ex(args, key, &value) && json_object_get_boolean(value);
}

static bool find_group(struct request *request)
{
    struct failover *failover = request->failover;
    struct json_object *value = NULL;
    const char *name = NULL;
    char text[300];
    size_t used;

    if (json_object_is_type(request->args, json_type_object)) {
        if (json_object_object_get_ex(request->args, "group", &value) &&
            json_object_is_type(value, json_type_string))
            name = json_object_get_string(value);
        request->dry_run = member_bool(request->args, "dry_run");
        request->force = member_bool(request->args, "force");
    }
    for (uint32_t i = 0; name != NULL && i < failover->group_count; i++)
        if (strcmp(failover->groups[i].name, name) == 0)
            request->group = &failover->groups[i];
    if (request->group != NULL)
        return true;
    snprintf(text, sizeof text, "there is no group '%.40s'; there are:", name ? name : "");
    for (uint32_t i = 0; i < failover->group_count; i++) {
        used = strlen(text);
        snprintf(text + used, sizeof text - used, " %s", failover->groups[i].name);
    }
    reply_text(request, CARRICK_ERR_NOT_FOUND, text);
    return false;
}

static const struct {
    const char *word;
    bool wants_group;
    int (*run)(struct request *request);
} words[] = {
    {"status", false, run_status},    {"timers", false, run_timers},
    {"takeover", true, run_takeover}, {"handover", true, run_handover},
    {"giveback", true, run_giveback},
};

static void say_words(const struct request *request)
{
    char text[200] = "failover does not know this command; it knows:";

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s %s", i ? "," : "", words[i].word);
    }
    reply_text(request, CARRICK_ERR_NOT_SUPPORTED, text);
}

int fo_command_run(struct failover *failover, const char *word, const char *json, uint64_t token)
{
    struct request request = {.failover = failover, .token = token};

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        int status = CARRICK_OK;

        if (strcmp(words[i].word, word) != 0)
            continue;
        request.args = json_tokener_parse(json);
        if (!words[i].wants_group || find_group(&request))
            status = words[i].run(&request);
        json_object_put(request.args);
        return status;
    }
    say_words(&request);
    return CARRICK_OK;
}
