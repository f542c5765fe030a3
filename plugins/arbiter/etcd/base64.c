// SPDX-License-Identifier: Apache-2.0
#include "etcd.h"

#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void etcd_base64_put(const void *bytes, size_t length, char *text)
{
    const uint8_t *from = bytes;

    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        uint32_t word = (uint32_t)from[i] << 16 | (left > 1 ? (uint32_t)from[i + 1] << 8 : 0) |
                        (left > 2 ? from[i + 2] : 0);

        *text++ = digits[word >> 18];
        *text++ = digits[word >> 12 & 63];
        *text++ = left > 1 ? digits[word >> 6 & 63] : '=';
        *text++ = left > 2 ? digits[word & 63] : '=';
    }
    *text = '\0';
}

static int digit_of(char c)
{
    const char *at = c == '\0' ? NULL : strchr(digits, c);

    return at == NULL ? -1 : (int)(at - digits);
}

bool etcd_base64_get(const char *text, void *bytes, size_t size, size_t *length)
{
    size_t chars = strlen(text), used = 0;
    uint8_t *to = bytes;

    if (chars % 4 != 0)
        return false;
    for (size_t i = 0; i < chars; i += 4) {
        bool last = i + 4 == chars;
        unsigned pads = !last ? 0 : text[i + 3] != '=' ? 0 : text[i + 2] != '=' ? 1 : 2;
        uint32_t word = 0;

        for (unsigned k = 0; k < 4; k++) {
            int digit = k >= 4 - pads ? 0 : digit_of(text[i + k]);

            if (digit < 0)
                return false;
            word = word << 6 | (uint32_t)digit;
        }
        if (used + 3 - pads > size || (pads > 0 && (word & (pads == 1 ? 0xffu : 0xffffu)) != 0))
            return false;
        for (unsigned k = 0; k < 3 - pads; k++)
            to[used++] = (uint8_t)(word >> (16 - 8 * k));
    }
    *length = used;
    return true;
}
