// SPDX-License-Identifier: Apache-2.0

#include "core/schema.h"

#include <errno.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pattern {
    const char *text; // belongs to the schema's root
    regex_t expression;
};

struct schema {
    struct json_object *root;
    size_t patterns_count;
    struct pattern patterns[SCHEMA_PATTERNS_MAX];
};

// How the value of a keyword goes on.
enum keyword_holds {
    HOLDS_NOTHING,
    HOLDS_SCHEMA,
    HOLDS_SCHEMAS,        // an object of schemas
    HOLDS_SCHEMA_OR_BOOL, // and the boolean can only be false
    HOLDS_PATTERN,
    HOLDS_REF,
};

static const struct keyword {
    const char *name;
    enum json_type type;
    enum keyword_holds holds;
    bool beside_ref;
} keywords[] = {
    {"$schema", json_type_string, HOLDS_NOTHING, true},
    {"$id", json_type_string, HOLDS_NOTHING, true},
    {"$comment", json_type_string, HOLDS_NOTHING, true},
    {"$defs", json_type_object, HOLDS_SCHEMAS, true},
    {"$ref", json_type_string, HOLDS_REF, true},
    {"title", json_type_string, HOLDS_NOTHING, true},
    {"description", json_type_string, HOLDS_NOTHING, true},
    {"default", json_type_null, HOLDS_NOTHING, true}, // of any type
    {"type", json_type_string, HOLDS_NOTHING, false},
    {"enum", json_type_array, HOLDS_NOTHING, false},
    {"const", json_type_null, HOLDS_NOTHING, false}, // of any type
    {"minimum", json_type_int, HOLDS_NOTHING, false},
    {"maximum", json_type_int, HOLDS_NOTHING, false},
    {"minLength", json_type_int, HOLDS_NOTHING, false},
    {"maxLength", json_type_int, HOLDS_NOTHING, false},
    {"pattern", json_type_string, HOLDS_PATTERN, false},
    {"items", json_type_object, HOLDS_SCHEMA, false},
    {"minItems", json_type_int, HOLDS_NOTHING, false},
    {"maxItems", json_type_int, HOLDS_NOTHING, false},
    {"uniqueItems", json_type_boolean, HOLDS_NOTHING, false},
    {"properties", json_type_object, HOLDS_SCHEMAS, false},
    {"required", json_type_array, HOLDS_NOTHING, false},
    {"minProperties", json_type_int, HOLDS_NOTHING, false},
    {"propertyNames", json_type_object, HOLDS_SCHEMA, false},
    {"additionalProperties", json_type_null, HOLDS_SCHEMA_OR_BOOL, false},
};

struct compile {
    struct schema *schema;
    char *error;
    size_t error_size;
};

static bool compile_schema(struct compile *compile, struct json_object *node);

static bool refuse(struct compile *compile, const char *what, const char *word)
{
    snprintf(compile->error, compile->error_size, "%s: \"%s\"", what, word);
    return false;
}

static const struct keyword *keyword_find(const char *name)
{
    for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++) {
        if (strcmp(keywords[i].name, name) == 0)
            return &keywords[i];
    }
    return NULL;
}

static struct json_object *ref_target(struct json_object *root, const char *ref)
{
    static const char prefix[] = "#/$defs/";
    struct json_object *defs, *target;

    if (strncmp(ref, prefix, sizeof(prefix) - 1) != 0 ||
        !json_object_object_get_ex(root, "$defs", &defs) ||
        !json_object_object_get_ex(defs, ref + sizeof(prefix) - 1, &target))
        return NULL;
    return target;
}

// One step only: a chain of references could be a ring.
static bool compile_ref(struct compile *compile, struct json_object *node, const char *ref)
{
    struct json_object *target = ref_target(compile->schema->root, ref);

    if (target == NULL)
        return refuse(compile, "nothing is found at this $ref", ref);
    if (json_object_object_get_ex(target, "$ref", NULL))
        return refuse(compile, "this $ref leads to another one", ref);
    json_object_object_foreach(node, name, value)
    {
        const struct keyword *keyword = keyword_find(name);

        (void)value;
        if (keyword == NULL || !keyword->beside_ref)
            return refuse(compile, "this keyword may not stand beside $ref", name);
    }
    return true;
}

static bool compile_pattern(struct compile *compile, const char *text)
{
    struct schema *schema = compile->schema;
    struct pattern *pattern = &schema->patterns[schema->patterns_count];

    for (size_t i = 0; i < schema->patterns_count; i++) {
        if (strcmp(schema->patterns[i].text, text) == 0)
            return true;
    }
    if (schema->patterns_count == SCHEMA_PATTERNS_MAX)
        return refuse(compile, "too many patterns, at this one", text);
    if (regcomp(&pattern->expression, text, REG_EXTENDED | REG_NOSUB) != 0)
        return refuse(compile, "this pattern is not a regular expression", text);
    pattern->text = text;
    schema->patterns_count++;
    return true;
}

static bool compile_schemas(struct compile *compile, struct json_object *members)
{
    json_object_object_foreach(members, name, member)
    {
        if (!json_object_is_type(member, json_type_object))
            return refuse(compile, "this is not a schema", name);
        if (!compile_schema(compile, member))
            return false;
    }
    return true;
}

static bool compile_keyword(struct compile *compile, struct json_object *node, const char *name,
                            struct json_object *value)
{
    const struct keyword *keyword = keyword_find(name);

    if (keyword == NULL)
        return refuse(compile, "unknown keyword", name);
    if (keyword->type != json_type_null && !json_object_is_type(value, keyword->type))
        return refuse(compile, "this keyword's value has the wrong type", name);
    switch (keyword->holds) {
    case HOLDS_NOTHING:
        return true;
    case HOLDS_SCHEMA:
        return compile_schema(compile, value);
    case HOLDS_SCHEMAS:
        return compile_schemas(compile, value);
    case HOLDS_SCHEMA_OR_BOOL:
        if (json_object_is_type(value, json_type_object))
            return compile_schema(compile, value);
        if (!json_object_is_type(value, json_type_boolean) || json_object_get_boolean(value))
            return refuse(compile, "this keyword's value must be false or a schema", name);
        return true;
    case HOLDS_PATTERN:
        return compile_pattern(compile, json_object_get_string(value));
    case HOLDS_REF:
        return compile_ref(compile, node, json_object_get_string(value));
    }
    return false;
}

static bool compile_schema(struct compile *compile, struct json_object *node)
{
    json_object_object_foreach(node, name, value)
    {
        if (!compile_keyword(compile, node, name, value))
            return false;
    }
    // Otherwise the comparison of each with each has no bound.
    if (json_object_object_get_ex(node, "uniqueItems", NULL) &&
        !json_object_object_get_ex(node, "maxItems", NULL))
        return refuse(compile, "this keyword needs another beside it, maxItems", "uniqueItems");
    return true;
}

struct schema *schema_new(const char *text, size_t length, char *error, size_t error_size)
{
    struct schema *schema = calloc(1, sizeof(*schema));
    struct json_tokener *tokener = json_tokener_new();
    struct compile compile = {.schema = schema, .error = error, .error_size = error_size};
    bool good = false;

    snprintf(error, error_size, "out of memory");
    if (schema != NULL && tokener != NULL && length < CONFIG_FILE_BYTES_MAX) {
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
        schema->root = json_tokener_parse_ex(tokener, text, (int)length);
        if (json_object_is_type(schema->root, json_type_object))
            good = compile_schema(&compile, schema->root);
        else
            snprintf(error, error_size, "the schema is not a JSON object");
    }
    if (tokener != NULL)
        json_tokener_free(tokener);
    if (!good) {
        schema_free(schema);
        return NULL;
    }
    return schema;
}

void schema_free(struct schema *schema)
{
    if (schema == NULL)
        return;
    for (size_t i = 0; i < schema->patterns_count; i++)
        regfree(&schema->patterns[i].expression);
    json_object_put(schema->root);
    free(schema);
}

struct json_object *schema_root(const struct schema *schema)
{
    return schema->root;
}

struct schema_view schema_view_of(const struct schema *schema, struct json_object *node)
{
    struct schema_view view = {.own = node};
    struct json_object *ref;

    if (json_object_object_get_ex(node, "$ref", &ref))
        view.referenced = ref_target(schema->root, json_object_get_string(ref));
    return view;
}

bool schema_keyword(const struct schema_view *view, const char *name, struct json_object **value)
{
    return json_object_object_get_ex(view->own, name, value) ||
           json_object_object_get_ex(view->referenced, name, value);
}

const char *schema_keyword_string(const struct schema_view *view, const char *name)
{
    struct json_object *value;

    return schema_keyword(view, name, &value) ? json_object_get_string(value) : NULL;
}

bool schema_matches(const struct schema *schema, const char *pattern, const char *text)
{
    for (size_t i = 0; i < schema->patterns_count; i++) {
        if (strcmp(schema->patterns[i].text, pattern) == 0)
            return regexec(&schema->patterns[i].expression, text, 0, NULL, 0) == 0;
    }
    return false;
}

// ---- defaults

static int fill(const struct schema *schema, struct json_object *node, struct json_object *value);

static int fill_member(const struct schema *schema, struct json_object *node,
                       struct json_object *value, const char *name)
{
    struct schema_view view = schema_view_of(schema, node);
    struct json_object *member, *default_value, *copy = NULL;

    if (json_object_object_get_ex(value, name, &member))
        return fill(schema, node, member);
    if (!schema_keyword(&view, "default", &default_value))
        return 0;
    if (json_object_deep_copy(default_value, &copy, NULL) != 0)
        return -ENOMEM;
    if (json_object_object_add(value, name, copy) != 0) {
        json_object_put(copy);
        return -ENOMEM;
    }
    return fill(schema, node, copy);
}

static int fill(const struct schema *schema, struct json_object *node, struct json_object *value)
{
    struct schema_view view = schema_view_of(schema, node);
    struct json_object *below;
    int result = 0;

    if (json_object_is_type(value, json_type_object) &&
        schema_keyword(&view, "properties", &below)) {
        json_object_object_foreach(below, name, member)
        {
            result = fill_member(schema, member, value, name);
            if (result != 0)
                return result;
        }
    }
    if (json_object_is_type(value, json_type_array) && schema_keyword(&view, "items", &below)) {
        for (size_t i = 0; i < json_object_array_length(value) && result == 0; i++)
            result = fill(schema, below, json_object_array_get_idx(value, i));
    }
    return result;
}

int schema_fill_defaults(const struct schema *schema, struct json_object *value)
{
    return fill(schema, schema->root, value);
}
