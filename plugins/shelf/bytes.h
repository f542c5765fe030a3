// SPDX-License-Identifier: Apache-2.0
//
// Numbers as they lie on disks and go over wires: the lowest byte first.
#ifndef SHELF_BYTES_H
#define SHELF_BYTES_H

#include <isa-l/crc.h>

#include <stddef.h>
#include <stdint.h>

static inline void put_u16(uint8_t *to, uint16_t value)
{
    to[0] = (uint8_t)value;
    to[1] = (uint8_t)(value >> 8);
}

static inline void put_u32(uint8_t *to, uint32_t value)
{
    put_u16(to, (uint16_t)value);
    put_u16(to + 2, (uint16_t)(value >> 16));
}

static inline void put_u64(uint8_t *to, uint64_t value)
{
    put_u32(to, (uint32_t)value);
    put_u32(to + 4, (uint32_t)(value >> 32));
}

static inline uint16_t get_u16(const uint8_t *from)
{
    return (uint16_t)(from[0] | from[1] << 8);
}

static inline uint32_t get_u32(const uint8_t *from)
{
    return get_u16(from) | (uint32_t)get_u16(from + 2) << 16;
}

static inline uint64_t get_u64(const uint8_t *from)
{
    return get_u32(from) | (uint64_t)get_u32(from + 4) << 32;
}

static inline uint32_t shelf_crc32c(const void *data, size_t length)
{
    return ~crc32_iscsi((unsigned char *)(uintptr_t)data, (int)length, ~0u);
}

#endif
