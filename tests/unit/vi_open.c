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
