// SPDX-License-Identifier: Apache-2.0
// needs plugin: verbs
//
// Which regions a flush of the hardware is for, when a read serves instead, and whose completion it is that comes.
#include <criterion/criterion.h>

#include "transports/rdma/rdma_endpoint.h"

static struct rdma_slot slots[3];
static struct carrick_device device = {.native_flush = true, .slots = slots};
static struct carrick_domain domain = {.device = &device};
static struct carrick_endpoint endpoint;

static void start(void)
{
    slots[2].generation = 77;
    endpoint = (struct carrick_endpoint){
        .device = &device,
        .domain = &domain,
        .slot = 2,
        .partner = {.flags = RDMA_PREFACE_FLUSH, .reads = 16},
    };
}

static void wrote(uint32_t key, uint64_t at, uint64_t bytes)
{
    const struct rdma_operation op = {.key = key, .remote = at, .length = bytes};

    rdma_flush_wrote(&endpoint, &op);
}

static void is_range(uint32_t i, uint32_t key, uint64_t begin, uint64_t end)
{
    const struct rdma_range *r = &endpoint.written.at[i];

    cr_assert(r->key == key && r->begin == begin && r->end == end, "%u: key %u, %llu to %llu", i,
              r->key, (unsigned long long)r->begin, (unsigned long long)r->end);
}

Test(rdma_flush, all_that_was_written, .init = start)
{
    cr_assert_eq(rdma_flush_regions(&endpoint), 0);
    wrote(5, 1000, 0);
    cr_assert_eq(rdma_flush_regions(&endpoint), 0, "nothing was written");
    wrote(5, 1000, 10);
    wrote(6, 70, 1);
    wrote(5, 3000, 500);
    wrote(5, 900, 50);
    wrote(5, 1200, 5);
    cr_assert_eq(rdma_flush_regions(&endpoint), 2);
    is_range(0, 5, 900, 3500);
    is_range(1, 6, 70, 71);
}

Test(rdma_flush, read_serves_too_many, .init = start)
{
    uint8_t buffers[64], page[4096];
    struct ibv_mr mr = {.lkey = 3};
    struct ibv_send_wr wr = {0};
    struct ibv_sge sge;

    for (uint32_t key = 1; key <= RDMA_WRITTEN_MAX; key++)
        wrote(key, key, 1);
    cr_assert_eq(rdma_flush_regions(&endpoint), RDMA_WRITTEN_MAX);
    wrote(RDMA_WRITTEN_MAX + 1, 1, 1);
    cr_assert_eq(rdma_flush_regions(&endpoint), 0);
    wrote(1, 1, 1);
    wrote(RDMA_WRITTEN_MAX + 2, 1, 1);
    cr_assert_eq(rdma_flush_regions(&endpoint), 0, "one of them is not known any more");
    endpoint.buffers = buffers;
    endpoint.mr = &mr;
    domain.scratch.page = page;
    rdma_flush_fill(&endpoint, &wr, &sge);
    cr_assert_eq(wr.opcode, IBV_WR_RDMA_READ);
    wrote(9, 1, 1);
    cr_assert_eq(rdma_flush_regions(&endpoint), 1, "the read was for all before it");
    is_range(0, 9, 1, 2);
}

Test(rdma_flush, read_serves_where_it_must, .init = start)
{
    for (uint32_t key = 1; key <= 3; key++)
        wrote(key, key, 1);
    endpoint.partner.reads = 2;
    cr_assert_eq(rdma_flush_regions(&endpoint), 0, "more than the partner answers at a time");
    endpoint.partner.reads = 3;
    cr_assert_eq(rdma_flush_regions(&endpoint), 3);
    endpoint.partner.flags = 0;
    cr_assert_eq(rdma_flush_regions(&endpoint), 0, "the partner does not have it");
    endpoint.partner.flags = RDMA_PREFACE_FLUSH;
    device.native_flush = false;
    cr_assert_eq(rdma_flush_regions(&endpoint), 0, "this device does not have it");
    device.native_flush = true;
    endpoint.domain = NULL;
    cr_assert_eq(rdma_flush_regions(&endpoint), 0, "nothing can be written here");
}

// Bytes that stand in an endpoint without a domain as well, where the partner and this device have them.
Test(rdma_flush, read_without_a_domain, .init = start)
{
    uint8_t buffers[64], page[4096];
    struct ibv_mr mr = {.lkey = 3}, scratch = {.lkey = 4, .rkey = 5};
    struct rdma_preface preface;
    struct ibv_send_wr wr = {0};
    struct ibv_sge sge;

    endpoint.domain = NULL;
    endpoint.buffers = buffers;
    endpoint.mr = &mr;
    endpoint.partner.scratch_base = 7000;
    endpoint.partner.scratch_key = 6;
    endpoint.partner.scratch_bytes = RDMA_SCRATCH_BYTES;
    rdma_preface_fill(&endpoint, RDMA_MARK_HELLO, 0, &preface);
    cr_assert_eq(preface.scratch_bytes, 0, "this device has none");
    rdma_flush_fill(&endpoint, &wr, &sge);
    cr_assert_eq(sge.length, 0);

    device.scratch = (struct rdma_scratch){.page = page, .mr = &scratch};
    rdma_preface_fill(&endpoint, RDMA_MARK_HELLO, 0, &preface);
    cr_assert_eq(preface.scratch_base, (uintptr_t)page);
    cr_assert_eq(preface.scratch_key, 5);
    cr_assert_eq(preface.scratch_bytes, RDMA_SCRATCH_BYTES);
    cr_assert_eq(preface.flags, 0, "nothing can be written here");
    rdma_flush_fill(&endpoint, &wr, &sge);
    cr_assert_eq(wr.opcode, IBV_WR_RDMA_READ);
    cr_assert_eq(wr.wr.rdma.remote_addr, 7000);
    cr_assert_eq(wr.wr.rdma.rkey, 6);
    cr_assert_eq(sge.length, RDMA_SCRATCH_BYTES);
    cr_assert_eq(sge.lkey, 4);
    cr_assert(sge.addr >= (uintptr_t)page + RDMA_SCRATCH_BYTES &&
              sge.addr + sge.length <= (uintptr_t)page + sizeof(page));

    endpoint.partner.scratch_bytes = 0;
    rdma_flush_fill(&endpoint, &wr, &sge);
    cr_assert_eq(sge.length, 0, "the partner has none");
}

// A connection may see more operations than a completion has bits for.
Test(rdma_flush, whose_completion, .init = start)
{
    struct rdma_operations *o = &endpoint.operations;

    for (unsigned bit = 1; bit < 64; bit++)
        for (uint64_t near = 0; near < 3; near++) {
            uint64_t number = (UINT64_C(1) << bit) + near - 2, id;

            id = rdma_work_id(&endpoint, 0, number);
            cr_assert_eq(id >> 32, 2u << 16 | 77);
            cr_assert_eq(id & (RDMA_WORK_RECEIVE | RDMA_WORK_CREDIT | RDMA_WORK_PART), 0,
                         "operation %#llx is taken for another", (unsigned long long)number);
            o->told = number > RDMA_RING ? number - RDMA_RING : 0;
            cr_assert_eq(rdma_work_number(o, id), number);
            o->told = number;
            cr_assert_eq(rdma_work_number(o, id), number);
        }
}
