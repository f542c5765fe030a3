// SPDX-License-Identifier: Apache-2.0
//
// Reading what the daemon said. A daemon of another version may leave something out or say more, so a missing
// member is no error here: it reads as nothing.

#include "cli/cli.h"

#include <stdio.h>
#include <unistd.h>

const char *member_text(struct json_object *object, const char *key)
{
    struct json_object *value;
    if (!json_object_is_type(object, json_type_object) ||
        !json_object_object_get_ex(object, key, &value) ||
        !json_object_is_type(value, json_type_string))
        return "";
    return json_object_get_string(value);
}

static struct json_object *member_any(struct json_object *object, const char *key)
{
    struct json_object *value;
    if (!json_object_is_type(object, json_type_object) ||
        !json_object_object_get_ex(object, key, &value))
        return NULL;
    return value;
}

int64_t member_int(struct json_object *object, const char *key)
{
    struct json_object *value = member_any(object, key);
    return json_object_is_type(value, json_type_int) || json_object_is_type(value, json_type_double)
               ? json_object_get_int64(value)
               : 0;
}

double member_number(struct json_object *object, const char *key)
{
    struct json_object *value = member_any(object, key);
    return json_object_is_type(value, json_type_int) || json_object_is_type(value, json_type_double)
               ? json_object_get_double(value)
               : 0;
}

bool member_bool(struct json_object *object, const char *key)
{
    struct json_object *value = member_any(object, key);
    return json_object_is_type(value, json_type_boolean) && json_object_get_boolean(value);
}

struct json_object *member_object(struct json_object *object, const char *key)
{
    struct json_object *value = member_any(object, key);
    return json_object_is_type(value, json_type_object) ? value : NULL;
}

struct json_object *member_array(struct json_object *object, const char *key)
{
    struct json_object *value = member_any(object, key);
    return json_object_is_type(value, json_type_array) ? value : NULL;
}

size_t array_length(struct json_object *array)
{
    return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

void json_print(struct json_object *value)
{
    int flags = JSON_C_TO_STRING_NOSLASHESCAPE;
    flags |= isatty(STDOUT_FILENO) ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED
                                   : JSON_C_TO_STRING_PLAIN;
    puts(json_object_to_json_string_ext(value, flags));
    fflush(stdout);
}
