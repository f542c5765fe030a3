# SPDX-License-Identifier: Apache-2.0
plugins += iwarp
iwarp_dir := transports/iwarp
iwarp_srcs := $(wildcard transports/iwarp/*.c transports/rdma/*.c) common/section.c
iwarp_pkgs := json-c libibverbs librdmacm
iwarp_cflags = $(rdma_cflags)
# The thread that connects may be cancelled, which the C library does with this one's help and looks for by name.
iwarp_libs := -Wl,--push-state,--no-as-needed -lgcc_s -Wl,--pop-state
