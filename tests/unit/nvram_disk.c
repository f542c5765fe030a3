// SPDX-License-Identifier: Apache-2.0
// needs plugin: nvram_shadow
//
// Copies in files: acknowledged when both are synced; after a loss of power, with any part of the unsynced writes in the
// file, every acknowledged record is found. Also: levels that cannot be reached, disks that fail, configurations.
#include "nvram_users.h"

#include <errno.h>

TestSuite(nvram_disk, .fini = w_end, .timeout = 120);

static void file_config(void)
{
    snprintf(u_config, sizeof u_config,
             "{\"groups\":[{\"name\":\"g1\",\"home\":\"alpha\",\"log_bytes\":4194304,\"backing\":"
             "\"file\",\"path\":\"/disk/%%n\"}]}");
}

static struct carrick_file *disk_of(int node)
{
    for (int i = 0; i < W_STORES; i++)
        if (world.files[i].now != NULL && strstr(world.files[i].path, node ? "beta" : "alpha"))
            return &world.files[i];
    return NULL;
}

// Power is lost: sectors of unsynced writes are there, or not.
static void power_lost(int node)
{
    struct carrick_file *file = disk_of(node);

    w_kill(node);
    for (uint32_t i = 0; i < file->unsynced_count; i++) {
        struct w_write *write = &file->unsynced[i];

        for (uint64_t at = 0; at < write->length; at += 512)
            if (w_random() & 1)
                memcpy(file->certain + write->offset + at, write->data + at,
                       write->length - at < 512 ? write->length - at : 512);
        free(write->data);
    }
    file->unsynced_count = 0;
    memcpy(file->now, file->certain, file->bytes);
}

// The shadow has it in its file, and says so, before its owner hears that the write has landed.
Test(nvram_disk, a_word_that_is_quicker_than_its_proof_is_not_lost)
{
    struct nv_message message = {.kind = NV_SYNCED};
    uint8_t bytes[NV_MESSAGE_BYTES];

    file_config();
    u_pair();
    world.held[0] = true;
    u_append(0, 0, 1000);
    u_commit(0);
    w_run_ms(5);
    message.first = users[1].log->ring.first;
    message.last = message.persisted = 1;
    nv_message_encode(&message, bytes);
    w_ops()->received(world.nodes[0].client, users[0].log->vi, bytes, sizeof bytes);
    w_run_ms(5);
    cr_assert_eq(users[0].acknowledged, 0, "the word alone is no proof");
    world.held[1] = true; // it is said once
    world.held[0] = false;
    w_run_ms(100);
    cr_assert_eq(users[0].acknowledged, 1);
    // Of what was never written nothing counts.
    message.last = message.persisted = message.synced = 7;
    nv_message_encode(&message, bytes);
    w_ops()->received(world.nodes[0].client, users[0].log->vi, bytes, sizeof bytes);
    u_append(0, 1, 1000);
    w_run_ms(100);
    cr_assert_eq(users[0].acknowledged, 1);
}

// The owner loses power before its head says what it gave up, and after the shadow's says so. The shadow's copy begins
// later than the owner's from then on, and is not to be waited for.
Test(nvram_disk, a_shadow_whose_copy_begins_later_takes_what_is_written)
{
    struct carrick_generation one = u_generation(1, 0, 0);

    file_config();
    users[0].syncs = users[1].syncs = false;
    u_pair();
    for (uint64_t i = 0; i < 60; i++)
        u_append(0, i, 60000);
    w_run_ms(100);
    cr_assert_eq(users[0].acknowledged, 60);
    disk_of(0)->fails = EIO;
    nv_log_ops.synced(users[1].log, 60);
    nv_log_ops.synced(users[0].log, 60);
    w_run_ms(100);
    cr_assert_eq(u_copy(1).first, 61);
    power_lost(0);
    disk_of(0)->fails = 0;
    u_start(0);
    cr_assert_eq(u_copy(0).first, 1);
    cr_assert_eq(CALL(serve, users[0].log, &one, CARRICK_MIRROR_BOTH), CARRICK_OK);
    w_session();
    w_run_ms(100);
    u_told_exactly(0, 60);
    nv_log_ops.synced(users[0].log, 60);
    w_run_ms(100);
    cr_assert_eq(u_copy(0).first, 61);
    u_append(0, 60, 900000);
    w_run_ms(200);
    cr_assert_eq(users[0].acknowledged, u_copy(0).last, "it waits for room that is there");
}

Test(nvram_disk, acknowledged_only_when_both_files_are_synced)
{
    file_config();
    u_pair();
    disk_of(1)->fails = ENOSPC;
    u_append(0, 0, 1000);
    w_run_ms(50);
    cr_assert_eq(users[0].acknowledged, 0);
    cr_assert(w_said(1, "No space left"));
    disk_of(1)->fails = 0;
    w_run_ms(500);
    cr_assert_eq(users[0].acknowledged, 1);
    disk_of(0)->fails = EIO;
    u_append(0, 1, 1000);
    w_run_ms(50);
    cr_assert_eq(users[0].acknowledged, 1);
    disk_of(0)->fails = 0;
    w_run_ms(500);
    cr_assert_eq(users[0].acknowledged, 2);
    u_told_exactly(1, 2);
}

// An owner that goes alone while its disk fails: the partner's copy, under the new generation, must not count before the
// owner's own bears that generation, whenever it ends.
Test(nvram_disk, partner_counts_again_only_when_the_owners_file_bears_the_generation)
{
    struct carrick_generation two = u_generation(2, 1, 1);

    for (unsigned history = 0; history < 2; history++) {
        bool mended = history == 1;

        w_end();
        file_config();
        users[0].syncs = users[1].syncs = false;
        u_pair();
        u_append(0, 0, 1000);
        w_run_ms(50);
        cr_assert_eq(users[0].acknowledged, 1);
        w_kill(1);
        disk_of(0)->fails = ENOSPC;
        cr_assert_eq(CALL(set_mirror, users[0].log, CARRICK_MIRROR_ALONE, &two), CARRICK_OK);
        u_start(1);
        cr_assert_eq(CALL(follow, users[1].log, &two, 1, false), CARRICK_OK);
        w_session();
        w_run_ms(5);
        cr_assert_eq(CALL(resync, users[0].log, u_copy(1).last, false), CARRICK_OK);
        w_run_ms(500);
        cr_assert_eq(u_copy(1).condition, CARRICK_LOG_WHOLE, "it was not brought up to date");
        cr_assert_eq(u_mirror(0).log.state, CARRICK_RESYNC_RUNNING);
        cr_assert_eq(CALL(set_mirror, users[0].log, CARRICK_MIRROR_JOINING, NULL),
                     CARRICK_ERR_STATE);
        disk_of(0)->fails = 0;
        if (mended) {
            w_run_ms(500);
            cr_assert_eq(u_mirror(0).log.state, CARRICK_RESYNC_EQUAL);
            cr_assert_eq(CALL(set_mirror, users[0].log, CARRICK_MIRROR_JOINING, NULL), CARRICK_OK);
        }
        power_lost(0);
        u_start(0);
        cr_assert_eq(u_copy(0).generation.number, mended ? 2 : 1);
    }
}

Test(nvram_disk, every_acknowledged_record_after_loss_of_power)
{
    for (unsigned history = 0; history < 40; history++) {
        struct carrick_generation two = u_generation(2, 1, 0);
        uint64_t appended = 0, acknowledged, sequence;
        int node = history % 2;

        w_end();
        file_config();
        world.random = history * 31;
        users[0].syncs = users[1].syncs = true;
        u_pair();
        for (unsigned i = 0; i < 250; i++) {
            if (u_append_status(0, appended, w_random() % 60000, &sequence) == CARRICK_OK)
                appended++;
            for (unsigned n = (unsigned)(w_random() % 12); n > 0; n--)
                w_step(world.now_ns + 6000000u);
        }
        acknowledged = users[0].acknowledged;
        w_session_end();
        power_lost(node);
        u_start(node);
        w_run_ms(50);
        cr_assert_eq(u_copy(node).condition, CARRICK_LOG_WHOLE, "history %u", history);
        cr_assert_geq(u_copy(node).last, acknowledged, "history %u: %lu of %lu", history,
                      (unsigned long)u_copy(node).last, (unsigned long)acknowledged);
        cr_assert_eq(CALL(serve, users[node].log, &two, CARRICK_MIRROR_ALONE), CARRICK_OK);
        w_run_ms(50);
        cr_assert_eq(users[node].serving, CARRICK_OK);
    }
}

Test(nvram_disk, level_that_the_backing_does_not_give_is_refused_at_start)
{
    struct carrick_error error;

    cr_assert_eq(w_create(0,
                          "{\"groups\":[{\"name\":\"g\",\"home\":\"alpha\",\"log_bytes\":4194304,"
                          "\"backing\":\"tmpfs\",\"path\":\"/m\",\"level\":\"persistent\"}]}",
                          &error),
                 CARRICK_ERR_CONFIG);
    cr_assert_str_eq(error.pointer, "/groups/0/level");
    cr_assert_not_null(strstr(error.text, "persistent"));
    cr_assert_not_null(strstr(error.text, "tmpfs"));
}

Test(nvram_disk, mistakes_in_the_configuration_are_told_with_their_place)
{
    static const struct {
        const char *config, *pointer, *part;
    } bad[] = {
        {"{}", "", "groups"},
        {"{\"groups\":[]}", "/groups", "1 to 64"},
        {"{\"groups\":{}}", "/groups", "list"},
        {"{\"x\":1}", "/x", "no key"},
        {"{\"groups\":[7]}", "/groups/0", "object"},
        {"{\"groups\":[{\"nam\":\"a\"}]}", "/groups/0/nam", "no key"},
        {"{\"groups\":[{\"name\":\"a/b\"}]}", "/groups/0/name", "letters"},
        {"{\"groups\":[{\"name\":\"a\"}]}", "/groups/0", "home"},
        {"{\"groups\":[{\"log_bytes\":5000}]}", "/groups/0/log_bytes", "multiple of 4096"},
        {"{\"groups\":[{\"backing\":\"ram\"}]}", "/groups/0/backing", "tmpfs"},
        {"{\"groups\":[{\"path\":\"here\"}]}", "/groups/0/path", "absolute"},
        {"{\"groups\":[{\"level\":\"high\"}]}", "/groups/0/level", "volatile"},
        {"{\"groups\":[{\"name\":\"a\",\"home\":\"alpha\",\"log_bytes\":4194304,\"backing\":"
         "\"memory\","
         "\"path\":\"/x\"}]}",
         "/groups/0/path", "no path"},
        {"{\"groups\":[{\"name\":\"a\",\"home\":\"gamma\",\"log_bytes\":4194304,\"backing\":"
         "\"memory\"}]}",
         "/groups/0/home", "gamma"},
    };
    struct carrick_error error;

    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_assert_eq(w_create(0, bad[i].config, &error), CARRICK_ERR_CONFIG, "%s", bad[i].config);
        cr_assert_str_eq(error.pointer, bad[i].pointer, "%s: %s", bad[i].config, error.pointer);
        cr_assert_not_null(strstr(error.text, bad[i].part), "%s: %s", bad[i].config, error.text);
    }
}
