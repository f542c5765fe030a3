// SPDX-License-Identifier: Apache-2.0
//
// A trial connect over RDMA, as a link would make it: address, route, queue pair, request. Its request is one for a lane
// of no session, which every version refuses at once, without a line in its log and without a place among the
// handshakes that it has room for. So whoever refuses it with a reason of the core's is a carrickd that listens there.
//
// librdmacm is opened, not linked with: the command works on machines without it. What may block in it runs in a child
// process, which is killed when the time is over, and whose end has the kernel clean up after it.

#include "cli/doctor.h"
#include "core/handshake.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#if __has_include(<rdma/rdma_cma.h>)
#include <rdma/rdma_cma.h>

#define LIBRARY "librdmacm.so.1"
#define MARK_BYTES 8 // before the core's data in a refusal, docs/protocol-rdma.md
#define NO_SUCH_PORT                                                                               \
    8 // of the reasons of InfiniBand's connection manager: no service of that number
#define BY_LISTENER 28u // of those: whoever listens has refused, not the kernel

struct library {
    __typeof__(rdma_create_event_channel) *create_event_channel;
    __typeof__(rdma_create_id) *create_id;
    __typeof__(rdma_resolve_addr) *resolve_addr;
    __typeof__(rdma_resolve_route) *resolve_route;
    __typeof__(rdma_create_qp) *create_qp;
    __typeof__(rdma_connect) *connect;
    __typeof__(rdma_get_cm_event) *get_cm_event;
    struct rdma_event_channel *channel;
    struct rdma_cm_id *id;
};

static const struct {
    const char *name;
    size_t at;
} functions[] = {
    {"rdma_create_event_channel", offsetof(struct library, create_event_channel)},
    {"rdma_create_id", offsetof(struct library, create_id)},
    {"rdma_resolve_addr", offsetof(struct library, resolve_addr)},
    {"rdma_resolve_route", offsetof(struct library, resolve_route)},
    {"rdma_create_qp", offsetof(struct library, create_qp)},
    {"rdma_connect", offsetof(struct library, connect)},
    {"rdma_get_cm_event", offsetof(struct library, get_cm_event)},
};

static bool library_open(struct library *l)
{
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; handle && i < sizeof functions / sizeof *functions; i++) {
        void *function = dlsym(handle, functions[i].name);
        if (!function)
            return false;
        memcpy((char *)l + functions[i].at, &function, sizeof function);
    }
    return handle != NULL;
}

static struct trial ended(enum trial_end end, int error)
{
    return (struct trial){.end = end, .error = error};
}

// Whether the next event is the one that is wanted; else *error says why not. Events are not acknowledged: nothing is
// destroyed before the process ends.
static bool next_is(const struct library *l, enum rdma_cm_event_type wanted, int *error)
{
    struct rdma_cm_event *event;
    if (l->get_cm_event(l->channel, &event) != 0) {
        *error = errno;
        return false;
    }
    *error = event->status < 0 ? -event->status : EHOSTUNREACH;
    return event->event == wanted;
}

static struct trial refused(const struct rdma_cm_event *event)
{
    const uint8_t *data = event->param.conn.private_data;
    size_t bytes = data ? event->param.conn.private_data_len : 0;
    if (bytes > MARK_BYTES && reject_parse(data + MARK_BYTES, bytes - MARK_BYTES))
        return ended(TRIAL_LISTENS, 0);
    // iWARP tells in the same way of a port without a listener and of a listener that gives no reason.
    if (event->status == NO_SUCH_PORT || (event->status == -ECONNREFUSED && bytes == 0))
        return ended(TRIAL_NOBODY, ECONNREFUSED);
    if (event->status == BY_LISTENER || event->status == -ECONNREFUSED)
        return ended(TRIAL_STRANGER, ECONNREFUSED);
    return ended(TRIAL_SILENT, event->status < 0 ? -event->status : EPROTO);
}

static struct trial answer(const struct library *l)
{
    struct rdma_cm_event *event;
    if (l->get_cm_event(l->channel, &event) != 0)
        return ended(TRIAL_SILENT, errno);
    switch (event->event) {
    case RDMA_CM_EVENT_REJECTED:
        return refused(event);
    case RDMA_CM_EVENT_ESTABLISHED:
    case RDMA_CM_EVENT_CONNECT_RESPONSE:
        return ended(TRIAL_STRANGER, 0);
    default:
        return ended(TRIAL_SILENT, event->status < 0 ? -event->status : EHOSTUNREACH);
    }
}

static struct trial request(const struct library *l)
{
    struct ibv_qp_init_attr queue_pair = {
        .cap = {.max_send_wr = 1, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1},
        .qp_type = IBV_QPT_RC,
    };
    const struct cluster_key nobodys = {0};
    const struct lane_request lane = {0};
    uint8_t data[HANDSHAKE_REQUEST_BYTES];
    struct rdma_conn_param param = {.private_data = data, .private_data_len = sizeof data};
    lane_request_make(&nobodys, &lane, data);
    if (l->create_qp(l->id, NULL, &queue_pair) != 0)
        return ended(errno == ENOMEM ? TRIAL_NO_MEMORY : TRIAL_NOT_TRIED, errno);
    // Soft iWARP makes its TCP connection in here.
    if (l->connect(l->id, &param) != 0)
        return ended(errno == ECONNREFUSED ? TRIAL_NOBODY : TRIAL_SILENT, errno);
    return answer(l);
}

static void tell(int fd, struct trial trial)
{
    ssize_t written = write(fd, &trial, sizeof trial);
    (void)written; // then the command has given up
}

// What would be true if no more came is told before each step.
static void run(int fd, const struct addrinfo *from, const struct addrinfo *to, unsigned timeout_ms)
{
    struct library l = {0};
    int error = 0;
    if (!library_open(&l)) {
        tell(fd, ended(TRIAL_NO_LIBRARY, 0));
        return;
    }
    l.channel = l.create_event_channel();
    if (!l.channel || l.create_id(l.channel, &l.id, NULL, RDMA_PS_TCP) != 0) {
        tell(fd, ended(TRIAL_NOT_TRIED, errno));
        return;
    }
    tell(fd, ended(TRIAL_NO_ADDRESS, ETIMEDOUT));
    if (l.resolve_addr(l.id, from ? from->ai_addr : NULL, to->ai_addr, (int)timeout_ms) != 0 ||
        !next_is(&l, RDMA_CM_EVENT_ADDR_RESOLVED, &error)) {
        tell(fd, ended(TRIAL_NO_ADDRESS, error ? error : errno));
        return;
    }
    tell(fd, ended(TRIAL_NO_ROUTE, ETIMEDOUT));
    if (l.resolve_route(l.id, (int)timeout_ms) != 0 ||
        !next_is(&l, RDMA_CM_EVENT_ROUTE_RESOLVED, &error)) {
        tell(fd, ended(TRIAL_NO_ROUTE, error ? error : errno));
        return;
    }
    tell(fd, ended(TRIAL_SILENT, ETIMEDOUT));
    tell(fd, request(&l));
}
#else
static void run(int fd, const struct addrinfo *from, const struct addrinfo *to, unsigned timeout_ms)
{
    (void)fd, (void)from, (void)to, (void)timeout_ms; // TRIAL_NOT_BUILT
}
#endif

// The last that the child tells before it closes its end, or before the time is over.
static struct trial listen_to(int fd, unsigned timeout_ms)
{
    struct trial last = {.end = TRIAL_NOT_BUILT}, next;
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    const int64_t end_ms = (int64_t)cli_now_ms() + timeout_ms;
    for (int64_t left = timeout_ms; left > 0; left = end_ms - (int64_t)cli_now_ms()) {
        if (poll(&waiting, 1, (int)left) <= 0)
            break;
        if (read(fd, &next, sizeof next) != sizeof next)
            break;
        last = next;
    }
    return last;
}

struct trial doctor_trial(const struct addrinfo *from, const struct addrinfo *to,
                          unsigned timeout_ms)
{
    int ends[2];
    if (pipe(ends) != 0)
        return (struct trial){.end = TRIAL_NOT_TRIED, .error = errno};
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        run(ends[1], from, to, timeout_ms);
        _exit(0);
    }
    close(ends[1]);
    struct trial trial = {.end = TRIAL_NOT_TRIED, .error = errno};
    if (child > 0) {
        trial = listen_to(ends[0], timeout_ms);
        kill(child, SIGKILL);
        // A queue pair that ends may hold it up for seconds: then init is who takes note of its end.
        waitpid(child, NULL, WNOHANG);
    }
    close(ends[0]);
    return trial;
}
