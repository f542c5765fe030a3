// SPDX-License-Identifier: Apache-2.0
//
// Reading the file, limits, and how errors are collected and printed.

#include "config_text.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static struct config_errors errs;

static char *write_file(const char *text, size_t length)
{
    char *path = strdup("/tmp/carrick-config-XXXXXX");
    int fd = mkstemp(path);

    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, length), (ssize_t)length);
    close(fd);
    return path;
}

static void remove_file(char *path)
{
    unlink(path);
    free(path);
}

static int parse(const char *text, size_t length)
{
    struct config *config = NULL;
    int result = config_parse("test.json", text, length, &config, &errs);

    config_text_print(&errs);
    config_free(config);
    return result;
}

// "[[[...]]]" in a client's section, so that nothing but the depth is wrong with it.
static char *nested(unsigned arrays)
{
    char *open = calloc(1, 2 * arrays + 16), *text;

    strcpy(open, "{ \"a\": ");
    memset(open + strlen(open), '[', arrays);
    memset(open + strlen(open), ']', arrays);
    strcat(open, " }");
    text = config_text_edit("{ \"size\": 4096 }", open);
    free(open);
    return text;
}

// ---- files

Test(config_file, good_file_is_loaded)
{
    char *path = write_file(config_text_good, strlen(config_text_good));
    struct config *config = NULL;

    cr_assert_eq(config_load(path, &config, &errs), 0);
    cr_expect_str_eq(config->file, path);
    cr_expect_eq(errs.count, 0);
    config_free(config);
    remove_file(path);
}

Test(config_file, missing_file_is_named)
{
    struct config *config;
    char line[512];

    cr_expect_eq(config_load("/nowhere/carrick.json", &config, &errs), -ENOENT);
    cr_expect_null(config);
    cr_assert_eq(errs.count, 1);
    config_error_format(&errs, 0, line, sizeof(line));
    cr_expect_str_eq(line,
                     "/nowhere/carrick.json: cannot open the file: No such file or directory");
}

Test(config_file, directory_is_refused)
{
    struct config *config;

    cr_expect_eq(config_load("/tmp", &config, &errs), -EISDIR);
    cr_expect_not_null(strstr(errs.error[0].text, "a directory, expected a file"));
}

// A pipe must not hold the reader up: there is nobody at its other end.
Test(config_file, pipe_is_refused, .timeout = 20)
{
    char *path = write_file("", 0);
    struct config *config;

    unlink(path);
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_expect_eq(config_load(path, &config, &errs), -EINVAL);
    cr_expect_not_null(strstr(errs.error[0].text, "not a regular file"));
    remove_file(path);
}

Test(config_file, error_in_a_file_names_it)
{
    static const char text[] = "{\n  \"cluster\": }";
    char *path = write_file(text, sizeof(text) - 1);
    struct config *config;
    char line[512], wanted[512];

    cr_expect_eq(config_load(path, &config, &errs), -EINVAL);
    snprintf(wanted, sizeof(wanted), "%s:2:14: /cluster: found '}', expected a value", path);
    config_error_format(&errs, 0, line, sizeof(line));
    cr_expect_str_eq(line, wanted);
    remove_file(path);
}

Test(config_file, nul_byte_is_refused)
{
    static const char text[] = "{ \"cluster\": \"a\" }\n\0{";

    cr_expect_eq(parse(text, sizeof(text) - 1), -EINVAL);
    cr_assert_eq(errs.count, 1);
    cr_expect_eq(errs.error[0].line, 2);
    cr_expect_eq(errs.error[0].column, 1);
    cr_expect_not_null(strstr(errs.error[0].text, "the byte 0x00"));
}

// ---- limits

Test(config_file, size_has_a_limit)
{
    size_t used = strlen(config_text_good);
    char *text = malloc(CONFIG_FILE_BYTES_MAX + 1);
    struct config *config;
    char *path;

    memcpy(text, config_text_good, used);
    memset(text + used, ' ', CONFIG_FILE_BYTES_MAX + 1 - used);
    cr_expect_eq(parse(text, CONFIG_FILE_BYTES_MAX), 0, "the largest that is allowed");
    cr_expect_eq(parse(text, CONFIG_FILE_BYTES_MAX + 1), -EINVAL);
    cr_expect_not_null(strstr(errs.error[0].text, "more than 1048576 bytes"));
    path = write_file(text, CONFIG_FILE_BYTES_MAX + 1);
    cr_expect_eq(config_load(path, &config, &errs), -EINVAL);
    cr_expect_not_null(strstr(errs.error[0].text, "has 1048577 bytes, expected at most 1048576"));
    remove_file(path);
    free(text);
}

Test(config_file, depth_has_a_limit)
{
    char *good = nested(26); // within /, managers, 0, clients, 0, config: the 32nd level
    char *bad = nested(27);

    cr_expect_eq(parse(good, strlen(good)), 0);
    cr_expect_eq(parse(bad, strlen(bad)), -EINVAL);
    cr_assert_eq(errs.count, 1);
    cr_expect_eq(errs.error[0].line, 34);
    cr_expect_eq(errs.error[0].column, 21 + 7 + 26);
    cr_expect_not_null(strstr(errs.error[0].text, "deeper than 32 levels"));
    free(good);
    free(bad);
}

Test(config_file, brackets_without_end_are_refused)
{
    char *text = malloc(CONFIG_FILE_BYTES_MAX);

    memset(text, '[', CONFIG_FILE_BYTES_MAX);
    cr_expect_eq(parse(text, CONFIG_FILE_BYTES_MAX), -EINVAL);
    cr_expect_not_null(strstr(errs.error[0].text, "deeper than 32 levels"));
    free(text);
}

Test(config_file, number_of_values_has_a_limit)
{
    char *text = malloc(CONFIG_FILE_BYTES_MAX);

    for (size_t i = 0; i < CONFIG_FILE_BYTES_MAX; i += 2)
        memcpy(text + i, i == 0 ? "[1" : ",1", 2);
    cr_expect_eq(parse(text, CONFIG_FILE_BYTES_MAX), -EINVAL);
    cr_assert_eq(errs.count, 1);
    cr_expect_not_null(strstr(errs.error[0].text, "more than 65536 values"));
    free(text);
}

// ---- many errors

Test(config_file, errors_are_collected_in_the_order_of_the_file)
{
    char *text = config_text_edit("\"fast\",\n      \"timers\": { \"probe_ms\": 25 },\n"
                                  "      \"poll_us\": 50,\n      \"lanes\": 3",
                                  "\"slow\",\n      \"timers\": { \"prob_ms\": 25 },\n"
                                  "      \"poll_us\": -1,\n      \"lanes\": \"3\"");
    static const unsigned lines[] = {13, 14, 15, 16};

    cr_expect_eq(parse(text, strlen(text)), -EINVAL);
    cr_assert_eq(errs.count, 4);
    for (size_t i = 0; i < 4; i++)
        cr_expect_eq(errs.error[i].line, lines[i]);
    free(text);
}

// What the schema finds and what is found beyond it come from two passes, and a key given twice from
// a third; the reader sees one list.
Test(config_file, errors_of_all_kinds_come_in_one_run)
{
    char *text =
        config_text_edit("\"name\": \"second\",", "\"name\": \"main\", \"lanes\": 9,\n"
                                                  "      \"poll_us\": 1, \"poll_us\": -2,");

    cr_expect_eq(parse(text, strlen(text)), -EINVAL);
    cr_assert_eq(errs.count, 4); // the first poll_us is not held against the second's value
    cr_expect_str_eq(errs.error[0].pointer, "/managers/1/name");
    cr_expect_str_eq(errs.error[1].pointer, "/managers/1/lanes");
    cr_expect_str_eq(errs.error[2].pointer, "/managers/1/poll_us");
    cr_expect_str_eq(errs.error[3].pointer, "/managers/1/poll_us");
    cr_expect_eq(errs.error[2].column, 21, "the second key");
    cr_expect_eq(errs.error[3].column, 32, "its value");
    cr_expect_eq(errs.dropped, 0);
    free(text);
}

Test(config_file, number_of_errors_has_a_limit)
{
    char *text = malloc(100 * 16 + 16), *end = text;

    end += sprintf(end, "{");
    for (int i = 0; i < 100; i++)
        end += sprintf(end, "%s\"x%d\": 1", i > 0 ? ",\n" : "", i);
    sprintf(end, "}");
    cr_expect_eq(parse(text, strlen(text)), -EINVAL);
    cr_expect_eq(errs.count, CONFIG_ERRORS_MAX);
    cr_expect_eq(errs.count + errs.dropped, 104, "with the four keys that are missing");
    free(text);
}

// ---- printing

Test(config_file, text_of_an_error_is_printable)
{
    char line[1024];

    config_errors_init(&errs, "a\nb\x1b[1m");
    config_errors_add(&errs, 3, 4, "/x\x7f", "bell\a, C1 \xc2\x9b, bad \xff, good \xc3\xa4");
    config_error_format(&errs, 0, line, sizeof(line));
    cr_expect_str_eq(line, "a?b?[1m:3:4: /x?: bell?, C1 ?, bad ?, good \xc3\xa4");
}

Test(config_file, text_of_an_error_is_cut_between_characters)
{
    char text[2 * CONFIG_TEXT_SIZE];

    for (size_t i = 0; i + 2 < sizeof(text); i += 2)
        memcpy(text + i, "\xc3\xa4", 3);
    config_errors_init(&errs, "f");
    config_errors_add(&errs, 1, 1, "", text);
    cr_expect_eq(strlen(errs.error[0].text), CONFIG_TEXT_SIZE - 2);
}

Test(config_file, error_without_a_pointer_is_printed_without_one)
{
    char line[64];

    config_errors_init(&errs, "f");
    config_errors_add(&errs, 1, 2, "", "text");
    cr_expect_eq(config_error_format(&errs, 0, line, sizeof(line)), 11);
    cr_expect_str_eq(line, "f:1:2: text");
}

// ---- what others find out

Test(config_file, others_report_at_the_place_of_a_value)
{
    static const struct {
        const char *base, *relative;
        unsigned line, column;
        const char *pointer;
    } cases[] = {
        {"/cluster", NULL, 3, 14, "/cluster"},
        {"", NULL, 1, 1, ""},
        {"/managers/0/links/0", "/transport", 22, 24, "/managers/0/links/0/transport"},
        {"/managers/0/links/0/nodes/beta", "/port", 26, 54, "/managers/0/links/0/nodes/beta/port"},
        {"/managers/0/links/0/nodes/beta", "port", 26, 54, "/managers/0/links/0/nodes/beta/port"},
        {"/managers/0/clients/0/config", "", 34, 21, "/managers/0/clients/0/config"},
        // what is absent is reported at what would hold it
        {"/managers/0/clients/0/config", "/depth", 34, 21, "/managers/0/clients/0/config/depth"},
        {"/managers/0/clients/1/config", "/a/b", 35, 9, "/managers/0/clients/1/config/a/b"},
        {"/managers/9/name", NULL, 10, 15, "/managers/9/name"},
        {"/managers/00/name", NULL, 10, 15, "/managers/00/name"},
        {"nonsense", NULL, 1, 1, "nonsense"},
    };
    struct config *config = config_text_parse(config_text_good);

    config_errors_init(&errs, config->file);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cr_expect_eq(config_error_in(config, &errs, cases[i].base, cases[i].relative, "no"),
                     -EINVAL);
        cr_expect_eq(errs.error[i].line, cases[i].line, "%s", cases[i].pointer);
        cr_expect_eq(errs.error[i].column, cases[i].column, "%s", cases[i].pointer);
        cr_expect_str_eq(errs.error[i].pointer, cases[i].pointer);
        cr_expect_str_eq(errs.error[i].text, "no");
    }
    config_free(config);
}

Test(config_file, pointers_with_escapes_are_followed)
{
    struct config *config =
        config_text_parse_edited("{ \"size\": 4096 }", "{ \"a/b\": { \"c~d\": 1 }, \"a\": 2 }");

    config_errors_init(&errs, config->file);
    config_error_at(config, &errs, "/managers/0/clients/0/config/a~1b/c~0d", "x");
    cr_expect_eq(errs.error[0].line, 34);
    cr_expect_eq(errs.error[0].column, 39);
    config_free(config);
}
