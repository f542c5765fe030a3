# SPDX-License-Identifier: Apache-2.0
plugins += tcp
tcp_dir := transports/tcp
tcp_srcs := $(wildcard transports/tcp/*.c) common/section.c
tcp_pkgs := json-c libmnl
