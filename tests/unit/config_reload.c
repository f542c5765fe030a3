// SPDX-License-Identifier: Apache-2.0
//
// What a running daemon can take over from a changed file, and what it refuses.

#include "config_text.h"

#include <errno.h>

static struct config_errors errs;

static int reload(const char *find, const char *replacement)
{
    struct config *before = config_text_parse(config_text_good);
    struct config *after = config_text_parse_edited(find, replacement);
    int result = config_reload_check(before, after, &errs);

    config_text_print(&errs);
    config_free(before);
    config_free(after);
    return result;
}

static void accepts(const char *find, const char *replacement)
{
    cr_expect_eq(reload(find, replacement), 0, "%s", replacement);
    cr_expect_eq(errs.count, 0, "%s", replacement);
}

static void refuses(const char *find, const char *replacement, unsigned line, unsigned column,
                    const char *pointer, const char *message)
{
    cr_expect_eq(reload(find, replacement), -EINVAL, "%s", replacement);
    cr_assert_eq(errs.count, 1, "%s: %zu errors", replacement, errs.count);
    cr_expect_eq(errs.error[0].line, line, "%s: line %u", replacement, errs.error[0].line);
    cr_expect_eq(errs.error[0].column, column, "%s: column %u", replacement, errs.error[0].column);
    cr_expect_str_eq(errs.error[0].pointer, pointer);
    cr_expect_not_null(strstr(errs.error[0].text, message), "no \"%s\" in \"%s\"", message,
                       errs.error[0].text);
    cr_expect_not_null(strstr(errs.error[0].text, "restart carrickd"));
}

Test(config_reload, same_file_is_accepted)
{
    accepts("\"store1\"", "\"store1\"");
    accepts("\n", "\n\n");
}

Test(config_reload, what_can_change_is_accepted)
{
    accepts("\"notice\"", "\"debug\"");
    accepts("  \"log\": { \"level\": \"notice\" },\n", "");
    accepts("\"fast\"", "\"wan\"");
    accepts("\"probe_ms\": 25", "\"hold_ms\": 5");
    accepts("\"poll_us\": 50", "\"poll_us\": 0");
    accepts("\"overstay_us\": 2000", "\"overstay_us\": 3000");
    accepts("\"partner_memory_mib\": 64", "\"partner_memory_mib\": 65");
    accepts("\"least_inflight\"", "\"round_robin\"");
    accepts("{ \"a\": 1 }", "{ \"a\": 2 }");
    accepts("\"size\": 4096", "\"size\": 8192");
    accepts("\"required\": false", "\"required\": true");
    accepts("carrick.schema.json", "other.json");
}

Test(config_reload, of_the_node_is_refused)
{
    refuses("\"store1\"", "\"store2\"", 3, 14, "/cluster", "was \"store1\", found \"store2\"");
    refuses("/etc/carrick/cluster.key", "/etc/key", 4, 15, "/key_file", "the key is read when");
    refuses("\"/opt/plugins\"", "\"/srv/plugins\"", 5, 18, "/plugin_dirs", "plugins are loaded");
    refuses("/run/carrick/%n.sock", "/run/%n", 7, 26, "/control/socket", "the control socket");
    refuses("\"carrick\" }", "\"wheel\" }", 7, 59, "/control/group", "found \"wheel\"");
    refuses(", \"group\": \"carrick\"", "", 7, 14, "/control/group", "was \"carrick\", found \"\"");
    refuses("127.0.0.1:9419", "127.0.0.1:9421", 8, 37, "/metrics/listen/alpha", "is taken when");
    refuses(
        "  \"metrics\": { \"listen\": { \"alpha\": \"127.0.0.1:9419\", \"beta\": \"[::1]:9420\" } "
        "},",
        "  \"metrics\": { \"listen\": { \"alpha\": \"127.0.0.1:9419\" } },", 8, 26,
        "/metrics/listen/beta", "is taken when");
}

Test(config_reload, renamed_node_is_refused)
{
    char *text = config_text_edit("\"alpha\", \"beta\"", "\"alpha\", \"gamma\"");
    struct config *before = config_text_parse(config_text_good);
    struct config *after;
    char *beta;

    while ((beta = strstr(text, "\"beta\"")) != NULL) {
        char *longer = NULL;

        cr_assert(asprintf(&longer, "%.*s\"gamma\"%s", (int)(beta - text), text, beta + 6) >= 0);
        free(text);
        text = longer;
    }
    after = config_text_parse(text);
    cr_expect_eq(config_reload_check(before, after, &errs), -EINVAL);
    cr_expect_eq(errs.error[0].line, 6);
    cr_expect_eq(errs.error[0].column, 22);
    cr_expect_str_eq(errs.error[0].pointer, "/nodes/1");
    config_free(before);
    config_free(after);
    free(text);
}

Test(config_reload, of_managers_is_refused)
{
    refuses("\"lanes\": 3", "\"lanes\": 4", 16, 16, "/managers/0/lanes", "was 3, found 4");
    refuses(
        ",\n    { \"name\": \"second\",\n      \"links\": [{ \"name\": \"left\", \"transport\": "
        "\"tcp\", \"nodes\": { \"alpha\": {}, \"beta\": {} } }] }",
        "", 10, 15, "/managers", "the manager \"second\" is gone");
    refuses("  ]\n}",
            "  , { \"name\": \"third\", \"links\": [{ \"name\": \"x\", \"transport\": \"tcp\","
            " \"nodes\": { \"alpha\": {}, \"beta\": {} } }] }]\n}",
            40, 15, "/managers/2/name", "the manager \"third\" is new");
}

Test(config_reload, of_links_is_refused)
{
    refuses("\"left\",\n          \"transport\": \"tcp\"",
            "\"left\",\n          \"transport\": \"sim\"", 22, 24, "/managers/0/links/0/transport",
            "was \"tcp\", found \"sim\"");
    refuses("\"10.0.1.2\"", "\"10.0.1.3\"", 26, 21, "/managers/0/links/0/nodes/beta",
            "keeps its addresses");
    refuses("\"nodelay\": true", "\"nodelay\": false", 28, 21, "/managers/0/links/0/config",
            "this section changed");
    refuses("\"fault\"", "\"trace\"", 23, 22, "/managers/0/links/0/wrapper", "keeps its wrapper");
    refuses("\"seed\": 7", "\"seed\": 8", 23, 53, "/managers/0/links/0/wrapper/config",
            "this section changed");
    refuses("          \"wrapper\": { \"plugin\": \"fault\", \"config\": { \"seed\": 7 } },\n", "",
            20, 9, "/managers/0/links/0/wrapper", "was \"fault\", found \"\"");
    refuses(",\n        { \"name\": \"right\", \"transport\": \"tcp\", \"nodes\": { \"alpha\": {}, "
            "\"beta\": {} } }",
            "", 19, 16, "/managers/0/links", "the link \"right\" is gone");
    refuses("{ \"name\": \"right\",",
            "{ \"name\": \"middle\", \"transport\": \"tcp\", \"nodes\": { \"alpha\": {}, \"beta\": "
            "{} } },\n"
            "        { \"name\": \"right\",",
            30, 19, "/managers/0/links/1/name", "the link \"middle\" is new");
}

Test(config_reload, of_clients_is_refused)
{
    refuses("\"plugin\": \"shadow\"", "\"plugin\": \"mirror\"", 35, 36,
            "/managers/0/clients/1/plugin", "was \"shadow\", found \"mirror\"");
    refuses(",\n        { \"name\": \"log\", \"plugin\": \"shadow\" }", "", 32, 18,
            "/managers/0/clients", "the client \"log\" is gone");
    refuses("{ \"name\": \"log\",",
            "{ \"name\": \"new\", \"plugin\": \"echo\" }, { \"name\": \"log\",", 35, 19,
            "/managers/0/clients/1/name", "the client \"new\" is new");
}

Test(config_reload, changed_order_is_refused)
{
    refuses(
        "        { \"name\": \"echo\", \"plugin\": \"echo\", \"required\": false, \"isolation\": "
        "\"inline\",\n          \"config\": { \"size\": 4096 } },\n"
        "        { \"name\": \"log\", \"plugin\": \"shadow\" }",
        "{ \"name\": \"log\", \"plugin\": \"shadow\" }, { \"name\": \"echo\", \"plugin\": \"echo\" "
        "}",
        32, 18, "/managers/0/clients", "the order of the clients changed");
}

Test(config_reload, all_reasons_are_told_at_once)
{
    reload("\"store1\",\n  \"key_file\": \"/etc/carrick/cluster.key\"",
           "\"store2\",\n  \"key_file\": \"/key\"");
    cr_assert_eq(errs.count, 2);
    cr_expect_eq(errs.error[0].line, 3);
    cr_expect_eq(errs.error[1].line, 4);
}
