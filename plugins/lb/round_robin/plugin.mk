# SPDX-License-Identifier: Apache-2.0
plugins += round_robin
round_robin_dir  := plugins/lb/round_robin
round_robin_pkgs := json-c
