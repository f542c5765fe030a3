# SPDX-License-Identifier: Apache-2.0
plugins += tcp
tcp_dir := transports/tcp
tcp_pkgs := json-c libmnl
