// SPDX-License-Identifier: Apache-2.0
//
// What becomes of messages: a table that is changed between its announcement and its use, what differs between the nodes,
// what strangers say, and a partner who says what it may not.
#include "tests/unit/fake_world.h"

#include "message_make.h"

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
        cr_assert_lt(fake_time.now_ns - FAKE_BEGIN_NS, 5000 * ENV_MS, "no announcement was seen");
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
        message_make(type);
        message.session = id;
        stranger_says(wire, (uint32_t)message_made());
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
            continue;       // these it may say
        message_make(type); // of another session
        partner_says(&message);
        message_make(type);
        message.session = fake.a.manager->session.id;
        FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
        partner_says(&message);
        FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
    }
}
