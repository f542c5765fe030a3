// SPDX-License-Identifier: Apache-2.0
//
// The partner's word alone does not take this node's memory: what it asks for is counted before anything is mapped.
#include "tests/unit/fake_world.h"

#define MIB (1ull << 20)

static struct carrick_client *a, *b;

static void setup(void)
{
    fake.clients[0] = "echo,mirror";
    a = fake_client("a", "echo");
    b = fake_client("b", "echo");
}

TestSuite(session_memory, .init = setup, .fini = fake_end);

static void limit_is(struct fake_node *node, uint32_t mib)
{
    node->config->managers[0].partner_memory_mib = mib;
}

static void start_with(uint32_t mib)
{
    struct carrick_error error = {.struct_size = sizeof(error)};

    fake_defaults();
    cr_assert_eq(fake_node_create(&fake.a, "a"), CARRICK_OK);
    cr_assert_eq(fake_node_create(&fake.b, "b"), CARRICK_OK);
    limit_is(&fake.b, mib);
    cr_assert_eq(manager_start(fake.a.manager, &error), CARRICK_OK);
    cr_assert_eq(manager_start(fake.b.manager, &error), CARRICK_OK);
}

static bool both_refuse(void)
{
    return fake.a.manager->session.refused.reason == CARRICK_REASON_RESOURCES &&
           fake.b.manager->session.refused.reason == CARRICK_REASON_RESOURCES;
}

Test(session_memory, as_much_as_is_allowed)
{
    fake_want(a, 3 * MIB, FAKE_RW);
    fake_want(fake_client("a", "mirror"), MIB, FAKE_RW);
    start_with(4);
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
    cr_assert_eq(a->completed, 0);
}

Test(session_memory, more_than_is_allowed_in_all_is_refused_before_it_is_mapped)
{
    fake_want(a, 3 * MIB, FAKE_RW);
    fake_want(fake_client("a", "mirror"), MIB + 1, FAKE_RW);
    start_with(4);
    unsigned maps = fake.b.env.maps;
    FAKE_UNTIL(both_refuse());
    cr_assert_eq(fake.b.env.maps, maps, "memory was mapped for it");
    cr_assert_eq(b->provided, 0);
    // Both sides can say how much, and which key.
    cr_assert(strstr(fake.a.manager->session.refused.text, "5 MiB") != NULL, "%s",
              fake.a.manager->session.refused.text);
    cr_assert(strstr(fake.a.manager->session.refused.text, "partner_memory_mib allows 4") != NULL);
    cr_assert(fake_logged("partner_memory_mib"));
    limit_is(&fake.b, 5);
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
}

Test(session_memory, small_regions_count_in_pages)
{
    for (unsigned i = 0; i < 257; i++)
        fake_want(a, 1, FAKE_RW);
    start_with(1);
    FAKE_UNTIL(both_refuse());
    a->wants = 256;
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
}

Test(session_memory, sums_do_not_wrap)
{
    fake_want(a, UINT64_MAX - 4096, FAKE_RW);
    fake_want(a, UINT64_MAX / 2 + 1, FAKE_RW);
    fake_want(a, UINT64_MAX / 2 + 1, FAKE_RW);
    start_with(16777216);
    FAKE_UNTIL(both_refuse());
    a->want[0].bytes = 4096;
    fake.a.manager->session.refused.reason = fake.b.manager->session.refused.reason = 0;
    FAKE_UNTIL(both_refuse());
    cr_assert_eq(b->provided, 0);
}

Test(session_memory, what_is_kept_for_a_client_that_is_away_makes_room)
{
    struct carrick_client *mirror = fake_client("a", "mirror");

    fake_want(a, MIB, FAKE_RW);
    fake_want(mirror, 3 * MIB, FAKE_RW);
    start_with(4);
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
    unsigned with = fake.b.env.memories;
    fake_node_end(&fake.a);
    fake.clients[0] = "echo";
    a->want[0].bytes = 2 * MIB;
    fake_node_start(&fake.a, "a");
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
    cr_assert_eq(fake.b.env.memories, with - 1);
}
