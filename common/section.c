// SPDX-License-Identifier: Apache-2.0
#include "common/section.h"

#include <carrick/error.h>

#include <json-c/json.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { DEPTH_MAX = 8, TEXT_MAX = 65536 };

int section_wrong(struct carrick_error *error, const char *pointer, const char *key,
                  const char *format, ...)
{
    char where[128];
    va_list arguments;

    snprintf(where, sizeof where, "%s%s%.64s", pointer, key[0] == '\0' ? "" : "/", key);
    va_start(arguments, format);
    carrick_error_set_v(error, CARRICK_ERR_CONFIG, 0, where, format, arguments);
    va_end(arguments);
    return CARRICK_ERR_CONFIG;
}

static int parse_object(const char *text, const char *pointer, struct json_object **object,
                        struct carrick_error *error)
{
    enum json_tokener_error said;
    struct json_tokener *tokener;
    size_t length = strlen(text);

    *object = NULL;
    if (length > TEXT_MAX)
        return section_wrong(error, pointer, "", "longer than %d bytes", TEXT_MAX);
    tokener = json_tokener_new_ex(DEPTH_MAX);
    if (tokener == NULL)
        return carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, pointer, "out of memory");
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    *object = json_tokener_parse_ex(tokener, text, (int)length + 1);
    said = json_tokener_get_error(tokener);
    json_tokener_free(tokener);
    if (said == json_tokener_success && json_object_is_type(*object, json_type_object))
        return CARRICK_OK;
    json_object_put(*object);
    *object = NULL;
    return said == json_tokener_success
               ? section_wrong(error, pointer, "", "must be an object, {...}")
               : section_wrong(error, pointer, "", "not JSON: %s", json_tokener_error_desc(said));
}

static int take_number(const struct section_field *f, struct json_object *value,
                       const char *pointer, struct carrick_error *error)
{
    int64_t n = json_object_get_int64(value);

    if (!json_object_is_type(value, json_type_int) || n < f->min || n > f->max)
        return section_wrong(
            error, pointer, f->name, "is %.60s, must be a whole number, %lld to %lld: %s",
            json_object_to_json_string(value), (long long)f->min, (long long)f->max, f->wanted);
    *f->number = (uint32_t)n;
    return CARRICK_OK;
}

static int take_text(const struct section_field *f, struct json_object *value, const char *pointer,
                     struct carrick_error *error)
{
    size_t length;

    if (!json_object_is_type(value, json_type_string))
        return section_wrong(error, pointer, f->name, "must be a text: %s", f->wanted);
    length = (size_t)json_object_get_string_len(value);
    if (length == 0 || length >= f->text_bytes || strlen(json_object_get_string(value)) != length)
        return section_wrong(error, pointer, f->name, "has %zu characters, must have 1 to %zu: %s",
                             length, f->text_bytes - 1, f->wanted);
    memcpy(f->text, json_object_get_string(value), length + 1);
    return CARRICK_OK;
}

static int unknown(const struct section_field *fields, const char *name, const char *pointer,
                   struct carrick_error *error)
{
    char known[128] = "";

    for (; fields->name != NULL; fields++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", used > 0 ? ", " : "", fields->name);
    }
    return section_wrong(error, pointer, name, "is no key of this section; it has: %s", known);
}

static int take(const struct section_field *fields, const char *name, struct json_object *value,
                const char *pointer, struct carrick_error *error)
{
    const struct section_field *f = fields;

    while (f->name != NULL && strcmp(f->name, name) != 0)
        f++;
    if (f->name == NULL)
        return unknown(fields, name, pointer, error);
    return f->text != NULL ? take_text(f, value, pointer, error)
                           : take_number(f, value, pointer, error);
}

int section_read(const char *text, const char *pointer, const struct section_field *fields,
                 struct carrick_error *error)
{
    struct json_object *object;
    int status = parse_object(text, pointer, &object, error);

    if (status != CARRICK_OK)
        return status;
    json_object_object_foreach(object, name, value)
    {
        if (status == CARRICK_OK)
            status = take(fields, name, value, pointer, error);
    }
    for (const struct section_field *f = fields; status == CARRICK_OK && f->name != NULL; f++)
        if (f->required && !json_object_object_get_ex(object, f->name, NULL))
            status = section_wrong(error, pointer, "", "\"%s\" is missing: %s", f->name, f->wanted);
    json_object_put(object);
    return status;
}
