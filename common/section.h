// SPDX-License-Identifier: Apache-2.0
//
// A flat section of the configuration, by a table of its keys.
#ifndef COMMON_SECTION_H
#define COMMON_SECTION_H

#include <carrick/types.h>

// A key that a section may have: a text when `text` is set, else a number. What is not in the section stays as it is.
struct section_field {
    const char *name; // NULL: the end of the table
    bool required;
    char *text;
    size_t text_bytes; // room at `text`
    uint32_t *number;
    int64_t min, max;
    const char *wanted; // what the value means, for messages
};

// Reads a section, a JSON object as text. pointer: where it stands. On an error some values may have been put already.
int section_read(const char *text, const char *pointer, const struct section_field *fields,
                 struct carrick_error *error);

// What is wrong with a key of it, or with all of it where the key is "". Returns CARRICK_ERR_CONFIG.
int section_wrong(struct carrick_error *error, const char *pointer, const char *key,
                  const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
