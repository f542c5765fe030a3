# SPDX-License-Identifier: Apache-2.0
plugins += least_inflight
least_inflight_dir  := plugins/lb/least_inflight
least_inflight_pkgs := json-c
