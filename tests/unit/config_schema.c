// SPDX-License-Identifier: Apache-2.0
//
// The schema's own rules: what it refuses, and that what is shipped agrees with it.

#include "core/config_internal.h"
#include "core/schema.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = calloc(1, 256 * 1024);

    cr_assert_not_null(file, "%s: tests run in the root of the tree", path);
    (void)!fread(text, 1, 256 * 1024 - 1, file);
    fclose(file);
    return text;
}

// ---- schemas

Test(config_schema, own_schema_is_understood)
{
    char error[256];
    struct schema *schema =
        schema_new(config_schema_json, config_schema_json_size, error, sizeof(error));

    cr_assert_not_null(schema, "%s", error);
    schema_free(schema);
}

Test(config_schema, what_would_not_be_checked_is_refused)
{
    static const char *const cases[][2] = {
        {"[]", "not a JSON object"},
        {"{ \"type\": ", "not a JSON object"},
        {"{ \"oneOf\": [] }", "unknown keyword: \"oneOf\""},
        {"{ \"properties\": { \"a\": { \"exclusiveMaximum\": 3 } } }", "\"exclusiveMaximum\""},
        {"{ \"items\": { \"multipleOf\": 3 } }", "\"multipleOf\""},
        {"{ \"properties\": { \"a\": 1 } }", "not a schema: \"a\""},
        {"{ \"minimum\": \"3\" }", "wrong type: \"minimum\""},
        {"{ \"type\": [\"string\", \"null\"] }", "wrong type: \"type\""},
        {"{ \"additionalProperties\": true }", "must be false or a schema"},
        {"{ \"$ref\": \"#/$defs/a\" }", "nothing is found at this $ref"},
        {"{ \"$ref\": \"other.json\", \"$defs\": {} }", "nothing is found at this $ref"},
        {"{ \"$defs\": { \"a\": { \"$ref\": \"#/$defs/a\" } } }", "leads to another one"},
        {"{ \"$defs\": { \"a\": {} }, \"items\": { \"$ref\": \"#/$defs/a\", \"minimum\": 1 } }",
         "may not stand beside $ref: \"minimum\""},
        {"{ \"pattern\": \"[\" }", "not a regular expression"},
        {"{ \"uniqueItems\": true }", "maxItems"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char error[256] = "";
        struct schema *schema = schema_new(cases[i][0], strlen(cases[i][0]), error, sizeof(error));

        cr_expect_null(schema, "%s", cases[i][0]);
        cr_expect_not_null(strstr(error, cases[i][1]), "%s: %s", cases[i][0], error);
        schema_free(schema);
    }
}

// ---- validation of what the configuration itself does not use

static bool valid(const char *schema_text, const char *text)
{
    static struct config_errors errs;
    char error[256];
    struct schema *schema = schema_new(schema_text, strlen(schema_text), error, sizeof(error));
    struct json_object *value = json_tokener_parse(text);
    struct json_positions *positions;
    struct json_cursor cursor;
    int result;

    cr_assert_not_null(schema, "%s", error);
    config_errors_init(&errs, "test");
    cr_assert_eq(json_positions_scan(text, strlen(text), &positions, &errs), 0);
    cursor = json_cursor_root(positions, value);
    result = schema_validate(schema, &cursor, &errs);
    cr_expect_eq(result == 0, errs.count == 0);
    json_positions_free(positions);
    json_object_put(value);
    schema_free(schema);
    return result == 0;
}

Test(config_schema, const_and_number_and_null)
{
    cr_expect(valid("{ \"const\": 3 }", "3"));
    cr_expect_not(valid("{ \"const\": 3 }", "4"));
    cr_expect(valid("{ \"type\": \"number\" }", "1.5"));
    cr_expect(valid("{ \"type\": \"number\" }", "1"));
    cr_expect_not(valid("{ \"type\": \"number\" }", "\"1\""));
    cr_expect(valid("{ \"type\": \"null\" }", "null"));
    cr_expect_not(valid("{ \"type\": \"null\" }", "0"));
}

Test(config_schema, lengths_count_characters)
{
    cr_expect(valid("{ \"maxLength\": 2 }", "\"\xc3\xa4\xe2\x82\xac\""));
    cr_expect_not(valid("{ \"maxLength\": 2 }", "\"abc\""));
    cr_expect_not(valid("{ \"minLength\": 2 }", "\"\xf0\x9f\x98\x80\""));
}

Test(config_schema, keys_are_checked)
{
    static const char schema[] = "{ \"propertyNames\": { \"pattern\": \"^[a-z]+$\" } }";

    cr_expect(valid(schema, "{ \"abc\": 1 }"));
    cr_expect_not(valid(schema, "{ \"abc\": 1, \"X\": 2 }"));
}

Test(config_schema, items_are_compared_by_value)
{
    static const char schema[] = "{ \"uniqueItems\": true, \"maxItems\": 4 }";

    cr_expect(valid(schema, "[{ \"a\": 1 }, { \"a\": 2 }, 1, \"1\"]"));
    cr_expect_not(valid(schema, "[{ \"a\": 1 }, 3, { \"a\": 1 }]"));
}

// ---- what is shipped

Test(config_schema, shipped_examples_are_good)
{
    static const char *const files[] = {
        "examples/config/smallest.json", "examples/config/one-machine.json",
        "examples/config/pair.json", "examples/config/pair-etcd.json"};
    static struct config_errors errs;

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct config *config = NULL;

        cr_expect_eq(config_load(files[i], &config, &errs), 0, "%s:%u: %s", files[i],
                     errs.error[0].line, errs.error[0].text);
        config_free(config);
    }
}

static void manual_has(const char *manual, const char *key, struct json_object *schema);

// Each key of the schema has its entry in the manual, with its bounds and its default.
static void manual_has_all(const char *manual, struct json_object *schema)
{
    struct json_object *below;

    if (json_object_object_get_ex(schema, "properties", &below)) {
        json_object_object_foreach(below, key, member)
        {
            manual_has(manual, key, member);
            manual_has_all(manual, member);
        }
    }
    if (json_object_object_get_ex(schema, "$defs", &below)) {
        json_object_object_foreach(below, name, member)
        {
            (void)name;
            manual_has_all(manual, member);
        }
    }
}

static void manual_has(const char *manual, const char *key, struct json_object *schema)
{
    struct json_object *minimum, *maximum;
    char text[128], range[64];
    const char *entry;

    snprintf(text, sizeof(text), "Cm %s", key);
    entry = strstr(manual, text);
    cr_assert_not_null(entry, "the manual says nothing of %s", key);
    if (!json_object_object_get_ex(schema, "minimum", &minimum))
        return;
    json_object_object_get_ex(schema, "maximum", &maximum);
    snprintf(range, sizeof(range), "%lld to %lld", (long long)json_object_get_int64(minimum),
             (long long)json_object_get_int64(maximum));
    for (; entry != NULL; entry = strstr(entry + 1, text)) {
        const char *at = strstr(entry, range);

        if (at != NULL && at - entry < 100)
            return;
    }
    cr_assert_fail("the manual does not give the range %s of %s", range, key);
}

Test(config_schema, manual_has_every_key_and_range)
{
    char *manual = read_file("man/carrick.json.5");
    struct json_object *schema = json_tokener_parse(config_schema_json);

    manual_has_all(manual, schema);
    json_object_put(schema);
    free(manual);
}

// The first configuration that people copy is the same in the manual and as a file.
Test(config_schema, manual_shows_the_first_example)
{
    char *manual = read_file("man/carrick.json.5");
    char *example = read_file("examples/config/smallest.json");

    cr_expect_not_null(strstr(manual, example));
    free(manual);
    free(example);
}
