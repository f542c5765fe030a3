// SPDX-License-Identifier: Apache-2.0
//
// Messages on the control lane, and the header of every send: round trip, every truncation, every length lied about; and
// what happens to a table that is changed between its announcement and its use.
#include "tests/unit/fake_world.h"

#include "core/wire.h"

static uint8_t wire[MESSAGE_BYTES_MAX];
static struct message message, got;

// At the very end of an allocation, so that a read beyond it is noticed.
static int get(const void *bytes, size_t length)
{
    uint8_t *copy = malloc(length == 0 ? 1 : length);
    int status;

    cr_assert(copy != NULL);
    memcpy(copy, bytes, length);
    memset(&got, 0xee, sizeof(got));
    status = message_get(copy, length, &got);
    free(copy);
    return status;
}

static size_t put(void)
{
    size_t length = message_put(&message, wire);

    cr_assert_leq(length, sizeof(wire));
    return length;
}

static const char text[] = "a reason with a name";

static void make(unsigned type)
{
    static uint8_t proof[PROOF_BYTES];

    memset(&message, 0, sizeof(message));
    message.type = (uint16_t)type;
    message.session = 0x0123456789abcdefull;
    switch (type) {
    case MESSAGE_PROOF:
    case MESSAGE_WELCOME:
        memset(proof, 0x5a, sizeof(proof));
        message.raw.bytes = proof;
        message.raw.length = sizeof(proof);
        break;
    case MESSAGE_REFUSE:
    case MESSAGE_ENDING:
    case MESSAGE_ENDED:
        message.end.reason = CARRICK_REASON_OPERATOR;
        message.end.time_ms = 1000;
        memcpy(message.end.text, text, sizeof(text));
        break;
    case MESSAGE_TABLE:
        message.table.kind = TABLE_CLIENT_INFO;
        message.table.length = CLIENT_INFO_BYTES_MAX;
        message.table.generation = 9;
        message.table.crc = 0xdeadbeef;
        break;
    case MESSAGE_KEYS:
        message.keys.first = 3;
        message.keys.total = 8;
        message.keys.count = 5;
        for (unsigned i = 0; i < 5; i++)
            message.keys.key[i] = (struct carrick_remote_key){.base = i << 20, .key = i + 1};
        break;
    case MESSAGE_FENCED:
        message.fenced.connection = 0x1020304050607080ull;
        message.fenced.link = 2;
        message.fenced.seen = 1;
        message.fenced.lanes = MESSAGE_LANES_MAX;
        for (unsigned i = 0; i < MESSAGE_LANES_MAX; i++) {
            message.fenced.applied[i] = i == 0 ? UINT64_MAX : i;
            message.fenced.sends[i] = i * 100;
        }
        break;
    default:
        message.vi.identity = 0x0000000300000fffull;
        message.vi.opening = 4711;
        message.vi.heard = type == MESSAGE_VI_HEARD ? MESSAGE_VI_CLOSE : 0;
        message.vi.sends = 17;
        break;
    }
}

static void same_keys(void)
{
    cr_assert_eq(got.keys.first, message.keys.first);
    cr_assert_eq(got.keys.total, message.keys.total);
    cr_assert_eq(got.keys.count, message.keys.count);
    for (unsigned i = 0; i < message.keys.count; i++) {
        cr_assert_eq(got.keys.key[i].base, message.keys.key[i].base);
        cr_assert_eq(got.keys.key[i].key, message.keys.key[i].key);
    }
}

static void same_fenced(void)
{
    cr_assert_eq(got.fenced.connection, message.fenced.connection);
    cr_assert_eq(got.fenced.link, message.fenced.link);
    cr_assert_eq(got.fenced.seen, message.fenced.seen);
    cr_assert_eq(got.fenced.lanes, message.fenced.lanes);
    for (unsigned i = 0; i < message.fenced.lanes; i++) {
        cr_assert_eq(got.fenced.applied[i], message.fenced.applied[i]);
        cr_assert_eq(got.fenced.sends[i], message.fenced.sends[i]);
    }
}

static void same(void)
{
    cr_assert_eq(got.type, message.type);
    cr_assert_eq(got.session, message.session);
    switch (message.type) {
    case MESSAGE_PROOF:
    case MESSAGE_WELCOME:
        cr_assert_eq(got.raw.length, message.raw.length);
        break;
    case MESSAGE_REFUSE:
    case MESSAGE_ENDING:
    case MESSAGE_ENDED:
        cr_assert_eq(got.end.reason, message.end.reason);
        cr_assert_eq(got.end.time_ms, message.end.time_ms);
        cr_assert_str_eq(got.end.text, message.end.text);
        break;
    case MESSAGE_TABLE:
        cr_assert_eq(got.table.kind, message.table.kind);
        cr_assert_eq(got.table.length, message.table.length);
        cr_assert_eq(got.table.generation, message.table.generation);
        cr_assert_eq(got.table.crc, message.table.crc);
        break;
    case MESSAGE_KEYS:
        same_keys();
        break;
    case MESSAGE_FENCED:
        same_fenced();
        break;
    default:
        cr_assert_eq(got.vi.identity, message.vi.identity);
        cr_assert_eq(got.vi.opening, message.vi.opening);
        cr_assert_eq(got.vi.heard, message.vi.heard);
        cr_assert_eq(got.vi.sends, message.vi.sends);
        break;
    }
}

Test(message, each_type_comes_back)
{
    for (unsigned type = 1; type < MESSAGE_TYPE_COUNT; type++) {
        make(type);
        cr_assert_eq(get(wire, put()), CARRICK_OK, "type %u", type);
        same();
    }
}

Test(message, a_proof_is_read_where_it_lies)
{
    make(MESSAGE_PROOF);
    cr_assert_eq(message_get(wire, put(), &got), CARRICK_OK);
    cr_assert_eq(got.raw.bytes, wire + MESSAGE_HEADER_BYTES);
    cr_assert_arr_eq(got.raw.bytes, message.raw.bytes, PROOF_BYTES);
}

Test(message, each_type_cut_anywhere_or_too_long)
{
    for (unsigned type = 1; type < MESSAGE_TYPE_COUNT; type++) {
        size_t length;

        make(type);
        length = put();
        for (size_t i = 0; i < length; i++)
            cr_assert_eq(get(wire, i), CARRICK_ERR_PROTOCOL, "type %u cut after %zu", type, i);
        cr_assert_eq(get(wire, length + 1), CARRICK_ERR_PROTOCOL, "type %u, one byte too many",
                     type);
        // Cut with a header that says so: only what can be of any length may still be taken.
        for (size_t i = MESSAGE_HEADER_BYTES; i < length; i++) {
            bool has_text =
                type == MESSAGE_REFUSE || type == MESSAGE_ENDING || type == MESSAGE_ENDED;

            put_u32(wire + 4, (uint32_t)(i - MESSAGE_HEADER_BYTES));
            cr_assert_eq(get(wire, i) == CARRICK_OK, has_text && i >= MESSAGE_HEADER_BYTES + 8,
                         "type %u with %zu bytes", type, i);
        }
    }
}

static const uint32_t lies[] = {
    0,    1,          2,          7,          8,          128,        129,        255,
    4096, 0x7fffffff, 0x80000000, 0xffffffff, 0x0fffffff, 0x10000000, 0x10000001, 0xfffffff5};

// Every aligned word of every message, with every lie: it is refused, or what it says lies within bounds.
Test(message, no_length_is_believed_without_a_check)
{
    for (unsigned type = 1; type < MESSAGE_TYPE_COUNT; type++) {
        size_t length;

        make(type);
        length = put();
        for (size_t at = 0; at + 4 <= length && at < 64; at += 4)
            for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
                uint32_t truth = get_u32(wire + at);

                put_u32(wire + at, lies[i]);
                if (get(wire, length) == CARRICK_OK && got.type == MESSAGE_KEYS) {
                    cr_assert_leq(got.keys.count, MESSAGE_KEYS_MAX);
                    cr_assert_leq(got.keys.first, got.keys.total);
                    cr_assert_leq(got.keys.count, got.keys.total - got.keys.first);
                } else if (got.type == MESSAGE_FENCED) {
                    cr_assert(got.fenced.lanes <= MESSAGE_LANES_MAX ||
                              message_get(wire, length, &got) != CARRICK_OK);
                }
                put_u32(wire + at, truth);
            }
    }
}

Test(message, types_that_there_are_not)
{
    make(MESSAGE_VI_OPEN);
    size_t length = put();

    for (unsigned type = 0; type < 70000; type = type == 0 ? MESSAGE_TYPE_COUNT : type * 3 + 1) {
        put_u16(wire, (uint16_t)type);
        if ((uint16_t)type == 0 || (uint16_t)type >= MESSAGE_TYPE_COUNT)
            cr_assert_eq(get(wire, length), CARRICK_ERR_PROTOCOL, "type %u", type);
    }
    put_u16(wire, 0xffff);
    cr_assert_eq(get(wire, length), CARRICK_ERR_PROTOCOL);
}

Test(message, tables_of_a_kind_or_length_that_there_is_not)
{
    make(MESSAGE_TABLE);
    for (uint32_t kind = TABLE_PEER_INFO; kind < TABLE_KIND_COUNT; kind++) {
        message.table.kind = kind;
        message.table.length = table_bytes_max((enum table_kind)kind);
        cr_assert_eq(get(wire, put()), CARRICK_OK);
        message.table.length++;
        cr_assert_eq(get(wire, put()), CARRICK_ERR_PROTOCOL, "longer than its place");
    }
    message.table.length = 0;
    message.table.kind = 0;
    cr_assert_eq(get(wire, put()), CARRICK_ERR_PROTOCOL);
    message.table.kind = TABLE_KIND_COUNT;
    cr_assert_eq(get(wire, put()), CARRICK_ERR_PROTOCOL);
    message.table.kind = UINT32_MAX;
    cr_assert_eq(get(wire, put()), CARRICK_ERR_PROTOCOL);
}

Test(message, keys_up_to_the_limit)
{
    make(MESSAGE_KEYS);
    message.keys.first = 0;
    message.keys.total = message.keys.count = MESSAGE_KEYS_MAX;
    cr_assert_eq(get(wire, put()), CARRICK_OK);
    same_keys();
    message.keys.total = message.keys.count = 0;
    cr_assert_eq(get(wire, put()), CARRICK_OK);
    message.keys.first = 1;
    cr_assert_eq(get(wire, put()), CARRICK_ERR_PROTOCOL, "begins beyond the end");
    message.keys.first = UINT32_MAX;
    message.keys.total = UINT32_MAX;
    message.keys.count = 1;
    cr_assert_eq(get(wire, put()), CARRICK_ERR_PROTOCOL, "the sum wraps");
}

Test(message, a_partners_text_is_harmless)
{
    make(MESSAGE_REFUSE);
    memset(message.end.text, 'x', MESSAGE_TEXT_MAX);
    cr_assert_eq(get(wire, put()), CARRICK_OK);
    cr_assert_eq(strlen(got.end.text), MESSAGE_TEXT_MAX - 1, "the longest text, with its end");

    snprintf(message.end.text, sizeof(message.end.text),
             "bell \a, escape \x1b[2J, high \xff\x80, tab \t end");
    cr_assert_eq(get(wire, put()), CARRICK_OK);
    for (const char *c = got.end.text; *c != '\0'; c++)
        cr_assert(*c >= 0x20 && *c <= 0x7e);
    cr_assert(strstr(got.end.text, "end") != NULL);
    message.end.reason = CARRICK_REASON_COUNT;
    cr_assert_eq(get(wire, put()), CARRICK_ERR_PROTOCOL, "a reason that there is not");
}

Test(message, the_header_of_a_send)
{
    struct send_header header = {.vi = 0x0000000500000007ull,
                                 .sequence = UINT64_MAX - 1,
                                 .opening = 0x01020304},
                       read;
    uint8_t bytes[SEND_HEADER_BYTES];

    send_header_put(&header, bytes);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        uint8_t *copy = malloc(i == 0 ? 1 : i);

        memcpy(copy, bytes, i);
        cr_assert_eq(send_header_get(copy, i, &read), CARRICK_ERR_PROTOCOL);
        free(copy);
    }
    cr_assert_eq(send_header_get(bytes, sizeof(bytes), &read), CARRICK_OK);
    cr_assert_eq(read.vi, header.vi);
    cr_assert_eq(read.opening, header.opening);
    cr_assert_eq(read.sequence, header.sequence);
}

// ---- what becomes of messages

TestSuite(message_taken, .fini = fake_end);

// The announcement of one table is on its way to a when the table is changed: by this much, at this place.
static void overwritten(uint32_t kind, uint32_t at)
{
    struct manager *manager;
    struct fake_event *event = NULL;
    uint8_t *inbox;

    fake_start();
    manager = fake.a.manager;
    inbox = manager->inbox->memory.address;
    // Stop as soon as the announcement stands in the queue of a's device.
    while (event == NULL) {
        cr_assert_lt(fake_time.now_ns, 5000 * ENV_MS, "no announcement was seen");
        fake_step(UINT64_MAX);
        for (event = fake_device("a0")->queue; event != NULL; event = event->next) {
            struct message announced;

            if (event->event.type == CARRICK_EVENT_RECEIVE &&
                message_get(event->event.data, event->event.length, &announced) == CARRICK_OK &&
                announced.type == MESSAGE_TABLE && announced.table.kind == kind)
                break;
        }
    }
    inbox[table_offset((enum table_kind)kind) + at] ^= 1;
    FAKE_UNTIL(manager->session.state == CARRICK_SESSION_CLOSING ||
               manager->session.state == CARRICK_SESSION_IDLE);
    cr_assert_eq(manager->session.refused.reason, CARRICK_REASON_PROTOCOL, "%s",
                 reason_name(manager->session.refused.reason));
    // READY may come by a lane's mark, too, and then before its table.
    cr_assert(manager->session.count == 0 || kind == TABLE_READY);
    // It is refused, and it is not the end of all: the next attempt brings it.
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
}

Test(message_taken, peer_information_changed_before_it_is_read)
{
    overwritten(TABLE_PEER_INFO, 16);
}

Test(message_taken, client_information_changed_before_it_is_read)
{
    fake_want(fake_client("b", "echo"), 4096, FAKE_RW);
    overwritten(TABLE_CLIENT_INFO, 16 + 48);
}

Test(message_taken, ready_changed_before_it_is_read)
{
    overwritten(TABLE_READY, 24);
}

static void refused_for(uint32_t reason)
{
    FAKE_UNTIL(fake.a.manager->session.refused.reason == reason &&
               fake.b.manager->session.refused.reason == reason);
    fake_run_ms(3000);
    cr_assert_eq(fake.a.manager->session.count + fake.b.manager->session.count, 0);
    cr_assert_eq(fake_client("a", "echo")->readies, 0);
}

Test(message_taken, another_cluster_is_refused_on_both_sides)
{
    fake.cluster[0] = "pair";
    fake.cluster[1] = "other";
    fake_start();
    refused_for(CARRICK_REASON_CLUSTER);
}

Test(message_taken, another_key_is_refused_on_both_sides)
{
    fake.key[0] = "one key";
    fake.key[1] = "another key";
    fake_start();
    refused_for(CARRICK_REASON_AUTHENTICATION);
    cr_assert_eq(fake.a.manager->links[0].current, NULL);
}

Test(message_taken, another_configuration_is_refused_on_both_sides)
{
    fake_start();
    fake.b.config->hash[3] ^= 1;
    refused_for(CARRICK_REASON_CONFIGURATION);
}

Test(message_taken, what_cannot_be_given_is_refused_on_both_sides)
{
    fake_want(fake_client("a", "echo"), 1ull << 40, FAKE_RW);
    fake_start();
    refused_for(CARRICK_REASON_RESOURCES);
}

Test(message_taken, a_client_that_cannot_say_its_needs_is_refused_on_both_sides)
{
    fake_client("b", "echo")->describe_status = CARRICK_ERR_SYSTEM;
    fake_start();
    refused_for(CARRICK_REASON_RESOURCES);
}

Test(message_taken, a_client_that_does_not_provide_is_refused_on_both_sides)
{
    fake_want(fake_client("a", "echo"), 4096, FAKE_RW);
    fake_client("b", "echo")->provide_status = CARRICK_ERR_NO_MEMORY;
    fake_start();
    refused_for(CARRICK_REASON_RESOURCES);
    // The cause goes away, and the session comes.
    fake_client("b", "echo")->provide_status = CARRICK_OK;
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
    cr_assert_eq(fake.a.manager->session.refused.reason, CARRICK_REASON_NONE);
}

// A stranger with a connection of his own, who says anything before the proof.
static struct carrick_endpoint *stranger(const void *request, uint32_t length)
{
    struct carrick_connect_options options = {.struct_size = sizeof(options),
                                              .remote = "{\"device\":\"a0\"}",
                                              .data = request,
                                              .data_bytes = length,
                                              .cookie = 0};
    struct carrick_endpoint *endpoint;
    struct carrick_error error = {.struct_size = sizeof(error)};

    cr_assert_eq(fake_connect(fake_device("x0"), &options, &endpoint, &error), CARRICK_OK);
    return endpoint;
}

static void stranger_says(const void *bytes, uint32_t length)
{
    struct handshake request;
    struct carrick_endpoint *endpoint;
    uint8_t nonce[HANDSHAKE_NONCE_BYTES] = {1};

    handshake_request_make(&request, &fake.a.manager->key, nonce); // the tag is no secret
    endpoint = stranger(request.request, sizeof(request.request));
    FAKE_UNTIL(endpoint->state == FAKE_CONNECTED);
    if (length > 0) {
        struct carrick_work work = {.struct_size = sizeof(work),
                                    .operation = CARRICK_OP_SEND,
                                    .local = (void *)(uintptr_t)bytes,
                                    .length = length};
        cr_assert_eq(fake_post(endpoint, &work, 1), CARRICK_OK);
    }
    FAKE_UNTIL(endpoint->state == FAKE_LOST);
    fake_close(endpoint, false);
    fake_device_close(fake_device("x0"));
}

Test(message_taken, strangers_get_nowhere_and_disturb_nobody)
{
    fake_start_up();
    uint64_t id = fake.a.manager->session.id;

    for (unsigned type = 1; type < MESSAGE_TYPE_COUNT; type++) {
        make(type);
        message.session = id;
        stranger_says(wire, (uint32_t)put());
    }
    stranger_says("", 1);
    memset(wire, 0xff, sizeof(wire));
    stranger_says(wire, sizeof(wire));
    stranger_says(NULL, 0); // says nothing: its time runs out
    for (unsigned i = 0; i <= HANDSHAKE_REQUEST_BYTES; i++) {
        struct carrick_endpoint *endpoint = stranger(wire, i);

        FAKE_UNTIL(endpoint->state == FAKE_LOST);
        fake_close(endpoint, false);
        fake_device_close(fake_device("x0"));
    }
    cr_assert_eq(fake.a.manager->session.id, id);
    cr_assert_eq(fake.a.manager->session.state, CARRICK_SESSION_UP);
    cr_assert_eq(fake.a.manager->links[0].failures, 0);
    cr_assert_eq(fake.a.manager->links[0].conn_count, 1);
}

Test(message_taken, half_open_handshakes_are_bounded_and_keep_nobody_out)
{
    struct handshake request;
    struct carrick_endpoint *endpoint[64];
    uint8_t nonce[HANDSHAKE_NONCE_BYTES] = {1};

    fake_node_start(&fake.a, "a");
    fake_run_ms(100);
    handshake_request_make(&request, &fake.a.manager->key, nonce);
    for (unsigned i = 0; i < 64; i++) {
        endpoint[i] = stranger(request.request, sizeof(request.request));
        fake_run_ms(1);
        cr_assert_leq(fake.a.manager->links[0].conn_count, 2 * CONNS_PER_LINK_MAX);
    }
    fake_node_start(&fake.b, "b");
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
    for (unsigned i = 0; i < 64; i++)
        fake_close(endpoint[i], false);
    fake_device_close(fake_device("x0"));
}

// Messages that a proven partner must not send.
static void partner_says(struct message *said)
{
    cr_assert(lane_send_message(&fake.b.manager->links[0].current->control, said));
    fake_run_ms(5);
}

Test(message_taken, what_a_partner_may_not_say_ends_the_connection_or_nothing)
{
    fake_start_up();
    for (unsigned type = 1; type < MESSAGE_TYPE_COUNT; type++) {
        if (type == MESSAGE_ENDING || type == MESSAGE_ENDED)
            continue; // these it may say
        make(type);   // of another session
        partner_says(&message);
        make(type);
        message.session = fake.a.manager->session.id;
        FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
        partner_says(&message);
        FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
    }
}
