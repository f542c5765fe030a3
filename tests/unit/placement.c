// SPDX-License-Identifier: Apache-2.0
//
// Which link carries which VI: what the policy sees, what its answers do, and what it cannot do.
#include "tests/unit/fake_world.h"

static struct carrick_client *a, *b;
static int32_t answer;

static int32_t choose_answer(const struct carrick_policy_input *input)
{
    (void)input;
    return answer;
}

static void start(const char *timers)
{
    a = fake_client("a", "echo");
    b = fake_client("b", "echo");
    fake.links = 3;
    fake.timers = timers;
    fake_want(a, 1u << 20, FAKE_RW);
    fake_start_up();
}

TestSuite(placement, .fini = fake_end);

static uint32_t link_of(struct carrick_client *client, uint32_t vi)
{
    cr_assert(fake_vi(client, vi)->lane != NULL);
    return fake_vi(client, vi)->lane->conn->link->index;
}

// Asks the policy anew for a's VI.
static void placed_anew(void)
{
    struct vi *vi = fake_vi(a, 0);

    vi_unplace(vi);
    placement_place(vi);
}

Test(placement, the_answer_is_taken)
{
    start("");
    fake_policy.choose = choose_answer;
    for (answer = 2; answer >= 0; answer--) {
        placed_anew();
        cr_assert_eq(link_of(a, 0), (uint32_t)answer);
    }
    answer = 0;
}

Test(placement, an_answer_out_of_range_is_the_first_that_is_eligible)
{
    static const int32_t answers[] = {
        3, 1000, INT32_MAX, INT32_MIN, -3, CARRICK_POLICY_NONE, CARRICK_POLICY_BUSY};

    start("");
    link_admin_down(&fake.a.manager->links[0], "test");
    fake_run_ms(50);
    fake_policy.choose = choose_answer;
    for (unsigned i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        answer = answers[i];
        placed_anew();
        cr_assert_eq(link_of(a, 0), 1, "answer %d", answer);
    }
    answer = 0; // it is down
    placed_anew();
    cr_assert_eq(link_of(a, 0), 1);
}

Test(placement, busy_lets_a_vi_stay_where_it_is)
{
    start("");
    fake_policy.choose = choose_answer;
    answer = 2;
    placed_anew();
    answer = CARRICK_POLICY_BUSY;
    placement_link_up(&fake.a.manager->links[0]); // spreads anew
    cr_assert_eq(link_of(a, 0), 2);
}

Test(placement, without_a_link_it_waits_and_the_policy_is_not_asked)
{
    start("\"session_lost_ms\":60000");
    for (unsigned i = 0; i < 3; i++)
        link_admin_down(&fake.a.manager->links[i], "test");
    fake_run_ms(100);
    unsigned asked = fake_policy.asked;
    placement_place(fake_vi(a, 0));
    cr_assert_eq(fake_vi(a, 0)->lane, NULL);
    cr_assert_eq(fake_vi(a, 0)->state, CARRICK_VI_STALLED);
    cr_assert_eq(fake_policy.asked, asked);
    link_admin_up(&fake.a.manager->links[1]);
    FAKE_UNTIL(fake_vi(a, 0)->lane != NULL);
    cr_assert_eq(link_of(a, 0), 1);
}

Test(placement, the_policy_sees_what_is_there)
{
    struct carrick_region *region;

    start("");
    region = fake_region(a, 4096);
    fake_run_ms(100);
    fake_hold("a0", true, true);
    cr_assert_eq(fake_write(a, 0, 1, region, 0, 1000, 0), CARRICK_OK);
    link_admin_down(&fake.a.manager->links[2], "test");
    uint64_t sequence = fake.a.manager->policy_sequence;
    placement_link_up(&fake.a.manager->links[1]);
    cr_assert_eq(fake_policy.input.sequence, sequence);
    cr_assert_eq(fake.a.manager->policy_sequence, sequence + 1);
    cr_assert_eq(fake_policy.input.link_count, 3);
    cr_assert_eq(fake_policy.input.current, 0);
    cr_assert_eq(fake_policy.input.vi, fake_vi(a, 0)->identity);
    cr_assert_eq(fake_policy.seen[0].eligible, 1);
    cr_assert_eq(fake_policy.seen[0].vis, 1);
    cr_assert_geq(fake_policy.seen[0].inflight_bytes, 1000);
    cr_assert_geq(fake_policy.seen[0].inflight_ops, 1);
    cr_assert_str_eq(fake_policy.seen[1].name, "link1");
    cr_assert_eq(fake_policy.seen[1].vis, 0);
    cr_assert_eq(fake_policy.seen[1].weight_permille, 1000);
    cr_assert_eq(fake_policy.seen[2].eligible, 0);
    fake_go("a0");
}

Test(placement, after_a_flap_a_link_is_held_and_then_starts_slowly)
{
    start("\"hold_ms\":1000");
    cr_assert(!link_is_held(&fake.a.manager->links[0]), "the first time costs nothing");
    fake_reset("a0");
    FAKE_UNTIL(!link_is_up(&fake.a.manager->links[0]));
    FAKE_UNTIL(link_is_up(&fake.a.manager->links[0]));
    cr_assert(link_is_held(&fake.a.manager->links[0]));
    FAKE_UNTIL(fake_vi(a, 0)->lane != NULL);
    cr_assert_eq(link_of(a, 0), 1);
    placed_anew();
    cr_assert_eq(fake_policy.seen[0].eligible, 0);
    FAKE_UNTIL(!link_is_held(&fake.a.manager->links[0]));
    fake_run_ms(3000);
    placed_anew();
    cr_assert_eq(fake_policy.seen[0].eligible, 1);
    cr_assert_gt(fake_policy.seen[0].weight_permille, 100);
    cr_assert_lt(fake_policy.seen[0].weight_permille, 900);
    fake_run_ms(20000);
    placed_anew();
    cr_assert_eq(fake_policy.seen[0].weight_permille, 1000);
}

// The least crowded for its weight; a VI moves only where it is less crowded even with it.
static int32_t choose_by_weight(const struct carrick_policy_input *input)
{
    uint64_t least = UINT64_MAX;
    int32_t best = CARRICK_POLICY_NONE;

    for (int32_t i = 0; i < (int32_t)input->link_count; i++) {
        const struct carrick_policy_link *link = carrick_policy_link_at(input, (uint32_t)i);
        uint64_t crowd = (link->vis + (i != input->current)) * 1000000ull /
                         (link->weight_permille > 0 ? link->weight_permille : 1);

        if (!link->eligible || crowd > least || (crowd == least && i != input->current))
            continue;
        least = crowd;
        best = i;
    }
    return best;
}

Test(placement, a_link_in_slow_start_takes_one_vi_after_another_and_gives_none_back)
{
    enum { VIS = 12, HOLD_MS = 200 };
    struct link *link;
    uint64_t taken_ns[VIS];
    uint32_t at[VIS], taken = 0;

    fake_policy.choose = choose_by_weight;
    fake_client("a", "echo")->vis = VIS;
    start("\"hold_ms\":200");
    link = &fake.a.manager->links[0];
    cr_assert_eq(link->vis, VIS / 3);
    fake_reset("a0");
    FAKE_UNTIL(!link_is_up(link));
    FAKE_UNTIL(link_is_up(link));
    fake_run_ms(HOLD_MS / 2);
    for (uint32_t i = 0; i < VIS; i++) {
        at[i] = link_of(a, i);
        cr_assert_neq(at[i], 0, "it is held");
    }
    for (unsigned i = 0; i < 20 * HOLD_MS; i++) {
        fake_run_ms(1);
        for (uint32_t j = 0; j < VIS; j++) {
            if (link_of(a, j) == at[j])
                continue;
            at[j] = link_of(a, j);
            cr_assert_eq(at[j], 0, "VI %u went elsewhere", j);
            taken_ns[taken++] = fake_time.now_ns - link->hold_until_ns;
        }
    }
    cr_assert_eq(taken, VIS / 3, "it took %u", taken);
    for (uint32_t i = 1; i < taken; i++)
        cr_assert_geq(taken_ns[i] - taken_ns[i - 1], (HOLD_MS - 50) * ENV_MS,
                      "two in one step of the slow start");
    unsigned asked = fake_policy.asked;
    fake_run_ms(10000);
    cr_assert_eq(fake_policy.asked, asked, "when it is over, no VI is asked about any more");
}

Test(placement, only_those_that_will_move_pause_for_it)
{
    enum { VIS = 12, HOLD_MS = 200 };
    struct carrick_region *region;
    struct link *link;
    unsigned bound = 0;

    fake_policy.choose = choose_by_weight;
    fake_client("a", "echo")->vis = VIS;
    start("\"hold_ms\":200");
    region = fake_region(a, 4096);
    link = &fake.a.manager->links[0];
    fake_reset("a0");
    FAKE_UNTIL(!link_is_up(link));
    FAKE_UNTIL(link_is_up(link));
    // With all VIs busy comes the step at which it is worth the while for one of them.
    fake_run_ms((link->hold_until_ns - fake_time.now_ns) / ENV_MS + HOLD_MS - 1);
    fake_hold("a1", true, true);
    fake_hold("a2", true, true);
    for (uint32_t i = 0; i < VIS; i++)
        cr_assert_eq(fake_write(a, i, i, region, 0, 8, i * 8), CARRICK_OK);
    fake_run_ms(40);
    for (uint32_t i = 0; i < VIS; i++)
        bound += fake_vi(a, i)->bound == link;
    cr_assert_eq(bound, 1);
    fake_go("a1");
    fake_go("a2");
    FAKE_UNTIL(a->completed == VIS);
    cr_assert_eq(link->vis, 1);
    fake_run_ms(20 * HOLD_MS);
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_eq(fake.a.manager->links[i].vis, VIS / 3);
        cr_assert_eq(fake.a.manager->links[i].vis_due, 0);
    }
}

Test(placement, a_hold_counts_only_while_another_link_is_there)
{
    start("\"hold_ms\":5000,\"session_lost_ms\":60000");
    link_admin_down(&fake.a.manager->links[1], "test");
    link_admin_down(&fake.a.manager->links[2], "test");
    fake_run_ms(50);
    fake_reset("a0");
    FAKE_UNTIL(!link_is_up(&fake.a.manager->links[0]));
    FAKE_UNTIL(link_is_up(&fake.a.manager->links[0]));
    FAKE_UNTIL(fake_vi(a, 0)->lane != NULL);
    cr_assert(link_is_held(&fake.a.manager->links[0]));
}

Test(placement, the_hold_grows_with_each_flap_and_is_bounded)
{
    start("\"hold_ms\":10");
    struct link *link = &fake.a.manager->links[0];
    uint64_t before = 0, hold = 0;

    for (unsigned i = 0; i < 10; i++) {
        fake_reset("a0");
        FAKE_UNTIL(!link_is_up(link));
        FAKE_UNTIL(link_is_up(link));
        hold = link->hold_until_ns - link->up_since_ns;
        cr_assert_geq(hold, before);
        before = hold;
    }
    cr_assert_gt(hold, 10 * ENV_MS);
    cr_assert_leq(hold, 10 * ENV_MS * 64);
}

Test(placement, a_link_that_stayed_up_for_long_is_not_held_after_a_command)
{
    start("\"hold_ms\":10");
    struct link *link = &fake.a.manager->links[0];

    fake_reset("a0");
    FAKE_UNTIL(!link_is_up(link));
    FAKE_UNTIL(link_is_up(link));
    cr_assert(link_is_held(link));
    fake_run_ms(3600 * 1000);
    link_admin_down(link, "test");
    fake_run_ms(50);
    link_admin_up(link);
    FAKE_UNTIL(link_is_up(link));
    cr_assert(!link_is_held(link), "for a failure of an hour ago");
}

Test(placement, a_busy_vi_drains_before_it_moves)
{
    struct carrick_region *region;

    start("");
    region = fake_region(a, 4096);
    fake_run_ms(10);
    fake_hold("a0", true, true);
    cr_assert_eq(fake_write(a, 0, 1, region, 0, 8, 0), CARRICK_OK);
    fake_policy.choose = choose_answer;
    answer = 1;
    placement_link_up(&fake.a.manager->links[1]);
    cr_assert_eq(link_of(a, 0), 0, "two lanes keep no order between them");
    cr_assert_eq(fake_write(a, 0, 2, region, 0, 8, 100), CARRICK_OK);
    cr_assert_eq(fake_vi(a, 0)->inflight, 1);
    fake_go("a0");
    FAKE_UNTIL(a->completed == 2);
    cr_assert_eq(link_of(a, 0), 1);
    cr_assert_eq(fake_posted("a1", CARRICK_OP_WRITE, 8), 1);
}

Test(placement, a_policy_that_refuses_its_new_configuration_leaves_the_old_one)
{
    struct carrick_error error = {.struct_size = sizeof(error)};
    struct config_plugin policy;

    start("");
    policy = fake.a.manager->section->policy;
    policy.config.json = (char *)(uintptr_t) "{\"refuse\":1}";
    unsigned destroyed = fake_policy.destroyed;
    cr_assert_eq(placement_reload(fake.a.manager, &policy, &error), CARRICK_ERR_CONFIG);
    cr_assert_eq(fake_policy.destroyed, destroyed);
    placed_anew();
    snprintf(policy.plugin, sizeof(policy.plugin), "nothing");
    cr_assert_eq(placement_reload(fake.a.manager, &policy, &error), CARRICK_ERR_NOT_FOUND);
    placed_anew();
    cr_assert_eq(placement_reload(fake.a.manager, &fake.a.manager->section->policy, &error),
                 CARRICK_OK);
    cr_assert_eq(fake_policy.destroyed, destroyed + 1);
    placed_anew();
}
