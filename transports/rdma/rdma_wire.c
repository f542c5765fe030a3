// SPDX-License-Identifier: Apache-2.0
#include "rdma_wire.h"

#include <endian.h>
#include <string.h>

#define MARK_MAGIC 0x43525244u // "CRRD"

enum {
    AT_MARK_MAGIC = 0,
    AT_MARK_VERSION = 4,
    AT_MARK_KIND = 5,
    AT_MARK_DATA_BYTES = 6,
    AT_RECEIVE_BYTES = 8,
    AT_RECEIVE_DEPTH = 12,
    AT_READS = 14,
    AT_SCRATCH_BASE = 16,
    AT_SCRATCH_KEY = 24,
    AT_SCRATCH_BYTES = 28,
    AT_FLAGS = 30,
    AT_MESSAGE = 0,
    AT_CREDITS = 2,
};

static void put16(uint8_t *at, uint16_t value)
{
    value = htobe16(value);
    memcpy(at, &value, sizeof value);
}

static void put32(uint8_t *at, uint32_t value)
{
    value = htobe32(value);
    memcpy(at, &value, sizeof value);
}

static void put64(uint8_t *at, uint64_t value)
{
    value = htobe64(value);
    memcpy(at, &value, sizeof value);
}

static uint16_t get16(const uint8_t *at)
{
    uint16_t value;

    memcpy(&value, at, sizeof value);
    return be16toh(value);
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof value);
    return be32toh(value);
}

static uint64_t get64(const uint8_t *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof value);
    return be64toh(value);
}

void rdma_mark_put(const struct rdma_mark *mark, uint8_t *bytes)
{
    memset(bytes, 0, RDMA_WIRE_MARK_BYTES);
    put32(bytes + AT_MARK_MAGIC, MARK_MAGIC);
    bytes[AT_MARK_VERSION] = mark->version;
    bytes[AT_MARK_KIND] = mark->kind;
    bytes[AT_MARK_DATA_BYTES] = mark->data_bytes;
}

bool rdma_mark_get(const uint8_t *bytes, size_t length, struct rdma_mark *mark)
{
    if (length < RDMA_WIRE_MARK_BYTES || get32(bytes + AT_MARK_MAGIC) != MARK_MAGIC)
        return false;
    mark->version = bytes[AT_MARK_VERSION];
    mark->kind = bytes[AT_MARK_KIND];
    mark->data_bytes = bytes[AT_MARK_DATA_BYTES];
    return true;
}

void rdma_preface_put(const struct rdma_preface *preface, uint8_t *bytes)
{
    memset(bytes, 0, RDMA_WIRE_PREFACE_BYTES);
    rdma_mark_put(&preface->mark, bytes);
    put32(bytes + AT_RECEIVE_BYTES, preface->receive_bytes);
    put16(bytes + AT_RECEIVE_DEPTH, preface->receive_depth);
    put16(bytes + AT_READS, preface->reads);
    put64(bytes + AT_SCRATCH_BASE, preface->scratch_base);
    put32(bytes + AT_SCRATCH_KEY, preface->scratch_key);
    put16(bytes + AT_SCRATCH_BYTES, preface->scratch_bytes);
    put16(bytes + AT_FLAGS, preface->flags);
}

bool rdma_preface_get(const uint8_t *bytes, size_t length, uint8_t kind,
                      struct rdma_preface *preface)
{
    if (!rdma_mark_get(bytes, length, &preface->mark) || preface->mark.kind != kind ||
        length < RDMA_WIRE_PREFACE_BYTES)
        return false;
    preface->receive_bytes = get32(bytes + AT_RECEIVE_BYTES);
    preface->receive_depth = get16(bytes + AT_RECEIVE_DEPTH);
    preface->reads = get16(bytes + AT_READS);
    preface->scratch_base = get64(bytes + AT_SCRATCH_BASE);
    preface->scratch_key = get32(bytes + AT_SCRATCH_KEY);
    preface->scratch_bytes = get16(bytes + AT_SCRATCH_BYTES);
    preface->flags = get16(bytes + AT_FLAGS);
    return length - RDMA_WIRE_PREFACE_BYTES >= preface->mark.data_bytes;
}

void rdma_header_put(const struct rdma_header *header, uint8_t *bytes)
{
    memset(bytes, 0, RDMA_WIRE_HEADER_BYTES);
    bytes[AT_MESSAGE] = header->message;
    put16(bytes + AT_CREDITS, header->credits);
}

bool rdma_header_get(const uint8_t *bytes, size_t length, struct rdma_header *header)
{
    if (length < RDMA_WIRE_HEADER_BYTES)
        return false;
    header->message = bytes[AT_MESSAGE];
    header->credits = get16(bytes + AT_CREDITS);
    return header->message >= RDMA_MESSAGE_DATA && header->message <= RDMA_MESSAGE_BYE;
}
