// SPDX-License-Identifier: Apache-2.0
//
// What the messages about a value say: what was found, what was expected, what was probably meant.

#include "core/schema.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define WORD_MAX 40

void schema_say_found(struct json_object *value, char *text, size_t size)
{
    const char *string;
    int bytes;

    switch (json_object_get_type(value)) {
    case json_type_object:
        snprintf(text, size, "an object");
        return;
    case json_type_array:
        snprintf(text, size, "an array");
        return;
    case json_type_string:
        string = json_object_get_string(value);
        bytes = json_object_get_string_len(value);
        if (bytes > WORD_MAX)
            for (bytes = WORD_MAX; ((unsigned char)string[bytes] & 0xc0) == 0x80; bytes--)
                ;
        snprintf(text, size, "\"%.*s%s\"", bytes, string,
                 bytes < json_object_get_string_len(value) ? "..." : "");
        return;
    default:
        snprintf(text, size, "%.40s",
                 json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
        return;
    }
}

void schema_say_names(struct json_object *names, char *text, size_t size)
{
    bool object = json_object_is_type(names, json_type_object);
    size_t count =
        object ? (size_t)json_object_object_length(names) : json_object_array_length(names);
    struct json_object_iterator at, end;
    size_t used = 0;

    text[0] = '\0';
    if (object) {
        at = json_object_iter_begin(names);
        end = json_object_iter_end(names);
    }
    for (size_t i = 0; i < count; i++) {
        const char *name;
        int length;

        if (object && json_object_iter_equal(&at, &end))
            return;
        name = object ? json_object_iter_peek_name(&at)
                      : json_object_get_string(json_object_array_get_idx(names, i));
        length = snprintf(text + used, size - used, "%s\"%s\"", i > 0 ? ", " : "", name);
        if (length < 0 || (size_t)length >= size - used)
            return;
        used += (size_t)length;
        if (object)
            json_object_iter_next(&at);
    }
}

static long long limit(const struct schema_view *view, const char *name, long long otherwise)
{
    struct json_object *value;

    return schema_keyword(view, name, &value) ? json_object_get_int64(value) : otherwise;
}

static void say_kind(const struct schema_view *view, char *text, size_t size)
{
    const char *type = schema_keyword_string(view, "type");
    const char *comment = schema_keyword_string(view, "$comment");
    struct json_object *names;
    char list[256];

    if (comment != NULL) {
        snprintf(text, size, "%s", comment);
    } else if (schema_keyword(view, "enum", &names)) {
        schema_say_names(names, list, sizeof(list));
        snprintf(text, size, "one of %s", list);
    } else if (type == NULL) {
        snprintf(text, size, "something else");
    } else if (strcmp(type, "integer") == 0) {
        snprintf(text, size, "an integer from %lld to %lld", limit(view, "minimum", INT64_MIN),
                 limit(view, "maximum", INT64_MAX));
    } else if (strcmp(type, "string") == 0 && limit(view, "maxLength", -1) >= 0) {
        snprintf(text, size, "a string of %lld to %lld characters", limit(view, "minLength", 0),
                 limit(view, "maxLength", 0));
    } else if (strcmp(type, "boolean") == 0) {
        snprintf(text, size, "true or false");
    } else {
        snprintf(text, size, "%s %s", strchr("aeiou", type[0]) != NULL ? "an" : "a", type);
    }
}

void schema_say_expected(const struct schema_view *view, char *text, size_t size)
{
    const char *description = schema_keyword_string(view, "description");
    char kind[320];

    say_kind(view, kind, sizeof(kind));
    if (description != NULL)
        snprintf(text, size, "%s (%s)", kind, description);
    else
        snprintf(text, size, "%s", kind);
}

// ---- did you mean

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static char lower(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (char)(c - 'A' + 'a');
    return c == '-' ? '_' : c;
}

// Characters to put in, take out, change or swap; what is too long for a name is far from all.
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][WORD_MAX + 1];
    size_t length_a = strlen(a), length_b = strlen(b);

    if (length_a > WORD_MAX || length_b > WORD_MAX)
        return WORD_MAX;
    for (size_t j = 0; j <= length_b; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= length_a; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *second = rows[(i + 1) % 3];

        row[0] = i;
        for (size_t j = 1; j <= length_b; j++) {
            size_t change = lower(a[i - 1]) == lower(b[j - 1]) ? 0 : 1;

            row[j] = least(least(above[j] + 1, row[j - 1] + 1), above[j - 1] + change);
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
                lower(a[i - 2]) == lower(b[j - 1]))
                row[j] = least(row[j], second[j - 2] + 1);
        }
    }
    return rows[length_a % 3][length_b];
}

// A name that lacks its unit ("probe" for "probe_ms"), or a part of a longer one.
static bool begins(const char *name, const char *word)
{
    size_t length = strlen(word);

    return length >= 3 && strncasecmp(name, word, length) == 0;
}

const char *schema_nearest(struct json_object *names, const char *word)
{
    bool object = json_object_is_type(names, json_type_object);
    size_t count = object ? 0 : json_object_array_length(names);
    size_t best = least(3, strlen(word) / 3 + 1) + 1; // more edits than this make another word
    const char *nearest = NULL, *beginning = NULL;

    if (object) {
        json_object_object_foreach(names, name, member)
        {
            size_t edits = distance(word, name);

            (void)member;
            if (edits < best) {
                best = edits;
                nearest = name;
            }
            if (beginning == NULL && begins(name, word))
                beginning = name;
        }
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = json_object_get_string(json_object_array_get_idx(names, i));
        size_t edits = distance(word, name);

        if (edits < best) {
            best = edits;
            nearest = name;
        }
        if (beginning == NULL && begins(name, word))
            beginning = name;
    }
    return nearest != NULL ? nearest : beginning;
}
