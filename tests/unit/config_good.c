// SPDX-License-Identifier: Apache-2.0
//
// What a good configuration becomes: values, defaults, sections, the hash.

#include "config_text.h"

#include <syslog.h>

static const char smallest[] =
    "{ \"cluster\": \"c\", \"key_file\": \"/k\", \"nodes\": [\"a\", \"b\"], \"managers\": [{\n"
    "  \"name\": \"m\", \"links\": [{ \"name\": \"l\", \"transport\": \"tcp\",\n"
    "  \"nodes\": { \"b\": { \"x\": 2 }, \"a\": { \"x\": 1 } } }] }] }";

static struct config *parse_good(void)
{
    return config_text_parse(config_text_good);
}

Test(config_good, top_level_values_are_read)
{
    struct config *config = parse_good();

    cr_expect_str_eq(config->file, "test.json");
    cr_expect_str_eq(config->cluster, "store1");
    cr_expect_str_eq(config->key_file, "/etc/carrick/cluster.key");
    cr_assert_eq(config->plugin_dirs_count, 2);
    cr_expect_str_eq(config->plugin_dirs[0], "/usr/lib/carrick/plugins");
    cr_expect_str_eq(config->plugin_dirs[1], "/opt/plugins");
    cr_expect_str_eq(config->nodes[0], "alpha");
    cr_expect_str_eq(config->nodes[1], "beta");
    cr_expect_str_eq(config->control.socket, "/run/carrick/%n.sock");
    cr_expect_str_eq(config->control.group, "carrick");
    cr_expect_str_eq(config->metrics.listen[0].text, "127.0.0.1:9419");
    cr_expect_str_eq(config->metrics.listen[0].address, "127.0.0.1");
    cr_expect_eq(config->metrics.listen[0].port, 9419);
    cr_expect_str_eq(config->metrics.listen[1].address, "::1");
    cr_expect_eq(config->metrics.listen[1].port, 9420);
    cr_expect_eq(config->log.level, LOG_NOTICE);
    cr_expect_eq(config->managers_count, 2);
    config_free(config);
}

Test(config_good, manager_is_read)
{
    struct config *config = parse_good();
    const struct config_manager *manager = &config->managers[0];

    cr_expect_str_eq(manager->name, "main");
    cr_expect_str_eq(manager->profile, "fast");
    cr_expect_eq(manager->timers.probe_ms, 25, "the file's");
    cr_expect_eq(manager->timers.link_dead_ms, 80, "the profile's");
    cr_expect_eq(manager->poll_us, 50);
    cr_expect_eq(manager->lanes, 3);
    cr_expect_eq(manager->overstay_us, 2000);
    cr_expect_eq(manager->partner_memory_mib, 64);
    cr_expect_str_eq(manager->policy.plugin, "least_inflight");
    cr_expect_str_eq(manager->policy.config.json, "{\"a\":1}");
    cr_expect_str_eq(manager->policy.pointer, "/managers/0/policy");
    cr_expect_str_eq(manager->policy.config.pointer, "/managers/0/policy/config");
    cr_expect_eq(manager->links_count, 2);
    cr_expect_eq(manager->clients_count, 2);
    cr_expect_str_eq(config->managers[1].pointer, "/managers/1");
    config_free(config);
}

Test(config_good, link_is_read)
{
    struct config *config = parse_good();
    const struct config_link *left = &config->managers[0].links[0];
    const struct config_link *right = &config->managers[0].links[1];

    cr_expect_str_eq(left->name, "left");
    cr_expect_str_eq(left->transport, "tcp");
    cr_expect_str_eq(left->pointer, "/managers/0/links/0");
    cr_expect_str_eq(left->wrapper.plugin, "fault");
    cr_expect_str_eq(left->wrapper.config.json, "{\"seed\":7}");
    cr_expect_str_eq(left->wrapper.config.pointer, "/managers/0/links/0/wrapper/config");
    cr_expect_str_eq(left->nodes[0].json, "{\"address\":\"10.0.1.1\",\"port\":7410}");
    cr_expect_str_eq(left->nodes[1].json, "{\"address\":\"10.0.1.2\",\"port\":7410}");
    cr_expect_str_eq(left->nodes[1].pointer, "/managers/0/links/0/nodes/beta");
    cr_expect_str_eq(left->config.json, "{\"nodelay\":true}");
    cr_expect_str_eq(right->wrapper.plugin, "");
    cr_expect_str_eq(right->config.json, "{}");
    cr_expect_str_eq(right->config.pointer, "/managers/0/links/1/config");
    config_free(config);
}

Test(config_good, client_is_read)
{
    struct config *config = parse_good();
    const struct config_client *echo = &config->managers[0].clients[0];
    const struct config_client *log = &config->managers[0].clients[1];

    cr_expect_str_eq(echo->name, "echo");
    cr_expect_not(echo->required);
    cr_expect_str_eq(echo->config.json, "{\"size\":4096}");
    cr_expect_str_eq(log->plugin, "shadow");
    cr_expect(log->required, "the default");
    cr_expect_not(log->early, "the default");
    cr_expect_eq(log->isolation, CONFIG_ISOLATION_INLINE);
    cr_expect_str_eq(log->config.json, "{}");
    cr_expect_str_eq(log->config.pointer, "/managers/0/clients/1/config");
    config_free(config);
}

Test(config_good, what_is_early_is_kept_and_the_hash_is_of_the_whole)
{
    static const char text[] =
        "{\"cluster\":\"store\",\"key_file\":\"/k\",\"nodes\":[\"a\",\"b\"],\"managers\":[{"
        "\"name\":\"%s\",\"arbiter\":{\"plugin\":\"mailbox\"},\"links\":[{\"name\":\"l\","
        "\"transport\":\"tcp\",\"nodes\":{\"a\":{},\"b\":{}}}],\"clients\":["
        "{\"name\":\"one\",\"plugin\":\"p\"},{\"name\":\"two\",\"plugin\":\"p\",\"early\":%s},"
        "{\"name\":\"three\",\"plugin\":\"p\"}]}]}";
    for (int early = 0; early < 2; early++) {
        char whole[512];
        snprintf(whole, sizeof whole, text, "main", early ? "true" : "false");
        struct config *config = config_text_parse(whole);
        const struct config_manager *manager = &config->managers[0];
        uint8_t before[CONFIG_HASH_BYTES];

        memcpy(before, config->hash, sizeof before);
        config_keep_early(config);
        cr_assert_eq(manager->clients_count, early ? 1 : 0);
        if (early)
            cr_expect_str_eq(manager->clients[0].name, "two");
        cr_expect_str_eq(manager->arbiter.plugin, early ? "mailbox" : "");
        cr_expect_arr_eq(config->hash, before, sizeof before);
        config_free(config);
    }
}

Test(config_good, all_that_is_optional_has_its_default)
{
    struct config *config = config_text_parse(smallest);
    const struct config_manager *manager = &config->managers[0];

    cr_expect_eq(config->plugin_dirs_count, 0);
    cr_expect_str_eq(config->control.socket, "/run/carrick/%n.sock");
    cr_expect_null(config->control.group);
    cr_expect_null(config->metrics.listen[0].text);
    cr_expect_null(config->metrics.listen[1].text);
    cr_expect_eq(config->log.level, LOG_INFO);
    cr_expect_str_eq(manager->profile, "normal");
    cr_expect_eq(manager->poll_us, 0);
    cr_expect_eq(manager->lanes, 2);
    cr_expect_eq(manager->overstay_us, 10000);
    cr_expect_eq(manager->partner_memory_mib, 8192);
    cr_expect_str_eq(manager->policy.plugin, "round_robin");
    cr_expect_str_eq(manager->policy.config.json, "{}");
    cr_expect_eq(manager->clients_count, 0);
    config_free(config);
}

Test(config_good, nodes_of_a_link_stand_in_the_order_of_the_nodes)
{
    struct config *config = config_text_parse(smallest);
    const struct config_link *link = &config->managers[0].links[0];

    cr_expect_str_eq(link->nodes[0].json, "{\"x\":1}");
    cr_expect_str_eq(link->nodes[1].json, "{\"x\":2}");
    config_free(config);
}

Test(config_good, profiles_set_every_timer)
{
    static const struct {
        const char *profile;
        struct config_timers timers;
    } wanted[] = {
        {"fast", {20, 80, 500, 500, 2000, 1000, 1000, 10, 500, 0}},
        {"normal", {100, 500, 2000, 2000, 5000, 3000, 3000, 50, 2000, 200}},
        {"wan", {500, 3000, 10000, 5000, 15000, 5000, 10000, 200, 10000, 1000}},
    };

    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        char replacement[64];
        struct config *config;

        snprintf(replacement, sizeof(replacement), "\"name\": \"second\", \"profile\": \"%s\",",
                 wanted[i].profile);
        config = config_text_parse_edited("\"name\": \"second\",", replacement);
        cr_expect_eq(
            memcmp(&config->managers[1].timers, &wanted[i].timers, sizeof(wanted[i].timers)), 0,
            "%s", wanted[i].profile);
        config_free(config);
    }
}

Test(config_good, every_timer_can_be_overridden)
{
    static const struct config_timers wanted = {11, 22, 33, 44, 55, 66, 77, 88, 99, 1};
    struct config *config = config_text_parse_edited(
        "\"timers\": { \"probe_ms\": 25 }",
        "\"timers\": { \"probe_ms\": 11, \"link_dead_ms\": 22, \"operation_ms\": 33,"
        " \"connect_ms\": 44, \"bringup_ms\": 55, \"ending_ms\": 66, \"session_lost_ms\": 77,"
        " \"backoff_min_ms\": 88, \"backoff_max_ms\": 99, \"hold_ms\": 1 }");

    cr_expect_eq(memcmp(&config->managers[0].timers, &wanted, sizeof(wanted)), 0);
    config_free(config);
}

Test(config_good, values_of_a_section_are_kept_as_written)
{
    struct config *config = config_text_parse_edited(
        "{ \"size\": 4096 }", "{ \"z\": [1, -2, 9223372036854775807, 1.50, true, null],\n"
                              "  \"path\": \"/a/b\", \"word\": \"\\u00e9\\n\\\"\", \"a\": {} }");

    cr_expect_str_eq(config->managers[0].clients[0].config.json,
                     "{\"z\":[1,-2,9223372036854775807,1.50,true,null],\"path\":\"/a/b\","
                     "\"word\":\"\xc3\xa9\\n\\\"\",\"a\":{}}");
    config_free(config);
}

Test(config_good, text_needs_no_final_nul)
{
    static struct config_errors errs;
    size_t length = strlen(smallest);
    char *text = malloc(length); // what is read beyond it, the sanitizer finds
    struct config *config;

    memcpy(text, smallest, length);
    cr_assert_eq(config_parse("x", text, length, &config, &errs), 0);
    config_free(config);
    free(text);
}

Test(config_good, things_are_found_by_name)
{
    struct config *config = parse_good();
    const struct config_manager *manager = config_manager_find(config, "main");

    cr_assert_eq(manager, &config->managers[0]);
    cr_expect_null(config_manager_find(config, "third"));
    cr_expect_eq(config_link_find(manager, "right"), &manager->links[1]);
    cr_expect_null(config_link_find(manager, "middle"));
    cr_expect_eq(config_client_find(manager, "log"), &manager->clients[1]);
    cr_expect_null(config_client_find(manager, "shadow"), "that is the plugin's name");
    cr_expect_eq(config_node_index(config, "beta"), 1);
    cr_expect_eq(config_node_index(config, "gamma"), -1);
    config_free(config);
}

Test(config_good, node_name_is_put_in)
{
    static const char *const cases[][2] = {
        {"/run/%n.sock", "/run/alpha.sock"},
        {"%n%n", "alphaalpha"},
        {"/a/%%n", "/a/%n"},
        {"plain", "plain"},
        {"%", "%"},
        {"%x", "%x"},
        {"", ""},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = config_expand_node(cases[i][0], "alpha");

        cr_expect_str_eq(text, cases[i][1]);
        free(text);
    }
}

// ---- the hash

static bool hash_changes(const char *find, const char *replacement)
{
    struct config *before = parse_good();
    struct config *after = config_text_parse_edited(find, replacement);
    bool changes = memcmp(before->hash, after->hash, sizeof(before->hash)) != 0;

    config_free(before);
    config_free(after);
    return changes;
}

// Nodes of different versions compare their hashes: it must not change by itself.
Test(config_good, hash_is_that_of_the_documented_text)
{
    // SHA-256 of "carrick-config 1 \ncluster c \nnode a \nnode b \nmanager m \nlink l tcp\n"
    static const char wanted[] = "da763635e00da85b94baae2492d94dc9666309fc8b5e23e4ed151008ca293c6a";
    struct config *config = config_text_parse(smallest);
    char found[2 * CONFIG_HASH_BYTES + 1];

    for (size_t i = 0; i < CONFIG_HASH_BYTES; i++)
        snprintf(found + 2 * i, 3, "%02x", config->hash[i]);
    cr_expect_str_eq(found, wanted);
    config_free(config);
}

Test(config_good, hash_covers_what_must_agree)
{
    static const char *const changes[][2] = {
        {"\"store1\"", "\"store2\""},
        {"[\"alpha\", \"beta\"]", "[\"beta\", \"alpha\"]"},
        {"\"main\"", "\"first\""},
        {"\"right\", \"transport\"", "\"center\", \"transport\""},
        {"\"left\",\n          \"transport\": \"tcp\"", "\"left\",\n \"transport\": \"verbs\""},
        {"\"echo\", \"plugin\"", "\"ping\", \"plugin\""},
        {"\"plugin\": \"shadow\"", "\"plugin\": \"nvram_shadow\""},
        {",\n        { \"name\": \"log\", \"plugin\": \"shadow\" }", ""},
        {",\n    { \"name\": \"second\",\n      \"links\": [{ \"name\": \"left\", \"transport\": "
         "\"tcp\","
         " \"nodes\": { \"alpha\": {}, \"beta\": {} } }] }",
         ""},
    };

    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
        cr_expect(hash_changes(changes[i][0], changes[i][1]), "%s", changes[i][1]);
}

Test(config_good, hash_leaves_out_what_may_differ)
{
    static const char *const changes[][2] = {
        {"carrick.schema.json", "elsewhere.json"},
        {"/etc/carrick/cluster.key", "/root/key"},
        {"\"/opt/plugins\"", "\"/srv/plugins\""},
        {"/run/carrick/%n.sock", "/run/%n"},
        {"\"carrick\" }", "\"wheel\" }"},
        {"127.0.0.1:9419", "127.0.0.1:9999"},
        {"\"notice\"", "\"debug\""},
        {"\"fast\"", "\"wan\""},
        {"\"probe_ms\": 25", "\"probe_ms\": 30"},
        {"\"poll_us\": 50", "\"poll_us\": 0"},
        {"\"overstay_us\": 2000", "\"overstay_us\": 1"},
        {"\"least_inflight\"", "\"round_robin\""},
        {"\"10.0.1.1\"", "\"fe80::1\""},
        {"\"nodelay\": true", "\"nodelay\": false"},
        {"\"wrapper\": { \"plugin\": \"fault\", \"config\": { \"seed\": 7 } },", ""},
        {"\"required\": false", "\"required\": true"},
        {"\"size\": 4096", "\"size\": 1"},
        {"\n", "\n\n\n"},
    };

    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
        cr_expect_not(hash_changes(changes[i][0], changes[i][1]), "%s", changes[i][1]);
}

// The parts of two names must not run together into the same text.
Test(config_good, hash_keeps_names_apart)
{
    struct config *one = config_text_parse_edited("{ \"name\": \"log\", \"plugin\": \"shadow\" }",
                                                  "{ \"name\": \"a\", \"plugin\": \"bc\" }");
    struct config *other = config_text_parse_edited("{ \"name\": \"log\", \"plugin\": \"shadow\" }",
                                                    "{ \"name\": \"ab\", \"plugin\": \"c\" }");

    cr_expect_neq(memcmp(one->hash, other->hash, sizeof(one->hash)), 0);
    config_free(one);
    config_free(other);
}
