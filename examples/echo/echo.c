// SPDX-License-Identifier: Apache-2.0
//
// A client plugin to start from. Copy this directory, rename things, and replace what echo does by what you do.
//
// What it does: each node asks for 64 KiB of memory at its partner. To ping, it writes a pattern into that memory
// and then sends a message. The partner's echo checks that the pattern has arrived whole, which it must have,
// since a send is delivered only after all writes before it are visible, and sends the message back.
//
// What to learn from it:
//
//   - All state is in the instance that create() makes: one shared object may serve several managers at once.
//   - What comes from the partner is checked before it is used: length, kind, numbers. It may be another
//     version of this plugin, or broken.
//   - Memory of an operation is not touched until the operation has completed.
//   - Nothing blocks. Each answer that is awaited is given up when the session ends.
//   - When the queue is full, work waits in a bounded place and goes on with the next completion.
//
// echo_config.c reads the configuration. See docs/plugin-author.md for the whole story.
#include "echo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- pings: one slot each, a part of the memory here and there

// The next byte of a ping's pattern, which follows from its number: what an older ping or another slot wrote is
// told from it.
static uint8_t pattern_next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint8_t)(*state >> 56);
}

static void pattern_fill(uint8_t *bytes, uint32_t length, uint64_t number)
{
    for (uint32_t i = 0; i < length; i++)
        bytes[i] = pattern_next(&number);
}

static bool pattern_is_right(const uint8_t *bytes, uint32_t length, uint64_t number)
{
    for (uint32_t i = 0; i < length; i++)
        if (bytes[i] != pattern_next(&number))
            return false;
    return true;
}

// Posts the write and the send of one ping, both or none.
static int ping_post(struct carrick_client *echo, uint32_t slot, uint64_t token)
{
    const struct carrick_client_host *host = echo->host;
    uint64_t number = echo->next_number;
    uint64_t offset = (uint64_t)slot * echo->config.bytes;
    uint8_t *local = host->region_ptr(echo->pattern);

    // The slot is free: nothing of an earlier ping reads this memory any more.
    pattern_fill(local + offset, echo->config.bytes, number);
    struct echo_message message = {
        .magic = ECHO_MAGIC,
        .kind = ECHO_PING,
        .slot = slot,
        .bytes = echo->config.bytes,
        .offset = offset,
        .number = number,
    };
    // Fields that are not named are 0, as an operation that grows later wants it. struct_size goes into each.
    struct carrick_op ops[2] = {
        {
            .struct_size = sizeof(struct carrick_op),
            .operation = CARRICK_CLIENT_WRITE,
            .cookie = slot,
            .region = echo->pattern,
            .offset = offset,
            .length = echo->config.bytes,
            .there = 0, // the first region that describe() asked for
            .there_offset = offset,
        },
        {
            .struct_size = sizeof(struct carrick_op),
            .operation = CARRICK_CLIENT_SEND,
            .cookie = slot,
            .length = sizeof message,
            .data = &message, // copied before post() returns
        },
    };
    int status = host->post(echo->vi, ops, 2);
    if (status != CARRICK_OK)
        return status;
    struct echo_slot *ping = &echo->slots[slot];
    ping->operations = 2;
    ping->answer_awaited = true;
    ping->number = number;
    ping->token = token;
    ping->sent_ns = host->base->now_ns(host->base);
    echo->next_number++;
    echo->counters.sent++;
    return CARRICK_OK;
}

// A slot without a ping, or ECHO_DEPTH_MAX. It is free when its operations have completed and its answer is there.
static uint32_t slot_find(const struct carrick_client *echo)
{
    for (uint32_t i = 0; i < echo->config.depth; i++) {
        if (echo->slots[i].operations == 0 && !echo->slots[i].answer_awaited)
            return i;
    }
    return ECHO_DEPTH_MAX;
}

static bool slots_are_free(const struct carrick_client *echo)
{
    for (uint32_t i = 0; i < ECHO_DEPTH_MAX; i++) {
        if (echo->slots[i].operations > 0 || echo->slots[i].answer_awaited)
            return false;
    }
    return true;
}

static void reply_error(struct carrick_client *echo, uint64_t token, int status, const char *text)
{
    char json[160];
    snprintf(json, sizeof json, "\"%s\"", text);
    echo->host->command_reply(echo->host, token, status, json);
}

// Posts what commands wait for, as far as there are slots; they go before the pings of the interval.
static void waiting_go_on(struct carrick_client *echo)
{
    uint32_t slot;
    while (echo->waiting_count > 0 && echo->vi && !echo->ending &&
           (slot = slot_find(echo)) < ECHO_DEPTH_MAX) {
        if (ping_post(echo, slot, echo->waiting[0]) != CARRICK_OK)
            return;
        echo->waiting_count--;
        memmove(&echo->waiting[0], &echo->waiting[1],
                echo->waiting_count * sizeof echo->waiting[0]);
    }
}

// ---- the partner's pings

// Sends the answers that wait, as many as there is room for.
static void answers_send(struct carrick_client *echo)
{
    while (echo->vi && echo->answer_count > 0) {
        struct carrick_op op = {
            .struct_size = sizeof op,
            .operation = CARRICK_CLIENT_SEND,
            .cookie = ECHO_COOKIE_ANSWER,
            .length = sizeof echo->answers[0],
            .data = &echo->answers[echo->answer_first],
        };
        // CARRICK_ERR_AGAIN: the queue is full. completed() comes, and calls this again.
        if (echo->host->post(echo->vi, &op, 1) != CARRICK_OK)
            return;
        echo->answer_first = (echo->answer_first + 1) % ECHO_ANSWERS_MAX;
        echo->answer_count--;
    }
}

static void take_ping(struct carrick_client *echo, struct echo_message *message)
{
    // Checked against what is here, not against what the message says of itself.
    if (!echo->here || message->bytes > echo->here_bytes ||
        message->offset > echo->here_bytes - message->bytes) {
        echo->counters.refused++;
        return;
    }
    if (echo->answer_count == ECHO_ANSWERS_MAX) {
        // A partner of this version never has so many under way.
        echo->counters.refused++;
        return;
    }
    // The send has handed this range over: the partner does not write it again before it has our answer.
    const uint8_t *bytes = echo->host->region_ptr(echo->here);
    message->kind = pattern_is_right(bytes + message->offset, message->bytes, message->number)
                        ? ECHO_ANSWER
                        : ECHO_ANSWER_WRONG;
    echo->counters.echoed++;
    echo->answers[(echo->answer_first + echo->answer_count++) % ECHO_ANSWERS_MAX] = *message;
    answers_send(echo);
}

// Closing the VI ends what the partner has under way, too. So each side says when it awaits nothing any more, and
// closes when both have said so, or at the deadline, whichever comes first.
static void close_when_done(struct carrick_client *echo)
{
    struct carrick_op op = {
        .struct_size = sizeof op,
        .operation = CARRICK_CLIENT_SEND,
        .cookie = ECHO_COOKIE_ANSWER,
        .length = sizeof(struct echo_message),
        .data = &(struct echo_message){.magic = ECHO_MAGIC, .kind = ECHO_DONE},
    };
    if (!echo->ending || !echo->vi || !slots_are_free(echo))
        return;
    if (!echo->done_told)
        echo->done_told = echo->host->post(echo->vi, &op, 1) == CARRICK_OK;
    if (echo->done_told && (echo->done_heard || !echo->partner_is_echo))
        echo->host->vi_close(echo->vi); // vi_changed(CLOSED) follows
}

static void take_answer(struct carrick_client *echo, const struct echo_message *message)
{
    struct echo_slot *ping = message->slot < ECHO_DEPTH_MAX ? &echo->slots[message->slot] : NULL;
    if (!ping || !ping->answer_awaited || ping->number != message->number) {
        echo->counters.refused++;
        return;
    }
    uint64_t took_ns = echo->host->base->now_ns(echo->host->base) - ping->sent_ns;
    ping->answer_awaited = false;
    echo->counters.answered++;
    echo->counters.last_ns = took_ns;
    if (took_ns > echo->counters.longest_ns)
        echo->counters.longest_ns = took_ns;
    if (message->kind == ECHO_ANSWER_WRONG) {
        echo->counters.mismatches++;
        echo->host->base->log(echo->host->base, CARRICK_LOG_ERROR,
                              "ping %llu: the partner found other bytes than were written",
                              (unsigned long long)ping->number);
    }
    if (ping->token) {
        char json[96];
        snprintf(json, sizeof json, "{\"round_trip_us\":%.1f,\"bytes\":%u,\"right\":%s}",
                 (double)took_ns / 1000, echo->config.bytes,
                 message->kind == ECHO_ANSWER ? "true" : "false");
        echo->host->command_reply(echo->host, ping->token, CARRICK_OK, json);
        ping->token = 0;
    }
    waiting_go_on(echo);
    close_when_done(echo);
}

// ---- the load that interval_ms asks for

// Slots lie elsewhere when bytes changes, so a new configuration waits until nothing is under way.
static void take_new_config(struct carrick_client *echo)
{
    if (echo->config_waits && slots_are_free(echo)) {
        echo->config = echo->new_config;
        echo->config_waits = false;
    }
}

static void interval_fired(void *arg)
{
    struct carrick_client *echo = arg;
    uint32_t slot;
    take_new_config(echo);
    if (!echo->vi || echo->ending || echo->config.interval_ms == 0)
        return;
    if (echo->config_waits || slot_find(echo) == ECHO_DEPTH_MAX)
        echo->counters.skipped++; // all earlier ones still under way: a slow partner is not flooded
    while (!echo->config_waits && (slot = slot_find(echo)) < ECHO_DEPTH_MAX &&
           ping_post(echo, slot, 0) == CARRICK_OK)
        ;
    echo->host->base->timer_start(echo->interval, (uint64_t)echo->config.interval_ms * 1000000u);
}

// ---- callbacks, in the order of a client's life

static void echo_destroy(struct carrick_client *echo)
{
    if (echo->interval)
        echo->host->base->timer_destroy(echo->interval);
    if (echo->pattern)
        echo->host->region_destroy(echo->pattern);
    free(echo);
}

static int echo_create(const struct carrick_client_host *host, const char *config,
                       struct carrick_client **client, struct carrick_error *error)
{
    struct carrick_client *echo = calloc(1, sizeof *echo);
    if (!echo)
        return CARRICK_ERR_NO_MEMORY;
    echo->host = host;
    echo->next_number = 1;
    int status = echo_config_read(config, &echo->config, error);
    if (status == CARRICK_OK)
        status = host->region_create(host, ECHO_BYTES, &echo->pattern);
    if (status == CARRICK_OK)
        status = host->base->timer_create(host->base, interval_fired, echo, &echo->interval);
    if (status != CARRICK_OK) {
        // What was made goes again: after an error there is no instance to destroy.
        echo_destroy(echo);
        return status;
    }
    *client = echo;
    return CARRICK_OK;
}

static int echo_config_check(const char *config, struct carrick_error *error)
{
    struct echo_config ignored;
    return echo_config_read(config, &ignored, error);
}

static int echo_config_change(struct carrick_client *echo, const char *config,
                              struct carrick_error *error)
{
    int status = echo_config_read(config, &echo->new_config, error);
    if (status != CARRICK_OK)
        return status; // the old one stays
    echo->config_waits = true;
    take_new_config(echo);
    if (echo->vi && echo->partner_is_echo)
        echo->host->base->timer_start(echo->interval, 0);
    return CARRICK_OK;
}

static int echo_describe(struct carrick_client *echo, struct carrick_client_info *info)
{
    (void)echo;
    info->vis = 1;
    info->version = ECHO_VERSION;
    if (info->region_max < 1)
        return CARRICK_ERR_LIMIT;
    info->region_count = 1;
    info->wants[0].access = CARRICK_ACCESS_REMOTE_WRITE; // no more than is needed
    info->wants[0].bytes = ECHO_BYTES;
    return CARRICK_OK;
}

static void echo_ready(struct carrick_client *echo, const struct carrick_session_info *session)
{
    echo->ending = echo->done_told = echo->done_heard = false;
    take_new_config(echo);
    echo->partner_is_echo = session->partner_version == ECHO_VERSION;
    if (!echo->partner_is_echo) {
        echo->host->base->log(
            echo->host->base, CARRICK_LOG_WARNING,
            "the partner's echo speaks version %u, this one %u: no pings until both "
            "are upgraded",
            session->partner_version, ECHO_VERSION);
    }
    // These handles are valid until ended() returns.
    echo->vi = session->vi_count > 0 ? session->vis[0] : NULL;
    echo->here = session->here_count > 0 ? session->here[0] : NULL;
    echo->here_bytes = echo->here ? echo->host->region_bytes(echo->here) : 0;
    if (echo->config.interval_ms > 0 && echo->partner_is_echo)
        echo->host->base->timer_start(echo->interval, 0);
}

static void echo_completed(struct carrick_client *echo,
                           const struct carrick_completion *completions, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        // Never completions[i]: a later core may hand over longer structures.
        const struct carrick_completion *completion = carrick_completion_at(completions, i);
        if (completion->cookie >= ECHO_DEPTH_MAX)
            continue; // an answer to the partner
        struct echo_slot *ping = &echo->slots[completion->cookie];
        if (ping->operations > 0)
            ping->operations--;
    }
    answers_send(echo); // there is room again
    waiting_go_on(echo);
    close_when_done(echo);
}

static void echo_received(struct carrick_client *echo, struct carrick_vi *vi, const void *data,
                          uint32_t length)
{
    struct echo_message message;
    (void)vi;
    if (length != sizeof message) {
        echo->counters.refused++;
        return;
    }
    memcpy(&message, data, sizeof message); // data need not be aligned, and is gone after this call
    if (message.magic != ECHO_MAGIC) {
        echo->counters.refused++;
        return;
    }
    switch (message.kind) {
    case ECHO_PING:
        take_ping(echo, &message);
        break;
    case ECHO_ANSWER:
    case ECHO_ANSWER_WRONG:
        take_answer(echo, &message);
        break;
    case ECHO_DONE:
        echo->done_heard = true;
        close_when_done(echo);
        break;
    default:
        echo->counters.refused++;
    }
}

static void echo_vi_changed(struct carrick_client *echo, struct carrick_vi *vi, uint32_t state)
{
    // STALLED needs nothing of us: what is posted goes on over another link.
    if (state == CARRICK_VI_STALLED)
        echo->counters.stalls++;
    if (state == CARRICK_VI_CLOSED && vi == echo->vi)
        echo->vi = NULL; // the handle is gone
}

// Gives up what is awaited: no answer can come any more.
static void pings_give_up(struct carrick_client *echo)
{
    for (uint32_t i = 0; i < ECHO_DEPTH_MAX; i++) {
        struct echo_slot *ping = &echo->slots[i];
        if (ping->answer_awaited)
            echo->counters.lost++;
        if (ping->token)
            reply_error(echo, ping->token, CARRICK_ERR_SESSION_ENDED,
                        "the session ended before the answer came");
        memset(ping, 0, sizeof *ping);
    }
    for (uint32_t i = 0; i < echo->waiting_count; i++)
        reply_error(echo, echo->waiting[i], CARRICK_ERR_SESSION_ENDED,
                    "the session ended before there was room for it");
    echo->waiting_count = 0;
    echo->answer_count = 0;
}

static void echo_ending(struct carrick_client *echo, uint32_t reason, uint64_t deadline_ns)
{
    (void)reason;
    (void)deadline_ns; // the core closes the VI then, if it is still open
    echo->ending = true;
    echo->host->base->timer_stop(echo->interval);
    close_when_done(echo);
}

static void echo_ended(struct carrick_client *echo, uint32_t reason)
{
    (void)reason;
    echo->host->base->timer_stop(echo->interval);
    echo->vi = NULL;
    echo->here = NULL;
    echo->here_bytes = 0;
    echo->partner_is_echo = false;
    pings_give_up(echo);
}

static void echo_describe_state(struct carrick_client *echo, char *text, size_t size)
{
    const struct echo_counters *counters = &echo->counters;
    snprintf(
        text, size,
        "{\"sent\":%llu,\"answered\":%llu,\"echoed\":%llu,\"mismatches\":%llu,\"lost\":%llu,"
        "\"refused\":%llu,\"skipped\":%llu,\"stalls\":%llu,\"last_us\":%.1f,\"longest_us\":%.1f}",
        (unsigned long long)counters->sent, (unsigned long long)counters->answered,
        (unsigned long long)counters->echoed, (unsigned long long)counters->mismatches,
        (unsigned long long)counters->lost, (unsigned long long)counters->refused,
        (unsigned long long)counters->skipped, (unsigned long long)counters->stalls,
        (double)counters->last_ns / 1000, (double)counters->longest_ns / 1000);
}

static int echo_command(struct carrick_client *echo, const char *word, const char *json,
                        uint64_t token)
{
    char text[512];
    (void)json;
    if (strcmp(word, "stats") == 0) {
        echo_describe_state(echo, text, sizeof text);
        echo->host->command_reply(echo->host, token, CARRICK_OK, text);
        return CARRICK_OK;
    }
    if (strcmp(word, "reset") == 0) {
        memset(&echo->counters, 0, sizeof echo->counters);
        echo->host->command_reply(echo->host, token, CARRICK_OK, "\"counters are 0\"");
        return CARRICK_OK;
    }
    if (strcmp(word, "ping") != 0) {
        // With CARRICK_ERR_NOT_SUPPORTED returned and no reply the core would say so, but not which words there are.
        reply_error(echo, token, CARRICK_ERR_NOT_SUPPORTED,
                    "echo does not know this command; it knows: stats, reset, ping");
        return CARRICK_OK;
    }
    take_new_config(echo);
    if (!echo->vi || echo->ending || !echo->partner_is_echo) {
        reply_error(echo, token, CARRICK_ERR_STATE, "there is no session with the partner's echo");
    } else if (echo->waiting_count == ECHO_WAITING_MAX) {
        reply_error(echo, token, CARRICK_ERR_LIMIT, "too many pings wait already");
    } else {
        echo->waiting[echo->waiting_count++] = token;
        waiting_go_on(echo);
    }
    return CARRICK_OK;
}

static const struct carrick_client_ops echo_ops = {
    .create = echo_create,
    .destroy = echo_destroy,
    .describe = echo_describe,
    .ready = echo_ready,
    .ending = echo_ending,
    .ended = echo_ended,
    .completed = echo_completed,
    .received = echo_received,
    // optional ones; .provide is left out: fresh memory of the core's is good
    .config_check = echo_config_check,
    .config_change = echo_config_change,
    .vi_changed = echo_vi_changed,
    .describe_state = echo_describe_state,
    .command = echo_command,
};

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_CLIENT, "echo", "1.0", "Apache-2.0",
                        "writes a pattern to the partner and has it checked and echoed", echo_ops);
