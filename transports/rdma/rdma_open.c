// SPDX-License-Identifier: Apache-2.0
//
// How a device comes and goes. It is found by its address, as connections are, by a worker: that loads the driver's library,
// asks the kernel a dozen times and makes a queue pair. Closed, it lives on until the last worker that has something of it
// is done.
#include "rdma.h"

#include <carrick/error.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

int rdma_create(const struct rdma_flavour *flavour, const struct carrick_host *host,
                struct carrick_transport **transport, struct carrick_error *error)
{
    struct carrick_transport *t = malloc(sizeof *t);

    if (t == NULL)
        return carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, "", "out of memory");
    *t = (struct carrick_transport){.host = host, .flavour = flavour};
    list_init(&t->opening);
    *transport = t;
    return CARRICK_OK;
}

static struct carrick_device *device_new(struct carrick_transport *transport, const char *name)
{
    struct carrick_device *d = calloc(1, sizeof *d);

    if (d == NULL)
        return NULL;
    d->transport = transport;
    d->host = transport->host;
    d->flavour = transport->flavour;
    snprintf(d->name, sizeof d->name, "%s", name);
    d->epoll_fd = d->timer_fd = d->wake_fd = d->carrier.fd = -1;
    list_init(&d->opening_node);
    list_init(&d->endpoints);
    list_init(&d->dialing);
    list_init(&d->ready);
    list_init(&d->hung_up);
    list_init(&d->graveyard);
    list_init(&d->parked);
    list_init(&d->received);
    list_init(&d->telling);
    return d;
}

// ---- finding it

static int no_device(const struct carrick_device *d, struct carrick_error *error)
{
    int failed = errno;

    if (failed == ENOMEM || failed == EMFILE || failed == ENFILE)
        return carrick_error_set(error, CARRICK_ERR_SYSTEM, failed, "", "no RDMA event channel: %s",
                                 strerrordesc_np(failed));
    if (d->cm == NULL)
        return carrick_error_set(error, CARRICK_ERR_NO_DEVICE, failed, "",
                                 "no RDMA device on this node (%s): load its driver and rdma_ucm; "
                                 "`carrick doctor` looks further",
                                 strerrordesc_np(failed));
    return carrick_error_set(
        error, CARRICK_ERR_NO_DEVICE, failed, "/local/address",
        "no RDMA device has the address %s (%s); see `rdma link` and `ip address`, "
        "or correct the link's section for this node",
        d->local.address, failed == 0 ? "none" : strerrordesc_np(failed));
}

static int check_kind(const struct carrick_device *d, const struct ibv_device *found,
                      struct carrick_error *error)
{
    if (found->transport_type != (int)d->flavour->transport)
        return carrick_error_set(
            error, CARRICK_ERR_NO_DEVICE, 0, "/local/address",
            "the device with the address %s, %s, is none for the transport %s; it "
            "wants the transport %s",
            d->local.address, found->name, d->flavour->name, d->flavour->other);
    if (d->local.device[0] != '\0' && strcmp(d->local.device, found->name) != 0)
        return carrick_error_set(error, CARRICK_ERR_NO_DEVICE, 0, "/local/device",
                                 "the address %s belongs to the device %s, not to %s",
                                 d->local.address, found->name, d->local.device);
    return CARRICK_OK;
}

static int find(struct carrick_device *d, struct carrick_error *error)
{
    struct sockaddr_storage address = d->local.storage;
    int status;

    errno = 0;
    d->cm = rdma_create_event_channel();
    if (d->cm == NULL)
        return no_device(d, error);
    // Only to hold the address: connections and the listener have ports of their own.
    if (address.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&address)->sin6_port = 0;
    else
        ((struct sockaddr_in *)&address)->sin_port = 0;
    if (rdma_create_id(d->cm, &d->bound, d, RDMA_PS_TCP) != 0) {
        d->bound = NULL;
        return no_device(d, error);
    }
    errno = 0;
    if (rdma_bind_addr(d->bound, (struct sockaddr *)&address) != 0 || d->bound->verbs == NULL)
        return no_device(d, error);
    status = check_kind(d, d->bound->verbs->device, error);
    if (status != CARRICK_OK)
        return status;
    d->port_number = d->bound->port_num;
    d->context = ibv_open_device(d->bound->verbs->device);
    if (d->context == NULL)
        return carrick_error_set(error, CARRICK_ERR_SYSTEM, errno, "",
                                 "cannot open the device %s: %s", d->bound->verbs->device->name,
                                 strerrordesc_np(errno));
    return CARRICK_OK;
}

// ---- what it can do

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

// A flush of the hardware may be several, of which all but one count among the reads in flight alone.
static uint32_t sends_max(const struct carrick_device *d)
{
    return RDMA_POSTED_MAX + RDMA_OWN_MAX + RDMA_CREDITS_MAX +
           (d->native_flush ? RDMA_READS_MAX : 0);
}

void rdma_queue_pair_sizes(const struct carrick_device *device, struct ibv_qp_init_attr *sizes)
{
    *sizes = (struct ibv_qp_init_attr){
        .send_cq = device->cq,
        .recv_cq = device->cq,
        .cap =
            {
                .max_send_wr = sends_max(device),
                .max_recv_wr = RDMA_RECEIVE_DEPTH + RDMA_RECEIVES_OWN,
                .max_send_sge = 2,
                .max_recv_sge = 1,
                .max_inline_data = device->inline_bytes,
            },
        .qp_type = IBV_QPT_RC,
    };
}

static struct ibv_qp *largest_inline(struct carrick_device *d)
{
    struct ibv_qp_init_attr sizes;
    struct ibv_qp *qp = NULL;
    static const uint32_t tries[] = {RDMA_INLINE_MAX, 80, 64, 0};

    for (size_t i = 0; i < sizeof tries / sizeof tries[0] && qp == NULL; i++) {
        d->inline_bytes = tries[i];
        rdma_queue_pair_sizes(d, &sizes);
        qp = rdma_queue_pair_make(d, d->pd, &sizes);
    }
    return qp;
}

// The only way to learn how much a queue pair takes inline is to make one; and whether one that can flush is made at all:
// a driver may know less than its device.
static int probe_queue_pair(struct carrick_device *d, struct carrick_error *error)
{
    struct ibv_qp *qp = largest_inline(d);

    if (qp == NULL && d->native_flush) {
        d->native_flush = false;
        qp = largest_inline(d);
    }
    if (qp == NULL)
        return carrick_error_set(
            error, CARRICK_ERR_SYSTEM, errno, "",
            "the device %s makes no queue pair for %d sends and %d receives: %s",
            d->context->device->name, RDMA_POSTED_MAX, RDMA_RECEIVE_DEPTH, strerrordesc_np(errno));
    ibv_destroy_qp(qp);
    return CARRICK_OK;
}

static int make_queue(struct carrick_device *d, struct carrick_error *error)
{
    // Each work request of an endpoint may bring a completion when it ends.
    const uint32_t each = sends_max(d) + RDMA_RECEIVE_DEPTH + RDMA_RECEIVES_OWN;
    uint32_t entries = least(RDMA_CQ_ENTRIES, (uint32_t)d->attributes.max_cqe);

    d->completions = ibv_create_comp_channel(d->context);
    if (d->completions != NULL)
        d->cq = ibv_create_cq(d->context, (int)entries - 1, NULL, d->completions, 0);
    if (d->cq != NULL)
        d->pd = ibv_alloc_pd(d->context);
    if (d->pd == NULL)
        return carrick_error_set(error, CARRICK_ERR_SYSTEM, errno, "",
                                 "the device %s gives no completion queue of %u entries, or no "
                                 "protection domain: %s",
                                 d->context->device->name, entries, strerrordesc_np(errno));
    if (d->flavour->empty_read_breaks && !rdma_scratch_make(d, d->pd, &d->scratch))
        return carrick_error_set(error, CARRICK_ERR_SYSTEM, errno, "",
                                 "the device %s registers no page of memory: %s%s",
                                 d->context->device->name, strerrordesc_np(errno),
                                 errno == ENOMEM ? "; is the limit of locked memory too low?" : "");
    d->endpoints_max = least((uint32_t)d->cq->cqe / each, RDMA_ENDPOINTS_MAX);
    d->endpoints_max = least(d->endpoints_max, (uint32_t)d->attributes.max_qp);
    d->slots = calloc(d->endpoints_max, sizeof *d->slots);
    if (d->slots == NULL)
        return carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, "", "out of memory");
    return probe_queue_pair(d, error);
}

static int query(struct carrick_device *d, struct carrick_error *error)
{
    struct ibv_port_attr port = {0};

    if (ibv_query_device(d->context, &d->attributes) != 0 ||
        ibv_query_port(d->context, d->port_number, &port) != 0)
        return carrick_error_set(error, CARRICK_ERR_SYSTEM, errno, "",
                                 "the device %s does not tell its attributes: %s",
                                 d->context->device->name, strerrordesc_np(errno));
    d->message_max_bytes = least(port.max_msg_sz, UINT32_C(1) << RDMA_MESSAGE_MAX_LOG2);
    d->reads_max = least(RDMA_READS_MAX, (uint32_t)d->attributes.max_qp_rd_atom);
    d->reads_max = least(d->reads_max, (uint32_t)d->attributes.max_qp_init_rd_atom);
    if (d->reads_max == 0)
        d->reads_max = 1;
    rdma_flush_query(d);
    return CARRICK_OK;
}

void rdma_device_caps(struct carrick_device *device, struct carrick_device_caps *caps)
{
    const struct carrick_device_caps own = {
        .struct_size = caps->struct_size,
        .flags = device->flavour->cap_flags |
                 (device->native_flush ? (uint32_t)CARRICK_CAP_NATIVE_FLUSH : 0),
        // On a reliable connection a completed write was acknowledged by the other card, which need not have put it
        // where its processor sees it: it may still be on its way there (soft RoCE places it first, but says so
        // nowhere). iWARP acknowledges nothing at all. So completions prove nothing here, and a flush does (rdma_flush.c).
        .proof = CARRICK_PROOF_LOCAL,
        .max_send_bytes = RDMA_SEND_MAX,
        .max_message_bytes = device->message_max_bytes,
        .max_posted = RDMA_POSTED_MAX,
        .max_reads = device->reads_max,
        .inline_bytes = device->inline_bytes > RDMA_WIRE_HEADER_BYTES
                            ? device->inline_bytes - RDMA_WIRE_HEADER_BYTES
                            : 0,
        .request_bytes = RDMA_PRIVATE_REQUEST,
        .reply_bytes = RDMA_PRIVATE_REPLY,
        .max_endpoints = device->endpoints_max,
        .max_locked_bytes = rdma_locked_limit(device),
    };

    memcpy(caps, &own, caps->struct_size < sizeof own ? caps->struct_size : sizeof own);
}

// ---- its descriptors

static int never_block(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static int open_descriptors(struct carrick_device *d, struct carrick_error *error)
{
    d->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    d->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    d->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (d->epoll_fd >= 0 && d->timer_fd >= 0 && d->wake_fd >= 0 && never_block(d->cm->fd) == 0 &&
        never_block(d->completions->fd) == 0 && never_block(d->context->async_fd) == 0 &&
        rdma_device_watch(d, d->wake_fd, RDMA_SOURCE_WAKE) == CARRICK_OK &&
        rdma_device_watch(d, d->timer_fd, RDMA_SOURCE_TIMER) == CARRICK_OK &&
        rdma_device_watch(d, d->cm->fd, RDMA_SOURCE_CM) == CARRICK_OK &&
        rdma_device_watch(d, d->completions->fd, RDMA_SOURCE_COMPLETION) == CARRICK_OK &&
        rdma_device_watch(d, d->context->async_fd, RDMA_SOURCE_ASYNC) == CARRICK_OK)
        return CARRICK_OK;
    return carrick_error_set(error, CARRICK_ERR_SYSTEM, errno, "",
                             "no descriptor for the device: %s; raise the limit of open files",
                             strerrordesc_np(errno));
}

// ---- opening it

static void open_work(void *arg)
{
    struct carrick_device *d = arg;
    struct carrick_error *error = &d->open_error;
    int status = find(d, error);

    if (status == CARRICK_OK)
        status = query(d, error);
    if (status == CARRICK_OK)
        status = make_queue(d, error);
    if (status == CARRICK_OK)
        status = open_descriptors(d, error);
    d->open_status = status;
    if (status != CARRICK_OK)
        return;
    rdma_port_query(d);
    rdma_carrier_open(d);
}

static void open_done(void *arg)
{
    ((struct carrick_device *)arg)->opening = false;
}

static struct carrick_device *opening_find(const struct carrick_transport *transport,
                                           const char *name)
{
    for (const struct list *node = transport->opening.next; node != &transport->opening;
         node = node->next) {
        struct carrick_device *d = list_entry(node, struct carrick_device, opening_node);

        if (strcmp(d->name, name) == 0)
            return d;
    }
    return NULL;
}

static int open_begin(struct carrick_transport *transport,
                      const struct carrick_device_options *options, struct carrick_error *error)
{
    const struct carrick_host *host = transport->host;
    struct carrick_device *d = device_new(transport, options->name);
    int status;

    if (d == NULL)
        return carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, "", "out of memory");
    status = rdma_section_parse(options->local, "/local", &d->local, error);
    if (status == CARRICK_OK)
        status = rdma_settings_parse(options->config, &d->settings, error);
    if (status != CARRICK_OK) {
        rdma_device_close(d);
        return status;
    }
    d->opening = true;
    list_append(&transport->opening, &d->opening_node);
    if (host->work(host, open_work, open_done, d) != CARRICK_OK) {
        open_work(d);
        open_done(d);
    }
    return CARRICK_ERR_AGAIN;
}

int rdma_device_open(struct carrick_transport *transport,
                     const struct carrick_device_options *options, struct carrick_device **device,
                     struct carrick_error *error)
{
    struct carrick_device *d = opening_find(transport, options->name);
    int status;

    if (d == NULL)
        return open_begin(transport, options, error);
    if (d->opening)
        return CARRICK_ERR_AGAIN;
    list_remove(&d->opening_node);
    status = d->open_status;
    if (status == CARRICK_OK) {
        *device = d;
        return CARRICK_OK;
    }
    carrick_error_set(error, status, d->open_error.sys_errno, d->open_error.pointer, "%s",
                      d->open_error.text);
    rdma_device_close(d);
    return status;
}

// ---- its end

static void close_if_open(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

// librdmacm has opened the device, too, and keeps it open until it looks at the list of devices again. Drivers that
// cannot be taken from under a process (the soft ones) wait for that, and with them whoever removes the device.
static void forget_removed(void)
{
    struct ibv_context **devices = rdma_get_devices(NULL);

    if (devices != NULL)
        rdma_free_devices(devices);
}

static void finish_work(void *arg)
{
    struct carrick_device *d = arg;

    if (d->listener != NULL)
        rdma_destroy_id(d->listener);
    if (d->bound != NULL)
        rdma_destroy_id(d->bound);
    rdma_scratch_end(&d->scratch);
    if (d->pd != NULL)
        ibv_dealloc_pd(d->pd);
    if (d->cq != NULL) {
        ibv_ack_cq_events(d->cq, d->events_unacked);
        ibv_destroy_cq(d->cq);
    }
    if (d->completions != NULL)
        ibv_destroy_comp_channel(d->completions);
    if (d->context != NULL)
        ibv_close_device(d->context);
    if (d->cm != NULL)
        rdma_destroy_event_channel(d->cm);
    if (d->removed)
        forget_removed();
}

static void finish_done(void *arg)
{
    struct carrick_device *d = arg;

    close_if_open(&d->wake_fd); // which threads that connect write to
    free(d->slots);
    free(d);
}

// No work is under way any more, and none can be begun.
void rdma_destroy(struct carrick_transport *transport)
{
    while (!list_empty(&transport->opening)) {
        struct carrick_device *d =
            list_entry(transport->opening.next, struct carrick_device, opening_node);

        list_remove(&d->opening_node);
        rdma_carrier_close(d);
        close_if_open(&d->epoll_fd);
        close_if_open(&d->timer_fd);
        finish_work(d);
        finish_done(d);
    }
    free(transport);
}

void rdma_device_release(struct carrick_device *device)
{
    const struct carrick_host *host = device->host;

    if (!device->closed || device->endpoint_count != 0 || device->domain_count != 0 ||
        device->jobs != 0)
        return;
    if (host->work(host, finish_work, finish_done, device) != CARRICK_OK) {
        finish_work(device);
        finish_done(device);
    }
}

void rdma_device_close(struct carrick_device *device)
{
    struct carrick_device *d = device;

    d->closed = true;
    d->jobs++; // it must not go away in here
    rdma_carrier_close(d);
    close_if_open(&d->epoll_fd);
    close_if_open(&d->timer_fd);
    // All are CLOSED, unless the caller broke the order of calls or never answered a request.
    while (!list_empty(&d->endpoints))
        rdma_endpoint_bury(list_entry(d->endpoints.next, struct carrick_endpoint, node));
    rdma_endpoints_unpark(d);
    while (!list_empty(&d->graveyard)) {
        struct carrick_endpoint *e = list_entry(d->graveyard.next, struct carrick_endpoint, node);

        list_remove(&e->node);
        rdma_endpoint_end(e);
    }
    while (!list_empty(&d->telling)) {
        struct carrick_registration *r =
            list_entry(d->telling.next, struct carrick_registration, node);

        list_remove(&r->node);
        if (r->event == CARRICK_EVENT_DEREGISTERED)
            free(r);
    }
    d->jobs--;
    rdma_device_release(d);
}
