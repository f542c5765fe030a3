// SPDX-License-Identifier: Apache-2.0
//
// The arbiter in etcd: a group's record is the value of one key, PREFIX/MANAGER/GROUP. It is read by linearizable reads
// only and changed by transactions that compare with the very bytes that were read, so a transaction that is sent again
// can take effect once at most.
#ifndef ETCD_ETCD_H
#define ETCD_ETCD_H

#include <carrick/arbiter.h>
#include <stdatomic.h>

#define ETCD_ENDPOINTS_MAX 8u
#define ETCD_URL_BYTES 256u
#define ETCD_PATH_BYTES 1024u
#define ETCD_PREFIX_BYTES 129u
#define ETCD_NAME_BYTES 129u // of a user, and a password
#define ETCD_TOKEN_BYTES 4097u
#define ETCD_CAUSE_BYTES 256u
#define ETCD_KEY_BYTES (ETCD_PREFIX_BYTES + 2 * (CARRICK_NAME_MAX + 1u))
#define ETCD_VALUE_BYTES 2048u        // of the longest record
#define ETCD_BODY_BYTES (128u * 1024) // of the longest answer

// What base64 makes of so many bytes, with its NUL.
#define ETCD_BASE64_BYTES(bytes) (((bytes) + 2) / 3 * 4 + 1)

// ---- base64.c

void etcd_base64_put(const void *bytes, size_t length, char *text);
// Strict. False: no base64, or more than size bytes.
bool etcd_base64_get(const char *text, void *bytes, size_t size, size_t *length);

// ---- record.c: a record as the text of a value

// nonce tells the values of two changes apart that want the same. Returns the length; 0: no memory.
size_t etcd_record_put(const char *group, const struct carrick_arbiter_record *record,
                       const char *writer, uint64_t nonce, char text[ETCD_VALUE_BYTES]);
// False: no record of this group; why says what is wrong with it.
bool etcd_record_get(const char *text, size_t length, const char *group,
                     struct carrick_arbiter_record *record, const char **why);

// ---- config.c

struct etcd_settings {
    char endpoints[ETCD_ENDPOINTS_MAX][ETCD_URL_BYTES];
    unsigned endpoint_count;
    uint32_t probe_s;
    char prefix[ETCD_PREFIX_BYTES];
    char ca[ETCD_PATH_BYTES], cert[ETCD_PATH_BYTES], key[ETCD_PATH_BYTES];
    char user[ETCD_NAME_BYTES], password_file[ETCD_PATH_BYTES];
};

int etcd_settings_read(const char *config, struct etcd_settings *settings,
                       struct carrick_error *error);
// The files that the settings name: there, readable, and not open to others where they are secret.
int etcd_files_check(const struct etcd_settings *settings, struct carrick_error *error);
int etcd_password_read(const struct etcd_settings *settings, char password[ETCD_NAME_BYTES],
                       struct carrick_error *error);

// ---- reply.c: what the gateway answers

struct etcd_found {
    bool there;
    uint64_t mod_revision;
    char value[ETCD_VALUE_BYTES];
    size_t length;
};

// All return false for what is no such answer.
bool etcd_reply_range(const char *body, size_t length, const char *key, struct etcd_found *found);
// found is of use where *succeeded is false.
bool etcd_reply_change(const char *body, size_t length, const char *key, bool *succeeded,
                       struct etcd_found *found);
bool etcd_reply_token(const char *body, size_t length, char token[ETCD_TOKEN_BYTES]);

struct etcd_refusal {
    int64_t code; // of gRPC; -1: it is not etcd that answers
    char message[160];
};

void etcd_reply_refusal(const char *body, size_t length, struct etcd_refusal *refusal);
// Nothing was changed, nor will be.
bool etcd_refusal_is_final(const struct etcd_refusal *refusal);
// The token is not, or no more, good.
bool etcd_refusal_is_of_token(const struct etcd_refusal *refusal);

// ---- http.c: one request, on a worker

struct etcd_wire; // connections of one operation

// Called right before a request goes out; false: it must not.
typedef bool (*etcd_go_fn)(void *arg);

struct etcd_request {
    const char *endpoint, *path, *body, *token; // token: "" for none
    uint64_t timeout_ms;
    etcd_go_fn go; // may be NULL
    void *arg;
};

struct etcd_response {
    bool answered; // a whole answer came; else cause says why not
    long status;
    unsigned sent; // how often the request, or a part of it, may have gone out
    char *body;    // ends with NUL
    size_t length;
    char cause[ETCD_CAUSE_BYTES];
};

struct etcd_wire *etcd_wire_new(const struct etcd_settings *settings);
void etcd_wire_free(struct etcd_wire *wire);
void etcd_wire_ask(struct etcd_wire *wire, const struct etcd_request *request,
                   struct etcd_response *response);
void etcd_response_free(struct etcd_response *response);

// ---- ask.c: one operation, on a worker

enum etcd_kind {
    ETCD_READ = 1,
    ETCD_CHANGE,
    ETCD_PROBE, // a read of a key that is never there
};

// Whoever comes first has it: the worker that sends a change, or the deadline that rules that it is never sent.
enum etcd_gate { ETCD_GATE_OPEN = 0, ETCD_GATE_SENT, ETCD_GATE_SHUT };

struct etcd_ask {
    const struct etcd_settings *settings;
    const struct carrick_host *base;
    enum etcd_kind kind;
    uint64_t deadline_ns, expected, nonce;
    char group[CARRICK_NAME_MAX + 1];
    struct carrick_arbiter_record wanted;
    _Atomic int gate;
    // Goes in and comes out: what is learned serves the next operation.
    unsigned preferred; // the endpoint that is asked first
    char token[ETCD_TOKEN_BYTES];
    // The answer, as of carrick_arbiter_ops.
    int status;
    bool has_record;
    struct carrick_arbiter_record record;
    char cause[ETCD_CAUSE_BYTES]; // of the failure, or of an endpoint's where another one answered
};

void etcd_ask(struct etcd_ask *ask);

#endif
