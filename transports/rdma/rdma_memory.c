// SPDX-License-Identifier: Apache-2.0
//
// Domains and registrations. A domain is a protection domain of the device, which is what keeps a partner from memory
// that is not its own: soft RoCE's keys can be guessed, and soft iWARP ignores a queue pair's access flags.
//
// Each registration is made on its own, with a new key: it belongs to one domain, and ends with it (docs/architecture.md,
// "Memory").
#include "rdma_device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

// ---- domains

bool rdma_scratch_make(const struct carrick_device *device, struct ibv_pd *pd,
                       struct rdma_scratch *scratch)
{
    int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ;
    size_t bytes = (size_t)sysconf(_SC_PAGESIZE);

    if (device->flavour->sink_is_written)
        access |= IBV_ACCESS_REMOTE_WRITE;
    scratch->page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (scratch->page == MAP_FAILED) {
        scratch->page = NULL;
        return false;
    }
    // One page is pinned in microseconds: not worth a worker.
    scratch->mr = ibv_reg_mr(pd, scratch->page, bytes, access);
    return scratch->mr != NULL;
}

void rdma_scratch_end(struct rdma_scratch *scratch)
{
    if (scratch->mr != NULL)
        ibv_dereg_mr(scratch->mr);
    if (scratch->page != NULL)
        munmap(scratch->page, (size_t)sysconf(_SC_PAGESIZE));
}

static void domain_work(void *arg)
{
    struct carrick_domain *domain = arg;

    rdma_scratch_end(&domain->scratch);
    if (domain->pd != NULL)
        ibv_dealloc_pd(domain->pd);
}

static void domain_done(void *arg)
{
    struct carrick_domain *domain = arg;
    struct carrick_device *device = domain->device;

    free(domain);
    device->domain_count--;
    rdma_device_release(device);
}

int rdma_domain_create(struct carrick_device *device, struct carrick_domain **domain)
{
    struct carrick_domain *made = calloc(1, sizeof *made);

    if (made == NULL)
        return CARRICK_ERR_NO_MEMORY;
    made->device = device;
    device->domain_count++;
    made->pd = ibv_alloc_pd(device->context);
    if (made->pd == NULL || !rdma_scratch_make(device, made->pd, &made->scratch)) {
        device->host->log(device->host, CARRICK_LOG_WARNING,
                          "%s: no protection domain with a page in it: %s", device->name,
                          strerrordesc_np(errno));
        domain_work(made);
        domain_done(made);
        return CARRICK_ERR_SYSTEM;
    }
    *domain = made;
    return CARRICK_OK;
}

void rdma_domain_release(struct carrick_domain *domain)
{
    const struct carrick_host *host = domain->device->host;

    if (!domain->ended || domain->endpoints != 0)
        return;
    if (host->work(host, domain_work, domain_done, domain) != CARRICK_OK) {
        domain_work(domain);
        domain_done(domain);
    }
}

void rdma_domain_destroy(struct carrick_domain *domain)
{
    // Queue pairs that are being destroyed keep it.
    domain->ended = true;
    rdma_domain_release(domain);
}

// ---- how much may be locked

// A line of /proc/self/status; the number that it bears in the base.
static uint64_t status_number(const char *name, int base)
{
    char line[256];
    uint64_t number = 0;
    size_t length = strlen(name);
    FILE *file = fopen("/proc/self/status", "re");

    if (file == NULL)
        return 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, length) == 0 && line[length] == ':') {
            number = strtoull(line + length + 1, NULL, base);
            break;
        }
    fclose(file);
    return number;
}

// Soft iWARP counts by itself, and asks for no capability.
static bool limits_everyone(const struct carrick_device *device)
{
    const uint32_t siw_vendor_id = 0x626d74;

    return device->attributes.vendor_id == siw_vendor_id;
}

uint64_t rdma_locked_limit(const struct carrick_device *device)
{
    const uint64_t ipc_lock = UINT64_C(1) << 14; // CAP_IPC_LOCK
    struct rlimit limit;

    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
        ((status_number("CapEff", 16) & ipc_lock) != 0 && !limits_everyone(device)))
        return 0;
    return limit.rlim_cur > 0 ? limit.rlim_cur : 1;
}

static bool wants_sink(const struct carrick_registration *r)
{
    return r->domain->device->flavour->sink_is_written &&
           (r->access & CARRICK_ACCESS_REMOTE_WRITE) == 0;
}

// The core has held the sum of what it knows before against the limit. What comes beside that, also from programs that
// share this process's memory, is met here, with the cause; of two workers at once the kernel refuses one.
static bool may_lock(struct carrick_registration *r)
{
    // Memory that wants a sink, and that the partner reads, is locked twice.
    uint32_t times = r->access != CARRICK_ACCESS_LOCAL && wants_sink(r) ? 2 : 1;
    uint64_t locked;

    r->limit_bytes = rdma_locked_limit(r->domain->device);
    if (r->limit_bytes == 0)
        return true;
    locked = status_number("VmPin", 10) * 1024;
    return locked <= r->limit_bytes && r->bytes <= (r->limit_bytes - locked) / times;
}

// ---- registrations

static void region_tell(struct carrick_registration *r)
{
    struct carrick_device *device = r->domain->device;

    list_append(&device->telling, &r->node);
    rdma_device_kick(device);
}

static void region_end(struct carrick_registration *r)
{
    if (r->mr != NULL)
        ibv_dereg_mr(r->mr);
    if (r->sink != NULL)
        ibv_dereg_mr(r->sink);
    r->mr = r->sink = NULL;
}

static void register_work(void *arg)
{
    struct carrick_registration *r = arg;
    int access = IBV_ACCESS_LOCAL_WRITE;
    bool remote = r->access != CARRICK_ACCESS_LOCAL, sink = wants_sink(r);

    if (!may_lock(r)) {
        r->status = CARRICK_ERR_LIMIT;
        return;
    }
    if (r->access & CARRICK_ACCESS_REMOTE_READ)
        access |= IBV_ACCESS_REMOTE_READ;
    if (r->access & CARRICK_ACCESS_REMOTE_WRITE)
        access |= IBV_ACCESS_REMOTE_WRITE | rdma_flush_access(r->domain->device);
    // Local memory that wants a sink has nothing that the partner could be told.
    if (remote || !sink)
        r->mr = ibv_reg_mr(r->domain->pd, r->address, r->bytes, access);
    if (sink && (r->mr != NULL || !remote))
        r->sink = ibv_reg_mr(r->domain->pd, r->address, r->bytes,
                             IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
    if ((r->mr != NULL || (sink && !remote)) && (r->sink != NULL || !sink))
        return;
    r->failed_errno = errno;
    r->status = CARRICK_ERR_SYSTEM;
    region_end(r);
}

static void register_done(void *arg)
{
    struct carrick_registration *r = arg;

    r->domain->device->jobs--;
    r->event = CARRICK_EVENT_REGISTERED;
    region_tell(r);
}

int rdma_region_register(struct carrick_domain *domain,
                         const struct carrick_region_options *options,
                         struct carrick_registration **registration)
{
    const struct carrick_host *host = domain->device->host;
    struct carrick_registration *r;
    int status;

    if (options->address == NULL || options->bytes == 0 ||
        options->bytes > UINTPTR_MAX - (uintptr_t)options->address)
        return CARRICK_ERR_INVALID;
    r = calloc(1, sizeof *r);
    if (r == NULL)
        return CARRICK_ERR_NO_MEMORY;
    *r = (struct carrick_registration){
        .domain = domain,
        .working = true,
        .address = options->address,
        .bytes = options->bytes,
        .access = options->access,
        .cookie = options->cookie,
    };
    status = host->work(host, register_work, register_done, r);
    if (status != CARRICK_OK) {
        free(r);
        return status;
    }
    domain->device->jobs++;
    *registration = r;
    return CARRICK_OK;
}

static void deregister_work(void *arg)
{
    region_end(arg);
}

static void deregister_done(void *arg)
{
    struct carrick_registration *r = arg;

    r->domain->device->jobs--;
    r->event = CARRICK_EVENT_DEREGISTERED;
    region_tell(r);
}

int rdma_region_deregister(struct carrick_registration *registration)
{
    struct carrick_registration *r = registration;
    const struct carrick_host *host = r->domain->device->host;

    if (r->working)
        return CARRICK_ERR_STATE;
    r->working = true;
    r->domain->device->jobs++;
    if (host->work(host, deregister_work, deregister_done, r) != CARRICK_OK) {
        deregister_work(r);
        deregister_done(r);
    }
    return CARRICK_OK;
}

// The core says it once, however often it tries again: nothing stands in it that is another with each try.
static void failure_text(const struct carrick_registration *r, char *text, size_t size)
{
    unsigned long long bytes = r->bytes, limit = r->limit_bytes;

    if (r->status == CARRICK_ERR_LIMIT || (r->failed_errno == ENOMEM && limit != 0))
        snprintf(text, size,
                 "a region of %llu bytes cannot be locked beside what is: the limit is %llu bytes; "
                 "set LimitMEMLOCK=infinity in the unit of carrickd, or raise `ulimit -l`",
                 bytes, limit);
    else if (r->failed_errno == EOPNOTSUPP || r->failed_errno == EFAULT)
        snprintf(text, size,
                 "the memory of a region of %llu bytes cannot be registered: %s; memory of files "
                 "on a disk or on DAX file systems cannot, tmpfs and hugetlbfs can",
                 bytes, strerrordesc_np(r->failed_errno));
    else
        snprintf(text, size, "a region of %llu bytes cannot be registered: %s", bytes,
                 strerrordesc_np(r->failed_errno));
}

void rdma_regions_tell(struct carrick_device *device, struct rdma_output *out)
{
    while (!list_empty(&device->telling) && !rdma_output_full(out)) {
        struct carrick_registration *r =
            list_entry(device->telling.next, struct carrick_registration, node);
        struct carrick_event event = {
            .type = r->event,
            .status = r->event == CARRICK_EVENT_REGISTERED ? r->status : CARRICK_OK,
            .cookie = r->cookie,
            .registration = r,
        };

        if (event.status != CARRICK_OK) {
            // Of several in one poll the last one's words stand for all.
            failure_text(r, device->failure, sizeof device->failure);
            event.data = device->failure;
            event.length = (uint32_t)strlen(device->failure);
        }
        if (r->mr != NULL) {
            event.key.base = (uintptr_t)r->address;
            event.key.key = r->mr->rkey;
        }
        list_remove(&r->node);
        r->working = false;
        rdma_output_put(out, &event);
        if (r->event == CARRICK_EVENT_DEREGISTERED || r->status != CARRICK_OK)
            free(r);
    }
}
