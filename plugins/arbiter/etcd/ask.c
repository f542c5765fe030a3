// SPDX-License-Identifier: Apache-2.0
//
// One operation over several endpoints, under one deadline. What must hold:
//
//   - a record counts only when a linearizable read, or a transaction, has told it;
//   - a transaction whose answer is missing is in doubt, and so is the operation, until a read or the same transaction
//     again has settled it;
//   - once the deadline has said that a change was not sent, it is not sent.
#include "etcd.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SHARE_MIN_MS 20u // of the time that is left, for one request
#define PAUSE_MS 20u     // between two rounds that settle a doubt

// What one exchange came to.
enum outcome {
    OUTCOME_DONE,  // the operation is answered
    OUTCOME_FOUND, // there is a record to go on from
    OUTCOME_NEXT,  // this endpoint is of no use; ask another one
};

struct run {
    struct etcd_ask *ask;
    struct etcd_wire *wire;
    const char *endpoint;
    unsigned endpoints_left; // that one included
    char key[ETCD_KEY_BYTES];
    char key64[ETCD_BASE64_BYTES(ETCD_KEY_BYTES)];
    char wanted[ETCD_VALUE_BYTES]; // the value that is put, and its record
    size_t wanted_length;
    struct carrick_arbiter_record wanted_record, record;
    struct etcd_found found;
    bool posted; // a transaction was sent
    bool doubt;  // and of one it is not known what became of it
};

static uint64_t left_ms(const struct run *run)
{
    uint64_t now_ns = run->ask->base->now_ns(run->ask->base);

    return now_ns < run->ask->deadline_ns ? (run->ask->deadline_ns - now_ns) / 1000000u : 0;
}

// One that hangs must leave time for the others.
static uint64_t share_ms(const struct run *run)
{
    uint64_t left = left_ms(run), share = left / (run->endpoints_left ? run->endpoints_left : 1);

    return share < SHARE_MIN_MS ? (left < SHARE_MIN_MS ? left : SHARE_MIN_MS) : share;
}

static void say(struct run *run, const char *cause)
{
    snprintf(run->ask->cause, sizeof run->ask->cause, "%.200s", cause);
}

static void say_of_endpoint(struct run *run, const char *what)
{
    char cause[ETCD_CAUSE_BYTES];

    snprintf(cause, sizeof cause, "%.80s: %.160s", run->endpoint, what);
    say(run, cause);
}

static enum outcome answer(struct run *run, int status, const struct carrick_arbiter_record *record)
{
    struct etcd_ask *ask = run->ask;

    ask->status = status;
    ask->has_record = record != NULL;
    if (record != NULL)
        ask->record = *record;
    return OUTCOME_DONE;
}

// ---- one request, with a token where one is needed

static bool ask_once(struct run *run, const char *path, const char *body, etcd_go_fn go,
                     struct etcd_response *response)
{
    struct etcd_request request = {.endpoint = run->endpoint,
                                   .path = path,
                                   .body = body,
                                   .token = run->ask->token,
                                   .timeout_ms = share_ms(run),
                                   .go = go,
                                   .arg = run->ask};

    if (request.timeout_ms == 0) { // libcurl would take it for "no limit"
        memset(response, 0, sizeof *response);
        say_of_endpoint(run, "no time was left to ask it");
        return false;
    }
    etcd_wire_ask(run->wire, &request, response);
    if (!response->answered)
        say(run, response->cause);
    return response->answered;
}

static void body_of_login(const struct etcd_settings *settings, const char *password, char *body,
                          size_t size)
{
    const char *texts[] = {settings->user, password};
    size_t used = 0;

    for (int i = 0; i < 2; i++) {
        used += (size_t)snprintf(body + used, size - used, i ? ",\"password\":\"" : "{\"name\":\"");
        for (const char *at = texts[i]; *at != '\0'; at++)
            used += (size_t)snprintf(body + used, size - used,
                                     *at == '"' || *at == '\\' ? "\\%c" : "%c", *at);
        used += (size_t)snprintf(body + used, size - used, "\"");
    }
    snprintf(body + used, size - used, "}");
}

static bool log_in(struct run *run)
{
    const struct etcd_settings *settings = run->ask->settings;
    char password[ETCD_NAME_BYTES], body[4 * ETCD_NAME_BYTES + 64];
    struct carrick_error error = {.struct_size = sizeof error};
    struct etcd_response response;
    struct etcd_refusal refusal;
    bool good;

    run->ask->token[0] = '\0';
    if (etcd_password_read(settings, password, &error) != CARRICK_OK) {
        say(run, error.text);
        return false;
    }
    body_of_login(settings, password, body, sizeof body);
    good = ask_once(run, "/v3/auth/authenticate", body, NULL, &response);
    explicit_bzero(password, sizeof password);
    explicit_bzero(body, sizeof body);
    if (good) {
        good = response.status == 200 &&
               etcd_reply_token(response.body, response.length, run->ask->token);
        if (!good) {
            etcd_reply_refusal(response.body, response.length, &refusal);
            say_of_endpoint(run, refusal.message);
        }
    }
    etcd_response_free(&response);
    return good;
}

// What came back from one request that was meant to be carried out.
struct exchange {
    struct etcd_response response;
    bool good;     // there is an answer with status 200
    bool is_final; // nothing was done, nor will be
};

static void exchange(struct run *run, const char *path, const char *body, etcd_go_fn go,
                     struct exchange *out)
{
    bool needs_token = run->ask->settings->user[0] != '\0';
    struct etcd_refusal refusal;

    for (int attempt = 0; attempt < 2; attempt++) {
        memset(out, 0, sizeof *out);
        if (needs_token && run->ask->token[0] == '\0' && !log_in(run)) {
            out->is_final = true;
            return;
        }
        if (!ask_once(run, path, body, go, &out->response)) {
            out->is_final = out->response.sent == 0;
            return;
        }
        out->good = out->response.status == 200;
        if (out->good)
            return;
        etcd_reply_refusal(out->response.body, out->response.length, &refusal);
        say_of_endpoint(run, refusal.message);
        out->is_final = etcd_refusal_is_final(&refusal) && out->response.sent == 1;
        if (!needs_token || !out->is_final || !etcd_refusal_is_of_token(&refusal))
            return;
        run->ask->token[0] = '\0';
        if (attempt == 0)
            etcd_response_free(&out->response);
    }
}

// ---- a read

// The record in what was found; false: it is no record, and the operation is answered.
static bool take_found(struct run *run)
{
    const char *why;
    char cause[ETCD_CAUSE_BYTES];

    run->record = (struct carrick_arbiter_record){.struct_size = sizeof run->record};
    if (!run->found.there ||
        etcd_record_get(run->found.value, run->found.length, run->ask->group, &run->record, &why))
        return true;
    snprintf(cause, sizeof cause,
             "the value of %.100s cannot be used: %s; nothing is decided until a person has looked",
             run->key, why);
    say(run, cause);
    answer(run, run->doubt ? CARRICK_ERR_UNKNOWN : CARRICK_ERR_UNREACHABLE, NULL);
    return false;
}

static enum outcome look(struct run *run)
{
    char body[sizeof run->key64 + 64];
    struct exchange got;
    bool good;

    snprintf(body, sizeof body, "{\"key\":\"%s\",\"serializable\":false}", run->key64);
    exchange(run, "/v3/kv/range", body, NULL, &got);
    good =
        got.good && etcd_reply_range(got.response.body, got.response.length, run->key, &run->found);
    if (got.good && !good)
        say_of_endpoint(run, "it does not answer as etcd does");
    etcd_response_free(&got.response);
    if (!good)
        return OUTCOME_NEXT;
    return take_found(run) ? OUTCOME_FOUND : OUTCOME_DONE;
}

static enum outcome step_read(struct run *run)
{
    enum outcome outcome = look(run);

    return outcome == OUTCOME_FOUND ? answer(run, CARRICK_OK, &run->record) : outcome;
}

// ---- a change

static bool may_send(void *arg)
{
    struct etcd_ask *ask = arg;
    int open = ETCD_GATE_OPEN;

    return atomic_compare_exchange_strong(&ask->gate, &open, ETCD_GATE_SENT) ||
           open == ETCD_GATE_SENT;
}

// What the record that stands says of a change; FOUND: it can still be made.
static enum outcome judge(struct run *run)
{
    uint64_t expected = run->ask->expected;

    if (run->posted && run->found.there && run->found.length == run->wanted_length &&
        memcmp(run->found.value, run->wanted, run->wanted_length) == 0)
        return answer(run, CARRICK_OK, &run->wanted_record);
    if (run->record.number == expected)
        return OUTCOME_FOUND;
    // With the next number in other hands ours never stood; further on it may have, and has been followed.
    if (run->doubt && run->record.number != expected + 1)
        return answer(run, CARRICK_ERR_UNKNOWN, NULL);
    return answer(run, CARRICK_ERR_CONFLICT, &run->record);
}

static void body_of_change(const struct run *run, char *body, size_t size)
{
    char was[ETCD_BASE64_BYTES(ETCD_VALUE_BYTES)], wanted[ETCD_BASE64_BYTES(ETCD_VALUE_BYTES)];
    size_t used;

    etcd_base64_put(run->wanted, run->wanted_length, wanted);
    if (!run->found.there) {
        used = (size_t)snprintf(body, size,
                                "{\"compare\":[{\"key\":\"%s\",\"target\":\"CREATE\","
                                "\"result\":\"EQUAL\",\"create_revision\":\"0\"}]",
                                run->key64);
    } else {
        etcd_base64_put(run->found.value, run->found.length, was);
        used = (size_t)snprintf(body, size,
                                "{\"compare\":[{\"key\":\"%s\",\"target\":\"MOD\",\"result\":"
                                "\"EQUAL\",\"mod_revision\":\"%" PRIu64
                                "\"},{\"key\":\"%s\",\"target\":\"VALUE\",\"result\":\"EQUAL\","
                                "\"value\":\"%s\"}]",
                                run->key64, run->found.mod_revision, run->key64, was);
    }
    snprintf(body + used, size - used,
             ",\"success\":[{\"request_put\":{\"key\":\"%s\",\"value\":\"%s\"}}],"
             "\"failure\":[{\"request_range\":{\"key\":\"%s\"}}]}",
             run->key64, wanted, run->key64);
}

static enum outcome post(struct run *run)
{
    char body[2 * ETCD_BASE64_BYTES(ETCD_VALUE_BYTES) + 4 * sizeof run->key64 + 512];
    struct exchange got;
    bool good, succeeded = false;

    body_of_change(run, body, sizeof body);
    exchange(run, "/v3/kv/txn", body, may_send, &got);
    run->posted = run->posted || got.response.sent > 0;
    good = got.good && etcd_reply_change(got.response.body, got.response.length, run->key,
                                         &succeeded, &run->found);
    if (got.good && !good)
        say_of_endpoint(run, "it does not answer as etcd does");
    // Where libcurl has sent it twice, the first may have had an effect that the second's answer does not show.
    if ((!good && !got.is_final) || got.response.sent > 1)
        run->doubt = true;
    etcd_response_free(&got.response);
    if (!good)
        return OUTCOME_NEXT;
    if (succeeded)
        return answer(run, CARRICK_OK, &run->wanted_record);
    return take_found(run) ? judge(run) : OUTCOME_DONE;
}

static enum outcome step_change(struct run *run)
{
    enum outcome outcome = look(run);

    if (outcome == OUTCOME_FOUND)
        outcome = judge(run);
    if (outcome == OUTCOME_FOUND)
        outcome = post(run);
    // The key was changed in between and still has the expected number: not by us, nor by the partner.
    if (outcome == OUTCOME_FOUND) {
        say_of_endpoint(run, "the record is changed by others under the same number");
        outcome = OUTCOME_NEXT;
    }
    return outcome;
}

// ---- rounds

static enum outcome one_round(struct run *run)
{
    struct etcd_ask *ask = run->ask;
    unsigned count = ask->settings->endpoint_count, first = ask->preferred;

    for (unsigned i = 0; i < count && left_ms(run) > 0; i++) {
        unsigned index = (first + i) % count;
        enum outcome outcome;

        run->endpoint = ask->settings->endpoints[index];
        run->endpoints_left = count - i;
        outcome = ask->kind == ETCD_CHANGE ? step_change(run) : step_read(run);
        if (outcome != OUTCOME_NEXT) {
            ask->preferred = index;
            return outcome;
        }
    }
    return OUTCOME_NEXT;
}

static void pause_a_little(void)
{
    struct timespec time = {.tv_nsec = PAUSE_MS * 1000000};

    nanosleep(&time, NULL);
}

static void run_rounds(struct run *run)
{
    for (;;) {
        if (one_round(run) != OUTCOME_NEXT)
            return;
        if (!run->doubt || left_ms(run) <= PAUSE_MS)
            break;
        pause_a_little();
    }
    answer(run,
           run->doubt          ? CARRICK_ERR_UNKNOWN
           : left_ms(run) == 0 ? CARRICK_ERR_TIMEOUT
                               : CARRICK_ERR_UNREACHABLE,
           NULL);
}

static bool prepare(struct run *run)
{
    struct etcd_ask *ask = run->ask;

    snprintf(run->key, sizeof run->key, "%s/%s/%s", ask->settings->prefix, ask->base->manager,
             ask->kind == ETCD_PROBE ? "" : ask->group);
    etcd_base64_put(run->key, strlen(run->key), run->key64);
    if (ask->kind == ETCD_CHANGE) {
        run->wanted_record = ask->wanted;
        run->wanted_record.struct_size = sizeof run->wanted_record;
        run->wanted_record.number = ask->expected + 1;
        run->wanted_length = etcd_record_put(ask->group, &run->wanted_record, ask->base->node,
                                             ask->nonce, run->wanted);
        if (run->wanted_length == 0)
            return false;
    }
    run->wire = etcd_wire_new(ask->settings);
    return run->wire != NULL;
}

void etcd_ask(struct etcd_ask *ask)
{
    struct run *run = calloc(1, sizeof *run);

    ask->status = CARRICK_ERR_NO_MEMORY;
    ask->has_record = false;
    ask->cause[0] = '\0';
    if (run == NULL)
        return;
    run->ask = ask;
    if (prepare(run))
        run_rounds(run);
    etcd_wire_free(run->wire);
    free(run);
}
