// SPDX-License-Identifier: Apache-2.0
#include "core/terms.h"

#include <carrick/client.h>
#include <string.h>

static bool line_is_sound(const char *line, size_t bytes)
{
    const char *colon = memchr(line, ':', bytes);

    if (colon == NULL || colon == line || colon + 1 == line + bytes || colon[1] != ' ')
        return false;
    for (size_t i = 0; i < bytes; i++)
        if (line[i] < ' ' || line[i] > '~')
            return false;
    return true;
}

bool terms_are_sound(const char *terms, size_t bytes)
{
    const char *end = terms + bytes;

    if (bytes >= CARRICK_CLIENT_TERMS_MAX)
        return false;
    while (terms < end) {
        const char *feed = memchr(terms, '\n', (size_t)(end - terms));

        if (feed == NULL || !line_is_sound(terms, (size_t)(feed - terms)))
            return false;
        terms = feed + 1;
    }
    return true;
}

// The value of the key, which includes its ": ", or NULL.
static const char *value_of(const char *terms, const char *key, size_t key_bytes)
{
    for (; *terms != '\0'; terms = strchr(terms, '\n') + 1)
        if (strncmp(terms, key, key_bytes) == 0)
            return terms + key_bytes;
    return NULL;
}

bool terms_differ(const char *here, const char *there, struct terms_difference *difference)
{
    for (; *here != '\0'; here = strchr(here, '\n') + 1) {
        size_t key_bytes = strcspn(here, ":") + 2, bytes = strcspn(here, "\n") - key_bytes;
        const char *value = here + key_bytes, *other = value_of(there, here, key_bytes);

        if (other == NULL || (strcspn(other, "\n") == bytes && memcmp(value, other, bytes) == 0))
            continue;
        *difference = (struct terms_difference){
            .key = {here, (int)key_bytes - 2},
            .here = {value, (int)bytes},
            .there = {other, (int)strcspn(other, "\n")},
        };
        return true;
    }
    return false;
}
