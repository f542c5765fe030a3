// SPDX-License-Identifier: Apache-2.0

#include "core/json_scan.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void json_scan_init(struct json_scan *scan, const char *text, size_t length)
{
    *scan = (struct json_scan){
        .text = text,
        .end = text + length,
        .here = text,
        .mark = text,
        .mark_place = {1, 1},
    };
}

struct json_place_at json_scan_place(struct json_scan *scan, const char *at)
{
    if (at < scan->mark) {
        scan->mark = scan->text;
        scan->mark_place = (struct json_place_at){1, 1};
    }
    for (; scan->mark < at; scan->mark++) {
        if (*scan->mark == '\n') {
            scan->mark_place.line++;
            scan->mark_place.column = 1;
        } else if (((unsigned char)*scan->mark & 0xc0) != 0x80) {
            scan->mark_place.column++;
        }
    }
    return scan->mark_place;
}

bool json_scan_fail(struct json_scan *scan, const char *at, const char *format, ...)
{
    va_list args;

    if (scan->failure[0] == '\0') {
        va_start(args, format);
        vsnprintf(scan->failure, sizeof(scan->failure), format, args);
        va_end(args);
        scan->failed_at = at;
    }
    return false;
}

void json_scan_found(const struct json_scan *scan, char *text, size_t size)
{
    size_t left = (size_t)(scan->end - scan->here);
    size_t bytes = left > 0 ? json_utf8_length(scan->here, left) : 0;

    if (left == 0)
        snprintf(text, size, "the end of the file");
    else if (left >= 2 && (memcmp(scan->here, "//", 2) == 0 || memcmp(scan->here, "/*", 2) == 0))
        snprintf(text, size, "a comment (JSON has none)");
    else if (*scan->here == '#')
        snprintf(text, size, "'#' (JSON has no comments)");
    else if (*scan->here == '\'')
        snprintf(text, size, "a single quote (JSON strings stand in double quotes)");
    else if (*scan->here == '"')
        snprintf(text, size, "a string");
    else if (left >= 3 && memcmp(scan->here, "\xef\xbb\xbf", 3) == 0)
        snprintf(text, size, "a byte order mark (save the file as UTF-8 without one)");
    else if (bytes == 0 ||
             (bytes == 1 && ((unsigned char)*scan->here < 0x20 || *scan->here == 127)))
        snprintf(text, size, "the byte 0x%02x", (unsigned char)*scan->here);
    else
        snprintf(text, size, "'%.*s'", (int)bytes, scan->here);
}

void json_scan_space(struct json_scan *scan)
{
    while (scan->here < scan->end && strchr(" \t\r\n", *scan->here) != NULL && *scan->here != '\0')
        scan->here++;
}

size_t json_utf8_length(const char *text, size_t length)
{
    const unsigned char *c = (const unsigned char *)text;
    size_t bytes;
    uint32_t point;

    if (length == 0)
        return 0;
    if (c[0] < 0x80)
        return 1;
    if (c[0] >= 0xc2 && c[0] < 0xe0)
        bytes = 2;
    else if (c[0] >= 0xe0 && c[0] < 0xf0)
        bytes = 3;
    else if (c[0] >= 0xf0 && c[0] < 0xf5)
        bytes = 4;
    else
        return 0;
    if (bytes > length)
        return 0;
    point = c[0] & (0x7fU >> bytes);
    for (size_t i = 1; i < bytes; i++) {
        if ((c[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (c[i] & 0x3fU);
    }
    // overlong forms, halves of surrogate pairs, beyond Unicode
    if ((bytes == 3 && point < 0x800) || (bytes == 4 && point < 0x10000) || point > 0x10ffff ||
        (point >= 0xd800 && point < 0xe000))
        return 0;
    return bytes;
}

static size_t utf8_encode(uint32_t point, char *out)
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (char)(0xc0 | point >> 6);
        out[1] = (char)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (char)(0xe0 | point >> 12);
        out[1] = (char)(0x80 | (point >> 6 & 0x3f));
        out[2] = (char)(0x80 | (point & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | point >> 18);
    out[1] = (char)(0x80 | (point >> 12 & 0x3f));
    out[2] = (char)(0x80 | (point >> 6 & 0x3f));
    out[3] = (char)(0x80 | (point & 0x3f));
    return 4;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

// here is behind "\u"
static bool take_hex4(struct json_scan *scan, const char *escape, uint32_t *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = scan->here < scan->end ? hex_digit(*scan->here) : -1;

        if (digit < 0)
            return json_scan_fail(scan, escape, "expected four hexadecimal digits after \\u");
        *value = *value << 4 | (uint32_t)digit;
        scan->here++;
    }
    return true;
}

static bool take_unicode(struct json_scan *scan, const char *escape, uint32_t *point)
{
    uint32_t low;

    if (!take_hex4(scan, escape, point))
        return false;
    if (*point == 0)
        return json_scan_fail(scan, escape, "\\u0000 is not allowed in a string");
    if (*point < 0xd800 || *point > 0xdfff)
        return true;
    if (*point < 0xdc00 && scan->end - scan->here >= 2 && memcmp(scan->here, "\\u", 2) == 0) {
        scan->here += 2;
        if (!take_hex4(scan, escape, &low))
            return false;
        if (low >= 0xdc00 && low <= 0xdfff) {
            *point = 0x10000 + ((*point - 0xd800) << 10) + (low - 0xdc00);
            return true;
        }
    }
    return json_scan_fail(scan, escape, "found one half of a surrogate pair, expected both");
}

// here is at the backslash
static bool take_escape(struct json_scan *scan, char *out, size_t *bytes)
{
    static const char names[] = "\"\\/bfnrt";
    static const char values[] = "\"\\/\b\f\n\r\t";
    const char *escape = scan->here++;
    const char *name;
    uint32_t point;

    if (scan->here == scan->end)
        return json_scan_fail(scan, escape, "the file ends within a string");
    if (*scan->here == 'u') {
        scan->here++;
        if (!take_unicode(scan, escape, &point))
            return false;
        *bytes = utf8_encode(point, out);
        return true;
    }
    name = *scan->here != '\0' ? strchr(names, *scan->here) : NULL;
    if (name == NULL)
        return json_scan_fail(scan, escape,
                              "unknown escape in a string; JSON knows "
                              "\\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX");
    scan->here++;
    out[0] = values[name - names];
    *bytes = 1;
    return true;
}

bool json_scan_string(struct json_scan *scan, char *decoded, size_t *decoded_length)
{
    const char *start = scan->here++;
    size_t length = 0;

    for (;;) {
        char piece[4];
        size_t bytes = 0;

        if (scan->here == scan->end)
            return json_scan_fail(scan, start, "this string is not closed: expected '\"'");
        if (*scan->here == '"')
            break;
        if (*scan->here == '\n' || *scan->here == '\r')
            return json_scan_fail(scan, start,
                                  "this string is not closed on its line: expected '\"' "
                                  "(a line break is written \\n)");
        if ((unsigned char)*scan->here < 0x20)
            return json_scan_fail(scan, scan->here,
                                  "found the control character 0x%02x in a string, expected "
                                  "\\u00%02x",
                                  (unsigned char)*scan->here, (unsigned char)*scan->here);
        if (*scan->here == '\\') {
            if (!take_escape(scan, piece, &bytes))
                return false;
        } else {
            bytes = json_utf8_length(scan->here, (size_t)(scan->end - scan->here));
            if (bytes == 0)
                return json_scan_fail(scan, scan->here,
                                      "the byte 0x%02x is not UTF-8: save the file as UTF-8",
                                      (unsigned char)*scan->here);
            memcpy(piece, scan->here, bytes);
            scan->here += bytes;
        }
        if (decoded != NULL)
            memcpy(decoded + length, piece, bytes);
        length += bytes;
    }
    scan->here++;
    if (decoded != NULL) {
        decoded[length] = '\0';
        *decoded_length = length;
    }
    return true;
}

static size_t take_digits(struct json_scan *scan)
{
    const char *start = scan->here;

    while (scan->here < scan->end && *scan->here >= '0' && *scan->here <= '9')
        scan->here++;
    return (size_t)(scan->here - start);
}

static bool take_char(struct json_scan *scan, const char *set)
{
    if (scan->here == scan->end || *scan->here == '\0' || strchr(set, *scan->here) == NULL)
        return false;
    scan->here++;
    return true;
}

// json-c would clamp an integer that is too large, and make infinity of a real number.
static bool number_fits(struct json_scan *scan, const char *start, bool integer)
{
    size_t length = (size_t)(scan->here - start);
    char text[512];

    if (length >= sizeof(text))
        return json_scan_fail(scan, start,
                              "this number has %zu characters, expected fewer than %zu", length,
                              sizeof(text));
    memcpy(text, start, length);
    text[length] = '\0';
    errno = 0;
    if (integer) {
        (void)strtoll(text, NULL, 10);
        if (errno == ERANGE)
            return json_scan_fail(scan, start,
                                  "this integer is out of range: expected one of at most 64 bits");
    } else if (isinf(strtod(text, NULL))) {
        return json_scan_fail(scan, start, "this number is out of range");
    }
    return true;
}

bool json_scan_number(struct json_scan *scan)
{
    const char *start = scan->here;
    bool integer = true;
    const char *digits;
    size_t count;

    (void)take_char(scan, "-");
    digits = scan->here;
    count = take_digits(scan);
    if (count == 0)
        return json_scan_fail(scan, start, "expected a digit after '-'");
    if (count > 1 && *digits == '0')
        return json_scan_fail(scan, start, "a number must not begin with 0");
    if (take_char(scan, ".")) {
        integer = false;
        if (take_digits(scan) == 0)
            return json_scan_fail(scan, start, "expected a digit after the decimal point");
    }
    if (take_char(scan, "eE")) {
        integer = false;
        (void)take_char(scan, "+-");
        if (take_digits(scan) == 0)
            return json_scan_fail(scan, start, "expected a digit in the exponent");
    }
    if (scan->here < scan->end && ((*scan->here | 0x20) >= 'a' && (*scan->here | 0x20) <= 'z'))
        return json_scan_fail(scan, start,
                              "letters follow this number; a unit belongs to the key's name, as in "
                              "\"probe_ms\": 100");
    return number_fits(scan, start, integer);
}

bool json_scan_literal(struct json_scan *scan)
{
    static const char *const words[] = {"true", "false", "null"};
    const char *start = scan->here;
    size_t length = 0;
    char found[80];

    while (start + length < scan->end && length < 32 &&
           ((start[length] >= 'a' && start[length] <= 'z') ||
            (start[length] >= 'A' && start[length] <= 'Z') ||
            (start[length] >= '0' && start[length] <= '9') || start[length] == '_'))
        length++;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strlen(words[i]) == length && memcmp(start, words[i], length) == 0) {
            scan->here += length;
            return true;
        }
    }
    if (length > 0)
        return json_scan_fail(scan, start,
                              "found %.*s, expected a value (a string stands in double quotes; "
                              "true, false and null are in small letters)",
                              (int)length, start);
    json_scan_found(scan, found, sizeof(found));
    return json_scan_fail(scan, start, "found %s, expected a value", found);
}
