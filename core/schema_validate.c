// SPDX-License-Identifier: Apache-2.0

#include "core/schema.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct check {
    const struct schema *schema;
    struct config_errors *errs;
    bool failed;
};

#define REPORT(check, cursor, place, ...)                                                          \
    do {                                                                                           \
        (check)->failed = true;                                                                    \
        json_cursor_report((cursor), (place), (check)->errs, __VA_ARGS__);                         \
    } while (0)

static void check_value(struct check *check, struct json_object *node,
                        const struct json_cursor *cursor);

static bool keyword_int(const struct schema_view *view, const char *name, int64_t *number)
{
    struct json_object *value;

    if (!schema_keyword(view, name, &value))
        return false;
    *number = json_object_get_int64(value);
    return true;
}

static size_t characters(const char *text)
{
    size_t count = 0;

    for (; *text != '\0'; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

// ---- values

static bool type_is(struct json_object *value, const char *type)
{
    static const struct {
        const char *name;
        enum json_type type;
    } types[] = {
        {"object", json_type_object},   {"array", json_type_array}, {"string", json_type_string},
        {"integer", json_type_int},     {"number", json_type_int},  {"number", json_type_double},
        {"boolean", json_type_boolean}, {"null", json_type_null},
    };

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcmp(types[i].name, type) == 0 && json_object_is_type(value, types[i].type))
            return true;
    }
    return false;
}

// What the author of a value of the wrong type probably has to do.
static const char *type_hint(struct json_object *value, const char *type)
{
    bool string = json_object_is_type(value, json_type_string);
    const char *text = string ? json_object_get_string(value) : "";

    if (json_object_is_type(value, json_type_null))
        return "; leave the key out to get its default";
    if (strcmp(type, "integer") == 0 && json_object_is_type(value, json_type_double))
        return "; write it without fraction and exponent";
    if (strcmp(type, "integer") == 0 && string && text[0] != '\0' &&
        strspn(text, "0123456789") == strlen(text))
        return "; write it without quotes";
    if (strcmp(type, "boolean") == 0 && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0))
        return "; write it without quotes";
    if (strcmp(type, "array") == 0)
        return "; put it in [ ]";
    return "";
}

static void report_unexpected(struct check *check, const struct schema_view *view,
                              const struct json_cursor *cursor, enum json_place place,
                              struct json_object *value, const char *hint)
{
    char found[128], expected[384];

    schema_say_found(value, found, sizeof(found));
    schema_say_expected(view, expected, sizeof(expected));
    REPORT(check, cursor, place, "found %s, expected %s%s", found, expected, hint);
}

static void check_choice(struct check *check, const struct schema_view *view,
                         const struct json_cursor *cursor, struct json_object *choices)
{
    const char *near = NULL;
    char hint[64] = "";

    for (size_t i = 0; i < json_object_array_length(choices); i++) {
        if (json_object_equal(json_object_array_get_idx(choices, i), cursor->value))
            return;
    }
    if (json_object_is_type(cursor->value, json_type_string))
        near = schema_nearest(choices, json_object_get_string(cursor->value));
    if (near != NULL)
        snprintf(hint, sizeof(hint), "; did you mean \"%s\"?", near);
    report_unexpected(check, view, cursor, JSON_PLACE_VALUE, cursor->value, hint);
}

static void check_number(struct check *check, const struct schema_view *view,
                         const struct json_cursor *cursor)
{
    int64_t number = json_object_get_int64(cursor->value);
    int64_t bound;

    if ((keyword_int(view, "minimum", &bound) && number < bound) ||
        (keyword_int(view, "maximum", &bound) && number > bound))
        report_unexpected(check, view, cursor, JSON_PLACE_VALUE, cursor->value, "");
}

static void check_string(struct check *check, const struct schema_view *view,
                         const struct json_cursor *cursor, enum json_place place,
                         struct json_object *value)
{
    const char *text = json_object_get_string(value);
    const char *pattern = schema_keyword_string(view, "pattern");
    size_t length = characters(text);
    int64_t bound;

    if ((keyword_int(view, "minLength", &bound) && length < (size_t)bound) ||
        (keyword_int(view, "maxLength", &bound) && length > (size_t)bound) ||
        (pattern != NULL && !schema_matches(check->schema, pattern, text)))
        report_unexpected(check, view, cursor, place, value, "");
}

// ---- arrays

static bool equal_before(const struct json_cursor *array, const struct json_cursor *item)
{
    uint32_t index = item->positions->nodes[item->node].index;

    for (uint32_t i = 0; i < index; i++) {
        if (json_object_equal(json_object_array_get_idx(array->value, i), item->value))
            return true;
    }
    return false;
}

static void check_array(struct check *check, const struct schema_view *view,
                        const struct json_cursor *cursor)
{
    size_t count = json_object_array_length(cursor->value);
    const char *description = schema_keyword_string(view, "description");
    bool unique = schema_keyword(view, "uniqueItems", &(struct json_object *){NULL});
    int64_t min = 0, max = INT64_MAX;
    struct json_object *items = NULL;
    struct json_cursor item;
    char found[128];

    (void)keyword_int(view, "minItems", &min);
    (void)keyword_int(view, "maxItems", &max);
    if (count < (size_t)min || count > (size_t)max) {
        if (min == max)
            snprintf(found, sizeof(found), "%" PRId64, min);
        else
            snprintf(found, sizeof(found), "%" PRId64 " to %" PRId64, min, max);
        REPORT(check, cursor, JSON_PLACE_VALUE, "found %zu element%s, expected %s (%s)", count,
               count == 1 ? "" : "s", found, description != NULL ? description : "an array");
        if (count > (size_t)max)
            return; // what stands in so long an array is of no interest, and has no bound
    }
    (void)schema_keyword(view, "items", &items);
    for (bool more = json_cursor_child(cursor, &item); more;
         more = json_cursor_next(&item, &item)) {
        if (items != NULL)
            check_value(check, items, &item);
        if (unique && equal_before(cursor, &item)) {
            schema_say_found(item.value, found, sizeof(found));
            REPORT(check, &item, JSON_PLACE_VALUE,
                   "%s is given twice, expected different ones (%s)", found,
                   description != NULL ? description : "an array");
        }
    }
}

// ---- objects

static void report_unknown(struct check *check, const struct json_cursor *member,
                           struct json_object *properties)
{
    const char *key = json_cursor_key(member);
    const char *near;
    char names[320];

    if (check->errs->count == CONFIG_ERRORS_MAX) {
        check->failed = true; // nobody will read what was meant, and it takes time to find out
        check->errs->dropped++;
        return;
    }
    near = schema_nearest(properties, key);
    if (near != NULL) {
        REPORT(check, member, JSON_PLACE_KEY, "unknown key \"%.60s\"; did you mean \"%s\"?", key,
               near);
        return;
    }
    schema_say_names(properties, names, sizeof(names));
    REPORT(check, member, JSON_PLACE_KEY, "unknown key \"%.60s\", expected one of %s", key, names);
}

static void check_name(struct check *check, struct json_object *node,
                       const struct json_cursor *member)
{
    struct schema_view view = schema_view_of(check->schema, node);
    struct json_object *name = json_object_new_string(json_cursor_key(member));

    if (name != NULL)
        check_string(check, &view, member, JSON_PLACE_KEY, name);
    else
        REPORT(check, member, JSON_PLACE_KEY, "out of memory");
    json_object_put(name);
}

static void check_required(struct check *check, const struct schema_view *view,
                           const struct json_cursor *cursor, struct json_object *properties)
{
    struct json_object *names, *node;

    if (!schema_keyword(view, "required", &names))
        return;
    for (size_t i = 0; i < json_object_array_length(names); i++) {
        const char *name = json_object_get_string(json_object_array_get_idx(names, i));
        struct schema_view member;
        char expected[320];

        if (json_object_object_get_ex(cursor->value, name, NULL))
            continue;
        snprintf(expected, sizeof(expected), "a value");
        if (json_object_object_get_ex(properties, name, &node)) {
            member = schema_view_of(check->schema, node);
            schema_say_expected(&member, expected, sizeof(expected));
        }
        REPORT(check, cursor, JSON_PLACE_VALUE, "the key \"%s\" is missing, expected %s", name,
               expected);
    }
}

static void check_object(struct check *check, const struct schema_view *view,
                         const struct json_cursor *cursor)
{
    struct json_object *properties = NULL, *additional = NULL, *names = NULL, *node;
    struct json_cursor member;
    int64_t min;

    (void)schema_keyword(view, "properties", &properties);
    (void)schema_keyword(view, "additionalProperties", &additional);
    (void)schema_keyword(view, "propertyNames", &names);
    check_required(check, view, cursor, properties);
    if (keyword_int(view, "minProperties", &min) &&
        json_object_object_length(cursor->value) < (int)min)
        report_unexpected(check, view, cursor, JSON_PLACE_VALUE, cursor->value,
                          "; it holds too few keys");
    for (bool more = json_cursor_child(cursor, &member); more;
         more = json_cursor_next(&member, &member)) {
        if (names != NULL)
            check_name(check, names, &member);
        if (json_object_object_get_ex(properties, json_cursor_key(&member), &node))
            check_value(check, node, &member);
        else if (json_object_is_type(additional, json_type_object))
            check_value(check, additional, &member);
        else if (additional != NULL)
            report_unknown(check, &member, properties);
    }
}

// ---- any value

static void check_value(struct check *check, struct json_object *node,
                        const struct json_cursor *cursor)
{
    struct schema_view view = schema_view_of(check->schema, node);
    const char *type = schema_keyword_string(&view, "type");
    struct json_object *wanted;

    if (type != NULL && !type_is(cursor->value, type)) {
        report_unexpected(check, &view, cursor, JSON_PLACE_VALUE, cursor->value,
                          type_hint(cursor->value, type));
        return;
    }
    if (schema_keyword(&view, "enum", &wanted))
        check_choice(check, &view, cursor, wanted);
    if (schema_keyword(&view, "const", &wanted) && !json_object_equal(wanted, cursor->value))
        report_unexpected(check, &view, cursor, JSON_PLACE_VALUE, cursor->value, "");
    switch (json_object_get_type(cursor->value)) {
    case json_type_int:
        check_number(check, &view, cursor);
        break;
    case json_type_string:
        check_string(check, &view, cursor, JSON_PLACE_VALUE, cursor->value);
        break;
    case json_type_array:
        check_array(check, &view, cursor);
        break;
    case json_type_object:
        check_object(check, &view, cursor);
        break;
    default:
        break;
    }
}

int schema_validate(const struct schema *schema, const struct json_cursor *value,
                    struct config_errors *errs)
{
    struct check check = {.schema = schema, .errs = errs};

    check_value(&check, schema_root(schema), value);
    return check.failed ? -EINVAL : 0;
}
