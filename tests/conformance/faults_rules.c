// SPDX-License-Identifier: Apache-2.0
//
// The fault transport's rules: the same victims for the same seed, and mistakes in the section reported.
#include "rig.h"

#include <stdio.h>
#include <string.h>

const struct carrick_plugin *fault_plugin_entry(void);

// Posts one write at a time for some rounds, and notes in which rounds the endpoint was cut.
static uint64_t victims(const struct rig_kind *kind, unsigned seed)
{
    struct rig_pair pair;
    struct rig *rig;
    char config[200];
    uint64_t cut = 0;

    snprintf(config, sizeof(config),
             "{\"seed\": %u, \"rules\": [{\"fault\": \"cut\", \"op\": \"write\", "
             "\"probability\": 0.3}]}",
             seed);
    rig = rig_open(kind, config);
    pair = rig_pair(rig, RIG_PAGE);
    for (unsigned i = 0; i < 40; i++) {
        uint32_t before = pair.end[0]->completed;

        rig_post(pair.end[0], rig_write(pair.region[0], 0, 64, pair.region[1], 0));
        WAIT(rig, pair.end[0]->disconnected || pair.end[0]->completed > before);
        if (!pair.end[0]->disconnected)
            continue;
        cut |= 1ull << i;
        rig_pair_close(&pair);
        rig_join(rig, &pair);
    }
    rig_close(rig);
    return cut;
}

CASE_OVER(rig_plain_kinds, faults_rules, same_seed_same_victims)
{
    uint64_t first = victims(&rig->kind, 1), again = victims(&rig->kind, 1);
    uint64_t other = victims(&rig->kind, 2);

    CHECK(rig, first == again, "0x%llx, then 0x%llx", (unsigned long long)first,
          (unsigned long long)again);
    CHECK(rig, first != other && first != 0 && other != 0);
}

struct mistake {
    const char *config;
    const char *pointer;
};

Test(faults_rules, mistakes)
{
    static const struct mistake mistakes[] = {
        {"", "/config"},
        {"[]", "/config"},
        {"{\"sead\": 1}", "/config/sead"},
        {"{\"seed\": -1}", "/config/seed"},
        {"{\"seed\": \"1\"}", "/config/seed"},
        {"{\"break_fence\": 1}", "/config/break_fence"},
        {"{\"linger_ms\": 60001}", "/config/linger_ms"},
        {"{\"rules\": {}}", "/config/rules"},
        {"{\"rules\": [7]}", "/config/rules/0"},
        {"{\"rules\": [{\"every\": 1}]}", "/config/rules/0"},
        {"{\"rules\": [{\"fault\": \"cut\"}]}", "/config/rules/0"},
        {"{\"rules\": [{\"fault\": \"burn\", \"every\": 1}]}", "/config/rules/0/fault"},
        {"{\"rules\": [{\"fault\": \"none\", \"every\": 1}]}", "/config/rules/0/fault"},
        {"{\"rules\": [{\"fault\": \"cut\", \"every\": 0}]}", "/config/rules/0/every"},
        {"{\"rules\": [{\"fault\": \"cut\", \"every\": 1.5}]}", "/config/rules/0/every"},
        {"{\"rules\": [{\"fault\": \"cut\", \"probability\": 1.1}]}",
         "/config/rules/0/probability"},
        {"{\"rules\": [{\"fault\": \"cut\", \"probability\": 0.1, \"every\": 2}]}",
         "/config/rules/0"},
        {"{\"rules\": [{\"fault\": \"cut\", \"every\": 1, \"op\": \"connect\"}]}",
         "/config/rules/0"},
        {"{\"rules\": [{\"fault\": \"cut\", \"every\": 1, \"op\": \"wrote\"}]}",
         "/config/rules/0/op"},
        {"{\"rules\": [{\"fault\": \"cut\", \"every\": 1, \"status\": \"ok\"}]}",
         "/config/rules/0/status"},
        {"{\"rules\": [{\"fault\": \"cut\", \"every\": 1, \"delay\": 3}]}",
         "/config/rules/0/delay"},
        {"{\"rules\": [{\"fault\": \"cut\", \"every\": 1}, {\"fault\": \"delay\", \"every\": 1, "
         "\"delay_ms\": 99999}]}",
         "/config/rules/1/delay_ms"},
    };
    const struct carrick_transport_wrapper_ops *ops = fault_plugin_entry()->ops;

    for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
        struct carrick_error error = {.struct_size = sizeof(error)};

        cr_assert(ops->transport.config_check("{}", "{}", mistakes[i].config, &error) ==
                      CARRICK_ERR_CONFIG,
                  "%s was accepted", mistakes[i].config);
        cr_assert(strcmp(error.pointer, mistakes[i].pointer) == 0, "%s: reported at %s (%s)",
                  mistakes[i].config, error.pointer, error.text);
        cr_assert(error.text[0] != '\0');
    }
}

Test(faults_rules, all_keys)
{
    const struct carrick_transport_wrapper_ops *ops = fault_plugin_entry()->ops;
    struct carrick_error error = {.struct_size = sizeof(error)};
    int rc = ops->transport.config_check(
        "{}", "{}",
        "{\"seed\": 9, \"break_fence\": false, \"withdraw_applied\": true, \"linger_ms\": 10, "
        "\"held_bytes_max\": 1, \"held_ops_max\": 1, \"rules\": ["
        "{\"fault\": \"cut\", \"probability\": 1, \"op\": \"any\", \"status\": \"link_down\"},"
        "{\"fault\": \"delay\", \"every\": 1, \"after\": 5, \"count\": 2, \"delay_ms\": 0},"
        "{\"fault\": \"hold\", \"every\": 1, \"op\": \"send\"},"
        "{\"fault\": \"half_open\", \"probability\": 0.001},"
        "{\"fault\": \"lose_completion\", \"probability\": 0},"
        "{\"fault\": \"refuse\", \"every\": 1, \"op\": \"any\"},"
        "{\"fault\": \"fail_registration\", \"every\": 1}]}",
        &error);

    cr_assert(rc == CARRICK_OK, "%s %s", error.pointer, error.text);
}
