// SPDX-License-Identifier: Apache-2.0
// needs plugin: shelf
//
// A burst of reads goes with one look at the partner's promise: all of it is asked before the burst ends.
#include "shelf_world.h"

#define CONFIG                                                                                     \
    "{\"shelves\":[{\"name\":\"d1\",\"group\":\"g1\",\"path\":\"/d1\",\"bytes\":524288}]}"

static uint32_t asked, asked_at_commit, commits;

static int ask_counted(struct carrick_log *log, void (*fn)(void *arg, bool fresh), void *arg)
{
    asked++;
    return log_read_barrier(log, fn, arg);
}

static void commit_counted(struct carrick_log *log)
{
    log_commit(log);
    commits++;
    asked_at_commit = asked;
}

Test(shelf_look, a_burst_of_reads_is_asked_for_before_it_ends)
{
    static struct carrick_log_ops ops;
    static uint8_t data[32][512];
    struct node *alpha;
    struct user user;

    world_begin(1);
    ops = fake_log_ops;
    ops.read_barrier = ask_counted;
    ops.commit = commit_counted;
    alpha = &world.nodes[0];
    node_start(alpha, CONFIG);
    alpha->client->log_ops = &ops;
    log_role(alpha, CARRICK_LOG_OWNER, CARRICK_MIRROR_BOTH, 1, UINT64_MAX);
    world_settle();
    cr_assert_eq(user_open(&user, alpha, "d1"), CARRICK_OK);
    asked = commits = 0;
    for (uint32_t i = 0; i < 32; i++)
        cr_assert_eq(user_ask(&user, CARRICK_BLOCK_READ, i * 4096, 512, data[i], 0, i), CARRICK_OK);
    cr_assert_eq(commits, 0, "a look begins within the burst");
    alpha->block->submit_end(user.export_);
    cr_assert_eq(commits, 1);
    cr_assert_eq(asked, 32);
    cr_assert_eq(asked_at_commit, 32);
    cr_assert_eq(user.answers, 0, "answered before anybody looked");
    world_settle();
    cr_assert_eq(user.answers, 32);
    cr_assert_eq(user.last_status, CARRICK_OK);
    user_close(&user);
    world_end();
}
