// SPDX-License-Identifier: Apache-2.0
#include "core/told.h"

#include <string.h>

#include "common/crc32c.h"

bool told_first(struct told *told, const char *text)
{
    uint32_t sum = crc32c(text, strlen(text));

    for (uint32_t i = 0; i < TOLD_MAX && i < told->count; i++)
        if (told->sum[i] == sum)
            return false;
    told->sum[told->count++ % TOLD_MAX] = sum;
    return true;
}

void told_forget(struct told *told)
{
    told->count = 0;
}
