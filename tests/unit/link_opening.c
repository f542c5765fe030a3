// SPDX-License-Identifier: Apache-2.0
//
// A transport that opens its device on a worker: the link asks again until it has it.
#include "tests/unit/fake_world.h"

TestSuite(link_opening, .fini = fake_end);

static struct link *link_of_b(void)
{
    return &fake.b.manager->links[0];
}

Test(link_opening, is_no_failure_and_costs_no_back_off)
{
    fake_device("b0")->slow = true;
    fake_start();
    uint32_t backoff_ms = link_of_b()->backoff_ms;
    fake_run_ms(500);
    cr_assert_eq(link_of_b()->device, NULL);
    cr_assert_eq(link_of_b()->backoff_ms, backoff_ms);
    cr_assert_str_empty(link_of_b()->cause);
    cr_assert_not(link_failed_here(link_of_b()));
    fake_device("b0")->slow = false;
    // It asks at least every 100 ms.
    fake_run_ms(100);
    cr_assert(fake_device("b0")->open);
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
}

Test(link_opening, what_has_failed_before_stays_so_while_it_is_tried_again)
{
    fake_device("b0")->gone = true;
    fake_start();
    FAKE_UNTIL(strstr(link_of_b()->cause, "there is no device b0") != NULL);
    cr_assert(link_failed_here(link_of_b()));
    fake_device("b0")->slow = true;
    fake_run_ms(5000);
    cr_assert(link_failed_here(link_of_b()));
    cr_assert(strstr(link_of_b()->cause, "there is no device b0") != NULL);
    fake_device("b0")->slow = fake_device("b0")->gone = false;
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
    cr_assert_not(link_failed_here(link_of_b()));
}

Test(link_opening, ends_with_the_manager)
{
    fake_device("b0")->slow = true;
    fake_start();
    fake_run_ms(50);
    manager_stop(fake.b.manager);
    FAKE_UNTIL(fake.b.stopped);
}
