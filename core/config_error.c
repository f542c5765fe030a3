// SPDX-License-Identifier: Apache-2.0

#include "core/config_internal.h"
#include "core/json_scan.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

// The text of the file reaches terminals and logs through here: no control characters (of either
// set), no bytes that are not UTF-8, and no character cut in two.
static void copy_printable(char *out, size_t size, const char *text)
{
    size_t used = 0;

    while (*text != '\0') {
        size_t bytes = json_utf8_length(text, strnlen(text, 4));
        unsigned char first = (unsigned char)text[0];
        bool control =
            first < 0x20 || first == 0x7f || (first == 0xc2 && (unsigned char)text[1] < 0xa0);

        if (used + (bytes == 0 ? 1 : bytes) >= size)
            break;
        if (bytes == 0 || control) {
            out[used++] = '?';
            text += bytes == 0 ? 1 : bytes;
            continue;
        }
        memcpy(out + used, text, bytes);
        used += bytes;
        text += bytes;
    }
    out[used] = '\0';
}

void config_errors_init(struct config_errors *errs, const char *file)
{
    errs->count = 0;
    errs->dropped = 0;
    copy_printable(errs->file, sizeof(errs->file), file);
}

void config_errors_add(struct config_errors *errs, unsigned line, unsigned column,
                       const char *pointer, const char *text)
{
    struct config_error *error;

    if (errs->count == CONFIG_ERRORS_MAX) {
        errs->dropped++;
        return;
    }
    error = &errs->error[errs->count++];
    error->line = line;
    error->column = column;
    copy_printable(error->pointer, sizeof(error->pointer), pointer);
    copy_printable(error->text, sizeof(error->text), text);
}

int config_error_format(const struct config_errors *errs, size_t index, char *text, size_t size)
{
    const struct config_error *error = &errs->error[index];
    const char *colon = error->pointer[0] != '\0' ? ": " : "";

    if (error->line == 0)
        return snprintf(text, size, "%s: %s%s%s", errs->file, error->pointer, colon, error->text);
    return snprintf(text, size, "%s:%u:%u: %s%s%s", errs->file, error->line, error->column,
                    error->pointer, colon, error->text);
}

static bool stands_before(const struct config_error *a, const struct config_error *b)
{
    return a->line < b->line || (a->line == b->line && a->column < b->column);
}

// Errors of one place keep their order.
void config_errors_sort(struct config_errors *errs)
{
    for (size_t i = 1; i < errs->count; i++) {
        struct config_error moved = errs->error[i];
        size_t place = i;

        for (; place > 0 && stands_before(&moved, &errs->error[place - 1]); place--)
            errs->error[place] = errs->error[place - 1];
        errs->error[place] = moved;
    }
}

int config_error_at(const struct config *config, struct config_errors *errs, const char *pointer,
                    const char *text)
{
    uint32_t node = json_positions_find(config->positions, pointer);
    const struct json_node *place = &config->positions->nodes[node];

    config_errors_add(errs, place->line, place->column, pointer, text);
    return -EINVAL;
}

int config_error_in(const struct config *config, struct config_errors *errs, const char *base,
                    const char *relative, const char *text)
{
    char pointer[CONFIG_POINTER_SIZE];
    // A plugin may say "port" for "/port"; that is no reason to lose its message.
    const char *slash = relative == NULL || relative[0] == '\0' || relative[0] == '/' ? "" : "/";

    snprintf(pointer, sizeof(pointer), "%s%s%s", base, slash, relative != NULL ? relative : "");
    return config_error_at(config, errs, pointer, text);
}
