// SPDX-License-Identifier: Apache-2.0
//
// Connections that follow events. What one cannot take as fast as it comes is dropped, counted, and told in its place.
#include "daemon/control_internal.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int follower_start(struct connection *connection, const char *manager)
{
    struct control *control = connection->control;
    struct follower *follower = &connection->follower;
    follower->ring = calloc(control->options.events_max, sizeof(*follower->ring));
    if (!follower->ring)
        return CARRICK_ERR_NO_MEMORY;
    snprintf(follower->manager, sizeof(follower->manager), "%s", manager);
    follower->active = true;
    control->counts.followers++;
    return CARRICK_OK;
}

static struct text_line *event_line(const struct log_event *event)
{
    const struct env_record *record = &event->record;
    const struct {
        const char *key;
        const char *value;
    } members[] = {
        {"event", record->event},     {"level", log_level_name(record->level)},
        {"manager", record->manager}, {"object", record->object},
        {"text", record->text},
    };
    char time_text[LOG_TIME_BYTES];
    log_time_utc(event->time_ms, time_text);
    struct json_object *object = json_object_new_object();
    json_object_object_add(object, "time", json_object_new_string(time_text));
    json_object_object_add(object, "time_ms", json_object_new_int64((int64_t)event->time_ms));
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        if (members[i].value)
            json_object_object_add(object, members[i].key,
                                   json_object_new_string(members[i].value));
    const char *json = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
                                                                  JSON_C_TO_STRING_NOSLASHESCAPE);
    struct text_line *line = json ? line_create(json, strlen(json)) : NULL;
    json_object_put(object);
    return line;
}

static struct text_line *dropped_line(struct follower *follower)
{
    char text[96];
    snprintf(text, sizeof(text),
             "%llu events were dropped here: they are not read as fast as they come",
             (unsigned long long)follower->dropped);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct log_event event = {
        (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000,
        {.level = CARRICK_LOG_WARNING, .event = "events-dropped", .text = text},
    };
    struct text_line *line = event_line(&event);
    if (line)
        follower->dropped = 0;
    return line;
}

void follower_go_on(struct connection *connection)
{
    struct follower *follower = &connection->follower;
    unsigned room = sizeof(connection->lines) / sizeof(connection->lines[0]);
    unsigned max = connection->control->options.events_max;
    if (connection->writing || connection->closing)
        return;
    while (follower->count && connection->line_count < room) {
        connection->lines[connection->line_count++] = follower->ring[follower->first];
        follower->first = (follower->first + 1) % max;
        follower->count--;
    }
    // What was dropped came after all that waited.
    if (!follower->count && follower->dropped && connection->line_count < room) {
        struct text_line *line = dropped_line(follower);
        if (line)
            connection->lines[connection->line_count++] = line;
    }
    if (connection->line_count)
        connection_write(connection);
    else
        uv_timer_stop(&connection->timer);
}

void follower_end(struct connection *connection)
{
    struct follower *follower = &connection->follower;
    if (!follower->active)
        return;
    unsigned max = connection->control->options.events_max;
    for (; follower->count; follower->count--) {
        line_put(follower->ring[follower->first]);
        follower->first = (follower->first + 1) % max;
    }
    free(follower->ring);
    follower->active = false;
    connection->control->counts.followers--;
}

static void follower_take(struct connection *connection, struct text_line *line)
{
    struct follower *follower = &connection->follower;
    unsigned max = connection->control->options.events_max;
    // Once something is dropped, nothing is taken until that is told: else the gap would be told in the wrong place.
    if (follower->count == max || follower->dropped) {
        follower->dropped++;
        connection->control->counts.dropped_events++;
        return;
    }
    line->references++;
    follower->ring[(follower->first + follower->count) % max] = line;
    follower->count++;
    follower_go_on(connection);
}

void control_event(struct control *control, const struct log_event *event)
{
    struct text_line *line = NULL;
    const char *manager = event->record.manager;
    struct connection *next;
    for (struct connection *connection = control->connections; connection; connection = next) {
        next = connection->next;
        const struct follower *follower = &connection->follower;
        if (!follower->active || connection->closing ||
            (follower->manager[0] && manager && strcmp(follower->manager, manager) != 0))
            continue;
        if (!line)
            line = event_line(event);
        if (!line)
            return;
        follower_take(connection, line);
    }
    line_put(line);
}
