// SPDX-License-Identifier: Apache-2.0
//
// Checks a JSON value against a JSON Schema. Of draft 2020-12 it knows: $ref into #/$defs, type, enum,
// const, minimum, maximum, minLength, maxLength, pattern (as a POSIX extended expression), items,
// minItems, maxItems, uniqueItems, properties, required, minProperties, propertyNames,
// additionalProperties, default, and the annotations. schema_new() refuses a schema with any other
// keyword, so that none is silently not checked. Beside $ref only annotations and default may stand;
// they go before the referenced ones. "$comment" says in words what a pattern wants.

#ifndef CARRICK_CORE_SCHEMA_H
#define CARRICK_CORE_SCHEMA_H

#include "core/json_position.h"

#define SCHEMA_PATTERNS_MAX 16

struct schema;

// Compiles a schema; returns NULL and says why in error when that cannot be done.
struct schema *schema_new(const char *text, size_t length, char *error, size_t error_size);
void schema_free(struct schema *schema);

// Adds an error for each violation, with its place; returns 0 or -EINVAL.
int schema_validate(const struct schema *schema, const struct json_cursor *value,
                    struct config_errors *errs);

// Adds to a valid value all defaults of members that are absent; returns 0 or -ENOMEM.
int schema_fill_defaults(const struct schema *schema, struct json_object *value);

// ---- for schema_*.c

// A schema and what its $ref leads to; a keyword counts in the first, then in the second.
struct schema_view {
    struct json_object *own, *referenced;
};

struct schema_view schema_view_of(const struct schema *schema, struct json_object *node);
bool schema_keyword(const struct schema_view *view, const char *name, struct json_object **value);
const char *schema_keyword_string(const struct schema_view *view, const char *name);
bool schema_matches(const struct schema *schema, const char *pattern, const char *text);

struct json_object *schema_root(const struct schema *schema);

// Messages. Each writes a text cut to size.
void schema_say_found(struct json_object *value, char *text, size_t size);
void schema_say_expected(const struct schema_view *view, char *text, size_t size);
// The member of names (an object's keys or an array's strings) that was probably meant, or NULL.
const char *schema_nearest(struct json_object *names, const char *word);
void schema_say_names(struct json_object *names, char *text, size_t size);

#endif
