# SPDX-License-Identifier: Apache-2.0
plugins += iwarp
iwarp_dir := transports/iwarp
iwarp_srcs := $(wildcard transports/iwarp/*.c transports/rdma/*.c)
iwarp_pkgs := json-c libibverbs librdmacm
