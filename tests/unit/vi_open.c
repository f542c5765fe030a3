// SPDX-License-Identifier: Apache-2.0
//
// VIs that are opened and closed while the session is up, also when the messages about it are lost with a link.
#include "tests/unit/fake_world.h"

static struct carrick_client *a, *b;

static void setup(void)
{
    a = fake_client("a", "echo");
    b = fake_client("b", "echo");
    fake.links = 2;
    fake_start_up();
}

TestSuite(vi_open, .init = setup, .fini = fake_end);

static struct carrick_vi *open_vi(struct carrick_client *client, uint32_t number)
{
    struct carrick_vi *vi = NULL;

    cr_assert_eq(client->host->vi_open(client->host, number, &vi), CARRICK_OK);
    cr_assert(vi != NULL);
    if (number < 64)
        client->vi[number] = vi;
    return vi;
}

static uint32_t state_of(struct carrick_client *client, uint32_t number)
{
    return client->vi[number] == NULL ? CARRICK_VI_CLOSED
                                      : ((struct vi *)client->vi[number])->state;
}

Test(vi_open, it_opens_when_both_have_opened_it)
{
    open_vi(a, 5);
    fake_run_ms(200);
    cr_assert_eq(state_of(a, 5), CARRICK_VI_OPENING);
    open_vi(b, 5);
    FAKE_UNTIL(state_of(a, 5) == CARRICK_VI_OPEN && state_of(b, 5) == CARRICK_VI_OPEN);
    cr_assert_eq(fake_send(a, 5, 1, "to b", 5), CARRICK_OK);
    cr_assert_eq(fake_send(b, 5, 2, "to a", 5), CARRICK_OK);
    FAKE_UNTIL(a->received == 1 && b->received == 1);
    cr_assert_str_eq((char *)a->message[0].bytes, "to a");
    cr_assert_eq(b->message[0].vi, 5);
}

Test(vi_open, both_at_once)
{
    open_vi(b, 9);
    open_vi(a, 9);
    FAKE_UNTIL(state_of(a, 9) == CARRICK_VI_OPEN && state_of(b, 9) == CARRICK_VI_OPEN);
}

Test(vi_open, what_cannot_be_opened)
{
    struct carrick_vi *vi;

    cr_assert_eq(a->host->vi_open(a->host, 0, &vi), CARRICK_ERR_EXISTS);
    cr_assert_eq(a->host->vi_open(a->host, CARRICK_CLIENT_VIS_MAX, &vi), CARRICK_ERR_LIMIT);
    cr_assert_eq(a->host->vi_open(a->host, UINT32_MAX, &vi), CARRICK_ERR_LIMIT);
    cr_assert_eq(a->host->vi_open(a->host, CARRICK_CLIENT_VIS_MAX - 1, &vi), CARRICK_OK);
    cr_assert_eq(a->host->vi_open(a->host, CARRICK_CLIENT_VIS_MAX - 1, &vi), CARRICK_ERR_EXISTS);
}

Test(vi_open, closing_completes_tells_and_closes_the_partners)
{
    fake_hold("a0", true, true);
    cr_assert_eq(fake_send(a, 0, 1, "x", 1), CARRICK_OK);
    cr_assert_eq(a->host->vi_close(a->vi[0]), CARRICK_OK);
    cr_assert_eq(a->changes, 0, "never from within the call");
    fake_go("a0");
    FAKE_UNTIL(state_of(a, 0) == CARRICK_VI_CLOSED && state_of(b, 0) == CARRICK_VI_CLOSED);
    cr_assert_eq(fake_done(a, 1, NULL), 1);
    cr_assert_eq(fake.a.manager->session.state, CARRICK_SESSION_UP);
}

Test(vi_open, opened_again_after_both_have_closed)
{
    for (unsigned i = 0; i < 5; i++) {
        cr_assert_eq(a->host->vi_close(a->vi[0]), CARRICK_OK);
        FAKE_UNTIL(state_of(a, 0) == CARRICK_VI_CLOSED && state_of(b, 0) == CARRICK_VI_CLOSED);
        fake_run_ms(50);
        open_vi(a, 0);
        open_vi(b, 0);
        FAKE_UNTIL(state_of(a, 0) == CARRICK_VI_OPEN && state_of(b, 0) == CARRICK_VI_OPEN);
        cr_assert_eq(fake_send(a, 0, 10 + i, "x", 1), CARRICK_OK);
        FAKE_UNTIL(b->received == i + 1);
    }
    cr_assert_eq(fake.a.manager->session.count, 1);
}

Test(vi_open, the_session_ends_with_vis_half_open)
{
    unsigned count = fake.a.manager->session.count;

    open_vi(a, 5);
    open_vi(b, 6);
    fake_run_ms(20);
    session_end(fake.a.manager, CARRICK_REASON_OPERATOR, "test");
    FAKE_UNTIL(fake.a.manager->session.count == count + 1 && fake_is_up(&fake.b));
    cr_assert_eq(vi_open_count(fake.a.manager), 1);
    cr_assert_eq(vi_open_count(fake.b.manager), 1);
}

Test(vi_open, an_opening_that_was_lost_with_a_link_is_said_again)
{
    fake_cut("a0");
    open_vi(a, 5); // goes by the first link, and nowhere
    open_vi(b, 5);
    fake_run_ms(500);
    fake_mend("a0");
    FAKE_UNTIL(state_of(a, 5) == CARRICK_VI_OPEN && state_of(b, 5) == CARRICK_VI_OPEN);
    cr_assert_eq(fake.a.manager->session.count, 1);
}

// ---- openings are told apart

Test(vi_open, nothing_of_an_earlier_opening_comes_into_a_later_one)
{
    fake_hold("a0", true, true);
    cr_assert_eq(fake_send(a, 0, 1, "old", 4), CARRICK_OK);
    cr_assert_eq(b->host->vi_close(b->vi[0]), CARRICK_OK);
    FAKE_UNTIL(state_of(b, 0) == CARRICK_VI_CLOSED);
    open_vi(b, 0);
    fake_run_ms(10);
    fake_go("a0");
    FAKE_UNTIL(state_of(a, 0) == CARRICK_VI_CLOSED);
    cr_assert_eq(b->received, 0, "it was sent to the VI that is closed");
    cr_assert_eq(state_of(b, 0), CARRICK_VI_OPENING);
    open_vi(a, 0);
    FAKE_UNTIL(state_of(a, 0) == CARRICK_VI_OPEN && state_of(b, 0) == CARRICK_VI_OPEN);
    cr_assert_eq(fake_send(a, 0, 2, "new", 4), CARRICK_OK);
    FAKE_UNTIL(b->received == 1);
    cr_assert_str_eq((char *)b->message[0].bytes, "new");
}

static void open_again_when_closed(struct carrick_client *client, struct carrick_vi *vi,
                                   uint32_t state)
{
    if (state == CARRICK_VI_CLOSED)
        open_vi(client, client->host->vi_number(vi));
}

Test(vi_open, the_end_of_one_opening_does_not_end_the_next)
{
    a->on_changed = b->on_changed = open_again_when_closed;
    for (unsigned i = 0; i < 20; i++) {
        FAKE_UNTIL(state_of(a, 0) == CARRICK_VI_OPEN && state_of(b, 0) == CARRICK_VI_OPEN);
        cr_assert_eq(((struct vi *)a->vi[0])->opening, ((struct vi *)b->vi[0])->opening);
        cr_assert_eq(fake_send(a, 0, i, "x", 1), CARRICK_OK);
        cr_assert_eq(a->host->vi_close(a->vi[0]), CARRICK_OK);
        if (i % 2 == 0)
            cr_assert_eq(b->host->vi_close(b->vi[0]), CARRICK_OK);
        fake_run_ms(5);
    }
    fake_run_ms(500);
    cr_assert_eq(state_of(a, 0), CARRICK_VI_OPEN);
    cr_assert_eq(state_of(b, 0), CARRICK_VI_OPEN);
    cr_assert_eq(a->changes, b->changes, "one side lived through more openings than the other");
    a->on_changed = b->on_changed = NULL;
}

Test(vi_open, what_was_sent_before_the_end_arrives_before_the_end)
{
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(fake_send(a, 0, i, "x", 1), CARRICK_OK);
    FAKE_UNTIL(a->completed == 3);
    cr_assert_eq(a->host->vi_close(a->vi[0]), CARRICK_OK);
    FAKE_UNTIL(state_of(a, 0) == CARRICK_VI_CLOSED);
    open_vi(a, 0);
    FAKE_UNTIL(state_of(b, 0) == CARRICK_VI_CLOSED);
    cr_assert_eq(b->received, 3);
    fake_run_ms(50);
    cr_assert_eq(state_of(a, 0), CARRICK_VI_OPENING, "b has not opened it anew");
    open_vi(b, 0);
    FAKE_UNTIL(state_of(a, 0) == CARRICK_VI_OPEN && state_of(b, 0) == CARRICK_VI_OPEN);
}

Test(vi_open, one_that_waits_goes_up_to_the_partners_number)
{
    // Nothing gets through for a moment, and nothing is lost.
    fake_cut("a0");
    fake_cut("a1");
    open_vi(b, 5);
    for (unsigned i = 0; i < 10; i++) {
        cr_assert_eq(a->host->vi_close(open_vi(a, 5)), CARRICK_OK);
        fake_run_ms(1);
        cr_assert(a->vi[5] == NULL);
    }
    open_vi(a, 5);
    fake_mend("a0");
    fake_mend("a1");
    fake_run_ms(200);
    // b's first may have been joined to a's first, and closed with it; the last ones find each other.
    if (b->vi[5] == NULL)
        open_vi(b, 5);
    FAKE_UNTIL(state_of(a, 5) == CARRICK_VI_OPEN && state_of(b, 5) == CARRICK_VI_OPEN);
    cr_assert_eq(((struct vi *)a->vi[5])->opening, ((struct vi *)b->vi[5])->opening);
    cr_assert_gt(((struct vi *)a->vi[5])->opening, 10);
    cr_assert_eq(fake_send(a, 5, 1, "x", 1), CARRICK_OK);
    cr_assert_eq(fake_send(b, 5, 1, "x", 1), CARRICK_OK);
    FAKE_UNTIL(a->received == 1 && b->received == 1);
    cr_assert_eq(fake.a.manager->session.count, 1);
}

// What the partner would say, in an order that only several links bring about.
static void say(struct fake_node *to, uint16_t type, uint32_t opening, uint32_t heard,
                uint64_t sends)
{
    struct message message = {
        .type = type,
        .session = to->manager->session.id,
        .vi = {.identity = 5, .opening = opening, .heard = heard, .sends = sends},
    };

    vi_message(to->manager, &message);
}

Test(vi_open, an_end_that_overtakes_the_opening_and_its_sends_waits_for_them)
{
    struct send_header header = {.vi = 5, .sequence = 1, .opening = 1};
    struct conn *conn = fake.b.manager->links[0].current;

    // a heard of this opening, joined its own to it, sent, and closed, before any of it came here.
    open_vi(b, 5);
    say(&fake.b, MESSAGE_VI_CLOSE, 1, 0, 2);
    fake_run_ms(10);
    cr_assert_neq(state_of(b, 5), CARRICK_VI_CLOSED, "two sends are still to come");
    cr_assert(vi_receive(conn, &header, "one", 4));
    header.sequence = 2;
    cr_assert(vi_receive(conn, &header, "two", 4));
    cr_assert_eq(b->received, 2);
    FAKE_UNTIL(state_of(b, 5) == CARRICK_VI_CLOSED);
    // The next one is not taken for it.
    open_vi(b, 5);
    header.sequence = 1;
    cr_assert(vi_receive(conn, &header, "old", 4));
    cr_assert_eq(b->received, 2);
}

Test(vi_open, none_is_joined_before_the_partner_knows_the_end_of_the_one_before)
{
    fake_cut("a0");
    fake_cut("a1");
    cr_assert_eq(b->host->vi_close(open_vi(b, 5)), CARRICK_OK);
    fake_run_ms(1);
    open_vi(b, 5);
    say(&fake.b, MESSAGE_VI_OPEN, 2, 0, 0);
    fake_run_ms(1);
    cr_assert_eq(state_of(b, 5), CARRICK_VI_OPENING);
    say(&fake.b, MESSAGE_VI_HEARD, 1, MESSAGE_VI_OPEN, 0);
    cr_assert_eq(state_of(b, 5), CARRICK_VI_OPENING, "that is not the answer to the end");
    say(&fake.b, MESSAGE_VI_HEARD, 1, MESSAGE_VI_CLOSE, 0);
    cr_assert_eq(state_of(b, 5), CARRICK_VI_OPEN);
    // Said twice, nothing of it means anything new.
    say(&fake.b, MESSAGE_VI_CLOSE, 1, 0, 0);
    say(&fake.b, MESSAGE_VI_OPEN, 1, 0, 0);
    say(&fake.b, MESSAGE_VI_HEARD, 1, MESSAGE_VI_CLOSE, 0);
    fake_run_ms(1);
    cr_assert_eq(state_of(b, 5), CARRICK_VI_OPEN);
    fake_mend("a0");
    fake_mend("a1");
}

// ---- nothing of it is lost

#define MANY 1500u

static uint32_t count_in(const struct manager *manager, uint32_t state)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < manager->clients[0].vis_room; i++)
        count += manager->clients[0].vis[i] != NULL && manager->clients[0].vis[i]->state == state;
    return count;
}

Test(vi_open, many_at_once)
{
    static struct carrick_vi *many[MANY];

    for (uint32_t i = 0; i < MANY; i++) {
        cr_assert_eq(a->host->vi_open(a->host, 100 + i, &many[i]), CARRICK_OK);
        open_vi(b, 100 + i);
    }
    FAKE_UNTIL(count_in(fake.a.manager, CARRICK_VI_OPEN) == MANY + 1 &&
               count_in(fake.b.manager, CARRICK_VI_OPEN) == MANY + 1);
    for (uint32_t i = 0; i < MANY; i++)
        cr_assert_eq(a->host->vi_close(many[i]), CARRICK_OK);
    FAKE_UNTIL(vi_open_count(fake.a.manager) == 1 && vi_open_count(fake.b.manager) == 1);
    cr_assert_eq(fake.a.manager->session.count, 1);
}

Test(vi_open, a_close_that_was_lost_with_a_link_is_said_again)
{
    fake_cut("a0");
    cr_assert_eq(a->host->vi_close(a->vi[0]), CARRICK_OK);
    FAKE_UNTIL(state_of(b, 0) == CARRICK_VI_CLOSED);
    cr_assert_eq(fake.b.manager->session.count, 1);
    fake_mend("a0");
}

Test(vi_open, what_the_partner_knows_is_not_said_again)
{
    open_vi(a, 5);
    cr_assert_eq(a->host->vi_close(a->vi[0]), CARRICK_OK);
    fake_run_ms(500);
    cr_assert(!fake.a.manager->vis_unheard);
    cr_assert(fake.a.manager->telling == NULL);
    cr_assert(!fake.b.manager->vis_unheard);
}
