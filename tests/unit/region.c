// SPDX-License-Identifier: Apache-2.0
//
// Regions: registered on every link, in the lengths that were asked for; kept, or made anew, from session to session; and
// ended in whatever state they are.
#include "tests/unit/fake_world.h"

static struct carrick_client *a, *b;

static void setup(void)
{
    a = fake_client("a", "echo");
    b = fake_client("b", "echo");
    fake.links = 2;
}

TestSuite(region, .init = setup, .fini = fake_end);

static struct region *core_region(struct carrick_region *region)
{
    return (struct region *)region;
}

static void session_again(void)
{
    unsigned count = fake.a.manager->session.count;

    session_end(fake.a.manager, CARRICK_REASON_OPERATOR, "test");
    FAKE_UNTIL(fake.a.manager->session.count == count + 1 && fake_is_up(&fake.a) &&
               fake_is_up(&fake.b));
}

Test(region, bounds_do_not_wrap)
{
    struct region region = {.bytes = 1000};

    cr_assert(region_holds(&region, 0, 0));
    cr_assert(region_holds(&region, 0, 1000));
    cr_assert(region_holds(&region, 1000, 0));
    cr_assert(!region_holds(&region, 1001, 0));
    cr_assert(!region_holds(&region, 0, 1001));
    cr_assert(!region_holds(&region, 1, 1000));
    cr_assert(!region_holds(&region, UINT64_MAX, 1));
    cr_assert(!region_holds(&region, 1, UINT64_MAX));
    cr_assert(!region_holds(&region, UINT64_MAX, UINT64_MAX));
}

Test(region, a_clients_memory_is_zeroed_and_ready_on_all_links)
{
    fake_start_up();
    struct carrick_region *region = fake_region(a, 10000);
    uint8_t *memory = fake_memory(a, region);

    cr_assert_eq((uintptr_t)memory % 4096, 0);
    for (unsigned i = 0; i < 10000; i++)
        cr_assert_eq(memory[i], 0);
    cr_assert_geq(a->host->region_bytes(region), 10000);
    FAKE_UNTIL(region_ready(core_region(region), &fake.a.manager->links[0]) &&
               region_ready(core_region(region), &fake.a.manager->links[1]));
    cr_assert_eq(a->host->region_create(a->host, 0, &region), CARRICK_ERR_INVALID);
    fake.a.env.memory_fails = CARRICK_ERR_NO_MEMORY;
    cr_assert_eq(a->host->region_create(a->host, 4096, &region), CARRICK_ERR_NO_MEMORY);
    fake.a.env.memory_fails = 0;
}

Test(region, made_in_ready_it_can_be_used_at_once)
{
    fake_want(a, 4096, FAKE_RW);
    fake_start_up();
    // Registration takes its time; what is posted meanwhile waits for it, and nothing else does.
    fake_device("a0")->hold_registered = true;
    struct carrick_region *region = fake_region(a, 4096);
    cr_assert_eq(fake_write(a, 0, 1, region, 0, 8, 0), CARRICK_OK);
    fake_run_ms(100);
    cr_assert_eq(a->completed, 0);
    fake_let_registered("a0");
    FAKE_UNTIL(a->completed == 1);
}

Test(region, destroyed_while_it_is_being_registered)
{
    fake_start_up();
    unsigned memories = fake.a.env.memories;

    fake_device("a0")->hold_registered = true;
    struct carrick_region *region = fake_region(a, 4096);
    cr_assert_eq(a->host->region_destroy(region), CARRICK_OK);
    fake_run_ms(100);
    cr_assert_eq(fake.a.env.memories, memories + 1, "a device may still be reading it");
    fake_let_registered("a0");
    FAKE_UNTIL(fake.a.env.memories == memories);
}

Test(region, the_session_ends_while_it_is_being_registered)
{
    fake_start_up();
    unsigned count = fake.a.manager->session.count;

    fake_device("a0")->hold_registered = true;
    fake_region(a, 4096);
    session_end(fake.a.manager, CARRICK_REASON_OPERATOR, "test");
    fake_run_ms(200);
    fake_let_registered("a0");
    FAKE_UNTIL(fake.a.manager->session.count == count + 1 && fake_is_up(&fake.a));
}

Test(region, the_partner_reaches_exactly_what_it_asked_for)
{
    fake_want(a, 1000, FAKE_RW);
    fake_start_up();
    struct carrick_region *region = fake_region(a, 8192);
    const struct carrick_remote_key *keys = fake.a.manager->links[0].current->keys;
    struct lane_item item = {.operation = CARRICK_OP_WRITE,
                             .local = fake_memory(a, region),
                             .region = core_region(region),
                             .length = 1000,
                             .remote = keys[0].base,
                             .key = keys[0].key};

    fake_run_ms(10);
    cr_assert_eq(a->info.there_bytes[0], 1000);
    cr_assert_eq(lane_post(&fake.a.manager->links[0].current->lanes[0], &item, 1), CARRICK_OK);
    fake_run_ms(10);
    cr_assert_eq(fake_net.access_errors, 0);
    // Its page is longer, but what lies behind the region is not the partner's.
    item.length = 1001;
    cr_assert_eq(lane_post(&fake.a.manager->links[0].current->lanes[0], &item, 1), CARRICK_OK);
    fake_run_ms(10);
    cr_assert_eq(fake_net.access_errors, 1);
}

Test(region, keys_of_an_earlier_session_reach_nothing)
{
    fake_want(a, 4096, FAKE_RW);
    fake_start_up();
    struct carrick_remote_key old = fake.a.manager->links[0].current->keys[0];

    session_again();
    cr_assert_neq(fake.a.manager->links[0].current->keys[0].key, old.key);
    cr_assert_neq(fake.b.manager->inbox->on[0].key.key, 0);
}

Test(region, what_the_partner_asked_for_stays_while_it_asks_for_the_same)
{
    fake_want(a, 4096, FAKE_RW);
    fake_want(a, 8192, CARRICK_ACCESS_REMOTE_READ);
    fake_start_up();
    fake_here(b, 0)[17] = 'x';
    fake_here(b, 1)[18] = 'y';
    session_again();
    cr_assert_eq(fake_here(b, 0)[17], 'x', "what lies in it outlives the session");
    cr_assert_eq(fake_here(b, 1)[18], 'y');
    cr_assert_eq(b->provided, 4, "it is asked for its backing in each bring-up");
    // Another size, another access, one less: made anew, the others stay.
    a->want[1].bytes = 8193;
    session_again();
    cr_assert_eq(fake_here(b, 0)[17], 'x');
    cr_assert_eq(fake_here(b, 1)[18], 0);
    a->want[0].access = CARRICK_ACCESS_REMOTE_WRITE;
    session_again();
    cr_assert_eq(fake_here(b, 0)[17], 0);
    a->wants = 0;
    session_again();
    cr_assert_eq(b->info.here_count, 0);
    a->wants = 2;
    session_again();
    cr_assert_eq(b->info.here_count, 2);
    cr_assert_eq(fake_here(b, 1)[18], 0);
}

static int file_of(char fill)
{
    int fd = memfd_create("backing", MFD_CLOEXEC);

    cr_assert(fd >= 0);
    for (unsigned i = 0; i < 2 * FAKE_PAGE; i++)
        cr_assert_eq(write(fd, &fill, 1), 1);
    return fd;
}

Test(region, a_client_may_provide_another_backing_for_each_session)
{
    int first = file_of('1'), second = file_of('2'), again;

    fake_want(a, 4096, FAKE_RW);
    b->backed = true;
    b->backing_fd = first;
    fake_start_up();
    cr_assert_eq(fake_here(b, 0)[0], '1');
    // The same file by another descriptor is the same memory.
    unsigned maps = fake.b.env.maps;
    again = dup(first);
    b->backing_fd = again;
    session_again();
    cr_assert_eq(fake_here(b, 0)[0], '1');
    cr_assert_eq(fake.b.env.maps, maps, "it was mapped anew");
    // Another place in it is not, nor is another file.
    b->backing_offset = FAKE_PAGE;
    fake_here(b, 0)[0] = 'x';
    session_again();
    cr_assert_eq(fake_here(b, 0)[0], '1');
    b->backing_offset = 0;
    session_again();
    cr_assert_eq(fake_here(b, 0)[0], 'x');
    b->backing_fd = second;
    session_again();
    cr_assert_eq(fake_here(b, 0)[0], '2');
    // What the partner wrote is where the client said.
    struct carrick_region *region = fake_region(a, 4096);
    memset(fake_memory(a, region), 'w', 8);
    fake_run_ms(10);
    cr_assert_eq(fake_write(a, 0, 1, region, 0, 8, 0), CARRICK_OK);
    FAKE_UNTIL(a->completed == 1);
    char written[8];
    cr_assert_eq(pread(second, written, 8, 0), 8);
    cr_assert_eq(written[7], 'w');
    // Without a descriptor it is fresh memory, which is kept from then on.
    b->backed = false;
    session_again();
    cr_assert_eq(fake_here(b, 0)[0], 0);
    fake_here(b, 0)[0] = 'k';
    session_again();
    cr_assert_eq(fake_here(b, 0)[0], 'k');
    b->backed = true;
    session_again();
    cr_assert_eq(fake_here(b, 0)[0], 'w');
    close(first);
    close(second);
    close(again);
}

Test(region, local_memory_is_whole_pages)
{
    fake_start_up();
    cr_assert_eq(a->host->region_bytes(fake_region(a, 10000)), 3 * FAKE_PAGE);
}

Test(region, a_client_that_the_partner_lost_does_not_keep_the_session_down)
{
    fake.clients[0] = "echo,mirror";
    fake_want(fake_client("a", "mirror"), 4096, FAKE_RW);
    fake_want(fake_client("b", "mirror"), 4096, FAKE_RW);
    fake_start_up();
    struct carrick_client *mirror = fake_client("a", "mirror");
    fake_here(mirror, 0)[5] = 'x';
    fake_node_end(&fake.b);
    fake.clients[1] = "echo";
    fake_node_start(&fake.b, "b");
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
    cr_assert(!mirror->up, "it has nobody to talk to");
    // And when it comes back, what was kept is still there.
    fake_node_end(&fake.b);
    fake.clients[1] = "echo,mirror";
    fake_node_start(&fake.b, "b");
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b) && mirror->up);
    cr_assert_eq(fake_here(mirror, 0)[5], 'x');
}

Test(region, a_link_whose_device_comes_late_gets_its_registrations)
{
    fake_want(a, 4096, FAKE_RW);
    fake_want(b, 4096, FAKE_RW);
    fake_device("a1")->gone = true;
    fake_start();
    FAKE_UNTIL(fake.a.manager->session.state == CARRICK_SESSION_UP);
    cr_assert(!link_is_up(&fake.a.manager->links[1]));
    fake_run_ms(1000);
    fake_device("a1")->gone = false;
    FAKE_UNTIL(link_is_up(&fake.a.manager->links[1]) && link_is_up(&fake.b.manager->links[1]));
    cr_assert_eq(fake.a.manager->session.count, 1);
}

Test(region, a_device_that_is_removed_and_comes_back)
{
    fake_want(a, 4096, FAKE_RW);
    fake_start_up();
    struct carrick_region *region = fake_region(a, 4096);

    fake_run_ms(10);
    fake_device("a0")->gone = true;
    fake_device_event("a0", CARRICK_EVENT_DEVICE_REMOVED);
    FAKE_UNTIL(!fake_device("a0")->open);
    cr_assert_eq(fake_write(a, 0, 1, region, 0, 8, 0), CARRICK_OK);
    FAKE_UNTIL(a->completed == 1);
    cr_assert_eq(a->completion[0].status, CARRICK_OK);
    cr_assert_eq(fake.a.manager->session.count, 1);
    fake_device("a0")->gone = false;
    FAKE_UNTIL(fake_is_up(&fake.a) && fake_is_up(&fake.b));
    cr_assert(region_ready(core_region(region), &fake.a.manager->links[0]));
}

static unsigned lines_of(const char *text)
{
    unsigned lines = 0;

    for (unsigned i = 0; i < FAKE_LOG_LINES; i++)
        lines += strstr(fake_time.line[i], text) != NULL;
    return lines;
}

// Registers nothing on a0, for these words, until it was tried more often.
static void fails(const char *why, unsigned tries)
{
    struct carrick_device *device = fake_device("a0");
    unsigned until = device->domains_made + tries;

    device->register_fails = CARRICK_ERR_LIMIT;
    device->register_why = why;
    FAKE_UNTIL(device->domains_made >= until);
}

Test(region, why_it_fails_is_shown_and_logged_once_however_often_it_is_tried)
{
    struct link *link;

    fake_start_up();
    link = &fake.a.manager->links[0];
    for (unsigned round = 1; round <= 2; round++) {
        fake_device("a0")->register_fails = CARRICK_ERR_LIMIT;
        cr_assert(fake_region(a, 4096) != NULL);
        fails("too much to lock", 5);
        cr_assert_str_eq(link->cause, "too much to lock");
        fails("no such memory", 2);
        fails("too much to lock", 2);
        fails("no such memory", 2);
        fails(NULL, 2);
        cr_assert_str_eq(link->cause, "memory could not be registered: limit");
        cr_assert_eq(lines_of("a 3 link-cause link0: too much to lock"), round);
        cr_assert_eq(lines_of("a 3 link-cause link0: no such memory"), round);
        cr_assert_eq(lines_of("a 3 link-cause link0: memory could not be registered: limit"),
                     round);
        cr_assert_lt(fake_time.lines, FAKE_LOG_LINES, "lines were lost");
        fake_device("a0")->register_fails = CARRICK_OK;
        FAKE_UNTIL(link_is_up(link)); // it went well: the next time is news
    }
}

Test(region, a_registration_that_fails_leaves_the_other_link)
{
    fake_want(a, 4096, FAKE_RW);
    fake_start_up();
    fake_device("a0")->register_fails = CARRICK_ERR_NO_MEMORY;
    struct carrick_region *region = fake_region(a, 4096);
    fake_device("a0")->register_fails = 0;
    fake_run_ms(10);
    cr_assert(region_ready(core_region(region), &fake.a.manager->links[1]));
    cr_assert(fake_logged("registered"), "nobody was told");
    // What is posted goes by the other link, or by this one when it has begun again.
    cr_assert_eq(fake_write(a, 0, 1, region, 0, 8, 0), CARRICK_OK);
    FAKE_UNTIL(a->completed == 1);
    FAKE_UNTIL(region_ready(core_region(region), &fake.a.manager->links[0]) && fake_is_up(&fake.a));
    cr_assert_eq(fake.a.manager->session.count, 1);
}

Test(region, many_are_told_in_many_messages)
{
    for (unsigned i = 0; i < 1000; i++)
        fake_want(a, 64, FAKE_RW);
    for (unsigned i = 0; i < 500; i++)
        fake_want(b, 64, FAKE_RW);
    fake_start_up();
    struct carrick_region *region = fake_region(a, 4096);
    uint8_t *memory = fake_memory(a, region);
    for (unsigned i = 0; i < 1000; i++)
        *(uint32_t *)(memory + i * 4) = i;
    fake_run_ms(10);
    for (unsigned i = 0; i < 1000; i += 10) {
        struct carrick_op ops[10];

        for (unsigned j = 0; j < 10; j++)
            ops[j] = fake_op(CARRICK_CLIENT_WRITE, i + j, region, (i + j) * 4, 4, i + j, 60);
        FAKE_UNTIL(a->host->vi_room(a->vi[0]) >= 10);
        cr_assert_eq(a->host->post(a->vi[0], ops, 10), CARRICK_OK);
    }
    FAKE_UNTIL(a->completed == 1000);
    for (unsigned i = 0; i < 1000; i++)
        cr_assert_eq(*(uint32_t *)(fake_here(b, i) + 60), i);
}
