// SPDX-License-Identifier: Apache-2.0
//
// What devices would lock is summed up, and refused as a whole, before anything of it is registered.
#include "tests/unit/fake_world.h"

#define MIB (1ull << 20)

static struct carrick_client *a;

static void setup(void)
{
    fake.links = 2;
    fake.clients[0] = "echo";
    a = fake_client("a", "echo");
}

TestSuite(session_locked, .init = setup, .fini = fake_end);

static void limit_is(uint64_t bytes)
{
    fake_device("b0")->caps.max_locked_bytes = bytes;
    fake_device("b1")->caps.max_locked_bytes = bytes;
}

static bool refused_both(void)
{
    return fake.a.manager->session.refused.reason == CARRICK_REASON_RESOURCES &&
           fake.b.manager->session.refused.reason == CARRICK_REASON_RESOURCES;
}

static uint64_t most_registered;

static void watch_registrations(void)
{
    uint64_t now = fake_device("b0")->registrations + fake_device("b1")->registrations;

    most_registered = now > most_registered ? now : most_registered;
}

#define UNTIL_WATCHED(condition) FAKE_UNTIL((watch_registrations(), (condition)))

// What b locks with nothing asked for by its partner.
static uint64_t own_of_b(void)
{
    limit_is(UINT64_MAX);
    fake_start_up();
    uint64_t own = fake.b.env.locked;
    fake_end();
    return own;
}

Test(session_locked, without_a_limit_nothing_is_counted)
{
    fake_want(a, MIB, FAKE_RW);
    fake_start_up();
    cr_assert_eq(fake.b.env.locked, 0);
}

Test(session_locked, each_link_counts)
{
    uint64_t own = own_of_b();

    fake_want(a, MIB, FAKE_RW);
    fake_want(a, 1, FAKE_RW); // in whole pages
    limit_is(own + 2 * (MIB + FAKE_PAGE));
    fake_start_up();
    cr_assert_eq(fake.b.env.locked, own + 2 * (MIB + FAKE_PAGE));
    cr_assert_gt(own, 2 * 512 * 4352); // its send buffers alone
}

Test(session_locked, what_the_partner_asks_for_is_refused_before_it_is_registered)
{
    uint64_t own = own_of_b();

    fake_want(a, MIB, FAKE_RW);
    fake_want(a, MIB, FAKE_RW);
    limit_is(own + 4 * MIB - 1);
    fake_start();
    unsigned maps = fake.b.env.maps;
    UNTIL_WATCHED(refused_both());
    cr_assert_eq(fake.b.env.maps, maps, "memory was mapped for it");
    cr_assert_eq(most_registered, 2 * 4, "something of it was registered");
    char sum[64];
    snprintf(sum, sizeof(sum), "%llu KiB of memory would be locked: 2 link(s)",
             (unsigned long long)(own / 1024 + 4096));
    // The same at both nodes: whichever the operator looks at names the node that has to be mended.
    struct manager *const told[] = {fake.a.manager, fake.b.manager};
    for (unsigned i = 0; i < 2; i++) {
        const char *text = told[i]->session.refused.text;
        cr_assert(strstr(text, sum) != NULL, "%s", text);
        cr_assert(strstr(text, "2048 KiB for the partner") != NULL, "%s", text);
        cr_assert(strstr(text, "node b may lock") != NULL, "%s", text);
        cr_assert(strstr(text, "LimitMEMLOCK=infinity") != NULL, "%s", text);
        cr_assert(strstr(text, "ulimit -l unlimited") != NULL, "%s", text);
    }
    // The limit is asked for anew: no restart is needed.
    limit_is(own + 4 * MIB);
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
}

static unsigned lines_of(const char *begin)
{
    unsigned lines = 0;

    for (unsigned i = 0; i < FAKE_LOG_LINES; i++)
        lines += strncmp(fake_time.line[i], begin, strlen(begin)) == 0;
    return lines;
}

static void attempts(unsigned more)
{
    unsigned until = fake.b.manager->session.failures + more;

    FAKE_UNTIL(fake.b.manager->session.failures >= until);
}

Test(session_locked, it_is_logged_once)
{
    uint64_t own = own_of_b();

    fake_want(a, MIB, FAKE_RW);
    limit_is(own);
    fake_start();
    UNTIL_WATCHED(refused_both());
    attempts(4);
    cr_assert_eq(lines_of("b 4 session-refused"), 1);
}

Test(session_locked, another_cause_is_logged_once_too_and_none_again_by_turns)
{
    uint64_t own = own_of_b();

    fake_want(a, MIB, FAKE_RW);
    limit_is(own);
    fake_start();
    for (unsigned i = 0; i < 4; i++) {
        limit_is(own + i % 2 * MIB);
        attempts(2);
    }
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(lines_of(i == 0 ? "a 4 session-refused" : "b 4 session-refused"), 2);
        cr_assert_lt(fake_time.lines, FAKE_LOG_LINES, "lines were lost");
    }
    limit_is(own + 4 * MIB);
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
    limit_is(own);
    fake_node_end(&fake.a);
    fake_node_start(&fake.a, "a");
    attempts(2);
    cr_assert_eq(lines_of("b 4 session-refused"), 3, "it went well meanwhile");
}

Test(session_locked, what_this_node_has_itself_is_refused_at_the_start)
{
    uint64_t own = own_of_b();

    limit_is(own - 1);
    fake_start();
    FAKE_UNTIL(strstr(fake.b.manager->links[1].cause, "would be locked") != NULL);
    const char *cause = fake.b.manager->links[1].cause;
    cr_assert(strstr(cause, "+ 0 KiB for the partner") != NULL, "%s", cause);
    cr_assert_eq(fake_device("b1")->registrations, 0);
    cr_assert_eq(fake_device("b1")->domains, 0);
    limit_is(own);
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
}

Test(session_locked, other_managers_count)
{
    uint64_t own = own_of_b();

    fake_want(a, MIB, FAKE_RW);
    limit_is(own + 2 * MIB + 4096);
    fake_start();
    fake.b.env.locked_others = 4097;
    UNTIL_WATCHED(refused_both());
    cr_assert(strstr(fake.b.manager->session.refused.text, "beside 5 KiB of other managers") !=
                  NULL,
              "%s", fake.b.manager->session.refused.text);
    fake.b.env.locked_others = 4096;
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
    fake_node_end(&fake.a);
    FAKE_UNTIL(fake.b.manager->session.state == CARRICK_SESSION_IDLE);
    cr_assert_eq(fake.b.env.locked, own, "what was asked for is given back");
}

Test(session_locked, a_link_that_comes_later_and_has_no_room_stays_down_alone)
{
    uint64_t own = own_of_b();

    fake_want(a, MIB, FAKE_RW);
    limit_is(own / 2 + MIB);
    fake_device("b1")->gone = true;
    fake_start();
    FAKE_UNTIL(fake.b.manager->session.state == CARRICK_SESSION_UP);
    fake_device("b1")->gone = false;
    FAKE_UNTIL(strstr(fake.b.manager->links[1].cause, "would be locked") != NULL);
    cr_assert_eq(fake.b.manager->session.state, CARRICK_SESSION_UP);
    cr_assert_eq(fake.b.env.locked, own / 2 + MIB);
    limit_is(own + 2 * MIB);
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
}
