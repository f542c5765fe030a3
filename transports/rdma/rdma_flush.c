// SPDX-License-Identifier: Apache-2.0
//
// What proves that writes are placed and visible at the partner. There are two ways:
//
// A read behind the writes. It is answered after what was posted before it, and on the partner's PCI bus it pushes the
// writes ahead of it to where its processor sees them.
//
// The operation of the hardware (RDMA FLUSH, placement type "global visibility"), where rdma-core has it and both devices
// say so. It is done when what was written before it to a range of a region is visible to all that can read the partner's
// memory, its processor and other devices; that is as much as the read proves, without one at the far end's bus. It does
// not prove that anything outlives a loss of power: that is the placement type "persistence", which nothing here asks for,
// since a region is any memory.
//
// A flush of the hardware names a key and a range. So what was written since the last flush is kept by key, and each of
// these regions is flushed; with more regions than places, or none (a flush behind sends or reads), the read serves. All
// that stands before it in the queue pair was executed before it, so that it proves sends and reads no less.
// A region that its owner ended between the write and the flush costs the endpoint, as a write to it would; the core ends
// none that the partner writes to while there are endpoints.
#include "rdma.h"

#include <errno.h>

bool rdma_flush_is_native(const struct carrick_endpoint *endpoint)
{
    return endpoint->domain != NULL && endpoint->device->native_flush &&
           (endpoint->partner.flags & RDMA_PREFACE_FLUSH) != 0;
}

// ---- what was written

void rdma_flush_wrote(struct carrick_endpoint *endpoint, const struct rdma_operation *op)
{
    struct rdma_written *w = &endpoint->written;
    uint64_t end = op->remote + op->length;
    uint32_t i = 0;

    if (op->length == 0 || w->count > RDMA_WRITTEN_MAX)
        return;
    while (i < w->count && w->at[i].key != op->key)
        i++;
    if (i == RDMA_WRITTEN_MAX) {
        w->count = RDMA_WRITTEN_MAX + 1;
        return;
    }
    if (i == w->count) {
        w->at[w->count++] = (struct rdma_range){.key = op->key, .begin = op->remote, .end = end};
        return;
    }
    if (op->remote < w->at[i].begin)
        w->at[i].begin = op->remote;
    if (end > w->at[i].end)
        w->at[i].end = end;
}

uint32_t rdma_flush_regions(const struct carrick_endpoint *endpoint)
{
    const struct carrick_endpoint *e = endpoint;
    bool served = rdma_flush_is_native(e) && e->written.count <= RDMA_WRITTEN_MAX &&
                  e->written.count <= e->partner.reads;

    return served ? e->written.count : 0;
}

// ---- the read

const struct rdma_scratch *rdma_flush_scratch(const struct carrick_endpoint *endpoint)
{
    return endpoint->domain != NULL ? &endpoint->domain->scratch : &endpoint->device->scratch;
}

// Of the partner's scratch bytes, so that its memory is really asked. Where nothing can be written, in an endpoint
// without a domain, only the order counts, and a read of no bytes keeps it as well. But soft iWARP answers one that comes
// while it sends with the length and the key of what it has just sent: its own check of these, or the reader's of the length,
// ends the connection. So iWARP has scratch bytes there, too.
void rdma_flush_fill(struct carrick_endpoint *endpoint, struct ibv_send_wr *wr, struct ibv_sge *sge)
{
    struct carrick_endpoint *e = endpoint;
    const struct rdma_scratch *scratch = rdma_flush_scratch(e);

    e->written.count = 0;
    wr->opcode = IBV_WR_RDMA_READ;
    wr->num_sge = 1;
    if (scratch->mr != NULL && e->partner.scratch_bytes >= RDMA_SCRATCH_BYTES) {
        wr->wr.rdma.remote_addr = e->partner.scratch_base;
        wr->wr.rdma.rkey = e->partner.scratch_key;
        // Not where the partner reads.
        sge->addr = (uintptr_t)scratch->page + 2048;
        sge->length = RDMA_SCRATCH_BYTES;
        sge->lkey = scratch->mr->lkey;
    } else {
        wr->wr.rdma.remote_addr = 0;
        wr->wr.rdma.rkey = 0;
        sge->addr = (uintptr_t)e->buffers;
        sge->length = 0;
        sge->lkey = e->mr->lkey;
    }
}

// ---- the operation of the hardware

#ifdef RDMA_HAS_FLUSH

// Bit of the device's capabilities, by the kernel's number: rdma-core has no name for it.
#define DEVICE_FLUSH_GLOBAL (UINT64_C(1) << 38)

void rdma_flush_query(struct carrick_device *device)
{
    struct ibv_device_attr_ex attributes;

    device->native_flush = ibv_query_device_ex(device->context, NULL, &attributes) == 0 &&
                           (attributes.device_cap_flags_ex & DEVICE_FLUSH_GLOBAL) != 0;
}

int rdma_flush_access(const struct carrick_device *device)
{
    return device->native_flush ? IBV_ACCESS_FLUSH_GLOBAL : 0;
}

struct ibv_qp *rdma_queue_pair_make(struct carrick_device *device, struct ibv_pd *pd,
                                    struct ibv_qp_init_attr *sizes)
{
    struct ibv_qp_init_attr_ex extended = {
        .send_cq = sizes->send_cq,
        .recv_cq = sizes->recv_cq,
        .cap = sizes->cap,
        .qp_type = sizes->qp_type,
        .comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
        .pd = pd,
        .send_ops_flags = IBV_QP_EX_WITH_FLUSH,
    };

    return device->native_flush ? ibv_create_qp_ex(device->context, &extended)
                                : ibv_create_qp(pd, sizes);
}

int rdma_flush_post(struct carrick_endpoint *endpoint, uint64_t number)
{
    struct carrick_endpoint *e = endpoint;
    struct rdma_written *w = &e->written;
    struct ibv_qp_ex *qp = ibv_qp_to_qp_ex(e->qp);

    ibv_wr_start(qp);
    for (uint32_t i = 0; i < w->count; i++) {
        const struct rdma_range *r = &w->at[i];
        bool last = i + 1 == w->count;
        uint64_t bytes = r->end - r->begin;

        // They end in order: the last one speaks for all, and the others only where they fail.
        qp->wr_id = rdma_work_id(e, last ? 0 : RDMA_WORK_PART, number);
        qp->wr_flags = last ? IBV_SEND_SIGNALED : 0;
        // A range has 32 bits of length on the wire.
        ibv_wr_flush(qp, r->key, r->begin, bytes <= UINT32_MAX ? bytes : 0, IBV_FLUSH_GLOBAL,
                     bytes <= UINT32_MAX ? IBV_FLUSH_RANGE : IBV_FLUSH_MR);
    }
    e->device->posts++;
    e->device->work_requests += w->count;
    e->device->native_flushes++;
    w->count = 0;
    return ibv_wr_complete(qp);
}

#else

void rdma_flush_query(struct carrick_device *device)
{
    device->native_flush = false;
}

int rdma_flush_access(const struct carrick_device *device)
{
    (void)device;
    return 0;
}

struct ibv_qp *rdma_queue_pair_make(struct carrick_device *device, struct ibv_pd *pd,
                                    struct ibv_qp_init_attr *sizes)
{
    (void)device;
    return ibv_create_qp(pd, sizes);
}

int rdma_flush_post(struct carrick_endpoint *endpoint, uint64_t number)
{
    (void)endpoint;
    (void)number;
    return EOPNOTSUPP; // rdma_flush_is_native said so
}

#endif
