# SPDX-License-Identifier: Apache-2.0
plugins += etcd
etcd_dir     := plugins/arbiter/etcd
etcd_pkgs    := json-c libcurl libcrypto
# What libcurl and its TLS library leave behind for the end of the process must stay loaded.
etcd_ldflags := -Wl,-z,nodelete
