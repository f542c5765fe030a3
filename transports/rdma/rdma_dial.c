// SPDX-License-Identifier: Apache-2.0
//
// rdma_connect where it waits for the partner. Soft iWARP opens its TCP connection within the call: with a partner that
// is silent it would stand there for two minutes. So it has a thread of its own, not one of the host's few workers, and
// the thread is cancelled as soon as the endpoint is given up; the wait in the kernel is one that a signal ends. The
// thread owns nothing but the use of the endpoint's id: the queue pair stays with the manager, who can end it meanwhile.
#include "rdma.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

enum { STACK_BYTES = 256 * 1024 };

static void done(void *arg)
{
    struct rdma_dial *dial = arg;
    const uint64_t one = 1;
    ssize_t written;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    atomic_store(&dial->done, true);
    // The device keeps this descriptor until all of its endpoints are gone. A full counter is readable as well.
    written = write(dial->wake_fd, &one, sizeof one);
    (void)written;
}

static void *dial_run(void *arg)
{
    struct rdma_dial *dial = arg;

    pthread_cleanup_push(done, dial);
    // Of the calls in here only the write to the connection manager can be cancelled, and nothing is held across it.
    dial->failed_errno = ECANCELED;
    dial->failed_errno = rdma_connect(dial->id, &dial->param) == 0 ? 0 : errno;
    pthread_cleanup_pop(1);
    return NULL;
}

static int thread_start(struct rdma_dial *dial)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int failed = pthread_attr_init(&attributes);

    if (failed != 0)
        return failed;
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    // The process's signals are for others.
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&dial->thread, &attributes, dial_run, dial);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return failed;
}

int rdma_dial_start(struct carrick_endpoint *endpoint, const struct rdma_conn_param *param)
{
    struct carrick_endpoint *e = endpoint;
    int failed;

    e->dial.param = *param;
    e->dial.id = e->id;
    e->dial.wake_fd = e->device->wake_fd;
    failed = thread_start(&e->dial);
    if (failed != 0)
        return failed;
    e->dial.running = true;
    list_append(&e->device->dialing, &e->dial.node);
    return 0;
}

void rdma_dial_stop(struct carrick_endpoint *endpoint)
{
    struct rdma_dial *dial = &endpoint->dial;

    if (!dial->running || dial->stopped)
        return;
    dial->stopped = true;
    pthread_cancel(dial->thread);
}

void rdma_dial_join(struct carrick_endpoint *endpoint)
{
    struct rdma_dial *dial = &endpoint->dial;

    if (!dial->running)
        return;
    rdma_dial_stop(endpoint);
    pthread_join(dial->thread, NULL);
    dial->running = false;
}

void rdma_dial_collect(struct carrick_device *device)
{
    struct list *node, *next;

    for (node = device->dialing.next; node != &device->dialing; node = next) {
        struct carrick_endpoint *e = list_entry(node, struct carrick_endpoint, dial.node);

        next = node->next;
        if (!atomic_load(&e->dial.done))
            continue;
        list_remove(node);
        rdma_dial_join(e); // it has nothing left to do
        if (e->dial.failed_errno != 0 && e->state == RDMA_CONNECTING)
            rdma_endpoint_fail(e, CARRICK_ERR_UNREACHABLE);
    }
}
