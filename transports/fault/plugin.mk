# SPDX-License-Identifier: Apache-2.0
# A wrapper for tests, which makes any transport fail on purpose: docs/fault.md.
plugins      += fault
fault_dir    := transports/fault
fault_pkgs   := json-c
fault_static := yes
