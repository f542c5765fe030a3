// SPDX-License-Identifier: Apache-2.0
//
// Services: what clients of one node offer to each other.
#include "tests/unit/fake_world.h"

static struct carrick_client *a, *b;

static void setup(void)
{
    a = fake_client("a", "echo");
    b = fake_client("b", "echo");
    fake_start_up();
}

TestSuite(service, .init = setup, .fini = fake_end);

Test(service, what_was_offered_is_found_on_that_node_alone)
{
    static const uint32_t table = sizeof(table);
    int object;
    const void *found_table;
    void *found;

    cr_assert_eq(a->host->service_offer(a->host, "log", &table, &object), CARRICK_OK);
    cr_assert_eq(a->host->service_find(a->host, "log", &found_table, &found), CARRICK_OK);
    cr_assert_eq(found_table, &table);
    cr_assert_eq(found, &object);
    cr_assert_eq(b->host->service_find(b->host, "log", &found_table, &found),
                 CARRICK_ERR_NOT_FOUND);
}

Test(service, a_name_is_offered_once)
{
    static const uint32_t table = sizeof(table);
    char name[CARRICK_NAME_MAX + 2];

    cr_assert_eq(a->host->service_offer(a->host, "log", &table, NULL), CARRICK_OK);
    cr_assert_eq(a->host->service_offer(a->host, "log", &table, NULL), CARRICK_ERR_EXISTS);
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    cr_assert_eq(a->host->service_offer(a->host, name, &table, NULL), CARRICK_ERR_INVALID);
    cr_assert_eq(a->host->service_offer(a->host, "", &table, NULL), CARRICK_ERR_INVALID);
    cr_assert_eq(a->host->service_offer(a->host, "none", NULL, NULL), CARRICK_ERR_INVALID);
}

Test(service, their_number_is_bounded)
{
    static const uint32_t table = sizeof(table);
    char name[16];

    for (unsigned i = 0; i < SERVICES_MAX; i++) {
        snprintf(name, sizeof(name), "s%u", i);
        cr_assert_eq(a->host->service_offer(a->host, name, &table, NULL), CARRICK_OK);
    }
    cr_assert_eq(a->host->service_offer(a->host, "more", &table, NULL), CARRICK_ERR_LIMIT);
}

Test(service, without_an_arbiter_in_the_configuration_there_is_no_such_service)
{
    const void *table;
    void *object;

    cr_assert_eq(a->host->service_find(a->host, "arbiter", &table, &object), CARRICK_ERR_NOT_FOUND);
}
