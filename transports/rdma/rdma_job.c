// SPDX-License-Identifier: Apache-2.0
//
// What may block: making and moving queue pairs, pinning buffers, and the end of all of it (destroying a queue pair of
// soft RoCE took three seconds with the cable out). A worker owns the endpoint's id, queue pair and buffers meanwhile;
// the manager touches them only when endpoint->job is none.
#include "rdma.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    ALIGN = 64,
    BOUNCE_BYTES = (RDMA_WIRE_HEADER_BYTES + RDMA_SEND_MAX + ALIGN - 1) / ALIGN * ALIGN,
    HEADERS_BYTES = (RDMA_RING + ALIGN / RDMA_WIRE_HEADER_BYTES) * RDMA_WIRE_HEADER_BYTES,
};

uint8_t *rdma_buffer_header(const struct carrick_endpoint *endpoint, uint64_t number)
{
    return endpoint->buffers + number % RDMA_RING * RDMA_WIRE_HEADER_BYTES;
}

uint8_t *rdma_buffer_credit(const struct carrick_endpoint *endpoint, uint32_t serial)
{
    return endpoint->buffers +
           (RDMA_RING + (size_t)(serial % RDMA_CREDITS_MAX)) * RDMA_WIRE_HEADER_BYTES;
}

uint8_t *rdma_buffer_bounce(const struct carrick_endpoint *endpoint, uint32_t bounce)
{
    return endpoint->buffers + HEADERS_BYTES + (size_t)bounce * BOUNCE_BYTES;
}

uint8_t *rdma_buffer_receive(const struct carrick_endpoint *endpoint, uint32_t receive)
{
    return endpoint->buffers + HEADERS_BYTES + (size_t)RDMA_BOUNCES * BOUNCE_BYTES +
           (size_t)receive * endpoint->receives.bytes;
}

int rdma_receives_post(struct carrick_endpoint *endpoint, const uint16_t *buffers, uint32_t count)
{
    struct carrick_endpoint *e = endpoint;
    struct ibv_recv_wr wr[RDMA_BATCH], *bad;
    struct ibv_sge sge[RDMA_BATCH];

    while (count != 0) {
        uint32_t batch = count < RDMA_BATCH ? count : RDMA_BATCH;
        int failed;

        for (uint32_t i = 0; i < batch; i++) {
            sge[i] = (struct ibv_sge){
                .addr = (uintptr_t)rdma_buffer_receive(e, buffers[i]),
                .length = e->receives.bytes,
                .lkey = e->mr->lkey,
            };
            wr[i] = (struct ibv_recv_wr){
                .wr_id = rdma_work_id(e, RDMA_WORK_RECEIVE, buffers[i]),
                .next = i + 1 < batch ? &wr[i + 1] : NULL,
                .sg_list = &sge[i],
                .num_sge = 1,
            };
        }
        failed = ibv_post_recv(e->qp, wr, &bad);
        if (failed != 0)
            return failed;
        e->receives.posted += batch;
        buffers += batch;
        count -= batch;
    }
    return 0;
}

// ---- the steps

static int step(struct carrick_endpoint *e, const char *name, bool good)
{
    if (good)
        return CARRICK_OK;
    e->job_step = name;
    e->job_errno = errno;
    e->job_status = CARRICK_ERR_SYSTEM;
    return CARRICK_ERR_SYSTEM;
}

static int make_buffers(struct carrick_endpoint *e)
{
    struct rdma_receives *r = &e->receives;

    r->bytes = (RDMA_WIRE_HEADER_BYTES + e->wanted_receive_bytes + ALIGN - 1) / ALIGN * ALIGN;
    r->depth = e->wanted_receive_depth + RDMA_RECEIVES_OWN;
    e->buffers_bytes =
        HEADERS_BYTES + (size_t)RDMA_BOUNCES * BOUNCE_BYTES + (size_t)r->depth * r->bytes;
    // Shared, so that a fork does not part us from what the device has pinned.
    e->buffers =
        mmap(NULL, e->buffers_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (e->buffers == MAP_FAILED) {
        e->buffers = NULL;
        return step(e, "its buffers", false);
    }
    // Not for the partner: it reaches nothing of them by itself.
    e->mr = ibv_reg_mr(e->domain != NULL ? e->domain->pd : e->device->pd, e->buffers,
                       e->buffers_bytes, IBV_ACCESS_LOCAL_WRITE);
    return step(e, "the registration of its buffers", e->mr != NULL);
}

static int move(struct carrick_endpoint *e, enum ibv_qp_state state)
{
    struct ibv_qp_attr attr = {.qp_state = state};
    int mask = 0, failed;

    if (rdma_init_qp_attr(e->id, &attr, &mask) != 0)
        return step(e, "the attributes of its queue pair", false);
    if (state == IBV_QPS_INIT) {
        // What may be reached, the protection domain decides.
        attr.qp_access_flags |=
            IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | rdma_flush_access(e->device);
        mask |= IBV_QP_ACCESS_FLAGS;
    } else if (state == IBV_QPS_RTR) {
        attr.max_dest_rd_atomic = e->responder_resources;
        attr.min_rnr_timer = RDMA_RNR_TIMER;
        mask |= IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
    } else if (state == IBV_QPS_RTS) {
        attr.max_rd_atomic = e->initiator_depth;
        attr.timeout = RDMA_ACK_TIMEOUT;
        attr.retry_cnt = RDMA_RETRIES;
        attr.rnr_retry = RDMA_RNR_RETRIES;
        mask |= IBV_QP_MAX_QP_RD_ATOMIC | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY;
    }
    failed = ibv_modify_qp(e->qp, &attr, mask);
    if (failed != 0)
        errno = failed;
    return step(e,
                state == IBV_QPS_INIT  ? "its queue pair's first state"
                : state == IBV_QPS_RTR ? "its queue pair's way to the partner"
                                       : "its queue pair's last state",
                failed == 0);
}

static int make_queue_pair(struct carrick_endpoint *e)
{
    struct ibv_qp_init_attr sizes;
    uint16_t all[RDMA_RECEIVE_DEPTH + RDMA_RECEIVES_OWN];

    rdma_queue_pair_sizes(e->device, &sizes);
    sizes.cap.max_recv_wr = e->receives.depth;
    e->qp =
        rdma_queue_pair_make(e->device, e->domain != NULL ? e->domain->pd : e->device->pd, &sizes);
    if (step(e, "its queue pair", e->qp != NULL) != CARRICK_OK ||
        move(e, IBV_QPS_INIT) != CARRICK_OK)
        return CARRICK_ERR_SYSTEM;
    for (uint32_t i = 0; i < e->receives.depth; i++)
        all[i] = (uint16_t)i;
    errno = rdma_receives_post(e, all, e->receives.depth);
    return step(e, "its receives", errno == 0);
}

static void prepare(struct carrick_endpoint *e)
{
    if (make_buffers(e) != CARRICK_OK || make_queue_pair(e) != CARRICK_OK)
        return;
    // The answering side's must work before it answers.
    if (!e->connecting_side && e->device->flavour->moves_queue_pair &&
        move(e, IBV_QPS_RTR) == CARRICK_OK)
        move(e, IBV_QPS_RTS);
}

static void establish(struct carrick_endpoint *e)
{
    // The first state again: only now does the connection manager know partition and port.
    if (move(e, IBV_QPS_INIT) == CARRICK_OK && move(e, IBV_QPS_RTR) == CARRICK_OK &&
        move(e, IBV_QPS_RTS) == CARRICK_OK)
        step(e, "the end of the handshake", rdma_establish(e->id) == 0);
}

static void destroy(struct carrick_endpoint *e)
{
    rdma_dial_join(e);
    // The id first: it tells a partner that has not heard yet. Where it may not now, it waits for the interface.
    if (e->id != NULL && !e->keeps_id) {
        rdma_destroy_id(e->id);
        e->id = NULL;
    }
    if (e->qp != NULL)
        ibv_destroy_qp(e->qp);
    e->qp = NULL;
    // What arrived, and was not told yet, still lies in the buffers.
    if (e->state == RDMA_ENDING)
        return;
    if (e->mr != NULL)
        ibv_dereg_mr(e->mr);
    if (e->buffers != NULL)
        munmap(e->buffers, e->buffers_bytes);
    e->mr = NULL;
    e->buffers = NULL;
}

static void job_work(void *arg)
{
    struct carrick_endpoint *e = arg;

    switch (e->job) {
    case RDMA_JOB_PREPARE:
        prepare(e);
        break;
    case RDMA_JOB_ESTABLISH:
        establish(e);
        break;
    case RDMA_JOB_DESTROY:
        destroy(e);
        break;
    case RDMA_JOB_NONE:
        break;
    }
}

// ---- back on the manager's thread

static void job_failed(struct carrick_endpoint *e, enum rdma_job job)
{
    const struct carrick_host *host = e->device->host;

    host->log(host, CARRICK_LOG_WARNING, "%s: a connection cannot be made, %s failed: %s%s",
              e->device->name, e->job_step, strerrordesc_np(e->job_errno),
              job == RDMA_JOB_PREPARE && e->job_errno == ENOMEM
                  ? "; is the limit of locked memory too low?"
                  : "");
    rdma_endpoint_fail(e, CARRICK_ERR_UNREACHABLE);
}

static void job_done(void *arg)
{
    struct carrick_endpoint *e = arg;
    enum rdma_job job = e->job;

    e->job = RDMA_JOB_NONE;
    e->device->jobs--;
    if (job == RDMA_JOB_DESTROY) {
        if (e->state == RDMA_ENDING) {
            // That was the fence.
            e->keeps_id = false;
            e->state = RDMA_CLOSED;
            e->tell_closed = true;
            rdma_endpoint_ready(e);
        } else {
            rdma_endpoint_free(e);
        }
        return;
    }
    if (e->state == RDMA_LOST || e->closing || e->device->closed) {
        rdma_endpoint_end(e); // what waited for this
        return;
    }
    if (e->job_status != CARRICK_OK)
        job_failed(e, job);
    else if (job == RDMA_JOB_ESTABLISH)
        rdma_connect_established(e);
    else if (e->connecting_side)
        rdma_connect_prepared(e);
    else
        rdma_accept_prepared(e);
}

void rdma_job_start(struct carrick_endpoint *endpoint, enum rdma_job job)
{
    struct carrick_endpoint *e = endpoint;
    const struct carrick_host *host = e->device->host;

    // The worker joins its thread.
    if (job == RDMA_JOB_DESTROY)
        list_remove(&e->dial.node);
    e->job = job;
    e->device->jobs++;
    if (host->work(host, job_work, job_done, e) == CARRICK_OK)
        return;
    if (job == RDMA_JOB_DESTROY) {
        job_work(e);
    } else {
        e->job_step = "a worker";
        e->job_errno = EAGAIN;
        e->job_status = CARRICK_ERR_SYSTEM;
    }
    job_done(e);
}

// ---- ids without an endpoint

struct end_id {
    struct carrick_device *device;
    struct rdma_cm_id *id;
};

static void end_id_work(void *arg)
{
    rdma_destroy_id(((struct end_id *)arg)->id);
}

static void end_id_done(void *arg)
{
    struct carrick_device *device = ((struct end_id *)arg)->device;

    free(arg);
    device->jobs--;
    rdma_device_release(device);
}

void rdma_job_end_id(struct carrick_device *device, struct rdma_cm_id *id)
{
    const struct carrick_host *host = device->host;
    struct end_id *end = malloc(sizeof *end);

    if (end == NULL) {
        rdma_destroy_id(id);
        return;
    }
    *end = (struct end_id){.device = device, .id = id};
    device->jobs++;
    if (host->work(host, end_id_work, end_id_done, end) == CARRICK_OK)
        return; // cppcheck-suppress memleak // end_id_done frees it
    end_id_work(end);
    end_id_done(end);
}
