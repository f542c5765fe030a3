// SPDX-License-Identifier: Apache-2.0
//
// What cases are written with: domains, regions, endpoints, operations.
#include "rig.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct rig_domain *rig_domain(struct rig *rig, unsigned node)
{
    struct rig_domain *domain = calloc(1, sizeof(*domain));

    cr_assert(domain != NULL && rig->domains_count < RIG_DOMAINS_MAX);
    domain->node = &rig->node[node];
    CHECK(rig,
          domain->node->ops.domain_create(domain->node->device, &domain->handle) == CARRICK_OK);
    rig->domains[rig->domains_count++] = domain;
    return domain;
}

// Memory is shared, so that a test can let another process write it; the pages beside it trap.
static uint8_t *memory_map(uint64_t bytes)
{
    uint8_t *memory =
        mmap(NULL, bytes + 2 * (size_t)RIG_PAGE, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    cr_assert(memory != MAP_FAILED);
    memory += RIG_PAGE;
    cr_assert(mprotect(memory, bytes, PROT_READ | PROT_WRITE) == 0);
    return memory;
}

struct rig_region *rig_region_begin(struct rig_domain *domain, uint64_t bytes, uint32_t access)
{
    struct rig *rig = domain->node->rig;
    struct rig_region *region = calloc(1, sizeof(*region));
    struct carrick_region_options options = {.struct_size = sizeof(options), .access = access};
    int rc;

    cr_assert(region != NULL && rig->regions_count < RIG_REGIONS_MAX);
    region->node = domain->node;
    region->domain = domain;
    region->bytes = (bytes + RIG_PAGE - 1) / RIG_PAGE * RIG_PAGE;
    region->memory = memory_map(region->bytes);
    region->index = rig->regions_count;
    rig->regions[rig->regions_count++] = region;
    options.address = region->memory;
    options.bytes = region->bytes;
    options.fd = -1;
    options.cookie = region->index + 1;
    rc = region->node->ops.region_register(domain->handle, &options, &region->handle);
    CHECK(rig, rc == CARRICK_OK, "region_register: 0x%x", (unsigned)rc);
    return region;
}

struct rig_region *rig_region(struct rig_domain *domain, uint64_t bytes, uint32_t access)
{
    struct rig *rig = domain->node->rig;
    struct rig_region *region = rig_region_begin(domain, bytes, access);

    WAIT(rig, region->registered);
    CHECK(rig, region->status == CARRICK_OK, "registering failed: 0x%x", (unsigned)region->status);
    return region;
}

void rig_deregister(struct rig_region *region)
{
    struct rig *rig = region->node->rig;

    region->deregistering = true;
    CHECK(rig, region->node->ops.region_deregister(region->handle) == CARRICK_OK);
    WAIT(rig, region->deregistered);
}

static uint8_t pattern(uint64_t at, unsigned seed)
{
    return (uint8_t)((at * 31 + (at >> 8) * 7 + seed * 101u + 1) & 0xff);
}

void rig_fill(struct rig_region *region, uint64_t offset, uint64_t bytes, unsigned seed)
{
    for (uint64_t i = 0; i < bytes; i++)
        region->memory[offset + i] = pattern(i, seed);
}

bool rig_filled(const struct rig_region *region, uint64_t offset, uint64_t bytes, unsigned seed)
{
    for (uint64_t i = 0; i < bytes; i++) {
        if (region->memory[offset + i] != pattern(i, seed))
            return false;
    }
    return true;
}

bool rig_all(const struct rig_region *region, uint64_t offset, uint64_t bytes, uint8_t value)
{
    for (uint64_t i = 0; i < bytes; i++) {
        if (region->memory[offset + i] != value)
            return false;
    }
    return true;
}

void rig_listen(struct rig *rig, unsigned node)
{
    struct carrick_error error = {.struct_size = sizeof(error)};
    int rc;

    if (rig->node[node].listening)
        return;
    rc = rig->node[node].ops.listen(rig->node[node].device, &error);
    CHECK(rig, rc == CARRICK_OK, "listen: 0x%x %s", (unsigned)rc, error.text);
    rig->node[node].listening = true;
}

struct rig_end *rig_end_new(struct rig_node *node)
{
    struct rig *rig = node->rig;
    struct rig_end *end = calloc(1, sizeof(*end));

    cr_assert(end != NULL && rig->ends_count < RIG_ENDS_MAX);
    end->node = node;
    end->index = rig->ends_count;
    rig->ends[rig->ends_count++] = end;
    return end;
}

void rig_connect_options(struct rig_end *end, struct rig_domain *domain,
                         struct carrick_connect_options *options)
{
    *options = (struct carrick_connect_options){
        .struct_size = sizeof(*options),
        .timeout_ms = 5000 * rig_patience(end->node->rig),
        .domain = domain != NULL ? domain->handle : NULL,
        .receive_bytes = end->node->caps.max_send_bytes,
        .receive_depth = end->node->caps.max_posted,
        .cookie = end->index + 1,
    };
}

struct rig_end *rig_connect_begin(struct rig *rig, unsigned node, struct rig_domain *domain,
                                  const void *data, uint32_t bytes, uint32_t timeout_ms)
{
    struct rig_end *end = rig_end_new(&rig->node[node]);
    struct carrick_error error = {.struct_size = sizeof(error)};
    struct carrick_connect_options options;
    char remote[512];
    int rc;

    rig_connect_options(end, domain, &options);
    // Everything but the domain is the caller's again when the call returns.
    memcpy(remote, rig->node[1 - node].local, sizeof(remote));
    options.remote = remote;
    options.data = data;
    options.data_bytes = bytes;
    options.timeout_ms = timeout_ms;
    rc = end->node->ops.endpoint_connect(end->node->device, &options, &end->handle, &error);
    memset(remote, 'x', sizeof(remote));
    memset(&options, 0xa5, sizeof(options));
    CHECK(rig, rc == CARRICK_OK, "endpoint_connect: 0x%x %s", (unsigned)rc, error.text);
    end->answered = true;
    return end;
}

struct rig_end *rig_request(struct rig *rig, unsigned node)
{
    for (unsigned i = 0; i < rig->ends_count; i++) {
        struct rig_end *end = rig->ends[i];

        if (end->node == &rig->node[node] && end->requested && !end->closing)
            return end;
    }
    return NULL;
}

void rig_accept(struct rig_end *end, struct rig_domain *domain, const void *data, uint32_t bytes)
{
    struct carrick_connect_options options;
    int rc;

    rig_connect_options(end, domain, &options);
    options.data = data;
    options.data_bytes = bytes;
    rc = end->node->ops.endpoint_accept(end->handle, &options);
    CHECK(end->node->rig, rc == CARRICK_OK, "endpoint_accept: 0x%x", (unsigned)rc);
    end->requested = false;
    end->answered = true;
}

void rig_end_close(struct rig_end *end, bool orderly)
{
    end->closing = true;
    end->node->ops.endpoint_close(end->handle, orderly);
}

void rig_end_close_wait(struct rig_end *end, bool orderly)
{
    rig_end_close(end, orderly);
    WAIT(end->node->rig, end->closed);
}

void rig_join(struct rig *rig, struct rig_pair *pair)
{
    rig_listen(rig, 1);
    pair->end[0] = rig_connect_begin(rig, 0, pair->domain[0], "hello", 5, 5000 * rig_patience(rig));
    WAIT(rig, (pair->end[1] = rig_request(rig, 1)) != NULL);
    rig_accept(pair->end[1], pair->domain[1], "welcome", 7);
    WAIT(rig, pair->end[0]->connected && pair->end[1]->connected);
    if (rig->node[0].caps.flags & CARRICK_CAP_CONNECTOR_FIRST) {
        struct carrick_work send = {.struct_size = sizeof(send), .operation = CARRICK_OP_SEND};

        rig_post(pair->end[0], send);
        WAIT(rig, pair->end[1]->messages_count == 1 && pair->end[0]->completed == 1);
        pair->end[1]->messages_count = 0;
        free(pair->end[1]->messages[0].data);
    }
}

struct rig_pair rig_pair(struct rig *rig, uint64_t bytes)
{
    struct rig_pair pair = {0};
    const uint32_t both = CARRICK_ACCESS_REMOTE_READ | CARRICK_ACCESS_REMOTE_WRITE;

    for (unsigned i = 0; i < 2; i++) {
        pair.domain[i] = rig_domain(rig, i);
        pair.region[i] = rig_region(pair.domain[i], bytes, both);
    }
    rig_join(rig, &pair);
    return pair;
}

void rig_pair_close(struct rig_pair *pair)
{
    rig_end_close(pair->end[0], false);
    rig_end_close(pair->end[1], false);
    WAIT(pair->end[0]->node->rig, pair->end[0]->closed && pair->end[1]->closed);
}

static struct carrick_work work_with(uint32_t operation, const struct rig_region *local,
                                     uint64_t at, uint64_t bytes, const struct rig_region *remote,
                                     uint64_t there)
{
    struct carrick_work work = {.struct_size = sizeof(work), .operation = operation};

    work.length = bytes;
    if (local != NULL) {
        work.local = local->memory + at;
        work.registration = local->handle;
    }
    if (remote != NULL) {
        work.remote = remote->key.base + there;
        work.key = remote->key.key;
    }
    return work;
}

struct carrick_work rig_write(const struct rig_region *from, uint64_t at, uint64_t bytes,
                              const struct rig_region *to, uint64_t there)
{
    return work_with(CARRICK_OP_WRITE, from, at, bytes, to, there);
}

struct carrick_work rig_read(const struct rig_region *to, uint64_t at, uint64_t bytes,
                             const struct rig_region *from, uint64_t there)
{
    return work_with(CARRICK_OP_READ, to, at, bytes, from, there);
}

struct carrick_work rig_send(const struct rig_region *from, uint64_t at, uint64_t bytes)
{
    return work_with(CARRICK_OP_SEND, from, at, bytes, NULL, 0);
}

struct carrick_work rig_flush(void)
{
    return work_with(CARRICK_OP_FLUSH, NULL, 0, 0, NULL, 0);
}

int rig_try_post(struct rig_end *end, const struct carrick_work *work, uint32_t count)
{
    struct rig *rig = end->node->rig;
    size_t stride = sizeof(*work) + (rig->stride - sizeof(struct carrick_event));
    char *array = malloc(count * stride);
    int rc;

    cr_assert(array != NULL);
    memset(array, 0xa5, count * stride);
    for (uint32_t i = 0; i < count; i++) {
        struct carrick_work *copy = (struct carrick_work *)(void *)(array + i * stride);

        *copy = work[i];
        copy->struct_size = (uint32_t)stride;
        copy->cookie = (uint64_t)(end->index + 1) << 32 | (end->posted + i);
    }
    rc = end->node->ops.post(end->handle, (struct carrick_work *)(void *)array, count);
    // The array is the caller's again.
    memset(array, 0x5a, count * stride);
    free(array);
    if (rc == CARRICK_OK)
        end->posted += count;
    return rc;
}

void rig_post(struct rig_end *end, struct carrick_work work)
{
    int rc = rig_try_post(end, &work, 1);

    CHECK(end->node->rig, rc == CARRICK_OK, "post: 0x%x", (unsigned)rc);
}

void rig_do(struct rig_end *end, struct carrick_work work)
{
    rig_post(end, work);
    WAIT(end->node->rig, end->completed == end->posted);
}
