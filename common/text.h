// SPDX-License-Identifier: Apache-2.0
//
// A text that grows in memory of a fixed size, which need not hold all of it.
#ifndef COMMON_TEXT_H
#define COMMON_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct text {
    char *at; // where it goes on
    size_t left;
    bool cut; // something had no room, and nothing of it counts
};

__attribute__((format(printf, 2, 3))) static inline void text_add(struct text *text,
                                                                  const char *format, ...)
{
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(text->at, text->left, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= text->left) {
        text->cut = true;
        return;
    }
    text->at += length;
    text->left -= (size_t)length;
}

#endif
