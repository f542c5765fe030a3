# SPDX-License-Identifier: Apache-2.0
plugins += shelf
shelf_dir  := plugins/shelf
shelf_pkgs := json-c libisal
