# SPDX-License-Identifier: Apache-2.0
plugins += failover
failover_dir  := plugins/failover
failover_pkgs := json-c
