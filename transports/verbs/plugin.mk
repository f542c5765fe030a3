# SPDX-License-Identifier: Apache-2.0
plugins += verbs
verbs_dir := transports/verbs
verbs_srcs := $(wildcard transports/verbs/*.c transports/rdma/*.c) common/section.c
verbs_pkgs := json-c libibverbs librdmacm
verbs_cflags = $(rdma_cflags)
