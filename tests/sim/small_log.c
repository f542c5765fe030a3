// SPDX-License-Identifier: Apache-2.0
// needs plugin: nvram_shadow
//
// The configuration of nvram_shadow as it is, but for the least size of a log: requests are short here, and a log that a
// history fills and goes round in shows more than one that stays empty.
#define RING_BYTES_MIN (256ull << 10)
#include "plugins/nvram_shadow/config.c"
