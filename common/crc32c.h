// SPDX-License-Identifier: Apache-2.0
//
// CRC32C (Castagnoli), as iSCSI (RFC 3720, 12.1) uses it, by ISA-L.
#ifndef COMMON_CRC32C_H
#define COMMON_CRC32C_H

#include <isa-l/crc.h>

#include <stddef.h>
#include <stdint.h>

// Of what stands before, whose checksum is `crc`, and `data` behind it. Of nothing it is 0.
static inline uint32_t crc32c_extend(uint32_t crc, const void *data, size_t length)
{
    // ISA-L takes and returns the register itself, which the standard inverts before and after, and a length in an int; its
    // argument is not const, but it only reads.
    uint32_t state = ~crc;
    uint8_t *at = (uint8_t *)(uintptr_t)data;

    while (length > 0) {
        size_t step = length < (1u << 30) ? length : 1u << 30;

        state = crc32_iscsi(at, (int)step, state);
        at += step;
        length -= step;
    }
    return ~state;
}

static inline uint32_t crc32c(const void *data, size_t length)
{
    return crc32c_extend(0, data, length);
}

#endif
