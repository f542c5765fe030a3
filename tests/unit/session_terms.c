// SPDX-License-Identifier: Apache-2.0
//
// What a client's configuration must have in common with its partner's is compared before anything is built, and both
// operators are told what differs.
#include "tests/unit/fake_world.h"

static struct carrick_client *a, *b;

static void setup(void)
{
    fake.clients[0] = "echo,mirror";
    a = fake_client("a", "mirror");
    b = fake_client("b", "mirror");
    a->terms = b->terms = "groups: g1 g2\ngroup g1: home a\n";
}

TestSuite(session_terms, .init = setup, .fini = fake_end);

static bool both_refuse(void)
{
    return fake.a.manager->session.refused.reason == CARRICK_REASON_CONFIGURATION &&
           fake.b.manager->session.refused.reason == CARRICK_REASON_CONFIGURATION;
}

static void says(const struct fake_node *node, const char *text)
{
    cr_assert(strstr(node->manager->session.refused.text, text) != NULL, "it says: %s",
              node->manager->session.refused.text);
}

Test(session_terms, the_same_are_no_hindrance)
{
    b->terms = "group g1: home a\ngroups: g1 g2\nextra: what one alone has\n";
    fake_start_up();
}

Test(session_terms, a_difference_is_refused_and_said_on_both_nodes)
{
    b->terms = "groups: g1 g2\ngroup g1: home b\n";
    fake_want(a, 4096, FAKE_RW);
    fake_start();
    FAKE_UNTIL(both_refuse());
    says(&fake.a, "client mirror, group g1: ");
    says(&fake.a, "a has \"home a\"");
    says(&fake.b, "b has \"home b\"");
    cr_assert_eq(b->provided, 0, "something was built");
    b->terms = a->terms;
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
}

Test(session_terms, how_long_it_has_been_so_is_kept)
{
    b->terms = "groups: g2 g1\n";
    fake_start();
    FAKE_UNTIL(both_refuse());
    uint64_t began_ns = fake.a.manager->session.refused.at_ns;
    uint32_t failures = fake.a.manager->session.failures;
    FAKE_UNTIL(fake.a.manager->session.failures >= failures + 3);
    cr_assert(both_refuse());
    cr_assert_eq(fake.a.manager->session.refused.at_ns, began_ns);
}

// Its own mistake: the partner need not hear of it.
Test(session_terms, what_are_no_terms_are_not_told)
{
    a->terms = "no colon\n";
    fake_start();
    FAKE_UNTIL(fake.a.manager->session.refused.reason == CARRICK_REASON_RESOURCES);
    cr_assert(fake_logged("describe failed or asked for what is not allowed"));
    a->terms = b->terms;
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
}
