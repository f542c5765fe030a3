// SPDX-License-Identifier: Apache-2.0
//
// iWARP. Its rules, and who sees to them:
//
//   the connecting side speaks first       HELLO (rdma_wire.h); the capability tells the core all the same
//   a completion proves nothing far away   so on every RDMA transport here, see rdma_device_caps
//   no immediate data                      none is used
//   the local buffer of a read may be      sink_is_written: such memory has a registration of its own (rdma_memory.c),
//   written from afar                      whose key is never told
//   a read must not be fenced              none is
//   soft iWARP lets regions be read that   nobody can here: keys, bounds and domains hold, and the partner has proven
//   are for writing alone                  who it is before it has a key
//   soft iWARP connects its TCP            a thread of its own (rdma_dial.c), so that nothing waits for a silent partner
//   connection within rdma_connect
//   a send without a receive ends it       credits (rdma_wire.h)
//   soft iWARP may answer a read of no     empty_read_breaks: none is made where the partner has bytes to be read, and one
//   bytes with what it has just sent       with iWARP has, also for endpoints without a domain (rdma_flush.c)
#include "../rdma/rdma.h"

static const struct rdma_flavour iwarp_flavour = {
    .name = "iwarp",
    .other = "verbs",
    .transport = IBV_TRANSPORT_IWARP,
    .cap_flags = CARRICK_CAP_CONNECTOR_FIRST,
    .connect_waits = true,
    .sink_is_written = true,
    .empty_read_breaks = true,
};

static int create(const struct carrick_host *host, const char *config,
                  struct carrick_transport **transport, struct carrick_error *error)
{
    (void)config; // all that there is to set belongs to a link
    return rdma_create(&iwarp_flavour, host, transport, error);
}

static const struct carrick_transport_ops iwarp_ops = RDMA_OPS(create);

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_TRANSPORT, "iwarp", CARRICK_VERSION, "Apache-2.0",
                        "remote reads and writes over iWARP", iwarp_ops);
