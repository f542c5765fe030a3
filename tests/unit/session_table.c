// SPDX-License-Identifier: Apache-2.0
//
// Every event in every state, against a table that was written from the protocol and not from the code; the deadline of
// each state; and a partner that stops at any point.
#include "tests/unit/fake_world.h"

#define STATES CARRICK_SESSION_STATE_COUNT
#define EVENTS SESSION_EVENT_COUNT

// What leads on, what an asked end and an immediate one lead to. Everything not named here changes nothing.
static const struct {
    enum carrick_session_state state;
    enum session_event event;
    enum carrick_session_state next;
} expected[] = {
    {CARRICK_SESSION_IDLE, SESSION_EVENT_JOINED, CARRICK_SESSION_READING},
    {CARRICK_SESSION_READING, SESSION_EVENT_READ, CARRICK_SESSION_WRITING},
    {CARRICK_SESSION_WRITING, SESSION_EVENT_WROTE, CARRICK_SESSION_CHECKING},
    {CARRICK_SESSION_CHECKING, SESSION_EVENT_TAKEN, CARRICK_SESSION_TELLING},
    {CARRICK_SESSION_TELLING, SESSION_EVENT_TOLD, CARRICK_SESSION_BUILDING},
    {CARRICK_SESSION_BUILDING, SESSION_EVENT_BUILT, CARRICK_SESSION_READY},
    {CARRICK_SESSION_READY, SESSION_EVENT_BOTH_READY, CARRICK_SESSION_UP},
    // Only a session that is up has clients to warn.
    {CARRICK_SESSION_UP, SESSION_EVENT_END, CARRICK_SESSION_ENDING},
    {CARRICK_SESSION_IDLE, SESSION_EVENT_END, CARRICK_SESSION_CLOSING},
    {CARRICK_SESSION_READING, SESSION_EVENT_END, CARRICK_SESSION_CLOSING},
    {CARRICK_SESSION_WRITING, SESSION_EVENT_END, CARRICK_SESSION_CLOSING},
    {CARRICK_SESSION_CHECKING, SESSION_EVENT_END, CARRICK_SESSION_CLOSING},
    {CARRICK_SESSION_TELLING, SESSION_EVENT_END, CARRICK_SESSION_CLOSING},
    {CARRICK_SESSION_BUILDING, SESSION_EVENT_END, CARRICK_SESSION_CLOSING},
    {CARRICK_SESSION_READY, SESSION_EVENT_END, CARRICK_SESSION_CLOSING},
    {CARRICK_SESSION_IDLE, SESSION_EVENT_OVER, CARRICK_SESSION_CLOSING},
    {CARRICK_SESSION_READING, SESSION_EVENT_OVER, CARRICK_SESSION_CLOSING},
    {CARRICK_SESSION_WRITING, SESSION_EVENT_OVER, CARRICK_SESSION_CLOSING},
    {CARRICK_SESSION_CHECKING, SESSION_EVENT_OVER, CARRICK_SESSION_CLOSING},
    {CARRICK_SESSION_TELLING, SESSION_EVENT_OVER, CARRICK_SESSION_CLOSING},
    {CARRICK_SESSION_BUILDING, SESSION_EVENT_OVER, CARRICK_SESSION_CLOSING},
    {CARRICK_SESSION_READY, SESSION_EVENT_OVER, CARRICK_SESSION_CLOSING},
    {CARRICK_SESSION_UP, SESSION_EVENT_OVER, CARRICK_SESSION_CLOSING},
    {CARRICK_SESSION_ENDING, SESSION_EVENT_OVER, CARRICK_SESSION_CLOSING},
    {CARRICK_SESSION_CLOSING, SESSION_EVENT_CLOSED, CARRICK_SESSION_IDLE},
};

static enum carrick_session_state next_of(unsigned state, unsigned event)
{
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        if (expected[i].state == state && expected[i].event == event)
            return expected[i].next;
    return (enum carrick_session_state)state;
}

Test(session_table, every_event_in_every_state)
{
    for (unsigned state = 0; state < STATES; state++)
        for (unsigned event = 0; event < EVENTS; event++)
            cr_expect_eq(session_next((enum carrick_session_state)state, (enum session_event)event),
                         next_of(state, event), "%s in %s leads to %s",
                         session_event_name((enum session_event)event), session_state_name(state),
                         session_state_name(session_next((enum carrick_session_state)state,
                                                         (enum session_event)event)));
}

Test(session_table, every_state_can_be_left)
{
    for (unsigned state = 0; state < STATES; state++) {
        bool left = false;

        for (unsigned event = 0; event < EVENTS; event++)
            left |=
                session_next((enum carrick_session_state)state, (enum session_event)event) != state;
        cr_expect(left, "nothing leads out of %s", session_state_name(state));
    }
}

Test(session_table, events_have_names_of_their_own)
{
    for (unsigned i = 0; i < EVENTS; i++)
        for (unsigned j = 0; j < i; j++)
            cr_assert_str_neq(session_event_name((enum session_event)i),
                              session_event_name((enum session_event)j));
}

// ---- deadlines

TestSuite(session_deadline, .fini = fake_end);

static uint64_t limit_ms(const struct config_timers *timers, unsigned state)
{
    if (state == CARRICK_SESSION_ENDING)
        return timers->ending_ms;
    return (state >= CARRICK_SESSION_READING && state <= CARRICK_SESSION_READY) ||
                   state == CARRICK_SESSION_CLOSING
               ? timers->bringup_ms
               : 0;
}

Test(session_deadline, each_state_has_the_one_of_the_protocol)
{
    const struct session *session;
    bool seen[STATES] = {false};

    fake.timers = "\"bringup_ms\":1234,\"ending_ms\":777";
    fake_start();
    session = &fake.a.manager->session;
    for (unsigned i = 0; i < 20000 && (!seen[CARRICK_SESSION_IDLE] || session->count < 2); i++) {
        uint64_t want_ms = limit_ms(&fake.a.manager->section->timers, session->state);

        cr_assert_eq(session->deadline_ns, want_ms == 0 ? 0 : session->since_ns + want_ms * ENV_MS,
                     "in %s", session_state_name(session->state));
        seen[session->state] = true;
        if (session->state == CARRICK_SESSION_UP && session->count == 1 && !session->end_asked)
            session_end(fake.a.manager, CARRICK_REASON_OPERATOR, "test");
        fake_step(UINT64_MAX);
    }
    cr_assert_eq(session->count, 2);
    for (unsigned state = CARRICK_SESSION_READING; state <= CARRICK_SESSION_ENDING; state++)
        cr_assert(seen[state] || state == CARRICK_SESSION_BUILDING, "%s was never seen",
                  session_state_name(state));
}

// The partner's manager stops after so many steps; its transport goes on answering what it can without it.
static bool partner_stops_after(unsigned steps, bool *seen, bool *refused)
{
    const struct session *session;
    const struct config_timers *timers;
    uint64_t stopped_ns;
    bool was_up;

    fake_start();
    session = &fake.a.manager->session;
    timers = &fake.a.manager->section->timers;
    while (steps-- > 0 && !(fake_is_up(&fake.a) && fake_is_up(&fake.b)))
        fake_step(UINT64_MAX);
    was_up = fake_is_up(&fake.a) && fake_is_up(&fake.b);
    fake.b.env.frozen = true;
    stopped_ns = fake_time.now_ns;
    while (fake_time.now_ns < stopped_ns + 4ull * timers->bringup_ms * ENV_MS) {
        seen[session->state] = true;
        *refused |= session->refused.reason == CARRICK_REASON_DEADLINE;
        if (session->state >= CARRICK_SESSION_READING && session->state <= CARRICK_SESSION_READY)
            cr_assert_leq(fake_time.now_ns - session->since_ns,
                          (timers->bringup_ms + 2ull * timers->probe_ms) * ENV_MS,
                          "half up, in %s, beyond the deadline",
                          session_state_name(session->state));
        if (session->state == CARRICK_SESSION_CLOSING || session->state == CARRICK_SESSION_ENDING)
            cr_assert_leq(fake_time.now_ns - session->since_ns, 2000 * ENV_MS);
        if (!fake_step(UINT64_MAX))
            break;
    }
    fake.b.env.frozen = false;
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b) &&
               fake.a.manager->session.id == fake.b.manager->session.id);
    fake_end();
    return was_up;
}

Test(session_deadline, a_partner_that_stops_anywhere, .fini = NULL)
{
    bool seen[STATES] = {false}, refused = false;
    unsigned steps = 0;

    while (!partner_stops_after(steps, seen, &refused)) {
        steps++;
        cr_assert_lt(steps, 400);
    }
    cr_assert_gt(steps, 10);
    cr_assert(refused, "no deadline was ever the reason");
    for (unsigned state = CARRICK_SESSION_READING; state <= CARRICK_SESSION_UP; state++)
        cr_assert(seen[state] || state == CARRICK_SESSION_BUILDING, "it never stopped us in %s",
                  session_state_name(state));
}

// The wire is cut after so many steps.
static bool silence_after(unsigned steps)
{
    bool was_up;

    fake_start();
    while (steps-- > 0 && !(fake_is_up(&fake.a) && fake_is_up(&fake.b)))
        fake_step(UINT64_MAX);
    was_up = fake_is_up(&fake.a) && fake_is_up(&fake.b);
    fake_cut("a0");
    fake_run_ms(10000);
    cr_assert_eq(fake.a.manager->session.state, CARRICK_SESSION_IDLE);
    cr_assert_eq(fake.b.manager->session.state, CARRICK_SESSION_IDLE);
    fake_mend("a0");
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
    fake_end();
    return was_up;
}

Test(session_deadline, silence_anywhere, .fini = NULL)
{
    unsigned steps = 0;

    while (!silence_after(steps++))
        cr_assert_lt(steps, 400);
}

// The partner dies, and another comes in its place.
static bool restart_after(unsigned steps)
{
    bool was_up;

    fake_start();
    while (steps-- > 0 && !(fake_is_up(&fake.a) && fake_is_up(&fake.b)))
        fake_step(UINT64_MAX);
    was_up = fake_is_up(&fake.a) && fake_is_up(&fake.b);
    fake_node_end(&fake.b);
    fake_node_start(&fake.b, "b");
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b) &&
               fake.a.manager->session.partner_incarnation == fake.b.manager->incarnation &&
               fake.b.manager->session.partner_incarnation == fake.a.manager->incarnation);
    fake_end();
    return was_up;
}

Test(session_deadline, a_restart_anywhere, .fini = NULL)
{
    unsigned steps = 0;

    while (!restart_after(steps++))
        cr_assert_lt(steps, 400);
}
