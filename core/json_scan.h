// SPDX-License-Identifier: Apache-2.0
//
// The tokens of a JSON text: what json_position.c walks over.

#ifndef CARRICK_CORE_JSON_SCAN_H
#define CARRICK_CORE_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_place_at {
    uint32_t line, column;
};

struct json_scan {
    const char *text, *end;
    const char *here;
    const char *mark; // up to which lines and columns are counted
    struct json_place_at mark_place;
    const char *failed_at; // where the first error is
    char failure[256];     // and what it is; "" as long as there is none
};

void json_scan_init(struct json_scan *scan, const char *text, size_t length);
// Counts from the last place asked for, so asking in rising order costs one pass over the text.
struct json_place_at json_scan_place(struct json_scan *scan, const char *at);
// Keeps the first failure only. Always returns false.
bool json_scan_fail(struct json_scan *scan, const char *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// Says in words what stands here: "end of the file", "'x'", "a comment".
void json_scan_found(const struct json_scan *scan, char *text, size_t size);

void json_scan_space(struct json_scan *scan);
// Takes a string. decoded, when not NULL, gets its value and a final NUL; it needs room for as many
// bytes as the string has in the text.
bool json_scan_string(struct json_scan *scan, char *decoded, size_t *decoded_length);
bool json_scan_number(struct json_scan *scan);
bool json_scan_literal(struct json_scan *scan);

// Bytes of the valid UTF-8 character at the start of text, or 0.
size_t json_utf8_length(const char *text, size_t length);

#endif
