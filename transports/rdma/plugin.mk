# SPDX-License-Identifier: Apache-2.0
# No plugin of its own: what verbs and iwarp are both made of. Whether rdma-core has the flush of the hardware (45 and later)
# a compiler knows; without it rdma_flush.c is built to do without.
rdma_probe := int probe(struct ibv_qp_ex *qp); int probe(struct ibv_qp_ex *qp) { \
	ibv_wr_flush(qp, 0, 0, 0, IBV_FLUSH_GLOBAL, IBV_FLUSH_RANGE); return IBV_ACCESS_FLUSH_GLOBAL | IBV_QP_EX_WITH_FLUSH; }
rdma_cflags := $(if $(call pkg_exists,libibverbs),$(shell echo '$(rdma_probe)' | $(CC) $(call pkg_cflags,libibverbs) \
	-include infiniband/verbs.h -x c -fsyntax-only - 2>/dev/null && echo -DRDMA_HAS_FLUSH))
