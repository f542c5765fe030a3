// SPDX-License-Identifier: Apache-2.0
#include "core/wire.h"

#include <isa-l/crc.h>

uint32_t crc32c(const void *data, size_t length)
{
    // ISA-L takes and returns the register itself; the standard inverts it before and after. Its argument is not
    // const, but it only reads.
    return ~crc32_iscsi((unsigned char *)(uintptr_t)data, (int)length, ~0u);
}
