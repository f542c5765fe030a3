// SPDX-License-Identifier: Apache-2.0
//
// Bad configurations. Each is the good one with one place changed; '@' in the change marks where the
// error must be reported, and is itself taken out. So the expected line and column are counted here,
// by the text alone.

#include "config_text.h"

#include <criterion/parameterized.h>
#include <errno.h>

struct bad {
    const char *what;
    const char *find, *replacement;
    const char *pointer;
    const char *message; // a part of it
};

#define ALL NULL
#define TIMERS "\"timers\": { \"probe_ms\": 25 }"
#define RIGHT "\"nodes\": { \"alpha\": {}, \"beta\": {} } }\n      ]"

static const struct bad bads[] = {
    // ---- not JSON
    {"empty", ALL, "@", "", "the file is empty"},
    {"blank", ALL, "@ \n\t\n", "", "the file is empty"},
    {"no object", ALL, "@[1]", "", "found an array, expected an object"},
    {"only a string", ALL, "@\"x\"", "", "found \"x\", expected an object"},
    {"only a number", ALL, "@12", "", "found 12, expected an object"},
    {"only null", ALL, "@null", "", "found null, expected an object"},
    {"byte order mark", ALL, "@\xef\xbb\xbf{}", "", "byte order mark"},
    {"binary", ALL, "@\x7f\x45\x4c\x46", "", "the byte 0x7f"},
    {"ends in the object", ALL, "{\n  \"cluster\": \"a\"\n@", "", "the end of the file"},
    {"ends behind the colon", ALL, "{\n  \"cluster\":@", "/cluster", "the end of the file"},
    {"ends in an array", ALL, "{ \"nodes\": [\"a\",@", "/nodes/1", "the end of the file"},
    {"text after the end", ALL, "{}\n@}", "", "expected the end of the file"},
    {"comma missing", "\"store1\",\n  \"key", "\"store1\"\n  @\"key", "", "expected ',' or '}'"},
    {"comma missing in array", "[\"alpha\", \"beta\"]", "[\"alpha\" @\"beta\"]", "/nodes",
     "found a string, expected ',' or ']' in this array"},
    {"comma at the end of an object", "\"notice\" }", "\"notice\"@, }", "/log",
     "nothing follows this comma"},
    {"comma at the end of an array", "\"beta\"],", "\"beta\"@,],", "/nodes",
     "nothing follows this comma"},
    {"two commas", "\"beta\"],", "\"beta\"],@,", "", "expected a key in double quotes"},
    {"colon missing", "\"cluster\": ", "\"cluster\" @", "", "expected ':' after the key"},
    {"equals sign", "\"cluster\": ", "\"cluster\" @= ", "", "found '=', expected ':'"},
    {"key without quotes", "\"cluster\":", "@cluster:", "", "found 'c', expected a key in double"},
    {"key in single quotes", "\"cluster\":", "@'cluster':", "", "a single quote"},
    {"value in single quotes", "\"store1\"", "@'store1'", "/cluster", "a single quote"},
    {"value without quotes", "\"store1\"", "@store1", "/cluster", "stands in double quotes"},
    {"True", "false", "@False", "/managers/0/clients/0/required", "in small letters"},
    {"NaN", "\"poll_us\": 50", "\"poll_us\": @NaN", "/managers/0/poll_us", "expected a value"},
    {"Infinity", "\"poll_us\": 50", "\"poll_us\": @Infinity", "/managers/0/poll_us",
     "expected a value"},
    {"line comment", "  \"nodes\"", "  @// the two\n  \"nodes\"", "", "a comment"},
    {"block comment", "[\"alpha\"", "[@/* us */ \"alpha\"", "/nodes/0", "a comment"},
    {"shell comment", "  \"nodes\"", "  @# the two\n  \"nodes\"", "", "JSON has no comments"},
    {"string over the line's end", "\"store1\"", "@\"store1", "/cluster", "not closed on its line"},
    {"string without an end", ALL, "{ \"cluster\": @\"store1", "/cluster", "not closed"},
    {"tab in a string", "\"store1\"", "\"sto@\tre1\"", "/cluster", "control character 0x09"},
    {"unknown escape", "\"store1\"", "\"sto@\\xre1\"", "/cluster", "unknown escape"},
    {"short unicode escape", "\"store1\"", "\"sto@\\u12g4\"", "/cluster",
     "four hexadecimal digits"},
    {"NUL in a string", "\"store1\"", "\"sto@\\u0000re1\"", "/cluster", "\\u0000 is not allowed"},
    {"NUL in a key", "\"cluster\"", "\"clu@\\u0000ster\"", "", "\\u0000 is not allowed"},
    {"half a surrogate pair", "\"store1\"", "\"@\\ud83d\"", "/cluster", "surrogate pair"},
    {"wrong second half", "\"store1\"", "\"@\\ud83d\\u0041\"", "/cluster", "surrogate pair"},
    {"not UTF-8", "\"store1\"", "\"st@\xf6re\"", "/cluster", "the byte 0xf6 is not UTF-8"},
    {"overlong UTF-8", "\"store1\"", "\"st@\xc0\xafre\"", "/cluster", "the byte 0xc0 is not UTF-8"},
    {"number with a zero before it", "25", "@025", "/managers/0/timers/probe_ms",
     "must not begin with 0"},
    {"number with a plus", "25", "@+25", "/managers/0/timers/probe_ms", "found '+'"},
    {"number with a unit", "25", "@25ms", "/managers/0/timers/probe_ms", "a unit belongs to"},
    {"number in base 16", "25", "@0x19", "/managers/0/timers/probe_ms", "letters follow"},
    {"minus alone", "25", "@-", "/managers/0/timers/probe_ms", "a digit after '-'"},
    {"point alone", "25", "@25.", "/managers/0/timers/probe_ms", "after the decimal point"},
    {"exponent alone", "25", "@25e", "/managers/0/timers/probe_ms", "a digit in the exponent"},
    {"integer over 64 bits", "25", "@9223372036854775808", "/managers/0/timers/probe_ms",
     "at most 64 bits"},
    {"integer under 64 bits", "25", "@-9223372036854775809", "/managers/0/timers/probe_ms",
     "at most 64 bits"},
    {"huge integer in a plugin's section", "4096", "@99999999999999999999",
     "/managers/0/clients/0/config/size", "at most 64 bits"},
    {"huge real number", "4096", "@1e999", "/managers/0/clients/0/config/size", "out of range"},

    // ---- keys
    {"key twice", "  \"nodes\"", "  @\"cluster\": \"store2\",\n  \"nodes\"", "/cluster",
     "given twice in one object, before at line 3 column 3"},
    {"key twice, once with an escape", "  \"nodes\"",
     "  @\"\\u0063luster\": \"store1\",\n  \"nodes\"", "/cluster", "given twice"},
    {"key twice in a plugin's section", "{ \"size\": 4096 }", "{ \"size\": 1, @\"size\": 2 }",
     "/managers/0/clients/0/config/size", "given twice"},
    {"node twice in a link", "\"nodes\": { \"alpha\": {}, \"beta\": {} }",
     "\"nodes\": { \"alpha\": {}, \"beta\": {}, @\"beta\": {} }", "/managers/0/links/1/nodes/beta",
     "given twice"},
    {"unknown key", "  \"nodes\"", "  @\"storage\": {},\n  \"nodes\"", "/storage",
     "unknown key \"storage\", expected one of \"$schema\", \"cluster\""},
    {"misspelt key", "\"poll_us\"", "@\"pol_us\"", "/managers/0/pol_us",
     "unknown key \"pol_us\"; did you mean \"poll_us\"?"},
    {"key in capitals", "\"profile\"", "@\"Profile\"", "/managers/0/Profile",
     "did you mean \"profile\"?"},
    {"key with a minus", "\"overstay_us\"", "@\"overstay-us\"", "/managers/0/overstay-us",
     "did you mean \"overstay_us\"?"},
    {"timer without a unit", "\"probe_ms\"", "@\"probe\"", "/managers/0/timers/probe",
     "did you mean \"probe_ms\"?"},
    {"unknown key with a slash", "\"level\": \"notice\"", "\"level\": \"notice\", @\"a/b~c\": 1",
     "/log/a~1b~0c", "unknown key \"a/b~c\""},
    {"unknown key in a wrapper", "\"fault\", \"config\"", "\"fault\", @\"confg\"",
     "/managers/0/links/0/wrapper/confg", "did you mean \"config\"?"},
    {"unknown key in metrics", "\"metrics\": {", "\"metrics\": { @\"port\": 9419,", "/metrics/port",
     "unknown key \"port\""},
    {"cluster missing", "{\n  \"$schema\": \"carrick.schema.json\",\n  \"cluster\": \"store1\",",
     "@{", "", "the key \"cluster\" is missing"},
    {"nodes missing",
     "{\n  \"$schema\": \"carrick.schema.json\",\n  \"cluster\": \"store1\",\n"
     "  \"key_file\": \"/etc/carrick/cluster.key\",",
     "@{ \"cluster\": \"store1\",", "", "the key \"key_file\" is missing"},
    {"transport missing", "{ \"name\": \"right\", \"transport\": \"tcp\",",
     "@{ \"name\": \"right\",", "/managers/0/links/1", "the key \"transport\" is missing"},
    {"plugin of a client missing", "{ \"name\": \"log\", \"plugin\": \"shadow\" }",
     "@{ \"name\": \"log\" }", "/managers/0/clients/1",
     "the key \"plugin\" is missing, expected a name of 1 to 31 letters"},
    {"listen missing",
     "{ \"listen\": { \"alpha\": \"127.0.0.1:9419\", \"beta\": \"[::1]:9420\" } }", "@{}",
     "/metrics", "the key \"listen\" is missing"},
    {"empty listen", "{ \"alpha\": \"127.0.0.1:9419\", \"beta\": \"[::1]:9420\" }", "@{}",
     "/metrics/listen", "too few keys"},

    // ---- types and ranges
    {"string for a number", "\"lanes\": 3", "\"lanes\": @\"3\"", "/managers/0/lanes",
     "found \"3\", expected an integer from 1 to 8"},
    {"string for a number, hint", "\"lanes\": 3", "\"lanes\": @\"3\"", "/managers/0/lanes",
     "write it without quotes"},
    {"fraction", "\"lanes\": 3", "\"lanes\": @3.5", "/managers/0/lanes", "without fraction"},
    {"fraction of zero", "\"lanes\": 3", "\"lanes\": @3.0", "/managers/0/lanes",
     "found 3.0, expected an integer"},
    {"null", "\"lanes\": 3", "\"lanes\": @null", "/managers/0/lanes", "leave the key out"},
    {"too many lanes", "\"lanes\": 3", "\"lanes\": @9", "/managers/0/lanes",
     "found 9, expected an integer from 1 to 8"},
    {"no lanes", "\"lanes\": 3", "\"lanes\": @0", "/managers/0/lanes", "found 0"},
    {"negative", "\"poll_us\": 50", "\"poll_us\": @-1", "/managers/0/poll_us",
     "found -1, expected an integer from 0 to 1000000"},
    {"too long polling", "\"poll_us\": 50", "\"poll_us\": @1000001", "/managers/0/poll_us",
     "found 1000001"},
    {"no overstay", "2000", "@0", "/managers/0/overstay_us", "expected an integer from 1"},
    {"number for a string", "\"store1\"", "@1", "/cluster",
     "found 1, expected a name of 1 to 31 letters"},
    {"word for a boolean", "false", "@\"false\"", "/managers/0/clients/0/required",
     "expected true or false"},
    {"number for a boolean", "false", "@0", "/managers/0/clients/0/required",
     "expected true or false"},
    {"object for an array", "[\"alpha\", \"beta\"]", "@{}", "/nodes",
     "found an object, expected an"},
    {"string for an array", "[\"/usr/lib/carrick/plugins\", \"/opt/plugins\"]", "@\"/opt\"",
     "/plugin_dirs", "put it in [ ]"},
    {"array for a section", "{ \"size\": 4096 }", "@[]", "/managers/0/clients/0/config",
     "found an array, expected an object"},
    {"string for a link's node", "\"beta\": { \"address\": \"10.0.1.2\", \"port\": 7410 }",
     "\"beta\": @\"10.0.1.2\"", "/managers/0/links/0/nodes/beta",
     "found \"10.0.1.2\", expected an"},
    {"empty cluster", "\"store1\"", "@\"\"", "/cluster", "found \"\", expected a name of 1 to 31"},
    {"long cluster", "\"store1\"", "@\"12345678901234567890123456789012\"", "/cluster",
     "1 to 31 letters"},
    {"cluster with a blank", "\"store1\"", "@\"store 1\"", "/cluster", "found \"store 1\""},
    {"cluster with a slash", "\"store1\"", "@\"a/b\"", "/cluster", "found \"a/b\""},
    {"cluster with an umlaut", "\"store1\"", "@\"st\xc3\xb6re\"", "/cluster",
     "found \"st\xc3\xb6re\""},
    {"cluster with a point first", "\"store1\"", "@\"..\"", "/cluster", "found \"..\""},
    {"column counts characters", "\"$schema\": \"carrick.schema.json\",\n  \"cluster\": \"store1\"",
     "\"$schema\": \"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\", \"cluster\": @1", "/cluster",
     "found 1"},
    {"relative key file", "\"/etc/carrick/cluster.key\"", "@\"cluster.key\"", "/key_file",
     "expected a path that begins with '/'"},
    {"relative plugin directory", "\"/opt/plugins\"", "@\"plugins\"", "/plugin_dirs/1",
     "a path that begins with '/'"},
    {"plugin directory twice", "\"/opt/plugins\"", "@\"/usr/lib/carrick/plugins\"",
     "/plugin_dirs/1", "given twice"},
    {"no plugin directory", "[\"/usr/lib/carrick/plugins\", \"/opt/plugins\"]", "@[]",
     "/plugin_dirs", "found 0 elements, expected 1 to 16"},
    {"one node", "[\"alpha\", \"beta\"]", "@[\"alpha\"]", "/nodes", "found 1 element, expected 2"},
    {"three nodes", "[\"alpha\", \"beta\"]", "@[\"alpha\", \"beta\", \"gamma\"]", "/nodes",
     "found 3 elements, expected 2"},
    {"node twice", "[\"alpha\", \"beta\"]", "[\"alpha\", @\"alpha\"]", "/nodes/1",
     "\"alpha\" is given twice"},
    {"unknown level", "\"notice\"", "@\"warn\"", "/log/level", "did you mean \"warning\"?"},
    {"level as a number", "\"notice\"", "@5", "/log/level",
     "expected one of \"error\", \"warning\", \"notice\", \"info\", \"debug\""},
    {"unknown profile", "\"fast\"", "@\"lan\"", "/managers/0/profile",
     "\"fast\", \"normal\", \"wan\""},
    {"unknown isolation", "\"inline\"", "@\"thread\"", "/managers/0/clients/0/isolation",
     "expected one of \"inline\", \"process\""},
    {"probe of no time", "25", "@0", "/managers/0/timers/probe_ms", "expected an integer from 1"},
    {"timer in microseconds", "25", "@25000000", "/managers/0/timers/probe_ms",
     "expected an integer from 1 to 60000"},
    {"no managers", ALL,
     "{ \"cluster\": \"a\", \"key_file\": \"/k\", \"nodes\": [\"a\", \"b\"],\n"
     "  \"managers\": @[] }",
     "/managers", "found 0 elements, expected 1 to 16"},
    {"no links",
     "[{ \"name\": \"left\", \"transport\": \"tcp\", \"nodes\": { \"alpha\": {}, \"beta\": "
     "{} } }]",
     "@[]", "/managers/1/links", "found 0 elements, expected 1 to 16"},

    // ---- names that lead nowhere, or twice to the same
    {"link without a node", RIGHT, "\"nodes\": @{ \"alpha\": {} } }\n      ]",
     "/managers/0/links/1/nodes", "the key \"beta\" is missing"},
    {"link with another node", RIGHT,
     "\"nodes\": { \"alpha\": {}, \"beta\": {}, @\"gamma\": {} } }\n      ]",
     "/managers/0/links/1/nodes/gamma",
     "there is no node \"gamma\", expected \"alpha\" or \"beta\""},
    {"metrics of another node", "\"beta\": \"[::1]:9420\"", "@\"delta\": \"[::1]:9420\"",
     "/metrics/listen/delta", "there is no node \"delta\""},
    {"link's name taken", "\"right\"", "@\"left\"", "/managers/0/links/1/name",
     "the name \"left\" is taken by /managers/0/links/0"},
    {"client's name taken", "\"log\", \"plugin\"", "@\"echo\", \"plugin\"",
     "/managers/0/clients/1/name", "is taken by /managers/0/clients/0"},
    {"manager's name taken", "\"second\"", "@\"main\"", "/managers/1/name",
     "is taken by /managers/0"},
    {"process of an inline client", "\"isolation\": \"inline\"",
     "\"process\": @\"house\", \"isolation\": \"inline\"", "/managers/0/clients/0/process",
     "say that, or leave it out"},
    {"budget of an inline client", "\"isolation\": \"inline\"",
     "\"hang_ms\": @500, \"isolation\": \"inline\"", "/managers/0/clients/0/hang_ms",
     "say that, or leave it out"},
    {"budget too short", "\"isolation\": \"inline\"",
     "\"hang_ms\": @99, \"isolation\": \"process\"", "/managers/0/clients/0/hang_ms", "100"},

    // ---- addresses and paths
    {"metrics without a port", "\"127.0.0.1:9419\"", "@\"127.0.0.1\"", "/metrics/listen/alpha",
     "expected a numeric address and a port"},
    {"metrics on port 0", "\"127.0.0.1:9419\"", "@\"127.0.0.1:0\"", "/metrics/listen/alpha",
     "a port from 1 to 65535"},
    {"metrics on a port too high", "\"127.0.0.1:9419\"", "@\"127.0.0.1:65536\"",
     "/metrics/listen/alpha", "a port from 1 to 65535"},
    {"metrics on a port with letters", "\"127.0.0.1:9419\"", "@\"127.0.0.1:94x\"",
     "/metrics/listen/alpha", "a port from 1 to 65535"},
    {"metrics on a host name", "\"127.0.0.1:9419\"", "@\"localhost:9419\"", "/metrics/listen/alpha",
     "found \"localhost:9419\", expected a numeric address"},
    {"metrics on IPv6 without brackets", "\"[::1]:9420\"", "@\"::1:9420\"", "/metrics/listen/beta",
     "\"[::1]:9419\""},
    {"metrics with one bracket", "\"[::1]:9420\"", "@\"[::1:9420\"", "/metrics/listen/beta",
     "\"[::1]:9419\""},
    {"metrics with empty brackets", "\"[::1]:9420\"", "@\"[]:9420\"", "/metrics/listen/beta",
     "\"[::1]:9419\""},
    {"metrics with only a bracket", "\"[::1]:9420\"", "@\"]:9420\"", "/metrics/listen/beta",
     "\"[::1]:9419\""},
    {"unknown percent sequence", "\"/run/carrick/%n.sock\"", "@\"/run/%h.sock\"", "/control/socket",
     "found %h in the path, expected %n"},
    {"percent sign last", "\"/run/carrick/%n.sock\"", "@\"/run/%n%\"", "/control/socket",
     "expected %n for the node's name"},
    {"long socket", "\"/run/carrick/%n.sock\"",
     "@\"/run/"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaaaaa/%n\"",
     "/control/socket", "expected at most 107"},
    {"bad group", "\"carrick\" }", "@\"a b\" }", "/control/group", "found \"a b\""},

    // ---- timers that contradict each other (profile fast: probe 20, link dead 80, operation 500)
    {"out of its own range, told once", TIMERS, "\"timers\": { \"probe_ms\": @60001 }",
     "/managers/0/timers/probe_ms", "expected an integer from 1 to 60000"},
    {"one lost probe ends a link", TIMERS, "\"timers\": { \"link_dead_ms\": @39 }",
     "/managers/0/timers/link_dead_ms", "found 39, expected at least 40"},
    {"probe too slow for the profile", TIMERS, "\"timers\": { \"probe_ms\": @41 }",
     "/managers/0/timers/probe_ms", "found 41, expected at most 40"},
    {"the profile is named", TIMERS, "\"timers\": { \"probe_ms\": @41 }",
     "/managers/0/timers/probe_ms", "link_dead_ms (80 of the profile \"fast\")"},
    {"both timers given", TIMERS, "\"timers\": { \"probe_ms\": 100, \"link_dead_ms\": @150 }",
     "/managers/0/timers/link_dead_ms", "at least 2 times probe_ms (100)"},
    {"operation shorter than a link's death", TIMERS, "\"timers\": { \"operation_ms\": @79 }",
     "/managers/0/timers/operation_ms", "carried over from a link that died"},
    {"partner lost before the link", TIMERS, "\"timers\": { \"session_lost_ms\": @79 }",
     "/managers/0/timers/session_lost_ms", "found 79, expected at least 80"},
    {"bring-up shorter than connecting", TIMERS, "\"timers\": { \"bringup_ms\": @499 }",
     "/managers/0/timers/bringup_ms", "found 499, expected at least 500"},
    {"connecting longer than bring-up", TIMERS, "\"timers\": { \"connect_ms\": @2001 }",
     "/managers/0/timers/connect_ms", "found 2001, expected at most 2000"},
    {"first wait longer than the longest", TIMERS, "\"timers\": { \"backoff_min_ms\": @501 }",
     "/managers/0/timers/backoff_min_ms", "found 501, expected at most 500"},
    {"longest wait shorter than the first", TIMERS, "\"timers\": { \"backoff_max_ms\": @9 }",
     "/managers/0/timers/backoff_max_ms", "found 9, expected at least 10"},
    {"default profile", "\"name\": \"second\",",
     "\"name\": \"second\", \"timers\": { \"probe_ms\": @251 },", "/managers/1/timers/probe_ms",
     "found 251, expected at most 250"},
};

#define BADS (sizeof(bads) / sizeof(bads[0]))

// Takes the '@' out of the text and says where it stood.
static void take_mark(char *text, unsigned *line, unsigned *column)
{
    size_t mark = strcspn(text, "@");

    cr_assert_eq(text[mark], '@');
    *line = 1;
    *column = 1;
    for (size_t i = 0; i < mark; i++) {
        if (text[i] == '\n') {
            ++*line;
            *column = 1;
        } else if (((unsigned char)text[i] & 0xc0) != 0x80) {
            ++*column;
        }
    }
    memmove(text + mark, text + mark + 1, strlen(text + mark));
}

static void free_indexes(struct criterion_test_params *params)
{
    cr_free(params->params);
}

ParameterizedTestParameters(config_bad, is_refused_at_its_place)
{
    size_t *indexes = cr_malloc(BADS * sizeof(*indexes));

    for (size_t i = 0; i < BADS; i++)
        indexes[i] = i;
    return cr_make_param_array(size_t, indexes, BADS, free_indexes);
}

ParameterizedTest(size_t *index, config_bad, is_refused_at_its_place)
{
    static struct config_errors errs;
    const struct bad *bad = &bads[*index];
    char *text = config_text_edit(bad->find, bad->replacement);
    struct config *config = NULL;
    unsigned line, column;
    int result;

    take_mark(text, &line, &column);
    result = config_parse("test.json", text, strlen(text), &config, &errs);
    config_text_print(&errs);
    cr_expect_eq(result, -EINVAL, "%s", bad->what);
    cr_expect_null(config);
    cr_assert_eq(errs.count, 1, "%s: %zu errors", bad->what, errs.count);
    cr_expect_eq(errs.error[0].line, line, "%s: line %u", bad->what, line);
    cr_expect_eq(errs.error[0].column, column, "%s: column %u", bad->what, column);
    cr_expect_str_eq(errs.error[0].pointer, bad->pointer, "%s", bad->what);
    cr_expect_not_null(strstr(errs.error[0].text, bad->message), "%s: no \"%s\" in \"%s\"",
                       bad->what, bad->message, errs.error[0].text);
    free(text);
}

Test(config_bad, covers_at_least_sixty_files)
{
    cr_assert_geq(BADS, 60);
}

// The text is cut at every byte: whatever is left is refused, and never with more than one error
// about its syntax.
Test(config_bad, every_beginning_of_a_good_text_is_refused)
{
    static struct config_errors errs;
    size_t last = strlen(config_text_good) - 2; // the final brace

    for (size_t length = 0; length < last; length++) {
        struct config *config = NULL;
        char *text = malloc(length + 1); // of that length, so that reading beyond it is found

        memcpy(text, config_text_good, length);
        cr_assert_eq(config_parse("test.json", text, length, &config, &errs), -EINVAL, "%zu",
                     length);
        cr_assert_eq(errs.count, 1);
        cr_assert_null(config);
        free(text);
    }
}
