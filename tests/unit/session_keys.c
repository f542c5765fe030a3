// SPDX-License-Identifier: Apache-2.0
//
// Keys of regions: told over each link on its own, in whatever order the links deliver.
#include "core/conn.h"
#include "core/link.h"
#include "core/session.h"
#include "tests/unit/fake_world.h"

static struct carrick_client *a, *b;

static void setup(void)
{
    a = fake_client("a", "echo");
    b = fake_client("b", "echo");
    fake.links = 2;
    for (unsigned i = 0; i < 300; i++)
        fake_want(a, 64, FAKE_RW);
}

TestSuite(session_keys, .init = setup, .fini = fake_end);

static struct message keys_of(const struct manager *manager, uint32_t first, uint32_t total,
                              uint32_t count)
{
    struct message message = {.type = MESSAGE_KEYS,
                              .session = manager->session.id,
                              .keys = {.first = first, .total = total, .count = count}};

    for (uint32_t i = 0; i < count; i++)
        message.keys.key[i] =
            (struct carrick_remote_key){.base = 1000 + first + i, .key = first + i};
    return message;
}

// The other link's conn, while the table that says how many keys there are is still to come.
static struct conn *conn_before_the_table(void)
{
    const struct session *session;

    fake_start();
    session = &fake.a.manager->session;
    FAKE_UNTIL(session->state == CARRICK_SESSION_TELLING && session->told_clients &&
               !session->clients_known && fake.a.manager->links[0].current != NULL &&
               fake.a.manager->links[1].current != NULL);
    struct conn *conn = fake.a.manager->links[session->boot->link->index == 0 ? 1 : 0].current;
    cr_assert_eq(conn->keys_known, 0);
    return conn;
}

Test(session_keys, those_that_overtake_the_table_are_kept)
{
    struct conn *conn = conn_before_the_table();
    struct message message = keys_of(fake.a.manager, 0, 300, 100);

    conn_keys_message(conn, &message);
    cr_assert(conn_is_live(conn), "it was refused");
    cr_assert_eq(conn->keys_known, 100);
    message = keys_of(fake.a.manager, 100, 300, 100);
    conn_keys_message(conn, &message);
    cr_assert(conn_is_live(conn));
    cr_assert_eq(conn->keys[150].base, 1150);
    conn_fail(conn, CARRICK_ERR_RESET, "these were not real");
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
}

Test(session_keys, more_than_were_asked_for_are_not_kept)
{
    struct conn *conn = conn_before_the_table();
    struct message message = keys_of(fake.a.manager, 0, 301, 1);

    conn_keys_message(conn, &message);
    cr_assert(!conn_is_live(conn));
    cr_assert(conn->keys == NULL);
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
}

Test(session_keys, another_number_than_the_table_says_is_refused_when_it_comes)
{
    struct conn *conn = conn_before_the_table();
    struct message message = keys_of(fake.a.manager, 0, 299, 100);

    conn_keys_message(conn, &message);
    cr_assert(conn_is_live(conn));
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
    cr_assert(fake_logged("another number of keys"));
}

Test(session_keys, before_anything_was_asked_for_there_are_none)
{
    fake_start();
    FAKE_UNTIL(fake.a.manager->session.state == CARRICK_SESSION_READING &&
               fake.a.manager->links[0].current != NULL);
    struct conn *conn = fake.a.manager->links[0].current;
    struct message message = keys_of(fake.a.manager, 0, 1, 1);

    conn_keys_message(conn, &message);
    cr_assert(!conn_is_live(conn));
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
}

static void b_has_told_its_keys(bool told)
{
    for (unsigned i = 0; i < fake.links; i++) {
        struct conn *conn = fake.b.manager->links[i].current;

        conn->keys_sent = told;
        conn_advance(conn);
    }
}

// A link counts as up when the partner's keys are there, which may be after the session is.
Test(session_keys, a_slow_bring_up_is_no_loss_of_links)
{
    struct session *session;

    (void)conn_before_the_table();
    session = &fake.a.manager->session;
    FAKE_UNTIL(fake.b.manager->links[0].current != NULL &&
               fake.b.manager->links[1].current != NULL);
    b_has_told_its_keys(true);
    session->lost_since_ns = 1; // there was no link before this session, and for long
    FAKE_UNTIL(session->state == CARRICK_SESSION_UP);
    cr_assert(!link_is_up(&fake.a.manager->links[0]) && !link_is_up(&fake.a.manager->links[1]));
    cr_assert(session->lost_since_ns >= session->since_ns);
    session_tick(fake.a.manager, session->since_ns + 1);
    cr_assert_eq(session->state, CARRICK_SESSION_UP);
    b_has_told_its_keys(false);
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
    cr_assert_eq(session->lost_since_ns, 0);
}
