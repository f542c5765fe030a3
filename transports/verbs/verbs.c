// SPDX-License-Identifier: Apache-2.0
//
// InfiniBand and RoCE.
#include "../rdma/rdma.h"

static const struct rdma_flavour verbs_flavour = {
    .name = "verbs",
    .other = "iwarp",
    .transport = IBV_TRANSPORT_IB,
    .moves_queue_pair = true,
};

static int create(const struct carrick_host *host, const char *config,
                  struct carrick_transport **transport, struct carrick_error *error)
{
    (void)config; // all that there is to set belongs to a link
    return rdma_create(&verbs_flavour, host, transport, error);
}

static const struct carrick_transport_ops verbs_ops = RDMA_OPS(create);

CARRICK_PLUGIN_REGISTER(CARRICK_KIND_TRANSPORT, "verbs", CARRICK_VERSION, "Apache-2.0",
                        "remote reads and writes over InfiniBand and RoCE", verbs_ops);
