// SPDX-License-Identifier: Apache-2.0
//
// What was logged lately. A cause that comes back with each attempt, alone or in turn with a few others, is logged once,
// and a cause that was not there before is logged, too.
#ifndef CORE_TOLD_H
#define CORE_TOLD_H

#include <stdbool.h>
#include <stdint.h>

#define TOLD_MAX 8u

struct told {
    uint32_t sum[TOLD_MAX]; // checksums of texts; of more than TOLD_MAX the oldest is forgotten
    uint32_t count;         // that were ever put in
};

// Whether the text is told for the first time.
bool told_first(struct told *told, const char *text);
// It went well meanwhile: whatever comes now is news.
void told_forget(struct told *told);

#endif
